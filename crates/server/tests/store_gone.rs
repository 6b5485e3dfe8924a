//! Signing does not wait for the store: with the store locked, and after its file was moved away, each front door
//! signs a thousand messages.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use postseal_testkit::message::{self, MessageBuilder};
use postseal_testkit::milter_client::{MilterClient, Offer, Transaction, Verdict};
use postseal_testkit::platform::{Platform, Tenant};
use postseal_testkit::verifiers;
use sqlx::{Connection as _, Executor as _, SqliteConnection};

#[tokio::test(flavor = "multi_thread")]
async fn both_front_doors_sign_on_while_the_store_is_locked_and_after_it_is_gone() -> Result<()> {
    let binary = Path::new(env!("CARGO_BIN_EXE_postseal"));
    let platform = Platform::start(binary, CONFIG).await?;
    let tenant = platform.make_tenant("Acme").await?;
    platform.make_domain(&tenant.api, "acme.test").await?;
    wait_until_signed(&platform, &tenant)?;
    let file = platform.daemon.data().join("postseal.db");

    let mut lock = SqliteConnection::connect(&format!("sqlite://{}", file.display())).await?;
    lock.execute("BEGIN EXCLUSIVE").await?;
    let refused = platform.account.create_domain("new.test").await;
    ensure!(
        refused.is_err_and(|error| error.to_string().contains("503")),
        "the store is not locked"
    );
    sign_a_thousand_on_each(&platform, &tenant).context("with the store locked")?;
    lock.execute("ROLLBACK").await?;
    lock.close().await?;

    for path in store_files(&file)? {
        let mut away = path.clone().into_os_string();
        away.push(".away");
        fs::rename(&path, away)?;
    }
    sign_a_thousand_on_each(&platform, &tenant).context("with the store gone")?;
    let health = platform.account.get("/readyz").await?;
    ensure!(health.status == 200, "it signs, so it is ready: {}", health.body);
    Ok(())
}

fn sign_a_thousand_on_each(platform: &Platform, tenant: &Tenant) -> Result<()> {
    let before = platform.sink.count();
    let mut client = platform.smtp(&tenant.key)?;
    for number in 0..COUNT {
        let reply = client.send("bounce@acme.test", &["reader@inbox.test"], &numbered(number))?;
        ensure!(reply.is_positive(), "proxy, message {number}: {}", reply.text());
    }
    client.quit()?;
    let mut sent: Vec<Vec<u8>> = platform
        .sink
        .wait_for(before + COUNT, std::time::Duration::from_secs(30))?
        .iter()
        .skip(before as usize)
        .map(|received| received.message.clone())
        .collect();

    let mut client = MilterClient::connect(platform.daemon.address("milter")?, Offer::VERSION_6)?;
    for number in 0..COUNT {
        let original = numbered(number);
        let mut transaction =
            Transaction::new("bounce@acme.test", "reader@inbox.test", original.clone());
        if number > 0 {
            transaction.client = None;
        }
        let outcome = client.send(&transaction)?;
        ensure!(outcome.verdict == Verdict::Continue, "milter, message {number}: {outcome:?}");
        sent.push(outcome.apply(&original));
    }
    client.quit()?;
    ensure!(sent.len() as u64 == 2 * COUNT, "{} messages came out", sent.len());
    let unsigned =
        sent.iter().filter(|sent| message::values(sent, "DKIM-Signature").is_empty()).count();
    ensure!(unsigned == 0, "{unsigned} messages are unsigned");
    let complaints = verifiers::complaints(&platform.dns_file(), &sent)?;
    ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
    Ok(())
}

/// A change reaches the signer within a moment; this waits for it.
fn wait_until_signed(platform: &Platform, tenant: &Tenant) -> Result<()> {
    let mut client = platform.smtp(&tenant.key)?;
    for _ in 0..100 {
        let before = platform.sink.count();
        let reply = client.send("bounce@acme.test", &["reader@inbox.test"], &numbered(0))?;
        ensure!(reply.is_positive(), "{}", reply.text());
        let arrived = platform.sink.messages();
        let arrived = arrived.get(before as usize).context("a 250 and nothing arrived")?;
        if !message::values(&arrived.message, "DKIM-Signature").is_empty() {
            return Ok(());
        }
    }
    anyhow::bail!("acme.test never signed")
}

fn numbered(number: u64) -> Vec<u8> {
    MessageBuilder::simple("news@acme.test", "reader@inbox.test")
        .set("Subject", &format!("Message {number}"))
        .build()
}

fn store_files(file: &Path) -> Result<Vec<PathBuf>> {
    let name = file.file_name().context("a file")?.to_string_lossy().into_owned();
    let mut files = Vec::new();
    for entry in fs::read_dir(file.parent().context("a folder")?)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&name) {
            files.push(entry.path());
        }
    }
    ensure!(!files.is_empty(), "there is no {}", file.display());
    Ok(files)
}

/// Messages for each front door and each way in which the store is gone.
const COUNT: u64 = 1_000;

const CONFIG: &str = r#"
[[milter]]
listen = "127.0.0.1:0"
tenant = 1

[[smtp]]
listen = "127.0.0.1:0"
"#;

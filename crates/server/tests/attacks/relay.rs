//! Nobody relays through us, and nobody says who he is but by a key (F7).

use anyhow::{Result, ensure};
use postseal_testkit::scene::{READER, SENDER, simple};
use postseal_testkit::smtp_client::SmtpClient;
use serde_json::json;

use super::scene;

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_gets_no_mail_through_the_proxy() -> Result<()> {
    let scene = scene("").await?;
    let address = scene.platform.daemon.address("smtp")?;
    let reader_only = json!({ "label": "reads", "grants": ["sending_domains/view"] });
    let reply = scene.platform.account.post("/api/v1/api-keys", reader_only).await?;
    ensure!(reply.status == 200, "{} {}", reply.status, reply.body);
    let reader_key = reply.results()["key"].as_str().unwrap_or_default().to_owned();
    ensure!(!reader_key.is_empty(), "{}", reply.body);

    // Claims about the client that only a trusted proxy could make.
    for (line, code) in [
        ("XCLIENT ADDR=127.0.0.1 LOGIN=acme", 5),
        ("XFORWARD ADDR=127.0.0.1", 5),
        ("PROXY TCP4 127.0.0.1 127.0.0.1 1 2", 5),
        ("MAIL FROM:<bounce@acme.test> AUTH=<acme>", 5),
        ("MAIL FROM:<bounce@acme.test>", 5),
        ("MAIL FROM:<>", 5),
        ("RCPT TO:<reader@inbox.test>", 5),
        ("DATA", 5),
        ("BDAT 0 LAST", 5),
        ("AUTH EXTERNAL =", 5),
        ("AUTH ANONYMOUS eA==", 5),
        ("ETRN inbox.test", 5),
        ("VRFY root", 2),
    ] {
        let mut client = SmtpClient::connect(address)?;
        client.ehlo()?;
        let reply = client.command(line)?;
        ensure!(reply.code / 100 == code, "{line}: {reply}");
        let after = client.mail(SENDER)?;
        ensure!(after.text().starts_with("530 5.7.0"), "after {line}: {after}");
    }
    // The PROXY protocol comes before the greeting is answered.
    let (mut client, _) = SmtpClient::connect_to_any(address)?;
    client.write_raw(b"PROXY TCP4 10.0.0.1 10.0.0.2 1 25\r\nEHLO x\r\n")?;
    ensure!(client.read_reply()?.code >= 500, "PROXY was taken");

    for (user, key) in [
        ("SMTP_Injection", "wrong"),
        ("SMTP_Injection", ""),
        ("SMTP_Injection", reader_key.as_str()),
        ("somebody", scene.acme.key.as_str()),
        ("SMTP_Injection:X-MSYS-SUBACCOUNT=999", scene.acme.key.as_str()),
    ] {
        let mut client = SmtpClient::connect(address)?;
        client.ehlo()?;
        let reply = client.auth_plain(user, key)?;
        let is_own_account = user.contains("999");
        if is_own_account {
            // A key of a subaccount stands for it, whatever the user name says.
            let reply = client.send(SENDER, &[READER], &simple("news@acme.test"))?;
            ensure!(reply.code == 250, "{reply}");
            continue;
        }
        ensure!(reply.code == 535 || reply.code == 501, "{user}: {reply}");
        let after = client.mail(SENDER)?;
        ensure!(after.text().starts_with("530 5.7.0"), "after {user}: {after}");
    }
    ensure!(scene.platform.sink.count() == 1, "mail came through");

    // A subaccount that is suspended is nobody at once.
    super::change(&scene, &scene.acme, json!({ "status": "suspended" })).await?;
    for _ in 0..1000 {
        let mut client = SmtpClient::connect(address)?;
        client.ehlo()?;
        let login = client.auth_plain("SMTP_Injection", &scene.acme.key)?;
        let count = scene.platform.sink.count();
        if login.code == 535 {
            return Ok(());
        }
        let reply = client.send(SENDER, &[READER], &simple("news@acme.test"))?;
        if !reply.is_positive() {
            ensure!(scene.platform.sink.count() == count, "{reply}, and it came through");
            return Ok(());
        }
    }
    anyhow::bail!("a suspended subaccount sends on")
}

//! A master key that does not fit the store: the start says so, touches nothing, and the right key still fits.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use anyhow::{Result, ensure};
use postseal_testkit::daemon::{Daemon, Settings};
use postseal_testkit::scene::{READER, SENDER, signing_domains, simple};
use postseal_testkit::smtp_client::SmtpClient;
use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;

use super::{binary, scene};

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_the_right_master_key_says_what_to_do() -> Result<()> {
    let mut scene = scene("").await?;
    scene.platform.daemon.stop()?;
    let path = scene.platform.daemon.data().join("master.key");
    let right = fs::read(&path)?;
    let settings = scene.platform.daemon.settings().clone();
    let refused = |settings: Settings, words: &[&str]| -> Result<()> {
        let Err(error) = scene.platform.daemon.start_again_with(settings) else {
            anyhow::bail!("it started, {words:?}");
        };
        let text = format!("{error:#}");
        for word in words {
            ensure!(text.contains(word), "no {word:?} in {text}");
        }
        Ok(())
    };

    fs::write(&path, "ab".repeat(32))?;
    refused(settings.clone(), &["master key"])?;
    fs::write(&path, "not a key")?;
    refused(settings.clone(), &["master.key"])?;
    fs::write(&path, &right)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    refused(settings.clone(), &["chmod 600"])?;
    fs::remove_file(&path)?;
    refused(settings.clone(), &["master.key", "backup"])?;
    ensure!(!path.exists(), "a new key was made for an old store");
    let mut elsewhere = settings;
    elsewhere.environment.push(("POSTSEAL_MASTER_KEY".to_owned(), "cd".repeat(32)));
    refused(elsewhere, &["POSTSEAL_MASTER_KEY"])?;

    fs::write(&path, &right)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    let again = scene.platform.daemon.start_again()?;
    scene.platform.daemon = again;
    let sent = scene.deliver(&scene.acme, READER, &simple("news@acme.test"))?;
    ensure!(signing_domains(&sent) == ["acme.test"], "the store was touched");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_with_mistakes_ends_the_start_with_all_of_them() -> Result<()> {
    let config = "[http]\nlisten = \"nowhere\"\n[next_hops.\"no good\"]\naddress = \"\"\n";
    let folder = Arc::new(TempDir::new()?);
    let daemon = Daemon::spawn(binary(), folder, Settings::only(config))?;
    ensure!(!daemon.wait()?.success());
    let log = daemon.log();
    ensure!(log.contains("postseal.toml:3:") && log.contains("postseal.toml:4:"), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_and_a_body_of_the_wrong_type_are_told() -> Result<()> {
    let scene = scene("").await?;
    let stranger = scene.platform.account.with_key("0123456789abcdef0123456789abcdef01234567");
    let reply = stranger.get("/api/v1/sending-domains").await?;
    ensure!(reply.status == 401, "{} {}", reply.status, reply.body);
    let mut client = SmtpClient::connect(scene.platform.daemon.address("smtp")?)?;
    client.ehlo()?;
    let reply = client.auth_plain("SMTP_Injection", "0123456789abcdef")?;
    ensure!(reply.text().starts_with("535 5.7.8"), "{reply}");
    let reply = client.mail(SENDER)?;
    ensure!(reply.text().starts_with("530 5.7.0"), "{reply}");

    for (path, body) in [
        ("/api/v1/sending-domains", json!({ "domain": 7 })),
        ("/api/v1/sending-domains", json!({ "domain": ["a.test"] })),
        ("/api/v1/sending-domains", json!([])),
        ("/api/v1/sending-domains", json!("a.test")),
        ("/api/v1/sending-domains", json!({ "domain": "a.test", "dkim": true })),
        ("/api/v1/ip-pools", json!({ "name": null })),
        ("/api/v1/ip-pools", json!({ "name": "p", "subaccounts": "all" })),
        ("/api/v1/ip-pools", json!({ "name": "p", "subaccounts": [-1] })),
        ("/api/v1/ip-pools", json!({ "name": "p", "policy": { "on_unsigned": "maybe" } })),
        ("/api/v1/ip-pools", json!({ "name": "p", "policy": { "no_such": 1 } })),
        ("/api/v1/subaccounts", json!({ "name": 7 })),
    ] {
        let reply = scene.platform.account.call(Method::POST, path, Some(body.clone())).await?;
        ensure!((400..500).contains(&reply.status), "{body}: {} {}", reply.status, reply.body);
        ensure!(reply.body["errors"].is_array(), "{body}: {}", reply.body);
    }
    Ok(())
}

//! SMTP smuggling (S6, CVE-2023-51764 and its kin): an end of data that one server sees and the next does
//! not hides a second message in the first one. Each variant is tried on us, and what we send on is read
//! as the laxest server would read it.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use postseal_testkit::platform::Tenant;
use postseal_testkit::scene::{READER, SENDER, Scene, simple};
use postseal_testkit::smtp_client::Reply;
use postseal_testkit::verifiers;
use serde_json::json;

use super::raw_hop::{Behaviour, RawHop};
use super::{change, scene};

#[tokio::test(flavor = "multi_thread")]
async fn no_ending_but_one_ends_a_message_and_none_is_hidden_in_it() -> Result<()> {
    let hop = RawHop::start(Behaviour::default())?;
    let config = format!("[next_hops.raw]\naddress = \"{}\"\ntls = \"none\"", hop.address());
    let scene = scene(&config).await?;
    let pool = scene.platform.make_pool(json!({ "name": "raw", "next_hop": "raw" })).await?;
    // Globex refuses, which is the default; acme has them repaired.
    change(
        &scene,
        &scene.acme,
        json!({ "ip_pool": pool, "policy": { "on_bare_newline": "repair" } }),
    )
    .await?;
    wait_until_repaired(&scene)?;

    let mut repaired = Vec::new();
    for (before, after) in endings() {
        let name = format!("{}.{}", before.escape_debug(), after.escape_debug());

        let count = scene.platform.sink.count();
        let reply = smuggle(&scene, &scene.globex, "news@globex.test", before, after)?;
        ensure!(reply.code == 550, "{name}: {reply}");
        ensure!(scene.platform.sink.count() == count, "{name} came through");

        hop.seen().commands.clear();
        hop.seen().contents.clear();
        let reply = smuggle(&scene, &scene.acme, "news@acme.test", before, after)?;
        ensure!(reply.code == 250, "{name}: {reply}");
        let seen = hop.seen();
        ensure!(seen.contents.len() == 1, "{name}: {} messages came", seen.contents.len());
        let evil = seen.commands.iter().find(|line| line.contains("evil"));
        ensure!(evil.is_none(), "{name}: {evil:?}");
        let content = seen.contents.concat();
        drop(seen);
        // The laxest reader takes CR, LF and CRLF for the end of a line, and drops NUL.
        let lax: String =
            String::from_utf8_lossy(&content).replace("\r\n", "\n").replace('\r', "\n");
        let ends = lax.replace('\0', "").split('\n').filter(|line| *line == ".").count();
        ensure!(ends == 1 && lax.ends_with("\n.\n"), "{name}: {lax}");
        ensure!(lax.contains("evil@example.com"), "{name}: the rest of the message is lost");
        repaired.push(unstuffed(&content));
    }
    ensure!(repaired.len() == 24, "{} variants", repaired.len());
    let complaints = verifiers::complaints(&scene.platform.dns_file(), &repaired)?;
    ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_behind_the_end_of_data_in_the_same_write_is_its_own() -> Result<()> {
    let scene = scene("").await?;
    let mut client = scene.platform.smtp(&scene.acme.key)?;
    client.mail(SENDER)?;
    client.rcpt(READER)?;
    // Content before the answer to DATA could be commands to a server that refuses DATA.
    client.write_raw(b"DATA\r\nSubject: x\r\n\r\n.\r\nMAIL FROM:<evil@example.com>\r\n")?;
    let reply = client.read_reply()?;
    ensure!(reply.code >= 400 || client.is_closed() || client.read_reply()?.code >= 400, "{reply}");
    ensure!(scene.platform.sink.count() == 0, "it came through");
    Ok(())
}

/// Every pair around a dot that some server has taken for the end of data, but for the right one.
fn endings() -> impl Iterator<Item = (&'static str, &'static str)> {
    let befores = ["\r\n", "\n", "\r", "\n\r", "\r\n\0"];
    let afters = ["\r\n", "\n", "\r", "\n\r", "\0\r\n"];
    befores
        .into_iter()
        .flat_map(move |before| afters.into_iter().map(move |after| (before, after)))
        .filter(|pair| *pair != ("\r\n", "\r\n"))
}

/// Sends a message with a second one behind a wrong ending; gives the one answer that may come.
fn smuggle(scene: &Scene, tenant: &Tenant, from: &str, before: &str, after: &str) -> Result<Reply> {
    let mut client = scene.platform.smtp(&tenant.key)?;
    client.mail(SENDER)?;
    client.rcpt(READER)?;
    let reply = client.command("DATA")?;
    ensure!(reply.code == 354, "{reply}");
    let content = format!(
        "From: {from}\r\nSubject: one\r\n\r\none{before}.{after}MAIL FROM:<evil@example.com>\r\n\
         RCPT TO:<victim@example.org>\r\nDATA\r\nFrom: evil@example.com\r\n\r\ntwo\r\n.\r\n"
    );
    client.write_raw(content.as_bytes())?;
    let reply = client.read_reply()?;
    // Nothing was left over that would be answered.
    let last = client.quit()?;
    ensure!(last.code == 221, "a second answer: {last}");
    Ok(reply)
}

fn wait_until_repaired(scene: &Scene) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(20);
    let message = [&simple("news@acme.test")[..], b"a bare\nline feed\r\n"].concat();
    while Instant::now() < until {
        if scene.send(&scene.acme, READER, &message)?.is_positive() {
            return Ok(());
        }
    }
    bail!("bare line feeds are never repaired")
}

/// The message that the content carries.
fn unstuffed(content: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    for line in content.split_inclusive(|octet| *octet == b'\n') {
        match line {
            b".\r\n" => break,
            [b'.', rest @ ..] => message.extend_from_slice(rest),
            line => message.extend_from_slice(line),
        }
    }
    message
}

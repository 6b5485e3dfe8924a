//! Messages that are too large, or have octets that no message has.

use std::fs;

use anyhow::{Context, Result, ensure};
use postseal_testkit::message::MessageBuilder;
use postseal_testkit::milter_client::Verdict;
use postseal_testkit::scene::{READER, SENDER, Scene, signing_domains, simple, transaction};
use postseal_testkit::sink;

use super::{binary, scene};

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_megabytes_pass_both_doors_in_bounded_memory() -> Result<()> {
    let sink = sink::Settings {
        extensions: vec!["8BITMIME".to_owned(), format!("SIZE {}", 2 * BODY)],
        keep: sink::Keep::Count,
        ..sink::Settings::default()
    };
    let limits = format!(
        "[limits]\nmessage_size = {}\nheld_in_memory = {HELD_IN_MEMORY}\nheld_on_disk = {}",
        2 * BODY,
        2 * BODY
    );
    let scene = Scene::start_with(binary(), &limits, sink).await?;
    scene.send(&scene.acme, READER, &simple("news@acme.test"))?;
    let before = peak_memory(&scene)?;

    let mut client = scene.platform.smtp(&scene.acme.key)?;
    ensure!(client.mail(&format!("{SENDER}> SIZE={BODY}"))?.code == 250);
    client.rcpt(READER)?;
    ensure!(client.command("DATA")?.code == 354);
    client.write_raw(b"From: news@acme.test\r\nSubject: large\r\n\r\n")?;
    let part = MessageBuilder::default().body_of(PART).build();
    for _ in 0..BODY / PART {
        client.write_raw(part.get(2..).unwrap_or_default())?;
    }
    client.write_raw(b".\r\n")?;
    let reply = client.read_reply()?;
    ensure!(reply.code == 250, "{reply}");
    ensure!(scene.platform.sink.count() == 2, "{} messages", scene.platform.sink.count());
    let by_proxy = peak_memory(&scene)?;

    let large = MessageBuilder::simple("news@acme.test", READER).body_of(BODY).build();
    let outcome = scene.milter()?.send(&transaction("acme", READER, &large))?;
    ensure!(signing_domains(&outcome.apply(b"\r\n")) == ["acme.test"], "{outcome:?}");
    let by_milter = peak_memory(&scene)?;
    println!("VmHWM: {before} at rest, {by_proxy} after the proxy, {by_milter} after the milter");
    let allowed = before + HELD_IN_MEMORY as u64 + ROOM_TO_WORK;
    ensure!(by_milter.max(by_proxy) <= allowed, "{by_proxy}, {by_milter}, allowed {allowed}");
    ensure!(scene.figure("postseal_held_octets{place=\"disk\"}").await? == 0.0);
    ensure!(scene.figure("postseal_held_octets{place=\"memory\"}").await? == 0.0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_above_a_limit_is_refused_and_the_connection_goes_on() -> Result<()> {
    let scene = scene("[limits]\nmessage_size = 3000000").await?;
    let header = |octets: usize, lines: usize| {
        let mut builder = MessageBuilder::simple("news@acme.test", READER);
        for number in 0..lines {
            builder = builder.field(&format!("X-{number}"), &"x".repeat(octets / lines));
        }
        builder.build()
    };
    let folded = |octets: usize| {
        let value = format!("x\r\n {}", "y".repeat(70)).repeat(octets / 75);
        MessageBuilder::simple("news@acme.test", READER).field("X-Long", &value).build()
    };
    let body = MessageBuilder::simple("news@acme.test", READER).body_of(3_000_001).build();
    // (what, the message, the answer of the proxy, the answer of the milter)
    let cases = [
        ("a header of 1.1 MB", header(1_100_000, 1200), "552 5.3.4", "552 5.3.4"),
        ("one field of 1.1 MB", folded(1_100_000), "552 5.3.4", "552 5.3.4"),
        ("a header of 900 kB", header(900_000, 1000), "250", "signed"),
        ("one field of 900 kB", folded(900_000), "250", "signed"),
        ("11,000 fields", header(11_000, 11_000), "250", "552 5.3.4"),
        ("a body above the proxy's limit", body, "552 5.3.4", "signed"),
    ];
    let mut client = scene.platform.smtp(&scene.acme.key)?;
    let mut milter = scene.milter()?;
    let mut taken = 0;
    for (what, message, by_proxy, by_milter) in cases {
        let reply = client.send(SENDER, &[READER], &message)?;
        ensure!(reply.text().starts_with(by_proxy), "{what}: {reply}");
        taken += u64::from(reply.is_positive());
        ensure!(scene.platform.sink.count() == taken, "{what}: what came is not what was taken");
        let outcome = milter.send(&transaction("acme", READER, &message))?;
        let answer = match &outcome.verdict {
            Verdict::Reply(reply) => reply.as_str(),
            Verdict::Continue if outcome.modifications.len() == 1 => "signed",
            Verdict::Continue
            | Verdict::Accept
            | Verdict::Reject
            | Verdict::TempFail
            | Verdict::Discard => "something else",
        };
        ensure!(answer.starts_with(by_milter), "{what}: {outcome:?}");
        milter.next_client()?;
    }
    // Said in advance, it is refused in advance.
    let reply = client.mail(&format!("{SENDER}> SIZE=3000001"))?;
    ensure!(reply.text().starts_with("552 5.3.4"), "{reply}");
    ensure!(client.send(SENDER, &[READER], &simple("news@acme.test"))?.code == 250);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nul_and_bare_line_ends_are_refused_with_their_name() -> Result<()> {
    let scene = scene("").await?;
    let mut client = scene.platform.smtp(&scene.acme.key)?;
    let (header, body) = ("From: news@acme.test\r\nSubject: x", "one\r\ntwo");
    for (octet, word) in [("\0", "NUL"), ("\r", "carriage return"), ("\n", "line feed")] {
        for message in [
            format!("{header}{octet}y\r\n\r\n{body}\r\n"),
            format!("{octet}{header}\r\n\r\n{body}\r\n"),
            format!("{header}\r\n\r\n{octet}{body}\r\n"),
            format!("{header}\r\n\r\n{body}{octet}three\r\n"),
            format!("{header}\r\n\r\n{body}\r\n{octet}x\r\n"),
        ] {
            let reply = client.send(SENDER, &[READER], message.as_bytes())?;
            ensure!((550..560).contains(&reply.code), "{message:?}: {reply}");
            ensure!(reply.text().contains(word), "{message:?}: {reply} names no {word}");
        }
    }
    ensure!(scene.platform.sink.count() == 0, "one came through");
    // A milter cannot change a body; Postfix has repaired line ends before it asks.
    for octet in ["\r", "\n"] {
        let message = format!("{header}\r\n\r\n{body}{octet}three\r\n");
        let outcome = scene.filter("acme", READER, message.as_bytes())?;
        let is_refusal =
            matches!(&outcome.verdict, Verdict::Reply(reply) if reply.starts_with("550 5.6.0"));
        ensure!(is_refusal, "{message:?}: {outcome:?}");
    }
    ensure!(client.send(SENDER, &[READER], &simple("news@acme.test"))?.code == 250);
    Ok(())
}

/// The most memory that the daemon ever had, in octets.
fn peak_memory(scene: &Scene) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", scene.platform.daemon.process()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}

/// Octets of the body.
const BODY: usize = 200 << 20;

/// Octets that the test writes at once.
const PART: usize = 1 << 20;

/// The cap on held messages in memory.
const HELD_IN_MEMORY: usize = 16 << 20;

/// What the daemon may need beside held messages: buffers of its connections, and its runtime.
const ROOM_TO_WORK: u64 = 16 << 20;

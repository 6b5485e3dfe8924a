//! A real Postfix between signer and verifier (S7), and one whose filter dies under load (F4).

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use postseal_testkit::message::{self, MessageBuilder};
use postseal_testkit::postfix::{Postfix, Settings};
use postseal_testkit::scene::{READER, SENDER, Scene};
use postseal_testkit::sink::{self, Sink};
use postseal_testkit::smtp_client::SmtpClient;
use postseal_testkit::verifiers;
use serde_json::json;

use super::{change, scene};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_relay_does_to_dots_ends_and_8_bit_text_breaks_no_signature() -> Result<()> {
    let sink = Sink::start()?;
    let behind = Postfix::start(&Settings::new(sink.address())?)?;
    let config = format!("[next_hops.relay]\naddress = \"{}\"", behind.address());
    let scene = scene(&config).await?;
    let mut settings =
        Settings::with_milter(sink.address(), scene.platform.daemon.address("milter")?)?;
    settings.listeners = vec!["-o milter_macro_daemon_name=acme".to_owned()];
    let before = Postfix::start(&settings)?;
    let pool = scene.platform.make_pool(json!({ "name": "relay", "next_hop": "relay" })).await?;
    change(&scene, &scene.acme, json!({ "ip_pool": pool })).await?;
    wait_for_relay(&scene, &sink)?;
    sink.clear();

    let mut by_proxy = scene.platform.smtp(&scene.acme.key)?;
    let mut by_milter = SmtpClient::connect(before.address())?;
    by_milter.ehlo()?;
    let mut count = 0;
    for body in BODIES {
        for subject in ["Plain", "Gr\u{fc}\u{df}e", "folded\r\n \t over\r\n  lines"] {
            let message = MessageBuilder::simple("News <news@acme.test>", READER)
                .set("Subject", subject)
                .body(body)
                .build();
            let reply = by_proxy.send(SENDER, &[READER], &message)?;
            ensure!(reply.code == 250, "proxy: {reply}: {body:?}");
            let sender = format!("{SENDER}> BODY=8BITMIME");
            let reply = by_milter.send(&sender, &[READER], &message)?;
            ensure!(reply.code == 250, "milter: {reply}: {body:?}");
            count += 2;
        }
    }
    // One octet more than a line may have: a relay would cut it, so it is refused before it is signed.
    let long = MessageBuilder::simple("news@acme.test", READER)
        .body(&[&[b'x'; 999][..], b"\r\n"].concat())
        .build();
    for client in [&mut by_proxy, &mut by_milter] {
        let reply = client.send(SENDER, &[READER], &long)?;
        ensure!(reply.code == 550 || reply.code == 554, "{reply}");
    }
    let arrived = sink.wait_for(count, PATIENCE)?;
    behind.wait_until_empty(PATIENCE)?;
    before.wait_until_empty(PATIENCE)?;
    ensure!(sink.count() == count, "{} of {count} messages", sink.count());
    let sent: Vec<&[u8]> = arrived.iter().map(|one| &one.message[..]).collect();
    let complaints = verifiers::complaints(&scene.platform.dns_file(), &sent)?;
    ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_milter_that_is_killed_under_load_lets_nothing_out_unsigned() -> Result<()> {
    // It has to come back at the same place, which must be nobody else's: an address of this process.
    let [_, b, c, d] = std::process::id().to_be_bytes();
    let milter = format!("127.{}.{c}.{d}:8891", b | 0x40);
    let binary = Path::new(env!("CARGO_BIN_EXE_postseal"));
    let scene = Scene::start_on(binary, &milter, "", sink::Settings::default()).await?;
    let sink = &scene.platform.sink;
    let mut settings = Settings::with_milter(sink.address(), milter.parse()?)?;
    settings.listeners = vec!["-o milter_macro_daemon_name=acme".to_owned()];
    let postfix = Postfix::start(&settings)?;

    let over = AtomicBool::new(false);
    let (taken, put_off) = (AtomicU64::new(0), AtomicU64::new(0));
    let second = thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    // An error is a connection that Postfix closed; nothing of it was taken.
                    let _ = send_until_put_off(&postfix, &over, &taken, &put_off);
                }
            });
        }
        let run = || -> Result<_> {
            sink.wait_for(60, PATIENCE)?;
            scene.platform.daemon.kill()?;
            // The load goes on against nobody until it has felt it.
            while put_off.load(Ordering::Relaxed) < 20 {
                thread::yield_now();
            }
            let again = scene.platform.daemon.start_again()?;
            sink.wait_for(taken.load(Ordering::Relaxed) + 60, PATIENCE)?;
            Ok(again)
        };
        let second = run();
        over.store(true, Ordering::Relaxed);
        second
    })?;
    postfix.wait_until_empty(PATIENCE)?;
    let (taken, put_off) = (taken.into_inner(), put_off.into_inner());
    println!("{taken} taken, {put_off} put off");
    ensure!(sink.count() == taken, "{taken} taken, {} delivered", sink.count());
    let arrived = sink.messages();
    let unsigned = arrived
        .iter()
        .filter(|one| message::values(&one.message, "DKIM-Signature").is_empty())
        .count();
    ensure!(unsigned == 0, "{unsigned} were delivered unsigned");
    let some: Vec<&[u8]> = arrived.iter().rev().take(100).map(|one| &one.message[..]).collect();
    let complaints = verifiers::complaints(&scene.platform.dns_file(), &some)?;
    ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
    drop(second);
    Ok(())
}

/// Sends on one connection until something is not taken.
fn send_until_put_off(
    postfix: &Postfix,
    over: &AtomicBool,
    taken: &AtomicU64,
    put_off: &AtomicU64,
) -> Result<()> {
    let mut client = SmtpClient::connect(postfix.address())?;
    if let Err(error) = client.ehlo() {
        put_off.fetch_add(1, Ordering::Relaxed);
        return Err(error);
    }
    let message = MessageBuilder::simple("news@acme.test", READER).body_of(4000).build();
    while !over.load(Ordering::Relaxed) {
        let reply = client.send(SENDER, &[READER], &message)?;
        if !reply.is_positive() {
            ensure!((400..500).contains(&reply.code), "{reply}");
            put_off.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        taken.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn wait_for_relay(scene: &Scene, behind_relay: &Sink) -> Result<()> {
    let message = MessageBuilder::simple("news@acme.test", READER).build();
    for _ in 0..1000 {
        let direct = scene.platform.sink.count();
        let reply = scene.send(&scene.acme, READER, &message)?;
        ensure!(reply.code == 250, "{reply}");
        if scene.platform.sink.count() == direct {
            behind_relay.wait_for(1, PATIENCE).context("taken by the relay")?;
            return Ok(());
        }
    }
    anyhow::bail!("the pool never got its next hop")
}

/// What relays have changed, or have to change to carry.
const BODIES: [&[u8]; 13] = [
    b"",
    b"\r\n",
    b"\r\n\r\n\r\n",
    b".\r\n",
    b"..\r\n.\r\n.x\r\n...\r\n",
    b"text\r\n.\r\nMAIL FROM:<x@y.test>\r\n",
    b"no line end",
    b"no line end after a dot\r\n.",
    b"blanks \t \r\n \r\n\t\r\n",
    b"text\r\n\r\n\r\n \r\n",
    "Gr\u{fc}\u{df}e aus M\u{fc}nchen\r\n".as_bytes(),
    b"latin \xe9\xe8, and \xff\xfe\r\n",
    LONGEST_LINE,
];

/// A line of 998 octets, the longest that a message may have.
const LONGEST_LINE: &[u8] = &{
    let mut line = [b'.'; 1000];
    line[998] = b'\r';
    line[999] = b'\n';
    line
};

const PATIENCE: Duration = Duration::from_secs(60);

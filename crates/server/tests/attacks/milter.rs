//! What is no MTA, or one that lies (F1, F2, F3), at the real milter.

use std::io::{Read, Write};
use std::net::Shutdown;

use anyhow::{Context, Result, ensure};
use postseal_testkit::message::MessageBuilder;
use postseal_testkit::milter_client::{MilterClient, Offer, Verdict};
use postseal_testkit::scene::{READER, Scene, connect, signing_domains, simple, transaction};
use postseal_testkit::verifiers;
use serde_json::json;

use super::{change, scene};

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_no_milters_ends_alone() -> Result<()> {
    let scene = scene("").await?;
    let negotiation = packet(b'O', &numbers([6, 0x1ff, 0x1f_ffff]));
    let mut streams: Vec<(&str, Vec<u8>)> = vec![
        ("length 0", vec![0, 0, 0, 0]),
        ("4 GiB", vec![0xff, 0xff, 0xff, 0xff, b'O']),
        ("2 GiB", vec![0x7f, 0xff, 0xff, 0xff, b'L']),
        ("an SMTP client", b"EHLO x\r\nMAIL FROM:<a@b>\r\n".to_vec()),
        ("an HTTP client", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("a TLS client", vec![0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3]),
        ("version 1", packet(b'O', &numbers([1, 0, 0]))),
        ("version 0", packet(b'O', &numbers([0, 0x1ff, 0x1f_ffff]))),
        ("half a negotiation", packet(b'O', &[0, 0, 0, 6])),
        ("no negotiation", packet(b'M', b"<a@b>\0")),
        ("no actions", packet(b'O', &numbers([6, 0, 0]))),
        ("nothing", Vec::new()),
    ];
    let behind: [(&str, Vec<u8>); 10] = [
        ("an unknown command", packet(b'?', b"x")),
        ("a second negotiation", packet(b'O', &numbers([6, 0x1ff, 0x1f_ffff]))),
        ("macros without their end", packet(b'D', b"Mi")),
        ("macros of no command", packet(b'D', b"")),
        ("a macro twice", packet(b'D', b"C{daemon_name}\0acme\0{daemon_name}\0globex\0")),
        ("a sender without an end", packet(b'M', b"<a@b>")),
        ("a recipient before a sender", packet(b'R', b"<a@b>\0")),
        ("a field without a name", packet(b'L', b"\0x\0")),
        ("the end of no message", packet(b'E', b"")),
        ("half a packet", vec![0, 0, 1, 0, b'M', b'<']),
    ];
    for (name, octets) in behind {
        streams.push((name, [negotiation.clone(), octets].concat()));
    }
    for (name, octets) in &streams {
        let mut stream = connect(scene.platform.daemon.address("milter")?)?;
        // The daemon may have hung up on the first octets.
        let _ = stream.write_all(octets);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer);
        ensure!(
            !ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock),
            "{name}: the connection stays open"
        );
        ensure!(answer.len() < 1000, "{name}: {} octets of answers", answer.len());
    }
    scene.wait_until_alone().await?;
    ensure!(scene.figure("postseal_panics_total").await? == 0.0, "something panicked");
    let outcome = scene.filter("acme", READER, &simple("news@acme.test"))?;
    ensure!(signing_domains(&outcome.apply(b"\r\n")) == ["acme.test"], "{outcome:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn octets_one_by_one_get_the_same_answers() -> Result<()> {
    let scene = scene("").await?;
    let session = [
        packet(b'O', &numbers([6, 0x1ff, 0x1f_ffff])),
        packet(b'D', b"C{daemon_name}\0acme\0"),
        packet(b'C', b"localhost\x004\x9c\x40127.0.0.1\0"),
        packet(b'D', b"M{mail_addr}\0bounce@acme.test\0"),
        packet(b'M', b"<bounce@acme.test>\0"),
        packet(b'R', b"<reader@inbox.test>\0"),
        packet(b'L', b"From\0 news@acme.test\0"),
        packet(b'L', b"Subject\0 in\n\tpieces\0"),
        packet(b'N', b""),
        packet(b'B', b"Hello.\r\n"),
        packet(b'E', b""),
    ]
    .concat();
    let commands = |step: usize| -> Result<Vec<u8>> {
        let mut stream = connect(scene.platform.daemon.address("milter")?)?;
        for part in session.chunks(step) {
            stream.write_all(part)?;
        }
        stream.write_all(&packet(b'Q', b""))?;
        let mut answers = Vec::new();
        stream.read_to_end(&mut answers)?;
        let mut rest = answers.as_slice();
        let mut commands = Vec::new();
        while let Some((length, after)) = rest.split_first_chunk() {
            let (packet, after) =
                after.split_at_checked(u32::from_be_bytes(*length) as usize).context("cut off")?;
            commands.extend(packet.first());
            rest = after;
        }
        Ok(commands)
    };
    let whole = commands(session.len())?;
    ensure!(whole.first() == Some(&b'O') && whole.contains(&b'i'), "{whole:?}");
    ensure!(whole.last() == Some(&b'c'), "{whole:?}");
    for step in [1, 2, 3, 5, 7, 11, 64] {
        let cut = commands(step)?;
        ensure!(cut == whole, "in pieces of {step}: {cut:?}, whole: {whole:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn simple_signatures_hold_through_protocols_2_and_6() -> Result<()> {
    let scene = scene("").await?;
    let request = json!({ "policy": { "signature": { "canonicalization": "simple/simple" } } });
    change(&scene, &scene.acme, request).await?;
    scene.wait_until("acme", &simple("news@acme.test"), |outcome| {
        outcome.added("DKIM-Signature").iter().any(|value| value.contains("c=simple/simple"))
    })?;
    let ordinary = MessageBuilder::simple("News  <news@acme.test>", READER)
        .field("List-Unsubscribe", "<https://acme.test/u>,\r\n\t<mailto:u@acme.test>")
        .field("Content-Type", "text/plain;  charset=utf-8\r\n  ; format=flowed")
        .body(b"Two  blanks \t\r\n\r\n\r\n")
        .build();
    // Without the leading blanks, which version 6 shows, these are alike.
    let odd = b"From:news@acme.test\r\nTo:  reader@inbox.test\r\nSubject:\ttab\r\nDate:\r\n x\r\n\r\nHi\r\n";
    let mut sent = Vec::new();
    for (offer, message) in
        [(Offer::VERSION_2, &ordinary[..]), (Offer::VERSION_6, &ordinary), (Offer::VERSION_6, odd)]
    {
        let mut client = MilterClient::connect(scene.platform.daemon.address("milter")?, offer)?;
        let outcome = client.send(&transaction("acme", READER, message))?;
        ensure!(outcome.verdict == Verdict::Continue, "{outcome:?}");
        sent.push(outcome.apply(message));
    }
    let complaints = verifiers::complaints(&scene.platform.dns_file(), &sent)?;
    ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_given_up_leaves_nothing_to_the_next() -> Result<()> {
    let scene = scene("").await?;
    scene.platform.make_domain(&scene.platform.account, "fbl.esp.test").await?;
    let request = json!({ "name": "bulk", "fbl_signing_domain": "fbl.esp.test" });
    scene.platform.make_pool(request).await?;
    let bulk = |from: &str| [b"X-Postseal-Pool: bulk\r\n", &simple(from)[..]].concat();
    wait_for_feedback_signature(&scene, &bulk("news@acme.test"))?;

    let mut client = scene.milter()?;
    let mut sent = Vec::new();
    for round in 0..40 {
        // Somebody's message, with a pool and a recipient of its own, stops at some point.
        let (other, from) = [("globex", "news@globex.test"), ("acme", "news@acme.test")][round % 2];
        let mut given_up = transaction(other, "reader@yahoo.com", &bulk(from));
        given_up.mail_macros.push(("{auth_authen}".to_owned(), "somebody".to_owned()));
        ensure!(client.connection(&given_up)? == Verdict::Continue);
        if round % 5 > 0 {
            ensure!(client.envelope(&given_up)? == Verdict::Continue);
        }
        if round % 5 > 1 {
            ensure!(client.content(&given_up)? == Verdict::Continue);
        }
        if round % 5 > 2 {
            client.end_of_message(&given_up)?;
        }
        if round % 5 != 3 {
            client.abort()?;
        }
        client.next_client()?;

        let (tenant, domain) = [("acme", "acme.test"), ("globex", "globex.test")][round % 2];
        let message = MessageBuilder::simple(&format!("news@{domain}"), READER)
            .set("Subject", &format!("Round {round}"))
            .build();
        let outcome = client.send(&transaction(tenant, READER, &message))?;
        let applied = outcome.apply(&message);
        ensure!(signing_domains(&applied) == [domain], "round {round}: {outcome:?}");
        sent.push(applied);
        client.next_client()?;
    }
    let complaints = verifiers::complaints(&scene.platform.dns_file(), &sent)?;
    ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
    Ok(())
}

fn wait_for_feedback_signature(scene: &Scene, message: &[u8]) -> Result<()> {
    for _ in 0..1000 {
        let outcome = scene.filter("acme", "reader@yahoo.com", message)?;
        if signing_domains(&outcome.apply(b"\r\n")) == ["acme.test", "fbl.esp.test"] {
            return Ok(());
        }
    }
    anyhow::bail!("the feedback loop never got its signature")
}

fn packet(command: u8, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len() + 1).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &[command], data].concat()
}

fn numbers(numbers: [u32; 3]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

//! Clients that stop in the middle: the daemon goes on, and keeps nothing of them.

use std::io::{Read, Write};
use std::net::Shutdown;

use anyhow::{Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postseal_testkit::scene::{READER, Scene, connect, signing_domains, simple};

use super::scene;

#[tokio::test(flavor = "multi_thread")]
async fn an_mta_may_stop_in_the_middle_of_every_packet() -> Result<()> {
    let scene = scene("").await?;
    let session: Vec<Vec<u8>> = vec![
        packet(b'O', &[0, 0, 0, 6, 0, 0, 1, 0xff, 0, 0x1f, 0xff, 0xff]),
        packet(b'D', b"C{daemon_name}\0acme\0"),
        packet(b'C', b"localhost\x004\x9c\x40127.0.0.1\0"),
        packet(b'H', b"client.test\0"),
        packet(b'M', b"<bounce@acme.test>\0SIZE=100\0"),
        packet(b'R', b"<reader@inbox.test>\0"),
        packet(b'T', b""),
        packet(b'L', b"From\0 news@acme.test\0"),
        packet(b'N', b""),
        packet(b'B', b"Hello.\r\n"),
        packet(b'E', b""),
        packet(b'A', b""),
        packet(b'K', b""),
        packet(b'Q', b""),
    ];
    let address = scene.platform.daemon.address("milter")?;
    let mut stops = 0;
    for (number, packet) in session.iter().enumerate() {
        for cut in [0, 1, 3, 4, 5, packet.len() / 2, packet.len() - 1] {
            let mut stream = connect(address)?;
            let whole: Vec<u8> = session.iter().take(number).flatten().copied().collect();
            stream.write_all(&whole)?;
            stream.write_all(packet.get(..cut).unwrap_or(packet))?;
            // Some go in order, some just go.
            if stops % 2 == 0 {
                stream.shutdown(Shutdown::Write)?;
                let mut answers = Vec::new();
                stream.read_to_end(&mut answers)?;
            }
            stops += 1;
        }
    }
    is_well(&scene).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_stop_in_the_middle_of_every_command() -> Result<()> {
    let scene = scene("").await?;
    let login = STANDARD.encode(format!("\0SMTP_Injection\0{}", scene.acme.key));
    let session = [
        "EHLO client.test\r\n".to_owned(),
        format!("AUTH PLAIN {login}\r\n"),
        "MAIL FROM:<bounce@acme.test>\r\n".to_owned(),
        "RCPT TO:<reader@inbox.test>\r\n".to_owned(),
        "BDAT 10\r\nFrom: news".to_owned(),
        "RSET\r\n".to_owned(),
        "MAIL FROM:<bounce@acme.test>\r\n".to_owned(),
        "RCPT TO:<reader@inbox.test>\r\n".to_owned(),
        "DATA\r\n".to_owned(),
        "From: news@acme.test\r\n\r\nHello.\r\n.\r\n".to_owned(),
    ];
    let address = scene.platform.daemon.address("smtp")?;
    for (number, line) in session.iter().enumerate() {
        for cut in [0, 1, 4, line.len() / 2, line.len() - 2, line.len() - 1] {
            let mut stream = connect(address)?;
            read_reply(&mut stream)?;
            for before in session.iter().take(number) {
                stream.write_all(before.as_bytes())?;
                read_reply(&mut stream)?;
            }
            stream.write_all(line.as_bytes().get(..cut).unwrap_or_default())?;
            if cut % 2 == 0 {
                stream.shutdown(Shutdown::Write)?;
                let mut answers = Vec::new();
                stream.read_to_end(&mut answers)?;
            }
        }
    }
    ensure!(scene.platform.sink.count() == 0, "half a message came through");
    is_well(&scene).await
}

/// Nothing is left of those that went, and the next is served.
async fn is_well(scene: &Scene) -> Result<()> {
    scene.wait_until_alone().await?;
    for place in ["memory", "disk"] {
        let held = scene.figure(&format!("postseal_held_octets{{place=\"{place}\"}}")).await?;
        ensure!(held == 0.0, "{held} octets are held in {place}");
    }
    ensure!(scene.figure("postseal_panics_total").await? == 0.0, "something panicked");
    let message = simple("news@acme.test");
    ensure!(signing_domains(&scene.deliver(&scene.acme, READER, &message)?) == ["acme.test"]);
    let outcome = scene.filter("acme", READER, &message)?;
    ensure!(signing_domains(&outcome.apply(b"\r\n")) == ["acme.test"], "{outcome:?}");
    Ok(())
}

fn packet(command: u8, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len() + 1).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &[command], data].concat()
}

/// Reads one reply, up to and with the line that ends it.
fn read_reply(stream: &mut impl Read) -> Result<()> {
    let mut line = Vec::new();
    loop {
        let mut octet = [0];
        stream.read_exact(&mut octet)?;
        line.extend_from_slice(&octet);
        if line.ends_with(b"\n") {
            if line.get(3) == Some(&b' ') {
                return Ok(());
            }
            line.clear();
        }
    }
}

//! Plain text that waits in a buffer when TLS begins (F6, CVE-2011-0411): neither side obeys it.

use std::fs;
use std::io::{Read, Write};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use postseal_testkit::scene::{READER, connect, simple};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
use serde_json::json;
use tempfile::TempDir;

use super::raw_hop::{Behaviour, RawHop};
use super::scene;

#[tokio::test(flavor = "multi_thread")]
async fn commands_behind_starttls_are_dropped() -> Result<()> {
    let files = Files::new()?;
    let scene = scene(&format!(
        "[[smtp]]\nlisten = \"127.0.0.1:0\"\ntenant_by = [{{ client = \"127.0.0.1\", tenant = 1 }}]\n\
         tls_certificate = {:?}\ntls_key = {:?}",
        files.path("cert.pem"),
        files.path("key.pem"),
    ))
    .await?;
    let address = scene.platform.daemon.listeners("smtp");
    let mut plain = connect(address.get(1).context("two listeners")?.parse()?)?;
    ensure!(read_reply(&mut plain)?.starts_with("220 "));
    plain.write_all(b"EHLO client.test\r\n")?;
    ensure!(read_reply(&mut plain)?.contains("STARTTLS"));
    plain.write_all(
        b"STARTTLS\r\nEHLO evil.test\r\nMAIL FROM:<evil@globex.test>\r\nRCPT TO:<victim@inbox.test>\r\n",
    )?;
    ensure!(read_reply(&mut plain)?.starts_with("220 "));
    let name = ServerName::try_from("localhost")?;
    let session = ClientConnection::new(Arc::new(files.client()?), name)?;
    let mut secure = StreamOwned::new(session, plain);
    // Had MAIL been taken, this would be the second recipient.
    secure.write_all(b"RCPT TO:<second@inbox.test>\r\n")?;
    let reply = read_reply(&mut secure)?;
    ensure!(reply.starts_with("503 "), "{reply}");
    for (line, code) in [
        ("EHLO client.test", "250"),
        ("RCPT TO:<second@inbox.test>", "503"),
        ("MAIL FROM:<bounce@acme.test>", "250"),
        ("RCPT TO:<reader@inbox.test>", "250"),
        ("DATA", "354"),
        ("From: news@acme.test\r\n\r\nHi\r\n.", "250"),
    ] {
        secure.write_all(format!("{line}\r\n").as_bytes())?;
        let reply = read_reply(&mut secure)?;
        ensure!(reply.starts_with(code), "{line}: {reply}");
    }
    let arrived = scene.platform.sink.messages();
    let [one] = arrived.as_slice() else { anyhow::bail!("{} messages", arrived.len()) };
    ensure!(one.sender == "bounce@acme.test" && one.recipients == ["reader@inbox.test"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_behind_starttls_are_dropped() -> Result<()> {
    let files = Files::new()?;
    // Taken for the answer to EHLO, this would offer a way to send the password, and no room for mail.
    let hop = RawHop::start(Behaviour {
        tls: Some(Arc::new(files.server()?)),
        behind_starttls: "250-evil.test\r\n250-AUTH PLAIN LOGIN\r\n250 SIZE 1\r\n",
        is_mute: false,
    })?;
    let scene = scene(&format!(
        "[next_hops.secure]\naddress = \"{}\"\ntls = \"required\"\ntls_name = \"localhost\"\n\
         tls_ca_file = {:?}",
        hop.address(),
        files.path("cert.pem"),
    ))
    .await?;
    scene.platform.make_pool(json!({ "name": "secure", "next_hop": "secure" })).await?;
    let message = [b"X-Postseal-Pool: secure\r\n", &simple("news@acme.test")[..]].concat();
    let mut reply = scene.send(&scene.acme, READER, &message)?;
    for _ in 0..1000 {
        // The pool takes a moment to reach the proxy.
        if reply.code != 550 {
            break;
        }
        reply = scene.send(&scene.acme, READER, &message)?;
    }
    ensure!(reply.code == 250, "{reply}");
    let seen = hop.seen();
    ensure!(seen.contents.len() == 1, "{} messages", seen.contents.len());
    let carries_mail = |line: &&String| line.contains("MAIL") || line.contains("RCPT");
    ensure!(seen.commands.iter().filter(carries_mail).all(|line| line.starts_with("TLS ")));
    ensure!(!seen.commands.iter().any(|line| line.contains("AUTH") || line.contains("SIZE=")));
    // Under TLS the conversation began anew.
    let first = seen.commands.iter().find_map(|line| line.strip_prefix("TLS "));
    ensure!(first.is_some_and(|line| line.starts_with("EHLO ")), "{:?}", seen.commands);
    Ok(())
}

/// A certificate for `localhost`, signed by itself.
struct Files(TempDir);

impl Files {
    fn new() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
        let folder = TempDir::new()?;
        fs::write(folder.path().join("cert.pem"), made.cert.pem())?;
        fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem())?;
        Ok(Self(folder))
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn certificate(&self) -> Result<CertificateDer<'static>> {
        Ok(CertificateDer::from_pem_file(self.path("cert.pem"))?)
    }

    fn server(&self) -> Result<ServerConfig> {
        let key = PrivateKeyDer::from_pem_file(self.path("key.pem"))?;
        Ok(ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate()?], key)?)
    }

    fn client(&self) -> Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate()?)?;
        Ok(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
    }
}

/// Reads one reply and not an octet more, since what follows may be TLS.
fn read_reply(stream: &mut (impl Read + ?Sized)) -> Result<String> {
    let mut reply = String::new();
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            let mut octet = [0];
            stream.read_exact(&mut octet).with_context(|| format!("after {reply:?}"))?;
            line.extend_from_slice(&octet);
        }
        reply.push_str(&String::from_utf8_lossy(&line));
        if line.get(3) == Some(&b' ') {
            return Ok(reply);
        }
    }
}

//! Private keys and API keys are where they belong and nowhere else (S16): a key that we know is looked for,
//! octet for octet, in whatever the daemon writes, answers and keeps.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postseal_testkit::daemon::Settings;
use postseal_testkit::scene::{READER, SENDER, Scene, simple};
use postseal_testkit::signers::KeyPair;
use postseal_testkit::smtp_client::SmtpClient;
use reqwest::Method;
use serde_json::{Value, json};

use super::scene;

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_logs_figures_replies_or_files() -> Result<()> {
    let mut scene = scene("").await?;
    // The same again, saying all that it can say.
    let config = scene.platform.daemon.settings().clone();
    let first_log = scene.platform.daemon.log();
    let first_key = scene.platform.daemon.wait_for_line("first API key (shown once): ")?;
    scene.platform.daemon.stop()?;
    let again =
        scene.platform.daemon.start_again_with(Settings { log_level: "debug", ..config })?;
    scene.platform.daemon = again;
    scene.platform.account =
        postseal_testkit::api_client::ApiClient::new(&scene.platform.daemon.url()?, &first_key);

    let canary = KeyPair::rsa(2048)?;
    let mut spoken = use_everything(&scene, &canary).await?;
    spoken.push_str(&scene.metrics().await?);
    // The first key is shown once, on purpose, and on standard output alone.
    let log: String = first_log
        .lines()
        .filter(|line| !line.starts_with("first API key (shown once): "))
        .collect();
    let log = log + &scene.platform.daemon.log();

    let master = fs::read(scene.platform.daemon.data().join("master.key"))?;
    let mut places: Vec<(String, Vec<u8>)> = vec![
        ("the log".to_owned(), log.into_bytes()),
        ("replies and figures".to_owned(), spoken.into_bytes()),
    ];
    for path in files_below(&scene.platform.daemon.data())? {
        if !path.ends_with("master.key") {
            places.push((path.display().to_string(), fs::read(&path)?));
        }
    }
    // What is looked through is what is meant: the name of the canary's domain is there in the clear.
    let found = places.iter().filter(|(_, octets)| contains(octets, b"canary.test")).count();
    ensure!(found >= 3, "the domain's name is in {found} places");

    let mut needles = private_parts(&canary)?;
    ensure!(needles.iter().all(|needle| needle.len() >= 16) && needles.len() > 100);
    for key in [&first_key, &scene.acme.key, &scene.globex.key] {
        needles.push(key.as_bytes().to_vec());
        let login = STANDARD.encode(format!("\0SMTP_Injection\0{key}"));
        needles.push(login.into_bytes());
    }
    needles.push(master.trim_ascii().to_vec());
    for any in [&b"PRIVATE KEY"[..], PKCS8_RSA, PKCS1_RSA] {
        needles.push(any.to_vec());
    }
    for (place, octets) in &places {
        for needle in &needles {
            ensure!(!contains(octets, needle), "a secret is in {place}: {needle:?}");
        }
    }
    // The search finds what is there.
    let control = [b"x".as_slice(), &der(&canary)?, b"y"].concat();
    ensure!(private_parts(&canary)?.iter().any(|needle| contains(&control, needle)));
    ensure!(contains(&control, PKCS8_RSA));
    Ok(())
}

/// Has the canary signed with, shown, refused, verified; gives all replies.
async fn use_everything(scene: &Scene, canary: &KeyPair) -> Result<String> {
    let mut spoken = String::new();
    let account = &scene.platform.account;
    let private = base64_of(&canary.pem);
    let public = canary.record.rsplit("p=").next().context("no p=")?.to_owned();
    let other = KeyPair::rsa(2048)?;
    let other_public = other.record.rsplit("p=").next().context("no p=")?;
    let given = |public: &str, private: &str| json!({ "selector": "canary", "private": private, "public": public });
    let create = |domain: &str, dkim: Value| json!({ "domain": domain, "dkim": dkim });
    let half = private.get(..900).context("the key is short")?;
    let requests: Vec<(Method, &str, Option<Value>)> = vec![
        (
            Method::POST,
            "/api/v1/sending-domains",
            Some(create("canary.test", given(&public, &private))),
        ),
        // Errors are where others have told keys.
        (
            Method::POST,
            "/api/v1/sending-domains",
            Some(create("a.test", given(other_public, &private))),
        ),
        (Method::POST, "/api/v1/sending-domains", Some(create("b.test", given(&public, half)))),
        (Method::POST, "/api/v1/sending-domains", Some(create("c.test", given(&private, &public)))),
        (
            Method::POST,
            "/api/v1/sending-domains",
            Some(create("canary.test", given(&public, &private))),
        ),
        (
            Method::POST,
            "/api/v1/sending-domains",
            Some(create(&canary.pem, given(&public, &private))),
        ),
        (Method::POST, "/api/v1/sending-domains", Some(json!({ "domain": 1, "dkim": canary.pem }))),
        (Method::GET, "/api/v1/sending-domains", None),
        (Method::GET, "/api/v1/sending-domains/canary.test", None),
        (
            Method::POST,
            "/api/v1/sending-domains/canary.test/verify",
            Some(json!({ "dkim_verify": true })),
        ),
        (Method::GET, "/api/v1/subaccounts", None),
        (Method::GET, "/api/v1/subaccounts/1", None),
        (Method::GET, "/api/v1/ip-pools", None),
        (Method::GET, "/api/v1/platform", None),
        (Method::GET, "/api/v1/api-keys", None),
        (Method::GET, "/healthz", None),
        (Method::GET, "/readyz", None),
    ];
    scene.platform.dns.set_txt("canary._domainkey.canary.test", &canary.record);
    for (method, path, body) in requests {
        let reply = account.call(method, path, body.clone()).await?;
        // What a client says of itself may come back to it, if it gave a key for a name.
        if body.as_ref().is_none_or(|body| !body["domain"].to_string().contains("PRIVATE")) {
            spoken.push_str(&reply.body.to_string());
        }
    }
    let status = account.get("/api/v1/sending-domains/canary.test").await?;
    ensure!(status.results()["status"]["dkim_status"] == "valid", "{}", status.body);
    // It is opened and signs, at both doors; logins fail and succeed.
    let from_canary = simple("news@canary.test");
    let mut client = SmtpClient::connect(scene.platform.daemon.address("smtp")?)?;
    spoken.push_str(&client.ehlo()?.text());
    spoken.push_str(&client.auth_plain(&scene.acme.key, "wrong")?.text());
    spoken.push_str(&client.auth_login("SMTP_Injection", &scene.acme.key)?.text());
    spoken.push_str(&client.send(SENDER, &[READER], &from_canary)?.text());
    spoken.push_str(&client.command(&format!("AUTH {}", scene.acme.key))?.text());
    scene.filter("acme", READER, &from_canary)?;
    let key = account.get(&format!("/api/v1/sending-domains?key={}", "x")).await?;
    spoken.push_str(&key.body.to_string());
    Ok(spoken)
}

/// Pieces of the private half: in DER, in hexadecimal digits, and in base64.
fn private_parts(pair: &KeyPair) -> Result<Vec<Vec<u8>>> {
    let der = der(pair)?;
    let secret = der.get(PRIVATE_FROM..).context("the key is short")?;
    let mut parts: Vec<Vec<u8>> = secret.chunks_exact(16).map(<[u8]>::to_vec).collect();
    for chunk in secret.chunks_exact(16) {
        parts.push(
            chunk.iter().map(|octet| format!("{octet:02x}")).collect::<String>().into_bytes(),
        );
    }
    let text = base64_of(&pair.pem);
    let text = text.as_bytes().get(PRIVATE_FROM.div_ceil(3) * 4..).context("the key is short")?;
    parts.extend(text.chunks_exact(32).map(<[u8]>::to_vec));
    Ok(parts)
}

fn der(pair: &KeyPair) -> Result<Vec<u8>> {
    Ok(STANDARD.decode(base64_of(&pair.pem))?)
}

fn base64_of(pem: &str) -> String {
    pem.lines().filter(|line| !line.starts_with("-----")).collect()
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

fn contains(octets: &[u8], needle: &[u8]) -> bool {
    let Some(first) = needle.first() else { return false };
    let mut rest = octets;
    while let Some(at) = rest.iter().position(|octet| octet == first) {
        rest = &rest[at..];
        if rest.starts_with(needle) {
            return true;
        }
        rest = &rest[1..];
    }
    false
}

/// Where in a PKCS#8 key of 2048 bits the modulus and the exponent, which are public, are over.
const PRIVATE_FROM: usize = 26 + 4 + 3 + 261 + 5 + 4;

/// How any private RSA key begins in PKCS#8 (RFC 5208 §5, RFC 3279 §2.3.1): version 0, the algorithm, and
/// then an OCTET STRING, where a public key has a BIT STRING.
const PKCS8_RSA: &[u8] =
    b"\x02\x01\x00\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x04";

/// How one of 2048 bits begins in PKCS#1 (RFC 8017 §A.1.2).
const PKCS1_RSA: &[u8] = b"\x02\x01\x00\x02\x82\x01\x01\x00";

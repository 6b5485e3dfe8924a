//! Text of a customer that would become a tag, a field or a line of a signature (S8): the API takes none.

use anyhow::{Result, ensure};
use postseal_testkit::scene::{READER, signing_domains, simple};
use reqwest::Method;
use serde_json::{Value, json};

use super::{scene, tag};

#[tokio::test(flavor = "multi_thread")]
async fn no_field_of_the_api_brings_a_tag_or_a_line_into_a_signature() -> Result<()> {
    let scene = scene("").await?;
    let account = &scene.platform.account;
    let before = account.get("/api/v1/sending-domains").await?.body;
    for text in HOSTILE {
        let key = json!({ "selector": text, "private": "x", "public": "x" });
        let fields =
            |list: &str| json!({ "policy": { "signature": { "fields": { list: [text] } } } });
        let mut requests: Vec<(Method, &str, Value)> = vec![
            (Method::POST, "/api/v1/sending-domains", json!({ "domain": text })),
            (
                Method::POST,
                "/api/v1/sending-domains",
                json!({ "domain": format!("{text}.acme.test") }),
            ),
            (
                Method::POST,
                "/api/v1/sending-domains",
                json!({ "domain": "new.acme.test", "dkim": key }),
            ),
            (Method::POST, "/api/v1/ip-pools", json!({ "name": "p", "signing_domain": text })),
            (Method::POST, "/api/v1/ip-pools", json!({ "name": "p", "fbl_signing_domain": text })),
            (Method::POST, "/api/v1/ip-pools", json!({ "name": "p", "next_hop": text })),
            (Method::PUT, "/api/v1/platform", json!({ "signing_domain": text })),
            (
                Method::PUT,
                "/api/v1/subaccounts/1",
                json!({ "policy": { "signature": { "canonicalization": text } } }),
            ),
        ];
        // These are odd and harmless names of fields (RFC 5322 §3.6.8), which h= can carry.
        if !["x=y", "\"x\"", "x,y", "../x"].contains(&text) {
            for list in ["sign", "oversign", "oversign_if_present"] {
                requests.push((Method::PUT, "/api/v1/subaccounts/1", fields(list)));
            }
        }
        for (method, path, body) in requests {
            let reply = account.call(method.clone(), path, Some(body.clone())).await?;
            ensure!(
                (400..500).contains(&reply.status),
                "{method} {path} {body}: {} {}",
                reply.status,
                reply.body
            );
        }
    }
    let after = account.get("/api/v1/sending-domains").await?.body;
    ensure!(before == after, "a domain was made: {after}");

    let sent = scene.deliver(&scene.acme, READER, &simple("news@acme.test"))?;
    ensure!(signing_domains(&sent) == ["acme.test"], "{}", String::from_utf8_lossy(&sent));
    ensure!(tag(&sent, "c") == "relaxed/relaxed" && tag(&sent, "l").is_empty());
    Ok(())
}

/// Selectors, domains and field names of an attacker.
const HOSTILE: [&str; 14] = [
    "x; d=globex.test",
    "x;",
    "x\r\nDKIM-Signature: v=1",
    "x\r\n\tb=",
    "x\ny",
    "x\ry",
    "x y",
    "x\0y",
    "x\u{2028}y",
    "x=y",
    "\"x\"",
    "x:y",
    "x,y",
    "../x",
];

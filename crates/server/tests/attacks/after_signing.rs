//! Fields that are added, changed or taken out after signing (S1, S3, S21): what a reader sees cannot
//! change, and what relays change may.

use anyhow::{Result, ensure};
use postseal_testkit::message::{self, MessageBuilder};
use postseal_testkit::scene::READER;
use postseal_testkit::verifiers::{self, Outcome, Verifier};
use serde_json::json;

use super::{scene, tag};

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_is_added_breaks_the_signature() -> Result<()> {
    let scene = scene("").await?;
    let original = MessageBuilder::simple("news@acme.test", READER)
        .field("MIME-Version", "1.0")
        .field("Content-Type", "text/plain")
        .field("List-Unsubscribe", "<https://acme.test/u>")
        .field("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")
        .build();
    let sent = scene.deliver(&scene.acme, READER, &original)?;
    let complaints = verifiers::complaints(&scene.platform.dns_file(), &[&sent])?;
    ensure!(complaints.is_empty(), "{}", complaints.join("\n"));

    let mut changed = Vec::new();
    for name in MAY_NOT_BE_ADDED {
        let added = format!("{name}: evil@globex.test\r\n");
        let (header, body) = message::split(&sent);
        changed.push([added.as_bytes(), &sent].concat());
        changed.push([header, added.as_bytes(), b"\r\n", body].concat());
    }
    for verifier in Verifier::ALL {
        let all = verifier.verify(&scene.platform.dns_file(), &changed)?;
        for (message, verdicts) in changed.iter().zip(&all) {
            ensure!(
                verdicts.iter().all(|verdict| verdict.outcome != Outcome::Pass),
                "{} passes {}",
                verifier.name(),
                String::from_utf8_lossy(message)
            );
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_relays_rewrite_are_not_signed_and_cannot_be() -> Result<()> {
    let scene = scene("").await?;
    let mut builder = MessageBuilder::simple("news@acme.test", READER);
    for name in RELAYS_REWRITE {
        builder = builder.field(name, "before.test");
    }
    let sent = scene.deliver(&scene.acme, READER, &builder.build())?;
    let signed = tag(&sent, "h").to_ascii_lowercase();
    ensure!(signed.split(':').any(|name| name == "from"), "h={signed}");
    for name in RELAYS_REWRITE {
        let is_signed = signed.split(':').any(|signed| signed.eq_ignore_ascii_case(name));
        ensure!(!is_signed, "{name} is in h={signed}");
    }
    // A relay takes them all out, and puts its own on top.
    let (header, body) = message::split(&sent);
    let mut relayed = b"Return-Path: <x@y.test>\r\nReceived: by relay.test; now\r\n".to_vec();
    for field in message::fields(header) {
        let name = field.split(|octet| *octet == b':').next().unwrap_or_default();
        let is_rewritten =
            RELAYS_REWRITE.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name));
        if !is_rewritten {
            relayed.extend_from_slice(field);
        }
    }
    relayed.extend_from_slice(b"\r\n");
    relayed.extend_from_slice(body);
    let complaints = verifiers::complaints(&scene.platform.dns_file(), &[relayed])?;
    ensure!(complaints.is_empty(), "{}", complaints.join("\n"));

    // Nobody can ask for them either.
    let path = format!("/api/v1/subaccounts/{}", scene.acme.id);
    for name in ["Received", "return-path", "Bcc", "DKIM-Signature", "Authentication-Results"] {
        let request = json!({ "policy": { "signature": { "fields": { "sign": [name] } } } });
        let reply = scene.platform.account.put(&path, request).await?;
        ensure!((400..500).contains(&reply.status), "{name}: {} {}", reply.status, reply.body);
        ensure!(reply.error_message().contains(name), "{name}: {}", reply.body);
    }
    Ok(())
}

/// What a reader or a mail program goes by. Each is oversigned when the message has it, and the first eight
/// also when it does not.
const MAY_NOT_BE_ADDED: [&str; 12] = [
    "From",
    "To",
    "Cc",
    "Subject",
    "Reply-To",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Date",
    "Message-ID",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
];

/// What changes on the way (RFC 6376 §5.4.1 names the first two).
const RELAYS_REWRITE: [&str; 12] = [
    "Return-Path",
    "Received",
    "Delivered-To",
    "Bcc",
    "Resent-Bcc",
    "Comments",
    "Keywords",
    "Authentication-Results",
    "Received-SPF",
    "ARC-Seal",
    "X-Spam-Status",
    "X-Original-To",
];

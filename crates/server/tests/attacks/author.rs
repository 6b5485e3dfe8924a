//! From fields that several readers see differently (S1, S2): whoever is wrong, no tenant's domain signs.

use anyhow::{Context, Result, ensure};
use postseal_testkit::message;
use postseal_testkit::milter_client::Verdict;
use postseal_testkit::scene::{READER, Scene, signing_domains, simple};
use serde_json::json;

use super::scene;

#[tokio::test(flavor = "multi_thread")]
async fn a_from_that_reads_in_two_ways_is_refused_at_both_doors() -> Result<()> {
    let scene = scene("").await?;
    for lines in HOSTILE {
        let message = with_lines(lines);
        let before = scene.platform.sink.count();
        let reply = scene.send(&scene.acme, READER, &message)?;
        ensure!((500..600).contains(&reply.code), "{lines:?}: {reply}");
        ensure!(scene.platform.sink.count() == before, "{lines:?} came through");
        if is_shown_to_milters(lines) {
            let outcome = scene.filter("acme", READER, &message)?;
            let is_refusal =
                matches!(&outcome.verdict, Verdict::Reply(reply) if reply.starts_with('5'));
            ensure!(is_refusal, "milter, {lines:?}: {outcome:?}");
        }
    }
    // A first line that begins with a blank belongs to the field above it, which is our own: wherever it is
    // taken, it must not become an author.
    let message = with_lines(" From: ceo@globex.test\r\nFrom: news@acme.test");
    let before = scene.platform.sink.count();
    if scene.send(&scene.acme, READER, &message)?.is_positive() {
        let arrived = scene.platform.sink.messages();
        let sent = &arrived.get(before as usize).context("a 250 and nothing came")?.message;
        let authors = message::values(sent, "From");
        ensure!(authors == ["news@acme.test"], "{}", String::from_utf8_lossy(sent));
    }
    // What is only text stays only text.
    for lines in HARMLESS {
        let sent = scene.deliver(&scene.acme, READER, &with_lines(lines))?;
        ensure!(signing_domains(&sent) == ["acme.test"], "{lines:?}");
    }
    ensure!(made_only_by(&scene, &["acme.test", "globex.test"]), "somebody else signed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lenient_pool_signs_them_with_its_own_domain_and_never_with_a_tenants() -> Result<()> {
    let scene = scene("").await?;
    scene.platform.make_domain(&scene.platform.account, "pool.esp.test").await?;
    let request = json!({
        "name": "lenient",
        "signing_domain": "pool.esp.test",
        "policy": { "on_bad_from": "pool", "on_foreign_from": "pool" },
    });
    scene.platform.make_pool(request).await?;
    let hostile = [b"X-Postseal-Pool: lenient\r\n", &simple("a@@globex.test")[..]].concat();
    scene.wait_until("acme", &hostile, |outcome| {
        signing_domains(&outcome.apply(b"\r\n")) == ["pool.esp.test"]
    })?;

    let mut signed = 0;
    for lines in HOSTILE {
        let message = with_lines(&format!("X-Postseal-Pool: lenient\r\n{lines}"));
        let before = scene.platform.sink.count();
        let reply = scene.send(&scene.acme, READER, &message)?;
        if reply.is_positive() {
            let arrived = scene.platform.sink.messages();
            let sent = &arrived.get(before as usize).context("a 250 and nothing came")?.message;
            let by = signing_domains(sent);
            ensure!(by.is_empty() || by == ["pool.esp.test"], "{lines:?} signed by {by:?}");
            signed += by.len();
        }
        if is_shown_to_milters(lines) {
            let outcome = scene.filter("acme", READER, &message)?;
            let by = signing_domains(&outcome.apply(b"\r\n"));
            ensure!(by.is_empty() || by == ["pool.esp.test"], "milter, {lines:?}: {by:?}");
        }
    }
    ensure!(signed >= 20, "only {signed} were signed by the pool");
    Ok(())
}

/// Says whether the records of all messages name these domains alone.
fn made_only_by(scene: &Scene, domains: &[&str]) -> bool {
    scene.platform.daemon.events("message").iter().all(|line| {
        let made = line["signatures"].as_str().unwrap_or_default();
        let mut by = made.split(":d=").skip(1).filter_map(|rest| rest.split(':').next());
        by.all(|domain| domains.contains(&domain))
    })
}

/// A milter is shown fields; these lines are none that an MTA could show.
fn is_shown_to_milters(lines: &str) -> bool {
    !lines.contains('\0') && !lines.starts_with(' ')
}

fn with_lines(lines: &str) -> Vec<u8> {
    format!("{lines}\r\nTo: reader@inbox.test\r\nSubject: x\r\n\r\nHello.\r\n").into_bytes()
}

/// What acme may write over its message to look like globex, or to have globex sign.
const HOSTILE: &[&str] = &[
    // Two fields: some show the first, some the last.
    "From: news@acme.test\r\nFrom: ceo@globex.test",
    "From: ceo@globex.test\r\nFrom: news@acme.test",
    "From: news@acme.test\r\nfrom : ceo@globex.test",
    "From : ceo@globex.test\r\nFrom: news@acme.test",
    "From: news@acme.test\r\nFROM\t: ceo@globex.test",
    "From:\r\n news@acme.test\r\nFrom:\r\n ceo@globex.test",
    "From\0: ceo@globex.test\r\nFrom: news@acme.test",
    "From: news@acme.test\0\r\n ceo@globex.test",
    // No field, whatever else looks like an author.
    "X: no author",
    "Sender: news@acme.test",
    "Resent-From: news@acme.test",
    "X: y\r\n From: news@acme.test",
    "From:",
    // Another tenant's domain, in any spelling.
    "From: ceo@globex.test",
    "From: CEO@GLOBEX.TEST",
    "From: Globex <ceo@globex.test>",
    "From: ceo@ｇlobex.test",
    "From: ceo@globex。test",
    "From: ceo@glo\u{AD}bex.test",
    "From: ceo@globex.test.",
    "From: ceo@globex..test",
    // Two addresses.
    "From: news@acme.test, ceo@globex.test",
    "From: news@acme.test\r\n ,ceo@globex.test",
    "From: news@acme.test; ceo@globex.test",
    "From: news@acme.test ceo@globex.test",
    "From: team: news@acme.test, ceo@globex.test;",
    "From: news@acme.test <ceo@globex.test>",
    "From: ceo@globex.test <news@acme.test>",
    "From: <news@acme.test> <ceo@globex.test>",
    "From: <ceo@globex.test> news@acme.test",
    "From: <<ceo@globex.test> news@acme.test>",
    // One address that is two.
    "From: news@acme.test@globex.test",
    "From: ceo@globex.test@acme.test",
    "From: \"ceo@globex.test\"@acme.test",
    "From: <@acme.test:ceo@globex.test>",
    "From: ceo%globex.test@acme.test",
    "From: (ceo@globex.test) news@acme.test",
    "From: ceo@globex.test(.acme.test)",
    "From: \"x\\\" <ceo@globex.test>, \\\"\" <news@acme.test>",
    "From: \\\"x <ceo@globex.test>\\\" <news@acme.test>",
    "From: \"x <ceo@globex.test>\" y\" <news@acme.test>",
    "From: =?utf-8?Q?ceo=40globex.test=3E?= news@acme.test",
    "From: =?utf-8?Q?ceo=40globex.test?=@acme.test",
    "From: (((((((((x))))))))) news@acme.test",
];

/// What looks like an attack and is not: the address is the same for every reader.
const HARMLESS: &[&str] = &[
    "From: \"ceo@globex.test\" <news@acme.test>",
    "From: =?utf-8?Q?ceo=40globex.test?= <news@acme.test>",
    "Sender: ceo@globex.test\r\nFrom: news@acme.test\r\nReply-To: ceo@globex.test",
    "from: NEWS@ACME.TEST",
];

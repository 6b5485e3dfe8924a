//! The points of the signing rule that refuse: who wrote the message, and by which pool it leaves. Both
//! front doors give the same answer.

use anyhow::{Context, Result, ensure};
use postseal_testkit::milter_client::Verdict;
use postseal_testkit::scene::{READER, signing_domains, simple};
use serde_json::json;

use super::scene;

#[tokio::test(flavor = "multi_thread")]
async fn author_and_pool_are_refused_or_signed_alike_at_both_doors() -> Result<()> {
    let scene = scene("").await?;
    scene.platform.make_domain(&scene.platform.account, "pool.esp.test").await?;
    let request = json!({ "name": "bulk", "signing_domain": "pool.esp.test" });
    scene.platform.make_pool(request).await?;
    scene.platform.make_pool(json!({ "name": "theirs", "subaccounts": [2] })).await?;
    // Somebody claims it and has not verified it, which excludes nobody.
    scene.globex.api.create_domain("claimed.test").await?;
    let theirs = [b"X-Postseal-Pool: theirs\r\n", &simple("a@globex.test")[..]].concat();
    scene.wait_until("globex", &theirs, |outcome| outcome.verdict == Verdict::Continue)?;

    for (fields, want) in CASES {
        let message = format!("{fields}To: {READER}\r\nSubject: x\r\n\r\nHello.\r\n").into_bytes();
        let before = scene.platform.sink.count();
        let reply = scene.send(&scene.acme, READER, &message)?;
        let by_proxy = if reply.is_positive() {
            let arrived = scene.platform.sink.messages();
            let sent = &arrived.get(before as usize).context("a 250 and nothing came")?.message;
            signing_domains(sent).join(" ")
        } else {
            ensure!(scene.platform.sink.count() == before, "{fields:?} refused and sent on");
            reply.text()
        };
        let outcome = scene.filter("acme", READER, &message)?;
        let by_milter = match &outcome.verdict {
            Verdict::Continue => signing_domains(&outcome.apply(b"\r\n")).join(" "),
            Verdict::Reply(reply) => reply.clone(),
            other @ (Verdict::Accept | Verdict::Reject | Verdict::TempFail | Verdict::Discard) => {
                format!("{other:?}")
            }
        };
        ensure!(by_proxy == by_milter, "{fields:?}: proxy {by_proxy:?}, milter {by_milter:?}");
        let is_right = match want {
            Signed(domain) => by_proxy == *domain,
            Refused(code, word) => by_proxy.starts_with(code) && by_proxy.contains(word),
        };
        ensure!(is_right, "{fields:?}: {by_proxy:?}");
    }
    Ok(())
}

enum Want {
    /// Goes out with one signature of this domain.
    Signed(&'static str),
    /// Is refused with this code, and a text that has this in it.
    Refused(&'static str, &'static str),
}

use Want::{Refused, Signed};

const CASES: &[(&str, Want)] = &[
    // Who wrote it.
    ("From: news@acme.test\r\n", Signed("acme.test")),
    ("From: News, \"a, b\" <news@acme.test>\r\n", Refused("550 5.6.0", "From")),
    ("From: a@acme.test, b@acme.test\r\n", Signed("acme.test")),
    ("From: news@ACME.TEST\r\nX-Postseal-Pool: bulk\r\n", Signed("acme.test")),
    ("From: news@sub.acme.test\r\nX-Postseal-Pool: bulk\r\n", Signed("pool.esp.test")),
    ("From: a@claimed.test\r\nX-Postseal-Pool: bulk\r\n", Signed("pool.esp.test")),
    (
        "From: a@nobodys.test\r\nSender: a@acme.test\r\nX-Postseal-Pool: bulk\r\n",
        Signed("pool.esp.test"),
    ),
    ("From: a@acme.test, b@nobodys.test\r\nX-Postseal-Pool: bulk\r\n", Signed("pool.esp.test")),
    ("From: a@nobodys.test\r\n", Signed("")),
    // From that cannot be read one way only.
    ("", Refused("550 5.6.0", "From")),
    ("From:\r\n", Refused("550 5.6.0", "From")),
    ("From: news\r\n", Refused("550 5.6.0", "From")),
    ("From: a@acme.test\r\nFrom: a@acme.test\r\n", Refused("550 5.6.0", "From")),
    ("From: a@@acme.test\r\nX-Postseal-Pool: bulk\r\n", Refused("550 5.6.0", "From")),
    ("From: a@acme.test b@acme.test\r\n", Refused("550 5.6.0", "From")),
    ("From: a@[192.0.2.1]\r\n", Refused("550 5.6.0", "From")),
    ("Sender: news@acme.test\r\n", Refused("550 5.6.0", "From")),
    // A domain that another tenant verified.
    ("From: ceo@globex.test\r\n", Refused("550 5.7.1", "globex.test")),
    ("From: ceo@GLOBEX.test\r\nX-Postseal-Pool: bulk\r\n", Refused("550 5.7.1", "globex.test")),
    ("From: a@acme.test, ceo@globex.test\r\n", Refused("550 5.7.1", "globex.test")),
    // The pool.
    ("From: a@acme.test\r\nX-Postseal-Pool: no_such_pool\r\n", Refused("550 5.7.1", "IP Pool")),
    ("From: a@acme.test\r\nX-Postseal-Pool: theirs\r\n", Refused("550 5.7.1", "IP Pool")),
    (
        "From: a@acme.test\r\nX-Postseal-Pool: bulk\r\nX-Postseal-Pool: default\r\n",
        Refused("550 5.6.0", ""),
    ),
    ("From: a@acme.test\r\nX-Postseal-Pool:\r\n", Refused("550 5", "")),
    (
        "From: a@acme.test\r\nX-MSYS-API: {\"options\":{\"ip_pool\":\"theirs\"}}\r\n",
        Refused("550 5.7.1", "IP Pool"),
    ),
    (
        "From: a@acme.test\r\nX-MSYS-API: {\"options\":{\"ip_pool\":7}}\r\n",
        Refused("550 5.6.0", ""),
    ),
    ("From: a@acme.test\r\nX-MSYS-API: {\"options\":\r\n", Refused("550 5.6.0", "")),
    (
        "From: a@acme.test\r\nX-MSYS-API: {\"options\":{\"ip_pool\":\"bulk\"}}\r\nX-Postseal-Pool: default\r\n",
        Refused("550 5.6.0", ""),
    ),
    (
        "From: a@nobodys.test\r\nX-MSYS-API: {\"options\":{\"ip_pool\":\"bulk\"}}\r\nX-Postseal-Pool: BULK\r\n",
        Signed("pool.esp.test"),
    ),
];

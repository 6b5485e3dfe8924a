//! Mail that comes back to us again and again (S19): one signature of ours for each identity, whatever the
//! number of turns.

use anyhow::{Result, ensure};
use postseal_testkit::milter_client::Verdict;
use postseal_testkit::scene::{signing_domains, simple};
use postseal_testkit::verifiers;
use serde_json::json;

use super::{change, scene};

#[tokio::test(flavor = "multi_thread")]
async fn fifty_turns_leave_one_signature_for_each_identity() -> Result<()> {
    let scene = scene("").await?;
    scene.platform.make_domain(&scene.platform.account, "fbl.esp.test").await?;
    let request = json!({ "name": "bulk", "fbl_signing_domain": "fbl.esp.test" });
    let pool = scene.platform.make_pool(request).await?;
    change(&scene, &scene.acme, json!({ "ip_pool": pool })).await?;
    let both = ["acme.test", "fbl.esp.test"];
    // The change of the pool takes a moment.
    let original = simple("news@acme.test");
    let mut message = original.clone();
    for _ in 0..1000 {
        message = scene.filter("acme", YAHOO, &original)?.apply(&original);
        if signing_domains(&message) == both {
            break;
        }
    }
    for turn in 0..50 {
        message = if turn % 2 == 0 {
            let outcome = scene.filter("acme", YAHOO, &message)?;
            ensure!(outcome.verdict == Verdict::Continue, "turn {turn}: {outcome:?}");
            outcome.apply(&message)
        } else {
            scene.deliver(&scene.acme, YAHOO, &message)?
        };
        ensure!(signing_domains(&message) == both, "turn {turn}: {:?}", signing_domains(&message));
    }
    let complaints = verifiers::complaints(&scene.platform.dns_file(), &[&message])?;
    ensure!(complaints.is_empty(), "{}", complaints.join("\n"));

    // A loop through the proxy ends by itself.
    let mut turns = 0;
    loop {
        let before = scene.platform.sink.count();
        let reply = scene.send(&scene.acme, YAHOO, &message)?;
        if !reply.is_positive() {
            ensure!(reply.text().starts_with("554 5.4.6"), "{reply}");
            ensure!(scene.platform.sink.count() == before, "refused and sent on");
            break;
        }
        message = scene.platform.sink.messages()[before as usize].message.clone();
        turns += 1;
        ensure!(turns < 200, "the loop never ends");
    }
    Ok(())
}

const YAHOO: &str = "reader@yahoo.com";

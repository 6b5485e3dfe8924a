//! Next hops that are down, close, or refuse at each stage: the client hears it, and keeps its message.

use anyhow::{Result, ensure};
use postseal_testkit::scene::{READER, simple};
use postseal_testkit::sink::{Action, Stage};
use serde_json::json;

use super::scene;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_hop_refuses_at_each_stage_is_told_and_nothing_is_lost() -> Result<()> {
    let scene = scene("").await?;
    let sink = &scene.platform.sink;
    let message = simple("news@acme.test");
    // An answer that is about the message is passed on. One about our own dealings with the hop would make
    // the client give the message up for our mistake.
    let ours = "451 4.4.0";
    // The first connection is the one on which the daemon looked what the hop offers.
    scene.deliver(&scene.acme, READER, &message)?;
    let broken = "451 4.4.2";
    for (stage, four, five, closed) in [
        (Stage::Greeting, ours, ours, broken),
        (Stage::Hello, ours, ours, broken),
        (Stage::Mail, "450 4.9.9", "550 5.9.9", broken),
        (Stage::Recipient, "450 4.9.9", "550 5.9.9", broken),
        (Stage::Data, "450 4.9.9", "550 5.9.9", broken),
        (Stage::EndOfData, "450 4.9.9", "550 5.9.9", broken),
    ] {
        for (action, want) in [
            (Action::Reply("450 4.9.9 not now".to_owned()), four),
            (Action::Reply("550 5.9.9 never".to_owned()), five),
            (Action::Reply("421 4.3.2 closing".to_owned()), "4"),
            (Action::Close, closed),
        ] {
            let before = sink.count();
            // A connection that waits for the next message is closed, so that every stage is passed.
            sink.always(Stage::Reset, Action::Close);
            sink.always(stage, action.clone());
            let reply = scene.send(&scene.acme, READER, &message)?;
            ensure!(reply.text().starts_with(want), "{action:?} at {stage:?}: {reply}");
            ensure!(reply.enhanced_code().is_some(), "{action:?} at {stage:?}: {reply}");
            ensure!(sink.count() == before, "{action:?} at {stage:?} and it came");
            sink.obey();
            scene.deliver(&scene.acme, READER, &message)?;
        }
    }
    // One recipient of two: neither gets it, and the client hears for whom.
    sink.refuse_recipient("nobody@inbox.test", "550 5.1.1 nobody");
    let before = sink.count();
    let mut client = scene.platform.smtp(&scene.acme.key)?;
    let reply = client.send("bounce@acme.test", &[READER, "nobody@inbox.test"], &message)?;
    ensure!(reply.text().starts_with("550 5.1.1"), "{reply}");
    ensure!(sink.count() == before, "one recipient got it");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hop_that_is_down_or_unknown_leaves_mail_with_its_sender() -> Result<()> {
    // Nobody listens on the first; the second has no address.
    let scene = scene(
        "[next_hops.down]\naddress = \"127.0.0.1:1\"\n\
         [next_hops.nowhere]\naddress = \"no-such-host.invalid:25\"",
    )
    .await?;
    for (name, want) in [("down", "451 4.4.1"), ("nowhere", "451 4.4.3")] {
        scene.platform.make_pool(json!({ "name": name, "next_hop": name })).await?;
        let field = format!("X-Postseal-Pool: {name}\r\n");
        let message = [field.as_bytes(), &simple("news@acme.test")].concat();
        scene.wait_until("acme", &message, |outcome| outcome.modifications.len() == 2)?;
        let reply = scene.send(&scene.acme, READER, &message)?;
        ensure!(reply.text().starts_with(want), "{name}: {reply}");
    }
    ensure!(scene.platform.sink.count() == 0, "it went by another hop");
    // Mail for other hops is not held up.
    scene.deliver(&scene.acme, READER, &simple("news@acme.test"))?;
    Ok(())
}

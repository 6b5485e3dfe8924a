//! A message is answered 250 when the next hop has it, and never otherwise (F8), whoever dies meanwhile.

use anyhow::{Result, ensure};
use postseal_testkit::scene::{READER, SENDER, simple};
use postseal_testkit::sink::{Action, Stage};
use serde_json::json;

use super::raw_hop::{Behaviour, RawHop};
use super::{change, scene};

#[tokio::test(flavor = "multi_thread")]
async fn a_hop_that_dies_over_a_message_leaves_it_with_the_sender() -> Result<()> {
    let scene = scene("").await?;
    let sink = &scene.platform.sink;
    // (when it dies, whether it has the message then)
    for (stage, action, has_it) in [
        (Stage::Data, Action::Close, 0),
        (Stage::EndOfData, Action::Close, 0),
        // Nobody can know that it has it. This is the one case in which a message comes twice.
        (Stage::EndOfData, Action::StoreAndClose, 1),
    ] {
        let before = sink.count();
        sink.once(stage, action.clone());
        let reply = scene.send(&scene.acme, READER, &simple("news@acme.test"))?;
        ensure!(reply.text().starts_with("451 4.4.2"), "{action:?} at {stage:?}: {reply}");
        ensure!(sink.count() == before + has_it, "{action:?} at {stage:?}: tried twice");
        // The sender tries again, and the hop is well.
        scene.deliver(&scene.acme, READER, &simple("news@acme.test"))?;
        ensure!(sink.count() == before + has_it + 1, "the second try came more than once");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_dies_over_a_message_has_not_taken_it() -> Result<()> {
    let hop = RawHop::start(Behaviour { is_mute: true, ..Behaviour::default() })?;
    let config = format!("[next_hops.mute]\naddress = \"{}\"\ntls = \"none\"", hop.address());
    let scene = scene(&config).await?;
    let pool = scene.platform.make_pool(json!({ "name": "mute", "next_hop": "mute" })).await?;
    change(&scene, &scene.acme, json!({ "ip_pool": pool })).await?;
    // Until the change is there, mail goes to the sink and is answered.
    loop {
        let mut client = scene.platform.smtp(&scene.acme.key)?;
        client.mail(SENDER)?;
        client.rcpt(READER)?;
        ensure!(client.command("DATA")?.code == 354);
        client.write_raw(b"From: news@acme.test\r\n\r\nHi\r\n.\r\n")?;
        let sunk = scene.platform.sink.count();
        let waiting = std::thread::spawn(move || client.read_reply());
        // Either the hop has the whole message, or the answer is there.
        while hop.seen().contents.is_empty() && !waiting.is_finished() {
            std::thread::yield_now();
        }
        if hop.seen().contents.is_empty() {
            let reply = waiting.join().map_err(|_| anyhow::anyhow!("panicked"))??;
            ensure!(reply.code == 250 && scene.platform.sink.count() >= sunk, "{reply}");
            continue;
        }
        hop.wait_for(1)?;
        scene.platform.daemon.kill()?;
        let reply = waiting.join().map_err(|_| anyhow::anyhow!("panicked"))?;
        ensure!(reply.is_err(), "answered before the hop had: {reply:?}");
        return Ok(());
    }
}

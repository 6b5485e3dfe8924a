//! Kills in the middle of everything (SIGKILL): what was answered is there, nothing is corrupt, and nothing
//! signs that was not valid.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use postseal_testkit::api_client::ApiClient;
use postseal_testkit::message::{self, MessageBuilder};
use postseal_testkit::scene::{READER, SENDER, Scene, signing_domains, simple};
use postseal_testkit::verifiers;
use serde_json::json;
use sqlx::{Connection as _, SqliteConnection};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::scene;

#[tokio::test(flavor = "multi_thread")]
async fn kills_during_traffic_and_changes_lose_nothing_that_was_answered() -> Result<()> {
    let mut scene = scene("").await?;
    let key = scene.platform.daemon.wait_for_line("first API key (shown once): ")?;
    let mut made = Vec::new();
    let mut taken = 0;
    for round in 0..ROUNDS {
        taken += traffic_until_killed(&scene, round, &mut made).await?;
        let file = scene.platform.daemon.data().join("postseal.db");
        let mut store = SqliteConnection::connect(&format!("sqlite://{}", file.display())).await?;
        let (verdict,): (String,) =
            sqlx::query_as("PRAGMA integrity_check").fetch_one(&mut store).await?;
        ensure!(verdict == "ok", "round {round}: {verdict}");
        store.close().await?;

        let again = scene.platform.daemon.start_again()?;
        scene.platform.daemon = again;
        scene.platform.account = ApiClient::new(&scene.platform.daemon.url()?, &key);
        ensure!(scene.platform.sink.count() >= taken, "an answered message is lost");
        for domain in &made {
            let path = format!("/api/v1/sending-domains/{domain}");
            let reply = scene.platform.account.for_subaccount(1).get(&path).await?;
            ensure!(reply.status == 200, "round {round}: {domain}: {}", reply.body);
            ensure!(reply.results()["status"]["dkim_status"] != "valid", "{}", reply.body);
        }
        // None of these was verified, and none signs.
        for domain in made.iter().rev().take(5) {
            let message = simple(&format!("news@{domain}"));
            let outcome = scene.filter("acme", READER, &message)?;
            ensure!(signing_domains(&outcome.apply(b"\r\n")).is_empty(), "{domain}: {outcome:?}");
        }
        let outcome = scene.filter("acme", READER, &simple("news@acme.test"))?;
        ensure!(signing_domains(&outcome.apply(b"\r\n")) == ["acme.test"], "{outcome:?}");
    }
    ensure!(made.len() as u64 >= ROUNDS, "{} domains were made", made.len());
    println!("{taken} messages and {} domains were answered, {ROUNDS} kills", made.len());
    let arrived = scene.platform.sink.messages();
    // More may have come than were answered: those under way at a kill, one for each connection.
    let unanswered = arrived.len() as u64 - taken;
    ensure!(unanswered <= ROUNDS * SENDERS, "{unanswered} came and were not answered");
    for one in &arrived {
        let by = signing_domains(&one.message);
        ensure!(by == ["acme.test"], "{by:?}: {:?}", message::values(&one.message, "From"));
    }
    let some: Vec<&[u8]> = arrived.iter().rev().take(100).map(|one| &one.message[..]).collect();
    let complaints = verifiers::complaints(&scene.platform.dns_file(), &some)?;
    ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
    Ok(())
}

/// Mail and changes at once, until the daemon is killed. Gives the number of messages that were answered.
async fn traffic_until_killed(scene: &Scene, round: u64, made: &mut Vec<String>) -> Result<u64> {
    let before = scene.platform.sink.count();
    let changed = Arc::new(Semaphore::new(0));
    let mut changes = JoinSet::new();
    for lane in 0..2 {
        let api = scene.platform.account.for_subaccount(1);
        let changed = Arc::clone(&changed);
        changes.spawn(async move {
            let mut made = Vec::new();
            for number in 0.. {
                let domain = format!("d{round}-{lane}-{number}.test");
                let request = json!({ "domain": domain });
                match api.post("/api/v1/sending-domains", request).await {
                    Ok(reply) if reply.status == 200 => {
                        made.push(domain);
                        changed.add_permits(1);
                    }
                    Ok(_) | Err(_) => break,
                }
            }
            made
        });
    }
    let over = AtomicBool::new(false);
    let taken = AtomicU64::new(0);
    thread::scope(|scope| -> Result<()> {
        for _ in 0..SENDERS {
            scope.spawn(|| {
                let Ok(mut client) = scene.platform.smtp(&scene.acme.key) else { return };
                let message =
                    MessageBuilder::simple("news@acme.test", READER).body_of(3000).build();
                while !over.load(Ordering::Relaxed) {
                    match client.send(SENDER, &[READER], &message) {
                        Ok(reply) if reply.code == 250 => {
                            taken.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(_) | Err(_) => return,
                    }
                }
            });
        }
        let enough = || -> Result<()> {
            let patience = Duration::from_secs(30);
            scene.platform.sink.wait_for(before + 40 + 17 * round, patience)?;
            let changes = changed.acquire_many(3);
            let changes = tokio::time::timeout(patience, changes);
            drop(tokio::runtime::Handle::current().block_on(changes).context("no changes")??);
            scene.platform.daemon.kill()
        };
        let killed = tokio::task::block_in_place(enough);
        over.store(true, Ordering::Relaxed);
        killed
    })?;
    while let Some(lane) = changes.join_next().await {
        made.extend(lane?);
    }
    // What the sink has read of a message that nobody answered may still be stored.
    Ok(taken.into_inner())
}

/// Kills.
const ROUNDS: u64 = 4;

/// Connections that send at once.
const SENDERS: u64 = 3;

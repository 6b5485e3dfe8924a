//! The attacks that a signing platform has to expect, against the real daemon.
//!
//! `docs/attacks.md` lists them with their ids, and says which other tests hold the same lines in the
//! crates behind it. Each file here is one kind of attack.

#[path = "attacks/after_signing.rs"]
mod after_signing;
#[path = "attacks/author.rs"]
mod author;
#[path = "attacks/delivery.rs"]
mod delivery;
#[path = "attacks/injection.rs"]
mod injection;
#[path = "attacks/loops.rs"]
mod loops;
#[path = "attacks/milter.rs"]
mod milter;
#[path = "attacks/postfix.rs"]
mod postfix;
#[path = "attacks/raw_hop.rs"]
mod raw_hop;
#[path = "attacks/relay.rs"]
mod relay;
#[path = "attacks/secrets.rs"]
mod secrets;
#[path = "attacks/smuggling.rs"]
mod smuggling;
#[path = "attacks/starttls.rs"]
mod starttls;
#[path = "attacks/tenants.rs"]
mod tenants;

use std::path::Path;

use anyhow::{Result, ensure};
use postseal_testkit::platform::Tenant;
use postseal_testkit::scene::Scene;
use serde_json::Value;

/// Two tenants on a daemon with `more` configuration.
async fn scene(more: &str) -> Result<Scene> {
    Scene::start(Path::new(env!("CARGO_BIN_EXE_postseal")), more).await
}

/// Changes a subaccount over the API.
async fn change(scene: &Scene, tenant: &Tenant, request: Value) -> Result<()> {
    let path = format!("/api/v1/subaccounts/{}", tenant.id);
    let reply = scene.platform.account.put(&path, request).await?;
    ensure!(reply.status == 200, "subaccount: {} {}", reply.status, reply.body);
    Ok(())
}

/// The value of a tag of the uppermost signature, without white space.
fn tag(message: &[u8], name: &str) -> String {
    let values = postseal_testkit::message::values(message, "DKIM-Signature");
    let first = values.first().cloned().unwrap_or_default();
    first
        .split(';')
        .find_map(|tag| tag.trim().strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
        .unwrap_or_default()
        .split_whitespace()
        .collect()
}

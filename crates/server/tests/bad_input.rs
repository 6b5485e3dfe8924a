//! Bad input of every kind, and machines that fail, against the real daemon: each ends in a clear answer to
//! the one who can act, nothing is lost, and the daemon goes on.

#[path = "bad_input/clients.rs"]
mod clients;
#[path = "bad_input/content.rs"]
mod content;
#[path = "bad_input/disk.rs"]
mod disk;
#[path = "bad_input/gigabyte.rs"]
mod gigabyte;
#[path = "bad_input/kill.rs"]
mod kill;
#[path = "bad_input/master_key.rs"]
mod master_key;
#[path = "bad_input/next_hops.rs"]
mod next_hops;
#[path = "bad_input/rule.rs"]
mod rule;

use std::path::Path;

use anyhow::Result;
use postseal_testkit::scene::Scene;

/// Two tenants on a daemon with `more` configuration.
async fn scene(more: &str) -> Result<Scene> {
    Scene::start(binary(), more).await
}

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_postseal"))
}

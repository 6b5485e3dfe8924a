//! Follows the store: every change that signing depends on reaches the snapshot.
//!
//! The store says when something was committed by this process; a look every half second finds what
//! another process committed. What changed since the snapshot's revision is applied to it, and the
//! result goes behind the one pointer that messages take it from. A store that cannot be read leaves
//! the last snapshot in place: mail is signed from it, and the failure is counted and logged once.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use postseal_engine::{ApplyError, PolicyLayer, Revision, Snapshot};
use postseal_store::{Store, StoreError};
use thiserror::Error;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock;
use crate::metrics::Metrics;

/// Keeps a snapshot up to date with the store.
pub struct Follower {
    store: Store,
    snapshot: Arc<ArcSwap<Snapshot>>,
    /// What the configuration says of policy, which lies under the store's rows.
    base_policy: PolicyLayer,
    metrics: Metrics,
}

impl Follower {
    /// Loads everything; the result keeps the snapshot up to date from then on.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn start(
        store: Store,
        base_policy: PolicyLayer,
        metrics: Metrics,
    ) -> Result<Self, StoreError> {
        let (revision, rows) = store.load_all().await?;
        let snapshot = Snapshot::load(revision, rows).with_base_policy(base_policy.clone());
        metrics.snapshot_revision.set(revision.get().cast_signed());
        metrics.snapshot_confirmed.set(clock::now().as_secs() as f64);
        let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
        Ok(Self { store, snapshot, base_policy, metrics })
    }

    /// The pointer behind which the newest snapshot is.
    pub fn snapshot(&self) -> Arc<ArcSwap<Snapshot>> {
        Arc::clone(&self.snapshot)
    }

    /// Follows until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let mut committed = self.store.watch();
        let mut health = Health::Reading;
        loop {
            let look = timeout(LOOK_LIMIT, self.look()).await.unwrap_or(Err(FollowError::TooSlow));
            match (look, health) {
                (Ok(revision), Health::Failing) => {
                    info!(revision = revision.get(), "the store can be read again");
                    health = Health::Reading;
                }
                (Ok(_), Health::Reading) => {}
                (Err(error), Health::Reading) => {
                    self.metrics.snapshot_failures.inc();
                    warn!(%error, "the store cannot be read for changes; signing goes on from what is known");
                    health = Health::Failing;
                }
                (Err(_), Health::Failing) => {
                    self.metrics.snapshot_failures.inc();
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                // The store is never dropped while this runs, so the only news is a commit.
                _ = committed.changed() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// Applies what changed since the snapshot's revision, until nothing is left.
    async fn look(&self) -> Result<Revision, FollowError> {
        loop {
            let current = self.snapshot.load_full();
            let next = match self.store.changes_since(current.revision()).await {
                Ok(rows) if rows.is_empty() => {
                    self.metrics.snapshot_confirmed.set(clock::now().as_secs() as f64);
                    return Ok(current.revision());
                }
                Ok(rows) => current.apply(rows)?,
                // This signer was away for longer than the log reaches back.
                Err(StoreError::Forgotten) => {
                    let (revision, rows) = self.store.load_all().await?;
                    Snapshot::load(revision, rows).with_base_policy(self.base_policy.clone())
                }
                Err(error) => return Err(error.into()),
            };
            self.metrics.snapshot_revision.set(next.revision().get().cast_signed());
            self.snapshot.store(Arc::new(next));
        }
    }
}

#[derive(Clone, Copy)]
enum Health {
    Reading,
    Failing,
}

/// Why a look at the store brought nothing.
#[derive(Debug, Error)]
enum FollowError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the change log is out of order: {0}")]
    Order(#[from] ApplyError),
    #[error("it did not answer within {} seconds", LOOK_LIMIT.as_secs())]
    TooSlow,
}

/// How often to look without having been woken: a change must reach every signer within a second.
const POLL: Duration = Duration::from_millis(500);
/// How long one look may take.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

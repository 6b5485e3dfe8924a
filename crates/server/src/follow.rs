//! Follows the store: every change that signing depends on reaches the snapshot.
//!
//! The store says when something was committed by this process; a look every half second finds what
//! another process committed. What changed since the snapshot's revision is applied to it, and the
//! result goes behind the one pointer that messages take it from. A store that cannot be read leaves
//! the last snapshot in place: mail is signed from it, and the failure is counted and logged once.
//!
//! A changed row that is damaged is logged and counted, and the others go on. It is left as it was last known,
//! but a domain signs no more: the change may have been that its key is gone. A start, and a load of
//! everything, need every row.
//!
//! A key that signs no more is dropped from memory with the change that says so.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use postseal_engine::{ApplyError, Change, DomainRow, KeyEntry, PolicyLayer, Revision, Snapshot};
use postseal_store::{Damaged, DamagedDomain, Store, StoreError};
use thiserror::Error;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::clock;
use crate::metrics::Metrics;
use crate::signing::Signer;

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
        metrics.snapshot_revision.set(snapshot.revision().get().cast_signed());
        metrics.snapshot_confirmed.set(clock::now().as_secs() as f64);
        let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
        Ok(Self { store, snapshot, base_policy, metrics })
    }

    /// The pointer behind which the newest snapshot is.
    pub fn snapshot(&self) -> Arc<ArcSwap<Snapshot>> {
        Arc::clone(&self.snapshot)
    }

    /// Follows until `stop` is cancelled. `signer` is told of keys that sign no more.
    pub async fn run(self, signer: Arc<Signer>, stop: CancellationToken) {
        let mut committed = self.store.watch();
        let mut health = Health::Reading;
        loop {
            let look = tokio::select! {
                () = stop.cancelled() => return,
                look = self.look(&signer) => look,
            };
            let pause = match look {
                Ok(revision) => {
                    if let Health::Failing { .. } = health {
                        info!(revision = revision.get(), "the store can be read again");
                    }
                    health = Health::Reading;
                    POLL
                }
                Err(error) => {
                    self.metrics.snapshot_failures.inc();
                    health = health.after(&error);
                    health.pause()
                }
            };
            let news = async {
                // Who has to load everything does not do so at each commit.
                if pause > POLL {
                    std::future::pending::<()>().await;
                }
                // The store is never dropped while this runs, so the only news is a commit.
                let _ = committed.changed().await;
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = news => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Applies what changed since the snapshot's revision, until nothing is left.
    async fn look(&self, signer: &Signer) -> Result<Revision, FollowError> {
        loop {
            let current = self.snapshot.load_full();
            let changes = timeout(LOOK_LIMIT, self.store.changes_since(current.revision()))
                .await
                .map_err(|_| FollowError::TooSlow)?;
            let (next, left) = match changes {
                Ok(changes) if changes.until == current.revision() => {
                    self.metrics.snapshot_confirmed.set(clock::now().as_secs() as f64);
                    return Ok(current.revision());
                }
                Ok(mut changes) => {
                    report(&changes.damaged, &self.metrics);
                    changes.rows.extend(stopped(&current, &changes.damaged));
                    changes.rows.sort_by_key(|(revision, _)| *revision);
                    let had = keys_of_changed(&current, &changes.rows);
                    let next = current.apply(changes.rows)?.up_to(changes.until)?;
                    let left = had.into_iter().filter(|key| !signs(&next, key)).collect();
                    (next, left)
                }
                // This signer was away for longer than the log reaches back. Loading everything takes as long as
                // it takes; each query in it has a limit of its own.
                Err(StoreError::Forgotten) => {
                    let (revision, rows) =
                        self.store.load_all().await.map_err(FollowError::Load)?;
                    let next = Snapshot::load(revision, rows);
                    (next.with_base_policy(self.base_policy.clone()), LeftKeys::Unknown)
                }
                Err(error) => return Err(error.into()),
            };
            self.metrics.snapshot_revision.set(next.revision().get().cast_signed());
            self.snapshot.store(Arc::new(next));
            match left {
                LeftKeys::These(keys) => keys.iter().for_each(|key| signer.forget_key(key)),
                LeftKeys::Unknown => {
                    signer.forget_all_keys();
                    // What came since is for the next look, so that a log which always asks for
                    // everything does not keep this one.
                    return Ok(self.snapshot.load().revision());
                }
            }
        }
    }
}

/// Keys that signed in a snapshot and do not in the one after it.
enum LeftKeys {
    These(Vec<Arc<KeyEntry>>),
    /// Everything was loaded anew.
    Unknown,
}

impl FromIterator<Arc<KeyEntry>> for LeftKeys {
    fn from_iter<T: IntoIterator<Item = Arc<KeyEntry>>>(keys: T) -> Self {
        Self::These(keys.into_iter().collect())
    }
}

/// The keys with which the domains that changed have signed so far.
fn keys_of_changed(before: &Snapshot, changes: &[(Revision, Change)]) -> Vec<Arc<KeyEntry>> {
    let domain = |change: &Change| match change {
        Change::Domain(row) => before.sending_domain(row.owner(), row.name()).cloned(),
        Change::DomainRemoved { owner, name } => before.sending_domain(*owner, name).cloned(),
        Change::Tenant(_)
        | Change::TenantRemoved(_)
        | Change::Pool(_)
        | Change::PoolRemoved(_)
        | Change::ApiKey(_)
        | Change::ApiKeyRemoved(_)
        | Change::Provider(_)
        | Change::ProviderRemoved(_)
        | Change::Platform(_) => None,
    };
    changes.iter().filter_map(|(_, change)| domain(change)).flat_map(|row| keys(&row)).collect()
}

fn signs(snapshot: &Snapshot, key: &KeyEntry) -> bool {
    let row = snapshot.sending_domain(key.owner, &key.domain);
    row.is_some_and(|row| keys(row).iter().any(|other| other.id == key.id))
}

fn keys(row: &DomainRow) -> Vec<Arc<KeyEntry>> {
    let Some(keys) = row.signing_keys() else { return Vec::new() };
    std::iter::once(keys.rsa()).chain(keys.ed25519()).cloned().collect()
}

/// The domains whose rows cannot be read: they are their owners', or only claimed, as the store says, and sign
/// no more. Where not even that can be read, it is as it was last known.
fn stopped(before: &Snapshot, damaged: &[Damaged]) -> Vec<(Revision, Change)> {
    let stop = |damaged: &Damaged| {
        let DamagedDomain { owner, name, is_verified } = damaged.domain.as_ref()?;
        let known = before.sending_domain(*owner, name).filter(|row| row.owner() == *owner);
        let claimed = || DomainRow::claimed(*owner, name.clone());
        let row = match is_verified {
            Some(true) => known.cloned().unwrap_or_else(claimed).verified(),
            Some(false) => claimed(),
            None => known.filter(|row| row.is_verified())?.clone().verified(),
        };
        Some((damaged.revision, Change::Domain(row)))
    };
    damaged.iter().filter_map(stop).collect()
}

/// Tells an operator of rows that cannot be read.
fn report(damaged: &[Damaged], metrics: &Metrics) {
    metrics.damaged_rows.inc_by(damaged.len() as u64);
    for row in damaged.iter().take(MAX_TOLD) {
        error!(error = %row.error, "a changed row of the store cannot be read; all else goes on");
    }
    if let Some(more) = damaged.len().checked_sub(MAX_TOLD).filter(|more| *more > 0) {
        error!(more, "more rows of the store are damaged");
    }
}

enum Health {
    Reading,
    Failing {
        /// What was logged.
        error: String,
        /// How often everything could not be loaded, one after the other.
        loads: u32,
    },
}

impl Health {
    /// After a look that failed. It is logged once, and again if something else is wrong.
    fn after(self, error: &FollowError) -> Self {
        let text = error.to_string();
        let (known, loads) = match self {
            Self::Reading => (None, 0),
            Self::Failing { error, loads } => (Some(error), loads),
        };
        if known.as_ref() != Some(&text) {
            warn!(
                error = text,
                "the store cannot be read for changes; signing goes on from what is known"
            );
        }
        let loads = if let FollowError::Load(_) = error { loads.saturating_add(1) } else { 0 };
        Self::Failing { error: text, loads }
    }

    /// How long to wait for the next look. To load everything is much work, so it is tried less and less often.
    fn pause(&self) -> Duration {
        match self {
            Self::Reading => POLL,
            Self::Failing { loads, .. } => (POLL * 2_u32.saturating_pow(*loads)).min(LONGEST_PAUSE),
        }
    }
}

/// Why a look at the store brought nothing.
#[derive(Debug, Error)]
enum FollowError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("it has to be loaded anew, which fails: {0}")]
    Load(#[source] StoreError),
    #[error("the change log is out of order: {0}")]
    Order(#[from] ApplyError),
    #[error("it did not answer within {} seconds", LOOK_LIMIT.as_secs())]
    TooSlow,
}

/// How often to look without having been woken: a change must reach every signer within a second.
const POLL: Duration = Duration::from_millis(500);
/// The longest pause between two tries to load everything. No official reference.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How many damaged rows are named at once.
const MAX_TOLD: usize = 10;
/// How long a look at what changed may take.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use postseal_dkim::{Algorithm, DomainName, Selector};
    use postseal_engine::{KeyId, SealedKey, SigningKeys, TenantId};

    use super::*;

    const OWNER: TenantId = TenantId::new(7);

    fn domain(name: &str, keys: &[(u64, Algorithm)]) -> Change {
        let name = DomainName::parse(name).unwrap();
        let entry = |(id, algorithm): &(u64, Algorithm)| {
            Arc::new(KeyEntry {
                id: KeyId::new(*id),
                owner: OWNER,
                domain: name.clone(),
                selector: Selector::parse(&format!("s{id}")).unwrap(),
                algorithm: *algorithm,
                sealed: SealedKey::new(Vec::new()),
            })
        };
        let row = DomainRow::claimed(OWNER, name.clone());
        let [rsa, more @ ..] = keys else { return Change::Domain(row) };
        let mut signing = SigningKeys::new(entry(rsa)).unwrap();
        for key in more {
            signing = signing.with_ed25519(entry(key)).unwrap();
        }
        Change::Domain(row.signing(signing).unwrap())
    }

    #[test]
    fn a_domain_whose_row_is_damaged_stays_its_owners_and_signs_no_more() {
        let name = DomainName::parse("a.example").unwrap();
        let signing = || domain("a.example", &[(1, Algorithm::RsaSha256)]);
        let nobodys = Snapshot::load(Revision::new(1), []);
        let claimed = Snapshot::load(Revision::new(1), [domain("a.example", &[])]);
        let owned = Snapshot::load(Revision::new(1), [signing()]);
        let other = TenantId::new(8);
        // What was known, what the store says of whom, and who has it then.
        let cases = [
            (&owned, OWNER, Some(true), Some(OWNER)),
            (&owned, OWNER, None, Some(OWNER)),
            (&owned, OWNER, Some(false), None),
            (&claimed, OWNER, Some(true), Some(OWNER)),
            (&claimed, OWNER, None, None),
            (&nobodys, OWNER, Some(true), Some(OWNER)),
            (&nobodys, OWNER, None, None),
            // A claim of another tenant takes nothing from the owner.
            (&owned, other, Some(false), Some(OWNER)),
            (&owned, other, None, Some(OWNER)),
        ];
        for (before, owner, is_verified, want) in cases {
            let damaged = Damaged {
                revision: Revision::new(2),
                domain: Some(DamagedDomain { owner, name: name.clone(), is_verified }),
                error: StoreError::Busy,
            };
            let context = format!("{owner} {is_verified:?}");
            let changes = stopped(before, &[damaged]);
            let next = before.apply(changes.clone()).unwrap();
            let verified = [OWNER, other].into_iter().find(|tenant| {
                let row = next.sending_domain(*tenant, &name);
                row.is_some_and(|row| row.is_verified() && row.owner() == *tenant)
            });
            assert_eq!(verified, want, "{context}");
            let left: Vec<_> = keys_of_changed(before, &changes)
                .into_iter()
                .filter(|key| !signs(&next, key))
                .collect();
            let is_stopped = owner == OWNER && std::ptr::eq(before, &owned);
            assert_eq!(left.len(), usize::from(is_stopped), "{context}");
        }
        let not_a_domain =
            Damaged { revision: Revision::new(2), domain: None, error: StoreError::Busy };
        assert!(stopped(&owned, &[not_a_domain]).is_empty());
    }

    #[test]
    fn loading_everything_is_tried_less_and_less_often() {
        let load = || FollowError::Load(StoreError::Busy);
        let mut health = Health::Reading;
        let mut pauses = Vec::new();
        for _ in 0..9 {
            health = health.after(&load());
            pauses.push(health.pause().as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        // Another failure has another reason, and the next look comes soon.
        assert_eq!(health.after(&FollowError::TooSlow).pause(), POLL);
    }

    #[test]
    fn keys_that_sign_no_more_are_found() {
        use Algorithm::{Ed25519Sha256, RsaSha256};

        let name = |text: &str| DomainName::parse(text).unwrap();
        let before = Snapshot::load(
            Revision::new(1),
            [
                domain("a.example", &[(1, RsaSha256), (2, Ed25519Sha256)]),
                domain("b.example", &[(3, RsaSha256)]),
                domain("c.example", &[(4, RsaSha256)]),
            ],
        );
        let removed = Change::DomainRemoved { owner: OWNER, name: name("b.example") };
        let foreign = Change::DomainRemoved { owner: TenantId::new(8), name: name("c.example") };
        let cases = [
            (domain("a.example", &[(1, RsaSha256), (2, Ed25519Sha256)]), vec![]),
            (domain("a.example", &[(1, RsaSha256)]), vec![2]),
            (domain("a.example", &[(5, RsaSha256), (2, Ed25519Sha256)]), vec![1]),
            (domain("a.example", &[]), vec![1, 2]),
            (domain("new.example", &[(6, RsaSha256)]), vec![]),
            (removed, vec![3]),
            (foreign, vec![]),
        ];
        for (change, want) in cases {
            let changes = [(Revision::new(2), change)];
            let had = keys_of_changed(&before, &changes);
            let next = before.apply(changes.clone()).unwrap();
            let left: Vec<_> =
                had.iter().filter(|key| !signs(&next, key)).map(|key| key.id.get()).collect();
            assert_eq!(left, want, "{changes:?}");
        }
    }
}

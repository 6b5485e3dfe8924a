//! All that signing has to know, at one point in the platform's history.
//!
//! A snapshot is a value that never changes. [`Snapshot::apply`] makes the next one out of changed rows
//! and shares all else with it, so that a signer puts a new one behind its pointer while messages go
//! on with the one they took. Nothing here is asked of a database or the DNS.
//!
//! Domains are held twice apart: the verified ones by name, of which there can be one row a name, and
//! the claims by tenant and name, which exclude nobody and decide nothing. So no two tenants can own a
//! domain, and a thousand claims to a name cost nothing when a message comes from it. Should a change
//! give a domain to a second tenant, the last one has it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use postseal_dkim::{DomainName, UnixTime};
use thiserror::Error;

use crate::api_key::{ApiKeyHash, ApiKeyRow, Grant};
use crate::id::{PoolId, Revision, TenantId};
use crate::policy::{Policy, PolicyLayer};
use crate::provider::{Provider, ProviderName};
use crate::row::{Change, DomainRow, PlatformRow, PoolRow, TenantRow};
use crate::row_map::{Row, RowMap};

/// What is known at one revision. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Snapshot {
    revision: Revision,
    tenants: RowMap<TenantRow>,
    domains: RowMap<DomainRow>,
    claims: RowMap<Claim>,
    pools: RowMap<PoolRow>,
    api_keys: RowMap<ApiKeyRow>,
    providers: Arc<BTreeMap<ProviderName, Arc<Provider>>>,
    platform: Arc<PlatformRow>,
    base_policy: Arc<PolicyLayer>,
}

impl Snapshot {
    /// What is known before the first change: the pool `default`, and the providers that are built in.
    #[must_use]
    pub fn empty() -> Self {
        let mut pools = RowMap::default();
        pools.insert(Arc::new(PoolRow::new(PoolId::default_pool())));
        let yahoo = Provider::yahoo();
        Self {
            revision: Revision::ZERO,
            tenants: RowMap::default(),
            domains: RowMap::default(),
            claims: RowMap::default(),
            pools,
            api_keys: RowMap::default(),
            providers: Arc::new(BTreeMap::from([(yahoo.name.clone(), Arc::new(yahoo))])),
            platform: Arc::default(),
            base_policy: Arc::default(),
        }
    }

    /// All rows at once, as they stand at `revision`.
    #[must_use]
    pub fn load(revision: Revision, rows: impl IntoIterator<Item = Change>) -> Self {
        let mut snapshot = Self::empty();
        for row in rows {
            snapshot.put(row);
        }
        snapshot.revision = revision;
        snapshot
    }

    /// The snapshot after these changes, which come in the order of their revisions.
    ///
    /// Changes of one revision belong together, so all of them have to be in one call.
    pub fn apply(
        &self,
        changes: impl IntoIterator<Item = (Revision, Change)>,
    ) -> Result<Self, ApplyError> {
        let mut next = self.clone();
        for (revision, change) in changes {
            if revision <= self.revision || revision < next.revision {
                return Err(ApplyError { at: next.revision, change: revision });
            }
            next.put(change);
            next.revision = revision;
        }
        Ok(next)
    }

    /// The same rows, known to be all that there are up to `until`: what else changed could not be read, and
    /// stays as it was.
    pub fn up_to(mut self, until: Revision) -> Result<Self, ApplyError> {
        if until < self.revision {
            return Err(ApplyError { at: self.revision, change: until });
        }
        self.revision = until;
        Ok(self)
    }

    /// This snapshot with a policy under the platform's own row: what the configuration of this
    /// signer says.
    #[must_use]
    pub fn with_base_policy(mut self, policy: PolicyLayer) -> Self {
        self.base_policy = Arc::new(policy);
        self
    }

    /// The revision up to which changes are in it.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// A tenant. The primary account is there even if nothing is stored of it; ask
    /// [`TenantId::is_primary`] where that matters.
    #[must_use]
    pub fn tenant(&self, id: TenantId) -> Option<&TenantRow> {
        self.tenants.get(&id).map(|row| &**row)
    }

    /// A domain with which this tenant may send: its own, verified or only claimed, or one that is
    /// shared with it.
    #[must_use]
    pub fn sending_domain(&self, tenant: TenantId, name: &DomainName) -> Option<&DomainRow> {
        match self.verified_domain(name.as_str()) {
            Some(row) if row.is_open_to(tenant) => Some(row),
            Some(_) | None => self.claims.get(&(tenant, name.clone())).map(|claim| &*claim.row),
        }
    }

    /// A domain whose ownership somebody has verified. The name is in lower case as A-labels.
    pub(crate) fn verified_domain(&self, name: &str) -> Option<&DomainRow> {
        self.domains.get(name).map(|row| &**row)
    }

    /// A pool.
    #[must_use]
    pub fn pool(&self, id: &PoolId) -> Option<&PoolRow> {
        self.pools.get(id).map(|row| &**row)
    }

    /// All pools, in no order that means anything.
    pub fn pools(&self) -> impl Iterator<Item = &PoolRow> {
        self.pools.iter().map(|row| &**row)
    }

    /// The providers whose feedback follows DKIM.
    pub fn providers(&self) -> impl Iterator<Item = &Provider> {
        self.providers.values().map(|provider| &**provider)
    }

    /// The platform's own settings.
    #[must_use]
    pub fn platform(&self) -> &PlatformRow {
        &self.platform
    }

    /// The policy for mail from this pool by this tenant. Without them, the platform's.
    #[must_use]
    pub fn policy(&self, pool: Option<&PoolRow>, tenant: Option<TenantId>) -> Policy {
        let platform = self.platform.policy.over(&self.base_policy);
        let tenant = tenant.and_then(|id| self.tenant(id));
        Policy::layered(&platform, pool.map(|row| &row.policy), tenant.map(|row| &row.policy))
    }

    /// The tenant on whose behalf an API key acts, if it may be used for this now and from there.
    ///
    /// A suspended tenant's key is taken: it may still read. That it does not send is for
    /// [`crate::plan`].
    pub fn authorize(
        &self,
        hash: &ApiKeyHash,
        grant: Grant,
        from: IpAddr,
        now: UnixTime,
    ) -> Result<TenantId, KeyRefused> {
        let key = self.api_keys.get(hash).ok_or(KeyRefused::Unknown)?;
        if key.expires_at.is_some_and(|end| end <= now) {
            return Err(KeyRefused::Expired);
        }
        if !key.valid_ips.is_empty() && !key.valid_ips.iter().any(|range| range.contains(from)) {
            return Err(KeyRefused::Address);
        }
        if !key.grants.allow(grant) {
            return Err(KeyRefused::Grant);
        }
        Ok(key.tenant)
    }

    /// An API key by its hash.
    #[must_use]
    pub fn api_key(&self, hash: &ApiKeyHash) -> Option<&ApiKeyRow> {
        self.api_keys.get(hash).map(|row| &**row)
    }

    /// The number of domains whose ownership is verified.
    #[must_use]
    pub fn verified_domain_count(&self) -> usize {
        self.domains.len()
    }

    /// The number of tenants of which something is stored.
    #[must_use]
    pub fn tenant_count(&self) -> usize {
        self.tenants.len()
    }

    /// Every row, as changes that lead to this snapshot when they are loaded.
    pub fn rows(&self) -> impl Iterator<Item = Change> {
        let tenants = self.tenants.iter().map(|row| Change::Tenant((**row).clone()));
        let domains = self.domains.iter().map(|row| Change::Domain((**row).clone()));
        let claims = self.claims.iter().map(|claim| Change::Domain((*claim.row).clone()));
        let pools = self.pools.iter().map(|row| Change::Pool((**row).clone()));
        let api_keys = self.api_keys.iter().map(|row| Change::ApiKey((**row).clone()));
        let providers = self.providers().cloned().map(Change::Provider);
        let platform = std::iter::once_with(|| Change::Platform((*self.platform).clone()));
        platform
            .chain(providers)
            .chain(pools)
            .chain(tenants)
            .chain(api_keys)
            .chain(domains)
            .chain(claims)
    }

    /// Says whether `next` may follow this snapshot when it was loaded as a whole.
    ///
    /// A good-looking load that lost much is worse than an old one. `explained` is the number of
    /// domains that logged deletions, suspensions and revocations account for. Goes through all domains,
    /// which a loader does once.
    pub fn check_successor(&self, next: &Self, explained: usize) -> Result<(), SuspiciousLoad> {
        if next.revision < self.revision {
            return Err(SuspiciousLoad::Older { had: self.revision, got: next.revision });
        }
        let signs = |row: &&Arc<DomainRow>| row.signing_keys().is_some();
        let had = self.domains.iter().filter(signs).count();
        let lost = self
            .domains
            .iter()
            .filter(signs)
            .filter(|row| {
                let now = next.domains.get(row.name().as_str());
                now.is_none_or(|now| now.signing_keys().is_none())
            })
            .count();
        let unexplained = lost.saturating_sub(explained);
        if had >= MIN_DOMAINS_FOR_LOSS && unexplained >= had.div_ceil(LOSS_DENOMINATOR) {
            return Err(SuspiciousLoad::Loss { had, unexplained });
        }
        Ok(())
    }

    fn put(&mut self, change: Change) {
        match change {
            Change::Tenant(row) => {
                self.tenants.insert(Arc::new(row));
            }
            Change::TenantRemoved(id) => {
                self.tenants.remove(&id);
            }
            Change::Domain(row) => self.put_domain(row),
            Change::DomainRemoved { owner, name } => self.remove_domain(owner, &name),
            Change::Pool(row) => {
                self.pools.insert(Arc::new(row));
            }
            Change::PoolRemoved(id) if id.is_default() => {
                self.pools.insert(Arc::new(PoolRow::new(PoolId::default_pool())));
            }
            Change::PoolRemoved(id) => {
                self.pools.remove(&id);
            }
            Change::ApiKey(row) => {
                self.api_keys.insert(Arc::new(row));
            }
            Change::ApiKeyRemoved(hash) => {
                self.api_keys.remove(&hash);
            }
            Change::Provider(provider) => {
                let name = provider.name.clone();
                Arc::make_mut(&mut self.providers).insert(name, Arc::new(provider));
            }
            Change::ProviderRemoved(name) => {
                let providers = Arc::make_mut(&mut self.providers);
                let yahoo = Provider::yahoo();
                if yahoo.name == name {
                    providers.insert(name, Arc::new(yahoo));
                } else {
                    providers.remove(&name);
                }
            }
            Change::Platform(row) => self.platform = Arc::new(row),
        }
    }

    fn put_domain(&mut self, row: DomainRow) {
        let row = Arc::new(row);
        if row.is_verified() {
            self.claims.remove(&(row.owner(), row.name().clone()));
            self.domains.insert(row);
        } else {
            self.remove_domain(row.owner(), row.name());
            self.claims.insert(Arc::new(Claim { key: (row.owner(), row.name().clone()), row }));
        }
    }

    /// Takes out what this tenant has of the domain, and leaves what others have.
    fn remove_domain(&mut self, owner: TenantId, name: &DomainName) {
        if self.verified_domain(name.as_str()).is_some_and(|row| row.owner() == owner) {
            self.domains.remove(name.as_str());
        }
        self.claims.remove(&(owner, name.clone()));
    }
}

impl Default for Snapshot {
    fn default() -> Self {
        Self::empty()
    }
}

/// Changes that come out of order. A fault of whoever follows the store.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("a change of revision {change} came when revision {at} was reached already")]
pub struct ApplyError {
    /// The revision that was reached.
    pub at: Revision,
    /// The revision of the change.
    pub change: Revision,
}

/// Why a snapshot that was loaded as a whole must not take the place of the last one.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum SuspiciousLoad {
    /// It is older.
    #[error("the loaded snapshot has revision {got}, and {had} was reached already")]
    Older {
        /// The revision of the last one.
        had: Revision,
        /// The revision of the loaded one.
        got: Revision,
    },
    /// Many domains no longer sign, and nothing says why.
    #[error(
        "{unexplained} of {had} signing domains are gone in the loaded snapshot without reason"
    )]
    Loss {
        /// The signing domains of the last one.
        had: usize,
        /// Those that no longer sign and that no logged change explains.
        unexplained: usize,
    },
}

/// Why an API key is not taken.
#[derive(Clone, Copy, Debug, Eq, Error, Hash, PartialEq)]
#[non_exhaustive]
pub enum KeyRefused {
    /// No such key.
    #[error("the API key is not known")]
    Unknown,
    /// Its time is over.
    #[error("the API key has expired")]
    Expired,
    /// It is not taken from this address.
    #[error("the API key is not valid from this address")]
    Address,
    /// It may not be used for this.
    #[error("the API key lacks the grant for this")]
    Grant,
}

/// A domain that a tenant says is its own.
#[derive(Debug)]
struct Claim {
    key: (TenantId, DomainName),
    row: Arc<DomainRow>,
}

impl Row for Claim {
    type Key = (TenantId, DomainName);

    fn key(&self) -> &Self::Key {
        &self.key
    }
}

impl Row for TenantRow {
    type Key = TenantId;

    fn key(&self) -> &TenantId {
        &self.id
    }
}

impl Row for DomainRow {
    type Key = str;

    fn key(&self) -> &str {
        self.name().as_str()
    }
}

impl Row for PoolRow {
    type Key = PoolId;

    fn key(&self) -> &PoolId {
        &self.id
    }
}

impl Row for ApiKeyRow {
    type Key = ApiKeyHash;

    fn key(&self) -> &ApiKeyHash {
        &self.hash
    }
}

/// From how many signing domains on a loss can be suspicious.
const MIN_DOMAINS_FOR_LOSS: usize = 100;

/// A loss of one in so many is suspicious.
const LOSS_DENOMINATOR: usize = 5;

#[cfg(test)]
mod tests;

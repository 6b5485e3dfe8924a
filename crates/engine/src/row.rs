//! The rows of the snapshot: what signing has to know of tenants, domains, pools and the
//! platform. API keys have a file of their own.
//!
//! Rows come from the store, one change at a time ([`Change`]). They are made so that a row cannot say
//! what may not be: a domain signs only with keys of its own name and owner, and only while its DKIM
//! status is `valid`, since nothing else carries keys ([`DomainStatus`]).

use std::sync::Arc;

use postseal_dkim::DomainName;
use thiserror::Error;

use crate::api_key::{ApiKeyHash, ApiKeyRow};
use crate::id::{NextHopName, PoolId, TenantId};
use crate::key::SigningKeys;
use crate::policy::PolicyLayer;
use crate::provider::{Provider, ProviderName};

/// One changed row. A row replaces the one of the same name; a removal of what is not there changes
/// nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A tenant was made or changed.
    Tenant(TenantRow),
    /// A tenant is gone.
    TenantRemoved(TenantId),
    /// A claim to a domain, its verification, its keys, or anything else about it changed.
    Domain(DomainRow),
    /// A tenant no longer claims a domain.
    DomainRemoved {
        /// Whose claim it was.
        owner: TenantId,
        /// The domain.
        name: DomainName,
    },
    /// A pool was made or changed.
    Pool(PoolRow),
    /// A pool is gone.
    PoolRemoved(PoolId),
    /// An API key was made or changed.
    ApiKey(ApiKeyRow),
    /// An API key is gone.
    ApiKeyRemoved(ApiKeyHash),
    /// A provider was described anew; this replaces what is built in under the name.
    Provider(Provider),
    /// A provider's description is gone; what is built in under the name holds again.
    ProviderRemoved(ProviderName),
    /// The platform's own settings changed.
    Platform(PlatformRow),
}

/// A tenant.
#[derive(Clone, Debug, PartialEq)]
pub struct TenantRow {
    /// Which one.
    pub id: TenantId,
    /// Whether it may send.
    pub status: TenantStatus,
    /// The one pool it sends from; without one it may name any that is open to it.
    pub assigned_pool: Option<PoolId>,
    /// What is different for its mail.
    pub policy: PolicyLayer,
}

impl TenantRow {
    /// An active tenant without a pool of its own.
    #[must_use]
    pub fn new(id: TenantId) -> Self {
        Self {
            id,
            status: TenantStatus::Active,
            assigned_pool: None,
            policy: PolicyLayer::default(),
        }
    }
}

/// Whether a tenant may send.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TenantStatus {
    /// It may.
    Active,
    /// Its mail is refused. A terminated tenant is the same to signing.
    Suspended,
}

/// A tenant's claim to a domain, and how far it has come.
#[derive(Clone, Debug, PartialEq)]
pub struct DomainRow {
    name: DomainName,
    owner: TenantId,
    status: DomainStatus,
    sharing: Sharing,
    subdomains: Subdomains,
    enrolled: Option<Arc<[ProviderName]>>,
}

impl DomainRow {
    /// A claim that nobody has verified yet.
    #[must_use]
    pub fn claimed(owner: TenantId, name: DomainName) -> Self {
        Self {
            name,
            owner,
            status: DomainStatus::Claimed,
            sharing: Sharing::Private,
            subdomains: Subdomains::Off,
            enrolled: None,
        }
    }

    /// This domain with its ownership verified, and no key that may sign.
    #[must_use]
    pub fn verified(mut self) -> Self {
        self.status = DomainStatus::Verified;
        self
    }

    /// This domain with a valid DKIM status: it signs with these keys.
    pub fn signing(mut self, keys: SigningKeys) -> Result<Self, ForeignKey> {
        if keys.rsa().domain != self.name || keys.rsa().owner != self.owner {
            return Err(ForeignKey);
        }
        // The text of a name is shared; a million domains have it once instead of twice.
        self.name = keys.rsa().domain.clone();
        self.status = DomainStatus::Signing(keys);
        Ok(self)
    }

    /// This domain, shared or not with subaccounts. A subaccount's domain is never shared.
    #[must_use]
    pub fn shared(mut self, sharing: Sharing) -> Self {
        self.sharing = sharing;
        self
    }

    /// This domain, signing or not for what is below it.
    #[must_use]
    pub fn with_subdomains(mut self, subdomains: Subdomains) -> Self {
        self.subdomains = subdomains;
        self
    }

    /// This domain, enrolled as a `d=` with the loops of these providers.
    #[must_use]
    pub fn enrolled_with(mut self, providers: &[ProviderName]) -> Self {
        self.enrolled = (!providers.is_empty()).then(|| providers.into());
        self
    }

    /// The domain.
    #[must_use]
    pub fn name(&self) -> &DomainName {
        &self.name
    }

    /// Who claims it.
    #[must_use]
    pub fn owner(&self) -> TenantId {
        self.owner
    }

    /// How far the claim has come.
    #[must_use]
    pub fn status(&self) -> &DomainStatus {
        &self.status
    }

    /// The keys it signs with, while its DKIM status is `valid`.
    #[must_use]
    pub fn signing_keys(&self) -> Option<&SigningKeys> {
        match &self.status {
            DomainStatus::Signing(keys) => Some(keys),
            DomainStatus::Claimed | DomainStatus::Verified => None,
        }
    }

    /// Says whether its owner is known to be its owner.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        match self.status {
            DomainStatus::Verified | DomainStatus::Signing(_) => true,
            DomainStatus::Claimed => false,
        }
    }

    /// Says whether this tenant may send with it: the owner, and where it is shared, every subaccount.
    #[must_use]
    pub fn is_open_to(&self, tenant: TenantId) -> bool {
        self.owner == tenant
            || (self.owner.is_primary() && self.sharing == Sharing::WithSubaccounts)
    }

    /// Whether subaccounts may send with it.
    #[must_use]
    pub fn sharing(&self) -> Sharing {
        self.sharing
    }

    /// Whether it signs for what is below it.
    #[must_use]
    pub fn subdomains(&self) -> Subdomains {
        self.subdomains
    }

    /// The providers with whose loops it is enrolled itself.
    #[must_use]
    pub fn enrolled(&self) -> &[ProviderName] {
        self.enrolled.as_deref().unwrap_or_default()
    }
}

/// How far a tenant's claim to a domain has come.
///
/// ```text
///   Claimed ──ownership shown──▶ Verified ──DKIM status valid──▶ Signing
///      ▲                           ▲  └───────record gone───────────┘
///      └────────removed────────────┘
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum DomainStatus {
    /// The tenant says so. Claims exclude nobody.
    Claimed,
    /// The tenant has shown it. No other tenant may send with the domain.
    Verified,
    /// Its record stands in the DNS as it should.
    Signing(SigningKeys),
}

/// Whether subaccounts may send with a domain of the primary account.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Sharing {
    /// Only its owner may.
    Private,
    /// Every subaccount may.
    WithSubaccounts,
}

/// Whether a domain signs for those below it that nobody has verified themselves.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Subdomains {
    /// It signs for itself alone.
    Off,
    /// It signs for them; relaxed DMARC alignment holds.
    Sign,
}

/// A key of another domain or tenant was given to a domain. A fault of the store.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("the key belongs to another domain or tenant than the row it is given to")]
pub struct ForeignKey;

/// An IP pool.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolRow {
    /// Which one.
    pub id: PoolId,
    /// What signs for mail whose own domain does not.
    pub signing_domain: Option<DomainName>,
    /// What signs beside it towards providers with a feedback loop.
    pub fbl_signing_domain: Option<DomainName>,
    /// Who may send from it.
    pub grants: PoolGrants,
    /// Where the proxy hands its mail on to.
    pub next_hop: Option<NextHopName>,
    /// What is different for its mail.
    pub policy: PolicyLayer,
}

impl PoolRow {
    /// A pool without domains, open to everyone.
    #[must_use]
    pub fn new(id: PoolId) -> Self {
        Self {
            id,
            signing_domain: None,
            fbl_signing_domain: None,
            grants: PoolGrants::Everyone,
            next_hop: None,
            policy: PolicyLayer::default(),
        }
    }
}

/// Who may send from a pool.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PoolGrants {
    /// Every tenant that has no pool of its own assigned, and those that have this one.
    Everyone,
    /// These tenants and no others, the primary account included.
    Only(Arc<[TenantId]>),
}

impl PoolGrants {
    /// Only these tenants.
    #[must_use]
    pub fn only(tenants: impl IntoIterator<Item = TenantId>) -> Self {
        let mut tenants: Vec<_> = tenants.into_iter().collect();
        tenants.sort_unstable();
        tenants.dedup();
        Self::Only(tenants.into())
    }

    /// Says whether the tenant is among them.
    #[must_use]
    pub fn include(&self, tenant: TenantId) -> bool {
        match self {
            Self::Everyone => true,
            Self::Only(tenants) => tenants.binary_search(&tenant).is_ok(),
        }
    }

    /// The one tenant who may send from the pool, if there is only one.
    #[must_use]
    pub fn only_tenant(&self) -> Option<TenantId> {
        match self {
            Self::Only(tenants) => match &**tenants {
                [tenant] => Some(*tenant),
                _ => None,
            },
            Self::Everyone => None,
        }
    }
}

/// The platform's own settings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlatformRow {
    /// What signs when neither the author's domain nor the pool does. A domain of the primary account.
    pub default_signing_domain: Option<DomainName>,
    /// What signs towards feedback loops when the pool has nothing for it. A domain of the primary
    /// account.
    pub fbl_signing_domain: Option<DomainName>,
    /// What holds for all mail unless a pool or a tenant says otherwise.
    pub policy: PolicyLayer,
}

#[cfg(test)]
mod tests {
    use postseal_dkim::{Algorithm, Selector};

    use super::*;
    use crate::id::KeyId;
    use crate::key::{KeyEntry, SealedKey};

    #[test]
    fn a_domain_takes_no_key_of_another_domain_or_tenant() {
        let keys = |owner: u32, domain: &str| {
            SigningKeys::new(Arc::new(KeyEntry {
                id: KeyId::new(1),
                owner: TenantId::new(owner),
                domain: DomainName::parse(domain).unwrap(),
                selector: Selector::parse("s1").unwrap(),
                algorithm: Algorithm::RsaSha256,
                sealed: SealedKey::new(*b"sealed"),
            }))
            .unwrap()
        };
        let row = DomainRow::claimed(TenantId::new(1), DomainName::parse("a.example").unwrap());
        assert!(row.clone().signing(keys(1, "a.example")).unwrap().is_verified());
        assert_eq!(row.clone().signing(keys(1, "b.example")), Err(ForeignKey));
        assert_eq!(row.signing(keys(2, "a.example")), Err(ForeignKey));
    }

    #[test]
    fn only_domains_of_the_primary_account_are_shared() {
        let row = |owner: u32| {
            DomainRow::claimed(TenantId::new(owner), DomainName::parse("a.example").unwrap())
                .shared(Sharing::WithSubaccounts)
        };
        assert!(row(0).is_open_to(TenantId::new(5)));
        assert!(row(0).is_open_to(TenantId::PRIMARY));
        assert!(!row(3).is_open_to(TenantId::new(5)));
        assert!(!row(3).is_open_to(TenantId::PRIMARY));
        assert!(!row(0).shared(Sharing::Private).is_open_to(TenantId::new(5)));
    }
}

//! IP pools, their signing domains, and who may use them. They belong to the account: no key of a
//! subaccount gets at them, and `X-MSYS-SUBACCOUNT` means nothing here.
//!
//! SparkPost's fields are `id`, `name`, `signing_domain`, `fbl_signing_domain`,
//! `auto_warmup_overflow_pool` and `ips`, which is always empty: Postseal signs for the addresses that the
//! MTA has. Postseal's own stand beside them:
//!
//! * `next_hop`: the next hop of the configuration to which the SMTP proxy hands the pool's mail;
//! * `subaccounts`: the numbers of those who may send from the pool, 0 for the account itself; absent
//!   when all may;
//! * `policy`: what is different for the pool's mail.
//!
//! `""` takes a domain, an overflow pool or a next hop away; `null` as `subaccounts` opens the pool to
//! everyone. Errors of this service are one sentence, without a code.

pub(super) mod create;
pub(super) mod delete;
pub(super) mod get;
pub(super) mod list;
pub(super) mod update;

use axum::http::StatusCode;
use postseal_dkim::DomainName;
use postseal_engine::{NextHopName, PolicyLayer, PoolGrants, PoolId, TenantId};
use postseal_store::{DkimStatus, Pool, StoreError};
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::http::Api;
use crate::http::body::{FieldError, Fields};
use crate::http::error::ApiError;

/// What a body says about a pool. What is none is not mentioned; none inside is taken away.
#[derive(Debug, Default)]
struct Settings {
    signing_domain: Option<Option<DomainName>>,
    fbl_signing_domain: Option<Option<DomainName>>,
    auto_warmup_overflow_pool: Option<Option<String>>,
    next_hop: Option<Option<NextHopName>>,
    grants: Option<PoolGrants>,
    policy: Option<PolicyLayer>,
}

impl Settings {
    /// Reads the fields, and checks what can be checked without the store.
    fn read(fields: Fields<'_>, api: &Api) -> Result<Self, PoolError> {
        let domain = |field: &'static str| -> Result<_, PoolError> {
            let Some(text) = fields.string(field)? else { return Ok(None) };
            if text.is_empty() {
                return Ok(Some(None));
            }
            let name = DomainName::parse(text).map_err(|_| PoolError::BadDomain {
                field,
                domain: text.chars().take(postseal_dkim::MAX_NAME_LEN).collect(),
            })?;
            Ok(Some(Some(name)))
        };
        let next_hop = match fields.string("next_hop")? {
            None => None,
            Some("") => Some(None),
            Some(text) => {
                let known = api.next_hops.iter().find(|hop| hop.as_str() == text);
                let hop = known.ok_or_else(|| PoolError::UnknownNextHop {
                    name: text.chars().take(postseal_engine::MAX_NEXT_HOP_NAME_LEN).collect(),
                })?;
                Some(Some(hop.clone()))
            }
        };
        let overflow = fields.string("auto_warmup_overflow_pool")?;
        Ok(Self {
            signing_domain: domain("signing_domain")?,
            fbl_signing_domain: domain("fbl_signing_domain")?,
            auto_warmup_overflow_pool: overflow.map(|id| (!id.is_empty()).then(|| id.to_owned())),
            next_hop,
            grants: grants(fields)?,
            policy: policy(fields)?,
        })
    }
}

/// Who may send from the pool.
fn grants(fields: Fields<'_>) -> Result<Option<PoolGrants>, PoolError> {
    let Some(numbers) = fields.numbers("subaccounts")? else {
        return Ok(fields.has("subaccounts").then_some(PoolGrants::Everyone));
    };
    let tenants: Vec<TenantId> = numbers
        .into_iter()
        .map(|number| {
            let number = u32::try_from(number).map_err(|_| PoolError::UnknownTenant { number })?;
            Ok(TenantId::new(number))
        })
        .collect::<Result<_, PoolError>>()?;
    Ok(Some(PoolGrants::only(tenants)))
}

fn policy(fields: Fields<'_>) -> Result<Option<PolicyLayer>, PoolError> {
    fields
        .object_value("policy")?
        .map(|value| {
            serde_json::from_value(value.clone())
                .map_err(|error| PoolError::BadPolicy { reason: error.to_string() })
        })
        .transpose()
}

/// Checks what a pool is to be against what there is, and what it was. The caller holds the unit of
/// work, so that what is read here still holds when it is saved.
async fn check(api: &Api, pool: &Pool, before: Option<&Pool>) -> Result<(), PoolError> {
    check_domain(api, "signing_domain", pool, before, |pool| pool.signing_domain.as_ref()).await?;
    check_domain(api, "fbl_signing_domain", pool, before, |pool| pool.fbl_signing_domain.as_ref())
        .await?;
    if let PoolGrants::Only(tenants) = &pool.grants {
        for tenant in tenants.iter() {
            if api.store.tenant(*tenant).await?.is_none() {
                return Err(PoolError::UnknownTenant { number: tenant.get().into() });
            }
        }
    }
    let platform = api.store.platform().await?;
    pool.policy
        .check_over(&platform.policy)
        .map_err(|error| PoolError::BadPolicy { reason: error.to_string() })
}

/// A pool's domains belong to the account, or to the one tenant to whom that pool alone is granted, and
/// are valid when they are set.
///
/// One that lost its record since stays where it is, so that a client that reads a pool and writes it
/// back does not fail; the signing rule passes it over until the record is back.
async fn check_domain(
    api: &Api,
    field: &'static str,
    pool: &Pool,
    before: Option<&Pool>,
    domain_of: impl Fn(&Pool) -> Option<&DomainName>,
) -> Result<(), PoolError> {
    let Some(domain) = domain_of(pool) else { return Ok(()) };
    let is_kept = before.is_some_and(|before| domain_of(before) == Some(domain));
    if is_kept && before.is_some_and(|before| before.grants == pool.grants) {
        return Ok(());
    }
    let owners = [Some(TenantId::PRIMARY), pool.grants.only_tenant()];
    for owner in owners.into_iter().flatten() {
        let found = api.store.domain(owner, domain).await?;
        if found.is_some_and(|found| is_kept || found.dkim_status == DkimStatus::Valid) {
            return Ok(());
        }
    }
    Err(PoolError::BadDomain { field, domain: domain.to_string() })
}

/// Checks the pool into which `id` is to overflow while its addresses are new.
async fn check_overflow(api: &Api, id: &PoolId, overflow: &str) -> Result<String, PoolError> {
    let is_overflow = api.store.pools().await?.into_iter().any(|pool| {
        let overflow = pool.auto_warmup_overflow_pool.and_then(|id| PoolId::parse(&id).ok());
        overflow.is_some_and(|overflow| overflow == *id)
    });
    if is_overflow {
        return Err(PoolError::IsOverflow { id: id.clone() });
    }
    if overflow == SHARED_POOL {
        return Ok(overflow.to_owned());
    }
    let unknown = || PoolError::UnknownOverflowPool { id: overflow.chars().take(64).collect() };
    let target = PoolId::parse(overflow).map_err(|_| unknown())?;
    let target = api.store.pool(&target).await?.ok_or_else(unknown)?;
    if target.auto_warmup_overflow_pool.is_some() || target.id == *id {
        return Err(PoolError::OverflowHasOverflow { id: target.id });
    }
    Ok(target.id.as_str().to_owned())
}

/// Why a pool cannot be made or changed as asked.
#[derive(Debug, Error)]
enum PoolError {
    #[error(transparent)]
    Field(#[from] FieldError),
    #[error("name must be {MAX_NAME_LEN} characters or less")]
    LongName,
    #[error("IP Pool {id} already exists.")]
    Exists { id: PoolId },
    #[error("IP Pool {id} does not exist.")]
    NotFound { id: String },
    #[error("IP Pool default is reserved.")]
    Reserved,
    #[error("IP Pool default is reserved and cannot be updated.")]
    ReservedUpdate,
    #[error(
        "{field} {domain} is not a DKIM-verified sending domain of the account, nor of the one \
         subaccount to which alone the pool is granted."
    )]
    BadDomain { field: &'static str, domain: String },
    #[error("Auto Warmup Overflow Pool {id} does not exist.")]
    UnknownOverflowPool { id: String },
    #[error("{id} has an overflow pool and cannot be an overflow pool")]
    OverflowHasOverflow { id: PoolId },
    #[error("{id} is an overflow pool and cannot have an overflow pool")]
    IsOverflow { id: PoolId },
    #[error("Next hop {name} is not in the configuration.")]
    UnknownNextHop { name: String },
    #[error("Subaccount {number} does not exist.")]
    UnknownTenant { number: u64 },
    #[error("policy: {reason}")]
    BadPolicy { reason: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<PoolError> for ApiError {
    fn from(error: PoolError) -> Self {
        let status = match error {
            PoolError::Field(error) => return error.plain(),
            PoolError::Store(error) => return Self::from_store(error),
            PoolError::NotFound { .. } => StatusCode::NOT_FOUND,
            PoolError::Exists { .. } => StatusCode::CONFLICT,
            PoolError::LongName
            | PoolError::Reserved
            | PoolError::ReservedUpdate
            | PoolError::BadDomain { .. }
            | PoolError::UnknownOverflowPool { .. }
            | PoolError::OverflowHasOverflow { .. }
            | PoolError::IsOverflow { .. }
            | PoolError::UnknownNextHop { .. }
            | PoolError::UnknownTenant { .. }
            | PoolError::BadPolicy { .. } => StatusCode::BAD_REQUEST,
        };
        Self::plain(status, error.to_string())
    }
}

/// A pool without its addresses, as the answer to a change has it.
fn summary(pool: &Pool) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("id".to_owned(), json!(pool.id.as_str()));
    fields.insert("name".to_owned(), json!(pool.name));
    let optional = [
        ("signing_domain", pool.signing_domain.as_ref().map(DomainName::as_str)),
        ("fbl_signing_domain", pool.fbl_signing_domain.as_ref().map(DomainName::as_str)),
        ("auto_warmup_overflow_pool", pool.auto_warmup_overflow_pool.as_deref()),
        ("next_hop", pool.next_hop.as_ref().map(NextHopName::as_str)),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            fields.insert(name.to_owned(), json!(value));
        }
    }
    if let PoolGrants::Only(tenants) = &pool.grants {
        let numbers: Vec<u32> = tenants.iter().map(|tenant| tenant.get()).collect();
        fields.insert("subaccounts".to_owned(), json!(numbers));
    }
    if pool.policy != PolicyLayer::default() {
        fields.insert("policy".to_owned(), json!(pool.policy));
    }
    fields
}

/// A pool with its addresses, of which Postseal knows none.
fn whole(pool: &Pool) -> Value {
    let mut fields = summary(pool);
    fields.insert("ips".to_owned(), json!([]));
    Value::Object(fields)
}

/// SparkPost's word for its own addresses as an overflow pool.
const SHARED_POOL: &str = "shared pool";

/// The longest name: as long as the id that is made of it.
const MAX_NAME_LEN: usize = postseal_engine::MAX_POOL_ID_LEN;

//! `POST /api/v1/sending-domains`: claims a domain and gives it a key.
//!
//! ```text
//! {"domain": "example.com"}
//! → {"results": {"message": "Successfully Created domain.", "domain": "example.com",
//!                "dkim": {"public": "MIIB…", "selector": "ps202611kxqwmzav",
//!                         "signing_domain": "example.com", "headers": "from:to:subject:date",
//!                         "dns": {"dkim_record": "ps202611kxqwmzav._domainkey.example.com",
//!                                 "dkim_value": "v=DKIM1; k=rsa; p=MIIB…"}}}}
//! ```
//!
//! Nothing of it signs before it is verified. A selector that is made up here has the year, the month and
//! eight random letters, so that no key ever gets the selector of another. If the record lies in a zone
//! that Postseal serves, it is published at once; such a domain is the platform's, so only the account's
//! own keys can add it.

use std::sync::Arc;

use axum::extract::State;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use postseal_dkim::{Algorithm, DomainName, Selector, UnixTime, key_record_name};
use postseal_engine::{Sharing, Subdomains, TenantId};
use postseal_keys::{GenerateError, KeyContext, SigningKey};
use postseal_store::{Conflict, KeyState, NewDomain, NewKey, StoreError, StoredKey, Thing};
use serde_json::json;
use thiserror::Error;

use super::key_request::{KeyRequest, KeyRequestError};
use super::name::{self, DomainSyntaxError};
use super::{SUBDOMAINS_OFF, SUBDOMAINS_SIGN, dkim, owned_by_another};
use crate::domain_check::{PublishError, mark_imported};
use crate::http::auth::{ManageDomains, Permit};
use crate::http::body::{FieldError, Fields, JsonObject};
use crate::http::error::{ApiError, Code};
use crate::http::reply::Results;
use crate::http::{Ambient, Api, NoRandomness};

pub(in crate::http::v1) async fn create(
    permit: Permit<ManageDomains>,
    State(api): State<Arc<Api>>,
    body: JsonObject,
) -> Result<Results, ApiError> {
    let owner = permit.acting_tenant()?;
    let request = DomainRequest::read(body.fields())?;
    let by_account = permit.is_of_account();
    let (name, key) = create_domain(&api, owner, by_account, request).await?;
    let mut results = json!({ "message": "Successfully Created domain.", "domain": name.as_str() });
    if let Some(key) = key {
        results["dkim"] = dkim(&key);
    }
    Ok(Results(results))
}

/// What is asked for.
struct DomainRequest {
    name: DomainName,
    key: KeyRequest,
    sharing: Sharing,
    subdomains: Subdomains,
}

impl DomainRequest {
    fn read(fields: Fields<'_>) -> Result<Self, CreateDomainError> {
        let name = name::parse(fields.required_string("domain")?)?;
        let sharing = match fields.boolean("shared_with_subaccounts")? {
            Some(true) => Sharing::WithSubaccounts,
            Some(false) | None => Sharing::Private,
        };
        if fields.boolean("is_default_bounce_domain")? == Some(true) {
            return Err(CreateDomainError::BounceDomain);
        }
        if let Some(domain) = fields.string("tracking_domain")?.filter(|text| !text.is_empty()) {
            let domain = domain.chars().take(postseal_dkim::MAX_NAME_LEN).collect();
            return Err(CreateDomainError::TrackingDomain { domain });
        }
        let subdomains = match fields.string("subdomains")? {
            None | Some(SUBDOMAINS_OFF) => Subdomains::Off,
            Some(SUBDOMAINS_SIGN) => Subdomains::Sign,
            Some(_) => return Err(CreateDomainError::BadSubdomains),
        };
        let key = KeyRequest::read(fields, &name)?;
        Ok(Self { name, key, sharing, subdomains })
    }
}

async fn create_domain(
    api: &Arc<Api>,
    owner: TenantId,
    by_account: bool,
    request: DomainRequest,
) -> Result<(DomainName, Option<StoredKey>), CreateDomainError> {
    let DomainRequest { name, key, sharing, subdomains } = request;
    let now = api.ambient.now();
    // What fails for a reason that is there already fails before a key is made. The unit of work below
    // has the last word.
    for claim in api.store.claims(&name).await? {
        if claim.owner == owner {
            return Err(CreateDomainError::Exists { domain: name });
        }
        if claim.is_verified() {
            return Err(CreateDomainError::Owned { domain: name });
        }
    }

    let mut new = NewDomain { sharing, subdomains, ..NewDomain::new(owner, name.clone()) };
    let key = match key {
        KeyRequest::Nothing => None,
        KeyRequest::Generated => {
            let selector = made_up_selector(&api.ambient, now)?;
            check_zone(api, &selector, &name, by_account)?;
            Some((generate(api).await?, selector))
        }
        KeyRequest::Given { key, selector } => {
            mark_imported(&mut new.attributes);
            check_zone(api, &selector, &name, by_account)?;
            Some((key, selector))
        }
    };

    // On a task of its own: a client that hangs up ends its handler, and must not end it between the
    // commit and the publishing.
    let kept = tokio::spawn(keep(Arc::clone(api), new, key, now)).await;
    let stored = match kept {
        Ok(kept) => kept?,
        Err(error) => match error.try_into_panic() {
            // For the layer that answers and counts panics of handlers.
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => return Err(CreateDomainError::SavingBrokeOff),
        },
    };
    Ok((name, stored))
}

/// Saves a domain and its key, and publishes the record if it lies in a zone of ours.
async fn keep(
    api: Arc<Api>,
    new: NewDomain,
    key: Option<(SigningKey, Selector)>,
    now: UnixTime,
) -> Result<Option<StoredKey>, CreateDomainError> {
    let (owner, name) = (new.owner, new.name.clone());
    let mut unit = api.store.write(now).await?;
    let named = |error| CreateDomainError::of_store(error, &name, owner);
    unit.create_domain(new).await.map_err(named)?;
    let Some((key, selector)) = key else {
        unit.commit().await?;
        return Ok(None);
    };
    let context = KeyContext { tenant: owner, signing_domain: &name, selector: &selector };
    let new_key = NewKey {
        owner,
        domain: name.clone(),
        selector: selector.clone(),
        label: None,
        algorithm: key.algorithm(),
        sealed: api.master_key.seal(&key, &context)?,
        public_record: key.public_record(),
    };
    let mut stored = unit.add_key(new_key).await.map_err(named)?;
    let is_served = api.domain_check.serves(&record_name(&selector, &name)?);
    if is_served {
        // The state says at the next start too that this record is ours to publish.
        stored = unit.set_key_state(stored.id, KeyState::Published).await?;
    }
    unit.commit().await?;
    if is_served {
        api.domain_check.publish(&stored)?;
    }
    Ok(Some(stored))
}

/// Refuses a domain of our own zones to everybody but the account itself: publishing its record is all
/// that verifying takes, so whoever adds it has it.
fn check_zone(
    api: &Api,
    selector: &Selector,
    name: &DomainName,
    by_account: bool,
) -> Result<(), CreateDomainError> {
    if !by_account && api.domain_check.serves(&record_name(selector, name)?) {
        return Err(CreateDomainError::Restricted { domain: name.clone() });
    }
    Ok(())
}

fn record_name(selector: &Selector, name: &DomainName) -> Result<DomainName, CreateDomainError> {
    key_record_name(selector, name)
        .map_err(|_| CreateDomainError::LongRecordName { selector: selector.clone() })
}

/// `ps`, year, month and random letters.
fn made_up_selector(ambient: &Ambient, now: UnixTime) -> Result<Selector, CreateDomainError> {
    let month = i64::try_from(now.as_secs())
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .unwrap_or(Timestamp::MAX)
        .to_zoned(TimeZone::UTC)
        .strftime("%Y%m")
        .to_string();
    let letters = ambient.letters(SELECTOR_LETTERS)?;
    Ok(Selector::parse(&format!("ps{month}{letters}")).expect("letters and digits are a label"))
}

/// Makes a key on a thread where it holds up nobody, after those that were asked for before.
async fn generate(api: &Api) -> Result<SigningKey, CreateDomainError> {
    let _turn = api.key_making.turn().await;
    let made = tokio::task::spawn_blocking(|| SigningKey::generate(Algorithm::RsaSha256)).await;
    Ok(made.map_err(|_| CreateDomainError::KeyMakingBrokeOff)??)
}

/// Why a domain was not added.
#[derive(Debug, Error)]
enum CreateDomainError {
    #[error(transparent)]
    Field(#[from] FieldError),
    #[error(transparent)]
    Name(#[from] DomainSyntaxError),
    #[error(transparent)]
    Key(#[from] KeyRequestError),
    #[error("'is_default_bounce_domain' cannot be set to true at the time of domain creation")]
    BounceDomain,
    #[error("Tracking domain '{domain}' is not a registered tracking domain")]
    TrackingDomain { domain: String },
    #[error(
        "Invalid data in 'subdomains' field, valid inputs are: {SUBDOMAINS_OFF}, {SUBDOMAINS_SIGN}"
    )]
    BadSubdomains,
    #[error(
        "the name of the key record, with the selector {selector}, is longer than 253 characters"
    )]
    LongRecordName { selector: Selector },
    #[error("Sending Domain {domain} already registered")]
    Exists { domain: DomainName },
    #[error("the domain {domain} was verified by another account")]
    Owned { domain: DomainName },
    #[error(
        "{domain} lies in a zone that this platform serves itself; ask its operator to add the domain for \
         you"
    )]
    Restricted { domain: DomainName },
    #[error(
        "The selector was used for another key of this domain; choose one that was never used, since \
         resolvers may still have the former key"
    )]
    SelectorUsed,
    #[error("Only a domain of the primary account can be shared with subaccounts")]
    NotShareable,
    #[error("Subaccount '{tenant}' does not exist")]
    NoTenant { tenant: TenantId },
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    #[error(transparent)]
    Generate(#[from] GenerateError),
    #[error("making a key broke off")]
    KeyMakingBrokeOff,
    #[error("saving the domain broke off")]
    SavingBrokeOff,
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl CreateDomainError {
    fn of_store(error: StoreError, domain: &DomainName, tenant: TenantId) -> Self {
        let domain = domain.clone();
        if let StoreError::NotFound(Thing::Tenant) = error {
            return Self::NoTenant { tenant };
        }
        let StoreError::Conflict(conflict) = error else { return Self::Store(error) };
        match conflict {
            Conflict::DomainExists => Self::Exists { domain },
            Conflict::DomainOwned { .. } => Self::Owned { domain },
            Conflict::SelectorUsed | Conflict::KeyExists => Self::SelectorUsed,
            Conflict::NotShareable => Self::NotShareable,
            Conflict::KeyLabelExists
            | Conflict::KeyDestroyed
            | Conflict::KeySigns
            | Conflict::PoolExists { .. }
            | Conflict::PoolReserved
            | Conflict::ApiKeyExists
            | Conflict::PrimaryAccount
            | _ => Self::Store(conflict.into()),
        }
    }
}

impl From<CreateDomainError> for ApiError {
    fn from(error: CreateDomainError) -> Self {
        let code = match error {
            CreateDomainError::Field(error) => return error.into(),
            CreateDomainError::Name(error) => return error.into(),
            CreateDomainError::Key(error) => return error.into(),
            CreateDomainError::Owned { domain } => return owned_by_another(&domain),
            CreateDomainError::Store(error) => return Self::from_store(error),
            CreateDomainError::NoRandomness(_)
            | CreateDomainError::Generate(_)
            | CreateDomainError::KeyMakingBrokeOff
            | CreateDomainError::SavingBrokeOff
            | CreateDomainError::Publish(_) => return Self::internal(&error),
            CreateDomainError::TrackingDomain { .. } | CreateDomainError::NoTenant { .. } => {
                Code::Params
            }
            CreateDomainError::Restricted { .. } => Code::RestrictedDomain,
            CreateDomainError::Exists { .. } => Code::Conflict,
            CreateDomainError::BounceDomain
            | CreateDomainError::BadSubdomains
            | CreateDomainError::LongRecordName { .. }
            | CreateDomainError::SelectorUsed
            | CreateDomainError::NotShareable => Code::Data,
        };
        Self::coded(code, error.to_string())
    }
}

/// 26^8 selectors a month. That a domain has one of them already is refused by the store all the same.
const SELECTOR_LETTERS: usize = 8;

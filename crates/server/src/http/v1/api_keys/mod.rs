//! API keys of the account, and of its subaccounts.
//!
//! Whose key it is, `X-MSYS-SUBACCOUNT` says: with a number the key is bound to that subaccount and acts
//! for it and nobody else. The key itself stands in the answer to its creation and never again; its first
//! four characters (`short_key`) tell it from others. SparkPost documents this service nowhere; the fields
//! are those of its own web application, and `valid_ips` may hold networks too. `expires_at`, after which
//! the key is no longer taken, is Postseal's own.
//!
//! Nobody gives a key more than his own key has.

pub(super) mod create;
pub(super) mod delete;
pub(super) mod get;
pub(super) mod list;
pub(super) mod update;

use axum::http::StatusCode;
use jiff::Timestamp;
use postseal_dkim::UnixTime;
use postseal_engine::{Grant, Grants, IpRange, TenantId};
use postseal_store::ApiKey;
use serde_json::{Map, Value, json};

use crate::http::Api;
use crate::http::auth::{Reach, View};
use crate::http::body::{FieldError, Fields};
use crate::http::error::ApiError;
use crate::http::reply::utc_time;

/// What a key is to be, apart from whose it is.
#[derive(Debug)]
pub(super) struct KeyRequest {
    pub(super) label: String,
    pub(super) grants: Grants,
    pub(super) valid_ips: Vec<IpRange>,
    pub(super) expires_at: Option<UnixTime>,
}

impl KeyRequest {
    /// How far the key will reach.
    pub(super) fn reach(&self) -> Reach {
        Reach {
            grants: self.grants,
            valid_ips: self.valid_ips.clone(),
            expires_at: self.expires_at,
        }
    }
}

/// The fields of a key, as its own service calls them and as that of subaccounts does.
#[derive(Clone, Copy, Debug)]
pub(super) struct FieldNames {
    label: &'static str,
    grants: &'static str,
    valid_ips: &'static str,
    expires_at: &'static str,
}

impl FieldNames {
    pub(super) const OWN: Self =
        Self { label: "label", grants: "grants", valid_ips: "valid_ips", expires_at: "expires_at" };
    pub(super) const OF_SUBACCOUNT: Self = Self {
        label: "key_label",
        grants: "key_grants",
        valid_ips: "key_valid_ips",
        expires_at: "key_expires_at",
    };
}

impl KeyRequest {
    /// Reads the fields of a key for `holder`, and collects all mistakes in them.
    pub(super) fn read(
        fields: Fields<'_>,
        names: FieldNames,
        holder: Holder,
        now: UnixTime,
    ) -> Result<Self, ApiError> {
        let label = label(fields, names.label);
        let grants = grants(fields, names.grants, holder);
        let valid_ips = valid_ips(fields, names.valid_ips);
        let expires_at = expires_at(fields, names.expires_at, now);
        let missing = |field: &str| FieldError::Missing { field: field.to_owned() };
        match (label, grants, valid_ips, expires_at) {
            (Ok(Some(label)), Ok(Some(grants)), Ok(valid_ips), Ok(expires_at)) => {
                Ok(Self { label, grants, valid_ips: valid_ips.unwrap_or_default(), expires_at })
            }
            (label, grants, valid_ips, expires_at) => Err([
                match label {
                    Ok(None) => Some(missing(names.label).parameter(fields)),
                    other => other.err(),
                },
                match grants {
                    Ok(None) => Some(missing(names.grants).parameter(fields)),
                    other => other.err(),
                },
                valid_ips.err(),
                expires_at.err(),
            ]
            .into_iter()
            .flatten()
            .reduce(ApiError::and)
            .unwrap_or_else(ApiError::forbidden)),
        }
    }
}

/// For whom a key is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Holder {
    /// The account itself.
    Account,
    /// A subaccount.
    Subaccount,
}

impl Holder {
    pub(super) fn of(tenant: TenantId) -> Self {
        if tenant.is_primary() { Self::Account } else { Self::Subaccount }
    }
}

fn label(fields: Fields<'_>, name: &'static str) -> Result<Option<String>, ApiError> {
    let Some(text) = fields.string(name).map_err(|error| error.parameter(fields))? else {
        return Ok(None);
    };
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    if text.chars().count() > MAX_LABEL_LEN {
        let message = format!("{name} must be {MAX_LABEL_LEN} characters or less");
        return Err(ApiError::parameter(name, Value::Null, message));
    }
    Ok(Some(text.to_owned()))
}

fn grants(
    fields: Fields<'_>,
    name: &'static str,
    holder: Holder,
) -> Result<Option<Grants>, ApiError> {
    let words = fields.strings(name).map_err(|error| error.parameter(fields))?;
    let Some(words) = words.filter(|words| !words.is_empty()) else { return Ok(None) };
    let grants = words.into_iter().map(|word| {
        let shown = || json!(word.chars().take(MAX_LABEL_LEN).collect::<String>());
        let grant: Grant = word.parse().map_err(|_| {
            ApiError::parameter(name, shown(), format!("`{name}` has an unknown grant"))
        })?;
        if holder == Holder::Subaccount && !SUBACCOUNT_GRANTS.contains(&grant) {
            let message = format!("`{name}` has a grant that a subaccount cannot have");
            return Err(ApiError::parameter(name, shown(), message));
        }
        Ok(grant)
    });
    grants.collect::<Result<Grants, ApiError>>().map(Some)
}

fn valid_ips(fields: Fields<'_>, name: &'static str) -> Result<Option<Vec<IpRange>>, ApiError> {
    let words = fields.strings(name).map_err(|error| error.parameter(fields))?;
    let Some(words) = words else { return Ok(None) };
    if words.len() > MAX_VALID_IPS {
        let message = format!("`{name}` must have {MAX_VALID_IPS} entries or less");
        return Err(ApiError::parameter(name, Value::Null, message));
    }
    let ranges = words.into_iter().map(|word| {
        word.parse().map_err(|_| {
            let shown: String = word.chars().take(MAX_LABEL_LEN).collect();
            let message = format!("`{name}` must have IP addresses or networks like 192.0.2.0/24");
            ApiError::parameter(name, json!(shown), message)
        })
    });
    ranges.collect::<Result<Vec<IpRange>, ApiError>>().map(Some)
}

fn expires_at(
    fields: Fields<'_>,
    name: &'static str,
    now: UnixTime,
) -> Result<Option<UnixTime>, ApiError> {
    let text = fields.string(name).map_err(|error| error.parameter(fields))?;
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let wrong = |message: String| {
        ApiError::parameter(name, json!(text.chars().take(64).collect::<String>()), message)
    };
    let time = text
        .parse::<Timestamp>()
        .ok()
        .and_then(|time| u64::try_from(time.as_second()).ok())
        .map(UnixTime)
        .ok_or_else(|| wrong(format!("`{name}` must be a time like 2027-01-31T12:00:00Z")))?;
    if time <= now {
        return Err(wrong(format!("`{name}` must be in the future")));
    }
    Ok(Some(time))
}

/// Says whether a caller whose key reaches as far as `own` may make or touch one that reaches as far as `other`.
pub(super) fn check_within(other: &Reach, own: &Reach) -> Result<(), ApiError> {
    if own.covers(other) { Ok(()) } else { Err(ApiError::forbidden()) }
}

/// How far a stored key reaches.
fn reach_of(key: &ApiKey) -> Reach {
    Reach { grants: key.grants, valid_ips: key.valid_ips.clone(), expires_at: key.expires_at }
}

/// The key that a path names, if it is there and the caller sees it.
async fn find(api: &Api, id: &str, view: View) -> Result<ApiKey, ApiError> {
    let not_found = || ApiError::plain(StatusCode::NOT_FOUND, "API key not found.");
    // A sign or a leading zero would be a second name for the key.
    let is_plain = !id.starts_with('0') && id.bytes().all(|octet| octet.is_ascii_digit());
    let number: u64 =
        Some(id).filter(|_| is_plain).and_then(|id| id.parse().ok()).ok_or_else(not_found)?;
    api.store
        .api_key(number)
        .await
        .map_err(ApiError::from_store)?
        .filter(|key| key.revoked_at.is_none() && view.includes(key.tenant))
        .ok_or_else(not_found)
}

/// A key as lists and single answers have it.
fn shown(key: &ApiKey) -> Value {
    let mut fields = Map::new();
    fields.insert("id".to_owned(), json!(key.id.to_string()));
    fields.insert("label".to_owned(), json!(key.label));
    fields.insert("short_key".to_owned(), json!(key.short_key));
    fields.insert("grants".to_owned(), words(key.grants.iter()));
    fields.insert("valid_ips".to_owned(), words(&key.valid_ips));
    fields.insert("created_at".to_owned(), json!(utc_time(key.created_at)));
    if let Some(expires_at) = key.expires_at {
        fields.insert("expires_at".to_owned(), json!(utc_time(expires_at)));
    }
    if !key.tenant.is_primary() {
        fields.insert("subaccount_id".to_owned(), json!(key.tenant.get()));
    }
    Value::Object(fields)
}

fn words<T: ToString>(items: impl IntoIterator<Item = T>) -> Value {
    Value::Array(items.into_iter().map(|item| Value::String(item.to_string())).collect())
}

/// What a key of a subaccount may be used for, as SparkPost lists it, and reading one's own domains.
const SUBACCOUNT_GRANTS: &[Grant] = &[
    Grant::SmtpInject,
    Grant::SendingDomainsView,
    Grant::SendingDomainsManage,
    Grant::TrackingDomainsView,
    Grant::TrackingDomainsManage,
    Grant::MessageEventsView,
    Grant::SuppressionListsManage,
    Grant::TransmissionsView,
    Grant::TransmissionsModify,
    Grant::WebhooksView,
    Grant::WebhooksModify,
];

/// The longest label. No official reference.
const MAX_LABEL_LEN: usize = 255;

/// How many addresses and networks a key may be bound to. No official reference; all of them are looked
/// through at each use.
const MAX_VALID_IPS: usize = 100;

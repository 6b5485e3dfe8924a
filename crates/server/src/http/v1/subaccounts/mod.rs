//! Subaccounts: the tenants of the platform, besides the account itself.
//!
//! They are made and changed, never deleted; `suspended` and `terminated` ones cannot send and only read.
//! No key of a subaccount gets at this. `policy`, what is different for a subaccount's mail, is
//! Postseal's own field. Errors name the parameter and its value, several at once where there are.

pub(super) mod create;
pub(super) mod get;
pub(super) mod list;
pub(super) mod summary;
pub(super) mod update;

use axum::http::StatusCode;
use postseal_engine::{PolicyLayer, PoolId, TenantId};
use postseal_store::Tenant;
use serde_json::{Map, Value, json};

use crate::http::Api;
use crate::http::body::{FieldError, Fields};
use crate::http::error::ApiError;

/// A subaccount as lists and single answers have it.
fn shown(tenant: &Tenant) -> Value {
    let mut fields = Map::new();
    fields.insert("id".to_owned(), json!(tenant.id.get()));
    fields.insert("name".to_owned(), json!(tenant.name));
    fields.insert("status".to_owned(), json!(tenant.status.as_str()));
    fields.insert("compliance_status".to_owned(), json!("active"));
    if let Some(pool) = &tenant.pool {
        fields.insert("ip_pool".to_owned(), json!(pool.as_str()));
    }
    if tenant.policy != PolicyLayer::default() {
        fields.insert("policy".to_owned(), json!(tenant.policy));
    }
    Value::Object(fields)
}

/// The subaccount that a path names. The account itself is none.
async fn find(api: &Api, id: &str) -> Result<Tenant, ApiError> {
    let not_found = || {
        let shown: String = id.chars().take(20).collect();
        ApiError::plain(StatusCode::NOT_FOUND, format!("Subaccount {shown} does not exist"))
    };
    let is_plain = !id.starts_with('0') && id.bytes().all(|octet| octet.is_ascii_digit());
    let number: u32 =
        Some(id).filter(|_| is_plain).and_then(|id| id.parse().ok()).ok_or_else(not_found)?;
    api.store
        .tenant(TenantId::new(number))
        .await
        .map_err(ApiError::from_store)?
        .ok_or_else(not_found)
}

/// A name, if there is one.
fn name(fields: Fields<'_>) -> Result<Option<String>, ApiError> {
    let text = fields.string("name").map_err(|error| error.parameter(fields))?;
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    if text.chars().count() > MAX_NAME_LEN {
        let message = format!("name must be {MAX_NAME_LEN} characters or less");
        return Err(ApiError::parameter("name", json!(text), message));
    }
    Ok(Some(text.to_owned()))
}

/// The error for a name that is not there.
fn missing(field: &str, fields: Fields<'_>) -> ApiError {
    FieldError::Missing { field: field.to_owned() }.parameter(fields)
}

/// A pool by its id; none inside for `""`.
fn ip_pool(fields: Fields<'_>) -> Result<Option<Option<PoolId>>, ApiError> {
    let text = fields.string("ip_pool").map_err(|error| error.parameter(fields))?;
    let Some(text) = text else { return Ok(None) };
    if text.is_empty() {
        return Ok(Some(None));
    }
    let wrong = |message: String| {
        ApiError::parameter("ip_pool", json!(text.chars().take(64).collect::<String>()), message)
    };
    let is_word = text.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_');
    ApiError::all(
        [
            (text.chars().count() > MAX_POOL_LEN)
                .then(|| wrong(format!("ip_pool must be {MAX_POOL_LEN} characters or less"))),
            (!is_word).then(|| wrong("ip_pool must be alphanumeric and underscore".to_owned())),
        ]
        .into_iter()
        .flatten(),
    )?;
    let pool = PoolId::parse(text).map_err(|error| wrong(error.to_string()))?;
    Ok(Some(Some(pool)))
}

/// Checks that a pool is there and open to the subaccount, which is none yet while it is being made.
async fn check_pool(api: &Api, pool: &PoolId, tenant: Option<TenantId>) -> Result<(), ApiError> {
    let wrong =
        |message: &'static str| ApiError::parameter("ip_pool", json!(pool.as_str()), message);
    let found = api.store.pool(pool).await.map_err(ApiError::from_store)?;
    let found = found.ok_or_else(|| wrong("ip_pool does not exist"))?;
    // A number that nobody has yet stands for the subaccount that is being made.
    if found.grants.include(tenant.unwrap_or(TenantId::new(u32::MAX))) {
        Ok(())
    } else {
        Err(wrong("ip_pool is not open to this subaccount; name it in the pool's `subaccounts`"))
    }
}

fn policy(fields: Fields<'_>) -> Result<Option<PolicyLayer>, ApiError> {
    let value = fields.object_value("policy").map_err(|error| error.parameter(fields))?;
    let Some(value) = value else { return Ok(None) };
    serde_json::from_value(value.clone())
        .map(Some)
        .map_err(|error| ApiError::parameter("policy", value.clone(), format!("policy: {error}")))
}

/// Checks that a policy makes sense over the platform's.
async fn check_policy(api: &Api, policy: &PolicyLayer) -> Result<(), ApiError> {
    let platform = api.store.platform().await.map_err(ApiError::from_store)?;
    policy
        .check_over(&platform.policy)
        .map_err(|error| ApiError::parameter("policy", json!(policy), format!("policy: {error}")))
}

/// SparkPost's limit.
const MAX_NAME_LEN: usize = 64;

/// SparkPost's limit.
const MAX_POOL_LEN: usize = 20;

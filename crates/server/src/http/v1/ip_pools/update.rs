//! `PUT /api/v1/ip-pools/{id}`: changes a pool. Its id stays, also when it is renamed.
//!
//! A field that is absent stays as it is, except for `name`, which has to be there. The pool `default`
//! is reserved: none of SparkPost's fields can be set on it. Postseal's own can, since mail that names no
//! pool needs a next hop too; such a body has no `name`.

use std::sync::Arc;

use axum::extract::State;
use postseal_engine::PoolId;
use postseal_store::{Pool, PoolEdit, StoreError};
use serde_json::Value;

use super::{MAX_NAME_LEN, PoolError, Settings, check, check_overflow, summary};
use crate::http::Api;
use crate::http::auth::{ManagePools, Permit};
use crate::http::body::{FieldError, Fields, JsonObject};
use crate::http::error::ApiError;
use crate::http::path::Named;
use crate::http::reply::Results;

pub(in crate::http::v1) async fn update(
    _: Permit<ManagePools>,
    State(api): State<Arc<Api>>,
    Named(id): Named,
    body: JsonObject,
) -> Result<Results, ApiError> {
    let pool = update_pool(&api, &id, body.fields()).await?;
    Ok(Results(Value::Object(summary(&pool))))
}

async fn update_pool(api: &Api, id: &str, fields: Fields<'_>) -> Result<Pool, PoolError> {
    let not_found = || PoolError::NotFound { id: id.to_owned() };
    let id = PoolId::parse(id).map_err(|_| not_found())?;
    let name = if id.is_default() {
        let only_own = RESERVED_FIELDS.iter().all(|field| !fields.has(field));
        if !only_own || OWN_FIELDS.iter().all(|field| !fields.has(field)) {
            return Err(PoolError::ReservedUpdate);
        }
        None
    } else {
        Some(name(fields)?)
    };
    let settings = Settings::read(fields, api)?;

    let mut unit = api.store.write(api.ambient.now()).await?;
    let overflow = match settings.auto_warmup_overflow_pool {
        Some(Some(overflow)) => Some(Some(check_overflow(api, &id, &overflow).await?)),
        other => other,
    };
    let edit = PoolEdit {
        name,
        signing_domain: settings.signing_domain,
        fbl_signing_domain: settings.fbl_signing_domain,
        auto_warmup_overflow_pool: overflow,
        grants: settings.grants,
        next_hop: settings.next_hop,
        policy: settings.policy,
    };
    let before = api.store.pool(&id).await?.ok_or_else(not_found)?;
    let pool = match unit.edit_pool(&id, edit).await {
        Err(StoreError::NotFound(_)) => return Err(not_found()),
        other => other?,
    };
    check(api, &pool, Some(&before)).await?;
    unit.commit().await?;
    Ok(pool)
}

fn name(fields: Fields<'_>) -> Result<String, PoolError> {
    let name = fields.required_string("name")?.trim();
    if name.is_empty() {
        return Err(FieldError::Missing { field: "name".to_owned() }.into());
    }
    if name.chars().count() > MAX_NAME_LEN {
        return Err(PoolError::LongName);
    }
    Ok(name.to_owned())
}

/// What cannot be set on the pool `default`.
const RESERVED_FIELDS: &[&str] =
    &["name", "signing_domain", "fbl_signing_domain", "auto_warmup_overflow_pool"];

/// What can.
const OWN_FIELDS: &[&str] = &["next_hop", "subaccounts", "policy"];

//! `POST /api/v1/api-keys`: makes a key.
//!
//! ```text
//! {"label": "web shop", "grants": ["smtp/inject"], "valid_ips": ["192.0.2.0/24"]}
//! → {"results": {"id": "7", "key": "5ab3…", "short_key": "5ab3", "label": "web shop",
//!                "link": {"href": "/api/v1/api-keys/7"}}}
//! ```
//!
//! This is the only time the key is shown.

use std::sync::Arc;

use axum::extract::State;
use postseal_engine::TenantId;
use postseal_store::{ApiKey, StoreError, Unit};
use serde_json::json;

use super::{FieldNames, Holder, KeyRequest, check_within};
use crate::http::auth::{ManageApiKeys, NewApiKey, Permit};
use crate::http::body::JsonObject;
use crate::http::error::{ApiError, Code};
use crate::http::reply::Results;
use crate::http::{Ambient, Api};

pub(in crate::http::v1) async fn create(
    permit: Permit<ManageApiKeys>,
    State(api): State<Arc<Api>>,
    body: JsonObject,
) -> Result<Results, ApiError> {
    let tenant = permit.acting_tenant()?;
    let now = api.ambient.now();
    let request = KeyRequest::read(body.fields(), FieldNames::OWN, Holder::of(tenant), now)?;
    check_within(&request.reach(), permit.reach())?;

    let mut unit = api.store.write(now).await.map_err(ApiError::from_store)?;
    let (key, text) = issue(&mut unit, &api.ambient, tenant, request).await?;
    unit.commit().await.map_err(ApiError::from_store)?;
    Ok(Results(json!({
        "id": key.id.to_string(),
        "key": text.expose_text(),
        "short_key": key.short_key,
        "label": key.label,
        "link": { "href": format!("/api/v1/api-keys/{}", key.id) },
    })))
}

/// Makes a key in a unit of work that the caller commits.
pub(in crate::http::v1) async fn issue(
    unit: &mut Unit,
    ambient: &Ambient,
    tenant: TenantId,
    request: KeyRequest,
) -> Result<(ApiKey, NewApiKey), ApiError> {
    let text = NewApiKey::generate(ambient).map_err(|error| ApiError::internal(&error))?;
    let new = postseal_store::NewApiKey {
        tenant,
        hash: text.hash(),
        short_key: text.short(),
        label: request.label,
        grants: request.grants,
        valid_ips: request.valid_ips,
        expires_at: request.expires_at,
    };
    let key = unit.create_api_key(new).await.map_err(|error| {
        if matches!(error, StoreError::NotFound(_)) {
            ApiError::coded(Code::Params, format!("Subaccount '{tenant}' does not exist"))
        } else {
            ApiError::from_store(error)
        }
    })?;
    Ok((key, text))
}

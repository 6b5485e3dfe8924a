//! `PUT /api/v1/api-keys/{id}`: changes the label, the grants or the addresses of a key. What is absent
//! stays. The key itself, whose it is, and when it expires cannot be changed.

use std::sync::Arc;

use axum::extract::State;
use postseal_store::ApiKeyEdit;
use serde_json::json;

use super::{FieldNames, Holder, check_within, find, grants, label, reach_of, valid_ips};
use crate::http::Api;
use crate::http::auth::{ManageApiKeys, Permit};
use crate::http::body::JsonObject;
use crate::http::error::ApiError;
use crate::http::path::Named;
use crate::http::reply::Results;

pub(in crate::http::v1) async fn update(
    permit: Permit<ManageApiKeys>,
    State(api): State<Arc<Api>>,
    Named(id): Named,
    body: JsonObject,
) -> Result<Results, ApiError> {
    let mut unit = api.store.write(api.ambient.now()).await.map_err(ApiError::from_store)?;
    let key = find(&api, &id, permit.view()?).await?;
    let (fields, names) = (body.fields(), FieldNames::OWN);
    let edit = ApiKeyEdit {
        label: label(fields, names.label)?,
        grants: grants(fields, names.grants, Holder::of(key.tenant))?,
        valid_ips: valid_ips(fields, names.valid_ips)?,
    };
    // Neither as it is nor as it will be does it reach beyond the caller's own.
    let mut reach = reach_of(&key);
    check_within(&reach, permit.reach())?;
    reach.grants = edit.grants.unwrap_or(reach.grants);
    if let Some(valid_ips) = &edit.valid_ips {
        reach.valid_ips.clone_from(valid_ips);
    }
    check_within(&reach, permit.reach())?;
    unit.edit_api_key(key.id, edit).await.map_err(ApiError::from_store)?;
    unit.commit().await.map_err(ApiError::from_store)?;
    Ok(Results(json!({ "message": "Successfully updated API key" })))
}

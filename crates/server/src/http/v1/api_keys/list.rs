//! `GET /api/v1/api-keys`: the keys that are not revoked, without the keys themselves.

use std::sync::Arc;

use axum::extract::State;
use serde_json::Value;

use super::shown;
use crate::http::Api;
use crate::http::auth::{Permit, View, ViewApiKeys};
use crate::http::error::ApiError;
use crate::http::reply::Results;

pub(in crate::http::v1) async fn list(
    permit: Permit<ViewApiKeys>,
    State(api): State<Arc<Api>>,
) -> Result<Results, ApiError> {
    let tenant = match permit.view()? {
        View::Everyone => None,
        View::Only(tenant) => Some(tenant),
    };
    let keys = api.store.api_keys(tenant).await.map_err(ApiError::from_store)?;
    Ok(Results(Value::Array(keys.iter().map(shown).collect())))
}

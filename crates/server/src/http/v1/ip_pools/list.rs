//! `GET /api/v1/ip-pools`: all pools, the pool `default` among them.

use std::sync::Arc;

use axum::extract::State;
use serde_json::Value;

use super::whole;
use crate::http::Api;
use crate::http::auth::{Permit, ViewPools};
use crate::http::error::ApiError;
use crate::http::reply::Results;

pub(in crate::http::v1) async fn list(
    _: Permit<ViewPools>,
    State(api): State<Arc<Api>>,
) -> Result<Results, ApiError> {
    let pools = api.store.pools().await.map_err(ApiError::from_store)?;
    Ok(Results(Value::Array(pools.iter().map(whole).collect())))
}

//! `GET /api/v1/subaccounts/summary`: how many subaccounts there are.

use std::sync::Arc;

use axum::extract::State;
use serde_json::json;

use crate::http::Api;
use crate::http::auth::{Permit, ViewSubaccounts};
use crate::http::error::ApiError;
use crate::http::reply::Results;

pub(in crate::http::v1) async fn summary(
    _: Permit<ViewSubaccounts>,
    State(api): State<Arc<Api>>,
) -> Result<Results, ApiError> {
    let tenants = api.store.tenants().await.map_err(ApiError::from_store)?;
    let total = tenants.iter().filter(|tenant| !tenant.id.is_primary()).count();
    Ok(Results(json!({ "total": total })))
}

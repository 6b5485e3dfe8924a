//! `GET /api/v1/ip-pools/{id}`: one pool.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use postseal_engine::PoolId;

use super::whole;
use crate::http::Api;
use crate::http::auth::{Permit, ViewPools};
use crate::http::error::ApiError;
use crate::http::path::Named;
use crate::http::reply::Results;

pub(in crate::http::v1) async fn get(
    _: Permit<ViewPools>,
    State(api): State<Arc<Api>>,
    Named(id): Named,
) -> Result<Results, ApiError> {
    // The other verbs have another sentence for this.
    let not_found = || ApiError::plain(StatusCode::NOT_FOUND, "IP pool not found.");
    let id = PoolId::parse(&id).map_err(|_| not_found())?;
    let pool = api.store.pool(&id).await.map_err(ApiError::from_store)?.ok_or_else(not_found)?;
    Ok(Results(whole(&pool)))
}

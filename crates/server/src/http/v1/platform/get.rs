//! `GET /api/v1/platform`: the platform's settings.

use std::sync::Arc;

use axum::extract::State;

use super::shown;
use crate::http::Api;
use crate::http::auth::{Permit, ViewPools};
use crate::http::error::ApiError;
use crate::http::reply::Results;

pub(in crate::http::v1) async fn get(
    _: Permit<ViewPools>,
    State(api): State<Arc<Api>>,
) -> Result<Results, ApiError> {
    Ok(Results(shown(&api.store.platform().await.map_err(ApiError::from_store)?)))
}

//! `DELETE /api/v1/api-keys/{id}`: revokes a key for good.

use std::sync::Arc;

use axum::extract::State;

use super::{check_within, find, reach_of};
use crate::http::Api;
use crate::http::auth::{ManageApiKeys, Permit};
use crate::http::error::ApiError;
use crate::http::path::Named;
use crate::http::reply::Deleted;

pub(in crate::http::v1) async fn delete(
    permit: Permit<ManageApiKeys>,
    State(api): State<Arc<Api>>,
    Named(id): Named,
) -> Result<Deleted, ApiError> {
    let mut unit = api.store.write(api.ambient.now()).await.map_err(ApiError::from_store)?;
    let key = find(&api, &id, permit.view()?).await?;
    check_within(&reach_of(&key), permit.reach())?;
    unit.revoke_api_key(key.id).await.map_err(ApiError::from_store)?;
    unit.commit().await.map_err(ApiError::from_store)?;
    Ok(Deleted)
}

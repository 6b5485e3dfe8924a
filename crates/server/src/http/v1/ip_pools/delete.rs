//! `DELETE /api/v1/ip-pools/{id}`: deletes a pool. Mail that names it is refused from then on;
//! subaccounts that were bound to it are bound to none.

use std::sync::Arc;

use axum::extract::State;
use postseal_engine::PoolId;
use postseal_store::StoreError;

use super::PoolError;
use crate::http::Api;
use crate::http::auth::{ManagePools, Permit};
use crate::http::error::ApiError;
use crate::http::path::Named;
use crate::http::reply::Deleted;

pub(in crate::http::v1) async fn delete(
    _: Permit<ManagePools>,
    State(api): State<Arc<Api>>,
    Named(id): Named,
) -> Result<Deleted, ApiError> {
    delete_pool(&api, &id).await?;
    Ok(Deleted)
}

async fn delete_pool(api: &Api, id: &str) -> Result<(), PoolError> {
    let not_found = || PoolError::NotFound { id: id.to_owned() };
    let id = PoolId::parse(id).map_err(|_| not_found())?;
    if id.is_default() {
        return Err(PoolError::Reserved);
    }
    let mut unit = api.store.write(api.ambient.now()).await?;
    match unit.delete_pool(&id).await {
        Err(StoreError::NotFound(_)) => return Err(not_found()),
        other => other?,
    }
    unit.commit().await?;
    Ok(())
}

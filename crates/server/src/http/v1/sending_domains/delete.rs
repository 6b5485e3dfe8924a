//! `DELETE /api/v1/sending-domains/{domain}`: gives a domain up. Mail from it is no longer signed as it;
//! the private key is destroyed. A record in a zone that Postseal serves stays for two weeks, for mail
//! that is on its way.

use std::sync::Arc;

use axum::extract::State;
use postseal_store::StoreError;

use super::{named, not_found};
use crate::http::Api;
use crate::http::auth::{ManageDomains, Permit};
use crate::http::error::ApiError;
use crate::http::path::Named;
use crate::http::reply::Deleted;

pub(in crate::http::v1) async fn delete(
    permit: Permit<ManageDomains>,
    State(api): State<Arc<Api>>,
    Named(text): Named,
) -> Result<Deleted, ApiError> {
    let owner = permit.acting_tenant()?;
    let name = named(&text)?;
    let mut unit = api.store.write(api.ambient.now()).await.map_err(ApiError::from_store)?;
    unit.delete_domain(owner, &name).await.map_err(|error| {
        if matches!(error, StoreError::NotFound(_)) {
            not_found(&text)
        } else {
            ApiError::from_store(error)
        }
    })?;
    unit.commit().await.map_err(ApiError::from_store)?;
    Ok(Deleted)
}

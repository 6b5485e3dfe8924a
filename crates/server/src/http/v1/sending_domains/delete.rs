//! `DELETE /api/v1/sending-domains/{domain}`: gives a domain up. Mail from it is no longer signed as it;
//! the private key is destroyed. A record in a zone that Postseal serves stays for two weeks, for mail
//! that is on its way, or goes at once if nobody has ever seen it.

use std::sync::Arc;

use axum::extract::State;
use postseal_dkim::DomainName;
use postseal_engine::TenantId;
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
    // On a task of its own: a client that hangs up must not end it between the commit and the zone.
    match tokio::spawn(give_up(Arc::clone(&api), owner, name)).await {
        Ok(Ok(())) => Ok(Deleted),
        Ok(Err(StoreError::NotFound(_))) => Err(not_found(&text)),
        Ok(Err(error)) => Err(ApiError::from_store(error)),
        Err(error) => match error.try_into_panic() {
            // For the layer that answers and counts panics of handlers.
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(ApiError::internal(&error)),
        },
    }
}

async fn give_up(api: Arc<Api>, owner: TenantId, name: DomainName) -> Result<(), StoreError> {
    let now = api.ambient.now();
    let mut unit = api.store.write(now).await?;
    // The unit excludes other writers, so these are the keys that are destroyed.
    let keys = api.store.keys(owner, &name).await?;
    unit.delete_domain(owner, &name).await?;
    unit.commit().await?;
    if let Err(error) = api.domain_check.withdraw(&api.store, &keys, now).await {
        // The domain is gone all the same; such a record is not published again at the next start.
        tracing::warn!(event = "withdraw_failed", domain = %name, %error, "a record stays served");
    }
    Ok(())
}

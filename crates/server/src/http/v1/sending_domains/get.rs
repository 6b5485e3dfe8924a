//! `GET /api/v1/sending-domains/{domain}`: one domain with its key. The answer has no field `domain`.
//!
//! With a key of the account and no `X-MSYS-SUBACCOUNT`, several tenants may have the domain: the account
//! itself comes first, then who has verified it, then the lowest number.

use std::sync::Arc;

use axum::extract::State;
use postseal_store::Domain;
use serde_json::Value;

use super::{common, dkim, named, not_found};
use crate::domain_check::default_key;
use crate::http::Api;
use crate::http::auth::{Permit, View, ViewDomains};
use crate::http::error::ApiError;
use crate::http::path::Named;
use crate::http::reply::Results;

pub(in crate::http::v1) async fn get(
    permit: Permit<ViewDomains>,
    State(api): State<Arc<Api>>,
    Named(text): Named,
) -> Result<Results, ApiError> {
    let name = named(&text)?;
    let domain = match permit.view()? {
        View::Only(tenant) => api.store.domain(tenant, &name).await,
        View::Everyone => api.store.claims(&name).await.map(foremost),
    };
    let domain = domain.map_err(ApiError::from_store)?.ok_or_else(|| not_found(&text))?;
    let keys = api.store.keys(domain.owner, &name).await.map_err(ApiError::from_store)?;
    let mut fields = common(&domain);
    if let Some(key) = default_key(keys) {
        fields.insert("dkim".to_owned(), dkim(&key));
    }
    Ok(Results(Value::Object(fields)))
}

/// Of several claims the one that is meant if nobody says whose.
fn foremost(claims: Vec<Domain>) -> Option<Domain> {
    claims
        .into_iter()
        .min_by_key(|domain| (!domain.owner.is_primary(), !domain.is_verified(), domain.owner))
}

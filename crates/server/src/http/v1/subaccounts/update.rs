//! `PUT /api/v1/subaccounts/{id}`: changes a subaccount. What is absent stays; `""` as `ip_pool` takes
//! the pool away. A terminated subaccount stays terminated.

use std::sync::Arc;

use axum::extract::State;
use postseal_store::{AccountStatus, Tenant, TenantEdit};
use serde_json::json;

use super::{check_policy, check_pool, find, ip_pool, name, policy};
use crate::http::Api;
use crate::http::auth::{ManageSubaccounts, Permit};
use crate::http::body::{Fields, JsonObject};
use crate::http::error::ApiError;
use crate::http::path::Named;
use crate::http::reply::Results;

pub(in crate::http::v1) async fn update(
    _: Permit<ManageSubaccounts>,
    State(api): State<Arc<Api>>,
    Named(id): Named,
    body: JsonObject,
) -> Result<Results, ApiError> {
    let fields = body.fields();
    let mut unit = api.store.write(api.ambient.now()).await.map_err(ApiError::from_store)?;
    let tenant = find(&api, &id).await?;
    let edit = TenantEdit {
        name: name(fields)?,
        status: status(fields, &tenant)?,
        pool: ip_pool(fields)?,
        policy: policy(fields)?,
    };
    if let Some(Some(pool)) = &edit.pool {
        check_pool(&api, pool, Some(tenant.id)).await?;
    }
    if let Some(policy) = &edit.policy {
        check_policy(&api, policy).await?;
    }
    unit.edit_tenant(tenant.id, edit).await.map_err(ApiError::from_store)?;
    unit.commit().await.map_err(ApiError::from_store)?;
    Ok(Results(json!({ "message": "Successfully updated subaccount information" })))
}

fn status(fields: Fields<'_>, tenant: &Tenant) -> Result<Option<AccountStatus>, ApiError> {
    let text = fields.string("status").map_err(|error| error.parameter(fields))?;
    let Some(text) = text else { return Ok(None) };
    let wrong = |message: &'static str| {
        ApiError::parameter("status", json!(text.chars().take(64).collect::<String>()), message)
    };
    let status =
        text.parse().map_err(|_| wrong("status must be active, suspended or terminated"))?;
    if tenant.status == AccountStatus::Terminated && status != AccountStatus::Terminated {
        return Err(wrong("status of a terminated subaccount cannot be changed"));
    }
    Ok(Some(status))
}

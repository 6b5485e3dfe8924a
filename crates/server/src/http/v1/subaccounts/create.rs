//! `POST /api/v1/subaccounts`: makes a subaccount, with an API key of its own unless `setup_api_key` is
//! `false`.
//!
//! ```text
//! {"name": "Acme", "key_label": "Acme's MTA", "key_grants": ["smtp/inject"]}
//! → {"results": {"subaccount_id": 7, "key": "5ab3…", "label": "Acme's MTA", "short_key": "5ab3"}}
//! ```

use std::sync::Arc;

use axum::extract::State;
use postseal_store::NewTenant;
use serde_json::json;

use super::{check_policy, check_pool, ip_pool, missing, name, policy};
use crate::http::Api;
use crate::http::auth::{ManageSubaccounts, Permit};
use crate::http::body::{Fields, JsonObject};
use crate::http::error::ApiError;
use crate::http::reply::Results;
use crate::http::v1::api_keys::create::issue;
use crate::http::v1::api_keys::{FieldNames, Holder, KeyRequest, check_within};

pub(in crate::http::v1) async fn create(
    permit: Permit<ManageSubaccounts>,
    State(api): State<Arc<Api>>,
    body: JsonObject,
) -> Result<Results, ApiError> {
    let now = api.ambient.now();
    let request = SubaccountRequest::read(body.fields(), now)?;
    if let Some(key) = &request.key {
        check_within(&key.reach(), permit.reach())?;
    }

    let mut unit = api.store.write(now).await.map_err(ApiError::from_store)?;
    if let Some(pool) = &request.tenant.pool {
        check_pool(&api, pool, None).await?;
    }
    check_policy(&api, &request.tenant.policy).await?;
    let tenant = unit.create_tenant(request.tenant).await.map_err(ApiError::from_store)?;
    let mut results = json!({ "subaccount_id": tenant.id.get() });
    if let Some(key) = request.key {
        let (key, text) = issue(&mut unit, &api.ambient, tenant.id, key).await?;
        results["key"] = json!(text.expose_text());
        results["label"] = json!(key.label);
        results["short_key"] = json!(key.short_key);
    }
    unit.commit().await.map_err(ApiError::from_store)?;
    Ok(Results(results))
}

/// What is asked for.
struct SubaccountRequest {
    tenant: NewTenant,
    key: Option<KeyRequest>,
}

impl SubaccountRequest {
    /// Reads the fields, and collects all mistakes in them.
    fn read(fields: Fields<'_>, now: postseal_dkim::UnixTime) -> Result<Self, ApiError> {
        let name = name(fields).and_then(|name| name.ok_or_else(|| missing("name", fields)));
        let pool = ip_pool(fields);
        let policy = policy(fields);
        let sets_up_key = fields.boolean("setup_api_key").map_err(|error| error.parameter(fields));
        let key = match sets_up_key {
            Ok(Some(false)) => Ok(None),
            Ok(Some(true) | None) => {
                KeyRequest::read(fields, FieldNames::OF_SUBACCOUNT, Holder::Subaccount, now)
                    .map(Some)
            }
            Err(error) => Err(error),
        };
        match (name, pool, policy, key) {
            (Ok(name), Ok(pool), Ok(policy), Ok(key)) => {
                let policy = policy.unwrap_or_default();
                Ok(Self { tenant: NewTenant { name, pool: pool.flatten(), policy }, key })
            }
            (name, pool, policy, key) => {
                let errors = [name.err(), pool.err(), policy.err(), key.err()];
                Err(errors
                    .into_iter()
                    .flatten()
                    .reduce(ApiError::and)
                    .unwrap_or_else(ApiError::forbidden))
            }
        }
    }
}

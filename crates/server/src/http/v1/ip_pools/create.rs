//! `POST /api/v1/ip-pools`: makes a pool.
//!
//! ```text
//! {"name": "Marketing IP Pool", "signing_domain": "mail.esp.example"}
//! → {"results": {"id": "marketing_ip_pool"}}
//! ```
//!
//! The id comes from the name: lower case, an underscore for each other character. Two names that lead
//! to one id exclude each other (409).

use std::sync::Arc;

use axum::extract::State;
use postseal_engine::{PoolGrants, PoolIdError};
use postseal_store::{Conflict, NewPool, Pool, StoreError};
use serde_json::json;

use super::{PoolError, Settings, check, check_overflow};
use crate::http::Api;
use crate::http::auth::{ManagePools, Permit};
use crate::http::body::{FieldError, Fields, JsonObject};
use crate::http::error::ApiError;
use crate::http::reply::Results;

pub(in crate::http::v1) async fn create(
    _: Permit<ManagePools>,
    State(api): State<Arc<Api>>,
    body: JsonObject,
) -> Result<Results, ApiError> {
    let pool = create_pool(&api, body.fields()).await?;
    Ok(Results(json!({ "id": pool.id.as_str() })))
}

async fn create_pool(api: &Api, fields: Fields<'_>) -> Result<Pool, PoolError> {
    let name = fields.required_string("name")?;
    let mut new = NewPool::named(name).map_err(|error| match error {
        PoolIdError::TooLong => PoolError::LongName,
        PoolIdError::Empty | PoolIdError::BadCharacter | _ => {
            PoolError::Field(FieldError::Missing { field: "name".to_owned() })
        }
    })?;
    let settings = Settings::read(fields, api)?;
    new.signing_domain = settings.signing_domain.flatten();
    new.fbl_signing_domain = settings.fbl_signing_domain.flatten();
    new.grants = settings.grants.unwrap_or(PoolGrants::Everyone);
    new.next_hop = settings.next_hop.flatten();
    new.policy = settings.policy.unwrap_or_default();

    let mut unit = api.store.write(api.ambient.now()).await?;
    if let Some(overflow) = settings.auto_warmup_overflow_pool.flatten() {
        new.auto_warmup_overflow_pool = Some(check_overflow(api, &new.id, &overflow).await?);
    }
    let pool = match unit.create_pool(new).await {
        Err(StoreError::Conflict(Conflict::PoolExists { id })) => {
            return Err(PoolError::Exists { id });
        }
        other => other?,
    };
    check(api, &pool, None).await?;
    unit.commit().await?;
    Ok(pool)
}

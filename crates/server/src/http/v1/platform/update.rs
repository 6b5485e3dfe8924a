//! `PUT /api/v1/platform`: changes the platform's settings. What is absent stays; `""` takes a domain
//! away.
//!
//! ```text
//! {"signing_domain": "mail.esp.example", "fbl_signing_domain": "fbl.esp.example"}
//! → {"results": {"signing_domain": "mail.esp.example", "fbl_signing_domain": "fbl.esp.example"}}
//! ```

use std::sync::Arc;

use axum::extract::State;
use postseal_dkim::DomainName;
use postseal_engine::TenantId;
use postseal_store::{DkimStatus, PlatformEdit, StoreError};
use thiserror::Error;

use super::shown;
use crate::http::Api;
use crate::http::auth::{ManagePools, Permit};
use crate::http::body::{FieldError, Fields, JsonObject};
use crate::http::error::{ApiError, Code};
use crate::http::reply::Results;

pub(in crate::http::v1) async fn update(
    _: Permit<ManagePools>,
    State(api): State<Arc<Api>>,
    body: JsonObject,
) -> Result<Results, ApiError> {
    let fields = body.fields();
    let mut unit = api.store.write(api.ambient.now()).await.map_err(ApiError::from_store)?;
    let edit = PlatformEdit {
        default_signing_domain: domain(&api, fields, "signing_domain").await?,
        fbl_signing_domain: domain(&api, fields, "fbl_signing_domain").await?,
        policy: None,
    };
    let platform = unit.edit_platform(edit).await.map_err(ApiError::from_store)?;
    unit.commit().await.map_err(ApiError::from_store)?;
    Ok(Results(shown(&platform)))
}

/// Reads a domain, which has to be a valid one of the primary account.
async fn domain(
    api: &Api,
    fields: Fields<'_>,
    field: &'static str,
) -> Result<Option<Option<DomainName>>, PlatformError> {
    let Some(text) = fields.string(field)? else { return Ok(None) };
    if text.is_empty() {
        return Ok(Some(None));
    }
    let not_valid = || PlatformError::NotValid {
        field,
        domain: text.chars().take(postseal_dkim::MAX_NAME_LEN).collect(),
    };
    let name = DomainName::parse(text).map_err(|_| not_valid())?;
    match api.store.domain(TenantId::PRIMARY, &name).await? {
        Some(found) if found.dkim_status == DkimStatus::Valid => Ok(Some(Some(name))),
        Some(_) | None => Err(not_valid()),
    }
}

/// Why a setting cannot be changed as asked.
#[derive(Debug, Error)]
enum PlatformError {
    #[error(transparent)]
    Field(#[from] FieldError),
    #[error("{field} {domain} is not a DKIM-verified sending domain of the primary account")]
    NotValid { field: &'static str, domain: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<PlatformError> for ApiError {
    fn from(error: PlatformError) -> Self {
        match error {
            PlatformError::Field(error) => error.into(),
            PlatformError::Store(error) => Self::from_store(error),
            PlatformError::NotValid { .. } => Self::coded(Code::Params, error.to_string()),
        }
    }
}

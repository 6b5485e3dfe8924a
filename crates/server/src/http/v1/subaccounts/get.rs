//! `GET /api/v1/subaccounts/{id}`: one subaccount.

use std::sync::Arc;

use axum::extract::State;

use super::{find, shown};
use crate::http::Api;
use crate::http::auth::{Permit, ViewSubaccounts};
use crate::http::error::ApiError;
use crate::http::path::Named;
use crate::http::reply::Results;

pub(in crate::http::v1) async fn get(
    _: Permit<ViewSubaccounts>,
    State(api): State<Arc<Api>>,
    Named(id): Named,
) -> Result<Results, ApiError> {
    Ok(Results(shown(&find(&api, &id).await?)))
}

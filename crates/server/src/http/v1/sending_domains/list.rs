//! `GET /api/v1/sending-domains`: the caller's domains, without their keys.
//!
//! Filters, all optional and all to be met: `ownership_verified`, `is_default_bounce_domain`,
//! `dkim_status`, `cname_status`, `mx_status`, `abuse_at_status`, `postmaster_at_status`,
//! `compliance_status`.

use std::sync::Arc;

use axum::extract::State;
use postseal_store::{DkimStatus, DomainFilter};
use serde_json::{Value, json};
use thiserror::Error;

use super::{COMPLIANT, common};
use crate::http::Api;
use crate::http::auth::{Permit, View, ViewDomains};
use crate::http::error::{ApiError, Code};
use crate::http::path::Parameters;
use crate::http::reply::Results;

pub(in crate::http::v1) async fn list(
    permit: Permit<ViewDomains>,
    State(api): State<Arc<Api>>,
    parameters: Parameters,
) -> Result<Results, ApiError> {
    let owner = match permit.view()? {
        View::Everyone => None,
        View::Only(tenant) => Some(tenant),
    };
    let Some(filter) = filter(&parameters)? else { return Ok(Results(json!([]))) };
    let filter = DomainFilter { owner, ..filter };
    let domains = api.store.domains(&filter).await.map_err(ApiError::from_store)?;
    let rows = domains.iter().map(|domain| {
        let mut row = common(domain);
        row.insert("domain".to_owned(), json!(domain.name.as_str()));
        Value::Object(row)
    });
    Ok(Results(rows.collect()))
}

/// The filters of a query; none if no domain can meet them.
fn filter(parameters: &Parameters) -> Result<Option<DomainFilter>, BadFilter> {
    let verified = flag(parameters, "ownership_verified")?;
    let dkim_status = word(parameters, "dkim_status", STATUSES)?.and_then(|text| text.parse().ok());
    let mut can_be_met = flag(parameters, "is_default_bounce_domain")? != Some(true);
    for name in ["cname_status", "mx_status", "abuse_at_status", "postmaster_at_status"] {
        let wanted = word(parameters, name, STATUSES)?;
        can_be_met &= wanted.is_none_or(|status| status == DkimStatus::Unverified.as_str());
    }
    let compliance = word(parameters, "compliance_status", COMPLIANCE_STATUSES)?;
    can_be_met &= compliance.is_none_or(|status| status == COMPLIANT);
    Ok(can_be_met.then(|| DomainFilter { verified, dkim_status, ..DomainFilter::default() }))
}

fn flag(parameters: &Parameters, name: &'static str) -> Result<Option<bool>, BadFilter> {
    Ok(word(parameters, name, FLAGS)?.map(|text| text == "true"))
}

fn word<'a>(
    parameters: &'a Parameters,
    name: &'static str,
    valid: &'static [&'static str],
) -> Result<Option<&'a str>, BadFilter> {
    match parameters.get(name) {
        Some(text) if !valid.contains(&text) => Err(BadFilter { name, valid: valid.join(", ") }),
        other => Ok(other),
    }
}

/// A filter with a value that it cannot have.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error("Invalid data in '{name}' field, valid inputs are: {valid}")]
struct BadFilter {
    name: &'static str,
    valid: String,
}

impl From<BadFilter> for ApiError {
    fn from(error: BadFilter) -> Self {
        Self::coded(Code::Data, error.to_string())
    }
}

const FLAGS: &[&str] = &["true", "false"];
const STATUSES: &[&str] = &["valid", "invalid", "unverified", "pending"];
const COMPLIANCE_STATUSES: &[&str] = &["valid", "blocked", "pending"];

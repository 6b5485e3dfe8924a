//! `POST /api/v1/sending-domains/{domain}/verify`: looks whether the record of the domain's key is
//! published.
//!
//! ```text
//! {"dkim_verify": true}
//! → {"results": {"ownership_verified": true, "dkim_status": "valid", …,
//!                "dns": {"dkim_record": "v=DKIM1; k=rsa; p=MIIB…"}}}
//! ```
//!
//! The answer is 200 also if the record is wrong; then `dns.dkim_error` says what is. SparkPost's other
//! ways to verify are taken and stay `unverified`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use postseal_dkim::DomainName;
use postseal_dns::Finding;
use postseal_engine::TenantId;
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::{named, not_found, owned_by_another, status};
use crate::domain_check::VerifyError;
use crate::http::Api;
use crate::http::auth::{ManageDomains, Permit};
use crate::http::body::{FieldError, Fields, JsonObject};
use crate::http::error::{ApiError, Code};
use crate::http::path::Named;
use crate::http::reply::Results;

pub(in crate::http::v1) async fn verify(
    permit: Permit<ManageDomains>,
    State(api): State<Arc<Api>>,
    Named(text): Named,
    body: JsonObject,
) -> Result<Results, ApiError> {
    let owner = permit.acting_tenant()?;
    let name = named(&text)?;
    let request = VerifyRequest::read(body.fields())?;
    let mut dns = Map::new();
    let mut fields = if request.dkim {
        by_dkim(&api, owner, &name, &mut dns).await?
    } else {
        let domain = api.store.domain(owner, &name).await.map_err(ApiError::from_store)?;
        status(&domain.ok_or_else(|| not_found(&text))?)
    };
    if request.cname {
        let error = "Postseal handles no bounces, so there is no bounce domain to verify.";
        dns.insert("cname_error".to_owned(), json!(error));
    }
    if request.dkim || request.cname {
        fields.insert("dns".to_owned(), Value::Object(dns));
    }
    Ok(Results(Value::Object(fields)))
}

async fn by_dkim(
    api: &Api,
    owner: TenantId,
    name: &DomainName,
    dns: &mut Map<String, Value>,
) -> Result<Map<String, Value>, ApiError> {
    let clock = || api.ambient.now();
    let found = match api.domain_check.verify(&api.store, owner, name, clock).await {
        Ok(found) => found,
        Err(VerifyError::NoKey) => {
            let domain = api.store.domain(owner, name).await.map_err(ApiError::from_store)?;
            let error = "The domain has no DKIM key. Delete it and add it again with one.";
            dns.insert("dkim_error".to_owned(), json!(error));
            return Ok(status(&domain.ok_or_else(|| not_found(name.as_str()))?));
        }
        Err(VerifyError::NoDomain) => return Err(not_found(name.as_str())),
        Err(VerifyError::Owned) => return Err(owned_by_another(name)),
        Err(VerifyError::KeyChanged) => {
            let text = format!("The key of {name} was changed during the check; check again");
            return Err(ApiError::coded(Code::Conflict, text));
        }
        Err(VerifyError::TooMany) => {
            let text = "Too many checks of sending domains at once; try again in some seconds.";
            return Err(ApiError::plain(StatusCode::TOO_MANY_REQUESTS, text)
                .with_retry_after(RETRY_AFTER_SECS));
        }
        Err(VerifyError::Store(error)) => return Err(ApiError::from_store(error)),
        Err(error @ VerifyError::Stopped) => return Err(ApiError::unavailable(&error)),
        Err(error @ (VerifyError::BadRecord | VerifyError::Name(_))) => {
            return Err(ApiError::internal(&error));
        }
    };
    dns.insert("dkim_record".to_owned(), json!(found.key.public_record));
    if let Some(error) = found.error {
        dns.insert("dkim_error".to_owned(), json!(error));
    }
    if !found.findings.is_empty() {
        dns.insert("findings".to_owned(), found.findings.iter().map(finding).collect());
    }
    Ok(status(&found.domain))
}

fn finding(finding: &Finding) -> Value {
    json!({ "code": finding.code(), "text": finding.to_string(), "advice": finding.advice() })
}

/// Which ways of verifying are asked for.
struct VerifyRequest {
    dkim: bool,
    cname: bool,
}

impl VerifyRequest {
    fn read(fields: Fields<'_>) -> Result<Self, VerifyRequestError> {
        let asked = |name| Ok::<bool, FieldError>(fields.boolean(name)?.unwrap_or(false));
        let (dkim, cname) = (asked("dkim_verify")?, asked("cname_verify")?);
        let mut others = false;
        for name in ["postmaster_at_verify", "abuse_at_verify", "spf_verify", "mx_verify"] {
            others |= asked(name)?;
        }
        for name in ["postmaster_at_token", "abuse_at_token", "verification_mailbox_token"] {
            others |= fields.string(name)?.is_some();
        }
        let by_mailbox = asked("verification_mailbox_verify")?;
        match fields.string("verification_mailbox")? {
            None | Some("") if by_mailbox => return Err(VerifyRequestError::NoMailbox),
            Some(local)
                if by_mailbox
                    && ["postmaster", "abuse"]
                        .iter()
                        .any(|other| local.eq_ignore_ascii_case(other)) =>
            {
                return Err(VerifyRequestError::ReservedMailbox);
            }
            Some(_) | None => {}
        }
        if !(dkim || cname || others || by_mailbox) {
            return Err(VerifyRequestError::Nothing);
        }
        Ok(Self { dkim, cname })
    }
}

/// Why it is not clear what to verify. The caller's fault.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
enum VerifyRequestError {
    #[error(transparent)]
    Field(#[from] FieldError),
    #[error("Error no fields specified for verification")]
    Nothing,
    #[error("verification_mailbox field required to verify mailbox")]
    NoMailbox,
    #[error("verification_mailbox field cannot be 'postmaster' or 'abuse'")]
    ReservedMailbox,
}

impl From<VerifyRequestError> for ApiError {
    fn from(error: VerifyRequestError) -> Self {
        let text = error.to_string();
        match error {
            VerifyRequestError::Field(error) => error.into(),
            VerifyRequestError::Nothing | VerifyRequestError::NoMailbox => {
                Self::coded(Code::Required, text)
            }
            // SparkPost's own combination of message and code.
            VerifyRequestError::ReservedMailbox => {
                Self::coded(Code::Data, text).with_message("required field is missing")
            }
        }
    }
}

/// When a tenant with too many checks under way may come back; a check takes a second or two, and half a
/// minute at most.
const RETRY_AFTER_SECS: u32 = 5;

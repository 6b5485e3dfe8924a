//! Sending domains: which domains a tenant sends with, and the keys that sign for them.
//!
//! A domain is claimed, its record published, then verified. Several tenants may claim one; who verifies
//! it first has it, and the others get a conflict from then on. `X-MSYS-SUBACCOUNT` says whose domain it
//! is; a domain that is not the caller's does not exist for it.
//!
//! Of SparkPost's ways to verify, Postseal knows the one by DKIM: it sends no mail to mailboxes and
//! handles no bounces. The other statuses stay `unverified`. Postseal's own beside SparkPost's fields:
//!
//! * `subdomains`: `sign` lets the domain sign for names below it that nobody has verified themselves;
//!   `off` is the default;
//! * `dkim.dns`, with the name (`dkim_record`) and the text (`dkim_value`) of the record to publish;
//! * `dns.findings` in the answer to verify: all that was found, each with a code and advice.

pub(super) mod create;
pub(super) mod delete;
pub(super) mod get;
mod key_request;
pub(super) mod list;
mod name;
pub(super) mod verify;

use postseal_dkim::{DomainName, key_record_name};
use postseal_engine::{Sharing, Subdomains};
use postseal_store::{DkimStatus, Domain, StoredKey};
use serde_json::{Map, Value, json};

use crate::http::error::{ApiError, Code};
use crate::http::reply::offset_time;

/// The name in a path, in the form in which it is stored.
fn named(text: &str) -> Result<DomainName, ApiError> {
    DomainName::parse(text).map_err(|_| not_found(text))
}

/// The domain is not there, or not the caller's.
fn not_found(domain: &str) -> ApiError {
    ApiError::coded(Code::NotFound, format!("Domain '{domain}' does not exist"))
}

/// Another tenant has verified the domain. Who it is, is not told.
fn owned_by_another(domain: &DomainName) -> ApiError {
    let text = format!("Sending Domain {domain} already verified by another account");
    ApiError::coded(Code::Conflict, text)
}

/// The statuses of a domain.
fn status(domain: &Domain) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("ownership_verified".to_owned(), json!(domain.is_verified()));
    fields.insert("dkim_status".to_owned(), json!(domain.dkim_status.as_str()));
    for name in STATUSES_OF_OTHER_WAYS {
        fields.insert((*name).to_owned(), json!(DkimStatus::Unverified.as_str()));
    }
    fields.insert("compliance_status".to_owned(), json!(COMPLIANT));
    fields
}

/// What lists and single answers have in common.
fn common(domain: &Domain) -> Map<String, Value> {
    let is_shared = domain.sharing == Sharing::WithSubaccounts;
    let mut fields = Map::new();
    fields.insert("status".to_owned(), Value::Object(status(domain)));
    fields.insert("shared_with_subaccounts".to_owned(), json!(is_shared));
    fields.insert("is_default_bounce_domain".to_owned(), json!(false));
    fields.insert("creation_time".to_owned(), json!(offset_time(domain.created_at)));
    if !domain.owner.is_primary() {
        fields.insert("subaccount_id".to_owned(), json!(domain.owner.get()));
    }
    if domain.subdomains == Subdomains::Sign {
        fields.insert("subdomains".to_owned(), json!(SUBDOMAINS_SIGN));
    }
    fields
}

/// The public half of a key, and the record to publish.
fn dkim(key: &StoredKey) -> Value {
    let mut fields = json!({
        "public": public_key(&key.public_record),
        "selector": key.selector.as_str(),
        "signing_domain": key.domain.as_str(),
        "headers": REPORTED_HEADERS,
    });
    if let Ok(record) = key_record_name(&key.selector, &key.domain) {
        let dns = json!({ "dkim_record": record.as_str(), "dkim_value": key.public_record });
        fields["dns"] = dns;
    }
    fields
}

/// The value of `p=` in a record that was written here.
fn public_key(record: &str) -> &str {
    record.split(';').find_map(|tag| tag.trim().strip_prefix("p=")).unwrap_or_default()
}

/// The ways of verifying that Postseal does not have, and SPF, which SparkPost gave up.
const STATUSES_OF_OTHER_WAYS: &[&str] = &[
    "cname_status",
    "mx_status",
    "spf_status",
    "abuse_at_status",
    "postmaster_at_status",
    "verification_mailbox_status",
];

/// Nobody is blocked by content here.
const COMPLIANT: &str = "valid";

/// SparkPost reports these, whatever the signature covers.
const REPORTED_HEADERS: &str = "from:to:subject:date";

const SUBDOMAINS_SIGN: &str = "sign";
const SUBDOMAINS_OFF: &str = "off";

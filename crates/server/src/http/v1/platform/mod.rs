//! The platform's own settings, which SparkPost keeps to itself: the domain that signs when neither the
//! From domain nor the pool has one that can, and the one for feedback loops.
//!
//! They are Postseal's own resource, for keys of the account with the grants of IP pools.

pub(super) mod get;
pub(super) mod update;

use postseal_dkim::DomainName;
use postseal_engine::PlatformRow;
use serde_json::{Map, Value, json};

/// The settings; a domain that is not set is absent.
fn shown(platform: &PlatformRow) -> Value {
    let mut fields = Map::new();
    for (name, domain) in [
        ("signing_domain", &platform.default_signing_domain),
        ("fbl_signing_domain", &platform.fbl_signing_domain),
    ] {
        if let Some(domain) = domain.as_ref().map(DomainName::as_str) {
            fields.insert(name.to_owned(), json!(domain));
        }
    }
    Value::Object(fields)
}

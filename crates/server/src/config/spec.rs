//! The configuration file as it is written: TOML, every key optional, unknown keys refused.
//!
//! This module knows the shape of the file and nothing of its meaning. [`super::build`] turns it
//! into [`super::Config`]. Values that can be wrong in more ways than their type carry their place
//! in the file ([`Spanned`]), so that a mistake is reported with its line and column.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) data: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) keys: Keys,
    #[serde(default)]
    pub(super) log: Log,
    #[serde(default)]
    pub(super) http: Http,
    pub(super) milter: Option<Vec<Milter>>,
    pub(super) smtp: Option<Vec<Smtp>>,
    #[serde(default)]
    pub(super) next_hops: BTreeMap<Spanned<String>, NextHop>,
    #[serde(default)]
    pub(super) dns: Dns,
    #[serde(default)]
    pub(super) signing: Signing,
    pub(super) policy: Option<Spanned<toml::Table>>,
    #[serde(default)]
    pub(super) limits: Limits,
}

/// `[keys]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keys {
    pub(super) master_key_file: Option<Spanned<String>>,
}

/// `[log]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    pub(super) format: Option<LogFormat>,
    pub(super) level: Option<LogLevel>,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// `time LEVEL message key=value …`.
    #[default]
    Text,
}

/// The least severe level that is written.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Only what needs an operator.
    Error,
    /// And what soon might.
    Warn,
    /// And one line a message.
    #[default]
    Info,
    /// And one line a connection.
    Debug,
}

/// `[http]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Http {
    pub(super) listen: Option<Spanned<String>>,
}

/// `[[milter]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Milter {
    pub(super) listen: Spanned<String>,
    #[serde(default)]
    pub(super) tenant_by: Vec<TenantBy>,
    pub(super) tenant: Option<u32>,
    #[serde(default)]
    pub(super) pool_by: Vec<PoolBy>,
    pub(super) pool: Option<Spanned<String>>,
    pub(super) pool_from_header: Option<bool>,
}

/// `[[smtp]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Smtp {
    pub(super) listen: Spanned<String>,
    pub(super) hostname: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) tenant_by: Vec<TenantBy>,
    pub(super) pool: Option<Spanned<String>>,
    pub(super) pool_from_header: Option<bool>,
    pub(super) tls_certificate: Option<Spanned<String>>,
    pub(super) tls_key: Option<Spanned<String>>,
}

/// One entry of `tenant_by`: the first that matches names the tenant.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TenantBy {
    pub(super) client: Option<Spanned<String>>,
    #[serde(rename = "macro")]
    pub(super) milter_macro: Option<Spanned<String>>,
    pub(super) value: Option<String>,
    pub(super) tenant: u32,
}

/// One entry of `pool_by`: the first that matches names the pool.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PoolBy {
    #[serde(rename = "macro")]
    pub(super) milter_macro: Spanned<String>,
    pub(super) value: String,
    pub(super) pool: Spanned<String>,
}

/// `[next_hops.NAME]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NextHop {
    pub(super) address: Spanned<String>,
    pub(super) source_address: Option<Spanned<String>>,
    pub(super) hostname: Option<Spanned<String>>,
    pub(super) tls: Option<HopTls>,
    pub(super) tls_name: Option<Spanned<String>>,
    pub(super) tls_ca_file: Option<Spanned<String>>,
    pub(super) user: Option<String>,
    pub(super) password_file: Option<Spanned<String>>,
}

/// Whether the connection to a next hop is encrypted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum HopTls {
    /// Never: the hop is on this machine or on a network of one's own.
    None,
    /// When the hop offers STARTTLS; its certificate is not checked.
    #[default]
    Opportunistic,
    /// Always, and the certificate has to be valid for `tls_name`; otherwise the mail waits (451).
    Required,
}

/// `[dns]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dns {
    pub(super) listen: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) zones: Vec<Zone>,
    #[serde(default)]
    pub(super) servers: BTreeMap<Spanned<String>, Vec<Spanned<String>>>,
    pub(super) resolvers: Option<Vec<Spanned<String>>>,
}

/// `[[dns.zones]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Zone {
    pub(super) name: Spanned<String>,
    pub(super) name_servers: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) addresses: BTreeMap<Spanned<String>, Vec<Spanned<String>>>,
    pub(super) hostmaster: Option<Spanned<String>>,
}

/// `[signing]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Signing {
    pub(super) threads: Option<Spanned<usize>>,
    pub(super) key_cache: Option<Spanned<u64>>,
}

/// `[limits]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) connections: Option<Spanned<usize>>,
    pub(super) message_size: Option<Spanned<u64>>,
    pub(super) held_in_memory: Option<Spanned<u64>>,
    pub(super) held_on_disk: Option<Spanned<u64>>,
}

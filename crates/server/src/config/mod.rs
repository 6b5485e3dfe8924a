//! The configuration: from a TOML file to checked values.
//!
//! Two steps. `spec` has the file as it is written; [`Config::from_text`] parses it and checks each value,
//! and reports *all* mistakes at once, each with its line, its column and what to write instead.
//! Nothing here is global: each part of the server is handed the part it needs.
//!
//! The file is read once, at the start. A change takes effect at the next start.

mod build;
mod spec;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use postseal_dkim::DomainName;
use postseal_engine::{IpRange, NextHopName, PoolId, TenantId};
use thiserror::Error;

pub use self::spec::{HopTls, LogFormat, LogLevel};

/// Everything that the file decides.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder of the store, the master key and the spool.
    pub data: PathBuf,
    /// Where the master key is; `None` leaves the choice to the environment, then to the data folder.
    pub master_key_file: Option<PathBuf>,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// Which log lines are written.
    pub log_level: LogLevel,
    /// Where the HTTP API listens.
    pub http: SocketAddr,
    /// The milter's listeners.
    pub milter: Vec<MilterConfig>,
    /// The SMTP proxy's listeners.
    pub smtp: Vec<SmtpConfig>,
    /// Where signed mail goes, by name. A pool uses the hop it names, else the one with the pool's
    /// own id, else `default`.
    pub next_hops: Vec<NextHopConfig>,
    /// DNS: what we ask and what we serve.
    pub dns: DnsConfig,
    /// The signing threads and the cache of opened keys.
    pub signing: SigningConfig,
    /// The platform's policy: what the file says over the built-in defaults.
    pub policy: postseal_engine::PolicyLayer,
    /// Bounds of connections and held messages.
    pub limits: LimitsConfig,
}

/// A place to listen at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ListenAddress {
    /// `inet:PORT@ADDRESS`, or `ADDRESS:PORT`.
    Inet(SocketAddr),
    /// `unix:/PATH`, or `local:/PATH`.
    Unix(PathBuf),
}

impl std::fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inet(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How a connection tells whose mail it carries, and for which pool.
#[derive(Clone, Debug, Default)]
pub struct Attribution {
    /// The first entry that matches names the tenant.
    pub tenant_by: Vec<(TenantEvidence, TenantId)>,
    /// The tenant of everything that no entry matched.
    pub tenant: Option<TenantId>,
    /// The first entry whose macro has this value names the pool.
    pub pool_by: Vec<(MacroValue, PoolId)>,
    /// The pool of everything that no entry matched.
    pub pool: Option<PoolId>,
    /// Whether a field of the message may name the pool.
    pub pool_from_header: bool,
}

/// What shows which tenant a connection belongs to. Never a header field (promise P3).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TenantEvidence {
    /// The client's address is in this network.
    Client(IpRange),
    /// A macro that the MTA sends has this value.
    Macro(MacroValue),
}

/// A milter macro, such as `{auth_authen}`, with the value it must have.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MacroValue {
    /// The macro's name as the protocol writes it, with braces where it has more than one letter.
    pub name: String,
    /// The exact value.
    pub value: String,
}

/// One listener of the milter.
#[derive(Clone, Debug)]
pub struct MilterConfig {
    /// Where it listens.
    pub listen: ListenAddress,
    /// Whose mail comes in here.
    pub attribution: Attribution,
}

/// One listener of the SMTP proxy.
#[derive(Clone, Debug)]
pub struct SmtpConfig {
    /// Where it listens.
    pub listen: ListenAddress,
    /// The name in the greeting and in the trace field.
    pub hostname: String,
    /// Whose mail comes in here without AUTH.
    pub attribution: Attribution,
    /// The certificate chain and its key, both PEM, for STARTTLS.
    pub tls: Option<TlsFiles>,
}

/// A certificate with its key.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate chain, PEM.
    pub certificate: PathBuf,
    /// The private key of the certificate, PEM.
    pub key: PathBuf,
}

/// Where signed mail goes.
#[derive(Clone, Debug)]
pub struct NextHopConfig {
    /// The name that a pool refers to.
    pub name: NextHopName,
    /// Host name or address, and port.
    pub address: String,
    /// The address to connect from.
    pub source_address: Option<IpAddr>,
    /// The name given with EHLO.
    pub hostname: Option<String>,
    /// Whether to encrypt.
    pub tls: HopTls,
    /// The name that the hop's certificate must have.
    pub tls_name: Option<String>,
    /// Who may have signed the hop's certificate, PEM; without it the system's trusted roots.
    pub tls_ca_file: Option<PathBuf>,
    /// AUTH at the hop.
    pub credentials: Option<HopCredentials>,
}

/// User and password for a next hop.
#[derive(Clone, Debug)]
pub struct HopCredentials {
    /// The user name.
    pub user: String,
    /// The file whose first line is the password.
    pub password_file: PathBuf,
}

/// What is asked and what is served.
#[derive(Clone, Debug)]
pub struct DnsConfig {
    /// Where the embedded server listens, when it has zones.
    pub listen: SocketAddr,
    /// The zones that Postseal serves.
    pub zones: Vec<ZoneConfig>,
    /// Servers of named zones, which are asked instead of walking down from the root.
    pub servers: Vec<(DomainName, Vec<SocketAddr>)>,
    /// Recursive resolvers for MX look-ups; empty means those of `/etc/resolv.conf`.
    pub resolvers: Vec<SocketAddr>,
}

/// A zone of our own.
#[derive(Clone, Debug)]
pub struct ZoneConfig {
    /// The zone's name.
    pub name: DomainName,
    /// The names in its NS records, each with its addresses if it lies in the zone itself.
    pub name_servers: Vec<(DomainName, Vec<IpAddr>)>,
    /// The mailbox in its SOA record, written as a domain name.
    pub hostmaster: DomainName,
}

/// The signing threads and the cache of opened keys.
#[derive(Clone, Copy, Debug)]
pub struct SigningConfig {
    /// Number of signing threads; `None` is one for each core.
    pub threads: Option<usize>,
    /// Opened keys that are kept, about 6 KB each.
    pub key_cache: u64,
}

/// Bounds of connections and held messages.
#[derive(Clone, Copy, Debug)]
pub struct LimitsConfig {
    /// Open connections for each front door.
    pub connections: usize,
    /// Largest message of the SMTP proxy, in octets; stated as SIZE.
    pub message_size: u64,
    /// Octets of all held messages in memory.
    pub held_in_memory: u64,
    /// Octets of all held messages on disk.
    pub held_on_disk: u64,
}

impl Config {
    /// Reads and checks a configuration file; without one, gives the defaults.
    ///
    /// # Errors
    ///
    /// Every mistake in the file, with its place.
    pub fn load(file: Option<&Path>, data: Option<&Path>) -> Result<Self, ConfigError> {
        let text = match file {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?,
            None => String::new(),
        };
        let mut config = Self::from_text(&text).map_err(|mistakes| ConfigError::Mistakes {
            path: file.map(Path::to_owned).unwrap_or_default(),
            mistakes: Mistakes(mistakes),
        })?;
        if let Some(data) = data {
            config.data = data.to_owned();
        }
        Ok(config)
    }
}

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file has mistakes.
    #[error("{}", mistakes.in_file(path))]
    Mistakes {
        /// The file.
        path: PathBuf,
        /// All of them, in the order of the file.
        mistakes: Mistakes,
    },
}

/// All the mistakes of a file.
#[derive(Debug)]
pub struct Mistakes(pub Vec<Mistake>);

impl Mistakes {
    fn in_file(&self, path: &Path) -> String {
        let lines: Vec<String> = self
            .0
            .iter()
            .map(|mistake| {
                let Mistake { line, column, message } = mistake;
                format!("{}:{line}:{column}: {message}", path.display())
            })
            .collect();
        lines.join("\n")
    }
}

/// One mistake, and where it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistake {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong and what to write instead.
    pub message: String,
}

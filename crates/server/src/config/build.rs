//! From the file as it is written to checked values, collecting every mistake with its place.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use postseal_dkim::DomainName;
use postseal_engine::{IpRange, NextHopName, PolicyLayer, PoolId, TenantId};
use toml::Spanned;

use super::spec::{self, File};
use super::{
    Attribution, Config, DnsConfig, HopCredentials, LimitsConfig, ListenAddress, MacroValue,
    MilterConfig, Mistake, NextHopConfig, SigningConfig, SmtpConfig, TenantEvidence, TlsFiles,
    ZoneConfig,
};

impl Config {
    /// Checks the text of a configuration file.
    ///
    /// # Errors
    ///
    /// All mistakes, in the order of the file. A file that is not TOML, or that has an unknown key
    /// or a value of the wrong type, is reported with the first of these alone.
    pub fn from_text(text: &str) -> Result<Self, Vec<Mistake>> {
        let file: File = toml::from_str(text).map_err(|error| {
            let (line, column) = place(text, error.span().map_or(0, |span| span.start));
            vec![Mistake { line, column, message: error.message().trim().replace('\n', " ") }]
        })?;
        let mut check = Check { text, mistakes: Vec::new() };
        let config = check.file(file);
        if check.mistakes.is_empty() {
            Ok(config)
        } else {
            check.mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
            Err(check.mistakes)
        }
    }
}

struct Check<'a> {
    text: &'a str,
    mistakes: Vec<Mistake>,
}

impl Check<'_> {
    fn file(&mut self, file: File) -> Config {
        let data = file.data.map_or_else(|| DEFAULT_DATA.into(), |data| data.into_inner().into());
        let milter = match file.milter {
            Some(listeners) => listeners.into_iter().map(|entry| self.milter(entry)).collect(),
            None => vec![MilterConfig {
                listen: ListenAddress::Inet(DEFAULT_MILTER),
                attribution: Attribution { pool_from_header: true, ..Attribution::default() },
            }],
        };
        let smtp = match file.smtp {
            Some(listeners) => listeners.into_iter().map(|entry| self.smtp(entry)).collect(),
            None => vec![SmtpConfig {
                listen: ListenAddress::Inet(DEFAULT_SMTP),
                hostname: DEFAULT_HOSTNAME.to_owned(),
                attribution: Attribution { pool_from_header: true, ..Attribution::default() },
                tls: None,
            }],
        };
        let http = match file.http.listen {
            Some(listen) => self.socket_address(&listen).unwrap_or(DEFAULT_HTTP),
            None => DEFAULT_HTTP,
        };
        let next_hops =
            file.next_hops.into_iter().filter_map(|(name, hop)| self.next_hop(name, hop)).collect();
        let policy = match file.policy {
            Some(policy) => self.policy(policy),
            None => PolicyLayer::default(),
        };
        Config {
            data,
            master_key_file: file.keys.master_key_file.map(|path| path.into_inner().into()),
            log_format: file.log.format.unwrap_or_default(),
            log_level: file.log.level.unwrap_or_default(),
            http,
            milter,
            smtp,
            next_hops,
            dns: self.dns(file.dns),
            signing: self.signing(file.signing),
            policy,
            limits: self.limits(file.limits),
        }
    }

    fn milter(&mut self, entry: spec::Milter) -> MilterConfig {
        let attribution = Attribution {
            tenant_by: self.tenant_by(entry.tenant_by, FrontDoor::Milter),
            tenant: entry.tenant.map(TenantId::new),
            pool_by: self.pool_by(entry.pool_by),
            pool: entry.pool.and_then(|pool| self.pool(&pool)),
            pool_from_header: entry.pool_from_header.unwrap_or(true),
        };
        MilterConfig { listen: self.listen(&entry.listen), attribution }
    }

    fn smtp(&mut self, entry: spec::Smtp) -> SmtpConfig {
        let attribution = Attribution {
            tenant_by: self.tenant_by(entry.tenant_by, FrontDoor::Smtp),
            tenant: None,
            pool_by: Vec::new(),
            pool: entry.pool.and_then(|pool| self.pool(&pool)),
            pool_from_header: entry.pool_from_header.unwrap_or(true),
        };
        let hostname = match entry.hostname {
            Some(hostname) => self
                .domain(&hostname)
                .map_or_else(|| DEFAULT_HOSTNAME.to_owned(), |name| name.to_string()),
            None => DEFAULT_HOSTNAME.to_owned(),
        };
        let tls = match (entry.tls_certificate, entry.tls_key) {
            (Some(certificate), Some(key)) => Some(TlsFiles {
                certificate: certificate.into_inner().into(),
                key: key.into_inner().into(),
            }),
            (Some(given), None) => {
                self.mistake(&given, "tls_certificate needs tls_key beside it");
                None
            }
            (None, Some(given)) => {
                self.mistake(&given, "tls_key needs tls_certificate beside it");
                None
            }
            (None, None) => None,
        };
        SmtpConfig { listen: self.listen(&entry.listen), hostname, attribution, tls }
    }

    fn tenant_by(
        &mut self,
        entries: Vec<spec::TenantBy>,
        front_door: FrontDoor,
    ) -> Vec<(TenantEvidence, TenantId)> {
        let mut checked = Vec::new();
        for entry in entries {
            let tenant = TenantId::new(entry.tenant);
            match (entry.client, entry.milter_macro, entry.value) {
                (Some(client), None, None) => match client.get_ref().parse::<IpRange>() {
                    Ok(range) => checked.push((TenantEvidence::Client(range), tenant)),
                    Err(error) => self.mistake(&client, error),
                },
                (None, Some(name), Some(value)) => match front_door {
                    FrontDoor::Milter => {
                        let name = macro_name(name.get_ref());
                        checked.push((TenantEvidence::Macro(MacroValue { name, value }), tenant));
                    }
                    FrontDoor::Smtp => self.mistake(
                        &name,
                        "SMTP has no macros; use `client` here, or let the client authenticate",
                    ),
                },
                (Some(given), _, _) => {
                    self.mistake(&given, "give either `client`, or `macro` with `value`");
                }
                (None, Some(given), None) => {
                    self.mistake(&given, "`macro` needs `value` beside it")
                }
                (None, None, _) => self.mistakes.push(Mistake {
                    line: 1,
                    column: 1,
                    message: format!(
                        "an entry of tenant_by (tenant = {}) has neither `client` nor `macro`",
                        entry.tenant
                    ),
                }),
            }
        }
        checked
    }

    fn pool_by(&mut self, entries: Vec<spec::PoolBy>) -> Vec<(MacroValue, PoolId)> {
        let mut checked = Vec::new();
        for entry in entries {
            if let Some(pool) = self.pool(&entry.pool) {
                let name = macro_name(entry.milter_macro.get_ref());
                checked.push((MacroValue { name, value: entry.value }, pool));
            }
        }
        checked
    }

    fn next_hop(&mut self, name: Spanned<String>, hop: spec::NextHop) -> Option<NextHopConfig> {
        let tls = hop.tls.unwrap_or_default();
        let address = hop.address.get_ref();
        let host = match address.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => host,
            Some(_) | None => {
                self.mistake(&hop.address, "write a host and a port, like mx.example:25");
                address.as_str()
            }
        };
        let tls_name = match (&hop.tls_name, tls) {
            (Some(given), _) => self.domain(given).map(|name| name.to_string()),
            (None, spec::HopTls::Required) => Some(host.trim_matches(['[', ']']).to_owned()),
            (None, spec::HopTls::None | spec::HopTls::Opportunistic) => None,
        };
        let credentials = match (hop.user, hop.password_file) {
            (Some(_), Some(file)) if tls != spec::HopTls::Required && !is_loopback(host) => {
                self.mistake(
                    &file,
                    "a password is sent to a hop elsewhere only with tls = \"required\"",
                );
                None
            }
            (Some(user), Some(file)) => {
                Some(HopCredentials { user, password_file: file.into_inner().into() })
            }
            (None, Some(file)) => {
                self.mistake(&file, "password_file needs user beside it");
                None
            }
            (Some(_), None) => {
                self.mistake(&name, "user needs password_file beside it");
                None
            }
            (None, None) => None,
        };
        let source_address = hop.source_address.and_then(|address| self.ip_address(&address));
        let hop_name = match NextHopName::parse(name.get_ref()) {
            Ok(hop_name) => hop_name,
            Err(error) => {
                self.mistake(&name, error);
                return None;
            }
        };
        Some(NextHopConfig {
            name: hop_name,
            address: address.clone(),
            source_address,
            hostname: hop.hostname.and_then(|name| self.domain(&name)).map(|name| name.to_string()),
            tls,
            tls_name,
            tls_ca_file: hop.tls_ca_file.map(|path| path.into_inner().into()),
            credentials,
        })
    }

    fn dns(&mut self, dns: spec::Dns) -> DnsConfig {
        let listen = match dns.listen {
            Some(listen) => self.socket_address(&listen).unwrap_or(DEFAULT_DNS),
            None => DEFAULT_DNS,
        };
        let mut zones = Vec::new();
        for zone in dns.zones {
            let Some(name) = self.domain(&zone.name) else { continue };
            if zone.name_servers.is_empty() {
                self.mistake(&zone.name, "a zone needs at least one name in name_servers");
            }
            let name_servers = self.name_servers(&name, &zone.name_servers, &zone.addresses);
            let hostmaster = match zone.hostmaster {
                Some(hostmaster) => self.domain(&hostmaster),
                None => DomainName::parse(&format!("hostmaster.{name}")).ok(),
            };
            if let Some(hostmaster) = hostmaster {
                zones.push(ZoneConfig { name, name_servers, hostmaster });
            }
        }
        let mut servers = Vec::new();
        for (zone, addresses) in dns.servers {
            let addresses: Vec<SocketAddr> =
                addresses.iter().filter_map(|address| self.server_address(address)).collect();
            if addresses.is_empty() {
                self.mistake(&zone, "name at least one server, like [\"192.0.2.53\"]");
            }
            if let Some(zone) = self.domain(&zone) {
                servers.push((zone, addresses));
            }
        }
        let resolvers = dns
            .resolvers
            .unwrap_or_default()
            .iter()
            .filter_map(|address| self.server_address(address))
            .collect();
        DnsConfig { listen, zones, servers, resolvers }
    }

    /// The name servers of a zone with their addresses. Those inside the zone need some, since nobody else can
    /// tell them.
    fn name_servers(
        &mut self,
        zone: &DomainName,
        names: &[Spanned<String>],
        addresses: &BTreeMap<Spanned<String>, Vec<Spanned<String>>>,
    ) -> Vec<(DomainName, Vec<IpAddr>)> {
        let mut known: BTreeMap<DomainName, Vec<IpAddr>> = BTreeMap::new();
        for (name, given) in addresses {
            let given: Vec<IpAddr> =
                given.iter().filter_map(|text| self.ip_address(text)).collect();
            if let Some(name) = self.domain(name) {
                known.insert(name, given);
            }
        }
        let mut servers = Vec::new();
        for text in names {
            let Some(name) = self.domain(text) else { continue };
            let addresses = known.remove(&name).unwrap_or_default();
            if addresses.is_empty() && name.is_same_or_subdomain_of(zone) {
                self.mistake(
                    text,
                    format_args!("{name} lies in the zone itself; give its addresses: addresses = {{ \"{name}\" = [\"192.0.2.53\"] }}"),
                );
            }
            servers.push((name, addresses));
        }
        servers
    }

    fn ip_address(&mut self, text: &Spanned<String>) -> Option<IpAddr> {
        let parsed = text.get_ref().parse().ok();
        if parsed.is_none() {
            self.mistake(text, "not an IP address");
        }
        parsed
    }

    fn signing(&mut self, signing: spec::Signing) -> SigningConfig {
        let threads = signing.threads.and_then(|threads| self.in_range(&threads, 1, MAX_THREADS));
        let key_cache = signing
            .key_cache
            .and_then(|keys| self.in_range(&keys, 1, MAX_KEY_CACHE))
            .unwrap_or(DEFAULT_KEY_CACHE);
        SigningConfig { threads, key_cache }
    }

    fn limits(&mut self, limits: spec::Limits) -> LimitsConfig {
        let defaults = LimitsConfig::default();
        LimitsConfig {
            connections: limits
                .connections
                .and_then(|value| self.in_range(&value, 1, 1_000_000))
                .unwrap_or(defaults.connections),
            message_size: limits
                .message_size
                .and_then(|value| self.in_range(&value, 65_536, 1 << 31))
                .unwrap_or(defaults.message_size),
            held_in_memory: limits
                .held_in_memory
                .and_then(|value| self.in_range(&value, 1 << 20, 1 << 40))
                .unwrap_or(defaults.held_in_memory),
            held_on_disk: limits
                .held_on_disk
                .and_then(|value| self.in_range(&value, 1 << 20, 1 << 50))
                .unwrap_or(defaults.held_on_disk),
        }
    }

    fn policy(&mut self, policy: Spanned<toml::Table>) -> PolicyLayer {
        let span = policy.span();
        match toml::Value::Table(policy.into_inner()).try_into::<PolicyLayer>() {
            Ok(layer) => match layer.resolve() {
                Ok(_) => layer,
                Err(error) => {
                    self.mistake_at(span.start, format!("[policy]: {error}"));
                    PolicyLayer::default()
                }
            },
            Err(error) => {
                let message = error.message().trim().replace('\n', " ");
                self.mistake_at(span.start, format!("[policy]: {message}"));
                PolicyLayer::default()
            }
        }
    }

    fn listen(&mut self, text: &Spanned<String>) -> ListenAddress {
        match parse_listen(text.get_ref()) {
            Some(address) => address,
            None => {
                self.mistake(
                    text,
                    "write inet:PORT@ADDRESS, ADDRESS:PORT or unix:/PATH, like inet:8891@127.0.0.1",
                );
                ListenAddress::Inet(DEFAULT_MILTER)
            }
        }
    }

    fn socket_address(&mut self, text: &Spanned<String>) -> Option<SocketAddr> {
        let parsed = text.get_ref().parse().ok();
        if parsed.is_none() {
            self.mistake(text, "write an address and a port, like 127.0.0.1:8025");
        }
        parsed
    }

    /// The address of a DNS server, whose port may be left out.
    fn server_address(&mut self, text: &Spanned<String>) -> Option<SocketAddr> {
        let given = text.get_ref();
        let parsed = given
            .parse()
            .ok()
            .or_else(|| given.parse::<IpAddr>().ok().map(|address| (address, DNS_PORT).into()));
        if parsed.is_none() {
            self.mistake(
                text,
                "write the address of a DNS server, like 192.0.2.53 or 192.0.2.53:53",
            );
        }
        parsed
    }

    fn domain(&mut self, text: &Spanned<String>) -> Option<DomainName> {
        match DomainName::parse(text.get_ref()) {
            Ok(name) => Some(name),
            Err(error) => {
                self.mistake(text, error);
                None
            }
        }
    }

    fn pool(&mut self, text: &Spanned<String>) -> Option<PoolId> {
        match PoolId::parse(text.get_ref()) {
            Ok(pool) => Some(pool),
            Err(error) => {
                self.mistake(text, error);
                None
            }
        }
    }

    fn in_range<T>(&mut self, value: &Spanned<T>, least: T, most: T) -> Option<T>
    where
        T: Copy + PartialOrd + std::fmt::Display,
    {
        let given = *value.get_ref();
        if given < least || given > most {
            self.mistake(value, format!("{given} is not between {least} and {most}"));
            return None;
        }
        Some(given)
    }

    fn mistake<T>(&mut self, at: &Spanned<T>, message: impl ToString) {
        self.mistake_at(at.span().start, message);
    }

    fn mistake_at(&mut self, offset: usize, message: impl ToString) {
        let (line, column) = place(self.text, offset);
        self.mistakes.push(Mistake { line, column, message: message.to_string() });
    }
}

#[derive(Clone, Copy)]
enum FrontDoor {
    Milter,
    Smtp,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            connections: 10_000,
            message_size: 50 << 20,
            held_in_memory: 256 << 20,
            held_on_disk: 4 << 30,
        }
    }
}

/// Says whether a host of a next hop is this machine.
fn is_loopback(host: &str) -> bool {
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    host == "localhost" || address.is_some_and(|address| address.is_loopback())
}

/// Line and column of an offset, both from 1; columns count characters.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |start| start.chars().count()) + 1;
    (line, column)
}

/// The name of a macro as the protocol has it: one letter bare, longer names in braces.
fn macro_name(text: &str) -> String {
    let bare = text.trim_matches(['{', '}']);
    if bare.chars().count() == 1 { bare.to_owned() } else { format!("{{{bare}}}") }
}

fn parse_listen(text: &str) -> Option<ListenAddress> {
    if let Some(path) = text.strip_prefix("unix:").or_else(|| text.strip_prefix("local:")) {
        let path = PathBuf::from(path);
        return path.is_absolute().then_some(ListenAddress::Unix(path));
    }
    if let Some(inet) = text.strip_prefix("inet:") {
        let (port, address) = inet.split_once('@')?;
        let address: IpAddr = match address {
            "localhost" => IpAddr::from([127, 0, 0, 1]),
            _ => address.trim_matches(['[', ']']).parse().ok()?,
        };
        return Some(ListenAddress::Inet((address, port.parse::<u16>().ok()?).into()));
    }
    text.parse().ok().map(ListenAddress::Inet)
}

const DEFAULT_DATA: &str = "postseal-data";
const DEFAULT_HTTP: SocketAddr = localhost(8025);
const DEFAULT_SMTP: SocketAddr = localhost(2525);
/// OpenDKIM's port, so that an MTA that is set up for it needs no change.
const DEFAULT_MILTER: SocketAddr = localhost(8891);
const DEFAULT_DNS: SocketAddr = localhost(5300);
const DEFAULT_HOSTNAME: &str = "localhost";
const DNS_PORT: u16 = 53;
/// About 600 MB of opened keys at 6 KB each.
const MAX_KEY_CACHE: u64 = 100_000;
const DEFAULT_KEY_CACHE: u64 = 20_000;
const MAX_THREADS: usize = 1_024;

const fn localhost(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_gives_the_documented_ports() {
        let config = Config::from_text("").unwrap();
        assert_eq!(config.http.to_string(), "127.0.0.1:8025");
        assert_eq!(config.milter[0].listen.to_string(), "127.0.0.1:8891");
        assert_eq!(config.smtp[0].listen.to_string(), "127.0.0.1:2525");
        assert_eq!(config.dns.listen.to_string(), "127.0.0.1:5300");
        assert!(config.milter[0].attribution.tenant.is_none());
    }

    #[test]
    fn a_mistake_has_its_line_and_column() {
        let cases = [
            ("data = 5\n", (1, 8)),
            ("\n[http]\nlisten = \"nowhere\"\n", (3, 10)),
            ("[http]\nlisen = \"127.0.0.1:1\"\n", (2, 1)),
            ("[[milter]]\nlisten = \"inet:x@127.0.0.1\"\n", (2, 10)),
            ("[next_hops.a]\naddress = \"mx.example\"\n", (2, 11)),
            ("[signing]\nthreads = 0\n", (2, 11)),
            ("[policy]\non_unsigned = \"drop\"\n", (1, 1)),
            ("[[dns.zones]]\nname = \"a..b\"\nname_servers = [\"ns.example\"]\n", (2, 8)),
            ("[[smtp]]\nlisten = \"127.0.0.1:1\"\ntls_key = \"k\"\n", (3, 11)),
            ("[[dns.zones]]\nname = \"d.test\"\nname_servers = [\"ns.d.test\"]\n", (3, 17)),
            (
                "[next_hops.a]\naddress = \"mx.example:25\"\nuser = \"u\"\npassword_file = \"p\"\n",
                (4, 17),
            ),
            ("x = [\n", (1, 6)),
        ];
        for (text, want) in cases {
            let mistakes = Config::from_text(text).unwrap_err();
            let got = (mistakes[0].line, mistakes[0].column);
            assert_eq!(got, want, "{text:?}: {mistakes:?}");
        }
    }

    #[test]
    fn all_mistakes_are_reported_at_once_in_the_order_of_the_file() {
        let text = "[http]\nlisten = \"x\"\n[[milter]]\nlisten = \"y\"\n[dns]\nlisten = \"z\"\n";
        let lines: Vec<usize> =
            Config::from_text(text).unwrap_err().iter().map(|mistake| mistake.line).collect();
        assert_eq!(lines, [2, 4, 6]);
    }

    #[test]
    fn listeners_are_written_as_in_opendkim() {
        let cases = [
            ("inet:8891@127.0.0.1", Some("127.0.0.1:8891")),
            ("inet:8891@localhost", Some("127.0.0.1:8891")),
            ("inet:8891@[::1]", Some("[::1]:8891")),
            ("127.0.0.1:8891", Some("127.0.0.1:8891")),
            ("unix:/run/postseal/milter.sock", Some("unix:/run/postseal/milter.sock")),
            ("local:/run/postseal/milter.sock", Some("unix:/run/postseal/milter.sock")),
            ("unix:relative.sock", None),
            ("inet:70000@127.0.0.1", None),
            ("8891", None),
        ];
        for (text, want) in cases {
            let got = parse_listen(text).map(|address| address.to_string());
            assert_eq!(got.as_deref(), want, "{text:?}");
        }
    }

    #[test]
    fn attribution_is_read_in_order() {
        let config = Config::from_text(
            "[[milter]]\nlisten = \"127.0.0.1:1\"\ntenant = 9\npool = \"bulk\"\n\
             tenant_by = [{ client = \"192.0.2.0/24\", tenant = 3 }, \
             { macro = \"auth_authen\", value = \"acme\", tenant = 4 }]\n",
        )
        .unwrap();
        let attribution = &config.milter[0].attribution;
        assert_eq!(attribution.tenant, Some(TenantId::new(9)));
        assert_eq!(attribution.tenant_by.len(), 2);
        let want = TenantEvidence::Macro(MacroValue {
            name: "{auth_authen}".to_owned(),
            value: "acme".to_owned(),
        });
        assert_eq!(attribution.tenant_by[1], (want, TenantId::new(4)));
    }
}

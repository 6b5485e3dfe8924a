//! Asks a recursive resolver, as `postseal verify` and the MX look-ups need it (RFC 1035 §7).
//!
//! The resolver walks the DNS and follows aliases; we ask it one question, over the same guarded
//! exchange as elsewhere, server after server. Of its reply count the records of the name that was asked
//! and of the aliases that lead on from it, in the order of the chain and not of the packet.
//!
//! Reads `nameserver`, `options timeout:` and `options attempts:` of `/etc/resolv.conf`
//! (resolv.conf(5)). Search lists do not matter: all names are absolute.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use postseal_dkim::{DomainName, KeyAnswer};
use thiserror::Error;

use crate::exchange::{Budget, ExchangeError, Patience, ask};
use crate::message::{Data, Entry, Kind, Question, Recursion, Reply, ReplyCode, Target};

/// Asks recursive resolvers, the first that answers counts.
#[derive(Clone, Debug)]
pub struct RecursiveClient {
    servers: Vec<SocketAddr>,
    patience: Patience,
}

impl RecursiveClient {
    /// The resolvers of this host, from `/etc/resolv.conf`. A file that is not there or names none means
    /// the resolver on this host itself (resolv.conf(5)).
    pub fn of_this_host() -> Result<Self, ResolvConfError> {
        match std::fs::read_to_string(RESOLV_CONF) {
            Ok(text) => Ok(Self::from_resolv_conf(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::from_resolv_conf("")),
            Err(source) => Err(ResolvConfError { source }),
        }
    }

    /// These resolvers, in this order.
    #[must_use]
    pub fn new(servers: Vec<SocketAddr>, patience: Patience) -> Self {
        Self { servers, patience }
    }

    fn from_resolv_conf(text: &str) -> Self {
        let mut servers = Vec::new();
        let mut patience = Patience { udp_timeout: RESOLV_TIMEOUT, ..Patience::default() };
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") if servers.len() < MAX_NAMESERVERS => {
                    servers.extend(words.next().and_then(nameserver));
                }
                Some("options") => {
                    for option in words {
                        set_option(&mut patience, option);
                    }
                }
                Some(_) | None => {}
            }
        }
        if servers.is_empty() {
            servers.push(SocketAddr::from((Ipv4Addr::LOCALHOST, DNS_PORT)));
        }
        Self { servers, patience }
    }

    /// The TXT records of `name`, through aliases.
    pub async fn texts(&self, name: &DomainName) -> TextAnswer {
        let reply = match self.ask(name, Kind::Txt).await {
            Ok(reply) => reply,
            Err(failure) => return TextAnswer::Failed(failure),
        };
        let texts: Vec<Box<[u8]>> = end_of_chain(&reply, name)
            .into_iter()
            .filter_map(|entry| entry.data.text().map(Into::into))
            .collect();
        if !texts.is_empty() {
            TextAnswer::Texts(texts)
        } else if reply.code == ReplyCode::NxDomain {
            TextAnswer::NoSuchName
        } else {
            TextAnswer::NoText
        }
    }

    /// The MX hosts of a recipient domain, the most preferred first (RFC 5321 §5.1). None of them for a
    /// domain that has no MX record, takes no mail (RFC 7505) or does not exist.
    pub async fn mx(&self, domain: &DomainName) -> Result<MxHosts, LookupFailure> {
        let reply = self.ask(domain, Kind::Mx).await?;
        let mut ttl = u32::MAX;
        let mut hosts: Vec<(u16, DomainName)> = Vec::new();
        for entry in end_of_chain(&reply, domain) {
            if let Data::Mx { preference, exchange } = &entry.data {
                ttl = ttl.min(entry.ttl);
                if let Target::Name(host) = exchange {
                    hosts.push((*preference, host.clone()));
                }
            }
        }
        hosts.sort();
        hosts.truncate(MAX_MX_HOSTS);
        if ttl == u32::MAX {
            ttl = reply.negative_ttl(domain).unwrap_or(0);
        }
        Ok(MxHosts { hosts: hosts.into_iter().map(|(_, host)| host).collect(), ttl })
    }

    async fn ask(&self, name: &DomainName, kind: Kind) -> Result<Reply, LookupFailure> {
        let question = Question { name: name.clone(), kind, recursion: Recursion::Desired };
        let tries = u32::from(self.patience.tries.max(1));
        let servers = u32::try_from(self.servers.len()).unwrap_or(u32::MAX);
        // Of each server all tries, once more for an old server, and TCP.
        let budget = Budget::new((tries + 2).saturating_mul(servers), MAX_TIME);
        let mut failure = LookupFailure::Timeout;
        for server in &self.servers {
            match ask(*server, &question, &self.patience, &budget).await {
                Ok(reply) if reply.code.is_answer() => return Ok(reply),
                Ok(reply) => failure = LookupFailure::ServerFailure(reply.code),
                Err(ExchangeError::Timeout | ExchangeError::OutOfBudget) => {
                    failure = failure.or_timeout();
                }
                Err(error) => failure = LookupFailure::NoReply(error),
            }
        }
        Err(failure)
    }
}

/// The answer to a question for TXT records.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TextAnswer {
    /// The records; the strings of each are joined (RFC 6376 §3.6.2.2).
    Texts(Vec<Box<[u8]>>),
    /// The name does not exist (NXDOMAIN).
    NoSuchName,
    /// The name exists and has no TXT record.
    NoText,
    /// The DNS did not answer; asking later may help.
    Failed(LookupFailure),
}

impl From<TextAnswer> for KeyAnswer {
    fn from(answer: TextAnswer) -> Self {
        match answer {
            TextAnswer::Texts(texts) => Self::from_texts(texts),
            TextAnswer::NoSuchName | TextAnswer::NoText => Self::NoRecord,
            TextAnswer::Failed(LookupFailure::ServerFailure(_)) => Self::ServerFailure,
            // RFC 6376 §6.1.2: what cannot be had now may be had later, whatever the reason.
            TextAnswer::Failed(LookupFailure::Timeout | LookupFailure::NoReply(_)) => Self::Timeout,
        }
    }
}

/// The MX hosts of a domain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MxHosts {
    /// The most preferred first; at most [`MAX_MX_HOSTS`].
    pub hosts: Vec<DomainName>,
    /// How long the answer holds, in seconds.
    pub ttl: u32,
}

/// Why a look-up brought no answer. All of these are for now, and none says that there is no record.
#[derive(Clone, Copy, Debug, Eq, Error, Hash, PartialEq)]
#[non_exhaustive]
pub enum LookupFailure {
    /// A resolver answered that it cannot or will not, mostly SERVFAIL.
    #[error("the resolver answered {0}")]
    ServerFailure(ReplyCode),
    /// No resolver answered in time.
    #[error("no resolver answered in time")]
    Timeout,
    /// No resolver could be asked, or its reply could not be used.
    #[error("no resolver gave a usable reply: {0}")]
    NoReply(#[source] ExchangeError),
}

impl LookupFailure {
    /// What is known of another server weighs more than that this one was silent.
    fn or_timeout(self) -> Self {
        match self {
            Self::ServerFailure(_) => self,
            Self::Timeout | Self::NoReply(_) => Self::Timeout,
        }
    }
}

/// `/etc/resolv.conf` is there and cannot be read.
#[derive(Debug, Error)]
#[error("cannot read {RESOLV_CONF}; name a resolver with --dns-server")]
pub struct ResolvConfError {
    #[source]
    source: io::Error,
}

/// The records of the name at the end of the aliases that lead on from `name` in this reply.
fn end_of_chain<'a>(reply: &'a Reply, name: &DomainName) -> Vec<&'a Entry> {
    let mut owner = name;
    for _ in 0..MAX_CHAIN {
        let mut entries = reply.answers.iter().filter(|entry| entry.is_of(owner));
        let alias = entries.find_map(|entry| entry.data.alias());
        match alias {
            Some(target) => owner = target,
            None => return reply.answers.iter().filter(|entry| entry.is_of(owner)).collect(),
        }
    }
    Vec::new()
}

/// An address as it stands behind `nameserver`, with a zone if it is link-local.
fn nameserver(word: &str) -> Option<SocketAddr> {
    if let Ok(address) = word.parse::<IpAddr>() {
        return Some(SocketAddr::new(address, DNS_PORT));
    }
    let (address, scope) = word.split_once('%')?;
    let address: Ipv6Addr = address.parse().ok()?;
    let scope = scope.parse().ok().or_else(|| interface_index(scope))?;
    Some(SocketAddr::V6(SocketAddrV6::new(address, DNS_PORT, 0, scope)))
}

fn interface_index(name: &str) -> Option<u32> {
    if name.contains('/') || name.starts_with('.') {
        return None;
    }
    let index = std::fs::read_to_string(format!("/sys/class/net/{name}/ifindex")).ok()?;
    index.trim().parse().ok()
}

fn set_option(patience: &mut Patience, option: &str) {
    match option.split_once(':') {
        Some(("timeout", seconds)) => {
            if let Ok(seconds) = seconds.parse::<u64>() {
                // resolv.conf(5): silently capped at 30.
                patience.udp_timeout = Duration::from_secs(seconds.clamp(1, 30));
            }
        }
        Some(("attempts", tries)) => {
            if let Ok(tries) = tries.parse::<u8>() {
                // resolv.conf(5): silently capped at 5.
                patience.tries = tries.clamp(1, 5);
            }
        }
        Some(_) | None => {}
    }
}

/// The MX hosts of a domain that are looked at. Large providers have five or six.
pub const MAX_MX_HOSTS: usize = 16;

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// RFC 1035 §4.2.
const DNS_PORT: u16 = 53;

/// RES_TIMEOUT of resolv.conf(5), in which a resolver has to walk the DNS.
const RESOLV_TIMEOUT: Duration = Duration::from_secs(5);

/// MAXNS of resolv.conf(5).
const MAX_NAMESERVERS: usize = 3;

/// The longest chain of aliases that a resolver's reply may show.
const MAX_CHAIN: usize = 16;

/// The longest that one look-up takes over all servers and tries.
const MAX_TIME: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ZoneName;

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).unwrap()
    }

    #[test]
    fn resolv_conf_gives_servers_timeout_and_attempts() {
        let text = "# comment\nsearch example.com\nnameserver 192.0.2.53\n\
            nameserver 2001:db8::53 # second\nnameserver bad\nnameserver fe80::1%7\nnameserver 192.0.2.9\n\
            options ndots:2 timeout:3 attempts:9 rotate timeout:x\n";
        let client = RecursiveClient::from_resolv_conf(text);
        let servers: Vec<_> = client.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["192.0.2.53:53", "[2001:db8::53]:53", "[fe80::1%7]:53"]);
        assert_eq!(client.patience.udp_timeout, Duration::from_secs(3));
        assert_eq!(client.patience.tries, 5);
    }

    #[test]
    fn without_a_nameserver_this_host_is_asked() {
        for text in ["", "options timeout:0\n", "nameserver\n", "nameserver fe80::1%../x\n"] {
            let client = RecursiveClient::from_resolv_conf(text);
            assert_eq!(client.servers, ["127.0.0.1:53".parse().unwrap()], "{text:?}");
            assert!(client.patience.udp_timeout >= Duration::from_secs(1), "{text:?}");
        }
    }

    #[test]
    fn only_records_at_the_end_of_the_chain_count() {
        let entry =
            |owner: &str, data| Entry { owner: ZoneName::Domain(name(owner)), ttl: 60, data };
        let alias =
            |owner: &str, target: &str| entry(owner, Data::Alias(Target::Name(name(target))));
        let text = |owner: &str, text: &str| entry(owner, Data::Txt(text.as_bytes().into()));
        let reply = |answers| Reply {
            code: ReplyCode::NoError,
            authoritative: false,
            truncated: false,
            has_edns: true,
            answers,
            authority: vec![],
            additional: vec![],
        };
        let cases = [
            (vec![text("a.test", "1")], vec!["1"]),
            // In any order of the packet.
            (vec![text("b.test", "2"), alias("a.test", "b.test")], vec!["2"]),
            (vec![alias("a.test", "b.test"), text("c.test", "3")], vec![]),
            (vec![text("victim.test", "4")], vec![]),
            (vec![alias("a.test", "b.test"), alias("b.test", "a.test")], vec![]),
        ];
        for (answers, want) in cases {
            let reply = reply(answers);
            let got: Vec<_> = end_of_chain(&reply, &name("a.test"))
                .into_iter()
                .filter_map(|entry| Some(String::from_utf8_lossy(entry.data.text()?).into_owned()))
                .collect();
            assert_eq!(got, want, "{reply:?}");
        }
    }
}

//! Walking down the DNS from the roots, and asking servers on the way (RFC 1034 §5.3.3, RFC 9156).
//!
//! Each ancestor of a name is asked for its NS records, which shows every zone cut, also where one server
//! has parent and child:
//!
//! ```text
//!  roots ─NS test?→ test ─NS example.test?→ example.test ─NS _domainkey.example.test?→ no cut: here
//! ```
//!
//! Delegations of top-level zones, and what is on the way to the addresses of name servers, are kept for
//! at most an hour, bounded in number, so that a thousand checked domains do not mean a thousand
//! questions to the roots. The zones of keys are always found anew.
//!
//! What a hostile zone can do is bounded by [`AuthoritativeSettings`]: packets and time of a whole look,
//! including all side ways; the numbers of servers, addresses and nested look-ups by constants. What may
//! be believed is decided in [`crate::delegation`].

use std::collections::{BTreeMap, HashSet};
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::sync::Cache;
use postseal_dkim::DomainName;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::delegation::{
    Cut, Delegation, Heard, MAX_ADDRESSES_PER_SERVER, NameServer, Source, read_addresses,
    read_answer, read_cut,
};
use crate::exchange::{Budget, ExchangeError, Patience, ask};
use crate::look::{DeniedAncestor, Listed, ServerName};
use crate::message::{Kind, Question, Recursion, Reply, ZoneName};
use crate::random;

/// Where to begin, and what one look may cost.
#[derive(Clone, Debug)]
pub struct AuthoritativeSettings {
    /// The servers of the root zone; by default those of [`root_hints`].
    pub roots: Vec<SocketAddr>,
    /// Servers of named zones, which are asked instead of walking: `[dns.servers]`. The longest zone
    /// that holds a name counts. They are taken for all the servers that the zone has.
    pub servers: BTreeMap<DomainName, Vec<SocketAddr>>,
    /// The port of servers that are found by NS records: 53 but in tests.
    pub port: u16,
    /// Which addresses found in the DNS may be asked.
    pub reach: Reach,
    /// How long and how often each server is asked.
    pub patience: Patience,
    /// How many packets and connections one look may send.
    pub packets: u32,
    /// How long one look may take.
    pub time: Duration,
}

impl Default for AuthoritativeSettings {
    /// 500 packets in 30 s. A usual look takes 10 to 30; twenty servers with eight addresses, all
    /// silent, take 320.
    fn default() -> Self {
        Self {
            roots: root_hints(),
            servers: BTreeMap::new(),
            port: DNS_PORT,
            reach: Reach::Public,
            patience: Patience::default(),
            packets: 500,
            time: Duration::from_secs(30),
        }
    }
}

/// Which addresses found in the DNS may be asked. Configured ones always may.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Reach {
    /// Only addresses of the public Internet: a zone cannot send our packets into our own network.
    #[default]
    Public,
    /// Any, for networks that have servers of their own, and for tests.
    Any,
}

/// The addresses of the root servers, from the list that hickory carries
/// (<https://www.iana.org/domains/root/servers>).
#[must_use]
pub fn root_hints() -> Vec<SocketAddr> {
    hickory_proto::ROOTS.iter().map(|address| SocketAddr::new(*address, DNS_PORT)).collect()
}

/// Finds zones and their servers. Cloning is cheap, and clones share what is kept.
#[derive(Clone, Debug)]
pub(crate) struct Walker {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: AuthoritativeSettings,
    zones: Cache<DomainName, Kept<Delegation>>,
    hosts: Cache<DomainName, Kept<Vec<IpAddr>>>,
}

/// A thing that is known until a time.
#[derive(Clone, Debug)]
struct Kept<T> {
    until: Instant,
    thing: Arc<T>,
}

/// One look with all its side ways.
#[derive(Debug)]
pub(crate) struct Work {
    budget: Budget,
    /// Bounds the sockets that are open at once.
    lanes: Semaphore,
    /// Addresses from which nothing came; in number bounded by the packets of the budget.
    silent: Mutex<HashSet<SocketAddr>>,
}

impl Work {
    /// Says whether nothing more can be asked.
    pub(crate) fn is_spent(&self) -> bool {
        self.budget.is_spent()
    }

    fn mark_silent(&self, address: SocketAddr) {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner).insert(address);
    }

    fn is_silent(&self, address: SocketAddr) -> bool {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner).contains(&address)
    }
}

/// What a walk is for, which decides what may be remembered from earlier ones.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    /// The zone of a key: fresh, except for top-level zones.
    Key,
    /// The address of a name server.
    Address,
}

/// Where a walk ended.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) delegation: Delegation,
    pub(crate) denied_ancestor: Option<DeniedAncestor>,
}

impl Walker {
    pub(crate) fn new(settings: AuthoritativeSettings) -> Self {
        let inner = Inner {
            settings,
            zones: Cache::new(MAX_KEPT_ZONES),
            hosts: Cache::new(MAX_KEPT_HOSTS),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Begins a look, with all that it may spend.
    pub(crate) fn work(&self) -> Arc<Work> {
        Arc::new(Work {
            budget: Budget::new(self.inner.settings.packets, self.inner.settings.time),
            lanes: Semaphore::new(MAX_SOCKETS),
            silent: Mutex::default(),
        })
    }

    /// The port of servers that are found by NS records.
    pub(crate) fn port(&self) -> u16 {
        self.inner.settings.port
    }

    /// Walks down to the zone that holds `name`. What cannot be found out on the way ends the walk
    /// where it is; the servers there then show why.
    pub(crate) async fn find_zone(
        &self,
        work: &Arc<Work>,
        name: &DomainName,
        purpose: Purpose,
        depth: u8,
    ) -> Found {
        let mut delegation = self.start(name, purpose);
        let mut denied_ancestor = None;
        if delegation.source == Source::Configuration && delegation.zone != ZoneName::Root {
            return Found { delegation, denied_ancestor };
        }
        for ancestor in ancestors_below(&delegation.zone, name) {
            let question = question(&ancestor, Kind::Ns);
            let zone = delegation.zone.clone();
            if !zone.is_above(&ancestor) {
                // A referral has skipped this label.
                continue;
            }
            let port = self.inner.settings.port;
            let cut = self
                .ask_until(work, &delegation, &question, depth, |by, reply| {
                    let cut = read_cut(reply, &zone, &ancestor, port);
                    (cut != Cut::Useless).then_some((cut, by))
                })
                .await;
            match cut {
                Some((Cut::At(below), _)) => {
                    delegation = below;
                    self.keep(&delegation);
                }
                Some((Cut::None, _)) => {}
                Some((Cut::NoSuchName, by)) => {
                    denied_ancestor = Some(DeniedAncestor { name: ancestor, by });
                    break;
                }
                Some((Cut::Useless, _)) | None => break,
            }
        }
        Found { delegation, denied_ancestor }
    }

    /// The deepest zone above `name` whose servers are known already.
    fn start(&self, name: &DomainName, purpose: Purpose) -> Delegation {
        let settings = &self.inner.settings;
        let mut ancestor = Some(name.clone());
        while let Some(zone) = ancestor {
            if let Some(servers) = settings.servers.get(&zone) {
                return configured(ZoneName::Domain(zone), servers);
            }
            let may_be_old = purpose == Purpose::Address || zone.label_count() == 1;
            // The name's own zone is not taken from memory if it is the name itself: its parent may
            // have it too, and a walk must end above the name.
            if may_be_old
                && zone != *name
                && let Some(kept) = self.inner.zones.get(&zone)
                && kept.until > Instant::now()
            {
                return Delegation::clone(&kept.thing);
            }
            ancestor = zone.parent();
        }
        configured(ZoneName::Root, &settings.roots)
    }

    fn keep(&self, delegation: &Delegation) {
        if let ZoneName::Domain(zone) = &delegation.zone {
            let thing = Arc::new(delegation.clone());
            self.inner.zones.insert(zone.clone(), Kept { until: until(delegation.ttl), thing });
        }
    }

    pub(crate) fn with_port(&self, addresses: &[IpAddr]) -> Vec<SocketAddr> {
        addresses
            .iter()
            .map(|address| SocketAddr::new(*address, self.inner.settings.port))
            .collect()
    }

    /// Asks the servers of a zone in random order until one reply is of use. The next is asked when one
    /// is of no use, or is slow; what was found silent is not asked again on the way.
    pub(crate) async fn ask_until<T>(
        &self,
        work: &Arc<Work>,
        delegation: &Delegation,
        question: &Question,
        depth: u8,
        read: impl Fn(SocketAddr, &Reply) -> Option<T> + Send,
    ) -> Option<T> {
        let mut servers: Vec<&NameServer> = delegation.servers.iter().collect();
        random::shuffle(&mut servers);
        // A stable sort: servers whose addresses are known come first.
        servers.sort_by_key(|server| server.addresses.is_empty());
        let mut servers = servers.into_iter().take(MAX_SERVERS_IN_TURN).peekable();

        let head_start = self.inner.settings.patience.udp_timeout / 4;
        let mut addresses: Vec<(SocketAddr, Listed)> = Vec::new();
        let mut asked = JoinSet::new();
        loop {
            while addresses.is_empty()
                && let Some(server) = servers.next()
            {
                addresses = self.next_addresses(work, server, depth).await;
            }
            match addresses.pop() {
                Some((address, listed)) => {
                    let (client, work) = (self.clone(), Arc::clone(work));
                    let question = question.clone();
                    asked.spawn(async move {
                        (address, client.exchange(&work, address, listed, &question).await)
                    });
                }
                None if asked.is_empty() => return None,
                None => {}
            }
            let has_more = !addresses.is_empty() || servers.peek().is_some();
            tokio::select! {
                done = asked.join_next() => match done {
                    Some(Ok((address, Ok(reply)))) => {
                        if let Some(useful) = read(address, &reply) {
                            return Some(useful);
                        }
                    }
                    Some(Ok((_, Err(ExchangeError::OutOfBudget)))) => return None,
                    Some(Ok((address, Err(_)))) => work.mark_silent(address),
                    Some(Err(_)) | None => {}
                },
                () = tokio::time::sleep(head_start), if has_more => {}
            }
        }
    }

    /// A few addresses of one server that are not known to be silent.
    async fn next_addresses(
        &self,
        work: &Arc<Work>,
        server: &NameServer,
        depth: u8,
    ) -> Vec<(SocketAddr, Listed)> {
        let mut addresses = server.addresses.clone();
        if let (ServerName::Host(host), true) = (&server.name, addresses.is_empty()) {
            let found = self.addresses(work, host, depth + 1).await;
            addresses = self.with_port(&found);
        }
        addresses.retain(|address| !work.is_silent(*address));
        random::shuffle(&mut addresses);
        addresses.truncate(MAX_ADDRESSES_IN_TURN);
        addresses.into_iter().map(|address| (address, server.listed)).collect()
    }

    pub(crate) async fn exchange(
        &self,
        work: &Work,
        address: SocketAddr,
        listed: Listed,
        question: &Question,
    ) -> Result<Reply, ExchangeError> {
        let settings = &self.inner.settings;
        let may_ask = listed == Listed::ByConfiguration
            || settings.reach == Reach::Any
            || is_public(address.ip());
        if !may_ask {
            return Err(ExchangeError::NotPublic);
        }
        // The semaphore is never closed.
        let Ok(_lane) = work.lanes.acquire().await else { return Err(ExchangeError::OutOfBudget) };
        ask(address, question, &settings.patience, &work.budget).await
    }

    /// The addresses of a name server, looked up from the roots. Boxed, since it walks in turn.
    pub(crate) fn addresses<'a>(
        &'a self,
        work: &'a Arc<Work>,
        host: &'a DomainName,
        depth: u8,
    ) -> Pin<Box<dyn Future<Output = Vec<IpAddr>> + Send + 'a>> {
        Box::pin(async move {
            if depth > MAX_DEPTH {
                return Vec::new();
            }
            if let Some(kept) = self.inner.hosts.get(host)
                && kept.until > Instant::now()
            {
                return Vec::clone(&kept.thing);
            }
            let mut delegation =
                self.find_zone(work, host, Purpose::Address, depth).await.delegation;
            let mut addresses = Vec::new();
            let mut ttl = u32::MAX;
            for kind in [Kind::A, Kind::Aaaa] {
                for _ in 0..MAX_REFERRALS {
                    let zone = delegation.zone.clone();
                    let port = self.inner.settings.port;
                    let heard = self
                        .ask_until(work, &delegation, &question(host, kind), depth, |_, reply| {
                            match read_answer(reply, &zone, host, port) {
                                Heard::Referral(below) => Some(Err(below)),
                                Heard::Answer(_) => read_addresses(reply, host).map(Ok),
                            }
                        })
                        .await;
                    match heard {
                        Some(Err(below)) => delegation = below,
                        Some(Ok((found, found_ttl))) => {
                            addresses.extend(found);
                            ttl = ttl.min(found_ttl);
                            break;
                        }
                        None => break,
                    }
                }
            }
            addresses.truncate(MAX_ADDRESSES_PER_SERVER);
            if !addresses.is_empty() {
                let kept = Kept { until: until(ttl), thing: Arc::new(addresses.clone()) };
                self.inner.hosts.insert(host.clone(), kept);
            }
            addresses
        })
    }
}

fn configured(zone: ZoneName, servers: &[SocketAddr]) -> Delegation {
    let servers = servers
        .iter()
        .map(|address| NameServer {
            name: ServerName::Address(*address),
            listed: Listed::ByConfiguration,
            addresses: vec![*address],
        })
        .collect();
    Delegation { zone, servers, ttl: 0, source: Source::Configuration }
}

pub(crate) fn question(name: &DomainName, kind: Kind) -> Question {
    Question { name: name.clone(), kind, recursion: Recursion::No }
}

/// The ancestors of `name` strictly between it and `zone`, from the top, at most
/// [`MAX_WALKED_LABELS`]. Below those the name itself is asked, and referrals do the rest.
fn ancestors_below(zone: &ZoneName, name: &DomainName) -> Vec<DomainName> {
    let mut ancestors: Vec<DomainName> = std::iter::successors(name.parent(), DomainName::parent)
        .take_while(|ancestor| zone.is_above(ancestor))
        .collect();
    ancestors.reverse();
    ancestors.truncate(MAX_WALKED_LABELS);
    ancestors
}

fn until(ttl: u32) -> Instant {
    Instant::now() + Duration::from_secs(u64::from(ttl)).min(MAX_KEPT_TIME)
}

/// Says whether an address is of the public Internet, so that foreign zones may send us there.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_broadcast()
                || v4.is_multicast()
                || first == 0
                // RFC 6598, shared by carriers, and RFC 1112 §4, reserved.
                || (first == 100 && (64..128).contains(&second))
                || first >= 240)
        }
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_public(IpAddr::V4(v4)),
            // RFC 4291 §2.4: all global unicast addresses that are given out are in 2000::/3.
            None => v6.octets().first().is_some_and(|first| first >> 5 == 1),
        },
    }
}

/// RFC 1035 §4.2.
const DNS_PORT: u16 = 53;

/// The look-ups that an address of a name server may need for further name servers.
const MAX_DEPTH: u8 = 4;

/// Zone cuts at or below the last walked name.
pub(crate) const MAX_REFERRALS: usize = 4;

/// The labels that are walked one by one (RFC 9156 §2.3 has 10 queries).
const MAX_WALKED_LABELS: usize = 12;

/// The servers of a zone on the way that are tried before the walk ends there.
const MAX_SERVERS_IN_TURN: usize = 4;

/// The addresses of each that are tried.
const MAX_ADDRESSES_IN_TURN: usize = 2;

/// The sockets that one look has open at once.
const MAX_SOCKETS: usize = 24;

/// Of the order of the number of top-level domains.
const MAX_KEPT_ZONES: u64 = 4096;

/// Of the order of the name servers of a few thousand customers' DNS hosts.
const MAX_KEPT_HOSTS: u64 = 8192;

/// However long a TTL says.
const MAX_KEPT_TIME: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).unwrap()
    }

    #[test]
    fn the_longest_configured_zone_counts() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let settings = AuthoritativeSettings {
            servers: BTreeMap::from([
                (name("test"), vec![at(1)]),
                (name("example.test"), vec![at(2)]),
            ]),
            ..AuthoritativeSettings::default()
        };
        let client = Walker::new(settings);
        let cases = [
            ("s._domainkey.example.test", Some(2)),
            ("example.test", Some(2)),
            ("s._domainkey.badexample.test", Some(1)),
            ("s._domainkey.example.com", None),
        ];
        for (text, want) in cases {
            let start = client.start(&name(text), Purpose::Key);
            let got = match start.zone {
                ZoneName::Root => None,
                ZoneName::Domain(_) => Some(start.servers[0].addresses[0].port()),
            };
            assert_eq!(got, want, "{text}");
        }
    }

    #[test]
    fn the_walk_goes_down_label_by_label_and_stops_above_the_name() {
        let got = ancestors_below(&ZoneName::Root, &name("s._domainkey.example.test"));
        assert_eq!(got, ["test", "example.test", "_domainkey.example.test"].map(name));
        let got = ancestors_below(&ZoneName::Domain(name("test")), &name("a.test"));
        assert_eq!(got, []);
        let long = "a.".repeat(120) + "test";
        assert_eq!(ancestors_below(&ZoneName::Root, &name(&long)).len(), MAX_WALKED_LABELS);
    }

    #[test]
    fn addresses_of_inner_networks_are_not_public() {
        let cases = [
            ("192.0.2.1", true),
            ("8.8.8.8", true),
            ("127.0.0.1", false),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("192.168.0.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("0.0.0.0", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("2001:db8::1", true),
            ("::1", false),
            ("::", false),
            ("fe80::1", false),
            ("fd00::1", false),
            ("ff02::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:8.8.8.8", true),
        ];
        for (text, want) in cases {
            assert_eq!(is_public(text.parse().unwrap()), want, "{text}");
        }
    }
}

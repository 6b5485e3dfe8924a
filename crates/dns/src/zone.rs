//! The zones that Postseal serves, and their content.
//!
//! A zone is an apex (SOA, NS and the addresses of name servers in the zone) and TXT records, one an
//! owner, each with a TTL of [`RECORD_TTL`]. That is all a zone for key records needs; there are no
//! wildcards, aliases or delegations in it.
//!
//! One change costs one entry of a hash table, also with a million records. The table counts for each
//! name how many owners lie below it, since such a name exists without having records (an empty
//! non-terminal, RFC 8020 §3). Owners and counts change under one short lock, so that no answer sees
//! half a change. A whole zone is built aside and then put in place. The list of zones is one value
//! behind an atomic pointer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use arc_swap::ArcSwap;
use postseal_dkim::DomainName;
use thiserror::Error;

/// The zones that are served. Cloning is cheap, and clones are one: the control plane changes what the
/// [`crate::ZoneServer`] answers.
#[derive(Clone, Debug, Default)]
pub struct ServedZones {
    inner: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    catalog: ArcSwap<Catalog>,
    /// Held while the catalog is exchanged, so that no exchange is lost.
    exchange: Mutex<()>,
}

type Catalog = HashMap<DomainName, Arc<Zone>>;

impl ServedZones {
    /// No zones.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins to serve a zone, or changes the apex of one that is served. Its TXT records stay.
    pub fn define(&self, apex: ZoneApex) -> Result<(), ZoneError> {
        apex.check()?;
        let _exchange = self.inner.exchange.lock().unwrap_or_else(PoisonError::into_inner);
        let catalog = self.inner.catalog.load();
        if let Some(zone) = catalog.get(&apex.origin) {
            zone.write().set_apex(apex);
            return Ok(());
        }
        let mut next = Catalog::clone(&catalog);
        next.insert(apex.origin.clone(), Arc::new(Zone::new(apex)));
        self.inner.catalog.store(Arc::new(next));
        Ok(())
    }

    /// Stops serving a zone. Says whether it was served.
    pub fn withdraw(&self, origin: &DomainName) -> bool {
        let _exchange = self.inner.exchange.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Catalog::clone(&self.inner.catalog.load());
        let was_served = next.remove(origin).is_some();
        self.inner.catalog.store(Arc::new(next));
        was_served
    }

    /// The origins of the zones that are served.
    #[must_use]
    pub fn origins(&self) -> Vec<DomainName> {
        self.inner.catalog.load().keys().cloned().collect()
    }

    /// Makes `text` the TXT record of `owner`, in the zone that holds it.
    pub fn set_text(&self, owner: &DomainName, text: &[u8]) -> Result<(), ZoneError> {
        self.apply([RecordChange::Set { owner: owner.clone(), text: text.into() }])
    }

    /// Removes the TXT record of `owner`. One that is not there is removed already.
    pub fn remove(&self, owner: &DomainName) -> Result<(), ZoneError> {
        self.apply([RecordChange::Remove { owner: owner.clone() }])
    }

    /// Makes several changes. Those of one zone become visible together. If one of them is refused,
    /// nothing is changed.
    pub fn apply(&self, changes: impl IntoIterator<Item = RecordChange>) -> Result<(), ZoneError> {
        let catalog = self.inner.catalog.load();
        let mut by_zone: HashMap<DomainName, Vec<RecordChange>> = HashMap::new();
        for change in changes {
            let owner = change.owner();
            let (origin, _) = zone_of(&catalog, owner.as_str())
                .ok_or_else(|| ZoneError::NotServed { owner: owner.clone() })?;
            if let RecordChange::Set { owner, text } = &change {
                check_text(owner, text)?;
            }
            by_zone.entry(origin.clone()).or_default().push(change);
        }
        for (origin, changes) in by_zone {
            if let Some(zone) = catalog.get(&origin) {
                zone.write().apply(changes);
            }
        }
        Ok(())
    }

    /// Makes `records` all the TXT records of a zone. The new content is built first; the old one is
    /// served until it is complete.
    pub fn replace(
        &self,
        origin: &DomainName,
        records: impl IntoIterator<Item = (DomainName, Arc<[u8]>)>,
    ) -> Result<(), ZoneError> {
        let zone = self.inner.catalog.load().get(origin).cloned();
        let zone = zone.ok_or_else(|| ZoneError::NotServed { owner: origin.clone() })?;
        let apex = zone.read().apex.clone();
        let mut content = Content::new(apex);
        for (owner, text) in records {
            if !owner.is_same_or_subdomain_of(origin) {
                return Err(ZoneError::NotServed { owner });
            }
            check_text(&owner, &text)?;
            content.set(&owner, text);
        }
        zone.write().replace(content);
        Ok(())
    }

    /// The TXT record that is served at `owner`.
    #[must_use]
    pub fn text(&self, owner: &DomainName) -> Option<Arc<[u8]>> {
        let zone = self.zone_of(owner.as_str())?;
        let content = zone.read();
        content.nodes.get(owner.as_str())?.text.clone()
    }

    /// The number of TXT records in a zone, if it is served.
    #[must_use]
    pub fn record_count(&self, origin: &DomainName) -> Option<usize> {
        let zone = self.inner.catalog.load().get(origin).cloned()?;
        let count = zone.read().text_count;
        Some(count)
    }

    /// The zone that holds `name`, lower-case without a trailing dot.
    pub(crate) fn zone_of(&self, name: &str) -> Option<Arc<Zone>> {
        let catalog = self.inner.catalog.load();
        zone_of(&catalog, name).map(|(_, zone)| Arc::clone(zone))
    }
}

/// What stands at the top of a zone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ZoneApex {
    /// The name of the zone.
    pub origin: DomainName,
    /// The name servers, as the parent zone has to list them; at least one. The first is the SOA's
    /// MNAME.
    pub name_servers: Vec<ZoneNameServer>,
    /// The mailbox of who is responsible, as a name: `hostmaster.example.com` for
    /// hostmaster@example.com (RFC 1035 §3.3.13). The SOA's RNAME.
    pub contact: DomainName,
    /// The first serial number; each change adds one (RFC 1982). Nobody transfers these zones, but a
    /// number that goes down looks broken, so give one that grows from start to start.
    pub serial: u32,
}

/// A name server of a served zone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ZoneNameServer {
    /// Its name.
    pub name: DomainName,
    /// Its addresses, served if the name lies in the zone; none for servers elsewhere.
    pub addresses: Vec<IpAddr>,
}

impl ZoneApex {
    fn check(&self) -> Result<(), ZoneError> {
        if self.name_servers.is_empty() {
            return Err(ZoneError::NoNameServer { origin: self.origin.clone() });
        }
        let without_address = self.name_servers.iter().find(|server| {
            server.name.is_same_or_subdomain_of(&self.origin) && server.addresses.is_empty()
        });
        match without_address {
            Some(server) => Err(ZoneError::NoAddress { name_server: server.name.clone() }),
            None => Ok(()),
        }
    }
}

/// A change of one TXT record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RecordChange {
    /// The owner has this text, whatever it had before.
    Set {
        /// The name of the record.
        owner: DomainName,
        /// Its text, which is split into strings of 255 octets when it is sent.
        text: Arc<[u8]>,
    },
    /// The owner has no record.
    Remove {
        /// The name of the record.
        owner: DomainName,
    },
}

impl RecordChange {
    fn owner(&self) -> &DomainName {
        match self {
            Self::Set { owner, .. } | Self::Remove { owner } => owner,
        }
    }
}

/// Why zones were not changed. All of these are for the operator or the caller to mend.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ZoneError {
    /// No served zone holds the name.
    #[error("{owner} lies in no zone that is served here")]
    NotServed {
        /// The name.
        owner: DomainName,
    },
    /// A text of more than [`MAX_TEXT_LEN`] octets, or none.
    #[error("the text for {owner} has {len} octets; 1 to {MAX_TEXT_LEN} are served")]
    TextLength {
        /// The name of the record.
        owner: DomainName,
        /// Its length in octets.
        len: usize,
    },
    /// A zone without name servers.
    #[error("the zone {origin} needs at least one name server")]
    NoNameServer {
        /// The name of the zone.
        origin: DomainName,
    },
    /// A name server in the zone itself, whose address only the zone can tell.
    #[error("the name server {name_server} lies in its own zone and needs an address")]
    NoAddress {
        /// Its name.
        name_server: DomainName,
    },
}

/// One zone.
#[derive(Debug)]
pub(crate) struct Zone {
    content: RwLock<Content>,
}

impl Zone {
    fn new(apex: ZoneApex) -> Self {
        Self { content: RwLock::new(Content::new(apex)) }
    }

    /// The content as it is now. Held for one answer and never over an `.await`.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Content> {
        self.content.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Content> {
        self.content.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a zone holds.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) apex: ZoneApex,
    pub(crate) serial: u32,
    /// Every name in the zone that exists, except perhaps the origin.
    nodes: HashMap<DomainName, Node>,
    text_count: usize,
}

/// A name in a zone.
#[derive(Debug, Default)]
struct Node {
    text: Option<Arc<[u8]>>,
    /// The number of names with records strictly below this one.
    below: u32,
    is_host: bool,
}

impl Node {
    fn has_records(&self) -> bool {
        self.text.is_some() || self.is_host
    }
}

/// What there is at a name.
#[derive(Debug)]
pub(crate) enum Existing<'a> {
    /// Nothing, and nothing below.
    Nothing,
    /// The name, with or without a TXT record.
    Name { text: Option<&'a [u8]>, addresses: &'a [IpAddr] },
}

impl Content {
    fn new(apex: ZoneApex) -> Self {
        let serial = apex.serial;
        let mut content = Self { apex, serial, nodes: HashMap::new(), text_count: 0 };
        content.mark_hosts(true);
        content
    }

    /// What there is at `name`, which lies in this zone and is lower-case without a trailing dot.
    pub(crate) fn at(&self, name: &str) -> Existing<'_> {
        let node = self.nodes.get(name);
        if node.is_none() && name != self.apex.origin.as_str() {
            return Existing::Nothing;
        }
        let addresses = node.filter(|node| node.is_host).and_then(|_| {
            self.apex.name_servers.iter().find(|server| server.name.as_str() == name)
        });
        Existing::Name {
            text: node.and_then(|node| node.text.as_deref()),
            addresses: addresses.map_or(&[], |server| &server.addresses),
        }
    }

    fn apply(&mut self, changes: Vec<RecordChange>) {
        for change in changes {
            match change {
                RecordChange::Set { owner, text } => self.set(&owner, text),
                RecordChange::Remove { owner } => self.unset(&owner),
            }
        }
        self.serial = self.serial.wrapping_add(1);
    }

    fn replace(&mut self, mut content: Self) {
        content.serial = self.serial.wrapping_add(1);
        // The apex may have changed while the new content was built.
        if content.apex != self.apex {
            content.set_apex(self.apex.clone());
        }
        *self = content;
    }

    fn set_apex(&mut self, apex: ZoneApex) {
        self.mark_hosts(false);
        self.apex = apex;
        self.mark_hosts(true);
        self.serial = self.serial.wrapping_add(1);
    }

    fn mark_hosts(&mut self, are_hosts: bool) {
        let hosts: Vec<DomainName> = self
            .apex
            .name_servers
            .iter()
            .map(|server| server.name.clone())
            .filter(|name| name.is_same_or_subdomain_of(&self.apex.origin))
            .collect();
        for host in hosts {
            self.change(&host, |node| node.is_host = are_hosts);
        }
    }

    fn set(&mut self, owner: &DomainName, text: Arc<[u8]>) {
        let old = self.change(owner, |node| node.text.replace(text));
        self.text_count += usize::from(old.is_none());
    }

    fn unset(&mut self, owner: &DomainName) {
        let old = self.change(owner, |node| node.text.take());
        self.text_count -= usize::from(old.is_some());
    }

    /// Changes one node, and the counts above it when it begins or ceases to have records.
    fn change<T>(&mut self, owner: &DomainName, change: impl FnOnce(&mut Node) -> T) -> T {
        let node = self.nodes.entry(owner.clone()).or_default();
        let had_records = node.has_records();
        let result = change(node);
        let has_records = node.has_records();
        if !has_records && node.below == 0 {
            self.nodes.remove(owner);
        }
        if had_records != has_records {
            let mut ancestor = owner.parent();
            while let Some(name) = ancestor.filter(|name| *name != self.apex.origin) {
                ancestor = name.parent();
                let node = self.nodes.entry(name.clone()).or_default();
                if has_records {
                    node.below += 1;
                } else {
                    node.below = node.below.saturating_sub(1);
                    if node.below == 0 && !node.has_records() {
                        self.nodes.remove(&name);
                    }
                }
            }
        }
        result
    }
}

/// The zone with the longest origin that holds `name`.
fn zone_of<'a>(catalog: &'a Catalog, name: &str) -> Option<(&'a DomainName, &'a Arc<Zone>)> {
    let mut rest = name;
    loop {
        if let Some(found) = catalog.get_key_value(rest) {
            return Some(found);
        }
        (_, rest) = rest.split_once('.')?;
    }
}

fn check_text(owner: &DomainName, text: &[u8]) -> Result<(), ZoneError> {
    if text.is_empty() || text.len() > MAX_TEXT_LEN {
        return Err(ZoneError::TextLength { owner: owner.clone(), len: text.len() });
    }
    Ok(())
}

/// The TTL of TXT records, in seconds: how long a resolver may go on with an old key.
pub const RECORD_TTL: u32 = 300;

/// The TTL of the apex's own records, in seconds. They hardly ever change.
pub(crate) const APEX_TTL: u32 = 3600;

/// TTL and MINIMUM of the SOA, in seconds: how long a resolver may believe that a record is not there
/// yet (RFC 2308 §5).
pub(crate) const NEGATIVE_TTL: u32 = 60;

/// A record for a key of 4096 bits has 754 octets. No official reference; longer ones are refused by
/// careful verifiers.
pub const MAX_TEXT_LEN: usize = 4096;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).unwrap()
    }

    fn apex(origin: &str) -> ZoneApex {
        ZoneApex {
            origin: name(origin),
            name_servers: vec![ZoneNameServer {
                name: name(&format!("ns1.{origin}")),
                addresses: vec![IpAddr::from([192, 0, 2, 1])],
            }],
            contact: name(&format!("hostmaster.{origin}")),
            serial: 7,
        }
    }

    fn served(origins: &[&str]) -> ServedZones {
        let zones = ServedZones::new();
        for origin in origins {
            zones.define(apex(origin)).unwrap();
        }
        zones
    }

    fn exists(zones: &ServedZones, at: &str) -> bool {
        let zone = zones.zone_of(at).unwrap();
        let content = zone.read();
        matches!(content.at(at), Existing::Name { .. })
    }

    #[test]
    fn names_above_a_record_exist_until_the_last_below_them_is_gone() {
        let zones = served(&["dkim.test"]);
        zones.set_text(&name("s1._domainkey.a.dkim.test"), b"1").unwrap();
        zones.set_text(&name("s2._domainkey.a.dkim.test"), b"2").unwrap();
        for at in [
            "dkim.test",
            "a.dkim.test",
            "_domainkey.a.dkim.test",
            "s1._domainkey.a.dkim.test",
            "ns1.dkim.test",
        ] {
            assert!(exists(&zones, at), "{at}");
        }
        assert!(!exists(&zones, "b.dkim.test"));

        zones.remove(&name("s1._domainkey.a.dkim.test")).unwrap();
        assert!(exists(&zones, "_domainkey.a.dkim.test"));
        zones.remove(&name("s2._domainkey.a.dkim.test")).unwrap();
        assert!(!exists(&zones, "_domainkey.a.dkim.test"));
        assert!(!exists(&zones, "a.dkim.test"));
        assert!(exists(&zones, "ns1.dkim.test"));
        assert_eq!(zones.record_count(&name("dkim.test")), Some(0));
    }

    #[test]
    fn a_record_goes_to_the_longest_zone_that_holds_it() {
        let zones = served(&["test", "dkim.test"]);
        zones.set_text(&name("a.dkim.test"), b"x").unwrap();
        assert_eq!(zones.record_count(&name("dkim.test")), Some(1));
        assert_eq!(zones.record_count(&name("test")), Some(0));
        assert_eq!(zones.text(&name("a.dkim.test")).as_deref(), Some(&b"x"[..]));

        assert!(zones.withdraw(&name("dkim.test")));
        assert!(!zones.withdraw(&name("dkim.test")));
        assert_eq!(zones.text(&name("a.dkim.test")), None);
    }

    #[test]
    fn what_cannot_be_served_is_refused_and_changes_nothing() {
        let zones = served(&["dkim.test"]);
        let set = |owner: &str, len: usize| RecordChange::Set {
            owner: name(owner),
            text: vec![b'x'; len].into(),
        };
        let cases = [
            (
                vec![set("a.dkim.test", 1), set("a.notdkim.test", 1)],
                ZoneError::NotServed { owner: name("a.notdkim.test") },
            ),
            (
                vec![set("a.dkim.test", 1), set("b.dkim.test", 4097)],
                ZoneError::TextLength { owner: name("b.dkim.test"), len: 4097 },
            ),
            (
                vec![set("b.dkim.test", 0)],
                ZoneError::TextLength { owner: name("b.dkim.test"), len: 0 },
            ),
        ];
        for (changes, want) in cases {
            assert_eq!(zones.apply(changes), Err(want));
            assert_eq!(zones.record_count(&name("dkim.test")), Some(0));
        }
        let mut bare = apex("other.test");
        bare.name_servers[0].addresses.clear();
        assert_eq!(
            zones.define(bare.clone()),
            Err(ZoneError::NoAddress { name_server: name("ns1.other.test") })
        );
        bare.name_servers.clear();
        assert_eq!(zones.define(bare), Err(ZoneError::NoNameServer { origin: name("other.test") }));
        assert_eq!(zones.origins(), [name("dkim.test")]);
    }

    #[test]
    fn a_new_apex_keeps_the_records_and_each_change_raises_the_serial() {
        let zones = served(&["dkim.test"]);
        let serial = || zones.zone_of("dkim.test").unwrap().read().serial;
        assert_eq!(serial(), 7);
        zones.set_text(&name("a.dkim.test"), b"x").unwrap();
        assert_eq!(serial(), 8);

        let mut moved = apex("dkim.test");
        moved.name_servers[0].name = name("ns9.dkim.test");
        zones.define(moved).unwrap();
        assert_eq!(serial(), 9);
        assert!(!exists(&zones, "ns1.dkim.test"));
        assert!(exists(&zones, "ns9.dkim.test"));
        assert!(exists(&zones, "a.dkim.test"));

        zones.replace(&name("dkim.test"), [(name("b.dkim.test"), (*b"y").into())]).unwrap();
        assert_eq!(serial(), 10);
        assert!(!exists(&zones, "a.dkim.test"));
        assert!(exists(&zones, "b.dkim.test"));
        assert!(exists(&zones, "ns9.dkim.test"));
        assert!(zones.replace(&name("dkim.test"), [(name("b.test"), (*b"y").into())]).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn after_any_changes_exactly_the_right_names_exist(
            changes in proptest::collection::vec((0_usize..12, any::<bool>()), 0..60),
        ) {
            let owners = [
                "dkim.test", "a.dkim.test", "b.a.dkim.test", "c.b.a.dkim.test", "x.dkim.test",
                "y.x.dkim.test", "z.x.dkim.test", "ns1.dkim.test", "q.ns1.dkim.test",
                "d.c.b.a.dkim.test", "e.b.a.dkim.test", "w.z.x.dkim.test",
            ];
            let zones = served(&["dkim.test"]);
            let mut model = BTreeMap::new();
            for (index, is_set) in changes {
                let owner = owners[index];
                if is_set {
                    zones.set_text(&name(owner), b"x").unwrap();
                    model.insert(owner, ());
                } else {
                    zones.remove(&name(owner)).unwrap();
                    model.remove(owner);
                }
            }
            for at in owners {
                let suffix = format!(".{at}");
                let want = at == "dkim.test"
                    || at == "ns1.dkim.test"
                    || model.keys().any(|owner| *owner == at || owner.ends_with(&suffix));
                prop_assert_eq!(exists(&zones, at), want, "{}", at);
                prop_assert_eq!(zones.text(&name(at)).is_some(), model.contains_key(at), "{}", at);
            }
            prop_assert_eq!(zones.record_count(&name("dkim.test")), Some(model.len()));
        }
    }
}

//! Reading what a server of a zone says: a zone cut, an answer, a referral (RFC 1034 §5.3.3, RFC 2181).
//!
//! Pure: a [`Reply`] in, a fact out. This is where trust is decided. A server speaks for its zone and
//! for nothing else, so of its reply count only
//!
//! * answers that are authoritative (AA) and belong to the very name that was asked;
//! * a referral to a zone strictly below its own that holds that name;
//! * addresses (glue) of that referral's servers that lie in its own zone. All others are looked up from
//!   the roots, so that nobody can put an address under a foreign name.

use std::net::{IpAddr, SocketAddr};

use postseal_dkim::DomainName;

use crate::look::{Answer, Listed, ServerName};
use crate::message::{Data, Entry, Reply, ReplyCode, Target, ZoneName};

/// A zone and its servers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Delegation {
    pub(crate) zone: ZoneName,
    pub(crate) servers: Vec<NameServer>,
    /// How long this may be remembered, in seconds.
    pub(crate) ttl: u32,
    pub(crate) source: Source,
}

/// Where the list of servers comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Source {
    /// Configured, complete as it is.
    Configuration,
    /// A referral by the parent zone.
    Parent,
    /// The zone's own NS records.
    Zone,
}

/// One server of a zone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct NameServer {
    pub(crate) name: ServerName,
    pub(crate) listed: Listed,
    /// Empty if the addresses have to be looked up.
    pub(crate) addresses: Vec<SocketAddr>,
}

/// What a server says of an ancestor of the name that is looked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Cut {
    /// A zone begins there, or between there and the server's own zone.
    At(Delegation),
    /// None does.
    None,
    /// The ancestor does not exist.
    NoSuchName,
    /// Nothing that helps; another server has to be asked.
    Useless,
}

/// Reads the reply of a server of `zone` to a question for the NS records of `ancestor`.
pub(crate) fn read_cut(reply: &Reply, zone: &ZoneName, ancestor: &DomainName, port: u16) -> Cut {
    match reply.code {
        ReplyCode::NxDomain if reply.authoritative => return Cut::NoSuchName,
        ReplyCode::NoError => {}
        ReplyCode::NxDomain
        | ReplyCode::FormErr
        | ReplyCode::ServFail
        | ReplyCode::NotImp
        | ReplyCode::Refused
        | ReplyCode::Other(_) => return Cut::Useless,
    }
    if reply.authoritative {
        // The server has both zones, parent and child, and answers from the child.
        let own = delegation(reply, &reply.answers, ancestor, zone, port, Source::Zone);
        if let Some(own) = own {
            return Cut::At(own);
        }
    }
    match referral(reply, zone, ancestor, port) {
        Some(below) => Cut::At(below),
        None if reply.authoritative => Cut::None,
        None => Cut::Useless,
    }
}

/// What a server says of the name itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Heard {
    /// An answer, or why there is none.
    Answer(Answer),
    /// The name lies in a zone further below.
    Referral(Delegation),
}

/// Reads the reply of a server of `zone` to a question for the TXT records of `owner`.
pub(crate) fn read_answer(reply: &Reply, zone: &ZoneName, owner: &DomainName, port: u16) -> Heard {
    if !reply.code.is_answer() {
        return Heard::Answer(Answer::Failed(reply.code));
    }
    if !reply.authoritative {
        return match referral(reply, zone, owner, port) {
            Some(below) => Heard::Referral(below),
            None => Heard::Answer(Answer::Lame),
        };
    }

    let mut alias: Option<(&Target, u32)> = None;
    let mut texts = Vec::new();
    let mut text_ttl = u32::MAX;
    for entry in reply.answers.iter().filter(|entry| entry.is_of(owner)) {
        match &entry.data {
            Data::Alias(target) if alias.is_some_and(|(first, _)| first != target) => {
                return Heard::Answer(Answer::Contradiction);
            }
            Data::Alias(target) => alias = Some((target, entry.ttl)),
            Data::Txt(text) => {
                texts.push(text.clone());
                text_ttl = text_ttl.min(entry.ttl);
            }
            Data::Address(_) | Data::Mx { .. } | Data::Ns(_) | Data::Soa { .. } | Data::Other => {}
        }
    }
    let negative_ttl = reply.negative_ttl(owner);
    Heard::Answer(match (alias, texts.is_empty()) {
        // RFC 1034 §3.6.2: nothing else may stand beside an alias.
        (Some(_), false) => Answer::Contradiction,
        // NXDOMAIN beside an alias speaks of the alias's target (RFC 6604 §3), which is asked later.
        (Some((target, ttl)), true) => Answer::Alias { target: target.clone(), ttl },
        (None, false) => Answer::Texts { texts, ttl: text_ttl },
        (None, true) if reply.code == ReplyCode::NxDomain => Answer::NoSuchName { negative_ttl },
        (None, true) => match referral(reply, zone, owner, port) {
            Some(below) => return Heard::Referral(below),
            None => Answer::NoText { negative_ttl },
        },
    })
}

/// The servers that `zone` names for itself, in an authoritative reply to a question for its NS records.
pub(crate) fn read_own_servers(
    reply: &Reply,
    zone: &DomainName,
    port: u16,
) -> Option<Vec<NameServer>> {
    if !reply.authoritative || reply.code != ReplyCode::NoError {
        return None;
    }
    let bailiwick = ZoneName::Domain(zone.clone());
    delegation(reply, &reply.answers, zone, &bailiwick, port, Source::Zone).map(|own| own.servers)
}

/// The addresses of `host` in an authoritative reply.
pub(crate) fn read_addresses(reply: &Reply, host: &DomainName) -> Option<(Vec<IpAddr>, u32)> {
    if !reply.authoritative || !reply.code.is_answer() {
        return None;
    }
    let mut ttl = u32::MAX;
    let mut addresses = Vec::new();
    for entry in reply.answers.iter().filter(|entry| entry.is_of(host)) {
        if let Data::Address(address) = entry.data {
            ttl = ttl.min(entry.ttl);
            addresses.push(address);
        }
    }
    addresses.truncate(MAX_ADDRESSES_PER_SERVER);
    Some((addresses, ttl))
}

/// The referral in the authority section: NS records of a zone strictly below `zone` that holds `name`.
pub(crate) fn referral(
    reply: &Reply,
    zone: &ZoneName,
    name: &DomainName,
    port: u16,
) -> Option<Delegation> {
    if reply.code != ReplyCode::NoError || reply.answers.iter().any(|entry| entry.is_of(name)) {
        return None;
    }
    let below = reply.authority.iter().find_map(|entry| match (&entry.owner, &entry.data) {
        (ZoneName::Domain(owner), Data::Ns(_))
            if zone.is_above(owner) && name.is_same_or_subdomain_of(owner) =>
        {
            Some(owner)
        }
        _ => None,
    })?;
    delegation(reply, &reply.authority, below, zone, port, Source::Parent)
}

/// The NS records of `zone` among `entries`, with those addresses that `bailiwick` may give.
fn delegation(
    reply: &Reply,
    entries: &[Entry],
    zone: &DomainName,
    bailiwick: &ZoneName,
    port: u16,
    source: Source,
) -> Option<Delegation> {
    let mut ttl = u32::MAX;
    let mut servers: Vec<NameServer> = Vec::new();
    for entry in entries.iter().filter(|entry| entry.is_of(zone)) {
        let Data::Ns(Target::Name(host)) = &entry.data else { continue };
        ttl = ttl.min(entry.ttl);
        let name = ServerName::Host(host.clone());
        if servers.len() == MAX_SERVERS || servers.iter().any(|seen| seen.name == name) {
            continue;
        }
        let addresses = if bailiwick.contains(host) {
            glue(reply, host).map(|address| SocketAddr::new(address, port)).collect()
        } else {
            Vec::new()
        };
        servers.push(NameServer { name, listed: Listed::ByParent, addresses });
    }
    if servers.is_empty() {
        return None;
    }
    Some(Delegation { zone: ZoneName::Domain(zone.clone()), servers, ttl, source })
}

fn glue<'a>(reply: &'a Reply, host: &'a DomainName) -> impl Iterator<Item = IpAddr> + 'a {
    reply
        .additional
        .iter()
        .filter(|entry| entry.is_of(host))
        .filter_map(|entry| match entry.data {
            Data::Address(address) => Some(address),
            Data::Alias(_)
            | Data::Mx { .. }
            | Data::Ns(_)
            | Data::Soa { .. }
            | Data::Txt(_)
            | Data::Other => None,
        })
        .take(MAX_ADDRESSES_PER_SERVER)
}

/// The servers of a zone that are looked at. The root and most large zones have 13, which was what a
/// packet of 512 octets holds; more than 20 is not seen in practice.
pub(crate) const MAX_SERVERS: usize = 20;

/// The addresses of one server that are looked at. Large DNS hosts have three of each family.
pub(crate) const MAX_ADDRESSES_PER_SERVER: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).unwrap()
    }

    fn zone(text: &str) -> ZoneName {
        if text == "." { ZoneName::Root } else { ZoneName::Domain(name(text)) }
    }

    fn ns(owner: &str, host: &str) -> Entry {
        Entry { owner: zone(owner), ttl: 3600, data: Data::Ns(Target::Name(name(host))) }
    }

    fn address(owner: &str, last: u8) -> Entry {
        let data = Data::Address(IpAddr::from([192, 0, 2, last]));
        Entry { owner: zone(owner), ttl: 3600, data }
    }

    fn txt(owner: &str, text: &str) -> Entry {
        Entry { owner: zone(owner), ttl: 300, data: Data::Txt(text.as_bytes().into()) }
    }

    fn alias(owner: &str, target: &str) -> Entry {
        Entry { owner: zone(owner), ttl: 300, data: Data::Alias(Target::Name(name(target))) }
    }

    fn reply(authoritative: bool, answers: Vec<Entry>, authority: Vec<Entry>) -> Reply {
        Reply {
            code: ReplyCode::NoError,
            authoritative,
            truncated: false,
            has_edns: true,
            answers,
            authority,
            additional: vec![],
        }
    }

    fn hosts(delegation: &Delegation) -> Vec<(String, usize)> {
        delegation
            .servers
            .iter()
            .map(|server| (server.name.to_string(), server.addresses.len()))
            .collect()
    }

    #[test]
    fn glue_from_outside_the_bailiwick_is_not_taken() {
        let mut evil = reply(
            false,
            vec![],
            vec![ns("sub.evil.test", "ns.sub.evil.test"), ns("sub.evil.test", "ns.victim.test")],
        );
        evil.additional = vec![address("ns.sub.evil.test", 1), address("ns.victim.test", 2)];
        let Cut::At(found) = read_cut(&evil, &zone("evil.test"), &name("sub.evil.test"), 53) else {
            panic!("no delegation")
        };
        assert_eq!(hosts(&found), [("ns.sub.evil.test".into(), 1), ("ns.victim.test".into(), 0)]);
    }

    #[test]
    fn a_referral_leads_down_and_towards_the_name_only() {
        let cases = [
            ("test", "example.test", true),
            (".", "example.test", true),
            ("example.test", "example.test", false),
            ("example.test", "test", false),
            ("example.test", "victim.test", false),
            ("test", "other.test", false),
            ("test", "s._domainkey.example.test", true),
        ];
        for (from, to, want) in cases {
            let reply = reply(false, vec![], vec![ns(to, "ns.host.test")]);
            let owner = name("s._domainkey.example.test");
            let heard = read_answer(&reply, &zone(from), &owner, 53);
            assert_eq!(matches!(heard, Heard::Referral(_)), want, "{from} to {to}: {heard:?}");
            if !want {
                assert_eq!(heard, Heard::Answer(Answer::Lame), "{from} to {to}");
            }
        }
    }

    #[test]
    fn only_records_of_the_name_itself_are_its_answer() {
        let owner = name("s._domainkey.example.test");
        let own = zone("example.test");
        let texts = |texts: &[&str]| Answer::Texts {
            texts: texts.iter().map(|text| text.as_bytes().into()).collect(),
            ttl: 300,
        };
        let here = "s._domainkey.example.test";
        let cases = [
            (vec![txt(here, "a")], texts(&["a"])),
            (vec![txt(here, "a"), txt(here, "b")], texts(&["a", "b"])),
            (vec![txt("other.test", "a")], Answer::NoText { negative_ttl: None }),
            (
                vec![alias(here, "k.esp.test"), txt("k.esp.test", "forged")],
                Answer::Alias { target: Target::Name(name("k.esp.test")), ttl: 300 },
            ),
            (vec![alias(here, "k.esp.test"), txt(here, "a")], Answer::Contradiction),
            (vec![alias(here, "k.esp.test"), alias(here, "l.esp.test")], Answer::Contradiction),
        ];
        for (answers, want) in cases {
            let reply = reply(true, answers, vec![]);
            assert_eq!(read_answer(&reply, &own, &owner, 53), Heard::Answer(want), "{reply:?}");
        }
        let lame = reply(false, vec![txt(here, "a")], vec![]);
        assert_eq!(read_answer(&lame, &own, &owner, 53), Heard::Answer(Answer::Lame));
    }

    #[test]
    fn nxdomain_beside_an_alias_is_about_the_target() {
        let owner = name("s.example.test");
        let mut reply = reply(true, vec![alias("s.example.test", "k.esp.test")], vec![]);
        reply.code = ReplyCode::NxDomain;
        let heard = read_answer(&reply, &zone("example.test"), &owner, 53);
        assert!(matches!(heard, Heard::Answer(Answer::Alias { .. })), "{heard:?}");
    }

    #[test]
    fn the_negative_ttl_is_the_lesser_of_the_two_and_of_a_zone_that_holds_the_name() {
        let owner = name("s._domainkey.example.test");
        let soa = |zone_name: &str, ttl, minimum| Entry {
            owner: zone(zone_name),
            ttl,
            data: Data::Soa { minimum },
        };
        let cases = [
            (vec![soa("example.test", 900, 300)], Some(300)),
            (vec![soa("example.test", 60, 300)], Some(60)),
            (vec![soa("victim.test", 60, 300)], None),
            (vec![], None),
        ];
        for (authority, negative_ttl) in cases {
            let mut reply = reply(true, vec![], authority);
            reply.code = ReplyCode::NxDomain;
            assert_eq!(
                read_answer(&reply, &zone("example.test"), &owner, 53),
                Heard::Answer(Answer::NoSuchName { negative_ttl })
            );
        }
    }

    #[test]
    fn a_server_with_parent_and_child_shows_the_cut_by_the_childs_own_records() {
        let own = reply(true, vec![ns("sub.example.test", "ns.sub.example.test")], vec![]);
        let cut = read_cut(&own, &zone("example.test"), &name("sub.example.test"), 53);
        assert!(matches!(&cut, Cut::At(found) if found.source == Source::Zone), "{cut:?}");

        let nodata = reply(true, vec![], vec![ns("example.test", "ns.example.test")]);
        let cut = read_cut(&nodata, &zone("example.test"), &name("sub.example.test"), 53);
        assert_eq!(cut, Cut::None);

        let lame = reply(false, vec![], vec![]);
        let cut = read_cut(&lame, &zone("example.test"), &name("sub.example.test"), 53);
        assert_eq!(cut, Cut::Useless);
    }

    #[test]
    fn the_number_of_servers_and_addresses_is_bounded() {
        let authority =
            (0..100).map(|number| ns("sub.test", &format!("ns{number}.sub.test"))).collect();
        let mut reply = reply(false, vec![], authority);
        reply.additional = (0..100).map(|last| address("ns0.sub.test", last)).collect();
        let found = referral(&reply, &zone("test"), &name("s.sub.test"), 53).unwrap();
        assert_eq!(found.servers.len(), MAX_SERVERS);
        assert_eq!(found.servers[0].addresses.len(), MAX_ADDRESSES_PER_SERVER);
    }
}

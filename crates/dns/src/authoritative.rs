//! Asks the authoritative servers of a name themselves (RFC 1034 §5.3.3).
//!
//! [`crate::walk`] finds the zone of a name. There *all* servers are asked for the record, on all their
//! addresses: those of the parent's delegation, and those that only the zone itself lists, since resolvers
//! use these too. An alias begins the way anew for its target. Answers of a zone are never kept.
//!
//! Beside the record, a random name is asked if there is a record, to see a wildcard, and the usual slips
//! of DNS panels if there is none.

use std::net::SocketAddr;
use std::sync::Arc;

use postseal_dkim::{DomainName, MAX_NAME_LEN, NameError, Selector, key_record_name};
use tokio::task::JoinSet;

use crate::delegation::{
    Delegation, Heard, NameServer, Source, read_addresses, read_answer, read_own_servers,
};
use crate::look::{
    AddressLook, Answer, ChainEnd, DeniedAncestor, KeyLook, Listed, Misplaced, ServerLook,
    ServerName, Slip, Step,
};
use crate::message::{Kind, Target, ZoneName};
use crate::random;
use crate::walk::{AuthoritativeSettings, Found, MAX_REFERRALS, Purpose, Walker, Work, question};

/// Looks at key records through the authoritative servers. Cloning is cheap, and clones share what is
/// kept.
#[derive(Clone, Debug)]
pub struct AuthoritativeClient {
    walker: Walker,
}

/// One step of the chain, with what the next questions need.
#[derive(Debug)]
struct Stepped {
    step: Step,
    delegation: Delegation,
    denied_ancestor: Option<DeniedAncestor>,
}

impl AuthoritativeClient {
    /// A client that remembers nothing yet. Opens no socket.
    #[must_use]
    pub fn new(settings: AuthoritativeSettings) -> Self {
        Self { walker: Walker::new(settings) }
    }

    /// Looks at the key record of `selector` at `domain`: what every server on the way says.
    ///
    /// Fails only if the name of the record is too long. All that goes wrong in the DNS is part of what
    /// is seen. Ends within the time of the settings.
    pub async fn look(
        &self,
        selector: &Selector,
        domain: &DomainName,
    ) -> Result<KeyLook, NameError> {
        let name = key_record_name(selector, domain)?;
        let work = self.walker.work();

        let first = self.step(&work, &name).await;
        let mut look = KeyLook {
            domain: domain.clone(),
            name: name.clone(),
            steps: Vec::new(),
            end: ChainEnd::Complete,
            sibling: None,
            has_address: false,
            denied_ancestor: first.denied_ancestor.clone(),
            misplaced: None,
        };
        // Before the aliases are followed: the servers of a target, which may be anybody's, must not use
        // up the packets and the time that showing a wildcard takes.
        self.look_around(&work, selector, &first, &mut look).await;
        let (rest, end) = self.follow(&work, &first.step).await;
        look.end = end;
        look.steps.push(first.step);
        look.steps.extend(rest);
        Ok(look)
    }

    /// Follows the aliases from the first step on.
    async fn follow(&self, work: &Arc<Work>, first: &Step) -> (Vec<Step>, ChainEnd) {
        let mut steps: Vec<Step> = Vec::new();
        loop {
            let last = steps.last().unwrap_or(first);
            let end = match last.alias() {
                None if work.is_spent() && is_unheard(last) => ChainEnd::OutOfBudget,
                None => ChainEnd::Complete,
                Some(target @ Target::NotAHost(_)) => ChainEnd::NotAName(target.clone()),
                Some(Target::Name(target)) => {
                    let is_known =
                        std::iter::once(first).chain(&steps).any(|step| step.owner == *target);
                    if is_known {
                        ChainEnd::Loop(target.clone())
                    } else if steps.len() == MAX_ALIASES {
                        ChainEnd::TooLong
                    } else if work.is_spent() {
                        ChainEnd::OutOfBudget
                    } else {
                        let target = target.clone();
                        steps.push(self.step(work, &target).await.step);
                        continue;
                    }
                }
            };
            return (steps, end);
        }
    }

    /// Asks what the judgement needs beside the record itself: a sibling if there is one, signs of a
    /// slip if there is none.
    async fn look_around(
        &self,
        work: &Arc<Work>,
        selector: &Selector,
        first: &Stepped,
        look: &mut KeyLook,
    ) {
        let is_there = first.step.answers().any(Answer::is_record);
        let delegation = &first.delegation;
        if is_there {
            if let Some(sibling) = sibling_of(&look.name) {
                look.sibling = if delegation.zone.contains(&sibling) {
                    self.one_answer(work, delegation, &sibling).await
                } else {
                    // A zone may begin at the record itself; what stands beside it is in the one above.
                    let above = self.walker.find_zone(work, &sibling, Purpose::Key, 0).await;
                    self.one_answer(work, &above.delegation, &sibling).await
                };
            }
            return;
        }
        if !first.step.answers().any(Answer::is_denial) {
            return;
        }
        if first.step.answers().any(|answer| matches!(answer, Answer::NoText { .. })) {
            look.has_address = self.has_address(work, delegation, &look.name).await;
        }
        for (at, slip) in slips(selector, &look.domain, &delegation.zone) {
            let Some(answer) = self.one_answer(work, delegation, &at).await else { continue };
            let has_key = matches!(&answer, Answer::Texts { texts, .. }
                if texts.iter().any(|text| looks_like_a_key(text)));
            // An ordinary host may be an alias too, unless its name speaks of keys.
            let is_slipped_alias =
                slip == Slip::DomainTwice && matches!(answer, Answer::Alias { .. });
            if has_key || is_slipped_alias {
                look.misplaced = Some(Misplaced { at, slip });
                return;
            }
        }
    }

    /// Asks every server of the zone of `owner` for its TXT records.
    async fn step(&self, work: &Arc<Work>, owner: &DomainName) -> Stepped {
        let Found { mut delegation, denied_ancestor } =
            self.walker.find_zone(work, owner, Purpose::Key, 0).await;
        let mut referrals_left = MAX_REFERRALS;
        let (servers, heard) = loop {
            let servers = self.all_servers(work, &delegation).await;
            let heard = self.ask_all(work, &delegation.zone, owner, &servers).await;
            match lower_zone(&heard) {
                Some(below) if referrals_left > 0 => {
                    referrals_left -= 1;
                    delegation = below.clone();
                }
                Some(_) | None => break (servers, heard),
            }
        };
        let servers = servers.into_iter().zip(heard).map(as_look).collect();
        let zone = delegation.zone.clone();
        let mut step = Step { owner: owner.clone(), zone, negative_ttl: None, servers };
        step.negative_ttl = self.negative_ttl(work, &step).await;
        Stepped { step, delegation, denied_ancestor }
    }

    /// The servers of a zone with their addresses: those of the delegation, and those that the zone
    /// lists beside them.
    async fn all_servers(&self, work: &Arc<Work>, delegation: &Delegation) -> Vec<NameServer> {
        let mut servers = delegation.servers.clone();
        if let (ZoneName::Domain(zone), Source::Parent) = (&delegation.zone, delegation.source) {
            let port = self.walker.port();
            let own = self
                .walker
                .ask_until(work, delegation, &question(zone, Kind::Ns), 0, |_, reply| {
                    read_own_servers(reply, zone, port)
                })
                .await
                .unwrap_or_default();
            for mut server in own {
                if servers.iter().all(|known| known.name != server.name) {
                    server.listed = Listed::ByZoneOnly;
                    servers.push(server);
                }
            }
        }

        let mut look_ups = JoinSet::new();
        for (index, server) in servers.iter().enumerate() {
            if let (ServerName::Host(host), true) = (&server.name, server.addresses.is_empty()) {
                let (client, work, host) = (self.clone(), Arc::clone(work), host.clone());
                look_ups
                    .spawn(async move { (index, client.walker.addresses(&work, &host, 1).await) });
            }
        }
        while let Some(found) = look_ups.join_next().await {
            if let Ok((index, addresses)) = found
                && let Some(server) = servers.get_mut(index)
            {
                server.addresses = self.walker.with_port(&addresses);
            }
        }
        servers
    }

    /// Asks all addresses of all servers at once, as far as the lanes allow. The order of the outer
    /// list is that of `servers`.
    async fn ask_all(
        &self,
        work: &Arc<Work>,
        zone: &ZoneName,
        owner: &DomainName,
        servers: &[NameServer],
    ) -> Vec<Vec<(SocketAddr, Heard)>> {
        let mut heard: Vec<Vec<(SocketAddr, Heard)>> = vec![Vec::new(); servers.len()];
        let mut asked = JoinSet::new();
        for (index, server) in servers.iter().enumerate() {
            for address in server.addresses.iter().copied() {
                let (client, work) = (self.clone(), Arc::clone(work));
                let (zone, owner) = (zone.clone(), owner.clone());
                let listed = server.listed;
                asked.spawn(async move {
                    let question = question(&owner, Kind::Txt);
                    let port = client.walker.port();
                    let heard =
                        match client.walker.exchange(&work, address, listed, &question).await {
                            Ok(reply) => read_answer(&reply, &zone, &owner, port),
                            Err(error) => Heard::Answer(Answer::NoReply(error)),
                        };
                    (index, address, heard)
                });
            }
        }
        while let Some(done) = asked.join_next().await {
            if let Ok((index, address, answer)) = done
                && let Some(server) = heard.get_mut(index)
            {
                server.push((address, answer));
            }
        }
        for server in &mut heard {
            server.sort_by_key(|(address, _)| *address);
        }
        heard
    }

    /// What one server of the zone says of the TXT records of `name`, whichever answers first.
    async fn one_answer(
        &self,
        work: &Arc<Work>,
        delegation: &Delegation,
        name: &DomainName,
    ) -> Option<Answer> {
        let port = self.walker.port();
        self.walker
            .ask_until(
                work,
                delegation,
                &question(name, Kind::Txt),
                0,
                |_, reply| match read_answer(reply, &delegation.zone, name, port) {
                    Heard::Answer(answer) if answer.is_about_the_name() => Some(answer),
                    Heard::Answer(_) | Heard::Referral(_) => None,
                },
            )
            .await
    }

    async fn has_address(
        &self,
        work: &Arc<Work>,
        delegation: &Delegation,
        name: &DomainName,
    ) -> bool {
        self.walker
            .ask_until(work, delegation, &question(name, Kind::A), 0, |_, reply| {
                read_addresses(reply, name).map(|(addresses, _)| !addresses.is_empty())
            })
            .await
            .unwrap_or(false)
    }

    /// How long the zone lets a negative answer be kept: the longest that a server gave, or else what
    /// the zone's SOA says to one who asks.
    async fn negative_ttl(&self, work: &Arc<Work>, step: &Step) -> Option<u32> {
        let given = step.answers().filter_map(Answer::negative_ttl).max();
        if given.is_some() {
            return given;
        }
        let (server, address) = step.servers.iter().find_map(|server| {
            let answered = server.addresses.iter().find(|look| look.answer.is_about_the_name())?;
            Some((server, answered.address))
        })?;
        let ZoneName::Domain(zone) = &step.zone else { return None };
        let reply = self
            .walker
            .exchange(work, address, server.listed, &question(zone, Kind::Soa))
            .await
            .ok()?;
        reply.authoritative.then(|| reply.negative_ttl(&step.owner)).flatten()
    }
}

/// The zone further below to which more servers refer than answer. A few that refer downwards where
/// the others answer are lame.
fn lower_zone(heard: &[Vec<(SocketAddr, Heard)>]) -> Option<&Delegation> {
    let mut referrals = Vec::new();
    let mut answers = 0;
    for (_, heard) in heard.iter().flatten() {
        match heard {
            Heard::Referral(below) => referrals.push(below),
            Heard::Answer(answer) => answers += usize::from(answer.is_about_the_name()),
        }
    }
    referrals.first().copied().filter(|_| referrals.len() > answers)
}

fn as_look((server, heard): (NameServer, Vec<(SocketAddr, Heard)>)) -> ServerLook {
    let addresses = heard
        .into_iter()
        .map(|(address, heard)| {
            let answer = match heard {
                Heard::Answer(answer) => answer,
                // It does not know the zone that the others answer for.
                Heard::Referral(_) => Answer::Lame,
            };
            AddressLook { address, answer }
        })
        .collect();
    ServerLook { server: server.name, listed: server.listed, addresses }
}

/// Says whether no server was heard because nothing more could be asked.
fn is_unheard(step: &Step) -> bool {
    !step.answers().any(Answer::is_about_the_name)
}

/// A name beside `name` that nobody can have published, as long as the names' limit allows.
fn sibling_of(name: &DomainName) -> Option<DomainName> {
    let parent = name.parent()?;
    let room = MAX_NAME_LEN.saturating_sub(parent.as_str().len() + 1);
    let label = random::label(SIBLING_LABEL_LEN.min(room));
    DomainName::parse(&format!("{label}.{parent}")).ok().filter(|sibling| sibling != name)
}

/// Names in `zone` under which the record is found when somebody slipped (D04 to D06, D50).
fn slips(
    selector: &Selector,
    domain: &DomainName,
    zone: &ZoneName,
) -> impl Iterator<Item = (DomainName, Slip)> {
    let parent = domain.parent().filter(|parent| parent.label_count() > 1);
    let slips = [
        (Some(format!("{selector}._domainkey.{domain}.{domain}")), Slip::DomainTwice),
        (Some(format!("{selector}._domainkey.{domain}.{zone}")), Slip::DomainTwice),
        (Some(format!("{selector}.{domain}")), Slip::Label),
        (Some(format!("_domainkey.{selector}.{domain}")), Slip::Label),
        (Some(format!("{selector}._domainkeys.{domain}")), Slip::Label),
        (Some(format!("{selector}.domainkey.{domain}")), Slip::Underscore),
        (parent.map(|parent| format!("{selector}._domainkey.{parent}")), Slip::OtherDomain),
    ];
    let mut names: Vec<(DomainName, Slip)> = slips
        .into_iter()
        .filter_map(|(name, slip)| Some((DomainName::parse(&name?).ok()?, slip)))
        .filter(|(name, _)| zone.contains(name))
        .collect();
    names.dedup();
    names.into_iter()
}

fn looks_like_a_key(text: &[u8]) -> bool {
    text.starts_with(b"v=DKIM1") || text.windows(2).any(|pair| pair == b"p=") && text.len() > 60
}

/// The aliases that are followed from a key record; resolvers stop between 8 and 16.
pub const MAX_ALIASES: usize = 8;

/// 36^16 names.
const SIBLING_LABEL_LEN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).unwrap()
    }

    #[test]
    fn a_sibling_stands_beside_the_name_also_where_room_is_short() {
        let key = name("s1._domainkey.example.com");
        let sibling = sibling_of(&key).unwrap();
        assert_eq!(sibling.parent(), key.parent());
        assert_ne!(sibling, key);

        let label = "a".repeat(63);
        let long = name(&format!("abc.{label}.{label}.{label}.{}", "a".repeat(57)));
        assert_eq!(long.as_str().len(), MAX_NAME_LEN);
        assert_eq!(sibling_of(&long).unwrap().as_str().len(), MAX_NAME_LEN);
    }

    #[test]
    fn slips_stay_within_the_zone() {
        let zone = ZoneName::Domain(name("mail.example.com"));
        let selector = Selector::parse("s1").unwrap();
        let found: Vec<_> = slips(&selector, &name("mail.example.com"), &zone)
            .map(|(name, slip)| (name.to_string(), slip))
            .collect();
        assert_eq!(
            found,
            [
                ("s1._domainkey.mail.example.com.mail.example.com".into(), Slip::DomainTwice),
                ("s1.mail.example.com".into(), Slip::Label),
                ("_domainkey.s1.mail.example.com".into(), Slip::Label),
                ("s1._domainkeys.mail.example.com".into(), Slip::Label),
                ("s1.domainkey.mail.example.com".into(), Slip::Underscore),
            ]
        );
    }
}

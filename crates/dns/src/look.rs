//! What the authoritative servers said of a key record, as data.
//!
//! [`crate::AuthoritativeClient`] fills a [`KeyLook`] in, [`crate::judge`] reads it, `postseal check`
//! prints it. One [`Step`] is one owner name at the servers of its zone; an alias (CNAME) leads to the
//! next step:
//!
//! ```text
//! KeyLook ── steps ─┬─ s1._domainkey.example.com   in example.com   ns1: alias → k1.esp.example
//!                   │                                               ns2: alias → k1.esp.example
//!                   └─ k1.esp.example              in esp.example   a: TXT   b: timeout
//! ```

use std::fmt;
use std::net::SocketAddr;

use postseal_dkim::DomainName;

use crate::exchange::ExchangeError;
use crate::message::{ReplyCode, Target, ZoneName};

/// One look at a key record, through the whole chain of aliases.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyLook {
    /// The signing domain whose key is looked for.
    pub domain: DomainName,
    /// The owner name of the key record, `<selector>._domainkey.<domain>` (RFC 6376 §3.6.2.1).
    pub name: DomainName,
    /// The names on the way, from `name` on; at least one.
    pub steps: Vec<Step>,
    /// How the way ended.
    pub end: ChainEnd,
    /// What a random name beside the key record got. None if it was not asked, since there was no
    /// record, or if no server said anything, which with a record is never taken for a denial.
    pub sibling: Option<Answer>,
    /// The address records that stand at `name` in place of a key record, which is what a proxy of a
    /// DNS host looks like.
    pub has_address: bool,
    /// An ancestor of `name` that does not exist by what its server says (NXDOMAIN). Nothing may exist
    /// below such a name (RFC 8020 §2).
    pub denied_ancestor: Option<DeniedAncestor>,
    /// Where else the record was found, asked only when `name` has none.
    pub misplaced: Option<Misplaced>,
}

/// An ancestor of the name of the record that does not exist, as a server says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeniedAncestor {
    /// The ancestor.
    pub name: DomainName,
    /// The address that says so.
    pub by: SocketAddr,
}

/// How following the aliases ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ChainEnd {
    /// The last step is no alias: it has the records, or shows that there are none.
    Complete,
    /// The alias of the last step leads back to this name.
    Loop(DomainName),
    /// More than [`crate::MAX_ALIASES`] aliases.
    TooLong,
    /// The alias of the last step leads to something that is no host name.
    NotAName(Target),
    /// Packets or time of the look-up ran out ([`crate::AuthoritativeSettings`]).
    OutOfBudget,
}

/// One name, asked at every server of its zone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// The name that was asked.
    pub owner: DomainName,
    /// The zone whose servers were asked.
    pub zone: ZoneName,
    /// How long a resolver may keep the answer that there is no record (RFC 2308 §5), in seconds. None
    /// if no server gave an SOA.
    pub negative_ttl: Option<u32>,
    /// The servers, each with all its addresses.
    pub servers: Vec<ServerLook>,
}

impl Step {
    /// The alias that most of the answers give; of several with equally many, the first.
    #[must_use]
    pub fn alias(&self) -> Option<&Target> {
        let mut tally: Vec<(&Target, usize)> = Vec::new();
        for answer in self.answers() {
            let Answer::Alias { target, .. } = answer else { continue };
            match tally.iter_mut().find(|(seen, _)| *seen == target) {
                Some((_, votes)) => *votes += 1,
                None => tally.push((target, 1)),
            }
        }
        let aliases: usize = tally.iter().map(|(_, votes)| votes).sum();
        let others = self.answers().filter(|answer| answer.is_about_the_name()).count() - aliases;
        // `max_by_key` returns the last of equals, hence the reversal.
        let (target, votes) = tally.into_iter().rev().max_by_key(|(_, votes)| *votes)?;
        (votes >= others).then_some(target)
    }

    /// All answers, of all addresses of all servers.
    pub fn answers(&self) -> impl Iterator<Item = &Answer> {
        self.servers
            .iter()
            .flat_map(|server| server.addresses.iter().map(|address| &address.answer))
    }
}

/// What one name server said, on each of its addresses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerLook {
    /// Its name, or its address where it was configured by that.
    pub server: ServerName,
    /// Who lists it.
    pub listed: Listed,
    /// Its addresses; none if its name could not be resolved.
    pub addresses: Vec<AddressLook>,
}

/// How a name server is called.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ServerName {
    /// By the name in its NS record.
    Host(DomainName),
    /// By address, as configured.
    Address(SocketAddr),
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(name) => name.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// Who says that a server is one of the zone's.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Listed {
    /// The parent zone's delegation, and as far as known the zone too.
    ByParent,
    /// The zone's own NS records alone. Resolvers use these too, once they know them.
    ByZoneOnly,
    /// The configuration of this client.
    ByConfiguration,
}

/// What came from one address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AddressLook {
    /// The address that was asked.
    pub address: SocketAddr,
    /// What it said.
    pub answer: Answer,
}

/// What a server said of a name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// TXT records: the joined strings of each (RFC 6376 §3.6.2.2), in no particular order.
    Texts {
        /// One text a record.
        texts: Vec<Box<[u8]>>,
        /// In seconds.
        ttl: u32,
    },
    /// The name is an alias (CNAME).
    Alias {
        /// Where it leads.
        target: Target,
        /// In seconds.
        ttl: u32,
    },
    /// The name does not exist (NXDOMAIN).
    NoSuchName {
        /// From the SOA that came along, in seconds.
        negative_ttl: Option<u32>,
    },
    /// The name exists and has no TXT record (NODATA).
    NoText {
        /// From the SOA that came along, in seconds.
        negative_ttl: Option<u32>,
    },
    /// The records contradict each other, such as two aliases at one name.
    Contradiction,
    /// The server answers, but not as an authority for the zone (lame delegation).
    Lame,
    /// The server could not or would not answer, by its own word.
    Failed(ReplyCode),
    /// No reply that can be used.
    NoReply(ExchangeError),
}

impl Answer {
    /// Says whether this is a word about the name, right or wrong, rather than a failing server. Only
    /// these count when the servers that answer vote.
    #[must_use]
    pub fn is_about_the_name(&self) -> bool {
        match self {
            Self::Texts { .. }
            | Self::Alias { .. }
            | Self::NoSuchName { .. }
            | Self::NoText { .. }
            | Self::Contradiction => true,
            Self::Lame | Self::Failed(_) | Self::NoReply(_) => false,
        }
    }

    /// Says whether the name has no record by this answer.
    #[must_use]
    pub fn is_denial(&self) -> bool {
        matches!(self, Self::NoSuchName { .. } | Self::NoText { .. })
    }

    /// Says whether there is a record at the name by this answer, right or wrong.
    #[must_use]
    pub fn is_record(&self) -> bool {
        self.is_about_the_name() && !self.is_denial()
    }

    /// The TTL of the records, in seconds.
    #[must_use]
    pub fn ttl(&self) -> Option<u32> {
        match self {
            Self::Texts { ttl, .. } | Self::Alias { ttl, .. } => Some(*ttl),
            Self::NoSuchName { .. }
            | Self::NoText { .. }
            | Self::Contradiction
            | Self::Lame
            | Self::Failed(_)
            | Self::NoReply(_) => None,
        }
    }

    /// How long the answer that there is no record may be kept, in seconds, if it is that answer and
    /// an SOA came along.
    #[must_use]
    pub fn negative_ttl(&self) -> Option<u32> {
        match self {
            Self::NoSuchName { negative_ttl } | Self::NoText { negative_ttl } => *negative_ttl,
            Self::Texts { .. }
            | Self::Alias { .. }
            | Self::Contradiction
            | Self::Lame
            | Self::Failed(_)
            | Self::NoReply(_) => None,
        }
    }

    /// Says whether two answers tell the same about a name, whatever their TTLs and order.
    pub(crate) fn tells_the_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Texts { texts: ours, .. }, Self::Texts { texts: theirs, .. }) => {
                let sorted = |texts: &[Box<[u8]>]| {
                    let mut texts = texts.to_vec();
                    texts.sort_unstable();
                    texts
                };
                sorted(ours) == sorted(theirs)
            }
            (Self::Alias { target: ours, .. }, Self::Alias { target: theirs, .. }) => {
                ours == theirs
            }
            (Self::NoSuchName { .. }, Self::NoSuchName { .. })
            | (Self::NoText { .. }, Self::NoText { .. }) => true,
            _ => self == other,
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Texts { texts, .. } => {
                for (number, text) in texts.iter().enumerate() {
                    let separator = if number == 0 { "" } else { " and " };
                    write!(f, "{separator}\"{}\"", shown(text))?;
                }
                Ok(())
            }
            Self::Alias { target, .. } => write!(f, "an alias of {target}"),
            Self::NoSuchName { .. } => f.write_str("no such name"),
            Self::NoText { .. } => f.write_str("no TXT record"),
            Self::Contradiction => f.write_str("records that contradict each other"),
            Self::Lame => f.write_str("an answer without authority for the zone"),
            Self::Failed(code) => code.fmt(f),
            Self::NoReply(error) => error.fmt(f),
        }
    }
}

/// A record that was found at a name where it does nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Misplaced {
    /// Where it stands.
    pub at: DomainName,
    /// What went wrong, most likely.
    pub slip: Slip,
}

/// The ways in which records get wrong names.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Slip {
    /// The panel appended the domain to a name that already had it.
    DomainTwice,
    /// `_domainkey` is missing, misspelt, or in the wrong place.
    Label,
    /// The panel dropped the underscore.
    Underscore,
    /// It stands under the parent domain or a name for another one.
    OtherDomain,
}

/// Text from the DNS, made harmless for a line of text and cut to a length that can be read.
pub(crate) fn shown(text: &[u8]) -> String {
    let cut = text.get(..MAX_SHOWN_LEN).unwrap_or(text);
    let mut shown = cut.escape_ascii().to_string();
    if cut.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// No official reference; enough to recognise a record.
const MAX_SHOWN_LEN: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    fn alias(target: &str) -> Answer {
        Answer::Alias { target: Target::Name(DomainName::parse(target).unwrap()), ttl: 300 }
    }

    fn step(answers: Vec<Answer>) -> Step {
        let address = SocketAddr::from(([127, 0, 0, 1], 53));
        let server = |answer| ServerLook {
            server: ServerName::Address(address),
            listed: Listed::ByConfiguration,
            addresses: vec![AddressLook { address, answer }],
        };
        Step {
            owner: DomainName::parse("s._domainkey.example.com").unwrap(),
            zone: ZoneName::Root,
            negative_ttl: None,
            servers: answers.into_iter().map(server).collect(),
        }
    }

    #[test]
    fn the_alias_of_most_answers_is_followed() {
        let none = || Answer::NoText { negative_ttl: None };
        let dead = || Answer::NoReply(ExchangeError::Timeout);
        let cases = [
            (vec![], None),
            (vec![none()], None),
            (vec![alias("a.test")], Some("a.test")),
            (vec![alias("a.test"), alias("b.test")], Some("a.test")),
            (vec![alias("a.test"), alias("b.test"), alias("b.test")], Some("b.test")),
            (vec![alias("a.test"), none()], Some("a.test")),
            (vec![alias("a.test"), none(), none()], None),
            (vec![dead(), dead(), alias("a.test")], Some("a.test")),
        ];
        for (answers, want) in cases {
            let step = step(answers);
            let got = step.alias().map(ToString::to_string);
            assert_eq!(got.as_deref(), want, "{:?}", step.servers);
        }
    }

    #[test]
    fn text_from_the_dns_is_shown_on_one_line() {
        assert_eq!(shown(b"a\r\n\"\x1b[31m\xff"), r#"a\r\n\"\x1b[31m\xff"#);
        assert_eq!(shown(&[b'x'; 81]), format!("{}…", "x".repeat(80)));
    }
}

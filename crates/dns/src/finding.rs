//! What a look at a key record found, in words: one sentence what, one what to do.
//!
//! The codes are those of the project's catalogue of DNS diagnoses (D01 to D50); scripts may rely on
//! them. Texts from the DNS are escaped before they get into a sentence.

use std::fmt;

use postseal_dkim::DomainName;

use crate::exchange::ExchangeError;
use crate::look::{ServerName, Slip, shown};
use crate::message::{ReplyCode, Target, ZoneName};
use crate::record_text::{RecordFault, excerpt};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Works, and may cease to.
    Warning,
    /// Receivers cannot verify, or the check cannot tell.
    Error,
}

/// One thing that a look found.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Finding {
    /// There is no such name (D01).
    Missing {
        /// The name.
        name: DomainName,
    },
    /// The name is there without a TXT record (D02).
    NoText {
        /// The name.
        name: DomainName,
    },
    /// The record is elsewhere (D04, D05, D06, D50).
    Misplaced {
        /// Where it should be.
        name: DomainName,
        /// Where it is.
        at: DomainName,
        /// What happened, most likely.
        slip: Slip,
    },
    /// The alias leads elsewhere than it should (D07).
    WrongAlias {
        /// The name with the alias.
        name: DomainName,
        /// Where it leads.
        target: Target,
        /// Where it should.
        wanted: DomainName,
    },
    /// The panel appended the zone to the alias's target (D08).
    ZoneInAlias {
        /// The name with the alias.
        name: DomainName,
        /// Where it leads.
        target: Target,
    },
    /// An address in place of the record: a proxy or a flattened alias (D09).
    Proxied {
        /// The name.
        name: DomainName,
    },
    /// A TXT record where an alias should be (D10).
    RecordBlocksAlias {
        /// The name.
        name: DomainName,
        /// Where the alias should lead.
        wanted: DomainName,
    },
    /// The alias leads to a name without a record (D12).
    DanglingAlias {
        /// The name with the alias.
        name: DomainName,
        /// The name without a record.
        target: DomainName,
    },
    /// Something is wrong with the text of the record (D13 to D38).
    Record {
        /// The name of the record.
        name: DomainName,
        /// Its text.
        text: Box<[u8]>,
        /// What is wrong.
        fault: RecordFault,
    },
    /// One key in several records (D16).
    SplitOverRecords {
        /// The name of the records.
        name: DomainName,
    },
    /// Several TXT records (D17).
    SeveralRecords {
        /// The name of the records.
        name: DomainName,
        /// How many there are.
        count: usize,
    },
    /// A wildcard gives the answer (D29).
    Wildcard {
        /// The name that got the wildcard's answer.
        name: DomainName,
    },
    /// A wildcard answers beside the record (D29).
    WildcardBeside {
        /// The name of the record.
        name: DomainName,
    },
    /// Nobody said whether a wildcard gives the answer (D29).
    WildcardUnknown {
        /// The name of the record.
        name: DomainName,
    },
    /// A server could not or would not answer (D41).
    ServerFailed {
        /// The zone.
        zone: ZoneName,
        /// Its server.
        server: ServerName,
        /// What it answered.
        code: ReplyCode,
    },
    /// A server does not answer (D41).
    ServerSilent {
        /// The zone.
        zone: ZoneName,
        /// Its server.
        server: ServerName,
        /// Why.
        error: ExchangeError,
    },
    /// A server does not answer for the zone (D41).
    ServerLame {
        /// The zone.
        zone: ZoneName,
        /// Its server.
        server: ServerName,
    },
    /// The name of a server has no address (D41).
    ServerWithoutAddress {
        /// The zone.
        zone: ZoneName,
        /// Its server.
        server: ServerName,
    },
    /// Not more than half of the servers answer (D41).
    TooFewAnswers {
        /// The zone.
        zone: ZoneName,
        /// How many servers answer.
        answering: usize,
        /// How many there are.
        servers: usize,
    },
    /// The servers tell different things (D42).
    ServersDisagree {
        /// The name.
        name: DomainName,
        /// Those that do not have the record as it should be.
        wrong: Vec<ServerName>,
    },
    /// A server denies an ancestor of a name that exists (D43).
    AncestorDenied {
        /// The ancestor.
        ancestor: DomainName,
    },
    /// The records are kept at another DNS host than the domain (D44).
    DelegatedBelow {
        /// The zone below the domain.
        zone: DomainName,
    },
    /// The whole answer is not to be had over TCP (D46).
    TcpBroken {
        /// The zone.
        zone: ZoneName,
        /// Its server.
        server: ServerName,
    },
    /// A TTL of more than a day, or of nothing (D47).
    ExtremeTtl {
        /// The name.
        name: DomainName,
        /// In seconds.
        ttl: u32,
    },
    /// The domain does not exist (D48).
    DomainMissing {
        /// The domain, or the ancestor of it that is missing.
        domain: DomainName,
    },
    /// The aliases lead in a circle (D49).
    AliasLoop {
        /// The name to which they come back.
        name: DomainName,
    },
    /// Too many aliases (D49).
    TooManyAliases {
        /// The last one.
        name: DomainName,
    },
    /// The alias leads to something that is no host name (D07).
    AliasToNoName {
        /// The name with the alias.
        name: DomainName,
        /// Where it leads.
        target: Target,
    },
    /// A server's records contradict each other (D10).
    Contradiction {
        /// The name of the records.
        name: DomainName,
    },
    /// The look ran out of packets or time (D41).
    OutOfBudget,
}

impl Finding {
    /// The code in the catalogue of diagnoses.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "D01",
            Self::NoText { .. } => "D02",
            Self::Misplaced { slip: Slip::DomainTwice, .. } => "D04",
            Self::Misplaced { slip: Slip::Label, .. } => "D05",
            Self::Misplaced { slip: Slip::OtherDomain, .. } => "D06",
            Self::Misplaced { slip: Slip::Underscore, .. } => "D50",
            Self::WrongAlias { .. } | Self::AliasToNoName { .. } => "D07",
            Self::ZoneInAlias { .. } => "D08",
            Self::Proxied { .. } => "D09",
            Self::RecordBlocksAlias { .. } | Self::Contradiction { .. } => "D10",
            Self::DanglingAlias { .. } => "D12",
            Self::Record { fault, .. } => fault.code(),
            Self::SplitOverRecords { .. } => "D16",
            Self::SeveralRecords { .. } => "D17",
            Self::Wildcard { .. } | Self::WildcardBeside { .. } | Self::WildcardUnknown { .. } => {
                "D29"
            }
            Self::ServerFailed { .. }
            | Self::ServerSilent { .. }
            | Self::ServerLame { .. }
            | Self::ServerWithoutAddress { .. }
            | Self::TooFewAnswers { .. }
            | Self::OutOfBudget => "D41",
            Self::ServersDisagree { .. } => "D42",
            Self::AncestorDenied { .. } => "D43",
            Self::DelegatedBelow { .. } => "D44",
            Self::TcpBroken { .. } => "D46",
            Self::ExtremeTtl { .. } => "D47",
            Self::DomainMissing { .. } => "D48",
            Self::AliasLoop { .. } | Self::TooManyAliases { .. } => "D49",
        }
    }

    /// How bad it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Self::Record { fault, .. } => fault.severity(),
            Self::DelegatedBelow { .. } => Severity::Info,
            Self::WildcardBeside { .. }
            | Self::ServerFailed { .. }
            | Self::ServerSilent { .. }
            | Self::ServerLame { .. }
            | Self::ServerWithoutAddress { .. }
            | Self::TcpBroken { .. }
            | Self::AncestorDenied { .. }
            | Self::ExtremeTtl { .. } => Severity::Warning,
            Self::Missing { .. }
            | Self::NoText { .. }
            | Self::Misplaced { .. }
            | Self::WrongAlias { .. }
            | Self::ZoneInAlias { .. }
            | Self::Proxied { .. }
            | Self::RecordBlocksAlias { .. }
            | Self::DanglingAlias { .. }
            | Self::SplitOverRecords { .. }
            | Self::SeveralRecords { .. }
            | Self::Wildcard { .. }
            | Self::WildcardUnknown { .. }
            | Self::TooFewAnswers { .. }
            | Self::ServersDisagree { .. }
            | Self::DomainMissing { .. }
            | Self::AliasLoop { .. }
            | Self::TooManyAliases { .. }
            | Self::AliasToNoName { .. }
            | Self::Contradiction { .. }
            | Self::OutOfBudget => Severity::Error,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::Missing { name } => format!("publish the record that is shown at {name}"),
            Self::NoText { name } => {
                format!("add the record that is shown at {name}, and remove others that stand there")
            }
            Self::Misplaced { name, at, slip: Slip::DomainTwice } => format!(
                "enter the name without the domain, which the DNS panel adds by itself: {name} and not {at}"
            ),
            Self::Misplaced { name, at, .. } => {
                format!("move the record from {at} to {name}")
            }
            Self::WrongAlias { name, wanted, .. } => {
                format!("let the CNAME at {name} lead to {wanted}")
            }
            Self::ZoneInAlias { name, .. } => format!(
                "enter the target of the CNAME at {name} with a dot at the end, so that the DNS panel adds nothing"
            ),
            Self::Proxied { name } => format!(
                "switch off proxying and CNAME flattening for {name} at the DNS host (\"DNS only\")"
            ),
            Self::RecordBlocksAlias { name, wanted } => format!(
                "remove the TXT record at {name}, then add the CNAME to {wanted}"
            ),
            Self::DanglingAlias { name, target } => format!(
                "remove the CNAME at {name} if {target} is not yours or ours: whoever publishes there can sign as this domain"
            ),
            Self::Record { fault, .. } => fault.advice().to_owned(),
            Self::SplitOverRecords { name } => {
                format!("enter the key at {name} as one TXT record made of several strings")
            }
            Self::SeveralRecords { name, .. } => {
                format!("leave one TXT record at {name}; receivers take any of several")
            }
            Self::Wildcard { name } | Self::WildcardBeside { name } => format!(
                "publish a record at {name} itself, and narrow the wildcard so that it does not cover _domainkey"
            ),
            Self::WildcardUnknown { .. } => {
                "look again; if it stays so, tell the DNS host that its servers do not answer for names that do not exist".to_owned()
            }
            Self::TooFewAnswers { zone: ZoneName::Root, .. } => {
                "let this host ask DNS servers anywhere over UDP and TCP port 53, without a resolver in between, or name servers in [dns.servers]".to_owned()
            }
            Self::ServerFailed { .. }
            | Self::ServerSilent { .. }
            | Self::ServerLame { .. }
            | Self::ServerWithoutAddress { .. }
            | Self::TooFewAnswers { .. } => {
                "tell the DNS host of the zone, or remove the server from its NS records".to_owned()
            }
            Self::ServersDisagree { .. } => {
                "wait until all servers have the newest zone; if they stay apart, tell the DNS host".to_owned()
            }
            Self::AncestorDenied { .. } => {
                "tell the DNS host that its server breaks RFC 8020; some receivers will not find the key".to_owned()
            }
            Self::DelegatedBelow { zone } => {
                format!("publish the record at the DNS host that serves {zone}")
            }
            Self::TcpBroken { .. } => {
                "let the DNS host open TCP port 53; long records do not fit into one UDP packet".to_owned()
            }
            Self::ExtremeTtl { .. } => "set a TTL of 3600 seconds".to_owned(),
            Self::DomainMissing { domain } => {
                format!("register or renew {domain}, or correct its spelling")
            }
            Self::AliasLoop { .. } | Self::TooManyAliases { .. } | Self::AliasToNoName { .. } => {
                "let the CNAME lead straight to the name that is shown".to_owned()
            }
            Self::Contradiction { name } => {
                format!("leave either one CNAME or one TXT record at {name}")
            }
            Self::OutOfBudget => {
                "look again later; if it stays so, the zone has too many or too slow servers".to_owned()
            }
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { name } => write!(f, "no record is published at {name}"),
            Self::NoText { name } => {
                write!(f, "{name} exists, but not with a key record")
            }
            Self::Misplaced { at, slip, .. } => {
                let what = match slip {
                    Slip::DomainTwice => "with the domain twice in its name",
                    Slip::Label => "under a misspelt name",
                    Slip::Underscore => "under a name without the underscore",
                    Slip::OtherDomain => "under another domain",
                };
                write!(f, "the record was saved {what}, at {at}")
            }
            Self::WrongAlias { name, target, wanted } => {
                write!(f, "the CNAME at {name} leads to {target} and not to {wanted}")
            }
            Self::ZoneInAlias { name, target } => {
                write!(
                    f,
                    "the DNS panel added the zone to the target of the CNAME at {name}: {target}"
                )
            }
            Self::Proxied { name } => {
                write!(f, "{name} has an address in place of the record: the DNS host proxies it")
            }
            Self::RecordBlocksAlias { name, wanted } => {
                write!(f, "a TXT record stands at {name} where the CNAME to {wanted} should be")
            }
            Self::DanglingAlias { name, target } => {
                write!(f, "the CNAME at {name} leads to {target}, where there is no record")
            }
            Self::Record { name, text, fault } => {
                write!(f, "{fault}: \"{}\" at {name}", excerpt(text))
            }
            Self::SplitOverRecords { name } => {
                write!(f, "the key at {name} was saved as several records; it must be one")
            }
            Self::SeveralRecords { name, count } => {
                write!(f, "{name} has {count} TXT records; a selector must have one")
            }
            Self::Wildcard { name } => {
                write!(f, "a wildcard answers for {name}, as it does for any name")
            }
            Self::WildcardBeside { name } => {
                write!(f, "a wildcard answers for names beside {name}")
            }
            Self::WildcardUnknown { name } => {
                write!(
                    f,
                    "no server said whether the record at {name} is its own or that of a wildcard"
                )
            }
            Self::ServerFailed { zone, server, code } => {
                write!(f, "the server {server} of the zone {zone} answers {code}")
            }
            Self::ServerSilent { zone, server, error } => {
                write!(f, "the server {server} of the zone {zone} does not answer: {error}")
            }
            Self::ServerLame { zone, server } => {
                write!(f, "the server {server} is listed for the zone {zone} and does not serve it")
            }
            Self::ServerWithoutAddress { zone, server } => {
                write!(f, "the server {server} of the zone {zone} has no address")
            }
            Self::TooFewAnswers { zone, answering, servers } => {
                write!(f, "of the {servers} servers of the zone {zone} only {answering} answer")
            }
            Self::ServersDisagree { name, wrong } => {
                write!(f, "the DNS servers do not agree on {name}; not as it should be at: ")?;
                for (number, server) in wrong.iter().enumerate() {
                    write!(f, "{}{server}", if number == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Self::AncestorDenied { ancestor } => {
                write!(
                    f,
                    "a DNS server says that {ancestor} does not exist, although names below it do"
                )
            }
            Self::DelegatedBelow { zone } => {
                write!(f, "records below {zone} are kept in a zone of their own")
            }
            Self::TcpBroken { zone, server } => {
                write!(
                    f,
                    "the server {server} of the zone {zone} cuts the record and does not give it over TCP"
                )
            }
            Self::ExtremeTtl { name, ttl } => write!(f, "the TTL of {name} is {ttl} s"),
            Self::DomainMissing { domain } => write!(f, "the domain {domain} does not exist"),
            Self::AliasLoop { name } => write!(f, "the CNAMEs lead in a circle, back to {name}"),
            Self::TooManyAliases { name } => {
                write!(f, "the chain of CNAMEs is too long; it was left at {name}")
            }
            Self::AliasToNoName { name, target } => {
                write!(
                    f,
                    "the CNAME at {name} leads to \"{}\", which is no host name",
                    shown(target.to_string().as_bytes())
                )
            }
            Self::Contradiction { name } => {
                write!(f, "the records at {name} contradict each other")
            }
            Self::OutOfBudget => f.write_str("the look ended before all servers were asked"),
        }
    }
}

//! Mailbox providers whose complaint feedback follows a DKIM signature.
//!
//! Such a provider sends a report to whoever enrolled the `d=` of a signature that verifies; a message
//! to one of its recipients therefore gets a second signature of the platform (row 5 of the rule).
//! Providers are data: a name, domains, MX suffixes, exceptions, and the `d=` that are enrolled.
//!
//! The list of domains comes first. What is known of a recipient's MX adds to it and never overrules an
//! exception: `yahoo.co.jp` is another company, wherever its mail goes. A signature too many costs one
//! field, a missing one costs the complaints. Nothing here asks the DNS.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use postseal_dkim::DomainName;
use thiserror::Error;

/// A mailbox provider with a feedback loop that follows DKIM.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Provider {
    /// What it is called, such as `yahoo`.
    pub name: ProviderName,
    /// Recipient domains that are its own. Compared whole: a subdomain is another domain.
    pub domains: BTreeSet<DomainName>,
    /// Names at or below which its mail exchangers stand.
    pub mx_suffixes: Vec<DomainName>,
    /// Recipient domains that are not its own, with all below them, whatever else says so.
    pub exclusions: Vec<DomainName>,
    /// The `d=` that are enrolled with its loop, whoever owns them. Enrolment is exact.
    pub enrolled: BTreeSet<DomainName>,
}

impl Provider {
    /// A provider of which nothing is known yet.
    #[must_use]
    pub fn new(name: ProviderName) -> Self {
        Self {
            name,
            domains: BTreeSet::new(),
            mx_suffixes: Vec::new(),
            exclusions: Vec::new(),
            enrolled: BTreeSet::new(),
        }
    }

    /// Yahoo Inc. with AOL, Verizon, AT&T and the others whose mail it runs, as of November 2026.
    ///
    /// The AT&T domains have exchangers under `prodigy.net`, which is not only theirs, so that they can
    /// be told by the list alone.
    #[must_use]
    pub fn yahoo() -> Self {
        let names = |texts: &[&str]| -> Vec<DomainName> {
            texts.iter().filter_map(|text| DomainName::parse(text).ok()).collect()
        };
        Self {
            name: ProviderName("yahoo".into()),
            domains: names(YAHOO_DOMAINS).into_iter().collect(),
            mx_suffixes: names(YAHOO_MX_SUFFIXES),
            exclusions: names(YAHOO_EXCLUSIONS),
            enrolled: BTreeSet::new(),
        }
    }

    /// Says whether mail for `recipient` is this provider's, and how that is known.
    ///
    /// `mx` are the names of the domain's mail exchangers, as far as they are known already.
    #[must_use]
    pub fn serves(&self, recipient: &DomainName, mx: Option<&[DomainName]>) -> Served {
        if self.exclusions.iter().any(|excluded| recipient.is_same_or_subdomain_of(excluded)) {
            return Served::Excluded;
        }
        if self.domains.contains(recipient) {
            return Served::ByDomain;
        }
        let is_ours = |host: &DomainName| {
            self.mx_suffixes.iter().any(|suffix| host.is_same_or_subdomain_of(suffix))
        };
        match mx {
            Some(hosts) if hosts.iter().any(is_ours) => Served::ByMx,
            Some(_) => Served::No,
            None if self.mx_suffixes.is_empty() => Served::No,
            None => Served::MxUnknown,
        }
    }
}

/// Whether a recipient's mail is a provider's.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Served {
    /// Its domain is on the list.
    ByDomain,
    /// One of its mail exchangers is under a suffix of the provider.
    ByMx,
    /// Its domain is an exception of the provider.
    Excluded,
    /// Its domain is not on the list, and its exchangers are others.
    No,
    /// Its domain is not on the list, and its exchangers are not known: worth asking for in the
    /// background, and no until then.
    MxUnknown,
}

impl Served {
    /// Says whether the recipient counts as the provider's.
    #[must_use]
    pub const fn is_served(self) -> bool {
        matches!(self, Self::ByDomain | Self::ByMx)
    }
}

/// The name of a provider: lower-case letters, digits and hyphens.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ProviderName(Arc<str>);

impl ProviderName {
    /// Parses a name, in any case.
    pub fn parse(text: &str) -> Result<Self, ProviderNameError> {
        let is_fine = (1..=MAX_PROVIDER_NAME_LEN).contains(&text.len())
            && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
        if is_fine { Ok(Self(text.to_ascii_lowercase().into())) } else { Err(ProviderNameError) }
    }

    /// The name in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for ProviderName {
    type Err = ProviderNameError;

    fn from_str(text: &str) -> Result<Self, ProviderNameError> {
        Self::parse(text)
    }
}

/// A text that cannot be the name of a provider.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("the name of a provider is 1 to {MAX_PROVIDER_NAME_LEN} ASCII letters, digits and hyphens")]
pub struct ProviderNameError;

/// The longest name of a provider. No official reference.
pub const MAX_PROVIDER_NAME_LEN: usize = 32;

/// Yahoo's exchangers for its own brands, then those for its small-business customers.
const YAHOO_MX_SUFFIXES: &[&str] = &["yahoodns.net", "biz.mail.yahoo.com"];

/// Brands of LY Corporation in Japan, which has nothing to do with Yahoo Inc.'s mail.
const YAHOO_EXCLUSIONS: &[&str] = &["yahoo.co.jp", "ymail.ne.jp"];

/// No official reference: Yahoo publishes no list. Gathered from public lists of senders; what is
/// missing here is found by its exchangers.
const YAHOO_DOMAINS: &[&str] = &[
    "yahoo.com",
    "yahoo.at",
    "yahoo.be",
    "yahoo.bg",
    "yahoo.ca",
    "yahoo.ch",
    "yahoo.cl",
    "yahoo.co.id",
    "yahoo.co.il",
    "yahoo.co.in",
    "yahoo.co.kr",
    "yahoo.co.nz",
    "yahoo.co.th",
    "yahoo.co.uk",
    "yahoo.co.za",
    "yahoo.com.ar",
    "yahoo.com.au",
    "yahoo.com.br",
    "yahoo.com.co",
    "yahoo.com.hk",
    "yahoo.com.mx",
    "yahoo.com.my",
    "yahoo.com.pe",
    "yahoo.com.ph",
    "yahoo.com.sg",
    "yahoo.com.tr",
    "yahoo.com.tw",
    "yahoo.com.ve",
    "yahoo.com.vn",
    "yahoo.cz",
    "yahoo.de",
    "yahoo.dk",
    "yahoo.es",
    "yahoo.fi",
    "yahoo.fr",
    "yahoo.gr",
    "yahoo.hu",
    "yahoo.ie",
    "yahoo.in",
    "yahoo.it",
    "yahoo.nl",
    "yahoo.no",
    "yahoo.pl",
    "yahoo.pt",
    "yahoo.ro",
    "yahoo.se",
    "myyahoo.com",
    "rocketmail.com",
    "ymail.com",
    "aim.com",
    "aol.be",
    "aol.ch",
    "aol.cl",
    "aol.co.nz",
    "aol.co.uk",
    "aol.com",
    "aol.com.ar",
    "aol.com.au",
    "aol.com.br",
    "aol.com.co",
    "aol.com.mx",
    "aol.com.tr",
    "aol.com.ve",
    "aol.cz",
    "aol.de",
    "aol.dk",
    "aol.es",
    "aol.fi",
    "aol.fr",
    "aol.hk",
    "aol.in",
    "aol.it",
    "aol.jp",
    "aol.kr",
    "aol.nl",
    "aol.pl",
    "aol.ru",
    "aol.se",
    "aol.tw",
    "compuserve.com",
    "cs.com",
    "games.com",
    "goowy.com",
    "love.com",
    "netscape.net",
    "wow.com",
    "ygm.com",
    "verizon.net",
    "comcast.net",
    "cox.net",
    "frontier.com",
    "frontiernet.net",
    "rogers.com",
    "sky.com",
    "xfinity.com",
    "ameritech.net",
    "att.net",
    "bellsouth.net",
    "flash.net",
    "nvbell.net",
    "pacbell.net",
    "prodigy.net",
    "sbcglobal.net",
    "snet.net",
    "swbell.net",
    "wans.net",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).unwrap()
    }

    #[test]
    fn every_built_in_name_is_a_domain_and_is_there_once() {
        let yahoo = Provider::yahoo();
        assert_eq!(yahoo.domains.len(), YAHOO_DOMAINS.len());
        assert_eq!(yahoo.mx_suffixes.len(), YAHOO_MX_SUFFIXES.len());
        assert_eq!(yahoo.exclusions.len(), YAHOO_EXCLUSIONS.len());
        assert_eq!(yahoo.mx_suffixes[0].as_str(), "yahoodns.net");
        assert!(!yahoo.domains.iter().any(|domain| yahoo.exclusions.contains(domain)));
    }

    #[test]
    fn tells_who_is_at_yahoo() {
        use Served::{ByDomain, ByMx, Excluded, MxUnknown, No};

        let cases: &[(&str, Option<&[&str]>, Served)] = &[
            ("yahoo.com", None, ByDomain),
            ("YAHOO.co.uk", Some(&["mx.elsewhere.example"]), ByDomain),
            ("ymail.com", Some(&[]), ByDomain),
            ("sbcglobal.net", Some(&["ff-ip4-mx-vip1.prodigy.net"]), ByDomain),
            ("shop.example", Some(&["mta7.am0.yahoodns.net"]), ByMx),
            ("shop.example", Some(&["mx.shop.example", "mx-biz.mail.am0.yahoodns.net"]), ByMx),
            ("shop.example", Some(&["mx1.biz.mail.yahoo.com"]), ByMx),
            ("shop.example", Some(&["yahoodns.net"]), ByMx),
            ("shop.example", Some(&["notyahoodns.net"]), No),
            ("shop.example", Some(&["yahoodns.net.evil.example"]), No),
            ("shop.example", Some(&[]), No),
            ("shop.example", None, MxUnknown),
            ("yahoo.com.evil.example", Some(&["mx.evil.example"]), No),
            ("notyahoo.com", Some(&["mx.evil.example"]), No),
            ("mail.yahoo.com", Some(&["mx.evil.example"]), No),
            ("yahoo.co.jp", None, Excluded),
            ("yahoo.co.jp", Some(&["mta7.am0.yahoodns.net"]), Excluded),
            ("mail.yahoo.co.jp", Some(&["mta7.am0.yahoodns.net"]), Excluded),
            ("ymail.ne.jp", Some(&["mta7.am0.yahoodns.net"]), Excluded),
            ("notyahoo.co.jp", Some(&["mta7.am0.yahoodns.net"]), ByMx),
        ];
        let yahoo = Provider::yahoo();
        for &(recipient, mx, want) in cases {
            let mx = mx.map(|hosts| hosts.iter().map(|host| name(host)).collect::<Vec<_>>());
            let got = yahoo.serves(&name(recipient), mx.as_deref());
            assert_eq!(got, want, "{recipient} {mx:?}");
        }
    }

    #[test]
    fn an_exception_wins_over_the_list() {
        let mut provider = Provider::new(ProviderName::parse("Loop").unwrap());
        provider.domains.insert(name("a.example"));
        provider.exclusions.push(name("a.example"));
        assert_eq!(provider.serves(&name("a.example"), None), Served::Excluded);
        assert_eq!(provider.serves(&name("b.example"), None), Served::No);
        assert_eq!(provider.name.as_str(), "loop");
    }
}

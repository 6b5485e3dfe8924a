//! API keys as signing sees them: whose they are, what they are good for, until when and from where.
//!
//! Only their hash is known. Grants have SparkPost's words, so that its client libraries work.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use postseal_dkim::UnixTime;
use thiserror::Error;

use crate::id::TenantId;

/// An API key, of which only the hash is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApiKeyRow {
    /// The SHA-256 of the key.
    pub hash: ApiKeyHash,
    /// On whose behalf it acts.
    pub tenant: TenantId,
    /// What it may be used for.
    pub grants: Grants,
    /// When it stops being taken.
    pub expires_at: Option<UnixTime>,
    /// From where it is taken; from everywhere if there are none.
    pub valid_ips: Arc<[IpRange]>,
}

/// The SHA-256 of an API key. Keys are random, so one hash is enough.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ApiKeyHash(pub [u8; 32]);

impl fmt::Debug for ApiKeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second, ..] = self.0;
        write!(f, "ApiKeyHash({first:02x}{second:02x}…)")
    }
}

macro_rules! grants {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// What an API key may be used for, in SparkPost's words.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Grant {
            $($(#[$doc])* $variant,)*
        }

        impl Grant {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word for it in the API.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

grants! {
    /// Sending by SMTP.
    SmtpInject = "smtp/inject",
    /// Reading transmissions.
    TransmissionsView = "transmissions/view",
    /// Sending and signing over HTTP.
    TransmissionsModify = "transmissions/modify",
    /// Reading sending domains.
    SendingDomainsView = "sending_domains/view",
    /// Changing sending domains.
    SendingDomainsManage = "sending_domains/manage",
    /// Reading pools.
    IpPoolsView = "ip_pools/view",
    /// Changing pools.
    IpPoolsManage = "ip_pools/manage",
    /// Reading subaccounts.
    SubaccountsView = "subaccount/view",
    /// Changing subaccounts.
    SubaccountsManage = "subaccount/manage",
    /// Reading API keys.
    ApiKeysView = "api_keys/view",
    /// Changing API keys.
    ApiKeysManage = "api_keys/manage",
    /// Reading the records of decisions.
    MessageEventsView = "message_events/view",
    /// Reading webhooks.
    WebhooksView = "webhooks/view",
    /// Changing webhooks.
    WebhooksModify = "webhooks/modify",
    /// Reading tracking domains.
    TrackingDomainsView = "tracking_domains/view",
    /// Changing tracking domains.
    TrackingDomainsManage = "tracking_domains/manage",
    /// Changing the suppression list.
    SuppressionListsManage = "suppression_lists/manage",
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Grant {
    type Err = UnknownGrant;

    fn from_str(text: &str) -> Result<Self, UnknownGrant> {
        Self::ALL.iter().copied().find(|grant| grant.as_str() == text).ok_or(UnknownGrant)
    }
}

/// A text that is no grant.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("the grant is not known")]
pub struct UnknownGrant;

/// A set of grants.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Grants(u32);

impl Grants {
    /// Every grant.
    #[must_use]
    pub fn all() -> Self {
        Grant::ALL.iter().copied().collect()
    }

    /// Says whether the grant is in the set.
    #[must_use]
    pub const fn allow(self, grant: Grant) -> bool {
        self.0 & (1 << grant as u32) != 0
    }

    /// The grants in the set.
    pub fn iter(self) -> impl Iterator<Item = Grant> {
        Grant::ALL.iter().copied().filter(move |grant| self.allow(*grant))
    }
}

impl FromIterator<Grant> for Grants {
    fn from_iter<I: IntoIterator<Item = Grant>>(grants: I) -> Self {
        Self(grants.into_iter().fold(0, |set, grant| set | 1 << grant as u32))
    }
}

/// Addresses with a common beginning, such as `192.0.2.0/24`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct IpRange {
    first: IpAddr,
    prefix_len: u8,
}

impl IpRange {
    /// Says whether the address is one of them. An IPv4 address in IPv6 clothes (`::ffff:192.0.2.1`)
    /// is the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let shift = |bits: u32| bits - u32::from(self.prefix_len);
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                let difference = u32::from(first) ^ u32::from(address);
                difference.checked_shr(shift(u32::BITS)).unwrap_or(0) == 0
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                let difference = u128::from(first) ^ u128::from(address);
                difference.checked_shr(shift(u128::BITS)).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = if self.first.is_ipv4() { 32 } else { 128 };
        if self.prefix_len == bits {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}/{}", self.first, self.prefix_len)
        }
    }
}

impl FromStr for IpRange {
    type Err = IpRangeError;

    /// Parses an address, or an address and the length of its prefix behind a slash.
    fn from_str(text: &str) -> Result<Self, IpRangeError> {
        let (address, len) = match text.split_once('/') {
            Some((address, len)) => (address, Some(len)),
            None => (text, None),
        };
        let first: IpAddr = address.trim().parse().map_err(|_| IpRangeError::Address)?;
        let bits = if first.is_ipv4() { 32 } else { 128 };
        let prefix_len: u8 = match len {
            Some(len) => len.trim().parse().map_err(|_| IpRangeError::PrefixLength)?,
            None => bits,
        };
        if prefix_len > bits {
            return Err(IpRangeError::PrefixLength);
        }
        // Addresses are compared as IPv4 where they are, so a range in IPv6 clothes has to be as well.
        match first.to_canonical() {
            canonical @ IpAddr::V4(_) if first.is_ipv6() => {
                let prefix_len =
                    prefix_len.checked_sub(MAPPED_BITS).ok_or(IpRangeError::PrefixLength)?;
                Ok(Self { first: canonical, prefix_len })
            }
            IpAddr::V4(_) | IpAddr::V6(_) => Ok(Self { first, prefix_len }),
        }
    }
}

/// The bits in front of an IPv4 address that is mapped into IPv6 (RFC 4291 §2.5.5.2).
const MAPPED_BITS: u8 = 96;

/// Why a text is not a range of addresses.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum IpRangeError {
    /// No IPv4 or IPv6 address in front.
    #[error("the range does not begin with an IPv4 or IPv6 address")]
    Address,
    /// The part behind the slash is no length that the address can have.
    #[error("the prefix length is not a number from 0 to 32 (IPv4) or 128 (IPv6)")]
    PrefixLength,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_a_set_of_known_words() {
        let grants: Grants = [Grant::SmtpInject, Grant::IpPoolsView].into_iter().collect();
        assert!(grants.allow(Grant::SmtpInject));
        assert!(!grants.allow(Grant::IpPoolsManage));
        for grant in Grant::ALL {
            assert_eq!(grant.as_str().parse(), Ok(*grant));
            assert!(Grants::all().allow(*grant));
        }
        assert_eq!("smtp/anything".parse::<Grant>(), Err(UnknownGrant));
    }

    #[test]
    fn ranges_hold_what_their_prefix_says() {
        let cases = [
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.9/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::1", false),
            ("192.0.2.0/24", "::ffff:192.0.2.1", true),
            ("::ffff:192.0.2.0/120", "192.0.2.255", true),
            ("::ffff:192.0.2.0/120", "192.0.3.0", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.1", false),
        ];
        for (range, address, want) in cases {
            let parsed: IpRange = range.parse().unwrap();
            assert_eq!(parsed.contains(address.parse().unwrap()), want, "{range} {address}");
        }
        let wrong = [
            ("", IpRangeError::Address),
            ("example.com", IpRangeError::Address),
            ("192.0.2.0/33", IpRangeError::PrefixLength),
            ("192.0.2.0/", IpRangeError::PrefixLength),
            ("::/129", IpRangeError::PrefixLength),
            ("::ffff:192.0.2.0/95", IpRangeError::PrefixLength),
        ];
        for (text, want) in wrong {
            assert_eq!(text.parse::<IpRange>(), Err(want), "{text:?}");
        }
    }
}

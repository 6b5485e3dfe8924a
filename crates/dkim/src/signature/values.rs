//! The values of the tags, each by the grammar of its description (§3.5).

use std::fmt;
use std::ops::Range;

use super::error::SignatureError;
use crate::algorithm::Algorithm;
use crate::encoding::{decode_base64, decode_quoted, encode_quoted};
use crate::field::{FieldName, end_of_name};
use crate::name::{DomainName, NameError};
use crate::tag_list::{Tag, TagListError, Tags, trim_fws};
use crate::time::UnixTime;

/// The texts of the tags that matter, each under its name.
#[derive(Default)]
pub(super) struct Texts<'a> {
    pub(super) v: Option<&'a str>,
    pub(super) a: Option<&'a str>,
    pub(super) b: Option<&'a str>,
    pub(super) bh: Option<&'a str>,
    pub(super) c: Option<&'a str>,
    pub(super) d: Option<&'a str>,
    pub(super) h: Option<&'a str>,
    pub(super) i: Option<&'a str>,
    pub(super) l: Option<&'a str>,
    pub(super) q: Option<&'a str>,
    pub(super) s: Option<&'a str>,
    pub(super) t: Option<&'a str>,
    pub(super) x: Option<&'a str>,
    pub(super) z: Option<&'a str>,
    pub(super) span_of_b: Range<usize>,
    /// The names of all other tags, no more of them than a list has.
    unknown: Vec<&'a str>,
}

impl<'a> Texts<'a> {
    pub(super) fn parse(value: &'a [u8]) -> Result<Self, SignatureError> {
        let mut this = Self::default();
        let tags = Tags::of(value).and_then(|mut tags| tags.try_for_each(|tag| this.take(tag?)));
        tags.map_err(SignatureError::TagList)?;
        Ok(this)
    }

    fn take(&mut self, tag: Tag<'a>) -> Result<(), TagListError> {
        let text = match tag.name {
            "v" => &mut self.v,
            "a" => &mut self.a,
            "b" => {
                self.span_of_b = tag.span;
                &mut self.b
            }
            "bh" => &mut self.bh,
            "c" => &mut self.c,
            "d" => &mut self.d,
            "h" => &mut self.h,
            "i" => &mut self.i,
            "l" => &mut self.l,
            "q" => &mut self.q,
            "s" => &mut self.s,
            "t" => &mut self.t,
            "x" => &mut self.x,
            "z" => &mut self.z,
            name if self.unknown.contains(&name) => return Err(TagListError::DuplicateName),
            name => {
                self.unknown.push(name);
                return Ok(());
            }
        };
        match text.replace(tag.value) {
            None => Ok(()),
            Some(_) => Err(TagListError::DuplicateName),
        }
    }
}

/// An algorithm that a verifier knows, `a=`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum SignatureAlgorithm {
    /// `rsa-sha1`, with which nobody may sign any more (RFC 8301 §3.1).
    RsaSha1,
    /// `rsa-sha256` (§3.3.2).
    RsaSha256,
    /// `ed25519-sha256` (RFC 8463 §3).
    Ed25519Sha256,
}

impl SignatureAlgorithm {
    pub(super) fn parse(text: &str) -> Result<Self, SignatureError> {
        // Strings in ABNF ignore case (RFC 5234 §2.3).
        [Self::RsaSha256, Self::Ed25519Sha256, Self::RsaSha1]
            .into_iter()
            .find(|algorithm| algorithm.as_str().eq_ignore_ascii_case(text))
            .ok_or(SignatureError::UnknownAlgorithm)
    }

    /// The value of the tag `a=`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RsaSha1 => "rsa-sha1",
            Self::RsaSha256 => Algorithm::RsaSha256.as_str(),
            Self::Ed25519Sha256 => Algorithm::Ed25519Sha256.as_str(),
        }
    }
}

impl fmt::Display for SignatureAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The AUID, `i=`: the agent or user on whose behalf the domain signs (§3.5).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Identity {
    local_part: Option<Box<[u8]>>,
    domain: DomainName,
}

impl Identity {
    /// An identity that is a whole domain, `@domain`.
    #[must_use]
    pub fn of_domain(domain: DomainName) -> Self {
        Self { local_part: None, domain }
    }

    /// An identity with a local part, which may be any text of up to [`MAX_LOCAL_PART_LEN`] octets.
    pub fn new(local_part: &str, domain: DomainName) -> Result<Self, SignatureError> {
        if local_part.is_empty() || local_part.len() > MAX_LOCAL_PART_LEN {
            return Err(SignatureError::BadIdentity);
        }
        Ok(Self { local_part: Some(local_part.as_bytes().into()), domain })
    }

    pub(super) fn parse(text: &str) -> Result<Self, SignatureError> {
        // A quoted local part may have a sign of its own.
        let (local_part, domain) = text.rsplit_once('@').ok_or(SignatureError::BadIdentity)?;
        let local_part = decode_quoted(local_part).ok_or(SignatureError::BadIdentity)?;
        let domain = strict_domain(domain).map_err(|_| SignatureError::BadIdentity)?;
        let local_part = (!local_part.is_empty()).then(|| local_part.into());
        Ok(Self { local_part, domain })
    }

    /// The local part, decoded, if there is one.
    #[must_use]
    pub fn local_part(&self) -> Option<&[u8]> {
        self.local_part.as_deref()
    }

    /// The domain, which is the signing domain or lies below it.
    #[must_use]
    pub fn domain(&self) -> &DomainName {
        &self.domain
    }

    /// The value of `i=`, in which the local part is in DKIM quoted-printable (§2.11).
    #[must_use]
    pub fn to_tag_value(&self) -> String {
        let local_part = self.local_part.as_deref().map(encode_quoted).unwrap_or_default();
        format!("{local_part}@{}", self.domain)
    }
}

pub(super) fn required<'a>(
    text: Option<&'a str>,
    tag: &'static str,
) -> Result<&'a str, SignatureError> {
    text.ok_or(SignatureError::MissingTag(tag))
}

pub(super) fn base64_value(text: &str, tag: &'static str) -> Result<Vec<u8>, SignatureError> {
    match decode_base64(text) {
        Some(octets) if !octets.is_empty() => Ok(octets),
        Some(_) | None => Err(SignatureError::BadBase64(tag)),
    }
}

pub(super) fn signing_domain(text: &str) -> Result<DomainName, SignatureError> {
    let domain = strict_domain(text).map_err(SignatureError::BadDomain)?;
    // `domain-name` of §3.5 is a sub-domain with at least one more label.
    if domain.label_count() < 2 {
        return Err(SignatureError::SingleLabel);
    }
    Ok(domain)
}

/// A domain as mail writes it: without the trailing dot of DNS tools.
pub(super) fn strict_domain(text: &str) -> Result<DomainName, NameError> {
    if text.ends_with('.') {
        return Err(NameError::EmptyLabel);
    }
    DomainName::parse(text)
}

pub(super) fn signed_fields(text: &str) -> Result<Vec<&str>, SignatureError> {
    let mut names = Vec::with_capacity(TYPICAL_SIGNED_FIELDS);
    let mut has_from = false;
    let mut rest = Some(text);
    while let Some(text) = rest {
        let text = text.trim_ascii_start();
        let end = end_of_name(text.as_bytes()).unwrap_or(text.len());
        let parts = text.split_at_checked(end).filter(|(name, _)| !name.is_empty());
        let (name, after) = parts.ok_or(SignatureError::BadFieldList)?;
        let after = after.trim_ascii_start();
        rest = after.strip_prefix(':');
        if rest.is_none() && !after.is_empty() {
            return Err(SignatureError::BadFieldList);
        }
        if names.len() == MAX_SIGNED_FIELDS {
            return Err(SignatureError::TooManyFields);
        }
        has_from |= FieldName::FROM.matches(name.as_bytes());
        names.push(name);
    }
    if has_from { Ok(names) } else { Err(SignatureError::FromNotSigned) }
}

/// `l=` has up to 76 digits (§3.5). What 64 bits cannot hold is longer than any body.
pub(super) fn body_length(text: &str) -> Result<u64, SignatureError> {
    if text.is_empty() || text.len() > MAX_LENGTH_DIGITS {
        return Err(SignatureError::BadBodyLength);
    }
    digits(text).ok_or(SignatureError::BadBodyLength)
}

pub(super) fn time(text: &str, tag: &'static str) -> Result<UnixTime, SignatureError> {
    if text.is_empty() || text.len() > MAX_TIME_DIGITS {
        return Err(SignatureError::BadTime(tag));
    }
    digits(text).map(UnixTime).ok_or(SignatureError::BadTime(tag))
}

fn digits(text: &str) -> Option<u64> {
    text.chars().try_fold(0_u64, |sum, c| {
        let digit = c.to_digit(10)?;
        Some(sum.saturating_mul(10).saturating_add(u64::from(digit)))
    })
}

/// Unknown methods are ignored as long as there is one that we know (§3.5).
pub(super) fn knows_query_method(methods: &str) -> bool {
    methods.split(':').any(|method| trim_fws(method).eq_ignore_ascii_case("dns/txt"))
}

/// The largest number of names in `h=`. No official reference: real signatures have some dozens.
pub const MAX_SIGNED_FIELDS: usize = 1_000;

/// The longest local part, in octets (RFC 5321 §4.5.3.1.1).
pub const MAX_LOCAL_PART_LEN: usize = 64;

/// The most digits of `l=` (§3.5).
const MAX_LENGTH_DIGITS: usize = 76;

/// The most digits of `t=` and `x=` (§3.5).
const MAX_TIME_DIGITS: usize = 12;

/// Room for the names of most signatures.
const TYPICAL_SIGNED_FIELDS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_read_what_they_write() {
        let domain = DomainName::parse("example.com").unwrap();
        for local in ["joe", "a;b=c", "x@y", "q\r\n: z", "ü"] {
            let identity = Identity::new(local, domain.clone()).unwrap();
            let text = identity.to_tag_value();
            assert!(!text.contains([';', '\r', '\n', ' ']), "{text}");
            assert_eq!(Identity::parse(&text).unwrap(), identity, "{text}");
        }
        assert!(Identity::new(&"a".repeat(65), domain.clone()).is_err());
        assert_eq!(Identity::of_domain(domain).to_tag_value(), "@example.com");
    }
}

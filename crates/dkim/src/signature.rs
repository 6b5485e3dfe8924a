//! The DKIM-Signature field as typed values (§3.5, RFC 8301, RFC 8463, RFC 8616).
//!
//! Parsing checks all that can be known from the field itself: the required tags, the syntax of each,
//! and the rules between them (`i=` under `d=`, `From` in `h=`, `x=` after `t=`). The signature keeps
//! the text it came from, because verification hashes the octets as they were received (§3.7) and not
//! a copy that was written anew.
//!
//! Tags that nobody has registered are ignored (§3.2); Gmail writes some. `z=`, `r=`, `atps=` and
//! `atpsh=` play no part in verifying.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use memchr::memchr_iter;
use thiserror::Error;

use crate::algorithm::{Algorithm, Canonicalization};
use crate::encoding::{decode_base64, decode_quoted, encode_quoted};
use crate::field::FieldName;
use crate::name::{DomainName, NameError, Selector, key_record_name};
use crate::tag_list::{Tag, TagListError, Tags, is_fws};
use crate::time::UnixTime;

/// A DKIM-Signature that keeps the rules of §3.5, whether or not it verifies.
#[derive(Clone, Debug)]
pub struct Signature<'a> {
    signer: Signer<'a>,
    body_hash: Vec<u8>,
    canonicalization: Canonicalization,
    signed_fields: Vec<&'a str>,
    identity: Option<Identity>,
    body_length: Option<u64>,
    expires_at: Option<UnixTime>,
    query_methods: Option<&'a str>,
    copied_fields: Option<&'a str>,
}

impl<'a> Signature<'a> {
    /// Parses the value of a DKIM-Signature field, as it stands after the colon.
    pub fn parse(value: &'a [u8]) -> Result<Self, SignatureError> {
        Self::parse_as(SignatureKind::Dkim, value)
    }

    /// Parses the value of a field of that kind.
    pub(crate) fn parse_as(kind: SignatureKind, value: &'a [u8]) -> Result<Self, SignatureError> {
        let texts = Texts::parse(value)?;
        if kind == SignatureKind::Dkim && required(texts.v, "v")? != "1" {
            return Err(SignatureError::BadVersion);
        }

        let signer = Signer::of(value, &texts)?;
        let body_hash = base64_value(required(texts.bh, "bh")?, "bh")?;
        let signed_fields = signed_fields(required(texts.h, "h")?)?;
        let is_seal = |name: &&str| FieldName::ARC_SEAL.matches(name.as_bytes());
        if kind == SignatureKind::ArcMessage && signed_fields.iter().any(is_seal) {
            return Err(SignatureError::SealInFieldList);
        }

        let canonicalization = match texts.c {
            Some(text) => text.parse().map_err(|_| SignatureError::BadCanonicalization)?,
            None => Canonicalization::SIMPLE,
        };
        let identity = match kind {
            SignatureKind::Dkim => texts.i.map(Identity::parse).transpose()?,
            SignatureKind::ArcMessage => None,
        };
        if let Some(identity) = &identity
            && !identity.domain.is_same_or_subdomain_of(&signer.signing_domain)
        {
            return Err(SignatureError::IdentityOutsideDomain);
        }
        let body_length = texts.l.map(body_length).transpose()?;
        if texts.q.is_some_and(|methods| !knows_query_method(methods)) {
            return Err(SignatureError::UnknownQueryMethod);
        }
        let expires_at = texts.x.map(|text| time(text, "x")).transpose()?;
        if let (Some(signed_at), Some(expires_at)) = (signer.signed_at, expires_at)
            && expires_at <= signed_at
        {
            return Err(SignatureError::ExpiresBeforeSigned);
        }

        Ok(Self {
            signer,
            body_hash,
            canonicalization,
            signed_fields,
            identity,
            body_length,
            expires_at,
            query_methods: texts.q,
            copied_fields: texts.z,
        })
    }

    /// The algorithm, `a=`.
    #[must_use]
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.signer.algorithm
    }

    /// The signature itself, `b=`, decoded.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signer.signature
    }

    /// The hash of the canonical body, `bh=`, decoded.
    #[must_use]
    pub fn body_hash(&self) -> &[u8] {
        &self.body_hash
    }

    /// How header and body are canonicalised, `c=`.
    #[must_use]
    pub fn canonicalization(&self) -> Canonicalization {
        self.canonicalization
    }

    /// The SDID, `d=`.
    #[must_use]
    pub fn signing_domain(&self) -> &DomainName {
        &self.signer.signing_domain
    }

    /// The selector, `s=`.
    #[must_use]
    pub fn selector(&self) -> &Selector {
        &self.signer.selector
    }

    /// The owner name of the key record.
    #[must_use]
    pub fn key_name(&self) -> &DomainName {
        &self.signer.key_name
    }

    /// The names in `h=`, in their order, as they were written.
    #[must_use]
    pub fn signed_fields(&self) -> &[&'a str] {
        &self.signed_fields
    }

    /// The AUID, `i=`, if the signature states one.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// How many octets of the canonical body are signed, `l=`; all of them without it. A number beyond
    /// 64 bits is the largest there is.
    #[must_use]
    pub fn body_length(&self) -> Option<u64> {
        self.body_length
    }

    /// When it was signed, `t=`.
    #[must_use]
    pub fn signed_at(&self) -> Option<UnixTime> {
        self.signer.signed_at
    }

    /// When it expires, `x=`.
    #[must_use]
    pub fn expires_at(&self) -> Option<UnixTime> {
        self.expires_at
    }

    /// The raw text of `q=`: ways to get the key, of which `dns/txt` is one and the only one without it.
    #[must_use]
    pub fn query_methods(&self) -> Option<&'a str> {
        self.query_methods
    }

    /// The raw text of `z=`, copies of header fields for diagnosis. They are never used to verify.
    #[must_use]
    pub fn copied_fields(&self) -> Option<&'a str> {
        self.copied_fields
    }

    /// The names in `h=`, for one who needs them no more.
    pub(crate) fn take_signed_fields(&mut self) -> Vec<&'a str> {
        std::mem::take(&mut self.signed_fields)
    }

    /// What a report says of it.
    pub(crate) fn labels(&self) -> Labels {
        Labels { identity: self.identity.clone(), ..self.signer.labels() }
    }

    /// The value of the field up to the value of `b=`, and from its end on (§3.7).
    #[cfg(any(test, fuzzing))]
    pub(crate) fn around_signature(&self) -> (&'a [u8], &'a [u8]) {
        (self.signer.head, self.signer.tail)
    }

    /// The part that an ARC-Seal has too, and the value of `bh=`.
    pub(crate) fn into_parts(self) -> (Signer<'a>, Vec<u8>) {
        (self.signer, self.body_hash)
    }
}

/// Which field a signature stands in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SignatureKind {
    /// DKIM-Signature.
    Dkim,
    /// ARC-Message-Signature, where `v=` counts for nothing, `i=` is the instance, and `h=` must not
    /// have ARC-Seal (RFC 8617 §4.1.2).
    ArcMessage,
}

/// What every signature field says, an ARC-Seal too: the signature, how it was made, and whose key it
/// needs (§3.5; RFC 8617 §4.1.3).
#[derive(Clone, Debug)]
pub(crate) struct Signer<'a> {
    pub(crate) algorithm: SignatureAlgorithm,
    /// `b=`, decoded.
    pub(crate) signature: Vec<u8>,
    pub(crate) signing_domain: DomainName,
    pub(crate) selector: Selector,
    pub(crate) key_name: DomainName,
    pub(crate) signed_at: Option<UnixTime>,
    /// The value of the field up to the value of `b=` (§3.7).
    pub(crate) head: &'a [u8],
    /// The value of the field from the end of the value of `b=` on.
    pub(crate) tail: &'a [u8],
}

impl<'a> Signer<'a> {
    /// Parses the value of an ARC-Seal. What it says of the chain in `cv=` is not looked at here.
    pub(crate) fn of_seal(value: &'a [u8]) -> Result<Self, SignatureError> {
        let texts = Texts::parse(value)?;
        // RFC 8617 §4.1.3: the fields that a seal covers are given, and `h=` ends the chain.
        if texts.h.is_some() {
            return Err(SignatureError::FieldListInSeal);
        }
        Self::of(value, &texts)
    }

    fn of(value: &'a [u8], texts: &Texts<'a>) -> Result<Self, SignatureError> {
        let algorithm = SignatureAlgorithm::parse(required(texts.a, "a")?)?;
        let signature = base64_value(required(texts.b, "b")?, "b")?;
        let signing_domain = signing_domain(required(texts.d, "d")?)?;
        let selector =
            Selector::parse(required(texts.s, "s")?).map_err(SignatureError::BadSelector)?;
        let key_name =
            key_record_name(&selector, &signing_domain).map_err(SignatureError::BadSelector)?;
        let signed_at = texts.t.map(|text| time(text, "t")).transpose()?;
        let span = texts.span_of_b.clone();
        Ok(Self {
            algorithm,
            signature,
            signing_domain,
            selector,
            key_name,
            signed_at,
            head: value.get(..span.start).unwrap_or_default(),
            tail: value.get(span.end..).unwrap_or_default(),
        })
    }

    /// What a report says of it.
    pub(crate) fn labels(&self) -> Labels {
        Labels {
            signing_domain: Some(self.signing_domain.clone()),
            selector: Some(self.selector.clone()),
            algorithm: Some(self.algorithm.as_str().into()),
            identity: None,
            // It goes on with the signature, which gives it back in the end.
            signature: None,
        }
    }
}

/// The texts of the tags that matter, each under its name.
#[derive(Default)]
struct Texts<'a> {
    v: Option<&'a str>,
    a: Option<&'a str>,
    b: Option<&'a str>,
    bh: Option<&'a str>,
    c: Option<&'a str>,
    d: Option<&'a str>,
    h: Option<&'a str>,
    i: Option<&'a str>,
    l: Option<&'a str>,
    q: Option<&'a str>,
    s: Option<&'a str>,
    t: Option<&'a str>,
    x: Option<&'a str>,
    z: Option<&'a str>,
    span_of_b: Range<usize>,
    /// The names of all other tags, no more of them than a list has.
    unknown: Vec<&'a str>,
}

impl<'a> Texts<'a> {
    fn parse(value: &'a [u8]) -> Result<Self, SignatureError> {
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
    fn parse(text: &str) -> Result<Self, SignatureError> {
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

    fn parse(text: &str) -> Result<Self, SignatureError> {
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

/// What of a signature can be told even where it is malformed, for reports.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Labels {
    pub(crate) signing_domain: Option<DomainName>,
    pub(crate) selector: Option<Selector>,
    pub(crate) algorithm: Option<Cow<'static, str>>,
    pub(crate) identity: Option<Identity>,
    pub(crate) signature: Option<Vec<u8>>,
}

impl Labels {
    /// Reads `d=`, `s=`, `a=`, `i=` and `b=` without asking for more than that each stands there once.
    pub(crate) fn read(value: &[u8]) -> Self {
        Self::of(&LabelTexts::read(value))
    }

    /// The same without names that are not ASCII. To make an A-label of a U-label is work, and of fields that
    /// are not checked there may be thousands.
    pub(crate) fn read_ascii(value: &[u8]) -> Self {
        let LabelTexts { d, s, a, i, b } = LabelTexts::read(value);
        let [d, s, i] = [d, s, i].map(|text| text.filter(|text| text.is_ascii()));
        Self::of(&LabelTexts { d, s, a, i, b })
    }

    fn of(texts: &LabelTexts<'_>) -> Self {
        Self {
            signing_domain: texts.d.and_then(|text| strict_domain(text).ok()),
            selector: texts.s.and_then(|text| Selector::parse(text).ok()),
            algorithm: texts
                .a
                .filter(|text| !text.is_empty() && text.len() <= MAX_ALGORITHM_LEN)
                .filter(|text| text.bytes().all(|o| o.is_ascii_alphanumeric() || o == b'-'))
                .map(|text| text.to_owned().into()),
            identity: texts.i.and_then(|text| Identity::parse(text).ok()),
            signature: texts
                .b
                .filter(|text| text.len() <= MAX_SIGNATURE_TEXT)
                .and_then(|text| base64_value(text, "b").ok()),
        }
    }
}

/// The texts of the tags that a report names, read in one pass.
#[derive(Default)]
pub(crate) struct LabelTexts<'a> {
    pub(crate) d: Option<&'a str>,
    s: Option<&'a str>,
    a: Option<&'a str>,
    i: Option<&'a str>,
    b: Option<&'a str>,
}

impl<'a> LabelTexts<'a> {
    /// A tag that stands there twice, or is not UTF-8, is none.
    pub(crate) fn read(value: &'a [u8]) -> Self {
        #[derive(Clone, Copy)]
        enum Seen<'a> {
            Never,
            Once(&'a [u8]),
            Twice,
        }
        let [mut d, mut s, mut a, mut i, mut b] = [Seen::Never; 5];
        for spec in value.split(|octet| *octet == b';') {
            let Some((name, text)) = memchr::memchr(b'=', spec).map(|at| spec.split_at(at)) else {
                continue;
            };
            let seen = match trimmed(name) {
                b"d" => &mut d,
                b"s" => &mut s,
                b"a" => &mut a,
                b"i" => &mut i,
                b"b" => &mut b,
                _ => continue,
            };
            *seen = match seen {
                Seen::Never => Seen::Once(trimmed(text.get(1..).unwrap_or_default())),
                Seen::Once(_) | Seen::Twice => Seen::Twice,
            };
        }
        let [d, s, a, i, b] = [d, s, a, i, b].map(|seen| match seen {
            Seen::Once(text) => str::from_utf8(text).ok(),
            Seen::Never | Seen::Twice => None,
        });
        Self { d, s, a, i, b }
    }
}

/// Why a DKIM-Signature field cannot be worked with. All are the fault of who signed, or of who
/// changed the field on the way.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum SignatureError {
    /// The field is no tag list.
    #[error("malformed tag list: {0}")]
    TagList(#[source] TagListError),
    /// A required tag is not there.
    #[error("required tag {0}= is missing")]
    MissingTag(&'static str),
    /// `v=` is something else than `1`.
    #[error("v= is not 1")]
    BadVersion,
    /// `a=` is none of the algorithms of DKIM.
    #[error("a= names an unknown algorithm")]
    UnknownAlgorithm,
    /// `b=` or `bh=` is empty or not base64.
    #[error("{0}= is empty or not base64")]
    BadBase64(&'static str),
    /// `c=` names something else than simple and relaxed.
    #[error("c= names an unknown canonicalization")]
    BadCanonicalization,
    /// `d=` is no domain name.
    #[error("d= is not a domain name: {0}")]
    BadDomain(#[source] NameError),
    /// `d=` is a single label.
    #[error("d= has a single label")]
    SingleLabel,
    /// `s=` is no selector, or too long together with `d=`.
    #[error("s= is not a selector: {0}")]
    BadSelector(#[source] NameError),
    /// `h=` is empty or has something that is no field name.
    #[error("h= is not a list of field names")]
    BadFieldList,
    /// `h=` is longer than [`MAX_SIGNED_FIELDS`].
    #[error("h= has more than {MAX_SIGNED_FIELDS} names")]
    TooManyFields,
    /// `From` is not signed (§5.4).
    #[error("From is not in h=")]
    FromNotSigned,
    /// An ARC-Message-Signature signs a seal (RFC 8617 §4.1.2).
    #[error("ARC-Seal is in h=")]
    SealInFieldList,
    /// An ARC-Seal has `h=` (RFC 8617 §4.1.3).
    #[error("an ARC-Seal must not have h=")]
    FieldListInSeal,
    /// `i=` has no domain, or cannot be decoded.
    #[error("i= is not an identity")]
    BadIdentity,
    /// `i=` is neither `d=` nor below it.
    #[error("i= is outside d=")]
    IdentityOutsideDomain,
    /// `l=` is no number.
    #[error("l= is not a number")]
    BadBodyLength,
    /// `q=` names no method we know.
    #[error("q= does not offer dns/txt")]
    UnknownQueryMethod,
    /// `t=` or `x=` is not a time of up to twelve digits.
    #[error("{0}= is not a time")]
    BadTime(&'static str),
    /// `x=` is not after `t=`.
    #[error("x= is not after t=")]
    ExpiresBeforeSigned,
}

impl SignatureError {
    /// The error as a word for programs, which stays as it is once it was released.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TagList(error) => error.code(),
            Self::MissingTag(_) => "missing-tag",
            Self::BadVersion => "bad-version",
            Self::UnknownAlgorithm => "unknown-algorithm",
            Self::BadBase64(_) => "bad-base64",
            Self::BadCanonicalization => "bad-canonicalization",
            Self::BadDomain(_) => "bad-domain",
            Self::SingleLabel => "single-label",
            Self::BadSelector(_) => "bad-selector",
            Self::BadFieldList => "bad-field-list",
            Self::TooManyFields => "too-many-names",
            Self::FromNotSigned => "from-not-signed",
            Self::SealInFieldList => "seal-in-field-list",
            Self::FieldListInSeal => "field-list-in-seal",
            Self::BadIdentity => "bad-identity",
            Self::IdentityOutsideDomain => "identity-outside-domain",
            Self::BadBodyLength => "bad-body-length",
            Self::UnknownQueryMethod => "unknown-query-method",
            Self::BadTime(_) => "bad-time",
            Self::ExpiresBeforeSigned => "expires-before-signed",
        }
    }
}

fn required<'a>(text: Option<&'a str>, tag: &'static str) -> Result<&'a str, SignatureError> {
    text.ok_or(SignatureError::MissingTag(tag))
}

fn base64_value(text: &str, tag: &'static str) -> Result<Vec<u8>, SignatureError> {
    match decode_base64(text) {
        Some(octets) if !octets.is_empty() => Ok(octets),
        Some(_) | None => Err(SignatureError::BadBase64(tag)),
    }
}

fn signing_domain(text: &str) -> Result<DomainName, SignatureError> {
    let domain = strict_domain(text).map_err(SignatureError::BadDomain)?;
    // `domain-name` of §3.5 is a sub-domain with at least one more label.
    if domain.label_count() < 2 {
        return Err(SignatureError::SingleLabel);
    }
    Ok(domain)
}

/// A domain as mail writes it: without the trailing dot of DNS tools.
fn strict_domain(text: &str) -> Result<DomainName, NameError> {
    if text.ends_with('.') {
        return Err(NameError::EmptyLabel);
    }
    DomainName::parse(text)
}

fn signed_fields(text: &str) -> Result<Vec<&str>, SignatureError> {
    let mut names = Vec::with_capacity(TYPICAL_SIGNED_FIELDS);
    let mut has_from = false;
    let mut start = 0;
    for end in memchr_iter(b':', text.as_bytes()).chain([text.len()]) {
        let name = text.get(start..end).unwrap_or_default().trim_ascii();
        start = end + 1;
        if name.is_empty() || !name.bytes().all(|octet| octet.is_ascii_graphic()) {
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
fn body_length(text: &str) -> Result<u64, SignatureError> {
    if text.is_empty() || text.len() > MAX_LENGTH_DIGITS {
        return Err(SignatureError::BadBodyLength);
    }
    digits(text).ok_or(SignatureError::BadBodyLength)
}

fn time(text: &str, tag: &'static str) -> Result<UnixTime, SignatureError> {
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
fn knows_query_method(methods: &str) -> bool {
    methods.split(':').any(|method| method.trim_matches(is_fws).eq_ignore_ascii_case("dns/txt"))
}

fn trimmed(octets: &[u8]) -> &[u8] {
    octets.trim_ascii()
}

/// The largest number of names in `h=`. No official reference: real signatures have some dozens.
pub const MAX_SIGNED_FIELDS: usize = 1_000;

/// The longest local part, in octets (RFC 5321 §4.5.3.1.1).
pub const MAX_LOCAL_PART_LEN: usize = 64;

/// The most digits of `l=` (§3.5).
const MAX_LENGTH_DIGITS: usize = 76;

/// The most digits of `t=` and `x=` (§3.5).
const MAX_TIME_DIGITS: usize = 12;

/// The longest algorithm name that is repeated in a report.
const MAX_ALGORITHM_LEN: usize = 32;

/// The longest text of `b=` that a report names of a signature that is not worked with: that of RSA with 8,192
/// bits takes 1,368 octets and its folds.
const MAX_SIGNATURE_TEXT: usize = 4_096;

/// Room for the names of most signatures.
const TYPICAL_SIGNED_FIELDS: usize = 32;

#[cfg(test)]
mod tests {
    use super::SignatureError::*;
    use super::*;

    const GOOD: &str = "v=1; a=rsa-sha256; d=example.com; s=s1; h=From:To; bh=MTIz; b=NDU2";

    #[test]
    fn reads_every_tag() {
        let text = " v=1; a=ed25519-sha256; c=relaxed;\r\n\td=Example.COM; s=S1.eu; q=x/y : dns/txt;\
            i=a=3Bb@sub.example.com; t=1700000000; x=1700604800; l=12;\r\n\
            \th=From : to:\r\n\t X-y; z=From:a|To:b; darn=gmail.com;\r\n\
            \tbh=MT\r\n\t Iz ; b=\r\n\t ND U2\r\n\t ; r=y";
        let signature = Signature::parse(text.as_bytes()).unwrap();

        assert_eq!(signature.algorithm(), SignatureAlgorithm::Ed25519Sha256);
        assert_eq!(signature.algorithm().to_string(), "ed25519-sha256");
        assert_eq!(signature.canonicalization().to_string(), "relaxed/simple");
        assert_eq!(signature.signing_domain().as_str(), "example.com");
        assert_eq!(signature.key_name().as_str(), "s1.eu._domainkey.example.com");
        assert_eq!(signature.signed_fields(), ["From", "to", "X-y"]);
        assert_eq!(signature.identity().unwrap().local_part(), Some(&b"a;b"[..]));
        assert_eq!(signature.identity().unwrap().domain().as_str(), "sub.example.com");
        assert_eq!(signature.body_length(), Some(12));
        assert_eq!(signature.signed_at(), Some(UnixTime(1_700_000_000)));
        assert_eq!(signature.expires_at(), Some(UnixTime(1_700_604_800)));
        assert_eq!(signature.copied_fields(), Some("From:a|To:b"));
        assert_eq!(signature.body_hash(), b"123");
        assert_eq!(signature.signature(), b"456");
        let Signer { head, tail, .. } = signature.signer;
        assert!(head.ends_with(b"\tbh=MT\r\n\t Iz ; b="), "{}", head.escape_ascii());
        assert_eq!(tail, b"; r=y");
    }

    #[test]
    fn no_tag_stands_there_twice_known_or_not() {
        let names = ["v", "a", "b", "bh", "c", "d", "h", "i", "l", "q", "s", "t", "x", "z"];
        for name in names.into_iter().chain(["r", "atps", "darn"]) {
            let twice = format!("{name}=1; y=2; {name}=1; {GOOD}");
            let twice = Signature::parse(twice.as_bytes()).err();
            assert_eq!(twice, Some(TagList(TagListError::DuplicateName)), "{name}");
        }
        let unknown = format!("{GOOD}; r=1; atps=2; darn=3");
        assert!(Signature::parse(unknown.as_bytes()).is_ok());
    }

    #[test]
    fn absent_tags_have_their_defaults() {
        let signature = Signature::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(signature.canonicalization(), Canonicalization::SIMPLE);
        assert_eq!(signature.body_length(), None);
        assert_eq!(signature.identity(), None);
        assert_eq!(signature.signed_at(), None);
    }

    #[test]
    fn every_broken_rule_has_its_error() {
        // (what to replace in the good one, by what, the error)
        let cases = [
            ("v=1", "v=2", BadVersion),
            ("v=1", "v=1.0", BadVersion),
            ("v=1", "v=", BadVersion),
            ("v=1; ", "", MissingTag("v")),
            ("v=1", "V=1", MissingTag("v")),
            ("a=rsa-sha256; ", "", MissingTag("a")),
            ("; b=NDU2", "", MissingTag("b")),
            ("bh=MTIz; ", "", MissingTag("bh")),
            ("d=example.com; ", "", MissingTag("d")),
            ("h=From:To; ", "", MissingTag("h")),
            ("s=s1; ", "", MissingTag("s")),
            ("rsa-sha256", "rsa-md5", UnknownAlgorithm),
            ("rsa-sha256", "", UnknownAlgorithm),
            ("NDU2", "ND*2", BadBase64("b")),
            ("NDU2", "", BadBase64("b")),
            ("MTIz", "MTI-", BadBase64("bh")),
            ("MTIz", " ", BadBase64("bh")),
            ("example.com", "com", SingleLabel),
            ("example.com", "exa mple.com", BadDomain(NameError::BadCharacter)),
            ("example.com", "example.com.", BadDomain(NameError::EmptyLabel)),
            ("example.com", "", BadDomain(NameError::Empty)),
            ("s=s1", "s=", BadSelector(NameError::Empty)),
            ("s=s1", "s=a..b", BadSelector(NameError::EmptyLabel)),
            ("s=s1", "s=a/b", BadSelector(NameError::BadCharacter)),
            ("From:To", "To", FromNotSigned),
            ("From:To", "From:", BadFieldList),
            ("From:To", "", BadFieldList),
            ("From:To", "From::To", BadFieldList),
            ("From:To", "From:T o", BadFieldList),
            ("v=1", "v=1; c=relaxed/", BadCanonicalization),
            ("v=1", "v=1; c=nofws", BadCanonicalization),
            ("v=1", "v=1; i=@example.org", IdentityOutsideDomain),
            ("v=1", "v=1; i=a@badexample.com", IdentityOutsideDomain),
            ("v=1", "v=1; i=@com", IdentityOutsideDomain),
            ("v=1", "v=1; i=example.com", BadIdentity),
            ("v=1", "v=1; i==GG@example.com", BadIdentity),
            ("v=1", "v=1; i=", BadIdentity),
            ("v=1", "v=1; l=", BadBodyLength),
            ("v=1", "v=1; l=-1", BadBodyLength),
            ("v=1", "v=1; l=1 2", BadBodyLength),
            ("v=1", "v=1; q=dns/srv", UnknownQueryMethod),
            ("v=1", "v=1; q=", UnknownQueryMethod),
            ("v=1", "v=1; t=", BadTime("t")),
            ("v=1", "v=1; t=-5", BadTime("t")),
            ("v=1", "v=1; x=1234567890123", BadTime("x")),
            ("v=1", "v=1; x=never", BadTime("x")),
            ("v=1", "v=1; t=5; x=5", ExpiresBeforeSigned),
            ("v=1", "v=1; t=5; x=4", ExpiresBeforeSigned),
            ("v=1", "v=1; v=1", TagList(TagListError::DuplicateName)),
            ("v=1", "v=1;;", TagList(TagListError::NoEqualsSign)),
        ];
        for (part, other, want) in cases {
            let text = GOOD.replacen(part, other, 1);
            assert_eq!(Signature::parse(text.as_bytes()).unwrap_err(), want, "{text}");
        }
    }

    #[test]
    fn enormous_lengths_are_read_as_enormous() {
        let text = GOOD.replacen("v=1", &format!("v=1; l={}", "9".repeat(76)), 1);
        assert_eq!(Signature::parse(text.as_bytes()).unwrap().body_length(), Some(u64::MAX));
        let text = GOOD.replacen("v=1", &format!("v=1; l={}", "9".repeat(77)), 1);
        assert_eq!(Signature::parse(text.as_bytes()).unwrap_err(), BadBodyLength);
    }

    #[test]
    fn bounds_the_list_of_fields() {
        let text = |n| GOOD.replacen("From", &vec!["From"; n].join(":"), 1);
        assert!(Signature::parse(text(MAX_SIGNED_FIELDS - 1).as_bytes()).is_ok());
        assert_eq!(
            Signature::parse(text(MAX_SIGNED_FIELDS).as_bytes()).unwrap_err(),
            TooManyFields
        );
    }

    #[test]
    fn labels_are_read_from_broken_signatures() {
        let labels =
            Labels::read(b" v=2;\r\n d = Example.com ; s=s1; a=rsa-md5; i=x@b.c; b=NDU\r\n 2;;; b");
        assert_eq!(labels.signing_domain.unwrap().as_str(), "example.com");
        assert_eq!(labels.selector.unwrap().as_str(), "s1");
        assert_eq!(labels.algorithm.as_deref(), Some("rsa-md5"));
        assert_eq!(labels.identity.unwrap().to_tag_value(), "x@b.c");
        assert_eq!(labels.signature.as_deref(), Some(&b"456"[..]));
        assert_eq!(Labels::read(b"d=a b.c; s=; a=x y; i=a; b=*; a"), Labels::default());
        assert_eq!(Labels::read(b"a= ; d=; s=a..b"), Labels::default());
        // The algorithm goes into reports as it was written, if it is a short word.
        let algorithm = |text: &str| Labels::read(format!("a={text}").as_bytes()).algorithm;
        let longest = "x-".repeat(MAX_ALGORITHM_LEN / 2);
        assert_eq!(algorithm(&longest).as_deref(), Some(&*longest));
        for other in [&*format!("{longest}x"), "rsa_sha256", "rsa\r\n-sha1", "ü"] {
            assert_eq!(algorithm(other), None, "{other}");
        }
        assert_eq!(Labels::read(b"d=a.b; d=a.b; \xff s=1"), Labels::default());
        let international = "d=b\u{fc}cher.example; s=s1; i=@b\u{fc}cher.example".as_bytes();
        let labels = Labels::read(international);
        assert_eq!(labels.signing_domain.unwrap().as_str(), "xn--bcher-kva.example");
        let labels = Labels::read_ascii(international);
        assert_eq!((labels.signing_domain, labels.identity), (None, None));
        assert_eq!(labels.selector.unwrap().as_str(), "s1");
        let long = |len: usize| Labels::read(format!("b={}", "A".repeat(len)).as_bytes()).signature;
        assert!(long(MAX_SIGNATURE_TEXT).is_some() && long(MAX_SIGNATURE_TEXT + 4).is_none());
    }

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

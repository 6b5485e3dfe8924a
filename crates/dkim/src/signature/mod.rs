//! The DKIM-Signature field as typed values (§3.5, RFC 8301, RFC 8463, RFC 8616).
//!
//! Parsing checks all that can be known from the field itself: the required tags, the syntax of each,
//! and the rules between them (`i=` under `d=`, `From` in `h=`, `x=` after `t=`). The signature keeps
//! the text it came from, because verification hashes the octets as they were received (§3.7) and not
//! a copy that was written anew.
//!
//! Tags that nobody has registered are ignored (§3.2); Gmail writes some. `z=`, `r=`, `atps=` and
//! `atpsh=` play no part in verifying.

mod error;
mod labels;
mod values;

pub use self::error::SignatureError;
pub(crate) use self::labels::{LabelTexts, Labels};
pub use self::values::{Identity, MAX_LOCAL_PART_LEN, MAX_SIGNED_FIELDS, SignatureAlgorithm};
use self::values::{
    Texts, base64_value, body_length, knows_query_method, required, signed_fields, signing_domain,
    time,
};
use crate::algorithm::Canonicalization;
use crate::field::FieldName;
use crate::name::{DomainName, Selector, key_record_name};
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
            && !identity.domain().is_same_or_subdomain_of(&signer.signing_domain)
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

    /// The raw text of `z=`, copies of header fields for diagnosis. They are never used to verify;
    /// [`SignatureDetails::copies`](crate::SignatureDetails::copies) has them decoded.
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

#[cfg(test)]
mod tests {
    use super::SignatureError::*;
    use super::*;
    use crate::name::NameError;
    use crate::tag_list::TagListError;

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
        assert_eq!(signature.query_methods(), Some("x/y : dns/txt"));
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
        assert_eq!(signature.expires_at(), None);
        assert_eq!(signature.query_methods(), None);
        assert_eq!(signature.copied_fields(), None);
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
            ("From:To", "From:To x", BadFieldList),
            ("From:To", "From:T\u{fc}", BadFieldList),
            ("From:To", ":From", BadFieldList),
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
        let error = |text: &str| Signature::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error(&text(MAX_SIGNED_FIELDS)), TooManyFields);
        // What stands behind the last one that is taken is not looked at, but that one is.
        let more = |end: &str| text(MAX_SIGNED_FIELDS).replacen(":To", end, 1);
        assert_eq!(error(&more(":To:a b")), TooManyFields);
        assert_eq!(error(&more(":a b")), BadFieldList);
    }
}

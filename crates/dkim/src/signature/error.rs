//! Why a signature field cannot be worked with.

use thiserror::Error;

use super::values::MAX_SIGNED_FIELDS;
use crate::name::NameError;
use crate::tag_list::TagListError;

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

//! The algorithms of a signature, and how they are written (§3.3, §3.4, RFC 8463).
//!
//! [`Algorithm`] has only what may be signed with. A verifier also meets `rsa-sha1`; that is in
//! [`crate::signature::SignatureAlgorithm`].

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A signing algorithm, `a=` (§3.3, RFC 8463 §3).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Algorithm {
    /// `rsa-sha256`: RSASSA-PKCS1-v1_5 with SHA-256 (§3.3.2).
    RsaSha256,
    /// `ed25519-sha256`: PureEdDSA over the SHA-256 digest (RFC 8463 §3).
    Ed25519Sha256,
}

impl Algorithm {
    /// The value of the tag `a=`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RsaSha256 => "rsa-sha256",
            Self::Ed25519Sha256 => "ed25519-sha256",
        }
    }

    /// The value of the tag `k=` of a key record for this algorithm (§3.6.1, RFC 8463 §4).
    #[must_use]
    pub const fn key_type(self) -> &'static str {
        match self {
            Self::RsaSha256 => "rsa",
            Self::Ed25519Sha256 => "ed25519",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        [Self::RsaSha256, Self::Ed25519Sha256]
            .into_iter()
            .find(|algorithm| algorithm.as_str().eq_ignore_ascii_case(text))
            .ok_or(UnknownAlgorithm)
    }
}

/// A text that names no algorithm one may sign with.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("the algorithm is neither rsa-sha256 nor ed25519-sha256")]
pub struct UnknownAlgorithm;

/// One of the two ways to canonicalise a header or a body (§3.4).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Canon {
    /// Tolerates almost no change (§3.4.1, §3.4.3).
    Simple,
    /// Tolerates changes of white space and of the case of field names (§3.4.2, §3.4.4).
    Relaxed,
}

impl Canon {
    /// The word for it in `c=`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Relaxed => "relaxed",
        }
    }

    fn parse(word: &str) -> Result<Self, BadCanonicalization> {
        [Self::Simple, Self::Relaxed]
            .into_iter()
            .find(|canon| canon.as_str().eq_ignore_ascii_case(word))
            .ok_or(BadCanonicalization)
    }
}

impl fmt::Display for Canon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How header and body are canonicalised, `c=` (§3.5).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Canonicalization {
    /// For the header fields, and for the signature's own field.
    pub header: Canon,
    /// For the body.
    pub body: Canon,
}

impl Canonicalization {
    /// `relaxed/relaxed`, with which everybody signs.
    pub const RELAXED: Self = Self { header: Canon::Relaxed, body: Canon::Relaxed };

    /// `simple/simple`, which holds where a signature has no `c=` (§3.5).
    pub const SIMPLE: Self = Self { header: Canon::Simple, body: Canon::Simple };
}

impl fmt::Display for Canonicalization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.header, self.body)
    }
}

impl FromStr for Canonicalization {
    type Err = BadCanonicalization;

    /// Parses `header/body`, or `header` alone, after which the body is `simple` (§3.5).
    fn from_str(text: &str) -> Result<Self, BadCanonicalization> {
        match text.split_once('/') {
            Some((header, body)) => {
                Ok(Self { header: Canon::parse(header)?, body: Canon::parse(body)? })
            }
            None => Ok(Self { header: Canon::parse(text)?, body: Canon::Simple }),
        }
    }
}

/// A text that is no value of `c=`.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error(
    "the canonicalization is not simple or relaxed for the header, and for the body after a slash"
)]
pub struct BadCanonicalization;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonicalizations_read_and_write() {
        let cases = [
            ("simple/simple", Some("simple/simple")),
            ("relaxed/relaxed", Some("relaxed/relaxed")),
            ("simple/relaxed", Some("simple/relaxed")),
            ("relaxed", Some("relaxed/simple")),
            ("simple", Some("simple/simple")),
            ("Relaxed/SIMPLE", Some("relaxed/simple")),
            ("", None),
            ("/", None),
            ("relaxed/", None),
            ("relaxed/simple/simple", None),
            ("nofws", None),
        ];
        for (input, want) in cases {
            let parsed = input.parse::<Canonicalization>().ok().map(|c| c.to_string());
            assert_eq!(parsed.as_deref(), want, "{input:?}");
        }
    }

    #[test]
    fn nobody_signs_with_sha1() {
        assert_eq!("rsa-sha1".parse::<Algorithm>(), Err(UnknownAlgorithm));
        assert_eq!("RSA-SHA256".parse(), Ok(Algorithm::RsaSha256));
    }
}

//! What became of a signature, in one enum, and its one mapping to a word.
//!
//! [`Outcome`] has every reason there is; [`Outcome::result`] sorts them into the words of RFC 8601
//! §2.7.1, which is where SUCCESS, PERMFAIL and TEMPFAIL of §6.1 end up. Its text says the reason to a
//! person, its code says it to a program. Texts may be reworded; codes stay.

use std::fmt;

use thiserror::Error;

use crate::key_record::KeyRecordError;
use crate::public_key::MIN_RSA_BITS;
use crate::signature::SignatureError;

/// What became of a signature, and why.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// The signature and the body hash are right.
    #[error("the signature verifies{0}")]
    Verified(Remarks),

    /// The body is not the one that was signed (§6.1.3).
    #[error("the body hash did not verify: the body was changed after signing")]
    BodyHashMismatch,
    /// The body is shorter than `l=`, and not the one that was signed.
    #[error("the body hash did not verify: the body is shorter than l= says")]
    BodyCut,
    /// The header fields are not those that were signed, or another key signed them (§6.1.3).
    #[error("the signature did not verify: a signed field was changed, or another key signed")]
    SignatureMismatch,

    /// All is right, but nobody may sign with SHA-1 (RFC 8301 §3.1).
    #[error("the signature would verify, but rsa-sha1 counts for nothing any more")]
    Sha1,
    /// All is right, but the key is too short (RFC 8301 §3.2).
    #[error(
        "the signature would verify, but its RSA key of {bits} bits is shorter than {MIN_RSA_BITS}"
    )]
    ShortKey {
        /// The length of the modulus.
        bits: u32,
    },

    /// The field breaks a rule of §3.5.
    #[error("the signature is unusable: {0}")]
    Malformed(#[source] SignatureError),
    /// All is right, but `l=` is more than there is to hash (§3.5).
    #[error("the signature is unusable: l= is longer than the body")]
    LengthBeyondBody,
    /// `x=` has passed (§3.5).
    #[error("the signature has expired")]
    Expired,
    /// The name has no TXT record, or does not exist.
    #[error("there is no key record")]
    NoKey,
    /// The record gives no key.
    #[error("the key record is unusable: {0}")]
    BadKeyRecord(#[source] KeyRecordError),
    /// The key is of another kind than the signature (§6.1.2).
    #[error("the key record has a key of another kind than a= says")]
    KeyTypeMismatch,
    /// The key's `h=` lacks the hash of the signature (§6.1.2).
    #[error("the key record does not allow the hash of this signature")]
    HashNotAllowed,
    /// The key's `s=` is about other services (§6.1.2).
    #[error("the key record is not for mail")]
    NotForEmail,
    /// The key has `t=s`, and `i=` is not exactly in `d=` (§3.6.1).
    #[error("the key record asks for i= to have the domain of d=, which it has not")]
    IdentityNotExact,

    /// No name server answered in time.
    #[error("the key record could not be fetched: the query timed out")]
    KeyTimeout,
    /// A name server failed.
    #[error("the key record could not be fetched: the name server failed")]
    KeyServerFailure,
    /// Nobody gave an answer for the key query.
    #[error("the key record was not fetched")]
    NotAnswered,

    /// Other signatures of this message used up the bound on how many are checked.
    #[error("not checked: the message has more signatures than are looked at")]
    NotChecked,
}

impl Outcome {
    /// The word for this outcome.
    #[must_use]
    pub fn result(&self) -> AuthResult {
        match self {
            Self::Verified(_) => AuthResult::Pass,
            Self::BodyHashMismatch | Self::BodyCut | Self::SignatureMismatch => AuthResult::Fail,
            Self::Sha1 | Self::ShortKey { .. } => AuthResult::Policy,
            Self::Malformed(_)
            | Self::LengthBeyondBody
            | Self::Expired
            | Self::NoKey
            | Self::BadKeyRecord(_)
            | Self::KeyTypeMismatch
            | Self::HashNotAllowed
            | Self::NotForEmail
            | Self::IdentityNotExact => AuthResult::PermError,
            Self::KeyTimeout | Self::KeyServerFailure | Self::NotAnswered => AuthResult::TempError,
            Self::NotChecked => AuthResult::Neutral,
        }
    }

    /// The reason as a word for programs, which stays as it is once it was released.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Verified(_) => "verified",
            Self::BodyHashMismatch => "body-hash-mismatch",
            Self::BodyCut => "body-cut",
            Self::SignatureMismatch => "signature-mismatch",
            Self::Sha1 => "sha1",
            Self::ShortKey { .. } => "short-key",
            Self::Malformed(_) => "malformed-signature",
            Self::LengthBeyondBody => "length-beyond-body",
            Self::Expired => "expired",
            Self::NoKey => "no-key",
            Self::BadKeyRecord(_) => "bad-key-record",
            Self::KeyTypeMismatch => "key-type-mismatch",
            Self::HashNotAllowed => "hash-not-allowed",
            Self::NotForEmail => "not-for-email",
            Self::IdentityNotExact => "identity-not-exact",
            Self::KeyTimeout => "key-timeout",
            Self::KeyServerFailure => "key-server-failure",
            Self::NotAnswered => "key-not-fetched",
            Self::NotChecked => "not-checked",
        }
    }

    /// The code of the rule that is broken, where the reason is that one is: for a malformed signature
    /// and a bad key record.
    #[must_use]
    pub fn cause(&self) -> Option<&'static str> {
        match self {
            Self::Malformed(error) => Some(error.code()),
            Self::BadKeyRecord(error) => Some(error.code()),
            Self::Verified(_)
            | Self::BodyHashMismatch
            | Self::BodyCut
            | Self::SignatureMismatch
            | Self::Sha1
            | Self::ShortKey { .. }
            | Self::LengthBeyondBody
            | Self::Expired
            | Self::NoKey
            | Self::KeyTypeMismatch
            | Self::HashNotAllowed
            | Self::NotForEmail
            | Self::IdentityNotExact
            | Self::KeyTimeout
            | Self::KeyServerFailure
            | Self::NotAnswered
            | Self::NotChecked => None,
        }
    }

    /// Says whether the signature counts.
    #[must_use]
    pub fn is_pass(&self) -> bool {
        self.result() == AuthResult::Pass
    }

    /// Where a name has several key records, the outcome with the lowest rank tells most.
    pub(crate) fn rank(&self) -> u8 {
        match self.result() {
            AuthResult::Pass => 0,
            AuthResult::Policy => 1,
            AuthResult::Fail => 2,
            AuthResult::PermError => 3,
            AuthResult::TempError => 4,
            AuthResult::Neutral => 5,
        }
    }
}

/// What is to be said about a signature that verifies.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Remarks {
    /// How many octets of the canonical body `l=` leaves uncovered, if any.
    pub uncovered: Option<u64>,
    /// Whether the key is marked `t=y`.
    pub is_testing: bool,
    /// Whether `t=` lies in the future.
    pub is_from_future: bool,
}

impl Remarks {
    /// The codes of what is to be said.
    pub fn codes(&self) -> impl Iterator<Item = &'static str> + use<> {
        let Self { uncovered, is_testing, is_from_future } = *self;
        [
            uncovered.map(|_| "body-partly-covered"),
            is_testing.then_some("key-testing"),
            is_from_future.then_some("from-future"),
        ]
        .into_iter()
        .flatten()
    }
}

impl fmt::Display for Remarks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(octets) = self.uncovered {
            write!(f, "; l= leaves the last {octets} octets of the body uncovered")?;
        }
        if self.is_testing {
            f.write_str(TESTING)?;
        }
        if self.is_from_future {
            f.write_str("; t= lies in the future")?;
        }
        Ok(())
    }
}

/// A word of RFC 8601 §2.7.1 for a signature. A message without any has `none`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum AuthResult {
    /// Verified.
    Pass,
    /// Not what was signed.
    Fail,
    /// Verified, and yet not accepted.
    Policy,
    /// Can never verify.
    PermError,
    /// May verify another time.
    TempError,
    /// Nothing is said about it.
    Neutral,
}

impl AuthResult {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Policy => "policy",
            Self::PermError => "permerror",
            Self::TempError => "temperror",
            Self::Neutral => "neutral",
        }
    }
}

impl fmt::Display for AuthResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What is said of a key that is marked `t=y`.
pub(crate) const TESTING: &str = "; the domain is only testing (t=y)";

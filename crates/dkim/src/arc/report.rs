//! What became of a chain: one result, its reason, and what each signature in it is worth.

use std::fmt;

use thiserror::Error;

use super::instance::{Instance, MAX_SETS};
use super::set::{ArcField, ChainStatus};
use crate::outcome::Outcome;
use crate::report::{SignatureReport, Work};

/// What became of the chain of a message.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ArcReport {
    /// The result of the whole chain.
    pub result: ArcResult,
    /// Each set from the first on. Empty where the structure of the chain or its newest `cv=` settles
    /// the result, because then no signature is looked at (RFC 8617 §5.2, steps 1 to 3).
    pub sets: Vec<ArcSetReport>,
    /// What it took.
    pub work: Work,
}

/// What became of one set.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ArcSetReport {
    /// The number of the set.
    pub instance: Instance,
    /// The ARC-Message-Signature. In any set but the newest it may well fail: the handlers after it
    /// may change the message.
    pub message_signature: SignatureReport,
    /// The ARC-Seal.
    pub seal: SignatureReport,
}

/// The Chain Validation Status (RFC 8617 §4.4), and why.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ArcResult {
    /// The message has no ARC field.
    None,
    /// The chain verifies.
    #[non_exhaustive]
    Pass {
        /// How many sets it has.
        sets: usize,
        /// From which set on all ARC-Message-Signatures verify, if not from the first.
        oldest_pass: Option<Instance>,
    },
    /// The chain does not verify. There is no result for "perhaps another time": failures are
    /// permanent, also those of the DNS (RFC 8617 §5.2.1).
    Fail(ArcFailure),
}

impl ArcResult {
    /// The word for it in `cv=` and in `arc=` of Authentication-Results (RFC 8617 §4.4, §6).
    #[must_use]
    pub const fn status(&self) -> ChainStatus {
        match self {
            Self::None => ChainStatus::None,
            Self::Pass { .. } => ChainStatus::Pass,
            Self::Fail(_) => ChainStatus::Fail,
        }
    }

    /// Says whether the chain verifies.
    #[must_use]
    pub const fn is_pass(&self) -> bool {
        matches!(self, Self::Pass { .. })
    }

    /// The value of `header.oldest-pass` for a chain that verifies: the oldest instance from which on
    /// all ARC-Message-Signatures verify, 0 if all do (RFC 8617 §5.2, step 5; §6).
    #[must_use]
    pub fn oldest_pass(&self) -> Option<u8> {
        match self {
            Self::Pass { oldest_pass, .. } => Some(oldest_pass.map_or(0, Instance::get)),
            Self::None | Self::Fail(_) => None,
        }
    }

    /// A short name of the reason that never changes, for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::None => "no-set",
            Self::Pass { .. } => "verified",
            Self::Fail(failure) => failure.code(),
        }
    }
}

impl fmt::Display for ArcResult {
    /// The reason, for a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("the message has no ARC field"),
            Self::Pass { sets, oldest_pass } => {
                let plural = if *sets == 1 { "" } else { "s" };
                write!(f, "the chain of {sets} set{plural} verifies")?;
                if let Some(instance) = oldest_pass {
                    write!(f, "; the message is unchanged only since set {instance}")?;
                }
                Ok(())
            }
            Self::Fail(failure) => failure.fmt(f),
        }
    }
}

/// Why a chain does not verify, in the order in which RFC 8617 §5.2 looks.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ArcFailure {
    /// More than [`MAX_SETS`] fields of one kind (step 1).
    #[error("the message has more than {MAX_SETS} ARC sets")]
    TooManySets,
    /// The newest seal has `cv=fail` (step 2).
    #[error("the newest ARC-Seal, i={instance}, says that the chain was broken when it was made")]
    SealedAsFailed {
        /// The newest set.
        instance: Instance,
    },
    /// `i=` cannot be read, or is not from 1 to [`MAX_SETS`] (step 3; §4.2.1).
    #[error("i= of an {field} is missing, unreadable or not from 1 to {MAX_SETS}")]
    BadInstance {
        /// The kind of the field.
        field: ArcField,
    },
    /// Two fields of a kind in one set (step 3.1).
    #[error("there is more than one {field} with i={instance}")]
    DuplicateField {
        /// The set.
        instance: Instance,
        /// The kind of the fields.
        field: ArcField,
    },
    /// A set lacks one of its fields (step 3.1).
    #[error("there is no {field} with i={instance}")]
    MissingField {
        /// The set.
        instance: Instance,
        /// The kind of the field.
        field: ArcField,
    },
    /// A whole set is not there, though a later one is (step 3.2).
    #[error("there is no ARC set with i={instance}, though there is a later one")]
    MissingSet {
        /// The set.
        instance: Instance,
    },
    /// `cv=` is not `none` in the first set or not `pass` in a later one (step 3.3).
    #[error("{}", wrong_status(*instance, *found))]
    WrongStatus {
        /// The set.
        instance: Instance,
        /// What it says, if that can be read.
        found: Option<ChainStatus>,
    },
    /// The newest ARC-Message-Signature does not verify (step 4).
    #[error("the newest ARC-Message-Signature, i={instance}, does not verify: {outcome}")]
    MessageSignature {
        /// The newest set.
        instance: Instance,
        /// How the signature ended.
        outcome: Outcome,
    },
    /// An ARC-Seal does not verify (step 6); of several the newest.
    #[error("the ARC-Seal i={instance} does not verify: {outcome}")]
    Seal {
        /// The set.
        instance: Instance,
        /// How the seal ended.
        outcome: Outcome,
    },
}

impl ArcFailure {
    /// A short name that never changes, for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooManySets => "too-many-sets",
            Self::SealedAsFailed { .. } => "sealed-as-failed",
            Self::BadInstance { .. } => "bad-instance",
            Self::DuplicateField { .. } => "duplicate-field",
            Self::MissingField { .. } => "missing-field",
            Self::MissingSet { .. } => "missing-set",
            Self::WrongStatus { .. } => "wrong-cv",
            Self::MessageSignature { .. } => "message-signature",
            Self::Seal { .. } => "seal",
        }
    }
}

fn wrong_status(instance: Instance, found: Option<ChainStatus>) -> String {
    let want = if instance == Instance::FIRST { ChainStatus::None } else { ChainStatus::Pass };
    match found {
        Some(found) => format!("the ARC-Seal i={instance} has cv={found}, not cv={want}"),
        None => format!("the ARC-Seal i={instance} has no readable cv=, which has to be {want}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_result_has_its_word_and_its_sentence() {
        let [first, third] = [1, 3].map(|number| Instance::new(number).unwrap());
        let pass = |sets, oldest_pass| ArcResult::Pass { sets, oldest_pass };
        let wrong = |instance, found| ArcResult::Fail(ArcFailure::WrongStatus { instance, found });
        let cases = [
            (ArcResult::None, ChainStatus::None, "no-set", "the message has no ARC field"),
            (pass(1, None), ChainStatus::Pass, "verified", "the chain of 1 set verifies"),
            (
                pass(4, Some(third)),
                ChainStatus::Pass,
                "verified",
                "the chain of 4 sets verifies; the message is unchanged only since set 3",
            ),
            (
                wrong(first, Some(ChainStatus::Pass)),
                ChainStatus::Fail,
                "wrong-cv",
                "the ARC-Seal i=1 has cv=pass, not cv=none",
            ),
            (
                wrong(third, None),
                ChainStatus::Fail,
                "wrong-cv",
                "the ARC-Seal i=3 has no readable cv=, which has to be pass",
            ),
        ];
        for (result, status, code, sentence) in cases {
            assert_eq!((result.status(), result.code()), (status, code));
            assert_eq!(result.to_string(), sentence);
            assert_eq!(result.is_pass(), status == ChainStatus::Pass, "{sentence}");
        }
        assert_eq!(pass(1, None).oldest_pass(), Some(0));
        assert_eq!(pass(4, Some(third)).oldest_pass(), Some(3));
        assert_eq!(ArcResult::None.oldest_pass(), None);
    }
}

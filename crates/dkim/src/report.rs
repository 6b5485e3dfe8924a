//! What became of the signatures of a message, and what it took to find out.
//!
//! A report holds what only the verifying knows: outcomes, hashes, lengths, the key that decided. What
//! stands in the field itself and in the header can be read from them again, by those who want to know:
//! [`SignatureReport::details`]. So a verifier that wants outcomes only pays for no more.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use crate::copies::Copies;
use crate::coverage::Coverage;
use crate::encoding::encode_base64;
use crate::field::Header;
use crate::key_record::{KeyRecord, Mode};
use crate::name::{DomainName, Selector};
use crate::outcome::{Outcome, Remarks, TESTING};
use crate::signature::{Identity, Signature};

/// What became of the signatures of a message.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// One for each DKIM-Signature field, from the top.
    pub signatures: Vec<SignatureReport>,
    /// What it took.
    pub work: Work,
}

impl Report {
    /// Says whether a signature passes.
    #[must_use]
    pub fn has_pass(&self) -> bool {
        self.signatures.iter().any(|signature| signature.outcome.is_pass())
    }
}

/// What became of one signature.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SignatureReport {
    /// The place of the field among [`Header::fields`].
    pub field: usize,
    /// `d=`, if it can be read; of a signature that was not checked only in A-labels, and so `s=` and `i=`.
    pub signing_domain: Option<DomainName>,
    /// `s=`, if it can be read.
    pub selector: Option<Selector>,
    /// `a=`, if it can be read. Of a signature that is not worked with, as it was written.
    pub algorithm: Option<Cow<'static, str>>,
    /// `i=`, if there is one and it can be read. That of a signature that is malformed or was not checked
    /// may lie outside `d=`.
    pub identity: Option<Identity>,
    /// `b=`, decoded, if it can be read.
    pub signature: Option<Vec<u8>>,
    /// How it ended.
    pub outcome: Outcome,
    /// What was hashed for it; none if the header settled how it ended, and for an ARC-Seal, which covers
    /// nothing of the body.
    pub hashed: Option<Hashed>,
    /// The key record that decided; none if no usable one did.
    pub key: Option<KeyRecord>,
}

impl SignatureReport {
    /// Why it ended as it did, in a sentence. One that fails by a key that is marked `t=y` says so, since a
    /// receiver is to treat such a message as one without a signature, also then (§3.6.1).
    #[must_use]
    pub fn reason(&self) -> String {
        let outcome = &self.outcome;
        if self.fails_in_testing() { format!("{outcome}{TESTING}") } else { outcome.to_string() }
    }

    /// The codes of what is remarkable beside the outcome.
    pub fn remarks(&self) -> impl Iterator<Item = &'static str> + use<> {
        let remarks = if let Outcome::Verified(remarks) = self.outcome {
            remarks
        } else {
            Remarks { is_testing: self.fails_in_testing(), ..Remarks::default() }
        };
        remarks.codes()
    }

    fn fails_in_testing(&self) -> bool {
        !self.outcome.is_pass() && self.key.as_ref().is_some_and(|key| key.mode() == Mode::Testing)
    }

    /// Reads the field again, and which fields it covers, from the header that was verified.
    ///
    /// None for a signature that is malformed or was not checked, of which no more is read than what
    /// stands here, and for one of an ARC set, which is no DKIM-Signature.
    #[must_use]
    pub fn details<'a>(&self, header: &Header<'a>) -> Option<SignatureDetails<'a>> {
        if matches!(self.outcome, Outcome::Malformed(_) | Outcome::NotChecked) {
            return None;
        }
        let signature = Signature::parse(header.fields().nth(self.field)?.value()).ok()?;
        let coverage = Coverage::of(&signature, self.field, header);
        let copies = signature.copied_fields().map(|text| Copies::of(text, header));
        Some(SignatureDetails { signature, coverage, copies })
    }
}

/// What can be read from a signature's field and the header it stands in.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SignatureDetails<'a> {
    /// The tags.
    pub signature: Signature<'a>,
    /// Which fields are covered.
    pub coverage: Coverage<'a>,
    /// What is in `z=`, if there is one.
    pub copies: Option<Copies>,
}

impl<'a> SignatureDetails<'a> {
    /// The names in `h=` of which there is a copy in `z=` that the header does not have: by that copy, a field of this
    /// name was changed since, or is gone. Each once, in the order of `h=`. Nothing vouches for the copies.
    pub fn fields_unlike_copies(&self) -> impl Iterator<Item = &'a str> + '_ {
        let copies = self.copies.iter().flat_map(|copies| &copies.fields);
        let missing: HashSet<_> = copies
            .filter(|copy| !copy.is_in_header)
            .map(|copy| copy.name.to_ascii_lowercase())
            .collect();
        let signed = self.coverage.signed.iter().map(|signed| signed.name);
        signed.filter(move |name| missing.contains(&name.to_ascii_lowercase()))
    }
}

/// What was hashed for one signature.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Hashed {
    /// The octets of the canonical header fields, with those of the signature's own (§3.7).
    pub header_octets: u64,
    /// The octets of the canonical body.
    pub body_octets: u64,
    /// How many of those `l=` covers; all without it.
    pub body_octets_covered: u64,
    /// The hash of what is covered of the body, to be compared with `bh=`.
    pub body_hash: BodyHash,
}

/// The hash of a body.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct BodyHash {
    octets: [u8; MAX_HASH_LEN],
    len: usize,
}

impl BodyHash {
    pub(crate) fn new(digest: &[u8]) -> Self {
        let mut octets = [0; MAX_HASH_LEN];
        let len = digest.len().min(MAX_HASH_LEN);
        if let (Some(start), Some(digest)) = (octets.get_mut(..len), digest.get(..len)) {
            start.copy_from_slice(digest);
        }
        Self { octets, len }
    }

    /// The octets, as many as the hash function has.
    #[must_use]
    pub fn as_octets(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or_default()
    }
}

/// In base64, as `bh=` has it.
impl fmt::Display for BodyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&encode_base64(self.as_octets()))
    }
}

impl fmt::Debug for BodyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BodyHash({self})")
    }
}

/// What verifying a message took, counted where it was done.
///
/// Each figure has a bound, whatever the message is: see the table of [the crate](crate#bounds).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Work {
    /// Signatures whose field was read as a whole.
    pub signatures_read: usize,
    /// Key records that were asked for, each name once.
    pub key_queries: usize,
    /// Operations with a public key.
    pub key_operations: usize,
    /// Octets of canonical header fields that were hashed.
    pub header_octets: u64,
    /// Field names that were compared to pick fields.
    pub names_compared: u64,
    /// Octets of the body that were made canonical: the body once for each canonicalization in use.
    pub body_octets_read: u64,
    /// Octets of canonical bodies that were hashed.
    pub body_octets: u64,
}

/// That of SHA-256.
const MAX_HASH_LEN: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_hashes_are_written_as_bh() {
        // §3.4.3: the empty body in SHA-1.
        let sha1 = [
            0xBA, 0x89, 0xAA, 0xD6, 0x80, 0x0A, 0xD5, 0x39, 0xDE, 0x79, 0xB6, 0xFA, 0x15, 0xA1,
            0x5D, 0x4E, 0xA2, 0x69, 0xC7, 0x49,
        ];
        let hash = BodyHash::new(&sha1);
        assert_eq!(hash.as_octets(), sha1);
        assert_eq!(format!("{hash:30}|{hash:?}").len(), 30 + 1 + 28 + 10);
        assert_eq!(BodyHash::new(&[7; 40]).as_octets(), [7; 32]);
    }
}

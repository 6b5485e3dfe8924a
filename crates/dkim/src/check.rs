//! One signature on its way through a message: what the header says at first, and what the body and
//! the key say in the end (§6.1).
//!
//! Both sides use it: the verifier for every signature, and the signer to see whether a message has a
//! valid signature of its own already, in the same pass over the body.
//!
//! ```text
//!   field ──▶ Malformed, Expired                        settled by the header
//!     │
//!     ▼
//!   Pending ── key records ──▶ NoKey, KeyTimeout, …     settled by the answer
//!     │
//!     ▼
//!   body hash, signature ──▶ Verified, Fail, Policy     settled at the end
//! ```

use aws_lc_rs::digest::Digest;

use crate::body_hash::{BodyDigests, BodyHashId, BodyHashes, Hash};
use crate::field::Field;
use crate::header_hash::HeaderHash;
use crate::key_record::{IdentityRule, KeyRecord, Mode, Service};
use crate::outcome::{Outcome, Remarks};
use crate::public_key::MIN_RSA_BITS;
use crate::report::{BodyHash, Hashed, Work};
use crate::selection::FieldIndex;
use crate::signature::{Signature, SignatureAlgorithm};
use crate::time::UnixTime;

/// A signature whose header part is done.
pub(crate) struct Pending {
    algorithm: SignatureAlgorithm,
    signature: Vec<u8>,
    body_hash: Vec<u8>,
    body_length: Option<u64>,
    body: BodyHashId,
    header_digest: Digest,
    header_octets: u64,
    has_exact_identity: bool,
    is_from_future: bool,
}

impl Pending {
    /// Does all that needs only the header. `field` is the one that `signature` was parsed from.
    pub(crate) fn new(
        field: Field<'_>,
        signature: Signature<'_>,
        index: &FieldIndex<'_, '_>,
        bodies: &mut BodyHashes,
        now: UnixTime,
        work: &mut Work,
    ) -> Result<Self, Outcome> {
        if signature.expires_at().is_some_and(|expiry| now > expiry) {
            return Err(Outcome::Expired);
        }
        let hash = Hash::of(signature.algorithm());
        let canonicalization = signature.canonicalization();
        let names = signature.signed_fields().iter().copied();
        let (head, tail) = signature.around_signature();
        let header = HeaderHash::of_fields(canonicalization.header, hash, names, index);
        work.names_compared += header.names_compared();
        let (header_digest, header_octets) = header.finish(field.raw_name(), head, tail);
        work.header_octets += header_octets;
        let has_exact_identity = signature
            .identity()
            .is_none_or(|identity| identity.domain() == signature.signing_domain());
        let (algorithm, body_length) = (signature.algorithm(), signature.body_length());
        let is_from_future = signature.signed_at().is_some_and(|signed_at| signed_at > now);
        let (signature, body_hash) = signature.into_hashes();
        Ok(Self {
            algorithm,
            signature,
            body_hash,
            body_length,
            body: bodies.request(canonicalization.body, hash, body_length),
            header_digest,
            header_octets,
            has_exact_identity,
            is_from_future,
        })
    }

    /// What was hashed.
    pub(crate) fn hashed(&self, bodies: &BodyDigests) -> Hashed {
        let body = bodies.get(self.body);
        Hashed {
            header_octets: self.header_octets,
            body_octets: body.canonical_len,
            body_octets_covered: body.hashed_len,
            body_hash: BodyHash::new(body.digest.as_ref()),
        }
    }

    /// Judges the signature by a key record and the body (§6.1.2, §6.1.3).
    pub(crate) fn judge(
        &self,
        record: &KeyRecord,
        bodies: &BodyDigests,
        work: &mut Work,
    ) -> Outcome {
        let key = record.public_key();
        if !key.fits(self.algorithm) {
            return Outcome::KeyTypeMismatch;
        }
        if !record.allows_hash_of(self.algorithm) {
            return Outcome::HashNotAllowed;
        }
        if record.service() != Service::Email {
            return Outcome::NotForEmail;
        }
        if record.identity_rule() == IdentityRule::Exact && !self.has_exact_identity {
            return Outcome::IdentityNotExact;
        }

        let body = bodies.get(self.body);
        let beyond_body = self.body_length.is_some_and(|length| length > body.canonical_len);
        if body.digest.as_ref() != self.body_hash {
            return if beyond_body { Outcome::BodyCut } else { Outcome::BodyHashMismatch };
        }
        work.key_operations += 1;
        if !key.verifies(self.algorithm, &self.header_digest, &self.signature) {
            return Outcome::SignatureMismatch;
        }
        if beyond_body {
            return Outcome::LengthBeyondBody;
        }
        if self.algorithm == SignatureAlgorithm::RsaSha1 {
            return Outcome::Sha1;
        }
        if let Some(bits) = key.rsa_bits().filter(|bits| *bits < MIN_RSA_BITS) {
            return Outcome::ShortKey { bits };
        }
        Outcome::Verified(Remarks {
            uncovered: self
                .body_length
                .map(|length| body.canonical_len - length)
                .filter(|octets| *octets > 0),
            is_testing: record.mode() == Mode::Testing,
            is_from_future: self.is_from_future,
        })
    }
}

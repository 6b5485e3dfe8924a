//! One signature on its way through a message: what the header says at first, and what the body and
//! the key say in the end (§6.1).
//!
//! All sides use it: the verifiers for every signature, and the signer to see whether a message has a
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
use crate::header_hash::HeaderHashes;
use crate::key_record::{IdentityRule, KeyRecord, Mode, Service};
use crate::outcome::{Outcome, Remarks};
use crate::public_key::MIN_RSA_BITS;
use crate::report::{BodyHash, Hashed, Work};
use crate::signature::{Signature, SignatureAlgorithm, Signer};
use crate::time::UnixTime;

/// A signature whose header part is done.
pub(crate) struct Pending {
    algorithm: SignatureAlgorithm,
    signature: Vec<u8>,
    header_digest: Digest,
    header_octets: u64,
    /// What is signed of the body; nothing by an ARC-Seal (RFC 8617 §4.1.3).
    body: Option<SignedBody>,
    has_exact_identity: bool,
    is_from_future: bool,
}

/// The body as a signature has it.
struct SignedBody {
    /// The value of `bh=`, decoded.
    hash: Vec<u8>,
    /// `l=`
    length: Option<u64>,
    /// The hash of the body that passes by.
    id: BodyHashId,
}

/// A signature of which the header settles how it ends.
pub(crate) struct Settled {
    pub(crate) outcome: Outcome,
    /// The value of `b=`, decoded.
    pub(crate) signature: Vec<u8>,
}

impl Pending {
    /// Does all that needs only the header. `field` is the one that `signature` was parsed from, at
    /// `place` among the fields.
    pub(crate) fn new<'h>(
        place: usize,
        field: Field<'_>,
        mut signature: Signature<'h>,
        headers: &mut HeaderHashes<'h, '_>,
        bodies: &mut BodyHashes,
        now: UnixTime,
    ) -> Result<Self, Settled> {
        if signature.expires_at().is_some_and(|expiry| now > expiry) {
            let signature = signature.into_parts().0.signature;
            return Err(Settled { outcome: Outcome::Expired, signature });
        }
        let hash = Hash::of(signature.algorithm());
        let canonicalization = signature.canonicalization();
        let names = signature.take_signed_fields();
        let header = headers.request(canonicalization.header, hash, names, Some(place));
        let has_exact_identity = signature
            .identity()
            .is_none_or(|identity| identity.domain() == signature.signing_domain());
        let length = signature.body_length();
        let id = bodies.request(canonicalization.body, hash, length);
        let (signer, body_hash) = signature.into_parts();
        let hashed = headers.digest(header, field.raw_name(), signer.head, signer.tail);
        Ok(Self {
            body: Some(SignedBody { hash: body_hash, length, id }),
            has_exact_identity,
            ..Self::of_header(signer, hashed, now)
        })
    }

    /// A signature over nothing but header fields, of which this is the digest, and the octets that it is
    /// about.
    pub(crate) fn of_header(signer: Signer<'_>, hashed: (Digest, u64), now: UnixTime) -> Self {
        let (header_digest, header_octets) = hashed;
        Self {
            algorithm: signer.algorithm,
            signature: signer.signature,
            header_digest,
            header_octets,
            body: None,
            has_exact_identity: true,
            is_from_future: signer.signed_at.is_some_and(|signed_at| signed_at > now),
        }
    }

    /// The value of `b=`, decoded.
    pub(crate) fn into_signature(self) -> Vec<u8> {
        self.signature
    }

    /// What was hashed; none for a signature over nothing of the body.
    pub(crate) fn hashed(&self, bodies: &BodyDigests) -> Option<Hashed> {
        let body = bodies.get(self.body.as_ref()?.id);
        Some(Hashed {
            header_octets: self.header_octets,
            body_octets: body.canonical_len,
            body_octets_covered: body.hashed_len,
            body_hash: BodyHash::new(body.digest.as_ref()),
        })
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

        let body = self.body.as_ref().map(|body| (body, bodies.get(body.id)));
        let beyond_body = body.as_ref().is_some_and(|(signed, found)| {
            signed.length.is_some_and(|length| length > found.canonical_len)
        });
        if body.as_ref().is_some_and(|(signed, found)| found.digest.as_ref() != signed.hash) {
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
            uncovered: body
                .and_then(|(signed, found)| Some(found.canonical_len - signed.length?))
                .filter(|octets| *octets > 0),
            is_testing: record.mode() == Mode::Testing,
            is_from_future: self.is_from_future,
        })
    }
}

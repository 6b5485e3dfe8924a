//! Verifies the chain of a message, in steps, without looking anything up (RFC 8617 §5.2).
//!
//! ```text
//!   ArcVerifier::start(header, now) ──▶ the key queries
//!        │ body(chunk) …    one pass for all sets
//!        │ answer(query, …) in any order, before or after the body
//!        ▼ finish
//!      ArcReport: the result of the chain, and each set from the first on
//! ```
//!
//! An ARC-Message-Signature is verified as a DKIM-Signature is, with the tags that RFC 8617 §4.1.2
//! changes. A seal covers the ARC fields of its own set and of all before it, so one running hash over
//! the sets gives the hash of each seal on the way, and the work grows with the header and not with its
//! square.

use std::fmt;

use super::instance::Instance;
use super::report::{ArcFailure, ArcReport, ArcResult, ArcSetReport};
use super::set::{ArcSet, sets};
use crate::algorithm::Canon;
use crate::body_hash::{BodyHashes, Hash};
use crate::check::Pending;
use crate::field::Header;
use crate::header_hash::HeaderHash;
use crate::key_query::{KeyAnswer, KeyLookups, KeyQuery, KeyQueryId};
use crate::outcome::Outcome;
use crate::report::Work;
use crate::signature::{Labels, SignatureKind, Signer};
use crate::time::UnixTime;
use crate::verify::{Candidate, Start, State};

/// A message whose chain is being verified.
pub struct ArcVerifier {
    chain: Result<Vec<PendingSet>, ArcFailure>,
    bodies: BodyHashes,
    keys: KeyLookups,
    work: Work,
}

/// A set whose header part is done.
struct PendingSet {
    instance: Instance,
    message_signature: Candidate,
    seal: Candidate,
}

impl ArcVerifier {
    /// Reads the chain in a header. Gives the key records that are needed, each name once, and none for
    /// a chain whose structure is broken.
    #[must_use]
    pub fn start(header: &Header<'_>, now: UnixTime) -> (Self, Vec<KeyQuery>) {
        let mut start = Start::new(header, now);
        let chain = sets(header).map(|sets| {
            let message_signatures: Vec<_> =
                sets.iter().map(|set| start.message_signature(set)).collect();
            let seals = seals(&sets, &mut start.keys, &mut start.work, now);
            let parts = sets.iter().zip(message_signatures).zip(seals);
            parts
                .map(|((set, message_signature), seal)| PendingSet {
                    instance: set.instance,
                    message_signature,
                    seal,
                })
                .collect()
        });
        let (bodies, mut keys, work) = start.into_parts();
        let queries = keys.take_queries();
        (Self { chain, bodies, keys, work }, queries)
    }

    /// Takes the next chunk of the body, of any size.
    pub fn body(&mut self, chunk: &[u8]) {
        self.bodies.update(chunk);
    }

    /// Takes the answer to a key query. A second answer to the same query replaces the first.
    pub fn answer(&mut self, query: KeyQueryId, answer: KeyAnswer) {
        self.keys.answer(query, answer);
    }

    /// Ends the body and judges the chain.
    #[must_use]
    pub fn finish(self) -> ArcReport {
        let Self { chain, bodies, keys, mut work } = self;
        let bodies = bodies.finish();
        work.body_octets_read = bodies.octets_read();
        work.body_octets = bodies.octets_hashed();
        let sets = match chain {
            Ok(sets) => sets,
            Err(failure) => {
                let result = ArcResult::Fail(failure);
                return ArcReport { result, sets: Vec::new(), work };
            }
        };
        let sets: Vec<_> = sets
            .into_iter()
            .map(|set| ArcSetReport {
                instance: set.instance,
                message_signature: set.message_signature.report(&keys, &bodies, &mut work),
                seal: set.seal.report(&keys, &bodies, &mut work),
            })
            .collect();
        ArcReport { result: judge(&sets), sets, work }
    }
}

impl fmt::Debug for ArcVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArcVerifier")
            .field("sets", &self.chain.as_ref().map_or(0, Vec::len))
            .finish_non_exhaustive()
    }
}

impl<'a> Start<'_, 'a> {
    fn message_signature(&mut self, set: &ArcSet<'a>) -> Candidate {
        let placed = set.message_signature;
        self.candidate(SignatureKind::ArcMessage, placed.place, placed.field)
    }
}

/// Reads the seals and hashes what each covers (RFC 8617 §5.1.1).
fn seals(
    sets: &[ArcSet<'_>],
    keys: &mut KeyLookups,
    work: &mut Work,
    now: UnixTime,
) -> Vec<Candidate> {
    let signers: Vec<_> = sets.iter().map(|set| Signer::of_seal(set.seal.field.value())).collect();
    let is_used = |hash: &Hash| signers.iter().flatten().any(|by| Hash::of(by.algorithm) == *hash);
    let mut covered: Vec<_> = [Hash::Sha256, Hash::Sha1]
        .into_iter()
        .filter(is_used)
        .map(|hash| (hash, HeaderHash::new(Canon::Relaxed, hash)))
        .collect();
    let mut seals = Vec::with_capacity(sets.len());
    for (set, signer) in sets.iter().zip(signers) {
        let (place, field) = (set.seal.place, set.seal.field);
        for (_, header) in &mut covered {
            header.push(set.results.field);
            header.push(set.message_signature.field);
        }
        seals.push(match signer {
            Ok(signer) => {
                let hash = Hash::of(signer.algorithm);
                let (_, header) = covered
                    .iter_mut()
                    .find(|(of, _)| *of == hash)
                    .expect("there is a running hash for each that a seal uses");
                let before = header.octets();
                let hashed = header.digest(field.raw_name(), signer.head, signer.tail);
                work.header_octets += hashed.1 - before;
                let (labels, query) = (signer.labels(), keys.ask(&signer.key_name));
                let pending = Pending::of_header(signer, hashed, now);
                Candidate { place, labels, state: State::Pending(Box::new(pending), query) }
            }
            Err(error) => Candidate {
                place,
                labels: Labels::read(field.value()),
                state: State::Settled(Outcome::Malformed(error)),
            },
        });
        for (_, header) in &mut covered {
            header.push(field);
        }
    }
    work.signatures_read += sets.len();
    work.header_octets += covered.iter().map(|(_, header)| header.octets()).sum::<u64>();
    seals
}

/// Steps 4 to 7 of RFC 8617 §5.2, for sets whose structure is right.
fn judge(sets: &[ArcSetReport]) -> ArcResult {
    let Some(newest) = sets.last() else { return ArcResult::None };
    let outcome = newest.message_signature.outcome;
    if !outcome.is_pass() {
        return ArcResult::Fail(ArcFailure::MessageSignature {
            instance: newest.instance,
            outcome,
        });
    }
    if let Some(set) = sets.iter().rev().find(|set| !set.seal.outcome.is_pass()) {
        let (instance, outcome) = (set.instance, set.seal.outcome);
        return ArcResult::Fail(ArcFailure::Seal { instance, outcome });
    }
    let oldest_pass = sets
        .iter()
        .rev()
        .take_while(|set| set.message_signature.outcome.is_pass())
        .last()
        .map(|set| set.instance)
        .filter(|instance| *instance != Instance::FIRST);
    ArcResult::Pass { sets: sets.len(), oldest_pass }
}

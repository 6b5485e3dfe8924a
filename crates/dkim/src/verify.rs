//! Verifies the signatures of a message, in steps, without looking anything up (§6.1).
//!
//! ```text
//!   Verifier::start(header, rules, now) ──▶ the key queries
//!        │ body(chunk) …    one pass for all signatures
//!        │ answer(query, …) in any order, before or after the body
//!        ▼ finish
//!      Report: an outcome for each DKIM-Signature field, from the top
//! ```
//!
//! Work is bounded by [`VerifyRules::max_signatures`]. Where a message has more, those whose `d=` is
//! aligned with the domain in From go first, since nobody else's count for DMARC.

use crate::body_hash::{BodyDigests, BodyHashes};
use crate::check::Pending;
use crate::field::{Field, FieldName, Header};
use crate::key_record::{KeyRecord, KeyRecordError};
use crate::name::DomainName;
use crate::outcome::Outcome;
use crate::report::{Report, SignatureReport, Work};
use crate::selection::FieldIndex;
use crate::signature::{Labels, Signature};
use crate::time::UnixTime;

/// How a verifier works.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct VerifyRules {
    /// How many signatures of a message are checked.
    pub max_signatures: usize,
}

impl Default for VerifyRules {
    fn default() -> Self {
        Self { max_signatures: MAX_SIGNATURES }
    }
}

/// A message that is being verified.
pub struct Verifier {
    candidates: Vec<Candidate>,
    bodies: BodyHashes,
    answers: Vec<Option<KeyAnswer>>,
    work: Work,
}

impl Verifier {
    /// Reads the signatures in a header. Gives the key records that are needed, each name once.
    #[must_use]
    pub fn start(header: &Header<'_>, rules: &VerifyRules, now: UnixTime) -> (Self, Vec<KeyQuery>) {
        let mut start = Start {
            header,
            now,
            index: None,
            bodies: BodyHashes::default(),
            work: Work::default(),
        };
        let mut queries: Vec<KeyQuery> = Vec::new();
        let fields: Vec<_> = header
            .fields()
            .enumerate()
            .filter(|(_, field)| field.is_named(&FieldName::DKIM_SIGNATURE))
            .collect();
        let chosen = choose(&fields, header, rules.max_signatures);
        let candidates = fields
            .iter()
            .zip(chosen)
            .map(|((place, field), choice)| match choice {
                Choice::Check => start.candidate(*place, *field, &mut queries),
                Choice::Leave => Candidate {
                    place: *place,
                    labels: Labels::read(field.value()),
                    state: State::Settled(Outcome::NotChecked),
                },
            })
            .collect();
        let answers = queries.iter().map(|_| None).collect();
        let Start { index, bodies, mut work, .. } = start;
        work.key_queries = queries.len();
        work.names_compared += index.map_or(0, |index| index.names_compared());
        (Self { candidates, bodies, answers, work }, queries)
    }

    /// Takes the next chunk of the body, of any size.
    pub fn body(&mut self, chunk: &[u8]) {
        self.bodies.update(chunk);
    }

    /// Takes the answer to a key query. A second answer to the same query replaces the first.
    pub fn answer(&mut self, query: KeyQueryId, answer: KeyAnswer) {
        if let Some(slot) = self.answers.get_mut(query.0) {
            *slot = Some(answer);
        }
    }

    /// Ends the body and judges the signatures.
    #[must_use]
    pub fn finish(self) -> Report {
        let Self { candidates, bodies, answers, mut work } = self;
        let bodies = bodies.finish();
        let signatures = candidates
            .into_iter()
            .map(|Candidate { place, labels, state }| {
                let (outcome, hashed, key) = match state {
                    State::Settled(outcome) => (outcome, None, None),
                    State::Pending(pending, query) => {
                        let (outcome, key) = match answers.get(query.0) {
                            Some(Some(answer)) => answer.judge(&pending, &bodies, &mut work),
                            Some(None) | None => (Outcome::NotAnswered, None),
                        };
                        (outcome, Some(pending.hashed(&bodies)), key)
                    }
                };
                let Labels { signing_domain, selector, algorithm, identity, signature } = labels;
                SignatureReport {
                    field: place,
                    signing_domain,
                    selector,
                    algorithm,
                    identity,
                    signature,
                    outcome,
                    hashed,
                    key,
                }
            })
            .collect();
        work.body_octets_read = bodies.octets_read();
        work.body_octets = bodies.octets_hashed();
        Report { signatures, work }
    }
}

/// A key record that the verifier needs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyQuery {
    /// To name it in the answer.
    pub id: KeyQueryId,
    /// Whose TXT records are asked for.
    pub name: DomainName,
}

/// Names a key query of one verifier.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct KeyQueryId(usize);

/// What the DNS says to a key query.
#[derive(Clone, Debug)]
pub enum KeyAnswer {
    /// The TXT records at the name, read. There should be one (§3.6.2.2).
    Records(Vec<Result<KeyRecord, KeyRecordError>>),
    /// The name does not exist or has no TXT record.
    NoRecord,
    /// A name server failed (SERVFAIL, REFUSED and the like).
    ServerFailure,
    /// No name server answered in time.
    Timeout,
}

impl KeyAnswer {
    /// Reads the texts of TXT records, each with its strings joined. Looks at [`MAX_KEY_RECORDS`].
    pub fn from_texts<T: AsRef<[u8]>>(texts: impl IntoIterator<Item = T>) -> Self {
        let records: Vec<_> = texts
            .into_iter()
            .take(MAX_KEY_RECORDS)
            .map(|text| KeyRecord::parse(text.as_ref()))
            .collect();
        if records.is_empty() { Self::NoRecord } else { Self::Records(records) }
    }

    /// Tries the records, which §6.1.2 leaves to the verifier, until one passes or [`MAX_KEYS_TRIED`]
    /// did not. Gives the outcome that tells most, and the record that it is about.
    fn judge(
        &self,
        pending: &Pending,
        bodies: &BodyDigests,
        work: &mut Work,
    ) -> (Outcome, Option<KeyRecord>) {
        let records = match self {
            Self::Records(records) => records,
            Self::NoRecord => return (Outcome::NoKey, None),
            Self::ServerFailure => return (Outcome::KeyServerFailure, None),
            Self::Timeout => return (Outcome::KeyTimeout, None),
        };
        let bound = work.key_operations + MAX_KEYS_TRIED;
        let mut best: Option<(Outcome, Option<&KeyRecord>)> = None;
        for record in records.iter().take(MAX_KEY_RECORDS) {
            let one = match record {
                Ok(record) => (pending.judge(record, bodies, work), Some(record)),
                Err(error) => (Outcome::BadKeyRecord(*error), None),
            };
            if best.as_ref().is_none_or(|(outcome, _)| one.0.rank() < outcome.rank()) {
                best = Some(one);
            }
            if one.0.is_pass() || work.key_operations == bound {
                break;
            }
        }
        let (outcome, record) = best.unwrap_or((Outcome::NoKey, None));
        (outcome, record.cloned())
    }
}

struct Candidate {
    place: usize,
    labels: Labels,
    state: State,
}

enum State {
    Settled(Outcome),
    Pending(Box<Pending>, KeyQueryId),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Choice {
    Check,
    Leave,
}

/// What the reading of all signatures shares.
struct Start<'s, 'a> {
    header: &'s Header<'a>,
    now: UnixTime,
    /// Made when the first signature needs it.
    index: Option<FieldIndex<'s, 'a>>,
    bodies: BodyHashes,
    work: Work,
}

impl Start<'_, '_> {
    fn candidate(
        &mut self,
        place: usize,
        field: Field<'_>,
        queries: &mut Vec<KeyQuery>,
    ) -> Candidate {
        self.work.signatures_read += 1;
        let signature = match Signature::parse(field.value()) {
            Ok(signature) => signature,
            Err(error) => {
                let labels = Labels::read(field.value());
                return Candidate {
                    place,
                    labels,
                    state: State::Settled(Outcome::Malformed(error)),
                };
            }
        };
        let labels = Labels {
            signing_domain: Some(signature.signing_domain().clone()),
            selector: Some(signature.selector().clone()),
            algorithm: Some(signature.algorithm().as_str().into()),
            identity: signature.identity().cloned(),
            signature: Some(signature.signature().into()),
        };
        let key_name = signature.key_name().clone();
        let header = self.header;
        let index = self.index.get_or_insert_with(|| FieldIndex::new(header));
        let pending =
            Pending::new(field, signature, index, &mut self.bodies, self.now, &mut self.work);
        let state = match pending {
            Ok(pending) => State::Pending(Box::new(pending), query(queries, key_name)),
            Err(outcome) => State::Settled(outcome),
        };
        Candidate { place, labels, state }
    }
}

/// The query for that name, an old one or a new one.
fn query(queries: &mut Vec<KeyQuery>, name: DomainName) -> KeyQueryId {
    match queries.iter().find(|query| query.name == name) {
        Some(query) => query.id,
        None => {
            let id = KeyQueryId(queries.len());
            queries.push(KeyQuery { id, name });
            id
        }
    }
}

/// Decides which signatures are checked: all of them up to the bound, else the aligned ones first and
/// then from the top.
fn choose(fields: &[(usize, Field<'_>)], header: &Header<'_>, bound: usize) -> Vec<Choice> {
    if fields.len() <= bound {
        return vec![Choice::Check; fields.len()];
    }
    let author = author_domain(header);
    let is_aligned = |field: &Field<'_>| {
        let (Some(author), Some(signer)) = (&author, Labels::read(field.value()).signing_domain)
        else {
            return false;
        };
        author.is_same_or_subdomain_of(&signer) || signer.is_same_or_subdomain_of(author)
    };
    let aligned: Vec<bool> = fields.iter().map(|(_, field)| is_aligned(field)).collect();
    let mut choices = vec![Choice::Leave; fields.len()];
    let mut left = bound;
    for wanted in [true, false] {
        for (choice, is_aligned) in choices.iter_mut().zip(&aligned) {
            if *is_aligned == wanted && left > 0 {
                *choice = Choice::Check;
                left -= 1;
            }
        }
    }
    choices
}

/// The domain behind the last `@` of the lowest From field. It only puts signatures into an order, so
/// no more care is needed.
fn author_domain(header: &Header<'_>) -> Option<DomainName> {
    let value = header.matching(&FieldName::FROM).next()?.value();
    let at = memchr::memrchr(b'@', value)?;
    let domain = value.get(at + 1..)?.trim_ascii_start();
    let is_end = |octet: &u8| octet.is_ascii_whitespace() || matches!(octet, b'>' | b',' | b';');
    let end = domain.iter().position(is_end).unwrap_or(domain.len());
    DomainName::parse(str::from_utf8(domain.get(..end)?).ok()?).ok()
}

/// How many signatures of a message are checked unless the caller says otherwise. §6.1 leaves it to
/// the verifier; mail has one to three, and a message that went through many lists some more.
pub const MAX_SIGNATURES: usize = 15;

/// How many TXT records of one name are read. There should be one (§3.6.2.2); some names also have
/// records that are about other things.
pub const MAX_KEY_RECORDS: usize = 8;

/// How many keys of one name are worked with: as many as stand there while somebody replaces a key
/// under the same selector. An operation with the longest keys takes milliseconds.
pub const MAX_KEYS_TRIED: usize = 2;

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

use std::fmt;

use crate::body_hash::{BodyDigests, BodyHashes};
use crate::check::Pending;
use crate::field::{Field, FieldName, Header};
use crate::header_hash::HeaderHashes;
use crate::key_query::{KeyAnswer, KeyLookups, KeyQuery, KeyQueryId};
use crate::name::DomainName;
use crate::outcome::Outcome;
use crate::report::{Report, SignatureReport, Work};
use crate::signature::{LabelTexts, Labels, Signature, SignatureKind};
use crate::time::UnixTime;

/// How a verifier works.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct VerifyRules {
    /// How many signatures of a message are checked. The work grows with its square, since each may differ
    /// from all others in what it covers; hundreds are fine.
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
    keys: KeyLookups,
    work: Work,
}

impl Verifier {
    /// Reads the signatures in a header. Gives the key records that are needed, each name once.
    ///
    /// `now` is the time by which `t=` and `x=` are judged: that at which the message came in, also where it is
    /// verified later (§3.5 `x=`).
    #[must_use]
    pub fn start(header: &Header<'_>, rules: &VerifyRules, now: UnixTime) -> (Self, Vec<KeyQuery>) {
        let mut start = Start::new(header, now);
        let fields = || {
            let fields = header.fields().enumerate();
            fields.filter(|(_, field)| field.is_named(&FieldName::DKIM_SIGNATURE))
        };
        let count = header.count(&FieldName::DKIM_SIGNATURE);
        let mut candidates = Vec::with_capacity(count);
        if count <= rules.max_signatures {
            candidates.extend(
                fields().map(|(place, field)| start.candidate(SignatureKind::Dkim, place, field)),
            );
        } else {
            let choices = choose(fields().map(|(_, field)| field), header, rules.max_signatures);
            for ((place, field), choice) in fields().zip(choices) {
                candidates.push(match choice {
                    Choice::Check => start.candidate(SignatureKind::Dkim, place, field),
                    Choice::Leave => Candidate {
                        place,
                        labels: Labels::read_ascii(field.value()),
                        state: State::Settled(Outcome::NotChecked),
                    },
                });
            }
        }
        let (bodies, mut keys, work) = start.into_parts();
        let queries = keys.take_queries();
        (Self { candidates, bodies, keys, work }, queries)
    }

    /// Takes the next chunk of the body, of any size.
    pub fn body(&mut self, chunk: &[u8]) {
        self.bodies.update(chunk);
    }

    /// Takes the answer to a key query. A second answer to the same query replaces the first.
    pub fn answer(&mut self, query: KeyQueryId, answer: KeyAnswer) {
        self.keys.answer(query, answer);
    }

    /// Ends the body and judges the signatures.
    #[must_use]
    pub fn finish(self) -> Report {
        let Self { candidates, bodies, keys, mut work } = self;
        let bodies = bodies.finish();
        let signatures = candidates
            .into_iter()
            .map(|candidate| candidate.report(&keys, &bodies, &mut work))
            .collect();
        work.body_octets_read = bodies.octets_read();
        work.body_octets = bodies.octets_hashed();
        Report { signatures, work }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("signatures", &self.candidates.len())
            .finish_non_exhaustive()
    }
}

/// A signature field on its way to a report.
pub(crate) struct Candidate {
    /// Its place among [`Header::fields`].
    pub(crate) place: usize,
    pub(crate) labels: Labels,
    pub(crate) state: State,
}

impl Candidate {
    pub(crate) fn report(
        self,
        keys: &KeyLookups,
        bodies: &BodyDigests,
        work: &mut Work,
    ) -> SignatureReport {
        let Self { place, labels, state } = self;
        let Labels { signing_domain, selector, algorithm, identity, mut signature } = labels;
        let (outcome, hashed, key) = match state {
            State::Settled(outcome) => (outcome, None, None),
            State::Pending(pending, query) => {
                let (outcome, key) = keys.judge(query, &pending, bodies, work);
                let hashed = pending.hashed(bodies);
                signature = Some(pending.into_signature());
                (outcome, hashed, key)
            }
        };
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
    }
}

/// How far a signature has come.
pub(crate) enum State {
    /// Nothing more is needed to say how it ends.
    Settled(Outcome),
    /// It waits for the body and the key.
    Pending(Box<Pending>, KeyQueryId),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Choice {
    Check,
    Leave,
}

/// What the reading of all signatures shares.
pub(crate) struct Start<'s, 'a> {
    header: &'s Header<'a>,
    now: UnixTime,
    /// Made when the first signature needs it.
    headers: Option<HeaderHashes<'s, 'a>>,
    pub(crate) bodies: BodyHashes,
    pub(crate) keys: KeyLookups,
    pub(crate) work: Work,
}

impl<'s, 'a> Start<'s, 'a> {
    pub(crate) fn new(header: &'s Header<'a>, now: UnixTime) -> Self {
        Self {
            header,
            now,
            headers: None,
            bodies: BodyHashes::default(),
            keys: KeyLookups::default(),
            work: Work::default(),
        }
    }

    /// What it took so far, and the parts that go on.
    pub(crate) fn into_parts(self) -> (BodyHashes, KeyLookups, Work) {
        let Self { headers, bodies, keys, mut work, .. } = self;
        work.key_queries = keys.len();
        if let Some(headers) = headers {
            work.names_compared += headers.names_compared();
            work.header_octets += headers.octets();
        }
        (bodies, keys, work)
    }

    /// Does what can be done by the header for the signature in a field of that kind.
    pub(crate) fn candidate(
        &mut self,
        kind: SignatureKind,
        place: usize,
        field: Field<'a>,
    ) -> Candidate {
        self.work.signatures_read += 1;
        let signature = match Signature::parse_as(kind, field.value()) {
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
        let (mut labels, key_name) = (signature.labels(), signature.key_name().clone());
        let header = self.header;
        let headers = self.headers.get_or_insert_with(|| HeaderHashes::new(header));
        let pending = Pending::new(place, field, signature, headers, &mut self.bodies, self.now);
        let state = match pending {
            Ok(pending) => State::Pending(Box::new(pending), self.keys.ask(&key_name)),
            Err(settled) => {
                labels.signature = Some(settled.signature);
                State::Settled(settled.outcome)
            }
        };
        Candidate { place, labels, state }
    }
}

/// Decides which of too many signatures are checked: the aligned ones first, and then from the top.
fn choose<'a>(
    fields: impl Iterator<Item = Field<'a>>,
    header: &Header<'_>,
    bound: usize,
) -> Vec<Choice> {
    let author = author_domain(header);
    // A few may be written in U-labels; to read those of thousands would be work.
    let mut international = 0;
    let mut is_aligned = |field: &Field<'_>| {
        let (Some(author), Some(text)) = (&author, LabelTexts::read(field.value()).d) else {
            return false;
        };
        if !text.is_ascii() {
            international += 1;
            if international > bound {
                return false;
            }
        }
        // One of a single label cannot be valid.
        let signer = DomainName::parse(text).ok().filter(|signer| signer.label_count() > 1);
        signer.is_some_and(|signer| {
            author.is_same_or_subdomain_of(&signer) || signer.is_same_or_subdomain_of(author)
        })
    };
    let aligned: Vec<bool> = fields.map(|field| is_aligned(&field)).collect();
    let mut choices = vec![Choice::Leave; aligned.len()];
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

/// The domain behind the last `@` of the lowest From field, outside comments and quotes if there is one. It only
/// puts signatures into an order, so no more care is needed.
fn author_domain(header: &Header<'_>) -> Option<DomainName> {
    let value = header.matching(&FieldName::FROM).next()?.value();
    let at = last_at(value).or_else(|| memchr::memrchr(b'@', value))?;
    let domain = value.get(at + 1..)?.trim_ascii_start();
    let is_end =
        |octet: &u8| octet.is_ascii_whitespace() || matches!(octet, b'>' | b',' | b';' | b'(');
    let end = domain.iter().position(is_end).unwrap_or(domain.len());
    DomainName::parse(str::from_utf8(domain.get(..end)?).ok()?).ok()
}

/// The place of the last `@` that stands neither in a comment nor in a quoted string (RFC 5322 §3.2.2, §3.2.4).
fn last_at(value: &[u8]) -> Option<usize> {
    let (mut at, mut comments, mut is_quoted) = (None, 0_usize, false);
    let mut octets = value.iter().enumerate();
    while let Some((place, octet)) = octets.next() {
        match octet {
            b'\\' => {
                octets.next();
            }
            b'"' if comments == 0 => is_quoted = !is_quoted,
            b'(' if !is_quoted => comments += 1,
            // In quotes there is no comment.
            b')' => comments = comments.saturating_sub(1),
            b'@' if comments == 0 && !is_quoted => at = Some(place),
            _ => {}
        }
    }
    at
}

/// How many signatures of a message are checked unless the caller says otherwise. §6.1 leaves it to
/// the verifier; mail has one to three, and a message that went through many lists some more.
pub const MAX_SIGNATURES: usize = 15;

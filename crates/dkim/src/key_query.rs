//! The key records that a message needs, and what the DNS says (§3.6.2, §6.1.2).
//!
//! This crate looks nothing up: whoever verifies gets the queries and brings the answers, in any order.
//! Each name is asked for once, however many signatures need it.

use std::sync::Arc;

use crate::body_hash::BodyDigests;
use crate::check::Pending;
use crate::key_record::{KeyRecord, KeyRecordError};
use crate::name::DomainName;
use crate::outcome::Outcome;
use crate::report::Work;

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

/// What the DNS says to a key query. Cloning is cheap, as it is kept for many messages.
#[derive(Clone, Debug)]
pub enum KeyAnswer {
    /// The TXT records at the name, read. There should be one (§3.6.2.2).
    Records(Arc<[Result<KeyRecord, KeyRecordError>]>),
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
        let records: Arc<[_]> = texts
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

/// The queries of one message and their answers.
#[derive(Default)]
pub(crate) struct KeyLookups {
    queries: Vec<KeyQuery>,
    answers: Vec<Option<KeyAnswer>>,
}

impl KeyLookups {
    /// The query for that name, an old one or a new one.
    pub(crate) fn ask(&mut self, name: &DomainName) -> KeyQueryId {
        match self.queries.iter().find(|query| query.name == *name) {
            Some(query) => query.id,
            None => {
                let id = KeyQueryId(self.queries.len());
                self.queries.push(KeyQuery { id, name: name.clone() });
                self.answers.push(None);
                id
            }
        }
    }

    /// How many queries there are.
    pub(crate) fn len(&self) -> usize {
        self.queries.len()
    }

    /// All queries, in the order in which they came up. There can be no more of them.
    pub(crate) fn take_queries(&mut self) -> Vec<KeyQuery> {
        std::mem::take(&mut self.queries)
    }

    /// Takes an answer. A second one to the same query replaces the first.
    pub(crate) fn answer(&mut self, query: KeyQueryId, answer: KeyAnswer) {
        if let Some(slot) = self.answers.get_mut(query.0) {
            *slot = Some(answer);
        }
    }

    /// Judges a signature by the answer to its query; gives the key record too that the outcome is about.
    pub(crate) fn judge(
        &self,
        query: KeyQueryId,
        pending: &Pending,
        bodies: &BodyDigests,
        work: &mut Work,
    ) -> (Outcome, Option<KeyRecord>) {
        match self.answers.get(query.0) {
            Some(Some(answer)) => answer.judge(pending, bodies, work),
            Some(None) | None => (Outcome::NotAnswered, None),
        }
    }
}

/// How many TXT records of one name are read. There should be one (§3.6.2.2); some names also have
/// records that are about other things.
pub const MAX_KEY_RECORDS: usize = 8;

/// How many keys of one name are worked with: as many as stand there while somebody replaces a key
/// under the same selector. An operation with the longest keys takes milliseconds.
pub const MAX_KEYS_TRIED: usize = 2;

//! Signatures made by hand, and what the verifier says about them.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postseal_dkim::{
    Algorithm, Header, KeyAnswer, Outcome, Remarks, UnixTime, Verifier, VerifyRules,
    key_record_text,
};

/// When all here happens.
pub(crate) const NOW: UnixTime = UnixTime(1_790_000_000);

/// What every signature has.
pub(crate) const TAGS: &str = "v=1; a=ed25519-sha256; d=example.com; s=s1; h=From";

/// A header that is canonical in both ways.
pub(crate) const FROM: &str = "from:Joe <joe@example.com>\r\n";

/// A body that is canonical in both ways.
pub(crate) const BODY: &str = "Hello\r\n";

static KEY: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[42; 32]).unwrap());

/// The record of the key.
pub(crate) fn record() -> String {
    key_record_text(Algorithm::Ed25519Sha256, KEY.public_key().as_ref())
}

/// The value of `bh=` for a canonical body.
pub(crate) fn body_hash(canonical: &[u8]) -> String {
    STANDARD.encode(digest(&SHA256, canonical))
}

/// The value of `b=` for what is hashed of the header. RFC 8463 §3: the digest is what Ed25519 signs.
pub(crate) fn signature(hashed: &[u8]) -> String {
    signature_over(digest(&SHA256, hashed).as_ref())
}

/// The value of `b=` for these octets as they are.
pub(crate) fn signature_over(octets: &[u8]) -> String {
    STANDARD.encode(KEY.sign(octets))
}

/// A signature field with these tags over these canonical fields and this canonical body. It has no
/// folds and only single spaces, so that both canonicalizations leave it as it is.
pub(crate) fn field(tags: &str, header: &str, body: &str) -> String {
    let unsigned = format!("dkim-signature:{tags}; bh={}; b=", body_hash(body.as_bytes()));
    let signature = signature(format!("{header}{unsigned}").as_bytes());
    format!("{unsigned}{signature}\r\n")
}

/// The outcome of each signature of a message, from the top, for these key records.
pub(crate) fn outcomes(message: &[u8], answer: &KeyAnswer) -> Vec<Outcome> {
    let (header, body) = Header::of_message(message).unwrap();
    let (mut verifier, queries) = Verifier::start(&header, &VerifyRules::default(), NOW);
    for query in queries {
        verifier.answer(query.id, answer.clone());
    }
    verifier.body(body);
    verifier.finish().signatures.into_iter().map(|signature| signature.outcome).collect()
}

/// The outcome of the only signature of a message, by the key above.
pub(crate) fn outcome(message: impl AsRef<[u8]>) -> Outcome {
    outcome_by(&record(), message)
}

/// The outcome of the only signature of a message, by this key record.
pub(crate) fn outcome_by(record: &str, message: impl AsRef<[u8]>) -> Outcome {
    let outcomes = outcomes(message.as_ref(), &KeyAnswer::from_texts([record]));
    assert_eq!(outcomes.len(), 1);
    outcomes[0]
}

/// The key record and the message of a file in `testdata/vectors`.
pub(crate) fn record_and_message(vector: &str) -> (&str, String) {
    let (head, message) = vector.split_once("\n\n").unwrap();
    let key = head.lines().find_map(|line| line.strip_prefix("key: ")).unwrap();
    let (_, record) = key.split_once(' ').unwrap();
    (record, message.replace('\n', "\r\n"))
}

/// The outcome of a signature with these tags over From and body as they are.
pub(crate) fn outcome_of(tags: &str) -> Outcome {
    outcome(format!("{}{FROM}\r\n{BODY}", field(tags, FROM, BODY)))
}

/// The outcome of a signature that verifies, with nothing to be said about it.
pub(crate) fn pass() -> Outcome {
    Outcome::Verified(Remarks::default())
}

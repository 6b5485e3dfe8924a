//! Every rule of verifying (§6.1) on signatures that are cryptographically right.
//!
//! The signer writes no `l=` and no broken rule, so the signatures here are made by hand: a header
//! field with any tags, its hash by the text of §3.7, and an Ed25519 key.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postseal_dkim::{
    AuthResult, Header, KeyAnswer, KeyRecordError, MAX_SIGNATURES, Outcome, Remarks, Report,
    SignatureError, UnixTime, Verifier, VerifyRules, key_record_text, split_message,
};

static KEY: LazyLock<Ed25519KeyPair> = LazyLock::new(|| Ed25519KeyPair::generate().unwrap());

const NOW: UnixTime = UnixTime(1_790_000_000);

/// The header of every message here, and the form in which both canonicalizations hash From.
const HEADER: &str = "from:Joe <joe@example.com>\r\n";

const BODY: &str = "Hello\r\n";

fn record() -> String {
    key_record_text("ed25519-sha256".parse().unwrap(), KEY.public_key().as_ref())
}

/// A DKIM-Signature field with these tags, over the header above and the first `signed` octets of the
/// body. Simple and relaxed agree on it, as it has no folds and single spaces.
fn field(tags: &str, body: &str) -> String {
    let body_hash = STANDARD.encode(digest(&SHA256, body.as_bytes()));
    let unsigned = format!("dkim-signature:{tags}; bh={body_hash}; b=");
    let hash = digest(&SHA256, format!("{HEADER}{unsigned}").as_bytes());
    let signature = STANDARD.encode(KEY.sign(hash.as_ref()));
    format!("{unsigned}{signature}\r\n")
}

const TAGS: &str = "v=1; a=ed25519-sha256; d=example.com; s=s1; h=From";

fn message(field: &str) -> String {
    format!("{field}{HEADER}\r\n{BODY}")
}

fn verify(message: &str, answer: &KeyAnswer) -> Report {
    let (header, body) = split_message(message.as_bytes());
    let header = Header::parse(header).unwrap();
    let (mut verifier, queries) = Verifier::start(&header, &VerifyRules::default(), NOW);
    verifier.body(body);
    for query in queries {
        verifier.answer(query.id, answer.clone());
    }
    verifier.finish()
}

fn outcome_with(field: &str, answer: &KeyAnswer) -> Outcome {
    let report = verify(&message(field), answer);
    assert_eq!(report.signatures.len(), 1);
    report.signatures[0].outcome
}

fn outcome(field: &str) -> Outcome {
    outcome_with(field, &KeyAnswer::from_texts([record()]))
}

fn pass() -> Outcome {
    Outcome::Verified(Remarks::default())
}

#[test]
fn a_right_signature_passes_in_every_canonicalization() {
    for c in ["", "; c=simple", "; c=relaxed", "; c=simple/relaxed", "; c=relaxed/relaxed"] {
        assert_eq!(outcome(&field(&format!("{TAGS}{c}"), BODY)), pass(), "{c}");
    }
}

#[test]
fn tags_may_stand_in_any_order_and_fold() {
    let with_tail = |tail: &str| {
        let unsigned = field(TAGS, BODY);
        let (before, _) = unsigned.split_once(" b=").unwrap();
        let hash = digest(&SHA256, format!("{HEADER}{before} b={tail}").as_bytes());
        let signature = STANDARD.encode(KEY.sign(hash.as_ref()));
        let (one, two) = signature.split_at(40);
        format!("{before} b=\r\n\t{one}\r\n \t{two} {tail}\r\n")
    };
    for tail in ["", ";", "; x=1800000000; darn=example.net", "; b2=x;"] {
        assert_eq!(outcome(&with_tail(tail)), pass(), "{tail}");
    }
}

#[test]
fn changes_are_told_apart() {
    assert_eq!(outcome(&field(TAGS, "Other\r\n")), Outcome::BodyHashMismatch);
    let other = field(TAGS, BODY).replace("s=s1", "s=s2");
    assert_eq!(outcome(&other), Outcome::SignatureMismatch);
}

#[test]
fn lengths_leave_the_rest_of_the_body_open() {
    let with_length =
        |length: u64, signed: &str| outcome(&field(&format!("{TAGS}; l={length}"), signed));
    let uncovered =
        |octets| Outcome::Verified(Remarks { uncovered: Some(octets), ..Remarks::default() });
    assert_eq!(with_length(7, "Hello\r\n"), pass());
    assert_eq!(with_length(5, "Hello"), uncovered(2));
    assert_eq!(with_length(0, ""), uncovered(7));
    assert_eq!(with_length(4, "Help"), Outcome::BodyHashMismatch);
    // Longer than the body: nothing can be right about it.
    assert_eq!(with_length(8, "Hello\r\n"), Outcome::LengthBeyondBody);
    assert_eq!(with_length(8, "Hello\r\nx"), Outcome::BodyCut);
    assert_eq!(with_length(u64::MAX, "Hello\r\n"), Outcome::LengthBeyondBody);
}

#[test]
fn times_are_compared_with_now() {
    let now = NOW.as_secs();
    for (tags, want) in [
        (format!("t={now}"), pass()),
        (format!("x={now}"), pass()),
        (format!("x={}", now - 1), Outcome::Expired),
        (format!("t={}; x={}", now - 9, now - 1), Outcome::Expired),
        (
            format!("t={}", now + 1),
            Outcome::Verified(Remarks { is_from_future: true, ..Remarks::default() }),
        ),
        (format!("t={now}; x={now}"), Outcome::Malformed(SignatureError::ExpiresBeforeSigned)),
    ] {
        assert_eq!(outcome(&field(&format!("{TAGS}; {tags}"), BODY)), want, "{tags}");
    }
}

#[test]
fn an_expired_signature_asks_for_no_key() {
    let message = message(&field(&format!("{TAGS}; x=5"), BODY));
    let (header, _) = split_message(message.as_bytes());
    let header = Header::parse(header).unwrap();
    assert_eq!(Verifier::start(&header, &VerifyRules::default(), NOW).1, []);
}

#[test]
fn answers_decide_in_their_own_ways() {
    let good = record();
    let key = good.strip_prefix("v=DKIM1; ").unwrap();
    let texts = |texts: &[&str]| KeyAnswer::from_texts(texts);
    let testing = Outcome::Verified(Remarks { is_testing: true, ..Remarks::default() });
    let cases = [
        (KeyAnswer::NoRecord, Outcome::NoKey),
        (KeyAnswer::Timeout, Outcome::KeyTimeout),
        (KeyAnswer::ServerFailure, Outcome::KeyServerFailure),
        (KeyAnswer::Records([].into()), Outcome::NoKey),
        (texts(&["v=DKIM1; p="]), Outcome::BadKeyRecord(KeyRecordError::Revoked)),
        (texts(&["v=spf1 -all"]), Outcome::BadKeyRecord(KeyRecordError::BadVersion)),
        (texts(&[&format!("{key}; h=sha1")]), Outcome::HashNotAllowed),
        (texts(&[&format!("{key}; h=sha1:sha256")]), pass()),
        (texts(&[&format!("{key}; s=tlsrpt")]), Outcome::NotForEmail),
        (texts(&[&format!("{key}; t=y")]), testing),
        (texts(&[&format!("{key}; t=s")]), pass()),
        (texts(&[&format!("{key}; t=x:y")]), testing),
        // Several records: the one that fits counts.
        (texts(&["v=spf1 -all", &good]), pass()),
        (texts(&[&good, "v=DKIM1; p="]), pass()),
        (texts(&["v=DKIM1; p=", "hello"]), Outcome::BadKeyRecord(KeyRecordError::Revoked)),
    ];
    let field = field(TAGS, BODY);
    for (answer, want) in cases {
        assert_eq!(outcome_with(&field, &answer), want, "{answer:?}");
    }
}

#[test]
fn a_key_of_another_kind_is_no_key() {
    let rsa = "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQ\
        g1fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0\
        fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB";
    let rsa = KeyAnswer::from_texts([rsa]);
    assert_eq!(outcome_with(&field(TAGS, BODY), &rsa), Outcome::KeyTypeMismatch);
    let claims_rsa = TAGS.replace("ed25519", "rsa");
    assert_eq!(outcome(&field(&claims_rsa, BODY)), Outcome::KeyTypeMismatch);
    assert_eq!(outcome_with(&field(&claims_rsa, BODY), &rsa), Outcome::SignatureMismatch);
}

#[test]
fn strict_keys_want_the_exact_identity() {
    let strict = KeyAnswer::from_texts([format!("{}; t=s", record())]);
    for (identity, want) in [
        ("joe@example.com", pass()),
        ("@EXAMPLE.com", pass()),
        ("joe@sub.example.com", Outcome::IdentityNotExact),
    ] {
        let field = field(&format!("{TAGS}; i={identity}"), BODY);
        assert_eq!(outcome_with(&field, &strict), want, "{identity}");
        assert_eq!(outcome(&field), pass(), "{identity}");
    }
}

#[test]
fn a_query_that_nobody_answers_is_temporary() {
    let message = message(&field(TAGS, BODY));
    let (header, body) = split_message(message.as_bytes());
    let header = Header::parse(header).unwrap();
    let (mut verifier, queries) = Verifier::start(&header, &VerifyRules::default(), NOW);
    assert_eq!(queries[0].name.as_str(), "s1._domainkey.example.com");
    verifier.body(body);
    let outcome = verifier.finish().signatures[0].outcome;
    assert_eq!(outcome, Outcome::NotAnswered);
    assert_eq!(outcome.result(), AuthResult::TempError);
}

#[test]
fn signatures_with_one_key_ask_for_it_once() {
    let one = field(TAGS, BODY);
    let message = message(&format!("{one}{one}{}", field(&TAGS.replace("s1", "s2"), BODY)));
    let (header, _) = split_message(message.as_bytes());
    let header = Header::parse(header).unwrap();
    let (_, queries) = Verifier::start(&header, &VerifyRules::default(), NOW);
    let names: Vec<_> = queries.iter().map(|query| query.name.as_str()).collect();
    assert_eq!(names, ["s1._domainkey.example.com", "s2._domainkey.example.com"]);
}

#[test]
fn a_message_without_signature_has_an_empty_report() {
    assert_eq!(verify(&format!("{HEADER}\r\n{BODY}"), &KeyAnswer::NoRecord).signatures, []);
}

#[test]
fn the_bound_goes_to_aligned_signatures_first() {
    let foreign = field(&TAGS.replace("example.com", "example.net"), BODY);
    let fields = format!(
        "{}{}{}",
        foreign.repeat(MAX_SIGNATURES),
        "DKIM-Signature: nonsense\r\n".repeat(1_000),
        field(TAGS, BODY)
    );
    let report = verify(&message(&fields), &KeyAnswer::from_texts([record()]));

    let results: Vec<_> = report.signatures.iter().map(|s| s.outcome.result()).collect();
    let checked = MAX_SIGNATURES - 1;
    assert_eq!(results[..checked], vec![AuthResult::Pass; checked]);
    assert!(results[checked..results.len() - 1].iter().all(|r| *r == AuthResult::Neutral));
    assert_eq!(results.last(), Some(&AuthResult::Pass));
}

#[test]
fn parts_that_can_be_read_are_reported() {
    let report = verify(
        &message("DKIM-Signature: v=2; d=A.example; s=S; a=rsa-md5\r\n"),
        &KeyAnswer::NoRecord,
    );
    let signature = &report.signatures[0];
    assert_eq!(signature.outcome, Outcome::Malformed(SignatureError::BadVersion));
    assert_eq!(signature.signing_domain.as_ref().unwrap().as_str(), "a.example");
    assert_eq!(signature.selector.as_ref().unwrap().as_str(), "s");
    assert_eq!(signature.algorithm.as_deref(), Some("rsa-md5"));
    assert_eq!(signature.field, 0);
}

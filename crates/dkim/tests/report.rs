//! What a report tells beside the outcome, against numbers that were made another way.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postseal_dkim::{
    Algorithm, Hashed, Header, KeyAnswer, Mode, Outcome, Report, SignatureError, UnixTime,
    Verifier, VerifyRules, key_record_text,
};

const NOW: UnixTime = UnixTime(1_790_000_000);

/// The body as it comes, and in both canonical forms (§3.4.3, §3.4.4).
const BODY: &str = "Hello \t there \r\n\r\nyou\r\n\r\n";
const SIMPLE: &str = "Hello \t there \r\n\r\nyou\r\n";
const RELAXED: &str = "Hello there\r\n\r\nyou\r\n";

fn verify(header: &Header<'_>, body: &str, answer: &KeyAnswer) -> Report {
    let (mut verifier, queries) = Verifier::start(header, &VerifyRules::default(), NOW);
    for query in queries {
        verifier.answer(query.id, answer.clone());
    }
    verifier.body(body.as_bytes());
    verifier.finish()
}

fn hashed(canonicalization: &str, more: &str) -> Hashed {
    let field = format!(
        "DKIM-Signature: v=1; a=rsa-sha256; c={canonicalization}; d=example.com; s=s1; h=From:To;\r\n \
         bh=MTIz; b=NDU2{more}\r\nFrom:  Joe\r\nTo: Ann\r\nCc: Bob\r\n"
    );
    let report = verify(&Header::parse(field.as_bytes()).unwrap(), BODY, &KeyAnswer::NoRecord);
    assert_eq!(report.signatures[0].outcome, Outcome::NoKey);
    report.signatures[0].hashed.unwrap()
}

#[test]
fn the_signature_itself_is_told_however_it_ends() {
    let field = |more: &str| {
        format!(
            "DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=s1; h=From; bh=MTIz; b=ND U2{more}\r\n"
        )
    };
    let header =
        [field(""), field("; x=5"), field("; c=none"), field(""), "From: a\r\n".into()].concat();
    let header = Header::parse(header.as_bytes()).unwrap();
    let rules = VerifyRules { max_signatures: 3 };
    let report = Verifier::start(&header, &rules, NOW).0.finish();
    let ends: Vec<_> = report.signatures.iter().map(|one| one.outcome).collect();
    let malformed = Outcome::Malformed(SignatureError::BadCanonicalization);
    let want = [Outcome::NotAnswered, Outcome::Expired, malformed, Outcome::NotChecked];
    assert_eq!(ends, want);
    for one in report.signatures {
        assert_eq!(one.signature.as_deref(), Some(&b"456"[..]), "{:?}", one.outcome);
    }
}

fn hash(text: &str) -> String {
    STANDARD.encode(digest(&SHA256, text.as_bytes()))
}

#[test]
fn hashes_and_lengths_are_told_even_without_a_key() {
    let relaxed = hashed("relaxed/relaxed", "");
    assert_eq!(relaxed.body_octets, RELAXED.len() as u64);
    assert_eq!(relaxed.body_octets_covered, RELAXED.len() as u64);
    assert_eq!(relaxed.body_hash.to_string(), hash(RELAXED));
    let header = "from:Joe\r\nto:Ann\r\ndkim-signature:v=1; a=rsa-sha256; c=relaxed/relaxed; \
        d=example.com; s=s1; h=From:To; bh=MTIz; b=";
    assert_eq!(relaxed.header_octets, header.len() as u64);

    let simple = hashed("simple/simple", "");
    assert_eq!(simple.body_octets, SIMPLE.len() as u64);
    assert_eq!(simple.body_hash.to_string(), hash(SIMPLE));
    let header = "From:  Joe\r\nTo: Ann\r\nDKIM-Signature: v=1; a=rsa-sha256; c=simple/simple; \
        d=example.com; s=s1; h=From:To;\r\n bh=MTIz; b=";
    assert_eq!(simple.header_octets, header.len() as u64);

    let cut = hashed("relaxed/simple", "; l=7");
    assert_eq!((cut.body_octets, cut.body_octets_covered), (SIMPLE.len() as u64, 7));
    assert_eq!(cut.body_hash.to_string(), hash(&SIMPLE[..7]));
    let beyond = hashed("relaxed/relaxed", "; l=999");
    assert_eq!(beyond.body_octets_covered, RELAXED.len() as u64);
    assert_eq!(beyond.body_hash, relaxed.body_hash);
}

#[test]
fn sha1_hashes_have_their_own_length() {
    let field = "DKIM-Signature: v=1; a=rsa-sha1; d=example.com; s=s1; h=From; bh=MTIz; b=NDU2\r\n\
        From: a\r\n";
    let report = verify(&Header::parse(field.as_bytes()).unwrap(), BODY, &KeyAnswer::Timeout);
    let want = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, SIMPLE.as_bytes()));
    assert_eq!(report.signatures[0].hashed.unwrap().body_hash.to_string(), want);
}

#[test]
fn the_key_that_decided_is_told_and_the_rest_are_not_tried() {
    let key = Ed25519KeyPair::generate().unwrap();
    let record = key_record_text(Algorithm::Ed25519Sha256, key.public_key().as_ref());
    let other = Ed25519KeyPair::generate().unwrap();
    let other = key_record_text(Algorithm::Ed25519Sha256, other.public_key().as_ref());
    let unsigned = format!(
        "dkim-signature:v=1; a=ed25519-sha256; d=example.com; s=s1; h=from; bh={}; b=",
        hash(SIMPLE)
    );
    let input = digest(&SHA256, format!("from:a\r\n{unsigned}").as_bytes());
    let signature = STANDARD.encode(key.sign(input.as_ref()));
    let raw = format!("{unsigned}{signature}\r\nfrom:a\r\n");
    let header = Header::parse(raw.as_bytes()).unwrap();

    let testing = format!("{record}; t=y");
    for (records, operations, mode) in [
        (vec![&record, &testing, &other], 1, Some(Mode::Production)),
        (vec![&testing, &record], 1, Some(Mode::Testing)),
        (vec![&other, &testing], 2, Some(Mode::Testing)),
        (vec![&other, &other, &record], 2, Some(Mode::Production)),
        (vec![], 0, None),
    ] {
        let report = verify(&header, BODY, &KeyAnswer::from_texts(&records));
        assert_eq!(report.work.key_operations, operations, "{records:?}");
        let key = report.signatures[0].key.as_ref();
        assert_eq!(key.map(|key| key.mode()), mode, "{records:?}");
        assert_eq!(report.has_pass(), records.iter().take(2).any(|one| **one != other));

        // §3.6.1: that the domain is testing counts above all where the signature fails.
        let failed = &verify(&header, "other", &KeyAnswer::from_texts(&records)).signatures[0];
        for signature in [&report.signatures[0], failed] {
            let is_said = signature.reason().ends_with("; the domain is only testing (t=y)");
            let is_coded = signature.remarks().collect::<Vec<_>>() == ["key-testing"];
            let want = signature.key.as_ref().is_some_and(|key| key.mode() == Mode::Testing);
            assert_eq!((is_said, is_coded), (want, want), "{signature:?}");
        }
    }
}

//! What a report tells beside the outcome, against numbers that were made another way.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::HashSet;
use std::path::PathBuf;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postseal_dkim::tag_list::TagListError;
use postseal_dkim::{
    Algorithm, Hashed, Header, KeyAnswer, KeyRecordError, Mode, NameError, Outcome, PublicKeyError,
    Remarks, Report, SignatureError, UnixTime, Verifier, VerifyRules, key_record_text,
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
    }
}

/// Programs rely on codes. So that no new one can be left out of the tests below and of the manual at once, the
/// codes are those of the source: the texts in each function that gives one.
#[test]
#[expect(clippy::disallowed_methods, reason = "the sources and the manual are files")]
fn every_code_in_the_source_is_in_the_manual() {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/verify.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    let mut folders = vec![own.into()];
    let mut codes = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir::<PathBuf>(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                codes.extend(codes_in(&std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    // As many as there are today, at least: the search finds them.
    assert!(codes.len() >= 72, "{}: {codes:?}", codes.len());
    for code in codes {
        assert!(manual.contains(&format!("| `{code}` |")), "{code} is not in the manual");
    }
}

/// Those of a chain stand in a table of their own, with their result.
#[test]
#[expect(clippy::disallowed_methods, reason = "the source and the manual are files")]
fn every_code_of_a_chain_is_in_the_manual_with_its_result() {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/src/arc/report.rs");
    let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/verify.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    let (_, of_chains) = manual.split_once("\n# postseal arc-verify\n").unwrap();
    let codes = codes_in(&std::fs::read_to_string(own).unwrap());
    assert!(codes.len() >= 11, "{codes:?}");
    for code in codes {
        let result = match &*code {
            "verified" => "pass",
            "no-set" => "none",
            _ => "fail",
        };
        let row = format!("| `{code}` | `{result}` |");
        assert!(of_chains.contains(&row), "{row} is not in the manual");
    }
}

fn codes_in(source: &str) -> Vec<String> {
    let functions = source.split("pub ").filter(|text| {
        let text = text.strip_prefix("const ").unwrap_or(text);
        text.starts_with("fn code(&self)") || text.starts_with("fn codes(&self)")
    });
    functions
        .filter_map(|text| text.split("\n    }\n").next())
        .flat_map(|body| body.split('"').skip(1).step_by(2).map(str::to_owned))
        .collect()
}

/// Each is in the manual with its outcome, and none is there twice.
#[test]
#[expect(clippy::disallowed_methods, reason = "the manual is a file")]
fn every_code_is_in_the_manual() {
    let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/verify.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    let mut seen = HashSet::new();
    for outcome in outcomes() {
        let code = outcome.code();
        assert!(seen.insert(code), "{code} twice");
        let row = format!("| `{code}` | `{}` |", outcome.result());
        assert!(manual.contains(&row), "{row} is not in the manual");
    }
    let causes: Vec<_> = outcomes_with_causes().iter().filter_map(Outcome::cause).collect();
    assert_eq!(causes.len(), outcomes_with_causes().len());
    for cause in causes {
        assert!(manual.contains(&format!("| `{cause}` |")), "{cause} is not in the manual");
    }
    let remarks = Remarks { uncovered: Some(1), is_testing: true, is_from_future: true }.codes();
    for remark in remarks.collect::<Vec<_>>() {
        assert!(manual.contains(&format!("| `{remark}` |")), "{remark} is not in the manual");
    }
}

fn outcomes() -> Vec<Outcome> {
    vec![
        Outcome::Verified(Remarks::default()),
        Outcome::BodyHashMismatch,
        Outcome::BodyCut,
        Outcome::SignatureMismatch,
        Outcome::Sha1,
        Outcome::ShortKey { bits: 512 },
        Outcome::Malformed(SignatureError::BadVersion),
        Outcome::LengthBeyondBody,
        Outcome::Expired,
        Outcome::NoKey,
        Outcome::BadKeyRecord(KeyRecordError::Revoked),
        Outcome::KeyTypeMismatch,
        Outcome::HashNotAllowed,
        Outcome::NotForEmail,
        Outcome::IdentityNotExact,
        Outcome::KeyTimeout,
        Outcome::KeyServerFailure,
        Outcome::NotAnswered,
        Outcome::NotChecked,
    ]
}

fn outcomes_with_causes() -> Vec<Outcome> {
    let lists = [
        TagListError::NotUtf8,
        TagListError::BadFolding,
        TagListError::BadName,
        TagListError::BadValue,
        TagListError::DuplicateName,
        TagListError::NoEqualsSign,
        TagListError::TooManyTags,
    ];
    let signatures = [
        SignatureError::MissingTag("d"),
        SignatureError::BadVersion,
        SignatureError::UnknownAlgorithm,
        SignatureError::BadBase64("b"),
        SignatureError::BadCanonicalization,
        SignatureError::BadDomain(NameError::Empty),
        SignatureError::SingleLabel,
        SignatureError::BadSelector(NameError::Empty),
        SignatureError::BadFieldList,
        SignatureError::TooManyFields,
        SignatureError::FromNotSigned,
        SignatureError::BadIdentity,
        SignatureError::IdentityOutsideDomain,
        SignatureError::BadBodyLength,
        SignatureError::UnknownQueryMethod,
        SignatureError::BadTime("t"),
        SignatureError::ExpiresBeforeSigned,
    ];
    let keys = [
        PublicKeyError::NotRsaDer,
        PublicKeyError::RsaTooLong,
        PublicKeyError::RsaTooShort { bits: 8 },
        PublicKeyError::BadExponent,
        PublicKeyError::EvenModulus,
        PublicKeyError::BadEd25519Length { octets: 1 },
    ];
    let records = [
        KeyRecordError::TooLong,
        KeyRecordError::BadVersion,
        KeyRecordError::VersionNotFirst,
        KeyRecordError::UnknownKeyType,
        KeyRecordError::NoKey,
        KeyRecordError::Revoked,
        KeyRecordError::NotBase64,
    ];
    let in_lists = lists.map(|error| Outcome::Malformed(SignatureError::TagList(error)));
    let in_records = records
        .into_iter()
        .chain(lists.map(KeyRecordError::TagList))
        .chain(keys.map(KeyRecordError::BadKey));
    in_lists
        .into_iter()
        .chain(signatures.map(Outcome::Malformed))
        .chain(in_records.map(Outcome::BadKeyRecord))
        .collect()
}

//! The bounds on what a message can make a verifier do, judged by what was counted where it was done.
//!
//! Each message here is made to cost as much as it can. What it cost is in the report.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::HashSet;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postseal_dkim::signature::MAX_SIGNED_FIELDS;
use postseal_dkim::tag_list::{MAX_TAGS, TagListError};
use postseal_dkim::{
    AuthResult, FieldName, Header, HeaderError, KeyAnswer, KeyRecordError, MAX_FIELDS,
    MAX_HEADER_LEN, MAX_KEY_RECORDS, MAX_KEYS_TRIED, MAX_RECORD_LEN, MAX_SIGNATURES, NameError,
    Outcome, PublicKeyError, Report, SignatureError, UnixTime, Verifier, VerifyRules, Work,
};

/// The key of RFC 8463 §A.2.
const KEY: &str = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

const FROM: &str = "From: Joe <joe@example.com>\r\n";

const BODY: &str = "Hello\r\n";

/// A signature whose body hash is right, so that it comes as far as the operation with the key, which
/// finds that it is wrong.
fn claim(selector: &str, names: &str, more: &str) -> String {
    let body_hash = STANDARD.encode(digest(&SHA256, BODY.as_bytes()));
    let signature = STANDARD.encode([7; 64]);
    format!(
        "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=example.com; s={selector}; \
         h={names}; bh={body_hash}; b={signature}{more}\r\n"
    )
}

fn verify_by(header: &str, body: &str, answer: &KeyAnswer) -> Report {
    let message = format!("{header}\r\n{body}");
    let (header, body) = Header::of_message(message.as_bytes()).unwrap();
    let rules = VerifyRules::default();
    let (mut verifier, queries) = Verifier::start(&header, &rules, UnixTime(1_790_000_000));
    let asked = queries.len();
    for query in queries {
        verifier.answer(query.id, answer.clone());
    }
    for chunk in body.chunks(1000) {
        verifier.body(chunk);
    }
    let report = verifier.finish();
    assert_eq!(report.work.key_queries, asked);
    report
}

fn verify(header: &str) -> Report {
    verify_by(header, BODY, &KeyAnswer::from_texts([KEY]))
}

fn outcomes(report: &Report, want: Outcome) -> usize {
    report.signatures.iter().filter(|signature| signature.outcome == want).count()
}

/// What the header alone settled.
fn is_nothing(work: Work) -> bool {
    let Work { key_queries, key_operations, header_octets, body_octets, body_octets_read, .. } =
        work;
    (key_queries, key_operations) == (0, 0)
        && (header_octets, body_octets, body_octets_read) == (0, 0, 0)
}

#[test]
fn a_thousand_signatures_cost_as_much_as_fifteen() {
    let costs = |count: usize| {
        let fields: String = (0..count).map(|n| claim(&format!("s{n}"), "From", "")).collect();
        let report = verify(&(fields + FROM));
        assert_eq!(outcomes(&report, Outcome::NotChecked), count - MAX_SIGNATURES);
        assert_eq!(outcomes(&report, Outcome::SignatureMismatch), MAX_SIGNATURES);
        report.work
    };
    let work = costs(MAX_SIGNATURES);
    assert_eq!(work.signatures_read, MAX_SIGNATURES);
    assert_eq!(work.key_queries, MAX_SIGNATURES);
    assert_eq!(work.key_operations, MAX_SIGNATURES);
    // One hash of the body for all.
    assert_eq!(work.body_octets, BODY.len() as u64);
    for count in [1_000, 10_000] {
        let more = costs(count);
        // Only the index of the header is larger.
        let but_for_names = |mut work: Work| {
            work.names_compared = 0;
            work
        };
        assert_eq!(but_for_names(more), but_for_names(work));
    }
}

#[test]
fn signatures_that_cannot_be_read_count_too() {
    let broken = "DKIM-Signature: v=1; d=example.com\r\n".repeat(1_000);
    let report = verify(&format!("{broken}{}{FROM}", claim("s1", "From", "")));
    assert_eq!(report.work.signatures_read, MAX_SIGNATURES);
    assert_eq!(outcomes(&report, Outcome::NotChecked), 1_001 - MAX_SIGNATURES);
    assert!(is_nothing(report.work), "{:?}", report.work);
}

#[test]
fn names_are_asked_for_once() {
    let fields = claim("s1", "From", "").repeat(MAX_SIGNATURES);
    assert_eq!(verify(&format!("{fields}{FROM}")).work.key_queries, 1);
}

#[test]
fn of_many_keys_at_a_name_two_are_tried() {
    let fields: String = (0..MAX_SIGNATURES).map(|n| claim(&format!("s{n}"), "From", "")).collect();
    let answer = KeyAnswer::from_texts(vec![KEY; 1_000]);
    let KeyAnswer::Records(records) = &answer else { panic!("{answer:?}") };
    assert_eq!(records.len(), MAX_KEY_RECORDS);
    let report = verify_by(&(fields + FROM), BODY, &answer);
    assert_eq!(report.work.key_operations, MAX_SIGNATURES * MAX_KEYS_TRIED);

    // Records that give no key cost none of the tries.
    let one = claim("s1", "From", "") + FROM;
    let texts = ["v=spf1 -all", "v=DKIM1; p=", "x", KEY, "v=DKIM1; k=x; p=x", KEY, KEY];
    let report = verify_by(&one, BODY, &KeyAnswer::from_texts(texts));
    assert_eq!(report.work.key_operations, MAX_KEYS_TRIED);
    assert_eq!(report.signatures[0].outcome, Outcome::SignatureMismatch);
}

#[test]
fn ten_thousand_names_to_sign_are_malformed_before_anything_is_hashed() {
    let names = format!("From{}", ":To".repeat(9_999));
    let fields = claim("s1", &names, "").repeat(MAX_SIGNATURES);
    let report = verify(&format!("{fields}{FROM}"));
    let want = Outcome::Malformed(SignatureError::TooManyFields);
    assert_eq!(outcomes(&report, want), MAX_SIGNATURES);
    assert!(is_nothing(report.work), "{:?}", report.work);
}

#[test]
fn long_lists_over_many_fields_are_no_product() {
    let names = |count: usize| format!("From{}", ":To".repeat(count - 1));
    for fields in [50, 1_000, MAX_FIELDS - MAX_SIGNATURES - 1] {
        let to = "To: reader@example.net\r\n".repeat(fields);
        let canonical = "to:reader@example.net\r\n".len() as u64;
        let picked = |names: usize| fields.min(names - 1) as u64 * canonical;
        // Lists that differ: each field that is picked is hashed once for each, however long it is.
        let lists = (0..MAX_SIGNATURES).map(|n| MAX_SIGNED_FIELDS - n);
        let claims: String = lists.clone().map(|list| claim("s1", &names(list), "")).collect();
        let report = verify(&format!("{claims}{FROM}{to}"));
        assert_eq!(outcomes(&report, Outcome::SignatureMismatch), MAX_SIGNATURES);
        let work = report.work;
        assert!(work.names_compared <= MAX_NAMES_COMPARED, "{fields} fields: {work:?}");
        let least = lists.clone().sum::<usize>() as u64;
        assert!(work.names_compared >= least, "one for each name: {fields} fields: {work:?}");
        let least: u64 = lists.map(picked).sum();
        let own = MAX_SIGNATURES as u64 * 10_000;
        assert!((least..least + own).contains(&work.header_octets), "{fields} fields: {work:?}");
        // The same list for all: once for all of them.
        let claims = claim("s1", &names(MAX_SIGNED_FIELDS), "").repeat(MAX_SIGNATURES);
        let work = verify(&format!("{claims}{FROM}{to}")).work;
        let least = picked(MAX_SIGNED_FIELDS);
        assert!((least..least + own).contains(&work.header_octets), "{fields} fields: {work:?}");
    }
    // Names that are not there, and differ at their end only.
    let stem = "X-".to_owned() + &"a".repeat(150);
    let names: String = (0..MAX_SIGNED_FIELDS - 1).map(|n| format!(":{stem}{n}y")).collect();
    let fields: String = (0..MAX_FIELDS / 2).map(|n| format!("{stem}{n}z:\r\n")).collect();
    let work = verify(&format!("{}{FROM}{fields}", claim("s1", &format!("From{names}"), ""))).work;
    assert!(work.names_compared <= MAX_NAMES_COMPARED, "{work:?}");
}

#[test]
fn junk_that_no_verifier_would_take_does_not_go_before_the_authors() {
    let valid = claim("s1", "From", "");
    let author = valid.split("d=").nth(1).unwrap().split(';').next().unwrap().to_owned();
    let parent = author.rsplit('.').next().unwrap();
    let junk = valid.replace(&format!("d={author}"), &format!("d={parent}"));
    let from = format!("From: joe@{author}\r\n");
    let report = verify(&(junk.repeat(MAX_SIGNATURES) + &valid + &from));
    assert_ne!(report.signatures[MAX_SIGNATURES].outcome, Outcome::NotChecked);
    // Of thousands of names that would have to be made A-labels, a few are.
    let label = "\u{4e2d}".repeat(60);
    let junk =
        valid.replace(&format!("d={author}"), &format!("d={label}.{label}.{label}.{author}"));
    let report = verify(&(junk.repeat(3_000) + &valid + &from));
    let read = report.signatures.iter().filter(|one| one.signing_domain.is_some()).count();
    assert!(read <= 2 * MAX_SIGNATURES + 1, "{read}");
}

#[test]
fn as_many_names_become_a_labels_as_signatures_are_checked() {
    let by = |domain: &str, count: usize| {
        claim("s1", "From", "").replace("d=example.com", &format!("d={domain}")).repeat(count)
    };
    let from = "From: joe@b\u{fc}cher.example\r\n";
    let is_checked = |claims: String| -> Vec<bool> {
        let report = verify(&(claims + from));
        report.signatures.iter().map(|one| one.outcome != Outcome::NotChecked).collect()
    };
    let (author, other) = ("b\u{fc}cher.example", "b\u{fc}cher.test");
    // All that are read can be the author's.
    let checked = is_checked(by("example.net", MAX_SIGNATURES) + &by(author, MAX_SIGNATURES));
    assert_eq!(checked, [[false; MAX_SIGNATURES], [true; MAX_SIGNATURES]].concat());
    // One name less than the bound is wasted, and the author's is read; then it is not, unless it is ASCII.
    for (wasted, author, want) in [
        (MAX_SIGNATURES - 1, author, true),
        (MAX_SIGNATURES, author, false),
        (MAX_SIGNATURES, "xn--bcher-kva.example", true),
    ] {
        let checked = is_checked(by(other, wasted) + &by("example.net", 5) + &by(author, 1));
        assert_eq!(checked.last(), Some(&want), "{wasted} {author}");
    }
}

#[test]
fn a_hundred_thousand_fields_are_refused() {
    let fields = |count: usize| "X: y\r\n".repeat(count) + "\r\n";
    assert!(Header::of_message(fields(MAX_FIELDS).as_bytes()).is_ok());
    for count in [MAX_FIELDS + 1, 100_000] {
        let refused = Header::of_message(fields(count).as_bytes()).map(drop);
        assert_eq!(refused, Err(HeaderError::TooManyFields), "{count}");
    }
    let long = |octets: usize| format!("X:{}\r\n\r\n", "y".repeat(octets - 4));
    assert!(Header::of_message(long(MAX_HEADER_LEN).as_bytes()).is_ok());
    let refused = Header::of_message(long(MAX_HEADER_LEN + 1).as_bytes()).map(drop);
    assert_eq!(refused, Err(HeaderError::TooLong));
}

#[test]
fn a_large_field_is_hashed_once_for_each_signature() {
    for piece in ["word ", "word\r\n ", "\t", "(", "()", "\\(\"", "=?x?q?=3D?= "] {
        let value = piece.repeat((1 << 20) / piece.len()) + "end";
        let claims = claim("s1", "From:Subject:Subject", "").repeat(MAX_SIGNATURES);
        let report = verify(&format!("{claims}{FROM}Subject: {value}\r\n"));
        let most = MAX_SIGNATURES * (value.len() + 500);
        assert!(report.work.header_octets <= most as u64, "{piece:?}: {:?}", report.work);
        assert_eq!(outcomes(&report, Outcome::SignatureMismatch), MAX_SIGNATURES);
    }
}

#[test]
fn comments_in_from_are_not_followed() {
    // More signatures than are read, so that the domain of From decides which are.
    let foreign = claim("s1", "From", "").replace("example.com", "example.net");
    let from =
        format!("From: {}a{} <joe@example.com>\r\n", "(".repeat(200_000), ")".repeat(200_000));
    let fields = format!("{}{}{from}", foreign.repeat(100), claim("s2", "From", ""));
    let report = verify(&fields);
    assert_eq!(report.signatures[100].outcome, Outcome::SignatureMismatch);
    assert_eq!(outcomes(&report, Outcome::NotChecked), 101 - MAX_SIGNATURES);
    let once = (from.len() + 500) as u64;
    assert!(report.work.header_octets <= once * MAX_SIGNATURES as u64, "{:?}", report.work);
}

#[test]
fn a_body_is_hashed_four_times_at_most() {
    let body = "Hello  there \r\n".repeat(10_000);
    let canons = ["simple/simple", "simple/relaxed", "relaxed/simple"];
    let algorithms = ["ed25519-sha256", "rsa-sha1"];
    // Each with a length of its own, and each combination also without one.
    let claims: String = (0..MAX_SIGNATURES)
        .map(|n| {
            let more = if n < 9 { format!("; l={}", 100_000 + n) } else { String::new() };
            claim("s1", "From", &more)
                .replace("relaxed/relaxed", canons[n % canons.len()])
                .replace(algorithms[0], algorithms[n % algorithms.len()])
        })
        .collect();
    let report = verify_by(&(claims + FROM), &body, &KeyAnswer::NoRecord);
    let relaxed = "Hello there\r\n".len() * 10_000;
    assert_eq!(report.work.body_octets_read, 2 * body.len() as u64);
    assert_eq!(report.work.body_octets, 2 * (body.len() + relaxed) as u64);
    assert_eq!(outcomes(&report, Outcome::NoKey), MAX_SIGNATURES);
    let hashes: Vec<_> =
        report.signatures.iter().map(|one| one.hashed.unwrap().body_hash.to_string()).collect();
    let different: HashSet<_> = hashes.iter().collect();
    assert_eq!(different.len(), 9 + 4, "{hashes:?}");
}

#[test]
fn tags_are_bounded_in_signatures_and_records() {
    let tags = |count: usize| (0..count).map(|n| format!("; t{n}=x")).collect::<String>();
    let fields = |tags: &str| format!("{}{FROM}", claim("s1", "From", tags));
    let known = 8;
    let outcome = verify(&fields(&tags(MAX_TAGS - known))).signatures[0].outcome;
    assert_eq!(outcome, Outcome::SignatureMismatch);
    let many = verify(&fields(&tags(MAX_TAGS - known + 1)));
    let want = SignatureError::TagList(TagListError::TooManyTags);
    assert_eq!(many.signatures[0].outcome, Outcome::Malformed(want));
    assert!(is_nothing(many.work), "{:?}", many.work);

    let record = format!("{KEY}{}", tags(MAX_TAGS));
    let report = verify_by(&fields(""), BODY, &KeyAnswer::from_texts([record]));
    let want = KeyRecordError::TagList(TagListError::TooManyTags);
    assert_eq!(report.signatures[0].outcome, Outcome::BadKeyRecord(want));
}

#[test]
fn records_that_are_odd_or_too_large_give_no_key_and_cost_no_operation() {
    let rsa = |modulus: &[u8], exponent: &[u8]| {
        format!("v=DKIM1; p={}", STANDARD.encode(rsa_public_key(modulus, exponent)))
    };
    let modulus = |bits: usize| [vec![0xFF; bits / 8 - 1], vec![0xF1]].concat();
    let (good, common) = (modulus(2048), [1, 0, 1]);
    let spki_of_another_kind = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE";
    let bad_key = |error| KeyRecordError::BadKey(error);
    let cases = [
        (rsa(&modulus(16_384), &common), bad_key(PublicKeyError::RsaTooLong)),
        (rsa(&modulus(8_200), &common), bad_key(PublicKeyError::RsaTooLong)),
        (rsa(&modulus(64), &common), bad_key(PublicKeyError::RsaTooShort { bits: 64 })),
        (rsa(&[modulus(2040), vec![0xF0]].concat(), &common), bad_key(PublicKeyError::EvenModulus)),
        (rsa(&good, &[1]), bad_key(PublicKeyError::BadExponent)),
        (rsa(&good, &[2]), bad_key(PublicKeyError::BadExponent)),
        (rsa(&good, &[1, 0, 0]), bad_key(PublicKeyError::BadExponent)),
        (rsa(&good, &[0xFF; 5]), bad_key(PublicKeyError::BadExponent)),
        (rsa(&good, &[0xFF; 256]), bad_key(PublicKeyError::BadExponent)),
        (rsa(&modulus(768), &[2, 0, 1, 1]), bad_key(PublicKeyError::BadExponent)),
        (rsa(&[0], &common), bad_key(PublicKeyError::NotRsaDer)),
        (rsa(&[], &[]), bad_key(PublicKeyError::NotRsaDer)),
        (format!("p={spki_of_another_kind}"), bad_key(PublicKeyError::NotRsaDer)),
        ("p=MIGfMA0G".to_owned(), bad_key(PublicKeyError::NotRsaDer)),
        ("p=MIL/////".to_owned(), bad_key(PublicKeyError::NotRsaDer)),
        ("p=A".to_owned(), KeyRecordError::NotBase64),
        (KEY.replace("p=11qY", "p="), bad_key(PublicKeyError::BadEd25519Length { octets: 29 })),
        (format!("{KEY}; n={}", "x".repeat(60_000)), KeyRecordError::TooLong),
        (format!("{KEY}; n={}", "x".repeat(MAX_RECORD_LEN)), KeyRecordError::TooLong),
    ];
    let fields = claim("s1", "From", "").replace("ed25519", "rsa") + FROM;
    for (record, want) in cases {
        let report = verify_by(&fields, BODY, &KeyAnswer::from_texts([&record]));
        let outcome = report.signatures[0].outcome;
        assert_eq!(outcome, Outcome::BadKeyRecord(want), "{record}");
        assert_eq!(outcome.result(), AuthResult::PermError);
        assert_eq!(report.work.key_operations, 0, "{record}");
    }
    // At the bound a record is read, and the largest keys fit into it.
    let whole = format!("{KEY}; n={}", "x".repeat(MAX_RECORD_LEN - KEY.len() - 4));
    assert_eq!(whole.len(), MAX_RECORD_LEN);
    for record in [rsa(&modulus(8192), &common), rsa(&modulus(4096), &[3]), whole] {
        let fields = if record.starts_with(KEY) {
            fields.replace("rsa-", "ed25519-")
        } else {
            fields.clone()
        };
        let report = verify_by(&fields, BODY, &KeyAnswer::from_texts([&record]));
        assert_eq!(report.signatures[0].outcome, Outcome::SignatureMismatch, "{record}");
        assert_eq!(report.work.key_operations, 1);
    }
}

/// The length of `bh=` and of `b=` is taken from nowhere but the value itself.
#[test]
fn hashes_and_signatures_of_odd_lengths_never_pass() {
    let right = digest(&SHA256, BODY.as_bytes());
    let right = right.as_ref();
    for algorithm in ["ed25519-sha256", "rsa-sha256", "rsa-sha1"] {
        for len in [0, 1, 20, 31, 32, 33, 64, 65, 1_000, 100_000] {
            let value =
                STANDARD.encode(right.iter().cycle().take(len).copied().collect::<Vec<_>>());
            let field = claim("s1", "From", "").replace("ed25519-sha256", algorithm);
            let with = |tag: &str| {
                let (before, after) = field.split_once(&format!(" {tag}=")).unwrap();
                let end = after.find([';', '\r']).unwrap();
                format!("{before} {tag}={value}{}{FROM}", &after[end..])
            };
            let answer = KeyAnswer::from_texts([KEY]);
            for (tag, header) in [("bh", with("bh")), ("b", with("b"))] {
                let report = verify_by(&header, BODY, &answer);
                let outcome = report.signatures[0].outcome;
                let want = match (algorithm, len, tag) {
                    (_, 0, _) => Outcome::Malformed(SignatureError::BadBase64(tag)),
                    ("ed25519-sha256", 32, "bh") | ("ed25519-sha256", _, "b") => {
                        Outcome::SignatureMismatch
                    }
                    ("ed25519-sha256", _, _) => Outcome::BodyHashMismatch,
                    (_, _, _) => Outcome::KeyTypeMismatch,
                };
                assert_eq!(outcome, want, "{algorithm} {tag} {len}");
                let rsa_hash = verify_by(&header, BODY, &rsa_answer()).signatures[0].outcome;
                assert!(!rsa_hash.is_pass(), "{algorithm} {tag} {len}");
            }
        }
    }
}

#[test]
fn names_with_octets_that_a_resolver_may_cut_are_asked_of_nobody() {
    let label = "a".repeat(58);
    let long = format!("{label}.{label}.{label}.{label}.example.com");
    assert!((240..=253).contains(&long.len()));
    let very_long = format!("{label}.{long}");
    assert!(very_long.len() >= 256);
    let error = |tag: &str, error: NameError| match tag {
        "d" => SignatureError::BadDomain(error),
        _ => SignatureError::BadSelector(error),
    };
    for (tag, known) in [("d", "d=example.com"), ("s", "s=s1")] {
        let name = known.get(2..).unwrap();
        let character = error(tag, NameError::BadCharacter);
        let cases = [
            (format!("{name}\\.evil.example"), character),
            (format!("{name}\\000.evil.example"), character),
            (format!("{name} .evil.example"), character),
            (format!("{name}\r\n .evil.example"), character),
            (format!("{name}/evil.example"), character),
            (format!("{name}\".evil.example"), character),
            (format!("{name}@evil.example"), character),
            (format!("{name}..example"), error(tag, NameError::EmptyLabel)),
            (format!(".{name}"), error(tag, NameError::EmptyLabel)),
            (format!("{name}."), error(tag, NameError::EmptyLabel)),
            (format!("{}.example", "a".repeat(64)), error(tag, NameError::LabelTooLong)),
            (very_long.clone(), error(tag, NameError::TooLong)),
            ("a.".repeat(50_000) + "example", error(tag, NameError::TooLong)),
            // Short enough by itself, and too long with the rest of the name that is asked for.
            (long.clone(), SignatureError::BadSelector(NameError::TooLong)),
            (format!("{name}\0.evil.example"), SignatureError::TagList(TagListError::BadValue)),
            (format!("{name}\u{7f}.example"), SignatureError::TagList(TagListError::BadValue)),
            (format!("{name}\n.example"), SignatureError::TagList(TagListError::BadFolding)),
            (format!("{name}\u{3002}\u{ff0e}example"), error(tag, NameError::EmptyLabel)),
            (format!("{name}\u{200b}\u{fffd}.example"), error(tag, NameError::BadUnicode)),
        ];
        for (value, want) in cases {
            let field = claim("s1", "From", "").replace(known, &format!("{tag}={value}"));
            let report = verify(&format!("{field}{FROM}"));
            let outcome = report.signatures[0].outcome;
            assert_eq!(outcome, Outcome::Malformed(want), "{}", field.escape_debug());
            assert_eq!(outcome.result(), AuthResult::PermError);
            assert!(is_nothing(report.work), "{:?}", report.work);
        }
    }
}

/// What is not checked is reported by what can be read of it, and no more is read.
#[test]
fn details_are_read_only_of_what_was_checked() {
    let fields = claim("s1", "From", "").repeat(MAX_SIGNATURES + 1) + "DKIM-Signature: v=1\r\n";
    let message = format!("{fields}{FROM}\r\n{BODY}");
    let (header, _) = Header::of_message(message.as_bytes()).unwrap();
    let report = verify(&(fields + FROM));
    let with_details: Vec<_> =
        report.signatures.iter().map(|one| one.details(&header).is_some()).collect();
    let mut want = vec![true; MAX_SIGNATURES];
    want.extend([false, false]);
    assert_eq!(with_details, want);
    assert_eq!(header.count(&FieldName::DKIM_SIGNATURE), want.len());
}

fn rsa_answer() -> KeyAnswer {
    let modulus = [vec![0xFF; 255], vec![0xF1]].concat();
    let key = STANDARD.encode(rsa_public_key(&modulus, &[1, 0, 1]));
    KeyAnswer::from_texts([format!("p={key}")])
}

/// RSAPublicKey of RFC 8017 §A.1.1 in DER.
fn rsa_public_key(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let integer = |number: &[u8]| {
        let is_negative = number.first().is_some_and(|octet| octet & 0x80 != 0);
        let number = if is_negative { [&[0], number].concat() } else { number.to_vec() };
        element(0x02, &number)
    };
    element(0x30, &[integer(modulus), integer(exponent)].concat())
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x82], &len[..], content].concat()
}

/// The bound of the table in the crate's documentation.
const MAX_NAMES_COMPARED: u64 = 1_000_000;

//! ARC chains (RFC 8617) beside what we did not write: the public test suite, and dkimpy as sealer and as
//! verifier.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[expect(dead_code, reason = "the tests of the dkim crate use the rest")]
#[path = "../../dkim/tests/arc_chains/cases.rs"]
mod cases;
#[path = "../../dkim/tests/arc_chains/sealer.rs"]
mod sealer;

use postseal_dkim::arc::{ArcReport, ArcVerifier};
use postseal_dkim::{Header, KeyAnswer, UnixTime};
use postseal_testkit::arc::{seal_with_dkimpy, verify_with_dkimpy};
use postseal_testkit::message::MessageBuilder;
use postseal_testkit::peers;
use postseal_testkit::signers::KeyPair;
use postseal_testkit::vectors::Vector;

use cases::{Case, Cases, Want};
use sealer::Key;

/// The keys by owner; the texts of one owner are its records.
fn verify(message: &[u8], keys: &[(String, String)]) -> ArcReport {
    let (header, body) = Header::of_message(message).unwrap();
    let (mut verifier, queries) = ArcVerifier::start(&header, UnixTime(1_800_000_000));
    for query in queries {
        let texts = keys.iter().filter(|(owner, _)| owner == query.name.as_str());
        verifier.answer(query.id, KeyAnswer::from_texts(texts.map(|(_, text)| text)));
    }
    verifier.body(body);
    verifier.finish()
}

/// Cases of the suite on which a later RFC, or one that RFC 8617 builds on, decides otherwise: the name,
/// the code of our reason, and the rule.
const OTHERWISE: &[(&str, &str, &str)] = &[
    ("ams_fields_a_sha1", "message-signature", "RFC 8301 §3.1: rsa-sha1 must not verify"),
    ("as_fields_a_sha1", "seal", "RFC 8301 §3.1: rsa-sha1 must not verify"),
    ("ams_fields_h_empty", "message-signature", "RFC 6376 §3.5, §5.4: h= has a name, and From"),
    ("ams_fields_h_mis_hdr", "message-signature", "RFC 6376 §3.5: no empty names in h="),
];

#[test]
fn the_public_suite_is_judged_as_it_says() {
    let cases = Vector::read_folder(&peers::build_folder().join("arc")).unwrap();
    assert!(cases.len() >= 170, "{}", cases.len());
    let mut wrong = Vec::new();
    let mut seen = 0;
    for case in &cases {
        let (_, name) = case.name.split_once('-').unwrap();
        let result = verify(&case.message, &case.keys).result;
        let found = (result.status().as_str(), result.code());
        let agrees = match OTHERWISE.iter().find(|(other, ..)| *other == name) {
            Some((_, code, _)) => {
                seen += 1;
                case.expect == ["pass"] && found == ("fail", code)
            }
            None => case.expect == [found.0],
        };
        if !agrees {
            wrong.push(format!("{name} should be {:?}: {found:?} {result}", case.expect));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert_eq!(seen, OTHERWISE.len(), "a case is not in the suite any more");
}

#[test]
fn chains_that_dkimpy_seals_pass_until_they_are_changed() {
    let key = KeyPair::rsa(2048).unwrap();
    let message = MessageBuilder::simple("a@example.com", "b@example.net")
        .body(b"Hi.\r\n\r\nWe lost  the game. \r\n\r\n\r\n")
        .build();
    let mut sealed = vec![message];
    let mut keys = Vec::new();
    for number in 1..=5 {
        let domain = format!("hop{number}.example");
        let status = if number == 1 { "none" } else { "pass" };
        sealed = seal_with_dkimpy(&key, &domain, "s", status, &sealed).unwrap();
        keys.push((format!("s._domainkey.{domain}"), key.record.clone()));

        let result = verify(&sealed[0], &keys).result;
        assert_eq!(result.oldest_pass(), Some(0), "{number}: {result}");
        let text = String::from_utf8(sealed[0].clone()).unwrap();
        for (from, to, code) in [
            ("lost", "last", "message-signature"),
            ("Subject: A", "Subject: B", "message-signature"),
            ("spf=pass", "spf=fail", "seal"),
            ("cv=none", "cv=pass", "wrong-cv"),
        ] {
            assert!(text.contains(from), "{from}");
            let changed = text.replacen(from, to, 1);
            assert_eq!(verify(changed.as_bytes(), &keys).result.code(), code, "{number}: {from}");
        }
    }
}

/// The chains of ours that dkimpy judges otherwise, by the beginnings of their names, and the rule that we
/// keep.
const DKIMPY_OTHERWISE: &[(&str, &str)] = &[
    ("message signature with h=to:subject", "RFC 6376 §5.4: From is signed"),
    ("message signature with h=,", "RFC 6376 §3.5: h= has a name"),
    ("message signature with l=9999", "RFC 6376 §3.5: l= is not beyond the body"),
    ("message signature with d=example,", "RFC 6376 §3.5: d= has two labels"),
    ("seal with d=com", "RFC 6376 §3.5: d= has two labels"),
    ("message signature with v=2", "RFC 8617 §4.1.2: v= counts for nothing"),
    (
        "message signature with t=1900000000",
        "RFC 6376 §3.5: such signatures may be ignored, or not",
    ),
    ("seal with x=1", "RFC 8617 §4.1.3: a seal has no x="),
    ("seal with v=7", "RFC 8617 §4.1.3: a seal has no v="),
    ("seal with c=simple", "RFC 8617 §4.1.3: a seal is always relaxed"),
    ("sets in another order", "RFC 8617 §5.1.1: the order is that of the instances"),
    // dkimpy ends a chain with an older message signature that it cannot read or has no key for.
    ("message signature without", "RFC 8617 §5.2, step 5: only the newest has to verify"),
    ("message signature with h=from:to:arc-seal", "RFC 8617 §5.2, step 5"),
    ("message signature with a=", "RFC 8617 §5.2, step 5"),
    ("message signature with t=soon", "RFC 8617 §5.2, step 5"),
    ("message signature with x=1790000001", "RFC 8617 §5.2, step 5"),
    ("message signature broken under its seal", "RFC 8617 §5.2, step 5"),
    ("key of another kind for the ams", "RFC 8617 §5.2, step 5"),
    ("key of a stranger for the ams", "RFC 8617 §5.2, step 5"),
];

#[test]
fn dkimpy_judges_the_labelled_chains_as_we_do() {
    let mut cases = Vec::new();
    for (n, k) in [(1, 1), (2, 1), (2, 2), (3, 2)] {
        // dkimpy knows no Ed25519 in chains.
        cases.extend(Cases::of(vec![Key::Rsa; n], k));
    }
    let dns_file = |case: &Case| -> String {
        case.records.iter().map(|(owner, text)| format!("{owner}\t{text}\n")).collect()
    };
    let messages: Vec<_> = cases.iter().map(|case| (dns_file(case), &case.message)).collect();
    let found = verify_with_dkimpy(&messages).unwrap();

    let (mut agreed, mut wrong) = (0, Vec::new());
    let mut otherwise = vec![0; DKIMPY_OTHERWISE.len()];
    for (case, (result, reason)) in cases.iter().zip(found) {
        let want = match case.want {
            Want::None => "none",
            Want::Pass(_) => "pass",
            Want::Fail(_) => "fail",
        };
        let rule = DKIMPY_OTHERWISE.iter().position(|(name, _)| case.name.starts_with(name));
        match rule.and_then(|at| otherwise.get_mut(at)) {
            _ if result == want => agreed += 1,
            Some(count) => *count += 1,
            None => wrong.push(format!("{}: {result} ({reason}), not {want}", case.name)),
        }
    }
    assert!(wrong.is_empty(), "{} beside {agreed}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(agreed >= 350, "{agreed}");
    assert!(otherwise.iter().all(|count| *count > 0), "a difference is gone: {otherwise:?}");
}

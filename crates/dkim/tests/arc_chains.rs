//! Chains that a sealer for tests makes, each with one labelled fault or none, against the verifier.
//!
//! The label says what RFC 8617 §5.2 makes of the chain: the result and its reason, or the oldest
//! instance that passes. Most faults are made before sealing, so that they are the only thing wrong: the
//! signatures over them are right.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "arc_chains/cases.rs"]
mod cases;
#[path = "arc_chains/sealer.rs"]
mod sealer;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use postseal_dkim::arc::{ArcField, ArcReport, ArcVerifier, Instance, MAX_SETS};
use postseal_dkim::{Header, KeyAnswer, Outcome, UnixTime, split_message};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use cases::{Cases, Want, break_signature, keys};
use sealer::{Chain, Key};

const NOW: UnixTime = UnixTime(1_800_000_000);

fn verify(message: impl AsRef<[u8]>, records: &BTreeMap<String, String>) -> ArcReport {
    let (header, body) = split_message(message.as_ref());
    let header = Header::parse(header).unwrap();
    let (mut verifier, queries) = ArcVerifier::start(&header, NOW);
    for query in queries {
        let answer = match records.get(query.name.as_str()).map(String::as_str) {
            Some("SERVFAIL") => KeyAnswer::ServerFailure,
            Some("TIMEOUT") => KeyAnswer::Timeout,
            Some(text) => KeyAnswer::from_texts([text]),
            None => KeyAnswer::NoRecord,
        };
        verifier.answer(query.id, answer);
    }
    let shown = format!("{verifier:?}");
    for chunk in body.chunks(7) {
        verifier.body(chunk);
    }
    let report = verifier.finish();
    assert_eq!(shown, format!("ArcVerifier {{ sets: {}, .. }}", report.sets.len()));
    report
}

#[test]
fn chains_with_one_labelled_fault_are_judged_as_labelled() {
    let mut cases = Vec::new();
    for n in 1..=5 {
        for k in 1..=n {
            cases.extend(Cases::of(keys(n), k));
        }
    }
    assert!(cases.len() >= 150, "{}", cases.len());
    let wrong: Vec<_> = cases
        .iter()
        .filter_map(|case| {
            let report = verify(&case.message, &case.records);
            let found = Want::of(&report);
            (found != case.want)
                .then(|| format!("{}: {found:?} not {:?}: {}", case.name, case.want, report.result))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    // Each label is there, so none of them is an empty promise.
    for code in [
        "sealed-as-failed",
        "bad-instance",
        "duplicate-field",
        "missing-field",
        "missing-set",
        "wrong-cv",
        "message-signature",
        "seal",
    ] {
        assert!(cases.iter().any(|case| case.want == Want::Fail(code)), "{code}");
    }
}

#[test]
fn fifty_sets_are_a_chain_and_one_more_is_none() {
    let chain = Chain::new(&keys(MAX_SETS));
    let sealed = chain.seal();
    let records = chain.records();
    let report = verify(chain.message(&sealed), &records);
    assert_eq!(Want::of(&report), Want::Pass(0));
    assert_eq!(report.sets.len(), MAX_SETS);
    assert!(report.sets.iter().map(|set| set.instance).eq(Instance::all()));

    for (at, want) in [(0, "seal"), (25, "seal"), (49, "seal")] {
        let mut broken = sealed.clone();
        break_signature(&mut broken[at][2].1);
        let found = Want::of(&verify(chain.message(&broken), &records));
        assert_eq!(found, Want::Fail(want), "{at}");
    }

    let more = Chain::new(&keys(MAX_SETS + 1));
    let message = more.message(&more.seal());
    assert_eq!(Want::of(&verify(&message, &more.records())), Want::Fail("too-many-sets"));
    assert_eq!(queries(&message), 0);
}

/// How many key records a message makes us ask for.
fn queries(message: &str) -> usize {
    let (header, _) = split_message(message.as_bytes());
    ArcVerifier::start(&Header::parse(header).unwrap(), NOW).1.len()
}

#[test]
fn a_chain_asks_for_two_keys_a_set_at_most_and_for_each_name_once() {
    let mut chain = Chain::new(&keys(MAX_SETS));
    assert_eq!(queries(&chain.message(&chain.seal())), 2 * MAX_SETS);
    for set in &mut chain.sets {
        set.key = Key::Ed25519;
        for tags in [&mut set.message_signature, &mut set.seal] {
            tags.set("a", "ed25519-sha256");
            tags.set("d", "hop.example");
            tags.set("s", "one");
        }
    }
    let message = chain.message(&chain.seal());
    assert_eq!(queries(&message), 1);
    assert_eq!(Want::of(&verify(&message, &chain.records())), Want::Pass(0));
}

#[test]
fn a_broken_structure_asks_for_no_key() {
    for cases in [Cases::of(keys(1), 1), Cases::of(keys(3), 2)] {
        for case in cases {
            let is_of_structure = match case.want {
                Want::Fail(code) => !matches!(code, "message-signature" | "seal"),
                Want::None => true,
                Want::Pass(_) => false,
            };
            assert_eq!(queries(&case.message) == 0, is_of_structure, "{}", case.name);
            assert_eq!(
                verify(&case.message, &case.records).sets.is_empty(),
                is_of_structure,
                "{}",
                case.name
            );
        }
    }
}

#[test]
fn fifty_lengths_of_a_body_are_hashed_in_one_pass() {
    let mut chain = Chain::new(&[Key::Ed25519; MAX_SETS]);
    for (number, set) in chain.sets.iter_mut().enumerate() {
        set.body = "x".repeat(200) + "\r\n";
        set.message_signature.set("l", &number.to_string());
    }
    let report = verify(chain.message(&chain.seal()), &chain.records());
    assert!(report.sets.iter().all(|set| set.message_signature.outcome.is_pass()));
    // The whole body is read once, and hashed to the last length that somebody signed.
    let work = report.work;
    assert_eq!((work.body_octets_read, work.body_octets), (202, MAX_SETS as u64 - 1));
    assert_eq!((work.signatures_read, work.key_operations), (2 * MAX_SETS, 2 * MAX_SETS));
    // A running hash goes on from seal to seal: the header is hashed a few times and not fifty times.
    let header = split_message(chain.message(&chain.seal()).as_bytes()).0.len() as u64;
    assert!(work.header_octets < 8 * header, "{} of {header}", work.header_octets);
}

#[test]
fn the_work_on_the_header_is_counted_to_the_octet() {
    let chain = Chain::new(&[Key::Ed25519]);
    let message = chain.message(&chain.seal());
    let report = verify(&message, &chain.records());
    let signature = report.sets[0].message_signature.hashed.unwrap().header_octets;
    let header = Header::parse(split_message(message.as_bytes()).0).unwrap();
    let canonical = ArcField::ALL.map(|kind| {
        let name = kind.field_name();
        let field = header.fields().find(|field| field.is_named(&name)).unwrap();
        let value = String::from_utf8(field.value().to_vec()).unwrap();
        let words: Vec<_> = value.split_ascii_whitespace().collect();
        format!("{}:{}\r\n", name.as_str().to_lowercase(), words.join(" "))
    });
    // The seal is hashed without the value of its `b=`, and is made canonical with it for the next seal.
    let tag = canonical[2].trim_end().split("; ").find(|tag| tag.starts_with("b=")).unwrap();
    let seal = canonical[2].len() - "\r\n".len() - (tag.len() - "b=".len());
    let all = canonical.iter().map(String::len).sum::<usize>() + seal;
    assert_eq!(report.work.header_octets, signature + all as u64);
}

#[test]
fn fields_of_a_set_are_called_by_their_names() {
    let names = ArcField::ALL.map(|field| field.to_string());
    assert_eq!(names, ["ARC-Authentication-Results", "ARC-Message-Signature", "ARC-Seal"]);
}

#[test]
fn long_lists_in_every_set_have_a_bound() {
    // As many fields as are searched one by one, and as many names as a list may have.
    for sets in [20, MAX_SETS] {
        let mut chain = Chain::new(&vec![Key::Ed25519; sets]);
        let names = "From".to_owned() + &":X-Not-There".repeat(999);
        chain.sets.iter_mut().for_each(|set| set.message_signature.set("h", &names));
        let report = verify(chain.message(&chain.seal()), &chain.records());
        let work = report.work;
        assert_eq!((work.signatures_read, work.key_queries), (2 * sets, 2 * sets), "{sets}");
        assert!(work.names_compared <= 4_000_000, "{sets}: {work:?}");
    }
}

#[test]
fn a_report_says_who_signed_each_set_and_how_it_ended() {
    let mut chain = Chain::new(&keys(3));
    for set in &mut chain.sets[1..] {
        set.body.push_str("footer\r\n");
    }
    let report = verify(chain.message(&chain.seal()), &chain.records());
    let text = "the chain of 3 sets verifies; the message is unchanged only since set 2";
    assert_eq!(report.result.to_string(), text);
    for (set, number) in report.sets.iter().zip(1..) {
        assert_eq!(set.instance.get(), number);
        for (part, selector) in [(&set.message_signature, "ams"), (&set.seal, "seal")] {
            let domain = part.signing_domain.as_ref().unwrap().as_str();
            assert_eq!(domain, format!("hop{number}.example"));
            assert_eq!(part.selector.as_ref().unwrap().as_str(), selector);
            let fails = number == 1 && selector == "ams";
            let want = if fails { Some(Outcome::BodyHashMismatch) } else { None };
            assert_eq!(Some(part.outcome).filter(|outcome| !outcome.is_pass()), want);
        }
    }
    // The newest set stands on top, its seal uppermost.
    assert_eq!(report.sets[2].seal.field, 0);
    assert_eq!(report.sets[0].message_signature.field, 7);
}

#[test]
fn keys_that_were_not_asked_for_in_the_end_fail_the_chain() {
    let chain = Chain::new(&keys(1));
    let message = chain.message(&chain.seal());
    let (header, body) = split_message(message.as_bytes());
    let (mut verifier, queries) = ArcVerifier::start(&Header::parse(header).unwrap(), NOW);
    assert_eq!(queries.len(), 2);
    verifier.body(body);
    assert_eq!(Want::of(&verifier.finish()), Want::Fail("message-signature"));
}

/// Pieces of which headers are made that come near to chains.
fn any_arc_header() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: &[&str] = &[
        "ARC-Seal:",
        "ARC-Message-Signature:",
        "ARC-Authentication-Results:",
        "From:",
        " ",
        "\t",
        "\r\n",
        "\r\n ",
        ";",
        "=",
        "i=1;",
        " i=1;",
        "i=2;",
        "i=50",
        "i=51;",
        "cv=none;",
        "cv=pass;",
        "cv=fail;",
        "a=rsa-sha256;",
        "a=ed25519-sha256;",
        "a=rsa-sha1;",
        "b=MTIz;",
        "bh=MTIz;",
        "d=a.example;",
        "s=s;",
        "h=from;",
        "h=arc-seal;",
        "l=1;",
        "t=1;",
        "x=2;",
        "c=relaxed;",
        "(",
        ")",
        "\\",
        "\0",
        "\u{e4}",
        "\r",
        "\n",
        "mx.example",
    ];
    let piece = prop_oneof![
        9 => select(PIECES).prop_map(|text| text.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..4),
    ];
    vec(piece, 0..120).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_header_ends_in_a_report(header in any_arc_header(), body in vec(any::<u8>(), 0..40)) {
        let header = Header::parse(&header).unwrap();
        let (mut verifier, queries) = ArcVerifier::start(&header, NOW);
        prop_assert!(queries.len() <= 2 * MAX_SETS);
        for query in queries {
            verifier.answer(query.id, KeyAnswer::from_texts([Key::Ed25519.record()]));
        }
        verifier.body(&body);
        let report = verifier.finish();
        prop_assert!(!report.result.is_pass());
        prop_assert!(!report.result.to_string().is_empty());
        prop_assert_eq!(report.result.oldest_pass(), None);
    }

    #[test]
    fn one_octet_changed_in_the_arc_fields_never_makes_another_chain_pass(
        at in any::<Index>(),
        octet in any::<u8>(),
    ) {
        let (message, records, end) = &*VALID;
        let mut changed = message.clone().into_bytes();
        let at = at.index(*end);
        changed[at] = octet;
        if verify(&changed, records).result.is_pass() {
            // Only white space, case of names, and white space in base64 and its padding count for nothing.
            let squeeze = |octets: &[u8]| {
                let text = octets.iter().filter(|octet| !b" \t\r\n=".contains(octet));
                text.map(u8::to_ascii_lowercase).collect::<Vec<_>>()
            };
            prop_assert_eq!(squeeze(&changed), squeeze(message.as_bytes()), "{}", at);
        }
    }
}

/// §2.10 of RFC 6376: base64 may end without padding. Nothing covers the last seal, so there it can be taken away.
#[test]
fn the_last_seal_needs_no_padding() {
    let (message, records, _) = &*VALID;
    let padding = message.find("==\r\n").unwrap();
    for other in ["=\t\r\n", "\r\n"] {
        let changed = [&message[..padding], other, &message[padding + 4..]].concat();
        assert!(verify(changed.as_bytes(), records).result.is_pass(), "{other:?}");
    }
    // The first seal is covered by those that came later.
    let padding =
        message[..message.find("ARC-Message-Signature: i=1;").unwrap()].rfind("==\r\n").unwrap();
    let changed = [&message[..padding], &message[padding + 2..]].concat();
    assert!(!verify(changed.as_bytes(), records).result.is_pass());
}

/// A chain of three sets, its records, and where its ARC fields end.
static VALID: LazyLock<(String, BTreeMap<String, String>, usize)> = LazyLock::new(|| {
    let chain = Chain::new(&keys(3));
    let message = chain.message(&chain.seal());
    let end = message.find("Received:").unwrap();
    (message, chain.records(), end)
});

//! Which changes to a signed message count (§3.4, §5.4).
//!
//! The slow implementation says what a change does: if the canonical body, the hash input and `b=` are what they
//! were, the signature has to pass, and else it may not. What an attacker adds and what a relay does are laws of
//! their own beside it.

use std::sync::LazyLock;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use postseal_dkim::{
    Algorithm, Canon, Canonicalization, DomainName, FieldSelection, Header, KeyAnswer,
    MessageSigning, Selector, SignRequest, UnixTime, Verifier, VerifyRules, key_record_text,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::slow;

static KEY: LazyLock<Ed25519KeyPair> = LazyLock::new(|| Ed25519KeyPair::generate().unwrap());

const NOW: UnixTime = UnixTime(1_790_000_000);

/// Signs with the default fields.
fn sign(message: &str, canonicalization: Canonicalization) -> String {
    let (header, body) = Header::of_message(message.as_bytes()).unwrap();
    let request = SignRequest {
        signing_domain: DomainName::parse("example.com").unwrap(),
        selector: Selector::parse("s1").unwrap(),
        algorithm: Algorithm::Ed25519Sha256,
        canonicalization,
        signed_at: NOW,
        expires_at: None,
        identity: None,
        fields: FieldSelection::default(),
    };
    let mut signing = MessageSigning::start(vec![request], &header).unwrap();
    signing.body(body);
    let unsigned = signing.finish().remove(0);
    let signature = KEY.sign(unsigned.digest());
    let field = unsigned.complete(signature.as_ref());
    String::from_utf8(field.raw().to_vec()).unwrap() + message
}

/// What the engine says.
fn passes(message: &str) -> bool {
    let (header, body) = Header::of_message(message.as_bytes()).unwrap();
    let (mut verifier, queries) = Verifier::start(&header, &VerifyRules::default(), NOW);
    for query in queries {
        let record = key_record_text(Algorithm::Ed25519Sha256, KEY.public_key().as_ref());
        verifier.answer(query.id, KeyAnswer::from_texts([record]));
    }
    verifier.body(body);
    verifier.finish().has_pass()
}

/// All on which the verdict depends: canonical body, hash input, `b=`. Nothing without a signature.
fn form(message: &str, canonicalization: Canonicalization) -> Option<(Vec<u8>, String, String)> {
    let (fields, body) = slow::cut(message);
    let is_signature = |field: &&String| slow::name(field).as_deref() == Some("dkim-signature");
    let signature = fields.iter().find(is_signature)?;
    Some((
        slow::body(canonicalization.body, &body, None),
        slow::hash_input(canonicalization.header, &fields, signature),
        slow::tag(signature, "b")?,
    ))
}

fn any_canonicalization() -> impl Strategy<Value = Canonicalization> {
    let canon = || select(vec![Canon::Simple, Canon::Relaxed]);
    (canon(), canon()).prop_map(|(header, body)| Canonicalization { header, body })
}

/// A message with one From and nearly always a body, on which each canonicalization has work to do.
fn any_message() -> impl Strategy<Value = String> {
    let name = select(vec![
        "To",
        "Cc",
        "Subject",
        "subject ",
        "Reply-To",
        "Date",
        "Content-Type",
        "MIME-Version",
        "List-Unsubscribe",
        "List-Id",
        "References",
        "Received",
        "X-Y",
        "x-y",
    ]);
    let value = "[!-9;-~ \t]{0,30}(\r\n[ \t][!-~]{1,9}[ \t]{0,3}){0,3}";
    let piece = select(vec![
        "word", "a", " ", "  ", "\t", "\r\n", "\r\n", "\r\n\r\n", ".", "é", "\n", "\r",
    ]);
    (vec((name, value), 0..9), any::<Index>(), vec(piece, 0..40)).prop_map(
        |(fields, from, body)| {
            let mut fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{name}:{value}\r\n")).collect();
            fields.insert(from.index(fields.len() + 1), "From: A  <a@example.com>\r\n".to_owned());
            format!("{}\r\n{}", fields.concat(), body.concat())
        },
    )
}

/// Where the message begins below its signature, and where its body does.
fn starts(signed: &str, message: &str) -> (usize, usize) {
    let below = signed.len() - message.len();
    (below, below + message.find("\r\n\r\n").unwrap() + 4)
}

/// A place between two characters.
fn place(text: &str, from: usize, index: &Index) -> usize {
    let mut at = from + index.index(text.len() - from + 1);
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    /// One to three edits anywhere below the signature: characters put in, taken out, or exchanged.
    #[test]
    fn the_verdict_is_that_of_the_canonical_forms(
        message in any_message(),
        canonicalization in any_canonicalization(),
        edits in vec(
            (
                any::<Index>(),
                0_usize..4,
                select(vec![
                    "", "", " ", "  ", "\t", "\r\n", "\r\n ", "\r\n\t", "\r\n\r\n", "x", "X", ":", "é", "\r", "\n",
                    "To: x\r\n", "X-New: y\r\n", "Received: z\r\n",
                ]),
            ),
            1..4,
        ),
    ) {
        let signed = sign(&message, canonicalization);
        let (below, _) = starts(&signed, &message);
        let mut changed = signed.clone();
        for (index, removed, added) in &edits {
            let from = place(&changed, below.min(changed.len()), index);
            let mut to = (from + removed).min(changed.len());
            while !changed.is_char_boundary(to) {
                to += 1;
            }
            changed.replace_range(from..to, added);
        }
        let unchanged = form(&signed, canonicalization);
        prop_assert!(unchanged.is_some() && passes(&signed), "{}", signed);
        let want = form(&changed, canonicalization) == unchanged;
        prop_assert_eq!(passes(&changed), want, "{}", changed);
    }

    /// White space alone, as relays change it, so that many of the changes are none.
    #[test]
    fn the_verdict_on_white_space_is_that_of_the_canonical_forms(
        message in any_message(),
        canonicalization in any_canonicalization(),
        index in any::<Index>(),
        added in select(vec![" ", "\t", "\r\n ", "\r\n\t", "\r\n"]),
    ) {
        let signed = sign(&message, canonicalization);
        let (below, _) = starts(&signed, &message);
        // Behind white space or in front of it, where relaxed forms see no difference.
        let is_space = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
        let places: Vec<usize> = signed
            .char_indices()
            .filter(|(at, c)| *at > below && is_space(*c))
            .map(|(at, _)| at)
            .collect();
        let mut changed = signed.clone();
        changed.insert_str(places[index.index(places.len())], added);
        let want = form(&changed, canonicalization) == form(&signed, canonicalization);
        prop_assert_eq!(passes(&changed), want, "{}", changed);
    }

    #[test]
    fn a_field_that_readers_see_cannot_be_added(
        message in any_message(),
        canonicalization in any_canonicalization(),
        name in select(vec!["From", "FROM ", "Subject", "Reply-To", "Content-Type", "content-type\t", "To", "Cc",
            "MIME-Version", "Content-Transfer-Encoding"]),
        value in "( [!-~]{0,20})?",
        at_bottom in any::<bool>(),
    ) {
        let signed = sign(&message, canonicalization);
        let (below, body) = starts(&signed, &message);
        let places = [0, below, body - 2];
        for place in if at_bottom { &places[2..] } else { &places[..2] } {
            let mut changed = signed.clone();
            changed.insert_str(*place, &format!("{name}:{value}\r\n"));
            prop_assert!(!passes(&changed), "{}", changed);
            prop_assert_ne!(form(&changed, canonicalization), form(&signed, canonicalization));
        }
    }

    /// A signature over List-Unsubscribe says where one unsubscribes (RFC 8058 §4); a second one may not.
    #[test]
    fn a_second_list_unsubscribe_cannot_be_added(
        message in any_message(),
        canonicalization in any_canonicalization(),
        value in "[!-~]{1,20}",
    ) {
        let message = format!("List-Unsubscribe: <https://example.com/u>\r\n{message}");
        let signed = sign(&message, canonicalization);
        for place in [0, starts(&signed, &message).0, starts(&signed, &message).1 - 2] {
            let mut changed = signed.clone();
            changed.insert_str(place, &format!("list-unsubscribe: {value}\r\n"));
            prop_assert!(!passes(&changed), "{}", changed);
        }
    }

    #[test]
    fn what_relays_do_changes_nothing(
        message in any_message(),
        canonicalization in any_canonicalization(),
        lines in 1_usize..5,
        fold in select(vec!["\r\n ", "\r\n\t", "  ", "\t"]),
    ) {
        let message = format!("X-Unsigned: one two three\r\n{message}");
        let signed = sign(&message, canonicalization);
        let trace = format!("Received: from a by b;\r\n\tdate\r\nReturn-Path: <x>\r\n{signed}");
        prop_assert!(passes(&trace), "{}", trace);
        let refolded = signed.replacen("one two", &format!("one{fold}two"), 1);
        prop_assert!(refolded != signed && passes(&refolded), "{}", refolded);
        let added = signed.replacen("X-Unsigned", "X-Added: 1\r\nX-Unsigned", 1);
        prop_assert!(added != signed && passes(&added), "{}", added);
        let removed = signed.replacen("X-Unsigned: one two three\r\n", "", 1);
        prop_assert!(removed != signed && passes(&removed), "{}", removed);
        // Empty lines at the end count for nothing (§3.4.3, §3.4.4), once the last line is ended.
        let ended = if message.ends_with("\r\n") { signed } else { signed + "\r\n" };
        let longer = ended + &"\r\n".repeat(lines);
        prop_assert!(passes(&longer), "{}", longer);
    }
}

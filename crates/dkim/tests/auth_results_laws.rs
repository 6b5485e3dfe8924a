//! What holds for every Authentication-Results field that is written, and for every one that is read.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::HashSet;

use postseal_dkim::auth_results::{
    Keyword, KeywordError, MAX_KEYWORD_LEN, MAX_LEN, MAX_PROPERTIES, MAX_REPORTED_SIGNATURES,
    MAX_RESULTS, MAX_TEXT_LEN, MethodResult, Property, ResultWord, Text, WriteError,
};
use postseal_dkim::{
    Algorithm, AuthenticationResults, AuthservId, DomainName, Header, Identity, KeyAnswer,
    KeyRecord, Outcome, Report, ResultsField, Selector, Signature, SignatureError, SignatureReport,
    UnixTime, Verifier, VerifyRules, key_record_text, split_message,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// Text with all that could break out of its place.
fn any_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z0-9.@-]{0,12}",
        4 => r#"[ \t"'\\();:,=@<>/\[\]?.]{1,4}"#,
        1 => "[\0\r\n\x7f\u{80}]",
        1 => "\\PC{1,3}",
        1 => Just("; dkim=pass header.d=bank.example".to_owned()),
        1 => "[a-z]{90}",
        1 => " {80}",
    ];
    vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn any_keyword() -> impl Strategy<Value = Keyword<'static>> {
    "[a-zA-Z0-9][a-zA-Z0-9_-]{0,8}|reason|none|dkim".prop_map(|text| Keyword::new(text).unwrap())
}

fn text(text: String) -> Option<Text<'static>> {
    Text::international(text).ok()
}

fn any_result() -> impl Strategy<Value = MethodResult<'static>> {
    let property = (any_keyword(), any_keyword(), any_text().prop_filter_map("no text", text))
        .prop_map(|(kind, name, value)| Property::new(kind, name, value));
    let reason = option::of(any_text().prop_filter_map("no text", text));
    (any_keyword(), option::of(any::<u32>()), any_keyword(), reason, vec(property, 0..4)).prop_map(
        |(method, version, result, reason, properties)| MethodResult {
            version,
            reason,
            properties,
            ..MethodResult::new(method, result)
        },
    )
}

/// Pieces of the grammar, and what breaks it, in any order.
fn any_field() -> impl Strategy<Value = Vec<u8>> {
    let pieces: &[&[u8]] = &[
        b";",
        b"=",
        b".",
        b"/",
        b" ",
        b"\r\n ",
        b"(",
        b")",
        b"\"",
        b"\\",
        b"@",
        b"mx.example",
        b"1",
        b"dkim=pass",
        b" header.d=",
        b"none",
        b" reason=",
        b"(a)",
        b"\"b\"",
        b"\xff",
        b"\0",
        b"\n",
        b"; ",
        b"; spf=x_y",
    ];
    let piece = select(pieces);
    vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// A DKIM-Signature field of which the sender chose every part.
fn any_signature() -> impl Strategy<Value = Vec<u8>> {
    let octets = |good: &'static str| {
        prop_oneof![
            12 => good.prop_map(String::into_bytes),
            2 => any_text().prop_map(|text| text.replace(['\r', '\n'], "").into_bytes()),
            1 => vec(any::<u8>(), 0..12),
        ]
    };
    let domain = octets("example\\.com|A\\.Example\\.com|bank\\.example");
    let selector = octets("s1|[a-z_]{1,5}(\\.[a-z]{1,3})?");
    let identity = octets(r#"([a-z"()/\\@,:<>]|=[0-9A-F]{2}|ü){0,9}@(a\.){1,2}example\.com"#);
    let algorithm = octets("rsa-sha256|ed25519-sha256|RSA-SHA256");
    let signature = octets("([a-zA-Z0-9/+]{4}){3,12}");
    (domain, selector, identity, algorithm, signature).prop_map(|(d, s, i, a, b)| {
        let parts: [&[u8]; 12] = [
            b"DKIM-Signature: v=1; a=",
            &a,
            b"; d=",
            &d,
            b"; s=",
            &s,
            b"; h=From; bh=MTIz; i=",
            &i,
            b"; b=",
            &b,
            b"",
            b"\r\n",
        ];
        parts.concat()
    })
}

fn verified(signatures: &[Vec<u8>]) -> Report {
    let message = [&signatures.concat(), &b"From: a@example.com\r\n\r\nHi\r\n"[..]].concat();
    let (header, body) = split_message(&message);
    let header = Header::parse(header).unwrap();
    let now = UnixTime(1_790_000_000);
    let (mut verifier, queries) = Verifier::start(&header, &VerifyRules::default(), now);
    for query in queries {
        verifier.answer(query.id, KeyAnswer::NoRecord);
    }
    verifier.body(body);
    verifier.finish()
}

fn server() -> AuthservId<'static> {
    AuthservId::new("mx.example.org").unwrap()
}

fn assert_is_one_folded_field(field: &ResultsField) {
    let raw = str::from_utf8(field.raw()).unwrap();
    assert_eq!(Header::parse(field.raw()).unwrap().len(), 1, "{raw}");
    assert_eq!([b"Authentication-Results:", field.value(), b"\r\n"].concat(), field.raw());
    assert_eq!(field.name(), "Authentication-Results");
    // White space of mail is space and tab; the others of Unicode are words.
    let is_wsp = |c: char| matches!(c, ' ' | '\t');
    for line in raw.strip_suffix("\r\n").unwrap().split("\r\n") {
        let text = line.trim_matches(is_wsp);
        assert!(!text.is_empty(), "{raw:?}");
        assert!(!line.contains(['\r', '\n', '\0']), "{line:?}");
        assert!(line.len() <= 998, "{line}");
        // A long line is a single word, perhaps with a run of white space at its end.
        let words = text.split("; ").next().unwrap().split(is_wsp);
        assert!(line.len() < 78 || words.filter(|word| !word.is_empty()).count() <= 2, "{line}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_was_written_is_read(
        id in any_text(),
        results in vec(any_result(), 0..5),
    ) {
        let id = AuthservId::new(id).unwrap_or_else(|_| server());
        let field = ResultsField::new(&id, &results).unwrap();
        assert_is_one_folded_field(&field);
        let read = AuthenticationResults::parse(field.value()).unwrap();
        prop_assert_eq!(read.authserv_id().map(AuthservId::as_str), Some(id.as_str()));
        prop_assert_eq!(read.version(), None);
        prop_assert_eq!(read.results(), results);
        prop_assert!(read.not_understood().is_empty());
    }

    /// Whatever a sender puts into signatures, each gets one result with its own `d=`.
    #[test]
    fn a_sender_adds_nothing_to_the_results(signatures in vec(any_signature(), 0..6)) {
        let report = verified(&signatures);
        let field = ResultsField::of_report(&server(), &report);
        assert_is_one_folded_field(&field);
        // There are readers that do not know backslashes.
        prop_assert!(field.raw().iter().all(|octet| octet.is_ascii() && *octet != b'\\'));
        let read = AuthenticationResults::parse(field.value()).unwrap();
        prop_assert_eq!(read.authserv_id(), Some(&server()));
        prop_assert!(read.not_understood().is_empty());
        if signatures.is_empty() {
            prop_assert_eq!(read.results(), [MethodResult::new(Keyword::literal("dkim"), Keyword::literal("none"))]);
            return Ok(());
        }
        prop_assert_eq!(read.results().len(), report.signatures.len());
        for (result, signature) in read.results().iter().zip(&report.signatures) {
            prop_assert!(result.method == *"dkim");
            prop_assert_eq!(result.word(), Some(ResultWord::from(signature.outcome.result())));
            prop_assert_eq!(result.reason.as_ref().unwrap().as_str(), signature.outcome.to_string());
            let names: Vec<_> = result.properties.iter().map(|property| property.name().as_str()).collect();
            let once: HashSet<_> = names.iter().collect();
            prop_assert_eq!(once.len(), names.len());
            let value = |name| result.property("header", name).map(Text::as_str);
            prop_assert_eq!(value("d"), signature.signing_domain.as_ref().map(DomainName::as_str));
            prop_assert_eq!(value("s"), signature.selector.as_ref().map(Selector::as_str));
            prop_assert_eq!(value("a"), signature.algorithm.as_deref());
        }
        // The same, from the fields themselves.
        if report.signatures.len() == signatures.len() {
            for (result, raw) in read.results().iter().zip(&signatures) {
                let header = Header::parse(raw).unwrap();
                let Ok(signature) = Signature::parse(header.fields().next().unwrap().value()) else { continue };
                let value = |name| result.property("header", name).map(Text::as_str);
                prop_assert_eq!(value("d"), Some(signature.signing_domain().as_str()));
                prop_assert_eq!(value("i").is_some(), signature.identity().is_some());
                if let Some(identity) = value("i") {
                    // Another encoding of the same.
                    let text = format!("v=1; a=rsa-sha256; d=example.com; s=s; h=From; bh=MTIz; b=MTIz; i={identity}");
                    let told = Signature::parse(text.as_bytes()).unwrap();
                    prop_assert_eq!(told.identity(), signature.identity());
                    prop_assert_eq!(identity.matches('@').count(), 1);
                }
                prop_assert!(value("b").unwrap().len() >= 8 || signature.signature().len() < 6);
            }
        }
    }

    #[test]
    fn any_octets_end_in_a_value_or_an_error(
        octets in prop_oneof![2 => any_field(), 1 => vec(any::<u8>(), 0..200)],
    ) {
        let Ok(read) = AuthenticationResults::parse(&octets) else { return Ok(()) };
        // What was understood says the same when it is written down again.
        let field = ResultsField::new(&server(), read.results()).unwrap();
        let again = AuthenticationResults::parse(field.value()).unwrap();
        let without_comments: Vec<_> = read
            .results()
            .iter()
            .map(|result| MethodResult { comments: vec![], ..result.clone() })
            .collect();
        prop_assert_eq!(again.results(), without_comments);
        prop_assert!(again.not_understood().is_empty());
    }
}

/// A report as no message needs to bring it about.
fn report(signatures: Vec<SignatureReport>) -> Report {
    let mut report = any_report();
    report.signatures = signatures;
    report
}

fn any_report() -> Report {
    let header = Header::parse(b"DKIM-Signature: no tag list\r\n").unwrap();
    Verifier::start(&header, &VerifyRules::default(), UnixTime(0)).0.finish()
}

fn signature_report(b: &[u8], outcome: Outcome) -> SignatureReport {
    let domain = DomainName::parse("example.com").unwrap();
    let mut signature = any_report().signatures.remove(0);
    signature.signing_domain = Some(domain.clone());
    signature.selector = Some(Selector::parse("s1").unwrap());
    signature.algorithm = Some("rsa-sha256".into());
    signature.identity = Some(Identity::of_domain(domain));
    signature.signature = Some(b.into());
    signature.outcome = outcome;
    signature
}

const PASS: Outcome = Outcome::Verified(postseal_dkim::Remarks {
    uncovered: None,
    is_testing: false,
    is_from_future: false,
});

#[test]
fn a_report_is_written_as_a_receiver_would() {
    let mut unreadable = signature_report(b"", Outcome::Malformed(SignatureError::BadVersion));
    (unreadable.signing_domain, unreadable.selector) = (None, None);
    (unreadable.identity, unreadable.algorithm, unreadable.signature) = (None, None, None);
    let mut testing = signature_report(b"", Outcome::SignatureMismatch);
    let record = key_record_text(Algorithm::Ed25519Sha256, &[9; 32]) + "; t=y";
    testing.key = Some(KeyRecord::parse(record.as_bytes()).unwrap());
    let signatures = vec![
        signature_report(&[0xFF; 256], PASS),
        signature_report(&[0; 256], Outcome::BodyHashMismatch),
        unreadable,
        testing,
    ];
    let field = ResultsField::of_report(&server(), &report(signatures));
    assert_eq!(
        str::from_utf8(field.raw()).unwrap(),
        "Authentication-Results: mx.example.org;\r\n \
         dkim=pass header.d=example.com header.i=@example.com header.s=s1\r\n \
         header.a=rsa-sha256 header.b=\"////////\";\r\n \
         dkim=fail reason=\"the body hash did not verify: the body was changed after\r\n \
         signing\" header.d=example.com header.i=@example.com header.s=s1\r\n \
         header.a=rsa-sha256 header.b=AAAAAAAA;\r\n \
         dkim=permerror reason=\"the signature is unusable: v= is not 1\";\r\n \
         dkim=fail reason=\"the signature did not verify: a signed field was changed,\r\n \
         or another key signed; the domain is only testing (t=y)\"\r\n \
         header.d=example.com header.i=@example.com header.s=s1 header.a=rsa-sha256\r\n"
    );
    let none = ResultsField::of_report(&server(), &report(vec![]));
    assert_eq!(none.raw(), b"Authentication-Results: mx.example.org;\r\n dkim=none\r\n");
    let nothing = ResultsField::new(&server(), &[]).unwrap();
    assert_eq!(nothing.raw(), b"Authentication-Results: mx.example.org; none\r\n");
}

#[test]
fn signatures_of_the_same_key_are_told_apart_by_their_start() {
    let starts = |signatures: Vec<SignatureReport>| {
        let field = ResultsField::of_report(&server(), &report(signatures));
        let read = AuthenticationResults::parse(field.value()).unwrap();
        let b = |result: &MethodResult<'_>| result.property("header", "b").unwrap().to_string();
        read.results().iter().map(b).collect::<Vec<_>>()
    };
    let signature = |b: &[u8]| signature_report(b, PASS);

    // 21 octets are 28 characters.
    let long = |last: u8| [&[0; 20][..], &[last]].concat();
    let told = starts(vec![
        signature(&long(0)),
        signature(&long(1)),
        signature(b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF"),
    ]);
    assert_eq!(
        told,
        [format!("{}A", "A".repeat(27)), format!("{}B", "A".repeat(27)), "////////".to_owned()]
    );
    // Of other domains and selectors, eight are enough.
    let mut other_domain = signature(&long(1));
    other_domain.signing_domain = Some(DomainName::parse("example.net").unwrap());
    let mut other_selector = signature(&long(2));
    other_selector.selector = Some(Selector::parse("s2").unwrap());
    assert_eq!(starts(vec![signature(&long(0)), other_domain, other_selector]), ["AAAAAAAA"; 3]);
    // Beyond what has room on a line, nobody looks.
    let longer = |last: u8| [&[0; 700][..], &[last]].concat();
    assert_eq!(starts(vec![signature(&longer(0)), signature(&longer(1))]), ["AAAAAAAA"; 2]);
    // Copies are the same, and one may be the start of the other.
    assert_eq!(starts(vec![signature(&long(0)), signature(&long(0))]), ["AAAAAAAA"; 2]);
    assert_eq!(
        starts(vec![signature(&[0; 9]), signature(&[0; 3]), signature(&[0; 12])]),
        ["A".repeat(12), "AAAA".to_owned(), "A".repeat(13)]
    );
}

#[test]
fn signatures_that_were_checked_come_first_where_room_is_short() {
    let signatures: Vec<_> = (0..MAX_REPORTED_SIGNATURES + 30)
        .map(|place| {
            let outcome = if place % 11 == 10 { Outcome::NoKey } else { Outcome::NotChecked };
            signature_report(&[0xFF; 9], outcome)
        })
        .collect();
    let field = ResultsField::of_report(&server(), &report(signatures));
    let read = AuthenticationResults::parse(field.value()).unwrap();
    assert_eq!(read.results().len(), MAX_REPORTED_SIGNATURES);
    assert_eq!(
        read.results().iter().filter(|r| r.word() == Some(ResultWord::PermError)).count(),
        5
    );

    let signatures =
        vec![signature_report(&[0xFF; 9], Outcome::NoKey); MAX_REPORTED_SIGNATURES + 1];
    let field = ResultsField::of_report(&server(), &report(signatures));
    let read = AuthenticationResults::parse(field.value()).unwrap();
    assert_eq!(read.results().len(), MAX_REPORTED_SIGNATURES);
}

#[test]
fn the_longest_report_keeps_within_the_bounds() {
    let label = "a".repeat(61);
    let name = [&*label; 4].join(".");
    let domain = DomainName::parse(&name).unwrap();
    let signatures: Vec<_> = (0..MAX_REPORTED_SIGNATURES)
        .map(|place| {
            let b = [&[0; 590][..], &[place.try_into().unwrap()]].concat();
            let mut signature = signature_report(&b, Outcome::BodyCut);
            signature.signing_domain = Some(domain.clone());
            signature.selector = Some(Selector::parse(&name).unwrap());
            signature.algorithm = Some("x".repeat(32).into());
            signature.identity = Some(Identity::new(&"\u{1}".repeat(64), domain.clone()).unwrap());
            signature
        })
        .collect();
    let id = AuthservId::new("x".repeat(MAX_TEXT_LEN)).unwrap();
    let field = ResultsField::of_report(&id, &report(signatures));
    assert!(field.value().len() > MAX_LEN / 2, "{}", field.value().len());
    assert!(field.value().len() <= MAX_LEN, "{}", field.value().len());
    assert_is_one_folded_field(&field);
    let read = AuthenticationResults::parse(field.value()).unwrap();
    assert_eq!(read.results().len(), MAX_REPORTED_SIGNATURES);
    assert!(read.results().iter().all(|result| result.properties.len() == 5));
}

#[test]
fn a_longer_identity_is_left_out() {
    let raw = format!(
        "DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=s1; h=From; bh=MTIz; b=MTIz; i={}@example.com\r\n",
        "=00".repeat(300)
    );
    let field = ResultsField::of_report(&server(), &verified(&[raw.into_bytes()]));
    let read = AuthenticationResults::parse(field.value()).unwrap();
    let names: Vec<_> = read.results()[0].properties.iter().map(|p| p.name().as_str()).collect();
    assert_eq!(names, ["d", "s", "a", "b"]);
}

#[test]
fn what_is_too_much_is_not_written() {
    let result = || MethodResult::new(Keyword::literal("a"), Keyword::literal("b"));
    let write = |results: &[MethodResult<'_>]| ResultsField::new(&server(), results).map(|_| ());
    assert_eq!(write(&vec![result(); MAX_RESULTS]), Ok(()));
    assert_eq!(write(&vec![result(); MAX_RESULTS + 1]), Err(WriteError::TooManyResults));

    let with_properties = |n, len| {
        let value = Text::new("x".repeat(len)).unwrap();
        let property = Property::new(Keyword::literal("header"), Keyword::literal("d"), value);
        MethodResult { properties: vec![property; n], ..result() }
    };
    assert_eq!(write(&[with_properties(MAX_PROPERTIES, 1)]), Ok(()));
    assert_eq!(
        write(&[with_properties(MAX_PROPERTIES + 1, 1)]),
        Err(WriteError::TooManyProperties)
    );
    assert_eq!(write(&[with_properties(MAX_PROPERTIES, MAX_TEXT_LEN)]), Ok(()));
    assert_eq!(
        write(&vec![with_properties(MAX_PROPERTIES, MAX_TEXT_LEN); 3]),
        Err(WriteError::TooLong)
    );
}

#[test]
fn the_longest_words_stay_on_a_line() {
    let keyword = Keyword::new("k".repeat(MAX_KEYWORD_LEN)).unwrap();
    assert_eq!(Keyword::new("k".repeat(MAX_KEYWORD_LEN + 1)), Err(KeywordError));
    let value = Text::new("\"".repeat(MAX_TEXT_LEN / 2)).unwrap();
    let property = Property::new(keyword.clone(), keyword.clone(), value.clone());
    let result = MethodResult {
        version: Some(u32::MAX),
        reason: Some(value),
        properties: vec![property; 2],
        ..MethodResult::new(keyword.clone(), keyword)
    };
    let field = ResultsField::new(&server(), &vec![result; 2]).unwrap();
    assert_is_one_folded_field(&field);
}

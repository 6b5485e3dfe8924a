//! Laws of what travels with a message about its verification: Authentication-Results and ARC chains.

use super::message::{KEY, NOW};
use crate::algorithm::Algorithm;
use crate::arc::{ArcField, ArcReport, ArcResult, ArcVerifier};
use crate::auth_results::{AuthenticationResults, ResultsField};
use crate::field::Header;
use crate::key_query::KeyAnswer;
use crate::key_record::key_record_text;

use aws_lc_rs::signature::KeyPair as _;

/// What was understood of a field reads the same when it is written anew, and what is written is one field
/// whose lines are all folded.
pub(super) fn auth_results(input: &[u8]) {
    let Ok(read) = AuthenticationResults::parse(input) else { return };
    let Some(authserv_id) = read.authserv_id() else { return };
    // Comments are read and never written.
    let mut results = read.results().to_vec();
    results.iter_mut().for_each(|result| result.comments.clear());
    let Ok(field) = ResultsField::new(authserv_id, &results) else { return };
    let again = AuthenticationResults::parse(field.value()).expect("what was written can be read");
    assert_eq!(again.authserv_id(), Some(authserv_id));
    assert_eq!(again.results(), results);
    assert!(again.not_understood().is_empty());

    let lines = field.raw().strip_suffix(b"\r\n").expect("a field ends with its line");
    let text = String::from_utf8_lossy(lines);
    for (number, line) in text.split("\r\n").enumerate() {
        assert!(!line.contains(['\r', '\n', '\0']), "{text}");
        // Other white space of Unicode is none of mail (RFC 5234 §B.1).
        let wsp = [' ', '\t'];
        let holds_more = !line.trim_matches(wsp).is_empty();
        assert!(number == 0 || line.starts_with(wsp) && holds_more, "{text}");
    }
}

/// A chain has as many sets as seals, numbered from one, or is broken; only signatures that verify make it
/// pass, and fields that are none of its own change nothing.
pub(super) fn arc(input: &[u8]) {
    let Ok((header, body)) = Header::of_message(input) else { return };
    let report = judged(&header, body);
    let count = |field: ArcField| header.count(&field.field_name());
    let counts = ArcField::ALL.map(count);
    match report.result {
        ArcResult::None => assert_eq!(counts, [0; 3]),
        ArcResult::Pass { sets, oldest_pass } => {
            assert_eq!(counts, [sets; 3]);
            assert!(report.sets.iter().all(|set| set.seal.outcome.is_pass()));
            let first = oldest_pass.map_or(1, |instance| usize::from(instance.get()));
            let unchanged = report.sets.iter().skip(first - 1);
            assert!(unchanged.clone().count() > 0);
            assert!(unchanged.clone().all(|set| set.message_signature.outcome.is_pass()));
        }
        ArcResult::Fail(_) => assert_ne!(counts, [0; 3]),
    }
    if !report.sets.is_empty() {
        assert_eq!(counts, [report.sets.len(); 3]);
        for (set, number) in report.sets.iter().zip(1..) {
            assert_eq!(set.instance.get(), number);
        }
    }

    // A field on top belongs to nobody, unless the header begins folded and would go on with it.
    if input.starts_with(b" ") || input.starts_with(b"\t") {
        return;
    }
    let with_trace = [b"Received: by hop.example\r\n", input].concat();
    let Ok((header, body)) = Header::of_message(&with_trace) else { return };
    assert_eq!(judged(&header, body).result, report.result);
}

fn judged(header: &Header<'_>, body: &[u8]) -> ArcReport {
    let (mut verifier, queries) = ArcVerifier::start(header, NOW);
    let record = key_record_text(Algorithm::Ed25519Sha256, KEY.public_key().as_ref());
    for query in queries {
        verifier.answer(query.id, KeyAnswer::from_texts([&record]));
    }
    verifier.body(body);
    verifier.finish()
}

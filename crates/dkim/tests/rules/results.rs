//! How a signature ends (§6.1, §3.9), and the word for it (RFC 8601 §2.7.1).

use postseal_dkim::tag_list::TagListError;
use postseal_dkim::{
    AuthResult, Header, KeyAnswer, KeyRecordError, MAX_SIGNATURES, Outcome, Remarks,
    SignatureError, Verifier, VerifyRules,
};

use crate::by_hand::{BODY, FROM, NOW, TAGS, field, outcomes, pass, record};

/// RFC 8601 §2.7.1: the words, each with all that ends in it.
#[test]
fn each_end_has_its_word() {
    let remarks = [
        Remarks::default(),
        Remarks { uncovered: Some(1), ..Remarks::default() },
        Remarks { is_testing: true, ..Remarks::default() },
        Remarks { is_from_future: true, ..Remarks::default() },
    ];
    for remarks in remarks {
        assert_eq!(Outcome::Verified(remarks).result().as_str(), "pass");
    }
    for (outcome, word) in [
        (Outcome::BodyHashMismatch, "fail"),
        (Outcome::BodyCut, "fail"),
        (Outcome::SignatureMismatch, "fail"),
        (Outcome::Sha1, "policy"),
        (Outcome::ShortKey { bits: 512 }, "policy"),
        (Outcome::Malformed(SignatureError::BadVersion), "permerror"),
        (Outcome::Malformed(SignatureError::TagList(TagListError::BadName)), "permerror"),
        (Outcome::LengthBeyondBody, "permerror"),
        (Outcome::Expired, "permerror"),
        (Outcome::NoKey, "permerror"),
        (Outcome::BadKeyRecord(KeyRecordError::Revoked), "permerror"),
        (Outcome::KeyTypeMismatch, "permerror"),
        (Outcome::HashNotAllowed, "permerror"),
        (Outcome::NotForEmail, "permerror"),
        (Outcome::IdentityNotExact, "permerror"),
        (Outcome::KeyTimeout, "temperror"),
        (Outcome::KeyServerFailure, "temperror"),
        (Outcome::NotAnswered, "temperror"),
        (Outcome::NotChecked, "neutral"),
    ] {
        assert_eq!(outcome.result().as_str(), word, "{outcome:?}");
        assert_eq!(outcome.result().to_string(), word);
        assert!(!outcome.is_pass());
    }
}

/// §3.6.1 `t=y`, §3.5 `l=` and `t=`: a person who reads the outcome learns what is remarkable about it.
#[test]
fn remarks_are_said() {
    let all = Remarks { uncovered: Some(12), is_testing: true, is_from_future: true };
    assert_eq!(
        Outcome::Verified(all).to_string(),
        "the signature verifies; l= leaves the last 12 octets of the body uncovered; \
         the domain is only testing (t=y); t= lies in the future"
    );
    assert_eq!(pass().to_string(), "the signature verifies");
}

/// §6.1.1, §6.1.2, §6.1.3: what is found out first decides: the field, then the key, then the body, then
/// the signature.
#[test]
fn the_first_thing_that_is_wrong_decides() {
    let wrong_body = "other\r\n";
    let no_mail = KeyAnswer::from_texts([format!("{}; s=x; t=s", record())]);
    let good = KeyAnswer::from_texts([record()]);
    let judge = |tags: &str, from: &str, answer: &KeyAnswer| {
        let message = format!("{}{FROM}\r\n{BODY}", field(tags, from, wrong_body));
        outcomes(message.as_bytes(), answer)[0]
    };
    let broken = format!("{TAGS}; l=x; x=1; i=@sub.example.com");
    let expired = format!("{TAGS}; x=1; i=@sub.example.com");
    let foreign = format!("{TAGS}; i=@sub.example.com");
    let malformed = Outcome::Malformed(SignatureError::BadBodyLength);
    assert_eq!(judge(&broken, "", &no_mail), malformed);
    assert_eq!(judge(&expired, "", &no_mail), Outcome::Expired);
    assert_eq!(judge(&foreign, "", &KeyAnswer::Timeout), Outcome::KeyTimeout);
    assert_eq!(judge(&foreign, "", &no_mail), Outcome::NotForEmail);
    let strict = KeyAnswer::from_texts([format!("{}; t=s", record())]);
    assert_eq!(judge(&foreign, "", &strict), Outcome::IdentityNotExact);
    assert_eq!(judge(&foreign, "", &good), Outcome::BodyHashMismatch);
    let message = format!("{}{FROM}\r\n{BODY}", field(&foreign, "", BODY));
    assert_eq!(outcomes(message.as_bytes(), &good), [Outcome::SignatureMismatch]);
}

/// §6.1: each signature is judged by itself, from the top, and one that passes is enough.
#[test]
fn signatures_are_judged_one_by_one() {
    let good = field(TAGS, FROM, BODY);
    let wrong = field(TAGS, FROM, "other\r\n");
    let broken = "DKIM-Signature: v=1\r\n";
    let message = format!("{wrong}x:1\r\n{broken}{good}{good}{FROM}\r\n{BODY}");
    let (header, body) = Header::of_message(message.as_bytes()).unwrap();
    let (mut verifier, queries) = Verifier::start(&header, &VerifyRules::default(), NOW);
    assert_eq!(queries.len(), 1);
    verifier.answer(queries[0].id, KeyAnswer::Timeout);
    // A second answer to the same question replaces the first.
    verifier.answer(queries[0].id, KeyAnswer::from_texts([record()]));
    verifier.body(body);
    let report = verifier.finish();
    let ends: Vec<_> = report.signatures.iter().map(|s| (s.field, s.outcome)).collect();
    let missing = Outcome::Malformed(SignatureError::MissingTag("a"));
    let want = [(0, Outcome::BodyHashMismatch), (2, missing), (3, pass()), (4, pass())];
    assert_eq!(ends, want);
    assert!(report.has_pass());

    let failing = format!("{wrong}{broken}{FROM}\r\n{BODY}");
    let (header, body) = Header::of_message(failing.as_bytes()).unwrap();
    let (mut verifier, queries) = Verifier::start(&header, &VerifyRules::default(), NOW);
    verifier.answer(queries[0].id, KeyAnswer::from_texts([record()]));
    verifier.body(body);
    assert!(!verifier.finish().has_pass());
}

/// §6.1.2: what the DNS says instead of a record ends a signature in a way of its own, and so does silence.
#[test]
fn answers_without_a_record_have_their_own_ends() {
    let message = format!("{}{FROM}\r\n{BODY}", field(TAGS, FROM, BODY));
    for (answer, want) in [
        (KeyAnswer::NoRecord, Outcome::NoKey),
        (KeyAnswer::Records([].into()), Outcome::NoKey),
        (KeyAnswer::from_texts::<&str>([]), Outcome::NoKey),
        (KeyAnswer::Timeout, Outcome::KeyTimeout),
        (KeyAnswer::ServerFailure, Outcome::KeyServerFailure),
    ] {
        assert_eq!(outcomes(message.as_bytes(), &answer), [want], "{answer:?}");
    }
    let (header, body) = Header::of_message(message.as_bytes()).unwrap();
    let (mut verifier, queries) = Verifier::start(&header, &VerifyRules::default(), NOW);
    assert_eq!(queries[0].name.as_str(), "s1._domainkey.example.com");
    assert_eq!(format!("{verifier:?}"), "Verifier { signatures: 1, .. }");
    verifier.body(body);
    assert_eq!(verifier.finish().signatures[0].outcome, Outcome::NotAnswered);
}

/// §6.1.2: a name is asked for once, however many signatures need it, and none for a signature that the header
/// settles.
#[test]
fn each_key_is_asked_for_once_and_only_if_it_counts() {
    let names = |fields: &str| {
        let message = format!("{fields}{FROM}\r\n{BODY}");
        let (header, _) = Header::of_message(message.as_bytes()).unwrap();
        let (_, queries) = Verifier::start(&header, &VerifyRules::default(), NOW);
        queries.iter().map(|query| query.name.to_string()).collect::<Vec<_>>()
    };
    let [one, two] = ["s1", "s2"].map(|s| field(&TAGS.replace("s1", s), FROM, BODY));
    let want = ["s1._domainkey.example.com", "s2._domainkey.example.com"];
    assert_eq!(names(&format!("{one}{one}{two}{one}")), want);
    let expired = field(&format!("{TAGS}; x=5"), FROM, BODY);
    let malformed = format!("DKIM-Signature: {}\r\n", TAGS.replace("v=1", "v=2"));
    assert_eq!(names(&format!("{expired}{malformed}")), want[..0]);
}

/// RFC 8601 §2.7.1 `none`: a message without a signature has an empty report.
#[test]
fn a_message_without_signature_has_an_empty_report() {
    let message = format!("{FROM}\r\n{BODY}");
    assert_eq!(outcomes(message.as_bytes(), &KeyAnswer::NoRecord), []);
}

/// RFC 8601 §2.7.1: what can be read of a signature is reported, also where it is malformed.
#[test]
fn parts_that_can_be_read_are_reported() {
    let message = "X: y\r\nDKIM-Signature: v=2; d=A.example; s=S; a=rsa-md5\r\n\r\n";
    let (header, _) = Header::of_message(message.as_bytes()).unwrap();
    let (verifier, _) = Verifier::start(&header, &VerifyRules::default(), NOW);
    let signature = &verifier.finish().signatures[0];
    assert_eq!(signature.outcome, Outcome::Malformed(SignatureError::BadVersion));
    assert_eq!(signature.signing_domain.as_ref().unwrap().as_str(), "a.example");
    assert_eq!(signature.selector.as_ref().unwrap().as_str(), "s");
    assert_eq!(signature.algorithm.as_deref(), Some("rsa-md5"));
    assert_eq!(signature.field, 1);
}

/// §6.1, RFC 8601 §2.7.1: how many signatures are looked at is for the verifier to say; the others are
/// neutral, and no key is asked for them.
#[test]
fn signatures_beyond_the_bound_are_neutral() {
    let fields: String =
        (0..5).map(|n| field(&TAGS.replace("s=s1", &format!("s=s{n}")), FROM, BODY)).collect();
    let message = format!("{fields}{FROM}\r\n{BODY}");
    let (header, body) = Header::of_message(message.as_bytes()).unwrap();
    for max_signatures in [0, 1, 4, 5, 6] {
        let rules = VerifyRules { max_signatures };
        let (mut verifier, queries) = Verifier::start(&header, &rules, NOW);
        assert_eq!(queries.len(), max_signatures.min(5));
        for query in queries {
            verifier.answer(query.id, KeyAnswer::from_texts([record()]));
        }
        verifier.body(body);
        let results: Vec<_> =
            verifier.finish().signatures.iter().map(|s| s.outcome.result()).collect();
        let passed = max_signatures.min(5);
        let want = [vec![AuthResult::Pass; passed], vec![AuthResult::Neutral; 5 - passed]].concat();
        assert_eq!(results, want, "{max_signatures}");
    }
    assert_eq!(VerifyRules::default().max_signatures, MAX_SIGNATURES);
}

/// §6.1: a thousand signatures of others do not push the one of the author's domain out.
#[test]
fn the_bound_goes_to_aligned_signatures_first() {
    let foreign = field(&TAGS.replace("example.com", "example.net"), FROM, BODY);
    let junk = "DKIM-Signature: nonsense\r\n".repeat(1_000);
    let fields = format!("{}{junk}{}", foreign.repeat(MAX_SIGNATURES), field(TAGS, FROM, BODY));
    let message = format!("{fields}{FROM}\r\n{BODY}");
    let outcomes = outcomes(message.as_bytes(), &KeyAnswer::from_texts([record()]));
    let (last, others) = outcomes.split_last().unwrap();
    assert_eq!(*last, pass());
    let (first, others) = others.split_at(MAX_SIGNATURES - 1);
    assert!(first.iter().all(|outcome| *outcome == pass()), "{first:?}");
    assert!(others.iter().all(|outcome| *outcome == Outcome::NotChecked), "{others:?}");
}

/// §6.1: where not all are looked at, those of the author's domain come first: `d=` that is the domain in From,
/// above it or below it.
#[test]
fn signatures_of_the_author_come_first() {
    let signers = [
        "example.net",
        "mail.example.com",
        "badexample.com",
        "example.com",
        "com.example",
        "com.au",
    ];
    for (from, want) in [
        ("From: Joe <joe@example.com>\r\n", [1, 3]),
        ("From: joe@EXAMPLE.com\r\n", [1, 3]),
        ("From: \"eve@example.net\" <joe@example.com>\r\n", [1, 3]),
        ("From: a@example.com (x)\r\n", [1, 3]),
        ("From: a@ example.com>, b\r\n", [1, 3]),
        ("From: a@example.com;\r\n", [1, 3]),
        // What stands in comments and in quotes is no address, and an open one is not closed.
        ("From: joe@example.com (joe@example.net)\r\n", [1, 3]),
        ("From: joe@example.com(joe@home)\r\n", [1, 3]),
        ("From: joe@example.com (a (b@example.net) \\) c@example.net)\r\n", [1, 3]),
        ("From: joe@example.com (\"c@example.net)\r\n", [1, 3]),
        ("From: \"(\" <joe@example.com>\r\n", [1, 3]),
        ("From: \"\\\"\" <joe@example.com>, \"@example.net\"\r\n", [1, 3]),
        ("From: ) joe@example.com (@example.net\r\n", [1, 3]),
        ("From: eve@example.net (x) <joe@example.com>\r\n", [1, 3]),
        ("From: eve@example.net \"(\" <joe@example.com>\r\n", [1, 3]),
        ("From: eve@example.net (\") <joe@example.com>\r\n", [1, 3]),
        ("From: joe@example.com (x\\) <eve@example.net>)\r\n", [1, 3]),
        ("From: \"Joe <joe@example.com>\r\n", [1, 3]),
        ("From: Joe (joe@example.com\r\n", [1, 3]),
        ("From: Joe <joe@a.example.com>\r\n", [3, 0]),
        ("From: a@example.com.au\r\n", [5, 0]),
        // The lowest From is the one that is signed.
        ("From: a@example.net\r\nFrom: a@example.com\r\n", [1, 3]),
        // Without a domain there is no order but that from the top.
        ("From: Joe\r\n", [0, 1]),
        ("From: joe@\r\n", [0, 1]),
        ("From: joe@..\r\n", [0, 1]),
        ("To: joe@example.com\r\n", [0, 1]),
    ] {
        let fields: String =
            signers.iter().map(|d| format!("DKIM-Signature: d={d}; v=1\r\n")).collect();
        let message = format!("{fields}DKIM-Signature: nonsense\r\n{from}\r\n");
        let (header, _) = Header::of_message(message.as_bytes()).unwrap();
        let (verifier, _) = Verifier::start(&header, &VerifyRules { max_signatures: 2 }, NOW);
        let checked: Vec<_> = verifier
            .finish()
            .signatures
            .iter()
            .filter(|signature| signature.outcome != Outcome::NotChecked)
            .map(|signature| signature.field)
            .collect();
        let mut want = want;
        want.sort_unstable();
        assert_eq!(checked, want, "{from}");
    }
}

//! The four canonicalizations (§3.4), by what has to be hashed for each.

use postseal_dkim::canon::{CanonicalBody, write_field};
use postseal_dkim::{Canon, Header, KeyAnswer, Outcome, Remarks, Verifier, VerifyRules};

use crate::by_hand::{BODY, FROM, NOW, TAGS, body_hash, field, outcome, pass, record, signature};

/// A header field and its two canonical forms. Each line but the last few is a rule of §3.4.1 and §3.4.2.
const FIELDS: [(&str, &str); 20] = [
    // Relaxed: the name in lower case, the value as it is.
    ("SUBJect: AbC\r\n", "subject:AbC\r\n"),
    // Unfolded, and no fold is lost where a line begins or ends with white space.
    ("X: a\r\n b\r\n", "x:a b\r\n"),
    ("X: a\r\n\tb\r\n", "x:a b\r\n"),
    ("X: a \t\r\n \t b\r\n\tc\r\n", "x:a b c\r\n"),
    ("X:\r\n a\r\n", "x:a\r\n"),
    ("X: a\r\n \r\n", "x:a\r\n"),
    ("X: a\r\n \r\n b\r\n", "x:a b\r\n"),
    // Each run of white space is one space.
    ("X: a  b\t\tc \t d\r\n", "x:a b c d\r\n"),
    ("X: a\tb\r\n", "x:a b\r\n"),
    // None at the end of the value, none round the colon, also where obsolete syntax puts it.
    ("X: a \r\n", "x:a\r\n"),
    ("X: a\t \t\r\n", "x:a\r\n"),
    ("X:a\r\n", "x:a\r\n"),
    ("X \t:\t a\r\n", "x:a\r\n"),
    // Other colons are part of the value.
    ("X: a : b :c\r\n", "x:a : b :c\r\n"),
    // No value at all.
    ("X:\r\n", "x:\r\n"),
    ("X: \t \r\n", "x:\r\n"),
    ("X :\r\n \r\n\t\r\n", "x:\r\n"),
    // White space is space and tab (§2.8), and only CRLF ends a line; all else is an octet like another.
    ("X: \u{a0}a\x0b \x0c\u{2003}\r\n", "x:\u{a0}a\x0b \x0c\u{2003}\r\n"),
    ("X: a\n b\r c\r\n", "x:a\n b\r c\r\n"),
    ("X: a\r\r\n\tb\n\r\n", "x:a\r b\n\r\n"),
];

/// A body and its two canonical forms (§3.4.3, §3.4.4).
const BODIES: [(&str, &str, &str); 24] = [
    // Nothing at all, and nothing but empty lines.
    ("", "\r\n", ""),
    ("\r\n", "\r\n", ""),
    ("\r\n\r\n\r\n", "\r\n", ""),
    // Nothing but white space: relaxed takes it out, simple does not.
    (" ", " \r\n", ""),
    ("\t\r\n", "\t\r\n", ""),
    (" \r\n\t\r\n \t ", " \r\n\t\r\n \t \r\n", ""),
    (" \r\n\r\n", " \r\n", ""),
    // Empty lines at the end go, and a line end that is missing comes.
    ("a", "a\r\n", "a\r\n"),
    ("a\r\n", "a\r\n", "a\r\n"),
    ("a\r\n\r\n\r\n", "a\r\n", "a\r\n"),
    ("a\r\n\r\nb", "a\r\n\r\nb\r\n", "a\r\n\r\nb\r\n"),
    // Those at the start and between stay.
    ("\r\n\r\na\r\n\r\n\r\nb\r\n", "\r\n\r\na\r\n\r\n\r\nb\r\n", "\r\n\r\na\r\n\r\n\r\nb\r\n"),
    // Relaxed: white space at the end of a line goes, other runs are one space, also at its start.
    ("a \r\nb\t\r\n", "a \r\nb\t\r\n", "a\r\nb\r\n"),
    (" a\r\n\t\tb", " a\r\n\t\tb\r\n", " a\r\n b\r\n"),
    ("a  b\tc \t d\r\n", "a  b\tc \t d\r\n", "a b c d\r\n"),
    ("a\r\n \r\n", "a\r\n \r\n", "a\r\n"),
    ("a\r\n \r\n\t\r\n\r\nb", "a\r\n \r\n\t\r\n\r\nb\r\n", "a\r\n\r\n\r\n\r\nb\r\n"),
    ("a\r\n ", "a\r\n \r\n", "a\r\n"),
    // The example of §3.4.5.
    (" C \r\nD \t E\r\n\r\n\r\n", " C \r\nD \t E\r\n", " C\r\nD E\r\n"),
    // A bare CR or LF ends no line.
    ("a\n\nb\n", "a\n\nb\n\r\n", "a\n\nb\n\r\n"),
    ("a \n b\r c\r", "a \n b\r c\r\r\n", "a \n b\r c\r\r\n"),
    ("a\r\r\n", "a\r\r\n", "a\r\r\n"),
    ("a\r\n\n\r\n\r", "a\r\n\n\r\n\r\r\n", "a\r\n\n\r\n\r\r\n"),
    // Other spaces are octets like others.
    ("a\u{a0}\r\nb\x0b\x0c\r\n", "a\u{a0}\r\nb\x0b\x0c\r\n", "a\u{a0}\r\nb\x0b\x0c\r\n"),
];

const CANONICALIZATIONS: [(&str, Canon, Canon); 4] = [
    ("simple/simple", Canon::Simple, Canon::Simple),
    ("simple/relaxed", Canon::Simple, Canon::Relaxed),
    ("relaxed/simple", Canon::Relaxed, Canon::Simple),
    ("relaxed/relaxed", Canon::Relaxed, Canon::Relaxed),
];

/// §3.4.1, §3.4.2: fields are hashed in the form that the first half of `c=` says, whatever the second.
#[test]
fn fields_are_hashed_in_their_canonical_form() {
    for (c, header, _) in CANONICALIZATIONS {
        for (raw, relaxed) in FIELDS {
            let name = raw.split([' ', '\t', ':']).next().unwrap();
            let tags = TAGS.replace("h=From", &format!("c={c}; h=From:{name}"));
            let hashed = format!("{FROM}{}", if header == Canon::Relaxed { relaxed } else { raw });
            let message = format!("{}{raw}{FROM}\r\n{BODY}", field(&tags, &hashed, BODY));
            assert_eq!(outcome(message), pass(), "{c} {raw:?}");
        }
    }
}

/// §3.4.3, §3.4.4: the body is hashed in the form that the second half of `c=` says, however it is cut
/// into chunks.
#[test]
fn bodies_are_hashed_in_their_canonical_form() {
    for (c, _, canon) in CANONICALIZATIONS {
        for (raw, simple, relaxed) in BODIES {
            let tags = TAGS.replace("h=From", &format!("c={c}; h=From"));
            let canonical = if canon == Canon::Relaxed { relaxed } else { simple };
            let header = format!("{}{FROM}", field(&tags, FROM, canonical));
            let header = Header::parse(header.as_bytes()).unwrap();
            for chunk_len in [1, 2, 3, 1_000] {
                let (mut verifier, queries) =
                    Verifier::start(&header, &VerifyRules::default(), NOW);
                verifier.answer(queries[0].id, KeyAnswer::from_texts([record()]));
                for chunk in raw.as_bytes().chunks(chunk_len) {
                    verifier.body(chunk);
                    verifier.body(b"");
                }
                let outcome = verifier.finish().signatures[0].outcome;
                assert_eq!(outcome, pass(), "{c} {raw:?} by {chunk_len}");
            }
        }
    }
}

/// §3.4.3, §3.4.4 with errata 1376 and 1377 of RFC 4871: the hashes of an empty body.
#[test]
fn empty_bodies_have_known_hashes() {
    assert_eq!(body_hash(b"\r\n"), "frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=");
    assert_eq!(body_hash(b""), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    for (c, hashed) in [("simple", "\r\n"), ("relaxed/relaxed", "")] {
        for message in ["\r\n", "", "\r\n\r\n\r\n"] {
            let tags = TAGS.replace("h=From", &format!("c={c}; h=From"));
            // The empty line itself may be missing.
            let message = format!("{}{FROM}{message}", field(&tags, FROM, hashed));
            assert_eq!(outcome(message), pass(), "{c}");
        }
    }
}

/// §3.4.5, §3.5 `l=`: the body is made canonical first, and cut then; a line end counts two, and empty
/// lines at the end do not count.
#[test]
fn a_length_counts_octets_of_the_canonical_body() {
    let uncovered =
        |octets| Outcome::Verified(Remarks { uncovered: Some(octets), ..Remarks::default() });
    for (c, raw, length, hashed, want) in [
        ("simple", "a\r\nb\r\n", 3, "a\r\n", uncovered(3)),
        ("simple", "a\r\nb\r\n", 2, "a\r", uncovered(4)),
        ("simple", "a\r\nb\r\n", 6, "a\r\nb\r\n", pass()),
        ("simple", "a\r\nb", 6, "a\r\nb\r\n", pass()),
        ("simple", "a\r\nb\r\n\r\n\r\n", 6, "a\r\nb\r\n", pass()),
        ("simple", "a\r\n\r\n\r\nb", 7, "a\r\n\r\n\r\n", uncovered(3)),
        ("simple", "", 2, "\r\n", pass()),
        ("simple", "", 1, "\r", uncovered(1)),
        ("simple", "", 0, "", uncovered(2)),
        ("relaxed/relaxed", "a  \t b \r\nc", 5, "a b\r\n", uncovered(3)),
        ("relaxed/relaxed", "a  \t b \r\nc", 8, "a b\r\nc\r\n", pass()),
        ("relaxed/relaxed", "a  \t b \r\n \r\n", 5, "a b\r\n", pass()),
        ("relaxed/relaxed", "", 0, "", pass()),
        ("relaxed/relaxed", " \r\n", 0, "", pass()),
        // The header's form is not the body's.
        ("relaxed", "a  b\r\n", 4, "a  b", uncovered(2)),
        ("simple/relaxed", "a  b\r\n", 3, "a b", uncovered(2)),
        // More than there is.
        ("simple", "a\r\n", 4, "a\r\n", Outcome::LengthBeyondBody),
        ("simple", "a\r\n\r\n", 5, "a\r\n\r\n", Outcome::BodyCut),
        ("relaxed/relaxed", "", 1, "", Outcome::LengthBeyondBody),
    ] {
        let tags = TAGS.replace("h=From", &format!("c={c}; l={length}; h=From"));
        let message = format!("{}{FROM}\r\n{raw}", field(&tags, FROM, hashed));
        assert_eq!(outcome(message), want, "{c} {raw:?} {length}");
    }
}

/// §3.4.5, §8.2: what stands behind the length can be anything, and is told.
#[test]
fn text_behind_the_length_is_told_and_not_covered() {
    let tags = TAGS.replace("h=From", "l=7; h=From");
    for (tail, octets) in [("x\r\n", 3), ("x", 3), ("\r\nx\r\n", 5), ("\r\n\r\n", 0), ("", 0)] {
        let message = format!("{}{FROM}\r\n{BODY}{tail}", field(&tags, FROM, BODY));
        let uncovered = (octets > 0).then_some(octets);
        let want = Outcome::Verified(Remarks { uncovered, ..Remarks::default() });
        assert_eq!(outcome(message), want, "{tail:?}");
    }
    // What stands before it cannot.
    let message = format!("{}{FROM}\r\nx{BODY}", field(&tags, FROM, BODY));
    assert_eq!(outcome(message), Outcome::BodyHashMismatch);
}

/// §5.3, §2.3: a message whose lines end in bare LF is not the one with CRLF, and has no empty line.
#[test]
fn line_ends_are_not_repaired_before_hashing() {
    let signed = field(TAGS, FROM, BODY);
    assert_eq!(outcome(format!("{signed}{FROM}\r\nHello\n")), Outcome::BodyHashMismatch);
    let bare = field(TAGS, FROM, "Hello\n\r\n");
    assert_eq!(outcome(format!("{bare}{FROM}\r\nHello\n")), pass());
    // All behind the LF belongs to the field.
    let from = format!("{}\n\nHello\r\n", FROM.trim_end());
    let hidden = field(TAGS, &from, "\r\n");
    assert_eq!(outcome(format!("{hidden}{from}")), pass());
}

/// §3.4.1: simple hashes the field as it stands, and one without its line end as if it had one.
#[test]
fn a_last_field_without_line_end_gets_one() {
    for c in ["simple", "relaxed"] {
        let tags = TAGS.replace("h=From", &format!("c={c}; h=From"));
        let message = format!("{}{}", field(&tags, FROM, "\r\n"), FROM.trim_end());
        assert_eq!(outcome(message), pass(), "{c}");
    }
}

/// §3.4: what the two algorithms write is what they write again.
#[test]
fn canonical_text_is_its_own_canonical_form() {
    let body = |canon, text: &str| {
        let mut out = Vec::new();
        let mut canonical = CanonicalBody::new(canon);
        canonical.update(text.as_bytes(), &mut |slice| out.extend_from_slice(slice));
        canonical.finish(&mut |slice| out.extend_from_slice(slice));
        String::from_utf8(out).unwrap()
    };
    for (raw, simple, relaxed) in BODIES {
        assert_eq!(body(Canon::Simple, raw), simple);
        assert_eq!(body(Canon::Simple, simple), simple);
        assert_eq!(body(Canon::Relaxed, raw), relaxed);
        assert_eq!(body(Canon::Relaxed, simple), relaxed);
        assert_eq!(body(Canon::Relaxed, relaxed), relaxed);
    }
    for (raw, relaxed) in FIELDS {
        for text in [raw, relaxed] {
            let header = Header::parse(text.as_bytes()).unwrap();
            let mut out = Vec::new();
            write_field(Canon::Relaxed, header.fields().next().unwrap(), &mut out);
            assert_eq!(out, relaxed.as_bytes(), "{text:?}");
        }
    }
}

/// §3.4.2, §3.7: relaxed lets a relay fold a field and change its name's case; simple does not.
#[test]
fn a_relay_may_refold_what_is_relaxed() {
    for (c, want) in [("simple", Outcome::SignatureMismatch), ("relaxed", pass())] {
        let tags = TAGS.replace("h=From", &format!("c={c}; h=From"));
        let message =
            format!("{}FROM: Joe\r\n\t<joe@example.com> \r\n\r\n{BODY}", field(&tags, FROM, BODY));
        assert_eq!(outcome(message), want, "{c}");
        // The signature's own field alike.
        let unsigned = format!("dkim-signature:{tags}; bh={}; b=", body_hash(BODY.as_bytes()));
        let value = signature(format!("{FROM}{unsigned}").as_bytes());
        let refolded = unsigned.replace("dkim-s", "DKIM-S").replace("; ", ";\r\n\t ");
        assert_eq!(outcome(format!("{refolded}{value}\r\n{FROM}\r\n{BODY}")), want, "{c}");
    }
}

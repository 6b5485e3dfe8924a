//! The tags of the DKIM-Signature field (§3.5), each with its values, good and bad.

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use postseal_dkim::SignatureError::{self, *};
use postseal_dkim::{
    Algorithm, Header, NameError, Outcome, Remarks, Signature, UnixTime, Verifier, VerifyRules,
};

use crate::by_hand::{
    BODY, FROM, NOW, TAGS, body_hash, field, outcome, outcome_by, outcome_of, pass,
    record_and_message, signature_over,
};

/// The outcome with this tag put in the place of another one.
fn replaced(tag: &str, by: &str) -> Outcome {
    assert!(TAGS.contains(tag));
    outcome_of(&TAGS.replacen(tag, by, 1))
}

/// The outcome with one more tag.
fn with(tag: &str) -> Outcome {
    outcome_of(&format!("{TAGS}; {tag}"))
}

fn malformed(error: SignatureError) -> Outcome {
    Outcome::Malformed(error)
}

/// §3.5: v, a, b, bh, d, h and s are required.
#[test]
fn required_tags_are_required() {
    let tags = "v=1; a=rsa-sha256; b=NDU2; bh=MTIz; d=example.com; h=From; s=s1";
    assert!(Signature::parse(tags.as_bytes()).is_ok());
    for name in ["v", "a", "b", "bh", "d", "h", "s"] {
        let without: Vec<_> =
            tags.split("; ").filter(|tag| !tag.starts_with(&format!("{name}="))).collect();
        assert_eq!(without.len(), 6);
        let without = without.join("; ");
        assert_eq!(Signature::parse(without.as_bytes()).unwrap_err(), MissingTag(name));
    }
}

/// §3.5: no order is asked of the tags, not even that `v=` comes first.
#[test]
fn tags_stand_in_any_order() {
    assert_eq!(outcome_of("h=From; s=s1; d=example.com; a=ed25519-sha256; v=1"), pass());
}

/// §3.5 `v=`: `1`, compared as text.
#[test]
fn the_version_is_1() {
    assert_eq!(replaced("v=1", "v = 1 "), pass());
    for version in
        ["v=", "v=2", "v=0", "v=01", "v=1.0", "v=1.", "v=+1", "v=1 1", "v=DKIM1", "v=\"1\""]
    {
        assert_eq!(replaced("v=1", version), malformed(BadVersion), "{version}");
    }
}

/// RFC 8301 §3.1: nobody may sign with rsa-sha1, and what it verifies is worth nothing.
#[test]
fn rsa_sha1_is_read_and_counts_for_nothing() {
    let vector = include_str!("../../testdata/vectors/rsa_sha1.txt");
    let (record, message) = record_and_message(vector);
    assert_eq!(outcome_by(record, &message), Outcome::Sha1);
    assert_eq!(outcome_by(record, message + "x"), Outcome::BodyHashMismatch);
    assert!("rsa-sha1".parse::<Algorithm>().is_err(), "no request can ask for it");
}

/// RFC 8463 §3: what Ed25519 signs is the digest of the header, not the header, and with no other hash in between.
#[test]
fn ed25519_signs_the_digest() {
    let unsigned = format!("dkim-signature:{TAGS}; bh={}; b=", body_hash(BODY.as_bytes()));
    let hashed = format!("{FROM}{unsigned}");
    let by = |signature: String| outcome(format!("{unsigned}{signature}\r\n{FROM}\r\n{BODY}"));
    let digest_of = |octets: &[u8]| digest(&SHA256, octets).as_ref().to_vec();
    assert_eq!(by(signature_over(&digest_of(hashed.as_bytes()))), pass());
    for other in [
        hashed.as_bytes().to_vec(),
        digest_of(&digest_of(hashed.as_bytes())),
        // The digest that Ed25519ph would have.
        digest(&SHA512, hashed.as_bytes()).as_ref().to_vec(),
    ] {
        assert_eq!(by(signature_over(&other)), Outcome::SignatureMismatch, "{}", other.len());
    }
}

/// §3.5 `a=`, RFC 8463 §3: one of the registered algorithms. Literals of the ABNF ignore case.
#[test]
fn the_algorithm_is_a_known_one() {
    assert_eq!(replaced("ed25519-sha256", "ED25519-Sha256"), pass());
    for name in [
        "",
        "rsa",
        "sha256",
        "rsa-sha512",
        "ed25519-sha1",
        "ed25519",
        "rsa-sha256-x",
        "rsa- sha256",
        "rsa_sha256",
        "x",
    ] {
        assert_eq!(replaced("ed25519-sha256", name), malformed(UnknownAlgorithm), "{name}");
    }
}

/// §3.5 `b=` and `bh=`: base64, not empty.
#[test]
fn both_hashes_are_base64_and_not_empty() {
    for (tag, name) in [("b=NDU2", "b"), ("bh=MTIz", "bh")] {
        for value in ["", " ", "\r\n ", "N", "ND*2", "====", "ND=U2"] {
            let tags = "v=1; a=rsa-sha256; d=example.com; s=s1; h=From; bh=MTIz; b=NDU2";
            let text = tags.replace(tag, &format!("{name}={value}"));
            assert_eq!(Signature::parse(text.as_bytes()).unwrap_err(), BadBase64(name), "{text}");
        }
    }
}

/// §3.5 `bh=`: a hash of another length is only another hash.
#[test]
fn a_body_hash_of_another_length_does_not_match() {
    let right = field(TAGS, FROM, BODY);
    let start = right.find("bh=").unwrap() + 3;
    for hash in ["MTIz".to_owned(), right[start..start + 40].to_owned(), "A".repeat(86)] {
        let message = format!("{}{}{}", &right[..start], hash, &right[start + 44..]);
        assert_eq!(
            outcome(format!("{message}{FROM}\r\n{BODY}")),
            Outcome::BodyHashMismatch,
            "{hash}"
        );
    }
}

/// §3.5 `b=`, RFC 8463 §3: a signature of another length than the key makes is only a wrong one.
#[test]
fn a_signature_of_another_length_does_not_match() {
    let right = field(TAGS, FROM, BODY);
    let start = right.find(" b=").unwrap() + 3;
    let value = right[start..].trim_end();
    assert_eq!(value.len(), 88);
    for wrong in ["AAAA", &value[..84], &format!("AAAA{value}"), &value.replace("==", "AA")] {
        let message = format!("{}{wrong}\r\n{FROM}\r\n{BODY}", &right[..start]);
        assert_eq!(outcome(message), Outcome::SignatureMismatch, "{wrong}");
    }
}

/// §3.5 `c=`: simple/simple without it; one name alone is that of the header; ignores case; no white space
/// round the slash.
#[test]
fn canonicalizations_have_names() {
    let parse = |value: &str| {
        let text =
            format!("v=1; a=rsa-sha256; d=example.com; s=s1; h=From; bh=MTIz; b=NDU2{value}");
        Signature::parse(text.as_bytes()).map(|signature| signature.canonicalization().to_string())
    };
    for (value, want) in [
        ("", "simple/simple"),
        ("; c=simple", "simple/simple"),
        ("; c=relaxed", "relaxed/simple"),
        ("; c=simple/simple", "simple/simple"),
        ("; c=simple/relaxed", "simple/relaxed"),
        ("; c=relaxed/simple", "relaxed/simple"),
        ("; c=relaxed/relaxed", "relaxed/relaxed"),
        ("; c= RELAXED/Simple ", "relaxed/simple"),
    ] {
        assert_eq!(parse(value).as_deref(), Ok(want), "{value}");
    }
    for value in [
        "",
        "/",
        "relaxed/",
        "/relaxed",
        "nofws",
        "relaxed/nofws",
        "relaxed / simple",
        "relaxed/simple/simple",
        "relaxed,simple",
    ] {
        assert_eq!(parse(&format!("; c={value}")), Err(BadCanonicalization), "{value}");
    }
}

/// §3.5 `d=`: a domain name of at least two labels, without regard to case.
#[test]
fn the_signing_domain_is_a_domain_name() {
    for domain in [
        "EXAMPLE.com",
        "a-b.example",
        "_a.example",
        "1.2",
        "xn--bcher-kva.example",
        &long_name(253 - 14),
    ] {
        assert_eq!(replaced("d=example.com", &format!("d={domain}")), pass(), "{domain}");
    }
    for (domain, error) in [
        ("", NameError::Empty),
        (".", NameError::EmptyLabel),
        ("example.com.", NameError::EmptyLabel),
        (".example.com", NameError::EmptyLabel),
        ("example..com", NameError::EmptyLabel),
        ("[192.0.2.1]", NameError::BadCharacter),
        ("example.com:25", NameError::BadCharacter),
        ("joe@example.com", NameError::BadCharacter),
        ("exam ple.com", NameError::BadCharacter),
        ("exam\r\n ple.com", NameError::BadCharacter),
        ("*.example.com", NameError::BadCharacter),
        (&format!("{}.example", "a".repeat(64)), NameError::LabelTooLong),
        (&long_name(254), NameError::TooLong),
    ] {
        let want = malformed(BadDomain(error));
        assert_eq!(replaced("d=example.com", &format!("d={domain}")), want, "{domain}");
    }
    for domain in ["com", "localhost", "xn--bcher-kva"] {
        assert_eq!(replaced("d=example.com", &format!("d={domain}")), malformed(SingleLabel));
    }
    // A name that leaves no room for selector and `_domainkey` in front of it: `s1._domainkey.` has 14 octets.
    let full = format!("d={}", long_name(253 - 13));
    assert_eq!(replaced("d=example.com", &full), malformed(BadSelector(NameError::TooLong)));
}

/// A name of so many octets.
fn long_name(octets: usize) -> String {
    let name = "a23456789.".repeat(octets / 10 + 1);
    let cut = &name[..octets];
    cut.strip_suffix('.').map_or(cut.to_owned(), |cut| format!("{cut}b"))
}

/// §3.5 `s=`, §3.1: labels with dots between them.
#[test]
fn the_selector_is_a_name_of_labels() {
    for selector in ["s", "march2025.eu", "1", "A-b_c", &"s".repeat(63)] {
        assert_eq!(replaced("s=s1", &format!("s={selector}")), pass(), "{selector}");
    }
    for (selector, error) in [
        ("", NameError::Empty),
        (".", NameError::EmptyLabel),
        ("a.", NameError::EmptyLabel),
        (".a", NameError::EmptyLabel),
        ("a..b", NameError::EmptyLabel),
        ("a b", NameError::BadCharacter),
        ("a/b", NameError::BadCharacter),
        ("a:b", NameError::BadCharacter),
        (&"s".repeat(64), NameError::LabelTooLong),
        (&long_name(254), NameError::TooLong),
        (&long_name(240), NameError::TooLong),
    ] {
        let want = malformed(BadSelector(error));
        assert_eq!(replaced("s=s1", &format!("s={selector}")), want, "{selector}");
    }
}

/// §3.5 `h=`, §5.4: names with colons between them, not empty, and From among them.
#[test]
fn the_list_of_fields_has_names_and_from() {
    for list in [
        "From",
        "FROM",
        "from",
        "x:From",
        "From:From",
        "From: X-Y",
        "From:a=b",
        "From:!#$%&'*+-/0^_`{|}~",
    ] {
        assert_eq!(replaced("h=From", &format!("h={list}")), pass(), "{list}");
    }
    for list in
        ["", " ", ":", ":From", "From:", "From::To", "From: :To", "Fr om", "From:T\r\n o", "From:ü"]
    {
        assert_eq!(replaced("h=From", &format!("h={list}")), malformed(BadFieldList), "{list}");
    }
    for list in ["To", "Froms", "rom", "Resent-From", "Sender:Subject", "*"] {
        assert_eq!(replaced("h=From", &format!("h={list}")), malformed(FromNotSigned), "{list}");
    }
}

/// §3.5 `i=`: `@` and a domain, which is that of `d=` or lies below it; before the `@` what it likes.
#[test]
fn the_identity_lies_in_the_signing_domain() {
    for identity in [
        "@example.com",
        "joe@example.com",
        "@EXAMPLE.com",
        "@sub.example.com",
        "joe@a.b.example.com",
        "\"a@b\"@example.com",
        "a=40b@example.com",
        "joe+tag@example.com",
        "jo\r\n e@example.com",
    ] {
        assert_eq!(with(&format!("i={identity}")), pass(), "{identity}");
    }
    for identity in [
        "@com",
        "@example.org",
        "@badexample.com",
        "@example.com.evil.net",
        "joe@xample.com",
        "joe@example.com@evil.net",
        "@ample.com",
    ] {
        assert_eq!(with(&format!("i={identity}")), malformed(IdentityOutsideDomain), "{identity}");
    }
    for identity in [
        "",
        "@",
        "joe",
        "example.com",
        "joe@",
        "@example.com.",
        "@.example.com",
        "=4@example.com",
        "joe@exa mple.com",
        "joe=40example.com",
        "<joe@example.com>",
    ] {
        assert_eq!(with(&format!("i={identity}")), malformed(BadIdentity), "{identity}");
    }
}

/// §3.5 `l=`: what is behind it is open to anyone, and a body that is shorter is not what was signed.
#[test]
fn a_length_leaves_the_rest_of_the_body_open() {
    let with_length = |length: u64, signed: &str| {
        outcome(format!("{}{FROM}\r\n{BODY}", field(&format!("{TAGS}; l={length}"), FROM, signed)))
    };
    let uncovered =
        |octets| Outcome::Verified(Remarks { uncovered: Some(octets), ..Remarks::default() });
    assert_eq!(with_length(7, "Hello\r\n"), pass());
    assert_eq!(with_length(5, "Hello"), uncovered(2));
    assert_eq!(with_length(0, ""), uncovered(7));
    assert_eq!(with_length(4, "Help"), Outcome::BodyHashMismatch);
    // Longer than the body: nothing can be right about it.
    assert_eq!(with_length(8, "Hello\r\n"), Outcome::LengthBeyondBody);
    assert_eq!(with_length(8, "Hello\r\nx"), Outcome::BodyCut);
    assert_eq!(with_length(u64::MAX, "Hello\r\n"), Outcome::LengthBeyondBody);
}

/// §3.5 `l=`: an unsigned decimal number of up to 76 digits.
#[test]
fn a_length_is_a_decimal_number() {
    let parse = |value: &str| {
        let text =
            format!("v=1; a=rsa-sha256; d=example.com; s=s1; h=From; bh=MTIz; b=NDU2; l={value}");
        Signature::parse(text.as_bytes()).map(|signature| signature.body_length().unwrap())
    };
    for (value, want) in [
        ("0", 0),
        ("7", 7),
        ("007", 7),
        ("18446744073709551615", u64::MAX),
        ("18446744073709551616", u64::MAX),
        (&format!("{}5", "0".repeat(75)), 5),
        (&"9".repeat(76), u64::MAX),
    ] {
        assert_eq!(parse(value), Ok(want), "{value}");
    }
    for value in
        ["", "-1", "+1", "1.0", "0x7", "1e3", "7 octets", "1 2", "٧", "seven", &"0".repeat(77)]
    {
        assert_eq!(parse(value), Err(BadBodyLength), "{value}");
    }
}

/// §3.5 `q=`: methods with colons between them; one that is known is enough, and it is `dns/txt`.
#[test]
fn a_known_query_method_is_enough() {
    for methods in ["dns/txt", "DNS/TXT", "dns/txt:http", "http : dns/txt", "x/y:\r\n dns/txt"] {
        assert_eq!(with(&format!("q={methods}")), pass(), "{methods}");
    }
    for methods in ["", ":", "dns", "txt", "dns/", "dns/txts", "dns / txt", "http", "dns/txt,http"]
    {
        assert_eq!(with(&format!("q={methods}")), malformed(UnknownQueryMethod), "{methods}");
    }
}

/// §3.5 `t=` and `x=`: up to twelve digits.
#[test]
fn times_are_numbers_of_twelve_digits() {
    for value in ["0", "1", "000000000001", "999999999999"] {
        let text =
            format!("v=1; a=rsa-sha256; d=example.com; s=s1; h=From; bh=MTIz; b=NDU2; t={value}");
        let signature = Signature::parse(text.as_bytes()).unwrap();
        assert_eq!(signature.signed_at(), Some(UnixTime(value.parse().unwrap())), "{value}");
        let signature = text.replace("t=", "x=");
        let signature = Signature::parse(signature.as_bytes()).unwrap();
        assert_eq!(signature.expires_at(), Some(UnixTime(value.parse().unwrap())), "{value}");
    }
    for value in ["", "-1", "+1", "1.5", "0x1", "now", "1 2", "1000000000000", "0000000000001", "١"]
    {
        assert_eq!(with(&format!("t={value}")), malformed(BadTime("t")), "{value}");
        assert_eq!(with(&format!("x={value}")), malformed(BadTime("x")), "{value}");
    }
}

/// §3.5 `x=`: after `t=` where both are there; and what has expired counts no longer, from the next second
/// on.
#[test]
fn a_signature_expires_behind_its_last_second() {
    let now = NOW.as_secs();
    for (tags, want) in [
        (format!("x={now}"), pass()),
        (format!("x={}", now - 1), Outcome::Expired),
        ("x=0".into(), Outcome::Expired),
        (format!("t={}; x={now}", now - 1), pass()),
        (format!("t={now}; x={}", now + 1), pass()),
        (format!("t={now}; x={now}"), malformed(ExpiresBeforeSigned)),
        (format!("x={}; t={now}", now - 1), malformed(ExpiresBeforeSigned)),
        ("x=999999999999".into(), pass()),
    ] {
        assert_eq!(with(&tags), want, "{tags}");
    }
}

/// §3.5 `t=`: a signature from the future is a matter for a remark.
#[test]
fn a_signature_from_the_future_is_remarked_upon() {
    let now = NOW.as_secs();
    assert_eq!(with(&format!("t={now}")), pass());
    let want = Outcome::Verified(Remarks { is_from_future: true, ..Remarks::default() });
    assert_eq!(with(&format!("t={}", now + 1)), want);
}

/// §3.5 `z=`: copies of fields are for people, and never have a part in verifying.
#[test]
fn copied_fields_do_not_count() {
    for copies in
        ["From:eve@example.net|To:x", "", "|", "no colon", "From:=ZZ", "From:joe=40example.com"]
    {
        assert_eq!(with(&format!("z={copies}")), pass(), "{copies}");
    }
    let text =
        "v=1; a=rsa-sha256; d=example.com; s=s1; h=From; bh=MTIz; b=NDU2; z=From:a|\r\n To:b";
    let signature = Signature::parse(text.as_bytes()).unwrap();
    assert_eq!(signature.copied_fields(), Some("From:a|\r\n To:b"));
}

/// §3.5 `z=`, §2.11: copies in DKIM quoted-printable, parted by bars, told beside what the header has now.
#[test]
fn copied_fields_are_read() {
    let field = "DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=s1; h=Subject:From:To:X; bh=MTIz; b=NDU2;\r\n \
        z=Subject:=20demo=20=7C\r\n\t=20run=3B|\r\n From:joe@example.com|Y:gone|x:1|X:2|no copy\r\n";
    let raw = format!("{field}SUBJECT: demo |\r\n\trun;\r\nFrom: eve@example.com\r\nX: 2\r\n");
    let header = Header::parse(raw.as_bytes()).unwrap();
    let report = Verifier::start(&header, &VerifyRules::default(), NOW).0.finish();
    let details = report.signatures[0].details(&header).unwrap();
    let copies = details.copies.as_ref().unwrap();
    let told: Vec<_> = copies
        .fields
        .iter()
        .map(|copy| (copy.name.as_str(), copy.value.as_slice(), copy.is_in_header))
        .collect();
    let want = [
        ("Subject", &b" demo | run;"[..], true),
        ("From", b"joe@example.com", false),
        ("Y", b"gone", false),
        ("x", b"1", false),
        ("X", b"2", true),
    ];
    assert_eq!((told.as_slice(), copies.left_out), (&want[..], 1));
    let changed: Vec<_> = details.fields_unlike_copies().collect();
    assert_eq!(changed, ["From", "X"]);
}

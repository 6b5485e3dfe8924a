//! Internationalised mail (RFC 8616): U-labels and A-labels are two spellings of one name.

use postseal_dkim::{
    Header, KeyAnswer, NameError, Outcome, Signature, SignatureError, Verifier, VerifyRules,
};

use crate::by_hand::{BODY, FROM, NOW, TAGS, field, outcome_by, outcome_of, pass, record};

/// The name that is asked for a signature with these tags.
fn key_name(tags: &str) -> String {
    let field = field(tags, FROM, BODY);
    let header = Header::parse(field.as_bytes()).unwrap();
    let (_, queries) = Verifier::start(&header, &VerifyRules::default(), NOW);
    queries[0].name.to_string()
}

fn tags(domain: &str, selector: &str) -> String {
    TAGS.replace("d=example.com", &format!("d={domain}")).replace("s=s1", &format!("s={selector}"))
}

/// RFC 8616 §4: `d=` and `s=` may have U-labels; the key is asked for under the A-labels.
#[test]
fn keys_are_asked_for_under_a_labels() {
    for (domain, selector, want) in [
        ("bücher.example", "s1", "s1._domainkey.xn--bcher-kva.example"),
        ("BÜCHER.Example", "S1", "s1._domainkey.xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "s1", "s1._domainkey.xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "s1", "s1._domainkey.xn--bcher-kva.example"),
        ("example.com", "schlüssel", "xn--schlssel-95a._domainkey.example.com"),
        ("example.com", "märz.2026", "xn--mrz-qla.2026._domainkey.example.com"),
        ("例え.テスト", "鍵", "xn--5y4a._domainkey.xn--r8jz45g.xn--zckzah"),
        // Decomposed letters, and the full stop of East Asian text.
        ("bu\u{308}cher。example", "s1", "s1._domainkey.xn--bcher-kva.example"),
    ] {
        assert_eq!(key_name(&tags(domain, selector)), want, "{domain} {selector}");
        assert_eq!(outcome_of(&tags(domain, selector)), pass(), "{domain} {selector}");
    }
}

/// RFC 8616 §4: the text that is hashed is the one that was received, U-labels and all.
#[test]
fn what_is_hashed_keeps_its_spelling() {
    let signed = field(&tags("bücher.example", "s1"), FROM, BODY);
    let respelt = signed.replace("bücher", "xn--bcher-kva");
    let message = |field: &str| format!("{field}{FROM}\r\n{BODY}");
    assert_eq!(outcome_by(&record(), message(&signed)), pass());
    assert_eq!(outcome_by(&record(), message(&respelt)), Outcome::SignatureMismatch);
}

/// RFC 8616 §4: `i=` and `d=` are compared as A-labels, with and without `t=s`.
#[test]
fn identities_are_compared_as_a_labels() {
    let strict = format!("{}; t=s", record());
    for (domain, identity, want, want_strict) in [
        ("bücher.example", "@bücher.example", pass(), pass()),
        ("bücher.example", "@xn--bcher-kva.example", pass(), pass()),
        ("xn--bcher-kva.example", "joe@BÜCHER.example", pass(), pass()),
        ("xn--bcher-kva.example", "@süd.bücher.example", pass(), Outcome::IdentityNotExact),
        ("bücher.example", "@xn--sd-xka.xn--bcher-kva.example", pass(), Outcome::IdentityNotExact),
    ] {
        let tags = format!("{}; i={identity}", tags(domain, "s1"));
        let message = format!("{}{FROM}\r\n{BODY}", field(&tags, FROM, BODY));
        assert_eq!(outcome_by(&record(), &message), want, "{domain} {identity}");
        assert_eq!(outcome_by(&strict, &message), want_strict, "{domain} {identity}");
    }
    for identity in
        ["@bücher.example.net", "@xn--bcher-kva", "@bucher.example", "@schwarzbücher.example"]
    {
        let tags = format!("{}; i={identity}", tags("bücher.example", "s1"));
        let want = Outcome::Malformed(SignatureError::IdentityOutsideDomain);
        assert_eq!(outcome_of(&tags), want, "{identity}");
    }
}

/// RFC 8616 §5: the local part of `i=` may be UTF-8, as it is or encoded.
#[test]
fn local_parts_may_be_utf_8() {
    for spelling in ["jörg", "j=C3=B6rg", "j\u{f6}\r\n rg"] {
        let text = format!("{}; bh=MTIz; b=NDU2; i={spelling}@example.com", TAGS);
        let signature = Signature::parse(text.as_bytes()).unwrap();
        let local_part = signature.identity().unwrap().local_part();
        assert_eq!(local_part, Some("jörg".as_bytes()), "{spelling}");
    }
}

/// RFC 8616 §4, RFC 5891: what is no label is no name.
#[test]
fn names_that_cannot_be_converted_are_malformed() {
    for (domain, error) in [
        ("\u{fffd}.example", NameError::BadUnicode),
        ("\u{200d}.example", NameError::BadUnicode),
        ("\u{300}a.example", NameError::BadUnicode),
        ("bü cher.example", NameError::BadCharacter),
        ("bücher..example", NameError::EmptyLabel),
        ("bücher.example。", NameError::EmptyLabel),
        ("ü\u{ff0f}.example", NameError::BadCharacter),
    ] {
        let want = Outcome::Malformed(SignatureError::BadDomain(error));
        assert_eq!(outcome_of(&tags(domain, "s1")), want, "{domain}");
        let want = Outcome::Malformed(SignatureError::BadSelector(error));
        let selector = domain.replace(".example", "");
        if !selector.contains("..") && !selector.contains('。') {
            assert_eq!(outcome_of(&tags("example.com", &selector)), want, "{selector}");
        }
        let identity = format!("{TAGS}; i=@{domain}");
        let want = Outcome::Malformed(SignatureError::BadIdentity);
        assert_eq!(outcome_of(&identity), want, "{domain}");
    }
    // RFC 1035 §2.3.4 counts the octets of the A-label: this one has 63, and with one letter more 64.
    let long = format!("ü{}", "a".repeat(55));
    for (label, fits) in [(long.clone(), true), (format!("{long}a"), false)] {
        let outcome = outcome_of(&tags(&format!("{label}.example"), "s1"));
        let want = Outcome::Malformed(SignatureError::BadDomain(NameError::LabelTooLong));
        assert_eq!(outcome, if fits { pass() } else { want }, "{label}");
    }
}

/// RFC 8616 §3: field names in `h=` stay ASCII, while what the fields hold may be UTF-8.
#[test]
fn fields_may_hold_utf_8() {
    let from = "from:Jörg <jörg@bücher.example>\r\n";
    for c in ["simple", "relaxed"] {
        let tags = TAGS.replace("h=From", &format!("c={c}; h=From"));
        let body = "Grüße\r\n";
        let message = format!("{}{from}\r\n{body}", field(&tags, from, body));
        assert_eq!(outcome_by(&record(), message), pass(), "{c}");
    }
    let h = TAGS.replace("h=From", "h=From:Bücher");
    assert_eq!(outcome_of(&h), Outcome::Malformed(SignatureError::BadFieldList));
}

/// RFC 8616 §6: a key record may have UTF-8 in its notes.
#[test]
fn a_key_record_may_have_utf_8_in_its_notes() {
    let message = format!("{}{FROM}\r\n{BODY}", field(TAGS, FROM, BODY));
    assert_eq!(outcome_by(&format!("{}; n=für Bücher", record()), &message), pass());
    let answer = KeyAnswer::from_texts([[record().as_bytes(), b"; n=\xff"].concat()]);
    let outcomes = crate::by_hand::outcomes(message.as_bytes(), &answer);
    assert!(matches!(outcomes[..], [Outcome::BadKeyRecord(_)]), "{outcomes:?}");
}

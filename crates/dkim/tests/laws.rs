//! What holds for every message and every setting, on generated ones.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::sync::LazyLock;

use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use aws_lc_rs::{digest, signature};
use postseal_dkim::tag_list::TagList;
use postseal_dkim::{
    Algorithm, AuthResult, Canon, Canonicalization, DomainName, FieldClasses, FieldName,
    FieldPattern, FieldSelection, Header, Identity, KeyAnswer, KeyRecord, MessageSigning, Outcome,
    Report, Selector, SignRequest, Signature, SignatureCheck, SignedField, UnixTime, Unsigned,
    Verifier, VerifyRules, key_record_text, signatures_by, split_message,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

struct Keys {
    rsa: RsaKeyPair,
    ed25519: Ed25519KeyPair,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys {
    rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
    ed25519: Ed25519KeyPair::generate().unwrap(),
});

const NOW: UnixTime = UnixTime(1_790_000_000);

fn record(algorithm: Algorithm) -> String {
    match algorithm {
        // What the library calls the public key is the PKCS#1 form.
        Algorithm::RsaSha256 => key_record_text(algorithm, KEYS.rsa.public_key().as_ref()),
        Algorithm::Ed25519Sha256 => key_record_text(algorithm, KEYS.ed25519.public_key().as_ref()),
    }
}

fn complete(unsigned: Unsigned) -> SignedField {
    match unsigned.algorithm() {
        Algorithm::RsaSha256 => {
            let digest =
                digest::Digest::import_less_safe(unsigned.digest(), &digest::SHA256).unwrap();
            let mut signature = vec![0; KEYS.rsa.public_modulus_len()];
            KEYS.rsa.sign_digest(&RSA_PKCS1_SHA256, &digest, &mut signature).unwrap();
            unsigned.complete(&signature)
        }
        Algorithm::Ed25519Sha256 => {
            let signature = KEYS.ed25519.sign(unsigned.digest());
            unsigned.complete(signature.as_ref())
        }
    }
}

fn request(algorithm: Algorithm, canonicalization: Canonicalization) -> SignRequest {
    SignRequest {
        signing_domain: DomainName::parse("example.com").unwrap(),
        selector: Selector::parse("s1").unwrap(),
        algorithm,
        canonicalization,
        signed_at: NOW,
        expires_at: Some(NOW.plus_secs(604_800)),
        identity: None,
        fields: FieldSelection::default(),
    }
}

fn sign(requests: Vec<SignRequest>, message: &[u8], chunks: &[Index]) -> Vec<SignedField> {
    let (header, body) = split_message(message);
    let header = Header::parse(header).unwrap();
    let mut signing = MessageSigning::start(requests, &header).unwrap();
    in_chunks(body, chunks, |chunk| signing.body(chunk));
    signing.finish().into_iter().map(complete).collect()
}

fn verify(message: &[u8], chunks: &[Index]) -> Report {
    let (header, body) = split_message(message);
    let header = Header::parse(header).unwrap();
    let (mut verifier, queries) = Verifier::start(&header, &VerifyRules::default(), NOW);
    for query in queries {
        let algorithm = if query.name.as_str().starts_with("ed") {
            Algorithm::Ed25519Sha256
        } else {
            Algorithm::RsaSha256
        };
        verifier.answer(query.id, KeyAnswer::from_texts([record(algorithm)]));
    }
    in_chunks(body, chunks, |chunk| verifier.body(chunk));
    verifier.finish()
}

/// Cuts a body at these places.
fn in_chunks(body: &[u8], cuts: &[Index], mut each: impl FnMut(&[u8])) {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
    cuts.sort_unstable();
    let mut start = 0;
    for cut in cuts.into_iter().chain([body.len()]) {
        each(&body[start..cut]);
        start = cut;
    }
}

fn any_canonicalization() -> impl Strategy<Value = Canonicalization> {
    let canon = || prop_oneof![Just(Canon::Simple), Just(Canon::Relaxed)];
    (canon(), canon()).prop_map(|(header, body)| Canonicalization { header, body })
}

/// Text on which canonicalization has work to do.
fn any_text(max_pieces: usize) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => "[a-z]{1,12}",
        3 => Just(" ".to_owned()),
        1 => "[ \t]{1,4}",
        2 => Just("\r\n".to_owned()),
        1 => "[\r\n]",
        1 => "\\PC{1,3}",
        1 => "[a-z ]{200}",
    ];
    vec(piece, 0..max_pieces).prop_map(|pieces| pieces.concat().into_bytes())
}

/// A message with one From, some other fields, and any body.
fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![
        Just("To"),
        Just("Subject"),
        Just("subject "),
        Just("References"),
        Just("List-Id"),
        Just("Received"),
        Just("X-Y"),
    ];
    let value = "[!-~ \t]{0,60}(\r\n[ \t][!-~]{1,20}[ \t]{0,3}){0,3}";
    (vec((name, value), 0..8), any_text(40)).prop_map(|(fields, body)| {
        let mut message = b"From: \"A\"  <a@example.com>\r\n".to_vec();
        for (name, value) in fields {
            message.extend_from_slice(format!("{name}:{value}\r\n").as_bytes());
        }
        message.extend_from_slice(b"\r\n");
        message.extend_from_slice(&body);
        message
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_was_signed_passes(
        message in any_message(),
        canonicalization in any_canonicalization(),
        cuts in vec(any::<Index>(), 0..6),
        other_cuts in vec(any::<Index>(), 0..6),
    ) {
        let mut ed25519 = request(Algorithm::Ed25519Sha256, canonicalization);
        ed25519.selector = Selector::parse("ed").unwrap();
        let requests = vec![request(Algorithm::RsaSha256, canonicalization), ed25519];
        let mut fields = sign(requests, &message, &cuts);
        fields.reverse();
        let signed = fields.iter().fold(message, |rest, field| [field.raw(), &rest].concat());

        let report = verify(&signed, &other_cuts);
        let outcomes: Vec<_> = report.signatures.iter().map(|s| s.outcome).collect();
        prop_assert!(outcomes.iter().all(Outcome::is_pass), "{outcomes:?}");
        prop_assert_eq!(outcomes.len(), 2);
    }

    #[test]
    fn a_changed_octet_fails(
        message in any_message(),
        place in any::<Index>(),
        change in 1_u8..=255,
    ) {
        // With simple canonicalization each octet of the body counts but those that end it.
        let field = sign(
            vec![request(Algorithm::Ed25519Sha256, Canonicalization::SIMPLE)],
            &message,
            &[],
        ).remove(0);
        let body_start = message.len() - split_message(&message).1.len();
        let mut end = message.len();
        while message[body_start..end].ends_with(b"\r\n") {
            end -= 2;
        }
        prop_assume!(end > body_start);
        let mut changed = message;
        changed[body_start + place.index(end - body_start)] ^= change;
        let signed = [field.raw(), &changed].concat();

        let report = verify_ed25519(&signed);
        prop_assert_eq!(report.signatures[0].outcome, Outcome::BodyHashMismatch);
    }

    #[test]
    fn a_changed_signature_never_passes(place in any::<Index>(), change in 1_u8..=255) {
        let message = b"From: a@example.com\r\nTo: b\r\nSubject: c\r\n\r\nbody\r\n";
        let field = sign(
            vec![request(Algorithm::Ed25519Sha256, Canonicalization::SIMPLE)],
            message,
            &[],
        ).remove(0);
        let mut signed = [field.raw(), message].concat();
        let place = place.index(signed.len() - 2);
        let (old, new) = (signed[place], signed[place] ^ change);
        signed[place] = new;

        // White space inside b= counts for nothing, and neither do the signs that fill its base64 up (§2.10).
        let is_nothing = |octet: u8| matches!(octet, b' ' | b'\t' | b'\r' | b'\n' | b'=');
        prop_assume!(!(is_nothing(old) && is_nothing(new)));
        let (header, _) = split_message(&signed);
        if Header::parse(header).unwrap().count(&FieldName::DKIM_SIGNATURE) > 0 {
            prop_assert!(!verify_ed25519(&signed).has_pass(), "{}", signed.escape_ascii());
        }
    }

    #[test]
    fn any_octets_end_in_a_report(octets in vec(any::<u8>(), 0..400)) {
        let message = [b"DKIM-Signature: ", &octets[..]].concat();
        verify_ed25519(&message);
        let _ = KeyRecord::parse(&octets);
        let _ = TagList::parse(&octets);
        let _ = Signature::parse(&octets);
    }

    /// Whatever text stands in a setting, it is refused, or it stays inside its own tag.
    #[test]
    fn no_setting_brings_in_a_tag_or_a_line(
        domain in "\\PC{0,12}|[a-z]{1,5}\\.[a-z;=\r\n ]{1,9}",
        selector in "\\PC{0,12}|[a-z;=:@\r\n\t ]{1,9}",
        local_part in "\\PC{0,12}|[a-z;=:@\r\n\t ]{1,9}",
        names in vec("\\PC{0,12}|[a-zA-Z;=:*\r\n\t -]{1,9}", 0..5),
        extra_name in "[!-9;-~]{1,90}",
    ) {
        let Ok(domain) = DomainName::parse(&domain).or_else(|_| DomainName::parse("example.com"))
        else { return Ok(()) };
        let mut request = request(Algorithm::Ed25519Sha256, Canonicalization::RELAXED);
        request.identity = Identity::new(&local_part, domain.clone()).ok();
        request.signing_domain = domain;
        if let Ok(selector) = Selector::parse(&selector) {
            request.selector = selector;
        }
        let mut classes = FieldClasses::standard();
        classes.oversigned.extend(names.iter().filter_map(|name| FieldName::parse(name).ok()));
        classes.as_present.extend(names.iter().filter_map(|name| name.parse::<FieldPattern>().ok()));
        if let Ok(fields) = FieldSelection::by_class(classes) {
            request.fields = fields;
        }

        let raw = format!("From: a@example.com\r\nList-{extra_name}: b\r\n");
        let header = Header::parse(raw.as_bytes()).unwrap();
        let (has_identity, selector) = (request.identity.is_some(), request.selector.clone());
        let Ok(signing) = MessageSigning::start(vec![request], &header) else { return Ok(()) };
        let field = complete(signing.finish().remove(0));

        let text = str::from_utf8(field.raw()).unwrap();
        prop_assert!(text.ends_with("\r\n"));
        prop_assert_eq!(Header::parse(field.raw()).unwrap().len(), 1);
        for line in text.lines() {
            prop_assert!(line.len() <= 78 || !line.trim_start().contains(' '), "{line}");
        }
        let tags = TagList::parse(field.value()).unwrap();
        let names: Vec<_> = tags.iter().map(|tag| tag.name).collect();
        let want: &[_] = if has_identity {
            &["v", "a", "c", "d", "s", "t", "x", "i", "h", "bh", "b"]
        } else {
            &["v", "a", "c", "d", "s", "t", "x", "h", "bh", "b"]
        };
        prop_assert_eq!(names, want);
        let signature = Signature::parse(field.value()).unwrap();
        prop_assert_eq!(signature.selector(), &selector);
    }
}

fn verify_ed25519(message: &[u8]) -> Report {
    let (header, body) = split_message(message);
    let header = Header::parse(header).unwrap();
    let (mut verifier, queries) = Verifier::start(&header, &VerifyRules::default(), NOW);
    for query in queries {
        verifier.answer(query.id, KeyAnswer::from_texts([record(Algorithm::Ed25519Sha256)]));
    }
    verifier.body(body);
    verifier.finish()
}

#[test]
fn a_field_is_folded_and_in_its_order() {
    let message = b"From: a@example.com\r\nTo: b\r\nDate: c\r\nSender: d\r\n\r\nHi\r\n";
    let field = sign(vec![request(Algorithm::RsaSha256, Canonicalization::RELAXED)], message, &[])
        .remove(0);

    let text = str::from_utf8(field.raw()).unwrap();
    let (before, _) = text.split_once(" b=").unwrap();
    assert_eq!(
        before,
        "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=s1;\r\n \
         t=1790000000; x=1790604800; h=From:From:To:To:Cc:Subject:Reply-To:\r\n \
         MIME-Version:Content-Type:Content-Transfer-Encoding:Date:Date:Sender;\r\n \
         bh=j+uJ1+KwQjMpdNiCngwvlv2FTzZnzkokoCYASnN36NE=;"
    );
    assert!(text.lines().all(|line| line.len() < 78), "{text}");
    assert_eq!(field.name(), "DKIM-Signature");
    assert_eq!([b"DKIM-Signature:", field.value(), b"\r\n"].concat(), field.raw());
}

#[test]
fn the_digest_is_what_rsa_signs() {
    let message = b"From: a@example.com\r\n\r\nHi\r\n";
    let (header, body) = split_message(message);
    let header = Header::parse(header).unwrap();
    let request = request(Algorithm::RsaSha256, Canonicalization::SIMPLE);
    let mut signing = MessageSigning::start(vec![request], &header).unwrap();
    signing.body(body);
    let unsigned = signing.finish().remove(0);
    let digest = *unsigned.digest();
    let field = complete(unsigned);

    // The same by hand: the fields of h=, then the field itself without the value of b=.
    let text = str::from_utf8(field.raw()).unwrap();
    let (before, _) = text.split_once(" b=").unwrap();
    let input = format!("From: a@example.com\r\n{before} b=");
    assert_eq!(digest::digest(&digest::SHA256, input.as_bytes()).as_ref(), digest);
    let parsed = Signature::parse(field.value()).unwrap();
    UnparsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, KEYS.rsa.public_key().as_ref())
        .verify(input.as_bytes(), parsed.signature())
        .unwrap();
}

#[test]
fn an_earlier_signature_is_checked_in_the_same_pass() {
    let message = b"From: a@example.com\r\nTo: b\r\n\r\nHi\r\n";
    let own = request(Algorithm::RsaSha256, Canonicalization::RELAXED);
    let field = sign(vec![own.clone()], message, &[]).remove(0);
    let key = KeyRecord::parse(record(Algorithm::RsaSha256).as_bytes()).unwrap();

    for (body, want) in [(&b"Hi\r\n"[..], AuthResult::Pass), (b"Ho\r\n", AuthResult::Fail)] {
        let raw = [b"DKIM-Signature: v=1\r\n", field.raw(), b"From: a@example.com\r\nTo: b\r\n"];
        let raw = raw.concat();
        let header = Header::parse(&raw).unwrap();
        let places = signatures_by(&header, &own.signing_domain, &own.selector);
        assert_eq!(places, [1]);
        let checks: Vec<_> =
            [0, 1, 99].map(|field| SignatureCheck { field, key: key.clone(), now: NOW }).to_vec();
        let mut signing =
            MessageSigning::start_with_checks(vec![own.clone()], checks, &header).unwrap();
        signing.body(body);
        let (unsigned, outcomes) = signing.finish_with_checks();
        assert_eq!(unsigned.len(), 1);
        let results: Vec<_> = outcomes.iter().map(Outcome::result).collect();
        assert_eq!(results, [AuthResult::PermError, want, AuthResult::PermError]);
    }
    let header = Header::parse(field.raw()).unwrap();
    let other = Selector::parse("s2").unwrap();
    assert_eq!(signatures_by(&header, &own.signing_domain, &other), []);
}

#[test]
fn what_could_never_verify_is_not_begun() {
    use postseal_dkim::SignError::*;

    let start = |raw: &str, change: &dyn Fn(&mut SignRequest)| {
        let mut request = request(Algorithm::RsaSha256, Canonicalization::RELAXED);
        change(&mut request);
        MessageSigning::start(vec![request], &Header::parse(raw.as_bytes()).unwrap()).err()
    };
    let good = "From: a@example.com\r\n";
    let name = |text: &str| DomainName::parse(text).unwrap();
    let long = vec!["a".repeat(49); 5].join(".");

    assert_eq!(start(good, &|_| {}), None);
    assert_eq!(start("To: a\r\n", &|_| {}), Some(NoFrom));
    assert_eq!(start("", &|_| {}), Some(NoFrom));
    assert_eq!(start("From: a\r\nFROM : b\r\n", &|_| {}), Some(SeveralFrom));
    assert_eq!(start(good, &|r| r.signing_domain = name("com")), Some(SingleLabel));
    assert!(matches!(start(good, &|r| r.signing_domain = name(&long)), Some(BadKeyName(_))));
    let identity = |text: &str| Some(Identity::of_domain(name(text)));
    assert_eq!(start(good, &|r| r.identity = identity("sub.example.com")), None);
    assert_eq!(start(good, &|r| r.identity = identity("example.org")), Some(IdentityOutsideDomain));
    assert_eq!(start(good, &|r| r.expires_at = Some(NOW)), Some(ExpiresBeforeSigning));
    assert_eq!(start(good, &|r| r.expires_at = Some(UnixTime(1_000_000_000_000))), Some(BadTime));
    let own = |raw: &str| {
        let names = ["From", "DKIM-Signature"].map(|name| FieldName::parse(name).unwrap());
        start(raw, &|r| r.fields = FieldSelection::exactly(names.to_vec()).unwrap())
    };
    assert_eq!(own(good), Some(SignsItself));
    assert_eq!(own(&format!("DKIM-signature: v=1\r\n{good}")), None);
    let many = |field: &str| format!("{good}{}", field.repeat(1_500));
    assert_eq!(start(&many("To: x\r\n"), &|_| {}), Some(TooManyFields));
    assert_eq!(start(&many("Sender: x\r\n"), &|_| {}), None);
}

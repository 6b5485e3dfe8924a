//! What a signature says that is made here (§5, §3.5), and how its field is written (RFC 5322 §2.1.1).

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::Ed25519KeyPair;
use postseal_dkim::tag_list::TagList;
use postseal_dkim::{
    Algorithm, Canonicalization, DomainName, FieldClasses, FieldName, FieldPattern, FieldSelection,
    Header, Identity, MessageSigning, Outcome, Selector, SignRequest, Signature, SignedField,
    UnixTime,
};

use crate::by_hand::{BODY, FROM, NOW, outcome};

/// The key of [`crate::by_hand::record`].
static KEY: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[42; 32]).unwrap());

fn request() -> SignRequest {
    SignRequest {
        signing_domain: DomainName::parse("example.com").unwrap(),
        selector: Selector::parse("s1").unwrap(),
        algorithm: Algorithm::Ed25519Sha256,
        canonicalization: Canonicalization::RELAXED,
        signed_at: NOW,
        expires_at: None,
        identity: None,
        fields: FieldSelection::default(),
    }
}

fn sign(request: SignRequest, header: &str, body: &str) -> SignedField {
    let header = Header::parse(header.as_bytes()).unwrap();
    let mut signing = MessageSigning::start(vec![request], &header).unwrap();
    signing.body(body.as_bytes());
    let unsigned = signing.finish().remove(0);
    let signature = KEY.sign(unsigned.digest());
    unsigned.complete(signature.as_ref())
}

/// Name and value of each tag, the values without their folds.
fn tags(field: &SignedField) -> Vec<(String, String)> {
    let list = TagList::parse(field.value()).unwrap();
    let unfolded = |value: &str| value.replace("\r\n ", "");
    list.iter().map(|tag| (tag.name.to_owned(), unfolded(tag.value))).collect()
}

fn value(field: &SignedField, name: &str) -> Option<String> {
    tags(field).into_iter().find(|tag| tag.0 == name).map(|tag| tag.1)
}

/// What a newsletter looks like.
const NEWSLETTER: &str = "Received: x\r\nReturn-Path: <b@example.com>\r\nFrom: Joe <joe@example.com>\r\nTo: a\r\n\
    Cc: b\r\nBcc: c\r\nSubject: d\r\nDate: e\r\nMessage-ID: f\r\nSender: g\r\nReply-To: h\r\nIn-Reply-To: i\r\n\
    References: j\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: 8bit\r\n\
    List-Unsubscribe: <https://example.com/u>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nList-Id: k\r\n\
    List-Help: l\r\nFeedback-ID: m\r\nCFBL-Address: n\r\nCFBL-Feedback-ID: o\r\nX-Mailer: p\r\n\
    X-CSA-Complaints: r@example.org\r\n\
    Authentication-Results: q\r\nDKIM-Signature: v=1; d=other.example\r\n";

/// §3.5: the tags that are written, in their order; `x=` and `i=` where they are asked for; never `l=`,
/// `q=` and `z=`.
#[test]
fn the_tags_are_those_that_are_needed() {
    let names = |request| {
        let field = sign(request, NEWSLETTER, BODY);
        tags(&field).into_iter().map(|tag| tag.0).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(request()), "v a c d s t h bh b");
    let identity = Some(Identity::of_domain(DomainName::parse("mail.example.com").unwrap()));
    let expires_at = Some(NOW.plus_secs(604_800));
    let all = SignRequest { identity, expires_at, ..request() };
    assert_eq!(names(all.clone()), "v a c d s t x i h bh b");

    let field = sign(all, NEWSLETTER, BODY);
    for (name, want) in [
        ("v", "1"),
        ("a", "ed25519-sha256"),
        ("c", "relaxed/relaxed"),
        ("d", "example.com"),
        ("s", "s1"),
        ("t", "1790000000"),
        ("x", "1790604800"),
        ("i", "@mail.example.com"),
    ] {
        assert_eq!(value(&field, name).as_deref(), Some(want), "{name}");
    }
}

/// §5.4, §5.4.1: which fields a signature covers, and how often, unless it is told otherwise.
#[test]
fn the_default_fields_are_those_that_matter() {
    let h = |header: &str| value(&sign(request(), header, BODY), "h").unwrap();
    // Oversigned whether they are there or not.
    let always =
        "From:From:To:Cc:Subject:Reply-To:MIME-Version:Content-Type:Content-Transfer-Encoding";
    assert_eq!(h("From: a\r\n"), always);
    assert_eq!(
        h(NEWSLETTER),
        "From:From:To:To:Cc:Cc:Subject:Subject:Reply-To:Reply-To:MIME-Version:MIME-Version:Content-Type:\
         Content-Type:Content-Transfer-Encoding:Content-Transfer-Encoding:Date:Date:Message-ID:Message-ID:\
         List-Unsubscribe:List-Unsubscribe:List-Unsubscribe-Post:List-Unsubscribe-Post:\
         Sender:In-Reply-To:References:List-Id:List-Help:Feedback-ID:CFBL-Address:CFBL-Feedback-ID:\
         X-CSA-Complaints"
    );
    // As often as present: several, and in the order of the message.
    let several =
        "From: a\r\nList-Id: b\r\nReferences: c\r\nLIST-id: d\r\nReceived: e\r\nX-List-Id: f\r\n";
    assert_eq!(h(several), format!("{always}:List-Id:References:LIST-id"));
}

/// §5.4.2, §8.15: a field that comes later breaks the signature if it is oversigned, or oversigned if it
/// was there; one that nobody signs does not.
#[test]
fn fields_that_come_later_break_what_is_oversigned() {
    let full = sign(request(), NEWSLETTER, BODY);
    let bare = sign(request(), "From: a\r\n", BODY);
    let with = |field: &SignedField, header: &str, added: &str| {
        let raw = str::from_utf8(field.raw()).unwrap();
        outcome(format!("{raw}{added}{header}\r\n{BODY}"))
    };
    for name in [
        "From",
        "To",
        "Cc",
        "Subject",
        "Reply-To",
        "MIME-Version",
        "Content-Type",
        "Content-Transfer-Encoding",
    ] {
        let added = format!("{name}: eve@example.net\r\n");
        assert_eq!(with(&bare, "From: a\r\n", &added), Outcome::SignatureMismatch, "{name}");
    }
    let newsletter = NEWSLETTER.replace("DKIM-Signature: v=1; d=other.example\r\n", "");
    let covered = ["Date", "Message-ID", "List-Unsubscribe", "List-Unsubscribe-Post"];
    for name in covered {
        let added = format!("{name}: eve\r\n");
        assert!(with(&bare, "From: a\r\n", &added).is_pass(), "{name}");
        assert_eq!(with(&full, &newsletter, &added), Outcome::SignatureMismatch, "{name}");
    }
    for name in ["Received", "Sender", "List-Id", "X-Y", "Authentication-Results"] {
        assert!(with(&full, &newsletter, &format!("{name}: z\r\n")).is_pass(), "{name}");
    }
}

/// §3.7: what is still to be signed says for whom, with what and over which hashes.
#[test]
fn an_unsigned_signature_says_what_it_is() {
    let header = Header::parse(b"From: Joe <joe@example.com>\r\n").unwrap();
    let mut signing = MessageSigning::start(vec![request()], &header).unwrap();
    assert_eq!(format!("{signing:?}"), "MessageSigning { signatures: 1, .. }");
    signing.body(BODY.as_bytes());
    let unsigned = signing.finish().remove(0);
    assert_eq!(unsigned.algorithm(), Algorithm::Ed25519Sha256);
    assert_eq!(unsigned.signing_domain().as_str(), "example.com");
    assert_eq!(unsigned.selector().as_str(), "s1");
    let body_hash = *unsigned.body_hash();
    assert_eq!(body_hash, digest(&SHA256, BODY.as_bytes()).as_ref());
    let digest_to_sign = *unsigned.digest();

    let field = unsigned.complete(&[0; 64]);
    assert_eq!(field.name(), "DKIM-Signature");
    assert_eq!(Signature::parse(field.value()).unwrap().body_hash(), body_hash);
    let text = str::from_utf8(field.value()).unwrap().replace("\r\n", "");
    let (before, _) = text.split_once(" b=").unwrap();
    let hashed = format!("{FROM}dkim-signature:{} b=", before.trim_start());
    assert_eq!(digest_to_sign, digest(&SHA256, hashed.as_bytes()).as_ref());
}

/// §5.3, §8.2: all of the body is covered.
#[test]
fn all_of_the_body_is_covered() {
    for body in ["", "\r\n", BODY, "a\r\n\r\n\r\nb"] {
        let field = sign(request(), "From: a\r\n", body);
        assert_eq!(value(&field, "l"), None);
        let raw = str::from_utf8(field.raw()).unwrap();
        assert!(outcome(format!("{raw}From: a\r\n\r\n{body}")).is_pass(), "{body:?}");
        let longer = outcome(format!("{raw}From: a\r\n\r\n{body}\r\nx"));
        assert_eq!(longer, Outcome::BodyHashMismatch, "{body:?}");
    }
}

/// §5.3: line ends are made right before a message is signed, and not by signing it: a bare CR or LF is hashed as it is,
/// so that a message which is made right later fails.
#[test]
fn bare_line_ends_are_signed_as_they_are() {
    for (header, body) in
        [("From: a\r\nX: b\nc\r\n", BODY), ("From: a\r\n", "a\nb\r\n"), ("From: a\r\n", "a\rb\r\n")]
    {
        let fields = [FieldName::FROM, FieldName::literal("X")].to_vec();
        let request = SignRequest { fields: FieldSelection::exactly(fields).unwrap(), ..request() };
        let field = sign(request, header, body);
        let raw = str::from_utf8(field.raw()).unwrap();
        assert!(outcome(format!("{raw}{header}\r\n{body}")).is_pass(), "{header:?} {body:?}");
        let right =
            |text: &str| text.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n");
        let mended = outcome(format!("{raw}{}\r\n{}", right(header), right(body)));
        assert!(!mended.is_pass(), "{header:?} {body:?}");
    }
}

/// §5.4: nothing but From has to be covered, so each class of names can be empty, and with it the oversigning.
#[test]
fn oversigning_can_be_left_out() {
    let pattern = |text: &str| text.parse::<FieldPattern>().unwrap();
    let classes = FieldClasses {
        as_present: vec![pattern("From"), pattern("Subject"), pattern("List-*")],
        ..FieldClasses::default()
    };
    let request = SignRequest { fields: FieldSelection::by_class(classes).unwrap(), ..request() };
    let header = "From: a\r\nList-Id: b\r\nTo: c\r\n";
    let field = sign(request, header, BODY);
    assert_eq!(value(&field, "h").as_deref(), Some("From:List-Id"));
    let raw = str::from_utf8(field.raw()).unwrap();
    for added in ["", "Subject: eve\r\n", "List-Id: eve\r\n", "From: eve\r\n"] {
        let passes = outcome(format!("{raw}{added}{header}\r\n{BODY}")).is_pass();
        assert!(passes, "what comes on top is not covered: {added}");
    }
}

/// RFC 5322 §2.1.1, erratum 5070: no line has more than 76 columns where it can be helped, no line has
/// only white space, and white space comes between tags, behind a colon of `h=` and into base64 only.
#[test]
fn the_field_is_folded_and_no_token_is_torn() {
    let labels: Vec<String> = (1..=60).map(|len| "a".repeat(len)).collect();
    for (place, label) in labels.iter().enumerate() {
        let identity = Identity::new(label, DomainName::parse("example.com").unwrap()).unwrap();
        let selector = &labels[59 - place];
        let names: Vec<_> = ["From", "To", &format!("X-{label}"), "Date", label, selector]
            .iter()
            .map(|name| FieldName::parse(name).unwrap())
            .collect();
        let request = SignRequest {
            signing_domain: DomainName::parse("example.com").unwrap(),
            selector: Selector::parse(selector).unwrap(),
            expires_at: Some(NOW.plus_secs(1)),
            identity: Some(identity),
            fields: FieldSelection::exactly(names.clone()).unwrap(),
            ..request()
        };
        let field = sign(request, "From: a\r\n", BODY);
        let text = str::from_utf8(field.raw()).unwrap();
        for line in text.strip_suffix("\r\n").unwrap().split("\r\n") {
            assert!(line.len() <= 76, "{} columns: {text}", line.len());
            assert!(!line.trim().is_empty(), "{text}");
            assert!(!line.ends_with(' ') && !line.contains("  "), "{text}");
        }
        assert!(!text.contains('\t'));
        let list = TagList::parse(field.value()).unwrap();
        for tag in list.iter() {
            let white = tag.value.contains(' ');
            match tag.name {
                "b" | "bh" => {}
                "h" => assert!(tag.value.split("\r\n ").all(|part| !part.contains(' '))),
                _ => assert!(!white, "{text}"),
            }
        }
        // A fold in h= stands behind a colon.
        for part in list.value("h").unwrap().split("\r\n ") {
            assert!(part.ends_with(':') || part.ends_with(selector.as_str()), "{text}");
        }
        let signature = Signature::parse(field.value()).unwrap();
        let want: Vec<_> = names.iter().map(FieldName::as_str).collect();
        assert_eq!(signature.signed_fields(), want);
        assert_eq!(signature.selector().as_str(), selector);
        assert!(outcome(format!("{text}From: a\r\n\r\n{BODY}")).is_pass());
    }
}

/// §3.5 `d=`, `s=`, RFC 5322 §2.1.1: what cannot be folded gets a line of its own.
#[test]
fn a_long_name_gets_a_line_of_its_own() {
    let domain = format!("{}.example", vec!["d".repeat(49); 4].join("."));
    let name = "n".repeat(74);
    let request = SignRequest {
        signing_domain: DomainName::parse(&domain).unwrap(),
        fields: FieldSelection::exactly(
            [&name, "From"].map(|n| FieldName::parse(n).unwrap()).to_vec(),
        )
        .unwrap(),
        ..request()
    };
    let field = sign(request, "From: a\r\n", BODY);
    let text = str::from_utf8(field.raw()).unwrap();
    let lines: Vec<_> = text.split("\r\n").collect();
    assert_eq!(lines[1], format!(" d={domain};"));
    assert_eq!(lines[2], " s=s1; t=1790000000;");
    // The longest name that may be signed: 78 columns as the first of h=.
    assert_eq!(lines[3], format!(" h={name}:"));
    assert!(lines[4].starts_with(" From; bh="), "{text}");
    assert!(lines.iter().all(|line| line.len() <= 78 || line.contains(&domain)), "{text}");
}

/// §3.5 `i=`: its local part is written in quoted-printable.
#[test]
fn an_identity_is_written_in_quoted_printable() {
    for (local_part, want) in [
        ("joe", "joe@example.com"),
        ("a;b=c d", "a=3Bb=3Dc=20d@example.com"),
        ("x\r\n y", "x=0D=0A=20y@example.com"),
        ("ü\u{7f}", "=C3=BC=7F@example.com"),
        ("a|b@c:~!", "a|b@c:~!@example.com"),
    ] {
        let domain = DomainName::parse("example.com").unwrap();
        let identity = Some(Identity::new(local_part, domain).unwrap());
        let field = sign(SignRequest { identity, ..request() }, "From: a\r\n", BODY);
        assert_eq!(value(&field, "i").as_deref(), Some(want));
        let signature = Signature::parse(field.value()).unwrap();
        assert_eq!(signature.identity().unwrap().local_part(), Some(local_part.as_bytes()));
    }
    // RFC 5321 §4.5.3.1.1 bounds a local part, and an empty one is written as none.
    let domain = || DomainName::parse("example.com").unwrap();
    assert!(Identity::new(&"a".repeat(64), domain()).is_ok());
    assert!(Identity::new(&"a".repeat(65), domain()).is_err());
    assert!(Identity::new("", domain()).is_err());
}

/// RFC 8616 §4: names are written as A-labels.
#[test]
fn names_are_written_as_a_labels() {
    let request = SignRequest {
        signing_domain: DomainName::parse("Bücher.example").unwrap(),
        selector: Selector::parse("SÜD").unwrap(),
        ..request()
    };
    let field = sign(request, "From: a\r\n", BODY);
    assert_eq!(value(&field, "d").as_deref(), Some("xn--bcher-kva.example"));
    assert_eq!(value(&field, "s").as_deref(), Some("xn--sd-xka"));
}

/// §3.5 `t=`: times have up to twelve digits.
#[test]
fn times_are_written_with_up_to_twelve_digits() {
    for (signed_at, expires_at) in [(0, 1), (999_999_999_998, 999_999_999_999)] {
        let request = SignRequest {
            signed_at: UnixTime(signed_at),
            expires_at: Some(UnixTime(expires_at)),
            ..request()
        };
        let field = sign(request, "From: a\r\n", BODY);
        assert_eq!(value(&field, "t"), Some(signed_at.to_string()));
        assert_eq!(value(&field, "x"), Some(expires_at.to_string()));
    }
    let last = SignRequest { signed_at: UnixTime(999_999_999_999), ..request() };
    assert_eq!(value(&sign(last, "From: a\r\n", BODY), "t").as_deref(), Some("999999999999"));
    let late = SignRequest { signed_at: UnixTime(1_000_000_000_000), ..request() };
    let header = Header::parse(b"From: a\r\n").unwrap();
    let error = MessageSigning::start(vec![late], &header).err();
    assert_eq!(error, Some(postseal_dkim::SignError::BadTime));
}

/// §4.2, §5: two signatures of one message know nothing of each other, in whichever order they stand.
#[test]
fn signatures_of_one_message_are_independent() {
    let header = "From: a\r\nTo: b\r\n";
    let simple = SignRequest { canonicalization: Canonicalization::SIMPLE, ..request() };
    let parsed = Header::parse(header.as_bytes()).unwrap();
    let mut signing = MessageSigning::start(vec![request(), simple], &parsed).unwrap();
    signing.body(BODY.as_bytes());
    let fields: Vec<_> = signing
        .finish()
        .into_iter()
        .map(|unsigned| {
            let signature = KEY.sign(unsigned.digest());
            unsigned.complete(signature.as_ref())
        })
        .collect();
    let [one, two] = [0, 1].map(|place| str::from_utf8(fields[place].raw()).unwrap());
    for fields in [format!("{one}{two}"), format!("{two}{one}"), format!("{one}x: y\r\n{two}")] {
        let message = format!("{fields}{header}\r\n{BODY}");
        let answer = postseal_dkim::KeyAnswer::from_texts([crate::by_hand::record()]);
        let outcomes = crate::by_hand::outcomes(message.as_bytes(), &answer);
        assert_eq!(outcomes.len(), 2);
        assert!(outcomes.iter().all(Outcome::is_pass), "{outcomes:?}");
    }
}

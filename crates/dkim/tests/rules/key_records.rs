//! Key records (§3.6.1, §3.6.2, §6.1.2), and what each says about a signature that is right.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postseal_dkim::tag_list::TagListError;
use postseal_dkim::{
    IdentityRule, KeyAnswer, KeyRecord, KeyRecordError, MAX_KEY_RECORDS, Mode, Outcome,
    PublicKeyError, Remarks, Service,
};

use crate::by_hand::{
    BODY, FROM, TAGS, field, outcome_by, outcomes, pass, record, record_and_message,
};

/// The RSA key of appendix C, 1024 bits, as SubjectPublicKeyInfo.
const RSA: &str = "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYt\
    IxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhi\
    tdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB";

/// The value of `p=` of the key that signs here.
fn p() -> String {
    record().split_once("p=").unwrap().1.to_owned()
}

/// The outcome of a right signature by this record.
fn by(record: &str) -> Outcome {
    outcome_by(record, format!("{}{FROM}\r\n{BODY}", field(TAGS, FROM, BODY)))
}

fn bad(error: KeyRecordError) -> Outcome {
    Outcome::BadKeyRecord(error)
}

/// §3.6.1 `v=`: `DKIM1`, exactly, and in front of all others; or nothing.
#[test]
fn the_version_is_dkim1_and_comes_first() {
    let rest = format!("k=ed25519; p={}", p());
    for start in ["", "v=DKIM1; ", " v = DKIM1 ;", "v=DKIM1;"] {
        assert_eq!(by(&format!("{start}{rest}")), pass(), "{start}");
    }
    for start in [
        "v=; ",
        "v=DKIM2; ",
        "v=dkim1; ",
        "v=DKIM; ",
        "v=DKIM1.0; ",
        "v=DKIM1 1; ",
        "v=\"DKIM1\"; ",
        "v=DKIM1\\; ",
        "v=DKIM1: ",
    ] {
        assert_eq!(by(&format!("{start}{rest}")), bad(KeyRecordError::BadVersion), "{start}");
    }
    for record in [format!("{rest}; v=DKIM1"), format!("n=1; v=DKIM1; {rest}")] {
        assert_eq!(by(&record), bad(KeyRecordError::VersionNotFirst), "{record}");
    }
    for other in ["v=spf1 -all", "v=DMARC1; p=none", "v=STSv1; id=1"] {
        assert_eq!(by(other), bad(KeyRecordError::BadVersion), "{other}");
    }
}

/// §3.6.1 `h=`: the hashes that may be used; all without it; unknown ones are ignored.
#[test]
fn hashes_can_be_restricted() {
    for h in ["sha256", "SHA256", "sha1:sha256", "sha1 : sha256", "x:sha256:y", "sha256:"] {
        assert_eq!(by(&format!("{}; h={h}", record())), pass(), "{h}");
    }
    for h in ["", "sha1", "sha512", "sha-256", "sha2562", "sha1,sha256", ":"] {
        assert_eq!(by(&format!("{}; h={h}", record())), Outcome::HashNotAllowed, "{h}");
    }
}

/// §3.6.1 `k=`: RSA without it, RFC 8463 §4 adds ed25519; a record of an unknown kind is no key.
#[test]
fn the_kind_of_key_is_rsa_unless_it_is_said() {
    for k in ["k=ed25519", "k=Ed25519", "k = ed25519 "] {
        assert_eq!(by(&format!("v=DKIM1; {k}; p={}", p())), pass(), "{k}");
    }
    for k in ["", "dsa", "rsa-sha256", "ed25519-sha256", "ed448", "ed 25519", "ecdsa"] {
        let record = format!("v=DKIM1; k={k}; p={}", p());
        assert_eq!(by(&record), bad(KeyRecordError::UnknownKeyType), "{k}");
    }
    for record in [format!("p={RSA}"), format!("k=rsa; p={RSA}"), format!("k=RSA; p={RSA}")] {
        let key = KeyRecord::parse(record.as_bytes()).unwrap();
        assert_eq!(key.public_key().rsa_bits(), Some(1024));
        assert_eq!(by(&record), Outcome::KeyTypeMismatch);
    }
    // The octets of an Ed25519 key are no RSA key.
    assert_eq!(by(&format!("p={}", p())), bad(KeyRecordError::BadKey(PublicKeyError::NotRsaDer)));
}

/// §3.6.1 `n=`: notes are for people, whatever is in them.
#[test]
fn notes_do_not_count() {
    for n in ["", "our first key", "=20=ZZ=", "v=DKIM2", "p=", "bücher", "a\tb"] {
        assert_eq!(by(&format!("{}; n={n}", record())), pass(), "{n}");
    }
}

/// §3.6.1 `n=`: notes are a `qp-section` of RFC 2045 §6.7, in which white space is text, and a decoder leaves what it cannot
/// decode as it is.
#[test]
fn notes_are_decoded() {
    for (n, want) in [
        ("", ""),
        (" our first\t key ", "our first\t key"),
        ("b=C3=BCcher=20", "bücher "),
        ("=3B=3d=3D3D", ";==3D"),
        ("100%=ok =", "100%=ok ="),
        ("=4 =4", "=4 =4"),
        ("==41", "=A"),
    ] {
        let record = KeyRecord::parse(format!("{}; n={n}", record()).as_bytes()).unwrap();
        assert_eq!(
            record.notes().map(|notes| notes.escape_ascii().to_string()),
            Some(want.as_bytes().escape_ascii().to_string()),
            "{n}"
        );
    }
    assert_eq!(KeyRecord::parse(record().as_bytes()).unwrap().notes(), None);
}

/// §3.6.1 `p=`: required; empty is a revoked key; white space counts for nothing.
#[test]
fn the_key_is_there_or_revoked() {
    let (one, two) = (&p()[..20], &p()[20..]);
    for p in [format!("{one} {two}"), format!("{one}\t{two} "), p().trim_end_matches('=').into()] {
        assert_eq!(by(&format!("v=DKIM1; k=ed25519; p={p}")), pass(), "{p}");
    }
    for p in ["p=", "p= ", "p=;", "p= ; n=revoked", "k=ed25519; p=", "s=*; p="] {
        assert_eq!(by(&format!("v=DKIM1; {p}")), bad(KeyRecordError::Revoked), "{p}");
    }
    for none in ["v=DKIM1", "v=DKIM1;", "v=DKIM1; k=rsa", "k=ed25519", "v=DKIM1; P=MTIz", "n=p=1"] {
        assert_eq!(by(none), bad(KeyRecordError::NoKey), "{none}");
    }
}

/// §3.6.1 `p=`: what people publish by mistake is no key, and the record says why.
#[test]
fn malformed_keys_are_told_apart() {
    let p = p();
    let der = STANDARD.decode(RSA).unwrap();
    let rsa = |octets: &[u8]| format!("v=DKIM1; k=rsa; p={}", STANDARD.encode(octets));
    let not_rsa = KeyRecordError::BadKey(PublicKeyError::NotRsaDer);
    let length = |octets| KeyRecordError::BadKey(PublicKeyError::BadEd25519Length { octets });
    let ed25519 = |p: &str| format!("v=DKIM1; k=ed25519; p={p}");
    // id-RSASSA-PSS in the place of rsaEncryption.
    let mut pss = der.clone();
    pss[15] = 0x0A;
    for (record, error) in [
        // Not base64.
        (ed25519(&p.replace('=', "!")), KeyRecordError::NotBase64),
        (ed25519(&format!("\"{p}\"")), KeyRecordError::NotBase64),
        (ed25519(&format!("{} \" \" {}", &p[..20], &p[20..])), KeyRecordError::NotBase64),
        (ed25519(&format!("{p}\u{200b}")), KeyRecordError::NotBase64),
        (ed25519(&p.replace('/', "_").replace(['+', '='], "-")), KeyRecordError::NotBase64),
        (
            format!("v=DKIM1; k=rsa; p=-----BEGIN PUBLIC KEY----- {RSA} -----END PUBLIC KEY-----"),
            KeyRecordError::NotBase64,
        ),
        (format!("v=DKIM1; k=rsa; p={}", &RSA[..RSA.len() - 3]), KeyRecordError::NotBase64),
        // RFC 8463 §4: 32 octets, and no SubjectPublicKeyInfo round them.
        (ed25519(&format!("MCowBQYDK2VwAyEA{p}")), length(44)),
        (ed25519("MTIz"), length(3)),
        (ed25519(&STANDARD.encode([9; 31])), length(31)),
        (ed25519(&STANDARD.encode([9; 33])), length(33)),
        (ed25519(RSA), length(162)),
        // Cut off, as by a limit of 255 octets, or with something behind it.
        (rsa(&der[..der.len() - 3]), not_rsa),
        (rsa(&[&der[..], &[0]].concat()), not_rsa),
        (rsa(&pss), not_rsa),
        // A private key in PKCS#1: version, modulus, exponent, private exponent.
        (rsa(&[0x30, 0x0C, 2, 1, 0, 2, 1, 3, 2, 1, 3, 2, 1, 3]), not_rsa),
        // Private keys in PKCS#8, RSA and Ed25519: version, algorithm, and the key in an octet string.
        (rsa(&[&[0x30, 0x17, 2, 1, 0][..], &der[3..18], &[4, 3, 0x30, 1, 0]].concat()), not_rsa),
        (ed25519(&format!("MC4CAQAwBQYDK2VwBCIEI{}", "A".repeat(43))), length(48)),
        (rsa(b"hello"), not_rsa),
        (rsa(&[0x30, 0]), not_rsa),
        // §3.2: whatever is no tag list.
        ("hello".into(), KeyRecordError::TagList(TagListError::NoEqualsSign)),
        (String::new(), KeyRecordError::TagList(TagListError::NoEqualsSign)),
        ("DKIM1; k=rsa; p=MTIz".into(), KeyRecordError::TagList(TagListError::NoEqualsSign)),
        (format!("\"v=DKIM1; p={p}\""), KeyRecordError::TagList(TagListError::BadName)),
        (
            format!("v=DKIM1; k=ed25519; p={p}; p={p}"),
            KeyRecordError::TagList(TagListError::DuplicateName),
        ),
        (
            format!("v=DKIM1;; k=ed25519; p={p}"),
            KeyRecordError::TagList(TagListError::NoEqualsSign),
        ),
        (format!("v=DKIM1; k=ed25519; p={p}\n"), KeyRecordError::TagList(TagListError::BadFolding)),
    ] {
        assert_eq!(by(&record), bad(error), "{record}");
    }
    let not_utf8 = [record().as_bytes(), b"; n=\xfc"].concat();
    let want = KeyRecordError::TagList(TagListError::NotUtf8);
    assert_eq!(KeyRecord::parse(&not_utf8), Err(want));
}

/// §3.6.1 `s=`: all services without it; `*` and `email` mean mail.
#[test]
fn the_service_has_to_be_mail() {
    for s in ["*", "email", "EMAIL", "x:email", "email : y", "x:*"] {
        assert_eq!(by(&format!("{}; s={s}", record())), pass(), "{s}");
    }
    for s in ["", "tlsrpt", "mail", "emails", "e mail", "email,x", ":"] {
        assert_eq!(by(&format!("{}; s={s}", record())), Outcome::NotForEmail, "{s}");
    }
    let record = KeyRecord::parse(format!("p={RSA}; s=tlsrpt").as_bytes()).unwrap();
    assert_eq!(record.service(), Service::Other);
}

/// §3.6.1 `t=y`: the domain is testing. What verifies is told with that remark, and what fails fails.
#[test]
fn a_testing_key_is_remarked_upon() {
    let testing = Outcome::Verified(Remarks { is_testing: true, ..Remarks::default() });
    for t in ["y", "Y", "y:s", "x : y"] {
        assert_eq!(by(&format!("{}; t={t}", record())), testing, "{t}");
    }
    for t in ["", "x", "yes", "ys", ":"] {
        assert_eq!(by(&format!("{}; t={t}", record())), pass(), "{t}");
    }
    let message = format!("{}{FROM}\r\nother\r\n", field(TAGS, FROM, BODY));
    assert_eq!(outcome_by(&format!("{}; t=y", record()), message), Outcome::BodyHashMismatch);
    let record = KeyRecord::parse(format!("p={RSA}; t=y").as_bytes()).unwrap();
    assert_eq!(
        (record.mode(), record.identity_rule()),
        (Mode::Testing, IdentityRule::DomainOrBelow)
    );
}

/// §3.6.1 `t=s`: the domain of `i=` is that of `d=`; without `i=` it is so by itself (§3.5).
#[test]
fn a_strict_key_wants_the_domain_itself_in_i() {
    for (i, strict) in [
        ("", pass()),
        ("; i=@example.com", pass()),
        ("; i=joe@EXAMPLE.com", pass()),
        ("; i=@mail.example.com", Outcome::IdentityNotExact),
        ("; i=joe@a.b.example.com", Outcome::IdentityNotExact),
    ] {
        let message = format!("{}{FROM}\r\n{BODY}", field(&format!("{TAGS}{i}"), FROM, BODY));
        for t in ["s", "S", "x:s"] {
            assert_eq!(outcome_by(&format!("{}; t={t}", record()), &message), strict, "{i} {t}");
        }
        assert_eq!(outcome_by(&format!("{}; t=x", record()), &message), pass(), "{i}");
    }
}

/// RFC 4871 §3.6.1 `g=`, which RFC 6376 took out: it restricts nothing any more.
#[test]
fn a_granularity_does_not_count() {
    for g in ["", "*", "jane", "j*e"] {
        assert_eq!(by(&format!("{}; g={g}", record())), pass(), "{g}");
    }
}

/// §3.6.2.2: the strings of a TXT record are joined with nothing between them, before a record is read. If some software
/// joins them with a space, only what is white space anyway or in base64 survives.
#[test]
fn a_space_between_the_strings_of_a_record_is_part_of_it() {
    let whole = record();
    assert_eq!(by(&whole), pass());
    for at in 0..=whole.len() {
        let (one, two) = whole.split_at(at);
        let survives = at > whole.find("p=").unwrap() + 1
            || one.ends_with([';', ' ', '='])
            || two.starts_with([';', ' ', '='])
            || at == 0;
        assert_eq!(by(&[one, " ", two].concat()) == pass(), survives, "{at}");
    }
}

/// §3.6.1, §3.2: a key record is a tag list, in which white space may be folded, though the DNS has no lines.
#[test]
fn a_record_may_be_folded() {
    let p = p();
    for record in [
        format!("v=DKIM1;\r\n k=ed25519;\r\n\tp={p}"),
        format!("v=DKIM1; k=ed25519; p={}\r\n {}", &p[..20], &p[20..]),
    ] {
        assert_eq!(by(&record), pass(), "{record:?}");
    }
}

/// RFC 8301 §3.2: RSA keys count from 1,024 bits on; what a shorter one verifies is worth nothing. Both forms
/// of an RSA key in DER are read: SubjectPublicKeyInfo, and RSAPublicKey, which is what §3.6.1 names.
#[test]
fn the_sizes_and_forms_of_rsa_keys() {
    for (vector, word) in [
        (include_str!("../../testdata/vectors/rsa512.txt"), "policy"),
        (include_str!("../../testdata/vectors/rsa768.txt"), "policy"),
        (include_str!("../../testdata/vectors/rsa1023.txt"), "policy"),
        (include_str!("../../testdata/vectors/rsa1024.txt"), "pass"),
        (include_str!("../../testdata/vectors/rsa1024_pkcs1.txt"), "pass"),
        (include_str!("../../testdata/vectors/rsa2047.txt"), "pass"),
        (include_str!("../../testdata/vectors/rsa4096.txt"), "pass"),
        (include_str!("../../testdata/vectors/rsa8192.txt"), "pass"),
        (include_str!("../../testdata/vectors/rsa8200.txt"), "permerror"),
    ] {
        let (record, message) = record_and_message(vector);
        assert_eq!(outcome_by(record, message).result().as_str(), word, "{record}");
    }
}

/// §3.6.2.2, §6.1.2: a name should have one record. Of several, the one that fits decides, and otherwise
/// the one that tells most.
#[test]
fn of_several_records_the_one_that_fits_counts() {
    let message = format!("{}{FROM}\r\n{BODY}", field(TAGS, FROM, BODY));
    let good = record();
    let other = format!("v=DKIM1; k=ed25519; p={}", STANDARD.encode([9; 32]));
    let revoked = "v=DKIM1; p=".to_owned();
    let judge = |records: &[&String]| {
        let answer = KeyAnswer::from_texts(records.iter().map(|record| record.as_bytes()));
        outcomes(message.as_bytes(), &answer)[0]
    };
    assert_eq!(judge(&[&other, &good]), pass());
    assert_eq!(judge(&[&good, &other]), pass());
    assert_eq!(judge(&[&revoked, &"v=spf1 -all".into(), &good]), pass());
    assert_eq!(judge(&[&revoked, &other]), Outcome::SignatureMismatch);
    // One with a kind of key that is not known, or that this signature cannot be by, is as good as none.
    for ignored in [format!("k=dsa; p={}", p()), format!("p={RSA}")] {
        assert_eq!(judge(&[&ignored, &good]), pass(), "{ignored}");
        assert_eq!(judge(&[&good, &ignored]), pass(), "{ignored}");
    }
    assert_eq!(judge(&[&revoked, &"hello".into()]), bad(KeyRecordError::Revoked));
    // Work is bounded.
    let many = [&revoked; MAX_KEY_RECORDS];
    assert_eq!(judge(&[&many[1..], &[&good]].concat()), pass());
    assert_eq!(judge(&[&many[..], &[&good]].concat()), bad(KeyRecordError::Revoked));
    let records = many.iter().map(|r| KeyRecord::parse(r.as_bytes()));
    let records = records.chain([KeyRecord::parse(good.as_bytes())]).collect();
    let outcomes = outcomes(message.as_bytes(), &KeyAnswer::Records(records));
    assert_eq!(outcomes, [bad(KeyRecordError::Revoked)]);
}

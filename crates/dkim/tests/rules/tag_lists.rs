//! The grammar that signatures and key records share (§3.2, erratum 5070), and its two encodings.

use postseal_dkim::tag_list::{TagList, TagListError};
use postseal_dkim::{KeyRecord, KeyRecordError, Outcome, Signature, SignatureError};

use crate::by_hand::{BODY, FROM, field};
use crate::by_hand::{TAGS, outcome_by, outcome_of, pass, record};

/// Name and value of each tag.
fn tags(text: &str) -> Result<Vec<(&str, &str)>, TagListError> {
    let list = TagList::parse(text.as_bytes())?;
    Ok(list.iter().map(|tag| (tag.name, tag.value)).collect())
}

/// What a signature with these tags in front of its own comes to.
fn with(extra: &str) -> Outcome {
    outcome_of(&format!("{extra}{TAGS}"))
}

/// §3.2 `tag-list`: one semicolon may close the list; a tag is nowhere empty.
#[test]
fn one_semicolon_may_close_a_list_and_no_tag_is_empty() {
    assert_eq!(tags("a=1;b=2"), tags("a=1;b=2;"));
    for text in ["a=1;b=2;;", "a=1;;b=2", ";a=1;b=2", "a=1; ;b=2", "a=1;b=2; ;", ";", "", " ", "\t"]
    {
        assert_eq!(tags(text), Err(TagListError::NoEqualsSign), "{text:?}");
    }
    for broken in ["; ", "n=1;; "] {
        let want = Outcome::Malformed(SignatureError::TagList(TagListError::NoEqualsSign));
        assert_eq!(with(broken), want, "{broken:?}");
    }
    // Not in the grammar and yet in mail: white space behind the last semicolon.
    assert_eq!(tags("a=1;b=2; \t"), tags("a=1;b=2"));
    assert_eq!(tags("a=1;b=2;\r\n\t"), tags("a=1;b=2"));
}

/// §3.2 `tag-spec`, erratum 5070: folding white space round the name and round the value, and an empty
/// value between.
#[test]
fn white_space_stands_round_names_and_values() {
    for text in ["a=1", " a=1", "a =1", "a= 1", "a=1 ", "\r\n a\r\n\t=\r\n 1\r\n ;", "\ta \t=\t 1"]
    {
        assert_eq!(tags(text).unwrap(), [("a", "1")], "{text:?}");
    }
    for text in ["a=", "a =", "a= ", "a=\r\n ", "a=;", "a= ;", "a =\r\n\t;"] {
        assert_eq!(tags(text).unwrap(), [("a", "")], "{text:?}");
    }
    // The form that the erratum forbids to write, two folds in a row, is taken from others.
    assert_eq!(tags("a=\r\n \r\n ;b=2").unwrap(), [("a", ""), ("b", "2")]);
    assert_eq!(with("note=; empty = ; "), pass());
}

/// §3.2 `tag-name`: a letter, then letters, digits and underscores.
#[test]
fn names_begin_with_a_letter() {
    for name in ["a", "A", "z9", "a_b", "a_", "darn", "X9_y"] {
        let text = format!("{name}=1");
        assert_eq!(tags(&text).unwrap(), [(name, "1")]);
    }
    for name in ["", "1", "_a", "9a", "a-b", "a.b", "a b", "a\r\n b", "a:", "ü", "a\u{7f}", "\""] {
        assert_eq!(tags(&format!("{name}=1")), Err(TagListError::BadName), "{name:?}");
    }
}

/// §3.2: names and values keep their case; names that differ in case are different tags.
#[test]
fn names_and_values_are_case_sensitive() {
    let text = "a=x;A=X;aA=xX";
    assert_eq!(tags(text).unwrap(), [("a", "x"), ("A", "X"), ("aA", "xX")]);
    assert_eq!(with("V=2; D=example.net; L=1; "), pass());
    let list = TagList::parse(text.as_bytes()).unwrap();
    assert_eq!((list.value("A"), list.value("Aa")), (Some("X"), None));
}

/// §3.2: a tag that stands there twice makes the whole list invalid, in signatures and in key records.
#[test]
fn a_tag_given_twice_makes_the_list_invalid() {
    for text in ["a=1;a=1", "a=1;b=2;a=3", "a=; b=; a= ;", "a=1;\r\n\ta =2"] {
        assert_eq!(tags(text), Err(TagListError::DuplicateName), "{text:?}");
    }
    let twice = TagListError::DuplicateName;
    for extra in ["v=1; ", "darn=1; darn=1; ", "h=From; ", "s = s1; "] {
        let want = Outcome::Malformed(SignatureError::TagList(twice));
        assert_eq!(with(extra), want, "{extra}");
    }
    for extra in ["; n=1; n=2", "; k=ed25519", "; p=", "; v=DKIM1"] {
        let text = format!("{}{extra}", record());
        assert_eq!(
            KeyRecord::parse(text.as_bytes()),
            Err(KeyRecordError::TagList(twice)),
            "{text}"
        );
    }
}

/// §3.2 `tval`, RFC 8616 §5: printable ASCII but the semicolon, and UTF-8; no control character.
#[test]
fn values_are_printable_or_utf_8() {
    let printable: String = (0x21_u8..=0x7E).map(char::from).filter(|c| *c != ';').collect();
    let text = format!("a={printable}");
    assert_eq!(tags(&text).unwrap(), [("a", &*printable)]);
    assert_eq!(tags("a=x=y==;b= = ").unwrap(), [("a", "x=y=="), ("b", "=")]);
    assert_eq!(tags("a=bücher\u{85}例え").unwrap(), [("a", "bücher\u{85}例え")]);

    let octets = (0..=0x1F).chain([0x7F]).filter(|octet| !b"\t\r\n".contains(octet));
    for octet in octets {
        let text = format!("a=x{}y", char::from(octet));
        assert_eq!(tags(&text), Err(TagListError::BadValue), "{octet}");
    }
    for octets in [&b"a=\xfc"[..], b"a=\xc3", b"\xff=1", b"a=1;\x80", b"a=\xed\xa0\x80"] {
        let parsed = TagList::parse(octets);
        assert_eq!(parsed, Err(TagListError::NotUtf8), "{}", octets.escape_ascii());
    }
}

/// §3.2 `tval`: white space inside a value stays, and none at its ends.
#[test]
fn white_space_inside_a_value_is_kept() {
    assert_eq!(tags("a= x \t y ;b=1\r\n\t2").unwrap(), [("a", "x \t y"), ("b", "1\r\n\t2")]);
}

/// §2.8: a line break is CRLF with white space behind it, and nothing else is one.
#[test]
fn line_breaks_are_folds() {
    for text in ["a=1\r\n 2", "a=1\r\n\t2", "\r\n a=1", "a=1;\r\n b=2", "a=1\r\n "] {
        assert!(tags(text).is_ok(), "{text:?}");
    }
    for text in [
        "a=1\n 2",
        "a=1\r 2",
        "a=1\r\n2",
        "a=1\n\r 2",
        "a=1\r\r\n 2",
        "a=1\r\n\n 2",
        "a=1\r\n",
        "a=1\r",
        "a=1\n",
        "\na=1",
        "\ra=1",
        "\r\na=1",
        "a=1;\n",
        "a=1\r\n\r\n 2",
    ] {
        assert_eq!(tags(text), Err(TagListError::BadFolding), "{text:?}");
    }
}

/// §3.2: unknown tags are ignored, as Gmail's `darn=` has to be; so are those of RFC 6541 and RFC 6651.
#[test]
fn unknown_tags_are_ignored() {
    for extra in [
        "darn=gmail.com; ",
        "dara=google.com; ",
        "r=y; ",
        "atps=example.net; atpsh=none; ",
        "g=*; ",
        "zz=bücher; ",
        "bhh=x; ",
        "bb=y; ",
    ] {
        assert_eq!(with(extra), pass(), "{extra}");
    }
    let signed = format!("{}{FROM}\r\n{BODY}", field(TAGS, FROM, BODY));
    for extra in ["; g=", "; g=joe*", "; x=1; b=2", "; v2=DKIM2", "; 例=1"] {
        let want = if extra.is_ascii() {
            pass()
        } else {
            Outcome::BadKeyRecord(KeyRecordError::TagList(TagListError::BadName))
        };
        assert_eq!(outcome_by(&format!("{}{extra}", record()), &signed), want, "{extra}");
    }
}

/// §3.2: a tag that is left out has its default, and one that is empty has the empty value.
#[test]
fn an_empty_value_is_not_a_missing_one() {
    assert_eq!(with(""), pass());
    for (extra, want) in [
        ("c=; ", SignatureError::BadCanonicalization),
        ("i=; ", SignatureError::BadIdentity),
        ("l=; ", SignatureError::BadBodyLength),
        ("q=; ", SignatureError::UnknownQueryMethod),
        ("t=; ", SignatureError::BadTime("t")),
        ("x=; ", SignatureError::BadTime("x")),
    ] {
        assert_eq!(with(extra), Outcome::Malformed(want), "{extra}");
    }
    assert_eq!(with("z=; "), pass());
}

/// §2.10 `base64string`: white space counts for nothing anywhere, padding may be missing, and no other
/// character may stand there.
#[test]
fn base64_is_read_strictly_but_for_white_space() {
    let parse = |value: &str| {
        let text = format!("v=1; a=rsa-sha256; d=example.com; s=s1; h=From; bh=MTIz; b={value}");
        Signature::parse(text.as_bytes()).map(|signature| signature.signature().to_vec())
    };
    for value in
        ["MTIzNA==", "MTIzNA", "MTIzNA=", " M\tT\r\n I\r\n\tz N A = = ", "MTIz\r\n \r\n NA=="]
    {
        assert_eq!(parse(value).as_deref(), Ok(&b"1234"[..]), "{value:?}");
    }
    for value in [
        "MTIzNA===",
        "MTIz=NA==",
        "=MTIz",
        "MTIzN",
        "MTIzNB==",
        "MTI-",
        "MTI_",
        "MTI.",
        "MTI,",
        "MT\"Iz",
        "MTIzü",
        "*",
        "=",
    ] {
        assert_eq!(parse(value), Err(SignatureError::BadBase64("b")), "{value:?}");
    }
    assert_eq!(parse("+/+/").as_deref(), Ok(&[0xFB, 0xFF, 0xBF][..]));
}

/// §2.11 `dkim-quoted-printable`: `=XX` is an octet, white space counts for nothing, controls stand nowhere.
#[test]
fn quoted_printable_is_decoded() {
    let local_part = |value: &str| {
        let text = format!(
            "v=1; a=rsa-sha256; d=example.com; s=s1; h=From; bh=MTIz; b=NDU2; i={value}@example.com"
        );
        Signature::parse(text.as_bytes()).map(|signature| {
            signature.identity().unwrap().local_part().unwrap_or_default().to_vec()
        })
    };
    for (value, want) in [
        ("joe", "joe"),
        ("a=3Bb=3D=20c", "a;b= c"),
        ("a=40b", "a@b"),
        ("a@b", "a@b"),
        ("jo\r\n\te = 3Dx".replace("= 3D", "=3D").as_str(), "joe=x"),
        ("=C3=BC", "ü"),
        ("ü", "ü"),
        ("=c3=bc", "ü"),
        ("", ""),
    ] {
        assert_eq!(local_part(value).as_deref(), Ok(want.as_bytes()), "{value}");
    }
    for value in ["=", "=4", "a=4", "=4G", "=G4", "= 40", "=4\r\n 0", "a=\r\n b", "=="] {
        assert_eq!(local_part(value), Err(SignatureError::BadIdentity), "{value:?}");
    }
}

//! What of the header is hashed, and in which order (§3.7, §5.4.2).

use postseal_dkim::{KeyAnswer, Outcome};

use crate::by_hand::{
    BODY, FROM, TAGS, body_hash, field, outcome, outcomes, pass, record, signature,
};

/// A message whose signature has these fields under it, and hashes these.
fn with_fields(names: &str, fields: &str, hashed: &str) -> Outcome {
    let tags = TAGS.replace("h=From", &format!("h={names}"));
    outcome(format!("{}{fields}\r\n{BODY}", field(&tags, hashed, BODY)))
}

/// §3.7, §3.5 `h=`: the fields are hashed in the order of `h=`, not in that of the header.
#[test]
fn fields_are_hashed_in_the_order_of_h() {
    let fields = "to:a\r\nfrom:b\r\nsubject:c\r\n";
    let ordered = "subject:c\r\nto:a\r\nfrom:b\r\n";
    assert_eq!(with_fields("Subject:To:From", fields, ordered), pass());
    assert_eq!(with_fields("Subject:To:From", fields, fields), Outcome::SignatureMismatch);
}

/// §5.4.2: a name that stands in `h=` several times means the lowest field first, then the one above.
#[test]
fn a_repeated_name_goes_from_the_bottom_up() {
    let fields = "x:1\r\nfrom:a\r\nx:2\r\nx:3\r\n";
    for (names, hashed) in [
        ("From:X", "from:a\r\nx:3\r\n"),
        ("X:From:X", "x:3\r\nfrom:a\r\nx:2\r\n"),
        ("From:X:X:X", "from:a\r\nx:3\r\nx:2\r\nx:1\r\n"),
    ] {
        assert_eq!(with_fields(names, fields, hashed), pass(), "{names}");
    }
    // The same in a header so long that it is looked up by name.
    let many = format!("{}{fields}", "received:x\r\n".repeat(300));
    assert_eq!(with_fields("X:From:X", &many, "x:3\r\nfrom:a\r\nx:2\r\n"), pass());
}

/// §5.4.2: a name for which no field is left is hashed as nothing, not even a line end.
#[test]
fn a_name_without_a_field_is_hashed_as_nothing() {
    for names in ["X:From", "From:X:X", "From:From"] {
        assert_eq!(with_fields(names, FROM, FROM), pass(), "{names}");
    }
}

/// §5.4.2, §8.15: so a field that is added later breaks the signature, wherever it comes in.
#[test]
fn a_field_that_was_signed_as_missing_breaks_the_signature_when_it_comes() {
    for added in [format!("x:1\r\n{FROM}"), format!("{FROM}X: 1\r\n")] {
        assert_eq!(with_fields("From:X", &added, FROM), Outcome::SignatureMismatch, "{added}");
        // Where it was not named, it may come.
        assert_eq!(with_fields("From", &added, FROM), pass(), "{added}");
    }
    // A second From above or below the one that was signed.
    let second = "from:Eve <eve@example.net>\r\n";
    let (above, below) = (format!("{second}{FROM}"), format!("{FROM}{second}"));
    assert_eq!(with_fields("From:From", &above, FROM), Outcome::SignatureMismatch);
    assert_eq!(with_fields("From:From", &below, FROM), Outcome::SignatureMismatch);
    assert_eq!(with_fields("From", &below, FROM), Outcome::SignatureMismatch);
}

/// §3.5 `h=`: names ignore case, and white space and folds may stand round the colons.
#[test]
fn names_in_h_ignore_case_and_white_space() {
    let fields = "from:a\r\nto:b\r\nx-y:c\r\n";
    for names in ["from:TO:X-y", "From : To : X-Y", "From :To: X-Y"] {
        assert_eq!(with_fields(names, fields, fields), pass(), "{names}");
    }
    // In simple form folds stay as they are.
    let tags = TAGS.replace("h=From", "h=From\r\n\t:\r\n To \t:\r\n\tX-Y");
    assert_eq!(outcome(format!("{}{fields}\r\n{BODY}", field(&tags, fields, BODY))), pass());
}

/// §3.5 `h=`: the field that is verified is not among those that it names; other signatures may be.
#[test]
fn a_signature_never_covers_its_own_field_by_name() {
    let tags = TAGS.replace("h=From", "h=From:DKIM-Signature:DKIM-Signature");
    let other = "dkim-signature:v=2; d=example.net\r\n";
    for fill in [0, 300] {
        let fill = "received:x\r\n".repeat(fill);
        let alone = format!("{}{fill}{FROM}\r\n{BODY}", field(&tags, FROM, BODY));
        assert_eq!(outcome(alone), pass());

        let own = field(&tags, &format!("{FROM}{other}"), BODY);
        let results =
            |message: String| outcomes(message.as_bytes(), &KeyAnswer::from_texts([record()]));
        let below = results(format!("{own}{fill}{other}{FROM}\r\n{BODY}"));
        assert_eq!(below[0], pass());
        let above = results(format!("{other}{fill}{own}{FROM}\r\n{BODY}"));
        assert_eq!(above[1], pass());
        // One more, and it is no longer what was signed.
        let two = results(format!("{other}{own}{fill}{other}{FROM}\r\n{BODY}"));
        assert_eq!(two[1], Outcome::SignatureMismatch);
    }
}

/// A signature field made of what stands before and after the value of `b=`, as `value` writes it.
fn around(before: &str, after: &str, write: impl Fn(&str) -> String) -> Outcome {
    let before = before.replace("BH", &body_hash(BODY.as_bytes()));
    // §3.7, simple: the field as it is, without the value of b= and without the last line end.
    let value = signature(format!("{FROM}{before}{after}").as_bytes());
    outcome(format!("{before}{}{after}\r\n{FROM}\r\n{BODY}", write(&value)))
}

/// §3.7: only the value of `b=` is taken out, wherever the tag stands; in simple form all else stays
/// octet for octet.
#[test]
fn the_value_of_b_is_cut_out_and_nothing_else() {
    const SIGNATURE: &str = "DKIM-Signature: v=1; a=ed25519-sha256; d=example.com; s=s1;";
    for (before, after) in [
        (format!("{SIGNATURE} h=From; bh=BH; b="), String::new()),
        (format!("{SIGNATURE} h=From; bh=BH; b="), ";".into()),
        (format!("{SIGNATURE} bh=BH; b="), "; h=From".into()),
        (format!("{SIGNATURE} bh=BH; b="), ";h=From;".into()),
        ("DKIM-Signature:b=".into(), format!(";{}h=From; bh=BH", &SIGNATURE[15..])),
        ("DKIM-Signature: b=".into(), format!(";{} h=From;\r\n\tbh=BH", &SIGNATURE[15..])),
        // Folded between b and what is before it, between b and its equals sign.
        (format!("{SIGNATURE} h=From; bh=BH;\r\n\tb="), String::new()),
        (format!("{SIGNATURE} h=From; bh=BH;\r\n \t b\r\n\t ="), ";".into()),
        (format!("{SIGNATURE}\r\n   h=From \t;\r\n\tbh=BH;\tb ="), "; x=1800000000".into()),
        // What only looks like the tag: other names that end or begin so, and values.
        (format!("{SIGNATURE} h=From; bh=BH; ab=1; b2=2; B=3; b="), "; bb=4;".into()),
        (format!("{SIGNATURE} h=From; z=Subject:b=20b=; darn=b=c; bh=BH; b="), "; n=b=d".into()),
        // The field's name as it is, with white space in front of the colon.
        (format!("dkim-SIGNATURE \t{} h=From; bh=BH; b=", &SIGNATURE[14..]), String::new()),
    ] {
        let after = after.replace("BH", &body_hash(BODY.as_bytes()));
        for write in [
            (|value: &str| value.to_owned()) as fn(&str) -> String,
            |value| format!(" {value}"),
            |value| format!("\r\n\t{}\r\n {} ", &value[..40], &value[40..]),
            |value| format!("\t{}\r\n  ", value.replace('=', "\r\n =")),
        ] {
            assert_eq!(around(&before, &after, write), pass(), "{before:?} {after:?}");
        }
    }
}

/// §3.7: the white space round the value of `b=` goes with it; that behind the semicolon does not.
#[test]
fn white_space_behind_the_semicolon_of_b_is_hashed() {
    const BEFORE: &str =
        "DKIM-Signature: v=1; a=ed25519-sha256; d=example.com; s=s1; h=From; bh=BH; b=";
    for after in ["; ", ";\t", ";\r\n ", "; n=1 "] {
        assert_eq!(around(BEFORE, after, str::to_owned), pass(), "{after:?}");
        let before = BEFORE.replace("BH", &body_hash(BODY.as_bytes()));
        let value = signature(format!("{FROM}{before}{}", after.trim_end()).as_bytes());
        let message = format!("{before}{value}{after}\r\n{FROM}\r\n{BODY}");
        assert_eq!(outcome(message), Outcome::SignatureMismatch, "{after:?}");
    }
}

/// §3.7: in relaxed form the signature's own field is made canonical without the value of `b=`, and has
/// no line end.
#[test]
fn the_own_field_is_relaxed_without_its_value_and_line_end() {
    for (before, after, hashed) in [
        (" \tv=1;TAGS;\r\n\tbh=BH ;\r\n  b=", "", "v=1;TAGS; bh=BH ; b="),
        ("v=1;TAGS;  b =", "; bh=BH ; ", "v=1;TAGS; b =; bh=BH ;"),
        ("v=1;TAGS;bh=BH;b=", ";\r\n\t \t", "v=1;TAGS;bh=BH;b=;"),
        ("\r\n v=1;TAGS;bh=BH;\tb=", ";N=1", "v=1;TAGS;bh=BH; b=;N=1"),
    ] {
        let filled = |text: &str| {
            text.replace("TAGS", "a=ed25519-sha256;c=relaxed;d=example.com;s=s1;h=From")
                .replace("BH", &body_hash(BODY.as_bytes()))
        };
        let input = format!("{FROM}dkim-signature:{}", filled(hashed));
        let (head, tail) = (filled(before), filled(after));
        let value = signature(input.as_bytes());
        let message = format!(
            "DKIM-Signature :{head} {value}\r\n {tail}\r\nFROM :Joe  <joe@example.com>\r\n\r\n{BODY}"
        );
        assert_eq!(outcome(message), pass(), "{before:?}");
    }
}

/// §3.7, §3.5 `bh=`: the body's hash is compared decoded, so its spelling does not matter; `b=` alike.
#[test]
fn a_body_hash_may_be_folded_and_without_padding() {
    let hash = body_hash(BODY.as_bytes());
    let (one, two) = hash.split_at(20);
    for spelling in [format!("{one} {two}"), hash.trim_end_matches('=').to_owned()] {
        let unsigned = format!("dkim-signature:{TAGS}; bh={spelling}; b=");
        let value = signature(format!("{FROM}{unsigned}").as_bytes());
        for value in [&*value, value.trim_end_matches('=')] {
            let message = format!("{unsigned}{value}\r\n{FROM}\r\n{BODY}");
            assert_eq!(outcome(message), pass(), "{spelling}");
        }
    }
}

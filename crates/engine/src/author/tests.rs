//! Tables of From fields: what attackers write, and what mail programs write.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use super::*;

/// Reads the only From field with this value. Values are text, and `\u{80}` to `\u{FF}` in
/// [`raw_octets`] are octets.
fn read(value: &[u8]) -> Result<Vec<String>, BadFrom> {
    let author = Author::parse(value)?;
    Ok(author.domains().iter().map(ToString::to_string).collect())
}

#[test]
fn hostile_froms_are_refused() {
    let deep = format!("{}{} a@own.example", "(".repeat(200_000), ")".repeat(200_000));
    let just_too_deep = "(((((x))))) a@own.example".to_owned();
    let long_local = format!("{}@own.example", "a".repeat(MAX_LOCAL_PART_LEN + 1));
    let long_domain = format!("a@{}.example", "a".repeat(64));
    let long = format!("\"{}\" <a@own.example>", "a".repeat(MAX_FROM_LEN));
    let many = vec!["a@own.example"; MAX_MAILBOXES + 1].join(",");
    let cases: &[(&str, BadFrom)] = &[
        // Nothing to read.
        ("", BadFrom::EmptyPlace),
        (" ", BadFrom::EmptyPlace),
        ("<>", BadFrom::NoAddress),
        ("Ceo <>", BadFrom::NoAddress),
        ("Ceo", BadFrom::NoAddress),
        ("Mail Delivery Subsystem <MAILER-DAEMON>", BadFrom::NoAddress),
        ("(a comment)", BadFrom::EmptyPlace),
        ("\"a@victim.example\"", BadFrom::NoAddress),
        ("=?utf-8?Q?ceo=40victim.example?=", BadFrom::NoAddress),
        ("victim.example!ceo", BadFrom::NoAddress),
        // Two addresses, of which some see the first and some the last.
        ("a@own.example b@victim.example", BadFrom::TwoAts),
        ("a@own.example <b@victim.example>", BadFrom::AtInName),
        ("b@victim.example <a@own.example>", BadFrom::AtInName),
        ("ceo@victim.example <ceo@victim.example>", BadFrom::AtInName),
        ("<a@own.example> <b@victim.example>", BadFrom::Angle),
        ("<a@own.example><b@victim.example>", BadFrom::Angle),
        ("<a@own.example> b@victim.example", BadFrom::Space),
        ("<<b@victim.example> a@own.example>", BadFrom::Angle),
        ("<a@own.example<b@victim.example>>", BadFrom::Angle),
        ("Ceo <<b@victim.example>>", BadFrom::Angle),
        ("Ceo <b@victim.example>>", BadFrom::Angle),
        ("Ceo > <b@victim.example>", BadFrom::Angle),
        ("Ceo <b@victim.example", BadFrom::Angle),
        ("Ceo b@victim.example", BadFrom::Space),
        ("Ceo <b@victim.example> (Chief) x", BadFrom::Space),
        // Two @ in one address.
        ("a@own.example@victim.example", BadFrom::TwoAts),
        ("<a@own.example@victim.example>", BadFrom::TwoAts),
        ("a@@victim.example", BadFrom::TwoAts),
        ("@victim.example", BadFrom::LocalPart),
        ("a@", BadFrom::Domain),
        ("<a@>", BadFrom::Domain),
        ("<@>", BadFrom::Route),
        // Quoted local parts, whose inside some take for the address.
        ("\"ceo@victim.example \"@own.example", BadFrom::LocalPart),
        ("\"ceo@victim.example\"@own.example", BadFrom::LocalPart),
        ("Ceo <\"ceo@victim.example\"@own.example>", BadFrom::LocalPart),
        ("\"ceo@victim.example> \"@own.example", BadFrom::LocalPart),
        ("\"ceo\\@victim.example\"@own.example", BadFrom::LocalPart),
        ("\"a b\"@own.example", BadFrom::LocalPart),
        ("\"a,b\"@own.example", BadFrom::LocalPart),
        ("\"\"@own.example", BadFrom::LocalPart),
        ("\"a\"b@own.example", BadFrom::Space),
        ("\"a\".b@own.example", BadFrom::Space),
        ("a.\"b\"@own.example", BadFrom::Space),
        // Source routes and the hacks that were before them.
        ("<@own.example:ceo@victim.example>", BadFrom::Route),
        ("<@own.example,@b.example:ceo@victim.example>", BadFrom::Route),
        ("<ceo@victim.example,@own.example>", BadFrom::Route),
        ("<ceo@victim.example:own.example>", BadFrom::Route),
        ("@own.example:ceo@victim.example", BadFrom::Colon),
        ("ceo%victim.example@own.example", BadFrom::LocalPart),
        ("victim.example!ceo@own.example", BadFrom::LocalPart),
        // Comments, with addresses and where addresses are.
        ("(ceo@victim.example) a@own.example", BadFrom::CommentAddress),
        ("a@own.example (ceo@victim.example)", BadFrom::CommentAddress),
        ("a@own.example (<ceo)", BadFrom::CommentAddress),
        ("Ceo (ceo@victim.example) <a@own.example>", BadFrom::CommentAddress),
        ("a@own.example (\\@)", BadFrom::Comment),
        ("a(x)@own.example", BadFrom::Space),
        ("a@(x)own.example", BadFrom::Space),
        ("a@victim.example(.own.example)x", BadFrom::Space),
        ("a@victim(x).example", BadFrom::Space),
        ("<a(x)@own.example>", BadFrom::Space),
        ("<a@own.example(x)>", BadFrom::Space),
        ("<(x)a@own.example>", BadFrom::Space),
        ("a@own.example (x", BadFrom::Comment),
        ("a@own.example x)", BadFrom::Comment),
        (") a@own.example", BadFrom::Comment),
        ("a@own.example (\\)", BadFrom::Comment),
        ("a@own.example (\")", BadFrom::Comment),
        ("(\") <ceo@victim.example> (\") <a@own.example>", BadFrom::Comment),
        (&just_too_deep, BadFrom::CommentDepth),
        (&deep, BadFrom::TooLong),
        // Space in addresses.
        ("a @own.example", BadFrom::Space),
        ("a@ own.example", BadFrom::Space),
        ("<a @own.example>", BadFrom::Space),
        ("<a@ own.example>", BadFrom::Space),
        ("<a b@own.example>", BadFrom::Space),
        ("a@own. example", BadFrom::Space),
        ("a@own.example .victim.example", BadFrom::Space),
        ("<a@own.example .victim.example>", BadFrom::Space),
        // Groups and other separators.
        ("victims: a@own.example;", BadFrom::Colon),
        ("victims:;", BadFrom::Colon),
        ("victims: a@own.example, b@victim.example;", BadFrom::Colon),
        ("Re: Ceo <a@own.example>", BadFrom::Colon),
        ("a@own.example; b@victim.example", BadFrom::Semicolon),
        ("<a@own.example>; <b@victim.example>", BadFrom::Semicolon),
        ("Ceo; Cfo <a@own.example>", BadFrom::Semicolon),
        (",a@own.example", BadFrom::EmptyPlace),
        ("a@own.example,", BadFrom::EmptyPlace),
        ("a@own.example,,b@own.example", BadFrom::EmptyPlace),
        ("a@own.example,(x),b@own.example", BadFrom::EmptyPlace),
        ("Doe, Jane <a@own.example>", BadFrom::NoAddress),
        (&many, BadFrom::TooManyMailboxes),
        // Quotes that do not match, and escapes.
        ("\"Ceo <a@own.example>", BadFrom::Quote),
        ("Ceo\" <a@own.example>", BadFrom::Quote),
        ("\"Ceo\\\" <a@own.example>", BadFrom::Quote),
        ("\"Ceo\" \"<a@own.example>", BadFrom::Quote),
        ("\"\\\" <ceo@victim.example> \\\"\" <a@own.example>", BadFrom::EscapedQuote),
        ("\"x\\\" <ceo@victim.example>, \\\"\" <a@own.example>", BadFrom::EscapedQuote),
        ("\\\"Ceo\\\" <a@own.example>", BadFrom::Backslash),
        ("Ceo \\<ceo@victim.example\\> <a@own.example>", BadFrom::Backslash),
        ("a\\@victim.example@own.example", BadFrom::Backslash),
        ("a@own.example\\", BadFrom::Backslash),
        // Specials in names, at which some stop and take what is in quotes.
        ("\"ceo@victim.example\" [x] <a@own.example>", BadFrom::Brackets),
        ("[\"<ceo@victim.example>\"<a@own.example>", BadFrom::Brackets),
        ("CORP\\jane \"ceo@victim.example\" <a@own.example>", BadFrom::Brackets),
        // Encoded words in addresses, which some decode before they look for the address.
        ("=?utf-8?Q?ceo=40victim.example=3E?=@own.example", BadFrom::LocalPart),
        ("<=?utf-8?Q?ceo=40victim.example?=@own.example>", BadFrom::LocalPart),
        ("a@=?utf-8?Q?victim.example?=", BadFrom::Domain),
        ("a@=?utf-8?B?dmljdGlt?=.example", BadFrom::Domain),
        // Domains that are none, or that have more than one form.
        ("a@[192.0.2.1]", BadFrom::DomainLiteral),
        ("<a@[IPv6>", BadFrom::DomainLiteral),
        ("a@[IPv6:2001:db8::1]", BadFrom::Colon),
        ("a@victim.example.", BadFrom::Domain),
        ("a@.victim.example", BadFrom::Domain),
        ("a@victim..example", BadFrom::Domain),
        ("a@victim.example/own.example", BadFrom::Domain),
        ("a@victim.example?x", BadFrom::Domain),
        ("a@victim.example#own.example", BadFrom::Domain),
        ("a@vic'tim.example", BadFrom::Domain),
        ("a@victim%2Eexample", BadFrom::Domain),
        (&long_domain, BadFrom::Domain),
        ("a@victim。example", BadFrom::Domain),
        ("a@victim．example", BadFrom::Domain),
        ("a@ｖictim.example", BadFrom::Domain),
        ("a@vic\u{AD}tim.example", BadFrom::Domain),
        ("a@vic\u{200B}tim.example", BadFrom::Domain),
        ("a@victim.example\u{200D}", BadFrom::Domain),
        ("a@ℂafé.example", BadFrom::Domain),
        ("a@bu\u{308}cher.example", BadFrom::Domain),
        ("a@xn--bcher-kva.bücher.example", BadFrom::Domain),
        // Characters that turn into others.
        ("ceo＠victim.example@own.example", BadFrom::LocalPart),
        ("ceo﹫victim.example@own.example", BadFrom::LocalPart),
        ("ceo\u{200B}@own.example", BadFrom::LocalPart),
        ("ceo\u{202E}@own.example", BadFrom::LocalPart),
        ("ceo\u{A0}@own.example", BadFrom::LocalPart),
        // Dots of local parts.
        (".a@own.example", BadFrom::LocalPart),
        ("a.@own.example", BadFrom::LocalPart),
        ("a..b@own.example", BadFrom::LocalPart),
        (&long_local, BadFrom::LocalPart),
        // Control characters and line breaks.
        ("a@own.example\0", BadFrom::Control),
        ("\0a@own.example", BadFrom::Control),
        ("ceo@victim.example\0@own.example", BadFrom::Control),
        ("\"C\0\" <a@own.example>", BadFrom::Control),
        ("a@own.example\u{7F}", BadFrom::Control),
        ("a@own.example\u{B}", BadFrom::Control),
        ("Ceo \u{1B}$B <a@own.example>", BadFrom::Control),
        ("\"x\u{2028}y\" <a@own.example>", BadFrom::Control),
        ("\"x\u{85}y\" <a@own.example>", BadFrom::Control),
        ("a@own.example\n b@victim.example", BadFrom::LineBreak),
        ("a@own.example\r b@victim.example", BadFrom::LineBreak),
        ("a@own.example\r\nb@victim.example", BadFrom::LineBreak),
        ("a@own.example\r\r\n b@victim.example", BadFrom::LineBreak),
        ("Ceo\r\n \r\n <a@own.example>", BadFrom::EmptyLine),
        ("<a@own.example>\r\n \t", BadFrom::EmptyLine),
        ("a@own.example\r\n ,b@victim.example\r\n ", BadFrom::EmptyLine),
        (&long, BadFrom::TooLong),
    ];
    assert!(cases.len() >= 60);
    let mut wrong = Vec::new();
    for (value, want) in cases {
        // Folding in front changes nothing, but where there is nothing to fold.
        let folded = format!("\r\n {value}");
        let may_fold = !value.trim().is_empty() && value.len() < MAX_FROM_LEN;
        for value in [Some(*value), may_fold.then_some(&folded)].into_iter().flatten() {
            let got = read(value.as_bytes());
            if got != Err(*want) {
                wrong.push((value.chars().take(80).collect::<String>(), got, *want));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn hostile_text_in_quotes_is_only_text() {
    let cases = [
        "\"ceo@victim.example\" <a@own.example>",
        "\"<ceo@victim.example>\" <a@own.example>",
        "\"Ceo <ceo@victim.example>\" <a@own.example>",
        "\"ceo@victim.example\" (x) <a@own.example>",
        "\"Ceo <ceo@victim.example>,\" <a@own.example>",
        "\"victims: ceo@victim.example;\" <a@own.example>",
        "\"(\" <a@own.example>",
        "\")\" <a@own.example> (\"x\")",
        "\"Doe, Jane\" <a@own.example>",
        "\"back\\\\slash\" <a@own.example>",
        "\"\\\"Jane\\\" Doe\" <a@own.example>",
        "=?utf-8?Q?=3Cceo=40victim.example=3E?= <a@own.example>",
        "=?utf-8?B?PGNlb0B2aWN0aW0uZXhhbXBsZT4=?= <a@own.example>",
        "=?utf-8?Q?ceo=40victim.example=2C?= <a@own.example>",
        "\"=?utf-8?Q?=22?= <ceo@victim.example>\" <a@own.example>",
        "victim.example <a@own.example>",
        "https//victim.example <a@own.example>",
        "CORP\\jane <a@own.example>",
        "ceo＠victim.example <a@own.example>",
        "ceo=40victim.example@own.example",
        "ceo=victim.example@own.example",
        "ceo+victim.example@own.example",
        "<a@own.example> (Ceo, victim.example)",
        "((x)) a@own.example (\\)) (y)",
    ];
    for value in cases {
        assert_eq!(read(value.as_bytes()), Ok(vec!["own.example".to_owned()]), "{value:?}");
    }
}

#[test]
fn ordinary_froms_are_taken() {
    let cases: &[(&str, &str)] = &[
        ("jane@shop.example", "shop.example"),
        (" jane@shop.example ", "shop.example"),
        ("<jane@shop.example>", "shop.example"),
        ("Jane Doe <jane@shop.example>", "shop.example"),
        ("Jane Doe<jane@shop.example>", "shop.example"),
        ("\"Jane Doe\" <jane@shop.example>", "shop.example"),
        ("\"Jane Doe\"<jane@shop.example>", "shop.example"),
        ("\"\" <jane@shop.example>", "shop.example"),
        ("'Jane Doe' <jane@shop.example>", "shop.example"),
        ("Jane Doe < jane@shop.example >", "shop.example"),
        ("Jane\r\n Doe\r\n\t<jane@shop.example>", "shop.example"),
        ("\r\n Jane Doe <jane@shop.example>", "shop.example"),
        ("\"Jane\r\n Doe\" <jane@shop.example>", "shop.example"),
        ("\"Doe, Jane (Sales)\" <jane@shop.example>", "shop.example"),
        ("\"jane@shop.example\" <jane@shop.example>", "shop.example"),
        ("\"jane@gmail.example via Shop\" <reply@shop.example>", "shop.example"),
        ("\"'Jane Doe' via Sales\" <sales@shop.example>", "shop.example"),
        ("Jane Q. Doe, Jr <j@a.example>, Joe <k@a.example>", ""),
        ("Jane Q. Doe <jane@shop.example>", "shop.example"),
        ("Dr. J. Doe Ph.D. <jane@shop.example>", "shop.example"),
        ("Shop.example <news@shop.example>", "shop.example"),
        ("Amazon.de Kundenservice <jane@shop.example>", "shop.example"),
        ("O'Brien & Sons! #1 <jane@shop.example>", "shop.example"),
        ("Jane [Shop] <jane@shop.example>", "shop.example"),
        ("[JIRA] {ops} <jira@shop.example>", "shop.example"),
        ("Jane / Shop | 50% off * ~ ^ <jane@shop.example>", "shop.example"),
        ("Jane Doe (Shop) <jane@shop.example>", "shop.example"),
        ("jane@shop.example (Jane Doe)", "shop.example"),
        ("root@shop.example (Cron Daemon)", "shop.example"),
        ("MAILER-DAEMON@shop.example (Mail Delivery System)", "shop.example"),
        ("(Jane) jane@shop.example", "shop.example"),
        ("jane@shop.example (Doe, Jane; \"JD\")", "shop.example"),
        ("=?UTF-8?Q?J=C3=A4ne_D=C3=B6?= <jane@shop.example>", "shop.example"),
        ("=?UTF-8?B?SsOkbmU=?= =?UTF-8?B?RMO2?= <jane@shop.example>", "shop.example"),
        ("=?UTF-8?B?SsOkbmU=?=\r\n =?UTF-8?B?RMO2?= <jane@shop.example>", "shop.example"),
        ("=?UTF-8?Q?J=C3=A4ne?=<jane@shop.example>", "shop.example"),
        ("=?UTF-8?Q?J=C3=A4ne_(Shop)?= <jane@shop.example>", "shop.example"),
        ("\"=?UTF-8?Q?J=C3=A4ne?=\" <jane@shop.example>", "shop.example"),
        ("=?iso-2022-jp?B?GyRCJUYlOSVIGyhC?= <jane@shop.example>", "shop.example"),
        ("Jäne Dö <jane@shop.example>", "shop.example"),
        ("テスト太郎 <jane@shop.example>", "shop.example"),
        ("\"Магазин № 1\" <jane@shop.example>", "shop.example"),
        ("🎁 Shop 🎁 <jane@shop.example>", "shop.example"),
        ("Jane Doe <Jane.Doe+News@Shop.EXAMPLE>", "shop.example"),
        ("bounce-123_abc=x@mail.shop.example", "mail.shop.example"),
        ("/C=DE/A=GW/S=Doe/@shop.example", "shop.example"),
        ("no-reply@a-b.c-d.shop.example", "a-b.c-d.shop.example"),
        ("jane@shop_1.example", "shop_1.example"),
        ("root@localhost", "localhost"),
        ("\"jane..doe.\"@shop.example", "shop.example"),
        ("\"jane\"@shop.example", "shop.example"),
        ("Jane <\"jane.\"@shop.example>", "shop.example"),
        ("jäne@shop.example", "shop.example"),
        ("用户@shop.example", "shop.example"),
        ("jane@bücher.example", "xn--bcher-kva.example"),
        ("Jane <jane@BÜCHER.example>", "xn--bcher-kva.example"),
        ("jane@XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("jane@straße.example", "xn--strae-oqa.example"),
        ("jane@例え.テスト", "xn--r8jz45g.xn--zckzah"),
        // Several mailboxes.
        ("a@shop.example, b@shop.example", "shop.example"),
        (
            "\"Doe, Jane\" <a@shop.example>,\r\n Joe <b@SHOP.example> (x), c@shop.example",
            "shop.example",
        ),
    ];
    for (value, want) in cases {
        if want.is_empty() {
            // A comma in a display name leaves a piece without address, whoever reads it.
            assert_eq!(read(value.as_bytes()), Err(BadFrom::NoAddress), "{value:?}");
        } else {
            assert_eq!(read(value.as_bytes()), Ok(vec![(*want).to_owned()]), "{value:?}");
        }
    }
}

#[test]
fn display_names_have_octets_of_any_charset() {
    let cases: &[&[u8]] = &[
        b"J\xE4ne <jane@shop.example>",
        b"\"J\xE4ne, D\xF6\" <jane@shop.example>",
        b"\x83\x65\x83\x58\x83\x67 <jane@shop.example>",
        b"\xB2\xE2\xCA\xD4 <jane@shop.example>",
        b"jane@shop.example (J\xE4ne)",
        b"\x80\x81\xFE\xFF <jane@shop.example>",
    ];
    for value in cases {
        let shown = value.escape_ascii();
        assert_eq!(read(value), Ok(vec!["shop.example".to_owned()]), "{shown}");
    }
    // In addresses there is UTF-8 or nothing.
    assert_eq!(read(b"j\xE4ne@shop.example"), Err(BadFrom::LocalPart));
    assert_eq!(read(b"jane@sh\xF6p.example"), Err(BadFrom::Domain));
    assert_eq!(read(b"jane@shop.example\xC3"), Err(BadFrom::Domain));
}

#[test]
fn several_mailboxes_have_one_domain_or_none() {
    let author = Author::parse(b"a@one.example, B <b@two.example>, c@ONE.example").unwrap();
    assert_eq!(author.domain(), None);
    assert_eq!(author.mailboxes(), 3);
    let domains: Vec<_> = author.domains().iter().map(DomainName::as_str).collect();
    assert_eq!(domains, ["one.example", "two.example"]);

    let many = vec!["a@one.example"; MAX_MAILBOXES].join(", ");
    assert_eq!(Author::parse(many.as_bytes()).unwrap().domain().unwrap().as_str(), "one.example");
}

#[test]
fn there_is_one_from_field_for_every_reader() {
    let own = "From: a@own.example\r\n";
    let cases: &[(&str, Result<(), BadFrom>)] = &[
        ("From: a@own.example\r\n", Ok(())),
        ("FROM:a@own.example\r\nTo: b@x.example\r\n", Ok(())),
        ("from: a@own.example", Ok(())),
        ("Sender: ceo@victim.example\r\nFrom: a@own.example\r\n", Ok(())),
        ("Resent-From: ceo@victim.example\r\nFrom: a@own.example\r\n", Ok(())),
        ("From-: ceo@victim.example\r\nFrom: a@own.example\r\n", Ok(())),
        ("X-From: ceo@victim.example\r\nFrom: a@own.example\r\n", Ok(())),
        ("From x@y.example Mon Jan  1 00:00:00 2024\r\nFrom: a@own.example\r\n", Ok(())),
        (">From: x@y.example\r\nFrom: a@own.example\r\n", Ok(())),
        ("Subject: x\r\n From: ceo@victim.example\r\nFrom: a@own.example\r\n", Ok(())),
        ("Subject: x\r\n\tfrom: b\r\nFrom: a@own.example\r\n", Ok(())),
        ("Subject: a\nb\rc\r\nFrom: a@own.example\r\n", Ok(())),
        ("", Err(BadFrom::Missing)),
        ("Sender: a@own.example\r\n", Err(BadFrom::Missing)),
        ("Resent-From: a@own.example\r\n", Err(BadFrom::Missing)),
        ("From: a@own.example\r\nFrom: a@own.example\r\n", Err(BadFrom::Repeated)),
        ("From: a@own.example\r\nX: y\r\nfROM: ceo@victim.example\r\n", Err(BadFrom::Repeated)),
        ("From : a@own.example\r\n", Err(BadFrom::OddName)),
        ("From\t: ceo@victim.example\r\nFrom: a@own.example\r\n", Err(BadFrom::OddName)),
        ("From: a@own.example\r\nFrom : ceo@victim.example\r\n", Err(BadFrom::OddName)),
        (" From: ceo@victim.example\r\nFrom: a@own.example\r\n", Err(BadFrom::OddName)),
        ("\tFrom: a@own.example\r\n", Err(BadFrom::OddName)),
        ("From\0: ceo@victim.example\r\nFrom: a@own.example\r\n", Err(BadFrom::OddName)),
        ("\0From: ceo@victim.example\r\nFrom: a@own.example\r\n", Err(BadFrom::OddName)),
        ("Fr\u{1}om: ceo@victim.example\r\nFrom: a@own.example\r\n", Err(BadFrom::OddName)),
        ("From\u{A0}: ceo@victim.example\r\nFrom: a@own.example\r\n", Err(BadFrom::OddName)),
        ("\u{FEFF}From: ceo@victim.example\r\nFrom: a@own.example\r\n", Err(BadFrom::OddName)),
        ("F r o m: ceo@victim.example\r\nFrom: a@own.example\r\n", Err(BadFrom::OddName)),
        ("Subject: x\nFrom: ceo@victim.example\r\nFrom: a@own.example\r\n", Err(BadFrom::Hidden)),
        ("Subject: x\rFrom: ceo@victim.example\r\nFrom: a@own.example\r\n", Err(BadFrom::Hidden)),
        (
            "Subject: x\n\nFROM : ceo@victim.example\r\nFrom: a@own.example\r\n",
            Err(BadFrom::Hidden),
        ),
        ("From: a@own.example\r\nX: y\r\r\n z\nFrom: b@victim.example\r\n", Err(BadFrom::Hidden)),
        ("From: a@own.example\nFrom: b@victim.example\r\n", Err(BadFrom::Hidden)),
        ("From: a@own.example\r\n From: b@victim.example\r\n", Err(BadFrom::Colon)),
        ("From:\r\n", Err(BadFrom::EmptyPlace)),
    ];
    for (header, want) in cases {
        let parsed = Header::parse(header.as_bytes()).unwrap();
        let got = Author::read(&parsed);
        assert_eq!(got.as_ref().map(|_| ()).map_err(|error| *error), *want, "{header:?}");
        if let Ok(author) = got {
            assert_eq!(author.domain().unwrap().as_str(), "own.example", "{header:?}");
        }
    }
    // As a milter has them.
    let fields: Vec<&[u8]> = vec![b"X: y\r\n", own.as_bytes()];
    let header = Header::from_fields(fields).unwrap();
    assert_eq!(Author::read(&header).unwrap().domain().unwrap().as_str(), "own.example");
}

/// Pieces of which attackers and mail programs make From fields.
fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "a",
        "own.example",
        "victim.example",
        "@",
        "@",
        "<",
        ">",
        "\"",
        "(",
        ")",
        ",",
        ":",
        ";",
        "\\",
        " ",
        "\t",
        "\r\n ",
        ".",
        "!",
        "%",
        "[",
        "]",
        "=?utf-8?Q?",
        "=40",
        "?=",
        "ü",
        "。",
        "＠",
        "\0",
        "\r",
        "\n",
        "a@own.example",
        "<a@own.example>",
        "b@victim.example",
        "<b@victim.example>",
        "\"b@victim.example\"",
        "(b)",
    ])
}

/// What every reader has to find in a field that is taken: the domains after each `@` that stands
/// outside quotes and comments. Written the slow way, character by character.
fn domains_after_ats(value: &str) -> Vec<String> {
    let mut outside = String::new();
    let (mut quoted, mut depth, mut escaped) = (false, 0, false);
    for c in value.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted || depth > 0 => escaped = true,
            '"' if depth == 0 => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ if quoted || depth > 0 => {}
            _ => outside.push(c),
        }
    }
    let end = |c: char| c.is_whitespace() || c == '>' || c == ',';
    let domain =
        |part: &str| DomainName::parse(part.split(end).next().unwrap()).unwrap().to_string();
    outside.split('@').skip(1).map(domain).collect()
}

/// Runs a law on generated inputs, the same ones each time.
fn for_each<S: Strategy>(strategy: &S, law: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let config = ProptestConfig { cases: 300_000, failure_persistence: None, ..Default::default() };
    let seed = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    TestRunner::new_with_rng(config, seed).run(strategy, law).unwrap();
}

#[test]
fn what_is_taken_has_one_reading() {
    let taken = Cell::new(0);
    for_each(&prop::collection::vec(piece(), 1..10), |pieces| {
        let value = pieces.concat();
        if let Ok(author) = Author::parse(value.as_bytes()) {
            taken.set(taken.get() + 1);
            let slow = domains_after_ats(&value);
            prop_assert_eq!(author.mailboxes(), slow.len(), "{:?}", value);
            let mut distinct = Vec::new();
            for domain in slow {
                if !distinct.contains(&domain) {
                    distinct.push(domain);
                }
            }
            let got: Vec<_> = author.domains().iter().map(ToString::to_string).collect();
            prop_assert_eq!(got, distinct, "{:?}", value);
        }
        Ok(())
    });
    // Otherwise the law would say little.
    assert!(taken.get() > 5_000, "{}", taken.get());
}

#[test]
fn any_octets_end_in_an_answer() {
    for_each(&prop::collection::vec(any::<u8>(), 0..200), |value| {
        if let Ok(author) = Author::parse(&value) {
            prop_assert!(value.contains(&b'@'));
            prop_assert!(!author.domains().is_empty());
        }
        Ok(())
    });
}

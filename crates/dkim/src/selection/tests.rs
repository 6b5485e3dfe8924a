use super::*;

fn names(selection: &FieldSelection, raw: &[u8]) -> String {
    selection.names(&Header::parse(raw).unwrap()).unwrap().join(":")
}

fn name(text: &str) -> FieldName {
    FieldName::parse(text).unwrap()
}

#[test]
fn three_classes_are_listed_as_often_as_they_should() {
    let raw = b"Received: x\r\nReferences: 1\r\nlist-Foo: 1\r\nFROM: a\r\nTo: b\r\nTo: c\r\n\
        Date: d\r\nList-Unsubscribe: e\r\nList-Foo: 2\r\nSender: f\r\nbroken\r\nList-: g\r\n\
        List-a;b=c: h\r\n";
    assert_eq!(
        names(&FieldSelection::default(), raw),
        "From:From:To:To:To:Cc:Subject:Reply-To:MIME-Version:Content-Type:\
         Content-Transfer-Encoding:Date:Date:List-Unsubscribe:List-Unsubscribe:\
         References:list-Foo:List-Foo:Sender:List-"
    );
}

#[test]
fn standard_classes_are_the_default() {
    let raw = b"From: a\r\nList-Id: b\r\nMessage-ID: c\r\nCFBL-Address: d\r\n";
    let by_class = FieldSelection::by_class(FieldClasses::standard()).unwrap();
    assert_eq!(names(&by_class, raw), names(&FieldSelection::default(), raw));
}

#[test]
fn exact_lists_are_taken_as_written() {
    let exact = FieldSelection::exactly(["to", "FROM", "to", "X-None"].map(name).to_vec()).unwrap();
    assert_eq!(names(&exact, b"From: a\r\nTo: b\r\nTo: c\r\n"), "to:FROM:to:X-None");
}

#[test]
fn lists_that_make_no_signature_are_refused() {
    let exactly = |names: &[&str]| {
        FieldSelection::exactly(names.iter().map(|text| name(text)).collect()).map(|_| ())
    };
    assert_eq!(exactly(&["To"]), Err(SelectionError::FromMissing));
    assert_eq!(exactly(&[]), Err(SelectionError::FromMissing));
    assert_eq!(exactly(&["From", "a;b"]), Err(SelectionError::BadName));
    assert_eq!(exactly(&["From", &"a".repeat(75)]), Err(SelectionError::NameTooLong));
    let many = |count| [&["From"][..], &vec!["x"; count - 1]].concat();
    assert_eq!(exactly(&many(MAX_SIGNED_FIELDS)), Ok(()));
    assert_eq!(exactly(&many(MAX_SIGNED_FIELDS + 1)), Err(SelectionError::TooMany));
    // From and 56 names of 72 octets: 4,093 octets with a colon behind each.
    let long = "x".repeat(72);
    let with = |last: &str| exactly(&[&["From"][..], &[&*long; 56], &[last]].concat());
    assert_eq!(with("ab"), Ok(()));
    assert_eq!(with("abc"), Err(SelectionError::TooMany));

    let classes = FieldClasses { oversigned: vec![name("To")], ..FieldClasses::default() };
    assert_eq!(FieldSelection::by_class(classes).unwrap_err(), SelectionError::FromMissing);
    for bad in ["", "*", "a b", "a;b", "a;*", "a:b*"] {
        assert!(bad.parse::<FieldPattern>().is_err(), "{bad:?}");
    }
    assert_eq!("List-*".parse::<FieldPattern>().unwrap().to_string(), "List-*");
}

#[test]
fn what_no_longer_fits_is_left_out_or_ends_the_signature() {
    let many = |field: &str, count: usize| {
        let raw = format!("From: a\r\n{}", field.repeat(count));
        let selection = FieldSelection::default();
        let header = Header::parse(raw.as_bytes()).unwrap();
        let names = selection.names(&header);
        names.map(|names| (names.len(), names.join(":").len()))
    };
    // What is always there: `From:From:To:Cc:Subject:Reply-To:MIME-Version:Content-Type:` and the rest.
    let (fixed, len) = many("", 0).unwrap();
    // Sender is signed where it stands, and takes seven octets with its colon.
    let room = (MAX_FIELD_LIST_LEN - len) / "Sender:".len();
    for count in [0, room - 1, room] {
        let want = (fixed + count, len + count * "Sender:".len());
        assert_eq!(many("Sender: b\r\n", count), Some(want), "{count}");
    }
    assert_eq!(many("Sender: b\r\n", room + 1), many("Sender: b\r\n", room));
    // Subject is oversigned, and Date where it stands: they are covered as a whole or not at all.
    for (field, octets, signed) in [("Subject: b\r\n", 8, fixed), ("Date: b\r\n", 5, fixed + 1)] {
        let room = (MAX_FIELD_LIST_LEN - len - (signed - fixed) * octets) / octets;
        assert_eq!(many(field, room).unwrap().0, signed + room, "{field}");
        assert_eq!(many(field, room + 1), None, "{field}");
    }
    // The bound on names counts too.
    let classes = FieldClasses {
        oversigned: vec![FieldName::FROM],
        oversigned_if_present: vec![],
        as_present: vec![FieldPattern::literal("X")],
    };
    let short = FieldSelection::by_class(classes).unwrap();
    let raw = [&b"From: a\r\n"[..], &b"X: b\r\n".repeat(MAX_SIGNED_FIELDS)].concat();
    let header = Header::parse(&raw).unwrap();
    let names = short.names(&header).unwrap();
    assert_eq!(names.len(), MAX_SIGNED_FIELDS);
}

#[test]
fn the_start_of_a_name_decides_most_comparisons() {
    let starts = [
        "From",
        "Date",
        "X",
        "XX",
        "X-Abcdef",
        "X-Abcdefg",
        "X-Abcdeo",
        "X-Abcdeog",
        "X-Spam-Score",
        "X-Spam-Status",
    ];
    for (place, one) in starts.iter().enumerate() {
        assert_eq!(start_of_name(one.as_bytes()), start_of_name(one.to_uppercase().as_bytes()));
        for two in starts.iter().skip(place + 1) {
            assert_ne!(start_of_name(one.as_bytes()), start_of_name(two.as_bytes()), "{one} {two}");
        }
    }
}

#[test]
fn from_may_be_signed_by_each_class() {
    let classes = |oversigned: &[&str], if_present: &[&str], as_present: &[&str]| {
        let names = |texts: &[&str]| texts.iter().map(|text| name(text)).collect();
        FieldSelection::by_class(FieldClasses {
            oversigned: names(oversigned),
            oversigned_if_present: names(if_present),
            as_present: as_present.iter().map(|text| text.parse().unwrap()).collect(),
        })
    };
    let raw = b"From: a\r\nFor: b\r\nTo: c\r\n";
    for (selection, want) in [
        (classes(&["from"], &["To"], &[]), "from:from:To:To"),
        (classes(&["To"], &["FROM"], &["X"]), "To:To:FROM:FROM"),
        (classes(&["To"], &[], &["From"]), "To:To:From"),
        (classes(&[], &[], &["F*"]), "From:For"),
    ] {
        assert_eq!(names(&selection.unwrap(), raw), want);
    }
    for missing in [classes(&["To"], &["Cc"], &["X", "Fromm*", "Fr"]), classes(&[], &[], &[])] {
        assert_eq!(missing.unwrap_err(), SelectionError::FromMissing);
    }
    // Each class is checked.
    let long = "x".repeat(MAX_SELECTABLE_NAME_LEN + 1);
    for (bad, error) in [("a;b", SelectionError::BadName), (&*long, SelectionError::NameTooLong)] {
        assert_eq!(classes(&["From", bad], &[], &[]).unwrap_err(), error);
        assert_eq!(classes(&["From"], &[bad], &[]).unwrap_err(), error);
        assert_eq!(bad.parse::<FieldPattern>().unwrap_err(), error);
    }
}

#[test]
fn fields_are_picked_from_the_bottom() {
    // The same in a header of usual size and in one that is sorted.
    for fill in [0, MAX_UNSORTED - 7, MAX_UNSORTED - 6, MAX_UNSORTED] {
        let fields = b"A: 1\r\nB: 2\r\na: 3\r\nAB: 4\r\nA : 5\r\nnone\r\nLong-Name-1: 6\r\n";
        let raw = [&b"Long-Name-2:\r\n".repeat(fill)[..], fields].concat();
        let header = Header::parse(&raw).unwrap();
        let index = FieldIndex::new(&header);
        let mut picker = index.picker_beside(None);

        let cases = [
            ("a", Some(" 5")),
            ("A", Some(" 3")),
            ("b", Some(" 2")),
            ("a", Some(" 1")),
            ("a", None),
            ("b", None),
            ("x", None),
            ("AB", Some(" 4")),
            ("long-name-1", Some(" 6")),
            ("long-name-1", None),
            ("long-name-3", None),
        ];
        for (name, want) in cases {
            let value = picker.pick(name.as_bytes()).map(|field| field.value());
            assert_eq!(value, want.map(str::as_bytes), "{name} {fill}");
        }
    }
}

#[test]
fn a_short_header_is_searched_up_to_the_field() {
    let header = Header::parse(b"From: a\r\nTo: b\r\nTo: c\r\nSubject: d\r\n").unwrap();
    let index = FieldIndex::new(&header);
    assert_eq!(index.names_compared(), 0);
    let mut picker = index.picker_beside(None);
    let mut sum = 0;
    for (name, compared) in [("Subject", 1), ("To", 2), ("To", 3), ("To", 4), ("From", 4)] {
        picker.pick(name.as_bytes());
        sum += compared;
        assert_eq!(picker.names_compared(), sum, "{name}");
    }
}

#[test]
fn a_long_header_is_sorted_and_then_searched_by_halves() {
    let raw: String = (0..1024).map(|place| format!("X-{}: a\r\n", place * 7 % 1024)).collect();
    let header = Header::parse(raw.as_bytes()).unwrap();
    let index = FieldIndex::new(&header);
    // No sort does it with less than n - 1, and a good one with about n log2 n.
    assert!((1_023..=20_480).contains(&index.names_compared()), "{}", index.names_compared());
    let mut picker = index.picker_beside(None);
    let mut before = 0;
    for (name, is_there) in [
        ("X-0", true),
        ("x-511", true),
        ("X-1023", true),
        ("X-1024", false),
        ("A", false),
        ("Z", false),
    ] {
        let found = picker.pick(name.as_bytes()).is_some();
        let compared = picker.names_compared() - before;
        // Once for where the name begins, and once for where it ends.
        assert!(found == is_there && (10..=22).contains(&compared), "{name}: {compared}");
        before = picker.names_compared();
    }
}

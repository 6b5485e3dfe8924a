//! The copies of header fields in `z=` (§3.5), beside the fields that the header has now.
//!
//! A signer may put copies of the fields into its signature as they were when it signed. They have no part
//! in verifying. Where a signature fails, they tell which field was changed on the way.

use std::collections::HashSet;

use aws_lc_rs::digest::{SHA256, digest};

use crate::canon::relaxed_field;
use crate::encoding::decode_quoted;
use crate::field::{Header, end_of_name};

/// The copies in `z=` of one signature.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Copies {
    /// Those that can be read, in their order, at most [`MAX_COPIES`].
    pub fields: Vec<CopiedField>,
    /// How many entries are no copies, or stand behind as many copies. Empty ones do not count.
    pub left_out: usize,
}

/// The copy of one field.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct CopiedField {
    /// The name, as it was written.
    pub name: String,
    /// What stood behind the colon, decoded. Any octets.
    pub value: Vec<u8>,
    /// Whether the header has a field that is the same in relaxed canonicalization (§3.4.2): of this name in
    /// any case, and of this value but for folds and the amount of white space. So also where the signature asks for
    /// simple: signers do not copy white space to the octet.
    pub is_in_header: bool,
}

impl Copies {
    /// Reads the text of `z=`, and looks for each copy in the header.
    pub(crate) fn of(text: &str, header: &Header<'_>) -> Self {
        let (mut fields, mut left_out) = (Vec::new(), 0);
        // §3.5 `sig-z-tag`: entries are parted by bars, and a bar in a value is encoded. White space may be anywhere
        // and is taken out first; OpenDKIM folds in the middle of names and of `=XX`. And it leaves an empty entry
        // for a field that is too long for it.
        let entries = text.split('|').map(|entry| entry.split([' ', '\t', '\r', '\n']).collect());
        for entry in entries.filter(|entry: &String| !entry.is_empty()) {
            let has_room = fields.len() < MAX_COPIES;
            match has_room.then(|| CopiedField::parse(&entry)).flatten() {
                Some(copy) => fields.push(copy),
                None => left_out += 1,
            }
        }
        let names: HashSet<Vec<u8>> =
            fields.iter().map(|copy| copy.name.to_ascii_lowercase().into_bytes()).collect();
        // By their hashes, so that there is never more than one canonical form at a time: fields may be long.
        let hash = |name: &[u8], value: &[u8]| {
            let hash = digest(&SHA256, &relaxed_field(name, value));
            Sha256::try_from(hash.as_ref()).expect("SHA-256 has 32 octets")
        };
        let present: HashSet<Sha256> = header
            .fields()
            .filter(|field| names.contains(&field.name().to_ascii_lowercase()))
            .map(|field| hash(field.name(), field.value()))
            .collect();
        for copy in &mut fields {
            copy.is_in_header = present.contains(&hash(copy.name.as_bytes(), &copy.value));
        }
        Self { fields, left_out }
    }
}

impl CopiedField {
    /// `hdr-name ":" qp-hdr-value` of §3.5, without white space.
    fn parse(entry: &str) -> Option<Self> {
        let (name, value) = entry.split_once(':')?;
        if name.is_empty() || end_of_name(name.as_bytes()).is_some() {
            return None;
        }
        Some(Self { name: name.to_owned(), value: decode_quoted(value)?, is_in_header: false })
    }
}

/// A hash of a canonical field.
type Sha256 = [u8; 32];

/// The largest number of copies that are read of one signature, as many as `h=` may have names.
pub const MAX_COPIES: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// `name=value` of each copy, with a sign for one that the header does not have, and how many entries are left out.
    fn read(text: &str, header: &str) -> (String, usize) {
        let header = Header::parse(header.as_bytes()).unwrap();
        let copies = Copies::of(text, &header);
        let shown = copies.fields.iter().map(|copy| {
            let sign = if copy.is_in_header { "" } else { "!" };
            format!("{sign}{}={}", copy.name, copy.value.escape_ascii())
        });
        (shown.collect::<Vec<_>>().join("|"), copies.left_out)
    }

    #[test]
    fn copies_are_read_by_the_grammar() {
        for (text, want, left_out) in [
            // The example of §3.5.
            (
                "From:foo@eng.example.net|To:joe@example.com|\r\n\
                 \x20 Subject:demo=20run|Date:July=205,=202005=203:44:08=20PM=20-0700",
                "!From=foo@eng.example.net|!To=joe@example.com|!Subject=demo run|\
                 !Date=July 5, 2005 3:44:08 PM -0700",
                0,
            ),
            (" A : b\r\n c |B::=7C=0D=0A=20", "!A=bc|!B=:|\\r\\n ", 0),
            ("A:", "!A=", 0),
            ("", "", 0),
            ("| |A:b|\r\n ||", "!A=b", 0),
            ("no colon|A\u{7}:c|:x|A:=4|A:=zz|A:ok", "!A=ok", 5),
            ("Re\r\n\t ply-\tTo:=2\r\n\t 0x", "!Reply-To= x", 0),
            ("ü:a", "", 1),
            ("A:ü", "!A=\\xc3\\xbc", 0),
        ] {
            assert_eq!(read(text, ""), (want.to_owned(), left_out), "{text}");
        }
    }

    #[test]
    fn white_space_and_case_of_names_make_no_difference() {
        let header = "SUBJECT:  demo\r\n\trun \r\nX: 1\r\nX: 2\r\nbroken\r\n";
        for (text, want) in [
            ("Subject:=20demo=20run", "Subject= demo run"),
            ("subject :demo=20=09run=20", "subject=demo \\trun "),
            ("Subject:demo=0D=0A=20run", "Subject=demo\\r\\n run"),
            ("Subject:demorun", "!Subject=demorun"),
            ("Subject:Demo=20run", "!Subject=Demo run"),
            ("Subjects:demo=20run", "!Subjects=demo run"),
            ("X:1|X:2|x:1|X:3", "X=1|X=2|x=1|!X=3"),
            ("broken:", "!broken="),
        ] {
            assert_eq!(read(text, header).0, want, "{text}");
        }
    }

    #[test]
    fn the_number_of_copies_is_bounded() {
        let text = vec!["X:1"; MAX_COPIES + 2].join("|");
        let header = Header::parse(b"X: 1\r\n").unwrap();
        let copies = Copies::of(&text, &header);
        assert_eq!((copies.fields.len(), copies.left_out), (MAX_COPIES, 2));
        assert!(copies.fields.iter().all(|copy| copy.is_in_header));
    }
}

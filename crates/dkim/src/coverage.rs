//! Which fields of a header a signature covers, and which it leaves to whoever comes by.
//!
//! A signature covers the fields that its `h=` picks from the bottom (§5.4.2), and its own. A name that
//! stands in `h=` more often than in the header is oversigned: the entries for which nothing was there
//! break the signature when a field of that name is added later (§5.4).

use std::collections::BTreeMap;

use crate::field::Header;
use crate::selection::FieldIndex;
use crate::signature::Signature;

/// What a signature covers of a header.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Coverage<'a> {
    /// The names in `h=`, each once, in the order in which they first stand there.
    pub signed: Vec<SignedName<'a>>,
    /// The names of the fields that nothing in `h=` picked, each once, in the order in which they first
    /// stand in the header. The signature's own field is not among them.
    pub unsigned: Vec<UnsignedName<'a>>,
    /// How many lines of the header are no fields, which no signature can cover.
    pub lines_without_name: usize,
}

/// A name in `h=`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SignedName<'a> {
    /// The name, as it first stands in `h=`.
    pub name: &'a str,
    /// How many fields of this name were hashed.
    pub hashed: usize,
    /// How many entries of `h=` found no field any more.
    pub empty: usize,
}

/// A name that some fields have which are not covered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct UnsignedName<'a> {
    /// The name, as it first stands in the header.
    pub name: &'a str,
    /// How many fields of this name are not covered.
    pub fields: usize,
}

impl<'a> Coverage<'a> {
    /// What the signature in the field at this place among [`Header::fields`] covers.
    pub(crate) fn of(signature: &Signature<'a>, own_place: usize, header: &Header<'a>) -> Self {
        let index = FieldIndex::new(header);
        let mut picker = index.picker_beside(Some(own_place));
        let mut is_covered = vec![false; header.len()];
        let mut signed = Vec::new();
        let mut places = BTreeMap::new();
        for name in signature.signed_fields() {
            let entry =
                entry(&mut signed, &mut places, name, || SignedName { name, hashed: 0, empty: 0 });
            match picker.pick_place(name.as_bytes()) {
                Some(place) => {
                    entry.hashed += 1;
                    if let Some(covered) = is_covered.get_mut(place) {
                        *covered = true;
                    }
                }
                None => entry.empty += 1,
            }
        }

        let mut unsigned = Vec::new();
        let mut places = BTreeMap::new();
        let mut lines_without_name = 0;
        for (place, (field, is_covered)) in header.fields().zip(is_covered).enumerate() {
            // A name is printable ASCII; what is none is empty.
            match str::from_utf8(field.name()) {
                Ok("") | Err(_) => lines_without_name += 1,
                Ok(_) if is_covered || place == own_place => {}
                Ok(name) => {
                    let new = || UnsignedName { name, fields: 0 };
                    entry(&mut unsigned, &mut places, name, new).fields += 1;
                }
            }
        }
        Self { signed, unsigned, lines_without_name }
    }
}

/// The entry for a name in any case, an old one or a new one at the end.
fn entry<'l, T>(
    list: &'l mut Vec<T>,
    places: &mut BTreeMap<String, usize>,
    name: &str,
    new: impl FnOnce() -> T,
) -> &'l mut T {
    let place = *places.entry(name.to_ascii_lowercase()).or_insert(list.len());
    if place == list.len() {
        list.push(new());
    }
    list.get_mut(place).expect("each place is that of an entry")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::FieldName;

    /// `name:hashed+empty` for what is signed, and `name:fields` for what is not.
    fn coverage(names: &str, raw: &str) -> (String, String, usize) {
        let field = format!(
            "DKIM-Signature: v=1; a=rsa-sha256; d=a.example; s=s; h={names}; bh=MTIz; b=NDU2\r\n"
        );
        let raw = raw.replace("SIGNATURE\r\n", &field);
        let header = Header::parse(raw.as_bytes()).unwrap();
        let own = header.fields().position(|f| f.is_named(&FieldName::DKIM_SIGNATURE)).unwrap();
        let signature = Signature::parse(header.fields().nth(own).unwrap().value()).unwrap();
        let Coverage { signed, unsigned, lines_without_name } =
            Coverage::of(&signature, own, &header);
        let signed: Vec<_> =
            signed.iter().map(|one| format!("{}:{}+{}", one.name, one.hashed, one.empty)).collect();
        let unsigned: Vec<_> =
            unsigned.iter().map(|one| format!("{}:{}", one.name, one.fields)).collect();
        (signed.join(" "), unsigned.join(" "), lines_without_name)
    }

    #[test]
    fn tells_what_is_signed_oversigned_and_left_open() {
        let header = "SIGNATURE\r\nReceived: 1\r\nFrom: a\r\nReceived: 2\r\nto: b\r\nTO: c\r\nX-Y : d\r\n\
            no field\r\n";
        for (names, signed, unsigned) in [
            ("From", "From:1+0", "Received:2 to:2 X-Y:1"),
            ("from:FROM:To", "from:1+1 To:1+0", "Received:2 to:1 X-Y:1"),
            ("From:To:to:tO:Cc:cc", "From:1+0 To:2+1 Cc:0+2", "Received:2 X-Y:1"),
            ("Received:From:x-y:received:To:To", "Received:2+0 From:1+0 x-y:1+0 To:2+0", ""),
        ] {
            let want = (signed.to_owned(), unsigned.to_owned(), 1);
            assert_eq!(coverage(names, header), want, "{names}");
        }
    }

    #[test]
    fn other_signatures_are_fields_like_any() {
        let header = "SIGNATURE\r\nFrom: a\r\nDKIM-Signature: v=1\r\n";
        assert_eq!(coverage("From", header).1, "DKIM-Signature:1");
        assert_eq!(coverage("From:DKIM-Signature", header).1, "");
    }

    #[test]
    fn long_headers_are_read_the_same() {
        let header = format!("{}SIGNATURE\r\nFrom: a\r\nTo: b\r\n", "X-Z: 1\r\n".repeat(100));
        let want = ("From:1+1 X-Z:1+0".to_owned(), "X-Z:99 To:1".to_owned(), 0);
        assert_eq!(coverage("From:X-Z:From", &header), want);
    }
}

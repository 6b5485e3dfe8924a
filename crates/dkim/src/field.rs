//! Header fields as they stand in the message, byte for byte.
//!
//! A header section is cut at its field bounds and nothing is changed: `simple` canonicalization
//! needs the bytes as they came (§3.4.1). Only CRLF ends a line; a bare CR or LF is an ordinary octet.
//! Real mail has lines that are no fields (an mbox `From ` line, a stray word). They are kept as
//! fields without a name, which nothing can select.
//!
//! How many fields and octets there may be is bounded by [`MAX_FIELDS`] and [`MAX_HEADER_LEN`].

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use thiserror::Error;
use wide::u8x16;

/// The name of a header field: `ftext` of RFC 5322 §3.6.8.
///
/// Equality and hash ignore ASCII case; the text is kept as it was written.
#[derive(Clone)]
pub struct FieldName(Cow<'static, str>);

impl FieldName {
    /// `From`.
    pub const FROM: Self = Self::literal("From");

    /// `DKIM-Signature`.
    pub const DKIM_SIGNATURE: Self = Self::literal("DKIM-Signature");

    /// `ARC-Authentication-Results` (RFC 8617 §4.1.1).
    pub const ARC_AUTHENTICATION_RESULTS: Self = Self::literal("ARC-Authentication-Results");

    /// `ARC-Message-Signature` (RFC 8617 §4.1.2).
    pub const ARC_MESSAGE_SIGNATURE: Self = Self::literal("ARC-Message-Signature");

    /// `ARC-Seal` (RFC 8617 §4.1.3).
    pub const ARC_SEAL: Self = Self::literal("ARC-Seal");

    /// Parses a field name: one or more printable ASCII characters other than the colon.
    pub fn parse(text: &str) -> Result<Self, FieldNameError> {
        if is_field_name(text.as_bytes()) {
            Ok(Self(Cow::Owned(text.to_owned())))
        } else {
            Err(FieldNameError)
        }
    }

    /// A name that stands in the program.
    ///
    /// # Panics
    ///
    /// If `text` is no field name. Meant for constants, where this happens when it is compiled.
    #[must_use]
    pub const fn literal(text: &'static str) -> Self {
        assert!(is_field_name(text.as_bytes()), "a field name is printable ASCII without colon");
        Self(Cow::Borrowed(text))
    }

    /// The name as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Says whether the octets are this name, in any case.
    #[must_use]
    pub fn matches(&self, name: &[u8]) -> bool {
        self.0.as_bytes().eq_ignore_ascii_case(name)
    }
}

impl PartialEq for FieldName {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other.0.as_bytes())
    }
}

impl Eq for FieldName {}

impl Hash for FieldName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for octet in self.0.bytes() {
            state.write_u8(octet.to_ascii_lowercase());
        }
        state.write_u8(b':');
    }
}

impl fmt::Debug for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for FieldName {
    type Err = FieldNameError;

    fn from_str(text: &str) -> Result<Self, FieldNameError> {
        Self::parse(text)
    }
}

/// A text that cannot be the name of a header field.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("a field name is one or more printable ASCII characters without spaces and colons")]
pub struct FieldNameError;

/// A header section: its fields, from the top.
#[derive(Clone, Debug)]
pub struct Header<'a> {
    fields: Vec<Field<'a>>,
}

impl<'a> Header<'a> {
    /// Cuts a header section into its fields.
    ///
    /// `raw` goes up to the empty line and is without it. A last line without CRLF is taken as it is.
    pub fn parse(raw: &'a [u8]) -> Result<Self, HeaderError> {
        if raw.len() > MAX_HEADER_LEN {
            return Err(HeaderError::TooLong);
        }
        let mut this = Self { fields: Vec::with_capacity(TYPICAL_FIELDS) };
        let mut rest = raw;
        while !rest.is_empty() {
            rest = this.take_field(rest, MAX_FIELDS)?;
        }
        Ok(this)
    }

    /// Cuts a message at the empty line, and its header section into fields. The second part is the
    /// body.
    ///
    /// The empty line belongs to neither. Without one there is no body.
    pub fn of_message(message: &'a [u8]) -> Result<(Self, &'a [u8]), HeaderError> {
        Self::of_message_within(message, HeaderBounds::PUBLIC)
    }

    /// The same under other bounds, with which a test tries every message there is.
    pub(crate) fn of_message_within(
        message: &'a [u8],
        bounds: HeaderBounds,
    ) -> Result<(Self, &'a [u8]), HeaderError> {
        let mut this = Self { fields: Vec::with_capacity(TYPICAL_FIELDS) };
        let mut rest = message;
        loop {
            if let Some(body) = rest.strip_prefix(b"\r\n") {
                return Ok((this, body));
            }
            if rest.is_empty() {
                return Ok((this, rest));
            }
            rest = this.take_field(rest, bounds.fields)?;
            if message.len() - rest.len() > bounds.octets {
                return Err(HeaderError::TooLong);
            }
        }
    }

    /// Takes the first field off, and gives what follows it.
    fn take_field(&mut self, octets: &'a [u8], bound: usize) -> Result<&'a [u8], HeaderError> {
        if self.fields.len() == bound {
            return Err(HeaderError::TooManyFields);
        }
        let (field, rest) = octets.split_at(field_len(octets));
        self.fields.push(Field::new(field));
        Ok(rest)
    }

    /// Takes fields that are already apart, from the top, as a milter has them.
    ///
    /// Each is a whole field with its colon, its folding as CRLF and white space, and its final CRLF,
    /// which may be missing. One that would be several fields in a message, a part of the one above it, or the end
    /// of the header, is an error: what is decided about a header has to hold for what travels.
    pub fn from_fields(fields: Vec<&'a [u8]>) -> Result<Self, HeaderError> {
        if fields.len() > MAX_FIELDS {
            return Err(HeaderError::TooManyFields);
        }
        if fields.iter().map(|field| field.len()).sum::<usize>() > MAX_HEADER_LEN {
            return Err(HeaderError::TooLong);
        }
        let is_whole = |field: &&[u8]| {
            !field.is_empty() && !field.starts_with(b"\r\n") && field_len(field) == field.len()
        };
        let begins_folded = |field: &&[u8]| field.starts_with(b" ") || field.starts_with(b"\t");
        if !fields.iter().all(is_whole) || fields.iter().skip(1).any(begins_folded) {
            return Err(HeaderError::NotOneField);
        }
        Ok(Self { fields: fields.into_iter().map(Field::new).collect() })
    }

    /// The fields from the top down.
    pub fn fields(&self) -> impl DoubleEndedIterator<Item = Field<'a>> + ExactSizeIterator + '_ {
        self.fields.iter().copied()
    }

    /// The fields of this name, from the bottom up (§5.4.2).
    pub fn matching<'s>(&'s self, name: &'s FieldName) -> impl Iterator<Item = Field<'a>> + 's {
        self.fields.iter().rev().copied().filter(|field| name.matches(field.name()))
    }

    /// The number of fields of this name.
    #[must_use]
    pub fn count(&self, name: &FieldName) -> usize {
        self.fields.iter().filter(|field| name.matches(field.name())).count()
    }

    /// The number of fields.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Says whether there are no fields.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    pub(crate) fn as_slice(&self) -> &[Field<'a>] {
        &self.fields
    }
}

/// How much of a header section is worked on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeaderBounds {
    pub(crate) octets: usize,
    pub(crate) fields: usize,
}

impl HeaderBounds {
    const PUBLIC: Self = Self { octets: MAX_HEADER_LEN, fields: MAX_FIELDS };
}

/// One header field as it stands in the message.
#[derive(Clone, Copy)]
pub struct Field<'a> {
    raw: &'a [u8],
    /// See [`start_of_name`].
    start_of_name: u64,
    /// Zero if the line is no field.
    name_len: u32,
    /// Where the value starts; zero if the line is no field, since then all of it is the value.
    value_start: u32,
}

impl<'a> Field<'a> {
    fn new(raw: &'a [u8]) -> Self {
        let name_len = end_of_name(raw).unwrap_or(0);
        let (name, rest) = raw.split_at(name_len);
        let value = without_leading_wsp(rest).strip_prefix(b":");
        let value_start = value.map_or(0, |value| raw.len() - value.len());
        match (u32::try_from(name_len), u32::try_from(value_start)) {
            (Ok(name_len @ 1..), Ok(value_start @ 1..)) => {
                Self { raw, start_of_name: start_of_name(name), name_len, value_start }
            }
            // What is no name cannot be selected, and has to be left as it is.
            _ => Self { raw, start_of_name: start_of_name(b""), name_len: 0, value_start: 0 },
        }
    }

    /// The whole field with its final CRLF, if it has one.
    #[must_use]
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The whole field without its final CRLF.
    pub(crate) fn unended(&self) -> &'a [u8] {
        self.raw.strip_suffix(b"\r\n").unwrap_or(self.raw)
    }

    /// What stands in front of the colon, with the white space that obsolete syntax allows there.
    pub(crate) fn raw_name(&self) -> &'a [u8] {
        let end = self.value_start.saturating_sub(1);
        self.raw.get(..end as usize).unwrap_or_default()
    }

    /// The name, without the white space that obsolete syntax allows in front of the colon. Empty if
    /// the line is no field.
    #[must_use]
    pub fn name(&self) -> &'a [u8] {
        self.raw.get(..self.name_len as usize).unwrap_or_default()
    }

    /// What follows the colon, with its folding and without the final CRLF.
    #[must_use]
    pub fn value(&self) -> &'a [u8] {
        self.unended().get(self.value_start as usize..).unwrap_or_default()
    }

    /// What [`start_of_name`] says of its name.
    pub(crate) fn start_of_name(&self) -> u64 {
        self.start_of_name
    }

    /// Says whether this field has that name.
    #[must_use]
    pub fn is_named(&self, name: &FieldName) -> bool {
        name.matches(self.name())
    }
}

impl fmt::Debug for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.raw.escape_ascii())
    }
}

/// Why a header section is not worked on.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum HeaderError {
    /// More than [`MAX_HEADER_LEN`] octets.
    #[error("the header section is longer than {MAX_HEADER_LEN} octets")]
    TooLong,
    /// More than [`MAX_FIELDS`] fields.
    #[error("the header section has more than {MAX_FIELDS} fields")]
    TooManyFields,
    /// Octets that were given as one field and are none, are several, or continue the one above.
    #[error(
        "what was given as a header field is not one: it is empty, begins folded, or has a line break \
         that does not fold it"
    )]
    NotOneField,
}

/// Cuts a message at its empty line: the header section with the CRLF of its last field, and the body.
#[must_use]
pub fn split_message(message: &[u8]) -> (&[u8], &[u8]) {
    if let Some(body) = message.strip_prefix(b"\r\n") {
        return (&[], body);
    }
    let Some(end) = memchr::memmem::find(message, b"\r\n\r\n") else {
        return (message, &[]);
    };
    match (message.get(..end + 2), message.get(end + 4..)) {
        (Some(header), Some(body)) => (header, body),
        (_, _) => (message, &[]),
    }
}

/// The length of the first field: up to the first CRLF that no white space follows.
fn field_len(header: &[u8]) -> usize {
    for lf in memchr::memchr_iter(b'\n', header) {
        let ends_line = header.get(..lf).is_some_and(|before| before.ends_with(b"\r"));
        let folds = matches!(header.get(lf + 1), Some(b' ' | b'\t'));
        if ends_line && !folds {
            return lf + 1;
        }
    }
    header.len()
}

/// The octets from the first that is no white space on.
#[inline]
pub(crate) fn without_leading_wsp(mut octets: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', tail @ ..] = octets {
        octets = tail;
    }
    octets
}

/// The length of a name and its first octets, the same for names that differ in case only.
///
/// Setting the bit that tells the cases apart makes some other characters equal too; the order of
/// whole names settles those.
pub(crate) fn start_of_name(name: &[u8]) -> u64 {
    let octets = name.first_chunk().copied().unwrap_or_else(|| {
        let mut octets = [0; 8];
        octets.iter_mut().zip(name).for_each(|(octet, of_name)| *octet = *of_name);
        octets
    });
    (u64::from_le_bytes(octets) | CASE_BITS) ^ (name.len() as u64) << 56
}

/// The bit that tells upper from lower case, in each of eight octets.
const CASE_BITS: u64 = u64::from_le_bytes([0x20; 8]);

const fn is_field_name(name: &[u8]) -> bool {
    let mut rest = name;
    while let [octet, tail @ ..] = rest {
        if !is_name_octet(*octet) {
            return false;
        }
        rest = tail;
    }
    !name.is_empty()
}

/// The place of the first octet that cannot be in a field name.
#[inline]
pub(crate) fn end_of_name(octets: &[u8]) -> Option<usize> {
    // Nearly all names end within a vector, which needs no loop.
    if let Some(start) = octets.first_chunk() {
        let start = u8x16::new(*start);
        let low = start.min(u8x16::splat(b' ')).simd_eq(start);
        let high = start.max(u8x16::splat(0x7F)).simd_eq(start);
        let ends = (low | high | start.simd_eq(u8x16::splat(b':'))).to_bitmask();
        if ends != 0 {
            return Some(ends.trailing_zeros() as usize);
        }
    }
    octets.iter().position(|octet| !is_name_octet(*octet))
}

/// `ftext` of RFC 5322 §3.6.8.
const fn is_name_octet(octet: u8) -> bool {
    matches!(octet, 0x21..=0x39 | 0x3B..=0x7E)
}

/// The longest header section that is worked on, in octets. No official reference: four times what
/// Exchange allows (256 KB), forty times Postfix's `header_size_limit` for a field.
pub const MAX_HEADER_LEN: usize = 4 << 20;

/// The largest number of fields. No official reference; real mail has some dozens, and a message that
/// went round in a loop some hundreds.
pub const MAX_FIELDS: usize = 20_000;

/// Room for the fields of most messages. With one more, allocators leave the sizes that they keep at hand (1 KiB).
const TYPICAL_FIELDS: usize = 32;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::DefaultHasher;

    use super::*;

    fn names<'a>(header: &Header<'a>) -> Vec<&'a [u8]> {
        header.fields().map(|field| field.name()).collect()
    }

    #[test]
    fn cuts_at_field_bounds_only() {
        let raw = b"From: a\r\n b\r\n\tc\r\nSubject : x\r\nbroken line\r\nA:\nB: 1\rC: 2\r\nX:\r\n";
        let header = Header::parse(raw).unwrap();

        assert_eq!(names(&header), [&b"From"[..], b"Subject", b"", b"A", b"X"]);
        let values: Vec<_> = header.fields().map(|field| field.value()).collect();
        assert_eq!(values, [&b" a\r\n b\r\n\tc"[..], b" x", b"broken line", b"\nB: 1\rC: 2", b""]);
        let joined: Vec<u8> = header.fields().flat_map(|field| field.raw().to_vec()).collect();
        assert_eq!(joined, raw);
    }

    #[test]
    fn takes_what_real_mail_has() {
        for (raw, want) in [
            (&b""[..], vec![]),
            (b"A: 1", vec![&b"A"[..]]),
            (b" folded first\r\nA: 1\r\n", vec![b"", b"A"]),
            (b"From sender@example.com Mon\r\nA: 1\r\n", vec![b"", b"A"]),
            (b">From: x\r\n", vec![b">From"]),
            (b": no name\r\n", vec![b""]),
            (b"A \t : 1\r\n", vec![b"A"]),
            (b"\xc3\xa4: 1\r\n", vec![b""]),
            (b"A: 1\n", vec![b"A"]),
            (b"A: 1\r", vec![b"A"]),
            (b"A: 1\r\r\nB: 2\r\n", vec![b"A", b"B"]),
        ] {
            assert_eq!(names(&Header::parse(raw).unwrap()), want, "{}", raw.escape_ascii());
        }
    }

    #[test]
    fn splits_messages_at_the_first_empty_line() {
        for (message, header, body) in [
            (&b"A: 1\r\n\r\nbody\r\n\r\n"[..], &b"A: 1\r\n"[..], &b"body\r\n\r\n"[..]),
            (b"\r\nbody", b"", b"body"),
            (b"A: 1\r\n", b"A: 1\r\n", b""),
            (b"A: 1\r\n\r\n", b"A: 1\r\n", b""),
            (b"A: 1\n\nbody", b"A: 1\n\nbody", b""),
            (b"", b"", b""),
        ] {
            assert_eq!(split_message(message), (header, body), "{}", message.escape_ascii());
            let (parsed, rest) = Header::of_message(message).unwrap();
            assert_eq!(rest, body, "{}", message.escape_ascii());
            assert_eq!(names(&parsed), names(&Header::parse(header).unwrap()));
        }
    }

    #[test]
    fn finds_fields_from_the_bottom() {
        let header = Header::parse(b"To: 1\r\nFrom: 2\r\nTO : 3\r\n").unwrap();
        let to = FieldName::parse("tO").unwrap();

        let values: Vec<_> = header.matching(&to).map(|field| field.value()).collect();
        assert_eq!(values, [b" 3", b" 1"]);
        assert_eq!(header.count(&to), 2);
    }

    #[test]
    fn fields_that_are_apart_are_taken_as_they_are() {
        let header = Header::from_fields(vec![b"A: 1\r\n 2\r\n", b"B:3"]).unwrap();
        assert_eq!(names(&header), [b"A", b"B"]);
        assert_eq!(header.fields().last().unwrap().value(), b"3");
        assert_eq!((header.len(), header.is_empty()), (2, false));
        let none = Header::from_fields(vec![]).unwrap();
        assert_eq!((none.len(), none.is_empty()), (0, true));
    }

    #[test]
    fn what_is_given_as_one_field_is_one() {
        let of = |fields: &[&'static [u8]]| Header::from_fields(fields.to_vec()).map(|it| it.len());
        for field in
            [&b"a"[..], b"A: b", b"A: b\r\n", b"A: b\r\n\tc\r\n", b"A: b\nc\rd\r\n", b" a\r\n"]
        {
            assert_eq!(of(&[field]), Ok(1), "{}", field.escape_ascii());
        }
        assert_eq!(of(&[b" a\r\n", b"From: b", b"To: c"]), Ok(3));
        for fields in [
            &[&b"From: a\r\nFrom: b\r\n"[..]][..],
            &[b"From: a\r\n\r\n"],
            // The empty line behind the header.
            &[b""],
            &[b"\r\n"],
            &[b"From: a\r\n", b"\r\n x\r\n"],
            &[b"\r\n\r\n"],
            &[b"From: a\r\n", b"X: a\r\nb"],
            // It would continue the field above.
            &[b"From: a\r\n", b" b\r\n"],
            &[b"From: a\r\n", b"\tb: c\r\n", b"To: d\r\n"],
        ] {
            assert_eq!(of(fields), Err(HeaderError::NotOneField), "{fields:?}");
        }
    }

    #[test]
    fn fields_and_names_are_shown_as_text() {
        let header = Header::parse(b"A: \xff\r\n \"b\"\r\n").unwrap();
        let field = header.fields().next().unwrap();
        assert_eq!(format!("{field:?}"), r#""A: \xff\r\n \"b\"\r\n""#);
        assert_eq!(format!("{:?} {}", FieldName::FROM, FieldName::FROM), r#""From" From"#);
    }

    #[test]
    fn bounds_length_and_number() {
        let many = b"A:\r\n".repeat(MAX_FIELDS);
        assert!(Header::parse(&many).is_ok());
        let more = b"A:\r\n".repeat(MAX_FIELDS + 1);
        assert_eq!(Header::parse(&more).unwrap_err(), HeaderError::TooManyFields);
        // As long as may be, and one octet longer; the body behind it does not count.
        let full = [&b"A:"[..], &vec![b'a'; MAX_HEADER_LEN - 4], b"\r\n"].concat();
        assert!(Header::parse(&full).is_ok());
        assert!(Header::from_fields(vec![&full]).is_ok());
        let message = [&full[..], b"\r\n", &full, b"\r\n"].concat();
        assert_eq!(Header::of_message(&message).unwrap().1.len(), MAX_HEADER_LEN + 2);
        let fields = vec![&b"A:\r\n"[..]; MAX_FIELDS + 1];
        assert!(Header::from_fields(fields[1..].to_vec()).is_ok());
        assert_eq!(Header::from_fields(fields).unwrap_err(), HeaderError::TooManyFields);
        let long = vec![b'a'; MAX_HEADER_LEN + 1];
        assert_eq!(Header::parse(&long).unwrap_err(), HeaderError::TooLong);
        assert_eq!(Header::from_fields(vec![&long]).unwrap_err(), HeaderError::TooLong);
        assert_eq!(Header::of_message(&long).unwrap_err(), HeaderError::TooLong);
        assert_eq!(Header::of_message(&more).unwrap_err(), HeaderError::TooManyFields);
    }

    #[test]
    fn field_names_ignore_case_and_take_no_injection() {
        let names: HashSet<_> =
            ["From", "FROM", "from", "To"].map(|text| FieldName::parse(text).unwrap()).into();
        assert_eq!(names.len(), 2);
        // A hash that is the same for all names would be right, too, and slow.
        let hash = |text: &str| {
            let mut hasher = DefaultHasher::new();
            FieldName::parse(text).unwrap().hash(&mut hasher);
            hasher.finish()
        };
        assert_eq!(hash("From"), hash("fROM"));
        assert_ne!(hash("From"), hash("To"));
        for bad in ["", "a:b", "a b", "a\r\n", "ä", "a\u{0}", "\u{7f}"] {
            assert_eq!(FieldName::parse(bad), Err(FieldNameError), "{bad:?}");
        }
    }
}

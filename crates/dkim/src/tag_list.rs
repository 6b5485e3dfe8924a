//! Tag lists: the `name=value; name=value` syntax of DKIM (§3.2, erratum 5070).
//!
//! Signatures (§3.5) and key records (§3.6.1) share this grammar. This module knows the grammar and
//! nothing else: which tags exist, which are required and what their values mean is for
//! [`crate::signature`] and [`crate::KeyRecord`].
//!
//! Nothing is copied or unfolded. White space inside a value stays, because only the description of
//! the tag says whether it counts. A list with the same name twice is invalid as a whole (§3.2).

use std::ops::Range;

use memchr::{memchr, memchr2};
use thiserror::Error;

/// A syntactically valid tag list. Names are unique; the order is that of the text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TagList<'a>(Vec<Tag<'a>>);

impl<'a> TagList<'a> {
    /// Parses a tag list, with or without its closing semicolon.
    pub fn parse(octets: &'a [u8]) -> Result<Self, TagListError> {
        let mut list: Vec<Tag<'a>> = Vec::with_capacity(TYPICAL_TAGS);
        for tag in Tags::of(octets)? {
            let tag = tag?;
            // MAX_TAGS bounds this search; a set would only cost more. Names are so short that a loop
            // is faster than a call.
            let is_same = |seen: &Tag<'_>| {
                seen.name.len() == tag.name.len() && seen.name.bytes().eq(tag.name.bytes())
            };
            if list.iter().any(is_same) {
                return Err(TagListError::DuplicateName);
            }
            list.push(tag);
        }
        Ok(Self(list))
    }

    /// The tag called `name`. Names are case-sensitive (§3.2).
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Tag<'a>> {
        self.0.iter().find(|tag| tag.name == name)
    }

    /// The value of the tag called `name`.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&'a str> {
        self.get(name).map(|tag| tag.value)
    }

    /// The tags in the order of the text.
    pub fn iter(&self) -> impl Iterator<Item = &Tag<'a>> {
        self.0.iter()
    }
}

/// The tags of a list one by one. That no name is there twice is left to whoever takes them.
pub(crate) struct Tags<'a> {
    list: &'a str,
    /// Whether no octet of the list is forbidden in a value, so that no value has to be looked at.
    is_clean: bool,
    /// Where the next tag starts; none behind the last one.
    next: Option<usize>,
    count: usize,
}

impl<'a> Tags<'a> {
    /// Checks what concerns the list as a whole.
    pub(crate) fn of(octets: &'a [u8]) -> Result<Self, TagListError> {
        let text = str::from_utf8(octets).map_err(|_| TagListError::NotUtf8)?;
        check_folding(octets)?;

        // §3.2 allows one semicolon behind the last tag. Senders put white space after it too, for which
        // the grammar has no place; we take that. Without the semicolon the white space belongs to the
        // last tag.
        let list = text.trim_end_matches(is_fws).strip_suffix(';').unwrap_or(text);
        Ok(Self { list, is_clean: are_value_octets(list), next: Some(0), count: 0 })
    }
}

impl<'a> Iterator for Tags<'a> {
    type Item = Result<Tag<'a>, TagListError>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.next?;
        let rest = self.list.get(start..).unwrap_or_default();
        let semicolon = memchr(b';', rest.as_bytes());
        let spec = semicolon.and_then(|at| rest.get(..at)).unwrap_or(rest);
        self.next = semicolon.map(|_| start + spec.len() + 1);
        let tag = Tag::parse(spec, start, self.is_clean);
        self.count += 1;
        if tag.is_ok() && self.count > MAX_TAGS {
            return Some(Err(TagListError::TooManyTags));
        }
        Some(tag)
    }
}

/// One tag of a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tag<'a> {
    /// The name, such as `bh`.
    pub name: &'a str,
    /// The value, without outer and with inner white space.
    pub value: &'a str,
    /// Where the value stands in the text, as octets: all between the equals sign and the semicolon or
    /// the end, with its outer white space. This is what is cut out of `b=` before hashing (§3.7).
    pub span: Range<usize>,
}

impl<'a> Tag<'a> {
    fn parse(spec: &'a str, start: usize, is_clean: bool) -> Result<Self, TagListError> {
        // It comes so soon that a loop is faster than a call.
        let equals = spec.bytes().position(|octet| octet == b'=');
        let equals = equals.ok_or(TagListError::NoEqualsSign)?;
        let span = start + equals + 1..start + spec.len();
        let name = spec.get(..equals).map(trim_fws).unwrap_or_default();
        let value = spec.get(equals + 1..).map(trim_fws).unwrap_or_default();
        if !is_name(name) {
            return Err(TagListError::BadName);
        }
        if !is_clean && !are_value_octets(value) {
            return Err(TagListError::BadValue);
        }
        Ok(Self { name, value, span })
    }
}

/// Why a text is not a tag list. All of these are the fault of who wrote it.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum TagListError {
    /// Octets that are not UTF-8 (RFC 8616 §5 allows no more).
    #[error("the text is not UTF-8")]
    NotUtf8,
    /// A CR or LF that is not part of folding white space.
    #[error("a line break stands outside folding white space")]
    BadFolding,
    /// A name that is empty or has a forbidden character.
    #[error("a tag name is malformed")]
    BadName,
    /// A control character in a value.
    #[error("a tag value has a forbidden character")]
    BadValue,
    /// The same name twice, which makes the whole list invalid (§3.2).
    #[error("a tag stands there twice")]
    DuplicateName,
    /// A tag without `=`; also an empty tag or list.
    #[error("a tag is empty or has no equals sign")]
    NoEqualsSign,
    /// More than [`MAX_TAGS`] tags.
    #[error("there are more than {MAX_TAGS} tags")]
    TooManyTags,
}

impl TagListError {
    /// The error as a word for programs, which stays as it is once it was released.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotUtf8 => "not-utf8",
            Self::BadFolding => "bad-folding",
            Self::BadName => "bad-tag-name",
            Self::BadValue => "bad-tag-value",
            Self::DuplicateName => "duplicate-tag",
            Self::NoEqualsSign => "no-equals-sign",
            Self::TooManyTags => "too-many-tags",
        }
    }
}

/// Folding white space is CRLF followed by a space or tab (§2.8); no other CR or LF may occur.
fn check_folding(octets: &[u8]) -> Result<(), TagListError> {
    let mut rest = octets;
    while let Some(at) = memchr2(b'\r', b'\n', rest) {
        rest = match rest.get(at..) {
            Some([b'\r', b'\n', b' ' | b'\t', after @ ..]) => after,
            Some(_) | None => return Err(TagListError::BadFolding),
        };
    }
    Ok(())
}

/// A text without white space and folds at its ends. They are octets, which needs no characters.
pub(crate) fn trim_fws(text: &str) -> &str {
    let is_fws = |octet: &u8| is_fws(char::from(*octet));
    let octets = text.as_bytes();
    let Some(start) = octets.iter().position(|octet| !is_fws(octet)) else { return "" };
    let end = octets.iter().rposition(|octet| !is_fws(octet)).map_or(start, |last| last + 1);
    text.get(start..end).unwrap_or_default()
}

/// Says whether a character is white space or part of a fold.
fn is_fws(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_')
}

fn are_value_octets(text: &str) -> bool {
    // Without an early exit the compiler looks at many octets at once.
    text.bytes().fold(true, |good, octet| good & is_value_octet(octet))
}

/// VALCHAR of §3.2, folding white space, and the octets of what RFC 8616 §5 adds. The semicolon is
/// taken too, which never is inside a value but between values of a list.
fn is_value_octet(octet: u8) -> bool {
    (octet >= b' ' && octet != 0x7F) | (octet == b'\t') | (octet == b'\r') | (octet == b'\n')
}

/// The largest number of tags in a list: several times the number of registered tags. No official
/// reference; it bounds the work for one field.
pub const MAX_TAGS: usize = 64;

/// Room for the tags of most lists.
const TYPICAL_TAGS: usize = 12;

#[cfg(test)]
mod tests {
    use super::TagListError::*;
    use super::*;

    #[test]
    fn keeps_order_inner_white_space_and_place() {
        let text = b" v=1;\r\n\tbh = MTIz\r\n NDU2 ; b=";
        let list = TagList::parse(text).unwrap();

        let tags: Vec<_> = list.iter().map(|tag| (tag.name, tag.value)).collect();
        assert_eq!(tags, [("v", "1"), ("bh", "MTIz\r\n NDU2"), ("b", "")]);
        let spans: Vec<_> = list.iter().map(|tag| &text[tag.span.clone()]).collect();
        assert_eq!(spans, [&b"1"[..], b" MTIz\r\n NDU2 ", b""]);
    }

    #[test]
    fn white_space_round_the_last_value_is_part_of_its_place() {
        for (text, want) in
            [(&b"b=a \r\n "[..], &b"a \r\n "[..]), (b"b= a ; ", b" a "), (b"b=;", b"")]
        {
            let list = TagList::parse(text).unwrap();
            assert_eq!(&text[list.get("b").unwrap().span.clone()], want);
        }
    }

    #[test]
    fn accepts_what_senders_write() {
        for text in
            ["v=1", "v=1;", "v=1; ", "v=1;\r\n ", "v=1; V=2", "d=例え.example", "v=", "v= ;"]
        {
            assert!(TagList::parse(text.as_bytes()).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn rejects_what_the_grammar_forbids() {
        let cases: [(&[u8], _); 23] = [
            (b"", NoEqualsSign),
            (b" ", NoEqualsSign),
            (b";", NoEqualsSign),
            (b"v", NoEqualsSign),
            (b"v=1;;", NoEqualsSign),
            (b"v=1; ;", NoEqualsSign),
            (b"v=1;;d=a", NoEqualsSign),
            (b";v=1", NoEqualsSign),
            (b"=1", BadName),
            (b"1v=1", BadName),
            (b"v w=1", BadName),
            ("ä=1".as_bytes(), BadName),
            (b"v=\x07", BadValue),
            (b"v=\x7f", BadValue),
            (b"v=1; v=1", DuplicateName),
            // What comes first counts, and a good value is good beside a bad one.
            (b"v=1; x; y=\x07", NoEqualsSign),
            (b"v=1; v=1; y=\x07", DuplicateName),
            (b"v=1; y=\x07", BadValue),
            (b"v=1\r\n", BadFolding),
            (b"v=1;\nd=a", BadFolding),
            (b"v=1;\r d=a", BadFolding),
            (b"v=1;\r\nd=a", BadFolding),
            (b"v=\xff", NotUtf8),
        ];
        for (text, want) in cases {
            assert_eq!(TagList::parse(text), Err(want), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn bounds_the_number_of_tags() {
        let list = |n: usize| (0..n).map(|i| format!("t{i}=;")).collect::<String>();

        assert!(TagList::parse(list(MAX_TAGS).as_bytes()).is_ok());
        assert_eq!(TagList::parse(list(MAX_TAGS + 1).as_bytes()), Err(TooManyTags));
    }
}

//! The words and texts of the field: what can stand in one of its places and never in two.
//!
//! [`Keyword`] is what needs no quotes, [`Text`] is what can be put between quotes. No text has a line
//! end or another control character, since nothing quotes those (RFC 5322 §3.2.4).

use std::borrow::Cow;
use std::fmt;

use thiserror::Error;

/// The name of a method, result, `ptype` or property: ASCII letters, digits, `-` and `_`.
///
/// RFC 8601 §2.2 takes its keywords from RFC 5321 §4.1.2, which has no underscore; receivers write it.
/// Equality ignores ASCII case; the text is kept as it was written.
#[derive(Clone)]
pub struct Keyword<'a>(Cow<'a, str>);

impl<'a> Keyword<'a> {
    /// Takes a text of up to [`MAX_KEYWORD_LEN`] octets as a keyword.
    pub fn new(text: impl Into<Cow<'a, str>>) -> Result<Self, KeywordError> {
        let text = text.into();
        if is_keyword(text.as_bytes()) { Ok(Self(text)) } else { Err(KeywordError) }
    }

    /// The keyword as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Keyword<'static> {
    /// A keyword that stands in the program.
    ///
    /// # Panics
    ///
    /// If `text` is no keyword. Meant for constants, where this happens when it is compiled.
    #[must_use]
    pub const fn literal(text: &'static str) -> Self {
        assert!(is_keyword(text.as_bytes()), "a keyword is letters, digits, hyphen, underscore");
        Self(Cow::Borrowed(text))
    }
}

impl PartialEq for Keyword<'_> {
    fn eq(&self, other: &Self) -> bool {
        *self == *other.as_str()
    }
}

impl Eq for Keyword<'_> {}

impl PartialEq<str> for Keyword<'_> {
    fn eq(&self, other: &str) -> bool {
        self.0.eq_ignore_ascii_case(other)
    }
}

impl fmt::Debug for Keyword<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Keyword<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A text that is no keyword.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error(
    "a keyword is 1 to {MAX_KEYWORD_LEN} letters, digits, hyphens and underscores, and begins with \
     a letter or digit"
)]
pub struct KeywordError;

/// A value: any text without control characters other than the tab, of up to [`MAX_TEXT_LEN`] octets
/// in quoted form.
///
/// Quotes and backslashes in it are written with a backslash, as RFC 5322 §3.2.4 has it. Some readers of
/// the field do not know that; where the encoding of a value leaves a choice, better do without them.
#[derive(Clone, Eq, PartialEq)]
pub struct Text<'a>(Cow<'a, str>);

impl<'a> Text<'a> {
    /// Takes ASCII text, which may go into any message.
    pub fn new(text: impl Into<Cow<'a, str>>) -> Result<Self, TextError> {
        let text = text.into();
        if text.is_ascii() { Self::international(text) } else { Err(TextError::NotAscii) }
    }

    /// Takes text with characters beyond ASCII too. Only internationalised messages, those of
    /// SMTPUTF8, may have them in a field (RFC 6532 §3).
    pub fn international(text: impl Into<Cow<'a, str>>) -> Result<Self, TextError> {
        let text = text.into();
        if text.chars().any(|c| c.is_control() && c != '\t') {
            return Err(TextError::ControlCharacter);
        }
        if text.len() + text.bytes().filter(|octet| needs_backslash(*octet)).count() > MAX_TEXT_LEN
        {
            return Err(TextError::TooLong);
        }
        Ok(Self(text))
    }

    /// The text, without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Appends the text as a `pvalue` of RFC 8601 §2.2: bare where the grammar allows it, else quoted.
    pub(super) fn write(&self, to: &mut String) {
        if is_token(&self.0) || is_bare_address(&self.0) {
            to.push_str(&self.0);
        } else {
            self.write_quoted(to);
        }
    }

    /// Appends the text as a `value` of RFC 8601 §2.2, which may be a token, but no bare address.
    pub(super) fn write_value(&self, to: &mut String) {
        if is_token(&self.0) {
            to.push_str(&self.0);
        } else {
            self.write_quoted(to);
        }
    }

    fn write_quoted(&self, to: &mut String) {
        to.push('"');
        for c in self.0.chars() {
            if u8::try_from(c).is_ok_and(needs_backslash) {
                to.push('\\');
            }
            to.push(c);
        }
        to.push('"');
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The name of the server that a field speaks for, `authserv-id` (RFC 8601 §2.5).
///
/// Equality ignores ASCII case, so that nobody gets by with another spelling.
#[derive(Clone)]
pub struct AuthservId<'a>(Text<'a>);

impl<'a> AuthservId<'a> {
    /// Takes an ASCII text that is not empty. It is usually a host name.
    pub fn new(text: impl Into<Cow<'a, str>>) -> Result<Self, TextError> {
        Self::from_text(Text::new(text)?).ok_or(TextError::Empty)
    }

    pub(super) fn from_text(text: Text<'a>) -> Option<Self> {
        (!text.0.is_empty()).then_some(Self(text))
    }

    /// The name, without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub(super) fn text(&self) -> &Text<'a> {
        &self.0
    }
}

impl PartialEq for AuthservId<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_str().eq_ignore_ascii_case(other.as_str())
    }
}

impl Eq for AuthservId<'_> {}

impl fmt::Debug for AuthservId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for AuthservId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a text cannot stand in an Authentication-Results field.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum TextError {
    /// The name of a server is empty.
    #[error("the name of the server is empty")]
    Empty,
    /// A line end, a NUL, or the like.
    #[error("the text has a control character")]
    ControlCharacter,
    /// A character beyond ASCII, for a message that may not have any.
    #[error("the text has a character beyond ASCII")]
    NotAscii,
    /// More than [`MAX_TEXT_LEN`] octets in quoted form.
    #[error("the text is longer than {MAX_TEXT_LEN} octets in quoted form")]
    TooLong,
}

pub(super) const fn is_keyword_octet(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_')
}

const fn is_keyword(text: &[u8]) -> bool {
    let [first, ..] = text else { return false };
    let mut rest = text;
    while let [octet, tail @ ..] = rest {
        if !is_keyword_octet(*octet) {
            return false;
        }
        rest = tail;
    }
    first.is_ascii_alphanumeric() && text.len() <= MAX_KEYWORD_LEN
}

/// Says whether a text is a token of RFC 2045 §5.1.
fn is_token(text: &str) -> bool {
    let is_special = |octet| b"()<>@,;:\\\"/[]?=".contains(&octet);
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_graphic() && !is_special(octet))
}

/// Says whether a text is `[[local-part] "@"] domain-name` with nothing in it that needs quotes
/// anywhere: a dot-atom in front of the sign, a name of ASCII letters, digits, `-` and `_` behind it.
fn is_bare_address(text: &str) -> bool {
    let Some((local_part, domain)) = text.split_once('@') else { return false };
    let is_atom = |atom: &str| {
        let mut octets = atom.bytes();
        !atom.is_empty()
            && octets.all(|o| o.is_ascii_alphanumeric() || b"!#$%&'*+-^_`{|}~".contains(&o))
    };
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(is_keyword_octet);
    (local_part.is_empty() || local_part.split('.').all(is_atom)) && domain.split('.').all(is_label)
}

const fn needs_backslash(octet: u8) -> bool {
    matches!(octet, b'"' | b'\\')
}

/// The longest keyword, in octets. No official reference; it keeps lines under 998 octets.
pub const MAX_KEYWORD_LEN: usize = 64;

/// The longest text between its quotes, in octets. Together with two keywords it stays on a line of 998
/// octets (RFC 5322 §2.1.1), and the longest path of RFC 5321 §4.5.3.1.3 has room.
pub const MAX_TEXT_LEN: usize = 800;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bare_where_the_grammar_allows_it_and_quoted_elsewhere() {
        let cases = [
            ("example.com", "example.com"),
            ("a_b-c.example", "a_b-c.example"),
            ("@example.com", "@example.com"),
            ("a.b+c@example.com", "a.b+c@example.com"),
            ("+AbC9", "+AbC9"),
            ("", r#""""#),
            ("AbC/9", r#""AbC/9""#),
            ("AbC=", r#""AbC=""#),
            ("a=b@example.com", r#""a=b@example.com""#),
            ("a..b@example.com", r#""a..b@example.com""#),
            ("a@b@example.com", r#""a@b@example.com""#),
            ("a@", r#""a@""#),
            ("a@(b)", r#""a@(b)""#),
            ("a;dkim=pass", r#""a;dkim=pass""#),
            ("two words", r#""two words""#),
            (r#"a"b\c"#, r#""a\"b\\c""#),
            ("2001:db8::1", r#""2001:db8::1""#),
            ("ü", "\"ü\""),
        ];
        for (text, want) in cases {
            let mut written = String::new();
            Text::international(text).unwrap().write(&mut written);
            assert_eq!(written, want, "{text:?}");
        }
        let mut written = String::new();
        Text::new("a@example.com").unwrap().write_value(&mut written);
        assert_eq!(written, r#""a@example.com""#);
    }

    #[test]
    fn names_are_shown_as_they_were_written_and_compared_in_any_case() {
        let keyword = Keyword::new("Dkim-X").unwrap();
        assert_eq!(format!("{keyword} {keyword:?}"), r#"Dkim-X "Dkim-X""#);
        assert!(keyword == Keyword::literal("dkim-x") && keyword == *"DKIM-x");
        assert!(keyword != Keyword::literal("dkim-y") && keyword != *"dkim");
        let server = AuthservId::new("MX.example").unwrap();
        assert_eq!(format!("{server} {server:>11?}"), r#"MX.example "MX.example""#);
        assert!(server == AuthservId::new("mx.EXAMPLE").unwrap());
        assert!(server != AuthservId::new("my.example").unwrap());
    }

    #[test]
    fn refuses_what_nothing_quotes() {
        for c in ['\0', '\r', '\n', '\u{1b}', '\u{7f}', '\u{85}'] {
            let text = format!("a{c}b");
            assert_eq!(Text::international(text), Err(TextError::ControlCharacter), "{c:?}");
        }
        assert_eq!(Text::new("ü"), Err(TextError::NotAscii));
        assert!(Text::new("a".repeat(MAX_TEXT_LEN)).is_ok());
        assert_eq!(Text::new("a".repeat(MAX_TEXT_LEN + 1)), Err(TextError::TooLong));
        assert_eq!(Text::new("\"".repeat(MAX_TEXT_LEN / 2 + 1)), Err(TextError::TooLong));
        assert_eq!(AuthservId::new(""), Err(TextError::Empty));
        assert_eq!(AuthservId::new("MX.example"), AuthservId::new("mx.EXAMPLE"));
        for bad in ["", "a b", "a.b", "a=b", "a;b", "-a", "ü", "a\n", &"a".repeat(65)] {
            assert_eq!(Keyword::new(bad), Err(KeywordError), "{bad:?}");
        }
        assert_eq!(Keyword::new("perm_fail").unwrap(), Keyword::literal("Perm_Fail"));
    }
}

//! Reads the field (RFC 8601 §2.2), with the liberties that providers take.
//!
//! The value is cut at the semicolons outside quotes and comments, and each piece is read for itself.
//! What is allowed beyond the grammar: no name of the server (Microsoft), properties without a `ptype`
//! (`action=none`, `x-bits=2048`), unquoted values with any characters that quotes and comments do not
//! need (`a=b@example.com`, `AbC/9`, `2001:db8::1`), a last value that is missing, empty pieces, words
//! with an underscore, line ends without CR in front of white space.
//!
//! What is not guessed: a piece with a stray word, quote, parenthesis or control character, or with a
//! comment that touches an unquoted value. Such comments and quotes are what comes of a sender's octets
//! that a receiver wrote down as they were (CVE-2020-12272). The piece is kept as it stands in
//! [`AuthenticationResults::not_understood`]. Where a quote or comment does not end, nobody can say
//! where the piece does, so the rest of the field goes with it.
//!
//! The work is linear in the length, which is bounded, and nothing calls itself.

use std::borrow::Cow;

use memchr::memchr2;
use thiserror::Error;

use super::text::{AuthservId, Keyword, Text, is_keyword_octet};
use super::{MAX_LEN, MAX_PROPERTIES, MAX_RESULTS, MethodResult, Property};

/// An Authentication-Results field that was read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuthenticationResults<'a> {
    authserv_id: Option<AuthservId<'a>>,
    version: Option<u32>,
    results: Vec<MethodResult<'a>>,
    not_understood: Vec<&'a [u8]>,
}

impl<'a> AuthenticationResults<'a> {
    /// Reads the value of an Authentication-Results field, as it stands after the colon.
    pub fn parse(value: &'a [u8]) -> Result<Self, AuthenticationResultsError> {
        if value.len() > MAX_LEN {
            return Err(AuthenticationResultsError::TooLong);
        }
        if value.trim_ascii().is_empty() {
            return Err(AuthenticationResultsError::Empty);
        }
        let mut this =
            Self { authserv_id: None, version: None, results: vec![], not_understood: vec![] };
        let mut none = None;
        for (place, piece) in Pieces::of(value).enumerate() {
            let octets = piece.octets().trim_ascii();
            let text = piece.text();
            if octets.is_empty() {
                continue;
            }
            if this.results.len() + this.not_understood.len() == MAX_RESULTS {
                return Err(AuthenticationResultsError::TooManyResults);
            }
            if let Some(result) = text.and_then(method_result) {
                this.results.push(result);
            } else if place == 0 {
                let left = text.map_or(Some(octets), |text| this.head(text));
                this.not_understood.extend(left);
            } else if text.is_some_and(is_none) && none.is_none() {
                none = Some(octets);
            } else {
                this.not_understood.push(octets);
            }
        }
        // `none` says that nothing was looked at, so beside results it says nothing.
        this.not_understood.extend(none.filter(|_| !this.results.is_empty()));
        Ok(this)
    }

    /// The server that the field speaks for; Microsoft's fields say none.
    #[must_use]
    pub fn authserv_id(&self) -> Option<&AuthservId<'a>> {
        self.authserv_id.as_ref()
    }

    /// The version of the field; 1 is meant without it.
    #[must_use]
    pub fn version(&self) -> Option<u32> {
        self.version
    }

    /// The results, in their order. Empty where the field says `none`.
    #[must_use]
    pub fn results(&self) -> &[MethodResult<'a>] {
        &self.results
    }

    /// The results of a method, in their order.
    pub fn of_method(&self, method: &str) -> impl Iterator<Item = &MethodResult<'a>> {
        self.results.iter().filter(move |result| result.method == *method)
    }

    /// The pieces of the field of which nothing was made, as they stand there.
    #[must_use]
    pub fn not_understood(&self) -> &[&'a [u8]] {
        &self.not_understood
    }

    /// Reads the first piece, which is no result. Gives the part that is not understood.
    fn head(&mut self, text: &'a str) -> Option<&'a [u8]> {
        let whole = Some(text.trim_ascii().as_bytes());
        let mut scanner = Scanner::new(text);
        let Some((authserv_id, version)) = scanner.head() else { return whole };
        (self.authserv_id, self.version) = (Some(authserv_id), version);
        let rest = scanner.rest.trim_ascii().as_bytes();
        (!rest.is_empty()).then_some(rest)
    }
}

/// Why a text is not read as an Authentication-Results field.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum AuthenticationResultsError {
    /// Nothing but white space.
    #[error("the field is empty")]
    Empty,
    /// More than [`MAX_LEN`] octets.
    #[error("the field is longer than {MAX_LEN} octets")]
    TooLong,
    /// More than [`MAX_RESULTS`].
    #[error("the field has more than {MAX_RESULTS} results")]
    TooManyResults,
}

/// The parts of a field between its semicolons.
struct Pieces<'a> {
    rest: Option<&'a [u8]>,
}

enum Piece<'a> {
    Whole(&'a [u8]),
    /// A quoted string or comment in it does not end, or is too deep.
    Unended(&'a [u8]),
}

impl<'a> Pieces<'a> {
    fn of(value: &'a [u8]) -> Self {
        Self { rest: Some(value) }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let octets = self.rest.take()?;
        let (mut is_quoted, mut is_escaped, mut depth) = (false, false, 0_usize);
        for (at, octet) in octets.iter().enumerate() {
            if is_escaped {
                is_escaped = false;
                continue;
            }
            match octet {
                b'\\' => is_escaped = is_quoted || depth > 0,
                b'"' if depth == 0 => is_quoted = !is_quoted,
                b'(' if !is_quoted && depth == MAX_COMMENT_DEPTH => {
                    return Some(Piece::Unended(octets));
                }
                b'(' if !is_quoted => depth += 1,
                b')' if !is_quoted => depth = depth.saturating_sub(1),
                b';' if !is_quoted && depth == 0 => {
                    self.rest = octets.get(at + 1..);
                    return Some(Piece::Whole(octets.get(..at).unwrap_or_default()));
                }
                _ => {}
            }
        }
        let is_ended = !is_quoted && depth == 0;
        Some(if is_ended { Piece::Whole(octets) } else { Piece::Unended(octets) })
    }
}

impl<'a> Piece<'a> {
    fn octets(&self) -> &'a [u8] {
        match self {
            Self::Whole(octets) | Self::Unended(octets) => octets,
        }
    }

    /// The piece, if it is whole and is text in which line ends are folds and nothing else is a control
    /// character.
    fn text(&self) -> Option<&'a str> {
        let Self::Whole(octets) = self else { return None };
        let text = str::from_utf8(octets.trim_ascii()).ok()?;
        let mut rest = text.as_bytes();
        while let Some(at) = memchr2(b'\r', b'\n', rest) {
            let end = rest.get(at..)?;
            let after = end.strip_prefix(b"\r\n").or_else(|| end.strip_prefix(b"\n"))?;
            if !after.starts_with(b" ") && !after.starts_with(b"\t") {
                return None;
            }
            rest = after;
        }
        let is_control = |c: char| c.is_control() && !is_space(c);
        (!text.contains(is_control)).then_some(text)
    }
}

/// Reads `method=result` and all that belongs to it. None if a part of it is not understood.
fn method_result(text: &str) -> Option<MethodResult<'_>> {
    let mut scanner = Scanner::new(text);
    scanner.gap()?;
    let method = scanner.keyword()?;
    scanner.gap()?;
    let mut version = None;
    if scanner.take('/') {
        scanner.gap()?;
        version = Some(scanner.number()?);
        scanner.gap()?;
    }
    scanner.take('=').then_some(())?;
    scanner.gap()?;
    let mut result = MethodResult::new(method, scanner.keyword()?);
    result.version = version;
    while let (has_gap, true) = (scanner.gap()?, !scanner.rest.is_empty()) {
        if has_gap == Gap::No || result.properties.len() == MAX_PROPERTIES {
            return None;
        }
        let first = scanner.keyword()?;
        scanner.gap()?;
        let (kind, name) = if scanner.take('.') {
            scanner.gap()?;
            (Some(first), scanner.keyword()?)
        } else {
            (None, first)
        };
        scanner.gap()?;
        scanner.take('=').then_some(())?;
        let value = scanner.value()?;
        if kind.is_none() && name == *"reason" {
            // Of two reasons one would have to be guessed.
            result.reason.is_none().then_some(())?;
            result.reason = Some(value);
        } else {
            result.properties.push(Property { kind, name, value });
        }
    }
    result.comments = scanner.comments;
    Some(result)
}

fn is_none(text: &str) -> bool {
    let mut scanner = Scanner::new(text);
    let mut read = || {
        scanner.gap()?;
        let word = scanner.keyword()?;
        scanner.gap()?;
        Some(word == *"none" && scanner.rest.is_empty())
    };
    read().unwrap_or(false)
}

/// Reads a piece from left to right. All its methods give None where the text is not what they read.
struct Scanner<'a> {
    rest: &'a str,
    comments: Vec<Cow<'a, str>>,
}

/// Whether there was white space or a comment.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Gap {
    Yes,
    No,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Self {
        Self { rest: text, comments: Vec::new() }
    }

    fn take(&mut self, c: char) -> bool {
        let after = self.rest.strip_prefix(c);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    /// Takes the first `len` octets.
    fn split(&mut self, len: usize) -> Option<&'a str> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    /// Skips white space and keeps comments.
    fn gap(&mut self) -> Option<Gap> {
        let before = self.rest.len();
        loop {
            self.rest = self.rest.trim_start_matches(is_space);
            if !self.rest.starts_with('(') {
                break;
            }
            if self.comments.len() == MAX_COMMENTS {
                return None;
            }
            let len = comment_len(self.rest)?;
            let comment = self.split(len)?;
            self.comments.push(comment_text(comment.get(1..len - 1)?));
        }
        Some(if self.rest.len() < before { Gap::Yes } else { Gap::No })
    }

    fn keyword(&mut self) -> Option<Keyword<'a>> {
        let len = self.rest.bytes().take_while(|octet| is_keyword_octet(*octet)).count();
        Keyword::new(self.split(len)?).ok()
    }

    fn number(&mut self) -> Option<u32> {
        let len = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        self.split(len)?.parse().ok()
    }

    /// Says whether a word ends here, and no comment touches it.
    fn is_at_end_of_word(&self) -> bool {
        self.rest.is_empty() || self.rest.starts_with(is_space)
    }

    /// The name of the server, and the version of the field.
    fn head(&mut self) -> Option<(AuthservId<'a>, Option<u32>)> {
        self.gap()?;
        let id = if self.rest.starts_with('"') {
            Text::international(unquoted(self.quoted()?)).ok()?
        } else {
            let len = self.bare_len();
            let id = self.split(len).filter(|id| !id.contains('='))?;
            Text::international(id).ok()?
        };
        let id = AuthservId::from_text(id)?;
        // What is left stands apart from the name, or the name is not whole.
        if self.gap()? == Gap::No && !self.rest.is_empty() || self.rest.starts_with('=') {
            return None;
        }
        let before = self.rest;
        let version = self.number();
        match (version, self.gap()) {
            (Some(_), Some(Gap::Yes)) => Some((id, version)),
            (Some(_), _) if self.rest.is_empty() => Some((id, version)),
            (_, _) => {
                self.rest = before;
                Some((id, None))
            }
        }
    }

    /// A value, after its equals sign.
    fn value(&mut self) -> Option<Text<'a>> {
        let gap = self.gap()?;
        if self.rest.is_empty() {
            return Text::international("").ok();
        }
        if self.rest.starts_with('"') {
            let quoted = self.quoted()?;
            if !self.rest.starts_with('@') {
                return Text::international(unquoted(quoted)).ok();
            }
            // An address whose local part has quotes, which belong to it.
            let len = self.bare_len();
            let text = [&*unfolded(quoted), self.split(len)?].concat();
            return Text::international(text).ok().filter(|_| self.is_at_end_of_word());
        }
        let len = self.bare_len();
        let text = self.split(len)?;
        // `a= b=c` is an empty value and a property, or a value that stands apart.
        if text.is_empty() || (gap == Gap::Yes && text.contains('=')) || !self.is_at_end_of_word() {
            return None;
        }
        Text::international(text).ok()
    }

    /// The length of what can stand without quotes, if need be against the grammar.
    fn bare_len(&self) -> usize {
        let is_end = |c: char| is_space(c) || matches!(c, '"' | '\\' | '(' | ')');
        self.rest.find(is_end).unwrap_or(self.rest.len())
    }

    /// A quoted string, with its quotes.
    fn quoted(&mut self) -> Option<&'a str> {
        let mut is_escaped = false;
        let end = self.rest.bytes().skip(1).position(|octet| {
            let is_end = octet == b'"' && !is_escaped;
            is_escaped = octet == b'\\' && !is_escaped;
            is_end
        });
        self.split(end? + 2)
    }
}

/// The length of the comment that the text begins with.
fn comment_len(text: &str) -> Option<usize> {
    let (mut depth, mut is_escaped) = (0_usize, false);
    let end = text.bytes().position(|octet| {
        match octet {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    Some(end? + 1)
}

/// What a comment says: without its backslashes, each run of white space as one space.
fn comment_text(inside: &str) -> Cow<'_, str> {
    let inside = inside.trim_matches(is_space);
    let is_plain = |text: &str| !text.contains(['\\', '\t', '\r', '\n']) && !text.contains("  ");
    if is_plain(inside) {
        return Cow::Borrowed(inside);
    }
    let words: Vec<_> = inside.split(is_space).filter(|word| !word.is_empty()).collect();
    Cow::Owned(without_backslashes(&words.join(" ")))
}

/// What a quoted string stands for (RFC 5322 §3.2.4): no quotes, folds or backslashes.
fn unquoted(quoted: &str) -> Cow<'_, str> {
    let inside = quoted.get(1..quoted.len() - 1).unwrap_or_default();
    if inside.contains(['\\', '\r', '\n']) {
        Cow::Owned(without_backslashes(&unfolded(inside)))
    } else {
        Cow::Borrowed(inside)
    }
}

/// A text without the line ends of its folds.
fn unfolded(text: &str) -> Cow<'_, str> {
    if text.contains(['\r', '\n']) {
        Cow::Owned(text.replace(['\r', '\n'], ""))
    } else {
        Cow::Borrowed(text)
    }
}

fn without_backslashes(text: &str) -> String {
    let mut is_escaped = false;
    text.chars()
        .filter(|c| {
            is_escaped = *c == '\\' && !is_escaped;
            !is_escaped
        })
        .collect()
}

const fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// How deep comments may be nested. No official reference; real ones have two levels.
pub const MAX_COMMENT_DEPTH: usize = 8;

/// The most comments of a result. No official reference; real ones have one or two.
pub const MAX_COMMENTS: usize = 32;

//! The author's domain: what the From field says, if it says it in one way only.
//!
//! A tenant's signature rests on this one reading, so it has to be the reading of everyone else: of the
//! receiver, of its DMARC check, of the mail program. Parsers of addresses differ, and attackers live on
//! the difference (a quoted local part with an `@` in it, a source route, a comment with an address).
//! This parser therefore takes less than RFC 5322 §3.4 allows:
//!
//! - one From field, its name directly in front of the colon
//! - mailboxes separated by commas; no groups (RFC 6854), no routes, no empty places
//! - an address is `local@domain` without space or comment inside; the local part has no `%`, `!` or
//!   encoded word, and in quotes nothing that would need them but dots
//! - outside quotes and addresses no `@`, `:`, `;`, `<`, `>`, and no comma but between mailboxes;
//!   comments hold no address
//!
//! and in display names it takes more, since real mail has it: 8-bit text in any charset, dots, brackets,
//! apostrophes. What is in quotes and encoded words is text and is never looked into for an address.
//!
//! Domains become A-labels in lower case. A U-label has to be in the form that its A-label decodes to:
//! what UTS 46 would map (full-width letters, ideographic dots, soft hyphens) others may read otherwise.
//!
//! One pass, no recursion. Limits: [`MAX_FROM_LEN`], [`MAX_MAILBOXES`], [`MAX_LOCAL_PART_LEN`],
//! [`MAX_COMMENT_DEPTH`].

use postseal_dkim::{DomainName, Field, FieldName, Header};
use thiserror::Error;

/// Who wrote the message, as far as domains go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Author {
    domains: Vec<DomainName>,
    mailboxes: usize,
}

impl Author {
    /// Reads the From field of a header section.
    pub fn read(header: &Header<'_>) -> Result<Self, BadFrom> {
        Self::parse(single_from(header)?.value())
    }

    /// Reads the value of a From field, folded as it came.
    pub fn parse(value: &[u8]) -> Result<Self, BadFrom> {
        check_octets(value)?;
        let mut cursor = Cursor { rest: value };
        let mut author = Self { domains: Vec::with_capacity(1), mailboxes: 0 };
        loop {
            if author.mailboxes == MAX_MAILBOXES {
                return Err(BadFrom::TooManyMailboxes);
            }
            let domain = cursor.mailbox()?;
            author.mailboxes += 1;
            // MAX_MAILBOXES bounds this search.
            if !author.domains.contains(&domain) {
                author.domains.push(domain);
            }
            if cursor.take().is_none() {
                return Ok(author);
            }
            // What ended the mailbox was a comma, and one more has to follow.
        }
    }

    /// The domain that all mailboxes share; none if there are several.
    #[must_use]
    pub fn domain(&self) -> Option<&DomainName> {
        match self.domains.as_slice() {
            [domain] => Some(domain),
            _ => None,
        }
    }

    /// The different domains, in the order in which they appear. Never empty.
    #[must_use]
    pub fn domains(&self) -> &[DomainName] {
        &self.domains
    }

    /// The number of mailboxes, at least one.
    #[must_use]
    pub fn mailboxes(&self) -> usize {
        self.mailboxes
    }
}

/// Why a From field is not read. All of these are the sender's fault.
#[derive(Clone, Copy, Debug, Eq, Error, Hash, PartialEq)]
#[non_exhaustive]
pub enum BadFrom {
    /// No field of that name (RFC 5322 §3.6 requires one).
    #[error("the message has no From field")]
    Missing,
    /// More than one (RFC 5322 §3.6 allows one).
    #[error("the message has more than one From field")]
    Repeated,
    /// A name that only some read as From: a space before the colon, a control character in it.
    #[error("a From field has something other than its name in front of the colon")]
    OddName,
    /// A bare CR or LF in the header with a From field after it, for those who take it as a line end.
    #[error("a From field is hidden behind a bare CR or LF")]
    Hidden,
    /// More than [`MAX_FROM_LEN`] octets.
    #[error("the From field is longer than {MAX_FROM_LEN} octets")]
    TooLong,
    /// A control character, or a line separator of Unicode.
    #[error("the From field has a control character")]
    Control,
    /// A CR or LF that is not part of folding.
    #[error("the From field has a line break that is not folding")]
    LineBreak,
    /// A folded line of nothing but white space, where some end the header section.
    #[error("the From field has a folded line that is empty")]
    EmptyLine,
    /// A quote that is not closed.
    #[error("the From field has an unbalanced quote")]
    Quote,
    /// A quoted string with an escaped quote and something that looks like an address.
    #[error(
        "the From field has an escaped quote beside an @ or angle bracket in one quoted string"
    )]
    EscapedQuote,
    /// A comment that is not closed, or a closing parenthesis alone, or an odd quote in a comment.
    #[error("the From field has an unbalanced parenthesis or a quote in a comment")]
    Comment,
    /// Comments in comments beyond [`MAX_COMMENT_DEPTH`].
    #[error("the From field has comments nested more than {MAX_COMMENT_DEPTH} deep")]
    CommentDepth,
    /// A comment with `@`, `<` or `>` in it.
    #[error("the From field has an @ or angle bracket in a comment")]
    CommentAddress,
    /// A backslash outside quotes that escapes something.
    #[error("the From field has a backslash outside quotes")]
    Backslash,
    /// A colon outside quotes: a group, a route, or a display name that needs quotes.
    #[error("the From field has a colon outside quotes; groups and routes are not taken")]
    Colon,
    /// A semicolon outside quotes.
    #[error("the From field has a semicolon outside quotes; only commas separate mailboxes")]
    Semicolon,
    /// An `@` in a display name without quotes.
    #[error("the From field has an @ in a display name without quotes")]
    AtInName,
    /// Square brackets or a backslash outside quotes, and what looks like an address in quotes.
    #[error(
        "the From field has a square bracket or backslash outside quotes, and an @ or angle bracket \
         in quotes"
    )]
    Brackets,
    /// Angle brackets that do not enclose one address at the end of a mailbox.
    #[error("the From field has angle brackets that do not enclose one address")]
    Angle,
    /// Nothing between two commas, or at an end.
    #[error("the From field has an empty place in its list of mailboxes")]
    EmptyPlace,
    /// A mailbox without an address.
    #[error("the From field has a mailbox without an address")]
    NoAddress,
    /// Space or a comment inside an address, or text beside it.
    #[error("the From field has space, text or a comment inside or beside an address")]
    Space,
    /// More than one `@` in an address.
    #[error("the From field has an address with more than one @")]
    TwoAts,
    /// A source route (RFC 5322 §4.4).
    #[error("the From field has an address with a source route")]
    Route,
    /// A local part that is empty, too long, or has characters on which readers differ.
    #[error("the From field has an address whose local part cannot be read in one way only")]
    LocalPart,
    /// An address literal in place of a domain.
    #[error("the From field has an address literal in place of a domain")]
    DomainLiteral,
    /// A domain that is none, or can be read in more than one way.
    #[error("the From field has an address without a valid domain")]
    Domain,
    /// More than [`MAX_MAILBOXES`] mailboxes.
    #[error("the From field has more than {MAX_MAILBOXES} mailboxes")]
    TooManyMailboxes,
}

/// The From field, if there is exactly one for every reader.
fn single_from<'a>(header: &Header<'a>) -> Result<Field<'a>, BadFrom> {
    let mut found = None;
    for field in header.fields() {
        if hides_from(field.raw()) {
            return Err(BadFrom::Hidden);
        }
        if field.is_named(&FieldName::FROM) {
            if field.raw().get(FieldName::FROM.as_str().len()) != Some(&b':') {
                return Err(BadFrom::OddName);
            }
            if found.replace(field).is_some() {
                return Err(BadFrom::Repeated);
            }
        } else if field.name().is_empty() && begins_like_from(field.raw()) {
            return Err(BadFrom::OddName);
        }
    }
    found.ok_or(BadFrom::Missing)
}

/// Says whether a line would be a From field for a reader who drops what no field name can have.
fn begins_like_from(line: &[u8]) -> bool {
    let mut name = line.iter().filter(|octet| octet.is_ascii_graphic());
    b"from:".iter().all(|want| name.next().is_some_and(|octet| octet.eq_ignore_ascii_case(want)))
}

/// Says whether a From field begins behind a bare CR or LF, for a reader who ends lines there.
///
/// One pass, whatever the octets are: behind breaks with nothing but odd octets between them, the same name
/// begins, and it is looked at once.
fn hides_from(field: &[u8]) -> bool {
    let field = field.strip_suffix(b"\r\n").unwrap_or(field);
    let mut looked_to = 0;
    memchr::memchr2_iter(b'\r', b'\n', field).any(|at| {
        let after = field.get(at + 1..).unwrap_or_default();
        if at < looked_to {
            return false;
        }
        // In CRLF the CR ends nothing by itself. What follows the LF is folding, which begins with
        // white space; where the LF is bare, white space folds for the lenient as well.
        let ends_line =
            !after.starts_with(b"\n") && !after.starts_with(b" ") && !after.starts_with(b"\t");
        if !ends_line {
            return false;
        }
        looked_to = at + 1 + after.iter().take_while(|octet| !octet.is_ascii_graphic()).count();
        begins_like_from(after)
    })
}

/// Refuses what may stand nowhere in the field: control characters, and line breaks but folding.
fn check_octets(value: &[u8]) -> Result<(), BadFrom> {
    if value.len() > MAX_FROM_LEN {
        return Err(BadFrom::TooLong);
    }
    let mut rest = value;
    // The first line begins with the name of the field and is never an empty one.
    let mut line_is_empty = false;
    loop {
        rest = match rest {
            [] if line_is_empty => return Err(BadFrom::EmptyLine),
            [] => return Ok(()),
            [b'\r', b'\n', b' ' | b'\t', ..] if line_is_empty => return Err(BadFrom::EmptyLine),
            [b'\r', b'\n', b' ' | b'\t', after @ ..] => {
                line_is_empty = true;
                after
            }
            [b'\r' | b'\n', ..] => return Err(BadFrom::LineBreak),
            [b' ' | b'\t', after @ ..] => after,
            // NEL, LINE SEPARATOR and PARAGRAPH SEPARATOR: line ends for whoever reads Unicode.
            [0xC2, 0x85, ..] | [0xE2, 0x80, 0xA8 | 0xA9, ..] => return Err(BadFrom::Control),
            [octet, ..] if octet.is_ascii_control() => return Err(BadFrom::Control),
            [_, after @ ..] => {
                line_is_empty = false;
                after
            }
        };
    }
}

/// What stands in front of a `<`, or is itself an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Piece<'a> {
    /// White space or a comment.
    Space,
    /// The inside of a quoted string.
    Quoted(&'a [u8]),
    /// An `@`.
    At,
    /// A run of other characters.
    Text(&'a [u8]),
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Reads one mailbox, up to the end or the comma after it.
    fn mailbox(&mut self) -> Result<DomainName, BadFrom> {
        let mut pieces = Vec::with_capacity(TYPICAL_PIECES);
        loop {
            let piece = match self.peek() {
                None | Some(b',') => return bare_address(&pieces),
                Some(b'<') => {
                    check_display_name(&pieces)?;
                    return self.angle_address();
                }
                Some(b'(') => self.comment()?,
                Some(b'"') => Piece::Quoted(self.quoted()?),
                Some(b'@') => {
                    self.take();
                    Piece::At
                }
                Some(b')') => return Err(BadFrom::Comment),
                Some(b'>') => return Err(BadFrom::Angle),
                Some(b':') => return Err(BadFrom::Colon),
                Some(b';') => return Err(BadFrom::Semicolon),
                Some(octet) if is_space(octet) => {
                    self.take_while(is_space);
                    Piece::Space
                }
                Some(_) => Piece::Text(self.text()?),
            };
            // Two spaces in a row say no more than one, and keep the list short.
            if piece != Piece::Space || pieces.last() != Some(&Piece::Space) {
                pieces.push(piece);
            }
        }
    }

    /// Reads `<address>` and what may follow it.
    fn angle_address(&mut self) -> Result<DomainName, BadFrom> {
        self.take();
        self.take_while(is_space);
        let local = match self.peek() {
            Some(b'"') => Piece::Quoted(self.quoted()?),
            Some(b'@') => return Err(BadFrom::Route),
            Some(b'>') => return Err(BadFrom::NoAddress),
            Some(_) | None => Piece::Text(self.take_while(is_text)),
        };
        if self.peek() != Some(b'@') {
            return Err(match self.peek() {
                Some(b'>') => BadFrom::NoAddress,
                Some(b'<') | None => BadFrom::Angle,
                Some(b'(' | b')') => BadFrom::Space,
                Some(octet) if is_space(octet) => BadFrom::Space,
                Some(_) => BadFrom::LocalPart,
            });
        }
        self.take();
        let domain = self.take_while(is_text);
        self.take_while(is_space);
        match self.take() {
            Some(b'>') => {}
            Some(b'@') => return Err(BadFrom::TwoAts),
            Some(b',' | b':') => return Err(BadFrom::Route),
            Some(b'<') | None => return Err(BadFrom::Angle),
            Some(_) => return Err(BadFrom::Space),
        }
        let domain = address(local, domain)?;
        loop {
            match self.peek() {
                None | Some(b',') => return Ok(domain),
                Some(b'(') => {
                    self.comment()?;
                }
                Some(octet) if is_space(octet) => {
                    self.take();
                }
                Some(b';') => return Err(BadFrom::Semicolon),
                Some(b'<' | b'>') => return Err(BadFrom::Angle),
                Some(_) => return Err(BadFrom::Space),
            }
        }
    }

    /// Skips a comment (RFC 5322 §3.2.2) with those inside it.
    fn comment(&mut self) -> Result<Piece<'a>, BadFrom> {
        let mut depth = 0;
        let mut quotes = 0_usize;
        loop {
            match self.take() {
                Some(b'(') if depth == MAX_COMMENT_DEPTH => return Err(BadFrom::CommentDepth),
                Some(b'(') => depth += 1,
                Some(b')') => depth -= 1,
                Some(b'\\') => {
                    // The escaped character is part of the comment like any other.
                    if matches!(self.take(), None | Some(b'@' | b'<' | b'>' | b'"')) {
                        return Err(BadFrom::Comment);
                    }
                }
                Some(b'@' | b'<' | b'>') => return Err(BadFrom::CommentAddress),
                Some(b'"') => quotes += 1,
                Some(_) => {}
                None => return Err(BadFrom::Comment),
            }
            if depth == 0 {
                // A reader who looks for quotes first would go on behind the comment.
                return if quotes.is_multiple_of(2) {
                    Ok(Piece::Space)
                } else {
                    Err(BadFrom::Comment)
                };
            }
        }
    }

    /// Reads a quoted string (RFC 5322 §3.2.4) and gives what is between the quotes.
    fn quoted(&mut self) -> Result<&'a [u8], BadFrom> {
        self.take();
        let inside = self.rest;
        let (mut escaped_quote, mut address) = (false, false);
        loop {
            match self.take() {
                Some(b'"') => break,
                Some(b'\\') => match self.take() {
                    Some(b'"') => escaped_quote = true,
                    Some(octet) => address |= is_address_mark(octet),
                    None => return Err(BadFrom::Quote),
                },
                Some(octet) => address |= is_address_mark(octet),
                None => return Err(BadFrom::Quote),
            }
        }
        // A reader who does not know escapes ends the string at the escaped quote, and finds the
        // address outside.
        if escaped_quote && address {
            return Err(BadFrom::EscapedQuote);
        }
        let len = inside.len() - self.rest.len() - 1;
        Ok(inside.get(..len).unwrap_or_default())
    }

    /// Reads a run of characters that mean nothing by themselves.
    fn text(&mut self) -> Result<&'a [u8], BadFrom> {
        let text = self.take_while(is_text);
        // A backslash in front of a letter is found in names (`CORP\jane`); others may be escapes.
        let mut rest = text;
        while let Some(at) = memchr::memchr(b'\\', rest) {
            rest = rest.get(at + 1..).unwrap_or_default();
            if !rest.first().is_some_and(u8::is_ascii_alphanumeric) {
                return Err(BadFrom::Backslash);
            }
        }
        Ok(text)
    }

    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn take(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn take_while(&mut self, belongs: fn(u8) -> bool) -> &'a [u8] {
        let len = self.rest.iter().position(|octet| !belongs(*octet)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(len);
        self.rest = rest;
        taken
    }
}

/// Checks what stands in front of an address in angle brackets.
fn check_display_name(pieces: &[Piece<'_>]) -> Result<(), BadFrom> {
    if pieces.contains(&Piece::At) {
        return Err(BadFrom::AtInName);
    }
    // Square brackets are in names that mail really has. Python's `email.utils` stops at them, and
    // then finds the address in a quoted string.
    let quotes_address = pieces.iter().any(|piece| match piece {
        Piece::Quoted(inside) => inside.iter().copied().any(is_address_mark),
        Piece::Text(_) | Piece::Space | Piece::At => false,
    });
    let has_special = pieces.iter().any(|piece| match piece {
        Piece::Text(text) => text.iter().any(|octet| matches!(octet, b'[' | b']' | b'\\')),
        Piece::Quoted(_) | Piece::Space | Piece::At => false,
    });
    if quotes_address && has_special { Err(BadFrom::Brackets) } else { Ok(()) }
}

/// Reads an address without angle brackets.
fn bare_address(pieces: &[Piece<'_>]) -> Result<DomainName, BadFrom> {
    let pieces = pieces.strip_prefix(&[Piece::Space]).unwrap_or(pieces);
    let pieces = pieces.strip_suffix(&[Piece::Space]).unwrap_or(pieces);
    match *pieces {
        [] => Err(BadFrom::EmptyPlace),
        [local @ (Piece::Text(_) | Piece::Quoted(_)), Piece::At, Piece::Text(domain)] => {
            address(local, domain)
        }
        _ => Err(match pieces.iter().filter(|piece| **piece == Piece::At).count() {
            0 => BadFrom::NoAddress,
            1 if pieces.first() == Some(&Piece::At) => BadFrom::LocalPart,
            1 if pieces.last() == Some(&Piece::At) => BadFrom::Domain,
            1 => BadFrom::Space,
            _ => BadFrom::TwoAts,
        }),
    }
}

/// Checks both sides of an `@`, and gives the domain.
fn address(local: Piece<'_>, domain: &[u8]) -> Result<DomainName, BadFrom> {
    check_local_part(local)?;
    match domain {
        [b'[', ..] => return Err(BadFrom::DomainLiteral),
        [] | [.., b'.'] => return Err(BadFrom::Domain),
        _ => {}
    }
    let text = std::str::from_utf8(domain).map_err(|_| BadFrom::Domain)?;
    let name = DomainName::parse(text).map_err(|_| BadFrom::Domain)?;
    if !text.is_ascii() {
        let (shown, result) = idna::domain_to_unicode(name.as_str());
        if result.is_err() || shown != text.to_lowercase() {
            return Err(BadFrom::Domain);
        }
    }
    Ok(name)
}

/// Takes a local part in which everyone sees the same thing: a dot-atom (RFC 5322 §3.2.3, RFC 6532
/// §3.2) without `%` and `!`, which relays once read as routes, and without encoded words, which some
/// decode before they parse. In quotes dots may stand anywhere, as some Japanese carriers have them.
fn check_local_part(local: Piece<'_>) -> Result<(), BadFrom> {
    let (text, quoted) = match local {
        Piece::Text(text) => (text, false),
        Piece::Quoted(text) => (text, true),
        Piece::Space | Piece::At => return Err(BadFrom::LocalPart),
    };
    let text = std::str::from_utf8(text).map_err(|_| BadFrom::LocalPart)?;
    let dots_are_apart = !text.starts_with('.') && !text.ends_with('.') && !text.contains("..");
    let is_fine = (1..=MAX_LOCAL_PART_LEN).contains(&text.len())
        && text.chars().all(is_local_char)
        && (quoted || dots_are_apart)
        && !text.contains("=?");
    if is_fine { Ok(()) } else { Err(BadFrom::LocalPart) }
}

/// Characters of a local part that mean nothing to anybody but its own host.
fn is_local_char(c: char) -> bool {
    match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' => true,
        '#' | '$' | '&' | '\'' | '*' | '+' | '-' | '/' | '=' | '?' | '^' | '_' | '`' | '{'
        | '|' | '}' | '~' => true,
        // Presentation forms and full-width forms, some of which turn into `@`, dots or spaces when
        // they are normalised.
        '\u{FB00}'..='\u{FFFF}' => false,
        _ => !c.is_ascii() && c.is_alphabetic(),
    }
}

fn is_space(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n')
}

fn is_text(octet: u8) -> bool {
    !is_space(octet)
        && !matches!(octet, b'(' | b')' | b'<' | b'>' | b'@' | b',' | b':' | b';' | b'"')
}

fn is_address_mark(octet: u8) -> bool {
    matches!(octet, b'@' | b'<' | b'>')
}

/// The longest From field that is read, in octets. No official reference; a name and an address fit
/// many times.
pub const MAX_FROM_LEN: usize = 16 << 10;

/// The most mailboxes of a From field. No official reference; more than a few are never seen.
pub const MAX_MAILBOXES: usize = 50;

/// The longest local part, in octets. RFC 5321 §4.5.3.1.1 says 64, and addresses that carry a token
/// exceed it.
pub const MAX_LOCAL_PART_LEN: usize = 128;

/// How deep comments may be nested. No official reference; real mail has one level.
pub const MAX_COMMENT_DEPTH: usize = 4;

/// Room for the pieces of most mailboxes.
const TYPICAL_PIECES: usize = 8;

#[cfg(test)]
mod tests;

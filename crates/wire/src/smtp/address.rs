//! The paths of `MAIL` and `RCPT` and the names of `EHLO` (RFC 5321 §4.1.2, §4.1.3; RFC 6531 §3.3).
//!
//! The grammar is taken strictly, since an address that two programs read differently is a way past
//! somebody's policy: angle brackets are required, source routes are refused (RFC 5321 appendix F.2
//! lets a server do so), comments and folding do not exist here. The text of a path is kept as it
//! came, because it is passed on and its owner alone may interpret a local part (§2.3.11).
//!
//! Three deliberate deviations, all towards real mail: local parts may be longer than 64 octets
//! ([`MAX_LOCAL_PART`]), labels of a domain may hold an underscore, and the name after `EHLO` is
//! anything printable.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use thiserror::Error;

/// A mailbox as it stands between the angle brackets of a path.
///
/// `postmaster` without a domain is a mailbox too (RFC 5321 §4.1.1.3).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Mailbox {
    text: Box<str>,
    /// Length of the local part; the `@` stands there if there is a domain.
    local_len: usize,
}

impl Mailbox {
    /// Parses a mailbox without angle brackets.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (mailbox, rest) = mailbox(text)?;
        if rest.is_empty() { Ok(mailbox) } else { Err(AddressError::Domain) }
    }

    /// The whole mailbox as it came.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The local part as it came, quotes included.
    pub fn local_part(&self) -> &str {
        self.text.get(..self.local_len).unwrap_or_default()
    }

    /// The domain or address literal as it came; `None` for the bare `postmaster`.
    pub fn domain(&self) -> Option<&str> {
        self.text.get(self.local_len + 1..).filter(|domain| !domain.is_empty())
    }

    /// Says whether the mailbox can only travel with SMTPUTF8 (RFC 6531).
    pub fn needs_smtputf8(&self) -> bool {
        !self.text.is_ascii()
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The argument of `MAIL FROM:`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ReversePath {
    /// `<>`, the sender of notifications (RFC 5321 §4.5.5).
    Null,
    /// A mailbox to which failures are reported.
    Mailbox(Mailbox),
}

impl ReversePath {
    /// The mailbox, if the path is not null.
    pub fn mailbox(&self) -> Option<&Mailbox> {
        match self {
            Self::Null => None,
            Self::Mailbox(mailbox) => Some(mailbox),
        }
    }
}

impl fmt::Display for ReversePath {
    /// With angle brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("<>"),
            Self::Mailbox(mailbox) => write!(f, "<{mailbox}>"),
        }
    }
}

/// The name that a client gives with `EHLO` or `HELO`, or that a server gives itself.
///
/// One to 255 printable ASCII characters without a space. RFC 5321 §4.1.4 forbids refusing mail
/// because the name is wrong, so no more is asked of it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct HelloName(Box<str>);

impl HelloName {
    /// Checks a name.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.len() <= MAX_DOMAIN
            && !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_graphic())
        {
            Ok(Self(text.into()))
        } else {
            Err(AddressError::HelloName)
        }
    }

    /// The name as it came.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Says whether the name is a domain or an address literal, as RFC 5321 §4.1.1.1 wants it. Any
    /// other name must not be written into a trace field as it is.
    pub fn is_well_formed(&self) -> bool {
        if self.0.starts_with('[') {
            address_literal(&self.0).is_ok_and(|(_, rest)| rest.is_empty())
        } else {
            is_domain(&self.0)
        }
    }
}

impl fmt::Display for HelloName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not a path or a name. All of these are the client's fault.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum AddressError {
    /// The path is not enclosed in `<` and `>`.
    #[error("the address must be enclosed in angle brackets")]
    NoBrackets,
    /// A path of the form `<@relay:user@example.com>`.
    #[error("source routes are not accepted")]
    SourceRoute,
    /// A recipient of `<>`.
    #[error("the address is empty")]
    Empty,
    /// No local part, or one that is neither a dot-atom nor a quoted string.
    #[error("the local part of the address is malformed")]
    LocalPart,
    /// No domain, or one that is neither a host name nor an address literal.
    #[error("the domain of the address is malformed")]
    Domain,
    /// An address literal that is no IPv4 or IPv6 address.
    #[error("the address literal is not an IP address")]
    AddressLiteral,
    /// Longer than [`MAX_LOCAL_PART`] or [`MAX_DOMAIN`].
    #[error("the address is too long")]
    TooLong,
    /// A name after `EHLO` or `HELO` that is empty, too long or not printable.
    #[error("the host name must be printable, without spaces")]
    HelloName,
}

/// Parses the path at the start of `input`; answers what follows it.
pub(super) fn reverse_path(input: &str) -> Result<(ReversePath, &str), AddressError> {
    if let Some(rest) = input.strip_prefix("<>") {
        return Ok((ReversePath::Null, rest));
    }
    let (mailbox, rest) = forward_path(input)?;
    if mailbox.domain().is_none() {
        return Err(AddressError::Domain);
    }
    Ok((ReversePath::Mailbox(mailbox), rest))
}

/// Parses the path of a recipient at the start of `input`; answers what follows it.
pub(super) fn forward_path(input: &str) -> Result<(Mailbox, &str), AddressError> {
    let inner = input.strip_prefix('<').ok_or(AddressError::NoBrackets)?;
    if inner.starts_with('>') {
        return Err(AddressError::Empty);
    }
    if inner.starts_with('@') {
        return Err(AddressError::SourceRoute);
    }
    let (mailbox, rest) = mailbox(inner)?;
    let rest = rest.strip_prefix('>').ok_or(if mailbox.domain().is_none() {
        AddressError::LocalPart
    } else {
        AddressError::Domain
    })?;
    Ok((mailbox, rest))
}

/// Parses `Mailbox` (RFC 5321 §4.1.2) at the start of `input`.
fn mailbox(input: &str) -> Result<(Mailbox, &str), AddressError> {
    let local_len = if input.starts_with('"') {
        quoted_string_len(input)?
    } else {
        let len = input.find(|c| c != '.' && !is_atext(c)).unwrap_or(input.len());
        let local = input.get(..len).unwrap_or_default();
        if local.split('.').any(str::is_empty) {
            return Err(AddressError::LocalPart);
        }
        len
    };
    if local_len > MAX_LOCAL_PART {
        return Err(AddressError::TooLong);
    }
    let (local, rest) = input.split_at_checked(local_len).ok_or(AddressError::LocalPart)?;
    let Some(after_at) = rest.strip_prefix('@') else {
        return if local.eq_ignore_ascii_case("postmaster") {
            Ok((Mailbox { text: local.into(), local_len }, rest))
        } else if rest.is_empty() || rest.starts_with('>') {
            Err(AddressError::Domain)
        } else {
            Err(AddressError::LocalPart)
        };
    };
    let (domain, rest) = if after_at.starts_with('[') {
        address_literal(after_at)?
    } else {
        let len = after_at.find(['>', ' ']).unwrap_or(after_at.len());
        let (domain, rest) = after_at.split_at_checked(len).ok_or(AddressError::Domain)?;
        if domain.len() > MAX_DOMAIN {
            return Err(AddressError::TooLong);
        }
        if !is_domain(domain) {
            return Err(AddressError::Domain);
        }
        (domain, rest)
    };
    Ok((Mailbox { text: format!("{local}@{domain}").into(), local_len }, rest))
}

/// Length of the `Quoted-string` at the start of `input`, quotes included.
fn quoted_string_len(input: &str) -> Result<usize, AddressError> {
    let mut chars = input.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok(at + 1),
            '\\' => {
                // quoted-pairSMTP: any printable ASCII character or space.
                let escaped = chars.next().map(|(_, c)| c);
                if !escaped.is_some_and(|c| matches!(c, ' '..='~')) {
                    return Err(AddressError::LocalPart);
                }
            }
            ' '..='~' => {}
            c if is_utf8_non_ascii(c) => {}
            _ => return Err(AddressError::LocalPart),
        }
    }
    Err(AddressError::LocalPart)
}

/// Parses `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 §4.1.3) at the start of `input`. No other
/// tag is registered.
fn address_literal(input: &str) -> Result<(&str, &str), AddressError> {
    let close = input.find(']').ok_or(AddressError::AddressLiteral)?;
    let (literal, rest) = input.split_at_checked(close + 1).ok_or(AddressError::AddressLiteral)?;
    let inner = literal
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .ok_or(AddressError::AddressLiteral)?;
    let is_address = match inner.split_at_checked(5) {
        Some((tag, address)) if tag.eq_ignore_ascii_case("ipv6:") => {
            address.parse::<Ipv6Addr>().is_ok()
        }
        Some(_) | None => inner.parse::<Ipv4Addr>().is_ok(),
    };
    if is_address { Ok((literal, rest)) } else { Err(AddressError::AddressLiteral) }
}

/// Says whether a text is a domain of one or more labels. U-labels are allowed here; the command
/// parser refuses them where SMTPUTF8 was not asked for.
fn is_domain(text: &str) -> bool {
    text.len() <= MAX_DOMAIN && text.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    // A U-label may have more octets than the 63 of its A-label.
    (1..=63).contains(&label.chars().count())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.chars().all(|c| {
            // The underscore is no letter of a host name, but stands in the bounce domains of mailers.
            c.is_ascii_alphanumeric() || c == '-' || c == '_' || is_utf8_non_ascii(c)
        })
}

/// `atext` (RFC 5322 §3.2.3), extended by RFC 6531 §3.3.
fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || is_utf8_non_ascii(c)
}

/// UTF8-non-ascii (RFC 6532 §3.1) without what cannot be seen: C1 controls and white space.
fn is_utf8_non_ascii(c: char) -> bool {
    !c.is_ascii() && !c.is_control() && !c.is_whitespace()
}

/// The longest local part. RFC 5321 §4.5.3.1.1 says 64 and §4.5.3.1 asks for no limit where possible;
/// bounce addresses that encode the recipient are often longer.
pub const MAX_LOCAL_PART: usize = 256;

/// The longest domain (RFC 5321 §4.5.3.1.2).
pub const MAX_DOMAIN: usize = 255;

#[cfg(test)]
mod tests {
    use super::AddressError::{
        AddressLiteral, Domain, Empty, LocalPart, NoBrackets, SourceRoute, TooLong,
    };
    use super::*;

    #[test]
    fn takes_every_form_of_a_path() {
        let cases = [
            ("<user@example.com>", "user", Some("example.com")),
            ("<a.b+c=d@example.com>", "a.b+c=d", Some("example.com")),
            ("<\"a b\"@example.com>", "\"a b\"", Some("example.com")),
            ("<\"a@b>c\"@example.com>", "\"a@b>c\"", Some("example.com")),
            ("<\"a\\\"b\\\\\"@example.com>", "\"a\\\"b\\\\\"", Some("example.com")),
            ("<\"\"@example.com>", "\"\"", Some("example.com")),
            ("<user@[192.0.2.1]>", "user", Some("[192.0.2.1]")),
            ("<user@[IPv6:2001:db8::1]>", "user", Some("[IPv6:2001:db8::1]")),
            ("<user@em_1.example.com>", "user", Some("em_1.example.com")),
            ("<user@localhost>", "user", Some("localhost")),
            ("<Postmaster>", "Postmaster", None),
            ("<jörg@bücher.example>", "jörg", Some("bücher.example")),
        ];
        for (input, local, domain) in cases {
            let (mailbox, rest) = forward_path(input).unwrap();
            assert_eq!(
                (mailbox.local_part(), mailbox.domain(), rest),
                (local, domain, ""),
                "{input}"
            );
            assert_eq!(format!("<{mailbox}>"), input);
        }
        assert_eq!(reverse_path("<> x"), Ok((ReversePath::Null, " x")));
    }

    #[test]
    fn refuses_what_programs_read_differently() {
        let cases = [
            ("user@example.com", NoBrackets),
            ("", NoBrackets),
            ("<user@example.com", Domain),
            ("<user@example.com >", Domain),
            ("< user@example.com>", LocalPart),
            ("<@a.example:user@example.com>", SourceRoute),
            ("<@a.example,@b.example:user@example.com>", SourceRoute),
            ("<>", Empty),
            ("<@example.com>", SourceRoute),
            ("<user>", Domain),
            ("<user@>", Domain),
            ("<.user@example.com>", LocalPart),
            ("<user.@example.com>", LocalPart),
            ("<us..er@example.com>", LocalPart),
            ("<us er@example.com>", LocalPart),
            ("<user@@example.com>", Domain),
            ("<user@a@example.com>", Domain),
            ("<user(x)@example.com>", LocalPart),
            ("<\"user@example.com>", LocalPart),
            ("<\"user\"x@example.com>", LocalPart),
            ("<\"us\\\u{e9}er\"@example.com>", LocalPart),
            ("<user@example..com>", Domain),
            ("<user@example.com.>", Domain),
            ("<user@-example.com>", Domain),
            ("<user@example.com,b@example.com>", Domain),
            ("<user@exa\u{a0}mple.com>", Domain),
            ("<user@[300.0.2.1]>", AddressLiteral),
            ("<user@[192.0.2.1>", AddressLiteral),
            ("<user@[IPv6:192.0.2.1]>", AddressLiteral),
            ("<user@[x400:foo]>", AddressLiteral),
        ];
        for (input, want) in cases {
            assert_eq!(forward_path(input), Err(want), "{input}");
        }
        assert_eq!(reverse_path("<postmaster>"), Err(Domain));
    }

    #[test]
    fn bounds_both_sides() {
        let local = |n: usize| format!("<{}@example.com>", "a".repeat(n));
        assert!(forward_path(&local(MAX_LOCAL_PART)).is_ok());
        assert_eq!(forward_path(&local(MAX_LOCAL_PART + 1)), Err(TooLong));
        let domain = |n: usize| format!("<a@{}b>", "a.".repeat(n));
        assert!(forward_path(&domain(127)).is_ok());
        assert_eq!(forward_path(&domain(128)), Err(TooLong));
    }

    #[test]
    fn hello_names_are_printable_and_told_from_well_formed_ones() {
        let cases = [
            ("mail.example.com", true),
            ("[192.0.2.1]", true),
            ("[IPv6:::1]", true),
            ("MY_PC", true),
            ("(evil)", false),
            ("a;b", false),
        ];
        for (input, want) in cases {
            assert_eq!(HelloName::parse(input).unwrap().is_well_formed(), want, "{input}");
        }
        for input in ["", "a b", "a\tb", "\u{e9}", &"a".repeat(256)] {
            assert_eq!(HelloName::parse(input), Err(AddressError::HelloName), "{input}");
        }
    }
}

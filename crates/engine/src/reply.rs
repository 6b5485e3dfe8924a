//! What a sender is told when a message does not go out as it is.
//!
//! Texts are one line of printable ASCII: they go into SMTP replies as they are, and what a sender wrote
//! is cleaned before it is quoted back.

use std::borrow::Cow;
use std::fmt;

/// A reply code, an enhanced status code (RFC 3463) and a sentence.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// The SMTP reply code: 4xx asks the sender to try again, 5xx to give up (RFC 5321 §4.2).
    pub code: u16,
    /// The enhanced status code: class, subject and detail.
    pub enhanced: EnhancedCode,
    /// The sentence, printable ASCII in one line.
    pub text: Cow<'static, str>,
}

impl Refusal {
    /// A refusal whose text may quote the sender: what is not printable ASCII becomes `?`, and what is
    /// beyond [`MAX_TEXT_LEN`] is cut off.
    pub(crate) fn new(
        code: u16,
        enhanced: EnhancedCode,
        text: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { code, enhanced, text: printable(text.into()) }
    }

    /// The refusal of a line beyond the limit.
    #[must_use]
    pub fn long_line(octets: u64) -> Self {
        let text =
            format!("a line has {octets} octets, the limit is 998 (RFC 5321 section 4.5.3.1.6)");
        Self::new(550, EnhancedCode::MEDIA, text)
    }

    /// The refusal of a bare CR or LF.
    #[must_use]
    pub fn bare_newline() -> Self {
        let text = "the message has a bare CR or LF; lines end in CRLF (RFC 5321 section 2.3.8)";
        Self::new(550, EnhancedCode::MEDIA, text)
    }

    /// Says whether the sender is asked to try again.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.code < 500
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.code, self.enhanced, self.text)
    }
}

/// An enhanced mail system status code (RFC 3463 §2).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct EnhancedCode(pub u8, pub u8, pub u8);

impl EnhancedCode {
    /// X.6.0, other or undefined media error: the message itself is at fault.
    pub(crate) const MEDIA: Self = Self(5, 6, 0);
    /// X.7.1, delivery not authorized.
    pub(crate) const NOT_AUTHORIZED: Self = Self(5, 7, 1);
    /// X.7.1 for now.
    pub(crate) const NOT_AUTHORIZED_NOW: Self = Self(4, 7, 1);
    /// X.3.5, system incorrectly configured: an operator of this platform has to see to it.
    pub(crate) const MISCONFIGURED: Self = Self(4, 3, 5);
}

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

fn printable(text: Cow<'static, str>) -> Cow<'static, str> {
    let is_fine = |c: char| c == ' ' || c.is_ascii_graphic();
    if text.len() <= MAX_TEXT_LEN && text.chars().all(is_fine) {
        return text;
    }
    text.chars().take(MAX_TEXT_LEN).map(|c| if is_fine(c) { c } else { '?' }).collect()
}

/// The longest text, in characters: a reply line has 512 octets (RFC 5321 §4.5.3.1.5), and milters and
/// MTAs put words of their own around it.
pub const MAX_TEXT_LEN: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_one_printable_line() {
        let refusal = Refusal::new(550, EnhancedCode::MEDIA, "a\r\n250 ok\0ü".to_owned());
        assert_eq!(refusal.to_string(), "550 5.6.0 a??250 ok??");

        let long = Refusal::new(550, EnhancedCode::MEDIA, "ü".repeat(10_000));
        assert_eq!(long.text.len(), MAX_TEXT_LEN);
        assert!(!long.is_temporary());
        assert!(Refusal::new(451, EnhancedCode::MISCONFIGURED, "later").is_temporary());
    }
}

//! What we say to the MTA: modifications, verdicts, and the text of a refusal.
//!
//! Values of header fields go the way they come (`message`): line breaks as LF, since Sendmail and
//! Postfix would keep the CR, and without their first space if the MTA adds it.
//!
//! The text of a reply is a format string to Sendmail, so each `%` is doubled; Postfix undoes that.

use std::fmt;

use thiserror::Error;

use super::message::LeadingSpace;

/// The last word on a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The message goes on its way, and other filters see it (`SMFIR_CONTINUE`).
    Continue,
    /// The message goes on its way, and this filter wants no more of it (`SMFIR_ACCEPT`). At the
    /// end of a message it is the same as [`Continue`](Self::Continue).
    Accept,
    /// The MTA answers 4xx in words of its own (`SMFIR_TEMPFAIL`).
    Tempfail,
    /// The MTA answers 5xx in words of its own (`SMFIR_REJECT`).
    Reject,
    /// The MTA answers with this (`SMFIR_REPLYCODE`).
    Reply(Reply),
}

impl Verdict {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Continue => write_packet(out, b'c', &[]),
            Self::Accept => write_packet(out, b'a', &[]),
            Self::Tempfail => write_packet(out, b't', &[]),
            Self::Reject => write_packet(out, b'r', &[]),
            Self::Reply(reply) => reply.write(out),
        }
    }
}

/// An enhanced status code (RFC 3463 §2), such as 5.7.1, without the class.
///
/// The class is that of the reply it stands in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EnhancedCode {
    /// What the code is about, 0 to 999.
    pub subject: u16,
    /// What happened, 0 to 999.
    pub detail: u16,
}

/// A reply of 4xx or 5xx with an enhanced status code and one or more lines of text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply {
    code: u16,
    enhanced: EnhancedCode,
    lines: Vec<String>,
}

impl Reply {
    /// Makes a reply.
    ///
    /// `text` may have several lines. Characters that are not printable ASCII become `?`: text of
    /// others stands in there, and SMTP replies are ASCII (RFC 5321 §4.2). A line is cut after 480
    /// octets and the text after 32 lines, so that no reply is longer than MTAs and clients take.
    ///
    /// # Errors
    ///
    /// If `code` is not in 400..=599, which is all that Sendmail and Postfix take from a filter.
    pub fn new(code: u16, enhanced: EnhancedCode, text: &str) -> Result<Self, ReplyError> {
        if !(400..600).contains(&code) || enhanced.subject > 999 || enhanced.detail > 999 {
            return Err(ReplyError { code });
        }
        let printable = |c: char| if matches!(c, ' '..='~') { c } else { '?' };
        let line = |line: &str| line.chars().take(MAX_REPLY_LINE).map(printable).collect();
        let mut lines: Vec<String> = text.lines().take(MAX_REPLY_LINES).map(line).collect();
        if lines.is_empty() {
            lines.push(String::new());
        }
        Ok(Self { code, enhanced, lines })
    }

    /// The three digits.
    pub fn code(&self) -> u16 {
        self.code
    }

    fn write(&self, out: &mut Vec<u8>) {
        let text = self.to_string().replace('%', "%%").replace('\n', "\r\n");
        write_packet(out, b'y', &[text.as_bytes(), b"\0"]);
    }
}

impl fmt::Display for Reply {
    /// Writes the reply as it stands in SMTP, the lines separated by LF.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EnhancedCode { subject, detail } = self.enhanced;
        let class = self.code / 100;
        for (i, line) in self.lines.iter().enumerate() {
            let last = i + 1 == self.lines.len();
            let separator = if last { ' ' } else { '-' };
            write!(f, "{}{separator}{class}.{subject}.{detail} {line}", self.code)?;
            if !last {
                f.write_str("\n")?;
            }
        }
        Ok(())
    }
}

/// A reply that an MTA would not take.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("a filter's reply has a code from 400 to 599 and three-digit enhanced codes, not {code}")]
pub struct ReplyError {
    code: u16,
}

/// Why a header field cannot be handed to the MTA. Our fault.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ModificationError {
    /// The name is empty or has a colon, a control character or a space.
    #[error("the field name is empty or has a character that no field name has")]
    Name,
    /// The value has a NUL, which ends a string on the wire.
    #[error("the field value has a NUL")]
    Nul,
}

/// Writes `i`: a field that becomes number `index`, counted from 0 over all fields.
pub(super) fn write_insert(
    out: &mut Vec<u8>,
    index: u32,
    name: &[u8],
    value: &[u8],
    space: LeadingSpace,
) -> Result<(), ModificationError> {
    check(name, value)?;
    let value = wire_value(value, space);
    write_packet(out, b'i', &[&index.to_be_bytes(), name, b"\0", &value, b"\0"]);
    Ok(())
}

/// Writes `h`: a field below all others.
pub(super) fn write_add(
    out: &mut Vec<u8>,
    name: &[u8],
    value: &[u8],
    space: LeadingSpace,
) -> Result<(), ModificationError> {
    check(name, value)?;
    let value = wire_value(value, space);
    write_packet(out, b'h', &[name, b"\0", &value, b"\0"]);
    Ok(())
}

/// Writes `m`: another value for field number `nth` of that name, counted from 1 from the top.
/// Without a value the field is deleted.
pub(super) fn write_change(
    out: &mut Vec<u8>,
    nth: u32,
    name: &[u8],
    value: Option<&[u8]>,
    space: LeadingSpace,
) -> Result<(), ModificationError> {
    let value = value.unwrap_or_default();
    check(name, value)?;
    let value = wire_value(value, space);
    write_packet(out, b'm', &[&nth.to_be_bytes(), name, b"\0", &value, b"\0"]);
    Ok(())
}

/// Writes one packet.
pub(super) fn write_packet(out: &mut Vec<u8>, command: u8, parts: &[&[u8]]) {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, command]);
    for part in parts {
        out.extend_from_slice(part);
    }
    // Our packets are header fields and replies, far below 4 GiB.
    let length = u32::try_from(out.len() - start - LENGTH).unwrap_or(u32::MAX);
    if let Some(head) = out.get_mut(start..start + LENGTH) {
        head.copy_from_slice(&length.to_be_bytes());
    }
}

fn check(name: &[u8], value: &[u8]) -> Result<(), ModificationError> {
    // RFC 5322 §2.2: printable ASCII except the colon.
    if name.is_empty() || !name.iter().all(|&c| c.is_ascii_graphic() && c != b':') {
        return Err(ModificationError::Name);
    }
    if memchr::memchr(0, value).is_some() {
        return Err(ModificationError::Nul);
    }
    Ok(())
}

/// The value as it goes over the wire.
fn wire_value(value: &[u8], space: LeadingSpace) -> Vec<u8> {
    let value = match (space, value) {
        (LeadingSpace::Cut, [b' ', rest @ ..]) => rest,
        _ => value,
    };
    let mut wire = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some(cr) = memchr::memmem::find(rest, b"\r\n") {
        let (line, after) = rest.split_at(cr);
        wire.extend_from_slice(line);
        rest = after.get(1..).unwrap_or_default();
        // `rest` starts with the LF, which goes out with the line after it.
    }
    wire.extend_from_slice(rest);
    wire
}

/// Octets of the length in front of a packet.
const LENGTH: usize = 4;

/// RFC 5321 §4.5.3.1.5 bounds a reply line at 512 octets with code and CRLF.
const MAX_REPLY_LINE: usize = 480;

/// Lines that Sendmail takes of one reply (`MAXREPLIES`).
const MAX_REPLY_LINES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    const NOT_AUTHORISED: EnhancedCode = EnhancedCode { subject: 7, detail: 1 };

    fn written(verdict: &Verdict) -> String {
        let mut out = Vec::new();
        verdict.write(&mut out);
        out.escape_ascii().to_string()
    }

    #[test]
    fn writes_verdicts() {
        let reply = |text| Verdict::Reply(Reply::new(550, NOT_AUTHORISED, text).unwrap());
        let cases = [
            (Verdict::Continue, r"\x00\x00\x00\x01c"),
            (Verdict::Accept, r"\x00\x00\x00\x01a"),
            (Verdict::Tempfail, r"\x00\x00\x00\x01t"),
            (Verdict::Reject, r"\x00\x00\x00\x01r"),
            (reply("no"), r"\x00\x00\x00\x0ey550 5.7.1 no\x00"),
            (reply(""), r"\x00\x00\x00\x0cy550 5.7.1 \x00"),
            (reply("100% sure %s"), r"\x00\x00\x00\x1ay550 5.7.1 100%% sure %%s\x00"),
            (reply("a\nb"), r"\x00\x00\x00\x1ay550-5.7.1 a\r\n550 5.7.1 b\x00"),
            (reply("a\r\nb\rc\0ü"), r"\x00\x00\x00\x1ey550-5.7.1 a\r\n550 5.7.1 b?c??\x00"),
        ];
        for (verdict, want) in cases {
            assert_eq!(written(&verdict), want, "{verdict:?}");
        }
    }

    #[test]
    fn refuses_codes_that_a_filter_may_not_use() {
        for code in [0, 250, 354, 399, 600, 5500] {
            assert!(Reply::new(code, NOT_AUTHORISED, "x").is_err(), "{code}");
        }
        for (subject, detail) in [(1000, 0), (0, 1000)] {
            assert!(Reply::new(550, EnhancedCode { subject, detail }, "x").is_err());
        }
    }

    #[test]
    fn cuts_a_reply_that_is_too_long() {
        let reply = Reply::new(451, NOT_AUTHORISED, &"x".repeat(9000)).unwrap();
        assert_eq!(reply.to_string().len(), "451 4.7.1 ".len() + MAX_REPLY_LINE);
        let reply = Reply::new(451, NOT_AUTHORISED, &"x\n".repeat(9000)).unwrap();
        assert_eq!(reply.to_string().lines().count(), MAX_REPLY_LINES);
    }

    #[test]
    fn writes_fields_as_mtas_take_them() {
        use LeadingSpace::{Cut, Kept};
        let cases: [(&[u8], LeadingSpace, &str); 7] = [
            (b" v=1;\r\n\tb=x", Kept, r" v=1;\n\tb=x"),
            (b" v=1;\r\n\tb=x", Cut, r"v=1;\n\tb=x"),
            (b"  a", Cut, r" a"),
            (b"a", Cut, r"a"),
            (b"\ta\r\n\r\n", Cut, r"\ta\n\n"),
            (b" a\rb\nc\r", Kept, r" a\rb\nc\r"),
            (b"", Cut, ""),
        ];
        for (value, space, want) in cases {
            let got = wire_value(value, space).escape_ascii().to_string();
            assert_eq!(got, want, "{space:?} {}", value.escape_ascii());
        }

        let mut out = Vec::new();
        write_insert(&mut out, 0, b"A", b" b", Kept).unwrap();
        write_add(&mut out, b"A", b" b", Cut).unwrap();
        write_change(&mut out, 2, b"A", Some(b" b"), Kept).unwrap();
        write_change(&mut out, 1, b"A", None, Kept).unwrap();
        let want = b"\0\0\0\x0ai\0\0\0\0A\0 b\0\0\0\0\x05hA\0b\0\
            \0\0\0\x0am\0\0\0\x02A\0 b\0\0\0\0\x08m\0\0\0\x01A\0\0";
        assert_eq!(out.escape_ascii().to_string(), want.escape_ascii().to_string());
    }

    #[test]
    fn refuses_fields_that_would_break_the_packet() {
        let mut out = Vec::new();
        for name in [&b""[..], b"A B", b"A:", b"A\0B", b"A\r\nB", b"\xc3\xa4"] {
            let got = write_insert(&mut out, 0, name, b" v", LeadingSpace::Kept);
            assert_eq!(got, Err(ModificationError::Name), "{}", name.escape_ascii());
        }
        let got = write_add(&mut out, b"A", b" a\0b", LeadingSpace::Kept);
        assert_eq!(got, Err(ModificationError::Nul));
        assert!(out.is_empty());
    }
}

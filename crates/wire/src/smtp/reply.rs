//! SMTP replies: codes, the writer, and a parser of bounded size.
//!
//! RFC 5321 §4.2 (replies), RFC 2034 and RFC 3463 (enhanced status codes). A [`Reply`] that we make
//! ourselves has an enhanced status code whose class follows from the reply code, as RFC 2034 §4
//! demands; a reply that was read from a next hop is kept line by line so that it can be passed on
//! as it came. Text that may come from a peer cannot add a line: the writer lets only printable
//! ASCII through.

use std::fmt;

use memchr::memchr;
use thiserror::Error;

/// A three-digit reply code, 200 to 599 (RFC 5321 §4.2.1).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ReplyCode(u16);

impl ReplyCode {
    /// 214 help message.
    pub const HELP: Self = Self(214);
    /// 220 service ready; also the go-ahead for TLS (RFC 3207 §4).
    pub const READY: Self = Self(220);
    /// 221 service closing transmission channel.
    pub const CLOSING: Self = Self(221);
    /// 235 authentication succeeded (RFC 4954 §6).
    pub const AUTHENTICATED: Self = Self(235);
    /// 250 requested mail action okay, completed.
    pub const OK: Self = Self(250);
    /// 252 cannot verify the user, but will accept the message.
    pub const CANNOT_VERIFY: Self = Self(252);
    /// 334 server challenge (RFC 4954 §4).
    pub const CHALLENGE: Self = Self(334);
    /// 354 start mail input.
    pub const START_INPUT: Self = Self(354);
    /// 421 service not available, closing transmission channel.
    pub const NOT_AVAILABLE: Self = Self(421);
    /// 450 mailbox unavailable, or blocked for reasons of policy, for now.
    pub const MAILBOX_BUSY: Self = Self(450);
    /// 451 local error in processing.
    pub const LOCAL_ERROR: Self = Self(451);
    /// 452 insufficient system storage, or too many recipients.
    pub const INSUFFICIENT_STORAGE: Self = Self(452);
    /// 454 temporary failure of TLS or authentication (RFC 3207 §4, RFC 4954 §6).
    pub const TEMPORARY_FAILURE: Self = Self(454);
    /// 500 syntax error, command not recognised or line too long.
    pub const SYNTAX_ERROR: Self = Self(500);
    /// 501 syntax error in parameters or arguments.
    pub const ARGUMENT_ERROR: Self = Self(501);
    /// 502 command not implemented.
    pub const NOT_IMPLEMENTED: Self = Self(502);
    /// 503 bad sequence of commands.
    pub const BAD_SEQUENCE: Self = Self(503);
    /// 504 command parameter not implemented.
    pub const PARAMETER_NOT_IMPLEMENTED: Self = Self(504);
    /// 530 authentication required (RFC 4954 §6), or STARTTLS first (RFC 3207 §4).
    pub const AUTHENTICATION_REQUIRED: Self = Self(530);
    /// 535 authentication credentials invalid (RFC 4954 §6).
    pub const CREDENTIALS_INVALID: Self = Self(535);
    /// 538 encryption required for the requested mechanism (RFC 4954 §6).
    pub const ENCRYPTION_REQUIRED: Self = Self(538);
    /// 550 mailbox unavailable, or refused for reasons of policy.
    pub const REFUSED: Self = Self(550);
    /// 552 exceeded storage allocation (RFC 1870 §6.1).
    pub const TOO_LARGE: Self = Self(552);
    /// 553 mailbox name not allowed (RFC 6531 §3.5).
    pub const MAILBOX_NAME: Self = Self(553);
    /// 554 transaction failed.
    pub const FAILED: Self = Self(554);
    /// 555 parameters of MAIL or RCPT not recognised or not implemented.
    pub const PARAMETER_NOT_RECOGNISED: Self = Self(555);

    /// A code between 200 and 599.
    ///
    /// The second digit is not looked at: real servers answer 571 and the like, and RFC 5321 §4.3.2
    /// has a client go by the first digit.
    pub const fn new(code: u16) -> Option<Self> {
        if 200 <= code && code <= 599 { Some(Self(code)) } else { None }
    }

    /// The number.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// The meaning of the first digit.
    pub const fn class(self) -> ReplyClass {
        match self.0 {
            0..300 => ReplyClass::Completion,
            300..400 => ReplyClass::Intermediate,
            400..500 => ReplyClass::Transient,
            _ => ReplyClass::Permanent,
        }
    }
}

impl fmt::Display for ReplyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What the first digit of a reply code says (RFC 5321 §4.2.1).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ReplyClass {
    /// 2yz: the action was done.
    Completion,
    /// 3yz: the command is accepted so far, more input is wanted.
    Intermediate,
    /// 4yz: not done, try again later.
    Transient,
    /// 5yz: not done, do not try again.
    Permanent,
}

/// One reply: a code and one or more lines of text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply {
    code: ReplyCode,
    /// The text of each line, without code, separator and line end; printable.
    lines: Vec<Vec<u8>>,
}

impl Reply {
    /// A reply of ours with an enhanced status code (RFC 3463), whose class is the code's first
    /// digit: `Reply::new(ReplyCode::REFUSED, (7, 1), "not yours")` reads `550 5.7.1 not yours`.
    ///
    /// The text may hold anything: what is not printable ASCII becomes `?`, and a text too long for
    /// one line (RFC 5321 §4.5.3.1.5) is spread over several, each with the status code.
    pub fn new(code: ReplyCode, (subject, detail): (u16, u16), text: impl AsRef<str>) -> Self {
        let status = format!("{}.{subject}.{detail} ", code.number() / 100);
        let text: Vec<u8> = text.as_ref().chars().map(printable_char).collect();
        let mut lines: Vec<Vec<u8>> = text
            .chunks(MAX_OWN_TEXT)
            .take(MAX_OWN_LINES)
            .map(|piece| [status.as_bytes(), piece].concat())
            .collect();
        if lines.is_empty() {
            lines.push(status.trim_end().as_bytes().to_vec());
        }
        Self { code, lines }
    }

    /// A reply without an enhanced status code: the greeting, the answers to `EHLO` and `HELO`, and
    /// everything of class 3yz have none (RFC 2034 §4).
    pub fn plain<T: AsRef<str>>(code: ReplyCode, lines: impl IntoIterator<Item = T>) -> Self {
        let mut lines: Vec<Vec<u8>> = lines
            .into_iter()
            .map(|line| line.as_ref().chars().take(MAX_OWN_TEXT).map(printable_char).collect())
            .collect();
        if lines.is_empty() {
            lines.push(Vec::new());
        }
        Self { code, lines }
    }

    /// The reply code.
    pub fn code(&self) -> ReplyCode {
        self.code
    }

    /// The class of the reply code.
    pub fn class(&self) -> ReplyClass {
        self.code.class()
    }

    /// The text of each line, without the reply code, with the enhanced status code if there is one.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.lines.iter().map(Vec::as_slice)
    }

    /// Appends the reply as it goes over the wire.
    pub fn write(&self, out: &mut Vec<u8>) {
        let code = self.code.to_string();
        let last = self.lines.len().saturating_sub(1);
        for (number, line) in self.lines.iter().enumerate() {
            out.extend_from_slice(code.as_bytes());
            out.push(if number == last { b' ' } else { b'-' });
            out.extend_from_slice(line);
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Parses the first reply in `input`.
    ///
    /// Answers the reply and the number of bytes it takes, or `None` when its last line is not there
    /// yet. The caller keeps at most [`MAX_REPLY`] bytes: more without an end is an error.
    pub fn parse(input: &[u8]) -> Result<Option<(usize, Self)>, ReplyError> {
        let mut rest = input;
        let mut code: Option<ReplyCode> = None;
        let mut lines = Vec::new();
        loop {
            let taken = input.len() - rest.len();
            let Some(end) = memchr(b'\n', rest) else {
                if rest.len() > MAX_REPLY_LINE || input.len() > MAX_REPLY {
                    return Err(ReplyError::TooLong);
                }
                return Ok(None);
            };
            let (line, tail) = rest.split_at_checked(end).ok_or(ReplyError::Malformed)?;
            rest = tail.get(1..).ok_or(ReplyError::Malformed)?;
            if line.len() > MAX_REPLY_LINE || taken + line.len() > MAX_REPLY {
                return Err(ReplyError::TooLong);
            }
            if lines.len() == MAX_REPLY_LINES {
                return Err(ReplyError::TooManyLines);
            }
            let line = line.strip_suffix(b"\r").ok_or(ReplyError::BareNewline)?;
            let (this, more, text) = split_line(line)?;
            if code.is_some_and(|first| first != this) {
                return Err(ReplyError::CodesDiffer);
            }
            code = Some(this);
            lines.push(text.iter().map(|&byte| printable_byte(byte)).collect());
            if more == More::No {
                return Ok(Some((input.len() - rest.len(), Self { code: this, lines })));
            }
        }
    }
}

impl fmt::Display for Reply {
    /// One line for logs: the code and the lines' text, joined by ` / `.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        for (number, line) in self.lines.iter().enumerate() {
            f.write_str(if number == 0 { " " } else { " / " })?;
            f.write_str(&String::from_utf8_lossy(line))?;
        }
        Ok(())
    }
}

/// Why bytes from a next hop are not a reply. All of these are the next hop's fault.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ReplyError {
    /// A line longer than [`MAX_REPLY_LINE`], or a reply longer than [`MAX_REPLY`].
    #[error("the reply is longer than {MAX_REPLY_LINE} octets a line or {MAX_REPLY} in all")]
    TooLong,
    /// More than [`MAX_REPLY_LINES`] lines.
    #[error("the reply has more than {MAX_REPLY_LINES} lines")]
    TooManyLines,
    /// A line that does not begin with a code and a separator.
    #[error("a line of the reply has no three-digit code followed by a space or hyphen")]
    Malformed,
    /// The lines of one reply have different codes (RFC 5321 §4.2.1).
    #[error("the lines of the reply have different codes")]
    CodesDiffer,
    /// A line that ends in LF alone.
    #[error("a line of the reply ends in a bare line feed")]
    BareNewline,
}

#[derive(Eq, PartialEq)]
enum More {
    Yes,
    No,
}

/// Splits `250-text` into code, whether more lines follow, and text.
fn split_line(line: &[u8]) -> Result<(ReplyCode, More, &[u8]), ReplyError> {
    let (digits, rest) = line.split_first_chunk::<3>().ok_or(ReplyError::Malformed)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(ReplyError::Malformed);
    }
    let number = digits.iter().fold(0, |sum, &digit| sum * 10 + u16::from(digit - b'0'));
    let code = ReplyCode::new(number).ok_or(ReplyError::Malformed)?;
    match rest.split_first() {
        // RFC 5321 §4.2: a receiver should accept a code without text, also without the space.
        None => Ok((code, More::No, rest)),
        Some((b' ', text)) => Ok((code, More::No, text)),
        Some((b'-', text)) => Ok((code, More::Yes, text)),
        Some(_) => Err(ReplyError::Malformed),
    }
}

/// What may stand in the text of a reply of ours (RFC 5321 §4.2 `textstring`, without HT).
fn printable_char(c: char) -> u8 {
    match u8::try_from(c) {
        Ok(byte @ b' '..=b'~') => byte,
        Ok(_) | Err(_) => b'?',
    }
}

/// What is passed on of a next hop's text: everything but control characters. UTF-8 stays, a next
/// hop sends it only where SMTPUTF8 allows it (RFC 6531 §3.7.4.2).
fn printable_byte(byte: u8) -> u8 {
    if byte.is_ascii_control() && byte != b'\t' { b'?' } else { byte }
}

/// The longest line of a next hop's reply, with CR. RFC 5321 §4.5.3.1.5 says 512; real servers put
/// long addresses and links into theirs.
pub const MAX_REPLY_LINE: usize = 2048;

/// The most lines of one reply. Servers with many extensions answer `EHLO` with about 25.
pub const MAX_REPLY_LINES: usize = 128;

/// The longest reply, all lines together.
pub const MAX_REPLY: usize = 32 * 1024;

/// The most text that we put into one line: 512 (RFC 5321 §4.5.3.1.5) less code, status code, CRLF.
const MAX_OWN_TEXT: usize = 480;

/// The most lines over which a text of ours is spread; what is longer is cut.
const MAX_OWN_LINES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn written(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn status_class_follows_the_code() {
        let cases = [
            (Reply::new(ReplyCode::OK, (1, 0), "ok"), "250 2.1.0 ok\r\n"),
            (Reply::new(ReplyCode::LOCAL_ERROR, (4, 1), "no"), "451 4.4.1 no\r\n"),
            (Reply::new(ReplyCode::REFUSED, (7, 1), ""), "550 5.7.1\r\n"),
            (Reply::plain(ReplyCode::START_INPUT, ["go"]), "354 go\r\n"),
            (Reply::plain(ReplyCode::OK, ["a", "b"]), "250-a\r\n250 b\r\n"),
        ];
        for (reply, want) in cases {
            assert_eq!(written(&reply), want);
        }
    }

    #[test]
    fn text_of_a_peer_cannot_add_a_line() {
        let reply = Reply::new(ReplyCode::REFUSED, (1, 1), "<a\r\n250 ok\0\u{e9}\u{85}@b>");
        assert_eq!(written(&reply), "550 5.1.1 <a??250 ok???@b>\r\n");
    }

    #[test]
    fn long_text_is_spread_over_short_lines() {
        let text = written(&Reply::new(ReplyCode::REFUSED, (7, 1), "x".repeat(1000)));
        assert_eq!(text.lines().count(), 3);
        assert!(text.split_inclusive("\r\n").all(|line| line.len() <= 512));
        let huge = written(&Reply::new(ReplyCode::REFUSED, (7, 1), "x".repeat(100_000)));
        assert_eq!(huge.lines().count(), MAX_OWN_LINES);
    }

    #[test]
    fn parses_what_servers_answer() {
        let cases = [
            (&b"250 ok\r\n"[..], 8, 250, vec![&b"ok"[..]]),
            (&b"250\r\n"[..], 5, 250, vec![&b""[..]]),
            (&b"250-a\r\n250 b\r\n220 x"[..], 14, 250, vec![&b"a"[..], &b"b"[..]]),
            (&b"250-a\r\n250\r\n"[..], 12, 250, vec![&b"a"[..], &b""[..]]),
            (&b"571 no\x07way\r\n"[..], 12, 571, vec![&b"no?way"[..]]),
            (&b"550 gr\xc3\xbc\xc3\x9fe\r\n"[..], 13, 550, vec![&b"gr\xc3\xbc\xc3\x9fe"[..]]),
        ];
        for (input, taken, code, lines) in cases {
            let (len, reply) = Reply::parse(input).unwrap().unwrap();
            assert_eq!((len, reply.code().number()), (taken, code), "{input:?}");
            assert_eq!(reply.lines().collect::<Vec<_>>(), lines, "{input:?}");
        }
    }

    #[test]
    fn waits_for_the_last_line() {
        for input in [&b""[..], b"2", b"250 ok", b"250 ok\r", b"250-ok\r\n", b"250-ok\r\n250 x\r"] {
            assert_eq!(Reply::parse(input), Ok(None), "{input:?}");
        }
    }

    #[test]
    fn refuses_what_is_no_reply() {
        let cases: [(&[u8], ReplyError); 9] = [
            (b"25\r\n", ReplyError::Malformed),
            (b"\r\n", ReplyError::Malformed),
            (b"099 x\r\n", ReplyError::Malformed),
            (b"600 x\r\n", ReplyError::Malformed),
            (b"2a0 x\r\n", ReplyError::Malformed),
            (b"250+x\r\n", ReplyError::Malformed),
            (b"250-x\r\n251 y\r\n", ReplyError::CodesDiffer),
            (b"250 x\n", ReplyError::BareNewline),
            (b"HTTP/1.1 400\r\n", ReplyError::Malformed),
        ];
        for (input, want) in cases {
            assert_eq!(Reply::parse(input), Err(want), "{input:?}");
        }
    }

    #[test]
    fn bounds_lines_and_length() {
        let long = [b"250 ".as_slice(), &[b'x'; MAX_REPLY_LINE]].concat();
        assert_eq!(Reply::parse(&long), Err(ReplyError::TooLong));
        let many = b"250-x\r\n".repeat(MAX_REPLY_LINES + 1);
        assert_eq!(Reply::parse(&many), Err(ReplyError::TooManyLines));
        let wide = [b"250-".as_slice(), &[b'x'; 1000], b"\r\n"].concat().repeat(40);
        assert_eq!(Reply::parse(&wide), Err(ReplyError::TooLong));
    }
}

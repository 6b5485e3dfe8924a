//! Command lines: one line at a time from a growing buffer, with a bound (RFC 5321 §2.3.8, §4.5.3.1.4).
//!
//! Only CRLF ends a command. A line that ends in LF alone is cut there and reported, never executed:
//! where two servers disagree about line ends, one of them runs commands that the other took for text.

use memchr::memchr;

/// What stands at the start of the input.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Line<'i> {
    /// No line end yet.
    Incomplete,
    /// A line, without its CRLF. It may hold bare CR and any other byte but LF.
    Complete(&'i [u8]),
    /// A line that ends in LF without CR before it.
    BareNewline,
    /// More than the allowed octets without a line end, or a longer line.
    TooLong,
}

/// Looks at the first line of `input`. Answers how many bytes it takes, line end included: 0 for an
/// incomplete line, and all that is there of one that is too long.
pub fn first_line(input: &[u8], max: usize) -> (usize, Line<'_>) {
    let Some(end) = memchr(b'\n', input) else {
        return if input.len() >= max {
            (input.len(), Line::TooLong)
        } else {
            (0, Line::Incomplete)
        };
    };
    let taken = end + 1;
    let line = input.get(..end).unwrap_or_default();
    if taken > max {
        (taken, Line::TooLong)
    } else if let Some(line) = line.strip_suffix(b"\r") {
        (taken, Line::Complete(line))
    } else {
        (taken, Line::BareNewline)
    }
}

/// The longest command line, CRLF included. RFC 5321 §4.5.3.1.4 says 512; the parameters of SMTPUTF8,
/// DSN, SIZE and AUTH add about 1,200 (RFC 3461 §4, RFC 6531 §3.4), and long local parts some more.
pub const MAX_COMMAND_LINE: usize = 4096;

/// The longest line of an AUTH exchange (RFC 4954 §4).
pub const MAX_AUTH_LINE: usize = 12_288;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_lines() {
        let cases: [(&[u8], (usize, Line<'_>)); 9] = [
            (b"", (0, Line::Incomplete)),
            (b"NOOP", (0, Line::Incomplete)),
            (b"NOOP\r", (0, Line::Incomplete)),
            (b"NOOP\r\n", (6, Line::Complete(b"NOOP"))),
            (b"\r\nNOOP\r\n", (2, Line::Complete(b""))),
            (b"NOOP\n", (5, Line::BareNewline)),
            (b"a\rb\r\n", (5, Line::Complete(b"a\rb"))),
            (b"0123456789", (10, Line::TooLong)),
            (b"0123456789\r\nNOOP", (12, Line::TooLong)),
        ];
        for (input, want) in cases {
            assert_eq!(first_line(input, 10), want, "{input:?}");
        }
    }
}

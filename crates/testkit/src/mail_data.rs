//! Real messages, from the test data of other mail software.
//!
//! `tests/install-peers` puts them into `build/mail` by the names of the packages that ship them
//! (`tests/peers/mail-sources`); none is in the repository. They come as they were found: some with LF,
//! some with CRLF, some damaged, some with two From fields or none.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::peers;

/// A message as a package ships it.
#[derive(Clone, Debug)]
pub struct RealMessage {
    /// The package and the file, such as `talon/gmail.eml`.
    pub name: String,
    /// The file, without an mbox separator.
    pub bytes: Vec<u8>,
}

impl RealMessage {
    /// The message as an MTA would carry it: each CRLF, bare LF and bare CR is a CRLF, and the last
    /// line is complete.
    pub fn on_the_wire(&self) -> Vec<u8> {
        with_crlf(&self.bytes)
    }

    /// Says whether an MTA could have been given this message: it has exactly one From field, no line
    /// over 998 octets (RFC 5322 §2.1.1), no NUL, and a header section that ends in an empty line.
    pub fn is_sendable(&self) -> bool {
        let message = self.on_the_wire();
        let Some(header_length) = message.windows(4).position(|octets| octets == b"\r\n\r\n")
        else {
            return false;
        };
        let lines = || message.split(|octet| *octet == b'\n');
        let header = message.get(..header_length).unwrap_or_default();
        let is_field = |line: &[u8]| {
            line.starts_with(b" ")
                || line.starts_with(b"\t")
                || line.iter().position(|octet| *octet == b':').is_some_and(|colon| {
                    colon > 0 && line.iter().take(colon).all(|octet| (b'!'..=b'~').contains(octet))
                })
        };
        let from_fields = header
            .split(|octet| *octet == b'\n')
            .filter(|line| {
                line.len() > 5 && line.iter().take(5).map(u8::to_ascii_lowercase).eq(*b"from:")
            })
            .count();
        from_fields == 1
            && header.split(|octet| *octet == b'\n').all(is_field)
            && !message.contains(&0)
            && lines().all(|line| line.len() <= MAX_LINE + 1)
    }
}

/// Every real message, in the order of the names.
///
/// # Errors
///
/// When `tests/install-peers` has not run, or collected fewer than [`AT_LEAST`] messages.
pub fn real_messages() -> Result<Vec<RealMessage>> {
    let mail = peers::installed("mail")?;
    let mut messages = Vec::new();
    for source in fs::read_dir(&mail)? {
        let source = source?;
        for file in fs::read_dir(source.path()).with_context(|| format!("{:?}", source.path()))? {
            let file = file?;
            messages.push(RealMessage {
                name: format!(
                    "{}/{}",
                    source.file_name().to_string_lossy(),
                    file.file_name().to_string_lossy()
                ),
                bytes: fs::read(file.path())?,
            });
        }
    }
    ensure!(
        messages.len() >= AT_LEAST,
        "{} holds {} messages, not {AT_LEAST}",
        mail.display(),
        messages.len()
    );
    messages.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(messages)
}

/// Turns each CRLF, bare LF and bare CR into a CRLF, and completes the last line.
pub fn with_crlf(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 32 + 2);
    let mut octets = bytes.iter().copied().peekable();
    while let Some(octet) = octets.next() {
        match octet {
            b'\r' => {
                let _ = octets.next_if_eq(&b'\n');
                out.extend_from_slice(b"\r\n");
            }
            b'\n' => out.extend_from_slice(b"\r\n"),
            other => out.push(other),
        }
    }
    if !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// How many messages the packages hold at least; fewer means that one has changed.
pub const AT_LEAST: usize = 300;

/// Longest line, without CRLF (RFC 5322 §2.1.1).
const MAX_LINE: usize = 998;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_at_least_three_hundred_distinct_messages() {
        let mut messages = real_messages().unwrap();
        assert!(messages.len() >= AT_LEAST);
        assert!(messages.iter().all(|message| !message.bytes.is_empty()));
        let all = messages.len();
        messages.sort_by(|one, other| one.bytes.cmp(&other.bytes));
        messages.dedup_by(|one, other| one.bytes == other.bytes);
        assert_eq!(messages.len(), all);
    }

    #[test]
    fn most_real_messages_are_sendable() {
        let messages = real_messages().unwrap();
        let sendable = messages.iter().filter(|message| message.is_sendable()).count();
        assert!(sendable >= 250 && sendable < messages.len(), "{sendable} of {}", messages.len());
    }

    #[test]
    fn every_kind_of_line_end_becomes_crlf() {
        let cases: [(&[u8], &[u8]); 6] = [
            (b"", b"\r\n"),
            (b"a", b"a\r\n"),
            (b"a\nb\n", b"a\r\nb\r\n"),
            (b"a\r\n\r\n", b"a\r\n\r\n"),
            (b"a\rb", b"a\r\nb\r\n"),
            (b"a\r\r\n", b"a\r\n\r\n"),
        ];
        for (input, want) in cases {
            assert_eq!(with_crlf(input), want, "{input:?}");
        }
    }

    #[test]
    fn tells_what_an_mta_would_take() {
        let cases: [(&[u8], bool); 6] = [
            (b"From: a@b.example\n\nx\n", true),
            (b"from:a@b.example\n\nx\n", true),
            (b"To: a@b.example\n\nx\n", false),
            (b"From: a@b.example\nFrom: c@b.example\n\nx\n", false),
            (b"From: a@b.example\nno field\n\nx\n", false),
            (b"From: a@b.example\n\nx\0\n", false),
        ];
        for (bytes, want) in cases {
            let message = RealMessage { name: String::new(), bytes: bytes.to_vec() };
            assert_eq!(message.is_sendable(), want, "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}

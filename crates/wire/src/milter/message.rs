//! One message: its envelope and its header, put together again from what the MTA passes on.
//!
//! An MTA does not pass the header as it stands. It sends name and value of each field apart, and
//! the line breaks of a folded value as LF (Sendmail, Postfix) or CRLF (some others). Whether the
//! value has its first space is a matter of negotiation:
//!
//! | in the message | with `SMFIP_HDR_LEADSPC` | without | and put together from the latter |
//! |---|---|---|---|
//! | `Subject: a` | ` a` | `a` | `Subject: a` |
//! | `Subject:a` | `a` | `a` | `Subject: a` (differs) |
//! | `Subject:  a` | `  a` | ` a` | `Subject:  a` |
//! | `Subject:␉a` | `␉a` | `␉a` | `Subject:␉a` |
//! | `Subject:␍␊␉a` | `␊␉a` | `␊␉a` | `Subject:␍␊␉a` |
//! | `Subject: ␍␊␉a` | ` ␊␉a` | `␊␉a` | `Subject:␍␊␉a` (differs) |
//!
//! So without it the bytes are those of nearly all mail, and a `simple` header canonicalization can
//! fail on the rest. White space between name and colon is lost with every MTA; `relaxed` ignores
//! it (RFC 6376 §3.4.2).
//!
//! The body is not kept.

use super::macros::MacroValues;

/// The envelope and the header of the message at hand.
///
/// It lives from MAIL to the end of the message, to an abort, or to the next MAIL. Nothing of it
/// reaches the next message.
#[derive(Clone, Debug, Default)]
pub struct Message {
    sender: Vec<u8>,
    recipients: Slices,
    header: Slices,
    pub(super) macros: MacroValues,
    refusal: Option<Refusal>,
}

impl Message {
    pub(super) fn new(sender: &[u8], macros: MacroValues) -> Self {
        let sender = sender.get(..MAX_ADDRESS).unwrap_or(sender).to_vec();
        Self { sender, macros, ..Self::default() }
    }

    /// The address of MAIL FROM without its brackets; empty is the null reverse-path.
    pub fn sender(&self) -> &[u8] {
        &self.sender
    }

    /// The addresses of RCPT TO without their brackets, in the order they came.
    ///
    /// Empty if the message is refused for their number.
    pub fn recipients(&self) -> impl Iterator<Item = &[u8]> {
        self.recipients.iter()
    }

    /// The fields of the header from the top, each with its name, colon, value and CRLF.
    ///
    /// Empty if the message is refused for its header.
    pub fn fields(&self) -> impl Iterator<Item = &[u8]> {
        self.header.iter()
    }

    /// Why the message cannot be processed, however it goes on.
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }

    pub(super) fn push_recipient(&mut self, address: &[u8]) {
        if self.recipients.len() >= MAX_RECIPIENTS
            || self.recipients.octets() + address.len() > MAX_RECIPIENT_BYTES
        {
            self.refuse(Refusal::TooManyRecipients);
        }
        if self.refusal != Some(Refusal::TooManyRecipients) {
            self.recipients.push(|bytes| bytes.extend_from_slice(address));
        }
    }

    pub(super) fn push_field(&mut self, name: &[u8], value: &[u8], space: LeadingSpace) {
        if self.header.len() >= MAX_FIELDS {
            self.refuse(Refusal::TooManyFields);
        }
        // Each LF may become CRLF, so the size is known for sure only afterwards.
        if self.header.octets() + name.len() + value.len() > MAX_HEADER_BYTES {
            self.refuse(Refusal::HeaderTooLarge);
        }
        if name.is_empty() || name.iter().any(|c| matches!(c, b':' | b'\r' | b'\n')) {
            self.refuse(Refusal::MalformedField);
        }
        if self.refusal.is_some() {
            return;
        }
        let mut folds = true;
        self.header.push(|bytes| {
            bytes.extend_from_slice(name);
            bytes.push(b':');
            if space == LeadingSpace::Cut && !matches!(value.first(), Some(b'\t' | b'\r' | b'\n')) {
                bytes.push(b' ');
            }
            folds = append_value(bytes, value);
            bytes.extend_from_slice(b"\r\n");
        });
        if !folds {
            self.refuse(Refusal::MalformedField);
        } else if self.header.octets() > MAX_HEADER_BYTES {
            self.refuse(Refusal::HeaderTooLarge);
        }
    }

    pub(super) fn refuse(&mut self, refusal: Refusal) {
        self.refusal.get_or_insert(refusal);
        match refusal {
            Refusal::TooManyRecipients => self.recipients = Slices::default(),
            Refusal::HeaderTooLarge | Refusal::TooManyFields | Refusal::MalformedField => {
                self.header = Slices::default();
            }
        }
    }
}

/// Why a message is refused before anybody looks at it.
///
/// The MTA waits for an answer only at the end of the message, so that is where the reply goes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Refusal {
    /// The header is longer than [`MAX_HEADER_BYTES`] (552 5.3.4).
    HeaderTooLarge,
    /// The header has more than [`MAX_FIELDS`] fields (552 5.3.4).
    TooManyFields,
    /// A field without a name, or with a line break that does not fold it (550 5.6.0). It would be
    /// two fields, or the end of the header, to whoever reads the message later.
    MalformedField,
    /// More than [`MAX_RECIPIENTS`] or [`MAX_RECIPIENT_BYTES`] (452 4.5.3).
    TooManyRecipients,
}

/// What the MTA does with the space after the colon (`SMFIP_HDR_LEADSPC`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum LeadingSpace {
    /// It is a part of the value.
    Kept,
    /// It is cut off, and added to values that we give.
    Cut,
}

/// Slices of one buffer, one after the other.
#[derive(Clone, Debug, Default)]
struct Slices {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Slices {
    fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn octets(&self) -> usize {
        self.bytes.len()
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let slice = self.bytes.get(start..end).unwrap_or_default();
            start = end;
            slice
        })
    }
}

/// Appends a value with its line breaks as CRLF. Says whether each of them folds.
fn append_value(bytes: &mut Vec<u8>, value: &[u8]) -> bool {
    let mut rest = value;
    let mut folds = true;
    while let Some(lf) = memchr::memchr(b'\n', rest) {
        let (line, after) = rest.split_at(lf);
        bytes.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        rest = after.get(1..).unwrap_or_default();
        match rest.first() {
            Some(b' ' | b'\t') => bytes.extend_from_slice(b"\r\n"),
            Some(_) => folds = false,
            // Some clients send the line break that ends the field.
            None => {}
        }
    }
    bytes.extend_from_slice(rest);
    folds
}

/// Octets of the header of one message: 1 MiB.
///
/// By default Postfix takes 100 KiB of one field (`header_size_limit`), and Sendmail 32 KiB of all
/// (`MaxHeadersLength`).
pub const MAX_HEADER_BYTES: usize = 1 << 20;

/// Fields in the header of one message. Real mail has up to a few hundred. No official reference;
/// it bounds what is done per field.
pub const MAX_FIELDS: usize = 10_000;

/// Recipients of one message. RFC 5321 §4.5.3.1.8 asks for 100; MTAs allow 1,000 by default.
pub const MAX_RECIPIENTS: usize = 50_000;

/// Octets of all recipients' addresses.
pub const MAX_RECIPIENT_BYTES: usize = 2 << 20;

/// Octets of a sender that are kept. RFC 5321 §4.5.3.1.3 allows 256.
const MAX_ADDRESS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &[u8], value: &[u8], space: LeadingSpace) -> Result<String, Refusal> {
        let mut message = Message::default();
        message.push_field(name, value, space);
        match message.refusal() {
            Some(refusal) => {
                assert_eq!(message.fields().count(), 0);
                Err(refusal)
            }
            None => Ok(message.fields().map(|f| f.escape_ascii().to_string()).collect()),
        }
    }

    #[test]
    fn puts_a_field_together_as_it_stood() {
        // value with the space kept, value with it cut, the field
        let cases: [(&[u8], &[u8], &str); 12] = [
            (b" a", b"a", r"S: a\r\n"),
            (b"  a", b" a", r"S:  a\r\n"),
            (b"\ta", b"\ta", r"S:\ta\r\n"),
            (b"\n a", b"\n a", r"S:\r\n a\r\n"),
            (b"\r\n\ta", b"\r\n\ta", r"S:\r\n\ta\r\n"),
            (b" a\n b\n\tc", b"a\n b\n\tc", r"S: a\r\n b\r\n\tc\r\n"),
            (b" a\r\n b\n\tc", b"a\r\n b\n\tc", r"S: a\r\n b\r\n\tc\r\n"),
            (b" a \n b", b"a \n b", r"S: a \r\n b\r\n"),
            (b" a\r\n", b"a\r\n", r"S: a\r\n"),
            (b" a\n", b"a\n", r"S: a\r\n"),
            (b" \xffb\rc", b"\xffb\rc", r"S: \xffb\rc\r\n"),
            (b" ", b"", r"S: \r\n"),
        ];
        for (kept, cut, want) in cases {
            let (space, text) = (LeadingSpace::Kept, kept.escape_ascii());
            assert_eq!(field(b"S", kept, space).as_deref(), Ok(want), "kept: {text}");
            let (space, text) = (LeadingSpace::Cut, cut.escape_ascii());
            assert_eq!(field(b"S", cut, space).as_deref(), Ok(want), "cut: {text}");
        }
        assert_eq!(field(b"S", b"", LeadingSpace::Kept).as_deref(), Ok(r"S:\r\n"));
    }

    #[test]
    fn refuses_what_is_not_one_field() {
        let cases: [(&[u8], &[u8]); 6] = [
            (b"", b" a"),
            (b"A:B", b" a"),
            (b"A\r\nB", b" a"),
            (b"A", b" a\nBcc: b"),
            (b"A", b" a\r\n\r\nbody"),
            (b"A", b" a\n\n b"),
        ];
        for (name, value) in cases {
            let got = field(name, value, LeadingSpace::Kept);
            assert_eq!(got, Err(Refusal::MalformedField), "{}", value.escape_ascii());
        }
    }

    #[test]
    fn bounds_the_header_and_the_recipients() {
        let mut message = Message::default();
        for _ in 0..MAX_FIELDS {
            message.push_field(b"X", b"", LeadingSpace::Kept);
        }
        assert_eq!(message.refusal(), None);
        message.push_field(b"X", b"", LeadingSpace::Kept);
        assert_eq!(message.refusal(), Some(Refusal::TooManyFields));

        let largest = vec![b'x'; MAX_HEADER_BYTES - b"X:\r\n".len()];
        assert!(field(b"X", &largest, LeadingSpace::Kept).is_ok());
        let refused = Err(Refusal::HeaderTooLarge);
        assert_eq!(field(b"X", &largest, LeadingSpace::Cut), refused);
        assert_eq!(
            field(b"X", &b"\n ".repeat(MAX_HEADER_BYTES / 2 - 9), LeadingSpace::Kept),
            refused
        );

        let mut message = Message::default();
        for _ in 0..MAX_RECIPIENTS {
            message.push_recipient(b"a@b");
        }
        assert_eq!((message.refusal(), message.recipients().count()), (None, MAX_RECIPIENTS));
        message.push_recipient(b"a@b");
        message.push_recipient(b"a@b");
        assert_eq!(message.refusal(), Some(Refusal::TooManyRecipients));
        assert_eq!(message.recipients().count(), 0);
    }
}

//! Builds messages for tests, with CRLF line ends and nothing added that was not asked for.

/// A message in the making.
#[derive(Clone, Debug, Default)]
pub struct MessageBuilder {
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl MessageBuilder {
    /// A message of one line from `from` to `to` with the usual fields and a fixed date.
    pub fn simple(from: &str, to: &str) -> Self {
        Self::default()
            .field("From", from)
            .field("To", to)
            .field("Subject", "A message of a test")
            .field("Date", "Sat, 01 Aug 2026 12:00:00 +0000")
            .field("Message-ID", "<one@postseal.test>")
            .body(b"Hello.\r\n")
    }

    /// Adds a field below those that are there.
    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the value of the first field of that name, or adds it.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        match self.fields.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            Some((_, old)) => value.clone_into(old),
            None => self.fields.push((name.to_owned(), value.to_owned())),
        }
        self
    }

    /// Sets the body, as octets.
    #[must_use]
    pub fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    /// Sets a body of exactly `size` octets: lines of text that differ from each other, with CRLF.
    #[must_use]
    pub fn body_of(mut self, size: usize) -> Self {
        self.body = lines_of_text(size);
        self
    }

    /// The whole message.
    pub fn build(&self) -> Vec<u8> {
        let mut message = Vec::with_capacity(self.body.len() + 1024);
        for (name, value) in &self.fields {
            message.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        message.extend_from_slice(b"\r\n");
        message.extend_from_slice(&self.body);
        message
    }
}

/// Splits a message into its header section (with the CRLF of its last field) and its body.
pub fn split(message: &[u8]) -> (&[u8], &[u8]) {
    if let Some(body) = message.strip_prefix(b"\r\n") {
        return (b"", body);
    }
    match message.windows(4).position(|octets| octets == b"\r\n\r\n") {
        Some(at) => {
            let (header, rest) = message.split_at(at + 2);
            (header, rest.strip_prefix(b"\r\n").unwrap_or(rest))
        }
        None => (message, b""),
    }
}

/// The raw fields of a header section, from the top, each with its CRLF.
pub fn fields(header: &[u8]) -> Vec<&[u8]> {
    let mut fields = Vec::new();
    let mut start = 0;
    for (at, window) in header.windows(2).enumerate() {
        let folded = matches!(header.get(at + 2), Some(b' ' | b'\t'));
        if window == b"\r\n" && !folded {
            fields.extend(header.get(start..at + 2));
            start = at + 2;
        }
    }
    fields.extend(header.get(start..).filter(|rest| !rest.is_empty()));
    fields
}

/// The values of all fields of that name, from the top, without the blank after the colon and the CRLF.
pub fn values(message: &[u8], name: &str) -> Vec<String> {
    fields(split(message).0)
        .into_iter()
        .filter_map(|field| {
            let text = String::from_utf8_lossy(field);
            let (found, value) = text.split_once(':')?;
            found.trim_end().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
        .collect()
}

fn lines_of_text(size: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(size + LINE);
    let mut number = 0_u64;
    // The last line is at least a CRLF.
    while body.len() + LINE + 2 <= size {
        // A number first, so that no two lines are alike; blanks last, which relaxed canonicalization drops.
        body.extend_from_slice(
            format!(
                "{number:>8} The quick brown fox jumps over the lazy dog, and then again.  \r\n"
            )
            .as_bytes(),
        );
        number += 1;
    }
    body.resize(size.saturating_sub(2).max(body.len()), b'.');
    body.extend(b"\r\n".iter().take(size - body.len()));
    body
}

/// Octets of one line of a generated body, with its CRLF.
const LINE: usize = 73;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_fields_in_order_and_the_body_as_given() {
        let message = MessageBuilder::default()
            .field("From", "a@b.example")
            .field("X-A", "1")
            .set("from", "c@d.example")
            .body(b"x")
            .build();
        assert_eq!(message, b"From: c@d.example\r\nX-A: 1\r\n\r\nx");
    }

    #[test]
    fn generated_bodies_have_the_size_asked_for_and_end_in_crlf() {
        for size in [0, 1, 2, 3, 72, 73, 74, 75, 2048, 51_200] {
            let body = lines_of_text(size);
            assert_eq!(body.len(), size);
            assert!(size < 2 || body.ends_with(b"\r\n"), "{size}");
            assert!(
                body.split(|octet| *octet == b'\n').all(|line| line.len() <= LINE + 2),
                "{size}"
            );
        }
    }

    #[test]
    fn splits_header_and_body_and_fields() {
        let message = b"A: 1\r\n 2\r\nB:3\r\n\r\nbody\r\n\r\nmore";
        let (header, body) = split(message);
        assert_eq!(body, b"body\r\n\r\nmore");
        let parts: [&[u8]; 2] = [b"A: 1\r\n 2\r\n", b"B:3\r\n"];
        assert_eq!(fields(header), parts);
        assert_eq!(values(message, "b"), ["3"]);
        assert_eq!(split(b"\r\nx"), (&b""[..], &b"x"[..]));
        assert_eq!(split(b"A: 1\r\n"), (&b"A: 1\r\n"[..], &b""[..]));
    }
}

//! Writes a header field of tags, folded.
//!
//! No line gets longer than [`MAX_COLUMNS`] unless a single token is (a long domain, say), and no white
//! space gets into a token: a fold stands between tags, behind a colon of a list, or in base64, where
//! white space counts for nothing.

/// A field that is being written.
#[derive(Clone, Debug)]
pub(crate) struct FoldedField {
    text: Vec<u8>,
    /// Octets on the last line.
    column: usize,
}

impl FoldedField {
    /// Begins a field of this name.
    pub(crate) fn new(name: &str) -> Self {
        let mut text = Vec::with_capacity(TYPICAL_LEN);
        text.extend_from_slice(name.as_bytes());
        text.push(b':');
        Self { column: text.len(), text }
    }

    /// Appends a token behind a space or a fold.
    pub(crate) fn token(&mut self, token: &str) {
        if self.column + 1 + token.len() > MAX_COLUMNS {
            self.fold();
        } else {
            self.push(b" ");
        }
        self.push(token.as_bytes());
    }

    /// Appends more of a list, directly or behind a fold.
    pub(crate) fn list_item(&mut self, item: &str) {
        if self.column + item.len() > MAX_COLUMNS {
            self.fold();
        }
        self.push(item.as_bytes());
    }

    /// Appends base64, folded wherever a line is full.
    pub(crate) fn base64(&mut self, text: &str) {
        let mut rest = text.as_bytes();
        loop {
            let room = MAX_COLUMNS.saturating_sub(self.column).min(rest.len());
            let (line, after) = rest.split_at(room);
            self.push(line);
            if after.is_empty() {
                return;
            }
            self.fold();
            rest = after;
        }
    }

    /// Ends the line of a piece that was written here.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.text.extend_from_slice(b"\r\n");
        self.text
    }

    /// The field so far.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    fn fold(&mut self) {
        self.text.extend_from_slice(b"\r\n ");
        self.column = 1;
    }

    fn push(&mut self, octets: &[u8]) {
        self.text.extend_from_slice(octets);
        self.column += octets.len();
    }
}

/// The longest line without its CRLF. RFC 5322 §2.1.1 asks for 78 at most.
pub(crate) const MAX_COLUMNS: usize = 76;

/// Room for most signatures.
const TYPICAL_LEN: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_only_where_it_may() {
        let mut field = FoldedField::new("X");
        field.token(&"a".repeat(73));
        field.token("b");
        field.token(&"c".repeat(100));
        field.token("h=d:");
        field.list_item(&"e".repeat(71));
        field.list_item("f;");
        field.token("b=");
        field.base64(&"g".repeat(150));

        let text = String::from_utf8(field.finish()).unwrap();
        let lines: Vec<_> = text.split("\r\n").collect();
        assert_eq!(lines[0], format!("X: {}", "a".repeat(73)));
        assert_eq!(lines[1], " b");
        assert_eq!(lines[2], format!(" {}", "c".repeat(100)));
        assert_eq!(lines[3], format!(" h=d:{}", "e".repeat(71)));
        assert_eq!(lines[4], format!(" f; b={}", "g".repeat(70)));
        assert_eq!(lines[5], format!(" {}", "g".repeat(75)));
        assert_eq!(lines[6], " ggggg");
        assert_eq!(lines[7], "");
    }
}

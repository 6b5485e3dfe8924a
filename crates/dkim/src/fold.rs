//! Writes a header field of tags, folded.
//!
//! No line gets longer than [`MAX_COLUMNS`] unless a single token is (a long domain, say), and no white
//! space gets into a token: a fold stands between tags, behind a colon of a list, or in base64, where
//! white space counts for nothing.

use std::fmt::{self, Write as _};

/// A field that is being written.
#[derive(Clone, Debug)]
pub(crate) struct FoldedField {
    text: Vec<u8>,
    /// Octets on the last line.
    column: usize,
    /// Where tokens are put together.
    scratch: String,
}

impl FoldedField {
    /// Begins a field of this name.
    pub(crate) fn new(name: &str) -> Self {
        let mut text = Vec::with_capacity(TYPICAL_LEN);
        text.extend_from_slice(name.as_bytes());
        text.push(b':');
        Self { column: text.len(), text, scratch: String::new() }
    }

    /// Appends `name=value;`.
    pub(crate) fn tag(&mut self, name: &str, value: impl fmt::Display) {
        let mut token = std::mem::take(&mut self.scratch);
        token.clear();
        write!(token, "{name}={value};").expect("a string takes all that is written");
        self.token(&token);
        self.scratch = token;
    }

    /// Appends `name=item:item;`, with folds behind colons.
    pub(crate) fn list(&mut self, name: &str, items: &[impl AsRef<str>]) {
        let mut token = std::mem::take(&mut self.scratch);
        token.clear();
        token.push_str(name);
        token.push('=');
        for (place, item) in items.iter().enumerate() {
            token.push_str(item.as_ref());
            token.push(if place + 1 == items.len() { ';' } else { ':' });
            if place == 0 {
                self.token(&token);
            } else {
                if self.column + token.len() > MAX_COLUMNS {
                    self.fold();
                }
                self.push(token.as_bytes());
            }
            token.clear();
        }
        self.scratch = token;
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

    /// Appends a token that may be folded in front of the white space in it, which stays: a quoted
    /// string (RFC 5322 §3.2.4). No line gets nothing but white space.
    pub(crate) fn phrase(&mut self, phrase: &str) {
        let (word, mut rest) = phrase.split_at(word_len(phrase));
        self.token(word);
        while !rest.is_empty() {
            let (word, after) = rest.split_at(word_len(rest));
            if self.column + word.len() > MAX_COLUMNS {
                self.text.extend_from_slice(b"\r\n");
                self.column = 0;
            }
            self.push(word.as_bytes());
            rest = after;
        }
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

    /// Begins a line.
    pub(crate) fn fold(&mut self) {
        self.text.extend_from_slice(b"\r\n ");
        self.column = 1;
    }

    /// Appends octets as they are.
    pub(crate) fn push(&mut self, octets: &[u8]) {
        self.text.extend_from_slice(octets);
        self.column += octets.len();
    }
}

/// Up to the next white space that something else follows at once.
fn word_len(phrase: &str) -> usize {
    let is_space = |octet: u8| matches!(octet, b' ' | b'\t');
    let octets = phrase.as_bytes();
    (1..octets.len())
        .find(|at| {
            let (here, next) = (octets.get(*at), octets.get(at + 1));
            here.is_some_and(|o| is_space(*o)) && next.is_some_and(|o| !is_space(*o))
        })
        .unwrap_or(octets.len())
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
        field.list("h", &["d".to_owned(), "e".repeat(70), "f".to_owned()]);
        field.token("b=");
        field.base64(&"g".repeat(150));

        let text = String::from_utf8(field.finish()).unwrap();
        let lines: Vec<_> = text.split("\r\n").collect();
        assert_eq!(lines[0], format!("X: {}", "a".repeat(73)));
        assert_eq!(lines[1], " b");
        assert_eq!(lines[2], format!(" {}", "c".repeat(100)));
        assert_eq!(lines[3], format!(" h=d:{}:", "e".repeat(70)));
        assert_eq!(lines[4], format!(" f; b={}", "g".repeat(70)));
        assert_eq!(lines[5], format!(" {}", "g".repeat(75)));
        assert_eq!(lines[6], " ggggg");
        assert_eq!(lines[7], "");
    }

    #[test]
    fn phrases_fill_their_lines_and_fold_in_front_of_the_last_white_space_of_a_run() {
        let folded = |phrase: &str| {
            let mut field = FoldedField::new("X");
            field.phrase(phrase);
            String::from_utf8(field.finish()).unwrap()
        };
        // With the name, 71 columns.
        let word = "a".repeat(68);
        assert_eq!(folded(&format!("{word} bcde")), format!("X: {word} bcde\r\n"));
        assert_eq!(folded(&format!("{word} bcdef")), format!("X: {word}\r\n bcdef\r\n"));
        assert_eq!(folded(&format!("{word} \t bcde")), format!("X: {word} \t\r\n bcde\r\n"));
    }

    #[test]
    fn folds_phrases_in_front_of_white_space_and_keeps_it() {
        let phrase =
            format!("r=\"{} b  c{}d \t{} \"", "a".repeat(60), " ".repeat(90), "e".repeat(70));
        let mut field = FoldedField::new("X");
        field.phrase(&phrase);

        let text = String::from_utf8(field.finish()).unwrap();
        let unfolded = text.trim_end_matches("\r\n").replace("\r\n", "");
        assert_eq!(unfolded, format!("X: {phrase}"));
        let lines: Vec<_> = text.trim_end_matches("\r\n").split("\r\n").collect();
        assert!(lines.len() > 2, "{lines:?}");
        assert!(lines.iter().all(|line| !line.trim().is_empty()), "{lines:?}");
    }
}

//! Messages of shapes on which implementations of DKIM differ: generated, each by a seed and a number.
//!
//! They are well-formed for an MTA (RFC 5322 with its obsolete syntax): one From, fields and nothing else in the header, CRLF and
//! no NUL. Everything in them has a meaning to canonicalization. The same seed and number give the same octets.

use std::collections::BTreeSet;
use std::fmt;

use crate::mutate::Random;

/// What is hard about a message.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Shape {
    /// Field values folded in odd places.
    Folds,
    /// Tabs and runs of white space in values and body.
    Tabs,
    /// Fields without a value, or with nothing but white space.
    EmptyValue,
    /// Folded lines with nothing but white space (RFC 5322 §4.2).
    BlankFold,
    /// Several fields of a name, in any case.
    DuplicateField,
    /// Lines of 998 octets, of header and body.
    LongLine,
    /// Folded fields of up to 40,000 octets.
    LongField,
    /// Octets above 127, UTF-8 or not, in values and body.
    EightBit,
    /// White space at the end of values and of body lines.
    TrailingBlanks,
    /// Body lines with nothing but white space, also as the last ones.
    BlankLines,
    /// An empty line, and no body.
    NoBody,
    /// A header section that no empty line ends, and no body.
    NoEmptyLine,
    /// A body of empty lines alone.
    OnlyCrlf,
    /// White space in front of a colon (RFC 5322 §4.5).
    SpaceBeforeColon,
    /// Body lines that begin with dots, and lone dots.
    Dots,
    /// Empty lines at the end of the body.
    EmptyLinesAtEnd,
    /// A last line without CRLF.
    NoFinalCrlf,
    /// Names in other case.
    OddCase,
    /// Dozens of fields.
    ManyFields,
}

impl Shape {
    /// Every shape.
    pub const ALL: [Self; 19] = [
        Self::Folds,
        Self::Tabs,
        Self::EmptyValue,
        Self::BlankFold,
        Self::DuplicateField,
        Self::LongLine,
        Self::LongField,
        Self::EightBit,
        Self::TrailingBlanks,
        Self::BlankLines,
        Self::NoBody,
        Self::NoEmptyLine,
        Self::OnlyCrlf,
        Self::SpaceBeforeColon,
        Self::Dots,
        Self::EmptyLinesAtEnd,
        Self::NoFinalCrlf,
        Self::OddCase,
        Self::ManyFields,
    ];
}

/// A generated message.
#[derive(Clone, Debug)]
pub struct Shaped {
    /// The seed.
    pub seed: u64,
    /// Its number among those of the seed.
    pub number: u64,
    /// What is hard about it.
    pub shapes: BTreeSet<Shape>,
    /// The message.
    pub bytes: Vec<u8>,
}

impl Shaped {
    /// Makes one, of one to four shapes.
    pub fn new(seed: u64, number: u64) -> Self {
        let mut random = Random::for_case(seed, number);
        let shapes: BTreeSet<Shape> =
            (0..=random.below(4)).map(|_| *random.pick(&Shape::ALL)).collect();
        let mut draft = Draft::new(&mut random);
        // In the order of the list, so that the shapes of the end of a body come last.
        for shape in &shapes {
            draft.give(*shape, &mut random);
        }
        Self { seed, number, shapes, bytes: draft.finish() }
    }
}

impl fmt::Display for Shaped {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, number, shapes, bytes } = self;
        write!(out, "message {number} of seed {seed}, {shapes:?}, {} octets", bytes.len())
    }
}

struct Draft {
    /// Names, and values with what follows the colon.
    fields: Vec<(String, Vec<u8>)>,
    has_empty_line: bool,
    /// Without their line ends.
    lines: Vec<Vec<u8>>,
    ends_in_crlf: bool,
}

impl Draft {
    fn new(random: &mut Random) -> Self {
        let mut fields: Vec<(String, Vec<u8>)> = [
            ("From", " Ann Author <ann@example.com>".to_owned()),
            ("To", " Bob <bob@example.net>, Eve <eve@example.org>".to_owned()),
            ("Subject", format!(" {}", words(random, 6))),
            ("Date", " Sat, 01 Aug 2026 12:00:00 +0000".to_owned()),
            ("Message-ID", format!(" <{}@example.com>", random.number())),
            ("MIME-Version", " 1.0".to_owned()),
            ("Content-Type", " text/plain; charset=utf-8; format=flowed".to_owned()),
            ("List-Unsubscribe", " <https://example.com/u>, <mailto:u@example.com>".to_owned()),
            ("X-Note", format!(" {}", words(random, 4))),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into_bytes()))
        .collect();
        for at in (1..fields.len()).rev() {
            fields.swap(at, random.below(at + 1));
        }
        let lines = (0..1 + random.below(8)).map(|_| words(random, 9).into_bytes()).collect();
        Self { fields, has_empty_line: true, lines, ends_in_crlf: true }
    }

    fn give(&mut self, shape: Shape, random: &mut Random) {
        match shape {
            Shape::Folds => {
                self.put_into_values(random, &["\r\n ", "\r\n\t", " \r\n  ", "\r\n \t"])
            }
            Shape::Tabs => {
                self.put_into_values(random, &["\t", "  ", " \t "]);
                self.put_into_lines(random, &["\t", "  ", " \t "]);
            }
            Shape::EmptyValue => {
                for name in ["X-Empty", "References", "Reply-To"] {
                    let value = random.pick(&["", " ", "\t ", " \t"]);
                    self.add(random, name, value.as_bytes());
                }
                if random.below(2) == 0
                    && let Some((_, value)) =
                        self.fields.iter_mut().find(|(name, _)| name == "Subject")
                {
                    value.clear();
                }
            }
            Shape::BlankFold => {
                self.put_into_values(random, &["\r\n \r\n ", "\r\n\t \r\n\t"]);
                self.add(random, "X-Blank-Fold", b"\r\n \r\n x");
            }
            Shape::DuplicateField => {
                for _ in 0..1 + random.below(4) {
                    let name = random.pick(&[
                        "To",
                        "Subject",
                        "Received",
                        "X-Note",
                        "list-unsubscribe",
                        "CC",
                    ]);
                    let value = format!(" {}", words(random, 3));
                    self.add(random, name, value.as_bytes());
                }
            }
            Shape::LongLine => {
                let line = "abcdefgh ".repeat(120).into_bytes();
                let at = random.below(self.lines.len() + 1);
                self.lines.insert(at, line[..998].to_vec());
                self.lines.insert(at, vec![b'x'; 998]);
                // With room for white space in front of the colon.
                self.add(random, "X-Long-Line", &[&b" "[..], &line[..998 - 16]].concat());
            }
            Shape::LongField => {
                let name = random.pick(&["References", "To", "X-Long"]);
                let count = 100 + random.below(1900);
                let value = " <word@example.com>,\r\n".repeat(count);
                self.add(random, name, &[value.as_bytes(), b" <last@example.com>"].concat());
            }
            Shape::EightBit => {
                let things = ["é", "例え", "\u{a0}", "ÿ"];
                self.put_into_values(random, &things);
                self.put_into_lines(random, &things);
                let octets =
                    *random.pick(&[&b" caf\xe9"[..], b" \xff\xfe", b" \xc3", b" \xa0x\xa0"]);
                self.add(random, "X-Latin", octets);
                self.lines.push(octets.to_vec());
            }
            Shape::TrailingBlanks => {
                for line in &mut self.lines {
                    line.extend_from_slice(random.pick(&["", " ", "  ", "\t", " \t "]).as_bytes());
                }
                for (_, value) in &mut self.fields {
                    let blanks = random.pick(&["", "", " ", "\t", " \t "]).as_bytes();
                    value.extend_from_slice(if is_full(value) { b"" } else { blanks });
                }
            }
            Shape::BlankLines => {
                for _ in 0..1 + random.below(4) {
                    let at = random.below(self.lines.len() + 1);
                    let line = random.pick(&[" ", "\t", "  \t "]);
                    self.lines.insert(at, line.as_bytes().to_vec());
                }
            }
            Shape::NoBody => self.lines.clear(),
            Shape::NoEmptyLine => self.has_empty_line = false,
            Shape::OnlyCrlf => self.lines = vec![Vec::new(); 1 + random.below(4)],
            Shape::SpaceBeforeColon => {
                for _ in 0..1 + random.below(2) {
                    let at = random.below(self.fields.len());
                    let blanks = random.pick(&[" ", "\t", "  "]);
                    if let Some((name, _)) = self.fields.get_mut(at) {
                        name.push_str(blanks);
                    }
                }
            }
            Shape::Dots => {
                for line in [".", "..", ".leading", "...", ". "] {
                    let at = random.below(self.lines.len() + 1);
                    self.lines.insert(at, line.as_bytes().to_vec());
                }
            }
            Shape::EmptyLinesAtEnd => {
                self.lines.extend(vec![Vec::new(); 1 + random.below(5)]);
            }
            Shape::NoFinalCrlf => self.ends_in_crlf = false,
            Shape::OddCase => {
                for (name, _) in &mut self.fields {
                    match random.below(3) {
                        0 => name.make_ascii_uppercase(),
                        1 => name.make_ascii_lowercase(),
                        _ => {}
                    }
                }
            }
            Shape::ManyFields => {
                for number in 0..20 + random.below(40) {
                    let name = random.pick(&["Received", "X-Many", "References"]);
                    let value = format!(" from {number} by {}", words(random, 2));
                    self.add(random, name, value.as_bytes());
                }
            }
        }
    }

    fn add(&mut self, random: &mut Random, name: &str, value: &[u8]) {
        let at = random.below(self.fields.len() + 1);
        self.fields.insert(at, (name.to_owned(), value.to_vec()));
    }

    /// Puts one of several things behind spaces of some values.
    fn put_into_values(&mut self, random: &mut Random, things: &[&str]) {
        for (name, value) in &mut self.fields {
            if name != "From" && !is_full(value) && random.below(2) == 0 {
                put_in(value, random, things);
            }
        }
    }

    fn put_into_lines(&mut self, random: &mut Random, things: &[&str]) {
        for line in &mut self.lines {
            if random.below(2) == 0 {
                put_in(line, random, things);
            }
        }
    }

    fn finish(self) -> Vec<u8> {
        let mut message = Vec::new();
        for (name, value) in &self.fields {
            message.extend_from_slice(&[name.as_bytes(), b":", value, b"\r\n"].concat());
        }
        if !self.has_empty_line {
            return message;
        }
        message.extend_from_slice(b"\r\n");
        let count = self.lines.len();
        for (number, line) in self.lines.iter().enumerate() {
            // What came into a long line may have made it longer than one may be.
            message.extend_from_slice(line.get(..MAX_LINE).unwrap_or(line));
            if number + 1 < count || self.ends_in_crlf {
                message.extend_from_slice(b"\r\n");
            }
        }
        message
    }
}

/// Whether a line of a field has hardly room for more.
fn is_full(value: &[u8]) -> bool {
    value.split(|octet| *octet == b'\n').any(|line| line.len() > MAX_LINE - 100)
}

/// The longest line of mail without its end (RFC 5322 §2.1.1).
const MAX_LINE: usize = 998;

/// Puts one of several things in front of a space that stands between words.
fn put_in(text: &mut Vec<u8>, random: &mut Random, things: &[&str]) {
    let places: Vec<usize> = text
        .windows(3)
        .enumerate()
        .filter(|(_, three)| three[1] == b' ' && three[0] > b' ' && three[2] > b' ')
        .map(|(at, _)| at + 1)
        .collect();
    if places.is_empty() {
        return;
    }
    let at = *random.pick(&places);
    let thing = random.pick(things);
    text.splice(at..=at, thing.bytes());
}

fn words(random: &mut Random, most: usize) -> String {
    let words: Vec<&str> = (0..1 + random.below(most)).map(|_| *random.pick(&WORDS)).collect();
    words.join(" ")
}

const WORDS: [&str; 12] = [
    "we",
    "lost",
    "the",
    "game",
    "are",
    "you",
    "hungry",
    "yet",
    "from:",
    "a=b;",
    "Dear",
    "http://example.com/?a=1",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message;

    #[test]
    fn the_same_seed_and_number_give_the_same_octets() {
        for number in 0..200 {
            assert_eq!(Shaped::new(7, number).bytes, Shaped::new(7, number).bytes);
        }
        assert_ne!(Shaped::new(7, 1).bytes, Shaped::new(8, 1).bytes);
    }

    #[test]
    fn every_shape_comes_and_every_message_is_one_that_an_mta_may_carry() {
        let mut seen = BTreeSet::new();
        for number in 0..2_000 {
            let shaped = Shaped::new(1, number);
            seen.extend(shaped.shapes.iter().copied());
            let (header, _) = message::split(&shaped.bytes);
            assert_eq!(message::values(&shaped.bytes, "From").len(), 1, "{shaped}");
            for field in message::fields(header) {
                let colon = field.iter().position(|octet| *octet == b':').unwrap();
                let name = field[..colon].trim_ascii_end();
                assert!(
                    !name.is_empty() && name.iter().all(|o| (b'!'..=b'~').contains(o)),
                    "{shaped}"
                );
            }
            let lines = shaped.bytes.split(|octet| *octet == b'\n');
            assert!(lines.clone().all(|line| line.len() <= 999), "{shaped}");
            let rest: Vec<u8> =
                lines.flat_map(|l| l.strip_suffix(b"\r").unwrap_or(l)).copied().collect();
            assert!(!rest.contains(&b'\r') && !rest.contains(&0), "{shaped}");
        }
        assert_eq!(seen, Shape::ALL.into_iter().collect());
    }
}

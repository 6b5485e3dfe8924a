//! Damaged messages: each made from a real one, by a seed and a number, so that any can be made again.
//!
//! A mutant goes through one to four of [`Mutation::ALL`], each a thing that happens to mail or that an attacker
//! does to it. The same seed, number and originals give the same octets on every machine and in any order, so
//! threads can share the numbers out, and a failure says all that is needed to see it again.
//!
//! Mutants are octets as anyone might send them. What an MTA would show of one to a filter is
//! [`as_an_mta_shows`].

use std::fmt;

/// A source of numbers that look random and are not: SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The numbers of one case among many of the same seed.
    pub fn for_case(seed: u64, case: u64) -> Self {
        let mut of_case = Self(seed ^ case.wrapping_mul(0xd6e8_feb8_6659_fd93));
        of_case.number();
        of_case
    }

    /// The next one.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = bound.max(1) as u64;
        // The remainder is below a usize.
        (self.number() % bound) as usize
    }

    /// An octet.
    pub fn octet(&mut self) -> u8 {
        self.number().to_le_bytes()[0]
    }

    /// One of several; they may not be none.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// One thing that is done to a message.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Mutation {
    /// One to eight octets anywhere become others.
    FlipOctets,
    /// A line is gone.
    DropLine,
    /// A line stands twice.
    DuplicateLine,
    /// Two lines change places.
    SwapLines,
    /// A header field is folded where nobody folds, also inside its name.
    Fold,
    /// A folded header field is on one line.
    Unfold,
    /// A header field stands twice, the second time at the top or at the bottom, perhaps in other case.
    DuplicateField,
    /// A field that is not there is added without a value, or with nothing but white space.
    EmptyField,
    /// White space in front of a colon, or where values have none.
    OddSpace,
    /// A header line without a colon, as an mbox separator is.
    NoField,
    /// The end is missing.
    Truncate,
    /// NUL octets.
    Nul,
    /// CRLF becomes CR, or a CR appears.
    BareCr,
    /// CRLF becomes LF, or a LF appears.
    BareLf,
    /// A line of 999 to 20,000 octets.
    LongLine,
    /// Text with the top bit set, valid UTF-8 or not.
    EightBit,
    /// Control characters.
    Control,
    /// Hundreds of fields, or one of up to 100,000 octets.
    HugeHeader,
    /// Boundaries, types and encodings that do not fit.
    Mime,
    /// Blank lines and white space at the end of lines and of the body.
    Trailing,
    /// The empty line between header and body is gone, doubled or elsewhere.
    EmptyLine,
    /// Lines of dots, as SMTP has them.
    Dots,
    /// DKIM-Signature fields that say this and that.
    Signature,
    /// A From field, or one more, as attackers write it.
    Author,
}

impl Mutation {
    /// Every mutation.
    pub const ALL: [Self; 24] = [
        Self::FlipOctets,
        Self::DropLine,
        Self::DuplicateLine,
        Self::SwapLines,
        Self::Fold,
        Self::Unfold,
        Self::DuplicateField,
        Self::EmptyField,
        Self::OddSpace,
        Self::NoField,
        Self::Truncate,
        Self::Nul,
        Self::BareCr,
        Self::BareLf,
        Self::LongLine,
        Self::EightBit,
        Self::Control,
        Self::HugeHeader,
        Self::Mime,
        Self::Trailing,
        Self::EmptyLine,
        Self::Dots,
        Self::Signature,
        Self::Author,
    ];

    /// Does it to `message`, if there is a place for it.
    pub fn apply(self, message: &mut Vec<u8>, random: &mut Random) {
        match self {
            Self::FlipOctets => {
                for _ in 0..=random.below(8) {
                    let at = random.below(message.len());
                    if let Some(octet) = message.get_mut(at) {
                        *octet ^= random.octet() | 1;
                    }
                }
            }
            Self::DropLine => edit_lines(message, random, |lines, random| {
                lines.remove(random.below(lines.len()));
            }),
            Self::DuplicateLine => edit_lines(message, random, |lines, random| {
                let line = random.pick(lines).clone();
                lines.insert(random.below(lines.len() + 1), line);
            }),
            Self::SwapLines => edit_lines(message, random, |lines, random| {
                let (one, other) = (random.below(lines.len()), random.below(lines.len()));
                lines.swap(one, other);
            }),
            Self::Fold => {
                let at = random.below(header_len(message));
                let fold = *random.pick(&[&b"\r\n "[..], b"\r\n\t", b"\r\n \r\n "]);
                insert(message, at, fold);
            }
            Self::Unfold => {
                let header = message.get(..header_len(message)).unwrap_or_default();
                let folds: Vec<usize> = (0..header.len().saturating_sub(2))
                    .filter(|at| {
                        header[*at..].starts_with(b"\r\n ") || header[*at..].starts_with(b"\r\n\t")
                    })
                    .collect();
                if !folds.is_empty() {
                    let at = *random.pick(&folds);
                    message.drain(at..at + 2);
                }
            }
            Self::DuplicateField => {
                let (header, _) = crate::message::split(message);
                let fields = crate::message::fields(header);
                if fields.is_empty() {
                    return;
                }
                let mut field = random.pick(&fields).to_vec();
                match random.below(4) {
                    0 => field.make_ascii_uppercase(),
                    1 => field.make_ascii_lowercase(),
                    _ => {}
                }
                let at = if random.below(2) == 0 { 0 } else { header.len() };
                insert(message, at, &field);
            }
            Self::EmptyField => {
                let name = random.pick(&NAMES);
                let value = random.pick(&["", " ", "\t", " \r\n ", "\r\n\t\r\n "]);
                insert_field(message, random, &format!("{name}:{value}\r\n"));
            }
            Self::OddSpace => {
                let header = message.get(..header_len(message)).unwrap_or_default();
                let colons: Vec<usize> =
                    (0..header.len()).filter(|at| header.get(*at) == Some(&b':')).collect();
                if !colons.is_empty() {
                    let at = *random.pick(&colons) + random.below(2);
                    let space =
                        *random.pick(&[&b" "[..], b"\t", b"  \t ", b"\r\n ", b"\x0b", b"\xa0"]);
                    insert(message, at, space);
                }
            }
            Self::NoField => {
                let line = random.pick(&[
                    "From someone@example.org Sat Aug  1 12:00:00 2026\r\n",
                    "no field\r\n",
                    ": no name\r\n",
                    ">From: quoted@example.org\r\n",
                    "\t\r\n",
                ]);
                insert_field(message, random, line);
            }
            Self::Truncate => {
                let keep = random.below(message.len() + 1);
                message.truncate(keep);
            }
            Self::Nul => sprinkle(message, random, &[b"\0", b"\0\0\0", b"\0\r\n"]),
            Self::BareCr => {
                sprinkle(
                    message,
                    random,
                    &[b"\r", b"\r\r\n", b"\rFrom: x@evil.example\r\n", b"\r.\r"],
                );
            }
            Self::BareLf => {
                sprinkle(
                    message,
                    random,
                    &[b"\n", b"\n\r", b"\n\n", b"\n.\n", b"\nFrom: x@evil.example\r\n"],
                );
            }
            Self::LongLine => {
                let octets = 999 + random.below(19_002);
                let with = *random.pick(b"ax= \t\xe9");
                let at = random.below(message.len() + 1);
                insert(message, at, &vec![with; octets]);
            }
            Self::EightBit => {
                sprinkle(
                    message,
                    random,
                    &["é".as_bytes(), "例え".as_bytes(), b"\xff\xfe", b"\xc3", b"\xed\xa0\x80"],
                );
            }
            Self::Control => sprinkle(
                message,
                random,
                &[b"\x01", b"\x0b", b"\x0c", b"\x1b[2J", b"\x7f", b"\x08"],
            ),
            Self::HugeHeader => {
                let name = random.pick(&NAMES);
                let text = if random.below(2) == 0 {
                    format!("{name}: {}\r\n", "v".repeat(random.below(200)))
                        .repeat(50 + random.below(450))
                } else {
                    format!("{name}: {}\r\n", "word\r\n ".repeat(random.below(16_000)))
                };
                insert_field(message, random, &text);
            }
            Self::Mime => {
                let text = random.pick(&[
                    "Content-Type: multipart/mixed; boundary=\"\r\n",
                    "Content-Type: multipart/mixed; boundary=\"--\"; boundary=x\r\n",
                    "Content-Type: message/rfc822; charset=\"\\\"\r\n",
                    "Content-Transfer-Encoding: quoted-printable, base64\r\n",
                    "MIME-Version: 1.0 (one) (two)\r\n",
                    "--\r\n--\r\n\r\n----\r\n",
                    "begin 644 file\r\n`\r\nend\r\n",
                    "=?utf-8?q?=0D=0A?=",
                ]);
                let at = if random.below(2) == 0 { 0 } else { line_start(message, random) };
                insert(message, at, text.as_bytes());
            }
            Self::Trailing => match random.below(4) {
                0 => message.extend_from_slice(b"\r\n\r\n\r\n"),
                1 => message.extend_from_slice(b" \t\r\n \r\n"),
                2 => {
                    while message.ends_with(b"\r\n") {
                        message.truncate(message.len() - 2);
                    }
                }
                _ => edit_lines(message, random, |lines, random| {
                    let at = random.below(lines.len());
                    if let Some(line) = lines.get_mut(at)
                        && line.ends_with(b"\r\n")
                    {
                        let end = line.len() - 2;
                        line.splice(end..end, b" \t  ".iter().copied());
                    }
                }),
            },
            Self::EmptyLine => match random.below(3) {
                0 => {
                    let header = header_len(message);
                    if message.get(header..header + 2) == Some(b"\r\n") {
                        message.drain(header..header + 2);
                    }
                }
                1 => {
                    let header = header_len(message);
                    insert(message, header, b"\r\n");
                }
                _ => insert_field(message, random, "\r\n"),
            },
            Self::Dots => {
                let at = line_start(message, random);
                let dots = *random.pick(&[&b".\r\n"[..], b"..\r\n", b".", b".\r", b".\n"]);
                insert(message, at, dots);
            }
            Self::Signature => {
                let text = random.pick(&SIGNATURES);
                for _ in 0..=random.below(4) {
                    insert_field(message, random, text);
                }
            }
            Self::Author => {
                let value = random.pick(&AUTHORS);
                let name = random.pick(&["From", "from", "FROM", "From ", "Fr\u{f6}m", "From\t"]);
                insert_field(message, random, &format!("{name}: {value}\r\n"));
            }
        }
    }
}

/// A damaged message, and how it came about.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// The seed.
    pub seed: u64,
    /// Its number among those of the seed.
    pub number: u64,
    /// Which of the originals it was.
    pub original: usize,
    /// What was done to it, in this order.
    pub mutations: Vec<Mutation>,
    /// What it is now.
    pub bytes: Vec<u8>,
}

impl Mutant {
    /// Makes one. There has to be an original.
    pub fn new<M: AsRef<[u8]>>(seed: u64, number: u64, originals: &[M]) -> Self {
        let mut random = Random::for_case(seed, number);
        let original = random.below(originals.len());
        let mut bytes = originals[original].as_ref().to_vec();
        let mutations: Vec<Mutation> =
            (0..=random.below(4)).map(|_| *random.pick(&Mutation::ALL)).collect();
        for mutation in &mutations {
            mutation.apply(&mut bytes, &mut random);
        }
        Self { seed, number, original, mutations, bytes }
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, number, original, mutations, bytes } = self;
        write!(
            out,
            "mutant {number} of seed {seed}, of original {original} by {mutations:?}, {} octets",
            bytes.len()
        )
    }
}

/// The message as an MTA would show it to a filter: with CRLF alone, with NUL gone, with no field longer than a
/// packet, and with the header ending before the first line that is no field.
pub fn as_an_mta_shows(message: &[u8]) -> Vec<u8> {
    let without_nul: Vec<u8> = message.iter().copied().filter(|octet| *octet != 0).collect();
    let mut message = crate::mail_data::with_crlf(&without_nul);
    let mut at = 0;
    while message.get(at..at + 2).is_some_and(|octets| octets != b"\r\n") {
        let line = message.get(at..).unwrap_or_default();
        let length =
            line.windows(2).position(|octets| octets == b"\r\n").map_or(line.len(), |end| end + 2);
        let line = &line[..length];
        let folded = at > 0 && matches!(line.first(), Some(b' ' | b'\t'));
        let name = line
            .iter()
            .position(|octet| *octet == b':')
            .map(|colon| without_blanks(&line[..colon]));
        let is_field = name.is_some_and(|name| {
            !name.is_empty() && name.iter().all(|octet| (b'!'..=b'~').contains(octet))
        });
        if !folded && !is_field {
            insert(&mut message, at, b"\r\n");
            return message;
        }
        at += length;
    }
    if message.get(at..).is_none_or(<[u8]>::is_empty) {
        message.extend_from_slice(b"\r\n");
    }
    message
}

/// A name without the white space that RFC 5322 §4.5 lets stand in front of the colon.
fn without_blanks(name: &[u8]) -> &[u8] {
    let blanks = name.iter().rev().take_while(|octet| matches!(octet, b' ' | b'\t')).count();
    &name[..name.len() - blanks]
}

/// The length of the header section with the CRLF of its last field.
fn header_len(message: &[u8]) -> usize {
    crate::message::split(message).0.len()
}

fn insert(message: &mut Vec<u8>, at: usize, octets: &[u8]) {
    let at = at.min(message.len());
    message.splice(at..at, octets.iter().copied());
}

/// Puts a whole line in front of one of the header section's.
fn insert_field(message: &mut Vec<u8>, random: &mut Random, line: &str) {
    let header = message.get(..header_len(message)).unwrap_or_default();
    let mut starts = vec![0];
    starts.extend(
        header.windows(2).enumerate().filter(|(_, octets)| octets == b"\r\n").map(|(at, _)| at + 2),
    );
    let at = *random.pick(&starts);
    insert(message, at, line.as_bytes());
}

/// The start of some line, of header or body.
fn line_start(message: &[u8], random: &mut Random) -> usize {
    let from = random.below(message.len());
    let rest = message.get(from..).unwrap_or_default();
    rest.windows(2).position(|octets| octets == b"\r\n").map_or(0, |at| from + at + 2)
}

/// Puts one of several things in up to four places.
fn sprinkle(message: &mut Vec<u8>, random: &mut Random, things: &[&[u8]]) {
    for _ in 0..=random.below(4) {
        // Half of them in the header, which is the smaller part.
        let bound = if random.below(2) == 0 { header_len(message) } else { message.len() };
        let at = random.below(bound + 1);
        let thing = *random.pick(things);
        insert(message, at, thing);
    }
}

/// Changes the lines of the header, or of a stretch of the body.
fn edit_lines(
    message: &mut Vec<u8>,
    random: &mut Random,
    edit: impl FnOnce(&mut Vec<Vec<u8>>, &mut Random),
) {
    let header = header_len(message);
    let (from, to) =
        if random.below(3) > 0 { (0, header) } else { (header, message.len().min(header + 8192)) };
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for octet in message.get(from..to).unwrap_or_default() {
        match lines.last_mut() {
            Some(line) if !line.ends_with(b"\n") => line.push(*octet),
            _ => lines.push(vec![*octet]),
        }
    }
    if !lines.is_empty() {
        edit(&mut lines, random);
        message.splice(from..to, lines.concat());
    }
}

/// Fields that signers sign, and some that they do not.
const NAMES: [&str; 18] = [
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "Reply-To",
    "Sender",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "Feedback-ID",
    "Received",
    "X-Other",
    "References",
    "X-Postseal-Pool",
    "Return-Path",
];

/// Values of From that parsers read in more than one way.
const AUTHORS: [&str; 14] = [
    "<a@one.example>, <b@two.example>",
    "a@one.example (<b@two.example>)",
    "\"a@one.example\" <b@two.example>",
    "<@one.example:b@two.example>",
    "Group: a@one.example, b@two.example;",
    "a@b@one.example",
    "\"a\" <b@two.example",
    "(((((((((((((((((((((((((((((((((((",
    "=?utf-8?q?a=40one=2Eexample?= <b@two.example>",
    "a@[127.0.0.1]",
    "a@one.example\r\n ,b@two.example",
    "\u{fb01}@one\u{3002}example",
    ",,,",
    "\\\"@one.example",
];

/// Signatures that nobody should trip over.
const SIGNATURES: [&str; 12] = [
    "DKIM-Signature: \r\n",
    "DKIM-Signature: v=1\r\n",
    "DKIM-Signature: v=1; a=rsa-sha256; d=one.example; s=s; h=From; bh=; b=\r\n",
    "DKIM-Signature: v=1; a=rsa-sha256; c=simple/relaxed; d=one.example; s=s; h=From:From:From:From;\r\n\tbh=AAAA; b=AAAA\r\n",
    "DKIM-Signature: v=1; a=rsa-sha256; d=one.example; s=s; l=99999999999999999999; h=From; bh=x; b=x\r\n",
    "DKIM-Signature: v=1; v=1; a=rsa-sha256; d=one.example; s=s; h=From; bh=x; b=x\r\n",
    "DKIM-Signature: v=1; a=ed25519-sha256; d=one.example; s=s; h=From:DKIM-Signature; bh=x; b=x; ;\r\n",
    "DKIM-Signature: v=1; a=rsa-sha1; d=one.example; s=s; i=@evil.example; h=Subject; bh=x; b=x; x=1; t=2\r\n",
    "DKIM-Signature : v=1; a=rsa-sha256; d=one.example; s=s; h=From; bh=x; b=x\r\n",
    "DKIM-Signature: v=0.5; a=rsa-sha256; q=dns/txt:x; d=..; s=.; h=:; bh=x; b=x; z=From:a=40b|\r\n",
    "X-Google-DKIM-Signature: v=1; a=rsa-sha256; d=one.example; s=s; h=From; bh=x; b=x\r\n",
    "DomainKey-Signature: a=rsa-sha1; q=dns; c=nofws; s=s; d=one.example; b=x\r\n",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::mail_data::real_messages;

    #[test]
    fn the_same_seed_and_number_give_the_same_octets() {
        let originals = [b"From: a@b.example\r\nTo: c@d.example\r\n\r\nbody\r\n".to_vec()];
        for number in 0..500 {
            let (one, other) =
                (Mutant::new(7, number, &originals), Mutant::new(7, number, &originals));
            assert_eq!(one.bytes, other.bytes, "{one}");
        }
        let with = |seed| {
            (0..50).map(|number| Mutant::new(seed, number, &originals).bytes).collect::<Vec<_>>()
        };
        assert_ne!(with(7), with(8));
    }

    #[test]
    fn every_mutation_changes_some_message() {
        let originals: Vec<Vec<u8>> =
            real_messages().unwrap().iter().take(40).map(|message| message.on_the_wire()).collect();
        for mutation in Mutation::ALL {
            let results: BTreeSet<Vec<u8>> = originals
                .iter()
                .enumerate()
                .filter_map(|(number, original)| {
                    let mut bytes = original.clone();
                    mutation.apply(&mut bytes, &mut Random::for_case(1, number as u64));
                    (bytes != *original).then_some(bytes)
                })
                .collect();
            assert!(results.len() >= 5, "{mutation:?} changed {} messages", results.len());
        }
    }

    #[test]
    fn no_mutation_trips_over_a_short_message() {
        for message in [&b""[..], b"\r\n", b"x", b"\r\n\r\n", b":", b"From: a\r\n"] {
            for mutation in Mutation::ALL {
                for case in 0..20 {
                    mutation.apply(&mut message.to_vec(), &mut Random::for_case(2, case));
                }
            }
        }
    }

    #[test]
    fn an_mta_ends_the_header_where_no_field_is() {
        let cases: [(&[u8], &[u8]); 7] = [
            (b"", b"\r\n"),
            (b"A: 1\n\nb", b"A: 1\r\n\r\nb\r\n"),
            (b"A: 1\r\n 2\r\nno field\r\n", b"A: 1\r\n 2\r\n\r\nno field\r\n"),
            (b"A: 1\0\r\n", b"A: 1\r\n\r\n"),
            (b" A: 1\r\n\r\nb\r\n", b"\r\n A: 1\r\n\r\nb\r\n"),
            (b"A : 1\r\n\r\nb\r\n", b"A : 1\r\n\r\nb\r\n"),
            (b": 1\r\n\r\nb\r\n", b"\r\n: 1\r\n\r\nb\r\n"),
        ];
        for (input, want) in cases {
            assert_eq!(as_an_mta_shows(input), want, "{input:?}");
        }
    }
}

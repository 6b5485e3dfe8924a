//! The four canonicalizations against a second implementation that is slow and obvious.
//!
//! The second one shares nothing with the first: it works on whole texts with replacements, in the
//! words of §3.4. Every text of up to seven tokens is tried, in chunks cut at random.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use postseal_dkim::canon::{CanonicalBody, write_field};
use postseal_dkim::{Canon, Header};

/// The octets on which the algorithms depend, and one that stands for all others.
const BODY_TOKENS: [&str; 6] = ["x", " ", "\t", "\r", "\n", "\r\n"];

/// The same for the value of a field, in which a CRLF is always followed by white space.
const FIELD_TOKENS: [&str; 7] = ["x", " ", "\t", "\r", "\n", "\r\n ", "\r\n\t"];

/// §3.4.3: 'ignores all empty lines at the end of the message body', and ends it with a CRLF.
fn simple_body(body: &str) -> String {
    let mut text = body.to_owned();
    while let Some(shorter) = text.strip_suffix("\r\n") {
        text = shorter.to_owned();
    }
    text + "\r\n"
}

/// §3.4.4: steps (a) and (b), in their order.
fn relaxed_body(body: &str) -> String {
    let lines: Vec<_> =
        body.split("\r\n").map(|line| single_spaces(line.trim_end_matches([' ', '\t']))).collect();
    let mut text = lines.join("\r\n");
    while let Some(shorter) = text.strip_suffix("\r\n") {
        text = shorter.to_owned();
    }
    if text.is_empty() { text } else { text + "\r\n" }
}

/// §3.4.2, step by step. `name` may have white space at its end.
fn relaxed_field(name: &str, value: &str) -> String {
    let name = name.to_lowercase();
    let unfolded = value.replace("\r\n ", " ").replace("\r\n\t", "\t");
    let text = single_spaces(&unfolded);
    let text = text.trim_matches(' ');
    format!("{}:{text}\r\n", name.trim_end_matches([' ', '\t']))
}

fn single_spaces(text: &str) -> String {
    let mut text = text.replace('\t', " ");
    while text.contains("  ") {
        text = text.replace("  ", " ");
    }
    text
}

/// All texts of up to `longest` tokens.
fn texts(tokens: &[&str], longest: u32) -> impl Iterator<Item = String> {
    (0..=longest).flat_map(move |len| {
        (0..tokens.len().pow(len)).map(move |mut number| {
            let mut text = String::new();
            for _ in 0..len {
                text.push_str(tokens[number % tokens.len()]);
                number /= tokens.len();
            }
            text
        })
    })
}

/// A small generator of numbers, the same in every run (Knuth's MMIX).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

fn in_chunks(canon: Canon, body: &str, random: &mut Random) -> String {
    let mut out = Vec::new();
    let mut sink = |slice: &[u8]| out.extend_from_slice(slice);
    let mut canonical = CanonicalBody::new(canon);
    let mut rest = body.as_bytes();
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(random.below(rest.len() + 1));
        canonical.update(chunk, &mut sink);
        rest = after;
    }
    canonical.finish(&mut sink);
    String::from_utf8(out).unwrap()
}

#[test]
fn bodies_agree() {
    let mut random = Random(6376);
    let mut count = 0;
    for body in texts(&BODY_TOKENS, 7) {
        assert_eq!(in_chunks(Canon::Simple, &body, &mut random), simple_body(&body), "{body:?}");
        assert_eq!(in_chunks(Canon::Relaxed, &body, &mut random), relaxed_body(&body), "{body:?}");
        count += 1;
    }
    assert_eq!(count, (0..=7).map(|len| 6_usize.pow(len)).sum::<usize>());
}

#[test]
fn long_bodies_agree() {
    // Tokens of many lengths, so that what is special falls on every place of a block.
    let words = ["x".to_owned(), "y".repeat(7), "z".repeat(64), "w".repeat(131)];
    let mut random = Random(8463);
    for _ in 0..3_000 {
        let mut body = String::new();
        for _ in 0..random.below(40) {
            match random.below(4) {
                0 => body.push_str(BODY_TOKENS[random.below(BODY_TOKENS.len())]),
                1 => body.push(' '),
                _ => body.push_str(&words[random.below(words.len())]),
            }
        }
        assert_eq!(in_chunks(Canon::Simple, &body, &mut random), simple_body(&body), "{body:?}");
        assert_eq!(in_chunks(Canon::Relaxed, &body, &mut random), relaxed_body(&body), "{body:?}");
    }
}

#[test]
fn fields_agree() {
    for value in texts(&FIELD_TOKENS, 6) {
        // A CR and an LF that met by chance end the field, unless white space follows.
        if value.split("\r\n").skip(1).any(|line| !line.starts_with([' ', '\t'])) {
            continue;
        }
        for name in ["Subject", "X \t"] {
            let raw = format!("{name}:{value}\r\n");
            let header = Header::parse(raw.as_bytes()).unwrap();
            let fields: Vec<_> = header.fields().collect();
            assert_eq!(fields.len(), 1, "{raw:?}");

            let mut simple = Vec::new();
            write_field(Canon::Simple, fields[0], &mut simple);
            assert_eq!(simple, raw.as_bytes(), "{raw:?}");

            let mut relaxed = Vec::new();
            write_field(Canon::Relaxed, fields[0], &mut relaxed);
            assert_eq!(String::from_utf8(relaxed).unwrap(), relaxed_field(name, &value), "{raw:?}");
        }
    }
}

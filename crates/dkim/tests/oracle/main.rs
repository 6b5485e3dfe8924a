//! The engine against a second implementation that is slow and obvious ([`slow`]).
//!
//! - here: canonicalization, of every text of up to seven tokens
//! - [`hash_input`]: what is hashed, on random messages, both ways
//! - [`changes`]: which changes to a signed message count

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod changes;
mod hash_input;
mod slow;

use postseal_dkim::canon::{CanonicalBody, write_field};
use postseal_dkim::{Canon, Header};

use self::slow::Random;

/// The octets on which the algorithms depend, and one that stands for all others.
const BODY_TOKENS: [&str; 6] = ["x", " ", "\t", "\r", "\n", "\r\n"];

/// The same for the value of a field, in which a CRLF is always followed by white space.
const FIELD_TOKENS: [&str; 7] = ["x", " ", "\t", "\r", "\n", "\r\n ", "\r\n\t"];

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

fn in_chunks(canon: Canon, body: &str, random: &mut Random) -> String {
    let mut out = Vec::new();
    let mut sink = |slice: &[u8]| out.extend_from_slice(slice);
    let mut canonical = CanonicalBody::new(canon);
    random.in_chunks(body.as_bytes(), |chunk| canonical.update(chunk, &mut sink));
    canonical.finish(&mut sink);
    String::from_utf8(out).unwrap()
}

fn bodies_agree_on(body: &str, random: &mut Random) {
    assert_eq!(in_chunks(Canon::Simple, body, random), slow::simple_body(body), "{body:?}");
    assert_eq!(in_chunks(Canon::Relaxed, body, random), slow::relaxed_body(body), "{body:?}");
}

#[test]
fn bodies_agree() {
    let mut random = Random(6376);
    let mut count = 0;
    for body in texts(&BODY_TOKENS, 7) {
        bodies_agree_on(&body, &mut random);
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
        // Few words, or so many that what is put together from blocks is handed on several times.
        let (most, kinds) = [(40, 4), (1_000, 3)][usize::from(random.below(10) == 0)];
        for _ in 0..random.below(most) {
            match random.below(kinds) {
                0 => body.push_str(BODY_TOKENS[random.below(BODY_TOKENS.len())]),
                1 => body.push(' '),
                _ => body.push_str(&words[random.below(words.len())]),
            }
        }
        bodies_agree_on(&body, &mut random);
    }
}

#[test]
fn fields_agree() {
    let (mut simple, mut relaxed) = (Vec::new(), Vec::new());
    for value in texts(&FIELD_TOKENS, 7) {
        // A CR and an LF that met by chance end the field, unless white space follows.
        if value.split("\r\n").skip(1).any(|line| !line.starts_with([' ', '\t'])) {
            continue;
        }
        for name in ["Subject", "X \t"] {
            let raw = format!("{name}:{value}\r\n");
            let header = Header::parse(raw.as_bytes()).unwrap();
            let mut fields = header.fields();
            let field = fields.next().unwrap();
            assert_eq!(fields.len(), 0, "{raw:?}");

            simple.clear();
            write_field(Canon::Simple, field, &mut simple);
            assert_eq!(simple, raw.as_bytes(), "{raw:?}");

            relaxed.clear();
            write_field(Canon::Relaxed, field, &mut relaxed);
            assert_eq!(relaxed, slow::relaxed_field(name, &value).as_bytes(), "{raw:?}");
        }
    }
}

//! A second implementation of canonicalization and hash input, slow and obvious.
//!
//! It shares nothing with the engine: whole texts and replacements, in the words of §3.4, §3.7 and
//! §5.4.2. Texts may hold any characters; a line ends in CRLF alone.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postseal_dkim::Canon;

/// A message cut into whole fields, each with its CRLF, and its body.
pub(crate) fn cut(message: &str) -> (Vec<String>, String) {
    let (header, body) = if let Some(body) = message.strip_prefix("\r\n") {
        ("", body)
    } else {
        match message.split_once("\r\n\r\n") {
            Some((header, body)) => (header, body),
            None => (message.strip_suffix("\r\n").unwrap_or(message), ""),
        }
    };
    // A fold is marked by characters that no text here has, so that the rest can be cut at CRLF.
    let marked = header.replace("\r\n ", "\u{e000} ").replace("\r\n\t", "\u{e000}\t");
    let fields = marked.split("\r\n").filter(|_| !header.is_empty());
    (fields.map(|field| field.replace('\u{e000}', "\r\n") + "\r\n").collect(), body.to_owned())
}

/// The name of a field in lower case; nothing if the line is no field.
pub(crate) fn name(field: &str) -> Option<String> {
    let (name, _) = field.split_once(':')?;
    let name = name.trim_end_matches([' ', '\t']);
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_graphic());
    is_name.then(|| name.to_ascii_lowercase())
}

/// §3.4.3: 'ignores all empty lines at the end of the message body', and ends it with a CRLF.
pub(crate) fn simple_body(body: &str) -> String {
    let mut text = body.to_owned();
    while let Some(shorter) = text.strip_suffix("\r\n") {
        text = shorter.to_owned();
    }
    text + "\r\n"
}

/// §3.4.4: steps (a) and (b), in their order.
pub(crate) fn relaxed_body(body: &str) -> String {
    let lines: Vec<_> =
        body.split("\r\n").map(|line| single_spaces(line.trim_end_matches([' ', '\t']))).collect();
    let mut text = lines.join("\r\n");
    while let Some(shorter) = text.strip_suffix("\r\n") {
        text = shorter.to_owned();
    }
    if text.is_empty() { text } else { text + "\r\n" }
}

/// Either, cut to the length of `l=` (§3.4.5).
pub(crate) fn body(canon: Canon, body: &str, length: Option<usize>) -> Vec<u8> {
    let mut canonical = match canon {
        Canon::Simple => simple_body(body),
        Canon::Relaxed => relaxed_body(body),
    }
    .into_bytes();
    canonical.truncate(length.unwrap_or(usize::MAX));
    canonical
}

/// §3.4.2, step by step. `name` may have white space at its end.
pub(crate) fn relaxed_field(name: &str, value: &str) -> String {
    let name = name.to_lowercase();
    let unfolded = value.replace("\r\n ", " ").replace("\r\n\t", "\t");
    let text = single_spaces(&unfolded);
    let text = text.trim_matches(' ');
    format!("{}:{text}\r\n", name.trim_end_matches([' ', '\t']))
}

/// Either form of a whole field.
fn field(canon: Canon, field: &str) -> String {
    match (canon, field.strip_suffix("\r\n").unwrap_or(field).split_once(':')) {
        (Canon::Relaxed, Some((name, value))) => relaxed_field(name, value),
        (Canon::Relaxed | Canon::Simple, _) => field.to_owned(),
    }
}

fn single_spaces(text: &str) -> String {
    let mut text = text.replace('\t', " ");
    while text.contains("  ") {
        text = text.replace("  ", " ");
    }
    text
}

/// The tags of a signature field in their order: the name without white space, the value with it.
pub(crate) fn tags(signature: &str) -> Vec<(String, String)> {
    let (_, value) = signature.split_once(':').unwrap();
    let tags = value.split(';').filter_map(|tag| tag.split_once('='));
    tags.map(|(name, value)| (without_space(name), value.to_owned())).collect()
}

/// The value of a tag without white space.
pub(crate) fn tag(signature: &str, wanted: &str) -> Option<String> {
    tags(signature).into_iter().find(|(name, _)| name == wanted).map(|(_, v)| without_space(&v))
}

/// §3.7: 'the value of the "b=" tag (including all surrounding whitespace) deleted'.
pub(crate) fn without_b(signature: &str) -> String {
    let (name, value) = signature.split_once(':').unwrap();
    let value = value.strip_suffix("\r\n").unwrap_or(value);
    let tags: Vec<String> = value
        .split(';')
        .map(|tag| match tag.split_once('=') {
            Some((name, _)) if without_space(name) == "b" => format!("{name}="),
            Some(_) | None => tag.to_owned(),
        })
        .collect();
    format!("{name}:{}\r\n", tags.join(";"))
}

/// §3.7, step 2, and §5.4.2: the fields that `h=` names, each the lowest that was not taken yet, and last
/// the signature's own without CRLF. `fields` may have that one as well.
pub(crate) fn hash_input(canon: Canon, fields: &[String], signature: &str) -> String {
    let mut left: Vec<Option<&String>> = fields.iter().map(Some).collect();
    let mut input = String::new();
    for wanted in tag(signature, "h").unwrap().split(':') {
        let is_wanted = |f: &&mut Option<&String>| {
            f.as_ref().and_then(|f| name(f)).is_some_and(|n| n == wanted.to_ascii_lowercase())
        };
        if let Some(taken) = left.iter_mut().rev().find(is_wanted) {
            input += &field(canon, taken.take().unwrap());
        }
    }
    let last = field(canon, &without_b(signature));
    input + last.strip_suffix("\r\n").unwrap()
}

/// The names that the default selection puts into `h=`, in lower case (design of `FieldSelection::default`).
pub(crate) fn default_names(fields: &[String]) -> Vec<String> {
    let present: Vec<String> = fields.iter().filter_map(|field| name(field)).collect();
    let count = |wanted: &str| present.iter().filter(|name| *name == wanted).count();
    let mut names = Vec::new();
    let always = [
        "from",
        "to",
        "cc",
        "subject",
        "reply-to",
        "mime-version",
        "content-type",
        "content-transfer-encoding",
    ];
    let if_present = ["date", "message-id", "list-unsubscribe", "list-unsubscribe-post"];
    for wanted in always {
        names.extend(vec![wanted.to_owned(); count(wanted) + 1]);
    }
    for wanted in if_present {
        if count(wanted) > 0 {
            names.extend(vec![wanted.to_owned(); count(wanted) + 1]);
        }
    }
    for name in &present {
        let is_other = ["sender", "in-reply-to", "references", "feedback-id"].contains(&&name[..])
            || name.starts_with("list-")
            || name.starts_with("cfbl-");
        let is_taken = always.contains(&&name[..]) || if_present.contains(&&name[..]);
        if is_other && !is_taken && !name.contains(';') {
            names.push(name.clone());
        }
    }
    names
}

pub(crate) fn sha256(octets: impl AsRef<[u8]>) -> [u8; 32] {
    digest(&SHA256, octets.as_ref()).as_ref().try_into().unwrap()
}

pub(crate) fn base64(octets: impl AsRef<[u8]>) -> String {
    STANDARD.encode(octets)
}

fn without_space(text: &str) -> String {
    text.replace([' ', '\t', '\r', '\n'], "")
}

/// A small generator of numbers, the same in every run (Knuth's MMIX).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    /// Gives octets in chunks cut anywhere.
    pub(crate) fn in_chunks(&mut self, octets: &[u8], mut take: impl FnMut(&[u8])) {
        let mut rest = octets;
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(self.below(rest.len() + 1));
            take(chunk);
            rest = after;
        }
    }
}

//! A sealer of ARC chains for tests, written from RFC 8617 alone and by the slow and obvious way: it
//! shares no line with the verifier. Everything in a set can be made wrong before it is sealed.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use aws_lc_rs::digest::{self, SHA256, digest};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The names of the fields of a set, in the order in which a seal covers them.
pub(crate) const FIELDS: [&str; 3] =
    ["ARC-Authentication-Results", "ARC-Message-Signature", "ARC-Seal"];

static RSA: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).expect("keys can be made"));
static ED25519: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::generate().expect("keys can be made"));

/// With which key a field is signed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Key {
    Rsa,
    Ed25519,
}

impl Key {
    fn algorithm(self) -> &'static str {
        match self {
            Self::Rsa => "rsa-sha256",
            Self::Ed25519 => "ed25519-sha256",
        }
    }

    /// The text of its key record.
    pub(crate) fn record(self) -> String {
        let (kind, key) = match self {
            Self::Rsa => ("rsa", STANDARD.encode(RSA.public_key().as_ref())),
            Self::Ed25519 => ("ed25519", STANDARD.encode(ED25519.public_key().as_ref())),
        };
        format!("v=DKIM1; k={kind}; p={key}")
    }

    fn sign(self, octets: &[u8]) -> String {
        let hash = digest(&SHA256, octets);
        match self {
            Self::Rsa => {
                let hash = digest::Digest::import_less_safe(hash.as_ref(), &SHA256)
                    .expect("it has the length of the algorithm");
                let mut signature = vec![0; RSA.public_modulus_len()];
                RSA.sign_digest(&RSA_PKCS1_SHA256, &hash, &mut signature)
                    .expect("the buffer has the length of the modulus");
                STANDARD.encode(signature)
            }
            Self::Ed25519 => STANDARD.encode(ED25519.sign(hash.as_ref())),
        }
    }
}

/// Tags in their order, without `b=`, which comes last.
#[derive(Clone, Debug)]
pub(crate) struct Tags(pub(crate) Vec<(String, String)>);

impl Tags {
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(tag, _)| tag == name) {
            Some((_, old)) => *old = value.to_owned(),
            None => self.add(name, value),
        }
    }

    pub(crate) fn add(&mut self, name: &str, value: &str) {
        self.0.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.0.retain(|(tag, _)| tag != name);
    }

    fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(tag, _)| tag == name).map_or("", |(_, value)| value)
    }

    fn text(&self) -> String {
        self.0.iter().map(|(name, value)| format!(" {name}={value};")).collect()
    }
}

/// What a seal covers besides its own field.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scope {
    /// RFC 8617 §5.1.1: all sets so far, each as results, message signature, seal.
    Whole,
    /// §5.1.2: its own set alone, as for a chain that failed.
    OwnSet,
    /// Whole, but with the message signature in front of the results.
    Swapped,
}

/// A set as it is to be sealed.
#[derive(Clone, Debug)]
pub(crate) struct Set {
    pub(crate) key: Key,
    /// What follows the colon of the results.
    pub(crate) results: String,
    pub(crate) message_signature: Tags,
    /// What comes behind `b=` of the message signature, and of the seal.
    pub(crate) message_signature_end: String,
    pub(crate) seal: Tags,
    pub(crate) seal_end: String,
    pub(crate) scope: Scope,
    /// The body as this handler sends it on.
    pub(crate) body: String,
}

/// A chain that is to be sealed, over one header.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) header: Vec<(String, String)>,
    pub(crate) sets: Vec<Set>,
}

impl Chain {
    /// A chain of that many sets, all as they should be.
    pub(crate) fn new(keys: &[Key]) -> Self {
        let header = [
            ("Received", " from a.example by b.example; Fri, 1 Oct 2027 10:00:00 +0000"),
            ("From", " Joe <joe@example.com>"),
            ("To", " list@lists.example"),
            ("Subject", " Is dinner\r\n ready?"),
            ("Date", " Fri, 1 Oct 2027 10:00:00 +0000"),
        ];
        let header = header.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let set = |(number, key): (usize, &Key)| {
            let domain = format!("hop{number}.example");
            let tags = |list: &[(&str, &str)]| {
                Tags(list.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
            };
            let number = &number.to_string();
            let message_signature = tags(&[
                ("i", number),
                ("a", key.algorithm()),
                ("c", "relaxed/relaxed"),
                ("d", &domain),
                ("s", "ams"),
                ("t", "1790000000"),
                ("h", "from:to:subject:date:from"),
            ]);
            let seal = tags(&[
                ("i", number),
                ("a", key.algorithm()),
                ("t", "1790000000"),
                ("cv", if number == "1" { "none" } else { "pass" }),
                ("d", &domain),
                ("s", "seal"),
            ]);
            Set {
                key: *key,
                results: format!(" i={number}; {domain};\r\n\tspf=pass smtp.mailfrom=a.example"),
                message_signature,
                message_signature_end: String::new(),
                seal,
                seal_end: String::new(),
                scope: Scope::Whole,
                body: "Hi.\r\n\r\nWe lost the  game.\r\n".to_owned(),
            }
        };
        Self { header, sets: (1..).zip(keys).map(set).collect() }
    }

    /// The records of all keys, by owner.
    pub(crate) fn records(&self) -> BTreeMap<String, String> {
        let mut records = BTreeMap::new();
        for set in &self.sets {
            for tags in [&set.message_signature, &set.seal] {
                let owner = format!("{}._domainkey.{}", tags.get("s"), tags.get("d"));
                records.insert(owner, set.key.record());
            }
        }
        records
    }

    /// Signs and seals: the fields of each set, from the first set on.
    pub(crate) fn seal(&self) -> Vec<[(String, String); 3]> {
        let mut sealed: Vec<[(String, String); 3]> = Vec::new();
        for set in &self.sets {
            let message_signature = self.message_signature(set, &sealed);
            let results = set.results.clone();
            let mut before = String::new();
            if set.scope != Scope::OwnSet {
                for fields in &sealed {
                    before.extend(fields.iter().map(|(name, value)| relaxed(name, value)));
                }
            }
            let mut own = [(FIELDS[0], &results), (FIELDS[1], &message_signature)];
            if set.scope == Scope::Swapped {
                own.reverse();
            }
            before.extend(own.iter().map(|(name, value)| relaxed(name, value)));
            let end = &set.seal_end;
            let open = format!("{} b=", set.seal.text());
            let unsigned = relaxed(FIELDS[2], &format!("{open}{end}"));
            before.push_str(unsigned.trim_end_matches("\r\n"));
            let seal = format!("{open}{}{end}", folded(&set.key.sign(before.as_bytes())));
            let fields = [results, message_signature, seal];
            let mut names = FIELDS.iter().map(|name| (*name).to_owned());
            sealed.push(fields.map(|value| (names.next().unwrap_or_default(), value)));
        }
        sealed
    }

    /// The value of an ARC-Message-Signature over the message with the sets so far on top.
    fn message_signature(&self, set: &Set, sealed: &[[(String, String); 3]]) -> String {
        let mut tags = set.message_signature.clone();
        let c = tags.get("c").to_owned();
        let (header_canon, body_canon) = c.split_once('/').unwrap_or((&c, "simple"));
        if !tags.0.iter().any(|(name, _)| name == "bh") {
            let mut body = canonical_body(body_canon, &set.body);
            if let Ok(length) = tags.get("l").parse() {
                body.truncate(length);
            }
            tags.add("bh", &STANDARD.encode(digest(&SHA256, body.as_bytes())));
        }
        tags.0.retain(|(_, value)| value != LEFT_OUT);

        let canonical = |name: &str, value: &str| match header_canon {
            "relaxed" => relaxed(name, value),
            _ => format!("{name}:{value}\r\n"),
        };
        let on_top = sealed.iter().rev().flat_map(|set| set.iter().rev());
        // The results are there before the message is signed (RFC 8617 §5.1).
        let results = (FIELDS[0].to_owned(), set.results.clone());
        let mut fields: Vec<_> = [&results].into_iter().chain(on_top).chain(&self.header).collect();
        let mut text = String::new();
        for name in tags.get("h").split(':').map(str::trim) {
            // From the bottom, each field once.
            if let Some(at) = fields.iter().rposition(|(other, _)| other.eq_ignore_ascii_case(name))
            {
                let (name, value) = fields.remove(at);
                text.push_str(&canonical(name, value));
            }
        }
        let end = &set.message_signature_end;
        let open = format!("{} b=", tags.text());
        let unsigned = canonical(FIELDS[1], &format!("{open}{end}"));
        text.push_str(unsigned.trim_end_matches("\r\n"));
        format!("{open}{}{end}", folded(&set.key.sign(text.as_bytes())))
    }

    /// The message with these sets on top, the newest uppermost.
    pub(crate) fn message(&self, sealed: &[[(String, String); 3]]) -> String {
        let body = self.sets.last().map_or("", |set| &set.body);
        let on_top = sealed.iter().rev().flat_map(|set| set.iter().rev());
        let fields: String =
            on_top.chain(&self.header).map(|(n, v)| format!("{n}:{v}\r\n")).collect();
        format!("{fields}\r\n{body}")
    }
}

/// A tag with this value is not written.
pub(crate) const LEFT_OUT: &str = "(left out)";

/// RFC 6376 §3.4.2.
fn relaxed(name: &str, value: &str) -> String {
    let words: Vec<_> = value.split_ascii_whitespace().collect();
    format!("{}:{}\r\n", name.to_ascii_lowercase(), words.join(" "))
}

/// RFC 6376 §3.4.3 and §3.4.4, for bodies whose lines all end in CRLF.
fn canonical_body(canon: &str, body: &str) -> String {
    let mut lines: Vec<String> = body.split_terminator("\r\n").map(str::to_owned).collect();
    if canon == "relaxed" {
        for line in &mut lines {
            let end = line.trim_end_matches([' ', '\t']);
            let mut out = String::new();
            for c in end.chars().map(|c| if c == '\t' { ' ' } else { c }) {
                if c != ' ' || !out.ends_with(' ') {
                    out.push(c);
                }
            }
            *line = out;
        }
    }
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    if lines.is_empty() && canon == "relaxed" {
        return String::new();
    }
    lines.join("\r\n") + "\r\n"
}

/// Folds as sealers do.
fn folded(base64: &str) -> String {
    let lines: Vec<_> = base64.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    lines.join("\r\n\t")
}

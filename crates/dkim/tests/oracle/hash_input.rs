//! What is hashed (§3.7): the body, the fields that `h=` picks from the bottom, and the signature without `b=`.
//!
//! Random messages, in chunks cut at random. What the engine hands out to be signed is what the slow
//! implementation computes, and what the slow one signs the engine verifies.

use std::sync::LazyLock;

use aws_lc_rs::digest;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use postseal_dkim::{
    Algorithm, Canon, Canonicalization, DomainName, FieldName, FieldSelection, Header, KeyAnswer,
    MessageSigning, Outcome, Selector, SignRequest, Signature, UnixTime, Verifier, VerifyRules,
    key_record_text,
};

use crate::slow::{self, Random};

const CANONS: [Canon; 2] = [Canon::Simple, Canon::Relaxed];

struct Keys {
    rsa: RsaKeyPair,
    ed25519: Ed25519KeyPair,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys {
    rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
    ed25519: Ed25519KeyPair::generate().unwrap(),
});

impl Keys {
    /// A signature over what the slow implementation hashed.
    fn sign(&self, algorithm: Algorithm, input: &str) -> Vec<u8> {
        match algorithm {
            Algorithm::RsaSha256 => {
                let digest = digest::digest(&digest::SHA256, input.as_bytes());
                let mut signature = vec![0; self.rsa.public_modulus_len()];
                self.rsa.sign_digest(&RSA_PKCS1_SHA256, &digest, &mut signature).unwrap();
                signature
            }
            Algorithm::Ed25519Sha256 => self.ed25519.sign(&slow::sha256(input)).as_ref().to_vec(),
        }
    }

    fn record(&self, algorithm: Algorithm) -> String {
        match algorithm {
            Algorithm::RsaSha256 => key_record_text(algorithm, self.rsa.public_key().as_ref()),
            Algorithm::Ed25519Sha256 => {
                key_record_text(algorithm, self.ed25519.public_key().as_ref())
            }
        }
    }
}

/// A message with exactly one From and everything else at random: fields that stand several times, in other
/// case, folded, with white space where there should be none, lines that are no fields, and any body.
fn random_message(random: &mut Random) -> String {
    let names = [
        "To",
        "to",
        "TO ",
        "Cc",
        "Subject",
        "Subject\t",
        "Reply-To",
        "MIME-Version",
        "Content-Type",
        "Date",
        "Message-ID",
        "message-id",
        "List-Unsubscribe",
        "List-Id",
        "LIST-X;Y",
        "References",
        "Sender",
        "Received",
        "CFBL-Address",
        "X-Other",
        "no field",
        "",
    ];
    let pieces = [
        "word",
        "x",
        " ",
        "  ",
        "\t",
        "\r\n ",
        "\r\n\t",
        "\r",
        "\n",
        ":",
        ";",
        "é",
        "b=",
        "=",
        "\r\n \r\n ",
    ];
    let mut lines: Vec<String> = (0..random.below(14))
        .map(|_| {
            let value: String = (0..random.below(9)).map(|_| random.pick(&pieces)).collect();
            format!("{}:{}\r\n", random.pick(&names), unended(&value))
        })
        .collect();
    let from = random.pick(&[
        "From: a@example.com\r\n",
        "FROM:\r\n\t<a@example.com>  \r\n",
        "from : a\r\n",
    ]);
    lines.insert(random.below(lines.len() + 1), from.to_owned());
    let body: String = (0..random.below(60))
        .map(|_| {
            random.pick(&["word", "x", " ", "  ", "\t", "\r\n", "\r\n\r\n", "\r", "\n", "é", "."])
        })
        .collect();
    match random.below(12) {
        // No empty line, and no end of the last line.
        0 => lines.concat(),
        1 => lines.concat().strip_suffix("\r\n").unwrap().to_owned(),
        _ => format!("{}\r\n{body}", lines.concat()),
    }
}

/// A value without a CR and an LF that met by chance, and without one at its end.
fn unended(value: &str) -> String {
    value
        .replace("\r\n ", "\u{e000} ")
        .replace("\r\n\t", "\u{e000}\t")
        .replace("\r\n", "")
        .replace('\u{e000}', "\r\n")
        .trim_end_matches(['\r', '\n'])
        .to_owned()
}

fn random_canonicalization(random: &mut Random) -> Canonicalization {
    Canonicalization { header: CANONS[random.below(2)], body: CANONS[random.below(2)] }
}

fn random_algorithm(random: &mut Random) -> Algorithm {
    if random.below(16) == 0 { Algorithm::RsaSha256 } else { Algorithm::Ed25519Sha256 }
}

/// Names for `h=`, with From, some more often than they stand anywhere.
fn random_names(random: &mut Random) -> Vec<String> {
    let mut names: Vec<String> = (0..random.below(12))
        .map(|_| {
            random
                .pick(&[
                    "to",
                    "Subject",
                    "SUBJECT",
                    "References",
                    "X-Other",
                    "cc",
                    "From",
                    "list-id",
                    "absent",
                ])
                .to_owned()
        })
        .collect();
    names.insert(random.below(names.len() + 1), "From".to_owned());
    names
}

#[test]
fn what_is_handed_out_to_be_signed_agrees() {
    let mut random = Random(5322);
    let mut seen_oversigned = 0;
    for number in 0..ROUNDS {
        let message = random_message(&mut random);
        let (fields, body) = slow::cut(&message);
        let canonicalization = random_canonicalization(&mut random);
        let algorithm = random_algorithm(&mut random);
        // Every other message with the default fields, the rest with a list.
        let names =
            if number % 2 == 0 { slow::default_names(&fields) } else { random_names(&mut random) };
        let selection = if number % 2 == 0 {
            FieldSelection::default()
        } else {
            let names = names.iter().map(|name| FieldName::parse(name).unwrap()).collect();
            FieldSelection::exactly(names).unwrap()
        };
        seen_oversigned += usize::from(names.len() > fields.len());

        let (header, raw_body) = Header::of_message(message.as_bytes()).unwrap();
        let request = SignRequest {
            signing_domain: DomainName::parse("example.com").unwrap(),
            selector: Selector::parse("s1").unwrap(),
            algorithm,
            canonicalization,
            signed_at: NOW,
            expires_at: None,
            identity: None,
            fields: selection,
        };
        let mut signing = MessageSigning::start(vec![request], &header).unwrap();
        random.in_chunks(raw_body, |chunk| signing.body(chunk));
        let unsigned = signing.finish().remove(0);

        let want = slow::sha256(slow::body(canonicalization.body, &body, None));
        assert_eq!(*unsigned.body_hash(), want, "{number}: {message:?}");
        let digest = *unsigned.digest();
        let field = unsigned.complete(b"any octets");
        let field = String::from_utf8(field.raw().to_vec()).unwrap();
        assert_eq!(slow::tag(&field, "bh").unwrap(), slow::base64(want), "{number}: {field}");
        let listed = slow::tag(&field, "h").unwrap();
        assert_eq!(
            listed.to_ascii_lowercase(),
            names.join(":").to_ascii_lowercase(),
            "{number}: {message:?}"
        );
        let input = slow::hash_input(canonicalization.header, &fields, &field);
        assert_eq!(digest, slow::sha256(&input), "{number}: {message:?}\n{input:?}");
    }
    assert!(seen_oversigned > ROUNDS / 4, "{seen_oversigned} lists longer than the header");
}

/// A signature field as others write it: tags in any order, folded anywhere, with `l=` or not, `b=` in the middle.
/// `b=` has the mark of its value.
fn foreign_field(
    random: &mut Random,
    canonicalization: Canonicalization,
    algorithm: Algorithm,
    names: &[String],
    body_hash: &str,
    length: Option<usize>,
) -> String {
    let mut space = |of: &[&str]| random.pick(of).to_owned();
    let all = ["", "", " ", "\r\n ", "\t", "\r\n\t  ", "  "];
    let list: Vec<String> =
        names.iter().map(|name| format!("{}{name}{}", space(&all), space(&all))).collect();
    let cut = body_hash.len() / 2;
    let folded = format!("{}{}{}", &body_hash[..cut], space(&all), &body_hash[cut..]);
    let mut tags = vec![
        ("v", "1".to_owned()),
        ("a", algorithm.to_string()),
        ("c", canonicalization.to_string()),
        ("d", "Example.com".to_owned()),
        ("s", "s1".to_owned()),
        ("h", list.join(":")),
        ("bh", folded),
        ("b", MARK.to_owned()),
        ("unknown", "b=not this one".to_owned()),
    ];
    if let Some(length) = length {
        tags.push(("l", length.to_string()));
    }
    for at in (1..tags.len()).rev() {
        tags.swap(at, random.below(at + 1));
    }
    let mut space = |of: &[&str]| random.pick(of).to_owned();
    let text: Vec<String> = tags
        .iter()
        .map(|(name, value)| {
            format!("{}{name}{}={}{value}{}", space(&all), space(&all), space(&all), space(&all))
        })
        .collect();
    let name = space(&["DKIM-Signature", "dkim-signature", "DKIM-Signature ", "DKIM-SIGNATURE\t"]);
    format!("{name}:{}{}\r\n", text.join(";"), space(&["", ";", "; ", ";\r\n "]))
}

#[test]
fn what_the_slow_implementation_signs_is_verified() {
    let mut random = Random(8301);
    let mut covered_in_part = 0;
    for number in 0..ROUNDS {
        let message = random_message(&mut random);
        let (fields, body) = slow::cut(&message);
        let canonicalization = random_canonicalization(&mut random);
        let algorithm = random_algorithm(&mut random);
        let whole = slow::body(canonicalization.body, &body, None).len();
        let length = (random.below(3) == 0).then(|| random.below(whole + 1));
        let canonical = slow::body(canonicalization.body, &body, length);
        let body_hash = slow::base64(slow::sha256(&canonical));
        let names = random_names(&mut random);
        let field =
            foreign_field(&mut random, canonicalization, algorithm, &names, &body_hash, length);
        let input = slow::hash_input(canonicalization.header, &fields, &field);
        let signature = KEYS.sign(algorithm, &input);
        let field = field.replace(MARK, &slow::base64(signature));
        // White space at the start of the header would fold into the field.
        if message.starts_with([' ', '\t']) {
            continue;
        }
        let signed = format!("{field}{message}");

        let (header, raw_body) = Header::of_message(signed.as_bytes()).unwrap();
        let (mut verifier, queries) = Verifier::start(&header, &VerifyRules::default(), NOW);
        for query in queries {
            verifier.answer(query.id, KeyAnswer::from_texts([KEYS.record(algorithm)]));
        }
        random.in_chunks(raw_body, |chunk| verifier.body(chunk));
        let report = verifier.finish();
        let outcome = report.signatures[0].outcome;
        let Outcome::Verified(remarks) = outcome else {
            panic!("{number}: {outcome:?}: {signed:?}\n{input:?}");
        };
        let uncovered = whole - canonical.len();
        assert_eq!(remarks.uncovered, (uncovered > 0).then_some(uncovered as u64), "{number}");
        covered_in_part += usize::from(uncovered > 0);

        let read = header.fields().next().unwrap();
        let read = Signature::parse(read.value()).unwrap();
        let listed: Vec<String> =
            read.signed_fields().iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(listed, names, "{number}: {field:?}");
    }
    assert!(covered_in_part > ROUNDS / 10, "{covered_in_part} with a length");
}

const NOW: UnixTime = UnixTime(1_790_000_000);

/// Random messages for each of the two directions.
const ROUNDS: usize = 20_000;

/// Stands where the value of `b=` will.
const MARK: &str = "VALUE";

//! Laws for fuzzers: each takes any bytes and panics if a law is broken.
//!
//! A fuzz target is a line of [`LAWS`]. Here are those of the parsers; the laws of whole messages are in
//! `message`, those of what travels with it about its verification in `results`, and what they compare with is
//! in `slow`.

use std::borrow::Cow;

use crate::copies::{CopiedField, Copies, MAX_COPIES};
use crate::encoding::{decode_base64, decode_quoted, encode_base64, encode_quoted};
use crate::field::{Header, split_message};
use crate::key_record::{IdentityRule, KeyRecord, MAX_RECORD_LEN, Mode, Service, key_record_text};
use crate::local_file::{LineEnds, LocalFile};
use crate::name::{DomainName, MAX_LABEL_LEN, MAX_NAME_LEN, Selector, key_record_name};
use crate::public_key::{PublicKey, rsa_numbers};
use crate::signature::{Identity, Labels, Signature, SignatureAlgorithm, SignatureError};
use crate::tag_list::TagList;

mod message;
mod results;
mod slow;

/// The name of a fuzz target, and its law.
pub type Target = (&'static str, fn(&[u8]));

/// The fuzz targets of this crate.
pub const LAWS: &[Target] = &[
    ("tag_list", tag_list),
    ("signature", signature),
    ("copied_fields", copied_fields),
    ("key_record", key_record),
    ("public_key", public_key),
    ("header", header),
    ("name", name),
    ("encoding", encoding),
    ("local_file", local_file),
    ("body_canonicalization", message::body_canonicalization),
    ("header_canonicalization", message::header_canonicalization),
    ("verify", message::verify),
    ("sign_then_verify", message::sign_then_verify),
    ("auth_results", results::auth_results),
    ("arc", results::arc),
];

/// A tag list is what a slow reading finds, and reads the same when its tags are written anew.
fn tag_list(input: &[u8]) {
    let parsed = TagList::parse(input);
    let tags = parsed.as_ref().ok().map(|list| {
        let parts = |tag: &crate::tag_list::Tag<'_>| {
            (tag.name.to_owned(), tag.value.to_owned(), tag.span.clone())
        };
        list.iter().map(parts).collect::<Vec<_>>()
    });
    assert_eq!(tags, slow::tag_list(input), "{parsed:?}");
    let Ok(list) = parsed else { return };
    let written: String = list.iter().map(|tag| format!("{}={};", tag.name, tag.value)).collect();
    let again = TagList::parse(written.as_bytes()).expect("what was written is a tag list");
    let pairs = |list: &TagList<'_>| {
        list.iter().map(|tag| format!("{}={}", tag.name, tag.value)).collect::<Vec<_>>()
    };
    assert_eq!(pairs(&again), pairs(&list));
}

/// A signature reads the same when its values are written anew, and what is cut out of it for hashing is
/// the value of `b=` alone.
fn signature(input: &[u8]) {
    let labels = Labels::read(input);
    let parsed = Signature::parse(input);
    let of_list = match &parsed {
        Err(SignatureError::TagList(error)) => Some(*error),
        Err(_) | Ok(_) => None,
    };
    assert_eq!(of_list, TagList::parse(input).err(), "it is a tag list first");
    let Ok(one) = parsed else { return };
    assert_eq!(labels.signing_domain.as_ref(), Some(one.signing_domain()));
    assert_eq!(labels.selector.as_ref(), Some(one.selector()));
    let algorithm = labels.algorithm.expect("a known algorithm can be read");
    assert!(algorithm.eq_ignore_ascii_case(one.algorithm().as_str()));

    let (head, tail) = one.around_signature();
    assert!(input.starts_with(head) && input.ends_with(tail) && head.ends_with(b"="));
    let cut = input.get(head.len()..input.len() - tail.len()).expect("head and tail are apart");
    let cut = str::from_utf8(cut).expect("a tag list is UTF-8");
    assert_eq!(slow::base64(cut).as_deref(), Some(one.signature()));
    let without = [head, tail].concat();
    assert_eq!(Signature::parse(&without).err(), Some(SignatureError::BadBase64("b")));

    assert!(one.signing_domain().label_count() > 1);
    let key_name = key_record_name(one.selector(), one.signing_domain());
    assert_eq!(key_name.as_ref(), Ok(one.key_name()));
    let is_from = |name: &&str| name.eq_ignore_ascii_case("from");
    assert!(one.signed_fields().iter().any(is_from), "From is signed");
    if let Some(identity) = one.identity() {
        let below = format!(".{}", identity.domain());
        assert!(below.ends_with(&format!(".{}", one.signing_domain())), "i= is in d=");
    }
    if let (Some(signed_at), Some(expires_at)) = (one.signed_at(), one.expires_at()) {
        assert!(signed_at < expires_at);
    }

    let optional = |name: &str, value: Option<String>| {
        value.map(|value| format!(" {name}={value};")).unwrap_or_default()
    };
    let written = [
        format!("v=1; a={}; c={};", one.algorithm(), one.canonicalization()),
        format!(" d={}; s={};", one.signing_domain(), one.selector()),
        format!(" h={};", one.signed_fields().join(" : ")),
        optional("i", one.identity().map(Identity::to_tag_value)),
        optional("l", one.body_length().map(|length| length.to_string())),
        optional("t", one.signed_at().map(|time| time.to_string())),
        optional("x", one.expires_at().map(|time| time.to_string())),
        optional("z", one.copied_fields().map(str::to_owned)),
        format!("bh={}; b={}", encode_base64(one.body_hash()), encode_base64(one.signature())),
    ];
    let written = written.concat();
    let two = Signature::parse(written.as_bytes()).expect("what was written is a signature");
    let values = |signature: &Signature<'_>| {
        let signature = signature.clone();
        (
            (signature.algorithm(), signature.canonicalization(), signature.body_length()),
            (signature.signing_domain().clone(), signature.selector().clone()),
            (signature.signed_at(), signature.expires_at(), signature.identity().cloned()),
            signature.signed_fields().join(":"),
            signature.copied_fields().map(str::to_owned),
            (signature.signature().to_vec(), signature.body_hash().to_vec()),
        )
    };
    assert_eq!(values(&two), values(&one));
}

/// The copies in `z=`, which stands in front of a NUL, and which of them are in the header behind it, are what a
/// slow reading finds; and they read the same when they are written anew.
fn copied_fields(input: &[u8]) {
    let end = input.iter().position(|octet| *octet == 0).unwrap_or(input.len());
    let (text, rest) = input.split_at(end);
    let message = rest.get(1..).unwrap_or_default();
    let (Ok(text), Ok((header, _))) = (str::from_utf8(text), Header::of_message(message)) else {
        return;
    };
    let read = Copies::of(text, &header);
    let (found, left_out) = slow::copied_fields(text);
    if found.len() > MAX_COPIES {
        return;
    }
    assert_eq!(read.left_out, left_out);
    assert_eq!(read.fields.len(), found.len());
    let (fields, _) = slow::fields_and_body(message);
    for (copy, (name, value)) in read.fields.iter().zip(found) {
        assert_eq!((&copy.name, &copy.value), (&name, &value));
        let want = slow::relaxed_field(name.as_bytes(), &value);
        let is_in_header = fields.iter().any(|field| {
            let (name, value) = slow::name_and_value(field);
            slow::relaxed_field(name, value) == want
        });
        assert_eq!(copy.is_in_header, is_in_header, "{copy:?}");
    }

    let written = |copy: &CopiedField| {
        format!("{}:{}", copy.name, encode_quoted(&copy.value).replace('|', "=7C"))
    };
    let entries: Vec<_> = read.fields.iter().map(written).collect();
    let again = Copies::of(&entries.join("|"), &header);
    assert_eq!((again.fields, again.left_out), (read.fields, 0));
}

/// A key record reads the same when its values are written anew.
fn key_record(input: &[u8]) {
    let Ok(one) = KeyRecord::parse(input) else { return };
    let tags = TagList::parse(input).expect("a key record is a tag list");
    let key = tags.value("p").and_then(slow::base64).expect("a usable record has a key");
    let mut written = key_record_text(one.public_key().algorithm(), &key);
    let hashes = [
        (one.allows_hash_of(SignatureAlgorithm::RsaSha1), "sha1"),
        (one.allows_hash_of(SignatureAlgorithm::RsaSha256), "sha256"),
        (true, "x"),
    ];
    let hashes: Vec<_> = hashes.iter().filter(|hash| hash.0).map(|hash| hash.1).collect();
    written += &format!("; h={}", hashes.join(" : "));
    written += match one.service() {
        Service::Email => "; s=email",
        Service::Other => "; s=tlsrpt",
    };
    written += match (one.mode(), one.identity_rule()) {
        (Mode::Production, IdentityRule::DomainOrBelow) => "",
        (Mode::Production, IdentityRule::Exact) => ";t=S",
        (Mode::Testing, IdentityRule::DomainOrBelow) => ";t=y",
        (Mode::Testing, IdentityRule::Exact) => ";t=s:y",
    };
    let has = |name: &str, word: &str| {
        let is_word =
            |entry: &str| entry.trim_matches([' ', '\t', '\r', '\n']).eq_ignore_ascii_case(word);
        tags.value(name).map(|list| list.split(':').any(is_word))
    };
    assert_eq!(one.allows_hash_of(SignatureAlgorithm::RsaSha1), has("h", "sha1") != Some(false));
    assert_eq!(
        one.allows_hash_of(SignatureAlgorithm::RsaSha256),
        has("h", "sha256") != Some(false)
    );
    let is_for_mail = has("s", "*") != Some(false) || has("s", "email") != Some(false);
    assert_eq!(one.service() == Service::Email, is_for_mail);
    assert_eq!(one.mode() == Mode::Testing, has("t", "y") == Some(true));
    assert_eq!(one.identity_rule() == IdentityRule::Exact, has("t", "s") == Some(true));

    assert_eq!(one.notes().map(<[u8]>::to_vec), tags.value("n").map(slow::qp_section));
    written += &one.notes().map(|n| format!("; n={}", encode_quoted(n))).unwrap_or_default();
    if written.len() > MAX_RECORD_LEN {
        return;
    }
    let two = KeyRecord::parse(written.as_bytes()).expect("what was written is a key record");
    assert_eq!(one, two, "{written}");
}

/// An RSA key is the same key in every encoding, and no octet more or less.
fn public_key(input: &[u8]) {
    let _ = PublicKey::from_ed25519(input);
    let Ok(one) = PublicKey::from_rsa_der(input) else { return };
    let (modulus, exponent) = rsa_numbers(input).expect("a key has its numbers");
    for der in slow::rsa_der(modulus, exponent) {
        let two = PublicKey::from_rsa_der(&der).expect("the same key in the shortest encoding");
        assert_eq!(one, two);
        assert_eq!(rsa_numbers(&der), Some((modulus, exponent)));
    }
    let high = modulus.first().expect("a modulus is positive");
    let bits = modulus.len() * 8 - high.leading_zeros() as usize;
    assert_eq!(one.rsa_bits().map(|bits| bits as usize), Some(bits));
    assert!(exponent.last().is_some_and(|octet| octet % 2 == 1), "an odd exponent");
    let longer = [input, &[0]].concat();
    assert!(PublicKey::from_rsa_der(&longer).is_err(), "something follows");
    let shorter = input.split_last().map(|(_, shorter)| shorter).unwrap_or_default();
    assert!(PublicKey::from_rsa_der(shorter).is_err(), "something is cut off");
}

/// A message is cut where a slow reading of its lines cuts it, and nothing is lost.
fn header(input: &[u8]) {
    let (fields, body) = slow::fields_and_body(input);
    let Ok((header, rest)) = Header::of_message(input) else { return };
    assert_eq!(rest, body);
    let raw: Vec<_> = header.fields().map(|field| field.raw().to_vec()).collect();
    assert_eq!(raw, fields);
    for field in header.fields() {
        let (name, value) = slow::name_and_value(field.raw());
        assert_eq!((field.name(), field.value()), (name, value), "{field:?}");
        if !name.is_empty() {
            let end = field.raw().len() - field.unended().len();
            let line_end = field.raw().get(field.raw().len() - end..).expect("it is a suffix");
            assert_eq!([field.raw_name(), b":", value, line_end].concat(), field.raw());
        }
    }
    let (section, split_body) = split_message(input);
    assert_eq!(split_body, body);
    let parsed = Header::parse(section).expect("a part of what was in bounds");
    let apart = Header::from_fields(fields.iter().map(Vec::as_slice).collect()).expect("as many");
    for other in [parsed, apart] {
        assert!(other.fields().map(|field| field.raw()).eq(raw.iter().map(Vec::as_slice)));
    }
}

/// A name in its one form stays as it is, keeps the limits, and case and a final dot change nothing.
fn name(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let (selector_text, domain_text) = text.split_once('/').unwrap_or((text, text));
    let selector = Selector::parse(selector_text);
    let domain = DomainName::parse(domain_text);
    assert!(selector.is_err() || !selector_text.ends_with('.'), "a selector ends with a label");
    if let Ok(selector) = &selector {
        let same = DomainName::parse(selector_text).expect("the same form");
        assert_eq!(same.as_str(), selector.as_str());
    }
    let Ok(domain) = domain else { return };
    let form = domain.as_str();
    assert!(form.len() <= MAX_NAME_LEN);
    for label in form.split('.') {
        assert!((1..=MAX_LABEL_LEN).contains(&label.len()), "{form}");
        let is_good = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_');
        assert!(label.chars().all(is_good), "{form}");
    }
    for text in [form.to_owned(), form.to_uppercase(), format!("{form}.")] {
        assert_eq!(DomainName::parse(&text).as_ref(), Ok(&domain), "{text}");
    }
    let plain = domain_text.strip_suffix('.').unwrap_or(domain_text);
    if plain.is_ascii() {
        assert_eq!(form, plain.to_ascii_lowercase());
    }
    let mut above = Some(domain.clone());
    let mut labels = domain.label_count();
    while let Some(name) = above {
        assert!(domain.is_same_or_subdomain_of(&name));
        assert_eq!(name.is_same_or_subdomain_of(&domain), name == domain);
        assert_eq!(name.label_count(), labels);
        labels -= 1;
        above = name.parent();
    }
    assert_eq!(labels, 0);
    if let Ok(selector) = selector {
        let want = format!("{selector}._domainkey.{domain}");
        match key_record_name(&selector, &domain) {
            Ok(name) => assert_eq!(name.as_str(), want),
            Err(_) => assert!(want.len() > MAX_NAME_LEN),
        }
        let below = DomainName::parse(&format!("{selector}{domain}"));
        let is_below = below.is_ok_and(|below| below.is_same_or_subdomain_of(&domain));
        assert!(!is_below, "a label is compared whole");
    }
}

/// Both encodings read what they write, and base64 is what a slow reading finds.
fn encoding(input: &[u8]) {
    assert_eq!(decode_base64(&encode_base64(input)).as_deref(), Some(input));
    let quoted = encode_quoted(input);
    assert_eq!(decode_quoted(&quoted).as_deref(), Some(input));
    assert!(quoted.bytes().all(|octet| octet.is_ascii_graphic() && octet != b';'));
    // Only what a tag list lets through gets here.
    let text = [b"p=", input].concat();
    let Some(list) = TagList::parse(&text).ok() else { return };
    let Some(value) = list.value("p") else { return };
    assert_eq!(decode_base64(value), slow::base64(value), "{value:?}");
    if let Some(octets) = decode_quoted(value) {
        let dense: String = value.chars().filter(|c| !" \t\r\n".contains(*c)).collect();
        assert_eq!(decode_quoted(&encode_quoted(&octets)).as_ref(), Some(&octets));
        assert_eq!(octets.len() + 2 * dense.matches('=').count(), dense.len());
        assert_eq!(decode_quoted(&dense).as_ref(), Some(&octets), "a fold counts for nothing");
    }
}

/// A local file has a CRLF for each LF, and comes back as it was; any other is left alone.
fn local_file(input: &[u8]) {
    let file = LocalFile::new(input);
    let wire = file.to_wire();
    assert_eq!(&*file.to_local(&wire), input);
    let has_crlf = input.windows(2).any(|two| two == b"\r\n");
    let is_local = input.contains(&b'\n') && !has_crlf;
    assert_eq!(file.line_ends() == LineEnds::Local, is_local);
    if is_local {
        let lines: Vec<_> = input.split(|octet| *octet == b'\n').collect();
        assert_eq!(&*wire, lines.join(&b"\r\n"[..]));
    } else {
        assert!(matches!(wire, Cow::Borrowed(_)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::LAWS;
    use crate::auth_results::AuthenticationResults;
    use crate::key_record::KeyRecord;

    /// The key of RFC 8463 §A.2.
    const RFC8463: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

    #[test]
    fn white_space_that_mail_does_not_know_is_a_character() {
        for space in ["\u{a0}", "\u{2000}", "\u{3000}"] {
            let long = "a".repeat(70);
            let results =
                format!("mx; spf=pass smtp.mailfrom=\"{long} {space} {long}@example.com\"");
            let read = AuthenticationResults::parse(results.as_bytes()).unwrap();
            assert_eq!(read.results().len(), 1, "{results}");
            super::results::auth_results(results.as_bytes());
            let record =
                format!("k=ed25519; h={space}sha256; s=email{space}; t={space}y; p={RFC8463}");
            assert!(KeyRecord::parse(record.as_bytes()).is_ok(), "{record}");
            super::key_record(record.as_bytes());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

        #[test]
        fn laws_hold_for_any_octets(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            for (_, law) in LAWS {
                law(&octets);
            }
        }

        #[test]
        fn laws_hold_for_texts_of_mail(
            pieces in prop::collection::vec("[a-z]{1,9}|[vabcdhilstxp]=|[;:.= \t]|\r\n|From: ", 0..40),
        ) {
            for (_, law) in LAWS {
                law(pieces.concat().as_bytes());
            }
        }
    }
}

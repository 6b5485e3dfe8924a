//! Laws for fuzzers: each takes any bytes and panics if a law is broken.

use postseal_dkim::{Algorithm, KeyRecord};

use crate::der::{Form, form_of};
use crate::pem::{self, Armour};
use crate::signing_key::{MAX_KEY_TEXT_LEN, MAX_RSA_BITS, MIN_RSA_BITS, SigningKey};

/// The name of a fuzz target, and its law.
pub type Target = (&'static str, fn(&[u8]));

/// The fuzz targets of this crate.
pub const LAWS: &[Target] = &[("key_text", key_text), ("key_der", key_der), ("pem", armour)];

/// A key that is read from a text is the same key in each text form that people paste.
fn key_text(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let read = SigningKey::import(text);
    if text.len() > MAX_KEY_TEXT_LEN {
        assert!(read.is_err());
    }
    let Ok(key) = read else { return };
    let pem = key.expose_pkcs8_pem();
    let Armour::PrivateKey(body) = pem::find(&pem) else { panic!("we write a private key") };
    let forms = [
        pem.to_string(),
        pem.replace('\n', "\r\n"),
        format!("-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n{}", *pem),
        body.to_owned(),
        body.replace('\n', "").trim_end_matches('=').to_owned(),
    ];
    for form in forms {
        let Ok(same) = SigningKey::import(&form) else { panic!("a form of a key") };
        assert_eq!(same.public_record(), key.public_record());
    }
}

/// What is taken for a key has a private form, the bounds of its kind and a public half that verifiers can
/// use; and nothing has a form when an octet is missing or too many.
fn key_der(input: &[u8]) {
    let form = form_of(input);
    if form != Form::Unknown {
        let shorter = input.split_last().map(|(_, shorter)| shorter).unwrap_or_default();
        assert_eq!(form_of(shorter), Form::Unknown, "the last octet is missing");
        assert_eq!(form_of(&[input, &[0]].concat()), Form::Unknown, "one octet too many");
    }
    let Ok(key) = SigningKey::from_der(input) else { return };
    let record = KeyRecord::parse(key.public_record().as_bytes()).expect("a usable record");
    assert_eq!(record.public_key().algorithm(), key.algorithm());
    match (form, key.algorithm()) {
        (Form::Pkcs1Rsa { bits } | Form::Pkcs8Rsa { bits }, Algorithm::RsaSha256) => {
            assert_eq!(bits, key.bits());
            assert!((MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits));
        }
        (Form::Pkcs8Ed25519, Algorithm::Ed25519Sha256) => {
            assert!(key.sign(&[0; 32]).is_ok_and(|signature| signature.len() == 64));
        }
        (form, algorithm) => panic!("{form:?} is no form of {algorithm}"),
    }
}

/// Any octets in armour come out of it as they were, whatever stands around it; and what is found in a text
/// is the first private key that stands there.
fn armour(input: &[u8]) {
    let pem = pem::write_pkcs8(input);
    assert!(pem.lines().all(|line| line.len() <= 64));
    let Armour::PrivateKey(body) = pem::find(&pem) else { panic!("we write a private key") };
    assert_eq!(pem::decode(body).as_deref().map(Vec::as_slice), Some(input));

    let Ok(text) = str::from_utf8(input) else { return };
    let found = pem::find(text);
    if let Armour::PrivateKey(body) = found {
        // Where it stands, since the same octets may stand elsewhere too, and partly in its own first line.
        let at = body.as_ptr().addr() - text.as_ptr().addr();
        let parts = text.get(..at).zip(text.get(at + body.len()..));
        let (before, after) = parts.expect("the body is a part of the text");
        let is_armoured = before.ends_with("PRIVATE KEY-----") && before.contains("-----BEGIN ");
        assert!(is_armoured, "it stands behind its first line");
        assert!(after.starts_with("-----END "), "and in front of its last");
        assert!(matches!(pem::find(before), Armour::Nothing | Armour::PublicKey), "none before it");
        assert!(!body.contains("-----END ") && !body.contains("Proc-Type:"));
    }
    // A text without armour, in front, changes nothing.
    if !text.contains("-----") {
        assert_eq!(found, Armour::Nothing);
        let after = format!("{text}\n{}", *pem);
        assert_eq!(pem::find(&after), Armour::PrivateKey(body));
    }
    let dense: String = text.split_ascii_whitespace().collect();
    assert_eq!(pem::decode(text), pem::decode(&dense), "white space counts for nothing");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{LAWS, armour};

    #[test]
    fn a_body_may_look_like_its_first_line() {
        armour(b"-----BEGIN PRIVATE KEY--------BEGIN PRIVATE KEY-------------END PRIVATE KEY-----");
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
        fn laws_hold_for_texts(
            pieces in prop::collection::vec(
                "-----(BEGIN|END) (RSA |ENCRYPTED )?(PRIVATE|PUBLIC) KEY-----|[A-Za-z0-9+/]{1,9}|=|\r?\n", 0..9),
        ) {
            for (_, law) in LAWS {
                law(pieces.concat().as_bytes());
            }
        }
    }
}

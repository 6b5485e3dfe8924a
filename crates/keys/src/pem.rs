//! The text forms of a private key: PEM armour (RFC 7468), and its bare base64 body.
//!
//! SparkPost's API takes and gives the body alone, without armour and line breaks; people paste either,
//! with line breaks of any kind. Every buffer that holds key octets is wiped when it goes, and has its
//! final size from the start, so that growing it leaves no copy behind. That is why no general PEM reader
//! is used here.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use zeroize::Zeroizing;

/// The first private key in a PEM text.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Armour<'a> {
    /// The base64 body of a private key.
    PrivateKey(&'a str),
    /// A private key under a passphrase.
    Encrypted,
    /// No private key, but a public one.
    PublicKey,
    /// Neither.
    Nothing,
}

/// Finds the first private key in `text`, past other sections such as certificates.
pub(crate) fn find(text: &str) -> Armour<'_> {
    let mut found = Armour::Nothing;
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        let Some((label, after)) = after.split_once("-----") else { break };
        let Some((body, after)) = after.split_once("-----END ") else { break };
        rest = after;
        match label {
            // Older tools write the passphrase's parameters as lines in the body (RFC 1421 §4.6).
            _ if label.ends_with("PRIVATE KEY") && body.contains("Proc-Type:") => {
                return Armour::Encrypted;
            }
            "ENCRYPTED PRIVATE KEY" => return Armour::Encrypted,
            // "EC PRIVATE KEY" and the like are told from these by their contents.
            _ if label.ends_with("PRIVATE KEY") => return Armour::PrivateKey(body),
            _ if label.ends_with("PUBLIC KEY") => found = Armour::PublicKey,
            _ => {}
        }
    }
    found
}

/// Decodes a base64 body, with white space anywhere and with or without padding; none if it is not one.
pub(crate) fn decode(body: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut dense = Zeroizing::new(Vec::with_capacity(body.len()));
    dense.extend(body.bytes().filter(|octet| !octet.is_ascii_whitespace()));
    let mut der = Zeroizing::new(vec![0; base64::decoded_len_estimate(dense.len())]);
    let len = LENIENT.decode_slice(&*dense, &mut der).ok()?;
    der.truncate(len);
    Some(der)
}

/// Writes PKCS#8 as PEM, with lines of 64 characters (RFC 7468 §2).
pub(crate) fn write_pkcs8(der: &[u8]) -> Zeroizing<String> {
    let mut body = Zeroizing::new(vec![0; der.len().div_ceil(3) * 4]);
    let len = STANDARD.encode_slice(der, &mut body).expect("four characters for three octets");
    let mut pem = Zeroizing::new(String::with_capacity(len + len / 64 + 1 + 64));
    pem.push_str("-----BEGIN PRIVATE KEY-----\n");
    for line in body.get(..len).unwrap_or_default().chunks(64) {
        pem.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
        pem.push('\n');
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    pem
}

/// Takes what people paste: padding may be there or not.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn finds_the_first_private_key() {
        let cases = [
            ("", Armour::Nothing),
            ("AAAA", Armour::Nothing),
            ("-----BEGIN PRIVATE KEY-----", Armour::Nothing),
            ("-----BEGIN PRIVATE KEY-----\nAA\n", Armour::Nothing),
            (
                "-----BEGIN PRIVATE KEY-----\nAA\n-----END PRIVATE KEY-----",
                Armour::PrivateKey("\nAA\n"),
            ),
            (
                "-----BEGIN RSA PRIVATE KEY-----\r\nAA\r\n-----END RSA PRIVATE KEY-----\r\n",
                Armour::PrivateKey("\r\nAA\r\n"),
            ),
            (
                "Bag Attributes\n-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n\
                 -----BEGIN PRIVATE KEY-----\nBB\n-----END PRIVATE KEY-----\n",
                Armour::PrivateKey("\nBB\n"),
            ),
            ("-----BEGIN PUBLIC KEY-----\nAA\n-----END PUBLIC KEY-----\n", Armour::PublicKey),
            (
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
                Armour::Encrypted,
            ),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAA\n\
                 -----END RSA PRIVATE KEY-----\n",
                Armour::Encrypted,
            ),
        ];
        for (text, want) in cases {
            assert_eq!(find(text), want, "{text:?}");
        }
    }

    #[test]
    fn decodes_a_body_as_pasted() {
        let cases: [(&str, Option<&[u8]>); 6] = [
            ("", Some(&[])),
            (" TWF1\r\n\tcmU= ", Some(b"Maure")),
            ("TWF1cmU", Some(b"Maure")),
            ("TWF1cmU==", None),
            ("TWF1-cmU", None),
            ("TWF1é", None),
        ];
        for (body, want) in cases {
            assert_eq!(decode(body).as_deref().map(Vec::as_slice), want, "{body:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn what_is_written_is_read(der in prop::collection::vec(any::<u8>(), 0..300)) {
            let pem = write_pkcs8(&der);
            let Armour::PrivateKey(body) = find(&pem) else { panic!("{}", *pem) };
            prop_assert_eq!(&**decode(body).unwrap(), &der[..]);
            prop_assert!(pem.lines().all(|line| line.len() <= 64));
        }

        #[test]
        fn any_text_is_only_text(text in "\\PC{0,60}(-----(BEGIN|END) [A-Z ]{0,20}-----)?\\PC{0,60}") {
            let _ = find(&text);
            let _ = decode(&text);
        }
    }
}

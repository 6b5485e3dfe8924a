//! A private key in memory: made, imported, and used for one digest at a time.
//!
//! rsa-sha256 is RSASSA-PKCS1-v1_5 over a SHA-256 digest (RFC 6376 §3.3.2, RFC 8301 §3.1);
//! ed25519-sha256 is PureEdDSA over that digest (RFC 8463 §3).
//!
//! A [`SigningKey`] can be neither printed nor copied, and the crypto library wipes its memory when it is
//! dropped. The private half leaves this crate by two doors only: sealed ([`crate::MasterKey::seal`]), and
//! as PEM for the command line on the host that holds the master key ([`SigningKey::expose_pkcs8_pem`]).
//!
//! RSA keys have 2048 to 4096 bits. Below, RFC 8301 §3.2 would still allow 1024, but the crypto library
//! signs with none under 2048; above, RFC 8301 §3.2 obliges no verifier.

use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postseal_dkim::Algorithm;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::der::{self, Form};
use crate::pem::{self, Armour};

/// A private key that signs digests.
///
/// One key may sign on many threads at once.
pub struct SigningKey(Pair);

enum Pair {
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// Makes a new key: RSA with 2048 bits (about a tenth of a second), or Ed25519.
    pub fn generate(algorithm: Algorithm) -> Result<Self, GenerateError> {
        let pair = match algorithm {
            Algorithm::RsaSha256 => {
                Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| GenerateError)?)
            }
            Algorithm::Ed25519Sha256 => {
                Pair::Ed25519(Ed25519KeyPair::generate().map_err(|_| GenerateError)?)
            }
        };
        Ok(Self(pair))
    }

    /// Reads a key as people have it: PEM, or the base64 body alone.
    pub fn import(text: &str) -> Result<Self, ImportError> {
        if text.contains("-----BEGIN ") {
            Self::from_pem(text)
        } else {
            Self::from_base64_der(text)
        }
    }

    /// Reads the first private key of a PEM text, PKCS#8 or PKCS#1 (RFC 7468 §10, RFC 8017 A.1.2).
    pub fn from_pem(text: &str) -> Result<Self, ImportError> {
        if text.len() > MAX_KEY_TEXT_LEN {
            return Err(ImportError::TooLong);
        }
        match pem::find(text) {
            Armour::PrivateKey(body) => {
                Self::from_der(&pem::decode(body).ok_or(ImportError::BadBase64)?)
            }
            Armour::Encrypted => Err(ImportError::Encrypted),
            Armour::PublicKey => Err(ImportError::PublicKey),
            Armour::Nothing => Err(ImportError::NotFound),
        }
    }

    /// Reads the base64 of a DER key, PKCS#8 or PKCS#1, without armour, as SparkPost's API has it.
    pub fn from_base64_der(text: &str) -> Result<Self, ImportError> {
        if text.len() > MAX_KEY_TEXT_LEN {
            return Err(ImportError::TooLong);
        }
        if text.trim().is_empty() {
            return Err(ImportError::NotFound);
        }
        Self::from_der(&pem::decode(text).ok_or(ImportError::BadBase64)?)
    }

    /// Reads a DER key, PKCS#8 or PKCS#1.
    pub fn from_der(der: &[u8]) -> Result<Self, ImportError> {
        let pair = match der::form_of(der) {
            Form::Pkcs1Rsa { bits } => {
                check_size(bits)?;
                Pair::Rsa(RsaKeyPair::from_der(der).map_err(|_| ImportError::Inconsistent)?)
            }
            Form::Pkcs8Rsa { bits } => {
                check_size(bits)?;
                Pair::Rsa(RsaKeyPair::from_pkcs8(der).map_err(|_| ImportError::Inconsistent)?)
            }
            Form::Pkcs8Ed25519 => {
                let pair =
                    Ed25519KeyPair::from_pkcs8(der).map_err(|_| ImportError::Inconsistent)?;
                Pair::Ed25519(pair)
            }
            Form::OtherAlgorithm => return Err(ImportError::OtherAlgorithm),
            Form::Encrypted => return Err(ImportError::Encrypted),
            Form::Public => return Err(ImportError::PublicKey),
            Form::Unknown => return Err(ImportError::Malformed),
        };
        Ok(Self(pair))
    }

    /// What the key signs with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self.0 {
            Pair::Rsa(_) => Algorithm::RsaSha256,
            Pair::Ed25519(_) => Algorithm::Ed25519Sha256,
        }
    }

    /// The size of an RSA modulus in bits, or of an Ed25519 key, which has 256.
    #[must_use]
    pub fn bits(&self) -> usize {
        match &self.0 {
            Pair::Rsa(pair) => pair.public_modulus_len() * 8,
            Pair::Ed25519(_) => 256,
        }
    }

    /// Signs the SHA-256 of a header hash input (RFC 6376 §3.7).
    ///
    /// This is CPU work of a quarter millisecond and more for RSA: inside a server it belongs on
    /// [`crate::SigningThreads`].
    pub fn sign(&self, digest: &[u8; 32]) -> Result<Vec<u8>, SignatureError> {
        match &self.0 {
            Pair::Rsa(pair) => {
                let digest =
                    Digest::import_less_safe(digest, &SHA256).map_err(|_| SignatureError)?;
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign_digest(&RSA_PKCS1_SHA256, &digest, &mut signature)
                    .map_err(|_| SignatureError)?;
                Ok(signature)
            }
            Pair::Ed25519(pair) => {
                let signature = pair.try_sign(digest).map_err(|_| SignatureError)?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }

    /// The text of the key record to publish, `v=DKIM1; k=rsa; p=…` (RFC 6376 §3.6.1).
    #[must_use]
    pub fn public_record(&self) -> String {
        format!("v=DKIM1; k={}; p={}", self.algorithm().key_type(), self.public_key_base64())
    }

    /// The value of `p=`: a SubjectPublicKeyInfo for RSA (RFC 6376 Appendix C), the bare 32
    /// octets for Ed25519 (RFC 8463 §4.2).
    #[must_use]
    pub fn public_key_base64(&self) -> String {
        match &self.0 {
            Pair::Rsa(pair) => {
                let spki: PublicKeyX509Der<'_> =
                    pair.public_key().as_der().expect("the public half of a key that was parsed");
                STANDARD.encode(spki.as_ref())
            }
            Pair::Ed25519(pair) => STANDARD.encode(pair.public_key()),
        }
    }

    /// Says whether `text` is the public half of this key.
    ///
    /// `text` is PEM or a bare base64 body; SubjectPublicKeyInfo, PKCS#1 `RSAPublicKey`, or the 32 octets
    /// of an Ed25519 key.
    pub fn matches_public_key(&self, text: &str) -> Result<bool, PublicKeyError> {
        if text.len() > MAX_KEY_TEXT_LEN {
            return Err(PublicKeyError);
        }
        let body = match text.split_once("-----BEGIN ") {
            Some((_, armoured)) => armoured
                .split_once("-----")
                .and_then(|(_, rest)| rest.split_once("-----END "))
                .map(|(body, _)| body)
                .ok_or(PublicKeyError)?,
            None => text,
        };
        let der = pem::decode(body).ok_or(PublicKeyError)?;
        let rsa = aws_lc_rs::rsa::PublicKey::from_der(&der).ok();
        let ed25519 = match der.strip_prefix(ED25519_SPKI_PREFIX).unwrap_or(&der) {
            bare if bare.len() == ED25519_KEY_LEN => Some(bare),
            _ => None,
        };
        match &self.0 {
            _ if rsa.is_none() && ed25519.is_none() => Err(PublicKeyError),
            Pair::Rsa(pair) => {
                Ok(rsa.is_some_and(|rsa| rsa.as_ref() == pair.public_key().as_ref()))
            }
            Pair::Ed25519(pair) => Ok(ed25519 == Some(pair.public_key().as_ref())),
        }
    }

    /// Gives the private key out as PKCS#8 PEM, for a file that only its owner can read.
    ///
    /// For the command line on the host of the master key. Never for HTTP, a log or an error.
    #[must_use]
    pub fn expose_pkcs8_pem(&self) -> Zeroizing<String> {
        pem::write_pkcs8(self.pkcs8().as_ref())
    }

    /// The private key as PKCS#8 version 1, in a buffer that wipes itself.
    pub(crate) fn pkcs8(&self) -> Pkcs8V1Der<'static> {
        match &self.0 {
            Pair::Rsa(pair) => pair.as_der(),
            Pair::Ed25519(pair) => pair.as_der(),
        }
        .expect("a key that was parsed or made can be written")
    }
}

/// Why a text is no key that can sign. Whoever gave it is at fault.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ImportError {
    /// Neither armour nor text.
    #[error(
        "there is no private key in it: give PEM (BEGIN PRIVATE KEY or BEGIN RSA PRIVATE KEY) or its \
         base64 body"
    )]
    NotFound,
    /// More than [`MAX_KEY_TEXT_LEN`].
    #[error("the private key is longer than {MAX_KEY_TEXT_LEN} characters, which no key is")]
    TooLong,
    /// A body that is no base64.
    #[error("the private key is not valid base64")]
    BadBase64,
    /// Base64 of something else.
    #[error("the private key is neither PKCS#8 nor PKCS#1; it may be cut short or damaged")]
    Malformed,
    /// The public half.
    #[error("this is a public key; give the private key")]
    PublicKey,
    /// A key under a passphrase.
    #[error(
        "the private key is protected by a passphrase; write it without one first: \
         openssl pkey -in KEY -out PLAIN-KEY"
    )]
    Encrypted,
    /// ECDSA, DSA and others.
    #[error("DKIM signs with RSA or Ed25519, and the private key is of another algorithm")]
    OtherAlgorithm,
    /// An RSA key under [`MIN_RSA_BITS`] (RFC 8301 §3.2 counsels at least 2048).
    #[error(
        "the RSA key has {bits} bits and signing needs {MIN_RSA_BITS}; make a new key, publish it under \
         a new selector, and leave the old record in DNS for two weeks"
    )]
    TooSmall {
        /// The size of its modulus.
        bits: usize,
    },
    /// An RSA key over [`MAX_RSA_BITS`], which verifiers need not take (RFC 8301 §3.2).
    #[error(
        "the RSA key has {bits} bits; verifiers need not accept more than {MAX_RSA_BITS}, so mail signed \
         with it could fail"
    )]
    TooLarge {
        /// The size of its modulus.
        bits: usize,
    },
    /// Numbers that do not belong together.
    #[error(
        "the parts of the private key do not fit together; it is damaged, get it from its source again"
    )]
    Inconsistent,
}

/// A text that is no public key.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("the public key cannot be read: give the base64 of a SubjectPublicKeyInfo")]
pub struct PublicKeyError;

/// The crypto library could not make a key; it has no randomness or no memory.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("the crypto library could not make a key (no randomness or no memory)")]
pub struct GenerateError;

/// The crypto library could not sign; it has no memory.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("the crypto library could not sign with this key")]
pub struct SignatureError;

fn check_size(bits: usize) -> Result<(), ImportError> {
    match bits {
        MIN_RSA_BITS..=MAX_RSA_BITS => Ok(()),
        _ if bits < MIN_RSA_BITS => Err(ImportError::TooSmall { bits }),
        _ => Err(ImportError::TooLarge { bits }),
    }
}

/// The smallest RSA key that signs; the crypto library refuses smaller ones.
pub const MIN_RSA_BITS: usize = 2048;

/// The largest RSA key that verifiers must take (RFC 8301 §3.2).
pub const MAX_RSA_BITS: usize = 4096;

/// The longest key text that is looked at. RSA with 4096 bits has 3.3 KB; the rest is for certificates and
/// remarks before it.
pub const MAX_KEY_TEXT_LEN: usize = 65_536;

/// What stands before the 32 octets in a SubjectPublicKeyInfo (RFC 8410 §4).
const ED25519_SPKI_PREFIX: &[u8] =
    &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

const ED25519_KEY_LEN: usize = 32;

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    use proptest::prelude::*;

    use super::*;

    fn generate(algorithm: Algorithm) -> SigningKey {
        SigningKey::generate(algorithm).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The PKCS#1 inside of PKCS#8: what follows the header of the octet string.
    fn pkcs1_of(pkcs8: &[u8]) -> &[u8] {
        let at = pkcs8
            .windows(4)
            .skip(1)
            .position(|octets| octets[0] == 0x30 && octets[1] == 0x82 && octets.len() == 4);
        &pkcs8[at.unwrap() + 1..]
    }

    #[test]
    fn signatures_hold_under_the_public_half() {
        let message = b"the header hash input";
        let digest: [u8; 32] =
            aws_lc_rs::digest::digest(&SHA256, message).as_ref().try_into().unwrap();

        let key = generate(Algorithm::RsaSha256);
        let record = key.public_record();
        let body = record.strip_prefix("v=DKIM1; k=rsa; p=").unwrap();
        let public = STANDARD.decode(body).unwrap();
        let signature = key.sign(&digest).unwrap();
        assert_eq!((signature.len(), key.bits()), (256, 2048));
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &public)
            .verify(message, &signature)
            .unwrap();

        let key = generate(Algorithm::Ed25519Sha256);
        let record = key.public_record();
        let body = record.strip_prefix("v=DKIM1; k=ed25519; p=").unwrap();
        let public = STANDARD.decode(body).unwrap();
        let signature = key.sign(&digest).unwrap();
        assert_eq!((signature.len(), public.len()), (64, 32));
        // RFC 8463 §3: the digest is what Ed25519 signs.
        UnparsedPublicKey::new(&ED25519, &public).verify(&digest, &signature).unwrap();
    }

    #[test]
    fn signs_as_rfc_8463_appendix_a_does() {
        // The seed of RFC 8463 A.1 as PKCS#8, and its public half of A.2.
        let seed = STANDARD.decode("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=").unwrap();
        let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        let key = SigningKey::from_der(&[&head[..], &seed].concat()).ok().unwrap();
        assert_eq!(
            key.public_record(),
            "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
        );
    }

    #[test]
    fn a_key_reads_back_in_every_form() {
        for algorithm in [Algorithm::RsaSha256, Algorithm::Ed25519Sha256] {
            let key = generate(algorithm);
            let record = key.public_record();
            let pem = key.expose_pkcs8_pem();
            let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
            let mut forms = vec![
                pem.to_string(),
                pem.replace('\n', "\r\n"),
                format!("remarks\n{}", *pem),
                body.clone(),
                body.trim_end_matches('=').to_owned(),
                format!(" {body}\r\n"),
            ];
            if algorithm == Algorithm::RsaSha256 {
                let pkcs1 = STANDARD.encode(pkcs1_of(key.pkcs8().as_ref()));
                forms.push(format!(
                    "-----BEGIN RSA PRIVATE KEY-----\n{pkcs1}\n-----END RSA PRIVATE KEY-----\n"
                ));
                forms.push(pkcs1);
            }
            for form in forms {
                let read = SigningKey::import(&form).unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(read.public_record(), record);
                assert_eq!(read.sign(&[1; 32]).unwrap(), key.sign(&[1; 32]).unwrap());
            }
        }
    }

    #[test]
    fn says_what_is_wrong_with_a_text() {
        let rsa_1024 = {
            // The outside of an RSAPrivateKey with a modulus of 1024 bits.
            let mut der = vec![0x30, 0x81, 0, 2, 1, 0, 2, 0x81, 0x80];
            der.extend([0xff; 128]);
            der.extend([2, 3, 1, 0, 1, 2, 1, 5]);
            der[2] = u8::try_from(der.len() - 3).unwrap();
            STANDARD.encode(der)
        };
        let key = generate(Algorithm::Ed25519Sha256);
        let cases = [
            ("", ImportError::NotFound),
            (" \n", ImportError::NotFound),
            ("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----", ImportError::NotFound),
            ("swordfish!", ImportError::BadBase64),
            ("c3dvcmRmaXNo", ImportError::Malformed),
            (&key.public_key_base64(), ImportError::Malformed),
            (&rsa_1024, ImportError::TooSmall { bits: 1024 }),
        ];
        for (text, want) in cases {
            assert_eq!(SigningKey::import(text).err(), Some(want), "{text:?}");
        }
        let rsa = generate(Algorithm::RsaSha256);
        assert_eq!(
            SigningKey::import(&rsa.public_key_base64()).err(),
            Some(ImportError::PublicKey)
        );
        let mut der = rsa.pkcs8().as_ref().to_vec();
        let near_the_end = der.len() - 40;
        der[near_the_end] ^= 1;
        assert_eq!(SigningKey::from_der(&der).err(), Some(ImportError::Inconsistent));
        assert_eq!(
            SigningKey::import(&"A".repeat(MAX_KEY_TEXT_LEN + 1)).err(),
            Some(ImportError::TooLong)
        );
    }

    #[test]
    fn knows_its_public_half_from_others() {
        let rsa = generate(Algorithm::RsaSha256);
        let other_rsa = generate(Algorithm::RsaSha256);
        let ed25519 = generate(Algorithm::Ed25519Sha256);
        let pkcs1 = match &rsa.0 {
            Pair::Rsa(pair) => STANDARD.encode(pair.public_key()),
            Pair::Ed25519(_) => unreachable!(),
        };
        let ed25519_spki = STANDARD.encode(
            [ED25519_SPKI_PREFIX, &STANDARD.decode(ed25519.public_key_base64()).unwrap()].concat(),
        );
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            rsa.public_key_base64()
        );
        let cases = [
            (&rsa, rsa.public_key_base64(), Ok(true)),
            (&rsa, pkcs1, Ok(true)),
            (&rsa, pem, Ok(true)),
            (&rsa, other_rsa.public_key_base64(), Ok(false)),
            (&rsa, ed25519.public_key_base64(), Ok(false)),
            (&ed25519, ed25519.public_key_base64(), Ok(true)),
            (&ed25519, ed25519_spki, Ok(true)),
            (&ed25519, rsa.public_key_base64(), Ok(false)),
            (&rsa, String::new(), Err(PublicKeyError)),
            (&rsa, "swordfish".to_owned(), Err(PublicKeyError)),
            (&rsa, "-----BEGIN PUBLIC KEY-----".to_owned(), Err(PublicKeyError)),
            (&ed25519, "A".repeat(MAX_KEY_TEXT_LEN + 1), Err(PublicKeyError)),
        ];
        for (key, text, want) in cases {
            assert_eq!(key.matches_public_key(&text), want, "{text:.80?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn a_changed_key_is_refused_or_still_a_key(at in any::<prop::sample::Index>(), octet in any::<u8>()) {
            let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
            let mut der = [&head[..], &[7; 32]].concat();
            let at = at.index(der.len());
            der[at] = octet;
            if let Ok(key) = SigningKey::from_der(&der) {
                prop_assert!(key.sign(&[0; 32]).is_ok());
            }
        }
    }
}

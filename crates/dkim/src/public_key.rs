//! Public keys, parsed once and used for many signatures.
//!
//! An RSA key is a SubjectPublicKeyInfo (RFC 5280 §4.1) or, as some publish it, a bare RSAPublicKey
//! (RFC 8017 §A.1.1). An Ed25519 key is its 32 octets (RFC 8463 §4). What a verifier would have to
//! work on is bounded first: the length of the modulus and that of the exponent.
//!
//! Keys under [`MIN_RSA_BITS`] are parsed too, so that a report can say what they are.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::Digest;
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ED25519, ParsedPublicKey, RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
    RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
};
use thiserror::Error;

use crate::algorithm::Algorithm;
use crate::short_rsa;
use crate::signature::SignatureAlgorithm;

/// A public key. Cloning is cheap; equality is that of the key, however it was encoded.
#[derive(Clone)]
pub struct PublicKey(Arc<Material>);

enum Material {
    Rsa(RsaKey),
    Ed25519(ParsedPublicKey),
}

struct RsaKey {
    /// Big-endian, without leading zeros, as is the exponent.
    modulus: Box<[u8]>,
    exponent: Box<[u8]>,
    bits: u32,
    /// For SHA-256. None if the crypto library does not take a key so short.
    parsed: Option<ParsedPublicKey>,
}

impl PublicKey {
    /// Reads an RSA key from DER: SubjectPublicKeyInfo or RSAPublicKey.
    pub fn from_rsa_der(der: &[u8]) -> Result<Self, PublicKeyError> {
        let (modulus, exponent) = rsa_numbers(der).ok_or(PublicKeyError::NotRsaDer)?;
        let bits = bit_len(modulus);
        if bits > MAX_RSA_BITS {
            return Err(PublicKeyError::RsaTooLong);
        }
        if bits < LEAST_RSA_BITS {
            return Err(PublicKeyError::RsaTooShort { bits });
        }
        let max_exponent_bits =
            if bits < MIN_RSA_BITS { MAX_SHORT_EXPONENT_BITS } else { MAX_EXPONENT_BITS };
        if bit_len(exponent) > max_exponent_bits || is_even(exponent) || exponent == [1] {
            return Err(PublicKeyError::BadExponent);
        }
        if is_even(modulus) {
            return Err(PublicKeyError::EvenModulus);
        }
        let parsed = if bits < MIN_RSA_BITS {
            None
        } else {
            let key = PublicKeyComponents { n: modulus, e: exponent }
                .to_parsed_public_key(&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY)
                .map_err(|_| PublicKeyError::NotRsaDer)?;
            Some(key)
        };
        let (modulus, exponent) = (modulus.into(), exponent.into());
        Ok(Self(Arc::new(Material::Rsa(RsaKey { modulus, exponent, bits, parsed }))))
    }

    /// Takes an Ed25519 key of 32 octets.
    pub fn from_ed25519(octets: &[u8]) -> Result<Self, PublicKeyError> {
        // The library also takes a SubjectPublicKeyInfo here, which RFC 8463 §4 does not.
        if octets.len() != ED25519_KEY_LEN {
            return Err(PublicKeyError::BadEd25519Length { octets: octets.len() });
        }
        let key = ParsedPublicKey::new(&ED25519, octets)
            .map_err(|_| PublicKeyError::BadEd25519Length { octets: octets.len() })?;
        Ok(Self(Arc::new(Material::Ed25519(key))))
    }

    /// The algorithm with which this key may sign today.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match *self.0 {
            Material::Rsa(_) => Algorithm::RsaSha256,
            Material::Ed25519(_) => Algorithm::Ed25519Sha256,
        }
    }

    /// The length of an RSA modulus in bits; none for other keys.
    #[must_use]
    pub fn rsa_bits(&self) -> Option<u32> {
        match &*self.0 {
            Material::Rsa(key) => Some(key.bits),
            Material::Ed25519(_) => None,
        }
    }

    /// The exponent of an RSA key, big-endian; none for other keys.
    #[must_use]
    pub fn rsa_exponent(&self) -> Option<&[u8]> {
        match &*self.0 {
            Material::Rsa(key) => Some(&key.exponent),
            Material::Ed25519(_) => None,
        }
    }

    /// Says whether this kind of key can make signatures of that algorithm.
    #[must_use]
    pub fn fits(&self, algorithm: SignatureAlgorithm) -> bool {
        match (&*self.0, algorithm) {
            (Material::Rsa(_), SignatureAlgorithm::RsaSha1 | SignatureAlgorithm::RsaSha256)
            | (Material::Ed25519(_), SignatureAlgorithm::Ed25519Sha256) => true,
            (Material::Rsa(_), SignatureAlgorithm::Ed25519Sha256)
            | (Material::Ed25519(_), SignatureAlgorithm::RsaSha1 | SignatureAlgorithm::RsaSha256) => {
                false
            }
        }
    }

    /// Says whether `signature` is one by this key over `digest`, which is that of the algorithm.
    pub(crate) fn verifies(
        &self,
        algorithm: SignatureAlgorithm,
        digest: &Digest,
        signature: &[u8],
    ) -> bool {
        match (&*self.0, algorithm) {
            (Material::Rsa(key), SignatureAlgorithm::RsaSha256) => match &key.parsed {
                Some(parsed) => parsed.verify_digest_sig(digest, signature).is_ok(),
                None => key.verifies_short(SHA256_DIGEST_INFO, digest, signature),
            },
            (Material::Rsa(key), SignatureAlgorithm::RsaSha1) => match &key.parsed {
                Some(_) => key.verifies_sha1(digest, signature),
                None => key.verifies_short(SHA1_DIGEST_INFO, digest, signature),
            },
            // RFC 8463 §3: the message that Ed25519 signs is the digest.
            (Material::Ed25519(key), SignatureAlgorithm::Ed25519Sha256) => {
                key.verify_sig(digest.as_ref(), signature).is_ok()
            }
            (Material::Rsa(_), SignatureAlgorithm::Ed25519Sha256)
            | (Material::Ed25519(_), SignatureAlgorithm::RsaSha1 | SignatureAlgorithm::RsaSha256) => {
                false
            }
        }
    }
}

impl RsaKey {
    /// A parsed key is bound to one hash. SHA-1 is so rare that it is parsed again.
    fn verifies_sha1(&self, digest: &Digest, signature: &[u8]) -> bool {
        PublicKeyComponents { n: &self.modulus, e: &self.exponent }
            .to_parsed_public_key(&RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY)
            .is_ok_and(|key| key.verify_digest_sig(digest, signature).is_ok())
    }

    fn verifies_short(&self, digest_info: &[u8], digest: &Digest, signature: &[u8]) -> bool {
        let exponent = self.exponent.iter().fold(0, |sum, octet| sum * 256 + u64::from(*octet));
        short_rsa::verifies(&self.modulus, exponent, digest_info, digest.as_ref(), signature)
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        match (&*self.0, &*other.0) {
            (Material::Rsa(one), Material::Rsa(two)) => {
                one.modulus == two.modulus && one.exponent == two.exponent
            }
            (Material::Ed25519(one), Material::Ed25519(two)) => one.as_ref() == two.as_ref(),
            (Material::Rsa(_), Material::Ed25519(_)) | (Material::Ed25519(_), Material::Rsa(_)) => {
                false
            }
        }
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Material::Rsa(key) => write!(f, "PublicKey(RSA, {} bits)", key.bits),
            Material::Ed25519(_) => f.write_str("PublicKey(Ed25519)"),
        }
    }
}

/// Why octets are not a public key that can be used.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum PublicKeyError {
    /// Neither SubjectPublicKeyInfo nor RSAPublicKey.
    #[error("the key is not an RSA public key in DER")]
    NotRsaDer,
    /// A modulus of more than [`MAX_RSA_BITS`].
    #[error("the RSA key is longer than {MAX_RSA_BITS} bits")]
    RsaTooLong,
    /// A modulus that cannot even hold a SHA-1 signature.
    #[error("the RSA key has {bits} bits, which is too short for any signature")]
    RsaTooShort {
        /// The length of the modulus.
        bits: u32,
    },
    /// An exponent that is even, one, or longer than any in use.
    #[error("the RSA key has an unusable exponent")]
    BadExponent,
    /// A modulus that is no product of two odd primes.
    #[error("the RSA key has an even modulus")]
    EvenModulus,
    /// Not 32 octets.
    #[error("an Ed25519 key has {ED25519_KEY_LEN} octets, not {octets}")]
    BadEd25519Length {
        /// The length that it has.
        octets: usize,
    },
}

impl PublicKeyError {
    /// The error as a word for programs, which stays as it is once it was released.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotRsaDer => "bad-rsa-der",
            Self::RsaTooLong => "rsa-too-long",
            Self::RsaTooShort { .. } => "rsa-too-short",
            Self::BadExponent => "bad-exponent",
            Self::EvenModulus => "even-modulus",
            Self::BadEd25519Length { .. } => "bad-ed25519-length",
        }
    }
}

/// Finds modulus and exponent, without their leading zeros.
pub(crate) fn rsa_numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (outer, rest) = element(SEQUENCE, der)?;
    if !rest.is_empty() {
        return None;
    }
    let key = match element(SEQUENCE, outer) {
        Some((algorithm, rest)) => {
            let (oid, _parameters) = element(OBJECT_IDENTIFIER, algorithm)?;
            let (bits, rest) = element(BIT_STRING, rest)?;
            let (key, after) = element(SEQUENCE, bits.strip_prefix(&[0])?)?;
            if oid != RSA_ENCRYPTION || !rest.is_empty() || !after.is_empty() {
                return None;
            }
            key
        }
        None => outer,
    };
    let (modulus, rest) = element(INTEGER, key)?;
    let (exponent, rest) = element(INTEGER, rest)?;
    if !rest.is_empty() {
        return None;
    }
    Some((positive(modulus)?, positive(exponent)?))
}

/// Takes one DER element with this tag: its content, and what follows it.
fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match *length {
        short @ 0x00..=0x7F => (usize::from(short), rest),
        // Three octets of length are far more than the longest key needs.
        long @ 0x81..=0x83 => {
            let (octets, rest) = rest.split_at_checked(usize::from(long & 0x7F))?;
            let length = octets.iter().fold(0, |sum, octet| sum * 256 + usize::from(*octet));
            (length, rest)
        }
        _ => return None,
    };
    if *first != tag {
        return None;
    }
    rest.split_at_checked(length)
}

/// The octets of a positive INTEGER without leading zeros; none if it is zero or negative.
fn positive(integer: &[u8]) -> Option<&[u8]> {
    if integer.first()? & 0x80 != 0 {
        return None;
    }
    let start = integer.iter().position(|octet| *octet != 0)?;
    integer.get(start..)
}

fn bit_len(number: &[u8]) -> u32 {
    let unused = number.first().map_or(0, |octet| octet.leading_zeros() as usize);
    u32::try_from(number.len() * 8 - unused).unwrap_or(u32::MAX)
}

fn is_even(number: &[u8]) -> bool {
    number.last().is_none_or(|octet| octet % 2 == 0)
}

/// The shortest RSA key whose signatures count (RFC 8301 §3.2).
pub const MIN_RSA_BITS: u32 = 1024;

/// The longest RSA key that is worked with. RFC 8301 §3.2 asks for 4096; what is longer costs a
/// verifier too much.
pub const MAX_RSA_BITS: u32 = 8192;

/// Below this a modulus holds no signature at all: SHA-1 needs 46 octets (RFC 8017 §9.2).
const LEAST_RSA_BITS: u32 = 46 * 8;

/// The longest exponent; that of the crypto library. Keys have 65537, seldom 3 or 17.
const MAX_EXPONENT_BITS: u32 = 33;

/// The longest exponent of a key that is worked with in plain arithmetic: that of 65537.
const MAX_SHORT_EXPONENT_BITS: u32 = 17;

/// The length of an Ed25519 public key (RFC 8032 §5.1.5).
const ED25519_KEY_LEN: usize = 32;

// ASN.1 tags (X.690 §8), and rsaEncryption, 1.2.840.113549.1.1.1 (RFC 8017 §A.1).
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const RSA_ENCRYPTION: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01];

/// DigestInfo of SHA-1 up to the digest (RFC 8017 §9.2, note 1).
const SHA1_DIGEST_INFO: &[u8] =
    &[0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2B, 0x0E, 0x03, 0x02, 0x1A, 0x05, 0x00, 0x04, 0x14];

/// DigestInfo of SHA-256 up to the digest (RFC 8017 §9.2, note 1).
const SHA256_DIGEST_INFO: &[u8] = &[
    0x30, 0x31, 0x30, 0x0D, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82, length[0], length[1]], content].concat()
    }

    /// An RSAPublicKey with a modulus of so many octets, this exponent, and something behind them.
    fn pkcs1(octets: usize, exponent: &[u8], rest: &[u8]) -> Vec<u8> {
        let modulus = [&[0, 0x80][..], &vec![1; octets - 1]].concat();
        element(
            SEQUENCE,
            &[&element(INTEGER, &modulus), &element(INTEGER, exponent), rest].concat(),
        )
    }

    /// A SubjectPublicKeyInfo with this OID and this key, and something behind each of them.
    fn spki(oid: &[u8], key: &[u8], in_bits: &[u8], in_outer: &[u8]) -> Vec<u8> {
        let algorithm =
            element(SEQUENCE, &[&element(OBJECT_IDENTIFIER, oid)[..], &[5, 0]].concat());
        let bits = element(BIT_STRING, &[&[0], key, in_bits].concat());
        element(SEQUENCE, &[&algorithm, &bits, in_outer].concat())
    }

    #[test]
    fn both_forms_of_an_rsa_key_are_read_to_their_end() {
        let key = pkcs1(128, &[1, 0, 1], &[]);
        let good = PublicKey::from_rsa_der(&key).unwrap();
        let parse = |der: &[u8]| PublicKey::from_rsa_der(der);
        assert_eq!(parse(&spki(RSA_ENCRYPTION, &key, &[], &[])), Ok(good));
        // id-RSASSA-PSS differs in its last octet.
        let pss = [&RSA_ENCRYPTION[..8], &[0x0A]].concat();
        for der in [
            pkcs1(128, &[1, 0, 1], &[5, 0]),
            [&key[..], &[0]].concat(),
            spki(&pss, &key, &[], &[]),
            spki(RSA_ENCRYPTION, &key, &[0], &[]),
            spki(RSA_ENCRYPTION, &key, &[], &[5, 0]),
            [&spki(RSA_ENCRYPTION, &key, &[], &[])[..], &[0]].concat(),
            element(SEQUENCE, &[]),
            element(INTEGER, &key),
            // A length in four octets, and one without end.
            [&[SEQUENCE, 0x84, 0, 0], &key[2..]].concat(),
            [&[SEQUENCE, 0x80], &key[4..]].concat(),
        ] {
            assert_eq!(parse(&der), Err(PublicKeyError::NotRsaDer), "{der:02x?}");
        }
    }

    #[test]
    fn keys_are_equal_by_their_numbers() {
        let rsa = |octets, exponent: &[u8]| {
            PublicKey::from_rsa_der(&pkcs1(octets, exponent, &[])).unwrap()
        };
        let ed25519 = |octet| PublicKey::from_ed25519(&[octet; 32]).unwrap();
        let keys = [
            rsa(128, &[1, 0, 1]),
            rsa(128, &[3]),
            rsa(129, &[1, 0, 1]),
            rsa(129, &[3]),
            ed25519(1),
            ed25519(2),
        ];
        for (one, key) in keys.iter().enumerate() {
            for (two, other) in keys.iter().enumerate() {
                assert_eq!(key == other, one == two, "{key:?} {other:?}");
            }
        }
        assert_eq!(
            format!("{:?} {:?}", keys[0], keys[4]),
            "PublicKey(RSA, 1024 bits) PublicKey(Ed25519)"
        );
    }

    #[test]
    fn the_shortest_keys_are_read_and_only_long_ones_go_to_the_library() {
        let with_top = |top: u8, octets: usize| {
            let modulus = [&[0, top][..], &vec![1; octets - 1]].concat();
            let der =
                element(SEQUENCE, &[element(INTEGER, &modulus), element(INTEGER, &[3])].concat());
            PublicKey::from_rsa_der(&der)
        };
        assert_eq!(with_top(0x80, 46).unwrap().rsa_bits(), Some(LEAST_RSA_BITS));
        assert_eq!(with_top(0x40, 46), Err(PublicKeyError::RsaTooShort { bits: 367 }));
        for (top, bits, is_long) in [(0x7F, 1023, false), (0x80, 1024, true), (0xFF, 1024, true)] {
            let key = with_top(top, 128).unwrap();
            assert_eq!(key.rsa_bits(), Some(bits));
            let Material::Rsa(key) = &*key.0 else { panic!("an RSA key") };
            assert_eq!(key.parsed.is_some(), is_long, "{bits}");
        }
    }
}

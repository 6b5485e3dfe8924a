//! The key under which all other keys lie.
//!
//! 32 random octets. They are never used as they are: each use derives its own key from them with
//! HKDF-Expand (RFC 5869 §2.3), so that the check value gives nothing away about sealed rows.
//!
//! The **check value** is public. The store keeps it since the first start, so that a start with another
//! master key is told from damaged rows, before anything is signed or written.
//!
//! As text the key is 64 hexadecimal digits or the base64 of 32 octets; a file or credential may also hold
//! the 32 octets themselves. Where it comes from is for [`crate::source`].

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use aws_lc_rs::{constant_time, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::signing_key::GenerateError;

/// The key that seals private keys at rest.
///
/// It can be neither printed nor copied, and is wiped when dropped.
pub struct MasterKey(Zeroizing<Box<[u8]>>);

impl MasterKey {
    /// Draws a new key from the system's randomness.
    pub fn generate() -> Result<Self, GenerateError> {
        let mut octets = Zeroizing::new(vec![0; MASTER_KEY_LEN].into_boxed_slice());
        rand::fill(&mut octets).map_err(|_| GenerateError)?;
        Ok(Self(octets))
    }

    /// Takes 32 octets as the key.
    pub fn from_bytes(octets: &[u8]) -> Result<Self, MasterKeyTextError> {
        if octets.len() != MASTER_KEY_LEN {
            return Err(MasterKeyTextError::Length { octets: octets.len() });
        }
        // `head -c 32 /dev/zero` and its like are mistakes, not keys.
        if octets.iter().all(|octet| octets.first() == Some(octet)) {
            return Err(MasterKeyTextError::NotRandom);
        }
        Ok(Self(Zeroizing::new(octets.into())))
    }

    /// Reads hexadecimal digits or base64, with white space round it.
    pub fn from_text(text: &str) -> Result<Self, MasterKeyTextError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(MasterKeyTextError::Empty);
        }
        if text.len() > MAX_TEXT_LEN {
            return Err(MasterKeyTextError::Form);
        }
        let mut octets = Zeroizing::new([0; MAX_TEXT_LEN]);
        let len = if text.len() == 2 * MASTER_KEY_LEN {
            decode_hex(text, &mut octets[..])
        } else {
            STANDARD.decode_slice(text, &mut octets[..]).ok()
        };
        let octets = len.and_then(|len| octets.get(..len)).ok_or(MasterKeyTextError::Form)?;
        Self::from_bytes(octets)
    }

    /// Reads what a file or a credential holds: the octets themselves, or their text.
    pub(crate) fn from_file_contents(contents: &[u8]) -> Result<Self, MasterKeyTextError> {
        // 32 characters of text have far fewer than 256 bits, and 32 random octets are never all text.
        let is_text =
            contents.iter().all(|octet| octet.is_ascii_graphic() || octet.is_ascii_whitespace());
        if contents.len() == MASTER_KEY_LEN && !is_text {
            return Self::from_bytes(contents);
        }
        Self::from_text(std::str::from_utf8(contents).map_err(|_| MasterKeyTextError::Form)?)
    }

    /// The text of a master key file: hexadecimal digits and a line feed.
    pub(crate) fn expose_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(2 * MASTER_KEY_LEN + 1));
        for octet in self.0.iter() {
            for digit in [octet >> 4, octet & 0xf] {
                text.push(char::from_digit(u32::from(digit), 16).expect("a digit is below 16"));
            }
        }
        text.push('\n');
        text
    }

    /// The value by which this key is recognised. It is public.
    #[must_use]
    pub fn check_value(&self) -> CheckValue {
        let mut value = [0; CHECK_VALUE_LEN];
        self.derive()
            .expand(&[CHECK_VALUE_LABEL], CheckValueLen)
            .and_then(|okm| okm.fill(&mut value))
            .expect("the length is within the bounds of HKDF");
        CheckValue(value)
    }

    /// Says whether this is the key that `expected` was taken from.
    pub fn check(&self, expected: &CheckValue) -> Result<(), WrongMasterKey> {
        constant_time::verify_slices_are_equal(&self.check_value().0, &expected.0)
            .map_err(|_| WrongMasterKey { expected: expected.clone(), found: self.check_value() })
    }

    /// The key for deriving others; it wipes itself.
    pub(crate) fn derive(&self) -> Prk {
        Prk::new_less_safe(HKDF_SHA256, &self.0)
    }
}

/// By what a master key is recognised: 16 octets derived from it, written as hexadecimal digits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CheckValue([u8; CHECK_VALUE_LEN]);

impl CheckValue {
    /// The first octets, which each sealed row carries.
    pub(crate) fn key_id(&self) -> [u8; KEY_ID_LEN] {
        *self.0.first_chunk().expect("a check value is longer than a key id")
    }
}

impl fmt::Display for CheckValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl FromStr for CheckValue {
    type Err = BadCheckValue;

    fn from_str(text: &str) -> Result<Self, BadCheckValue> {
        let mut value = [0; CHECK_VALUE_LEN];
        if text.len() != 2 * CHECK_VALUE_LEN {
            return Err(BadCheckValue);
        }
        decode_hex(text, &mut value).ok_or(BadCheckValue)?;
        Ok(Self(value))
    }
}

/// A text that is no check value.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("the stored check value of the master key is not 32 hexadecimal digits")]
pub struct BadCheckValue;

/// The master key is not the one that the stored keys were sealed with.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error(
    "this is not the master key that the stored keys were sealed with (it has check value {found}, the \
     stored keys need {expected}); put the right one back from its backup"
)]
pub struct WrongMasterKey {
    /// The check value in the store.
    pub expected: CheckValue,
    /// The check value of the key at hand.
    pub found: CheckValue,
}

/// Why something is no master key.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum MasterKeyTextError {
    /// Nothing there.
    #[error("it is empty")]
    Empty,
    /// Neither of the two text forms.
    #[error("it is neither 64 hexadecimal digits nor the base64 of 32 octets")]
    Form,
    /// Base64 of something longer or shorter.
    #[error("it has {octets} octets, and a master key has {MASTER_KEY_LEN}")]
    Length {
        /// How many there are.
        octets: usize,
    },
    /// One octet repeated.
    #[error("it is one octet repeated; draw a random one: openssl rand -hex 32")]
    NotRandom,
}

/// Decodes hexadecimal digits in either case into the front of `octets`, and says how many.
fn decode_hex(text: &str, octets: &mut [u8]) -> Option<usize> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() || octets.len() < pairs.len() {
        return None;
    }
    for (octet, pair) in octets.iter_mut().zip(pairs) {
        let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
        *octet = u8::try_from(high? << 4 | low?).ok()?;
    }
    Some(pairs.len())
}

/// The length of a check value, as HKDF wants to be told.
struct CheckValueLen;

impl KeyType for CheckValueLen {
    fn len(&self) -> usize {
        CHECK_VALUE_LEN
    }
}

/// A key for AES-256.
pub(crate) const MASTER_KEY_LEN: usize = 32;

/// Long enough that no two keys of an operator are taken for each other.
const CHECK_VALUE_LEN: usize = 16;

/// How much of a check value a sealed row carries.
pub(crate) const KEY_ID_LEN: usize = 8;

/// Hexadecimal digits are the longest form.
const MAX_TEXT_LEN: usize = 2 * MASTER_KEY_LEN;

const CHECK_VALUE_LABEL: &[u8] = b"postseal master key check value v1";

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn reads_both_text_forms() {
        let want = MasterKey::from_text(HEX).ok().unwrap().check_value();
        for text in
            [BASE64, " \n000102030405060708090A0B0C0D0E0F101112131415161718191a1b1c1d1e1f\r\n"]
        {
            assert_eq!(MasterKey::from_text(text).ok().unwrap().check_value(), want, "{text:?}");
        }
        let octets: Vec<u8> = (0..32).collect();
        for contents in [octets.as_slice(), HEX.as_bytes(), BASE64.as_bytes()] {
            let key = MasterKey::from_file_contents(contents).ok().unwrap();
            assert_eq!(key.check_value(), want, "{contents:?}");
        }
    }

    #[test]
    fn refuses_what_is_no_key() {
        use MasterKeyTextError::*;
        let zeros = "0".repeat(64);
        let long = "A".repeat(1_000_000);
        let cases = [
            ("", Empty),
            (" \n", Empty),
            ("secret", Form),
            ("not base64 and not hexadecimal", Form),
            ("c2VjcmV0", Length { octets: 6 }),
            (HEX.strip_prefix('0').unwrap(), Form),
            (zeros.as_str(), NotRandom),
            (long.as_str(), Form),
            ("00112233445566778899aabbccddeeff", Length { octets: 24 }),
        ];
        for (text, want) in cases {
            assert_eq!(MasterKey::from_text(text).err(), Some(want), "{text:.80?}");
            assert_eq!(
                MasterKey::from_file_contents(text.as_bytes()).err(),
                Some(want),
                "{text:.80?}"
            );
        }
        assert_eq!(MasterKey::from_file_contents(&[0xff; 31]).err(), Some(Form));
        assert_eq!(MasterKey::from_file_contents(&[0xff; 32]).err(), Some(NotRandom));
    }

    #[test]
    fn another_key_has_another_check_value() {
        let key = MasterKey::from_text(HEX).ok().unwrap();
        let value: CheckValue = key.check_value().to_string().parse().unwrap();
        assert_eq!(key.check(&value), Ok(()));

        let other = MasterKey::generate().ok().unwrap();
        let error = other.check(&value).unwrap_err();
        assert!(error.to_string().contains(&value.to_string()), "{error}");
        assert_ne!(other.check_value(), value);
    }

    #[test]
    fn the_check_value_stays_the_same_for_ever() {
        // Derived once and written down: another value would lock every installation out of its keys.
        // Checked with Python's hmac: HMAC-SHA256(key, label || 0x01), first 16 octets.
        let key = MasterKey::from_text(HEX).ok().unwrap();
        assert_eq!(key.check_value().to_string(), "4b790c09388763922dc4fbf78c5a9676");
    }

    #[test]
    fn a_written_key_reads_back() {
        let key = MasterKey::generate().ok().unwrap();
        let read = MasterKey::from_file_contents(key.expose_text().as_bytes()).ok().unwrap();
        assert_eq!(read.check_value(), key.check_value());
    }
}

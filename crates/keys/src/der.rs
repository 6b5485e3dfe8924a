//! Tells the encodings of a private key apart.
//!
//! The crypto library parses keys; this module only looks at the outermost structure beforehand, since
//! the library says no more than "rejected" and a person who pastes a key has to learn which of a dozen
//! mistakes it was. It knows PKCS#8 (RFC 5958), PKCS#1 (RFC 8017 A.1.2), SEC 1 (RFC 5915), encrypted
//! PKCS#8 (RFC 5958 §3) and SubjectPublicKeyInfo (RFC 5280 §4.1). Nothing here is copied, so there is
//! nothing to wipe.

/// What a DER text looks like from outside.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    /// PKCS#1 `RSAPrivateKey` with a modulus of that many bits.
    Pkcs1Rsa { bits: usize },
    /// PKCS#8 around an RSA key with a modulus of that many bits.
    Pkcs8Rsa { bits: usize },
    /// PKCS#8 around an Ed25519 seed (RFC 8410).
    Pkcs8Ed25519,
    /// A private key of another algorithm.
    OtherAlgorithm,
    /// PKCS#8 under a passphrase.
    Encrypted,
    /// A public key.
    Public,
    /// Nothing that is known here.
    Unknown,
}

/// Looks at the outermost structure of `der`.
pub(crate) fn form_of(der: &[u8]) -> Form {
    recognise(der).unwrap_or(Form::Unknown)
}

fn recognise(der: &[u8]) -> Option<Form> {
    let (outer, after) = element(der, SEQUENCE)?;
    if !after.is_empty() {
        return None;
    }
    if let Some((_version, rest)) = element(outer, INTEGER) {
        if let Some((modulus, exponent_on)) = element(rest, INTEGER) {
            // An RSAPublicKey has two numbers, an RSAPrivateKey nine.
            let Some((_exponent, private)) = element(exponent_on, INTEGER) else {
                return Some(Form::Public);
            };
            return (!private.is_empty()).then(|| Form::Pkcs1Rsa { bits: bit_length(modulus) });
        }
        if let Some((algorithm, rest)) = element(rest, SEQUENCE) {
            let (oid, _parameters) = element(algorithm, OBJECT_IDENTIFIER)?;
            let (key, _attributes) = element(rest, OCTET_STRING)?;
            return match oid {
                RSA_ENCRYPTION => match recognise(key)? {
                    Form::Pkcs1Rsa { bits } => Some(Form::Pkcs8Rsa { bits }),
                    Form::Pkcs8Rsa { .. }
                    | Form::Pkcs8Ed25519
                    | Form::OtherAlgorithm
                    | Form::Encrypted
                    | Form::Public
                    | Form::Unknown => None,
                },
                ED25519 => Some(Form::Pkcs8Ed25519),
                _ => Some(Form::OtherAlgorithm),
            };
        }
        // SEC 1: the version is followed by the key itself.
        return element(rest, OCTET_STRING).map(|_| Form::OtherAlgorithm);
    }
    let (algorithm, rest) = element(outer, SEQUENCE)?;
    element(algorithm, OBJECT_IDENTIFIER)?;
    if element(rest, BIT_STRING).is_some() {
        return Some(Form::Public);
    }
    element(rest, OCTET_STRING).map(|_| Form::Encrypted)
}

/// Splits off one element with that tag: its contents, and what comes after it.
///
/// Lengths are definite and of at most four octets, which is what DER of keys has.
fn element(der: &[u8], want: u8) -> Option<(&[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    if tag != want {
        return None;
    }
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let octets = usize::from(first & 0x7f);
        if !(1..=4).contains(&octets) {
            return None;
        }
        let (len, rest) = rest.split_at_checked(octets)?;
        (len.iter().fold(0_usize, |sum, &octet| sum << 8 | usize::from(octet)), rest)
    };
    rest.split_at_checked(len)
}

/// The number of significant bits of an unsigned number, big-endian.
fn bit_length(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|&&octet| octet == 0).count();
    match number.get(zeros) {
        Some(&top) => (number.len() - zeros) * 8 - top.leading_zeros() as usize,
        None => 0,
    }
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

/// 1.2.840.113549.1.1.1 (RFC 8017 A.1).
const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// 1.3.101.112 (RFC 8410 §3).
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counts_significant_bits() {
        let cases: [(&[u8], usize); 6] =
            [(&[], 0), (&[0], 0), (&[1], 1), (&[0, 0x80], 8), (&[0x80, 0], 16), (&[0, 1, 0], 9)];
        for (number, want) in cases {
            assert_eq!(bit_length(number), want, "{number:?}");
        }
    }

    #[test]
    fn tells_structures_apart() {
        let cases: [(&[u8], Form); 10] = [
            (&[], Form::Unknown),
            (&[0x30, 0x00], Form::Unknown),
            (&[0x30, 0x80, 0x02, 0x01, 0x00], Form::Unknown),
            (&[0x30, 0x85, 0, 0, 0, 0, 0], Form::Unknown),
            // Version, n = 3, e = 3, d = 1.
            (&[0x30, 12, 2, 1, 0, 2, 1, 3, 2, 1, 3, 2, 1, 1], Form::Pkcs1Rsa { bits: 2 }),
            // The same with an octet after the end.
            (&[0x30, 12, 2, 1, 0, 2, 1, 3, 2, 1, 3, 2, 1, 1, 0], Form::Unknown),
            // n = 3, e = 3: an RSAPublicKey.
            (&[0x30, 6, 2, 1, 3, 2, 1, 3], Form::Public),
            // SEC 1.
            (&[0x30, 6, 2, 1, 1, 4, 1, 7], Form::OtherAlgorithm),
            // SubjectPublicKeyInfo of Ed25519, whole and cut short.
            (&[0x30, 10, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 1, 0], Form::Public),
            (&[0x30, 10, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 1], Form::Unknown),
        ];
        for (der, want) in cases {
            assert_eq!(form_of(der), want, "{der:02x?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn any_octets_are_only_octets(der in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = form_of(&der);
        }

        #[test]
        fn a_cut_structure_is_not_recognised(cut in 0_usize..14) {
            let whole = [0x30, 12, 2, 1, 0, 2, 1, 3, 2, 1, 3, 2, 1, 1];
            prop_assert_eq!(form_of(&whole[..cut]), Form::Unknown);
        }
    }
}

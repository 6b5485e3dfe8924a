//! Verifies RSA signatures of keys under 1024 bits.
//!
//! RFC 8301 §3.2 forbids to accept such a signature, and the crypto library refuses the key
//! altogether. A report still has to tell a signature that is right but too weak from one that is
//! wrong, since only the first says that key and message belong together. This is RSASSA-PKCS1-v1_5
//! (RFC 8017 §8.2.2) over a library of plain numbers: there is no secret here, so nothing needs to take constant
//! time. Nothing that passes here is ever reported as a pass.

use num_bigint::BigUint;

/// Says whether `signature` is one over `digest` by the key with this modulus and exponent, all
/// numbers big-endian. `digest_info` is the DER in front of the digest (RFC 8017 §9.2, note 1).
///
/// The modulus has no leading zero and at most [`MAX_MODULUS_LEN`] octets; others verify nothing.
pub(crate) fn verifies(
    modulus: &[u8],
    exponent: u64,
    digest_info: &[u8],
    digest: &[u8],
    signature: &[u8],
) -> bool {
    let hashed = digest_info.len() + digest.len();
    if modulus.len() > MAX_MODULUS_LEN
        || modulus.first().is_none_or(|octet| *octet == 0)
        || signature.len() != modulus.len()
        || modulus.len() < hashed + MIN_PADDING_LEN
    {
        return false;
    }
    let padding = vec![0xFF; modulus.len() - hashed - 3];
    let expected = [&[0x00, 0x01], padding.as_slice(), &[0x00], digest_info, digest].concat();

    let [modulus, signature, expected] =
        [modulus, signature, &expected].map(BigUint::from_bytes_be);
    signature < modulus && signature.modpow(&exponent.into(), &modulus) == expected
}

/// A modulus of 1023 bits has 128 octets.
const MAX_MODULUS_LEN: usize = 128;

/// `00 01`, eight octets `FF`, `00` (RFC 8017 §9.2).
const MIN_PADDING_LEN: usize = 11;

#[cfg(test)]
mod tests {
    use super::*;

    /// What a signature becomes by the public operation: `00 01 FF… 00`, DigestInfo, digest.
    fn encoded(octets: usize, padding: u8) -> Vec<u8> {
        [&[0, 1][..], &vec![padding; octets - 6], &[0], b"i", b"hh"].concat()
    }

    /// With the exponent 1 each signature is what it becomes, so no key is needed.
    fn verifies_as_it_is(modulus: &[u8], signature: &[u8]) -> bool {
        verifies(modulus, 1, b"i", b"hh", signature)
    }

    #[test]
    fn the_padding_has_eight_octets_at_least_and_a_number_has_one_form() {
        for octets in [14, 15, 64, 128] {
            assert!(verifies_as_it_is(&vec![0xFF; octets], &encoded(octets, 0xFF)), "{octets}");
            assert!(!verifies_as_it_is(&vec![0xFF; octets], &encoded(octets, 0xFE)), "{octets}");
        }
        assert!(!verifies_as_it_is(&[0xFF; 13], &encoded(13, 0xFF)));
        assert!(!verifies_as_it_is(&[0xFF; 129], &encoded(129, 0xFF)));
        // Of another length than the modulus, or the same number and once the modulus.
        let signature = encoded(64, 0xFF);
        assert!(!verifies_as_it_is(&[0xFF; 64], &signature[1..]));
        assert!(!verifies_as_it_is(&[0xFF; 64], &[&[0], &signature[..]].concat()));
        let modulus = [&[0x40; 63][..], &[1]].concat();
        let mut larger = signature.clone();
        let mut carry = 0;
        for (octet, other) in larger.iter_mut().zip(&modulus).rev() {
            let sum = u16::from(*octet) + u16::from(*other) + carry;
            (*octet, carry) = (sum.to_le_bytes()[0], sum >> 8);
        }
        assert!(verifies_as_it_is(&modulus, &signature));
        assert!(!verifies_as_it_is(&modulus, &larger));
        assert!(!verifies_as_it_is(&signature, &signature));
    }

    #[test]
    fn odd_lengths_verify_nothing() {
        assert!(!verifies(&[], 3, &[], &[], &[]));
        assert!(!verifies(&[0; 64], 3, &[1], &[2], &[0; 64]));
        assert!(!verifies(&[0xFF; 129], 3, &[1], &[2], &[0; 129]));
        assert!(!verifies(&[0xFF; 12], 3, &[1; 2], &[2], &[0; 12]));
    }
}

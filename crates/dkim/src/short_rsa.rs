//! Verifies RSA signatures of keys under 1024 bits.
//!
//! RFC 8301 §3.2 forbids to accept such a signature, and the crypto library refuses the key
//! altogether. A report still has to tell a signature that is right but too weak from one that is
//! wrong, since only the first says that key and message belong together. This is RSASSA-PKCS1-v1_5
//! (RFC 8017 §8.2.2) in the plainest form: there is no secret here, so nothing needs to take constant
//! time, and a thousand bits need no speed. Nothing that passes here is ever reported as a pass.
//!
//! Numbers are little-endian vectors of 32-bit limbs.

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

    let modulus = limbs(modulus);
    let signature = limbs(signature);
    if !is_less(&signature, &modulus) {
        return false;
    }
    power(&signature, exponent, &modulus) == limbs(&expected)
}

/// `base` to the power of `exponent`, modulo `modulus`.
fn power(base: &[u32], exponent: u64, modulus: &[u32]) -> Vec<u32> {
    let mut result = vec![0; modulus.len()];
    if let Some(lowest) = result.first_mut() {
        *lowest = 1;
    }
    for bit in (0..u64::BITS - exponent.leading_zeros()).rev() {
        result = multiply(&result, &result, modulus);
        if exponent >> bit & 1 == 1 {
            result = multiply(&result, base, modulus);
        }
    }
    result
}

/// `a` times `b`, modulo `modulus`, by doubling and adding. Both are less than the modulus.
fn multiply(a: &[u32], b: &[u32], modulus: &[u32]) -> Vec<u32> {
    let mut product = vec![0; modulus.len()];
    for limb in a.iter().rev() {
        for bit in (0..u32::BITS).rev() {
            double(&mut product, modulus);
            if limb >> bit & 1 == 1 {
                add(&mut product, b, modulus);
            }
        }
    }
    product
}

/// Adds `b` to `a`, modulo `modulus`. Both are less than the modulus.
fn add(a: &mut [u32], b: &[u32], modulus: &[u32]) {
    let mut carry = 0_u64;
    for (limb, other) in a.iter_mut().zip(b) {
        let sum = u64::from(*limb) + u64::from(*other) + carry;
        *limb = low_half(sum);
        carry = sum >> u32::BITS;
    }
    reduce(a, carry, modulus);
}

/// Doubles `a`, modulo `modulus`. It is less than the modulus.
fn double(a: &mut [u32], modulus: &[u32]) {
    let mut carry = 0_u64;
    for limb in a.iter_mut() {
        let sum = (u64::from(*limb) << 1) + carry;
        *limb = low_half(sum);
        carry = sum >> u32::BITS;
    }
    reduce(a, carry, modulus);
}

/// Subtracts the modulus from a number of less than twice it, whose highest bit is `carry`, if that can
/// be done.
fn reduce(a: &mut [u32], carry: u64, modulus: &[u32]) {
    if carry == 0 && is_less(a, modulus) {
        return;
    }
    let mut borrow = 0_u64;
    for (limb, other) in a.iter_mut().zip(modulus) {
        let difference = (1 << u32::BITS) + u64::from(*limb) - u64::from(*other) - borrow;
        *limb = low_half(difference);
        borrow = 1 - (difference >> u32::BITS);
    }
}

/// Says whether `a < b`, for numbers of the same length.
fn is_less(a: &[u32], b: &[u32]) -> bool {
    a.iter().rev().lt(b.iter().rev())
}

fn limbs(octets: &[u8]) -> Vec<u32> {
    octets
        .rchunks(4)
        .map(|limb| limb.iter().fold(0, |sum, octet| sum * 256 + u32::from(*octet)))
        .collect()
}

fn low_half(number: u64) -> u32 {
    number as u32
}

/// A modulus of 1023 bits has 128 octets.
const MAX_MODULUS_LEN: usize = 128;

/// `00 01`, eight octets `FF`, `00` (RFC 8017 §9.2).
const MIN_PADDING_LEN: usize = 11;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_agrees_with_that_of_the_processor() {
        let number = |n: u64| limbs(&n.to_be_bytes());
        let modulus = 0xFFFF_FFFF_FFFF_FFC5_u64;
        for (base, exponent) in [(2, 3), (3, 65_537), (modulus - 1, 2), (0, 5), (0xDEAD_BEEF, 17)] {
            let want = (0..exponent)
                .fold(1_u128, |power, _| power * u128::from(base) % u128::from(modulus));
            let got = power(&number(base), exponent, &number(modulus));
            assert_eq!(got, number(u64::try_from(want).unwrap()), "{base}^{exponent}");
        }
    }

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

//! Finds the white space that relaxed canonicalization changes, and skips what it leaves alone.
//!
//! Nearly all of a message is already in relaxed form: words with single spaces between them. So both
//! relaxed algorithms copy or hash long runs as they stand and stop only at *irregular* white space.
//! The search is what costs time, so it looks at vectors of 16 octets: four of them without a branch, and where
//! one of the four has something, a bit for each octet tells where.

use wide::u8x16;

/// The length of the longest start of `octets` that has no irregular white space.
///
/// Irregular is each tab, and each space that is followed by another octet up to 0x20 (white space, a
/// line end, or a control character, which does no harm) or by nothing.
#[inline]
pub(super) fn regular_prefix_len(octets: &[u8]) -> usize {
    let mut at = 0;
    while let Some(block) = block_at::<BLOCK_LEN>(octets, at) {
        let bits = irregular_in_block(block);
        if bits != 0 {
            return at + bits.trailing_zeros() as usize;
        }
        at += BLOCK_LEN;
    }
    while let Some(block) = block_at::<VECTOR_LEN>(octets, at) {
        let bits = irregular_in_vector(block);
        if bits != 0 {
            return at + bits.trailing_zeros() as usize;
        }
        at += VECTOR_LEN;
    }
    // Fewer than 17 octets are left. The last vector may overlap what was looked at already.
    let last = octets.len().checked_sub(VECTOR_LEN + 1);
    if let Some((start, block)) = last.and_then(|start| Some((start, block_at(octets, start)?))) {
        let bits = irregular_in_vector(block);
        if bits != 0 {
            return start + bits.trailing_zeros() as usize;
        }
        at = octets.len() - 1;
    }
    let rest = octets.get(at..).unwrap_or_default();
    rest.iter()
        .zip(rest.iter().skip(1).chain(b" "))
        .position(|(octet, next)| *octet == b'\t' || (*octet == b' ' && *next <= b' '))
        .map_or(octets.len(), |found| at + found)
}

/// The octets from the first that is no white space on.
#[inline]
pub(super) fn without_leading_wsp(mut octets: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', tail @ ..] = octets {
        octets = tail;
    }
    octets
}

/// `N` octets from `at` on, and as many from the one after that on.
#[inline]
fn block_at<const N: usize>(octets: &[u8], at: usize) -> Option<(&[u8; N], &[u8; N])> {
    let rest = octets.get(at..)?;
    Some((rest.first_chunk()?, rest.get(1..)?.first_chunk()?))
}

/// A bit for each irregular octet of a block, the lowest for the first. The second array is the first, one
/// octet further on.
#[inline]
fn irregular_in_block((block, next): (&[u8; BLOCK_LEN], &[u8; BLOCK_LEN])) -> u64 {
    let (vectors, _) = block.as_chunks::<VECTOR_LEN>();
    let (nexts, _) = next.as_chunks::<VECTOR_LEN>();
    let mut zeros = [u8x16::splat(0); BLOCK_LEN / VECTOR_LEN];
    let mut least = u8x16::splat(u8::MAX);
    for ((zero, vector), next) in zeros.iter_mut().zip(vectors).zip(nexts) {
        *zero = zero_if_irregular(vector, next);
        least = least.min(*zero);
    }
    if bits_of_zeros(least) == 0 {
        return 0;
    }
    zeros.iter().rev().fold(0, |bits, zero| bits << VECTOR_LEN | u64::from(bits_of_zeros(*zero)))
}

/// The same for one vector.
#[inline]
fn irregular_in_vector((vector, next): (&[u8; VECTOR_LEN], &[u8; VECTOR_LEN])) -> u32 {
    bits_of_zeros(zero_if_irregular(vector, next))
}

/// Zero for each octet that is a tab, or a space in front of something up to 0x20.
#[inline]
fn zero_if_irregular(vector: &[u8; VECTOR_LEN], next: &[u8; VECTOR_LEN]) -> u8x16 {
    let (vector, next) = (u8x16::new(*vector), u8x16::new(*next));
    let space = u8x16::splat(b' ');
    let tab = vector ^ u8x16::splat(b'\t');
    tab.min((vector ^ space) | next.saturating_sub(space))
}

/// A bit for each octet that is zero.
#[inline]
fn bits_of_zeros(vector: u8x16) -> u32 {
    vector.simd_eq(u8x16::splat(0)).to_bitmask()
}

const VECTOR_LEN: usize = 16;

/// Four vectors: as many bits as a number has, and long enough that the check at its end costs little.
const BLOCK_LEN: usize = 4 * VECTOR_LEN;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slow(octets: &[u8]) -> usize {
        (0..octets.len())
            .find(|at| {
                let next = octets.get(at + 1).copied().unwrap_or(b' ');
                octets[*at] == b'\t' || (octets[*at] == b' ' && next <= b' ')
            })
            .unwrap_or(octets.len())
    }

    #[test]
    fn finds_each_place_in_blocks_words_and_rest() {
        for len in [0, 1, 7, 8, 9, 10, 16, 17, 31, 32, 33, 41, 127, 128, 129, 130, 300] {
            for at in 0..len {
                for pair in
                    [&b"\t"[..], b"  ", b" \r", b" \t", b" \x00", b" \n", b" !", b" \xa0", b"\x89"]
                {
                    let mut octets = vec![b'a'; len];
                    for (place, octet) in octets.iter_mut().skip(at).zip(pair) {
                        *place = *octet;
                    }
                    assert_eq!(regular_prefix_len(&octets), slow(&octets), "{len} {at} {pair:?}");
                }
            }
        }
    }

    /// What is irregular, by its definition.
    fn is_irregular(octet: u8, next: u8) -> bool {
        octet == b'\t' || (octet == b' ' && next <= b' ')
    }

    #[test]
    fn blocks_and_vectors_know_each_pair_of_octets() {
        for octet in 0..=u8::MAX {
            for next in 0..=u8::MAX {
                let irregular = is_irregular(octet, next);
                // The octets beside a pair play no part, and in a block no other vector does.
                for place in 0..VECTOR_LEN {
                    let (mut vector, mut behind) = ([b'a'; VECTOR_LEN], [b'\r'; VECTOR_LEN]);
                    (vector[place], behind[place]) = (octet, next);
                    let bits = irregular_in_vector((&vector, &behind));
                    assert_eq!(bits, u32::from(irregular) << place, "{octet} {next} {place}");
                }
                let place = (usize::from(octet) * 7 + usize::from(next)) % BLOCK_LEN;
                let (mut block, mut behind) = ([b'a'; BLOCK_LEN], [b'\r'; BLOCK_LEN]);
                (block[place], behind[place]) = (octet, next);
                let bits = irregular_in_block((&block, &behind));
                assert_eq!(bits, u64::from(irregular) << place, "{octet} {next} {place}");
            }
        }
    }

    #[test]
    fn a_block_has_a_bit_for_each_place() {
        let octets: [u8; BLOCK_LEN] =
            std::array::from_fn(|place| if place % 3 == 0 { b'\t' } else { b' ' });
        let behind: [u8; BLOCK_LEN] =
            std::array::from_fn(|place| if place % 5 == 0 { b'\r' } else { b'!' });
        let want = (0..BLOCK_LEN)
            .filter(|place| is_irregular(octets[*place], behind[*place]))
            .fold(0, |bits, place| bits | 1 << place);
        assert_eq!(irregular_in_block((&octets, &behind)), want);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn agrees_with_the_slow_search(
            octets in proptest::collection::vec(
                prop_oneof![40 => 0x21_u8..=0xFF, 4 => Just(b' '), 1 => 0_u8..=0x20], 0..400),
        ) {
            prop_assert_eq!(regular_prefix_len(&octets), slow(&octets));
        }
    }
}

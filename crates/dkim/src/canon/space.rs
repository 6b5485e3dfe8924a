//! Finds the white space that relaxed canonicalization changes, and skips what it leaves alone.
//!
//! Nearly all of a message is already in relaxed form: words with single spaces between them. So both
//! relaxed algorithms copy or hash long runs as they stand and stop only at *irregular* white space.
//! The search is what costs time, so it looks at 64 octets at once, in vectors of 16. Where one of them has
//! something, there is a bit for each octet, and the stops after the first cost next to nothing.

use wide::u8x16;

/// A search for irregular white space from the start of some octets to their end.
///
/// Irregular is each tab, and each space that is followed by another octet up to 0x20 (white space, a
/// line end, or a control character, which does no harm) or by nothing.
pub(super) struct IrregularSpace<'a> {
    octets: &'a [u8],
    /// The end of the block that was looked at last, which may lie behind the octets.
    end: usize,
    /// A bit for each irregular octet of that block, the lowest for its first.
    bits: u64,
}

impl<'a> IrregularSpace<'a> {
    pub(super) fn of(octets: &'a [u8]) -> Self {
        Self { octets, end: 0, bits: 0 }
    }

    /// The place of the first from `start` on, which is no more than the length, or the length if there is none. It costs least to ask in ascending
    /// order.
    #[inline]
    pub(super) fn next_from(&mut self, mut start: usize) -> usize {
        loop {
            let known = (start + BLOCK_LEN).checked_sub(self.end);
            if let Some(offset) = known.filter(|offset| *offset < BLOCK_LEN) {
                let left = self.bits >> offset;
                if left != 0 {
                    return start + left.trailing_zeros() as usize;
                }
                start = self.end;
            }
            let rest = match self.octets.get(start..) {
                Some([]) | None => return self.octets.len(),
                Some(rest) => rest,
            };
            self.bits = match block_of(rest) {
                Some(block) => irregular_in(block),
                None => irregular_at_end(rest),
            };
            self.end = start + BLOCK_LEN;
        }
    }
}

/// The octets from the first that is no white space on.
#[inline]
pub(super) fn without_leading_wsp(mut octets: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', tail @ ..] = octets {
        octets = tail;
    }
    octets
}

/// A block from the first octet on, and one from the second on.
#[inline]
fn block_of(octets: &[u8]) -> Option<(&[u8; BLOCK_LEN], &[u8; BLOCK_LEN])> {
    Some((octets.first_chunk()?, octets.get(1..)?.first_chunk()?))
}

/// A bit for each irregular octet of a block, the lowest for the first. The second array is the block one octet
/// further on.
#[inline]
fn irregular_in((block, next): (&[u8; BLOCK_LEN], &[u8; BLOCK_LEN])) -> u64 {
    let (vectors, _) = block.as_chunks::<VECTOR_LEN>();
    let (nexts, _) = next.as_chunks::<VECTOR_LEN>();
    let mut zeros = [u8x16::splat(0); BLOCK_LEN / VECTOR_LEN];
    let mut least = u8x16::splat(u8::MAX);
    for ((zero, vector), next) in zeros.iter_mut().zip(vectors).zip(nexts) {
        *zero = zero_if_irregular(u8x16::new(*vector), u8x16::new(*next));
        least = least.min(*zero);
    }
    if bits_of_zeros(least) == 0 {
        return 0;
    }
    zeros.iter().rev().fold(0, |bits, zero| bits << VECTOR_LEN | u64::from(bits_of_zeros(*zero)))
}

/// The same for up to a block of octets behind which nothing comes. The place behind them counts as irregular.
#[inline]
fn irregular_at_end(octets: &[u8]) -> u64 {
    // Nothing is as good as a space.
    let mut padded = [b' '; BLOCK_LEN + 1];
    if let Some(start) = padded.get_mut(..octets.len()) {
        start.copy_from_slice(octets);
    }
    block_of(&padded).map_or(0, irregular_in)
}

/// Zero for each octet that is a tab, or a space in front of something up to 0x20.
#[inline]
fn zero_if_irregular(octets: u8x16, next: u8x16) -> u8x16 {
    let space = u8x16::splat(b' ');
    let tab = octets ^ u8x16::splat(b'\t');
    tab.min((octets ^ space) | next.saturating_sub(space))
}

/// A bit for each octet that is zero.
#[inline]
fn bits_of_zeros(octets: u8x16) -> u32 {
    octets.simd_eq(u8x16::splat(0)).to_bitmask()
}

const VECTOR_LEN: usize = 16;

/// Four vectors: as many octets as a number has bits.
const BLOCK_LEN: usize = 4 * VECTOR_LEN;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is irregular, by its definition.
    fn is_irregular(octet: u8, next: u8) -> bool {
        octet == b'\t' || (octet == b' ' && next <= b' ')
    }

    fn slow(octets: &[u8], start: usize) -> usize {
        (start..octets.len())
            .find(|at| is_irregular(octets[*at], octets.get(at + 1).copied().unwrap_or(b' ')))
            .unwrap_or(octets.len())
    }

    #[test]
    fn finds_each_place_in_blocks_and_rest() {
        for len in [0, 1, 2, 15, 16, 17, 63, 64, 65, 66, 127, 128, 129, 130, 300] {
            for at in 0..len {
                for pair in
                    [&b"\t"[..], b"  ", b" \r", b" \t", b" \x00", b" \n", b" !", b" \xa0", b"\x89"]
                {
                    let mut octets = vec![b'a'; len];
                    for (place, octet) in octets.iter_mut().skip(at).zip(pair) {
                        *place = *octet;
                    }
                    let found = IrregularSpace::of(&octets).next_from(0);
                    assert_eq!(found, slow(&octets, 0), "{len} {at} {pair:?}");
                }
            }
        }
    }

    #[test]
    fn a_block_knows_each_pair_of_octets_at_each_place() {
        for octet in 0..=u8::MAX {
            for next in 0..=u8::MAX {
                let irregular = is_irregular(octet, next);
                // The octets beside a pair play no part.
                for place in 0..BLOCK_LEN {
                    let (mut block, mut behind) = ([b'a'; BLOCK_LEN], [b'\r'; BLOCK_LEN]);
                    (block[place], behind[place]) = (octet, next);
                    let bits = irregular_in((&block, &behind));
                    assert_eq!(bits, u64::from(irregular) << place, "{octet} {next} {place}");
                }
            }
        }
    }

    #[test]
    fn a_block_has_a_bit_for_each_place() {
        let block: [u8; BLOCK_LEN] =
            std::array::from_fn(|place| if place % 3 == 0 { b'\t' } else { b' ' });
        let behind: [u8; BLOCK_LEN] =
            std::array::from_fn(|place| if place % 5 == 0 { b'\r' } else { b'!' });
        let want = (0..BLOCK_LEN)
            .filter(|place| is_irregular(block[*place], behind[*place]))
            .fold(0, |bits, place| bits | 1 << place);
        assert_eq!(irregular_in((&block, &behind)), want);
    }

    #[test]
    fn a_place_in_a_block_that_is_known_is_found_again() {
        let octets = [&b"a\tb  c\t"[..], &[b'd'; 100], b"\t"].concat();
        let mut search = IrregularSpace::of(&octets);
        let mut found: Vec<_> = (0..=octets.len()).map(|start| search.next_from(start)).collect();
        found.dedup();
        assert_eq!(found, [1, 3, 6, 107, 108]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn agrees_with_the_slow_search(
            octets in proptest::collection::vec(
                prop_oneof![40 => 0x21_u8..=0xFF, 4 => Just(b' '), 1 => 0_u8..=0x20], 0..400),
            steps in proptest::collection::vec(0_usize..40, 1..60),
            starts in proptest::collection::vec(0_usize..=400, 0..60),
        ) {
            let mut search = IrregularSpace::of(&octets);
            let mut start = 0;
            for step in steps {
                start = (start + step).min(octets.len());
                let found = search.next_from(start);
                prop_assert_eq!(found, slow(&octets, start));
                start = found;
            }
            for start in starts.into_iter().map(|start| start.min(octets.len())) {
                prop_assert_eq!(search.next_from(start), slow(&octets, start));
            }
        }
    }
}

//! A search for places in octets where something has to be done, which are few: irregular white space and folds.
//!
//! The search is what costs time where most octets are left as they are, so it looks at 64 of them at once, in
//! vectors of 16. Where one of them has something, there is a bit for each octet, and the stops after the first
//! cost next to nothing.

use std::marker::PhantomData;

use wide::u8x16;

/// What is searched for.
pub(super) trait Stop {
    /// Zero for each octet to stop at. `next` are the octets behind them; behind the last one stands a space.
    fn zero_at_stops(octets: u8x16, next: u8x16) -> u8x16;
}

/// A search for stops from the start of some octets to their end.
pub(super) struct Stops<'a, S> {
    octets: &'a [u8],
    /// The end of the block that was looked at last, which may lie behind the octets.
    end: usize,
    /// A bit for each stop of that block, the lowest for its first octet.
    bits: u64,
    stop: PhantomData<S>,
}

impl<'a, S: Stop> Stops<'a, S> {
    pub(super) fn of(octets: &'a [u8]) -> Self {
        Self { octets, end: 0, bits: 0, stop: PhantomData }
    }

    /// The place of the first stop from `start` on, which is no more than the length, or the length if there is
    /// none. It costs least to ask in ascending order.
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
                Some(block) => stops_in::<S>(block),
                None => stops_at_end::<S>(rest),
            };
            self.end = start + BLOCK_LEN;
        }
    }
}

/// A block from the first octet on, and one from the second on.
#[inline]
pub(super) fn block_of(octets: &[u8]) -> Option<(&[u8; BLOCK_LEN], &[u8; BLOCK_LEN])> {
    Some((octets.first_chunk()?, octets.get(1..)?.first_chunk()?))
}

/// A bit for each stop in a block, the lowest for the first octet. The second array is the block one octet further
/// on.
#[inline]
pub(super) fn stops_in<S: Stop>((block, next): (&[u8; BLOCK_LEN], &[u8; BLOCK_LEN])) -> u64 {
    let (vectors, _) = block.as_chunks::<VECTOR_LEN>();
    let (nexts, _) = next.as_chunks::<VECTOR_LEN>();
    let mut zeros = [u8x16::splat(0); BLOCK_LEN / VECTOR_LEN];
    let mut least = u8x16::splat(u8::MAX);
    for ((zero, vector), next) in zeros.iter_mut().zip(vectors).zip(nexts) {
        *zero = S::zero_at_stops(u8x16::new(*vector), u8x16::new(*next));
        least = least.min(*zero);
    }
    if bits_of_zeros(least) == 0 {
        return 0;
    }
    zeros.iter().rev().fold(0, |bits, zero| bits << VECTOR_LEN | u64::from(bits_of_zeros(*zero)))
}

/// The same for up to a block of octets behind which nothing comes. A space behind them counts as one of them.
#[inline]
fn stops_at_end<S: Stop>(octets: &[u8]) -> u64 {
    let mut padded = [b' '; BLOCK_LEN + 1];
    if let Some(start) = padded.get_mut(..octets.len()) {
        start.copy_from_slice(octets);
    }
    block_of(&padded).map_or(0, stops_in::<S>)
}

/// A bit for each octet that is zero.
#[inline]
fn bits_of_zeros(octets: u8x16) -> u32 {
    octets.simd_eq(u8x16::splat(0)).to_bitmask()
}

const VECTOR_LEN: usize = 16;

/// Four vectors: as many octets as a number has bits.
pub(super) const BLOCK_LEN: usize = 4 * VECTOR_LEN;

#[cfg(test)]
mod tests {
    use super::*;

    /// An `x` in front of a space.
    struct Mark;

    impl Stop for Mark {
        fn zero_at_stops(octets: u8x16, next: u8x16) -> u8x16 {
            (octets ^ u8x16::splat(b'x')) | (next ^ u8x16::splat(b' '))
        }
    }

    #[test]
    fn a_block_has_a_bit_for_each_place() {
        for place in 0..BLOCK_LEN {
            // The octets beside a pair play no part.
            let (mut block, mut next) = ([b'x'; BLOCK_LEN], [b'x'; BLOCK_LEN]);
            assert_eq!(stops_in::<Mark>((&block, &next)), 0);
            next[place] = b' ';
            assert_eq!(stops_in::<Mark>((&block, &next)), 1 << place);
            block[place] = b'y';
            assert_eq!(stops_in::<Mark>((&block, &next)), 0);
        }
        let block: [u8; BLOCK_LEN] =
            std::array::from_fn(|place| if place % 3 == 0 { b'x' } else { b' ' });
        let want = (0..BLOCK_LEN).step_by(3).fold(0, |bits, place| bits | 1 << place);
        assert_eq!(stops_in::<Mark>((&block, &[b' '; BLOCK_LEN])), want);
    }

    #[test]
    fn finds_each_place_in_blocks_and_rest() {
        for len in [1, 2, 15, 16, 17, 63, 64, 65, 66, 127, 128, 129, 130, 300] {
            for place in 0..len {
                let mut octets = vec![b'x'; len];
                octets[place] = b' ';
                let mut stops = Stops::<Mark>::of(&octets);
                // Behind the last one stands a space, as it were.
                let last = if place == len - 1 { len } else { len - 1 };
                if let Some(first) = place.checked_sub(1) {
                    assert_eq!(stops.next_from(0), first, "{len} {place}");
                }
                assert_eq!(stops.next_from(place), last, "{len} {place}");
                assert_eq!(stops.next_from(len), len, "{len} {place}");
            }
        }
        assert_eq!(Stops::<Mark>::of(b"").next_from(0), 0);
    }

    #[test]
    fn a_place_in_a_block_that_is_known_is_found_again() {
        let octets = [&b"ax bx cx "[..], &[b'd'; 100], b"x "].concat();
        let mut stops = Stops::<Mark>::of(&octets);
        let mut found: Vec<_> = (0..=octets.len()).map(|start| stops.next_from(start)).collect();
        found.dedup();
        assert_eq!(found, [1, 4, 7, 109, 111]);
    }
}

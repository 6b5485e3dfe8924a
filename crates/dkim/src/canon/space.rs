//! Finds the white space that relaxed canonicalization changes, and skips what it leaves alone.
//!
//! Nearly all of a message is already in relaxed form: words with single spaces between them. So both
//! relaxed algorithms copy or hash long runs as they stand and stop only at *irregular* white space.
//! The search is what costs time, so it looks at many octets at once: blocks of [`BLOCK_LEN`] in a
//! loop without branches, which the compiler turns into vector instructions, and where a block has
//! something, small blocks and words of eight octets.

/// The length of the longest start of `octets` that has no irregular white space.
///
/// Irregular is each tab, and each space that is followed by another octet up to 0x20 (white space, a
/// line end, or a control character, which does no harm) or by nothing.
pub(super) fn regular_prefix_len(octets: &[u8]) -> usize {
    let at = skip_regular_blocks::<BLOCK_LEN>(octets, 0);
    let mut at = skip_regular_blocks::<SMALL_BLOCK_LEN>(octets, at);
    while let Some((word, next)) = block_at::<WORD_LEN>(octets, at) {
        if let Some(found) = irregular_in(word, next) {
            return at + found;
        }
        at += WORD_LEN;
    }
    // Fewer than nine octets are left. The last word may overlap what was looked at already.
    let last_word = octets.len().checked_sub(WORD_LEN + 1);
    if let Some((start, (word, next))) = last_word.and_then(|s| Some((s, block_at(octets, s)?))) {
        if let Some(found) = irregular_in(word, next) {
            return start + found;
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

/// Where the first block from `at` on begins that has something or is not whole.
#[inline]
fn skip_regular_blocks<const N: usize>(octets: &[u8], mut at: usize) -> usize {
    while let Some((block, next)) = block_at::<N>(octets, at)
        && is_regular(block, next)
    {
        at += N;
    }
    at
}

/// `N` octets from `at` on, and as many from the one after that on.
#[inline]
fn block_at<const N: usize>(octets: &[u8], at: usize) -> Option<(&[u8; N], &[u8; N])> {
    let rest = octets.get(at..)?;
    Some((rest.first_chunk()?, rest.get(1..)?.first_chunk()?))
}

/// Says whether a block has no irregular white space.
///
/// Written with what vector units have: each octet gives two numbers that are zero if it is a tab, or
/// a space in front of something up to 0x20, and the least of all numbers tells.
#[inline]
fn is_regular<const N: usize>(block: &[u8; N], next: &[u8; N]) -> bool {
    let mut least = u8::MAX;
    for (octet, next) in block.iter().zip(next) {
        let tab = octet ^ b'\t';
        let space = (octet ^ b' ') | next.saturating_sub(b' ');
        least = least.min(tab).min(space);
    }
    least != 0
}

/// The first irregular octet of a word. `next` is the word that starts one octet later.
#[inline]
fn irregular_in(word: &[u8; WORD_LEN], next: &[u8; WORD_LEN]) -> Option<usize> {
    let (word, next) = (u64::from_le_bytes(*word), u64::from_le_bytes(*next));
    let small_next = !(next | ((next & LOW_BITS) + splat(0x7F - b' '))) & HIGH_BITS;
    let flags = equal_flags(word, b'\t') | (equal_flags(word, b' ') & small_next);
    // The first octet is the lowest, and the highest bit of an octet is its flag.
    (flags != 0).then(|| flags.trailing_zeros() as usize / 8)
}

/// Flags the octets of a word that equal `octet`.
#[inline]
fn equal_flags(word: u64, octet: u8) -> u64 {
    let difference = word ^ splat(octet);
    !(difference | ((difference & LOW_BITS) + LOW_BITS)) & HIGH_BITS
}

const fn splat(octet: u8) -> u64 {
    u64::from_ne_bytes([octet; WORD_LEN])
}

const LOW_BITS: u64 = splat(0x7F);
const HIGH_BITS: u64 = splat(0x80);

const WORD_LEN: usize = 8;

/// Two vectors: finds where in a long block something is.
const SMALL_BLOCK_LEN: usize = 32;

/// Eight vectors of the smallest kind: long enough that the check at the end of a block costs little,
/// short enough that a line of indented text is not looked at many times.
const BLOCK_LEN: usize = 128;

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
    fn blocks_and_words_know_each_pair_of_octets() {
        for octet in 0..=u8::MAX {
            for next in 0..=u8::MAX {
                let irregular = is_irregular(octet, next);
                assert_eq!(is_regular(&[octet], &[next]), !irregular, "{octet} {next}");
                // In a word the octets beside a pair play no part.
                for place in 0..WORD_LEN {
                    let (mut word, mut behind) = ([b'a'; WORD_LEN], [b'\r'; WORD_LEN]);
                    (word[place], behind[place]) = (octet, next);
                    let found = irregular_in(&word, &behind);
                    assert_eq!(found, irregular.then_some(place), "{octet} {next} {place}");
                }
            }
        }
    }

    #[test]
    fn blocks_that_have_nothing_are_skipped_as_wholes() {
        // One octet more than the blocks, which is looked at as the last one's neighbour.
        for (len, want) in [(0, 0), (32, 0), (33, 32), (64, 32), (65, 64), (100, 96)] {
            assert_eq!(skip_regular_blocks::<32>(&vec![b'a'; len], 0), want, "{len}");
        }
        let mut octets = [b'a'; 200];
        assert_eq!(skip_regular_blocks::<32>(&octets, 8), 8 + 160);
        octets[70] = b'\t';
        assert_eq!(skip_regular_blocks::<32>(&octets, 0), 64);
        assert_eq!(skip_regular_blocks::<32>(&octets, 8), 40);
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

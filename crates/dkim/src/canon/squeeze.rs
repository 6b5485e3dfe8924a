//! The relaxed white space of a body, 64 octets at a time.
//!
//! Where irregular white space is frequent, as in lines with white space at their ends, each piece between two runs of
//! it is so short that handing it out costs more than its octets. So what is canonical in a block is copied to the
//! end of what was canonical before, and handed out together. The bits of the search say which octets go; the octets
//! behind a run of them say whether one space takes its place.

use super::space::InBody;
use super::stops::{BLOCK_LEN, block_of, stops_in};

/// The canonical form of the blocks so far, but for line ends that may close the body.
pub(super) struct Squeezed {
    octets: [u8; ALL_LEN],
    len: usize,
}

impl Squeezed {
    pub(super) fn new() -> Self {
        Self { octets: [0; ALL_LEN], len: 0 }
    }

    /// Takes in the first [`BLOCK_LEN`] of some octets, which begin with text or with what follows the block before.
    /// Says whether they were changed. None, and nothing is taken in, if fewer than as many follow them: what follows
    /// white space decides about it, and whole blocks are copied.
    #[inline]
    pub(super) fn take(&mut self, octets: &[u8]) -> Option<bool> {
        let seen: &[u8; 2 * BLOCK_LEN] = octets.first_chunk()?;
        debug_assert!(self.len < FULL_LEN, "what was full was dropped");
        // Each tab, and each space but one right in front of an octet above 0x20.
        let mut left = stops_in::<InBody>(block_of(seen)?);
        if left == 0 {
            self.append(seen, 0, BLOCK_LEN)?;
            return Some(false);
        }
        let mut at = 0;
        while left != 0 {
            let stays = left.trailing_zeros() as usize;
            self.append(seen, at, stays)?;
            left >>= stays;
            let white = left.trailing_ones();
            left = left.checked_shr(white).unwrap_or(0);
            at += stays + white as usize;
            match seen.get(at..)? {
                // The space in front of text, or white space of the next block, or a line end (§3.4.4).
                [b' ' | b'\t', ..] | [b'\r', b'\n', ..] => {}
                _ => {
                    *self.octets.get_mut(self.len)? = b' ';
                    self.len += 1;
                }
            }
        }
        self.append(seen, at, BLOCK_LEN - at)?;
        Some(true)
    }

    /// Appends some octets of a block, by copying as many as a block has, which costs less than to copy the right
    /// number. There is room as long as [`full`](Self::full) octets are dropped.
    #[inline]
    fn append(&mut self, seen: &[u8; 2 * BLOCK_LEN], at: usize, len: usize) -> Option<()> {
        let block: &[u8; BLOCK_LEN] = seen.get(at..)?.first_chunk()?;
        *self.octets.get_mut(self.len..)?.first_chunk_mut()? = *block;
        self.len += len;
        Some(())
    }

    /// All that was taken in and not dropped.
    pub(super) fn octets(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or_default()
    }

    /// The first [`FULL_LEN`] octets, if there are as many. They have to go before another block is taken in.
    #[inline]
    pub(super) fn full(&self) -> Option<&[u8; FULL_LEN]> {
        self.octets().first_chunk()
    }

    /// Drops the first [`FULL_LEN`] octets.
    pub(super) fn drop_full(&mut self) {
        self.octets.copy_within(FULL_LEN.., 0);
        self.len = self.len.saturating_sub(FULL_LEN);
    }
}

/// How many octets are handed on together: a whole number of a hash function's blocks, which mostly spares it a copy.
const FULL_LEN: usize = 2048;

/// Before a block there are fewer than [`FULL_LEN`], it adds at most its length, and the last copy may go as
/// far beyond.
const ALL_LEN: usize = FULL_LEN + 2 * BLOCK_LEN;

//! What the octets of a message will meet on their way: long lines, bare line ends, NUL, 8-bit text.
//!
//! A signature covers the octets that were signed. A hop that folds a line of more than 998 octets,
//! repairs a bare CR or LF, drops a NUL or re-encodes 8-bit text breaks it, so both front doors look
//! before they sign. [`BodyScan`] takes chunks cut anywhere, keeps nothing of them and allocates
//! nothing; [`BodyScan::verdict`] judges by the policy.
//!
//! Only CRLF ends a line. A bare CR or LF is counted, and is part of its line; after repairing, what
//! travels is something else and has to be scanned anew. The header section can be fed as well, in front
//! of the body, and should be where nobody has checked its lines yet.

use wide::u8x16;

use crate::policy::{OnBareNewline, OnLongLine, Policy};
use crate::reply::Refusal;

/// What was found in a stretch of octets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct BodyScan {
    octets: u64,
    longest_line: u64,
    /// The octets since the last CRLF, a CR at the very end included.
    line: u64,
    ends_in_cr: bool,
    /// But for a CR at the very end, of which nobody knows yet.
    bare_crs: u64,
    bare_lfs: u64,
    nuls: u64,
    eight_bit: bool,
}

impl BodyScan {
    /// Nothing seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at the next chunk.
    pub fn feed(&mut self, chunk: &[u8]) {
        self.octets += chunk.len() as u64;
        let mut extremes = Extremes::default();
        let (blocks, rest) = chunk.as_chunks();
        for block in blocks {
            self.take(Marks::of(block, &mut extremes), BLOCK_LEN);
        }
        let mut last = [FILLER; BLOCK_LEN];
        if let Some(start) = last.get_mut(..rest.len())
            && !rest.is_empty()
        {
            start.copy_from_slice(rest);
            self.take(Marks::of(&last, &mut extremes), rest.len());
        }
        self.eight_bit |= extremes.have_eight_bit();
        if extremes.have_nul() {
            self.nuls += chunk.iter().filter(|octet| **octet == 0).count() as u64;
        }
    }

    /// Goes on by the first `len` octets of a block, which are one at least.
    #[inline]
    fn take(&mut self, marks: Marks, len: usize) {
        let Marks { crs, lfs } = marks;
        // A bit for each octet that has a CR in front.
        let after_crs = crs << 1 | u64::from(self.ends_in_cr);
        let last = len - 1;
        self.ends_in_cr = crs >> last & 1 == 1;
        if after_crs != lfs {
            // The CR at the end is judged with the next octet.
            let within = u64::MAX >> (BLOCK_LEN - len);
            self.bare_crs += u64::from((after_crs & within & !lfs).count_ones());
            self.bare_lfs += u64::from((lfs & !after_crs).count_ones());
        }
        let mut line_ends = after_crs & lfs;
        let mut start = 0;
        while line_ends != 0 {
            let lf = line_ends.trailing_zeros() as usize;
            self.line += (lf - start) as u64;
            // Without its CR.
            self.longest_line = self.longest_line.max(self.line.saturating_sub(1));
            self.line = 0;
            start = lf + 1;
            line_ends &= line_ends - 1;
        }
        self.line += (len - start) as u64;
    }

    /// The number of octets.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// The octets of the longest line, without its CRLF. A last line without CRLF counts.
    #[must_use]
    pub fn longest_line(&self) -> u64 {
        self.longest_line.max(self.line)
    }

    /// The number of CR without LF after it.
    #[must_use]
    pub fn bare_crs(&self) -> u64 {
        self.bare_crs + u64::from(self.ends_in_cr)
    }

    /// The number of LF without CR before it.
    #[must_use]
    pub fn bare_lfs(&self) -> u64 {
        self.bare_lfs
    }

    /// The number of NUL octets, which RFC 5322 §4 no longer allows.
    #[must_use]
    pub fn nuls(&self) -> u64 {
        self.nuls
    }

    /// Says whether there is an octet above 127: the message needs 8BITMIME (RFC 6152) to travel as it
    /// is.
    #[must_use]
    pub fn has_eight_bit(&self) -> bool {
        self.eight_bit
    }

    /// Judges what was seen up to now.
    #[must_use]
    pub fn verdict(&self, policy: &Policy) -> TravelVerdict {
        if self.bare_crs() > 0 || self.bare_lfs() > 0 {
            return match policy.on_bare_newline {
                OnBareNewline::Refuse => TravelVerdict::Refuse(Refusal::bare_newline()),
                OnBareNewline::Repair => TravelVerdict::Repair,
            };
        }
        let longest = self.longest_line();
        if longest > MAX_LINE_LEN && policy.on_long_line == OnLongLine::Refuse {
            return TravelVerdict::Refuse(Refusal::long_line(longest));
        }
        TravelVerdict::Sign
    }
}

/// What is to be done with octets that were scanned.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TravelVerdict {
    /// They may be signed as they are.
    Sign,
    /// Each bare CR and LF has to become CRLF, and the result has to be scanned again. A front door
    /// that cannot change the body refuses with [`Refusal::bare_newline`].
    Repair,
    /// They are refused.
    Refuse(Refusal),
}

/// The line ends in a block, with a bit for each octet, the lowest for the first.
struct Marks {
    crs: u64,
    lfs: u64,
}

impl Marks {
    #[inline]
    fn of(block: &[u8; BLOCK_LEN], extremes: &mut Extremes) -> Self {
        let (vectors, _) = block.as_chunks::<VECTOR_LEN>();
        let mut marks = Self { crs: 0, lfs: 0 };
        for (octets, place) in vectors.iter().zip((0..).step_by(VECTOR_LEN)) {
            let octets = u8x16::new(*octets);
            extremes.look_at(octets);
            let places_of = |octet| u64::from(octets.simd_eq(u8x16::splat(octet)).to_bitmask());
            marks.crs |= places_of(b'\r') << place;
            marks.lfs |= places_of(b'\n') << place;
        }
        marks
    }
}

/// The least octet and the bits that any octet has, for each of the sixteen places in a vector. What they are for is
/// rare, so they are looked at once a chunk.
struct Extremes {
    least: u8x16,
    bits: u8x16,
}

impl Default for Extremes {
    fn default() -> Self {
        Self { least: u8x16::splat(FILLER), bits: u8x16::splat(0) }
    }
}

impl Extremes {
    #[inline]
    fn look_at(&mut self, octets: u8x16) {
        self.least = self.least.min(octets);
        self.bits |= octets;
    }

    fn have_nul(&self) -> bool {
        self.least.to_array().contains(&0)
    }

    fn have_eight_bit(&self) -> bool {
        !self.bits.to_array().is_ascii()
    }
}

const VECTOR_LEN: usize = 16;

/// As many octets as a number has bits.
const BLOCK_LEN: usize = 4 * VECTOR_LEN;

/// An octet that is nothing of what is looked for.
const FILLER: u8 = b' ';

/// The longest line without its CRLF, in octets (RFC 5322 §2.1.1, RFC 5321 §4.5.3.1.6).
pub const MAX_LINE_LEN: u64 = 998;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scan(body: &[u8]) -> BodyScan {
        let mut scan = BodyScan::new();
        scan.feed(body);
        scan
    }

    #[test]
    fn finds_what_octets_meet_on_their_way() {
        // The longest line, bare CR, bare LF, NUL; whether there is 8-bit.
        let cases: [(&[u8], [u64; 4], bool); 15] = [
            (b"", [0, 0, 0, 0], false),
            (b"a", [1, 0, 0, 0], false),
            (b"\r\n", [0, 0, 0, 0], false),
            (b"abc\r\nab\r\n", [3, 0, 0, 0], false),
            (b"ab\r\nabcd", [4, 0, 0, 0], false),
            (b"\n", [1, 0, 1, 0], false),
            (b"\r", [1, 1, 0, 0], false),
            (b"ab\ncd\r\n", [5, 0, 1, 0], false),
            (b"ab\rcd\r\n", [5, 1, 0, 0], false),
            (b"ab\r\r\n", [3, 1, 0, 0], false),
            (b"ab\n\r\n", [3, 0, 1, 0], false),
            (b"\r\n\r", [1, 1, 0, 0], false),
            (b"\n\r\n\n", [1, 0, 2, 0], false),
            (b"a\0b\0\r\n", [4, 0, 0, 2], false),
            (b"\xC3\xA4\r\n", [2, 0, 0, 0], true),
        ];
        for (body, counts, eight_bit) in cases {
            let got = scan(body);
            let found = [got.longest_line(), got.bare_crs(), got.bare_lfs(), got.nuls()];
            assert_eq!(found, counts, "{}", body.escape_ascii());
            assert_eq!(got.has_eight_bit(), eight_bit, "{}", body.escape_ascii());
            assert_eq!(got.octets(), body.len() as u64, "{}", body.escape_ascii());
        }
    }

    #[test]
    fn counts_what_fills_many_blocks() {
        let got = scan(&[0; 100_000]);
        assert_eq!((got.nuls(), got.longest_line()), (100_000, 100_000));
        let got = scan(&[b'\r'; 70_000]);
        assert_eq!(got.bare_crs(), 70_000);
    }

    #[test]
    fn finds_each_mark_at_each_place() {
        for len in [1, 2, 15, 16, 17, 63, 64, 65, 128, 129, 200] {
            for place in 0..len {
                let with = |octet| {
                    let mut body = vec![b'a'; len];
                    body[place] = octet;
                    scan(&body)
                };
                let plain = BodyScan { line: len as u64, octets: len as u64, ..BodyScan::new() };
                assert_eq!(with(b'b'), plain);
                assert_eq!(with(0), BodyScan { nuls: 1, ..plain });
                assert_eq!(with(0x80), BodyScan { eight_bit: true, ..plain });
                assert_eq!(with(b'\n'), BodyScan { bare_lfs: 1, ..plain });
                let cr = with(b'\r');
                assert_eq!((cr.bare_crs(), cr.longest_line()), (1, len as u64), "{len} {place}");
            }
        }
    }

    #[test]
    fn judges_by_the_policy() {
        let strict = Policy::default();
        let lenient = Policy {
            on_long_line: OnLongLine::Sign,
            on_bare_newline: OnBareNewline::Repair,
            ..Policy::default()
        };
        let fits = [&[b'a'; 998][..], b"\r\n"].concat();
        let long = [&[b'a'; 999][..], b"\r\n"].concat();
        let cases: &[(&[u8], TravelVerdict, TravelVerdict)] = &[
            (b"a\r\n", TravelVerdict::Sign, TravelVerdict::Sign),
            (&fits, TravelVerdict::Sign, TravelVerdict::Sign),
            (&long, TravelVerdict::Refuse(Refusal::long_line(999)), TravelVerdict::Sign),
            (b"a\nb", TravelVerdict::Refuse(Refusal::bare_newline()), TravelVerdict::Repair),
            (b"a\rb", TravelVerdict::Refuse(Refusal::bare_newline()), TravelVerdict::Repair),
        ];
        for (body, by_strict, by_lenient) in cases {
            let shown: String = body.escape_ascii().to_string().chars().take(40).collect();
            assert_eq!(scan(body).verdict(&strict), *by_strict, "{shown}");
            assert_eq!(scan(body).verdict(&lenient), *by_lenient, "{shown}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        #[test]
        fn cuts_between_chunks_change_nothing(
            body in prop::collection::vec(prop::sample::select(b"\r\n\r\nab\0\xE4".to_vec()), 0..200),
            cuts in prop::collection::vec(0..200_usize, 0..6),
        ) {
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(body.len())).collect();
            cuts.sort_unstable();
            let mut in_chunks = BodyScan::new();
            let mut start = 0;
            for cut in cuts {
                in_chunks.feed(&body[start..cut]);
                start = cut;
            }
            in_chunks.feed(&body[start..]);
            prop_assert_eq!(in_chunks, scan(&body));
        }

        #[test]
        fn agrees_with_the_slow_way(
            body in prop::collection::vec(prop::sample::select(b"\r\n\r\nab\0".to_vec()), 0..200),
        ) {
            let text = String::from_utf8(body).unwrap();
            let got = scan(text.as_bytes());
            let rest = text.replace("\r\n", "");
            prop_assert_eq!(got.bare_crs(), rest.matches('\r').count() as u64);
            prop_assert_eq!(got.bare_lfs(), rest.matches('\n').count() as u64);
            prop_assert_eq!(got.nuls(), text.matches('\0').count() as u64);
            let longest = text.split("\r\n").map(str::len).max().unwrap();
            prop_assert_eq!(got.longest_line(), longest as u64);
        }
    }
}

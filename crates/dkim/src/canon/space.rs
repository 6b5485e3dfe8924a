//! The white space that relaxed canonicalization changes.
//!
//! Nearly all of a message is already in relaxed form: words with single spaces between them. So both
//! relaxed algorithms copy or hash long runs as they stand and stop only at *irregular* white space: each tab, and
//! each space that is followed by another octet up to 0x20 (white space, a line end, or a control character, which
//! does no harm) or by nothing.

use wide::u8x16;

use super::stops::Stop;

/// Irregular white space in a body.
pub(super) struct InBody;

impl Stop for InBody {
    #[inline]
    fn zero_at_stops(octets: u8x16, next: u8x16) -> u8x16 {
        let space = u8x16::splat(b' ');
        let tab = octets ^ u8x16::splat(b'\t');
        tab.min((octets ^ space) | next.saturating_sub(space))
    }
}

/// Irregular white space in a header field, and each CR, with which a fold may begin.
pub(super) struct InField;

impl Stop for InField {
    #[inline]
    fn zero_at_stops(octets: u8x16, next: u8x16) -> u8x16 {
        InBody::zero_at_stops(octets, next).min(octets ^ u8x16::splat(b'\r'))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::canon::stops::Stops;

    /// What is irregular, by its definition.
    fn is_irregular(in_field: bool, octet: u8, next: u8) -> bool {
        octet == b'\t' || (octet == b' ' && next <= b' ') || (in_field && octet == b'\r')
    }

    fn slow(in_field: bool, octets: &[u8], start: usize) -> usize {
        let next = |at: &usize| octets.get(at + 1).copied().unwrap_or(b' ');
        (start..octets.len())
            .find(|at| is_irregular(in_field, octets[*at], next(at)))
            .unwrap_or(octets.len())
    }

    #[test]
    fn each_pair_of_octets_is_known() {
        for octet in 0..=u8::MAX {
            for next in 0..=u8::MAX {
                let pair = [octet, next, b'a'];
                let found = Stops::<InBody>::of(&pair).next_from(0);
                assert_eq!(found, slow(false, &pair, 0), "{pair:?}");
                let found = Stops::<InField>::of(&pair).next_from(0);
                assert_eq!(found, slow(true, &pair, 0), "{pair:?}");
            }
        }
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
            let mut in_body = Stops::<InBody>::of(&octets);
            let mut in_field = Stops::<InField>::of(&octets);
            let mut start = 0;
            for step in steps {
                start = (start + step).min(octets.len());
                prop_assert_eq!(in_field.next_from(start), slow(true, &octets, start));
                let found = in_body.next_from(start);
                prop_assert_eq!(found, slow(false, &octets, start));
                start = found;
            }
            for start in starts.into_iter().map(|start| start.min(octets.len())) {
                prop_assert_eq!(in_body.next_from(start), slow(false, &octets, start));
                prop_assert_eq!(in_field.next_from(start), slow(true, &octets, start));
            }
        }
    }
}

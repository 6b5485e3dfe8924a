//! Random choices of the askers: the order of servers and names that nobody can have published.
//!
//! Drawn from the system's generator through aws-lc, since a name that can be foreseen proves nothing.

/// A random label of `len` lower-case letters and digits.
pub(crate) fn label(len: usize) -> String {
    let alphabet = b"abcdefghijklmnopqrstuvwxyz0123456789";
    (0..len).filter_map(|_| alphabet.get(below(alphabet.len()))).copied().map(char::from).collect()
}

/// Puts the items into random order.
pub(crate) fn shuffle<T>(items: &mut [T]) {
    for last in (1..items.len()).rev() {
        items.swap(last, below(last + 1));
    }
}

/// A number below `bound`, which is small; the bias of the remainder is without weight then.
fn below(bound: usize) -> usize {
    let mut octets = [0; 4];
    // The system's generator does not fail once it is seeded. If it did, an order that can be foreseen
    // would be no reason to stop.
    if aws_lc_rs::rand::fill(&mut octets).is_err() {
        return 0;
    }
    usize::try_from(u32::from_ne_bytes(octets)).unwrap_or(0).checked_rem(bound).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffling_keeps_the_items_and_labels_differ() {
        let mut items: Vec<u32> = (0..50).collect();
        shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());

        assert_eq!(label(16).len(), 16);
        assert_ne!(label(16), label(16));
    }
}

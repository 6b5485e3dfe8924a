//! Bounds how many answers one network gets over UDP, since its address may be forged.
//!
//! Response rate limiting: a forged question makes our answer hit a stranger. Answers are counted by
//! second for each pair of source network (/24 or /56) and name; beyond [`MAX_PER_SECOND`] every second
//! one is replaced by an empty answer with TC set, and the others are left out. An honest resolver then
//! comes over TCP; a stranger gets little. Names that do not exist count as one, so that inventing names
//! does not help.
//!
//! The table has a fixed size. Two pairs that fall on the same place share its count, which at worst
//! sends an honest asker over TCP.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

/// The counts.
#[derive(Debug)]
pub(crate) struct RateLimit {
    /// The second in the high half, the answers in it in the low half.
    places: Box<[AtomicU64]>,
    hasher: RandomState,
}

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Sending {
    Whole,
    Truncated,
    Nothing,
}

impl RateLimit {
    pub(crate) fn new() -> Self {
        let places = std::iter::repeat_with(AtomicU64::default).take(PLACES).collect();
        Self { places, hasher: RandomState::new() }
    }

    /// Counts an answer about `about` to `source`. `second` is that of a clock which only goes forward.
    pub(crate) fn count(&self, source: IpAddr, about: &[u8], second: u32) -> Sending {
        let hash = self.hasher.hash_one((network(source), about));
        let index = usize::try_from(hash).unwrap_or(usize::MAX) % PLACES;
        let Some(place) = self.places.get(index) else { return Sending::Whole };
        let next = |old: u64| {
            let count = if old >> 32 == u64::from(second) { old & COUNT } else { 0 };
            (u64::from(second) << 32) | (count + 1).min(COUNT)
        };
        let old = place
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| Some(next(old)))
            .unwrap_or_default();
        match next(old) & COUNT {
            count if count <= MAX_PER_SECOND => Sending::Whole,
            count if count % 2 == 1 => Sending::Truncated,
            _ => Sending::Nothing,
        }
    }
}

/// The network of an address, as large as those that forge nothing among themselves.
fn network(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(v4) => u64::from(v4.to_bits() >> 8),
        // Bit 63 keeps the two families apart.
        IpAddr::V6(v6) => {
            let high = u64::try_from(v6.to_bits() >> 72).unwrap_or_default();
            high | (1 << 63)
        }
    }
}

const COUNT: u64 = 0xffff_ffff;

/// Half a megabyte.
const PLACES: usize = 1 << 16;

/// Answers a second about one name to one network. A resolver keeps an answer for minutes; a farm of
/// them behind one network asks a few times.
pub(crate) const MAX_PER_SECOND: u64 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_about_one_name_from_one_network_is_thinned() {
        let limit = RateLimit::new();
        let from = |last: u8| IpAddr::from([192, 0, 2, last]);
        let mut sent = [0; 3];
        for number in 0..100_u8 {
            match limit.count(from(number), b"a.test", 7) {
                Sending::Whole => sent[0] += 1,
                Sending::Truncated => sent[1] += 1,
                Sending::Nothing => sent[2] += 1,
            }
        }
        assert_eq!(sent, [20, 40, 40]);
        assert_eq!(limit.count(from(0), b"a.test", 8), Sending::Whole, "the next second is new");
    }

    #[test]
    fn other_networks_and_names_are_not_concerned() {
        let limit = RateLimit::new();
        for _ in 0..100 {
            limit.count(IpAddr::from([192, 0, 2, 1]), b"a.test", 7);
        }
        // One of a few may share the place by chance; not all.
        let whole = (0..20_u8)
            .filter(|net| {
                limit.count(IpAddr::from([198, 51, *net, 1]), b"a.test", 7) == Sending::Whole
                    && limit.count(IpAddr::from([192, 0, 2, 1]), &[*net], 7) == Sending::Whole
            })
            .count();
        assert!(whole >= 18, "{whole}");
    }

    #[test]
    fn networks_are_those_of_the_two_families() {
        let same = |a: &str, b: &str| network(a.parse().unwrap()) == network(b.parse().unwrap());
        assert!(same("192.0.2.1", "192.0.2.254"));
        assert!(!same("192.0.2.1", "192.0.3.1"));
        assert!(same("2001:db8:0:100::1", "2001:db8:0:1ff::1"));
        assert!(!same("2001:db8:0:100::1", "2001:db8:0:200::1"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.9"));
    }
}

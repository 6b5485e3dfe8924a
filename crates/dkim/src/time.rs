//! Points in time as DKIM writes them (`t=` and `x=`, §3.5).
//!
//! This crate has no clock: every time is an argument.

use std::fmt;

/// Seconds since 1970-01-01 00:00:00 UTC, leap seconds not counted (§3.5, `t=`).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UnixTime(pub u64);

impl UnixTime {
    /// The number of seconds since the epoch.
    #[must_use]
    pub fn as_secs(self) -> u64 {
        self.0
    }

    /// This time and `secs` seconds more; stays at the end of time on overflow.
    #[must_use]
    pub fn plus_secs(self, secs: u64) -> Self {
        Self(self.0.saturating_add(secs))
    }

    /// The seconds from `earlier` until this time; zero if `earlier` is later.
    #[must_use]
    pub fn secs_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_in_seconds() {
        let time = UnixTime(1_790_000_000);
        assert_eq!(time.as_secs(), 1_790_000_000);
        assert_eq!(time.to_string(), "1790000000");
        assert_eq!(time.plus_secs(5), UnixTime(1_790_000_005));
        assert_eq!(UnixTime(u64::MAX).plus_secs(1), UnixTime(u64::MAX));
        assert_eq!(time.plus_secs(5).secs_since(time), 5);
        assert_eq!(time.secs_since(time.plus_secs(5)), 0);
    }
}

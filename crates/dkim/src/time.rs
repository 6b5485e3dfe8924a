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

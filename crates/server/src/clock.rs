//! The only clock that signing reads.

use std::time::{SystemTime, UNIX_EPOCH};

use postseal_dkim::UnixTime;

/// The time now. A clock before 1970 counts as 1970.
pub(crate) fn now() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

//! How much a long-running test does: little with `make test`, much with `make soak`.
//!
//! | variable | says |
//! |---|---|
//! | `POSTSEAL_SOAK=1` | the long figures, with a seed from the clock |
//! | `POSTSEAL_SEED` | the seed, to see a failure again |
//! | others, such as `POSTSEAL_MUTANTS` | one figure, whatever the other says |

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

/// The figure of the variable `name` if it is set, else `long` in a soak, else `short`.
///
/// # Panics
///
/// If the variable is no number: a test that runs with another figure than it was told says nothing.
pub fn figure(name: &str, short: u64, long: u64) -> u64 {
    number(name).unwrap_or(if is_soak() { long } else { short })
}

/// The seed of all that is random in a test. It stays the same under `make test`, so that a failure there is
/// one of the change that is tested.
///
/// # Panics
///
/// As [`figure`].
pub fn seed() -> u64 {
    number("POSTSEAL_SEED").unwrap_or_else(|| {
        if !is_soak() {
            return USUAL_SEED;
        }
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(USUAL_SEED, |since| since.as_secs())
    })
}

/// Says whether this is a long run.
pub fn is_soak() -> bool {
    env::var("POSTSEAL_SOAK").is_ok_and(|value| value == "1")
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(error) => panic!("{name}={text}: {error}"),
    }
}

/// No number is better than another.
const USUAL_SEED: u64 = 6376;

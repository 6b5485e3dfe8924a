//! Lengths of time as people write them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// A length of time in whole seconds, written as `7d`, `12h`, `30m`, `45s`, or as a plain number.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Seconds(pub u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(_, len)| self.0 >= *len && self.0.is_multiple_of(*len));
        match unit {
            Some((name, len)) => write!(f, "{}{name}", self.0 / len),
            None => write!(f, "{}s", self.0),
        }
    }
}

impl FromStr for Seconds {
    type Err = BadSeconds;

    fn from_str(text: &str) -> Result<Self, BadSeconds> {
        let (number, len) = UNITS
            .iter()
            .find_map(|(name, len)| Some((text.strip_suffix(*name)?, *len)))
            .unwrap_or((text, 1));
        if !number.bytes().all(|octet| octet.is_ascii_digit()) {
            return Err(BadSeconds);
        }
        let number: u64 = number.parse().map_err(|_| BadSeconds)?;
        match number.checked_mul(len) {
            Some(secs) if secs <= MAX_SECONDS => Ok(Self(secs)),
            Some(_) | None => Err(BadSeconds),
        }
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        TextOrNumber::deserialize(deserializer)?.seconds()
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A text that is no length of time.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("a length of time is a number with s, m, h or d behind it, and at most ten years")]
pub struct BadSeconds;

/// A length of time as data, or a word in its place.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum TextOrNumber {
    Number(u64),
    Text(String),
}

impl TextOrNumber {
    /// Says whether it is this word.
    pub(crate) fn is_text(&self, word: &str) -> bool {
        match self {
            Self::Text(text) => text == word,
            Self::Number(_) => false,
        }
    }

    /// The length of time.
    pub(crate) fn seconds<E: serde::de::Error>(self) -> Result<Seconds, E> {
        match self {
            Self::Number(secs) if secs <= MAX_SECONDS => Ok(Seconds(secs)),
            Self::Number(_) => Err(E::custom(BadSeconds)),
            Self::Text(text) => text.parse().map_err(E::custom),
        }
    }
}

/// A day, in seconds.
pub(crate) const DAY: u64 = 24 * 60 * 60;

/// The longest time that can be set. No official reference.
const MAX_SECONDS: u64 = 3_650 * DAY;

/// Units of time, the longest first.
const UNITS: [(&str, u64); 4] = [("d", DAY), ("h", 60 * 60), ("m", 60), ("s", 1)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_read_and_write() {
        let cases = [
            ("0", 0, "0s"),
            ("90", 90, "90s"),
            ("45s", 45, "45s"),
            ("30m", 1_800, "30m"),
            ("24h", DAY, "1d"),
            ("7d", 7 * DAY, "7d"),
        ];
        for (text, secs, shown) in cases {
            assert_eq!(text.parse(), Ok(Seconds(secs)), "{text}");
            assert_eq!(Seconds(secs).to_string(), shown);
        }
    }
}

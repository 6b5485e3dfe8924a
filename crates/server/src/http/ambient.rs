//! Time and randomness for the HTTP API, in one place, so that a test can set both.

use std::fmt;

use postseal_dkim::UnixTime;
use thiserror::Error;

/// Where the API takes the time and its random octets from.
pub struct Ambient {
    clock: Box<dyn Fn() -> UnixTime + Send + Sync>,
    dice: Box<dyn Dice>,
}

/// Fills octets with random ones.
trait Dice: Fn(&mut [u8]) -> Result<(), NoRandomness> + Send + Sync {}

impl<F: Fn(&mut [u8]) -> Result<(), NoRandomness> + Send + Sync> Dice for F {}

impl Ambient {
    /// The system's clock, and the generator of the crypto library.
    #[must_use]
    pub fn system() -> Self {
        Self::new(crate::clock::now, |octets| {
            aws_lc_rs::rand::fill(octets).map_err(|_| NoRandomness)
        })
    }

    /// Another clock and other dice.
    pub fn new(
        clock: impl Fn() -> UnixTime + Send + Sync + 'static,
        dice: impl Fn(&mut [u8]) -> Result<(), NoRandomness> + Send + Sync + 'static,
    ) -> Self {
        Self { clock: Box::new(clock), dice: Box::new(dice) }
    }

    /// The time.
    pub(crate) fn now(&self) -> UnixTime {
        (self.clock)()
    }

    /// Random octets.
    pub(crate) fn octets<const N: usize>(&self) -> Result<[u8; N], NoRandomness> {
        let mut octets = [0; N];
        (self.dice)(&mut octets)?;
        Ok(octets)
    }

    /// Random lower-case letters, each as likely as the others.
    pub(crate) fn letters(&self, count: usize) -> Result<String, NoRandomness> {
        let mut letters = String::with_capacity(count);
        while letters.len() < count {
            for octet in self.octets::<16>()? {
                // 234 is nine times 26: octets above it would favour the first letters.
                if octet < 234 && letters.len() < count {
                    letters.push(char::from(b'a' + octet % 26));
                }
            }
        }
        Ok(letters)
    }
}

impl fmt::Debug for Ambient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ambient")
    }
}

/// The system gave no random octets.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("the system gave no random octets")]
pub struct NoRandomness;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_lower_case_and_of_the_wanted_number() {
        let ambient = Ambient::system();
        for count in [0, 1, 6, 16, 17, 100] {
            let letters = ambient.letters(count).unwrap();
            assert_eq!(letters.len(), count);
            assert!(letters.bytes().all(|octet| octet.is_ascii_lowercase()), "{letters}");
        }
        assert_ne!(ambient.letters(20), ambient.letters(20));
    }

    #[test]
    fn without_randomness_there_are_no_letters() {
        let ambient = Ambient::new(|| UnixTime(1), |_| Err(NoRandomness));
        assert_eq!(ambient.letters(3), Err(NoRandomness));
        assert_eq!(ambient.octets::<20>(), Err(NoRandomness));
    }
}

//! The names by which everything else is found: tenants, pools, keys, next hops, revisions.
//!
//! Numbers are types of their own, so that a tenant is never taken for a key. Names of pools compare
//! without regard to ASCII case, as the API they come from does, and keep the text they were given.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A tenant: the platform's primary account, or one of its subaccounts.
#[derive(
    Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Default, Deserialize, Serialize,
)]
#[serde(transparent)]
pub struct TenantId(u32);

impl TenantId {
    /// The platform's own account.
    pub const PRIMARY: Self = Self(0);

    /// The tenant with this number; 0 is [`Self::PRIMARY`].
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number of the subaccount, 0 for the primary account.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Says whether this is the platform's own account.
    #[must_use]
    pub const fn is_primary(self) -> bool {
        self.0 == Self::PRIMARY.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for TenantId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// A key pair of the platform. Never used for another key, also after the key is destroyed.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
#[serde(transparent)]
pub struct KeyId(u64);

impl KeyId {
    /// The key with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number of the key.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A point in the history of what signing depends on. It only grows.
#[derive(
    Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Default, Deserialize, Serialize,
)]
#[serde(transparent)]
pub struct Revision(u64);

impl Revision {
    /// Before the first change.
    pub const ZERO: Self = Self(0);

    /// The revision with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number of the revision.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// An IP pool, such as `marketing_ip_pool`.
///
/// Equality, order and hash ignore ASCII case. Cloning is cheap.
#[derive(Clone)]
pub struct PoolId(Arc<str>);

impl PoolId {
    /// Parses an id: 1 to [`MAX_POOL_ID_LEN`] ASCII letters, digits, `_`, `-` and `.`.
    pub fn parse(text: &str) -> Result<Self, PoolIdError> {
        check_word(text, MAX_POOL_ID_LEN).map_err(|fault| match fault {
            WordFault::Empty => PoolIdError::Empty,
            WordFault::TooLong => PoolIdError::TooLong,
            WordFault::BadCharacter => PoolIdError::BadCharacter,
        })?;
        Ok(Self(text.into()))
    }

    /// The pool that always exists and takes what no other pool is chosen for.
    #[must_use]
    pub fn default_pool() -> Self {
        Self(DEFAULT_POOL.into())
    }

    /// The id that a pool gets from the name it is created with: lower case, and an underscore for
    /// each character that an id cannot have. `Marketing IP Pool` becomes `marketing_ip_pool`.
    ///
    /// Two names may lead to one id; that they do not collide is for the caller to see to.
    pub fn from_pool_name(name: &str) -> Result<Self, PoolIdError> {
        let id: String = name
            .trim()
            .chars()
            .take(MAX_POOL_ID_LEN + 1)
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
            .collect();
        Self::parse(&id)
    }

    /// The id as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Says whether this is the pool `default`.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.0.eq_ignore_ascii_case(DEFAULT_POOL)
    }
}

impl Default for PoolId {
    fn default() -> Self {
        Self::default_pool()
    }
}

impl PartialEq for PoolId {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for PoolId {}

impl PartialOrd for PoolId {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PoolId {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let lower = |id: &Self| id.0.to_ascii_lowercase();
        lower(self).cmp(&lower(other))
    }
}

impl Hash for PoolId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for octet in self.0.bytes() {
            state.write_u8(octet.to_ascii_lowercase());
        }
        state.write_u8(0xFF);
    }
}

impl fmt::Debug for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for PoolId {
    type Err = PoolIdError;

    fn from_str(text: &str) -> Result<Self, PoolIdError> {
        Self::parse(text)
    }
}

/// Why a text is not the id of a pool.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum PoolIdError {
    /// Nothing at all.
    #[error("the pool id is empty")]
    Empty,
    /// More than [`MAX_POOL_ID_LEN`] characters.
    #[error("the pool id is longer than {MAX_POOL_ID_LEN} characters")]
    TooLong,
    /// A character that an id cannot have.
    #[error(
        "the pool id has a character other than ASCII letters, digits, underscore, hyphen and dot"
    )]
    BadCharacter,
}

/// The name under which the configuration has a next hop; the address and the sealed credentials
/// stand there.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NextHopName(Arc<str>);

impl NextHopName {
    /// Parses a name: 1 to [`MAX_NEXT_HOP_NAME_LEN`] ASCII letters, digits, `_`, `-` and `.`.
    pub fn parse(text: &str) -> Result<Self, NextHopNameError> {
        check_word(text, MAX_NEXT_HOP_NAME_LEN).map_err(|_| NextHopNameError)?;
        Ok(Self(text.into()))
    }

    /// The name as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NextHopName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for NextHopName {
    type Err = NextHopNameError;

    fn from_str(text: &str) -> Result<Self, NextHopNameError> {
        Self::parse(text)
    }
}

/// A text that cannot be the name of a next hop.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error(
    "the name of a next hop is 1 to {MAX_NEXT_HOP_NAME_LEN} ASCII letters, digits, underscores, \
     hyphens and dots"
)]
pub struct NextHopNameError;

enum WordFault {
    Empty,
    TooLong,
    BadCharacter,
}

fn check_word(text: &str, max_len: usize) -> Result<(), WordFault> {
    if text.is_empty() {
        return Err(WordFault::Empty);
    }
    if text.len() > max_len {
        return Err(WordFault::TooLong);
    }
    let is_word = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'_' | b'-' | b'.');
    if text.bytes().all(is_word) { Ok(()) } else { Err(WordFault::BadCharacter) }
}

/// The id of the pool that always exists.
const DEFAULT_POOL: &str = "default";

/// The longest id of a pool. No official reference; SparkPost states 20 for the pool of a subaccount.
pub const MAX_POOL_ID_LEN: usize = 64;

/// The longest name of a next hop. No official reference.
pub const MAX_NEXT_HOP_NAME_LEN: usize = 64;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn pool_ids_compare_without_case_and_keep_their_text() {
        let one = PoolId::parse("Marketing_Pool").unwrap();
        let two = PoolId::parse("marketing_pool").unwrap();

        assert_eq!(one, two);
        assert_eq!(one.cmp(&two), std::cmp::Ordering::Equal);
        assert_eq!(HashSet::from([one.clone(), two]).len(), 1);
        assert_eq!(one.to_string(), "Marketing_Pool");
        assert!(PoolId::parse("DEFAULT").unwrap().is_default());
    }

    #[test]
    fn pool_ids_are_short_plain_words() {
        let long = "a".repeat(MAX_POOL_ID_LEN + 1);
        let cases = [
            ("", PoolIdError::Empty),
            (" ", PoolIdError::BadCharacter),
            ("a b", PoolIdError::BadCharacter),
            ("pool\r\n", PoolIdError::BadCharacter),
            ("pöol", PoolIdError::BadCharacter),
            ("a/b", PoolIdError::BadCharacter),
            (&long, PoolIdError::TooLong),
        ];
        for (input, want) in cases {
            assert_eq!(PoolId::parse(input), Err(want), "{input:?}");
        }
    }

    #[test]
    fn pool_ids_are_made_from_names() {
        let cases = [
            ("Marketing IP Pool", "marketing_ip_pool"),
            ("My Pool 2", "my_pool_2"),
            ("Grün", "gr_n"),
            ("hello!", "hello_"),
        ];
        for (name, want) in cases {
            assert_eq!(PoolId::from_pool_name(name).unwrap().as_str(), want, "{name:?}");
        }
        assert_eq!(PoolId::from_pool_name("  "), Err(PoolIdError::Empty));
        assert_eq!(PoolId::from_pool_name(&"x".repeat(1_000_000)), Err(PoolIdError::TooLong));
    }

    #[test]
    fn next_hops_have_plain_names() {
        assert_eq!(NextHopName::parse("postfix-1.eu").unwrap().as_str(), "postfix-1.eu");
        for input in ["", "a b", "a:25", "a\0"] {
            assert_eq!(NextHopName::parse(input), Err(NextHopNameError), "{input:?}");
        }
    }
}

//! The rules of DKIM, each with its section, on signatures that are made by hand.
//!
//! What is hashed stands in these tests as the RFC words it, never computed by the code under test; only
//! SHA-256 and Ed25519 are taken from the library. A plain `§3.5` means RFC 6376.
//!
//! | module | rules |
//! |---|---|
//! | `hash_input` | §3.7, §5.4.2, §8.15 |

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod by_hand;
mod hash_input;

//! The rules of DKIM, each with its section, on signatures that are made by hand.
//!
//! What is hashed stands in these tests as the RFC words it, never computed by the code under test; only
//! SHA-256 and Ed25519 are taken from the library. A plain `§3.5` means RFC 6376.
//!
//! | module | rules |
//! |---|---|
//! | `tag_lists` | §3.2 with erratum 5070, §2.8, §2.10, §2.11 |
//! | `signature_tags` | §3.5, RFC 8301 §3.1, RFC 8463 §3 |
//! | `canonicalization` | §3.4, §2.8, §5.3 |
//! | `hash_input` | §3.7, §5.4.2, §8.15 |
//! | `key_records` | §3.6.1, §3.6.2, §6.1.2, RFC 8301 §3.2, RFC 8463 §4 |
//! | `international` | RFC 8616 |
//! | `results` | §6.1, §3.9, RFC 8601 §2.7.1 |
//! | `signing` | §5, §3.5, §5.4, RFC 5322 §2.1.1 |

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod by_hand;
mod canonicalization;
mod hash_input;
mod international;
mod key_records;
mod results;
mod signature_tags;
mod signing;
mod tag_lists;

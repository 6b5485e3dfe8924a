//! Speaks the milter protocol and SMTP: bytes in, events and bytes out.
//!
//! Each protocol is a session without sockets, clock or threads. The caller reads bytes from
//! wherever they come, hands them over in pieces of any size, and writes what the session appends
//! to an output buffer. So every rule of a protocol can be tested byte by byte, and a front door is
//! no more than a loop around a session.
//!
//! Reading order: [`milter`] (an MTA asks us about its messages), [`smtp`] (mail comes in,
//! and goes on to the next hop).
//!
//! This crate knows nothing of DKIM, of tenants, or of what a message is signed with.

#![warn(clippy::indexing_slicing, clippy::string_slice)]

#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod milter;
pub mod smtp;

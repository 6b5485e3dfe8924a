//! Our DKIM engine against other people's software.
//!
//! - [`both_ways`]: what we sign, four verifiers pass; what four signers sign, we pass
//! - [`copies`]: the copies of fields that OpenDKIM puts into its signatures, we read
//! - [`labels`]: one change to what we signed does what it is known to do, with us and with them
//! - [`suites`]: what the tests of others expect of a message, we say
//! - [`differences`]: where they differ, and the section that decides
//!
//! `POSTSEAL_SEED` says which messages are generated.

mod both_ways;
mod copies;
mod differences;
mod labels;
mod ours;
mod suites;

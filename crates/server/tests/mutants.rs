//! Damaged messages, many of them: whatever is signed verifies, nothing below the added fields changes, and nothing
//! panics.
//!
//! - in process: the rule, the signer and our verifier
//! - through the milter and the SMTP proxy of a daemon
//! - to four verifiers that we did not write, with a table of what they are known to read otherwise
//!
//! `POSTSEAL_MUTANTS`, `POSTSEAL_MUTANTS_SENT` and `POSTSEAL_MUTANTS_JUDGED` say how many, `POSTSEAL_SEED` which
//! ones.

#[path = "mutants/daemon.rs"]
mod daemon;
#[path = "mutants/differences.rs"]
mod differences;
#[path = "mutants/in_process.rs"]
mod in_process;

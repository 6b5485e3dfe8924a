//! The HTTP API as its clients see it: a real server on a loopback port, a real SQLite store in a
//! temporary folder, DNS from a fixture, and a clock that the test sets.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

#[path = "http_api/harness.rs"]
mod harness;

#[path = "http_api/authentication.rs"]
mod authentication;
#[path = "http_api/ip_pools.rs"]
mod ip_pools;
#[path = "http_api/keys_and_subaccounts.rs"]
mod keys_and_subaccounts;
#[path = "http_api/requests.rs"]
mod requests;
#[path = "http_api/sending_domains.rs"]
mod sending_domains;
#[path = "http_api/verification.rs"]
mod verification;

//! Runs Postseal: listeners, HTTP API, configuration, command line. The binary `postseal` is this crate.
//!
//! Reading order: [`serve`] starts everything in order and is the map of the process; [`signing`] is the
//! one function that both front doors call; [`milter`] and `smtp_proxy` are those front doors; [`follow`]
//! brings changes to the snapshot; `http` is the API; [`cli`] has a file for each command.

pub mod cli;
mod clock;
pub mod config;
mod connections;
pub mod domain_check;
pub mod follow;
pub mod http;
pub mod installation;
pub mod log;
pub mod metrics;
pub mod milter;
pub mod serve;
pub mod signing;
pub mod smtp_proxy;

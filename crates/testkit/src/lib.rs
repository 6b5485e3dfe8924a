//! What the tests are made of: clients, next hops, MTAs, verifiers, mail, and a runner of the daemon.
//!
//! Nothing here is part of the product. Clients and servers are written apart from the crates they test.
//! They block, on purpose: the thing under test is another process, or runs on the other threads of a
//! tokio test of the multi-threaded flavour.
//!
//! - [`daemon`] runs `postseal serve`, [`platform`] with all that is around it, [`scene`] with two tenants; [`api_client`]
//!   speaks to its API.
//! - [`smtp_client`], [`milter_client`] speak to it, [`sink`] is its next hop.
//! - [`postfix`] is an MTA beside it, [`opendkim`] and [`rspamd`] are filters like it.
//! - [`verifiers`] judge what it signs, [`signers`] sign what it judges; [`peers`] knows where they and the
//!   MTA lie.
//! - [`arc`] seals and verifies chains with dkimpy.
//! - [`dns`] is the DNS around it.
//! - [`mail_data`] has real messages, [`mutate`] damages them, [`message`] builds others, [`shapes`] makes many that
//!   are hard to read, [`vectors`] reads cases from files.
//! - [`scale`] says how long a long test is.

pub mod api_client;
pub mod arc;
pub mod daemon;
pub mod dns;
mod frames;
pub mod mail_data;
pub mod message;
pub mod milter_client;
pub mod mutate;
pub mod opendkim;
pub mod peers;
pub mod platform;
pub mod postfix;
pub mod rspamd;
pub mod scale;
pub mod scene;
pub mod shapes;
pub mod signers;
pub mod sink;
pub mod smtp_client;
pub mod vectors;
pub mod verifiers;

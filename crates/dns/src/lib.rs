//! Asks the DNS and publishes in it.
//!
//! Four things that Postseal does with the DNS, each on its own:
//!
//! * [`AuthoritativeClient`] asks the servers of a zone themselves what they say of a key record, found
//!   by walking down from the roots and through CNAMEs. Its looks leave nothing in anybody's cache.
//!   [`judge`] turns such a [`KeyLook`] into a verdict, seen or not, and into findings with advice.
//! * [`RecursiveClient`] asks the resolver of the host, for `postseal verify` and for MX records.
//! * [`MxAnswers`] knows the MX hosts of recipient domains and never makes the signing path wait.
//! * [`ZoneServer`] answers for the zones that Postseal is told are its own ([`ServedZones`]).
//!
//! Reading order: `message` (packets), `exchange` (one question to one server), `look` (what was seen,
//! as data), `delegation`, `walk` and `authoritative` (the way to it), `record_text`, `finding` and `seen`
//! (the judgement, pure), `recursive`, `mx`, then `zone`, `respond`, `rate` and `server` (the other side).
//!
//! Whatever comes in from the network is hostile: packets, names, counts, delays. Each limit is a named
//! constant. DNSSEC is not validated here.

#![warn(clippy::indexing_slicing)]

mod authoritative;
mod delegation;
mod exchange;
mod finding;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod look;
mod message;
mod mx;
mod random;
mod rate;
mod record_text;
mod recursive;
mod respond;
mod seen;
mod server;
mod walk;
mod zone;

pub use self::authoritative::{AuthoritativeClient, MAX_ALIASES};
pub use self::exchange::{ExchangeError, Patience};
pub use self::finding::{Finding, Severity};
pub use self::look::{
    AddressLook, Answer, ChainEnd, DeniedAncestor, KeyLook, Listed, Misplaced, ServerLook,
    ServerName, Slip, Step,
};
pub use self::message::{LetterCase, ReplyCode, Target, ZoneName};
pub use self::mx::{MAX_AT_ONCE, MAX_OCTETS, MAX_QUEUE, MxAnswers, MxFigures};
pub use self::record_text::{RecordFault, WantedRecord};
pub use self::recursive::{
    LookupFailure, MAX_MX_HOSTS, MxHosts, RecursiveClient, ResolvConfError, TextAnswer,
};
pub use self::seen::{Judgement, Verdict, WantedKey, judge};
pub use self::server::{
    ZoneBindError, ZoneServer, ZoneServerCounters, ZoneServerFigures, ZoneServerSettings,
};
pub use self::walk::{AuthoritativeSettings, Reach, root_hints};
pub use self::zone::{
    MAX_TEXT_LEN, RECORD_TTL, RecordChange, ServedZones, ZoneApex, ZoneError, ZoneNameServer,
};

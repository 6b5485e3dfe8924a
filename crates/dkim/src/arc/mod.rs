//! ARC: what became of the chain of seals that mail handlers left in a message (RFC 8617).
//!
//! Each handler that takes part adds an ARC set of three fields with the same instance, `i=`: what it
//! found (ARC-Authentication-Results), a signature like DKIM's over the message
//! (ARC-Message-Signature), and a seal over the ARC fields of all sets so far (ARC-Seal). A chain is
//! verified as a whole, and its result is one of none, pass and fail. Nothing is sealed here.
//!
//! Reading order: [`Instance`] and the place of a field in its set; the sets of a header and the rules
//! of their structure; the report; the steps of verifying. A chain has the bounds of RFC 8617:
//! [`MAX_SETS`], and so at most two key queries for each.

mod instance;
mod report;
mod set;
mod verify;

pub use self::instance::{Instance, MAX_SETS};
pub use self::report::{ArcFailure, ArcReport, ArcResult, ArcSetReport};
pub use self::set::{ArcField, ChainStatus};
pub use self::verify::ArcVerifier;

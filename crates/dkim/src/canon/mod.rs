//! Canonicalization: the form of header and body that is hashed (§3.4).
//!
//! Header fields are small and at hand, so their canonical form is written to a buffer. A body may be
//! large and comes in chunks of any size, so its canonical form is handed out in slices, most of them
//! slices of the chunk itself unless it has much to change; only a few octets of state go from one chunk to the next.
//!
//! White space is space and tab, nothing else, and only CRLF ends a line (§2.3, §2.8). All other
//! octets, a bare CR or LF among them, are ordinary.

mod body;
mod header;
mod space;
mod squeeze;
mod stops;

pub use self::body::CanonicalBody;
pub(crate) use self::header::relaxed_field;
pub use self::header::{write_field, write_signature_field};

//! SMTP as bytes in, events and bytes out (RFC 5321 and the extensions below).
//!
//! Nothing here opens a socket, reads a clock or knows what DKIM is. A caller keeps the bytes that it
//! read in a buffer, hands them to a session, removes as many as the session says it has taken, and
//! writes what the session put into the output. A session never looks at the same byte twice once it
//! took it, so a peer may cut its stream wherever it likes.
//!
//! Reading order:
//!
//! 1. [`reply`]: reply codes, enhanced status codes, the writer and the parser of replies.
//! 2. [`address`]: the paths of `MAIL` and `RCPT`, and the names of `EHLO`.
//! 3. [`extension`]: what a server offers in its answer to `EHLO`.
//! 4. [`line`](mod@line): command lines, bounded.
//! 5. [`command`]: one command line to one [`command::Command`].
//! 6. [`auth`]: the credentials of `AUTH PLAIN` and `AUTH LOGIN`.
//! 7. [`data`]: message content: the decoder of `DATA` and `BDAT`, and the writer of `DATA`.
//! 8. [`server`]: the session with the client that injects mail.
//! 9. [`client`]: the session with the next hop.
//!
//! | extension | RFC | server session | client session |
//! |---|---|---|---|
//! | PIPELINING | 2920 | always offered; nothing may follow `DATA` before its answer | used when offered |
//! | SIZE | 1870 | always offered and enforced | declared when offered |
//! | 8BITMIME | 6152 | offered when the caller says so | passed on |
//! | SMTPUTF8 | 6531 | offered when the caller says so | passed on |
//! | CHUNKING | 3030 | offered when the caller says so; no BINARYMIME | not used |
//! | STARTTLS | 3207 | offered when the caller says so | by policy |
//! | AUTH | 4954 | PLAIN, LOGIN | PLAIN, LOGIN |
//! | ENHANCEDSTATUSCODES | 2034 | always offered | replies are kept as they come |
//! | DSN | 3461 | parameters are checked and kept verbatim | passed on |

pub mod address;
pub mod auth;
pub mod client;
pub mod command;
pub mod data;
pub mod extension;
pub mod line;
pub mod reply;
pub mod server;

#[doc(hidden)]
pub mod fuzzing;

pub use address::{HelloName, Mailbox, ReversePath};
pub use command::{BodyType, Mail, Parameter, Recipient};
pub use data::{BareNewlines, ContentError, Summary};
pub use extension::Extensions;
pub use reply::{Reply, ReplyClass, ReplyCode};

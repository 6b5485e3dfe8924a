//! The milter protocol, on the filter's side: an MTA connects to us and asks about its messages.
//!
//! No RFC describes it. The source is what Sendmail 8 and its libmilter do, and what Postfix does
//! (`MILTER_README`); the names here are theirs, in words, with the `SMFI…` constant in the
//! documentation of each item. Versions 2 to 6 are spoken; what an MTA offers decides, not the
//! number (Postfix offers "no reply to header" with version 2).
//!
//! # Layout on the wire
//!
//! ```text
//!   4 octets, big endian      1 octet      length - 1 octets
//! +---------------------+--------------+-------------------------+
//! | length (1 or more)  |   command    |          data           |
//! +---------------------+--------------+-------------------------+
//! ```
//!
//! | from the MTA | | answered with |
//! |---|---|---|
//! | `O` | options: version, actions, steps | `O` |
//! | `D` | macros for the command that follows | nothing |
//! | `C` `H` | client connected, HELO | one verdict, unless agreed otherwise |
//! | `M` `R` `T` | MAIL, RCPT, DATA | likewise |
//! | `L` `N` `B` | one header field, end of header, a piece of the body | likewise |
//! | `U` | an SMTP command that the MTA does not know | likewise |
//! | `E` | end of message | modifications, then always one verdict |
//! | `A` `Q` `K` | abort the message, quit, quit but keep the connection | nothing |
//!
//! # One message
//!
//! We ask the MTA to wait for no answer before the end of the message. A message of two kilobytes
//! then is one write of the MTA, one read and one write of ours. The body is handed out as slices
//! of the input and is neither held nor copied.
//!
//! # Reading order
//!
//! `state` (where a session is, and how it fails), `frame` (the byte stream cut into packets),
//! `macros`, `command` (a packet gets its type), `message` (the header put together again), `reply`
//! (what we write), `negotiate`, and [`Session`], the state machine over all of them.

mod command;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod macros;
mod message;
mod negotiate;
mod reply;
mod session;
mod state;

pub use command::{Client, ClientAddress};
pub use frame::{FrameError, MAX_HELD_PACKET, MAX_PACKET};
pub use macros::{
    MAX_MACRO_VALUE, MAX_MACROS, MacroName, MacroNameError, MacroRequest, MacroStage,
};
pub use message::{
    MAX_FIELDS, MAX_HEADER_BYTES, MAX_RECIPIENT_BYTES, MAX_RECIPIENTS, Message, Refusal,
};
pub use negotiate::{Actions, Agreement, Steps};
pub use reply::{EnhancedCode, ModificationError, Reply, ReplyError, Verdict};
pub use session::{Answer, Event, NotAsked, Progress, Session};
pub use state::{ProtocolError, State};

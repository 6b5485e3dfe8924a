//! Where a session is, and why it cannot go on.

use thiserror::Error;

use super::frame::FrameError;

/// Where a session is; the diagram stands at [`Session`](super::Session).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum State {
    /// Nothing is agreed yet.
    Start,
    /// Outside a message.
    Idle,
    /// After MAIL.
    Envelope,
    /// After the first field.
    Header,
    /// After the end of the header.
    Body,
    /// The end of a message waits for its answer.
    Answer,
    /// After the quit.
    Closed,
    /// After an error.
    Failed,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Start => "before the negotiation",
            Self::Idle => "outside a message",
            Self::Envelope => "in the envelope",
            Self::Header => "in the header",
            Self::Body => "in the body",
            Self::Answer => "before the answer to the end of a message",
            Self::Closed => "after the quit",
            Self::Failed => "after an error",
        })
    }
}

/// Why a session cannot go on. The peer's fault.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The bytes are no packets.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A command that no version of the protocol has.
    #[error("unknown milter command {command:?}")]
    UnknownCommand {
        /// The command.
        command: char,
    },
    /// A command whose data ends too early, or a client address that is none.
    #[error("malformed data of milter command {command:?}")]
    Malformed {
        /// The command.
        command: char,
    },
    /// A command that has no place where it stands.
    #[error("milter command {command:?} is out of order {after}")]
    OutOfOrder {
        /// The command.
        command: char,
        /// Where the session was.
        after: State,
    },
    /// An offer without version, actions and steps.
    #[error("the MTA's option offer has {length} octets instead of 12")]
    ShortOffer {
        /// Its length.
        length: usize,
    },
    /// Version 1 or 0.
    #[error("the MTA speaks milter version {version}; 2 is the oldest this filter speaks")]
    VersionTooOld {
        /// What the MTA offers.
        version: u32,
    },
    /// An MTA that does not let filters insert and remove header fields.
    #[error(
        "the MTA lets this filter not both add and change header fields (actions {offered:#x})"
    )]
    ActionsMissing {
        /// What the MTA offers.
        offered: u32,
    },
    /// Macros for a command that has none.
    #[error("macros for milter command {command:?}, which has none")]
    MacrosOfUnknown {
        /// The command.
        command: char,
    },
    /// Macros that are not pairs of strings.
    #[error("macros are not pairs of names and values")]
    MalformedMacros,
    /// More than [`MAX_MACROS`](super::MAX_MACROS) in one packet.
    #[error("more macros for one command than this filter takes")]
    TooManyMacros,
    /// A value longer than [`MAX_MACRO_VALUE`](super::MAX_MACRO_VALUE).
    #[error("a macro is longer than this filter takes")]
    MacroTooLong,
    /// Two values of one macro for one command.
    #[error("the MTA gives a macro two values for one command")]
    MacroTwice,
    /// Input after an error or after the quit.
    #[error("input after the end of the milter session")]
    AfterError,
}

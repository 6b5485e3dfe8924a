//! Commands: one line to one [`Command`] (RFC 5321 §4.1).
//!
//! The grammar is strict where a laxer reading could be taken differently by the next hop: control
//! characters, text behind a path, unknown or repeated parameters and malformed values are errors.
//! It is lax in two things that every server allows: spaces after the colon of `MAIL FROM:` and before
//! the end of the line (RFC 5321 §4.1.1).
//!
//! DSN parameters (RFC 3461 §4) are checked and kept as text, since the next hop has to get them as
//! they came. Whether an extension was offered is the session's question, not that of this module.

use std::fmt::{self, Write as _};

use thiserror::Error;

use super::address::{self, AddressError, HelloName, Mailbox, ReversePath};
use super::extension::{Extensions, SizeOffer};
use super::reply::{Reply, ReplyCode};

/// One command of a client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// `EHLO name`.
    Ehlo(HelloName),
    /// `HELO name`.
    Helo(HelloName),
    /// `STARTTLS`.
    StartTls,
    /// `AUTH mechanism [initial-response]`.
    Auth {
        /// The mechanism, in upper case.
        mechanism: String,
        /// The initial response, still in base64; `=` stands for an empty one.
        initial: Option<String>,
    },
    /// `MAIL FROM:<path> [parameters]`.
    Mail(Mail),
    /// `RCPT TO:<path> [parameters]`.
    Rcpt(Recipient),
    /// `DATA`.
    Data,
    /// `BDAT octets [LAST]` (RFC 3030 §2).
    Bdat {
        /// Octets that follow the command line.
        octets: u64,
        /// Whether this is the last chunk of the message.
        last: LastChunk,
    },
    /// `RSET`.
    Rset,
    /// `NOOP`.
    Noop,
    /// `VRFY text`.
    Vrfy,
    /// `EXPN text`.
    Expn,
    /// `HELP`.
    Help,
    /// `QUIT`.
    Quit,
}

/// Whether a chunk ends its message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LastChunk {
    /// `LAST` was given.
    Yes,
    /// More chunks follow.
    No,
}

/// A `MAIL` command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mail {
    /// The reverse-path.
    pub sender: ReversePath,
    /// SIZE: the message's octets as the client estimates them (RFC 1870 §3).
    pub size: Option<u64>,
    /// BODY (RFC 6152 §2).
    pub body: Option<BodyType>,
    /// SMTPUTF8: whether addresses and header may have UTF-8 (RFC 6531 §3.4).
    pub smtputf8: bool,
    /// RET and ENVID (RFC 3461 §4.3, §4.4) as they came.
    pub dsn: Vec<Parameter>,
}

/// A `RCPT` command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recipient {
    /// The forward-path.
    pub mailbox: Mailbox,
    /// NOTIFY and ORCPT (RFC 3461 §4.1, §4.2) as they came.
    pub dsn: Vec<Parameter>,
}

impl Recipient {
    /// About how many octets it takes in memory.
    pub fn footprint(&self) -> usize {
        let text = |parameter: &Parameter| parameter.keyword.len() + parameter.value.len();
        size_of::<Self>()
            + self.mailbox.as_str().len()
            + self.dsn.iter().map(|it| size_of::<Parameter>() + text(it)).sum::<usize>()
    }
}

/// The value of BODY.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BodyType {
    /// `7BIT`.
    SevenBit,
    /// `8BITMIME`.
    EightBitMime,
}

/// A parameter as it came: `KEYWORD=value`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Parameter {
    keyword: String,
    value: String,
}

impl Parameter {
    /// The keyword in upper case.
    pub fn keyword(&self) -> &str {
        &self.keyword
    }

    /// The value as it came.
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.keyword, self.value)
    }
}

impl Command {
    /// Parses a line without its CRLF.
    pub fn parse(line: &[u8]) -> Result<Self, CommandError> {
        let line = std::str::from_utf8(line).map_err(|_| CommandError::NotUtf8)?;
        if line.chars().any(char::is_control) {
            return Err(CommandError::ControlCharacter);
        }
        let line = line.trim_end_matches(' ');
        let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
        let argument = argument.trim_start_matches(' ');
        let alone = |command: Self| {
            if argument.is_empty() { Ok(command) } else { Err(CommandError::UnexpectedArgument) }
        };
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => Ok(Self::Ehlo(hello_name(argument)?)),
            "HELO" => Ok(Self::Helo(hello_name(argument)?)),
            "MAIL" => Ok(Self::Mail(Mail::parse(after_keyword(argument, "FROM:")?)?)),
            "RCPT" => Ok(Self::Rcpt(Recipient::parse(after_keyword(argument, "TO:")?)?)),
            "DATA" => alone(Self::Data),
            "BDAT" => bdat(argument),
            "RSET" => alone(Self::Rset),
            "QUIT" => alone(Self::Quit),
            "STARTTLS" => alone(Self::StartTls),
            "AUTH" => auth(argument),
            "NOOP" => Ok(Self::Noop),
            "HELP" => Ok(Self::Help),
            "VRFY" => Ok(Self::Vrfy),
            "EXPN" => Ok(Self::Expn),
            // RFC 5321 appendix F, RFC 1985, RFC 2645, RFC 4468: known, and not for a proxy.
            "TURN" | "SEND" | "SOML" | "SAML" | "ETRN" | "ATRN" | "BURL" | "XCLIENT"
            | "XFORWARD" => Err(CommandError::NotImplemented),
            _ => Err(CommandError::Unknown),
        }
    }
}

impl Mail {
    fn parse(text: &str) -> Result<Self, CommandError> {
        let (sender, rest) = address::reverse_path(text).map_err(CommandError::Sender)?;
        let mut mail = Self { sender, size: None, body: None, smtputf8: false, dsn: Vec::new() };
        for (keyword, value) in parameters(rest)? {
            match (keyword.as_str(), value) {
                ("SIZE", Some(value)) => mail.size = Some(decimal(value)?),
                ("BODY", Some(value)) if value.eq_ignore_ascii_case("7BIT") => {
                    mail.body = Some(BodyType::SevenBit);
                }
                ("BODY", Some(value)) if value.eq_ignore_ascii_case("8BITMIME") => {
                    mail.body = Some(BodyType::EightBitMime);
                }
                // BINARYMIME (RFC 3030 §3) is never offered: a signer must see lines.
                ("BODY", Some(value)) if value.eq_ignore_ascii_case("BINARYMIME") => {
                    return Err(CommandError::UnknownParameter);
                }
                ("SMTPUTF8", None) => mail.smtputf8 = true,
                ("RET", Some(value))
                    if value.eq_ignore_ascii_case("FULL") || value.eq_ignore_ascii_case("HDRS") =>
                {
                    mail.dsn.push(Parameter { keyword, value: value.to_owned() });
                }
                ("ENVID", Some(value)) if value.len() <= MAX_ENVID && is_xtext(value) => {
                    mail.dsn.push(Parameter { keyword, value: value.to_owned() });
                }
                // AUTH= (RFC 4954 §5) says who submitted the message first. A server that does not
                // trust the client has to take it for `<>`, and not to send it on is just that.
                ("AUTH", Some(value)) if value == "<>" || is_xtext(value) => {}
                ("SIZE" | "BODY" | "SMTPUTF8" | "RET" | "ENVID" | "AUTH", _) => {
                    return Err(CommandError::ParameterValue);
                }
                _ => return Err(CommandError::UnknownParameter),
            }
        }
        if mail.sender.mailbox().is_some_and(Mailbox::needs_smtputf8) && !mail.smtputf8 {
            return Err(CommandError::NeedsSmtputf8);
        }
        Ok(mail)
    }

    /// Says what the command needs that `offered` lacks.
    pub(super) fn beyond(&self, offered: &Extensions) -> Option<CommandError> {
        if !self.dsn.is_empty() && !offered.dsn
            || self.body.is_some() && !offered.eight_bit_mime
            || self.size.is_some() && offered.size == SizeOffer::NotOffered
        {
            return Some(CommandError::UnknownParameter);
        }
        if self.smtputf8 && !offered.smtputf8 {
            return Some(CommandError::Smtputf8NotOffered);
        }
        match (self.size, offered.size) {
            (Some(size), SizeOffer::Limit(limit)) if size > limit => Some(CommandError::TooLarge),
            _ => None,
        }
    }

    /// Writes the command for a next hop that offers `offered`, without CRLF.
    ///
    /// `octets` is the size of the message as it will be sent, if it is known already.
    pub fn to_command(&self, offered: &Extensions, octets: Option<u64>) -> String {
        let mut text = format!("MAIL FROM:{}", self.sender);
        // Writing to a String cannot fail.
        if let Some(octets) = octets
            && offered.size != SizeOffer::NotOffered
        {
            let _ = write!(text, " SIZE={octets}");
        }
        if let Some(body) = self.body
            && offered.eight_bit_mime
        {
            text.push_str(match body {
                BodyType::SevenBit => " BODY=7BIT",
                BodyType::EightBitMime => " BODY=8BITMIME",
            });
        }
        if self.smtputf8 && offered.smtputf8 {
            text.push_str(" SMTPUTF8");
        }
        push_dsn(&mut text, &self.dsn, offered);
        text
    }
}

impl Recipient {
    fn parse(text: &str) -> Result<Self, CommandError> {
        let (mailbox, rest) = address::forward_path(text).map_err(CommandError::Recipient)?;
        let mut dsn = Vec::new();
        for (keyword, value) in parameters(rest)? {
            let known = match (keyword.as_str(), value) {
                ("NOTIFY", Some(value)) => is_notify(value),
                ("ORCPT", Some(value)) => is_orcpt(value),
                ("NOTIFY" | "ORCPT", None) => false,
                _ => return Err(CommandError::UnknownParameter),
            };
            let value = value.filter(|_| known).ok_or(CommandError::ParameterValue)?;
            dsn.push(Parameter { keyword, value: value.to_owned() });
        }
        Ok(Self { mailbox, dsn })
    }

    /// Says what the command needs that `offered`, or the transaction's SMTPUTF8, lacks.
    pub(super) fn beyond(&self, offered: &Extensions, smtputf8: bool) -> Option<CommandError> {
        if !self.dsn.is_empty() && !offered.dsn {
            return Some(CommandError::UnknownParameter);
        }
        let needs_smtputf8 =
            self.mailbox.needs_smtputf8() || self.dsn.iter().any(|p| !p.value.is_ascii());
        (needs_smtputf8 && !smtputf8).then_some(CommandError::NeedsSmtputf8)
    }

    /// Writes the command for a next hop that offers `offered`, without CRLF.
    pub fn to_command(&self, offered: &Extensions) -> String {
        let mut text = format!("RCPT TO:<{}>", self.mailbox);
        push_dsn(&mut text, &self.dsn, offered);
        text
    }
}

/// Why a line is no command that can be run. All of these are the client's fault.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum CommandError {
    /// Not UTF-8 (RFC 6531 §3.2 allows no other 8-bit text).
    #[error("the command is not UTF-8")]
    NotUtf8,
    /// NUL, bare CR, tab or another control character.
    #[error("the command has a control character")]
    ControlCharacter,
    /// The line ends in LF alone.
    #[error("lines must end in CRLF")]
    BareNewline,
    /// Longer than the bounds of [`super::line`].
    #[error("the line is too long")]
    LineTooLong,
    /// No such command.
    #[error("command not recognised")]
    Unknown,
    /// A command that exists elsewhere.
    #[error("command not implemented")]
    NotImplemented,
    /// An argument where none is allowed.
    #[error("the command takes no argument")]
    UnexpectedArgument,
    /// An argument is missing or malformed.
    #[error("syntax error in the arguments")]
    Arguments,
    /// `BDAT` whose chunk size cannot be read, so that what follows cannot be told from commands.
    #[error("the chunk size is not a number")]
    ChunkSize,
    /// A malformed reverse-path.
    #[error("{0}")]
    Sender(AddressError),
    /// A malformed forward-path.
    #[error("{0}")]
    Recipient(AddressError),
    /// A malformed host name.
    #[error("{0}")]
    HelloName(AddressError),
    /// A parameter of MAIL or RCPT that was not offered.
    #[error("a parameter is not recognised or not offered")]
    UnknownParameter,
    /// A parameter without or with a malformed value.
    #[error("a parameter has a malformed value")]
    ParameterValue,
    /// The same parameter twice.
    #[error("a parameter is given twice")]
    DuplicateParameter,
    /// More octets than SIZE allows.
    #[error("the message is larger than the stated limit")]
    TooLarge,
    /// An address with UTF-8 without the SMTPUTF8 parameter.
    #[error("the address needs SMTPUTF8")]
    NeedsSmtputf8,
    /// SMTPUTF8 is asked for, and was not offered.
    #[error("SMTPUTF8 is not offered")]
    Smtputf8NotOffered,
}

impl CommandError {
    /// The reply that the client gets.
    pub fn reply(self) -> Reply {
        let (code, status) = match self {
            Self::NotUtf8 | Self::ControlCharacter | Self::BareNewline | Self::Unknown => {
                (ReplyCode::SYNTAX_ERROR, (5, 2))
            }
            Self::LineTooLong => (ReplyCode::SYNTAX_ERROR, (5, 6)),
            Self::NotImplemented => (ReplyCode::NOT_IMPLEMENTED, (5, 1)),
            Self::UnexpectedArgument
            | Self::Arguments
            | Self::ChunkSize
            | Self::HelloName(_)
            | Self::ParameterValue
            | Self::DuplicateParameter => (ReplyCode::ARGUMENT_ERROR, (5, 4)),
            Self::Sender(_) => (ReplyCode::ARGUMENT_ERROR, (1, 7)),
            Self::Recipient(_) => (ReplyCode::ARGUMENT_ERROR, (1, 3)),
            Self::UnknownParameter => (ReplyCode::PARAMETER_NOT_RECOGNISED, (5, 4)),
            Self::TooLarge => (ReplyCode::TOO_LARGE, (3, 4)),
            Self::NeedsSmtputf8 => (ReplyCode::MAILBOX_NAME, (6, 7)),
            Self::Smtputf8NotOffered => (ReplyCode::PARAMETER_NOT_RECOGNISED, (6, 7)),
        };
        Reply::new(code, status, self.to_string())
    }
}

fn hello_name(argument: &str) -> Result<HelloName, CommandError> {
    HelloName::parse(argument).map_err(CommandError::HelloName)
}

/// What follows `FROM:` or `TO:`, in any case, without the spaces that many clients put there.
fn after_keyword<'l>(argument: &'l str, keyword: &str) -> Result<&'l str, CommandError> {
    match argument.split_at_checked(keyword.len()) {
        Some((start, rest)) if start.eq_ignore_ascii_case(keyword) => {
            Ok(rest.trim_start_matches(' '))
        }
        Some(_) | None => Err(CommandError::Arguments),
    }
}

/// `BDAT SP chunk-size [SP "LAST"]`.
fn bdat(argument: &str) -> Result<Command, CommandError> {
    let (octets, rest) = argument.split_once(' ').unwrap_or((argument, ""));
    let octets = decimal(octets).map_err(|_| CommandError::ChunkSize)?;
    let last = match rest.trim_start_matches(' ') {
        "" => LastChunk::No,
        word if word.eq_ignore_ascii_case("LAST") => LastChunk::Yes,
        _ => return Err(CommandError::ChunkSize),
    };
    Ok(Command::Bdat { octets, last })
}

/// `AUTH SP sasl-mech [SP initial-response]`.
fn auth(argument: &str) -> Result<Command, CommandError> {
    let mut words = argument.split(' ').filter(|word| !word.is_empty());
    let mechanism = words.next().ok_or(CommandError::Arguments)?.to_ascii_uppercase();
    let initial = words.next().map(str::to_owned);
    match words.next() {
        None => Ok(Command::Auth { mechanism, initial }),
        Some(_) => Err(CommandError::Arguments),
    }
}

/// The parameters behind a path, each with its keyword in upper case (RFC 5321 §4.1.2).
fn parameters(text: &str) -> Result<Vec<(String, Option<&str>)>, CommandError> {
    if !text.is_empty() && !text.starts_with(' ') {
        return Err(CommandError::Arguments);
    }
    let mut all: Vec<(String, Option<&str>)> = Vec::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let (keyword, value) = match word.split_once('=') {
            Some((keyword, value)) => (keyword, Some(value)),
            None => (word, None),
        };
        let is_keyword = keyword.starts_with(|c: char| c.is_ascii_alphanumeric())
            && keyword.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        if !is_keyword || value.is_some_and(|value| value.is_empty() || value.contains('=')) {
            return Err(CommandError::Arguments);
        }
        let keyword = keyword.to_ascii_uppercase();
        if all.len() == MAX_PARAMETERS {
            return Err(CommandError::Arguments);
        }
        if all.iter().any(|(seen, _)| *seen == keyword) {
            return Err(CommandError::DuplicateParameter);
        }
        all.push((keyword, value));
    }
    Ok(all)
}

fn push_dsn(text: &mut String, dsn: &[Parameter], offered: &Extensions) {
    if offered.dsn {
        for parameter in dsn {
            let _ = write!(text, " {parameter}");
        }
    }
}

/// A number of up to 20 digits (RFC 1870 §3, RFC 3030 §2). Larger than 64 bits is an error too.
fn decimal(text: &str) -> Result<u64, CommandError> {
    if text.is_empty() || text.len() > 20 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(CommandError::ParameterValue);
    }
    text.parse().map_err(|_| CommandError::ParameterValue)
}

/// `xtext` (RFC 3461 §4): printable ASCII without `+` and `=`, or `+` and two upper-case hex digits.
fn is_xtext(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let fine = match byte {
            b'+' => {
                let mut is_hex =
                    || bytes.next().is_some_and(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'));
                is_hex() && is_hex()
            }
            b'=' => false,
            _ => byte.is_ascii_graphic(),
        };
        if !fine {
            return false;
        }
    }
    true
}

/// `NEVER`, or a list of `SUCCESS`, `FAILURE`, `DELAY` (RFC 3461 §4.1).
fn is_notify(value: &str) -> bool {
    value.eq_ignore_ascii_case("NEVER")
        || value.split(',').count() <= 3
            && value.split(',').all(|word| {
                ["SUCCESS", "FAILURE", "DELAY"].iter().any(|known| word.eq_ignore_ascii_case(known))
            })
}

/// `addr-type ";" xtext` (RFC 3461 §4.2), or with UTF-8 for `utf-8` (RFC 6533 §3).
fn is_orcpt(value: &str) -> bool {
    let Some((kind, address)) = value.split_once(';') else { return false };
    value.len() <= MAX_ORCPT
        && !kind.is_empty()
        && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !address.is_empty()
        && if kind.eq_ignore_ascii_case("utf-8") {
            // utf-8-addr-xtext, unitext or the \x{HEX} form: nothing but what cannot stand in a line.
            address.chars().all(|c| !c.is_control() && !c.is_whitespace())
        } else {
            is_xtext(address)
        }
}

/// The longest ENVID (RFC 3461 §4.4).
const MAX_ENVID: usize = 100;

/// The longest ORCPT (RFC 3461 §4.2).
const MAX_ORCPT: usize = 500;

/// More parameters than all registered ones on one command.
const MAX_PARAMETERS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, CommandError> {
        Command::parse(line.as_bytes())
    }

    fn mail(line: &str) -> Mail {
        match parse(line) {
            Ok(Command::Mail(mail)) => mail,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn recipient(line: &str) -> Recipient {
        match parse(line) {
            Ok(Command::Rcpt(recipient)) => recipient,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn everything() -> Extensions {
        Extensions {
            size: SizeOffer::Limit(1000),
            eight_bit_mime: true,
            smtputf8: true,
            dsn: true,
            ..Extensions::default()
        }
    }

    #[test]
    fn commands_ignore_case_and_trailing_space() {
        let name = |name| HelloName::parse(name).unwrap();
        let cases = [
            ("EHLO a.example", Command::Ehlo(name("a.example"))),
            ("helo a.example  ", Command::Helo(name("a.example"))),
            ("Data", Command::Data),
            ("RSET ", Command::Rset),
            ("noop anything at all", Command::Noop),
            ("VRFY user", Command::Vrfy),
            ("quit", Command::Quit),
            ("StartTLS", Command::StartTls),
            ("BDAT 12", Command::Bdat { octets: 12, last: LastChunk::No }),
            ("bdat 0 last", Command::Bdat { octets: 0, last: LastChunk::Yes }),
            (
                "AUTH plain =",
                Command::Auth { mechanism: "PLAIN".into(), initial: Some("=".into()) },
            ),
            ("AUTH LOGIN", Command::Auth { mechanism: "LOGIN".into(), initial: None }),
        ];
        for (line, want) in cases {
            assert_eq!(parse(line), Ok(want), "{line}");
        }
    }

    #[test]
    fn refuses_what_is_no_command() {
        use CommandError::*;
        let cases: [(&[u8], CommandError); 29] = [
            (b"", Unknown),
            (b" NOOP", Unknown),
            (b"NOOP\0", ControlCharacter),
            (b"MAIL FROM:<a@b>\rRCPT TO:<c@d>", ControlCharacter),
            (b"MAIL FROM:<a@b>\tSIZE=1", ControlCharacter),
            (b"RCPT TO:<\xff@b>", NotUtf8),
            (b"DATA now", UnexpectedArgument),
            (b"STARTTLS x", UnexpectedArgument),
            (b"EHLO", HelloName(AddressError::HelloName)),
            (b"EHLO a b", HelloName(AddressError::HelloName)),
            (b"ETRN x", NotImplemented),
            (b"MAIL", Arguments),
            (b"MAIL <a@b>", Arguments),
            (b"MAIL FROM <a@b>", Arguments),
            (b"MAIL FROM:a@b", Sender(AddressError::NoBrackets)),
            (b"MAIL FROM:<a@b>SIZE=1", Arguments),
            (b"MAIL FROM:<a@b> SIZE=", Arguments),
            (b"MAIL FROM:<a@b> SIZE=1=2", Arguments),
            (b"MAIL FROM:<a@b> SIZE=-1", ParameterValue),
            (b"MAIL FROM:<a@b> SIZE=99999999999999999999", ParameterValue),
            (b"MAIL FROM:<a@b> SIZE=1 size=2", DuplicateParameter),
            (b"MAIL FROM:<a@b> BODY=BINARYMIME", UnknownParameter),
            (b"MAIL FROM:<a@b> BODY=9BIT", ParameterValue),
            (b"MAIL FROM:<a@b> X-FOO=1", UnknownParameter),
            (b"MAIL FROM:<a@b> RET=SOME", ParameterValue),
            (b"MAIL FROM:<\xc3\xa9@b>", NeedsSmtputf8),
            (b"RCPT TO:<>", Recipient(AddressError::Empty)),
            (b"RCPT TO:<a@b> NOTIFY=NEVER,SUCCESS", ParameterValue),
            (b"BDAT x LAST", ChunkSize),
        ];
        for (line, want) in cases {
            assert_eq!(Command::parse(line), Err(want), "{:?}", line.escape_ascii().to_string());
        }
    }

    #[test]
    fn parameters_reach_the_next_hop_as_they_came() {
        let got = mail(
            "MAIL FROM: <a@b.example> SIZE=500 BODY=8bitmime SMTPUTF8 RET=hdrs ENVID=QQ+2B314 AUTH=<>",
        );
        assert_eq!(
            (got.size, got.body, got.smtputf8),
            (Some(500), Some(BodyType::EightBitMime), true)
        );
        assert_eq!(
            got.to_command(&everything(), Some(612)),
            "MAIL FROM:<a@b.example> SIZE=612 BODY=8BITMIME SMTPUTF8 RET=hdrs ENVID=QQ+2B314",
        );
        assert_eq!(got.to_command(&Extensions::default(), Some(612)), "MAIL FROM:<a@b.example>");

        let got = recipient(
            "rcpt to:<\"x y\"@b.example> NOTIFY=success,Failure ORCPT=rfc822;x+20y@b.example",
        );
        assert_eq!(
            got.to_command(&everything()),
            "RCPT TO:<\"x y\"@b.example> NOTIFY=success,Failure ORCPT=rfc822;x+20y@b.example",
        );
        assert_eq!(got.to_command(&Extensions::default()), "RCPT TO:<\"x y\"@b.example>");
    }

    #[test]
    fn what_was_not_offered_is_refused() {
        let none = Extensions::default();
        let cases = [
            ("MAIL FROM:<a@b>", None),
            ("MAIL FROM:<a@b> SIZE=1", Some(CommandError::UnknownParameter)),
            ("MAIL FROM:<a@b> BODY=7BIT", Some(CommandError::UnknownParameter)),
            ("MAIL FROM:<a@b> RET=FULL", Some(CommandError::UnknownParameter)),
            ("MAIL FROM:<a@b> SMTPUTF8", Some(CommandError::Smtputf8NotOffered)),
        ];
        for (line, want) in cases {
            assert_eq!(mail(line).beyond(&none), want, "{line}");
            assert_eq!(mail(line).beyond(&everything()), None, "{line}");
        }
        assert_eq!(
            mail("MAIL FROM:<a@b> SIZE=1001").beyond(&everything()),
            Some(CommandError::TooLarge)
        );
        let utf8 = recipient("RCPT TO:<\u{e9}@b>");
        assert_eq!(utf8.beyond(&everything(), false), Some(CommandError::NeedsSmtputf8));
        assert_eq!(utf8.beyond(&everything(), true), None);
    }

    #[test]
    fn xtext_is_checked_to_the_letter() {
        for (text, want) in [
            ("", true),
            ("a+2Bb", true),
            ("+", false),
            ("+2", false),
            ("+2b", false),
            ("a=b", false),
            ("a b", false),
        ] {
            assert_eq!(is_xtext(text), want, "{text}");
        }
    }
}

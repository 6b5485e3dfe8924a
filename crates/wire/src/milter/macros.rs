//! Macros: what the MTA tells about itself and the client beside the SMTP commands.
//!
//! A packet `D` names the command it belongs to and lists names and values. Names of one letter
//! stand alone (`i`), longer ones in braces (`{auth_authen}`); [`MacroName`] takes both forms and
//! means the same. Only the macros that were asked for are kept. Everything else an administrator
//! configured in the MTA passes by.
//!
//! A macro that comes twice in one packet with two values has no meaning. Since macros can decide
//! who is sending, that is an error and not a matter of the first or the last.

use std::borrow::Cow;
use std::sync::Arc;

use thiserror::Error;

use super::state::ProtocolError;

/// The name of a macro, such as `i` or `{auth_authen}`, without braces.
///
/// Case matters.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MacroName(Cow<'static, str>);

impl MacroName {
    /// `i`: the queue id.
    pub const QUEUE_ID: Self = Self(Cow::Borrowed("i"));
    /// `{auth_authen}`: the user of AUTH.
    pub const AUTH_USER: Self = Self(Cow::Borrowed("auth_authen"));
    /// `{client_addr}`: the client's address.
    pub const CLIENT_ADDRESS: Self = Self(Cow::Borrowed("client_addr"));
    /// `{daemon_name}`: the listener of the MTA.
    pub const DAEMON_NAME: Self = Self(Cow::Borrowed("daemon_name"));
    /// `{rcpt_mailer}`: `error` for a recipient that the MTA refused.
    const RECIPIENT_MAILER: Self = Self(Cow::Borrowed("rcpt_mailer"));

    /// Parses a name with or without braces.
    ///
    /// # Errors
    ///
    /// If it is empty, longer than 64 octets, or has anything but ASCII letters, digits, `_`, `-`
    /// and `.`.
    pub fn parse(text: &str) -> Result<Self, MacroNameError> {
        let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
        let is_name_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if inner.is_empty() || inner.len() > MAX_MACRO_NAME || !inner.chars().all(is_name_char) {
            return Err(MacroNameError);
        }
        Ok(Self(Cow::Owned(inner.to_owned())))
    }

    /// The name without braces.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn is(&self, wire: &[u8]) -> bool {
        wire == self.0.as_bytes()
            || matches!(wire, [b'{', inner @ .., b'}'] if inner == self.0.as_bytes())
    }
}

impl std::fmt::Display for MacroName {
    /// Writes the name as Sendmail and Postfix do: in braces if it is longer than a letter.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.len() == 1 { f.write_str(&self.0) } else { write!(f, "{{{}}}", self.0) }
    }
}

impl std::str::FromStr for MacroName {
    type Err = MacroNameError;

    fn from_str(text: &str) -> Result<Self, MacroNameError> {
        Self::parse(text)
    }
}

/// A text is not the name of a macro.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("a macro name is 1 to 64 ASCII letters, digits, '_', '-' or '.', with or without braces")]
pub struct MacroNameError;

/// The point at which the MTA is asked to send a macro (`SMFIM_…`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MacroStage {
    /// When the client connects (`SMFIM_CONNECT`).
    Connect,
    /// With MAIL (`SMFIM_ENVFROM`).
    Mail,
    /// With each RCPT (`SMFIM_ENVRCPT`).
    Rcpt,
    /// With the end of the header (`SMFIM_EOH`).
    EndOfHeader,
}

impl MacroStage {
    pub(super) const ALL: [Self; 4] = [Self::Connect, Self::Mail, Self::Rcpt, Self::EndOfHeader];

    pub(super) fn code(self) -> u32 {
        match self {
            Self::Connect => 0,
            Self::Mail => 2,
            Self::Rcpt => 3,
            Self::EndOfHeader => 6,
        }
    }
}

/// The macros that a filter wants to have, and when.
///
/// MTAs of version 6 are asked for exactly these (`SMFIF_SETSYMLIST`). Older ones send what their
/// administrator configured; of that, these are kept. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MacroRequest(Arc<[(MacroName, Vec<MacroStage>)]>);

impl MacroRequest {
    /// What every session needs, and `senders`: the macros that tell who is sending.
    ///
    /// Always asked for are the constants of [`MacroName`], and `{rcpt_mailer}`. `senders` are asked
    /// for at the connection and at MAIL, since only the administrator knows when theirs have their
    /// values.
    pub fn new(senders: impl IntoIterator<Item = MacroName>) -> Self {
        use MacroStage::{Connect, EndOfHeader, Mail, Rcpt};
        let mut request: Vec<(MacroName, Vec<MacroStage>)> = vec![
            // Sendmail knows it at MAIL; Postfix gives it after the first recipient.
            (MacroName::QUEUE_ID, vec![Mail, EndOfHeader]),
            (MacroName::AUTH_USER, vec![Mail]),
            (MacroName::CLIENT_ADDRESS, vec![Connect]),
            (MacroName::DAEMON_NAME, vec![Connect]),
            (MacroName::RECIPIENT_MAILER, vec![Rcpt]),
        ];
        for sender in senders {
            let stages = [Connect, Mail];
            if let Some((_, known)) = request.iter_mut().find(|(name, _)| *name == sender) {
                for stage in stages {
                    if !known.contains(&stage) {
                        known.push(stage);
                    }
                }
            } else if request.len() < MAX_MACROS {
                request.push((sender, stages.to_vec()));
            }
        }
        Self(request.into())
    }

    /// The names to ask for at `stage`.
    pub fn at(&self, stage: MacroStage) -> impl Iterator<Item = &MacroName> {
        self.0.iter().filter(move |(_, stages)| stages.contains(&stage)).map(|(name, _)| name)
    }

    fn position(&self, wire: &[u8]) -> Option<usize> {
        self.0.iter().position(|(name, _)| name.is(wire))
    }
}

impl Default for MacroRequest {
    fn default() -> Self {
        Self::new([])
    }
}

/// Values of the macros that were asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct MacroValues(Vec<(usize, Box<[u8]>)>);

impl MacroValues {
    /// Reads the names and values of one packet. Values that were there before are replaced.
    pub(super) fn read(
        &mut self,
        request: &MacroRequest,
        pairs: &[u8],
    ) -> Result<(), ProtocolError> {
        let mut fresh: Vec<usize> = Vec::new();
        let mut strings = Strings(pairs);
        let mut count = 0;
        while let Some(name) = strings.next() {
            let name = name.ok_or(ProtocolError::MalformedMacros)?;
            // Postfix and Sendmail always send pairs; a name alone has no value to keep.
            let value = strings.next().flatten().ok_or(ProtocolError::MalformedMacros)?;
            count += 1;
            if count > MAX_MACROS {
                return Err(ProtocolError::TooManyMacros);
            }
            let Some(index) = request.position(name) else { continue };
            if value.len() > MAX_MACRO_VALUE {
                return Err(ProtocolError::MacroTooLong);
            }
            let known = self.0.iter_mut().find(|(known, _)| *known == index);
            match known {
                Some((_, old)) if **old == *value => {}
                Some(_) if fresh.contains(&index) => return Err(ProtocolError::MacroTwice),
                Some((_, old)) => *old = value.into(),
                None => self.0.push((index, value.into())),
            }
            fresh.push(index);
        }
        Ok(())
    }

    /// Takes over the values of `later`, which win over those that are here.
    pub(super) fn merge(&mut self, later: Self) {
        for (index, value) in later.0 {
            match self.0.iter_mut().find(|(known, _)| *known == index) {
                Some((_, old)) => *old = value,
                None => self.0.push((index, value)),
            }
        }
    }

    pub(super) fn get(&self, request: &MacroRequest, name: &MacroName) -> Option<&[u8]> {
        let wanted = request.position(name.0.as_bytes())?;
        self.0.iter().find(|(index, _)| *index == wanted).map(|(_, value)| &**value)
    }

    /// Whether the recipient that these macros came with was refused by the MTA.
    ///
    /// Such a recipient is sent only to filters that ask for it (`SMFIP_RCPT_REJ`). We do not, but
    /// a refused recipient must not decide anything either if it comes nevertheless.
    pub(super) fn recipient_was_refused(&self, request: &MacroRequest) -> bool {
        self.get(request, &MacroName::RECIPIENT_MAILER) == Some(b"error")
    }
}

/// Strings that end in NUL, one after the other. An end without NUL yields `None` inside.
pub(super) struct Strings<'i>(pub(super) &'i [u8]);

impl<'i> Iterator for Strings<'i> {
    type Item = Option<&'i [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let Some((string, rest)) =
            memchr::memchr(0, self.0).and_then(|nul| self.0.split_at_checked(nul))
        else {
            self.0 = &[];
            return Some(None);
        };
        self.0 = rest.get(1..).unwrap_or_default();
        Some(Some(string))
    }
}

/// No official reference; the longest names in use have some twenty octets.
const MAX_MACRO_NAME: usize = 64;

/// Macros in one packet. Sendmail sends at most 50 (`MAXFILTERMACROS`).
pub const MAX_MACROS: usize = 256;

/// Octets of a macro that is kept. The longest that mean something are addresses, 256 octets by
/// RFC 5321 §4.5.3.1.3.
pub const MAX_MACRO_VALUE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> MacroName {
        MacroName::parse(text).unwrap()
    }

    #[test]
    fn takes_names_with_and_without_braces() {
        for (input, want) in
            [("i", "i"), ("{i}", "i"), ("{auth_authen}", "{auth_authen}"), ("a1", "{a1}")]
        {
            assert_eq!(name(input).to_string(), want, "{input}");
        }
        for input in ["", "{}", "{a", "a}", "a b", "a,b", "ä", &"x".repeat(65)] {
            assert_eq!(MacroName::parse(input), Err(MacroNameError), "{input}");
        }
    }

    #[test]
    fn keeps_what_was_asked_for_and_nothing_else() {
        let request = MacroRequest::new([name("{tenant}")]);
        let mut values = MacroValues::default();
        values.read(&request, b"j\0mx.example\0{tenant}\0acme\0i\0ABC\0").unwrap();
        assert_eq!(values.get(&request, &name("tenant")), Some(&b"acme"[..]));
        assert_eq!(values.get(&request, &name("i")), Some(&b"ABC"[..]));
        assert_eq!(values.get(&request, &name("j")), None);
        assert_eq!(values.get(&request, &name("auth_authen")), None);
    }

    #[test]
    fn tells_a_repeated_macro_from_a_doubled_one() {
        let request = MacroRequest::default();
        let cases: [(&[u8], Option<ProtocolError>); 6] = [
            (b"i\0A\0i\0A\0", None),
            (b"i\0A\0{i}\0A\0", None),
            (b"i\0A\0i\0B\0", Some(ProtocolError::MacroTwice)),
            (b"i\0A\0{i}\0\0", Some(ProtocolError::MacroTwice)),
            (b"i\0", Some(ProtocolError::MalformedMacros)),
            (b"i\0A", Some(ProtocolError::MalformedMacros)),
        ];
        for (input, want) in cases {
            let mut values = MacroValues::default();
            let got = values.read(&request, input);
            assert_eq!(got.err(), want, "{}", input.escape_ascii());
            if want.is_none() {
                assert_eq!(values.get(&request, &name("i")), Some(&b"A"[..]));
            }
        }
        let mut values = MacroValues::default();
        values.read(&request, b"i\0A\0").unwrap();
        values.read(&request, b"i\0B\0").unwrap();
        assert_eq!(values.get(&request, &name("i")), Some(&b"B"[..]), "a later packet wins");
    }

    #[test]
    fn bounds_number_and_size() {
        let request = MacroRequest::default();
        let mut values = MacroValues::default();
        assert_eq!(values.read(&request, &b"x\0y\0".repeat(MAX_MACROS)), Ok(()));
        let many = b"x\0y\0".repeat(MAX_MACROS + 1);
        assert_eq!(values.read(&request, &many), Err(ProtocolError::TooManyMacros));

        let long = |n: usize| [&b"i\0"[..], &b"a".repeat(n), b"\0"].concat();
        assert_eq!(values.read(&request, &long(MAX_MACRO_VALUE)), Ok(()));
        let too_long = values.read(&request, &long(MAX_MACRO_VALUE + 1));
        assert_eq!(too_long, Err(ProtocolError::MacroTooLong));
    }

    #[test]
    fn asks_for_a_senders_macro_at_connect_and_mail() {
        let request = MacroRequest::new([name("daemon_name"), name("{tenant}")]);
        let at = |stage| request.at(stage).map(ToString::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(at(MacroStage::Connect), "{client_addr} {daemon_name} {tenant}");
        assert_eq!(at(MacroStage::Mail), "i {auth_authen} {daemon_name} {tenant}");
        assert_eq!(at(MacroStage::Rcpt), "{rcpt_mailer}");
        assert_eq!(at(MacroStage::EndOfHeader), "i");
    }
}

//! The credentials of `AUTH PLAIN` (RFC 4616) and `AUTH LOGIN`, and the base64 around them (RFC 4954).
//!
//! This module decodes what a client sends and encodes what the next hop wants. Whether a password is
//! right is for the caller. Clients written for SparkPost use the user name `SMTP_Injection`, or
//! `SMTP_Injection:X-MSYS-SUBACCOUNT=123` to act for a subaccount, and an API key as the password;
//! [`Credentials::injection`] reads these forms.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use zeroize::Zeroizing;

/// A user name and a password.
pub struct Credentials {
    /// The user name, the authentication identity of RFC 4616.
    pub user: String,
    /// The password.
    pub password: Password,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// A password: neither printed nor cloned, wiped when dropped.
pub struct Password(Zeroizing<String>);

impl Password {
    /// Takes a password over.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text of the password, to be hashed or sent.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// For whom a SparkPost client authenticates.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Injection {
    /// `SMTP_Injection`: whoever the API key belongs to.
    KeyOwner,
    /// `SMTP_Injection:X-MSYS-SUBACCOUNT=123`: that subaccount. Whether the key may act for it is not
    /// said by this.
    Subaccount(u32),
}

impl Credentials {
    /// Reads the user name as SparkPost's SMTP API has it, ignoring case. `None` is any other name.
    pub fn injection(&self) -> Option<Injection> {
        let (name, rest) = match self.user.split_once(':') {
            Some((name, rest)) => (name, Some(rest)),
            None => (self.user.as_str(), None),
        };
        if !name.eq_ignore_ascii_case("SMTP_Injection") {
            return None;
        }
        let Some(rest) = rest else { return Some(Injection::KeyOwner) };
        let (keyword, number) = rest.split_once('=')?;
        let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        if !keyword.eq_ignore_ascii_case("X-MSYS-SUBACCOUNT") || !is_number {
            return None;
        }
        number.parse().ok().map(Injection::Subaccount)
    }

    /// Reads a PLAIN response: `[authzid] NUL authcid NUL passwd` in base64. An authorization identity
    /// is taken only if it is the authentication identity.
    pub(super) fn from_plain(response: &str) -> Result<Self, AuthError> {
        let text = Zeroizing::new(decode(response)?);
        let mut parts = text.split('\0');
        let (Some(authorize), Some(user), Some(password), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(AuthError::Malformed);
        };
        if user.is_empty() || password.is_empty() || !(authorize.is_empty() || authorize == user) {
            return Err(AuthError::Malformed);
        }
        Ok(Self { user: user.to_owned(), password: Password::new(password.to_owned()) })
    }

    /// The response of PLAIN, in base64.
    pub(super) fn to_plain(&self) -> Zeroizing<String> {
        let text = Zeroizing::new(format!("\0{}\0{}", self.user, self.password.expose()));
        encode(&text)
    }
}

/// Decodes one line of an AUTH exchange.
pub(super) fn decode(line: &str) -> Result<String, AuthError> {
    // RFC 4954 §4: an empty initial response is written as `=`.
    let line = if line == "=" { "" } else { line };
    let bytes = STANDARD.decode(line).map_err(|_| AuthError::Base64)?;
    String::from_utf8(bytes).map_err(|_| AuthError::Malformed)
}

/// Encodes one line of an AUTH exchange.
pub(super) fn encode(text: &str) -> Zeroizing<String> {
    Zeroizing::new(STANDARD.encode(text))
}

/// Why a response is not credentials.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum AuthError {
    /// Not base64.
    #[error("the response is not base64")]
    Base64,
    /// Not UTF-8, or not in the form of the mechanism.
    #[error("the response is malformed")]
    Malformed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_round_trips() {
        let sent =
            Credentials { user: "SMTP_Injection".into(), password: Password::new("a0b1c2".into()) };
        let got = Credentials::from_plain(&sent.to_plain()).unwrap();
        assert_eq!((got.user.as_str(), got.password.expose()), ("SMTP_Injection", "a0b1c2"));
        assert_eq!(got.injection(), Some(Injection::KeyOwner));
    }

    #[test]
    fn refuses_malformed_plain() {
        for text in ["", "user", "\0user", "\0user\0", "\0\0pass", "other\0user\0pass", "\0u\0p\0x"]
        {
            assert_eq!(
                Credentials::from_plain(&encode(text)).err(),
                Some(AuthError::Malformed),
                "{text:?}"
            );
        }
        assert_eq!(Credentials::from_plain("no base64!").err(), Some(AuthError::Base64));
        assert!(Credentials::from_plain(&encode("user\0user\0pass")).is_ok());
    }

    #[test]
    fn reads_the_user_names_of_sparkpost() {
        let cases = [
            ("SMTP_Injection", Some(Injection::KeyOwner)),
            ("smtp_injection", Some(Injection::KeyOwner)),
            ("SMTP_Injection:X-MSYS-SUBACCOUNT=123", Some(Injection::Subaccount(123))),
            ("SMTP_Injection:X-MSYS-SUBACCOUNT=0", Some(Injection::Subaccount(0))),
            ("SMTP_Injection:", None),
            ("SMTP_Injection:X-MSYS-SUBACCOUNT=", None),
            ("SMTP_Injection:X-MSYS-SUBACCOUNT=+1", None),
            ("SMTP_Injection:X-MSYS-SUBACCOUNT=4294967296", None),
            ("SMTP_Injection:X-Other=1", None),
            ("postmaster", None),
            ("", None),
        ];
        for (user, want) in cases {
            let credentials =
                Credentials { user: user.into(), password: Password::new("x".into()) };
            assert_eq!(credentials.injection(), want, "{user}");
        }
    }

    #[test]
    fn debug_shows_no_password() {
        let credentials =
            Credentials { user: "u".into(), password: Password::new("hunter2".into()) };
        assert!(!format!("{credentials:?} {:?}", credentials.password).contains("hunter2"));
    }
}

//! The Authentication-Results field (RFC 8601): what a receiver found out about a message.
//!
//! ```text
//!   Authentication-Results: mx.example.net;
//!    dkim=pass header.d=example.com header.s=s1 header.b=AbCdEfGh;
//!    spf=pass smtp.mailfrom=example.com
//! ```
//!
//! Reading is lenient towards what providers write ([`AuthenticationResults::parse`]): the name of the
//! server may be missing, words may be unregistered, values unquoted. It does not guess: a result in
//! which anything has more than one reading is not a result, and its text is kept apart. Writing
//! ([`ResultsField`]) keeps to the grammar of RFC 8601 §2.2. Both use the same types, and nothing in
//! them can leave its place in the field.
//!
//! What a field says is worth as much as whoever wrote it. Only one that carries the receiver's own
//! name counts, and a receiver has to remove those that came with the message (RFC 8601 §5).

mod of_report;
mod read;
mod text;
mod write;

use std::borrow::Cow;
use std::fmt;

pub use self::of_report::MAX_REPORTED_SIGNATURES;
pub use self::read::{
    AuthenticationResults, AuthenticationResultsError, MAX_COMMENT_DEPTH, MAX_COMMENTS,
};
pub use self::text::{
    AuthservId, Keyword, KeywordError, MAX_KEYWORD_LEN, MAX_TEXT_LEN, Text, TextError,
};
pub use self::write::{ResultsField, WriteError};

use crate::outcome::AuthResult;

/// What one method says: `method=result`, and what belongs to it (`resinfo` of RFC 8601 §2.2).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MethodResult<'a> {
    /// The method, such as `dkim`.
    pub method: Keyword<'a>,
    /// The version of the method; 1 is meant without it.
    pub version: Option<u32>,
    /// The result as it was written, such as `pass` or `perm_fail`.
    pub result: Keyword<'a>,
    /// `reason=`.
    pub reason: Option<Text<'a>>,
    /// What the result is about, such as `header.d=example.com`; at most [`MAX_PROPERTIES`].
    pub properties: Vec<Property<'a>>,
    /// The comments, without their parentheses and unfolded, in their order. Some receivers say only
    /// here why a signature failed. They are read and never written.
    pub comments: Vec<Cow<'a, str>>,
}

impl<'a> MethodResult<'a> {
    /// A result without properties.
    #[must_use]
    pub fn new(method: Keyword<'a>, result: Keyword<'a>) -> Self {
        Self {
            method,
            version: None,
            result,
            reason: None,
            properties: Vec::new(),
            comments: Vec::new(),
        }
    }

    /// The result, if it is a word of RFC 8601 §2.7. Nothing is made of a word that is not.
    #[must_use]
    pub fn word(&self) -> Option<ResultWord> {
        ResultWord::ALL.into_iter().find(|word| self.result == *word.as_str())
    }

    /// The value of a property such as (`header`, `d`). None if it stands there more than once, since
    /// one of them would have to be guessed.
    #[must_use]
    pub fn property(&self, kind: &str, name: &str) -> Option<&Text<'a>> {
        let mut values = self
            .properties
            .iter()
            .filter(|property| {
                property.kind().is_some_and(|written| *written == *kind)
                    && *property.name() == *name
            })
            .map(Property::value);
        let value = values.next()?;
        if values.next().is_some() { None } else { Some(value) }
    }
}

/// A property of a result, such as `header.d=example.com` (`propspec` of RFC 8601 §2.2).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Property<'a> {
    kind: Option<Keyword<'a>>,
    name: Keyword<'a>,
    value: Text<'a>,
}

impl<'a> Property<'a> {
    /// A property of that `ptype`, which RFC 8601 §2.3 has as `smtp`, `header`, `body` or `policy`.
    #[must_use]
    pub fn new(kind: Keyword<'a>, name: Keyword<'a>, value: Text<'a>) -> Self {
        Self { kind: Some(kind), name, value }
    }

    /// The `ptype`. Microsoft's `action=none` and some others have none.
    #[must_use]
    pub fn kind(&self) -> Option<&Keyword<'a>> {
        self.kind.as_ref()
    }

    /// The name, such as `d`.
    #[must_use]
    pub fn name(&self) -> &Keyword<'a> {
        &self.name
    }

    /// The value, without quotes.
    #[must_use]
    pub fn value(&self) -> &Text<'a> {
        &self.value
    }
}

/// The words of RFC 8601 §2.7 that most methods share.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ResultWord {
    /// `none`: there was nothing to look at.
    None,
    /// `pass`.
    Pass,
    /// `fail`.
    Fail,
    /// `softfail`, which only SPF has.
    SoftFail,
    /// `policy`: it would pass, but is not accepted here.
    Policy,
    /// `neutral`.
    Neutral,
    /// `temperror`.
    TempError,
    /// `permerror`.
    PermError,
}

impl ResultWord {
    const ALL: [Self; 8] = [
        Self::None,
        Self::Pass,
        Self::Fail,
        Self::SoftFail,
        Self::Policy,
        Self::Neutral,
        Self::TempError,
        Self::PermError,
    ];

    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pass => AuthResult::Pass.as_str(),
            Self::Fail => AuthResult::Fail.as_str(),
            Self::SoftFail => "softfail",
            Self::Policy => AuthResult::Policy.as_str(),
            Self::Neutral => AuthResult::Neutral.as_str(),
            Self::TempError => AuthResult::TempError.as_str(),
            Self::PermError => AuthResult::PermError.as_str(),
        }
    }

    /// The word as a keyword.
    #[must_use]
    pub const fn keyword(self) -> Keyword<'static> {
        Keyword::literal(self.as_str())
    }
}

impl From<AuthResult> for ResultWord {
    fn from(result: AuthResult) -> Self {
        match result {
            AuthResult::Pass => Self::Pass,
            AuthResult::Fail => Self::Fail,
            AuthResult::Policy => Self::Policy,
            AuthResult::PermError => Self::PermError,
            AuthResult::TempError => Self::TempError,
            AuthResult::Neutral => Self::Neutral,
        }
    }
}

impl fmt::Display for ResultWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The longest value of a field, in octets. No official reference; Postfix cuts fields at 102,400.
pub const MAX_LEN: usize = 64 << 10;

/// The most results in a field. No official reference; real fields have about ten.
pub const MAX_RESULTS: usize = 100;

/// The most properties of a result. No official reference; real ones have about ten.
pub const MAX_PROPERTIES: usize = 32;

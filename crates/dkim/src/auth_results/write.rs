//! Writes the field (RFC 8601 §2.2), folded under 78 columns.
//!
//! All that goes in is typed, and values stand in quotes wherever the grammar asks for it, so no value
//! can end its place and begin another. Comments are never written: a receiver that put a sender's
//! octets there has been fooled by parentheses (CVE-2020-12272), and `reason=` says the same.

use thiserror::Error;

use super::text::{AuthservId, Keyword};
use super::{MAX_LEN, MAX_PROPERTIES, MAX_RESULTS, MethodResult, Property};
use crate::fold::FoldedField;

/// A whole Authentication-Results field, to be put in front of the message (RFC 8601 §4.1).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ResultsField {
    raw: Vec<u8>,
}

impl ResultsField {
    /// Writes a field of these results, or `none` if there are none.
    ///
    /// A result that was read is written with what was understood of it, without its comments.
    pub fn new(
        authserv_id: &AuthservId<'_>,
        results: &[MethodResult<'_>],
    ) -> Result<Self, WriteError> {
        if results.len() > MAX_RESULTS {
            return Err(WriteError::TooManyResults);
        }
        if results.iter().any(|result| result.properties.len() > MAX_PROPERTIES) {
            return Err(WriteError::TooManyProperties);
        }
        let field = Self::of_few(authserv_id, results);
        if field.value().len() > MAX_LEN { Err(WriteError::TooLong) } else { Ok(field) }
    }

    /// Writes results that are known to keep within the bounds.
    pub(super) fn of_few(authserv_id: &AuthservId<'_>, results: &[MethodResult<'_>]) -> Self {
        let mut field = FoldedField::new(NAME);
        let mut token = String::new();
        authserv_id.text().write_value(&mut token);
        token.push(';');
        field.phrase(&token);
        if results.is_empty() {
            field.token("none");
        }
        for (place, result) in results.iter().enumerate() {
            write_result(result, place + 1 == results.len(), &mut field);
        }
        Self { raw: field.finish() }
    }

    /// The field as it goes on the wire, folded, with its final CRLF.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The field's name, `Authentication-Results`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        NAME
    }

    /// What follows the colon: a space, and the value with its folds as CRLF and a space, without the
    /// final CRLF. Where an MTA puts a space of its own behind the colon, that one has to go.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        let value = self.raw.get(NAME.len() + 1..).unwrap_or_default();
        value.strip_suffix(b"\r\n").unwrap_or(value)
    }
}

/// Why results cannot be written as a field.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum WriteError {
    /// More than [`MAX_RESULTS`].
    #[error("there are more than {MAX_RESULTS} results")]
    TooManyResults,
    /// A result with more than [`MAX_PROPERTIES`].
    #[error("a result has more than {MAX_PROPERTIES} properties")]
    TooManyProperties,
    /// More than [`MAX_LEN`] octets.
    #[error("the field would be longer than {MAX_LEN} octets")]
    TooLong,
}

fn write_result(result: &MethodResult<'_>, is_last: bool, field: &mut FoldedField) {
    let mut tokens = Vec::with_capacity(result.properties.len() + 2);
    let version = result.version.map(|version| format!("/{version}")).unwrap_or_default();
    tokens.push(format!("{}{version}={}", result.method, result.result));
    if let Some(reason) = &result.reason {
        let mut token = "reason=".to_owned();
        reason.write_value(&mut token);
        tokens.push(token);
    }
    tokens.extend(result.properties.iter().map(property_token));
    if let Some(token) = tokens.last_mut().filter(|_| !is_last) {
        token.push(';');
    }
    field.fold();
    for (place, token) in tokens.iter().enumerate() {
        if place == 0 {
            field.push(token.as_bytes());
        } else {
            field.phrase(token);
        }
    }
}

fn property_token(property: &Property<'_>) -> String {
    let mut token = property.kind().map(Keyword::to_string).unwrap_or_default();
    if !token.is_empty() {
        token.push('.');
    }
    token.push_str(property.name().as_str());
    token.push('=');
    property.value().write(&mut token);
    token
}

/// The name of the field.
const NAME: &str = "Authentication-Results";

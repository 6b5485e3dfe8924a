//! The name of a sending domain as a caller writes it.
//!
//! A name is kept in one form, lower-case A-labels without a final dot, so that `Example.COM.`,
//! `example.com` and a spelling with U-labels are one domain. Stricter than [`DomainName`]: a sending
//! domain stands behind an `@`, so it has at least two labels, no hyphen at the end of a label (RFC 5321
//! §4.1.2) and does not look like an IP address.

use postseal_dkim::{DomainName, NameError};
use thiserror::Error;

use crate::http::error::{ApiError, Code};

/// Parses the name of a sending domain.
pub(super) fn parse(text: &str) -> Result<DomainName, DomainSyntaxError> {
    let fault = |fault: Fault| DomainSyntaxError { fault, domain: shown(text) };
    if text.chars().count() < MIN_NAME_LEN {
        return Err(fault(Fault::TooShort));
    }
    let name = DomainName::parse(text).map_err(|error| {
        fault(match error {
            NameError::BadCharacter | NameError::BadUnicode => Fault::BadCharacter,
            NameError::Empty
            | NameError::EmptyLabel
            | NameError::LabelTooLong
            | NameError::TooLong
            | _ => Fault::Syntax,
        })
    })?;
    let mut labels = name.as_str().rsplit('.').peekable();
    let last = labels.peek().copied().unwrap_or_default();
    if name.label_count() < 2 {
        return Err(fault(Fault::NoDot));
    }
    let all_digits = last.bytes().all(|octet| octet.is_ascii_digit());
    if all_digits || labels.any(|label| label.starts_with('-') || label.ends_with('-')) {
        return Err(fault(Fault::Syntax));
    }
    Ok(name)
}

/// Why a text cannot be a sending domain, in SparkPost's words.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{fault}: '{domain}'")]
pub(super) struct DomainSyntaxError {
    fault: Fault,
    domain: String,
}

#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
enum Fault {
    #[error("Error domain name length too short for domain")]
    TooShort,
    #[error("Error domain name contains no '.'(s) for domain")]
    NoDot,
    #[error("Error domain name contains invalid characters or spaces for domain")]
    BadCharacter,
    #[error("Error validating domain name syntax for domain")]
    Syntax,
}

impl From<DomainSyntaxError> for ApiError {
    fn from(error: DomainSyntaxError) -> Self {
        Self::coded(Code::Data, error.to_string())
    }
}

/// What an answer repeats of a text that came in.
fn shown(text: &str) -> String {
    text.chars().take(MAX_SHOWN).collect()
}

/// `g.cn` and its like: one letter, a dot, and a top-level domain of two.
const MIN_NAME_LEN: usize = 4;

/// The length of the longest name.
const MAX_SHOWN: usize = postseal_dkim::MAX_NAME_LEN;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_domain_are_one_name() {
        for text in ["example.com", "Example.COM", "example.com.", "EXAMPLE.com."] {
            assert_eq!(parse(text).unwrap().as_str(), "example.com", "{text:?}");
        }
        for text in ["bücher.example", "BÜCHER.example", "xn--bcher-kva.example"] {
            assert_eq!(parse(text).unwrap().as_str(), "xn--bcher-kva.example", "{text:?}");
        }
    }

    #[test]
    fn what_is_no_sending_domain_gets_the_documented_sentence() {
        let long_label = format!("{}.example", "a".repeat(64));
        let cases = [
            ("", "Error domain name length too short for domain: ''".to_owned()),
            ("a.b", "Error domain name length too short for domain: 'a.b'".to_owned()),
            ("localhost", "Error domain name contains no '.'(s) for domain: 'localhost'".to_owned()),
            ("com.", "Error domain name contains no '.'(s) for domain: 'com.'".to_owned()),
            (
                "exa mple.com",
                "Error domain name contains invalid characters or spaces for domain: 'exa mple.com'"
                    .to_owned(),
            ),
            (
                "a@example.com",
                "Error domain name contains invalid characters or spaces for domain: 'a@example.com'"
                    .to_owned(),
            ),
            ("a..example", "Error validating domain name syntax for domain: 'a..example'".to_owned()),
            ("-a.example", "Error validating domain name syntax for domain: '-a.example'".to_owned()),
            ("a-.example", "Error validating domain name syntax for domain: 'a-.example'".to_owned()),
            ("192.0.2.1", "Error validating domain name syntax for domain: '192.0.2.1'".to_owned()),
            (
                &long_label,
                format!("Error validating domain name syntax for domain: '{long_label}'"),
            ),
        ];
        for (text, want) in cases {
            assert_eq!(parse(text).unwrap_err().to_string(), want);
        }
        let huge = "x".repeat(200_000);
        assert!(parse(&huge).unwrap_err().to_string().len() < 400);
    }
}

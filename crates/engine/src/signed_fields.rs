//! Which header fields signatures cover, as an operator writes it.
//!
//! Three lists, as in RFC 6376 §5.4 and in the words of this crate's policy: `oversign` (once more than
//! they are present), `oversign_if_present`, `sign` (as often as they are present; `List-*` stands for
//! all that begin so). A list that is left out is the built-in one. Fields that relays rewrite or take
//! out are refused: signing them breaks signatures on the way.

use std::sync::Arc;

use postseal_dkim::{FieldClasses, FieldName, FieldNameError, FieldSelection, SelectionError};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Fields to sign, checked. Cloning is cheap.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(try_from = "Lists", into = "Lists")]
pub struct SignedFields {
    /// None for the built-in lists.
    lists: Option<Arc<Lists>>,
    selection: FieldSelection,
}

impl SignedFields {
    /// What the signer takes.
    #[must_use]
    pub fn selection(&self) -> &FieldSelection {
        &self.selection
    }
}

// The selection follows from the lists.
impl PartialEq for SignedFields {
    fn eq(&self, other: &Self) -> bool {
        self.lists == other.lists
    }
}

impl Eq for SignedFields {}

/// Why fields cannot be signed as asked. The operator's fault.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum SignedFieldsError {
    /// More than [`MAX_LISTED_FIELDS`] names in a list.
    #[error("a list of fields to sign has more than {MAX_LISTED_FIELDS} names")]
    TooMany,
    /// A text that is no field name.
    #[error("the field name '{name}' is none: {source}")]
    Name {
        /// The text.
        name: String,
        /// What is wrong with it.
        source: FieldNameError,
    },
    /// A text that is neither a field name nor the beginning of one.
    #[error("the field name or pattern '{name}' is none: {source}")]
    Pattern {
        /// The text.
        name: String,
        /// What is wrong with it.
        source: SelectionError,
    },
    /// A field that changes or disappears on the way.
    #[error("the field {0} must not be signed: relays change it or take it out")]
    Unstable(String),
    /// The lists together cannot be signed.
    #[error(transparent)]
    Selection(#[from] SelectionError),
}

/// The lists as data.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
struct Lists {
    oversign: Vec<String>,
    oversign_if_present: Vec<String>,
    sign: Vec<String>,
}

impl Default for Lists {
    fn default() -> Self {
        let FieldClasses { oversigned, oversigned_if_present, as_present } =
            FieldClasses::standard();
        Self {
            oversign: oversigned.iter().map(ToString::to_string).collect(),
            oversign_if_present: oversigned_if_present.iter().map(ToString::to_string).collect(),
            sign: as_present.iter().map(ToString::to_string).collect(),
        }
    }
}

impl TryFrom<Lists> for SignedFields {
    type Error = SignedFieldsError;

    fn try_from(lists: Lists) -> Result<Self, SignedFieldsError> {
        for list in [&lists.oversign, &lists.oversign_if_present, &lists.sign] {
            if list.len() > MAX_LISTED_FIELDS {
                return Err(SignedFieldsError::TooMany);
            }
            if let Some(name) = list.iter().find(|name| is_unstable(name)) {
                return Err(SignedFieldsError::Unstable(name.clone()));
            }
        }
        if lists == Lists::default() {
            return Ok(Self::default());
        }
        let patterns = lists.sign.iter().map(|name| {
            name.parse().map_err(|source| SignedFieldsError::Pattern { name: name.clone(), source })
        });
        let selection = FieldSelection::by_class(FieldClasses {
            oversigned: field_names(&lists.oversign)?,
            oversigned_if_present: field_names(&lists.oversign_if_present)?,
            as_present: patterns.collect::<Result<_, _>>()?,
        })?;
        Ok(Self { lists: Some(Arc::new(lists)), selection })
    }
}

impl From<SignedFields> for Lists {
    fn from(fields: SignedFields) -> Self {
        fields.lists.map(Arc::unwrap_or_clone).unwrap_or_default()
    }
}

fn field_names(list: &[String]) -> Result<Vec<FieldName>, SignedFieldsError> {
    let name = |text: &String| {
        FieldName::parse(text)
            .map_err(|source| SignedFieldsError::Name { name: text.clone(), source })
    };
    list.iter().map(name).collect()
}

/// Says whether the name, or the beginning of names, covers a field that does not last.
fn is_unstable(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    UNSTABLE.iter().any(|unstable| match name.strip_suffix('*') {
        Some(start) => unstable.starts_with(start),
        None => *unstable == name,
    })
}

/// The most names in a list. No official reference.
pub const MAX_LISTED_FIELDS: usize = 100;

/// Fields that are added, changed or taken out on the way (RFC 6376 §5.4), in lower case; those that
/// this platform takes out itself; and signatures, which sign nothing but themselves.
const UNSTABLE: &[&str] = &[
    "arc-authentication-results",
    "arc-message-signature",
    "arc-seal",
    "authentication-results",
    "bcc",
    "delivered-to",
    "dkim-signature",
    "received",
    "resent-bcc",
    "return-path",
    "x-msys-api",
    "x-original-to",
    "x-postseal-pool",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<SignedFields, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn lists_that_are_left_out_are_the_built_in_ones() {
        assert_eq!(parse("{}").unwrap(), SignedFields::default());

        let changed = parse(r#"{"sign":["X-Campaign","List-*"]}"#).unwrap();
        let lists = Lists::from(changed.clone());
        assert_eq!(lists.sign, ["X-Campaign", "List-*"]);
        assert_eq!(lists.oversign, Lists::default().oversign);

        let json = serde_json::to_string(&changed).unwrap();
        assert_eq!(parse(&json).unwrap(), changed);
    }

    #[test]
    fn refuses_what_breaks_signatures() {
        let many =
            format!(r#"{{"sign":["{}"]}}"#, vec!["X-A"; MAX_LISTED_FIELDS + 1].join("\",\""));
        let cases = [
            (r#"{"oversign":["To"]}"#, "From has to be signed"),
            (r#"{"oversign":["From","Bad Name"]}"#, "'Bad Name'"),
            (r#"{"sign":["X:Y"]}"#, "'X:Y'"),
            (r#"{"sign":["Received"]}"#, "Received must not be signed"),
            (r#"{"sign":["re*"]}"#, "re* must not be signed"),
            (r#"{"sign":["*"]}"#, "* must not be signed"),
            (r#"{"oversign":["From","bcc"]}"#, "bcc must not be signed"),
            (r#"{"oversigned":["From"]}"#, "unknown field"),
            (&many, "more than 100 names"),
        ];
        for (json, want) in cases {
            let got = parse(json).unwrap_err();
            assert!(got.contains(want), "{json}: {got}");
        }
    }
}

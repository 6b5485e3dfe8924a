//! The fields in which a sender names the pool for a message.
//!
//! | field | says |
//! |---|---|
//! | `X-MSYS-API` | one JSON object, as SparkPost's SMTP API has it; `options.ip_pool` names the pool |
//! | `X-Postseal-Pool` | the id of the pool and nothing else |
//!
//! They are obeyed only from a known tenant ([`crate::plan`] sees to that), and taken out of every
//! message before it is signed: they are for this platform and for nobody behind it. What else
//! `X-MSYS-API` asks for (tracking, copies, metadata) is the business of whoever sends the mail; its
//! types are checked where SparkPost's refusals are documented, and it is otherwise ignored.
//!
//! A field that cannot be obeyed refuses the message: mail never leaves by another pool in silence.

use std::fmt;
use std::marker::PhantomData;

use postseal_dkim::{Field, FieldName, Header};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use thiserror::Error;

/// SparkPost's field of JSON options.
pub static X_MSYS_API: FieldName = FieldName::literal("X-MSYS-API");

/// The field that has the id of a pool.
pub static X_POSTSEAL_POOL: FieldName = FieldName::literal("X-Postseal-Pool");

/// What names the fields that are taken out of every message.
pub static CONTROL_FIELDS: [&FieldName; 2] = [&X_MSYS_API, &X_POSTSEAL_POOL];

/// A field that has to be taken out of the message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Removal {
    /// Which field it is, counted from the top over all fields, from 0.
    pub index: usize,
    /// The name as the control field has it; the message may have it in another case.
    pub name: FieldName,
    /// Which field of this name it is, counted from the top, from 1, as milters count.
    pub nth: usize,
}

/// A pool that a field names. The text is the sender's and may be no pool at all.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct NamedPool {
    pub(crate) text: String,
    pub(crate) by: ControlField,
}

/// The field that names a pool.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ControlField {
    /// `X-MSYS-API`.
    MsysApi,
    /// `X-Postseal-Pool`.
    PostsealPool,
}

impl fmt::Display for ControlField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::MsysApi => X_MSYS_API.as_str(),
            Self::PostsealPool => X_POSTSEAL_POOL.as_str(),
        })
    }
}

/// The control fields of a header section, the lowest first.
///
/// Taking a field out moves those below it up in the count of a milter, so they have to be taken out in
/// this order.
#[must_use]
pub fn removals(header: &Header<'_>) -> Vec<Removal> {
    let mut seen = [0_usize; 2];
    let mut found = Vec::new();
    for (index, field) in header.fields().enumerate() {
        for (name, nth) in CONTROL_FIELDS.into_iter().zip(&mut seen) {
            if field.is_named(name) {
                *nth += 1;
                found.push(Removal { index, name: name.clone(), nth: *nth });
            }
        }
    }
    found.reverse();
    found
}

/// Reads the pool that the control fields name.
pub(crate) fn named_pool(header: &Header<'_>) -> Result<Option<NamedPool>, ControlError> {
    let by_api = match single(header, &X_MSYS_API, ControlField::MsysApi)? {
        Some(field) => pool_of_api(field.value())?,
        None => None,
    };
    let by_name = match single(header, &X_POSTSEAL_POOL, ControlField::PostsealPool)? {
        Some(field) => Some(pool_of_name(field.value())?),
        None => None,
    };
    match (by_api, by_name) {
        (Some(api), Some(name)) if !api.eq_ignore_ascii_case(&name) => Err(ControlError::TwoPools),
        (Some(text), _) => Ok(Some(NamedPool { text, by: ControlField::MsysApi })),
        (None, Some(text)) => Ok(Some(NamedPool { text, by: ControlField::PostsealPool })),
        (None, None) => Ok(None),
    }
}

/// Why control fields cannot be obeyed. The texts are those of SparkPost where it documents one.
#[derive(Clone, Copy, Debug, Eq, Error, Hash, PartialEq)]
#[non_exhaustive]
pub enum ControlError {
    /// A control field stands there twice, and only one can be meant.
    #[error("more than one {0} field")]
    Repeated(ControlField),
    /// More than [`MAX_CONTROL_LEN`] octets.
    #[error("the {0} field is longer than {MAX_CONTROL_LEN} octets")]
    TooLong(ControlField),
    /// Not one JSON value, or a member of it that counts stands there twice.
    #[error("JSON parsing error in X-MSYS-API at column {column}")]
    NotJson {
        /// Where in the unfolded value, from 1.
        column: usize,
    },
    /// JSON of another kind than an object.
    #[error("X-MSYS-API must be of type 'json object'")]
    NotObject,
    /// A member of another type than it has to have.
    #[error("X-MSYS-API '{member}' must be of type '{want}'")]
    WrongType {
        /// The name of the member, with a dot between levels.
        member: &'static str,
        /// The type that it has to have.
        want: &'static str,
    },
    /// A `campaign_id` of more than 64 octets.
    #[error("smtpapi_campaign_id context is limited to {MAX_CAMPAIGN_ID_LEN} bytes")]
    LongCampaign,
    /// An `X-Postseal-Pool` without anything in it.
    #[error("the X-Postseal-Pool field is empty")]
    Empty,
    /// The two fields name different pools.
    #[error("X-MSYS-API and X-Postseal-Pool name different pools")]
    TwoPools,
}

fn single<'a>(
    header: &Header<'a>,
    name: &FieldName,
    control: ControlField,
) -> Result<Option<Field<'a>>, ControlError> {
    let mut fields = header.matching(name);
    let first = fields.next();
    if fields.next().is_some() {
        return Err(ControlError::Repeated(control));
    }
    match first {
        Some(field) if field.value().len() > MAX_CONTROL_LEN => Err(ControlError::TooLong(control)),
        found => Ok(found),
    }
}

fn pool_of_name(value: &[u8]) -> Result<String, ControlError> {
    let unfolded = unfold(value);
    let text = String::from_utf8_lossy(&unfolded);
    match text.trim() {
        "" => Err(ControlError::Empty),
        text => Ok(text.to_owned()),
    }
}

fn pool_of_api(value: &[u8]) -> Result<Option<String>, ControlError> {
    let api: Value<Members> = serde_json::from_slice(&unfold(value))
        .map_err(|error| ControlError::NotJson { column: error.column() })?;
    let Value::Object(members) = api else {
        return Err(ControlError::NotObject);
    };
    if !matches!(members.metadata, Value::Absent | Value::Null | Value::Object(_)) {
        return Err(ControlError::WrongType { member: "metadata", want: "json object" });
    }
    match members.campaign_id {
        Value::Text(id) if id.len() > MAX_CAMPAIGN_ID_LEN => {
            return Err(ControlError::LongCampaign);
        }
        Value::Text(_) | Value::Absent | Value::Null => {}
        Value::Object(_) | Value::Other => {
            return Err(ControlError::WrongType { member: "campaign_id", want: "string" });
        }
    }
    let pool = match members.options {
        Value::Object(options) => options.ip_pool,
        // Client libraries send null for what is not set.
        Value::Absent | Value::Null => return Ok(None),
        Value::Text(_) | Value::Other => {
            return Err(ControlError::WrongType { member: "options", want: "json object" });
        }
    };
    match pool {
        Value::Text(text) if text.trim().is_empty() => Ok(None),
        Value::Text(text) => Ok(Some(text)),
        Value::Absent | Value::Null => Ok(None),
        Value::Object(_) | Value::Other => {
            Err(ControlError::WrongType { member: "options.ip_pool", want: "string" })
        }
    }
}

/// Puts one space in place of each line break, as SparkPost does; the white space after it stays.
fn unfold(value: &[u8]) -> Vec<u8> {
    let mut unfolded = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&octet, after)) = rest.split_first() {
        rest = after;
        match octet {
            b'\r' => {
                rest = rest.strip_prefix(b"\n").unwrap_or(rest);
                unfolded.push(b' ');
            }
            b'\n' => unfolded.push(b' '),
            _ => unfolded.push(octet),
        }
    }
    unfolded
}

/// The members of the outermost object that are looked at. Serde refuses one that is there twice.
#[derive(Deserialize)]
struct Members {
    #[serde(default)]
    options: Value<OptionMembers>,
    #[serde(default)]
    metadata: Value<IgnoredAny>,
    #[serde(default)]
    campaign_id: Value<IgnoredAny>,
}

/// The members of `options` that are looked at.
#[derive(Deserialize)]
struct OptionMembers {
    #[serde(default)]
    ip_pool: Value<IgnoredAny>,
}

/// A JSON value of whatever type, so that a wrong type gets its own refusal.
#[derive(Default)]
enum Value<T> {
    #[default]
    Absent,
    Null,
    Text(String),
    Object(T),
    Other,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Value<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor(PhantomData))
    }
}

struct ValueVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ValueVisitor<T> {
    type Value = Value<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value<T>, E> {
        Ok(Value::Null)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<T>, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Value::Object)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value<T>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value<T>, E> {
        Ok(Value::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value<T>, E> {
        Ok(Value::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value<T>, E> {
        Ok(Value::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value<T>, E> {
        Ok(Value::Other)
    }
}

/// The longest control field, in octets. No official reference; `X-MSYS-API` may name a thousand
/// addresses for copies.
pub const MAX_CONTROL_LEN: usize = 256 << 10;

/// The longest `campaign_id`, in octets, as SparkPost has it.
const MAX_CAMPAIGN_ID_LEN: usize = 64;

#[cfg(test)]
mod tests {
    use super::ControlError::*;
    use super::*;

    fn pool(fields: &str) -> Result<Option<String>, ControlError> {
        let header = Header::parse(fields.as_bytes()).unwrap();
        named_pool(&header).map(|named| named.map(|named| named.text))
    }

    #[test]
    fn reads_the_pool_that_a_field_names() {
        let cases: &[(&str, Option<&str>)] = &[
            ("", None),
            ("Subject: x\r\n", None),
            ("X-Postseal-Pool: bulk\r\n", Some("bulk")),
            ("x-postseal-POOL:\r\n bulk \r\n", Some("bulk")),
            ("X-MSYS-API: {}\r\n", None),
            ("X-MSYS-API: {\"options\":{\"ip_pool\":\"bulk\"}}\r\n", Some("bulk")),
            ("x-msys-api : { \"options\" : {\"ip_pool\":\"Bulk\"} } \r\n", Some("Bulk")),
            (
                "X-MSYS-API: {\"options\":\r\n {\"open_tracking\":false,\r\n\t\"ip_pool\":\r\n \"bulk\"}}\r\n",
                Some("bulk"),
            ),
            ("X-MSYS-API: {\"options\":{\"ip_pool\":\"b\\u0075lk\"}}\r\n", Some("bulk")),
            ("X-MSYS-API: {\"options\":{\"ip_pool\":null}}\r\n", None),
            ("X-MSYS-API: {\"options\":{\"ip_pool\":\"\"}}\r\n", None),
            ("X-MSYS-API: {\"options\":null,\"metadata\":null,\"campaign_id\":null}\r\n", None),
            ("X-MSYS-API: {\"ip_pool\":\"bulk\"}\r\n", None),
            (
                "X-MSYS-API: {\"metadata\":{\"options\":{\"ip_pool\":\"no\"}},\"tags\":[1,[2]],\"cc\":[\"a@b.example\"]}\r\n",
                None,
            ),
            (
                "X-MSYS-API: {\"campaign_id\":\"spring\",\"options\":{\"ip_pool\":\"bulk\"}}\r\n",
                Some("bulk"),
            ),
            // A word broken by folding gets a space, which no pool has in its id.
            ("X-MSYS-API: {\"options\":{\"ip_pool\":\"bu\r\n lk\"}}\r\n", Some("bu  lk")),
            // Both fields, one pool.
            (
                "X-MSYS-API: {\"options\":{\"ip_pool\":\"bulk\"}}\r\nX-Postseal-Pool: BULK\r\n",
                Some("bulk"),
            ),
            ("X-MSYS-API: {}\r\nX-Postseal-Pool: bulk\r\n", Some("bulk")),
        ];
        for (fields, want) in cases {
            assert_eq!(pool(fields), Ok(want.map(str::to_owned)), "{fields:?}");
        }
    }

    #[test]
    fn refuses_what_cannot_be_obeyed() {
        let long = format!("X-MSYS-API: {{\"campaign_id\":\"{}\"}}\r\n", "c".repeat(65));
        let huge = format!("X-MSYS-API: {{\"x\":\"{}\"}}\r\n", "x".repeat(MAX_CONTROL_LEN));
        let deep = format!("X-MSYS-API: {{\"metadata\":{}}}\r\n", "[".repeat(100_000));
        let wrong = |member, want| WrongType { member, want };
        let cases: &[(&str, ControlError)] = &[
            ("X-Postseal-Pool:\r\n", Empty),
            ("X-Postseal-Pool: a\r\nX-Postseal-Pool: a\r\n", Repeated(ControlField::PostsealPool)),
            ("X-MSYS-API: {}\r\nX: y\r\nx-msys-api: {}\r\n", Repeated(ControlField::MsysApi)),
            ("X-MSYS-API: {\"options\":{\"ip_pool\":\"a\"}}\r\nX-Postseal-Pool: b\r\n", TwoPools),
            ("X-MSYS-API: []\r\n", NotObject),
            ("X-MSYS-API: \"bulk\"\r\n", NotObject),
            ("X-MSYS-API: null\r\n", NotObject),
            ("X-MSYS-API: {\"options\":[]}\r\n", wrong("options", "json object")),
            ("X-MSYS-API: {\"options\":\"bulk\"}\r\n", wrong("options", "json object")),
            ("X-MSYS-API: {\"options\":{\"ip_pool\":7}}\r\n", wrong("options.ip_pool", "string")),
            (
                "X-MSYS-API: {\"options\":{\"ip_pool\":[\"a\"]}}\r\n",
                wrong("options.ip_pool", "string"),
            ),
            ("X-MSYS-API: {\"options\":{\"ip_pool\":{}}}\r\n", wrong("options.ip_pool", "string")),
            (
                "X-MSYS-API: {\"options\":{\"ip_pool\":true}}\r\n",
                wrong("options.ip_pool", "string"),
            ),
            ("X-MSYS-API: {\"metadata\":\"x\"}\r\n", wrong("metadata", "json object")),
            ("X-MSYS-API: {\"metadata\":-1.5}\r\n", wrong("metadata", "json object")),
            ("X-MSYS-API: {\"campaign_id\":1}\r\n", wrong("campaign_id", "string")),
            (&long, LongCampaign),
            (&huge, TooLong(ControlField::MsysApi)),
        ];
        for (fields, want) in cases {
            let shown: String = fields.chars().take(100).collect();
            assert_eq!(pool(fields), Err(*want), "{shown:?}");
        }
        let no_json = [
            "X-MSYS-API:\r\n",
            "X-MSYS-API: bulk\r\n",
            "X-MSYS-API: {\"options\":{\"ip_pool\":\"bulk\"}\r\n",
            "X-MSYS-API: {} {}\r\n",
            "X-MSYS-API: {\"options\":{\"ip_pool\":\"a\"},\"options\":{}}\r\n",
            "X-MSYS-API: {\"options\":{\"ip_pool\":\"a\",\"ip_pool\":\"b\"}}\r\n",
            "X-MSYS-API: {\"options\":{\"ip_pool\":\"a\",}}\r\n",
            &deep,
        ];
        for fields in no_json {
            let shown: String = fields.chars().take(100).collect();
            assert!(matches!(pool(fields), Err(NotJson { .. })), "{shown:?}");
        }
    }

    #[test]
    fn refusals_have_the_documented_texts() {
        let cases = [
            (NotJson { column: 7 }, "JSON parsing error in X-MSYS-API at column 7"),
            (
                WrongType { member: "metadata", want: "json object" },
                "X-MSYS-API 'metadata' must be of type 'json object'",
            ),
            (LongCampaign, "smtpapi_campaign_id context is limited to 64 bytes"),
        ];
        for (error, want) in cases {
            assert_eq!(error.to_string(), want);
        }
    }

    #[test]
    fn lists_every_control_field_from_the_bottom() {
        let raw =
            b"X-MSYS-API: 1\r\nTo: a\r\nx-postseal-pool: 2\r\nx-msys-api : 3\r\nX-MSYS-API2: 4\r\n";
        let header = Header::parse(raw).unwrap();
        let got: Vec<_> = removals(&header)
            .into_iter()
            .map(|removal| (removal.index, removal.name.as_str().to_owned(), removal.nth))
            .collect();
        let want = [(3, "X-MSYS-API", 2), (2, "X-Postseal-Pool", 1), (0, "X-MSYS-API", 1)];
        assert_eq!(got, want.map(|(index, name, nth)| (index, name.to_owned(), nth)));
    }
}

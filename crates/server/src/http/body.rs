//! The JSON body of a request, read under limits, and its fields with the type they must have.
//!
//! A field that is unknown is ignored, and one that is `null` counts as absent: client libraries send
//! both. A field of the wrong JSON type is an error with SparkPost's sentence for it, also where the
//! field would not have been used.

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value};

use super::error::{ApiError, Code};

/// The object that a request carries.
#[derive(Debug)]
pub(super) struct JsonObject(Map<String, Value>);

impl JsonObject {
    /// The fields, to be taken by name and type.
    pub(super) fn fields(&self) -> Fields<'_> {
        Fields { map: &self.0, prefix: "" }
    }
}

impl<S: Send + Sync> FromRequest<S> for JsonObject {
    type Rejection = ApiError;

    async fn from_request(mut request: Request, state: &S) -> Result<Self, ApiError> {
        let media_type = media_type(request.headers());
        DefaultBodyLimit::max(MAX_BODY_LEN).apply(&mut request);
        let body = Bytes::from_request(request, state).await.map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                ApiError::coded(
                    Code::TooLarge,
                    format!("The request body may have at most {MAX_BODY_LEN} octets"),
                )
            } else {
                ApiError::coded(Code::Data, "The request body ended before it was complete")
                    .with_status(StatusCode::BAD_REQUEST)
            }
        })?;
        match media_type {
            MediaType::Json => {}
            MediaType::None if body.is_empty() => {}
            MediaType::None | MediaType::Other => {
                return Err(ApiError::coded(
                    Code::MediaType,
                    "The Content-Type of the request must be application/json",
                ));
            }
        }
        Self::parse(&body)
    }
}

impl JsonObject {
    fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let text = std::str::from_utf8(body)
            .map_err(|_| ApiError::coded(Code::Utf8, "The request body is not valid UTF-8"))?;
        // The parser nests no deeper than 128 levels, and the length is bounded.
        match serde_json::from_str(text) {
            Ok(Value::Object(map)) => Ok(Self(map)),
            Ok(
                other @ (Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Array(_)),
            ) => Err(ApiError::coded(
                Code::Data,
                format!(
                    "the request body is of type '{}', but needs to be of type 'json_object'",
                    type_name(&other)
                ),
            )),
            Err(_) => Err(ApiError::coded(Code::Data, "Problems parsing request as json")),
        }
    }
}

/// The fields of an object, perhaps of one inside another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    /// The path to this object with a dot at the end, such as `dkim.`.
    prefix: &'static str,
}

impl<'a> Fields<'a> {
    /// A string.
    pub(super) fn string(self, name: &'static str) -> Result<Option<&'a str>, FieldError> {
        match self.present(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong_type(name, other, "string")),
        }
    }

    /// A string that has to be there.
    pub(super) fn required_string(self, name: &'static str) -> Result<&'a str, FieldError> {
        self.string(name)?.ok_or_else(|| FieldError::Missing { field: self.path(name) })
    }

    /// `true` or `false`.
    pub(super) fn boolean(self, name: &'static str) -> Result<Option<bool>, FieldError> {
        match self.present(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(self.wrong_type(name, other, "boolean")),
        }
    }

    /// A whole number that is not negative.
    pub(super) fn number(self, name: &'static str) -> Result<Option<u64>, FieldError> {
        match self.present(name) {
            None => Ok(None),
            Some(Value::Number(number)) => match number.as_u64() {
                Some(value) => Ok(Some(value)),
                None => Err(FieldError::BadNumber { field: self.path(name) }),
            },
            Some(other) => Err(self.wrong_type(name, other, "number")),
        }
    }

    /// An object inside this one, under `prefix`, which is `name` with a dot.
    pub(super) fn object(
        self,
        name: &'static str,
        prefix: &'static str,
    ) -> Result<Option<Self>, FieldError> {
        match self.present(name) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Fields { map, prefix })),
            Some(other) => Err(self.wrong_type(name, other, "json_object")),
        }
    }

    /// An object as it stands, for a type that reads it whole.
    pub(super) fn object_value(self, name: &'static str) -> Result<Option<&'a Value>, FieldError> {
        match self.present(name) {
            None => Ok(None),
            Some(value @ Value::Object(_)) => Ok(Some(value)),
            Some(other) => Err(self.wrong_type(name, other, "json_object")),
        }
    }

    /// An array of strings.
    pub(super) fn strings(self, name: &'static str) -> Result<Option<Vec<&'a str>>, FieldError> {
        self.elements(name, "string", Value::as_str)
    }

    /// An array of whole numbers that are not negative.
    pub(super) fn numbers(self, name: &'static str) -> Result<Option<Vec<u64>>, FieldError> {
        self.elements(name, "number", Value::as_u64)
    }

    fn elements<T>(
        self,
        name: &'static str,
        wanted: &'static str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<Vec<T>>, FieldError> {
        match self.present(name) {
            None => Ok(None),
            Some(Value::Array(elements)) => elements
                .iter()
                .enumerate()
                .map(|(index, element)| {
                    read(element).ok_or_else(|| FieldError::WrongType {
                        field: format!("{}[{index}]", self.path(name)),
                        found: type_name(element),
                        wanted,
                    })
                })
                .collect::<Result<Vec<T>, FieldError>>()
                .map(Some),
            Some(other) => Err(self.wrong_type(name, other, "json_array")),
        }
    }

    /// Says whether the field is there, also with `null` as its value.
    pub(super) fn has(self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    fn present(self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    fn path(self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn wrong_type(self, name: &str, found: &Value, wanted: &'static str) -> FieldError {
        FieldError::WrongType { field: self.path(name), found: type_name(found), wanted }
    }
}

/// Why a field cannot be used. The caller's fault.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum FieldError {
    /// Another JSON type.
    #[error("field '{field}' is of type '{found}', but needs to be of type '{wanted}'")]
    WrongType {
        /// The path of the field.
        field: String,
        /// What it is.
        found: &'static str,
        /// What it has to be.
        wanted: &'static str,
    },
    /// Not there.
    #[error("field '{field}' is required")]
    Missing {
        /// The path of the field.
        field: String,
    },
    /// A number with a sign, a fraction or too many digits.
    #[error("{field} must be 'a whole number that is not negative'")]
    BadNumber {
        /// The path of the field.
        field: String,
    },
}

impl FieldError {
    /// The code that goes with the sentence.
    const fn code(&self) -> Code {
        match self {
            Self::WrongType { .. } | Self::BadNumber { .. } => Code::Data,
            Self::Missing { .. } => Code::Required,
        }
    }

    /// The answer of a service that gives one sentence.
    pub(super) fn plain(&self) -> ApiError {
        ApiError::plain(StatusCode::UNPROCESSABLE_ENTITY, self.to_string())
    }

    /// The answer of a service that names the parameter and its value.
    pub(super) fn parameter(&self, fields: Fields<'_>) -> ApiError {
        let (field, message) = match self {
            Self::WrongType { field, wanted, .. } => {
                (field, format!("`{field}` must be {}", with_article(wanted)))
            }
            Self::Missing { field } => (field, format!("`{field}` is a required field")),
            Self::BadNumber { field } => {
                (field, format!("`{field}` must be a whole number that is not negative"))
            }
        };
        let value = fields.map.get(field).cloned().unwrap_or_default();
        ApiError::parameter(field.clone(), value, message)
    }
}

impl From<FieldError> for ApiError {
    fn from(error: FieldError) -> Self {
        Self::coded(error.code(), error.to_string())
    }
}

/// A JSON type as SparkPost's sentences name it.
const fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "json_null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "json_array",
        Value::Object(_) => "json_object",
    }
}

/// A JSON type in a sentence of the services that name parameters.
fn with_article(wanted: &str) -> &'static str {
    match wanted {
        "string" => "a String",
        "number" => "a Number",
        "boolean" => "a Boolean",
        "json_array" => "an Array",
        _ => "an Object",
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum MediaType {
    Json,
    None,
    Other,
}

/// What the Content-Type says. A parameter such as a charset is taken: JSON is UTF-8 (RFC 8259 §8.1).
fn media_type(headers: &HeaderMap) -> MediaType {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    match (values.next(), values.next()) {
        (None, _) => MediaType::None,
        (Some(value), None) => {
            let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
            if essence.trim().eq_ignore_ascii_case("application/json") {
                MediaType::Json
            } else {
                MediaType::Other
            }
        }
        (Some(_), Some(_)) => MediaType::Other,
    }
}

/// The longest body. A domain with the largest key pair takes 5 KB, a pool that is granted to ten
/// thousand subaccounts 100 KB; no official reference.
const MAX_BODY_LEN: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> JsonObject {
        JsonObject::parse(value.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_field_has_its_type_or_is_an_error_with_the_documented_sentence() {
        let body = object(json!({
            "text": "a", "flag": true, "number": 7, "list": ["a"], "none": null,
            "inner": {"text": 1}, "negative": -1, "fraction": 1.5, "mixed": ["a", 2],
        }));
        let fields = body.fields();
        assert_eq!(fields.string("text"), Ok(Some("a")));
        assert_eq!(fields.boolean("flag"), Ok(Some(true)));
        assert_eq!(fields.number("number"), Ok(Some(7)));
        assert_eq!(fields.strings("list"), Ok(Some(vec!["a"])));
        assert_eq!(fields.string("none"), Ok(None));
        assert_eq!(fields.string("absent"), Ok(None));

        let inner = fields.object("inner", "inner.").unwrap().unwrap();
        let sentences = [
            (
                fields.string("number").unwrap_err(),
                "field 'number' is of type 'number', but needs to be of type 'string'",
            ),
            (
                fields.string("list").unwrap_err(),
                "field 'list' is of type 'json_array', but needs to be of type 'string'",
            ),
            (
                fields.boolean("text").unwrap_err(),
                "field 'text' is of type 'string', but needs to be of type 'boolean'",
            ),
            (
                fields.number("inner").unwrap_err(),
                "field 'inner' is of type 'json_object', but needs to be of type 'number'",
            ),
            (
                fields.object("list", "").unwrap_err(),
                "field 'list' is of type 'json_array', but needs to be of type 'json_object'",
            ),
            (
                fields.strings("mixed").unwrap_err(),
                "field 'mixed[1]' is of type 'number', but needs to be of type 'string'",
            ),
            (
                inner.string("text").unwrap_err(),
                "field 'inner.text' is of type 'number', but needs to be of type 'string'",
            ),
            (
                fields.number("negative").unwrap_err(),
                "negative must be 'a whole number that is not negative'",
            ),
            (
                fields.number("fraction").unwrap_err(),
                "fraction must be 'a whole number that is not negative'",
            ),
            (fields.required_string("none").unwrap_err(), "field 'none' is required"),
        ];
        for (error, want) in sentences {
            assert_eq!(error.to_string(), want);
        }
    }

    #[test]
    fn what_is_no_json_object_is_refused() {
        let nested = "[".repeat(100_000);
        let cases: [(&[u8], &str); 8] = [
            (b"", "Problems parsing request as json"),
            (b"{", "Problems parsing request as json"),
            (b"{}x", "Problems parsing request as json"),
            (b"{'a':1}", "Problems parsing request as json"),
            (nested.as_bytes(), "Problems parsing request as json"),
            (
                b"[]",
                "the request body is of type 'json_array', but needs to be of type 'json_object'",
            ),
            (
                b"\"a\"",
                "the request body is of type 'string', but needs to be of type 'json_object'",
            ),
            (b"{\"a\":\"\xff\"}", "The request body is not valid UTF-8"),
        ];
        for (body, want) in cases {
            assert_eq!(JsonObject::parse(body).unwrap_err().text(), want);
        }
    }

    #[tokio::test]
    async fn a_body_is_taken_as_json_only_if_it_says_so_and_is_not_too_long() {
        let long = format!("{{\"a\":\"{}\"}}", "a".repeat(MAX_BODY_LEN));
        let cases = [
            (Some("application/json"), "{}", None),
            (Some("Application/JSON; charset=utf-8"), "{}", None),
            (Some("application/json;charset=utf-8"), "{}", None),
            (Some("text/plain"), "{}", Some(415)),
            (Some("application/x-www-form-urlencoded"), "{}", Some(415)),
            (Some("application/jsonx"), "{}", Some(415)),
            (None, "{}", Some(415)),
            (None, "", Some(422)),
            (Some("application/json"), long.as_str(), Some(413)),
        ];
        for (content_type, body, want) in cases {
            let mut request = Request::builder().method("POST");
            if let Some(content_type) = content_type {
                request = request.header(header::CONTENT_TYPE, content_type);
            }
            let request = request.body(Body::from(body.to_owned())).unwrap();
            let got = JsonObject::from_request(request, &()).await;
            let status = got
                .err()
                .map(|error| axum::response::IntoResponse::into_response(error).status().as_u16());
            assert_eq!(status, want, "{content_type:?} {}", body.len());
        }
    }
}

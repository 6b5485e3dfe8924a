//! What the HTTP API answers when something is wrong: one envelope, three shapes.
//!
//! `{"errors":[{…}]}`, always an array (SparkPost API, error envelope). An entry has a message, a
//! description and a code ([`ApiError::coded`]); or a message alone, in what concerns IP pools and
//! keys ([`ApiError::plain`]); or a message, a parameter and its value, in what concerns subaccounts
//! ([`ApiError::parameter`]). `code` is a string of digits: clients in typed languages rely on it.
//!
//! The texts here are for the caller. They never hold a key, and of what went wrong on our side they
//! say only what the caller can act on; the whole chain of causes goes to the log, once.

use std::borrow::Cow;
use std::error::Error;
use std::fmt::Write as _;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use postseal_store::StoreError;
use serde::Serialize;
use serde_json::{Value, json};

/// An answer other than success.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ApiError {
    status: StatusCode,
    entries: Vec<Entry>,
    retry_after: Option<u32>,
}

impl ApiError {
    /// An error with message, description and code.
    pub(super) fn coded(code: Code, description: impl Into<String>) -> Self {
        let (_, status, message) = code.facts();
        Self::one(
            status,
            Entry {
                description: Some(description.into()),
                code: Some(code.facts().0),
                ..Entry::new(message)
            },
        )
    }

    /// The same, where the service answers another status than the code usually has.
    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The same, where SparkPost has another message with the code.
    pub(super) fn with_message(mut self, message: &'static str) -> Self {
        for entry in &mut self.entries {
            entry.message = message.into();
        }
        self
    }

    /// The same, with the seconds after which another try makes sense.
    pub(super) fn with_retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// An error that is one sentence.
    pub(super) fn plain(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self::one(status, Entry::new(message))
    }

    /// An error about one parameter and the value it has; 400.
    pub(super) fn parameter(
        param: impl Into<Cow<'static, str>>,
        value: Value,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        let value = (!value.is_null()).then_some(value);
        Self::one(
            StatusCode::BAD_REQUEST,
            Entry { param: Some(param.into()), value, ..Entry::new(message) },
        )
    }

    /// This error and the entries of `other`, whose status gives way.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.entries.extend(other.entries);
        self
    }

    /// Collects all mistakes of a request; none is success.
    pub(super) fn all(errors: impl IntoIterator<Item = Self>) -> Result<(), Self> {
        match errors.into_iter().reduce(Self::and) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// No key, an unknown one, or one that may not be used from here. It never says which.
    pub(super) fn unauthorized() -> Self {
        Self::plain(StatusCode::UNAUTHORIZED, "Unauthorized.")
    }

    /// A key that may not do this.
    pub(super) fn forbidden() -> Self {
        Self::plain(StatusCode::FORBIDDEN, "Forbidden.")
    }

    /// Something of ours went wrong. `cause` is logged here and nowhere else.
    pub(super) fn internal(cause: &(dyn Error + 'static)) -> Self {
        tracing::error!(event = "http_error", cause = %chain(cause), "a request failed");
        Self::coded(Code::Internal, "The request could not be carried out; the log says why.")
    }

    /// Something of ours is busy or away for the moment. `cause` is logged here and nowhere else.
    pub(super) fn unavailable(cause: &(dyn Error + 'static)) -> Self {
        tracing::warn!(event = "http_unavailable", cause = %chain(cause), "a request has to wait");
        Self {
            retry_after: Some(RETRY_AFTER_SECS),
            ..Self::coded(
                Code::Unavailable,
                "Postseal cannot reach its data at the moment. Please try again.",
            )
        }
    }

    /// The disk of the store is full. `cause` is logged here and nowhere else.
    pub(super) fn full(cause: &(dyn Error + 'static)) -> Self {
        tracing::error!(event = "http_full", cause = %chain(cause), "the store has no room");
        Self::coded(
            Code::Unavailable,
            "The disk that holds Postseal's data is full; nothing was changed. Signing goes on.",
        )
        .with_status(StatusCode::INSUFFICIENT_STORAGE)
    }

    /// The answer to a failure of the store that the request is not at fault for.
    ///
    /// What it may be at fault for ([`StoreError::NotFound`], [`StoreError::Conflict`]) each operation
    /// looks at before; here these two are a mistake of ours.
    pub(super) fn from_store(error: StoreError) -> Self {
        match error {
            StoreError::Busy => Self::unavailable(&error),
            StoreError::Full => Self::full(&error),
            StoreError::ReadOnly
            | StoreError::Moved { .. }
            | StoreError::Damaged(_)
            | StoreError::Open { .. }
            | StoreError::Database(_) => Self::unavailable(&error),
            StoreError::NotFound(_)
            | StoreError::Conflict(_)
            | StoreError::Corrupt { .. }
            | StoreError::SchemaNewer
            | StoreError::Migration(_)
            | StoreError::Forgotten
            | StoreError::Rewound { .. }
            | _ => Self::internal(&error),
        }
    }

    fn one(status: StatusCode, entry: Entry) -> Self {
        Self { status, entries: vec![entry], retry_after: None }
    }

    /// The first entry's text: its description, or else its message.
    #[cfg(test)]
    pub(super) fn text(&self) -> &str {
        self.entries
            .first()
            .map_or("", |entry| entry.description.as_deref().unwrap_or(&entry.message))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = axum::Json(json!({ "errors": self.entries }));
        let mut response = (self.status, body).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// One element of `errors`.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Entry {
    message: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    param: Option<Cow<'static, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
}

impl Entry {
    fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self { message: message.into(), description: None, code: None, param: None, value: None }
    }
}

/// The extended codes of the API that Postseal uses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Code {
    /// No such path.
    Uri,
    /// The path exists, the method does not.
    Method,
    /// A parameter that contradicts what is there.
    Params,
    /// A value of the wrong type, form or length.
    Data,
    /// A body that is not UTF-8.
    Utf8,
    /// A field that has to be there.
    Required,
    /// The thing that the path names is not there, or not the caller's.
    NotFound,
    /// Something that is there already stands against it.
    Conflict,
    /// A body that is not JSON by its Content-Type.
    MediaType,
    /// A body over the limit.
    TooLarge,
    /// A failure of ours.
    Internal,
    /// A failure of ours that will pass.
    Unavailable,
    /// A domain that this caller may not add.
    RestrictedDomain,
}

impl Code {
    /// The code, the status and the message that belong together.
    const fn facts(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Self::Uri => ("1101", StatusCode::NOT_FOUND, "invalid URI"),
            Self::Method => ("1102", StatusCode::METHOD_NOT_ALLOWED, "invalid http method"),
            Self::Params => ("1200", StatusCode::BAD_REQUEST, "invalid params"),
            Self::Data => ("1300", StatusCode::UNPROCESSABLE_ENTITY, "invalid data format/type"),
            Self::Utf8 => ("1305", StatusCode::BAD_REQUEST, "invalid UTF-8"),
            Self::Required => {
                ("1400", StatusCode::UNPROCESSABLE_ENTITY, "required field is missing")
            }
            Self::NotFound => ("1600", StatusCode::NOT_FOUND, "resource not found"),
            Self::Conflict => ("1602", StatusCode::CONFLICT, "resource conflict"),
            Self::MediaType => {
                ("1700", StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported content type")
            }
            Self::TooLarge => ("1300", StatusCode::PAYLOAD_TOO_LARGE, "request body too large"),
            Self::Internal => ("1500", StatusCode::INTERNAL_SERVER_ERROR, "internal server error"),
            Self::Unavailable => ("1900", StatusCode::SERVICE_UNAVAILABLE, "service unavailable"),
            Self::RestrictedDomain => ("7000", StatusCode::BAD_REQUEST, "Restricted domain"),
        }
    }
}

/// An error with all its causes, for the log.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

/// When to come back after a 503. SparkPost's own counsel for a busy API is one to five seconds.
const RETRY_AFTER_SECS: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn body(error: &ApiError) -> Value {
        json!({ "errors": error.entries })
    }

    #[test]
    fn the_three_shapes_have_their_fields_and_no_others() {
        let cases = [
            (
                ApiError::coded(Code::Data, "why"),
                422,
                json!({"errors": [{
                    "message": "invalid data format/type", "description": "why", "code": "1300"
                }]}),
            ),
            (
                ApiError::plain(StatusCode::NOT_FOUND, "IP pool not found."),
                404,
                json!({"errors": [{"message": "IP pool not found."}]}),
            ),
            (
                ApiError::parameter("name", json!(7), "no"),
                400,
                json!({"errors": [{"message": "no", "param": "name", "value": 7}]}),
            ),
            (
                ApiError::parameter("name", Value::Null, "no"),
                400,
                json!({"errors": [{"message": "no", "param": "name"}]}),
            ),
            (ApiError::unauthorized(), 401, json!({"errors": [{"message": "Unauthorized."}]})),
            (ApiError::forbidden(), 403, json!({"errors": [{"message": "Forbidden."}]})),
        ];
        for (error, status, want) in cases {
            assert_eq!((error.status.as_u16(), body(&error)), (status, want), "{error:?}");
        }
    }

    #[test]
    fn several_mistakes_stand_in_one_answer() {
        let all = ApiError::all([
            ApiError::parameter("name", Value::Null, "one"),
            ApiError::parameter("ip_pool", Value::Null, "two"),
        ])
        .unwrap_err();
        assert_eq!(
            body(&all),
            json!({"errors": [
                {"message": "one", "param": "name"},
                {"message": "two", "param": "ip_pool"}
            ]})
        );
        assert_eq!(ApiError::all([]), Ok(()));
    }

    #[test]
    fn failures_of_the_store_are_told_apart() {
        let cases = [
            (StoreError::Busy, 503, "1900", true),
            (StoreError::ReadOnly, 503, "1900", true),
            (StoreError::Moved { path: "/data/postseal.db".into() }, 503, "1900", true),
            (StoreError::Full, 507, "1900", false),
            (StoreError::SchemaNewer, 500, "1500", false),
            (StoreError::NotFound(postseal_store::Thing::Pool), 500, "1500", false),
        ];
        for (error, status, code, passes) in cases {
            let told = ApiError::from_store(error);
            let body = body(&told);
            assert_eq!((told.status.as_u16(), &body["errors"][0]["code"]), (status, &json!(code)));
            assert_eq!(told.retry_after.is_some(), passes, "{body}");
            assert!(!body.to_string().contains("/data"), "{body}");
        }
    }

    #[test]
    fn a_passing_failure_says_when_to_come_back() {
        let response = ApiError::unavailable(&std::io::Error::other("away")).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
    }
}

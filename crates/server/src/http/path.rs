//! The part of a path that names a thing, as text, and query parameters.

use std::collections::HashMap;

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;

use super::error::{ApiError, Code};

/// The one variable part of a path, percent-decoded.
pub(super) struct Named(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Self(name)),
            Err(_) => Err(ApiError::coded(Code::Uri, "The path is not valid UTF-8")),
        }
    }
}

/// The parameters of the query. Of one that is given twice the last counts.
pub(super) struct Parameters(HashMap<String, String>);

impl Parameters {
    /// The value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        match Query::<HashMap<String, String>>::try_from_uri(&parts.uri) {
            Ok(Query(parameters)) => Ok(Self(parameters)),
            Err(_) => Err(ApiError::coded(Code::Params, "The query of the URI cannot be read")),
        }
    }
}

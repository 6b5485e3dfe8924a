//! `/healthz`, `/readyz` and `/metrics`: for load balancers, supervisors and Prometheus.
//!
//! They need no key and say nothing of tenants. `/healthz` answers as long as the process serves HTTP;
//! `/readyz` only once it can sign: a snapshot is loaded and the signing threads have made their first
//! signature, which is slow.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Api;
use super::error::ApiError;

/// What stands between the start of the process and its first signature.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Readiness {
    /// The process is still starting.
    #[default]
    Starting,
    /// It cannot sign now, for the reason given.
    NotReady(String),
    /// A snapshot is loaded and the signing threads are warm.
    Ready,
}

pub(super) async fn healthz() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

pub(super) async fn readyz(State(api): State<Arc<Api>>) -> Response {
    let readiness = api.readiness.borrow().clone();
    match readiness {
        Readiness::Ready => Json(json!({ "status": "ready" })).into_response(),
        Readiness::Starting => {
            let body = json!({ "status": "starting" });
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
        Readiness::NotReady(reason) => {
            let body = json!({ "status": "not ready", "reason": reason });
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
    }
}

pub(super) async fn metrics(State(api): State<Arc<Api>>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &api.figures) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => ApiError::internal(&error).into_response(),
    }
}

/// The media type of the OpenMetrics text format, version 1.0.0.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

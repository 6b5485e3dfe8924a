//! The HTTP API: `/api/v1`, in the shapes of SparkPost's API, and what operators watch.
//!
//! ```text
//!   /healthz  /readyz  /metrics                            health.rs
//!   /api/v1/sending-domains[/{domain}[/verify]]            v1/sending_domains/
//!   /api/v1/ip-pools[/{id}]                                v1/ip_pools/
//!   /api/v1/subaccounts[/summary|/{id}]                    v1/subaccounts/
//!   /api/v1/api-keys[/{id}]                                v1/api_keys/
//!   /api/v1/platform                                       v1/platform/
//! ```
//!
//! The folders mirror the paths, one file for each verb. A handler takes a permit (`auth`) before
//! anything else, so that who may do what stands in its signature, and hands the tenant on to each
//! question it asks the store: what is not the caller's does not exist for it.
//!
//! Success is `{"results": …}`, also after a creation always with status 200; a deletion is 204. Errors
//! have one envelope (`error`). A slash at the end of a path is ignored. Unknown query parameters and
//! unknown fields of a body are ignored.
//!
//! No answer and no log line holds a private key; an API key is in one answer, once, when it is made. A
//! panic ends one request with a 500, and no request takes longer than `REQUEST_TIMEOUT`.

mod ambient;
mod auth;
mod body;
mod error;
mod health;
mod path;
mod reply;
mod serve;
mod v1;

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::uri::{PathAndQuery, Uri};
use axum::middleware::{Next, from_fn, map_request};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use postseal_engine::NextHopName;
use postseal_keys::MasterKey;
use postseal_store::Store;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tower_http::catch_panic::CatchPanicLayer;

pub use self::ambient::{Ambient, NoRandomness};
pub use self::auth::NewApiKey;
use self::error::{ApiError, Code};
pub use self::health::Readiness;
pub use self::serve::{Settings, serve};
use crate::domain_check::DomainCheck;
use crate::metrics::Metrics;

/// What the API works with.
pub struct Api {
    /// Where tenants, domains, pools and keys are kept.
    pub store: Store,
    /// Under what new private keys are sealed.
    pub master_key: Arc<MasterKey>,
    /// Looks at key records in the DNS, and publishes those of our own zones.
    pub domain_check: Arc<DomainCheck>,
    /// The next hops of the configuration, to one of which a pool may send its mail.
    pub next_hops: Vec<NextHopName>,
    /// Time and randomness.
    pub ambient: Ambient,
    /// Whether this process can sign.
    pub readiness: watch::Receiver<Readiness>,
    /// The figures of the process.
    pub metrics: Metrics,
    /// All figures by name, as `/metrics` gives them out.
    pub figures: Registry,
    /// How many private keys are made at once.
    pub key_making: KeyMaking,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

/// Making an RSA key takes a tenth of a second of a core. One at a time, so that a caller who adds
/// thousands of domains leaves the other cores to the mail.
#[derive(Debug)]
pub struct KeyMaking(tokio::sync::Mutex<()>);

impl KeyMaking {
    /// Waits for those who came before; the turn ends when the guard is dropped.
    async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.lock().await
    }
}

impl Default for KeyMaking {
    fn default() -> Self {
        Self(tokio::sync::Mutex::new(()))
    }
}

/// The whole of what is served over HTTP.
///
/// The caller serves it with [`serve()`], or another way that says who the peer is (`ConnectInfo<SocketAddr>`):
/// API keys may be limited to addresses of clients, and such a key is refused where the address is not known.
pub fn router(api: Arc<Api>) -> Router {
    let panics = api.metrics.panics.clone();
    let after_panic = move |panic: Box<dyn Any + Send>| -> Response {
        panics.inc();
        ApiError::internal(&Panicked::new(panic.as_ref())).into_response()
    };
    let routes = Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .nest("/api/v1", v1::routes())
        .method_not_allowed_fallback(wrong_method)
        .fallback(no_such_path)
        .with_state(api)
        .layer(from_fn(within_time))
        .layer(CatchPanicLayer::custom(after_panic))
        .layer(from_fn(log_changes));
    // Layers of the outer router run before the inner one chooses a route.
    Router::new().fallback_service(routes).layer(map_request(without_final_slash))
}

/// Drops slashes at the end of the path.
async fn without_final_slash(mut request: Request) -> Request {
    let uri = request.uri();
    let path = uri.path();
    let kept = path.trim_end_matches('/');
    if kept.len() < path.len() && !kept.is_empty() {
        let shorter = match uri.query() {
            Some(query) => format!("{kept}?{query}"),
            None => kept.to_owned(),
        };
        if let Ok(path_and_query) = shorter.parse::<PathAndQuery>() {
            let mut parts = uri.clone().into_parts();
            parts.path_and_query = Some(path_and_query);
            if let Ok(uri) = Uri::from_parts(parts) {
                *request.uri_mut() = uri;
            }
        }
    }
    request
}

/// Answers for a request that takes too long. What it had begun to write is not kept.
async fn within_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(elapsed) => ApiError::unavailable(&elapsed).into_response(),
    }
}

/// Leaves a line in the log for what may have changed something: method, path and status. Keys are in
/// none of these.
async fn log_changes(request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    tracing::info!(event = "http_change", %method, path, status = response.status().as_u16());
    response
}

async fn wrong_method(request: Request) -> ApiError {
    let (method, path) = (request.method(), request.uri().path());
    ApiError::coded(Code::Method, format!("{method} is not supported on {path}"))
}

async fn no_such_path(State(_): State<Arc<Api>>, request: Request) -> ApiError {
    ApiError::coded(Code::Uri, format!("There is nothing at {}", request.uri().path()))
}

/// What a panic said, for the log.
#[derive(Debug, thiserror::Error)]
#[error("panic: {0}")]
struct Panicked(String);

impl Panicked {
    fn new(panic: &(dyn Any + Send)) -> Self {
        let text = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned());
        Self(text.unwrap_or_else(|| "without a text".to_owned()))
    }
}

/// The longest that a request may take. The slowest, a look at the DNS, has bounds of its own below it.
/// No official reference.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

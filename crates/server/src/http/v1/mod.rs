//! Version 1 of the API: one folder for each resource, one file for each verb.

mod api_keys;
mod ip_pools;
mod platform;
mod sending_domains;
mod subaccounts;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use super::Api;

/// The paths under `/api/v1`.
pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route(
            "/sending-domains",
            get(sending_domains::list::list).post(sending_domains::create::create),
        )
        .route(
            "/sending-domains/{domain}",
            get(sending_domains::get::get).delete(sending_domains::delete::delete),
        )
        .route("/sending-domains/{domain}/verify", post(sending_domains::verify::verify))
        .route("/ip-pools", get(ip_pools::list::list).post(ip_pools::create::create))
        .route(
            "/ip-pools/{id}",
            get(ip_pools::get::get).put(ip_pools::update::update).delete(ip_pools::delete::delete),
        )
        .route("/subaccounts", get(subaccounts::list::list).post(subaccounts::create::create))
        .route("/subaccounts/summary", get(subaccounts::summary::summary))
        .route("/subaccounts/{id}", get(subaccounts::get::get).put(subaccounts::update::update))
        .route("/api-keys", get(api_keys::list::list).post(api_keys::create::create))
        .route(
            "/api-keys/{id}",
            get(api_keys::get::get).put(api_keys::update::update).delete(api_keys::delete::delete),
        )
        .route("/platform", get(platform::get::get).put(platform::update::update))
}

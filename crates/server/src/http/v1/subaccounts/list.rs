//! `GET /api/v1/subaccounts`: all subaccounts, or those that filters let through, page by page.
//!
//! Without parameters the answer has all of them. With one of `cursor` (`initial` first), `per_page`
//! (25 unless given, at most 100), `sort_by` (`id`, `name`, `status`), `order` (`asc`, `desc`), `name`,
//! `status`, `ip_pool` or `ids` it has one page, `total_count` and, if there is more, `links.next`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use postseal_store::{AccountStatus, Tenant};
use serde_json::{Value, json};

use super::shown;
use crate::http::Api;
use crate::http::auth::{Permit, ViewSubaccounts};
use crate::http::error::ApiError;
use crate::http::path::Parameters;
use crate::http::reply::Results;

pub(in crate::http::v1) async fn list(
    _: Permit<ViewSubaccounts>,
    State(api): State<Arc<Api>>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let page = PageRequest::read(&parameters)?;
    let mut tenants = api.store.tenants().await.map_err(ApiError::from_store)?;
    tenants.retain(|tenant| !tenant.id.is_primary());
    let Some(page) = page else {
        let rows = tenants.iter().map(shown).collect();
        return Ok(Results(Value::Array(rows)).into_response());
    };
    tenants.retain(|tenant| page.wants(tenant));
    page.sort(&mut tenants);
    let total_count = tenants.len();
    let rows: Vec<Value> =
        tenants.iter().skip(page.offset).take(page.per_page).map(shown).collect();
    let mut links = json!({});
    let next = page.offset.saturating_add(page.per_page);
    if next < total_count {
        links["next"] = json!(page.next_link(&parameters, next));
    }
    let body = json!({ "results": rows, "total_count": total_count, "links": links });
    Ok(Json(body).into_response())
}

/// Which page of which subaccounts is wanted.
struct PageRequest<'a> {
    offset: usize,
    per_page: usize,
    sort_by: SortBy,
    descending: bool,
    name: Option<&'a str>,
    status: Option<AccountStatus>,
    ip_pool: Option<&'a str>,
    ids: Option<Vec<u32>>,
}

#[derive(Clone, Copy)]
enum SortBy {
    Id,
    Name,
    Status,
}

impl<'a> PageRequest<'a> {
    /// Reads the parameters; none if there is none that asks for a page.
    fn read(parameters: &'a Parameters) -> Result<Option<Self>, ApiError> {
        if PAGING_PARAMETERS.iter().all(|name| parameters.get(name).is_none()) {
            return Ok(None);
        }
        let wrong = |name: &'static str, message: &'static str| {
            ApiError::parameter(name, json!(parameters.get(name)), message)
        };
        let number =
            |name, text: &str, message| text.parse::<usize>().map_err(|_| wrong(name, message));
        let offset = match parameters.get("cursor") {
            None | Some("initial") => 0,
            Some(text) => number("cursor", text, "cursor must be `initial` or come from `links`")?,
        };
        let per_page = match parameters.get("per_page") {
            None => DEFAULT_PER_PAGE,
            Some(text) => number("per_page", text, PER_PAGE_MESSAGE)?,
        };
        if !(1..=MAX_PER_PAGE).contains(&per_page) {
            return Err(wrong("per_page", PER_PAGE_MESSAGE));
        }
        let sort_by = match parameters.get("sort_by") {
            None | Some("id") => SortBy::Id,
            Some("name") => SortBy::Name,
            Some("status") => SortBy::Status,
            Some(_) => return Err(wrong("sort_by", "sort_by must be id, name or status")),
        };
        let descending = match parameters.get("order") {
            None | Some("asc") => false,
            Some("desc") => true,
            Some(_) => return Err(wrong("order", "order must be asc or desc")),
        };
        let status = parameters
            .get("status")
            .map(str::parse)
            .transpose()
            .map_err(|_| wrong("status", "status must be active, suspended or terminated"))?;
        let ids = parameters
            .get("ids")
            .map(|text| text.split(',').map(|id| id.trim().parse()).collect::<Result<_, _>>())
            .transpose()
            .map_err(|_| wrong("ids", "ids must be numbers, separated by commas"))?;
        Ok(Some(Self {
            offset,
            per_page,
            sort_by,
            descending,
            name: parameters.get("name"),
            status,
            ip_pool: parameters.get("ip_pool"),
            ids,
        }))
    }

    fn wants(&self, tenant: &Tenant) -> bool {
        let has_pool = |wanted: &str| {
            tenant.pool.as_ref().is_some_and(|pool| pool.as_str().eq_ignore_ascii_case(wanted))
        };
        self.name.is_none_or(|name| tenant.name.to_lowercase().contains(&name.to_lowercase()))
            && self.status.is_none_or(|status| tenant.status == status)
            && self.ip_pool.is_none_or(has_pool)
            && self.ids.as_ref().is_none_or(|ids| ids.contains(&tenant.id.get()))
    }

    fn sort(&self, tenants: &mut [Tenant]) {
        // The store gives them by number, and the sort is stable.
        match self.sort_by {
            SortBy::Id => {}
            SortBy::Name => tenants.sort_by_key(|tenant| tenant.name.to_lowercase()),
            SortBy::Status => tenants.sort_by_key(|tenant| tenant.status.as_str()),
        }
        if self.descending {
            tenants.reverse();
        }
    }

    fn next_link(&self, parameters: &Parameters, next: usize) -> String {
        let mut link = format!("/api/v1/subaccounts?cursor={next}&per_page={}", self.per_page);
        for name in ["sort_by", "order", "name", "status", "ip_pool", "ids"] {
            if let Some(value) = parameters.get(name) {
                link.push_str(&format!("&{name}={}", percent_encoded(value)));
            }
        }
        link
    }
}

/// A value in a query (RFC 3986 §2.1): all but unreserved characters are encoded.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(octet));
        } else {
            encoded.push_str(&format!("%{octet:02X}"));
        }
    }
    encoded
}

/// With one of these the answer comes in pages.
const PAGING_PARAMETERS: &[&str] =
    &["cursor", "per_page", "sort_by", "order", "ip_pool", "status", "name", "ids", "option"];

/// SparkPost's sizes of a page.
const DEFAULT_PER_PAGE: usize = 25;
const MAX_PER_PAGE: usize = 100;
const PER_PAGE_MESSAGE: &str = "per_page must be a number from 1 to 100";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_links_are_encoded() {
        for (text, want) in [("a", "a"), ("a b&c=ü", "a%20b%26c%3D%C3%BC"), ("1,2", "1%2C2")] {
            assert_eq!(percent_encoded(text), want);
        }
    }
}

//! Answers of success, and how they write times.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use postseal_dkim::UnixTime;
use serde_json::{Value, json};

/// `{"results": …}` with status 200, also for what was created.
pub(super) struct Results(pub(super) Value);

impl IntoResponse for Results {
    fn into_response(self) -> Response {
        Json(json!({ "results": self.0 })).into_response()
    }
}

/// Status 204, after a deletion.
pub(super) struct Deleted;

impl IntoResponse for Deleted {
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

/// A time as sending domains have it: `2026-03-01T12:00:00+00:00`.
pub(super) fn offset_time(time: UnixTime) -> String {
    format!("{}+00:00", date_and_time(time))
}

/// A time as everything else has it: `2026-03-01T12:00:00Z`.
pub(super) fn utc_time(time: UnixTime) -> String {
    format!("{}Z", date_and_time(time))
}

fn date_and_time(time: UnixTime) -> String {
    // What lies beyond the year 9999 cannot be written, and does not occur.
    let timestamp = i64::try_from(time.as_secs())
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .unwrap_or(Timestamp::MAX);
    timestamp.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(offset_time(UnixTime(0)), "1970-01-01T00:00:00+00:00");
        assert_eq!(utc_time(UnixTime(1_795_000_000)), "2026-11-18T11:06:40Z");
        assert!(utc_time(UnixTime(u64::MAX)).starts_with("9999-12-"));
    }
}

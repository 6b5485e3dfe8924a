//! The open connections of a front door: each is counted while it lasts, a panic ends one alone, and at a shutdown
//! they get a while to end by themselves.

use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use crate::metrics::{FrontDoor, Metrics};

/// Counts a connection as long as it is open, also if its task panics or is cut off.
pub(crate) struct Open {
    gauge: Gauge,
    _permit: OwnedSemaphorePermit,
}

impl Open {
    pub(crate) fn new(gauge: Gauge, permit: OwnedSemaphorePermit) -> Self {
        gauge.inc();
        Self { gauge, _permit: permit }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

/// Notes how the task of a connection ended.
pub(crate) fn ended(front_door: FrontDoor, metrics: &Metrics, ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        metrics.panics.inc();
        let front_door = front_door.as_str();
        tracing::error!(front_door, "a connection panicked, and ended alone");
    }
}

/// Waits for the connections to end, at most [`DRAIN`]; then cuts them off.
pub(crate) async fn drain(front_door: FrontDoor, metrics: &Metrics, mut open: JoinSet<()>) {
    let drained = timeout(DRAIN, async {
        while let Some(result) = open.join_next().await {
            ended(front_door, metrics, result);
        }
    });
    if drained.await.is_err() {
        let front_door = front_door.as_str();
        tracing::warn!(front_door, connections = open.len(), "connections are cut off");
        open.shutdown().await;
    }
}

/// How long connections may go on after the shutdown began. systemd kills after 90 s.
pub const DRAIN: Duration = Duration::from_secs(30);

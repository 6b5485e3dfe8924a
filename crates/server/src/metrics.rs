//! The figures at `/metrics`, in OpenMetrics text.
//!
//! Labels have few values each: front doors, verdicts, rows of the rule. Domains and tenants are
//! never labels, since there may be millions of them.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{
    EncodeLabelSet, EncodeLabelValue, EncodeMetric, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Every figure of the process. Cloning shares the figures.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Messages by front door, row of the rule and verdict.
    pub messages: Family<MessageLabels, Counter>,
    /// Signatures that were made, by what they are for.
    pub signatures: Family<SignatureLabels, Counter>,
    /// What the rule found worth counting: a From of another tenant, a missing feedback loop, and the like.
    pub decisions: Family<CounterLabels, Counter>,
    /// Signatures that were left out because the message already had a valid one of ours.
    pub already_signed: Counter,
    /// Signatures that could not be made: the key did not open, or signing failed.
    pub signing_failures: Counter,
    /// Open connections by front door.
    pub connections: Family<FrontDoorLabels, Gauge>,
    /// Connections that were refused because there were too many.
    pub connections_refused: Family<FrontDoorLabels, Counter>,
    /// Connections that ended with a violation of the protocol.
    pub protocol_errors: Family<FrontDoorLabels, Counter>,
    /// Tries to authenticate that failed.
    pub authentication_failures: Counter,
    /// Octets of messages that the proxy holds, by place.
    pub held_octets: Family<HeldLabels, Gauge>,
    /// Messages that were deferred because the proxy held too much.
    pub held_refusals: Counter,
    /// The revision of the snapshot that signs.
    pub snapshot_revision: Gauge<i64>,
    /// Unix time at which the snapshot was last known to be the newest.
    pub snapshot_confirmed: Gauge<f64, AtomicU64>,
    /// Times that the store could not be read for changes.
    pub snapshot_failures: Counter,
    /// Changed rows of the store that could not be read.
    pub damaged_rows: Counter,
    /// Panics that were caught; each ended one connection or one request.
    pub panics: Counter,
}

/// Which way a message came in.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub enum FrontDoor {
    /// The milter.
    Milter,
    /// The SMTP proxy.
    Smtp,
}

impl FrontDoor {
    /// The word in log lines.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Milter => "milter",
            Self::Smtp => "smtp",
        }
    }
}

/// Labels of a front door's figures.
#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct FrontDoorLabels {
    /// Which one.
    pub front_door: FrontDoor,
}

/// Labels of [`Metrics::messages`].
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct MessageLabels {
    /// Which way the message came in.
    pub front_door: FrontDoor,
    /// The row of the rule that decided.
    pub row: &'static str,
    /// `signed`, `unsigned`, `refused`, `deferred`.
    pub verdict: &'static str,
}

/// Labels of [`Metrics::signatures`].
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct SignatureLabels {
    /// What the signature is for.
    pub purpose: &'static str,
    /// The algorithm's name in `a=`.
    pub algorithm: &'static str,
}

/// Labels of [`Metrics::decisions`].
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct CounterLabels {
    /// The word for it.
    pub what: &'static str,
}

/// Labels of [`Metrics::held_octets`].
#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct HeldLabels {
    /// `memory` or `disk`.
    pub place: &'static str,
}

impl Metrics {
    /// Names every figure in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("postseal");
        registry.register(
            "messages",
            "Messages by front door, row of the signing rule and verdict",
            self.messages.clone(),
        );
        registry.register("signatures", "Signatures made", self.signatures.clone());
        registry.register(
            "decisions",
            "What the signing rule found worth counting",
            self.decisions.clone(),
        );
        registry.register(
            "already_signed",
            "Signatures left out because the message had a valid one of ours",
            self.already_signed.clone(),
        );
        registry.register(
            "signing_failures",
            "Signatures that could not be made",
            self.signing_failures.clone(),
        );
        registry.register("connections", "Open connections", self.connections.clone());
        registry.register(
            "connections_refused",
            "Connections refused because there were too many",
            self.connections_refused.clone(),
        );
        registry.register(
            "protocol_errors",
            "Connections ended by a violation of the protocol",
            self.protocol_errors.clone(),
        );
        registry.register(
            "authentication_failures",
            "Failed tries to authenticate",
            self.authentication_failures.clone(),
        );
        registry.register("held_octets", "Octets of held messages", self.held_octets.clone());
        registry.register(
            "held_refusals",
            "Messages deferred because too much was held",
            self.held_refusals.clone(),
        );
        registry.register(
            "snapshot_revision",
            "Revision of the snapshot that signs",
            self.snapshot_revision.clone(),
        );
        registry.register(
            "snapshot_confirmed_timestamp_seconds",
            "When the snapshot was last known to be the newest",
            self.snapshot_confirmed.clone(),
        );
        registry.register(
            "snapshot_failures",
            "Times that the store could not be read for changes",
            self.snapshot_failures.clone(),
        );
        registry.register(
            "damaged_rows",
            "Changed rows of the store that could not be read",
            self.damaged_rows.clone(),
        );
        registry.register("panics", "Panics that were caught", self.panics.clone());
        registry.register("log_lines_lost", "Log lines that could not be written", LostLogLines);
    }
}

/// Reads the count of lost log lines when it is asked for.
#[derive(Debug)]
struct LostLogLines;

impl EncodeMetric for LostLogLines {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> std::fmt::Result {
        encoder.encode_counter::<NoLabelSet, _, u64>(&crate::log::lost_lines(), None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

//! The sentence of `postseal verify` that says why a signature ended as it did.

use postseal_dkim::{AuthResult, Header, SignatureReport};

/// What the report says; and of a signature that fails, which fields were changed by its copies of them (`z=`).
pub(super) fn reason(report: &SignatureReport, header: &Header<'_>) -> String {
    let mut reason = report.reason();
    if report.outcome.result() != AuthResult::Fail {
        return reason;
    }
    let Some(details) = report.details(header) else { return reason };
    let changed: Vec<_> = details.fields_unlike_copies().collect();
    let shown: Vec<_> =
        changed.iter().copied().filter(|name| name.len() <= MAX_NAME).take(MAX_NAMES).collect();
    if !shown.is_empty() {
        reason.push_str("; by the copies in z=, changed or gone since: ");
        reason.push_str(&shown.join(", "));
        if shown.len() < changed.len() {
            reason.push_str(" and more");
        }
    }
    reason
}

/// So that a line stays one that a person reads.
const MAX_NAMES: usize = 5;

/// The longest name that is told, in octets. Registered names have up to 40.
const MAX_NAME: usize = 64;

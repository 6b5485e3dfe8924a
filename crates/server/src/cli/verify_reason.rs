//! The sentence of `postseal verify` that says why a signature ended as it did.

use postseal_dkim::{AuthResult, SignatureDetails, SignatureReport};

/// What the report says; and of a signature that fails, which fields are not as its copies (`z=`) have them.
pub(super) fn reason(report: &SignatureReport, details: Option<&SignatureDetails<'_>>) -> String {
    let mut reason = report.reason();
    let Some(details) = details.filter(|_| needs_details(report)) else { return reason };
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

/// Says whether there is anything that details would add.
pub(super) fn needs_details(report: &SignatureReport) -> bool {
    report.outcome.result() == AuthResult::Fail
}

/// So that a line stays one that a person reads.
const MAX_NAMES: usize = 5;

/// The longest name that is told, in octets. Registered names have up to 40.
const MAX_NAME: usize = 64;

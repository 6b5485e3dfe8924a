//! The sentence of `postseal verify` that says why a signature ended as it did.

use postseal_dkim::{Outcome, SignatureDetails, SignatureReport};

/// What the report says, and of a signature that does not verify which fields are not as its copies (`z=`) have them.
pub(super) fn reason(report: &SignatureReport, details: Option<&SignatureDetails<'_>>) -> String {
    let mut reason = report.reason();
    if report.outcome != Outcome::SignatureMismatch {
        return reason;
    }
    let changed: Vec<_> =
        details.into_iter().flat_map(SignatureDetails::fields_unlike_copies).collect();
    if let Some((first, others)) = changed.split_first() {
        reason.push_str("; by the copies in z=, what was signed had another ");
        reason.push_str(first);
        for name in others.iter().take(MAX_OTHER_NAMES) {
            reason.push_str(", ");
            reason.push_str(name);
        }
        if others.len() > MAX_OTHER_NAMES {
            reason.push_str(" and more");
        }
    }
    reason
}

/// So that a line stays one that a person reads.
const MAX_OTHER_NAMES: usize = 4;

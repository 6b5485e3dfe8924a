//! What other verifiers are known to read otherwise than we do, and the section that decides.
//!
//! Each class says which verifiers differ, how a message is told to be of it, and how many of the four have to
//! agree with us all the same. A difference that no class explains is a mistake: theirs, and then it wants an entry,
//! or ours.

use postseal_testkit::message;
use postseal_testkit::verifiers::Verifier;

/// Why `verifier` may not pass a message that we signed, if there is a known reason.
pub(crate) fn explain(verifier: Verifier, message: &[u8], agreeing: usize) -> Option<&'static str> {
    KNOWN
        .iter()
        .find(|known| {
            known.verifiers.contains(&verifier)
                && agreeing >= known.agreeing
                && (known.is_of)(message)
        })
        .map(|known| known.reason)
}

struct Difference {
    /// The section that decides, and what they do instead.
    reason: &'static str,
    /// Who differs.
    verifiers: &'static [Verifier],
    /// How many of the others agree with us at least.
    agreeing: usize,
    is_of: fn(&[u8]) -> bool,
}

const KNOWN: [Difference; 7] = [
    Difference {
        reason: "RFC 5322 §2.2: a line of the header section is no field, and the message is given up",
        verifiers: &[Verifier::Dkimpy, Verifier::OpenDkim],
        agreeing: 1,
        is_of: has_odd_line,
    },
    Difference {
        reason: "RFC 6376 §6.1: another signature is malformed, and the message is given up",
        verifiers: &[Verifier::OpenDkim],
        agreeing: 1,
        is_of: has_other_signature,
    },
    Difference {
        reason: "RFC 5322 §4.5: white space in front of a colon, and the field is not found",
        verifiers: &[Verifier::Dkimpy, Verifier::OpenDkim],
        agreeing: 1,
        is_of: has_space_before_colon,
    },
    Difference {
        reason: "RFC 6376 §3.5: h= has no bound; a field of more than 4,096 octets is cut",
        verifiers: &[Verifier::OpenDkim],
        agreeing: 2,
        is_of: has_long_signature,
    },
    Difference {
        reason: "RFC 5322 §3.6.8: a field name may have a semicolon; the message is given up",
        verifiers: &[Verifier::OpenDkim],
        agreeing: 2,
        is_of: has_semicolon_in_name,
    },
    // With these two nobody may agree, since each of the others has a reading of its own.
    Difference {
        reason: "RFC 5322 §4.5: no folding in front of a colon; such a line is taken for the field it names, or the \
                 message is given up",
        verifiers: &Verifier::ALL,
        agreeing: 0,
        is_of: has_fold_before_colon,
    },
    Difference {
        reason: "RFC 6376 §2.8: white space is space and tab; VT and FF are taken for it",
        verifiers: &Verifier::ALL,
        agreeing: 0,
        is_of: has_vt_or_ff,
    },
];

fn has_odd_line(message: &[u8]) -> bool {
    fields(message).iter().any(|field| {
        let Some(name) = name(field) else { return true };
        name.is_empty() || !name.iter().all(|octet| (b'!'..=b'~').contains(octet))
    })
}

fn has_other_signature(message: &[u8]) -> bool {
    let is_signature = |field: &&&[u8]| {
        name(field).is_some_and(|name| name.eq_ignore_ascii_case(b"DKIM-Signature"))
    };
    fields(message).iter().filter(is_signature).count() > 1
}

fn has_space_before_colon(message: &[u8]) -> bool {
    fields(message).iter().any(|field| {
        let before_colon = field.split(|octet| *octet == b':').next().unwrap_or_default();
        before_colon.ends_with(b" ") || before_colon.ends_with(b"\t")
    })
}

fn has_semicolon_in_name(message: &[u8]) -> bool {
    fields(message).iter().any(|field| name(field).is_some_and(|name| name.contains(&b';')))
}

fn has_fold_before_colon(message: &[u8]) -> bool {
    fields(message).iter().any(|field| {
        let before_colon = field.split(|octet| *octet == b':').next().unwrap_or_default();
        before_colon.len() < field.len() && before_colon.contains(&b'\n')
    })
}

fn has_long_signature(message: &[u8]) -> bool {
    fields(message).first().is_some_and(|field| field.len() > 4096)
}

fn has_vt_or_ff(message: &[u8]) -> bool {
    message.contains(&0x0b) || message.contains(&0x0c)
}

fn fields(message: &[u8]) -> Vec<&[u8]> {
    message::fields(message::split(message).0)
}

/// What stands in front of the colon, without white space.
fn name(field: &[u8]) -> Option<&[u8]> {
    let colon = field.iter().position(|octet| *octet == b':')?;
    let blanks =
        field[..colon].iter().rev().take_while(|octet| matches!(octet, b' ' | b'\t')).count();
    Some(&field[..colon - blanks])
}

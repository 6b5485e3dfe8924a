//! From what a verifier found to the field that says it (RFC 8601 §2.7.1, RFC 6008).

use std::borrow::Cow;

use super::{
    AuthservId, Keyword, MAX_TEXT_LEN, MethodResult, Property, ResultWord, ResultsField, Text,
};
use crate::encoding::encode_base64;
use crate::outcome::{Outcome, Remarks};
use crate::report::{Report, SignatureReport};
use crate::signature::Identity;

impl ResultsField {
    /// Writes what became of the signatures of a message: one `dkim=` for each, from the top, with
    /// `header.d`, `header.i`, `header.s`, `header.a` and `header.b` as far as they can be read, and a
    /// reason unless it simply passes. A message without signatures gets `dkim=none`.
    ///
    /// Of more than [`MAX_REPORTED_SIGNATURES`], those that were checked have precedence.
    #[must_use]
    pub fn of_report(authserv_id: &AuthservId<'_>, report: &Report) -> Self {
        let signatures = selected(&report.signatures);
        let starts = starts_of_signatures(&signatures);
        let mut results: Vec<_> =
            signatures.iter().zip(&starts).map(|(one, start)| result(one, start)).collect();
        if results.is_empty() {
            results.push(MethodResult::new(DKIM, ResultWord::None.keyword()));
        }
        Self::of_few(authserv_id, &results)
    }
}

/// The signatures that the field has room for. Those that nobody checked make room for the others.
fn selected(signatures: &[SignatureReport]) -> Vec<&SignatureReport> {
    let is_checked = |signature: &SignatureReport| signature.outcome != Outcome::NotChecked;
    let checked = signatures.iter().filter(|signature| is_checked(signature)).count();
    let mut room = MAX_REPORTED_SIGNATURES;
    let mut spare = room.saturating_sub(checked);
    signatures
        .iter()
        .filter(|signature| {
            let part = if is_checked(signature) { &mut room } else { &mut spare };
            let has_room = *part > 0;
            *part = part.saturating_sub(1);
            has_room
        })
        .collect()
}

fn result<'a>(signature: &'a SignatureReport, start: &'a str) -> MethodResult<'a> {
    let SignatureReport { signing_domain, selector, algorithm, identity, outcome, .. } = signature;
    let mut result = MethodResult::new(DKIM, ResultWord::from(outcome.result()).keyword());
    if *outcome != Outcome::Verified(Remarks::default()) {
        result.reason = Text::new(signature.reason()).ok();
    }
    let values: [(_, Option<Cow<'a, str>>); 5] = [
        ("d", signing_domain.as_ref().map(|domain| domain.as_str().into())),
        ("i", identity.as_ref().map(|identity| plain(identity).into())),
        ("s", selector.as_ref().map(|selector| selector.as_str().into())),
        ("a", algorithm.as_deref().map(Into::into)),
        ("b", Some(start.into()).filter(|_| !start.is_empty())),
    ];
    // What is too long for a line is left out.
    result.properties.extend(values.into_iter().filter_map(|(name, value)| {
        Some(Property::new(HEADER, Keyword::literal(name), Text::new(value?).ok()?))
    }));
    result
}

/// The value of `i=` with all in its local part encoded that a reader of this field could take for
/// something else: quotes and backslashes, which some do not know, and a sign in front of the last. The
/// encoding of §2.11 lets any octet be written so.
fn plain(identity: &Identity) -> String {
    let is_plain =
        |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-./=?^_`{|}~".contains(&octet);
    let value = identity.to_tag_value();
    let (local_part, domain) = value.rsplit_once('@').unwrap_or_default();
    let mut text = String::new();
    // The value of the tag has no octets beyond ASCII.
    for octet in local_part.bytes() {
        if is_plain(octet) {
            text.push(char::from(octet));
        } else {
            text.push_str(&format!("={octet:02X}"));
        }
    }
    text + "@" + domain
}

/// For each signature the start of `b=`: eight characters, or as many more as tell it from the others
/// of the same domain and selector (RFC 6008 §4). Two that are equal stay so.
fn starts_of_signatures(signatures: &[&SignatureReport]) -> Vec<String> {
    let texts: Vec<_> = signatures
        .iter()
        .map(|signature| {
            let octets = signature.signature.as_deref().unwrap_or_default();
            encode_base64(octets.get(..MAX_START_OCTETS).unwrap_or(octets))
        })
        .collect();
    let all = || signatures.iter().zip(&texts);
    all()
        .map(|(one, text)| {
            let is_rival = |other: &SignatureReport| {
                other.signing_domain == one.signing_domain && other.selector == one.selector
            };
            let needed = all()
                .filter(|(other, rival)| is_rival(other) && *rival != text)
                .map(|(_, rival)| {
                    text.bytes().zip(rival.bytes()).take_while(|(a, b)| a == b).count() + 1
                })
                .fold(MIN_START_LEN, usize::max);
            text.chars().take(needed).collect()
        })
        .collect()
}

const DKIM: Keyword<'static> = Keyword::literal("dkim");
const HEADER: Keyword<'static> = Keyword::literal("header");

/// How much of `b=` is told at least (RFC 6008 §4).
const MIN_START_LEN: usize = 8;

/// How much of `b=` is looked at: what fits into a text as base64.
const MAX_START_OCTETS: usize = MAX_TEXT_LEN / 4 * 3;

/// How many signatures of a message are told. More than a verifier checks by default, and few enough
/// that their longest values stay within [`super::MAX_LEN`].
pub const MAX_REPORTED_SIGNATURES: usize = 25;

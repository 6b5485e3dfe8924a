//! Laws for fuzzers: each takes any bytes and panics if a law is broken.

use postseal_dkim::DomainName;

use crate::author::{Author, MAX_FROM_LEN, MAX_MAILBOXES};

/// The name of a fuzz target, and its law.
pub type Target = (&'static str, fn(&[u8]));

/// The fuzz targets of this crate.
pub const LAWS: &[Target] = &[("author", author)];

/// A From that is taken has one reading: a slow one, the one behind a fold, the one with another mailbox
/// after it, and that of its addresses alone are all the same.
fn author(input: &[u8]) {
    let Ok(author) = Author::parse(input) else { return };
    let slow = domains_after_ats(input);
    assert_eq!(author.mailboxes(), slow.len());
    let mut distinct: Vec<_> = Vec::new();
    for domain in &slow {
        if !distinct.contains(domain) {
            distinct.push(domain.clone());
        }
    }
    assert_eq!(author.domains(), distinct);
    let shared = if distinct.len() == 1 { distinct.first() } else { None };
    assert_eq!(author.domain(), shared);

    let addresses: Vec<_> = slow.iter().map(|domain| format!("<a@{domain}>")).collect();
    assert_eq!(Author::parse(addresses.join(", ").as_bytes()).as_ref(), Ok(&author));
    if input.len() + 20 < MAX_FROM_LEN && author.mailboxes() < MAX_MAILBOXES {
        // With white space behind it the fold would make an empty line, which is refused.
        if !input.starts_with(b" ") && !input.starts_with(b"\t") && !input.starts_with(b"\r") {
            let folded = [b"\r\n ", input].concat();
            assert_eq!(Author::parse(&folded).as_ref(), Ok(&author), "folded");
        }
        let more = Author::parse(&[input, b",b@more.example"].concat());
        assert_eq!(more.map(|more| more.mailboxes()), Ok(author.mailboxes() + 1), "one more");
    }
}

/// The domains after each `@` that stands outside quotes and comments, octet by octet.
fn domains_after_ats(value: &[u8]) -> Vec<DomainName> {
    let mut outside = Vec::new();
    let (mut is_quoted, mut depth, mut is_escaped) = (false, 0_u32, false);
    for octet in value {
        match octet {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted || depth > 0 => is_escaped = true,
            b'"' if depth == 0 => is_quoted = !is_quoted,
            b'(' if !is_quoted => depth += 1,
            b')' if !is_quoted => depth -= 1,
            _ if is_quoted || depth > 0 => {}
            _ => outside.push(*octet),
        }
    }
    let mut parts = outside.split(|octet| *octet == b'@');
    parts.next();
    let is_end = |octet: &u8| b" \t\r\n>,".contains(octet);
    let domain = |part: &[u8]| {
        let end = part.iter().position(is_end).unwrap_or(part.len());
        let text = part.get(..end).and_then(|text| str::from_utf8(text).ok());
        DomainName::parse(text.expect("a domain is UTF-8")).expect("a domain was taken")
    };
    parts.map(domain).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::LAWS;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn laws_hold_for_texts_of_from(
            pieces in prop::collection::vec("a@own.example|<a@b.example>|[\"(), <>@\\\\]|[a-z]{1,5}|\r\n ", 0..8),
        ) {
            for (_, law) in LAWS {
                law(pieces.concat().as_bytes());
            }
        }
    }
}

//! Domain names and selectors, in the one form in which they are compared.
//!
//! A name is parsed once and is then lower-case ASCII without a trailing dot: U-labels have become
//! A-labels (RFC 8616 §4, UTS 46 non-transitional), so that two spellings of a domain are equal as
//! values. Labels are letters, digits, hyphens and underscores (RFC 8553 needs the latter), which is
//! what DNS names of mail really have; whether a hyphen may stand at an end is left to the DNS.
//!
//! Limits are those of RFC 1035 §2.3.4: 63 octets a label, 253 a name in text form.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// A domain name such as the SDID, `d=` (§3.5).
///
/// Cloning is cheap. Order is that of the text, which groups nothing by parent.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DomainName(Arc<str>);

impl DomainName {
    /// Parses a domain name, with U-labels or A-labels, in any case.
    ///
    /// One trailing dot, the absolute form that DNS tools print, is taken and dropped.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let text = match text.strip_suffix('.') {
            Some(rest) if !rest.is_empty() => rest,
            Some(_) | None => text,
        };
        checked(text).map(Self)
    }

    /// The name as lower-case ASCII without a trailing dot.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Says whether this name is `other` or lies below it.
    ///
    /// Labels are compared whole: `badexample.com` is not below `example.com`.
    #[must_use]
    pub fn is_same_or_subdomain_of(&self, other: &Self) -> bool {
        self.0
            .strip_suffix(other.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }

    /// The name without its first label; none for a name of one label.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let (_, rest) = self.0.split_once('.')?;
        Some(Self(rest.into()))
    }

    /// The number of labels, at least one.
    #[must_use]
    pub fn label_count(&self) -> usize {
        1 + self.0.bytes().filter(|octet| *octet == b'.').count()
    }
}

impl AsRef<str> for DomainName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Lets a map keyed by names be asked with a lower-case A-label string.
impl Borrow<str> for DomainName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for DomainName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

/// A selector, `s=` (§3.1): one or more labels that name a key of a domain.
///
/// The text has the form of a domain name. A dot in it is a label boundary in the DNS.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Selector(Arc<str>);

impl Selector {
    /// Parses a selector, with U-labels or A-labels, in any case. A trailing dot is an error.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        checked(text).map(Self)
    }

    /// The selector as lower-case ASCII.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Selector {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Lets a map keyed by selectors be asked with a lower-case A-label string.
impl Borrow<str> for Selector {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Selector {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

/// The owner name of a key record, `<selector>._domainkey.<domain>` (§3.6.2.1).
///
/// Fails only if the whole is longer than a name may be.
pub fn key_record_name(selector: &Selector, domain: &DomainName) -> Result<DomainName, NameError> {
    let parts = [selector.as_str(), ".", KEY_NAMESPACE, ".", domain.as_str()];
    let mut octets = [0; MAX_NAME_LEN];
    let mut len = 0;
    for part in parts {
        let place = octets.get_mut(len..len + part.len()).ok_or(NameError::TooLong)?;
        place.copy_from_slice(part.as_bytes());
        len += part.len();
    }
    let name = octets.get(..len).and_then(|name| str::from_utf8(name).ok());
    Ok(DomainName(name.expect("names are ASCII").into()))
}

/// Why a text is not a domain name or selector.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing at all.
    #[error("the name is empty")]
    Empty,
    /// Two dots in a row, a leading dot, or a trailing one where none may stand.
    #[error("the name has an empty label (a dot at an end, or two in a row)")]
    EmptyLabel,
    /// A label of more than [`MAX_LABEL_LEN`] octets as A-label.
    #[error("a label of the name is longer than {MAX_LABEL_LEN} octets")]
    LabelTooLong,
    /// More than [`MAX_NAME_LEN`] octets as A-labels.
    #[error("the name is longer than {MAX_NAME_LEN} octets")]
    TooLong,
    /// A character that no mail domain has.
    #[error("the name has a character other than letters, digits, hyphen and underscore")]
    BadCharacter,
    /// Text that UTS 46 does not allow in a domain name.
    #[error("the name is not a valid internationalised domain name")]
    BadUnicode,
}

/// Brings a name into the form in which it is compared.
fn checked(text: &str) -> Result<Arc<str>, NameError> {
    if text.len() > MAX_INPUT_LEN {
        return Err(NameError::TooLong);
    }
    if text.is_ascii() {
        check_labels(text)?;
        return Ok(if text.bytes().any(|octet| octet.is_ascii_uppercase()) {
            text.to_ascii_lowercase().into()
        } else {
            text.into()
        });
    }
    let ascii = idna::domain_to_ascii_cow(text.as_bytes(), idna::AsciiDenyList::EMPTY)
        .map_err(|_| NameError::BadUnicode)?;
    check_labels(&ascii)?;
    Ok(ascii.into())
}

/// Checks the rules of RFC 1035 §2.3.4 and the alphabet.
fn check_labels(ascii: &str) -> Result<(), NameError> {
    if ascii.is_empty() {
        return Err(NameError::Empty);
    }
    if ascii.len() > MAX_NAME_LEN {
        return Err(NameError::TooLong);
    }
    for label in ascii.as_bytes().split(|octet| *octet == b'.') {
        if label.is_empty() {
            return Err(NameError::EmptyLabel);
        }
        if label.len() > MAX_LABEL_LEN {
            return Err(NameError::LabelTooLong);
        }
        if !label.iter().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
        {
            return Err(NameError::BadCharacter);
        }
    }
    Ok(())
}

/// The label under which the keys of a domain stand (§3.6.2.1).
const KEY_NAMESPACE: &str = "_domainkey";

/// The longest label, in octets (RFC 1035 §2.3.4).
pub const MAX_LABEL_LEN: usize = 63;

/// The longest name in text form without its final dot (RFC 1035 §2.3.4 counts 255 on the wire).
pub const MAX_NAME_LEN: usize = 253;

/// The longest text that is looked at: a name of U-labels is longer in UTF-8 than as A-labels, by no
/// more than this allows. No official reference; it bounds the work of the conversion.
const MAX_INPUT_LEN: usize = 4 * MAX_NAME_LEN;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn brings_names_into_one_form() {
        let cases = [
            ("example.com", "example.com"),
            ("Example.COM", "example.com"),
            ("example.com.", "example.com"),
            ("com", "com"),
            ("a_b.example", "a_b.example"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.example", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
            // Non-transitional: sharp s stays itself.
            ("straße.example", "xn--strae-oqa.example"),
            ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ];
        for (input, want) in cases {
            assert_eq!(DomainName::parse(input).unwrap().as_str(), want, "{input:?}");
        }
    }

    #[test]
    fn rejects_what_is_no_name() {
        let long_label = format!("{}.example", "a".repeat(64));
        let long_name = format!("{}.example", vec!["a".repeat(49); 5].join("."));
        let huge = "ü".repeat(100_000);
        let cases = [
            ("", NameError::Empty),
            (".", NameError::EmptyLabel),
            ("..", NameError::EmptyLabel),
            ("a..b", NameError::EmptyLabel),
            (".a", NameError::EmptyLabel),
            ("a b", NameError::BadCharacter),
            ("a\r\nb", NameError::BadCharacter),
            ("a;b", NameError::BadCharacter),
            ("a@b", NameError::BadCharacter),
            ("a\u{0}", NameError::BadCharacter),
            ("。ü", NameError::EmptyLabel),
            ("ü b", NameError::BadCharacter),
            ("\u{fffd}.example", NameError::BadUnicode),
            (long_label.as_str(), NameError::LabelTooLong),
            (long_name.as_str(), NameError::TooLong),
            (huge.as_str(), NameError::TooLong),
        ];
        for (input, want) in cases {
            assert_eq!(DomainName::parse(input), Err(want), "{input:?}");
        }
    }

    #[test]
    fn the_longest_names_are_taken() {
        let name = |octets: usize| "a23456789.".chars().cycle().take(octets).collect::<String>();
        assert_eq!(DomainName::parse(&name(253)).unwrap().as_str().len(), MAX_NAME_LEN);
        assert_eq!(DomainName::parse(&name(254)), Err(NameError::TooLong));
        let label = "a".repeat(MAX_LABEL_LEN);
        assert_eq!(DomainName::parse(&label).unwrap().as_str(), label);

        // Long in UTF-8 and short as A-labels: one character again and again, and one that means nothing.
        let long = vec!["\u{20000}".repeat(45); 4].join(".");
        assert!(long.len() > 700);
        assert!(DomainName::parse(&long).unwrap().as_str().len() < MAX_NAME_LEN);
        let padded = |octets: usize| {
            let end = if octets.is_multiple_of(2) { "a.bc" } else { "a.bcd" };
            "\u{ad}".repeat((octets - 4) / 2) + end
        };
        assert_eq!(padded(MAX_INPUT_LEN).len(), MAX_INPUT_LEN);
        assert_eq!(DomainName::parse(&padded(MAX_INPUT_LEN)).unwrap().as_str(), "a.bc");
        assert_eq!(DomainName::parse(&padded(MAX_INPUT_LEN + 1)), Err(NameError::TooLong));
    }

    #[test]
    fn names_are_found_and_shown_by_their_text() {
        let domain: DomainName = "Example.COM".parse().unwrap();
        let selector: Selector = "S1".parse().unwrap();
        assert_eq!(
            format!("{domain} {domain:?} {selector} {selector:?}"),
            "example.com \"example.com\" s1 \"s1\""
        );
        assert_eq!((domain.as_ref(), selector.as_ref()), ("example.com", "s1"));
        assert_eq!("a b".parse::<DomainName>(), Err(NameError::BadCharacter));
        assert_eq!("a b".parse::<Selector>(), Err(NameError::BadCharacter));
        // A map is asked with text.
        assert_eq!(BTreeSet::from([domain.clone()]).get("example.com"), Some(&domain));
        assert_eq!(BTreeSet::from([selector.clone()]).get("s1"), Some(&selector));
        assert_eq!(
            [1, 2, 3],
            ["com", "example.com", "a.example.com"]
                .map(|n| DomainName::parse(n).unwrap().label_count())
        );
    }

    #[test]
    fn selectors_take_no_trailing_dot() {
        assert_eq!(Selector::parse("March.2025").unwrap().as_str(), "march.2025");
        assert_eq!(Selector::parse("s."), Err(NameError::EmptyLabel));
    }

    #[test]
    fn subdomains_are_compared_by_label() {
        let cases = [
            ("example.com", "example.com", true),
            ("a.example.com", "example.com", true),
            ("badexample.com", "example.com", false),
            ("com", "example.com", false),
            ("example.com", "com", true),
        ];
        for (name, other, want) in cases {
            let parsed = DomainName::parse(name).unwrap();
            let other = DomainName::parse(other).unwrap();
            assert_eq!(parsed.is_same_or_subdomain_of(&other), want, "{name} {other}");
        }
    }

    #[test]
    fn parents_end_at_the_last_label() {
        let name = DomainName::parse("a.b.c").unwrap();
        let parent = name.parent().unwrap();
        assert_eq!(parent.as_str(), "b.c");
        assert_eq!(parent.parent().unwrap().parent(), None);
    }

    #[test]
    fn key_records_stand_below_domainkey() {
        let selector = Selector::parse("s1.eu").unwrap();
        let domain = DomainName::parse("example.com").unwrap();
        let name = key_record_name(&selector, &domain).unwrap();
        assert_eq!(name.as_str(), "s1.eu._domainkey.example.com");

        let long = DomainName::parse(&vec!["a".repeat(49); 5].join(".")).unwrap();
        assert_eq!(key_record_name(&selector, &long), Err(NameError::TooLong));
    }
}

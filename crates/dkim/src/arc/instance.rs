//! The number of an ARC set, `i=` (RFC 8617 §4.2.1).

use std::fmt;

use crate::tag_list::TagList;

/// The number of an ARC set in its chain, from 1 to [`MAX_SETS`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Instance(u8);

impl Instance {
    /// The first set of a chain.
    pub const FIRST: Self = Self(1);

    /// Takes a number in range.
    #[must_use]
    pub fn new(number: usize) -> Option<Self> {
        u8::try_from(number).ok().filter(|number| (1..=LAST).contains(number)).map(Self)
    }

    /// All instances there can be, from the first.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        (1..=LAST).map(Self)
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }

    /// Reads `position`: one or two digits.
    fn parse(text: &[u8]) -> Option<Self> {
        if text.is_empty() || text.len() > MAX_DIGITS {
            return None;
        }
        let number = text.iter().try_fold(0, |sum, octet| {
            octet.is_ascii_digit().then(|| sum * 10 + usize::from(octet - b'0'))
        })?;
        Self::new(number)
    }

    /// The instance of a field that is a tag list: an ARC-Message-Signature or an ARC-Seal. It may
    /// stand anywhere in the list, which is what sealers do.
    pub(super) fn of_tag_list(value: &[u8]) -> Option<Self> {
        Self::parse(TagList::parse(value).ok()?.value("i")?.as_bytes())
    }

    /// The instance of an ARC-Authentication-Results field, which stands in front of everything else
    /// (RFC 8617 §4.1.1). What follows its semicolon does not matter to a chain (§3.4 there).
    pub(super) fn of_results(value: &[u8]) -> Option<Self> {
        let rest = after_cfws(value)?.strip_prefix(b"i")?;
        let rest = after_cfws(after_cfws(rest)?.strip_prefix(b"=")?)?;
        let digits = rest.iter().take_while(|octet| octet.is_ascii_digit()).count();
        let (digits, rest) = rest.split_at_checked(digits)?;
        after_cfws(rest)?.strip_prefix(b";")?;
        Self::parse(digits)
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What follows white space and comments (RFC 5322 §3.2.2). None if nothing does, or a comment has no end.
fn after_cfws(text: &[u8]) -> Option<&[u8]> {
    let mut depth = 0_usize;
    let mut octets = text.iter().enumerate();
    while let Some((at, octet)) = octets.next() {
        match octet {
            b'(' => depth += 1,
            b')' if depth > 0 => depth -= 1,
            b'\\' if depth > 0 => {
                octets.next()?;
            }
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ if depth > 0 => {}
            _ => return text.get(at..),
        }
    }
    None
}

/// The largest number of sets in a chain (RFC 8617 §5.2, step 1).
pub const MAX_SETS: usize = LAST as usize;

/// The highest instance (RFC 8617 §4.2.1).
const LAST: u8 = 50;

/// The most digits of an instance (RFC 8617 §3.9).
const MAX_DIGITS: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_lists_have_their_instance_anywhere() {
        for (value, want) in [
            ("i=1; a=x", Some(1)),
            (" a=x; i=\r\n 50 ;b=", Some(50)),
            ("i=07", Some(7)),
            ("i=0", None),
            ("i=00", None),
            ("i=51", None),
            ("i=001", None),
            ("i=+1", None),
            ("i=1 2", None),
            ("i=", None),
            ("I=1", None),
            ("a=x", None),
            ("i=1; i=1", None),
            ("i=1; x", None),
        ] {
            let found = Instance::of_tag_list(value.as_bytes()).map(Instance::get);
            assert_eq!(found, want, "{value:?}");
        }
    }

    #[test]
    fn results_have_their_instance_in_front() {
        for (value, want) in [
            (" i=1; mx.example; none", Some(1)),
            ("i=50;", Some(50)),
            (" (a (b\\)) c)\r\n i (x) = (y)\t2 (z) ; mx.example", Some(2)),
            ("i=1", None),
            ("i=1 2;", None),
            ("i=;", None),
            ("i=0; x", None),
            ("i=51; x", None),
            ("I=1; x", None),
            ("mx.example; i=1;", None),
            ("(i=1;", None),
            (") i=1;", None),
            ("(\\", None),
            // A backslash quotes nothing outside of a comment.
            ("\\xi=1; x", None),
            ("", None),
        ] {
            let found = Instance::of_results(value.as_bytes()).map(Instance::get);
            assert_eq!(found, want, "{value:?}");
        }
    }

    #[test]
    fn instances_are_those_of_the_rfc() {
        assert_eq!(Instance::all().count(), MAX_SETS);
        assert_eq!(Instance::all().next(), Some(Instance::FIRST));
        assert_eq!(Instance::all().next_back(), Instance::new(MAX_SETS));
        assert_eq!(Instance::new(0), None);
        assert_eq!(Instance::new(MAX_SETS + 1), None);
        assert_eq!(Instance::new(257), None);
    }
}

//! What reports say of a signature, also of one that is malformed.

use std::borrow::Cow;

use super::values::{Identity, base64_value, strict_domain};
use crate::name::{DomainName, Selector};

/// What of a signature can be told even where it is malformed, for reports.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Labels {
    pub(crate) signing_domain: Option<DomainName>,
    pub(crate) selector: Option<Selector>,
    pub(crate) algorithm: Option<Cow<'static, str>>,
    pub(crate) identity: Option<Identity>,
    pub(crate) signature: Option<Vec<u8>>,
}

impl Labels {
    /// Reads `d=`, `s=`, `a=`, `i=` and `b=` without asking for more than that each stands there once.
    pub(crate) fn read(value: &[u8]) -> Self {
        Self::of(&LabelTexts::read(value))
    }

    /// The same without names that are not ASCII. To make an A-label of a U-label is work, and of fields that
    /// are not checked there may be thousands.
    pub(crate) fn read_ascii(value: &[u8]) -> Self {
        let LabelTexts { d, s, a, i, b } = LabelTexts::read(value);
        let [d, s, i] = [d, s, i].map(|text| text.filter(|text| text.is_ascii()));
        Self::of(&LabelTexts { d, s, a, i, b })
    }

    fn of(texts: &LabelTexts<'_>) -> Self {
        Self {
            signing_domain: texts.d.and_then(|text| strict_domain(text).ok()),
            selector: texts.s.and_then(|text| Selector::parse(text).ok()),
            algorithm: texts
                .a
                .filter(|text| !text.is_empty() && text.len() <= MAX_ALGORITHM_LEN)
                .filter(|text| text.bytes().all(|o| o.is_ascii_alphanumeric() || o == b'-'))
                .map(|text| text.to_owned().into()),
            identity: texts.i.and_then(|text| Identity::parse(text).ok()),
            signature: texts
                .b
                .filter(|text| text.len() <= MAX_SIGNATURE_TEXT)
                .and_then(|text| base64_value(text, "b").ok()),
        }
    }
}

/// The texts of the tags that a report names, read in one pass.
#[derive(Default)]
pub(crate) struct LabelTexts<'a> {
    pub(crate) d: Option<&'a str>,
    s: Option<&'a str>,
    a: Option<&'a str>,
    i: Option<&'a str>,
    b: Option<&'a str>,
}

impl<'a> LabelTexts<'a> {
    /// A tag that stands there twice, or is not UTF-8, is none.
    pub(crate) fn read(value: &'a [u8]) -> Self {
        #[derive(Clone, Copy)]
        enum Seen<'a> {
            Never,
            Once(&'a [u8]),
            Twice,
        }
        let [mut d, mut s, mut a, mut i, mut b] = [Seen::Never; 5];
        for spec in value.split(|octet| *octet == b';') {
            let Some((name, text)) = memchr::memchr(b'=', spec).map(|at| spec.split_at(at)) else {
                continue;
            };
            let seen = match name.trim_ascii() {
                b"d" => &mut d,
                b"s" => &mut s,
                b"a" => &mut a,
                b"i" => &mut i,
                b"b" => &mut b,
                _ => continue,
            };
            *seen = match seen {
                Seen::Never => Seen::Once(text.get(1..).unwrap_or_default().trim_ascii()),
                Seen::Once(_) | Seen::Twice => Seen::Twice,
            };
        }
        let [d, s, a, i, b] = [d, s, a, i, b].map(|seen| match seen {
            Seen::Once(text) => str::from_utf8(text).ok(),
            Seen::Never | Seen::Twice => None,
        });
        Self { d, s, a, i, b }
    }
}

/// The longest algorithm name that is repeated in a report.
const MAX_ALGORITHM_LEN: usize = 32;

/// The longest text of `b=` that a report names of a signature that is not worked with: that of RSA with 8,192
/// bits takes 1,368 octets and its folds.
const MAX_SIGNATURE_TEXT: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_from_broken_signatures() {
        let labels =
            Labels::read(b" v=2;\r\n d = Example.com ; s=s1; a=rsa-md5; i=x@b.c; b=NDU\r\n 2;;; b");
        assert_eq!(labels.signing_domain.unwrap().as_str(), "example.com");
        assert_eq!(labels.selector.unwrap().as_str(), "s1");
        assert_eq!(labels.algorithm.as_deref(), Some("rsa-md5"));
        assert_eq!(labels.identity.unwrap().to_tag_value(), "x@b.c");
        assert_eq!(labels.signature.as_deref(), Some(&b"456"[..]));
        assert_eq!(Labels::read(b"d=a b.c; s=; a=x y; i=a; b=*; a"), Labels::default());
        assert_eq!(Labels::read(b"a= ; d=; s=a..b"), Labels::default());
        // The algorithm goes into reports as it was written, if it is a short word.
        let algorithm = |text: &str| Labels::read(format!("a={text}").as_bytes()).algorithm;
        let longest = "x-".repeat(MAX_ALGORITHM_LEN / 2);
        assert_eq!(algorithm(&longest).as_deref(), Some(&*longest));
        for other in [&*format!("{longest}x"), "rsa_sha256", "rsa\r\n-sha1", "ü"] {
            assert_eq!(algorithm(other), None, "{other}");
        }
        assert_eq!(Labels::read(b"d=a.b; d=a.b; \xff s=1"), Labels::default());
        let international = "d=b\u{fc}cher.example; s=s1; i=@b\u{fc}cher.example".as_bytes();
        let labels = Labels::read(international);
        assert_eq!(labels.signing_domain.unwrap().as_str(), "xn--bcher-kva.example");
        let labels = Labels::read_ascii(international);
        assert_eq!((labels.signing_domain, labels.identity), (None, None));
        assert_eq!(labels.selector.unwrap().as_str(), "s1");
        let long = |len: usize| Labels::read(format!("b={}", "A".repeat(len)).as_bytes()).signature;
        assert!(long(MAX_SIGNATURE_TEXT).is_some() && long(MAX_SIGNATURE_TEXT + 4).is_none());
    }
}

//! What is wrong with the text of a published key record (RFC 6376 §3.6.1).
//!
//! Whether a record is usable, and which key it holds, is for [`KeyRecord`] to say. Where it is not, the
//! text mostly shows what a DNS panel or a person did to it, and this module names that: the codes are
//! those of the project's catalogue of DNS diagnoses (D13 to D39).

use std::fmt;

use postseal_dkim::signature::SignatureAlgorithm;
use postseal_dkim::tag_list::TagListError;
use postseal_dkim::{Algorithm, KeyRecord, KeyRecordError, Mode, PublicKeyError, Service};

use crate::finding::Severity;
use crate::look::shown;

/// One thing that is wrong with the text of a record.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum RecordFault {
    /// Another key than ours.
    OtherKey,
    /// The text ends where ours goes on.
    Truncated {
        /// What is published, in octets.
        len: usize,
        /// What should be, in octets.
        wanted: usize,
    },
    /// Quotation marks or spaces between the parts of a long text have become part of it.
    JunkBetweenParts,
    /// The text stands in quotation marks, which are part of it.
    Quotes,
    /// Backslashes in front of semicolons have become part of the text.
    Backslashes,
    /// Typographic or invisible characters, HTML or quoted-printable remains.
    StrangeCharacters,
    /// The frame of a PEM file.
    Pem,
    /// A private key.
    PrivateKey,
    /// `k=` does not say what the key is.
    WrongKeyType,
    /// An Ed25519 key in an envelope.
    WrappedEd25519,
    /// A certificate or a request for one.
    Certificate,
    /// No `p=`.
    NoKey,
    /// An empty `p=`.
    Revoked,
    /// `v=` is not `DKIM1`, or not in front.
    Version,
    /// A record of another kind, such as SPF.
    OtherRecord,
    /// A tag that occurs twice.
    DuplicateTag,
    /// `h=` does not allow SHA-256.
    HashExcluded,
    /// `s=` does not allow mail.
    ServiceExcluded,
    /// `t=y`: the domain is testing.
    Testing,
    /// Anything else.
    Unreadable(KeyRecordError),
}

impl RecordFault {
    /// The code in the catalogue of diagnoses.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::OtherKey => "D13",
            Self::Truncated { .. } => "D14",
            Self::JunkBetweenParts | Self::Unreadable(_) => "D15",
            Self::Quotes => "D18",
            Self::Backslashes => "D19",
            Self::StrangeCharacters => "D20",
            Self::Pem => "D21",
            Self::PrivateKey => "D22",
            Self::WrongKeyType => "D23",
            Self::WrappedEd25519 => "D24",
            Self::Certificate => "D25",
            Self::NoKey | Self::Revoked => "D26",
            Self::Version => "D27",
            Self::OtherRecord => "D28",
            Self::DuplicateTag => "D30",
            Self::Testing => "D35",
            Self::HashExcluded => "D37",
            Self::ServiceExcluded => "D38",
        }
    }

    /// How bad it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        if *self == Self::Testing { Severity::Warning } else { Severity::Error }
    }

    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::OtherKey => {
                "publish the record exactly as shown; if another service uses this selector, choose a new one"
            }
            Self::Truncated { .. } => {
                "enter the text as several strings of at most 255 characters, each in quotation marks, in one record"
            }
            Self::JunkBetweenParts => {
                "enter the text again as one value, without quotation marks or line breaks"
            }
            Self::Quotes => "enter the text without quotation marks",
            Self::Backslashes => "enter the text without backslashes; this panel escapes by itself",
            Self::StrangeCharacters => "copy the text as plain text, not from a document or a mail",
            Self::Pem => "publish the record as shown and not the key file",
            Self::PrivateKey => {
                "remove the record, make a new key and never use this one again: everybody can sign with it"
            }
            Self::WrongKeyType => "set k= as in the record that is shown",
            Self::WrappedEd25519 => {
                "publish the 32 octets of the key alone, as in the record that is shown"
            }
            Self::Certificate | Self::NoKey | Self::OtherRecord | Self::Unreadable(_) => {
                "publish the record exactly as shown"
            }
            Self::Revoked => {
                "publish the record of a key that is in use; this one was withdrawn on purpose"
            }
            Self::Version => "put v=DKIM1 in front, in this spelling, or leave it out",
            Self::DuplicateTag => "keep each tag once",
            Self::Testing => "remove t=y when the set-up works",
            Self::HashExcluded => "remove h=, or add sha256 to it",
            Self::ServiceExcluded => "remove s=, or add email to it",
        }
    }
}

impl fmt::Display for RecordFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherKey => f.write_str("the published key is not the one that signs"),
            Self::Truncated { len, wanted } => {
                write!(f, "the record was cut after {len} of {wanted} characters")
            }
            Self::JunkBetweenParts => f.write_str("the key has extra characters between its parts"),
            Self::Quotes => f.write_str("quotation marks were saved as part of the record"),
            Self::Backslashes => f.write_str("backslashes were saved as part of the record"),
            Self::StrangeCharacters => {
                f.write_str("invisible or typographic characters are part of the record")
            }
            Self::Pem => f.write_str("a whole key file was pasted into the record"),
            Self::PrivateKey => {
                f.write_str("the record holds a private key, for everybody to read")
            }
            Self::WrongKeyType => {
                f.write_str("the record announces another type of key than it holds")
            }
            Self::WrappedEd25519 => {
                f.write_str("the Ed25519 key stands in an envelope that DKIM does not have")
            }
            Self::Certificate => f.write_str("a certificate stands in place of the public key"),
            Self::NoKey => f.write_str("the record has no key"),
            Self::Revoked => f.write_str("the key was revoked"),
            Self::Version => f.write_str("the version of the record is malformed"),
            Self::OtherRecord => f.write_str("a record of another kind is stored here"),
            Self::DuplicateTag => f.write_str("a tag of the record occurs twice"),
            Self::HashExcluded => f.write_str("the record does not allow SHA-256"),
            Self::ServiceExcluded => f.write_str("the record does not allow the key for mail"),
            Self::Testing => f.write_str("the record says that the domain is only testing"),
            Self::Unreadable(error) => write!(f, "the record cannot be used: {error}"),
        }
    }
}

/// The key that should be published.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WantedRecord {
    text: Box<[u8]>,
    record: KeyRecord,
}

impl WantedRecord {
    /// Reads the record that should be published.
    pub fn parse(text: &[u8]) -> Result<Self, KeyRecordError> {
        Ok(Self { text: text.into(), record: KeyRecord::parse(text)? })
    }

    /// The text of the record.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Says whether a published text is as good as ours: the same key, usable for mail with SHA-256.
    #[must_use]
    pub fn is_met_by(&self, published: &[u8]) -> bool {
        KeyRecord::parse(published)
            .is_ok_and(|record| self.faults_of(&record).all(|f| f == RecordFault::Testing))
    }

    /// What is wrong with a published text, the worst first. Empty for a text that is as good as ours
    /// and not marked as a test.
    #[must_use]
    pub fn faults(&self, published: &[u8]) -> Vec<RecordFault> {
        match KeyRecord::parse(published) {
            Ok(record) => self.faults_of(&record).collect(),
            Err(error) => vec![self.fault_of_unusable(published, error)],
        }
    }

    fn faults_of(&self, record: &KeyRecord) -> impl Iterator<Item = RecordFault> {
        let hash = match self.record.public_key().algorithm() {
            Algorithm::RsaSha256 => SignatureAlgorithm::RsaSha256,
            Algorithm::Ed25519Sha256 => SignatureAlgorithm::Ed25519Sha256,
        };
        [
            (record.public_key() != self.record.public_key()).then_some(RecordFault::OtherKey),
            (!record.allows_hash_of(hash)).then_some(RecordFault::HashExcluded),
            (record.service() == Service::Other).then_some(RecordFault::ServiceExcluded),
            (record.mode() == Mode::Testing).then_some(RecordFault::Testing),
        ]
        .into_iter()
        .flatten()
    }

    fn fault_of_unusable(&self, published: &[u8], error: KeyRecordError) -> RecordFault {
        let text = squeezed(published);
        let key = key_value(&text);
        if contains(published, b"PRIVATE KEY") || key.is_some_and(is_private_key) {
            return RecordFault::PrivateKey;
        }
        if contains(published, b"-----BEGIN") || contains(published, b"-----END") {
            return RecordFault::Pem;
        }
        if error == KeyRecordError::Revoked {
            return RecordFault::Revoked;
        }
        if is_other_record(&text) {
            return RecordFault::OtherRecord;
        }
        let is_strange = |octet: &u8| {
            !octet.is_ascii() || (octet.is_ascii_control() && !b"\t\r\n".contains(octet))
        };
        if published.iter().any(is_strange)
            || contains(published, b"&quot;")
            || contains(published, b"=3D")
        {
            return RecordFault::StrangeCharacters;
        }
        if text.contains(&b'"') {
            let is_outside = text.starts_with(b"\"") || text.ends_with(b"\"");
            return if is_outside { RecordFault::Quotes } else { RecordFault::JunkBetweenParts };
        }
        if text.contains(&b'\\') {
            return RecordFault::Backslashes;
        }
        let wanted = squeezed(&self.text);
        if text.len() < wanted.len() && wanted.starts_with(&text) && key.is_some() {
            let (len, wanted) = (published.len(), self.text.len());
            return RecordFault::Truncated { len, wanted };
        }
        self.fault_by_error(published, key, error)
    }

    fn fault_by_error(
        &self,
        published: &[u8],
        key: Option<&[u8]>,
        error: KeyRecordError,
    ) -> RecordFault {
        let is_certificate = key.is_some_and(is_certificate);
        match error {
            KeyRecordError::Revoked => RecordFault::Revoked,
            KeyRecordError::NoKey => RecordFault::NoKey,
            KeyRecordError::BadVersion | KeyRecordError::VersionNotFirst => RecordFault::Version,
            KeyRecordError::UnknownKeyType => RecordFault::WrongKeyType,
            KeyRecordError::TagList(TagListError::DuplicateName) => RecordFault::DuplicateTag,
            KeyRecordError::BadKey(_) if is_certificate => RecordFault::Certificate,
            KeyRecordError::BadKey(PublicKeyError::BadEd25519Length {
                octets: SPKI_ED25519_LEN,
            }) => RecordFault::WrappedEd25519,
            KeyRecordError::BadKey(PublicKeyError::BadEd25519Length { .. }) => {
                RecordFault::WrongKeyType
            }
            KeyRecordError::BadKey(PublicKeyError::NotRsaDer)
                if key.is_some_and(|key| key.len() == BASE64_ED25519_LEN) =>
            {
                RecordFault::WrongKeyType
            }
            KeyRecordError::BadKey(PublicKeyError::NotRsaDer) | KeyRecordError::NotBase64
                if CUT_LENGTHS.contains(&published.len()) =>
            {
                RecordFault::Truncated { len: published.len(), wanted: self.text.len() }
            }
            error @ (KeyRecordError::TagList(_)
            | KeyRecordError::TooLong
            | KeyRecordError::NotBase64
            | KeyRecordError::BadKey(_)
            | _) => RecordFault::Unreadable(error),
        }
    }
}

/// Says whether several records are one key record that was entered in parts: one has the tags, the
/// others are the rest of its base64.
pub(crate) fn is_split_over_records(texts: &[Box<[u8]>]) -> bool {
    let heads = texts.iter().filter(|text| contains(text, b"p=")).count();
    let is_rest = |text: &[u8]| {
        let text = squeezed(text);
        text.len() > 8 && !text.contains(&b';') && text.iter().all(|octet| is_base64(*octet))
    };
    heads == 1
        && texts.len() > 1
        && texts.iter().filter(|text| is_rest(text)).count() == texts.len() - 1
}

/// The record for a reader, on one line.
pub(crate) fn excerpt(text: &[u8]) -> String {
    shown(text)
}

/// The text without white space, which counts nowhere that matters here.
fn squeezed(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(|octet| !octet.is_ascii_whitespace()).collect()
}

fn key_value(squeezed: &[u8]) -> Option<&[u8]> {
    squeezed.split(|octet| *octet == b';').find_map(|tag| tag.strip_prefix(b"p="))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn is_base64(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/' | b'=')
}

fn is_other_record(squeezed: &[u8]) -> bool {
    let lower = squeezed.to_ascii_lowercase();
    [b"v=spf".as_slice(), b"v=dmarc", b"v=stsv", b"v=tlsrpt", b"v=bimi", b"spf2.0/"]
        .iter()
        .any(|start| lower.starts_with(start))
}

/// PKCS#8 and PKCS#1 begin with SEQUENCE, INTEGER 0; at the lengths of RSA keys that is `MII??IBA` in
/// base64 from the third group on. An Ed25519 key in PKCS#8 has one fixed beginning.
fn is_private_key(key: &[u8]) -> bool {
    key.starts_with(b"MC4CAQAw")
        || (key.starts_with(b"MII") && key.get(6..9).is_some_and(|part| part == b"IBA"))
}

/// Certificates and requests begin with two long SEQUENCEs, which no public key does.
fn is_certificate(key: &[u8]) -> bool {
    key.starts_with(b"MII") && key.get(6..8).is_some_and(|part| part == b"CC")
}

/// RFC 8410 §4: 12 octets of envelope and the key.
const SPKI_ED25519_LEN: usize = 44;

/// 32 octets in base64.
const BASE64_ED25519_LEN: usize = 44;

/// Where panels cut: one string of a TXT record, with or without quotation marks.
const CUT_LENGTHS: std::ops::RangeInclusive<usize> = 253..=255;

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of RFC 8463 §A.2 and RFC 6376 §C.
    const ED25519: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    const RSA: &str = "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYt\
        IxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhi\
        tdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB";

    fn wanted() -> WantedRecord {
        WantedRecord::parse(format!("v=DKIM1; k=rsa; p={RSA}").as_bytes()).unwrap()
    }

    #[test]
    fn other_spellings_of_the_same_key_meet_what_is_wanted() {
        let spaced = format!("v=DKIM1;k=rsa;p={} {};", &RSA[..70], &RSA[70..]);
        for text in [
            format!("v=DKIM1; k=rsa; p={RSA}"),
            format!("p={RSA}"),
            format!("v=DKIM1; h=sha256; s=email; t=s; n=note; p={RSA};"),
            spaced,
        ] {
            assert_eq!(wanted().faults(text.as_bytes()), [], "{text}");
            assert!(wanted().is_met_by(text.as_bytes()), "{text}");
        }
        let testing = format!("v=DKIM1; t=y; p={RSA}");
        assert!(wanted().is_met_by(testing.as_bytes()));
        assert_eq!(wanted().faults(testing.as_bytes()), [RecordFault::Testing]);
    }

    #[test]
    fn each_mishap_is_named() {
        use RecordFault as F;
        let rsa_2048_private = format!("MIIEvQIBADAN{}", "A".repeat(1600));
        let pkcs1_private = format!("MIIEpAIBAAKC{}", "A".repeat(1580));
        let certificate = format!("MIIDdzCCAl+g{}", "A".repeat(1000));
        let spki = "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
        let cut = format!("v=DKIM1; k=rsa; p={}", &RSA[..100]);
        let cases = [
            (format!("v=DKIM1; k=ed25519; p={ED25519}"), F::OtherKey, "D13"),
            (cut.clone(), F::Truncated { len: cut.len(), wanted: 18 + RSA.len() }, "D14"),
            (format!("v=DKIM1; k=rsa; p={}\" \"{}", &RSA[..90], &RSA[90..]), F::JunkBetweenParts, "D15"),
            (format!("\"v=DKIM1; k=rsa; p={RSA}\""), F::Quotes, "D18"),
            (format!("v=DKIM1\\; k=rsa\\; p={RSA}"), F::Backslashes, "D19"),
            (format!("\u{201c}v=DKIM1; k=rsa; p={RSA}\u{201d}"), F::StrangeCharacters, "D20"),
            (format!("v=DKIM1;\u{a0}k=rsa; p={RSA}"), F::StrangeCharacters, "D20"),
            (format!("&quot;v=DKIM1; k=rsa; p={RSA}&quot;"), F::StrangeCharacters, "D20"),
            (format!("v=DKIM1; k=rsa; p=-----BEGIN PUBLIC KEY-----{RSA}-----END PUBLIC KEY-----"), F::Pem, "D21"),
            (format!("v=DKIM1; k=rsa; p={rsa_2048_private}"), F::PrivateKey, "D22"),
            (format!("v=DKIM1; k=rsa; p={pkcs1_private}"), F::PrivateKey, "D22"),
            ("v=DKIM1; k=ed25519; p=MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g".into(), F::PrivateKey, "D22"),
            (format!("v=DKIM1; k=rsa; p={ED25519}"), F::WrongKeyType, "D23"),
            (format!("v=DKIM1; k=ed25519; p={RSA}"), F::WrongKeyType, "D23"),
            (format!("v=DKIM1; k=dsa; p={RSA}"), F::WrongKeyType, "D23"),
            (format!("v=DKIM1; k=ed25519; p={spki}"), F::WrappedEd25519, "D24"),
            (format!("v=DKIM1; k=rsa; p={certificate}"), F::Certificate, "D25"),
            ("v=DKIM1; k=rsa".into(), F::NoKey, "D26"),
            ("v=DKIM1; k=rsa; p=".into(), F::Revoked, "D26"),
            (format!("k=rsa; v=DKIM1; p={RSA}"), F::Version, "D27"),
            (format!("v=dkim1; p={RSA}"), F::Version, "D27"),
            ("v=spf1 include:_spf.example.com -all".into(), F::OtherRecord, "D28"),
            ("v=DMARC1; p=none".into(), F::OtherRecord, "D28"),
            (format!("v=DKIM1; k=rsa; k=rsa; p={RSA}"), F::DuplicateTag, "D30"),
            (format!("v=DKIM1; h=sha1; p={RSA}"), F::HashExcluded, "D37"),
            (format!("v=DKIM1; s=tlsrpt; p={RSA}"), F::ServiceExcluded, "D38"),
            ("v=DKIM1; p=!!!".into(), F::Unreadable(KeyRecordError::NotBase64), "D15"),
        ];
        for (text, want, code) in cases {
            assert_eq!(wanted().faults(text.as_bytes()), std::slice::from_ref(&want), "{text}");
            assert_eq!(want.code(), code, "{text}");
            assert!(!wanted().is_met_by(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_record_cut_at_one_string_is_truncated_also_when_it_is_another_key() {
        let text = format!(
            "v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA{}",
            "x".repeat(193)
        );
        assert_eq!(text.len(), 255);
        let faults = wanted().faults(text.as_bytes());
        assert_eq!(faults, [RecordFault::Truncated { len: 255, wanted: 18 + RSA.len() }]);
    }

    #[test]
    fn parts_in_several_records_are_recognised() {
        let texts = |texts: &[&str]| -> Vec<Box<[u8]>> {
            texts.iter().map(|text| text.as_bytes().into()).collect()
        };
        let (head, rest) = (format!("v=DKIM1; p={}", &RSA[..100]), &RSA[100..]);
        assert!(is_split_over_records(&texts(&[&head, rest])));
        assert!(is_split_over_records(&texts(&[rest, &head])));
        assert!(!is_split_over_records(&texts(&[&head])));
        assert!(!is_split_over_records(&texts(&[&head, &head])));
        assert!(!is_split_over_records(&texts(&[&head, "v=spf1 -all"])));
    }
}

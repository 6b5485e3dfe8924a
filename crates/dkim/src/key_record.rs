//! Key records: the TXT record at `<selector>._domainkey.<domain>` (§3.6.1, RFC 8301, RFC 8463).
//!
//! The text is that of one TXT record with its strings joined by nothing (§3.6.2.2). A record is
//! either usable, and then holds a parsed key, or an error that says which rule it breaks; a revoked
//! key (`p=` empty) is such an error too. Unknown tags, flags, hashes and services are ignored (§3.2),
//! as is `g=` of RFC 4871.

use std::sync::Arc;

use thiserror::Error;

use crate::algorithm::Algorithm;
use crate::encoding::{decode_base64, decode_qp_section, encode_base64};
use crate::public_key::{PublicKey, PublicKeyError};
use crate::signature::SignatureAlgorithm;
use crate::tag_list::{TagList, TagListError, trim_fws};

/// A usable key record. Cloning is cheap.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyRecord {
    public_key: PublicKey,
    hashes: Hashes,
    service: Service,
    mode: Mode,
    identity_rule: IdentityRule,
    /// Shared, so that cloning stays cheap.
    notes: Option<Arc<[u8]>>,
}

impl KeyRecord {
    /// Parses the text of one TXT record.
    pub fn parse(text: &[u8]) -> Result<Self, KeyRecordError> {
        if text.len() > MAX_RECORD_LEN {
            return Err(KeyRecordError::TooLong);
        }
        let tags = TagList::parse(text).map_err(KeyRecordError::TagList)?;
        // §3.6.1: `v=` has to be the first tag if it is there, and records with another are discarded.
        if let Some(version) = tags.value("v") {
            if version != VERSION {
                return Err(KeyRecordError::BadVersion);
            }
            if tags.iter().next().is_none_or(|tag| tag.name != "v") {
                return Err(KeyRecordError::VersionNotFirst);
            }
        }
        // Strings in ABNF ignore case (RFC 5234 §2.3).
        let key_type = tags.value("k").unwrap_or("rsa");
        let algorithm = [Algorithm::RsaSha256, Algorithm::Ed25519Sha256]
            .into_iter()
            .find(|algorithm| algorithm.key_type().eq_ignore_ascii_case(key_type))
            .ok_or(KeyRecordError::UnknownKeyType)?;

        let key = tags.value("p").ok_or(KeyRecordError::NoKey)?;
        if key.is_empty() {
            return Err(KeyRecordError::Revoked);
        }
        let key = decode_base64(key).ok_or(KeyRecordError::NotBase64)?;
        let public_key = match algorithm {
            Algorithm::RsaSha256 => PublicKey::from_rsa_der(&key),
            Algorithm::Ed25519Sha256 => PublicKey::from_ed25519(&key),
        };
        let has = |name: &str, word: &str| tags.value(name).is_some_and(|list| lists(list, word));
        Ok(Self {
            public_key: public_key.map_err(KeyRecordError::BadKey)?,
            hashes: match tags.value("h") {
                Some(list) => Hashes { sha1: lists(list, "sha1"), sha256: lists(list, "sha256") },
                None => Hashes { sha1: true, sha256: true },
            },
            service: if tags.value("s").is_none() || has("s", "*") || has("s", "email") {
                Service::Email
            } else {
                Service::Other
            },
            mode: if has("t", "y") { Mode::Testing } else { Mode::Production },
            identity_rule: if has("t", "s") {
                IdentityRule::Exact
            } else {
                IdentityRule::DomainOrBelow
            },
            notes: tags.value("n").map(decode_qp_section).map(Arc::from),
        })
    }

    /// The key.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Says whether `h=` allows the hash of that algorithm.
    #[must_use]
    pub fn allows_hash_of(&self, algorithm: SignatureAlgorithm) -> bool {
        match algorithm {
            SignatureAlgorithm::RsaSha1 => self.hashes.sha1,
            SignatureAlgorithm::RsaSha256 | SignatureAlgorithm::Ed25519Sha256 => self.hashes.sha256,
        }
    }

    /// What the key is for, `s=`.
    #[must_use]
    pub fn service(&self) -> Service {
        self.service
    }

    /// Whether the domain is only testing DKIM, `t=y`.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Which domains `i=` may have, `t=s`.
    #[must_use]
    pub fn identity_rule(&self) -> IdentityRule {
        self.identity_rule
    }

    /// What the domain says of the key to people, `n=`, decoded. Any octets.
    #[must_use]
    pub fn notes(&self) -> Option<&[u8]> {
        self.notes.as_deref()
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Hashes {
    sha1: bool,
    sha256: bool,
}

/// What a key may be used for, `s=` (§3.6.1).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Service {
    /// Mail, or everything.
    Email,
    /// Something else only.
    Other,
}

/// How serious the domain is, `t=y` (§3.6.1).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Mode {
    /// Signatures count.
    Production,
    /// The domain is testing DKIM.
    Testing,
}

/// Which domains `i=` may have, `t=s` (§3.6.1).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum IdentityRule {
    /// That of `d=`, and those below it.
    DomainOrBelow,
    /// Exactly that of `d=`.
    Exact,
}

/// Writes the text of a key record. `key` is the SubjectPublicKeyInfo of an RSA key, or the 32 octets
/// of an Ed25519 key.
#[must_use]
pub fn key_record_text(algorithm: Algorithm, key: &[u8]) -> String {
    format!("v={VERSION}; k={}; p={}", algorithm.key_type(), encode_base64(key))
}

/// Why a TXT record gives no key. All are the fault of who publishes it.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum KeyRecordError {
    /// The text is no tag list.
    #[error("malformed tag list: {0}")]
    TagList(#[source] TagListError),
    /// More than [`MAX_RECORD_LEN`] octets.
    #[error("the record is longer than {MAX_RECORD_LEN} octets")]
    TooLong,
    /// `v=` is something else than `DKIM1`.
    #[error("v= is not DKIM1")]
    BadVersion,
    /// `v=` stands behind another tag.
    #[error("v= is not the first tag")]
    VersionNotFirst,
    /// `k=` is neither `rsa` nor `ed25519`.
    #[error("k= names an unknown kind of key")]
    UnknownKeyType,
    /// `p=` is missing.
    #[error("required tag p= is missing")]
    NoKey,
    /// `p=` is empty: the key is revoked.
    #[error("the key is revoked")]
    Revoked,
    /// `p=` is not base64.
    #[error("p= is not base64")]
    NotBase64,
    /// `p=` is no key of the kind that `k=` says.
    #[error("p= is unusable: {0}")]
    BadKey(#[source] PublicKeyError),
}

impl KeyRecordError {
    /// The error as a word for programs, which stays as it is once it was released.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TagList(error) => error.code(),
            Self::TooLong => "record-too-long",
            Self::BadVersion => "bad-version",
            Self::VersionNotFirst => "version-not-first",
            Self::UnknownKeyType => "unknown-key-type",
            Self::NoKey => "missing-key",
            Self::Revoked => "revoked",
            Self::NotBase64 => "bad-base64",
            Self::BadKey(error) => error.code(),
        }
    }
}

/// Says whether a colon-separated list has that word.
fn lists(list: &str, word: &str) -> bool {
    list.split(':').any(|entry| trim_fws(entry).eq_ignore_ascii_case(word))
}

/// The only version of key records (§3.6.1).
const VERSION: &str = "DKIM1";

/// The longest record that is looked at. No official reference: the longest key that is worked with has
/// 1,416 octets in base64, so this leaves room for every other tag.
pub const MAX_RECORD_LEN: usize = 4096;

#[cfg(test)]
mod tests {
    use super::KeyRecordError::*;
    use super::*;

    /// The key of RFC 8463 §A.2.
    const ED25519: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

    /// The RSA key of RFC 6376 §C, 1024 bits, as SubjectPublicKeyInfo.
    const RSA: &str = "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYt\
        IxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhi\
        tdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB";

    #[test]
    fn reads_every_tag() {
        let text =
            format!("v=DKIM1; h=sha256:x; k=Ed25519; n=a=20=3B  note; p={ED25519}; s=email; t=y:s");
        let record = KeyRecord::parse(text.as_bytes()).unwrap();

        assert_eq!(record.public_key().algorithm(), Algorithm::Ed25519Sha256);
        assert!(record.allows_hash_of(SignatureAlgorithm::Ed25519Sha256));
        assert!(!record.allows_hash_of(SignatureAlgorithm::RsaSha1));
        assert_eq!(record.service(), Service::Email);
        assert_eq!(record.mode(), Mode::Testing);
        assert_eq!(record.identity_rule(), IdentityRule::Exact);
        assert_eq!(record.notes(), Some(&b"a ;  note"[..]));
    }

    #[test]
    fn absent_tags_have_their_defaults() {
        let record = KeyRecord::parse(format!("p={RSA}").as_bytes()).unwrap();

        assert_eq!(record.public_key().rsa_bits(), Some(1024));
        assert!(record.allows_hash_of(SignatureAlgorithm::RsaSha1));
        assert!(record.allows_hash_of(SignatureAlgorithm::RsaSha256));
        assert_eq!(record.service(), Service::Email);
        assert_eq!(record.mode(), Mode::Production);
        assert_eq!(record.identity_rule(), IdentityRule::DomainOrBelow);
        assert_eq!(record.notes(), None);
    }

    #[test]
    fn lists_are_read_by_their_words() {
        for (tag, want) in [
            ("s=*", Service::Email),
            ("s=a : email", Service::Email),
            ("s=tlsrpt", Service::Other),
            ("s=", Service::Other),
        ] {
            let record = KeyRecord::parse(format!("{tag}; p={RSA}; g=").as_bytes()).unwrap();
            assert_eq!(record.service(), want, "{tag}");
        }
        let record = KeyRecord::parse(format!("h=; t=x:; p={RSA}").as_bytes()).unwrap();
        assert!(!record.allows_hash_of(SignatureAlgorithm::RsaSha256));
        assert_eq!(record.mode(), Mode::Production);
    }

    #[test]
    fn broken_records_say_what_is_wrong() {
        let spki_ed25519 = format!("k=ed25519; p=MCowBQYDK2VwAyEA{ED25519}");
        let cut = RSA.strip_suffix("AQAB").unwrap();
        let rsa = |p: &str| format!("v=DKIM1; k=rsa; p={p}");
        let length = |octets| BadKey(PublicKeyError::BadEd25519Length { octets });
        let cases = [
            (String::new(), TagList(TagListError::NoEqualsSign)),
            ("v=spf1 -all".into(), BadVersion),
            (format!("v=DKIM1\\; p={RSA}"), BadVersion),
            (format!("v=dkim1; p={RSA}"), BadVersion),
            (format!("p={RSA}; v=DKIM1"), VersionNotFirst),
            (format!("v=DKIM1; p={RSA}; p={RSA}"), TagList(TagListError::DuplicateName)),
            (format!("v=DKIM1;; p={RSA}"), TagList(TagListError::NoEqualsSign)),
            (format!("\"v=DKIM1; p={RSA}\""), TagList(TagListError::BadName)),
            (format!("v=DKIM1; k=dsa; p={RSA}"), UnknownKeyType),
            (format!("v=DKIM1; k=; p={RSA}"), UnknownKeyType),
            ("v=DKIM1; k=rsa".into(), NoKey),
            ("v=DKIM1; p=".into(), Revoked),
            ("v=DKIM1; p= ; n=old".into(), Revoked),
            (rsa("MIG!"), NotBase64),
            (rsa("-----BEGIN PUBLIC KEY-----"), NotBase64),
            (rsa(cut), BadKey(PublicKeyError::NotRsaDer)),
            (rsa(ED25519), BadKey(PublicKeyError::NotRsaDer)),
            (format!("k=ed25519; p={RSA}"), length(162)),
            (spki_ed25519, length(44)),
            ("k=ed25519; p=MTIz".into(), length(3)),
            (format!("n={}; p={RSA}", "x".repeat(MAX_RECORD_LEN)), TooLong),
        ];
        for (text, want) in cases {
            assert_eq!(KeyRecord::parse(text.as_bytes()), Err(want), "{text:.80}");
        }
        let longest = format!("p={RSA}; n=");
        let longest = format!("{longest}{}", "x".repeat(MAX_RECORD_LEN - longest.len()));
        assert!(KeyRecord::parse(longest.as_bytes()).is_ok());
    }

    #[test]
    fn both_encodings_of_rsa_are_one_key() {
        let spki = decode_base64(RSA).unwrap();
        // What stands inside the bit string is the PKCS#1 form.
        let pkcs1 = &spki[22..];
        let text = format!("p={}", encode_base64(pkcs1));

        let one = KeyRecord::parse(text.as_bytes()).unwrap();
        let two =
            KeyRecord::parse(key_record_text(Algorithm::RsaSha256, &spki).as_bytes()).unwrap();
        assert_eq!(one.public_key(), two.public_key());
        assert_eq!(one.public_key().rsa_exponent(), Some(&[1, 0, 1][..]));
    }

    /// An RSAPublicKey with these numbers, each given as the content of its INTEGER.
    fn rsa_public_key(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
        let element = |tag: u8, content: &[u8]| {
            let length = u16::try_from(content.len()).unwrap().to_be_bytes();
            [&[tag, 0x82, length[0], length[1]], content].concat()
        };
        element(0x30, &[element(2, modulus), element(2, exponent)].concat())
    }

    #[test]
    fn numbers_of_rsa_keys_are_bounded() {
        let modulus = |octets: usize| [&[0, 0x80][..], &vec![1; octets - 1]].concat();
        let good = [1, 0, 1];
        let even: Vec<u8> = [&modulus(128)[..128], &[2]].concat();
        let cases: [(Vec<u8>, &[u8], Option<PublicKeyError>); 15] = [
            (modulus(128), &good, None),
            (modulus(64), &good, None),
            (modulus(1024), &good, None),
            (modulus(128), &[3], None),
            (modulus(1025), &good, Some(PublicKeyError::RsaTooLong)),
            (modulus(20), &good, Some(PublicKeyError::RsaTooShort { bits: 160 })),
            (modulus(128), &[1], Some(PublicKeyError::BadExponent)),
            (modulus(128), &[2], Some(PublicKeyError::BadExponent)),
            (modulus(128), &[2, 0, 0, 0, 1], Some(PublicKeyError::BadExponent)),
            (modulus(128), &[1, 0, 0, 0, 1], None),
            (modulus(127), &[2, 0, 1], Some(PublicKeyError::BadExponent)),
            (modulus(128), &[0], Some(PublicKeyError::NotRsaDer)),
            (modulus(128), &[0xFF], Some(PublicKeyError::NotRsaDer)),
            (modulus(128)[1..].to_vec(), &good, Some(PublicKeyError::NotRsaDer)),
            (even, &good, Some(PublicKeyError::EvenModulus)),
        ];
        for (modulus, exponent, want) in cases {
            let parsed = PublicKey::from_rsa_der(&rsa_public_key(&modulus, exponent));
            assert_eq!(parsed.err(), want, "{} {exponent:?}", modulus.len());
        }
    }

    #[test]
    fn cut_keys_are_errors() {
        let spki = decode_base64(RSA).unwrap();
        for end in 0..spki.len() {
            assert!(PublicKey::from_rsa_der(&spki[..end]).is_err(), "{end}");
        }
        assert!(PublicKey::from_rsa_der(&[&spki[..], &[0]].concat()).is_err());
    }
}

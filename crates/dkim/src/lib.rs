//! DKIM signatures: parse, canonicalise, sign, verify.
//!
//! RFC 6376 with its updates RFC 8301, 8463, 8553 and 8616; the field that says what came of a signature,
//! Authentication-Results (RFC 8601); and the chain of those who handled a message, ARC (RFC 8617), verified
//! and never sealed. In this crate a plain `§3.5` means RFC 6376 §3.5.
//!
//! It does no I/O, has no clock and knows no private key. Signing hands out the digest to be signed and
//! takes the signature ([`sign`]); verifying hands out the key records it needs and takes the answers
//! ([`verify`]). The body comes in chunks and is never kept. Any bytes end in an outcome or an error.
//!
//! The folder `examples` shows it in use: a message in memory (`sign_message`), a stream
//! (`sign_stream`), a resolver of one's own (`verify`), key records (`parse_key_record`), keys in a
//! device (`hsm`).
//!
//! Reading order, in which each module knows only those before it:
//!
//! | module | what it says |
//! |---|---|
//! | `name`, `time`, `field`, `algorithm` | the words: domains, selectors, times, header fields, `a=` and `c=` |
//! | [`tag_list`], `encoding` | the syntax that signatures and key records share |
//! | [`signature`] | the DKIM-Signature field as typed values |
//! | `short_rsa`, `public_key`, `key_record` | the TXT record and the key in it |
//! | [`canon`] | the form of header and body that is hashed |
//! | `body_hash`, `selection`, `header_hash` | what is hashed, and which fields |
//! | `outcome`, `coverage`, `copies`, `report`, `check`, `key_query` | how a signature ends, what it covers, the copies of fields in it, the way there, and the keys it asks for |
//! | `fold`, [`sign`] | from a request to a field |
//! | [`verify`] | from a message to a report |
//! | [`auth_results`] | from a report to Authentication-Results, and what others write there |
//! | [`arc`] | the chain of those who handled a message (RFC 8617) |
//! | `local_file` | messages in files with local line ends |
//! | [`manual`] | known attacks, and what holds against them |
//!
//! # Bounds
//!
//! What an attacker can make us do. Each bound is a constant with its reason. `tests/bounds.rs` and
//! `tests/arc_chains.rs` hold what is work by counts, those of [`Work`], which are taken where the work is done.
//!
//! | what | bound | beyond it |
//! |---|---|---|
//! | octets of a header section | [`MAX_HEADER_LEN`], 4 MiB | [`HeaderError::TooLong`] |
//! | fields of a header section | [`MAX_FIELDS`], 20,000 | [`HeaderError::TooManyFields`] |
//! | signatures of a message that are read | [`VerifyRules::max_signatures`], 15, usable or not; those whose `d=` is aligned with From first | [`Outcome::NotChecked`] |
//! | tags of a signature or key record | [`tag_list::MAX_TAGS`], 64 | malformed |
//! | names in `h=` | [`signature::MAX_SIGNED_FIELDS`], 1,000 | malformed |
//! | copies in `z=` | [`MAX_COPIES`], 1,000, read for who asks for [`SignatureReport::details`] | counted |
//! | octets of a label, of a name | [`MAX_LABEL_LEN`], 63; [`MAX_NAME_LEN`], 253, `s=` and `d=` with `_domainkey` between them too | malformed |
//! | key records that are asked for | one name for each signature that is read, equal names once | |
//! | octets of a key record | [`MAX_RECORD_LEN`], 4,096 | [`KeyRecordError::TooLong`] |
//! | records of one name | [`MAX_KEY_RECORDS`], 8 | not looked at |
//! | an RSA key | [`MAX_RSA_BITS`], 8,192; an odd exponent of at most 33 bits, or 17 for keys under 1,024 bits | [`PublicKeyError`] |
//! | operations with public keys | [`MAX_KEYS_TRIED`], 2, for each signature that is read | not tried |
//! | field names compared | a million: each name of `h=` is looked for in an index of the header | |
//! | octets of the header made canonical | each field once for each signature that is read; once for all that agree on `h=`, `c=` and the hash | |
//! | octets of the body hashed | the body four times, once for each canonicalization and hash function; signatures that differ in `l=` share a hash | |
//! | octets of the body made canonical | the body twice, once simple and once relaxed | |
//! | memory | the decoded `b=` and `bh=`, an index of the fields, a report for each signature; nothing of the body | |
//!
//! Whoever asks for [`SignatureReport::details`] reads the field again. With `z=` in it that holds the decoded copies, the
//! canonical form of one field at a time, and a hash of each field that is compared.
//!
//! All else is one pass over the header section to cut fields, and one or two over the signatures that are
//! not checked, for what a report says of them.
//!
//! A chain of ARC ([`arc`]) has bounds of its own, since all of it has to be verified:
//!
//! | what | bound | beyond it |
//! |---|---|---|
//! | sets | [`arc::MAX_SETS`], 50, and so 100 signatures that are read | [`arc::ArcFailure::TooManySets`] |
//! | key records that are asked for | 100, equal names once | |
//! | operations with public keys | [`MAX_KEYS_TRIED`] for each signature, 200 | not tried |
//! | field names compared | four million | |
//! | octets of the header made canonical | each field 50 times for the message signatures, and each field of the chain once for each hash function of the seals | |
//! | octets of the body | as above | |
//!
//! And so has an Authentication-Results field that is read or written ([`auth_results`]):
//!
//! | what | bound | beyond it |
//! |---|---|---|
//! | octets of a value | [`auth_results::MAX_LEN`], 64 KiB | an error |
//! | results, understood or not | [`auth_results::MAX_RESULTS`], 100 | an error |
//! | properties of a result | [`auth_results::MAX_PROPERTIES`], 32 | read: the result is not understood; written: an error |
//! | comments of a result, and how deep | [`auth_results::MAX_COMMENTS`], 32; [`auth_results::MAX_COMMENT_DEPTH`], 8 | not understood |
//! | octets of a keyword, of a text | [`auth_results::MAX_KEYWORD_LEN`], 64; [`auth_results::MAX_TEXT_LEN`], 800 | read: the result is not understood; written: an error |

#![warn(clippy::indexing_slicing, clippy::string_slice, missing_debug_implementations)]

mod algorithm;
pub mod arc;
pub mod auth_results;
mod body_hash;
pub mod canon;
mod check;
mod copies;
mod coverage;
mod encoding;
mod field;
mod fold;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod header_hash;
mod key_query;
mod key_record;
mod local_file;
pub mod manual;
mod name;
mod outcome;
mod public_key;
mod report;
mod selection;
mod short_rsa;
pub mod sign;
pub mod signature;
pub mod tag_list;
mod time;
pub mod verify;

pub use self::algorithm::{
    Algorithm, BadCanonicalization, Canon, Canonicalization, UnknownAlgorithm,
};
pub use self::auth_results::{AuthenticationResults, AuthservId, ResultsField};
pub use self::copies::{CopiedField, Copies, MAX_COPIES};
pub use self::coverage::{Coverage, SignedName, UnsignedName};
pub use self::field::{
    Field, FieldName, FieldNameError, Header, HeaderError, MAX_FIELDS, MAX_HEADER_LEN,
    split_message,
};
pub use self::key_query::{KeyAnswer, KeyQuery, KeyQueryId, MAX_KEY_RECORDS, MAX_KEYS_TRIED};
pub use self::key_record::{
    IdentityRule, KeyRecord, KeyRecordError, MAX_RECORD_LEN, Mode, Service, key_record_text,
};
pub use self::local_file::{FILE_START_LEN, FileRest, FileStart, LineEnds, LocalFile};
pub use self::name::{
    DomainName, MAX_LABEL_LEN, MAX_NAME_LEN, NameError, Selector, key_record_name,
};
pub use self::outcome::{AuthResult, Outcome, Remarks};
pub use self::public_key::{MAX_RSA_BITS, MIN_RSA_BITS, PublicKey, PublicKeyError};
pub use self::report::{BodyHash, Hashed, Report, SignatureDetails, SignatureReport, Work};
pub use self::selection::{
    FieldClasses, FieldPattern, FieldSelection, MAX_FIELD_LIST_LEN, MAX_SELECTABLE_NAME_LEN,
    SelectionError,
};
pub use self::sign::{
    MAX_OWN_SIGNATURES, MessageSigning, SignError, SignRequest, SignatureCheck, SignedField,
    Unsigned, signatures_by,
};
pub use self::signature::{Identity, Signature, SignatureAlgorithm, SignatureError};
pub use self::time::UnixTime;
pub use self::verify::{MAX_SIGNATURES, Verifier, VerifyRules};

/// The program in the README, which is tested with all other examples in the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

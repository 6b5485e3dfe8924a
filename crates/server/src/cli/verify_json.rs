//! What `postseal verify --json` prints: one JSON object with all that a report has. `docs/verify.md`
//! describes it for those who read it.
//!
//! It is written signature by signature, since a hostile header makes long lists for each of them.

use std::borrow::Cow;
use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postseal_dkim::{
    CopiedField, Copies, DomainName, Hashed, Header, IdentityRule, KeyRecord, Mode, Report,
    Selector, Signature, SignatureReport, SignedName, UnixTime, UnsignedName, key_record_name,
};
use serde::{Serialize, Serializer};

use super::verify_reason::reason;

/// Writes the report on the message with that header.
pub(super) fn write(
    report: &Report,
    header: &Header<'_>,
    output: &mut impl Write,
) -> io::Result<()> {
    let result = match report.signatures.first() {
        _ if report.has_pass() => "pass",
        Some(first) => first.outcome.result().as_str(),
        None => "none",
    };
    let message = MessageJson { result, signatures: SignaturesJson { report, header } };
    let mut output = io::BufWriter::new(output);
    serde_json::to_writer(&mut output, &message)?;
    output.write_all(b"\n")?;
    output.flush()
}

#[derive(Serialize)]
struct MessageJson<'a> {
    /// `pass` if a signature passes, else the result of the first, `none` without any.
    result: &'static str,
    signatures: SignaturesJson<'a>,
}

struct SignaturesJson<'a> {
    report: &'a Report,
    header: &'a Header<'a>,
}

impl Serialize for SignaturesJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { report, header } = self;
        serializer.collect_seq(report.signatures.iter().map(|report| One { report, header }))
    }
}

/// A signature, whose details are read when it is its turn.
struct One<'a> {
    report: &'a SignatureReport,
    header: &'a Header<'a>,
}

impl Serialize for One<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { report, header } = self;
        let details = report.details(header);
        let signature = details.as_ref().map(|details| &details.signature);
        let key_name = match (&report.selector, &report.signing_domain) {
            (Some(selector), Some(domain)) => key_record_name(selector, domain).ok(),
            (_, _) => None,
        };
        let signature = SignatureJson {
            result: report.outcome.result().as_str(),
            domain: report.signing_domain.as_ref().map(DomainName::as_str),
            selector: report.selector.as_ref().map(Selector::as_str),
            algorithm: report.algorithm.as_deref(),
            reason: reason(report, details.as_ref()),
            code: report.outcome.code(),
            cause: report.outcome.cause(),
            remarks: report.remarks().collect(),
            field: report.field,
            key_name: key_name.as_ref().map(DomainName::as_str),
            tags: signature.map(TagsJson::new),
            header: details.as_ref().map(|details| HeaderJson {
                octets: report.hashed.map(|hashed| hashed.header_octets),
                signed: details.coverage.signed.iter().map(SignedJson::new).collect(),
                unsigned: details.coverage.unsigned.iter().map(UnsignedJson::new).collect(),
                lines_without_name: details.coverage.lines_without_name,
            }),
            copies: details.as_ref().and_then(|it| it.copies.as_ref()).map(CopiesJson::new),
            body: signature.map(|signature| BodyJson::new(signature, report.hashed)),
            key: report.key.as_ref().map(KeyJson::new),
        };
        signature.serialize(serializer)
    }
}

#[derive(Serialize)]
struct SignatureJson<'a> {
    result: &'static str,
    domain: Option<&'a str>,
    selector: Option<&'a str>,
    algorithm: Option<&'a str>,
    reason: String,
    code: &'static str,
    cause: Option<&'static str>,
    remarks: Vec<&'static str>,
    field: usize,
    key_name: Option<&'a str>,
    tags: Option<TagsJson<'a>>,
    header: Option<HeaderJson<'a>>,
    copies: Option<CopiesJson<'a>>,
    body: Option<BodyJson>,
    key: Option<KeyJson>,
}

/// The tags that nothing else here shows.
#[derive(Serialize)]
struct TagsJson<'a> {
    canonicalization: String,
    identity: Option<String>,
    body_length: Option<u64>,
    query_methods: Option<Vec<&'a str>>,
    signed_at: Option<u64>,
    expires_at: Option<u64>,
}

impl<'a> TagsJson<'a> {
    fn new(signature: &Signature<'a>) -> Self {
        Self {
            canonicalization: signature.canonicalization().to_string(),
            identity: signature.identity().map(|identity| identity.to_tag_value()),
            body_length: signature.body_length(),
            query_methods: signature
                .query_methods()
                .map(|methods| methods.split(':').map(str::trim).collect()),
            signed_at: signature.signed_at().map(UnixTime::as_secs),
            expires_at: signature.expires_at().map(UnixTime::as_secs),
        }
    }
}

#[derive(Serialize)]
struct HeaderJson<'a> {
    octets: Option<u64>,
    signed: Vec<SignedJson<'a>>,
    unsigned: Vec<UnsignedJson<'a>>,
    lines_without_name: usize,
}

#[derive(Serialize)]
struct SignedJson<'a> {
    name: &'a str,
    hashed: usize,
    empty: usize,
}

impl<'a> SignedJson<'a> {
    fn new(name: &SignedName<'a>) -> Self {
        let SignedName { name, hashed, empty, .. } = *name;
        Self { name, hashed, empty }
    }
}

#[derive(Serialize)]
struct UnsignedJson<'a> {
    name: &'a str,
    fields: usize,
}

impl<'a> UnsignedJson<'a> {
    fn new(name: &UnsignedName<'a>) -> Self {
        let UnsignedName { name, fields, .. } = *name;
        Self { name, fields }
    }
}

#[derive(Serialize)]
struct CopiesJson<'a> {
    fields: Vec<CopyJson<'a>>,
    left_out: usize,
}

impl<'a> CopiesJson<'a> {
    fn new(copies: &'a Copies) -> Self {
        Self {
            fields: copies.fields.iter().map(CopyJson::new).collect(),
            left_out: copies.left_out,
        }
    }
}

#[derive(Serialize)]
struct CopyJson<'a> {
    name: &'a str,
    value: Cow<'a, str>,
    is_in_header: bool,
}

impl<'a> CopyJson<'a> {
    fn new(copy: &'a CopiedField) -> Self {
        let CopiedField { name, value, is_in_header, .. } = copy;
        Self { name, value: String::from_utf8_lossy(value), is_in_header: *is_in_header }
    }
}

#[derive(Serialize)]
struct BodyJson {
    octets: Option<u64>,
    octets_covered: Option<u64>,
    declared_hash: String,
    computed_hash: Option<String>,
}

impl BodyJson {
    fn new(signature: &Signature<'_>, hashed: Option<Hashed>) -> Self {
        Self {
            octets: hashed.map(|hashed| hashed.body_octets),
            octets_covered: hashed.map(|hashed| hashed.body_octets_covered),
            declared_hash: STANDARD.encode(signature.body_hash()),
            computed_hash: hashed.map(|hashed| hashed.body_hash.to_string()),
        }
    }
}

#[derive(Serialize)]
struct KeyJson {
    #[serde(rename = "type")]
    kind: &'static str,
    bits: u32,
    is_testing: bool,
    is_strict: bool,
    notes: Option<String>,
}

impl KeyJson {
    fn new(record: &KeyRecord) -> Self {
        let key = record.public_key();
        Self {
            kind: key.algorithm().key_type(),
            bits: key.rsa_bits().unwrap_or(ED25519_BITS),
            is_testing: record.mode() == Mode::Testing,
            is_strict: record.identity_rule() == IdentityRule::Exact,
            notes: record.notes().map(|notes| String::from_utf8_lossy(notes).into_owned()),
        }
    }
}

/// The one length of Ed25519 keys (RFC 8032 §5.1.5).
const ED25519_BITS: u32 = 256;

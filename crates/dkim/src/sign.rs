//! Signs a message, in steps, without a key (§5).
//!
//! ```text
//!   MessageSigning::start(requests, header)     hashes the header fields
//!        │ body(chunk) …                        one pass for all signatures
//!        ▼ finish
//!   Unsigned::digest() ─▶ whoever has the key ─▶ Unsigned::complete(signature)
//!                                                      │
//!                                                      ▼
//!                                                 SignedField
//! ```
//!
//! Who calls it decides which domain signs; this module refuses only what could never verify. All that
//! goes into a field is a parsed value, so no setting can bring in a tag or a line.
//!
//! A message may have a valid signature of ours from an earlier pass. [`signatures_by`] finds
//! candidates and [`MessageSigning::start_with_checks`] verifies them along the way.

use std::fmt;

use thiserror::Error;

use crate::algorithm::{Algorithm, Canonicalization};
use crate::body_hash::{BodyHashId, BodyHashes, Hash};
use crate::check::Pending;
use crate::encoding::encode_base64;
use crate::field::{FieldName, Header};
use crate::fold::FoldedField;
use crate::header_hash::{HeaderHashId, HeaderHashes, SettledHashes};
use crate::key_record::KeyRecord;
use crate::name::{DomainName, NameError, Selector, key_record_name};
use crate::outcome::Outcome;
use crate::report::Work;
use crate::selection::FieldSelection;
use crate::signature::{Identity, Labels, Signature, SignatureError};
use crate::time::UnixTime;

/// One signature that is wanted.
#[derive(Clone, Debug)]
pub struct SignRequest {
    /// The SDID, `d=`.
    pub signing_domain: DomainName,
    /// The selector, `s=`.
    pub selector: Selector,
    /// The algorithm, `a=`.
    pub algorithm: Algorithm,
    /// How header and body are canonicalised, `c=`.
    pub canonicalization: Canonicalization,
    /// When the message is signed, `t=`.
    pub signed_at: UnixTime,
    /// When the signature expires, `x=`; never without it.
    pub expires_at: Option<UnixTime>,
    /// The AUID, `i=`; left out without it, which means the whole signing domain.
    pub identity: Option<Identity>,
    /// Which fields are signed, `h=`.
    pub fields: FieldSelection,
}

/// An earlier signature of a message that shall be verified while it is signed.
#[derive(Clone, Debug)]
pub struct SignatureCheck {
    /// The place of the field among [`Header::fields`], as [`signatures_by`] gives it.
    pub field: usize,
    /// The key record by which to judge it.
    pub key: KeyRecord,
    /// The time by which to judge it.
    pub now: UnixTime,
}

/// A message that is being signed.
pub struct MessageSigning {
    signatures: Vec<(SignRequest, Begun)>,
    checks: Vec<Result<(Pending, KeyRecord), Outcome>>,
    headers: SettledHashes,
    bodies: BodyHashes,
}

impl MessageSigning {
    /// Begins the signatures that are wanted for a message with this header.
    pub fn start(requests: Vec<SignRequest>, header: &Header<'_>) -> Result<Self, SignError> {
        Self::start_with_checks(requests, Vec::new(), header)
    }

    /// Begins signatures, and checks of earlier ones in the same pass.
    pub fn start_with_checks(
        requests: Vec<SignRequest>,
        checks: Vec<SignatureCheck>,
        header: &Header<'_>,
    ) -> Result<Self, SignError> {
        match header.count(&FieldName::FROM) {
            0 => return Err(SignError::NoFrom),
            1 => {}
            _ => return Err(SignError::SeveralFrom),
        }
        let first = header.fields().next().and_then(|field| field.raw().first().copied());
        if matches!(first, Some(b' ' | b'\t')) {
            return Err(SignError::BeginsFolded);
        }
        let mut headers = HeaderHashes::new(header);
        let mut bodies = BodyHashes::default();
        let begun = requests
            .iter()
            .map(|request| Begun::new(request, header, &mut headers, &mut bodies))
            .collect::<Result<Vec<_>, _>>()?;
        let checks = checks
            .into_iter()
            .map(|check| begin_check(check, header, &mut headers, &mut bodies))
            .collect();
        let headers = headers.settle();
        let signatures = requests.into_iter().zip(begun).collect();
        Ok(Self { signatures, checks, headers, bodies })
    }

    /// Takes the next chunk of the body, of any size.
    pub fn body(&mut self, chunk: &[u8]) {
        self.bodies.update(chunk);
    }

    /// Ends the body. The signatures come in the order of the requests.
    #[must_use]
    pub fn finish(self) -> Vec<Unsigned> {
        self.finish_with_checks().0
    }

    /// Ends the body. The second part has an outcome for each check, in their order.
    #[must_use]
    pub fn finish_with_checks(self) -> (Vec<Unsigned>, Vec<Outcome>) {
        let Self { signatures, checks, mut headers, bodies } = self;
        let bodies = bodies.finish();
        let unsigned = signatures
            .into_iter()
            .map(|(request, begun)| {
                let body_hash = digest_octets(&bodies.get(begun.body).digest);
                begun.finish(request, body_hash, &mut headers)
            })
            .collect();
        let outcomes = checks
            .into_iter()
            .map(|check| match check {
                Ok((pending, key)) => pending.judge(&key, &bodies, &mut Work::default()),
                Err(outcome) => outcome,
            })
            .collect();
        (unsigned, outcomes)
    }
}

impl fmt::Debug for MessageSigning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageSigning")
            .field("signatures", &self.signatures.len())
            .finish_non_exhaustive()
    }
}

/// Finds the signatures that a header has by this domain and selector already, from the top. At most
/// [`MAX_OWN_SIGNATURES`]; whether they are valid is another question.
#[must_use]
pub fn signatures_by(
    header: &Header<'_>,
    signing_domain: &DomainName,
    selector: &Selector,
) -> Vec<usize> {
    header
        .fields()
        .enumerate()
        .filter(|(_, field)| field.is_named(&FieldName::DKIM_SIGNATURE))
        .filter(|(_, field)| {
            // Ours are written in A-labels.
            let labels = Labels::read_ascii(field.value());
            labels.signing_domain.as_ref() == Some(signing_domain)
                && labels.selector.as_ref() == Some(selector)
        })
        .map(|(place, _)| place)
        .take(MAX_OWN_SIGNATURES)
        .collect()
}

/// A signature that lacks only the private key's part.
#[derive(Clone, Debug)]
pub struct Unsigned {
    request: SignRequest,
    body_hash: [u8; 32],
    digest: [u8; 32],
    /// Ends with `b=`.
    field: FoldedField,
}

impl Unsigned {
    /// What is to be signed: the SHA-256 digest of the canonical header fields.
    ///
    /// With RSA this is the digest inside the PKCS #1 padding; with Ed25519 it is the message
    /// (RFC 8463 §3).
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The algorithm to sign with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.request.algorithm
    }

    /// The SDID, `d=`.
    #[must_use]
    pub fn signing_domain(&self) -> &DomainName {
        &self.request.signing_domain
    }

    /// The selector, `s=`.
    #[must_use]
    pub fn selector(&self) -> &Selector {
        &self.request.selector
    }

    /// The SHA-256 digest of the canonical body, `bh=`.
    #[must_use]
    pub fn body_hash(&self) -> &[u8; 32] {
        &self.body_hash
    }

    /// Puts in the signature that was made over the digest.
    #[must_use]
    pub fn complete(self, signature: &[u8]) -> SignedField {
        let mut field = self.field;
        field.base64(&encode_base64(signature));
        SignedField { raw: field.finish() }
    }
}

/// A whole DKIM-Signature field, to be put in front of the message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignedField {
    raw: Vec<u8>,
}

impl SignedField {
    /// The field as it goes on the wire, folded, with its final CRLF.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The field's name, `DKIM-Signature`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        NAME
    }

    /// What follows the colon: a space, and the value with its folds as CRLF and a space, without the
    /// final CRLF. Where an MTA puts a space of its own behind the colon, that one has to go.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        let value = self.raw.get(NAME.len() + 1..).unwrap_or_default();
        value.strip_suffix(b"\r\n").unwrap_or(value)
    }
}

/// Why a message cannot be signed as asked.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum SignError {
    /// The fault of who wrote the message: there is nothing that a signature could stand for (§5.4).
    #[error("the message has no From field")]
    NoFrom,
    /// The fault of who wrote the message: readers would see one of them and verifiers another.
    #[error("the message has more than one From field")]
    SeveralFrom,
    /// The header begins with white space: on top of it the new field would take that line in.
    #[error("the header begins with white space, which would fold into the signature")]
    BeginsFolded,
    /// More fields that have to be signed as a whole than `h=` may name; see
    /// [`MAX_FIELD_LIST_LEN`](crate::MAX_FIELD_LIST_LEN).
    #[error("the message has more fields to sign than fit into h=")]
    TooManyFields,
    /// The fault of who asks, as all that follow: more DKIM-Signature fields in `h=` than there are.
    #[error("DKIM-Signature is to be signed more often than the message has it")]
    SignsItself,
    /// A signing domain of one label.
    #[error("the signing domain has a single label")]
    SingleLabel,
    /// Selector and domain together are longer than a name may be.
    #[error("no key record can have that selector and domain: {0}")]
    BadKeyName(#[source] NameError),
    /// `i=` is neither the signing domain nor below it.
    #[error("the identity is outside the signing domain")]
    IdentityOutsideDomain,
    /// `x=` is not after `t=`.
    #[error("the signature would expire before it is made")]
    ExpiresBeforeSigning,
    /// A time of more than twelve digits.
    #[error("the time does not fit into twelve digits")]
    BadTime,
}

/// A signature whose header fields are hashed.
struct Begun {
    body: BodyHashId,
    header: HeaderHashId,
    /// All up to the tag `bh=`.
    field: FoldedField,
}

impl Begun {
    fn new<'h>(
        request: &'h SignRequest,
        header: &'h Header<'_>,
        headers: &mut HeaderHashes<'h, '_>,
        bodies: &mut BodyHashes,
    ) -> Result<Self, SignError> {
        check(request)?;
        let names = request.fields.names(header).ok_or(SignError::TooManyFields)?;
        // One that is not there yet could only be the field that is being made (§3.5).
        let signed_signatures =
            names.iter().filter(|name| FieldName::DKIM_SIGNATURE.matches(name.as_bytes())).count();
        if signed_signatures > header.count(&FieldName::DKIM_SIGNATURE) {
            return Err(SignError::SignsItself);
        }
        let canonicalization = request.canonicalization;

        let mut field = FoldedField::new(NAME);
        field.token("v=1;");
        field.tag("a", request.algorithm);
        field.tag("c", canonicalization);
        field.tag("d", &request.signing_domain);
        field.tag("s", &request.selector);
        field.tag("t", request.signed_at);
        if let Some(expires_at) = request.expires_at {
            field.tag("x", expires_at);
        }
        if let Some(identity) = &request.identity {
            field.tag("i", identity.to_tag_value());
        }
        field.list("h", &names);

        let header = headers.request(canonicalization.header, Hash::Sha256, names, None);
        let body = bodies.request(canonicalization.body, Hash::Sha256, None);
        Ok(Self { body, header, field })
    }

    fn finish(
        self,
        request: SignRequest,
        body_hash: [u8; 32],
        headers: &mut SettledHashes,
    ) -> Unsigned {
        let Self { header, mut field, .. } = self;
        field.tag("bh", encode_base64(&body_hash));
        field.token("b=");
        let value = field.text().get(NAME.len() + 1..).unwrap_or_default();
        let digest = digest_octets(&headers.digest(header, NAME.as_bytes(), value, b""));
        Unsigned { request, body_hash, digest, field }
    }
}

fn check(request: &SignRequest) -> Result<(), SignError> {
    if request.signing_domain.label_count() < 2 {
        return Err(SignError::SingleLabel);
    }
    key_record_name(&request.selector, &request.signing_domain).map_err(SignError::BadKeyName)?;
    if let Some(identity) = &request.identity
        && !identity.domain().is_same_or_subdomain_of(&request.signing_domain)
    {
        return Err(SignError::IdentityOutsideDomain);
    }
    if request.expires_at.is_some_and(|expires_at| expires_at <= request.signed_at) {
        return Err(SignError::ExpiresBeforeSigning);
    }
    if request.signed_at > LAST_TIME || request.expires_at.is_some_and(|time| time > LAST_TIME) {
        return Err(SignError::BadTime);
    }
    Ok(())
}

fn begin_check<'h>(
    check: SignatureCheck,
    header: &'h Header<'_>,
    headers: &mut HeaderHashes<'h, '_>,
    bodies: &mut BodyHashes,
) -> Result<(Pending, KeyRecord), Outcome> {
    let field = header
        .fields()
        .nth(check.field)
        .ok_or(Outcome::Malformed(SignatureError::MissingTag("v")))?;
    let signature = Signature::parse(field.value()).map_err(Outcome::Malformed)?;
    let pending = Pending::new(check.field, field, signature, headers, bodies, check.now)
        .map_err(|settled| settled.outcome)?;
    Ok((pending, check.key))
}

fn digest_octets(digest: &aws_lc_rs::digest::Digest) -> [u8; 32] {
    digest.as_ref().try_into().expect("SHA-256 has 32 octets")
}

/// How many earlier signatures of its own a signer looks at. No official reference; a message has one,
/// or two where it was signed with two algorithms.
pub const MAX_OWN_SIGNATURES: usize = 4;

/// The last time of twelve digits (§3.5, `t=`).
const LAST_TIME: UnixTime = UnixTime(999_999_999_999);

/// The name of the field.
const NAME: &str = "DKIM-Signature";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_header_that_would_fold_into_the_signature() {
        for start in [" ", "\t"] {
            let raw = format!("{start}X: y\r\nFrom: a@example.com\r\n");
            let header = Header::parse(raw.as_bytes()).unwrap();
            let started = MessageSigning::start(Vec::new(), &header);
            assert_eq!(started.err(), Some(SignError::BeginsFolded), "{raw:?}");
        }
    }
}

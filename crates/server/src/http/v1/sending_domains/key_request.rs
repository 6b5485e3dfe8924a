//! The key that a new domain gets: one made here, one brought along, or none.
//!
//! What is brought along is the base64 of the private key (PKCS#8 or PKCS#1) and of the public key
//! (SubjectPublicKeyInfo) without armour, PEM being taken as well, and a selector. The same pair and
//! selector may serve many domains: that is how an ESP lets its customers point at one record with a
//! CNAME.

use postseal_dkim::{Algorithm, DomainName, NameError, Selector};
use postseal_keys::{ImportError, SigningKey};
use thiserror::Error;

use crate::http::body::{FieldError, Fields};
use crate::http::error::{ApiError, Code};

/// Which key a new domain gets.
pub(super) enum KeyRequest {
    /// None for now.
    Nothing,
    /// One that is made here.
    Generated,
    /// One that was brought along.
    Given {
        /// The private half, checked.
        key: SigningKey,
        /// Its selector.
        selector: Selector,
    },
}

impl KeyRequest {
    /// Reads `dkim`, `generate_dkim` and `dkim_key_length` for `domain`.
    pub(super) fn read(fields: Fields<'_>, domain: &DomainName) -> Result<Self, KeyRequestError> {
        let generates = fields.boolean("generate_dkim")?.unwrap_or(true);
        let length = fields.number("dkim_key_length")?;
        if let Some(given) = fields.object("dkim", "dkim.")? {
            return Self::given(given, domain);
        }
        if !generates {
            return Ok(Self::Nothing);
        }
        match length {
            None | Some(GENERATED_BITS) => Ok(Self::Generated),
            Some(bits) if bits < GENERATED_BITS => Err(KeyRequestError::ShortKey { bits }),
            Some(bits) => Err(KeyRequestError::LongKey { bits }),
        }
    }

    fn given(fields: Fields<'_>, domain: &DomainName) -> Result<Self, KeyRequestError> {
        let private = fields.required_string("private")?;
        let public = fields.required_string("public")?;
        let selector = fields.required_string("selector")?;
        // Read for its type; SparkPost ignores the value.
        fields.string("headers")?;
        let signing_domain = fields.string("signing_domain")?.filter(|text| !text.is_empty());
        if signing_domain.is_some_and(|text| DomainName::parse(text).as_ref() != Ok(domain)) {
            return Err(KeyRequestError::OtherSigningDomain);
        }
        if selector.is_empty() {
            return Err(KeyRequestError::EmptySelector);
        }
        if private.trim().is_empty() || public.trim().is_empty() {
            return Err(KeyRequestError::EmptyKey);
        }
        let selector = Selector::parse(selector).map_err(KeyRequestError::BadSelector)?;
        let key = SigningKey::import(private).map_err(|error| match error {
            ImportError::NotFound
            | ImportError::TooLong
            | ImportError::BadBase64
            | ImportError::Malformed
            | ImportError::Inconsistent => KeyRequestError::BadPrivateKey,
            ImportError::PublicKey
            | ImportError::Encrypted
            | ImportError::OtherAlgorithm
            | ImportError::TooSmall { .. }
            | ImportError::TooLarge { .. }
            | _ => KeyRequestError::UnusablePrivateKey(error),
        })?;
        if key.algorithm() != Algorithm::RsaSha256 {
            return Err(KeyRequestError::NotRsa);
        }
        match key.matches_public_key(public) {
            Ok(true) => Ok(Self::Given { key, selector }),
            Ok(false) => Err(KeyRequestError::Mismatch),
            Err(_) => Err(KeyRequestError::BadPublicKey),
        }
    }
}

/// Why a domain cannot have the key that was asked for. The caller's fault.
#[derive(Clone, Debug, Error, PartialEq)]
pub(super) enum KeyRequestError {
    #[error(transparent)]
    Field(#[from] FieldError),
    #[error("Empty keys are not allowed.")]
    EmptyKey,
    #[error("Error: DKIM selector length is zero.")]
    EmptySelector,
    #[error("Error: DKIM selector is not valid: {0}.")]
    BadSelector(NameError),
    #[error("Private key does not seem valid. Please use another key pair.")]
    BadPrivateKey,
    #[error("Unable to read private key. {0}.")]
    UnusablePrivateKey(ImportError),
    #[error(
        "Unable to read private key. A sending domain signs with RSA, and this is an Ed25519 key."
    )]
    NotRsa,
    #[error("Public key does not seem valid. Please use another key pair.")]
    BadPublicKey,
    #[error("Private and public DKIM keys do not match.")]
    Mismatch,
    #[error(
        "dkim.signing_domain must be the sending domain itself: mail is signed as the domain in its \
         From field, so that it passes DMARC"
    )]
    OtherSigningDomain,
    #[error(
        "dkim_key_length of {bits} is too short: Postseal signs with RSA keys of {GENERATED_BITS} bits, \
         as RFC 8301 recommends, and with none below"
    )]
    ShortKey { bits: u64 },
    #[error(
        "dkim_key_length of {bits}: Postseal makes RSA keys of {GENERATED_BITS} bits; a longer key of up \
         to 4096 bits can be brought along in dkim"
    )]
    LongKey { bits: u64 },
}

impl From<KeyRequestError> for ApiError {
    fn from(error: KeyRequestError) -> Self {
        if let KeyRequestError::Field(error) = error {
            return error.into();
        }
        Self::coded(Code::Data, error.to_string())
    }
}

/// The size of the keys that are made here, and SparkPost's default.
const GENERATED_BITS: u64 = 2048;

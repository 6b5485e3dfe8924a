//! What signing needs to know of a key. The private half is sealed, and only `postseal-keys` opens it.
//!
//! A million RSA keys take 1.3 GB in their sealed form, so an entry may say where the signer's own
//! disk has them instead of holding them ([`SealedKey::Filed`]).

use std::fmt;
use std::sync::Arc;

use postseal_dkim::{Algorithm, DomainName, Selector};
use thiserror::Error;

use crate::id::{KeyId, TenantId};

/// A key that may sign, without its private half in the clear.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyEntry {
    /// The key.
    pub id: KeyId,
    /// The tenant whose key it is. Part of what the sealing binds the key to, and of every cache key.
    pub owner: TenantId,
    /// The domain it signs for, `d=` (RFC 6376 §3.5).
    pub domain: DomainName,
    /// The selector under which its public half is published, `s=`.
    pub selector: Selector,
    /// What it signs with, `a=`.
    pub algorithm: Algorithm,
    /// The private half.
    pub sealed: SealedKey,
}

impl KeyEntry {
    /// What a cache of opened keys has to be asked by. The tenant is part of it, so that no tenant is
    /// served from what was cached for another, and the id, so that a new key under an old name is
    /// not the old key.
    #[must_use]
    pub fn cache_key(&self) -> KeyCacheKey {
        KeyCacheKey {
            owner: self.owner,
            domain: self.domain.clone(),
            selector: self.selector.clone(),
            id: self.id,
        }
    }
}

/// What names an opened key in a cache.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct KeyCacheKey {
    /// The tenant whose key it is.
    pub owner: TenantId,
    /// The domain it signs for.
    pub domain: DomainName,
    /// Its selector.
    pub selector: Selector,
    /// The key itself.
    pub id: KeyId,
}

/// A private key as the store has it: encrypted and opaque.
#[derive(Clone, Eq, PartialEq)]
pub enum SealedKey {
    /// The sealed octets.
    Held(Arc<[u8]>),
    /// Where the signer's own disk has the sealed octets, which are read when the key is first used.
    Filed(FiledKey),
}

impl SealedKey {
    /// Takes sealed octets.
    #[must_use]
    pub fn new(sealed: impl Into<Arc<[u8]>>) -> Self {
        Self::Held(sealed.into())
    }

    /// The sealed octets, if they are in memory.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Held(sealed) => Some(sealed),
            Self::Filed(_) => None,
        }
    }
}

impl fmt::Debug for SealedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held(sealed) => write!(f, "SealedKey({} octets)", sealed.len()),
            Self::Filed(filed) => write!(f, "SealedKey({filed:?})"),
        }
    }
}

/// A place in the signer's own file of sealed keys.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct FiledKey {
    /// Where the sealed octets begin, from the start of the file.
    pub offset: u64,
    /// How many there are.
    pub len: u32,
}

/// The keys with which a domain signs now: an RSA key, and perhaps an Ed25519 key beside it.
///
/// Ed25519 is only an extra, since several large receivers still cannot verify it (RFC 8463 §6 has
/// signers use both).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SigningKeys {
    rsa: Arc<KeyEntry>,
    ed25519: Option<Arc<KeyEntry>>,
}

impl SigningKeys {
    /// The RSA key alone.
    pub fn new(rsa: Arc<KeyEntry>) -> Result<Self, SigningKeysError> {
        if rsa.algorithm != Algorithm::RsaSha256 {
            return Err(SigningKeysError::NotRsa);
        }
        Ok(Self { rsa, ed25519: None })
    }

    /// These keys and an Ed25519 key of the same domain and tenant.
    pub fn with_ed25519(mut self, ed25519: Arc<KeyEntry>) -> Result<Self, SigningKeysError> {
        if ed25519.algorithm != Algorithm::Ed25519Sha256 {
            return Err(SigningKeysError::NotEd25519);
        }
        if ed25519.domain != self.rsa.domain || ed25519.owner != self.rsa.owner {
            return Err(SigningKeysError::KeysApart);
        }
        self.ed25519 = Some(ed25519);
        Ok(self)
    }

    /// The RSA key.
    #[must_use]
    pub fn rsa(&self) -> &Arc<KeyEntry> {
        &self.rsa
    }

    /// The Ed25519 key, if there is one.
    #[must_use]
    pub fn ed25519(&self) -> Option<&Arc<KeyEntry>> {
        self.ed25519.as_ref()
    }
}

/// Why keys cannot sign together for a domain. A fault of the store.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum SigningKeysError {
    /// The first key has another algorithm.
    #[error("the key that signs for a domain has to be an RSA key")]
    NotRsa,
    /// The extra key has another algorithm.
    #[error("the key beside the RSA key has to be an Ed25519 key")]
    NotEd25519,
    /// Keys of two domains, or of two tenants.
    #[error("the RSA key and the Ed25519 key belong to different domains or tenants")]
    KeysApart,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(owner: u32, domain: &str, algorithm: Algorithm) -> Arc<KeyEntry> {
        Arc::new(KeyEntry {
            id: KeyId::new(1),
            owner: TenantId::new(owner),
            domain: DomainName::parse(domain).unwrap(),
            selector: Selector::parse("s1").unwrap(),
            algorithm,
            sealed: SealedKey::new(*b"sealed octets"),
        })
    }

    #[test]
    fn keys_sign_together_only_for_one_domain_of_one_tenant() {
        use Algorithm::{Ed25519Sha256, RsaSha256};

        let keys = SigningKeys::new(key(1, "a.example", RsaSha256)).unwrap();
        let cases = [
            (key(1, "a.example", Ed25519Sha256), None),
            (key(1, "a.example", RsaSha256), Some(SigningKeysError::NotEd25519)),
            (key(1, "b.example", Ed25519Sha256), Some(SigningKeysError::KeysApart)),
            (key(2, "a.example", Ed25519Sha256), Some(SigningKeysError::KeysApart)),
        ];
        for (extra, want) in cases {
            let got = keys.clone().with_ed25519(Arc::clone(&extra)).err();
            assert_eq!(got, want, "{extra:?}");
        }
        assert_eq!(
            SigningKeys::new(key(1, "a.example", Ed25519Sha256)),
            Err(SigningKeysError::NotRsa)
        );
    }

    #[test]
    fn cache_keys_differ_by_tenant_alone() {
        let one = key(1, "a.example", Algorithm::RsaSha256);
        let two = key(2, "a.example", Algorithm::RsaSha256);
        assert_ne!(one.cache_key(), two.cache_key());
    }

    #[test]
    fn sealed_octets_are_not_printed() {
        assert_eq!(format!("{:?}", SealedKey::new(*b"secret")), "SealedKey(6 octets)");
    }
}

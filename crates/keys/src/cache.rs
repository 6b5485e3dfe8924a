//! Opened keys, kept for the next message.
//!
//! The snapshot holds keys sealed, or says where on the signer's own disk they lie. Opening an RSA key costs
//! about as much as a signature, and an open one takes some 6 KB after its first use, so the cache is
//! bounded and keeps the keys that are used most.
//!
//! A key is found by tenant, domain, selector *and* key id, all of them compared: no two tenants can ever
//! get each other's key, whatever the store says. Concurrent first uses of a key open it once.

use std::fmt;
use std::io;
use std::num::NonZeroU64;
use std::sync::Arc;

use moka::sync::Cache;
use postseal_engine::{FiledKey, KeyCacheKey, KeyEntry, SealedKey};
use thiserror::Error;
use tokio::sync::OnceCell;

use crate::job::SignError;
use crate::master_key::MasterKey;
use crate::seal::{KeyContext, OpenError};
use crate::signing_key::SigningKey;
use crate::threads::SigningThreads;

/// Opens sealed keys at first use and keeps them.
pub struct KeyCache {
    slots: Cache<KeyCacheKey, Arc<Slot>>,
    threads: Arc<SigningThreads>,
    master_key: Arc<MasterKey>,
    filed_keys: Arc<dyn FiledKeys>,
}

impl KeyCache {
    /// An empty cache for `capacity` keys, which opens them on `threads`.
    #[must_use]
    pub fn new(
        capacity: NonZeroU64,
        threads: Arc<SigningThreads>,
        master_key: Arc<MasterKey>,
        filed_keys: Arc<dyn FiledKeys>,
    ) -> Self {
        Self { slots: Cache::new(capacity.get()), threads, master_key, filed_keys }
    }

    /// Signs a digest with the key of `entry`.
    pub async fn sign(&self, entry: &KeyEntry, digest: [u8; 32]) -> Result<Vec<u8>, KeyUseError> {
        let key = self.key(entry).await?;
        Ok(self.threads.sign(key, digest).await?)
    }

    /// The opened key of `entry`.
    ///
    /// A key that does not open is tried again at its next use, so that a mended row needs no restart.
    pub async fn key(&self, entry: &KeyEntry) -> Result<Arc<SigningKey>, KeyUseError> {
        let key = entry.cache_key();
        let slot = match self.slots.get(&key) {
            Some(slot) => slot,
            None => self.slots.get_with(key, Arc::default),
        };
        if let Some(key) = slot.0.get() {
            return Ok(Arc::clone(key));
        }
        slot.0.get_or_try_init(|| self.open(entry)).await.cloned()
    }

    /// Drops the key of `entry` from memory, after its private half was destroyed in the store.
    ///
    /// Signatures that are being made with it come to their end.
    pub fn forget(&self, entry: &KeyEntry) {
        self.slots.invalidate(&entry.cache_key());
        // Otherwise the cache itself may hold on to it for a while.
        self.slots.run_pending_tasks();
    }

    /// Drops all keys from memory.
    pub fn forget_all(&self) {
        self.slots.invalidate_all();
        self.slots.run_pending_tasks();
    }

    /// How many keys are held, about.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.slots.run_pending_tasks();
        self.slots.entry_count()
    }

    /// Says whether no key is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    async fn open(&self, entry: &KeyEntry) -> Result<Arc<SigningKey>, KeyUseError> {
        let master_key = Arc::clone(&self.master_key);
        let filed_keys = Arc::clone(&self.filed_keys);
        let entry = entry.clone();
        let opened = self.threads.run(move || {
            let read;
            let sealed = match &entry.sealed {
                SealedKey::Held(sealed) => &**sealed,
                SealedKey::Filed(filed) if filed.len > MAX_SEALED_LEN => {
                    return Err(OpenError::Damaged.into());
                }
                SealedKey::Filed(filed) => {
                    read = filed_keys
                        .read(*filed)
                        .map_err(|error| KeyUseError::Unreadable { kind: error.kind() })?;
                    &*read
                }
            };
            let context = KeyContext {
                tenant: entry.owner,
                signing_domain: &entry.domain,
                selector: &entry.selector,
            };
            let key = master_key.open(sealed, &context)?;
            if key.algorithm() != entry.algorithm {
                return Err(KeyUseError::OtherAlgorithm);
            }
            Ok(Arc::new(key))
        });
        opened.await?
    }
}

impl fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyCache")
            .field("entries", &self.slots.entry_count())
            .finish_non_exhaustive()
    }
}

/// Why a stored key gives no signature.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum KeyUseError {
    /// It does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The signer's own file of sealed keys can't be read.
    #[error("the signer's own copy of the sealed keys cannot be read ({kind}); look at its disk")]
    Unreadable {
        /// What the system says.
        kind: io::ErrorKind,
    },
    /// It opens, and is not what its row says.
    #[error("the sealed key is of another algorithm than its row says; replace the key")]
    OtherAlgorithm,
    /// It was not signed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// Reads sealed keys from the signer's own disk.
pub trait FiledKeys: Send + Sync + 'static {
    /// Reads the sealed octets at that place. Called on a signing thread; may block for one read.
    fn read(&self, place: FiledKey) -> io::Result<Vec<u8>>;
}

/// For a signer that holds all its sealed keys in memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFiledKeys;

impl FiledKeys for NoFiledKeys {
    fn read(&self, _place: FiledKey) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// A place for one key, filled by the first who needs it.
#[derive(Default)]
struct Slot(OnceCell<Arc<SigningKey>>);

/// How many opened keys are kept by default, some 200 MB of RSA keys. No official reference.
pub const DEFAULT_KEY_CACHE_CAPACITY: NonZeroU64 = NonZeroU64::new(32_768).unwrap();

/// The longest sealed key that is read from disk: several times RSA with 4096 bits.
const MAX_SEALED_LEN: u32 = 16_384;

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::sync::atomic::{AtomicU32, Ordering};

    use postseal_dkim::{Algorithm, DomainName, Selector};
    use postseal_engine::{KeyId, TenantId};

    use super::*;

    const DIGEST: [u8; 32] = [5; 32];

    /// Sealed keys in memory that count how often they are read.
    #[derive(Default)]
    struct Shelf {
        sealed: Vec<u8>,
        reads: AtomicU32,
    }

    impl FiledKeys for Shelf {
        fn read(&self, place: FiledKey) -> io::Result<Vec<u8>> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            let from = usize::try_from(place.offset).unwrap();
            self.sealed
                .get(from..from + place.len as usize)
                .map(<[u8]>::to_vec)
                .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
        }
    }

    fn master_key() -> Arc<MasterKey> {
        Arc::new(MasterKey::generate().unwrap_or_else(|error| panic!("{error}")))
    }

    fn cache(master_key: &Arc<MasterKey>, capacity: u64, shelf: Arc<Shelf>) -> KeyCache {
        let two = NonZeroUsize::new(2).unwrap();
        let threads = SigningThreads::start(two, two).unwrap();
        let capacity = NonZeroU64::new(capacity).unwrap();
        KeyCache::new(capacity, Arc::new(threads), Arc::clone(master_key), shelf)
    }

    /// A sealed Ed25519 key, and its public half.
    fn entry(master_key: &MasterKey, tenant: u32, domain: &str, id: u64) -> (KeyEntry, String) {
        let key = SigningKey::generate(Algorithm::Ed25519Sha256).unwrap_or_else(|_| panic!());
        let owner = TenantId::new(tenant);
        let (domain, selector) =
            (DomainName::parse(domain).unwrap(), Selector::parse("s").unwrap());
        let context = KeyContext { tenant: owner, signing_domain: &domain, selector: &selector };
        let sealed = master_key.seal(&key, &context).unwrap();
        let algorithm = key.algorithm();
        let entry = KeyEntry { id: KeyId::new(id), owner, domain, selector, algorithm, sealed };
        (entry, key.public_record())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn concurrent_first_uses_open_a_key_once() {
        let master_key = master_key();
        let (mut entry, record) = entry(&master_key, 1, "a.example", 1);
        let sealed = entry.sealed.as_bytes().unwrap().to_vec();
        entry.sealed =
            SealedKey::Filed(FiledKey { offset: 0, len: u32::try_from(sealed.len()).unwrap() });
        let shelf = Arc::new(Shelf { sealed, ..Shelf::default() });
        let cache = Arc::new(cache(&master_key, 10, Arc::clone(&shelf)));
        let entry = Arc::new(entry);

        let tasks: Vec<_> = (0..100)
            .map(|_| {
                let (cache, entry) = (Arc::clone(&cache), Arc::clone(&entry));
                tokio::spawn(async move { cache.key(&entry).await.unwrap().public_record() })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap(), record);
        }
        assert_eq!(shelf.reads.load(Ordering::Relaxed), 1);

        cache.forget(&entry);
        assert!(cache.is_empty());
        assert_eq!(cache.key(&entry).await.unwrap().public_record(), record);
        assert_eq!(shelf.reads.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn no_tenant_gets_the_key_of_another() {
        let master_key = master_key();
        let cache = cache(&master_key, 100, Arc::default());
        // Two tenants with the same domain, selector and, by a fault of the store, key id.
        let (one, one_record) = entry(&master_key, 1, "a.example", 7);
        let (two, two_record) = entry(&master_key, 2, "a.example", 7);
        for _ in 0..3 {
            assert_eq!(cache.key(&one).await.unwrap().public_record(), one_record);
            assert_eq!(cache.key(&two).await.unwrap().public_record(), two_record);
        }
        // A row that was copied from one to the other.
        let swapped = KeyEntry { id: KeyId::new(8), sealed: one.sealed.clone(), ..two };
        assert_eq!(cache.sign(&swapped, DIGEST).await, Err(KeyUseError::Open(OpenError::Damaged)));
    }

    #[tokio::test]
    async fn holds_no_more_keys_than_it_may() {
        let master_key = master_key();
        let cache = cache(&master_key, 5, Arc::default());
        for id in 0..40 {
            let (entry, record) = entry(&master_key, 1, "a.example", id);
            assert_eq!(cache.key(&entry).await.unwrap().public_record(), record);
            assert!(!cache.sign(&entry, DIGEST).await.unwrap().is_empty());
        }
        assert!((1..=5).contains(&cache.len()), "{}", cache.len());
    }

    #[tokio::test]
    async fn a_row_that_does_not_open_says_why_and_can_be_mended() {
        let master_key = master_key();
        let cache = cache(&master_key, 5, Arc::default());
        let (good, _) = entry(&master_key, 1, "a.example", 1);
        let filed = |len| SealedKey::Filed(FiledKey { offset: 0, len });
        let other_master_key = self::master_key();
        let (foreign, _) = entry(&other_master_key, 1, "a.example", 1);
        let damaged = KeyUseError::Open(OpenError::Damaged);
        let unreadable = KeyUseError::Unreadable { kind: io::ErrorKind::UnexpectedEof };
        let cases = [
            (SealedKey::new(*b""), good.algorithm, damaged),
            (SealedKey::new(*b"\x01short"), good.algorithm, damaged),
            (foreign.sealed, good.algorithm, KeyUseError::Open(OpenError::OtherMasterKey)),
            (filed(100), good.algorithm, unreadable),
            (filed(u32::MAX), good.algorithm, damaged),
            (good.sealed.clone(), Algorithm::RsaSha256, KeyUseError::OtherAlgorithm),
        ];
        for (sealed, algorithm, want) in cases {
            let entry = KeyEntry { sealed, algorithm, ..good.clone() };
            assert_eq!(cache.sign(&entry, DIGEST).await, Err(want), "{entry:?}");
        }
        assert!(cache.sign(&good, DIGEST).await.is_ok());
    }
}

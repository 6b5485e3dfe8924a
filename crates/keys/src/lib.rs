//! Private keys: made, imported, sealed at rest, and used to sign digests.
//!
//! Only this crate can name a private key. It knows no message, no SQL and no front door. Reading order:
//!
//! - [`SigningKey`]: one key in memory, and the text of its DNS record;
//! - [`MasterKey`], [`MasterKeySource`]: under what they lie, and where that comes from;
//! - [`KeyContext`]: sealing, which ties a row to its tenant, domain and selector;
//! - [`SigningJob`], [`SigningThreads`]: where signatures are made;
//! - [`KeyCache`]: from a stored key and a digest to a signature.
//!
//! What may leave: public records, signatures, sealed keys, the master key's check value. What else leaves
//! does so through a method whose name begins with `expose_`. Secrets have no `Debug`, `Display` or `Clone`,
//! every buffer that held one is wiped, and no error carries a text that was given as a key.

#![warn(clippy::indexing_slicing, clippy::string_slice)]

mod cache;
mod der;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod job;
mod master_key;
mod pem;
mod seal;
mod signing_key;
mod source;
mod threads;

pub use self::cache::{DEFAULT_KEY_CACHE_CAPACITY, FiledKeys, KeyCache, KeyUseError, NoFiledKeys};
pub use self::job::{DigestSigner, SignError, SigningCounts, SigningJob, SoftwareSigner};
pub use self::master_key::{
    BadCheckValue, CheckValue, MasterKey, MasterKeyTextError, WrongMasterKey,
};
pub use self::seal::{KeyContext, OpenError};
pub use self::signing_key::{
    GenerateError, ImportError, MAX_KEY_TEXT_LEN, MAX_RSA_BITS, MIN_RSA_BITS, PublicKeyError,
    SignatureError, SigningKey,
};
pub use self::source::{
    MASTER_KEY_CREDENTIAL, MASTER_KEY_VARIABLE, MasterKeyError, MasterKeySource,
};
pub use self::threads::{DEFAULT_QUEUE_LEN, SigningThreads, StartError};

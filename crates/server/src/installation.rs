//! The data folder: what an installation is made of, from its first start on.
//!
//! ```text
//!   DATA/              mode 0700
//!     postseal.db      the store (SQLite, with its -wal and -shm files)
//!     master.key       the master key, mode 0600; only if the environment and the configuration name no other
//!     held/            messages too large for memory while they wait for their signature; nameless files
//! ```
//!
//! A start finds each of these or makes it, in an order that leaves nothing half done: a master key is only ever
//! made for a store that has no sealed keys yet, and the store notes which master key its keys are sealed with
//! before the first is sealed.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use postseal_engine::{Grants, TenantId};
use postseal_keys::{
    BadCheckValue, CheckValue, MasterKey, MasterKeyError, MasterKeySource, WrongMasterKey,
};
use postseal_store::{Fact, NewApiKey as StoredApiKey, Store, StoreError};
use thiserror::Error;

use crate::clock;
use crate::http::{Ambient, NewApiKey, NoRandomness};

/// What a start finds or makes in the data folder.
pub struct Installation {
    /// The store.
    pub store: Store,
    /// The master key.
    pub master_key: MasterKey,
    /// Where the master key was found.
    pub master_key_source: MasterKeySource,
    /// The folder for held messages.
    pub held: PathBuf,
}

impl Installation {
    /// Opens the data folder, and makes what is missing.
    ///
    /// # Errors
    ///
    /// When something cannot be made or read, and when the master key is not the one of the store.
    pub async fn open(
        data: &Path,
        master_key_file: Option<&Path>,
    ) -> Result<Self, InstallationError> {
        let held = data.join("held");
        for folder in [data, &held] {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(|source| InstallationError::Folder { path: folder.to_owned(), source })?;
        }
        let store = Store::open(&data.join("postseal.db")).await?;
        let expected: Option<CheckValue> = match store.fact(Fact::MasterKeyCheck).await? {
            Some(text) => Some(text.parse()?),
            None => None,
        };
        let file = master_key_file.map_or_else(|| data.join("master.key"), Path::to_owned);
        let (master_key, master_key_source) =
            match MasterKey::find(|name| std::env::var_os(name), &file)? {
                Some(found) => found,
                // Another key would not open what is sealed, and the right one may still be put back.
                None if expected.is_some() || master_key_file.is_some() => {
                    return Err(MasterKeyError::Missing { path: file }.into());
                }
                None => (MasterKey::create_file(&file)?, MasterKeySource::File(file)),
            };
        let mut unit = store.write(clock::now()).await?;
        let check_value = master_key.check_value().to_string();
        let holds: CheckValue =
            unit.state_fact(Fact::MasterKeyCheck, &check_value).await?.parse()?;
        unit.commit().await?;
        master_key.check(&holds)?;

        Ok(Self { store, master_key, master_key_source, held })
    }

    /// Makes an API key with every grant for an account that has none, and has it shown.
    ///
    /// It is shown before it is saved. A process that dies in between leaves a key that was shown and is worth
    /// nothing, and the next start makes another; the other way round the account would be locked out for good.
    ///
    /// # Errors
    ///
    /// When the key cannot be shown, made or saved.
    pub async fn make_first_api_key(
        &self,
        ambient: &Ambient,
        show: impl FnOnce(&NewApiKey) -> std::io::Result<()>,
    ) -> Result<(), InstallationError> {
        // Nobody else writes from here on, so no other start makes a first key too.
        let mut unit = self.store.write(clock::now()).await?;
        if !self.store.api_keys(Some(TenantId::PRIMARY)).await?.is_empty() {
            return Ok(());
        }
        let key = NewApiKey::generate(ambient)?;
        show(&key).map_err(InstallationError::NotShown)?;
        unit.create_api_key(StoredApiKey {
            tenant: TenantId::PRIMARY,
            hash: key.hash(),
            short_key: key.short(),
            label: "first key".to_owned(),
            grants: Grants::all(),
            valid_ips: Vec::new(),
            expires_at: None,
        })
        .await?;
        unit.commit().await?;
        Ok(())
    }
}

/// Why the data folder cannot be used.
#[derive(Debug, Error)]
pub enum InstallationError {
    /// A folder cannot be made.
    #[error("cannot make the folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The store cannot be opened or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no master key, or it cannot be read or made.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// The master key is another one than that of the store.
    #[error(transparent)]
    WrongMasterKey(#[from] WrongMasterKey),
    /// The store's note of its master key is damaged.
    #[error(transparent)]
    BadCheckValue(#[from] BadCheckValue),
    /// The first API key could not be shown to anybody.
    #[error(
        "cannot write the first API key to standard output ({0}); nothing was saved, start again where it can be read"
    )]
    NotShown(std::io::Error),
    /// There is no randomness for an API key.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

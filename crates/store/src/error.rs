//! What can go wrong in the store, as sentences a person can act on.
//!
//! Callers tell apart what the request is at fault for ([`StoreError::NotFound`], [`StoreError::Conflict`]),
//! what passes by itself ([`StoreError::Busy`]) and what an operator has to mend (the rest).

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use postseal_engine::{PoolId, TenantId};
use thiserror::Error;

/// Why the store did not do what it was asked to. Nothing was changed then.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The row that was to be changed isn't there.
    #[error("{0} does not exist")]
    NotFound(Thing),
    /// What is asked for contradicts what is there.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// Another process or a long operation holds the database. Worth another try.
    #[error(
        "the database is busy; try again in some seconds, and see that no other program holds it open"
    )]
    Busy,
    /// The disk has no room. Reading goes on.
    #[error("the disk of the database is full; make room on it")]
    Full,
    /// The database can't be written.
    #[error(
        "the database is read-only; give the user of this service the right to write the file and its folder"
    )]
    ReadOnly,
    /// The file at the path is no longer the one that was opened.
    #[error("the database {} was moved, replaced or deleted; put it back, or start the service again", path.display())]
    Moved {
        /// Where it was.
        path: PathBuf,
    },
    /// A row that this version could not have written.
    #[error("row {id} of table {table} is damaged ({reason}); restore the database from a backup")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The row's key.
        id: String,
        /// What is wrong with it, without its contents.
        reason: Cow<'static, str>,
    },
    /// The file is no database, or a broken one.
    #[error("the database file is damaged or is no database; restore it from a backup")]
    Damaged(#[source] sqlx::Error),
    /// A later version of Postseal has changed the tables.
    #[error("the database was written by a newer version of Postseal; start that version")]
    SchemaNewer,
    /// The tables could not be brought to this version.
    #[error("the database could not be brought to this version")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// The file can't be opened.
    #[error("the database {} cannot be opened; see that its folder exists and this service may write in it", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: sqlx::Error,
    },
    /// The follower was away for so long that the change log has dropped what it missed.
    #[error("the change log does not reach back that far; everything has to be loaded anew")]
    Forgotten,
    /// The follower is at a revision that this database never had: it was restored from an older backup.
    #[error("the database is at revision {newest}, behind {asked}: it was restored from a backup")]
    Rewound {
        /// The newest revision it has.
        newest: u64,
        /// The revision that was asked for.
        asked: u64,
    },
    /// The disk, or something else below.
    #[error("the database cannot be used")]
    Database(#[source] sqlx::Error),
}

impl StoreError {
    /// Gives an error of the database that has no name of its own the name of what was tried.
    pub(crate) fn instead_of_other(self, named: impl FnOnce(sqlx::Error) -> Self) -> Self {
        if let Self::Database(error) = self { named(error) } else { self }
    }
}

/// What contradicts a request.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Conflict {
    /// The tenant has the domain already.
    #[error("the domain is registered already")]
    DomainExists,
    /// Another tenant has verified the domain.
    #[error("the domain was verified by another account")]
    DomainOwned {
        /// Who has it. For the operator; never told to the tenant that asked.
        owner: TenantId,
    },
    /// The selector was used for another key of the domain.
    #[error("the selector was used for another key of this domain; choose one that was never used")]
    SelectorUsed,
    /// The tenant has a key of that selector in the domain.
    #[error("the domain has a key with this selector already")]
    KeyExists,
    /// The domain has a key with that id.
    #[error("the domain has a key with this id already")]
    KeyLabelExists,
    /// The private half was destroyed.
    #[error("the private key was destroyed; it cannot sign any more")]
    KeyDestroyed,
    /// The key signs now.
    #[error("the key signs at the moment; let another key take its place first")]
    KeySigns,
    /// A pool has that id.
    #[error("there is a pool with the id {id} already")]
    PoolExists {
        /// The id that the name leads to.
        id: PoolId,
    },
    /// The pool `default` stays.
    #[error("the pool default cannot be deleted")]
    PoolReserved,
    /// Two API keys with one hash.
    #[error("the API key is there already")]
    ApiKeyExists,
    /// The primary account stays active.
    #[error("the primary account cannot be suspended")]
    PrimaryAccount,
    /// Only the primary account shares domains.
    #[error("only a domain of the primary account can be shared with subaccounts")]
    NotShareable,
}

/// A kind of row, for messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Thing {
    /// A tenant.
    Tenant,
    /// An API key.
    ApiKey,
    /// A sending domain of the tenant that asked.
    Domain,
    /// A key of a domain.
    SigningKey,
    /// An IP pool.
    Pool,
    /// A mailbox provider.
    Provider,
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tenant => "the tenant",
            Self::ApiKey => "the API key",
            Self::Domain => "the domain",
            Self::SigningKey => "the key",
            Self::Pool => "the IP pool",
            Self::Provider => "the provider",
        })
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if matches!(error, sqlx::Error::PoolTimedOut) {
            return Self::Busy;
        }
        // The primary result code is the low octet (sqlite.org/rescode.html).
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code)
            .and_then(|code| code.parse::<u32>().ok())
            .map(|code| code & 0xff);
        match code {
            Some(SQLITE_BUSY | SQLITE_LOCKED) => Self::Busy,
            Some(SQLITE_FULL) => Self::Full,
            Some(SQLITE_READONLY) => Self::ReadOnly,
            Some(SQLITE_CORRUPT | SQLITE_NOTADB) => Self::Damaged(error),
            Some(_) | None => Self::Database(error),
        }
    }
}

/// Says whether a statement failed on a unique index.
pub(crate) fn is_taken(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

const SQLITE_BUSY: u32 = 5;
const SQLITE_LOCKED: u32 = 6;
const SQLITE_READONLY: u32 = 8;
const SQLITE_CORRUPT: u32 = 11;
const SQLITE_FULL: u32 = 13;
const SQLITE_NOTADB: u32 = 26;

//! The SQLite file: opening it, its connections, and how long anyone waits for it.
//!
//! WAL, so that readers and the one writer do not wait for each other; `synchronous=FULL`, so that what was
//! committed is on disk; one connection for writing, whose transactions begin with `BEGIN IMMEDIATE`, so
//! that none of them fails half-way because another was quicker; a few for reading.
//!
//! Nothing here waits for ever: SQLite waits [`BUSY_TIMEOUT`] for another process, and every operation ends
//! after [`OPERATION_TIMEOUT`] with [`StoreError::Busy`]. A file that was moved away under us would take
//! writes that nobody sees again, so the file at the path is compared with the one that was opened.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use postseal_engine::Revision;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::query::Query;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, Row as _, SqlSafeStr as _, Sqlite, Transaction};
use tokio::sync::watch;

use crate::error::StoreError;

/// What remembers everything: tenants, domains, sealed keys, pools, and the log of their changes.
///
/// A handle; clones are cheap and lead to the same database.
#[derive(Clone, Debug)]
pub struct Store(Arc<Database>);

#[derive(Debug)]
struct Database {
    path: PathBuf,
    /// Device and inode of the file that was opened.
    identity: (u64, u64),
    writer: SqlitePool,
    readers: SqlitePool,
    newest: watch::Sender<Revision>,
}

impl Store {
    /// Opens the database at `path`, makes it if it is missing (its folder has to be there), and brings its
    /// tables to this version.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Open { path: path.to_owned(), source };
        create_private(path).map_err(|error| failed(sqlx::Error::Io(error)))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .row_buffer_size(ROW_BUFFER)
            .disable_statement_logging();
        let pool = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(BUSY_TIMEOUT)
                // A connection to a file does not go stale, and has prepared statements.
                .idle_timeout(None)
                .max_lifetime(None)
                .test_before_acquire(false)
        };
        let opened = |error| StoreError::from(error).instead_of_other(failed);
        // SQLite ends a transaction by itself when the disk is full, of which sqlx does not hear: its next
        // `BEGIN` would fail, and every other one. Such a connection is replaced; the ping before the look
        // lets a rollback that is under way end.
        let one = pool(1).test_before_acquire(true).before_acquire(|connection, _| {
            Box::pin(async move { Ok(!connection.is_in_transaction()) })
        });
        // Another process that starts at the same moment makes or changes the tables, during which SQLite
        // refuses some things at once instead of waiting.
        let writer = within(async {
            loop {
                let writer = match one.clone().connect_with(options.clone()).await {
                    Ok(writer) => migrate(&writer).await.map(|()| writer),
                    Err(error) => Err(opened(error)),
                };
                match writer {
                    Err(StoreError::Busy) => tokio::time::sleep(PAUSE_WHEN_BUSY).await,
                    Ok(_) | Err(_) => return writer,
                }
            }
        })
        .await?;
        let readers = pool(READERS).connect_lazy_with(options.read_only(true));
        let identity = identity(path).map_err(|error| failed(sqlx::Error::Io(error)))?;

        let store = Self(Arc::new(Database {
            path: path.to_owned(),
            identity,
            writer,
            readers,
            newest: watch::Sender::new(Revision::ZERO),
        }));
        let newest = store.revision().await?;
        store.0.newest.send_replace(newest);
        Ok(store)
    }

    /// The file of the database.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The newest revision in the database.
    pub async fn revision(&self) -> Result<Revision, StoreError> {
        let row = self.fetch_one(sqlx::query("SELECT newest FROM revision")).await?;
        revision_of(&row, "newest")
    }

    /// Wakes whoever follows the changes: holds the newest revision that this process committed.
    ///
    /// Other processes are noticed by asking [`Store::revision`] from time to time.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Revision> {
        self.0.newest.subscribe()
    }

    /// Tells followers of a revision.
    pub(crate) fn announce(&self, revision: Revision) {
        self.0.newest.send_if_modified(|newest| {
            let is_newer = revision > *newest;
            if is_newer {
                *newest = revision;
            }
            is_newer
        });
    }

    /// Closes all connections, after what is under way, and merges the write-ahead log into the file.
    pub async fn close(&self) {
        // Best effort: what was committed is safe in the write-ahead log too.
        let _ = within(async {
            self.0.readers.close().await;
            self.0.writer.close().await;
            Ok(())
        })
        .await;
    }

    /// Begins a transaction that will write.
    pub(crate) async fn begin_writing(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.check_unmoved()?;
        within(async { Ok(self.0.writer.begin_with("BEGIN IMMEDIATE").await?) }).await
    }

    /// Begins a transaction that sees one state of the database and writes nothing.
    pub(crate) async fn begin_reading(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.check_unmoved()?;
        within(async { Ok(self.0.readers.begin().await?) }).await
    }

    pub(crate) async fn fetch_one(
        &self,
        query: Query<'_, Sqlite, SqliteArguments>,
    ) -> Result<SqliteRow, StoreError> {
        within(async { Ok(query.fetch_one(&self.0.readers).await?) }).await
    }

    pub(crate) async fn fetch_optional(
        &self,
        query: Query<'_, Sqlite, SqliteArguments>,
    ) -> Result<Option<SqliteRow>, StoreError> {
        within(async { Ok(query.fetch_optional(&self.0.readers).await?) }).await
    }

    pub(crate) async fn fetch_all(
        &self,
        query: Query<'_, Sqlite, SqliteArguments>,
    ) -> Result<Vec<SqliteRow>, StoreError> {
        within(async { Ok(query.fetch_all(&self.0.readers).await?) }).await
    }

    /// One look at the directory entry, which costs a microsecond.
    fn check_unmoved(&self) -> Result<(), StoreError> {
        match identity(&self.0.path) {
            Ok(identity) if identity == self.0.identity => Ok(()),
            Ok(_) | Err(_) => Err(StoreError::Moved { path: self.0.path.clone() }),
        }
    }
}

/// Ends what takes longer than any operation here has to.
pub(crate) async fn within<T>(
    operation: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(OPERATION_TIMEOUT, operation).await.unwrap_or(Err(StoreError::Busy))
}

/// A revision in a column.
pub(crate) fn revision_of(row: &SqliteRow, column: &'static str) -> Result<Revision, StoreError> {
    let number: i64 = row.try_get(column)?;
    u64::try_from(number).map(Revision::new).map_err(|_| StoreError::Corrupt {
        table: "revision",
        id: "1".to_owned(),
        reason: "a negative revision".into(),
    })
}

/// Makes the file with mode 0600 if it is missing: it has sealed keys and the addresses of customers.
/// SQLite gives the files beside it the same mode.
fn create_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Brings the tables to this version, in one transaction, so that two processes that start at once do not
/// get in each other's way.
async fn migrate(writer: &SqlitePool) -> Result<(), StoreError> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    let migrations = MIGRATIONS
        .iter()
        .map(|&(version, name, sql)| {
            let kind = MigrationType::Simple;
            Migration::new(version, name.into(), kind, sql.into_sql_str(), false)
        })
        .collect();
    let migrator = Migrator::with_migrations(migrations);
    // `run` is generic over what it runs on in a way that makes this future no longer `Send`.
    match migrator.run_direct(None, &mut *transaction, false).await {
        Ok(()) => {}
        Err(MigrateError::VersionMissing(_)) => return Err(StoreError::SchemaNewer),
        Err(MigrateError::Execute(error)) => {
            let failed = |error| StoreError::Migration(MigrateError::Execute(error));
            return Err(StoreError::from(error).instead_of_other(failed));
        }
        Err(error) => return Err(StoreError::Migration(error)),
    }
    Ok(transaction.commit().await?)
}

/// Number, name and text of each migration. Numbers grow and are never given twice.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "start", include_str!("../migrations/0001_start.sql")),
    (2, "keys given up", include_str!("../migrations/0002_keys_given_up.sql")),
];

/// How long SQLite waits for a lock of another process, and a caller for a connection. Long enough for any
/// transaction of ours, short enough for whoever waits for an HTTP answer. No official reference.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Before the database is opened again that another process is making. No official reference.
const PAUSE_WHEN_BUSY: Duration = Duration::from_millis(50);

/// How long any operation may take as a whole, a load of the whole database aside.
pub const OPERATION_TIMEOUT: Duration = Duration::from_secs(15);

/// Reading connections: the HTTP API, the follower, the jobs. More would only wait for the same disk.
const READERS: u32 = 4;

/// How many rows the thread of a connection may be ahead of who reads them. A load of a million rows has
/// fewer changes of thread then.
const ROW_BUFFER: usize = 1_024;

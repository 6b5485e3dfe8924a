//! Units of work: what has to be saved together or not at all.
//!
//! ```text
//! store.write(now) ──▶ Unit ── operations ──▶ commit() ──▶ followers are woken
//!                        │
//!                        └── dropped: nothing happened
//! ```
//!
//! A unit holds the one writing connection, so that units come one after the other: what an operation
//! checked still holds when it writes. An operation that fails leaves the unit usable, but whatever it had
//! written is in it; drop the unit then.
//!
//! Each change that signing depends on gets the next revision of the one-row counter, and a row in the
//! change log, in the same transaction.

use postseal_dkim::UnixTime;
use postseal_engine::Revision;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Row as _, Sqlite, Transaction};

use crate::columns::{sql_number, sql_time};
use crate::database::{Store, revision_of, within};
use crate::error::StoreError;
use crate::follow::RowName;

/// A transaction that writes.
#[must_use = "what is not committed did not happen"]
pub struct Unit {
    store: Store,
    transaction: Transaction<'static, Sqlite>,
    now: UnixTime,
    /// The revision of the last change in this unit.
    newest: Option<Revision>,
}

impl Store {
    /// Begins a unit of work at the time `now`, after all others have ended.
    pub async fn write(&self, now: UnixTime) -> Result<Unit, StoreError> {
        let transaction = self.begin_writing().await?;
        Ok(Unit { store: self.clone(), transaction, now, newest: None })
    }
}

impl Unit {
    /// Saves everything that was done in this unit, and wakes the followers.
    ///
    /// Gives the revision of its last change, or none if signing depends on nothing of it. After
    /// [`StoreError::Busy`] it isn't known whether it was saved.
    pub async fn commit(self) -> Result<Option<Revision>, StoreError> {
        within(async { Ok(self.transaction.commit().await?) }).await?;
        if let Some(newest) = self.newest {
            self.store.announce(newest);
        }
        Ok(self.newest)
    }

    /// The time of this unit.
    #[must_use]
    pub fn now(&self) -> UnixTime {
        self.now
    }

    /// Notes that a row changed on which signing depends.
    pub(crate) async fn log(&mut self, row: &RowName) -> Result<(), StoreError> {
        let counter =
            sqlx::query("UPDATE revision SET newest = newest + 1 RETURNING newest, forgotten");
        let counter = self.fetch_one(counter).await?;
        let revision = revision_of(&counter, "newest")?;
        let now = sql_time(self.now);
        let insert = sqlx::query(
            "INSERT INTO change_log (revision, kind, tenant_id, name, changed_at) \
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(sql_number(revision.get()))
        .bind(row.kind())
        .bind(i64::from(row.tenant().get()))
        .bind(row.name())
        .bind(now);
        self.execute(insert).await?;
        self.newest = Some(revision);

        let forgotten = revision_of(&counter, "forgotten")?;
        if revision.get().saturating_sub(forgotten.get()) >= KEPT_CHANGES + FORGET_AT_ONCE {
            self.forget_changes(Revision::new(revision.get() - KEPT_CHANGES)).await?;
        }
        Ok(())
    }

    /// Drops the log up to that revision. Whoever is behind it loads everything anew.
    pub async fn forget_changes(&mut self, until: Revision) -> Result<(), StoreError> {
        let until = sql_number(until.get());
        self.execute(sqlx::query("DELETE FROM change_log WHERE revision <= $1").bind(until))
            .await?;
        self.execute(sqlx::query("UPDATE revision SET forgotten = $1").bind(until)).await?;
        Ok(())
    }

    /// The next number of a kind; none is ever given twice.
    pub(crate) async fn next_number(&mut self, kind: &'static str) -> Result<u64, StoreError> {
        let query =
            sqlx::query("UPDATE last_number SET value = value + 1 WHERE kind = $1 RETURNING value")
                .bind(kind);
        let row = self.fetch_one(query).await?;
        let number: i64 = row.try_get("value")?;
        u64::try_from(number).map_err(|_| StoreError::Corrupt {
            table: "last_number",
            id: kind.to_owned(),
            reason: "a negative number".into(),
        })
    }

    /// Runs a statement, and says how many rows it changed.
    pub(crate) async fn execute(
        &mut self,
        query: Query<'_, Sqlite, SqliteArguments>,
    ) -> Result<u64, StoreError> {
        self.try_execute(query).await?.map_err(StoreError::from)
    }

    /// Runs a statement that may fail on a unique index, with the database's own error inside.
    pub(crate) async fn try_execute(
        &mut self,
        query: Query<'_, Sqlite, SqliteArguments>,
    ) -> Result<Result<u64, sqlx::Error>, StoreError> {
        let connection = &mut *self.transaction;
        within(async { Ok(query.execute(connection).await.map(|result| result.rows_affected())) })
            .await
    }

    pub(crate) async fn fetch_one(
        &mut self,
        query: Query<'_, Sqlite, SqliteArguments>,
    ) -> Result<SqliteRow, StoreError> {
        let connection = &mut *self.transaction;
        within(async { Ok(query.fetch_one(connection).await?) }).await
    }

    pub(crate) async fn fetch_optional(
        &mut self,
        query: Query<'_, Sqlite, SqliteArguments>,
    ) -> Result<Option<SqliteRow>, StoreError> {
        let connection = &mut *self.transaction;
        within(async { Ok(query.fetch_optional(connection).await?) }).await
    }

    pub(crate) async fn fetch_all(
        &mut self,
        query: Query<'_, Sqlite, SqliteArguments>,
    ) -> Result<Vec<SqliteRow>, StoreError> {
        let connection = &mut *self.transaction;
        within(async { Ok(query.fetch_all(connection).await?) }).await
    }
}

/// How many changes the log keeps at least. At a thousand a second, a signer may be away for minutes and
/// still catch up; one that was away longer loads everything, which it can do at any time.
const KEPT_CHANGES: u64 = 200_000;

/// Forgetting goes in strides, so that it costs little.
const FORGET_AT_ONCE: u64 = 1_000;

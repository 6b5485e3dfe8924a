//! Rows as they come from the database, and the way out of them.
//!
//! A row that can't be read is an error with table and key, never a default: a wrong default here would be
//! a signature for the wrong tenant.

use std::borrow::Cow;
use std::str::FromStr;

use postseal_dkim::UnixTime;
use postseal_engine::{PolicyLayer, TenantId};
use serde_json::Value;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::error::StoreError;

/// The columns of one row of a table.
pub(crate) struct Columns<'r> {
    row: &'r SqliteRow,
    table: &'static str,
    /// The columns that name the row, for error messages.
    key: &'static [&'static str],
}

impl<'r> Columns<'r> {
    pub(crate) fn new(
        row: &'r SqliteRow,
        table: &'static str,
        key: &'static [&'static str],
    ) -> Self {
        Self { row, table, key }
    }

    /// The error of this row.
    pub(crate) fn corrupt(&self, reason: impl Into<Cow<'static, str>>) -> StoreError {
        let part = |column: &&str| {
            self.row
                .try_get::<String, _>(*column)
                .or_else(|_| self.row.try_get::<i64, _>(*column).map(|number| number.to_string()))
                .unwrap_or_else(|_| "?".to_owned())
        };
        let id: Vec<String> = self.key.iter().map(part).collect();
        StoreError::Corrupt { table: self.table, id: id.join(" "), reason: reason.into() }
    }

    pub(crate) fn text(&self, column: &'static str) -> Result<String, StoreError> {
        self.row.try_get(column).map_err(|_| self.bad(column))
    }

    pub(crate) fn optional_text(&self, column: &'static str) -> Result<Option<String>, StoreError> {
        self.row.try_get(column).map_err(|_| self.bad(column))
    }

    pub(crate) fn flag(&self, column: &'static str) -> Result<bool, StoreError> {
        self.row.try_get(column).map_err(|_| self.bad(column))
    }

    pub(crate) fn number(&self, column: &'static str) -> Result<u64, StoreError> {
        let number: i64 = self.row.try_get(column).map_err(|_| self.bad(column))?;
        u64::try_from(number).map_err(|_| self.bad(column))
    }

    pub(crate) fn tenant(&self, column: &'static str) -> Result<TenantId, StoreError> {
        let number = self.number(column)?;
        u32::try_from(number).map(TenantId::new).map_err(|_| self.bad(column))
    }

    pub(crate) fn time(&self, column: &'static str) -> Result<UnixTime, StoreError> {
        self.number(column).map(UnixTime)
    }

    pub(crate) fn optional_time(
        &self,
        column: &'static str,
    ) -> Result<Option<UnixTime>, StoreError> {
        let number: Option<i64> = self.row.try_get(column).map_err(|_| self.bad(column))?;
        number
            .map(|number| u64::try_from(number).map(UnixTime).map_err(|_| self.bad(column)))
            .transpose()
    }

    pub(crate) fn octets(&self, column: &'static str) -> Result<Vec<u8>, StoreError> {
        self.row.try_get(column).map_err(|_| self.bad(column))
    }

    pub(crate) fn optional_octets(
        &self,
        column: &'static str,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.row.try_get(column).map_err(|_| self.bad(column))
    }

    /// A column in the text form of a type.
    pub(crate) fn parsed<T: FromStr>(&self, column: &'static str) -> Result<T, StoreError> {
        self.text(column)?.parse().map_err(|_| self.bad(column))
    }

    /// A column in the text form of a type, or NULL.
    pub(crate) fn optional_parsed<T: FromStr>(
        &self,
        column: &'static str,
    ) -> Result<Option<T>, StoreError> {
        self.optional_text(column)?
            .map(|text| text.parse().map_err(|_| self.bad(column)))
            .transpose()
    }

    /// A column that holds a JSON array of texts of a type.
    pub(crate) fn list<T: FromStr>(&self, column: &'static str) -> Result<Vec<T>, StoreError> {
        parse_list(&self.text(column)?).ok_or_else(|| self.bad(column))
    }

    /// A column that holds a JSON array of texts of a type, or NULL.
    pub(crate) fn optional_list<T: FromStr>(
        &self,
        column: &'static str,
    ) -> Result<Option<Vec<T>>, StoreError> {
        self.optional_text(column)?
            .map(|text| parse_list(&text).ok_or_else(|| self.bad(column)))
            .transpose()
    }

    /// A column that holds a layer of policy as JSON.
    pub(crate) fn policy(&self, column: &'static str) -> Result<PolicyLayer, StoreError> {
        serde_json::from_str(&self.text(column)?).map_err(|_| self.bad(column))
    }

    fn bad(&self, column: &'static str) -> StoreError {
        self.corrupt(format!("column {column}"))
    }
}

/// Writes a layer of policy as JSON.
pub(crate) fn write_policy(policy: &PolicyLayer) -> String {
    serde_json::to_string(policy).expect("a layer of policy is plain data")
}

/// Writes texts as a JSON array.
pub(crate) fn write_list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items = items.into_iter().map(|item| Value::String(item.to_string())).collect();
    Value::Array(items).to_string()
}

fn parse_list<T: FromStr>(text: &str) -> Option<Vec<T>> {
    let items: Vec<String> = serde_json::from_str(text).ok()?;
    items.iter().map(|item| item.parse().ok()).collect()
}

/// A number as SQL has it. What is beyond does not occur; it would stay at the end of the range.
pub(crate) fn sql_number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A time as SQL has it.
pub(crate) fn sql_time(time: UnixTime) -> i64 {
    sql_number(time.as_secs())
}

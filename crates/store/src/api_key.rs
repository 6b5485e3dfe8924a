//! API keys. Only the hash is kept: the key is random and shown once, so one SHA-256 is enough.

use postseal_dkim::UnixTime;
use postseal_engine::{ApiKeyHash, ApiKeyRow, Grants, IpRange, TenantId};
use sqlx::sqlite::SqliteRow;

use crate::columns::{Columns, sql_number, sql_time, write_list};
use crate::database::Store;
use crate::error::{Conflict, StoreError, Thing};
use crate::follow::RowName;
use crate::unit::Unit;

/// An API key, without the key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApiKey {
    /// Its number.
    pub id: u64,
    /// On whose behalf it acts: the primary account, or one subaccount.
    pub tenant: TenantId,
    /// The SHA-256 of the key.
    pub hash: ApiKeyHash,
    /// The first characters of the key, by which people know it again.
    pub short_key: String,
    /// What people call it.
    pub label: String,
    /// What it may be used for.
    pub grants: Grants,
    /// From where it is taken; from everywhere if there are none.
    pub valid_ips: Vec<IpRange>,
    /// When it was made.
    pub created_at: UnixTime,
    /// When it stops being taken.
    pub expires_at: Option<UnixTime>,
    /// When it was revoked.
    pub revoked_at: Option<UnixTime>,
}

/// An API key to be made.
#[derive(Clone, Debug)]
pub struct NewApiKey {
    /// See [`ApiKey::tenant`].
    pub tenant: TenantId,
    /// See [`ApiKey::hash`].
    pub hash: ApiKeyHash,
    /// See [`ApiKey::short_key`].
    pub short_key: String,
    /// See [`ApiKey::label`].
    pub label: String,
    /// See [`ApiKey::grants`].
    pub grants: Grants,
    /// See [`ApiKey::valid_ips`].
    pub valid_ips: Vec<IpRange>,
    /// See [`ApiKey::expires_at`].
    pub expires_at: Option<UnixTime>,
}

/// A change of an API key. What is none stays as it is.
#[derive(Clone, Debug, Default)]
pub struct ApiKeyEdit {
    /// See [`ApiKey::label`].
    pub label: Option<String>,
    /// See [`ApiKey::grants`].
    pub grants: Option<Grants>,
    /// See [`ApiKey::valid_ips`].
    pub valid_ips: Option<Vec<IpRange>>,
}

impl Store {
    /// The keys that were not revoked, of one tenant or of all, in the order of their numbers.
    pub async fn api_keys(&self, tenant: Option<TenantId>) -> Result<Vec<ApiKey>, StoreError> {
        let query = match tenant {
            Some(tenant) => {
                let sql =
                    select_api_key!("WHERE revoked_at IS NULL AND tenant_id = $1 ORDER BY id");
                sqlx::query(sql).bind(i64::from(tenant.get()))
            }
            None => sqlx::query(select_api_key!("WHERE revoked_at IS NULL ORDER BY id")),
        };
        self.fetch_all(query).await?.iter().map(api_key_from).collect()
    }

    /// The key with this number, also a revoked one.
    pub async fn api_key(&self, id: u64) -> Result<Option<ApiKey>, StoreError> {
        let query = sqlx::query(select_api_key!("WHERE id = $1")).bind(sql_number(id));
        self.fetch_optional(query).await?.as_ref().map(api_key_from).transpose()
    }

    /// The key with this hash, unless it was revoked.
    pub async fn find_api_key(&self, hash: ApiKeyHash) -> Result<Option<ApiKey>, StoreError> {
        let query = sqlx::query(select_api_key!("WHERE hash = $1 AND revoked_at IS NULL"))
            .bind(hash.0.to_vec());
        self.fetch_optional(query).await?.as_ref().map(api_key_from).transpose()
    }
}

impl Unit {
    /// Makes an API key with the next number.
    pub async fn create_api_key(&mut self, new: NewApiKey) -> Result<ApiKey, StoreError> {
        self.expect_tenant(new.tenant).await?;
        let key = ApiKey {
            id: self.next_number("api_key").await?,
            tenant: new.tenant,
            hash: new.hash,
            short_key: new.short_key,
            label: new.label,
            grants: new.grants,
            valid_ips: new.valid_ips,
            created_at: self.now(),
            expires_at: new.expires_at,
            revoked_at: None,
        };
        let insert = sqlx::query(
            "INSERT INTO api_key (id, tenant_id, hash, short_key, label, grants, valid_ips, \
             created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
             ON CONFLICT DO NOTHING",
        )
        .bind(sql_number(key.id))
        .bind(i64::from(key.tenant.get()))
        .bind(key.hash.0.to_vec())
        .bind(&key.short_key)
        .bind(&key.label)
        .bind(write_list(key.grants.iter()))
        .bind(write_list(&key.valid_ips))
        .bind(sql_time(key.created_at))
        .bind(key.expires_at.map(sql_time));
        if self.execute(insert).await? == 0 {
            return Err(Conflict::ApiKeyExists.into());
        }
        self.log(&RowName::ApiKey(key.hash)).await?;
        Ok(key)
    }

    /// Changes an API key that was not revoked, and gives it as it is now.
    pub async fn edit_api_key(&mut self, id: u64, edit: ApiKeyEdit) -> Result<ApiKey, StoreError> {
        let mut key = self.live_api_key(id).await?;
        if let Some(label) = edit.label {
            key.label = label;
        }
        if let Some(grants) = edit.grants {
            key.grants = grants;
        }
        if let Some(valid_ips) = edit.valid_ips {
            key.valid_ips = valid_ips;
        }
        let update =
            sqlx::query("UPDATE api_key SET label = $2, grants = $3, valid_ips = $4 WHERE id = $1")
                .bind(sql_number(key.id))
                .bind(&key.label)
                .bind(write_list(key.grants.iter()))
                .bind(write_list(&key.valid_ips));
        self.execute(update).await?;
        self.log(&RowName::ApiKey(key.hash)).await?;
        Ok(key)
    }

    /// Revokes an API key for good. Its row stays.
    pub async fn revoke_api_key(&mut self, id: u64) -> Result<(), StoreError> {
        let key = self.live_api_key(id).await?;
        let now = sql_time(self.now());
        let update = sqlx::query("UPDATE api_key SET revoked_at = $2 WHERE id = $1");
        self.execute(update.bind(sql_number(id)).bind(now)).await?;
        self.log(&RowName::ApiKey(key.hash)).await
    }

    async fn live_api_key(&mut self, id: u64) -> Result<ApiKey, StoreError> {
        let query = sqlx::query(select_api_key!("WHERE id = $1 AND revoked_at IS NULL"));
        let row = self.fetch_optional(query.bind(sql_number(id))).await?;
        api_key_from(&row.ok_or(StoreError::NotFound(Thing::ApiKey))?)
    }
}

impl From<&ApiKey> for ApiKeyRow {
    fn from(key: &ApiKey) -> Self {
        Self {
            hash: key.hash,
            tenant: key.tenant,
            grants: key.grants,
            expires_at: key.expires_at,
            valid_ips: key.valid_ips.as_slice().into(),
        }
    }
}

macro_rules! select_api_key {
    ($rest:literal) => {
        concat!(
            "SELECT id, tenant_id, hash, short_key, label, grants, valid_ips, created_at, \
             expires_at, revoked_at FROM api_key ",
            $rest
        )
    };
}
pub(crate) use select_api_key;

pub(crate) fn api_key_from(row: &SqliteRow) -> Result<ApiKey, StoreError> {
    let row = Columns::new(row, "api_key", &["id"]);
    let hash: [u8; 32] =
        row.octets("hash")?.try_into().map_err(|_| row.corrupt("a hash of another length"))?;
    Ok(ApiKey {
        id: row.number("id")?,
        tenant: row.tenant("tenant_id")?,
        hash: ApiKeyHash(hash),
        short_key: row.text("short_key")?,
        label: row.text("label")?,
        grants: row.list("grants")?.into_iter().collect(),
        valid_ips: row.list("valid_ips")?,
        created_at: row.time("created_at")?,
        expires_at: row.optional_time("expires_at")?,
        revoked_at: row.optional_time("revoked_at")?,
    })
}

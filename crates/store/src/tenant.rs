//! Tenants: the platform's primary account and its subaccounts.
//!
//! They are made and changed, never deleted: what they sent stays explainable, and a number that was given
//! to one customer is never given to another.

use std::fmt;
use std::str::FromStr;

use postseal_dkim::UnixTime;
use postseal_engine::{PolicyLayer, PoolId, TenantId, TenantRow, TenantStatus};
use sqlx::sqlite::SqliteRow;
use thiserror::Error;

use crate::columns::{Columns, sql_time, write_policy};
use crate::database::Store;
use crate::error::{Conflict, StoreError, Thing};
use crate::follow::RowName;
use crate::pool::sql_pool_id;
use crate::unit::Unit;

/// A tenant.
#[derive(Clone, Debug, PartialEq)]
pub struct Tenant {
    /// Its number; 0 is the primary account.
    pub id: TenantId,
    /// What people call it.
    pub name: String,
    /// Whether it may send.
    pub status: AccountStatus,
    /// The one pool that it sends from, if it is bound to one.
    pub pool: Option<PoolId>,
    /// What is different for its mail.
    pub policy: PolicyLayer,
    /// When it was made.
    pub created_at: UnixTime,
    /// When it was last changed.
    pub updated_at: UnixTime,
}

/// A tenant to be made. It is active.
#[derive(Clone, Debug, Default)]
pub struct NewTenant {
    /// See [`Tenant::name`].
    pub name: String,
    /// See [`Tenant::pool`].
    pub pool: Option<PoolId>,
    /// See [`Tenant::policy`].
    pub policy: PolicyLayer,
}

/// A change of a tenant. What is none stays as it is; none inside is taken away.
#[derive(Clone, Debug, Default)]
pub struct TenantEdit {
    /// See [`Tenant::name`].
    pub name: Option<String>,
    /// See [`Tenant::status`].
    pub status: Option<AccountStatus>,
    /// See [`Tenant::pool`].
    pub pool: Option<Option<PoolId>>,
    /// See [`Tenant::policy`].
    pub policy: Option<PolicyLayer>,
}

/// Whether a tenant may send, in SparkPost's words.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum AccountStatus {
    /// It may.
    Active,
    /// It may not, for now.
    Suspended,
    /// It may not, for good. Signing treats it as suspended.
    Terminated,
}

impl AccountStatus {
    /// The word for it in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Terminated => "terminated",
        }
    }
}

impl fmt::Display for AccountStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for AccountStatus {
    type Err = UnknownAccountStatus;

    fn from_str(text: &str) -> Result<Self, UnknownAccountStatus> {
        [Self::Active, Self::Suspended, Self::Terminated]
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or(UnknownAccountStatus)
    }
}

/// A text that is no status of an account.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("the status is not active, suspended or terminated")]
pub struct UnknownAccountStatus;

impl Store {
    /// All tenants in the order of their numbers, the primary account first.
    pub async fn tenants(&self) -> Result<Vec<Tenant>, StoreError> {
        let rows = self.fetch_all(sqlx::query(select_tenant!("ORDER BY id"))).await?;
        rows.iter().map(tenant_from).collect()
    }

    /// The tenant with this number.
    pub async fn tenant(&self, id: TenantId) -> Result<Option<Tenant>, StoreError> {
        let query = sqlx::query(select_tenant!("WHERE id = $1")).bind(i64::from(id.get()));
        self.fetch_optional(query).await?.as_ref().map(tenant_from).transpose()
    }
}

impl Unit {
    /// Makes a tenant with the next number.
    pub async fn create_tenant(&mut self, new: NewTenant) -> Result<Tenant, StoreError> {
        if let Some(pool) = &new.pool {
            self.expect_pool(pool).await?;
        }
        let number = self.next_number("tenant").await?;
        let number = u32::try_from(number).map_err(|_| StoreError::Corrupt {
            table: "last_number",
            id: "tenant".to_owned(),
            reason: "more tenants than there are numbers".into(),
        })?;
        let tenant = Tenant {
            id: TenantId::new(number),
            name: new.name,
            status: AccountStatus::Active,
            pool: new.pool,
            policy: new.policy,
            created_at: self.now(),
            updated_at: self.now(),
        };
        let insert = sqlx::query(
            "INSERT INTO tenant (id, name, status, pool, policy, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(i64::from(tenant.id.get()))
        .bind(&tenant.name)
        .bind(tenant.status.as_str())
        .bind(tenant.pool.as_ref().map(sql_pool_id))
        .bind(write_policy(&tenant.policy))
        .bind(sql_time(tenant.created_at))
        .bind(sql_time(tenant.updated_at));
        self.execute(insert).await?;
        self.log(&RowName::Tenant(tenant.id)).await?;
        Ok(tenant)
    }

    /// Changes a tenant, and gives it as it is now.
    pub async fn edit_tenant(
        &mut self,
        id: TenantId,
        edit: TenantEdit,
    ) -> Result<Tenant, StoreError> {
        let query = sqlx::query(select_tenant!("WHERE id = $1")).bind(i64::from(id.get()));
        let row = self.fetch_optional(query).await?;
        let mut tenant = tenant_from(&row.ok_or(StoreError::NotFound(Thing::Tenant))?)?;
        if let Some(name) = edit.name {
            tenant.name = name;
        }
        if let Some(status) = edit.status {
            if id.is_primary() && status != AccountStatus::Active {
                return Err(Conflict::PrimaryAccount.into());
            }
            tenant.status = status;
        }
        if let Some(pool) = edit.pool {
            if let Some(pool) = &pool {
                self.expect_pool(pool).await?;
            }
            tenant.pool = pool;
        }
        if let Some(policy) = edit.policy {
            tenant.policy = policy;
        }
        tenant.updated_at = self.now();
        self.save_tenant(&tenant).await?;
        Ok(tenant)
    }

    /// The tenants that are bound to a pool.
    pub(crate) async fn tenants_of_pool(
        &mut self,
        pool: &PoolId,
    ) -> Result<Vec<Tenant>, StoreError> {
        let query = sqlx::query(select_tenant!("WHERE pool = $1 ORDER BY id"));
        let rows = self.fetch_all(query.bind(sql_pool_id(pool))).await?;
        rows.iter().map(tenant_from).collect()
    }

    pub(crate) async fn save_tenant(&mut self, tenant: &Tenant) -> Result<(), StoreError> {
        let update = sqlx::query(
            "UPDATE tenant SET name = $2, status = $3, pool = $4, policy = $5, updated_at = $6 \
             WHERE id = $1",
        )
        .bind(i64::from(tenant.id.get()))
        .bind(&tenant.name)
        .bind(tenant.status.as_str())
        .bind(tenant.pool.as_ref().map(sql_pool_id))
        .bind(write_policy(&tenant.policy))
        .bind(sql_time(tenant.updated_at));
        self.execute(update).await?;
        self.log(&RowName::Tenant(tenant.id)).await
    }

    /// An error if there is no such tenant.
    pub(crate) async fn expect_tenant(&mut self, id: TenantId) -> Result<(), StoreError> {
        let query = sqlx::query("SELECT id FROM tenant WHERE id = $1").bind(i64::from(id.get()));
        match self.fetch_optional(query).await? {
            Some(_) => Ok(()),
            None => Err(StoreError::NotFound(Thing::Tenant)),
        }
    }
}

impl From<&Tenant> for TenantRow {
    fn from(tenant: &Tenant) -> Self {
        Self {
            id: tenant.id,
            status: match tenant.status {
                AccountStatus::Active => TenantStatus::Active,
                AccountStatus::Suspended | AccountStatus::Terminated => TenantStatus::Suspended,
            },
            assigned_pool: tenant.pool.clone(),
            policy: tenant.policy.clone(),
        }
    }
}

macro_rules! select_tenant {
    ($rest:literal) => {
        concat!("SELECT id, name, status, pool, policy, created_at, updated_at FROM tenant ", $rest)
    };
}
pub(crate) use select_tenant;

pub(crate) fn tenant_from(row: &SqliteRow) -> Result<Tenant, StoreError> {
    let row = Columns::new(row, "tenant", &["id"]);
    Ok(Tenant {
        id: row.tenant("id")?,
        name: row.text("name")?,
        status: row.parsed("status")?,
        pool: row.optional_parsed("pool")?,
        policy: row.policy("policy")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

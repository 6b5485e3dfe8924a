//! IP pools.
//!
//! The id of a pool comes from the name it is made with and stays when it is renamed
//! (`Marketing IP Pool` is `marketing_ip_pool`). Ids compare without regard to case and are kept in lower
//! case here. The pool `default` is always there.

use postseal_dkim::{DomainName, UnixTime};
use postseal_engine::{
    NextHopName, PolicyLayer, PoolGrants, PoolId, PoolIdError, PoolRow, TenantId,
};
use sqlx::sqlite::SqliteRow;

use crate::columns::{Columns, sql_time, write_list, write_policy};
use crate::database::Store;
use crate::error::{Conflict, StoreError, Thing};
use crate::follow::RowName;
use crate::unit::Unit;

/// An IP pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// What messages and paths name it by.
    pub id: PoolId,
    /// What people call it.
    pub name: String,
    /// What signs for mail whose own domain does not.
    pub signing_domain: Option<DomainName>,
    /// What signs beside it towards providers with a feedback loop.
    pub fbl_signing_domain: Option<DomainName>,
    /// Another pool's id, or `shared pool`. Kept for the API; nothing here warms addresses up.
    pub auto_warmup_overflow_pool: Option<String>,
    /// Who may send from it.
    pub grants: PoolGrants,
    /// Where its mail is handed on to.
    pub next_hop: Option<NextHopName>,
    /// What is different for its mail.
    pub policy: PolicyLayer,
    /// When it was made.
    pub created_at: UnixTime,
    /// When it was last changed.
    pub updated_at: UnixTime,
}

/// A pool to be made.
#[derive(Clone, Debug)]
pub struct NewPool {
    /// See [`Pool::id`]; [`NewPool::named`] takes it from the name.
    pub id: PoolId,
    /// See [`Pool::name`].
    pub name: String,
    /// See [`Pool::signing_domain`].
    pub signing_domain: Option<DomainName>,
    /// See [`Pool::fbl_signing_domain`].
    pub fbl_signing_domain: Option<DomainName>,
    /// See [`Pool::auto_warmup_overflow_pool`].
    pub auto_warmup_overflow_pool: Option<String>,
    /// See [`Pool::grants`].
    pub grants: PoolGrants,
    /// See [`Pool::next_hop`].
    pub next_hop: Option<NextHopName>,
    /// See [`Pool::policy`].
    pub policy: PolicyLayer,
}

impl NewPool {
    /// A pool of that name, without domains and open to everyone; its id comes from the name.
    pub fn named(name: &str) -> Result<Self, PoolIdError> {
        Ok(Self {
            id: PoolId::from_pool_name(name)?,
            name: name.to_owned(),
            signing_domain: None,
            fbl_signing_domain: None,
            auto_warmup_overflow_pool: None,
            grants: PoolGrants::Everyone,
            next_hop: None,
            policy: PolicyLayer::default(),
        })
    }
}

/// A change of a pool. What is none stays as it is; none inside is taken away.
#[derive(Clone, Debug, Default)]
pub struct PoolEdit {
    /// See [`Pool::name`].
    pub name: Option<String>,
    /// See [`Pool::signing_domain`].
    pub signing_domain: Option<Option<DomainName>>,
    /// See [`Pool::fbl_signing_domain`].
    pub fbl_signing_domain: Option<Option<DomainName>>,
    /// See [`Pool::auto_warmup_overflow_pool`].
    pub auto_warmup_overflow_pool: Option<Option<String>>,
    /// See [`Pool::grants`].
    pub grants: Option<PoolGrants>,
    /// See [`Pool::next_hop`].
    pub next_hop: Option<Option<NextHopName>>,
    /// See [`Pool::policy`].
    pub policy: Option<PolicyLayer>,
}

impl Store {
    /// All pools in the order of their ids.
    pub async fn pools(&self) -> Result<Vec<Pool>, StoreError> {
        let rows = self.fetch_all(sqlx::query(select_pool!("ORDER BY id"))).await?;
        rows.iter().map(pool_from).collect()
    }

    /// The pool with this id.
    pub async fn pool(&self, id: &PoolId) -> Result<Option<Pool>, StoreError> {
        let query = sqlx::query(select_pool!("WHERE id = $1")).bind(sql_pool_id(id));
        self.fetch_optional(query).await?.as_ref().map(pool_from).transpose()
    }
}

impl Unit {
    /// Makes a pool.
    pub async fn create_pool(&mut self, new: NewPool) -> Result<Pool, StoreError> {
        let pool = Pool {
            id: new.id,
            name: new.name,
            signing_domain: new.signing_domain,
            fbl_signing_domain: new.fbl_signing_domain,
            auto_warmup_overflow_pool: new.auto_warmup_overflow_pool,
            grants: new.grants,
            next_hop: new.next_hop,
            policy: new.policy,
            created_at: self.now(),
            updated_at: self.now(),
        };
        let insert = sqlx::query(
            "INSERT INTO pool (id, name, signing_domain, fbl_signing_domain, \
             auto_warmup_overflow_pool, grants, next_hop, policy, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING",
        )
        .bind(sql_pool_id(&pool.id))
        .bind(&pool.name)
        .bind(pool.signing_domain.as_ref().map(DomainName::as_str))
        .bind(pool.fbl_signing_domain.as_ref().map(DomainName::as_str))
        .bind(&pool.auto_warmup_overflow_pool)
        .bind(sql_grants(&pool.grants))
        .bind(pool.next_hop.as_ref().map(NextHopName::as_str))
        .bind(write_policy(&pool.policy))
        .bind(sql_time(pool.created_at))
        .bind(sql_time(pool.updated_at));
        if self.execute(insert).await? == 0 {
            return Err(Conflict::PoolExists { id: pool.id }.into());
        }
        self.log(&RowName::Pool(pool.id.clone())).await?;
        Ok(pool)
    }

    /// Changes a pool, and gives it as it is now.
    pub async fn edit_pool(&mut self, id: &PoolId, edit: PoolEdit) -> Result<Pool, StoreError> {
        let query = sqlx::query(select_pool!("WHERE id = $1")).bind(sql_pool_id(id));
        let row = self.fetch_optional(query).await?;
        let mut pool = pool_from(&row.ok_or(StoreError::NotFound(Thing::Pool))?)?;
        if let Some(name) = edit.name {
            pool.name = name;
        }
        if let Some(domain) = edit.signing_domain {
            pool.signing_domain = domain;
        }
        if let Some(domain) = edit.fbl_signing_domain {
            pool.fbl_signing_domain = domain;
        }
        if let Some(overflow) = edit.auto_warmup_overflow_pool {
            pool.auto_warmup_overflow_pool = overflow;
        }
        if let Some(grants) = edit.grants {
            pool.grants = grants;
        }
        if let Some(next_hop) = edit.next_hop {
            pool.next_hop = next_hop;
        }
        if let Some(policy) = edit.policy {
            pool.policy = policy;
        }
        pool.updated_at = self.now();
        let update = sqlx::query(
            "UPDATE pool SET name = $2, signing_domain = $3, fbl_signing_domain = $4, \
             auto_warmup_overflow_pool = $5, grants = $6, next_hop = $7, policy = $8, \
             updated_at = $9 WHERE id = $1",
        )
        .bind(sql_pool_id(&pool.id))
        .bind(&pool.name)
        .bind(pool.signing_domain.as_ref().map(DomainName::as_str))
        .bind(pool.fbl_signing_domain.as_ref().map(DomainName::as_str))
        .bind(&pool.auto_warmup_overflow_pool)
        .bind(sql_grants(&pool.grants))
        .bind(pool.next_hop.as_ref().map(NextHopName::as_str))
        .bind(write_policy(&pool.policy))
        .bind(sql_time(pool.updated_at));
        self.execute(update).await?;
        self.log(&RowName::Pool(pool.id.clone())).await?;
        Ok(pool)
    }

    /// Deletes a pool. Tenants that were bound to it are bound to `default` then, so that none of them may
    /// suddenly choose; other pools that overflowed into it overflow no more.
    pub async fn delete_pool(&mut self, id: &PoolId) -> Result<(), StoreError> {
        if id.is_default() {
            return Err(Conflict::PoolReserved.into());
        }
        let delete = sqlx::query("DELETE FROM pool WHERE id = $1").bind(sql_pool_id(id));
        if self.execute(delete).await? == 0 {
            return Err(StoreError::NotFound(Thing::Pool));
        }
        self.log(&RowName::Pool(id.clone())).await?;
        for mut tenant in self.tenants_of_pool(id).await? {
            tenant.pool = Some(PoolId::default_pool());
            tenant.updated_at = self.now();
            self.save_tenant(&tenant).await?;
        }
        let clear = sqlx::query(
            "UPDATE pool SET auto_warmup_overflow_pool = NULL WHERE auto_warmup_overflow_pool = $1",
        );
        self.execute(clear.bind(sql_pool_id(id))).await?;
        Ok(())
    }

    /// An error if there is no such pool.
    pub(crate) async fn expect_pool(&mut self, id: &PoolId) -> Result<(), StoreError> {
        let query = sqlx::query("SELECT id FROM pool WHERE id = $1").bind(sql_pool_id(id));
        match self.fetch_optional(query).await? {
            Some(_) => Ok(()),
            None => Err(StoreError::NotFound(Thing::Pool)),
        }
    }
}

impl From<&Pool> for PoolRow {
    fn from(pool: &Pool) -> Self {
        Self {
            id: pool.id.clone(),
            signing_domain: pool.signing_domain.clone(),
            fbl_signing_domain: pool.fbl_signing_domain.clone(),
            grants: pool.grants.clone(),
            next_hop: pool.next_hop.clone(),
            policy: pool.policy.clone(),
        }
    }
}

/// A pool id as the tables have it.
pub(crate) fn sql_pool_id(id: &PoolId) -> String {
    id.as_str().to_ascii_lowercase()
}

fn sql_grants(grants: &PoolGrants) -> Option<String> {
    match grants {
        PoolGrants::Everyone => None,
        PoolGrants::Only(tenants) => Some(write_list(tenants.iter())),
    }
}

macro_rules! select_pool {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, signing_domain, fbl_signing_domain, auto_warmup_overflow_pool, \
             grants, next_hop, policy, created_at, updated_at FROM pool ",
            $rest
        )
    };
}
pub(crate) use select_pool;

pub(crate) fn pool_from(row: &SqliteRow) -> Result<Pool, StoreError> {
    let row = Columns::new(row, "pool", &["id"]);
    let grants: Option<Vec<TenantId>> = row.optional_list("grants")?;
    Ok(Pool {
        id: row.parsed("id")?,
        name: row.text("name")?,
        signing_domain: row.optional_parsed("signing_domain")?,
        fbl_signing_domain: row.optional_parsed("fbl_signing_domain")?,
        auto_warmup_overflow_pool: row.optional_text("auto_warmup_overflow_pool")?,
        grants: grants.map_or(PoolGrants::Everyone, PoolGrants::only),
        next_hop: row.optional_parsed("next_hop")?,
        policy: row.policy("policy")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

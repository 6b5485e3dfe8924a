//! From the tables to the signers: the changes since a revision, and everything at once.
//!
//! The change log says which rows changed; what a signer gets is what they are now. So a row that changed
//! ten times comes once, and following is the same as loading, only less of it.
//!
//! ```text
//! signer at revision r ──▶ changes_since(r) ──▶ up to date:  nothing
//!                                          ├──▶ behind:      rows, each with its newest revision
//!                                          ├──▶ too far:     the log forgot; load_all()
//!                                          └──▶ ahead:       restored from a backup; an error
//! ```
//!
//! Both read in one transaction, which sees one state of the database.
//!
//! A changed row that cannot be read is told beside the others and holds up none of them. Loading everything is
//! strict: to do without a row would make its domain anybody's, or a policy the default one.

use std::sync::Arc;

use postseal_dkim::{Algorithm, DomainName};
use postseal_engine::{
    ApiKeyHash, ApiKeyRow, Change, DomainRow, KeyEntry, KeyId, PoolId, PoolRow, ProviderName,
    Revision, SealedKey, SigningKeys, TenantId, TenantRow,
};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Row as _, Sqlite, Transaction};

use crate::api_key::{api_key_from, select_api_key};
use crate::columns::{Columns, sql_number};
use crate::database::{Store, revision_of, within};
use crate::domain::{DkimStatus, sharing_from, subdomains_from};
use crate::error::StoreError;
use crate::platform::{SELECT_PLATFORM, platform_from, provider_from, select_provider};
use crate::pool::{pool_from, select_pool, sql_pool_id};
use crate::tenant::{select_tenant, tenant_from};

impl Store {
    /// The rows that changed after `since`, as they are now, in the order of their newest revisions.
    ///
    /// No more than [`MAX_CHANGES`] at a time: apply them, and ask again with [`Changes::until`], until
    /// that is where it was. [`StoreError::Forgotten`] asks for [`Store::load_all`], and so does a log of
    /// which a row cannot be read: nobody can say what changed there.
    pub async fn changes_since(&self, since: Revision) -> Result<Changes, StoreError> {
        let mut reader = Reader(self.begin_reading().await?);
        let counter =
            reader.fetch_one(sqlx::query("SELECT newest, forgotten FROM revision")).await?;
        let newest = revision_of(&counter, "newest")?;
        if since > newest {
            return Err(StoreError::Rewound { newest: newest.get(), asked: since.get() });
        }
        if since < revision_of(&counter, "forgotten")? {
            return Err(StoreError::Forgotten);
        }
        let query = sqlx::query(
            "SELECT kind, tenant_id, name, MAX(revision) AS revision FROM change_log \
             WHERE revision > $1 AND revision <= $2 \
             GROUP BY kind, tenant_id, name ORDER BY MAX(revision) LIMIT $3",
        )
        .bind(sql_number(since.get()))
        .bind(sql_number(newest.get()))
        .bind(sql_number(MAX_CHANGES));
        let mut changes = Changes { until: since, rows: Vec::new(), damaged: Vec::new() };
        for row in reader.fetch_all(query).await? {
            changes.until = revision_of(&row, "revision")?;
            let name = RowName::from_log(&row).map_err(|_| StoreError::Forgotten)?;
            match reader.change(&name).await {
                Ok(change) => changes.rows.push((changes.until, change)),
                Err(error @ StoreError::Corrupt { .. }) => {
                    let domain = match name {
                        RowName::Domain(owner, name) => {
                            let is_verified = reader.is_verified(owner, &name).await?;
                            Some(DamagedDomain { owner, name, is_verified })
                        }
                        RowName::Tenant(_)
                        | RowName::Pool(_)
                        | RowName::ApiKey(_)
                        | RowName::Provider(_)
                        | RowName::Platform => None,
                    };
                    changes.damaged.push(Damaged { revision: changes.until, domain, error });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(changes)
    }

    /// Everything that signing depends on, and the revision at which it is so.
    pub async fn load_all(&self) -> Result<(Revision, Vec<Change>), StoreError> {
        let mut reader = Reader(self.begin_reading().await?);
        let counter = reader.fetch_one(sqlx::query("SELECT newest FROM revision")).await?;
        let newest = revision_of(&counter, "newest")?;

        let platform = reader.fetch_one(sqlx::query(SELECT_PLATFORM)).await?;
        let mut all = vec![Change::Platform(platform_from(&platform)?)];
        for row in reader.fetch_all(sqlx::query(select_provider!("ORDER BY name"))).await? {
            all.push(Change::Provider(provider_from(&row)?));
        }
        for row in reader.fetch_all(sqlx::query(select_pool!("ORDER BY id"))).await? {
            all.push(Change::Pool(PoolRow::from(&pool_from(&row)?)));
        }
        for row in reader.fetch_all(sqlx::query(select_tenant!("ORDER BY id"))).await? {
            all.push(Change::Tenant(TenantRow::from(&tenant_from(&row)?)));
        }
        let api_keys = sqlx::query(select_api_key!("WHERE revoked_at IS NULL ORDER BY id"));
        for row in reader.fetch_all(api_keys).await? {
            all.push(Change::ApiKey(ApiKeyRow::from(&api_key_from(&row)?)));
        }
        reader.load_domains(&mut all).await?;
        Ok((newest, all))
    }
}

/// What changed after a revision.
#[derive(Debug)]
pub struct Changes {
    /// Up to which revision these are all changes; where the question began if there are none.
    pub until: Revision,
    /// The rows that changed, each with its newest revision, in the order of these.
    pub rows: Vec<(Revision, Change)>,
    /// Other rows that changed and cannot be read.
    pub damaged: Vec<Damaged>,
}

/// A row that changed and cannot be read.
#[derive(Debug)]
pub struct Damaged {
    /// The revision of its newest change.
    pub revision: Revision,
    /// The domain that it is about, if it is a domain or one of its keys.
    pub domain: Option<DamagedDomain>,
    /// What is wrong.
    pub error: StoreError,
}

/// What can be read of a domain whose row, or that of a key, is damaged.
#[derive(Clone, Debug)]
pub struct DamagedDomain {
    /// Whose it is, or who claims it.
    pub owner: TenantId,
    /// Its name.
    pub name: DomainName,
    /// Whether its owner was verified; none if that is what is damaged.
    pub is_verified: Option<bool>,
}

/// A transaction that sees one state of the database.
struct Reader(Transaction<'static, Sqlite>);

impl Reader {
    async fn fetch_one(
        &mut self,
        query: Query<'_, Sqlite, SqliteArguments>,
    ) -> Result<SqliteRow, StoreError> {
        within(async { Ok(query.fetch_one(&mut *self.0).await?) }).await
    }

    async fn fetch_optional(
        &mut self,
        query: Query<'_, Sqlite, SqliteArguments>,
    ) -> Result<Option<SqliteRow>, StoreError> {
        within(async { Ok(query.fetch_optional(&mut *self.0).await?) }).await
    }

    async fn fetch_all(
        &mut self,
        query: Query<'_, Sqlite, SqliteArguments>,
    ) -> Result<Vec<SqliteRow>, StoreError> {
        within(async { Ok(query.fetch_all(&mut *self.0).await?) }).await
    }

    /// Whether a tenant has a domain verified; none if the row does not say.
    async fn is_verified(
        &mut self,
        owner: TenantId,
        name: &DomainName,
    ) -> Result<Option<bool>, StoreError> {
        let query = sqlx::query(select_domain_row!("WHERE tenant_id = $1 AND name = $2"))
            .bind(i64::from(owner.get()))
            .bind(name.as_str().to_owned());
        let Some(row) = self.fetch_optional(query).await? else { return Ok(None) };
        Ok(Columns::new(&row, "domain", &["tenant_id", "name"]).flag("ownership_verified").ok())
    }

    /// A row as it is now.
    async fn change(&mut self, row: &RowName) -> Result<Change, StoreError> {
        match row {
            RowName::Tenant(id) => {
                let query = sqlx::query(select_tenant!("WHERE id = $1")).bind(i64::from(id.get()));
                Ok(match self.fetch_optional(query).await? {
                    Some(row) => Change::Tenant(TenantRow::from(&tenant_from(&row)?)),
                    None => Change::TenantRemoved(*id),
                })
            }
            RowName::Domain(owner, name) => {
                let of_domain = |sql: &'static str| {
                    sqlx::query(sql).bind(i64::from(owner.get())).bind(name.as_str().to_owned())
                };
                let one = select_domain_row!("WHERE tenant_id = $1 AND name = $2");
                let Some(row) = self.fetch_optional(of_domain(one)).await? else {
                    return Ok(Change::DomainRemoved { owner: *owner, name: name.clone() });
                };
                let own = select_key_entry!("AND tenant_id = $1 AND domain = $2 ORDER BY id");
                let keys = self.fetch_all(of_domain(own)).await?;
                let keys = keys.iter().map(key_entry).collect::<Result<Vec<_>, _>>()?;
                Ok(Change::Domain(domain_row(&row, keys)?))
            }
            RowName::Pool(id) => {
                let query = sqlx::query(select_pool!("WHERE id = $1")).bind(sql_pool_id(id));
                Ok(match self.fetch_optional(query).await? {
                    Some(row) => Change::Pool(PoolRow::from(&pool_from(&row)?)),
                    None => Change::PoolRemoved(id.clone()),
                })
            }
            RowName::ApiKey(hash) => {
                let query = sqlx::query(select_api_key!("WHERE hash = $1 AND revoked_at IS NULL"));
                Ok(match self.fetch_optional(query.bind(hash.0.to_vec())).await? {
                    Some(row) => Change::ApiKey(ApiKeyRow::from(&api_key_from(&row)?)),
                    None => Change::ApiKeyRemoved(*hash),
                })
            }
            RowName::Provider(name) => {
                let query = sqlx::query(select_provider!("WHERE name = $1"));
                let row = self.fetch_optional(query.bind(name.as_str().to_owned())).await?;
                Ok(match row {
                    Some(row) => Change::Provider(provider_from(&row)?),
                    None => Change::ProviderRemoved(name.clone()),
                })
            }
            RowName::Platform => {
                let row = self.fetch_one(sqlx::query(SELECT_PLATFORM)).await?;
                Ok(Change::Platform(platform_from(&row)?))
            }
        }
    }

    /// All domains with the keys that sign for them, a page of each at a time.
    async fn load_domains(&mut self, all: &mut Vec<Change>) -> Result<(), StoreError> {
        let mut after = (-1, String::new());
        loop {
            let query = sqlx::query(select_domain_row!(
                "WHERE (tenant_id, name) > ($1, $2) ORDER BY tenant_id, name LIMIT $3"
            ))
            .bind(after.0)
            .bind(&after.1)
            .bind(sql_number(PAGE));
            let rows = self.fetch_all(query).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            let until: (i64, String) = (last.try_get("tenant_id")?, last.try_get("name")?);
            let query = sqlx::query(select_key_entry!(
                "AND (tenant_id, domain) > ($1, $2) AND (tenant_id, domain) <= ($3, $4) \
                 ORDER BY tenant_id, domain, selector"
            ))
            .bind(after.0)
            .bind(&after.1)
            .bind(until.0)
            .bind(&until.1);
            let keys = self.fetch_all(query).await?;
            let mut keys = keys.iter().map(key_entry).peekable();
            for row in &rows {
                let columns = Columns::new(row, "domain", &["tenant_id", "name"]);
                let (owner, name) = (columns.tenant("tenant_id")?, columns.parsed("name")?);
                let mut own = Vec::new();
                // Both come in one order; a key of a domain that is gone is passed over.
                while let Some(key) = keys.next_if(|key| match key {
                    Ok(key) => (key.owner, &key.domain) <= (owner, &name),
                    Err(_) => true,
                }) {
                    let key = key?;
                    if (key.owner, &key.domain) == (owner, &name) {
                        own.push(key);
                    }
                }
                // The order of the index, which is free, is that of the selectors.
                own.sort_unstable_by_key(|key| key.id);
                all.push(Change::Domain(domain_row(row, own)?));
            }
            after = until;
        }
    }
}

/// What signing has to know of a domain.
macro_rules! select_domain_row {
    ($rest:literal) => {
        concat!(
            "SELECT tenant_id, name, ownership_verified, dkim_status, sharing, subdomains, \
             enrolled FROM domain ",
            $rest
        )
    };
}
use select_domain_row;

/// What signing has to know of the keys that sign.
macro_rules! select_key_entry {
    ($rest:literal) => {
        concat!(
            "SELECT id, tenant_id, domain, selector, algorithm, sealed FROM signing_key \
             WHERE state = 'signing' AND sealed IS NOT NULL ",
            $rest
        )
    };
}
use select_key_entry;

/// A domain as signing knows it. It signs if its status is `valid` and it has an RSA key that signs.
fn domain_row(row: &SqliteRow, keys: Vec<KeyEntry>) -> Result<DomainRow, StoreError> {
    let columns = Columns::new(row, "domain", &["tenant_id", "name"]);
    let is_verified = columns.flag("ownership_verified")?;
    let status: DkimStatus = columns.parsed("dkim_status")?;
    let mut row = DomainRow::claimed(columns.tenant("tenant_id")?, columns.parsed("name")?)
        .shared(sharing_from(&columns)?)
        .with_subdomains(subdomains_from(&columns)?)
        .enrolled_with(&columns.list("enrolled")?);
    if is_verified {
        row = row.verified();
    }
    if !is_verified || status != DkimStatus::Valid {
        return Ok(row);
    }
    let (mut rsa, mut ed25519) = (None, None);
    // By their numbers: of two that sign, which there should not be, the newer one.
    for key in keys {
        match key.algorithm {
            Algorithm::RsaSha256 => rsa = Some(key),
            Algorithm::Ed25519Sha256 => ed25519 = Some(key),
        }
    }
    let Some(rsa) = rsa else { return Ok(row) };
    let apart = || columns.corrupt("its keys do not belong together");
    let mut signing = SigningKeys::new(Arc::new(rsa)).map_err(|_| apart())?;
    if let Some(ed25519) = ed25519 {
        signing = signing.with_ed25519(Arc::new(ed25519)).map_err(|_| apart())?;
    }
    row.signing(signing).map_err(|_| apart())
}

fn key_entry(row: &SqliteRow) -> Result<KeyEntry, StoreError> {
    let row = Columns::new(row, "signing_key", &["id"]);
    Ok(KeyEntry {
        id: KeyId::new(row.number("id")?),
        owner: row.tenant("tenant_id")?,
        domain: row.parsed("domain")?,
        selector: row.parsed("selector")?,
        algorithm: row.parsed("algorithm")?,
        sealed: SealedKey::new(row.octets("sealed")?),
    })
}

/// What names a row in the change log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum RowName {
    Tenant(TenantId),
    Domain(TenantId, DomainName),
    Pool(PoolId),
    ApiKey(ApiKeyHash),
    Provider(ProviderName),
    Platform,
}

impl RowName {
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Tenant(_) => "tenant",
            Self::Domain(..) => "domain",
            Self::Pool(_) => "pool",
            Self::ApiKey(_) => "api_key",
            Self::Provider(_) => "provider",
            Self::Platform => "platform",
        }
    }

    pub(crate) const fn tenant(&self) -> TenantId {
        match self {
            Self::Tenant(id) | Self::Domain(id, _) => *id,
            Self::Pool(_) | Self::ApiKey(_) | Self::Provider(_) | Self::Platform => {
                TenantId::PRIMARY
            }
        }
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Tenant(_) | Self::Platform => String::new(),
            Self::Domain(_, name) => name.as_str().to_owned(),
            Self::Pool(id) => sql_pool_id(id),
            Self::ApiKey(hash) => hash.0.iter().map(|octet| format!("{octet:02x}")).collect(),
            Self::Provider(name) => name.as_str().to_owned(),
        }
    }

    fn from_log(row: &SqliteRow) -> Result<Self, StoreError> {
        let row = Columns::new(row, "change_log", &["revision"]);
        Ok(match row.text("kind")?.as_str() {
            "tenant" => Self::Tenant(row.tenant("tenant_id")?),
            "domain" => Self::Domain(row.tenant("tenant_id")?, row.parsed("name")?),
            "pool" => Self::Pool(row.parsed("name")?),
            "api_key" => {
                let hash = parse_hash(&row.text("name")?);
                Self::ApiKey(hash.ok_or_else(|| row.corrupt("column name"))?)
            }
            "provider" => Self::Provider(row.parsed("name")?),
            "platform" => Self::Platform,
            _ => return Err(row.corrupt("column kind")),
        })
    }
}

fn parse_hash(text: &str) -> Option<ApiKeyHash> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let mut hash = [0; 32];
    if pairs.len() != hash.len() || !rest.is_empty() {
        return None;
    }
    for (octet, pair) in hash.iter_mut().zip(pairs) {
        *octet = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(ApiKeyHash(hash))
}

/// The most rows that [`Store::changes_since`] gives at a time. No official reference; it bounds the time
/// of one call to some hundred milliseconds.
pub const MAX_CHANGES: u64 = 4_096;

/// How many domains are read at a time.
const PAGE: u64 = 4_096;

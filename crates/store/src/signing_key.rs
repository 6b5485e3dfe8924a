//! Keys of domains: sealed, with the record that is published for them.
//!
//! A selector is never used for another key. A row without its private half stays as a tombstone, and a new
//! key is refused if its selector is on a tombstone of the tenant, or on any key of the domain that
//! receivers may have asked for, whoever had it. A key that was never seen in the DNS under a mere claim
//! stands in nobody else's way. Several tenants may thus have claims with one selector; whose key is seen
//! first has it, and no other key is seen or signs under it from then on. The same key pair may come back
//! under its selector.

use std::fmt;
use std::str::FromStr;

use postseal_dkim::{Algorithm, DomainName, Selector, UnixTime};
use postseal_engine::{KeyEntry, KeyId, SealedKey, TenantId};
use sqlx::sqlite::SqliteRow;
use thiserror::Error;

use crate::columns::{Columns, sql_number, sql_time};
use crate::database::Store;
use crate::error::{Conflict, StoreError, Thing};
use crate::follow::RowName;
use crate::unit::Unit;

/// A key of a domain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredKey {
    /// Its number.
    pub id: KeyId,
    /// Whose it is.
    pub owner: TenantId,
    /// The domain it signs for, `d=`.
    pub domain: DomainName,
    /// Its selector, `s=`.
    pub selector: Selector,
    /// What the API calls it; none for the keys that Postseal makes and rotates by itself.
    pub label: Option<String>,
    /// What it signs with.
    pub algorithm: Algorithm,
    /// The private half; none once it was destroyed.
    pub sealed: Option<SealedKey>,
    /// The text of its DNS record.
    pub public_record: String,
    /// Where it is in its life.
    pub state: KeyState,
    /// When it was made or imported.
    pub created_at: UnixTime,
    /// When its state last changed.
    pub updated_at: UnixTime,
    /// When its record was first seen in the DNS.
    pub first_seen: Option<UnixTime>,
    /// When its record was last seen as it should be.
    pub last_good_check: Option<UnixTime>,
}

impl StoredKey {
    /// The key as signing knows it, while it has its private half.
    #[must_use]
    pub fn entry(&self) -> Option<KeyEntry> {
        Some(KeyEntry {
            id: self.id,
            owner: self.owner,
            domain: self.domain.clone(),
            selector: self.selector.clone(),
            algorithm: self.algorithm,
            sealed: self.sealed.clone()?,
        })
    }
}

/// A key to be kept.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// See [`StoredKey::owner`].
    pub owner: TenantId,
    /// See [`StoredKey::domain`].
    pub domain: DomainName,
    /// See [`StoredKey::selector`].
    pub selector: Selector,
    /// See [`StoredKey::label`].
    pub label: Option<String>,
    /// See [`StoredKey::algorithm`].
    pub algorithm: Algorithm,
    /// See [`StoredKey::sealed`].
    pub sealed: SealedKey,
    /// See [`StoredKey::public_record`].
    pub public_record: String,
}

/// Where a key is in its life.
///
/// ```text
/// created ─▶ published ─▶ live ─▶ signing ─▶ retiring ─▶ revoked ─▶ removed
///                                                 └────────────────────┘ pasted keys
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum KeyState {
    /// Made or imported; nobody was told of it.
    Created,
    /// Its record is meant to be in the DNS.
    Published,
    /// Its record was seen where receivers ask.
    Live,
    /// It signs.
    Signing,
    /// It signs no more, and mail that it signed may still be verified.
    Retiring,
    /// Its record has an empty `p=` (RFC 6376 §3.6.1).
    Revoked,
    /// Its record is gone.
    Removed,
}

impl KeyState {
    const ALL: [Self; 7] = [
        Self::Created,
        Self::Published,
        Self::Live,
        Self::Signing,
        Self::Retiring,
        Self::Revoked,
        Self::Removed,
    ];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Published => "published",
            Self::Live => "live",
            Self::Signing => "signing",
            Self::Retiring => "retiring",
            Self::Revoked => "revoked",
            Self::Removed => "removed",
        }
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for KeyState {
    type Err = UnknownKeyState;

    fn from_str(text: &str) -> Result<Self, UnknownKeyState> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(UnknownKeyState)
    }
}

/// A text that is no state of a key.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("the state of the key is not known")]
pub struct UnknownKeyState;

impl Store {
    /// The keys of a tenant's domain that have their private half, oldest first.
    pub async fn keys(
        &self,
        owner: TenantId,
        domain: &DomainName,
    ) -> Result<Vec<StoredKey>, StoreError> {
        let query =
            sqlx::query(SELECT_OF_DOMAIN).bind(i64::from(owner.get())).bind(domain.as_str());
        self.fetch_all(query).await?.iter().map(key_from).collect()
    }

    /// The key with this number, also one that was destroyed.
    pub async fn key(&self, id: KeyId) -> Result<Option<StoredKey>, StoreError> {
        let query = sqlx::query(select_key!("WHERE id = $1")).bind(sql_number(id.get()));
        self.fetch_optional(query).await?.as_ref().map(key_from).transpose()
    }

    /// The keys of a domain and of everything below it whose records have to be in the DNS: those that
    /// were published, and of domains that were given up after `since` those that were ever seen.
    pub async fn published_keys(
        &self,
        domain: &DomainName,
        since: UnixTime,
    ) -> Result<Vec<StoredKey>, StoreError> {
        let query = sqlx::query(select_key!(
            "WHERE (domain = $1 OR domain LIKE $2) AND ((sealed IS NOT NULL AND state <> 'created') \
             OR (sealed IS NULL AND first_seen IS NOT NULL AND updated_at >= $3)) ORDER BY id"
        ))
        .bind(domain.as_str())
        .bind(format!("%.{domain}"))
        .bind(sql_time(since));
        let keys: Vec<StoredKey> =
            self.fetch_all(query).await?.iter().map(key_from).collect::<Result<_, _>>()?;
        // An underscore in the name is a placeholder to LIKE.
        Ok(keys.into_iter().filter(|key| key.domain.is_same_or_subdomain_of(domain)).collect())
    }
}

impl Store {
    /// The keys whose domains were given up from `from` on and before `until`, and whose records were seen by
    /// then, so that they stayed in the DNS for a while. One that cannot be read holds up no other.
    pub async fn keys_given_up(
        &self,
        from: UnixTime,
        until: UnixTime,
    ) -> Result<Vec<Result<StoredKey, StoreError>>, StoreError> {
        let query = sqlx::query(select_key!(
            "WHERE sealed IS NULL AND first_seen IS NOT NULL AND updated_at >= $1 AND updated_at < $2 \
             ORDER BY id"
        ))
        .bind(sql_time(from))
        .bind(sql_time(until));
        Ok(self.fetch_all(query).await?.iter().map(key_from).collect())
    }

    /// Says whether a key of that name has to be in the DNS, as [`Store::published_keys`] means it, and which.
    pub async fn published_key(
        &self,
        domain: &DomainName,
        selector: &Selector,
        since: UnixTime,
    ) -> Result<Option<StoredKey>, StoreError> {
        let query = sqlx::query(select_key!(
            "WHERE domain = $1 AND selector = $2 AND ((sealed IS NOT NULL AND state <> 'created') \
             OR (sealed IS NULL AND first_seen IS NOT NULL AND updated_at >= $3)) ORDER BY id LIMIT 1"
        ))
        .bind(domain.as_str())
        .bind(selector.as_str())
        .bind(sql_time(since));
        self.fetch_optional(query).await?.as_ref().map(key_from).transpose()
    }
}

impl Unit {
    /// Keeps a new key of a domain. It does not sign yet.
    pub async fn add_key(&mut self, new: NewKey) -> Result<StoredKey, StoreError> {
        self.expect_domain(new.owner, &new.domain).await?;
        let used = sqlx::query(
            "SELECT id FROM signing_key WHERE domain = $2 AND selector = $3 \
             AND public_record <> $4 AND (tenant_id = $1 OR first_seen IS NOT NULL) LIMIT 1",
        )
        .bind(i64::from(new.owner.get()))
        .bind(new.domain.as_str())
        .bind(new.selector.as_str())
        .bind(&new.public_record);
        if self.fetch_optional(used).await?.is_some() {
            return Err(Conflict::SelectorUsed.into());
        }
        if let Some(label) = &new.label {
            let taken = sqlx::query(
                "SELECT id FROM signing_key WHERE tenant_id = $1 AND domain = $2 AND label = $3 \
                 AND sealed IS NOT NULL",
            )
            .bind(i64::from(new.owner.get()))
            .bind(new.domain.as_str())
            .bind(label);
            if self.fetch_optional(taken).await?.is_some() {
                return Err(Conflict::KeyLabelExists.into());
            }
        }
        let octets = new.sealed.as_bytes().ok_or_else(|| StoreError::Corrupt {
            table: "signing_key",
            id: format!("{} {}", new.domain, new.selector),
            reason: "its private half is in a file of this signer, not in memory".into(),
        })?;
        let key = StoredKey {
            id: KeyId::new(self.next_number("signing_key").await?),
            owner: new.owner,
            domain: new.domain,
            selector: new.selector,
            label: new.label,
            algorithm: new.algorithm,
            sealed: Some(new.sealed.clone()),
            public_record: new.public_record,
            state: KeyState::Created,
            created_at: self.now(),
            updated_at: self.now(),
            first_seen: None,
            last_good_check: None,
        };
        let insert = sqlx::query(
            "INSERT INTO signing_key (id, tenant_id, domain, selector, label, algorithm, sealed, \
             public_record, state, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING",
        )
        .bind(sql_number(key.id.get()))
        .bind(i64::from(key.owner.get()))
        .bind(key.domain.as_str())
        .bind(key.selector.as_str())
        .bind(&key.label)
        .bind(key.algorithm.as_str())
        .bind(octets)
        .bind(&key.public_record)
        .bind(key.state.as_str())
        .bind(sql_time(key.created_at))
        .bind(sql_time(key.updated_at));
        match self.execute(insert).await? {
            0 => Err(Conflict::KeyExists.into()),
            _ => Ok(key),
        }
    }

    /// Lets a key sign, in place of the domain's other keys of the same algorithm, which retire.
    ///
    /// Fails with [`Conflict::SelectorUsed`] like [`Unit::record_key_seen`].
    pub async fn promote_key(&mut self, id: KeyId) -> Result<StoredKey, StoreError> {
        let mut key = self.expect_key(id).await?;
        if key.sealed.is_none() {
            return Err(Conflict::KeyDestroyed.into());
        }
        self.expect_unused_selector(&key).await?;
        let now = sql_time(self.now());
        let retire = sqlx::query(
            "UPDATE signing_key SET state = 'retiring', updated_at = $5 WHERE tenant_id = $1 \
             AND domain = $2 AND algorithm = $3 AND id <> $4 AND state = 'signing'",
        )
        .bind(i64::from(key.owner.get()))
        .bind(key.domain.as_str())
        .bind(key.algorithm.as_str())
        .bind(sql_number(id.get()))
        .bind(now);
        self.execute(retire).await?;
        self.write_state(&mut key, KeyState::Signing).await?;
        self.log_domain_of(&key).await?;
        Ok(key)
    }

    /// Moves a key to another state of its life. [`Unit::promote_key`] is the way to make it sign.
    pub async fn set_key_state(
        &mut self,
        id: KeyId,
        state: KeyState,
    ) -> Result<StoredKey, StoreError> {
        if state == KeyState::Signing {
            return self.promote_key(id).await;
        }
        let mut key = self.expect_key(id).await?;
        let signed = key.state == KeyState::Signing;
        self.write_state(&mut key, state).await?;
        if signed {
            self.log_domain_of(&key).await?;
        }
        Ok(key)
    }

    /// Notes that a key's record was seen as it should be. From the first time on, its selector belongs to
    /// it for good.
    ///
    /// Fails with [`Conflict::SelectorUsed`], and has written nothing, if another key was seen under the
    /// selector before, whoever had it and also if it is destroyed.
    pub async fn record_key_seen(&mut self, id: KeyId) -> Result<StoredKey, StoreError> {
        let mut key = self.expect_key(id).await?;
        self.expect_unused_selector(&key).await?;
        key.first_seen = key.first_seen.or(Some(self.now()));
        key.last_good_check = Some(self.now());
        let update = sqlx::query(
            "UPDATE signing_key SET first_seen = $2, last_good_check = $3 WHERE id = $1",
        )
        .bind(sql_number(id.get()))
        .bind(key.first_seen.map(sql_time))
        .bind(key.last_good_check.map(sql_time));
        self.execute(update).await?;
        Ok(key)
    }

    /// Destroys the private half of a key that does not sign. Its row stays.
    pub async fn destroy_key(&mut self, id: KeyId) -> Result<(), StoreError> {
        let key = self.expect_key(id).await?;
        if key.state == KeyState::Signing {
            return Err(Conflict::KeySigns.into());
        }
        let now = sql_time(self.now());
        let update =
            sqlx::query("UPDATE signing_key SET sealed = NULL, updated_at = $2 WHERE id = $1");
        self.execute(update.bind(sql_number(id.get())).bind(now)).await?;
        Ok(())
    }

    /// Destroys the private halves of all keys of a domain that is given up.
    pub(crate) async fn bury_keys(
        &mut self,
        owner: TenantId,
        domain: &DomainName,
    ) -> Result<(), StoreError> {
        let now = sql_time(self.now());
        let update = sqlx::query(
            "UPDATE signing_key SET sealed = NULL, state = 'removed', updated_at = $3 \
             WHERE tenant_id = $1 AND domain = $2 AND sealed IS NOT NULL",
        )
        .bind(i64::from(owner.get()))
        .bind(domain.as_str())
        .bind(now);
        self.execute(update).await?;
        Ok(())
    }

    /// Refuses a key under whose selector receivers may have another one.
    async fn expect_unused_selector(&mut self, key: &StoredKey) -> Result<(), StoreError> {
        let used = sqlx::query(
            "SELECT id FROM signing_key WHERE domain = $1 AND selector = $2 \
             AND public_record <> $3 AND first_seen IS NOT NULL LIMIT 1",
        )
        .bind(key.domain.as_str())
        .bind(key.selector.as_str())
        .bind(&key.public_record);
        match self.fetch_optional(used).await? {
            Some(_) => Err(Conflict::SelectorUsed.into()),
            None => Ok(()),
        }
    }

    async fn expect_key(&mut self, id: KeyId) -> Result<StoredKey, StoreError> {
        let query = sqlx::query(select_key!("WHERE id = $1")).bind(sql_number(id.get()));
        let row = self.fetch_optional(query).await?;
        key_from(&row.ok_or(StoreError::NotFound(Thing::SigningKey))?)
    }

    async fn write_state(
        &mut self,
        key: &mut StoredKey,
        state: KeyState,
    ) -> Result<(), StoreError> {
        key.state = state;
        key.updated_at = self.now();
        let update =
            sqlx::query("UPDATE signing_key SET state = $2, updated_at = $3 WHERE id = $1")
                .bind(sql_number(key.id.get()))
                .bind(state.as_str())
                .bind(sql_time(key.updated_at));
        self.execute(update).await?;
        Ok(())
    }

    async fn log_domain_of(&mut self, key: &StoredKey) -> Result<(), StoreError> {
        self.log(&RowName::Domain(key.owner, key.domain.clone())).await
    }
}

macro_rules! select_key {
    ($rest:literal) => {
        concat!(
            "SELECT id, tenant_id, domain, selector, label, algorithm, sealed, public_record, \
             state, created_at, updated_at, first_seen, last_good_check FROM signing_key ",
            $rest
        )
    };
}
const SELECT_OF_DOMAIN: &str =
    select_key!("WHERE tenant_id = $1 AND domain = $2 AND sealed IS NOT NULL ORDER BY id");

use select_key;

fn key_from(row: &SqliteRow) -> Result<StoredKey, StoreError> {
    let row = Columns::new(row, "signing_key", &["id"]);
    Ok(StoredKey {
        id: KeyId::new(row.number("id")?),
        owner: row.tenant("tenant_id")?,
        domain: row.parsed("domain")?,
        selector: row.parsed("selector")?,
        label: row.optional_text("label")?,
        algorithm: row.parsed("algorithm")?,
        sealed: row.optional_octets("sealed")?.map(SealedKey::new),
        public_record: row.text("public_record")?,
        state: row.parsed("state")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        first_seen: row.optional_time("first_seen")?,
        last_good_check: row.optional_time("last_good_check")?,
    })
}

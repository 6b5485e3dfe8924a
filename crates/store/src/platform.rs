//! What is there once: facts of the installation, the platform's settings, and the mailbox providers.

use postseal_dkim::DomainName;
use postseal_engine::{PlatformRow, PolicyLayer, Provider, ProviderName};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::columns::{Columns, sql_time, write_list, write_policy};
use crate::database::Store;
use crate::error::{StoreError, Thing};
use crate::follow::RowName;
use crate::unit::Unit;

/// Something that is true of an installation from its first start on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fact {
    /// The check value of the master key with which all stored keys are sealed.
    MasterKeyCheck,
    /// The random id by which this installation is told from others.
    InstallationId,
}

impl Fact {
    const fn as_str(self) -> &'static str {
        match self {
            Self::MasterKeyCheck => "master_key_check",
            Self::InstallationId => "installation_id",
        }
    }
}

/// A change of the platform's settings. What is none stays as it is; none inside is taken away.
#[derive(Clone, Debug, Default)]
pub struct PlatformEdit {
    /// See [`PlatformRow::default_signing_domain`].
    pub default_signing_domain: Option<Option<DomainName>>,
    /// See [`PlatformRow::fbl_signing_domain`].
    pub fbl_signing_domain: Option<Option<DomainName>>,
    /// See [`PlatformRow::policy`].
    pub policy: Option<PolicyLayer>,
}

impl Store {
    /// A fact of the installation, or none if it was never stated.
    pub async fn fact(&self, fact: Fact) -> Result<Option<String>, StoreError> {
        let query = sqlx::query("SELECT value FROM installation_fact WHERE name = $1");
        let row = self.fetch_optional(query.bind(fact.as_str())).await?;
        row.map(|row| Ok(row.try_get("value")?)).transpose()
    }

    /// The platform's settings.
    pub async fn platform(&self) -> Result<PlatformRow, StoreError> {
        platform_from(&self.fetch_one(sqlx::query(SELECT_PLATFORM)).await?)
    }

    /// The providers that were described or changed here, by name.
    pub async fn providers(&self) -> Result<Vec<Provider>, StoreError> {
        let rows = self.fetch_all(sqlx::query(select_provider!("ORDER BY name"))).await?;
        rows.iter().map(provider_from).collect()
    }
}

impl Unit {
    /// States a fact, unless it was stated before, and gives the value that holds.
    pub async fn state_fact(&mut self, fact: Fact, value: &str) -> Result<String, StoreError> {
        let now = sql_time(self.now());
        let insert = sqlx::query(
            "INSERT INTO installation_fact (name, value, created_at) VALUES ($1, $2, $3) \
             ON CONFLICT (name) DO NOTHING",
        );
        self.execute(insert.bind(fact.as_str()).bind(value).bind(now)).await?;
        let query = sqlx::query("SELECT value FROM installation_fact WHERE name = $1");
        Ok(self.fetch_one(query.bind(fact.as_str())).await?.try_get("value")?)
    }

    /// Changes the platform's settings, and gives them as they are now.
    pub async fn edit_platform(&mut self, edit: PlatformEdit) -> Result<PlatformRow, StoreError> {
        let mut platform = platform_from(&self.fetch_one(sqlx::query(SELECT_PLATFORM)).await?)?;
        if let Some(domain) = edit.default_signing_domain {
            platform.default_signing_domain = domain;
        }
        if let Some(domain) = edit.fbl_signing_domain {
            platform.fbl_signing_domain = domain;
        }
        if let Some(policy) = edit.policy {
            platform.policy = policy;
        }
        let update = sqlx::query(
            "UPDATE platform SET default_signing_domain = $1, fbl_signing_domain = $2, policy = $3",
        )
        .bind(platform.default_signing_domain.as_ref().map(DomainName::as_str))
        .bind(platform.fbl_signing_domain.as_ref().map(DomainName::as_str))
        .bind(write_policy(&platform.policy));
        self.execute(update).await?;
        self.log(&RowName::Platform).await?;
        Ok(platform)
    }

    /// Describes a provider, in place of what was said of it before.
    pub async fn put_provider(&mut self, provider: &Provider) -> Result<(), StoreError> {
        let put = sqlx::query(
            "INSERT INTO provider (name, domains, mx_suffixes, exclusions, enrolled) \
             VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (name) DO UPDATE SET domains = excluded.domains, \
             mx_suffixes = excluded.mx_suffixes, exclusions = excluded.exclusions, \
             enrolled = excluded.enrolled",
        )
        .bind(provider.name.as_str())
        .bind(write_list(&provider.domains))
        .bind(write_list(&provider.mx_suffixes))
        .bind(write_list(&provider.exclusions))
        .bind(write_list(&provider.enrolled));
        self.execute(put).await?;
        self.log(&RowName::Provider(provider.name.clone())).await
    }

    /// Takes back what was said of a provider; what is built in holds again.
    pub async fn remove_provider(&mut self, name: &ProviderName) -> Result<(), StoreError> {
        let delete = sqlx::query("DELETE FROM provider WHERE name = $1").bind(name.as_str());
        if self.execute(delete).await? == 0 {
            return Err(StoreError::NotFound(Thing::Provider));
        }
        self.log(&RowName::Provider(name.clone())).await
    }
}

pub(crate) const SELECT_PLATFORM: &str =
    "SELECT only_row, default_signing_domain, fbl_signing_domain, policy FROM platform";

pub(crate) fn platform_from(row: &SqliteRow) -> Result<PlatformRow, StoreError> {
    let row = Columns::new(row, "platform", &["only_row"]);
    Ok(PlatformRow {
        default_signing_domain: row.optional_parsed("default_signing_domain")?,
        fbl_signing_domain: row.optional_parsed("fbl_signing_domain")?,
        policy: row.policy("policy")?,
    })
}

macro_rules! select_provider {
    ($rest:literal) => {
        concat!("SELECT name, domains, mx_suffixes, exclusions, enrolled FROM provider ", $rest)
    };
}
pub(crate) use select_provider;

pub(crate) fn provider_from(row: &SqliteRow) -> Result<Provider, StoreError> {
    let row = Columns::new(row, "provider", &["name"]);
    Ok(Provider {
        name: row.parsed("name")?,
        domains: row.list("domains")?.into_iter().collect(),
        mx_suffixes: row.list("mx_suffixes")?,
        exclusions: row.list("exclusions")?,
        enrolled: row.list("enrolled")?.into_iter().collect(),
    })
}

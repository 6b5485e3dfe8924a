//! Sending domains: who claims them, who has verified them, and what the last look at the DNS said.
//!
//! Several tenants may claim a domain, since a claim is only words. The first to verify it has it: a unique
//! index over the verified rows says so, whatever two requests do at the same time. Whoever is late gets
//! [`Conflict::DomainOwned`], also for a new claim.
//!
//! Names are compared whole. A parent, a child and a sibling are other domains and may be verified by
//! other tenants; that a parent which signs for its subdomains does not reach one that somebody else has
//! verified is for the engine, which sees both rows.

use std::fmt;
use std::str::FromStr;

use postseal_dkim::{DomainName, UnixTime};
use postseal_engine::{ProviderName, Sharing, Subdomains, TenantId};
use serde_json::{Map, Value};
use sqlx::sqlite::SqliteRow;
use thiserror::Error;

use crate::columns::{Columns, sql_number, sql_time, write_list};
use crate::database::Store;
use crate::error::{Conflict, StoreError, Thing, is_taken};
use crate::follow::RowName;
use crate::unit::Unit;

/// A tenant's claim to a domain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Domain {
    /// Who claims it.
    pub owner: TenantId,
    /// The domain.
    pub name: DomainName,
    /// When the tenant showed that it has the domain; none while it only says so.
    pub verified_at: Option<UnixTime>,
    /// What the DNS said about the domain's key.
    pub dkim_status: DkimStatus,
    /// When the DNS was asked last.
    pub last_check: Option<UnixTime>,
    /// When the record was last seen as it should be.
    pub last_good_check: Option<UnixTime>,
    /// Since when looks find the record gone or changed; none while the last look was good.
    pub suspect_since: Option<UnixTime>,
    /// What was wrong at the last look, for a person.
    pub check_error: Option<String>,
    /// When the next look is due.
    pub next_check: UnixTime,
    /// Whether subaccounts may send with it.
    pub sharing: Sharing,
    /// Whether it signs for what is below it.
    pub subdomains: Subdomains,
    /// The providers with whose feedback loops it is enrolled itself.
    pub enrolled: Vec<ProviderName>,
    /// What the API keeps of it and signing does not depend on.
    pub attributes: Map<String, Value>,
    /// When it was claimed.
    pub created_at: UnixTime,
    /// When it was last changed, looks at the DNS aside.
    pub updated_at: UnixTime,
}

impl Domain {
    /// Says whether the tenant has shown that it has the domain.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        self.verified_at.is_some()
    }
}

/// A domain to be claimed.
#[derive(Clone, Debug)]
pub struct NewDomain {
    /// See [`Domain::owner`].
    pub owner: TenantId,
    /// See [`Domain::name`].
    pub name: DomainName,
    /// See [`Domain::sharing`].
    pub sharing: Sharing,
    /// See [`Domain::subdomains`].
    pub subdomains: Subdomains,
    /// See [`Domain::attributes`].
    pub attributes: Map<String, Value>,
}

impl NewDomain {
    /// A claim that is not shared and does not reach below itself.
    #[must_use]
    pub fn new(owner: TenantId, name: DomainName) -> Self {
        Self {
            owner,
            name,
            sharing: Sharing::Private,
            subdomains: Subdomains::Off,
            attributes: Map::new(),
        }
    }
}

/// A change of a domain. What is none stays as it is.
#[derive(Clone, Debug, Default)]
pub struct DomainEdit {
    /// See [`Domain::sharing`].
    pub sharing: Option<Sharing>,
    /// See [`Domain::subdomains`].
    pub subdomains: Option<Subdomains>,
    /// See [`Domain::enrolled`].
    pub enrolled: Option<Vec<ProviderName>>,
    /// See [`Domain::attributes`].
    pub attributes: Option<Map<String, Value>>,
}

/// What a look at the DNS says.
#[derive(Clone, Debug)]
pub struct DomainCheck {
    /// The status from now on.
    pub dkim_status: DkimStatus,
    /// Whether the record was seen as it should be.
    pub seen: bool,
    /// See [`Domain::suspect_since`].
    pub suspect_since: Option<UnixTime>,
    /// See [`Domain::check_error`].
    pub error: Option<String>,
    /// See [`Domain::next_check`].
    pub next_check: UnixTime,
}

/// Which domains are wanted. What is none does not count.
#[derive(Clone, Debug, Default)]
pub struct DomainFilter {
    /// Those of this tenant.
    pub owner: Option<TenantId>,
    /// Those that are verified, or those that are not.
    pub verified: Option<bool>,
    /// Those with this status.
    pub dkim_status: Option<DkimStatus>,
}

/// What the DNS said about a domain's key, in SparkPost's words.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum DkimStatus {
    /// Nobody has asked yet.
    Unverified,
    /// It was asked, and a second look is due before the key may sign.
    Pending,
    /// The record is missing or wrong.
    Invalid,
    /// The record stands as it should: the domain signs.
    Valid,
}

impl DkimStatus {
    /// The word for it in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unverified => "unverified",
            Self::Pending => "pending",
            Self::Invalid => "invalid",
            Self::Valid => "valid",
        }
    }
}

impl fmt::Display for DkimStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for DkimStatus {
    type Err = UnknownDkimStatus;

    fn from_str(text: &str) -> Result<Self, UnknownDkimStatus> {
        [Self::Unverified, Self::Pending, Self::Invalid, Self::Valid]
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or(UnknownDkimStatus)
    }
}

/// A text that is no status of a domain's key.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("the status is not unverified, pending, invalid or valid")]
pub struct UnknownDkimStatus;

impl Store {
    /// A tenant's claim to a domain.
    pub async fn domain(
        &self,
        owner: TenantId,
        name: &DomainName,
    ) -> Result<Option<Domain>, StoreError> {
        let query = sqlx::query(SELECT_ONE).bind(i64::from(owner.get())).bind(name.as_str());
        self.fetch_optional(query).await?.as_ref().map(domain_from).transpose()
    }

    /// The domains that a filter lets through, by tenant and name.
    pub async fn domains(&self, filter: &DomainFilter) -> Result<Vec<Domain>, StoreError> {
        let query = sqlx::query(select_domain!(
            "WHERE (CAST($1 AS BIGINT) IS NULL OR tenant_id = $1) \
             AND (CAST($2 AS BOOLEAN) IS NULL OR ownership_verified = $2) \
             AND (CAST($3 AS TEXT) IS NULL OR dkim_status = $3) ORDER BY tenant_id, name"
        ))
        .bind(filter.owner.map(|owner| i64::from(owner.get())))
        .bind(filter.verified)
        .bind(filter.dkim_status.map(DkimStatus::as_str));
        self.fetch_all(query).await?.iter().map(domain_from).collect()
    }

    /// All claims to a domain, by tenant.
    pub async fn claims(&self, name: &DomainName) -> Result<Vec<Domain>, StoreError> {
        let query = sqlx::query(select_domain!("WHERE name = $1 ORDER BY tenant_id"));
        self.fetch_all(query.bind(name.as_str())).await?.iter().map(domain_from).collect()
    }

    /// The domains whose next look is due, the longest overdue first.
    pub async fn domains_due(
        &self,
        now: UnixTime,
        at_most: u32,
    ) -> Result<Vec<Domain>, StoreError> {
        let query =
            sqlx::query(select_domain!("WHERE next_check <= $1 ORDER BY next_check LIMIT $2"))
                .bind(sql_time(now))
                .bind(sql_number(at_most.into()));
        self.fetch_all(query).await?.iter().map(domain_from).collect()
    }
}

impl Unit {
    /// Claims a domain for a tenant.
    pub async fn create_domain(&mut self, new: NewDomain) -> Result<Domain, StoreError> {
        self.expect_tenant(new.owner).await?;
        check_sharing(new.owner, new.sharing)?;
        if let Some(owner) = self.owner_of(&new.name).await? {
            return Err(match owner == new.owner {
                true => Conflict::DomainExists,
                false => Conflict::DomainOwned { owner },
            }
            .into());
        }
        let domain = Domain {
            owner: new.owner,
            name: new.name,
            verified_at: None,
            dkim_status: DkimStatus::Unverified,
            last_check: None,
            last_good_check: None,
            suspect_since: None,
            check_error: None,
            next_check: self.now(),
            sharing: new.sharing,
            subdomains: new.subdomains,
            enrolled: Vec::new(),
            attributes: new.attributes,
            created_at: self.now(),
            updated_at: self.now(),
        };
        let insert = sqlx::query(
            "INSERT INTO domain (tenant_id, name, ownership_verified, dkim_status, next_check, \
             sharing, subdomains, enrolled, attributes, created_at, updated_at) \
             VALUES ($1, $2, FALSE, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING",
        )
        .bind(i64::from(domain.owner.get()))
        .bind(domain.name.as_str())
        .bind(domain.dkim_status.as_str())
        .bind(sql_time(domain.next_check))
        .bind(sql_sharing(domain.sharing))
        .bind(sql_subdomains(domain.subdomains))
        .bind(write_list(&domain.enrolled))
        .bind(write_attributes(&domain.attributes))
        .bind(sql_time(domain.created_at))
        .bind(sql_time(domain.updated_at));
        if self.execute(insert).await? == 0 {
            return Err(Conflict::DomainExists.into());
        }
        self.log_domain(&domain).await?;
        Ok(domain)
    }

    /// Changes a domain, and gives it as it is now.
    pub async fn edit_domain(
        &mut self,
        owner: TenantId,
        name: &DomainName,
        edit: DomainEdit,
    ) -> Result<Domain, StoreError> {
        let former = self.expect_domain(owner, name).await?;
        let mut domain = former.clone();
        if let Some(sharing) = edit.sharing {
            check_sharing(owner, sharing)?;
            domain.sharing = sharing;
        }
        if let Some(subdomains) = edit.subdomains {
            domain.subdomains = subdomains;
        }
        if let Some(enrolled) = edit.enrolled {
            domain.enrolled = enrolled;
        }
        if let Some(attributes) = edit.attributes {
            domain.attributes = attributes;
        }
        domain.updated_at = self.now();
        let update = sqlx::query(
            "UPDATE domain SET sharing = $3, subdomains = $4, enrolled = $5, attributes = $6, \
             updated_at = $7 WHERE tenant_id = $1 AND name = $2",
        )
        .bind(i64::from(owner.get()))
        .bind(name.as_str())
        .bind(sql_sharing(domain.sharing))
        .bind(sql_subdomains(domain.subdomains))
        .bind(write_list(&domain.enrolled))
        .bind(write_attributes(&domain.attributes))
        .bind(sql_time(domain.updated_at));
        self.execute(update).await?;
        let same = former.sharing == domain.sharing
            && former.subdomains == domain.subdomains
            && former.enrolled == domain.enrolled;
        if !same {
            self.log_domain(&domain).await?;
        }
        Ok(domain)
    }

    /// Notes that the tenant has shown that it has the domain. From now on no other tenant can.
    pub async fn verify_ownership(
        &mut self,
        owner: TenantId,
        name: &DomainName,
    ) -> Result<Domain, StoreError> {
        let mut domain = self.expect_domain(owner, name).await?;
        if domain.is_verified() {
            return Ok(domain);
        }
        let update = sqlx::query(
            "UPDATE domain SET ownership_verified = TRUE, verified_at = $3, updated_at = $3 \
             WHERE tenant_id = $1 AND name = $2",
        )
        .bind(i64::from(owner.get()))
        .bind(name.as_str())
        .bind(sql_time(self.now()));
        match self.try_execute(update).await? {
            Ok(_) => {}
            Err(error) if is_taken(&error) => {
                let owner = self.owner_of(name).await?.unwrap_or(owner);
                return Err(Conflict::DomainOwned { owner }.into());
            }
            Err(error) => return Err(error.into()),
        }
        domain.verified_at = Some(self.now());
        domain.updated_at = self.now();
        self.log_domain(&domain).await?;
        Ok(domain)
    }

    /// Takes the verification of a domain back, and its DKIM status with it.
    pub async fn withdraw_ownership(
        &mut self,
        owner: TenantId,
        name: &DomainName,
    ) -> Result<Domain, StoreError> {
        let mut domain = self.expect_domain(owner, name).await?;
        domain.verified_at = None;
        domain.dkim_status = DkimStatus::Unverified;
        domain.updated_at = self.now();
        let update = sqlx::query(
            "UPDATE domain SET ownership_verified = FALSE, verified_at = NULL, dkim_status = $3, \
             updated_at = $4 WHERE tenant_id = $1 AND name = $2",
        )
        .bind(i64::from(owner.get()))
        .bind(name.as_str())
        .bind(domain.dkim_status.as_str())
        .bind(sql_time(domain.updated_at));
        self.execute(update).await?;
        self.log_domain(&domain).await?;
        Ok(domain)
    }

    /// Notes what a look at the DNS said.
    ///
    /// A status of `valid` verifies the ownership too, since only the owner can publish the key, and fails
    /// like [`Unit::verify_ownership`] if another tenant has the domain. A look that changes no status is
    /// no change for signers.
    pub async fn record_check(
        &mut self,
        owner: TenantId,
        name: &DomainName,
        check: DomainCheck,
    ) -> Result<Domain, StoreError> {
        let mut domain = match check.dkim_status {
            DkimStatus::Valid => self.verify_ownership(owner, name).await?,
            DkimStatus::Unverified | DkimStatus::Pending | DkimStatus::Invalid => {
                self.expect_domain(owner, name).await?
            }
        };
        let is_change = domain.dkim_status != check.dkim_status;
        domain.dkim_status = check.dkim_status;
        domain.last_check = Some(self.now());
        if check.seen {
            domain.last_good_check = Some(self.now());
        }
        domain.suspect_since = check.suspect_since;
        domain.check_error = check.error;
        domain.next_check = check.next_check;
        let update = sqlx::query(
            "UPDATE domain SET dkim_status = $3, last_check = $4, last_good_check = $5, \
             suspect_since = $6, check_error = $7, next_check = $8 \
             WHERE tenant_id = $1 AND name = $2",
        )
        .bind(i64::from(owner.get()))
        .bind(name.as_str())
        .bind(domain.dkim_status.as_str())
        .bind(domain.last_check.map(sql_time))
        .bind(domain.last_good_check.map(sql_time))
        .bind(domain.suspect_since.map(sql_time))
        .bind(&domain.check_error)
        .bind(sql_time(domain.next_check));
        self.execute(update).await?;
        if is_change {
            self.log_domain(&domain).await?;
        }
        Ok(domain)
    }

    /// Gives a domain up. The private halves of its keys are destroyed; their rows stay, so that no
    /// selector of theirs is used for another key.
    pub async fn delete_domain(
        &mut self,
        owner: TenantId,
        name: &DomainName,
    ) -> Result<(), StoreError> {
        let domain = self.expect_domain(owner, name).await?;
        self.bury_keys(owner, name).await?;
        let delete = sqlx::query("DELETE FROM domain WHERE tenant_id = $1 AND name = $2")
            .bind(i64::from(owner.get()))
            .bind(name.as_str());
        self.execute(delete).await?;
        self.log_domain(&domain).await
    }

    /// The claim, or an error if there is none.
    pub(crate) async fn expect_domain(
        &mut self,
        owner: TenantId,
        name: &DomainName,
    ) -> Result<Domain, StoreError> {
        let query = sqlx::query(SELECT_ONE).bind(i64::from(owner.get())).bind(name.as_str());
        let row = self.fetch_optional(query).await?;
        domain_from(&row.ok_or(StoreError::NotFound(Thing::Domain))?)
    }

    async fn log_domain(&mut self, domain: &Domain) -> Result<(), StoreError> {
        self.log(&RowName::Domain(domain.owner, domain.name.clone())).await
    }

    /// The tenant that has verified the domain.
    async fn owner_of(&mut self, name: &DomainName) -> Result<Option<TenantId>, StoreError> {
        let query = sqlx::query(select_domain!("WHERE name = $1 AND ownership_verified = TRUE"));
        let row = self.fetch_optional(query.bind(name.as_str())).await?;
        Ok(row.as_ref().map(domain_from).transpose()?.map(|domain| domain.owner))
    }
}

fn check_sharing(owner: TenantId, sharing: Sharing) -> Result<(), Conflict> {
    match sharing {
        Sharing::WithSubaccounts if !owner.is_primary() => Err(Conflict::NotShareable),
        Sharing::WithSubaccounts | Sharing::Private => Ok(()),
    }
}

const fn sql_sharing(sharing: Sharing) -> &'static str {
    match sharing {
        Sharing::Private => "private",
        Sharing::WithSubaccounts => "subaccounts",
    }
}

const fn sql_subdomains(subdomains: Subdomains) -> &'static str {
    match subdomains {
        Subdomains::Off => "off",
        Subdomains::Sign => "sign",
    }
}

fn write_attributes(attributes: &Map<String, Value>) -> String {
    serde_json::to_string(attributes).expect("a JSON object can be written")
}

macro_rules! select_domain {
    ($rest:literal) => {
        concat!(
            "SELECT tenant_id, name, ownership_verified, verified_at, dkim_status, last_check, \
             last_good_check, suspect_since, check_error, next_check, sharing, subdomains, \
             enrolled, attributes, created_at, updated_at FROM domain ",
            $rest
        )
    };
}
use select_domain;

const SELECT_ONE: &str = select_domain!("WHERE tenant_id = $1 AND name = $2");

fn domain_from(row: &SqliteRow) -> Result<Domain, StoreError> {
    let row = Columns::new(row, "domain", &["tenant_id", "name"]);
    let verified_at = row.optional_time("verified_at")?;
    if row.flag("ownership_verified")? != verified_at.is_some() {
        return Err(row.corrupt("verified without a time, or the reverse"));
    }
    Ok(Domain {
        owner: row.tenant("tenant_id")?,
        name: row.parsed("name")?,
        verified_at,
        dkim_status: row.parsed("dkim_status")?,
        last_check: row.optional_time("last_check")?,
        last_good_check: row.optional_time("last_good_check")?,
        suspect_since: row.optional_time("suspect_since")?,
        check_error: row.optional_text("check_error")?,
        next_check: row.time("next_check")?,
        sharing: sharing_from(&row)?,
        subdomains: subdomains_from(&row)?,
        enrolled: row.list("enrolled")?,
        attributes: serde_json::from_str(&row.text("attributes")?)
            .map_err(|_| row.corrupt("column attributes"))?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

pub(crate) fn sharing_from(row: &Columns<'_>) -> Result<Sharing, StoreError> {
    match row.text("sharing")?.as_str() {
        "private" => Ok(Sharing::Private),
        "subaccounts" => Ok(Sharing::WithSubaccounts),
        _ => Err(row.corrupt("column sharing")),
    }
}

pub(crate) fn subdomains_from(row: &Columns<'_>) -> Result<Subdomains, StoreError> {
    match row.text("subdomains")?.as_str() {
        "off" => Ok(Subdomains::Off),
        "sign" => Ok(Subdomains::Sign),
        _ => Err(row.corrupt("column subdomains")),
    }
}

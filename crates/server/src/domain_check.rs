//! Verifying a sending domain: the DNS is asked, the answer judged, and what follows is saved.
//!
//! ```text
//!  unverified ─┬─ seen ───────────────────────────────────────────────▶ valid
//!              ├─ seen, but the name once answered something else ─▶ pending ─ seen, later ─▶ valid
//!              └─ not seen ───────────────────────────────────────────▶ invalid
//!
//!  valid ─┬─ gone ─▶ valid, suspect ─ gone, some minutes later ───────▶ invalid ─ seen ─▶ pending
//!         └─ a server fails ─▶ valid, with a remark
//! ```
//!
//! A domain is `valid`, and its key signs, only after the exact key was seen at the authoritative servers
//! (promise P1; what is seen and gone, `postseal_dns::judge` says). Whoever's key is seen first has the
//! domain; others get a conflict. A record that a wildcard gave is not seen.
//!
//! **The gate**. One look is enough for the first key of a name: nobody has asked for
//! it, so no cache has an older answer. A second look, not before older answers have left the caches, is
//! needed where somebody may have asked: if the key has signed before, or if its selector was chosen by
//! the customer and the name was seen with another record. A selector that was made up here and has not
//! signed is known to nobody, whatever the customer's first tries at the record looked like.
//!
//! **Times**. A look takes up to half a minute. What it found is as old as its beginning: that counts where
//! two looks have to lie apart, and a look that began before another ended is not saved over that one. What
//! has to wait, waits from its end.
//!
//! Records inside zones that this Postseal serves are published in them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use postseal_dkim::{DomainName, NameError, UnixTime, key_record_name};
use postseal_dns::{
    AuthoritativeClient, Finding, Judgement, RecordChange, ServedZones, Severity, Verdict,
    WantedKey, ZoneError, judge,
};
use postseal_engine::TenantId;
use postseal_store::{
    Conflict, DkimStatus, Domain, DomainEdit, KeyState, Store, StoreError, StoredKey, Unit,
};
use serde_json::{Map, Value};
use thiserror::Error;
use tokio::sync::Semaphore;

/// Looks at key records, and publishes those of our own zones.
pub struct DomainCheck {
    client: AuthoritativeClient,
    zones: ServedZones,
    looks: Semaphore,
    tenants: TenantLooks,
}

impl DomainCheck {
    /// Looks with `client` and publishes in `zones`.
    #[must_use]
    pub fn new(client: AuthoritativeClient, zones: ServedZones) -> Self {
        let looks = Semaphore::new(MAX_LOOKS);
        Self { client, zones, looks, tenants: TenantLooks::default() }
    }

    /// Looks for the record of a domain's key and saves what follows from it.
    ///
    /// `clock` tells the time; it is asked when the look begins and when it has ended.
    ///
    /// # Errors
    ///
    /// Nothing that is wrong in the DNS is an error: that stands in the [`Verification`].
    pub async fn verify(
        &self,
        store: &Store,
        owner: TenantId,
        name: &DomainName,
        clock: impl Fn() -> UnixTime + Send + Sync,
    ) -> Result<Verification, VerifyError> {
        let _place = self.tenants.enter(owner).ok_or(VerifyError::TooMany)?;
        if store.domain(owner, name).await?.is_none() {
            return Err(VerifyError::NoDomain);
        }
        let has_other_owner =
            |claims: &[Domain]| claims.iter().any(|it| it.is_verified() && it.owner != owner);
        if has_other_owner(&store.claims(name).await?) {
            return Err(VerifyError::Owned);
        }
        let Some(key) = default_key(store.keys(owner, name).await?) else {
            return Err(VerifyError::NoKey);
        };
        let wanted =
            WantedKey::parse(key.public_record.as_bytes()).map_err(|_| VerifyError::BadRecord)?;
        let (judgement, began) = {
            let _turn = self.looks.acquire().await.map_err(|_| VerifyError::Stopped)?;
            let began = clock();
            let look = self.client.look(&key.selector, name).await?;
            (judge(&look, &wanted), began)
        };

        let times = LookTimes { began, ended: clock() };
        let mut unit = store.write(times.ended).await?;
        // The unit excludes other writers, so what is read now still holds when it is saved.
        let domain = store.domain(owner, name).await?.ok_or(VerifyError::NoDomain)?;
        let key = default_key(store.keys(owner, name).await?)
            .filter(|newest| newest.id == key.id)
            .ok_or(VerifyError::KeyChanged)?;
        if times.are_overtaken_by(domain.last_check) {
            // What the other look found stands.
            let error = domain.check_error.clone();
            return Ok(Verification { domain, key, error, findings: Vec::new() });
        }
        let gate = Gate::of(&domain, &key);
        let outcome = gate.pass(&judgement, times);
        let domain = save(&mut unit, domain, &key, outcome, times).await?;
        unit.commit().await?;
        let error = domain.check_error.clone();
        Ok(Verification { domain, key, error, findings: judgement.findings })
    }

    /// Says whether the record of this name stands in a zone that is served here.
    #[must_use]
    pub fn serves(&self, record: &DomainName) -> bool {
        self.zones.origins().iter().any(|origin| record.is_same_or_subdomain_of(origin))
    }

    /// Publishes the record of a key, which has to lie in a zone that is served here.
    ///
    /// # Errors
    ///
    /// If it does not, or if the text is too long to be served.
    pub fn publish(&self, key: &StoredKey) -> Result<(), PublishError> {
        let owner = key_record_name(&key.selector, &key.domain)?;
        self.zones.set_text(&owner, key.public_record.as_bytes())?;
        Ok(())
    }

    /// Takes the records of keys of a domain that was given up out of the zones that are served here, as
    /// far as they were never seen: no mail was signed with these keys. The others stay for
    /// [`DRAIN_SECS`], until [`DomainCheck::take_out_drained`].
    ///
    /// # Errors
    ///
    /// If the store cannot be read, or if a record cannot be served.
    pub async fn withdraw(
        &self,
        store: &Store,
        keys: &[StoredKey],
        now: UnixTime,
    ) -> Result<(), PublishError> {
        let never_seen = keys.iter().filter(|key| key.first_seen.is_none()).collect();
        self.take_out(store, never_seen, now).await
    }

    /// Takes out the records of domains that were given up and have stayed for [`DRAIN_SECS`]. Those whose time
    /// was over before `from` are out already. Gives how long this is true: where to begin the next time.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub async fn take_out_drained(
        &self,
        store: &Store,
        from: UnixTime,
        now: UnixTime,
    ) -> Result<UnixTime, PublishError> {
        // A clock that was set back has nothing to take out.
        let until = now.max(from);
        let mut keys = Vec::new();
        for key in store.keys_given_up(drained_at(from), drained_at(until)).await? {
            match key {
                Ok(key) => keys.push(key),
                Err(error) => {
                    tracing::error!(%error, "a record stays served for a key that cannot be read")
                }
            }
        }
        self.take_out(store, keys.iter().collect(), now).await?;
        Ok(until)
    }

    /// Takes records out of the zones, unless another key of that name is published. One with which something
    /// is wrong stays, and holds up no other.
    async fn take_out(
        &self,
        store: &Store,
        keys: Vec<&StoredKey>,
        now: UnixTime,
    ) -> Result<(), PublishError> {
        for key in keys {
            match self.take_out_one(store, key, now).await {
                Ok(()) => {}
                Err(
                    error @ (PublishError::Name(_)
                    | PublishError::Zone(_)
                    | PublishError::Store(StoreError::Corrupt { .. })),
                ) => {
                    let (domain, selector) = (&key.domain, &key.selector);
                    tracing::error!(%domain, %selector, %error, "a record stays served");
                }
                Err(error @ PublishError::Store(_)) => return Err(error),
            }
        }
        Ok(())
    }

    async fn take_out_one(
        &self,
        store: &Store,
        key: &StoredKey,
        now: UnixTime,
    ) -> Result<(), PublishError> {
        let owner = key_record_name(&key.selector, &key.domain)?;
        if !self.serves(&owner) {
            return Ok(());
        }
        // While the unit lasts nobody can commit another key of that name: whoever has done so before
        // is found here, and whoever does so later publishes later.
        let unit = store.write(now).await?;
        let heir = store.published_key(&key.domain, &key.selector, drained_at(now)).await?;
        match heir {
            Some(heir) => self.publish(&heir)?,
            None => self.zones.remove(&owner)?,
        }
        drop(unit);
        Ok(())
    }

    /// Publishes all records of the zones that are served here, as the store has them. For the start of
    /// the process, before the zones are served. Gives their number.
    ///
    /// The records of domains that were given up stay for [`DRAIN_SECS`], since mail that was signed with
    /// their keys is still on its way.
    ///
    /// # Errors
    ///
    /// If the store cannot be read, or if a record cannot be served.
    pub async fn publish_all(&self, store: &Store, now: UnixTime) -> Result<usize, PublishError> {
        let mut count = 0;
        for origin in self.zones.origins() {
            let mut changes = Vec::new();
            for key in store.published_keys(&signing_domains_of(&origin), drained_at(now)).await? {
                let owner = key_record_name(&key.selector, &key.domain)?;
                if owner.is_same_or_subdomain_of(&origin) {
                    let text = Arc::from(key.public_record.as_bytes());
                    changes.push(RecordChange::Set { owner, text });
                }
            }
            count += changes.len();
            self.zones.apply(changes)?;
        }
        Ok(count)
    }
}

impl fmt::Debug for DomainCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DomainCheck").field("zones", &self.zones.origins()).finish_non_exhaustive()
    }
}

/// How many looks of each tenant go on or wait.
#[derive(Debug, Default)]
struct TenantLooks(Mutex<HashMap<TenantId, usize>>);

impl TenantLooks {
    /// A place for one more look of the tenant, until it is dropped; none if the tenant has all of its
    /// places taken.
    fn enter(&self, tenant: TenantId) -> Option<TenantPlace<'_>> {
        let mut counts = self.counts();
        let count = counts.entry(tenant).or_default();
        if *count >= MAX_TENANT_LOOKS {
            return None;
        }
        *count += 1;
        Some(TenantPlace { looks: self, tenant })
    }

    /// Nothing panics while the lock is held, and the counts are right at any time.
    fn counts(&self) -> MutexGuard<'_, HashMap<TenantId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place of [`TenantLooks`].
#[derive(Debug)]
struct TenantPlace<'a> {
    looks: &'a TenantLooks,
    tenant: TenantId,
}

impl Drop for TenantPlace<'_> {
    fn drop(&mut self) {
        let mut counts = self.looks.counts();
        if let Some(count) = counts.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.tenant);
            }
        }
    }
}

/// When a look began and when it ended.
#[derive(Clone, Copy, Debug)]
struct LookTimes {
    began: UnixTime,
    ended: UnixTime,
}

impl LookTimes {
    /// Says whether another look was saved while this one went on. One that lies in the future is the
    /// mark of a clock that was set back, and overtakes nothing.
    fn are_overtaken_by(self, last_check: Option<UnixTime>) -> bool {
        last_check.is_some_and(|last| self.began < last && last <= self.ended)
    }
}

/// The domain under which the domains lie whose key records are in a zone: a zone may be
/// `_domainkey.example.com` alone, delegated to us by somebody who keeps the rest.
fn signing_domains_of(origin: &DomainName) -> DomainName {
    let mut domain = Some(origin.clone());
    let mut below_keys = None;
    while let Some(name) = domain {
        domain = name.parent();
        if name.as_str().starts_with("_domainkey.") {
            below_keys.clone_from(&domain);
        }
    }
    below_keys.unwrap_or_else(|| origin.clone())
}

/// What a verification found and changed.
#[derive(Clone, Debug)]
pub struct Verification {
    /// The domain as it is now.
    pub domain: Domain,
    /// The key that was looked for.
    pub key: StoredKey,
    /// What keeps the key from being valid, in words for its owner; none if nothing does.
    pub error: Option<String>,
    /// All that was found, the worst first; there may be remarks on a valid key.
    pub findings: Vec<Finding>,
}

/// Why nothing was verified.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// The tenant does not claim the domain.
    #[error("the tenant has no such sending domain")]
    NoDomain,
    /// Another tenant has verified the domain.
    #[error("another tenant has verified the domain")]
    Owned,
    /// There is nothing to look for.
    #[error("the domain has no DKIM key")]
    NoKey,
    /// The key was replaced during the look.
    #[error("the key was changed during the look")]
    KeyChanged,
    /// The stored text of the record is none.
    #[error("the stored key record cannot be read; restore the database from a backup")]
    BadRecord,
    /// Domain and selector are too long together.
    #[error("the name of the key record is too long")]
    Name(#[from] NameError),
    /// The tenant has as many looks under way as one may have.
    #[error("the tenant has {MAX_TENANT_LOOKS} checks of domains under way already")]
    TooMany,
    /// The process is about to end.
    #[error("the process is about to end")]
    Stopped,
    /// The store.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for VerifyError {
    fn from(error: StoreError) -> Self {
        if let StoreError::Conflict(Conflict::DomainOwned { .. }) = error {
            Self::Owned
        } else {
            Self::Store(error)
        }
    }
}

/// Why a record was not published.
#[derive(Debug, Error)]
pub enum PublishError {
    /// Domain and selector are too long together.
    #[error("the name of the key record is too long")]
    Name(#[from] NameError),
    /// The zone does not take it.
    #[error(transparent)]
    Zone(#[from] ZoneError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The key that signs for a domain, or is to: of the keys that have their private half the one that
/// signs, or else the newest.
#[must_use]
pub fn default_key(keys: Vec<StoredKey>) -> Option<StoredKey> {
    let signs = |key: &StoredKey| key.state == KeyState::Signing;
    let rank = |key: &StoredKey| (signs(key), key.id);
    let is_main = |key: &StoredKey| key.algorithm == postseal_dkim::Algorithm::RsaSha256;
    keys.into_iter().filter(is_main).max_by_key(rank)
}

/// What is known of a key before a look.
#[derive(Clone, Copy, Debug)]
struct Gate {
    status: DkimStatus,
    /// The key has signed, so receivers have asked for its record.
    has_signed: bool,
    /// Somebody else chose the selector, and may have used it.
    is_imported: bool,
    /// The TTL of what the name answered in place of the key, if that was ever seen.
    former_ttl: Option<u32>,
    suspect_since: Option<UnixTime>,
    /// When a second look counts.
    next_check: UnixTime,
}

/// What a look leads to.
#[derive(Clone, Debug, PartialEq)]
struct Outcome {
    status: DkimStatus,
    seen: bool,
    former_ttl: Option<u32>,
    suspect_since: Option<UnixTime>,
    next_check: UnixTime,
    error: Option<String>,
}

impl Gate {
    fn of(domain: &Domain, key: &StoredKey) -> Self {
        let former_ttl = domain.attributes.get(FORMER_TTL).and_then(Value::as_u64);
        Self {
            status: domain.dkim_status,
            has_signed: key.state == KeyState::Signing,
            is_imported: is_imported(&domain.attributes),
            former_ttl: former_ttl.map(|ttl| u32::try_from(ttl).unwrap_or(u32::MAX)),
            suspect_since: domain.suspect_since,
            next_check: domain.next_check,
        }
    }

    /// What follows from a look.
    fn pass(self, judgement: &Judgement, times: LookTimes) -> Outcome {
        let LookTimes { began, ended } = times;
        let former_ttl = self.former_ttl.max(judgement.other_ttl);
        let outcome = |status, wait: u64, error| Outcome {
            status,
            seen: judgement.is_seen(),
            former_ttl,
            suspect_since: None,
            next_check: ended.plus_secs(wait),
            error,
        };
        match (self.status, judgement.verdict) {
            (DkimStatus::Valid, Verdict::Seen) => outcome(DkimStatus::Valid, ROUTINE_SECS, None),
            (DkimStatus::Valid, Verdict::NotSeen) => Outcome {
                suspect_since: self.suspect_since,
                ..outcome(DkimStatus::Valid, SECOND_LOOK_SECS, Some(in_words(judgement)))
            },
            (DkimStatus::Valid, Verdict::Gone) => {
                let since = self.suspect_since.unwrap_or(ended);
                if began.secs_since(since) >= SECOND_LOOK_SECS {
                    return outcome(DkimStatus::Invalid, RETRY_SECS, Some(in_words(judgement)));
                }
                let error = format!(
                    "{} The key goes on signing until another look, {} minutes after the first that \
                     found it so, says the same.",
                    in_words(judgement),
                    SECOND_LOOK_SECS / 60,
                );
                Outcome {
                    suspect_since: Some(since),
                    ..outcome(DkimStatus::Valid, SECOND_LOOK_SECS, Some(error))
                }
            }
            (DkimStatus::Pending, Verdict::Seen) if began >= self.next_check => {
                outcome(DkimStatus::Valid, ROUTINE_SECS, None)
            }
            (DkimStatus::Pending, Verdict::Seen) => {
                let wait = self.next_check.secs_since(ended);
                Outcome {
                    next_check: self.next_check,
                    ..outcome(DkimStatus::Pending, wait, Some(until_second_look(wait)))
                }
            }
            (DkimStatus::Unverified | DkimStatus::Invalid, Verdict::Seen) => {
                let somebody_asked = self.has_signed || (self.is_imported && former_ttl.is_some());
                if !somebody_asked {
                    return outcome(DkimStatus::Valid, ROUTINE_SECS, None);
                }
                let wait = judgement.wait_for_second_look(former_ttl).as_secs();
                outcome(DkimStatus::Pending, wait, Some(until_second_look(wait)))
            }
            (
                DkimStatus::Unverified | DkimStatus::Pending | DkimStatus::Invalid,
                Verdict::NotSeen | Verdict::Gone,
            ) => outcome(DkimStatus::Invalid, RETRY_SECS, Some(in_words(judgement))),
        }
    }
}

/// Saves what follows from a look.
async fn save(
    unit: &mut Unit,
    domain: Domain,
    key: &StoredKey,
    mut outcome: Outcome,
    times: LookTimes,
) -> Result<Domain, VerifyError> {
    let (owner, name) = (domain.owner, domain.name);
    if outcome.seen {
        match unit.record_key_seen(key.id).await {
            // Only who has the domain can publish our key in it. The first to do so has it.
            Ok(_) => drop(unit.verify_ownership(owner, &name).await?),
            // Resolvers and receivers may have the other key, so this one never signs.
            Err(StoreError::Conflict(Conflict::SelectorUsed)) => {
                outcome = Outcome {
                    status: DkimStatus::Invalid,
                    seen: false,
                    suspect_since: None,
                    next_check: times.ended.plus_secs(RETRY_SECS),
                    error: Some(SELECTOR_USED.to_owned()),
                    ..outcome
                };
            }
            Err(error) => return Err(error.into()),
        }
    }
    if outcome.status == DkimStatus::Valid && key.state != KeyState::Signing {
        unit.promote_key(key.id).await?;
    }
    let mut attributes = domain.attributes.clone();
    if let Some(ttl) = outcome.former_ttl {
        attributes.insert(FORMER_TTL.to_owned(), ttl.into());
    }
    if attributes != domain.attributes {
        let edit = DomainEdit { attributes: Some(attributes), ..DomainEdit::default() };
        unit.edit_domain(owner, &name, edit).await?;
    }
    let check = postseal_store::DomainCheck {
        dkim_status: outcome.status,
        seen: outcome.seen,
        suspect_since: outcome.suspect_since,
        error: outcome.error,
        next_check: outcome.next_check,
    };
    Ok(unit.record_check(owner, &name, check).await?)
}

/// When a domain was given up whose record's time is over `now`.
fn drained_at(now: UnixTime) -> UnixTime {
    UnixTime(now.as_secs().saturating_sub(DRAIN_SECS))
}

/// What stands in the way of a key, in words for its owner.
fn in_words(judgement: &Judgement) -> String {
    let faults = judgement
        .findings
        .iter()
        .filter(|finding| finding.severity() == Severity::Error)
        .take(MAX_FAULTS_TOLD);
    let told: Vec<String> = faults
        .map(|finding| {
            if matches!(finding, Finding::Missing { .. } | Finding::NoText { .. }) {
                format!("{NOT_FOUND} ({finding})")
            } else {
                format!("{finding}; {}", finding.advice())
            }
        })
        .collect();
    if told.is_empty() {
        return "The record could not be seen at enough of the zone's servers.".to_owned();
    }
    told.join(". ")
}

fn until_second_look(wait: u64) -> String {
    format!(
        "The record is right. Resolvers may still have an older answer for it, so the key signs after \
         another look, {wait} seconds from now or later."
    )
}

/// Says in the attributes of a domain that its key came from outside.
pub fn mark_imported(attributes: &mut Map<String, Value>) {
    attributes.insert(IMPORTED.to_owned(), Value::Bool(true));
}

fn is_imported(attributes: &Map<String, Value>) -> bool {
    attributes.get(IMPORTED).and_then(Value::as_bool).unwrap_or(false)
}

/// SparkPost's sentence for a record that is not there.
const NOT_FOUND: &str = "DNS record not found. Please add the TXT record and try again.";

/// Why a key that is published does not sign.
const SELECTOR_USED: &str = "Another key was published under this selector before, and receivers may \
    still have it. Delete the domain and add it again with a selector that was never used.";

/// The attribute that says that the key and its selector came from outside.
const IMPORTED: &str = "key_imported";

/// The attribute with the TTL of what the name answered in place of the key.
const FORMER_TTL: &str = "former_ttl";

/// Between two looks that make a record gone: longer than most outages of a zone while it is reloaded.
const SECOND_LOOK_SECS: u64 = 5 * 60;

/// When a valid record is due again.
const ROUTINE_SECS: u64 = 6 * 60 * 60;

/// When a missing record is due again.
const RETRY_SECS: u64 = 60 * 60;

/// How long the record of a domain that was given up stays: as long as a key retires.
pub const DRAIN_SECS: u64 = 14 * 24 * 60 * 60;

/// How many looks go on at once. Each may take 30 seconds and 500 packets.
const MAX_LOOKS: usize = 32;

/// How many of these one tenant has at once, so that slow zones of one do not keep all others waiting.
const MAX_TENANT_LOOKS: usize = 4;

/// How many faults stand in one error text.
const MAX_FAULTS_TOLD: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn judgement(verdict: Verdict, other_ttl: Option<u32>) -> Judgement {
        Judgement { verdict, findings: Vec::new(), other_ttl, negative_ttl: Some(60) }
    }

    fn gate(status: DkimStatus) -> Gate {
        Gate {
            status,
            has_signed: false,
            is_imported: false,
            former_ttl: None,
            suspect_since: None,
            next_check: UnixTime(0),
        }
    }

    const NOW: UnixTime = UnixTime(1_000_000);

    /// A look that took no time.
    fn at(time: UnixTime) -> LookTimes {
        LookTimes { began: time, ended: time }
    }

    #[test]
    fn a_tenant_has_its_places_and_takes_none_of_others() {
        let looks = TenantLooks::default();
        let (a, b) = (TenantId::new(1), TenantId::new(2));
        let mut places: Vec<_> = (0..MAX_TENANT_LOOKS).map(|_| looks.enter(a).unwrap()).collect();
        assert!(looks.enter(a).is_none());
        drop(looks.enter(b).unwrap());
        places.pop();
        places.push(looks.enter(a).unwrap());
        assert!(looks.enter(a).is_none());
        drop(places);
        assert!(looks.counts().is_empty());
    }

    #[test]
    fn two_looks_lie_apart_from_the_end_of_the_first_to_the_beginning_of_the_second() {
        use DkimStatus::{Invalid, Pending, Valid};

        let slow = |began: u64| LookTimes {
            began: NOW.plus_secs(began),
            ended: NOW.plus_secs(began + 30),
        };
        let gone = judgement(Verdict::Gone, None);
        let first = gate(Valid).pass(&gone, slow(0));
        assert_eq!(first.suspect_since, Some(NOW.plus_secs(30)));
        assert_eq!(first.next_check, NOW.plus_secs(30 + SECOND_LOOK_SECS));
        let suspect = Gate { suspect_since: first.suspect_since, ..gate(Valid) };
        assert_eq!(suspect.pass(&gone, slow(SECOND_LOOK_SECS + 29)).status, Valid);
        assert_eq!(suspect.pass(&gone, slow(SECOND_LOOK_SECS + 30)).status, Invalid);

        let seen = judgement(Verdict::Seen, None);
        let first = Gate { has_signed: true, ..gate(Invalid) }.pass(&seen, slow(0));
        assert_eq!((first.status, first.next_check), (Pending, NOW.plus_secs(30 + 60)));
        let pending = Gate { next_check: first.next_check, ..gate(Pending) };
        let early = pending.pass(&seen, slow(89));
        assert_eq!((early.status, early.next_check), (Pending, first.next_check));
        assert_eq!(pending.pass(&seen, slow(90)).status, Valid);
    }

    #[test]
    fn a_look_that_was_overtaken_is_told_from_one_after_the_other() {
        let times = LookTimes { began: UnixTime(100), ended: UnixTime(130) };
        let cases = [
            (None, false),
            (Some(99), false),
            (Some(100), false),
            (Some(101), true),
            (Some(130), true),
            // The clock was set back.
            (Some(131), false),
        ];
        for (last_check, want) in cases {
            let last_check = last_check.map(UnixTime);
            assert_eq!(times.are_overtaken_by(last_check), want, "{last_check:?}");
        }
    }

    #[test]
    fn the_first_key_of_a_name_needs_to_be_seen_once() {
        use DkimStatus::{Invalid, Unverified, Valid};

        for status in [Unverified, Invalid] {
            let seen = gate(status).pass(&judgement(Verdict::Seen, None), at(NOW));
            assert_eq!((seen.status, seen.seen, seen.error), (Valid, true, None), "{status}");
            for verdict in [Verdict::NotSeen, Verdict::Gone] {
                let outcome = gate(status).pass(&judgement(verdict, None), at(NOW));
                assert_eq!(
                    (outcome.status, outcome.seen),
                    (Invalid, false),
                    "{status} {verdict:?}"
                );
                assert!(outcome.error.is_some());
            }
        }
        // A first try at the record that went wrong is nothing that receivers have seen.
        let corrected = Gate { former_ttl: Some(300), ..gate(Invalid) };
        assert_eq!(corrected.pass(&judgement(Verdict::Seen, None), at(NOW)).status, Valid);
    }

    #[test]
    fn a_name_that_may_be_in_caches_needs_a_second_look_after_them() {
        use DkimStatus::{Invalid, Pending, Valid};

        let seen = judgement(Verdict::Seen, None);
        let cases = [
            (Gate { is_imported: true, former_ttl: Some(300), ..gate(Invalid) }, 300),
            (Gate { is_imported: true, former_ttl: Some(10), ..gate(Invalid) }, 60),
            (Gate { has_signed: true, former_ttl: Some(7200), ..gate(Invalid) }, 7200),
            (Gate { has_signed: true, ..gate(Invalid) }, 60),
        ];
        for (before, wait) in cases {
            let first = before.pass(&seen, at(NOW));
            assert_eq!(first.status, Pending, "{before:?}");
            assert_eq!(first.next_check, NOW.plus_secs(wait), "{before:?}");

            let between = Gate { status: Pending, next_check: first.next_check, ..before };
            let early = between.pass(&seen, at(NOW.plus_secs(wait - 1)));
            assert_eq!((early.status, early.next_check), (Pending, first.next_check), "{before:?}");
            assert_eq!(between.pass(&seen, at(NOW.plus_secs(wait))).status, Valid, "{before:?}");
            let lost = between.pass(&judgement(Verdict::Gone, None), at(NOW.plus_secs(wait)));
            assert_eq!(lost.status, Invalid, "{before:?}");
        }
    }

    #[test]
    fn a_signing_key_falls_only_when_two_looks_some_minutes_apart_find_it_gone() {
        use DkimStatus::{Invalid, Valid};

        let gone = judgement(Verdict::Gone, Some(300));
        let first = gate(Valid).pass(&gone, at(NOW));
        assert_eq!((first.status, first.suspect_since), (Valid, Some(NOW)));
        assert!(first.error.unwrap().contains("goes on signing"));

        let suspect = Gate { suspect_since: Some(NOW), ..gate(Valid) };
        let soon = suspect.pass(&gone, at(NOW.plus_secs(SECOND_LOOK_SECS - 1)));
        assert_eq!((soon.status, soon.suspect_since), (Valid, Some(NOW)));
        let failing = suspect.pass(&judgement(Verdict::NotSeen, None), at(NOW.plus_secs(9999)));
        assert_eq!((failing.status, failing.suspect_since), (Valid, Some(NOW)));
        let back = suspect.pass(&judgement(Verdict::Seen, None), at(NOW.plus_secs(9999)));
        assert_eq!((back.status, back.suspect_since), (Valid, None));
        let later = suspect.pass(&gone, at(NOW.plus_secs(SECOND_LOOK_SECS)));
        assert_eq!((later.status, later.former_ttl), (Invalid, Some(300)));
    }

    #[test]
    fn a_zone_of_key_records_alone_holds_those_of_its_domain() {
        let cases = [
            ("mail.esp.example", "mail.esp.example"),
            ("_domainkey.customer.example", "customer.example"),
            ("s1._domainkey.customer.example", "customer.example"),
        ];
        for (origin, want) in cases {
            let origin = DomainName::parse(origin).unwrap();
            assert_eq!(signing_domains_of(&origin).as_str(), want);
        }
    }
}

//! The rule: which signatures a message gets.
//!
//! | # | when | what |
//! |---|---|---|
//! | 0 | nothing says which tenant this is | `on_no_tenant`; control fields are taken out |
//! | 1 | the From domain is a sending domain of the tenant, or shared with it, with a valid DKIM status | `d=` the From domain |
//! | 2 | else the pool has a signing domain that is valid | `d=` that |
//! | 3 | else the platform has a default signing domain that is valid | `d=` that |
//! | 4 | else | `on_unsigned` |
//! | 5 | the mail goes out, and a recipient is at a provider whose feedback follows DKIM | a second signature: the pool's domain for it, else the platform's |
//!
//! The tenant comes from the connection and never from the message. The From domain is what [`Author`]
//! reads; Sender, Resent-From, display names and the envelope never decide. Each look-up of a domain has
//! the tenant in it: a domain signs for its owner, for the subaccounts it is shared with, and as a
//! pool's or the platform's only if it is the primary account's, or its owner has the pool alone. That
//! is checked here for every message, whatever was checked when the pool was set up.

use std::sync::Arc;

use postseal_dkim::{DomainName, FieldName, Header, UnixTime};

use crate::author::{Author, BadFrom};
use crate::control::{named_pool, removals};
use crate::decision::{
    Counter, Decision, Feedback, PlannedSignature, PoolSource, Purpose, Reason, Row, Unusable,
    Verdict,
};
use crate::id::{PoolId, TenantId};
use crate::key::{KeyEntry, SigningKeys};
use crate::policy::{Ed25519, OnBadFrom, OnForeignFrom, OnNoTenant, OnUnsigned};
use crate::reply::{EnhancedCode, Refusal};
use crate::row::{DomainRow, PoolRow, Subdomains, TenantStatus};
use crate::snapshot::Snapshot;

/// What is known of a message before it is signed.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Who injected it, as the connection shows.
    pub tenant: Option<TenantId>,
    /// Its header section, with the control fields.
    pub header: &'a Header<'a>,
    /// The pool that a macro or the listener names.
    pub connection_pool: Option<&'a PoolId>,
    /// Whether the header may name the pool.
    pub header_pool: HeaderPool,
    /// Its recipients; one of each domain is enough.
    pub recipients: &'a [Recipient<'a>],
}

/// Whether the control fields of a message may name its pool.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum HeaderPool {
    /// They may, if the tenant is known.
    Obeyed,
    /// They are only taken out.
    Ignored,
}

/// A recipient, as far as it matters.
#[derive(Clone, Copy, Debug)]
pub struct Recipient<'a> {
    /// The domain of its address.
    pub domain: &'a DomainName,
    /// The names of the domain's mail exchangers, if they are known already.
    pub mx: Option<&'a [DomainName]>,
}

/// Decides about a message.
#[must_use]
pub fn plan(facts: &Facts<'_>, snapshot: &Snapshot, now: UnixTime) -> Decision {
    let mut planning = Planning {
        facts,
        snapshot,
        now,
        decision: Decision {
            row: Row::Refused,
            feedback: Feedback::NotNeeded,
            verdict: Verdict::PassUnsigned,
            reasons: Vec::with_capacity(TYPICAL_REASONS),
            counters: Vec::new(),
            tenant: facts.tenant,
            pool: None,
            author: None,
            remove: removals(facts.header),
            policy: snapshot.policy(None, facts.tenant),
        },
    };
    let decided = match facts.tenant {
        None => Ok(planning.without_tenant()),
        Some(tenant) => planning.with_tenant(tenant),
    };
    let (row, verdict) = decided.unwrap_or_else(|refusal| (Row::Refused, refuse(refusal)));
    Decision { row, verdict, ..planning.decision }
}

struct Planning<'a> {
    facts: &'a Facts<'a>,
    snapshot: &'a Snapshot,
    now: UnixTime,
    decision: Decision,
}

impl<'a> Planning<'a> {
    /// Row 0.
    fn without_tenant(&mut self) -> (Row, Verdict) {
        self.because(Reason::NoTenant);
        self.count(Counter::NoTenant);
        self.note_ignored_control();
        let text = "nothing says which account this mail is from";
        let verdict = match self.decision.policy.on_no_tenant {
            OnNoTenant::Pass => Verdict::PassUnsigned,
            OnNoTenant::Tempfail => {
                refuse(Refusal::new(451, EnhancedCode::NOT_AUTHORIZED_NOW, text))
            }
            OnNoTenant::Reject => refuse(Refusal::new(550, EnhancedCode::NOT_AUTHORIZED, text)),
        };
        (Row::NoTenant, verdict)
    }

    /// Rows 1 to 5, unless one of the points below the table refuses the message.
    fn with_tenant(&mut self, tenant: TenantId) -> Result<(Row, Verdict), Refusal> {
        self.check_tenant(tenant)?;
        let pool = self.choose_pool(tenant)?;
        if self.facts.header_pool == HeaderPool::Ignored {
            self.note_ignored_control();
        }
        self.decision.pool = Some(pool.id.clone());
        self.decision.policy = self.snapshot.policy(Some(pool), Some(tenant));

        let (row, mut signatures) = match self.author(tenant)? {
            Some(keys) => (Row::Author, self.signatures(Purpose::Author, keys)),
            None if self.can_be_signed() => self.fallback(tenant, pool),
            None => (Row::Unsigned, Vec::new()),
        };
        if row == Row::Unsigned
            && let Err(refusal) = self.check_unsigned()
        {
            return Ok((row, refuse(refusal)));
        }
        if self.can_be_signed() {
            self.add_feedback_signature(tenant, pool, &mut signatures);
        }
        let verdict =
            if signatures.is_empty() { Verdict::PassUnsigned } else { Verdict::Sign(signatures) };
        Ok((row, verdict))
    }

    fn check_tenant(&mut self, tenant: TenantId) -> Result<(), Refusal> {
        let status = match self.snapshot.tenant(tenant) {
            Some(row) => row.status,
            None if tenant.is_primary() => TenantStatus::Active,
            None => {
                // It may be so new that this signer has not heard of it.
                self.because(Reason::TenantUnknown(tenant));
                self.count(Counter::TenantUnknown);
                let text = "the account is not known here yet";
                return Err(Refusal::new(451, EnhancedCode::NOT_AUTHORIZED_NOW, text));
            }
        };
        match status {
            TenantStatus::Active => Ok(()),
            TenantStatus::Suspended => {
                self.because(Reason::TenantSuspended(tenant));
                self.count(Counter::TenantSuspended);
                let text = "the account is suspended";
                Err(Refusal::new(550, EnhancedCode::NOT_AUTHORIZED, text))
            }
        }
    }

    /// Says so if there are control fields that nobody obeys: someone tries to choose, or is mistaken.
    fn note_ignored_control(&mut self) {
        if !self.decision.remove.is_empty() {
            self.because(Reason::ControlIgnored);
            self.count(Counter::ControlIgnored);
        }
    }

    /// The pool, by the first of: a field, the connection, the tenant's row, `default`.
    fn choose_pool(&mut self, tenant: TenantId) -> Result<&'a PoolRow, Refusal> {
        let by_field = match self.facts.header_pool {
            HeaderPool::Obeyed => named_pool(self.facts.header).map_err(|error| {
                self.because(Reason::BadControl(error));
                self.count(Counter::BadControl);
                Refusal::new(550, EnhancedCode::MEDIA, error.to_string())
            })?,
            HeaderPool::Ignored => None,
        };
        if let Some(named) = by_field {
            return self.named_pool(tenant, &named.text, PoolSource::Field(named.by));
        }
        if let Some(id) = self.facts.connection_pool {
            return self.named_pool(tenant, id.as_str(), PoolSource::Connection);
        }
        let assigned = self.snapshot.tenant(tenant).and_then(|row| row.assigned_pool.as_ref());
        let (id, source) = match assigned {
            Some(id) => (id.clone(), PoolSource::Assigned),
            None => (PoolId::default_pool(), PoolSource::Default),
        };
        match self.snapshot.pool(&id) {
            Some(pool) if pool.grants.include(tenant) => {
                self.because(Reason::PoolChosen(id, source));
                Ok(pool)
            }
            Some(_) | None => {
                // The sender named nothing, so this is for an operator to mend.
                self.because(Reason::AssignedPoolUnusable(id));
                self.count(Counter::AssignedPoolUnusable);
                let text = "the pool of this account cannot be used";
                Err(Refusal::new(451, EnhancedCode::MISCONFIGURED, text))
            }
        }
    }

    /// A pool that somebody asked for. Who may not have it is not told whether it exists.
    fn named_pool(
        &mut self,
        tenant: TenantId,
        text: &str,
        source: PoolSource,
    ) -> Result<&'a PoolRow, Refusal> {
        let id = PoolId::parse(text).ok();
        let reason = match id.as_ref().and_then(|id| self.snapshot.pool(id)) {
            Some(pool) if self.is_granted(tenant, pool) => {
                self.because(Reason::PoolChosen(pool.id.clone(), source));
                return Ok(pool);
            }
            Some(pool) => Reason::PoolNotGranted(pool.id.clone(), source),
            None => Reason::PoolUnknown(text.chars().take(MAX_QUOTED).collect(), source),
        };
        self.because(reason);
        self.count(Counter::PoolRefused);
        let shown: String = text.chars().take(MAX_QUOTED).collect();
        let text = format!("IP Pool '{shown}' does not exist or is not granted to this account");
        Err(Refusal::new(550, EnhancedCode::NOT_AUTHORIZED, text))
    }

    fn is_granted(&self, tenant: TenantId, pool: &PoolRow) -> bool {
        let assigned = self.snapshot.tenant(tenant).and_then(|row| row.assigned_pool.as_ref());
        assigned.is_none_or(|assigned| *assigned == pool.id) && pool.grants.include(tenant)
    }

    /// Row 1: the keys that sign for the author, if the From field and the tenant's domains allow it.
    fn author(&mut self, tenant: TenantId) -> Result<Option<&'a SigningKeys>, Refusal> {
        let author = match Author::read(self.facts.header) {
            Ok(author) => author,
            Err(error) => return self.bad_from(error).map(|()| None),
        };
        self.decision.author = author.domain().cloned();
        let foreign = author.domains().iter().find(|domain| {
            let verified = self.snapshot.verified_domain(domain.as_str());
            verified.is_some_and(|row| !row.is_open_to(tenant))
        });
        if let Some(domain) = foreign {
            return self.foreign_from(domain).map(|()| None);
        }
        let Some(domain) = author.domain() else {
            self.because(Reason::SeveralDomains(author.domains().len()));
            return Ok(None);
        };
        let own = self.snapshot.verified_domain(domain.as_str());
        if let Some(keys) = own.and_then(DomainRow::signing_keys) {
            self.because(Reason::AuthorSigns(domain.clone()));
            return Ok(Some(keys));
        }
        if let Some((parent, keys)) = self.signing_parent(tenant, domain) {
            let (author, parent) = (domain.clone(), parent.clone());
            self.because(Reason::ParentSigns { author, parent });
            return Ok(Some(keys));
        }
        self.because(match own {
            Some(_) => Reason::AuthorNotValid(domain.clone()),
            None => Reason::AuthorNotVerified(domain.clone()),
        });
        Ok(None)
    }

    /// The nearest parent that is the tenant's, signs, and does so for what is below it. A parent that
    /// somebody else has verified ends the search: what is above it does not reach below it.
    fn signing_parent(
        &self,
        tenant: TenantId,
        domain: &DomainName,
    ) -> Option<(&'a DomainName, &'a SigningKeys)> {
        let mut rest = domain.as_str();
        while let Some((_, parent)) = rest.split_once('.') {
            if let Some(row) = self.snapshot.verified_domain(parent) {
                if !row.is_open_to(tenant) {
                    return None;
                }
                if row.subdomains() == Subdomains::Sign
                    && let Some(keys) = row.signing_keys()
                {
                    return Some((row.name(), keys));
                }
            }
            rest = parent;
        }
        None
    }

    fn bad_from(&mut self, error: BadFrom) -> Result<(), Refusal> {
        self.because(Reason::BadFrom(error));
        self.count(Counter::BadFrom);
        match self.decision.policy.on_bad_from {
            OnBadFrom::Pool => Ok(()),
            OnBadFrom::Refuse => Err(Refusal::new(550, EnhancedCode::MEDIA, error.to_string())),
        }
    }

    fn foreign_from(&mut self, domain: &DomainName) -> Result<(), Refusal> {
        self.because(Reason::ForeignFrom(domain.clone()));
        self.count(Counter::ForeignFrom);
        match self.decision.policy.on_foreign_from {
            OnForeignFrom::Pool => Ok(()),
            OnForeignFrom::Refuse => {
                let text = format!("Sending Domain {domain} belongs to another account");
                Err(Refusal::new(550, EnhancedCode::NOT_AUTHORIZED, text))
            }
        }
    }

    /// Every signature has to cover the From field (RFC 6376 §5.4), and covers the wrong one if there
    /// are two. Where `on_bad_from` lets such a message pass, no domain signs it.
    fn can_be_signed(&self) -> bool {
        self.facts.header.count(&FieldName::FROM) == 1
    }

    /// Rows 2, 3 and 4.
    fn fallback(&mut self, tenant: TenantId, pool: &PoolRow) -> (Row, Vec<PlannedSignature>) {
        match self.pool_domain(tenant, pool, pool.signing_domain.as_ref()) {
            Ok(keys) => {
                self.because(Reason::PoolSigns(keys.rsa().domain.clone()));
                return (Row::Pool, self.signatures(Purpose::Pool, keys));
            }
            Err(why) => {
                self.because(Reason::PoolCannotSign(why));
                self.count_unusable(why, Counter::PoolDomainUnusable);
            }
        }
        match self.platform_domain(self.snapshot.platform().default_signing_domain.as_ref()) {
            Ok(keys) => {
                self.because(Reason::PlatformSigns(keys.rsa().domain.clone()));
                return (Row::Platform, self.signatures(Purpose::Platform, keys));
            }
            Err(why) => {
                self.because(Reason::PlatformCannotSign(why));
                self.count_unusable(why, Counter::PlatformDomainUnusable);
            }
        }
        (Row::Unsigned, Vec::new())
    }

    fn check_unsigned(&mut self) -> Result<(), Refusal> {
        if !self.can_be_signed() {
            self.because(Reason::CannotBeSigned);
        }
        let answer = self.decision.policy.on_unsigned;
        self.because(Reason::Unsigned(answer));
        self.count(Counter::Unsigned);
        let text = || match &self.decision.author {
            Some(domain) => format!("Unconfigured Sending Domain <{domain}>"),
            None => "no domain can sign for the author of this mail".to_owned(),
        };
        match answer {
            OnUnsigned::Accept => Ok(()),
            OnUnsigned::Tempfail => {
                Err(Refusal::new(451, EnhancedCode::NOT_AUTHORIZED_NOW, text()))
            }
            OnUnsigned::Reject => Err(Refusal::new(550, EnhancedCode::NOT_AUTHORIZED, text())),
        }
    }

    /// Row 5. Other rows have decided that the mail goes out.
    fn add_feedback_signature(
        &mut self,
        tenant: TenantId,
        pool: &PoolRow,
        signatures: &mut Vec<PlannedSignature>,
    ) {
        let mut is_needed = false;
        for provider in self.snapshot.providers() {
            let mut recipients = self.facts.recipients.iter();
            let served = recipients
                .find(|recipient| provider.serves(recipient.domain, recipient.mx).is_served());
            let Some(recipient) = served else { continue };
            let (recipient, name) = (recipient.domain.clone(), provider.name.clone());
            self.because(Reason::AtProvider { recipient, provider: name.clone() });
            let enrolled = signatures.iter().map(PlannedSignature::signing_domain).find(|domain| {
                let row = self.snapshot.verified_domain(domain.as_str());
                provider.enrolled.contains(*domain)
                    || row.is_some_and(|row| row.enrolled().contains(&name))
            });
            match enrolled {
                Some(domain) => {
                    self.because(Reason::FeedbackEnrolled(domain.clone(), name));
                    self.decision.feedback = Feedback::Enrolled;
                }
                None => is_needed = true,
            }
        }
        if is_needed {
            self.decision.feedback = self.feedback_signature(tenant, pool, signatures);
        }
    }

    fn feedback_signature(
        &mut self,
        tenant: TenantId,
        pool: &PoolRow,
        signatures: &mut Vec<PlannedSignature>,
    ) -> Feedback {
        let platform = self.snapshot.platform().fbl_signing_domain.as_ref();
        let keys = match self.pool_domain(tenant, pool, pool.fbl_signing_domain.as_ref()) {
            Ok(keys) => Ok(keys),
            Err(why) => {
                self.because(Reason::PoolFeedbackCannotSign(why));
                self.count_unusable(why, Counter::PoolDomainUnusable);
                self.platform_domain(platform)
            }
        };
        let keys = match keys {
            Ok(keys) => keys,
            Err(why) => {
                self.because(Reason::PlatformFeedbackCannotSign(why));
                self.count(Counter::FeedbackMissing);
                return Feedback::Missing;
            }
        };
        let domain = &keys.rsa().domain;
        if signatures.iter().any(|signature| signature.signing_domain() == domain) {
            self.because(Reason::FeedbackSameDomain(domain.clone()));
            return Feedback::SameDomain;
        }
        self.because(Reason::FeedbackSigns(domain.clone()));
        signatures.push(self.signature(Purpose::FeedbackLoop, keys.rsa()));
        Feedback::Signed
    }

    /// A domain of the pool: the primary account's, or that of this tenant if the pool is granted to
    /// it alone.
    fn pool_domain(
        &self,
        tenant: TenantId,
        pool: &PoolRow,
        name: Option<&DomainName>,
    ) -> Result<&'a SigningKeys, Unusable> {
        self.domain_that_signs(name, |owner| {
            owner.is_primary() || (owner == tenant && pool.grants.only_tenant() == Some(tenant))
        })
    }

    /// A domain of the platform: the primary account's.
    fn platform_domain(&self, name: Option<&DomainName>) -> Result<&'a SigningKeys, Unusable> {
        self.domain_that_signs(name, TenantId::is_primary)
    }

    fn domain_that_signs(
        &self,
        name: Option<&DomainName>,
        may_sign: impl FnOnce(TenantId) -> bool,
    ) -> Result<&'a SigningKeys, Unusable> {
        let name = name.ok_or(Unusable::Unset)?;
        let row = self.snapshot.verified_domain(name.as_str()).ok_or(Unusable::NotVerified)?;
        if !may_sign(row.owner()) {
            return Err(Unusable::OfAnotherTenant);
        }
        row.signing_keys().ok_or(Unusable::NotValid)
    }

    /// The signatures of a domain: RSA uppermost, Ed25519 below it if it is wanted.
    fn signatures(&self, purpose: Purpose, keys: &SigningKeys) -> Vec<PlannedSignature> {
        let mut signatures = Vec::with_capacity(MOST_SIGNATURES);
        signatures.push(self.signature(purpose, keys.rsa()));
        if self.decision.policy.signature.ed25519 == Ed25519::Extra
            && let Some(key) = keys.ed25519()
        {
            signatures.push(self.signature(purpose, key));
        }
        signatures
    }

    fn signature(&self, purpose: Purpose, key: &Arc<KeyEntry>) -> PlannedSignature {
        let settings = self.decision.policy.signature.clone();
        PlannedSignature {
            purpose,
            key: Arc::clone(key),
            signed_at: self.now,
            expires_at: settings.expires_at(self.now),
            settings,
        }
    }

    fn because(&mut self, reason: Reason) {
        self.decision.reasons.push(reason);
    }

    fn count(&mut self, counter: Counter) {
        if !self.decision.counters.contains(&counter) {
            self.decision.counters.push(counter);
        }
    }

    /// A domain that is not set is a choice; one that is set and cannot sign is a fault.
    fn count_unusable(&mut self, why: Unusable, counter: Counter) {
        match why {
            Unusable::Unset => {}
            Unusable::NotVerified | Unusable::OfAnotherTenant | Unusable::NotValid => {
                self.count(counter);
            }
        }
    }
}

fn refuse(refusal: Refusal) -> Verdict {
    if refusal.is_temporary() { Verdict::Tempfail(refusal) } else { Verdict::Refuse(refusal) }
}

/// The most of a sender's text that is quoted back, in characters.
const MAX_QUOTED: usize = 64;

/// Room for the reasons of most decisions.
const TYPICAL_REASONS: usize = 4;

/// An RSA, an Ed25519 and a feedback signature.
const MOST_SIGNATURES: usize = 3;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

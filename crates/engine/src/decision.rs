//! What is decided about a message, and why.
//!
//! A [`Decision`] is a value that a front door obeys and a record keeps: the row of the rule, the
//! verdict, every reason on the way in order, and what is to be counted.

use std::fmt;
use std::sync::Arc;

use postseal_dkim::{DomainName, SignRequest, UnixTime};

use crate::author::BadFrom;
use crate::control::{ControlError, ControlField, Removal};
use crate::id::{PoolId, TenantId};
use crate::key::KeyEntry;
use crate::policy::{OnUnsigned, Policy, SignatureSettings};
use crate::provider::ProviderName;
use crate::reply::Refusal;

/// What is decided about a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The row of the rule that applies.
    pub row: Row,
    /// What came of row 5.
    pub feedback: Feedback,
    /// What is to be done.
    pub verdict: Verdict,
    /// Why, in the order in which it was found.
    pub reasons: Vec<Reason>,
    /// What is to be counted.
    pub counters: Vec<Counter>,
    /// Whose message it is.
    pub tenant: Option<TenantId>,
    /// The pool it leaves by, once one was chosen.
    pub pool: Option<PoolId>,
    /// The domain of the author; none if the From field has several or cannot be read.
    pub author: Option<DomainName>,
    /// The fields to take out before the message is signed, in this order.
    pub remove: Vec<Removal>,
    /// The policy for this message, as far as it was known when the decision fell.
    pub policy: Policy,
}

impl Decision {
    /// The signatures that the message gets, the uppermost first.
    #[must_use]
    pub fn signatures(&self) -> &[PlannedSignature] {
        match &self.verdict {
            Verdict::Sign(signatures) => signatures,
            Verdict::PassUnsigned | Verdict::Refuse(_) | Verdict::Tempfail(_) => &[],
        }
    }

    /// The reasons as text.
    #[must_use]
    pub fn explanation(&self) -> String {
        let sentences: Vec<_> = self.reasons.iter().map(ToString::to_string).collect();
        sentences.join("; ")
    }
}

/// A row of the rule.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Row {
    /// Row 0: nothing says which tenant this is.
    NoTenant,
    /// Row 1: the author's domain signs.
    Author,
    /// Row 2: the pool's domain signs.
    Pool,
    /// Row 3: the platform's domain signs.
    Platform,
    /// Row 4: no domain can sign for the author.
    Unsigned,
    /// One of the points below the table stopped the message before a row applied.
    Refused,
}

impl Row {
    /// A word for records and figures.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoTenant => "no_tenant",
            Self::Author => "author",
            Self::Pool => "pool",
            Self::Platform => "platform",
            Self::Unsigned => "unsigned",
            Self::Refused => "refused",
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What came of row 5, the signature for feedback loops.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Feedback {
    /// No recipient is at a provider that asks for it, or the message does not go out.
    NotNeeded,
    /// It is made.
    Signed,
    /// A signature above it has its `d=` already.
    SameDomain,
    /// A domain that signs above it is enrolled with the loop itself.
    Enrolled,
    /// Neither the pool nor the platform has a domain for it.
    Missing,
}

/// What is to be done with a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It gets these signatures, the uppermost first. Never empty.
    Sign(Vec<PlannedSignature>),
    /// It goes out without a signature.
    PassUnsigned,
    /// It is refused for good.
    Refuse(Refusal),
    /// It is refused for now.
    Tempfail(Refusal),
}

/// A signature to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedSignature {
    /// What it is for.
    pub purpose: Purpose,
    /// With which key; `d=` and `s=` are in it.
    pub key: Arc<KeyEntry>,
    /// What it looks like.
    pub settings: SignatureSettings,
    /// When it is made, `t=`.
    pub signed_at: UnixTime,
    /// When it expires, `x=`.
    pub expires_at: Option<UnixTime>,
}

impl PlannedSignature {
    /// The domain it signs for, `d=`.
    #[must_use]
    pub fn signing_domain(&self) -> &DomainName {
        &self.key.domain
    }

    /// What the signer takes.
    #[must_use]
    pub fn request(&self) -> SignRequest {
        SignRequest {
            signing_domain: self.key.domain.clone(),
            selector: self.key.selector.clone(),
            algorithm: self.key.algorithm,
            canonicalization: self.settings.canonicalization,
            signed_at: self.signed_at,
            expires_at: self.expires_at,
            identity: None,
            fields: self.settings.fields.selection().clone(),
        }
    }
}

/// What a signature is for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Purpose {
    /// It speaks for the author (row 1).
    Author,
    /// It speaks for the pool (row 2).
    Pool,
    /// It speaks for the platform (row 3).
    Platform,
    /// It brings complaints back (row 5).
    FeedbackLoop,
}

impl Purpose {
    /// A word for records and figures.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Author => "author",
            Self::Pool => "pool",
            Self::Platform => "platform",
            Self::FeedbackLoop => "feedback_loop",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What named the pool.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum PoolSource {
    /// A control field of the message.
    Field(ControlField),
    /// A macro, or the listener.
    Connection,
    /// The tenant's row.
    Assigned,
    /// Nothing: it is the pool `default`.
    Default,
}

impl fmt::Display for PoolSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(field) => write!(f, "the {field} field names it"),
            Self::Connection => f.pad("the connection names it"),
            Self::Assigned => f.pad("it is assigned to the tenant"),
            Self::Default => f.pad("nothing names another"),
        }
    }
}

/// Why a domain of a pool or of the platform cannot sign.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Unusable {
    /// None is set.
    Unset,
    /// Nobody has verified it.
    NotVerified,
    /// It is somebody's whose domain may not sign here.
    OfAnotherTenant,
    /// Its DKIM status is not valid.
    NotValid,
}

/// A step on the way to a decision. The text is a sentence for an operator.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// Nothing says which tenant this is.
    NoTenant,
    /// The tenant is not in the snapshot.
    TenantUnknown(TenantId),
    /// The tenant may not send.
    TenantSuspended(TenantId),
    /// A control field cannot be obeyed.
    BadControl(ControlError),
    /// There are control fields, and here they name no pool.
    ControlIgnored,
    /// The pool, and what named it.
    PoolChosen(PoolId, PoolSource),
    /// A pool was named that does not exist.
    PoolUnknown(String, PoolSource),
    /// A pool was named that is not granted to the tenant.
    PoolNotGranted(PoolId, PoolSource),
    /// The tenant's own pool does not exist or is not granted to it.
    AssignedPoolUnusable(PoolId),
    /// The From field cannot be read one way only.
    BadFrom(BadFrom),
    /// A domain in From that another tenant has verified.
    ForeignFrom(DomainName),
    /// There is not exactly one From field, without which there is no signature at all.
    CannotBeSigned,
    /// The mailboxes in From have different domains.
    SeveralDomains(usize),
    /// The author's domain signs.
    AuthorSigns(DomainName),
    /// A parent of the author's domain signs for it.
    ParentSigns {
        /// The author's domain.
        author: DomainName,
        /// Its parent.
        parent: DomainName,
    },
    /// The author's domain is nobody's.
    AuthorNotVerified(DomainName),
    /// The author's domain is the tenant's, and its DKIM status is not valid.
    AuthorNotValid(DomainName),
    /// The pool's domain signs.
    PoolSigns(DomainName),
    /// The pool's domain cannot sign.
    PoolCannotSign(Unusable),
    /// The platform's domain signs.
    PlatformSigns(DomainName),
    /// The platform's domain cannot sign.
    PlatformCannotSign(Unusable),
    /// No domain can sign, and what follows from it.
    Unsigned(OnUnsigned),
    /// A recipient is at a provider with a feedback loop.
    AtProvider {
        /// The recipient's domain.
        recipient: DomainName,
        /// The provider.
        provider: ProviderName,
    },
    /// A domain that signs is enrolled with the loop itself.
    FeedbackEnrolled(DomainName, ProviderName),
    /// The pool's domain for feedback loops cannot sign.
    PoolFeedbackCannotSign(Unusable),
    /// The platform's domain for feedback loops cannot sign.
    PlatformFeedbackCannotSign(Unusable),
    /// A signature has the `d=` of the loop's signature already.
    FeedbackSameDomain(DomainName),
    /// A signature for the feedback loop is made.
    FeedbackSigns(DomainName),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unset => "none is set",
            Self::NotVerified => "nobody has verified it",
            Self::OfAnotherTenant => "its owner's mail alone may be signed with it",
            Self::NotValid => "its DKIM status is not valid",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTenant => f.write_str("nothing says which tenant this mail is from"),
            Self::TenantUnknown(id) => write!(f, "tenant {id} is not known to this signer"),
            Self::TenantSuspended(id) => write!(f, "tenant {id} is suspended"),
            Self::BadControl(error) => error.fmt(f),
            Self::ControlIgnored => {
                f.write_str("control fields are taken out and not obeyed, since none counts here")
            }
            Self::PoolChosen(pool, source) => write!(f, "the pool is {pool}, since {source}"),
            Self::PoolUnknown(text, source) => {
                write!(f, "there is no pool {text:?}, though {source}")
            }
            Self::PoolNotGranted(pool, source) => {
                write!(f, "the pool {pool} is not granted to the tenant, though {source}")
            }
            Self::AssignedPoolUnusable(pool) => {
                write!(f, "the tenant's own pool {pool} does not exist or excludes it")
            }
            Self::BadFrom(error) => error.fmt(f),
            Self::ForeignFrom(domain) => {
                write!(f, "another tenant has verified the From domain {domain}")
            }
            Self::CannotBeSigned => f.write_str(
                "without exactly one From field no domain can sign (RFC 6376 section 5.4)",
            ),
            Self::SeveralDomains(count) => {
                write!(f, "the mailboxes in From have {count} different domains")
            }
            Self::AuthorSigns(domain) => write!(f, "the From domain {domain} signs"),
            Self::ParentSigns { author, parent } => {
                write!(f, "{parent} signs for its subdomain {author}")
            }
            Self::AuthorNotVerified(domain) => {
                write!(f, "the tenant has not verified the From domain {domain}")
            }
            Self::AuthorNotValid(domain) => {
                write!(f, "the DKIM status of the From domain {domain} is not valid")
            }
            Self::PoolSigns(domain) => write!(f, "the pool's domain {domain} signs"),
            Self::PoolCannotSign(why) => write!(f, "the pool's signing domain cannot sign: {why}"),
            Self::PlatformSigns(domain) => write!(f, "the platform's domain {domain} signs"),
            Self::PlatformCannotSign(why) => {
                write!(f, "the platform's signing domain cannot sign: {why}")
            }
            Self::Unsigned(OnUnsigned::Accept) => f.write_str("the mail goes out unsigned"),
            Self::Unsigned(OnUnsigned::Tempfail | OnUnsigned::Reject) => {
                f.write_str("unsigned mail does not go out")
            }
            Self::AtProvider { recipient, provider } => {
                write!(
                    f,
                    "recipients at {recipient} are {provider}'s, whose complaints follow DKIM"
                )
            }
            Self::FeedbackEnrolled(domain, provider) => {
                write!(f, "{domain} is enrolled with the loop of {provider} itself")
            }
            Self::PoolFeedbackCannotSign(why) => {
                write!(f, "the pool's domain for feedback loops cannot sign: {why}")
            }
            Self::PlatformFeedbackCannotSign(why) => {
                write!(f, "the platform's domain for feedback loops cannot sign: {why}")
            }
            Self::FeedbackSameDomain(domain) => {
                write!(f, "{domain}, which is for the feedback loop, signs already")
            }
            Self::FeedbackSigns(domain) => write!(f, "{domain} signs for the feedback loop"),
        }
    }
}

/// Something that an operator wants to see the number of.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Counter {
    /// Mail without a tenant.
    NoTenant,
    /// Mail of a tenant that this signer does not know.
    TenantUnknown,
    /// Mail of a suspended tenant.
    TenantSuspended,
    /// Control fields that cannot be obeyed.
    BadControl,
    /// Control fields of someone who may not name a pool.
    ControlIgnored,
    /// A pool that was named and cannot be had.
    PoolRefused,
    /// A tenant's own pool that cannot be had.
    AssignedPoolUnusable,
    /// A From field that cannot be read one way only.
    BadFrom,
    /// A From domain of another tenant.
    ForeignFrom,
    /// A pool's signing domain that is set and cannot sign.
    PoolDomainUnusable,
    /// The platform's signing domain is set and cannot sign.
    PlatformDomainUnusable,
    /// Mail that no domain can sign for.
    Unsigned,
    /// Mail to a provider with a feedback loop without a signature for it.
    FeedbackMissing,
}

impl Counter {
    /// A word for figures.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoTenant => "no_tenant",
            Self::TenantUnknown => "tenant_unknown",
            Self::TenantSuspended => "tenant_suspended",
            Self::BadControl => "bad_control",
            Self::ControlIgnored => "control_ignored",
            Self::PoolRefused => "pool_refused",
            Self::AssignedPoolUnusable => "assigned_pool_unusable",
            Self::BadFrom => "bad_from",
            Self::ForeignFrom => "foreign_from",
            Self::PoolDomainUnusable => "pool_domain_unusable",
            Self::PlatformDomainUnusable => "platform_domain_unusable",
            Self::Unsigned => "unsigned",
            Self::FeedbackMissing => "feedback_missing",
        }
    }
}

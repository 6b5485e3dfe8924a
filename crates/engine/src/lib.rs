//! Decides which signatures a message gets, and why.
//!
//! [`Facts`] about a message and a [`Snapshot`] of what the platform knows go into [`plan()`], a
//! [`Decision`] comes out. The rule stands at the top of `plan.rs`.
//!
//! This crate is pure: no clock, no randomness, no input or output. Time is an argument. Octets from
//! outside are bounded: every parser has its limits at the bottom of its file.
//!
//! Reading order; a module uses only those above it:
//!
//! | module | what it has |
//! |---|---|
//! | `id`, `key` | what things are called, and what is known of a key |
//! | `provider` | who is behind a recipient's domain |
//! | `signed_fields`, `seconds`, `policy` | what an operator decides, in three layers |
//! | `api_key`, `row` | the rows of the snapshot, and how they change |
//! | `row_map`, `snapshot` | all rows at one revision, and the next one |
//! | `author`, `control` | what a header says: the From domain, and the pool |
//! | `reply`, `travel` | what a sender is told, and what octets meet on their way |
//! | `decision`, `plan` | the rule |

#![warn(clippy::indexing_slicing, clippy::string_slice)]

mod api_key;
mod author;
mod control;
mod decision;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod id;
mod key;
mod plan;
mod policy;
mod provider;
mod reply;
mod row;
mod row_map;
mod seconds;
mod signed_fields;
mod snapshot;
mod travel;

pub use self::api_key::{
    ApiKeyHash, ApiKeyRow, Grant, Grants, IpRange, IpRangeError, UnknownGrant,
};
pub use self::author::{
    Author, BadFrom, MAX_COMMENT_DEPTH, MAX_FROM_LEN, MAX_LOCAL_PART_LEN, MAX_MAILBOXES,
};
pub use self::control::{
    CONTROL_FIELDS, ControlError, ControlField, MAX_CONTROL_LEN, Removal, X_MSYS_API,
    X_POSTSEAL_POOL, removals,
};
pub use self::decision::{
    Counter, Decision, Feedback, PlannedSignature, PoolSource, Purpose, Reason, Row, Unusable,
    Verdict,
};
pub use self::id::{
    KeyId, MAX_NEXT_HOP_NAME_LEN, MAX_POOL_ID_LEN, NextHopName, NextHopNameError, PoolId,
    PoolIdError, Revision, TenantId,
};
pub use self::key::{FiledKey, KeyCacheKey, KeyEntry, SealedKey, SigningKeys, SigningKeysError};
pub use self::plan::{Facts, HeaderPool, Recipient, plan};
pub use self::policy::{
    CanonicalizationText, Ed25519, Expiry, OnBadFrom, OnBareNewline, OnForeignFrom, OnLongLine,
    OnNoTenant, OnUnsigned, Policy, PolicyError, PolicyLayer, SignatureLayer, SignatureSettings,
};
pub use self::provider::{
    MAX_PROVIDER_NAME_LEN, Provider, ProviderName, ProviderNameError, Served,
};
pub use self::reply::{EnhancedCode, MAX_TEXT_LEN, Refusal};
pub use self::row::{
    Change, DomainRow, DomainStatus, ForeignKey, PlatformRow, PoolGrants, PoolRow, Sharing,
    Subdomains, TenantRow, TenantStatus,
};
pub use self::seconds::{BadSeconds, Seconds};
pub use self::signed_fields::{MAX_LISTED_FIELDS, SignedFields, SignedFieldsError};
pub use self::snapshot::{ApplyError, KeyRefused, Snapshot, SuspiciousLoad};
pub use self::travel::{BodyScan, MAX_LINE_LEN, TravelVerdict};

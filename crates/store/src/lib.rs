//! Remembers tenants, domains, pools, sealed keys and API keys, and the log of their changes.
//!
//! It knows no clear key and no policy: keys come sealed, settings come as they are. Ids that have to be
//! unguessable, and the time, are arguments.
//!
//! Reading order:
//!
//! - [`Store`]: the database file and its connections; each module adds what it reads to it;
//! - [`Unit`]: what is written together, with revisions and the change log;
//! - [`Tenant`], [`ApiKey`], [`Pool`], [`Domain`], [`StoredKey`], [`Fact`]: what there is, each in its
//!   module with its operations;
//! - [`Store::changes_since`], [`Store::load_all`], [`Store::watch`]: how signers follow.
//!
//! The tables are in SQLite. The SQL is written so that PostgreSQL runs the same text; the tests in
//! `tests/conformance` take any store.

mod api_key;
mod columns;
mod database;
mod domain;
mod error;
mod follow;
mod platform;
mod pool;
mod signing_key;
mod tenant;
mod unit;

pub use self::api_key::{ApiKey, ApiKeyEdit, NewApiKey};
pub use self::database::{BUSY_TIMEOUT, OPERATION_TIMEOUT, Store};
pub use self::domain::{
    DkimStatus, Domain, DomainCheck, DomainEdit, DomainFilter, NewDomain, UnknownDkimStatus,
};
pub use self::error::{Conflict, StoreError, Thing};
pub use self::follow::{Changes, Damaged, DamagedDomain, MAX_CHANGES};
pub use self::platform::{Fact, PlatformEdit};
pub use self::pool::{NewPool, Pool, PoolEdit};
pub use self::signing_key::{KeyState, NewKey, StoredKey, UnknownKeyState};
pub use self::tenant::{AccountStatus, NewTenant, Tenant, TenantEdit, UnknownAccountStatus};
pub use self::unit::Unit;

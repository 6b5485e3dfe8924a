//! What every store has to do, whatever database is below it.
//!
//! Each test is a function over a [`Store`]; `stores!` runs all of them on each back end. Times, hashes and
//! sealed keys are made up here: the store opens no key.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

mod accounts;
mod domains;
mod following;
mod keys;
mod pools;

use std::collections::BTreeMap;

use postseal_dkim::{Algorithm, DomainName, Selector, UnixTime};
use postseal_engine::{Change, OnUnsigned, PolicyLayer, SealedKey, Snapshot, TenantId};
use postseal_store::{
    Conflict, DkimStatus, DomainCheck, NewDomain, NewKey, NewTenant, Store, StoreError, StoredKey,
    Thing, Unit,
};

macro_rules! stores {
    ($($module:ident::$name:ident,)*) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let folder = tempfile::tempdir().unwrap();
                    let path = folder.path().join("store.db");
                    let store = postseal_store::Store::open(&path).await.unwrap();
                    super::$module::$name(store.clone()).await;
                    store.close().await;
                }
            )*
        }
    };
}

stores! {
    accounts::a_new_store_has_the_primary_account_and_the_default_pool,
    accounts::facts_are_stated_once,
    accounts::tenants_are_made_and_changed_and_never_renumbered,
    accounts::api_keys_are_kept_as_hashes_and_revoked_for_good,
    domains::the_first_to_verify_a_domain_has_it,
    domains::of_many_that_verify_at_once_one_succeeds,
    domains::spellings_of_a_domain_are_one_domain,
    domains::only_the_primary_account_shares_domains,
    domains::a_check_that_changes_no_status_wakes_nobody,
    domains::a_valid_check_verifies_the_owner,
    domains::due_checks_come_in_order,
    domains::domains_are_found_by_what_is_known_of_them,
    keys::a_selector_is_never_used_for_another_key,
    keys::of_several_keys_with_one_selector_only_the_first_seen_signs,
    keys::a_promoted_key_takes_the_place_of_the_former,
    keys::a_signing_key_is_not_destroyed,
    pools::pools_keep_the_id_of_their_first_name,
    pools::a_deleted_pool_frees_nobody,
    pools::providers_replace_what_is_built_in,
    following::what_is_not_committed_did_not_happen,
    following::a_commit_wakes_followers,
    following::following_leads_where_loading_leads,
    following::a_follower_that_was_away_too_long_is_told,
    following::changes_come_in_pages,
    following::everything_is_loaded_across_pages,
    following::revisions_have_no_gaps_under_many_writers,
}

const NOW: UnixTime = UnixTime(1_790_000_000);

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn policy() -> PolicyLayer {
    PolicyLayer { on_unsigned: Some(OnUnsigned::Reject), ..PolicyLayer::default() }
}

fn new_key(owner: TenantId, domain: &str, selector: &str, record: &str) -> NewKey {
    NewKey {
        owner,
        domain: name(domain),
        selector: Selector::parse(selector).unwrap(),
        label: None,
        algorithm: Algorithm::RsaSha256,
        sealed: SealedKey::new(record.as_bytes()),
        public_record: record.to_owned(),
    }
}

fn check(dkim_status: DkimStatus) -> DomainCheck {
    DomainCheck {
        dkim_status,
        seen: dkim_status == DkimStatus::Valid,
        suspect_since: None,
        error: (dkim_status == DkimStatus::Invalid).then(|| "no record".to_owned()),
        next_check: NOW.plus_secs(3600),
    }
}

async fn tenant(unit: &mut Unit) -> TenantId {
    unit.create_tenant(NewTenant { name: "one".to_owned(), ..NewTenant::default() })
        .await
        .unwrap()
        .id
}

/// A verified domain with a key that signs.
async fn signing_domain(unit: &mut Unit, owner: TenantId, domain: &str) -> StoredKey {
    unit.create_domain(NewDomain::new(owner, name(domain))).await.unwrap();
    let key = unit.add_key(new_key(owner, domain, "s1", "v=DKIM1; p=one")).await.unwrap();
    unit.record_key_seen(key.id).await.unwrap();
    unit.record_check(owner, &name(domain), check(DkimStatus::Valid)).await.unwrap();
    unit.promote_key(key.id).await.unwrap()
}

#[track_caller]
fn conflict<T: std::fmt::Debug>(result: Result<T, StoreError>) -> Conflict {
    match result {
        Err(StoreError::Conflict(conflict)) => conflict,
        other => panic!("no conflict: {other:?}"),
    }
}

#[track_caller]
fn missing<T: std::fmt::Debug>(result: Result<T, StoreError>) -> Thing {
    match result {
        Err(StoreError::NotFound(thing)) => thing,
        other => panic!("it is there: {other:?}"),
    }
}

/// The rows of a snapshot in an order of their own, so that two of them can be compared.
fn rows(snapshot: &Snapshot) -> BTreeMap<String, Change> {
    let key = |change: &Change| match change {
        Change::Tenant(row) => format!("tenant {}", row.id),
        Change::Domain(row) => format!("domain {} {}", row.owner(), row.name()),
        Change::Pool(row) => format!("pool {}", row.id),
        Change::ApiKey(row) => format!("key {:?}", row.hash.0),
        Change::Provider(row) => format!("provider {}", row.name),
        Change::Platform(_) => "platform".to_owned(),
        Change::TenantRemoved(_)
        | Change::DomainRemoved { .. }
        | Change::PoolRemoved(_)
        | Change::ApiKeyRemoved(_)
        | Change::ProviderRemoved(_) => panic!("a snapshot has no removals"),
    };
    snapshot.rows().map(|change| (key(&change), change)).collect()
}

async fn loaded(store: &Store) -> Snapshot {
    let (revision, all) = store.load_all().await.unwrap();
    Snapshot::load(revision, all)
}

/// The snapshot after all changes since its revision.
async fn followed(store: &Store, snapshot: &Snapshot) -> Snapshot {
    let mut snapshot = snapshot.clone();
    loop {
        let changes = store.changes_since(snapshot.revision()).await.unwrap();
        assert!(changes.damaged.is_empty(), "{:?}", changes.damaged);
        if changes.until == snapshot.revision() {
            return snapshot;
        }
        snapshot = snapshot.apply(changes.rows).unwrap();
        assert_eq!(snapshot.revision(), changes.until);
    }
}

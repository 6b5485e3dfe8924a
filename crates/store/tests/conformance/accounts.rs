//! The installation, its tenants and their API keys.

use postseal_engine::{ApiKeyHash, Grant, Grants, PoolId, Revision, TenantId};
use postseal_store::{
    AccountStatus, ApiKeyEdit, Conflict, Fact, NewApiKey, NewTenant, Store, TenantEdit, Thing,
};

use crate::{NOW, conflict, followed, loaded, missing, policy, tenant};

pub(crate) async fn a_new_store_has_the_primary_account_and_the_default_pool(store: Store) {
    assert_eq!(store.revision().await.unwrap(), Revision::ZERO);
    let tenants = store.tenants().await.unwrap();
    assert_eq!(tenants.len(), 1);
    assert_eq!(tenants[0].id, TenantId::PRIMARY);
    let pools = store.pools().await.unwrap();
    assert_eq!(pools.len(), 1);
    assert!(pools[0].id.is_default());
    assert!(store.pool(&PoolId::parse("DEFAULT").unwrap()).await.unwrap().is_some());
    assert!(store.changes_since(Revision::ZERO).await.unwrap().rows.is_empty());

    let snapshot = loaded(&store).await;
    assert!(snapshot.tenant(TenantId::PRIMARY).is_some());
    assert!(snapshot.pool(&PoolId::default_pool()).is_some());
}

pub(crate) async fn facts_are_stated_once(store: Store) {
    assert_eq!(store.fact(Fact::MasterKeyCheck).await.unwrap(), None);
    let mut unit = store.write(NOW).await.unwrap();
    assert_eq!(unit.state_fact(Fact::MasterKeyCheck, "one").await.unwrap(), "one");
    assert_eq!(unit.state_fact(Fact::MasterKeyCheck, "two").await.unwrap(), "one");
    assert_eq!(unit.commit().await.unwrap(), None, "signing does not depend on it");
    assert_eq!(store.fact(Fact::MasterKeyCheck).await.unwrap().as_deref(), Some("one"));
    assert_eq!(store.fact(Fact::InstallationId).await.unwrap(), None);
}

pub(crate) async fn tenants_are_made_and_changed_and_never_renumbered(store: Store) {
    let mut unit = store.write(NOW).await.unwrap();
    let one = unit
        .create_tenant(NewTenant { name: "one".to_owned(), policy: policy(), pool: None })
        .await
        .unwrap();
    unit.commit().await.unwrap();
    assert_eq!(one.id, TenantId::new(1));
    assert_eq!(store.tenant(one.id).await.unwrap(), Some(one.clone()));

    let mut unit = store.write(NOW.plus_secs(5)).await.unwrap();
    let edit = TenantEdit {
        status: Some(AccountStatus::Terminated),
        pool: Some(Some(PoolId::parse("Default").unwrap())),
        ..TenantEdit::default()
    };
    let edited = unit.edit_tenant(one.id, edit).await.unwrap();
    let two = tenant(&mut unit).await;
    unit.commit().await.unwrap();
    assert_eq!((edited.name.as_str(), edited.policy), ("one", policy()));
    assert_eq!((edited.created_at, edited.updated_at), (NOW, NOW.plus_secs(5)));
    assert_eq!(two, TenantId::new(2));
    let read = store.tenant(one.id).await.unwrap().unwrap();
    assert_eq!(read.status, AccountStatus::Terminated);
    assert!(read.pool.unwrap().is_default());

    let mut unit = store.write(NOW).await.unwrap();
    let nobody = unit.edit_tenant(TenantId::new(9), TenantEdit::default()).await;
    assert_eq!(missing(nobody), Thing::Tenant);
    let suspend = TenantEdit { status: Some(AccountStatus::Suspended), ..TenantEdit::default() };
    let primary = unit.edit_tenant(TenantId::PRIMARY, suspend).await;
    assert_eq!(conflict(primary), Conflict::PrimaryAccount);
    let nowhere = Some(Some(PoolId::parse("nowhere").unwrap()));
    let edit = TenantEdit { pool: nowhere, ..TenantEdit::default() };
    assert_eq!(missing(unit.edit_tenant(two, edit).await), Thing::Pool);
}

pub(crate) async fn api_keys_are_kept_as_hashes_and_revoked_for_good(store: Store) {
    let mut unit = store.write(NOW).await.unwrap();
    let owner = tenant(&mut unit).await;
    let new = NewApiKey {
        tenant: owner,
        hash: ApiKeyHash([7; 32]),
        short_key: "abcd".to_owned(),
        label: "first".to_owned(),
        grants: [Grant::SmtpInject, Grant::IpPoolsView].into_iter().collect(),
        valid_ips: vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        expires_at: Some(NOW.plus_secs(60)),
    };
    let key = unit.create_api_key(new.clone()).await.unwrap();
    assert_eq!(conflict(unit.create_api_key(new.clone()).await), Conflict::ApiKeyExists);
    let of_nobody = NewApiKey { tenant: TenantId::new(99), ..new.clone() };
    assert_eq!(missing(unit.create_api_key(of_nobody).await), Thing::Tenant);
    unit.commit().await.unwrap();
    assert_eq!(store.api_key(key.id).await.unwrap(), Some(key.clone()));
    assert_eq!(store.api_keys(Some(owner)).await.unwrap(), std::slice::from_ref(&key));
    assert!(store.api_keys(Some(TenantId::PRIMARY)).await.unwrap().is_empty());
    let snapshot = loaded(&store).await;
    assert_eq!(snapshot.api_key(&key.hash).unwrap().tenant, owner);

    let mut unit = store.write(NOW).await.unwrap();
    let edit = ApiKeyEdit { grants: Some(Grants::all()), ..ApiKeyEdit::default() };
    let edited = unit.edit_api_key(key.id, edit).await.unwrap();
    assert_eq!((edited.grants, &edited.valid_ips), (Grants::all(), &key.valid_ips));
    unit.revoke_api_key(key.id).await.unwrap();
    assert_eq!(missing(unit.revoke_api_key(key.id).await), Thing::ApiKey);
    assert_eq!(missing(unit.edit_api_key(key.id, ApiKeyEdit::default()).await), Thing::ApiKey);
    unit.commit().await.unwrap();
    assert!(store.api_keys(None).await.unwrap().is_empty());
    assert!(followed(&store, &snapshot).await.api_key(&key.hash).is_none());
    assert!(loaded(&store).await.api_key(&key.hash).is_none());
    assert_eq!(store.api_key(key.id).await.unwrap().unwrap().revoked_at, Some(NOW));
    // A revoked key's hash is never taken again.
    let mut unit = store.write(NOW).await.unwrap();
    assert_eq!(conflict(unit.create_api_key(new).await), Conflict::ApiKeyExists);
}

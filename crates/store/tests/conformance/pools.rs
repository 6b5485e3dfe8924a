//! Pools, and the providers that some of their mail goes to.

use postseal_engine::{NextHopName, PoolGrants, PoolId, Provider, ProviderName};
use postseal_store::{Conflict, NewPool, PoolEdit, Store, TenantEdit, Thing};

use crate::{NOW, conflict, followed, loaded, missing, name, policy, rows, tenant};

pub(crate) async fn pools_keep_the_id_of_their_first_name(store: Store) {
    let mut unit = store.write(NOW).await.unwrap();
    let owner = tenant(&mut unit).await;
    let pool = unit.create_pool(NewPool::named("Marketing IP Pool").unwrap()).await.unwrap();
    assert_eq!(pool.id.as_str(), "marketing_ip_pool");
    let twin = unit.create_pool(NewPool::named("marketing.ip.pool").unwrap()).await;
    assert_eq!(conflict(twin), Conflict::PoolExists { id: pool.id.clone() });
    let edit = PoolEdit {
        name: Some("Offers".to_owned()),
        signing_domain: Some(Some(name("pool.example"))),
        fbl_signing_domain: Some(Some(name("fbl.example"))),
        auto_warmup_overflow_pool: Some(Some("shared pool".to_owned())),
        grants: Some(PoolGrants::only([owner])),
        next_hop: Some(Some(NextHopName::parse("postfix").unwrap())),
        policy: Some(policy()),
    };
    let id = PoolId::parse("MARKETING_ip_pool").unwrap();
    let edited = unit.edit_pool(&id, edit).await.unwrap();
    unit.commit().await.unwrap();
    assert_eq!((edited.id.as_str(), edited.name.as_str()), ("marketing_ip_pool", "Offers"));
    assert_eq!(store.pool(&pool.id).await.unwrap(), Some(edited));
    let snapshot = loaded(&store).await;
    let row = snapshot.pool(&id).unwrap();
    assert_eq!(row.signing_domain, Some(name("pool.example")));
    assert_eq!(row.grants.only_tenant(), Some(owner));

    let mut unit = store.write(NOW).await.unwrap();
    let clear = PoolEdit {
        signing_domain: Some(None),
        fbl_signing_domain: Some(None),
        auto_warmup_overflow_pool: Some(None),
        grants: Some(PoolGrants::Everyone),
        next_hop: Some(None),
        ..PoolEdit::default()
    };
    let cleared = unit.edit_pool(&id, clear).await.unwrap();
    unit.commit().await.unwrap();
    assert_eq!((cleared.signing_domain, cleared.next_hop), (None, None));
    assert_eq!((cleared.name.as_str(), cleared.policy), ("Offers", policy()));
    let mut unit = store.write(NOW).await.unwrap();
    let nowhere = PoolId::parse("nowhere").unwrap();
    assert_eq!(missing(unit.edit_pool(&nowhere, PoolEdit::default()).await), Thing::Pool);
    assert_eq!(missing(unit.delete_pool(&nowhere).await), Thing::Pool);
}

pub(crate) async fn a_deleted_pool_frees_nobody(store: Store) {
    let mut unit = store.write(NOW).await.unwrap();
    let owner = tenant(&mut unit).await;
    let pool = unit.create_pool(NewPool::named("offers").unwrap()).await.unwrap();
    let bind = TenantEdit { pool: Some(Some(pool.id.clone())), ..TenantEdit::default() };
    unit.edit_tenant(owner, bind).await.unwrap();
    let mut spill = NewPool::named("spill").unwrap();
    spill.auto_warmup_overflow_pool = Some("offers".to_owned());
    let spill = unit.create_pool(spill).await.unwrap();
    unit.commit().await.unwrap();
    let before = loaded(&store).await;

    let mut unit = store.write(NOW).await.unwrap();
    let reserved = unit.delete_pool(&PoolId::parse("Default").unwrap()).await;
    assert_eq!(conflict(reserved), Conflict::PoolReserved);
    unit.delete_pool(&PoolId::parse("Offers").unwrap()).await.unwrap();
    unit.commit().await.unwrap();
    assert_eq!(store.pool(&pool.id).await.unwrap(), None);
    let bound = store.tenant(owner).await.unwrap().unwrap().pool;
    assert!(bound.is_some_and(|pool| pool.is_default()), "not free to choose any pool");
    let spill = store.pool(&spill.id).await.unwrap().unwrap();
    assert_eq!(spill.auto_warmup_overflow_pool, None);
    let after = followed(&store, &before).await;
    assert_eq!(rows(&after), rows(&loaded(&store).await));
    assert!(after.pool(&pool.id).is_none());
}

pub(crate) async fn providers_replace_what_is_built_in(store: Store) {
    let before = loaded(&store).await;
    let mut yahoo = Provider::yahoo();
    yahoo.enrolled.insert(name("fbl.example"));
    let mut unit = store.write(NOW).await.unwrap();
    unit.put_provider(&yahoo).await.unwrap();
    yahoo.domains.insert(name("yahoo.example"));
    unit.put_provider(&yahoo).await.unwrap();
    unit.commit().await.unwrap();
    assert_eq!(store.providers().await.unwrap(), std::slice::from_ref(&yahoo));
    let after = followed(&store, &before).await;
    assert!(after.providers().any(|provider| *provider == yahoo));

    let mut unit = store.write(NOW).await.unwrap();
    unit.remove_provider(&yahoo.name).await.unwrap();
    let unknown = unit.remove_provider(&ProviderName::parse("other").unwrap()).await;
    assert_eq!(missing(unknown), Thing::Provider);
    unit.commit().await.unwrap();
    assert_eq!(rows(&followed(&store, &after).await), rows(&before));
}

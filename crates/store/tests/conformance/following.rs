//! Units of work, revisions, and how signers follow them.

use std::time::Duration;

use postseal_engine::{Change, KeyId, PoolId, Revision, Subdomains, TenantId};
use postseal_store::{
    AccountStatus, DkimStatus, DomainEdit, Fact, KeyState, MAX_CHANGES, NewDomain, NewPool,
    NewTenant, PlatformEdit, PoolEdit, Store, StoreError, TenantEdit, Unit,
};

use crate::{NOW, check, followed, loaded, name, new_key, rows, signing_domain, tenant};

pub(crate) async fn what_is_not_committed_did_not_happen(store: Store) {
    let before = rows(&loaded(&store).await);
    let mut unit = store.write(NOW).await.unwrap();
    signing_domain(&mut unit, TenantId::PRIMARY, "a.example").await;
    tenant(&mut unit).await;
    drop(unit);
    assert_eq!(store.revision().await.unwrap(), Revision::ZERO);
    assert_eq!(rows(&loaded(&store).await), before);

    // Once more, in the middle of an operation.
    let writing = async {
        let mut unit = store.write(NOW).await.unwrap();
        for number in 0.. {
            let domain = name(&format!("d{number}.example"));
            unit.create_domain(NewDomain::new(TenantId::PRIMARY, domain)).await.unwrap();
        }
    };
    assert!(tokio::time::timeout(Duration::from_millis(20), writing).await.is_err());
    assert_eq!(rows(&loaded(&store).await), before);
    let mut unit = store.write(NOW).await.unwrap();
    assert_eq!(tenant(&mut unit).await, TenantId::new(1));
    assert_eq!(unit.commit().await.unwrap(), Some(Revision::new(1)));
}

pub(crate) async fn a_commit_wakes_followers(store: Store) {
    let mut watch = store.watch();
    assert_eq!(*watch.borrow_and_update(), Revision::ZERO);
    let mut unit = store.write(NOW).await.unwrap();
    tenant(&mut unit).await;
    tenant(&mut unit).await;
    assert!(!watch.has_changed().unwrap(), "not before it is saved");
    unit.commit().await.unwrap();
    watch.changed().await.unwrap();
    assert_eq!(*watch.borrow_and_update(), Revision::new(2));
    let mut unit = store.write(NOW).await.unwrap();
    unit.state_fact(Fact::InstallationId, "x").await.unwrap();
    unit.commit().await.unwrap();
    assert!(!watch.has_changed().unwrap());
}

/// A long history of every kind of change, followed in steps and loaded at once.
pub(crate) async fn following_leads_where_loading_leads(store: Store) {
    let mut random = Random(7);
    let mut follower = loaded(&store).await;
    for step in 0..400_u32 {
        let mut unit = store.write(NOW.plus_secs(step.into())).await.unwrap();
        for _ in 0..1 + random.below(3) {
            some_change(&mut unit, &mut random).await;
        }
        unit.commit().await.unwrap();
        if random.below(4) == 0 {
            follower = followed(&store, &follower).await;
            let loaded = loaded(&store).await;
            assert_eq!(follower.revision(), loaded.revision(), "step {step}");
            assert_eq!(rows(&follower), rows(&loaded), "step {step}");
        }
    }
    assert!(follower.revision() > Revision::new(300), "{}", follower.revision());
    assert!(follower.verified_domain_count() > 0);
}

/// Does something that may also be refused.
async fn some_change(unit: &mut Unit, random: &mut Random) {
    let tenant_id = TenantId::new(random.below(5));
    let domain = name(&format!("d{}.example", random.below(6)));
    let pool = PoolId::parse(&format!("pool_{}", random.below(3))).unwrap();
    let key = KeyId::new(u64::from(1 + random.below(40)));
    let done = match random.below(18) {
        0 | 1 => unit.create_tenant(NewTenant::default()).await.map(drop),
        2 => {
            let status = [AccountStatus::Active, AccountStatus::Suspended];
            let edit = TenantEdit {
                status: Some(status[random.below(2) as usize]),
                pool: Some((random.below(2) == 0).then_some(pool)),
                ..TenantEdit::default()
            };
            unit.edit_tenant(tenant_id, edit).await.map(drop)
        }
        3 => unit.create_pool(NewPool { id: pool, ..NewPool::named("x").unwrap() }).await.map(drop),
        4 => {
            let edit = PoolEdit { signing_domain: Some(Some(domain)), ..PoolEdit::default() };
            unit.edit_pool(&pool, edit).await.map(drop)
        }
        5 => unit.delete_pool(&pool).await,
        6..=8 => unit.create_domain(NewDomain::new(tenant_id, domain)).await.map(drop),
        9 => unit.delete_domain(tenant_id, &domain).await,
        10 => {
            let edit = DomainEdit { subdomains: Some(Subdomains::Sign), ..DomainEdit::default() };
            unit.edit_domain(tenant_id, &domain, edit).await.map(drop)
        }
        11 | 12 => {
            let status = match random.below(4) {
                0 => DkimStatus::Invalid,
                _ => DkimStatus::Valid,
            };
            unit.record_check(tenant_id, &domain, check(status)).await.map(drop)
        }
        13 | 14 => {
            let selector = format!("s{}", random.below(1_000_000));
            let key = new_key(tenant_id, domain.as_str(), &selector, &selector);
            match unit.add_key(key).await {
                Ok(key) => unit.promote_key(key.id).await.map(drop),
                Err(error) => Err(error),
            }
        }
        15 => unit.set_key_state(key, KeyState::Retiring).await.map(drop),
        16 => unit.withdraw_ownership(tenant_id, &domain).await.map(drop),
        _ => {
            let default_signing_domain = Some(Some(domain));
            let edit = PlatformEdit { default_signing_domain, ..PlatformEdit::default() };
            unit.edit_platform(edit).await.map(drop)
        }
    };
    match done {
        Ok(()) | Err(StoreError::Conflict(_) | StoreError::NotFound(_)) => {}
        Err(other) => panic!("{other}"),
    }
}

/// Numbers that look random and are the same every time (Knuth's constants for MMIX).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.0 >> 33).unwrap() % bound
    }
}

pub(crate) async fn a_follower_that_was_away_too_long_is_told(store: Store) {
    let mut unit = store.write(NOW).await.unwrap();
    for _ in 0..10 {
        tenant(&mut unit).await;
    }
    unit.commit().await.unwrap();
    let mut unit = store.write(NOW).await.unwrap();
    unit.forget_changes(Revision::new(6)).await.unwrap();
    unit.commit().await.unwrap();

    for (since, want) in [(10, Some(0)), (9, Some(1)), (6, Some(4)), (5, None), (0, None)] {
        let changes = store.changes_since(Revision::new(since)).await;
        match (changes, want) {
            (Ok(changes), Some(want)) => assert_eq!(changes.rows.len(), want, "{since}"),
            (Err(StoreError::Forgotten), None) => {}
            (other, _) => panic!("{since}: {other:?}"),
        }
    }
    let ahead = store.changes_since(Revision::new(11)).await;
    assert!(matches!(ahead, Err(StoreError::Rewound { newest: 10, asked: 11 })), "{ahead:?}");
}

pub(crate) async fn changes_come_in_pages(store: Store) {
    let before = loaded(&store).await;
    let count = MAX_CHANGES + 100;
    let mut unit = store.write(NOW).await.unwrap();
    for _ in 0..count {
        tenant(&mut unit).await;
    }
    unit.commit().await.unwrap();
    let first = store.changes_since(Revision::ZERO).await.unwrap();
    assert_eq!(first.rows.len() as u64, MAX_CHANGES);
    assert_eq!(first.until, Revision::new(MAX_CHANGES));
    let after = followed(&store, &before).await;
    assert_eq!(after.revision(), Revision::new(count));
    assert_eq!(after.tenant_count() as u64, count + 1);
}

pub(crate) async fn everything_is_loaded_across_pages(store: Store) {
    // More than a page of domains over several tenants, with a key here and there.
    const COUNT: usize = 4_500;
    let mut unit = store.write(NOW).await.unwrap();
    let owners = [TenantId::PRIMARY, tenant(&mut unit).await, tenant(&mut unit).await];
    let mut want = 0;
    for number in 0..COUNT {
        let domain = format!("d{number}.example");
        let owner = owners[number * owners.len() / COUNT];
        if number % 50 == 0 {
            signing_domain(&mut unit, owner, &domain).await;
            want += 1;
        } else {
            unit.create_domain(NewDomain::new(owner, name(&domain))).await.unwrap();
        }
    }
    // The keys of a domain that its tenant gave up do not come back.
    unit.delete_domain(owners[0], &name("d0.example")).await.unwrap();
    unit.commit().await.unwrap();

    let (_, all) = store.load_all().await.unwrap();
    let domains: Vec<_> = all
        .iter()
        .filter_map(|change| if let Change::Domain(row) = change { Some(row) } else { None })
        .collect();
    assert_eq!(domains.len(), COUNT - 1);
    let signing: Vec<_> =
        domains.iter().filter_map(|row| Some((row, row.signing_keys()?))).collect();
    assert_eq!(signing.len(), want - 1);
    for (row, keys) in signing {
        assert_eq!(keys.rsa().domain, *row.name());
        assert_eq!(keys.rsa().owner, row.owner());
    }
}

pub(crate) async fn revisions_have_no_gaps_under_many_writers(store: Store) {
    let write = |_| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut unit = store.write(NOW).await.unwrap();
            tenant(&mut unit).await;
            tenant(&mut unit).await;
            unit.commit().await.unwrap().unwrap()
        })
    };
    let tasks: Vec<_> = (0..40).map(write).collect();
    let mut revisions = Vec::new();
    for task in tasks {
        revisions.push(task.await.unwrap().get());
    }
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=40).map(|n| 2 * n).collect::<Vec<_>>());
    let changes = store.changes_since(Revision::ZERO).await.unwrap();
    let numbers: Vec<_> = changes.rows.iter().map(|(revision, _)| revision.get()).collect();
    assert_eq!(numbers, (1..=80).collect::<Vec<_>>());
}

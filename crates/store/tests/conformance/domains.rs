//! Who has a domain, and what the DNS said of it.

use postseal_engine::{Revision, Sharing, TenantId};
use postseal_store::{
    Conflict, DkimStatus, Domain, DomainCheck, DomainEdit, DomainFilter, NewDomain, Store,
    StoreError, Thing,
};

use crate::{NOW, check, conflict, loaded, missing, name, signing_domain, tenant};

pub(crate) async fn the_first_to_verify_a_domain_has_it(store: Store) {
    let mut unit = store.write(NOW).await.unwrap();
    let (a, b, c) = (tenant(&mut unit).await, tenant(&mut unit).await, tenant(&mut unit).await);
    let domain = name("mail.example.com");
    for owner in [a, b] {
        unit.create_domain(NewDomain::new(owner, domain.clone())).await.unwrap();
    }
    let again = unit.create_domain(NewDomain::new(a, domain.clone())).await;
    assert_eq!(conflict(again), Conflict::DomainExists);

    unit.verify_ownership(a, &domain).await.unwrap();
    unit.verify_ownership(a, &domain).await.unwrap();
    let late = unit.verify_ownership(b, &domain).await;
    assert_eq!(conflict(late), Conflict::DomainOwned { owner: a });
    let by_check = unit.record_check(b, &domain, check(DkimStatus::Valid)).await;
    assert_eq!(conflict(by_check), Conflict::DomainOwned { owner: a });
    let claim = unit.create_domain(NewDomain::new(c, domain.clone())).await;
    assert_eq!(conflict(claim), Conflict::DomainOwned { owner: a });
    let own = unit.create_domain(NewDomain::new(a, domain.clone())).await;
    assert_eq!(conflict(own), Conflict::DomainExists);

    // Parent, child and sibling are other domains.
    for (owner, other) in
        [(b, "example.com"), (c, "news.mail.example.com"), (b, "news.example.com")]
    {
        unit.create_domain(NewDomain::new(owner, name(other))).await.unwrap();
        unit.verify_ownership(owner, &name(other)).await.unwrap();
    }
    unit.commit().await.unwrap();
    let claims = store.claims(&domain).await.unwrap();
    let claims: Vec<_> = claims.iter().map(|claim| (claim.owner, claim.is_verified())).collect();
    assert_eq!(claims, [(a, true), (b, false)]);

    // Who gives it up leaves it to the next.
    let mut unit = store.write(NOW).await.unwrap();
    unit.withdraw_ownership(a, &domain).await.unwrap();
    unit.verify_ownership(b, &domain).await.unwrap();
    let former = unit.verify_ownership(a, &domain).await;
    assert_eq!(conflict(former), Conflict::DomainOwned { owner: b });
    unit.delete_domain(b, &domain).await.unwrap();
    unit.verify_ownership(a, &domain).await.unwrap();
    assert_eq!(missing(unit.verify_ownership(b, &domain).await), Thing::Domain);
    assert_eq!(missing(unit.delete_domain(c, &domain).await), Thing::Domain);
    unit.commit().await.unwrap();
}

pub(crate) async fn of_many_that_verify_at_once_one_succeeds(store: Store) {
    let domain = name("example.com");
    let mut unit = store.write(NOW).await.unwrap();
    let mut owners = Vec::new();
    for _ in 0..20 {
        let owner = tenant(&mut unit).await;
        unit.create_domain(NewDomain::new(owner, domain.clone())).await.unwrap();
        owners.push(owner);
    }
    unit.commit().await.unwrap();

    let verify = |owner| {
        let (store, domain) = (store.clone(), domain.clone());
        tokio::spawn(async move {
            let mut unit = store.write(NOW).await.unwrap();
            match unit.verify_ownership(owner, &domain).await {
                Ok(_) => {
                    unit.commit().await.unwrap();
                    Some(owner)
                }
                Err(StoreError::Conflict(Conflict::DomainOwned { .. })) => None,
                Err(other) => panic!("{other}"),
            }
        })
    };
    let tasks: Vec<_> = owners.into_iter().map(verify).collect();
    let mut winners = Vec::new();
    for task in tasks {
        winners.extend(task.await.unwrap());
    }
    assert_eq!(winners.len(), 1);
    let claims = store.claims(&domain).await.unwrap();
    let verified: Vec<_> =
        claims.into_iter().filter(Domain::is_verified).map(|claim| claim.owner).collect();
    assert_eq!(verified, winners);
}

pub(crate) async fn spellings_of_a_domain_are_one_domain(store: Store) {
    let mut unit = store.write(NOW).await.unwrap();
    let (a, b) = (tenant(&mut unit).await, tenant(&mut unit).await);
    for (first, spellings) in [
        ("example.com", ["EXAMPLE.com", "example.com.", "Example.COM."]),
        ("xn--bcher-kva.example", ["bücher.example", "BÜCHER.example", "XN--BCHER-KVA.example."]),
    ] {
        unit.create_domain(NewDomain::new(a, name(first))).await.unwrap();
        unit.verify_ownership(a, &name(first)).await.unwrap();
        for spelling in spellings {
            let claim = unit.create_domain(NewDomain::new(b, name(spelling))).await;
            assert_eq!(conflict(claim), Conflict::DomainOwned { owner: a }, "{spelling}");
        }
    }
}

pub(crate) async fn only_the_primary_account_shares_domains(store: Store) {
    let mut unit = store.write(NOW).await.unwrap();
    let owner = tenant(&mut unit).await;
    let shared = |owner| {
        let new = NewDomain::new(owner, name("a.example"));
        NewDomain { sharing: Sharing::WithSubaccounts, ..new }
    };
    assert_eq!(conflict(unit.create_domain(shared(owner)).await), Conflict::NotShareable);
    unit.create_domain(shared(TenantId::PRIMARY)).await.unwrap();
    unit.create_domain(NewDomain::new(owner, name("b.example"))).await.unwrap();
    let edit = DomainEdit { sharing: Some(Sharing::WithSubaccounts), ..DomainEdit::default() };
    let edited = unit.edit_domain(owner, &name("b.example"), edit).await;
    assert_eq!(conflict(edited), Conflict::NotShareable);
}

pub(crate) async fn a_check_that_changes_no_status_wakes_nobody(store: Store) {
    let mut unit = store.write(NOW).await.unwrap();
    signing_domain(&mut unit, TenantId::PRIMARY, "a.example").await;
    let revision = unit.commit().await.unwrap().unwrap();

    let later = NOW.plus_secs(100);
    let mut unit = store.write(later).await.unwrap();
    let suspect = DomainCheck {
        seen: false,
        suspect_since: Some(later),
        error: Some("a server does not answer".to_owned()),
        ..check(DkimStatus::Valid)
    };
    let domain = name("a.example");
    unit.record_check(TenantId::PRIMARY, &domain, suspect).await.unwrap();
    let mut attributes = serde_json::Map::new();
    attributes.insert("tracking_domain".to_owned(), "click.example".into());
    let edit = DomainEdit { attributes: Some(attributes.clone()), ..DomainEdit::default() };
    unit.edit_domain(TenantId::PRIMARY, &domain, edit).await.unwrap();
    assert_eq!(unit.commit().await.unwrap(), None);
    assert_eq!(store.revision().await.unwrap(), revision);

    let read = store.domain(TenantId::PRIMARY, &domain).await.unwrap().unwrap();
    assert_eq!(read.last_check, Some(later));
    assert_eq!(read.last_good_check, Some(NOW));
    assert_eq!(read.suspect_since, Some(later));
    assert_eq!(read.check_error.as_deref(), Some("a server does not answer"));
    assert_eq!(read.attributes, attributes);

    let mut unit = store.write(later).await.unwrap();
    unit.record_check(TenantId::PRIMARY, &domain, check(DkimStatus::Invalid)).await.unwrap();
    assert_eq!(unit.commit().await.unwrap(), Some(Revision::new(revision.get() + 1)));
    let snapshot = loaded(&store).await;
    let row = snapshot.sending_domain(TenantId::PRIMARY, &domain).unwrap();
    assert!(row.is_verified() && row.signing_keys().is_none());
}

pub(crate) async fn a_valid_check_verifies_the_owner(store: Store) {
    let mut unit = store.write(NOW).await.unwrap();
    let owner = tenant(&mut unit).await;
    let key = signing_domain(&mut unit, owner, "a.example").await;
    unit.create_domain(NewDomain::new(owner, name("b.example"))).await.unwrap();
    unit.record_check(owner, &name("b.example"), check(DkimStatus::Valid)).await.unwrap();
    unit.commit().await.unwrap();

    let snapshot = loaded(&store).await;
    let row = snapshot.sending_domain(owner, &name("a.example")).unwrap();
    assert_eq!(**row.signing_keys().unwrap().rsa(), key.entry().unwrap());
    // A valid status without a key that signs gives nothing to sign with.
    let row = snapshot.sending_domain(owner, &name("b.example")).unwrap();
    assert!(row.is_verified() && row.signing_keys().is_none());
}

pub(crate) async fn due_checks_come_in_order(store: Store) {
    let mut unit = store.write(NOW).await.unwrap();
    for (domain, wait) in [("a.example", 30), ("b.example", 10), ("c.example", 20)] {
        unit.create_domain(NewDomain::new(TenantId::PRIMARY, name(domain))).await.unwrap();
        let next_check = NOW.plus_secs(wait);
        let check = DomainCheck { next_check, ..check(DkimStatus::Pending) };
        unit.record_check(TenantId::PRIMARY, &name(domain), check).await.unwrap();
    }
    unit.create_domain(NewDomain::new(TenantId::PRIMARY, name("new.example"))).await.unwrap();
    unit.commit().await.unwrap();
    for (secs, at_most, want) in [
        (0, 10, vec!["new.example"]),
        (20, 10, vec!["new.example", "b.example", "c.example"]),
        (99, 2, vec!["new.example", "b.example"]),
    ] {
        let due = store.domains_due(NOW.plus_secs(secs), at_most).await.unwrap();
        let due: Vec<_> = due.iter().map(|domain| domain.name.as_str()).collect();
        assert_eq!(due, want, "{secs} {at_most}");
    }
}

pub(crate) async fn domains_are_found_by_what_is_known_of_them(store: Store) {
    let mut unit = store.write(NOW).await.unwrap();
    let owner = tenant(&mut unit).await;
    signing_domain(&mut unit, owner, "valid.example").await;
    unit.create_domain(NewDomain::new(owner, name("claimed.example"))).await.unwrap();
    unit.create_domain(NewDomain::new(TenantId::PRIMARY, name("shown.example"))).await.unwrap();
    unit.verify_ownership(TenantId::PRIMARY, &name("shown.example")).await.unwrap();
    unit.commit().await.unwrap();

    let all = DomainFilter::default;
    let cases = [
        (all(), vec!["shown.example", "claimed.example", "valid.example"]),
        (DomainFilter { owner: Some(owner), ..all() }, vec!["claimed.example", "valid.example"]),
        (DomainFilter { verified: Some(true), ..all() }, vec!["shown.example", "valid.example"]),
        (DomainFilter { verified: Some(false), ..all() }, vec!["claimed.example"]),
        (
            DomainFilter { dkim_status: Some(DkimStatus::Unverified), ..all() },
            vec!["shown.example", "claimed.example"],
        ),
        (
            DomainFilter {
                owner: Some(TenantId::PRIMARY),
                verified: Some(true),
                dkim_status: Some(DkimStatus::Valid),
            },
            vec![],
        ),
    ];
    for (filter, want) in cases {
        let found = store.domains(&filter).await.unwrap();
        let found: Vec<_> = found.iter().map(|domain| domain.name.as_str()).collect();
        assert_eq!(found, want, "{filter:?}");
    }
}

//! Keys, their selectors, and which of them sign.

use postseal_dkim::Algorithm;
use postseal_engine::{KeyId, Snapshot, TenantId};
use postseal_store::{Conflict, KeyState, NewDomain, NewKey, Store, Thing};

use crate::{NOW, conflict, followed, loaded, missing, name, new_key, signing_domain, tenant};

pub(crate) async fn a_selector_is_never_used_for_another_key(store: Store) {
    let domain = name("a.example");
    let mut unit = store.write(NOW).await.unwrap();
    let (a, b) = (tenant(&mut unit).await, tenant(&mut unit).await);
    for owner in [a, b] {
        unit.create_domain(NewDomain::new(owner, domain.clone())).await.unwrap();
    }
    let nowhere = unit.add_key(new_key(a, "b.example", "s1", "one")).await;
    assert_eq!(missing(nowhere), Thing::Domain);
    let key = unit.add_key(new_key(a, "a.example", "s1", "one")).await.unwrap();
    let other = unit.add_key(new_key(a, "a.example", "S1", "two")).await;
    assert_eq!(conflict(other), Conflict::SelectorUsed);
    let same = unit.add_key(new_key(a, "a.example", "s1", "one")).await;
    assert_eq!(conflict(same), Conflict::KeyExists);

    // A key that nobody has seen, under a mere claim, keeps no selector from others.
    let squatter = unit.add_key(new_key(b, "a.example", "s2", "two")).await.unwrap();
    unit.add_key(new_key(a, "a.example", "s2", "three")).await.unwrap();
    unit.destroy_key(squatter.id).await.unwrap();

    // Destroyed, and the domain given up: the selector stays taken for whoever comes next, but not for
    // the key itself.
    unit.record_key_seen(key.id).await.unwrap();
    for owner in [a, b] {
        unit.delete_domain(owner, &domain).await.unwrap();
        unit.create_domain(NewDomain::new(owner, domain.clone())).await.unwrap();
    }
    for owner in [a, b] {
        let other = unit.add_key(new_key(owner, "a.example", "s1", "four")).await;
        assert_eq!(conflict(other), Conflict::SelectorUsed, "{owner}");
    }
    let own = unit.add_key(new_key(b, "a.example", "s2", "five")).await;
    assert_eq!(conflict(own), Conflict::SelectorUsed, "a tombstone of the tenant itself");
    let back = unit.add_key(new_key(a, "a.example", "s1", "one")).await.unwrap();
    assert_ne!(back.id, key.id);

    let labelled = |selector: &str| NewKey {
        label: Some("extra".to_owned()),
        ..new_key(a, "a.example", selector, selector)
    };
    unit.add_key(labelled("s4")).await.unwrap();
    assert_eq!(conflict(unit.add_key(labelled("s5")).await), Conflict::KeyLabelExists);
    unit.commit().await.unwrap();
    let keys = store.keys(a, &domain).await.unwrap();
    let selectors: Vec<_> = keys.iter().map(|key| key.selector.as_str()).collect();
    assert_eq!(selectors, ["s1", "s4"]);
    let buried = store.key(key.id).await.unwrap().unwrap();
    assert_eq!((buried.sealed, buried.state), (None, KeyState::Removed));
    assert_eq!(buried.first_seen, Some(NOW));
}

pub(crate) async fn of_several_keys_with_one_selector_only_the_first_seen_signs(store: Store) {
    let domain = name("a.example");
    let mut unit = store.write(NOW).await.unwrap();
    let (a, b, c) = (tenant(&mut unit).await, tenant(&mut unit).await, tenant(&mut unit).await);
    for owner in [a, b, c] {
        unit.create_domain(NewDomain::new(owner, domain.clone())).await.unwrap();
    }
    let first = unit.add_key(new_key(a, "a.example", "s1", "one")).await.unwrap();
    let second = unit.add_key(new_key(b, "a.example", "s1", "two")).await.unwrap();
    let same = unit.add_key(new_key(c, "a.example", "s1", "one")).await.unwrap();
    unit.record_key_seen(first.id).await.unwrap();
    unit.promote_key(first.id).await.unwrap();
    unit.record_key_seen(first.id).await.unwrap();
    assert_eq!(conflict(unit.record_key_seen(second.id).await), Conflict::SelectorUsed);
    assert_eq!(conflict(unit.promote_key(second.id).await), Conflict::SelectorUsed);

    // Also when who had it has given the domain up.
    unit.delete_domain(a, &domain).await.unwrap();
    assert_eq!(conflict(unit.record_key_seen(second.id).await), Conflict::SelectorUsed);
    assert_eq!(conflict(unit.promote_key(second.id).await), Conflict::SelectorUsed);
    unit.record_key_seen(same.id).await.unwrap();
    unit.promote_key(same.id).await.unwrap();
    unit.commit().await.unwrap();
    let second = store.key(second.id).await.unwrap().unwrap();
    assert_eq!((second.state, second.first_seen), (KeyState::Created, None));
}

pub(crate) async fn a_promoted_key_takes_the_place_of_the_former(store: Store) {
    let domain = name("a.example");
    let mut unit = store.write(NOW).await.unwrap();
    let first = signing_domain(&mut unit, TenantId::PRIMARY, "a.example").await;
    let second = unit.add_key(new_key(TenantId::PRIMARY, "a.example", "s2", "two")).await.unwrap();
    let ed25519 = NewKey {
        algorithm: Algorithm::Ed25519Sha256,
        ..new_key(TenantId::PRIMARY, "a.example", "e1", "three")
    };
    let ed25519 = unit.add_key(ed25519).await.unwrap();
    unit.commit().await.unwrap();
    let before = loaded(&store).await;
    let keys = |snapshot: &Snapshot| {
        let row = snapshot.sending_domain(TenantId::PRIMARY, &domain).unwrap();
        let keys = row.signing_keys().unwrap();
        (keys.rsa().id, keys.ed25519().map(|key| key.id))
    };
    assert_eq!(keys(&before), (first.id, None));

    let mut unit = store.write(NOW.plus_secs(9)).await.unwrap();
    unit.promote_key(second.id).await.unwrap();
    unit.set_key_state(ed25519.id, KeyState::Signing).await.unwrap();
    unit.commit().await.unwrap();
    assert_eq!(keys(&followed(&store, &before).await), (second.id, Some(ed25519.id)));
    assert_eq!(keys(&loaded(&store).await), (second.id, Some(ed25519.id)));
    let first = store.key(first.id).await.unwrap().unwrap();
    assert_eq!((first.state, first.updated_at), (KeyState::Retiring, NOW.plus_secs(9)));

    let mut unit = store.write(NOW).await.unwrap();
    unit.destroy_key(first.id).await.unwrap();
    assert_eq!(conflict(unit.promote_key(first.id).await), Conflict::KeyDestroyed);
    assert_eq!(missing(unit.promote_key(KeyId::new(99)).await), Thing::SigningKey);
    unit.commit().await.unwrap();
    assert_eq!(store.keys(TenantId::PRIMARY, &domain).await.unwrap().len(), 2);
}

pub(crate) async fn a_signing_key_is_not_destroyed(store: Store) {
    let mut unit = store.write(NOW).await.unwrap();
    let key = signing_domain(&mut unit, TenantId::PRIMARY, "a.example").await;
    assert_eq!(conflict(unit.destroy_key(key.id).await), Conflict::KeySigns);
    unit.set_key_state(key.id, KeyState::Revoked).await.unwrap();
    unit.destroy_key(key.id).await.unwrap();
    unit.commit().await.unwrap();
    let snapshot = loaded(&store).await;
    let row = snapshot.sending_domain(TenantId::PRIMARY, &name("a.example")).unwrap();
    assert!(row.signing_keys().is_none());
}

//! What a snapshot is after changes, and what it refuses.

use std::collections::BTreeSet;

use postseal_dkim::{Algorithm, Selector};

use super::*;
use crate::api_key::Grants;
use crate::id::KeyId;
use crate::key::{KeyEntry, SealedKey, SigningKeys};
use crate::row::Sharing;

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn claimed(owner: u32, domain: &str) -> DomainRow {
    DomainRow::claimed(TenantId::new(owner), name(domain))
}

fn signing(owner: u32, domain: &str) -> DomainRow {
    let key = KeyEntry {
        id: KeyId::new(1),
        owner: TenantId::new(owner),
        domain: name(domain),
        selector: Selector::parse("s1").unwrap(),
        algorithm: Algorithm::RsaSha256,
        sealed: SealedKey::new(*b"sealed"),
    };
    claimed(owner, domain).signing(SigningKeys::new(Arc::new(key)).unwrap()).unwrap()
}

fn load(rows: impl IntoIterator<Item = Change>) -> Snapshot {
    Snapshot::load(Revision::new(1), rows)
}

fn owner(snapshot: &Snapshot, domain: &str) -> Option<u32> {
    snapshot.verified_domain(domain).map(|row| row.owner().get())
}

#[test]
fn revisions_only_grow() {
    let at = |revision: u64| (Revision::new(revision), Change::Platform(PlatformRow::default()));
    let snapshot = Snapshot::empty().apply([at(3), at(3), at(7)]).unwrap();
    assert_eq!(snapshot.revision(), Revision::new(7));

    let refused =
        |had: u64, got: u64| ApplyError { at: Revision::new(had), change: Revision::new(got) };
    assert_eq!(snapshot.apply([at(7)]).unwrap_err(), refused(7, 7));
    assert_eq!(snapshot.apply([at(6)]).unwrap_err(), refused(7, 6));
    assert_eq!(snapshot.apply([at(9), at(8)]).unwrap_err(), refused(9, 8));
    assert_eq!(snapshot.apply([]).unwrap().revision(), Revision::new(7));
}

#[test]
fn a_refused_change_leaves_nothing_behind() {
    let before = load([Change::Domain(signing(1, "a.example"))]);
    let gone = Change::DomainRemoved { owner: TenantId::new(1), name: name("a.example") };
    let old = (Revision::new(1), Change::Platform(PlatformRow::default()));
    assert!(before.apply([(Revision::new(2), gone.clone()), old]).is_err());
    assert_eq!(owner(&before, "a.example"), Some(1));

    let after = before.apply([(Revision::new(2), gone)]).unwrap();
    assert_eq!(owner(&after, "a.example"), None);
    assert_eq!(owner(&before, "a.example"), Some(1), "a snapshot never changes");
}

#[test]
fn claims_exclude_nobody_and_the_verified_owner_is_one() {
    let a = "a.example";
    let remove = |owner: u32| Change::DomainRemoved { owner: TenantId::new(owner), name: name(a) };
    let verified = |owner: u32| Change::Domain(claimed(owner, a).verified());
    let claim = |owner: u32| Change::Domain(claimed(owner, a));
    let cases: Vec<(Vec<Change>, Option<u32>)> = vec![
        (vec![claim(1), claim(2)], None),
        (vec![claim(1), claim(2), verified(2)], Some(2)),
        (vec![verified(2), claim(1)], Some(2)),
        (vec![verified(2), claim(1), remove(1)], Some(2)),
        (vec![verified(2), remove(2)], None),
        // A domain that lost its verification is a claim again.
        (vec![verified(2), claim(2)], None),
        // Handed over: in whichever order the two changes come.
        (vec![verified(1), verified(2), remove(1)], Some(2)),
        (vec![verified(1), remove(1), verified(2)], Some(2)),
        (vec![verified(1), verified(2), claim(1)], Some(2)),
        (vec![remove(5)], None),
    ];
    for (changes, want) in cases {
        assert_eq!(owner(&load(changes.clone()), a), want, "{changes:?}");
    }

    let snapshot = load([claim(1), verified(2)]);
    let own = |tenant: u32| {
        snapshot.sending_domain(TenantId::new(tenant), &name(a)).map(|row| row.is_verified())
    };
    assert_eq!((own(1), own(2), own(3)), (Some(false), Some(true), None));
}

#[test]
fn shared_domains_are_found_by_every_subaccount() {
    let row = claimed(0, "a.example").verified().shared(Sharing::WithSubaccounts);
    let snapshot = load([Change::Domain(row)]);
    assert!(snapshot.sending_domain(TenantId::new(9), &name("a.example")).is_some());
    assert!(snapshot.sending_domain(TenantId::new(9), &name("x.a.example")).is_none());
}

#[test]
fn the_default_pool_and_the_built_in_providers_always_exist() {
    let yahoo = Provider::yahoo();
    let mut own = PoolRow::new(PoolId::default_pool());
    own.signing_domain = Some(name("pool.example"));
    let mut disabled = Provider::new(yahoo.name.clone());
    disabled.mx_suffixes.clear();

    let changed = load([Change::Pool(own), Change::Provider(disabled.clone())]);
    let pool = |snapshot: &Snapshot| {
        snapshot.pool(&PoolId::parse("DEFAULT").unwrap()).unwrap().signing_domain.clone()
    };
    assert_eq!(pool(&changed), Some(name("pool.example")));
    assert_eq!(changed.providers().collect::<Vec<_>>(), [&disabled]);

    let removed = changed
        .apply([
            (Revision::new(2), Change::PoolRemoved(PoolId::default_pool())),
            (Revision::new(2), Change::ProviderRemoved(yahoo.name.clone())),
        ])
        .unwrap();
    assert_eq!(pool(&removed), None);
    assert_eq!(removed.providers().collect::<Vec<_>>(), [&yahoo]);
}

#[test]
fn rows_lead_to_the_same_snapshot() {
    let pool = PoolId::parse("bulk").unwrap();
    let key = ApiKeyRow {
        hash: ApiKeyHash([7; 32]),
        tenant: TenantId::new(1),
        grants: Grants::all(),
        expires_at: None,
        valid_ips: Arc::default(),
    };
    let snapshot = load([
        Change::Tenant(TenantRow::new(TenantId::new(1))),
        Change::Pool(PoolRow::new(pool)),
        Change::ApiKey(key),
        Change::Domain(signing(1, "a.example")),
        Change::Domain(claimed(2, "a.example")),
        Change::Domain(claimed(2, "b.example").verified()),
        Change::Platform(PlatformRow {
            default_signing_domain: Some(name("p.example")),
            ..PlatformRow::default()
        }),
    ]);
    let texts = |snapshot: &Snapshot| -> BTreeSet<String> {
        snapshot.rows().map(|row| format!("{row:?}")).collect()
    };
    let again = Snapshot::load(snapshot.revision(), snapshot.rows());
    assert_eq!(texts(&again), texts(&snapshot));
    assert_eq!(snapshot.rows().count(), 9, "with the pool `default` and Yahoo");
}

#[test]
fn api_keys_are_taken_for_what_when_and_where_they_are_good() {
    let key = |byte: u8, expires_at: Option<u64>, ips: &[&str]| {
        Change::ApiKey(ApiKeyRow {
            hash: ApiKeyHash([byte; 32]),
            tenant: TenantId::new(u32::from(byte)),
            grants: [Grant::SmtpInject].into_iter().collect(),
            expires_at: expires_at.map(UnixTime),
            valid_ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
        })
    };
    let snapshot = load([key(1, None, &[]), key(2, Some(100), &["192.0.2.0/24", "2001:db8::1"])]);
    let cases = [
        (1, Grant::SmtpInject, "203.0.113.1", 1_000, Ok(TenantId::new(1))),
        (1, Grant::IpPoolsManage, "203.0.113.1", 1_000, Err(KeyRefused::Grant)),
        (2, Grant::SmtpInject, "192.0.2.9", 99, Ok(TenantId::new(2))),
        (2, Grant::SmtpInject, "2001:db8::1", 99, Ok(TenantId::new(2))),
        (2, Grant::SmtpInject, "192.0.2.9", 100, Err(KeyRefused::Expired)),
        (2, Grant::SmtpInject, "203.0.113.1", 99, Err(KeyRefused::Address)),
        (3, Grant::SmtpInject, "192.0.2.9", 99, Err(KeyRefused::Unknown)),
    ];
    for (byte, grant, from, now, want) in cases {
        let hash = ApiKeyHash([byte; 32]);
        let got = snapshot.authorize(&hash, grant, from.parse().unwrap(), UnixTime(now));
        assert_eq!(got, want, "{byte} {grant} {from} {now}");
    }
}

#[test]
fn a_load_that_lost_a_fifth_without_reason_is_suspicious() {
    let domains = |range: std::ops::Range<usize>| -> Vec<Change> {
        range.map(|number| Change::Domain(signing(1, &format!("d{number}.example")))).collect()
    };
    let at = |revision: u64, rows: Vec<Change>| Snapshot::load(Revision::new(revision), rows);
    let had = at(5, domains(0..100));
    // Domains that no longer sign are as good as gone, and new ones do not make up for them.
    let mut unsigned = domains(10..100);
    unsigned
        .extend((0..10).map(|n| Change::Domain(claimed(1, &format!("d{n}.example")).verified())));
    let cases = [
        (at(5, domains(0..100)), 0, Ok(())),
        (at(6, domains(19..100)), 0, Ok(())),
        (at(6, domains(20..100)), 0, Err(SuspiciousLoad::Loss { had: 100, unexplained: 20 })),
        (at(6, domains(20..200)), 0, Err(SuspiciousLoad::Loss { had: 100, unexplained: 20 })),
        (at(6, domains(20..100)), 1, Ok(())),
        (at(6, Vec::new()), 80, Err(SuspiciousLoad::Loss { had: 100, unexplained: 20 })),
        (at(6, Vec::new()), 100, Ok(())),
        (at(6, unsigned), 0, Ok(())),
        (
            at(4, domains(0..100)),
            0,
            Err(SuspiciousLoad::Older { had: Revision::new(5), got: Revision::new(4) }),
        ),
    ];
    for (next, explained, want) in cases {
        assert_eq!(had.check_successor(&next, explained), want, "{explained}");
    }
    let few = at(5, domains(0..99));
    assert_eq!(few.check_successor(&at(6, Vec::new()), 0), Ok(()));
}

#[test]
fn the_platforms_policy_has_the_configuration_under_it() {
    let json = |text: &str| serde_json::from_str::<PolicyLayer>(text).unwrap();
    let platform =
        PlatformRow { policy: json(r#"{"on_unsigned":"reject"}"#), ..Default::default() };
    let snapshot = load([Change::Platform(platform)])
        .with_base_policy(json(r#"{"on_unsigned":"tempfail","on_bad_from":"pool"}"#));
    let policy = snapshot.policy(None, None);
    assert_eq!(policy.on_unsigned, crate::policy::OnUnsigned::Reject);
    assert_eq!(policy.on_bad_from, crate::policy::OnBadFrom::Pool);
}

//! Every row of the rule, and every point below it. Long, since each point has its own table.

use postseal_dkim::{Algorithm, Selector};

use super::*;
use crate::control::ControlField;
use crate::id::{KeyId, Revision};
use crate::key::SealedKey;
use crate::policy::PolicyLayer;
use crate::provider::{Provider, ProviderName};
use crate::row::{Change, PlatformRow, PoolGrants, Sharing, TenantRow};

const NOW: UnixTime = UnixTime(1_800_000_000);

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn pool_id(text: &str) -> PoolId {
    PoolId::parse(text).unwrap()
}

fn key(owner: u32, domain: &str, algorithm: Algorithm) -> Arc<KeyEntry> {
    Arc::new(KeyEntry {
        id: KeyId::new(1),
        owner: TenantId::new(owner),
        domain: name(domain),
        selector: Selector::parse("s1").unwrap(),
        algorithm,
        sealed: SealedKey::new(*b"sealed"),
    })
}

fn claimed(owner: u32, domain: &str) -> DomainRow {
    DomainRow::claimed(TenantId::new(owner), name(domain))
}

/// A domain with a valid DKIM status.
fn signing(owner: u32, domain: &str) -> DomainRow {
    let keys = SigningKeys::new(key(owner, domain, Algorithm::RsaSha256)).unwrap();
    let keys = keys.with_ed25519(key(owner, domain, Algorithm::Ed25519Sha256)).unwrap();
    claimed(owner, domain).signing(keys).unwrap()
}

fn pool(id: &str, signing_domain: &str, fbl_signing_domain: &str, grants: PoolGrants) -> Change {
    let set = |text: &str| (!text.is_empty()).then(|| name(text));
    let mut row = PoolRow::new(pool_id(id));
    row.signing_domain = set(signing_domain);
    row.fbl_signing_domain = set(fbl_signing_domain);
    row.grants = grants;
    Change::Pool(row)
}

fn only(tenants: &[u32]) -> PoolGrants {
    PoolGrants::only(tenants.iter().copied().map(TenantId::new))
}

fn tenant(id: u32, assigned_pool: Option<&str>) -> TenantRow {
    let mut row = TenantRow::new(TenantId::new(id));
    row.assigned_pool = assigned_pool.map(pool_id);
    row
}

fn platform(signing_domain: &str, fbl_signing_domain: &str) -> PlatformRow {
    let set = |text: &str| (!text.is_empty()).then(|| name(text));
    PlatformRow {
        default_signing_domain: set(signing_domain),
        fbl_signing_domain: set(fbl_signing_domain),
        policy: PolicyLayer::default(),
    }
}

fn policy(json: &str) -> PolicyLayer {
    serde_json::from_str(json).unwrap()
}

/// Tenants 1 and 2 send from any pool, 3 has the pool `own` for itself, 4 is suspended.
fn world(changes: impl IntoIterator<Item = Change>) -> Snapshot {
    let mut suspended = tenant(4, None);
    suspended.status = TenantStatus::Suspended;
    let rows = [
        Change::Tenant(tenant(1, None)),
        Change::Tenant(tenant(2, None)),
        Change::Tenant(tenant(3, Some("own"))),
        Change::Tenant(suspended),
        Change::Domain(signing(1, "one.example")),
        Change::Domain(claimed(1, "pending.example").verified()),
        Change::Domain(claimed(1, "claimed.example")),
        Change::Domain(claimed(2, "claimed.example")),
        Change::Domain(signing(2, "two.example")),
        Change::Domain(claimed(2, "pendingtwo.example").verified()),
        Change::Domain(signing(3, "three.example")),
        Change::Domain(signing(1, "up.example").with_subdomains(Subdomains::Sign)),
        Change::Domain(signing(2, "two.up.example").with_subdomains(Subdomains::Sign)),
        Change::Domain(claimed(1, "half.up.example").verified()),
        Change::Domain(signing(0, "private.example")),
        Change::Domain(
            signing(0, "shared.example")
                .shared(Sharing::WithSubaccounts)
                .with_subdomains(Subdomains::Sign),
        ),
        Change::Domain(signing(0, "pool.example")),
        Change::Domain(signing(0, "loop.example")),
        Change::Domain(signing(0, "platform.example")),
        Change::Domain(signing(0, "platformloop.example")),
        Change::Domain(claimed(0, "dead.example").verified()),
        Change::Domain(signing(0, "xn--bcher-kva.example").shared(Sharing::WithSubaccounts)),
        pool("default", "", "", PoolGrants::Everyone),
        pool("bulk", "pool.example", "loop.example", PoolGrants::Everyone),
        pool("dead", "dead.example", "dead.example", PoolGrants::Everyone),
        pool("own", "three.example", "three.example", only(&[3])),
        pool("taken", "two.example", "two.example", PoolGrants::Everyone),
        pool("closed", "pool.example", "", only(&[2])),
        pool("twos", "two.example", "two.example", only(&[1, 2])),
        Change::Platform(platform("platform.example", "platformloop.example")),
    ];
    Snapshot::load(Revision::new(1), rows.into_iter().chain(changes))
}

fn shown(decision: &Decision) -> String {
    let verdict = match &decision.verdict {
        Verdict::Sign(signatures) => {
            let signatures: Vec<_> = signatures
                .iter()
                .map(|signature| format!("{}:{}", signature.purpose, signature.signing_domain()))
                .collect();
            format!("signs {}", signatures.join(" "))
        }
        Verdict::PassUnsigned => "passes".to_owned(),
        Verdict::Refuse(refusal) | Verdict::Tempfail(refusal) => refusal.to_string(),
    };
    format!("{}, {verdict}", decision.row)
}

/// A message by a tenant with these fields, to `recipients` of whose MX nothing is known.
fn decide(snapshot: &Snapshot, tenant: Option<u32>, fields: &str, recipients: &[&str]) -> Decision {
    let header = Header::parse(fields.as_bytes()).unwrap();
    let domains: Vec<_> = recipients.iter().map(|recipient| name(recipient)).collect();
    let recipients: Vec<_> = domains.iter().map(|domain| Recipient { domain, mx: None }).collect();
    let facts = Facts {
        tenant: tenant.map(TenantId::new),
        header: &header,
        connection_pool: None,
        header_pool: HeaderPool::Obeyed,
        recipients: &recipients,
    };
    plan(&facts, snapshot, NOW)
}

fn check(snapshot: &Snapshot, cases: &[(u32, &str, &[&str], &str)]) {
    let mut wrong = Vec::new();
    for (tenant, fields, recipients, want) in cases {
        let got = shown(&decide(snapshot, Some(*tenant), fields, recipients));
        if got != *want {
            wrong.push(format!("{tenant} {fields:?} {recipients:?}\n  got  {got}\n  want {want}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn row_0_passes_unchecked_unless_the_platform_says_otherwise() {
    let fields = "X-Postseal-Pool: nowhere\r\nX-MSYS-API: {\r\nFrom: a@two.example\r\nFrom: b\r\n";
    let cases = [
        ("{}", "no_tenant, passes"),
        (
            r#"{"on_no_tenant":"tempfail"}"#,
            "no_tenant, 451 4.7.1 nothing says which account this mail is from",
        ),
        (
            r#"{"on_no_tenant":"reject"}"#,
            "no_tenant, 550 5.7.1 nothing says which account this mail is from",
        ),
    ];
    for (json, want) in cases {
        let row = PlatformRow { policy: policy(json), ..platform("platform.example", "") };
        let decision = decide(&world([Change::Platform(row)]), None, fields, &["yahoo.com"]);
        assert_eq!(shown(&decision), want);
        assert_eq!(decision.remove.len(), 2, "control fields are always taken out");
        assert_eq!(decision.counters, [Counter::NoTenant, Counter::ControlIgnored]);
        assert_eq!((decision.tenant, decision.pool, decision.author), (None, None, None));
    }
}

#[test]
fn row_1_is_for_domains_of_the_tenant_whatever_the_pool() {
    check(
        &world([]),
        &[
            (1, "From: a@one.example\r\n", &[], "author, signs author:one.example"),
            (1, "From: Jane <a@ONE.Example>\r\n", &[], "author, signs author:one.example"),
            (
                1,
                "From: a@one.example\r\nX-Postseal-Pool: bulk\r\n",
                &[],
                "author, signs author:one.example",
            ),
            (
                1,
                "From: a@one.example\r\nX-Postseal-Pool: taken\r\n",
                &[],
                "author, signs author:one.example",
            ),
            (1, "From: a@one.example, b@One.example\r\n", &[], "author, signs author:one.example"),
            (2, "From: a@two.example\r\n", &[], "author, signs author:two.example"),
            (0, "From: a@private.example\r\n", &[], "author, signs author:private.example"),
            (0, "From: a@shared.example\r\n", &[], "author, signs author:shared.example"),
            (1, "From: a@shared.example\r\n", &[], "author, signs author:shared.example"),
            (2, "From: a@shared.example\r\n", &[], "author, signs author:shared.example"),
            (1, "From: a@bücher.example\r\n", &[], "author, signs author:xn--bcher-kva.example"),
            (
                1,
                "From: a@XN--bcher-kva.example\r\n",
                &[],
                "author, signs author:xn--bcher-kva.example",
            ),
        ],
    );
}

#[test]
fn row_1_is_exact_unless_a_parent_says_so() {
    check(
        &world([]),
        &[
            (1, "From: a@sub.one.example\r\n", &[], "platform, signs platform:platform.example"),
            (1, "From: a@example\r\n", &[], "platform, signs platform:platform.example"),
            (1, "From: a@notone.example\r\n", &[], "platform, signs platform:platform.example"),
            (1, "From: a@up.example\r\n", &[], "author, signs author:up.example"),
            (1, "From: a@x.up.example\r\n", &[], "author, signs author:up.example"),
            (1, "From: a@y.x.up.example\r\n", &[], "author, signs author:up.example"),
            // Verified, and without a valid DKIM status of its own.
            (1, "From: a@half.up.example\r\n", &[], "author, signs author:up.example"),
            (1, "From: a@x.half.up.example\r\n", &[], "author, signs author:up.example"),
            // Below a domain that somebody else has verified.
            (1, "From: a@x.two.up.example\r\n", &[], "platform, signs platform:platform.example"),
            (2, "From: a@x.two.up.example\r\n", &[], "author, signs author:two.up.example"),
            // Somebody else's parent covers nothing.
            (2, "From: a@x.up.example\r\n", &[], "platform, signs platform:platform.example"),
            (1, "From: a@x.shared.example\r\n", &[], "author, signs author:shared.example"),
        ],
    );
}

#[test]
fn rows_2_3_and_4_follow_when_the_author_does_not_sign() {
    let bulk = "X-Postseal-Pool: bulk\r\n";
    for from in ["pending.example", "claimed.example", "nobody.example", "sub.one.example"] {
        let fields = format!("From: a@{from}\r\n");
        check(
            &world([]),
            &[
                (1, &format!("{bulk}{fields}"), &[], "pool, signs pool:pool.example"),
                (1, &fields, &[], "platform, signs platform:platform.example"),
                // The pool's domain has lost its status.
                (
                    1,
                    &format!("X-Postseal-Pool: dead\r\n{fields}"),
                    &[],
                    "platform, signs platform:platform.example",
                ),
            ],
        );
        let bare = || Change::Platform(platform("", ""));
        check(&world([bare()]), &[(1, &fields, &[], "unsigned, passes")]);
        for (json, want) in [
            (r#"{"on_unsigned":"tempfail"}"#, "unsigned, 451 4.7.1"),
            (r#"{"on_unsigned":"reject"}"#, "unsigned, 550 5.7.1"),
        ] {
            let mut row = tenant(1, None);
            row.policy = policy(json);
            let decision = decide(&world([bare(), Change::Tenant(row)]), Some(1), &fields, &[]);
            let want = format!("{want} Unconfigured Sending Domain <{from}>");
            assert_eq!(shown(&decision), want);
            assert_eq!(decision.counters, [Counter::Unsigned]);
        }
    }
    let dead = Change::Platform(platform("dead.example", ""));
    let decision = decide(&world([dead]), Some(1), "From: a@x.example\r\n", &[]);
    assert_eq!(shown(&decision), "unsigned, passes");
    assert_eq!(decision.counters, [Counter::PlatformDomainUnusable, Counter::Unsigned]);
}

#[test]
fn the_domains_of_pool_and_platform_are_the_primary_accounts_or_the_senders_alone() {
    let fields = |pool: &str| format!("X-Postseal-Pool: {pool}\r\nFrom: a@nobody.example\r\n");
    let platform_signs = "platform, signs platform:platform.example";
    check(
        &world([]),
        &[
            // The domain of tenant 3, to whom alone the pool is granted.
            (3, "From: a@nobody.example\r\n", &[], "pool, signs pool:three.example"),
            // The domain of tenant 2 in a pool for everyone.
            (1, &fields("taken"), &[], platform_signs),
            (0, &fields("taken"), &[], platform_signs),
            (2, &fields("taken"), &[], platform_signs),
            // The domain of tenant 2 in a pool that tenant 1 has as well.
            (1, &fields("twos"), &[], platform_signs),
            (2, &fields("twos"), &[], platform_signs),
        ],
    );
    let foreign = Change::Platform(platform("two.example", "two.example"));
    check(
        &world([foreign]),
        &[
            (1, "From: a@nobody.example\r\n", &["yahoo.com"], "unsigned, passes"),
            (2, "From: a@nobody.example\r\n", &["yahoo.com"], "unsigned, passes"),
        ],
    );
    let unknown = Change::Platform(platform("nowhere.example", "nowhere.example"));
    check(
        &world([unknown]),
        &[(1, "From: a@nobody.example\r\n", &["aol.com"], "unsigned, passes")],
    );
}

#[test]
fn a_foreign_from_is_refused_or_signed_by_the_pool() {
    let refused = |domain: &str| {
        format!("refused, 550 5.7.1 Sending Domain {domain} belongs to another account")
    };
    check(
        &world([]),
        &[
            (1, "From: a@two.example\r\n", &[], &refused("two.example")),
            (1, "From: ceo <A@TWO.EXAMPLE>\r\n", &[], &refused("two.example")),
            // Verified, if not valid, is enough.
            (1, "From: a@pendingtwo.example\r\n", &[], &refused("pendingtwo.example")),
            (1, "From: a@private.example\r\n", &[], &refused("private.example")),
            (0, "From: a@two.example\r\n", &[], &refused("two.example")),
            (1, "From: a@two.up.example\r\n", &[], &refused("two.up.example")),
            (1, "From: a@one.example, b@two.example\r\n", &[], &refused("two.example")),
            (1, "From: a@nobody.example, b@two.example\r\n", &[], &refused("two.example")),
            // Claims exclude nobody.
            (3, "From: a@claimed.example\r\n", &[], "pool, signs pool:three.example"),
            (1, "From: a@claimed.example\r\n", &[], "platform, signs platform:platform.example"),
        ],
    );
    let mut lenient = tenant(1, None);
    lenient.policy = policy(r#"{"on_foreign_from":"pool"}"#);
    let lenient = world([Change::Tenant(lenient)]);
    check(
        &lenient,
        &[
            (
                1,
                "From: a@two.example\r\nX-Postseal-Pool: bulk\r\n",
                &[],
                "pool, signs pool:pool.example",
            ),
            (1, "From: a@two.example\r\n", &[], "platform, signs platform:platform.example"),
            (
                1,
                "From: a@one.example, b@two.example\r\n",
                &[],
                "platform, signs platform:platform.example",
            ),
            (2, "From: a@one.example\r\n", &[], &refused("one.example")),
        ],
    );
    let decision = decide(&lenient, Some(1), "From: a@two.example\r\n", &[]);
    assert_eq!(decision.counters, [Counter::ForeignFrom]);
    assert_eq!(decision.author, Some(name("two.example")));
}

#[test]
fn several_mailboxes_of_several_domains_go_to_the_pool() {
    check(
        &world([]),
        &[
            (
                1,
                "From: a@one.example, b@up.example\r\n",
                &[],
                "platform, signs platform:platform.example",
            ),
            (
                1,
                "From: a@one.example, b@nobody.example\r\nX-Postseal-Pool: bulk\r\n",
                &[],
                "pool, signs pool:pool.example",
            ),
        ],
    );
    let decision = decide(&world([]), Some(1), "From: a@one.example, b@up.example\r\n", &[]);
    assert_eq!(decision.author, None);
    assert!(decision.reasons.contains(&Reason::SeveralDomains(2)));
}

#[test]
fn only_from_says_who_the_author_is() {
    for field in [
        "Sender: ceo@one.example\r\n",
        "Resent-From: ceo@one.example\r\n",
        "Reply-To: ceo@one.example\r\n",
        "Return-Path: <ceo@one.example>\r\n",
        "X-MSYS-SUBACCOUNT: 2\r\n",
    ] {
        check(
            &world([]),
            &[
                (
                    1,
                    &format!("{field}From: a@nobody.example\r\n"),
                    &["one.example"],
                    "platform, signs platform:platform.example",
                ),
                (
                    2,
                    &format!("{field}From: \"ceo@one.example\" <a@two.example>\r\n"),
                    &[],
                    "author, signs author:two.example",
                ),
            ],
        );
    }
}

#[test]
fn a_bad_from_is_refused_or_signed_by_the_pool() {
    let bad = [
        (
            "From: a@one.example\r\nFrom : a@two.example\r\n",
            "a From field has something other than its name in front of the colon",
        ),
        (
            "From: a@one.example <b@two.example>\r\n",
            "the From field has an @ in a display name without quotes",
        ),
        (
            "From: <@one.example:a@two.example>\r\n",
            "the From field has an address with a source route",
        ),
    ];
    let lenient = || PlatformRow {
        policy: policy(r#"{"on_bad_from":"pool"}"#),
        ..platform("platform.example", "")
    };
    for (fields, why) in bad {
        let want = format!("refused, 550 5.6.0 {why}");
        check(&world([]), &[(1, fields, &[], &want), (2, fields, &[], &want)]);
    }
    for (fields, _) in &bad[1..] {
        let decision = decide(&world([Change::Platform(lenient())]), Some(1), fields, &[]);
        assert_eq!(shown(&decision), "platform, signs platform:platform.example");
        assert_eq!((decision.author, decision.counters), (None, vec![Counter::BadFrom]));
    }
    // Nobody can sign these: a signature has to cover the From field, and the one that is meant.
    for fields in ["To: a@one.example\r\n", "From: a@one.example\r\nFrom: a@one.example\r\n"] {
        let decision =
            decide(&world([Change::Platform(lenient())]), Some(1), fields, &["yahoo.com"]);
        assert_eq!(shown(&decision), "unsigned, passes");
        assert_eq!(decision.counters, [Counter::BadFrom, Counter::Unsigned]);
        assert!(decision.reasons.contains(&Reason::CannotBeSigned));
    }
}

#[test]
fn the_pool_is_the_first_that_something_names() {
    let snapshot = world([]);
    let connection = pool_id("taken");
    let chosen = |tenant: u32, fields: &str, facts: (Option<&PoolId>, HeaderPool)| {
        let raw = format!("{fields}From: a@nobody.example\r\n");
        let header = Header::parse(raw.as_bytes()).unwrap();
        let (connection_pool, header_pool) = facts;
        let tenant = Some(TenantId::new(tenant));
        let facts =
            Facts { tenant, header: &header, connection_pool, header_pool, recipients: &[] };
        let decision = plan(&facts, &snapshot, NOW);
        assert_eq!(decision.remove.len(), usize::from(!fields.is_empty()), "{fields:?}");
        match decision.reasons.first() {
            Some(Reason::PoolChosen(pool, source)) => {
                assert_eq!(decision.pool.as_ref(), Some(pool));
                (pool.to_string(), *source)
            }
            other => panic!("{fields:?}: {other:?}"),
        }
    };
    let by_api = PoolSource::Field(ControlField::MsysApi);
    let by_name = PoolSource::Field(ControlField::PostsealPool);
    let (obeyed, ignored) = ((None, HeaderPool::Obeyed), (None, HeaderPool::Ignored));
    let connected = (Some(&connection), HeaderPool::Obeyed);
    let connected_only = (Some(&connection), HeaderPool::Ignored);
    let api = "X-MSYS-API: {\"options\":{\"ip_pool\":\"Bulk\"}}\r\n";
    let field = "X-Postseal-Pool: dead\r\n";
    let cases = [
        (1, "", obeyed, "default", PoolSource::Default),
        (3, "", obeyed, "own", PoolSource::Assigned),
        (1, "", connected, "taken", PoolSource::Connection),
        (1, field, connected, "dead", by_name),
        (1, api, connected, "bulk", by_api),
        (1, api, connected_only, "taken", PoolSource::Connection),
        (1, api, ignored, "default", PoolSource::Default),
        (1, "X-MSYS-API: {\r\n", ignored, "default", PoolSource::Default),
        (3, "X-Postseal-Pool: OWN\r\n", obeyed, "own", by_name),
    ];
    for (tenant, fields, facts, pool, source) in cases {
        assert_eq!(chosen(tenant, fields, facts), (pool.to_owned(), source), "{fields:?}");
    }
}

#[test]
fn a_pool_that_cannot_be_had_is_refused_and_never_another() {
    let named = |pool: &str| format!("X-Postseal-Pool: {pool}\r\nFrom: a@one.example\r\n");
    let refused = |pool: &str| {
        format!(
            "refused, 550 5.7.1 IP Pool '{pool}' does not exist or is not granted to this account"
        )
    };
    let api =
        "X-MSYS-API: {\"options\":{\"ip_pool\":\"no\\r\\n250 ok\"}}\r\nFrom: a@one.example\r\n";
    let long = "p".repeat(300);
    check(
        &world([]),
        &[
            (1, &named("nowhere"), &[], &refused("nowhere")),
            (1, &named("closed"), &[], &refused("closed")),
            (1, &named("own"), &[], &refused("own")),
            (0, &named("own"), &[], &refused("own")),
            // Who has a pool assigned has no other.
            (3, &named("bulk"), &[], &refused("bulk")),
            (3, &named("default"), &[], &refused("default")),
            (1, &named("a b"), &[], &refused("a b")),
            (1, &named("bülk"), &[], &refused("b?lk")),
            (1, &named(&long), &[], &refused(&long.chars().take(64).collect::<String>())),
            (1, api, &[], &refused("no??250 ok")),
            // Fields that cannot be obeyed.
            (
                1,
                "X-MSYS-API: {\"options\":[]}\r\nFrom: a@one.example\r\n",
                &[],
                "refused, 550 5.6.0 X-MSYS-API 'options' must be of type 'json object'",
            ),
            (
                1,
                "X-Postseal-Pool: bulk\r\nX-Postseal-Pool: bulk\r\nFrom: a@one.example\r\n",
                &[],
                "refused, 550 5.6.0 more than one X-Postseal-Pool field",
            ),
        ],
    );
    // By the connection as well.
    let header = Header::parse(b"From: a@one.example\r\n").unwrap();
    let closed = pool_id("closed");
    let facts = Facts {
        tenant: Some(TenantId::new(1)),
        header: &header,
        connection_pool: Some(&closed),
        header_pool: HeaderPool::Ignored,
        recipients: &[],
    };
    assert_eq!(shown(&plan(&facts, &world([]), NOW)), refused("closed"));

    // The tenant's own pool is for an operator to mend.
    for broken in
        [Change::Tenant(tenant(3, Some("nowhere"))), Change::Tenant(tenant(3, Some("closed")))]
    {
        check(
            &world([broken]),
            &[(
                3,
                "From: a@three.example\r\n",
                &[],
                "refused, 451 4.3.5 the pool of this account cannot be used",
            )],
        );
    }
}

#[test]
fn suspended_and_unknown_tenants_do_not_send() {
    let from = "From: a@shared.example\r\n";
    let mut primary = tenant(0, None);
    primary.status = TenantStatus::Suspended;
    check(
        &world([]),
        &[
            (4, from, &[], "refused, 550 5.7.1 the account is suspended"),
            (9, from, &[], "refused, 451 4.7.1 the account is not known here yet"),
            (0, from, &[], "author, signs author:shared.example"),
        ],
    );
    check(
        &world([Change::Tenant(primary)]),
        &[(0, from, &[], "refused, 550 5.7.1 the account is suspended")],
    );
    check(
        &world([Change::TenantRemoved(TenantId::new(1))]),
        &[(
            1,
            "From: a@one.example\r\n",
            &[],
            "refused, 451 4.7.1 the account is not known here yet",
        )],
    );
}

#[test]
fn row_5_adds_a_signature_below_for_feedback_loops() {
    let bulk = "X-Postseal-Pool: bulk\r\nFrom: a@one.example\r\n";
    check(
        &world([]),
        &[
            (1, "From: a@one.example\r\n", &["gmail.com"], "author, signs author:one.example"),
            (
                1,
                "From: a@one.example\r\n",
                &["yahoo.com"],
                "author, signs author:one.example feedback_loop:platformloop.example",
            ),
            (
                1,
                "From: a@one.example\r\n",
                &["gmail.com", "x.example", "AOL.com"],
                "author, signs author:one.example feedback_loop:platformloop.example",
            ),
            (
                1,
                "From: a@one.example\r\n",
                &["yahoo.co.jp", "yahoo.com.evil.example"],
                "author, signs author:one.example",
            ),
            (
                1,
                bulk,
                &["ymail.com"],
                "author, signs author:one.example feedback_loop:loop.example",
            ),
            (
                1,
                "X-Postseal-Pool: bulk\r\nFrom: a@x.example\r\n",
                &["yahoo.com"],
                "pool, signs pool:pool.example feedback_loop:loop.example",
            ),
            (
                1,
                "From: a@x.example\r\n",
                &["yahoo.com"],
                "platform, signs platform:platform.example feedback_loop:platformloop.example",
            ),
            // The pool's is set and not valid, or somebody else's: the platform's.
            (
                1,
                "X-Postseal-Pool: dead\r\nFrom: a@one.example\r\n",
                &["yahoo.com"],
                "author, signs author:one.example feedback_loop:platformloop.example",
            ),
            (
                1,
                "X-Postseal-Pool: taken\r\nFrom: a@one.example\r\n",
                &["yahoo.com"],
                "author, signs author:one.example feedback_loop:platformloop.example",
            ),
            // A signature above has that d= already.
            (3, "From: a@x.example\r\n", &["yahoo.com"], "pool, signs pool:three.example"),
            (3, "From: a@three.example\r\n", &["yahoo.com"], "author, signs author:three.example"),
        ],
    );
    // What is refused gets nothing; what goes out unsigned gets it.
    let no_default = Change::Platform(platform("", "platformloop.example"));
    check(
        &world([no_default]),
        &[
            (
                1,
                "From: a@x.example\r\n",
                &["yahoo.com"],
                "unsigned, signs feedback_loop:platformloop.example",
            ),
            (
                1,
                "From: a@two.example\r\n",
                &["yahoo.com"],
                "refused, 550 5.7.1 Sending Domain two.example belongs to another account",
            ),
        ],
    );
    let none = Change::Platform(platform("platform.example", ""));
    let decision = decide(&world([none]), Some(1), "From: a@one.example\r\n", &["yahoo.com"]);
    assert_eq!(shown(&decision), "author, signs author:one.example");
    assert_eq!(decision.feedback, Feedback::Missing);
    assert_eq!(decision.counters, [Counter::FeedbackMissing]);
}

#[test]
fn row_5_leaves_out_what_is_enrolled_itself() {
    let yahoo = Provider::yahoo();
    let enrolled = signing(1, "one.example").enrolled_with(std::slice::from_ref(&yahoo.name));
    let mut knows = Provider::yahoo();
    knows.enrolled.insert(name("one.example"));
    for change in [Change::Domain(enrolled.clone()), Change::Provider(knows)] {
        let snapshot = world([change]);
        let decision = decide(&snapshot, Some(1), "From: a@one.example\r\n", &["yahoo.com"]);
        assert_eq!(shown(&decision), "author, signs author:one.example");
        assert_eq!(decision.feedback, Feedback::Enrolled);
        // A domain that does not sign does not count.
        check(
            &snapshot,
            &[(
                1,
                "From: a@one.example, b@up.example\r\n",
                &["yahoo.com"],
                "platform, signs platform:platform.example feedback_loop:platformloop.example",
            )],
        );
    }
    // Two loops, and enrolled with one.
    let mut other = Provider::new(ProviderName::parse("other").unwrap());
    other.domains.insert(name("mail.example"));
    check(
        &world([Change::Domain(enrolled), Change::Provider(other)]),
        &[
            (
                1,
                "From: a@one.example\r\n",
                &["yahoo.com", "mail.example"],
                "author, signs author:one.example feedback_loop:platformloop.example",
            ),
            (1, "From: a@one.example\r\n", &["yahoo.com"], "author, signs author:one.example"),
        ],
    );
}

#[test]
fn row_5_hears_of_mail_exchangers() {
    let snapshot = world([]);
    let header = Header::parse(b"From: a@one.example\r\n").unwrap();
    let cases = [
        ("shop.example", "mta5.am0.yahoodns.net", Feedback::Signed),
        ("shop.example", "mx.notyahoodns.net", Feedback::NotNeeded),
        ("yahoo.co.jp", "mta5.am0.yahoodns.net", Feedback::NotNeeded),
    ];
    for (recipient, mx, want) in cases {
        let (domain, mx) = (name(recipient), [name("mx.else.example"), name(mx)]);
        let recipients = [Recipient { domain: &domain, mx: Some(&mx) }];
        let facts = Facts {
            tenant: Some(TenantId::new(1)),
            header: &header,
            connection_pool: None,
            header_pool: HeaderPool::Obeyed,
            recipients: &recipients,
        };
        assert_eq!(plan(&facts, &snapshot, NOW).feedback, want, "{recipient}");
    }
}

#[test]
fn signatures_look_as_the_policy_of_pool_and_tenant_says() {
    let mut bulk = PoolRow::new(pool_id("bulk"));
    bulk.policy = policy(r#"{"signature":{"ed25519":"extra","expire_after":"10d"}}"#);
    let mut row = tenant(1, None);
    row.policy = policy(r#"{"signature":{"expire_after":"never","fields":{"sign":["X-Mine"]}}}"#);
    let snapshot = world([Change::Pool(bulk), Change::Tenant(row)]);
    let fields = "X-Postseal-Pool: bulk\r\nFrom: a@one.example\r\n";

    let plain = decide(&snapshot, Some(2), "From: a@two.example\r\n", &["yahoo.com"]);
    let algorithms = |decision: &Decision| -> Vec<(Purpose, Algorithm)> {
        decision.signatures().iter().map(|it| (it.purpose, it.key.algorithm)).collect()
    };
    assert_eq!(
        algorithms(&plain),
        [(Purpose::Author, Algorithm::RsaSha256), (Purpose::FeedbackLoop, Algorithm::RsaSha256),]
    );
    let request = plain.signatures()[0].request();
    assert_eq!(request.signing_domain, name("two.example"));
    assert_eq!(request.signed_at, NOW);
    assert_eq!(request.expires_at, Some(NOW.plus_secs(7 * 86_400)));

    let decision = decide(&snapshot, Some(1), fields, &["yahoo.com"]);
    assert_eq!(
        algorithms(&decision),
        [
            (Purpose::Author, Algorithm::RsaSha256),
            (Purpose::Author, Algorithm::Ed25519Sha256),
            (Purpose::FeedbackLoop, Algorithm::RsaSha256),
        ]
    );
    assert!(decision.signatures().iter().all(|signature| signature.expires_at.is_none()));
    assert_ne!(decision.policy.signature.fields, plain.policy.signature.fields);

    let by_pool =
        decide(&snapshot, Some(2), "X-Postseal-Pool: bulk\r\nFrom: a@two.example\r\n", &[]);
    assert_eq!(by_pool.signatures()[0].expires_at, Some(NOW.plus_secs(10 * 86_400)));
}

#[test]
fn decisions_say_why() {
    let decision = decide(
        &world([]),
        Some(1),
        "X-Postseal-Pool: dead\r\nFrom: a@pending.example\r\n",
        &["yahoo.com"],
    );
    assert_eq!(
        decision.explanation(),
        "the pool is dead, since the X-Postseal-Pool field names it; \
         the DKIM status of the From domain pending.example is not valid; \
         the pool's signing domain cannot sign: its DKIM status is not valid; \
         the platform's domain platform.example signs; \
         recipients at yahoo.com are yahoo's, whose complaints follow DKIM; \
         the pool's domain for feedback loops cannot sign: its DKIM status is not valid; \
         platformloop.example signs for the feedback loop"
    );
    assert_eq!(decision.counters, [Counter::PoolDomainUnusable]);
}

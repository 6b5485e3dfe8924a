//! The rule once more, short and slow, against which random platforms and messages are decided.
//!
//! The model knows a platform as plain lists and a message as what was asked for when it was written,
//! so that it shares no parser, no map and no look-up with the code. What it is most for: no tenant
//! ever signs as another, in whichever spelling.

use std::cell::RefCell;
use std::collections::BTreeMap;

use postseal_dkim::{Algorithm, Selector};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use super::*;
use crate::id::{KeyId, Revision};
use crate::key::SealedKey;
use crate::row::{Change, PlatformRow, PoolGrants, Sharing, TenantRow};

/// Names that lie below each other, and some that do not.
const NAMES: [&str; 7] = [
    "a.example",
    "x.a.example",
    "y.x.a.example",
    "b.example",
    "c.example",
    "xn--bcher-kva.example",
    "yahoo.com",
];

const POOLS: [&str; 3] = ["default", "bulk", "vip"];

/// How a From field says a domain, and whether it can be read one way only. `{d}` is the domain,
/// `{u}` the same in capitals or as U-labels, `{o}` another domain that must not count.
const SPELLINGS: [(&str, bool); 26] = [
    ("From: a@{d}\r\n", true),
    ("From: a@{d}\r\n", true),
    ("From: Jane Doe <a@{d}>\r\n", true),
    ("FROM: <a@{u}>\r\n", true),
    ("from: \"Doe, Jane\"\r\n <A@{u}> (Jane)\r\n", true),
    ("From: \"ceo@{o}\" <a@{d}>\r\nSender: ceo@{o}\r\n", true),
    ("From: =?utf-8?Q?=3Cceo=40{o}=3E?= <a@{d}>\r\n", true),
    ("Resent-From: a@{o}\r\nFrom: a@{d}, b@{u}\r\nReply-To: a@{o}\r\n", true),
    ("Subject: x\r\n From: a@{o}\r\nFrom: \"jane.\"@{d}\r\n", true),
    ("From: a@{d}\r\nFrom: a@{o}\r\n", false),
    ("From: a@{o}\r\nFrom : a@{d}\r\n", false),
    (" From: a@{o}\r\nFrom: a@{d}\r\n", false),
    ("Subject: x\nFrom: a@{o}\r\nFrom: a@{d}\r\n", false),
    ("From: a@{o}@{d}\r\n", false),
    ("From: \"a@{o} \"@{d}\r\n", false),
    ("From: \"a@{d} \"@{o}\r\n", false),
    ("From: <@{o}:a@{d}>\r\n", false),
    ("From: a@{o} <a@{d}>\r\n", false),
    ("From: <a@{o}> <a@{d}>\r\n", false),
    ("From: (a@{o}) a@{d}\r\n", false),
    ("From: a@{d}(.{o})\r\n", true),
    ("From: g: a@{d};\r\n", false),
    ("From: a%{d}@{o}\r\n", false),
    ("From: a@{d}.\r\n", false),
    ("From: a@{d}\0\r\n", false),
    ("To: a@{d}\r\n", false),
];

#[derive(Clone, Debug)]
struct World {
    /// For each of [`NAMES`], if anybody claims it.
    domains: Vec<Option<Domain>>,
    pools: Vec<Pool>,
    /// For tenants 0 to 3.
    assigned: Vec<Option<usize>>,
    suspended: Vec<bool>,
    default_domain: Option<usize>,
    feedback_domain: Option<usize>,
    bad_from_to_pool: bool,
    foreign_from_to_pool: bool,
    reject_unsigned: bool,
}

#[derive(Clone, Debug)]
struct Domain {
    owner: u32,
    /// 0 claimed, 1 verified, 2 signing.
    stage: u8,
    shared: bool,
    subdomains: bool,
}

#[derive(Clone, Debug)]
struct Pool {
    domain: Option<usize>,
    feedback: Option<usize>,
    only: Option<Vec<u32>>,
}

#[derive(Clone, Debug)]
struct Message {
    tenant: Option<u32>,
    spelling: usize,
    domain: usize,
    other: usize,
    /// A second mailbox.
    second: Option<usize>,
    pool: Option<usize>,
    to_yahoo: bool,
}

#[derive(Debug, Eq, PartialEq)]
enum Outcome {
    Refused,
    Goes(Row, Vec<usize>),
}

/// The rule.
fn model(world: &World, message: &Message) -> Outcome {
    let Some(tenant) = message.tenant else { return Outcome::Goes(Row::NoTenant, vec![]) };
    let assigned = world.assigned[tenant as usize];
    let pool = message.pool.or(assigned).unwrap_or(0);
    let only = &world.pools[pool].only;
    let granted = only.as_ref().is_none_or(|only| only.contains(&tenant));
    let other_pool = message.pool.is_some() && assigned.is_some_and(|assigned| assigned != pool);
    if world.suspended[tenant as usize] || other_pool || !granted {
        return Outcome::Refused;
    }

    let verified = |name: usize| world.domains[name].as_ref().filter(|domain| domain.stage > 0);
    let open = |domain: &Domain| domain.owner == tenant || (domain.owner == 0 && domain.shared);
    let signs = |name: &usize| verified(*name).is_some_and(|domain| domain.stage == 2);
    let readable = SPELLINGS[message.spelling].1;
    let authors: Vec<_> = [Some(message.domain), message.second].into_iter().flatten().collect();
    let foreign = authors.iter().any(|name| verified(*name).is_some_and(|domain| !open(domain)));
    if (!readable && !world.bad_from_to_pool)
        || (readable && foreign && !world.foreign_from_to_pool)
    {
        return Outcome::Refused;
    }
    let one_author = readable && !foreign && authors.iter().all(|name| *name == message.domain);

    // The author's domain, then its parents, up to one of somebody else.
    let covers = |parent: usize| NAMES[message.domain].ends_with(&format!(".{}", NAMES[parent]));
    let mut parents: Vec<_> = (0..NAMES.len()).filter(|parent| covers(*parent)).collect();
    parents.sort_by_key(|parent| std::cmp::Reverse(NAMES[*parent].len()));
    let mut own = parents.into_iter().take_while(|name| verified(*name).is_none_or(&open));
    let author = Some(message.domain).filter(&signs).or_else(|| {
        own.find(|name| signs(name) && verified(*name).is_some_and(|domain| domain.subdomains))
    });

    let may_serve_pool = |name: &usize| {
        let owner = verified(*name).map(|domain| domain.owner);
        owner == Some(0) || (owner == Some(tenant) && *only == Some(vec![tenant]))
    };
    let is_platforms = |name: &usize| verified(*name).is_some_and(|domain| domain.owner == 0);
    let by_pool = world.pools[pool].domain.filter(&signs).filter(may_serve_pool);
    let by_platform = world.default_domain.filter(&signs).filter(is_platforms);
    let (row, mut signatures) = match (author.filter(|_| one_author), by_pool, by_platform) {
        (Some(name), _, _) => (Row::Author, vec![name]),
        _ if !has_one_from(message) => (Row::Unsigned, vec![]),
        (_, Some(name), _) => (Row::Pool, vec![name]),
        (_, _, Some(name)) => (Row::Platform, vec![name]),
        (_, _, _) => (Row::Unsigned, vec![]),
    };
    if row == Row::Unsigned && world.reject_unsigned {
        return Outcome::Refused;
    }
    let feedback = world.pools[pool].feedback.filter(&signs).filter(may_serve_pool);
    let feedback = feedback.or(world.feedback_domain.filter(&signs).filter(is_platforms));
    if message.to_yahoo && has_one_from(message) {
        signatures.extend(feedback.filter(|name| !signatures.contains(name)));
    }
    Outcome::Goes(row, signatures)
}

/// Whether a signature can cover From at all.
fn has_one_from(message: &Message) -> bool {
    let spelling = SPELLINGS[message.spelling].0;
    let starts = ["From:", "From :", "FROM:", "from:"];
    spelling.split("\r\n").filter(|line| starts.iter().any(|it| line.starts_with(it))).count() == 1
}

fn fields(message: &Message) -> String {
    let domain = NAMES[message.domain];
    let other_spelling = match domain {
        "xn--bcher-kva.example" => "BÜCHER.example".to_owned(),
        domain => domain.to_ascii_uppercase(),
    };
    let mut fields = SPELLINGS[message.spelling]
        .0
        .replace("{d}", domain)
        .replace("{u}", &other_spelling)
        .replace("{o}", NAMES[message.other]);
    if let Some(second) = message.second {
        // Behind the last mailbox, wherever that is.
        let end = fields.rfind("\r\nReply-To").or(fields.rfind("\r\nSender"));
        fields.insert_str(
            end.unwrap_or(fields.len() - 2),
            &format!(", Second <z@{}>", NAMES[second]),
        );
    }
    if let Some(pool) = message.pool {
        fields.push_str(&format!("X-Postseal-Pool: {}\r\n", POOLS[pool].to_uppercase()));
    }
    fields
}

fn snapshot(world: &World) -> Snapshot {
    let name = |number: usize| DomainName::parse(NAMES[number]).unwrap();
    let mut rows = Vec::new();
    for (number, domain) in world.domains.iter().enumerate() {
        // Somebody else always claims it too.
        let rival = domain.as_ref().map_or(1, |domain| (domain.owner + 1) % 4);
        rows.push(Change::Domain(DomainRow::claimed(TenantId::new(rival), name(number))));
        let Some(domain) = domain else { continue };
        let owner = TenantId::new(domain.owner);
        let key = KeyEntry {
            id: KeyId::new(number as u64),
            owner,
            domain: name(number),
            selector: Selector::parse("s1").unwrap(),
            algorithm: Algorithm::RsaSha256,
            sealed: SealedKey::new(*b"sealed"),
        };
        let row = DomainRow::claimed(owner, name(number))
            .shared(if domain.shared { Sharing::WithSubaccounts } else { Sharing::Private })
            .with_subdomains(if domain.subdomains { Subdomains::Sign } else { Subdomains::Off });
        rows.push(Change::Domain(match domain.stage {
            0 => row,
            1 => row.verified(),
            _ => row.signing(SigningKeys::new(Arc::new(key)).unwrap()).unwrap(),
        }));
    }
    for (id, pool) in POOLS.iter().zip(&world.pools) {
        let mut row = PoolRow::new(PoolId::parse(id).unwrap());
        row.signing_domain = pool.domain.map(name);
        row.fbl_signing_domain = pool.feedback.map(name);
        if let Some(only) = &pool.only {
            row.grants = PoolGrants::only(only.iter().copied().map(TenantId::new));
        }
        rows.push(Change::Pool(row));
    }
    for (id, (assigned, suspended)) in (0..).zip(world.assigned.iter().zip(&world.suspended)) {
        let mut row = TenantRow::new(TenantId::new(id));
        row.assigned_pool = assigned.map(|pool| PoolId::parse(POOLS[pool]).unwrap());
        row.status = if *suspended { TenantStatus::Suspended } else { TenantStatus::Active };
        rows.push(Change::Tenant(row));
    }
    let answer =
        |other: bool, yes: &str, no: &str| if other { yes.to_owned() } else { no.to_owned() };
    let policy = format!(
        r#"{{"on_bad_from":"{}","on_foreign_from":"{}","on_unsigned":"{}"}}"#,
        answer(world.bad_from_to_pool, "pool", "refuse"),
        answer(world.foreign_from_to_pool, "pool", "refuse"),
        answer(world.reject_unsigned, "reject", "accept"),
    );
    rows.push(Change::Platform(PlatformRow {
        default_signing_domain: world.default_domain.map(name),
        fbl_signing_domain: world.feedback_domain.map(name),
        policy: serde_json::from_str(&policy).unwrap(),
    }));
    Snapshot::load(Revision::new(1), rows)
}

fn worlds() -> impl Strategy<Value = World> {
    // Much belongs to the primary account, so that pools and the platform have something to sign with.
    let owner = prop::sample::select(vec![0_u32, 0, 0, 0, 1, 2, 3]);
    let domain =
        (owner, prop::sample::select(vec![0, 1, 2, 2, 2, 2, 2, 2]), any::<bool>(), any::<bool>())
            .prop_map(|(owner, stage, shared, subdomains)| Domain {
                owner,
                stage,
                shared,
                subdomains,
            });
    let name = || prop::option::weighted(0.85, 0..NAMES.len());
    let only = prop::option::weighted(0.25, prop::collection::btree_set(0..4_u32, 0..3));
    let pool = (name(), name(), only).prop_map(|(domain, feedback, only)| Pool {
        domain,
        feedback,
        only: only.map(|only| only.into_iter().collect()),
    });
    let rare = || prop::bool::weighted(0.05);
    let often = || prop::bool::weighted(0.6);
    (
        prop::collection::vec(prop::option::weighted(0.85, domain), NAMES.len()),
        prop::collection::vec(pool, POOLS.len()),
        prop::collection::vec(prop::option::weighted(0.2, 0..POOLS.len()), 4),
        prop::collection::vec(rare(), 4),
        (name(), name()),
        (often(), often(), rare()),
    )
        .prop_map(|(domains, pools, assigned, suspended, platform, policy)| World {
            domains,
            pools,
            assigned,
            suspended,
            default_domain: platform.0,
            feedback_domain: platform.1,
            bad_from_to_pool: policy.0,
            foreign_from_to_pool: policy.1,
            reject_unsigned: policy.2,
        })
}

fn messages() -> impl Strategy<Value = Message> {
    (
        prop::option::weighted(0.9, 0..4_u32),
        prop_oneof![3 => 0..9_usize, 1 => 9..SPELLINGS.len()],
        (0..NAMES.len(), 0..NAMES.len()),
        prop::option::weighted(0.15, 0..NAMES.len()),
        prop::option::weighted(0.3, 0..POOLS.len()),
        any::<bool>(),
    )
        .prop_map(|(tenant, spelling, (domain, other), second, pool, to_yahoo)| Message {
            tenant,
            spelling,
            domain,
            other,
            second: second.filter(|_| SPELLINGS[spelling].1),
            pool,
            to_yahoo,
        })
}

fn decide(world: &World, message: &Message) -> Decision {
    let raw = fields(message);
    let header = Header::parse(raw.as_bytes()).unwrap();
    let yahoo = DomainName::parse("yahoo.com").unwrap();
    let other = DomainName::parse("mail.example").unwrap();
    let domain = if message.to_yahoo { &yahoo } else { &other };
    let facts = Facts {
        tenant: message.tenant.map(TenantId::new),
        header: &header,
        connection_pool: None,
        header_pool: HeaderPool::Obeyed,
        recipients: &[Recipient { domain: &other, mx: None }, Recipient { domain, mx: None }],
    };
    plan(&facts, &snapshot(world), UnixTime(1_800_000_000))
}

fn outcome(decision: &Decision) -> Outcome {
    match &decision.verdict {
        Verdict::Refuse(_) | Verdict::Tempfail(_) => Outcome::Refused,
        Verdict::PassUnsigned | Verdict::Sign(_) => {
            let number = |signature: &PlannedSignature| {
                let domain = signature.signing_domain().as_str();
                NAMES.iter().position(|name| *name == domain).unwrap()
            };
            Outcome::Goes(decision.row, decision.signatures().iter().map(number).collect())
        }
    }
}

/// T1 and P3: whose key signs, and why it may.
fn check_ownership(
    world: &World,
    message: &Message,
    decision: &Decision,
) -> Result<(), TestCaseError> {
    for signature in decision.signatures() {
        let owner = signature.key.owner;
        prop_assert!(Some(owner) == decision.tenant || owner.is_primary(), "{:?}", signature);
        let number = NAMES.iter().position(|name| *name == signature.signing_domain().as_str());
        let domain = world.domains[number.unwrap()].as_ref().unwrap();
        prop_assert_eq!((domain.owner, domain.stage), (owner.get(), 2));
        if signature.purpose == Purpose::Author {
            prop_assert!(Some(owner) == decision.tenant || domain.shared);
            let author = DomainName::parse(NAMES[message.domain]).unwrap();
            prop_assert!(author.is_same_or_subdomain_of(signature.signing_domain()));
        }
    }
    Ok(())
}

#[test]
fn the_rule_agrees_with_its_model() {
    let fired: RefCell<BTreeMap<&str, usize>> = RefCell::default();
    let config = ProptestConfig { cases: CASES, failure_persistence: None, ..Default::default() };
    let seed = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    TestRunner::new_with_rng(config, seed)
        .run(&(worlds(), messages()), |(world, message)| {
            let decision = decide(&world, &message);
            let count = |what: &'static str| *fired.borrow_mut().entry(what).or_default() += 1;
            count(decision.row.as_str());
            if decision.feedback == Feedback::Signed {
                count("feedback");
            }
            for counter in [Counter::ForeignFrom, Counter::BadFrom, Counter::PoolRefused] {
                if decision.counters.contains(&counter) {
                    count(counter.as_str());
                }
            }
            check_ownership(&world, &message, &decision)?;
            prop_assert_eq!(outcome(&decision), model(&world, &message), "{}", fields(&message));
            Ok(())
        })
        .unwrap();

    let fired = fired.into_inner();
    println!("of {CASES} messages:");
    for (what, times) in &fired {
        println!("{what:>14} {times:>7} {:>5.1} %", *times as f64 * 100.0 / f64::from(CASES));
    }
    let all = [
        "no_tenant",
        "author",
        "pool",
        "platform",
        "unsigned",
        "refused",
        "feedback",
        "foreign_from",
        "bad_from",
        "pool_refused",
    ];
    for what in all {
        let times = fired.get(what).copied().unwrap_or(0);
        assert!(times * 20 >= CASES as usize, "{what} fired {times} times, less than 5 %");
    }
}

/// As many as make a crossing between tenants unlikely to hide.
const CASES: u32 = 100_000;

//! Hostile messages, judged by counts: RSA operations, key look-ups, octets fed, allocations. Not by seconds, which
//! say more of the machine than of the program.
//!
//! Each goes through what the front doors do with it, in process: the rule, the signer, our verifier. What an
//! allocation is, `allocation-counter` says; it is the allocator of this program, and of no other. The time that the
//! processor took is printed beside the counts, for a person.

use std::fs;
use std::sync::Arc;

use allocation_counter::AllocationInfo;
use anyhow::{Context, Result, ensure};
use postseal_dkim::{
    Algorithm, DomainName, Header, HeaderError, KeyAnswer, MAX_FIELDS, MAX_KEYS_TRIED,
    MAX_OWN_SIGNATURES, MAX_SIGNATURES, MessageSigning, Outcome, Selector, SignError, SignRequest,
    UnixTime, Verifier, VerifyRules, signatures_by,
};
use postseal_engine::{
    Author, BadFrom, Change, DomainRow, Facts, HeaderPool, KeyEntry, KeyId, PoolId, PoolRow,
    Recipient, Revision, SealedKey, SigningKeys, Snapshot, TenantId, TenantRow, Verdict, plan,
};
use postseal_keys::SigningKey;
use postseal_testkit::message::MessageBuilder;

#[test]
fn a_thousand_signatures_cost_as_much_as_the_bound_allows() -> Result<()> {
    let bench = Bench::new()?;
    let signed = bench.sign(&plain().build())?.message;
    let field = signed.get(..signed.len() - plain().build().len()).context("a field on top")?;
    // Each by a selector of its own, so that each is another look-up, with the right body hash, so that each is
    // another RSA operation.
    let mut message = Vec::new();
    for number in 0..1_000 {
        let other = String::from_utf8(field.to_vec())?.replace("s=s1;", &format!("s=s{number};"));
        message.extend_from_slice(other.as_bytes());
    }
    message.extend_from_slice(&plain().build());
    let verified = bench.verify("1,000 signatures", &message, 1)?;
    ensure!(verified.look_ups == MAX_SIGNATURES, "{} look-ups", verified.look_ups);
    ensure!(verified.rsa == MAX_SIGNATURES, "{} RSA operations", verified.rsa);
    let unchecked = verified.outcomes.iter().filter(|one| **one == Outcome::NotChecked).count();
    ensure!(unchecked == 1_000 - MAX_SIGNATURES, "{unchecked} not checked");

    // With a thousand records at each name, a few are tried.
    let many = bench.verify("and 1,000 records at each name", &message, 1_000)?;
    ensure!(many.rsa <= MAX_SIGNATURES * MAX_KEYS_TRIED, "{} RSA operations", many.rsa);

    // Ours a thousand times over: a few are looked at to see whether the message is signed already.
    let ours = [field.repeat(1_000), plain().build()].concat();
    let header = Header::of_message(&ours)?.0;
    let found = signatures_by(&header, &name(AUTHOR), &Selector::parse(SELECTOR)?);
    ensure!(found.len() == MAX_OWN_SIGNATURES, "{} signatures of ours", found.len());
    Ok(())
}

#[test]
fn ten_thousand_names_to_sign_cost_nothing() -> Result<()> {
    let bench = Bench::new()?;
    let claim = |names: usize| {
        let names = "From:".to_owned() + &vec!["To"; names - 1].join(":");
        format!(
            "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d={AUTHOR}; s=s1; h={names};\r\n \
             bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\r\n"
        )
    };
    let message = [claim(10_000).into_bytes().repeat(15), plain().build()].concat();
    let verified = bench.verify("10,000 names in h=", &message, 1)?;
    ensure!(
        verified.look_ups == 0 && verified.rsa == 0,
        "work for what is malformed: {verified:?}"
    );

    // As many names as the bound allows, and as many fields: each field is hashed once for each signature.
    let fields = "To: reader@inbox.test\r\n".repeat(1_000);
    let message =
        [claim(1_000).into_bytes().repeat(15), fields.into_bytes(), plain().build()].concat();
    let verified = bench.verify("1,000 names of 1,000 fields, 15 times", &message, 1)?;
    ensure!(verified.look_ups <= 1, "{} look-ups of one name", verified.look_ups);
    ensure!(verified.memory.count_total < 1_000, "{:?}", verified.memory);

    // And to sign: more than the bound is refused, before anything is hashed.
    let message =
        ["To: reader@inbox.test\r\n".repeat(10_000).into_bytes(), plain().build()].concat();
    let header = Header::of_message(&message)?.0;
    let request = bench.request();
    let mut result = Ok(());
    let memory = measured("10,000 fields to sign", || {
        result = MessageSigning::start(vec![request], &header).map(drop);
    });
    ensure!(result == Err(SignError::TooManyFields), "{result:?}");
    ensure!(memory.bytes_max < 4 << 20, "{memory:?}");
    Ok(())
}

#[test]
fn nested_comments_are_not_followed() -> Result<()> {
    let bench = Bench::new()?;
    for (depth, want) in [(200_000, BadFrom::TooLong), (8_000, BadFrom::CommentDepth)] {
        let from = format!("{}a{} <a@{AUTHOR}>", "(".repeat(depth), ")".repeat(depth));
        let message = MessageBuilder::simple(&from, "reader@inbox.test").build();
        let header = Header::of_message(&message)?.0;
        let mut read = None;
        let memory = measured(&format!("comments nested {depth} deep"), || {
            read = Some(Author::read(&header).map(drop));
        });
        ensure!(read == Some(Err(want)), "{depth} deep: {read:?}");
        ensure!(memory.count_total <= 4 && memory.bytes_max < 4096, "{memory:?}");
        // It is a message all the same, and signed on request.
        bench.sign_and_verify(&format!("and signed, {depth} deep"), &message)?;
    }
    Ok(())
}

#[test]
fn a_hundred_thousand_fields_are_refused_and_the_bound_is_kept_cheaply() -> Result<()> {
    let bench = Bench::new()?;
    let with =
        |fields: usize| ["X-Field: x\r\n".repeat(fields).into_bytes(), plain().build()].concat();
    let message = with(100_000);
    let mut result = Ok(());
    let memory = measured("100,000 fields", || result = Header::of_message(&message).map(drop));
    ensure!(result == Err(HeaderError::TooManyFields), "{result:?}");
    ensure!(memory.bytes_max < 4 << 20, "{memory:?}");

    let half = bench.sign_and_verify("10,000 fields", &with(10_000))?;
    let whole = bench.sign_and_verify("as many as may be", &with(MAX_FIELDS - 10))?;
    // Twice the fields are no more than twice the allocations.
    ensure!(whole.count_total <= 2 * half.count_total + 64, "{half:?} {whole:?}");
    ensure!(whole.bytes_max < 10 << 20, "{whole:?}");
    Ok(())
}

#[test]
fn a_field_of_a_mebibyte_is_hashed_where_it_lies() -> Result<()> {
    let bench = Bench::new()?;
    for (what, line) in
        [("in one line", "word "), ("folded", "word\r\n "), ("of white space", "\t")]
    {
        let value = line.repeat((1 << 20) / line.len()) + "end";
        let message = plain().set("Subject", &value).build();
        let memory = bench.sign_and_verify(&format!("a field of 1 MiB, {what}"), &message)?;
        ensure!(memory.bytes_max < 10 << 20, "{what}: {memory:?}");
        ensure!(memory.count_total < 2_000, "{what}: {memory:?}");
    }
    Ok(())
}

#[test]
fn the_depth_of_mime_costs_nothing() -> Result<()> {
    let bench = Bench::new()?;
    let mut body = String::new();
    for level in 0..1_000 {
        body += &format!(
            "--b{level}\r\nContent-Type: multipart/mixed; boundary=b{}\r\n\r\n",
            level + 1
        );
    }
    let deep = plain().field("Content-Type", "multipart/mixed; boundary=b0").body(body.as_bytes());
    let flat = plain().field("Content-Type", "multipart/mixed; boundary=b0").body_of(body.len());
    let deep = bench.sign_and_verify("MIME of 1,000 levels", &deep.build())?;
    let flat = bench.sign_and_verify("as much text", &flat.build())?;
    // Text with irregular white space takes a buffer, whatever it means.
    ensure!(deep.count_total <= flat.count_total, "{deep:?} {flat:?}");
    ensure!(deep.bytes_max <= flat.bytes_max, "{deep:?} {flat:?}");
    Ok(())
}

#[test]
fn thousands_of_recipients_with_a_feedback_loop_get_one_more_signature() -> Result<()> {
    let bench = Bench::new()?;
    let message = plain().build();
    let mut costs = Vec::new();
    for count in [1, 5_000, 50_000] {
        let domains: Vec<DomainName> =
            (0..count)
                .map(|number| {
                    if number % 2 == 0 {
                        name("yahoo.com")
                    } else {
                        name(&format!("r{number}.test"))
                    }
                })
                .collect();
        let hosts: Vec<DomainName> =
            (0..10).map(|number| name(&format!("mta{number}.am0.yahoodns.net"))).collect();
        let recipients: Vec<Recipient<'_>> =
            domains.iter().rev().map(|domain| Recipient { domain, mx: Some(&hosts) }).collect();
        let header = Header::of_message(&message)?.0;
        let mut decision = None;
        let memory = measured(&format!("{count} recipients at Yahoo"), || {
            decision = Some(plan(&facts(&header, &recipients), &bench.snapshot, NOW));
        });
        let decision = decision.context("a decision")?;
        ensure!(decision.signatures().len() == 2, "{:?}", decision.verdict);
        costs.push(memory.count_total);
    }
    ensure!(costs.iter().all(|cost| cost == &costs[0]), "allocations by recipients: {costs:?}");
    Ok(())
}

/// A tenant with a domain and a key.
struct Bench {
    snapshot: Snapshot,
    key: SigningKey,
}

/// What verifying took.
#[derive(Debug)]
struct Verified {
    look_ups: usize,
    /// RSA operations, as the verifier counted them.
    rsa: usize,
    outcomes: Vec<Outcome>,
    memory: AllocationInfo,
}

/// What signing made.
struct Signed {
    message: Vec<u8>,
    memory: AllocationInfo,
}

impl Bench {
    fn new() -> Result<Self> {
        // What is made once a process is made before anything is counted.
        let bench =
            Self { snapshot: snapshot()?, key: SigningKey::generate(Algorithm::RsaSha256)? };
        let message = bench.sign(&plain().build())?.message;
        bench.verify("a plain message", &message, 1)?;
        Ok(bench)
    }

    fn request(&self) -> SignRequest {
        let message = plain().build();
        let header = Header::of_message(&message).expect("a plain message").0;
        match plan(&facts(&header, &[]), &self.snapshot, NOW).verdict {
            Verdict::Sign(planned) => planned[0].request(),
            other @ (Verdict::PassUnsigned | Verdict::Refuse(_) | Verdict::Tempfail(_)) => {
                panic!("a plain message is {other:?}")
            }
        }
    }

    /// Signs with one key, one RSA operation.
    fn sign(&self, message: &[u8]) -> Result<Signed> {
        let request = self.request();
        let mut made = None;
        let memory = measured("signed", || {
            made = Some((|| -> Result<Vec<u8>> {
                let (header, body) = Header::of_message(message)?;
                let mut signing = MessageSigning::start(vec![request], &header)?;
                body.chunks(65_535).for_each(|chunk| signing.body(chunk));
                let unsigned = signing.finish().pop().context("one signature")?;
                let signature = self.key.sign(unsigned.digest())?;
                Ok(unsigned.complete(&signature).raw().to_vec())
            })());
        });
        let mut signed = made.context("it was measured")??;
        signed.extend_from_slice(message);
        Ok(Signed { message: signed, memory })
    }

    /// Verifies, with this many key records at every name that is asked for.
    fn verify(&self, what: &str, message: &[u8], records: usize) -> Result<Verified> {
        let record = self.key.public_record();
        let (mut look_ups, mut report, mut fed) = (0, None, 0);
        let (header, body) = Header::of_message(message)?;
        let memory = measured(&format!("{what}, verified"), || {
            let (mut verifier, queries) = Verifier::start(&header, &VerifyRules::default(), NOW);
            look_ups = queries.len();
            for query in queries {
                verifier
                    .answer(query.id, KeyAnswer::from_texts(std::iter::repeat_n(&record, records)));
            }
            for chunk in body.chunks(65_535) {
                fed += chunk.len();
                verifier.body(chunk);
            }
            report = Some(verifier.finish());
        });
        ensure!(fed == body.len(), "each octet of the body is given once");
        ensure!(memory.bytes_max < MEMORY_TO_VERIFY, "{what}: {memory:?}");
        let report = report.context("it was measured")?;
        let rsa = report.work.key_operations;
        let outcomes = report.signatures.into_iter().map(|one| one.outcome).collect();
        Ok(Verified { look_ups, rsa, outcomes, memory })
    }

    /// Signs and verifies: one RSA operation for each, and the signature passes.
    fn sign_and_verify(&self, what: &str, message: &[u8]) -> Result<AllocationInfo> {
        let signed = self.sign(message)?;
        let verified = self.verify(what, &signed.message, 1)?;
        ensure!(verified.outcomes.first().is_some_and(Outcome::is_pass), "{what}: {verified:?}");
        ensure!(verified.look_ups == 1 && verified.rsa == 1, "{what}: {verified:?}");
        let (one, other) = (signed.memory, verified.memory);
        Ok(AllocationInfo {
            count_total: one.count_total + other.count_total,
            bytes_max: one.bytes_max.max(other.bytes_max),
            ..other
        })
    }
}

/// Runs something and says what it took.
fn measured(what: &str, run: impl FnOnce()) -> AllocationInfo {
    let before = processor_time();
    let memory = allocation_counter::measure(run);
    let took = processor_time().saturating_sub(before);
    println!(
        "{what}: {} allocations, {} KiB at most, {:.1} ms",
        memory.count_total,
        memory.bytes_max / 1024,
        took as f64 / 1e6
    );
    memory
}

/// Nanoseconds that this thread had of a processor, where the system says so.
fn processor_time() -> u64 {
    fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|text| text.split(' ').next()?.parse().ok())
        .unwrap_or_default()
}

fn facts<'a>(header: &'a Header<'a>, recipients: &'a [Recipient<'a>]) -> Facts<'a> {
    Facts {
        tenant: Some(TenantId::new(1)),
        header,
        connection_pool: None,
        header_pool: HeaderPool::Obeyed,
        recipients,
    }
}

fn snapshot() -> Result<Snapshot> {
    let signing = |owner: u32, domain: &str| -> Result<Change> {
        let key = Arc::new(KeyEntry {
            id: KeyId::new(1),
            owner: TenantId::new(owner),
            domain: name(domain),
            selector: Selector::parse(SELECTOR)?,
            algorithm: Algorithm::RsaSha256,
            // Nobody opens it.
            sealed: SealedKey::new(*b"sealed"),
        });
        let row = DomainRow::claimed(TenantId::new(owner), name(domain));
        Ok(Change::Domain(row.signing(SigningKeys::new(key)?)?))
    };
    let mut pool = PoolRow::new(PoolId::default_pool());
    pool.fbl_signing_domain = Some(name(LOOP));
    let rows = [
        Change::Tenant(TenantRow::new(TenantId::new(1))),
        signing(1, AUTHOR)?,
        signing(0, LOOP)?,
        Change::Pool(pool),
    ];
    Ok(Snapshot::load(Revision::new(1), rows))
}

fn plain() -> MessageBuilder {
    MessageBuilder::simple(&format!("news@{AUTHOR}"), "reader@inbox.test")
}

fn name(text: &str) -> DomainName {
    DomainName::parse(text).expect("a name of the test")
}

const AUTHOR: &str = "acme.test";
const LOOP: &str = "fbl.esp.test";
const SELECTOR: &str = "s1";
const NOW: UnixTime = UnixTime(1_800_000_000);

/// What verifying may need beside the message, whatever it is.
const MEMORY_TO_VERIFY: u64 = 10 << 20;

//! A signer without a daemon: what the front doors do with a message, on the test's own threads.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use postseal_dkim::{
    Algorithm, Canon, Canonicalization, DomainName, FieldName, Header, KeyAnswer, MAX_SIGNATURES,
    MessageSigning, Outcome, Selector, UnixTime, Verifier, VerifyRules, key_record_name,
};
use postseal_engine::{
    Author, Change, DomainRow, Facts, HeaderPool, KeyEntry, KeyId, OnBadFrom, PlatformRow,
    PolicyLayer, PoolId, PoolRow, Purpose, Recipient, Revision, SealedKey, SigningKeys, Snapshot,
    TenantId, TenantRow, Verdict, plan,
};
use postseal_keys::SigningKey;
use postseal_testkit::mail_data::real_messages;
use postseal_testkit::mutate::{Mutant, Random};
use postseal_testkit::scale;

#[test]
fn whatever_is_signed_verifies_and_nothing_panics() -> Result<()> {
    let seed = scale::seed();
    let count = scale::figure("POSTSEAL_MUTANTS", 100_000, 1_000_000);
    let originals = originals(MAX_ORIGINAL)?;
    let bench = Bench::new()?;
    let began = Instant::now();
    let threads = thread::available_parallelism()?.get() as u64;
    let parts: Vec<Result<Tally>> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|first| {
                let (bench, originals) = (&bench, &originals);
                scope.spawn(move || {
                    let mut tally = Tally::default();
                    for number in (first..count).step_by(threads as usize) {
                        let mutant = Mutant::new(seed, number, originals);
                        let outcome = catch_unwind(AssertUnwindSafe(|| bench.try_on(&mutant)));
                        let Ok(outcome) = outcome else { bail!("{mutant}: a panic") };
                        tally.count(outcome.with_context(|| mutant.to_string())?);
                    }
                    Ok(tally)
                })
            })
            .collect();
        running.into_iter().map(|one| one.join().expect("panics are caught")).collect()
    });
    let mut all = Tally::default();
    for part in parts {
        for (end, count) in part?.0 {
            *all.0.entry(end).or_default() += count;
        }
    }
    println!("seed {seed}: {count} mutants in {:.1} s", began.elapsed().as_secs_f64());
    for (end, count) in &all.0 {
        println!("{count:8} {end}");
    }
    let signed: u64 =
        all.0.iter().filter(|(end, _)| end.starts_with("signed")).map(|(_, n)| n).sum();
    ensure!(signed * 2 >= count, "only {signed} of {count} mutants were signed");
    ensure!(all.0.keys().any(|end| end.starts_with("refused")), "no mutant was refused");
    Ok(())
}

/// The real messages as an MTA carries them, without the largest: a hundred thousand mutants of a megabyte would
/// try the hash and nothing else.
pub(crate) fn originals(largest: usize) -> Result<Vec<Vec<u8>>> {
    let originals: Vec<Vec<u8>> = real_messages()?
        .iter()
        .map(postseal_testkit::mail_data::RealMessage::on_the_wire)
        .filter(|message| message.len() <= largest)
        .collect();
    ensure!(originals.len() >= 250, "{} messages", originals.len());
    Ok(originals)
}

/// How the mutants ended.
#[derive(Default)]
struct Tally(BTreeMap<String, u64>);

impl Tally {
    fn count(&mut self, end: String) {
        *self.0.entry(end).or_default() += 1;
    }
}

/// Snapshots and keys to sign with.
struct Bench {
    /// Refuses a From that cannot be read, as it is by default.
    strict: Snapshot,
    /// Signs it as the pool's domain.
    lenient: Snapshot,
    rsa: SigningKey,
    ed25519: SigningKey,
}

impl Bench {
    fn new() -> Result<Self> {
        Ok(Self {
            strict: snapshot(OnBadFrom::Refuse)?,
            lenient: snapshot(OnBadFrom::Pool)?,
            rsa: SigningKey::generate(Algorithm::RsaSha256)?,
            ed25519: SigningKey::generate(Algorithm::Ed25519Sha256)?,
        })
    }

    /// Decides about a mutant, signs it and verifies it; gives a word for how it ended.
    fn try_on(&self, mutant: &Mutant) -> Result<String> {
        let mut random = Random::for_case(mutant.seed ^ 0xb0d1, mutant.number);
        let message = with_trace(&mutant.bytes);
        let (header, body) = match Header::of_message(&message) {
            Ok(parts) => parts,
            Err(error) => return Ok(format!("beyond a bound: {error}")),
        };
        // The fields are the octets of the header.
        ensure!(
            header.fields().flat_map(|field| field.raw()).eq(message
                .get(..header.fields().map(|field| field.raw().len()).sum())
                .unwrap_or_default()),
            "the fields are not the octets of the header"
        );
        let snapshot = if random.below(4) == 0 { &self.strict } else { &self.lenient };
        let recipients = [DomainName::parse("inbox.test")?, DomainName::parse("yahoo.com")?];
        let recipients: Vec<Recipient<'_>> =
            recipients.iter().map(|domain| Recipient { domain, mx: None }).collect();
        let facts = Facts {
            tenant: Some(TenantId::new(1)),
            header: &header,
            connection_pool: None,
            header_pool: if random.below(2) == 0 {
                HeaderPool::Obeyed
            } else {
                HeaderPool::Ignored
            },
            recipients: &recipients,
        };
        let decision = plan(&facts, snapshot, NOW);
        let planned = match &decision.verdict {
            Verdict::Sign(planned) => planned,
            // The name of a pool is the mutant's own text.
            Verdict::Refuse(refusal) => {
                let text = refusal.text.split('\'').next().unwrap_or_default();
                return Ok(format!("refused: {text}"));
            }
            Verdict::Tempfail(refusal) => bail!("a 4xx: {refusal}"),
            // RFC 6376 §5.4: From has to be signed, and which of several would be?
            Verdict::PassUnsigned if header.count(&FieldName::FROM) != 1 => {
                return Ok("passed unsigned: no From field, or several".to_owned());
            }
            Verdict::PassUnsigned => bail!("passed unsigned, with a pool that signs"),
        };
        for signature in planned {
            if signature.purpose == Purpose::Author {
                let author =
                    Author::read(&header).context("an author's signature without an author")?;
                ensure!(
                    author.domain() == Some(signature.signing_domain()),
                    "another author's signature"
                );
            }
        }

        let travelling: Vec<&[u8]> = header
            .fields()
            .enumerate()
            .filter(|(place, _)| decision.remove.iter().all(|removal| removal.index != *place))
            .map(|(_, field)| field.raw())
            .collect();
        let end_of_header = header.fields().map(|field| field.raw().len()).sum();
        let rest =
            [&travelling.concat()[..], message.get(end_of_header..).unwrap_or_default()].concat();
        let header = Header::from_fields(travelling)?;
        let canonicalization = Canonicalization {
            header: *random.pick(&[Canon::Simple, Canon::Relaxed]),
            body: *random.pick(&[Canon::Simple, Canon::Relaxed]),
        };
        let algorithm =
            if random.below(16) == 0 { Algorithm::RsaSha256 } else { Algorithm::Ed25519Sha256 };
        let requests: Vec<_> = planned
            .iter()
            .map(|signature| {
                let mut request = signature.request();
                request.canonicalization = canonicalization;
                request.algorithm = algorithm;
                request
            })
            .collect();
        let wanted = requests.len();
        let mut signing = match MessageSigning::start(requests, &header) {
            Ok(signing) => signing,
            Err(error) => return Ok(format!("cannot be signed: {error}")),
        };
        feed(body, &mut random, |chunk| signing.body(chunk));
        let mut signed = Vec::with_capacity(rest.len() + 2048);
        let key = if algorithm == Algorithm::RsaSha256 { &self.rsa } else { &self.ed25519 };
        for unsigned in signing.finish() {
            let signature = key.sign(unsigned.digest())?;
            signed.extend_from_slice(unsigned.complete(&signature).raw());
        }
        signed.extend_from_slice(&rest);
        self.verify(&signed, body, wanted, &key.public_record(), &mut random)?;
        let by = planned.first().map(|signature| signature.purpose.as_str()).unwrap_or_default();
        Ok(format!("signed as the {by}'s"))
    }

    /// Has our verifier judge the signatures on top.
    fn verify(
        &self,
        signed: &[u8],
        body: &[u8],
        wanted: usize,
        record: &str,
        random: &mut Random,
    ) -> Result<()> {
        // A message that was at the bound is beyond it with our field.
        let Ok((header, same_body)) = Header::of_message(signed) else { return Ok(()) };
        ensure!(body == same_body, "the body is another one");
        // Looks at as many as there are: the message may have brought signatures of its own.
        let rules = VerifyRules { max_signatures: MAX_SIGNATURES * 40 };
        let (mut verifier, queries) = Verifier::start(&header, &rules, NOW);
        ensure!(queries.len() <= header.len(), "more queries than fields");
        for query in queries {
            let ours = [POOL, LOOP, AUTHOR].iter().any(|domain| is_key_of(&query.name, domain));
            let answer = if ours { KeyAnswer::from_texts([record]) } else { KeyAnswer::NoRecord };
            verifier.answer(query.id, answer);
        }
        feed(same_body, random, |chunk| verifier.body(chunk));
        let report = verifier.finish();
        for (place, signature) in report.signatures.iter().take(wanted).enumerate() {
            ensure!(signature.field == place, "signature {place} is not on top");
            ensure!(
                matches!(signature.outcome, Outcome::Verified(_)),
                "our own verifier says {:?}",
                signature.outcome
            );
        }
        ensure!(report.signatures.len() >= wanted, "our own verifier does not see it");
        Ok(())
    }
}

/// The message below a trace field, as every hop adds one, if its first line begins with white space: without it,
/// whatever is put on top would take that line in as its own folding.
fn with_trace(message: &[u8]) -> Cow<'_, [u8]> {
    match message.first() {
        Some(b' ' | b'\t') => Cow::Owned([b"Received: by test\r\n", message].concat()),
        _ => Cow::Borrowed(message),
    }
}

/// Gives octets in chunks cut anywhere.
fn feed(octets: &[u8], random: &mut Random, mut take: impl FnMut(&[u8])) {
    let mut rest = octets;
    while !rest.is_empty() {
        let size = match random.below(3) {
            0 => 1 + random.below(16),
            1 => 1 + random.below(1024),
            _ => rest.len(),
        };
        let (chunk, after) = rest.split_at(size.min(rest.len()));
        take(chunk);
        rest = after;
    }
}

fn is_key_of(owner: &DomainName, domain: &str) -> bool {
    let (Ok(selector), Ok(domain)) = (Selector::parse(SELECTOR), DomainName::parse(domain)) else {
        return false;
    };
    key_record_name(&selector, &domain).is_ok_and(|name| name == *owner)
}

/// What a platform knows: a tenant with a domain, which real messages name as well, and a pool with both domains.
fn snapshot(on_bad_from: OnBadFrom) -> Result<Snapshot> {
    let key = |owner: u32, domain: &str| -> Result<Arc<KeyEntry>> {
        Ok(Arc::new(KeyEntry {
            id: KeyId::new(1),
            owner: TenantId::new(owner),
            domain: DomainName::parse(domain)?,
            selector: Selector::parse(SELECTOR)?,
            algorithm: Algorithm::RsaSha256,
            // Nobody opens it.
            sealed: SealedKey::new(*b"sealed"),
        }))
    };
    let signing = |owner: u32, domain: &str| -> Result<Change> {
        let row = DomainRow::claimed(TenantId::new(owner), DomainName::parse(domain)?);
        Ok(Change::Domain(row.signing(SigningKeys::new(key(owner, domain)?)?)?))
    };
    let mut pool = PoolRow::new(PoolId::default_pool());
    pool.signing_domain = Some(DomainName::parse(POOL)?);
    pool.fbl_signing_domain = Some(DomainName::parse(LOOP)?);
    let policy = PolicyLayer { on_bad_from: Some(on_bad_from), ..PolicyLayer::default() };
    let rows = [
        Change::Tenant(TenantRow::new(TenantId::new(1))),
        signing(1, AUTHOR)?,
        signing(0, POOL)?,
        signing(0, LOOP)?,
        Change::Pool(pool),
        Change::Platform(PlatformRow { policy, ..PlatformRow::default() }),
    ];
    Ok(Snapshot::load(Revision::new(1), rows))
}

/// Real messages from here are row 1's.
const AUTHOR: &str = "gmail.com";
const POOL: &str = "pool.esp.test";
const LOOP: &str = "fbl.esp.test";
const SELECTOR: &str = "s1";

/// Largest original.
const MAX_ORIGINAL: usize = 64 << 10;

const NOW: UnixTime = UnixTime(1_800_000_000);

//! Mutants through the front doors of a daemon, and to other verifiers.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use postseal_dkim::{Header, KeyAnswer, UnixTime, Verifier as OurVerifier, VerifyRules};
use postseal_testkit::message::{self, MessageBuilder};
use postseal_testkit::milter_client::{MilterClient, Offer, Transaction, Verdict};
use postseal_testkit::mutate::{Mutant, as_an_mta_shows};
use postseal_testkit::platform::{Platform, Tenant};
use postseal_testkit::scale;
use postseal_testkit::verifiers::{Outcome, Verifier};
use serde_json::json;

use crate::differences;
use crate::in_process::originals;

#[tokio::test(flavor = "multi_thread")]
async fn mutants_through_both_front_doors_and_to_other_verifiers() -> Result<()> {
    let seed = scale::seed();
    let count = scale::figure("POSTSEAL_MUTANTS_SENT", 8_000, 80_000);
    let (platform, tenant) = start().await?;
    let originals = originals(MAX_ORIGINAL)?;
    let began = Instant::now();
    let parts: Vec<Result<Sent>> = thread::scope(|scope| {
        let running: Vec<_> = (0..CONNECTIONS)
            .map(|first| {
                let (platform, tenant, originals) = (&platform, &tenant, &originals);
                scope.spawn(move || {
                    let mut sent = Sent::default();
                    let numbers = (first..count).step_by(CONNECTIONS as usize);
                    // Every fourth connection is one of SMTP.
                    if first % 4 == 3 {
                        sent.through_proxy(platform, tenant, seed, numbers, originals)?;
                    } else {
                        sent.through_milter(platform, seed, numbers, originals)?;
                    }
                    Ok(sent)
                })
            })
            .collect();
        running.into_iter().map(|one| one.join().expect("no panic")).collect()
    });
    refuses_what_can_never_be_signed(&platform, &tenant)?;
    let mut all = Sent::default();
    for part in parts {
        let part = part?;
        all.signed.extend(part.signed);
        for (end, count) in part.ends {
            *all.ends.entry(end).or_default() += count;
        }
    }
    println!("seed {seed}: {count} mutants sent in {:.1} s", began.elapsed().as_secs_f64());
    for (end, count) in &all.ends {
        println!("{count:8} {end}");
    }
    let log = platform.daemon.log();
    ensure!(!log.contains("panic"), "a panic in the daemon:\n{log}");
    let health = platform.account.get("/readyz").await?;
    ensure!(health.status == 200, "not ready after them: {}", health.body);
    ensure!(all.signed.len() as u64 * 2 > count, "only {} were signed", all.signed.len());

    all.signed.sort_by_key(|(number, _)| *number);
    verify(&platform.dns_file(), &all.signed)?;
    let judged = scale::figure("POSTSEAL_MUTANTS_JUDGED", 3_000, 30_000) as usize;
    all.signed.retain(|(_, message)| message.len() <= MAX_JUDGED);
    all.signed.truncate(judged);
    ensure!(all.signed.len() == judged, "{} for the other verifiers", all.signed.len());
    judge(seed, &platform.dns_file(), &all.signed, &originals)
}

/// A message with more fields than a signature can name is refused for good: a sender who is asked to try again
/// would do so for days.
fn refuses_what_can_never_be_signed(platform: &Platform, tenant: &Tenant) -> Result<()> {
    let message = MessageBuilder::simple("a@b.test", "c@d.test").build();
    let message = ["To: reader@inbox.test\r\n".repeat(2_000).into_bytes(), message].concat();
    let reply =
        platform.smtp(&tenant.key)?.send("bounce@acme.test", &["reader@inbox.test"], &message)?;
    ensure!(reply.code == 550, "the proxy answers {}", reply.text());
    let mut client = MilterClient::connect(platform.daemon.address("milter")?, Offer::VERSION_6)?;
    let outcome =
        client.send(&Transaction::new("bounce@acme.test", "reader@inbox.test", message))?;
    let is_refused =
        matches!(&outcome.verdict, Verdict::Reply(reply) if reply.starts_with("550 5.6.0"));
    ensure!(is_refused, "the milter answers {:?}", outcome.verdict);
    Ok(())
}

/// Our own verifier, on everything that came out signed.
fn verify(dns_file: &str, signed: &[(u64, Vec<u8>)]) -> Result<()> {
    let records: Vec<(&str, &str)> =
        dns_file.lines().filter_map(|line| line.split_once('\t')).collect();
    for (number, message) in signed {
        let (header, body) =
            Header::of_message(message).with_context(|| format!("mutant {number}"))?;
        let rules = VerifyRules { max_signatures: 1_000 };
        let (mut verifier, queries) = OurVerifier::start(&header, &rules, UnixTime(now()?));
        for query in queries {
            let record = records.iter().find(|(owner, _)| *owner == query.name.as_str());
            let answer =
                record.map_or(KeyAnswer::NoRecord, |(_, text)| KeyAnswer::from_texts([text]));
            verifier.answer(query.id, answer);
        }
        verifier.body(body);
        let report = verifier.finish();
        let first = report
            .signatures
            .iter()
            .find(|one| one.signing_domain.as_ref().is_some_and(|domain| domain.as_str() == POOL))
            .with_context(|| format!("mutant {number}: no signature of ours"))?;
        ensure!(first.outcome.is_pass(), "mutant {number}: {:?}", first.outcome);
    }
    Ok(())
}

/// The other verifiers. Where one does not pass what we signed, the table has to say why, and another has to
/// agree with us.
fn judge(
    seed: u64,
    dns_file: &str,
    signed: &[(u64, Vec<u8>)],
    originals: &[Vec<u8>],
) -> Result<()> {
    let began = Instant::now();
    let messages: Vec<&[u8]> = signed.iter().map(|(_, message)| &message[..]).collect();
    let messages = messages.as_slice();
    let answers: Vec<Result<Vec<_>>> = thread::scope(|scope| {
        let running: Vec<_> = Verifier::ALL
            .map(|verifier| scope.spawn(move || verifier.verify(dns_file, messages)))
            .into_iter()
            .collect();
        running.into_iter().map(|one| one.join().expect("no panic")).collect()
    });
    let answers = answers.into_iter().collect::<Result<Vec<_>>>()?;
    let mut listed: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut unexplained = Vec::new();
    for (place, (number, message)) in signed.iter().enumerate() {
        let opinions: Vec<_> = answers
            .iter()
            .map(|all| all[place].iter().find(|one| one.signing_domain == POOL))
            .collect();
        let agreeing = opinions
            .iter()
            .filter(|one| one.is_some_and(|one| one.outcome == Outcome::Pass))
            .count();
        for (verifier, opinion) in Verifier::ALL.into_iter().zip(&opinions) {
            let reason = match opinion {
                Some(one) if one.outcome == Outcome::Pass => continue,
                Some(one) => one.reason.clone(),
                None => "sees no signature of ours".to_owned(),
            };
            match differences::explain(verifier, message, agreeing) {
                Some(known) => {
                    listed.entry(format!("{}: {known}", verifier.name())).or_default().push(*number)
                }
                None => {
                    let mutant = Mutant::new(seed, *number, originals);
                    unexplained.push((
                        verifier.name(),
                        agreeing,
                        mutant.to_string(),
                        reason,
                        message,
                    ));
                }
            }
        }
    }
    println!(
        "{} signed mutants to {} verifiers in {:.1} s",
        signed.len(),
        Verifier::ALL.len(),
        began.elapsed().as_secs_f64()
    );
    for (known, numbers) in &listed {
        println!("{:8} {known}: {:?}", numbers.len(), &numbers[..numbers.len().min(5)]);
    }
    if let Ok(folder) = std::env::var("POSTSEAL_KEEP_DIFFERENCES") {
        for (verifier, _, mutant, _, message) in &unexplained {
            let number = mutant.split(' ').nth(1).unwrap_or_default();
            std::fs::write(
                Path::new(&folder).join(format!("{number}-{}.eml", &verifier[..4])),
                message,
            )?;
        }
        std::fs::write(Path::new(&folder).join("keys"), dns_file)?;
    }
    let text: Vec<String> = unexplained
        .iter()
        .take(60)
        .map(|(verifier, agreeing, mutant, reason, _)| {
            format!("{verifier} ({agreeing} agree with us): {mutant}: {reason}")
        })
        .collect();
    ensure!(unexplained.is_empty(), "{} not in the table:\n{}", unexplained.len(), text.join("\n"));
    Ok(())
}

/// What came of the mutants of one connection.
#[derive(Default)]
struct Sent {
    signed: Vec<(u64, Vec<u8>)>,
    ends: BTreeMap<String, u64>,
}

impl Sent {
    fn through_milter(
        &mut self,
        platform: &Platform,
        seed: u64,
        numbers: impl Iterator<Item = u64>,
        originals: &[Vec<u8>],
    ) -> Result<()> {
        let address = platform.daemon.address("milter")?;
        let mut client = None;
        for number in numbers {
            let mutant = Mutant::new(seed, number, originals);
            let original = as_an_mta_shows(&mutant.bytes);
            let mut transaction =
                Transaction::new("bounce@acme.test", "reader@inbox.test", original.clone());
            let connection = match &mut client {
                Some(connection) => {
                    transaction.client = None;
                    connection
                }
                none => {
                    let offer = if number % 2 == 0 { Offer::VERSION_6 } else { Offer::VERSION_2 };
                    none.insert(MilterClient::connect(address, offer)?)
                }
            };
            let outcome = connection.send(&transaction).with_context(|| mutant.to_string())?;
            match &outcome.verdict {
                Verdict::Continue => {
                    // Control fields of the message are taken out; everything else stays.
                    let sent = outcome.apply(&original);
                    self.arrived(&mutant, &original, sent)?;
                }
                Verdict::Reply(reply) => self.refused("milter", &mutant, reply)?,
                other @ (Verdict::Accept
                | Verdict::Reject
                | Verdict::TempFail
                | Verdict::Discard) => {
                    bail!("{mutant}: {other:?}")
                }
            }
            if !outcome.at_end {
                // The MTA would end the message now; the next one begins on a connection of its own.
                client = None;
            }
        }
        Ok(())
    }

    fn through_proxy(
        &mut self,
        platform: &Platform,
        tenant: &Tenant,
        seed: u64,
        numbers: impl Iterator<Item = u64>,
        originals: &[Vec<u8>],
    ) -> Result<()> {
        let mut client = platform.smtp(&tenant.key)?;
        for number in numbers {
            let mutant = Mutant::new(seed, number, originals);
            let sender = format!("mutant-{number}@acme.test");
            let reply = client
                .send(&sender, &["reader@inbox.test"], &mutant.bytes)
                .with_context(|| mutant.to_string())?;
            if !reply.is_positive() {
                self.refused("proxy", &mutant, &reply.text())?;
                if reply.code == 421 || client.command("NOOP").is_err() {
                    client = platform.smtp(&tenant.key)?;
                }
                continue;
            }
            let arrived = platform.sink.messages();
            let arrived = arrived
                .iter()
                .rev()
                .find(|received| received.sender == sender)
                .with_context(|| format!("{mutant}: a 250 and nothing arrived"))?;
            // A first line that begins with white space becomes part of the trace field above it.
            if matches!(mutant.bytes.first(), Some(b' ' | b'\t')) {
                let end = arrived.message.len() - mutant.bytes.len().min(arrived.message.len());
                ensure!(
                    arrived.message[end..].ends_with(message::split(&mutant.bytes).1),
                    "{mutant}"
                );
                continue;
            }
            let mut original = mutant.bytes.clone();
            if !original.is_empty() && !original.ends_with(b"\r\n") {
                original.extend_from_slice(b"\r\n");
            }
            if !original.starts_with(b"\r\n")
                && !original.windows(4).any(|octets| octets == b"\r\n\r\n")
            {
                original.extend_from_slice(b"\r\n");
            }
            self.arrived(&mutant, &original, arrived.message.clone())?;
        }
        Ok(())
    }

    /// A message went out: the same below what was added, but for control fields, and signed if it can be.
    fn arrived(&mut self, mutant: &Mutant, original: &[u8], sent: Vec<u8>) -> Result<()> {
        let (header, body) = message::split(original);
        let (sent_header, sent_body) = message::split(&sent);
        ensure!(sent_body == body, "{mutant}: the body changed");
        let kept: Vec<&[u8]> =
            message::fields(header).into_iter().filter(|field| !is_control(field)).collect();
        let came = message::fields(sent_header);
        let added = came
            .len()
            .checked_sub(kept.len())
            .with_context(|| format!("{mutant}: a field is lost"))?;
        let (added, came) = came.split_at(added);
        ensure!(
            came == kept,
            "{mutant}: a field changed:\n{:?}\n{:?}",
            String::from_utf8_lossy(original),
            String::from_utf8_lossy(&sent)
        );
        let ours = added.iter().filter(|field| {
            field.starts_with(b"DKIM-Signature:")
                && String::from_utf8_lossy(field).contains(&format!("d={POOL};"))
        });
        match ours.count() {
            0 => {
                let from_fields = kept.iter().filter(|field| is_from(field)).count();
                ensure!(
                    from_fields != 1,
                    "{mutant}: went out unsigned:\n{:?}",
                    String::from_utf8_lossy(original)
                );
                *self
                    .ends
                    .entry("passed unsigned: no From field, or several".to_owned())
                    .or_default() += 1;
            }
            _ => {
                *self.ends.entry("signed".to_owned()).or_default() += 1;
                self.signed.push((mutant.number, sent));
            }
        }
        Ok(())
    }

    fn refused(&mut self, front_door: &str, mutant: &Mutant, reply: &str) -> Result<()> {
        let text = reply.trim_start_matches(|octet: char| {
            octet.is_ascii_digit() || octet == '.' || octet == ' '
        });
        // The name of a pool is the mutant's own text.
        let text = text.split('\'').next().unwrap_or_default();
        ensure!(reply.starts_with('5'), "{mutant}: {reply}");
        *self.ends.entry(format!("{front_door} refuses: {text}")).or_default() += 1;
        Ok(())
    }
}

fn is_control(field: &[u8]) -> bool {
    ["x-postseal-pool", "x-msys-api"].iter().any(|name| is_named(field, name))
}

fn is_from(field: &[u8]) -> bool {
    is_named(field, "from")
}

fn is_named(field: &[u8], name: &str) -> bool {
    let Some(colon) = field.iter().position(|octet| *octet == b':') else { return false };
    // RFC 5322 §4.5: white space in front of the colon, and no folding.
    let blanks =
        field[..colon].iter().rev().take_while(|octet| matches!(octet, b' ' | b'\t')).count();
    field[..colon - blanks].eq_ignore_ascii_case(name.as_bytes())
}

fn now() -> Result<u64> {
    Ok(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs())
}

/// A platform that signs whatever can be signed.
async fn start() -> Result<(Platform, Tenant)> {
    let binary = Path::new(env!("CARGO_BIN_EXE_postseal"));
    let platform = Platform::start(binary, CONFIG).await?;
    let tenant = platform.make_tenant("Acme").await?;
    platform.make_domain(&platform.account, POOL).await?;
    let pool = platform.make_pool(json!({ "name": "mutants", "signing_domain": POOL })).await?;
    let path = format!("/api/v1/subaccounts/{}", tenant.id);
    let reply = platform.account.put(&path, json!({ "ip_pool": pool })).await?;
    ensure!(reply.status == 200, "assign the pool: {} {}", reply.status, reply.body);
    // The signer has heard of it when it signs by it.
    let mut client = platform.smtp(&tenant.key)?;
    let first = MessageBuilder::simple("a@b.test", "c@d.test").build();
    for _ in 0..200 {
        let before = platform.sink.count();
        let reply = client.send("bounce@acme.test", &["reader@inbox.test"], &first)?;
        ensure!(reply.is_positive(), "{}", reply.text());
        let arrived = platform.sink.messages();
        if let Some(arrived) = arrived.get(before as usize)
            && !message::values(&arrived.message, "DKIM-Signature").is_empty()
        {
            return Ok((platform, tenant));
        }
    }
    bail!("the pool never signed")
}

const POOL: &str = "pool.esp.test";

/// Connections at a time.
const CONNECTIONS: u64 = 4;

/// Largest original: what is tried here is what an MTA does with a message, not how fast it is.
const MAX_ORIGINAL: usize = 32 << 10;

/// The interpreters among the other verifiers take seconds for a large one.
const MAX_JUDGED: usize = 48 << 10;

const CONFIG: &str = r#"
[[milter]]
listen = "127.0.0.1:0"
tenant = 1

[[smtp]]
listen = "127.0.0.1:0"

[policy]
on_bad_from = "pool"
on_long_line = "sign"
on_unsigned = "accept"
"#;

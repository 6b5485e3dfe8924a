//! The DKIM tests of other software: each of their messages has the verdict that they expect, or the table has the
//! section that decides.
//!
//! `tests/install-peers` fetches them by name and version into `build/suites`; none is in the repository.

use anyhow::{Context, Result, ensure};
use postseal_dkim::{AuthResult, Outcome as OurOutcome, UnixTime};
use postseal_testkit::peers;
use postseal_testkit::vectors::Vector;
use postseal_testkit::verifiers::{Outcome, Verifier};

use crate::ours::{now, verify};

/// Where we differ from what a suite expects. A verifier that we did not write has to agree with us on each message.
struct Difference {
    /// The section that decides.
    reason: &'static str,
    /// Whose suite expects otherwise.
    suite: &'static str,
    /// What we say.
    outcome: OurOutcome,
}

const DIFFERENCES: [Difference; 1] = [Difference {
    reason: "RFC 8301 §3.1: rsa-sha1 counts for nothing any more",
    suite: "opendkim",
    outcome: OurOutcome::Sha1,
}];

#[test]
fn dkimpy_expects_what_we_say() -> Result<()> {
    compare("dkimpy", 40)
}

#[test]
fn opendkim_expects_what_we_say() -> Result<()> {
    compare("opendkim", 40)
}

#[test]
fn rspamd_expects_what_we_say() -> Result<()> {
    compare("rspamd", 6)
}

#[test]
fn mail_auth_expects_what_we_say() -> Result<()> {
    compare("mail-auth", 6)
}

fn compare(suite: &str, at_least: usize) -> Result<()> {
    let vectors = Vector::read_folder(&peers::suites()?.join(suite))?;
    ensure!(vectors.len() >= at_least, "{suite} has only {} cases", vectors.len());
    let mut counts = [0; DIFFERENCES.len()];
    let mut unexplained = Vec::new();
    for vector in &vectors {
        let time = vector.now.map_or_else(now, |seconds| Ok(UnixTime(seconds)))?;
        let outcomes = verify(&vector.dns_file(), &vector.message, time)?;
        // mail-auth looks at the last signature, everybody else at the first.
        let judged = if suite == "mail-auth" { outcomes.last() } else { outcomes.first() };
        let expected = vector.expect.first().context("nothing is expected")?;
        let result = judged.map(OurOutcome::result);
        let agrees = match expected.as_str() {
            "pass" => result == Some(AuthResult::Pass),
            "fail" => result == Some(AuthResult::Fail),
            _ => result != Some(AuthResult::Pass),
        };
        if agrees {
            continue;
        }
        let company = who_agrees(vector, result == Some(AuthResult::Pass))?;
        let entry = DIFFERENCES.iter().position(|known| {
            known.suite == suite && judged == Some(&known.outcome) && !company.is_empty()
        });
        match entry.and_then(|entry| counts.get_mut(entry)) {
            Some(count) => *count += 1,
            None => unexplained.push(format!(
                "{}: {expected} is expected, we say {outcomes:?}; with us: {company:?}",
                vector.name
            )),
        }
    }
    println!("{:4} cases of {suite}", vectors.len());
    ensure!(unexplained.is_empty(), "not in the table:\n{}", unexplained.join("\n"));
    for (known, count) in DIFFERENCES.iter().zip(counts).filter(|(known, _)| known.suite == suite) {
        println!("{count:8} {}", known.reason);
        ensure!(count > 0, "nobody differs any more: {}", known.reason);
    }
    Ok(())
}

/// The verifiers that say of the topmost signature what we say: that it passes, or not.
fn who_agrees(vector: &Vector, passes: bool) -> Result<Vec<&'static str>> {
    let mut names = Vec::new();
    for verifier in Verifier::ALL {
        let verdicts = verifier.verify(&vector.dns_file(), &[&vector.message])?;
        let first = verdicts.first().and_then(|all| all.first());
        if first.is_some_and(|one| one.outcome == Outcome::Pass) == passes {
            names.push(verifier.name());
        }
    }
    Ok(names)
}

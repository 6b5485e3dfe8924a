//! Two thousand generated messages of hostile shape, in both directions, with each canonicalization and algorithm.

use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use postseal_dkim::{Algorithm, FieldName, FieldSelection};
use postseal_testkit::scale;
use postseal_testkit::shapes::Shaped;
use postseal_testkit::signers::Signer;
use postseal_testkit::verifiers::{Outcome, Verdict, Verifier};

use crate::differences::{SIGNED_BY_OTHERS, SIGNED_BY_US, Tally};
use crate::ours::{CANONICALIZATIONS, DOMAIN, OurSigner, Pairs, now, selector, verify};

/// How many messages are generated.
const MESSAGES: u64 = 2_048;

#[test]
fn what_we_sign_every_verifier_passes() -> Result<()> {
    let (seed, signer) = (scale::seed(), OurSigner::new()?);
    let count = scale::figure("POSTSEAL_INTEROP", MESSAGES, 20 * MESSAGES);
    let dns_file = signer.pairs.dns_file();
    let mut signed = Vec::new();
    for number in 0..count {
        let shaped = Shaped::new(seed, number);
        let (algorithm, canonicalization) = ways(number);
        let fields = selection(number / 8)?;
        let message = signer
            .sign(algorithm, canonicalization, fields, &shaped.bytes)
            .with_context(|| shaped.to_string())?;
        let outcomes = verify(&dns_file, &message, now()?)?;
        ensure!(outcomes.len() == 1 && outcomes[0].is_pass(), "{shaped}: {outcomes:?}");
        signed.push((shaped, algorithm, message));
    }
    let messages: Vec<&[u8]> = signed.iter().map(|(_, _, message)| &message[..]).collect();
    let began = Instant::now();
    let opinions = all_verdicts(&dns_file, &messages)?;
    println!(
        "seed {seed}: {count} messages of ours to {} verifiers in {:.1} s",
        Verifier::ALL.len(),
        began.elapsed().as_secs_f64()
    );

    let mut tally = Tally::new(&SIGNED_BY_US);
    for (place, (shaped, algorithm, message)) in signed.iter().enumerate() {
        let verdicts: Vec<&[Verdict]> = opinions.iter().map(|all| &all[place][..]).collect();
        let agreeing = verdicts.iter().filter(|all| is_pass(all)).count();
        for (verifier, verdicts) in Verifier::ALL.into_iter().zip(&verdicts) {
            if verifier.knows(algorithm.as_str()) && !is_pass(verdicts) {
                tally.differs(verifier.name(), message, agreeing, &reason(verdicts), shaped);
            }
        }
    }
    tally.finish()
}

#[test]
fn what_others_sign_we_pass() -> Result<()> {
    // The shortest that RFC 8301 allows: dkimpy's RSA is Python.
    let (seed, pairs) = (scale::seed(), Pairs::new(1024)?);
    let count = scale::figure("POSTSEAL_INTEROP", MESSAGES, 20 * MESSAGES);
    let dns_file = pairs.dns_file();
    let shaped: Vec<Shaped> = (0..count).map(|number| Shaped::new(seed, number)).collect();
    let began = Instant::now();
    let signed: Vec<Result<_>> = thread::scope(|scope| {
        let running: Vec<_> = Signer::ALL
            .map(|signer| {
                let (pairs, shaped) = (&pairs, &shaped);
                scope.spawn(move || sign_all(signer, pairs, shaped))
            })
            .into_iter()
            .collect();
        running.into_iter().map(|one| one.join().expect("no panic")).collect()
    });
    println!(
        "seed {seed}: {count} messages signed by each of {} signers in {:.1} s",
        Signer::ALL.len(),
        began.elapsed().as_secs_f64()
    );

    let signed: Vec<Vec<Result<Vec<u8>, String>>> = signed.into_iter().collect::<Result<_>>()?;
    let mut tally = Tally::new(&SIGNED_BY_OTHERS);
    let (mut differing, mut few) = (Vec::new(), Vec::new());
    for (signer, results) in Signer::ALL.into_iter().zip(&signed) {
        let mut passed = 0_u64;
        for (place, (shaped, result)) in shaped.iter().zip(results).enumerate() {
            match result {
                Ok(message) => {
                    let outcomes = verify(&dns_file, message, now()?)?;
                    match outcomes.as_slice() {
                        [one] if one.is_pass() => passed += 1,
                        _ => differing.push((signer, shaped, message, outcomes)),
                    }
                }
                Err(reason) => {
                    let others = signed.iter().filter(|results| results[place].is_ok()).count();
                    tally.differs(signer.name(), &shaped.bytes, others, reason, shaped);
                }
            }
        }
        println!("{passed:8} of {} pass", signer.name());
        few.extend((passed * 5 < count * 3).then(|| signer.name()));
    }
    let messages: Vec<&[u8]> = differing.iter().map(|(_, _, message, _)| &message[..]).collect();
    let opinions = all_verdicts(&dns_file, &messages)?;
    for (place, (signer, shaped, message, outcomes)) in differing.iter().enumerate() {
        let others: Vec<_> = Verifier::ALL
            .into_iter()
            .zip(&opinions)
            .filter(|(verifier, _)| verifier.knows(ways(shaped.number).0.as_str()))
            .map(|(verifier, all)| (verifier.name(), is_pass(&all[place])))
            .collect();
        let agreeing = others.iter().filter(|(_, is_pass)| !is_pass).count();
        let says = format!("we say {outcomes:?}; passed by the others: {others:?}");
        tally.differs(signer.name(), message, agreeing, &says, shaped);
    }
    tally.finish()?;
    ensure!(few.is_empty(), "only few messages pass of {few:?}");
    Ok(())
}

/// Signs each message in the way that its number says; with RSA where the signer does not know Ed25519.
fn sign_all(
    signer: Signer,
    pairs: &Pairs,
    shaped: &[Shaped],
) -> Result<Vec<Result<Vec<u8>, String>>> {
    let mut all = vec![Err(String::new()); shaped.len()];
    for way in 0..8 {
        let (algorithm, canonicalization) = ways(way);
        let algorithm =
            if signer.knows(algorithm.as_str()) { algorithm } else { Algorithm::RsaSha256 };
        let batch = shaped.iter().filter(|one| one.number % 8 == way);
        let messages: Vec<&[u8]> = batch.map(|one| &one.bytes[..]).collect();
        let signed = signer.try_to_sign(
            pairs.of(algorithm),
            DOMAIN,
            selector(algorithm),
            &canonicalization.to_string(),
            &messages,
        )?;
        let places = all.iter_mut().skip(way as usize).step_by(8);
        for (place, one) in places.zip(signed) {
            *place = one;
        }
    }
    Ok(all)
}

/// The eight ways to sign, in turn.
pub(crate) fn ways(number: u64) -> (Algorithm, postseal_dkim::Canonicalization) {
    let algorithms = [Algorithm::RsaSha256, Algorithm::Ed25519Sha256];
    let algorithm = algorithms[(number / 4 % 2) as usize];
    (algorithm, CANONICALIZATIONS[(number % 4) as usize])
}

/// The fields to sign: the default, or lists that name what the shapes add, up to more often than it can be there.
fn selection(number: u64) -> Result<FieldSelection> {
    let names: &[&str] = match number % 3 {
        0 => return Ok(FieldSelection::default()),
        1 => &[
            "from",
            "To",
            "to",
            "SUBJECT",
            "Subject",
            "Subject",
            "X-Note",
            "X-Empty",
            "x-empty",
            "References",
            "X-Latin",
            "Cc",
            "X-Blank-Fold",
            "X-Long-Line",
            "Received",
            "Received",
        ],
        _ => &["X-Many", "X-Many", "References", "Received", "List-Unsubscribe", "From", "X-Long"],
    };
    let names = names.iter().map(|name| FieldName::parse(name)).collect::<Result<_, _>>()?;
    Ok(FieldSelection::exactly(names)?)
}

/// What every verifier says of every message, in the order of [`Verifier::ALL`].
pub(crate) fn all_verdicts(dns_file: &str, messages: &[&[u8]]) -> Result<Vec<Vec<Vec<Verdict>>>> {
    thread::scope(|scope| {
        let running: Vec<_> = Verifier::ALL
            .map(|verifier| scope.spawn(move || verifier.verify(dns_file, messages)))
            .into_iter()
            .collect();
        running.into_iter().map(|one| one.join().expect("no panic")).collect()
    })
}

pub(crate) fn is_pass(verdicts: &[Verdict]) -> bool {
    matches!(verdicts, [one] if one.outcome == Outcome::Pass)
}

pub(crate) fn reason(verdicts: &[Verdict]) -> String {
    match verdicts {
        [] => "sees no signature".to_owned(),
        all => all.iter().map(|one| one.reason.as_str()).collect::<Vec<_>>().join(", "),
    }
}

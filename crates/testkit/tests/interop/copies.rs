//! OpenDKIM's `Diagnostics` puts a copy of each field that it sees into `z=`.

use anyhow::{Context, Result, ensure};
use postseal_dkim::{Header, SignatureDetails, UnixTime, Verifier, VerifyRules};
use postseal_testkit::milter_client::{MilterClient, Offer, Transaction};
use postseal_testkit::opendkim::OpenDkim;
use postseal_testkit::scale;
use postseal_testkit::shapes::Shaped;
use postseal_testkit::signers::KeyPair;

use crate::ours::{DOMAIN, now};

/// How many messages are generated.
const MESSAGES: u64 = 300;

#[test]
fn what_opendkim_copied_is_found_in_the_header() -> Result<()> {
    let key = KeyPair::rsa(1024)?;
    let filter = OpenDkim::start_with(&key, DOMAIN, "s1", "Diagnostics yes")?;
    let mut client = MilterClient::connect(filter.address(), Offer::VERSION_6)?;
    let (seed, now) = (scale::seed(), now()?);
    let (mut copied, mut changed) = (0, 0);
    for number in 0..MESSAGES {
        let shaped = Shaped::new(seed, number);
        let from = format!("a@{DOMAIN}");
        let mut transaction = Transaction::new(&from, "b@example.net", shaped.bytes.clone());
        if number > 0 {
            transaction.client = None;
        }
        let outcome = client.send(&transaction).with_context(|| shaped.to_string())?;
        // Some shapes it does not sign.
        if outcome.added("DKIM-Signature").len() != 1 {
            continue;
        }
        let signed = outcome.apply(&shaped.bytes);
        let (header, _) = Header::of_message(&signed)?;
        let details = details(&header, now).with_context(|| shaped.to_string())?;
        let copies = details.copies.as_ref().context("no z=")?;
        ensure!(
            copies.left_out == 0,
            "{shaped}: {} are left out\n{}",
            copies.left_out,
            signed.escape_ascii()
        );
        for copy in &copies.fields {
            ensure!(copy.is_in_header, "{shaped}: {copy:?} is not in\n{}", signed.escape_ascii());
            copied += 1;
        }
        ensure!(details.fields_unlike_copies().next().is_none(), "{shaped}");

        // The From that it signed has another domain now.
        let other: Vec<_> = header.fields().map(|field| change(field.raw())).collect();
        let other = Header::from_fields(other.iter().map(Vec::as_slice).collect())?;
        let details = self::details(&other, now).with_context(|| shaped.to_string())?;
        let told: Vec<_> = details.fields_unlike_copies().map(str::to_ascii_lowercase).collect();
        ensure!(told == ["from"], "{shaped}: {told:?}");
        changed += 1;
    }
    client.quit()?;
    println!("seed {seed}: {copied} copies of fields in {changed} messages are found");
    ensure!(changed > MESSAGES / 2, "only {changed} messages are signed");
    Ok(())
}

/// Of the signature on top.
fn details<'h>(header: &Header<'h>, now: UnixTime) -> Option<SignatureDetails<'h>> {
    let report = Verifier::start(header, &VerifyRules::default(), now).0.finish();
    report.signatures.first()?.details(header)
}

/// A From field gets another value.
fn change(field: &[u8]) -> Vec<u8> {
    match field.split_at_checked(4) {
        Some((name, _)) if name.eq_ignore_ascii_case(b"from") => {
            b"From: someone@else.example\r\n".to_vec()
        }
        Some(_) | None => field.to_vec(),
    }
}

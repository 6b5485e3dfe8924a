//! A sealer and a verifier of ARC chains that we did not write: dkimpy.
//!
//! Each runs as one process for a whole batch of messages (`tests/peers/arc_dkimpy.py`). dkimpy knows no
//! Ed25519 in chains.

use anyhow::{Context, Result, ensure};

use crate::signers::KeyPair;
use crate::{frames, peers};

/// Adds a set to each message, by a handler `domain` that found the chain to be `status`, `none` or
/// `pass`. The key is RSA.
///
/// # Errors
///
/// When dkimpy is not installed or refuses a message.
pub fn seal_with_dkimpy<M: AsRef<[u8]>>(
    key: &KeyPair,
    domain: &str,
    selector: &str,
    status: &str,
    messages: &[M],
) -> Result<Vec<Vec<u8>>> {
    let mut input = Vec::new();
    frames::add(&mut input, key.pem.as_bytes());
    for message in messages {
        frames::add(&mut input, message.as_ref());
    }
    let sealed = frames::read_all(&run(&["seal", domain, selector, status], input)?)?;
    ensure!(sealed.len() == messages.len(), "dkimpy sealed {} messages", sealed.len());
    Ok(sealed)
}

/// The results of the chains, `pass`, `fail` or `none`, and the reasons in dkimpy's words. Each message
/// comes with its keys in the form of `--dns-file`.
///
/// # Errors
///
/// When dkimpy is not installed, ends with an error, or leaves a message out.
pub fn verify_with_dkimpy<M: AsRef<[u8]>>(
    messages: &[(String, M)],
) -> Result<Vec<(String, String)>> {
    let mut input = Vec::new();
    for (dns_file, message) in messages {
        frames::add(&mut input, dns_file.as_bytes());
        frames::add(&mut input, message.as_ref());
    }
    let output = run(&["verify"], input)?;
    let mut results = Vec::with_capacity(messages.len());
    for line in String::from_utf8(output)?.lines() {
        let mut columns = line.splitn(3, '\t');
        let mut column = || columns.next().with_context(|| format!("cannot read {line:?}"));
        let number: usize = column()?.parse()?;
        ensure!(number == results.len(), "answered out of turn: {line:?}");
        results.push((column()?.to_owned(), column()?.to_owned()));
    }
    ensure!(results.len() == messages.len(), "dkimpy answered for {} messages", results.len());
    Ok(results)
}

fn run(arguments: &[&str], input: Vec<u8>) -> Result<Vec<u8>> {
    let mut command = peers::python_script("arc_dkimpy.py")?;
    command.args(arguments);
    frames::run(command, input).context("dkimpy")
}

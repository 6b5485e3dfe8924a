//! The least that a message can cost: one RSA-2048 signature, and SHA-256 over its octets.
//!
//! By aws-lc-rs, as in Postseal itself, in a process of its own on the daemon's CPU.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use serde_json::{Value, json};

use crate::Message;
use crate::cpus::{Cpus, cpu_time_of_this_thread};

/// CPU time of each part.
pub(crate) struct Floor {
    /// One signature.
    pub(crate) rsa: Duration,
    /// One pass over each message.
    pub(crate) hashes: Vec<Duration>,
}

/// Measures on the daemon's CPU.
pub(crate) fn measure(cpus: &Cpus, time: Duration, messages: &[Message]) -> Result<Floor> {
    let mut command = cpus.pinned(&std::env::current_exe()?);
    command.arg(COMMAND).arg(time.as_secs_f64().to_string());
    let output = command.args(messages.iter().map(|message| &message.file)).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let value: Value = serde_json::from_slice(&output.stdout)?;
    let duration = |value: &Value| value.as_f64().map(|us| Duration::from_secs_f64(us / 1e6));
    let rsa = duration(&value["rsa"]).context("no figure for RSA")?;
    let hashes = value["hashes"].as_array().context("no figures for SHA-256")?;
    Ok(Floor { rsa, hashes: hashes.iter().filter_map(duration).collect() })
}

/// What the process does.
pub(crate) fn run(seconds: &str, files: &[&str]) -> Result<()> {
    let time = Duration::try_from_secs_f64(seconds.parse()?)?;
    let key = KeyPair::generate(KeySize::Rsa2048).ok().context("no RSA key")?;
    let random = SystemRandom::new();
    let mut signature = vec![0; key.public_modulus_len()];
    let mut sign = || {
        key.sign(&RSA_PKCS1_SHA256, &random, &[7; 32], &mut signature).ok().context("no signature")
    };
    let rsa = each(time.mul_f64(RSA_SHARE), &mut sign)?;
    let rest = time.mul_f64((1.0 - RSA_SHARE) / files.len().max(1) as f64);
    let mut hashes = Vec::new();
    for file in files {
        let octets = std::fs::read(Path::new(file))?;
        let mut hash = || {
            std::hint::black_box(digest(&SHA256, std::hint::black_box(&octets)));
            Ok(())
        };
        hashes.push(each(rest, &mut hash)?);
    }
    println!("{}", json!({ "rsa": rsa, "hashes": hashes }));
    Ok(())
}

/// Microseconds of CPU time that `work` takes, after a first part that does not count.
fn each(time: Duration, work: &mut impl FnMut() -> Result<()>) -> Result<f64> {
    for _ in 0..WARM_UP {
        work()?;
    }
    let start = cpu_time_of_this_thread()?;
    let mut used = Duration::ZERO;
    let mut done = 0_u32;
    while used < time {
        for _ in 0..BETWEEN_LOOKS {
            work()?;
        }
        done += BETWEEN_LOOKS;
        used = cpu_time_of_this_thread()?.saturating_sub(start);
    }
    Ok(used.as_secs_f64() * 1e6 / f64::from(done))
}

/// The word in the arguments by which this program becomes that process.
pub(crate) const COMMAND: &str = "floor";
const RSA_SHARE: f64 = 0.8;
const WARM_UP: u32 = 50;
const BETWEEN_LOOKS: u32 = 100;

//! One CPU for everything, the clock of what ran on it, and what it can do.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// Keeps this program, and the workers that it starts, on the last CPU that it may use. Says which, and what
/// it can do.
pub(crate) fn pin() -> Result<String> {
    let allowed = sched_getaffinity(None::<Pid>)?;
    let cpu = (0..CpuSet::MAX_CPU).rev().find(|cpu| allowed.is_set(*cpu)).context("no CPU")?;
    let mut one = CpuSet::new();
    one.set(cpu);
    sched_setaffinity(None::<Pid>, &one)?;

    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |key: &str| {
        let line = info.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim())
    };
    let mut text = format!("CPU {cpu}: {}\n", value("model name"));
    let flags: Vec<&str> = value("flags").split(' ').collect();
    for (flag, what) in FEATURES {
        let has = if flags.contains(&flag) { "yes" } else { "no" };
        writeln!(text, "  {flag:<12}{has:<4} {what}")?;
    }
    if let Ok(mask) = std::env::var("OPENSSL_ia32cap") {
        writeln!(text, "  masked by OPENSSL_ia32cap={mask}")?;
    }
    Ok(text)
}

/// What this thread used so far.
pub(crate) fn time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// What makes RSA and SHA-256 fast.
const FEATURES: [(&str, &str); 4] = [
    ("avx512ifma", "RSA in AVX-512, more than twice as fast"),
    ("avx2", "RSA in AVX2, where there is no AVX-512"),
    ("adx", "RSA in general registers"),
    ("sha_ni", "SHA-256 in hardware"),
];

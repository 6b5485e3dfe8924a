//! `make bench`: what a message costs in Postseal, beside what its signature costs and beside other filters.
//!
//! ```text
//!   generator's CPUs                               the daemon's CPU, one
//!   this program: DNS, next hop, SMTP load ──────▶ postseal serve
//!   miltergen ───────────────────────────────────▶ postseal serve, OpenDKIM, rspamd (one at a time)
//!                                                  the floor: bare RSA and SHA-256
//! ```
//!
//! Every round measures everything once, so that whatever else the machine does is in all of it; figures are
//! ratios within a round. CPU time comes from `/proc`, which holds when the machine is busy; messages a second
//! do not. Nothing is asserted: it prints, and the exit status is about errors alone.
//!
//! Reading order: `cpus` (who runs where, and what it used), `floor` (the least that a message can cost),
//! `subjects` (the daemons), `load` (the load on them), `figures` (what is printed).

mod cpus;
mod figures;
mod floor;
mod load;
#[path = "../../../../server/src/cli/bench/sample_mail.rs"]
mod sample_mail;
mod subjects;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::cpus::{Cpus, cpu_time, resident};
use crate::figures::{Figures, Sample};
use crate::load::{Extent, Load};
use crate::subjects::Postseal;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        [] => bench(&FULL),
        ["--quick"] => bench(&QUICK),
        [floor::COMMAND, seconds, files @ ..] => floor::run(seconds, files).map(|()| 0),
        _ => {
            eprintln!("postseal-bench [--quick]");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(0) => ExitCode::SUCCESS,
        Ok(errors) => {
            println!("\n{errors} messages failed.");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// How long a run is.
struct Length {
    rounds: u32,
    /// Other filters take part in every so many rounds.
    peers_every: u32,
    /// Of load, for each figure of a round.
    load: Duration,
    /// For the floor of a round.
    floor: Duration,
    /// Messages of the long runs at the end.
    long_milter: u64,
    long_proxy: u64,
}

/// Measures everything; returns how many messages failed.
fn bench(length: &Length) -> Result<u64> {
    // Before there are threads, so that all of them stay off the daemon's CPU.
    let cpus = Cpus::split()?;
    println!("{cpus}");
    let folder = TempDir::with_prefix("postseal-bench-")?;
    let messages = messages(&folder)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let postseal = runtime.block_on(Postseal::start(&cpus))?;
    let mut filters = vec![postseal.filter()?];
    filters.extend(subjects::peers(&cpus, &folder)?);
    for filter in &filters {
        filter.check(&messages[0].file, &folder)?;
    }

    let mut figures = Figures::default();
    let mut errors = 0;
    for round in 0..length.rounds {
        let floor = floor::measure(&cpus, length.floor, &messages)?;
        let extent = Extent::Time(length.load);
        for filter in &filters {
            if !filter.is_ours() && round % length.peers_every != 0 {
                continue;
            }
            for (message, hash) in messages.iter().zip(&floor.hashes) {
                let before = cpu_time(filter.process)?;
                let load = load::milter(&filter.address, &message.file, CONNECTIONS, extent)?;
                let used = cpu_time(filter.process)?.saturating_sub(before);
                errors += complaints(filter.name, &load);
                let name = format!("{} milter, {}", filter.name, message.name);
                figures.add(&name, Sample::new(used, &load, floor.rsa + *hash)?);
            }
        }
        let message = &messages[0];
        let before = cpu_time(postseal.process)?;
        let load = load::smtp(postseal.smtp, &message.octets, CONNECTIONS, extent)?;
        let used = cpu_time(postseal.process)?.saturating_sub(before);
        errors += complaints("Postseal's proxy", &load);
        let name = format!("{} proxy, {}", subjects::OURS, message.name);
        figures.add(&name, Sample::new(used, &load, floor.rsa)?);
        figures.floor(&floor, &messages.each_ref().map(|message| message.name));
        eprint!("\rround {} of {}", round + 1, length.rounds);
    }
    eprintln!("\r                    ");
    println!("{figures}");
    // The peers are done; what follows has the machine for itself.
    let ours = filters.swap_remove(0);
    drop(filters);

    let file = &messages[0].file;
    let milter = |count| load::milter(&ours.address, file, CONNECTIONS, Extent::Count(count));
    errors += long("milter", length.long_milter, postseal.process, milter)?;
    let octets = &messages[0].octets;
    let proxy = |count| load::smtp(postseal.smtp, octets, CONNECTIONS, Extent::Count(count));
    errors += long("SMTP proxy", length.long_proxy, postseal.process, proxy)?;

    let signed = runtime.block_on(postseal.signed())?;
    let arrived = postseal.arrived();
    println!(
        "\nPostseal counts {signed} messages as signed; {arrived} came to the next hop of the proxy."
    );
    ensure!(signed > 0, "nothing was signed");
    Ok(errors)
}

/// Sends `total` messages in three parts, and looks at the memory after each.
fn long(door: &str, total: u64, process: u32, send: impl Fn(u64) -> Result<Load>) -> Result<u64> {
    let before = resident(process)?;
    println!("\n{total} messages of 2 KB through the {door}, {CONNECTIONS} connections:");
    println!("  before      {:6.1} MB resident", megabytes(before));
    let (mut sent, mut errors) = (0, 0);
    for percent in [10, 50, 100] {
        let part = total * percent / 100 - sent;
        let load = send(part)?;
        errors += complaints(door, &load);
        sent += part;
        println!(
            "  after {percent:3} % {:6.1} MB resident, {:.0} messages a second, {} errors",
            megabytes(resident(process)?),
            load.rate(),
            load.errors
        );
    }
    Ok(errors)
}

/// Says what went wrong, and how often.
fn complaints(of: &str, load: &Load) -> u64 {
    if load.errors > 0 {
        println!("{of}: {} errors, the first: {}", load.errors, load.first_error);
    }
    load.errors
}

/// A message that is sent over and over.
pub(crate) struct Message {
    name: &'static str,
    octets: Vec<u8>,
    file: PathBuf,
}

/// The short text and the newsletter that all benchmarks measure with.
fn messages(folder: &TempDir) -> Result<[Message; 2]> {
    let [text, newsletter, _] = sample_mail::samples();
    let write = |sample: sample_mail::Sample, file: &str| -> Result<Message> {
        let file = folder.path().join(file);
        std::fs::write(&file, &sample.octets)?;
        Ok(Message { name: sample.name, octets: sample.octets, file })
    };
    Ok([write(text, "text.eml")?, write(newsletter, "newsletter.eml")?])
}

/// A program of the same build.
fn beside_this_program(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.parent().context("no folder")?.join(name);
    if !path.is_file() {
        bail!("{} is not built; `make bench` does it", path.display());
    }
    Ok(path)
}

fn megabytes(octets: u64) -> f64 {
    octets as f64 / 1e6
}

/// As many as an MTA opens under load.
const CONNECTIONS: u32 = 64;
/// Whose mail it is, in all of the daemons.
const DOMAIN: &str = sample_mail::SENDING_DOMAIN;

const FULL: Length = Length {
    rounds: 15,
    peers_every: 3,
    load: Duration::from_millis(1500),
    floor: Duration::from_millis(600),
    long_milter: 100_000,
    long_proxy: 100_000,
};

const QUICK: Length = Length {
    rounds: 3,
    peers_every: 3,
    load: Duration::from_millis(1500),
    floor: Duration::from_millis(600),
    long_milter: 20_000,
    long_proxy: 10_000,
};

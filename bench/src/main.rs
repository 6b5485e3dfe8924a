//! `make bench-dkim`: what a message costs in our DKIM library, beside the least that it could cost and beside
//! other libraries, in one run.
//!
//! ```text
//!   one CPU:   this program      floor · Postseal · mail-auth   in turns of milliseconds
//!                 │ pipes
//!                 ▼
//!              workers           libopendkim · viadkim · cfdkim · Mail::DKIM · dkimpy ·
//!                                mailauth · nodemailer   once in every third round
//! ```
//!
//! Everything signs and verifies the same messages with the same key and the same `h=`. What is counted is
//! CPU time, so other work on the machine disturbs little; what it does disturb (caches, the clock of the
//! CPU, a sibling on the same core) is in all figures of a round, and the figures are ratios. Nothing is
//! asserted but that what was signed verifies elsewhere.
//!
//! Reading order: `cpu` (where it runs, and the clock), `work` (what is signed and verified, by whom),
//! `floor`, `ours`, `mail_auth`, `worker` (the contestants), `figures` (what is printed).

mod cpu;
mod figures;
mod floor;
mod mail_auth;
mod ours;
#[path = "../../crates/server/src/cli/bench/sample_mail.rs"]
mod sample_mail;
mod work;
mod worker;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::figures::Figures;
use crate::floor::Floor;
use crate::mail_auth::MailAuth;
use crate::ours::Ours;
use crate::work::{Contestant, Operation, Work};

fn main() -> ExitCode {
    match options(std::env::args().skip(1)).and_then(|length| bench(&length)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-dkim: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// How long a run is.
struct Length {
    rounds: u32,
    /// Workers take part in every so many rounds.
    workers_every: u32,
    /// CPU time of a contestant for one figure of a round.
    each: Duration,
}

const FULL: Length = Length { rounds: 21, workers_every: 3, each: Duration::from_millis(60) };
const QUICK: Length = Length { rounds: 3, workers_every: 3, each: Duration::from_millis(24) };

fn options(mut words: impl Iterator<Item = String>) -> Result<Length> {
    let mut length = FULL;
    while let Some(word) = words.next() {
        match word.as_str() {
            "--quick" => length = QUICK,
            "--rounds" => {
                length.rounds = words.next().context("--rounds needs a number")?.parse()?;
            }
            "--without-workers" => length.workers_every = u32::MAX,
            _ => anyhow::bail!("usage: [--quick] [--rounds N] [--without-workers]; not {word}"),
        }
    }
    ensure!(length.rounds > 0, "a run has one round or more");
    Ok(length)
}

fn bench(length: &Length) -> Result<()> {
    println!("{}", cpu::pin()?);
    let mut work = Work::new()?;
    let mut here: Vec<Box<dyn Contestant>> =
        vec![Box::new(Floor::new(&work)?), Box::new(Ours::new(&work)?)];
    work.sign_messages(here.last_mut().context("we are here")?.as_mut())?;
    here.push(Box::new(MailAuth::new(&work)?));
    let mut workers: Vec<Box<dyn Contestant>> = Vec::new();
    if length.workers_every < u32::MAX {
        for started in worker::start_all(&work) {
            match started {
                Ok(worker) => workers.push(Box::new(worker)),
                Err(reason) => println!("left out: {reason:#}"),
            }
        }
    }
    work.cross_check(here.iter_mut().chain(&mut workers))?;

    let mut figures = Figures::default();
    for round in 0..length.rounds {
        for (operation, message) in work.cells() {
            // Short turns: what the machine does meanwhile falls on all of them alike. Who begins changes.
            let mut spent = vec![Spent::default(); here.len()];
            for turn in 0..TURNS {
                for place in 0..here.len() {
                    let place = (place + turn + round as usize) % here.len();
                    let contestant = here[place].as_mut();
                    spent[place].run(contestant, operation, message, length.each / TURNS as u32)?;
                }
            }
            for (contestant, spent) in here.iter().zip(spent) {
                figures.add(contestant.name(), operation, message, spent.each());
            }
            if round % length.workers_every == 0 {
                for worker in workers.iter_mut().filter(|worker| worker.does(operation)) {
                    let mut spent = Spent::default();
                    spent.run(worker.as_mut(), operation, message, length.each)?;
                    figures.add(worker.name(), operation, message, spent.each());
                }
            }
        }
        // One signature in a thousand, and never less than one of each message and round.
        work.spot_check(&mut here)?;
        eprint!("\rround {} of {}", round + 1, length.rounds);
    }
    eprintln!("\r                    ");
    println!("{}", figures.table(&work));
    println!("{}", work.checked());
    Ok(())
}

/// What a contestant did in one round.
#[derive(Clone, Default)]
struct Spent {
    time: Duration,
    times: u32,
}

impl Spent {
    fn run(
        &mut self,
        contestant: &mut dyn Contestant,
        operation: Operation,
        message: usize,
        time: Duration,
    ) -> Result<()> {
        // One to warm up the caches, which also says how many fit.
        let once = contestant.run(operation, message, 1)?;
        let times = (time.as_nanos() / once.as_nanos().max(1)).clamp(1, 1 << 16) as u32;
        self.time += contestant.run(operation, message, times)?;
        self.times += times;
        Ok(())
    }

    fn each(&self) -> Duration {
        self.time / self.times.max(1)
    }
}

/// How often in a round the contestants of this program take turns.
const TURNS: usize = 12;

//! `postseal bench`: how many messages a second this machine signs and verifies.
//!
//! It measures what signing and verifying themselves cost, in memory: with one thread, and with one for each
//! CPU at once. The network and the protocols of the front doors come on top; `docs/benchmarks.md` has those.
//! Messages and keys are made here ([`sample_mail`]), but for the RSA keys of 1024 and 4096 bits, of which
//! only signatures are there ([`work`]). What is signed is verified, and every verification has to pass.

mod cpu;
mod report;
mod sample_mail;
mod work;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;

use self::report::{Figure, Report};
use self::work::{Operation, Task, Work};
use super::cannot;
use super::sign::CANNOT_WRITE;
use crate::clock;

/// Arguments of `postseal bench`.
#[derive(Args, Debug)]
pub(super) struct BenchArgs {
    /// Measure each figure for a short time; good for a glance
    #[arg(long, conflicts_with = "seconds")]
    quick: bool,
    /// For how long each figure is measured; there are some forty [default: 0.5]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    seconds: Option<Duration>,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &BenchArgs) -> ExitCode {
    match bench(args, &mut io::stdout().lock()) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => cannot(format_args!("{error:#}")),
    }
}

fn bench(args: &BenchArgs, output: &mut impl Write) -> anyhow::Result<Report> {
    let each = args.seconds.unwrap_or(if args.quick { QUICK } else { FULL });
    let work = Work::new(clock::now())?;
    let threads = thread::available_parallelism().context("cannot tell the number of CPUs")?.get();
    let mut figures = Vec::new();
    for task in work.tasks() {
        figures.push(Figure {
            operation: task.operation,
            algorithm: task.algorithm(),
            message: task.message_name(),
            octets: task.octets(),
            one_thread: measure(&task, 1, each)?,
            all_threads: measure(&task, threads, each)?,
        });
    }
    let report = Report { cpu: cpu::Cpu::of_this_machine(), threads, each, figures };
    let text = if args.json { report.in_json() } else { report.in_a_table() };
    output.write_all(text.as_bytes()).context(CANNOT_WRITE)?;
    output.flush().context(CANNOT_WRITE)?;
    Ok(report)
}

/// Messages a second of so many threads together.
fn measure(task: &Task<'_>, threads: usize, time: Duration) -> anyhow::Result<f64> {
    let start_line = Barrier::new(threads);
    let each = || -> anyhow::Result<f64> {
        // The first signature of a thread costs more, and is no measure of the others.
        let warmed_up = task.run_once();
        start_line.wait();
        warmed_up?;
        let (mut times, start) = (0_u32, Instant::now());
        let mut took = Duration::ZERO;
        while took < time || times == 0 {
            task.run_once()?;
            times += 1;
            took = start.elapsed();
        }
        Ok(f64::from(times) / took.as_secs_f64())
    };
    let rates = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(each)).collect();
        threads.into_iter().map(|thread| thread.join()).collect::<Vec<_>>()
    });
    let mut sum = 0.0;
    for rate in rates {
        sum += rate.map_err(|_| anyhow::anyhow!("a thread panicked"))??;
    }
    if task.operation == Operation::Sign {
        ensure!(task.verifies_what_it_signs()?, "{} made a bad signature", task.algorithm());
    }
    Ok(sum)
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if !time.is_zero() && time <= MAX_TIME => Ok(time),
        Ok(_) | Err(_) => Err(format!("more than 0 and at most {}", MAX_TIME.as_secs())),
    }
}

/// For how long a figure is measured: long enough that the clock of a CPU settles.
const FULL: Duration = Duration::from_millis(500);
const QUICK: Duration = Duration::from_millis(50);

/// The longest time for a figure: an hour, which a slip of the hand would take for all of them at most.
const MAX_TIME: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::Value;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn args(words: &[&str]) -> Result<BenchArgs, clap::Error> {
        Line::try_parse_from(["bench"].iter().chain(words)).map(|line| line.args)
    }

    #[test]
    fn every_figure_is_there_and_counts_something() {
        let mut output = Vec::new();
        bench(&args(&["--seconds", "0.0001", "--json"]).unwrap(), &mut output).unwrap();
        let value: Value = serde_json::from_slice(&output).unwrap();

        let threads = value["threads"].as_u64().unwrap();
        assert!(threads >= 1);
        assert!(value["cpu"]["features"].is_object(), "{value}");
        assert!(value["cpu"]["rsa"].as_str().is_some_and(|text| !text.is_empty()), "{value}");
        let figures = value["figures"].as_array().unwrap();
        let mut seen: Vec<String> = Vec::new();
        for figure in figures {
            let text = |key: &str| figure[key].as_str().unwrap().to_owned();
            seen.push(format!("{} {}", text("operation"), text("algorithm")));
            for key in ["one_thread", "all_threads"] {
                let rate = figure[key].as_f64().unwrap();
                assert!(rate.is_finite() && rate > 0.0, "{figure}");
            }
            let octets = figure["octets"].as_u64().unwrap();
            assert!((1_900..=1_100_000).contains(&octets), "{figure}");
        }
        let mut want: Vec<&str> = Vec::new();
        for kind in [
            "sign rsa-2048",
            "sign ed25519",
            "verify rsa-1024",
            "verify rsa-2048",
            "verify rsa-4096",
            "verify ed25519",
        ] {
            want.extend([kind; 3]);
        }
        assert_eq!(seen, want);
    }

    #[test]
    fn the_table_has_a_line_for_each_figure_and_names_the_processor() {
        let mut output = Vec::new();
        let report = bench(&args(&["--seconds", "0.0001"]).unwrap(), &mut output).unwrap();
        let text = String::from_utf8(output).unwrap();
        for figure in &report.figures {
            let is_it = |line: &&str| {
                line.contains(figure.operation.word())
                    && line.contains(figure.algorithm)
                    && line.contains(figure.message)
            };
            assert_eq!(text.lines().filter(is_it).count(), 1, "{text}");
        }
        assert!(text.contains("RSA"), "{text}");
    }

    #[test]
    fn a_time_that_is_none_is_refused() {
        for bad in ["0", "-1", "x", "", "1e99", "nan", "3601"] {
            assert!(args(&[&format!("--seconds={bad}")]).is_err(), "{bad}");
        }
        assert!(args(&["--quick", "--seconds", "1"]).is_err());
        assert!(args(&["--quick", "--json"]).is_ok());
    }
}

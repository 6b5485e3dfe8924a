//! Threads that send messages, and the figures they bring back.

use std::fmt;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::connection::Connection;
use crate::mail::leaving;
use crate::options::Options;

/// The figures of a run.
pub(crate) struct Report {
    /// Latencies of the messages that counted, in ascending order.
    latencies: Vec<Duration>,
    elapsed: Duration,
    connections: u32,
    pub(crate) errors: u64,
    pub(crate) unsigned: u64,
    first_error: Option<String>,
}

/// Runs the load and waits for its end.
pub(crate) fn run(options: &Options) -> Result<Report> {
    let next = AtomicU64::new(0);
    let ready = Barrier::new(usize::try_from(options.concurrency)? + 1);
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for number in 0..options.concurrency {
            let (next, ready) = (&next, &ready);
            let worker = move || {
                let mut worker = Worker::new(options);
                worker.warm_up(number);
                ready.wait();
                let end = Instant::now() + options.time;
                worker.work(next, end);
                worker
            };
            let thread = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, worker);
            threads.push(thread.context("cannot start a thread for each connection")?);
        }
        ready.wait();
        let start = Instant::now();
        let mut report = Report {
            latencies: Vec::new(),
            elapsed: Duration::ZERO,
            connections: options.concurrency,
            errors: 0,
            unsigned: 0,
            first_error: None,
        };
        for thread in threads {
            let Ok(worker) = thread.join() else { bail!("a thread panicked") };
            report.latencies.extend(worker.latencies);
            report.errors += worker.errors;
            report.unsigned += worker.unsigned;
            report.first_error = report.first_error.or(worker.first_error);
        }
        report.elapsed = start.elapsed();
        report.latencies.sort_unstable();
        Ok(report)
    })
}

/// One thread with its connection.
struct Worker<'o> {
    options: &'o Options,
    connection: Option<Connection>,
    sent_here: u64,
    latencies: Vec<Duration>,
    errors: u64,
    unsigned: u64,
    first_error: Option<String>,
}

impl<'o> Worker<'o> {
    fn new(options: &'o Options) -> Self {
        Self {
            options,
            connection: None,
            sent_here: 0,
            latencies: Vec::new(),
            errors: 0,
            unsigned: 0,
            first_error: None,
        }
    }

    /// Sends what is not counted; the first worker leaves its first message in the dump.
    fn warm_up(&mut self, number: u32) {
        let dump = self.options.dump.as_ref().filter(|_| number == 0);
        let count = self.options.warmup.max(u64::from(dump.is_some()));
        for i in 0..count {
            let serial = u64::from(number) * 31 + i;
            let dump = dump.filter(|_| i == 0);
            if let Err(error) = self.send(serial, dump.map(|path| path.as_path())) {
                self.fail(&error);
            }
        }
    }

    fn work(&mut self, next: &AtomicU64, end: Instant) {
        while self.errors < MAX_ERRORS && Instant::now() < end {
            let serial = next.fetch_add(1, Ordering::Relaxed);
            if serial >= self.options.total {
                break;
            }
            let start = Instant::now();
            match self.send(serial, None) {
                Ok(()) => self.latencies.push(start.elapsed()),
                Err(error) => self.fail(&error),
            }
        }
    }

    fn send(&mut self, serial: u64, dump: Option<&std::path::Path>) -> Result<()> {
        let options = self.options;
        if options.session.is_some_and(|most| self.sent_here >= most) {
            self.connection = None;
        }
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                self.sent_here = 0;
                Connection::open(&options.address, options.envelope.version)?
            }
        };
        self.sent_here += 1;
        let which = serial % options.messages.len() as u64;
        let mail = &options.messages[usize::try_from(which)?];
        let outcome = connection.send(mail, &options.envelope, serial)?;
        if !outcome.is_accepted() {
            bail!("a message was answered with {:?}", char::from(outcome.verdict));
        }
        self.unsigned += u64::from(!outcome.is_signed());
        // Only a connection that did its work is used again.
        self.connection = Some(connection);
        if let Some(path) = dump {
            let number = options.envelope.number(serial).to_string();
            let header_from = options.envelope.header_from.as_ref();
            let header_from = header_from.map(|text| text.replace("%d", &number));
            let fields = mail.fields(header_from.as_deref());
            std::fs::write(path, leaving(fields, outcome.modifications, mail.body()))
                .with_context(|| path.display().to_string())?;
        }
        Ok(())
    }

    fn fail(&mut self, error: &anyhow::Error) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| format!("{error:#}"));
        // A filter that is gone is not asked in a busy loop.
        thread::sleep(PAUSE_AFTER_ERROR);
    }
}

impl Report {
    /// The latency that a share of the messages, from 0 to 1, does not exceed.
    fn quantile(&self, share: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        let at = ((self.latencies.len() as f64 * share) as usize).min(last);
        self.latencies.get(at).copied().unwrap_or_default()
    }

    fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// One line for scripts.
    pub(crate) fn to_json(&self) -> String {
        let microseconds = |share| self.quantile(share).as_micros() as u64;
        serde_json::json!({
            "messages": self.latencies.len(),
            "seconds": (self.elapsed.as_secs_f64() * 1e3).round() / 1e3,
            "rate": (self.rate() * 10.0).round() / 10.0,
            "p50_us": microseconds(0.5),
            "p99_us": microseconds(0.99),
            "max_us": microseconds(1.0),
            "errors": self.errors,
            "unsigned": self.unsigned,
            "why": self.first_error.as_deref().unwrap_or_default(),
        })
        .to_string()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} messages in {:.2} s over {} connections: {:.1} a second, p50 {:?}, p99 {:?}, \
             max {:?}, {} errors, {} without DKIM-Signature",
            self.latencies.len(),
            self.elapsed.as_secs_f64(),
            self.connections,
            self.rate(),
            self.quantile(0.5),
            self.quantile(0.99),
            self.quantile(1.0),
            self.errors,
            self.unsigned,
        )?;
        match &self.first_error {
            Some(error) => write!(f, " (first error: {error})"),
            None => Ok(()),
        }
    }
}

/// Errors after which a worker gives up.
const MAX_ERRORS: u64 = 1000;
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(5);
const STACK: usize = 256 << 10;

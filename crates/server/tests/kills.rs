//! kill -9 of the SMTP proxy, of the milter behind a real Postfix, and of the next hop: what was acknowledged has
//! arrived, nothing arrives unsigned, and twice comes only what was in flight at a kill.
//!
//! A kill is placed between DATA and its answer. Senders stop before the content (`Gate`), whatever is to hang is
//! stopped, the senders send on to the final dot, and only then comes the kill:
//!
//! ```text
//!   sender            proxy or Postfix      next hop or milter
//!     │ DATA ──────────▶ 354
//!     ┆ gate               the next hop stalls, or the milter is stopped (SIGSTOP)
//!     │ content, dot ──▶ ────────────────────▶ ┆
//!     │                    ✖ kill -9           ┆ ✖ or here
//!     │ no answer, or 4xx: sends again
//! ```
//!
//! `POSTSEAL_KILL_MESSAGES` and `POSTSEAL_KILLS` say how many, for both tests together.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use postseal_dkim::{Header, KeyAnswer, UnixTime, Verifier, VerifyRules};
use postseal_testkit::message::MessageBuilder;
use postseal_testkit::mutate::Random;
use postseal_testkit::platform::{Platform, Tenant};
use postseal_testkit::postfix::{self, Postfix};
use postseal_testkit::scale;
use postseal_testkit::sink::{self, Action, Received, Sink, Stage};
use postseal_testkit::smtp_client::{SmtpClient, stuffed};
use postseal_testkit::verifiers;

#[tokio::test(flavor = "multi_thread")]
async fn kills_of_the_proxy_and_of_the_next_hop_lose_nothing() -> Result<()> {
    let messages = figure_of_messages() * 7 / 10;
    let kills = figure_of_kills() * 7 / 10;
    let (mut platform, tenant) = start("").await?;
    let ledger = Ledger::new(messages, platform.dns_file());
    let front = Front::new(platform.daemon.address("smtp")?);
    let began = Instant::now();
    let mut random = Random::new(scale::seed());
    let mut by_kind = [0_u64; 4];
    let result = thread::scope(|scope| {
        let senders = Senders { ledger: &ledger, front: &front, login: Some(&tenant.key) };
        for _ in 0..SENDERS {
            scope.spawn(move || senders.run());
        }
        let outcome = (|| -> Result<()> {
            for round in 0..kills {
                let until = messages * (round + 1) / (kills + 1);
                ledger.wait_for(until)?;
                let kind = (random.number() % 4) as usize;
                by_kind[kind] += 1;
                front.close_gate();
                // Somebody stands between DATA and the content, and nobody's answer is still to come.
                front.wait_until(FrontState::is_still)?;
                let end =
                    if kind == STORE_AND_CLOSE { Action::StoreAndClose } else { Action::Stall };
                platform.sink.always(Stage::EndOfData, end);
                let before = platform.sink.count();
                front.open_gate();
                match kind {
                    // The proxy dies while the hop has the message and has not answered. The hop then takes it
                    // all the same, as any would.
                    PROXY => {
                        platform.sink.wait_for_stalled(1, PATIENCE)?;
                        ensure!(platform.sink.count() == before, "the hop stored while it stalls");
                        platform.daemon.kill()?;
                        platform.sink.obey();
                    }
                    // The hop dies with messages that it has not answered.
                    NEXT_HOP => {
                        platform.sink.wait_for_stalled(1, PATIENCE)?;
                        ensure!(platform.sink.count() == before, "the hop stored while it stalls");
                        restart_hop(&mut platform.sink, &ledger)?;
                    }
                    // Both die.
                    BOTH => {
                        platform.sink.wait_for_stalled(1, PATIENCE)?;
                        platform.daemon.kill()?;
                        restart_hop(&mut platform.sink, &ledger)?;
                    }
                    // The hop stores and dies before it answers; then the proxy dies, with nothing in flight that
                    // it could still lose.
                    _ => {
                        platform.sink.wait_for(before + 1, PATIENCE)?;
                        platform.daemon.kill()?;
                        platform.sink.obey();
                    }
                }
                ledger.take_in(platform.sink.take())?;
                if kind != NEXT_HOP {
                    platform.daemon = platform.daemon.start_again()?;
                    front.moved_to(platform.daemon.address("smtp")?);
                }
            }
            ledger.wait_for(messages)
        })();
        front.open_gate();
        ledger.stop();
        outcome
    });
    result?;
    ledger.take_in(platform.sink.take())?;
    let [proxy, next_hop, both, stored] = by_kind;
    println!(
        "kills: {proxy} of the proxy, {next_hop} of the next hop, {both} of both, {stored} after it stored"
    );
    ledger.judge(began, kills, Twice::IfInFlight)
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_of_the_milter_behind_postfix_lose_nothing() -> Result<()> {
    let (mut messages, mut kills) = (figure_of_messages() * 3 / 10, figure_of_kills() * 3 / 10);
    // A Postfix of a test ends by itself after a while, so a long run has several, one after the other.
    while messages > MESSAGES_OF_A_POSTFIX {
        let of_this = kills * MESSAGES_OF_A_POSTFIX / messages;
        kill_the_milter(MESSAGES_OF_A_POSTFIX, of_this).await?;
        (messages, kills) = (messages - MESSAGES_OF_A_POSTFIX, kills - of_this);
    }
    kill_the_milter(messages, kills).await
}

async fn kill_the_milter(messages: u64, kills: u64) -> Result<()> {
    // Postfix has to find the milter where it was.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let milter = format!("[[milter]]\nlisten = \"127.0.0.1:{port}\"\ntenant = 1\n");
    let (mut platform, _) = start(&milter).await?;
    let settings = postfix::Settings::with_milter(
        platform.sink.address(),
        platform.daemon.address("milter")?,
    )?;
    let postfix = Postfix::start(&settings)?;
    let ledger = Ledger::new(messages, platform.dns_file());
    let front = Front::new(postfix.address());
    let began = Instant::now();
    let result = thread::scope(|scope| {
        let senders = Senders { ledger: &ledger, front: &front, login: None };
        for _ in 0..SENDERS {
            scope.spawn(move || senders.run());
        }
        let outcome = (|| -> Result<()> {
            for round in 0..kills {
                ledger.wait_for(messages * (round + 1) / (kills + 1))?;
                front.close_gate();
                front.wait_until(FrontState::is_still)?;
                platform.daemon.signal("STOP")?;
                let acknowledged = ledger.acknowledged();
                front.open_gate();
                front.wait_until(|front| front.unanswered >= 1)?;
                ensure!(ledger.acknowledged() == acknowledged, "a 250 without the milter");
                platform.daemon.kill()?;
                ledger.take_in(platform.sink.take())?;
                platform.daemon = platform.daemon.start_again()?;
            }
            ledger.wait_for(messages)
        })();
        front.open_gate();
        ledger.stop();
        outcome
    });
    result?;
    postfix.wait_until_empty(PATIENCE)?;
    ledger.take_in(platform.sink.take())?;
    println!("kills: {kills} of the milter");
    ledger.judge(began, kills, Twice::Never)?;
    postfix.stop()
}

fn figure_of_messages() -> u64 {
    scale::figure("POSTSEAL_KILL_MESSAGES", 5_000, 1_000_000)
}

fn figure_of_kills() -> u64 {
    scale::figure("POSTSEAL_KILLS", 10, 1_000)
}

/// Takes the next hop away and puts another one in its place, as empty as a crash would leave it.
fn restart_hop(hop: &mut Sink, ledger: &Ledger) -> Result<()> {
    let port = hop.address().port();
    ledger.take_in(std::mem::replace(hop, Sink::start()?).crash())?;
    let until = Instant::now() + PATIENCE;
    loop {
        match Sink::start_with(sink::Settings { port, ..sink::Settings::default() }) {
            Ok(again) => {
                *hop = again;
                return Ok(());
            }
            Err(error) if Instant::now() > until => return Err(error),
            // Its thread may still hold the port.
            Err(_) => thread::yield_now(),
        }
    }
}

/// A platform with one domain that signs.
async fn start(milter: &str) -> Result<(Platform, Tenant)> {
    let binary = Path::new(env!("CARGO_BIN_EXE_postseal"));
    let config = format!(
        "[[smtp]]\nlisten = \"127.0.0.1:0\"\n{milter}\n[policy]\non_unsigned = \"tempfail\"\n"
    );
    let platform = Platform::start(binary, &config).await?;
    let tenant = platform.make_tenant("Acme").await?;
    platform.make_domain(&tenant.api, DOMAIN).await?;
    Ok((platform, tenant))
}

/// The clients of the platform: each takes the next message and sends it until it is acknowledged.
#[derive(Clone, Copy)]
struct Senders<'a> {
    ledger: &'a Ledger,
    front: &'a Front,
    login: Option<&'a str>,
}

impl Senders<'_> {
    fn run(self) {
        let mut client = None;
        while let Some(number) = self.ledger.next() {
            let mut tries = 0;
            // A daemon that starts again takes a moment; an MTA would wait for minutes.
            while !self.ledger.is_stopped() {
                match self.send(&mut client, number) {
                    Ok(true) => break,
                    // Postfix asks no filter again on a connection on which it has lost one.
                    Ok(false) if self.login.is_none() => client = None,
                    Ok(false) => {}
                    Err(error) if error.is::<Refused>() => return self.ledger.fail(&error),
                    Err(_) => client = None,
                }
                tries += 1;
                if tries > MAX_TRIES {
                    return self.ledger.fail(&anyhow::anyhow!("message {number}: {tries} tries"));
                }
                thread::sleep(BETWEEN_TRIES);
            }
        }
    }

    /// Sends a message; counts it and says so if it was acknowledged. An error is a broken connection.
    fn send(self, client: &mut Option<SmtpClient>, number: u64) -> Result<bool> {
        let connection = match client {
            Some(connection) => connection,
            none => {
                let mut connection = SmtpClient::connect(self.front.address())?;
                connection.ehlo()?;
                if let Some(key) = self.login {
                    ensure!(connection.auth_plain("SMTP_Injection", key)?.code == 235, "AUTH");
                }
                none.insert(connection)
            }
        };
        let sender = format!("bounce-{number}@{DOMAIN}");
        for line in [
            format!("MAIL FROM:<{sender}>"),
            "RCPT TO:<reader@inbox.test>".to_owned(),
            "DATA".to_owned(),
        ] {
            let reply = connection.command(&line)?;
            if !reply.is_positive() {
                return is_later(connection, &reply.text());
            }
        }
        let _past_gate = self.front.pass_gate();
        self.ledger.in_flight(number);
        connection.write_raw(&stuffed(&numbered(number)))?;
        let _waiting = self.front.wait_for_answer();
        let reply = connection.read_reply()?;
        if reply.is_positive() {
            self.ledger.acknowledge();
            Ok(true)
        } else {
            is_later(connection, &reply.text())
        }
    }
}

/// A 4xx is to be tried again; a 5xx for a good message is a mistake.
fn is_later(connection: &mut SmtpClient, reply: &str) -> Result<bool> {
    if !reply.starts_with('4') {
        return Err(Refused(reply.to_owned()).into());
    }
    connection.command("RSET")?;
    Ok(false)
}

#[derive(Debug, thiserror::Error)]
#[error("a good message is refused: {0}")]
struct Refused(String);

/// What all senders go by: where to send, and the gate between DATA and the content.
#[derive(Default)]
struct Front {
    state: Mutex<FrontState>,
    changed: Condvar,
}

#[derive(Default)]
struct FrontState {
    address: Option<SocketAddr>,
    is_closed: bool,
    /// Senders that wait at the gate.
    at_gate: usize,
    /// Senders that went through and have no answer yet that is counted.
    past_gate: usize,
    /// Senders that have sent the final dot and have no answer.
    unanswered: usize,
}

impl FrontState {
    fn is_still(&self) -> bool {
        self.at_gate >= 1 && self.past_gate == 0
    }
}

impl Front {
    fn new(address: SocketAddr) -> Self {
        let front = Self::default();
        front.moved_to(address);
        front
    }

    fn change(&self, change: impl FnOnce(&mut FrontState)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    fn moved_to(&self, address: SocketAddr) {
        self.change(|state| state.address = Some(address));
    }

    fn address(&self) -> SocketAddr {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.address.expect("new() sets it")
    }

    fn close_gate(&self) {
        self.change(|state| state.is_closed = true);
    }

    fn open_gate(&self) {
        self.change(|state| state.is_closed = false);
    }

    /// The sender is past the gate until what this gives is dropped.
    fn pass_gate(&self) -> PastGate<'_> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.at_gate += 1;
        self.changed.notify_all();
        while state.is_closed {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.at_gate -= 1;
        state.past_gate += 1;
        PastGate(self)
    }

    /// Counts a sender as waiting until the answer to this is dropped.
    fn wait_for_answer(&self) -> Waiting<'_> {
        self.change(|state| state.unanswered += 1);
        Waiting(self)
    }

    fn wait_until(&self, is_it: impl Fn(&FrontState) -> bool) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while !is_it(&state) {
            let left = until.saturating_duration_since(Instant::now());
            ensure!(
                !left.is_zero(),
                "{} senders at the gate and {} without an answer after {PATIENCE:?}",
                state.at_gate,
                state.unanswered
            );
            (state, _) =
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }
}

struct PastGate<'a>(&'a Front);

impl Drop for PastGate<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.past_gate -= 1);
    }
}

struct Waiting<'a>(&'a Front);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.unanswered -= 1);
    }
}

/// What became of each message.
struct Ledger {
    next: AtomicU64,
    messages: u64,
    /// The key records, as in a `--dns-file`.
    dns_file: String,
    /// How often the content of each went out to the final dot.
    sent: Vec<AtomicU32>,
    state: Mutex<LedgerState>,
    changed: Condvar,
}

#[derive(Default)]
struct LedgerState {
    acknowledged: u64,
    /// How often each arrived.
    arrived: HashMap<u64, u32>,
    unsigned: u64,
    /// Some of what arrived, for other verifiers.
    sample: Vec<Vec<u8>>,
    is_stopped: bool,
    failure: Option<String>,
}

/// Whether a message may arrive more than once.
#[derive(Clone, Copy, PartialEq)]
enum Twice {
    /// As often as its content was sent without an answer.
    IfInFlight,
    /// What had no answer was nowhere.
    Never,
}

impl Ledger {
    fn new(messages: u64, dns_file: String) -> Self {
        Self {
            next: AtomicU64::new(0),
            messages,
            dns_file,
            sent: (0..messages).map(|_| AtomicU32::new(0)).collect(),
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    fn next(&self) -> Option<u64> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < self.messages && !self.is_stopped()).then_some(number)
    }

    fn in_flight(&self, number: u64) {
        self.sent[number as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn acknowledge(&self) {
        self.lock().acknowledged += 1;
        self.changed.notify_all();
    }

    fn acknowledged(&self) -> u64 {
        self.lock().acknowledged
    }

    fn fail(&self, error: &anyhow::Error) {
        self.lock().failure = Some(format!("{error:#}"));
        self.changed.notify_all();
    }

    fn stop(&self) {
        self.lock().is_stopped = true;
    }

    fn is_stopped(&self) -> bool {
        self.lock().is_stopped
    }

    fn wait_for(&self, count: u64) -> Result<()> {
        let mut state = self.lock();
        while state.acknowledged < count {
            if let Some(failure) = &state.failure {
                bail!("{failure}");
            }
            let before = state.acknowledged;
            let (after, waited) =
                self.changed.wait_timeout(state, PATIENCE).unwrap_or_else(PoisonError::into_inner);
            state = after;
            ensure!(
                !waited.timed_out() || state.acknowledged > before,
                "{before} of {count} messages acknowledged, and no more in {PATIENCE:?}"
            );
        }
        Ok(())
    }

    /// Notes what a hop has stored, each once.
    fn take_in(&self, stored: Vec<Arc<Received>>) -> Result<()> {
        for received in stored {
            let number: u64 = received
                .sender
                .strip_prefix("bounce-")
                .and_then(|rest| rest.split('@').next())
                .and_then(|number| number.parse().ok())
                .with_context(|| format!("from {}", received.sender))?;
            ensure!(received.message.ends_with(&numbered(number)), "message {number} changed");
            let passes = passes(&self.dns_file, &received.message)?;
            let mut state = self.lock();
            *state.arrived.entry(number).or_default() += 1;
            state.unsigned += u64::from(!passes);
            if number.is_multiple_of((self.messages / SAMPLE).max(1)) {
                state.sample.push(received.message.clone());
            }
        }
        Ok(())
    }

    /// Everything that was acknowledged has arrived, signed, and no more often than it may.
    fn judge(self, began: Instant, kills: u64, twice: Twice) -> Result<()> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let unsigned = state.unsigned;
        let (mut lost, mut more, mut too_often) = (0_u64, 0_u64, Vec::new());
        for (number, sent) in self.sent.iter().enumerate() {
            let arrived = state.arrived.get(&(number as u64)).copied().unwrap_or_default();
            lost += u64::from(arrived == 0);
            more += u64::from(arrived.saturating_sub(1));
            let may = if twice == Twice::Never { 1 } else { sent.load(Ordering::Relaxed) };
            if arrived > may {
                too_often.push(number);
            }
        }
        println!(
            "seed {}: {} messages, {kills} kills in {:.1} s; acknowledged {}, lost {lost}, unsigned {unsigned}, \
             twice {more}, of which not in flight {}",
            scale::seed(),
            self.messages,
            began.elapsed().as_secs_f64(),
            state.acknowledged,
            too_often.len()
        );
        ensure!(state.acknowledged == self.messages, "{} acknowledged", state.acknowledged);
        ensure!(lost == 0, "{lost} acknowledged messages are lost");
        ensure!(unsigned == 0, "{unsigned} messages went out unsigned");
        ensure!(too_often.is_empty(), "more often than they were in flight: {too_often:?}");
        let complaints = verifiers::complaints(&self.dns_file, &state.sample)?;
        ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LedgerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says whether our own verifier passes a signature of the domain.
fn passes(dns_file: &str, message: &[u8]) -> Result<bool> {
    let (header, body) = Header::of_message(message)?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let (mut verifier, queries) = Verifier::start(&header, &VerifyRules::default(), UnixTime(now));
    for query in queries {
        let text = dns_file
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .find(|(owner, _)| *owner == query.name.as_str());
        let answer = text.map_or(KeyAnswer::NoRecord, |(_, text)| KeyAnswer::from_texts([text]));
        verifier.answer(query.id, answer);
    }
    verifier.body(body);
    Ok(verifier.finish().signatures.iter().any(|one| {
        one.outcome.is_pass()
            && one.signing_domain.as_ref().is_some_and(|domain| domain.as_str() == DOMAIN)
    }))
}

fn numbered(number: u64) -> Vec<u8> {
    MessageBuilder::simple(&format!("news@{DOMAIN}"), "reader@inbox.test")
        .set("Subject", &format!("Message {number}"))
        .set("Message-ID", &format!("<{number}@{DOMAIN}>"))
        .body(format!("The message {number}.\r\n.with a dot\r\n").as_bytes())
        .build()
}

const DOMAIN: &str = "acme.test";

/// Senders at a time.
const SENDERS: usize = 6;

/// How many of the messages the other verifiers see, about.
const SAMPLE: u64 = 200;

/// What one Postfix carries well within its lifetime.
const MESSAGES_OF_A_POSTFIX: u64 = 30_000;

/// How often a sender tries the same message: for as long as a daemon takes to start.
const MAX_TRIES: u32 = 3_000;

/// Between two tries of the same message.
const BETWEEN_TRIES: Duration = Duration::from_millis(10);

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Kinds of kills.
const PROXY: usize = 0;
const NEXT_HOP: usize = 1;
const BOTH: usize = 2;
const STORE_AND_CLOSE: usize = 3;

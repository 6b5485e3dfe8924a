//! The MX hosts of recipient domains, known without waiting.
//!
//! The signing path asks [`MxAnswers::known`], which is a look into memory. What is not known, or is
//! old, is asked for in the background:
//!
//! ```text
//!            known(domain)
//!   unknown ──────────────▶ queued ──▶ asked ──┬─ answer ──▶ fresh ──TTL──▶ stale (still used, queued)
//!      ▲                      │ queue full     │                              │ STALE_TIME
//!      ├──────────────────────┘                └─ failure ─▶ barred for       │
//!      │                                          FAILURE_TIME                │
//!      └──────────────────────────────────────────────┴───────────────────────┘
//! ```
//!
//! Recipients are chosen by strangers, so everything is bounded: octets in memory, names in the queue,
//! questions at once. When a bound is reached, a name stays unknown for now and is counted; the caller's
//! list of domains decides then.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use moka::sync::Cache;
use postseal_dkim::DomainName;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::recursive::{LookupFailure, MxHosts, RecursiveClient};

/// What is known of MX records. Cloning is cheap, and clones are one.
#[derive(Clone, Debug)]
pub struct MxAnswers {
    inner: Arc<Inner>,
    queue: mpsc::Sender<DomainName>,
}

#[derive(Debug)]
struct Inner {
    answers: Cache<DomainName, Known>,
    /// Names that are queued or being asked.
    pending: Mutex<HashSet<DomainName>>,
    counters: Counters,
}

/// What is known of a domain.
#[derive(Clone, Debug)]
struct Known {
    /// None if the DNS failed and nothing was known before.
    hosts: Option<Arc<[DomainName]>>,
    fresh_until: Instant,
    /// After this, an old answer is none.
    usable_until: Instant,
}

impl MxAnswers {
    /// Starts asking in the background, until `stop`. Needs a tokio runtime.
    #[must_use]
    pub fn start(client: RecursiveClient, stop: CancellationToken) -> Self {
        let answers = Cache::builder()
            .max_capacity(MAX_OCTETS)
            .weigher(|domain: &DomainName, known: &Known| weight(domain, known))
            .build();
        let inner =
            Arc::new(Inner { answers, pending: Mutex::default(), counters: Counters::default() });
        let (queue, names) = mpsc::channel(MAX_QUEUE);
        tokio::spawn(run(client, Arc::clone(&inner), names, stop));
        Self { inner, queue }
    }

    /// The MX hosts of a domain as far as they are known, the most preferred first; none of them if the
    /// domain has no MX record. Never waits. What is unknown or old is asked for.
    #[must_use]
    pub fn known(&self, domain: &DomainName) -> Option<Arc<[DomainName]>> {
        self.known_at(domain, Instant::now())
    }

    fn known_at(&self, domain: &DomainName, now: Instant) -> Option<Arc<[DomainName]>> {
        let known = self.inner.answers.get(domain);
        if known.as_ref().is_none_or(|known| known.fresh_until <= now) {
            self.ask_later(domain);
        }
        let hosts = known.filter(|known| known.usable_until > now).and_then(|known| known.hosts);
        let counters = &self.inner.counters;
        let counter = if hosts.is_some() { &counters.known } else { &counters.unknown };
        counter.fetch_add(1, Ordering::Relaxed);
        hosts
    }

    /// The figures so far.
    #[must_use]
    pub fn figures(&self) -> MxFigures {
        let counters = &self.inner.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        MxFigures {
            known: read(&counters.known),
            unknown: read(&counters.unknown),
            asked: read(&counters.asked),
            failed: read(&counters.failed),
            queue_full: read(&counters.queue_full),
            domains: self.inner.answers.entry_count(),
        }
    }

    fn ask_later(&self, domain: &DomainName) {
        if !self.inner.pending().insert(domain.clone()) {
            return;
        }
        if self.queue.try_send(domain.clone()).is_err() {
            self.inner.pending().remove(domain);
            self.inner.counters.queue_full.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Inner {
    fn pending(&self) -> MutexGuard<'_, HashSet<DomainName>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, domain: &DomainName, answer: Result<MxHosts, LookupFailure>, now: Instant) {
        self.counters.asked.fetch_add(1, Ordering::Relaxed);
        let known = match answer {
            Ok(answer) => {
                let ttl = Duration::from_secs(u64::from(answer.ttl));
                let longest =
                    if answer.hosts.is_empty() { MAX_NEGATIVE_TIME } else { MAX_FRESH_TIME };
                let fresh_until = now + ttl.clamp(MIN_FRESH_TIME, longest);
                Known {
                    hosts: Some(answer.hosts.into()),
                    fresh_until,
                    usable_until: fresh_until + STALE_TIME,
                }
            }
            Err(_failure) => {
                self.counters.failed.fetch_add(1, Ordering::Relaxed);
                let old = self.answers.get(domain);
                Known {
                    hosts: old.as_ref().and_then(|old| old.hosts.clone()),
                    fresh_until: now + FAILURE_TIME,
                    usable_until: old.map_or(now, |old| old.usable_until),
                }
            }
        };
        self.answers.insert(domain.clone(), known);
        self.pending().remove(domain);
    }
}

/// Takes names from the queue and asks, several at once.
async fn run(
    client: RecursiveClient,
    inner: Arc<Inner>,
    mut names: mpsc::Receiver<DomainName>,
    stop: CancellationToken,
) {
    let lanes = Arc::new(Semaphore::new(MAX_AT_ONCE));
    let mut tasks = JoinSet::new();
    loop {
        let next = async {
            // The semaphore is never closed.
            let lane = Arc::clone(&lanes).acquire_owned().await.ok()?;
            Some((lane, names.recv().await?))
        };
        let next = tokio::select! {
            () = stop.cancelled() => None,
            next = next => next,
        };
        // Dropping the set ends what is still being asked.
        let Some((lane, domain)) = next else { return };
        while tasks.try_join_next().is_some() {}
        let (client, inner) = (client.clone(), Arc::clone(&inner));
        tasks.spawn(async move {
            let answer = client.mx(&domain).await;
            inner.learn(&domain, answer, Instant::now());
            drop(lane);
        });
    }
}

#[derive(Debug, Default)]
struct Counters {
    known: AtomicU64,
    unknown: AtomicU64,
    asked: AtomicU64,
    failed: AtomicU64,
    queue_full: AtomicU64,
}

/// What [`MxAnswers`] did so far.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MxFigures {
    /// Questions of the signing path that had an answer.
    pub known: u64,
    /// Questions of the signing path that had none.
    pub unknown: u64,
    /// Look-ups that ended.
    pub asked: u64,
    /// Those of them that brought no answer.
    pub failed: u64,
    /// Names that were not queued since the queue was full.
    pub queue_full: u64,
    /// Domains in memory, about.
    pub domains: u64,
}

fn weight(domain: &DomainName, known: &Known) -> u32 {
    let hosts = known.hosts.iter().flat_map(|hosts| hosts.iter());
    let octets: usize = hosts.map(|host| host.as_str().len() + OVERHEAD).sum();
    u32::try_from(domain.as_str().len() + octets + OVERHEAD * 4).unwrap_or(u32::MAX)
}

/// The memory for answers: some hundred thousand domains.
pub const MAX_OCTETS: u64 = 64 << 20;

/// Names that wait to be asked. At 32 at once and 50 ms each they wait 6 s.
pub const MAX_QUEUE: usize = 4096;

/// Questions that are open at once: what a resolver takes from one client without noticing.
pub const MAX_AT_ONCE: usize = 32;

/// A shorter TTL does not make us ask more often.
const MIN_FRESH_TIME: Duration = Duration::from_secs(300);

/// MX records move rarely; a longer TTL is not waited for.
const MAX_FRESH_TIME: Duration = Duration::from_secs(86_400);

/// RFC 2308 §5 has one to three hours for answers that there is nothing.
const MAX_NEGATIVE_TIME: Duration = Duration::from_secs(3600);

/// How long an answer is used beyond its time while the DNS gives no newer one (RFC 8767 §5: one to
/// three days).
const STALE_TIME: Duration = Duration::from_secs(86_400);

/// RFC 9520 §3.2: failures are remembered for 1 s to 5 min.
const FAILURE_TIME: Duration = Duration::from_secs(60);

/// Of an entry and of a name in memory, about, in octets.
const OVERHEAD: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).unwrap()
    }

    fn hosts(answers: &MxAnswers, domain: &str, now: Instant) -> Option<Vec<String>> {
        let known = answers.known_at(&name(domain), now)?;
        Some(known.iter().map(ToString::to_string).collect())
    }

    fn answer(hosts: &[&str], ttl: u32) -> Result<MxHosts, LookupFailure> {
        Ok(MxHosts { hosts: hosts.iter().map(|host| name(host)).collect(), ttl })
    }

    /// Answers that nobody fetches: the queue is there, the resolver is not.
    fn unattended() -> (MxAnswers, mpsc::Receiver<DomainName>) {
        let inner = Arc::new(Inner {
            answers: Cache::new(1000),
            pending: Mutex::default(),
            counters: Counters::default(),
        });
        let (queue, names) = mpsc::channel(MAX_QUEUE);
        (MxAnswers { inner, queue }, names)
    }

    #[test]
    fn an_old_answer_is_used_while_a_new_one_is_asked_for() {
        let now = Instant::now();
        let (answers, mut names) = unattended();
        assert_eq!(hosts(&answers, "a.test", now), None);
        assert_eq!(names.try_recv().unwrap(), name("a.test"));

        answers.inner.learn(&name("a.test"), answer(&["mx.a.test"], 600), now);
        assert_eq!(hosts(&answers, "a.test", now).unwrap(), ["mx.a.test"]);
        assert!(names.try_recv().is_err(), "fresh answers are not asked for");

        let now = now + Duration::from_secs(601);
        assert_eq!(hosts(&answers, "a.test", now).unwrap(), ["mx.a.test"]);
        assert_eq!(names.try_recv().unwrap(), name("a.test"));

        answers.inner.learn(&name("a.test"), Err(LookupFailure::Timeout), now);
        assert_eq!(
            hosts(&answers, "a.test", now).unwrap(),
            ["mx.a.test"],
            "a failure takes nothing away"
        );
        assert!(names.try_recv().is_err(), "and is not asked again at once");

        let now = now + STALE_TIME;
        assert_eq!(hosts(&answers, "a.test", now), None);
    }

    #[test]
    fn no_mx_is_an_answer_and_a_failure_is_none() {
        let now = Instant::now();
        let (answers, mut names) = unattended();
        answers.inner.learn(&name("none.test"), answer(&[], 0), now);
        assert_eq!(hosts(&answers, "none.test", now).unwrap(), [""; 0]);

        answers.inner.learn(&name("dead.test"), Err(LookupFailure::Timeout), now);
        assert_eq!(hosts(&answers, "dead.test", now), None);
        assert!(names.try_recv().is_err());

        let now = now + FAILURE_TIME;
        assert_eq!(hosts(&answers, "dead.test", now), None);
        assert_eq!(names.try_recv().unwrap(), name("dead.test"));
    }

    #[test]
    fn the_queue_is_bounded_and_names_stand_in_it_once() {
        let now = Instant::now();
        let (answers, mut names) = unattended();
        for _ in 0..3 {
            assert_eq!(hosts(&answers, "twice.test", now), None);
        }
        for number in 1..=MAX_QUEUE {
            assert_eq!(hosts(&answers, &format!("d{number}.test"), now), None);
        }
        let figures = answers.figures();
        assert_eq!((figures.queue_full, figures.known), (1, 0));

        let mut queued = 0;
        while names.try_recv().is_ok() {
            queued += 1;
        }
        assert_eq!(queued, MAX_QUEUE);
        assert_eq!(answers.inner.pending().len(), MAX_QUEUE, "the one left out is not pending");
    }

    #[test]
    fn long_answers_weigh_more() {
        let known = |count: usize| Known {
            hosts: Some(vec![name("mx.example.com"); count].into()),
            fresh_until: Instant::now(),
            usable_until: Instant::now(),
        };
        assert!(weight(&name("a.test"), &known(16)) > weight(&name("a.test"), &known(1)) + 15 * 14);
    }
}

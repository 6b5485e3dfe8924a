//! The threads that sign.
//!
//! An RSA signature is a quarter millisecond of CPU work and more; done on an I/O task it would hold up
//! every connection of that task. So digests go through one bounded queue to a fixed number of threads:
//!
//! ```text
//! tasks ── sign().await ──▶ queue ──▶ sign-0 … sign-n ── one-shot reply ──▶ the task that asked
//!            ▲ waits while the queue is full
//! ```
//!
//! What signs is a [`DigestSigner`]. It says how many digests it likes to have at once: in software one,
//! an engine that fills the lanes of wide registers eight. Nobody waits for a batch to fill; a thread takes
//! what is there.
//!
//! Handing a signature over wakes an I/O thread, which costs a switch between threads each time. While more
//! jobs wait, signatures are kept for a moment ([`HOLD`]) and handed over together; with nothing left to do,
//! at once.
//!
//! A job that panics ends alone: its task gets [`SignError::Lost`], the panic is counted, the thread lives.
//! Each thread seeds the crypto library before its first job, which costs a process about 30 ms once;
//! [`SigningThreads::warm_up`] waits for that.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::{Semaphore, oneshot, watch};

use crate::job::{Counters, DigestSigner, SignError, SigningCounts, SigningJob, SoftwareSigner};
use crate::signing_key::SigningKey;

/// The threads and their queue.
///
/// Dropping this ends the threads after the jobs in hand.
pub struct SigningThreads {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl SigningThreads {
    /// Starts threads that sign in software.
    ///
    /// `queue` is how many jobs may wait, besides those in hand; [`DEFAULT_QUEUE_LEN`] is a good number.
    pub fn start(threads: NonZeroUsize, queue: NonZeroUsize) -> Result<Self, StartError> {
        Self::start_with(SoftwareSigner, threads, queue)
    }

    /// Starts threads that sign with `signer`.
    pub fn start_with(
        signer: impl DigestSigner,
        threads: NonZeroUsize,
        queue: NonZeroUsize,
    ) -> Result<Self, StartError> {
        let room = queue.get().min(Semaphore::MAX_PERMITS);
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue { jobs: VecDeque::new(), idle: 0, closed: false }),
            work: Condvar::new(),
            room: Semaphore::new(room),
            warm: watch::Sender::new(0),
            counters: Arc::default(),
            signer: Box::new(signer),
        });
        // Built first, so that a thread that does not start ends those that did.
        let mut pool = Self { shared, threads: Vec::new() };
        for number in 0..threads.get() {
            let shared = Arc::clone(&pool.shared);
            let thread = thread::Builder::new()
                .name(format!("sign-{number}"))
                .spawn(move || shared.work())
                .map_err(|source| StartError { source })?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// One thread for each CPU that this process may use.
    #[must_use]
    pub fn default_threads() -> NonZeroUsize {
        thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
    }

    /// Waits until each thread is ready to sign without delay.
    pub async fn warm_up(&self) {
        let mut warm = self.shared.warm.subscribe();
        // The sender lives in `self`.
        let _ = warm.wait_for(|&ready| ready >= self.threads.len()).await;
    }

    /// Signs a digest; waits while the queue is full.
    ///
    /// Dropping the future takes the job back if no thread has it yet.
    pub async fn sign(&self, key: Arc<SigningKey>, digest: [u8; 32]) -> Result<Vec<u8>, SignError> {
        let counters = Arc::clone(&self.shared.counters);
        let (job, answer) = SigningJob::new(key, digest, counters);
        self.shared.submit(Job::Sign(job)).await;
        answer.await.unwrap_or(Err(SignError::Lost))
    }

    /// Does other CPU work of at most a millisecond or two on one of the threads.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, SignError> {
        let (reply, answer) = oneshot::channel();
        let work = Box::new(move || {
            // Nobody may be waiting any more.
            let _ = reply.send(work());
        });
        self.shared.submit(Job::Other(work)).await;
        answer.await.map_err(|_| SignError::Lost)
    }

    /// How many jobs wait in the queue.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.shared.lock().jobs.len()
    }

    /// What was done since the start.
    #[must_use]
    pub fn counts(&self) -> SigningCounts {
        self.shared.counters.read()
    }
}

impl Drop for SigningThreads {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            // A thread catches panics of its jobs; there is nothing to learn from its end.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for SigningThreads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningThreads")
            .field("threads", &self.threads.len())
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

/// The system gave no thread.
#[derive(Debug, Error)]
#[error(
    "a signing thread cannot be started; look at the limits on threads and memory of this service"
)]
pub struct StartError {
    source: io::Error,
}

/// What goes through the queue.
enum Job {
    Sign(SigningJob),
    Other(Box<dyn FnOnce() + Send>),
}

struct Shared {
    queue: Mutex<Queue>,
    /// Signalled when a job comes while a thread is idle, and at the end.
    work: Condvar,
    /// One permit for each free place in the queue.
    room: Semaphore,
    /// How many threads have warmed up.
    warm: watch::Sender<usize>,
    counters: Arc<Counters>,
    signer: Box<dyn DigestSigner>,
}

struct Queue {
    jobs: VecDeque<Job>,
    /// How many threads wait for work. Waking costs a system call, which is saved while all are busy.
    idle: usize,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing that can panic runs under the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn submit(&self, job: Job) {
        let place = self.room.acquire().await.expect("the semaphore is never closed");
        // Given back by the thread that takes the job.
        place.forget();
        let idle = {
            let mut queue = self.lock();
            queue.jobs.push_back(job);
            queue.idle > 0
        };
        if idle {
            self.work.notify_one();
        }
    }

    /// The life of one thread.
    fn work(&self) {
        self.guarded(|| self.signer.warm_up());
        self.warm.send_modify(|ready| *ready += 1);
        let mut batch = Vec::with_capacity(self.signer.batch_size().get());
        // Answered, and not handed over yet.
        let mut held: Vec<SigningJob> = Vec::new();
        let mut held_since = Instant::now();
        loop {
            let if_empty = if held.is_empty() { IfEmpty::Wait } else { IfEmpty::Return };
            match self.take(&mut batch, if_empty) {
                Taken::Batch => {}
                Taken::Nothing => {
                    held.clear();
                    continue;
                }
                Taken::Other(work) => {
                    held.clear();
                    self.room.add_permits(1);
                    self.guarded(work);
                    continue;
                }
                Taken::End => return,
            }
            self.room.add_permits(batch.len());
            let all = batch.len();
            batch.retain(|job| !job.is_abandoned());
            let abandoned = all - batch.len();
            if abandoned > 0 {
                self.counters.abandoned.fetch_add(abandoned as u64, Ordering::Relaxed);
            }
            if held.is_empty() {
                held_since = Instant::now();
            }
            if !batch.is_empty() && !self.guarded(|| self.signer.sign(&mut batch)) {
                self.sign_apart(&mut batch);
            }
            held.append(&mut batch);
            if held_since.elapsed() >= HOLD {
                held.clear();
            }
        }
    }

    /// Tries the rest of a batch that panicked one by one, so that one bad job takes no other with it.
    fn sign_apart(&self, batch: &mut [SigningJob]) {
        if batch.len() < 2 {
            return;
        }
        for job in batch.chunks_mut(1).filter(|job| !job.iter().all(SigningJob::is_answered)) {
            self.guarded(|| self.signer.sign(job));
        }
    }

    /// Takes signing jobs up to a batch, or one job of the other kind.
    fn take(&self, batch: &mut Vec<SigningJob>, if_empty: IfEmpty) -> Taken {
        let most = self.signer.batch_size().get();
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return Taken::End;
            }
            while batch.len() < most
                && let Some(job) = queue.jobs.pop_front()
            {
                match job {
                    Job::Sign(job) => batch.push(job),
                    Job::Other(work) if batch.is_empty() => return Taken::Other(work),
                    other @ Job::Other(_) => {
                        queue.jobs.push_front(other);
                        break;
                    }
                }
            }
            if !batch.is_empty() {
                return Taken::Batch;
            }
            if if_empty == IfEmpty::Return {
                return Taken::Nothing;
            }
            queue.idle += 1;
            queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }

    /// Runs `work`, says whether it came to its end, and counts it if it panicked.
    fn guarded(&self, work: impl FnOnce()) -> bool {
        // What a panic leaves half-done are jobs, which are then dropped.
        let ended = panic::catch_unwind(AssertUnwindSafe(work)).is_ok();
        if !ended {
            self.counters.panics.fetch_add(1, Ordering::Relaxed);
        }
        ended
    }
}

/// What a thread does when nothing is queued.
#[derive(Clone, Copy, Eq, PartialEq)]
enum IfEmpty {
    Wait,
    Return,
}

/// What a thread got from the queue.
enum Taken {
    /// Signing jobs, in the batch.
    Batch,
    Other(Box<dyn FnOnce() + Send>),
    /// The queue is empty.
    Nothing,
    /// The threads are to end.
    End,
}

/// How many jobs may wait by default: a quarter second of RSA on one core. No official reference.
pub const DEFAULT_QUEUE_LEN: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// How long a thread signs on before it hands over what it has, while jobs wait. No official reference: some
/// four RSA signatures, and a small part of what a message takes on its way. What takes longer than this to
/// sign, on a device perhaps, is handed over at once.
const HOLD: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use postseal_dkim::Algorithm;

    use super::*;

    fn key(algorithm: Algorithm) -> Arc<SigningKey> {
        Arc::new(SigningKey::generate(algorithm).unwrap_or_else(|error| panic!("{error}")))
    }

    fn number(n: usize) -> NonZeroUsize {
        NonZeroUsize::new(n).unwrap()
    }

    /// A digest that says which job it is of.
    fn digest(n: u32) -> [u8; 32] {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&n.to_be_bytes());
        digest
    }

    /// Answers with the digest, panics at digests that begin with 0xff, waits for `gate` before each batch.
    struct Echo {
        batch: usize,
        gate: Option<Mutex<mpsc::Receiver<()>>>,
        batches: Mutex<Vec<usize>>,
    }

    impl Echo {
        fn new(batch: usize) -> Self {
            Self { batch, gate: None, batches: Mutex::default() }
        }
    }

    impl DigestSigner for Arc<Echo> {
        fn batch_size(&self) -> NonZeroUsize {
            number(self.batch)
        }

        fn sign(&self, batch: &mut [SigningJob]) {
            if let Some(gate) = &self.gate {
                gate.lock().unwrap().recv().unwrap();
            }
            self.batches.lock().unwrap().push(batch.len());
            for job in batch {
                assert_ne!(job.digest()[0], 0xff, "a job that panics");
                let digest = job.digest().to_vec();
                job.answer(Ok(digest));
            }
        }

        fn warm_up(&self) {}
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn each_task_gets_the_signature_of_its_own_digest() {
        let threads = SigningThreads::start(number(2), number(16)).unwrap();
        threads.warm_up().await;
        let threads = Arc::new(threads);
        let keys = [key(Algorithm::RsaSha256), key(Algorithm::Ed25519Sha256)];
        let tasks: Vec<_> = (0..400)
            .map(|n| {
                let (threads, key) = (Arc::clone(&threads), Arc::clone(&keys[n as usize % 2]));
                tokio::spawn(async move {
                    let signature = threads.sign(Arc::clone(&key), digest(n)).await.unwrap();
                    assert_eq!(signature, key.sign(&digest(n)).unwrap(), "{n}");
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let want =
            SigningCounts { rsa_signatures: 200, ed25519_signatures: 200, ..Default::default() };
        assert_eq!(threads.counts(), want);
        assert_eq!(threads.queued(), 0);
    }

    #[tokio::test]
    async fn a_job_that_panics_ends_alone() {
        for batch in [1, 8] {
            let (open, gate) = mpsc::channel();
            let echo = Arc::new(Echo { gate: Some(Mutex::new(gate)), ..Echo::new(batch) });
            let threads =
                SigningThreads::start_with(Arc::clone(&echo), number(1), number(64)).unwrap();
            let key = key(Algorithm::Ed25519Sha256);
            let mut bad = digest(3);
            bad[0] = 0xff;
            let jobs = async {
                tokio::join!(
                    threads.sign(Arc::clone(&key), digest(1)),
                    threads.sign(Arc::clone(&key), digest(2)),
                    threads.sign(Arc::clone(&key), bad),
                    threads.sign(Arc::clone(&key), digest(4)),
                )
            };
            for _ in 0..64 {
                open.send(()).unwrap();
            }
            let (one, two, three, four) = jobs.await;
            assert_eq!(one.unwrap(), digest(1));
            assert_eq!(two.unwrap(), digest(2));
            assert_eq!(three, Err(SignError::Lost));
            assert_eq!(four.unwrap(), digest(4));
            assert!((1..=2).contains(&threads.counts().panics), "{:?}", threads.counts());
            assert_eq!(threads.counts().ed25519_signatures, 3);

            // The thread lives.
            assert_eq!(threads.sign(Arc::clone(&key), digest(5)).await.unwrap(), digest(5));
            assert_eq!(threads.run(|| 7).await, Ok(7));
            assert_eq!(threads.run(|| panic!("another")).await, Err::<(), _>(SignError::Lost));
            assert_eq!(threads.run(|| 8).await, Ok(8));
            drop(open);
        }
    }

    #[tokio::test]
    async fn a_batched_engine_gets_all_that_waits_and_no_more() {
        let (open, gate) = mpsc::channel();
        let echo = Arc::new(Echo { gate: Some(Mutex::new(gate)), ..Echo::new(8) });
        let threads =
            Arc::new(SigningThreads::start_with(Arc::clone(&echo), number(1), number(64)).unwrap());
        let key = key(Algorithm::Ed25519Sha256);
        let sign = |n| {
            let (threads, key) = (Arc::clone(&threads), Arc::clone(&key));
            tokio::spawn(async move { threads.sign(key, digest(n)).await.unwrap() })
        };
        // The first job occupies the thread until the gate opens; the others gather behind it.
        let first = sign(0);
        while threads.shared.lock().idle > 0 || threads.queued() > 0 || !has_started(&threads) {
            tokio::task::yield_now().await;
        }
        let rest: Vec<_> = (1..=20).map(sign).collect();
        while threads.queued() < 20 {
            tokio::task::yield_now().await;
        }
        for _ in 0..4 {
            open.send(()).unwrap();
        }
        assert_eq!(first.await.unwrap(), digest(0));
        for (n, task) in (1..).zip(rest) {
            assert_eq!(task.await.unwrap(), digest(n));
        }
        assert_eq!(*echo.batches.lock().unwrap(), [1, 8, 8, 4]);
    }

    /// Says whether there is a job, for it holds the counters, and it has given its place back.
    fn has_started(threads: &SigningThreads) -> bool {
        threads.shared.room.available_permits() == 64
            && Arc::strong_count(&threads.shared.counters) > 1
    }

    #[tokio::test]
    async fn a_full_queue_makes_callers_wait_and_forgets_none() {
        let (open, gate) = mpsc::channel();
        let echo = Arc::new(Echo { gate: Some(Mutex::new(gate)), ..Echo::new(1) });
        let threads =
            Arc::new(SigningThreads::start_with(Arc::clone(&echo), number(1), number(4)).unwrap());
        let key = key(Algorithm::Ed25519Sha256);
        let tasks: Vec<_> = (0..50)
            .map(|n| {
                let (threads, key) = (Arc::clone(&threads), Arc::clone(&key));
                tokio::spawn(async move { threads.sign(key, digest(n)).await.unwrap() })
            })
            .collect();
        while threads.queued() < 4 {
            tokio::task::yield_now().await;
        }
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
            assert!(threads.queued() <= 4);
        }
        for _ in 0..50 {
            open.send(()).unwrap();
        }
        for (n, task) in (0..).zip(tasks) {
            assert_eq!(task.await.unwrap(), digest(n));
        }
    }

    #[tokio::test]
    async fn nobody_signs_for_a_task_that_went_away() {
        let (open, gate) = mpsc::channel();
        let echo = Arc::new(Echo { gate: Some(Mutex::new(gate)), ..Echo::new(1) });
        let threads =
            Arc::new(SigningThreads::start_with(Arc::clone(&echo), number(1), number(8)).unwrap());
        let key = key(Algorithm::Ed25519Sha256);
        let tasks: Vec<_> = (0..5)
            .map(|n| {
                let (threads, key) = (Arc::clone(&threads), Arc::clone(&key));
                tokio::spawn(async move { threads.sign(key, digest(n)).await })
            })
            .collect();
        while threads.queued() < 4 {
            tokio::task::yield_now().await;
        }
        let mut tasks = tasks.into_iter();
        let first = tasks.next().unwrap();
        for task in tasks {
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
        }
        open.send(()).unwrap();
        assert_eq!(first.await.unwrap().unwrap(), digest(0));
        // Behind the abandoned ones in the queue, so they were looked at when this is answered.
        open.send(()).unwrap();
        threads.sign(key, digest(9)).await.unwrap();
        let counts = threads.counts();
        assert_eq!((counts.abandoned, counts.ed25519_signatures), (4, 2), "{counts:?}");
    }
}

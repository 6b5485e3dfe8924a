//! A digest to be signed, and what signs it.
//!
//! [`DigestSigner`] is the seam for other ways to sign: an engine that does several RSA operations at once,
//! or a device. Callers of [`crate::SigningThreads`] notice nothing of it.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use postseal_dkim::Algorithm;
use thiserror::Error;
use tokio::sync::oneshot;

use crate::signing_key::{SignatureError, SigningKey};

/// A way to make signatures: in software, batched, or on a device.
pub trait DigestSigner: Send + Sync + 'static {
    /// How many jobs one call takes at most.
    fn batch_size(&self) -> NonZeroUsize;

    /// Signs the digests of `batch`, which is never empty, and answers each job.
    fn sign(&self, batch: &mut [SigningJob]);

    /// Does what is slow at first use, before the first job of the thread it is called on.
    fn warm_up(&self);
}

/// Signs in software, one digest after the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct SoftwareSigner;

impl DigestSigner for SoftwareSigner {
    fn batch_size(&self) -> NonZeroUsize {
        NonZeroUsize::MIN
    }

    fn sign(&self, batch: &mut [SigningJob]) {
        for job in batch {
            let signature = job.key().sign(job.digest());
            job.answer(signature);
        }
    }

    fn warm_up(&self) {
        // Making a key and signing with it reaches all that RSA reaches too: the seeding of the random
        // generator, of the process and of this thread. A failure shows again at the first real job.
        if let Ok(key) = SigningKey::generate(Algorithm::Ed25519Sha256) {
            let _ = key.sign(&[0; 32]);
        }
    }
}

/// One digest to be signed.
///
/// Its task gets the answer when the job is dropped; without one, [`SignError::Lost`].
pub struct SigningJob {
    key: Arc<SigningKey>,
    digest: [u8; 32],
    answer: Option<Result<Vec<u8>, SignatureError>>,
    reply: Option<oneshot::Sender<Result<Vec<u8>, SignError>>>,
    counters: Arc<Counters>,
}

impl SigningJob {
    /// A job, and where its answer will come.
    pub(crate) fn new(
        key: Arc<SigningKey>,
        digest: [u8; 32],
        counters: Arc<Counters>,
    ) -> (Self, oneshot::Receiver<Result<Vec<u8>, SignError>>) {
        let (reply, answer) = oneshot::channel();
        (Self { key, digest, answer: None, reply: Some(reply), counters }, answer)
    }

    /// The key to sign with.
    #[must_use]
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// The SHA-256 to be signed.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Takes the signature. Only the first answer counts.
    pub fn answer(&mut self, signature: Result<Vec<u8>, SignatureError>) {
        if self.is_answered() {
            return;
        }
        // Counted before it is handed over, so that whoever has the signature finds it counted.
        match (&signature, self.key.algorithm()) {
            (Ok(_), Algorithm::RsaSha256) => &self.counters.rsa_signatures,
            (Ok(_), Algorithm::Ed25519Sha256) => &self.counters.ed25519_signatures,
            (Err(_), _) => &self.counters.failures,
        }
        .fetch_add(1, Ordering::Relaxed);
        self.answer = Some(signature);
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.answer.is_some()
    }

    /// Says whether nobody waits for the signature any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.reply.as_ref().is_some_and(oneshot::Sender::is_closed)
    }
}

impl Drop for SigningJob {
    fn drop(&mut self) {
        if let (Some(reply), Some(answer)) = (self.reply.take(), self.answer.take()) {
            // The task may have gone away since.
            let _ = reply.send(answer.map_err(SignError::Refused));
        }
    }
}

/// What signing threads did since they were started.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SigningCounts {
    /// Signatures made with RSA keys.
    pub rsa_signatures: u64,
    /// Signatures made with Ed25519 keys.
    pub ed25519_signatures: u64,
    /// Jobs that the crypto library refused.
    pub failures: u64,
    /// Panics in jobs. Each of them is a mistake in Postseal or in a signing engine.
    pub panics: u64,
    /// Jobs that were skipped since nobody waited for them any more.
    pub abandoned: u64,
}

/// Why there is no signature. None of these is the message's fault: it can be tried again.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum SignError {
    /// The crypto library did not want to.
    #[error(transparent)]
    Refused(SignatureError),
    /// The job broke off in a panic.
    #[error("signing broke off because of a mistake in Postseal; please report it")]
    Lost,
}

/// The counts as they grow.
#[derive(Default)]
pub(crate) struct Counters {
    rsa_signatures: AtomicU64,
    ed25519_signatures: AtomicU64,
    failures: AtomicU64,
    pub(crate) panics: AtomicU64,
    pub(crate) abandoned: AtomicU64,
}

impl Counters {
    pub(crate) fn read(&self) -> SigningCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SigningCounts {
            rsa_signatures: read(&self.rsa_signatures),
            ed25519_signatures: read(&self.ed25519_signatures),
            failures: read(&self.failures),
            panics: read(&self.panics),
            abandoned: read(&self.abandoned),
        }
    }
}

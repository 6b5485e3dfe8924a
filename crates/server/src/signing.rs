//! The one use case that every front door calls: a message comes in, its signatures come out.
//!
//! ```text
//!   Signer::begin(injection, header)          the snapshot is taken once, the engine decides
//!        │
//!        ├─ Pass       goes out as it is      (control fields removed)
//!        ├─ Refuse     a 5xx for the sender
//!        ├─ Tempfail   a 4xx for the sender
//!        └─ Sign ──▶ InFlight::body(chunk)*   the body is hashed as it passes, and never kept
//!                         │
//!                         └▶ InFlight::finish() ──▶ Signed, or a refusal
//! ```
//!
//! Front doors differ in bytes and never in decisions. Nothing here waits for the store or for DNS (promise P5):
//! the snapshot is in memory, keys are opened from it, and what is known of a recipient's MX is what a
//! background look-up found earlier.
//!
//! Each message leaves one line in the log: what was decided, and why (promise P7). It has no content.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use postseal_dkim::{
    DomainName, Header, KeyRecord, MessageSigning, SignError, SignatureCheck, SignedField,
    Unsigned, signatures_by,
};
use postseal_dns::MxAnswers;
use postseal_engine::{
    ApiKeyHash, BodyScan, Counter, Decision, EnhancedCode, Facts, Feedback, Grant, HeaderPool,
    KeyEntry, KeyRefused, NextHopName, OnNoTenant, PlannedSignature, PoolId, Recipient, Refusal,
    Removal, Snapshot, TenantId, TravelVerdict, Verdict, plan,
};
use postseal_keys::{KeyCache, KeyUseError};
use tracing::{error, info};

use crate::clock;
use crate::metrics::{CounterLabels, FrontDoor, MessageLabels, Metrics, SignatureLabels};

/// Decides about messages and signs them. One for the process; front doors share it.
pub struct Signer {
    snapshot: Arc<ArcSwap<Snapshot>>,
    keys: KeyCache,
    mx: MxAnswers,
    metrics: Metrics,
    node: String,
}

impl Signer {
    /// A signer that takes what it knows from `snapshot`. `node` is this machine's name in records.
    pub fn new(
        snapshot: Arc<ArcSwap<Snapshot>>,
        keys: KeyCache,
        mx: MxAnswers,
        metrics: Metrics,
        node: String,
    ) -> Self {
        Self { snapshot, keys, mx, metrics, node }
    }

    /// The tenant that an API key with the grant `smtp/inject` stands for, and the hash by which to ask
    /// again with [`Signer::still_authorized`].
    ///
    /// # Errors
    ///
    /// When the key is not known, has expired, lacks the grant, or is not valid from this address. What is told
    /// to the client is the same for all of these.
    pub fn authenticate(
        &self,
        api_key: &[u8],
        from: IpAddr,
    ) -> Result<(TenantId, ApiKeyHash), KeyRefused> {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, api_key).as_ref());
        let hash = ApiKeyHash(hash);
        Ok((self.still_authorized(&hash, from)?, hash))
    }

    /// The tenant that a key which was good before stands for now.
    ///
    /// # Errors
    ///
    /// As with [`Signer::authenticate`].
    pub fn still_authorized(&self, key: &ApiKeyHash, from: IpAddr) -> Result<TenantId, KeyRefused> {
        self.snapshot.load().authorize(key, Grant::SmtpInject, from, clock::now())
    }

    /// Whether the platform lets mail pass of which nothing says whose it is.
    pub fn passes_without_tenant(&self) -> bool {
        self.snapshot.load().policy(None, None).on_no_tenant == OnNoTenant::Pass
    }

    /// The name of the next hop that a pool asks for in its row.
    pub fn next_hop(&self, pool: &PoolId) -> Option<NextHopName> {
        self.snapshot.load().pool(pool).and_then(|row| row.next_hop.clone())
    }

    /// Drops a key from memory that signs no more.
    pub fn forget_key(&self, key: &KeyEntry) {
        self.keys.forget(key);
    }

    /// How many keys are open in memory.
    #[cfg(test)]
    pub(crate) fn open_keys(&self) -> u64 {
        self.keys.len()
    }

    /// Drops all keys from memory; those that sign are opened again.
    pub fn forget_all_keys(&self) {
        self.keys.forget_all();
    }

    /// Begins with a message whose header is complete.
    ///
    /// This waits only when the message bears a signature of ours already and the key of that signature has
    /// not been opened yet.
    pub async fn begin(self: &Arc<Self>, injection: Injection, header: &Header<'_>) -> Begin {
        let snapshot = self.snapshot.load_full();
        let decision = self.decide(&injection, header, &snapshot);
        let message =
            Message { injection, octets: header.fields().map(|f| f.raw().len() as u64).sum() };
        match &decision.verdict {
            Verdict::PassUnsigned => {
                self.record(&message, &decision, "unsigned", &[], None);
                Begin::Pass(Passed { remove: decision.remove, pool: decision.pool })
            }
            Verdict::Refuse(refusal) => {
                self.record(&message, &decision, "refused", &[], Some(refusal));
                Begin::Refuse(refusal.clone())
            }
            Verdict::Tempfail(refusal) => {
                self.record(&message, &decision, "deferred", &[], Some(refusal));
                Begin::Tempfail(refusal.clone())
            }
            Verdict::Sign(_) => self.start(message, decision, header).await,
        }
    }

    fn decide(&self, injection: &Injection, header: &Header<'_>, snapshot: &Snapshot) -> Decision {
        let known: Vec<Option<Arc<[DomainName]>>> =
            injection.recipients.iter().map(|domain| self.mx.known(domain)).collect();
        let recipients: Vec<Recipient<'_>> = injection
            .recipients
            .iter()
            .zip(&known)
            .map(|(domain, mx)| Recipient { domain, mx: mx.as_deref() })
            .collect();
        let facts = Facts {
            tenant: injection.tenant,
            header,
            connection_pool: injection.pool.as_ref(),
            header_pool: if injection.pool_from_header {
                HeaderPool::Obeyed
            } else {
                HeaderPool::Ignored
            },
            recipients: &recipients,
        };
        plan(&facts, snapshot, clock::now())
    }

    async fn start(
        self: &Arc<Self>,
        message: Message,
        decision: Decision,
        header: &Header<'_>,
    ) -> Begin {
        // What travels has no control fields, and only what travels is signed.
        let travelling: Vec<&[u8]> = header
            .fields()
            .enumerate()
            .filter(|(index, _)| decision.remove.iter().all(|removal| removal.index != *index))
            .map(|(_, field)| field.raw())
            .collect();
        let mut scan = BodyScan::new();
        for field in &travelling {
            scan.feed(field);
        }
        let header = match Header::from_fields(travelling) {
            Ok(header) => header,
            Err(error) => return self.cannot_sign(&message, &decision, &error),
        };
        let used_keys = UsedKeys {
            signer: Arc::clone(self),
            keys: decision.signatures().iter().map(|planned| Arc::clone(&planned.key)).collect(),
        };
        let (checks, checked) = self.earlier_signatures(&decision, &header).await;
        let requests = decision.signatures().iter().map(PlannedSignature::request).collect();
        match MessageSigning::start_with_checks(requests, checks, &header) {
            Ok(signing) => Begin::Sign(Box::new(InFlight {
                signer: Arc::clone(self),
                message,
                decision,
                signing,
                checked,
                scan,
                _used_keys: used_keys,
            })),
            Err(error @ (SignError::TooManyFields | SignError::BeginsFolded)) => {
                self.refuse(&message, &decision, &error)
            }
            Err(error) => self.cannot_sign(&message, &decision, &error),
        }
    }

    /// The fault of who wrote the message, and another try would end the same way.
    fn refuse(&self, message: &Message, decision: &Decision, error: &SignError) -> Begin {
        let refusal = Refusal {
            code: 550,
            enhanced: EnhancedCode(5, 6, 0),
            text: format!("the message cannot be signed: {error}").into(),
        };
        self.record(message, decision, "refused", &[], Some(&refusal));
        Begin::Refuse(refusal)
    }

    /// Signatures that this message has with a `d=` and `s=` that it is to get: each to be checked in the same
    /// pass, and the planned signature it would make needless.
    ///
    /// A signature that is good now and expires while the message is in a queue makes none needless, so they are
    /// judged by the time at which a queue gives up.
    async fn earlier_signatures(
        &self,
        decision: &Decision,
        header: &Header<'_>,
    ) -> (Vec<SignatureCheck>, Vec<usize>) {
        let (mut checks, mut checked) = (Vec::new(), Vec::new());
        for (place, planned) in decision.signatures().iter().enumerate() {
            let earlier = signatures_by(header, &planned.key.domain, &planned.key.selector);
            if earlier.is_empty() {
                continue;
            }
            // A key that does not open is reported when it is to sign.
            let Ok(key) = self.keys.key(&planned.key).await else { continue };
            let Ok(record) = KeyRecord::parse(key.public_record().as_bytes()) else { continue };
            let now = planned.signed_at.plus_secs(decision.policy.queue_lifetime);
            for field in earlier {
                checks.push(SignatureCheck { field, key: record.clone(), now });
                checked.push(place);
            }
        }
        (checks, checked)
    }

    /// Our own fault: the sender is asked to try again, an operator is told.
    fn cannot_sign(
        &self,
        message: &Message,
        decision: &Decision,
        error: &dyn std::error::Error,
    ) -> Begin {
        self.metrics.signing_failures.inc();
        error!(%error, queue_id = message.queue_id(), "a message could not be signed");
        let refusal = signing_failed();
        self.record(message, decision, "deferred", &[], Some(&refusal));
        Begin::Tempfail(refusal)
    }

    /// The line of a message, and its figures.
    fn record(
        &self,
        message: &Message,
        decision: &Decision,
        verdict: &'static str,
        signatures: &[MadeSignature<'_>],
        refusal: Option<&Refusal>,
    ) {
        let Message { injection, octets } = message;
        self.metrics
            .messages
            .get_or_create(&MessageLabels {
                front_door: injection.front_door,
                row: decision.row.as_str(),
                verdict,
            })
            .inc();
        for counter in &decision.counters {
            self.count(*counter);
        }
        let mut made = String::new();
        for signature in signatures {
            let planned = signature.planned;
            self.metrics
                .signatures
                .get_or_create(&SignatureLabels {
                    purpose: planned.purpose.as_str(),
                    algorithm: planned.key.algorithm.as_str(),
                })
                .inc();
            if !made.is_empty() {
                made.push(' ');
            }
            // Writing to a String cannot fail.
            let _ = write!(
                made,
                "{}:d={}:s={}:a={}:key={}:hh={}",
                planned.purpose,
                planned.key.domain,
                planned.key.selector,
                planned.key.algorithm.as_str(),
                planned.key.id.get(),
                Hex(&signature.digest),
            );
        }
        info!(
            event = "message",
            node = self.node,
            front_door = injection.front_door.as_str(),
            queue_id = message.queue_id(),
            tenant = decision.tenant.map(|tenant| tenant.get()),
            pool = decision.pool.as_ref().map(PoolId::as_str),
            row = row_number(decision),
            rule = decision.row.as_str(),
            feedback = feedback_word(decision.feedback),
            verdict,
            from_domain = decision.author.as_ref().map(DomainName::as_str),
            signatures = made,
            body_hash = signatures.first().map(|s| Hex(&s.body_hash).to_string()),
            octets,
            refusal = refusal.map(ToString::to_string),
            why = decision.explanation(),
        );
    }

    fn count(&self, counter: Counter) {
        let labels = CounterLabels { what: counter.as_str() };
        self.metrics.decisions.get_or_create(&labels).inc();
    }
}

/// Where a message comes from, as its connection and envelope show. Nothing here is from its header.
#[derive(Clone, Debug)]
pub struct Injection {
    /// Which way it came in.
    pub front_door: FrontDoor,
    /// Whose mail it is.
    pub tenant: Option<TenantId>,
    /// The pool that a macro or the listener names.
    pub pool: Option<PoolId>,
    /// Whether a control field may name the pool.
    pub pool_from_header: bool,
    /// The MTA's or our own name for the message, for the record.
    pub queue_id: Option<String>,
    /// The domains of its recipients, each once.
    pub recipients: Vec<DomainName>,
}

/// What comes first of a message.
pub enum Begin {
    /// It goes out unsigned.
    Pass(Passed),
    /// It is refused for good.
    Refuse(Refusal),
    /// It is refused for now.
    Tempfail(Refusal),
    /// Its body is wanted.
    Sign(Box<InFlight>),
}

/// A message that goes out without a signature.
#[derive(Clone, Debug)]
pub struct Passed {
    /// The fields to take out.
    pub remove: Vec<Removal>,
    /// The pool it leaves by; none if nobody knows whose it is.
    pub pool: Option<PoolId>,
}

/// A message that is to be signed, while its body passes.
pub struct InFlight {
    signer: Arc<Signer>,
    message: Message,
    decision: Decision,
    signing: MessageSigning,
    /// For each check, which planned signature it would make needless.
    checked: Vec<usize>,
    scan: BodyScan,
    _used_keys: UsedKeys,
}

/// The keys of a message that is being signed. A message that began before a key signed no more may open it
/// again; when it is done with, in whatever way, such a key is dropped from memory once more.
struct UsedKeys {
    signer: Arc<Signer>,
    keys: Vec<Arc<KeyEntry>>,
}

impl Drop for UsedKeys {
    fn drop(&mut self) {
        let snapshot = self.signer.snapshot.load();
        for key in &self.keys {
            let row = snapshot.sending_domain(key.owner, &key.domain);
            let signs = row.and_then(|row| row.signing_keys()).is_some_and(|keys| {
                std::iter::once(keys.rsa()).chain(keys.ed25519()).any(|used| used.id == key.id)
            });
            if !signs {
                self.signer.forget_key(key);
            }
        }
    }
}

impl InFlight {
    /// The pool it leaves by.
    pub fn pool(&self) -> Option<&PoolId> {
        self.decision.pool.as_ref()
    }

    /// Whether the policy has bare CR and LF repaired; a front door that can does so before
    /// [`InFlight::body`].
    pub fn repairs_bare_newlines(&self) -> bool {
        match self.decision.policy.on_bare_newline {
            postseal_engine::OnBareNewline::Repair => true,
            postseal_engine::OnBareNewline::Refuse => false,
        }
    }

    /// Takes the next chunk of the body as it will travel. `Break` says that more of it changes nothing: the
    /// message will be refused.
    pub fn body(&mut self, chunk: &[u8]) -> ControlFlow<()> {
        self.message.octets += chunk.len() as u64;
        self.scan.feed(chunk);
        match self.scan.verdict(&self.decision.policy) {
            TravelVerdict::Sign => {
                self.signing.body(chunk);
                ControlFlow::Continue(())
            }
            // A CR at the end of a chunk may be half of a CRLF, which the next chunk shows.
            TravelVerdict::Repair | TravelVerdict::Refuse(_) if chunk.ends_with(b"\r") => {
                self.signing.body(chunk);
                ControlFlow::Continue(())
            }
            TravelVerdict::Repair | TravelVerdict::Refuse(_) => ControlFlow::Break(()),
        }
    }

    /// Makes the signatures.
    ///
    /// # Errors
    ///
    /// The answer for the sender: a 5xx for a body that may not travel, a 4xx when a key cannot be used.
    pub async fn finish(self: Box<Self>) -> Result<Signed, Refusal> {
        let Self { signer, message, decision, signing, checked, scan, _used_keys } = *self;
        let refusal = match scan.verdict(&decision.policy) {
            TravelVerdict::Sign => None,
            TravelVerdict::Repair => Some(Refusal::bare_newline()),
            TravelVerdict::Refuse(refusal) => Some(refusal),
        };
        if let Some(refusal) = refusal {
            signer.record(&message, &decision, "refused", &[], Some(&refusal));
            return Err(refusal);
        }
        let (unsigned, outcomes) = signing.finish_with_checks();
        let mut needless = vec![false; unsigned.len()];
        for (place, outcome) in checked.iter().zip(&outcomes) {
            if let Some(needless) = needless.get_mut(*place) {
                *needless |= outcome.is_pass();
            }
        }
        let mut made = Vec::with_capacity(unsigned.len());
        let mut fields = Vec::with_capacity(unsigned.len());
        let wanted = decision.signatures().iter().zip(unsigned).zip(needless);
        for ((planned, unsigned), needless) in wanted {
            if needless {
                signer.metrics.already_signed.inc();
                continue;
            }
            let signature = MadeSignature {
                planned,
                digest: *unsigned.digest(),
                body_hash: *unsigned.body_hash(),
            };
            match signer.sign(planned, unsigned).await {
                Ok(field) => fields.push(field),
                Err(error) => {
                    signer.metrics.signing_failures.inc();
                    error!(
                        %error,
                        domain = %planned.key.domain,
                        selector = %planned.key.selector,
                        "a key gave no signature"
                    );
                    let refusal = signing_failed();
                    signer.record(&message, &decision, "deferred", &[], Some(&refusal));
                    return Err(refusal);
                }
            }
            made.push(signature);
        }
        signer.record(&message, &decision, "signed", &made, None);
        Ok(Signed { fields, remove: decision.remove, pool: decision.pool })
    }
}

impl Signer {
    async fn sign(
        &self,
        planned: &PlannedSignature,
        unsigned: Unsigned,
    ) -> Result<SignedField, KeyUseError> {
        let signature = self.keys.sign(&planned.key, *unsigned.digest()).await?;
        Ok(unsigned.complete(&signature))
    }
}

/// A message with its signatures.
#[derive(Debug)]
pub struct Signed {
    /// The fields to put at the very top, the uppermost first.
    pub fields: Vec<SignedField>,
    /// The fields to take out.
    pub remove: Vec<Removal>,
    /// The pool it leaves by.
    pub pool: Option<PoolId>,
}

/// What the record says of a message, besides what was decided.
struct Message {
    injection: Injection,
    /// Of header and body, as far as they were seen.
    octets: u64,
}

impl Message {
    fn queue_id(&self) -> &str {
        self.injection.queue_id.as_deref().unwrap_or_default()
    }
}

struct MadeSignature<'a> {
    planned: &'a PlannedSignature,
    digest: [u8; 32],
    body_hash: [u8; 32],
}

/// Octets as lower-case hexadecimal digits.
struct Hex<'a>(&'a [u8; 32]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Each message has two of them, so they are not formatted octet by octet.
        let digit = |half: u8| if half < 10 { b'0' + half } else { b'a' + half - 10 };
        let mut digits = [0; 64];
        for (pair, octet) in digits.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&[digit(octet >> 4), digit(octet & 15)]);
        }
        f.write_str(std::str::from_utf8(&digits).unwrap_or_default())
    }
}

/// The number that the manual gives to a row; none for a message that was refused before a row applied.
fn row_number(decision: &Decision) -> Option<u8> {
    match decision.row {
        postseal_engine::Row::NoTenant => Some(0),
        postseal_engine::Row::Author => Some(1),
        postseal_engine::Row::Pool => Some(2),
        postseal_engine::Row::Platform => Some(3),
        postseal_engine::Row::Unsigned => Some(4),
        postseal_engine::Row::Refused => None,
    }
}

fn feedback_word(feedback: Feedback) -> &'static str {
    match feedback {
        Feedback::NotNeeded => "not_needed",
        Feedback::Signed => "signed",
        Feedback::SameDomain => "same_domain",
        Feedback::Enrolled => "enrolled",
        Feedback::Missing => "missing",
    }
}

/// 451 4.3.0: what is wrong is ours, and the sender's MTA keeps the message until it is mended.
fn signing_failed() -> Refusal {
    Refusal {
        code: 451,
        enhanced: EnhancedCode(4, 3, 0),
        text: "the message cannot be signed at the moment, try again later".into(),
    }
}

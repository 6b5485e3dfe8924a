//! mail-auth with aws-lc-rs, the same crypto library: what it costs to do the same otherwise.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use mail_auth::crypto::{RsaKey, Sha256};
use mail_auth::dkim::{Canonicalization, DkimSigner, DomainKey};
use mail_auth::dns::{DnsCache, NoCache, Parameters, ResolverCache, TxtRecord, TxtRecordParser};
use mail_auth::headers::HeaderWriter;
use mail_auth::signer::Ready;
use mail_auth::{AuthenticatedMessage, DkimResult, MessageAuthenticator};
use tokio::runtime::Runtime;

use crate::cpu;
use crate::work::{Contestant, DOMAIN, FIELDS, Operation, SELECTOR, Work};

pub(crate) struct MailAuth {
    signer: DkimSigner<RsaKey<Sha256>, Ready>,
    verifier: MessageAuthenticator,
    caches: Caches,
    runtime: Runtime,
    messages: Vec<Vec<u8>>,
    signed: Vec<Vec<u8>>,
    last: Vec<Option<String>>,
}

impl MailAuth {
    pub(crate) fn new(work: &Work) -> Result<Self> {
        let der = rustls_pki_types::PrivatePkcs8KeyDer::from(work.private_der()?);
        let key = RsaKey::<Sha256>::from_key_der(der.into()).map_err(|e| anyhow!("{e:?}"))?;
        let signer = DkimSigner::from_key(key)
            .domain(DOMAIN)
            .selector(SELECTOR)
            .headers(FIELDS)
            .header_canonicalization(Canonicalization::Relaxed)
            .body_canonicalization(Canonicalization::Relaxed);
        let record = DomainKey::parse(work.record.as_bytes()).map_err(|e| anyhow!("{e:?}"))?;
        let name = format!("{SELECTOR}._domainkey.{DOMAIN}.").into_boxed_str();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // Nothing is ever asked: the key record is in the cache.
        let verifier = {
            let _guard = runtime.enter();
            MessageAuthenticator::new_system_conf()
                .or_else(|_| MessageAuthenticator::new_cloudflare())
                .map_err(|error| anyhow!("{error}"))?
        };
        Ok(Self {
            signer,
            verifier,
            caches: Caches(Records(HashMap::from([(name, TxtRecord::from(record))]))),
            runtime,
            messages: work.samples.iter().map(|sample| sample.octets.clone()).collect(),
            signed: work.signed.clone(),
            last: vec![None; work.samples.len()],
        })
    }

    fn verify(&self, message: &[u8]) -> Result<bool> {
        let message = AuthenticatedMessage::parse(message).context("no message")?;
        let parameters = Parameters::new(&message).with_cache(&self.caches);
        let outputs = self.runtime.block_on(self.verifier.verify_dkim(parameters));
        Ok(outputs.iter().any(|output| output.result() == &DkimResult::Pass))
    }
}

impl Contestant for MailAuth {
    fn name(&self) -> &str {
        NAME
    }

    fn run(&mut self, operation: Operation, message: usize, times: u32) -> Result<Duration> {
        let start = cpu::time();
        for _ in 0..times {
            match operation {
                Operation::Sign => {
                    let octets = self.messages.get(message).context("a message")?;
                    let signature = self.signer.sign(octets).map_err(|e| anyhow!("{e:?}"))?;
                    self.last[message] = Some(signature.to_header());
                }
                Operation::Verify => {
                    let octets = self.signed.get(message).context("a message")?;
                    ensure!(self.verify(octets)?, "mail-auth does not verify a message");
                }
            }
        }
        Ok(cpu::time() - start)
    }

    fn last_field(&mut self, message: usize) -> Result<Option<Vec<u8>>> {
        let field = self.last.get(message).context("a message")?;
        Ok(field.as_ref().map(|field| format!("{}\r\n", field.trim_end()).into_bytes()))
    }

    fn accepts(&mut self, message: &[u8]) -> Result<Option<bool>> {
        self.verify(message).map(Some)
    }
}

/// Key records that were parsed beforehand.
struct Records(HashMap<Box<str>, TxtRecord>);

impl ResolverCache<Box<str>, TxtRecord> for Records {
    fn get<Q>(&self, name: &Q) -> Option<TxtRecord>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.get(name).cloned()
    }

    fn remove<Q>(&self, _: &Q) -> Option<TxtRecord>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _: Box<str>, _: TxtRecord, _: Instant) {}
}

struct Caches(Records);

impl DnsCache for Caches {
    type Txt = Records;
    type Mx = NoCache;
    type Ipv4 = NoCache;
    type Ipv6 = NoCache;
    type Ptr = NoCache;

    fn txt(&self) -> Option<&Records> {
        Some(&self.0)
    }

    fn mx(&self) -> Option<&NoCache> {
        None
    }

    fn ipv4(&self) -> Option<&NoCache> {
        None
    }

    fn ipv6(&self) -> Option<&NoCache> {
        None
    }

    fn ptr(&self) -> Option<&NoCache> {
        None
    }
}

pub(crate) const NAME: &str = "mail-auth";

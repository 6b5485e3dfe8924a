//! What is signed and verified: three messages, with keys that are made here.
//!
//! RSA keys of 1024 bits are seen when verifying, though nobody should sign with them any more, and neither
//! they nor those of 4096 bits are made by `postseal keygen`. For these, signatures over the same messages are
//! stored, whose private keys were thrown away.

use anyhow::{Context, ensure};
use postseal_dkim::{
    Algorithm, Canonicalization, DomainName, FieldSelection, Header, KeyAnswer, MessageSigning,
    Selector, SignRequest, UnixTime, Verifier, VerifyRules,
};
use postseal_keys::SigningKey;

use super::sample_mail::{SENDING_DOMAIN, Sample, samples};

/// What is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Operation {
    Sign,
    Verify,
}

impl Operation {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Sign => "sign",
            Self::Verify => "verify",
        }
    }
}

/// Messages, signed messages and keys.
pub(super) struct Work {
    samples: [Sample; 3],
    kinds: Vec<Kind>,
    domain: DomainName,
    selector: Selector,
    now: UnixTime,
}

/// A kind of key.
struct Kind {
    name: &'static str,
    /// None where there are only signatures.
    key: Option<SigningKey>,
    answer: KeyAnswer,
    /// The messages with a signature of this key on top.
    signed: Vec<Vec<u8>>,
}

impl Work {
    pub(super) fn new(now: UnixTime) -> anyhow::Result<Self> {
        let mut this = Self {
            samples: samples(),
            kinds: Vec::new(),
            domain: DomainName::parse(SENDING_DOMAIN)?,
            selector: Selector::parse("bench")?,
            now,
        };
        let stored = |name, file| this.stored(name, file);
        let (rsa_1024, rsa_4096) = (stored("rsa-1024", RSA_1024)?, stored("rsa-4096", RSA_4096)?);
        let rsa_2048 = this.made("rsa-2048", Algorithm::RsaSha256)?;
        let ed25519 = this.made("ed25519", Algorithm::Ed25519Sha256)?;
        this.kinds = vec![rsa_1024, rsa_2048, rsa_4096, ed25519];
        Ok(this)
    }

    /// All that is measured.
    pub(super) fn tasks(&self) -> impl Iterator<Item = Task<'_>> {
        let kinds = |operation| self.kinds.iter().map(move |kind| (operation, kind));
        kinds(Operation::Sign)
            .filter(|(_, kind)| kind.key.is_some())
            .chain(kinds(Operation::Verify))
            .flat_map(move |(operation, kind)| {
                self.samples.iter().zip(&kind.signed).map(move |(sample, signed)| Task {
                    work: self,
                    operation,
                    kind,
                    sample,
                    signed,
                })
            })
    }

    fn made(&self, name: &'static str, algorithm: Algorithm) -> anyhow::Result<Kind> {
        let key = SigningKey::generate(algorithm)?;
        let answer = KeyAnswer::from_texts([key.public_record()]);
        let signed = self
            .samples
            .iter()
            .map(
                |sample| Ok([&self.sign(&key, &sample.octets)?, sample.octets.as_slice()].concat()),
            )
            .collect::<anyhow::Result<_>>()?;
        Ok(Kind { name, key: Some(key), answer, signed })
    }

    /// Reads a key record and a signature for each message, with empty lines between them.
    fn stored(&self, name: &'static str, file: &str) -> anyhow::Result<Kind> {
        let (record, fields) = file.split_once("\n\n").context("a key record")?;
        let fields = fields
            .split_inclusive("\n\n")
            .map(|field| field.trim_end().replace('\n', "\r\n") + "\r\n");
        let signed: Vec<_> = self
            .samples
            .iter()
            .zip(fields)
            .map(|(sample, field)| [field.as_bytes(), sample.octets.as_slice()].concat())
            .collect();
        ensure!(signed.len() == self.samples.len(), "a signature of {name} is missing");
        Ok(Kind { name, key: None, answer: KeyAnswer::from_texts([record]), signed })
    }

    fn sign(&self, key: &SigningKey, message: &[u8]) -> anyhow::Result<Vec<u8>> {
        let (header, body) = Header::of_message(message)?;
        let request = SignRequest {
            signing_domain: self.domain.clone(),
            selector: self.selector.clone(),
            algorithm: key.algorithm(),
            canonicalization: Canonicalization::RELAXED,
            signed_at: self.now,
            expires_at: Some(self.now.plus_secs(WEEK)),
            identity: None,
            fields: FieldSelection::default(),
        };
        let mut signing = MessageSigning::start(vec![request], &header)?;
        signing.body(body);
        let unsigned = signing.finish().pop().context("a signature")?;
        let signature = key.sign(unsigned.digest())?;
        Ok(unsigned.complete(&signature).raw().to_vec())
    }

    fn verify(&self, answer: &KeyAnswer, message: &[u8]) -> anyhow::Result<bool> {
        let (header, body) = Header::of_message(message)?;
        let (mut verifier, queries) = Verifier::start(&header, &VerifyRules::default(), self.now);
        for query in queries {
            verifier.answer(query.id, answer.clone());
        }
        verifier.body(body);
        Ok(verifier.finish().has_pass())
    }
}

/// One figure to be found.
pub(super) struct Task<'w> {
    work: &'w Work,
    pub(super) operation: Operation,
    kind: &'w Kind,
    sample: &'w Sample,
    signed: &'w [u8],
}

impl Task<'_> {
    /// The kind of key.
    pub(super) fn algorithm(&self) -> &'static str {
        self.kind.name
    }

    pub(super) fn message_name(&self) -> &'static str {
        self.sample.name
    }

    /// The length of the message.
    pub(super) fn octets(&self) -> usize {
        self.sample.octets.len()
    }

    /// Signs or verifies the message.
    pub(super) fn run_once(&self) -> anyhow::Result<()> {
        match (self.operation, &self.kind.key) {
            (Operation::Sign, Some(key)) => self.work.sign(key, &self.sample.octets).map(drop),
            (Operation::Sign, None) => anyhow::bail!("there is no private key"),
            (Operation::Verify, _) => {
                let verifies = self.work.verify(&self.kind.answer, self.signed)?;
                ensure!(verifies, "a message with {} does not verify", self.kind.name);
                Ok(())
            }
        }
    }

    /// Signs once more and looks at it.
    pub(super) fn verifies_what_it_signs(&self) -> anyhow::Result<bool> {
        let key = self.kind.key.as_ref().context("there is no private key")?;
        let field = self.work.sign(key, &self.sample.octets)?;
        let message = [&field, self.sample.octets.as_slice()].concat();
        self.work.verify(&self.kind.answer, &message)
    }
}

/// How long a signature holds.
const WEEK: u64 = 7 * 24 * 60 * 60;

/// A key record and three signatures, made with dkimpy by keys of OpenSSL that exist no more.
const RSA_1024: &str = include_str!("rsa1024.txt");
const RSA_4096: &str = include_str!("rsa4096.txt");

//! Postseal's library, as its front doors and its command line use it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use postseal_dkim::{
    Algorithm, Canonicalization, DomainName, FieldName, FieldSelection, Header, KeyAnswer,
    MessageSigning, Selector, SignRequest, SignedField, UnixTime, Verifier, VerifyRules,
};
use postseal_keys::SigningKey;

use crate::cpu;
use crate::work::{Contestant, DOMAIN, FIELDS, Operation, SELECTOR, Work};

pub(crate) struct Ours {
    key: SigningKey,
    answer: KeyAnswer,
    domain: DomainName,
    selector: Selector,
    fields: FieldSelection,
    /// `t=`, another one for each signature, so that no two are alike.
    time: u64,
    now: UnixTime,
    messages: Vec<Message>,
}

struct Message {
    octets: Vec<u8>,
    signed: Vec<u8>,
    last: Option<SignedField>,
}

impl Ours {
    pub(crate) fn new(work: &Work) -> Result<Self> {
        let fields = FIELDS.into_iter().map(FieldName::parse).collect::<Result<_, _>>()?;
        let message =
            |octets: &Vec<u8>| Message { octets: octets.clone(), signed: Vec::new(), last: None };
        Ok(Self {
            key: SigningKey::from_pem(&work.pem)?,
            answer: KeyAnswer::from_texts([&work.record]),
            domain: DomainName::parse(DOMAIN)?,
            selector: Selector::parse(SELECTOR)?,
            fields: FieldSelection::exactly(fields)?,
            time: work.now - YEAR,
            now: UnixTime(work.now),
            messages: work.samples.iter().map(|sample| message(&sample.octets)).collect(),
        })
    }

    fn sign(&mut self, message: usize) -> Result<()> {
        self.time += 1;
        let message = self.messages.get_mut(message).context("a message")?;
        let (header, body) = Header::of_message(&message.octets)?;
        let request = SignRequest {
            signing_domain: self.domain.clone(),
            selector: self.selector.clone(),
            algorithm: Algorithm::RsaSha256,
            canonicalization: Canonicalization::RELAXED,
            signed_at: UnixTime(self.time),
            expires_at: None,
            identity: None,
            fields: self.fields.clone(),
        };
        let mut signing = MessageSigning::start(vec![request], &header)?;
        signing.body(body);
        let unsigned = signing.finish().pop().context("one signature")?;
        let signature = self.key.sign(unsigned.digest())?;
        message.last = Some(unsigned.complete(&signature));
        Ok(())
    }

    fn verify(&self, message: &[u8]) -> Result<bool> {
        let (header, body) = Header::of_message(message)?;
        let (mut verifier, queries) = Verifier::start(&header, &VerifyRules::default(), self.now);
        for query in queries {
            verifier.answer(query.id, self.answer.clone());
        }
        verifier.body(body);
        Ok(verifier.finish().has_pass())
    }
}

impl Contestant for Ours {
    fn name(&self) -> &str {
        NAME
    }

    fn run(&mut self, operation: Operation, message: usize, times: u32) -> Result<Duration> {
        if operation == Operation::Verify {
            let signed = self.messages.get(message).context("a message")?;
            if signed.signed.is_empty() {
                let field = self.last_field(message)?.context("a signature to verify")?;
                let entry = self.messages.get_mut(message).context("a message")?;
                entry.signed = [&field, entry.octets.as_slice()].concat();
            }
        }
        let start = cpu::time();
        match operation {
            Operation::Sign => {
                for _ in 0..times {
                    self.sign(message)?;
                }
            }
            Operation::Verify => {
                let signed = &self.messages.get(message).context("a message")?.signed;
                for _ in 0..times {
                    ensure!(self.verify(signed)?, "a message does not verify");
                }
            }
        }
        Ok(cpu::time() - start)
    }

    fn last_field(&mut self, message: usize) -> Result<Option<Vec<u8>>> {
        let message = self.messages.get(message).context("a message")?;
        Ok(message.last.as_ref().map(|field| field.raw().to_vec()))
    }

    fn accepts(&mut self, message: &[u8]) -> Result<Option<bool>> {
        self.verify(message).map(Some)
    }
}

/// So that no `t=` is in the future, however many signatures there are.
const YEAR: u64 = 365 * 24 * 60 * 60;

pub(crate) const NAME: &str = "Postseal";

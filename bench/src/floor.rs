//! The least that a message can cost with the RSA engine in use: one RSA operation, and one SHA-256 pass over
//! the message as it lies in memory.

use std::hint::black_box;
use std::time::Duration;

use anyhow::{Context, Result};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{
    ParsedPublicKey, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RSA_PKCS1_SHA256,
};

use crate::cpu;
use crate::work::{Contestant, Operation, Work};

pub(crate) struct Floor {
    key: KeyPair,
    public: ParsedPublicKey,
    /// Of nothing, by the key.
    signature: Vec<u8>,
    /// Of the message that was signed last.
    last: Vec<u8>,
    messages: Vec<Vec<u8>>,
}

impl Floor {
    pub(crate) fn new(work: &Work) -> Result<Self> {
        let key = work.key()?;
        let algorithm = &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY;
        let public =
            ParsedPublicKey::new(algorithm, work.public_der()?).ok().context("no public key")?;
        let mut signature = vec![0; key.public_modulus_len()];
        let of_nothing = digest(&SHA256, b"");
        key.sign_digest(&RSA_PKCS1_SHA256, &of_nothing, &mut signature)
            .ok()
            .context("the key does not sign")?;
        let messages = work.samples.iter().map(|sample| sample.octets.clone()).collect();
        let last = signature.clone();
        Ok(Self { key, public, signature, last, messages })
    }
}

impl Contestant for Floor {
    fn name(&self) -> &str {
        NAME
    }

    fn run(&mut self, operation: Operation, message: usize, times: u32) -> Result<Duration> {
        let message = self.messages.get(message).context("a message")?;
        let of_nothing = digest(&SHA256, b"");
        let start = cpu::time();
        for _ in 0..times {
            let of_message = digest(&SHA256, black_box(message));
            match operation {
                Operation::Sign => self
                    .key
                    .sign_digest(&RSA_PKCS1_SHA256, &of_message, &mut self.last)
                    .ok()
                    .context("the key does not sign")?,
                // Of another digest, so that one signature serves for all.
                Operation::Verify => {
                    black_box(of_message);
                    self.public
                        .verify_digest_sig(&of_nothing, &self.signature)
                        .ok()
                        .context("the signature does not verify")?;
                }
            }
        }
        Ok(cpu::time() - start)
    }

    fn last_field(&mut self, _: usize) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn accepts(&mut self, _: &[u8]) -> Result<Option<bool>> {
        Ok(None)
    }
}

pub(crate) const NAME: &str = "the floor";

//! cfdkim (Cloudflare) for `make bench-dkim`. It takes messages as mailparse reads them, which is measured with
//! it, the private key read beforehand, and the key record as text. A signer borrows its list of fields, so it is made for
//! each message.

use std::future::ready;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use cfdkim::canonicalization::Type;
use cfdkim::dns::Lookup;
use cfdkim::{DKIMError, DkimPrivateKey, SignerBuilder, verify_email_with_resolver};
use futures::future::BoxFuture;
use postseal_bench_workers::{Library, Task, runtime, serve};
use rsa::RsaPrivateKey;
use rsa::pkcs8::DecodePrivateKey as _;
use slog::{Discard, Logger, o};
use tokio::runtime::Runtime;

struct Cfdkim {
    task: Task,
    key: RsaPrivateKey,
    answer: Arc<dyn Lookup>,
    log: Logger,
    runtime: Runtime,
}

fn main() -> ExitCode {
    serve(|task| {
        Ok(Cfdkim {
            key: RsaPrivateKey::from_pkcs8_pem(&task.private_key_pem)?,
            answer: Arc::new(Answer(task.key_record.clone())),
            log: Logger::root(Discard, o!()),
            runtime: runtime()?,
            task,
        })
    })
}

impl Library for Cfdkim {
    fn sign(&self, message: &[u8]) -> Result<String> {
        let fields: Vec<&str> = self.task.fields.iter().map(String::as_str).collect();
        let signer = SignerBuilder::new()
            .with_signed_headers(&fields)?
            .with_private_key(DkimPrivateKey::Rsa(self.key.clone()))
            .with_signing_domain(&self.task.signing_domain)
            .with_selector(&self.task.selector)
            .with_header_canonicalization(Type::Relaxed)
            .with_body_canonicalization(Type::Relaxed)
            .with_logger(&self.log)
            .build()?;
        Ok(signer.sign(&mailparse::parse_mail(message)?)? + "\r\n")
    }

    fn verify(&self, message: &[u8]) -> Result<bool> {
        let message = mailparse::parse_mail(message)?;
        let verified = verify_email_with_resolver(
            &self.log,
            &self.task.signing_domain,
            &message,
            Arc::clone(&self.answer),
        );
        Ok(self.runtime.block_on(verified)?.summary() == "pass")
    }
}

/// The one key record there is.
struct Answer(String);

impl Lookup for Answer {
    fn lookup_txt<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<String>, DKIMError>> {
        Box::pin(ready(Ok(vec![self.0.clone()])))
    }
}

//! viadkim for `make bench-dkim`. It takes the header as its own type, whose reading is measured with it, the
//! private key read beforehand, and the key record as text.
//!
//! viadkim is under the GPL, version 3 or later, and so is this program when it is linked with it.

use std::future::{Ready, ready};
use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use postseal_bench_workers::{Library, Task, runtime, serve};
use tokio::runtime::Runtime;
use viadkim::crypto::HashAlgorithm;
use viadkim::signature::{Canonicalization, CanonicalizationAlgorithm::Relaxed};
use viadkim::signer::{Expiration, HeaderSelection};
use viadkim::verifier::LookupTxt;
use viadkim::{
    Config, DkimResult, DomainName, FieldName, HeaderFields, Selector, SignRequest,
    SigningAlgorithm, SigningKey,
};

struct Viadkim {
    key: Arc<SigningKey>,
    algorithm: SigningAlgorithm,
    signing_domain: DomainName,
    selector: Selector,
    fields: Vec<FieldName>,
    answer: Answer,
    config: Config,
    runtime: Runtime,
}

fn main() -> ExitCode {
    serve(|task: Task| {
        let key = SigningKey::from_pkcs8_pem(&task.private_key_pem)?;
        let algorithm = SigningAlgorithm::from_parts(key.key_type(), HashAlgorithm::Sha256);
        Ok(Viadkim {
            algorithm: algorithm.context("no algorithm for the key")?,
            key: Arc::new(key),
            signing_domain: DomainName::new(task.signing_domain)?,
            selector: Selector::new(task.selector)?,
            fields: task.fields.into_iter().map(FieldName::new).collect::<Result<_, _>>()?,
            answer: Answer(task.key_record.into_bytes()),
            config: Config::default(),
            runtime: runtime()?,
        })
    })
}

impl Library for Viadkim {
    fn sign(&self, message: &[u8]) -> Result<String> {
        let (header, body) = cut(message)?;
        let (signing_domain, selector) = (self.signing_domain.clone(), self.selector.clone());
        let key = Arc::clone(&self.key);
        let mut request = SignRequest::new(signing_domain, selector, self.algorithm, key);
        request.canonicalization = Canonicalization::from((Relaxed, Relaxed));
        request.header_selection = HeaderSelection::Manual(self.fields.clone());
        request.expiration = Expiration::Never;
        let signed = self.runtime.block_on(viadkim::sign(header, body, [request]))?;
        let signature = signed.into_iter().next().context("no signature")??;
        Ok(format!("{}\r\n", signature.format_header()))
    }

    fn verify(&self, message: &[u8]) -> Result<bool> {
        let (header, body) = cut(message)?;
        let verified = viadkim::verify(&self.answer, &header, body, &self.config);
        let results = self.runtime.block_on(verified);
        let passes = |status: DkimResult| status == DkimResult::Pass;
        Ok(!results.is_empty() && results.iter().all(|it| passes(it.status.to_dkim_result())))
    }
}

fn cut(message: &[u8]) -> Result<(HeaderFields, &[u8])> {
    let end = message.windows(4).position(|octets| octets == b"\r\n\r\n");
    let (header, body) = message.split_at(end.context("a message without a body")?);
    Ok((str::from_utf8(header)?.parse()?, &body[4..]))
}

/// The one key record there is.
#[derive(Clone)]
struct Answer(Vec<u8>);

impl LookupTxt for Answer {
    type Answer = Vec<io::Result<Vec<u8>>>;
    type Query<'a> = Ready<io::Result<Self::Answer>>;

    fn lookup_txt(&self, _: &str) -> Self::Query<'_> {
        ready(Ok(vec![Ok(self.0.clone())]))
    }
}

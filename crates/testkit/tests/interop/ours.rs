//! Our signer and our verifier, with key pairs that OpenSSL made.

use anyhow::{Context, Result, anyhow};
use aws_lc_rs::digest;
use aws_lc_rs::signature::{Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postseal_dkim::{
    Algorithm, Canon, Canonicalization, DomainName, FieldSelection, Header, KeyAnswer,
    MAX_SIGNATURES, MessageSigning, Outcome, Selector, SignRequest, UnixTime, Verifier,
    VerifyRules,
};
use postseal_testkit::signers::KeyPair;

/// The four, in the order in which they are gone round.
pub(crate) const CANONICALIZATIONS: [Canonicalization; 4] = [
    Canonicalization { header: Canon::Simple, body: Canon::Simple },
    Canonicalization { header: Canon::Simple, body: Canon::Relaxed },
    Canonicalization { header: Canon::Relaxed, body: Canon::Simple },
    Canonicalization { header: Canon::Relaxed, body: Canon::Relaxed },
];

pub(crate) const DOMAIN: &str = "example.com";

/// Key pairs of both algorithms, each under a selector of its own.
pub(crate) struct Pairs {
    pub(crate) rsa: KeyPair,
    pub(crate) ed25519: KeyPair,
}

impl Pairs {
    pub(crate) fn new(rsa_bits: u32) -> Result<Self> {
        Ok(Self { rsa: KeyPair::rsa(rsa_bits)?, ed25519: KeyPair::ed25519()? })
    }

    pub(crate) fn of(&self, algorithm: Algorithm) -> &KeyPair {
        match algorithm {
            Algorithm::RsaSha256 => &self.rsa,
            Algorithm::Ed25519Sha256 => &self.ed25519,
        }
    }

    /// Both records in the form of `--dns-file`.
    pub(crate) fn dns_file(&self) -> String {
        [Algorithm::RsaSha256, Algorithm::Ed25519Sha256]
            .map(|algorithm| self.of(algorithm).dns_line(DOMAIN, selector(algorithm)))
            .concat()
    }
}

/// Our signer with such pairs.
pub(crate) struct OurSigner {
    pub(crate) pairs: Pairs,
    rsa: RsaKeyPair,
    ed25519: Ed25519KeyPair,
}

impl OurSigner {
    pub(crate) fn new() -> Result<Self> {
        let pairs = Pairs::new(2048)?;
        let rsa =
            RsaKeyPair::from_pkcs8(&der(&pairs.rsa.pem)?).map_err(|error| anyhow!("{error}"))?;
        let ed25519 = Ed25519KeyPair::from_pkcs8(&der(&pairs.ed25519.pem)?)
            .map_err(|error| anyhow!("{error}"))?;
        Ok(Self { pairs, rsa, ed25519 })
    }

    /// The message with our signature on top.
    pub(crate) fn sign(
        &self,
        algorithm: Algorithm,
        canonicalization: Canonicalization,
        fields: FieldSelection,
        message: &[u8],
    ) -> Result<Vec<u8>> {
        let (header, body) = Header::of_message(message)?;
        let now = now()?;
        let request = SignRequest {
            signing_domain: DomainName::parse(DOMAIN)?,
            selector: Selector::parse(selector(algorithm))?,
            algorithm,
            canonicalization,
            signed_at: now,
            expires_at: Some(now.plus_secs(604_800)),
            identity: None,
            fields,
        };
        let mut signing = MessageSigning::start(vec![request], &header)?;
        // In chunks, of a size that falls on every place.
        for chunk in body.chunks(61) {
            signing.body(chunk);
        }
        let unsigned = signing.finish().pop().context("nothing was signed")?;
        let signature = match algorithm {
            Algorithm::RsaSha256 => {
                let digest = digest::Digest::import_less_safe(unsigned.digest(), &digest::SHA256)?;
                let mut signature = vec![0; self.rsa.public_modulus_len()];
                self.rsa.sign_digest(&RSA_PKCS1_SHA256, &digest, &mut signature)?;
                signature
            }
            Algorithm::Ed25519Sha256 => self.ed25519.sign(unsigned.digest()).as_ref().to_vec(),
        };
        Ok([unsigned.complete(&signature).raw(), message].concat())
    }
}

/// Where the key of that algorithm lies.
pub(crate) fn selector(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::RsaSha256 => "selector-rsa",
        Algorithm::Ed25519Sha256 => "selector-ed25519",
    }
}

/// What our verifier says of each signature, from the top. `dns_file` as in `--dns-file`.
pub(crate) fn verify(dns_file: &str, message: &[u8], now: UnixTime) -> Result<Vec<Outcome>> {
    let (header, body) = Header::of_message(message)?;
    let rules = VerifyRules { max_signatures: MAX_SIGNATURES };
    let (mut verifier, queries) = Verifier::start(&header, &rules, now);
    for query in queries {
        let texts: Vec<&str> = dns_file
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .filter(|(owner, _)| owner.eq_ignore_ascii_case(query.name.as_str()))
            .map(|(_, text)| text)
            .collect();
        let answer = match *texts.as_slice() {
            ["NXDOMAIN"] => KeyAnswer::NoRecord,
            ["SERVFAIL"] => KeyAnswer::ServerFailure,
            _ => KeyAnswer::from_texts(texts),
        };
        verifier.answer(query.id, answer);
    }
    for chunk in body.chunks(67) {
        verifier.body(chunk);
    }
    Ok(verifier.finish().signatures.iter().map(|signature| signature.outcome).collect())
}

pub(crate) fn now() -> Result<UnixTime> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(UnixTime(since.as_secs()))
}

fn der(pem: &str) -> Result<Vec<u8>> {
    let lines: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    Ok(STANDARD.decode(lines)?)
}

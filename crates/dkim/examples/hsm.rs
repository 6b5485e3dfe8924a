//! Signs with keys that never leave a device: two signatures over one pass of the message.
//!
//! `cargo run -p postseal-dkim --example hsm`
//!
//! The crate hands out a digest and takes a signature. Between the two there may be a PKCS#11 token, a
//! signing service on the network, or a queue that many threads serve. The device here is software.

use std::error::Error;
use std::io::{self, Write as _};

use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use postseal_dkim::{
    Algorithm, Canonicalization, FieldSelection, Header, MessageSigning, SignRequest, UnixTime,
};

/// What signs a digest, wherever it stands.
trait DigestSigner {
    /// Signs the digest of the header with the key of that name.
    ///
    /// For RSA a device puts the digest into the DigestInfo of PKCS #1 v1.5 (with PKCS#11:
    /// `CKM_RSA_PKCS` over that prefix and the digest). For Ed25519 the digest is the message
    /// (`CKM_EDDSA`).
    fn sign(&self, key: &str, algorithm: Algorithm, digest: &[u8; 32]) -> Result<Vec<u8>, Refused>;
}

#[derive(Debug)]
struct Refused;

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the device did not sign")
    }
}

impl Error for Refused {}

const MESSAGE: &[u8] = b"From: Ann <ann@example.com>\r\n\
    To: bob@example.net\r\n\
    Subject: Hello\r\n\
    \r\n\
    Hello Bob.\r\n";

fn main() -> Result<(), Box<dyn Error>> {
    let device: Box<dyn DigestSigner> = Box::new(SoftwareDevice::new()?);
    io::stdout().write_all(&signed(MESSAGE, &*device, UnixTime(1_790_000_000))?)?;
    Ok(())
}

/// The message with an RSA signature on top and an Ed25519 signature below it.
fn signed(
    message: &[u8],
    device: &dyn DigestSigner,
    now: UnixTime,
) -> Result<Vec<u8>, Box<dyn Error>> {
    let request = |selector: &str, algorithm| {
        Ok::<_, Box<dyn Error>>(SignRequest {
            signing_domain: "example.com".parse()?,
            selector: selector.parse()?,
            algorithm,
            canonicalization: Canonicalization::RELAXED,
            signed_at: now,
            expires_at: None,
            identity: None,
            fields: FieldSelection::default(),
        })
    };
    let requests =
        vec![request("rsa1", Algorithm::RsaSha256)?, request("ed1", Algorithm::Ed25519Sha256)?];
    let (header, body) = Header::of_message(message)?;
    let mut signing = MessageSigning::start(requests, &header)?;
    signing.body(body);

    let mut signed = Vec::new();
    for unsigned in signing.finish() {
        let key = unsigned.selector().to_string();
        let signature = device.sign(&key, unsigned.algorithm(), unsigned.digest())?;
        signed.extend_from_slice(unsigned.complete(&signature).raw());
    }
    signed.extend_from_slice(message);
    Ok(signed)
}

/// Stands for the device.
struct SoftwareDevice {
    rsa: RsaKeyPair,
    ed25519: Ed25519KeyPair,
}

impl SoftwareDevice {
    fn new() -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            rsa: RsaKeyPair::generate(KeySize::Rsa2048)?,
            ed25519: Ed25519KeyPair::generate()?,
        })
    }
}

impl DigestSigner for SoftwareDevice {
    fn sign(&self, key: &str, algorithm: Algorithm, digest: &[u8; 32]) -> Result<Vec<u8>, Refused> {
        match (key, algorithm) {
            ("rsa1", Algorithm::RsaSha256) => {
                let digest = Digest::import_less_safe(digest, &SHA256).map_err(|_| Refused)?;
                let mut signature = vec![0; self.rsa.public_modulus_len()];
                self.rsa
                    .sign_digest(&RSA_PKCS1_SHA256, &digest, &mut signature)
                    .map_err(|_| Refused)?;
                Ok(signature)
            }
            ("ed1", Algorithm::Ed25519Sha256) => Ok(self.ed25519.sign(digest).as_ref().to_vec()),
            _ => Err(Refused),
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::AsDer as _;
    use aws_lc_rs::signature::KeyPair as _;
    use postseal_dkim::{KeyAnswer, Outcome, Verifier, VerifyRules, key_record_text};

    use super::*;

    #[test]
    fn both_signatures_verify() {
        let device = SoftwareDevice::new().unwrap();
        let now = UnixTime(1_790_000_000);
        let message = signed(MESSAGE, &device, now).unwrap();

        let (header, body) = Header::of_message(&message).unwrap();
        let (mut verifier, queries) = Verifier::start(&header, &VerifyRules::default(), now);
        let rsa = device.rsa.public_key().as_der().unwrap();
        let records = [
            key_record_text(Algorithm::RsaSha256, rsa.as_ref()),
            key_record_text(Algorithm::Ed25519Sha256, device.ed25519.public_key().as_ref()),
        ];
        for (query, record) in queries.iter().zip(records) {
            verifier.answer(query.id, KeyAnswer::from_texts([record]));
        }
        verifier.body(body);
        let outcomes: Vec<_> = verifier.finish().signatures.iter().map(|s| s.outcome).collect();
        assert_eq!(outcomes.len(), 2);
        assert!(outcomes.iter().all(Outcome::is_pass), "{outcomes:?}");
    }

    #[test]
    fn a_device_that_refuses_ends_the_signing() {
        struct Broken;
        impl DigestSigner for Broken {
            fn sign(&self, _: &str, _: Algorithm, _: &[u8; 32]) -> Result<Vec<u8>, Refused> {
                Err(Refused)
            }
        }
        let error = signed(MESSAGE, &Broken, UnixTime(1)).unwrap_err();
        assert_eq!(error.to_string(), "the device did not sign");
    }
}

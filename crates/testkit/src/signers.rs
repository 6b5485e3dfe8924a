//! A DKIM signer that we did not write, dkimpy, and key pairs that we did not make (by OpenSSL).
//!
//! Its messages try our verifier, and they prove that the [`crate::verifiers`] can tell good from bad
//! without a signature of ours.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::frames;
use crate::peers;

/// A key pair for tests.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyPair {
    /// The private key as PKCS#8 PEM.
    pub pem: String,
    /// The text of its key record (RFC 6376 §3.6.1).
    pub record: String,
    /// The algorithm as in `a=`.
    pub algorithm: &'static str,
}

impl KeyPair {
    /// A new RSA pair.
    ///
    /// # Errors
    ///
    /// When `tests/install-peers` has not run.
    pub fn rsa(bits: u32) -> Result<Self> {
        let size = format!("rsa_keygen_bits:{bits}");
        let pem = openssl(&["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", &size], b"")?;
        let public = openssl(&["pkey", "-pubout", "-outform", "DER"], &pem)?;
        Ok(Self {
            pem: String::from_utf8(pem)?,
            record: format!("v=DKIM1; k=rsa; p={}", STANDARD.encode(public)),
            algorithm: "rsa-sha256",
        })
    }

    /// A new Ed25519 pair (RFC 8463).
    ///
    /// # Errors
    ///
    /// When `tests/install-peers` has not run.
    pub fn ed25519() -> Result<Self> {
        let pem = openssl(&["genpkey", "-quiet", "-algorithm", "ED25519"], b"")?;
        let public = openssl(&["pkey", "-pubout", "-outform", "DER"], &pem)?;
        Ok(Self {
            pem: String::from_utf8(pem)?,
            record: format!("v=DKIM1; k=ed25519; p={}", STANDARD.encode(last_32(&public)?)),
            algorithm: "ed25519-sha256",
        })
    }

    /// Its line in a `--dns-file`.
    pub fn dns_line(&self, signing_domain: &str, selector: &str) -> String {
        format!("{selector}._domainkey.{signing_domain}\t{}\n", self.record)
    }

    /// The private key in the form that dkimpy reads.
    fn for_dkimpy(&self) -> Result<Vec<u8>> {
        if self.algorithm == "rsa-sha256" {
            return Ok(self.pem.clone().into_bytes());
        }
        let private = openssl(&["pkey", "-outform", "DER"], self.pem.as_bytes())?;
        Ok(STANDARD.encode(last_32(&private)?).into_bytes())
    }
}

/// Signs each message with dkimpy and its own choice of fields; `canonicalization` is as in `c=`.
///
/// # Errors
///
/// When dkimpy is not installed or refuses a message.
pub fn sign_with_dkimpy<M: AsRef<[u8]>>(
    key: &KeyPair,
    signing_domain: &str,
    selector: &str,
    canonicalization: &str,
    messages: &[M],
) -> Result<Vec<Vec<u8>>> {
    let mut command = Command::new(peers::python()?);
    command.arg(peers::script("sign_dkimpy.py")?).args([
        signing_domain,
        selector,
        key.algorithm,
        canonicalization,
    ]);
    let mut input = Vec::new();
    frames::add(&mut input, &key.for_dkimpy()?);
    for message in messages {
        frames::add(&mut input, message.as_ref());
    }
    let signed = frames::read_all(&frames::run(command, input).context("dkimpy")?)?;
    ensure!(signed.len() == messages.len(), "dkimpy signed {} messages", signed.len());
    Ok(signed)
}

/// The program of the Debian root, which Postfix depends on.
fn openssl(arguments: &[&str], input: &[u8]) -> Result<Vec<u8>> {
    let mut command = peers::inside(&peers::debian_root()?, Path::new("/usr/bin/openssl"));
    command.args(arguments);
    frames::run(command, input.to_vec()).context("openssl")
}

/// The raw key at the end of the DER of an Ed25519 key, public (RFC 8410 §4) or private (§7).
fn last_32(der: &[u8]) -> Result<&[u8]> {
    let start = der.len().checked_sub(32).context("the key is too short")?;
    der.get(start..).context("the key is too short")
}

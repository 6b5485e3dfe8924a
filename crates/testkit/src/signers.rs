//! DKIM signers that we did not write, dkimpy, Mail::DKIM, libopendkim and mailauth, and key pairs that we did
//! not make (by OpenSSL).
//!
//! Their messages try our verifier, and they prove that the [`crate::verifiers`] can tell good from bad
//! without a signature of ours. Each runs as one process for a whole batch (`tests/peers/sign_*`).

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};
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

/// One of the signers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Signer {
    /// dkimpy (Python).
    Dkimpy,
    /// Mail::DKIM (Perl).
    MailDkim,
    /// libopendkim (C).
    OpenDkim,
    /// mailauth (JavaScript).
    Mailauth,
}

impl Signer {
    /// Every signer.
    pub const ALL: [Self; 4] = [Self::Dkimpy, Self::MailDkim, Self::OpenDkim, Self::Mailauth];

    /// The name of the implementation.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dkimpy => "dkimpy",
            Self::MailDkim => "Mail::DKIM",
            Self::OpenDkim => "libopendkim",
            Self::Mailauth => "mailauth",
        }
    }

    /// Says whether this build of the implementation signs with the algorithm of an `a=` tag.
    pub fn knows(self, algorithm: &str) -> bool {
        match self {
            Self::Dkimpy | Self::OpenDkim | Self::Mailauth => {
                matches!(algorithm, "rsa-sha256" | "ed25519-sha256")
            }
            Self::MailDkim => algorithm == "rsa-sha256",
        }
    }

    /// Signs each message with the signer's own choice of fields; `canonicalization` is as in `c=`.
    ///
    /// # Errors
    ///
    /// When the signer is not installed or refuses a message.
    pub fn sign<M: AsRef<[u8]>>(
        self,
        key: &KeyPair,
        signing_domain: &str,
        selector: &str,
        canonicalization: &str,
        messages: &[M],
    ) -> Result<Vec<Vec<u8>>> {
        let all = self.try_to_sign(key, signing_domain, selector, canonicalization, messages)?;
        all.into_iter()
            .map(|one| one.map_err(|reason| anyhow!("{} refuses: {reason}", self.name())))
            .collect()
    }

    /// The same, where the signer may refuse messages: then with its reason in place of the message.
    ///
    /// # Errors
    ///
    /// When the signer is not installed.
    pub fn try_to_sign<M: AsRef<[u8]>>(
        self,
        key: &KeyPair,
        signing_domain: &str,
        selector: &str,
        canonicalization: &str,
        messages: &[M],
    ) -> Result<Vec<Result<Vec<u8>, String>>> {
        let mut command = self.command()?;
        command.args([signing_domain, selector, key.algorithm, canonicalization]);
        let mut input = Vec::new();
        match self {
            Self::Dkimpy => frames::add(&mut input, &key.for_dkimpy()?),
            Self::MailDkim | Self::OpenDkim | Self::Mailauth => {
                frames::add(&mut input, key.pem.as_bytes());
            }
        }
        for message in messages {
            frames::add(&mut input, message.as_ref());
        }
        let output = frames::run(command, input).with_context(|| self.name())?;
        let signed = frames::read_all(&output).with_context(|| self.name())?;
        ensure!(signed.len() == messages.len(), "{} signed {}", self.name(), signed.len());
        let refusal = |frame: Vec<u8>| match frame.strip_prefix(b"refused: ") {
            Some(reason) => Err(String::from_utf8_lossy(reason).into_owned()),
            None => Ok(frame),
        };
        Ok(signed.into_iter().map(refusal).collect())
    }

    fn command(self) -> Result<Command> {
        Ok(match self {
            Self::Dkimpy => peers::python_script("sign_dkimpy.py")?,
            Self::MailDkim => {
                peers::inside(&peers::debian_root()?, Path::new("/usr/local/bin/sign_maildkim"))
            }
            Self::OpenDkim => {
                peers::inside(&peers::debian_root()?, Path::new("/usr/local/bin/sign_opendkim"))
            }
            Self::Mailauth => peers::node_script("sign_mailauth.mjs")?,
        })
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::MessageBuilder;
    use crate::verifiers::{Outcome, Verifier};

    #[test]
    fn each_signer_is_passed_by_every_verifier_that_knows_its_algorithm() {
        let message = MessageBuilder::simple("a@example.com", "b@example.net")
            .body(b"Hi.\r\n\r\nWe lost  the game. \r\n\r\n\r\n")
            .build();
        for key in [KeyPair::rsa(2048).unwrap(), KeyPair::ed25519().unwrap()] {
            let mut signed = Vec::new();
            for signer in Signer::ALL.into_iter().filter(|signer| signer.knows(key.algorithm)) {
                for canonicalization in
                    ["simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"]
                {
                    // libopendkim folds an Ed25519 field in one place to hash it, and in another to write it.
                    if signer == Signer::OpenDkim
                        && key.algorithm == "ed25519-sha256"
                        && canonicalization.starts_with("simple/")
                    {
                        continue;
                    }
                    let mut one = signer
                        .sign(&key, "example.com", "s1", canonicalization, &[&message])
                        .unwrap();
                    assert!(one.iter().all(|one| one.ends_with(&message)), "{}", signer.name());
                    signed.append(&mut one);
                }
            }
            let dns_file = key.dns_line("example.com", "s1");
            for verifier in Verifier::ALL.into_iter().filter(|it| it.knows(key.algorithm)) {
                for (number, verdicts) in
                    verifier.verify(&dns_file, &signed).unwrap().iter().enumerate()
                {
                    let outcomes: Vec<_> = verdicts.iter().map(|one| one.outcome).collect();
                    assert_eq!(
                        outcomes,
                        [Outcome::Pass],
                        "{}: {verdicts:?}\n{}",
                        verifier.name(),
                        String::from_utf8_lossy(&signed[number])
                    );
                }
            }
        }
    }
}

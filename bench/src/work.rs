//! What is signed and verified, by whom, and the proof that it was.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use postseal_dkim::Algorithm;
use postseal_keys::SigningKey;

use crate::sample_mail::{SENDING_DOMAIN, Sample, samples};

/// What is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Operation {
    Sign,
    Verify,
}

impl Operation {
    pub(crate) const ALL: [Self; 2] = [Self::Sign, Self::Verify];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Sign => "sign",
            Self::Verify => "verify",
        }
    }
}

/// Somebody who signs and verifies.
pub(crate) trait Contestant {
    fn name(&self) -> &str;

    /// Whether it can do that at all.
    fn does(&self, _: Operation) -> bool {
        true
    }

    /// Does it so many times; returns the CPU time of all of them. An error if a message does not verify.
    fn run(&mut self, operation: Operation, message: usize, times: u32) -> Result<Duration>;

    /// The signature that was made last over that message, as a whole field with its CRLF; none for
    /// the floor, which makes no field.
    fn last_field(&mut self, message: usize) -> Result<Option<Vec<u8>>>;

    /// Says whether the signatures of a message verify.
    fn accepts(&mut self, message: &[u8]) -> Result<Option<bool>>;
}

/// The messages and the key.
pub(crate) struct Work {
    pub(crate) samples: [Sample; 3],
    /// The same, with one of our signatures on top. Empty until [`Self::sign_messages`].
    pub(crate) signed: Vec<Vec<u8>>,
    pub(crate) pem: String,
    pub(crate) record: String,
    pub(crate) now: u64,
    checked: u64,
}

impl Work {
    pub(crate) fn new() -> Result<Self> {
        let key = SigningKey::generate(Algorithm::RsaSha256)?;
        Ok(Self {
            samples: samples(),
            signed: Vec::new(),
            pem: key.expose_pkcs8_pem().to_string(),
            record: key.public_record(),
            now: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs(),
            checked: 0,
        })
    }

    /// The private key as the crypto library has it.
    pub(crate) fn key(&self) -> Result<aws_lc_rs::rsa::KeyPair> {
        let der = self.private_der()?;
        aws_lc_rs::rsa::KeyPair::from_pkcs8(&der).ok().context("the key is no key")
    }

    /// The private key as PKCS#8.
    pub(crate) fn private_der(&self) -> Result<Vec<u8>> {
        let base64: String = self.pem.lines().filter(|line| !line.starts_with("-----")).collect();
        base64_octets(&base64).context("the key is no base64")
    }

    /// The public key as SubjectPublicKeyInfo.
    pub(crate) fn public_der(&self) -> Result<Vec<u8>> {
        use aws_lc_rs::signature::KeyPair as _;
        let key = self.key()?;
        let der: PublicKeyX509Der<'_> = key.public_key().as_der().ok().context("no public key")?;
        Ok(der.as_ref().to_vec())
    }

    /// Makes the messages that are verified.
    pub(crate) fn sign_messages(&mut self, signer: &mut dyn Contestant) -> Result<()> {
        for (place, sample) in self.samples.iter().enumerate() {
            signer.run(Operation::Sign, place, 1)?;
            let field = signer.last_field(place)?.context("a signature")?;
            self.signed.push([&field, sample.octets.as_slice()].concat());
        }
        Ok(())
    }

    /// All that is measured, by operation and place of the message.
    pub(crate) fn cells(&self) -> impl Iterator<Item = (Operation, usize)> + use<> {
        let count = self.samples.len();
        Operation::ALL.into_iter().flat_map(move |op| (0..count).map(move |place| (op, place)))
    }

    /// Before anything is measured: what each signs verifies for all others, and nobody takes a message
    /// that was changed.
    pub(crate) fn cross_check<'c>(
        &mut self,
        contestants: impl Iterator<Item = &'c mut Box<dyn Contestant>>,
    ) -> Result<()> {
        let mut contestants: Vec<_> = contestants.collect();
        let mut messages = Vec::new();
        for signer in &mut contestants {
            for (place, sample) in self.samples.iter().enumerate() {
                signer.run(Operation::Sign, place, 1)?;
                if let Some(field) = signer.last_field(place)? {
                    let message = [&field, sample.octets.as_slice()].concat();
                    messages.push((signer.name().to_owned(), message));
                }
            }
        }
        for verifier in &mut contestants {
            for (signer, message) in &messages {
                let (name, mut changed) = (verifier.name().to_owned(), message.clone());
                let Some(accepted) = verifier.accepts(message)? else { continue };
                ensure!(accepted, "{name} does not verify what {signer} signs");
                let last = changed.len().checked_sub(3).context("a body")?;
                changed[last] ^= 1;
                let accepted = verifier.accepts(&changed)?;
                ensure!(accepted == Some(false), "{name} verifies a changed message of {signer}");
                self.checked += 1;
            }
        }
        Ok(())
    }

    /// Lets the last signature of each contestant be verified by all others.
    pub(crate) fn spot_check(&mut self, contestants: &mut [Box<dyn Contestant>]) -> Result<()> {
        for place in 0..self.samples.len() {
            for signer in 0..contestants.len() {
                let Some(field) = contestants[signer].last_field(place)? else { continue };
                let message = [&field, self.samples[place].octets.as_slice()].concat();
                for (verifier, contestant) in contestants.iter_mut().enumerate() {
                    if verifier != signer
                        && let Some(accepted) = contestant.accepts(&message)?
                    {
                        ensure!(accepted, "{} refuses a signature", contestant.name());
                        self.checked += 1;
                    }
                }
            }
        }
        Ok(())
    }

    pub(crate) fn checked(&self) -> String {
        format!("{} signatures were verified by another implementation.", self.checked)
    }
}

fn base64_octets(text: &str) -> Option<Vec<u8>> {
    let digit = |octet: u8| BASE64.iter().position(|known| *known == octet);
    let mut octets = Vec::new();
    let (mut bits, mut count) = (0_usize, 0);
    for octet in text.bytes().filter(|octet| *octet != b'=') {
        bits = (bits << 6 | digit(octet)?) & 0xFFFF;
        count += 6;
        if count >= 8 {
            count -= 8;
            octets.push(u8::try_from(bits >> count & 0xFF).ok()?);
        }
    }
    Some(octets)
}

const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// `d=`.
pub(crate) const DOMAIN: &str = SENDING_DOMAIN;
/// `s=`.
pub(crate) const SELECTOR: &str = "bench";
/// `h=`; dkimpy and Mail::DKIM add what they must.
pub(crate) const FIELDS: [&str; 10] = [
    "From",
    "To",
    "Reply-To",
    "Subject",
    "Date",
    "Message-ID",
    "MIME-Version",
    "Content-Type",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
];

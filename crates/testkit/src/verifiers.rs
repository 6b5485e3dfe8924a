//! DKIM verifiers that we did not write: dkimpy, Mail::DKIM, libopendkim and mailauth.
//!
//! Each runs as one process for a whole batch of messages (`tests/peers/verify_*`), since starting an
//! interpreter for each message would take most of a test's time. Keys come from a text in the form of
//! `--dns-file`, never from DNS.
//!
//! Known limits: Mail::DKIM of Debian 12 verifies no Ed25519 and mailauth, asked to keep to RFC 8301, no SHA-1
//! ([`Verifier::knows`]); dkimpy and mailauth read a bare LF as a line end.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::{frames, peers};

/// One of the verifiers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verifier {
    /// dkimpy (Python).
    Dkimpy,
    /// Mail::DKIM (Perl).
    MailDkim,
    /// libopendkim (C).
    OpenDkim,
    /// mailauth (JavaScript), in its strict mode.
    Mailauth,
}

impl Verifier {
    /// Every verifier.
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

    /// Says whether this build of the implementation verifies the algorithm of an `a=` tag.
    pub fn knows(self, algorithm: &str) -> bool {
        match self {
            Self::Dkimpy | Self::OpenDkim => {
                matches!(algorithm, "rsa-sha256" | "rsa-sha1" | "ed25519-sha256")
            }
            Self::MailDkim => matches!(algorithm, "rsa-sha256" | "rsa-sha1"),
            Self::Mailauth => matches!(algorithm, "rsa-sha256" | "ed25519-sha256"),
        }
    }

    /// Verifies every signature of every message; the outer order is that of `messages`, the inner one
    /// that of the signatures from the top.
    ///
    /// # Errors
    ///
    /// When the verifier is not installed, ends with an error, or leaves a message out.
    pub fn verify<M: AsRef<[u8]>>(
        self,
        dns_file: &str,
        messages: &[M],
    ) -> Result<Vec<Vec<Verdict>>> {
        let mut input = Vec::new();
        frames::add(&mut input, dns_file.as_bytes());
        for message in messages {
            frames::add(&mut input, message.as_ref());
        }
        let output = frames::run(self.command()?, input).with_context(|| self.name())?;
        read_verdicts(&String::from_utf8_lossy(&output), messages.len())
            .with_context(|| self.name())
    }

    fn command(self) -> Result<Command> {
        Ok(match self {
            Self::Dkimpy => peers::python_script("verify_dkimpy.py")?,
            Self::MailDkim => {
                peers::inside(&peers::debian_root()?, Path::new("/usr/local/bin/verify_maildkim"))
            }
            Self::OpenDkim => {
                peers::inside(&peers::debian_root()?, Path::new("/usr/local/bin/verify_opendkim"))
            }
            Self::Mailauth => peers::node_script("verify_mailauth.mjs")?,
        })
    }
}

/// What a verifier says of one signature. Tags that it could not read are empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// The result.
    pub outcome: Outcome,
    /// `d=`
    pub signing_domain: String,
    /// `s=`
    pub selector: String,
    /// `a=`
    pub algorithm: String,
    /// In the verifier's own words.
    pub reason: String,
}

/// The results that all verifiers can tell apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The signature verifies.
    Pass,
    /// Body hash or signature do not match. dkimpy says this also of keys that it cannot use.
    Fail,
    /// Anything else: malformed, expired, no key, an algorithm that it does not know.
    Error,
}

/// Verifies the messages with every verifier and returns one line for each thing that is not as it
/// should be: a message without a signature, a signature that does not pass. Signatures with an
/// algorithm that a verifier does not know are left out there, but some verifier has to know each.
///
/// # Errors
///
/// When a verifier cannot be run.
pub fn complaints<M: AsRef<[u8]>>(dns_file: &str, messages: &[M]) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    let mut passed = vec![0_usize; messages.len()];
    for verifier in Verifier::ALL {
        let all = verifier.verify(dns_file, messages)?;
        for (number, (verdicts, passed)) in all.iter().zip(&mut passed).enumerate() {
            for verdict in verdicts {
                match verdict.outcome {
                    Outcome::Pass => *passed += 1,
                    Outcome::Fail | Outcome::Error if !verifier.knows(&verdict.algorithm) => {}
                    Outcome::Fail | Outcome::Error => complaints.push(format!(
                        "{}, message {number}: d={} s={} a={}: {:?}: {}",
                        verifier.name(),
                        verdict.signing_domain,
                        verdict.selector,
                        verdict.algorithm,
                        verdict.outcome,
                        verdict.reason
                    )),
                }
            }
            if verdicts.is_empty() {
                complaints
                    .push(format!("{}, message {number}: no signature found", verifier.name()));
            }
        }
    }
    for (number, passed) in passed.iter().enumerate() {
        if *passed == 0 {
            complaints.push(format!("message {number}: no verifier passed it"));
        }
    }
    Ok(complaints)
}

fn read_verdicts(output: &str, messages: usize) -> Result<Vec<Vec<Verdict>>> {
    let mut all = Vec::with_capacity(messages);
    let mut current = Vec::new();
    for line in output.lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let number: usize = columns.first().copied().unwrap_or_default().parse()?;
        ensure!(number == all.len(), "answered out of turn: {line:?}");
        match *columns.as_slice() {
            [_, "end"] => all.push(std::mem::take(&mut current)),
            [_, outcome, signing_domain, selector, algorithm, reason] => current.push(Verdict {
                outcome: match outcome {
                    "pass" => Outcome::Pass,
                    "fail" => Outcome::Fail,
                    _ => Outcome::Error,
                },
                signing_domain: tag(signing_domain),
                selector: tag(selector),
                algorithm: tag(algorithm),
                reason: tag(reason),
            }),
            _ => bail!("cannot read {line:?}"),
        }
    }
    ensure!(all.len() == messages, "answered for {} of {messages} messages", all.len());
    Ok(all)
}

fn tag(column: &str) -> String {
    if column == "-" { String::new() } else { column.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::MessageBuilder;
    use crate::signers::{KeyPair, Signer};

    /// Signed by dkimpy, with each canonicalization.
    fn signed(key: &KeyPair) -> Vec<Vec<u8>> {
        let message = MessageBuilder::simple("a@example.com", "b@example.net")
            .body(b"Hi.\r\n\r\nWe lost  the game. \r\n\r\n\r\n")
            .build();
        ["simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"]
            .into_iter()
            .flat_map(|canonicalization| {
                Signer::Dkimpy
                    .sign(key, "example.com", "s1", canonicalization, &[&message])
                    .unwrap()
            })
            .collect()
    }

    fn outcomes(verifier: Verifier, dns_file: &str, messages: &[Vec<u8>]) -> Vec<Vec<Outcome>> {
        let verdicts = verifier.verify(dns_file, messages).unwrap();
        verdicts.iter().map(|all| all.iter().map(|one| one.outcome).collect()).collect()
    }

    #[test]
    fn each_verifier_passes_what_dkimpy_signed_and_says_whose_it_is() {
        let key = KeyPair::rsa(2048).unwrap();
        let messages = signed(&key);
        let dns_file = key.dns_line("example.com", "s1");
        for verifier in Verifier::ALL {
            let all = verifier.verify(&dns_file, &messages).unwrap();
            for verdict in all.iter().flatten() {
                assert_eq!(verdict.outcome, Outcome::Pass, "{}: {verdict:?}", verifier.name());
                assert_eq!(verdict.signing_domain, "example.com");
                assert_eq!(verdict.selector, "s1");
                assert_eq!(verdict.algorithm, "rsa-sha256");
            }
            assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1, 1]);
        }
        assert_eq!(complaints(&dns_file, &messages).unwrap(), [""; 0]);
    }

    #[test]
    fn each_verifier_fails_a_changed_body_a_changed_field_and_another_key() {
        let key = KeyPair::rsa(2048).unwrap();
        let other = KeyPair::rsa(2048).unwrap();
        let good = signed(&key);
        let change = |from: &str, to: &str| -> Vec<Vec<u8>> {
            good.iter()
                .map(|message| String::from_utf8_lossy(message).replacen(from, to, 1).into_bytes())
                .collect()
        };
        let key_line = key.dns_line("example.com", "s1");
        let cases = [
            ("body", key_line.clone(), change("lost", "last")),
            ("field", key_line, change("Subject: A message", "Subject: a message")),
            ("key", other.dns_line("example.com", "s1"), good.clone()),
        ];
        for (what, dns_file, messages) in cases {
            assert!(what == "key" || messages.iter().zip(&good).all(|(bad, good)| bad != good));
            for verifier in Verifier::ALL {
                let want = vec![vec![Outcome::Fail]; 4];
                assert_eq!(
                    outcomes(verifier, &dns_file, &messages),
                    want,
                    "{what}, {}",
                    verifier.name()
                );
            }
            assert!(complaints(&dns_file, &messages).unwrap().len() >= 16, "{what}");
        }
    }

    #[test]
    fn no_verifier_passes_without_a_key() {
        let key = KeyPair::rsa(2048).unwrap();
        let messages = signed(&key);
        for text in ["NXDOMAIN", "SERVFAIL", "TIMEOUT", "v=DKIM1; p="] {
            for verifier in Verifier::ALL {
                let dns_file = format!("s1._domainkey.example.com\t{text}\n");
                for outcomes in outcomes(verifier, &dns_file, &messages) {
                    assert_eq!(outcomes.len(), 1, "{text}, {}", verifier.name());
                    assert!(!outcomes.contains(&Outcome::Pass), "{text}, {}", verifier.name());
                }
            }
        }
    }

    #[test]
    fn judges_each_of_several_signatures_from_the_top() {
        let key = KeyPair::rsa(2048).unwrap();
        let first = signed(&key);
        let twice =
            Signer::Dkimpy.sign(&key, "example.net", "s2", "relaxed/relaxed", &first).unwrap();
        let dns_file = key.dns_line("example.com", "s1");
        for verifier in Verifier::ALL {
            for all in verifier.verify(&dns_file, &twice).unwrap() {
                let domains: Vec<_> = all.iter().map(|one| one.signing_domain.as_str()).collect();
                assert_eq!(domains, ["example.net", "example.com"], "{}", verifier.name());
                assert_ne!(all.first().unwrap().outcome, Outcome::Pass, "{}", verifier.name());
                assert_eq!(all.last().unwrap().outcome, Outcome::Pass, "{}", verifier.name());
            }
        }
    }

    #[test]
    fn ed25519_passes_where_it_is_known() {
        let key = KeyPair::ed25519().unwrap();
        let messages = signed(&key);
        let dns_file = key.dns_line("example.com", "s1");
        for verifier in Verifier::ALL {
            let all = verifier.verify(&dns_file, &messages).unwrap();
            for verdict in all.iter().flatten() {
                let knows = verifier.knows("ed25519-sha256");
                assert_eq!(
                    verdict.outcome == Outcome::Pass,
                    knows,
                    "{}: {verdict:?}",
                    verifier.name()
                );
            }
        }
        assert_eq!(complaints(&dns_file, &messages).unwrap(), [""; 0]);
    }

    #[test]
    fn a_message_without_a_signature_is_a_complaint() {
        let message = MessageBuilder::simple("a@example.com", "b@example.net").build();
        for verifier in Verifier::ALL {
            assert_eq!(outcomes(verifier, "", std::slice::from_ref(&message)), [vec![]]);
        }
        assert_eq!(complaints("", &[message]).unwrap().len(), 5);
    }
}

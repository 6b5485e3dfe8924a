//! What others are known to read otherwise than we do, and the section that decides.
//!
//! A difference is tolerated only if the table has it: of that peer, for a message of that class, with at least so
//! many of the others on our side. Each entry is counted, and one that explains nothing any more has to go.

use std::fmt;

use anyhow::{Result, ensure};
use postseal_testkit::message;

/// A known difference.
pub(crate) struct Difference {
    /// The section that decides, and what they do instead.
    pub(crate) reason: &'static str,
    /// Who differs, by name.
    pub(crate) peer: &'static str,
    /// How a message is told to be of the class, by its octets with the signature.
    pub(crate) is_of: fn(&[u8]) -> bool,
    /// What they say of it has one of these in it.
    pub(crate) says: &'static [&'static str],
    /// How many of the verifiers agree with us on the very same message at least.
    pub(crate) agreeing: usize,
}

/// Differences that were met.
pub(crate) struct Tally<'t> {
    table: &'t [Difference],
    counts: Vec<usize>,
    unexplained: Vec<String>,
}

impl<'t> Tally<'t> {
    pub(crate) fn new(table: &'t [Difference]) -> Self {
        Self { table, counts: vec![0; table.len()], unexplained: Vec::new() }
    }

    /// Takes a difference of `peer` on a message.
    pub(crate) fn differs(
        &mut self,
        peer: &str,
        message: &[u8],
        agreeing: usize,
        says: &str,
        message_is: &impl fmt::Display,
    ) {
        let known = self.table.iter().position(|known| {
            known.peer == peer
                && agreeing >= known.agreeing
                && known.says.iter().any(|words| says.contains(words))
                && (known.is_of)(message)
        });
        match known {
            Some(entry) => self.counts[entry] += 1,
            None => {
                if let Ok(folder) = std::env::var("POSTSEAL_KEEP_DIFFERENCES") {
                    let name = format!("{folder}/{}-{}.eml", self.unexplained.len(), &peer[..4]);
                    let _ = std::fs::write(name, message);
                }
                self.unexplained
                    .push(format!("{peer}, {agreeing} agree with us: {message_is}: {says}"));
            }
        }
    }

    /// Ends the count.
    pub(crate) fn finish(self) -> Result<()> {
        for (known, count) in self.table.iter().zip(&self.counts) {
            println!("{count:8} {}: {}", known.peer, known.reason);
        }
        let some: Vec<&str> = self.unexplained.iter().take(40).map(String::as_str).collect();
        ensure!(
            self.unexplained.is_empty(),
            "{} differences are not in the table:\n{}",
            self.unexplained.len(),
            some.join("\n")
        );
        for (known, count) in self.table.iter().zip(&self.counts) {
            ensure!(*count > 0, "nobody differs any more: {}: {}", known.peer, known.reason);
        }
        Ok(())
    }
}

/// Of verifiers, on what we signed.
pub(crate) const SIGNED_BY_US: [Difference; 5] = [
    Difference {
        reason: "RFC 5322 §4.5: white space may stand in front of a colon; the field is not found, or the message is given up",
        peer: "dkimpy",
        is_of: has_space_before_colon,
        says: &["Unexpected characters in RFC822 header", "signature does not match"],
        agreeing: 1,
    },
    Difference {
        reason: "RFC 5322 §4.5: white space may stand in front of a colon; the message is given up",
        peer: "libopendkim",
        is_of: has_space_before_colon,
        says: &["Syntax error"],
        agreeing: 1,
    },
    Difference {
        reason: "RFC 6376 §3.4.3: a body without a CRLF at its end gets one; simple goes without",
        peer: "Mail::DKIM",
        is_of: |message| ends_without_crlf(message) && has_simple_body(message),
        says: &["body has been altered"],
        agreeing: 1,
    },
    Difference {
        reason: "RFC 6376 §3.4.4: white space at the end of a last line without CRLF goes too; it stays",
        peer: "dkimpy",
        is_of: |message| ends_without_crlf(message) && ends_in_blank(message),
        says: &["body hash mismatch"],
        agreeing: 1,
    },
    Difference {
        reason: "RFC 6376 §3.4.4: a body without a CRLF at its end gets one; relaxed goes without",
        peer: "libopendkim",
        is_of: |message| ends_without_crlf(message) && !has_simple_body(message),
        says: &["body hash mismatch", "body hash not tested"],
        agreeing: 1,
    },
];

/// Of signers, on what they signed or refused: on our side are those who do not pass it either, or who do sign it.
pub(crate) const SIGNED_BY_OTHERS: [Difference; 7] = [
    Difference {
        reason: "RFC 5322 §4.5: white space may stand in front of a colon; the message is refused",
        peer: "dkimpy",
        is_of: has_space_before_colon,
        says: &["Unexpected characters in RFC822 header", "The From header field MUST be signed"],
        agreeing: 2,
    },
    Difference {
        reason: "RFC 5322 §4.5: white space may stand in front of a colon; the message is refused",
        peer: "libopendkim",
        is_of: has_space_before_colon,
        says: &["Syntax error"],
        agreeing: 2,
    },
    Difference {
        reason: "RFC 6376 §3.4.4: a body without a CRLF at its end gets one; the message is refused",
        peer: "libopendkim",
        is_of: ends_without_crlf,
        says: &["CRLF at end of body missing"],
        agreeing: 2,
    },
    Difference {
        reason: "RFC 6376 §3.4.3: a body without a CRLF at its end gets one; simple goes without",
        peer: "Mail::DKIM",
        is_of: |message| ends_without_crlf(message) && has_simple_body(message),
        says: &["BodyHashMismatch"],
        agreeing: 2,
    },
    Difference {
        reason: "RFC 6376 §3.4.4: white space at the end of a last line without CRLF goes too; it stays",
        peer: "dkimpy",
        is_of: |message| ends_without_crlf(message) && ends_in_blank(message),
        says: &["BodyHashMismatch"],
        agreeing: 2,
    },
    Difference {
        reason: "RFC 6376 §3.4.4: white space at the end of a last line without CRLF goes too; it stays",
        peer: "libopendkim",
        is_of: |message| ends_without_crlf(message) && ends_in_blank(message),
        says: &["BodyHashMismatch"],
        agreeing: 2,
    },
    // It lays b= on the line of h= while it has no value, and folds in front of it once it has one, unless the
    // key is RSA. Its own verifier does not pass it either.
    Difference {
        reason: "RFC 6376 §3.4.1: simple takes a field as it is; the signature is written otherwise than it was \
                 hashed",
        peer: "libopendkim",
        is_of: |message| has_simple_header(message) && tag(message, "a") == "ed25519-sha256",
        says: &["SignatureMismatch"],
        agreeing: 3,
    },
];

fn has_space_before_colon(message: &[u8]) -> bool {
    message::fields(message::split(message).0).iter().any(|field| {
        let name = field.split(|octet| *octet == b':').next().unwrap_or_default();
        name.ends_with(b" ") || name.ends_with(b"\t")
    })
}

/// Says whether there is a body, and it does not end a line.
fn ends_without_crlf(message: &[u8]) -> bool {
    let (_, body) = message::split(message);
    !body.is_empty() && !body.ends_with(b"\r\n")
}

fn ends_in_blank(message: &[u8]) -> bool {
    matches!(message.last(), Some(b' ' | b'\t'))
}

/// Says whether the topmost signature takes the body in its simple form.
fn has_simple_body(message: &[u8]) -> bool {
    !tag(message, "c").ends_with("/relaxed")
}

fn has_simple_header(message: &[u8]) -> bool {
    !tag(message, "c").starts_with("relaxed")
}

/// A tag of the topmost signature; empty without one.
fn tag(message: &[u8], wanted: &str) -> String {
    let signatures = message::values(message, "DKIM-Signature");
    let tags = signatures.first().into_iter().flat_map(|signature| signature.split(';'));
    tags.filter_map(|tag| tag.split_once('='))
        .find(|(name, _)| name.trim() == wanted)
        .map_or(String::new(), |(_, value)| value.trim().to_owned())
}

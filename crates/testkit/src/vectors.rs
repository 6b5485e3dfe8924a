//! Test vectors: one readable file for each case of verification, usable by any implementation.
//!
//! ```text
//! expect: permerror
//! reason: tag h= lacks From (RFC 6376 §5.4)
//! key: sel._domainkey.example.com v=DKIM1; k=ed25519; p=…
//! now: 1790000000
//!
//! DKIM-Signature: v=1; a=ed25519-sha256; …
//! From: …
//! ```
//!
//! Above the first empty line: `expect` once for each signature from the top (or `none`), `reason` and
//! `key` any number of times, `now` at most once. Below it the message, byte for byte; but a file in which
//! every line ends in a bare LF holds its message as if it had CRLF.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// One case.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Vector {
    /// The file's name.
    pub name: String,
    /// The results of the signatures, from the top.
    pub expect: Vec<String>,
    /// Why, with the section it follows from.
    pub reason: Vec<String>,
    /// TXT records: owner and text.
    pub keys: Vec<(String, String)>,
    /// The time of verification, in seconds since 1970.
    pub now: Option<u64>,
    /// The message.
    pub message: Vec<u8>,
}

impl Vector {
    /// Reads a case.
    ///
    /// # Errors
    ///
    /// When the text is not in the form above.
    pub fn parse(name: &str, file: &[u8]) -> Result<Self> {
        let is_local = !file.windows(2).any(|octets| octets == b"\r\n");
        let mut vector = Self { name: name.to_owned(), ..Self::default() };
        let mut rest = file;
        loop {
            let end = rest
                .iter()
                .position(|octet| *octet == b'\n')
                .with_context(|| format!("{name}: no empty line before the message"))?;
            let (line, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            let line = std::str::from_utf8(line).with_context(|| name.to_owned())?;
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.is_empty() {
                break;
            }
            vector.line(line).with_context(|| format!("{name}: {line:?}"))?;
        }
        ensure!(!vector.expect.is_empty(), "{name}: nothing is expected");
        vector.message = if is_local {
            let mut message = Vec::with_capacity(rest.len() + rest.len() / 16);
            for line in rest.split_inclusive(|octet| *octet == b'\n') {
                match line.strip_suffix(b"\n") {
                    Some(line) => message.extend_from_slice(&[line, b"\r\n"].concat()),
                    None => message.extend_from_slice(line),
                }
            }
            message
        } else {
            rest.to_vec()
        };
        Ok(vector)
    }

    /// Every case of a folder, in the order of the names.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or the folder has none.
    pub fn read_folder(folder: &Path) -> Result<Vec<Self>> {
        let mut vectors = Vec::new();
        for file in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let file = file?;
            vectors
                .push(Self::parse(&file.file_name().to_string_lossy(), &fs::read(file.path())?)?);
        }
        ensure!(!vectors.is_empty(), "{} holds no vector", folder.display());
        vectors.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(vectors)
    }

    /// The keys in the form of `--dns-file`.
    pub fn dns_file(&self) -> String {
        self.keys.iter().map(|(owner, text)| format!("{owner}\t{text}\n")).collect()
    }

    fn line(&mut self, line: &str) -> Result<()> {
        let (name, value) = line.split_once(':').context("not `name: value`")?;
        let value = value.trim();
        match name {
            "expect" => self.expect.push(value.to_owned()),
            "reason" => self.reason.push(value.to_owned()),
            "key" => {
                let (owner, text) = value.split_once(' ').context("a key without its text")?;
                self.keys.push((owner.to_owned(), text.trim_start().to_owned()));
            }
            "now" => {
                ensure!(self.now.is_none(), "a second time");
                self.now = Some(value.parse()?);
            }
            _ => bail!("not known"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_case() {
        let file = b"expect: pass\nexpect: fail\nreason: one\nkey: s._domainkey.a.example v=DKIM1; p=\nnow: 5\n\nA: 1\n\nx\n";
        let vector = Vector::parse("case", file).unwrap();
        assert_eq!(vector.expect, ["pass", "fail"]);
        assert_eq!(vector.now, Some(5));
        assert_eq!(vector.dns_file(), "s._domainkey.a.example\tv=DKIM1; p=\n");
        assert_eq!(vector.message, b"A: 1\r\n\r\nx\r\n");
    }

    #[test]
    fn keeps_a_message_with_any_crlf_as_it_is() {
        let vector = Vector::parse("case", b"expect: none\n\nA: 1\r\n\r\nx\ny\r\n").unwrap();
        assert_eq!(vector.message, b"A: 1\r\n\r\nx\ny\r\n");
    }

    #[test]
    fn refuses_what_is_not_a_case() {
        for file in
            ["", "expect: pass\n", "\nA: 1\n", "expect\n\n", "what: pass\n\n", "now: 1\nnow: 2\n\n"]
        {
            assert!(Vector::parse("case", file.as_bytes()).is_err(), "{file:?}");
        }
    }
}

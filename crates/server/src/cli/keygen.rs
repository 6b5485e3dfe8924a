//! `postseal keygen`: makes a key pair on this host and says what to publish.
//!
//! The private key goes to a file that must not exist yet, as PKCS#8 PEM with mode 0600. Standard output
//! gets the DNS record twice: in the form of a zone file, behind `#`, and as the line that `--dns-file` of
//! `postseal verify` reads. So the output as a whole is such a file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use postseal_dkim::{Algorithm, DomainName, Selector, key_record_name};
use postseal_keys::SigningKey;

use super::cannot;

/// Arguments of `postseal keygen`.
#[derive(Args, Debug)]
pub(super) struct KeygenArgs {
    /// The domain that will sign, d=
    #[arg(long, value_name = "DOMAIN")]
    domain: DomainName,
    /// The selector of the key, s=; never use one again for another key
    #[arg(long, value_name = "SELECTOR")]
    selector: Selector,
    /// What the key signs with; Ed25519 is an extra beside RSA, since many receivers do not verify it
    #[arg(long, value_enum, default_value = "rsa-2048")]
    algorithm: KeyKind,
    /// Where the private key goes; the file must not exist yet [default: SELECTOR.DOMAIN.pem]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The kinds of keys that are made.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum KeyKind {
    #[value(name = "rsa-2048")]
    Rsa2048,
    #[value(name = "ed25519")]
    Ed25519,
}

pub(super) fn run(args: &KeygenArgs) -> ExitCode {
    match keygen(args, &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cannot(format_args!("{error:#}")),
    }
}

fn keygen(args: &KeygenArgs, output: &mut impl Write) -> anyhow::Result<()> {
    let owner = key_record_name(&args.selector, &args.domain)
        .context("selector and domain are too long for a DNS name together")?;
    let key = SigningKey::generate(match args.algorithm {
        KeyKind::Rsa2048 => Algorithm::RsaSha256,
        KeyKind::Ed25519 => Algorithm::Ed25519Sha256,
    })?;
    let path = match &args.out {
        Some(path) => path.clone(),
        None => PathBuf::from(format!("{}.{}.pem", args.selector, args.domain)),
    };
    write_private(&path, key.expose_pkcs8_pem().as_bytes()).map_err(|error| {
        let path = path.display();
        let what = if error.kind() == io::ErrorKind::AlreadyExists {
            format!("{path} is not overwritten; choose another file with --out")
        } else {
            format!("the private key cannot be written to {path}")
        };
        anyhow::Error::new(error).context(what)
    })?;

    let record = key.public_record();
    let strings = in_strings(&record);
    let text = format!(
        "# private key: {} (PKCS#8 PEM, mode 0600)\n\
         # publish this record before mail is signed with the key:\n\
         # {owner}. IN TXT {strings}\n\
         {owner}\t{record}\n",
        path.display(),
    );
    output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
        .context("the DNS record cannot be written to standard output; the private key was made")
}

/// Writes a file that must not exist, readable by its owner alone, through to the disk.
fn write_private(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = write_through(&mut file, path, contents);
    if written.is_err() {
        // Half a key is of use to nobody; the error of the write is the one that counts.
        let _ = fs::remove_file(path);
    }
    written
}

fn write_through(file: &mut File, path: &Path, contents: &[u8]) -> io::Result<()> {
    file.write_all(contents)?;
    file.sync_all()?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

/// A record's text as a zone file has it: quoted strings of at most 255 octets (RFC 1035 §3.3.14), which
/// verifiers join without anything between them (RFC 6376 §3.6.2.2).
fn in_strings(record: &str) -> String {
    // A key record is ASCII without quotes and backslashes.
    let strings = record.as_bytes().chunks(MAX_STRING_LEN);
    let strings: Vec<String> =
        strings.map(|string| format!("\"{}\"", String::from_utf8_lossy(string))).collect();
    match strings.as_slice() {
        [string] => string.clone(),
        strings => format!("( {} )", strings.join(" ")),
    }
}

/// A character-string has one octet for its length (RFC 1035 §3.3).
const MAX_STRING_LEN: usize = 255;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use postseal_dkim::KeyRecord;

    use super::*;

    fn args(folder: &Path, algorithm: KeyKind) -> KeygenArgs {
        KeygenArgs {
            domain: "Example.com".parse().unwrap(),
            selector: "s1".parse().unwrap(),
            algorithm,
            out: Some(folder.join("key.pem")),
        }
    }

    #[test]
    fn the_output_is_a_dns_file_with_the_public_half() {
        for (kind, tag) in [(KeyKind::Rsa2048, "k=rsa"), (KeyKind::Ed25519, "k=ed25519")] {
            let folder = tempfile::tempdir().unwrap();
            let args = args(folder.path(), kind);
            let mut output = Vec::new();
            keygen(&args, &mut output).unwrap();

            let path = args.out.as_ref().unwrap();
            assert_eq!(fs::metadata(path).unwrap().mode() & 0o7777, 0o600);
            let pem = fs::read_to_string(path).unwrap();
            assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n"), "PKCS#8");
            let key = SigningKey::from_pem(&pem).unwrap_or_else(|error| panic!("{error}"));

            let output = String::from_utf8(output).unwrap();
            let lines: Vec<_> = output.lines().filter(|line| !line.starts_with('#')).collect();
            assert_eq!(lines, [format!("s1._domainkey.example.com\t{}", key.public_record())]);
            assert!(lines[0].contains(tag), "{output}");
            let (_, record) = lines[0].split_once('\t').unwrap();
            assert!(KeyRecord::parse(record.as_bytes()).is_ok(), "{record}");

            let zone = output.lines().find_map(|line| line.split_once(". IN TXT ")).unwrap();
            assert_eq!(zone.0, "# s1._domainkey.example.com");
            let joined: String = zone.1.split('"').skip(1).step_by(2).collect();
            assert_eq!(joined, record);
            assert!(zone.1.split('"').all(|string| string.len() <= MAX_STRING_LEN));
        }
    }

    #[test]
    fn a_key_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let args = args(folder.path(), KeyKind::Ed25519);
        keygen(&args, &mut Vec::new()).unwrap();
        let before = fs::read(args.out.as_ref().unwrap()).unwrap();
        let mut output = Vec::new();
        let error = keygen(&args, &mut output).unwrap_err();
        assert!(error.to_string().contains("--out"), "{error:#}");
        assert!(output.is_empty());
        assert_eq!(fs::read(args.out.as_ref().unwrap()).unwrap(), before);
    }

    #[test]
    fn a_name_that_is_too_long_is_refused_before_a_key_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let mut args = args(folder.path(), KeyKind::Ed25519);
        args.domain = ["a".repeat(60).as_str(); 4].join(".").parse().unwrap();
        assert!(keygen(&args, &mut Vec::new()).is_err());
        assert!(!args.out.unwrap().exists());
    }

    #[test]
    fn long_records_are_cut_into_strings() {
        assert_eq!(in_strings("v=DKIM1; p="), "\"v=DKIM1; p=\"");
        let long = "a".repeat(256);
        assert_eq!(in_strings(&long), format!("( \"{}\" \"a\" )", "a".repeat(255)));
    }
}

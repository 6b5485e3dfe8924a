//! `postseal sign`: signs one message with a key from a file.
//!
//! The signature goes in front of the message, and all else is written byte for byte as it came. A
//! file in which every line ends in a bare LF is signed as if it had CRLF, which is how it will
//! travel; its signature is written with LF. If anything is wrong, nothing is written.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use postseal_dkim::{
    Canonicalization, DomainName, FieldName, FieldSelection, Header, LocalFile, MessageSigning,
    Selector, SignRequest, UnixTime,
};
use postseal_keys::{MAX_KEY_TEXT_LEN, SigningKey};

use super::cannot;
use crate::clock;

/// Arguments of `postseal sign`.
#[derive(Args, Debug)]
pub(super) struct SignArgs {
    /// The signing domain, d=
    #[arg(long, value_name = "DOMAIN")]
    domain: DomainName,
    /// The selector, s=
    #[arg(long, value_name = "SELECTOR")]
    selector: Selector,
    /// The private key in PEM, PKCS#8 or PKCS#1
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// How header and body are canonicalised, c=
    #[arg(long, value_name = "HEADER/BODY", default_value = "relaxed/relaxed")]
    canonicalization: Canonicalization,
    /// When the message is signed, t=, in seconds since 1970 [default: now]
    #[arg(long, value_name = "UNIX")]
    timestamp: Option<u64>,
    /// How long the signature holds, in seconds; x= is t= plus this [default: 7 days]
    #[arg(long, value_name = "SECONDS")]
    expire: Option<u64>,
    /// The fields to sign, h= exactly as written, such as From:To:Subject [default: as the service signs]
    #[arg(long, value_name = "NAMES", value_parser = selection)]
    headers: Option<FieldSelection>,
}

pub(super) fn run(args: &SignArgs) -> ExitCode {
    match sign(args, clock::now(), &mut io::stdin().lock(), &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cannot(format_args!("{error:#}")),
    }
}

fn sign(
    args: &SignArgs,
    now: UnixTime,
    input: &mut impl Read,
    output: &mut impl Write,
) -> anyhow::Result<()> {
    let key = read_key(&args.key)?;
    let message = read_message(input)?;
    let file = LocalFile::new(&message);
    let wire = file.to_wire();
    let (header, body) = Header::of_message(&wire)?;

    let signed_at = args.timestamp.map_or(now, UnixTime);
    let request = SignRequest {
        signing_domain: args.domain.clone(),
        selector: args.selector.clone(),
        algorithm: key.algorithm(),
        canonicalization: args.canonicalization,
        signed_at,
        expires_at: Some(signed_at.plus_secs(args.expire.unwrap_or(DEFAULT_EXPIRY))),
        identity: None,
        fields: args.headers.clone().unwrap_or_default(),
    };
    let mut signing = MessageSigning::start(vec![request], &header)?;
    signing.body(body);
    let mut signatures = Vec::with_capacity(1);
    for unsigned in signing.finish() {
        let signature = key.sign(unsigned.digest())?;
        signatures.push(unsigned.complete(&signature));
    }

    for signature in &signatures {
        output.write_all(&file.to_local(signature.raw())).context(CANNOT_WRITE)?;
    }
    output.write_all(&message).context(CANNOT_WRITE)?;
    output.flush().context(CANNOT_WRITE)
}

fn read_key(path: &Path) -> anyhow::Result<SigningKey> {
    let context = || format!("cannot use the key {}", path.display());
    let file = std::fs::File::open(path).with_context(context)?;
    let mut text = String::new();
    // One octet more than a key may have lets the key's own check see that it is too long.
    file.take(MAX_KEY_TEXT_LEN as u64 + 1).read_to_string(&mut text).with_context(context)?;
    SigningKey::from_pem(&text).with_context(context)
}

/// Reads a whole message.
pub(super) fn read_message(input: &mut impl Read) -> anyhow::Result<Vec<u8>> {
    let mut message = Vec::new();
    let read = input.take(MAX_MESSAGE_LEN + 1).read_to_end(&mut message);
    if read.context("cannot read the message")? as u64 > MAX_MESSAGE_LEN {
        bail!("the message is longer than {MAX_MESSAGE_LEN} octets");
    }
    Ok(message)
}

fn selection(text: &str) -> Result<FieldSelection, String> {
    let names: Result<Vec<_>, _> = text.split(':').map(FieldName::parse).collect();
    let names = names.map_err(|error| error.to_string())?;
    FieldSelection::exactly(names).map_err(|error| error.to_string())
}

/// How long a signature holds unless the command says otherwise: 7 days, as Gmail does, which covers
/// the five days that mail may wait in queues (RFC 5321 §4.5.4.1).
const DEFAULT_EXPIRY: u64 = 7 * 24 * 60 * 60;

/// The longest message, in octets. No official reference: no server takes one so long.
const MAX_MESSAGE_LEN: u64 = 1 << 30;

/// What failed if the output is closed.
pub(super) const CANNOT_WRITE: &str = "cannot write to standard output";

#[cfg(test)]
mod tests {
    use clap::Parser;
    use postseal_dkim::Algorithm;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: SignArgs,
    }

    /// A folder with a key, and the arguments that name it.
    fn arguments(folder: &tempfile::TempDir, more: &[&str]) -> Result<SignArgs, clap::Error> {
        let path = folder.path().join("key.pem");
        if !path.exists() {
            let key = SigningKey::generate(Algorithm::Ed25519Sha256).unwrap();
            std::fs::write(&path, key.expose_pkcs8_pem().as_bytes()).unwrap();
        }
        let path = path.to_str().unwrap();
        let line = ["sign", "--domain", "Example.com", "--selector", "s1", "--key", path]
            .into_iter()
            .chain(more.iter().copied());
        Line::try_parse_from(line).map(|line| line.args)
    }

    fn signed(args: &SignArgs, message: &str) -> anyhow::Result<String> {
        let mut output = Vec::new();
        sign(args, UnixTime(1_790_000_000), &mut message.as_bytes(), &mut output)?;
        Ok(String::from_utf8(output).unwrap())
    }

    #[test]
    fn the_signature_goes_in_front_of_an_unchanged_message() {
        let folder = tempfile::tempdir().unwrap();
        let args = arguments(&folder, &[]).unwrap();
        let message = "From: a@example.com\r\nTo : b\r\n\r\nbody \r\n\r\n";
        let output = signed(&args, message).unwrap();

        let field = output.strip_suffix(message).unwrap();
        assert!(field.ends_with("\r\n"));
        let unfolded = field.replace("\r\n ", " ");
        let want = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=example.com; s=s1; \
            t=1790000000; x=1790604800; h=From:From:To:To:Cc:";
        assert!(unfolded.starts_with(want), "{field}");
    }

    #[test]
    fn local_files_get_local_line_ends() {
        let folder = tempfile::tempdir().unwrap();
        let args = arguments(&folder, &["--timestamp", "5", "--expire", "6"]).unwrap();
        let wire = "From: a@example.com\r\n\r\nbody\r\n";
        let local = wire.replace("\r\n", "\n");

        let output = signed(&args, &local).unwrap();
        assert!(output.ends_with(&local));
        assert_eq!(output, signed(&args, wire).unwrap().replace("\r\n", "\n"));
        assert!(output.contains(" t=5; x=11;"));
    }

    #[test]
    fn listed_headers_are_taken_as_written() {
        let folder = tempfile::tempdir().unwrap();
        let args =
            arguments(&folder, &["--headers", "to:FROM:X-None", "--canonicalization", "simple"]);
        let output = signed(&args.unwrap(), "From: a@example.com\r\n\r\n").unwrap();
        assert!(output.contains("h=to:FROM:X-None;"), "{output}");
        assert!(output.contains("c=simple/simple;"), "{output}");
    }

    #[test]
    fn usage_errors_are_found_before_anything_is_read() {
        let folder = tempfile::tempdir().unwrap();
        for more in [
            ["--headers", "To:Subject"],
            ["--headers", "From:a;b"],
            ["--headers", "From: To"],
            ["--canonicalization", "nofws"],
            ["--timestamp", "-1"],
            ["--expire", "soon"],
        ] {
            assert!(arguments(&folder, &more).is_err(), "{more:?}");
        }
    }

    #[test]
    fn what_cannot_be_signed_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let good = "From: a@example.com\r\n\r\nbody\r\n";
        let cases: [(&[&str], &str, &str); 6] = [
            (&[], "To: b\r\n\r\n", "no From field"),
            (&[], "From: a\r\nfrom: b\r\n\r\n", "more than one From field"),
            (&[], "", "no From field"),
            (&["--expire", "0"], good, "expire before"),
            (&["--timestamp", "9999999999999"], good, "twelve digits"),
            (&["--timestamp", "18446744073709551615"], good, "expire before"),
        ];
        for (more, message, want) in cases {
            let args = arguments(&folder, more).unwrap();
            let mut output = Vec::new();
            let error = sign(&args, UnixTime(5), &mut message.as_bytes(), &mut output).unwrap_err();
            assert!(format!("{error:#}").contains(want), "{message:?}: {error:#}");
            assert!(output.is_empty());
        }
    }

    #[test]
    fn a_key_that_cannot_be_used_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let args = arguments(&folder, &[]).unwrap();
        let public = "-----BEGIN PUBLIC KEY-----\nMTIz\n-----END PUBLIC KEY-----\n";
        for (text, want) in [("", "no private key"), (public, "public key")] {
            std::fs::write(&args.key, text).unwrap();
            let error = format!("{:#}", signed(&args, "From: a\r\n\r\n").unwrap_err());
            assert!(error.contains(want) && error.contains("key.pem"), "{error}");
        }
        std::fs::remove_file(&args.key).unwrap();
        let error = format!("{:#}", signed(&args, "From: a\r\n\r\n").unwrap_err());
        assert!(error.contains("key.pem"), "{error}");
    }
}

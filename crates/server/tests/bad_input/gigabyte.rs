//! A message of a gigabyte, which no process here may hold: it comes in pieces and goes on in pieces.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;

use anyhow::{Context, Result, ensure};
use aws_lc_rs::digest::{self, Context as Hash, SHA256};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postseal_dkim::{MAX_FIELDS, MAX_HEADER_LEN};
use postseal_testkit::message;
use postseal_testkit::milter_client::Verdict;
use postseal_testkit::scene::{READER, signing_domains, transaction};
use serde_json::Value;

use super::{binary, scene};

/// Both forms of a file: with the line ends of mail, and with bare LFs.
#[test]
fn verify_reads_a_gigabyte_from_a_pipe_in_little_memory() -> Result<()> {
    let key = Ed25519KeyPair::generate()?;
    let folder = tempfile::tempdir()?;
    let dns = folder.path().join("dns");
    let public = STANDARD.encode(key.public_key());
    fs::write(&dns, format!("s1._domainkey.example.com\tv=DKIM1; k=ed25519; p={public}\n"))?;

    let body_hash = gigabyte_hash();
    let unsigned = format!(
        "dkim-signature:v=1; a=ed25519-sha256; c=simple/simple; d=example.com; s=s1; h=from; \
         bh={body_hash}; b="
    );
    let input = digest::digest(&SHA256, format!("from:a@example.com\r\n{unsigned}").as_bytes());
    let signature = STANDARD.encode(key.sign(input.as_ref()));
    let header = format!("{unsigned}{signature}\r\nfrom:a@example.com\r\n\r\n");

    for (what, header, line) in [
        ("CRLF", header.clone(), LINE.to_owned()),
        ("LF", header.replace("\r\n", "\n"), LINE.replace("\r\n", "\n")),
    ] {
        let part = line.repeat(LINES_OF_A_PART);
        let mut verify = Verify::start(&["--json", "--dns-file", dns.to_str().context("a path")?])?;
        verify.input.write_all(header.as_bytes())?;
        for _ in 0..PARTS {
            verify.input.write_all(part.as_bytes())?;
        }
        let (memory, status, report) = verify.finish()?;
        println!("{what}: VmHWM {} KiB", memory / 1024);
        ensure!(status.success(), "{what}: {status} {report}");
        let report: Value = serde_json::from_str(&report)?;
        let body = report.pointer("/signatures/0/body").context("a body")?;
        ensure!(body["octets_covered"] == GIGABYTE, "{what}: {report}");
        ensure!(body["computed_hash"] == body_hash, "{what}: {report}");
        ensure!(memory <= VERIFY_MEMORY, "{what}: {memory} octets of memory");
    }
    Ok(())
}

/// A header that is read to its end for the sake of its error is not kept either.
#[test]
fn verify_reads_a_gigabyte_without_a_body_in_little_memory() -> Result<()> {
    for (what, line, last) in [("no end", "x: y ", ""), ("a late CRLF", "x: y\n\n", "\r\n")] {
        let part = line.repeat(LINE.len() * LINES_OF_A_PART / line.len());
        let mut verify = Verify::start(&["--dns-file", "/dev/null"])?;
        for _ in 0..PARTS {
            verify.input.write_all(part.as_bytes())?;
        }
        verify.input.write_all(last.as_bytes())?;
        let (memory, status, error) = verify.finish()?;
        println!("{what}: VmHWM {} KiB", memory / 1024);
        ensure!(status.code() == Some(2), "{what}: {status} {error}");
        ensure!(error.contains("the header section is longer"), "{what}: {error}");
        ensure!(memory <= VERIFY_MEMORY, "{what}: {memory} octets of memory");
    }
    Ok(())
}

/// Of each signature there is a line, however many a header holds, and whatever they look like.
#[test]
fn verify_reports_a_header_full_of_signatures_in_little_memory() -> Result<()> {
    let short = "DKIM-Signature: d=a.b; s=c; a=x; b=AAAA\r\n".to_owned();
    let long = format!(
        "DKIM-Signature: v=1; a=rsa-sha256; d=a.b; s=c; h=From; bh=AAAA; b={}\r\n",
        "A".repeat(140)
    );
    for (what, field) in [("short", short), ("long", long)] {
        let count = (MAX_FIELDS - 1).min((MAX_HEADER_LEN - 100) / field.len());
        let message = field.repeat(count) + "From: a@example.com\r\n\r\nbody\r\n";
        for message in [message.replace("\r\n", "\n"), message] {
            for output in [&[][..], &["--json"]] {
                let (memory, octets, status) =
                    report_of(message.as_bytes(), Path::new("/dev/null"), output)?;
                println!("{what} {output:?}: VmHWM {} KiB for {octets} octets", memory / 1024);
                ensure!(status.code() == Some(1), "{what} {output:?}: {status}");
                ensure!(octets > 80 * count, "{what} {output:?}: {octets} for {count}");
                ensure!((1..=VERIFY_MEMORY).contains(&memory), "{what} {output:?}: {memory}");
            }
        }
    }
    Ok(())
}

/// The copies in a signature are decoded, made canonical and compared with what they are copies of: here with the
/// signature itself, which has most of the header. The signature fails, and so the sentence about it names fields; behind
/// it stand as many others as a header may have, whose lines keep the process alive while it is asked for its memory.
#[test]
fn verify_reports_the_longest_copies_in_little_memory() -> Result<()> {
    let key = Ed25519KeyPair::generate()?;
    let folder = tempfile::tempdir()?;
    let dns = folder.path().join("dns");
    let public = STANDARD.encode(key.public_key());
    fs::write(&dns, format!("c._domainkey.a.b\tv=DKIM1; k=ed25519; p={public}\n"))?;
    let start = format!(
        "DKIM-Signature: v=1; a=ed25519-sha256; d=a.b; s=c; h=From; bh={}; b={}; \
         z=From:x|DKIM-Signature:",
        STANDARD.encode([0; 32]),
        STANDARD.encode([0; 64]),
    );
    let others = "DKIM-Signature: d=a.b; s=c; a=x; b=AAAA\r\n".repeat(MAX_FIELDS - 2);
    let from = "From: a@example.com\r\n\r\nbody\r\n";
    for unit in ["a", "=FF", "ü"] {
        let room = MAX_HEADER_LEN - start.len() - others.len() - 100;
        let message = format!("{start}{}\r\n{others}{from}", unit.repeat(room / unit.len()));
        for output in [&[][..], &["--json"]] {
            let (memory, octets, status) = report_of(message.as_bytes(), &dns, output)?;
            println!("{unit} {output:?}: VmHWM {} KiB for {octets} octets", memory / 1024);
            ensure!(status.code() == Some(1), "{unit} {output:?}: {status}");
            ensure!(octets > 80 * MAX_FIELDS, "{unit} {output:?}: {octets} octets");
            ensure!((1..=VERIFY_MEMORY).contains(&memory), "{unit} {output:?}: {memory}");
        }
    }
    Ok(())
}

/// The most memory that `postseal verify` ever had, how many octets it wrote, more than a pipe holds, and its status.
fn report_of(message: &[u8], dns: &Path, output: &[&str]) -> Result<(u64, usize, ExitStatus)> {
    let mut process = Command::new(binary())
        .args(["verify", "--dns-file"])
        .arg(dns)
        .args(output)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    process.stdin.take().context("a pipe")?.write_all(message)?;
    let mut text = process.stdout.take().context("a pipe")?;
    // It cannot end as long as more is left than a pipe holds, so its memory can be asked for while its report
    // comes out.
    let (mut memory, mut octets, mut part) = (0, 0, vec![0; 32 << 10]);
    loop {
        let read = text.read(&mut part)?;
        if read == 0 {
            break;
        }
        octets += read;
        memory = peak_memory(process.id()).unwrap_or(memory);
    }
    Ok((memory, octets, process.wait()?))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gigabyte_passes_the_milter_in_little_memory() -> Result<()> {
    let scene = scene("").await?;
    let before = peak_memory(scene.platform.daemon.process())?;

    let header = b"From: news@acme.test\r\nSubject: large\r\n\r\n";
    let transaction = transaction("acme", READER, header);
    let mut client = scene.milter()?;
    ensure!(client.negotiated().steps & NO_REPLY_BODY != 0, "each part would be answered");
    ensure!(client.connection(&transaction)? == Verdict::Continue);
    ensure!(client.envelope(&transaction)? == Verdict::Continue);
    ensure!(client.content(&transaction)? == Verdict::Continue);
    let body = LINE.repeat(LINES_OF_A_PACKET);
    let length = u32::try_from(body.len() + 1)?.to_be_bytes();
    let packet = [&length[..], b"B", body.as_bytes()].concat();
    for _ in 0..GIGABYTE / body.len() {
        client.write_raw(&packet)?;
    }
    let outcome = client.end_of_message(&transaction)?;
    let signed = outcome.apply(b"\r\n");
    ensure!(signing_domains(&signed) == ["acme.test"], "{outcome:?}");
    let fields = message::values(&signed, "DKIM-Signature");
    let field: String = fields.concat().split_whitespace().collect();
    ensure!(field.contains(&format!("bh={};", gigabyte_hash())), "{field}");

    let after = peak_memory(scene.platform.daemon.process())?;
    println!("VmHWM: {} KiB at rest, {} KiB after it", before / 1024, after / 1024);
    ensure!(after <= before + MILTER_MEMORY, "{before} octets at rest, {after} after it");
    Ok(())
}

/// `postseal verify`, reading from a pipe.
struct Verify {
    process: Child,
    input: ChildStdin,
    output: thread::JoinHandle<Result<String>>,
}

impl Verify {
    fn start(arguments: &[&str]) -> Result<Self> {
        let mut process = Command::new(binary())
            .arg("verify")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let input = process.stdin.take().context("a pipe")?;
        let mut text = process.stdout.take().context("a pipe")?;
        let mut error = process.stderr.take().context("a pipe")?;
        let output = thread::spawn(move || {
            let mut all = String::new();
            text.read_to_string(&mut all)?;
            error.read_to_string(&mut all)?;
            Ok(all)
        });
        Ok(Self { process, input, output })
    }

    /// The most memory that it ever had when all but the last pipeful was read, its status and what it
    /// wrote.
    fn finish(mut self) -> Result<(u64, ExitStatus, String)> {
        let memory = peak_memory(self.process.id())?;
        drop(self.input);
        let status = self.process.wait()?;
        let output = self.output.join().map_err(|_| anyhow::anyhow!("the reader ended"))??;
        Ok((memory, status, output))
    }
}

/// `bh=` of the body, made without the program.
fn gigabyte_hash() -> String {
    let part = LINE.repeat(LINES_OF_A_PART);
    let mut hash = Hash::new(&SHA256);
    for _ in 0..PARTS {
        hash.update(part.as_bytes());
    }
    STANDARD.encode(hash.finish())
}

/// The most memory that a process ever had, in octets.
fn peak_memory(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}

/// A line of the body, which is canonical as it stands.
const LINE: &str = "The quick brown fox jumps over the lazy dog, and then it rests.\r\n";

/// Octets of the body: a gigabyte, and what is left of the last part.
const GIGABYTE: usize = LINE.len() * LINES_OF_A_PART * PARTS;

const LINES_OF_A_PART: usize = LINES_OF_A_PACKET * 16;

const PARTS: usize = (1 << 30) / (LINE.len() * LINES_OF_A_PART) + 1;

/// As many as fit into a packet of the milter protocol.
const LINES_OF_A_PACKET: usize = 65_535 / LINE.len();

/// What `postseal verify` may need: the program, the longest header with what is copied of it, and a chunk.
const VERIFY_MEMORY: u64 = 32 << 20;

/// What a message may add to the daemon.
const MILTER_MEMORY: u64 = 8 << 20;

/// SMFIP_NR_BODY.
const NO_REPLY_BODY: u32 = 0x8_0000;

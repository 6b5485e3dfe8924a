//! How a worker in Rust is spoken to: the other side of `src/worker.rs` of `postseal-bench-dkim`, which says
//! what goes over the pipe.

use std::io::{BufRead as _, Read as _, StdinLock, Write as _, stdin, stdout};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Runtime};

/// With what is signed and verified.
pub struct Task {
    /// PKCS#8.
    pub private_key_pem: String,
    pub key_record: String,
    pub signing_domain: String,
    pub selector: String,
    /// `h=`.
    pub fields: Vec<String>,
}

/// A DKIM library, ready to work.
pub trait Library {
    /// Returns the signature as a whole field with its CRLF.
    fn sign(&self, message: &[u8]) -> Result<String>;

    /// Says whether the message has signatures and all of them verify.
    fn verify(&self, message: &[u8]) -> Result<bool>;
}

/// Serves until the other side closes the pipe. `start` gets the library ready; it is not measured.
pub fn serve<L: Library>(start: impl FnOnce(Task) -> Result<L>) -> ExitCode {
    match work(start) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("worker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// One thread, which is what is measured.
pub fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_time().build()?)
}

fn work<L: Library>(start: impl FnOnce(Task) -> Result<L>) -> Result<()> {
    let mut input = stdin().lock();
    let library = start(Task {
        private_key_pem: String::from_utf8(frame(&mut input)?)?,
        key_record: String::from_utf8(frame(&mut input)?)?,
        signing_domain: String::from_utf8(frame(&mut input)?)?,
        selector: String::from_utf8(frame(&mut input)?)?,
        fields: String::from_utf8(frame(&mut input)?)?.split(':').map(str::to_owned).collect(),
    })?;
    let mut messages = Vec::new();
    for _ in 0..MESSAGES {
        messages.push(Message {
            unsigned: frame(&mut input)?,
            signed: frame(&mut input)?,
            last: String::new(),
        });
    }
    while let Some(request) = line(&mut input)? {
        let words: Vec<&str> = request.split(' ').collect();
        let answer = match words[..] {
            ["accepts"] => {
                // What a library cannot even read, it does not accept.
                let accepted = library.verify(&frame(&mut input)?).unwrap_or(false);
                (if accepted { "pass\n" } else { "fail\n" }).to_owned()
            }
            ["field", place] => {
                let field = &at(&mut messages, place)?.last;
                format!("{}\n{field}", field.len())
            }
            ["sign", place, times] => {
                let message = at(&mut messages, place)?;
                let start = cpu_time();
                for _ in 0..times.parse()? {
                    message.last = library.sign(&message.unsigned)?;
                }
                format!("{}\n", (cpu_time() - start).as_nanos())
            }
            ["verify", place, times] => {
                let message = at(&mut messages, place)?;
                let start = cpu_time();
                for _ in 0..times.parse()? {
                    ensure!(library.verify(&message.signed)?, "a message does not verify");
                }
                format!("{}\n", (cpu_time() - start).as_nanos())
            }
            _ => bail!("unknown request: {request}"),
        };
        let mut output = stdout().lock();
        output.write_all(answer.as_bytes())?;
        output.flush()?;
    }
    Ok(())
}

struct Message {
    unsigned: Vec<u8>,
    signed: Vec<u8>,
    last: String,
}

fn at<'m>(messages: &'m mut [Message], place: &str) -> Result<&'m mut Message> {
    messages.get_mut(place.parse::<usize>()?).context("no such message")
}

fn line(input: &mut StdinLock<'_>) -> Result<Option<String>> {
    let mut line = String::new();
    let count = input.read_line(&mut line)?;
    Ok((count > 0).then(|| line.trim_end().to_owned()))
}

fn frame(input: &mut StdinLock<'_>) -> Result<Vec<u8>> {
    let mut octets = vec![0; line(input)?.context("no frame")?.parse()?];
    input.read_exact(&mut octets)?;
    Ok(octets)
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

const MESSAGES: usize = 3;

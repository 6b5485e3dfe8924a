//! A next hop that keeps every octet it gets, in the form in which it travelled, and can speak TLS.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A running hop. Its thread ends with the test.
pub(crate) struct RawHop {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// How it answers.
#[derive(Clone, Default)]
pub(crate) struct Behaviour {
    /// Offers STARTTLS.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// What goes out in the same write as the answer to STARTTLS, before TLS.
    pub(crate) behind_starttls: &'static str,
    /// Whether it leaves messages without an answer.
    pub(crate) is_mute: bool,
}

/// What it got.
#[derive(Default)]
pub(crate) struct Seen {
    /// Commands, with `TLS ` in front of those under TLS.
    pub(crate) commands: Vec<String>,
    /// Content as it travelled: with stuffed dots and the final one.
    pub(crate) contents: Vec<Vec<u8>>,
}

struct Shared {
    behaviour: Behaviour,
    seen: Mutex<Seen>,
    changed: Condvar,
}

impl RawHop {
    pub(crate) fn start(behaviour: Behaviour) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared =
            Arc::new(Shared { behaviour, seen: Mutex::default(), changed: Condvar::new() });
        let of_thread = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&of_thread);
                // An error ends the connection and is the other side's to notice.
                thread::spawn(move || drop(Talk::plain(stream, &shared).run()));
            }
        });
        Ok(Self { address, shared })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `count` messages came.
    pub(crate) fn wait_for(&self, count: usize) -> Result<()> {
        let (seen, timed_out) = self
            .shared
            .changed
            .wait_timeout_while(self.seen(), PATIENCE, |seen| seen.contents.len() < count)
            .unwrap_or_else(PoisonError::into_inner);
        ensure!(!timed_out.timed_out(), "{} of {count} messages came", seen.contents.len());
        Ok(())
    }
}

trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

struct Talk<'a> {
    /// Not there during a handshake.
    plain: Option<TcpStream>,
    secure: Option<Box<dyn Stream>>,
    buffer: Vec<u8>,
    shared: &'a Shared,
}

impl<'a> Talk<'a> {
    fn plain(stream: TcpStream, shared: &'a Shared) -> Self {
        Self { plain: Some(stream), secure: None, buffer: Vec::new(), shared }
    }

    fn run(&mut self) -> Result<()> {
        self.write("220 raw.test ESMTP\r\n")?;
        loop {
            let line = self.until(b"\r\n")?;
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let prefix = if self.secure.is_some() { "TLS " } else { "" };
            self.seen().commands.push(format!("{prefix}{line}"));
            match line.split(' ').next().unwrap_or_default().to_ascii_uppercase().as_str() {
                "EHLO" if self.shared.behaviour.tls.is_some() && self.secure.is_none() => {
                    self.write("250-raw.test\r\n250-8BITMIME\r\n250 STARTTLS\r\n")?;
                }
                "EHLO" => self.write("250-raw.test\r\n250 8BITMIME\r\n")?,
                "STARTTLS" => self.start_tls()?,
                "DATA" => {
                    self.write("354 go on\r\n")?;
                    // The line end of DATA stands before an end of data that comes first.
                    self.buffer.splice(..0, *b"\r\n");
                    let mut content = self.until(b"\r\n.\r\n")?;
                    content.drain(..2);
                    self.seen().contents.push(content);
                    self.shared.changed.notify_all();
                    if !self.shared.behaviour.is_mute {
                        self.write("250 taken\r\n")?;
                    }
                }
                "QUIT" => {
                    self.write("221 bye\r\n")?;
                    return Ok(());
                }
                _ => self.write("250 ok\r\n")?,
            }
        }
    }

    fn start_tls(&mut self) -> Result<()> {
        let config = self.shared.behaviour.tls.clone().context("not offered")?;
        self.write(&format!("220 go\r\n{}", self.shared.behaviour.behind_starttls))?;
        let stream = self.plain.take().context("a second STARTTLS")?;
        self.buffer.clear();
        self.secure = Some(Box::new(StreamOwned::new(ServerConnection::new(config)?, stream)));
        Ok(())
    }

    /// Reads up to and with the first `end`.
    fn until(&mut self, end: &[u8]) -> Result<Vec<u8>> {
        loop {
            let found = self.buffer.windows(end.len()).position(|octets| octets == end);
            if let Some(at) = found {
                return Ok(self.buffer.drain(..at + end.len()).collect());
            }
            let mut more = [0; 16_384];
            let octets = self.stream()?.read(&mut more)?;
            if octets == 0 {
                bail!("the client closed the connection");
            }
            self.buffer.extend_from_slice(more.get(..octets).unwrap_or_default());
        }
    }

    fn write(&mut self, text: &str) -> Result<()> {
        let stream = self.stream()?;
        stream.write_all(text.as_bytes())?;
        Ok(stream.flush()?)
    }

    fn stream(&mut self) -> Result<&mut dyn Stream> {
        match (&mut self.secure, &mut self.plain) {
            (Some(secure), _) => Ok(secure.as_mut()),
            (None, Some(plain)) => Ok(plain),
            (None, None) => bail!("no stream"),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const PATIENCE: Duration = Duration::from_secs(30);

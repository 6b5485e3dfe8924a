//! Log lines: JSON or text on standard error, written by a thread of their own.
//!
//! A line is formatted where it happens and handed over in a bounded queue, so that a reader of our
//! standard error that stops reading, or a full disk behind it, never holds up mail. A line for which
//! there is no room, or which cannot be written, is dropped and counted ([`lost_lines`]).
//!
//! The thread does not wake for every line: that and a system call for each would cost more than the
//! line itself. It wakes for the first, waits a moment (`GATHER`), and writes all that came by then at once.
//!
//! Lines that scripts rely on carry an `event` field: `listening`, `ready`, `message`, `first_api_key`.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::time::Duration;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{LogFormat, LogLevel};

/// Starts logging for the process. A second call changes nothing.
pub fn start(format: LogFormat, level: LogLevel) {
    let (sender, receiver) = sync_channel(QUEUE_LINES);
    let started = std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || write_lines(&receiver, io::stderr(), GATHER));
    if started.is_err() || QUEUE.set(sender).is_err() {
        return;
    }
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let lines = tracing_subscriber::fmt().with_max_level(level).with_writer(Lines);
    // An error here means that a logger is there already, which then goes on.
    let _ = match format {
        LogFormat::Json => {
            tracing::subscriber::set_global_default(lines.json().flatten_event(true).finish())
        }
        LogFormat::Text => tracing::subscriber::set_global_default(lines.with_ansi(false).finish()),
    };
}

/// Waits until the lines so far are written, at most `patience`.
pub fn flush(patience: Duration) {
    let Some(queue) = QUEUE.get() else { return };
    let (done, written) = channel();
    if queue.try_send(Job::Flush(done)).is_ok() {
        let _ = written.recv_timeout(patience);
    }
}

/// Lines that were dropped since the start: no room in the queue, or an error at writing.
pub fn lost_lines() -> u64 {
    LOST.load(Ordering::Relaxed)
}

enum Job {
    Line(Vec<u8>),
    Flush(Sender<()>),
}

fn write_lines(jobs: &Receiver<Job>, mut out: impl Write, gather: Duration) {
    let mut lines = Vec::with_capacity(WRITE_OCTETS);
    while let Ok(first) = jobs.recv() {
        if let Job::Line(_) = first {
            std::thread::sleep(gather);
        }
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::Line(line) => {
                    if lines.len() + line.len() > WRITE_OCTETS {
                        write(&mut lines, &mut out);
                    }
                    lines.extend_from_slice(&line);
                }
                Job::Flush(done) => {
                    write(&mut lines, &mut out);
                    let _ = out.flush();
                    let _ = done.send(());
                }
            }
            next = jobs.try_recv().ok();
        }
        write(&mut lines, &mut out);
    }
}

/// Writes the lines and forgets them; those that were not written to their end are counted.
fn write(lines: &mut Vec<u8>, out: &mut impl Write) {
    let mut rest = lines.as_slice();
    while !rest.is_empty() {
        match out.write(rest) {
            Ok(octets) if octets > 0 => rest = rest.get(octets..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => {
                let lost = rest.iter().filter(|octet| **octet == b'\n').count();
                LOST.fetch_add(lost as u64, Ordering::Relaxed);
                break;
            }
        }
    }
    lines.clear();
}

/// Makes one [`Line`] for each event.
struct Lines;

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(Vec::with_capacity(LINE_OCTETS))
    }
}

/// A line being written; it is queued when it is dropped.
struct Line(Vec<u8>);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let Some(queue) = QUEUE.get() else { return };
        match queue.try_send(Job::Line(std::mem::take(&mut self.0))) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                LOST.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

static QUEUE: OnceLock<SyncSender<Job>> = OnceLock::new();
static LOST: AtomicU64 = AtomicU64::new(0);

/// About four seconds of lines at 4,000 messages a second, at most 10 MB.
const QUEUE_LINES: usize = 16_384;
/// How long the thread waits for more lines. No official reference: short for a person who reads along, and
/// thirty messages at 3,000 a second.
const GATHER: Duration = Duration::from_millis(10);
/// What goes out in one write at most, but for a single line that is longer: the size of a pipe.
const WRITE_OCTETS: usize = 64 << 10;
/// What the line of one message needs.
const LINE_OCTETS: usize = 640;

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk that is full.
    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_the_next_are_tried() {
        let (sender, receiver) = sync_channel(4);
        let (done, _written) = channel();
        sender.send(Job::Line(b"one\n".to_vec())).unwrap();
        sender.send(Job::Line(b"two\n".to_vec())).unwrap();
        sender.send(Job::Flush(done)).unwrap();
        sender.send(Job::Line(b"three\n".to_vec())).unwrap();
        drop(sender);
        let before = lost_lines();
        write_lines(&receiver, Full, Duration::ZERO);
        assert_eq!(lost_lines() - before, 3);
    }

    #[test]
    fn a_flush_is_answered_after_the_lines_before_it() {
        let (sender, receiver) = sync_channel(4);
        let (done, written) = channel();
        sender.send(Job::Line(b"one\n".to_vec())).unwrap();
        sender.send(Job::Flush(done)).unwrap();
        drop(sender);
        let mut out = Vec::new();
        write_lines(&receiver, &mut out, Duration::ZERO);
        assert_eq!(out, b"one\n");
        assert!(written.try_recv().is_ok());
    }

    /// A reader that takes some octets at a time, and notes how often it was written to.
    #[derive(Default)]
    struct Pipe {
        octets: Vec<u8>,
        writes: usize,
    }

    impl Write for &mut Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.writes += 1;
            let taken = bytes.len().min(WRITE_OCTETS - 7);
            self.octets.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_wait_go_out_together_and_in_order() {
        let lines: Vec<Vec<u8>> = [10, 40_000, 30_000, 3, 200_000, 5]
            .into_iter()
            .enumerate()
            .map(|(number, size)| [vec![b'0' + number as u8; size], b"\n".to_vec()].concat())
            .collect();
        let (sender, receiver) = sync_channel(lines.len());
        for line in &lines {
            sender.send(Job::Line(line.clone())).unwrap();
        }
        drop(sender);
        let mut pipe = Pipe::default();
        write_lines(&receiver, &mut pipe, Duration::ZERO);
        assert_eq!(pipe.octets, lines.concat());
        // 40 KB, 30 KB, 200 KB in four pieces, the rest.
        assert_eq!(pipe.writes, 7);
    }
}

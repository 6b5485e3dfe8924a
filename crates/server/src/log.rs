//! Log lines: JSON or text on standard error, written by a thread of their own.
//!
//! A line is formatted where it happens and handed over in a bounded queue, so that a reader of our
//! standard error that stops reading, or a full disk behind it, never holds up mail. A line for which
//! there is no room, or which cannot be written, is dropped and counted ([`lost_lines`]).
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
        .spawn(move || write_lines(&receiver, io::stderr()));
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

fn write_lines(jobs: &Receiver<Job>, mut out: impl Write) {
    while let Ok(job) = jobs.recv() {
        match job {
            Job::Line(line) => {
                if out.write_all(&line).is_err() {
                    LOST.fetch_add(1, Ordering::Relaxed);
                }
            }
            Job::Flush(done) => {
                let _ = out.flush();
                let _ = done.send(());
            }
        }
    }
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
    fn a_line_that_cannot_be_written_is_counted_and_the_next_is_tried() {
        let (sender, receiver) = sync_channel(4);
        sender.send(Job::Line(b"one\n".to_vec())).unwrap();
        sender.send(Job::Line(b"two\n".to_vec())).unwrap();
        drop(sender);
        let before = lost_lines();
        write_lines(&receiver, Full);
        assert_eq!(lost_lines() - before, 2);
    }

    #[test]
    fn a_flush_is_answered_after_the_lines_before_it() {
        let (sender, receiver) = sync_channel(4);
        let (done, written) = channel();
        sender.send(Job::Line(b"one\n".to_vec())).unwrap();
        sender.send(Job::Flush(done)).unwrap();
        drop(sender);
        let mut out = Vec::new();
        write_lines(&receiver, &mut out);
        assert_eq!(out, b"one\n");
        assert!(written.try_recv().is_ok());
    }
}

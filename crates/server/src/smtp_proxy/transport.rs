//! A byte stream with its buffers: what came and was not used, and what has to go out.
//!
//! Plain or under TLS is the same here. Every wait has a limit, and nothing is written twice: what a
//! session appends to [`Transport::out`] goes out in one write with [`Transport::flush`].

use std::io;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, timeout, timeout_at};

/// Anything that can be read and written, such as a TCP stream or TLS over one.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A stream with its buffers, which are fields so that a session can have both at once.
pub(super) struct Transport {
    stream: Box<dyn Duplex>,
    /// What came.
    pub(super) inbox: Inbox,
    /// What has to go out.
    pub(super) out: Vec<u8>,
}

/// What came and was not used.
#[derive(Default)]
pub(super) struct Inbox {
    octets: Vec<u8>,
    used: usize,
    /// Whether the last read got as much as there was room for, so that more is likely to come.
    was_full: bool,
}

impl Inbox {
    /// What was not used.
    pub(super) fn unread(&self) -> &[u8] {
        self.octets.get(self.used..).unwrap_or_default()
    }

    /// Notes that so many octets were used.
    pub(super) fn consume(&mut self, octets: usize) {
        self.used = self.used.saturating_add(octets).min(self.octets.len());
        if self.used == self.octets.len() {
            self.used = 0;
            self.octets.clear();
        }
    }

    /// Room for the next read.
    fn space(&mut self) -> &mut Vec<u8> {
        if self.used > 0 {
            self.octets.drain(..self.used);
            self.used = 0;
        }
        if self.octets.is_empty() && self.octets.capacity() > KEPT_CAPACITY && !self.was_full {
            // A connection at rest keeps no large buffer.
            self.octets = Vec::new();
        }
        self.octets.reserve(if self.was_full { READ } else { FIRST_READ });
        &mut self.octets
    }
}

impl Transport {
    pub(super) fn new(stream: Box<dyn Duplex>) -> Self {
        Self { stream, inbox: Inbox::default(), out: Vec::new() }
    }

    /// Reads what there is, and waits for it until `deadline`. 0 is the end of the stream.
    ///
    /// Nothing is lost if the wait is given up.
    pub(super) async fn fill(&mut self, deadline: Instant) -> io::Result<usize> {
        let space = self.inbox.space();
        let len = timeout_at(deadline, self.stream.read_buf(space))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        self.inbox.was_full = len >= FIRST_READ;
        Ok(len)
    }

    /// Writes what has to go out.
    pub(super) async fn flush(&mut self, limit: Duration) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let write = async {
            self.stream.write_all(&self.out).await?;
            self.stream.flush().await
        };
        timeout(limit, write).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        self.out.clear();
        self.out.shrink_to(KEPT_CAPACITY);
        Ok(())
    }

    /// Says whether the peer has sent nothing and is still there, as far as can be seen without
    /// waiting.
    pub(super) fn is_quiet(&mut self) -> bool {
        if !self.inbox.unread().is_empty() {
            return false;
        }
        let mut space = [0; 1];
        let mut buffer = ReadBuf::new(&mut space);
        let mut context = Context::from_waker(Waker::noop());
        Pin::new(&mut self.stream).poll_read(&mut context, &mut buffer).is_pending()
    }

    /// Gives the stream back, to go on under TLS. What was buffered is dropped: nobody said it under
    /// TLS.
    pub(super) fn into_stream(self) -> Box<dyn Duplex> {
        self.stream
    }

    /// Ends the stream in order, as far as the peer takes part.
    pub(super) async fn close(mut self, limit: Duration) {
        // A peer that is gone, or does not answer, is closed all the same when this is dropped.
        let _ = timeout(limit, self.stream.shutdown()).await;
    }
}

/// One read of content. The capacity of the buffer grows to it while a message comes in.
const READ: usize = 32 * 1024;

/// The first read into an empty buffer: enough for a group of commands, little for an idle connection.
const FIRST_READ: usize = 4 * 1024;

/// The capacity that a buffer keeps while nothing is in it.
const KEPT_CAPACITY: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keeps_what_was_not_used() {
        let (mut peer, ours) = tokio::io::duplex(1024);
        let mut transport = Transport::new(Box::new(ours));
        let deadline = Instant::now() + Duration::from_secs(10);
        peer.write_all(b"one two").await.unwrap();
        assert_eq!(transport.fill(deadline).await.unwrap(), 7);
        transport.inbox.consume(4);
        peer.write_all(b" three").await.unwrap();
        transport.fill(deadline).await.unwrap();
        assert_eq!(transport.inbox.unread(), b"two three");
        transport.inbox.consume(9);
        assert_eq!(transport.inbox.unread(), b"");
        drop(peer);
        assert_eq!(transport.fill(deadline).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_loses_nothing() {
        let (mut peer, ours) = tokio::io::duplex(1024);
        let mut transport = Transport::new(Box::new(ours));
        let deadline = Instant::now() + Duration::from_secs(10);
        {
            let mut fill = std::pin::pin!(transport.fill(deadline));
            let mut context = Context::from_waker(Waker::noop());
            assert!(fill.as_mut().poll(&mut context).is_pending());
        }
        peer.write_all(b"late").await.unwrap();
        transport.fill(deadline).await.unwrap();
        assert_eq!(transport.inbox.unread(), b"late");
    }

    #[tokio::test]
    async fn sees_whether_the_peer_is_quiet() {
        let (mut peer, ours) = tokio::io::duplex(1024);
        let mut transport = Transport::new(Box::new(ours));
        assert!(transport.is_quiet());
        peer.write_all(b"421 bye\r\n").await.unwrap();
        assert!(!transport.is_quiet());

        let (peer, ours) = tokio::io::duplex(1024);
        let mut transport = Transport::new(Box::new(ours));
        drop(peer);
        assert!(!transport.is_quiet());
    }

    #[tokio::test]
    async fn waits_no_longer_than_it_should() {
        let (_peer, ours) = tokio::io::duplex(4);
        let mut transport = Transport::new(Box::new(ours));
        let error = transport.fill(Instant::now() + Duration::from_millis(20)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        transport.out.extend_from_slice(b"more than four");
        let error = transport.flush(Duration::from_millis(20)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}

//! The bytes that came in and are not used up yet.
//!
//! One buffer for each connection: nothing at rest, 16 KiB for small messages, 64 KiB once a read
//! filled that, and more only for a packet that has to be seen whole
//! ([`MAX_HELD_PACKET`](postseal_wire::milter::MAX_HELD_PACKET)).

use std::ops::Range;

/// A buffer that is filled behind and used up in front.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    unread: Range<usize>,
    /// The last read filled all there was.
    was_filled: bool,
}

impl Inbox {
    /// What is to be used next.
    pub(super) fn unread(&self) -> &[u8] {
        &self.bytes[self.unread.clone()]
    }

    /// Uses up the first octets of what is unread.
    pub(super) fn consume(&mut self, octets: usize) {
        self.unread.start = (self.unread.start + octets).min(self.unread.end);
    }

    /// Whether everything is used up.
    pub(super) fn is_empty(&self) -> bool {
        self.unread.is_empty()
    }

    /// Room for the next read, never empty.
    pub(super) fn space(&mut self) -> &mut [u8] {
        let kept = self.unread.len();
        if self.unread.start > 0 {
            self.bytes.copy_within(self.unread.clone(), 0);
            self.unread = 0..kept;
        }
        if self.bytes.len() < SMALL {
            self.bytes.resize(SMALL, 0);
        } else if self.was_filled && self.bytes.len() < LARGE {
            self.bytes.resize(LARGE, 0);
        } else if kept * 2 > self.bytes.len() {
            // A packet that is larger than the buffer. The session bounds it.
            self.bytes.resize(self.bytes.len() * 2, 0);
        }
        &mut self.bytes[kept..]
    }

    /// Takes over the first octets of [`space`](Self::space), which a read has filled.
    pub(super) fn filled(&mut self, octets: usize) {
        self.unread.end = (self.unread.end + octets).min(self.bytes.len());
        self.was_filled = self.unread.end == self.bytes.len();
    }

    /// Gives the memory back, if nothing is in it.
    pub(super) fn release(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }
}

/// Holds a message of 2 KiB with its envelope several times over.
const SMALL: usize = 16 << 10;
/// A piece of the body as MTAs send it (`MILTER_CHUNK_SIZE`).
const LARGE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(inbox: &mut Inbox, data: &[u8]) {
        inbox.space()[..data.len()].copy_from_slice(data);
        inbox.filled(data.len());
    }

    #[test]
    fn gives_back_what_was_read_in_order() {
        let mut inbox = Inbox::default();
        assert_eq!(inbox.unread(), b"");
        read(&mut inbox, b"abc");
        inbox.consume(1);
        read(&mut inbox, b"def");
        assert_eq!(inbox.unread(), b"bcdef");
        inbox.consume(5);
        assert!(inbox.is_empty());
        inbox.release();
        assert_eq!(inbox.bytes.capacity(), 0);
    }

    #[test]
    fn keeps_its_memory_while_something_is_in_it() {
        let mut inbox = Inbox::default();
        read(&mut inbox, b"abc");
        inbox.release();
        assert_eq!(inbox.unread(), b"abc");
    }

    #[test]
    fn grows_with_what_it_has_to_hold() {
        let mut inbox = Inbox::default();
        assert_eq!(inbox.space().len(), SMALL);
        inbox.filled(SMALL);
        inbox.consume(SMALL);
        assert_eq!(inbox.space().len(), LARGE, "a full read asks for more");
        inbox.filled(10);
        inbox.consume(10);
        assert_eq!(inbox.space().len(), LARGE, "and it stays");

        let mut held = 0;
        while held < 1 << 20 {
            let room = inbox.space().len();
            assert!(room > 0);
            inbox.filled(room);
            held += room;
        }
        assert_eq!(inbox.unread().len(), held);
        assert!(inbox.bytes.len() <= 4 << 20);
    }
}

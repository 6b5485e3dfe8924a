//! The bytes that came in and are not used up yet.
//!
//! A connection has a buffer only while something is in it or about to be read into it. The buffer of the connection
//! that was served last is given to the next one on that thread, so that what the kernel copies lands in the CPU's
//! cache, however many connections there are. One is larger than the others only for a packet that has to be seen
//! whole ([`MAX_HELD_PACKET`](postseal_wire::milter::MAX_HELD_PACKET)).

use std::cell::RefCell;
use std::ops::Range;

/// A buffer that is filled behind and used up in front.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    unread: Range<usize>,
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
        if self.bytes.is_empty() {
            self.bytes = SPARE.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; BUFFER_LEN]);
        } else if kept * 2 > self.bytes.len() {
            // A packet that is larger than the buffer. The session bounds it.
            self.bytes.resize(self.bytes.len() * 2, 0);
        }
        &mut self.bytes[kept..]
    }

    /// Takes over the first octets of [`space`](Self::space), which a read has filled.
    pub(super) fn filled(&mut self, octets: usize) {
        self.unread.end = (self.unread.end + octets).min(self.bytes.len());
    }

    /// Gives the buffer to whoever reads next, if nothing is in it.
    pub(super) fn release(&mut self) {
        if self.is_empty() {
            let Self { bytes, .. } = std::mem::take(self);
            if bytes.len() == BUFFER_LEN {
                SPARE.with_borrow_mut(|spare| {
                    if spare.len() < MAX_SPARE {
                        spare.push(bytes);
                    }
                });
            }
        }
    }
}

/// A piece of the body as MTAs send it (`MILTER_CHUNK_SIZE`).
const BUFFER_LEN: usize = 64 << 10;
/// How many buffers a thread keeps for the next connections. One is enough but when packets come in pieces.
const MAX_SPARE: usize = 8;

thread_local! {
    /// Buffers of this thread that nobody uses, the last used at the end.
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

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

    #[test]
    fn the_buffer_used_last_is_used_next() {
        let (mut first, mut second) = (Inbox::default(), Inbox::default());
        read(&mut first, b"abc");
        read(&mut second, b"def");
        let place = second.bytes.as_ptr();
        first.consume(3);
        first.release();
        second.consume(3);
        second.release();
        read(&mut first, b"ghi");
        assert_eq!(first.bytes.as_ptr(), place);
        assert_eq!(first.unread(), b"ghi");
    }

    #[test]
    fn few_spare_buffers_are_kept_and_none_that_grew() {
        let mut inboxes: Vec<_> = (0..=MAX_SPARE).map(|_| Inbox::default()).collect();
        let mut grown = Inbox::default();
        for _ in 0..2 {
            let room = grown.space().len();
            grown.filled(room);
        }
        grown.consume(grown.unread().len());
        grown.release();
        for inbox in &mut inboxes {
            inbox.space();
        }
        for inbox in &mut inboxes {
            inbox.release();
        }
        SPARE.with_borrow(|spare| {
            assert_eq!(spare.len(), MAX_SPARE);
            assert!(spare.iter().all(|bytes| bytes.len() == BUFFER_LEN));
        });
    }
}

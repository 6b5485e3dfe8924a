//! The bytes that came in and are not used up yet.
//!
//! A connection has a buffer only while something is in it that was not used up, or is about to be read into it. The
//! buffer of the connection that was served last goes to the next one on that thread, so that what the kernel copies
//! lands in the CPU's cache, however many connections there are. A connection that waits with a little of a packet keeps
//! that in memory of its own. A buffer is larger only for a packet that has to be seen whole
//! ([`MAX_HELD_PACKET`](postseal_wire::milter::MAX_HELD_PACKET)), and then goes to nobody.

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

    /// Uses up the first octets of what is unread. With the last one the buffer is given away.
    pub(super) fn consume(&mut self, octets: usize) {
        self.unread.start = (self.unread.start + octets).min(self.unread.end);
        if self.is_empty() {
            self.release();
        }
    }

    /// Whether everything is used up.
    pub(super) fn is_empty(&self) -> bool {
        self.unread.is_empty()
    }

    /// Room for the next read, never empty.
    pub(super) fn space(&mut self) -> &mut [u8] {
        let kept = self.unread.len();
        if self.bytes.len() < BUFFER_LEN {
            let mut bytes = spare();
            bytes[..kept].copy_from_slice(self.unread());
            self.bytes = bytes;
        } else {
            self.bytes.copy_within(self.unread.clone(), 0);
            if kept * 2 > self.bytes.len() {
                // A packet that is larger than the buffer. The session bounds it.
                self.bytes.resize(self.bytes.len() * 2, 0);
            }
        }
        self.unread = 0..kept;
        &mut self.bytes[kept..]
    }

    /// Takes over the first octets of [`space`](Self::space), which a read has filled.
    pub(super) fn filled(&mut self, octets: usize) {
        debug_assert!(self.unread.end + octets <= self.bytes.len(), "there was space for them");
        self.unread.end = (self.unread.end + octets).min(self.bytes.len());
    }

    /// Gives the buffer away if at most a little is in it, which is kept. One that did not grow goes to whoever reads next.
    pub(super) fn release(&mut self) {
        if self.bytes.len() >= BUFFER_LEN && self.unread.len() <= LITTLE {
            let kept = self.unread().to_vec();
            self.unread = 0..kept.len();
            give_back(std::mem::replace(&mut self.bytes, kept));
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.bytes));
    }
}

/// A buffer that nobody uses.
fn spare() -> Vec<u8> {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; BUFFER_LEN])
}

/// Keeps a buffer for the next [`spare`], if it is one, and if there are few.
fn give_back(bytes: Vec<u8>) {
    if bytes.len() == BUFFER_LEN {
        // A thread that ends has none any more.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < MAX_SPARE {
                spare.push(bytes);
            }
        });
    }
}

/// A piece of the body as MTAs send it (`MILTER_CHUNK_SIZE`, 65,535 octets), and a message's envelope and header.
const BUFFER_LEN: usize = (64 + 8) << 10;
/// How much of a packet a connection keeps in memory of its own. No official reference: more than most commands have.
const LITTLE: usize = 4 << 10;
/// How many buffers a thread keeps. One would do if no connection ever waited with something in its buffer.
const MAX_SPARE: usize = 8;

thread_local! {
    /// Buffers of this thread that nobody uses, the last used at the end.
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// How many buffers of this thread nobody uses.
#[cfg(test)]
pub(super) fn spare_buffers() -> usize {
    SPARE.with_borrow(Vec::len)
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
        assert_eq!(inbox.bytes.capacity(), 0);
    }

    #[test]
    fn a_little_is_kept_without_the_buffer_and_more_with_it() {
        for kept in [1, LITTLE, LITTLE + 1, BUFFER_LEN - 1] {
            let mut inbox = Inbox::default();
            let octets: Vec<_> = (0..=kept).map(|place| place as u8).collect();
            read(&mut inbox, &octets);
            inbox.consume(1);
            inbox.release();
            assert_eq!(inbox.unread(), &octets[1..]);
            assert_eq!(inbox.bytes.len(), if kept <= LITTLE { kept } else { BUFFER_LEN });
            read(&mut inbox, b"abc");
            assert_eq!(inbox.unread(), [&octets[1..], b"abc"].concat());
        }
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
        assert!(inbox.bytes.len() <= 2 << 20);
    }

    #[test]
    fn the_buffer_used_last_is_used_next() {
        let (mut first, mut second) = (Inbox::default(), Inbox::default());
        read(&mut first, b"abc");
        read(&mut second, b"def");
        let place = second.bytes.as_ptr();
        first.consume(3);
        // Also that of a connection that ends in the middle of a packet.
        drop(second);
        read(&mut first, b"gh");
        assert_eq!(first.bytes.as_ptr(), place);
        assert_eq!(first.unread(), b"gh", "nobody sees what others read");
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
        assert_eq!(spare_buffers(), 0);
        for inbox in &mut inboxes {
            inbox.space();
        }
        drop(inboxes);
        SPARE.with_borrow(|spare| {
            assert_eq!(spare.len(), MAX_SPARE);
            assert!(spare.iter().all(|bytes| bytes.len() == BUFFER_LEN));
        });
    }
}

//! Hashes the header fields that a signature covers, in the order of its `h=` (§3.7, step 2).

use aws_lc_rs::digest::{self, Context, Digest};

use crate::algorithm::Canon;
use crate::body_hash::Hash;
use crate::canon::{write_field, write_signature_field};
use crate::field::Field;
use crate::selection::FieldPicker;

/// A hash of header fields that lacks the signature's own field.
#[derive(Clone)]
pub(crate) struct HeaderHash {
    canon: Canon,
    hash: Hash,
    /// Begun when the buffer is given to it for the first time.
    context: Option<Context>,
    /// What was not given to the hash yet.
    buffer: Vec<u8>,
    /// How much was given to the hash.
    octets: u64,
    names_compared: u64,
}

impl HeaderHash {
    /// A hash of no fields yet.
    pub(crate) fn new(canon: Canon, hash: Hash) -> Self {
        Self {
            canon,
            hash,
            context: None,
            buffer: Vec::with_capacity(TYPICAL_LEN),
            octets: 0,
            names_compared: 0,
        }
    }

    /// Hashes the fields that are picked by `names`, from the bottom.
    pub(crate) fn of_fields<'n>(
        canon: Canon,
        hash: Hash,
        names: impl Iterator<Item = &'n str>,
        mut picker: FieldPicker<'_, '_, '_>,
    ) -> Self {
        let mut this = Self::new(canon, hash);
        for name in names {
            // A name for which no field is left contributes nothing (§5.4.2).
            let Some(field) = picker.pick(name.as_bytes()) else { continue };
            this.push(field);
        }
        this.names_compared = picker.names_compared();
        this
    }

    /// How many field names were compared to pick the fields.
    pub(crate) fn names_compared(&self) -> u64 {
        self.names_compared
    }

    /// How many octets it is about so far.
    pub(crate) fn octets(&self) -> u64 {
        self.octets + self.buffer.len() as u64
    }

    /// Hashes one field more.
    pub(crate) fn push(&mut self, field: Field<'_>) {
        write_field(self.canon, field, &mut self.buffer);
        if self.buffer.len() >= FLUSH_LEN {
            self.flush();
        }
    }

    /// A copy from which two hashes can go on.
    pub(crate) fn fork(&mut self) -> Self {
        self.flush();
        self.clone()
    }

    /// Gives to the hash what is still kept for it, so that waiting for the body costs little memory.
    pub(crate) fn settle(mut self) -> Self {
        self.flush();
        self.buffer = Vec::new();
        self
    }

    /// Ends with the signature's own field: `name` in front of the colon, `head` and `tail` behind it,
    /// between which the value of `b=` was cut out. Gives the digest, and the octets that it is about.
    pub(crate) fn finish(mut self, name: &[u8], head: &[u8], tail: &[u8]) -> (Digest, u64) {
        write_signature_field(self.canon, name, head, tail, &mut self.buffer);
        let octets = self.octets();
        let digest = match self.context {
            None => digest::digest(self.hash.function(), &self.buffer),
            Some(mut context) => {
                context.update(&self.buffer);
                context.finish()
            }
        };
        (digest, octets)
    }

    fn flush(&mut self) {
        let context = self.context.get_or_insert_with(|| Context::new(self.hash.function()));
        context.update(&self.buffer);
        self.octets += self.buffer.len() as u64;
        self.buffer.clear();
    }
}

/// How many octets are gathered for one call of the hash.
const FLUSH_LEN: usize = 16 * 1024;

/// Room for the canonical header of most messages.
const TYPICAL_LEN: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Header;
    use crate::selection::FieldIndex;

    /// A hash of these many fields of a thousand octets.
    fn of_long_fields(count: usize) -> HeaderHash {
        let raw = format!("X:{}\r\n", "x".repeat(996)).repeat(count);
        let header = Header::parse(raw.as_bytes()).unwrap();
        let index = FieldIndex::new(&header);
        let names = std::iter::repeat_n("x", count);
        HeaderHash::of_fields(Canon::Simple, Hash::Sha256, names, index.picker())
    }

    #[test]
    fn long_headers_are_hashed_piece_by_piece() {
        let short = of_long_fields(2);
        assert_eq!((short.buffer.len(), short.context.is_some()), (2_000, false));
        // It goes to the hash when it is full, and what came since is kept.
        let long = of_long_fields(100);
        assert_eq!((long.buffer.len(), long.context.is_some()), (100_000 % 17_000, true));
        let settled = long.settle();
        assert_eq!(settled.buffer.capacity(), 0);
        for hash in [of_long_fields(100), settled, of_long_fields(100).settle()] {
            let digest = hash.finish(b"A", b"b", b"c");
            let text = format!("X:{}\r\n", "x".repeat(996)).repeat(100) + "A:bc";
            assert_eq!(
                digest.0.as_ref(),
                digest::digest(&digest::SHA256, text.as_bytes()).as_ref()
            );
        }
    }
}

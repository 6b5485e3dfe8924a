//! Hashes the header fields that signatures cover, in the order of their `h=` (§3.7, step 2).
//!
//! Signatures that cover the same fields in the same way share the canonical form: a message of two
//! signatures by one signer has one `h=`. What they do not share is the last field, their own.

use aws_lc_rs::digest::{self, Context, Digest};

use crate::algorithm::Canon;
use crate::body_hash::Hash;
use crate::canon::{write_field, write_signature_field};
use crate::field::{Field, Header};
use crate::selection::{FieldIndex, FieldPicker};

/// The header hashes of one message that signatures asked for.
pub(crate) struct HeaderHashes<'h, 'a> {
    index: FieldIndex<'h, 'a>,
    /// One for each kind that was asked for. There are as few as a message has signatures.
    kinds: Vec<Kind<'h>>,
    names_compared: u64,
    octets: u64,
}

/// All signatures that cover the same fields in the same way.
struct Kind<'h> {
    /// In the order of `h=`.
    names: Vec<&'h str>,
    /// The place of the signature itself, if its name is among those.
    own_place: Option<usize>,
    header: HeaderHash,
}

impl<'h, 'a> HeaderHashes<'h, 'a> {
    pub(crate) fn new(header: &'h Header<'a>) -> Self {
        let index = FieldIndex::new(header);
        let names_compared = index.names_compared();
        Self { index, kinds: Vec::new(), names_compared, octets: 0 }
    }

    /// Asks for the hash of the fields that `names` pick from the header, from the bottom. A signature that
    /// is in the header already has its place there, and is not among those that its `h=` names (§3.5).
    pub(crate) fn request(
        &mut self,
        canon: Canon,
        hash: Hash,
        names: Vec<&'h str>,
        own_place: Option<usize>,
    ) -> HeaderHashId {
        let own_place = own_place.filter(|place| {
            let own = self.index.name_at(*place);
            names.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(own))
        });
        let is_same = |kind: &Kind<'_>| {
            kind.header.canon == canon
                && kind.header.hash == hash
                && kind.own_place == own_place
                && kind.names.len() == names.len()
                && kind.names.iter().zip(&names).all(|(one, two)| one.eq_ignore_ascii_case(two))
        };
        let known = self.kinds.iter().position(is_same);
        HeaderHashId(known.unwrap_or_else(|| {
            let mut picker = self.index.picker_beside(own_place);
            let header = HeaderHash::of_fields(canon, hash, &names, &mut picker);
            self.names_compared += picker.names_compared();
            self.octets += header.octets();
            self.kinds.push(Kind { names, own_place, header });
            self.kinds.len() - 1
        }))
    }

    /// The digest of that kind with a signature's own field, and the octets that it is about.
    pub(crate) fn digest(
        &mut self,
        id: HeaderHashId,
        name: &[u8],
        head: &[u8],
        tail: &[u8],
    ) -> (Digest, u64) {
        let kind = self.kinds.get_mut(id.0).expect("an id comes from the request before it");
        let (digest, octets) = kind.header.digest(name, head, tail);
        self.octets += octets - kind.header.octets();
        (digest, octets)
    }

    /// How many field names were compared to pick the fields.
    pub(crate) fn names_compared(&self) -> u64 {
        self.names_compared
    }

    /// How many octets were made canonical.
    pub(crate) fn octets(&self) -> u64 {
        self.octets
    }

    /// Lets go of the header. What is left waits for the body.
    pub(crate) fn settle(self) -> SettledHashes {
        let settled = |mut kind: Kind<'_>| {
            // A long field of a signature that was checked has made room for itself.
            kind.header.buffer.shrink_to(MAX_KEPT);
            kind.header
        };
        SettledHashes(self.kinds.into_iter().map(settled).collect())
    }
}

/// Header hashes without the header.
pub(crate) struct SettledHashes(Vec<HeaderHash>);

impl SettledHashes {
    /// The digest of that kind with a signature's own field.
    pub(crate) fn digest(
        &mut self,
        id: HeaderHashId,
        name: &[u8],
        head: &[u8],
        tail: &[u8],
    ) -> Digest {
        let header = self.0.get_mut(id.0).expect("an id comes from the request before it");
        header.digest(name, head, tail).0
    }
}

/// Names a header hash that was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct HeaderHashId(usize);

/// A hash of header fields that lacks the signature's own field.
pub(crate) struct HeaderHash {
    canon: Canon,
    hash: Hash,
    /// Begun when the buffer is given to it for the first time.
    context: Option<Context>,
    /// What was not given to the hash yet.
    buffer: Vec<u8>,
    /// How many octets were given to the hash.
    hashed: u64,
}

impl HeaderHash {
    /// A hash of no fields yet.
    pub(crate) fn new(canon: Canon, hash: Hash) -> Self {
        let buffer = Vec::with_capacity(TYPICAL_LEN);
        Self { canon, hash, context: None, buffer, hashed: 0 }
    }

    fn of_fields(
        canon: Canon,
        hash: Hash,
        names: &[&str],
        picker: &mut FieldPicker<'_, '_, '_>,
    ) -> Self {
        let mut this = Self::new(canon, hash);
        for name in names {
            // A name for which no field is left contributes nothing (§5.4.2).
            let Some(field) = picker.pick(name.as_bytes()) else { continue };
            this.push(field);
        }
        // A long field has made the buffer large, which would be kept while the body is awaited.
        if this.buffer.capacity() > MAX_KEPT {
            this.flush();
            this.buffer = Vec::new();
        }
        this
    }

    /// Hashes one field more.
    pub(crate) fn push(&mut self, field: Field<'_>) {
        write_field(self.canon, field, &mut self.buffer);
        if self.buffer.len() >= FLUSH_LEN {
            self.flush();
        }
    }

    /// How many octets it is about so far.
    pub(crate) fn octets(&self) -> u64 {
        self.hashed + self.buffer.len() as u64
    }

    /// The digest with a signature's own field: `name` in front of the colon, `head` and `tail` behind it,
    /// between which the value of `b=` was cut out. Gives the octets too that it is about. The hash
    /// itself can go on.
    pub(crate) fn digest(&mut self, name: &[u8], head: &[u8], tail: &[u8]) -> (Digest, u64) {
        // The canonical form is never longer than these and the colon.
        let len = name.len() + 1 + head.len() + tail.len();
        if self.buffer.capacity() - self.buffer.len() < len {
            self.flush();
        }
        let kept = self.buffer.len();
        write_signature_field(self.canon, name, head, tail, &mut self.buffer);
        let octets = self.octets();
        let digest = match &self.context {
            None => digest::digest(self.hash.function(), &self.buffer),
            Some(context) => {
                let mut context = context.clone();
                context.update(&self.buffer);
                context.finish()
            }
        };
        self.buffer.truncate(kept);
        (digest, octets)
    }

    fn flush(&mut self) {
        let context = self.context.get_or_insert_with(|| Context::new(self.hash.function()));
        context.update(&self.buffer);
        self.hashed += self.buffer.len() as u64;
        self.buffer.clear();
    }
}

/// From how many octets on what was gathered goes to the hash.
const FLUSH_LEN: usize = 768;

/// The longest buffer that is kept between two signatures, and until the body has come.
const MAX_KEPT: usize = 8 * TYPICAL_LEN;

/// Room for what is gathered, or for most signatures' own field. Allocators keep memory at hand up to this size.
const TYPICAL_LEN: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[u8] = b"From: a@example.com\r\nTo: b@example.net\r\nTo: c@example.net\r\n\
        Subject: two  spaces\r\n";

    /// The digest as §3.7 has it, from the words of the canonical fields.
    fn want(canonical: &str) -> Digest {
        digest::digest(&digest::SHA256, canonical.as_bytes())
    }

    #[test]
    fn the_same_fields_are_made_canonical_once() {
        let header = Header::parse(HEADER).unwrap();
        let mut hashes = HeaderHashes::new(&header);
        let mut request = |canon, names: &[&'static str]| {
            let id = hashes.request(canon, Hash::Sha256, names.to_vec(), None);
            (id, hashes.kinds.len())
        };
        let (first, kinds) = request(Canon::Relaxed, &["From", "To", "Subject"]);
        assert_eq!(kinds, 1);
        assert_eq!(request(Canon::Relaxed, &["From", "To", "Subject"]), (first, 1));
        // A name means the same fields in any case.
        assert_eq!(request(Canon::Relaxed, &["from", "TO", "subject"]), (first, 1));
        for (names, want) in
            [(&["From", "Subject", "To"][..], 2), (&["From", "To"], 3), (&["From", "To", "To"], 4)]
        {
            let (id, kinds) = request(Canon::Relaxed, names);
            assert!(kinds == want && id != first, "{names:?}");
        }
        assert_eq!(request(Canon::Simple, &["From", "To", "Subject"]).1, 5);
        assert_eq!(
            hashes.request(Canon::Relaxed, Hash::Sha1, vec!["From", "To", "Subject"], None).0,
            5
        );
    }

    #[test]
    fn signatures_share_no_fields_with_one_that_is_named_itself() {
        let raw = [b"DKIM-Signature: 1\r\nDKIM-Signature: 2\r\n", HEADER].concat();
        let header = Header::parse(&raw).unwrap();
        let mut hashes = HeaderHashes::new(&header);
        let mut request = |names: &[&'static str], own_place| {
            hashes.request(Canon::Relaxed, Hash::Sha256, names.to_vec(), own_place).0
        };
        // Where h= does not name them, it does not matter which of them has it.
        assert_eq!([0, 1].map(|place| request(&["From"], Some(place))), [0, 0]);
        assert_eq!(request(&["From"], None), 0);
        let named = &["From", "dkim-signature"];
        assert_eq!([0, 1, 0].map(|place| request(named, Some(place))), [1, 2, 1]);
        for (id, want) in [(1, "2"), (2, "1")] {
            let (got, _) = hashes.digest(HeaderHashId(id), b"X", b"", b"");
            let canonical = format!("from:a@example.com\r\ndkim-signature:{want}\r\nx:");
            assert_eq!(got.as_ref(), self::want(&canonical).as_ref());
        }
    }

    #[test]
    fn signatures_that_share_a_header_have_their_own_digests() {
        let header = Header::parse(HEADER).unwrap();
        let mut hashes = HeaderHashes::new(&header);
        let id = hashes.request(Canon::Relaxed, Hash::Sha256, vec!["Subject", "To"], None);
        let start = "subject:two spaces\r\nto:c@example.net\r\n";
        for own in ["a=1; b=", "a=2; b=", "a=1; b="] {
            let name = b"DKIM-Signature";
            let (got, octets) = hashes.digest(id, name, own.as_bytes(), b"; t=1");
            let want = want(&format!("{start}dkim-signature:{own}; t=1"));
            assert_eq!(got.as_ref(), want.as_ref(), "{own}");
            assert_eq!(octets, (start.len() + "dkim-signature:; t=1".len() + own.len()) as u64);
        }
        // The fields that are shared count once, and each own field.
        let own = 3 * "dkim-signature:a=1; b=; t=1".len();
        assert_eq!(hashes.octets(), (start.len() + own) as u64);
        let got = hashes.settle().digest(id, b"DKIM-Signature", b" b=", b"");
        assert_eq!(got.as_ref(), want(&format!("{start}dkim-signature:b=")).as_ref());
    }

    #[test]
    fn long_headers_are_hashed_piece_by_piece() {
        let raw = format!("X:{}\r\n", "x".repeat(296)).repeat(20);
        let header = Header::parse(raw.as_bytes()).unwrap();
        let mut running = HeaderHash::new(Canon::Simple, Hash::Sha256);
        for (field, count) in header.fields().zip(1..) {
            running.push(field);
            // It goes to the hash when there is enough of it, and what came since is kept.
            assert_eq!(running.buffer.len(), count * 300 % 900, "{count}");
            let (digest, octets) = running.digest(b"A", b"b", b"c");
            let text = [&raw.as_bytes()[..count * 300], b"A:bc"].concat();
            assert_eq!(digest.as_ref(), digest::digest(&digest::SHA256, &text).as_ref(), "{count}");
            assert_eq!(octets, text.len() as u64);
        }
    }

    #[test]
    fn what_is_gathered_goes_to_the_hash_first_if_the_own_field_needs_the_room() {
        let raw = format!("X:{}\r\n", "x".repeat(596));
        let header = Header::parse(raw.as_bytes()).unwrap();
        let room = TYPICAL_LEN - 600;
        for (own, hashed) in [(room - 1, 0), (room, 0), (room + 1, 600)] {
            let mut running = HeaderHash::new(Canon::Simple, Hash::Sha256);
            running.push(header.fields().next().unwrap());
            let (head, tail) = (vec![b'b'; own - 5], b"cc");
            let (digest, octets) = running.digest(b"AA", &head, tail);
            let text = [raw.as_bytes(), b"AA:", &head, tail].concat();
            assert_eq!(digest.as_ref(), digest::digest(&digest::SHA256, &text).as_ref());
            assert_eq!((running.hashed, running.octets(), octets), (hashed, 600, 600 + own as u64));
            assert_eq!(running.buffer.capacity(), TYPICAL_LEN, "{own}");
        }
    }

    #[test]
    fn every_name_that_is_compared_counts() {
        let header = Header::parse(HEADER).unwrap();
        let mut hashes = HeaderHashes::new(&header);
        // The search goes up from the bottom; what is not there is looked for in all four fields. The counts go on.
        for (names, compared) in [(&["Subject"][..], 1), (&["To", "To", "To"], 1 + 9), (&["X"], 14)]
        {
            hashes.request(Canon::Relaxed, Hash::Sha256, names.to_vec(), None);
            assert_eq!(hashes.names_compared(), compared, "{names:?}");
        }
    }

    #[test]
    fn the_room_for_a_long_field_is_not_kept_until_the_body_comes() {
        for len in [MAX_KEPT / 2, MAX_KEPT, 3 * MAX_KEPT] {
            let raw = format!("To: {}\r\nFrom: a@example.com\r\n", "x".repeat(len));
            let header = Header::parse(raw.as_bytes()).unwrap();
            let mut hashes = HeaderHashes::new(&header);
            for names in [&["To"][..], &["From", "To"], &["To", "From"]] {
                hashes.request(Canon::Relaxed, Hash::Sha256, names.to_vec(), None);
            }
            for kind in &hashes.kinds {
                assert!(kind.header.buffer.capacity() <= MAX_KEPT, "{len}: {:?}", kind.names);
            }
        }
    }

    #[test]
    fn long_headers_are_shared_too_and_take_no_memory() {
        let field = format!("To: {}\r\n", "x".repeat(900));
        for fields in [1, 3, 9, 17, 18, 19, 40] {
            let raw = field.repeat(fields) + "From: a@example.com\r\n";
            let header = Header::parse(raw.as_bytes()).unwrap();
            let mut hashes = HeaderHashes::new(&header);
            let names = vec!["To"; fields];
            let id = hashes.request(Canon::Relaxed, Hash::Sha256, names.clone(), None);
            assert_eq!(hashes.request(Canon::Relaxed, Hash::Sha256, names, None), id);
            hashes.digest(id, b"DKIM-Signature", &b"z=x; ".repeat(20_000), b"");
            let mut settled = hashes.settle();
            for _ in 0..2 {
                let got = settled.digest(id, b"X", b"b=", b"");
                let canonical = field.replace("To: ", "to:").repeat(fields) + "x:b=";
                assert_eq!(got.as_ref(), want(&canonical).as_ref(), "{fields}");
            }
            assert!(settled.0.iter().all(|it| it.buffer.capacity() <= MAX_KEPT), "{fields}");
        }
    }
}

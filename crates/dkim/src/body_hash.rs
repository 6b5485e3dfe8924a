//! Hashes one body for several signatures in one pass (§3.7, step 1).
//!
//! Signatures with the same canonicalization share its work, and those with the same hash function share
//! the hash as well. `l=` counts octets of the canonical body (§3.4.5), so a length is applied behind the
//! canonicalization: where one ends, a copy of the hash is finished and the hash goes on. So a body is
//! hashed four times at most, however many signatures there are.
//!
//! Long slices go to the hash from where they are. Short ones, such as the line ends between two chunks, are gathered
//! first, because a call of the hash function that does not end at one of its blocks costs more than a short copy.

use aws_lc_rs::digest::{self, Context, Digest};

use crate::algorithm::Canon;
use crate::canon::CanonicalBody;
use crate::signature::SignatureAlgorithm;

/// A hash function of DKIM.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Hash {
    Sha1,
    Sha256,
}

impl Hash {
    pub(crate) fn of(algorithm: SignatureAlgorithm) -> Self {
        match algorithm {
            SignatureAlgorithm::RsaSha1 => Self::Sha1,
            SignatureAlgorithm::RsaSha256 | SignatureAlgorithm::Ed25519Sha256 => Self::Sha256,
        }
    }

    pub(crate) fn function(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
        }
    }
}

/// The hashes of one body that signatures asked for.
#[derive(Default)]
pub(crate) struct BodyHashes {
    simple: Option<Lane>,
    relaxed: Option<Lane>,
    /// How many octets of the body went by.
    octets: u64,
}

impl BodyHashes {
    /// Asks for a hash before the body begins. `length` is that of `l=`.
    pub(crate) fn request(&mut self, canon: Canon, hash: Hash, length: Option<u64>) -> BodyHashId {
        let lane = match canon {
            Canon::Simple => &mut self.simple,
            Canon::Relaxed => &mut self.relaxed,
        };
        let lane = lane.get_or_insert_with(|| Lane::new(canon));
        let hasher = match hash {
            Hash::Sha1 => &mut lane.output.sha1,
            Hash::Sha256 => &mut lane.output.sha256,
        };
        let hasher = hasher.get_or_insert_with(|| Hasher::new(hash));
        BodyHashId { canon, hash, cut: hasher.want(length) }
    }

    /// Takes the next chunk of the body.
    pub(crate) fn update(&mut self, chunk: &[u8]) {
        self.octets += chunk.len() as u64;
        for Lane { body, output } in [&mut self.simple, &mut self.relaxed].into_iter().flatten() {
            body.update(chunk, &mut |slice| output.take(slice));
        }
    }

    /// Ends the body.
    pub(crate) fn finish(self) -> BodyDigests {
        let lanes = [&self.simple, &self.relaxed].into_iter().flatten().count();
        BodyDigests {
            octets_read: self.octets * lanes as u64,
            simple: self.simple.map(Lane::finish),
            relaxed: self.relaxed.map(Lane::finish),
        }
    }
}

/// Names a hash that was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyHashId {
    canon: Canon,
    hash: Hash,
    /// Its place among the lengths of `l=`; none for the whole body.
    cut: Option<usize>,
}

/// The hashes of a body that went by.
pub(crate) struct BodyDigests {
    simple: Option<LaneDigests>,
    relaxed: Option<LaneDigests>,
    octets_read: u64,
}

impl BodyDigests {
    /// The hash of that name.
    pub(crate) fn get(&self, id: BodyHashId) -> BodyDigest {
        let lane = match id.canon {
            Canon::Simple => &self.simple,
            Canon::Relaxed => &self.relaxed,
        };
        let digest = lane.as_ref().and_then(|lane| lane.get(id.hash, id.cut));
        digest.expect("an id comes from the request in the same pass")
    }

    /// How many octets were made canonical, those of each canonicalization counted.
    pub(crate) fn octets_read(&self) -> u64 {
        self.octets_read
    }

    /// How many octets were hashed, those of each hash counted.
    pub(crate) fn octets_hashed(&self) -> u64 {
        let lanes = [&self.simple, &self.relaxed].into_iter().flatten();
        lanes.flat_map(|lane| [&lane.sha1, &lane.sha256]).flatten().map(|hash| hash.octets).sum()
    }
}

/// One hash of a body.
pub(crate) struct BodyDigest {
    pub(crate) digest: Digest,
    /// The length of the whole canonical body, hashed or not.
    pub(crate) canonical_len: u64,
    /// How much of it the digest is about.
    pub(crate) hashed_len: u64,
}

/// All for one canonicalization.
struct Lane {
    body: CanonicalBody,
    output: Output,
}

impl Lane {
    fn new(canon: Canon) -> Self {
        let output = Output { sha1: None, sha256: None, gathered: Vec::new(), len: 0 };
        Self { body: CanonicalBody::new(canon), output }
    }

    fn finish(self) -> LaneDigests {
        let Self { body, mut output } = self;
        body.finish(&mut |slice| output.take_last(slice));
        output.flush();
        let Output { sha1, sha256, len: canonical_len, .. } = output;
        LaneDigests {
            canonical_len,
            sha1: sha1.map(Hasher::finish),
            sha256: sha256.map(Hasher::finish),
        }
    }
}

/// The hashes of a body in one canonicalization.
struct LaneDigests {
    canonical_len: u64,
    sha1: Option<HashDigests>,
    sha256: Option<HashDigests>,
}

impl LaneDigests {
    fn get(&self, hash: Hash, cut: Option<usize>) -> Option<BodyDigest> {
        let canonical_len = self.canonical_len;
        let hash = match hash {
            Hash::Sha1 => self.sha1.as_ref()?,
            Hash::Sha256 => self.sha256.as_ref()?,
        };
        let Some(cut) = cut else {
            let digest = hash.at_end;
            return Some(BodyDigest { digest, canonical_len, hashed_len: canonical_len });
        };
        let cut = hash.cuts.get(cut)?;
        // One that was not reached is the end of the body.
        let digest = cut.digest.unwrap_or(hash.at_end);
        Some(BodyDigest { digest, canonical_len, hashed_len: cut.length.min(canonical_len) })
    }
}

/// The digests of one hash function.
struct HashDigests {
    /// Where it ended: at the end of the body, unless nobody asked for what is behind the last cut.
    at_end: Digest,
    cuts: Vec<Cut>,
    octets: u64,
}

/// Where the slices of a canonical body go.
struct Output {
    sha1: Option<Hasher>,
    sha256: Option<Hasher>,
    gathered: Vec<u8>,
    len: u64,
}

impl Output {
    fn take(&mut self, slice: &[u8]) {
        self.len += slice.len() as u64;
        let is_short = slice.len() < LONG_ENOUGH;
        if !is_short || self.gathered.len() + slice.len() > GATHERED_LEN {
            self.flush();
        }
        if is_short {
            self.gathered.reserve_exact(GATHERED_LEN - self.gathered.len());
            self.gathered.extend_from_slice(slice);
        } else {
            self.hash(slice);
        }
    }

    /// Takes what the end of the body lets go, mostly a line end, for which no buffer is made.
    fn take_last(&mut self, slice: &[u8]) {
        if self.gathered.is_empty() {
            self.len += slice.len() as u64;
            self.hash(slice);
        } else {
            self.take(slice);
        }
    }

    fn flush(&mut self) {
        if !self.gathered.is_empty() {
            for hasher in [&mut self.sha1, &mut self.sha256].into_iter().flatten() {
                hasher.update(&self.gathered);
            }
            self.gathered.clear();
        }
    }

    fn hash(&mut self, slice: &[u8]) {
        for hasher in [&mut self.sha1, &mut self.sha256].into_iter().flatten() {
            hasher.update(slice);
        }
    }
}

/// A length of `l=` at which a digest is wanted.
struct Cut {
    length: u64,
    /// There from when the length is reached.
    digest: Option<Digest>,
}

struct Hasher {
    context: Context,
    /// How many octets were hashed.
    octets: u64,
    /// Whether the digest of the whole body is wanted.
    is_whole: bool,
    /// Each length once.
    cuts: Vec<Cut>,
}

impl Hasher {
    fn new(hash: Hash) -> Self {
        let context = Context::new(hash.function());
        Self { context, octets: 0, is_whole: false, cuts: Vec::new() }
    }

    /// Asks for the digest at a length, or for that of the whole body. Gives the place among the cuts.
    fn want(&mut self, length: Option<u64>) -> Option<usize> {
        let Some(length) = length else {
            self.is_whole = true;
            return None;
        };
        let known = self.cuts.iter().position(|cut| cut.length == length);
        Some(known.unwrap_or_else(|| {
            self.cuts.push(Cut { length, digest: None });
            self.cuts.len() - 1
        }))
    }

    #[inline]
    fn update(&mut self, slice: &[u8]) {
        if self.cuts.is_empty() {
            self.context.update(slice);
            self.octets += slice.len() as u64;
        } else {
            self.update_to_cuts(slice);
        }
    }

    /// Hashes up to each cut that lies in the slice, and no more than is wanted.
    fn update_to_cuts(&mut self, slice: &[u8]) {
        let mut rest = slice;
        loop {
            let open = self.cuts.iter_mut().filter(|cut| cut.digest.is_none());
            let next = open.min_by_key(|cut| cut.length);
            if next.is_none() && !self.is_whole {
                return;
            }
            let left = next.as_ref().map_or(u64::MAX, |cut| cut.length - self.octets);
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
            let (head, tail) = rest.split_at(count);
            self.context.update(head);
            self.octets += head.len() as u64;
            match next.filter(|cut| cut.length == self.octets) {
                Some(cut) => cut.digest = Some(self.context.clone().finish()),
                None => return,
            }
            rest = tail;
        }
    }

    fn finish(self) -> HashDigests {
        HashDigests { at_end: self.context.finish(), cuts: self.cuts, octets: self.octets }
    }
}

/// From this length on a slice is hashed from where it is.
const LONG_ENOUGH: usize = 256;

/// How many octets of short slices are gathered for one call.
const GATHERED_LEN: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::encode_base64;

    fn hash(canon: Canon, hash: Hash, length: Option<u64>, body: &[u8]) -> (String, u64) {
        let mut hashes = BodyHashes::default();
        hashes.request(Canon::Simple, Hash::Sha1, None);
        let id = hashes.request(canon, hash, length);
        hashes.update(body);
        let digests = hashes.finish();
        let digest = digests.get(id);
        (encode_base64(digest.digest.as_ref()), digest.canonical_len)
    }

    fn canonical(canon: Canon, body: &[u8]) -> Vec<u8> {
        let mut canonical = Vec::new();
        let mut sink = |slice: &[u8]| canonical.extend_from_slice(slice);
        let mut whole = CanonicalBody::new(canon);
        whole.update(body, &mut sink);
        whole.finish(&mut sink);
        canonical
    }

    #[test]
    fn empty_bodies_have_the_hashes_of_the_rfc() {
        // §3.4.3, §3.4.4
        for (canon, function, want) in [
            (Canon::Simple, Hash::Sha1, "uoq1oCgLlTqpdDX/iUbLy7J1Wic="),
            (Canon::Simple, Hash::Sha256, "frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY="),
            (Canon::Relaxed, Hash::Sha1, "2jmj7l5rSw0yVb/vlWAYkK/YBwk="),
            (Canon::Relaxed, Hash::Sha256, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="),
        ] {
            assert_eq!(hash(canon, function, None, b"").0, want);
        }
    }

    #[test]
    fn a_length_counts_octets_of_the_canonical_body() {
        let whole = hash(Canon::Relaxed, Hash::Sha256, None, b"a b\r\n");
        for (length, body) in [(5, &b"a \t b \r\n\r\nmore"[..]), (5, b"a b\r\nmore"), (9, b"a  b")]
        {
            let (digest, _) = hash(Canon::Relaxed, Hash::Sha256, Some(length), body);
            assert_eq!(digest, whole.0, "{length} {}", body.escape_ascii());
        }
        assert_eq!(hash(Canon::Simple, Hash::Sha256, Some(0), b"a").1, 3);
        assert_eq!(
            hash(Canon::Simple, Hash::Sha256, Some(0), b"a").0,
            hash(Canon::Relaxed, Hash::Sha256, None, b"").0
        );
    }

    #[test]
    fn ends_of_every_order_share_a_hash() {
        // White space in every line, so that slices are gathered, and a long one that is not.
        let body = [&b"01 \t23 \t \r\n".repeat(1_500)[..], &b"0123456789".repeat(700)].concat();
        for canon in [Canon::Simple, Canon::Relaxed] {
            let canonical = canonical(canon, &body);
            let len = canonical.len() as u64;
            for lengths in [
                vec![Some(2_047), Some(2_048), Some(2_049), Some(256)],
                vec![Some(5), Some(12_000), None, Some(0), Some(511), Some(512), Some(513)],
                vec![None, Some(len), Some(len - 1), Some(len + 1), Some(u64::MAX)],
                vec![Some(len - 7_001), Some(len - 7_002), Some(1)],
            ] {
                for chunk_len in [7, 777, body.len()] {
                    let mut hashes = BodyHashes::default();
                    let ids: Vec<_> = lengths
                        .iter()
                        .flat_map(|length| [Hash::Sha1, Hash::Sha256].map(|hash| (hash, *length)))
                        .map(|(hash, length)| (hash, length, hashes.request(canon, hash, length)))
                        .collect();
                    for chunk in body.chunks(chunk_len) {
                        hashes.update(chunk);
                    }
                    let digests = hashes.finish();
                    for (hash, length, id) in ids {
                        let covered = length.map_or(len, |length| length.min(len));
                        let covered_octets = &canonical[..usize::try_from(covered).unwrap()];
                        let want = digest::digest(hash.function(), covered_octets);
                        let got = digests.get(id);
                        assert_eq!(
                            got.digest.as_ref(),
                            want.as_ref(),
                            "{canon:?} {hash:?} {length:?} by {chunk_len}"
                        );
                        assert_eq!((got.hashed_len, got.canonical_len), (covered, len));
                    }
                    // No more than one pass for each hash function, and no further than the last end.
                    let last =
                        lengths.iter().map(|length| length.unwrap_or(u64::MAX)).max().unwrap();
                    assert_eq!(digests.octets_hashed(), 2 * last.min(len));
                }
            }
        }
    }

    #[test]
    fn what_is_gathered_is_bounded() {
        let mut hashes = BodyHashes::default();
        hashes.request(Canon::Relaxed, Hash::Sha256, None);
        for _ in 0..10_000 {
            hashes.update(b"a  b\tc \r\n");
            assert!(hashes.relaxed.as_ref().unwrap().output.gathered.capacity() <= GATHERED_LEN);
        }
        assert_eq!(hashes.relaxed.as_ref().unwrap().output.gathered.capacity(), GATHERED_LEN);
    }

    #[test]
    fn short_slices_are_gathered_and_long_ones_are_not() {
        let mut hashes = BodyHashes::default();
        hashes.request(Canon::Simple, Hash::Sha256, None);
        let output = &mut hashes.simple.as_mut().unwrap().output;
        // (the length of the next slice, how many octets are gathered then)
        for (len, want) in [(255, 255), (255, 510), (2, 512), (1, 1), (256, 0), (3, 3), (700, 0)] {
            output.take(&vec![b'x'; len]);
            assert_eq!(output.gathered.len(), want, "after {len}");
        }
    }

    #[test]
    fn gathering_changes_nothing() {
        let line = b"a  b\tc \r\n".repeat(3_000);
        let long = b"word ".repeat(5_000);
        let body = [&line[..], &long, b"\t", &long, b"\t", &line, b"x"].concat();
        let canonical = canonical(Canon::Relaxed, &body);
        let want = encode_base64(digest::digest(&digest::SHA256, &canonical).as_ref());
        let (digest, len) = hash(Canon::Relaxed, Hash::Sha256, None, &body);
        assert_eq!((digest, len), (want, canonical.len() as u64));
    }
}

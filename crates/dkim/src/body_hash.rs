//! Hashes one body for several signatures in one pass (§3.7, step 1).
//!
//! Signatures with the same canonicalization share its work, and those with the same hash and length
//! share the hash as well. `l=` counts octets of the canonical body (§3.4.5), so a length is applied
//! behind the canonicalization.
//!
//! Long slices go to the hash straight from the chunk. Short ones, which only irregular white space
//! makes, are gathered first, because a call of the hash function that does not end at one of its
//! blocks costs more than a short copy.

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
    lanes: Vec<Lane>,
    /// How many octets of the body went by.
    octets: u64,
}

impl BodyHashes {
    /// Asks for a hash before the body begins. `length` is that of `l=`.
    pub(crate) fn request(&mut self, canon: Canon, hash: Hash, length: Option<u64>) -> BodyHashId {
        let lane = self.lanes.iter().position(|lane| lane.canon == canon).unwrap_or_else(|| {
            self.lanes.push(Lane::new(canon));
            self.lanes.len() - 1
        });
        let hasher = self.lanes.get_mut(lane).map_or(0, |lane| lane.hasher(hash, length));
        BodyHashId { lane, hasher }
    }

    /// How many different hashes were asked for.
    pub(crate) fn count(&self) -> usize {
        self.lanes.iter().map(|lane| lane.output.hashers.len()).sum()
    }

    /// Takes the next chunk of the body.
    pub(crate) fn update(&mut self, chunk: &[u8]) {
        self.octets += chunk.len() as u64;
        for lane in &mut self.lanes {
            let Lane { body, output, .. } = lane;
            body.update(chunk, &mut |slice| output.take(slice));
        }
    }

    /// Ends the body.
    pub(crate) fn finish(self) -> BodyDigests {
        let octets_read = self.octets * self.lanes.len() as u64;
        BodyDigests { lanes: self.lanes.into_iter().map(Lane::finish).collect(), octets_read }
    }
}

/// Names a hash that was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyHashId {
    lane: usize,
    hasher: usize,
}

/// The hashes of a body that went by.
pub(crate) struct BodyDigests {
    lanes: Vec<Vec<BodyDigest>>,
    octets_read: u64,
}

impl BodyDigests {
    /// The hash of that name.
    pub(crate) fn get(&self, id: BodyHashId) -> &BodyDigest {
        let digest = self.lanes.get(id.lane).and_then(|lane| lane.get(id.hasher));
        digest.expect("an id comes from the request in the same pass")
    }

    /// How many octets were made canonical, those of each canonicalization counted.
    pub(crate) fn octets_read(&self) -> u64 {
        self.octets_read
    }

    /// How many octets were hashed, those of each hash counted.
    pub(crate) fn octets_hashed(&self) -> u64 {
        self.lanes.iter().flatten().map(|digest| digest.hashed_len).sum()
    }
}

/// One hash of a body.
pub(crate) struct BodyDigest {
    pub(crate) digest: Digest,
    /// The length of the whole canonical body, hashed or not.
    pub(crate) canonical_len: u64,
    /// How much of it was hashed.
    pub(crate) hashed_len: u64,
}

/// All for one canonicalization.
struct Lane {
    canon: Canon,
    body: CanonicalBody,
    output: Output,
}

impl Lane {
    fn new(canon: Canon) -> Self {
        let output = Output { hashers: Vec::new(), gathered: Vec::new(), len: 0 };
        Self { canon, body: CanonicalBody::new(canon), output }
    }

    fn hasher(&mut self, hash: Hash, length: Option<u64>) -> usize {
        let hashers = &mut self.output.hashers;
        hashers.iter().position(|h| h.hash == hash && h.length == length).unwrap_or_else(|| {
            hashers.push(Hasher {
                hash,
                length,
                left: length,
                context: Context::new(hash.function()),
            });
            hashers.len() - 1
        })
    }

    fn finish(self) -> Vec<BodyDigest> {
        let Self { body, mut output, .. } = self;
        body.finish(&mut |slice| output.take(slice));
        output.flush();
        let canonical_len = output.len;
        let digest = |hasher: Hasher| BodyDigest {
            hashed_len: hasher.length.map_or(canonical_len, |length| length.min(canonical_len)),
            digest: hasher.context.finish(),
            canonical_len,
        };
        output.hashers.into_iter().map(digest).collect()
    }
}

/// Where the slices of a canonical body go.
struct Output {
    hashers: Vec<Hasher>,
    gathered: Vec<u8>,
    len: u64,
}

impl Output {
    #[inline]
    fn take(&mut self, slice: &[u8]) {
        self.len += slice.len() as u64;
        if slice.len() >= LONG_SLICE {
            self.flush();
            for hasher in &mut self.hashers {
                hasher.update(slice);
            }
            return;
        }
        // Reserves once, at the first short slice of a body.
        if self.gathered.capacity() == 0 {
            self.gathered.reserve_exact(GATHERED_LEN);
        }
        // A full buffer is a whole number of the hash's blocks, which spares it a buffer of its own.
        let room = GATHERED_LEN - self.gathered.len();
        if slice.len() >= room {
            let (head, tail) = slice.split_at(room);
            self.gathered.extend_from_slice(head);
            self.flush();
            self.gathered.extend_from_slice(tail);
        } else {
            self.gathered.extend_from_slice(slice);
        }
    }

    fn flush(&mut self) {
        if !self.gathered.is_empty() {
            for hasher in &mut self.hashers {
                hasher.update(&self.gathered);
            }
            self.gathered.clear();
        }
    }
}

struct Hasher {
    hash: Hash,
    length: Option<u64>,
    /// What of the length has not gone by yet.
    left: Option<u64>,
    context: Context,
}

impl Hasher {
    fn update(&mut self, slice: &[u8]) {
        let Some(left) = &mut self.left else {
            self.context.update(slice);
            return;
        };
        let count = usize::try_from(*left).unwrap_or(usize::MAX).min(slice.len());
        self.context.update(slice.get(..count).unwrap_or(slice));
        *left -= count as u64;
    }
}

/// From this length on a slice is hashed from where it is.
const LONG_SLICE: usize = 2048;

/// How many octets of short slices are gathered for one call.
const GATHERED_LEN: usize = 8192;

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
    fn signatures_with_different_lengths_do_not_share_a_hash() {
        let mut hashes = BodyHashes::default();
        let mut request = |length| hashes.request(Canon::Simple, Hash::Sha256, length);
        let ids = [None, Some(1), None, Some(2), Some(1)].map(&mut request);
        assert_eq!(hashes.lanes[0].output.hashers.len(), 3);
        hashes.update(b"ab\r\n");
        let digests = hashes.finish();
        for (id, hashed) in ids.iter().zip([&b"ab\r\n"[..], b"a", b"ab\r\n", b"ab", b"a"]) {
            let want = digest::digest(&digest::SHA256, hashed);
            assert_eq!(
                digests.get(*id).digest.as_ref(),
                want.as_ref(),
                "{}",
                hashed.escape_ascii()
            );
        }
    }

    #[test]
    fn what_is_gathered_is_bounded() {
        let mut hashes = BodyHashes::default();
        hashes.request(Canon::Relaxed, Hash::Sha256, None);
        for _ in 0..10_000 {
            hashes.update(b"a  b\tc \r\n");
            assert_eq!(hashes.lanes[0].output.gathered.capacity(), GATHERED_LEN);
        }
    }

    #[test]
    fn gathering_changes_nothing() {
        let line = b"a  b\tc \r\n".repeat(3_000);
        let long = b"word ".repeat(5_000);
        let body = [&line[..], &long, b"\t", &long, b"\t", &line, b"x"].concat();
        let mut canonical = Vec::new();
        let mut sink = |slice: &[u8]| canonical.extend_from_slice(slice);
        let mut relaxed = CanonicalBody::new(Canon::Relaxed);
        relaxed.update(&body, &mut sink);
        relaxed.finish(&mut sink);

        let want = encode_base64(digest::digest(&digest::SHA256, &canonical).as_ref());
        let (digest, len) = hash(Canon::Relaxed, Hash::Sha256, None, &body);
        assert_eq!((digest, len), (want, canonical.len() as u64));
    }
}

//! What the parts of a signature cost: `cargo bench -p postseal-dkim`.
//!
//! The messages are those of `make bench-dkim`, which compares whole signatures with other libraries.

use std::hint::black_box;

use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use divan::Bencher;
use divan::counter::BytesCount;
use postseal_dkim::canon::{CanonicalBody, write_field};
use postseal_dkim::{
    Algorithm, Canon, Canonicalization, DomainName, FieldSelection, Header, KeyAnswer,
    MessageSigning, Selector, SignRequest, UnixTime, Unsigned, Verifier, VerifyRules,
    key_record_text,
};

#[path = "../../server/src/cli/bench/sample_mail.rs"]
mod sample_mail;

fn main() {
    divan::main();
}

/// A whole signature, the RSA operation among it.
#[divan::bench(args = NAMES)]
fn sign(bencher: Bencher<'_, '_>, name: &str) {
    let (key, message) = (Key::new(), message(name));
    bencher.bench_local(|| key.sign(unsigned(black_box(&message), 1)));
}

/// A whole verification, with the key record read beforehand.
#[divan::bench(args = NAMES)]
fn verify(bencher: Bencher<'_, '_>, name: &str) {
    let (key, message) = (Key::new(), message(name));
    let signed = [key.sign(unsigned(&message, 1)), message].concat();
    bencher.bench_local(|| assert!(key.verifies(black_box(&signed))));
}

/// All but the RSA operation, for one signature, two and three: one pass over the body, whatever their
/// number.
#[divan::bench(args = NAMES, consts = [1, 2, 3])]
fn digests_of_signatures<const N: usize>(bencher: Bencher<'_, '_>, name: &str) {
    let message = message(name);
    bencher
        .counter(BytesCount::new(message.len()))
        .bench_local(|| unsigned(black_box(&message), N));
}

/// The canonical body alone, not hashed.
#[divan::bench(args = NAMES, consts = [true, false])]
fn canonical_body<const RELAXED: bool>(bencher: Bencher<'_, '_>, name: &str) {
    let message = message(name);
    let (_, body) = Header::of_message(&message).expect("a message");
    let canon = if RELAXED { Canon::Relaxed } else { Canon::Simple };
    bencher.counter(BytesCount::new(body.len())).bench_local(|| {
        let mut len = 0;
        let mut sink = |slice: &[u8]| len += black_box(slice).len();
        let mut canonical = CanonicalBody::new(canon);
        canonical.update(black_box(body), &mut sink);
        canonical.finish(&mut sink);
        len
    });
}

/// The canonical header fields alone, not hashed.
#[divan::bench]
fn canonical_header(bencher: Bencher<'_, '_>) {
    let message = message(NAMES[0]);
    let (header, _) = Header::of_message(&message).expect("a message");
    let mut out = Vec::with_capacity(message.len());
    bencher.bench_local(|| {
        out.clear();
        for field in black_box(&header).fields() {
            write_field(Canon::Relaxed, field, &mut out);
        }
        out.len()
    });
}

/// From the header to its hash: which fields are signed, their canonical form, the digest.
#[divan::bench]
fn header_hash(bencher: Bencher<'_, '_>) {
    let message = message(NAMES[0]);
    let (header, _) = Header::of_message(&message).expect("a message");
    bencher.bench_local(|| {
        let signing = MessageSigning::start(requests(1), black_box(&header)).expect("a signature");
        signing.finish()
    });
}

/// From the message to its fields.
#[divan::bench]
fn header_fields(bencher: Bencher<'_, '_>) {
    let message = message(NAMES[0]);
    bencher.bench_local(|| Header::of_message(black_box(&message)).map(|(header, _)| header.len()));
}

/// A key pair of RSA-2048.
struct Key {
    pair: KeyPair,
    answer: KeyAnswer,
}

impl Key {
    fn new() -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).expect("a key");
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().expect("a public key");
        let record = key_record_text(Algorithm::RsaSha256, public.as_ref());
        let answer = KeyAnswer::from_texts([record]);
        Self { pair, answer }
    }

    /// Gives the whole field.
    fn sign(&self, mut unsigned: Vec<Unsigned>) -> Vec<u8> {
        let unsigned = unsigned.pop().expect("a signature");
        let digest = Digest::import_less_safe(unsigned.digest(), &SHA256).expect("a digest");
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair.sign_digest(&RSA_PKCS1_SHA256, &digest, &mut signature).expect("the key signs");
        unsigned.complete(&signature).raw().to_vec()
    }

    fn verifies(&self, message: &[u8]) -> bool {
        let (header, body) = Header::of_message(message).expect("a message");
        let (mut verifier, queries) = Verifier::start(&header, &VerifyRules::default(), NOW);
        for query in queries {
            verifier.answer(query.id, self.answer.clone());
        }
        verifier.body(body);
        verifier.finish().has_pass()
    }
}

/// All that goes before the private key, for so many signatures.
fn unsigned(message: &[u8], signatures: usize) -> Vec<Unsigned> {
    let (header, body) = Header::of_message(message).expect("a message");
    let mut signing = MessageSigning::start(requests(signatures), &header).expect("signatures");
    signing.body(body);
    signing.finish()
}

fn requests(count: usize) -> Vec<SignRequest> {
    let request = SignRequest {
        signing_domain: DomainName::parse(sample_mail::SENDING_DOMAIN).expect("a domain"),
        selector: Selector::parse("bench").expect("a selector"),
        algorithm: Algorithm::RsaSha256,
        canonicalization: Canonicalization::RELAXED,
        signed_at: NOW,
        expires_at: Some(NOW.plus_secs(7 * 86_400)),
        identity: None,
        fields: FieldSelection::default(),
    };
    vec![request; count]
}

/// The sample of that name.
fn message(name: &str) -> Vec<u8> {
    let sample = sample_mail::samples().into_iter().find(|sample| sample.name == name);
    sample.expect("a sample").octets
}

/// The samples.
const NAMES: [&str; 3] = ["2 KB", "50 KB", "1 MB"];

const NOW: UnixTime = UnixTime(1_785_585_600);

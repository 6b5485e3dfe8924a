//! What signing and verifying cost, by counts: how often memory is asked for, and for how much of it. Counts say the
//! same on every machine, and show what a time would only hint at: that no line costs an allocation, that the body
//! is never copied as a whole, and that a second signature costs no second pass.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use allocation_counter::{AllocationInfo, measure};
use postseal_dkim::{
    Algorithm, Canon, Canonicalization, DomainName, FieldName, FieldSelection, Header, KeyAnswer,
    MessageSigning, Selector, SignRequest, UnixTime, Unsigned, Verifier, VerifyRules,
};

const NOW: UnixTime = UnixTime(1_785_585_600);

/// `example.com`, selector `s1`: the same key as in RFC 6376 Appendix C, which fits no signature here.
const RECORD: &str = "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYt\
    IxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhi\
    tdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB";

fn request(domain: &str, canonicalization: Canonicalization) -> SignRequest {
    SignRequest {
        signing_domain: DomainName::parse(domain).unwrap(),
        selector: Selector::parse("s1").unwrap(),
        algorithm: Algorithm::RsaSha256,
        canonicalization,
        signed_at: NOW,
        expires_at: Some(NOW.plus_secs(604_800)),
        identity: None,
        fields: FieldSelection::default(),
    }
}

fn relaxed(domains: &[&str]) -> Vec<SignRequest> {
    domains.iter().map(|domain| request(domain, Canonicalization::RELAXED)).collect()
}

/// A message with a body of so many of these lines.
fn message(line: &[u8], lines: usize) -> Vec<u8> {
    let header = b"From: A <a@example.com>\r\nTo: b@example.net\r\nSubject: two  spaces\r\n\
        Date: Sat, 01 Aug 2026 12:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n\r\n";
    [&header[..], &line.repeat(lines)].concat()
}

/// Signs up to the digests, and counts.
fn sign(
    message: &[u8],
    requests: Vec<SignRequest>,
    chunk: usize,
) -> (AllocationInfo, Vec<Unsigned>) {
    let (header, body) = Header::of_message(message).unwrap();
    let mut unsigned = Vec::new();
    let info = measure(|| {
        let mut signing = MessageSigning::start(requests, &header).unwrap();
        for chunk in body.chunks(chunk) {
            signing.body(chunk);
        }
        unsigned = signing.finish();
    });
    (info, unsigned)
}

/// Verifies, and counts. Each signature has the right body hash and a `b=` that is none.
fn verify(message: &[u8], requests: Vec<SignRequest>) -> AllocationInfo {
    let mut signed = Vec::new();
    for unsigned in sign(message, requests, usize::MAX).1 {
        signed.extend_from_slice(unsigned.complete(&[1; 128]).raw());
    }
    signed.extend_from_slice(message);
    let answer = KeyAnswer::from_texts([RECORD]);
    let (header, body) = Header::of_message(&signed).unwrap();
    measure(|| {
        let (mut verifier, queries) = Verifier::start(&header, &VerifyRules::default(), NOW);
        for query in queries {
            verifier.answer(query.id, answer.clone());
        }
        verifier.body(body);
        assert!(!verifier.finish().has_pass());
    })
}

/// Lines of text, of nothing but irregular white space, of one octet, and none at all.
const LINES: [&[u8]; 5] =
    [b"Some words of text in a line.\r\n", b"  two \t  words   \r\n", b"x\r\n", b"\r\n", b" \t "];

#[test]
fn no_line_of_a_body_costs_an_allocation() {
    for line in LINES {
        for canonicalization in [Canonicalization::RELAXED, Canonicalization::SIMPLE] {
            let requests = || vec![request("example.com", canonicalization)];
            let (few, _) = sign(&message(line, 2_000), requests(), usize::MAX);
            let (many, _) = sign(&message(line, 200_000), requests(), usize::MAX);
            assert_eq!(
                few.count_total,
                many.count_total,
                "{canonicalization} {}",
                line.escape_ascii()
            );

            let few = verify(&message(line, 2_000), requests());
            let many = verify(&message(line, 200_000), requests());
            assert_eq!(
                few.count_total,
                many.count_total,
                "{canonicalization} {}",
                line.escape_ascii()
            );
        }
    }
}

#[test]
fn no_body_is_held() {
    for line in LINES {
        let message = message(line, 200_000);
        let (info, _) = sign(&message, relaxed(&["example.com"]), usize::MAX);
        assert!(info.bytes_total < MEMORY, "{} octets for {}", info.bytes_total, message.len());
        let info = verify(&message, relaxed(&["example.com"]));
        assert!(info.bytes_total < MEMORY, "{} octets for {}", info.bytes_total, message.len());
    }
}

#[test]
fn chunks_of_any_size_cost_no_memory() {
    let message = message(LINES[1], 5_000);
    let (whole, want) = sign(&message, relaxed(&["example.com"]), usize::MAX);
    for chunk in [1, 7, 1_000, 65_535] {
        let (info, unsigned) = sign(&message, relaxed(&["example.com"]), chunk);
        assert_eq!(info.count_total, whole.count_total, "by {chunk}");
        assert_eq!(unsigned[0].digest(), want[0].digest(), "by {chunk}");
    }
}

#[test]
fn a_second_and_a_third_signature_cost_the_same_whatever_the_body() {
    let domains = ["example.com", "example.net", "example.org"];
    let of = |lines: usize, count: usize| {
        let message = message(LINES[1], lines);
        sign(&message, relaxed(&domains[..count]), usize::MAX).0.count_total
    };
    // A pass of its own would need a hash and a buffer of its own.
    let (none, one, two, three) = (of(0, 0), of(5_000, 1), of(5_000, 2), of(5_000, 3));
    assert!(two - one < one - none, "{none} {one} {two} {three}");
    assert!(three - two <= two - one + 1, "{none} {one} {two} {three}");

    // Another canonicalization of the body is another pass: short pieces of it go through a small buffer,
    // which simple has no need of.
    let message = message(LINES[1], 5_000);
    let simple = Canonicalization { header: Canon::Relaxed, body: Canon::Simple };
    let with = |other| {
        let requests = vec![request(domains[0], simple), request(domains[1], other)];
        sign(&message, requests, usize::MAX).0.bytes_total
    };
    let (same, other) = (with(simple), with(Canonicalization::RELAXED));
    assert!(same + 512 <= other && other <= same + 1_024, "{same} {other}");
}

#[test]
fn signatures_of_the_same_fields_share_the_canonical_header() {
    // A field that is long enough to be seen in the memory that its canonical form takes.
    let field = format!("List-X: {}\r\n", "word ".repeat(5_000));
    let message = [b"From: a@example.com\r\n", field.as_bytes(), b"\r\nbody\r\n"].concat();
    let domains = ["example.com", "example.net", "example.org"];
    let one = sign(&message, relaxed(&domains[..1]), usize::MAX).0.bytes_total;
    let three = sign(&message, relaxed(&domains), usize::MAX).0.bytes_total;
    // Two more signatures with their lists of names, and no more buffers for a field of 25 KB.
    assert!(three - one < 16 << 10, "{one} {three}");

    let mut requests = relaxed(&domains[..1]);
    let other = vec![FieldName::FROM, FieldName::parse("List-X").unwrap()];
    requests.push(SignRequest {
        fields: FieldSelection::exactly(other).unwrap(),
        ..request(domains[1], Canonicalization::RELAXED)
    });
    let other = sign(&message, requests, usize::MAX).0.bytes_total;
    assert!(other - one > 16 << 10, "another h= needs another: {one} {other}");
}

/// More than a signature or a verification needs, and less than any body here.
const MEMORY: u64 = 64 << 10;

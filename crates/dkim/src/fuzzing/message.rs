//! The laws of whole messages: canonical forms, verifying, signing.

use std::sync::LazyLock;

use aws_lc_rs::digest::{Digest, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

use super::slow;
use crate::algorithm::{Algorithm, Canon, Canonicalization};
use crate::body_hash::{BodyHashes, Hash};
use crate::canon::{CanonicalBody, write_field, write_signature_field};
use crate::field::{Field, FieldName, Header};
use crate::key_query::{KeyAnswer, MAX_KEY_RECORDS};
use crate::key_record::{KeyRecord, KeyRecordError, key_record_text};
use crate::name::{DomainName, Selector};
use crate::outcome::Outcome;
use crate::report::Report;
use crate::selection::FieldSelection;
use crate::sign::{MessageSigning, SignError, SignRequest};
use crate::signature::{Identity, Signature};
use crate::tag_list::TagList;
use crate::time::UnixTime;
use crate::verify::{MAX_SIGNATURES, Verifier, VerifyRules};

/// Both canonical bodies, and their hashes up to a length, are what a slow reading of the whole gives,
/// however the body is cut; and a canonical body is its own canonical form.
pub(super) fn body_canonicalization(input: &[u8]) {
    let Some((&[cuts, length], body)) = input.split_first_chunk() else { return };
    let length = u64::from(length);
    let mut hashes = BodyHashes::default();
    let mut wanted = Vec::new();
    for (canon, slow) in
        [(Canon::Simple, slow::simple_body as fn(&[u8]) -> _), (Canon::Relaxed, slow::relaxed_body)]
    {
        let want = slow(body);
        assert_eq!(canonical(canon, body, cuts), want, "{canon}");
        assert_eq!(canonical(canon, &want, cuts.wrapping_add(1)), want, "{canon}, again");
        for (hash, length) in [(Hash::Sha256, None), (Hash::Sha1, Some(length))] {
            wanted.push((hashes.request(canon, hash, length), hash, length, want.clone()));
        }
    }
    in_chunks(body, cuts, |chunk| hashes.update(chunk));
    let digests = hashes.finish();
    for (id, hash, length, canonical) in wanted {
        let found = digests.get(id);
        assert_eq!(found.canonical_len, canonical.len() as u64);
        assert_eq!(found.digest.as_ref(), hashed(hash, &canonical, length).as_ref());
    }
}

/// The canonical forms of a field are what a slow reading gives, and so is that of a signature whose value
/// of `b=` was cut out.
pub(super) fn header_canonicalization(input: &[u8]) {
    let Ok((header, _)) = Header::of_message(input) else { return };
    for field in header.fields() {
        let written = |canon| {
            let mut out = b" ".to_vec();
            write_field(canon, field, &mut out);
            out.split_off(1)
        };
        assert_eq!(written(Canon::Simple), [field.unended(), b"\r\n"].concat());
        let (name, value) = slow::name_and_value(field.raw());
        let relaxed = [slow::relaxed_field(name, value), b"\r\n".to_vec()].concat();
        assert_eq!(written(Canon::Relaxed), relaxed, "{field:?}");
        if let Ok(Some(again)) = Header::parse(&relaxed).map(|header| header.fields().next())
            && again.is_named(
                &FieldName::parse(&String::from_utf8_lossy(name)).unwrap_or(FieldName::FROM),
            )
        {
            let mut out = Vec::new();
            write_field(Canon::Relaxed, again, &mut out);
            assert_eq!(out, relaxed, "relaxed again");
        }

        // As in a signature: what is cut out begins behind an equals sign, and ends anywhere.
        let Some(equals) = value.iter().position(|octet| *octet == b'=') else { continue };
        let (head, rest) = value.split_at(equals + 1);
        let end = rest.iter().position(|octet| *octet == b';').unwrap_or(rest.len());
        let (_, tail) = rest.split_at(end);
        for canon in [Canon::Simple, Canon::Relaxed] {
            let mut out = Vec::new();
            write_signature_field(canon, field.raw_name(), head, tail, &mut out);
            assert_eq!(out, own_field(canon, field, head, tail), "{field:?}");
        }
    }
}

/// Any message with any key records ends in a report: one outcome for each signature, the same however the
/// body is cut and whenever the answers come, and right by a slow reading of what is hashed.
///
/// The records stand in front, each on a line, up to the first NUL.
pub(super) fn verify(input: &[u8]) {
    let Some((&[cuts], input)) = input.split_first_chunk() else { return };
    let mut parts = input.splitn(2, |octet| *octet == 0);
    let (Some(records), Some(message)) = (parts.next(), parts.next()) else { return };
    let records: Vec<_> = records.split(|octet| *octet == b'\n').collect();
    let Ok((header, body)) = Header::of_message(message) else { return };

    let rules = VerifyRules::default();
    let (mut verifier, queries) = Verifier::start(&header, &rules, NOW);
    assert!(queries.len() <= MAX_SIGNATURES, "no more queries than signatures are checked");
    for query in &queries {
        let same = queries.iter().filter(|other| other.name == query.name);
        assert_eq!(same.count(), 1, "each name is asked for once");
        verifier.answer(query.id, KeyAnswer::from_texts(&records));
    }
    in_chunks(body, cuts, |chunk| verifier.body(chunk));
    let report = verifier.finish();

    let (mut other, queries) = Verifier::start(&header, &rules, NOW);
    other.body(body);
    for query in queries.iter().rev() {
        other.answer(query.id, KeyAnswer::Timeout);
        other.answer(query.id, KeyAnswer::from_texts(&records));
    }
    assert_eq!(other.finish(), report, "chunks and order change nothing");
    let unanswered = Verifier::start(&header, &rules, NOW).0.finish();
    assert!(!unanswered.has_pass(), "nothing passes without a key");

    let places =
        header.fields().enumerate().filter(|(_, f)| f.is_named(&FieldName::DKIM_SIGNATURE));
    let places: Vec<_> = places.map(|(place, _)| place).collect();
    let reported: Vec<_> = report.signatures.iter().map(|signature| signature.field).collect();
    assert_eq!(reported, places, "one outcome for each, from the top");
    let outcomes = || report.signatures.iter().map(|signature| signature.outcome);
    let unchecked = outcomes().filter(|outcome| *outcome == Outcome::NotChecked).count();
    assert_eq!(unchecked, places.len().saturating_sub(MAX_SIGNATURES));

    let keys: Vec<_> =
        records.iter().map(|text| KeyRecord::parse(text)).take(MAX_KEY_RECORDS).collect();
    for (place, outcome) in places.iter().zip(outcomes()) {
        let field = header.fields().nth(*place).expect("a place in the header");
        assert_is_right(outcome, field, &header, body, &keys);
    }
}

/// What can be signed verifies; and with a bit of it flipped it verifies only if a slow reading finds the
/// same octets to hash and the same signature.
pub(super) fn sign_then_verify(input: &[u8]) {
    let Some((&[settings, cuts, bit, high, low], message)) = input.split_first_chunk() else {
        return;
    };
    let Ok((header, body)) = Header::of_message(message) else { return };
    let request = request(settings);
    let mut signing = match MessageSigning::start(vec![request], &header) {
        Ok(signing) => signing,
        Err(error) => return assert_is_unsignable(error, &header),
    };
    in_chunks(body, cuts, |chunk| signing.body(chunk));
    let unsigned = signing.finish().pop().expect("one signature was asked for");
    let signature = KEY.sign(unsigned.digest());
    let field = unsigned.complete(signature.as_ref());
    assert_eq!(Header::parse(field.raw()).map(|header| header.len()), Ok(1));
    assert!(TagList::parse(field.value()).is_ok());

    let signed = [field.raw(), message].concat();
    // A header at its bound has no room for the signature.
    let Some((report, original)) = judged(&signed, cuts.wrapping_mul(7)) else { return };
    let outcomes: Vec<_> = report.signatures.iter().map(|signature| signature.outcome).collect();
    if outcomes.len() <= MAX_SIGNATURES {
        assert!(outcomes.first().is_some_and(Outcome::is_pass), "{outcomes:?}");
    }

    let mut flipped = signed;
    let place = usize::from(u16::from_be_bytes([high, low])) % flipped.len();
    let octet = flipped.get_mut(place).expect("a place in the message");
    *octet ^= 1 << (bit % 8);
    let Some((report, changed)) = judged(&flipped, cuts) else { return };
    let Some(first) = report.signatures.first().filter(|first| first.field == 0) else { return };
    if report.signatures.len() <= MAX_SIGNATURES {
        let same = changed.is_some() && changed == original;
        assert_eq!(first.outcome.is_pass(), same, "{:?}, octet {place}", first.outcome);
    }
}

/// A request that takes its settings from the bits of an octet.
fn request(settings: u8) -> SignRequest {
    let is_set = |bit: u8| settings >> bit & 1 == 1;
    let canon = |bit| if is_set(bit) { Canon::Relaxed } else { Canon::Simple };
    let name = |text| DomainName::parse(text).expect("a domain name");
    let fields = if is_set(2) {
        let names = ["From", "from", "X", "Subject", "subject"];
        FieldSelection::exactly(names.map(FieldName::literal).to_vec()).expect("it has From")
    } else {
        FieldSelection::default()
    };
    SignRequest {
        signing_domain: name("example.com"),
        selector: Selector::parse("s1").expect("a selector"),
        algorithm: Algorithm::Ed25519Sha256,
        canonicalization: Canonicalization { header: canon(0), body: canon(1) },
        signed_at: NOW,
        expires_at: is_set(3).then(|| NOW.plus_secs(1)),
        identity: is_set(4)
            .then(|| Identity::new("a;b=@\u{e4} c", name("sub.example.com")).expect("an identity")),
        fields,
    }
}

/// The report on a message, and what a slow reading finds of its uppermost signature: the octets of header
/// and body that are hashed, and the signature itself.
type Judged = (Report, Option<(Vec<u8>, Vec<u8>, Vec<u8>)>);

fn judged(message: &[u8], cuts: u8) -> Option<Judged> {
    let (header, body) = Header::of_message(message).ok()?;
    let (mut verifier, queries) = Verifier::start(&header, &VerifyRules::default(), NOW);
    let record = key_record_text(Algorithm::Ed25519Sha256, KEY.public_key().as_ref());
    for query in queries {
        // Another name has no key.
        if query.name.as_str() == "s1._domainkey.example.com" {
            verifier.answer(query.id, KeyAnswer::from_texts([&record]));
        }
    }
    in_chunks(body, cuts, |chunk| verifier.body(chunk));
    let field = header.fields().next().filter(|f| f.is_named(&FieldName::DKIM_SIGNATURE));
    let read = field.and_then(|field| {
        let signature = Signature::parse(field.value()).ok()?;
        let fields = hashed_header(field, &signature, &header);
        let body = hashed_body(&signature, body);
        Some((fields, body, signature.into_parts().0.signature))
    });
    Some((verifier.finish(), read))
}

fn assert_is_unsignable(error: SignError, header: &Header<'_>) {
    let from = header.count(&FieldName::FROM);
    let first = header.fields().next().and_then(|field| field.raw().first().copied());
    let is_right = match error {
        SignError::NoFrom => from == 0,
        SignError::SeveralFrom => from > 1,
        SignError::BeginsFolded => matches!(first, Some(b' ' | b'\t')),
        // A name may stand in h= twice as often as in the header, or a little more often.
        SignError::TooManyFields => {
            header.fields().map(|field| field.name().len() + 1).sum::<usize>() > 1_900
        }
        SignError::SignsItself
        | SignError::SingleLabel
        | SignError::BadKeyName(_)
        | SignError::IdentityOutsideDomain
        | SignError::ExpiresBeforeSigning
        | SignError::BadTime => false,
    };
    assert!(is_right, "{error}");
}

/// Compares an outcome with what a slow reading of header and body says.
fn assert_is_right(
    outcome: Outcome,
    field: Field<'_>,
    header: &Header<'_>,
    body: &[u8],
    keys: &[Result<KeyRecord, KeyRecordError>],
) {
    let signature = match (Signature::parse(field.value()), outcome) {
        (Err(error), outcome) => {
            let is_told = outcome == Outcome::Malformed(error) || outcome == Outcome::NotChecked;
            return assert!(is_told, "{outcome:?}, {error:?}");
        }
        (Ok(_), Outcome::NotChecked) => return,
        (Ok(signature), _) => signature,
    };
    let is_expired = signature.expires_at().is_some_and(|expires_at| expires_at < NOW);
    assert_eq!(outcome == Outcome::Expired, is_expired);
    if is_expired {
        return;
    }
    let hash = Hash::of(signature.algorithm());
    let has_body =
        hashed(hash, &hashed_body(&signature, body), None).as_ref() == signature.body_hash();
    let fields = hashed(hash, &hashed_header(field, &signature, header), None);
    let is_by = |record: &KeyRecord| {
        record.public_key().verifies(signature.algorithm(), &fields, signature.signature())
    };
    let has_key = keys.iter().flatten().any(is_by);
    match outcome {
        Outcome::Verified(_) | Outcome::Sha1 | Outcome::ShortKey { .. } => {
            assert!(has_body && has_key, "{outcome:?}");
        }
        Outcome::LengthBeyondBody => assert!(has_body && has_key, "{outcome:?}"),
        Outcome::BodyHashMismatch | Outcome::BodyCut => assert!(!has_body, "{outcome:?}"),
        Outcome::SignatureMismatch => assert!(has_body, "{outcome:?}"),
        Outcome::BadKeyRecord(error) => assert!(keys.iter().any(|key| key == &Err(error))),
        Outcome::KeyTypeMismatch
        | Outcome::HashNotAllowed
        | Outcome::NotForEmail
        | Outcome::IdentityNotExact => assert!(keys.iter().any(Result::is_ok), "{outcome:?}"),
        Outcome::Malformed(_)
        | Outcome::Expired
        | Outcome::NotChecked
        | Outcome::NoKey
        | Outcome::NotAnswered
        | Outcome::KeyTimeout
        | Outcome::KeyServerFailure => panic!("{outcome:?} of a signature that was judged"),
    }
}

/// The octets of the canonical body that a signature covers.
fn hashed_body(signature: &Signature<'_>, body: &[u8]) -> Vec<u8> {
    let mut canonical = match signature.canonicalization().body {
        Canon::Simple => slow::simple_body(body),
        Canon::Relaxed => slow::relaxed_body(body),
    };
    if let Some(Ok(length)) = signature.body_length().map(usize::try_from) {
        canonical.truncate(length);
    }
    canonical
}

/// The octets of the header that a signature covers: for each name of `h=` the lowest field that is left
/// (§5.4.2), then the signature's own field without the value of `b=` (§3.7).
fn hashed_header(own: Field<'_>, signature: &Signature<'_>, header: &Header<'_>) -> Vec<u8> {
    let canon = signature.canonicalization().header;
    // Its own field is not among those that `h=` names (§3.5).
    let is_another = |raw: &&[u8]| !std::ptr::eq(raw.as_ptr(), own.raw().as_ptr());
    let mut left: Vec<_> = header.fields().map(|field| field.raw()).filter(is_another).collect();
    let mut octets = Vec::new();
    for wanted in signature.signed_fields() {
        let is_named =
            |raw: &&[u8]| slow::name_and_value(raw).0.eq_ignore_ascii_case(wanted.as_bytes());
        if let Some(place) = left.iter().rposition(is_named) {
            let raw = left.remove(place);
            let (name, value) = slow::name_and_value(raw);
            match canon {
                Canon::Simple => octets.extend(raw.strip_suffix(b"\r\n").unwrap_or(raw)),
                Canon::Relaxed => octets.extend(slow::relaxed_field(name, value)),
            }
            octets.extend(b"\r\n");
        }
    }
    let (head, tail) = signature.around_signature();
    octets.extend(own_field(canon, own, head, tail));
    octets
}

/// A signature's own field without the value of `b=`, and without a CRLF at its end.
fn own_field(canon: Canon, field: Field<'_>, head: &[u8], tail: &[u8]) -> Vec<u8> {
    let value = [head, tail].concat();
    match canon {
        Canon::Simple => [field.raw_name(), b":", &value].concat(),
        Canon::Relaxed => slow::relaxed_field(field.name(), &value),
    }
}

fn hashed(hash: Hash, octets: &[u8], length: Option<u64>) -> Digest {
    let length = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(octets.len());
    digest(hash.function(), octets.get(..length).unwrap_or(octets))
}

fn canonical(canon: Canon, body: &[u8], cuts: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let mut sink = |slice: &[u8]| out.extend_from_slice(slice);
    let mut canonical = CanonicalBody::new(canon);
    in_chunks(body, cuts, |chunk| canonical.update(chunk, &mut sink));
    canonical.finish(&mut sink);
    out
}

/// Cuts a body into chunks of all lengths up to a bound, some of them empty; 0 leaves it whole. `cuts` up to 127 is the
/// bound in octets; above, it stands for 16 to 2,048 octets, since long chunks take another way.
fn in_chunks(body: &[u8], cuts: u8, mut each: impl FnMut(&[u8])) {
    if cuts == 0 {
        return each(body);
    }
    let longest = match usize::from(cuts) {
        few @ ..128 => few,
        many => (many - 127) * 16,
    };
    let mut state = usize::from(cuts);
    let mut rest = body;
    while !rest.is_empty() {
        state = state * 75 % 65_537;
        let (chunk, after) = rest.split_at((state % (longest + 1)).min(rest.len()));
        each(chunk);
        rest = after;
    }
}

/// When everything happens: before the signatures of the test vectors expire.
pub(super) const NOW: UnixTime = UnixTime(1_800_000_000);

/// The same in every run.
pub(super) static KEY: LazyLock<Ed25519KeyPair> = LazyLock::new(|| {
    Ed25519KeyPair::from_seed_unchecked(&[0x42; 32]).expect("a seed is 32 octets")
});

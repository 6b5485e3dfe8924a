//! Laws for fuzzers: each takes any bytes and panics if a law is broken.

use std::sync::LazyLock;

use hickory_proto::op::Message;
use postseal_dkim::{DomainName, KeyRecord};

use crate::message::{
    Data, Extension, HEADER_LEN, Kind, LetterCase, Question, Received, Recursion, Reply,
    SentQuestion, UDP_PAYLOAD,
};
use crate::record_text::{RecordFault, WantedRecord};
use crate::respond::{Transport, respond, truncated};
use crate::zone::{MAX_TEXT_LEN, ServedZones, ZoneApex, ZoneNameServer};

/// The name of a fuzz target, and its law.
pub type Target = (&'static str, fn(&[u8]));

/// The fuzz targets of this crate.
pub const LAWS: &[Target] = &[
    ("dns_reply", dns_reply),
    ("dns_request", dns_request),
    ("dns_text", dns_text),
    ("record_text", record_text),
];

/// What is believed to be the reply has our id and our question, letter by letter, and is a response.
/// The first two octets of a reply are set to our id here, which no fuzzer can guess.
fn dns_reply(input: &[u8]) {
    static SENT: LazyLock<SentQuestion> = LazyLock::new(|| ask("s1._domainkey.a.dkim.test"));
    let Some((flags, _)) = input.split_first_chunk::<{ HEADER_LEN - 2 }>() else { return };
    let id = SENT.octets.first_chunk::<2>().expect("a question has an id");
    let packet = [&id[..], input].concat();
    let foreign = [&[!id[0], id[1]], input].concat();
    assert!(matches!(SENT.read(&foreign), Received::Foreign), "another id");
    let Received::Reply(reply) = SENT.read(&packet) else { return };
    assert!(flags[0] & 0xF8 == 0x80, "a response to a query");
    let (_, question) = SENT.octets.split_at(HEADER_LEN);
    // Behind the question is our EDNS record of 11 octets.
    let (question, _) = question.split_at(question.len() - 11);
    match flags[3] {
        0 => assert!(!reply.code.is_answer(), "only a failure is believed"),
        _ => assert!(input.get(HEADER_LEN - 2..).is_some_and(|rest| rest.starts_with(question))),
    }
    let records = [&reply.answers, &reply.authority, &reply.additional].into_iter().flatten();
    let texts: usize = records.filter_map(|entry| entry.data.text()).map(<[u8]>::len).sum();
    assert!(texts < packet.len(), "no text comes from nowhere");
}

/// A request gets an answer in bounds that can be read, is to that request, and is not answered itself.
fn dns_request(input: &[u8]) {
    let zones = &*ZONES;
    let udp = respond(zones, input, Transport::Udp);
    let tcp = respond(zones, input, Transport::Tcp);
    let (Some(udp), Some(tcp)) = (&udp, &tcp) else {
        assert!(udp.is_none() && tcp.is_none(), "silence on both");
        return assert!(
            input.len() < HEADER_LEN || input.get(2).is_some_and(|flags| flags & 0x80 != 0)
        );
    };
    assert_eq!(udp.outcome, tcp.outcome);
    assert!(udp.octets.len() <= usize::from(UDP_PAYLOAD));
    assert!(udp.octets.len() <= tcp.octets.len());
    let cut = truncated(tcp).expect("an answer can be cut");
    for octets in [&udp.octets, &tcp.octets, &cut] {
        let message = Message::from_vec(octets).expect("our own answers can be read");
        assert_eq!(octets.first_chunk::<2>(), input.first_chunk::<2>(), "the id of the request");
        assert_eq!(respond(zones, octets, Transport::Udp), None, "two servers would talk for ever");
        if let [query] = message.queries.as_slice() {
            let asked = Message::from_vec(input).expect("a question that was read");
            assert!(asked.queries.as_slice() == [query.clone()] && octets.len() > HEADER_LEN);
        }
        assert!(message.answers.len() <= 4, "no more than there is at a name");
    }
    let is_cut = Message::from_vec(&udp.octets).is_ok_and(|message| message.metadata.truncation);
    assert_eq!(is_cut, udp.octets != tcp.octets, "TC says that something is missing");
}

/// Any text that a zone takes is what our own client reads from its answer.
fn dns_text(input: &[u8]) {
    let (first, text) = input.split_at(input.len().min(1));
    let label = first.first().map_or(0, |octet| octet % 8);
    let owner = format!("l{label}.texts.test");
    let owner = name(owner);
    let is_taken = ZONES.set_text(&owner, text).is_ok();
    assert_eq!(is_taken, (1..=MAX_TEXT_LEN).contains(&text.len()));
    let sent = ask(owner.as_str());
    let answer = respond(&ZONES, &sent.octets, Transport::Tcp).expect("an answer to a question");
    let Received::Reply(reply) = sent.read(&answer.octets) else { panic!("our own answer") };
    let is_kept = ZONES.text(&owner);
    assert!(!is_taken || is_kept.as_deref() == Some(text));
    assert_eq!(texts(&reply), is_kept.iter().map(|text| &**text).collect::<Vec<_>>());
}

/// A published text is as good as ours only if it is a key record with the same key, and it has faults
/// otherwise. Space at its ends does not matter.
fn record_text(input: &[u8]) {
    static WANTED: LazyLock<WantedRecord> =
        LazyLock::new(|| WantedRecord::parse(WANTED_TEXT.as_bytes()).expect("a key record"));
    let faults = WANTED.faults(input);
    let is_met = WANTED.is_met_by(input);
    assert_eq!(is_met, faults.iter().all(|fault| *fault == RecordFault::Testing), "{faults:?}");
    let (_, key) = WANTED_TEXT.split_once("p=").expect("a key");
    let dense: Vec<u8> =
        input.iter().copied().filter(|octet| !octet.is_ascii_whitespace()).collect();
    let has_key = dense.windows(key.len() - 1).any(|part| key.as_bytes().starts_with(part));
    assert!(!is_met || has_key, "our key stands in it");
    assert!(!is_met || KeyRecord::parse(input).is_ok());
    assert!(faults.iter().all(|fault| !fault.code().is_empty() && !fault.advice().is_empty()));
}

fn texts(reply: &Reply) -> Vec<&[u8]> {
    reply.answers.iter().filter_map(|entry| Data::text(&entry.data)).collect()
}

fn ask(owner: &str) -> SentQuestion {
    let question = Question { name: name(owner), kind: Kind::Txt, recursion: Recursion::No };
    SentQuestion::new(&question, LetterCase::Lower, Extension::Edns).expect("a short question")
}

/// The key of RFC 8463 §A.2.
const WANTED_TEXT: &str = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

/// Two zones, in one of which `dns_text` writes.
static ZONES: LazyLock<ServedZones> = LazyLock::new(|| {
    let zones = ServedZones::new();
    for origin in ["dkim.test", "texts.test"] {
        let server = ZoneNameServer {
            name: name(format!("ns1.{origin}")),
            addresses: vec![[192, 0, 2, 1].into(), [0x2001, 0xDB8, 0, 0, 0, 0, 0, 1].into()],
        };
        let contact = name(format!("hostmaster.{origin}"));
        let apex =
            ZoneApex { origin: name(origin), name_servers: vec![server], contact, serial: 1 };
        zones.define(apex).expect("a good zone");
    }
    for (owner, len) in [("s1._domainkey.a", 12), ("long", 600), ("huge", MAX_TEXT_LEN)] {
        let owner = name(format!("{owner}.dkim.test"));
        zones.set_text(&owner, &vec![b'x'; len]).expect("a text in bounds");
    }
    zones
});

fn name(text: impl AsRef<str>) -> DomainName {
    DomainName::parse(text.as_ref()).expect("a domain name")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::LAWS;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

        #[test]
        fn laws_hold_for_any_octets(
            mut octets in prop::collection::vec(any::<u8>(), 0..300),
            is_request in any::<bool>(),
        ) {
            if is_request && octets.len() > 12 {
                octets[2] = 0;
                octets[4..12].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
            }
            for (_, law) in LAWS {
                law(&octets);
            }
        }
    }
}

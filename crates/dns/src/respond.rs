//! What the zone server answers: a packet in, a packet or nothing out.
//!
//! Pure, and so the whole of the server's behaviour can be tried on bytes (RFC 1034 §4.3.2 with
//! RFC 2308, 6891, 8020, 8482):
//!
//! | asked | answered |
//! |---|---|
//! | a reply, or less than a header | nothing, lest two servers talk for ever |
//! | not exactly one question, or no DNS message | FORMERR |
//! | UPDATE | REFUSED; other opcodes but QUERY: NOTIMP |
//! | AXFR, IXFR, another class, a name in no zone of ours | REFUSED |
//! | EDNS of a later version | BADVERS |
//! | ANY | one HINFO record |
//! | a name that is there, a type that is not | no records, and the SOA |
//! | a name that is not there | NXDOMAIN, and the SOA |
//!
//! Over UDP an answer has at most 1232 octets, or what the asker can take if that is less; what does not
//! fit is left out and TC is set. There is no recursion. The name in the answer has the letters of the
//! question, as askers who vary the case expect.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, HINFO, NS, SOA, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use postseal_dkim::DomainName;

use crate::message::{HEADER_LEN, UDP_PAYLOAD, has_absurd_counts, read_name, wire_name};
use crate::zone::{APEX_TTL, Content, Existing, NEGATIVE_TTL, RECORD_TTL, ServedZones, ZoneApex};

/// How a packet came, which decides how long its answer may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// An answer, with what the server's figures need of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Response {
    pub(crate) octets: Vec<u8>,
    pub(crate) outcome: Outcome,
}

/// How a question was answered.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Outcome {
    /// With records.
    Records,
    /// The name is there, the type is not.
    NoData,
    /// NXDOMAIN.
    NoSuchName,
    /// REFUSED.
    Refused,
    /// FORMERR, NOTIMP or BADVERS.
    Malformed,
}

/// Answers one packet. None where an answer would do harm.
pub(crate) fn respond(
    zones: &ServedZones,
    packet: &[u8],
    transport: Transport,
) -> Option<Response> {
    let header: &[u8; HEADER_LEN] = packet.first_chunk()?;
    let [id_high, id_low, flags, _, question_high, question_low, ..] = *header;
    if flags & QR != 0 {
        return None;
    }
    let id = u16::from_be_bytes([id_high, id_low]);
    let op_code = OpCode::from_u8((flags >> 3) & 0x0f);
    let code = match op_code {
        OpCode::Query => None,
        OpCode::Update => Some(ResponseCode::Refused),
        OpCode::Notify | OpCode::Status | OpCode::Unknown(_) => Some(ResponseCode::NotImp),
    };
    if let Some(code) = code {
        return bare(id, op_code, code);
    }
    // More than one question has no meaning (RFC 9619 §2).
    let is_one_question = u16::from_be_bytes([question_high, question_low]) == 1;
    if !is_one_question || has_absurd_counts(packet) {
        return bare(id, op_code, ResponseCode::FormErr);
    }
    let Ok(request) = Message::from_vec(packet) else {
        return bare(id, op_code, ResponseCode::FormErr);
    };
    let [query] = request.queries.as_slice() else {
        return bare(id, op_code, ResponseCode::FormErr);
    };

    let mut message = Message::response(id, op_code);
    message.metadata.recursion_desired = request.metadata.recursion_desired;
    message.metadata.checking_disabled = request.metadata.checking_disabled;
    message.add_query(query.clone());
    if request.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_PAYLOAD);
        message.set_edns(edns);
    }
    let outcome = if request.version() > EDNS_VERSION {
        message.metadata.response_code = ResponseCode::BADVERS;
        Outcome::Malformed
    } else {
        fill(zones, query, &mut message)
    };

    let limit = match transport {
        Transport::Udp => request.max_payload().min(UDP_PAYLOAD),
        Transport::Tcp => u16::MAX,
    };
    let octets = message.to_vec().ok()?;
    if octets.len() <= usize::from(limit) {
        return Some(Response { octets, outcome });
    }
    Some(Response { octets: message.truncate().to_vec().ok()?, outcome })
}

/// The answer to the same question without any record and with TC set, so that an honest asker comes
/// back over TCP, where a forged address cannot.
pub(crate) fn truncated(response: &Response) -> Option<Vec<u8>> {
    let message = Message::from_vec(&response.octets).ok()?;
    message.truncate().to_vec().ok()
}

/// An answer of a header alone.
fn bare(id: u16, op_code: OpCode, code: ResponseCode) -> Option<Response> {
    let octets = Message::error_msg(id, op_code, code).to_vec().ok()?;
    let outcome = if code == ResponseCode::Refused { Outcome::Refused } else { Outcome::Malformed };
    Some(Response { octets, outcome })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "there are no records of other types")]
fn fill(zones: &ServedZones, query: &Query, message: &mut Message) -> Outcome {
    let refuse = |message: &mut Message| {
        message.metadata.response_code = ResponseCode::Refused;
        Outcome::Refused
    };
    let is_transfer = matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR);
    if is_transfer || query.query_class() != DNSClass::IN {
        return refuse(message);
    }
    let Some((name, is_whole)) = readable_part(query.name()) else { return refuse(message) };
    let Some(zone) = zones.zone_of(name.as_str()) else { return refuse(message) };

    message.metadata.authoritative = true;
    let content = zone.read();
    let existing = if is_whole { content.at(name.as_str()) } else { Existing::Nothing };
    let Existing::Name { text, addresses } = existing else {
        message.metadata.response_code = ResponseCode::NXDomain;
        message.authorities.extend(soa(&content, NEGATIVE_TTL));
        return Outcome::NoSuchName;
    };
    let is_apex = name == content.apex.origin;
    let owner = query.name();
    match query.query_type() {
        RecordType::TXT => message.answers.extend(text.map(|text| txt(owner, text))),
        RecordType::A | RecordType::AAAA => {
            message.answers.extend(address_records(owner, addresses, query.query_type()));
        }
        RecordType::SOA if is_apex => message.answers.extend(soa(&content, APEX_TTL)),
        RecordType::NS if is_apex => add_name_servers(&content.apex, owner, message),
        RecordType::ANY => message.answers.push(minimal_any(owner)),
        _ => {}
    }
    if message.answers.is_empty() {
        message.authorities.extend(soa(&content, NEGATIVE_TTL));
        return Outcome::NoData;
    }
    Outcome::Records
}

/// The name in the form in which owners are kept, and whether that is all of it. Labels with octets
/// that no owner of ours has are left off; what is below them cannot exist.
fn readable_part(name: &Name) -> Option<(DomainName, bool)> {
    let mut rest = name.clone();
    let mut is_whole = true;
    while !rest.is_root() {
        if let Some(name) = read_name(&rest) {
            return Some((name, is_whole));
        }
        is_whole = false;
        rest = rest.base_name();
    }
    None
}

fn txt(owner: &Name, text: &[u8]) -> Record {
    let strings = text.chunks(MAX_STRING_LEN).collect();
    Record::from_rdata(owner.clone(), RECORD_TTL, RData::TXT(TXT::from_bytes(strings)))
}

fn address_records(owner: &Name, addresses: &[IpAddr], kind: RecordType) -> Vec<Record> {
    addresses
        .iter()
        .filter_map(|address| {
            let data = match (address, kind) {
                (IpAddr::V4(v4), RecordType::A) => RData::A(A(*v4)),
                (IpAddr::V6(v6), RecordType::AAAA) => RData::AAAA(AAAA(*v6)),
                _ => return None,
            };
            Some(Record::from_rdata(owner.clone(), APEX_TTL, data))
        })
        .collect()
}

fn add_name_servers(apex: &ZoneApex, owner: &Name, message: &mut Message) {
    for server in &apex.name_servers {
        let Some(host) = wire_name(&server.name) else { continue };
        let data = RData::NS(NS(host.clone()));
        message.answers.push(Record::from_rdata(owner.clone(), APEX_TTL, data));
        if server.name.is_same_or_subdomain_of(&apex.origin) {
            for kind in [RecordType::A, RecordType::AAAA] {
                message.additionals.extend(address_records(&host, &server.addresses, kind));
            }
        }
    }
}

fn soa(content: &Content, ttl: u32) -> Option<Record> {
    let apex = &content.apex;
    let primary = wire_name(&apex.name_servers.first()?.name)?;
    let data = SOA::new(
        primary,
        wire_name(&apex.contact)?,
        content.serial,
        REFRESH,
        RETRY,
        EXPIRE,
        NEGATIVE_TTL,
    );
    Some(Record::from_rdata(wire_name(&apex.origin)?, ttl, RData::SOA(data)))
}

/// RFC 8482 §4.2.
fn minimal_any(owner: &Name) -> Record {
    let data = HINFO::new("RFC8482".into(), String::new());
    Record::from_rdata(owner.clone(), APEX_TTL, RData::HINFO(data))
}

/// RFC 1035 §3.3.14: a character string has at most this many octets.
const MAX_STRING_LEN: usize = 255;

/// RFC 6891 §6.1.3.
const EDNS_VERSION: u8 = 0;

/// The bit that tells a reply from a query (RFC 1035 §4.1.1).
const QR: u8 = 0x80;

/// The SOA's numbers for secondaries, of which there are none, in seconds (RIPE-203).
const REFRESH: i32 = 86_400;
const RETRY: i32 = 7200;
const EXPIRE: i32 = 3_600_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::zone::ZoneNameServer;

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).unwrap()
    }

    fn zones() -> ServedZones {
        let zones = ServedZones::new();
        zones
            .define(ZoneApex {
                origin: name("dkim.test"),
                name_servers: vec![
                    ZoneNameServer {
                        name: name("ns1.dkim.test"),
                        addresses: vec![
                            IpAddr::from([192, 0, 2, 1]),
                            "2001:db8::1".parse().unwrap(),
                        ],
                    },
                    ZoneNameServer { name: name("ns.other.test"), addresses: vec![] },
                ],
                contact: name("hostmaster.dkim.test"),
                serial: 1,
            })
            .unwrap();
        zones.set_text(&name("s1._domainkey.a.dkim.test"), b"v=DKIM1; p=x").unwrap();
        zones.set_text(&name("long.dkim.test"), &[b'x'; 600]).unwrap();
        zones.set_text(&name("huge.dkim.test"), &[b'x'; 4096]).unwrap();
        zones
    }

    fn query(owner: &str, kind: RecordType) -> Message {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii(format!("{owner}.")).unwrap(), kind));
        message
    }

    fn with_edns(mut message: Message, payload: u16, version: u8) -> Message {
        let mut edns = Edns::new();
        edns.set_max_payload(payload).set_version(version);
        message.set_edns(edns);
        message
    }

    fn answer(message: &Message, transport: Transport) -> Message {
        let response = respond(&zones(), &message.to_vec().unwrap(), transport).unwrap();
        Message::from_vec(&response.octets).unwrap()
    }

    #[test]
    fn each_question_has_its_answer() {
        use RecordType as T;
        use ResponseCode as C;
        // Name, type, code, AA, answers, SOA in the authority section.
        let cases = [
            ("s1._domainkey.a.dkim.test", T::TXT, C::NoError, true, 1, 0),
            ("s1._domainkey.a.dkim.test", T::A, C::NoError, true, 0, 1),
            ("s1._domainkey.a.dkim.test", T::Unknown(65280), C::NoError, true, 0, 1),
            ("s1._domainkey.a.dkim.test", T::CAA, C::NoError, true, 0, 1),
            ("_domainkey.a.dkim.test", T::TXT, C::NoError, true, 0, 1),
            ("a.dkim.test", T::NS, C::NoError, true, 0, 1),
            ("b.dkim.test", T::TXT, C::NXDomain, true, 0, 1),
            ("x.s1._domainkey.a.dkim.test", T::TXT, C::NXDomain, true, 0, 1),
            ("*.dkim.test", T::TXT, C::NXDomain, true, 0, 1),
            (r"a\.b.dkim.test", T::TXT, C::NXDomain, true, 0, 1),
            ("dkim.test", T::SOA, C::NoError, true, 1, 0),
            ("dkim.test", T::NS, C::NoError, true, 2, 0),
            ("dkim.test", T::TXT, C::NoError, true, 0, 1),
            ("ns1.dkim.test", T::A, C::NoError, true, 1, 0),
            ("ns1.dkim.test", T::AAAA, C::NoError, true, 1, 0),
            ("s1._domainkey.a.dkim.test", T::ANY, C::NoError, true, 1, 0),
            ("b.dkim.test", T::ANY, C::NXDomain, true, 0, 1),
            ("dkim.test", T::AXFR, C::Refused, false, 0, 0),
            ("dkim.test", T::IXFR, C::Refused, false, 0, 0),
            ("test", T::NS, C::Refused, false, 0, 0),
            ("notdkim.test", T::TXT, C::Refused, false, 0, 0),
            (r"dkim\.test", T::TXT, C::Refused, false, 0, 0),
        ];
        for (owner, kind, code, authoritative, answers, authorities) in cases {
            let got = answer(&query(owner, kind), Transport::Udp);
            assert_eq!(
                (
                    got.metadata.response_code,
                    got.metadata.authoritative,
                    got.answers.len(),
                    got.authorities.len()
                ),
                (code, authoritative, answers, authorities),
                "{owner} {kind}: {got:?}"
            );
            assert!(!got.metadata.recursion_available, "{owner} {kind}");
        }
        let labels = |labels: &[&[u8]]| Name::from_labels(labels.iter().copied()).unwrap();
        let cases = [
            (labels(&[b"s1", b"a\0b", b"dkim", b"test"]), C::NXDomain),
            (labels(&[b"dkim", b"te\0st"]), C::Refused),
            (Name::root(), C::Refused),
        ];
        for (owner, want) in cases {
            let mut message = Message::query();
            message.add_query(Query::query(owner.clone(), T::TXT));
            assert_eq!(answer(&message, Transport::Udp).metadata.response_code, want, "{owner}");
        }
    }

    #[test]
    fn the_answer_repeats_the_letters_of_the_question() {
        let got = answer(&query("S1._DomainKey.A.dkim.TEST", RecordType::TXT), Transport::Udp);
        let [record] = got.answers.as_slice() else { panic!("{got:?}") };
        assert_eq!(record.name.to_ascii(), "S1._DomainKey.A.dkim.TEST.");
        assert_eq!(got.queries[0].name().to_ascii(), "S1._DomainKey.A.dkim.TEST.");
        assert_eq!(record.ttl, RECORD_TTL);
        assert_eq!(record.data, RData::TXT(TXT::from_bytes(vec![b"v=DKIM1; p=x"])));
    }

    #[test]
    fn long_texts_are_split_and_cut_to_what_the_asker_can_take() {
        let strings = |message: &Message| {
            let RData::TXT(txt) = &message.answers[0].data else { panic!("{message:?}") };
            txt.txt_data.iter().map(|s| s.len()).collect::<Vec<_>>()
        };
        let long = || query("long.dkim.test", RecordType::TXT);
        let huge = || query("huge.dkim.test", RecordType::TXT);

        let got = answer(&long(), Transport::Udp);
        assert!(got.metadata.truncation && got.answers.is_empty());
        assert_eq!(got.queries.len(), 1);
        let got = answer(&with_edns(long(), 100, 0), Transport::Udp);
        assert!(got.metadata.truncation, "a payload below 512 counts as 512");
        let got = answer(&with_edns(long(), 4096, 0), Transport::Udp);
        assert_eq!(strings(&got), [255, 255, 90]);
        assert_eq!(got.edns.as_ref().unwrap().max_payload(), UDP_PAYLOAD);

        let got = answer(&with_edns(huge(), 4096, 0), Transport::Udp);
        assert!(got.metadata.truncation && got.edns.is_some());
        let got = answer(&huge(), Transport::Tcp);
        assert_eq!(strings(&got).iter().sum::<usize>(), 4096);
        assert!(!got.metadata.truncation);
    }

    #[test]
    fn negative_answers_say_how_long_they_hold() {
        for owner in ["b.dkim.test", "a.dkim.test"] {
            let got = answer(&query(owner, RecordType::TXT), Transport::Udp);
            let [record] = got.authorities.as_slice() else { panic!("{got:?}") };
            let RData::SOA(soa) = &record.data else { panic!("{record:?}") };
            assert_eq!((record.ttl, soa.minimum), (NEGATIVE_TTL, NEGATIVE_TTL));
            assert_eq!(record.name.to_ascii(), "dkim.test.");
        }
    }

    #[test]
    fn name_servers_in_the_zone_come_with_their_addresses() {
        let got = answer(&query("dkim.test", RecordType::NS), Transport::Udp);
        let glue: Vec<_> = got
            .additionals
            .iter()
            .map(|record| (record.name.to_ascii(), record.record_type()))
            .collect();
        assert_eq!(
            glue,
            [("ns1.dkim.test.".into(), RecordType::A), ("ns1.dkim.test.".into(), RecordType::AAAA)]
        );
    }

    #[test]
    fn other_opcodes_classes_versions_and_shapes_are_turned_down() {
        let code = |packet: &[u8]| {
            let response = respond(&zones(), packet, Transport::Udp)?;
            Some(u16::from(Message::from_vec(&response.octets).unwrap().metadata.response_code))
        };
        let (form_err, not_imp, refused, bad_version) = (1, 4, 5, 16);
        let base = query("s1._domainkey.a.dkim.test", RecordType::TXT);

        for (op_code, want) in [
            (OpCode::Update, refused),
            (OpCode::Notify, not_imp),
            (OpCode::Status, not_imp),
            (OpCode::Unknown(9), not_imp),
        ] {
            let mut message = base.clone();
            message.metadata.op_code = op_code;
            assert_eq!(code(&message.to_vec().unwrap()), Some(want), "{op_code:?}");
        }

        let mut chaos = base.clone();
        chaos.queries[0].set_query_class(DNSClass::CH);
        assert_eq!(code(&chaos.to_vec().unwrap()), Some(refused));

        let later = with_edns(base.clone(), 1232, 1);
        assert_eq!(code(&later.to_vec().unwrap()), Some(bad_version));

        let mut two = base.clone();
        two.add_query(base.queries[0].clone());
        assert_eq!(code(&two.to_vec().unwrap()), Some(form_err));
        let mut none = base.clone();
        none.queries.clear();
        assert_eq!(code(&none.to_vec().unwrap()), Some(form_err));

        let whole = base.to_vec().unwrap();
        assert_eq!(code(&whole[..whole.len() - 1]), Some(form_err));
        assert_eq!(code(&whole[..12]), Some(form_err));
        assert_eq!(code(&whole[..11]), None);
        assert_eq!(code(&[]), None);

        let mut reply = whole;
        reply[2] |= QR;
        assert_eq!(code(&reply), None);
    }

    #[test]
    fn an_answer_without_records_can_stand_in_for_one() {
        let packet = query("s1._domainkey.a.dkim.test", RecordType::TXT).to_vec().unwrap();
        let response = respond(&zones(), &packet, Transport::Udp).unwrap();
        let short = Message::from_vec(&truncated(&response).unwrap()).unwrap();
        assert!(short.metadata.truncation && short.answers.is_empty());
        assert_eq!(short.queries.len(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn no_packet_is_a_panic_or_gets_a_long_answer(
            mut packet in proptest::collection::vec(any::<u8>(), 0..200),
            shape in 0_u8..3,
            at in any::<usize>(),
            octet in any::<u8>(),
        ) {
            match shape {
                // Any octets; any octets behind the header of a query; a query with one octet changed.
                0 => {}
                1 if packet.len() > 12 => {
                    packet[2] = 0;
                    packet[4..12].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 1]);
                }
                _ => {
                    let message = with_edns(query("s1._domainkey.a.dkim.test", RecordType::TXT), 1232, 0);
                    packet = message.to_vec().unwrap();
                    let at = at % packet.len();
                    packet[at] = octet;
                }
            }
            if let Some(response) = respond(&zones(), &packet, Transport::Udp) {
                prop_assert!(response.octets.len() <= usize::from(UDP_PAYLOAD));
                prop_assert_eq!(&response.octets[..2], &packet[..2]);
                prop_assert!(response.octets[2] & QR != 0);
            }
        }
    }
}

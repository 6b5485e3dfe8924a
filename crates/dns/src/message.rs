//! DNS messages as this crate's askers see them: a question out, a reply in (RFC 1035 §4, RFC 6891).
//!
//! The wire format itself is hickory's. This module chooses what is asked (one question, EDNS with a
//! payload of 1232 octets), says whether a packet answers it, and turns records into our own types, in
//! which a name is a checked [`DomainName`] or is visibly none. Names with octets that no host name has
//! (a NUL, a dot inside a label) never become a `DomainName`, so they cannot be cut or misread later.
//!
//! Nothing here trusts a reply: whose records count is for [`crate::authoritative`] and
//! [`crate::recursive`] to say.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use postseal_dkim::DomainName;

/// The name of a zone: the root or a domain.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ZoneName {
    /// The root zone, written `.`.
    Root,
    /// Any other zone.
    Domain(DomainName),
}

impl ZoneName {
    /// Says whether `name` is this zone's own name or lies below it.
    #[must_use]
    pub fn contains(&self, name: &DomainName) -> bool {
        match self {
            Self::Root => true,
            Self::Domain(domain) => name.is_same_or_subdomain_of(domain),
        }
    }

    /// Says whether `other` is a zone strictly below this one.
    pub(crate) fn is_above(&self, other: &DomainName) -> bool {
        match self {
            Self::Root => true,
            Self::Domain(domain) => other != domain && other.is_same_or_subdomain_of(domain),
        }
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("."),
            Self::Domain(domain) => domain.fmt(f),
        }
    }
}

/// Where an alias, a delegation or an MX points to.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Target {
    /// A name that can be asked about.
    Name(DomainName),
    /// The root, or octets that no host name has; escaped as in a zone file (RFC 1035 §5.1).
    NotAHost(Box<str>),
}

impl Target {
    /// The name, if it is one.
    #[must_use]
    pub fn name(&self) -> Option<&DomainName> {
        match self {
            Self::Name(name) => Some(name),
            Self::NotAHost(_) => None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::NotAHost(text) => f.write_str(text),
        }
    }
}

/// The record types that are asked for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Kind {
    A,
    Aaaa,
    Mx,
    Ns,
    Soa,
    Txt,
}

impl From<Kind> for RecordType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::A => Self::A,
            Kind::Aaaa => Self::AAAA,
            Kind::Mx => Self::MX,
            Kind::Ns => Self::NS,
            Kind::Soa => Self::SOA,
            Kind::Txt => Self::TXT,
        }
    }
}

/// Whether the server is asked to recurse (RFC 1035 §4.1.1, RD).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Recursion {
    Desired,
    No,
}

/// Whether the letters of the name are sent in random case, which the reply must repeat
/// (draft-vixie-dnsext-dns0x20).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LetterCase {
    /// Random, as a further secret that a forger has to guess.
    #[default]
    Random,
    /// As it is, in lower case.
    Lower,
}

/// Whether the query carries an OPT record (RFC 6891).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Extension {
    Edns,
    None,
}

/// What is asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Question {
    pub(crate) name: DomainName,
    pub(crate) kind: Kind,
    pub(crate) recursion: Recursion,
}

/// A question as it went out, to which replies are compared.
#[derive(Debug)]
pub(crate) struct SentQuestion {
    id: u16,
    query: Query,
    pub(crate) octets: Vec<u8>,
}

impl SentQuestion {
    /// Writes the query with a fresh random id. Fails for no valid [`DomainName`].
    pub(crate) fn new(
        question: &Question,
        letter_case: LetterCase,
        extension: Extension,
    ) -> Result<Self, Unwritable> {
        let mut name = wire_name(&question.name).ok_or(Unwritable)?;
        match letter_case {
            LetterCase::Random => name.randomize_label_case(),
            LetterCase::Lower => {}
        }
        let query = Query::query(name, question.kind.into());
        // `Message::query` draws the id from the thread's cryptographic generator.
        let mut message = Message::query();
        message.metadata.recursion_desired = question.recursion == Recursion::Desired;
        message.add_query(query.clone());
        if extension == Extension::Edns {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_PAYLOAD);
            message.set_edns(edns);
        }
        let octets = message.to_vec().map_err(|_| Unwritable)?;
        Ok(Self { id: message.metadata.id, query, octets })
    }

    /// Says what a packet is to this question.
    pub(crate) fn read(&self, packet: &[u8]) -> Received {
        if !self.has_our_id(packet) {
            return Received::Foreign;
        }
        if has_absurd_counts(packet) {
            return Received::Garbage;
        }
        let Ok(message) = Message::from_vec(packet) else { return Received::Garbage };
        if message.metadata.op_code != OpCode::Query
            || message.metadata.message_type != MessageType::Response
        {
            return Received::Foreign;
        }
        let code = ReplyCode::from(message.metadata.response_code);
        match message.queries.as_slice() {
            [query] if !self.is_same_question(query) => Received::Foreign,
            [query] if !query.name().eq_case(self.query.name()) => Received::CaseDiffers,
            [_] => Received::Reply(Reply::new(&message, code)),
            // Servers that do not know EDNS, or refuse, may leave the question out. Without it only
            // a failure is believed.
            [] if !code.is_answer() => Received::Reply(Reply::new(&message, code)),
            _ => Received::Foreign,
        }
    }

    fn has_our_id(&self, packet: &[u8]) -> bool {
        packet.first_chunk::<2>().is_some_and(|id| u16::from_be_bytes(*id) == self.id)
    }

    fn is_same_question(&self, query: &Query) -> bool {
        query.query_type() == self.query.query_type()
            && query.query_class() == DNSClass::IN
            && query.name() == self.query.name()
    }
}

/// A name that does not fit into a DNS message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Unwritable;

/// What a packet is to the question that was sent.
#[derive(Debug)]
pub(crate) enum Received {
    /// Its reply.
    Reply(Reply),
    /// The reply to another question, or a forgery.
    Foreign,
    /// All fits except the case of the letters: a forgery, or a server that changes it.
    CaseDiffers,
    /// Our id on something that is no DNS message.
    Garbage,
}

/// A reply to our question.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) code: ReplyCode,
    pub(crate) authoritative: bool,
    pub(crate) truncated: bool,
    pub(crate) has_edns: bool,
    pub(crate) answers: Vec<Entry>,
    pub(crate) authority: Vec<Entry>,
    pub(crate) additional: Vec<Entry>,
}

impl Reply {
    fn new(message: &Message, code: ReplyCode) -> Self {
        let entries = |records: &[Record]| records.iter().filter_map(Entry::new).collect();
        Self {
            code,
            authoritative: message.metadata.authoritative,
            truncated: message.metadata.truncation,
            has_edns: message.edns.is_some(),
            answers: entries(&message.answers),
            authority: entries(&message.authorities),
            additional: entries(&message.additionals),
        }
    }

    /// The negative TTL of the SOA in the authority section: the lesser of the record's TTL and its
    /// MINIMUM field (RFC 2308 §5). The SOA must be of a zone that holds `name`.
    pub(crate) fn negative_ttl(&self, name: &DomainName) -> Option<u32> {
        let entries = self.answers.iter().chain(&self.authority);
        entries.filter(|entry| entry.owner.contains(name)).find_map(|entry| {
            let Data::Soa { minimum } = entry.data else { return None };
            Some(entry.ttl.min(minimum))
        })
    }
}

/// One record of a reply whose owner is a name that can be asked about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    pub(crate) owner: ZoneName,
    pub(crate) ttl: u32,
    pub(crate) data: Data,
}

impl Entry {
    fn new(record: &Record) -> Option<Self> {
        if record.dns_class != DNSClass::IN {
            return None;
        }
        let owner = match read_name(&record.name) {
            Some(name) => ZoneName::Domain(name),
            None if record.name.is_root() => ZoneName::Root,
            None => return None,
        };
        // RFC 2181 §8: a TTL with the top bit set counts as zero.
        let ttl = if record.ttl > MAX_TTL { 0 } else { record.ttl };
        Some(Self { owner, ttl, data: Data::new(&record.data) })
    }

    /// Says whether the record belongs to `name`.
    pub(crate) fn is_of(&self, name: &DomainName) -> bool {
        matches!(&self.owner, ZoneName::Domain(owner) if owner == name)
    }
}

/// What a record says, as far as this crate asks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Data {
    Address(IpAddr),
    Alias(Target),
    Mx {
        preference: u16,
        exchange: Target,
    },
    Ns(Target),
    Soa {
        minimum: u32,
    },
    /// The strings of one record, joined with nothing in between (RFC 6376 §3.6.2.2).
    Txt(Box<[u8]>),
    Other,
}

impl Data {
    /// The text of a TXT record.
    pub(crate) fn text(&self) -> Option<&[u8]> {
        if let Self::Txt(text) = self { Some(text) } else { None }
    }

    /// The target of an alias, if it can be asked about.
    pub(crate) fn alias(&self) -> Option<&DomainName> {
        if let Self::Alias(target) = self { target.name() } else { None }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "every other record type is Other to us")]
    fn new(data: &RData) -> Self {
        match data {
            RData::A(address) => Self::Address(IpAddr::V4(Ipv4Addr::from(*address))),
            RData::AAAA(address) => Self::Address(IpAddr::V6(Ipv6Addr::from(*address))),
            RData::CNAME(target) => Self::Alias(read_target(&target.0)),
            RData::NS(target) => Self::Ns(read_target(&target.0)),
            RData::MX(mx) => {
                Self::Mx { preference: mx.preference, exchange: read_target(&mx.exchange) }
            }
            RData::SOA(soa) => Self::Soa { minimum: soa.minimum },
            RData::TXT(txt) => Self::Txt(txt.txt_data.concat().into()),
            _ => Self::Other,
        }
    }
}

/// The response codes that make a difference here (RFC 1035 §4.1.1, RFC 6895 §2.3).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ReplyCode {
    /// NOERROR.
    NoError,
    /// FORMERR: the server could not read the query.
    FormErr,
    /// SERVFAIL: the server could not answer.
    ServFail,
    /// NXDOMAIN: the name does not exist, and nothing below it.
    NxDomain,
    /// NOTIMP: the server does not know this kind of query.
    NotImp,
    /// REFUSED: the server does not want to answer, often since the zone is not its own.
    Refused,
    /// Any other code.
    Other(u16),
}

impl ReplyCode {
    /// Says whether the code speaks about the name, rather than about the server.
    pub(crate) fn is_answer(self) -> bool {
        matches!(self, Self::NoError | Self::NxDomain)
    }
}

impl fmt::Display for ReplyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoError => f.write_str("NOERROR"),
            Self::FormErr => f.write_str("FORMERR"),
            Self::ServFail => f.write_str("SERVFAIL"),
            Self::NxDomain => f.write_str("NXDOMAIN"),
            Self::NotImp => f.write_str("NOTIMP"),
            Self::Refused => f.write_str("REFUSED"),
            Self::Other(code) => write!(f, "RCODE{code}"),
        }
    }
}

impl From<ResponseCode> for ReplyCode {
    #[expect(clippy::wildcard_enum_match_arm, reason = "all other codes keep their number")]
    fn from(code: ResponseCode) -> Self {
        match code {
            ResponseCode::NoError => Self::NoError,
            ResponseCode::FormErr => Self::FormErr,
            ResponseCode::ServFail => Self::ServFail,
            ResponseCode::NXDomain => Self::NxDomain,
            ResponseCode::NotImp => Self::NotImp,
            ResponseCode::Refused => Self::Refused,
            other => Self::Other(other.into()),
        }
    }
}

/// The name on the wire. None only for a name that is too long for a message.
pub(crate) fn wire_name(name: &DomainName) -> Option<Name> {
    Name::from_labels(name.as_str().split('.').map(str::as_bytes)).ok()
}

/// The name as a [`DomainName`], if every label is made of letters, digits, hyphens and underscores.
///
/// It goes by label and not by the text form: a label may hold a dot, which the text would turn into
/// a boundary.
pub(crate) fn read_name(name: &Name) -> Option<DomainName> {
    let mut text = String::with_capacity(name.len());
    for label in name.iter() {
        if label.is_empty() || !label.iter().all(|octet| is_host_octet(*octet)) {
            return None;
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(str::from_utf8(label).ok()?);
    }
    DomainName::parse(&text).ok()
}

fn read_target(name: &Name) -> Target {
    match read_name(name) {
        Some(name) => Target::Name(name),
        None => Target::NotAHost(name.to_ascii().into()),
    }
}

fn is_host_octet(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_')
}

/// Says whether a packet announces more entries than its length can hold, so that nothing is reserved
/// for them: a question has at least 5 octets, a record at least 11.
pub(crate) fn has_absurd_counts(packet: &[u8]) -> bool {
    let Some((header, rest)) = packet.split_first_chunk::<HEADER_LEN>() else { return true };
    let [_, _, _, _, q1, q2, an1, an2, ns1, ns2, ar1, ar2] = *header;
    let count = |high, low| usize::from(u16::from_be_bytes([high, low]));
    let questions = count(q1, q2) * MIN_QUESTION_LEN;
    let records = (count(an1, an2) + count(ns1, ns2) + count(ar1, ar2)) * MIN_RECORD_LEN;
    questions + records > rest.len()
}

/// The EDNS payload that is announced and served: it fits one packet on any path
/// (DNS Flag Day 2020; RFC 9715 §3).
pub(crate) const UDP_PAYLOAD: u16 = 1232;

/// RFC 1035 §4.1.1.
pub(crate) const HEADER_LEN: usize = 12;

/// The root name, a type and a class.
const MIN_QUESTION_LEN: usize = 5;

/// The root name, type, class, TTL and an empty RDATA.
const MIN_RECORD_LEN: usize = 11;

/// RFC 2181 §8.
const MAX_TTL: u32 = (1 << 31) - 1;

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::{CNAME, TXT};
    use proptest::prelude::*;

    use super::*;

    fn question(name: &str) -> Question {
        Question {
            name: DomainName::parse(name).unwrap(),
            kind: Kind::Txt,
            recursion: Recursion::No,
        }
    }

    fn sent(name: &str, letter_case: LetterCase) -> SentQuestion {
        SentQuestion::new(&question(name), letter_case, Extension::Edns).unwrap()
    }

    fn reply_to(sent: &SentQuestion) -> Message {
        let mut message = Message::response(sent.id, OpCode::Query);
        message.add_query(sent.query.clone());
        message
    }

    #[test]
    fn a_reply_must_repeat_id_name_type_and_case() {
        let sent = sent("s1._domainkey.example.com", LetterCase::Random);
        let good = reply_to(&sent);
        assert!(matches!(sent.read(&good.to_vec().unwrap()), Received::Reply(_)));

        let mut other_id = good.clone();
        other_id.metadata.id = sent.id.wrapping_add(1);
        assert!(matches!(sent.read(&other_id.to_vec().unwrap()), Received::Foreign));

        let mut other_name = good.clone();
        other_name.queries =
            vec![Query::query(Name::from_ascii("example.com.").unwrap(), RecordType::TXT)];
        assert!(matches!(sent.read(&other_name.to_vec().unwrap()), Received::Foreign));

        let mut other_type = good.clone();
        other_type.queries = vec![Query::query(sent.query.name().clone(), RecordType::A)];
        assert!(matches!(sent.read(&other_type.to_vec().unwrap()), Received::Foreign));

        let mut a_query = good.clone();
        a_query.metadata.message_type = MessageType::Query;
        assert!(matches!(sent.read(&a_query.to_vec().unwrap()), Received::Foreign));

        let swapped: Vec<Vec<u8>> = sent
            .query
            .name()
            .iter()
            .map(|label| {
                label.iter().map(|o| if o.is_ascii_alphabetic() { o ^ 0x20 } else { *o }).collect()
            })
            .collect();
        let mut other_case = good;
        other_case.queries =
            vec![Query::query(Name::from_labels(swapped).unwrap(), RecordType::TXT)];
        assert!(matches!(sent.read(&other_case.to_vec().unwrap()), Received::CaseDiffers));
    }

    #[test]
    fn without_a_question_only_a_failure_is_believed() {
        let sent = sent("example.com", LetterCase::Lower);
        let cases = [
            (ResponseCode::FormErr, true),
            (ResponseCode::ServFail, true),
            (ResponseCode::Refused, true),
            (ResponseCode::NoError, false),
            (ResponseCode::NXDomain, false),
        ];
        for (code, believed) in cases {
            let packet = Message::error_msg(sent.id, OpCode::Query, code).to_vec().unwrap();
            assert_eq!(matches!(sent.read(&packet), Received::Reply(_)), believed, "{code}");
        }
    }

    /// RFC 6376 §3.6.2.2: nothing stands between the strings of a record.
    #[test]
    fn strings_are_joined_and_hostile_names_do_not_become_domains() {
        let sent = sent("example.com", LetterCase::Lower);
        let mut message = reply_to(&sent);
        let owner = sent.query.name().clone();
        message.add_answer(Record::from_rdata(
            owner.clone(),
            0x8000_0001,
            RData::TXT(TXT::from_bytes(vec![b"v=DK", b"", b"IM1"])),
        ));
        let with_dot =
            Name::from_labels(vec![b"a.b".to_vec(), b"example".to_vec(), b"com".to_vec()]).unwrap();
        message.add_answer(Record::from_rdata(owner, 60, RData::CNAME(CNAME(with_dot.clone()))));
        message.add_answer(Record::from_rdata(
            with_dot,
            60,
            RData::TXT(TXT::from_bytes(vec![b"x"])),
        ));

        let Received::Reply(reply) = sent.read(&message.to_vec().unwrap()) else {
            panic!("not taken for the reply")
        };
        let [text, alias] = reply.answers.as_slice() else { panic!("{:?}", reply.answers) };
        assert_eq!((text.ttl, &text.data), (0, &Data::Txt((*b"v=DKIM1").into())));
        assert!(
            matches!(&alias.data, Data::Alias(Target::NotAHost(text)) if &**text == r"a\.b.example.com."),
            "{alias:?}"
        );
    }

    #[test]
    fn the_longest_name_can_be_asked() {
        let label = "a".repeat(63);
        let name = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert_eq!(name.len(), 253);
        let sent = sent(&name, LetterCase::Random);
        assert!(matches!(sent.read(&reply_to(&sent).to_vec().unwrap()), Received::Reply(_)));
    }

    #[test]
    fn counts_that_cannot_be_true_are_seen_before_anything_is_reserved() {
        let sent = sent("example.com", LetterCase::Lower);
        let mut packet = reply_to(&sent).to_vec().unwrap();
        packet[4] = 0xff;
        packet[5] = 0xff;
        assert!(matches!(sent.read(&packet), Received::Garbage));
    }

    #[test]
    fn a_pointer_loop_is_garbage() {
        let sent = sent("example.com", LetterCase::Lower);
        let mut packet = reply_to(&sent).to_vec().unwrap();
        packet[7] = 1;
        let here = u8::try_from(packet.len()).unwrap();
        packet.extend([0xc0, here, 0, 16, 0, 1, 0, 0, 0, 0, 0, 2, 1, b'x']);
        assert!(matches!(sent.read(&packet), Received::Garbage));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn no_packet_is_a_panic(mut packet in proptest::collection::vec(any::<u8>(), 0..600), patch in any::<bool>()) {
            let sent = sent("s1._domainkey.example.com", LetterCase::Random);
            if patch && packet.len() > 12 {
                packet[..2].copy_from_slice(&sent.id.to_be_bytes());
                packet[2] |= 0x80;
                packet[4..12].copy_from_slice(&[0, 0, 0, 1, 0, 1, 0, 1]);
            }
            let _ = sent.read(&packet);
        }

        #[test]
        fn a_damaged_reply_is_no_panic(at in 0_usize..200, octet in any::<u8>(), cut in 0_usize..200) {
            let sent = sent("s1._domainkey.example.com", LetterCase::Lower);
            let mut message = reply_to(&sent);
            for text in [b"v=DKIM1; p=".as_slice(), b"second"] {
                message.add_answer(Record::from_rdata(
                    sent.query.name().clone(),
                    300,
                    RData::TXT(TXT::from_bytes(vec![text])),
                ));
            }
            let mut packet = message.to_vec().unwrap();
            let len = packet.len();
            packet[at % len] = octet;
            packet.truncate(len - cut % len);
            let _ = sent.read(&packet);
        }
    }
}

//! Looks at key records through small scripted name servers on loopback: real packets, real walks.
//!
//! Each test builds a world of servers at 127.0.0.1, 127.0.0.2, … with one port; the first is the root.
//! What a server holds is written as lines of a zone file, and how it misbehaves as a [`Manner`].

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, NS, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use postseal_dkim::{DomainName, Selector};
use postseal_dns::{
    Answer, AuthoritativeClient, AuthoritativeSettings, ChainEnd, ExchangeError, KeyLook,
    LetterCase, Listed, Patience, Reach, ReplyCode, ServerName, Slip, Target, Verdict, WantedKey,
    ZoneName, judge,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

const KEY: &str = "v=DKIM1;k=ed25519;p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
const OTHER: &str = "v=DKIM1;k=ed25519;p=MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=";

const ROOT: &str = ". test\ntest NS ns.test\nns.test A 127.0.0.2";

/// How a server behaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Manner {
    Good,
    Silent,
    Fails(ResponseCode),
    /// Answers without authority, and knows nothing.
    Lame,
    /// Cuts everything over UDP; serves TCP.
    CutsUdp,
    /// Cuts everything over UDP; has no TCP.
    CutsUdpOnly,
    /// Announces one record more than there is, and ends with a pointer into nowhere.
    Garbled,
    /// Denies names that have no records, also where names below them have.
    DeniesEmpty,
    /// Sends the names in lower case; serves TCP.
    LowersCase,
    /// Says of every name beside its own records what the record at `*` says.
    Wildcard,
    /// Fails when it is asked for texts that it does not have.
    FailsForOthers,
}

/// One server: where it is, how it behaves, and for each of its zones a text: the zone's name, and
/// lines of `owner TYPE value`.
struct Server<'a> {
    last_octet: u8,
    manner: Manner,
    zones: &'a [&'a str],
}

fn server<'a>(last_octet: u8, manner: Manner, zones: &'a [&'a str]) -> Server<'a> {
    Server { last_octet, manner, zones }
}

struct World {
    port: u16,
    /// By server: the questions that it got.
    asked: BTreeMap<u8, Arc<Mutex<Vec<String>>>>,
    packets: Arc<AtomicU32>,
}

impl World {
    async fn start(servers: &[Server<'_>]) -> Self {
        // A port that is free at every address, over UDP and TCP.
        let (port, sockets) = loop {
            let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = first.local_addr().unwrap().port();
            drop(first);
            let mut sockets = Vec::new();
            for server in servers {
                let address = SocketAddr::from(([127, 0, 0, server.last_octet], port));
                let (Ok(udp), Ok(tcp)) =
                    (UdpSocket::bind(address).await, TcpListener::bind(address).await)
                else {
                    break;
                };
                sockets.push((udp, tcp));
            }
            if sockets.len() == servers.len() {
                break (port, sockets);
            }
        };
        let packets = Arc::new(AtomicU32::new(0));
        let mut asked = BTreeMap::new();
        for (server, (udp, tcp)) in servers.iter().zip(sockets) {
            let log: Arc<Mutex<Vec<String>>> = Arc::default();
            asked.insert(server.last_octet, Arc::clone(&log));
            let fake = Arc::new(Fake {
                manner: server.manner,
                zones: server.zones.iter().map(|text| Zone::parse(text)).collect(),
                log,
                packets: Arc::clone(&packets),
            });
            tokio::spawn(serve_udp(udp, Arc::clone(&fake)));
            let has_tcp = matches!(fake.manner, Manner::CutsUdp | Manner::LowersCase);
            if has_tcp {
                tokio::spawn(serve_tcp(tcp, fake));
            }
        }
        Self { port, asked, packets }
    }

    fn settings(&self) -> AuthoritativeSettings {
        AuthoritativeSettings {
            roots: vec![self.address(1)],
            port: self.port,
            reach: Reach::Any,
            patience: Patience {
                udp_timeout: Duration::from_millis(300),
                tries: 1,
                tcp_timeout: Duration::from_millis(1000),
                letter_case: LetterCase::Random,
            },
            ..AuthoritativeSettings::default()
        }
    }

    fn client(&self) -> AuthoritativeClient {
        AuthoritativeClient::new(self.settings())
    }

    fn address(&self, last_octet: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, last_octet], self.port))
    }

    fn asked(&self, last_octet: u8) -> Vec<String> {
        self.asked[&last_octet].lock().unwrap().clone()
    }
}

struct Fake {
    manner: Manner,
    zones: Vec<Zone>,
    log: Arc<Mutex<Vec<String>>>,
    packets: Arc<AtomicU32>,
}

struct Zone {
    origin: Name,
    records: Vec<(Name, RData)>,
}

impl Zone {
    fn parse(text: &str) -> Self {
        let mut lines = text.lines();
        let origin = absolute(lines.next().unwrap().split(' ').next().unwrap());
        let records = lines.map(|line| {
            let mut words = line.splitn(3, ' ');
            let owner = absolute(words.next().unwrap());
            let (kind, value) = (words.next().unwrap(), words.next().unwrap());
            let data = match kind {
                "A" => RData::A(A(value.parse::<Ipv4Addr>().unwrap())),
                "NS" => RData::NS(NS(absolute(value))),
                "CNAME" => RData::CNAME(CNAME(absolute(value))),
                "TXT" => RData::TXT(TXT::from_bytes(value.as_bytes().chunks(255).collect())),
                other => panic!("{other}"),
            };
            (owner, data)
        });
        Self { origin, records: records.collect() }
    }

    fn of<'a>(&'a self, owner: &'a Name) -> impl Iterator<Item = &'a RData> + Clone {
        self.records.iter().filter(move |(name, _)| name == owner).map(|(_, data)| data)
    }

    fn soa(&self) -> Record {
        let data = SOA::new(self.origin.clone(), self.origin.clone(), 1, 1, 1, 1, 77);
        Record::from_rdata(self.origin.clone(), 600, RData::SOA(data))
    }
}

fn absolute(text: &str) -> Name {
    let labels: Vec<&[u8]> =
        text.split('.').filter(|label| !label.is_empty()).map(str::as_bytes).collect();
    Name::from_labels(labels).unwrap()
}

impl Fake {
    fn answer(&self, packet: &[u8], is_udp: bool) -> Option<Vec<u8>> {
        let request = Message::from_vec(packet).unwrap();
        let query = request.queries[0].clone();
        self.packets.fetch_add(1, Ordering::SeqCst);
        let asked = format!("{} {}", query.name().to_lowercase(), query.query_type());
        self.log.lock().unwrap().push(asked);

        let mut reply = Message::response(request.metadata.id, request.metadata.op_code);
        reply.add_query(query.clone());
        if request.edns.is_some() {
            reply.set_edns(Edns::new());
        }
        match self.manner {
            Manner::Silent => return None,
            Manner::Fails(code) => reply.metadata.response_code = code,
            Manner::Lame => {}
            Manner::CutsUdp | Manner::CutsUdpOnly if is_udp => reply.metadata.truncation = true,
            Manner::Good
            | Manner::CutsUdp
            | Manner::CutsUdpOnly
            | Manner::Garbled
            | Manner::DeniesEmpty
            | Manner::LowersCase
            | Manner::Wildcard
            | Manner::FailsForOthers => self.fill(query.name(), query.query_type(), &mut reply),
        }
        if self.manner == Manner::FailsForOthers
            && query.query_type() == RecordType::TXT
            && reply.answers.is_empty()
        {
            reply.metadata.response_code = ResponseCode::ServFail;
        }
        if self.manner == Manner::LowersCase && is_udp {
            // All letters the other way round differ from any random case.
            let swap = |label: &[u8]| -> Vec<u8> {
                label.iter().map(|o| if o.is_ascii_alphabetic() { o ^ 0x20 } else { *o }).collect()
            };
            let labels: Vec<Vec<u8>> = query.name().iter().map(swap).collect();
            reply.queries[0].set_name(Name::from_labels(labels).unwrap());
        }
        let mut octets = reply.to_vec().unwrap();
        if self.manner == Manner::Garbled {
            octets[7] += 1;
            octets.extend([0xc0, 0xff, 0, 16]);
        }
        Some(octets)
    }

    fn fill(&self, owner: &Name, kind: RecordType, reply: &mut Message) {
        let zones = self.zones.iter().filter(|zone| zone.origin.zone_of(owner));
        let Some(zone) = zones.max_by_key(|zone| zone.origin.num_labels()) else {
            reply.metadata.response_code = ResponseCode::Refused;
            return;
        };
        let record =
            |name: &Name, data: &RData| Record::from_rdata(name.clone(), 300, data.clone());
        // A cut below the zone's own apex and at or above the name.
        let cut = (0..owner.num_labels())
            .map(|skip| owner.trim_to(usize::from(owner.num_labels() - skip)))
            .filter(|name| *name != zone.origin && zone.origin.zone_of(name))
            .find(|name| zone.of(name).any(|data| matches!(data, RData::NS(_))));
        if let Some(cut) = cut {
            for data in zone.of(&cut) {
                reply.add_authority(record(&cut, data));
                let RData::NS(NS(host)) = data else { continue };
                for zone in &self.zones {
                    for address in zone.of(host) {
                        reply.add_additional(record(host, address));
                    }
                }
            }
            return;
        }
        reply.metadata.authoritative = true;
        let found = zone.of(owner);
        let wildcard = absolute("*");
        let found: Vec<&RData> =
            if found.clone().next().is_none() && self.manner == Manner::Wildcard {
                zone.of(&wildcard).collect()
            } else {
                found.collect()
            };
        let wanted = |data: &&RData| matches!(data, RData::CNAME(_)) || data.record_type() == kind;
        for data in found.iter().copied().filter(wanted) {
            reply.add_answer(record(owner, data));
        }
        if reply.answers.is_empty() {
            let has_below =
                zone.records.iter().any(|(name, _)| name != owner && owner.zone_of(name));
            let exists = !found.is_empty()
                || *owner == zone.origin
                || (has_below && self.manner != Manner::DeniesEmpty);
            if !exists {
                reply.metadata.response_code = ResponseCode::NXDomain;
            }
            reply.add_authority(zone.soa());
        }
    }
}

async fn serve_udp(socket: UdpSocket, fake: Arc<Fake>) {
    let mut buffer = [0; 2000];
    loop {
        let (len, peer) = socket.recv_from(&mut buffer).await.unwrap();
        if let Some(reply) = fake.answer(&buffer[..len], true) {
            socket.send_to(&reply, peer).await.unwrap();
        }
    }
}

async fn serve_tcp(listener: TcpListener, fake: Arc<Fake>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let len = stream.read_u16().await.unwrap();
        let mut packet = vec![0; usize::from(len)];
        stream.read_exact(&mut packet).await.unwrap();
        let reply = fake.answer(&packet, false).unwrap();
        stream.write_u16(u16::try_from(reply.len()).unwrap()).await.unwrap();
        stream.write_all(&reply).await.unwrap();
    }
}

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn wanted() -> WantedKey {
    WantedKey::parse(KEY.as_bytes()).unwrap()
}

async fn look_with(client: &AuthoritativeClient, domain: &str) -> KeyLook {
    client.look(&Selector::parse("s").unwrap(), &name(domain)).await.unwrap()
}

async fn look(world: &World, domain: &str) -> KeyLook {
    look_with(&world.client(), domain).await
}

fn verdict(look: &KeyLook) -> (Verdict, Vec<&'static str>) {
    let judgement = judge(look, &wanted());
    let codes = judgement.findings.iter().map(postseal_dns::Finding::code).collect();
    (judgement.verdict, codes)
}

/// A zone with a key record, and `more` lines.
fn zone_with(more: &str) -> String {
    format!(
        "example.test\nexample.test NS ns1.example.test\nns1.example.test A 127.0.0.3{}{more}",
        if more.is_empty() { "" } else { "\n" }
    )
}

fn key_line() -> String {
    format!("s._domainkey.example.test TXT {KEY}")
}

/// The zone `test`, in which example.test has servers at these addresses.
fn test_zone(octets: &[u8]) -> String {
    let mut text = "test".to_owned();
    for octet in octets {
        text += &format!(
            "\nexample.test NS ns{octet}.example.test\nns{octet}.example.test A 127.0.0.{octet}"
        );
    }
    text
}

#[tokio::test]
async fn walks_from_the_root_to_all_servers_of_the_zone() {
    let zone = zone_with(&key_line());
    let test = test_zone(&[3, 4]);
    let world = World::start(&[
        server(1, Manner::Good, &[ROOT]),
        server(2, Manner::Good, &[&test]),
        server(3, Manner::Good, &[&zone]),
        server(4, Manner::Good, &[&zone]),
    ])
    .await;
    let client = world.client();
    let seen = look_with(&client, "example.test").await;

    assert_eq!(verdict(&seen), (Verdict::Seen, vec![]), "{seen:#?}");
    let [step] = seen.steps.as_slice() else { panic!("{seen:#?}") };
    assert_eq!(step.zone, ZoneName::Domain(name("example.test")));
    assert_eq!(step.negative_ttl, Some(77));
    // ns1, which only the zone itself lists, is asked as well, at the address of ns3.
    let servers: Vec<_> =
        step.servers.iter().map(|server| (server.server.to_string(), server.listed)).collect();
    assert_eq!(
        servers,
        [
            ("ns3.example.test".into(), Listed::ByParent),
            ("ns4.example.test".into(), Listed::ByParent),
            ("ns1.example.test".into(), Listed::ByZoneOnly),
        ]
    );
    assert!(
        matches!(step.answers().next(), Some(Answer::Texts { texts, ttl: 300 }) if *texts[0] == *KEY.as_bytes())
    );

    // The top-level zone is known by now, and the domain's own servers are found anew.
    let asked_root = world.asked(1).len();
    let asked_test = world.asked(2).len();
    assert_eq!(verdict(&look_with(&client, "example.test").await).0, Verdict::Seen);
    assert_eq!(world.asked(1).len(), asked_root);
    assert!(world.asked(2).len() > asked_test);
}

#[tokio::test]
async fn an_alias_is_followed_across_zones() {
    let zone = zone_with("s._domainkey.example.test CNAME k.esp.test");
    let test = test_zone(&[3]) + "\nesp.test NS ns.esp.test\nns.esp.test A 127.0.0.4";
    let esp =
        format!("esp.test\nesp.test NS ns.esp.test\nns.esp.test A 127.0.0.4\nk.esp.test TXT {KEY}");
    let world = World::start(&[
        server(1, Manner::Good, &[ROOT]),
        server(2, Manner::Good, &[&test]),
        server(3, Manner::Good, &[&zone]),
        server(4, Manner::Good, &[&esp]),
    ])
    .await;
    let seen = look(&world, "example.test").await;
    assert_eq!(verdict(&seen), (Verdict::Seen, vec![]), "{seen:#?}");
    let zones: Vec<_> = seen.steps.iter().map(|step| step.zone.to_string()).collect();
    assert_eq!(zones, ["example.test", "esp.test"]);
    assert_eq!(seen.end, ChainEnd::Complete);
}

#[tokio::test]
async fn addresses_outside_the_bailiwick_are_looked_up_and_not_believed() {
    // The server of evil.test gives an address for a name server that is not its own: 127.0.0.9, where
    // a forged key waits. The true address, found by walking, is 127.0.0.5.
    let test = "test\nevil.test NS ns.evil.test\nns.evil.test A 127.0.0.3\n\
        host.test NS ns.host.test\nns.host.test A 127.0.0.4";
    let evil = "evil.test\nevil.test NS ns.evil.test\nns.evil.test A 127.0.0.3\n\
        sub.evil.test NS dns.host.test";
    let forged_glue = "host.test\ndns.host.test A 127.0.0.9";
    let host =
        "host.test\nhost.test NS ns.host.test\nns.host.test A 127.0.0.4\ndns.host.test A 127.0.0.5";
    let sub = format!(
        "sub.evil.test\nsub.evil.test NS dns.host.test\ns._domainkey.sub.evil.test TXT {KEY}"
    );
    let forged = format!(
        "sub.evil.test\nsub.evil.test NS dns.host.test\ns._domainkey.sub.evil.test TXT {OTHER}"
    );
    let world = World::start(&[
        server(1, Manner::Good, &[ROOT]),
        server(2, Manner::Good, &[test]),
        server(3, Manner::Good, &[evil, forged_glue]),
        server(4, Manner::Good, &[host]),
        server(5, Manner::Good, &[&sub]),
        server(9, Manner::Good, &[&forged]),
    ])
    .await;
    let seen = look(&world, "sub.evil.test").await;
    assert_eq!(verdict(&seen), (Verdict::Seen, vec![]), "{seen:#?}");
    assert_eq!(seen.steps[0].servers[0].addresses[0].address, world.address(5));
    assert_eq!(world.asked(9), [""; 0]);
}

#[tokio::test]
async fn each_way_to_fail_is_told_apart_and_a_majority_is_enough() {
    // The zone lists the same servers as its parent.
    let zone = test_zone(&[3, 4, 5]).replacen("test", "example.test", 1) + "\n" + &key_line();
    let test = test_zone(&[3, 4, 5]);
    let silent = |error| Answer::NoReply(error);
    let cases = [
        (Manner::Silent, silent(ExchangeError::Timeout), "D41"),
        (Manner::Fails(ResponseCode::ServFail), Answer::Failed(ReplyCode::ServFail), "D41"),
        (Manner::Fails(ResponseCode::Refused), Answer::Failed(ReplyCode::Refused), "D41"),
        (Manner::Lame, Answer::Lame, "D41"),
        (Manner::Garbled, silent(ExchangeError::Malformed), "D41"),
        (Manner::CutsUdpOnly, silent(ExchangeError::TcpFailed), "D46"),
    ];
    for (manner, want, code) in cases {
        for (bad, verdict_wanted) in [(1, Verdict::Seen), (2, Verdict::NotSeen)] {
            let manner_of = |octet| if octet < 3 + bad { manner } else { Manner::Good };
            let world = World::start(&[
                server(1, Manner::Good, &[ROOT]),
                server(2, Manner::Good, &[&test]),
                server(3, manner_of(3), &[&zone]),
                server(4, manner_of(4), &[&zone]),
                server(5, manner_of(5), &[&zone]),
            ])
            .await;
            let seen = look(&world, "example.test").await;
            let servers = &seen.steps[0].servers;
            assert_eq!(servers.len(), 3, "{seen:#?}");
            assert_eq!(servers[0].addresses[0].answer, want, "{manner:?}: {seen:#?}");
            let (got, codes) = verdict(&seen);
            assert_eq!(got, verdict_wanted, "{manner:?} at {bad}: {seen:#?}");
            assert!(codes.contains(&code), "{manner:?}: {codes:?}");
        }
    }
}

#[tokio::test]
async fn a_cut_answer_and_a_changed_case_are_fetched_over_tcp() {
    let zone = zone_with(&key_line());
    let test = test_zone(&[3]);
    for manner in [Manner::CutsUdp, Manner::LowersCase] {
        let world = World::start(&[
            server(1, Manner::Good, &[ROOT]),
            server(2, Manner::Good, &[&test]),
            server(3, manner, &[&zone]),
        ])
        .await;
        let seen = look(&world, "example.test").await;
        assert_eq!(verdict(&seen), (Verdict::Seen, vec![]), "{manner:?}: {seen:#?}");
    }
}

#[tokio::test]
async fn circles_and_long_chains_end() {
    let lines: Vec<String> =
        (0..20).map(|n| format!("a{n}.example.test CNAME a{}.example.test", n + 1)).collect();
    let cases = [
        (
            "s._domainkey.example.test CNAME b.example.test\nb.example.test CNAME s._domainkey.example.test".to_owned(),
            ChainEnd::Loop(name("s._domainkey.example.test")),
            2,
            Verdict::Gone,
        ),
        (
            "s._domainkey.example.test CNAME s._domainkey.example.test".to_owned(),
            ChainEnd::Loop(name("s._domainkey.example.test")),
            1,
            Verdict::Gone,
        ),
        (
            format!("s._domainkey.example.test CNAME a0.example.test\n{}", lines.join("\n")),
            ChainEnd::TooLong,
            9,
            Verdict::NotSeen,
        ),
    ];
    for (records, end, steps, verdict_wanted) in cases {
        let zone = zone_with(&records);
        let test = test_zone(&[3]);
        let world = World::start(&[
            server(1, Manner::Good, &[ROOT]),
            server(2, Manner::Good, &[&test]),
            server(3, Manner::Good, &[&zone]),
        ])
        .await;
        let seen = look(&world, "example.test").await;
        assert_eq!((&seen.end, seen.steps.len()), (&end, steps), "{seen:#?}");
        assert_eq!(verdict(&seen).0, verdict_wanted);
    }
}

#[tokio::test]
async fn servers_that_disagree_are_named() {
    let right = zone_with(&key_line());
    let stale = zone_with("");
    let test = test_zone(&[3, 4, 5]);
    for (zones, want) in
        [([&right, &right, &stale], Verdict::NotSeen), ([&stale, &stale, &stale], Verdict::Gone)]
    {
        let world = World::start(&[
            server(1, Manner::Good, &[ROOT]),
            server(2, Manner::Good, &[&test]),
            server(3, Manner::Good, &[zones[0]]),
            server(4, Manner::Good, &[zones[1]]),
            server(5, Manner::Good, &[zones[2]]),
        ])
        .await;
        let seen = look(&world, "example.test").await;
        let judgement = judge(&seen, &wanted());
        assert_eq!(judgement.verdict, want, "{seen:#?}");
        if want == Verdict::NotSeen {
            assert_eq!(
                judgement.findings,
                [postseal_dns::Finding::ServersDisagree {
                    name: name("s._domainkey.example.test"),
                    wrong: vec![ServerName::Host(name("ns5.example.test"))],
                }]
            );
        }
    }
}

#[tokio::test]
async fn what_a_wildcard_answers_is_refused() {
    let wild = zone_with(&format!("* TXT {KEY}"));
    let wild_alias = zone_with("* CNAME k.example.test") + &format!("\nk.example.test TXT {KEY}");
    let beside = zone_with(&key_line()) + "\n* TXT v=spf1 -all";
    let test = test_zone(&[3]);
    for (zone, want) in [
        (wild, (Verdict::NotSeen, vec!["D29"])),
        (wild_alias, (Verdict::NotSeen, vec!["D29"])),
        (beside, (Verdict::Seen, vec!["D29"])),
    ] {
        let world = World::start(&[
            server(1, Manner::Good, &[ROOT]),
            server(2, Manner::Good, &[&test]),
            server(3, Manner::Wildcard, &[&zone]),
        ])
        .await;
        let seen = look(&world, "example.test").await;
        assert_eq!(verdict(&seen), want, "{seen:#?}");
    }
}

#[tokio::test]
async fn a_record_beside_which_servers_answer_nothing_is_not_seen() {
    let zone = zone_with(&key_line());
    let test = test_zone(&[3]);
    let world = World::start(&[
        server(1, Manner::Good, &[ROOT]),
        server(2, Manner::Good, &[&test]),
        server(3, Manner::FailsForOthers, &[&zone]),
    ])
    .await;
    let seen = look(&world, "example.test").await;
    assert_eq!(verdict(&seen), (Verdict::NotSeen, vec!["D29"]), "{seen:#?}");
}

#[tokio::test]
async fn a_wildcard_is_looked_for_before_its_alias_is_followed() {
    let zone = zone_with("* CNAME k.example.test") + &format!("\nk.example.test TXT {KEY}");
    let test = test_zone(&[3]);
    let world = World::start(&[
        server(1, Manner::Good, &[ROOT]),
        server(2, Manner::Good, &[&test]),
        server(3, Manner::Wildcard, &[&zone]),
    ])
    .await;
    let seen = look(&world, "example.test").await;
    assert_eq!(verdict(&seen), (Verdict::NotSeen, vec!["D29"]), "{seen:#?}");
    let texts: Vec<String> =
        world.asked(3).into_iter().filter(|asked| asked.ends_with(" TXT")).collect();
    let target = texts.iter().position(|asked| asked.starts_with("k.example.test")).unwrap();
    let key = "s._domainkey.example.test";
    let sibling = texts
        .iter()
        .position(|asked| !asked.starts_with(key) && asked.contains("._domainkey.example.test"));
    assert!(sibling.unwrap() < target, "{texts:?}");
}

#[tokio::test]
async fn a_missing_record_is_looked_for_where_it_may_have_slipped() {
    let cases = [
        (format!("s._domainkey.example.test.example.test TXT {KEY}"), Some(Slip::DomainTwice)),
        (format!("s.example.test TXT {KEY}"), Some(Slip::Label)),
        (format!("s.domainkey.example.test TXT {KEY}"), Some(Slip::Underscore)),
        ("s.example.test TXT v=spf1 -all".to_owned(), None),
        ("other.example.test A 127.0.0.1".to_owned(), None),
    ];
    let test = test_zone(&[3]);
    for (line, want) in cases {
        let zone = zone_with(&line);
        let world = World::start(&[
            server(1, Manner::Good, &[ROOT]),
            server(2, Manner::Good, &[&test]),
            server(3, Manner::Good, &[&zone]),
        ])
        .await;
        let seen = look(&world, "example.test").await;
        assert_eq!(seen.misplaced.as_ref().map(|found| found.slip), want, "{seen:#?}");
        let judgement = judge(&seen, &wanted());
        assert_eq!(judgement.verdict, Verdict::Gone);
        assert_eq!(judgement.negative_ttl, Some(77));
    }
}

#[tokio::test]
async fn a_proxied_name_and_a_missing_domain_are_told() {
    let test = test_zone(&[3]);
    let zone = zone_with("s._domainkey.example.test A 127.0.0.1");
    let world = World::start(&[
        server(1, Manner::Good, &[ROOT]),
        server(2, Manner::Good, &[&test]),
        server(3, Manner::Good, &[&zone]),
    ])
    .await;
    assert_eq!(verdict(&look(&world, "example.test").await), (Verdict::Gone, vec!["D09"]));

    let missing = look(&world, "nobody.test").await;
    assert_eq!(missing.denied_ancestor.as_ref().unwrap().name, name("nobody.test"));
    assert_eq!(missing.steps[0].zone, ZoneName::Domain(name("test")));
    assert_eq!(verdict(&missing), (Verdict::Gone, vec!["D48"]));

    let no_top_level = look(&world, "example.nowhere").await;
    assert_eq!(no_top_level.steps[0].zone, ZoneName::Root);
    assert_eq!(verdict(&no_top_level), (Verdict::Gone, vec!["D48"]));
}

#[tokio::test]
async fn a_server_that_denies_empty_names_hides_nothing_from_us() {
    let zone = zone_with(&key_line());
    let test = test_zone(&[3]);
    let world = World::start(&[
        server(1, Manner::Good, &[ROOT]),
        server(2, Manner::Good, &[&test]),
        server(3, Manner::DeniesEmpty, &[&zone]),
    ])
    .await;
    let seen = look(&world, "example.test").await;
    assert_eq!(seen.denied_ancestor.as_ref().unwrap().name, name("_domainkey.example.test"));
    assert_eq!(verdict(&seen), (Verdict::Seen, vec!["D43"]), "{seen:#?}");
}

#[tokio::test]
async fn zones_within_zones_are_found_also_on_the_same_server() {
    // 127.0.0.3 has example.test and its child _domainkey.example.test; the child is on 127.0.0.4 too,
    // and there the record is missing.
    let parent = zone_with(
        "_domainkey.example.test NS ns1.example.test\n_domainkey.example.test NS ns4.example.test\n\
         ns4.example.test A 127.0.0.4",
    );
    let child = format!(
        "_domainkey.example.test\n_domainkey.example.test NS ns1.example.test\n\
         _domainkey.example.test NS ns4.example.test\ns._domainkey.example.test TXT {KEY}"
    );
    let stale = child.lines().take(3).collect::<Vec<_>>().join("\n");
    let test = test_zone(&[3]);
    let world = World::start(&[
        server(1, Manner::Good, &[ROOT]),
        server(2, Manner::Good, &[&test]),
        server(3, Manner::Good, &[&parent, &child]),
        server(4, Manner::Good, &[&stale]),
    ])
    .await;
    let seen = look(&world, "example.test").await;
    assert_eq!(seen.steps[0].zone, ZoneName::Domain(name("_domainkey.example.test")));
    assert_eq!(verdict(&seen), (Verdict::NotSeen, vec!["D42", "D44"]), "{seen:#?}");
}

#[tokio::test]
async fn a_zone_that_begins_at_the_record_itself_is_found_by_referral() {
    let zone = zone_with(
        "s._domainkey.example.test NS ns.s._domainkey.example.test\nns.s._domainkey.example.test A 127.0.0.4",
    );
    let below = format!(
        "s._domainkey.example.test\ns._domainkey.example.test NS ns.s._domainkey.example.test\ns._domainkey.example.test TXT {KEY}\nns.s._domainkey.example.test A 127.0.0.4"
    );
    let test = test_zone(&[3]);
    let world = World::start(&[
        server(1, Manner::Good, &[ROOT]),
        server(2, Manner::Good, &[&test]),
        server(3, Manner::Good, &[&zone]),
        server(4, Manner::Good, &[&below]),
    ])
    .await;
    let seen = look(&world, "example.test").await;
    assert_eq!(
        seen.steps[0].zone,
        ZoneName::Domain(name("s._domainkey.example.test")),
        "{seen:#?}"
    );
    assert_eq!(verdict(&seen).0, Verdict::Seen, "{seen:#?}");
}

#[tokio::test]
async fn configured_servers_are_asked_in_place_of_walking() {
    let zone = zone_with(&key_line());
    let world = World::start(&[
        server(1, Manner::Good, &[ROOT]),
        server(3, Manner::Good, &[&zone]),
        server(4, Manner::Good, &["test"]),
    ])
    .await;
    let settings = AuthoritativeSettings {
        servers: BTreeMap::from([
            (name("test"), vec![world.address(4)]),
            (name("example.test"), vec![world.address(3)]),
        ]),
        // Configured addresses may be of an inner network.
        reach: Reach::Public,
        ..world.settings()
    };
    let client = AuthoritativeClient::new(settings);
    let seen = look_with(&client, "example.test").await;
    assert_eq!(verdict(&seen), (Verdict::Seen, vec![]), "{seen:#?}");
    assert_eq!(seen.steps[0].servers[0].listed, Listed::ByConfiguration);
    assert_eq!(seen.steps[0].negative_ttl, Some(77));
    assert_eq!(world.asked(1), [""; 0]);
    assert_eq!(world.asked(4), [""; 0]);
    let missing = look_with(&client, "other.test").await;
    assert_eq!(verdict(&missing), (Verdict::Gone, vec!["D01"]));
    assert!(!world.asked(4).is_empty());
}

#[tokio::test]
async fn a_zone_cannot_send_us_into_the_inner_network() {
    let zone = zone_with(&key_line());
    let test = test_zone(&[3]);
    let world = World::start(&[
        server(1, Manner::Good, &[". test\ntest NS ns.test\nns.test A 127.0.0.2"]),
        server(2, Manner::Good, &[&test]),
        server(3, Manner::Good, &[&zone]),
    ])
    .await;
    let settings = AuthoritativeSettings { reach: Reach::Public, ..world.settings() };
    let seen = look_with(&AuthoritativeClient::new(settings), "example.test").await;
    assert_eq!(
        seen.steps[0].answers().next(),
        Some(&Answer::NoReply(ExchangeError::NotPublic)),
        "{seen:#?}"
    );
    assert_eq!(world.asked(2), [""; 0]);
}

#[tokio::test]
async fn an_alias_to_octets_that_no_host_has_is_not_asked() {
    let zone = zone_with("s._domainkey.example.test CNAME k\u{0}x.esp.test");
    let test = test_zone(&[3]);
    let world = World::start(&[
        server(1, Manner::Good, &[ROOT]),
        server(2, Manner::Good, &[&test]),
        server(3, Manner::Good, &[&zone]),
    ])
    .await;
    let seen = look(&world, "example.test").await;
    let target = Target::NotAHost(r"k\000x.esp.test.".into());
    assert_eq!(seen.end, ChainEnd::NotAName(target));
    assert_eq!(verdict(&seen), (Verdict::Gone, vec!["D07"]));
}

#[tokio::test]
async fn the_bounds_of_a_look_hold_against_a_zone_that_leads_everywhere() {
    // Twenty servers in twenty zones, each with twenty servers in the next ones, and nobody at home.
    let mut test = "test".to_owned();
    for number in 0..40 {
        for server in 0..20 {
            let next = (number * 7 + server * 3 + 1) % 40;
            test += &format!("\nz{number}.test NS ns{server}.z{next}.test");
        }
    }
    let world =
        World::start(&[server(1, Manner::Good, &[ROOT]), server(2, Manner::Good, &[&test])]).await;
    let started = Instant::now();
    let settings =
        AuthoritativeSettings { packets: 60, time: Duration::from_secs(5), ..world.settings() };
    let seen = look_with(&AuthoritativeClient::new(settings), "z0.test").await;
    assert_eq!(verdict(&seen).0, Verdict::NotSeen);
    assert!(world.packets.load(Ordering::SeqCst) <= 60);
    assert!(started.elapsed() < Duration::from_secs(6));
}

#[tokio::test]
async fn silent_servers_do_not_take_more_than_the_time_of_a_look() {
    let zone = zone_with(&key_line());
    let test = test_zone(&[3, 4]);
    let world = World::start(&[
        server(1, Manner::Good, &[ROOT]),
        server(2, Manner::Good, &[&test]),
        server(3, Manner::Silent, &[&zone]),
        server(4, Manner::Silent, &[&zone]),
    ])
    .await;
    let started = Instant::now();
    let seen = look(&world, "example.test").await;
    // The servers are asked on the way, found silent, and then once more for the record itself.
    let timeouts = seen.steps[0]
        .answers()
        .filter(|answer| **answer == Answer::NoReply(ExchangeError::Timeout));
    assert_eq!(timeouts.count(), 2, "{seen:#?}");
    assert_eq!(verdict(&seen), (Verdict::NotSeen, vec!["D41"; 3]));
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[test]
fn root_hints_are_thirteen_servers_with_two_addresses_each() {
    let hints = postseal_dns::root_hints();
    assert_eq!(hints.len(), 26);
    assert!(hints.contains(&SocketAddr::new(IpAddr::from([198, 41, 0, 4]), 53)));
    assert!(hints.iter().all(|address| address.port() == 53));
}

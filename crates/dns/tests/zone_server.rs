//! The zone server over real sockets, asked by raw packets and by our own client.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use postseal_dkim::{DomainName, Selector};
use postseal_dns::{
    AuthoritativeClient, AuthoritativeSettings, RecordChange, ServedZones, Verdict, WantedKey,
    ZoneApex, ZoneNameServer, ZoneServer, ZoneServerCounters, ZoneServerSettings, judge,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const KEY: &str = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
const OWNER: &str = "s._domainkey.dkim.test";

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn zones() -> ServedZones {
    let zones = ServedZones::new();
    zones
        .define(ZoneApex {
            origin: name("dkim.test"),
            name_servers: vec![ZoneNameServer {
                name: name("ns1.dkim.test"),
                addresses: vec![IpAddr::from([192, 0, 2, 1])],
            }],
            contact: name("hostmaster.dkim.test"),
            serial: 1,
        })
        .unwrap();
    zones.set_text(&name(OWNER), KEY.as_bytes()).unwrap();
    zones
}

struct Running {
    zones: ServedZones,
    address: SocketAddr,
    counters: ZoneServerCounters,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(settings: ZoneServerSettings) -> Self {
        let zones = zones();
        let settings =
            ZoneServerSettings { listen: vec!["127.0.0.1:0".parse().unwrap()], ..settings };
        let server = ZoneServer::bind(settings, zones.clone()).await.unwrap();
        let address = server.local_addrs()[0];
        let counters = server.counters();
        let stop = CancellationToken::new();
        let task = tokio::spawn(server.run(stop.clone()));
        Self { zones, address, counters, stop, task }
    }
}

fn query(owner: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_ascii(format!("{owner}.")).unwrap(), kind));
    message
}

async fn over_udp(server: SocketAddr, query: &Message) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(server).await.unwrap();
    socket.send(&query.to_vec().unwrap()).await.unwrap();
    let mut buffer = [0; 2000];
    let len = socket.recv(&mut buffer).await.unwrap();
    let reply = Message::from_vec(&buffer[..len]).unwrap();
    assert_eq!(reply.metadata.id, query.metadata.id);
    reply
}

async fn send(stream: &mut TcpStream, query: &Message) {
    let packet = query.to_vec().unwrap();
    stream.write_u16(u16::try_from(packet.len()).unwrap()).await.unwrap();
    stream.write_all(&packet).await.unwrap();
}

async fn receive(stream: &mut TcpStream) -> io::Result<Message> {
    let len = stream.read_u16().await?;
    let mut packet = vec![0; usize::from(len)];
    stream.read_exact(&mut packet).await?;
    Ok(Message::from_vec(&packet).unwrap())
}

#[tokio::test]
async fn a_change_is_served_at_once_over_udp_and_tcp() {
    let running = Running::start(ZoneServerSettings::default()).await;
    let ask = || query("new.dkim.test", RecordType::TXT);
    let reply = over_udp(running.address, &ask()).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);

    running.zones.set_text(&name("new.dkim.test"), b"first").unwrap();
    let reply = over_udp(running.address, &ask()).await;
    assert!(reply.metadata.authoritative);
    assert_eq!(reply.answers.len(), 1);

    running
        .zones
        .apply([RecordChange::Set { owner: name("new.dkim.test"), text: (*b"second").into() }])
        .unwrap();
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    send(&mut stream, &ask()).await;
    let reply = receive(&mut stream).await.unwrap();
    let RData::TXT(txt) = &reply.answers[0].data else { panic!("{reply:?}") };
    assert_eq!(txt.txt_data.concat(), b"second");

    let figures = running.counters.figures();
    assert_eq!((figures.udp, figures.tcp, figures.records, figures.no_such_name), (2, 1, 2, 1));
}

#[tokio::test]
async fn our_own_client_sees_what_is_served() {
    let running = Running::start(ZoneServerSettings::default()).await;
    let settings = AuthoritativeSettings {
        servers: BTreeMap::from([(name("dkim.test"), vec![running.address])]),
        ..AuthoritativeSettings::default()
    };
    let client = AuthoritativeClient::new(settings);
    let wanted = WantedKey::parse(KEY.as_bytes()).unwrap();
    let selector = Selector::parse("s").unwrap();

    let look = client.look(&selector, &name("dkim.test")).await.unwrap();
    let judgement = judge(&look, &wanted);
    assert_eq!((judgement.verdict, judgement.findings), (Verdict::Seen, vec![]), "{look:#?}");
    assert_eq!(judgement.negative_ttl, Some(60));

    running.zones.remove(&name(OWNER)).unwrap();
    let look = client.look(&selector, &name("dkim.test")).await.unwrap();
    assert_eq!(judge(&look, &wanted).verdict, Verdict::Gone);

    // A record that needs TCP.
    let long = format!("v=DKIM1; k=ed25519; n={}; {}", "x".repeat(2000), &KEY[20..]);
    running.zones.set_text(&name(OWNER), long.as_bytes()).unwrap();
    let look = client.look(&selector, &name("dkim.test")).await.unwrap();
    assert_eq!(judge(&look, &wanted).verdict, Verdict::Seen, "{look:#?}");
    assert_eq!(running.counters.figures().tcp, 1);
}

#[tokio::test]
async fn transfers_and_updates_are_refused_over_tcp_too() {
    let running = Running::start(ZoneServerSettings::default()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let mut update = query("dkim.test", RecordType::SOA);
    update.metadata.op_code = OpCode::Update;
    for message in
        [query("dkim.test", RecordType::AXFR), query("dkim.test", RecordType::IXFR), update]
    {
        send(&mut stream, &message).await;
        let reply = receive(&mut stream).await.unwrap();
        assert_eq!(reply.metadata.response_code, ResponseCode::Refused, "{message:?}");
        assert!(reply.answers.is_empty());
    }
}

#[tokio::test]
async fn several_questions_on_one_connection_are_answered_in_order() {
    let running = Running::start(ZoneServerSettings::default()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let questions = [
        query(OWNER, RecordType::TXT),
        query("x.dkim.test", RecordType::TXT),
        query("dkim.test", RecordType::SOA),
    ];
    for question in &questions {
        send(&mut stream, question).await;
    }
    for question in &questions {
        assert_eq!(receive(&mut stream).await.unwrap().metadata.id, question.metadata.id);
    }
}

#[tokio::test]
async fn connections_are_bounded_and_idle_ones_are_closed() {
    let running = Running::start(ZoneServerSettings {
        max_connections_per_address: 2,
        idle_timeout: Duration::from_millis(300),
        ..ZoneServerSettings::default()
    })
    .await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        send(&mut stream, &query(OWNER, RecordType::TXT)).await;
        receive(&mut stream).await.unwrap();
        open.push(stream);
    }
    let mut refused = TcpStream::connect(running.address).await.unwrap();
    let got = refused.read_u16().await;
    assert!(got.is_err(), "{got:?}");
    assert_eq!(running.counters.figures().connections_refused, 1);

    // One octet of a question does not hold a connection for longer.
    let started = Instant::now();
    let mut idle = open.pop().unwrap();
    idle.write_all(&[0]).await.unwrap();
    assert!(idle.read_u16().await.is_err());
    assert!(open.pop().unwrap().read_u16().await.is_err());
    assert!(started.elapsed() < Duration::from_secs(3));

    // And its place is free again, as soon as the task has ended.
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        send(&mut stream, &query(OWNER, RecordType::TXT)).await;
        if receive(&mut stream).await.is_ok() {
            break;
        }
        assert!(Instant::now() < deadline, "the places were not given back");
    }
}

#[tokio::test]
async fn a_flood_from_one_network_is_sent_to_tcp() {
    let running = Running::start(ZoneServerSettings::default()).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(running.address).await.unwrap();
    let mut question = query(OWNER, RecordType::TXT);
    question.set_edns(Edns::new());
    let packet = question.to_vec().unwrap();
    let mut buffer = [0; 2000];
    let mut cut = 0;
    for _ in 0..200 {
        socket.send(&packet).await.unwrap();
        // Some get no answer at all, so none is waited for beyond the next question.
        while let Ok(len) = socket.try_recv(&mut buffer) {
            cut += u32::from(Message::from_vec(&buffer[..len]).unwrap().metadata.truncation);
        }
        tokio::task::yield_now().await;
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    while running.counters.figures().udp < 200 && Instant::now() < deadline {
        tokio::task::yield_now().await;
    }
    while let Ok(len) = socket.try_recv(&mut buffer) {
        cut += u32::from(Message::from_vec(&buffer[..len]).unwrap().metadata.truncation);
    }
    let limited = running.counters.figures().rate_limited;
    assert!(limited >= 120, "{limited} of 200, in at most three different seconds");
    assert!(cut > 0 && u64::from(cut) < limited, "{cut} of {limited}");

    let mut stream = TcpStream::connect(running.address).await.unwrap();
    send(&mut stream, &question).await;
    assert_eq!(receive(&mut stream).await.unwrap().answers.len(), 1);
}

#[tokio::test]
async fn at_the_stop_it_ends_although_a_connection_is_open() {
    let running = Running::start(ZoneServerSettings::default()).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    send(&mut stream, &query(OWNER, RecordType::TXT)).await;
    receive(&mut stream).await.unwrap();

    running.stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), running.task).await.unwrap().unwrap();
    assert!(receive(&mut stream).await.is_err());
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let running = Running::start(ZoneServerSettings::default()).await;
    let settings =
        ZoneServerSettings { listen: vec![running.address], ..ZoneServerSettings::default() };
    let error = ZoneServer::bind(settings, ServedZones::new()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot serve DNS on {}", running.address));
}

//! A small DNS server for tests and the demo: one table of records, on a loopback port.
//!
//! It answers as the authority for every name (AA), and follows its own aliases as a resolver would
//! (RA), so that it can stand for either. A name without records is NXDOMAIN, one that only has names
//! below it or other records is NODATA, both with an SOA whose negative TTL is [`NEGATIVE_TTL`].
//!
//! It is written on `hickory-proto` alone and shares no code with Postseal's own server and client, so
//! that a mistake in those is not repeated here.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, MX, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

/// A running DNS server; it ends when this value is dropped.
#[derive(Debug)]
pub struct DnsFixture {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
    tasks: Vec<JoinHandle<()>>,
}

impl DnsFixture {
    /// Starts a server without records on a free port of 127.0.0.1, UDP and TCP.
    ///
    /// # Panics
    ///
    /// If no such port can be opened.
    pub async fn start() -> Self {
        Self::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .await
            .expect("a loopback port is free")
    }

    /// Starts a server on an address of the caller's choice; port 0 means any free one.
    pub async fn start_on(address: SocketAddr) -> io::Result<Self> {
        let (udp, tcp) = bind_both(address).await?;
        let address = udp.local_addr()?;
        let state = Arc::new(Mutex::new(State::default()));
        let tasks = vec![
            tokio::spawn(serve_udp(udp, Arc::clone(&state))),
            tokio::spawn(serve_tcp(tcp, Arc::clone(&state))),
        ];
        Ok(Self { state, address, tasks })
    }

    /// Where it listens, UDP and TCP alike.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes `text` the one TXT record of `name`, split into strings of at most 255 octets.
    pub fn set_txt(&self, name: &str, text: &str) {
        self.set_txt_records(name, &[text]);
    }

    /// Gives `name` one TXT record for each text.
    pub fn set_txt_records(&self, name: &str, texts: &[&str]) {
        let data = texts.iter().map(|text| txt(text.as_bytes())).collect();
        self.set(name, RecordType::TXT, data);
    }

    /// Gives `name` these MX hosts, with preferences 10, 20, and so on.
    pub fn set_mx(&self, name: &str, hosts: &[&str]) {
        let data = hosts
            .iter()
            .zip((10..).step_by(10))
            .map(|(host, preference)| RData::MX(MX::new(preference, absolute(host))))
            .collect();
        self.set(name, RecordType::MX, data);
    }

    /// Makes `name` an alias of `target`; its other records go.
    pub fn set_cname(&self, name: &str, target: &str) {
        let mut state = self.lock();
        let node = state.node(name);
        *node = Node::default();
        node.records.insert(RecordType::CNAME, vec![RData::CNAME(CNAME(absolute(target)))]);
    }

    /// Gives `name` an IPv4 address.
    pub fn set_a(&self, name: &str, address: Ipv4Addr) {
        self.set(name, RecordType::A, vec![RData::A(A(address))]);
    }

    /// Answers SERVFAIL to every question about `name`, until it is set or removed.
    pub fn set_servfail(&self, name: &str) {
        self.lock().node(name).behaviour = Behaviour::ServFail;
    }

    /// Leaves every question about `name` without a reply, until it is set or removed.
    pub fn set_silent(&self, name: &str) {
        self.lock().node(name).behaviour = Behaviour::Silent;
    }

    /// Removes all there is of `name`.
    pub fn remove(&self, name: &str) {
        self.lock().nodes.remove(&key(&absolute(name)));
    }

    /// The number of questions so far, whatever their name.
    #[must_use]
    pub fn queries(&self) -> u64 {
        self.lock().asked.values().sum()
    }

    /// The number of questions so far about `name`, of any type.
    #[must_use]
    pub fn queries_for(&self, name: &str) -> u64 {
        self.lock().asked.get(&key(&absolute(name))).copied().unwrap_or(0)
    }

    fn set(&self, name: &str, kind: RecordType, data: Vec<RData>) {
        let mut state = self.lock();
        let node = state.node(name);
        node.behaviour = Behaviour::Answer;
        node.records.remove(&RecordType::CNAME);
        node.records.insert(kind, data);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for DnsFixture {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

#[derive(Debug, Default)]
struct State {
    nodes: HashMap<String, Node>,
    asked: HashMap<String, u64>,
}

#[derive(Debug, Default)]
struct Node {
    behaviour: Behaviour,
    records: HashMap<RecordType, Vec<RData>>,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Behaviour {
    #[default]
    Answer,
    ServFail,
    Silent,
}

#[derive(Clone, Copy, Debug)]
enum Transport {
    Udp,
    Tcp,
}

impl State {
    fn node(&mut self, name: &str) -> &mut Node {
        self.nodes.entry(key(&absolute(name))).or_default()
    }

    /// Answers one packet that came over `transport`, or not at all.
    fn answer(&mut self, packet: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let request = Message::from_vec(packet).ok()?;
        if request.metadata.message_type != MessageType::Query {
            return None;
        }
        let mut response = Message::response(request.metadata.id, request.metadata.op_code);
        response.metadata.recursion_desired = request.metadata.recursion_desired;
        response.add_queries(request.queries.iter().cloned());
        if request.edns.is_some() {
            let mut ours = Edns::new();
            ours.set_max_payload(UDP_PAYLOAD);
            response.set_edns(ours);
        }
        let limit = match transport {
            Transport::Udp => request.max_payload().min(UDP_PAYLOAD),
            Transport::Tcp => u16::MAX,
        };
        match request.queries.as_slice() {
            [query] if request.metadata.op_code == OpCode::Query => {
                *self.asked.entry(key(query.name())).or_default() += 1;
                self.fill(&mut response, query.name(), query.query_type())?;
            }
            _ => response.metadata.response_code = ResponseCode::NotImp,
        }
        let octets = response.to_vec().ok()?;
        if octets.len() <= usize::from(limit) {
            return Some(octets);
        }
        response.truncate().to_vec().ok()
    }

    fn fill(&self, response: &mut Message, name: &Name, kind: RecordType) -> Option<()> {
        response.metadata.authoritative = true;
        response.metadata.recursion_available = true;
        let mut owner = name.clone();
        for _ in 0..MAX_ALIASES {
            let Some(node) = self.nodes.get(&key(&owner)) else {
                if kind == RecordType::SOA && owner.num_labels() == 1 {
                    response.add_answer(soa(&owner));
                    return Some(());
                }
                if !self.has_names_below(&owner) {
                    response.metadata.response_code = ResponseCode::NXDomain;
                }
                response.add_authority(soa(&owner));
                return Some(());
            };
            match node.behaviour {
                Behaviour::Silent => return None,
                Behaviour::ServFail => {
                    response.metadata.authoritative = false;
                    response.metadata.response_code = ResponseCode::ServFail;
                    return Some(());
                }
                Behaviour::Answer => {}
            }
            let alias = node.records.get(&RecordType::CNAME).and_then(|data| data.first());
            let found = node.records.get(&kind).map_or(&[] as &[RData], Vec::as_slice);
            for data in alias.into_iter().chain(found) {
                response.add_answer(Record::from_rdata(owner.clone(), TTL, data.clone()));
            }
            match alias {
                Some(RData::CNAME(CNAME(target))) if kind != RecordType::CNAME => {
                    owner = target.clone();
                }
                Some(_) | None => {
                    if found.is_empty() && alias.is_none() {
                        response.add_authority(soa(&owner));
                    }
                    return Some(());
                }
            }
        }
        response.metadata.response_code = ResponseCode::ServFail;
        Some(())
    }

    fn has_names_below(&self, name: &Name) -> bool {
        let suffix = format!(".{}", key(name));
        self.nodes.keys().any(|owner| owner.ends_with(&suffix))
    }
}

async fn bind_both(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut tries = 0;
    loop {
        let tcp = TcpListener::bind(address).await?;
        // The port that is free for TCP may be taken for UDP; then another is tried.
        match UdpSocket::bind(tcp.local_addr()?).await {
            Ok(udp) => return Ok((udp, tcp)),
            Err(error) if address.port() != 0 || tries == MAX_BIND_TRIES => return Err(error),
            Err(_) => tries += 1,
        }
    }
}

async fn serve_udp(socket: UdpSocket, state: Arc<Mutex<State>>) {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let Ok((len, peer)) = socket.recv_from(&mut buffer).await else { continue };
        let reply =
            buffer.get(..len).and_then(|packet| lock(&state).answer(packet, Transport::Udp));
        if let Some(reply) = reply {
            // A peer that went away is no concern of the fixture.
            let _ = socket.send_to(&reply, peer).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, state: Arc<Mutex<State>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            // The peer closing the connection is how it ends.
            let _ = serve_connection(stream, &state).await;
        });
    }
}

async fn serve_connection(mut stream: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    loop {
        let len = stream.read_u16().await?;
        let mut packet = vec![0; usize::from(len)];
        stream.read_exact(&mut packet).await?;
        let reply = lock(state).answer(&packet, Transport::Tcp);
        let Some(reply) = reply else { continue };
        let mut framed =
            u16::try_from(reply.len()).map_err(io::Error::other)?.to_be_bytes().to_vec();
        framed.extend(reply);
        stream.write_all(&framed).await?;
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn txt(text: &[u8]) -> RData {
    let mut strings: Vec<&[u8]> = text.chunks(255).collect();
    if strings.is_empty() {
        strings.push(b"");
    }
    RData::TXT(TXT::from_bytes(strings))
}

fn soa(name: &Name) -> Record {
    let zone = name.trim_to(1);
    let contact = absolute("hostmaster.invalid");
    let data = SOA::new(absolute("ns.invalid"), contact, 1, 3600, 600, 86400, NEGATIVE_TTL);
    Record::from_rdata(zone, NEGATIVE_TTL, RData::SOA(data))
}

fn absolute(name: &str) -> Name {
    let labels = name.trim_end_matches('.').split('.').filter(|label| !label.is_empty());
    Name::from_labels(labels.map(str::as_bytes)).expect("the test gives a valid name")
}

fn key(name: &Name) -> String {
    name.to_lowercase().to_ascii()
}

/// The TTL of every record, in seconds.
pub const TTL: u32 = 300;

/// TTL and MINIMUM of the SOA in negative answers, in seconds.
pub const NEGATIVE_TTL: u32 = 60;

const UDP_PAYLOAD: u16 = 1232;
const MAX_ALIASES: usize = 16;
const MAX_BIND_TRIES: usize = 16;

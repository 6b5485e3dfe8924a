//! One question to one server: UDP first, TCP when the reply was cut (RFC 1035 §4.2, RFC 7766).
//!
//! Against forgery (RFC 5452): each query has a fresh random id and its own socket, so that the kernel
//! draws a port; the socket is connected, so that only that server's packets arrive; the letters of the
//! name may have random case. A packet that does not fit is passed over and the wait goes on. A reply in
//! which only the case differs is asked for again over TCP, where nobody off the path can answer.
//!
//! ```text
//!  UDP, EDNS ──reply──────────────────────────────▶ done
//!     ├── FORMERR or NOTIMP without OPT ──▶ UDP, no EDNS
//!     ├── TC set, or case differs ────────▶ TCP ──▶ done
//!     └── nothing in time ──▶ again, `tries` times ──▶ Timeout
//! ```
//!
//! Every packet and connection is paid from the [`Budget`] of the look-up, which also has its deadline.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

use crate::message::{
    Extension, LetterCase, Question, Received, Reply, ReplyCode, SentQuestion, UDP_PAYLOAD,
};

/// How long and how often one server is asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Patience {
    /// How long a reply over UDP is waited for, each time.
    pub udp_timeout: Duration,
    /// How often a question is sent over UDP before the server counts as silent; at least once.
    pub tries: u8,
    /// How long connecting, asking and reading over TCP may take together.
    pub tcp_timeout: Duration,
    /// Whether names are sent in random case.
    pub letter_case: LetterCase,
}

impl Default for Patience {
    /// 2 s, twice; 5 s for TCP. No official reference; resolvers wait 0.4 to 5 s.
    fn default() -> Self {
        Self {
            udp_timeout: Duration::from_secs(2),
            tries: 2,
            tcp_timeout: Duration::from_secs(5),
            letter_case: LetterCase::Random,
        }
    }
}

/// What one look-up may still spend: packets sent, and time.
#[derive(Debug)]
pub(crate) struct Budget {
    packets: AtomicU32,
    deadline: Instant,
}

impl Budget {
    pub(crate) fn new(packets: u32, time: Duration) -> Self {
        Self { packets: AtomicU32::new(packets), deadline: Instant::now() + time }
    }

    /// Says whether nothing more can be asked.
    pub(crate) fn is_spent(&self) -> bool {
        self.packets.load(Ordering::Relaxed) == 0 || Instant::now() >= self.deadline
    }

    fn take(&self) -> Result<(), ExchangeError> {
        if Instant::now() >= self.deadline {
            return Err(ExchangeError::OutOfBudget);
        }
        self.packets
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .map(|_| ())
            .map_err(|_| ExchangeError::OutOfBudget)
    }

    fn within(&self, wait: Duration) -> Instant {
        self.deadline.min(Instant::now() + wait)
    }
}

/// Why a server gave no reply.
#[derive(Clone, Copy, Debug, Eq, Error, Hash, PartialEq)]
#[non_exhaustive]
pub enum ExchangeError {
    /// Nothing came in time.
    #[error("no reply in time")]
    Timeout,
    /// The host or its network said that nobody is there, or this host has no way to it.
    #[error("not reachable: {0}")]
    Unreachable(io::ErrorKind),
    /// What came is not a DNS message, or contradicts itself.
    #[error("the reply cannot be read")]
    Malformed,
    /// The reply over UDP was cut, and the whole was not to be had over TCP (RFC 7766 §5).
    #[error("the reply is too long for UDP and the server does not give it over TCP")]
    TcpFailed,
    /// The server's address is of an inner network, and the zone it comes from is not trusted to send
    /// packets there.
    #[error("not asked: the address is not of the public Internet")]
    NotPublic,
    /// The look-up had used up its packets or its time before this server could answer.
    #[error("not asked to the end: the look-up had used up its bounds")]
    OutOfBudget,
}

/// Asks `server`, and returns its reply to this question.
pub(crate) async fn ask(
    server: SocketAddr,
    question: &Question,
    patience: &Patience,
    budget: &Budget,
) -> Result<Reply, ExchangeError> {
    let mut extension = Extension::Edns;
    let mut garbage = false;
    let mut tries = patience.tries.max(1);
    while tries > 0 {
        tries -= 1;
        let sent = SentQuestion::new(question, patience.letter_case, extension)
            .map_err(|_| ExchangeError::Malformed)?;
        match over_udp(server, &sent, patience, budget).await? {
            UdpOutcome::Reply(reply) if reply.truncated => {
                return over_tcp(server, question, patience, budget).await.map_err(as_tcp_failure);
            }
            UdpOutcome::Reply(reply)
                if extension == Extension::Edns
                    && !reply.has_edns
                    && matches!(reply.code, ReplyCode::FormErr | ReplyCode::NotImp) =>
            {
                // RFC 6891 §7: an old server. It is asked again without, as part of the same try.
                extension = Extension::None;
                tries += 1;
            }
            UdpOutcome::Reply(reply) => return Ok(reply),
            UdpOutcome::CaseDiffers => {
                return over_tcp(server, question, patience, budget).await;
            }
            UdpOutcome::Garbage => garbage = true,
            UdpOutcome::Silence => {}
        }
    }
    Err(if garbage { ExchangeError::Malformed } else { ExchangeError::Timeout })
}

#[derive(Debug)]
enum UdpOutcome {
    Reply(Reply),
    CaseDiffers,
    /// Nothing fitting came, but something with our id that is no message.
    Garbage,
    Silence,
}

async fn over_udp(
    server: SocketAddr,
    sent: &SentQuestion,
    patience: &Patience,
    budget: &Budget,
) -> Result<UdpOutcome, ExchangeError> {
    budget.take()?;
    let deadline = budget.within(patience.udp_timeout);
    let unreachable = |error: io::Error| ExchangeError::Unreachable(error.kind());

    let local = match server {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(local).await.map_err(unreachable)?;
    socket.connect(server).await.map_err(unreachable)?;
    socket.send(&sent.octets).await.map_err(unreachable)?;

    let mut garbage = false;
    let mut buffer = [0; RECEIVE_LEN];
    for _ in 0..MAX_STRAY_PACKETS {
        let len = match timeout_at(deadline, socket.recv(&mut buffer)).await {
            Err(_elapsed) => break,
            Ok(received) => received.map_err(unreachable)?,
        };
        match sent.read(buffer.get(..len).unwrap_or_default()) {
            Received::Reply(reply) => return Ok(UdpOutcome::Reply(reply)),
            Received::CaseDiffers => return Ok(UdpOutcome::CaseDiffers),
            Received::Garbage => garbage = true,
            Received::Foreign => {}
        }
    }
    Ok(if garbage { UdpOutcome::Garbage } else { UdpOutcome::Silence })
}

async fn over_tcp(
    server: SocketAddr,
    question: &Question,
    patience: &Patience,
    budget: &Budget,
) -> Result<Reply, ExchangeError> {
    budget.take()?;
    let deadline = budget.within(patience.tcp_timeout);
    // Over TCP the case protects nothing, and a server that changes it must get its say.
    let sent = SentQuestion::new(question, LetterCase::Lower, Extension::Edns)
        .map_err(|_| ExchangeError::Malformed)?;
    match timeout_at(deadline, tcp_exchange(server, &sent.octets)).await {
        Err(_elapsed) => Err(ExchangeError::Timeout),
        Ok(Err(error)) => Err(ExchangeError::Unreachable(error.kind())),
        Ok(Ok(packet)) => match sent.read(&packet) {
            Received::Reply(reply) if !reply.truncated => Ok(reply),
            Received::CaseDiffers | Received::Foreign | Received::Garbage | Received::Reply(_) => {
                Err(ExchangeError::Malformed)
            }
        },
    }
}

/// Sends one message and reads one, each behind its length (RFC 1035 §4.2.2).
async fn tcp_exchange(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let len = u16::try_from(query.len()).map_err(io::Error::other)?;
    // One write: some servers want length and message in one segment (RFC 7766 §8).
    let mut framed = Vec::with_capacity(query.len() + 2);
    framed.extend(len.to_be_bytes());
    framed.extend(query);
    stream.write_all(&framed).await?;

    let len = stream.read_u16().await?;
    let mut packet = Vec::new();
    // Grows with what comes and not with what is announced.
    (&mut stream).take(u64::from(len)).read_to_end(&mut packet).await?;
    if packet.len() < usize::from(len) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(packet)
}

fn as_tcp_failure(error: ExchangeError) -> ExchangeError {
    match error {
        ExchangeError::OutOfBudget => ExchangeError::OutOfBudget,
        ExchangeError::Malformed => ExchangeError::Malformed,
        ExchangeError::NotPublic
        | ExchangeError::TcpFailed
        | ExchangeError::Timeout
        | ExchangeError::Unreachable(_) => ExchangeError::TcpFailed,
    }
}

/// Room for a reply of the announced payload, and for servers that send more.
const RECEIVE_LEN: usize = UDP_PAYLOAD as usize + 2864;

/// Packets that do not fit are passed over, but a flood of them is not read to the deadline.
const MAX_STRAY_PACKETS: usize = 64;

#[cfg(test)]
mod tests {
    use hickory_proto::op::{Message, ResponseCode};
    use hickory_proto::rr::rdata::TXT;
    use hickory_proto::rr::{Name, RData, Record};
    use postseal_dkim::DomainName;
    use tokio::net::TcpListener;

    use super::*;
    use crate::message::{Kind, Recursion};

    fn question() -> Question {
        Question {
            name: DomainName::parse("s1._domainkey.example.com").unwrap(),
            kind: Kind::Txt,
            recursion: Recursion::No,
        }
    }

    fn patience() -> Patience {
        Patience {
            udp_timeout: Duration::from_millis(150),
            tcp_timeout: Duration::from_millis(500),
            ..Patience::default()
        }
    }

    fn budget() -> Budget {
        Budget::new(20, Duration::from_secs(5))
    }

    fn reply(query: &[u8], text: &[u8]) -> Message {
        let query = Message::from_vec(query).unwrap();
        let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
        reply.metadata.authoritative = true;
        reply.add_queries(query.queries.iter().cloned());
        let name = query.queries[0].name().clone();
        let strings = text.chunks(255).collect();
        reply.add_answer(Record::from_rdata(name, 300, RData::TXT(TXT::from_bytes(strings))));
        reply
    }

    fn text(reply: &Reply) -> &[u8] {
        reply.answers[0].data.text().unwrap()
    }

    /// A UDP server that sends what `script` makes of each packet and its number.
    async fn fake_udp<F>(script: F) -> SocketAddr
    where
        F: Fn(usize, &[u8]) -> Vec<Vec<u8>> + Send + 'static,
    {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 2000];
            for number in 0.. {
                let (len, peer) = socket.recv_from(&mut buffer).await.unwrap();
                for packet in script(number, &buffer[..len]) {
                    socket.send_to(&packet, peer).await.unwrap();
                }
            }
        });
        address
    }

    /// A TCP server on the port of `address` that answers each connection with `text`.
    async fn fake_tcp(address: SocketAddr, text: Vec<u8>) {
        let listener = TcpListener::bind(address).await.unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let len = stream.read_u16().await.unwrap();
                let mut query = vec![0; usize::from(len)];
                stream.read_exact(&mut query).await.unwrap();
                let packet = reply(&query, &text).to_vec().unwrap();
                stream.write_u16(u16::try_from(packet.len()).unwrap()).await.unwrap();
                stream.write_all(&packet).await.unwrap();
            }
        });
    }

    #[tokio::test]
    async fn a_forged_packet_before_the_reply_is_passed_over() {
        let server = fake_udp(|_, query| {
            let mut wrong_id = reply(query, b"forged");
            wrong_id.metadata.id ^= 1;
            let mut wrong_name = reply(query, b"forged");
            wrong_name.queries[0].set_name(Name::from_ascii("other.example.").unwrap());
            let mut garbage = query[..2].to_vec();
            garbage.extend([0xff; 30]);
            vec![
                wrong_id.to_vec().unwrap(),
                wrong_name.to_vec().unwrap(),
                garbage,
                reply(query, b"true").to_vec().unwrap(),
            ]
        })
        .await;
        let got = ask(server, &question(), &patience(), &budget()).await.unwrap();
        assert_eq!(text(&got), b"true");
    }

    #[tokio::test]
    async fn a_second_try_reaches_a_server_that_lost_the_first() {
        let server = fake_udp(|number, query| match number {
            0 => vec![],
            _ => vec![reply(query, b"second").to_vec().unwrap()],
        })
        .await;
        let got = ask(server, &question(), &patience(), &budget()).await.unwrap();
        assert_eq!(text(&got), b"second");
    }

    #[tokio::test]
    async fn silence_is_a_timeout_and_garbage_is_malformed() {
        let silent = fake_udp(|_, _| vec![]).await;
        let got = ask(silent, &question(), &patience(), &budget()).await;
        assert_eq!(got.unwrap_err(), ExchangeError::Timeout);

        let garbled = fake_udp(|_, query| vec![query[..2].to_vec()]).await;
        let got = ask(garbled, &question(), &patience(), &budget()).await;
        assert_eq!(got.unwrap_err(), ExchangeError::Malformed);
    }

    #[tokio::test]
    async fn a_closed_port_is_unreachable_at_once() {
        let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let patient = Patience { udp_timeout: Duration::from_secs(60), ..patience() };
        let budget = Budget::new(20, Duration::from_secs(60));
        let started = Instant::now();
        let got = ask(closed, &question(), &patient, &budget).await;
        assert_eq!(got.unwrap_err(), ExchangeError::Unreachable(io::ErrorKind::ConnectionRefused));
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[tokio::test]
    async fn a_cut_reply_is_fetched_over_tcp() {
        let server = fake_udp(|_, query| {
            let mut cut = reply(query, b"cut");
            cut.answers.clear();
            cut.metadata.truncation = true;
            vec![cut.to_vec().unwrap()]
        })
        .await;
        let got = ask(server, &question(), &patience(), &budget()).await;
        assert_eq!(got.unwrap_err(), ExchangeError::TcpFailed);

        let long = vec![b'x'; 3000];
        fake_tcp(server, long.clone()).await;
        let got = ask(server, &question(), &patience(), &budget()).await.unwrap();
        assert_eq!(text(&got), long);
    }

    #[tokio::test]
    async fn a_server_that_changes_the_case_is_asked_over_tcp() {
        let server = fake_udp(|_, query| {
            let mut lower = reply(query, b"forged?");
            let name = lower.queries[0].name().to_lowercase();
            // Swapping all letters makes sure that it differs, whatever was drawn.
            let swapped: Vec<Vec<u8>> = reply(query, b"").queries[0]
                .name()
                .iter()
                .map(|label| {
                    label.iter().map(|o| o ^ (0x20 * u8::from(o.is_ascii_alphabetic()))).collect()
                })
                .collect();
            lower.queries[0].set_name(Name::from_labels(swapped).unwrap());
            assert_eq!(lower.queries[0].name(), &name);
            vec![lower.to_vec().unwrap()]
        })
        .await;
        fake_tcp(server, b"true".to_vec()).await;
        let got = ask(server, &question(), &patience(), &budget()).await.unwrap();
        assert_eq!(text(&got), b"true");
    }

    #[tokio::test]
    async fn a_server_that_does_not_know_edns_is_asked_without() {
        let server = fake_udp(|_, query| {
            let message = Message::from_vec(query).unwrap();
            if message.edns.is_some() {
                let op_code = message.metadata.op_code;
                let error = Message::error_msg(message.metadata.id, op_code, ResponseCode::FormErr);
                return vec![error.to_vec().unwrap()];
            }
            vec![reply(query, b"plain").to_vec().unwrap()]
        })
        .await;
        let got = ask(server, &question(), &patience(), &budget()).await.unwrap();
        assert_eq!(text(&got), b"plain");
    }

    #[tokio::test]
    async fn the_budget_ends_the_asking() {
        let silent = fake_udp(|_, _| vec![]).await;
        let spent = Budget::new(1, Duration::from_secs(5));
        let got = ask(silent, &question(), &patience(), &spent).await;
        assert_eq!(got.unwrap_err(), ExchangeError::OutOfBudget);

        let late = Budget::new(10, Duration::ZERO);
        let got = ask(silent, &question(), &patience(), &late).await;
        assert_eq!(got.unwrap_err(), ExchangeError::OutOfBudget);
        assert!(late.is_spent());
    }
}

//! Connections of the HTTP API: so many at once, each with a limit for the arrival of a request.
//!
//! ```text
//!   a permit is free ──▶ accept ──▶ header within HEADER_TIMEOUT ──▶ router ──▶ answer ──┐
//!          ▲                                  ▲        │ too late                        │
//!          │                                  └────────┼──────── keep-alive ─────────────┤
//!          └───────────────────────────────────────────┴──────────── the end ◀───────────┘
//!
//!   shutdown: nothing is accepted, connections at rest end, the others have DRAIN
//! ```
//!
//! Whoever can reach the port can open connections without a key, and leave them as they are. Such a client
//! must not use up the process's descriptors, on which the mail depends, nor hold up its end.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus_client::metrics::counter::Counter;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How much, and for how long, a client may ask for.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The connections that are open at once. Further ones wait in the system's queue.
    pub connections: usize,
    /// How long the header of a request may take to arrive, from when the connection is opened or the answer
    /// before it is written. A connection without a request ends after this as well.
    pub header_timeout: Duration,
    /// How long requests under way may take after a shutdown.
    pub drain: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { connections: MAX_CONNECTIONS, header_timeout: HEADER_TIMEOUT, drain: DRAIN }
    }
}

/// Serves `router` to whoever connects to `listener`, until `shutdown` and at most [`Settings::drain`]
/// after it. A connection that panics ends alone and is counted in `panics`.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    settings: Settings,
    panics: Counter,
    shutdown: CancellationToken,
) {
    let router = TowerToHyperService::new(router);
    let permits = Arc::new(Semaphore::new(settings.connections));
    let mut connections = JoinSet::new();
    let ended = |ended: Result<(), JoinError>| {
        if ended.is_err_and(|error| error.is_panic()) {
            panics.inc();
            tracing::error!("an HTTP connection panicked, and ended alone");
        }
    };
    loop {
        // Nothing is lost when the wait is given up: neither a permit nor a connection is taken then.
        let next = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await)
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(result) = connections.join_next() => ended(result),
            (permit, accepted) = next => match accepted {
                Ok((stream, peer)) => {
                    let connection =
                        connection(stream, peer, router.clone(), settings, shutdown.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    // Out of descriptors, most often. The connection waits in the backlog.
                    tracing::warn!(%error, "an HTTP connection cannot be accepted");
                    sleep(PAUSE_AFTER_ERROR).await;
                }
            },
        }
    }
    drop(listener);
    let drained = timeout(settings.drain, async {
        while let Some(result) = connections.join_next().await {
            ended(result);
        }
    });
    if drained.await.is_err() {
        tracing::info!(connections = connections.len(), "HTTP connections are cut off");
        connections.shutdown().await;
    }
}

/// One connection to its end. What breaks it is the client's matter, and no news.
async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: TowerToHyperService<Router>,
    settings: Settings,
    shutdown: CancellationToken,
) {
    // An answer is written in few pieces; the last must not wait for the client's acknowledgement.
    let prepared = stream
        .set_nodelay(true)
        .and_then(|()| SockRef::from(&stream).set_tcp_user_timeout(Some(ANSWER_STALL)));
    if let Err(error) = prepared {
        tracing::debug!(%peer, %error, "an HTTP connection was gone at once");
        return;
    }
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        router.call(request)
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(settings.header_timeout)
            .max_buf_size(MAX_BUFFER)
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "an HTTP connection broke");
    }
}

/// The connections at once. Callers are programs of one organisation and a monitor; the mail needs the
/// descriptors more. No official reference.
const MAX_CONNECTIONS: usize = 256;
/// How long a header may take to arrive. No official reference; a header is one packet or two.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may leave an answer unread before the system ends its connection. No official reference.
const ANSWER_STALL: Duration = Duration::from_secs(30);
/// How long requests under way may take after a shutdown; what a cut-off request had begun to write is
/// not kept. No official reference; well below what the mail is given.
const DRAIN: Duration = Duration::from_secs(5);
/// The octets of a header, and what is read ahead of a body. No official reference; eight times what most
/// servers take for a header.
const MAX_BUFFER: usize = 64 << 10;
/// How long to let be after an error of `accept`, which would come again at once.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::Notify;
    use tokio::task::JoinHandle;

    use super::*;

    const WHOLE: &[u8] = b"GET /peer HTTP/1.1\r\nHost: a\r\n\r\n";
    const LAST: &[u8] = b"GET /peer HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    const HALF: &[u8] = b"GET /peer HTTP/1.1\r\nHost: a\r\nX-Half: ";
    const SHORT: Duration = Duration::from_millis(100);
    /// Nothing in these tests takes as long, so it is a failure.
    const LONG: Duration = Duration::from_secs(30);
    const UNHURRIED: Settings = Settings { connections: 10, header_timeout: LONG, drain: LONG };

    struct Server {
        address: SocketAddr,
        shutdown: CancellationToken,
        served: JoinHandle<()>,
        asked: Arc<Notify>,
        answer: Arc<Notify>,
    }

    impl Server {
        async fn start(settings: Settings) -> Self {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            let (asked, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
            let (on_asked, on_answer) = (Arc::clone(&asked), Arc::clone(&answer));
            let slow = move || async move {
                on_asked.notify_one();
                on_answer.notified().await;
                "slow"
            };
            let peer = |ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() };
            let router = Router::new().route("/peer", get(peer)).route("/slow", get(slow));
            let shutdown = CancellationToken::new();
            let served = serve(listener, router, settings, Counter::default(), shutdown.clone());
            Self { address, shutdown, served: tokio::spawn(served), asked, answer }
        }

        async fn client(&self, sends: &[u8]) -> TcpStream {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(sends).await.unwrap();
            stream
        }

        async fn stop(self) {
            self.shutdown.cancel();
            timeout(LONG / 2, self.served).await.expect("it ends in time").unwrap();
        }
    }

    /// What comes until the server ends the connection.
    async fn heard(stream: &mut TcpStream) -> String {
        let mut octets = Vec::new();
        // A connection that is cut off with something unread ends in an error.
        let _ = timeout(LONG / 2, stream.read_to_end(&mut octets)).await.expect("it ends");
        String::from_utf8(octets).unwrap()
    }

    #[tokio::test]
    async fn the_router_knows_who_connected() {
        let server = Server::start(UNHURRIED).await;
        let mut client = server.client(&[WHOLE, LAST].concat()).await;
        let peer = client.local_addr().unwrap().to_string();
        let answers = heard(&mut client).await;
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
        assert!(answers.ends_with(&format!("\r\n\r\n{peer}")), "{answers}");
        server.stop().await;
    }

    #[tokio::test]
    async fn a_request_that_is_sent_by_half_is_given_up() {
        let server = Server::start(Settings { header_timeout: SHORT, ..UNHURRIED }).await;
        for (sends, answers) in [(&b""[..], 0), (HALF, 0), (WHOLE, 1), (&[WHOLE, HALF].concat(), 1)]
        {
            let mut client = server.client(sends).await;
            let heard = heard(&mut client).await;
            assert_eq!(heard.matches("HTTP/1.1 200 OK").count(), answers, "{heard}");
        }
        server.stop().await;
    }

    #[tokio::test]
    async fn a_header_without_an_end_is_refused() {
        let server = Server::start(UNHURRIED).await;
        let mut client = server.client(HALF).await;
        // The server closes at some point of it.
        let _ = client.write_all(&vec![b'x'; MAX_BUFFER * 2]).await;
        let answer = heard(&mut client).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
        server.stop().await;
    }

    #[tokio::test]
    async fn one_connection_too_many_waits_for_another_to_end() {
        let server = Server::start(Settings { connections: 1, ..UNHURRIED }).await;
        let first = server.client(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
        server.asked.notified().await;
        let mut second = server.client(LAST).await;
        let early = timeout(SHORT, second.readable()).await;
        assert!(early.is_err(), "nothing is heard while the first is there");
        drop(first);
        assert!(heard(&mut second).await.starts_with("HTTP/1.1 200 OK"));
        server.stop().await;
    }

    #[tokio::test]
    async fn a_shutdown_answers_what_is_under_way_and_waits_for_no_half_request() {
        let server = Server::start(UNHURRIED).await;
        let mut idle = server.client(WHOLE).await;
        let mut slow = server.client(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
        server.asked.notified().await;
        server.shutdown.cancel();
        assert!(heard(&mut idle).await.starts_with("HTTP/1.1 200 OK"), "and is closed");
        server.answer.notify_one();
        assert!(heard(&mut slow).await.ends_with("slow"));
        server.stop().await;

        let server = Server::start(Settings { drain: SHORT, ..UNHURRIED }).await;
        let mut half = server.client(HALF).await;
        // It is served in the order of arrival: when this one has its answer, the half is being read.
        assert!(heard(&mut server.client(LAST).await).await.starts_with("HTTP/1.1 200 OK"));
        server.stop().await;
        assert_eq!(heard(&mut half).await, "");
    }
}

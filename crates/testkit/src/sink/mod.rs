//! An SMTP server that keeps what it gets: the next hop of a test.
//!
//! It can be told to refuse, to stall or to break the connection at each stage, once or from now on,
//! while connections are open ([`Sink::once`], [`Sink::always`]). What it answers 250 to after the
//! final dot it has stored; nothing else.
//!
//! One thread a connection, no TLS. When it is dropped, its connections end.

mod conversation;

use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use conversation::Conversation;

/// A running sink.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Sink {
    /// Starts a sink on a free port of 127.0.0.1 that stores every message.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub fn start() -> Result<Self> {
        Self::start_with(Settings::default())
    }

    /// Starts a sink.
    ///
    /// # Errors
    ///
    /// When the port cannot be had.
    pub fn start_with(settings: Settings) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, settings.port))
            .with_context(|| format!("the sink cannot listen on port {}", settings.port))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            settings,
            state: Mutex::default(),
            changed: Condvar::new(),
            connections: AtomicU64::new(0),
        });
        let of_thread = Arc::clone(&shared);
        thread::Builder::new()
            .name("sink".to_owned())
            .spawn(move || accept(&listener, &of_thread))?;
        Ok(Self { address, shared })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Does `action` the next time a connection comes to `stage`; several wait in a row.
    pub fn once(&self, stage: Stage, action: Action) {
        self.shared.lock().once.entry(stage).or_default().push_back(action);
    }

    /// Does `action` whenever a connection comes to `stage`, until [`Sink::obey`].
    pub fn always(&self, stage: Stage, action: Action) {
        self.shared.lock().always.insert(stage, action);
    }

    /// Answers RCPT for one address with `reply`, until [`Sink::obey`].
    pub fn refuse_recipient(&self, address: &str, reply: &str) {
        self.shared.lock().recipients.insert(address.to_owned(), reply.to_owned());
    }

    /// Forgets all that it was told to do, and lets stalled connections go on.
    pub fn obey(&self) {
        let mut state = self.shared.lock();
        state.once.clear();
        state.always.clear();
        state.recipients.clear();
        state.releases += 1;
        self.shared.changed.notify_all();
    }

    /// The messages stored so far, in the order of their final dots.
    pub fn messages(&self) -> Vec<Arc<Received>> {
        self.shared.lock().messages.clone()
    }

    /// How many messages were stored; a sink that only counts knows this too.
    pub fn count(&self) -> u64 {
        self.shared.lock().count
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Waits until `count` messages were stored in all, and returns those that are there then.
    ///
    /// # Errors
    ///
    /// When they do not come in `patience`.
    pub fn wait_for(&self, count: u64, patience: Duration) -> Result<Vec<Arc<Received>>> {
        let until = Instant::now() + patience;
        let mut state = self.shared.lock();
        while state.count < count {
            let Some(left) = until.checked_duration_since(Instant::now()) else {
                bail!("{} of {count} messages came to the sink in {patience:?}", state.count);
            };
            let (after, _) = self
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
            state = after;
        }
        Ok(state.messages.clone())
    }

    /// Waits until `count` connections stall ([`Action::Stall`]).
    ///
    /// # Errors
    ///
    /// When they do not in `patience`.
    pub fn wait_for_stalled(&self, count: usize, patience: Duration) -> Result<()> {
        let until = Instant::now() + patience;
        let mut state = self.shared.lock();
        while state.stalled < count {
            let Some(left) = until.checked_duration_since(Instant::now()) else {
                bail!("{} of {count} connections stalled in {patience:?}", state.stalled);
            };
            let (after, _) = self
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
            state = after;
        }
        Ok(())
    }

    /// The messages that were stored and not taken yet; from now on it no longer has them. [`Sink::count`] goes on.
    pub fn take(&self) -> Vec<Arc<Received>> {
        std::mem::take(&mut self.shared.lock().messages)
    }

    /// Ends it as a loss of power would: no message is answered any more. Gives what it had stored and was not
    /// taken yet, which is all that it can have answered.
    pub fn crash(self) -> Vec<Arc<Received>> {
        let mut state = self.shared.lock();
        state.stopped = true;
        for stream in state.open.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        std::mem::take(&mut state.messages)
    }

    /// Forgets the messages.
    pub fn clear(&self) {
        let mut state = self.shared.lock();
        state.messages.clear();
        state.count = 0;
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.stopped = true;
        state.releases += 1;
        for stream in state.open.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(state);
        self.shared.changed.notify_all();
        // The listener wakes up and sees that it is over.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

/// How a sink starts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The port of 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// The lines of its reply to EHLO after the first. BDAT is understood if CHUNKING is among them, AUTH
    /// PLAIN and LOGIN if AUTH is.
    pub extensions: Vec<String>,
    /// What it keeps.
    pub keep: Keep,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            port: 0,
            extensions: [
                "PIPELINING",
                "8BITMIME",
                "SMTPUTF8",
                "SIZE 104857600",
                "DSN",
                "ENHANCEDSTATUSCODES",
            ]
            .map(str::to_owned)
            .to_vec(),
            keep: Keep::Messages,
        }
    }
}

/// What a sink keeps of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Keep {
    /// All of it.
    Messages,
    /// That it came; for load tests.
    Count,
}

/// A message with its envelope.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Received {
    /// The argument of EHLO or HELO.
    pub hello: String,
    /// The user name of AUTH, if there was one.
    pub user: Option<String>,
    /// The password of AUTH.
    pub password: Option<String>,
    /// The address of MAIL FROM, without brackets; empty for `<>`.
    pub sender: String,
    /// What stands behind the address of MAIL FROM.
    pub sender_parameters: String,
    /// The addresses of RCPT TO, without brackets.
    pub recipients: Vec<String>,
    /// What stands behind the address of each RCPT TO.
    pub recipient_parameters: Vec<String>,
    /// The message, with dots removed and without the final dot.
    pub message: Vec<u8>,
}

/// A point of the conversation.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Stage {
    /// Before the greeting.
    Greeting,
    /// EHLO or HELO.
    Hello,
    /// AUTH, at its end.
    Auth,
    /// MAIL.
    Mail,
    /// RCPT.
    Recipient,
    /// DATA, before the message.
    Data,
    /// After the final dot.
    EndOfData,
    /// RSET.
    Reset,
    /// QUIT.
    Quit,
}

/// What a sink does instead of its usual answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Answers with this reply (one line without CRLF, such as `451 4.3.0 not now`) and stores nothing.
    Reply(String),
    /// Closes the connection without an answer and without storing.
    Close,
    /// Stores the message and closes the connection before the reply: the case in which no sender can
    /// know whether it was taken. Elsewhere than at [`Stage::EndOfData`] the same as [`Action::Close`].
    StoreAndClose,
    /// Says nothing until [`Sink::obey`], then answers as usual.
    Stall,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    state: Mutex<State>,
    changed: Condvar,
    connections: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    messages: Vec<Arc<Received>>,
    count: u64,
    once: HashMap<Stage, VecDeque<Action>>,
    always: HashMap<Stage, Action>,
    recipients: HashMap<String, String>,
    /// Open connections by number, so that they can be ended from outside.
    open: HashMap<u64, TcpStream>,
    /// Connections that stall.
    stalled: usize,
    /// Grows when stalled connections may go on.
    releases: u64,
    stopped: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to do at a stage, if anything; a stall has been waited for.
    fn action(&self, stage: Stage) -> Option<Action> {
        let mut state = self.lock();
        let action = state
            .once
            .get_mut(&stage)
            .and_then(VecDeque::pop_front)
            .or_else(|| state.always.get(&stage).cloned())?;
        if action != Action::Stall {
            return Some(action);
        }
        let before = state.releases;
        state.stalled += 1;
        self.changed.notify_all();
        while state.releases == before {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.stalled -= 1;
        None
    }

    fn store(&self, received: Received) {
        let mut state = self.lock();
        state.count += 1;
        if self.settings.keep == Keep::Messages {
            state.messages.push(Arc::new(received));
        }
        drop(state);
        self.changed.notify_all();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        let number = shared.connections.fetch_add(1, Ordering::Relaxed);
        {
            let mut state = shared.lock();
            if state.stopped {
                return;
            }
            if let Ok(clone) = stream.try_clone() {
                state.open.insert(number, clone);
            }
        }
        let shared = Arc::clone(shared);
        let _ = thread::Builder::new().name(format!("sink {number}")).spawn(move || {
            // An error ends this connection and is the other side's to notice.
            let _ = Conversation::new(&stream, &shared).and_then(|mut talk| talk.run());
            let _ = stream.shutdown(Shutdown::Both);
            shared.lock().open.remove(&number);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp_client::SmtpClient;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn stores_message_and_envelope_octet_for_octet() {
        let sink = Sink::start().unwrap();
        let mut client = SmtpClient::connect(sink.address()).unwrap();
        assert!(client.ehlo().unwrap().offers("SMTPUTF8"));
        let message = b"From: a@b.example\r\n\r\n.dot\r\n..\r\n\xff bare\nlf\r\n\r\n";
        let reply =
            client.send("a@b.example> SIZE=30", &["c@d.example", "e@f.example"], message).unwrap();
        assert_eq!(reply.code, 250, "{reply}");

        let stored = sink.wait_for(1, PATIENCE).unwrap();
        let first = stored.first().unwrap();
        assert_eq!(first.message, message);
        assert_eq!(first.sender, "a@b.example");
        assert_eq!(first.sender_parameters, "SIZE=30");
        assert_eq!(first.recipients, ["c@d.example", "e@f.example"]);
        assert_eq!(client.quit().unwrap().code, 221);
    }

    #[test]
    fn answers_as_told_once_and_always() {
        let sink = Sink::start().unwrap();
        let mut client = SmtpClient::connect(sink.address()).unwrap();
        client.ehlo().unwrap();
        sink.once(Stage::EndOfData, Action::Reply("451 4.3.0 not now".to_owned()));
        sink.refuse_recipient("no@d.example", "550 5.1.1 nobody");
        let mut send = |to: &str| client.send("a@b.example", &[to], b"x\r\n").unwrap().code;
        assert_eq!(send("c@d.example"), 451);
        assert_eq!(send("c@d.example"), 250);
        assert_eq!(send("no@d.example"), 550);
        sink.always(Stage::Mail, Action::Reply("421 4.3.2 closing".to_owned()));
        assert_eq!(send("c@d.example"), 421);
        assert!(client.is_closed());
        assert_eq!(sink.count(), 1);
    }

    #[test]
    fn stores_and_breaks_the_connection() {
        let sink = Sink::start().unwrap();
        let mut client = SmtpClient::connect(sink.address()).unwrap();
        client.ehlo().unwrap();
        sink.once(Stage::EndOfData, Action::StoreAndClose);
        client.send("a@b.example", &["c@d.example"], b"x\r\n").unwrap_err();
        assert_eq!(sink.wait_for(1, PATIENCE).unwrap().len(), 1);
    }

    #[test]
    fn stalls_until_it_is_released() {
        let sink = Sink::start().unwrap();
        sink.always(Stage::Mail, Action::Stall);
        let address = sink.address();
        let sender = thread::spawn(move || {
            let mut client = SmtpClient::connect(address).unwrap();
            client.ehlo().unwrap();
            client.send("a@b.example", &["c@d.example"], b"x\r\n").unwrap()
        });
        sink.wait_for_stalled(1, PATIENCE).unwrap();
        assert_eq!(sink.count(), 0);
        sink.obey();
        assert_eq!(sender.join().unwrap().code, 250);
    }

    #[test]
    fn takes_chunks_and_credentials() {
        let mut settings = Settings::default();
        settings.extensions.extend(["CHUNKING".to_owned(), "AUTH PLAIN LOGIN".to_owned()]);
        let sink = Sink::start_with(settings).unwrap();
        let mut client = SmtpClient::connect(sink.address()).unwrap();
        client.ehlo().unwrap();
        assert_eq!(client.auth_login("user", "one").unwrap().code, 235);
        assert_eq!(client.auth_plain("user", "two").unwrap().code, 235);
        client.mail("").unwrap();
        client.rcpt("c@d.example").unwrap();
        client.write_raw(b"BDAT 3\r\n.\r\n").unwrap();
        assert_eq!(client.read_reply().unwrap().code, 250);
        client.write_raw(b"BDAT 2 LAST\r\n.x").unwrap();
        assert_eq!(client.read_reply().unwrap().code, 250);
        let stored = sink.wait_for(1, PATIENCE).unwrap();
        let first = stored.first().unwrap();
        assert_eq!((first.message.as_slice(), first.sender.as_str()), (&b".\r\n.x"[..], ""));
        assert_eq!((first.user.as_deref(), first.password.as_deref()), (Some("user"), Some("two")));
    }
}

//! One connection of an MTA: bytes into the session, events to the signer, answers out.
//!
//! ```text
//!            ┌────────────── the MTA has sent all it will for now ──────────────┐
//!            ▼                                                                  │
//!   write what is due ──> wait for bytes ──> session ──> event ──> signer ──────┤
//!                           │ deadline, end of stream, shutdown at rest          │
//!                           ▼                                                   │
//!                         close <── quit, protocol error ───────────────────────┘
//! ```
//!
//! Everything that is owed to the MTA goes out in one write, just before we wait for it. The state
//! of a connection is owned by its task and by nobody else; a panic ends this connection alone.

use std::future::poll_fn;
use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use postseal_dkim::{Header, HeaderError, SignedField};
use postseal_engine::Removal;
use postseal_wire::milter::{
    Answer, EnhancedCode, Event, ModificationError, ProtocolError, Refusal, Reply, Session, State,
    Verdict,
};
use thiserror::Error;
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::Door;
use super::inbox::Inbox;
use super::listener::Stream;
use crate::signing::{Begin, InFlight};

/// How a connection ended without an error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// The MTA said so, or closed it.
    Closed,
    /// We are shutting down, and nothing was under way.
    ShutDown,
}

/// Serves one connection to its end.
pub(super) async fn serve(
    door: &Door,
    stream: Stream,
    shutdown: &CancellationToken,
) -> Result<End, ConnectionError> {
    let mut connection = Connection {
        stream,
        inbox: Inbox::default(),
        out: Vec::new(),
        patience: Patience { phase: Phase::Rest, began: Instant::now() },
    };
    let mut session = Session::new(door.macros());
    let mut message = MessageState::None;
    loop {
        let progress = session.handle(connection.inbox.unread(), &mut connection.out)?;
        let consumed = progress.consumed;
        match progress.event {
            None => {
                connection.inbox.consume(consumed);
                connection.write().await?;
                if let Some(end) = connection.read(session.state(), shutdown).await? {
                    return Ok(end);
                }
                continue;
            }
            Some(Event::Body(chunk)) => {
                if message.body(chunk).is_break() {
                    session.skip_body();
                }
            }
            Some(Event::EndOfHeader) => {
                connection.inbox.consume(consumed);
                message = begin(door, &session).await;
                if !matches!(message, MessageState::Signing(_)) {
                    session.skip_body();
                }
                continue;
            }
            Some(Event::Refused(refusal)) => {
                message = MessageState::Decided(match door.passes_unchecked(&session) {
                    true => Conclusion::say(Verdict::Continue),
                    false => Conclusion::say(refuse(refusal)),
                });
            }
            Some(Event::EndOfMessage) => {
                connection.inbox.consume(consumed);
                let ended = std::mem::replace(&mut message, MessageState::None);
                let conclusion = ended.conclude().await;
                // A session that asked takes the answer; what it would not take it puts off itself.
                if let Ok(answer) = session.answer(&mut connection.out) {
                    conclusion.give(answer);
                }
                continue;
            }
            Some(Event::Aborted) => message = MessageState::None,
            Some(Event::Quit) => {
                connection.write().await?;
                return Ok(End::Closed);
            }
        }
        connection.inbox.consume(consumed);
    }
}

/// The message at hand, as far as the signer is concerned.
enum MessageState {
    /// Nothing that could be signed: no header yet.
    None,
    /// It gets this answer, whatever its body.
    Decided(Conclusion),
    /// Its body is being hashed.
    Signing(Box<InFlight>),
}

impl MessageState {
    /// Looks at some of the body. Says `Break` if there is no use in more of it.
    fn body(&mut self, chunk: &[u8]) -> ControlFlow<()> {
        match self {
            Self::Signing(in_flight) => in_flight.body(chunk),
            Self::None | Self::Decided(_) => ControlFlow::Break(()),
        }
    }

    /// Waits for the signatures, if there are any.
    async fn conclude(self) -> Conclusion {
        match self {
            Self::Decided(conclusion) => conclusion,
            Self::Signing(in_flight) => match in_flight.finish().await {
                Ok(signed) => Conclusion {
                    remove: signed.remove,
                    insert: signed.fields,
                    verdict: Verdict::Continue,
                },
                Err(refusal) => Conclusion::say(reply_of(&refusal)),
            },
            // The session announces each header before its end.
            Self::None => Conclusion::say(Verdict::Tempfail),
        }
    }
}

/// What is done with a message at its end.
struct Conclusion {
    /// The control fields, the lowest first.
    remove: Vec<Removal>,
    /// The signatures, the uppermost first.
    insert: Vec<SignedField>,
    verdict: Verdict,
}

impl Conclusion {
    fn say(verdict: Verdict) -> Self {
        Self { remove: Vec::new(), insert: Vec::new(), verdict }
    }

    fn give(self, mut answer: Answer<'_>) {
        match self.modify(&mut answer) {
            Ok(()) => answer.verdict(&self.verdict),
            Err(error) => {
                tracing::error!(%error, "a message is put off, since its answer cannot be written");
                answer.verdict(&Verdict::Tempfail);
            }
        }
    }

    fn modify(&self, answer: &mut Answer<'_>) -> Result<(), ModificationError> {
        for removal in &self.remove {
            // More than the four thousand million fields that a milter can count do not fit in.
            let nth = u32::try_from(removal.nth).unwrap_or(u32::MAX);
            answer.delete(nth, removal.name.as_str().as_bytes())?;
        }
        // Each goes to the very top, so the one that belongs there comes last.
        for field in self.insert.iter().rev() {
            answer.insert_on_top(field.name().as_bytes(), field.value())?;
        }
        Ok(())
    }
}

/// Asks the signer about a message whose header is complete.
async fn begin(door: &Door, session: &Session) -> MessageState {
    let Some(message) = session.message() else { return MessageState::None };
    let header = match Header::from_fields(message.fields().collect()) {
        Ok(header) => header,
        Err(error) => {
            tracing::info!(%error, "a message is refused for its header");
            let refusal = if error == HeaderError::NotOneField {
                Refusal::MalformedField
            } else {
                Refusal::HeaderTooLarge
            };
            return MessageState::Decided(Conclusion::say(refuse(refusal)));
        }
    };
    match door.signer().begin(door.injection(session, message), &header).await {
        Begin::Pass(passed) => MessageState::Decided(Conclusion {
            remove: passed.remove,
            insert: Vec::new(),
            verdict: Verdict::Continue,
        }),
        Begin::Refuse(refusal) | Begin::Tempfail(refusal) => {
            MessageState::Decided(Conclusion::say(reply_of(&refusal)))
        }
        Begin::Sign(in_flight) => MessageState::Signing(in_flight),
    }
}

/// The signer's refusal as the MTA takes it.
fn reply_of(refusal: &postseal_engine::Refusal) -> Verdict {
    let postseal_engine::EnhancedCode(_, subject, detail) = refusal.enhanced;
    let enhanced = EnhancedCode { subject: subject.into(), detail: detail.into() };
    match Reply::new(refusal.code, enhanced, &refusal.text) {
        Ok(reply) => Verdict::Reply(reply),
        Err(_) if refusal.is_temporary() => Verdict::Tempfail,
        Err(_) => Verdict::Reject,
    }
}

/// The answer to a message that never gets as far as the signer.
fn refuse(refusal: Refusal) -> Verdict {
    let (code, subject, detail, text) = match refusal {
        Refusal::HeaderTooLarge => (552, 3, 4, "the header is larger than 1 MiB"),
        Refusal::TooManyFields => (552, 3, 4, "the header has more than 10,000 fields"),
        Refusal::MalformedField => {
            (550, 6, 0, "a header field has no name, or a line break that does not fold it")
        }
        Refusal::TooManyRecipients => (452, 5, 3, "too many recipients in one message"),
    };
    match Reply::new(code, EnhancedCode { subject, detail }, text) {
        Ok(reply) => Verdict::Reply(reply),
        Err(_) => Verdict::Tempfail,
    }
}

/// The stream with what has come in and what has to go out.
struct Connection {
    stream: Stream,
    inbox: Inbox,
    out: Vec<u8>,
    patience: Patience,
}

impl Connection {
    async fn write(&mut self) -> Result<(), ConnectionError> {
        if self.out.is_empty() {
            return Ok(());
        }
        match timeout(WRITE_TIMEOUT, self.stream.write_all(&self.out)).await {
            Ok(written) => written?,
            Err(_) => return Err(ConnectionError::TooSlow { phase: "to take an answer" }),
        }
        self.out.clear();
        Ok(())
    }

    /// Waits for bytes. Returns how the connection ended if none will come.
    async fn read(
        &mut self,
        state: State,
        shutdown: &CancellationToken,
    ) -> Result<Option<End>, ConnectionError> {
        let deadline = self.patience.deadline(state, self.inbox.is_empty(), Instant::now());
        let at_rest = matches!(state, State::Start | State::Idle) && self.inbox.is_empty();
        if at_rest && shutdown.is_cancelled() {
            return Ok(Some(End::ShutDown));
        }
        // The waits below take bytes first, so that a stream that never pauses is caught here.
        if Instant::now() >= deadline {
            return Err(self.patience.phase.exceeded());
        }
        // An MTA often keeps a connection while its own client thinks. The first moment of a wait has the memory of the
        // answers at hand, the rest goes without.
        let soon = deadline.min(Instant::now() + OUT_KEPT_FOR);
        tokio::select! {
            biased;
            read = self.receive() => return self.took(read?),
            () = shutdown.cancelled(), if at_rest => return Ok(Some(End::ShutDown)),
            () = sleep_until(soon) => {}
        }
        self.out = Vec::new();
        tokio::select! {
            biased;
            read = self.receive() => self.took(read?),
            () = shutdown.cancelled(), if at_rest => Ok(Some(End::ShutDown)),
            () = sleep_until(deadline) => Err(self.patience.phase.exceeded()),
        }
    }

    /// Reads what comes next. While nothing comes, the buffer is given away, unless much is in it. Nothing is lost if
    /// the wait is given up: what was read is returned in the same poll.
    async fn receive(&mut self) -> io::Result<usize> {
        poll_fn(|context| {
            let mut space = ReadBuf::new(self.inbox.space());
            match Pin::new(&mut self.stream).poll_read(context, &mut space) {
                Poll::Ready(read) => Poll::Ready(read.map(|()| space.filled().len())),
                Poll::Pending => {
                    self.inbox.release();
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn took(&mut self, octets: usize) -> Result<Option<End>, ConnectionError> {
        if octets > 0 {
            self.inbox.filled(octets);
            return Ok(None);
        }
        if self.patience.phase == Phase::Rest {
            // Postfix says so with a quit, others just close.
            return Ok(Some(End::Closed));
        }
        Err(ConnectionError::Interrupted)
    }
}

/// How long we wait, and since when.
struct Patience {
    phase: Phase,
    began: Instant,
}

impl Patience {
    /// Until when the next bytes have to be there.
    fn deadline(&mut self, state: State, inbox_is_empty: bool, now: Instant) -> Instant {
        let phase = Phase::of(state, inbox_is_empty);
        // Each command of the envelope has the time anew, a packet and the content have it once.
        if phase != self.phase || phase == Phase::Rest {
            *self = Self { phase, began: now };
        }
        self.began + phase.limit()
    }
}

/// What an MTA is busy with while we wait for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// Between packets outside a message or in its envelope: it waits for its own client.
    Rest,
    /// Within a packet.
    Packet,
    /// Within header and body, which it has in full before it sends them.
    Content,
}

impl Phase {
    fn of(state: State, inbox_is_empty: bool) -> Self {
        match state {
            State::Header | State::Body | State::Answer => Self::Content,
            State::Start | State::Idle | State::Envelope | State::Closed | State::Failed => {
                if inbox_is_empty {
                    Self::Rest
                } else {
                    Self::Packet
                }
            }
        }
    }

    fn limit(self) -> Duration {
        match self {
            Self::Rest => REST_TIMEOUT,
            Self::Packet => PACKET_TIMEOUT,
            Self::Content => CONTENT_TIMEOUT,
        }
    }

    fn exceeded(self) -> ConnectionError {
        ConnectionError::TooSlow {
            phase: match self {
                Self::Rest => "to send the next command",
                Self::Packet => "to complete a packet",
                Self::Content => "to send a message",
            },
        }
    }
}

/// Why a connection was given up. The MTA then does with the message at hand what its administrator
/// set (`milter_default_action`).
#[derive(Debug, Error)]
pub(super) enum ConnectionError {
    /// The peer does not speak the protocol.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The peer needs too long.
    #[error("the MTA needs too long {phase}")]
    TooSlow { phase: &'static str },
    /// The peer closed the connection in the middle of a packet or a message.
    #[error("the MTA closed the connection within a message")]
    Interrupted,
    /// The system says no.
    #[error("the connection to the MTA broke: {0}")]
    Io(#[from] io::Error),
}

/// libmilter waits as long for the next command (`MI_TIMEOUT`, 7210 s).
const REST_TIMEOUT: Duration = Duration::from_secs(7210);
/// A packet comes in one or two writes. Postfix gives a filter as long for one answer
/// (`milter_command_timeout`).
const PACKET_TIMEOUT: Duration = Duration::from_secs(30);
/// Postfix gives a filter as long for a message (`milter_content_timeout`).
const CONTENT_TIMEOUT: Duration = Duration::from_secs(300);
/// As for a packet: our answers are smaller than the buffers between us.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the memory of the answers is kept for the next ones. No official reference: longer than the pause
/// between two messages under load, shorter than a client takes to think.
const OUT_KEPT_FOR: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_drips_is_not_waited_for_longer() {
        let start = Instant::now();
        let mut patience = Patience { phase: Phase::Rest, began: start };
        // (seconds since the start, state, nothing is waiting, the deadline in seconds)
        let cases = [
            (0, State::Start, true, 7210),
            (10, State::Idle, true, 7220),
            (20, State::Idle, false, 50),
            (40, State::Idle, false, 50),
            (45, State::Envelope, true, 7255),
            (60, State::Envelope, false, 90),
            (70, State::Header, true, 370),
            (80, State::Header, false, 370),
            (360, State::Body, true, 370),
            (361, State::Body, false, 370),
            (365, State::Idle, true, 7575),
            (400, State::Header, true, 700),
        ];
        for (at, state, nothing_waits, want) in cases {
            let now = start + Duration::from_secs(at);
            let deadline = patience.deadline(state, nothing_waits, now);
            assert_eq!((deadline - start).as_secs(), want, "{state:?} at {at}");
        }
    }

    #[test]
    fn every_refusal_is_a_reply() {
        let cases = [
            (Refusal::HeaderTooLarge, "552 5.3.4 "),
            (Refusal::TooManyFields, "552 5.3.4 "),
            (Refusal::MalformedField, "550 5.6.0 "),
            (Refusal::TooManyRecipients, "452 4.5.3 "),
        ];
        for (refusal, want) in cases {
            let Verdict::Reply(reply) = refuse(refusal) else { panic!("{refusal:?}") };
            assert!(reply.to_string().starts_with(want), "{reply}");
        }
    }
}

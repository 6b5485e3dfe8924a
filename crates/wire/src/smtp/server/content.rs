//! Message content in the session: `DATA` and `BDAT` through the decoder, and the way past a message that
//! is refused.

use super::super::command::LastChunk;
use super::super::data::{
    ContentError, ContentLimits, Decoder, Framing, MAX_HEADER, Piece, Summary,
};
use super::super::reply::{Reply, ReplyCode};
use super::{CloseReason, Event, MAX_DISCARDED, Phase, Question, Session, Step};

/// The content of a message that is being received.
#[derive(Debug)]
pub(super) struct Content {
    decoder: Decoder,
    /// What the client gets at the end of content that is dropped.
    refusal: Option<Reply>,
    discarded: u64,
}

impl Session {
    pub(super) fn start_content(&mut self, framing: Framing) {
        let limits = ContentLimits { message: self.max_message(), header: MAX_HEADER };
        let decoder = Decoder::new(framing, self.settings.newlines, limits);
        if let Some(transaction) = &mut self.transaction {
            transaction.content = Some(Content { decoder, refusal: None, discarded: 0 });
        }
    }

    pub(super) fn data<'i>(&mut self, input: &'i [u8], out: &mut Vec<u8>) -> Step<'i> {
        let Some(content) = self.transaction.as_mut().and_then(|t| t.content.as_mut()) else {
            self.phase = Phase::Command;
            return Step::Taken(0);
        };
        let (taken, piece) = content.decoder.decode(input);
        match content.take(taken, piece) {
            Taken::Nothing if taken == 0 => Step::Wait,
            Taken::Nothing | Taken::Dropped => Step::Taken(taken),
            Taken::Event(event) => Step::Event(taken, event),
            Taken::End(summary) => {
                self.completed += 1;
                self.phase = Phase::Question(Question::End);
                Step::Event(taken, Event::EndOfMessage(summary))
            }
            Taken::EndOfRefused(reply) => {
                self.end_of_refused(&reply, out);
                Step::Taken(taken)
            }
            Taken::TooMuch(reply) => {
                reply.write(out);
                self.phase = Phase::Closed(CloseReason::TooMuchDiscarded);
                Step::Taken(taken)
            }
        }
    }

    pub(super) fn chunk<'i>(
        &mut self,
        input: &'i [u8],
        remaining: u64,
        last: LastChunk,
        out: &mut Vec<u8>,
    ) -> Step<'i> {
        let Some(content) = self.transaction.as_mut().and_then(|t| t.content.as_mut()) else {
            self.phase = Phase::Command;
            return Step::Taken(0);
        };
        let (taken, piece) = match (remaining, last) {
            (0, LastChunk::Yes) => (0, content.decoder.end_of_chunks()),
            (0, LastChunk::No) => {
                let octets = content.decoder.summary().octets;
                self.completed += 1;
                self.phase = Phase::Command;
                match content.refusal.take() {
                    Some(reply) => self.end_of_refused(&reply, out),
                    None => {
                        let text = format!("{octets} octets received");
                        Reply::new(ReplyCode::OK, (0, 0), text).write(out);
                    }
                }
                return Step::Taken(0);
            }
            (_, _) => {
                let len = usize::try_from(remaining).unwrap_or(usize::MAX).min(input.len());
                content.decoder.decode(input.get(..len).unwrap_or_default())
            }
        };
        let remaining = remaining.saturating_sub(taken as u64);
        self.phase = Phase::Chunk { remaining, last };
        match content.take(taken, piece) {
            Taken::Nothing if taken == 0 && remaining > 0 => Step::Wait,
            Taken::Nothing | Taken::Dropped => Step::Taken(taken),
            Taken::Event(event) => Step::Event(taken, event),
            Taken::End(summary) => {
                self.completed += 1;
                self.phase = Phase::Question(Question::End);
                Step::Event(taken, Event::EndOfMessage(summary))
            }
            Taken::EndOfRefused(reply) => {
                self.end_of_refused(&reply, out);
                Step::Taken(taken)
            }
            Taken::TooMuch(reply) => {
                reply.write(out);
                self.phase = Phase::Closed(CloseReason::TooMuchDiscarded);
                Step::Taken(taken)
            }
        }
    }

    pub(super) fn skip_chunk<'i>(&mut self, input: &[u8], out: &mut Vec<u8>) -> Step<'i> {
        let Phase::SkipChunk { remaining, reply } = &mut self.phase else { return Step::Wait };
        let len = usize::try_from(*remaining).unwrap_or(usize::MAX).min(input.len());
        *remaining -= len as u64;
        if *remaining == 0 {
            self.completed += 1;
            reply.write(out);
            self.phase = if reply.code() == ReplyCode::NOT_AVAILABLE {
                Phase::Closed(CloseReason::Unavailable)
            } else {
                Phase::Command
            };
            return Step::Taken(len);
        }
        if len == 0 { Step::Wait } else { Step::Taken(len) }
    }

    /// Ends the transaction of a refused message.
    fn end_of_refused(&mut self, reply: &Reply, out: &mut Vec<u8>) {
        self.completed += 1;
        self.errors += 1;
        self.transaction = None;
        self.phase = Phase::Command;
        reply.write(out);
        if reply.code() == ReplyCode::NOT_AVAILABLE {
            self.phase = Phase::Closed(CloseReason::Unavailable);
        }
    }
}

/// What a piece of content comes to.
enum Taken<'i> {
    /// The input is used up.
    Nothing,
    /// Content of a refused message.
    Dropped,
    Event(Event<'i>),
    End(Summary),
    EndOfRefused(Reply),
    TooMuch(Reply),
}

impl Content {
    pub(super) fn refuse(&mut self, reply: Reply) {
        self.decoder.discard_rest();
        self.refusal.get_or_insert(reply);
    }

    fn take<'i>(&mut self, taken: usize, piece: Piece<'i>) -> Taken<'i> {
        if let Some(reply) = &self.refusal {
            self.discarded = self.discarded.saturating_add(taken as u64);
            return match piece {
                Piece::End => Taken::EndOfRefused(reply.clone()),
                _ if self.discarded > MAX_DISCARDED => Taken::TooMuch(reply.clone()),
                Piece::More => Taken::Nothing,
                Piece::Header(_) | Piece::EndOfHeader | Piece::Body(_) | Piece::Refused(_) => {
                    Taken::Dropped
                }
            };
        }
        match piece {
            Piece::More => Taken::Nothing,
            Piece::Header(slice) => Taken::Event(Event::Header(slice)),
            Piece::EndOfHeader => Taken::Event(Event::EndOfHeader),
            Piece::Body(slice) => Taken::Event(Event::Body(slice)),
            Piece::End => Taken::End(self.decoder.summary()),
            Piece::Refused(error) => {
                self.refuse(content_refusal(error));
                Taken::Event(Event::MessageRefused(error))
            }
        }
    }
}

/// The reply to a message whose content is refused.
fn content_refusal(error: ContentError) -> Reply {
    match error {
        ContentError::BareCr | ContentError::BareLf | ContentError::Nul => {
            Reply::new(ReplyCode::REFUSED, (6, 0), error.to_string())
        }
        ContentError::TooLarge | ContentError::HeaderTooLarge => {
            Reply::new(ReplyCode::TOO_LARGE, (3, 4), error.to_string())
        }
    }
}

//! The law of the session for fuzzers: it takes any bytes and panics if the law is broken.

use super::{Event, MAX_HELD_PACKET, MacroRequest, ProtocolError, Session, Verdict};

/// A session that takes any bytes ends in an error or waits for more, within bounds, and shows the same
/// however the stream is cut. The first octet is the size of the pieces.
pub(crate) fn session(input: &[u8]) {
    let Some((&size, stream)) = input.split_first() else { return };
    let whole = observe(stream, usize::MAX);
    assert_eq!(observe(stream, usize::from(size) + 1), whole, "in pieces of {size}");
}

/// All that can be seen of a session: its answers, its events with their contents, and its end.
#[derive(Debug, Default, Eq, PartialEq)]
struct Seen {
    out: Vec<u8>,
    events: Vec<String>,
    error: Option<ProtocolError>,
}

fn observe(stream: &[u8], size: usize) -> Seen {
    let mut session = Session::new(MacroRequest::default());
    let mut seen = Seen::default();
    let mut body = Vec::new();
    let (mut start, mut end) = (0, size.min(stream.len()));
    loop {
        let window = stream.get(start..end).expect("pieces lie in the stream");
        let progress = match session.handle(window, &mut seen.out) {
            Ok(progress) => progress,
            Err(error) => {
                let again = session.handle(b"", &mut seen.out);
                assert_eq!(again, Err(ProtocolError::AfterError), "a session that failed stays so");
                seen.error = Some(error);
                return seen;
            }
        };
        assert!(progress.consumed <= window.len(), "takes no more than there is");
        start += progress.consumed;
        match progress.event {
            None => {
                let held = end - start;
                assert!(
                    held <= MAX_HELD_PACKET + 4 || size == usize::MAX,
                    "more kept than promised"
                );
                if end == stream.len() {
                    return seen;
                }
                end = end.saturating_add(size).min(stream.len());
            }
            Some(Event::Body(piece)) => body.extend_from_slice(piece),
            Some(Event::EndOfMessage) => {
                let message = session.message().expect("a message has ended");
                let recipients: Vec<_> = message.recipients().map(<[u8]>::escape_ascii).collect();
                let fields: Vec<_> = message.fields().map(<[u8]>::escape_ascii).collect();
                let sender = message.sender().escape_ascii();
                let text = body.escape_ascii();
                seen.events.push(format!("{sender:?} {recipients:?} {fields:?} {text:?}"));
                body.clear();
                let mut answer = session.answer(&mut seen.out).expect("a message has ended");
                // Empty, or a whole line: no answer breaks the stream of the MTA.
                let _ = answer.insert_on_top(b"X", b" y");
                answer.verdict(&Verdict::Continue);
            }
            Some(event) => {
                if event == Event::Aborted {
                    body.clear();
                }
                seen.events.push(format!("{event:?}"));
            }
        }
    }
}

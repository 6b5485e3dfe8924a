//! The fuzz targets of this crate: any bytes in, and a panic if a law is broken.

use crate::milter;
use crate::smtp::address::HelloName;
use crate::smtp::client::{Event, ProtocolError, Session, Settings, TlsUse};
use crate::smtp::command::{Command, Mail};
use crate::smtp::data::{BareNewlines, Framing};
use crate::smtp::extension::{Extensions, SizeOffer};
use crate::smtp::fuzzing as smtp;
use crate::smtp::reply::{MAX_REPLY, Reply};

/// The name of a fuzz target, and its law.
pub type Target = (&'static str, fn(&[u8]));

/// The fuzz targets of this crate.
pub const LAWS: &[Target] = &[
    ("smtp_server", smtp_server),
    ("smtp_client", smtp_client),
    ("smtp_content", smtp_content),
    ("smtp_command", smtp_command),
    ("smtp_reply", smtp_reply),
    ("milter", milter::fuzzing::session),
];

fn smtp_server(input: &[u8]) {
    let Some((&[settings, cut], stream)) = input.split_first_chunk() else { return };
    let newlines = if settings & 1 == 0 { BareNewlines::Refuse } else { BareNewlines::Repair };
    smtp::server(stream, usize::from(cut), newlines);
}

/// A client session sends the same and says the same however the replies are cut. The first octet is the
/// size of the pieces.
fn smtp_client(input: &[u8]) {
    let Some((&size, stream)) = input.split_first() else { return };
    let whole = replies(stream, usize::MAX);
    assert_eq!(replies(stream, usize::from(size) + 1), whole, "in pieces of {size}");
    smtp::client(stream);
}

/// What a client session sends, its events, and its error, up to the TLS handshake.
fn replies(stream: &[u8], size: usize) -> (Vec<u8>, Vec<Event>, Option<ProtocolError>) {
    let mut session = Session::new(Settings {
        host_name: HelloName::parse("mail.example.com").expect("a valid name"),
        tls: TlsUse::IfOffered,
        credentials: None,
    });
    let (mut out, mut events) = (Vec::new(), Vec::new());
    let (mut start, mut end) = (0, size.min(stream.len()));
    loop {
        let window = stream.get(start..end).expect("pieces lie in the stream");
        let (taken, event) = match session.handle(window, &mut out) {
            Ok(progress) => progress,
            Err(error) => return (out, events, Some(error)),
        };
        assert!(taken <= window.len(), "takes no more than there is");
        start += taken;
        let Some(event) = event else {
            if end == stream.len() {
                return (out, events, None);
            }
            end = end.saturating_add(size).min(stream.len());
            continue;
        };
        let is_last = matches!(event, Event::StartTls | Event::Refused(_));
        match event {
            Event::Ready(_) => {
                session.reset(&mut out);
                session.data(&mut out);
            }
            Event::Reply { .. } => session.reset(&mut out),
            Event::StartTls | Event::Refused(_) => {}
        }
        events.push(event);
        if is_last {
            return (out, events, None);
        }
    }
}

fn smtp_content(input: &[u8]) {
    let Some((&[settings], content)) = input.split_first_chunk() else { return };
    let framing = if settings & 1 == 0 { Framing::Dot } else { Framing::Chunks };
    smtp::content(content, framing);
}

/// What is read of MAIL and RCPT is written so that the next hop reads the same.
fn smtp_command(input: &[u8]) {
    let offered = Extensions {
        size: SizeOffer::NoLimit,
        eight_bit_mime: true,
        smtputf8: true,
        dsn: true,
        ..Extensions::default()
    };
    let Ok(command) = Command::parse(input) else { return };
    assert!(!input.iter().any(u8::is_ascii_control), "a command is one line of text");
    let written = if let Command::Mail(mail) = &command {
        mail.to_command(&offered, mail.size)
    } else if let Command::Rcpt(recipient) = &command {
        recipient.to_command(&offered)
    } else {
        return;
    };
    assert_eq!(Command::parse(written.as_bytes()).as_ref(), Ok(&command), "{written}");
    // A sender of 8-bit text is never handed to a hop without SMTPUTF8.
    if let Command::Mail(mail) = &command
        && mail.sender.mailbox().is_none_or(|mailbox| !mailbox.needs_smtputf8())
    {
        let bare = mail.to_command(&Extensions::default(), mail.size);
        let want =
            Mail { size: None, body: None, smtputf8: false, dsn: Vec::new(), ..mail.clone() };
        assert_eq!(Command::parse(bare.as_bytes()), Ok(Command::Mail(want)), "{bare}");
    }
}

/// A reply is one reply only when its last line is there, and reads the same when it is written anew.
fn smtp_reply(input: &[u8]) {
    let Ok(Some((len, reply))) = Reply::parse(input) else { return };
    assert!(len <= input.len() && len <= MAX_REPLY + 2);
    let whole = input.get(..len).expect("no more than there is");
    for end in 0..len {
        assert_eq!(Reply::parse(whole.get(..end).unwrap_or_default()), Ok(None), "the first {end}");
    }
    assert_eq!(
        Reply::parse(whole),
        Ok(Some((len, reply.clone()))),
        "what follows is not looked at"
    );
    let line_ends = whole.windows(2).filter(|two| *two == b"\r\n").count();
    assert_eq!(line_ends, reply.lines().count(), "each line ends in CRLF");
    let mut written = Vec::new();
    reply.write(&mut written);
    assert_eq!(written.split(|octet| *octet == b'\n').count(), reply.lines().count() + 1);
    assert_eq!(Reply::parse(&written), Ok(Some((written.len(), reply))));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::LAWS;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

        #[test]
        fn laws_hold_for_any_octets(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            for (_, law) in LAWS {
                law(&octets);
            }
        }

        #[test]
        fn laws_hold_for_texts_of_mail(
            pieces in prop::collection::vec(
                "MAIL FROM:<|RCPT TO:<|a@b.example>| [A-Z]{3,8}=|250[ -]|\r\n|[!-~]{1,9}", 0..12),
        ) {
            for (_, law) in LAWS {
                law(pieces.concat().as_bytes());
            }
        }
    }
}

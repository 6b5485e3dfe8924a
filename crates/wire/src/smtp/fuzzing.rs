//! Laws for fuzzers: each takes any bytes and panics if a law is broken.

use super::address::HelloName;
use super::client;
use super::data::{BareNewlines, ContentLimits, Decoder, DotStuffing, Framing, Piece};
use super::extension::{Extensions, SizeOffer};
use super::reply::{Reply, ReplyCode};
use super::server::{AuthOffer, AuthVerdict, Event, Session, Settings, Transport};

/// A server session that takes any bytes, cut at `cut`, ends and stays within bounds; a message that it
/// accepts has no bare CR, bare LF or NUL.
pub fn server(input: &[u8], cut: usize, newlines: BareNewlines) {
    let mut session = Session::new(Settings {
        host_name: HelloName::parse("mail.example.com").expect("a valid name"),
        transport: Transport::StartTls,
        auth: AuthOffer::Always,
        max_message: 10_000,
        relay: Extensions {
            size: SizeOffer::NoLimit,
            eight_bit_mime: true,
            smtputf8: true,
            chunking: true,
            dsn: true,
            ..Extensions::default()
        },
        newlines,
    });
    let mut out = Vec::new();
    let mut message = Vec::new();
    let ok = Reply::new(ReplyCode::OK, (0, 0), "ok");
    let (first, second) = input.split_at_checked(cut).unwrap_or((input, &[]));
    let mut buffer = Vec::new();
    for part in [first, second] {
        buffer.extend_from_slice(part);
        let mut taken = 0;
        loop {
            let (len, event) = session.handle(buffer.get(taken..).unwrap_or_default(), &mut out);
            taken += len;
            assert!(taken <= buffer.len(), "takes no more than there is");
            match event {
                None => break,
                Some(Event::Quit | Event::Close(_)) => return,
                Some(Event::StartTls) => session.tls_started(),
                Some(Event::Authenticate(_)) => {
                    session.authenticated(AuthVerdict::Accepted, &mut out);
                }
                Some(Event::Mail(_) | Event::Recipient(_)) => session.answer(&ok, &mut out),
                Some(Event::MessageStart) => {
                    message.clear();
                    session.answer(&ok, &mut out);
                }
                Some(Event::Header(slice) | Event::Body(slice)) => message.extend_from_slice(slice),
                Some(Event::EndOfHeader) => message.extend_from_slice(b"\r\n"),
                Some(Event::EndOfMessage(summary)) => {
                    assert!(summary.octets <= 10_000, "SIZE is enforced");
                    assert_canonical(&message);
                    session.answer(&ok, &mut out);
                }
                Some(Event::MessageRefused(_) | Event::Reset) => message.clear(),
            }
        }
        buffer.drain(..taken);
    }
    assert!(out.split(|&b| b == b'\n').all(|line| line.len() <= 512), "short reply lines");
}

/// A client session that takes any bytes ends in events or an error.
pub fn client(input: &[u8]) {
    let mut session = client::Session::new(client::Settings {
        host_name: HelloName::parse("mail.example.com").expect("a valid name"),
        tls: client::TlsUse::IfOffered,
        credentials: None,
    });
    let mut out = Vec::new();
    let mut taken = 0;
    while let Ok((len, Some(event))) =
        session.handle(input.get(taken..).unwrap_or_default(), &mut out)
    {
        taken += len;
        match event {
            client::Event::StartTls => session.tls_started(&mut out),
            client::Event::Ready(_) => {
                session.reset(&mut out);
                session.data(&mut out);
            }
            client::Event::Refused(_) => return,
            client::Event::Reply { .. } => session.reset(&mut out),
        }
    }
}

/// Decoding repaired content, stuffing it and decoding it again gives the same content.
pub fn content(input: &[u8], framing: Framing) {
    let limits = ContentLimits { message: u64::MAX, header: u64::MAX };
    let mut decoder = Decoder::new(framing, BareNewlines::Repair, limits);
    let (mut content, mut rest) = (Vec::new(), input);
    let mut ended = false;
    loop {
        let (len, piece) = decoder.decode(rest);
        rest = rest.get(len..).unwrap_or_default();
        match piece {
            Piece::Header(slice) | Piece::Body(slice) => content.extend_from_slice(slice),
            Piece::EndOfHeader => content.extend_from_slice(b"\r\n"),
            Piece::More => break,
            Piece::End => {
                ended = true;
                break;
            }
            Piece::Refused(error) => panic!("nothing is refused: {error}"),
        }
    }
    if framing == Framing::Dot && !ended {
        return;
    }
    if framing == Framing::Chunks {
        loop {
            match decoder.end_of_chunks() {
                Piece::Header(slice) | Piece::Body(slice) => content.extend_from_slice(slice),
                Piece::EndOfHeader => content.extend_from_slice(b"\r\n"),
                Piece::End => break,
                Piece::More | Piece::Refused(_) => panic!("the end of chunks yields content"),
            }
        }
    }
    assert_canonical(&content);
    let mut wire = Vec::new();
    let mut stuffing = DotStuffing::default();
    stuffing.write(&content, &mut wire);
    stuffing.finish(&mut wire);
    let mut decoder = Decoder::new(Framing::Dot, BareNewlines::Refuse, limits);
    let (mut again, mut rest) = (Vec::new(), wire.as_slice());
    loop {
        let (len, piece) = decoder.decode(rest);
        rest = rest.get(len..).unwrap_or_default();
        match piece {
            Piece::Header(slice) | Piece::Body(slice) => again.extend_from_slice(slice),
            Piece::EndOfHeader => again.extend_from_slice(b"\r\n"),
            Piece::End => break,
            Piece::More | Piece::Refused(_) => panic!("what we write is accepted"),
        }
    }
    assert!(rest.is_empty(), "one message goes out");
    assert_eq!(again, content);
}

/// No bare CR, no bare LF, no NUL; every line ends.
fn assert_canonical(content: &[u8]) {
    assert!(content.is_empty() || content.ends_with(b"\r\n"), "the last line ends");
    let mut before = 0;
    for &byte in content {
        assert!(byte != 0, "no NUL");
        assert_eq!(before == b'\r', byte == b'\n', "CR and LF only together");
        before = byte;
    }
}

//! Whole milter sessions: what an MTA sends, what the filter sees, what the MTA gets back.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use postseal_wire::milter::{
    ClientAddress, EnhancedCode, Event, FrameError, MAX_HEADER_BYTES, MAX_HELD_PACKET, MacroName,
    MacroRequest, ProtocolError, Refusal, Reply, Session, State, Verdict,
};

/// The bytes of one packet.
fn packet(command: u8, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len() + 1).unwrap();
    [&length.to_be_bytes(), &[command][..], data].concat()
}

fn packets(list: &[(u8, &[u8])]) -> Vec<u8> {
    list.iter().flat_map(|(command, data)| packet(*command, data)).collect()
}

fn offer(version: u32, actions: u32, steps: u32) -> Vec<u8> {
    let words = [version, actions, steps];
    packet(b'O', &words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>())
}

/// Postfix 3 and Sendmail 8.14 and later.
fn newest() -> Vec<u8> {
    offer(6, 0x1ff, 0x1f_ffff)
}

/// Version 2 without extensions, as Sendmail 8.13 and `milter_protocol = 2` in Postfix.
fn version_2() -> Vec<u8> {
    offer(2, 0x3f, 0x7f)
}

/// What came of a session: one line for each event, and all bytes that went back.
#[derive(Debug, Eq, PartialEq)]
struct Outcome {
    events: Vec<String>,
    replies: Vec<u8>,
    error: Option<ProtocolError>,
}

/// A filter that writes down what it sees and signs with the length of the body.
fn run(input: &[u8], cut: impl Fn(usize) -> usize) -> Outcome {
    let auth = MacroName::parse("auth_authen").unwrap();
    let mut session = Session::new(MacroRequest::default());
    let (mut events, mut replies, mut body) = (Vec::new(), Vec::new(), Vec::new());
    let (mut start, mut end) = (0, 0);
    let error = loop {
        let progress = match session.handle(&input[start..end], &mut replies) {
            Ok(progress) => progress,
            Err(error) => break Some(error),
        };
        start += progress.consumed;
        match progress.event {
            None if end == input.len() => break None,
            None => end = (end + cut(end).max(1)).min(input.len()),
            Some(Event::Body(data)) => {
                assert!(!data.is_empty());
                body.extend_from_slice(data);
            }
            Some(Event::EndOfMessage) => {
                events.push(format!("end, body {}", body.escape_ascii()));
                let refusal = session.message().unwrap().refusal();
                let mut answer = session.answer(&mut replies).unwrap();
                let verdict = match refusal {
                    None => {
                        let value = format!(" l={};\r\n\tv=1", body.len());
                        answer.insert_on_top(b"X-Signed", value.as_bytes()).unwrap();
                        Verdict::Continue
                    }
                    Some(_) => {
                        let code = EnhancedCode { subject: 3, detail: 4 };
                        Verdict::Reply(Reply::new(552, code, "header is too large").unwrap())
                    }
                };
                answer.verdict(&verdict);
                body.clear();
            }
            Some(event) => {
                if event == Event::Aborted {
                    body.clear();
                }
                let mut line = format!("{event:?}");
                if let Some(message) = session.message() {
                    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
                    let recipients: Vec<_> = message.recipients().map(text).collect();
                    let fields: Vec<_> = message.fields().map(text).collect();
                    line += &format!(
                        " from {} to {} header {} auth {}",
                        text(message.sender()),
                        recipients.join(","),
                        fields.concat(),
                        session.macro_value(&auth).map_or_else(|| "-".to_owned(), text),
                    );
                }
                events.push(line);
            }
        }
    };
    Outcome { events, replies, error }
}

fn run_whole(input: &[u8]) -> Outcome {
    run(input, |_| input.len())
}

const CONNECT: (u8, &[u8]) = (b'C', b"client.example\x004\x9c\x40192.0.2.7\0");

/// One message as Postfix sends it.
fn message(lead: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let field = |name: &[u8], value: &[u8]| (b'L', [name, b"\0", lead, value, b"\0"].concat());
    vec![
        (b'D', b"M{auth_authen}\0acme\0{mail_addr}\0a@b.example\0".to_vec()),
        (b'M', b"<a@b.example>\0SIZE=100\0".to_vec()),
        (b'D', b"R{rcpt_mailer}\0smtp\0".to_vec()),
        (b'R', b"<c@d.example>\0".to_vec()),
        (b'D', b"R{rcpt_mailer}\0error\0".to_vec()),
        (b'R', b"<nobody@d.example>\0".to_vec()),
        (b'D', b"Li\x004711\0".to_vec()),
        field(b"From", b"a@b.example"),
        (b'D', b"Li\x004711\0".to_vec()),
        field(b"Subject", b"a\n folded\n\tone"),
        (b'D', b"Ni\x004711\0".to_vec()),
        (b'N', vec![]),
        (b'D', b"Bi\x004711\0".to_vec()),
        (b'B', b"hello\r\n".to_vec()),
        (b'B', b"world\r\n".to_vec()),
        (b'D', b"Ei\x004711\0".to_vec()),
        (b'E', vec![]),
    ]
}

fn message_bytes(lead: &[u8]) -> Vec<u8> {
    message(lead).iter().flat_map(|(command, data)| packet(*command, data)).collect()
}

const MESSAGE_EVENTS: [&str; 2] = [
    r"EndOfHeader from a@b.example to c@d.example header From: a@b.example\r\nSubject: a\r\n folded\r\n\tone\r\n auth acme",
    r"end, body hello\r\nworld\r\n",
];

#[test]
fn signs_a_message_with_one_answer_at_its_end() {
    let input = [newest(), packets(&[CONNECT]), message_bytes(b" "), packet(b'Q', b"")].concat();
    let outcome = run_whole(&input);
    assert_eq!(outcome.error, None);
    assert_eq!(outcome.events, [&MESSAGE_EVENTS[..], &["Quit"]].concat());
    let negotiation = packet(
        b'O',
        b"\0\0\0\x06\0\0\x01\x11\0\x1f\xf7\x82\
        \0\0\0\0{client_addr} {daemon_name}\0\0\0\0\x02i {auth_authen}\0\
        \0\0\0\x03{rcpt_mailer}\0\0\0\0\x06i\0",
    );
    let answer = packets(&[(b'i', b"\0\0\0\0X-Signed\0 l=14;\n\tv=1\0"), (b'c', b"")]);
    assert_eq!(outcome.replies, [negotiation, answer].concat());
}

#[test]
fn signs_the_same_bytes_through_protocol_2() {
    let input = [version_2(), packets(&[CONNECT, (b'H', b"mx\0")]), message_bytes(b"")].concat();
    let outcome = run_whole(&input);
    assert_eq!(outcome.error, None);
    assert_eq!(outcome.events, MESSAGE_EVENTS);
    // C, H, M, 2 R, 2 L, N and 2 B are each waited for; HELO is not wanted but came.
    let confirmed = packet(b'c', b"").repeat(10);
    let answer = packets(&[(b'i', b"\0\0\0\0X-Signed\0l=14;\n\tv=1\0"), (b'c', b"")]);
    let negotiation = packet(b'O', b"\0\0\0\x02\0\0\0\x11\0\0\0\x02");
    assert_eq!(outcome.replies, [negotiation, confirmed, answer].concat());
}

#[test]
fn answers_each_step_that_was_not_agreed_to_be_silent() {
    // Each silent step alone, and the number of answers to one message with the connection.
    let all = 1 + 1 + 2 + 2 + 1 + 2;
    let cases = [
        (0, all),
        (0x1000, all - 1),
        (0x4000, all - 1),
        (0x8000, all - 2),
        (0x80, all - 2),
        (0x4_0000, all - 1),
        (0x8_0000, all - 2),
        (0x8_d080, all - 8),
    ];
    for (steps, want) in cases {
        let greeting = [offer(6, 0x1ff, steps), packets(&[CONNECT])].concat();
        let outcome = run_whole(&[greeting, message_bytes(b"")].concat());
        assert_eq!(outcome.events, MESSAGE_EVENTS, "{steps:#x}");
        let silent = packet(b'c', b"").repeat(want);
        let last = packets(&[(b'i', b"\0\0\0\0X-Signed\0l=14;\n\tv=1\0"), (b'c', b"")]);
        let tail = [silent, last].concat();
        assert!(outcome.replies.ends_with(&tail), "{steps:#x} {:?}", outcome.replies);
        let head = &outcome.replies[..outcome.replies.len() - tail.len()];
        assert!(head.ends_with(b"i\0"), "{steps:#x}: an answer too many");
    }
}

/// Sessions with all kinds of turns, by name.
fn recorded() -> Vec<(&'static str, Vec<u8>)> {
    let one = || message_bytes(b" ");
    let upto = |command: u8| -> Vec<u8> {
        let list = message(b" ");
        let last = list.iter().position(|(c, _)| *c == command).unwrap();
        list[..=last].iter().flat_map(|(c, data)| packet(*c, data)).collect()
    };
    let quit = packet(b'Q', b"");
    // Without and with a client that connected after the negotiation.
    let begun = |list: &[(u8, &[u8])], rest: Vec<u8>| [newest(), packets(list), rest].concat();
    let greeted = |list: &[(u8, &[u8])], rest: Vec<u8>| {
        [newest(), packets(&[CONNECT]), packets(list), rest].concat()
    };
    let mail: (u8, &[u8]) = (b'M', b"<>\0");
    let (data, header_end, end): (_, _, (u8, &[u8])) =
        ((b'T', &b""[..]), (b'N', &b""[..]), (b'E', b""));
    let long_offer = packet(b'O', &[&newest()[5..], b"later"].concat());
    let old = [version_2(), packets(&[CONNECT]), message_bytes(b""), quit.clone()].concat();
    let endless = [upto(b'N'), b"\xff\xff\xff\xffB".to_vec()].concat();
    let mut sessions = vec![
        ("nothing", vec![]),
        ("quit only", quit.clone()),
        ("offer only", newest()),
        ("offer of version 2", version_2()),
        ("offer of version 1", offer(1, 0xf, 0x3f)),
        ("offer without actions", offer(6, 0, 0)),
        ("offer twice", begun(&[], newest())),
        ("offer with more behind it", [long_offer, one()].concat()),
        ("short offer", packet(b'O', b"\0\0\0\x06")),
        ("message before the offer", one()),
        ("message without a client", begun(&[], one())),
        ("one message", greeted(&[], [one(), quit.clone()].concat())),
        ("two messages", greeted(&[], [one(), one(), quit.clone()].concat())),
        ("version 2", old),
        ("no body", greeted(&[mail, (b'R', b"x\0"), header_end, end], vec![])),
        ("body with the end", greeted(&[mail, header_end, (b'E', b"last words")], vec![])),
        ("empty piece of body", greeted(&[mail, header_end, (b'B', b""), end], vec![])),
        ("data", greeted(&[mail, data, header_end, end], vec![])),
        ("rcpt after data", greeted(&[mail, data, (b'R', b"<x>\0")], upto(b'N'))),
        ("unknown command", greeted(&[(b'U', b"XYZZY\0"), mail, (b'U', b"HELP\0")], one())),
        ("unknown in the header", begun(&[], [upto(b'L'), packet(b'U', b"HELP\0")].concat())),
        ("abort outside", greeted(&[(b'A', b"")], one())),
        ("connected twice", greeted(&[CONNECT], vec![])),
        ("connected in a message", begun(&[], [upto(b'M'), packets(&[CONNECT])].concat())),
        ("kept connection", greeted(&[(b'K', b""), CONNECT], one())),
        ("kept connection twice", greeted(&[(b'K', b""), (b'K', b"")], vec![])),
        ("helo twice", greeted(&[(b'H', b"a\0"), (b'H', b"b\0")], one())),
        ("rcpt without mail", greeted(&[(b'R', b"<x>\0")], vec![])),
        ("field without mail", greeted(&[(b'L', b"A\0b\0")], vec![])),
        ("end without mail", greeted(&[end], vec![])),
        ("body without mail", greeted(&[(b'B', b"x")], vec![])),
        ("body in the header", begun(&[], [upto(b'L'), packet(b'B', b"x")].concat())),
        ("field in the body", begun(&[], [upto(b'B'), packet(b'L', b"A\0b\0")].concat())),
        ("two ends of header", begun(&[], [upto(b'N'), packet(b'N', b"")].concat())),
        ("unknown", greeted(&[(b'Z', b"x")], vec![])),
        ("empty packet", greeted(&[], vec![0; 4])),
        ("4 GiB", greeted(&[], vec![0xff; 5])),
        ("4 GiB of body", greeted(&[], endless)),
        ("macros twice", begun(&[(b'D', b"M{auth_authen}\0a\0{auth_authen}\0b\0")], vec![])),
        ("macros of nothing", begun(&[(b'D', b"")], vec![])),
        ("macros of an unknown command", begun(&[(b'D', b"Zi\0A\0")], vec![])),
        ("no macros", begun(&[(b'D', b"M")], one())),
        (
            "malformed field",
            begun(&[mail, (b'L', b"A\0 b\nBcc: c\0"), header_end, (b'B', b"x"), end], one()),
        ),
        ("field without an end", begun(&[mail, (b'L', b"A\0 b")], vec![])),
        ("quit in a message", begun(&[], [upto(b'B'), quit.clone()].concat())),
        ("input after quit", begun(&[], [quit, one()].concat())),
    ];
    for end in *b"MRLNB" {
        let again = |turn: Vec<u8>| greeted(&[], [upto(end), turn, one()].concat());
        sessions.push(("mail again", again(vec![])));
        sessions.push(("abort", again(packet(b'A', b""))));
        sessions.push(("helo", again(packet(b'H', b"x\0"))));
        sessions.push(("new connection", again(packets(&[(b'K', b""), CONNECT]))));
    }
    sessions
}

#[test]
fn every_split_of_a_recorded_session_gives_the_same_replies() {
    for (name, input) in recorded() {
        let want = run_whole(&input);
        for size in 1..input.len() {
            assert_eq!(run(&input, |_| size), want, "{name} in pieces of {size}");
        }
        for first in 1..input.len() {
            let cut = |end| if end == 0 { first } else { input.len() };
            assert_eq!(run(&input, cut), want, "{name} cut at {first}");
        }
    }
}

#[test]
fn names_what_is_wrong_with_a_stream() {
    let out_of_order = |command, after| Some(ProtocolError::OutOfOrder { command, after });
    let cases = [
        ("nothing", None),
        ("two messages", None),
        ("message without a client", None),
        ("unknown command", None),
        ("abort outside", None),
        ("malformed field", None),
        ("kept connection", None),
        ("kept connection twice", None),
        ("rcpt after data", None),
        ("offer twice", out_of_order('O', State::Idle)),
        ("message before the offer", out_of_order('D', State::Start)),
        ("connected twice", out_of_order('C', State::Idle)),
        ("connected in a message", out_of_order('C', State::Envelope)),
        ("rcpt without mail", out_of_order('R', State::Idle)),
        ("field without mail", out_of_order('L', State::Idle)),
        ("end without mail", out_of_order('E', State::Idle)),
        ("body without mail", out_of_order('B', State::Idle)),
        ("body in the header", out_of_order('B', State::Header)),
        ("field in the body", out_of_order('L', State::Body)),
        ("two ends of header", out_of_order('N', State::Body)),
        ("unknown in the header", out_of_order('U', State::Header)),
        ("offer of version 1", Some(ProtocolError::VersionTooOld { version: 1 })),
        ("offer without actions", Some(ProtocolError::ActionsMissing { offered: 0 })),
        ("short offer", Some(ProtocolError::ShortOffer { length: 4 })),
        ("unknown", Some(ProtocolError::UnknownCommand { command: 'Z' })),
        ("empty packet", Some(FrameError::Empty.into())),
        ("4 GiB", Some(FrameError::TooLong { command: 0xff, length: u32::MAX }.into())),
        ("4 GiB of body", Some(FrameError::TooLong { command: b'B', length: u32::MAX }.into())),
        ("macros twice", Some(ProtocolError::MacroTwice)),
        ("macros of nothing", Some(ProtocolError::Malformed { command: 'D' })),
        ("macros of an unknown command", Some(ProtocolError::MacrosOfUnknown { command: 'Z' })),
        ("field without an end", Some(ProtocolError::Malformed { command: 'L' })),
        ("input after quit", Some(ProtocolError::AfterError)),
    ];
    let recorded = recorded();
    for (name, want) in cases {
        let (_, input) = recorded.iter().find(|(n, _)| *n == name).unwrap();
        assert_eq!(run_whole(input).error, want, "{name}");
    }
}

#[test]
fn an_interrupted_message_leaves_nothing_to_the_next() {
    let names = ["abort", "helo", "new connection", "mail again"];
    let mut seen = 0;
    for (name, input) in recorded().iter().filter(|(name, _)| names.contains(name)) {
        let outcome = run_whole(input);
        assert_eq!(outcome.error, None, "{name}");
        assert!(outcome.events.contains(&"Aborted".to_owned()), "{name} {:?}", outcome.events);
        assert!(outcome.events.ends_with(&MESSAGE_EVENTS.map(str::to_owned)), "{name}");
        seen += 1;
    }
    assert_eq!(seen, 20);
}

#[test]
fn a_user_of_one_message_is_not_that_of_the_next() {
    let next = packets(&[(b'M', b"<z@b.example>\0"), (b'N', b""), (b'E', b"")]);
    let want = "EndOfHeader from z@b.example to  header  auth -";
    let outcome = run_whole(&[newest(), message_bytes(b" "), next.clone()].concat());
    assert_eq!(outcome.events[2], want);

    // Macros for a MAIL that never came do not count for the one after an abort either.
    let stray = packets(&[(b'D', b"M{auth_authen}\0acme\0"), (b'A', b"")]);
    let outcome = run_whole(&[newest(), stray, next].concat());
    assert_eq!(outcome.events[0], want);
}

#[test]
fn a_header_that_is_too_large_is_refused_and_the_connection_goes_on() {
    let field = |size: usize| packet(b'L', &[&b"X\0"[..], &vec![b'x'; size], b"\0"].concat());
    let start = packets(&[(b'M', b"<>\0")]);
    let end = packets(&[(b'N', b""), (b'B', b"body"), (b'E', b"more")]);
    let cases = [
        ("many fields", field(100_000).repeat(MAX_HEADER_BYTES / 100_000 + 1)),
        ("one large field", [field(1), field(MAX_HEADER_BYTES - 4)].concat()),
        ("one field beyond what is held", field(MAX_HELD_PACKET + 9)),
        ("the same between others", [field(1), field(MAX_HELD_PACKET * 3), field(1)].concat()),
    ];
    for (name, fields) in cases {
        let input = [newest(), start.clone(), fields, end.clone(), message_bytes(b" ")].concat();
        for size in [4096, input.len()] {
            let outcome = run(&input, |_| size);
            assert_eq!(outcome.error, None, "{name}");
            let refused = format!("Refused({:?})", Refusal::HeaderTooLarge);
            let refused = format!("{refused} from  to  header  auth -");
            let want = [&[refused.as_str(), "end, body "], &MESSAGE_EVENTS[..]].concat();
            assert!(outcome.events == want, "{name} {:.200}", outcome.events.concat());
            let reply = packet(b'y', b"552 5.3.4 header is too large\0");
            assert!(outcome.replies.windows(reply.len()).any(|window| window == reply), "{name}");
        }
    }
}

#[test]
fn asks_to_skip_a_body_that_nobody_wants() {
    // (steps of the offer, what two pieces of the body are answered with)
    let cases: [(u32, &[u8]); 3] = [(0x400, b"ss"), (0, b"cc"), (0x8_0400, b"")];
    for (steps, want) in cases {
        let mut session = Session::new(MacroRequest::default());
        let mut out = Vec::new();
        let head = packets(&[(b'M', b"<>\0"), (b'N', b"")]);
        let head = [offer(6, 0x1ff, steps), head].concat();
        let progress = session.handle(&head, &mut out).unwrap();
        assert_eq!((progress.consumed, progress.event), (head.len(), Some(Event::EndOfHeader)));
        session.skip_body();
        out.clear();
        let body = packets(&[(b'B', b"one"), (b'B', b"two")]);
        let progress = session.handle(&body, &mut out).unwrap();
        assert_eq!((progress.consumed, progress.event), (body.len(), None));
        let commands: Vec<u8> = out.chunks(5).map(|packet| packet[4]).collect();
        assert_eq!(commands, want, "{steps:#x}");
    }
}

/// A session that waits for the answer to [`message`], with an empty output.
fn asked() -> (Session, Vec<u8>) {
    let mut session = Session::new(MacroRequest::default());
    let (mut out, mut start) = (Vec::new(), 0);
    let input = [newest(), message_bytes(b" ")].concat();
    loop {
        let progress = session.handle(&input[start..], &mut out).unwrap();
        start += progress.consumed;
        if progress.event == Some(Event::EndOfMessage) {
            return (session, Vec::new());
        }
    }
}

#[test]
fn a_message_nobody_answered_is_put_off() {
    let (mut session, mut out) = asked();
    session.progress(&mut out);
    assert_eq!(out, packet(b'p', b""));
    out.clear();
    // An answer that adds a field and then forgets the verdict.
    session.answer(&mut out).unwrap().insert_on_top(b"A", b" b").unwrap();
    let progress = session.handle(b"", &mut out).unwrap();
    assert_eq!(progress.event, None);
    assert_eq!(out, packets(&[(b'i', b"\0\0\0\0A\0 b\0"), (b't', b"")]));
    assert!(session.answer(&mut out).is_err());
    out.clear();
    session.progress(&mut out);
    assert_eq!(out, b"");
}

#[test]
fn writes_all_modifications() {
    let (mut session, mut out) = asked();
    let mut answer = session.answer(&mut out).unwrap();
    answer.insert(1, b"A", b" 1").unwrap();
    answer.add(b"B", b" 2").unwrap();
    answer.change(3, b"C", b" 3").unwrap();
    answer.delete(2, b"D").unwrap();
    answer.delete(1, b"D").unwrap();
    answer.verdict(&Verdict::Accept);
    let want = packets(&[
        (b'i', b"\0\0\0\x01A\0 1\0"),
        (b'h', b"B\0 2\0"),
        (b'm', b"\0\0\0\x03C\0 3\0"),
        (b'm', b"\0\0\0\x02D\0\0"),
        (b'm', b"\0\0\0\x01D\0\0"),
        (b'a', b""),
    ]);
    assert_eq!(out, want);
}

#[test]
fn knows_the_client_until_the_connection_is_given_to_another() {
    let mut session = Session::new(MacroRequest::default());
    let (mut out, daemon) = (Vec::new(), MacroName::parse("{daemon_name}").unwrap());
    let head = [newest(), packets(&[(b'D', b"C{daemon_name}\0smtps\0"), CONNECT])].concat();
    let progress = session.handle(&head, &mut out).unwrap();
    assert_eq!(progress.event, None);
    let client = session.client().unwrap();
    assert_eq!(client.host_name(), b"client.example");
    let address = ClientAddress::Ip { address: "192.0.2.7".parse().unwrap(), port: 40_000 };
    assert_eq!(*client.address(), address);
    assert_eq!(session.macro_value(&daemon), Some(&b"smtps"[..]));

    let kept = packet(b'K', b"");
    let progress = session.handle(&kept, &mut out).unwrap();
    assert_eq!(progress.event, None);
    assert_eq!(session.client(), None);
    assert_eq!(session.macro_value(&daemon), None);
}

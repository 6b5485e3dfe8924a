//! Laws of the milter session on random input: no message sees anything of another, nothing panics,
//! and how the stream is cut changes nothing.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use postseal_wire::milter::{
    Event, MAX_HELD_PACKET, MacroName, MacroRequest, ProtocolError, Session, Verdict,
};
use proptest::prelude::*;

/// What an MTA may do next. Each step is one packet, with its macros if it has some.
#[derive(Clone, Debug)]
enum Step {
    Connect,
    Helo,
    Mail {
        sender: u8,
        user: Option<u8>,
    },
    Rcpt {
        recipient: u8,
        refused: bool,
    },
    Field {
        name: u8,
        value: u8,
    },
    EndOfHeader,
    Body(u8),
    EndOfMessage {
        queue_id: Option<u8>,
    },
    Abort,
    NewConnection,
    /// The user of the connection, as a macro of HELO.
    ConnectionUser(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let small = 0..4_u8;
    prop_oneof![
        1 => Just(Step::Connect),
        1 => Just(Step::Helo),
        4 => (small.clone(), proptest::option::of(small.clone()))
            .prop_map(|(sender, user)| Step::Mail { sender, user }),
        3 => (small.clone(), any::<bool>())
            .prop_map(|(recipient, refused)| Step::Rcpt { recipient, refused }),
        3 => (small.clone(), small.clone()).prop_map(|(name, value)| Step::Field { name, value }),
        4 => Just(Step::EndOfHeader),
        4 => small.clone().prop_map(Step::Body),
        4 => proptest::option::of(small.clone())
            .prop_map(|queue_id| Step::EndOfMessage { queue_id }),
        1 => Just(Step::Abort),
        1 => Just(Step::NewConnection),
        1 => small.prop_map(Step::ConnectionUser),
    ]
}

fn encode(step: &Step) -> Vec<u8> {
    let text = |n: u8| format!("v{n}");
    let (command, data, macros) = match step {
        Step::Connect => (b'C', b"h\0U".to_vec(), None),
        Step::Helo => (b'H', b"h\0".to_vec(), None),
        Step::Mail { sender, user } => {
            let user = user.map(|user| format!("M{{auth_authen}}\0{}\0", text(user)));
            (b'M', format!("<{}>\0", text(*sender)).into_bytes(), user)
        }
        Step::Rcpt { recipient, refused } => {
            let mailer = refused.then(|| "R{rcpt_mailer}\0error\0".to_owned());
            (b'R', format!("<{}>\0", text(*recipient)).into_bytes(), mailer)
        }
        Step::Field { name, value } => {
            (b'L', format!("X-{}\0 {}\0", text(*name), text(*value)).into_bytes(), None)
        }
        Step::EndOfHeader => (b'N', Vec::new(), None),
        Step::Body(body) => (b'B', text(*body).into_bytes(), None),
        Step::EndOfMessage { queue_id } => {
            (b'E', Vec::new(), queue_id.map(|id| format!("Ei\0{}\0", text(id))))
        }
        Step::Abort => (b'A', Vec::new(), None),
        Step::NewConnection => (b'K', Vec::new(), None),
        Step::ConnectionUser(user) => {
            (b'D', format!("H{{auth_authen}}\0{}\0", text(*user)).into_bytes(), None)
        }
    };
    let mut bytes = macros.map_or_else(Vec::new, |macros| packet(b'D', macros.as_bytes()));
    bytes.extend(packet(command, &data));
    bytes
}

fn packet(command: u8, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len() + 1).unwrap();
    [&length.to_be_bytes(), &[command][..], data].concat()
}

/// The protocol in forty lines: what a filter sees of `steps`, and whether they are in order.
fn model(steps: &[Step]) -> (Vec<String>, bool) {
    #[derive(Default)]
    struct Open {
        at: u8,
        sender: String,
        user: Option<String>,
        recipients: Vec<String>,
        header: String,
        body: String,
    }
    let (mut seen, mut message, mut connected) = (Vec::new(), None::<Open>, false);
    let mut connection_user = None::<String>;
    for step in steps {
        let opens = matches!(step, Step::Mail { .. } | Step::Helo | Step::NewConnection);
        if opens && message.take().is_some() {
            seen.push("aborted".to_owned());
        }
        match (step, &mut message) {
            (Step::Connect, None) if !connected => connected = true,
            (Step::Helo, None) => {}
            (Step::Abort, None) => {}
            (Step::Abort, Some(_)) => {
                message = None;
                seen.push("aborted".to_owned());
            }
            (Step::NewConnection, None) => (connected, connection_user) = (false, None),
            (Step::ConnectionUser(user), _) => connection_user = Some(format!("v{user}")),
            (Step::Mail { sender, user }, None) => {
                let (sender, user) = (format!("v{sender}"), user.map(|user| format!("v{user}")));
                message = Some(Open { sender, user, ..Open::default() });
            }
            (Step::Rcpt { recipient, refused }, Some(open)) if open.at == 0 => {
                if !refused {
                    open.recipients.push(format!("v{recipient}"));
                }
            }
            (Step::Field { name, value }, Some(open)) if open.at <= 1 => {
                open.at = 1;
                open.header += &format!("X-v{name}: v{value}\r\n");
            }
            (Step::EndOfHeader, Some(open)) if open.at <= 1 => {
                open.at = 2;
                let user = open.user.as_ref().or(connection_user.as_ref());
                let recipients = open.recipients.join(",");
                seen.push(format!("{} {recipients} {} {user:?}", open.sender, open.header));
            }
            (Step::Body(body), Some(open)) if open.at == 2 => open.body += &format!("v{body}"),
            (Step::EndOfMessage { queue_id }, Some(open)) if open.at == 2 => {
                let id = queue_id.map(|id| format!("v{id}"));
                seen.push(format!("end {} {id:?}", open.body));
                message = None;
            }
            _ => return (seen, false),
        }
    }
    (seen, true)
}

/// What the session says of the same bytes, which come in pieces of `size`.
fn observe(input: &[u8], size: usize) -> (Vec<String>, bool) {
    let name = |name| MacroName::parse(name).unwrap();
    let (user, queue_id) = (name("{auth_authen}"), name("i"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut session = Session::new(MacroRequest::default());
    let (mut seen, mut out, mut body) = (Vec::new(), Vec::new(), String::new());
    let (mut start, mut end) = (0, 0);
    loop {
        let Ok(progress) = session.handle(&input[start..end], &mut out) else {
            return (seen, false);
        };
        start += progress.consumed;
        match progress.event {
            None if end == input.len() => return (seen, true),
            None => end = (end + size).min(input.len()),
            Some(Event::Body(data)) => body += &text(data),
            Some(Event::Aborted) => {
                assert!(session.message().is_none());
                body.clear();
                seen.push("aborted".to_owned());
            }
            Some(Event::EndOfHeader) => {
                let message = session.message().unwrap();
                let recipients: Vec<_> = message.recipients().map(text).collect();
                let header: String = message.fields().map(text).collect();
                let user = session.macro_value(&user).map(text);
                let sender = text(message.sender());
                seen.push(format!("{sender} {} {header} {user:?}", recipients.join(",")));
            }
            Some(Event::EndOfMessage) => {
                let id = session.macro_value(&queue_id).map(text);
                seen.push(format!("end {body} {id:?}"));
                body.clear();
                session.answer(&mut out).unwrap().verdict(&Verdict::Continue);
            }
            Some(event) => panic!("{event:?}"),
        }
    }
}

/// Case counts stand here and not in the environment, and failures go to the report only.
fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

/// The negotiation of a current MTA, with no answers on the way.
fn offer() -> Vec<u8> {
    packet(b'O', b"\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100_000, ..config() })]

    #[test]
    fn a_message_sees_nothing_of_another(
        steps in proptest::collection::vec(step(), 1..40),
        size in 1..64_usize,
    ) {
        let input = [offer(), steps.iter().flat_map(encode).collect()].concat();
        prop_assert_eq!(observe(&input, size), model(&steps));
    }

    #[test]
    fn messages_in_order_are_all_seen(
        messages in proptest::collection::vec(message(), 1..6),
        size in 1..200_usize,
    ) {
        let steps = messages.concat();
        let input = [offer(), steps.iter().flat_map(encode).collect()].concat();
        let (want, in_order) = model(&steps);
        prop_assert!(in_order);
        prop_assert_eq!(observe(&input, size), (want, true));
    }
}

/// A message in order that ends well, is aborted, or is left for the next one.
fn message() -> impl Strategy<Value = Vec<Step>> {
    let small = 0..4_u8;
    let mail = (small.clone(), proptest::option::of(small.clone()))
        .prop_map(|(sender, user)| Step::Mail { sender, user });
    let recipients = proptest::collection::vec(
        (small.clone(), any::<bool>())
            .prop_map(|(recipient, refused)| Step::Rcpt { recipient, refused }),
        0..3,
    );
    let fields = proptest::collection::vec(
        (small.clone(), small.clone()).prop_map(|(name, value)| Step::Field { name, value }),
        0..4,
    );
    let body = proptest::collection::vec(small.clone().prop_map(Step::Body), 0..3);
    let end = prop_oneof![
        3 => proptest::option::of(small).prop_map(|queue_id| vec![Step::EndOfMessage { queue_id }]),
        1 => Just(vec![Step::Abort]),
        1 => Just(vec![Step::NewConnection]),
        1 => Just(vec![Step::Helo]),
        1 => Just(vec![]),
    ];
    (mail, recipients, fields, body, end).prop_map(|(mail, recipients, fields, body, end)| {
        [vec![mail], recipients, fields, vec![Step::EndOfHeader], body, end].concat()
    })
}

/// Runs any bytes through a session in pieces of `size` and returns what it wrote.
fn survive(input: &[u8], size: usize) -> (Vec<u8>, Option<ProtocolError>) {
    let mut session = Session::new(MacroRequest::default());
    let (mut out, mut start, mut end) = (Vec::new(), 0, 0);
    loop {
        let progress = match session.handle(&input[start..end], &mut out) {
            Ok(progress) => progress,
            Err(error) => {
                // A session that failed stays so, and says so.
                assert_eq!(session.handle(b"", &mut out), Err(ProtocolError::AfterError));
                return (out, Some(error));
            }
        };
        assert!(progress.consumed <= end - start);
        start += progress.consumed;
        match progress.event {
            None => {
                assert!(end - start <= MAX_HELD_PACKET + 4, "more kept than promised");
                if end == input.len() {
                    return (out, None);
                }
                end = (end + size).min(input.len());
            }
            Some(Event::EndOfMessage) => {
                let mut answer = session.answer(&mut out).unwrap();
                answer.insert_on_top(b"X", b" y").unwrap();
                answer.verdict(&Verdict::Continue);
            }
            Some(_) => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..config() })]

    #[test]
    fn any_bytes_end_in_an_error_or_wait_for_more(
        input in proptest::collection::vec(any::<u8>(), 0..300),
        size in 1..300_usize,
    ) {
        prop_assert_eq!(survive(&input, size), survive(&input, 300));
    }

    #[test]
    fn any_packets_end_in_an_error_or_wait_for_more(
        agreed in any::<bool>(),
        steps in any::<u32>(),
        packets in proptest::collection::vec(
            (
                proptest::sample::select(&b"ABCDEHKLMNOQRTU"[..]),
                proptest::collection::vec(proptest::sample::select(&b"\0\0 aiCMR4U<>{\r\n:\xff"[..]), 0..12),
            ),
            0..24,
        ),
        size in 1..100_usize,
    ) {
        let mut input = Vec::new();
        if agreed {
            let words = [6_u32, u32::MAX, steps].map(u32::to_be_bytes).concat();
            input = packet(b'O', &words);
        }
        for (command, data) in packets {
            input.extend(packet(command, &data));
        }
        prop_assert_eq!(survive(&input, size), survive(&input, input.len()));
    }

    #[test]
    fn a_damaged_session_ends_in_an_error_or_goes_on(
        messages in proptest::collection::vec(message(), 1..3),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        size in 1..100_usize,
    ) {
        let mut input = [offer(), messages.concat().iter().flat_map(encode).collect()].concat();
        for (at, byte) in damage {
            let at = at.index(input.len());
            input[at] = byte;
        }
        prop_assert_eq!(survive(&input, size), survive(&input, input.len()));
    }
}

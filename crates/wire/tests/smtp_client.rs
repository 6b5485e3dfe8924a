//! The SMTP client session, driven by scripted servers.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a helper of a test fails the test"
)]

use postseal_wire::smtp::address::HelloName;
use postseal_wire::smtp::auth::{Credentials, Password};
use postseal_wire::smtp::client::{
    Event, ProtocolError, Sent, Session, SetUpError, Settings, TlsUse,
};
use postseal_wire::smtp::command::Command;
use postseal_wire::smtp::reply::ReplyError;
use postseal_wire::smtp::{Mail, Recipient};

fn settings(tls: TlsUse) -> Settings {
    Settings { host_name: HelloName::parse("us.example").unwrap(), tls, credentials: None }
}

fn with_credentials() -> Settings {
    let credentials = Credentials { user: "u".into(), password: Password::new("p".into()) };
    Settings { credentials: Some(credentials), ..settings(TlsUse::Never) }
}

/// Feeds a server's replies; answers the events and what we sent.
fn run(settings: Settings, server: &[u8]) -> (Vec<Event>, String) {
    let mut session = Session::new(settings);
    feed(&mut session, server)
}

fn feed(session: &mut Session, server: &[u8]) -> (Vec<Event>, String) {
    let (mut out, mut events, mut taken) = (Vec::new(), Vec::new(), 0);
    while let (len, Some(event)) = session.handle(&server[taken..], &mut out).unwrap() {
        taken += len;
        if event == Event::StartTls {
            session.tls_started(&mut out);
        }
        events.push(event);
    }
    (events, String::from_utf8(out).unwrap())
}

fn mail() -> Mail {
    match Command::parse(b"MAIL FROM:<a@example.com> BODY=8BITMIME RET=HDRS").unwrap() {
        Command::Mail(mail) => mail,
        other => panic!("{other:?}"),
    }
}

fn recipient(number: u32) -> Recipient {
    match Command::parse(format!("RCPT TO:<u{number}@example.org> NOTIFY=NEVER").as_bytes())
        .unwrap()
    {
        Command::Rcpt(recipient) => recipient,
        other => panic!("{other:?}"),
    }
}

fn ready(extensions: &str) -> Session {
    let mut session = Session::new(settings(TlsUse::Never));
    let greeting = format!("220 x\r\n{extensions}");
    let (events, _) = feed(&mut session, greeting.as_bytes());
    assert!(matches!(events[..], [Event::Ready(_)]), "{events:?}");
    session
}

#[test]
fn sets_up_with_what_the_server_offers() {
    let cases: [(Settings, &[u8], &str); 6] = [
        (settings(TlsUse::Never), b"220 x\r\n250-x\r\n250 STARTTLS\r\n", "EHLO us.example\r\n"),
        (settings(TlsUse::IfOffered), b"220-x\r\n220 y\r\n250 x\r\n", "EHLO us.example\r\n"),
        (
            settings(TlsUse::IfOffered),
            b"220 x\r\n502 no\r\n250 x\r\n",
            "EHLO us.example\r\nHELO us.example\r\n",
        ),
        (
            settings(TlsUse::IfOffered),
            b"220 x\r\n250-x\r\n250 STARTTLS\r\n454 no\r\n",
            "EHLO us.example\r\nSTARTTLS\r\n",
        ),
        (
            with_credentials(),
            b"220 x\r\n250-x\r\n250 AUTH LOGIN PLAIN\r\n235 ok\r\n",
            "EHLO us.example\r\nAUTH PLAIN AHUAcA==\r\n",
        ),
        (
            with_credentials(),
            b"220 x\r\n250-x\r\n250 AUTH LOGIN\r\n334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n235 ok\r\n",
            "EHLO us.example\r\nAUTH LOGIN\r\ndQ==\r\ncA==\r\n",
        ),
    ];
    for (settings, server, want) in cases {
        let (events, sent) = run(settings, server);
        assert!(matches!(events[..], [Event::Ready(_)]), "{events:?}");
        assert_eq!(sent, want);
    }
}

#[test]
fn says_why_a_server_is_of_no_use() {
    type IsExpected = fn(&SetUpError) -> bool;
    let cases: [(Settings, &[u8], IsExpected); 8] = [
        (settings(TlsUse::Never), b"554 no\r\n", |e| matches!(e, SetUpError::Greeting(_))),
        (settings(TlsUse::Never), b"421 busy\r\n", |e| matches!(e, SetUpError::Greeting(_))),
        (settings(TlsUse::Never), b"220 x\r\n451 no\r\n", |e| matches!(e, SetUpError::Greeting(_))),
        (settings(TlsUse::Never), b"220 x\r\n500 no\r\n550 no\r\n", |e| {
            matches!(e, SetUpError::Greeting(_))
        }),
        (settings(TlsUse::Required), b"220 x\r\n250 x\r\n", |e| matches!(e, SetUpError::NoTls)),
        (settings(TlsUse::Required), b"220 x\r\n250-x\r\n250 STARTTLS\r\n454 no\r\n", |e| {
            matches!(e, SetUpError::TlsRefused(_))
        }),
        (with_credentials(), b"220 x\r\n250 x\r\n", |e| matches!(e, SetUpError::NoAuth)),
        (with_credentials(), b"220 x\r\n250-x\r\n250 AUTH PLAIN\r\n535 no\r\n", |e| {
            matches!(e, SetUpError::AuthRefused(_))
        }),
    ];
    for (settings, server, want) in cases {
        let (events, _) = run(settings, server);
        let Some(Event::Refused(error)) = events.last() else { panic!("{events:?}") };
        assert!(want(error), "{error:?}");
    }
}

#[test]
fn what_follows_the_answer_to_starttls_is_dropped() {
    let mut session = Session::new(settings(TlsUse::Required));
    let mut out = Vec::new();
    let server = b"220 x\r\n250-x\r\n250 STARTTLS\r\n220 go\r\n250 injected\r\n250 ";
    let (taken, event) = session.handle(server, &mut out).unwrap();
    assert_eq!((taken, event), (server.len(), Some(Event::StartTls)));
    assert_eq!(session.handle(b"more\r\n", &mut out).unwrap(), (6, None));
    session.tls_started(&mut out);
    assert_eq!(session.handle(b"", &mut out).unwrap(), (0, None));
    let (_, event) = session.handle(b"250-x\r\n250-STARTTLS\r\n250 DSN\r\n", &mut out).unwrap();
    assert!(matches!(event, Some(Event::Ready(offered)) if offered.dsn));
    assert_eq!(out, b"EHLO us.example\r\nSTARTTLS\r\nEHLO us.example\r\n");
}

#[test]
fn commands_are_pipelined_where_that_is_offered() {
    for (extensions, first) in [
        (
            "250-x\r\n250-PIPELINING\r\n250-SIZE\r\n250-8BITMIME\r\n250 DSN\r\n",
            "MAIL FROM:<a@example.com> SIZE=99 BODY=8BITMIME RET=HDRS\r\n\
             RCPT TO:<u1@example.org> NOTIFY=NEVER\r\nRCPT TO:<u2@example.org> NOTIFY=NEVER\r\n\
             DATA\r\n",
        ),
        ("250 x\r\n", "MAIL FROM:<a@example.com>\r\n"),
    ] {
        let mut session = ready(extensions);
        let mut out = Vec::new();
        session.mail(&mail(), Some(99), &mut out);
        session.recipient(&recipient(1), &mut out);
        session.recipient(&recipient(2), &mut out);
        session.data(&mut out);
        session.reset(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), first);
        assert!(!session.is_idle());

        let (events, rest) = feed(&mut session, b"250 a\r\n250 b\r\n550 c\r\n451 d\r\n250 e\r\n");
        let to: Vec<_> = events
            .iter()
            .map(|event| match event {
                Event::Reply { to, reply } => (*to, reply.code().number()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            to,
            [
                (Sent::Mail, 250),
                (Sent::Recipient(0), 250),
                (Sent::Recipient(1), 550),
                (Sent::Data, 451),
                (Sent::Reset, 250),
            ]
        );
        assert!(rest.ends_with("RSET\r\n"));
        assert!(session.is_idle());
    }
}

#[test]
fn content_is_stuffed_and_ended() {
    let mut session = ready("250 x\r\n");
    let mut out = Vec::new();
    for _ in 0..2 {
        session.data(&mut out);
        feed(&mut session, b"354 go\r\n");
        out.clear();
        session.content(b".a\r\n.", &mut out);
        session.content(b"b\r\n", &mut out);
        session.end_of_data(&mut out);
        assert_eq!(out, b"..a\r\n..b\r\n.\r\n");
        let (events, _) = feed(&mut session, b"250 2.0.0 Ok: queued as X\r\n");
        let [Event::Reply { to: Sent::EndOfData, reply }] = &events[..] else {
            panic!("{events:?}")
        };
        let mut passed_on = Vec::new();
        reply.write(&mut passed_on);
        assert_eq!(passed_on, b"250 2.0.0 Ok: queued as X\r\n");
    }
}

#[test]
fn every_split_gives_the_same_events() {
    let server: &[u8] = b"220-x\r\n220 y\r\n250-x\r\n250-PIPELINING\r\n250 AUTH LOGIN\r\n334 a\r\n334 b\r\n235 ok\r\n";
    let whole = run(with_credentials(), server);
    for a in 0..=server.len() {
        let mut session = Session::new(with_credentials());
        let (mut out, mut events, mut buffer) = (Vec::new(), Vec::new(), Vec::new());
        for part in [&server[..a], &server[a..]] {
            buffer.extend_from_slice(part);
            loop {
                let (len, event) = session.handle(&buffer, &mut out).unwrap();
                buffer.drain(..len);
                let Some(event) = event else { break };
                events.push(event);
            }
        }
        assert_eq!((events, String::from_utf8(out).unwrap()), whole, "cut at {a}");
    }
}

#[test]
fn nonsense_ends_the_session() {
    let mut session = ready("250 x\r\n");
    let mut out = Vec::new();
    assert_eq!(session.handle(b"421 bye\r\n", &mut out), Err(ProtocolError::Unexpected));
    let mut session = Session::new(settings(TlsUse::Never));
    assert_eq!(
        session.handle(b"SSH-2.0-x\r\n", &mut out),
        Err(ProtocolError::Reply(ReplyError::Malformed))
    );
}

//! The SMTP server session, driven as a client would: recorded sessions cut in every place, limits,
//! and the endings of `DATA` that other servers took for one.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use postseal_wire::smtp::address::HelloName;
use postseal_wire::smtp::extension::{Extensions, SizeOffer};
use postseal_wire::smtp::reply::{Reply, ReplyCode};
use postseal_wire::smtp::server::{
    AuthOffer, AuthVerdict, CloseReason, Event, MAX_AUTH_FAILURES, MAX_ERRORS, MAX_JUNK,
    MAX_RECIPIENTS, MAX_STRAY_CHUNK, Receiving, Session, Settings, Transport,
};
use postseal_wire::smtp::{BareNewlines, data::DotStuffing};

fn settings() -> Settings {
    Settings {
        host_name: HelloName::parse("us.example").unwrap(),
        transport: Transport::StartTls,
        auth: AuthOffer::Always,
        max_message: 5000,
        relay: Extensions {
            size: SizeOffer::NoLimit,
            eight_bit_mime: true,
            smtputf8: true,
            chunking: true,
            dsn: true,
            ..Extensions::default()
        },
        newlines: BareNewlines::Refuse,
    }
}

/// A session and what came out of it.
struct Peer {
    session: Session,
    buffer: Vec<u8>,
    /// Events, adjacent content joined.
    events: Vec<String>,
    out: Vec<u8>,
    done: bool,
}

impl Peer {
    fn new(settings: Settings) -> Self {
        let session = Session::new(settings);
        let mut out = Vec::new();
        session.greet(&mut out);
        Self { session, buffer: Vec::new(), events: Vec::new(), out, done: false }
    }

    /// Sends bytes, and answers every question: recipients at `refused.example` are refused, the
    /// message is refused for storage if the sender is `full@…`, the password is `right`.
    fn send(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        let mut taken = 0;
        while !self.done {
            let (len, event) = self.session.handle(&self.buffer[taken..], &mut self.out);
            taken += len;
            let Some(event) = event else { break };
            let reply = |code, status, text| Reply::new(code, status, text);
            let text = match event {
                Event::Header(slice) => return self.content("header", slice.to_vec(), taken),
                Event::Body(slice) => return self.content("body", slice.to_vec(), taken),
                Event::StartTls => {
                    self.buffer.clear();
                    taken = 0;
                    self.session.tls_started();
                    "tls".to_owned()
                }
                Event::Authenticate(credentials) => {
                    let verdict = match credentials.password.expose() {
                        "right" => AuthVerdict::Accepted,
                        "later" => AuthVerdict::Unavailable,
                        _ => AuthVerdict::Rejected,
                    };
                    self.session.authenticated(verdict, &mut self.out);
                    format!("auth {} {:?}", credentials.user, credentials.injection())
                }
                Event::Mail(mail) => {
                    self.session.answer(&reply(ReplyCode::OK, (1, 0), "sender ok"), &mut self.out);
                    format!("mail {}", mail.sender)
                }
                Event::Recipient(recipient) => {
                    let verdict = if recipient.mailbox.domain() == Some("refused.example") {
                        reply(ReplyCode::REFUSED, (1, 1), "no such user")
                    } else {
                        reply(ReplyCode::OK, (1, 5), "recipient ok")
                    };
                    self.session.answer(&verdict, &mut self.out);
                    format!("rcpt {}", recipient.mailbox)
                }
                Event::MessageStart => {
                    let verdict = if self.events.iter().any(|event| event.contains("<full@")) {
                        reply(ReplyCode::INSUFFICIENT_STORAGE, (3, 1), "no room")
                    } else {
                        reply(ReplyCode::OK, (0, 0), "")
                    };
                    self.session.answer(&verdict, &mut self.out);
                    "start".to_owned()
                }
                Event::EndOfMessage(summary) => {
                    self.session.answer(&reply(ReplyCode::OK, (0, 0), "taken"), &mut self.out);
                    format!("end {} {}", summary.octets, summary.longest_line)
                }
                Event::EndOfHeader => "eoh".to_owned(),
                Event::MessageRefused(error) => format!("refused {error:?}"),
                Event::Reset => "reset".to_owned(),
                Event::Quit => {
                    self.done = true;
                    "quit".to_owned()
                }
                Event::Close(reason) => {
                    self.done = true;
                    format!("close {reason:?}")
                }
            };
            self.events.push(text);
        }
        self.buffer.drain(..taken.min(self.buffer.len()));
    }

    fn content(&mut self, part: &str, slice: Vec<u8>, taken: usize) {
        let text = format!("{part} {}", slice.escape_ascii());
        match self.events.last_mut() {
            Some(last) if last.starts_with(&format!("{part} ")) => {
                last.push_str(&slice.escape_ascii().to_string());
            }
            _ => self.events.push(text),
        }
        self.buffer.drain(..taken);
        self.send(b"");
    }

    fn replies(&self) -> String {
        String::from_utf8(self.out.clone()).unwrap()
    }

    /// The codes of all replies, without the greeting.
    fn codes(&self) -> Vec<String> {
        let text = self.replies();
        text.lines().skip(1).filter(|l| l.as_bytes()[3] == b' ').map(|l| l[..3].into()).collect()
    }
}

fn run(settings: Settings, segments: &[&str]) -> Peer {
    let mut peer = Peer::new(settings);
    for segment in segments {
        peer.send(segment.as_bytes());
    }
    peer
}

/// Sessions as clients hold them: each string is what a client sends before it waits for a reply.
const RECORDED: &[&[&str]] = &[
    // One message, one command at a time.
    &[
        "EHLO client.example\r\n",
        "MAIL FROM:<a@example.com> SIZE=60\r\n",
        "RCPT TO:<b@example.org>\r\n",
        "DATA\r\n",
        "From: a\r\nTo: b\r\n\r\n..dots\r\n.x\r\n\r\nend\r\n.\r\n",
        "QUIT\r\n",
    ],
    // Two messages, pipelined; the second begins behind the dot of the first.
    &[
        "EHLO client.example\r\n",
        "MAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nRCPT TO:<c@refused.example>\r\nDATA\r\n",
        "A: b\r\n\r\n.\r\nMAIL FROM:<x@example.com> BODY=8BITMIME RET=FULL\r\nRCPT TO:<d@example.org> NOTIFY=NEVER\r\nDATA\r\n",
        "C: d\r\n\r\nbody\r\n.\r\nQUIT\r\n",
    ],
    // Chunks, all in one go, and a transaction that is given up.
    &[
        "EHLO client.example\r\n",
        "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nBDAT 9\r\nA: b\r\n\r\n.BDAT 6 LAST\r\n\r\n.\r\n.RSET\r\nNOOP\r\n",
        "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nBDAT 4\r\nA: bRSET\r\nQUIT\r\n",
    ],
    // AUTH in its forms, mistakes in between.
    &[
        "EHLO client.example\r\n",
        "AUTH PLAIN AFNNVFBfSW5qZWN0aW9uAHdyb25n\r\n",
        "AUTH LOGIN\r\n",
        "U01UUF9JbmplY3Rpb246WC1NU1lTLVNVQkFDQ09VTlQ9Nw==\r\n",
        "bGF0ZXI=\r\n",
        "AUTH LOGIN U01UUF9JbmplY3Rpb24=\r\n",
        "*\r\n",
        "AUTH PLAIN\r\n",
        "AHUAcmlnaHQ=\r\n",
        "AUTH PLAIN AHUAcmlnaHQ=\r\n",
        "AUTH CRAM-MD5\r\n",
        "QUIT\r\n",
    ],
    // Mistakes in order and syntax, then a message that is refused for its content.
    &[
        "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nEHLO a b\r\nFOO\r\nHELO x\r\n",
        "RCPT TO:<b@example.org>\r\nMAIL FROM:<a@example.com>\nMAIL FROM:a@example.com\r\n",
        "MAIL FROM:<a@example.com>\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<@x:b@example.org>\r\n",
        "DATA\r\n",
        "RCPT TO:<b@example.org>\r\n",
        "DATA\r\n",
        "A: b\r\n\r\nbare\nline\r\nfeed \r twice\r\n.\r\nQUIT\r\n",
    ],
    // STARTTLS forgets what was said.
    &[
        "EHLO client.example\r\nMAIL FROM:<a@example.com>\r\n",
        "STARTTLS\r\n",
        "MAIL FROM:<a@example.com>\r\nEHLO client.example\r\nSTARTTLS\r\nQUIT\r\n",
    ],
    // No room for the message, for DATA and for chunks.
    &[
        "EHLO client.example\r\n",
        "MAIL FROM:<full@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n",
        "MAIL FROM:<full@example.com>\r\nRCPT TO:<b@example.org>\r\nBDAT 7\r\nQUIT\r\n.BDAT 2 LAST\r\n\r\nNOOP\r\nQUIT\r\n",
    ],
];

#[test]
fn every_split_of_recorded_sessions_gives_the_same_events() {
    for segments in RECORDED {
        let whole = run(settings(), segments);
        assert!(whole.events.last().is_some_and(|event| event == "quit"), "{:?}", whole.events);
        for number in 0..segments.len() {
            let bytes = segments[number].as_bytes();
            for cut in 1..bytes.len() {
                // What is sent behind STARTTLS before the handshake is dropped, so is not cut here.
                let mut peer = run(settings(), &segments[..number]);
                peer.send(&bytes[..cut]);
                peer.send(&bytes[cut..]);
                for segment in &segments[number + 1..] {
                    peer.send(segment.as_bytes());
                }
                assert_eq!(peer.events, whole.events, "{segments:?} cut at {number}, {cut}");
                assert_eq!(peer.replies(), whole.replies(), "{segments:?} cut at {number}, {cut}");
            }
        }
        let mut peer = Peer::new(settings());
        for byte in segments.concat().as_bytes() {
            peer.send(&[*byte]);
        }
        assert_eq!(peer.events, whole.events, "byte by byte");
        assert_eq!(peer.replies(), whole.replies(), "byte by byte");
    }
}

#[test]
fn recorded_sessions_yield_what_they_should() {
    let want: [&[&str]; 7] = [
        &[
            "mail <a@example.com>",
            "rcpt b@example.org",
            "start",
            "header From: a\\r\\nTo: b\\r\\n",
            "eoh",
            "body .dots\\r\\nx\\r\\n\\r\\nend\\r\\n",
            "end 35 7",
            "quit",
        ],
        &[
            "mail <>",
            "rcpt b@example.org",
            "rcpt c@refused.example",
            "start",
            "header A: b\\r\\n",
            "eoh",
            "end 8 4",
            "mail <x@example.com>",
            "rcpt d@example.org",
            "start",
            "header C: d\\r\\n",
            "eoh",
            "body body\\r\\n",
            "end 14 4",
            "quit",
        ],
        &[
            "mail <a@example.com>",
            "rcpt b@example.org",
            "start",
            "header A: b\\r\\n",
            "eoh",
            "body .\\r\\n.\\r\\n.\\r\\n",
            "end 17 4",
            "mail <a@example.com>",
            "rcpt b@example.org",
            "start",
            "header A: b",
            "reset",
            "quit",
        ],
        &[
            "auth SMTP_Injection Some(KeyOwner)",
            "auth SMTP_Injection:X-MSYS-SUBACCOUNT=7 Some(Subaccount(7))",
            "auth u None",
            "quit",
        ],
        &[
            "mail <a@example.com>",
            "rcpt b@example.org",
            "start",
            "header A: b\\r\\n",
            "eoh",
            "body bare",
            "refused BareLf",
            "quit",
        ],
        &["mail <a@example.com>", "tls", "quit"],
        &[
            "mail <full@example.com>",
            "rcpt b@example.org",
            "start",
            "mail <full@example.com>",
            "rcpt b@example.org",
            "start",
            "quit",
        ],
    ];
    let codes: [&[&str]; 7] = [
        &["250", "250", "250", "354", "250", "221"],
        &["250", "250", "250", "550", "354", "250", "250", "250", "354", "250", "221"],
        &["250", "250", "250", "250", "250", "250", "250", "250", "250", "250", "250", "221"],
        &["250", "535", "334", "334", "454", "334", "501", "334", "235", "503", "503", "221"],
        &[
            "503", "503", "501", "500", "250", "503", "500", "501", "250", "503", "501", "554",
            "250", "354", "550", "221",
        ],
        &["250", "250", "220", "503", "250", "503", "221"],
        &["250", "250", "250", "452", "250", "250", "452", "503", "250", "221"],
    ];
    for (number, segments) in RECORDED.iter().enumerate() {
        let peer = run(settings(), segments);
        assert_eq!(peer.events, want[number], "session {number}: {}", peer.replies());
        assert_eq!(peer.codes(), codes[number], "session {number}: {}", peer.replies());
    }
}

#[test]
fn offers_what_it_is_told_to() {
    let cases: [(Settings, &[&str]); 3] = [
        (
            settings(),
            &[
                "us.example",
                "PIPELINING",
                "SIZE 5000",
                "8BITMIME",
                "SMTPUTF8",
                "CHUNKING",
                "DSN",
                "STARTTLS",
                "AUTH PLAIN LOGIN",
                "ENHANCEDSTATUSCODES",
            ],
        ),
        (
            Settings {
                relay: Extensions { size: SizeOffer::Limit(4000), ..Extensions::default() },
                auth: AuthOffer::UnderTls,
                ..settings()
            },
            &["us.example", "PIPELINING", "SIZE 4000", "STARTTLS", "ENHANCEDSTATUSCODES"],
        ),
        (
            Settings {
                transport: Transport::Tls,
                auth: AuthOffer::UnderTls,
                relay: Extensions::default(),
                ..settings()
            },
            &["us.example", "PIPELINING", "SIZE 5000", "AUTH PLAIN LOGIN", "ENHANCEDSTATUSCODES"],
        ),
    ];
    for (settings, want) in cases {
        let peer = run(settings, &["EHLO x\r\n"]);
        let text = peer.replies();
        let lines: Vec<_> = text.lines().skip(1).map(|line| &line[4..]).collect();
        assert_eq!(lines, want);
    }
}

#[test]
fn refuses_what_was_not_offered() {
    let bare = Settings { relay: Extensions::default(), ..settings() };
    let cases = [
        ("MAIL FROM:<a@b> BODY=8BITMIME\r\n", "555 5.5.4"),
        ("MAIL FROM:<a@b> SMTPUTF8\r\n", "555 5.6.7"),
        ("MAIL FROM:<a@b> ENVID=x\r\n", "555 5.5.4"),
        ("MAIL FROM:<a@b> SIZE=5001\r\n", "552 5.3.4"),
        ("MAIL FROM:<a@b>\r\nRCPT TO:<b@c> NOTIFY=NEVER\r\n", "555 5.5.4"),
        ("MAIL FROM:<a@b>\r\nRCPT TO:<\u{e9}@c>\r\n", "553 5.6.7"),
        ("MAIL FROM:<a@b>\r\nRCPT TO:<b@c>\r\nBDAT 3 LAST\r\nxyz", "503 5.5.1"),
    ];
    for (commands, want) in cases {
        let peer = run(bare.clone(), &["EHLO x\r\n", commands]);
        assert!(peer.replies().lines().last().unwrap().starts_with(want), "{}", peer.replies());
    }
}

#[test]
fn auth_waits_for_tls() {
    let peer = run(
        Settings { auth: AuthOffer::UnderTls, ..settings() },
        &[
            "EHLO x\r\n",
            "AUTH PLAIN AHUAcmlnaHQ=\r\n",
            "STARTTLS\r\n",
            "AUTH PLAIN AHUAcmlnaHQ=\r\n",
            "EHLO x\r\n",
            "AUTH PLAIN AHUAcmlnaHQ=\r\n",
        ],
    );
    assert_eq!(peer.codes(), ["250", "538", "220", "503", "250", "235"]);
    assert_eq!(peer.session.protocol(), "ESMTPSA");
    let never =
        run(Settings { auth: AuthOffer::Never, ..settings() }, &["EHLO x\r\nAUTH PLAIN x\r\n"]);
    assert_eq!(never.codes(), ["250", "502"]);
}

#[test]
fn plain_text_behind_starttls_is_dropped() {
    for segments in [
        &["EHLO x\r\nSTARTTLS\r\nMAIL FROM:<evil@example.com>\r\nEHLO evil\r\n"][..],
        &["EHLO x\r\nSTARTTLS\r\n"][..],
    ] {
        let mut peer = run(settings(), segments);
        assert_eq!(peer.events, ["tls"]);
        assert_eq!(peer.session.client_name(), None);
        peer.send(b"QUIT\r\n");
        assert_eq!(peer.codes(), ["250", "220", "221"]);
    }
}

#[test]
fn input_during_the_handshake_is_dropped_however_it_is_cut() {
    let mut session = Session::new(settings());
    let mut out = Vec::new();
    let (taken, event) = session.handle(b"STARTTLS\r\nRSE", &mut out);
    assert_eq!(taken, 13);
    assert!(matches!(event, Some(Event::StartTls)));
    assert!(matches!(session.handle(b"T\r\nNOOP\r\n", &mut out), (9, None)));
    session.tls_started();
    assert!(matches!(session.handle(b"QUIT\r\n", &mut out), (6, Some(Event::Quit))));
    assert_eq!(String::from_utf8(out).unwrap().lines().count(), 2);
}

#[test]
fn content_before_the_answer_to_data_closes_the_connection() {
    let peer = run(
        settings(),
        &[
            "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nA: b\r\n.\r\nMAIL FROM:<evil@b>\r\n",
        ],
    );
    assert_eq!(peer.events, ["mail <a@b>", "rcpt c@d", "close ContentBeforeAnswer"]);
    assert_eq!(peer.codes(), ["250", "250", "250", "503"]);
}

#[test]
fn no_ending_of_data_but_crlf_dot_crlf_is_one() {
    let befores = ["\r\n", "\n", "\r", "\n\r", "\r\n\0"];
    let afters = ["\r\n", "\n", "\r", "\n\r", "\0\r\n"];
    let mut variants = 0;
    for before in befores {
        for after in afters {
            if (before, after) == ("\r\n", "\r\n") {
                continue;
            }
            variants += 1;
            let name = format!("{}.{}", before.escape_debug(), after.escape_debug());
            let content = format!(
                "A: b\r\n\r\none{before}.{after}MAIL FROM:<evil@example.com>\r\n\
                 RCPT TO:<victim@example.org>\r\nDATA\r\nB: c\r\n\r\ntwo\r\n.\r\n"
            );
            let segments = [
                "EHLO x\r\n",
                "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
                &content,
                "QUIT\r\n",
            ];

            let refused = run(settings(), &segments);
            assert_eq!(refused.codes(), ["250", "250", "250", "354", "550", "221"], "{name}");
            assert_eq!(
                refused.events.iter().filter(|e| e.starts_with("mail")).count(),
                1,
                "{name}"
            );

            let repairing = Settings { newlines: BareNewlines::Repair, ..settings() };
            let repaired = run(repairing, &segments);
            assert_eq!(repaired.codes(), ["250", "250", "250", "354", "250", "221"], "{name}");
            let mails = repaired.events.iter().filter(|e| e.starts_with("mail")).count();
            let ends = repaired.events.iter().filter(|e| e.starts_with("end")).count();
            assert_eq!((mails, ends), (1, 1), "{name}");

            // On the way out, a server that takes CR, LF and CRLF for a line end sees one end too.
            let body = repaired.events.iter().find_map(|e| e.strip_prefix("body ")).unwrap();
            let body = body.replace("\\r", "\r").replace("\\n", "\n");
            let mut wire = Vec::new();
            let mut stuffing = DotStuffing::default();
            stuffing.write(body.as_bytes(), &mut wire);
            stuffing.finish(&mut wire);
            let text = String::from_utf8(wire).unwrap().replace("\r\n", "\n").replace('\r', "\n");
            assert_eq!(text.split('\n').filter(|line| *line == ".").count(), 1, "{name}: {text}");
            assert!(text.ends_with("\n.\n"), "{name}");
        }
    }
    assert_eq!(variants, 24);
}

#[test]
fn bdat_and_data_do_not_mix() {
    let peer = run(
        settings(),
        &[
            "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 6\r\nA: b\r\nDATA\r\n",
            "RCPT TO:<e@f>\r\nMAIL FROM:<a@b>\r\nBDAT 2 LAST\r\n\r\nBDAT 6 LAST\r\nRSET\r\nQUIT\r\n",
        ],
    );
    assert_eq!(
        peer.codes(),
        ["250", "250", "250", "250", "503", "503", "503", "250", "503", "221"],
        "{}",
        peer.replies()
    );
}

#[test]
fn a_chunk_size_that_cannot_be_read_closes_the_connection() {
    for command in
        ["BDAT\r\n", "BDAT x\r\n", "BDAT 5 FIRST\r\n", "BDAT -1\r\n", "BDAT 999999999999\r\n"]
    {
        let peer = run(
            settings(),
            &["EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n", command, "NOOP\r\n"],
        );
        assert_eq!(peer.events.last().unwrap(), "close ChunkSize", "{command}");
        assert_eq!(peer.codes().len(), 4, "{command}");
    }
}

#[test]
fn size_is_enforced_whatever_was_declared() {
    let body = "0123456789\r\n".repeat(500);
    let data = format!("A: b\r\n\r\n{body}.\r\n");
    let chunk = format!("BDAT {}\r\n{body}BDAT 2 LAST\r\n\r\n", body.len());
    let start = "EHLO x\r\nMAIL FROM:<a@b> SIZE=10\r\nRCPT TO:<c@d>\r\n";
    let by_data = run(settings(), &[start, "DATA\r\n", &data, "QUIT\r\n"]);
    assert_eq!(by_data.codes(), ["250", "250", "250", "354", "552", "221"]);
    assert!(by_data.events.contains(&"refused TooLarge".to_owned()));
    let by_chunk = run(settings(), &[start, &chunk, "QUIT\r\n"]);
    assert_eq!(by_chunk.codes(), ["250", "250", "250", "552", "503", "221"]);
}

#[test]
fn errors_junk_and_failed_logins_are_limited() {
    let errors = run(settings(), &["FOO\r\n".repeat(200).as_str()]);
    assert_eq!(errors.codes().len(), MAX_ERRORS as usize + 1);
    assert_eq!(errors.events, [format!("close {:?}", CloseReason::TooManyErrors)]);

    let junk = run(settings(), &["NOOP\r\n".repeat(500).as_str()]);
    assert_eq!(junk.codes().len(), (MAX_JUNK + MAX_ERRORS) as usize + 1);

    let login = "AUTH PLAIN AHUAd3Jvbmc=\r\n".repeat(10);
    let logins = run(settings(), &["EHLO x\r\n", &login]);
    assert_eq!(logins.events.len(), MAX_AUTH_FAILURES as usize + 1);
    assert_eq!(logins.codes(), ["250", "535", "535", "535", "421"]);
}

#[test]
fn a_delivered_message_clears_the_count() {
    let message = ["MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n", "A: b\r\n.\r\n"];
    let mut peer = run(settings(), &["EHLO x\r\n"]);
    for _ in 0..10 {
        peer.send("FOO\r\n".repeat(MAX_ERRORS as usize - 1).as_bytes());
        peer.send("NOOP\r\n".repeat(MAX_JUNK as usize).as_bytes());
        message.iter().for_each(|part| peer.send(part.as_bytes()));
    }
    peer.send(b"QUIT\r\n");
    assert_eq!(peer.events.last().unwrap(), "quit");
}

#[test]
fn lines_and_recipients_are_limited() {
    let long = format!("NOOP {}\r\nNOOP\r\nQUIT\r\n", "x".repeat(100_000));
    let peer = run(settings(), &[&long]);
    assert_eq!(peer.codes(), ["500", "250", "221"]);
    for cut in [1, 4095, 4096, 4097, 50_000, 100_005, 100_006, 100_007] {
        let (a, b) = long.split_at(cut);
        assert_eq!(run(settings(), &[a, b]).codes(), ["500", "250", "221"], "cut at {cut}");
    }

    let mut peer = run(settings(), &["EHLO x\r\nMAIL FROM:<a@b>\r\n"]);
    for number in 0..MAX_RECIPIENTS + 5 {
        peer.send(format!("RCPT TO:<u{number}@example.org>\r\n").as_bytes());
    }
    assert_eq!(peer.events.len(), MAX_RECIPIENTS as usize + 1);
    assert!(
        peer.replies()
            .ends_with("452 4.5.3 too many recipients, send the message again for the others\r\n")
    );
    peer.send(b"DATA\r\n");
    assert_eq!(peer.codes().last().unwrap(), "354");
}

#[test]
fn a_chunk_outside_a_transaction_is_read_past_only_if_it_is_small() {
    let chunk = |octets: u64| format!("EHLO x\r\nBDAT {octets} LAST\r\n");
    let small = "x".repeat(MAX_STRAY_CHUNK as usize);
    let read_past = run(settings(), &[&chunk(MAX_STRAY_CHUNK), &small, "NOOP\r\n"]);
    assert_eq!(read_past.codes(), ["250", "503", "250"]);
    let closed = run(settings(), &[&chunk(MAX_STRAY_CHUNK + 1), &small, "NOOP\r\n"]);
    assert_eq!(closed.codes(), ["250", "503"]);
    // The client pipelines, and hears of its recipient only behind the chunk.
    let transaction = "EHLO x\r\nMAIL FROM:<a@b>\r\n";
    let chunk = format!("BDAT {} LAST\r\n", MAX_STRAY_CHUNK + 1);
    let refused = run(settings(), &[transaction, &chunk, &small, "x", "NOOP\r\n"]);
    assert_eq!(refused.codes(), ["250", "250", "503", "250"]);
}

#[test]
fn only_what_came_in_whole_is_counted() {
    let completed = |parts: &[&str]| {
        let peer = run(settings(), parts);
        (peer.session.completed(), peer.session.receiving())
    };
    let long = "x".repeat(100_000);
    let begun = "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n";
    let chunks = "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n";
    let content = "A: b\r\n\r\nbody\r\n".repeat(10_000);
    let cases: [(&[&str], u64, Receiving); 12] = [
        (&[], 0, Receiving::Line),
        (&["EHLO x"], 0, Receiving::Line),
        (&["EHLO x\r\nNOOP\r\nNO"], 2, Receiving::Line),
        (&["NOOP ", &long, &long], 0, Receiving::Line),
        (&["NOOP ", &long, "\r\n"], 1, Receiving::Line),
        (&["EHLO x\r\nAUTH LOGIN\r\nU01U"], 2, Receiving::Line),
        (&["EHLO x\r\nAUTH LOGIN\r\nU01U\r\n"], 3, Receiving::Line),
        (&[begun, &content], 4, Receiving::Content),
        (&[begun, &content, ".\r\n"], 5, Receiving::Line),
        // Refused for its bare LF, and dropped.
        (&[begun, "A: b\r\n\r\n\n", &content], 4, Receiving::Content),
        (&[chunks, "BDAT 6\r\nA: b"], 4, Receiving::Content),
        (&[chunks, "BDAT 6\r\nA: b\r\nBDAT 9 LAST\r\n\r\n"], 6, Receiving::Content),
    ];
    for (parts, want, receiving) in cases {
        let last = parts.last().map_or("", |part| &part[..part.len().min(40)]);
        assert_eq!(completed(parts), (want, receiving), "{last:?}");
    }
    let stray = &["EHLO x\r\nBDAT 10\r\n12345", "12345"];
    assert_eq!(completed(&stray[..1]), (2, Receiving::Content));
    assert_eq!(completed(stray), (3, Receiving::Line));
}

#[test]
fn the_caller_may_refuse_in_the_middle_of_content() {
    let mut session = Session::new(settings());
    let mut out = Vec::new();
    let ok = Reply::new(ReplyCode::OK, (0, 0), "ok");
    let mut input = b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n".to_vec();
    let mut taken = 0;
    while taken < input.len() {
        taken += session.handle(&input[taken..], &mut out).0;
        session.answer(&ok, &mut out);
    }
    input = b"A: b\r\n\r\nbody\nbody\r\n.\r\nMAIL FROM:<e@f>\r\n".to_vec();
    let (taken, event) = session.handle(&input, &mut out);
    assert!(matches!(event, Some(Event::Header(b"A: b\r\n"))));
    out.clear();
    session.refuse_message(Reply::new(ReplyCode::REFUSED, (7, 1), "not yours"));
    let (_, event) = session.handle(&input[taken..], &mut out);
    assert!(matches!(event, Some(Event::Mail(_))), "{event:?}");
    assert_eq!(out, b"550 5.7.1 not yours\r\n");
}

#[test]
fn names_the_protocol_for_a_trace_field() {
    assert_eq!(run(settings(), &["HELO x\r\n"]).session.protocol(), "SMTP");
    assert_eq!(run(settings(), &["EHLO x\r\n"]).session.protocol(), "ESMTP");
    let utf8 = run(settings(), &["EHLO x\r\nMAIL FROM:<\u{e9}@b> SMTPUTF8\r\n"]);
    assert_eq!(utf8.session.protocol(), "UTF8SMTP");
}

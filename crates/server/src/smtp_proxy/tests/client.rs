//! What clients get for what they do.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn signs_what_travels_and_passes_the_answer_on() {
    let sink = Sink::start().unwrap();
    let proxy = Proxy::start(Setup {
        hops: default_hop(&sink),
        rows: with_signed_domain(),
        ..Setup::default()
    })
    .await;
    let message = [b"X-Postseal-Pool: default\r\n", MESSAGE].concat();
    let reply = proxy.send(&["bob@example.org", "eve@example.net"], &message);
    assert_eq!(reply.text(), "250 2.0.0 Stored");

    let stored = &sink.messages()[0];
    assert_eq!(stored.sender, "ann@signed.example");
    assert_eq!(stored.recipients, ["bob@example.org", "eve@example.net"]);
    assert_eq!(stored.hello, "proxy.example");
    let size = stored.sender_parameters.strip_prefix("SIZE=").unwrap();
    assert!(size.parse::<usize>().unwrap() >= stored.message.len());
    let text = String::from_utf8(stored.message.clone()).unwrap();
    assert!(text.starts_with("DKIM-Signature: "), "{text}");
    assert!(!text.contains("X-Postseal-Pool"));
    let (trace, rest) =
        text.split_once("Received: from client.postseal.test ([127.0.0.1])").unwrap();
    assert!(trace.ends_with("\r\n") && rest.contains("by proxy.example (Postseal) with ESMTP id "));
    assert!(rest.as_bytes().ends_with(MESSAGE), "what the client sent is as it was");

    assert_verifies(&stored.message, &proxy);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_of_ours_counts_if_it_outlives_a_queue() {
    const DAY: u64 = 24 * 60 * 60;

    let sink = Sink::start().unwrap();
    let rows = with_signed_domain();
    let proxy = Proxy::start(Setup { hops: default_hop(&sink), rows, ..Setup::default() }).await;
    // Mail stays in a queue for up to five days.
    for (days, signatures) in [(6, 1), (4, 2), (1, 2)] {
        let message = signed_before(&proxy, clock::now().plus_secs(days * DAY)).await;
        assert_eq!(proxy.send(&["bob@example.org"], &message).code, 250);
        let sent = sink.messages().pop().unwrap();
        let text = String::from_utf8_lossy(&sent.message).into_owned();
        assert_eq!(text.matches("DKIM-Signature: ").count(), signatures, "{days} days: {text}");
        let first = text.find("DKIM-Signature: ").unwrap();
        assert_eq!(first == 0, signatures == 2, "{days} days: {text}");
    }
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_signs_no_more_does_not_stay_open_through_a_message_under_way() {
    let sink = Sink::start().unwrap();
    let rows = with_signed_domain();
    let proxy = Proxy::start(Setup { hops: default_hop(&sink), rows, ..Setup::default() }).await;
    assert_eq!(proxy.send(&["bob@example.org"], MESSAGE).code, 250);
    assert_eq!(proxy.signer.open_keys(), 1);
    let began = |client: &mut SmtpClient| {
        client.mail("ann@signed.example").unwrap();
        client.rcpt("bob@example.org").unwrap();
        assert_eq!(client.command("DATA").unwrap().code, 354);
        // Larger than what is read at once, so that the header was looked at when the rest comes.
        client.write_raw(MESSAGE.strip_suffix(b"\r\nthe end\r\n").unwrap()).unwrap();
        client.write_raw(&b"\r\na line\r\n".repeat(20_000)).unwrap();
    };
    let mut whole = proxy.client();
    began(&mut whole);
    // What is held of it is behind its header, which was decided about.
    while proxy.room.held() < 50_000 {
        tokio::task::yield_now().await;
    }

    let name = DomainName::parse("signed.example").unwrap();
    let gone = Change::DomainRemoved { owner: TenantId::PRIMARY, name };
    proxy
        .snapshot
        .store(Arc::new(proxy.snapshot.load().apply([(Revision::new(2), gone)]).unwrap()));
    proxy.signer.forget_all_keys();
    whole.write_raw(b"\r\n.\r\n").unwrap();
    assert_eq!(whole.read_reply().unwrap().code, 250);
    assert_verifies(&sink.messages()[1].message, &proxy);
    assert_eq!(proxy.signer.open_keys(), 0);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asks_whose_mail_it_is() {
    let sink = Sink::start().unwrap();
    let setup = || Setup { hops: default_hop(&sink), trusted: None, ..Setup::default() };
    let proxy = Proxy::start(setup()).await;
    let mut client = proxy.client();
    assert_eq!(client.mail("ann@signed.example").unwrap().enhanced_code(), Some("5.7.0"));
    assert_eq!(client.auth_plain("SMTP_Injection", API_KEY).unwrap().code, 235);
    assert_eq!(client.send("ann@signed.example", &["bob@example.org"], MESSAGE).unwrap().code, 250);
    assert!(String::from_utf8_lossy(&sink.messages()[0].message).contains("with ESMTPA id"));

    for (user, want) in [
        ("SMTP_Injection:X-MSYS-SUBACCOUNT=7", 235),
        ("SMTP_Injection:X-MSYS-SUBACCOUNT=0", 235),
        ("SMTP_Injection:X-MSYS-SUBACCOUNT=8", 535),
        ("somebody", 535),
    ] {
        assert_eq!(proxy.client().auth_login(user, API_KEY).unwrap().code, want, "{user}");
    }
    let mut client = proxy.client();
    for _ in 0..3 {
        let reply = client.auth_plain("SMTP_Injection", "wrong").unwrap();
        assert_eq!((reply.code, reply.enhanced_code()), (535, Some("5.7.8")));
    }
    assert_eq!(client.read_reply().unwrap().code, 421);
    assert!(client.is_closed());
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_no_longer_good_sends_nothing_more() {
    let sink = Sink::start().unwrap();
    let (user, subaccount) = ("SMTP_Injection", "SMTP_Injection:X-MSYS-SUBACCOUNT=7");
    let expired = ApiKeyRow { expires_at: Some(clock::now()), ..key_row() };
    let without_grant = ApiKeyRow { grants: [].into_iter().collect(), ..key_row() };
    let cases = [
        ("revoked", user, Change::ApiKeyRemoved(key_row().hash), 250),
        ("expired", user, Change::ApiKey(expired), 250),
        ("without the grant", user, Change::ApiKey(without_grant), 250),
        ("for a tenant that is gone", subaccount, Change::TenantRemoved(TenantId::new(7)), 451),
    ];
    for (what, user, change, of_what_had_begun) in cases {
        // A client that came with a key is not taken by its address when the key is gone.
        for trusted in [None, Some("127.0.0.1")] {
            let setup = Setup { hops: default_hop(&sink), trusted, ..Setup::default() };
            let proxy = Proxy::start(setup).await;
            let mut client = proxy.client();
            assert_eq!(client.auth_plain(user, API_KEY).unwrap().code, 235);
            let mut under_way = proxy.client();
            under_way.auth_plain(user, API_KEY).unwrap();
            let mut by_address = proxy.client();
            for client in [&mut client, &mut under_way] {
                let reply = client.send("ann@signed.example", &["bob@example.org"], MESSAGE);
                assert_eq!(reply.unwrap().code, 250, "{what}: before");
            }
            assert_eq!(under_way.mail("ann@signed.example").unwrap().code, 250);

            let next = proxy.snapshot.load().apply([(Revision::new(2), change.clone())]);
            proxy.snapshot.store(Arc::new(next.unwrap()));
            let reply = client.mail("ann@signed.example").unwrap();
            assert_eq!((reply.code, reply.enhanced_code()), (421, Some("4.7.0")), "{what}");
            assert!(client.is_closed(), "{what}");
            let want = if trusted.is_some() { 250 } else { 530 };
            assert_eq!(by_address.mail("ann@signed.example").unwrap().code, want, "{what}");

            assert_eq!(under_way.rcpt("bob@example.org").unwrap().code, 250);
            assert_eq!(under_way.data(MESSAGE).unwrap().code, of_what_had_begun, "{what}");
            assert_eq!(under_way.mail("ann@signed.example").unwrap().code, 421, "{what}");
            proxy.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_go_through_a_file_and_limits_hold() {
    let sink = Sink::start().unwrap();
    let mut large = MESSAGE.to_vec();
    while large.len() < 3 << 20 {
        large.extend_from_slice(b".a line that begins with a dot, and is there often\r\n");
    }
    let proxy = Proxy::start(Setup {
        hops: default_hop(&sink),
        rows: with_signed_domain(),
        max_message: 4 << 20,
        ..Setup::default()
    })
    .await;
    assert_eq!(proxy.send(&["bob@example.org"], &large).code, 250);
    assert!(sink.messages()[0].message.ends_with(&large));
    assert_eq!(std::fs::read_dir(proxy.folder.path()).unwrap().count(), 0);
    large.extend_from_within(..(2 << 20));
    assert_eq!(proxy.send(&["bob@example.org"], &large).enhanced_code(), Some("5.3.4"));
    let reply = proxy.client().mail("ann@signed.example> SIZE=5000000").unwrap();
    assert_eq!((reply.code, reply.enhanced_code()), (552, Some("5.3.4")));
    proxy.stop().await;

    let small = Proxy::start(Setup {
        hops: default_hop(&sink),
        in_memory: 10_000,
        on_disk: 20_000,
        ..Setup::default()
    })
    .await;
    let mut client = small.client();
    client.mail("ann@signed.example> SIZE=100000").unwrap();
    client.rcpt("bob@example.org").unwrap();
    let reply = client.command("DATA").unwrap();
    assert_eq!((reply.code, reply.enhanced_code()), (452, Some("4.3.1")), "before DATA");
    let reply = small.send(&["bob@example.org"], &large[..100_000]);
    assert_eq!((reply.code, reply.enhanced_code()), (452, Some("4.3.1")), "and in the middle");
    assert_eq!(small.send(&["bob@example.org"], MESSAGE).code, 250);
    small.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recipients_take_room_too() {
    let sink = Sink::start().unwrap();
    for pool_from_header in [true, false] {
        let setup = Setup { hops: default_hop(&sink), pool_from_header, ..Setup::default() };
        let proxy = Proxy::start(Setup { in_memory: 50_000, ..setup }).await;
        let mut client = proxy.client();
        assert_eq!(client.mail("ann@signed.example").unwrap().code, 250);
        let mut taken = 0;
        let refused = loop {
            let parameter = format!("ORCPT=rfc822;{}{taken}@example.org", "x".repeat(400));
            let reply = client.rcpt(&format!("bob{taken}@example.org> {parameter}")).unwrap();
            if !reply.is_positive() {
                break reply;
            }
            taken += 1;
        };
        assert_eq!((refused.code, refused.enhanced_code()), (452, Some("4.3.1")), "{refused}");
        assert!((50..120).contains(&taken), "{taken} recipients of some 500 octets in 50,000");
        // One that is refused takes none.
        if !pool_from_header {
            assert_eq!(client.command("RSET").unwrap().code, 250);
            assert_eq!(client.mail("ann@signed.example").unwrap().code, 250);
            sink.refuse_recipient("no@example.org", "550 5.1.1 <no@example.org> unknown");
            for _ in 0..300 {
                let reply = client.rcpt("no@example.org> ORCPT=rfc822;no@example.org").unwrap();
                assert_eq!(reply.code, 550, "{reply}");
            }
            assert_eq!(client.rcpt("bob@example.org").unwrap().code, 250);
        }
        drop(client);
        proxy.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_stop_anywhere() {
    let sink = Sink::start().unwrap();
    let script = [
        "EHLO client.example\r\n",
        "AUTH LOGIN\r\n",
        "U01UUF9JbmplY3Rpb24=\r\n",
        "MDEyMzQ1Njc4OWFiY2RlZg==\r\n",
        "MAIL FROM:<ann@signed.example>\r\n",
        "RCPT TO:<bob@example.org>\r\n",
        "DATA\r\n",
        "From: ann@signed.example\r\n\r\nhi\r\n.\r\n",
    ];
    for pool_from_header in [true, false] {
        let proxy =
            Proxy::start(Setup { hops: default_hop(&sink), pool_from_header, ..Setup::default() })
                .await;
        for (number, line) in script.iter().enumerate() {
            for cut in 0..line.len() {
                let mut client = SmtpClient::connect(proxy.address).unwrap();
                for before in &script[..number] {
                    client.write_raw(before.as_bytes()).unwrap();
                    assert!(client.read_reply().unwrap().is_positive(), "{before:?}");
                }
                client.write_raw(&line.as_bytes()[..cut]).unwrap();
                client.drop_connection();
            }
        }
        assert_eq!(sink.count(), 0, "half a message is none");
        assert_eq!(proxy.send(&["bob@example.org"], MESSAGE).code, 250);
        sink.clear();
        proxy.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bare_newlines_are_refused_or_repaired_before_signing() {
    let sink = Sink::start().unwrap();
    let bare = b"From: ann@signed.example\r\n\r\none\n.\ntwo\r\n";
    let proxy = Proxy::start(Setup {
        hops: default_hop(&sink),
        rows: with_signed_domain(),
        ..Setup::default()
    })
    .await;
    let mut client = proxy.client();
    let reply = client.send("ann@signed.example", &["bob@example.org"], bare).unwrap();
    assert_eq!((reply.code, reply.enhanced_code()), (550, Some("5.6.0")));
    assert_eq!(sink.count(), 0);
    proxy.stop().await;

    let policy =
        PolicyLayer { on_bare_newline: Some(OnBareNewline::Repair), ..PolicyLayer::default() };
    let platform = PlatformRow { policy, ..PlatformRow::default() };
    let proxy = Proxy::start(Setup {
        hops: default_hop(&sink),
        rows: [with_signed_domain(), vec![Change::Platform(platform)]].concat(),
        ..Setup::default()
    })
    .await;
    assert_eq!(proxy.send(&["bob@example.org"], bare).code, 250);
    let stored = &sink.messages()[0].message;
    assert!(stored.ends_with(b"\r\n\r\none\r\n.\r\ntwo\r\n"));
    assert_verifies(stored, &proxy);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_lets_a_message_under_way_end() {
    let sink = Sink::start().unwrap();
    let proxy = Proxy::start(Setup { hops: default_hop(&sink), ..Setup::default() }).await;
    let (mut busy, mut waiting, mut idle) = (proxy.client(), proxy.client(), proxy.client());
    for client in [&mut busy, &mut waiting] {
        client.mail("ann@signed.example").unwrap();
        client.rcpt("bob@example.org").unwrap();
    }
    assert_eq!(busy.command("DATA").unwrap().code, 354);
    proxy.shutdown.cancel();
    for client in [&mut idle, &mut waiting] {
        assert_eq!(client.read_reply().unwrap().code, 421);
        assert!(client.is_closed());
    }
    busy.write_raw(&postseal_testkit::smtp_client::stuffed(MESSAGE)).unwrap();
    assert_eq!(busy.read_reply().unwrap().code, 250);
    assert_eq!(busy.read_reply().unwrap().code, 421);
    assert!(busy.is_closed());
    assert_eq!(sink.count(), 1);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_text_before_tls_is_not_obeyed_under_it() {
    let folder = tempfile::tempdir().unwrap();
    let files = certificate(folder.path());
    let proxy =
        Proxy::start(Setup { tls: Some(server_config(&files).unwrap()), ..Setup::default() }).await;
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    let mut plain = BufReader::new(stream);
    let mut line = String::new();
    plain.read_line(&mut line).await.unwrap();
    plain.get_mut().write_all(b"STARTTLS\r\nNOOP\r\nNOOP\r\n").await.unwrap();
    line.clear();
    plain.read_line(&mut line).await.unwrap();
    assert!(line.starts_with("220 "), "{line}");

    let connector = tokio_rustls::TlsConnector::from(tls::opportunistic().unwrap());
    let name = tls::server_name("localhost").unwrap();
    let secure = connector.connect(name, plain.into_inner()).await.unwrap();
    let mut secure = BufReader::new(secure);
    secure.get_mut().write_all(b"QUIT\r\n").await.unwrap();
    line.clear();
    secure.read_line(&mut line).await.unwrap();
    assert!(line.starts_with("221 "), "the first answer is to what was said under TLS: {line}");
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_client_is_ended() {
    let short = Duration::from_millis(200);
    let timeouts = Timeouts { command: short, block: short, ..Timeouts::default() };
    let proxy = Proxy::start(Setup { timeouts, ..Setup::default() }).await;
    let mut client = SmtpClient::connect(proxy.address).unwrap();
    // Part of a command is not progress.
    client.write_raw(b"EHL").unwrap();
    let reply = client.read_reply().unwrap();
    assert_eq!((reply.code, reply.enhanced_code()), (421, Some("4.4.2")));
    assert!(client.is_closed());

    let mut client = proxy.client();
    client.mail("ann@signed.example").unwrap();
    client.rcpt("bob@example.org").unwrap();
    assert_eq!(client.command("DATA").unwrap().code, 354);
    client.write_raw(b"From: ").unwrap();
    assert_eq!(client.read_reply().unwrap().code, 421);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_trickles_is_ended() {
    let sink = Sink::start().unwrap();
    let limit = Duration::from_secs(1);
    let timeouts = Timeouts { command: limit, message: limit, ..Timeouts::default() };
    let setup = Setup { hops: default_hop(&sink), timeouts, ..Setup::default() };
    let proxy = Proxy::start(setup).await;
    let envelope = "MAIL FROM:<ann@signed.example>\r\nRCPT TO:<bob@example.org>\r\n";
    let data = format!("EHLO x\r\n{envelope}DATA\r\n");
    let cases = [
        // A line that never ends, the response of an AUTH exchange, content, content that is refused
        // already, a chunk that nobody wants, and chunks without an end.
        (String::new(), "x"),
        ("EHLO x\r\nAUTH LOGIN\r\n".to_owned(), "x"),
        (data.clone(), "a line\r\n"),
        (data + "a: b\r\n\r\n\n", "a line\r\n"),
        ("EHLO x\r\nBDAT 1000000\r\n".to_owned(), "x"),
        (format!("EHLO x\r\n{envelope}BDAT 6\r\na: b\r\n"), "BDAT 1\r\nx"),
    ];
    for (begin, drop) in cases {
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        let (mut replies, mut commands) = stream.split();
        // Line by line, since nothing may follow DATA before its answer.
        for line in begin.split_inclusive("\n") {
            commands.write_all(line.as_bytes()).await.unwrap();
            if line.starts_with("DATA") {
                let mut answer = Vec::new();
                while !answer.windows(4).any(|octets| octets == b"354 ") {
                    assert!(replies.read_buf(&mut answer).await.unwrap() > 0);
                }
            }
        }
        let mut drips = interval(Duration::from_millis(10));
        let drip = async {
            // Ends with an error when the other side has closed; never by itself.
            loop {
                drips.tick().await;
                if commands.write_all(drop.as_bytes()).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let mut said = Vec::new();
        tokio::select! {
            () = drip => {}
            read = replies.read_to_end(&mut said) => {
                // The end may be a reset, since what was sent last is never read.
                let said = String::from_utf8_lossy(&said);
                assert!(read.is_err() || said.contains("421 4.4.2"), "{begin:?} {drop:?}: {said}");
            }
            () = sleep(Duration::from_secs(60)) => panic!("{begin:?} {drop:?}"),
        }
    }
    proxy.stop().await;
}

#[test]
fn auth_needs_tls_beyond_this_machine() {
    for (address, want) in [
        ("127.0.0.1", AuthOffer::Always),
        ("127.8.8.8", AuthOffer::Always),
        ("::1", AuthOffer::Always),
        ("192.0.2.1", AuthOffer::UnderTls),
        ("10.0.0.1", AuthOffer::UnderTls),
    ] {
        assert_eq!(auth_for(address.parse().unwrap()), want, "{address}");
    }
}

#[test]
fn an_idle_connection_is_small() {
    let shutdown = CancellationToken::new();
    let (_, stream) = tokio::io::duplex(1);
    let task = async |door: &Door| {
        connection::serve(door, Box::new(stream), IpAddr::from([127, 0, 0, 1]), &shutdown).await
    };
    // The bound: under 64 KB an idle connection, of which buffers take 16 KB.
    assert!(future_size(task) < 8 * 1024);
}

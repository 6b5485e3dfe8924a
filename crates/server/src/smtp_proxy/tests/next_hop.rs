//! What becomes of a message when the next hop does this or that.

use std::io::{BufRead as _, BufReader as StdBufReader, Read as _, Write as _};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_hop_that_is_down_is_temporary() {
    for pool_from_header in [true, false] {
        let nobody = any_port().local_addr().unwrap();
        let proxy = Proxy::start(Setup {
            hops: vec![hop("default", nobody)],
            pool_from_header,
            ..Setup::default()
        })
        .await;
        let (stage, reply) = outcome(&proxy);
        assert_eq!(stage, heard_at(Stage::Greeting, pool_from_header));
        assert_eq!((reply.code, reply.enhanced_code()), (451, Some("4.4.1")), "{reply}");
        proxy.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_the_hop_at_each_stage() {
    let cases = [
        (Stage::Greeting, "554 5.7.1 go away", "451 4.4.0"),
        (Stage::Greeting, "421 4.3.2 busy", "451 4.4.0"),
        (Stage::Hello, "450 4.7.1 not yet", "451 4.4.0"),
        (Stage::Mail, "550 5.1.8 no such sender", "550 5.1.8 no such sender"),
        (Stage::Mail, "451 4.3.0 later", "451 4.3.0 later"),
        (Stage::Mail, "530 5.7.0 authenticate first", "451 4.4.0"),
        (Stage::Mail, "421 4.3.2 closing", "451 4.3.2"),
        (Stage::Recipient, "550 5.1.1 no such user", "550 5.1.1 no such user"),
        (Stage::Recipient, "450 4.2.1 greylisted", "450 4.2.1 greylisted"),
        (Stage::Recipient, "503 5.5.1 what?", "451 4.4.0"),
        (Stage::Data, "451 4.3.1 full", "451 4.3.1 full"),
        (Stage::Data, "554 5.7.1 no", "554 5.7.1 no"),
        (Stage::EndOfData, "554 5.7.1 looks like spam", "554 5.7.1 looks like spam"),
        (Stage::EndOfData, "452 4.3.1 full", "452 4.3.1 full"),
        (Stage::EndOfData, "421 4.3.0 crashed", "421 4.3.0 crashed"),
        (Stage::EndOfData, "250 2.0.0 queued as X", "250 2.0.0 queued as X"),
        (Stage::EndOfData, "550 no enhanced code", "550 no enhanced code"),
    ];
    for pool_from_header in [true, false] {
        let sink = Sink::start().unwrap();
        let proxy =
            Proxy::start(Setup { hops: default_hop(&sink), pool_from_header, ..Setup::default() })
                .await;
        for (stage, says, want) in cases {
            // Only a new connection has a greeting.
            proxy.hops.named("default").unwrap().close_idle().await;
            sink.always(stage, Action::Reply(says.to_owned()));
            let (heard, reply) = outcome(&proxy);
            assert!(reply.text().starts_with(want), "{stage:?} {says}: {reply}");
            assert_eq!(heard, heard_at(stage, pool_from_header), "{stage:?} {says}");
            sink.obey();
        }
        assert_eq!(sink.count(), 0);
        assert_eq!(proxy.send(&["bob@example.org"], MESSAGE).code, 250, "and then all is well");
        proxy.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hop_that_breaks_off_or_stalls_at_each_stage() {
    for pool_from_header in [true, false] {
        let sink = Sink::start().unwrap();
        let proxy = Proxy::start(Setup {
            hops: default_hop(&sink),
            pool_from_header,
            hop_timeouts: impatient(),
            ..Setup::default()
        })
        .await;
        for action in [Action::Close, Action::Stall] {
            for stage in STAGES {
                proxy.hops.named("default").unwrap().close_idle().await;
                sink.always(stage, action.clone());
                let (heard, reply) = outcome(&proxy);
                assert_eq!(reply.code, 451, "{action:?} {stage:?}: {reply}");
                assert!(reply.enhanced_code().unwrap().starts_with("4.4."), "{reply}");
                assert_eq!(heard, heard_at(stage, pool_from_header), "{action:?} {stage:?}");
                if stage != Stage::EndOfData {
                    assert_eq!(sink.count(), 0, "{action:?} {stage:?}");
                }
                sink.clear();
                sink.obey();
            }
        }
        sink.clear();
        proxy.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_repeated_after_the_final_dot() {
    for pool_from_header in [true, false] {
        let sink = Sink::start().unwrap();
        let proxy =
            Proxy::start(Setup { hops: default_hop(&sink), pool_from_header, ..Setup::default() })
                .await;
        assert_eq!(proxy.send(&["bob@example.org"], MESSAGE).code, 250);
        sink.once(Stage::EndOfData, Action::StoreAndClose);
        let reply = proxy.send(&["bob@example.org"], MESSAGE);
        assert_eq!((reply.code, reply.enhanced_code()), (451, Some("4.4.2")));
        assert_eq!((sink.count(), sink.connections()), (2, 1));
        proxy.stop().await;
    }
}

/// A hop that takes one connection, and in the middle of the content says `last_words` and closes.
fn hop_that_breaks_off(
    last_words: &'static str,
    until: std::sync::mpsc::Receiver<()>,
) -> (SocketAddr, std::thread::JoinHandle<()>) {
    let listener = any_port();
    let address = listener.local_addr().unwrap();
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"220 hop\r\n").unwrap();
        let mut lines = StdBufReader::with_capacity(512, stream.try_clone().unwrap());
        let mut line = String::new();
        while lines.read_line(&mut line).unwrap() > 0 {
            let is_data = line.starts_with("DATA");
            stream.write_all(if is_data { b"354 go\r\n" } else { b"250 ok\r\n" }).unwrap();
            if is_data {
                break;
            }
            line.clear();
        }
        lines.read_exact(&mut [0; 40_000]).unwrap();
        stream.write_all(last_words.as_bytes()).unwrap();
        // Then it is closed with content unread, which resets the connection.
        let _ = until.recv();
    });
    (address, served)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_in_the_middle_of_the_content_is_passed_on() {
    let message = [
        MESSAGE,
        &b"a line of sixty-four octets, which is no more than any other one\r\n".repeat(120_000),
    ]
    .concat();
    let cases = [
        ("552 5.3.4 too large\r\n", "552 5.3.4 too large"),
        ("451 4.7.1 later\r\n", "451 4.7.1 later"),
        ("421 4.3.2 closing\r\n", "451 4.3.2"),
        // Of a message that was not whole nobody can say that it was taken.
        ("250 2.0.0 queued\r\n", "451 4.4.2"),
        ("", "451 4.4.2"),
    ];
    let block = Duration::from_millis(500);
    for (pool_from_header, closes) in [(true, true), (false, true), (true, false)] {
        for (last_words, want) in cases {
            let (close, until) = std::sync::mpsc::channel();
            let (address, served) = hop_that_breaks_off(last_words, until);
            let close = if closes {
                drop(close);
                None
            } else {
                Some(close)
            };
            let proxy = Proxy::start(Setup {
                hops: vec![hop("default", address)],
                pool_from_header,
                // For the hop that does not close and reads no more.
                hop_timeouts: HopTimeouts { block, ..HopTimeouts::default() },
                ..Setup::default()
            })
            .await;
            let reply = proxy.send(&["bob@example.org"], &message);
            assert!(reply.text().starts_with(want), "{last_words:?} {closes}: {reply}");
            drop(close);
            served.join().unwrap();
            proxy.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_used_again_and_replaced_when_they_died() {
    for pool_from_header in [true, false] {
        let sink = Sink::start().unwrap();
        let proxy =
            Proxy::start(Setup { hops: default_hop(&sink), pool_from_header, ..Setup::default() })
                .await;
        let mut client = proxy.client();
        let mut send =
            || client.send("ann@signed.example", &["bob@example.org"], MESSAGE).unwrap().code;
        assert_eq!([send(), send(), send()], [250; 3]);
        assert_eq!(sink.connections(), 1);
        // What a server does that closes idle connections: end it at the next command, or say 421.
        for (stage, action) in [
            (Stage::Reset, Action::Close),
            (Stage::Mail, Action::Close),
            (Stage::Reset, Action::Reply("421 4.4.2 idle".into())),
            (Stage::Mail, Action::Reply("421 4.4.2 idle".into())),
        ] {
            let before = sink.connections();
            sink.once(stage, action.clone());
            assert_eq!(send(), 250, "{stage:?} {action:?}");
            assert_eq!(sink.connections(), before + 1, "{stage:?} {action:?}");
        }
        // After MAIL nothing is repeated.
        let before = sink.connections();
        sink.once(Stage::Recipient, Action::Close);
        assert_eq!((send(), sink.connections()), (451, before));
        assert_eq!(sink.count(), 7);
        proxy.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_recipient_refuses_the_message_or_itself() {
    let sink = Sink::start().unwrap();
    sink.refuse_recipient("no@example.org", "550 5.1.1 <no@example.org> unknown");
    let recipients = ["bob@example.org", "no@example.org"];

    let by_header = Proxy::start(Setup { hops: default_hop(&sink), ..Setup::default() }).await;
    let reply = by_header.send(&recipients, MESSAGE);
    assert_eq!(reply.text(), "550 5.1.1 <no@example.org> unknown");
    assert_eq!(sink.count(), 0, "it goes to none");
    by_header.stop().await;

    let passed = Proxy::start(Setup {
        hops: default_hop(&sink),
        pool_from_header: false,
        ..Setup::default()
    })
    .await;
    let mut client = passed.client();
    client.mail("ann@signed.example> RET=HDRS").unwrap();
    assert_eq!(client.rcpt("no@example.org").unwrap().text(), "550 5.1.1 <no@example.org> unknown");
    assert_eq!(client.rcpt("bob@example.org> NOTIFY=NEVER").unwrap().text(), "250 2.1.5 Ok");
    assert_eq!(client.data(MESSAGE).unwrap().code, 250);
    let stored = &sink.messages()[0];
    assert_eq!(stored.recipients, ["bob@example.org"]);
    assert_eq!(
        (stored.sender_parameters.as_str(), stored.recipient_parameters[0].as_str()),
        ("RET=HDRS", "NOTIFY=NEVER")
    );
    passed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_clients_wait_leaves_connections_to_others() {
    let sink = Sink::start().unwrap();
    let proxy = Proxy::start(Setup {
        hops: default_hop(&sink),
        pool_from_header: false,
        hop_timeouts: HopTimeouts { set_up: Duration::from_secs(3), ..HopTimeouts::default() },
        ..Setup::default()
    })
    .await;
    let begun = || {
        let mut client = proxy.client();
        let reply = client.mail("ann@signed.example").unwrap();
        (client, reply)
    };
    let mut waiting: Vec<_> = (0..MAX_CONNECTIONS * 9 / 10).map(|_| begun()).collect();
    assert!(waiting.iter().all(|(_, reply)| reply.code == 250));
    let (_, reply) = begun();
    assert_eq!((reply.code, reply.enhanced_code()), (451, Some("4.3.2")), "{reply}");

    let mut other = proxy.client();
    let subaccount = "SMTP_Injection:X-MSYS-SUBACCOUNT=7";
    assert_eq!(other.auth_plain(subaccount, API_KEY).unwrap().code, 235);
    assert_eq!(other.send("ann@signed.example", &["bob@example.org"], MESSAGE).unwrap().code, 250);

    // One that ends makes room for another of the same tenant.
    let (mut first, _) = waiting.pop().unwrap();
    assert_eq!(first.command("RSET").unwrap().code, 250);
    assert_eq!(begun().1.code, 250);
    drop(waiting);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pool_decides_on_the_hop() {
    let (default, bulk, named) =
        (Sink::start().unwrap(), Sink::start().unwrap(), Sink::start().unwrap());
    let mut by_row = PoolRow::new(PoolId::parse("other").unwrap());
    by_row.next_hop = Some(NextHopName::parse("special").unwrap());
    let mut dangling = PoolRow::new(PoolId::parse("dangling").unwrap());
    dangling.next_hop = Some(NextHopName::parse("nowhere").unwrap());
    let rows = vec![
        Change::Pool(PoolRow::new(PoolId::parse("bulk").unwrap())),
        Change::Pool(PoolRow::new(PoolId::parse("plain").unwrap())),
        Change::Pool(by_row),
        Change::Pool(dangling),
    ];
    let hops = vec![
        hop("default", default.address()),
        hop("bulk", bulk.address()),
        hop("special", named.address()),
    ];
    let proxy =
        Proxy::start(Setup { hops: hops.clone(), rows: rows.clone(), ..Setup::default() }).await;
    let with_pool =
        |pool: &str| [format!("X-Postseal-Pool: {pool}\r\n").as_bytes(), MESSAGE].concat();
    let mut client = proxy.client();
    let mut send =
        |message: &[u8]| client.send("ann@signed.example", &["bob@example.org"], message).unwrap();
    assert_eq!(send(MESSAGE).code, 250);
    for (pool, want) in [
        ("bulk", "250 2.0.0"),
        ("plain", "250 2.0.0"),
        ("other", "250 2.0.0"),
        ("dangling", "451 4.3.5"),
        ("unknown", "550 5.7.1"),
    ] {
        let reply = send(&with_pool(pool));
        assert!(reply.text().starts_with(want), "{pool}: {reply}");
    }
    assert_eq!((default.count(), bulk.count(), named.count()), (2, 1, 1));
    proxy.stop().await;

    let fixed = Proxy::start(Setup {
        hops,
        rows,
        pool_from_header: false,
        pool: Some("bulk"),
        ..Setup::default()
    })
    .await;
    assert_eq!(fixed.send(&["bob@example.org"], &with_pool("other")).code, 250);
    assert_eq!(bulk.count(), 2, "no header may choose here");
    assert!(!String::from_utf8_lossy(&bulk.messages()[1].message).contains("X-Postseal-Pool"));
    fixed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offers_what_the_hops_offer() {
    let extensions = ["PIPELINING", "SIZE 100000", "DSN"].map(str::to_owned).to_vec();
    let plain = Sink::start_with(SinkSettings { extensions, ..SinkSettings::default() }).unwrap();
    let full = Sink::start().unwrap();
    let hops = vec![hop("default", plain.address()), hop("full", full.address())];
    let proxy = Proxy::start(Setup { hops, ..Setup::default() }).await;

    let unknown = proxy.client().ehlo().unwrap();
    for keyword in ["8BITMIME", "SMTPUTF8", "DSN", "CHUNKING"] {
        assert!(
            unknown.offers(keyword),
            "a hop that was never reached counts as offering {keyword}"
        );
    }
    // What was offered before the hop was known, and is not there, is temporary.
    let reply = proxy
        .client()
        .send("\u{e9}@signed.example> SMTPUTF8", &["bob@example.org"], MESSAGE)
        .unwrap();
    assert_eq!((reply.code, reply.enhanced_code()), (451, Some("4.6.7")), "{reply}");

    for hop in proxy.hops.0.values() {
        hop.look().await;
    }
    let known = proxy.client().ehlo().unwrap();
    assert!(known.offers("DSN"));
    for keyword in ["8BITMIME", "SMTPUTF8", "CHUNKING"] {
        assert!(!known.offers(keyword), "{keyword}");
    }
    assert!(known.lines.contains(&format!("SIZE {}", 100_000 - ADDED_OCTETS)), "{known}");
    let eight_bit = [MESSAGE, "gr\u{fc}\u{df}e\r\n".as_bytes()].concat();
    let reply = proxy.send(&["bob@example.org"], &eight_bit);
    assert_eq!((reply.code, reply.enhanced_code()), (554, Some("5.6.3")), "{reply}");
    assert_eq!(plain.count(), 0);
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_ends() {
    let listener = any_port();
    let own = listener.local_addr().unwrap();
    let proxy = Proxy::start(Setup {
        hops: vec![hop("default", own)],
        listener: Some(listener),
        ..Setup::default()
    })
    .await;
    let travelled = ["Received: from a by b; today\r\n".repeat(90).as_bytes(), MESSAGE].concat();
    let reply = proxy.send(&["bob@example.org"], &travelled);
    assert_eq!((reply.code, reply.enhanced_code()), (554, Some("5.4.6")), "{reply}");
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connects_from_the_source_address() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let mut config = hop("default", listener.local_addr().unwrap());
    config.source_address = Some("127.0.0.2".parse().unwrap());
    let proxy = Proxy::start(Setup { hops: vec![config], ..Setup::default() }).await;
    let hop = Arc::clone(proxy.hops.named("default").unwrap());
    let look = tokio::spawn(async move { hop.look().await });
    let (stream, peer) = listener.accept().await.unwrap();
    assert_eq!(peer.ip().to_string(), "127.0.0.2");
    drop(stream);
    look.await.unwrap();
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_on_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let files = certificate(folder.path());
    let sink = Sink::start().unwrap();
    let inner = Proxy::start(Setup {
        hops: default_hop(&sink),
        tls: Some(server_config(&files).unwrap()),
        ..Setup::default()
    })
    .await;
    let with_tls = |tls, name: &str, authority: Option<&Path>| {
        let mut config = hop("default", inner.address);
        config.tls = tls;
        config.tls_name = Some(name.to_owned());
        config.tls_ca_file = authority.map(Path::to_owned);
        vec![config]
    };
    let authority = Some(files.certificate.as_path());
    let cases = [
        (with_tls(HopTls::Required, "localhost", authority), "250 2.0.0", "ESMTPS"),
        (with_tls(HopTls::Required, "elsewhere.example", authority), "451 4.7.5", ""),
        (with_tls(HopTls::Required, "localhost", None), "451 4.7.5", ""),
        (with_tls(HopTls::Opportunistic, "elsewhere.example", None), "250 2.0.0", "ESMTPS"),
        (with_tls(HopTls::None, "localhost", None), "250 2.0.0", "ESMTP"),
    ];
    for (hops, want, protocol) in cases {
        let outer = Proxy::start(Setup { hops, ..Setup::default() }).await;
        let reply = outer.send(&["bob@example.org"], MESSAGE);
        assert!(reply.text().starts_with(want), "{reply}");
        if let Some(stored) = sink.messages().last()
            && !protocol.is_empty()
        {
            let text = String::from_utf8_lossy(&stored.message).into_owned();
            let first = text.split("Received:").nth(1).unwrap();
            assert!(first.contains(&format!("with {protocol} id")), "{first}");
        }
        outer.stop().await;
    }
    // A hop without TLS where it is required.
    let mut config = hop("default", sink.address());
    config.tls = HopTls::Required;
    config.tls_name = Some("localhost".into());
    let outer = Proxy::start(Setup { hops: vec![config], ..Setup::default() }).await;
    assert_eq!(outer.send(&["bob@example.org"], MESSAGE).enhanced_code(), Some("4.4.0"));
    outer.stop().await;
    inner.stop().await;
}

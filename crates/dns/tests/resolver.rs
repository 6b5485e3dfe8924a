//! The recursive client and the MX answers against a fixture in place of a resolver.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use postseal_dkim::{DomainName, KeyAnswer};
use postseal_dns::{
    AuthoritativeClient, AuthoritativeSettings, LookupFailure, MxAnswers, Patience,
    RecursiveClient, ReplyCode, TextAnswer, Verdict, WantedKey, judge,
};
use postseal_testkit::dns::DnsFixture;
use tokio_util::sync::CancellationToken;

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn client(servers: Vec<SocketAddr>) -> RecursiveClient {
    let patience =
        Patience { udp_timeout: Duration::from_millis(200), tries: 1, ..Patience::default() };
    RecursiveClient::new(servers, patience)
}

fn texts(texts: &[&str]) -> TextAnswer {
    TextAnswer::Texts(texts.iter().map(|text| text.as_bytes().into()).collect())
}

/// An address at which nobody answers and nobody refuses.
fn silence() -> (SocketAddr, UdpSocket) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    (socket.local_addr().unwrap(), socket)
}

#[tokio::test]
async fn each_answer_is_told_apart() {
    let dns = DnsFixture::start().await;
    let long = "x".repeat(1500);
    dns.set_txt("one.test", "v=DKIM1; p=x");
    dns.set_txt_records("two.test", &["a", "b"]);
    dns.set_txt("long.test", &long);
    dns.set_cname("alias.test", "alias2.test");
    dns.set_cname("alias2.test", "one.test");
    dns.set_cname("dangling.test", "nowhere.test");
    dns.set_mx("mail.test", &["mx.mail.test"]);
    dns.set_servfail("broken.test");
    dns.set_silent("silent.test");
    let client = client(vec![dns.address()]);
    let cases = [
        ("one.test", texts(&["v=DKIM1; p=x"])),
        ("two.test", texts(&["a", "b"])),
        ("long.test", texts(&[&long])),
        ("alias.test", texts(&["v=DKIM1; p=x"])),
        ("dangling.test", TextAnswer::NoSuchName),
        ("nowhere.test", TextAnswer::NoSuchName),
        ("mail.test", TextAnswer::NoText),
        ("broken.test", TextAnswer::Failed(LookupFailure::ServerFailure(ReplyCode::ServFail))),
        ("silent.test", TextAnswer::Failed(LookupFailure::Timeout)),
    ];
    for (asked, want) in cases {
        assert_eq!(client.texts(&name(asked)).await, want, "{asked}");
    }
}

#[tokio::test]
async fn answers_become_those_of_the_verifier() {
    let cases = [
        (texts(&["v=DKIM1; p="]), "Records"),
        (TextAnswer::Texts(vec![]), "NoRecord"),
        (TextAnswer::NoSuchName, "NoRecord"),
        (TextAnswer::NoText, "NoRecord"),
        (TextAnswer::Failed(LookupFailure::ServerFailure(ReplyCode::Refused)), "ServerFailure"),
        (TextAnswer::Failed(LookupFailure::Timeout), "Timeout"),
    ];
    for (answer, want) in cases {
        let got = format!("{:?}", KeyAnswer::from(answer.clone()));
        assert!(got.starts_with(want), "{answer:?}: {got}");
    }
}

#[tokio::test]
async fn the_next_resolver_is_asked_when_one_is_silent_closed_or_fails() {
    let good = DnsFixture::start().await;
    good.set_txt("one.test", "here");
    let failing = DnsFixture::start().await;
    failing.set_servfail("one.test");
    let (silent, _socket) = silence();
    let (closed, socket) = silence();
    drop(socket);
    let client = client(vec![silent, closed, failing.address(), good.address()]);
    assert_eq!(client.texts(&name("one.test")).await, texts(&["here"]));
}

#[tokio::test]
async fn mx_hosts_come_in_the_order_of_their_preference() {
    let dns = DnsFixture::start().await;
    dns.set_mx("mail.test", &["z.mail.test", "a.mail.test"]);
    dns.set_mx("null.test", &["."]);
    dns.set_txt("nomx.test", "x");
    let client = client(vec![dns.address()]);
    let hosts = |answer: postseal_dns::MxHosts| -> Vec<String> {
        answer.hosts.iter().map(ToString::to_string).collect()
    };
    let answer = client.mx(&name("mail.test")).await.unwrap();
    assert_eq!(answer.ttl, 300);
    assert_eq!(hosts(answer), ["z.mail.test", "a.mail.test"]);
    for without in ["null.test", "nomx.test", "nowhere.test"] {
        let answer = client.mx(&name(without)).await.unwrap();
        assert!(answer.ttl > 0, "{without}");
        assert_eq!(hosts(answer), [""; 0], "{without}");
    }
}

/// Asks until the background has brought an answer.
async fn eventually(answers: &MxAnswers, domain: &str) -> Arc<[DomainName]> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(hosts) = answers.known(&name(domain)) {
            return hosts;
        }
        assert!(Instant::now() < deadline, "no answer for {domain}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn mx_answers_come_in_the_background_and_are_asked_once() {
    let dns = DnsFixture::start().await;
    dns.set_mx("mail.test", &["mta5.am0.yahoodns.net"]);
    let stop = CancellationToken::new();
    let answers = MxAnswers::start(client(vec![dns.address()]), stop.clone());
    assert_eq!(answers.known(&name("mail.test")), None);
    let hosts = eventually(&answers, "mail.test").await;
    assert_eq!(hosts.iter().map(DomainName::as_str).collect::<Vec<_>>(), ["mta5.am0.yahoodns.net"]);
    assert_eq!(eventually(&answers, "nomx.test").await.len(), 0);
    assert_eq!(dns.queries_for("mail.test"), 1);
    assert_eq!(dns.queries_for("nomx.test"), 1);

    dns.set_servfail("broken.test");
    let deadline = Instant::now() + Duration::from_secs(10);
    while answers.figures().failed == 0 && Instant::now() < deadline {
        assert_eq!(answers.known(&name("broken.test")), None);
        tokio::task::yield_now().await;
    }
    let figures = answers.figures();
    assert_eq!((figures.asked, figures.failed, figures.queue_full), (3, 1, 0));
    assert_eq!(dns.queries_for("broken.test"), 1);

    // After the stop, what is known is known, and nothing waits.
    stop.cancel();
    assert!(answers.known(&name("mail.test")).is_some());
    assert_eq!(answers.known(&name("later.test")), None);
}

#[tokio::test]
async fn a_fixture_serves_as_the_authority_of_a_whole_top_level_zone() {
    let dns = DnsFixture::start().await;
    let key = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    dns.set_cname("s._domainkey.customer.test", "k1.esp.test");
    dns.set_txt("k1.esp.test", key);
    let settings = AuthoritativeSettings {
        servers: [(name("test"), vec![dns.address()])].into(),
        ..AuthoritativeSettings::default()
    };
    let client = AuthoritativeClient::new(settings);
    let selector = "s".parse().unwrap();
    let wanted = WantedKey::parse(key.as_bytes()).unwrap();
    let look = client.look(&selector, &name("customer.test")).await.unwrap();
    assert_eq!(judge(&look, &wanted).verdict, Verdict::Seen, "{look:#?}");

    dns.remove("k1.esp.test");
    let look = client.look(&selector, &name("customer.test")).await.unwrap();
    assert_eq!(judge(&look, &wanted).verdict, Verdict::Gone);
    assert!(dns.queries() > 4);
}

//! The whole front door over real sockets: a client that speaks the protocol in its own words, a
//! signer with a key, and a verifier at the end.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use arc_swap::ArcSwap;
use postseal_dkim::{Algorithm, Header, KeyAnswer, Selector, Verifier, VerifyRules};
use postseal_dns::{MxAnswers, Patience, RecursiveClient};
use postseal_engine::{
    Change, DomainRow, KeyEntry, KeyId, Revision, SigningKeys, Snapshot, TenantRow,
};
use postseal_keys::{KeyCache, KeyContext, MasterKey, NoFiledKeys, SigningKey, SigningThreads};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::config::ListenAddress;

const TENANT: TenantId = TenantId::new(7);

/// A door that is open, in a folder of its own.
struct Place {
    _folder: tempfile::TempDir,
    path: PathBuf,
    metrics: Metrics,
    shutdown: CancellationToken,
    served: JoinHandle<()>,
}

impl Place {
    async fn open(attribution: Attribution) -> Self {
        Self::open_for(attribution, 100).await
    }

    async fn open_for(attribution: Attribution, connections: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("milter.sock");
        let (metrics, shutdown) = (Metrics::default(), CancellationToken::new());
        let config = MilterConfig { listen: ListenAddress::Unix(path.clone()), attribution };
        let signer = signer(metrics.clone(), shutdown.clone());
        let connections = Arc::new(Semaphore::new(connections));
        let door = Door::new(&config, signer, metrics.clone(), connections).unwrap();
        let listener = Listener::bind(&config.listen).await.unwrap();
        let served = tokio::spawn(door.serve(listener, shutdown.clone()));
        Self { _folder: folder, path, metrics, shutdown, served }
    }

    async fn connect(&self, version: u32) -> Mta {
        Mta::connect(&self.path, version).await
    }
}

/// A key and what it is sealed with, made once for all tests.
struct OwnKey {
    master: Arc<MasterKey>,
    entry: Arc<KeyEntry>,
    record: String,
}

fn own_key() -> &'static OwnKey {
    static KEY: OnceLock<OwnKey> = OnceLock::new();
    KEY.get_or_init(|| {
        let master = Arc::new(MasterKey::generate().unwrap());
        let key = SigningKey::generate(Algorithm::RsaSha256).unwrap();
        let domain = DomainName::parse("shop.example").unwrap();
        let selector = Selector::parse("s1").unwrap();
        let context = KeyContext { tenant: TENANT, signing_domain: &domain, selector: &selector };
        let sealed = master.seal(&key, &context).unwrap();
        let record = key.public_record();
        let (id, algorithm) = (KeyId::new(1), Algorithm::RsaSha256);
        let entry = KeyEntry { id, owner: TENANT, domain, selector, algorithm, sealed };
        OwnKey { master, entry: Arc::new(entry), record }
    })
}

fn signer(metrics: Metrics, stop: CancellationToken) -> Arc<Signer> {
    let own = own_key();
    let keys = SigningKeys::new(Arc::clone(&own.entry)).unwrap();
    let domain = DomainRow::claimed(TENANT, own.entry.domain.clone()).verified();
    let rows =
        [Change::Tenant(TenantRow::new(TENANT)), Change::Domain(domain.signing(keys).unwrap())];
    let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot::load(Revision::new(1), rows)));
    let one = NonZeroUsize::MIN;
    let threads = Arc::new(SigningThreads::start(one, NonZeroUsize::new(64).unwrap()).unwrap());
    let capacity = NonZeroU64::new(10).unwrap();
    let filed = Arc::new(NoFiledKeys);
    let keys = KeyCache::new(capacity, threads, Arc::clone(&own.master), filed);
    // No resolver: what is not known stays unknown.
    let mx = MxAnswers::start(RecursiveClient::new(Vec::new(), Patience::default()), stop);
    Arc::new(Signer::new(snapshot, keys, mx, metrics, "test".to_owned()))
}

/// The other side, written from the protocol's description.
struct Mta {
    stream: UnixStream,
    /// Whether values carry the space after the colon.
    leading_space: bool,
    /// Whether each step is answered.
    answered: bool,
}

/// A field as it stands in the message: name, and all from behind the colon to before the CRLF.
type Field = (String, String);

struct Answered {
    verdict: u8,
    text: String,
    /// The header as it leaves.
    header: Vec<Field>,
}

impl Mta {
    async fn connect(path: &std::path::Path, version: u32) -> Self {
        let stream = UnixStream::connect(path).await.unwrap();
        let mut mta = Self { stream, leading_space: version == 6, answered: version != 6 };
        let (actions, steps) = if version == 6 { (0x1ff, 0x1f_ffff) } else { (0x3f, 0x7f) };
        let offer = [version, actions, steps].map(u32::to_be_bytes).concat();
        mta.put(b'O', &offer).await;
        assert_eq!(mta.reply().await.unwrap().0, b'O');
        mta
    }

    async fn put(&mut self, command: u8, data: &[u8]) {
        let length = u32::try_from(data.len() + 1).unwrap();
        let packet = [&length.to_be_bytes(), &[command][..], data].concat();
        self.stream.write_all(&packet).await.unwrap();
    }

    async fn step(&mut self, command: u8, data: &[u8]) {
        self.put(command, data).await;
        if self.answered {
            assert_eq!(self.reply().await.unwrap(), (b'c', vec![]), "{}", char::from(command));
        }
    }

    /// The next packet, or `None` at the end of the stream.
    async fn reply(&mut self) -> Option<(u8, Vec<u8>)> {
        let length = self.stream.read_u32().await.ok()?;
        let command = self.stream.read_u8().await.unwrap();
        let mut data = vec![0; usize::try_from(length).unwrap() - 1];
        self.stream.read_exact(&mut data).await.unwrap();
        Some((command, data))
    }

    async fn envelope(&mut self, user: Option<&str>) {
        if let Some(user) = user {
            self.put(b'D', format!("M{{auth_authen}}\0{user}\0").as_bytes()).await;
        }
        self.step(b'M', b"<news@shop.example>\0").await;
        self.step(b'R', b"<reader@recipient.example>\0").await;
    }

    async fn content(&mut self, header: &[Field], body: &[u8]) {
        for (name, value) in header {
            let value = value.replace("\r\n", "\n");
            let value = if self.leading_space { &value } else { value.trim_start_matches(' ') };
            self.step(b'L', format!("{name}\0{value}\0").as_bytes()).await;
        }
        self.step(b'N', b"").await;
        for chunk in body.chunks(65_535) {
            self.step(b'B', chunk).await;
        }
    }

    async fn end(&mut self, mut header: Vec<Field>) -> Answered {
        self.put(b'E', b"").await;
        loop {
            let (command, data) = self.reply().await.unwrap();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            if !matches!(command, b'i' | b'm') {
                let text = text(data.strip_suffix(b"\0").unwrap_or(&data));
                return Answered { verdict: command, text, header };
            }
            let at = u32::from_be_bytes(*data.first_chunk().unwrap()) as usize;
            let strings: Vec<_> = data[4..].split(|&c| c == 0).collect();
            let (name, value) = (text(strings[0]), text(strings[1]));
            if command == b'i' {
                let space = if self.leading_space { "" } else { " " };
                header.insert(at, (name, format!("{space}{}", value.replace('\n', "\r\n"))));
                continue;
            }
            assert_eq!(value, "", "only deletions are asked for");
            let same = |(_, (other, _)): &(usize, &Field)| other.eq_ignore_ascii_case(&name);
            let found = header.iter().enumerate().filter(same).nth(at - 1).unwrap().0;
            header.remove(found);
        }
    }

    async fn message(&mut self, header: &[Field], body: &[u8]) -> Answered {
        self.envelope(None).await;
        self.content(header, body).await;
        self.end(header.to_vec()).await
    }
}

fn fields(list: &[(&str, &str)]) -> Vec<Field> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn newsletter() -> Vec<Field> {
    fields(&[
        ("From", " Shop <news@shop.example>"),
        ("To", " reader@recipient.example"),
        ("Subject", " A subject\r\n\tin two lines"),
        ("Date", " Sun, 22 Nov 2026 02:00:00 +0000"),
        ("Message-ID", " <1@shop.example>"),
    ])
}

/// The names of a header, in order.
fn names(header: &[Field]) -> String {
    header.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" ")
}

/// The number of signatures that verify.
fn passes(header: &[Field], body: &[u8]) -> usize {
    let raw: String = header.iter().map(|(name, value)| format!("{name}:{value}\r\n")).collect();
    let header = Header::parse(raw.as_bytes()).unwrap();
    let rules = VerifyRules::default();
    let (mut verifier, queries) = Verifier::start(&header, &rules, crate::clock::now());
    for query in queries {
        verifier.answer(query.id, KeyAnswer::from_texts([&own_key().record]));
    }
    verifier.body(body);
    verifier.finish().signatures.iter().filter(|s| s.outcome.is_pass()).count()
}

fn tenant() -> Attribution {
    Attribution { tenant: Some(TENANT), ..Attribution::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_verifies_through_both_protocols() {
    let place = Place::open(tenant()).await;
    let long_body = b"A line of the body.\r\n".repeat(20_000);
    for version in [6, 2] {
        let mut mta = place.connect(version).await;
        for body in [&b""[..], b"Hello.\r\n", &long_body] {
            let answered = mta.message(&newsletter(), body).await;
            assert_eq!((answered.verdict, answered.text.as_str()), (b'c', ""));
            let want = format!("DKIM-Signature {}", names(&newsletter()));
            assert_eq!(names(&answered.header), want);
            assert_eq!(passes(&answered.header, body), 1, "version {version}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn control_fields_leave_and_others_stay() {
    // Signed for the tenant, and passed on for nobody: the fields go in both cases.
    for attribution in [tenant(), Attribution::default()] {
        let is_known = attribution.tenant.is_some();
        let place = Place::open(attribution).await;
        let mut header = newsletter();
        header.insert(1, ("X-Postseal-Pool".to_owned(), " default".to_owned()));
        header.push(("x-msys-api".to_owned(), " {}".to_owned()));
        let answered = place.connect(6).await.message(&header, b"Hello.\r\n").await;
        assert_eq!((answered.verdict, answered.text.as_str()), (b'c', ""));
        let signature = if is_known { "DKIM-Signature " } else { "" };
        assert_eq!(names(&answered.header), format!("{signature}{}", names(&newsletter())));
        assert_eq!(passes(&answered.header, b"Hello.\r\n"), usize::from(is_known));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tenant_is_known_by_macro_client_or_listener() {
    let by_macro = |name: &str| {
        let known = MacroValue { name: name.to_owned(), value: "alice".to_owned() };
        let tenant_by = vec![(TenantEvidence::Macro(known), TENANT)];
        Attribution { tenant_by, ..Attribution::default() }
    };
    let range: IpRange = "192.0.2.0/24".parse().unwrap();
    let tenant_by = vec![(TenantEvidence::Client(range), TENANT)];
    let by_client = Attribution { tenant_by, ..Attribution::default() };
    // attribution, client, user of AUTH, whether it is signed
    let cases = [
        (by_macro("{auth_authen}"), "203.0.113.1", Some("alice"), true),
        (by_macro("auth_authen"), "203.0.113.1", Some("alice"), true),
        (by_macro("{auth_authen}"), "203.0.113.1", Some("bob"), false),
        (by_macro("{auth_authen}"), "203.0.113.1", None, false),
        (by_macro("{daemon_name}"), "203.0.113.1", Some("alice"), false),
        (by_client.clone(), "192.0.2.9", None, true),
        (by_client, "203.0.113.1", Some("alice"), false),
        (tenant(), "203.0.113.1", None, true),
        (Attribution::default(), "127.0.0.1", Some("alice"), false),
    ];
    for (attribution, client, user, want) in cases {
        let case = format!("{attribution:?} {client} {user:?}");
        let place = Place::open(attribution).await;
        let mut mta = place.connect(6).await;
        mta.put(b'C', format!("host\x004\0\0{client}\0").as_bytes()).await;
        mta.envelope(user).await;
        mta.content(&newsletter(), b"").await;
        let answered = mta.end(newsletter()).await;
        assert_eq!(passes(&answered.header, b""), usize::from(want), "{case}");
        // The next message has no macros of its own.
        let answered = mta.message(&newsletter(), b"").await;
        assert_eq!(passes(&answered.header, b""), usize::from(want && user.is_none()), "{case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_refused_and_the_next_one_signed() {
    let place = Place::open(tenant()).await;
    let two_authors = [newsletter(), fields(&[("From", " other@shop.example")])].concat();
    let not_one_field = fields(&[("From", " a@shop.example\nBcc: b")]);
    let large = fields(&[("X", &format!(" {}", "x".repeat(1 << 20)))]);
    let long_line = "x".repeat(2000) + "\r\n";
    // (header, body, the start of the reply)
    let cases: [(&[Field], &[u8], &str); 5] = [
        (&two_authors, b"", "550 5"),
        (&not_one_field, b"", "550 5.6.0 "),
        (&large, b"body", "552 5.3.4 "),
        (&newsletter(), long_line.as_bytes(), "550 5.6.0 "),
        (&newsletter(), b"bare\nnewline\r\n", "550 5.6.0 "),
    ];
    for version in [6, 2] {
        let mut mta = place.connect(version).await;
        for (header, body, want) in cases {
            let answered = mta.message(header, body).await;
            assert_eq!(answered.verdict, b'y', "{want}");
            assert!(answered.text.starts_with(want), "{}", answered.text);
            let answered = mta.message(&newsletter(), b"Hello.\r\n").await;
            assert_eq!(passes(&answered.header, b"Hello.\r\n"), 1, "{want}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_under_way_is_answered_before_the_shutdown() {
    let place = Place::open(tenant()).await;
    let (mut busy, mut idle) = (place.connect(6).await, place.connect(6).await);
    busy.envelope(None).await;
    // An answer shows that what was sent before it has arrived.
    idle.message(&newsletter(), b"").await;
    busy.content(&newsletter(), b"Hello.\r\n").await;
    while !place.metrics_show_connections(2) {
        tokio::task::yield_now().await;
    }
    place.shutdown.cancel();
    assert_eq!(idle.reply().await, None, "a connection at rest is closed");
    let answered = busy.end(newsletter()).await;
    assert_eq!(passes(&answered.header, b"Hello.\r\n"), 1);
    assert_eq!(busy.reply().await, None);
    place.served.await.unwrap();
    assert!(!place.path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_connected_and_said_nothing_does_not_hold_up_the_shutdown() {
    let place = Place::open(tenant()).await;
    let mut silent = UnixStream::connect(&place.path).await.unwrap();
    while !place.metrics_show_connections(1) {
        tokio::task::yield_now().await;
    }
    place.shutdown.cancel();
    // Far less than a drain takes that has to cut connections off.
    let closed = timeout(SOON, silent.read(&mut [0])).await;
    assert_eq!(closed.unwrap().unwrap(), 0);
    timeout(SOON, place.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_connection_that_waits_holds_no_read_buffer() {
    let place = Place::open(tenant()).await;
    let offer = b"\0\0\0\x0dO\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff";
    let mut peer = UnixStream::connect(&place.path).await.unwrap();
    for part in [&offer[..3], &offer[3..10]] {
        peer.write_all(part).await.unwrap();
        // The connection's task runs on this thread, where its buffer is spare then.
        let read = async {
            while !place.metrics_show_connections(1) || inbox::spare_buffers() == 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(SOON, read).await.unwrap();
    }
    peer.write_all(&offer[10..]).await.unwrap();
    let mut answer = [0; 5];
    timeout(SOON, peer.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer[4], b'O');
}

/// No wait here takes as long.
const SOON: Duration = Duration::from_secs(5);

impl Place {
    fn metrics_show_connections(&self, count: i64) -> bool {
        self.metrics.connections.get_or_create(&LABELS).get() == count
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_bound_are_closed_at_once() {
    let place = Place::open_for(tenant(), 1).await;
    let mut first = place.connect(6).await;
    let mut second = UnixStream::connect(&place.path).await.unwrap();
    assert_eq!(second.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(place.metrics.connections_refused.get_or_create(&LABELS).get(), 1);
    let answered = first.message(&newsletter(), b"").await;
    assert_eq!(passes(&answered.header, b""), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_milter_client_is_hung_up_on() {
    let place = Place::open(tenant()).await;
    for (input, errors) in [(&b"GET / HTTP/1.1\r\n\r\n"[..], 1), (b"\0\0\0\0", 2), (b"", 2)] {
        let mut peer = UnixStream::connect(&place.path).await.unwrap();
        peer.write_all(input).await.unwrap();
        peer.shutdown().await.unwrap();
        assert_eq!(peer.read(&mut [0]).await.unwrap_or(0), 0);
        while !place.metrics_show_connections(0) {
            tokio::task::yield_now().await;
        }
        let counted = place.metrics.protocol_errors.get_or_create(&LABELS).get();
        assert_eq!(counted, errors, "{}", input.escape_ascii());
    }
}

#[tokio::test]
async fn a_macro_that_cannot_be_is_a_mistake() {
    let known = MacroValue { name: "{auth authen}".to_owned(), value: "alice".to_owned() };
    let tenant_by = vec![(TenantEvidence::Macro(known), TENANT)];
    let attribution = Attribution { tenant_by, ..Attribution::default() };
    let config = MilterConfig { listen: ListenAddress::Unix("/x".into()), attribution };
    let (metrics, stop) = (Metrics::default(), CancellationToken::new());
    let signer = signer(metrics.clone(), stop);
    let door = Door::new(&config, signer, metrics, Arc::new(Semaphore::new(1)));
    assert!(door.err().unwrap().to_string().starts_with("\"{auth authen}\" is not the name"));
}

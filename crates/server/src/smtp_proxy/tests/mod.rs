//! The proxy between a client and next hops that do as they are told, over loopback sockets.

mod client;
mod next_hop;

use std::net::{Ipv4Addr, TcpListener as StdListener};
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use postseal_dkim::{
    Algorithm, Canonicalization, DomainName, FieldSelection, Header, KeyAnswer, MessageSigning,
    Selector, SignRequest, UnixTime, Verifier, VerifyRules, split_message,
};
use postseal_dns::{MxAnswers, Patience, RecursiveClient};
use postseal_engine::{
    ApiKeyHash, ApiKeyRow, Change, DomainRow, Grant, KeyEntry, KeyId, NextHopName, PlatformRow,
    PolicyLayer, PoolRow, Revision, SigningKeys, TenantRow,
};
use postseal_keys::{KeyCache, KeyContext, MasterKey, NoFiledKeys, SigningKey, SigningThreads};
use postseal_testkit::sink::{Action, Settings as SinkSettings, Sink, Stage};
use postseal_testkit::smtp_client::{Reply as ClientReply, SmtpClient};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::task::JoinHandle;

use super::*;
use crate::clock;
use crate::config::{Attribution, HopTls, TlsFiles};

const API_KEY: &str = "0123456789abcdef";
const MESSAGE: &[u8] =
    b"From: Ann <ann@signed.example>\r\nTo: bob@example.org\r\nSubject: hello\r\n\
    Date: Sun, 22 Nov 2026 01:24:30 +0000\r\n\r\n.a line\r\n..\r\n\r\nthe end\r\n";
const STAGES: [Stage; 6] =
    [Stage::Greeting, Stage::Hello, Stage::Mail, Stage::Recipient, Stage::Data, Stage::EndOfData];

/// What a test wants of the proxy.
struct Setup {
    hops: Vec<NextHopConfig>,
    pool_from_header: bool,
    pool: Option<&'static str>,
    trusted: Option<&'static str>,
    rows: Vec<Change>,
    in_memory: u64,
    on_disk: u64,
    max_message: u64,
    tls: Option<Arc<ServerConfig>>,
    timeouts: Timeouts,
    hop_timeouts: HopTimeouts,
    listener: Option<StdListener>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            hops: Vec::new(),
            pool_from_header: true,
            pool: None,
            trusted: Some("127.0.0.1"),
            rows: Vec::new(),
            in_memory: 64 << 20,
            on_disk: 64 << 20,
            max_message: 10 << 20,
            tls: None,
            timeouts: Timeouts { failed_login: Duration::ZERO, ..Timeouts::default() },
            hop_timeouts: HopTimeouts::default(),
            listener: None,
        }
    }
}

/// A running proxy.
struct Proxy {
    address: SocketAddr,
    shutdown: CancellationToken,
    served: JoinHandle<()>,
    hops: Hops,
    room: Room,
    snapshot: Arc<ArcSwap<Snapshot>>,
    key: Option<Arc<SigningKey>>,
    signer: Arc<Signer>,
    folder: tempfile::TempDir,
}

impl Proxy {
    async fn start(setup: Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let shutdown = CancellationToken::new();
        let metrics = Metrics::default();
        let rows = [Change::ApiKey(key_row()), Change::Tenant(TenantRow::new(TenantId::new(7)))];
        let master_key = Arc::new(MasterKey::generate().unwrap());
        let (signing, key) = setup
            .rows
            .iter()
            .any(|row| matches!(row, Change::Domain(_)))
            .then(|| signed_domain(&master_key))
            .unzip();
        let rows = rows.into_iter().chain(setup.rows).chain(signing);
        let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot::load(Revision::new(1), rows)));
        let threads =
            SigningThreads::start(NonZeroUsize::MIN, NonZeroUsize::new(100).unwrap()).unwrap();
        let keys = KeyCache::new(
            NonZeroU64::new(10).unwrap(),
            Arc::new(threads),
            master_key,
            Arc::new(NoFiledKeys),
        );
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        let mx = MxAnswers::start(
            RecursiveClient::new(vec![nowhere], Patience::default()),
            shutdown.clone(),
        );
        let signer = Signer::new(Arc::clone(&snapshot), keys, mx, metrics.clone(), "node".into());
        let signer = Arc::new(signer);
        let hops = Hops::new(&setup.hops, "proxy.example", setup.hop_timeouts).unwrap();
        let room = Room::new(folder.path().to_owned(), setup.in_memory, setup.on_disk, &metrics);
        let config = SmtpConfig {
            listen: ListenAddress::Inet(nowhere),
            hostname: "proxy.example".into(),
            attribution: Attribution {
                tenant_by: setup
                    .trusted
                    .iter()
                    .map(|range| {
                        (TenantEvidence::Client(range.parse().unwrap()), TenantId::PRIMARY)
                    })
                    .collect(),
                pool: setup.pool.map(|pool| PoolId::parse(pool).unwrap()),
                pool_from_header: setup.pool_from_header,
                ..Attribution::default()
            },
            tls: None,
        };
        let shared = Shared {
            signer: Arc::clone(&signer),
            snapshot: Arc::clone(&snapshot),
            hops: hops.clone(),
            room: room.clone(),
            metrics,
            connections: Arc::new(Semaphore::new(200)),
            max_message: setup.max_message,
            timeouts: setup.timeouts,
        };
        let door = Door::new(&config, setup.tls, shared).unwrap();
        let listener = setup.listener.unwrap_or_else(any_port);
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let address = listener.local_addr().unwrap();
        let served = tokio::spawn(door.serve(listener, shutdown.clone()));
        Self { address, shutdown, served, hops, room, snapshot, key, signer, folder }
    }

    fn client(&self) -> SmtpClient {
        let mut client = SmtpClient::connect(self.address).unwrap();
        client.ehlo().unwrap();
        client
    }

    /// Sends one message in a connection of its own.
    fn send(&self, recipients: &[&str], message: &[u8]) -> ClientReply {
        self.client().send("ann@signed.example", recipients, message).unwrap()
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.served.await.unwrap();
        assert_eq!(self.room.held(), 0, "nothing is held any more");
    }
}

/// What is stored of [`API_KEY`].
fn key_row() -> ApiKeyRow {
    ApiKeyRow {
        hash: ApiKeyHash(digest(&SHA256, API_KEY.as_bytes()).as_ref().try_into().unwrap()),
        tenant: TenantId::PRIMARY,
        grants: [Grant::SmtpInject].into_iter().collect(),
        expires_at: None,
        valid_ips: [].into(),
    }
}

/// A domain of the primary account that signs, and its key.
fn signed_domain(master_key: &MasterKey) -> (Change, Arc<SigningKey>) {
    let domain = DomainName::parse("signed.example").unwrap();
    let selector = Selector::parse("s1").unwrap();
    let key = SigningKey::generate(Algorithm::RsaSha256).unwrap();
    let context =
        KeyContext { tenant: TenantId::PRIMARY, signing_domain: &domain, selector: &selector };
    let entry = KeyEntry {
        id: KeyId::new(1),
        owner: TenantId::PRIMARY,
        domain: domain.clone(),
        selector: selector.clone(),
        algorithm: Algorithm::RsaSha256,
        sealed: master_key.seal(&key, &context).unwrap(),
    };
    let row = DomainRow::claimed(TenantId::PRIMARY, domain)
        .signing(SigningKeys::new(Arc::new(entry)).unwrap())
        .unwrap();
    (Change::Domain(row), Arc::new(key))
}

/// Asks for [`signed_domain`].
fn with_signed_domain() -> Vec<Change> {
    let name = DomainName::parse("other.example").unwrap();
    vec![Change::Domain(DomainRow::claimed(TenantId::PRIMARY, name))]
}

fn any_port() -> StdListener {
    StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

fn hop(name: &str, address: SocketAddr) -> NextHopConfig {
    NextHopConfig {
        name: NextHopName::parse(name).unwrap(),
        address: address.to_string(),
        source_address: None,
        hostname: None,
        tls: HopTls::None,
        tls_name: None,
        tls_ca_file: None,
        credentials: None,
    }
}

fn default_hop(sink: &Sink) -> Vec<NextHopConfig> {
    vec![hop("default", sink.address())]
}

/// Short enough for a test to wait for, long enough for a loaded machine.
fn impatient() -> HopTimeouts {
    let short = Duration::from_millis(500);
    HopTimeouts {
        connect: short,
        set_up: short,
        command: short,
        data: short,
        end_of_data: short,
        ..HopTimeouts::default()
    }
}

/// The message bears one signature, and it verifies.
fn assert_verifies(message: &[u8], proxy: &Proxy) {
    let (header, body) = split_message(message);
    let header = Header::parse(header).unwrap();
    let (mut verifier, queries) = Verifier::start(&header, &VerifyRules::default(), clock::now());
    assert_eq!(queries.len(), 1);
    verifier.body(body);
    verifier.answer(
        queries[0].id,
        KeyAnswer::from_texts([proxy.key.as_ref().unwrap().public_record()]),
    );
    let report = verifier.finish();
    assert!(report.has_pass(), "{report:?}");
}

/// [`MESSAGE`] as a signer of the proxy's domain has signed it an hour ago.
async fn signed_before(proxy: &Proxy, expires_at: UnixTime) -> Vec<u8> {
    let (header, body) = split_message(MESSAGE);
    let request = SignRequest {
        signing_domain: DomainName::parse("signed.example").unwrap(),
        selector: Selector::parse("s1").unwrap(),
        algorithm: Algorithm::RsaSha256,
        canonicalization: Canonicalization::RELAXED,
        signed_at: UnixTime(clock::now().as_secs() - 3600),
        expires_at: Some(expires_at),
        identity: None,
        fields: FieldSelection::default(),
    };
    let header = Header::parse(header).unwrap();
    let mut signing = MessageSigning::start(vec![request], &header).unwrap();
    signing.body(body);
    let unsigned = signing.finish().pop().unwrap();
    let threads = SigningThreads::start(NonZeroUsize::MIN, NonZeroUsize::MIN).unwrap();
    let key = Arc::clone(proxy.key.as_ref().unwrap());
    let signature = threads.sign(key, *unsigned.digest()).await.unwrap();
    [unsigned.complete(&signature).raw(), MESSAGE].concat()
}

/// The replies of one transaction with one recipient, up to the first that is negative.
fn outcome(proxy: &Proxy) -> (Stage, ClientReply) {
    let mut client = proxy.client();
    let reply = client.mail("ann@signed.example").unwrap();
    if !reply.is_positive() {
        return (Stage::Mail, reply);
    }
    let reply = client.rcpt("bob@example.org").unwrap();
    if !reply.is_positive() {
        return (Stage::Recipient, reply);
    }
    (Stage::EndOfData, client.data(MESSAGE).unwrap())
}

/// Where the client hears of what goes wrong with the hop at `stage`.
fn heard_at(stage: Stage, pool_from_header: bool) -> Stage {
    match stage {
        _ if pool_from_header => Stage::EndOfData,
        Stage::Greeting | Stage::Hello | Stage::Mail => Stage::Mail,
        Stage::Recipient => Stage::Recipient,
        Stage::Auth | Stage::Data | Stage::EndOfData | Stage::Reset | Stage::Quit => {
            Stage::EndOfData
        }
    }
}

/// A certificate for `localhost`, and the files that a configuration names.
fn certificate(folder: &Path) -> TlsFiles {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let files = TlsFiles { certificate: folder.join("cert.pem"), key: folder.join("key.pem") };
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    files
}

fn future_size<F: Future>(_: impl FnOnce(&'static Door) -> F) -> usize {
    size_of::<F>()
}

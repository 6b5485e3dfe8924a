//! One server with all that it needs, and short ways to call it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postseal_dkim::{Algorithm, DomainName, UnixTime};
use postseal_dns::{
    AuthoritativeClient, AuthoritativeSettings, Reach, ServedZones, ZoneApex, ZoneNameServer,
};
use postseal_engine::{Grant, Grants, NextHopName, TenantId};
use postseal_keys::{MasterKey, SigningKey};
use postseal_server::domain_check::DomainCheck;
use postseal_server::http::{Ambient, Api, KeyMaking, NewApiKey, Readiness, router};
use postseal_server::metrics::Metrics;
use postseal_store::{NewApiKey as StoredApiKey, Store};
use postseal_testkit::api_client::{ApiClient, ApiReply};
use postseal_testkit::dns::DnsFixture;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A domain whose DNS server gives one TXT record for every name.
pub(crate) const WILD: &str = "wild.test";

/// A zone that the server under test serves itself.
pub(crate) const OWN_ZONE: &str = "own.test";

/// A time in November 2026.
pub(crate) const START: u64 = 1_795_000_000;

/// A running server; it ends when this value is dropped.
pub(crate) struct Server {
    pub(crate) base: String,
    /// A client with a key of the account that may do everything.
    pub(crate) account: ApiClient,
    pub(crate) account_key: String,
    pub(crate) store: Store,
    pub(crate) dns: DnsFixture,
    /// The text of the record that every name in [`WILD`] has.
    pub(crate) wildcard: Arc<Mutex<String>>,
    pub(crate) zones: ServedZones,
    pub(crate) ready: watch::Sender<Readiness>,
    clock: Arc<AtomicU64>,
    folder: tempfile::TempDir,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("postseal.db")).await.unwrap();
        let dns = DnsFixture::start().await;
        let wildcard = Arc::new(Mutex::new(String::new()));
        let wild = answer_everything(Arc::clone(&wildcard)).await;
        let zones = ServedZones::new();
        zones
            .define(ZoneApex {
                origin: name(OWN_ZONE),
                name_servers: vec![ZoneNameServer {
                    name: name("ns.elsewhere.test"),
                    addresses: Vec::new(),
                }],
                contact: name("hostmaster.own.test"),
                serial: 1,
            })
            .unwrap();
        let clock = Arc::new(AtomicU64::new(START));
        let now = Arc::clone(&clock);
        let ambient = Ambient::new(
            move || match now.load(Ordering::SeqCst) {
                u64::MAX => panic!("the clock fell off the wall"),
                secs => UnixTime(secs),
            },
            |octets| {
                aws_lc_rs::rand::fill(octets).unwrap();
                Ok(())
            },
        );
        let (ready, readiness) = watch::channel(Readiness::Starting);
        let metrics = Metrics::default();
        let mut figures = Registry::default();
        metrics.register(&mut figures);
        let api = Api {
            store: store.clone(),
            master_key: Arc::new(MasterKey::generate().unwrap()),
            domain_check: Arc::new(DomainCheck::new(
                AuthoritativeClient::new(AuthoritativeSettings {
                    servers: [(name("test"), vec![dns.address()]), (name(WILD), vec![wild])]
                        .into_iter()
                        .collect(),
                    reach: Reach::Any,
                    ..AuthoritativeSettings::default()
                }),
                zones.clone(),
            )),
            next_hops: vec![NextHopName::parse("postfix-1").unwrap()],
            ambient,
            readiness,
            metrics,
            figures,
            key_making: KeyMaking::default(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let service = router(Arc::new(api)).into_make_service_with_connect_info::<SocketAddr>();
        let task = tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
        let account_key = store_key(&store, TenantId::PRIMARY, Grants::all(), &[]).await;
        let account = ApiClient::new(&base, &account_key);
        Self { base, account, account_key, store, dns, wildcard, zones, ready, clock, folder, task }
    }

    /// Lets time pass.
    pub(crate) fn wait(&self, seconds: u64) {
        self.clock.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Makes the next look at the clock panic.
    pub(crate) fn break_clock(&self) {
        self.clock.store(u64::MAX, Ordering::SeqCst);
    }

    pub(crate) fn repair_clock(&self) {
        self.clock.store(START, Ordering::SeqCst);
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("postseal.db")
    }

    /// A client with another key.
    pub(crate) fn with_key(&self, key: &str) -> ApiClient {
        self.account.with_key(key)
    }

    /// A client with a key of a tenant that has these grants and no others.
    pub(crate) async fn client(&self, tenant: u32, grants: &[Grant]) -> ApiClient {
        let grants = grants.iter().copied().collect();
        self.with_key(&store_key(&self.store, TenantId::new(tenant), grants, &[]).await)
    }

    /// Makes a subaccount, and a client with a key of its own that may do all that it can.
    pub(crate) async fn subaccount(&self, name: &str) -> (u32, ApiClient) {
        let reply = self
            .account
            .post(
                "/api/v1/subaccounts",
                json!({
                    "name": name,
                    "key_label": name,
                    "key_grants": ["sending_domains/manage", "smtp/inject"],
                }),
            )
            .await
            .unwrap();
        assert_eq!(reply.status, 200, "{}", reply.body);
        let number = reply.results()["subaccount_id"].as_u64().unwrap();
        let key = reply.results()["key"].as_str().unwrap();
        (number.try_into().unwrap(), self.with_key(key))
    }

    /// Adds a domain without a key, which takes no time.
    pub(crate) async fn claim(&self, client: &ApiClient, domain: &str) {
        let body = json!({ "domain": domain, "generate_dkim": false });
        let reply = client.post("/api/v1/sending-domains", body).await.unwrap();
        assert_eq!(reply.status, 200, "{domain}: {}", reply.body);
    }

    /// Adds a domain with the test's key pair, publishes the record and verifies it.
    pub(crate) async fn verified(&self, client: &ApiClient, domain: &str, pair: &Pair) {
        let reply = add_with_pair(client, domain, pair, "s1").await;
        assert_eq!(reply.status, 200, "{domain}: {}", reply.body);
        self.dns.set_txt(&format!("s1._domainkey.{domain}"), &pair.record);
        let results = client.verify_domain(domain).await.unwrap();
        assert_eq!(results["dkim_status"], "valid", "{domain}: {results}");
    }
}

/// A DNS server that gives `text` as the TXT record of every name, as a wildcard does.
async fn answer_everything(text: Arc<Mutex<String>>) -> SocketAddr {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut packet = [0; 1500];
        while let Ok((len, peer)) = socket.recv_from(&mut packet).await {
            // One question, which ends four octets after the empty label (RFC 1035 §4.1.2).
            let end = 12 + packet[12..len].iter().position(|octet| *octet == 0).unwrap() + 5;
            let mut reply = packet[..2].to_vec();
            reply.extend([0x84, 0, 0, 1, 0, 1, 0, 0, 0, 0]);
            reply.extend(&packet[12..end]);
            reply.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 1, 44]);
            let text = text.lock().unwrap().clone();
            let parts = text.as_bytes().chunks(255);
            let data: Vec<u8> = parts
                .flat_map(|part| [&[u8::try_from(part.len()).unwrap()], part].concat())
                .collect();
            reply.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            reply.extend(data);
            socket.send_to(&reply, peer).await.unwrap();
        }
    });
    address
}

/// A key pair as a customer brings it along.
pub(crate) struct Pair {
    pub(crate) key: SigningKey,
    pub(crate) private: String,
    pub(crate) public: String,
    pub(crate) record: String,
}

impl Pair {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        let key = SigningKey::generate(algorithm).unwrap();
        let pem = key.expose_pkcs8_pem();
        let private: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let (public, record) = (key.public_key_base64(), key.public_record());
        Self { key, private, public, record }
    }

    pub(crate) fn rsa() -> Self {
        Self::new(Algorithm::RsaSha256)
    }

    /// The private key as PKCS#1, which lies inside PKCS#8 behind 26 octets.
    pub(crate) fn pkcs1(&self) -> String {
        STANDARD.encode(&STANDARD.decode(&self.private).unwrap()[26..])
    }

    pub(crate) fn fields(&self, selector: &str) -> Value {
        json!({ "private": self.private, "public": self.public, "selector": selector })
    }
}

pub(crate) async fn add_with_pair(
    client: &ApiClient,
    domain: &str,
    pair: &Pair,
    selector: &str,
) -> ApiReply {
    let body = json!({ "domain": domain, "dkim": pair.fields(selector) });
    client.post("/api/v1/sending-domains", body).await.unwrap()
}

/// Puts an API key into the store and gives its text.
pub(crate) async fn store_key(
    store: &Store,
    tenant: TenantId,
    grants: Grants,
    valid_ips: &[&str],
) -> String {
    let key = NewApiKey::generate(&Ambient::system()).unwrap();
    let mut unit = store.write(UnixTime(START)).await.unwrap();
    unit.create_api_key(StoredApiKey {
        tenant,
        hash: key.hash(),
        short_key: key.short(),
        label: "test".to_owned(),
        grants,
        valid_ips: valid_ips.iter().map(|range| range.parse().unwrap()).collect(),
        expires_at: None,
    })
    .await
    .unwrap();
    unit.commit().await.unwrap();
    key.expose_text().to_owned()
}

pub(crate) fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

/// The status, and the code, message and description of the first error.
pub(crate) fn error(reply: &ApiReply) -> (u16, &str, &str, &str) {
    let first = &reply.body["errors"][0];
    let text = |name: &str| first[name].as_str().unwrap_or_default();
    (reply.status, text("code"), text("message"), text("description"))
}

/// Every call that needs a key: method, path, a body that would do, and the grants of which one is
/// needed.
pub(crate) fn endpoints() -> Vec<(&'static str, &'static str, Option<Value>, &'static [Grant])> {
    use Grant::{
        ApiKeysManage, ApiKeysView, IpPoolsManage, IpPoolsView, SendingDomainsManage,
        SendingDomainsView, SubaccountsManage, SubaccountsView,
    };
    let view_domains: &[Grant] = &[SendingDomainsView, SendingDomainsManage];
    let view_pools: &[Grant] = &[IpPoolsView, IpPoolsManage];
    let view_subaccounts: &[Grant] = &[SubaccountsView, SubaccountsManage];
    let view_keys: &[Grant] = &[ApiKeysView, ApiKeysManage];
    let domain = json!({ "domain": "new.test", "generate_dkim": false });
    let subaccount = json!({ "name": "New", "setup_api_key": false });
    let key = json!({ "label": "new", "grants": ["smtp/inject"] });
    vec![
        ("GET", "/api/v1/sending-domains", None, view_domains),
        ("POST", "/api/v1/sending-domains", Some(domain), &[SendingDomainsManage]),
        ("GET", "/api/v1/sending-domains/a.test", None, view_domains),
        ("DELETE", "/api/v1/sending-domains/a.test", None, &[SendingDomainsManage]),
        (
            "POST",
            "/api/v1/sending-domains/a.test/verify",
            Some(json!({ "dkim_verify": true })),
            &[SendingDomainsManage],
        ),
        ("GET", "/api/v1/ip-pools", None, view_pools),
        ("POST", "/api/v1/ip-pools", Some(json!({ "name": "New" })), &[IpPoolsManage]),
        ("GET", "/api/v1/ip-pools/default", None, view_pools),
        ("PUT", "/api/v1/ip-pools/none", Some(json!({ "name": "New" })), &[IpPoolsManage]),
        ("DELETE", "/api/v1/ip-pools/none", None, &[IpPoolsManage]),
        ("GET", "/api/v1/subaccounts", None, view_subaccounts),
        ("POST", "/api/v1/subaccounts", Some(subaccount), &[SubaccountsManage]),
        ("GET", "/api/v1/subaccounts/summary", None, view_subaccounts),
        ("GET", "/api/v1/subaccounts/9", None, view_subaccounts),
        ("PUT", "/api/v1/subaccounts/9", Some(json!({ "name": "New" })), &[SubaccountsManage]),
        ("GET", "/api/v1/api-keys", None, view_keys),
        ("POST", "/api/v1/api-keys", Some(key), &[ApiKeysManage]),
        ("GET", "/api/v1/api-keys/999", None, view_keys),
        ("PUT", "/api/v1/api-keys/999", Some(json!({ "label": "new" })), &[ApiKeysManage]),
        ("DELETE", "/api/v1/api-keys/999", None, &[ApiKeysManage]),
        ("GET", "/api/v1/platform", None, view_pools),
        ("PUT", "/api/v1/platform", Some(json!({})), &[IpPoolsManage]),
    ]
}

/// Calls with a method by its name.
pub(crate) async fn call(
    client: &ApiClient,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> ApiReply {
    client.call(method.parse().unwrap(), path, body).await.unwrap()
}

/// A client that sends exactly the fields that are given.
pub(crate) async fn raw(
    server: &Server,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<reqwest::Body>,
) -> (u16, reqwest::header::HeaderMap, Value) {
    let mut request = reqwest::Client::new()
        .request(method.parse().unwrap(), format!("{}{path}", server.base))
        .body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let reply = request.send().await.unwrap();
    let (status, headers) = (reply.status().as_u16(), reply.headers().clone());
    let text = reply.text().await.unwrap();
    (status, headers, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

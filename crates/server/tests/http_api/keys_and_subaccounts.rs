//! API keys and subaccounts.

use postseal_engine::Grant;
use serde_json::{Value, json};

use crate::harness::Server;

const KEYS: &str = "/api/v1/api-keys";
const SUBACCOUNTS: &str = "/api/v1/subaccounts";

#[tokio::test]
async fn a_key_is_shown_once_and_then_only_known_by_its_beginning() {
    let server = Server::start().await;
    let body = json!({
        "label": " web shop ", "grants": ["smtp/inject", "ip_pools/view"],
        "valid_ips": ["127.0.0.1", "2001:db8::/32"], "expires_at": "2027-01-31T12:00:00Z",
    });
    let reply = server.account.post(KEYS, body).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.body);
    let results = reply.results();
    let (key, id) = (results["key"].as_str().unwrap(), results["id"].as_str().unwrap());
    assert!(key.len() == 40 && key.bytes().all(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f')));
    assert_eq!(results["short_key"], key[..4]);
    assert_eq!(results["link"]["href"], format!("/api/v1/api-keys/{id}"));

    let path = format!("{KEYS}/{id}");
    let want = json!({
        "id": id, "label": "web shop", "short_key": key[..4],
        "grants": ["smtp/inject", "ip_pools/view"], "valid_ips": ["127.0.0.1", "2001:db8::/32"],
        "created_at": "2026-11-18T11:06:40Z", "expires_at": "2027-01-31T12:00:00Z",
    });
    assert_eq!(server.account.get(&path).await.unwrap().results(), &want);
    let list = server.account.get(KEYS).await.unwrap();
    assert_eq!(list.results()[1], want);
    assert!(!list.body.to_string().contains(key));
    assert_eq!(server.with_key(key).get("/api/v1/ip-pools").await.unwrap().status, 200);

    let body = json!({ "label": "shop", "grants": ["smtp/inject"] });
    assert_eq!(server.account.put(&path, body).await.unwrap().status, 200);
    assert_eq!(server.with_key(key).get("/api/v1/ip-pools").await.unwrap().status, 403);
    assert_eq!(server.account.delete(&path).await.unwrap().status, 204);
    for reply in [
        server.account.get(&path).await.unwrap(),
        server.account.delete(&path).await.unwrap(),
        server.account.put(&path, json!({ "label": "x" })).await.unwrap(),
        server.account.get(&format!("{KEYS}/abc")).await.unwrap(),
        server.account.get(&format!("{KEYS}/01")).await.unwrap(),
        server.account.get(&format!("{KEYS}/18446744073709551616")).await.unwrap(),
    ] {
        assert_eq!(reply.status, 404);
        assert_eq!(reply.body, json!({"errors": [{ "message": "API key not found." }]}));
    }
}

#[tokio::test]
async fn what_a_key_cannot_be_is_told_all_at_once() {
    let server = Server::start().await;
    let messages = async |body: Value| {
        let reply = server.account.post(KEYS, body).await.unwrap();
        assert_eq!(reply.status, 400, "{}", reply.body);
        let errors = reply.body["errors"].as_array().unwrap().clone();
        let text = |error: &Value| {
            (
                error["param"].as_str().unwrap().to_owned(),
                error["message"].as_str().unwrap().to_owned(),
            )
        };
        errors.iter().map(text).collect::<Vec<_>>()
    };
    let own = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(
        messages(json!({})).await,
        own(&[
            ("label", "`label` is a required field"),
            ("grants", "`grants` is a required field")
        ])
    );
    assert_eq!(
        messages(json!({
            "label": 7, "grants": "smtp/inject", "valid_ips": "::1", "expires_at": "soon"
        }))
        .await,
        own(&[
            ("label", "`label` must be a String"),
            ("grants", "`grants` must be an Array"),
            ("valid_ips", "`valid_ips` must be an Array"),
            ("expires_at", "`expires_at` must be a time like 2027-01-31T12:00:00Z"),
        ])
    );
    assert_eq!(
        messages(json!({
            "label": "a", "grants": ["smtp/everything"], "valid_ips": ["example.com"],
            "expires_at": "2026-01-01T00:00:00Z",
        }))
        .await,
        own(&[
            ("grants", "`grants` has an unknown grant"),
            ("valid_ips", "`valid_ips` must have IP addresses or networks like 192.0.2.0/24"),
            ("expires_at", "`expires_at` must be in the future"),
        ])
    );
}

#[tokio::test]
async fn a_key_of_a_subaccount_is_made_by_the_field_and_cannot_do_more_than_one() {
    let server = Server::start().await;
    let (number, _) = server.subaccount("Acme").await;
    let account = server.account.for_subaccount(number.into());
    let body = json!({ "label": "mta", "grants": ["smtp/inject"] });
    let reply = account.post(KEYS, body).await.unwrap();
    assert_eq!(reply.status, 200);
    let id = reply.results()["id"].as_str().unwrap();
    let row = account.get(&format!("{KEYS}/{id}")).await.unwrap();
    assert_eq!(row.results()["subaccount_id"], number);
    // The other one came with the subaccount.
    assert_eq!(account.get(KEYS).await.unwrap().results().as_array().unwrap().len(), 2);
    assert_eq!(server.account.get(KEYS).await.unwrap().results().as_array().unwrap().len(), 3);
    let primary = server.account.for_subaccount(0);
    assert_eq!(primary.get(KEYS).await.unwrap().results().as_array().unwrap().len(), 1);
    let foreign = primary.get(&format!("{KEYS}/{id}")).await.unwrap();
    assert_eq!(foreign.status, 404);
    assert_eq!(primary.delete(&format!("{KEYS}/{id}")).await.unwrap().status, 404);

    for grant in ["ip_pools/view", "api_keys/manage", "subaccount/manage"] {
        let body = json!({ "label": "mta", "grants": [grant] });
        let reply = account.post(KEYS, body).await.unwrap();
        let error = &reply.body["errors"][0];
        assert_eq!(reply.status, 400);
        assert_eq!(error["message"], "`grants` has a grant that a subaccount cannot have");
        assert_eq!(error["value"], grant);
        let reply =
            account.put(&format!("{KEYS}/{id}"), json!({ "grants": [grant] })).await.unwrap();
        assert_eq!(reply.status, 400);
    }
    let body = json!({ "label": "mta", "grants": ["smtp/inject"] });
    let reply = server.account.for_subaccount(77).post(KEYS, body).await.unwrap();
    assert_eq!(reply.status, 400);
}

#[tokio::test]
async fn nobody_gives_a_key_more_than_his_own_has() {
    let server = Server::start().await;
    let limited = server
        .client(0, &[Grant::ApiKeysManage, Grant::SubaccountsManage, Grant::SmtpInject])
        .await;
    let body = json!({ "label": "a", "grants": ["smtp/inject"] });
    let reply = limited.post(KEYS, body).await.unwrap();
    assert_eq!(reply.status, 200);
    let path = format!("{KEYS}/{}", reply.results()["id"].as_str().unwrap());
    let more = json!({ "label": "a", "grants": ["smtp/inject", "ip_pools/manage"] });
    assert_eq!(limited.post(KEYS, more.clone()).await.unwrap().status, 403);
    assert_eq!(limited.put(&path, more).await.unwrap().status, 403);
    let body = json!({ "name": "B", "key_label": "b", "key_grants": ["sending_domains/manage"] });
    assert_eq!(limited.post(SUBACCOUNTS, body).await.unwrap().status, 403);
    let total = server.account.get("/api/v1/subaccounts/summary").await.unwrap();
    assert_eq!(total.results(), &json!({ "total": 0 }));
}

#[tokio::test]
async fn a_subaccount_is_made_with_a_key_and_changed() {
    let server = Server::start().await;
    let account = &server.account;
    account.post("/api/v1/ip-pools", json!({ "name": "Bulk" })).await.unwrap();
    let body = json!({
        "name": "Acme", "key_label": "Acme's MTA", "key_grants": ["smtp/inject", "sending_domains/manage"],
        "key_valid_ips": ["127.0.0.1"], "ip_pool": "bulk", "options": { "deliverability": true },
    });
    let reply = account.post(SUBACCOUNTS, body).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.body);
    let results = reply.results();
    let key = results["key"].as_str().unwrap();
    assert_eq!(
        results,
        &json!({ "subaccount_id": 1, "key": key, "label": "Acme's MTA", "short_key": key[..4] })
    );
    let want = json!({
        "id": 1, "name": "Acme", "status": "active", "compliance_status": "active", "ip_pool": "bulk",
    });
    assert_eq!(account.get("/api/v1/subaccounts/1").await.unwrap().results(), &want);
    assert_eq!(account.get(SUBACCOUNTS).await.unwrap().body, json!({ "results": [want] }));

    let body = json!({ "name": "Bare", "setup_api_key": false });
    let reply = account.post(SUBACCOUNTS, body).await.unwrap();
    assert_eq!(reply.results(), &json!({ "subaccount_id": 2 }));

    let body = json!({ "name": "Acme Ltd", "ip_pool": "", "policy": { "on_unsigned": "reject" } });
    let reply = account.put("/api/v1/subaccounts/1", body).await.unwrap();
    let done = json!({ "message": "Successfully updated subaccount information" });
    assert_eq!((reply.status, reply.results()), (200, &done));
    let want = json!({
        "id": 1, "name": "Acme Ltd", "status": "active", "compliance_status": "active",
        "policy": { "on_unsigned": "reject" },
    });
    assert_eq!(account.get("/api/v1/subaccounts/1").await.unwrap().results(), &want);

    for id in ["0", "3", "01", "x", "-1", "4294967296"] {
        for reply in [
            account.get(&format!("{SUBACCOUNTS}/{id}")).await.unwrap(),
            account.put(&format!("{SUBACCOUNTS}/{id}"), json!({ "name": "x" })).await.unwrap(),
        ] {
            let text = format!("Subaccount {id} does not exist");
            assert_eq!((reply.status, reply.error_message()), (404, text.as_str()));
        }
    }
}

#[tokio::test]
async fn what_a_subaccount_cannot_be_is_told_all_at_once() {
    let server = Server::start().await;
    let own =
        server.account.post("/api/v1/ip-pools", json!({ "name": "closed", "subaccounts": [] }));
    assert_eq!(own.await.unwrap().status, 200);
    let cases: [(Value, &[&str]); 9] = [
        (
            json!({}),
            &[
                "`name` is a required field",
                "`key_label` is a required field",
                "`key_grants` is a required field",
            ],
        ),
        (json!({ "setup_api_key": false }), &["`name` is a required field"]),
        (json!({ "name": "a", "setup_api_key": "no" }), &["`setup_api_key` must be a Boolean"]),
        (
            json!({ "name": "x".repeat(65), "setup_api_key": false }),
            &["name must be 64 characters or less"],
        ),
        (
            json!({ "name": "a", "setup_api_key": false, "ip_pool": "no pool of this long name" }),
            &[
                "ip_pool must be 20 characters or less",
                "ip_pool must be alphanumeric and underscore",
            ],
        ),
        (
            json!({ "name": "a", "setup_api_key": false, "ip_pool": "none" }),
            &["ip_pool does not exist"],
        ),
        (
            json!({ "name": "a", "setup_api_key": false, "ip_pool": "closed" }),
            &["ip_pool is not open to this subaccount; name it in the pool's `subaccounts`"],
        ),
        (
            json!({ "name": "a", "key_label": "k", "key_grants": ["smtp/inject"], "key_valid_ips": "x" }),
            &["`key_valid_ips` must be an Array"],
        ),
        (
            json!({ "name": "a", "setup_api_key": false, "policy": { "on_no_tenant": "pass" } }),
            &["policy: on_no_tenant can be set for the whole platform only"],
        ),
    ];
    for (body, want) in cases {
        let reply = server.account.post(SUBACCOUNTS, body.clone()).await.unwrap();
        let errors = reply.body["errors"].as_array().unwrap();
        let messages: Vec<&str> =
            errors.iter().map(|error| error["message"].as_str().unwrap()).collect();
        assert_eq!((reply.status, messages.as_slice()), (400, want), "{body}");
        assert!(errors.iter().all(|error| error["param"].is_string()), "{}", reply.body);
    }
    assert_eq!(server.account.get(SUBACCOUNTS).await.unwrap().results(), &json!([]));
}

#[tokio::test]
async fn a_terminated_subaccount_stays_terminated() {
    let server = Server::start().await;
    let (number, _) = server.subaccount("Acme").await;
    let path = format!("{SUBACCOUNTS}/{number}");
    for (status, want) in [
        ("suspended", 200),
        ("active", 200),
        ("deleted", 400),
        ("terminated", 200),
        ("active", 400),
        ("suspended", 400),
        ("terminated", 200),
    ] {
        let reply = server.account.put(&path, json!({ "status": status })).await.unwrap();
        assert_eq!(reply.status, want, "{status}");
    }
    let reply = server.account.get(&path).await.unwrap();
    assert_eq!(reply.results()["status"], "terminated");
}

#[tokio::test]
async fn subaccounts_are_listed_in_pages_when_asked() {
    let server = Server::start().await;
    for number in 0..30 {
        let name = format!("Customer {}", 30 - number);
        let body = json!({ "name": name, "setup_api_key": false });
        server.account.post(SUBACCOUNTS, body).await.unwrap();
    }
    let all = server.account.get(SUBACCOUNTS).await.unwrap();
    assert_eq!(all.results().as_array().unwrap().len(), 30);
    assert!(all.body.get("total_count").is_none());

    let ids = |body: &Value| {
        let rows = body["results"].as_array().unwrap().iter();
        rows.map(|row| row["id"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let first = server.account.get(&format!("{SUBACCOUNTS}?cursor=initial")).await.unwrap();
    assert_eq!(ids(&first.body), (1..=25).collect::<Vec<_>>());
    assert_eq!(first.body["total_count"], 30);
    let next = first.body["links"]["next"].as_str().unwrap();
    let second = server.account.get(next).await.unwrap();
    assert_eq!(ids(&second.body), (26..=30).collect::<Vec<_>>());
    assert_eq!(second.body["links"], json!({}));

    let cases: [(&str, &[u64]); 6] = [
        ("ids=3,1,99", &[1, 3]),
        ("name=customer%2030", &[1]),
        ("status=suspended", &[]),
        ("per_page=2&order=desc", &[30, 29]),
        ("per_page=2&sort_by=name", &[30, 21]),
        ("cursor=28&per_page=5&status=active", &[29, 30]),
    ];
    for (query, want) in cases {
        let reply = server.account.get(&format!("{SUBACCOUNTS}?{query}")).await.unwrap();
        assert_eq!(ids(&reply.body), want, "{query}");
    }
    for query in
        ["per_page=0", "per_page=101", "cursor=x", "order=up", "sort_by=x", "ids=a", "status=x"]
    {
        let reply = server.account.get(&format!("{SUBACCOUNTS}?{query}")).await.unwrap();
        assert_eq!(reply.status, 400, "{query}");
    }
}

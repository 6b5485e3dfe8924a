//! Who may call what.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postseal_engine::{Grant, Grants, TenantId};
use serde_json::json;

use crate::harness::{Server, call, endpoints, raw, store_key};

#[tokio::test]
async fn without_a_right_key_every_endpoint_answers_401_and_nothing_more() {
    let server = Server::start().await;
    let key = &server.account_key;
    let wrong = [
        String::new(),
        "0".repeat(40),
        format!("Bearer {key}"),
        format!("Basic {key}"),
        format!("Basic {}", STANDARD.encode(format!("{key}:password"))),
        key.to_uppercase(),
        format!("{key}0"),
        key[..39].to_owned(),
    ];
    for (method, path, body, _) in endpoints() {
        for wrong in &wrong {
            let reply = call(&server.with_key(wrong), method, path, body.clone()).await;
            let want = json!({"errors": [{"message": "Unauthorized."}]});
            assert_eq!((reply.status, &reply.body), (401, &want), "{method} {path} {wrong}");
        }
        let json = [("content-type", "application/json")];
        let (status, _, body) = raw(&server, method, path, &json, "{}").await;
        assert_eq!((status, &body["errors"][0]["message"]), (401, &json!("Unauthorized.")));
    }
}

#[tokio::test]
async fn a_key_is_taken_bare_and_as_the_user_of_basic() {
    let server = Server::start().await;
    let key = &server.account_key;
    let basic = format!("Basic {}", STANDARD.encode(format!("{key}:")));
    for authorization in [key, &basic] {
        let reply = server.with_key(authorization).get("/api/v1/ip-pools").await.unwrap();
        assert_eq!(reply.status, 200, "{authorization}");
    }
}

#[tokio::test]
async fn each_endpoint_needs_its_grant_and_no_other() {
    let server = Server::start().await;
    for (method, path, body, grants) in endpoints() {
        let others: Vec<Grant> =
            Grant::ALL.iter().copied().filter(|grant| !grants.contains(grant)).collect();
        let reply = call(&server.client(0, &others).await, method, path, body.clone()).await;
        let want = json!({"errors": [{"message": "Forbidden."}]});
        assert_eq!((reply.status, &reply.body), (403, &want), "{method} {path}");
        for grant in grants {
            // Making a key takes a caller who has the grants that he gives away.
            let held = [*grant, Grant::SmtpInject];
            let reply = call(&server.client(0, &held).await, method, path, body.clone()).await;
            assert!(
                matches!(reply.status, 200 | 204 | 404),
                "{method} {path} {grant}: {} {}",
                reply.status,
                reply.body
            );
            // The next grant does the same once more.
            let cleaner = server.account.delete("/api/v1/sending-domains/new.test");
            cleaner.await.unwrap();
            server.account.delete("/api/v1/ip-pools/new").await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_grant_to_read_changes_nothing() {
    let server = Server::start().await;
    let reader = server.client(0, &[Grant::SendingDomainsView, Grant::IpPoolsView]).await;
    assert_eq!(reader.get("/api/v1/sending-domains").await.unwrap().status, 200);
    let body = json!({ "domain": "a.test" });
    assert_eq!(reader.post("/api/v1/sending-domains", body).await.unwrap().status, 403);
    assert_eq!(reader.post("/api/v1/ip-pools", json!({ "name": "a" })).await.unwrap().status, 403);
}

#[tokio::test]
async fn a_key_of_a_subaccount_gets_at_its_domains_and_at_nothing_of_the_account() {
    let server = Server::start().await;
    let (number, _) = server.subaccount("Acme").await;
    let everything = store_key(&server.store, TenantId::new(number), Grants::all(), &[]).await;
    let client = server.with_key(&everything);
    for (method, path, body, _) in endpoints() {
        let reply = call(&client, method, path, body).await;
        if path.starts_with("/api/v1/sending-domains") {
            assert!(matches!(reply.status, 200 | 404), "{method} {path}: {}", reply.body);
        } else {
            assert_eq!(reply.status, 403, "{method} {path}: {}", reply.body);
        }
    }
}

#[tokio::test]
async fn a_key_may_be_bound_to_addresses_and_to_a_time() {
    let server = Server::start().await;
    let cases: [(&[&str], u16); 5] = [
        (&[], 200),
        (&["127.0.0.1"], 200),
        (&["192.0.2.1", "127.0.0.0/8"], 200),
        (&["192.0.2.1"], 401),
        (&["::1"], 401),
    ];
    for (valid_ips, want) in cases {
        let key = store_key(&server.store, TenantId::PRIMARY, Grants::all(), valid_ips).await;
        let reply = server.with_key(&key).get("/api/v1/ip-pools").await.unwrap();
        assert_eq!(reply.status, want, "{valid_ips:?}");
    }

    let body = json!({
        "label": "short", "grants": ["ip_pools/view"], "expires_at": "2026-11-18T12:00:00Z"
    });
    let reply = server.account.post("/api/v1/api-keys", body).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.body);
    let client = server.with_key(reply.results()["key"].as_str().unwrap());
    assert_eq!(client.get("/api/v1/ip-pools").await.unwrap().status, 200);
    server.wait(3600);
    assert_eq!(client.get("/api/v1/ip-pools").await.unwrap().status, 401);
}

#[tokio::test]
async fn a_suspended_subaccount_only_reads() {
    let server = Server::start().await;
    let (number, client) = server.subaccount("Acme").await;
    server.claim(&client, "a.test").await;
    for status in ["suspended", "terminated"] {
        let path = format!("/api/v1/subaccounts/{number}");
        let reply = server.account.put(&path, json!({ "status": status })).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert_eq!(client.get("/api/v1/sending-domains/a.test").await.unwrap().status, 200);
        assert_eq!(client.delete("/api/v1/sending-domains/a.test").await.unwrap().status, 403);
        let body = json!({ "domain": "b.test" });
        assert_eq!(client.post("/api/v1/sending-domains", body).await.unwrap().status, 403);
    }
    // The account still can, on its behalf.
    let account = server.account.for_subaccount(number.into());
    assert_eq!(account.delete("/api/v1/sending-domains/a.test").await.unwrap().status, 204);
}

#[tokio::test]
async fn a_revoked_key_is_unknown_at_once() {
    let server = Server::start().await;
    let body = json!({ "label": "a", "grants": ["ip_pools/view"] });
    let reply = server.account.post("/api/v1/api-keys", body).await.unwrap();
    let client = server.with_key(reply.results()["key"].as_str().unwrap());
    assert_eq!(client.get("/api/v1/ip-pools").await.unwrap().status, 200);
    let path = format!("/api/v1/api-keys/{}", reply.results()["id"].as_str().unwrap());
    assert_eq!(server.account.delete(&path).await.unwrap().status, 204);
    assert_eq!(client.get("/api/v1/ip-pools").await.unwrap().status, 401);
}

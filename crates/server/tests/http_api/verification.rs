//! Verifying: what the DNS says, who gets the domain, and what signing learns of it.

use postseal_engine::{Revision, Snapshot, TenantId};
use serde_json::{Value, json};

use crate::harness::{Pair, Server, WILD, add_with_pair, error, name};

/// Adds a domain with a key made by the server; gives the record's name and text.
async fn add(client: &postseal_testkit::api_client::ApiClient, domain: &str) -> (String, String) {
    let body = json!({ "domain": domain });
    let reply = client.post("/api/v1/sending-domains", body).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.body);
    let dns = &reply.results()["dkim"]["dns"];
    let text = |name: &str| dns[name].as_str().unwrap().to_owned();
    (text("dkim_record"), text("dkim_value"))
}

fn dkim_error(results: &Value) -> &str {
    results["dns"]["dkim_error"].as_str().unwrap_or_default()
}

async fn snapshot(server: &Server) -> Snapshot {
    let (revision, rows) = server.store.load_all().await.unwrap();
    assert!(revision > Revision::ZERO);
    Snapshot::load(revision, rows)
}

/// Says whether mail of the tenant is signed with the domain.
async fn signs(server: &Server, tenant: u32, domain: &str) -> bool {
    let snapshot = snapshot(server).await;
    let row = snapshot.sending_domain(TenantId::new(tenant), &name(domain));
    row.is_some_and(|row| row.signing_keys().is_some())
}

#[tokio::test]
async fn a_domain_signs_only_after_its_exact_record_was_seen() {
    let server = Server::start().await;
    let (record, value) = add(&server.account, "a.test").await;

    let results = server.account.verify_domain("a.test").await.unwrap();
    assert_eq!(results["dkim_status"], "invalid");
    assert_eq!(results["ownership_verified"], false);
    assert_eq!(results["dns"]["dkim_record"], json!(value));
    let text = dkim_error(&results);
    assert!(
        text.starts_with("DNS record not found. Please add the TXT record and try again."),
        "{text}"
    );
    assert!(text.contains(&record), "{text}");
    assert!(!signs(&server, 0, "a.test").await);

    let wrong = [
        Pair::rsa().record,
        format!("{}x", &value[..value.len() - 40]),
        "v=DKIM1; k=rsa".to_owned(),
        "v=DKIM1; k=rsa; p=".to_owned(),
        format!("{value}; h=sha1"),
        format!("\"{value}\""),
    ];
    for text in wrong {
        server.dns.set_txt(&record, &text);
        let results = server.account.verify_domain("a.test").await.unwrap();
        assert_eq!(results["dkim_status"], "invalid", "{text}");
        assert!(!dkim_error(&results).is_empty() && !signs(&server, 0, "a.test").await, "{text}");
        assert!(results["dns"]["findings"][0]["advice"].is_string(), "{results}");
    }
    server.dns.set_txt_records(&record, &[&value, "v=spf1 -all"]);
    let results = server.account.verify_domain("a.test").await.unwrap();
    assert_eq!(results["dkim_status"], "invalid");
    server.dns.set_servfail(&record);
    let results = server.account.verify_domain("a.test").await.unwrap();
    assert_eq!(results["dkim_status"], "invalid");
    assert!(!dkim_error(&results).is_empty());

    // SparkPost's own form of the record has `h=sha256`.
    server.dns.set_txt(&record, &value.replace("; p=", "; h=sha256; p="));
    let results = server.account.verify_domain("a.test").await.unwrap();
    assert_eq!(results["dkim_status"], "valid", "{results}");
    assert_eq!(results["ownership_verified"], true);
    assert_eq!(results["compliance_status"], "valid");
    assert!(results["dns"].get("dkim_error").is_none());
    assert!(signs(&server, 0, "a.test").await);

    let reply = server.account.get("/api/v1/sending-domains/a.test").await.unwrap();
    assert_eq!(reply.results()["status"]["dkim_status"], "valid");
    server.account.delete("/api/v1/sending-domains/a.test").await.unwrap();
    assert!(!signs(&server, 0, "a.test").await);
}

#[tokio::test]
async fn the_record_may_stand_behind_an_alias() {
    let server = Server::start().await;
    let (record, value) = add(&server.account, "a.test").await;
    server.dns.set_cname(&record, "k1.esp.test");
    let results = server.account.verify_domain("a.test").await.unwrap();
    assert_eq!(results["dkim_status"], "invalid");
    server.dns.set_txt("k1.esp.test", &value);
    let results = server.account.verify_domain("a.test").await.unwrap();
    assert_eq!(results["dkim_status"], "valid", "{results}");
}

#[tokio::test]
async fn a_record_that_a_wildcard_gives_proves_nothing() {
    let server = Server::start().await;
    let (_, value) = add(&server.account, WILD).await;
    server.wildcard.lock().unwrap().clone_from(&value);
    let results = server.account.verify_domain(WILD).await.unwrap();
    assert_eq!(results["dkim_status"], "invalid", "{results}");
    assert_eq!(results["ownership_verified"], false);
    assert!(dkim_error(&results).contains("wildcard"), "{results}");
    assert!(!signs(&server, 0, WILD).await);
}

#[tokio::test]
async fn unverified_claims_exclude_nobody_and_the_first_to_verify_has_the_domain() {
    let server = Server::start().await;
    let (_, one) = server.subaccount("One").await;
    let (two, client_two) = server.subaccount("Two").await;
    let (three, client_three) = server.subaccount("Three").await;
    add(&server.account, "a.test").await;
    add(&one, "a.test").await;
    let (record, value) = add(&client_two, "a.test").await;

    server.dns.set_txt(&record, &value);
    // The record of one tenant proves nothing for another.
    for client in [&server.account, &one] {
        let results = client.verify_domain("a.test").await.unwrap();
        assert_eq!(
            (&results["dkim_status"], &results["ownership_verified"]),
            (&json!("invalid"), &json!(false))
        );
    }
    let results = client_two.verify_domain("a.test").await.unwrap();
    assert_eq!(results["dkim_status"], "valid");

    let text = "Sending Domain a.test already verified by another account";
    let conflict = (409, "1602", "resource conflict", text);
    let verify = "/api/v1/sending-domains/a.test/verify";
    for client in [&server.account, &one] {
        let reply = client.post(verify, json!({ "dkim_verify": true })).await.unwrap();
        assert_eq!(error(&reply), conflict);
    }
    for spelling in ["a.test", "A.TEST", "a.test."] {
        let body = json!({ "domain": spelling });
        let reply = client_three.post("/api/v1/sending-domains", body).await.unwrap();
        assert_eq!(error(&reply), conflict, "{spelling}");
    }
    // A parent, a child and a sibling are other domains.
    for domain in ["b.a.test", "aa.test", "b.test"] {
        server.claim(&client_three, domain).await;
    }
    assert!(signs(&server, two, "a.test").await);
    assert!(!signs(&server, three, "a.test").await && !signs(&server, 0, "a.test").await);

    client_two.delete("/api/v1/sending-domains/a.test").await.unwrap();
    let (record, value) = add(&client_three, "a.test").await;
    server.dns.set_txt(&record, &value);
    let results = client_three.verify_domain("a.test").await.unwrap();
    assert_eq!(results["dkim_status"], "valid");
    assert!(signs(&server, three, "a.test").await && !signs(&server, two, "a.test").await);
}

#[tokio::test]
async fn two_who_verify_one_record_at_once_do_not_both_get_the_domain() {
    let server = Server::start().await;
    let (_, one) = server.subaccount("One").await;
    let (_, two) = server.subaccount("Two").await;
    // Both have the private key, as where an ESP lets two customers use its own.
    let pair = Pair::rsa();
    for client in [&one, &two] {
        assert_eq!(add_with_pair(client, "a.test", &pair, "s1").await.status, 200);
    }
    server.dns.set_txt("s1._domainkey.a.test", &pair.record);
    let verify = "/api/v1/sending-domains/a.test/verify";
    let body = json!({ "dkim_verify": true });
    let (first, second) = tokio::join!(one.post(verify, body.clone()), two.post(verify, body));
    let mut statuses = [first.unwrap().status, second.unwrap().status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
}

#[tokio::test]
async fn a_key_falls_when_two_looks_find_its_record_gone_and_returns_after_caches_have_forgotten() {
    let server = Server::start().await;
    let (record, value) = add(&server.account, "a.test").await;
    server.dns.set_txt(&record, &value);
    assert_eq!(server.account.verify_domain("a.test").await.unwrap()["dkim_status"], "valid");

    // A server that fails is a remark.
    server.dns.set_servfail(&record);
    let results = server.account.verify_domain("a.test").await.unwrap();
    assert_eq!(results["dkim_status"], "valid");
    assert!(!dkim_error(&results).is_empty());

    server.dns.remove(&record);
    let results = server.account.verify_domain("a.test").await.unwrap();
    assert_eq!(results["dkim_status"], "valid");
    assert!(dkim_error(&results).contains("goes on signing until another look"), "{results}");
    server.wait(299);
    assert_eq!(server.account.verify_domain("a.test").await.unwrap()["dkim_status"], "valid");
    assert!(signs(&server, 0, "a.test").await);
    server.wait(1);
    let results = server.account.verify_domain("a.test").await.unwrap();
    assert_eq!(results["dkim_status"], "invalid");
    assert_eq!(results["ownership_verified"], true);
    assert!(!signs(&server, 0, "a.test").await);

    server.dns.set_txt(&record, &value);
    let results = server.account.verify_domain("a.test").await.unwrap();
    assert_eq!(results["dkim_status"], "pending", "{results}");
    assert!(dkim_error(&results).contains("another look, 60 seconds from now"), "{results}");
    assert!(!signs(&server, 0, "a.test").await);
    server.wait(60);
    assert_eq!(server.account.verify_domain("a.test").await.unwrap()["dkim_status"], "valid");
    assert!(signs(&server, 0, "a.test").await);
}

#[tokio::test]
async fn a_selector_that_had_another_record_needs_a_second_look() {
    let server = Server::start().await;
    let (pair, former) = (Pair::rsa(), Pair::rsa());
    add_with_pair(&server.account, "a.test", &pair, "s1").await;
    server.dns.set_txt("s1._domainkey.a.test", &former.record);
    assert_eq!(server.account.verify_domain("a.test").await.unwrap()["dkim_status"], "invalid");
    server.dns.set_txt("s1._domainkey.a.test", &pair.record);
    let results = server.account.verify_domain("a.test").await.unwrap();
    assert_eq!(results["dkim_status"], "pending", "{results}");
    assert!(!signs(&server, 0, "a.test").await);
    server.wait(u64::from(postseal_testkit::dns::TTL));
    assert_eq!(server.account.verify_domain("a.test").await.unwrap()["dkim_status"], "valid");
}

#[tokio::test]
async fn other_ways_to_verify_are_answered_honestly() {
    let server = Server::start().await;
    server.claim(&server.account, "a.test").await;
    let verify = "/api/v1/sending-domains/a.test/verify";
    for body in [
        json!({ "cname_verify": true }),
        json!({ "mx_verify": true, "spf_verify": true }),
        json!({ "postmaster_at_verify": true }),
        json!({ "abuse_at_verify": true }),
        json!({ "abuse_at_token": "x" }),
        json!({ "verification_mailbox_verify": true, "verification_mailbox": "info" }),
    ] {
        let reply = server.account.post(verify, body.clone()).await.unwrap();
        let results = reply.results();
        assert_eq!((reply.status, &results["ownership_verified"]), (200, &json!(false)), "{body}");
        for (field, status) in results.as_object().unwrap() {
            if field.ends_with("_status") && field != "compliance_status" {
                assert_eq!(status, "unverified", "{body} {field}");
            }
        }
        assert_eq!(results.get("dns").is_some(), body.get("cname_verify").is_some(), "{body}");
    }
    let results = server.account.verify_domain("a.test").await.unwrap();
    assert_eq!(results["dkim_status"], "unverified");
    assert!(dkim_error(&results).starts_with("The domain has no DKIM key."), "{results}");

    let cases = [
        (
            json!({ "verification_mailbox_verify": true }),
            "1400",
            "verification_mailbox field required to verify mailbox",
        ),
        (
            json!({ "verification_mailbox_verify": true, "verification_mailbox": "Postmaster" }),
            "1300",
            "verification_mailbox field cannot be 'postmaster' or 'abuse'",
        ),
    ];
    for (body, code, text) in cases {
        let reply = server.account.post(verify, body).await.unwrap();
        assert_eq!(error(&reply), (422, code, "required field is missing", text));
    }
}

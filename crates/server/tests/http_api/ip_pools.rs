//! IP pools and the platform's settings.

use postseal_testkit::api_client::ApiReply;
use serde_json::{Value, json};

use crate::harness::{Pair, Server};

const PATH: &str = "/api/v1/ip-pools";

/// The status and the errors, which have one sentence and nothing else here.
fn plain(reply: &ApiReply) -> (u16, &str) {
    let errors = reply.body["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 1, "{}", reply.body);
    assert_eq!(errors[0].as_object().unwrap().len(), 1, "{}", reply.body);
    (reply.status, errors[0]["message"].as_str().unwrap())
}

#[tokio::test]
async fn a_pool_is_made_read_changed_and_deleted() {
    let server = Server::start().await;
    server.verified(&server.account, "mail.test", &Pair::rsa()).await;
    let account = &server.account;
    let body = json!({ "name": "Marketing IP Pool", "signing_domain": "Mail.test" });
    let reply = account.post(PATH, body).await.unwrap();
    assert_eq!((reply.status, reply.results()), (200, &json!({ "id": "marketing_ip_pool" })));

    let path = format!("{PATH}/marketing_ip_pool");
    let want = json!({
        "id": "marketing_ip_pool", "name": "Marketing IP Pool", "signing_domain": "mail.test",
        "ips": [],
    });
    for path in [path.clone(), format!("{PATH}/Marketing_IP_Pool")] {
        assert_eq!(account.get(&path).await.unwrap().results(), &want);
    }
    let reply = account.get(PATH).await.unwrap();
    assert_eq!(reply.results(), &json!([{ "id": "default", "name": "default", "ips": [] }, want]));

    let body = json!({ "name": "Sales", "fbl_signing_domain": "mail.test" });
    let reply = account.put(&path, body).await.unwrap();
    let want = json!({
        "id": "marketing_ip_pool", "name": "Sales", "signing_domain": "mail.test",
        "fbl_signing_domain": "mail.test",
    });
    assert_eq!((reply.status, reply.results()), (200, &want));
    let body = json!({ "name": "Sales", "signing_domain": "", "fbl_signing_domain": "" });
    let reply = account.put(&path, body).await.unwrap();
    assert_eq!(reply.results(), &json!({ "id": "marketing_ip_pool", "name": "Sales" }));

    assert_eq!(account.delete(&path).await.unwrap().status, 204);
    assert_eq!(plain(&account.get(&path).await.unwrap()), (404, "IP pool not found."));
    let gone = (404, "IP Pool marketing_ip_pool does not exist.");
    assert_eq!(plain(&account.delete(&path).await.unwrap()), gone);
    assert_eq!(plain(&account.put(&path, json!({ "name": "a" })).await.unwrap()), gone);
}

#[tokio::test]
async fn names_make_ids_that_do_not_collide() {
    let server = Server::start().await;
    let long = "x".repeat(65);
    let cases: [(Value, u16, &str); 9] = [
        (json!({ "name": "My Pool 2" }), 200, "my_pool_2"),
        (json!({ "name": "my-pool.2" }), 409, "IP Pool my_pool_2 already exists."),
        (json!({ "name": "Default" }), 409, "IP Pool default already exists."),
        (json!({ "name": "Grün" }), 200, "gr_n"),
        (json!({}), 422, "field 'name' is required"),
        (json!({ "name": " " }), 422, "field 'name' is required"),
        (json!({ "name": long }), 400, "name must be 64 characters or less"),
        (
            json!({ "name": 7 }),
            422,
            "field 'name' is of type 'number', but needs to be of type 'string'",
        ),
        (
            json!({ "name": "a", "signing_domain": ["mail.test"] }),
            422,
            "field 'signing_domain' is of type 'json_array', but needs to be of type 'string'",
        ),
    ];
    for (body, status, text) in cases {
        let reply = server.account.post(PATH, body.clone()).await.unwrap();
        if status == 200 {
            assert_eq!((reply.status, reply.results()), (200, &json!({ "id": text })), "{body}");
        } else {
            assert_eq!(plain(&reply), (status, text), "{body}");
        }
    }
}

#[tokio::test]
async fn the_pool_default_is_reserved() {
    let server = Server::start().await;
    let path = format!("{PATH}/default");
    for body in [
        json!({ "name": "default" }),
        json!({}),
        json!({ "signing_domain": "mail.test" }),
        json!({ "name": "x", "next_hop": "postfix-1" }),
    ] {
        let reply = server.account.put(&path, body.clone()).await.unwrap();
        let want = (400, "IP Pool default is reserved and cannot be updated.");
        assert_eq!(plain(&reply), want, "{body}");
    }
    for id in ["default", "DEFAULT"] {
        let reply = server.account.delete(&format!("{PATH}/{id}")).await.unwrap();
        assert_eq!(plain(&reply), (400, "IP Pool default is reserved."));
    }
    // What Postseal adds can be set on it: mail that names no pool needs a next hop too.
    let reply = server.account.put(&path, json!({ "next_hop": "postfix-1" })).await.unwrap();
    let want = json!({ "id": "default", "name": "default", "next_hop": "postfix-1" });
    assert_eq!((reply.status, reply.results()), (200, &want));
}

#[tokio::test]
async fn a_pool_signs_with_a_valid_domain_of_the_account_or_of_its_only_tenant() {
    let server = Server::start().await;
    let pair = Pair::rsa();
    let (one, client_one) = server.subaccount("One").await;
    let (two, _) = server.subaccount("Two").await;
    server.verified(&server.account, "esp.test", &pair).await;
    server.verified(&client_one, "one.test", &pair).await;
    server.claim(&server.account, "claimed.test").await;

    let mut number = 0;
    for (domain, subaccounts, want) in [
        ("esp.test", None, true),
        ("esp.test", Some(json!([one])), true),
        ("esp.test", Some(json!([])), true),
        ("one.test", Some(json!([one])), true),
        ("one.test", None, false),
        ("one.test", Some(json!([two])), false),
        ("one.test", Some(json!([one, two])), false),
        ("one.test", Some(json!([0, one])), false),
        ("claimed.test", None, false),
        ("unknown.test", None, false),
        ("no domain", None, false),
    ] {
        for field in ["signing_domain", "fbl_signing_domain"] {
            number += 1;
            let mut body = json!({ "name": format!("p{number}"), (field): domain });
            if let Some(subaccounts) = &subaccounts {
                body["subaccounts"] = subaccounts.clone();
            }
            let reply = server.account.post(PATH, body.clone()).await.unwrap();
            if want {
                assert_eq!(reply.status, 200, "{body} {}", reply.body);
                continue;
            }
            let text = format!(
                "{field} {domain} is not a DKIM-verified sending domain of the account, nor of the \
                 one subaccount to which alone the pool is granted."
            );
            assert_eq!(plain(&reply), (400, text.as_str()), "{body}");
            let made = server.account.get(&format!("{PATH}/p{number}")).await.unwrap();
            assert_eq!(made.status, 404, "{body}");
        }
    }

    // Opening the pool to others takes the domain's ground away.
    let body = json!({ "name": "shared", "signing_domain": "one.test", "subaccounts": [one] });
    assert_eq!(server.account.post(PATH, body).await.unwrap().status, 200);
    let path = format!("{PATH}/shared");
    for body in [
        json!({ "name": "shared", "subaccounts": null }),
        json!({ "name": "shared", "subaccounts": [one, two] }),
    ] {
        assert_eq!(server.account.put(&path, body.clone()).await.unwrap().status, 400, "{body}");
    }
    let body = json!({ "name": "shared", "subaccounts": null, "signing_domain": "" });
    let reply = server.account.put(&path, body).await.unwrap();
    assert_eq!(reply.results(), &json!({ "id": "shared", "name": "shared" }));
}

#[tokio::test]
async fn a_pool_that_is_read_and_written_back_keeps_a_domain_that_lost_its_record() {
    let server = Server::start().await;
    server.verified(&server.account, "mail.test", &Pair::rsa()).await;
    let body = json!({ "name": "p", "signing_domain": "mail.test" });
    server.account.post(PATH, body.clone()).await.unwrap();
    server.account.delete("/api/v1/sending-domains/mail.test").await.unwrap();
    let path = format!("{PATH}/p");
    assert_eq!(server.account.put(&path, body).await.unwrap().status, 200);
    let body = json!({ "name": "p", "fbl_signing_domain": "mail.test" });
    assert_eq!(server.account.put(&path, body).await.unwrap().status, 400);
}

#[tokio::test]
async fn postseals_own_fields_are_checked_and_read_back() {
    let server = Server::start().await;
    let (one, _) = server.subaccount("One").await;
    let own = json!({
        "next_hop": "postfix-1", "subaccounts": [one, 0, one], "policy": { "on_unsigned": "reject" },
    });
    let mut body = own;
    body["name"] = json!("p");
    assert_eq!(server.account.post(PATH, body).await.unwrap().status, 200);
    let want = json!({
        "id": "p", "name": "p", "next_hop": "postfix-1", "subaccounts": [0, one],
        "policy": { "on_unsigned": "reject" }, "ips": [],
    });
    let path = format!("{PATH}/p");
    assert_eq!(server.account.get(&path).await.unwrap().results(), &want);

    let cases = [
        (json!({ "next_hop": "postfix-2" }), "Next hop postfix-2 is not in the configuration."),
        (json!({ "subaccounts": [99] }), "Subaccount 99 does not exist."),
        (json!({ "subaccounts": [4_294_967_296_u64] }), "Subaccount 4294967296 does not exist."),
        (
            json!({ "policy": { "queue_lifetime": "3d" } }),
            "policy: queue_lifetime can be set for the whole platform only",
        ),
    ];
    for (mut body, text) in cases {
        body["name"] = json!("p");
        assert_eq!(plain(&server.account.put(&path, body).await.unwrap()), (400, text));
    }
    let body = json!({ "name": "p", "policy": { "on_unsigned": "perhaps" } });
    let reply = server.account.put(&path, body).await.unwrap();
    assert_eq!(plain(&reply).0, 400);
    let body = json!({ "name": "p", "subaccounts": ["1"] });
    let reply = server.account.put(&path, body).await.unwrap();
    assert_eq!(
        plain(&reply),
        (422, "field 'subaccounts[0]' is of type 'string', but needs to be of type 'number'")
    );
    assert_eq!(server.account.get(&path).await.unwrap().results(), &want);
}

#[tokio::test]
async fn overflow_pools_do_not_chain() {
    let server = Server::start().await;
    let make = async |name: &str, overflow: &str| {
        let body = json!({ "name": name, "auto_warmup_overflow_pool": overflow });
        server.account.post(PATH, body).await.unwrap()
    };
    assert_eq!(make("a", "shared pool").await.status, 200);
    assert_eq!(make("b", "default").await.status, 200);
    let reply = make("c", "none").await;
    assert_eq!(plain(&reply), (400, "Auto Warmup Overflow Pool none does not exist."));
    let reply = make("c", "a").await;
    assert_eq!(plain(&reply), (400, "a has an overflow pool and cannot be an overflow pool"));
    assert_eq!(make("plain", "").await.status, 200);
    assert_eq!(make("c", "plain").await.status, 200);
    let body = json!({ "name": "plain", "auto_warmup_overflow_pool": "shared pool" });
    let reply = server.account.put(&format!("{PATH}/plain"), body).await.unwrap();
    assert_eq!(plain(&reply), (400, "plain is an overflow pool and cannot have an overflow pool"));
}

#[tokio::test]
async fn the_platform_signs_with_valid_domains_of_the_primary_account() {
    let server = Server::start().await;
    let pair = Pair::rsa();
    let (_, client) = server.subaccount("One").await;
    server.verified(&server.account, "esp.test", &pair).await;
    server.verified(&client, "one.test", &pair).await;
    let path = "/api/v1/platform";
    assert_eq!(server.account.get(path).await.unwrap().results(), &json!({}));

    let both = json!({ "signing_domain": "esp.test", "fbl_signing_domain": "ESP.test" });
    let want = json!({ "signing_domain": "esp.test", "fbl_signing_domain": "esp.test" });
    let reply = server.account.put(path, both).await.unwrap();
    assert_eq!((reply.status, reply.results()), (200, &want));
    for domain in ["one.test", "unknown.test", "a b"] {
        for field in ["signing_domain", "fbl_signing_domain"] {
            let reply = server.account.put(path, json!({ (field): domain })).await.unwrap();
            let text = format!(
                "{field} {domain} is not a DKIM-verified sending domain of the primary account"
            );
            let want = (400, "1200", "invalid params", text.as_str());
            assert_eq!(crate::harness::error(&reply), want);
        }
    }
    let reply = server.account.put(path, json!({ "signing_domain": 1 })).await.unwrap();
    assert_eq!(reply.status, 422);
    assert_eq!(server.account.get(path).await.unwrap().results(), &want);
    let reply = server.account.put(path, json!({ "signing_domain": "" })).await.unwrap();
    assert_eq!(reply.results(), &json!({ "fbl_signing_domain": "esp.test" }));
}

//! What holds for every request: paths, methods, media types, sizes, JSON; and what operators watch.

use postseal_server::http::Readiness;
use serde_json::{Value, json};

use crate::harness::{Server, call, endpoints, error, raw};

#[tokio::test]
async fn a_slash_at_the_end_and_unknown_parameters_change_nothing() {
    let server = Server::start().await;
    for path in [
        "/api/v1/ip-pools",
        "/api/v1/ip-pools/",
        "/api/v1/ip-pools//",
        "/api/v1/ip-pools/default/",
        "/api/v1/sending-domains/?unknown=1&dkim_status=valid",
        "/healthz/",
    ] {
        assert_eq!(server.account.get(path).await.unwrap().status, 200, "{path}");
    }
    let body = json!({ "name": "Marketing", "unknown": {"field": [1]}, "signing_domain": null });
    let reply = server.account.post("/api/v1/ip-pools/", body).await.unwrap();
    assert_eq!((reply.status, reply.results()), (200, &json!({ "id": "marketing" })));
}

#[tokio::test]
async fn what_is_not_there_gets_404_and_what_cannot_be_done_405_in_the_envelope() {
    let server = Server::start().await;
    for path in ["/", "/api", "/api/v2/ip-pools", "/api/v1/ip-pool", "/API/v1/ip-pools"] {
        let reply = server.account.get(path).await.unwrap();
        let (status, code, message, _) = error(&reply);
        assert_eq!((status, code, message), (404, "1101", "invalid URI"), "{path}");
    }
    let cases = [
        ("PUT", "/api/v1/sending-domains"),
        ("PATCH", "/api/v1/ip-pools/default"),
        ("DELETE", "/api/v1/subaccounts/1"),
        ("GET", "/api/v1/sending-domains/a.test/verify"),
        ("POST", "/api/v1/platform/"),
    ];
    for (method, path) in cases {
        let reply = call(&server.account, method, path, None).await;
        let path = path.trim_end_matches('/');
        let description = format!("{method} is not supported on {path}");
        assert_eq!(error(&reply), (405, "1102", "invalid http method", description.as_str()));
    }
    let headers = [("authorization", server.account_key.as_str())];
    let (status, headers, _) = raw(&server, "DELETE", "/api/v1/platform", &headers, "").await;
    let allowed = headers["allow"].to_str().unwrap();
    assert!(status == 405 && allowed.contains("GET") && allowed.contains("PUT"), "{allowed}");
}

#[tokio::test]
async fn every_endpoint_that_takes_a_body_refuses_what_is_no_json_object() {
    let server = Server::start().await;
    let key = server.account_key.as_str();
    for (method, path, body, _) in endpoints() {
        if body.is_none() {
            continue;
        }
        let cases: [(&str, &[u8], u16, &str, &str); 6] = [
            ("text/plain", b"{}", 415, "1700", ""),
            ("application/x-www-form-urlencoded", b"a=b", 415, "1700", ""),
            ("application/json", b"", 422, "1300", "Problems parsing request as json"),
            (
                "application/json; charset=utf-8",
                b"{,}",
                422,
                "1300",
                "Problems parsing request as json",
            ),
            ("application/json", b"[]", 422, "1300", ""),
            ("application/json", b"\xff", 400, "1305", ""),
        ];
        for (media_type, body, status, code, description) in cases {
            let headers = [("authorization", key), ("content-type", media_type)];
            let got = raw(&server, method, path, &headers, body).await;
            let first = &got.2["errors"][0];
            assert_eq!(
                (got.0, &first["code"]),
                (status, &json!(code)),
                "{method} {path} {media_type}"
            );
            if !description.is_empty() {
                assert_eq!(first["description"], description, "{method} {path}");
            }
        }
        let headers = [("authorization", key), ("content-type", "application/json")];
        let (status, _, body) = raw(&server, method, path, &headers, vec![b' '; 300_000]).await;
        assert_eq!(status, 413, "{method} {path}: {body}");
        assert_eq!(body["errors"][0]["message"], "request body too large", "{method} {path}");
    }
}

/// A value of every JSON type, with the name that errors give it.
fn values() -> [(Value, &'static str); 5] {
    [
        (json!("text"), "string"),
        (json!(7), "number"),
        (json!(true), "boolean"),
        (json!([1]), "json_array"),
        (json!({"a": 1}), "json_object"),
    ]
}

#[tokio::test]
async fn a_field_of_another_type_is_an_error_that_names_it() {
    let server = Server::start().await;
    server.claim(&server.account, "a.test").await;
    let add = "/api/v1/sending-domains";
    let verify = "/api/v1/sending-domains/a.test/verify";
    let key = json!({ "private": "A", "public": "B", "selector": "s" });
    let cases = [
        (add, json!({}), "domain", "string"),
        (add, json!({ "domain": "b.test" }), "dkim", "json_object"),
        (add, json!({ "domain": "b.test" }), "generate_dkim", "boolean"),
        (add, json!({ "domain": "b.test" }), "dkim_key_length", "number"),
        (add, json!({ "domain": "b.test" }), "shared_with_subaccounts", "boolean"),
        (add, json!({ "domain": "b.test" }), "is_default_bounce_domain", "boolean"),
        (add, json!({ "domain": "b.test" }), "tracking_domain", "string"),
        (add, json!({ "domain": "b.test" }), "subdomains", "string"),
        (add, json!({ "domain": "b.test", "dkim": key }), "dkim.private", "string"),
        (add, json!({ "domain": "b.test", "dkim": key }), "dkim.public", "string"),
        (add, json!({ "domain": "b.test", "dkim": key }), "dkim.selector", "string"),
        (add, json!({ "domain": "b.test", "dkim": key }), "dkim.signing_domain", "string"),
        (add, json!({ "domain": "b.test", "dkim": key }), "dkim.headers", "string"),
        (verify, json!({}), "dkim_verify", "boolean"),
        (verify, json!({}), "cname_verify", "boolean"),
        (verify, json!({}), "spf_verify", "boolean"),
        (verify, json!({}), "mx_verify", "boolean"),
        (verify, json!({}), "abuse_at_verify", "boolean"),
        (verify, json!({}), "postmaster_at_verify", "boolean"),
        (verify, json!({}), "verification_mailbox_verify", "boolean"),
        (verify, json!({}), "verification_mailbox", "string"),
        (verify, json!({}), "abuse_at_token", "string"),
    ];
    for (path, body, field, wanted) in cases {
        for (value, found) in values() {
            if found == wanted {
                continue;
            }
            let mut body = body.clone();
            match field.split_once('.') {
                Some((outer, inner)) => body[outer][inner] = value,
                None => body[field] = value,
            }
            let reply = server.account.post(path, body).await.unwrap();
            let text =
                format!("field '{field}' is of type '{found}', but needs to be of type '{wanted}'");
            let want = (422, "1300", "invalid data format/type", text.as_str());
            assert_eq!(error(&reply), want, "{path}");
        }
    }
    let missing = [
        (add, json!({}), "field 'domain' is required"),
        (add, json!({ "domain": null }), "field 'domain' is required"),
        (add, json!({ "domain": "b.test", "dkim": {} }), "field 'dkim.private' is required"),
        (verify, json!({}), "Error no fields specified for verification"),
        (verify, json!({ "dkim_verify": false }), "Error no fields specified for verification"),
    ];
    for (path, body, text) in missing {
        let reply = server.account.post(path, body).await.unwrap();
        assert_eq!(error(&reply), (422, "1400", "required field is missing", text), "{path}");
    }
}

#[tokio::test]
async fn a_panic_ends_one_request_with_500_and_is_counted() {
    let server = Server::start().await;
    server.break_clock();
    let reply = server.account.post("/api/v1/ip-pools", json!({ "name": "a" })).await.unwrap();
    let (status, code, message, description) = error(&reply);
    assert_eq!((status, code, message), (500, "1500", "internal server error"));
    assert!(!description.contains("wall"), "{description}");
    server.repair_clock();
    let reply = server.account.post("/api/v1/ip-pools", json!({ "name": "a" })).await.unwrap();
    assert_eq!(reply.status, 200);
    let (_, _, figures) = raw(&server, "GET", "/metrics", &[], "").await;
    assert!(figures.as_str().unwrap().contains("postseal_panics_total 1"), "{figures}");
}

#[tokio::test]
async fn a_store_that_is_gone_is_a_503_that_says_when_to_come_back() {
    let server = Server::start().await;
    std::fs::rename(server.database(), server.database().with_extension("away")).unwrap();
    let headers =
        [("authorization", server.account_key.as_str()), ("content-type", "application/json")];
    let (status, headers, body) =
        raw(&server, "POST", "/api/v1/ip-pools", &headers, r#"{"name":"a"}"#).await;
    assert_eq!((status, headers["retry-after"].to_str().unwrap()), (503, "2"), "{body}");
    assert_eq!(body["errors"][0]["code"], "1900");
    assert!(!body.to_string().contains("postseal.db"), "{body}");
}

#[tokio::test]
async fn health_needs_no_key_and_readiness_waits_for_the_signing_threads() {
    let server = Server::start().await;
    let (status, _, body) = raw(&server, "GET", "/healthz", &[], "").await;
    assert_eq!((status, body), (200, json!({ "status": "ok" })));

    let (status, _, body) = raw(&server, "GET", "/readyz", &[], "").await;
    assert_eq!((status, body), (503, json!({ "status": "starting" })));
    server.ready.send_replace(Readiness::Ready);
    let (status, _, body) = raw(&server, "GET", "/readyz", &[], "").await;
    assert_eq!((status, body), (200, json!({ "status": "ready" })));
    server.ready.send_replace(Readiness::NotReady("ending".to_owned()));
    let (status, _, body) = raw(&server, "GET", "/readyz", &[], "").await;
    assert_eq!((status, body), (503, json!({ "status": "not ready", "reason": "ending" })));

    let (status, headers, text) = raw(&server, "GET", "/metrics", &[], "").await;
    assert_eq!(status, 200);
    assert!(headers["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    assert!(text.as_str().unwrap().ends_with("# EOF\n"), "{text}");
}

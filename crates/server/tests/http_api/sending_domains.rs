//! Adding, listing, reading and deleting sending domains.

use postseal_dkim::{Algorithm, UnixTime};
use postseal_server::domain_check::DRAIN_SECS;
use serde_json::{Value, json};

use crate::harness::{OWN_ZONE, Pair, START, Server, add_with_pair, error, name};

const PATH: &str = "/api/v1/sending-domains";

#[tokio::test]
async fn a_domain_is_added_with_a_key_of_its_own_and_read_back() {
    let server = Server::start().await;
    let reply = server.account.post(PATH, json!({ "domain": "Example.TEST." })).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.body);
    let results = reply.results();
    assert_eq!(results["message"], "Successfully Created domain.");
    assert_eq!(results["domain"], "example.test");
    let dkim = &results["dkim"];
    assert_eq!(dkim["headers"], "from:to:subject:date");
    assert_eq!(dkim["signing_domain"], "example.test");
    let selector = dkim["selector"].as_str().unwrap();
    assert!(selector.starts_with("ps202611") && selector.len() == 16, "{selector}");
    let public = dkim["public"].as_str().unwrap();
    assert_eq!(dkim["dns"]["dkim_record"], format!("{selector}._domainkey.example.test"));
    assert_eq!(dkim["dns"]["dkim_value"], format!("v=DKIM1; k=rsa; p={public}"));
    assert!(public.starts_with("MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A"), "{public}");

    let reply = server.account.get(&format!("{PATH}/EXAMPLE.test")).await.unwrap();
    let want = json!({
        "status": {
            "ownership_verified": false,
            "dkim_status": "unverified",
            "cname_status": "unverified",
            "mx_status": "unverified",
            "spf_status": "unverified",
            "abuse_at_status": "unverified",
            "postmaster_at_status": "unverified",
            "verification_mailbox_status": "unverified",
            "compliance_status": "valid",
        },
        "dkim": dkim,
        "shared_with_subaccounts": false,
        "is_default_bounce_domain": false,
        "creation_time": "2026-11-18T11:06:40+00:00",
    });
    assert_eq!(reply.results(), &want);

    let reply = server.account.get(PATH).await.unwrap();
    let row = &reply.results()[0];
    assert_eq!(row["domain"], "example.test");
    assert!(row.get("dkim").is_none(), "{row}");
    assert_eq!(row["status"], want["status"]);

    let path = format!("{PATH}/example.test");
    let reply = server.account.delete(&path).await.unwrap();
    assert_eq!((reply.status, reply.body), (204, Value::Null));
    let not_found = (404, "1600", "resource not found", "Domain 'example.test' does not exist");
    assert_eq!(error(&server.account.delete(&path).await.unwrap()), not_found);
    assert_eq!(error(&server.account.get(&path).await.unwrap()), not_found);
}

#[tokio::test]
async fn what_clients_send_without_need_is_taken() {
    let server = Server::start().await;
    let bodies = [
        // Terraform sends every boolean, C# a length of nothing.
        json!({ "domain": "a.test", "generate_dkim": false, "shared_with_subaccounts": false,
                "is_default_bounce_domain": false }),
        json!({ "domain": "b.test", "generate_dkim": false, "dkim_key_length": 0 }),
        json!({ "domain": "c.test", "generate_dkim": false, "dkim": null, "tracking_domain": "",
                "private_key": "x" }),
    ];
    for body in bodies {
        let reply = server.account.post(PATH, body.clone()).await.unwrap();
        let want = json!({ "message": "Successfully Created domain.", "domain": body["domain"] });
        assert_eq!((reply.status, reply.results()), (200, &want), "{body}");
    }
}

#[tokio::test]
async fn a_text_that_is_no_domain_gets_the_documented_sentence() {
    let server = Server::start().await;
    let cases = [
        ("", "Error domain name length too short for domain: ''"),
        ("localhost", "Error domain name contains no '.'(s) for domain: 'localhost'"),
        (
            "exa mple.test",
            "Error domain name contains invalid characters or spaces for domain: 'exa mple.test'",
        ),
        ("a..test", "Error validating domain name syntax for domain: 'a..test'"),
    ];
    for (domain, text) in cases {
        let reply = server.account.post(PATH, json!({ "domain": domain })).await.unwrap();
        assert_eq!(error(&reply), (422, "1300", "invalid data format/type", text));
        let path = format!("{PATH}/{}", domain.replace(' ', "%20"));
        if !domain.is_empty() {
            assert_eq!(server.account.get(&path).await.unwrap().status, 404, "{domain}");
        }
    }
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused() {
    let server = Server::start().await;
    let cases = [
        (
            json!({ "is_default_bounce_domain": true }),
            (422, "1300"),
            "'is_default_bounce_domain' cannot be set to true at the time of domain creation",
        ),
        (
            json!({ "tracking_domain": "t.test" }),
            (400, "1200"),
            "Tracking domain 't.test' is not a registered tracking domain",
        ),
        (
            json!({ "subdomains": "yes" }),
            (422, "1300"),
            "Invalid data in 'subdomains' field, valid inputs are: off, sign",
        ),
        (
            json!({ "dkim_key_length": 1024 }),
            (422, "1300"),
            "dkim_key_length of 1024 is too short: Postseal signs with RSA keys of 2048 bits, as RFC \
             8301 recommends, and with none below",
        ),
        (
            json!({ "dkim_key_length": 4096 }),
            (422, "1300"),
            "dkim_key_length of 4096: Postseal makes RSA keys of 2048 bits; a longer key of up to 4096 \
             bits can be brought along in dkim",
        ),
    ];
    for (mut body, (status, code), text) in cases {
        body["domain"] = json!("a.test");
        let reply = server.account.post(PATH, body).await.unwrap();
        let got = error(&reply);
        assert_eq!((got.0, got.1, got.3), (status, code, text));
    }
    let (number, client) = server.subaccount("Acme").await;
    let body =
        json!({ "domain": "a.test", "shared_with_subaccounts": true, "generate_dkim": false });
    for client in [client, server.account.for_subaccount(number.into())] {
        let reply = client.post(PATH, body.clone()).await.unwrap();
        let text = "Only a domain of the primary account can be shared with subaccounts";
        assert_eq!(error(&reply), (422, "1300", "invalid data format/type", text));
    }
    let reply = server.account.post(PATH, body).await.unwrap();
    assert_eq!(reply.status, 200);
    let reply = server.account.get(&format!("{PATH}/a.test")).await.unwrap();
    assert_eq!(reply.results()["shared_with_subaccounts"], true);

    let body = json!({ "domain": "b.test", "subdomains": "sign", "generate_dkim": false });
    server.account.post(PATH, body).await.unwrap();
    let reply = server.account.get(&format!("{PATH}/b.test")).await.unwrap();
    assert_eq!(reply.results()["subdomains"], "sign");
}

#[tokio::test]
async fn a_key_pair_may_be_brought_along_in_either_form_and_for_many_domains() {
    let server = Server::start().await;
    let pair = Pair::rsa();
    let forms = [pair.private.clone(), pair.pkcs1(), pair.key.expose_pkcs8_pem().to_string()];
    for (number, private) in forms.into_iter().enumerate() {
        let domain = format!("d{number}.test");
        let dkim = json!({ "private": private, "public": pair.public, "selector": "Shared.S1",
                           "signing_domain": "", "headers": "from:to" });
        let reply =
            server.account.post(PATH, json!({ "domain": domain, "dkim": dkim })).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.body);
        let dkim = &reply.results()["dkim"];
        assert_eq!(
            (&dkim["public"], &dkim["selector"]),
            (&json!(pair.public), &json!("shared.s1"))
        );
        for path in [format!("{PATH}/{domain}"), PATH.to_owned()] {
            let text = server.account.get(&path).await.unwrap().body.to_string();
            assert!(!text.contains("private") && !text.contains(&pair.private[100..160]), "{text}");
        }
    }
}

#[tokio::test]
async fn a_pair_that_cannot_sign_is_refused_with_the_documented_sentence() {
    let server = Server::start().await;
    let (pair, other) = (Pair::rsa(), Pair::rsa());
    let ed25519 = Pair::new(Algorithm::Ed25519Sha256);
    let bad_private = "Private key does not seem valid. Please use another key pair.";
    let bad_public = "Public key does not seem valid. Please use another key pair.";
    let fields = |private: &str, public: &str, selector: &str| json!({ "private": private, "public": public, "selector": selector });
    let (private, public) = (pair.private.as_str(), pair.public.as_str());
    let cases = [
        (fields(private, &other.public, "s"), "Private and public DKIM keys do not match."),
        (fields(private, public, ""), "Error: DKIM selector length is zero."),
        (fields("", public, "s"), "Empty keys are not allowed."),
        (fields(private, " ", "s"), "Empty keys are not allowed."),
        (fields("AAAA", public, "s"), bad_private),
        (fields("not base64!", public, "s"), bad_private),
        (fields(&private[..800], public, "s"), bad_private),
        (fields(private, "AAAA", "s"), bad_public),
        (fields(private, private, "s"), bad_public),
        (
            fields(public, public, "s"),
            "Unable to read private key. this is a public key; give the private key.",
        ),
        (
            fields(private, public, "a b"),
            "Error: DKIM selector is not valid: the name has a character other than letters, digits, \
             hyphen and underscore.",
        ),
        (
            fields(&ed25519.private, &ed25519.public, "s"),
            "Unable to read private key. A sending domain signs with RSA, and this is an Ed25519 key.",
        ),
    ];
    for (dkim, text) in cases {
        let body = json!({ "domain": "a.test", "dkim": dkim });
        let reply = server.account.post(PATH, body).await.unwrap();
        assert_eq!(error(&reply), (422, "1300", "invalid data format/type", text));
        assert!(!reply.body.to_string().contains(&private[100..160]));
    }
    for private in [SHORT_PKCS1, SHORT_PKCS8] {
        let body = json!({ "domain": "a.test", "dkim": fields(private, SHORT_PUBLIC, "s") });
        let reply = server.account.post(PATH, body).await.unwrap();
        let (status, code, _, text) = error(&reply);
        assert_eq!((status, code), (422, "1300"));
        assert!(text.contains("the RSA key has 1024 bits and signing needs 2048"), "{text}");
    }
    let mut dkim = pair.fields("s");
    dkim["signing_domain"] = json!("other.test");
    let body = json!({ "domain": "a.test", "dkim": dkim });
    let reply = server.account.post(PATH, body).await.unwrap();
    assert!(error(&reply).3.starts_with("dkim.signing_domain must be the sending domain"));
    assert_eq!(server.account.get(PATH).await.unwrap().results(), &json!([]));
}

#[tokio::test]
async fn a_selector_is_never_used_for_another_key() {
    let server = Server::start().await;
    let (pair, other) = (Pair::rsa(), Pair::rsa());
    assert_eq!(add_with_pair(&server.account, "a.test", &pair, "s1").await.status, 200);
    server.account.delete(&format!("{PATH}/a.test")).await.unwrap();

    let reply = add_with_pair(&server.account, "a.test", &other, "s1").await;
    let (status, code, _, text) = error(&reply);
    assert_eq!((status, code), (422, "1300"));
    assert!(text.starts_with("The selector was used for another key of this domain"), "{text}");
    assert_eq!(add_with_pair(&server.account, "a.test", &pair, "s1").await.status, 200);
    // Elsewhere the name is another one.
    assert_eq!(add_with_pair(&server.account, "b.test", &other, "s1").await.status, 200);
}

#[tokio::test]
async fn lists_are_filtered_and_bad_filters_refused() {
    let server = Server::start().await;
    let pair = Pair::rsa();
    server.verified(&server.account, "valid.test", &pair).await;
    server.claim(&server.account, "claim.test").await;
    let cases: [(&str, &[&str]); 10] = [
        ("", &["claim.test", "valid.test"]),
        ("?dkim_status=valid", &["valid.test"]),
        ("?dkim_status=unverified", &["claim.test"]),
        ("?dkim_status=invalid", &[]),
        ("?ownership_verified=true", &["valid.test"]),
        ("?ownership_verified=false&dkim_status=valid", &[]),
        ("?cname_status=unverified", &["claim.test", "valid.test"]),
        ("?mx_status=valid", &[]),
        ("?is_default_bounce_domain=true", &[]),
        ("?compliance_status=valid&is_default_bounce_domain=false", &["claim.test", "valid.test"]),
    ];
    for (query, want) in cases {
        let reply = server.account.get(&format!("{PATH}{query}")).await.unwrap();
        let rows = reply.results().as_array().unwrap();
        let names: Vec<&str> = rows.iter().map(|row| row["domain"].as_str().unwrap()).collect();
        assert_eq!(names, want, "{query}");
    }
    let reply = server.account.get(&format!("{PATH}?dkim_status=good")).await.unwrap();
    let text = "Invalid data in 'dkim_status' field, valid inputs are: valid, invalid, unverified, pending";
    assert_eq!(error(&reply), (422, "1300", "invalid data format/type", text));
    let reply = server.account.get(&format!("{PATH}?ownership_verified=1")).await.unwrap();
    assert_eq!(reply.status, 422);
}

#[tokio::test]
async fn a_domain_is_added_once_by_each_and_in_one_spelling() {
    let server = Server::start().await;
    let (_, one) = server.subaccount("One").await;
    let (_, two) = server.subaccount("Two").await;
    for client in [&server.account, &one, &two] {
        server.claim(client, "bücher.test").await;
        for spelling in ["bücher.test", "BÜCHER.test", "xn--bcher-kva.test", "XN--BCHER-KVA.TEST."]
        {
            let body = json!({ "domain": spelling });
            let reply = client.post(PATH, body).await.unwrap();
            let text = "Sending Domain xn--bcher-kva.test already registered";
            assert_eq!(error(&reply), (409, "1602", "resource conflict", text), "{spelling}");
        }
    }
}

#[tokio::test]
async fn the_subaccount_field_says_whose_domain_it_is() {
    let server = Server::start().await;
    let (one, client_one) = server.subaccount("One").await;
    let (two, client_two) = server.subaccount("Two").await;
    let account = &server.account;
    let as_one = account.for_subaccount(one.into());
    let as_primary = account.for_subaccount(0);
    server.claim(account, "primary.test").await;
    server.claim(&as_one, "one.test").await;
    server.claim(&client_two, "two.test").await;

    let names = async |client: &postseal_testkit::api_client::ApiClient| {
        let reply = client.get(PATH).await.unwrap();
        let rows = reply.results().as_array().unwrap().iter();
        rows.map(|row| row["domain"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(account).await, ["primary.test", "one.test", "two.test"]);
    assert_eq!(names(&as_primary).await, ["primary.test"]);
    assert_eq!(names(&as_one).await, ["one.test"]);
    assert_eq!(names(&client_one).await, ["one.test"]);
    // A key of a subaccount stays with it.
    assert_eq!(names(&client_one.for_subaccount(two.into())).await, ["one.test"]);
    assert_eq!(names(&client_one.for_subaccount(0)).await, ["one.test"]);

    let get = async |client: &postseal_testkit::api_client::ApiClient, domain: &str| {
        client.get(&format!("{PATH}/{domain}")).await.unwrap()
    };
    assert_eq!(get(account, "one.test").await.results()["subaccount_id"], one);
    assert_eq!(get(&client_one, "one.test").await.results()["subaccount_id"], one);
    assert!(get(account, "primary.test").await.results().get("subaccount_id").is_none());
    assert_eq!(get(&as_primary, "one.test").await.status, 404);

    // Where something is changed, no field means the account itself.
    assert_eq!(account.delete(&format!("{PATH}/one.test")).await.unwrap().status, 404);
    assert_eq!(as_one.delete(&format!("{PATH}/one.test")).await.unwrap().status, 204);

    let text = "Subaccount '77' does not exist";
    let body = json!({ "domain": "a.test", "generate_dkim": false });
    let reply = account.for_subaccount(77).post(PATH, body).await.unwrap();
    assert_eq!(error(&reply), (400, "1200", "invalid params", text));
    let headers = [("authorization", server.account_key.as_str()), ("x-msys-subaccount", "Acme")];
    let (status, _, body) = crate::harness::raw(&server, "GET", PATH, &headers, "").await;
    assert_eq!((status, &body["errors"][0]["code"]), (400, &json!("1200")));
}

#[tokio::test]
async fn what_is_another_tenants_does_not_exist() {
    let server = Server::start().await;
    let (number, owner) = server.subaccount("Owner").await;
    let (_, foreign) = server.subaccount("Foreign").await;
    server.claim(&owner, "a.test").await;
    server.claim(&server.account, "p.test").await;
    let before = server.account.get(PATH).await.unwrap().body;

    let other = server.account.for_subaccount(u64::from(number) + 1);
    for (client, domain) in [(&foreign, "a.test"), (&other, "a.test"), (&foreign, "p.test")] {
        let text = format!("Domain '{domain}' does not exist");
        let path = format!("{PATH}/{domain}");
        let verify = format!("{path}/verify");
        for reply in [
            client.get(&path).await.unwrap(),
            client.delete(&path).await.unwrap(),
            client.post(&verify, json!({ "dkim_verify": true })).await.unwrap(),
            client.post(&verify, json!({ "cname_verify": true })).await.unwrap(),
        ] {
            assert_eq!(error(&reply), (404, "1600", "resource not found", text.as_str()));
        }
    }
    assert_eq!(server.account.get(PATH).await.unwrap().body, before);
}

#[tokio::test]
async fn records_of_our_own_zones_are_published_at_once_and_again_at_the_next_start() {
    let server = Server::start().await;
    let (number, client) = server.subaccount("Acme").await;
    let domain = format!("mail.{OWN_ZONE}");

    // Its record would be published for whoever adds it, so only the account can.
    let reply = client.post(PATH, json!({ "domain": domain })).await.unwrap();
    let (status, code, message, _) = error(&reply);
    assert_eq!((status, code, message), (400, "7000", "Restricted domain"));

    let account = server.account.for_subaccount(number.into());
    let reply = account.post(PATH, json!({ "domain": domain })).await.unwrap();
    let dns = &reply.results()["dkim"]["dns"];
    let record = name(dns["dkim_record"].as_str().unwrap());
    let value = dns["dkim_value"].as_str().unwrap();
    assert_eq!(server.zones.text(&record).as_deref(), Some(value.as_bytes()));

    let check = restarted(&server);
    check.0.remove(&record).unwrap();
    assert_eq!(check.1.publish_all(&server.store, UnixTime(START)).await.unwrap(), 1);
    assert_eq!(check.0.text(&record).as_deref(), Some(value.as_bytes()));

    // Given up, it stays for mail that is on its way, once it was seen by anybody.
    server.dns.set_txt(record.as_str(), value);
    let results = account.verify_domain(&domain).await.unwrap();
    assert_eq!(results["dkim_status"], "valid", "{results}");
    account.delete(&format!("{PATH}/{domain}")).await.unwrap();
    for (later, want) in [(0, 1), (DRAIN_SECS, 1), (DRAIN_SECS + 1, 0)] {
        let now = UnixTime(START + later);
        let count = check.1.publish_all(&server.store, now).await.unwrap();
        assert_eq!(count, want, "{later}");
    }

    // The process that runs takes it out by itself, once.
    check.0.set_text(&record, value.as_bytes()).unwrap();
    let mut done_until = UnixTime(START);
    for (later, want) in [(0, true), (60, true), (DRAIN_SECS, true), (DRAIN_SECS + 1, false)] {
        let now = UnixTime(START + later);
        done_until = check.1.take_out_drained(&server.store, done_until, now).await.unwrap();
        assert_eq!((done_until, check.0.text(&record).is_some()), (now, want), "{later}");
    }
    // With the clock set back nothing is taken out twice, and what is there now is left alone.
    check.0.set_text(&record, value.as_bytes()).unwrap();
    let back = check.1.take_out_drained(&server.store, done_until, UnixTime(START)).await.unwrap();
    assert_eq!((back, check.0.text(&record).is_some()), (done_until, true));
}

/// The zones and what publishes in them, as the next start of the process has them.
fn restarted(
    server: &Server,
) -> (postseal_dns::ServedZones, postseal_server::domain_check::DomainCheck) {
    let client = postseal_dns::AuthoritativeClient::new(Default::default());
    let check = postseal_server::domain_check::DomainCheck::new(client, server.zones.clone());
    (server.zones.clone(), check)
}

/// RSA keys of 1024 bits, made for this test.
const SHORT_PKCS1: &str = "\
    MIICXQIBAAKBgQDBQqS8t35wMos5RT4FHYTYOv2AFTUjUnfo4CFCR5U4xrAIjhtK68T0RFO0W5ekGqPZG5+9PFhDWQ10\
    iennjCX64kxy25L0WssANJF9JtaRZw7psy5jcPHh0tNIvqNAfcsd7FScD+jgJQgomrOodvntYs7EPWzph6aPigPbLVOh\
    6wIDAQABAoGBALbMN4/9LA4p8MBR+1DRVAdG/OK6rJFlft/5p9vOY5nZbUYaTDx4d8noGxh8jhl9zT8dPuG6g23ofK6f\
    iGwohv54HHN9bC+S7EwYPz2AcpflCzTHpceB3NeoAgjXf5O4lzC5auJODre7ks07pIwxdL1Mzp0UITZ6OYL3EpZTmLMJ\
    AkEA/BKc59sflakEjISLXjRcUAXyWJcTHhtOribN0FZYBteEneWIaKLwOoXhB3fS9Dl9fWfLD2TGji/S7Hvjeet5RwJB\
    AMRFdWPwAiKT1RLtcITs/N1e5iuna1E0mm7TMGlDL4mHETyDKCZRKrf0SWPwyNQGmDRY4QJlPmkrfM/soyBoZD0CQGL2\
    48dbjkDxxKlueFEZ+YwpaYZCeez+B5vz/CXpYFH/Vz+umCmMnwg6+6g08QuVbqFHmL+IbzPvrr3Nvfdl7Y0CQGqI3Tha\
    zX3hSnXUpg+w52xtl3g4jtrsN6tSPOPWERaQVv3Gn2N1CUACfFegGhJkZfd8Ct6W//JsJXpjEwSDRW0CQQDG5xUafCdj\
    lyYzwittoRx4B+U7ThmYSDeWU2rG89h5PV53bJJKcR3ve3rBLckFUH5snFXj/LQwNOSrIL9iybYP";
const SHORT_PKCS8: &str = "\
    MIICdgIBADANBgkqhkiG9w0BAQEFAASCAmAwggJcAgEAAoGBAK41Kj6CrMHu+K8ld4kTaF9GkV/l0cNts2ZiAA01Crcr\
    1rOk20DYyYZeGvPk2LYVg7LJ86ttMYFpxvrGYl/YAx95Eyy+kWZ2euBBeUua8XYJiZLQg9U3aV/9X8KXzD3x7hmhq6v1\
    TrrlyU8RcBDEVhubZwEVHPX7b5HDJXyX4PXdAgMBAAECgYAKt7qhneiDBfDG1cdE56zEL9NB0yHUpCslYWIfbeP64PeU\
    lc/nbW74lVGTL8Elcq1nkoUrRsyE6b0UMKBcxS1r6Ea5fZ/0F2pkPeCcz78x8KoWuviW9i4+cS6uQLdIKVHqfchZX9dz\
    ecSxwsfKpP9qlyFXTyfgCyNxwd19ArrZAQJBANq9d/1h2R3TivIQEIOgvnyVlDXoPTLXGrQeSBNgVvOiErFPxSX5QHxU\
    hijNx8RAxriI8pJWsC3af6jT7y6N1isCQQDL4cjLwr6n/PE6yQ9ivlL884Zo34jbmx64KypNNoNmSsTtIYrcfOL4LPER\
    rZ+NqrDqPKHH59jpzigdagE1BCgXAkEApiUx5bkTxA7xQ+ml0YUgCttGpyeOjHZMZzF1B5qukQGy9xEjKzPGomlFOesL\
    6GpXRsVmknbb/Qgw3RiVXSQI3wJATtjNr8drtknC/On+0kAqlfqT84DnS46M7cp7vIqlfGzUBaTgL+74U+QFgsGzn7Tw\
    YFX8dvP51knNB7sUJm2qFwJAEchecSuJc8iBoGDlGtNq9V+IQ5RgIwQ8kZ9sfCbRjOpatsJIraqmr/sW4sBGkmSKiwSE\
    6dOEHUkySpt84ZGykg==";
const SHORT_PUBLIC: &str = "\
    MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDrqppJtHGx/mkIcBFtNDeNcXyvXBRzI4FVAQvmjC9mLjuKU8h8WWmf\
    KpYhOoBnfF6wX87dVwSgW2G7ArL+qklnv8VJeI6GMQMUIKJ5SjU+xiFx5d15vi7gpccBr5tANoYebgPB9q9YauOOraeD\
    YBPkXSkfCs0NpTjirXZBHfL6ewIDAQAB";

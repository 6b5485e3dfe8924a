//! RFC 8463 appendix A, literally: one message with an Ed25519 and an RSA signature.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postseal_dkim::{
    AuthResult, FieldName, FieldSelection, Header, KeyAnswer, MessageSigning, SignRequest,
    Signature, UnixTime, Verifier, VerifyRules, split_message,
};

/// §A.3.
const SIGNED: &str = "\
DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r
 d=football.example.com; i=@football.example.com;\r
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r
 subject : date : message-id : from : subject : date;\r
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus\r
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==\r
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r
 d=football.example.com; i=@football.example.com;\r
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :\r
 date : message-id : from : subject : date;\r
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3\r
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz\r
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=\r
From: Joe SixPack <joe@football.example.com>\r
To: Suzie Q <suzie@shopping.example.net>\r
Subject: Is dinner ready?\r
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r
Message-ID: <20030712040037.46341.5F8J@football.example.com>\r
\r
Hi.\r
\r
We lost the game.  Are you hungry yet?\r
\r
Joe.\r
";

/// §A.1: the seed of the private key (that of RFC 8032 §7.1, test 1).
const ED25519_SEED: &str = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";

/// §A.2.
const ED25519_RECORD: &str = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

/// §A.2.
const RSA_RECORD: &str = "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRi\
    Gs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutAC\
    DfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC\
    3Ip3G+2kryOTIKT+l/K4w3QIDAQAB";

#[test]
fn both_signatures_verify() {
    let (header, body) = split_message(SIGNED.as_bytes());
    let header = Header::parse(header).unwrap();
    let (mut verifier, queries) =
        Verifier::start(&header, &VerifyRules::default(), UnixTime(1_800_000_000));
    for query in queries {
        let text = match query.name.as_str() {
            "brisbane._domainkey.football.example.com" => ED25519_RECORD,
            "test._domainkey.football.example.com" => RSA_RECORD,
            name => panic!("{name} was asked for"),
        };
        verifier.answer(query.id, KeyAnswer::from_texts([text]));
    }
    verifier.body(body);
    let report = verifier.finish();
    let results: Vec<_> = report.signatures.iter().map(|s| s.outcome.result()).collect();
    assert_eq!(results, [AuthResult::Pass; 2], "{report:?}");
}

#[test]
fn the_private_key_belongs_to_the_record() {
    let seed = STANDARD.decode(ED25519_SEED).unwrap();
    let key = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
    let public = ED25519_RECORD.split("p=").nth(1).unwrap();
    assert_eq!(STANDARD.encode(key.public_key()), public);
}

#[test]
fn signing_gives_the_same_body_hash_and_verifies() {
    let unsigned_message = SIGNED.split_once("From: ").map(|(_, rest)| format!("From: {rest}"));
    let message = unsigned_message.unwrap();
    let (header, body) = split_message(message.as_bytes());
    let header = Header::parse(header).unwrap();
    let names = ["from", "to", "subject", "date", "message-id", "from", "subject", "date"];
    let request = SignRequest {
        signing_domain: "football.example.com".parse().unwrap(),
        selector: "brisbane".parse().unwrap(),
        algorithm: "ed25519-sha256".parse().unwrap(),
        canonicalization: "relaxed/relaxed".parse().unwrap(),
        signed_at: UnixTime(1_528_637_909),
        expires_at: None,
        identity: None,
        fields: FieldSelection::exactly(names.map(|n| FieldName::parse(n).unwrap()).to_vec())
            .unwrap(),
    };
    let mut signing = MessageSigning::start(vec![request], &header).unwrap();
    signing.body(body);
    let unsigned = signing.finish().remove(0);
    assert_eq!(
        STANDARD.encode(unsigned.body_hash()),
        "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="
    );

    let key = Ed25519KeyPair::from_seed_unchecked(&STANDARD.decode(ED25519_SEED).unwrap()).unwrap();
    let signature = key.sign(unsigned.digest());
    let field = unsigned.complete(signature.as_ref());
    assert!(Signature::parse(field.value()).is_ok());

    let signed = [field.raw(), message.as_bytes()].concat();
    let (header, body) = split_message(&signed);
    let header = Header::parse(header).unwrap();
    let (mut verifier, queries) =
        Verifier::start(&header, &VerifyRules::default(), UnixTime(1_800_000_000));
    verifier.answer(queries[0].id, KeyAnswer::from_texts([ED25519_RECORD]));
    verifier.body(body);
    assert!(verifier.finish().has_pass());
}

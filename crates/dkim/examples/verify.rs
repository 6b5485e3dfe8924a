//! Verifies a message with a resolver of one's own, and prints the field that says what came of it.
//!
//! `cargo run -p postseal-dkim --example verify`
//!
//! The verifier says which key records it needs. Who asks for them, how, and how many at a time is the
//! caller's affair; the body may be hashed in the meantime.

use std::error::Error;

use postseal_dkim::{
    AuthservId, DomainName, Header, KeyAnswer, Report, ResultsField, UnixTime, Verifier,
    VerifyRules,
};

/// What the example needs of a resolver.
trait Resolver {
    /// The TXT records at a name, each with its strings joined.
    fn txt(&self, name: &DomainName) -> Result<Vec<Vec<u8>>, LookupError>;
}

enum LookupError {
    NoSuchName,
    ServerFailure,
    Timeout,
}

fn main() -> Result<(), Box<dyn Error>> {
    let report = verify(MESSAGE.as_bytes(), &Appendix, now()?)?;
    for signature in &report.signatures {
        println!("{}: {}", signature.outcome.result(), signature.reason());
    }
    let field = ResultsField::of_report(&AuthservId::new("mx.example.net")?, &report);
    print!("{}", str::from_utf8(field.raw())?);
    Ok(())
}

fn verify(
    message: &[u8],
    resolver: &impl Resolver,
    now: UnixTime,
) -> Result<Report, Box<dyn Error>> {
    let (header, body) = Header::of_message(message)?;
    let (mut verifier, queries) = Verifier::start(&header, &VerifyRules::default(), now);
    for query in queries {
        let answer = match resolver.txt(&query.name) {
            Ok(texts) => KeyAnswer::from_texts(texts),
            Err(LookupError::NoSuchName) => KeyAnswer::NoRecord,
            Err(LookupError::ServerFailure) => KeyAnswer::ServerFailure,
            Err(LookupError::Timeout) => KeyAnswer::Timeout,
        };
        verifier.answer(query.id, answer);
    }
    for chunk in body.chunks(4096) {
        verifier.body(chunk);
    }
    Ok(verifier.finish())
}

/// A resolver that knows the records of RFC 8463 appendix A.2.
struct Appendix;

impl Resolver for Appendix {
    fn txt(&self, name: &DomainName) -> Result<Vec<Vec<u8>>, LookupError> {
        match name.as_str() {
            "brisbane._domainkey.football.example.com" => Ok(vec![ED25519_RECORD.into()]),
            "test._domainkey.football.example.com" => Ok(vec![RSA_RECORD.into()]),
            "slow._domainkey.football.example.com" => Err(LookupError::Timeout),
            name if name.ends_with(".example.com") => Err(LookupError::NoSuchName),
            _ => Err(LookupError::ServerFailure),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the crate has no clock, its caller has"
)]
fn now() -> Result<UnixTime, Box<dyn Error>> {
    use std::time::{SystemTime, UNIX_EPOCH};
    Ok(UnixTime(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs()))
}

const ED25519_RECORD: &str = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

const RSA_RECORD: &str = "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRi\
    Gs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutAC\
    DfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC\
    3Ip3G+2kryOTIKT+l/K4w3QIDAQAB";

/// RFC 8463 appendix A.3.
const MESSAGE: &str = "\
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_has_its_result() {
        let now = UnixTime(1_790_000_000);
        let results = |message: &str| {
            let report = verify(message.as_bytes(), &Appendix, now).unwrap();
            report.signatures.iter().map(|s| s.outcome.result().as_str()).collect::<Vec<_>>()
        };
        assert_eq!(results(MESSAGE), ["pass", "pass"]);
        assert_eq!(results(&MESSAGE.replace("s=test", "s=none")), ["pass", "permerror"]);
        assert_eq!(results(&MESSAGE.replace("s=test", "s=slow")), ["pass", "temperror"]);
        let foreign =
            MESSAGE.replace("football.example.com; i=@football.example.com", "example.net");
        assert_eq!(results(&foreign), ["temperror", "temperror"]);
        main().unwrap();
    }
}

//! RFC 6376 appendix A, literally, with erratum 4926, and the key of appendix C.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use postseal_dkim::{
    AuthResult, Header, KeyAnswer, Report, UnixTime, Verifier, VerifyRules, split_message,
};

/// §A.2. Erratum 4926: the continuation lines of the fields are indented by six spaces.
const SIGNED: &str = "\
DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;\r
      c=simple/simple; q=dns/txt; i=joe@football.example.com;\r
      h=Received : From : To : Subject : Date : Message-ID;\r
      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r
      b=AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB\r
      4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut\r
      KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV\r
      4bmp/YzhwvcubU4=;\r
Received: from client1.football.example.com  [192.0.2.1]\r
      by submitserver.example.com with SUBMISSION;\r
      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)\r
From: Joe SixPack <joe@football.example.com>\r
To: Suzie Q <suzie@shopping.example.net>\r
Subject: Is dinner ready?\r
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r
Message-ID: <20030712040037.46341.5F8J@football.example.com>\r
\r
Hi.\r
\r
We lost the game. Are you hungry yet?\r
\r
Joe.\r
";

/// Appendix C.
const KEY: &str = "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQ\
    KBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYt\
    IxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v\
    /RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhi\
    tdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB";

fn verify(message: &[u8]) -> Report {
    let (header, body) = split_message(message);
    let header = Header::parse(header).unwrap();
    let (mut verifier, queries) =
        Verifier::start(&header, &VerifyRules::default(), UnixTime(1_800_000_000));
    assert_eq!(queries.len(), 1);
    assert_eq!(queries[0].name.as_str(), "brisbane._domainkey.example.com");
    verifier.answer(queries[0].id, KeyAnswer::from_texts([KEY]));
    verifier.body(body);
    verifier.finish()
}

#[test]
fn the_signed_message_of_a_2_verifies() {
    let report = verify(SIGNED.as_bytes());
    assert_eq!(report.signatures[0].outcome.result(), AuthResult::Pass, "{report:?}");
    assert_eq!(report.signatures[0].algorithm.as_deref(), Some("rsa-sha256"));
}

/// The RFC as it was printed has one space less in front of each continuation line (erratum 4926).
#[test]
fn the_uncorrected_message_of_a_2_does_not_verify() {
    let printed = SIGNED.replace("\r\n      ", "\r\n     ");
    assert_ne!(printed, SIGNED);
    let report = verify(printed.as_bytes());
    assert_eq!(report.signatures[0].outcome.result(), AuthResult::Fail, "{report:?}");
}

#[test]
fn each_change_to_the_signed_message_breaks_it() {
    for (place, octet) in SIGNED.bytes().enumerate() {
        let mut changed = SIGNED.as_bytes().to_vec();
        changed[place] = octet ^ 1;
        let (header, _) = split_message(&changed);
        let Ok(header) = Header::parse(header) else { continue };
        let (mut verifier, queries) =
            Verifier::start(&header, &VerifyRules::default(), UnixTime(1_800_000_000));
        for query in queries {
            verifier.answer(query.id, KeyAnswer::from_texts([KEY]));
        }
        verifier.body(split_message(&changed).1);
        let report = verifier.finish();
        assert!(!report.has_pass(), "octet {place}: {}", changed[..place + 1].escape_ascii());
    }
}

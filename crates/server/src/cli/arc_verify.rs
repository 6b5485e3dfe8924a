//! `postseal arc-verify`: says whether the ARC chain of one message verifies, and why not (RFC 8617 §5.2).
//!
//! One line: `pass`, `fail` or `none`, and the reason; for a chain that passes also `oldest-pass=`. With
//! `--json` also each set, with what became of its two signatures.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use anyhow::Context;
use postseal_dkim::arc::{ArcReport, ArcVerifier};
use postseal_dkim::{DomainName, Header, SignatureReport, UnixTime};
use serde_json::{Value, json};

use super::cannot;
use super::message_input::{self, Reading};
use super::sign::CANNOT_WRITE;
use super::verify::VerifyArgs;
use crate::clock;

pub(super) fn run(args: &VerifyArgs) -> ExitCode {
    match verify(args, clock::now(), &mut io::stdin().lock(), &mut io::stdout().lock()) {
        Ok(report) if report.result.is_pass() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => cannot(format_args!("{error:#}")),
    }
}

fn verify(
    args: &VerifyArgs,
    now: UnixTime,
    input: &mut impl Read,
    output: &mut impl Write,
) -> anyhow::Result<ArcReport> {
    let keys = args.keys.open()?;
    let now = args.now.map_or(now, UnixTime);
    let report = message_input::read(input, |header| {
        let (mut verifier, queries) = ArcVerifier::start(header, now);
        for (id, answer) in keys.answer(queries)? {
            verifier.answer(id, answer);
        }
        Ok(verifier)
    })?;

    let text = if args.json { in_json(&report) } else { in_a_line(&report) };
    output.write_all(text.as_bytes()).context(CANNOT_WRITE)?;
    output.flush().context(CANNOT_WRITE)?;
    Ok(report)
}

impl Reading for ArcVerifier {
    type Outcome = ArcReport;

    fn body(&mut self, chunk: &[u8]) {
        Self::body(self, chunk);
    }

    fn finish(self, _header: &Header<'_>) -> anyhow::Result<ArcReport> {
        Ok(Self::finish(self))
    }
}

fn in_a_line(report: &ArcReport) -> String {
    let result = &report.result;
    let status = result.status();
    match result.oldest_pass() {
        Some(oldest) => format!("{status} oldest-pass={oldest} {result}\n"),
        None => format!("{status} {result}\n"),
    }
}

/// The keys are described in docs/verify.md.
fn in_json(report: &ArcReport) -> String {
    let signature = |signature: &SignatureReport| {
        json!({
            "result": signature.outcome.result().as_str(),
            "domain": signature.signing_domain.as_ref().map(DomainName::as_str),
            "selector": signature.selector.as_ref().map(|selector| selector.as_str()),
            "algorithm": signature.algorithm,
            "reason": signature.reason(),
            "code": signature.outcome.code(),
            "cause": signature.outcome.cause(),
        })
    };
    let sets: Vec<Value> = report
        .sets
        .iter()
        .map(|set| {
            json!({
                "instance": set.instance.get(),
                "message_signature": signature(&set.message_signature),
                "seal": signature(&set.seal),
            })
        })
        .collect();
    let result = &report.result;
    let object = json!({
        "result": result.status().as_str(),
        "code": result.code(),
        "reason": result.to_string(),
        "oldest_pass": result.oldest_pass(),
        "sets": sets,
    });
    format!("{object}\n")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: VerifyArgs,
    }

    /// Two handlers, of which the second added the line `footer`.
    const MESSAGE: &str = "ARC-Seal: i=2; a=ed25519-sha256; t=1790000000; cv=pass; d=hop2.example; s=seal; b=smjYP/CDmsW8kRKYQltpLbkmQ0XKStNiWhOkUJdPChsAEOJEOZ9IsKEXcuzm/8jW
	bLb1g3g2hT8SAmRdHTvYBw==
ARC-Message-Signature: i=2; a=ed25519-sha256; c=relaxed/relaxed; d=hop2.example; s=ams; t=1790000000; h=from:to:subject:date:from; x=1795000000; bh=NJPLYzEp1em7ui0T0uajrJ2YhT2BFsIR8Dmz/KgP8EU=; b=Fgioroe+OUkqI7afYFqgJwkUUar9u1tZl61ZoZdr2ylmDJkgvyd6lQFSICfxJWzP
	o5pJVQvV1pH/tnudfexgBg==
ARC-Authentication-Results: i=2; hop2.example;
	spf=pass smtp.mailfrom=a.example
ARC-Seal: i=1; a=ed25519-sha256; t=1790000000; cv=none; d=hop1.example; s=seal; b=v67+CjUxn17MWsaXEsIPZS13NHfkEWp0+Jt9aLK7mf2SR4ywq9VanskYZhTFy2X+
	kdEKA+j0+rlKpyw5uRfNDw==
ARC-Message-Signature: i=1; a=ed25519-sha256; c=relaxed/relaxed; d=hop1.example; s=ams; t=1790000000; h=from:to:subject:date:from; bh=sTT02lKuPAH1nGYBiIjR27DGuCuXdYrdO56uQNzQX+8=; b=tUheIm/Tm0O6qb1BpwEeGmQC7gkaZttqmcYF6tRPuZ6XyTNDDn9IBxZ6X8agHl4R
	a1TrHAp1SWQMQRKQquzKDw==
ARC-Authentication-Results: i=1; hop1.example;
	spf=pass smtp.mailfrom=a.example
Received: from a.example by b.example; Fri, 1 Oct 2027 10:00:00 +0000
From: Joe <joe@example.com>
To: list@lists.example
Subject: Is dinner
 ready?
Date: Fri, 1 Oct 2027 10:00:00 +0000

Hi.

We lost the  game.
footer
";

    const RECORD: &str = "ams._domainkey.hop1.example\tv=DKIM1; k=ed25519; p=0aHnym56KTeWXgEzYaU4zxXtEQKkhkww86QpIF09lL4=\n\
        ams._domainkey.hop2.example\tv=DKIM1; k=ed25519; p=0aHnym56KTeWXgEzYaU4zxXtEQKkhkww86QpIF09lL4=\n\
        seal._domainkey.hop1.example\tv=DKIM1; k=ed25519; p=0aHnym56KTeWXgEzYaU4zxXtEQKkhkww86QpIF09lL4=\n\
        seal._domainkey.hop2.example\tv=DKIM1; k=ed25519; p=0aHnym56KTeWXgEzYaU4zxXtEQKkhkww86QpIF09lL4=\n";

    fn verified(dns: &str, more: &[&str], message: &str) -> anyhow::Result<(String, bool)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dns");
        std::fs::write(&path, dns).unwrap();
        let line = ["arc-verify", "--dns-file", path.to_str().unwrap()];
        let args = Line::try_parse_from(line.iter().chain(more)).unwrap().args;
        let mut output = Vec::new();
        let report = verify(&args, UnixTime(1_790_000_000), &mut message.as_bytes(), &mut output)?;
        Ok((String::from_utf8(output).unwrap(), report.result.is_pass()))
    }

    #[test]
    fn a_chain_is_told_in_one_line() {
        let newest = "the newest ARC-Message-Signature, i=2, does not verify: ";
        let change = |from: &str, to: &str| {
            assert!(MESSAGE.contains(from), "{from}");
            MESSAGE.replacen(from, to, 1)
        };
        for (dns, message, want) in [
            (RECORD, MESSAGE.to_owned(), "pass oldest-pass=2 the chain of 2 sets".to_owned()),
            (RECORD, change("footer", "Footer"), format!("fail {newest}the body hash")),
            ("", MESSAGE.to_owned(), format!("fail {newest}there is no key record")),
            (RECORD, change("none;", "fail;"), "fail the ARC-Seal i=1 has cv=fail".to_owned()),
            (RECORD, change("i=1;", "i=99;"), "fail i= of an ARC-".to_owned()),
            (RECORD, "From: a\n\nb\n".to_owned(), "none the message has no ARC field\n".to_owned()),
        ] {
            for message in [message.clone(), message.replace('\n', "\r\n")] {
                let (text, passes) = verified(dns, &[], &message).unwrap();
                assert!(text.starts_with(&want), "{text}");
                assert_eq!((text.lines().count(), passes), (1, want.starts_with("pass")));
            }
        }
    }

    #[test]
    fn json_has_every_set() {
        let (text, _) = verified(RECORD, &["--json"], MESSAGE).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["result"], "pass");
        assert_eq!(value["code"], "verified");
        assert_eq!(value["oldest_pass"], 2);
        assert_eq!(value["sets"][0]["instance"], 1);
        let first = &value["sets"][0]["message_signature"];
        assert_eq!((&first["result"], &first["cause"]), (&json!("fail"), &Value::Null));
        assert_eq!(first["code"], "body-hash-mismatch");
        assert_eq!(value["sets"][0]["seal"]["result"], "pass");
        assert_eq!(value["sets"][1]["seal"]["domain"], "hop2.example");
        assert_eq!(value["sets"][1]["message_signature"]["algorithm"], "ed25519-sha256");

        let signed_seal = MESSAGE.replacen("h=from", "h=arc-seal:from", 1);
        let (text, _) = verified(RECORD, &["--json"], &signed_seal).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["code"], "message-signature");
        assert_eq!(value["sets"][1]["message_signature"]["cause"], "seal-in-field-list");

        let (text, _) = verified("", &["--json"], "").unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["result"], "none");
        assert_eq!((&value["oldest_pass"], &value["sets"]), (&Value::Null, &json!([])));
    }

    #[test]
    fn the_time_can_be_set() {
        // The newest message signature has x=1795000000.
        let (text, passes) = verified(RECORD, &["--now", "1795000001"], MESSAGE).unwrap();
        assert!(!passes && text.contains("expired"), "{text}");
        assert!(verified(RECORD, &["--now", "1795000000"], MESSAGE).unwrap().1);
    }
}

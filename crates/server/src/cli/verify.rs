//! `postseal verify`: says for each signature of one message whether it verifies, and why not.
//!
//! One line a DKIM-Signature field, from the top: the result, `d=`, `s=`, `a=` and the reason. Keys come
//! from the DNS, or from a file that stands for it ([`super::key_lookup`]). The message is read in pieces
//! ([`super::message_input`]).

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use postseal_dkim::{DomainName, Header, Report, SignatureReport, UnixTime, Verifier, VerifyRules};

use super::key_lookup::KeyArgs;
use super::message_input::{self, Reading};
use super::sign::CANNOT_WRITE;
use super::verify_reason::{needs_details, reason};
use super::{cannot, verify_json};
use crate::clock;

/// Arguments of `postseal verify` and `postseal arc-verify`.
#[derive(Args, Debug)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    pub(super) keys: KeyArgs,
    /// The time to compare expiry with, in seconds since 1970 [default: now]
    #[arg(long, value_name = "UNIX")]
    pub(super) now: Option<u64>,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn run(args: &VerifyArgs) -> ExitCode {
    match verify(args, clock::now(), &mut io::stdin().lock(), &mut io::stdout().lock()) {
        Ok(report) if report.has_pass() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => cannot(format_args!("{error:#}")),
    }
}

fn verify(
    args: &VerifyArgs,
    now: UnixTime,
    input: &mut impl Read,
    output: &mut impl Write,
) -> anyhow::Result<Report> {
    let keys = args.keys.open()?;
    let now = args.now.map_or(now, UnixTime);
    let report = message_input::read(input, |header| {
        let (mut verifier, queries) = Verifier::start(header, &VerifyRules::default(), now);
        for (id, answer) in keys.answer(queries)? {
            verifier.answer(id, answer);
        }
        Ok(Verifying { verifier, json: args.json, output: &mut *output })
    })?;
    output.flush().context(CANNOT_WRITE)?;
    Ok(report)
}

struct Verifying<'o, W> {
    verifier: Verifier,
    json: bool,
    output: &'o mut W,
}

impl<W: Write> Reading for Verifying<'_, W> {
    type Outcome = Report;

    fn body(&mut self, chunk: &[u8]) {
        self.verifier.body(chunk);
    }

    fn finish(self, header: &Header<'_>) -> anyhow::Result<Report> {
        let report = self.verifier.finish();
        if self.json {
            verify_json::write(&report, header, self.output).context(CANNOT_WRITE)?;
        } else {
            self.output.write_all(in_lines(&report, header).as_bytes()).context(CANNOT_WRITE)?;
        }
        Ok(report)
    }
}

fn in_lines(report: &Report, header: &Header<'_>) -> String {
    if report.signatures.is_empty() {
        return "none\n".to_owned();
    }
    let mut lines = String::new();
    for signature in &report.signatures {
        let SignatureReport { signing_domain, selector, algorithm, outcome, .. } = signature;
        let domain = signing_domain.as_ref().map_or("-", DomainName::as_str);
        let selector = selector.as_ref().map_or("-", |selector| selector.as_str());
        let algorithm = algorithm.as_deref().unwrap_or("-");
        let result = outcome.result();
        let details = needs_details(signature).then(|| signature.details(header)).flatten();
        let reason = reason(signature, details.as_ref());
        writeln!(lines, "{result} d={domain} s={selector} a={algorithm} {reason}")
            .expect("a string takes all that is written");
    }
    lines
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: VerifyArgs,
    }

    /// RFC 8463 §A.3, the Ed25519 signature, with another one that is broken.
    const MESSAGE: &str = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; s=x y
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
";

    const RECORD: &str = "brisbane._domainkey.football.example.com\t\
        v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n";

    fn verified(dns: &str, more: &[&str], message: &str) -> anyhow::Result<(String, bool)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dns");
        std::fs::write(&path, dns).unwrap();
        let line = ["verify", "--dns-file", path.to_str().unwrap()];
        let args = Line::try_parse_from(line.iter().chain(more)).unwrap().args;
        let mut output = Vec::new();
        let report = verify(&args, UnixTime(1_790_000_000), &mut message.as_bytes(), &mut output)?;
        Ok((String::from_utf8(output).unwrap(), report.has_pass()))
    }

    #[test]
    fn each_signature_has_its_line() {
        let broken = "permerror d=- s=- a=rsa-sha256 the signature is unusable: \
            required tag b= is missing\n";
        for (dns, want, passes) in [
            (RECORD, "pass d=football.example.com s=brisbane a=ed25519-sha256 the", true),
            ("", "permerror d=football.example.com s=brisbane a=ed25519-sha256 there is no", false),
            (
                "# a comment\n\nBrisbane._domainkey.football.example.com.\tTIMEOUT\n",
                "temperror d=football.example.com",
                false,
            ),
            ("brisbane._domainkey.football.example.com\tSERVFAIL", "temperror d=", false),
            ("brisbane._domainkey.football.example.com\tNXDOMAIN", "permerror d=", false),
            ("brisbane._domainkey.football.example.com\tv=DKIM1; p=", "permerror d=", false),
        ] {
            for message in [MESSAGE.to_owned(), MESSAGE.replace('\n', "\r\n")] {
                let (text, has_pass) = verified(dns, &[], &message).unwrap();
                let (first, second) = text.split_at(text.find('\n').unwrap() + 1);
                assert!(first.starts_with(want), "{dns}: {text}");
                assert_eq!(second, broken);
                assert_eq!(has_pass, passes);
            }
        }
    }

    #[test]
    fn two_records_are_both_tried() {
        let dns = format!("{}{RECORD}", RECORD.replace("11qYAY", "22qYAY"));
        assert!(verified(&dns, &[], MESSAGE).unwrap().1);
    }

    #[test]
    fn a_message_without_signature_has_none() {
        let (text, has_pass) = verified("", &[], "From: a\n\nb\n").unwrap();
        assert_eq!((text.as_str(), has_pass), ("none\n", false));
        let (text, _) = verified("", &["--json"], "").unwrap();
        assert_eq!(text, "{\"result\":\"none\",\"signatures\":[]}\n");
    }

    #[test]
    fn json_has_all_that_is_known() {
        let (text, _) = verified(RECORD, &["--json"], MESSAGE).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        let name = |name: &str| json!({ "name": name, "hashed": 1, "empty": 0 });
        let twice = |name: &str| json!({ "name": name, "hashed": 1, "empty": 1 });
        let body_hash = "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=";
        let want = json!({
            "result": "pass",
            "signatures": [{
                "result": "pass",
                "domain": "football.example.com",
                "selector": "brisbane",
                "algorithm": "ed25519-sha256",
                "reason": "the signature verifies",
                "code": "verified",
                "cause": null,
                "remarks": [],
                "field": 0,
                "key_name": "brisbane._domainkey.football.example.com",
                "tags": {
                    "canonicalization": "relaxed/relaxed",
                    "identity": "@football.example.com",
                    "body_length": null,
                    "query_methods": ["dns/txt"],
                    "signed_at": 1_528_637_909,
                    "expires_at": null,
                },
                "header": {
                    "octets": CANONICAL_HEADER.len(),
                    "signed": [
                        twice("from"), name("to"), twice("subject"), twice("date"), name("message-id"),
                    ],
                    "unsigned": [{ "name": "DKIM-Signature", "fields": 1 }],
                    "lines_without_name": 0,
                },
                "copies": null,
                "body": {
                    "octets": CANONICAL_BODY.len(),
                    "octets_covered": CANONICAL_BODY.len(),
                    "declared_hash": body_hash,
                    "computed_hash": body_hash,
                },
                "key": {
                    "type": "ed25519", "bits": 256, "is_testing": false, "is_strict": false, "notes": null,
                },
            }, {
                "result": "permerror",
                "domain": null,
                "selector": null,
                "algorithm": "rsa-sha256",
                "reason": "the signature is unusable: required tag b= is missing",
                "code": "malformed-signature",
                "cause": "missing-tag",
                "remarks": [],
                "field": 1,
                "key_name": null,
                "tags": null,
                "header": null,
                "copies": null,
                "body": null,
                "key": null,
            }],
        });
        assert_eq!(value, want, "{text}");
    }

    /// What RFC 6376 §3.7 hashes of the header of [`MESSAGE`].
    const CANONICAL_HEADER: &str = "from:Joe SixPack <joe@football.example.com>\r\n\
        to:Suzie Q <suzie@shopping.example.net>\r\n\
        subject:Is dinner ready?\r\n\
        date:Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n\
        message-id:<20030712040037.46341.5F8J@football.example.com>\r\n\
        dkim-signature:v=1; a=ed25519-sha256; c=relaxed/relaxed; d=football.example.com; \
        i=@football.example.com; q=dns/txt; s=brisbane; t=1528637909; h=from : to : subject : \
        date : message-id : from : subject : date; \
        bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=; b=";

    /// And of its body (§3.4.4).
    const CANONICAL_BODY: &str = "Hi.\r\n\r\nWe lost the game. Are you hungry yet?\r\n\r\nJoe.\r\n";

    #[test]
    fn json_tells_what_is_missing_and_what_is_left_open() {
        let first = |dns: &str, more: &[&str], message: &str| {
            let line = [&["--json"], more].concat();
            let (text, _) = verified(dns, &line, message).unwrap();
            let mut value: Value = serde_json::from_str(&text).unwrap();
            value["signatures"][0].take()
        };
        // An expired signature is not hashed, and yet its tags and fields are told.
        let expired =
            MESSAGE.replacen("t=1528637909;", "t=1528637909; x=1528637999; z=From:x; l=5;", 1);
        let value = first(RECORD, &[], &expired);
        assert_eq!(value["code"], "expired");
        assert_eq!(value["tags"]["expires_at"], 1_528_637_999);
        assert_eq!(value["tags"]["body_length"], 5);
        assert_eq!(value["copies"]["fields"][0]["name"], "From");
        assert_eq!(value["reason"], "the signature has expired");
        assert_eq!(value["header"]["octets"], Value::Null);
        assert_eq!(value["header"]["signed"][0]["name"], "from");
        assert_eq!(value["body"]["computed_hash"], Value::Null);
        assert_eq!(value["key"], Value::Null);

        let value = first(RECORD, &["--now", "1528637910"], &expired);
        assert_eq!(value["code"], "body-hash-mismatch");
        assert_eq!(value["body"]["octets"], CANONICAL_BODY.len());
        assert_eq!(value["body"]["octets_covered"], 5);
        assert_ne!(value["body"]["computed_hash"], value["body"]["declared_hash"]);
        assert_eq!(value["key"]["type"], "ed25519");

        let revoked = "brisbane._domainkey.football.example.com\tv=DKIM1; p=";
        let value = first(revoked, &[], MESSAGE);
        assert_eq!(value["code"], "bad-key-record");
        assert_eq!(value["cause"], "revoked");
        assert_eq!(value["body"]["computed_hash"], value["body"]["declared_hash"]);

        let testing = RECORD.replace("k=ed25519", "k=ed25519; t=y:s");
        let value = first(&testing, &[], MESSAGE);
        assert_eq!(value["remarks"], json!(["key-testing"]));
        assert_eq!(value["key"]["is_testing"], true);
        assert_eq!(value["key"]["is_strict"], true);
        let changed = MESSAGE.replacen("Joe.", "Jim.", 1);
        let value = first(&testing, &[], &changed);
        assert_eq!(value["code"], "body-hash-mismatch");
        assert_eq!(value["remarks"], json!(["key-testing"]));
        let (text, _) = verified(&testing, &[], &changed).unwrap();
        let first_line = text.lines().next().unwrap();
        assert!(first_line.ends_with("; the domain is only testing (t=y)"), "{text}");

        let value = first(RECORD, &[], &MESSAGE.replacen("\n\n", "\nSubject: other\nX: y\n\n", 1));
        assert_eq!(value["code"], "signature-mismatch");
        let unsigned =
            json!([{ "name": "DKIM-Signature", "fields": 1 }, { "name": "X", "fields": 1 }]);
        assert_eq!(value["header"]["unsigned"], unsigned);
        assert_eq!(
            value["header"]["signed"][2],
            json!({ "name": "subject", "hashed": 2, "empty": 0 })
        );
    }

    #[test]
    fn copies_tell_what_was_changed() {
        let copies = "t=1528637909; z=Subject:Is=20dinner=20ready?|From:Eve=07|X:1|To:Suzie=20\
            Q=20<suzie@shopping.example.net>|=;";
        let message = MESSAGE.replacen("t=1528637909;", copies, 1);
        let line = |message: &str| {
            verified(RECORD, &[], message).unwrap().0.lines().next().unwrap().to_owned()
        };
        let since = "; by the copies in z=, changed or gone since: ";
        let end = format!("another key signed{since}from");
        assert!(line(&message).ends_with(&end), "{}", line(&message));
        // Also where the body is what fails first.
        let end = format!("changed after signing{since}from");
        assert!(line(&message.replacen("Joe.", "Jim.", 1)).ends_with(&end));

        let (text, _) =
            verified(RECORD, &["--json"], &message.replacen("Is d", "[x] Is d", 1)).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        let signature = &value["signatures"][0];
        let reason = signature["reason"].as_str().unwrap();
        assert!(reason.ends_with(&format!("{since}from, subject")), "{text}");
        let copy = |name: &str, value: &str, is_in_header: bool| json!({ "name": name, "value": value, "is_in_header": is_in_header });
        let want = [
            copy("Subject", "Is dinner ready?", false),
            copy("From", "Eve\u{7}", false),
            copy("X", "1", false),
            copy("To", "Suzie Q <suzie@shopping.example.net>", true),
        ];
        assert_eq!(signature["copies"], json!({ "fields": want, "left_out": 1 }));
    }

    #[test]
    fn a_line_stays_short() {
        let long = "n".repeat(64);
        let longer = "n".repeat(65);
        for (names, told) in [
            ("from : to : subject : date : a", ": from, to, subject, date, a"),
            ("from : to : subject : date : a : b", ": from, to, subject, date, a and more"),
            (&format!("from : {long}"), &format!(": from, {long}")),
            (&format!("from : {longer}"), ": from and more"),
            (&format!("{longer} : from"), ": from and more"),
        ] {
            let copies: Vec<_> = names.split(" : ").map(|name| format!("{name}:x")).collect();
            let h = format!("z={}; h={names}", copies.join("|"));
            let (start, end) = MESSAGE.split_once("h=").unwrap();
            let message = format!("{start}{h};{}", end.split_once(';').unwrap().1);
            let (text, _) = verified(RECORD, &[], &message).unwrap();
            assert!(text.lines().next().unwrap().ends_with(told), "{text}");
        }
        let message = MESSAGE
            .replacen("t=1528637909;", &format!("t=1528637909; z={longer}:x;"), 1)
            .replacen("h=from", &format!("h={longer} : from"), 1);
        let (text, _) = verified(RECORD, &[], &message).unwrap();
        assert!(text.lines().next().unwrap().ends_with("or another key signed"), "{text}");
    }

    #[test]
    fn notes_of_a_key_are_told() {
        let dns = RECORD.replace("k=ed25519", "k=ed25519; n=old key=FF");
        let (text, _) = verified(&dns, &["--json"], MESSAGE).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["signatures"][0]["key"]["notes"], "old key\u{FFFD}");
    }

    #[test]
    fn the_time_can_be_set() {
        let message = MESSAGE.replacen("t=1528637909", "t=1528637909; x=1600000000", 1);
        let (text, _) = verified(RECORD, &[], &message).unwrap();
        assert!(text.starts_with("permerror d=football.example.com") && text.contains("expired"));
        let (text, _) = verified(RECORD, &["--now", "1600000000"], &message).unwrap();
        assert!(text.starts_with("fail d=football.example.com"), "{text}");
    }

    #[test]
    fn mistakes_in_the_dns_file_name_their_line() {
        for (dns, want) in [
            ("a.example v=DKIM1", "line 1 has no tab"),
            ("\n#x\na b\tv=DKIM1", "line 3"),
            ("a.example\tTIMEOUT\na.example\tv=DKIM1", "line 2 contradicts"),
            ("a.example\tx\nA.example\tNXDOMAIN", "line 2 contradicts"),
        ] {
            let error = format!("{:#}", verified(dns, &[], MESSAGE).unwrap_err());
            assert!(error.contains(want), "{error}");
        }
    }
}

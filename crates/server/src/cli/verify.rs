//! `postseal verify`: says for each signature of one message whether it verifies, and why not.
//!
//! One line a DKIM-Signature field, from the top: the result, `d=`, `s=`, `a=` and the reason. Keys come
//! from the DNS, or from a file that stands for it ([`DnsFile`]).

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use postseal_dkim::{
    DomainName, Header, KeyAnswer, KeyQuery, KeyQueryId, LocalFile, Report, SignatureReport,
    UnixTime, Verifier, VerifyRules,
};
use postseal_dns::{LookupFailure, Patience, RecursiveClient, TextAnswer};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::cannot;
use super::sign::{CANNOT_WRITE, read_message};
use crate::clock;

/// Arguments of `postseal verify`.
#[derive(Args, Debug)]
pub(super) struct VerifyArgs {
    /// A file instead of the DNS: one TXT record a line, owner TAB text
    #[arg(long, value_name = "FILE", conflicts_with = "dns_server")]
    dns_file: Option<PathBuf>,
    /// The resolver to ask, address or address:port [default: those of this host]
    #[arg(long, value_name = "ADDR", value_parser = server_address)]
    dns_server: Option<SocketAddr>,
    /// The time to compare expiry with, in seconds since 1970 [default: now]
    #[arg(long, value_name = "UNIX")]
    now: Option<u64>,
    /// Print one JSON object instead of lines
    #[arg(long)]
    json: bool,
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
    let keys = match (&args.dns_file, args.dns_server) {
        (Some(path), _) => Keys::File(DnsFile::read(path)?),
        (None, Some(server)) => {
            Keys::Resolver(RecursiveClient::new(vec![server], Patience::default()))
        }
        (None, None) => Keys::Resolver(RecursiveClient::of_this_host()?),
    };
    let message = read_message(input)?;
    let wire = LocalFile::new(&message).to_wire();
    let (header, body) = Header::of_message(&wire)?;

    let now = args.now.map_or(now, UnixTime);
    let (mut verifier, queries) = Verifier::start(&header, &VerifyRules::default(), now);
    for (id, answer) in keys.answer(queries)? {
        verifier.answer(id, answer);
    }
    verifier.body(body);
    let report = verifier.finish();

    let text = if args.json { in_json(&report) } else { in_lines(&report) };
    output.write_all(text.as_bytes()).context(CANNOT_WRITE)?;
    output.flush().context(CANNOT_WRITE)?;
    Ok(report)
}

/// Where key records come from.
enum Keys {
    File(DnsFile),
    Resolver(RecursiveClient),
}

impl Keys {
    fn answer(&self, queries: Vec<KeyQuery>) -> anyhow::Result<Vec<(KeyQueryId, KeyAnswer)>> {
        match self {
            Self::File(file) => {
                Ok(queries.into_iter().map(|query| (query.id, file.answer(&query.name))).collect())
            }
            Self::Resolver(_) if queries.is_empty() => Ok(Vec::new()),
            Self::Resolver(client) => {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .context("cannot start the runtime")?;
                Ok(runtime.block_on(ask_all(client, queries)))
            }
        }
    }
}

/// Asks for all names at once; the verifier bounds how many there are.
async fn ask_all(client: &RecursiveClient, queries: Vec<KeyQuery>) -> Vec<(KeyQueryId, KeyAnswer)> {
    let mut tasks = JoinSet::new();
    for query in queries {
        let client = client.clone();
        tasks.spawn(async move { (query.id, key_answer(client.texts(&query.name).await)) });
    }
    tasks.join_all().await
}

fn key_answer(answer: TextAnswer) -> KeyAnswer {
    match answer {
        TextAnswer::Texts(texts) => KeyAnswer::from_texts(texts),
        TextAnswer::NoSuchName | TextAnswer::NoText => KeyAnswer::NoRecord,
        TextAnswer::Failed(LookupFailure::Timeout) => KeyAnswer::Timeout,
        TextAnswer::Failed(_) => KeyAnswer::ServerFailure,
    }
}

/// A file that stands for the DNS, for tests and for old mail.
///
/// UTF-8, one TXT record a line: the owner, a tab, and the text with its strings joined. The text may
/// be the single word `NXDOMAIN`, `SERVFAIL` or `TIMEOUT`. An owner that is not listed does not exist,
/// one listed twice has two records. Empty lines and lines that begin with `#` count for nothing.
#[derive(Debug, Default)]
struct DnsFile(HashMap<DomainName, Entry>);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Unanswered {
    NoSuchName,
    ServerFailure,
    Timeout,
}

#[derive(Debug)]
enum Entry {
    Texts(Vec<String>),
    Unanswered(Unanswered),
}

impl DnsFile {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut file = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let (owner, text) = line
                .split_once('\t')
                .ok_or_else(|| anyhow!("line {number} has no tab behind the owner"))?;
            let owner = DomainName::parse(owner.trim())
                .with_context(|| format!("line {number}: {owner:?} is no owner"))?;
            let failure = match text.trim() {
                "NXDOMAIN" => Some(Unanswered::NoSuchName),
                "SERVFAIL" => Some(Unanswered::ServerFailure),
                "TIMEOUT" => Some(Unanswered::Timeout),
                _ => None,
            };
            match (file.0.get_mut(&owner), failure) {
                (None, Some(failure)) => {
                    file.0.insert(owner, Entry::Unanswered(failure));
                }
                (None, None) => {
                    file.0.insert(owner, Entry::Texts(vec![text.to_owned()]));
                }
                (Some(Entry::Texts(texts)), None) => texts.push(text.to_owned()),
                (Some(Entry::Unanswered(seen)), Some(failure)) if *seen == failure => {}
                (Some(_), _) => bail!("line {number} contradicts an earlier line on {owner}"),
            }
        }
        Ok(file)
    }

    fn answer(&self, name: &DomainName) -> KeyAnswer {
        match self.0.get(name) {
            Some(Entry::Texts(texts)) => KeyAnswer::from_texts(texts),
            Some(Entry::Unanswered(Unanswered::NoSuchName)) | None => KeyAnswer::NoRecord,
            Some(Entry::Unanswered(Unanswered::ServerFailure)) => KeyAnswer::ServerFailure,
            Some(Entry::Unanswered(Unanswered::Timeout)) => KeyAnswer::Timeout,
        }
    }
}

fn in_lines(report: &Report) -> String {
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
        writeln!(lines, "{result} d={domain} s={selector} a={algorithm} {outcome}")
            .expect("a string takes all that is written");
    }
    lines
}

/// `{"result": "pass" | "none" | …, "signatures": [{"result", "domain", "selector", "algorithm",
/// "reason"}, …]}`; what cannot be read is null. The result of the message is `pass` if a signature
/// passes, else that of the first signature.
fn in_json(report: &Report) -> String {
    let signatures: Vec<Value> = report
        .signatures
        .iter()
        .map(|signature| {
            json!({
                "result": signature.outcome.result().as_str(),
                "domain": signature.signing_domain.as_ref().map(DomainName::as_str),
                "selector": signature.selector.as_ref().map(|selector| selector.as_str()),
                "algorithm": signature.algorithm,
                "reason": signature.outcome.to_string(),
            })
        })
        .collect();
    let result = match report.signatures.first() {
        _ if report.has_pass() => "pass",
        Some(first) => first.outcome.result().as_str(),
        None => "none",
    };
    format!("{}\n", json!({ "result": result, "signatures": signatures }))
}

fn server_address(text: &str) -> Result<SocketAddr, String> {
    text.parse::<SocketAddr>()
        .or_else(|_| text.parse::<IpAddr>().map(|address| SocketAddr::new(address, DNS_PORT)))
        .map_err(|_| {
            "not an address such as 192.0.2.1, 192.0.2.1:53 or [2001:db8::1]:53".to_owned()
        })
}

/// RFC 1035 §4.2.
const DNS_PORT: u16 = 53;

#[cfg(test)]
mod tests {
    use clap::Parser;

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
    fn json_has_the_same_parts() {
        let (text, _) = verified(RECORD, &["--json"], MESSAGE).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["result"], "pass");
        assert_eq!(value["signatures"][0]["domain"], "football.example.com");
        assert_eq!(value["signatures"][0]["selector"], "brisbane");
        assert_eq!(value["signatures"][1]["result"], "permerror");
        assert_eq!(value["signatures"][1]["domain"], Value::Null);
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

    #[test]
    fn resolvers_are_named_by_address() {
        for (text, want) in [
            ("127.0.0.1", Some("127.0.0.1:53")),
            ("127.0.0.1:5300", Some("127.0.0.1:5300")),
            ("::1", Some("[::1]:53")),
            ("[::1]:54", Some("[::1]:54")),
            ("dns.example", None),
            ("", None),
        ] {
            let parsed = server_address(text).ok().map(|address| address.to_string());
            assert_eq!(parsed.as_deref(), want, "{text}");
        }
    }
}

//! Where the commands that verify get key records from: the resolvers of this host, another one, or a
//! file that stands for the DNS.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use postseal_dkim::{DomainName, KeyAnswer, KeyQuery, KeyQueryId};
use postseal_dns::{LookupFailure, Patience, RecursiveClient, TextAnswer};
use tokio::task::JoinSet;

/// The arguments that say where keys come from.
#[derive(Args, Debug)]
pub(super) struct KeyArgs {
    /// A file instead of the DNS: one TXT record a line, owner TAB text
    #[arg(long, value_name = "FILE", conflicts_with = "dns_server")]
    dns_file: Option<PathBuf>,
    /// The resolver to ask, address or address:port [default: those of this host]
    #[arg(long, value_name = "ADDR", value_parser = server_address)]
    dns_server: Option<SocketAddr>,
}

impl KeyArgs {
    /// Reads the file or takes the resolver.
    pub(super) fn open(&self) -> anyhow::Result<Keys> {
        Ok(match (&self.dns_file, self.dns_server) {
            (Some(path), _) => Keys::File(DnsFile::read(path)?),
            (None, Some(server)) => {
                Keys::Resolver(RecursiveClient::new(vec![server], Patience::default()))
            }
            (None, None) => Keys::Resolver(RecursiveClient::of_this_host()?),
        })
    }
}

/// Where key records come from.
pub(super) enum Keys {
    File(DnsFile),
    Resolver(RecursiveClient),
}

impl Keys {
    /// The answers to queries, in any order.
    pub(super) fn answer(
        &self,
        queries: Vec<KeyQuery>,
    ) -> anyhow::Result<Vec<(KeyQueryId, KeyAnswer)>> {
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
pub(super) struct DnsFile(HashMap<DomainName, Entry>);

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
    use super::*;

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

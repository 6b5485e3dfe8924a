//! Whether a key record is seen, and what stands in the way.
//!
//! Pure: a [`KeyLook`] and the key that should be there in, a [`Judgement`] out. For each step of the
//! chain of aliases the servers of its zone vote:
//!
//! ```text
//!                     all its answers are right ─▶ exact
//!  a server answers ──┤ all are wrong ───────────▶ wrong      right: the one TXT record with our key,
//!   on any address    └ some are wrong ──────────▶ mixed      or the alias that the chain follows
//!  a server does not answer ─────────────────────▶ silent
//!
//!  step is seen:  exact = all that answer, and more than half of the zone's servers answer
//!  step is gone:  wrong > half of those that answer
//! ```
//!
//! The record is seen if every step is, and gone if any is. A server that fails is a finding and never
//! makes a record gone. An answer that comes from a wildcard is no proof that the domain's owner
//! published anything, so such a record is not seen; nor is one of which nobody could say whether it comes
//! from a wildcard.
//!
//! Time is not judged here: that a record is seen twice, or gone twice, minutes apart, is for the key's
//! life cycle. [`Judgement`] has the TTLs that it needs.

use std::cmp::Reverse;
use std::time::Duration;

use postseal_dkim::{DomainName, KeyRecordError};

use crate::exchange::ExchangeError;
use crate::finding::Finding;
use crate::look::{AddressLook, Answer, ChainEnd, KeyLook, ServerLook, ServerName, Step};
use crate::message::{Target, ZoneName};
use crate::record_text::{WantedRecord, is_split_over_records};

/// What should be found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WantedKey {
    record: WantedRecord,
    alias: Option<DomainName>,
}

impl WantedKey {
    /// A key by the text of its record.
    pub fn parse(record: &[u8]) -> Result<Self, KeyRecordError> {
        Ok(Self { record: WantedRecord::parse(record)?, alias: None })
    }

    /// The same, to be reached over an alias to `target`. A TXT record with the right key in its place is
    /// still seen; the target only explains what is wrong when it is not.
    #[must_use]
    pub fn through(self, target: DomainName) -> Self {
        Self { alias: Some(target), ..self }
    }
}

/// What a look means, from good to bad.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Verdict {
    /// The exact key, at all servers that answer, and enough of them do.
    Seen,
    /// Neither seen nor gone: servers fail or disagree, or a wildcard answers.
    NotSeen,
    /// Most of the servers that answer deny the record or have another.
    Gone,
}

/// A verdict with its reasons.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// What was found, the worst first. There may be warnings for a record that is seen.
    pub findings: Vec<Finding>,
    /// The longest TTL of records that are not what they should be, in seconds: how long receivers may
    /// go on with them when they have been put right.
    pub other_ttl: Option<u32>,
    /// The longest negative TTL of the zones on the way, in seconds: how long receivers may go on
    /// believing that there is no record.
    pub negative_ttl: Option<u32>,
}

impl Judgement {
    /// Says whether the record is seen.
    #[must_use]
    pub fn is_seen(&self) -> bool {
        self.verdict == Verdict::Seen
    }

    /// How long to wait before a second look proves that no resolver has an older answer, if the name
    /// once answered something else with a TTL of `former_ttl` seconds (none: it answered nothing).
    #[must_use]
    pub fn wait_for_second_look(&self, former_ttl: Option<u32>) -> Duration {
        let negative_ttl = self.negative_ttl.unwrap_or(UNKNOWN_NEGATIVE_TTL);
        let longest = former_ttl.unwrap_or(0).max(self.other_ttl.unwrap_or(0)).max(negative_ttl);
        Duration::from_secs(u64::from(longest))
    }
}

/// Judges a look.
#[must_use]
pub fn judge(look: &KeyLook, wanted: &WantedKey) -> Judgement {
    let mut findings = Vec::new();
    let mut verdict = Verdict::Seen;
    for (index, step) in look.steps.iter().enumerate() {
        let right = Right { next: look.steps.get(index + 1).map(|next| &next.owner), wanted };
        let votes = Votes::count(step, &right);
        verdict = verdict.max(votes.verdict());
        let former = index.checked_sub(1).and_then(|former| look.steps.get(former));
        describe_answers(look, former, step, &right, &votes, &mut findings);
        describe_servers(step, &votes, &mut findings);
    }
    let last = || look.steps.last().map_or(&look.name, |step| &step.owner).clone();
    match &look.end {
        ChainEnd::Complete => {}
        ChainEnd::Loop(name) => findings.push(Finding::AliasLoop { name: name.clone() }),
        ChainEnd::NotAName(target) => {
            findings.push(Finding::AliasToNoName { name: last(), target: target.clone() });
        }
        ChainEnd::TooLong => {
            // A resolver with more patience may still get there.
            verdict = Verdict::NotSeen;
            findings.push(Finding::TooManyAliases { name: last() });
        }
        ChainEnd::OutOfBudget => {
            verdict = Verdict::NotSeen;
            findings.push(Finding::OutOfBudget);
        }
    }
    match wildcard(look) {
        Wildcard::No => {}
        Wildcard::Beside => findings.push(Finding::WildcardBeside { name: look.name.clone() }),
        Wildcard::Answers => {
            verdict = verdict.max(Verdict::NotSeen);
            findings.push(Finding::Wildcard { name: look.name.clone() });
        }
        // Where the record is not seen anyway, other findings say why.
        Wildcard::Unknown if verdict == Verdict::Seen => {
            verdict = Verdict::NotSeen;
            findings.push(Finding::WildcardUnknown { name: look.name.clone() });
        }
        Wildcard::Unknown => {}
    }
    describe_surroundings(look, wanted, verdict, &mut findings);

    // Stable: of equally bad ones the earlier stays in front.
    findings.sort_by_key(|finding| Reverse(finding.severity()));
    let mut distinct: Vec<Finding> = Vec::with_capacity(findings.len());
    for finding in findings {
        if !distinct.contains(&finding) {
            distinct.push(finding);
        }
    }
    Judgement {
        verdict,
        findings: distinct,
        other_ttl: other_ttl(look, wanted),
        negative_ttl: look.steps.iter().filter_map(|step| step.negative_ttl).max(),
    }
}

/// What the right answer of a step is: the alias to the next step, or at the end our key.
struct Right<'a> {
    next: Option<&'a DomainName>,
    wanted: &'a WantedKey,
}

impl Right<'_> {
    fn is(&self, answer: &Answer) -> bool {
        match (answer, self.next) {
            (Answer::Alias { target, .. }, Some(next)) => target.name() == Some(next),
            (Answer::Texts { texts, .. }, None) => match texts.as_slice() {
                [text] => self.wanted.record.is_met_by(text),
                // RFC 6376 §3.6.2.2: with several records, the result is undefined.
                _ => false,
            },
            _ => false,
        }
    }
}

/// How the servers of one zone vote.
#[derive(Debug, Default)]
struct Votes {
    exact: usize,
    mixed: Vec<ServerName>,
    wrong: Vec<ServerName>,
    silent: usize,
}

impl Votes {
    fn count(step: &Step, right: &Right<'_>) -> Self {
        let mut votes = Self::default();
        for server in &step.servers {
            let mut rights = 0;
            let mut answers = 0;
            for look in &server.addresses {
                if look.answer.is_about_the_name() {
                    answers += 1;
                    rights += usize::from(right.is(&look.answer));
                }
            }
            match (answers, rights) {
                (0, _) => votes.silent += 1,
                (answers, rights) if answers == rights => votes.exact += 1,
                (_, 0) => votes.wrong.push(server.server.clone()),
                (_, _) => votes.mixed.push(server.server.clone()),
            }
        }
        votes
    }

    fn answering(&self) -> usize {
        self.exact + self.mixed.len() + self.wrong.len()
    }

    fn servers(&self) -> usize {
        self.answering() + self.silent
    }

    fn has_quorum(&self) -> bool {
        self.answering() * 2 > self.servers()
    }

    fn verdict(&self) -> Verdict {
        if self.wrong.len() * 2 > self.answering() {
            Verdict::Gone
        } else if self.has_quorum() && self.exact == self.answering() {
            Verdict::Seen
        } else {
            Verdict::NotSeen
        }
    }
}

fn describe_answers(
    look: &KeyLook,
    former: Option<&Step>,
    step: &Step,
    right: &Right<'_>,
    votes: &Votes,
    findings: &mut Vec<Finding>,
) {
    let mut wrong: Vec<&Answer> = Vec::new();
    for answer in step.answers().filter(|answer| answer.is_about_the_name()) {
        if right.is(answer) {
            describe_right(step, answer, right.wanted, findings);
        } else if !wrong.iter().any(|known| known.tells_the_same(answer)) {
            wrong.push(answer);
        }
    }
    if votes.exact + votes.mixed.len() > 0 {
        let wrong: Vec<ServerName> = votes.wrong.iter().chain(&votes.mixed).cloned().collect();
        if !wrong.is_empty() {
            findings.push(Finding::ServersDisagree { name: step.owner.clone(), wrong });
        }
        return;
    }
    for answer in wrong.into_iter().take(MAX_DESCRIBED_ANSWERS) {
        describe_wrong(look, former, step, answer, right.wanted, findings);
    }
}

fn describe_right(step: &Step, answer: &Answer, wanted: &WantedKey, findings: &mut Vec<Finding>) {
    let name = &step.owner;
    if let Answer::Texts { texts, .. } = answer {
        for text in texts {
            findings.extend(record_findings(name, text, wanted));
        }
    }
    if let Some(ttl) = answer.ttl().filter(|ttl| *ttl == 0 || *ttl > LONG_TTL) {
        findings.push(Finding::ExtremeTtl { name: name.clone(), ttl });
    }
}

fn describe_wrong(
    look: &KeyLook,
    former: Option<&Step>,
    step: &Step,
    answer: &Answer,
    wanted: &WantedKey,
    findings: &mut Vec<Finding>,
) {
    let name = step.owner.clone();
    match (answer, former) {
        (Answer::NoSuchName { .. } | Answer::NoText { .. }, Some(former)) => {
            findings.push(Finding::DanglingAlias { name: former.owner.clone(), target: name });
        }
        (Answer::NoSuchName { .. }, None) => findings.push(match &look.denied_ancestor {
            Some(denied) if look.domain.is_same_or_subdomain_of(&denied.name) => {
                Finding::DomainMissing { domain: denied.name.clone() }
            }
            Some(_) | None => Finding::Missing { name },
        }),
        (Answer::NoText { .. }, None) if look.has_address => {
            findings.push(Finding::Proxied { name });
        }
        (Answer::NoText { .. }, None) => findings.push(Finding::NoText { name }),
        (Answer::Texts { texts, .. }, former) => {
            match texts.as_slice() {
                [text] => findings.extend(record_findings(&name, text, wanted)),
                texts if is_split_over_records(texts) => {
                    findings.push(Finding::SplitOverRecords { name: name.clone() });
                }
                texts => {
                    let count = texts.len();
                    findings.push(Finding::SeveralRecords { name: name.clone(), count });
                }
            }
            if let (Some(target), None) = (&wanted.alias, former) {
                findings.push(Finding::RecordBlocksAlias { name, wanted: target.clone() });
            }
        }
        (Answer::Contradiction, _) => findings.push(Finding::Contradiction { name }),
        // An alias that is not followed is a loop or leads nowhere, which the end of the chain says.
        (Answer::Alias { .. }, _) => {}
        (Answer::Lame | Answer::Failed(_) | Answer::NoReply(_), _) => {}
    }
}

fn record_findings<'a>(
    name: &'a DomainName,
    text: &'a [u8],
    wanted: &WantedKey,
) -> impl Iterator<Item = Finding> + 'a {
    wanted.record.faults(text).into_iter().map(|fault| Finding::Record {
        name: name.clone(),
        text: text.into(),
        fault,
    })
}

fn describe_servers(step: &Step, votes: &Votes, findings: &mut Vec<Finding>) {
    if !votes.has_quorum() {
        findings.push(Finding::TooFewAnswers {
            zone: step.zone.clone(),
            answering: votes.answering(),
            servers: votes.servers(),
        });
    }
    // If the root does not answer, this host is cut off, and nothing is wrong with the servers.
    if votes.has_quorum() || step.zone != ZoneName::Root {
        findings.extend(step.servers.iter().filter_map(|server| server_finding(step, server)));
    }
}

/// Why a server counts as silent. One that answers on any address does not.
fn server_finding(step: &Step, server: &ServerLook) -> Option<Finding> {
    let zone = step.zone.clone();
    let name = server.server.clone();
    if server.addresses.iter().any(|look| look.answer.is_about_the_name()) {
        return None;
    }
    // What a server said itself tells more than that another of its addresses was silent.
    let telling = |answer: &Answer| {
        let is_no_way = matches!(
            answer,
            // This host may have no way to one of the families.
            Answer::NoReply(ExchangeError::Unreachable(_) | ExchangeError::NotPublic)
        );
        let is_own_word = matches!(answer, Answer::Failed(_) | Answer::Lame);
        (is_own_word, !is_no_way)
    };
    let answers = server.addresses.iter().map(|look| &look.answer);
    Some(match answers.max_by_key(|answer| telling(answer)) {
        None => Finding::ServerWithoutAddress { zone, server: name },
        Some(Answer::Failed(code)) => Finding::ServerFailed { zone, server: name, code: *code },
        Some(Answer::NoReply(ExchangeError::TcpFailed)) => {
            Finding::TcpBroken { zone, server: name }
        }
        Some(Answer::NoReply(error)) => Finding::ServerSilent { zone, server: name, error: *error },
        Some(_) => Finding::ServerLame { zone, server: name },
    })
}

/// What a random name beside the record shows.
enum Wildcard {
    /// No wildcard answers, or there is no record.
    No,
    /// A wildcard answers something else than the record.
    Beside,
    /// The record may be a wildcard's: any name gets the same.
    Answers,
    /// There is a record, and nobody said anything of the random name.
    Unknown,
}

/// The wildcard that gives the answer, or stands beside it. What a wildcard answers proves nothing about
/// who published it, and whoever lets the question for the random name fail must gain nothing by it.
fn wildcard(look: &KeyLook) -> Wildcard {
    let Some(first) = look.steps.first() else { return Wildcard::No };
    match &look.sibling {
        _ if !first.answers().any(Answer::is_record) => Wildcard::No,
        Some(Answer::NoSuchName { .. } | Answer::NoText { .. }) => Wildcard::No,
        Some(sibling @ (Answer::Texts { .. } | Answer::Alias { .. })) => {
            let gives_ours = first.answers().any(|answer| answer.tells_the_same(sibling));
            if gives_ours { Wildcard::Answers } else { Wildcard::Beside }
        }
        None
        | Some(Answer::Contradiction | Answer::Lame | Answer::Failed(_) | Answer::NoReply(_)) => {
            Wildcard::Unknown
        }
    }
}

fn describe_surroundings(
    look: &KeyLook,
    wanted: &WantedKey,
    verdict: Verdict,
    findings: &mut Vec<Finding>,
) {
    let Some(first) = look.steps.first() else { return };
    // Only a server that has the record itself contradicts itself there; another may be behind.
    if let Some(denied) = &look.denied_ancestor {
        let has_record = |look: &AddressLook| look.address == denied.by && look.answer.is_record();
        if first.servers.iter().flat_map(|server| &server.addresses).any(has_record) {
            findings.push(Finding::AncestorDenied { ancestor: denied.name.clone() });
        }
    }
    if let Some(misplaced) = &look.misplaced {
        findings.push(Finding::Misplaced {
            name: look.name.clone(),
            at: misplaced.at.clone(),
            slip: misplaced.slip,
        });
    }
    if verdict == Verdict::Seen {
        return;
    }
    if let (Some(target), Some(wanted)) = (first.alias(), &wanted.alias)
        && target.name() != Some(wanted)
    {
        let name = look.name.clone();
        let target = target.clone();
        findings.push(if has_zone_appended(&target, wanted, first, look) {
            Finding::ZoneInAlias { name, target }
        } else {
            Finding::WrongAlias { name, target, wanted: wanted.clone() }
        });
    }
    if let ZoneName::Domain(zone) = &first.zone
        && *zone != look.domain
        && zone.is_same_or_subdomain_of(&look.domain)
    {
        findings.push(Finding::DelegatedBelow { zone: zone.clone() });
    }
}

fn has_zone_appended(target: &Target, wanted: &DomainName, first: &Step, look: &KeyLook) -> bool {
    let target = target.to_string();
    [first.zone.to_string(), look.domain.to_string()]
        .iter()
        .any(|zone| target == format!("{wanted}.{zone}"))
}

fn other_ttl(look: &KeyLook, wanted: &WantedKey) -> Option<u32> {
    let steps = look.steps.iter().enumerate();
    steps
        .flat_map(|(index, step)| {
            let right = Right { next: look.steps.get(index + 1).map(|next| &next.owner), wanted };
            step.answers().filter(move |answer| !right.is(answer))
        })
        .filter_map(Answer::ttl)
        .max()
}

/// Answers of one step that are described one by one; more than these differ only in that they do.
const MAX_DESCRIBED_ANSWERS: usize = 3;

/// A day, in seconds.
const LONG_TTL: u32 = 86_400;

/// Where no server gave an SOA: an hour, in seconds, the lower of RFC 2308 §5's usual bounds.
const UNKNOWN_NEGATIVE_TTL: u32 = 3600;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::finding::Severity;
    use crate::look::{DeniedAncestor, Listed, Misplaced, Slip};
    use crate::message::ReplyCode;
    use crate::record_text::RecordFault;

    const KEY: &str = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    const OTHER: &str = "v=DKIM1; k=ed25519; p=MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=";
    const OWNER: &str = "s._domainkey.example.test";

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).unwrap()
    }

    fn wanted() -> WantedKey {
        WantedKey::parse(KEY.as_bytes()).unwrap()
    }

    fn texts(texts: &[&str]) -> Answer {
        Answer::Texts { texts: texts.iter().map(|text| text.as_bytes().into()).collect(), ttl: 300 }
    }

    fn exact() -> Answer {
        texts(&[KEY])
    }

    fn alias(target: &str) -> Answer {
        Answer::Alias { target: Target::Name(name(target)), ttl: 600 }
    }

    fn missing() -> Answer {
        Answer::NoSuchName { negative_ttl: Some(900) }
    }

    fn timeout() -> Answer {
        Answer::NoReply(ExchangeError::Timeout)
    }

    /// A step in which each inner list is a server with one answer an address.
    fn step(owner: &str, servers: Vec<Vec<Answer>>) -> Step {
        let servers = servers.into_iter().enumerate().map(|(number, answers)| ServerLook {
            server: ServerName::Host(name(&format!("ns{number}.test"))),
            listed: Listed::ByParent,
            addresses: answers
                .into_iter()
                .map(|answer| AddressLook {
                    address: SocketAddr::from(([192, 0, 2, 1], 53)),
                    answer,
                })
                .collect(),
        });
        Step {
            owner: name(owner),
            zone: ZoneName::Domain(name("example.test")),
            negative_ttl: Some(900),
            servers: servers.collect(),
        }
    }

    fn look(steps: Vec<Step>) -> KeyLook {
        KeyLook {
            domain: name("example.test"),
            name: name(OWNER),
            steps,
            end: ChainEnd::Complete,
            sibling: Some(missing()),
            has_address: false,
            denied_ancestor: None,
            misplaced: None,
        }
    }

    fn one_step(servers: Vec<Vec<Answer>>) -> KeyLook {
        look(vec![step(OWNER, servers)])
    }

    fn codes(judgement: &Judgement) -> Vec<&'static str> {
        judgement.findings.iter().map(Finding::code).collect()
    }

    fn denied(ancestor: &str) -> Option<DeniedAncestor> {
        Some(DeniedAncestor { name: name(ancestor), by: SocketAddr::from(([192, 0, 2, 1], 53)) })
    }

    #[test]
    fn servers_vote() {
        use Verdict::{Gone, NotSeen, Seen};
        let lame = || Answer::Lame;
        let failed = || Answer::Failed(ReplyCode::ServFail);
        let cases = [
            (vec![vec![exact()]], Seen, vec![]),
            (vec![vec![exact()], vec![exact()]], Seen, vec![]),
            // More than half have to answer.
            (vec![vec![exact()], vec![timeout()]], NotSeen, vec!["D41", "D41"]),
            (vec![vec![exact()], vec![exact()], vec![timeout()]], Seen, vec!["D41"]),
            (vec![vec![exact()], vec![failed()], vec![lame()]], NotSeen, vec!["D41"; 3]),
            // On any of their addresses.
            (vec![vec![exact(), timeout()], vec![timeout(), exact()]], Seen, vec![]),
            (vec![vec![exact(), missing()], vec![exact()]], NotSeen, vec!["D42"]),
            // All that answer have to give it, and a minority takes nothing away.
            (vec![vec![exact()], vec![missing()]], NotSeen, vec!["D42"]),
            (vec![vec![exact()], vec![exact()], vec![missing()]], NotSeen, vec!["D42"]),
            (vec![vec![exact()], vec![missing()], vec![missing()]], Gone, vec!["D42"]),
            (vec![vec![missing()], vec![texts(&[OTHER])]], Gone, vec!["D01", "D13"]),
            // Failing servers are no denial.
            (vec![vec![timeout()], vec![failed()]], NotSeen, vec!["D41"; 3]),
            (
                vec![vec![missing()], vec![timeout()], vec![timeout()]],
                Gone,
                vec!["D01", "D41", "D41", "D41"],
            ),
            (vec![vec![]], NotSeen, vec!["D41", "D41"]),
            (vec![], NotSeen, vec!["D41"]),
        ];
        for (servers, verdict, want) in cases {
            let look = one_step(servers);
            let judgement = judge(&look, &wanted());
            assert_eq!(judgement.verdict, verdict, "{:#?}", look.steps);
            assert_eq!(codes(&judgement), want, "{:#?}", judgement.findings);
        }
    }

    #[test]
    fn one_record_with_the_exact_key_is_right_and_nothing_else() {
        let cut = &KEY[..KEY.len() - 8];
        let (head, rest) = KEY.split_at(40);
        let cases = [
            (texts(&[KEY]), Verdict::Seen, vec![]),
            (texts(&[&KEY.replace(' ', "")]), Verdict::Seen, vec![]),
            (texts(&[&KEY.replace("; p=", "; t=y; p=")]), Verdict::Seen, vec!["D35"]),
            (texts(&[OTHER]), Verdict::Gone, vec!["D13"]),
            (texts(&[cut]), Verdict::Gone, vec!["D14"]),
            (texts(&[&format!("\"{KEY}\"")]), Verdict::Gone, vec!["D18"]),
            (texts(&[&KEY.replace("; p=", "; h=sha1; p=")]), Verdict::Gone, vec!["D37"]),
            (texts(&[&KEY.replace("; p=", "; s=tlsrpt; p=")]), Verdict::Gone, vec!["D38"]),
            (texts(&[head, rest]), Verdict::Gone, vec!["D16"]),
            (texts(&[KEY, KEY]), Verdict::Gone, vec!["D17"]),
            (texts(&[KEY, "v=spf1 -all"]), Verdict::Gone, vec!["D17"]),
            (missing(), Verdict::Gone, vec!["D01"]),
            (Answer::NoText { negative_ttl: None }, Verdict::Gone, vec!["D02"]),
            (Answer::Contradiction, Verdict::Gone, vec!["D10"]),
        ];
        for (answer, verdict, want) in cases {
            let judgement = judge(&one_step(vec![vec![answer.clone()]]), &wanted());
            assert_eq!((judgement.verdict, codes(&judgement)), (verdict, want), "{answer}");
        }
    }

    #[test]
    fn the_whole_chain_has_to_be_right() {
        let first = |answers: Vec<Vec<Answer>>| step(OWNER, answers);
        let second = |answers: Vec<Vec<Answer>>| step("k.esp.test", answers);
        let good = || vec![vec![alias("k.esp.test")]];
        let cases = [
            (first(good()), second(vec![vec![exact()]]), Verdict::Seen, vec![]),
            (first(good()), second(vec![vec![missing()]]), Verdict::Gone, vec!["D12"]),
            (first(good()), second(vec![vec![texts(&[OTHER])]]), Verdict::Gone, vec!["D13"]),
            (first(good()), second(vec![vec![timeout()]]), Verdict::NotSeen, vec!["D41", "D41"]),
            (
                first(vec![vec![alias("k.esp.test")], vec![alias("old.esp.test")]]),
                second(vec![vec![exact()]]),
                Verdict::NotSeen,
                vec!["D42"],
            ),
            (
                first(vec![vec![alias("k.esp.test")], vec![exact()]]),
                second(vec![vec![exact()]]),
                Verdict::NotSeen,
                vec!["D42"],
            ),
        ];
        for (first, second, verdict, want) in cases {
            let look = look(vec![first, second]);
            let judgement = judge(&look, &wanted());
            assert_eq!(
                (judgement.verdict, codes(&judgement)),
                (verdict, want),
                "{:#?}",
                look.steps
            );
        }
    }

    #[test]
    fn how_the_chain_ends_decides_too() {
        let looped = || one_step(vec![vec![alias(OWNER)]]);
        let bad = Target::NotAHost(r"a\.b.".into());
        let cases = [
            (ChainEnd::Loop(name(OWNER)), Verdict::Gone, vec!["D49"]),
            (ChainEnd::NotAName(bad), Verdict::Gone, vec!["D07"]),
            (ChainEnd::TooLong, Verdict::NotSeen, vec!["D49"]),
            (ChainEnd::OutOfBudget, Verdict::NotSeen, vec!["D41"]),
        ];
        for (end, verdict, want) in cases {
            let look = KeyLook { end, ..looped() };
            let judgement = judge(&look, &wanted());
            assert_eq!((judgement.verdict, codes(&judgement)), (verdict, want), "{:?}", look.end);
        }
    }

    #[test]
    fn a_host_that_cannot_reach_the_root_is_told_so_once() {
        let mut cut_off = one_step(vec![vec![Answer::Lame], vec![timeout()], vec![timeout()]]);
        cut_off.steps[0].zone = ZoneName::Root;
        let judgement = judge(&cut_off, &wanted());
        assert_eq!((judgement.verdict, codes(&judgement)), (Verdict::NotSeen, vec!["D41"]));
        assert!(judgement.findings[0].advice().contains("port 53"));
    }

    #[test]
    fn what_a_wildcard_answers_is_not_seen() {
        let cases = [
            (exact(), exact(), Verdict::NotSeen, vec!["D29"]),
            (exact(), texts(&["v=spf1 -all"]), Verdict::Seen, vec!["D29"]),
            (exact(), missing(), Verdict::Seen, vec![]),
            (texts(&[OTHER]), texts(&[OTHER]), Verdict::Gone, vec!["D13", "D29"]),
        ];
        for (answer, sibling, verdict, want) in cases {
            let look = KeyLook { sibling: Some(sibling), ..one_step(vec![vec![answer]]) };
            let judgement = judge(&look, &wanted());
            assert_eq!((judgement.verdict, codes(&judgement)), (verdict, want), "{look:?}");
        }
        let aliases = look(vec![
            step(OWNER, vec![vec![alias("k.esp.test")]]),
            step("k.esp.test", vec![vec![exact()]]),
        ]);
        let aliases = KeyLook { sibling: Some(alias("k.esp.test")), ..aliases };
        assert_eq!(judge(&aliases, &wanted()).verdict, Verdict::NotSeen);
    }

    #[test]
    fn without_an_answer_for_the_random_name_no_record_is_seen() {
        let silences = [
            None,
            Some(timeout()),
            Some(Answer::Lame),
            Some(Answer::Failed(ReplyCode::ServFail)),
            Some(Answer::Contradiction),
        ];
        for sibling in silences {
            let cases = [
                (exact(), Verdict::NotSeen, vec!["D29"]),
                (texts(&[OTHER]), Verdict::Gone, vec!["D13"]),
                (missing(), Verdict::Gone, vec!["D01"]),
            ];
            for (answer, verdict, want) in cases {
                let look =
                    KeyLook { sibling: sibling.clone(), ..one_step(vec![vec![answer.clone()]]) };
                let judgement = judge(&look, &wanted());
                assert_eq!((judgement.verdict, codes(&judgement)), (verdict, want), "{look:?}");
            }
        }
        let look = KeyLook { sibling: None, ..one_step(vec![vec![exact()]]) };
        let finding = &judge(&look, &wanted()).findings[0];
        assert_eq!(finding.severity(), Severity::Error);
    }

    #[test]
    fn slips_around_the_record_are_told() {
        let wanted = || wanted().through(name("k.esp.test"));
        let base = || one_step(vec![vec![missing()]]);
        let to = |target: &str| {
            look(vec![step(OWNER, vec![vec![alias(target)]]), step(target, vec![vec![missing()]])])
        };
        let misplaced =
            Misplaced { at: name(&format!("{OWNER}.example.test")), slip: Slip::DomainTwice };
        let mut below = base();
        below.steps[0].zone = ZoneName::Domain(name("_domainkey.example.test"));
        let cases = [
            (KeyLook { misplaced: Some(misplaced), ..base() }, vec!["D01", "D04"]),
            (KeyLook { denied_ancestor: denied("example.test"), ..base() }, vec!["D48"]),
            (KeyLook { denied_ancestor: denied("_domainkey.example.test"), ..base() }, vec!["D01"]),
            (
                KeyLook {
                    denied_ancestor: denied("_domainkey.example.test"),
                    ..one_step(vec![vec![exact()]])
                },
                vec!["D43"],
            ),
            (
                KeyLook {
                    has_address: true,
                    ..one_step(vec![vec![Answer::NoText { negative_ttl: None }]])
                },
                vec!["D09"],
            ),
            (below, vec!["D01", "D44"]),
            (to("x.esp.test"), vec!["D12", "D07"]),
            (to("k.esp.test.example.test"), vec!["D12", "D08"]),
            (to("k.esp.test"), vec!["D12"]),
            (one_step(vec![vec![texts(&[OTHER])]]), vec!["D13", "D10"]),
            (one_step(vec![vec![exact()]]), vec![]),
        ];
        for (look, want) in cases {
            assert_eq!(codes(&judge(&look, &wanted())), want, "{look:#?}");
        }
    }

    #[test]
    fn the_second_look_waits_for_the_longest_of_what_may_be_remembered() {
        let old = Answer::Texts { texts: vec![OTHER.as_bytes().into()], ttl: 7200 };
        let judgement = judge(&one_step(vec![vec![exact()], vec![old]]), &wanted());
        assert_eq!((judgement.other_ttl, judgement.negative_ttl), (Some(7200), Some(900)));
        assert_eq!(judgement.wait_for_second_look(None), Duration::from_secs(7200));
        assert_eq!(judgement.wait_for_second_look(Some(86_400)), Duration::from_secs(86_400));

        let judgement = judge(&one_step(vec![vec![exact()]]), &wanted());
        assert_eq!(judgement.other_ttl, None);
        assert_eq!(judgement.wait_for_second_look(Some(300)), Duration::from_secs(900));
        let unknown = Judgement { negative_ttl: None, ..judgement };
        assert_eq!(unknown.wait_for_second_look(None), Duration::from_secs(3600));
    }

    #[test]
    fn the_worst_comes_first_and_every_finding_has_its_sentences() {
        let look = one_step(vec![vec![missing()], vec![timeout()], vec![missing()]]);
        let judgement = judge(&look, &wanted());
        let severities: Vec<Severity> = judgement.findings.iter().map(Finding::severity).collect();
        assert!(severities.is_sorted_by(|a, b| a >= b), "{severities:?}");

        let hostile = Finding::Record {
            name: name(OWNER),
            text: (*b"v=DKIM1;\r\n\x1b[31m").into(),
            fault: RecordFault::StrangeCharacters,
        };
        for finding in judgement.findings.iter().chain([&hostile]) {
            let text = finding.to_string() + &finding.advice();
            assert!(text.len() > 20 && !text.chars().any(char::is_control), "{text}");
        }
    }
}

//! Two thousand generated messages, signed by us, with one labelled change each.
//!
//! The label says what the change does under the canonicalization of the signature. Ours has to say just that, and the
//! other verifiers too, or the table has the section that decides.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use postseal_dkim::{Algorithm, Canon, Canonicalization, FieldSelection};
use postseal_testkit::message;
use postseal_testkit::mutate::Random;
use postseal_testkit::scale;
use postseal_testkit::shapes::Shaped;
use postseal_testkit::verifiers::Verifier;

use crate::both_ways::{all_verdicts, is_pass, reason, ways};
use crate::differences::{SIGNED_BY_US, Tally};
use crate::ours::{OurSigner, now, verify};

/// How many messages are generated.
const MESSAGES: u64 = 2_048;

/// One thing that is done to a signed message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Change {
    None,
    AddReader(&'static str),
    AddSecondListUnsubscribe,
    AddTrace,
    AddUnsigned,
    RefoldUnsigned,
    RefoldSigned,
    NameInOtherCase,
    LetterOfField,
    LetterOfBody,
    DropSigned,
    SpaceInBody,
    BlankAtLineEnd,
    EmptyLinesAtEnd,
    LineAtEnd,
    BlankLineAtEnd,
}

const CHANGES: [Change; 21] = [
    Change::None,
    Change::AddReader("From"),
    Change::AddReader("Subject"),
    Change::AddReader("Reply-To"),
    Change::AddReader("Content-Type"),
    Change::AddReader("MIME-Version"),
    Change::AddReader("To"),
    Change::AddSecondListUnsubscribe,
    Change::AddTrace,
    Change::AddUnsigned,
    Change::RefoldUnsigned,
    Change::RefoldSigned,
    Change::NameInOtherCase,
    Change::LetterOfField,
    Change::LetterOfBody,
    Change::DropSigned,
    Change::SpaceInBody,
    Change::BlankAtLineEnd,
    Change::EmptyLinesAtEnd,
    Change::LineAtEnd,
    Change::BlankLineAtEnd,
];

/// What a change does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Label {
    Passes,
    Fails,
}

impl Change {
    /// What it does to a signature over the default fields.
    fn label(self, canonicalization: Canonicalization) -> Label {
        let if_relaxed = |canon| if canon == Canon::Relaxed { Label::Passes } else { Label::Fails };
        match self {
            Self::None
            | Self::AddTrace
            | Self::AddUnsigned
            | Self::RefoldUnsigned
            | Self::EmptyLinesAtEnd => Label::Passes,
            Self::AddReader(_)
            | Self::AddSecondListUnsubscribe
            | Self::LetterOfField
            | Self::LetterOfBody
            | Self::DropSigned
            | Self::LineAtEnd => Label::Fails,
            Self::RefoldSigned | Self::NameInOtherCase => if_relaxed(canonicalization.header),
            Self::SpaceInBody | Self::BlankAtLineEnd | Self::BlankLineAtEnd => {
                if_relaxed(canonicalization.body)
            }
        }
    }

    /// Does it to a signed message, if there is a place for it.
    fn apply(self, signed: &[u8], random: &mut Random) -> Option<Vec<u8>> {
        let (header, body) = message::split(signed);
        let has_body = header.len() < signed.len();
        let mut fields: Vec<Vec<u8>> =
            message::fields(header).into_iter().map(<[u8]>::to_vec).collect();
        let mut body = body.to_vec();
        let own = fields.remove(0);
        let add = |fields: &mut Vec<Vec<u8>>, random: &mut Random, text: &str| {
            let at = *random.pick(&[0, fields.len()]);
            fields.insert(at, text.as_bytes().to_vec());
        };
        match self {
            Self::None => {}
            Self::AddReader(name) => {
                add(&mut fields, random, &format!("{name}: Mallory <mallory@example.net>\r\n"));
            }
            Self::AddSecondListUnsubscribe => {
                add(&mut fields, random, "List-Unsubscribe: <https://example.net/>\r\n");
            }
            Self::AddTrace => {
                let trace = b"Received: from a.example by b.example;\r\n\tSat, 01 Aug 2026 12:00:01 +0000\r\n";
                return Some([&trace[..], signed].concat());
            }
            Self::AddUnsigned => add(&mut fields, random, "X-Spam-Status: No\r\n"),
            Self::RefoldUnsigned => refold(&mut fields, random, "x-note")?,
            Self::RefoldSigned => refold(&mut fields, random, "to")?,
            Self::NameInOtherCase => {
                let date = fields.iter_mut().find(|field| is_named(field, "date"))?;
                let letter = date.get_mut(1)?;
                *letter ^= b' ';
            }
            Self::LetterOfField => {
                let date = fields.iter_mut().find(|field| is_named(field, "date"))?;
                let at = date.windows(4).position(|octets| octets == b"2026")?;
                date[at + 3] = b'7';
            }
            Self::LetterOfBody => {
                let letters: Vec<usize> = (0..body.len())
                    .filter(|at| body.get(*at).is_some_and(u8::is_ascii_alphanumeric))
                    .collect();
                if letters.is_empty() {
                    return None;
                }
                body[*random.pick(&letters)] = b'#';
            }
            Self::DropSigned => {
                let at = fields.iter().position(|field| is_named(field, "subject"))?;
                fields.remove(at);
            }
            Self::SpaceInBody => {
                let at = body.windows(3).position(|three| {
                    three[0].is_ascii_alphanumeric()
                        && three[1] == b' '
                        && three[2].is_ascii_alphanumeric()
                })?;
                body.insert(at + 1, *random.pick(b" \t"));
            }
            Self::BlankAtLineEnd => {
                let at = body.windows(2).position(|two| two == b"\r\n").filter(|at| *at > 0)?;
                body.insert(at, *random.pick(b" \t"));
            }
            Self::EmptyLinesAtEnd => {
                if !has_body || (!body.is_empty() && !body.ends_with(b"\r\n")) {
                    return None;
                }
                body.extend_from_slice(&b"\r\n".repeat(1 + random.below(4)));
            }
            Self::LineAtEnd => body.extend_from_slice(b"\r\nPS\r\n"),
            Self::BlankLineAtEnd => {
                if !body.is_empty() && !body.ends_with(b"\r\n") {
                    return None;
                }
                body.extend_from_slice(b" \t\r\n");
            }
        }
        Some([&own[..], &fields.concat(), b"\r\n", &body].concat())
    }
}

/// Folds the value of a field of that name in another place.
fn refold(fields: &mut [Vec<u8>], random: &mut Random, name: &str) -> Option<()> {
    let is_space = |three: &[u8]| three[0] > b' ' && three[1] == b' ' && three[2] > b' ';
    let field = fields.iter_mut().find(|field| {
        is_named(field, name) && field.windows(3).skip(name.len() + 2).any(is_space)
    })?;
    let from = name.len() + 2;
    let at = from + field.get(from..)?.windows(3).position(is_space)? + 1;
    field.splice(at..=at, random.pick(&["\r\n ", "\r\n\t", "\t"]).bytes());
    Some(())
}

/// Says whether the field has that name and no white space in front of its colon.
fn is_named(field: &[u8], name: &str) -> bool {
    let written = field.split(|octet| *octet == b':').next().unwrap_or_default();
    written.eq_ignore_ascii_case(name.as_bytes())
}

struct Case {
    shaped: Shaped,
    change: Change,
    label: Label,
    algorithm: Algorithm,
    bytes: Vec<u8>,
}

#[test]
fn one_change_does_what_its_label_says() -> Result<()> {
    let (seed, signer) = (scale::seed(), OurSigner::new()?);
    let count = scale::figure("POSTSEAL_INTEROP", MESSAGES, 20 * MESSAGES);
    let dns_file = signer.pairs.dns_file();
    let (mut cases, mut number) = (Vec::new(), 0);
    while (cases.len() as u64) < count {
        // Not the messages of the tests beside this one.
        let shaped = Shaped::new(seed.wrapping_add(1), number);
        let (algorithm, canonicalization) = ways(number);
        let change = CHANGES[(number / 8) as usize % CHANGES.len()];
        number += 1;
        ensure!(number < 4 * count, "most changes find no place");
        let signed =
            signer.sign(algorithm, canonicalization, FieldSelection::default(), &shaped.bytes)?;
        let Some(bytes) = change.apply(&signed, &mut Random::for_case(seed, number)) else {
            continue;
        };
        let label = change.label(canonicalization);
        let outcomes = verify(&dns_file, &bytes, now()?)?;
        let ours = outcomes.first().with_context(|| format!("{shaped}: no signature is seen"))?;
        ensure!(
            ours.is_pass() == (label == Label::Passes),
            "{shaped}, {change:?} under {canonicalization}: {label:?}, and ours says {ours:?}"
        );
        cases.push(Case { shaped, change, label, algorithm, bytes });
    }
    for change in CHANGES {
        let tried = cases.iter().filter(|case| case.change == change).count() as u64;
        ensure!(tried * 64 >= count, "only {tried} times {change:?}");
    }

    let began = Instant::now();
    let messages: Vec<&[u8]> = cases.iter().map(|case| &case.bytes[..]).collect();
    let opinions = all_verdicts(&dns_file, &messages)?;
    println!(
        "seed {seed}: {count} changes to {} verifiers in {:.1} s",
        Verifier::ALL.len(),
        began.elapsed().as_secs_f64()
    );
    let mut tally = Tally::new(&SIGNED_BY_US);
    for (place, case) in cases.iter().enumerate() {
        let Case { shaped, change, label, algorithm, bytes } = case;
        let as_labelled: Vec<bool> =
            opinions.iter().map(|all| is_pass(&all[place]) == (*label == Label::Passes)).collect();
        for ((verifier, all), right) in Verifier::ALL.into_iter().zip(&opinions).zip(&as_labelled) {
            if *right || !verifier.knows(algorithm.as_str()) {
                continue;
            }
            let known = Verifier::ALL.into_iter().zip(&as_labelled);
            let agreeing =
                known.filter(|(it, right)| **right && it.knows(algorithm.as_str())).count();
            let says = reason(&all[place]);
            let text = format!("{change:?} {label:?}: {shaped}");
            tally.differs(verifier.name(), bytes, agreeing, &says, &text);
        }
    }
    tally.finish()
}

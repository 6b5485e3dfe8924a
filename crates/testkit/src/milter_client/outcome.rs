//! What a filter answers: its last word and what it changes, and the message that comes of it.

use anyhow::{Context, Result, bail};

use crate::message;

/// What came of a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// The filter's last word.
    pub verdict: Verdict,
    /// What it changes, in its order.
    pub modifications: Vec<Modification>,
    /// How often it asked for more time.
    pub progress: u32,
    /// Whether the end of the message was reached.
    pub at_end: bool,
}

impl Outcome {
    /// The message as the MTA would send it on: the modifications carried out as Postfix does.
    pub fn apply(&self, original: &[u8]) -> Vec<u8> {
        let (header, body) = message::split(original);
        // Postfix counts its own Received field, which a filter never sees, as the first: index 0 is above it,
        // index 1 below it. The empty field stands for it.
        let mut fields: Vec<Vec<u8>> = vec![Vec::new()];
        fields.extend(message::fields(header).into_iter().map(<[u8]>::to_vec));
        let mut body = body.to_vec();
        let mut replaced = false;
        for modification in &self.modifications {
            match modification {
                Modification::AddField { name, value } => fields.push(whole_field(name, value)),
                Modification::InsertField { index, name, value } => {
                    fields.insert((*index as usize).min(fields.len()), whole_field(name, value));
                }
                Modification::ChangeField { index, name, value } => {
                    change_field(&mut fields, *index, name, value);
                }
                Modification::ReplaceBody(chunk) => {
                    if !std::mem::replace(&mut replaced, true) {
                        body.clear();
                    }
                    body.extend_from_slice(chunk);
                }
                Modification::AddRecipient(_)
                | Modification::DeleteRecipient(_)
                | Modification::ChangeSender(_)
                | Modification::Quarantine(_) => {}
            }
        }
        let mut message = fields.concat();
        message.extend_from_slice(b"\r\n");
        message.append(&mut body);
        message
    }

    /// The values of the fields of that name which the filter adds, from the top of the message.
    pub fn added(&self, name: &str) -> Vec<String> {
        message::values(&self.apply(b"\r\n"), name)
    }
}

/// The filter's last word on a step or a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Go on; at the end of the message: let it pass, with the modifications.
    Continue,
    /// Let the rest pass without asking.
    Accept,
    /// 5xx with the MTA's own text.
    Reject,
    /// 4xx with the MTA's own text.
    TempFail,
    /// Take it and throw it away.
    Discard,
    /// This reply, such as `550 5.7.1 no`.
    Reply(String),
}

/// A change that the filter asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Modification {
    /// A field at the end of the header section.
    AddField {
        /// Its name.
        name: String,
        /// Its value, with LF where it is folded.
        value: String,
    },
    /// A field at a place of the header section.
    InsertField {
        /// How many fields stand above it; 0 is the top.
        index: u32,
        /// Its name.
        name: String,
        /// Its value, with LF where it is folded.
        value: String,
    },
    /// Another value for a field; an empty one removes it.
    ChangeField {
        /// Which of the fields of that name, from 1 at the top.
        index: u32,
        /// Its name.
        name: String,
        /// The new value.
        value: String,
    },
    /// A piece of a new body.
    ReplaceBody(Vec<u8>),
    /// One recipient more.
    AddRecipient(String),
    /// One recipient less.
    DeleteRecipient(String),
    /// Another sender.
    ChangeSender(String),
    /// Hold the message.
    Quarantine(String),
}

impl Modification {
    /// The action that the filter has to have negotiated.
    pub(super) fn needed_action(&self) -> u32 {
        match self {
            Self::AddField { .. } | Self::InsertField { .. } => 0x01,
            Self::ReplaceBody(_) => 0x02,
            Self::AddRecipient(_) => 0x04 | 0x80,
            Self::DeleteRecipient(_) => 0x08,
            Self::ChangeField { .. } => 0x10,
            Self::Quarantine(_) => 0x20,
            Self::ChangeSender(_) => 0x40,
        }
    }
}

pub(super) fn verdict(answer: u8, data: &[u8]) -> Option<Verdict> {
    Some(match answer {
        b'c' => Verdict::Continue,
        b'a' => Verdict::Accept,
        b'r' => Verdict::Reject,
        b't' => Verdict::TempFail,
        b'd' => Verdict::Discard,
        b'y' => Verdict::Reply(take_text(&mut &*data)?),
        _ => return None,
    })
}

pub(super) fn modification(answer: u8, data: &[u8]) -> Result<Modification> {
    let mut rest = data;
    let index = match answer {
        b'i' | b'm' => take_number(&mut rest).context("a field without its index")?,
        _ => 0,
    };
    if answer == b'b' {
        return Ok(Modification::ReplaceBody(data.to_vec()));
    }
    let first = take_text(&mut rest).context("a modification without its text")?;
    let value = |rest: &mut &[u8]| take_text(rest).context("a field without its value");
    Ok(match answer {
        b'h' => Modification::AddField { name: first, value: value(&mut rest)? },
        b'i' => Modification::InsertField { index, name: first, value: value(&mut rest)? },
        b'm' => Modification::ChangeField { index, name: first, value: value(&mut rest)? },
        b'+' | b'2' => Modification::AddRecipient(first),
        b'-' => Modification::DeleteRecipient(first),
        b'e' => Modification::ChangeSender(first),
        b'q' => Modification::Quarantine(first),
        other => bail!("the end of the message is answered with {:?}", char::from(other)),
    })
}

/// A field as it stands in the message. A value that begins with a blank is taken as it is, else the usual
/// blank stands before it.
fn whole_field(name: &str, value: &str) -> Vec<u8> {
    let blank = if value.starts_with([' ', '\t']) { "" } else { " " };
    let value = value.replace("\r\n", "\n").replace('\n', "\r\n");
    format!("{name}:{blank}{value}\r\n").into_bytes()
}

fn change_field(fields: &mut Vec<Vec<u8>>, index: u32, name: &str, value: &str) {
    let is_named = |field: &Vec<u8>| {
        let text = String::from_utf8_lossy(field);
        text.split_once(':').is_some_and(|(found, _)| found.trim_end().eq_ignore_ascii_case(name))
    };
    let at = fields
        .iter()
        .enumerate()
        .filter(|(_, field)| is_named(field))
        .map(|(at, _)| at)
        .nth((index as usize).max(1) - 1);
    match (at, value.is_empty()) {
        (Some(at), true) => drop(fields.remove(at)),
        (Some(at), false) => {
            if let Some(field) = fields.get_mut(at) {
                *field = whole_field(name, value);
            }
        }
        (None, true) => {}
        (None, false) => fields.push(whole_field(name, value)),
    }
}

pub(super) fn take_number(rest: &mut &[u8]) -> Option<u32> {
    let (number, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u32::from_be_bytes(*number))
}

pub(super) fn take_text(rest: &mut &[u8]) -> Option<String> {
    let end = rest.iter().position(|octet| *octet == 0)?;
    let (text, after) = rest.split_at(end);
    *rest = after.get(1..).unwrap_or_default();
    Some(String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(modifications: Vec<Modification>) -> Outcome {
        Outcome { verdict: Verdict::Continue, modifications, progress: 0, at_end: true }
    }

    fn insert(index: u32, name: &str, value: &str) -> Modification {
        Modification::InsertField { index, name: name.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn applies_modifications_as_postfix_does() {
        let message = b"A: 1\r\nB: 2\r\nb: 3\r\n\r\nbody";
        let change = |index, value: &str| Modification::ChangeField {
            index,
            name: "B".to_owned(),
            value: value.to_owned(),
        };
        let cases: Vec<(Vec<Modification>, &[u8])> = vec![
            (vec![], message),
            (vec![insert(0, "X", "x\n\ty")], b"X: x\r\n\ty\r\nA: 1\r\nB: 2\r\nb: 3\r\n\r\nbody"),
            (vec![insert(1, "X", " x")], b"X: x\r\nA: 1\r\nB: 2\r\nb: 3\r\n\r\nbody"),
            (
                vec![insert(0, "X", "1"), insert(0, "X", "2"), insert(1, "X", "3")],
                b"X: 2\r\nX: 3\r\nX: 1\r\nA: 1\r\nB: 2\r\nb: 3\r\n\r\nbody",
            ),
            (vec![insert(2, "X", "x")], b"A: 1\r\nX: x\r\nB: 2\r\nb: 3\r\n\r\nbody"),
            (vec![change(2, "")], b"A: 1\r\nB: 2\r\n\r\nbody"),
            (vec![change(1, "4")], b"A: 1\r\nB: 4\r\nb: 3\r\n\r\nbody"),
            (
                vec![
                    Modification::ReplaceBody(b"n".to_vec()),
                    Modification::ReplaceBody(b"ew".to_vec()),
                ],
                b"A: 1\r\nB: 2\r\nb: 3\r\n\r\nnew",
            ),
        ];
        for (modifications, want) in cases {
            let got = outcome(modifications.clone()).apply(message);
            assert_eq!(got, want, "{modifications:?}");
        }
    }

    #[test]
    fn lists_added_fields_from_the_top() {
        let outcome = outcome(vec![insert(0, "X", "1"), insert(0, "X", "2"), insert(0, "Y", "3")]);
        assert_eq!(outcome.added("x"), ["2", "1"]);
    }
}

//! A message to send, and what a filter makes of it.

use anyhow::{Context, Result};

/// A message, its header cut into fields.
pub(crate) struct Mail {
    raw: Vec<u8>,
    fields: Vec<Field>,
    body: usize,
}

/// A field as an MTA passes it on: the line breaks in its value are LF.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Field {
    pub(crate) name: Vec<u8>,
    /// All after the colon, with the space that follows it.
    pub(crate) value: Vec<u8>,
}

impl Mail {
    /// Cuts a message with CRLF line ends.
    pub(crate) fn parse(raw: Vec<u8>) -> Result<Self> {
        let mut fields = Vec::new();
        let mut at = 0;
        while at < raw.len() && !raw[at..].starts_with(b"\r\n") {
            let mut end = at;
            loop {
                let line = raw[end..].windows(2).position(|window| window == b"\r\n");
                end += line.context("a line of the header does not end in CRLF")? + 2;
                if !matches!(raw.get(end), Some(b' ' | b'\t')) {
                    break;
                }
            }
            let field = &raw[at..end - 2];
            let colon = field.iter().position(|&c| c == b':').context("a field has no colon")?;
            fields.push(Field {
                name: field[..colon].to_vec(),
                value: field[colon + 1..].iter().copied().filter(|&c| c != b'\r').collect(),
            });
            at = end;
        }
        Ok(Self { body: (at + 2).min(raw.len()), raw, fields })
    }

    /// The fields from the top, the value of From replaced if asked for.
    pub(crate) fn fields(&self, header_from: Option<&str>) -> Vec<Field> {
        let mut fields = self.fields.clone();
        if let Some(text) = header_from {
            let is_from = |field: &&mut Field| field.name.eq_ignore_ascii_case(b"From");
            for field in fields.iter_mut().filter(is_from) {
                field.value = format!(" {text}").into_bytes();
            }
        }
        fields
    }

    /// All after the empty line.
    pub(crate) fn body(&self) -> &[u8] {
        &self.raw[self.body..]
    }
}

/// What a filter asks to be done to the header.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Modification {
    /// A field that becomes number `index`, from 0.
    Insert { index: usize, field: Field },
    /// A field below all others.
    Add(Field),
    /// Another value for field number `nth` of its name, from 1; empty deletes it.
    Change { nth: usize, field: Field },
}

impl Modification {
    /// The new field, unless one is deleted.
    pub(crate) fn field(&self) -> Option<&Field> {
        match self {
            Self::Insert { field, .. } | Self::Add(field) => Some(field),
            Self::Change { field, .. } => Some(field).filter(|field| !field.value.is_empty()),
        }
    }

    fn apply(self, fields: &mut Vec<Field>) {
        match self {
            Self::Insert { index, field } => fields.insert(index.min(fields.len()), field),
            Self::Add(field) => fields.push(field),
            Self::Change { nth, field } => {
                let same = |other: &Field| other.name.eq_ignore_ascii_case(&field.name);
                let found = fields.iter().enumerate().filter(|(_, other)| same(other));
                let found = found.map(|(at, _)| at).nth(nth.saturating_sub(1));
                match found {
                    Some(at) if field.value.is_empty() => drop(fields.remove(at)),
                    Some(at) => fields[at] = field,
                    None if field.value.is_empty() => {}
                    None => fields.push(field),
                }
            }
        }
    }
}

/// The message as it leaves the MTA.
pub(crate) fn leaving(
    mut fields: Vec<Field>,
    modifications: Vec<Modification>,
    body: &[u8],
) -> Vec<u8> {
    for modification in modifications {
        modification.apply(&mut fields);
    }
    let mut out = Vec::new();
    for Field { name, value } in fields {
        out.extend_from_slice(&name);
        out.push(b':');
        for (i, &c) in value.iter().enumerate() {
            if c == b'\n' && (i == 0 || value[i - 1] != b'\r') {
                out.push(b'\r');
            }
            out.push(c);
        }
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, value: &str) -> Field {
        Field { name: name.into(), value: value.into() }
    }

    #[test]
    fn cuts_a_message_into_fields_and_body() {
        let mail = Mail::parse(b"From: a\r\nSubject: b\r\n\tc\r\n\r\nbody\r\n".to_vec()).unwrap();
        assert_eq!(mail.fields(None), [field("From", " a"), field("Subject", " b\n\tc")]);
        assert_eq!(mail.fields(Some("x"))[0], field("From", " x"));
        assert_eq!(mail.body(), b"body\r\n");

        let mail = Mail::parse(b"From: a\r\n".to_vec()).unwrap();
        assert_eq!(mail.body(), b"");
        for input in ["From: a", "From\r\n", "From: a\n\nbody"] {
            assert!(Mail::parse(input.into()).is_err(), "{input:?}");
        }
    }

    #[test]
    fn applies_what_a_filter_asks_for() {
        let raw = b"A: 1\r\nB: 2\r\n\t3\r\na: 4\r\n\r\nbody".to_vec();
        let mail = Mail::parse(raw.clone()).unwrap();
        let leave = |modifications| leaving(mail.fields(None), modifications, mail.body());
        assert_eq!(leave(vec![]), raw);

        let modifications = vec![
            Modification::Change { nth: 2, field: field("A", "") },
            Modification::Change { nth: 1, field: field("b", " x") },
            Modification::Insert { index: 0, field: field("S1", " 1") },
            Modification::Insert { index: 0, field: field("S2", " 1;\n\t2") },
            Modification::Add(field("Z", " 9")),
        ];
        let want = "S2: 1;\r\n\t2\r\nS1: 1\r\nA: 1\r\nb: x\r\nZ: 9\r\n\r\nbody";
        assert_eq!(String::from_utf8(leave(modifications)).unwrap(), want);
    }
}

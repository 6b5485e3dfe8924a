//! Canonical header fields (§3.4.1, §3.4.2).
//!
//! Simple leaves a field as it is. Relaxed makes the name lower case, unfolds, makes each run of white
//! space one space and drops it round the colon and at the end.

use super::space::InField;
use super::stops::Stops;
use crate::algorithm::Canon;
use crate::field::{Field, without_leading_wsp};

/// Writes the canonical form of a field, with the CRLF at its end.
pub fn write_field(canon: Canon, field: Field<'_>, out: &mut Vec<u8>) {
    match canon {
        Canon::Simple => out.extend_from_slice(field.unended()),
        Canon::Relaxed => write_relaxed(field.name(), field.value(), out),
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the canonical form of a signature's own field, which comes last and without CRLF (§3.7).
///
/// `name` is what stands in front of the colon, with its white space. `head` and `tail` are what
/// stands behind it, up to the value of `b=` and from its end on.
pub fn write_signature_field(
    canon: Canon,
    name: &[u8],
    head: &[u8],
    tail: &[u8],
    out: &mut Vec<u8>,
) {
    match canon {
        Canon::Simple => {
            for part in [name, b":", head, tail] {
                out.extend_from_slice(part);
            }
        }
        Canon::Relaxed => {
            let value_start = write_relaxed_name(name.trim_ascii_end(), out);
            write_unfolded(head, value_start, out);
            write_unfolded(tail, value_start, out);
            drop_trailing_space(out);
        }
    }
}

/// The relaxed form of a field that need not stand in a header, without a line end.
pub(crate) fn relaxed_field(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut canonical = Vec::new();
    write_relaxed(name, value, &mut canonical);
    canonical
}

fn write_relaxed(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    let value_start = write_relaxed_name(name, out);
    write_unfolded(value, value_start, out);
    drop_trailing_space(out);
}

/// Gives where the value starts.
fn write_relaxed_name(name: &[u8], out: &mut Vec<u8>) -> usize {
    out.extend(name.iter().map(u8::to_ascii_lowercase));
    out.push(b':');
    out.len()
}

/// Drops the space at the end of a value. In front of the value stands a colon.
fn drop_trailing_space(out: &mut Vec<u8>) {
    if out.last() == Some(&b' ') {
        out.pop();
    }
}

/// Writes a part of a value without the CRLFs that stand in front of white space (§3.4.2), and with each run of
/// white space as one space, none at the start of the value. A run may have begun in the part before.
///
/// Another CRLF cannot be in a field that was cut at field bounds; it would be left as it is.
fn write_unfolded(part: &[u8], value_start: usize, out: &mut Vec<u8>) {
    let mut stops = Stops::<InField>::of(part);
    let mut rest = part;
    loop {
        // At the start of a value and behind a space that was written, white space counts for nothing.
        if out.len() == value_start || out.last() == Some(&b' ') {
            rest = without_leading_wsp(rest);
        }
        let start = part.len() - rest.len();
        let (regular, stop) = rest.split_at(stops.next_from(start) - start);
        out.extend_from_slice(regular);
        rest = match stop {
            [] => return,
            [b'\r', b'\n', after @ ..] if matches!(after, [b' ' | b'\t', ..]) => after,
            [b'\r', after @ ..] => {
                out.push(b'\r');
                after
            }
            [octet, after @ ..] => {
                debug_assert!(matches!(octet, b' ' | b'\t'), "the other stops are white space");
                out.push(b' ');
                after
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Header;

    #[test]
    fn the_edges_of_both_algorithms() {
        let cases: [(&[u8], &str); 12] = [
            (b"A: X\r\n", r"a:X\r\n"),
            (b"B : Y\t\r\n\tZ  \r\n", r"b:Y Z\r\n"),
            (b"SUBJect: AbC\r\n", r"subject:AbC\r\n"),
            (b"X:\r\n", r"x:\r\n"),
            (b"X: \t \r\n", r"x:\r\n"),
            (b"X:\r\n a\r\n", r"x:a\r\n"),
            (b"X: a \r\n \t b\r\n\tc\r\n", r"x:a b c\r\n"),
            (b"X \t :a\r\n", r"x:a\r\n"),
            (b"X: a\r\n \r\n b\r\n", r"x:a b\r\n"),
            (b"X: a \nb\rc\r\n", r"x:a \nb\rc\r\n"),
            (b"X: a:b : c\r\n", r"x:a:b : c\r\n"),
            (b"X: \xa0a\x0b", r"x:\xa0a\x0b\r\n"),
        ];
        for (raw, want) in cases {
            let header = Header::parse(raw).unwrap();
            let field = header.fields().next().unwrap();
            let written = |canon| {
                let mut out = b"before ".to_vec();
                write_field(canon, field, &mut out);
                out.strip_prefix(b"before ").unwrap().escape_ascii().to_string()
            };
            assert_eq!(written(Canon::Relaxed), want);
            let simple = raw.strip_suffix(b"\r\n").unwrap_or(raw).escape_ascii().to_string();
            assert_eq!(written(Canon::Simple), simple + r"\r\n");
        }
    }

    #[test]
    fn the_signature_itself_has_no_line_end() {
        let mut out = Vec::new();
        let name = b"DKIM-Signature \t";
        write_signature_field(Canon::Relaxed, name, b" v=1;\r\n\tb=", b"", &mut out);
        assert_eq!(out, b"dkim-signature:v=1; b=");
        out.clear();
        write_signature_field(Canon::Relaxed, name, b"b= ", b" ; c=d \r\n ", &mut out);
        assert_eq!(out, b"dkim-signature:b= ; c=d");
        out.clear();
        write_signature_field(Canon::Simple, name, b" v=1;\r\n\tb=", b"; c ", &mut out);
        assert_eq!(out, b"DKIM-Signature \t: v=1;\r\n\tb=; c ");
    }

    #[test]
    fn a_line_end_that_is_no_fold_stays() {
        for (part, want) in [
            (&b"a\r\nb"[..], &b"x:a\r\nb"[..]),
            (b"a \r\n\r\n b\r\n", b"x:a \r\n b\r\n"),
            (b"\r\n\r\n", b"x:\r\n\r\n"),
        ] {
            let mut out = Vec::new();
            write_signature_field(Canon::Relaxed, b"X", part, b"", &mut out);
            assert_eq!(out.escape_ascii().to_string(), want.escape_ascii().to_string());
        }
    }
}

//! Canonical header fields (§3.4.1, §3.4.2).
//!
//! Simple leaves a field as it is. Relaxed makes the name lower case, unfolds, makes each run of white
//! space one space and drops it round the colon and at the end.

use memchr::memmem;

use super::space::regular_prefix_len;
use crate::algorithm::Canon;
use crate::field::Field;

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
/// `name` is what stands in front of the colon, with its white space. `value` is what follows the
/// colon, with the value of `b=` cut out.
pub fn write_signature_field(canon: Canon, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    match canon {
        Canon::Simple => {
            out.extend_from_slice(name);
            out.push(b':');
            out.extend_from_slice(value);
        }
        Canon::Relaxed => write_relaxed(name.trim_ascii_end(), value, out),
    }
}

fn write_relaxed(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend(name.iter().map(u8::to_ascii_lowercase));
    out.push(b':');
    let value_start = out.len();

    // Unfolding removes a CRLF in front of white space (§3.4.2). Another CRLF cannot be in a field
    // that was cut at field bounds; it would be left as it is.
    let mut rest = value;
    let mut search_from = 0;
    while let Some(found) = memmem::find(rest.get(search_from..).unwrap_or_default(), b"\r\n") {
        let at = search_from + found;
        if matches!(rest.get(at + 2), Some(b' ' | b'\t')) {
            let (line, after) = rest.split_at(at);
            write_compressed(line, value_start, out);
            rest = after.strip_prefix(b"\r\n").unwrap_or_default();
            search_from = 0;
        } else {
            search_from = at + 2;
        }
    }
    write_compressed(rest, value_start, out);
    if out.len() > value_start && out.last() == Some(&b' ') {
        out.pop();
    }
}

/// Writes a part of a value with each run of white space as one space, none at the start of the value.
/// A run may have begun in the part before.
fn write_compressed(part: &[u8], value_start: usize, out: &mut Vec<u8>) {
    let mut rest = part;
    loop {
        // At the start of a value and behind a space that was written, white space counts for nothing.
        if out.len() == value_start || out.last() == Some(&b' ') {
            rest = without_leading_wsp(rest);
        }
        let (regular, irregular) = rest.split_at(regular_prefix_len(rest));
        out.extend_from_slice(regular);
        let Some((octet, after)) = irregular.split_first() else { return };
        debug_assert!(matches!(octet, b' ' | b'\t'), "only white space is irregular");
        out.push(b' ');
        rest = after;
    }
}

fn without_leading_wsp(mut octets: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', tail @ ..] = octets {
        octets = tail;
    }
    octets
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
        write_signature_field(Canon::Relaxed, b"DKIM-Signature \t", b" v=1;\r\n\tb= \t", &mut out);
        assert_eq!(out, b"dkim-signature:v=1; b=");
        out.clear();
        write_signature_field(Canon::Simple, b"DKIM-Signature ", b" v=1;\r\n\tb=", &mut out);
        assert_eq!(out, b"DKIM-Signature : v=1;\r\n\tb=");
    }
}

//! Second implementations for the laws: slow, obvious, and on whole texts.
//!
//! They follow the words of the RFC step by step and share nothing with what they are compared with.

use std::ops::Range;

/// A tag list of §3.2 as name, value and place of each tag.
pub(super) fn tag_list(octets: &[u8]) -> Option<Vec<(String, String, Range<usize>)>> {
    let text = str::from_utf8(octets).ok()?;
    // What is left when all folds are taken out has no line break.
    if unfolded(octets).iter().any(|octet| matches!(octet, b'\r' | b'\n')) {
        return None;
    }
    let white = [' ', '\t', '\r', '\n'];
    let mut specs: Vec<&str> = text.split(';').collect();
    if specs.len() > 1 && specs.last().is_some_and(|last| last.trim_matches(white).is_empty()) {
        specs.pop();
    }
    let mut tags: Vec<(String, String, Range<usize>)> = Vec::new();
    let mut start = 0;
    for spec in specs {
        let (name, value) = spec.split_once('=')?;
        let span = start + name.len() + 1..start + spec.len();
        start += spec.len() + 1;
        let (name, value) = (name.trim_matches(white), value.trim_matches(white));
        let mut letters = name.chars();
        let good_name = letters.next()?.is_ascii_alphabetic()
            && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        let good_value = value.chars().all(|c| white.contains(&c) || !c.is_ascii_control());
        if !good_name || !good_value || tags.iter().any(|tag| tag.0 == name) {
            return None;
        }
        tags.push((name.to_owned(), value.to_owned(), span));
    }
    (tags.len() <= crate::tag_list::MAX_TAGS).then_some(tags)
}

/// The copies of §3.5 `z=` as name and value, and how many entries are none.
pub(super) fn copied_fields(text: &str) -> (Vec<(String, Vec<u8>)>, usize) {
    let dense: String = text.chars().filter(|c| !" \t\r\n".contains(*c)).collect();
    let (mut copies, mut others) = (Vec::new(), 0);
    for entry in dense.split('|') {
        match entry.split_once(':').map(|(name, value)| (name, quoted(value))) {
            Some((name, Some(value)))
                if !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_graphic()) =>
            {
                copies.push((name.to_owned(), value));
            }
            _ if entry.is_empty() => {}
            _ => others += 1,
        }
    }
    (copies, others)
}

/// DKIM quoted-printable (§2.11) without white space.
fn quoted(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split('=');
    let mut octets = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, after) = part.split_at_checked(2)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        octets.push(u8::from_str_radix(digits, 16).ok()?);
        octets.extend_from_slice(after.as_bytes());
    }
    let is_safe = |c: char| !c.is_ascii_control();
    text.chars().all(is_safe).then_some(octets)
}

/// The `qp-section` of RFC 2045 §6.7: what follows an equals sign is two digits, or the sign is text.
pub(super) fn qp_section(text: &str) -> Vec<u8> {
    let mut parts = text.split('=');
    let mut octets = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).filter(|two| two.bytes().all(|one| one.is_ascii_hexdigit()));
        match digits.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(octet) => {
                octets.push(octet);
                octets.extend(part.bytes().skip(2));
            }
            None => octets.extend(b"=".iter().copied().chain(part.bytes())),
        }
    }
    octets
}

/// The lines of a message, each with its CRLF, which the last may lack.
fn lines(message: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = message;
    while !rest.is_empty() {
        let end = rest.windows(2).position(|two| two == b"\r\n").map_or(rest.len(), |at| at + 2);
        let (line, after) = rest.split_at(end);
        lines.push(line);
        rest = after;
    }
    lines
}

/// The fields of a message and its body: a line that begins with white space goes on with the field
/// before it, and an empty line ends the header section (RFC 5322 §2.2).
pub(super) fn fields_and_body(message: &[u8]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut fields: Vec<Vec<u8>> = Vec::new();
    let lines = lines(message);
    for (place, line) in lines.iter().enumerate() {
        if *line == b"\r\n" {
            return (fields, lines.into_iter().skip(place + 1).collect::<Vec<_>>().concat());
        }
        match fields.last_mut() {
            Some(field) if line.starts_with(b" ") || line.starts_with(b"\t") => {
                field.extend_from_slice(line);
            }
            _ => fields.push(line.to_vec()),
        }
    }
    (fields, Vec::new())
}

/// The name and the value of a field; without a name, the value is all of it.
pub(super) fn name_and_value(field: &[u8]) -> (&[u8], &[u8]) {
    let unended = field.strip_suffix(b"\r\n").unwrap_or(field);
    let mut parts = unended.splitn(2, |octet| *octet == b':');
    if let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        let end = name.iter().rposition(|octet| !matches!(octet, b' ' | b'\t'));
        let name = end.and_then(|end| name.get(..=end)).unwrap_or_default();
        if !name.is_empty() && name.iter().all(u8::is_ascii_graphic) {
            return (name, value);
        }
    }
    (b"", unended)
}

/// §3.4.3: 'ignores all empty lines at the end of the message body', and ends it with a CRLF.
pub(super) fn simple_body(body: &[u8]) -> Vec<u8> {
    let mut rest = body;
    while let Some(shorter) = rest.strip_suffix(b"\r\n") {
        rest = shorter;
    }
    [rest, b"\r\n"].concat()
}

/// §3.4.4: white space at the ends of lines goes, other runs become one space, then empty lines at the end
/// go. What is not empty ends with a CRLF.
pub(super) fn relaxed_body(body: &[u8]) -> Vec<u8> {
    let mut canonical: Vec<Vec<u8>> = Vec::new();
    for line in lines(body) {
        let mut text = single_spaces(line.strip_suffix(b"\r\n").unwrap_or(line));
        if text.last() == Some(&b' ') {
            text.pop();
        }
        canonical.push(text);
    }
    while canonical.last().is_some_and(Vec::is_empty) {
        canonical.pop();
    }
    canonical.into_iter().flat_map(|line| [line, b"\r\n".to_vec()].concat()).collect()
}

/// §3.4.2 without the CRLF at the end.
pub(super) fn relaxed_field(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut text = single_spaces(&unfolded(value));
    if text.last() == Some(&b' ') {
        text.pop();
    }
    let text = text.strip_prefix(b" ").unwrap_or(&text);
    [&name.to_ascii_lowercase()[..], b":", text].concat()
}

/// Without each CRLF that white space follows.
fn unfolded(octets: &[u8]) -> Vec<u8> {
    let is_fold = |at: usize| matches!(octets.get(at..at + 3), Some([b'\r', b'\n', b' ' | b'\t']));
    let is_break = |at: usize| is_fold(at) || (at > 0 && is_fold(at - 1));
    let kept = (0..octets.len()).filter(|at| !is_break(*at));
    kept.filter_map(|at| octets.get(at).copied()).collect()
}

fn single_spaces(text: &[u8]) -> Vec<u8> {
    let mut single: Vec<u8> = Vec::new();
    for octet in text {
        let is_space = matches!(octet, b' ' | b'\t');
        if !(is_space && single.last() == Some(&b' ')) {
            single.push(if is_space { b' ' } else { *octet });
        }
    }
    single
}

/// §2.10: six bits a character, white space ignored, padding whole or missing or partly so, the bits that
/// it leaves over zero.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    let dense: String = text.chars().filter(|c| !" \t\r\n".contains(*c)).collect();
    let digits = dense.trim_end_matches('=');
    let padding = dense.len() - digits.len();
    let wanted = (4 - digits.len() % 4) % 4;
    if digits.len() % 4 == 1 || (padding > wanted) {
        return None;
    }
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut octets, mut bits, mut count) = (Vec::new(), 0_usize, 0_u32);
    for digit in digits.chars() {
        bits = bits << 6 | alphabet.find(digit)?;
        count += 6;
        if count >= 8 {
            count -= 8;
            octets.push(u8::try_from(bits >> count).ok()?);
            bits &= (1 << count) - 1;
        }
    }
    (bits == 0).then_some(octets)
}

/// An RSA public key in the shortest DER: SubjectPublicKeyInfo, and RSAPublicKey.
pub(super) fn rsa_der(modulus: &[u8], exponent: &[u8]) -> [Vec<u8>; 2] {
    let integer = |number: &[u8]| {
        let sign: &[u8] =
            if number.first().is_some_and(|octet| *octet >= 0x80) { &[0] } else { &[] };
        element(0x02, &[sign, number].concat())
    };
    let bare = element(0x30, &[integer(modulus), integer(exponent)].concat());
    let oid = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01];
    let algorithm = element(0x30, &[element(0x06, &oid), element(0x05, &[])].concat());
    let bits = element(0x03, &[&[0][..], &bare].concat());
    [element(0x30, &[algorithm, bits].concat()), bare]
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let skipped = length.iter().take_while(|octet| **octet == 0).count();
    let length = length.get(skipped..).unwrap_or_default();
    let long: &[u8] = match (content.len(), length.len()) {
        (0, _) => &[0],
        (1..=0x7F, _) => &[],
        (_, 1) => &[0x81],
        (_, 2) => &[0x82],
        _ => &[0x83],
    };
    [&[tag], long, length, content].concat()
}

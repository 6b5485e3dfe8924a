//! The text encodings of tag values: base64, DKIM quoted-printable (§2.10, §2.11), and the quoted-printable of
//! MIME, in which the notes of a key are (§3.6.1 `n=`).
//!
//! Folding white space inside the first two counts for nothing.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::decoded_len_estimate;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use memchr::memchr3;

/// Decodes the value of `b=`, `bh=` or `p=`. The grammar of §2.10 lets the padding be missing.
pub(crate) fn decode_base64(value: &str) -> Option<Vec<u8>> {
    let value = value.as_bytes();
    if memchr3(b' ', b'\t', b'\r', value).is_none() {
        return decode_dense(value);
    }
    // Nearly all values with folds are those of `b=`, for which no memory has to be asked.
    let mut short = [0; SHORT_VALUE];
    match short.get_mut(..value.len()) {
        Some(room) => decode_dense(without_wsp(value, room)),
        None => decode_dense(without_wsp(value, &mut vec![0; value.len()])),
    }
}

/// Decodes a value without white space.
fn decode_dense(value: &[u8]) -> Option<Vec<u8>> {
    // The library would ask for its memory as zeros, which allocators do not keep at hand.
    let mut decoded = Vec::with_capacity(decoded_len_estimate(value.len()));
    BASE64.decode_vec(value, &mut decoded).ok()?;
    Some(decoded)
}

/// Writes what is no white space to the start of `room`, which is as long as the value.
fn without_wsp<'r>(value: &[u8], room: &'r mut [u8]) -> &'r [u8] {
    let (mut rest, mut len) = (value, 0);
    while !rest.is_empty() {
        let end = memchr3(b' ', b'\t', b'\r', rest).unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        if let Some(place) = room.get_mut(len..len + line.len()) {
            place.copy_from_slice(line);
        }
        len += line.len();
        rest = after.trim_ascii_start();
    }
    room.get(..len).unwrap_or_default()
}

/// Encodes octets for `b=`, `bh=` or `p=`, on one line.
pub(crate) fn encode_base64(octets: &[u8]) -> String {
    BASE64.encode(octets)
}

/// Decodes DKIM quoted-printable to the octets it stands for.
pub(crate) fn decode_quoted(value: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut octets = value.bytes();
    while let Some(octet) = octets.next() {
        match octet {
            b' ' | b'\t' | b'\r' | b'\n' => {}
            b'=' => {
                let (high, low) = (octets.next()?, octets.next()?);
                decoded.push(hex_digit(high)? * 16 + hex_digit(low)?);
            }
            // RFC 8616 §5 adds UTF-8 to the safe characters.
            0x21..=0x7E | 0x80..=0xFF => decoded.push(octet),
            0x00..=0x1F | 0x7F => return None,
        }
    }
    Some(decoded)
}

/// Decodes the `qp-section` of RFC 2045 §6.7, in which white space is text. As that section says of decoders, an equals
/// sign without two hexadecimal digits stays as it is.
pub(crate) fn decode_qp_section(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [octet, after @ ..] = rest {
        let quoted = match rest {
            [b'=', high, low, ..] => hex_digit(*high).zip(hex_digit(*low)),
            _ => None,
        };
        match quoted {
            Some((high, low)) => {
                decoded.push(high * 16 + low);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                decoded.push(*octet);
                rest = after;
            }
        }
    }
    decoded
}

/// Encodes octets as DKIM quoted-printable: all that is not a safe character becomes `=XX`.
pub(crate) fn encode_quoted(octets: &[u8]) -> String {
    let mut encoded = String::with_capacity(octets.len());
    for octet in octets {
        match octet {
            b'!'..=b':' | b'<' | b'>'..=b'~' => encoded.push(char::from(*octet)),
            _ => {
                encoded.push('=');
                for digit in [octet >> 4, octet & 0x0F] {
                    let digit = char::from_digit(u32::from(digit), 16);
                    encoded.push(digit.expect("a nibble is a hex digit").to_ascii_uppercase());
                }
            }
        }
    }
    encoded
}

fn hex_digit(octet: u8) -> Option<u8> {
    char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Padding may be missing; bits that stand for nothing must be zero, so that a changed character is
/// never the same signature.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Values up to this length are worked on without asking for memory: `b=` of RSA with 4096 bits and its folds.
const SHORT_VALUE: usize = 768;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_takes_folds_and_missing_padding() {
        let cases = [
            ("MTIz", Some("123")),
            ("MT\r\n\tIz", Some("123")),
            (" M T I z ", Some("123")),
            ("MTI=", Some("12")),
            ("MTI", Some("12")),
            ("", Some("")),
            ("MTJ=", None),
            ("MT!z", None),
            ("MT-z", None),
            ("=", None),
            ("MTI=MTI=", None),
        ];
        for (text, want) in cases {
            let decoded = decode_base64(text).map(|octets| String::from_utf8(octets).unwrap());
            assert_eq!(decoded.as_deref(), want, "{text:?}");
        }
    }

    #[test]
    fn quoted_printable_reads_what_it_writes() {
        let all: Vec<u8> = (0..=255).collect();
        let encoded = encode_quoted(&all);
        assert!(encoded.bytes().all(|octet| octet.is_ascii_graphic() && octet != b';'));
        assert_eq!(decode_quoted(&encoded).unwrap(), all);
        assert_eq!(decode_quoted("a=\u{20}b"), None);
        assert_eq!(decode_quoted("a=4"), None);
        assert_eq!(decode_quoted("a=4\r\n 0").map(|_| ()), None);
        assert_eq!(decode_quoted("a\r\n =40b").unwrap(), b"a@b");
    }
}

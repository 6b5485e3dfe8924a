//! Three messages as platforms send them, for measuring: the same octets on every machine.
//!
//! What a message costs depends on what is in it: how much white space stands where canonicalization
//! changes it, how long its lines are, how many fields it has. So these have the shapes of real mail: a
//! short text, a newsletter of text and HTML in quoted-printable, and a document in base64.
//!
//! It needs nothing else, and the benchmarks of the library take it in by its path.

/// A message to measure with.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// How it is called in tables.
    pub(crate) name: &'static str,
    /// The whole message, with CRLF.
    pub(crate) octets: Vec<u8>,
}

/// The three messages, of 2 KB, 50 KB and 1 MB, from [`SENDING_DOMAIN`].
pub(crate) fn samples() -> [Sample; 3] {
    [
        Sample { name: "2 KB", octets: text(2 << 10) },
        Sample { name: "50 KB", octets: newsletter(50 << 10) },
        Sample { name: "1 MB", octets: document(1 << 20) },
    ]
}

/// A plain text of about `size` octets.
fn text(size: usize) -> Vec<u8> {
    let mut random = Random(2);
    let mut message = head(
        "Your order 10482 is on its way",
        "text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 7bit\r\n",
    );
    while message.len() < size - 80 {
        wrapped(&paragraph(&mut random, 40), &mut message);
        message.extend_from_slice(b"\r\n");
    }
    // The last paragraph has no empty line behind it.
    message.truncate(message.len() - 2);
    message
}

/// A newsletter of about `size` octets: `multipart/alternative`, both parts in quoted-printable, the HTML
/// as a template leaves it, half of its lines indented.
fn newsletter(size: usize) -> Vec<u8> {
    let mut random = Random(50);
    let boundary = "=_alternative_5b0c3f";
    let mut message = head(
        "=?utf-8?Q?The_autumn_letter_=E2=80=93_17_new_ideas?=",
        &format!("multipart/alternative;\r\n boundary=\"{boundary}\""),
        "",
    );
    part(&mut message, boundary, "text/plain; charset=utf-8", "quoted-printable");
    for _ in 0..24 {
        quoted_printable(&(sentence(&mut random, 12) + "\n"), &mut message);
    }
    message.extend_from_slice(b"\r\n");
    part(&mut message, boundary, "text/html; charset=utf-8", "quoted-printable");
    let mut number = 0;
    while message.len() < size - 1200 {
        number += 1;
        quoted_printable(&card(&mut random, number), &mut message);
    }
    message.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    message
}

/// One offer of a newsletter, in HTML.
fn card(random: &mut Random, number: u32) -> String {
    format!(
        "<table role=\"presentation\" width=\"100%\" cellpadding=\"0\" cellspacing=\"0\"><tr>\
         <td class=\"card\" style=\"padding: 24px 32px; color: #333333; font-size: 16px;\">\n\
         \x20   <a href=\"https://click.example.com/c?id={:016x}{:016x}&amp;u={number}&amp;t=html\">\
         <img src=\"https://img.example.com/{:016x}.png\" width=\"536\" alt=\"{}\"></a>\n\
         \x20   <h2 style=\"margin: 0\">{} \u{2013} \u{20ac}{}.90</h2>\n\
         \x20   <p>{}</p>\n\
         </td></tr></table>\n",
        random.next(),
        random.next(),
        random.next(),
        sentence(random, 4),
        sentence(random, 5),
        5 + random.below(90),
        paragraph(random, 40),
    )
}

/// A message with a document of about `size` octets in base64.
fn document(size: usize) -> Vec<u8> {
    let mut random = Random(1000);
    let boundary = "=_mixed_91ab44";
    let mut message = head(
        "Your statement for October",
        &format!("multipart/mixed;\r\n boundary=\"{boundary}\""),
        "",
    );
    part(&mut message, boundary, "text/plain; charset=utf-8", "7bit");
    wrapped(&paragraph(&mut random, 120), &mut message);
    message.extend_from_slice(b"\r\n");
    part(&mut message, boundary, "application/pdf; name=\"statement.pdf\"", "base64");
    while message.len() < size - 100 {
        for _ in 0..76 {
            let digit = BASE64.get(random.below(BASE64.len())).copied();
            message.extend(digit);
        }
        message.extend_from_slice(b"\r\n");
    }
    message.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    message
}

/// The header section and the empty line.
fn head(subject: &str, content_type: &str, more: &str) -> Vec<u8> {
    format!(
        "From: \"Corner Shop\" <news@{SENDING_DOMAIN}>\r\n\
         To: Jordan Reader <jordan.reader@recipient.example>\r\n\
         Reply-To: help@{SENDING_DOMAIN}\r\n\
         Subject: {subject}\r\n\
         Date: Sat, 01 Aug 2026 12:00:00 +0000\r\n\
         Message-ID: <20260801120000.7F3A1@mail.{SENDING_DOMAIN}>\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: {content_type}\r\n\
         {more}\
         List-Unsubscribe: <https://{SENDING_DOMAIN}/leave/4f1d2c3b5a6978871020304050607080>,\r\n\
         \x20<mailto:leave@{SENDING_DOMAIN}?subject=4f1d2c3b5a69>\r\n\
         List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n\
         X-Campaign: autumn-17\r\n\
         X-Mailer: Example Mailer 4.2\r\n\
         \r\n"
    )
    .into_bytes()
}

fn part(message: &mut Vec<u8>, boundary: &str, content_type: &str, encoding: &str) {
    let text = format!(
        "--{boundary}\r\nContent-Type: {content_type}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    );
    message.extend_from_slice(text.as_bytes());
}

fn paragraph(random: &mut Random, words: usize) -> String {
    let mut text = String::new();
    let mut left = words;
    while left > 0 {
        let count = (6 + random.below(9)).min(left);
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&sentence(random, count));
        left -= count;
    }
    text
}

fn sentence(random: &mut Random, words: usize) -> String {
    let mut text = String::new();
    for _ in 0..words {
        let word = WORDS.get(random.below(WORDS.len())).copied().unwrap_or_default();
        if text.is_empty() {
            text.extend(word.chars().take(1).map(|letter| letter.to_ascii_uppercase()));
            text.extend(word.chars().skip(1));
        } else {
            text.push(' ');
            text.push_str(word);
        }
    }
    text.push('.');
    text
}

/// Writes a text in lines of up to 74 characters.
fn wrapped(text: &str, out: &mut Vec<u8>) {
    let mut column = 0;
    for word in text.split(' ') {
        if column > 0 && column + 1 + word.len() > 74 {
            out.extend_from_slice(b"\r\n");
            column = 0;
        }
        if column > 0 {
            out.push(b' ');
            column += 1;
        }
        out.extend_from_slice(word.as_bytes());
        column += word.len();
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes a text in quoted-printable (RFC 2045 §6.7), in lines of up to 76 characters.
fn quoted_printable(text: &str, out: &mut Vec<u8>) {
    let mut column = 0;
    for octet in text.bytes() {
        if octet == b'\n' {
            out.extend_from_slice(b"\r\n");
            column = 0;
            continue;
        }
        let is_literal = matches!(octet, b' '..=b'~') && octet != b'=';
        let len = if is_literal { 1 } else { 3 };
        if column + len > 75 {
            out.extend_from_slice(b"=\r\n");
            column = 0;
        }
        if is_literal {
            out.push(octet);
        } else {
            out.extend_from_slice(format!("={octet:02X}").as_bytes());
        }
        column += len;
    }
}

/// A small generator of numbers, the same in every run (Knuth's MMIX).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap_or(0) % bound
    }
}

/// The domain in their From.
pub(crate) const SENDING_DOMAIN: &str = "shop.example.com";

const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

const WORDS: [&str; 48] = [
    "autumn",
    "bread",
    "candle",
    "delivery",
    "every",
    "fresh",
    "garden",
    "harvest",
    "invite",
    "jam",
    "kitchen",
    "letter",
    "market",
    "new",
    "offer",
    "pumpkin",
    "quiet",
    "recipe",
    "saving",
    "table",
    "under",
    "visit",
    "winter",
    "yellow",
    "a",
    "and",
    "of",
    "the",
    "to",
    "with",
    "in",
    "for",
    "your",
    "our",
    "basket",
    "collection",
    "downstairs",
    "evening",
    "favourite",
    "generous",
    "handmade",
    "interesting",
    "journey",
    "lantern",
    "morning",
    "neighbourhood",
    "ordinary",
    "parcel",
];

#[cfg(test)]
mod tests {
    #[test]
    fn samples_have_their_size_and_are_mail() {
        for (sample, size) in super::samples().into_iter().zip([2 << 10, 50 << 10, 1 << 20]) {
            let super::Sample { name, octets } = sample;
            let len = octets.len();
            assert!(len.abs_diff(size) <= size / 20, "{name}: {len}");
            assert!(octets.ends_with(b"\r\n") && !octets.ends_with(b"\r\n\r\n"), "{name}");
            for line in octets.split(|octet| *octet == b'\n').filter(|line| !line.is_empty()) {
                assert!(line.ends_with(b"\r") && line.len() <= 999, "{name}");
                assert!(line.is_ascii() && !line[..line.len() - 1].contains(&b'\r'), "{name}");
            }
        }
    }

    #[test]
    fn samples_are_the_same_each_time() {
        for (one, two) in super::samples().into_iter().zip(super::samples()) {
            assert_eq!(one.octets, two.octets, "{}", one.name);
        }
    }
}

//! Service extensions: what a server offers in its answer to `EHLO` (RFC 5321 §2.2, §4.1.1.1).
//!
//! The proxy offers its clients only what every next hop behind it offers, so [`Extensions`] is both
//! what the client session learns and what the server session is told to offer;
//! [`Extensions::shared`] is the step between the two.

use super::reply::Reply;

/// The extensions that matter to a relay.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Extensions {
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// SIZE (RFC 1870).
    pub size: SizeOffer,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// CHUNKING (RFC 3030).
    pub chunking: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// STARTTLS (RFC 3207).
    pub start_tls: bool,
    /// AUTH PLAIN (RFC 4954, RFC 4616).
    pub auth_plain: bool,
    /// AUTH LOGIN (in wide use, without an RFC).
    pub auth_login: bool,
}

/// What a server says about message sizes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum SizeOffer {
    /// SIZE is not offered: the parameter must not be sent.
    #[default]
    NotOffered,
    /// SIZE is offered without a limit, or with 0 (RFC 1870 §4).
    NoLimit,
    /// The largest message in octets.
    Limit(u64),
}

impl SizeOffer {
    /// The limit in octets, if one was stated.
    pub fn limit(self) -> Option<u64> {
        match self {
            Self::NotOffered | Self::NoLimit => None,
            Self::Limit(octets) => Some(octets),
        }
    }
}

impl Extensions {
    /// Reads the answer to `EHLO`. Its first line is the greeting; what is not known is passed over.
    pub fn from_reply(reply: &Reply) -> Self {
        let mut all = Self::default();
        for line in reply.lines().skip(1) {
            let line = String::from_utf8_lossy(line);
            // `AUTH=LOGIN PLAIN` is how servers from before RFC 2554 say it.
            let mut words = line.split([' ', '=']).filter(|word| !word.is_empty());
            let Some(keyword) = words.next() else { continue };
            match keyword.to_ascii_uppercase().as_str() {
                "PIPELINING" => all.pipelining = true,
                "8BITMIME" => all.eight_bit_mime = true,
                "SMTPUTF8" => all.smtputf8 = true,
                "CHUNKING" => all.chunking = true,
                "DSN" => all.dsn = true,
                "STARTTLS" => all.start_tls = true,
                "SIZE" => {
                    all.size = match words.next().and_then(|word| word.parse().ok()) {
                        None | Some(0) => SizeOffer::NoLimit,
                        Some(octets) => SizeOffer::Limit(octets),
                    };
                }
                "AUTH" => {
                    for mechanism in words {
                        all.auth_plain |= mechanism.eq_ignore_ascii_case("PLAIN");
                        all.auth_login |= mechanism.eq_ignore_ascii_case("LOGIN");
                    }
                }
                _ => {}
            }
        }
        all
    }

    /// What both offer, with the smaller limit. STARTTLS and AUTH are between neighbours and are not
    /// shared.
    pub fn shared(&self, other: &Self) -> Self {
        Self {
            pipelining: self.pipelining && other.pipelining,
            size: match (self.size, other.size) {
                (SizeOffer::NotOffered, _) | (_, SizeOffer::NotOffered) => SizeOffer::NotOffered,
                (SizeOffer::NoLimit, size) | (size, SizeOffer::NoLimit) => size,
                (SizeOffer::Limit(a), SizeOffer::Limit(b)) => SizeOffer::Limit(a.min(b)),
            },
            eight_bit_mime: self.eight_bit_mime && other.eight_bit_mime,
            smtputf8: self.smtputf8 && other.smtputf8,
            chunking: self.chunking && other.chunking,
            dsn: self.dsn && other.dsn,
            start_tls: false,
            auth_plain: false,
            auth_login: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &str) -> Extensions {
        let (_, reply) = Reply::parse(lines.as_bytes()).unwrap().unwrap();
        Extensions::from_reply(&reply)
    }

    #[test]
    fn reads_what_postfix_answers() {
        let all = read(
            "250-mx.example\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-VRFY\r\n250-ETRN\r\n\
             250-STARTTLS\r\n250-AUTH PLAIN LOGIN\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n\
             250-DSN\r\n250-SMTPUTF8\r\n250 CHUNKING\r\n",
        );
        let want = Extensions {
            pipelining: true,
            size: SizeOffer::Limit(10_240_000),
            eight_bit_mime: true,
            smtputf8: true,
            chunking: true,
            dsn: true,
            start_tls: true,
            auth_plain: true,
            auth_login: true,
        };
        assert_eq!(all, want);
    }

    #[test]
    fn keywords_ignore_case_and_the_greeting_is_no_keyword() {
        assert_eq!(read("250 PIPELINING\r\n"), Extensions::default());
        assert!(read("250-x\r\n250 pipelining\r\n").pipelining);
        assert!(read("250-x\r\n250 AUTH=LOGIN\r\n").auth_login);
        assert_eq!(read("250-x\r\n250 SIZE\r\n").size, SizeOffer::NoLimit);
        assert_eq!(read("250-x\r\n250 SIZE 0\r\n").size, SizeOffer::NoLimit);
    }

    #[test]
    fn shares_only_what_both_have() {
        let a = read("250-x\r\n250-SIZE 100\r\n250-DSN\r\n250-STARTTLS\r\n250 8BITMIME\r\n");
        let b = read("250-x\r\n250-SIZE 50\r\n250 8BITMIME\r\n");
        let both = a.shared(&b);
        assert_eq!(both.size, SizeOffer::Limit(50));
        assert!(both.eight_bit_mime && !both.dsn && !both.start_tls);
    }
}

//! Gives a packet from the MTA its type.
//!
//! Strings end in NUL, as libmilter demands; what stands behind the last string that a command
//! needs is ignored, as Sendmail's own filter library does with ESMTP arguments it does not know.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::macros::Strings;
use super::state::ProtocolError;

/// A command that comes in one packet. The body is not among them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Command<'i> {
    /// `O`: the MTA's offer.
    Negotiate(&'i [u8]),
    /// `D`: names and values for the command that is named first.
    Macros { of: u8, pairs: &'i [u8] },
    /// `C`
    Connect(Client),
    /// `H`
    Helo,
    /// `M`: the reverse-path.
    Mail(&'i [u8]),
    /// `R`: a forward-path.
    Rcpt(&'i [u8]),
    /// `T`
    Data,
    /// `U`
    Unknown,
    /// `L`
    Field { name: &'i [u8], value: &'i [u8] },
    /// `N`
    EndOfHeader,
    /// `A`
    Abort,
    /// `Q`
    Quit,
    /// `K`
    QuitNewConnection,
}

impl<'i> Command<'i> {
    pub(super) fn parse(command: u8, data: &'i [u8]) -> Result<Self, ProtocolError> {
        let malformed = ProtocolError::Malformed { command: char::from(command) };
        let mut strings = Strings(data);
        let mut string = || strings.next().flatten().ok_or(malformed);
        Ok(match command {
            b'O' => Self::Negotiate(data),
            b'D' => {
                let (&of, pairs) = data.split_first().ok_or(malformed)?;
                Self::Macros { of, pairs }
            }
            b'C' => Self::Connect(Client::parse(data).ok_or(malformed)?),
            b'H' => Self::Helo,
            b'M' => Self::Mail(without_brackets(string()?)),
            b'R' => Self::Rcpt(without_brackets(string()?)),
            b'T' => Self::Data,
            b'U' => Self::Unknown,
            b'L' => Self::Field { name: string()?, value: string()? },
            b'N' => Self::EndOfHeader,
            b'A' => Self::Abort,
            b'Q' => Self::Quit,
            b'K' => Self::QuitNewConnection,
            unknown => {
                return Err(ProtocolError::UnknownCommand { command: char::from(unknown) });
            }
        })
    }
}

/// The SMTP client that the MTA is talking to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Client {
    host_name: Box<[u8]>,
    address: ClientAddress,
}

impl Client {
    /// The host name that the MTA found for the client, or its address in brackets.
    pub fn host_name(&self) -> &[u8] {
        &self.host_name
    }

    /// Where the client connects from.
    pub fn address(&self) -> &ClientAddress {
        &self.address
    }

    fn parse(data: &[u8]) -> Option<Self> {
        let mut strings = Strings(data);
        let host_name = strings.next()??.into();
        let (&family, rest) = strings.0.split_first()?;
        let address = if family == b'U' {
            ClientAddress::Unknown
        } else {
            let (&port, rest) = rest.split_first_chunk()?;
            let port = u16::from_be_bytes(port);
            let text = Strings(rest).next()??;
            match family {
                b'L' => ClientAddress::Local { path: text.into() },
                b'4' => ClientAddress::Ip { address: IpAddr::V4(parse_ipv4(text)?), port },
                b'6' => ClientAddress::Ip { address: parse_ipv6(text)?.to_canonical(), port },
                _ => return None,
            }
        };
        Some(Self { host_name, address })
    }
}

/// Where an SMTP client connects from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClientAddress {
    /// Over IP. An IPv4 address is never written as an IPv6 one.
    Ip {
        /// The address.
        address: IpAddr,
        /// The port, 0 if the MTA does not know it.
        port: u16,
    },
    /// Over a socket of the machine the MTA runs on.
    Local {
        /// Its path.
        path: Box<[u8]>,
    },
    /// The MTA does not say.
    Unknown,
}

fn parse_ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn parse_ipv6(text: &[u8]) -> Option<Ipv6Addr> {
    // Sendmail writes the address as in an address literal (RFC 5321 §4.1.3).
    let text = match text.split_first_chunk::<5>() {
        Some((tag, rest)) if tag.eq_ignore_ascii_case(b"IPv6:") => rest,
        _ => text,
    };
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The address in a path. MTAs write `<a@b>`; some filters' clients leave the brackets out.
fn without_brackets(path: &[u8]) -> &[u8] {
    match path {
        [b'<', address @ .., b'>'] => address,
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(host_name: &[u8], address: ClientAddress) -> Option<Client> {
        Some(Client { host_name: host_name.into(), address })
    }

    fn ip(address: &str, port: u16) -> ClientAddress {
        ClientAddress::Ip { address: address.parse().unwrap(), port }
    }

    #[test]
    fn reads_where_a_client_comes_from() {
        let cases: [(&[u8], _); 15] = [
            (b"h\x004\x9c\x40192.0.2.1\0", client(b"h", ip("192.0.2.1", 40_000))),
            (b"[192.0.2.1]\x004\0\x00192.0.2.1\0", client(b"[192.0.2.1]", ip("192.0.2.1", 0))),
            (b"h\x006\0\x192001:db8::1\0", client(b"h", ip("2001:db8::1", 25))),
            (b"h\x006\0\x19IPv6:2001:db8::1\0", client(b"h", ip("2001:db8::1", 25))),
            (b"h\x006\0\x19::ffff:192.0.2.1\0", client(b"h", ip("192.0.2.1", 25))),
            (b"h\0L\0\0/run/s\0", client(b"h", ClientAddress::Local { path: (*b"/run/s").into() })),
            (b"unknown\0U", client(b"unknown", ClientAddress::Unknown)),
            (b"unknown\0U\0\0", client(b"unknown", ClientAddress::Unknown)),
            (b"h\0", None),
            (b"h", None),
            (b"", None),
            (b"h\x004\0", None),
            (b"h\x004\0\x19192.0.2.1", None),
            (b"h\x004\0\x19192.0.2.256\0", None),
            (b"h\0X\0\x19192.0.2.1\0", None),
        ];
        for (input, want) in cases {
            assert_eq!(Client::parse(input), want, "{}", input.escape_ascii());
        }
    }

    #[test]
    fn reads_commands() {
        let malformed = |command| Err(ProtocolError::Malformed { command });
        let cases: [(&[u8], _); 20] = [
            (b"M<a@b.example>\0SIZE=9\0", Ok(Command::Mail(b"a@b.example"))),
            (b"M<>\0", Ok(Command::Mail(b""))),
            (b"Ma@b\0", Ok(Command::Mail(b"a@b"))),
            (b"M", malformed('M')),
            (b"M<a@b>", malformed('M')),
            (b"R<c@d>\0NOTIFY=NEVER\0", Ok(Command::Rcpt(b"c@d"))),
            (b"R\0", Ok(Command::Rcpt(b""))),
            (
                b"LSubject\0 hi\n there\0",
                Ok(Command::Field { name: b"Subject", value: b" hi\n there" }),
            ),
            (b"LX\0\0", Ok(Command::Field { name: b"X", value: b"" })),
            (b"LX\0", malformed('L')),
            (b"LX\0 y", malformed('L')),
            (b"L", malformed('L')),
            (b"DMi\0A\0", Ok(Command::Macros { of: b'M', pairs: b"i\0A\0" })),
            (b"D", malformed('D')),
            (b"Hmx\0", Ok(Command::Helo)),
            (b"T", Ok(Command::Data)),
            (b"N", Ok(Command::EndOfHeader)),
            (b"K", Ok(Command::QuitNewConnection)),
            (b"Zx", Err(ProtocolError::UnknownCommand { command: 'Z' })),
            (b"C", malformed('C')),
        ];
        for (input, want) in cases {
            assert_eq!(Command::parse(input[0], &input[1..]), want, "{}", input.escape_ascii());
        }
    }
}

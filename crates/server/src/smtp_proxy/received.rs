//! The trace field that the proxy puts into each message, and the count that stops a loop.
//!
//! The proxy takes mail in from one connection and hands it on over another, in its own name and with
//! its own `EHLO`, so it is an SMTP server in the sense of RFC 5321 §4.4, and adds a `Received` field,
//! although it queues nothing. That field is also what ends a next hop that points back at us: each turn
//! adds one, and a message with [`MAX_RECEIVED`] of them is refused (§6.3).
//!
//! It is put in before the message is signed and stands below the signatures, above all that the client
//! sent: read from the top, the message was signed here after it was received here. No signature covers
//! it (RFC 6376 §5.4.1 advises against signing trace fields), so an MTA behind us may still do with it
//! what it likes.

use std::fmt::Write as _;
use std::net::IpAddr;

use postseal_wire::smtp::HelloName;

/// What is known of how a message came in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trace<'a> {
    /// The name that the client gave.
    pub(super) client_name: Option<&'a HelloName>,
    /// Its address.
    pub(super) client_address: IpAddr,
    /// Our name.
    pub(super) host_name: &'a HelloName,
    /// The protocol (RFC 3848).
    pub(super) protocol: &'a str,
    /// Our id of the message, also in the log.
    pub(super) id: &'a str,
    /// The date (RFC 5322 §3.3).
    pub(super) date: &'a str,
}

impl Trace<'_> {
    /// Writes the field, with its CRLF (RFC 5321 §4.4, `Time-stamp-line`).
    pub(super) fn to_field(self) -> String {
        let literal = match self.client_address.to_canonical() {
            IpAddr::V4(address) => format!("[{address}]"),
            IpAddr::V6(address) => format!("[IPv6:{address}]"),
        };
        let mut field = String::from("Received: from ");
        // A name that is no domain could be read as something else; the address is always true.
        match self.client_name.filter(|name| name.is_well_formed()) {
            Some(name) => field.push_str(name.as_str()),
            None => field.push_str(&literal),
        }
        // Writing to a String cannot fail.
        let _ = write!(
            field,
            " ({literal})\r\n\tby {} (Postseal) with {} id {};\r\n\t{}\r\n",
            self.host_name, self.protocol, self.id, self.date,
        );
        field
    }
}

/// `Received` fields at which a message is taken to go round in circles: RFC 5321 §6.3 asks for a limit of
/// at least 100.
pub(super) const MAX_RECEIVED: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_a_time_stamp_line() {
        let host_name = HelloName::parse("proxy.example").unwrap();
        let field = |name: &str, address: &str| {
            Trace {
                client_name: Some(&HelloName::parse(name).unwrap()),
                client_address: address.parse().unwrap(),
                host_name: &host_name,
                protocol: "ESMTPSA",
                id: "5f3a",
                date: "Sun, 22 Nov 2026 01:24:30 +0000",
            }
            .to_field()
        };
        let rest = "\r\n\tby proxy.example (Postseal) with ESMTPSA id 5f3a;\r\n\tSun, 22 Nov 2026 01:24:30 +0000\r\n";
        let cases = [
            ("a.example", "192.0.2.1", "a.example ([192.0.2.1])"),
            ("[192.0.2.1]", "192.0.2.1", "[192.0.2.1] ([192.0.2.1])"),
            ("a.example", "2001:db8::1", "a.example ([IPv6:2001:db8::1])"),
            ("a.example", "::ffff:192.0.2.1", "a.example ([192.0.2.1])"),
            ("x;(y", "192.0.2.1", "[192.0.2.1] ([192.0.2.1])"),
        ];
        for (name, address, from) in cases {
            assert_eq!(field(name, address), format!("Received: from {from}{rest}"), "{name}");
        }
    }
}

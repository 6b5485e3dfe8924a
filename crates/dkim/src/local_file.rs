//! Messages in files, some of which have the line ends of the system instead of those of mail.
//!
//! Only CRLF ends a line of a message. But a file in which every line ends in a bare LF is a local
//! file: an editor or a mail store wrote it so, and it stands for the message with CRLF.

use std::borrow::Cow;

use memchr::memchr;
use memchr::memmem;

/// How the lines of a file end.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum LineEnds {
    /// As mail has them; or mixed, which is a message with bare LFs in it.
    Wire,
    /// Every line ends in a bare LF.
    Local,
}

/// A message as a file has it.
#[derive(Clone, Debug)]
pub struct LocalFile<'a> {
    octets: &'a [u8],
    line_ends: LineEnds,
}

impl<'a> LocalFile<'a> {
    /// Looks at the line ends of a file. The last line may lack one.
    #[must_use]
    pub fn new(octets: &'a [u8]) -> Self {
        let is_local = memchr(b'\n', octets).is_some() && memmem::find(octets, b"\r\n").is_none();
        Self { octets, line_ends: if is_local { LineEnds::Local } else { LineEnds::Wire } }
    }

    /// The message as it goes on the wire.
    #[must_use]
    pub fn to_wire(&self) -> Cow<'a, [u8]> {
        match self.line_ends {
            LineEnds::Wire => Cow::Borrowed(self.octets),
            LineEnds::Local => Cow::Owned(with_crlf(self.octets)),
        }
    }

    /// Octets of the wire in the form of this file, for what is to be written beside its own.
    #[must_use]
    pub fn to_local<'w>(&self, wire: &'w [u8]) -> Cow<'w, [u8]> {
        match self.line_ends {
            LineEnds::Wire => Cow::Borrowed(wire),
            LineEnds::Local => Cow::Owned(without_cr(wire)),
        }
    }

    /// How the lines of the file end.
    #[must_use]
    pub fn line_ends(&self) -> LineEnds {
        self.line_ends
    }
}

fn with_crlf(octets: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(octets.len() + octets.len() / 32 + 2);
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        match line {
            [line @ .., b'\n'] => {
                wire.extend_from_slice(line);
                wire.extend_from_slice(b"\r\n");
            }
            _ => wire.extend_from_slice(line),
        }
    }
    wire
}

fn without_cr(wire: &[u8]) -> Vec<u8> {
    let mut local = Vec::with_capacity(wire.len());
    let mut rest = wire;
    while let Some(at) = memmem::find(rest, b"\r\n") {
        let (line, after) = rest.split_at(at);
        local.extend_from_slice(line);
        local.push(b'\n');
        rest = after.get(2..).unwrap_or_default();
    }
    local.extend_from_slice(rest);
    local
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_bare_lf_are_local() {
        let cases: [(&[u8], &[u8], LineEnds); 9] = [
            (b"a\nb\n", b"a\r\nb\r\n", LineEnds::Local),
            (b"a\nb", b"a\r\nb", LineEnds::Local),
            (b"\n", b"\r\n", LineEnds::Local),
            (b"a\rb\n", b"a\rb\r\n", LineEnds::Local),
            (b"a\r\nb\n", b"a\r\nb\n", LineEnds::Wire),
            (b"a\nb\r\n", b"a\nb\r\n", LineEnds::Wire),
            (b"a\r\n", b"a\r\n", LineEnds::Wire),
            (b"a\rb", b"a\rb", LineEnds::Wire),
            (b"", b"", LineEnds::Wire),
        ];
        for (octets, wire, line_ends) in cases {
            let file = LocalFile::new(octets);
            assert_eq!(&*file.to_wire(), wire, "{}", octets.escape_ascii());
            assert_eq!(file.line_ends(), line_ends, "{}", octets.escape_ascii());
            assert_eq!(&*file.to_local(wire), octets, "{}", octets.escape_ascii());
        }
    }
}

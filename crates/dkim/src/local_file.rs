//! Messages in files, some of which have the line ends of the system instead of those of mail.
//!
//! Only CRLF ends a line of a message. But a file in which every line ends in a bare LF is a local
//! file: an editor or a mail store wrote it so, and it stands for the message with CRLF.
//!
//! Whether each line of a file ends so is known at its end, and a file may be larger than memory.
//! [`FileStart`] reads one in pieces all the same, with the same result as [`LocalFile`] has from the
//! whole. That can be done because a header section is bounded. Take as much of the file as a header
//! section can have:
//!
//! ```text
//!   a CRLF in it      the message is in wire form, and so is all that follows
//!   none, some LF     local, unless a CRLF follows later. Then the file would be in wire form, and its
//!                     first line, and with it the header section, longer than is worked on
//!   no LF at all      the first line is longer than is worked on in either form
//! ```
//!
//! So what follows is read as what the start is, and a late CRLF is an error that is known in advance.

use std::borrow::Cow;

use memchr::memchr;
use memchr::memmem;

use crate::field::{Header, HeaderError, MAX_HEADER_LEN};

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
        Self { octets, line_ends: line_ends(octets) }
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

/// The start of a file that is read in pieces.
#[derive(Clone, Debug)]
pub struct FileStart {
    wire: Vec<u8>,
    line_ends: LineEnds,
    ends_in_cr: bool,
}

impl FileStart {
    /// Takes the first [`FILE_START_LEN`] octets of a file, or all of them if there are fewer.
    #[must_use]
    pub fn new(octets: Vec<u8>) -> Self {
        let line_ends = line_ends(&octets);
        let ends_in_cr = octets.last() == Some(&b'\r');
        let wire = match line_ends {
            LineEnds::Wire => octets,
            LineEnds::Local => with_crlf(&octets),
        };
        Self { wire, line_ends, ends_in_cr }
    }

    /// The header of the message, and what of its body is in the start.
    ///
    /// The error is that of the whole file only when all of it was read: a late CRLF is another one,
    /// which [`FileRest::to_wire`] gives.
    pub fn message(&self) -> Result<(Header<'_>, &[u8]), HeaderError> {
        Header::of_message(&self.wire)
    }

    /// What reads the octets behind the start.
    #[must_use]
    pub fn rest(&self) -> FileRest {
        FileRest(match self.line_ends {
            LineEnds::Wire => Rest::Wire,
            LineEnds::Local => Rest::Local { after_cr: self.ends_in_cr, wire: Vec::new() },
        })
    }
}

/// What reads a file behind its start.
#[derive(Clone, Debug)]
pub struct FileRest(Rest);

#[derive(Clone, Debug)]
enum Rest {
    Wire,
    Local {
        after_cr: bool,
        /// The last chunk, as it goes on the wire.
        wire: Vec<u8>,
    },
    /// A CRLF came where there was none before.
    LateCrlf,
}

impl FileRest {
    /// The next chunk, of any size, as it goes on the wire.
    ///
    /// Fails if the file turns out to be in wire form after all, with a header section that is too long.
    pub fn to_wire<'c>(&'c mut self, chunk: &'c [u8]) -> Result<&'c [u8], HeaderError> {
        if let Rest::Local { after_cr, .. } = &mut self.0 {
            let is_late = (*after_cr && chunk.first() == Some(&b'\n'))
                || memmem::find(chunk, b"\r\n").is_some();
            if let Some(last) = chunk.last() {
                *after_cr = *last == b'\r';
            }
            if is_late {
                self.0 = Rest::LateCrlf;
            }
        }
        match &mut self.0 {
            Rest::Wire => Ok(chunk),
            Rest::Local { wire, .. } => {
                wire.clear();
                write_with_crlf(chunk, wire);
                Ok(wire)
            }
            Rest::LateCrlf => Err(HeaderError::TooLong),
        }
    }
}

fn line_ends(octets: &[u8]) -> LineEnds {
    let is_local = memchr(b'\n', octets).is_some() && memmem::find(octets, b"\r\n").is_none();
    if is_local { LineEnds::Local } else { LineEnds::Wire }
}

fn with_crlf(octets: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(octets.len());
    write_with_crlf(octets, &mut wire);
    wire
}

fn write_with_crlf(octets: &[u8], wire: &mut Vec<u8>) {
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        match line {
            [line @ .., b'\n'] => {
                wire.extend_from_slice(line);
                wire.extend_from_slice(b"\r\n");
            }
            _ => wire.extend_from_slice(line),
        }
    }
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

/// How much of a file tells how the rest is to be read: one octet more than a header section may have,
/// so that it is seen to be too long, and one for the second octet of a CRLF that begins there.
pub const FILE_START_LEN: usize = MAX_HEADER_LEN + 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::HeaderBounds;

    type Read = Result<(Vec<Vec<u8>>, Vec<u8>), HeaderError>;

    fn parts((header, body): (Header<'_>, &[u8])) -> (Vec<Vec<u8>>, Vec<u8>) {
        (header.fields().map(|field| field.raw().to_vec()).collect(), body.to_vec())
    }

    fn whole(octets: &[u8], bounds: HeaderBounds) -> Read {
        Header::of_message_within(&LocalFile::new(octets).to_wire(), bounds).map(parts)
    }

    /// Reads as a program does that never has more than the start and a chunk.
    fn in_pieces(octets: &[u8], bounds: HeaderBounds, chunk: usize) -> Read {
        let (start, behind) = octets.split_at(octets.len().min(bounds.octets + 2));
        let start = FileStart::new(start.to_vec());
        let mut rest = start.rest();
        let mut message = Header::of_message_within(&start.wire, bounds).map(parts);
        for chunk in behind.chunks(chunk) {
            let wire = rest.to_wire(chunk)?;
            if let Ok((_, body)) = &mut message {
                body.extend_from_slice(wire);
            }
        }
        message
    }

    /// Every file of up to nine octets of an alphabet, under bounds so small that each has every place
    /// relative to them.
    #[test]
    fn a_file_reads_the_same_in_pieces() {
        let mut results = [0; 3];
        for len in 0..=9_u32 {
            for number in 0..ALPHABET.len().pow(len) {
                let octets: Vec<u8> = (0..len)
                    .map(|place| ALPHABET[number / ALPHABET.len().pow(place) % ALPHABET.len()])
                    .collect();
                for bounds in
                    [HeaderBounds { octets: 3, fields: 1 }, HeaderBounds { octets: 4, fields: 2 }]
                {
                    let want = whole(&octets, bounds);
                    for chunk in [1, 2, 9] {
                        let got = in_pieces(&octets, bounds, chunk);
                        assert_eq!(got, want, "{} {bounds:?} {chunk}", octets.escape_ascii());
                    }
                    results[match want {
                        Ok(_) => 0,
                        Err(HeaderError::TooLong) => 1,
                        Err(HeaderError::TooManyFields) => 2,
                        Err(error) => panic!("{error}"),
                    }] += 1;
                }
            }
        }
        assert!(results.iter().all(|count| *count > 100), "{results:?}");
    }

    const ALPHABET: [u8; 4] = *b"a \r\n";

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2_000))]

        /// Longer files, with more ways to be cut.
        #[test]
        fn any_mix_of_line_ends_reads_the_same_in_pieces(
            lines in proptest::collection::vec("[a: ]{0,6}(\r\n|\n|\r|\n|\n|)", 0..40),
            is_local in proptest::bool::ANY,
            octets in 0_usize..60,
            fields in 1_usize..12,
            chunk in 1_usize..70,
        ) {
            let mut file = lines.concat();
            if is_local {
                file = file.replace("\r\n", "\n");
            }
            let bounds = HeaderBounds { octets, fields };
            proptest::prop_assert_eq!(
                in_pieces(file.as_bytes(), bounds, chunk),
                whole(file.as_bytes(), bounds)
            );
        }
    }

    #[test]
    fn the_public_bounds_are_those_of_the_start() {
        let bounds = HeaderBounds { octets: MAX_HEADER_LEN, fields: crate::MAX_FIELDS };
        let line = b"0123456789abcde\n";
        let local = line.repeat(MAX_HEADER_LEN / line.len() + 9);
        for head in [&b"A: b\n\n"[..], b"A: b\r\n\r\n", b""] {
            for tail in [&b""[..], b"\r\n", b"\n"] {
                let file = [head, &local, tail].concat();
                let start = FileStart::new(file[..FILE_START_LEN].to_vec());
                let mut rest = start.rest();
                let late = rest.to_wire(&file[FILE_START_LEN..]).err();
                let read = match late {
                    Some(error) => Err(error),
                    None => start.message().map(|(header, _)| header.len()),
                };
                let want = whole(&file, bounds).map(|(fields, _)| fields.len());
                assert_eq!(read, want, "{} {}", head.escape_ascii(), tail.escape_ascii());
            }
        }
    }

    #[test]
    fn the_longest_header_fits_into_the_start_and_a_longer_one_is_seen() {
        let read = |file: &[u8]| {
            let (start, behind) = file.split_at(FILE_START_LEN);
            let start = FileStart::new(start.to_vec());
            let (fields, mut body) = start.message().map(parts)?;
            body.extend_from_slice(start.rest().to_wire(behind)?);
            Ok((fields, body))
        };
        let bounds = HeaderBounds { octets: MAX_HEADER_LEN, fields: crate::MAX_FIELDS };
        for (octets, fits) in [(MAX_HEADER_LEN, true), (MAX_HEADER_LEN + 1, false)] {
            for line_end in ["\r\n", "\n"] {
                let value = "b".repeat(octets - "A:\r\n".len());
                let file = ["A:", &value, line_end, line_end, "body"].concat();
                let got = read(file.as_bytes());
                assert_eq!(got.is_ok(), fits, "{octets} {line_end:?}");
                assert!(got == whole(file.as_bytes(), bounds), "{octets} {line_end:?}");
            }
        }
    }

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

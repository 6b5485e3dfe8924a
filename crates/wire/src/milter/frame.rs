//! Cuts the byte stream into packets.
//!
//! Most packets are small and are handed out whole, borrowed from the input. Two kinds are not:
//! pieces of the body (`B`, and `E`, which may carry the last piece) are handed out as they come in,
//! so that nobody has to hold one; and a header field (`L`) longer than [`MAX_HELD_PACKET`] is
//! passed over, so that the message can be refused with a reply instead of a broken connection.
//!
//! The decoder holds no bytes. What it has not used yet stays with the caller, who hands it over
//! again together with what came next. A caller with room for [`MAX_HELD_PACKET`] and the length in
//! front of it always gets on.

use thiserror::Error;

/// One step through the stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Piece<'i> {
    /// A whole packet.
    Packet { command: u8, data: &'i [u8] },
    /// Some of the data of a packet of the body.
    Part { command: u8, data: &'i [u8] },
    /// All data of a packet of the body was handed out.
    End { command: u8 },
    /// A header field that is too long to be held was passed over.
    Oversized { command: u8 },
}

/// Where in the stream the decoder is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Decoder {
    inside: Option<Inside>,
}

/// A packet whose data is handed out, or passed over, as it comes.
#[derive(Clone, Copy, Debug)]
struct Inside {
    command: u8,
    left: usize,
}

impl Decoder {
    /// Returns the next piece and the number of octets it took, or `None` if `input` ends before.
    pub(super) fn next<'i>(
        &mut self,
        input: &'i [u8],
    ) -> Result<Option<(Piece<'i>, usize)>, FrameError> {
        let mut rest = input;
        let mut inside = match self.inside {
            Some(inside) => inside,
            None => {
                let Some((&[a, b, c, d, command], after)) = input.split_first_chunk() else {
                    return check_length(input).map(|()| None);
                };
                let length = u32::from_be_bytes([a, b, c, d]);
                // `check_length` sees a length of 0 as soon as it is there, this sees the others.
                let left = data_length(length)?;
                if !is_streamed(command, left) {
                    if left >= MAX_HELD_PACKET {
                        return Err(FrameError::TooLong { command, length });
                    }
                    return Ok(after
                        .get(..left)
                        .map(|data| (Piece::Packet { command, data }, HEAD + left)));
                }
                if left >= MAX_PACKET {
                    return Err(FrameError::TooLong { command, length });
                }
                rest = after;
                Inside { command, left }
            }
        };

        let data = rest.get(..inside.left).unwrap_or(rest);
        let used = input.len() - rest.len() + data.len();
        let command = inside.command;
        if command == HEADER_FIELD {
            inside.left -= data.len();
            self.inside = (inside.left > 0).then_some(inside);
            // Passing over says nothing until the end; then the caller has used up the input.
            return Ok(match self.inside {
                None => Some((Piece::Oversized { command }, used)),
                Some(_) if used == 0 => None,
                Some(_) => Some((Piece::Part { command, data: &[] }, used)),
            });
        }
        if inside.left == 0 {
            self.inside = None;
            return Ok(Some((Piece::End { command }, used)));
        }
        if data.is_empty() {
            // The head alone is not worth an event. It is read again with what follows it.
            return Ok(None);
        }
        inside.left -= data.len();
        self.inside = Some(inside);
        Ok(Some((Piece::Part { command, data }, used)))
    }
}

/// Why the stream cannot be cut into packets. The peer's fault, or it is no milter client.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum FrameError {
    /// A packet of length 0, which has no room for its command.
    #[error("packet of length 0")]
    Empty,
    /// A packet longer than [`MAX_HELD_PACKET`], or [`MAX_PACKET`] for the body and header fields.
    #[error("packet {:?} of {length} octets is longer than any that this filter takes", char::from(*command))]
    TooLong {
        /// The command of the packet.
        command: u8,
        /// The length it states.
        length: u32,
    },
}

/// Finds a length of 0 that is not followed by anything yet.
fn check_length(input: &[u8]) -> Result<(), FrameError> {
    match input.first_chunk() {
        Some([0, 0, 0, 0]) => Err(FrameError::Empty),
        _ => Ok(()),
    }
}

fn data_length(length: u32) -> Result<usize, FrameError> {
    let data = length.checked_sub(1).ok_or(FrameError::Empty)?;
    // On a machine where usize is smaller, no packet of that length is acceptable either.
    Ok(usize::try_from(data).unwrap_or(usize::MAX))
}

fn is_streamed(command: u8, left: usize) -> bool {
    match command {
        BODY | END_OF_MESSAGE => true,
        HEADER_FIELD => left >= MAX_HELD_PACKET,
        _ => false,
    }
}

/// Octets before the data: length and command.
const HEAD: usize = 5;
const HEADER_FIELD: u8 = b'L';
const BODY: u8 = b'B';
const END_OF_MESSAGE: u8 = b'E';

/// The longest packet that is handed out whole, command included: 1 MiB.
///
/// Sendmail's `MILTER_MAX_DATA_SIZE` is 64 KiB by default, Postfix sends header fields up to
/// `header_size_limit` (100 KiB by default).
pub const MAX_HELD_PACKET: usize = 1 << 20;

/// The longest packet that is streamed: a piece of the body, or a header field that is passed over.
///
/// MTAs send 64 KiB, 256 KiB or 1 MiB (`MILTER_CHUNK_SIZE`, `SMFIP_MDS_256K`, `SMFIP_MDS_1M`). The
/// bound only tells a milter client from something else that talks to our port. No official
/// reference.
pub const MAX_PACKET: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the decoder over `input` cut at `cuts`, and writes down what it says.
    fn decode(input: &[u8], cut: impl Fn(usize) -> usize) -> Result<Vec<String>, FrameError> {
        let (mut decoder, mut said, mut body) = (Decoder::default(), Vec::new(), Vec::new());
        let (mut start, mut end) = (0, 0);
        loop {
            match decoder.next(&input[start..end])? {
                Some((piece, used)) => {
                    start += used;
                    match piece {
                        Piece::Packet { command, data } => {
                            said.push(format!("{} {}", char::from(command), data.escape_ascii()));
                        }
                        Piece::Part { data, .. } => body.extend_from_slice(data),
                        Piece::End { command } => {
                            said.push(format!("{} <{}>", char::from(command), body.escape_ascii()));
                            body.clear();
                        }
                        Piece::Oversized { command } => {
                            said.push(format!("{} oversized", char::from(command)));
                        }
                    }
                }
                None if end == input.len() => return Ok(said),
                None => end = (end + cut(end).max(1)).min(input.len()),
            }
        }
    }

    #[test]
    fn cuts_packets_the_same_way_at_every_split() {
        let input = b"\0\0\0\x04Labc\0\0\0\x01N\0\0\0\x06Bhello\0\0\0\x01B\0\0\0\x03E!!\0\0\0\x01Q";
        let want = ["L abc", "N ", "B <hello>", "B <>", "E <!!>", "Q "];
        assert_eq!(decode(input, |_| input.len()).unwrap(), want);
        for size in 1..input.len() {
            assert_eq!(decode(input, |_| size).unwrap(), want, "pieces of {size}");
        }
        for first in 0..input.len() {
            let cut = |end| if end == 0 { first } else { input.len() };
            assert_eq!(decode(input, cut).unwrap(), want, "cut at {first}");
        }
    }

    #[test]
    fn refuses_lengths_that_cannot_be() {
        let too_long = |command, length| Err(FrameError::TooLong { command, length });
        let held = u32::try_from(MAX_HELD_PACKET).unwrap();
        let cases: [(&[u8], _); 6] = [
            (b"\0\0\0\0", Err(FrameError::Empty)),
            (b"\0\0\0\0M", Err(FrameError::Empty)),
            (b"\xff\xff\xff\xffM", too_long(b'M', u32::MAX)),
            (b"\xff\xff\xff\xffB", too_long(b'B', u32::MAX)),
            (b"\xff\xff\xff\xffL", too_long(b'L', u32::MAX)),
            (b"\0\x10\0\x01D", too_long(b'D', held + 1)),
        ];
        for (input, want) in cases {
            assert_eq!(decode(input, |_| 1), want, "{input:?}");
        }
        // The longest that is held: only its data is missing.
        assert_eq!(decode(b"\0\x10\0\0D", |_| 1), Ok(vec![]));
    }

    #[test]
    fn passes_over_a_header_field_that_is_too_long() {
        let mut input = u32::try_from(MAX_HELD_PACKET + 2).unwrap().to_be_bytes().to_vec();
        input.push(b'L');
        input.resize(input.len() + MAX_HELD_PACKET + 1, b'x');
        input.extend_from_slice(b"\0\0\0\x01N");
        for size in [7, 65_536, input.len()] {
            assert_eq!(decode(&input, |_| size).unwrap(), ["L oversized", "N "], "{size}");
        }
    }
}

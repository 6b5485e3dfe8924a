//! Message content on the wire: the decoder of `DATA` and `BDAT`, and the writer of `DATA`.
//!
//! RFC 5321 §2.3.8 (only CRLF ends a line), §4.1.1.4 and §4.5.2 (end of data, transparency), RFC 3030
//! §2 (chunks). Only CRLF, dot, CRLF ends `DATA`; every laxer ending lets a client hide a second
//! message in the first one where the next server is laxer or stricter than this one ("SMTP
//! smuggling", CVE-2023-51764 and its kin).
//!
//! The decoder hands out slices of what it is given: lines are not copied, and a slice ends only
//! where a stuffed dot is dropped, a line end repaired, or the header section ends. It holds back at
//! most three octets (CR, or dot and CR), which it remembers rather than leaves in the input.
//!
//! ```text
//!            CRLF                 '.'                CR               LF
//!  ┌────────┐ <───── ┌────────┐  ────> ┌────────┐  ────> ┌────────┐  ────> end of data
//!  │ inside │        │ start  │        │  dot   │        │ dot CR │
//!  │ a line │ <───── │of line │        └───┬────┘        └───┬────┘
//!  └──┬─────┘  else  └────────┘            │ else: drop dot  │ else: drop dot, CR is bare
//!     │  ^ <───────────────────────────────┘ <───────────────┘
//!  CR │  │ else: CR is bare
//!     v  │
//!  ┌─────┴──┐  LF
//!  │   CR   │ ─────> start of line
//!  └────────┘
//! ```
//!
//! In a chunk a dot is an ordinary octet and the count ends the content. A bare CR or LF and a NUL go
//! by [`BareNewlines`].

use memchr::memchr3;
use memchr::memmem::Finder;
use thiserror::Error;

/// What to do with a CR or LF that is not part of CRLF, and with NUL.
///
/// Servers behind us change them, each in its own way, after which no signature holds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum BareNewlines {
    /// Refuse the message.
    #[default]
    Refuse,
    /// Turn a bare CR and a bare LF into CRLF, and leave NUL out, before the message is signed. The
    /// result is content, whatever it looks like: it never ends the message.
    Repair,
}

/// How the end of content is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Framing {
    /// `DATA`: by a line with a single dot; a dot at the start of another line is dropped.
    Dot,
    /// `BDAT`: by the chunk sizes, which the caller counts.
    Chunks,
}

/// How much content is allowed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ContentLimits {
    /// Octets of the whole content (RFC 1870 §3: with line ends, without stuffed dots).
    pub message: u64,
    /// Octets of the header section.
    pub header: u64,
}

/// What the decoder found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Piece<'i> {
    /// The input is used up.
    More,
    /// Octets of the header section, its line ends included.
    Header(&'i [u8]),
    /// The empty line after the header section, or the end of content that has none. It comes exactly
    /// once, and before the first octet of the body.
    EndOfHeader,
    /// Octets of the body.
    Body(&'i [u8]),
    /// The end of the content. What follows in the input is not content.
    End,
    /// The content is not acceptable. Decoding may go on after [`Decoder::discard_rest`].
    Refused(ContentError),
}

/// Figures of a whole content.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Summary {
    /// Octets after decoding and repair.
    pub octets: u64,
    /// Octets of the longest line, without CRLF (RFC 5322 §2.1.1: at most 998).
    pub longest_line: u64,
    /// Whether any octet is above 127.
    pub eight_bit: bool,
}

/// Why content is refused. All of these are the client's fault.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum ContentError {
    /// CR without LF after it.
    #[error("the message has a bare carriage return")]
    BareCr,
    /// LF without CR before it.
    #[error("the message has a bare line feed")]
    BareLf,
    /// NUL (RFC 5321 §4.5.2 leaves it to the server; many cut the line there).
    #[error("the message has a NUL octet")]
    Nul,
    /// More than [`ContentLimits::message`].
    #[error("the message is larger than the stated limit")]
    TooLarge,
    /// More than [`ContentLimits::header`].
    #[error("the header section of the message is too large")]
    HeaderTooLarge,
}

/// Decodes the content of one message.
#[derive(Clone, Debug)]
pub struct Decoder {
    framing: Framing,
    newlines: BareNewlines,
    limits: ContentLimits,
    state: State,
    part: Part,
    /// Octets of the current line so far.
    column: u64,
    summary: Summary,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// After CRLF, or at the very start.
    LineStart,
    /// Inside a line, or after a repaired line end, after which no dot means anything.
    InLine,
    /// After a CR that is held back.
    Cr,
    /// After a dot at the start of a line, held back.
    Dot,
    /// After such a dot and a CR, both held back.
    DotCr,
    /// After the end of data.
    End,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Part {
    Header,
    Body,
}

impl Decoder {
    /// Starts a message.
    pub fn new(framing: Framing, newlines: BareNewlines, limits: ContentLimits) -> Self {
        Self {
            framing,
            newlines,
            limits,
            state: State::LineStart,
            part: Part::Header,
            column: 0,
            summary: Summary::default(),
        }
    }

    /// The figures so far.
    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// Decodes some of `input`. Answers how many octets it took and what they are. It is to be called
    /// again with the rest until it says [`Piece::More`] or [`Piece::End`]; an answer may take nothing.
    pub fn decode<'i>(&mut self, input: &'i [u8]) -> (usize, Piece<'i>) {
        let Some(&first) = input.first() else { return (0, Piece::More) };
        match (self.state, first) {
            (State::End, _) => (0, Piece::End),
            (State::DotCr, b'\n') => match self.part {
                Part::Header => {
                    self.part = Part::Body;
                    (0, Piece::EndOfHeader)
                }
                Part::Body => {
                    self.state = State::End;
                    (1, Piece::End)
                }
            },
            (State::Dot, b'\r') => {
                self.state = State::DotCr;
                self.rest_of(input, 1)
            }
            (State::Dot, _) => {
                self.state = State::InLine;
                self.decode(input)
            }
            (State::Cr, b'\n') => (1, self.line_end()),
            (State::Cr | State::DotCr, _) => {
                self.state = State::InLine;
                (0, self.bare(ContentError::BareCr))
            }
            (State::LineStart, b'.') if self.framing == Framing::Dot => {
                self.state = State::Dot;
                self.rest_of(input, 1)
            }
            (State::LineStart | State::InLine, _) => self.scan(input),
        }
    }

    /// Ends content that was counted: call it after the last chunk until it answers [`Piece::End`].
    ///
    /// A CR that was held back is judged, and a last line without CRLF gets one, because `DATA`
    /// cannot carry it otherwise and the signature is over what travels.
    pub fn end_of_chunks(&mut self) -> Piece<'static> {
        if self.state == State::Cr {
            self.state = State::InLine;
            return self.bare(ContentError::BareCr);
        }
        if self.column > 0 {
            return self.line_end();
        }
        if self.part == Part::Header {
            self.part = Part::Body;
            return Piece::EndOfHeader;
        }
        self.state = State::End;
        Piece::End
    }

    /// Goes on to the end of refused content without judging it further. What it yields has no
    /// meaning but for [`Piece::End`].
    pub fn discard_rest(&mut self) {
        self.newlines = BareNewlines::Repair;
        self.limits = ContentLimits { message: u64::MAX, header: u64::MAX };
    }

    /// Goes on decoding behind `taken` octets that yielded nothing.
    fn rest_of<'i>(&mut self, input: &'i [u8], taken: usize) -> (usize, Piece<'i>) {
        let (more, piece) = self.decode(input.get(taken..).unwrap_or_default());
        (taken + more, piece)
    }

    /// Finds the next slice to hand out, at the start of a line (where no dot stands) or inside one.
    fn scan<'i>(&mut self, input: &'i [u8]) -> (usize, Piece<'i>) {
        let mut at = 0;
        loop {
            let rest = input.get(at..).unwrap_or_default();
            let Some(found) = memchr3(b'\r', b'\n', 0, rest) else {
                self.state = State::InLine;
                self.advance(rest.len());
                return self.emit(input, input.len(), input.len());
            };
            self.advance(found);
            let here = at + found;
            match (input.get(here), input.get(here + 1)) {
                // The empty line that ends the header section.
                (Some(b'\r'), Some(b'\n')) if self.column == 0 && self.part == Part::Header => {
                    if here > 0 {
                        self.state = State::InLine;
                        return self.emit(input, here, here);
                    }
                    return (2, self.line_end());
                }
                (Some(b'\r'), Some(b'\n')) => {
                    self.column = 0;
                    at = here + 2;
                    let next = input.get(at);
                    if next.is_none() || next == Some(&b'.') && self.framing == Framing::Dot {
                        self.state = State::LineStart;
                        return self.emit(input, at, at);
                    }
                }
                (Some(b'\r'), None) => {
                    self.state = State::Cr;
                    return if here > 0 {
                        self.emit(input, here, here + 1)
                    } else {
                        (1, Piece::More)
                    };
                }
                (found, _) => {
                    self.state = State::InLine;
                    if here > 0 {
                        return self.emit(input, here, here);
                    }
                    let error = match found {
                        Some(b'\r') => ContentError::BareCr,
                        Some(b'\n') => ContentError::BareLf,
                        Some(_) | None => ContentError::Nul,
                    };
                    let piece = self.bare(error);
                    if piece != Piece::More {
                        return (1, piece);
                    }
                    // NULs left out yield nothing; all at once, so that this does not nest.
                    let nuls = input.iter().take_while(|&&byte| byte == 0).count();
                    return self.rest_of(input, nuls);
                }
            }
        }
    }

    /// Hands out the first `len` octets of `input` and takes `taken`.
    fn emit<'i>(&mut self, input: &'i [u8], len: usize, taken: usize) -> (usize, Piece<'i>) {
        let slice = input.get(..len).unwrap_or_default();
        (taken, self.piece(slice))
    }

    /// Counts a slice and names its part.
    fn piece<'i>(&mut self, slice: &'i [u8]) -> Piece<'i> {
        self.summary.octets += slice.len() as u64;
        self.summary.eight_bit = self.summary.eight_bit || !slice.is_ascii();
        if self.summary.octets > self.limits.message {
            return Piece::Refused(ContentError::TooLarge);
        }
        match self.part {
            Part::Header if self.summary.octets > self.limits.header => {
                Piece::Refused(ContentError::HeaderTooLarge)
            }
            Part::Header => Piece::Header(slice),
            Part::Body => Piece::Body(slice),
        }
    }

    /// Moves on inside the line.
    fn advance(&mut self, octets: usize) {
        self.column += octets as u64;
        self.summary.longest_line = self.summary.longest_line.max(self.column);
    }

    /// Ends the line with a CRLF that is not part of a longer slice.
    fn line_end(&mut self) -> Piece<'static> {
        self.state = State::LineStart;
        if self.column == 0 && self.part == Part::Header {
            self.part = Part::Body;
            self.summary.octets += 2;
            return Piece::EndOfHeader;
        }
        self.column = 0;
        self.piece(b"\r\n")
    }

    /// Judges a bare CR, a bare LF or a NUL.
    fn bare(&mut self, error: ContentError) -> Piece<'static> {
        match (self.newlines, error) {
            (BareNewlines::Refuse, _) => Piece::Refused(error),
            (BareNewlines::Repair, ContentError::Nul) => Piece::More,
            (BareNewlines::Repair, _) => {
                let piece = self.line_end();
                // A dot after a repaired line end is content, and so is the next line end.
                self.state = State::InLine;
                piece
            }
        }
    }
}

/// Writes content for `DATA`: a dot before each line that begins with one, and the final dot
/// (RFC 5321 §4.5.2).
///
/// The inverse of [`Decoder`] for content that has no bare CR or LF, which the decoder guarantees.
#[derive(Clone, Debug)]
pub struct DotStuffing {
    state: StuffingState,
    crlf_dot: Finder<'static>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum StuffingState {
    LineStart,
    InLine,
    Cr,
}

impl Default for DotStuffing {
    fn default() -> Self {
        Self { state: StuffingState::LineStart, crlf_dot: Finder::new(b"\r\n.") }
    }
}

impl DotStuffing {
    /// Appends `content`, stuffed.
    pub fn write(&mut self, content: &[u8], out: &mut Vec<u8>) {
        let mut rest = content;
        // A line start or CRLF that straddles two calls.
        match (self.state, rest) {
            (_, []) => return,
            (StuffingState::LineStart, [b'.', ..]) => out.push(b'.'),
            (StuffingState::Cr, [b'\n', b'.', ..]) => {
                out.extend_from_slice(b"\n.");
                rest = rest.get(1..).unwrap_or_default();
            }
            _ => {}
        }
        while let Some(at) = self.crlf_dot.find(rest) {
            let (line, tail) = rest.split_at_checked(at + 2).unwrap_or((rest, &[]));
            out.extend_from_slice(line);
            out.extend_from_slice(b"..");
            rest = tail.get(1..).unwrap_or_default();
        }
        out.extend_from_slice(rest);
        self.state = match content {
            [.., b'\r', b'\n'] => StuffingState::LineStart,
            [b'\n'] if self.state == StuffingState::Cr => StuffingState::LineStart,
            [.., b'\r'] => StuffingState::Cr,
            _ => StuffingState::InLine,
        };
    }

    /// Ends the content: the missing CRLF of the last line if there is one, the dot, and CRLF.
    pub fn finish(self, out: &mut Vec<u8>) {
        out.extend_from_slice(match self.state {
            StuffingState::LineStart => b".\r\n",
            StuffingState::InLine => b"\r\n.\r\n",
            StuffingState::Cr => b"\n.\r\n",
        });
    }
}

/// The largest header section: Exim's default (`header_maxsize`), ten times Postfix's limit for one
/// field.
pub const MAX_HEADER: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ContentLimits = ContentLimits { message: 1 << 20, header: 1 << 16 };

    /// Decodes `input` in the given pieces: header, body, the outcome, and what was left over.
    fn decode(
        framing: Framing,
        newlines: BareNewlines,
        chunks: &[&[u8]],
    ) -> (Vec<u8>, Vec<u8>, Option<Piece<'static>>, usize) {
        let mut decoder = Decoder::new(framing, newlines, LIMITS);
        let (mut header, mut body, mut ends) = (Vec::new(), Vec::new(), 0);
        let mut taken = 0;
        let mut result = None;
        'all: for chunk in chunks {
            let mut rest = *chunk;
            loop {
                let (len, piece) = decoder.decode(rest);
                rest = &rest[len..];
                taken += len;
                match piece {
                    Piece::More => break,
                    Piece::Header(slice) => header.extend_from_slice(slice),
                    Piece::Body(slice) => body.extend_from_slice(slice),
                    Piece::EndOfHeader => ends += 1,
                    Piece::End => result = Some(Piece::End),
                    Piece::Refused(error) => result = Some(Piece::Refused(error)),
                }
                if result.is_some() {
                    break 'all;
                }
            }
        }
        if framing == Framing::Chunks && result.is_none() {
            loop {
                match decoder.end_of_chunks() {
                    Piece::Header(slice) => header.extend_from_slice(slice),
                    Piece::Body(slice) => body.extend_from_slice(slice),
                    Piece::EndOfHeader => ends += 1,
                    Piece::End => {
                        result = Some(Piece::End);
                        break;
                    }
                    Piece::Refused(error) => {
                        result = Some(Piece::Refused(error));
                        break;
                    }
                    Piece::More => unreachable!(),
                }
            }
        }
        if result == Some(Piece::End) {
            assert_eq!(ends, 1, "one end of header for {chunks:?}");
        }
        (header, body, result, taken)
    }

    /// Every way to cut `input` in three gives the same.
    fn every_split(
        framing: Framing,
        newlines: BareNewlines,
        input: &[u8],
    ) -> (String, String, Option<Piece<'static>>) {
        let whole = decode(framing, newlines, &[input]);
        for a in 0..=input.len() {
            for b in a..=input.len() {
                let cut = decode(framing, newlines, &[&input[..a], &input[a..b], &input[b..]]);
                assert_eq!(cut, whole, "{} cut at {a} and {b}", input.escape_ascii());
            }
        }
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (text(whole.0), text(whole.1), whole.2)
    }

    #[test]
    fn splits_header_and_body_and_drops_stuffed_dots() {
        let cases: [(&str, &str, &str); 10] = [
            (".\r\n", "", ""),
            ("\r\n.\r\n", "", ""),
            ("A: b\r\n.\r\n", "A: b\r\n", ""),
            ("A: b\r\n\r\nhi\r\n.\r\n", "A: b\r\n", "hi\r\n"),
            ("\r\nhi\r\n.\r\n", "", "hi\r\n"),
            ("A: b\r\n\r\n\r\n\r\n.\r\n", "A: b\r\n", "\r\n\r\n"),
            ("A: b\r\n\r\n..\r\n...x\r\n.y\r\n.\r\n", "A: b\r\n", ".\r\n..x\r\ny\r\n"),
            ("..A: b\r\n\r\n.\r\n", ".A: b\r\n", ""),
            ("A: b\r\n c\r\n\r\na.\r\nb.c\r\n.\r\n", "A: b\r\n c\r\n", "a.\r\nb.c\r\n"),
            ("A: b\r\n\r\n..\r\n..\r\n.\r\n", "A: b\r\n", ".\r\n.\r\n"),
        ];
        for (input, header, body) in cases {
            for newlines in [BareNewlines::Refuse, BareNewlines::Repair] {
                let got = every_split(Framing::Dot, newlines, input.as_bytes());
                assert_eq!(got, (header.into(), body.into(), Some(Piece::End)), "{input:?}");
            }
        }
    }

    #[test]
    fn nothing_follows_the_end_of_data() {
        let (_, _, end, taken) =
            decode(Framing::Dot, BareNewlines::Refuse, &[b"a\r\n.\r\nQUIT\r\n"]);
        assert_eq!((end, taken), (Some(Piece::End), 6));
    }

    #[test]
    fn refuses_or_repairs_bare_line_ends_and_nul() {
        use ContentError::*;
        let cases = [
            ("\r\na\nb\r\n.\r\n", BareLf, "a\r\nb\r\n"),
            ("\r\na\rb\r\n.\r\n", BareCr, "a\r\nb\r\n"),
            ("\r\na\r\r\n.\r\n", BareCr, "a\r\n\r\n"),
            ("\r\na\0b\r\n.\r\n", Nul, "ab\r\n"),
            ("\r\na\n.\r\nb\r\n.\r\n", BareLf, "a\r\n.\r\nb\r\n"),
            ("\r\na\n..b\r\n.\r\n", BareLf, "a\r\n..b\r\n"),
            ("\r\na\r\n.\rb\r\n.\r\n", BareCr, "a\r\n\r\nb\r\n"),
            ("\r\na\r\n.\nb\r\n.\r\n", BareLf, "a\r\n\r\nb\r\n"),
            ("\r\na\r\n\0.\r\nb\r\n.\r\n", Nul, "a\r\n.\r\nb\r\n"),
            ("\r\n\n\r\r\n.\r\n", BareLf, "\r\n\r\n\r\n"),
        ];
        for (input, error, repaired) in cases {
            let (.., refused) = every_split(Framing::Dot, BareNewlines::Refuse, input.as_bytes());
            assert_eq!(refused, Some(Piece::Refused(error)), "{input:?}");
            let (_, body, end) = every_split(Framing::Dot, BareNewlines::Repair, input.as_bytes());
            assert_eq!((body.as_str(), end), (repaired, Some(Piece::End)), "{input:?}");
        }
    }

    #[test]
    fn a_repaired_empty_line_ends_the_header() {
        let cases = [
            ("A: b\n\nhi\r\n.\r\n", "hi\r\n"),
            ("A: b\r\rhi\r\n.\r\n", "hi\r\n"),
            ("A: b\r\n\nhi\r\n.\r\n", "hi\r\n"),
            ("A: b\n\r\nhi\r\n.\r\n", "hi\r\n"),
        ];
        for (input, body) in cases {
            let got = every_split(Framing::Dot, BareNewlines::Repair, input.as_bytes());
            assert_eq!(got, ("A: b\r\n".into(), body.into(), Some(Piece::End)), "{input:?}");
        }
    }

    #[test]
    fn chunks_have_no_dots_and_get_a_last_line_end() {
        let cases = [
            ("", "", ""),
            ("A: b", "A: b\r\n", ""),
            ("A: b\r\n", "A: b\r\n", ""),
            ("A: b\r\n\r\n.\r\n.x", "A: b\r\n", ".\r\n.x\r\n"),
            ("A: b\r\n\r\n..\r\n", "A: b\r\n", "..\r\n"),
            ("\r\n", "", ""),
        ];
        for (input, header, body) in cases {
            let got = every_split(Framing::Chunks, BareNewlines::Refuse, input.as_bytes());
            assert_eq!(got, (header.into(), body.into(), Some(Piece::End)), "{input:?}");
        }
        let (.., refused) = every_split(Framing::Chunks, BareNewlines::Refuse, b"\r\na\r");
        assert_eq!(refused, Some(Piece::Refused(ContentError::BareCr)));
        let (_, body, _) = every_split(Framing::Chunks, BareNewlines::Repair, b"\r\na\r");
        assert_eq!(body, "a\r\n");
    }

    #[test]
    fn counts_octets_lines_and_eight_bit() {
        for (input, octets, longest, eight_bit) in [
            ("A: b\r\n\r\nhello\r\n.\r\n", 15, 5, false),
            ("A: b\r\n\r\n..h\u{e9}\r\n.\r\n", 14, 4, true),
            (".\r\n", 0, 0, false),
        ] {
            for cut in 0..input.len() {
                let mut decoder = Decoder::new(Framing::Dot, BareNewlines::Refuse, LIMITS);
                let (mut first, mut second) = input.as_bytes().split_at(cut);
                for part in [&mut first, &mut second] {
                    loop {
                        let (len, piece) = decoder.decode(part);
                        *part = &part[len..];
                        if matches!(piece, Piece::More | Piece::End) {
                            break;
                        }
                    }
                }
                let want = Summary { octets, longest_line: longest, eight_bit };
                assert_eq!(decoder.summary(), want, "{input:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn bounds_message_and_header_and_still_finds_the_end() {
        let limits = ContentLimits { message: 20, header: 10 };
        for (input, error) in [
            ("Subject: much\r\n\r\n.\r\nNOOP", ContentError::HeaderTooLarge),
            ("A: b\r\n\r\n0123456789abcdef\r\nx\r\n.\r\nNOOP", ContentError::TooLarge),
        ] {
            let mut decoder = Decoder::new(Framing::Dot, BareNewlines::Refuse, limits);
            let (mut rest, mut refused) = (input.as_bytes(), None);
            loop {
                let (len, piece) = decoder.decode(rest);
                rest = &rest[len..];
                match piece {
                    Piece::Refused(error) => {
                        assert_eq!(refused.replace(error), None, "refused once");
                        decoder.discard_rest();
                    }
                    Piece::End => break,
                    Piece::More => panic!("no end"),
                    Piece::Header(_) | Piece::Body(_) | Piece::EndOfHeader => {}
                }
            }
            assert_eq!((refused, rest), (Some(error), &b"NOOP"[..]), "{input:?}");
        }
    }

    #[test]
    fn stuffs_dots_at_line_starts_only() {
        let cases = [
            ("", ".\r\n"),
            (".", "..\r\n.\r\n"),
            ("a.b\r\n", "a.b\r\n.\r\n"),
            (".\r\n", "..\r\n.\r\n"),
            ("a\r\n.\r\n..b", "a\r\n..\r\n...b\r\n.\r\n"),
            ("\r\n\r\n.", "\r\n\r\n..\r\n.\r\n"),
        ];
        for (input, want) in cases {
            let input = input.as_bytes();
            for a in 0..=input.len() {
                for b in a..=input.len() {
                    let mut stuffing = DotStuffing::default();
                    let mut out = Vec::new();
                    for part in [&input[..a], &input[a..b], &input[b..]] {
                        stuffing.write(part, &mut out);
                    }
                    stuffing.finish(&mut out);
                    assert_eq!(out, want.as_bytes(), "{} cut at {a}, {b}", input.escape_ascii());
                }
            }
        }
    }
}

//! The canonical body, chunk by chunk (§3.4.3, §3.4.4).
//!
//! Simple drops the empty lines at the end and makes sure that a line end closes the body. Relaxed
//! also drops white space at the end of lines and makes each other run of it one space; an empty body
//! stays empty.
//!
//! Pieces are handed out as they stand in the chunk. Where relaxed has much to change in a long one, what is left is
//! put together block by block first (`squeeze`).
//!
//! What a chunk cannot decide is held back as counts, never as octets: white space that may turn out
//! to end a line, a CR that may be half of a line end, and line ends that may turn out to close the
//! body.
//!
//! ```text
//!              WSP                         CR
//!   text ───────────────▶ white space ───────────────▶ CR ──▶ LF: one line end more, white space gone
//!    ▲                        │                        │
//!    └────────────────────────┴────────────────────────┘  any other octet: what is held back goes out
//! ```

use super::space::InBody;
use super::squeeze::Squeezed;
use super::stops::{BLOCK_LEN, Stops};
use crate::algorithm::Canon;
use crate::field::without_leading_wsp;

/// Makes a body canonical while it goes by.
#[derive(Clone, Debug)]
pub struct CanonicalBody {
    canon: Canon,
    /// Line ends that were seen and not handed out.
    line_ends: u64,
    /// A CR that was seen and not handed out. It comes after the line ends and the white space.
    cr: bool,
    /// White space that was seen and not handed out. It comes after the line ends. Relaxed only.
    wsp: bool,
    /// Whether anything was handed out.
    begun: bool,
}

impl CanonicalBody {
    /// At the start of a body.
    #[must_use]
    pub fn new(canon: Canon) -> Self {
        Self { canon, line_ends: 0, cr: false, wsp: false, begun: false }
    }

    /// Takes the next chunk, of any size, and hands out slices of the canonical body to `sink`.
    pub fn update(&mut self, chunk: &[u8], sink: &mut impl FnMut(&[u8])) {
        match self.canon {
            Canon::Simple => self.simple(chunk, sink),
            Canon::Relaxed => self.relaxed(chunk, sink),
        }
    }

    /// Ends the body.
    pub fn finish(mut self, sink: &mut impl FnMut(&[u8])) {
        if self.cr {
            self.release(sink);
            sink(b"\r");
        }
        match self.canon {
            // §3.4.3: a body without line end gets one, an empty body too.
            Canon::Simple => sink(b"\r\n"),
            // §3.4.4: an empty body is nothing at all.
            Canon::Relaxed if self.begun => sink(b"\r\n"),
            Canon::Relaxed => {}
        }
    }

    fn simple(&mut self, chunk: &[u8], sink: &mut impl FnMut(&[u8])) {
        let Some(rest) = self.resolve_cr(chunk, sink) else { return };
        self.hand_out(rest, sink);
    }

    fn relaxed(&mut self, chunk: &[u8], sink: &mut impl FnMut(&[u8])) {
        let mut irregular_space = Stops::<InBody>::of(chunk);
        let mut rest = chunk;
        loop {
            // White space and what follows it, piece by piece.
            rest = match self.resolve_cr(rest, sink) {
                None | Some([]) => return,
                Some([b' ' | b'\t', after @ ..]) => {
                    self.wsp = true;
                    without_leading_wsp(after)
                }
                Some(text) => {
                    // White space in front of a line end is gone.
                    if text.starts_with(b"\r\n") {
                        self.wsp = false;
                    }
                    let start = chunk.len() - text.len();
                    let end = irregular_space.next_from(start) - start;
                    if end < FAR && text.len() > FAR {
                        self.squeeze(text, sink)
                    } else {
                        let (regular, irregular) = text.split_at(end);
                        self.hand_out(regular, sink);
                        irregular
                    }
                }
            };
        }
    }

    /// Makes text canonical block by block, as long as irregular white space is near. Gives the rest.
    fn squeeze<'c>(&mut self, text: &'c [u8], sink: &mut impl FnMut(&[u8])) -> &'c [u8] {
        // What comes out has its white space done. Its line ends and a CR at its end are held back as those of any
        // text that is canonical as it stands, which simple does.
        let mut squeezed = Squeezed::new();
        let mut rest = text;
        let mut unchanged = 0;
        while unchanged < FAR
            && let Some(is_changed) = squeezed.take(rest)
        {
            rest = rest.get(BLOCK_LEN..).unwrap_or_default();
            unchanged = if is_changed { 0 } else { unchanged + BLOCK_LEN };
            if let Some(full) = squeezed.full() {
                self.simple(full, sink);
                squeezed.drop_full();
            }
        }
        self.simple(squeezed.octets(), sink);
        rest
    }

    /// Looks at what follows a CR that was held back. Gives what is left of the chunk; none if the
    /// chunk is empty, so that nothing is known yet.
    fn resolve_cr<'c>(
        &mut self,
        chunk: &'c [u8],
        sink: &mut impl FnMut(&[u8]),
    ) -> Option<&'c [u8]> {
        if !self.cr {
            return Some(chunk);
        }
        let first = chunk.first()?;
        self.cr = false;
        if *first == b'\n' {
            self.wsp = false;
            self.line_ends += 1;
            return chunk.get(1..);
        }
        self.release(sink);
        sink(b"\r");
        Some(chunk)
    }

    /// Hands out a run that is canonical as it stands, but for the line ends and the CR at its end,
    /// which are held back.
    fn hand_out(&mut self, run: &[u8], sink: &mut impl FnMut(&[u8])) {
        let (run, cr) = match run {
            [head @ .., b'\r'] => (head, true),
            _ => (run, false),
        };
        let (text, line_ends) = split_line_ends(run);
        if !text.is_empty() {
            self.release(sink);
            sink(text);
        }
        self.line_ends += line_ends;
        self.cr = cr;
    }

    /// Hands out the line ends and the white space that were held back, since something follows them.
    fn release(&mut self, sink: &mut impl FnMut(&[u8])) {
        self.begun = true;
        match (self.line_ends, self.wsp) {
            (0, false) => return,
            (0, true) => sink(b" "),
            (1, false) => sink(b"\r\n"),
            (1, true) => sink(b"\r\n "),
            (mut left, wsp) => {
                while left > 0 {
                    let count = usize::try_from(left).unwrap_or(usize::MAX).min(LINE_ENDS.len());
                    sink(LINE_ENDS.get(..count).unwrap_or_default().as_flattened());
                    left -= count as u64;
                }
                if wsp {
                    sink(b" ");
                }
            }
        }
        self.line_ends = 0;
        self.wsp = false;
    }
}

/// Cuts off the line ends at the end of a run, and counts them.
fn split_line_ends(run: &[u8]) -> (&[u8], u64) {
    let mut text = run;
    let mut count = 0;
    while let [head @ .., b'\r', b'\n'] = text {
        text = head;
        count += 1;
    }
    (text, count)
}

/// How many octets without irregular white space are better handed out from where they are.
const FAR: usize = 512;
// Text of that length has a block that can be taken in, without which the search would not get on.
const _: () = assert!(FAR >= 2 * BLOCK_LEN);

/// Line ends to hand out many at a time.
const LINE_ENDS: &[[u8; 2]] = &[*b"\r\n"; 64];

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(canon: Canon, chunks: &[&[u8]]) -> String {
        canonical_octets(canon, chunks).escape_ascii().to_string()
    }

    fn canonical_octets(canon: Canon, chunks: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut sink = |slice: &[u8]| out.extend_from_slice(slice);
        let mut body = CanonicalBody::new(canon);
        for chunk in chunks {
            body.update(chunk, &mut sink);
        }
        body.finish(&mut sink);
        out
    }

    /// Octet by octet, where nothing can be seen in blocks.
    fn relaxed_by_octets(body: &[u8]) -> Vec<u8> {
        canonical_octets(Canon::Relaxed, &body.chunks(1).collect::<Vec<_>>())
    }

    #[test]
    fn the_edges_of_both_algorithms() {
        // (body, simple, relaxed)
        let cases: [(&[u8], &str, &str); 24] = [
            (b"", r"\r\n", ""),
            (b"\r\n", r"\r\n", ""),
            (b"\r\n\r\n", r"\r\n", ""),
            (b" \t", r" \t\r\n", ""),
            (b" \r\n\t\r\n", r" \r\n\t\r\n", ""),
            (b"a", r"a\r\n", r"a\r\n"),
            (b"a\r\n", r"a\r\n", r"a\r\n"),
            (b"a\r\n\r\n\r\n", r"a\r\n", r"a\r\n"),
            (b"\r\na", r"\r\na\r\n", r"\r\na\r\n"),
            (b"a\r\n\r\nb", r"a\r\n\r\nb\r\n", r"a\r\n\r\nb\r\n"),
            (b" C \r\nD \t E\r\n\r\n\r\n", r" C \r\nD \t E\r\n", r" C\r\nD E\r\n"),
            (b"a\r\n \r\n", r"a\r\n \r\n", r"a\r\n"),
            (b"a\r\n \r\nb", r"a\r\n \r\nb\r\n", r"a\r\n\r\nb\r\n"),
            (b"a\tb", r"a\tb\r\n", r"a b\r\n"),
            (b"a\n\r", r"a\n\r\r\n", r"a\n\r\r\n"),
            (b"a\r\r\n", r"a\r\r\n", r"a\r\r\n"),
            (b"a \rb \nc", r"a \rb \nc\r\n", r"a \rb \nc\r\n"),
            // Two spaces in front of text, behind what is held back.
            (b"a \r\n  b", r"a \r\n  b\r\n", r"a\r\n b\r\n"),
            (b"\r\n  \r\n  x", r"\r\n  \r\n  x\r\n", r"\r\n\r\n x\r\n"),
            (b" \r  b", r" \r  b\r\n", r" \r b\r\n"),
            (b"a  \nb", r"a  \nb\r\n", r"a \nb\r\n"),
            (b"a  \0", r"a  \x00\r\n", r"a \x00\r\n"),
            (b" \r\r\n", r" \r\r\n", r" \r\r\n"),
            // NBSP, VT and FF are no white space.
            (b"a\x0b\x0c\xa0\r\n", r"a\x0b\x0c\xa0\r\n", r"a\x0b\x0c\xa0\r\n"),
        ];
        for (body, simple, relaxed) in cases {
            for chunk_len in [1, 2, 3, 1000] {
                let chunks: Vec<_> = body.chunks(chunk_len).collect();
                let context = body.escape_ascii().to_string();
                assert_eq!(canonical(Canon::Simple, &chunks), simple, "{context} by {chunk_len}");
                assert_eq!(canonical(Canon::Relaxed, &chunks), relaxed, "{context} by {chunk_len}");
            }
        }
    }

    #[test]
    fn blocks_change_nothing() {
        let tokens: [&[u8]; 6] = [b"x", b" ", b"\t", b"\r", b"\n", b"\r\n"];
        let texts = (0..6_usize.pow(4)).map(|number| {
            let of = |place| tokens[number / 6_usize.pow(place) % 6];
            (0..4).flat_map(of).copied().collect::<Vec<_>>()
        });
        // White space for less than a block, a block, and more, and what may follow it.
        let long = [1, 62, 63, 64, 65, 130].into_iter().flat_map(|len| {
            let ends: [&[u8]; 6] = [b"", b"\r\n", b"\r", b"\n", b"\0", b"\x7f"];
            ends.map(|end| [&b" ".repeat(len), end].concat())
        });
        for text in texts.chain(long) {
            let text = [b"x", &text[..], b"x"].concat();
            let by_octets = relaxed_by_octets(&text);
            let squeezed = by_octets.strip_suffix(b"\r\n").unwrap();
            for before in 58..=66 {
                let [body, want] = [&text, squeezed]
                    .map(|text| [&[b'y'; 66][..before], text, &[b'y'; FAR], b"\r\n"].concat());
                let got = canonical_octets(Canon::Relaxed, &[&body]);
                assert_eq!(got, want, "{} at {before}", text.escape_ascii());
            }
        }
    }

    #[test]
    fn many_blocks_change_nothing() {
        let lines: [&[u8]; 6] = [
            b"a  \r\n\r\n",
            b"\tb \t c\r\r\n  \r\n",
            b" \r\n\t",
            b"  \r",
            b" \r \n",
            b"\t\r\t\0 \r\n",
        ];
        for line in lines {
            for before in 0..line.len() {
                // Long enough for what is handed on together to end at each place of a line, then text that has nothing
                // to change, and the same again.
                let many = line.repeat(4_500 / line.len());
                let body = [&[b'y'; 20][..before], &many, &[b'y'; 2 * FAR], &many].concat();
                for body in [body.clone(), [&body[..], b"z"].concat()] {
                    let want = relaxed_by_octets(&body);
                    let context = format!("{} at {before}", line.escape_ascii());
                    assert!(canonical_octets(Canon::Relaxed, &[&body]) == want, "{context}");
                    // What a chunk holds back comes in front of the blocks of the next.
                    for cut in 1..=line.len() {
                        let (one, two) = body.split_at(before + 3 * line.len() + cut);
                        let got = canonical_octets(Canon::Relaxed, &[one, two]);
                        assert!(got == want, "{context}, cut by {cut}");
                    }
                }
            }
        }
    }

    #[test]
    fn pieces_are_handed_out_from_where_they_are_if_they_are_long() {
        for (white_at, len, want) in [
            (FAR, 1_200, 1_199),
            // To the block in which it stands, and as far again.
            (FAR - 1, 1_200, 1_200 - 2 * FAR),
            (10, FAR, FAR - 1),
            // A block is taken in only if another one follows.
            (10, FAR + 1, BLOCK_LEN + 1),
        ] {
            let mut chunk = vec![b'x'; len];
            chunk[white_at] = b'\t';
            let mut in_place = 0;
            CanonicalBody::new(Canon::Relaxed).update(&chunk, &mut |slice: &[u8]| {
                if chunk.as_ptr_range().contains(&slice.as_ptr()) {
                    in_place += slice.len();
                }
            });
            assert_eq!(in_place, want, "white space at {white_at} of {len}");
        }
    }

    #[test]
    fn empty_chunks_change_nothing() {
        for canon in [Canon::Simple, Canon::Relaxed] {
            let body: [&[u8]; 7] = [b"a \r", b"", b"\n", b"", b" ", b"", b"b"];
            assert_eq!(canonical(canon, &body), canonical(canon, &[&body.concat()]));
        }
    }

    #[test]
    fn many_empty_lines_come_out_when_text_follows() {
        let body = [&b"\r\n".repeat(1_000)[..], b"a"].concat();
        let want = body.escape_ascii().to_string() + r"\r\n";
        assert_eq!(canonical(Canon::Relaxed, &[&body]), want);
        assert_eq!(canonical(Canon::Simple, &[&body]), want);
    }
}

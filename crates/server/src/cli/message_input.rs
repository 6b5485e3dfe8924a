//! A message on standard input, read once and never held as a whole: its header is, and of its body one
//! chunk at a time. So a message of any size takes little memory.

use std::io::{self, Read};

use anyhow::Context;
use postseal_dkim::{FILE_START_LEN, FileStart, Header, HeaderError};

/// What is done with a message while it is read.
pub(super) trait Reading {
    /// What comes of it.
    type Outcome;

    /// Takes the next octets of the body, as they go on the wire.
    fn body(&mut self, chunk: &[u8]);

    /// Ends the body.
    fn finish(self, header: &Header<'_>) -> anyhow::Result<Self::Outcome>;
}

/// Reads a message to its end. `begin` gets its header.
pub(super) fn read<R: Reading>(
    input: &mut impl Read,
    begin: impl FnOnce(&Header<'_>) -> anyhow::Result<R>,
) -> anyhow::Result<R::Outcome> {
    let mut octets = Vec::new();
    input.by_ref().take(FILE_START_LEN as u64).read_to_end(&mut octets).context(CANNOT_READ)?;
    let start = FileStart::new(octets);
    let mut rest = start.rest();
    let (header, body) = match start.message() {
        Ok(message) => message,
        Err(error) => {
            // What is wrong with the file depends on its last line too.
            each_chunk(input, |chunk| rest.to_wire(chunk).map(drop))?;
            return Err(error.into());
        }
    };
    let mut reading = begin(&header)?;
    reading.body(body);
    each_chunk(input, |chunk| {
        reading.body(rest.to_wire(chunk)?);
        Ok(())
    })?;
    reading.finish(&header)
}

/// Reads to the end, and hands out what comes.
fn each_chunk(
    input: &mut impl Read,
    mut take: impl FnMut(&[u8]) -> Result<(), HeaderError>,
) -> anyhow::Result<()> {
    let mut chunk = vec![0; CHUNK_LEN];
    loop {
        match input.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(octets) => take(chunk.get(..octets).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context(CANNOT_READ),
        }
    }
}

/// How much of a body is read at once: as much as a pipe holds.
const CHUNK_LEN: usize = 64 * 1024;

/// What failed if the input breaks off.
const CANNOT_READ: &str = "cannot read the message";

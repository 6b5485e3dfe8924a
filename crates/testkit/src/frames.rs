//! The form in which the scripts of `tests/peers` take and give many messages: frames of a decimal length,
//! a line feed and that many octets.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};

/// Appends a frame.
pub(crate) fn add(input: &mut Vec<u8>, data: &[u8]) {
    input.extend_from_slice(format!("{}\n", data.len()).as_bytes());
    input.extend_from_slice(data);
}

/// Takes frames apart.
pub(crate) fn read_all(mut output: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut frames = Vec::new();
    while !output.is_empty() {
        let end = output.iter().position(|octet| *octet == b'\n').context("no length")?;
        let (length, rest) = output.split_at(end);
        let length: usize = std::str::from_utf8(length)?.parse().context("no length")?;
        let rest = rest.get(1..).unwrap_or_default();
        let (frame, rest) = rest.split_at_checked(length).context("a frame is cut off")?;
        frames.push(frame.to_vec());
        output = rest;
    }
    Ok(frames)
}

/// Runs a filter. Its input is written from another thread, since it answers while it reads.
pub(crate) fn run(mut command: Command, input: Vec<u8>) -> Result<Vec<u8>> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("it does not start")?;
    let mut stdin = child.stdin.take().context("no pipe to it")?;
    let mut stderr = child.stderr.take().context("no pipe from it")?;
    let writer = thread::spawn(move || {
        // A filter that ended early says why in its status, which counts more than this error.
        let _ = stdin.write_all(&input);
    });
    let complaints = thread::spawn(move || {
        let mut text = Vec::new();
        let _ = stderr.read_to_end(&mut text);
        text
    });
    let output = child.wait_with_output()?;
    let _ = writer.join();
    let complaints = complaints.join().unwrap_or_default();
    if !output.status.success() {
        bail!("{}: {}", output.status, String::from_utf8_lossy(&complaints).trim());
    }
    Ok(output.stdout)
}

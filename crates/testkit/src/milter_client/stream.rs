//! A connection to a filter, over TCP or a Unix socket.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result};

use super::MilterAddress;

/// A connection of either kind.
#[derive(Debug)]
pub(super) enum Stream {
    Inet(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    pub(super) fn open(address: &MilterAddress) -> Result<Self> {
        match address {
            MilterAddress::Inet(address) => {
                let stream = TcpStream::connect_timeout(address, PATIENCE)
                    .with_context(|| format!("cannot connect to the filter at {address}"))?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Ok(Self::Inet(stream))
            }
            MilterAddress::Unix(path) => {
                let stream = UnixStream::connect(path)
                    .with_context(|| format!("cannot connect to the filter at {path:?}"))?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Ok(Self::Unix(stream))
            }
        }
    }

    pub(super) fn try_clone(&self) -> Result<Self> {
        Ok(match self {
            Self::Inet(stream) => Self::Inet(stream.try_clone()?),
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
        })
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Inet(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Inet(stream) => stream.write(octets),
            Self::Unix(stream) => stream.write(octets),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Inet(stream) => stream.flush(),
            Self::Unix(stream) => stream.flush(),
        }
    }
}

/// How long a test waits for a filter, in each step.
const PATIENCE: Duration = Duration::from_secs(30);

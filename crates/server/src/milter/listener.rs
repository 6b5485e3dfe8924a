//! Where peers connect to: addresses, sockets, and the streams that come of them.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::config::ListenAddress;

/// A socket that listens.
///
/// A path is taken over from a process that is gone, and removed when this is dropped. Who may
/// connect to it is a matter of the process's umask, as with any other daemon: the MTA's user needs
/// to write to it.
#[derive(Debug)]
pub struct Listener(Socket);

#[derive(Debug)]
enum Socket {
    Inet(TcpListener),
    Unix { listener: UnixListener, path: PathBuf },
}

impl Listener {
    /// Starts to listen.
    ///
    /// # Errors
    ///
    /// If the system says no, or another process listens there.
    pub async fn bind(address: &ListenAddress) -> Result<Self, ListenError> {
        let socket = match address {
            ListenAddress::Inet(address) => TcpListener::bind(address).await.map(Socket::Inet),
            ListenAddress::Unix(path) => bind_unix(path).await,
        };
        socket.map(Self).map_err(|source| ListenError { address: address.clone(), source })
    }

    /// Where it listens, with the port that the system chose for port 0.
    pub fn address(&self) -> ListenAddress {
        match &self.0 {
            Socket::Inet(listener) => match listener.local_addr() {
                Ok(address) => ListenAddress::Inet(address),
                // A socket that was bound has an address.
                Err(_) => ListenAddress::Inet(SocketAddr::from(([0, 0, 0, 0], 0))),
            },
            Socket::Unix { path, .. } => ListenAddress::Unix(path.clone()),
        }
    }

    /// Waits for the next connection. Nothing is lost if the wait is given up.
    pub(crate) async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match &self.0 {
            Socket::Inet(listener) => {
                let (stream, peer) = listener.accept().await?;
                // A verdict is one small write: waiting for more of it costs 40 ms (Nagle against
                // delayed acknowledgements).
                stream.set_nodelay(true)?;
                let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
                SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
                Ok((Stream::Inet(stream), Peer::Inet(peer)))
            }
            Socket::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), Peer::Unix))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Socket::Unix { path, .. } = &self.0 {
            // The next start removes what is left here.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Why we cannot listen at an address.
#[derive(Debug, Error)]
#[error("cannot listen at {address}: {source}")]
pub struct ListenError {
    address: ListenAddress,
    source: io::Error,
}

/// Who connected.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Peer {
    /// Over TCP.
    Inet(SocketAddr),
    /// Over a socket of this machine.
    Unix,
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix => f.write_str("local"),
        }
    }
}

/// A connection that was accepted.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Over TCP.
    Inet(TcpStream),
    /// Over a socket of this machine.
    Unix(UnixStream),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Inet(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Inet(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Inet(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Inet(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

async fn bind_unix(path: &Path) -> io::Result<Socket> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if is_socket {
        match UnixStream::connect(path).await {
            Ok(_) => return Err(io::Error::from(io::ErrorKind::AddrInUse)),
            // Nobody listens there any more.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path)?;
            }
            Err(error) => return Err(error),
        }
    }
    let listener = UnixListener::bind(path)?;
    Ok(Socket::Unix { listener, path: path.to_owned() })
}

/// Idle time after which a TCP peer is asked whether it is still there. No official reference;
/// shorter than the two hours for which a connection at rest is kept.
const KEEPALIVE: Duration = Duration::from_mins(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn takes_over_a_socket_that_nobody_listens_at() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("milter.sock");
        let address = ListenAddress::Unix(path.clone());

        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "a process that ended leaves its socket");
        let listener = Listener::bind(&address).await.unwrap();
        assert_eq!(listener.address(), address);

        let error = Listener::bind(&address).await.unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn leaves_a_file_that_is_no_socket_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("milter.sock");
        std::fs::write(&path, "precious").unwrap();
        assert!(Listener::bind(&ListenAddress::Unix(path.clone())).await.is_err());
        assert_eq!(std::fs::read_to_string(path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn tells_the_port_that_the_system_chose() {
        let any = ListenAddress::Inet("127.0.0.1:0".parse().unwrap());
        let ListenAddress::Inet(address) = Listener::bind(&any).await.unwrap().address() else {
            panic!("not an address");
        };
        assert_ne!(address.port(), 0);
    }
}

//! The connection that a WebSocket handshake is sent over: after a write, a read waits for its turn.
//!
//! Pingora carries a request by two halves in one task. If the half that reads the back end meets `101` before it has
//! taken in that the request has no body, it takes the end of that body for the end of the tunnel and closes it. The
//! other half says so when it first runs, so it is enough that no read succeeds in that very turn.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use pingora_core::connectors::l4::Connect;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora_core::{Error, ErrorType, OrErr, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Turns of the task that a read waits for after a write. One would do but for a runtime that is short of its budget.
const TURNS: u8 = 3;

/// Connects as Pingora would, to an address that is resolved. The peer's total connection timeout is the bound.
#[derive(Debug)]
pub(super) struct PacedConnect;

#[async_trait]
impl Connect for PacedConnect {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let Some(address) = address.as_inet() else {
            return Error::e_explain(ErrorType::ConnectError, "not an internet address");
        };
        let tcp = TcpStream::connect(*address).await.or_err(ErrorType::ConnectError, "for a WebSocket")?;
        let _ = tcp.set_nodelay(true);
        Ok(VirtualSocketStream::new(Box::new(Paced { tcp, turns: 0 })).into())
    }
}

#[derive(Debug)]
struct Paced<S> {
    tcp: S,
    /// Turns that the next read still waits for.
    turns: u8,
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.turns > 0 {
            self.turns -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.turns = TURNS;
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

impl VirtualSocket for Paced<TcpStream> {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        match option {
            VirtualSockOpt::NoDelay => self.tcp.set_nodelay(true),
            _ => Ok(()), // A tunnel's silence is bounded by its deadline, not by keep-alive probes.
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn what_is_ready_beside_a_read_that_follows_a_write_comes_first() {
        for _ in 0..100 {
            let (ours, mut theirs) = duplex(64);
            let mut paced = Paced { tcp: ours, turns: 0 };
            paced.write_all(b"request").await.unwrap();
            theirs.write_all(b"answer").await.unwrap();
            let mut answer = [0; 6];
            tokio::select! {
                _ = paced.read(&mut answer) => panic!("the read was first"),
                () = std::future::ready(()) => {}
            }
            paced.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"answer");
        }
    }
}

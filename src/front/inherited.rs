//! Sockets that a supervisor opened and keeps across restarts of ours (systemd's `LISTEN_FDS`).
//!
//! The supervisor's copy stays open while one process drains and the next one starts, so the kernel queues whoever
//! connects meanwhile and nobody is refused. There is no channel between the two processes that a third could open.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;

/// Listening sockets that were handed to this process and not taken yet.
#[derive(Default)]
pub struct Inherited(Vec<(SocketAddr, TcpListener)>);

impl fmt::Debug for Inherited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.left()).finish()
    }
}

impl Inherited {
    /// None: every listener opens a socket of its own.
    pub fn none() -> Self {
        Self::default()
    }

    /// What the environment says was handed over. To be called once, before there is a second thread: it removes what
    /// it reads from the environment, so that no child believes it.
    pub fn from_environment() -> io::Result<Self> {
        let mut passed = ListenFd::from_env();
        let mut sockets = Vec::with_capacity(passed.len());
        for index in 0..passed.len() {
            if let Some(socket) = passed.take_tcp_listener(index)? {
                sockets.push((socket.local_addr()?, socket));
            }
        }
        Ok(Self(sockets))
    }

    /// The socket that listens at exactly this address, if there is one.
    pub fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let position = self.0.iter().position(|(at, _)| *at == address)?;
        Some(self.0.swap_remove(position).1)
    }

    /// Addresses of those that nobody took.
    pub fn left(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().map(|(address, _)| *address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_taken_once_and_by_its_own_address_only() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let mut inherited = Inherited(vec![(address, socket)]);
        assert!(inherited.take(SocketAddr::from(([0, 0, 0, 0], address.port()))).is_none(), "another address");
        assert!(inherited.take(SocketAddr::from(([127, 0, 0, 1], 0))).is_none(), "no port");
        assert_eq!(inherited.left().collect::<Vec<_>>(), [address]);
        assert!(inherited.take(address).is_some());
        assert!(inherited.take(address).is_none());
        assert_eq!(inherited.left().count(), 0);
    }
}

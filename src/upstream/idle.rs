//! HTTP/1.1 connections to back ends between two exchanges.
//!
//! Pingora's own store gives each of them a task that watches it, made and ended with every exchange; here one task
//! looks at all of them once a second, and the exchange that takes one looks again. Invariants: a connection goes only
//! to a peer with the same address and group; one that ended, or spoke unasked, goes to nobody; the number is bounded.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use pingora_core::protocols::Stream;
use pingora_core::upstreams::peer::HttpPeer;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep};

/// How often all are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What connections must have in common to be shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Line {
    address: SocketAddr,
    group: u64,
}

impl Line {
    /// `None` for a peer that is no socket address; we make none.
    fn of(peer: &HttpPeer) -> Option<Self> {
        Some(Self { address: *peer._address.as_inet()?, group: peer.group_key })
    }
}

struct Idle {
    line: Line,
    stream: Stream,
    until: Instant,
}

/// In the order in which they became idle.
#[derive(Default)]
struct Shelf {
    idle: VecDeque<Idle>,
    /// The task that looks at them is running.
    watched: bool,
}

/// The connections of one pool that wait for an exchange.
pub(super) struct IdleConnections {
    shelf: Mutex<Shelf>,
    max: usize,
}

impl IdleConnections {
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { shelf: Mutex::default(), max })
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection to this peer that was used last, if one is still sound.
    pub fn take(&self, peer: &HttpPeer) -> Option<Stream> {
        let line = Line::of(peer)?;
        loop {
            let Idle { mut stream, until, .. } = {
                let mut shelf = self.shelf();
                let position = shelf.idle.iter().rposition(|idle| idle.line == line)?;
                shelf.idle.remove(position)?
            };
            if until > Instant::now() && is_quiet(&mut stream) {
                return Some(stream);
            }
        }
    }

    /// Keeps a connection whose exchange ended cleanly, in place of the oldest if there are too many.
    pub fn put(self: &Arc<Self>, peer: &HttpPeer, stream: Stream, idle_timeout: Duration) {
        let Some(line) = Line::of(peer) else { return };
        let until = Instant::now() + idle_timeout;
        let mut shelf = self.shelf();
        let oldest = if shelf.idle.len() >= self.max { shelf.idle.pop_front() } else { None };
        shelf.idle.push_back(Idle { line, stream, until });
        let watched = std::mem::replace(&mut shelf.watched, true);
        drop(shelf); // Not held while a connection closes.
        drop(oldest);
        if !watched {
            tokio::spawn(watch(Arc::downgrade(self)));
        }
    }

    /// Lets go of what has ended or waited for too long. False if nothing is left to look at.
    fn look(&self) -> bool {
        let now = Instant::now();
        let mut shelf = self.shelf();
        let mut ended = Vec::new();
        for mut idle in std::mem::take(&mut shelf.idle) {
            if idle.until > now && is_quiet(&mut idle.stream) {
                shelf.idle.push_back(idle);
            } else {
                ended.push(idle);
            }
        }
        shelf.watched = !shelf.idle.is_empty();
        let watched = shelf.watched;
        drop(shelf);
        drop(ended);
        watched
    }
}

async fn watch(connections: Weak<IdleConnections>) {
    loop {
        sleep(LOOK_EVERY).await;
        let Some(connections) = connections.upgrade() else { return };
        if !connections.look() {
            return;
        }
    }
}

/// Whether the back end has neither closed the connection nor said anything on it since the last exchange.
fn is_quiet(stream: &mut Stream) -> bool {
    let mut byte = [0; 1];
    // Unconstrained: what returned early to be fair to other tasks would pass for silence.
    tokio::task::unconstrained(stream.read(&mut byte)).now_or_never().is_none()
}

#[cfg(test)]
mod tests {
    use pingora_core::protocols::l4::stream::Stream as L4;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    /// The gateway's end of a connection, the back end's, and the peer.
    async fn connection() -> (Stream, TcpStream, HttpPeer) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
        (Box::new(L4::from(ours.unwrap())), theirs.unwrap().0, HttpPeer::new(address, false, String::new()))
    }

    /// Waits until the runtime knows what the back end did.
    async fn heard(ours: &mut Stream) {
        while is_quiet(ours) {
            tokio::task::yield_now().await;
        }
    }

    async fn is_ended(theirs: &mut TcpStream) -> bool {
        matches!(theirs.read(&mut [0; 1]).await, Ok(0))
    }

    #[tokio::test]
    async fn a_connection_goes_to_its_own_line_alone_and_the_last_one_first() {
        let idle = IdleConnections::new(8);
        let (first, mut first_end, peer) = connection().await;
        let (second, mut second_end, _) = connection().await;
        idle.put(&peer, first, LONG);
        idle.put(&peer, second, LONG);
        let (mut group, mut place) = (peer.clone(), peer.clone());
        group.group_key ^= 1;
        place._address = std::net::SocketAddr::from(([127, 0, 0, 1], 9)).into();
        assert!(idle.take(&group).is_none() && idle.take(&place).is_none());
        for end in [&mut second_end, &mut first_end] {
            let mut taken = idle.take(&peer).unwrap();
            taken.write_all(b"x").await.unwrap();
            taken.flush().await.unwrap();
            assert_eq!(end.read_u8().await.unwrap(), b'x');
        }
        assert!(idle.take(&peer).is_none(), "each is taken once");
    }

    #[tokio::test]
    async fn who_ended_or_spoke_unasked_goes_to_nobody() {
        let idle = IdleConnections::new(8);
        let (mut ours, theirs, peer) = connection().await;
        drop(theirs);
        heard(&mut ours).await;
        idle.put(&peer, ours, LONG);
        let (mut ours, mut theirs, other) = connection().await;
        theirs.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
        heard(&mut ours).await;
        idle.put(&other, ours, LONG);
        assert!(idle.take(&peer).is_none(), "it has ended");
        assert!(idle.take(&other).is_none(), "an answer without a question");
    }

    #[tokio::test]
    async fn the_oldest_makes_room() {
        let idle = IdleConnections::new(1);
        let (first, mut first_end, peer) = connection().await;
        let (second, _second_end, _) = connection().await;
        idle.put(&peer, first, LONG);
        idle.put(&peer, second, LONG);
        assert!(is_ended(&mut first_end).await);
        assert!(idle.take(&peer).is_some() && idle.take(&peer).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_watch_ends_what_waited_for_too_long_and_itself_with_the_last() {
        let idle = IdleConnections::new(8);
        let (ours, mut theirs, peer) = connection().await;
        idle.put(&peer, ours, Duration::from_secs(3));
        let before = Instant::now();
        assert!(is_ended(&mut theirs).await);
        assert!(before.elapsed() >= Duration::from_secs(3));
        assert!(!idle.shelf().watched);
        let (ours, mut theirs, peer) = connection().await;
        idle.put(&peer, ours, LONG);
        assert!(idle.shelf().watched, "watched again");
        theirs.shutdown().await.unwrap();
        assert!(is_ended(&mut theirs).await, "closed here too, before its time");
        assert!(idle.take(&peer).is_none());
    }
}

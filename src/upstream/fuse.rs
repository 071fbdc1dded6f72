//! The end of an exchange whose back end is neither silent nor done.
//!
//! Pingora bounds each read of an answer's header, not the header: a back end that sends it byte by byte would hold its
//! caller for as long as it likes. A fuse shuts the connection down at the exchange's deadline, and whoever reads from
//! it finds it closed. Nearly every fuse is put out long before, so lighting one costs no task and no timer.

use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use socket2::SockRef;

/// How often [`Fuses::burn`] is to be called, and so how late a fuse may be.
pub const BURN_EVERY: Duration = Duration::from_millis(50);
/// Parts of the box, so that requests rarely meet at one lock.
const SHARDS: usize = 16;

/// All fuses that are lit: as many as there are streamed exchanges, not one more.
#[derive(Debug, Default)]
pub struct Fuses {
    shards: [Mutex<HashMap<u64, Lit>>; SHARDS],
    lit: AtomicU64,
}

#[derive(Debug)]
struct Lit {
    deadline: Instant,
    socket: OwnedFd,
}

/// Dropped before the connection goes back to its pool, it does nothing.
#[derive(Debug)]
pub struct Fuse {
    id: u64,
    fuses: Arc<Fuses>,
}

impl Fuses {
    /// `descriptor` is that of a connection that carries this exchange alone, and is open now.
    pub fn light(self: &Arc<Self>, descriptor: RawFd, deadline: Instant) -> io::Result<Fuse> {
        let socket = own(descriptor)?;
        let id = self.lit.fetch_add(1, Ordering::Relaxed);
        if let Some(mut shard) = self.shard(id) {
            shard.insert(id, Lit { deadline, socket });
        }
        Ok(Fuse { id, fuses: Arc::clone(self) })
    }

    /// Shuts down the connections whose deadline is past.
    pub fn burn(&self, now: Instant) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, lit| {
                let burnt = lit.deadline <= now;
                if burnt {
                    let _gone_already = SockRef::from(&lit.socket).shutdown(Shutdown::Both);
                }
                !burnt
            });
        }
    }

    /// A panic while it was locked leaves the map whole: nothing here is done in two steps.
    fn shard(&self, id: u64) -> Option<MutexGuard<'_, HashMap<u64, Lit>>> {
        let shard = self.shards.get(usize::try_from(id % SHARDS as u64).ok()?)?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        let put_out = self.fuses.shard(self.id).and_then(|mut shard| shard.remove(&self.id));
        drop(put_out); // Its descriptor is closed without the lock.
    }
}

/// A descriptor of our own for the same socket: when the other is closed, its number may soon be a stranger's.
#[expect(unsafe_code, reason = "Pingora tells of a connection by the number of its descriptor")]
fn own(descriptor: RawFd) -> io::Result<OwnedFd> {
    if descriptor < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: it is not -1, and it is open: whoever calls holds the connection, and does not let go of it meanwhile.
    unsafe { BorrowedFd::borrow_raw(descriptor) }.try_clone_to_owned()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (one, other) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (one.unwrap(), other.unwrap().0)
    }

    #[tokio::test]
    async fn a_fuse_that_burns_down_ends_the_reading_and_only_its_own() {
        let ((mut ours, _theirs), (mut spared, mut writes)) = (pair().await, pair().await);
        let (fuses, now) = (Arc::new(Fuses::default()), Instant::now());
        let _fuse = fuses.light(ours.as_raw_fd(), now + Duration::from_secs(1)).unwrap();
        let _later = fuses.light(spared.as_raw_fd(), now + Duration::from_secs(3)).unwrap();
        fuses.burn(now + Duration::from_secs(2));
        assert_eq!(ours.read(&mut [0; 8]).await.unwrap(), 0);
        writes.write_all(b"still here").await.unwrap();
        assert_eq!(spared.read(&mut [0; 16]).await.unwrap(), 10);
    }

    #[tokio::test]
    async fn a_fuse_that_is_put_out_harms_nobody_and_leaves_nothing() {
        let (mut ours, mut theirs) = pair().await;
        let (fuses, now) = (Arc::new(Fuses::default()), Instant::now());
        drop(fuses.light(ours.as_raw_fd(), now).unwrap());
        fuses.burn(now + Duration::from_secs(1));
        theirs.write_all(b"still here").await.unwrap();
        assert!(ours.read(&mut [0; 16]).await.unwrap() > 0);
        assert!(fuses.light(-1, now).is_err());
        assert!(fuses.shards.iter().all(|shard| shard.lock().unwrap().is_empty()));
    }
}

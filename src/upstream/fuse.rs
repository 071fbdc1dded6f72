//! The end of an exchange whose back end is neither silent nor done.
//!
//! Pingora bounds each read of an answer's header, not the header: a back end that sends it byte by byte would hold its
//! caller for as long as it likes. A fuse shuts the connection down at the exchange's deadline, and whoever reads from
//! it finds it closed.

use std::io;
use std::net::Shutdown;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use socket2::SockRef;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

/// Dropped before the connection goes back to its pool, it does nothing.
#[derive(Debug)]
pub struct Fuse(AbortHandle);

impl Fuse {
    /// `descriptor` is that of a connection that carries this exchange alone, and is open now.
    pub fn light(descriptor: RawFd, deadline: Instant) -> io::Result<Self> {
        let socket = own(descriptor)?;
        let burn = async move {
            sleep_until(deadline).await;
            let _gone_already = SockRef::from(&socket).shutdown(Shutdown::Both);
        };
        Ok(Self(tokio::spawn(burn).abort_handle()))
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        self.0.abort();
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
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (one, other) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (one.unwrap(), other.unwrap().0)
    }

    #[tokio::test]
    async fn a_fuse_that_burns_down_ends_the_reading() {
        let (mut ours, _theirs) = pair().await;
        let _fuse = Fuse::light(ours.as_raw_fd(), Instant::now() + Duration::from_millis(20)).unwrap();
        assert_eq!(ours.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_fuse_that_is_put_out_harms_nobody() {
        let (mut ours, mut theirs) = pair().await;
        let deadline = Instant::now() + Duration::from_millis(20);
        drop(Fuse::light(ours.as_raw_fd(), deadline).unwrap());
        sleep_until(deadline + Duration::from_millis(20)).await; // The time in which it would have burnt down.
        theirs.write_all(b"still here").await.unwrap();
        assert!(ours.read(&mut [0; 16]).await.unwrap() > 0);
        assert!(Fuse::light(-1, deadline).is_err());
    }
}

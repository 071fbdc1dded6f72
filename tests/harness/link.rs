//! A line between two parties that can be made bad while it is in use: it stands between them as a TCP proxy.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What is wrong with one direction of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Every piece of data takes this much longer.
    Latency(Duration),
    /// Nothing passes while it lasts; afterwards all of it does, as when lost packets are sent again.
    Stall,
    /// What is sent meanwhile is lost, and with it the connection: nothing passes on it any more.
    BlackHole,
    /// One byte in this much time.
    Drip(Duration),
    /// This direction ends, the other goes on.
    HalfClose,
    /// RST to both parties, on connections that are open and on new ones.
    Reset,
    /// Connections that are open go on; new ones are refused.
    Refuse,
    /// RST on connections that are open; new ones are refused: whoever was there is dead.
    Gone,
}

/// Which direction is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From whoever connects to the target.
    There,
    Back,
    Both,
}

/// There, back.
type State = [Option<Fault>; 2];

/// What has passed so far.
#[derive(Debug, Default)]
pub struct Counts {
    pub connections: AtomicUsize,
    /// Connections that are open now.
    pub open: AtomicUsize,
    pub bytes: [AtomicU64; 2],
    /// Bytes that a black hole swallowed.
    pub lost: AtomicU64,
}

/// A line under way. Dropping it cuts every connection on it.
pub struct Link {
    pub address: SocketAddr,
    pub counts: Arc<Counts>,
    state: watch::Sender<State>,
    /// Bound, never listening: holds the port while connections are refused.
    _holder: Socket,
    task: JoinHandle<()>,
}

impl Link {
    /// A sound line to `target`.
    pub fn to(target: SocketAddr) -> Self {
        let holder = bound(SocketAddr::from(([127, 0, 0, 1], 0)));
        let address = holder.local_addr().unwrap().as_socket().unwrap();
        let counts = Arc::new(Counts::default());
        let (state, seen) = watch::channel([None; 2]);
        let task = tokio::spawn(carry(address, listen(address), target, Arc::clone(&counts), seen));
        Self { address, counts, state, _holder: holder, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on, for connections that are open and for new ones.
    pub fn disturb(&self, way: Way, fault: Fault) {
        self.state.send_replace(match way {
            Way::There => [Some(fault), None],
            Way::Back => [None, Some(fault)],
            Way::Both => [Some(fault); 2],
        });
    }

    pub fn mend(&self) {
        self.state.send_replace([None; 2]);
    }

    /// Connections so far, bytes there, bytes back, bytes lost.
    pub fn tally(&self) -> (usize, u64, u64, u64) {
        let bytes = |at: usize| self.counts.bytes[at].load(Ordering::Relaxed);
        (self.counts.connections.load(Ordering::Relaxed), bytes(0), bytes(1), self.counts.lost.load(Ordering::Relaxed))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn bound(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket
}

fn listen(address: SocketAddr) -> TcpListener {
    let socket = bound(address);
    socket.set_nonblocking(true).unwrap();
    socket.listen(1024).unwrap();
    TcpListener::from_std(socket.into()).unwrap()
}

fn refuses(state: &State) -> bool {
    state.contains(&Some(Fault::Refuse)) || state.contains(&Some(Fault::Gone))
}

fn resets(state: &State) -> bool {
    state.contains(&Some(Fault::Reset)) || state.contains(&Some(Fault::Gone))
}

async fn carry(
    address: SocketAddr,
    listener: TcpListener,
    target: SocketAddr,
    counts: Arc<Counts>,
    mut state: watch::Receiver<State>,
) {
    let mut listener = Some(listener);
    let mut lines = tokio::task::JoinSet::new(); // Dropped with this task, and with it every connection.
    loop {
        if refuses(&state.borrow_and_update()) {
            listener = None;
        } else if listener.is_none() {
            listener = Some(listen(address));
        }
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return },
            accepted = accepted => {
                let Ok((caller, _)) = accepted else { return };
                counts.connections.fetch_add(1, Ordering::Relaxed);
                lines.spawn(line(caller, target, Arc::clone(&counts), state.clone()));
            }
            _ = lines.join_next(), if !lines.is_empty() => {}
        }
    }
}

async fn line(mut caller: TcpStream, target: SocketAddr, counts: Arc<Counts>, state: watch::Receiver<State>) {
    if resets(&state.borrow()) {
        return reset(&caller);
    }
    let Ok(mut target) = TcpStream::connect(target).await else { return reset(&caller) };
    for stream in [&caller, &target] {
        let _ = stream.set_nodelay(true);
    }
    counts.open.fetch_add(1, Ordering::Relaxed);
    let cut = {
        let (caller_read, caller_write) = caller.split();
        let (target_read, target_write) = target.split();
        let there = pump(0, caller_read, target_write, &counts, state.clone());
        let back = pump(1, target_read, caller_write, &counts, state);
        tokio::try_join!(there, back).is_err()
    };
    counts.open.fetch_sub(1, Ordering::Relaxed);
    if cut {
        reset(&caller);
        reset(&target);
    }
}

/// The close that follows sends RST instead of FIN.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Both parties are to be reset.
struct Cut;

/// Carries one direction until it ends.
async fn pump(
    way: usize,
    mut read: ReadHalf<'_>,
    mut write: WriteHalf<'_>,
    counts: &Counts,
    state: watch::Receiver<State>,
) -> Result<(), Cut> {
    let mut chunk = vec![0; 16 * 1024];
    let mut signs = state.clone();
    let mut ended = pin!(async move {
        let over = |state: &State| resets(state) || state[way] == Some(Fault::HalfClose);
        signs.wait_for(over).await.map(|state| resets(&state)).unwrap_or(true)
    });
    let mut swallowed = false;
    loop {
        let count = tokio::select! {
            biased;
            cut = &mut ended => return if cut { Err(Cut) } else { close(&mut write).await },
            count = read.read(&mut chunk) => count.map_err(|_| Cut)?,
        };
        let carried = tokio::select! {
            biased;
            cut = &mut ended => return if cut { Err(Cut) } else { close(&mut write).await },
            carried = pass(way, &chunk[..count], &mut write, &mut swallowed, counts, state.clone()) => carried,
        };
        carried?;
        if count == 0 {
            return close(&mut write).await;
        }
    }
}

async fn close(write: &mut WriteHalf<'_>) -> Result<(), Cut> {
    write.shutdown().await.map_err(|_| Cut)
}

/// Passes bytes on as the line's state has it. No bytes stand for the end, which passes like bytes do.
async fn pass(
    way: usize,
    mut bytes: &[u8],
    write: &mut WriteHalf<'_>,
    swallowed: &mut bool,
    counts: &Counts,
    mut state: watch::Receiver<State>,
) -> Result<(), Cut> {
    loop {
        let fault = state.borrow_and_update()[way];
        *swallowed |= fault == Some(Fault::BlackHole);
        if *swallowed {
            counts.lost.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            if bytes.is_empty() {
                std::future::pending::<()>().await; // The end does not arrive either.
            }
            return Ok(());
        }
        let piece = match fault {
            Some(Fault::Stall) => {
                state.changed().await.map_err(|_| Cut)?;
                continue;
            }
            Some(Fault::Drip(pause)) => {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    changed = state.changed() => { changed.map_err(|_| Cut)?; continue }
                }
                bytes.len().min(1)
            }
            Some(Fault::Latency(delay)) => {
                tokio::time::sleep(delay).await;
                bytes.len()
            }
            _ => bytes.len(),
        };
        let (now, later) = bytes.split_at(piece);
        write.write_all(now).await.map_err(|_| Cut)?;
        counts.bytes[way].fetch_add(now.len() as u64, Ordering::Relaxed);
        bytes = later;
        if bytes.is_empty() {
            return Ok(());
        }
    }
}

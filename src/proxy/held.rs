//! Bodies held whole: within a limit each, within a share for all of one client's, and within one budget all together.
//!
//! A body is read before quota and concurrency are spent, so that its share is what keeps one client with many slow
//! uploads from taking the budget of all others.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::failure::Fault;
use crate::domain::ClientId;

/// The budget is counted in blocks, so that a small body costs one step and the largest budget fits the counter.
const BLOCK_BYTES: usize = 4096;
/// Parts of the map of clients, so that they rarely meet at one lock.
const CLIENT_SHARDS: usize = 32;

/// All bodies held whole at once, and what each client holds of them.
#[derive(Debug, Clone)]
pub struct ByteBudget {
    all: Arc<Semaphore>,
    clients: Arc<Clients>,
}

impl ByteBudget {
    pub fn new(bytes: usize) -> Self {
        let blocks = (bytes / BLOCK_BYTES).clamp(1, Semaphore::MAX_PERMITS);
        Self { all: Arc::new(Semaphore::new(blocks)), clients: Arc::default() }
    }

    /// One body's part of the budget, empty at first. `client_bytes_max` bounds all parts of the client together.
    fn part(&self, client: &ClientId, client_bytes_max: usize) -> Result<Part, Fault> {
        let account = Account::open(&self.clients, client);
        let blocks = Arc::clone(&self.all).try_acquire_many_owned(0).map_err(|_| Fault::Overloaded)?;
        Ok(Part { blocks, account, blocks_max: (client_bytes_max / BLOCK_BYTES).max(1), all: Arc::clone(&self.all) })
    }
}

/// What a body holds of the budget; given back when dropped.
#[derive(Debug)]
struct Part {
    blocks: OwnedSemaphorePermit,
    account: Account,
    /// Of all the client's bodies together.
    blocks_max: usize,
    all: Arc<Semaphore>,
}

impl Part {
    fn blocks(&self) -> usize {
        self.blocks.num_permits()
    }

    /// The client's own bound first: who is at it must not be told that everybody is.
    fn grow(&mut self, blocks: usize) -> Result<(), Fault> {
        let permits = u32::try_from(blocks).map_err(|_| Fault::Overloaded)?;
        let room = |held: usize| held.checked_add(blocks).filter(|held| *held <= self.blocks_max);
        let taken = self.account.held.fetch_update(Ordering::AcqRel, Ordering::Acquire, room);
        taken.map_err(|_| Fault::ClientOverloaded)?;
        match Arc::clone(&self.all).try_acquire_many_owned(permits) {
            Ok(more) => {
                self.blocks.merge(more);
                Ok(())
            }
            Err(_) => {
                self.account.held.fetch_sub(blocks, Ordering::AcqRel);
                Err(Fault::Overloaded)
            }
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Invariant: what the semaphore counts for this part, the account counts as well.
        self.account.held.fetch_sub(self.blocks(), Ordering::AcqRel);
    }
}

/// Clients that hold something now. As many entries as there are clients with a body in work, not one more.
#[derive(Debug, Default)]
struct Clients([Mutex<HashMap<ClientId, Arc<AtomicUsize>>>; CLIENT_SHARDS]);

impl Clients {
    fn shard(&self, client: &ClientId) -> Option<MutexGuard<'_, HashMap<ClientId, Arc<AtomicUsize>>>> {
        let mut hasher = DefaultHasher::new();
        client.hash(&mut hasher);
        let shard = usize::try_from(hasher.finish() % CLIENT_SHARDS as u64).ok()?;
        // A panic while it was locked leaves the map whole: nothing here is done in two steps.
        self.0.get(shard).map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One client's blocks; every body of the client has it open.
#[derive(Debug)]
struct Account {
    client: ClientId,
    held: Arc<AtomicUsize>,
    clients: Arc<Clients>,
}

impl Account {
    fn open(clients: &Arc<Clients>, client: &ClientId) -> Self {
        let held = clients.shard(client).map(|mut shard| Arc::clone(shard.entry(client.clone()).or_default()));
        Self { client: client.clone(), held: held.unwrap_or_default(), clients: Arc::clone(clients) }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if let Some(mut shard) = self.clients.shard(&self.client) {
            // Invariant: handles are made under this lock, so two mean the map's and this one, which is going.
            if shard.get(&self.client).is_some_and(|held| Arc::strong_count(held) <= 2) {
                shard.remove(&self.client);
            }
        }
    }
}

/// A body that grows within its limit and the budget; gives its part back when dropped.
#[derive(Debug)]
pub(super) struct Growing {
    bytes: BytesMut,
    max: usize,
    part: Part,
}

/// A whole body and its part of the budget.
#[derive(Debug)]
pub(super) struct Held {
    pub bytes: Bytes,
    _part: Part,
}

/// Whose body is held, and how much all of that client's may take together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holder<'a> {
    pub client: &'a ClientId,
    pub client_bytes_max: usize,
}

impl Growing {
    /// `announced` is the sender's own word on the length, checked before a byte is read.
    pub fn new(budget: &ByteBudget, holder: Holder<'_>, max: usize, announced: Option<u64>) -> Result<Self, Fault> {
        if announced.is_some_and(|length| length > max as u64) {
            return Err(Fault::BodyTooLarge);
        }
        Ok(Self { bytes: BytesMut::new(), max, part: budget.part(holder.client, holder.client_bytes_max)? })
    }

    pub fn push(&mut self, chunk: &[u8]) -> Result<(), Fault> {
        let length = self.bytes.len().saturating_add(chunk.len());
        if length > self.max {
            return Err(Fault::BodyTooLarge);
        }
        let missing = length.div_ceil(BLOCK_BYTES).saturating_sub(self.part.blocks());
        if missing > 0 {
            self.part.grow(missing)?;
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    pub fn finish(self) -> Held {
        Held { bytes: self.bytes.freeze(), _part: self.part }
    }
}

/// Where a body comes from, chunk by chunk.
pub(super) trait Source {
    /// The next bytes; `None` at the end.
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Bytes>, Fault>> + Send;
}

/// Reads a body to its end: each chunk within `idle`, all of it before `deadline`.
pub(super) async fn read_whole(
    mut body: Growing,
    idle: Duration,
    deadline: Instant,
    source: &mut impl Source,
) -> Result<Held, Fault> {
    loop {
        let limit = deadline.min(Instant::now() + idle);
        match timeout_at(limit, source.chunk()).await {
            Err(_) => return Err(Fault::BodyTimedOut),
            Ok(Err(fault)) => return Err(fault),
            Ok(Ok(None)) => return Ok(body.finish()),
            // A timeout looks at the work first: a chunk that is always there would pass any deadline.
            Ok(Ok(Some(_))) if Instant::now() >= deadline => return Err(Fault::BodyTimedOut),
            Ok(Ok(Some(chunk))) => body.push(&chunk)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: usize = 1 << 30;

    /// A body of client `name`, whose bodies may take `client_bytes_max` together.
    fn growing_for(budget: &ByteBudget, name: &str, client_bytes_max: usize) -> Growing {
        let client = ClientId::parse(name).unwrap();
        Growing::new(budget, Holder { client: &client, client_bytes_max }, 1 << 20, None).unwrap()
    }

    fn growing(budget: &ByteBudget, max: usize, announced: Option<u64>) -> Result<Growing, Fault> {
        let client = ClientId::parse("app").unwrap();
        Growing::new(budget, Holder { client: &client, client_bytes_max: ALL }, max, announced)
    }

    fn clients(budget: &ByteBudget) -> usize {
        budget.clients.0.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }

    #[test]
    fn a_body_ends_at_its_limit_and_an_announced_excess_before_its_first_byte() {
        let budget = ByteBudget::new(1 << 20);
        let mut body = growing(&budget, 10, None).unwrap();
        assert_eq!(body.push(b"0123456789"), Ok(()));
        assert_eq!(body.push(b"x"), Err(Fault::BodyTooLarge));
        assert_eq!(growing(&budget, 10, Some(11)).err(), Some(Fault::BodyTooLarge));
        assert!(growing(&budget, 10, Some(10)).is_ok());
    }

    #[test]
    fn all_bodies_share_one_budget_and_give_it_back() {
        let budget = ByteBudget::new(3 * BLOCK_BYTES);
        let mut one = growing_for(&budget, "one", ALL);
        one.push(&[0; 2 * BLOCK_BYTES]).unwrap();
        let mut two = growing_for(&budget, "two", ALL);
        two.push(&[0; BLOCK_BYTES]).unwrap();
        assert_eq!(two.push(b"x"), Err(Fault::Overloaded), "what is full refuses");
        let held = one.finish();
        assert_eq!(held.bytes.len(), 2 * BLOCK_BYTES);
        assert_eq!(two.push(b"x"), Err(Fault::Overloaded), "a finished body still counts");
        drop(held);
        assert_eq!(two.push(b"x"), Ok(()));
    }

    #[test]
    fn one_client_takes_no_more_than_its_share_however_many_bodies_it_sends() {
        let budget = ByteBudget::new(8 * BLOCK_BYTES);
        let share = 2 * BLOCK_BYTES;
        let (mut one, mut two) = (growing_for(&budget, "greedy", share), growing_for(&budget, "greedy", share));
        one.push(&[0; BLOCK_BYTES]).unwrap();
        two.push(&[0; BLOCK_BYTES]).unwrap();
        assert_eq!(two.push(b"x"), Err(Fault::ClientOverloaded));
        let mut other = growing_for(&budget, "other", share);
        assert_eq!(other.push(&[0; 2 * BLOCK_BYTES]), Ok(()), "another's share is untouched");
        assert_eq!(growing_for(&budget, "greedy", share).push(b"x"), Err(Fault::ClientOverloaded));
        drop(one.finish());
        assert_eq!(two.push(b"x"), Ok(()), "what is given back can be taken again");
        drop((two, other));
        assert_eq!((clients(&budget), budget.all.available_permits()), (0, 8), "nothing is left behind");
    }

    #[test]
    fn a_refusal_by_the_whole_budget_does_not_count_against_the_client() {
        let budget = ByteBudget::new(2 * BLOCK_BYTES);
        let mut other = growing_for(&budget, "other", ALL);
        other.push(&[0; BLOCK_BYTES]).unwrap();
        let mut one = growing_for(&budget, "one", 2 * BLOCK_BYTES);
        assert_eq!(one.push(&[0; 2 * BLOCK_BYTES]), Err(Fault::Overloaded));
        drop(other);
        assert_eq!(one.push(&[0; 2 * BLOCK_BYTES]), Ok(()));
    }

    /// Gives these chunks from the last to the first, then ends, or never does.
    struct Chunks(Vec<Bytes>, bool);

    impl Source for Chunks {
        async fn chunk(&mut self) -> Result<Option<Bytes>, Fault> {
            if self.0.is_empty() && !self.1 {
                std::future::pending::<()>().await;
            }
            Ok(self.0.pop())
        }
    }

    #[tokio::test]
    async fn a_body_that_pauses_or_takes_too_long_is_given_up() {
        let budget = ByteBudget::new(1 << 20);
        let (hour, now) = (Duration::from_secs(3600), Instant::now());
        let silent =
            read_whole(growing(&budget, 10, None).unwrap(), Duration::ZERO, now + hour, &mut Chunks(vec![], false))
                .await;
        assert_eq!(silent.err(), Some(Fault::BodyTimedOut), "a pause");
        let late = read_whole(growing(&budget, 10, None).unwrap(), hour, now, &mut Chunks(vec![], false)).await;
        assert_eq!(late.err(), Some(Fault::BodyTimedOut), "the whole");
        let mut chunks = Chunks(vec![Bytes::from_static(b"lo"), Bytes::from_static(b"hel")], true);
        assert_eq!(
            read_whole(growing(&budget, 10, None).unwrap(), hour, now + hour, &mut chunks).await.unwrap().bytes,
            "hello"
        );
    }
}

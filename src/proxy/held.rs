//! Bodies held whole: within a limit each, within a share for all of one client's, another for all of one tenant's, and
//! within one budget all together.
//!
//! A body is read before quota and concurrency are spent, so that its share is what keeps one client, or a tenant with
//! many clients, from taking the budget of all others by slow uploads.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::failure::Fault;
use crate::domain::{ClientId, TenantId};

/// The budget is counted in blocks, so that a small body costs one step and the largest budget fits the counter.
const BLOCK_BYTES: usize = 4096;
/// Parts of the map of shares, so that they rarely meet at one lock.
const SHARDS: usize = 32;

/// All bodies held whole at once, and what each client and tenant holds of them.
#[derive(Debug, Clone)]
pub struct ByteBudget {
    all: Arc<Semaphore>,
    blocks: usize,
    shares: Arc<Shares>,
}

impl ByteBudget {
    pub fn new(bytes: usize) -> Self {
        let blocks = (bytes / BLOCK_BYTES).clamp(1, Semaphore::MAX_PERMITS);
        Self { all: Arc::new(Semaphore::new(blocks)), blocks, shares: Arc::default() }
    }

    /// Bytes that are held now, in whole blocks, and the most that may be.
    pub fn held_bytes(&self) -> (usize, usize) {
        ((self.blocks - self.all.available_permits()) * BLOCK_BYTES, self.blocks * BLOCK_BYTES)
    }

    /// One body's part of the budget, empty at first.
    fn part(&self, holder: Holder<'_>) -> Result<Part, Fault> {
        let open = |who, bytes_max: usize| Account::open(&self.shares, who, (bytes_max / BLOCK_BYTES).max(1));
        let accounts = [
            open(Who::Client(holder.client.clone()), holder.client_bytes_max),
            open(Who::Tenant(holder.tenant.clone()), holder.tenant_bytes_max),
        ];
        let blocks = Arc::clone(&self.all).try_acquire_many_owned(0).map_err(|_| Fault::Overloaded)?;
        Ok(Part { blocks, accounts, all: Arc::clone(&self.all) })
    }
}

/// What a body holds of the budget; given back when dropped.
#[derive(Debug)]
struct Part {
    blocks: OwnedSemaphorePermit,
    accounts: [Account; 2],
    all: Arc<Semaphore>,
}

impl Part {
    fn blocks(&self) -> usize {
        self.blocks.num_permits()
    }

    /// The client's own bounds first: who is at them must not be told that everybody is.
    fn grow(&mut self, blocks: usize) -> Result<(), Fault> {
        let permits = u32::try_from(blocks).map_err(|_| Fault::Overloaded)?;
        let [client, tenant] = &self.accounts;
        let client = client.take(blocks)?;
        let tenant = tenant.take(blocks)?;
        self.blocks.merge(Arc::clone(&self.all).try_acquire_many_owned(permits).map_err(|_| Fault::Overloaded)?);
        client.keep();
        tenant.keep();
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Invariant: what the semaphore counts for this part, the accounts count as well.
        for account in &self.accounts {
            account.held.fetch_sub(self.blocks(), Ordering::AcqRel);
        }
    }
}

/// Whose bodies count together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    Client(ClientId),
    Tenant(TenantId),
}

/// Who holds something now. As many entries as there are clients and tenants with a body in work, not one more.
#[derive(Debug, Default)]
struct Shares([Mutex<HashMap<Who, Arc<AtomicUsize>>>; SHARDS]);

impl Shares {
    fn shard(&self, who: &Who) -> Option<MutexGuard<'_, HashMap<Who, Arc<AtomicUsize>>>> {
        let mut hasher = DefaultHasher::new();
        who.hash(&mut hasher);
        let shard = usize::try_from(hasher.finish() % SHARDS as u64).ok()?;
        // A panic while it was locked leaves the map whole: nothing here is done in two steps.
        self.0.get(shard).map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One client's or tenant's blocks; every body of theirs has it open.
#[derive(Debug)]
struct Account {
    who: Who,
    held: Arc<AtomicUsize>,
    /// Of all bodies together.
    blocks_max: usize,
    shares: Arc<Shares>,
}

impl Account {
    fn open(shares: &Arc<Shares>, who: Who, blocks_max: usize) -> Self {
        let held = shares.shard(&who).map(|mut shard| Arc::clone(shard.entry(who.clone()).or_default()));
        Self { who, held: held.unwrap_or_default(), blocks_max, shares: Arc::clone(shares) }
    }

    fn take(&self, blocks: usize) -> Result<Taken<'_>, Fault> {
        let room = |held: usize| held.checked_add(blocks).filter(|held| *held <= self.blocks_max);
        let taken = self.held.fetch_update(Ordering::AcqRel, Ordering::Acquire, room);
        taken.map(|_| Taken { held: &self.held, blocks }).map_err(|_| Fault::ClientOverloaded)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if let Some(mut shard) = self.shares.shard(&self.who) {
            // Invariant: handles are made under this lock, so two mean the map's and this one, which is going.
            if shard.get(&self.who).is_some_and(|held| Arc::strong_count(held) <= 2) {
                shard.remove(&self.who);
            }
        }
    }
}

/// Blocks of an account that go back if the next bound refuses.
struct Taken<'a> {
    held: &'a AtomicUsize,
    blocks: usize,
}

impl Taken<'_> {
    fn keep(mut self) {
        self.blocks = 0;
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.held.fetch_sub(self.blocks, Ordering::AcqRel);
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

/// Whose body is held, and how much all of that client's, and of that tenant's, may take together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holder<'a> {
    pub client: &'a ClientId,
    pub client_bytes_max: usize,
    pub tenant: &'a TenantId,
    pub tenant_bytes_max: usize,
}

impl Growing {
    /// `announced` is the sender's own word on the length, checked before a byte is read.
    pub fn new(budget: &ByteBudget, holder: Holder<'_>, max: usize, announced: Option<u64>) -> Result<Self, Fault> {
        if announced.is_some_and(|length| length > max as u64) {
            return Err(Fault::BodyTooLarge);
        }
        Ok(Self { bytes: BytesMut::new(), max, part: budget.part(holder)? })
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

    /// A body of client `name` of a tenant of the same name, whose bodies may take `client_bytes_max` together.
    fn growing_for(budget: &ByteBudget, name: &str, client_bytes_max: usize) -> Growing {
        growing_of(budget, (name, client_bytes_max), (name, ALL))
    }

    fn growing_of(budget: &ByteBudget, client: (&str, usize), tenant: (&str, usize)) -> Growing {
        let (client_id, tenant_id) = (ClientId::parse(client.0).unwrap(), TenantId::parse(tenant.0).unwrap());
        let holder =
            Holder { client: &client_id, client_bytes_max: client.1, tenant: &tenant_id, tenant_bytes_max: tenant.1 };
        Growing::new(budget, holder, 1 << 20, None).unwrap()
    }

    fn growing(budget: &ByteBudget, max: usize, announced: Option<u64>) -> Result<Growing, Fault> {
        let (client, tenant) = (ClientId::parse("app").unwrap(), TenantId::parse("acme").unwrap());
        let holder = Holder { client: &client, client_bytes_max: ALL, tenant: &tenant, tenant_bytes_max: ALL };
        Growing::new(budget, holder, max, announced)
    }

    fn accounts(budget: &ByteBudget) -> usize {
        budget.shares.0.iter().map(|shard| shard.lock().unwrap().len()).sum()
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
        assert_eq!((accounts(&budget), budget.all.available_permits()), (0, 8), "nothing is left behind");
    }

    #[test]
    fn a_tenant_takes_no_more_than_its_share_however_many_clients_it_has() {
        let budget = ByteBudget::new(8 * BLOCK_BYTES);
        let (client, tenant) = (2 * BLOCK_BYTES, 3 * BLOCK_BYTES);
        let of = |name: &str| growing_of(&budget, (name, client), ("acme", tenant));
        let (mut one, mut two, mut three) = (of("one"), of("two"), of("three"));
        one.push(&[0; 2 * BLOCK_BYTES]).unwrap();
        assert_eq!(two.push(&[0; 2 * BLOCK_BYTES]), Err(Fault::ClientOverloaded));
        assert_eq!(two.push(&[0; BLOCK_BYTES]), Ok(()), "what was refused is not counted");
        assert_eq!(three.push(b"x"), Err(Fault::ClientOverloaded));
        let mut other = growing_of(&budget, ("other", client), ("globex", tenant));
        assert_eq!(other.push(&[0; 2 * BLOCK_BYTES]), Ok(()), "another tenant's share is untouched");
        drop(one);
        assert_eq!(three.push(b"x"), Ok(()), "what is given back can be taken again");
        drop((two, three, other));
        assert_eq!((accounts(&budget), budget.all.available_permits()), (0, 8), "nothing is left behind");
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

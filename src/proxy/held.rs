//! Bodies held whole: within a limit each, and within one budget all together.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::failure::Fault;

/// The budget is counted in blocks, so that a small body costs one step and the largest budget fits the counter.
const BLOCK_BYTES: usize = 4096;

/// All bodies held whole at once.
#[derive(Debug, Clone)]
pub struct ByteBudget {
    free: Arc<Semaphore>,
    blocks: usize,
}

impl ByteBudget {
    pub fn new(bytes: usize) -> Self {
        let blocks = (bytes / BLOCK_BYTES).clamp(1, Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(blocks)), blocks }
    }

    /// Bytes that are held now, in whole blocks, and the most that may be.
    pub fn held_bytes(&self) -> (usize, usize) {
        ((self.blocks - self.free.available_permits()) * BLOCK_BYTES, self.blocks * BLOCK_BYTES)
    }

    fn take(&self, blocks: usize) -> Result<OwnedSemaphorePermit, Fault> {
        let blocks = u32::try_from(blocks).map_err(|_| Fault::Overloaded)?;
        self.free.clone().try_acquire_many_owned(blocks).map_err(|_| Fault::Overloaded)
    }
}

/// A body that grows within its limit and the budget; gives its share back when dropped.
#[derive(Debug)]
pub(super) struct Growing {
    bytes: BytesMut,
    max: usize,
    share: OwnedSemaphorePermit,
    budget: ByteBudget,
}

/// A whole body and its share of the budget.
#[derive(Debug)]
pub(super) struct Held {
    pub bytes: Bytes,
    _share: OwnedSemaphorePermit,
}

impl Growing {
    /// `announced` is the sender's own word on the length, checked before a byte is read.
    pub fn new(budget: &ByteBudget, max: usize, announced: Option<u64>) -> Result<Self, Fault> {
        if announced.is_some_and(|length| length > max as u64) {
            return Err(Fault::BodyTooLarge);
        }
        Ok(Self { bytes: BytesMut::new(), max, share: budget.take(0)?, budget: budget.clone() })
    }

    pub fn push(&mut self, chunk: &[u8]) -> Result<(), Fault> {
        let length = self.bytes.len().saturating_add(chunk.len());
        if length > self.max {
            return Err(Fault::BodyTooLarge);
        }
        let missing = length.div_ceil(BLOCK_BYTES).saturating_sub(self.share.num_permits());
        if missing > 0 {
            self.share.merge(self.budget.take(missing)?);
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    pub fn finish(self) -> Held {
        Held { bytes: self.bytes.freeze(), _share: self.share }
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

    fn growing(budget: &ByteBudget, max: usize) -> Growing {
        Growing::new(budget, max, None).unwrap()
    }

    #[test]
    fn a_body_ends_at_its_limit_and_an_announced_excess_before_its_first_byte() {
        let budget = ByteBudget::new(1 << 20);
        let mut body = growing(&budget, 10);
        assert_eq!(body.push(b"0123456789"), Ok(()));
        assert_eq!(body.push(b"x"), Err(Fault::BodyTooLarge));
        assert_eq!(Growing::new(&budget, 10, Some(11)).err(), Some(Fault::BodyTooLarge));
        assert!(Growing::new(&budget, 10, Some(10)).is_ok());
    }

    #[test]
    fn all_bodies_share_one_budget_and_give_it_back() {
        let budget = ByteBudget::new(3 * BLOCK_BYTES);
        let mut one = growing(&budget, 1 << 20);
        one.push(&[0; 2 * BLOCK_BYTES]).unwrap();
        let mut two = growing(&budget, 1 << 20);
        two.push(&[0; BLOCK_BYTES]).unwrap();
        assert_eq!(two.push(b"x"), Err(Fault::Overloaded), "what is full refuses");
        let held = one.finish();
        assert_eq!(held.bytes.len(), 2 * BLOCK_BYTES);
        assert_eq!(two.push(b"x"), Err(Fault::Overloaded), "a finished body still counts");
        drop(held);
        assert_eq!(two.push(b"x"), Ok(()));
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
        let silent = read_whole(growing(&budget, 10), Duration::ZERO, now + hour, &mut Chunks(vec![], false)).await;
        assert_eq!(silent.err(), Some(Fault::BodyTimedOut), "a pause");
        let late = read_whole(growing(&budget, 10), hour, now, &mut Chunks(vec![], false)).await;
        assert_eq!(late.err(), Some(Fault::BodyTimedOut), "the whole");
        let mut chunks = Chunks(vec![Bytes::from_static(b"lo"), Bytes::from_static(b"hel")], true);
        assert_eq!(read_whole(growing(&budget, 10), hour, now + hour, &mut chunks).await.unwrap().bytes, "hello");
    }
}

//! One-time marks: a client assertion is taken once.
//!
//! A mark is worth nothing until the disk has it, and a disk is slow: what comes while a commit is under way waits for
//! the next one, and shares it. So a lone assertion costs one sync of the disk, and a crowd of them hardly more.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use aws_lc_rs::digest::{Context, Digest, SHA256};
use sqlx::QueryBuilder;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::fault::{Fault, within_deadline};
use super::{DEADLINE, Store};
use crate::domain::{ClientId, Timestamp};
use crate::oauth::{ReplayStore, StoreError};

/// Rows that one statement removes, so that other writers get their turn in between.
const PURGED_AT_ONCE: i64 = 1_000;

/// Most marks of one commit. Each size of a group is a statement of its own, and the connection keeps a hundred prepared.
const GROUP_MAX: usize = 64;

/// Marks that wait for their commit.
#[derive(Default)]
pub(super) struct Waiting(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    marks: Vec<Mark>,
    /// Somebody sees to those that wait, until there are none.
    attended: bool,
}

struct Mark {
    digest: Digest,
    expires_at: Timestamp,
    now: Timestamp,
    /// When the caller is answered at the latest.
    due: Instant,
    /// Whether it is a new one.
    fresh: oneshot::Sender<Result<bool, Fault>>,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers whether nobody attends to the queue yet: the caller must see to it.
    fn join(&self, mark: Mark) -> bool {
        let mut queue = self.lock();
        queue.marks.push(mark);
        !std::mem::replace(&mut queue.attended, true)
    }

    /// Those who waited longest, without those who went away; `None` if nobody waits.
    fn group(&self) -> Option<Vec<Mark>> {
        let mut queue = self.lock();
        queue.marks.retain(|mark| !mark.fresh.is_closed());
        let most = queue.marks.len().min(GROUP_MAX);
        queue.attended = most > 0;
        queue.attended.then(|| queue.marks.drain(..most).collect())
    }
}

#[cfg(test)]
impl Waiting {
    pub fn count(&self) -> usize {
        self.lock().marks.len()
    }

    /// Those who came first have left the queue for their commit.
    pub fn is_under_way(&self) -> bool {
        let queue = self.lock();
        queue.attended && queue.marks.is_empty()
    }
}

/// Sees to the queue. Whatever ends it before the queue is empty, nobody waits in vain: a panic, the end of its runtime.
struct Attendant {
    store: Store,
    done: bool,
}

impl Drop for Attendant {
    fn drop(&mut self) {
        if !self.done {
            let mut queue = self.store.waiting.lock();
            queue.marks.clear();
            queue.attended = false;
        }
    }
}

#[async_trait]
impl ReplayStore for Store {
    async fn mark(
        &self,
        client: &ClientId,
        jti: &str,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (fresh, answer) = oneshot::channel();
        let mark = Mark { digest: digest(client, jti), expires_at, now, due: Instant::now() + DEADLINE, fresh };
        if self.waiting.join(mark) {
            tokio::spawn(Attendant { store: self.clone(), done: false }.commit_marks());
        }
        Ok(answer.await.unwrap_or(Err(Fault::Timeout))?)
    }

    async fn purge(&self, now: Timestamp) -> Result<(), StoreError> {
        let purge = "DELETE FROM replay_marks WHERE digest IN \
                     (SELECT digest FROM replay_marks WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)";
        loop {
            let call = sqlx::query(purge).bind(now.micros()).bind(PURGED_AT_ONCE).execute(&self.writer);
            if within_deadline(call).await?.rows_affected() == 0 {
                break;
            }
        }
        Ok(within_deadline(self.count_marks()).await?)
    }
}

impl Attendant {
    async fn commit_marks(mut self) {
        while let Some(group) = self.store.waiting.group() {
            let due = group.iter().map(|mark| mark.due).min().unwrap_or_else(Instant::now);
            let inserted = timeout_at(due, self.store.insert_marks(&group)).await.unwrap_or(Err(Fault::Timeout));
            for (nth, mark) in group.into_iter().enumerate() {
                let fresh = inserted.as_ref().map(|fresh| fresh.get(nth).is_some_and(|fresh| *fresh));
                let _who_went_away_asks_no_more = mark.fresh.send(fresh.map_err(Fault::clone));
            }
        }
        self.done = true;
    }
}

impl Store {
    /// Counts the marks anew.
    pub(super) async fn count_marks(&self) -> Result<(), sqlx::Error> {
        let marks: i64 = sqlx::query_scalar("SELECT count(*) FROM replay_marks").fetch_one(&self.reader).await?;
        self.marks.store(marks.unsigned_abs(), Ordering::Relaxed);
        Ok(())
    }

    /// Which of them are new.
    async fn insert_marks(&self, marks: &[Mark]) -> Result<Vec<bool>, Fault> {
        let mut insert = QueryBuilder::new("INSERT INTO replay_marks (digest, expires_at) ");
        insert.push_values(marks, |mut row, mark| {
            row.push_bind(mark.digest.as_ref()).push_bind(mark.expires_at.micros());
        });
        // A mark that has expired, by the clock of them all, is as good as none.
        let now = marks.iter().map(|mark| mark.now.micros()).min().unwrap_or(i64::MIN);
        insert.push(
            " ON CONFLICT (digest) DO UPDATE SET expires_at = excluded.expires_at WHERE replay_marks.expires_at <= ",
        );
        insert.push_bind(now).push(" RETURNING digest");
        // A transaction, so that a call that is given up leaves no mark behind.
        let mut change = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let mut inserted: Vec<Vec<u8>> = insert.build_query_scalar().fetch_all(&mut *change).await?;
        change.commit().await?;
        // Of two that are the same, the first is new.
        let mut is_new = |mark: &Mark| {
            let place = inserted.iter().position(|digest| *digest == mark.digest.as_ref());
            place.map(|place| inserted.swap_remove(place)).is_some()
        };
        let fresh: Vec<bool> = marks.iter().map(&mut is_new).collect();
        self.marks.fetch_add(fresh.iter().filter(|fresh| **fresh).count() as u64, Ordering::Relaxed);
        Ok(fresh)
    }
}

/// Unambiguous: a client's id contains no NUL.
fn digest(client: &ClientId, jti: &str) -> Digest {
    let mut context = Context::new(&SHA256);
    context.update(client.as_str().as_bytes());
    context.update(&[0]);
    context.update(jti.as_bytes());
    context.finish()
}

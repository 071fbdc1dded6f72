//! Lines on their way from those who make them to the one who writes them.

use std::cell::RefCell;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Whole lines that wait, one behind the other, and what is counted of them. It has no bound of its own: whoever pushes
/// decides whether there is room.
#[derive(Debug, Default)]
pub struct LineQueue<C>(Mutex<Lines<C>>);

/// What waited.
#[derive(Debug, Default)]
pub struct Lines<C> {
    pub bytes: Vec<u8>,
    pub counted: C,
}

thread_local! {
    /// Where a line is made, so that the lock of all is held for no longer than to copy it.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl<C: Default> LineQueue<C> {
    /// Makes a line, which must not push another, and takes it if `count` says so. Answers whether it did.
    pub fn push(&self, make: impl FnOnce(&mut Vec<u8>), count: impl FnOnce(&mut C) -> bool) -> bool {
        SCRATCH.with_borrow_mut(|line| {
            line.clear();
            make(line);
            let mut waiting = self.lock();
            let taken = count(&mut waiting.counted);
            if taken {
                waiting.bytes.extend_from_slice(line);
            }
            taken
        })
    }

    /// Looks at what is counted, or changes it.
    pub fn count<T>(&self, count: impl FnOnce(&mut C) -> T) -> T {
        count(&mut self.lock().counted)
    }

    /// Gives up all that waits, in exchange for an empty buffer.
    pub fn take(&self, empty: Vec<u8>) -> Lines<C> {
        std::mem::replace(&mut *self.lock(), Lines { bytes: empty, counted: C::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Lines<C>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A written buffer, empty for [`LineQueue::take`]; an unusually large one is cut to `kept` bytes.
pub fn emptied(mut buffer: Vec<u8>, kept: usize) -> Vec<u8> {
    buffer.clear();
    buffer.shrink_to(kept);
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_whole_in_order_and_counted() {
        let queue: LineQueue<usize> = LineQueue::default();
        let push = |text: &str| {
            queue.push(
                |line| line.extend_from_slice(text.as_bytes()),
                |count| {
                    *count += usize::from(*count < 2);
                    text != "refused\n"
                },
            )
        };
        assert!(push("one\n") && !push("refused\n") && push("two\n"));
        assert_eq!(queue.count(|count| *count), 2);
        let lines = queue.take(Vec::with_capacity(100));
        assert_eq!((lines.bytes.as_slice(), lines.counted), (&b"one\ntwo\n"[..], 2));
        assert!(push("three\n"));
        let next = queue.take(Vec::new());
        assert_eq!((next.bytes.as_slice(), next.counted), (&b"three\n"[..], 1));
        assert!(next.bytes.capacity() >= 100, "the buffer that was given");
    }

    #[test]
    fn a_large_buffer_is_not_kept() {
        let (small, large) = (Vec::with_capacity(10), vec![b'x'; 1000]);
        assert_eq!(emptied(small, 100).capacity(), 10);
        let large = emptied(large, 100);
        assert!(large.is_empty() && (100..1000).contains(&large.capacity()), "{}", large.capacity());
    }
}

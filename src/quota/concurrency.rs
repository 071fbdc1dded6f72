//! How many requests are under way at once: leases that end when they are dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The requests of one partner that are under way.
#[derive(Clone, Default)]
pub(super) struct UnderWay(Arc<AtomicU32>);

/// One request under way. Dropping it ends it, whether the request was answered, aborted or panicked.
#[derive(Debug)]
#[must_use = "a lease that is dropped at once limits nothing"]
pub(super) struct Lease(Arc<AtomicU32>);

impl UnderWay {
    pub fn take(&self, max: u32) -> Option<Lease> {
        let room = |count: u32| (count < max).then_some(count + 1);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, room).ok().map(|_| Lease(Arc::clone(&self.0)))
    }

    pub fn count(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    pub fn is_idle(&self) -> bool {
        Arc::strong_count(&self.0) == 1 && self.count() == 0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel); // Invariant: every lease added one.
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn a_lease_ends_with_its_holder_even_if_that_panics() {
        let under_way = UnderWay::default();
        let first = under_way.take(2).unwrap();
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let _second = under_way.take(2).unwrap();
            assert!(under_way.take(2).is_none(), "full");
            panic!("the request fails");
        }));
        assert!(unwound.is_err());
        assert_eq!(under_way.count(), 1);
        drop(first);
        assert_eq!(under_way.count(), 0);
        assert!(under_way.is_idle());
    }
}

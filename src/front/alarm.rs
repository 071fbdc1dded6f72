//! A deadline that is moved for nearly every read and fires for nearly none.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that is registered lazily: moving the deadline later costs nothing, since a timer that fires early looks
/// at the deadline and sleeps on.
#[derive(Debug)]
pub(super) struct Alarm {
    sleep: Pin<Box<Sleep>>,
    at: Option<Instant>,
}

impl Alarm {
    pub fn new() -> Self {
        Self { sleep: Box::pin(sleep_until(Instant::now())), at: None }
    }

    pub const fn is_set(&self) -> bool {
        self.at.is_some()
    }

    pub const fn set(&mut self, at: Instant) {
        self.at = Some(at);
    }

    pub const fn clear(&mut self) {
        self.at = None;
    }

    /// Whether the deadline is past; if not, the task is woken when it is.
    pub fn is_past(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(at) = self.at else { return false };
        if self.sleep.deadline() > at {
            self.sleep.as_mut().reset(at);
        }
        while self.sleep.as_mut().poll(cx) == Poll::Ready(()) {
            if Instant::now() >= at {
                return true;
            }
            self.sleep.as_mut().reset(at);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_fires_at_the_last_deadline_that_was_set() {
        let mut alarm = Alarm::new();
        let start = Instant::now();
        assert!(!poll_fn(|cx| Poll::Ready(alarm.is_past(cx))).await, "not set");
        for millis in [50, 20, 80] {
            alarm.set(start + Duration::from_millis(millis));
            assert!(!poll_fn(|cx| Poll::Ready(alarm.is_past(cx))).await);
        }
        poll_fn(|cx| if alarm.is_past(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
        assert_eq!(start.elapsed().as_millis(), 80);
        alarm.clear();
        assert!(!poll_fn(|cx| Poll::Ready(alarm.is_past(cx))).await);
    }
}

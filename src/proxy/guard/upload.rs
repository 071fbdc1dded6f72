//! The time for a body that Pingora streams over HTTP/2, which it reads without any deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::domain::Downstream;

/// Cuts the connection when a streamed upload pauses or lasts too long. For HTTP/1 the front door does the same by
/// itself. Dropping it ends the watch.
#[derive(Debug)]
pub struct UploadWatch {
    started: Instant,
    moved_ms: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl UploadWatch {
    /// `idle` is the longest pause, `total` the longest time for the whole body.
    pub fn start(downstream: Arc<dyn Downstream>, idle: Duration, total: Duration) -> Self {
        let (started, moved_ms) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let moved = Arc::clone(&moved_ms);
        let task = tokio::spawn(async move {
            loop {
                let silent = started + Duration::from_millis(moved.load(Ordering::Relaxed)) + idle;
                let due = silent.min(started + total);
                if Instant::now() >= due {
                    return downstream.cut();
                }
                sleep_until(due).await;
            }
        });
        Self { started, moved_ms, task }
    }

    /// Call for every part of the body that arrives.
    pub fn moved(&self) {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved_ms.store(elapsed, Ordering::Relaxed);
    }
}

impl Drop for UploadWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use tokio::sync::Notify;
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::domain::{Connection, Timestamp};

    #[derive(Debug, Default)]
    struct Cuttable(Notify);

    impl Downstream for Cuttable {
        fn facts(&self, _: Timestamp) -> Arc<Connection> {
            unreachable!()
        }
        fn begin(&self) -> bool {
            true
        }
        fn finish(&self) {}
        fn upgraded(&self) {}
        fn cut(&self) {
            self.0.notify_one();
        }
        fn blocked(&self, _: IpAddr, _: Timestamp) -> Option<Duration> {
            None
        }
        fn failed(&self, _: IpAddr, _: Timestamp) {}
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_and_a_drip_are_cut_and_a_finished_upload_is_not() {
        let (idle, total) = (Duration::from_secs(1), Duration::from_secs(3));
        let connection = Arc::new(Cuttable::default());
        let start = || UploadWatch::start(Arc::clone(&connection) as Arc<dyn Downstream>, idle, total);
        let began = Instant::now();
        let watch = start();
        connection.0.notified().await;
        assert_eq!(began.elapsed(), idle, "a pause");
        drop(watch);

        let (began, watch) = (Instant::now(), start());
        while timeout(Duration::from_millis(600), connection.0.notified()).await.is_err() {
            watch.moved();
        }
        assert_eq!(began.elapsed(), total, "a drip");

        drop(start());
        sleep(total).await;
        assert!(timeout(idle, connection.0.notified()).await.is_err(), "a finished upload");
    }
}

//! A request body as the service sees it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::{mpsc, oneshot};

/// The body did not arrive whole. The bridge answers for it; the service only has to stop.
#[derive(Debug, thiserror::Error)]
#[error("the request body broke off")]
pub(super) struct BrokenOff;

/// Parts of a body as they arrive, one at a time.
pub(super) struct Incoming {
    parts: mpsc::Receiver<Bytes>,
    /// Said when the service first asks for the body.
    wanted: Option<oneshot::Sender<()>>,
    /// Filled when the body has arrived whole.
    whole: oneshot::Receiver<()>,
    bytes_left: Option<u64>,
    ended: bool,
}

impl Incoming {
    pub fn new(
        parts: mpsc::Receiver<Bytes>,
        wanted: oneshot::Sender<()>,
        whole: oneshot::Receiver<()>,
        length: Option<u64>,
    ) -> Self {
        Self { parts, wanted: Some(wanted), whole, bytes_left: length, ended: false }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if let Some(wanted) = self.wanted.take() {
            let _ = wanted.send(());
        }
        if self.ended {
            return Poll::Ready(None);
        }
        match self.parts.poll_recv(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(bytes)) => {
                self.bytes_left = self.bytes_left.map(|left| left.saturating_sub(bytes.len() as u64));
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Poll::Ready(None) => {
                self.ended = true;
                // A body that merely stopped must not pass for a short one.
                Poll::Ready(self.whole.try_recv().is_err().then_some(Err(BrokenOff)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.bytes_left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

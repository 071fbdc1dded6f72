//! Accepts the requests of one HTTP/2 connection.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Context;

use bytes::Bytes;
use h2::server::{Builder, Connection};
use pingora_core::protocols::Digest;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::exchange::Http2Exchange;

/// Accepts requests until the connection ends, and hands each to `serve`, which must not block; `digest` says what is
/// known of the connection. Once `draining` says so, the client is told to ask for nothing more here (RFC 9113 §6.8), and
/// what it has asked for is still accepted.
pub async fn accept_http2(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    digest: Arc<Digest>,
    options: &Builder,
    draining: &watch::Receiver<bool>,
    mut serve: impl FnMut(Http2Exchange),
) {
    let Ok(mut connection): Result<Connection<_, Bytes>, _> = options.handshake(stream).await else { return };
    let mut draining = draining.clone();
    let mut drained = pin!(async move { drop(draining.wait_for(|draining| *draining).await) });
    let mut told = false;
    let mut next = |cx: &mut Context<'_>| {
        if !told && drained.as_mut().poll(cx).is_ready() {
            told = true;
            connection.graceful_shutdown();
        }
        connection.poll_accept(cx)
    };
    // Errors are the end of the connection, and no news: clients leave as they like.
    while let Some(Ok((request, respond))) = poll_fn(&mut next).await {
        serve(Http2Exchange::new(request, respond, Arc::clone(&digest)));
    }
}

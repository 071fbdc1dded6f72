//! Who serves what is asked on a connection: we ourselves, or Pingora's proxy?
//!
//! Over HTTP/2 we answer everything but what is streamed, and over HTTP/1.1 what has no body and asks for no other protocol:
//! there is nothing to be carried both ways at once, which is what Pingora's machinery is for. Everything else is
//! Pingora's. What happens to a request is the same either way: [`Gateway`] says it.

use std::sync::Arc;

use async_trait::async_trait;
use h2::server::Builder;
use pingora_core::apps::{HttpServerApp, HttpServerOptions, ServerApp};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::HttpProxy;
use tokio::io::AsyncWriteExt;

use super::caller::Caller;
use super::gateway::{Answer, Gateway, Parts};
use super::phases::{Phases, with_admitted};
use crate::front::{Asked, Exchange, GuardedStream, Http2Exchange, accept_http2, http2_options};

/// Serves connections of the front door.
pub struct Connections {
    gateway: Arc<Gateway>,
    proxy: Arc<HttpProxy<Phases>>,
    http2: Builder,
}

impl Connections {
    pub fn new(parts: Parts, conf: ServerConf) -> Self {
        let http2 = http2_options(&parts.limits);
        let gateway = Arc::new(Gateway::new(parts));
        let mut proxy = HttpProxy::new(Phases(Arc::clone(&gateway)), Arc::new(conf));
        // CONNECT gets as far as the guard, which refuses it as everything else is refused: with a problem document and
        // a record.
        let mut options = HttpServerOptions::default();
        options.allow_connect_method_proxying = true;
        proxy.server_options = Some(options);
        proxy.handle_init_modules();
        Self { gateway, proxy: Arc::new(proxy), http2 }
    }

    /// Serves HTTP/1 until its connection ends.
    async fn serve_http1(&self, mut stream: Box<GuardedStream>, draining: &ShutdownWatch) {
        loop {
            match stream.next().await {
                Ok(Asked::Plain(request)) => {
                    let mut caller = Caller::Plain(Exchange::new(&mut stream, request, draining));
                    // What has no body is never streamed; if it were, to close without an answer is safe.
                    let reusable = matches!(self.gateway.answer(&mut caller).await, Answer::Given { reusable: true });
                    let persists = caller.persists();
                    match (reusable, persists) {
                        (true, true) => {}
                        (true, false) => return drop(stream.shutdown().await),
                        (false, _) => return, // Half an answer, or none: it must not look whole.
                    }
                }
                Ok(Asked::Other) => {
                    let mut session = ServerSession::new_http1(stream);
                    session.set_keepalive(Some(0)); // The stream keeps the time.
                    let reused = self.proxy.process_new_http(session, draining).await;
                    match reused.and_then(|reused| guarded(reused.consume().0)) {
                        Some(next) => stream = next,
                        None => return,
                    }
                }
                Ok(Asked::Nothing) | Err(_) => return,
            }
        }
    }

    /// Serves HTTP/2 until its connection ends: each request on a task of its own.
    async fn serve_http2(self: &Arc<Self>, stream: Box<GuardedStream>, draining: &ShutdownWatch) {
        let connection = Arc::new((Arc::clone(self), draining.clone()));
        let serve = |exchange| {
            let connection = Arc::clone(&connection);
            // In a box: the runtime moves what it is given several times.
            tokio::spawn(Box::pin(async move {
                let (connections, draining) = &*connection;
                connections.answer(exchange, draining).await;
            }));
        };
        let digest = Arc::new(stream.digest());
        accept_http2(stream, digest, &self.http2, draining, serve).await;
    }

    async fn answer(&self, mut exchange: Http2Exchange, draining: &ShutdownWatch) {
        match self.gateway.answer(&mut Caller::Http2(&mut exchange)).await {
            Answer::Given { reusable: true } => drop(exchange.end()),
            Answer::Given { reusable: false } => {} // Half an answer ends with a reset: it must not look whole.
            Answer::ToStream(ctx) => {
                let proxying = self.proxy.process_new_http(exchange.into_session(), draining);
                with_admitted(ctx, proxying).await;
            }
        }
    }
}

/// The front door makes no other streams.
fn guarded(stream: Stream) -> Option<Box<GuardedStream>> {
    stream.into_any().downcast().ok()
}

#[async_trait]
impl ServerApp for Connections {
    async fn process_new(self: &Arc<Self>, stream: Stream, draining: &ShutdownWatch) -> Option<Stream> {
        let stream = guarded(stream)?;
        if stream.is_http2() {
            self.serve_http2(stream, draining).await;
        } else {
            self.serve_http1(stream, draining).await;
        }
        None
    }
}

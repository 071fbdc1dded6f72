//! Who serves what is asked on a connection: we ourselves, or Pingora's proxy?
//!
//! We answer everything but what is streamed, which is carried both ways at once: that is what Pingora's machinery is for.
//! Its own are also the requests of HTTP/1 that come in chunks, ask for another protocol or are not of version 1.1. What
//! happens to a request is the same either way: [`Gateway`] says it.

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
                    let answer = self.gateway.answer(&mut caller).await;
                    match (answer, caller.persists()) {
                        (Answer::Given { reusable: true }, true) => {}
                        (Answer::Given { reusable: true }, false) => return drop(stream.shutdown().await),
                        // Half an answer, or none: it must not look whole.
                        (Answer::Given { reusable: false }, _) => return,
                        (Answer::ToStream(mut ctx), _) => {
                            ctx.cleaned = caller.into_request();
                            if !stream.take_back() {
                                return; // To close without an answer is safe.
                            }
                            match with_admitted(ctx, self.proxy_http1(stream, draining)).await {
                                Some(next) => stream = next,
                                None => return,
                            }
                        }
                    }
                }
                Ok(Asked::Other) => match self.proxy_http1(stream, draining).await {
                    Some(next) => stream = next,
                    None => return,
                },
                Ok(Asked::Nothing) | Err(_) => return,
            }
        }
    }

    /// Has Pingora serve one request; the stream comes back if another may follow.
    async fn proxy_http1(&self, stream: Box<GuardedStream>, draining: &ShutdownWatch) -> Option<Box<GuardedStream>> {
        let mut session = ServerSession::new_http1(stream);
        session.set_keepalive(Some(0)); // The stream keeps the time.
        let reused = self.proxy.process_new_http(session, draining).await?;
        guarded(reused.consume().0)
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

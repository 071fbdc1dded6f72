//! Who serves what is asked on a connection: we ourselves, or Pingora's proxy?
//!
//! A request without a body that asks for no other protocol is answered here, past Pingora's proxy, and over HTTP/1.1 past
//! all of Pingora: there is nothing to be carried both ways at once, which is what its machinery is for. Everything else
//! is Pingora's. What happens to a request is the same either way: [`Gateway`] says it.

use std::sync::Arc;

use async_trait::async_trait;
use http::header::CONTENT_LENGTH;
use pingora_core::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::H2Options;
use pingora_core::server::ShutdownWatch;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::HttpProxy;
use tokio::io::AsyncWriteExt;

use super::caller::Caller;
use super::gateway::{Gateway, Parts};
use super::phases::Phases;
use crate::front::{Asked, Exchange, GuardedStream, h2_options, server_options};

/// Serves connections of the front door.
pub struct Connections(Arc<Messages>);

/// Serves the messages that Pingora's server read.
struct Messages {
    gateway: Arc<Gateway>,
    proxy: Arc<HttpProxy<Phases>>,
}

impl Connections {
    pub fn new(parts: Parts, conf: ServerConf) -> Self {
        let h2_options = h2_options(&parts.limits);
        let gateway = Arc::new(Gateway::new(parts));
        let mut proxy = HttpProxy::new(Phases(Arc::clone(&gateway)), Arc::new(conf));
        proxy.server_options = Some(server_options());
        proxy.h2_options = Some(h2_options);
        proxy.handle_init_modules();
        Self(Arc::new(Messages { gateway, proxy: Arc::new(proxy) }))
    }

    /// Serves HTTP/1 until its connection ends.
    async fn serve(&self, mut stream: Box<GuardedStream>, draining: &ShutdownWatch) {
        let Messages { gateway, proxy } = &*self.0;
        loop {
            match stream.next().await {
                Ok(Asked::Plain(request)) => {
                    let mut caller = Caller::Plain(Exchange::new(&mut stream, request, draining));
                    let reusable = gateway.answer(&mut caller).await;
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
                    let reused = proxy.process_new_http(session, draining).await;
                    match reused.and_then(|reused| guarded(reused.consume().0)) {
                        Some(next) => stream = next,
                        None => return,
                    }
                }
                Ok(Asked::Nothing) | Err(_) => return,
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
            return self.0.process_new(stream, draining).await;
        }
        self.serve(stream, draining).await;
        None
    }
}

#[async_trait]
impl HttpServerApp for Messages {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        draining: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        // RFC 9113 §8.1.1: a length of zero is a claim until the stream has ended.
        if !session.is_body_empty() || session.req_header().headers.contains_key(CONTENT_LENGTH) {
            return self.proxy.process_new_http(session, draining).await;
        }
        if self.gateway.answer(&mut Caller::Session(&mut session)).await {
            drop(session.finish().await);
        }
        None
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.proxy.server_options()
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.proxy.h2_options()
    }
}

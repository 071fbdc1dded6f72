//! Pingora's phases, for what is streamed and what is not plain over HTTP/1: thin, what happens when.

use std::cell::Cell;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::TRANSFER_ENCODING;
use http::{HeaderMap, StatusCode, Version};
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};

use super::answer::dress;
use super::caller::Caller;
use super::context::{Refusal, RequestContext};
use super::failure::Fault;
use super::gateway::{Carried, Gateway, Told, end};
use super::streaming::{self, as_error};

/// What Pingora asks in its phases.
pub(super) struct Phases(pub Arc<Gateway>);

tokio::task_local! {
    /// A request that was admitted before Pingora saw it, on its way into the phases: they make their contexts from nothing.
    static ADMITTED: Cell<Option<Box<RequestContext>>>;
}

/// Lets Pingora's proxy carry what was admitted already.
pub(super) async fn with_admitted<T>(mut ctx: Box<RequestContext>, proxying: impl Future<Output = T>) -> T {
    ctx.carried = true;
    ADMITTED.scope(Cell::new(Some(ctx)), proxying).await
}

/// Keeps the cause for the one way out, and tells Pingora that there is one.
fn refuse<T>(ctx: &mut RequestContext, refusal: Refusal) -> Result<T> {
    let error = match &refusal {
        Refusal::Failed(fault) => as_error(fault),
        Refusal::Rejected(_) | Refusal::Said(_) => as_error(&Fault::Internal("refused")),
    };
    ctx.refusal = Some(refusal);
    Err(error)
}

/// Why the last attempt failed is why the request does.
fn give_up(ctx: &mut RequestContext) {
    ctx.refusal = ctx.forward.as_mut().and_then(|forward| forward.fault.take()).map(Refusal::Failed);
}

#[async_trait]
impl ProxyHttp for Phases {
    type CTX = Box<RequestContext>;

    fn new_ctx(&self) -> Self::CTX {
        ADMITTED.try_with(Cell::take).ok().flatten().unwrap_or_else(|| self.0.begin())
    }

    fn init_downstream_modules(&self, _: &mut HttpModules) {} // Nothing rewrites an answer behind our back.

    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<()> {
        if ctx.carried {
            if let Some(cleaned) = ctx.cleaned.take() {
                *session.req_header_mut() = *cleaned;
            }
            return Ok(());
        }
        let opened = self.0.open(&mut Caller::Session(session.as_downstream_mut()), ctx);
        opened.or_else(|refusal| refuse(ctx, refusal))
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<bool> {
        if ctx.carried {
            return Ok(false);
        }
        match self.0.carry(&mut Caller::Session(session.as_downstream_mut()), ctx).await {
            Ok(Carried::Answered) => Ok(true),
            Ok(Carried::Admitted) => {
                ctx.carried = true;
                Ok(false) // On to `upstream_peer`.
            }
            Err(refusal) => refuse(ctx, refusal),
        }
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<Box<HttpPeer>> {
        streaming::peer(session, ctx).await.map(Box::new).or_else(|fault| refuse(ctx, fault.into()))
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _: &HttpPeer,
        ctx: &mut Self::CTX,
        mut error: Box<Error>,
    ) -> Box<Error> {
        error.set_retry(false);
        if streaming::not_connected(session, ctx, &error) {
            error.set_retry(true);
        } else {
            give_up(ctx);
        }
        error
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        _: bool,
        _: &HttpPeer,
        descriptor: RawFd,
        _: Option<&Digest>,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        streaming::connected(&self.0.fuses, descriptor, ctx).or_else(|fault| refuse(ctx, fault.into()))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        streaming::prepare(session, request, ctx).or_else(|fault| refuse(ctx, fault.into()))
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        self.0.check_tunnel(ctx).or_else(|refusal| refuse(ctx, refusal))?;
        streaming::request_chunk(body, end_of_stream, ctx).map_err(|fault| as_error(&fault))
    }

    async fn upstream_response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        streaming::response_header(response, ctx).await.map_err(|fault| as_error(&fault))
    }

    fn upstream_response_body_filter(
        &self,
        _: &mut Session,
        _: &mut Option<Bytes>,
        _: bool,
        ctx: &mut Self::CTX,
    ) -> Result<Option<Duration>> {
        self.0.check_tunnel(ctx).or_else(|refusal| refuse(ctx, refusal))?;
        streaming::response_chunk(ctx).map(|()| None).map_err(|fault| as_error(&fault))
    }

    fn upstream_response_trailer_filter(
        &self,
        _: &mut Session,
        trailers: &mut HeaderMap,
        _: &mut Self::CTX,
    ) -> Result<()> {
        trailers.clear(); // RFC 9110 §6.5.1: none is known to be safe, so none passes.
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        if response.status == StatusCode::SWITCHING_PROTOCOLS {
            if let Some(in_work) = &ctx.in_work {
                in_work.downstream().upgraded();
            }
            return Ok(());
        }
        if response.status.is_informational() {
            if response.status == StatusCode::CONTINUE || session.req_header().version == Version::HTTP_10 {
                // The expectation was answered here (RFC 9110 §10.1.1): a second 100 would answer nothing. And HTTP/1.0
                // knows no interim answers (§15.2).
                session.as_downstream_mut().set_ignore_info_resp(true);
            }
            return Ok(());
        }
        if session.req_header().version == Version::HTTP_10 && response.headers.contains_key(TRANSFER_ENCODING) {
            response.remove_header(&TRANSFER_ENCODING); // RFC 9112 §6.1: the end of the connection is that of the body.
            session.set_keepalive(None);
        }
        let path = session.req_header().uri.path().to_owned();
        dress(response, ctx, &path)
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        ctx: &mut Self::CTX,
        client_reused: bool,
    ) -> Box<Error> {
        let again = streaming::broke(session, ctx, &error, client_reused);
        error.set_retry(again);
        if !again {
            give_up(ctx);
        }
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Self::CTX) -> FailToProxy {
        if ctx.refusal.is_none() {
            ctx.refusal = Some(Refusal::Failed(Fault::from_proxying(error)));
        }
        let Told { status, reusable } = self.0.tell(&mut Caller::Session(session.as_downstream_mut()), ctx).await;
        FailToProxy { error_code: status, can_reuse_downstream: reusable }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Self::CTX) {
        end(&Caller::Session(session.as_downstream_mut()), ctx, error.is_some());
    }

    // The record says it all, with less of the caller's in it.
    fn suppress_error_log(&self, _: &Session, _: &Self::CTX, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(&self, _: &Session, _: &Self::CTX, _: &Error, _: ProxyWarnLogContext) -> bool {
        true
    }

    fn request_summary(&self, _: &Session, ctx: &Self::CTX) -> String {
        ctx.interaction.to_string() // Pingora would write path and query.
    }
}

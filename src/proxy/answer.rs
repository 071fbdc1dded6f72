//! What every answer carries, and how a problem document is written.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use pingora_core::{ErrorType, OrErr, Result};
use pingora_http::ResponseHeader;

use super::bridge::discard_body;
use super::caller::Caller;
use super::context::{Refusal, RequestContext};
use super::headers::{INTERACTION_ID, relocate, relocate_links};
use super::spelling;
use crate::domain::push_number;
use crate::problem::Problem;

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000; includeSubDomains");
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
/// What is read of the body of a refused request, so that the caller hears the refusal and keeps its connection.
const UNREAD_BYTES_MAX: usize = 64 * 1024;
const UNREAD_PATIENCE: Duration = Duration::from_millis(250);
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Writes our own fields on the answer of a back end, whose hop-by-hop and internal fields are gone already.
pub(super) fn dress(header: &mut ResponseHeader, ctx: &RequestContext, path: &str) -> Result<()> {
    spelling::change_response(header, |fields| {
        if let Some(forward) = &ctx.forward
            && let Some(authority) = &forward.authority
        {
            tell_places(fields, authority, (path, forward.target.path()))?;
        }
        if let Some(admitted) = &ctx.admitted {
            set_all(fields, admitted.permit.obligations.headers())?;
        }
        set(fields, SERVER_TIMING, fleeting(timing(ctx)))?;
        dress_any(fields, ctx)
    })
}

/// Places at the back end, told as the gateway's own.
fn tell_places(fields: &mut HeaderMap, authority: &HeaderValue, paths: (&str, &str)) -> Result<()> {
    for name in [header::LOCATION, header::CONTENT_LOCATION] {
        if let Some(place) = fields.get(&name).and_then(|place| relocate(place, authority, paths)) {
            set(fields, name, place)?;
        }
    }
    if let http::header::Entry::Occupied(mut links) = fields.entry(header::LINK) {
        for link in links.iter_mut() {
            if let Some(told) = relocate_links(link, authority, paths) {
                *link = told;
            }
        }
    }
    Ok(())
}

/// What answers of ours and of back ends have in common.
fn dress_any(fields: &mut HeaderMap, ctx: &RequestContext) -> Result<()> {
    if let Some(limits) = ctx.admitted.as_ref().and_then(|admitted| admitted.spent.fields.as_ref()) {
        set(fields, RATELIMIT_POLICY, limits.policy.clone())?;
        set(fields, RATELIMIT, fleeting(limits.limit.clone()))?;
    }
    if let Some(nonce) = ctx.admitted.as_ref().and_then(|admitted| admitted.caller.fresh_nonce.as_ref()) {
        set(fields, crate::authn::dpop::DPOP_NONCE, nonce.clone())?;
        set(fields, header::CACHE_CONTROL, NO_STORE)?; // RFC 9449 §8.2: nobody else's.
    }
    if !fields.contains_key(header::CACHE_CONTROL) {
        set(fields, header::CACHE_CONTROL, NO_STORE)?; // RFC 9111 §5.2: personal data unless said otherwise.
    }
    if ctx.is_secure() {
        set(fields, header::STRICT_TRANSPORT_SECURITY, HSTS)?; // RFC 6797 §7.2: over TLS only.
    }
    set(fields, header::X_CONTENT_TYPE_OPTIONS, NOSNIFF)?;
    set(fields, INTERACTION_ID, fleeting(ctx.interaction_value.clone()))
}

/// A value that no other answer has: HTTP/2 is told to keep none such for later ones (RFC 7541 §6.2.3). Its table would be
/// full of them, and empty of those that come again.
fn fleeting(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

fn set(fields: &mut HeaderMap, name: HeaderName, value: HeaderValue) -> Result<()> {
    fields
        .try_insert(name, value)
        .map(drop)
        .or_err(ErrorType::InvalidHTTPHeader, "there is no room for a field of ours")
}

/// Whether the connection can take another request: its body is read, or was so small that it could be.
async fn can_go_on(caller: &mut Caller<'_>, ctx: &RequestContext) -> bool {
    match &ctx.refusal {
        // What waits for `100 Continue` sends nothing; a refusal of the guard leaves the framing in doubt.
        Some(Refusal::Rejected(_)) if !ctx.expects_continue => {
            discard_body(caller, UNREAD_BYTES_MAX, UNREAD_PATIENCE).await
        }
        _ => caller.is_body_done(),
    }
}

/// Fields that displace those of the same names; a name may occur more than once among them.
fn set_all(fields: &mut HeaderMap, own: &[(HeaderName, HeaderValue)]) -> Result<()> {
    for (name, _) in own {
        fields.remove(name);
    }
    own.iter().try_for_each(|(name, value)| {
        let added = fields.try_append(name.clone(), value.clone()).map(drop);
        added.or_err(ErrorType::InvalidHTTPHeader, "there is no room for a field of ours")
    })
}

/// How long we took, and how long the back end: `gateway;dur=0.4, upstream;dur=12.1` in milliseconds.
fn timing(ctx: &RequestContext) -> HeaderValue {
    let total = ctx.arrived.elapsed();
    let waited = ctx.forward.as_ref().and_then(|forward| forward.waited);
    let own = total.saturating_sub(waited.unwrap_or_default());
    let mut text = Vec::with_capacity(48);
    text.extend_from_slice(b"gateway;dur=");
    push_millis(&mut text, own);
    if let Some(waited) = waited {
        text.extend_from_slice(b", upstream;dur=");
        push_millis(&mut text, waited);
    }
    HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or_else(|_| HeaderValue::from_static("gateway"))
}

/// Milliseconds with two decimals, rounded down.
fn push_millis(text: &mut Vec<u8>, span: Duration) {
    let hundredths = u64::try_from(span.as_micros() / 10).unwrap_or(u64::MAX);
    push_number(text, hundredths / 100, 1);
    text.push(b'.');
    push_number(text, hundredths % 100, 2);
}

/// Writes a problem document. Answers whether the connection can take another request.
pub(super) async fn write_problem(
    caller: &mut Caller<'_>,
    ctx: &mut RequestContext,
    problem: &Problem,
    public_url: &str,
) -> Result<bool> {
    let body = problem.to_json(public_url, ctx.interaction);
    let mut header = ResponseHeader::build_no_case(problem.status(), Some(12))?;
    spelling::change_response(&mut header, |fields| {
        set(fields, header::CONTENT_TYPE, PROBLEM_JSON)?;
        set(fields, header::CACHE_CONTROL, NO_STORE)?;
        set(fields, header::CONTENT_LENGTH, body.len().into())?;
        dress_any(fields, ctx)?;
        set_all(fields, &problem.headers)
    })?;
    let reusable = !ctx.carried && can_go_on(caller, ctx).await;
    if !reusable {
        caller.close(); // RFC 9112 §9.6: this answer is the last one here, and says so.
    }
    let head = caller.request().method == Method::HEAD;
    caller.write_header(Box::new(header)).await?;
    if head {
        caller.end().await?;
    } else {
        caller.write_end(Bytes::from(body)).await?;
    }
    Ok(reusable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_have_two_decimals() {
        for (micros, expected) in [(0, "0.00"), (9, "0.00"), (10, "0.01"), (999, "0.99"), (1_234_567, "1234.56")] {
            let mut text = Vec::new();
            push_millis(&mut text, Duration::from_micros(micros));
            assert_eq!(String::from_utf8(text).unwrap(), expected, "{micros}");
        }
    }
}

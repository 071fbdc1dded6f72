//! Which fields cross the gateway? What is dropped, what is written fresh, in each direction.
//!
//! Invariants: a caller's credentials and claims of identity never reach a back end; hop-by-hop fields end here; what
//! a back end says of its own machinery (servers, cookies, limits, origins) never reaches a caller.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use pingora_http::{RequestHeader, ResponseHeader};

use super::context::RequestContext;
use super::failure::Fault;
use super::spelling;
use crate::domain::{ClientId, InstitutionId, TenantId, push_address};
use crate::signal::TraceContext;

/// Who forwards, in `Via` and `Forwarded` (RFC 9110 §7.6.3, RFC 7239 §5.1: an obfuscated identifier).
const VIA: HeaderValue = HeaderValue::from_static("1.1 clearway");
const BY: &[u8] = b"_clearway";

/// Fields of one hop (RFC 9110 §7.6.1), whatever `Connection` names.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "http2-settings"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
    )
}

/// What a caller says to the gateway, or pretends to be, and what is nobody's business behind it. The access token and
/// its proofs end here; cookies belong to the gateway's own pages; the rest are claims that only we may make.
fn request_field_ends_here(name: &str) -> bool {
    matches!(
        name,
        "authorization"
            | "baggage"
            | "client-cert"
            | "client-cert-chain"
            | "cookie"
            | "dpop"
            | "early-data"
            | "expect"
            | "forwarded"
            | "max-forwards"
            | "via"
            | "x-client-cert"
            | "x-forwarded-client-cert"
            | "x-forwarded-email"
            | "x-forwarded-for"
            | "x-forwarded-groups"
            | "x-forwarded-host"
            | "x-forwarded-port"
            | "x-forwarded-prefix"
            | "x-forwarded-proto"
            | "x-forwarded-user"
            | "x-http-method-override"
            | "x-method-override"
            | "x-original-url"
            | "x-real-ip"
            | "x-rewrite-url"
    )
}

/// Families of identity fields that other gateways and applications trust.
const REQUEST_PREFIXES: [&str; 6] =
    ["x-ssl-", "ssl-client-", "x-consumer-", "x-user-", "x-authenticated-", "x-clearway-"];

/// What a back end says that is not for callers: its machinery, its cookies on our host, its limits and origins.
fn answer_field_ends_here(name: &str) -> bool {
    matches!(
        name,
        "alt-svc"
            | "clear-site-data"
            | "dpop-nonce"
            | "nel"
            | "proxy-status"
            | "public-key-pins"
            | "ratelimit"
            | "ratelimit-policy"
            | "refresh"
            | "report-to"
            | "reporting-endpoints"
            | "server"
            | "server-timing"
            | "set-cookie"
            | "strict-transport-security"
            | "via"
            | "x-aspnet-version"
            | "x-aspnetmvc-version"
            | "x-backend-server"
            | "x-content-type-options"
            | "x-fapi-interaction-id"
            | "x-powered-by"
            | "x-runtime"
    )
}

const RESPONSE_PREFIXES: [&str; 2] = ["access-control-", "x-clearway-"];

/// Whether a name has a character. All of it is looked at, which for names is faster than to stop.
pub(super) fn has_byte(name: &str, byte: u8) -> bool {
    name.bytes().fold(false, |found, one| found | (one == byte))
}

/// What the request to a back end is made of, beside the caller's own fields and what only that back end is told.
#[derive(Debug)]
pub(super) struct Outbound<'a> {
    /// Names the calling client to this institution: [`pseudonym`].
    pub caller: &'a HeaderValue,
    /// From where it called, over what, under which host.
    pub client: IpAddr,
    pub secure: bool,
    pub host: &'a str,
    pub interaction: &'a HeaderValue,
    pub trace: Option<&'a TraceContext>,
    /// Set in the whole lane: what frames the request.
    pub whole: Option<Whole>,
    /// The answer will be read, so it must not be compressed.
    pub plain: bool,
    /// The route allows this request's WebSocket handshake.
    pub websocket: bool,
}

/// The body of a request in the whole lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whole {
    Absent,
    Bytes(usize),
}

/// Fields that we write, at most; room for them is made once.
const OURS_MAX: usize = 10;

impl<'a> Outbound<'a> {
    /// Of a request that is streamed; the whole lane sets `whole` and `plain`.
    pub fn of(request: &'a RequestHeader, ctx: &'a RequestContext) -> Result<Self, Fault> {
        let forward = ctx.forward()?;
        Ok(Self {
            caller: &forward.caller,
            client: ctx.source,
            secure: ctx.is_secure(),
            host: host(request).unwrap_or_default(),
            interaction: &ctx.interaction_value,
            trace: ctx.trace.as_ref(),
            whole: None,
            plain: false,
            websocket: forward.websocket,
        })
    }

    /// The caller's fields as they go on, with ours. They still have to be told a back end: [`address`].
    pub fn fields(&self, theirs: &HeaderMap) -> Result<HeaderMap, Fault> {
        let mut fields = crossing(theirs, self.websocket)?;
        let unset = |_| Fault::Internal("a field of ours cannot be set");
        let mut set = |name: HeaderName, value: HeaderValue| fields.try_insert(name, value).map(drop).map_err(unset);
        set(header::VIA, VIA)?;
        set(header::FORWARDED, self.forwarded()?)?;
        set(INTERACTION_ID, self.interaction.clone())?;
        set(CALLER, self.caller.clone())?;
        if let Some(trace) = self.trace {
            set(TRACEPARENT, trace.traceparent())?;
            if let Some(state) = trace.tracestate() {
                set(TRACESTATE, state.clone())?;
            }
        }
        if self.plain {
            set(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"))?;
        }
        match self.whole {
            None => {}
            Some(Whole::Bytes(length)) => set(header::CONTENT_LENGTH, HeaderValue::from(length))?,
            Some(Whole::Absent) => drop(fields.remove(header::CONTENT_LENGTH)),
        }
        Ok(fields)
    }

    /// RFC 7239 §4: one fresh element; what a caller claimed is not appended to.
    fn forwarded(&self) -> Result<HeaderValue, Fault> {
        let host = self.host.as_bytes();
        let mut text = Vec::with_capacity(96 + host.len());
        if self.client.is_ipv4() {
            text.extend_from_slice(b"for=");
            push_address(&mut text, self.client);
        } else {
            text.extend_from_slice(b"for=\"["); // §6: an IPv6 address is quoted and bracketed.
            push_address(&mut text, self.client);
            text.extend_from_slice(b"]\"");
        }
        if !host.is_empty() && !host.iter().any(|byte| matches!(byte, b'"' | b'\\')) {
            text.extend_from_slice(b";host=\"");
            text.extend_from_slice(host);
            text.push(b'"');
        }
        text.extend_from_slice(if self.secure { b";proto=https;by=" } else { b";proto=http;by=" });
        text.extend_from_slice(BY);
        HeaderValue::from_maybe_shared(Bytes::from(text)).map_err(|_| Fault::Internal("Forwarded cannot be written"))
    }
}

/// Tells the fields whom they go to, and as whom we call there.
pub(super) fn address(
    fields: &mut HeaderMap,
    authority: &HeaderValue,
    credential: Option<&(HeaderName, HeaderValue)>,
) -> Result<(), Fault> {
    let host = (header::HOST, authority.clone());
    std::iter::once(host).chain(credential.cloned()).try_for_each(|(name, value)| {
        fields.try_insert(name, value).map(drop).map_err(|_| Fault::Internal("a field of ours cannot be set"))
    })
}

/// The authority that the caller addressed.
pub(super) fn host(request: &RequestHeader) -> Option<&str> {
    let named = request.uri.authority().map(http::uri::Authority::as_str);
    named.or_else(|| request.headers.get(header::HOST)?.to_str().ok())
}

/// What tells an institution one calling client from another, so that it can keep their idempotency keys apart.
const CALLER: HeaderName = HeaderName::from_static("x-clearway-caller");

/// The client's name towards one institution: always the same there, another at each, and of no use to whoever does
/// not know the client's ids already.
pub(super) fn pseudonym(
    institution: &InstitutionId,
    tenant: &TenantId,
    client: &ClientId,
) -> Result<HeaderValue, Fault> {
    // Ids have no control characters, so the parts cannot be shifted.
    let digest = crate::jose::sha256(&[institution.as_str(), tenant.as_str(), client.as_str()].join("\0").into_bytes());
    let (first, _) = digest.split_at_checked(16).ok_or(Fault::Internal("a digest is too short"))?;
    HeaderValue::try_from(URL_SAFE_NO_PAD.encode(first)).map_err(|_| Fault::Internal("the caller cannot be named"))
}

pub(super) const INTERACTION_ID: HeaderName = HeaderName::from_static("x-fapi-interaction-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The caller's fields without those that end here, with room for ours. `Transfer-Encoding` crosses: Pingora frames a
/// streamed body by it.
fn crossing(theirs: &HeaderMap, websocket: bool) -> Result<HeaderMap, Fault> {
    let nominated = nominated(theirs);
    let ends_here = |name: &str| {
        let hop = is_hop_by_hop(name) || nominated.iter().any(|n| n == name) || name == "upgrade";
        // A handshake that the route allows keeps the two fields that make it one; Pingora has normalised them.
        let handshake = websocket && matches!(name, "connection" | "upgrade");
        (hop && !handshake)
            || has_byte(name, b'_') // `X_Forwarded_For` and its like become the real field in CGI-like back ends.
            || request_field_ends_here(name)
            || REQUEST_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            || name == "traceparent"
            || name == "tracestate"
    };
    let too_many = |_| Fault::Internal("there are too many fields");
    let mut fields = HeaderMap::try_with_capacity(theirs.len() + OURS_MAX).map_err(too_many)?;
    for (name, value) in theirs {
        if *name == header::TRANSFER_ENCODING || !ends_here(name.as_str()) {
            fields.try_append(name.clone(), value.clone()).map_err(too_many)?;
        }
    }
    Ok(fields)
}

fn remove_all(fields: &mut HeaderMap, gone: impl Fn(&HeaderName) -> bool) {
    let gone: Vec<_> = fields.keys().filter(|name| gone(name)).cloned().collect();
    for name in &gone {
        fields.remove(name);
    }
}

/// Names that `Connection` nominates as belonging to this hop.
fn nominated(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let names = values.flat_map(|value| value.split(',')).map(|name| name.trim().to_ascii_lowercase());
    // A nomination cannot remove what frames or addresses the message.
    names
        .filter(|name| !name.is_empty() && !matches!(name.as_str(), "host" | "content-length" | "content-type"))
        .collect()
}

/// Removes from an answer what ends here. `upgrading`: it is the 101 of a handshake that the route allows.
pub(super) fn strip_response(response: &mut ResponseHeader, upgrading: bool) {
    let bodiless = response.status.is_informational() || response.status == StatusCode::NO_CONTENT;
    spelling::change_response(response, |fields| {
        strip_answer(fields, upgrading);
        if bodiless {
            fields.remove(header::CONTENT_LENGTH); // RFC 9110 §8.6: these say none.
        }
    });
}

fn strip_answer(fields: &mut HeaderMap, upgrading: bool) {
    let nominated = nominated(fields);
    let ends_here = |name: &str| {
        let hop = is_hop_by_hop(name) || nominated.iter().any(|n| n == name) || name == "upgrade";
        let handshake = upgrading && matches!(name, "connection" | "upgrade");
        (hop && !handshake)
            || answer_field_ends_here(name)
            || RESPONSE_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            || has_byte(name, b'"') // No token (RFC 9110 §5.6.2), but the HTTP/2 library takes it.
    };
    remove_all(fields, |name| ends_here(name.as_str()));
}

/// Fields that describe the bytes of a body, and are wrong once it is rewritten.
pub(super) fn strip_representation(response: &mut ResponseHeader) {
    for name in [
        "content-length",
        "etag",
        "digest",
        "content-digest",
        "repr-digest",
        "content-md5",
        "accept-ranges",
        "last-modified",
        "x-jws-signature",
        "signature",
        "signature-input",
    ] {
        response.remove_header(name);
    }
}

/// Where an answer points: an absolute URL at the back end becomes a path at the gateway, so that no internal host
/// leaks and the link works. `paths` are the request's path at the gateway and at the back end.
pub(super) fn relocate(location: &HeaderValue, authority: &HeaderValue, paths: (&str, &str)) -> Option<HeaderValue> {
    let text = location.to_str().ok()?;
    let path = match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http") => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (host, path) = rest.split_at_checked(end)?;
            if !host.eq_ignore_ascii_case(authority.to_str().ok()?) {
                return None;
            }
            path
        }
        _ if text.starts_with('/') && !text.starts_with("//") => text,
        _ => return None,
    };
    let (outside, inside) = base_paths(paths.0, paths.1);
    let tail = path.strip_prefix(inside).filter(|tail| tail.is_empty() || tail.starts_with(['/', '?', '#']));
    let place = match tail {
        Some(tail) => format!("{outside}{tail}"),
        None => path.to_owned(),
    };
    // One slash: two would begin the name of another host (RFC 3986 §4.2).
    HeaderValue::from_str(&format!("/{}", place.trim_start_matches(['/', '\\']))).ok()
}

/// The targets of a `Link` field (RFC 8288 §3), told as [`relocate`] tells places.
pub(super) fn relocate_links(links: &HeaderValue, authority: &HeaderValue, paths: (&str, &str)) -> Option<HeaderValue> {
    let (mut told, mut rest) = (String::new(), links.to_str().ok()?);
    while let Some((before, after)) = rest.split_once('<') {
        let (target, after) = after.split_once('>')?;
        let place = HeaderValue::from_str(target).ok().and_then(|target| relocate(&target, authority, paths));
        let place = place.as_ref().and_then(|place| place.to_str().ok()).unwrap_or(target);
        told.extend([before, "<", place, ">"]);
        rest = after;
    }
    told.push_str(rest);
    HeaderValue::from_str(&told).ok()
}

/// What precedes the segments that both paths end with: the base path at the gateway and at the back end.
fn base_paths<'p>(outside: &'p str, inside: &'p str) -> (&'p str, &'p str) {
    let (mut a, mut b) = (outside, inside);
    while let (Some((left, x)), Some((right, y))) = (a.rsplit_once('/'), b.rsplit_once('/'))
        && x == y
    {
        (a, b) = (left, right);
    }
    (a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/gateway/accounts?x=%2F", None).unwrap();
        for (name, value) in fields {
            request.append_header(*name, *value).unwrap();
        }
        request
    }

    type Credential = (HeaderName, HeaderValue);

    fn addressed(
        fields: &[(&'static str, &str)],
        credential: Option<&Credential>,
        change: impl FnOnce(&mut Outbound<'_>),
    ) -> HeaderMap {
        let (authority, interaction) = (HeaderValue::from_static("bank.internal:9443"), HeaderValue::from_static("id"));
        let caller = HeaderValue::from_static("somebody");
        let mut outbound = Outbound {
            caller: &caller,
            client: "192.0.2.1".parse().unwrap(),
            secure: true,
            host: "api.example",
            interaction: &interaction,
            trace: None,
            whole: None,
            plain: false,
            websocket: false,
        };
        change(&mut outbound);
        let mut fields = outbound.fields(&request(fields).headers).unwrap();
        address(&mut fields, &authority, credential).unwrap();
        fields
    }

    fn prepared(fields: &[(&'static str, &str)], change: impl FnOnce(&mut Outbound<'_>)) -> HeaderMap {
        addressed(fields, None, change)
    }

    #[test]
    fn a_client_has_one_name_at_each_institution_and_no_two_share_it() {
        let name = |institution: &str, tenant: &str, client: &str| {
            let institution = InstitutionId::parse(institution).unwrap();
            pseudonym(&institution, &TenantId::parse(tenant).unwrap(), &ClientId::parse(client).unwrap()).unwrap()
        };
        let own = name("bank", "acme", "app");
        assert_eq!(own, name("bank", "acme", "app"));
        assert_eq!(own.len(), 22, "{own:?}");
        for other in [
            name("insurer", "acme", "app"),
            name("bank", "acme", "app2"),
            name("bank", "acme2", "app"),
            name("bank", "acm", "eapp"),
        ] {
            assert_ne!(own, other);
        }
    }

    #[test]
    fn no_claim_or_credential_of_a_caller_reaches_a_back_end() {
        let fields = [
            ("authorization", "Bearer t"),
            ("dpop", "p"),
            ("cookie", "session=1"),
            ("x-forwarded-for", "10.0.0.1"),
            ("forwarded", "for=10.0.0.1"),
            ("via", "1.0 evil"),
            ("client-cert", ":AA==:"),
            ("x_client_cert", "AA"),
            ("x-ssl-client-dn", "CN=bank"),
            ("x-consumer-id", "1"),
            ("x-clearway-caller", "forged"),
            ("x-http-method-override", "DELETE"),
            ("traceparent", "00-0-0-00"),
            ("baggage", "a=b"),
            ("te", "trailers"),
            ("keep-alive", "timeout=5"),
            ("proxy-authorization", "Basic x"),
            ("connection", "close, X-Secret, host"),
            ("x-secret", "1"),
            ("upgrade", "websocket"),
            ("expect", "100-continue"),
            ("accept", "application/json"),
            ("x-fapi-customer-ip-address", "198.51.100.7"),
        ];
        let request = prepared(&fields, |_| {});
        let mut names: Vec<_> = request.keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        let passed = ["accept", "x-fapi-customer-ip-address"];
        let ours = ["forwarded", "host", "via", "x-clearway-caller", "x-fapi-interaction-id"];
        let mut expected: Vec<_> = passed.into_iter().chain(ours).collect();
        expected.sort_unstable();
        assert_eq!(names, expected);
        assert_eq!(request["forwarded"], "for=192.0.2.1;host=\"api.example\";proto=https;by=_clearway");
        assert_eq!(request["host"], "bank.internal:9443");
    }

    /// As both lanes set it.
    #[test]
    fn the_target_goes_on_byte_for_byte() {
        let mut request = request(&[("accept", "*/*")]);
        spelling::change_request(&mut request, |parts| parts.uri = "/v1/accounts?x=%2F".parse().unwrap());
        assert_eq!(request.raw_path(), b"/v1/accounts?x=%2F", "byte for byte");
    }

    #[test]
    fn our_own_credential_replaces_the_callers_field() {
        let ours = (HeaderName::from_static("x-api-key"), HeaderValue::from_static("ours"));
        let request = addressed(&[("x-api-key", "theirs"), ("x-api-key", "again")], Some(&ours), |_| {});
        assert_eq!(request.get_all("x-api-key").iter().collect::<Vec<_>>(), ["ours"]);
    }

    #[test]
    fn the_buffered_lane_reframes_and_asks_for_plain_text() {
        let fields = [("content-length", "999"), ("accept-encoding", "gzip"), ("transfer-encoding", "chunked")];
        let request = prepared(&fields[..2], |o| {
            (o.whole, o.plain) = (Some(Whole::Bytes(5)), true);
        });
        assert_eq!(
            (&request["content-length"], &request["accept-encoding"]),
            (&HeaderValue::from(5), &HeaderValue::from_static("identity"))
        );
        let request = prepared(&fields[..1], |o| o.whole = Some(Whole::Absent));
        assert!(!request.contains_key("content-length"));
        let streamed = prepared(&fields[2..], |_| {});
        assert!(streamed.contains_key("transfer-encoding"), "Pingora frames a streamed body by it");
    }

    #[test]
    fn an_allowed_handshake_keeps_its_two_fields() {
        let fields = [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", "k")];
        let request = prepared(&fields, |o| o.websocket = true);
        assert!(["connection", "upgrade", "sec-websocket-key"].iter().all(|n| request.contains_key(*n)));
    }

    #[test]
    fn an_ipv6_client_is_quoted_and_a_strange_host_left_out() {
        let request = prepared(&[], |o| {
            o.client = "2001:db8::1".parse().unwrap();
            o.host = "a\"b";
        });
        assert_eq!(request["forwarded"], "for=\"[2001:db8::1]\";proto=https;by=_clearway");
    }

    #[test]
    fn a_back_ends_machinery_stays_behind_the_gateway() {
        let mut response = ResponseHeader::build(200, None).unwrap();
        for (name, value) in [
            ("server", "bankd/1.2"),
            ("set-cookie", "a=b"),
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("access-control-allow-origin", "*"),
            ("ratelimit", "\"x\";r=9"),
            ("x-fapi-interaction-id", "theirs"),
            ("content-type", "application/json"),
            ("etag", "\"1\""),
            ("vary", "accept"),
        ] {
            response.append_header(name, value).unwrap();
        }
        strip_response(&mut response, false);
        let mut names: Vec<_> = response.headers.keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-type", "etag", "vary"]);
        strip_representation(&mut response);
        assert!(!response.headers.contains_key("etag"));
    }

    #[test]
    fn a_location_at_the_back_end_is_told_as_the_gateways_own() {
        let authority = HeaderValue::from_static("bank.internal:9443");
        let paths = ("/open-banking/v4/consents", "/internal/consents");
        for (location, expected) in [
            ("https://bank.internal:9443/internal/consents/7?x=1", Some("/open-banking/v4/consents/7?x=1")),
            ("/internal/consents/7", Some("/open-banking/v4/consents/7")),
            ("https://bank.internal:9443/elsewhere", Some("/elsewhere")),
            ("https://bank.internal:9443", Some("/")),
            ("HTTPS://Bank.Internal:9443/internal/consents", Some("/open-banking/v4/consents")),
            ("https://bank.internal:9443?x=1", Some("/?x=1")),
            ("https://bank.internal:9443//evil.example/x", Some("/evil.example/x")),
            ("/\\evil.example/x", Some("/evil.example/x")),
            ("/internalx/consents", Some("/internalx/consents")),
            ("/internal?next=https://other.example/", Some("/open-banking/v4?next=https://other.example/")),
            ("https://other.example/internal/consents/7", None),
            ("//other.example/x", None),
            ("7", None),
        ] {
            let seen = relocate(&HeaderValue::from_str(location).unwrap(), &authority, paths);
            assert_eq!(seen.as_ref().map(|v| v.to_str().unwrap()), expected, "{location}");
        }
        let links =
            "<https://bank.internal:9443/internal/consents?page=2>; rel=\"next\", <https://other.example/>; rel=help";
        let seen = relocate_links(&HeaderValue::from_static(links), &authority, paths).unwrap();
        assert_eq!(seen, "</open-banking/v4/consents?page=2>; rel=\"next\", <https://other.example/>; rel=help");
    }
}

//! The trace context of W3C Trace Context §3: which trace a request belongs to.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::tracestate;
use crate::domain::{Random, push_hex};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Length of `traceparent` in version 00.
const LEN: usize = 55;

/// One span of a trace: our part of a request, or one attempt at a back end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: [u8; 16],
    /// Of this span.
    span_id: [u8; 8],
    /// Of the span that it is a part of.
    parent_id: Option<[u8; 8]>,
    sampled: bool,
    /// What other vendors pass along; checked, and at most [`tracestate::LEN_MAX`] bytes.
    state: Option<HeaderValue>,
}

/// What a `traceparent` field says.
#[derive(Debug, PartialEq, Eq)]
struct Parent {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    sampled: bool,
}

impl TraceContext {
    /// Continues the caller's trace with a span of our own. If `traceparent` is absent, repeated or malformed, a new
    /// trace begins and `tracestate` is dropped (§2.2.4, §3.2.2); if only `tracestate` is malformed, only it is dropped
    /// (§3.3.1.5).
    pub fn parse(headers: &HeaderMap, random: &dyn Random) -> Self {
        let Some(parent) = sole(headers, &TRACEPARENT).and_then(parse_parent) else { return Self::start(random) };
        Self {
            trace_id: parent.trace_id,
            span_id: nonzero(random.bytes()),
            parent_id: Some(parent.span_id),
            sampled: parent.sampled,
            state: tracestate::parse(headers.get_all(TRACESTATE).iter()),
        }
    }

    /// Begins a new trace.
    pub fn start(random: &dyn Random) -> Self {
        let (trace_id, span_id) = (nonzero(random.bytes()), nonzero(random.bytes()));
        Self { trace_id, span_id, parent_id: None, sampled: false, state: None }
    }

    /// A span within this one, for an attempt at a back end.
    pub fn child(&self, random: &dyn Random) -> Self {
        let span_id = nonzero(random.bytes());
        Self { span_id, parent_id: Some(self.span_id), ..self.clone() }
    }

    pub const fn trace_id(&self) -> [u8; 16] {
        self.trace_id
    }

    pub const fn span_id(&self) -> [u8; 8] {
        self.span_id
    }

    pub const fn parent_id(&self) -> Option<[u8; 8]> {
        self.parent_id
    }

    /// Somebody before us records this trace.
    pub const fn sampled(&self) -> bool {
        self.sampled
    }

    /// Replaces whatever trace fields `headers` has by this span's.
    pub fn write(&self, headers: &mut HeaderMap) {
        headers.insert(TRACEPARENT, self.traceparent());
        match &self.state {
            Some(state) => headers.insert(TRACESTATE, state.clone()),
            None => headers.remove(TRACESTATE),
        };
    }

    /// `00-<trace id>-<span id>-<flags>`
    pub fn traceparent(&self) -> HeaderValue {
        let mut text = Vec::with_capacity(LEN);
        text.extend_from_slice(b"00-");
        push_hex(&mut text, &self.trace_id);
        text.push(b'-');
        push_hex(&mut text, &self.span_id);
        text.extend_from_slice(if self.sampled { b"-01" } else { b"-00" });
        // Invariant: hexadecimal digits and hyphens are always a field value.
        HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    pub fn tracestate(&self) -> Option<&HeaderValue> {
        self.state.as_ref()
    }
}

/// The only value of a field; none if it is repeated.
fn sole<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() { None } else { first.to_str().ok() }
}

fn parse_parent(text: &str) -> Option<Parent> {
    let version = hex::<1>(text.get(..2)?)?;
    // §3.2.2.1: ff is invalid; version 00 has exactly 55 characters; what a later one adds follows a hyphen.
    let rest_is_right = match (version, text.len()) {
        ([0xff], _) => false,
        ([0], len) => len == LEN,
        ([_], len) => len == LEN || text.as_bytes().get(LEN) == Some(&b'-'),
    };
    let hyphens = [2, 35, 52].iter().all(|at| text.as_bytes().get(*at) == Some(&b'-'));
    if !rest_is_right || !hyphens {
        return None;
    }
    let trace_id = hex::<16>(text.get(3..35)?).filter(|id| *id != [0; 16])?;
    let span_id = hex::<8>(text.get(36..52)?).filter(|id| *id != [0; 8])?;
    let [flags] = hex::<1>(text.get(53..LEN)?)?;
    Some(Parent { trace_id, span_id, sampled: flags & 1 == 1 })
}

/// Lower-case digits only (§3.2.2.3).
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// An id of zeros is invalid (§3.2.2.3, §3.2.2.4).
fn nonzero<const N: usize>(mut bytes: [u8; N]) -> [u8; N] {
    if bytes == [0; N]
        && let Some(last) = bytes.last_mut()
    {
        *last = 1;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU8, Ordering};

    /// 0x01…, 0x02…, and so on.
    #[derive(Default)]
    struct Counting(AtomicU8);

    impl Random for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0.fetch_add(1, Ordering::Relaxed) + 1);
        }
    }

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_callers_trace_is_continued_with_a_span_of_ours() {
        let random = Counting::default();
        let context = TraceContext::parse(&headers(&[("traceparent", PARENT), ("tracestate", "a=1,b=2")]), &random);
        assert_eq!(context.traceparent(), "00-4bf92f3577b34da6a3ce929d0e0e4736-0101010101010101-01");
        assert_eq!(context.parent_id(), Some([0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]));
        let child = context.child(&random);
        assert_eq!(child.traceparent(), "00-4bf92f3577b34da6a3ce929d0e0e4736-0202020202020202-01");
        assert_eq!(child.parent_id(), Some(context.span_id()));
        let mut onward = headers(&[("traceparent", "forged"), ("traceparent", "twice"), ("tracestate", "old=1")]);
        child.write(&mut onward);
        assert_eq!(onward.get_all("traceparent").iter().count(), 1);
        assert_eq!(onward.get("tracestate").unwrap(), "a=1,b=2");
    }

    #[test]
    fn what_is_not_a_traceparent_begins_a_new_trace_without_state() {
        for (name, value) in [
            ("version ff", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ("upper case", "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"),
            ("no trace", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"),
            ("no span", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"),
            ("short", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0"),
            ("00 with more", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x"),
            ("later without hyphen", "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x"),
            ("no hyphens", "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01"),
            ("sign", "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ("space", " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ("empty", ""),
        ] {
            let random = Counting::default();
            let context = TraceContext::parse(&headers(&[("traceparent", value), ("tracestate", "a=1")]), &random);
            assert_eq!(context.trace_id(), [1; 16], "{name}");
            assert_eq!((context.tracestate(), context.parent_id()), (None, None), "{name}");
        }
        let twice = headers(&[("traceparent", PARENT), ("traceparent", PARENT)]);
        assert_eq!(TraceContext::parse(&twice, &Counting::default()).parent_id(), None);
    }

    #[test]
    fn later_versions_are_read_as_far_as_we_know_them() {
        for later in [
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-brings",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            let context = TraceContext::parse(&headers(&[("traceparent", later)]), &Counting::default());
            assert_eq!(context.traceparent(), "00-4bf92f3577b34da6a3ce929d0e0e4736-0101010101010101-01", "{later}");
        }
    }

    #[test]
    fn unknown_flags_are_not_passed_on() {
        let flags = PARENT.replace("-01", "-fe");
        let context = TraceContext::parse(&headers(&[("traceparent", &flags)]), &Counting::default());
        assert!(!context.sampled());
        assert!(context.traceparent().to_str().unwrap().ends_with("-00"));
    }

    #[test]
    fn ids_are_never_zero() {
        struct Zeros;
        impl Random for Zeros {
            fn fill(&self, bytes: &mut [u8]) {
                bytes.fill(0);
            }
        }
        let context = TraceContext::start(&Zeros);
        assert!(context.trace_id() != [0; 16] && context.span_id() != [0; 8]);
    }
}

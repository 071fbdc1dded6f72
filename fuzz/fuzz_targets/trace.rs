//! Trace context: what is written is what would be read, and never more than was allowed.
#![no_main]

use clearway::signal::TraceContext;
use clearway_fuzz::Sevens;
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;

// Lines: `p` and a traceparent, `s` and a tracestate, in any number and order.
fuzz_target!(|input: &[u8]| {
    let mut headers = HeaderMap::new();
    for line in input.split(|b| *b == b'\n').take(20) {
        let Some((kind, value)) = line.split_first() else { continue };
        let name = HeaderName::from_static(if *kind == b'p' { "traceparent" } else { "tracestate" });
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(name, value);
        }
    }
    let context = TraceContext::parse(&headers, &Sevens);
    assert!(context.trace_id() != [0; 16] && context.span_id() != [0; 8]);
    if context.parent_id().is_some() {
        let stated = headers["traceparent"].to_str().expect("it was read");
        assert_eq!(headers.get_all("traceparent").iter().count(), 1);
        assert!(stated.contains(&format!("{:032x}", u128::from_be_bytes(context.trace_id()))), "{stated}");
    } else {
        assert!(context.tracestate().is_none(), "a state without its trace");
    }
    let mut onward = HeaderMap::new();
    context.write(&mut onward);
    let read = TraceContext::parse(&onward, &Sevens);
    assert_eq!((read.trace_id(), read.parent_id()), (context.trace_id(), Some(context.span_id())));
    assert_eq!(read.sampled(), context.sampled());
    assert_eq!(read.tracestate(), context.tracestate(), "reading again changes the state");
    assert!(context.tracestate().is_none_or(|state| (1..=512).contains(&state.len())));
    assert_eq!(onward["traceparent"].len(), 55);
});

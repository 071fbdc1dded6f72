//! JSON Pointers: written and read back, as text and as fragments of references.
#![no_main]

use clearway::catalogue::fuzzing::{child, escape, from_fragment, to_reference, tokens, unescape};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fuzz_target!(|input: &str| {
    let mut pointer = String::new();
    let mut document = Value::from("found");
    for token in clearway_fuzz::texts(input).take(20) {
        assert_eq!(unescape(&escape(token)), token);
        assert!(!escape(token).contains('/'));
        pointer = child(&pointer, token);
    }
    let all: Vec<&str> = clearway_fuzz::texts(input).take(20).collect();
    for token in all.iter().rev() {
        document = json!({ *token: document });
    }
    assert_eq!(tokens(&pointer).collect::<Vec<_>>(), all);
    assert_eq!(document.pointer(&pointer), Some(&json!("found")), "serde_json reads {pointer:?} otherwise");
    let reference = to_reference(&pointer);
    let fragment = reference.strip_prefix('#').expect("a fragment");
    assert!(fragment.is_ascii() || reference.parse::<http::Uri>().is_err());
    assert_eq!(from_fragment(fragment).as_deref(), Some(&*pointer));
    if let Some(read) = from_fragment(input) {
        let written = to_reference(&read);
        assert_eq!(from_fragment(&written[1..]), Some(read));
    }
});

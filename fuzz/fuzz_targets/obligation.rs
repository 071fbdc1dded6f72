//! Obligations: pointer patterns that find, mask and remove, and header lines that a policy may set.
#![no_main]

use clearway::policy::fuzzing::{Pattern, parse_header};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

// A pattern, a header line and a JSON text, with zero bytes between them.
fuzz_target!(|input: &str| {
    let mut parts = clearway_fuzz::texts(input);
    let (pattern, line) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    header(line);
    let Ok(pattern) = Pattern::parse(pattern) else { return };
    let Ok(value) = serde_json::from_str::<Value>(parts.next().unwrap_or_default()) else { return };
    let (mut marked, mut twice, mut removed) = (value.clone(), value.clone(), value.clone());
    pattern.replace(&mut marked, |found| *found = Value::from("marked"));
    pattern.replace(&mut twice, |found| *found = Value::from("marked"));
    pattern.replace(&mut twice, |found| *found = Value::from("marked"));
    assert_eq!(marked, twice, "replacing is not idempotent");
    pattern.remove(&mut removed);
    let mut left = removed.clone();
    pattern.replace(&mut left, |found| {
        assert!(found.is_null(), "{found} is left");
    });
    // What does not match stays: where nothing is marked, nothing is removed, and the other way round.
    let mut counted = value.clone();
    pattern.replace(&mut counted, |found| *found = Value::Null);
    if marked == value && counted == value {
        assert_eq!(removed, value, "something that does not match is removed");
    }
});

fn header(line: &str) {
    let Ok((name, value)) = parse_header(line) else { return };
    let text = value.to_str().expect("visible ASCII");
    assert!((1..=512).contains(&text.len()));
    for reserved in ["content-", "sec-", "x-forwarded-", "access-control-", "ratelimit", "proxy-"] {
        assert!(!name.as_str().starts_with(reserved), "{name}");
    }
    let reserved = ["connection", "transfer-encoding", "set-cookie", "location", "www-authenticate", "host"];
    assert!(!reserved.contains(&name.as_str()), "{name}");
    assert_eq!(parse_header(&format!("{name}: {text}")), Ok((name, value)));
}

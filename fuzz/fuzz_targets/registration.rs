//! Client metadata of strangers: what is taken holds together, keeps to its profile, and reads again as what it was.
#![no_main]

use std::sync::LazyLock;

use clearway::oauth::{Profile, SenderConstraint, read_metadata};
use clearway::outbound::{Outbound, OutboundSettings};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

static OUTBOUND: LazyLock<Outbound> =
    LazyLock::new(|| Outbound::new(OutboundSettings::default()).expect("the client for strangers' URLs"));

fuzz_target!(|bytes: &[u8]| {
    let Ok(Value::Object(given)) = serde_json::from_slice::<Value>(bytes) else { return };
    for profile in Profile::ALL {
        let Ok(read) = read_metadata(&given, profile, &OUTBOUND) else { continue };
        assert!(profile.allows_bearer_tokens() || read.sender_constraint != SenderConstraint::Bearer);
        assert!(profile.allows_dpop() || read.sender_constraint != SenderConstraint::Dpop);
        assert!(read.metadata.redirect_uris.iter().all(|uri| is_https(uri) || profile.allows_loopback_redirects()));
        let again = read_metadata(&read.members, profile, &OUTBOUND).expect("it was read before");
        assert_eq!(again.members, read.members);
    }
});

/// RFC 3986 §3.1: schemes have no case.
fn is_https(uri: &str) -> bool {
    uri.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
}

//! The front door under attack: the real binary against whatever the internet sends it.
//!
//! Each test names what an engine without our front door is known to do. Deadlines are configured short, so that every
//! wait for one ends in a second or two.

mod bodies;
mod caps;
mod deadlines;
mod early;
mod framing;
mod lifecycle;
mod memory;
mod pool;
mod reset;
mod tls;
mod tunnel;

use std::time::Duration;

use crate::harness::token::outside_token;

/// A request by hand for a plain listener, with a good token.
fn raw(method: &str, target: &str, more: &str) -> String {
    authorized(method, target, &outside_token("acme", "app"), more)
}

/// The same with a token that is at hand.
fn authorized(method: &str, target: &str, token: &str, more: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{more}\r\n")
}

const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

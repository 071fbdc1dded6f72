//! Server nonces (RFC 9449 §8, §9): a stretch of time under a key that nobody knows. Nothing is remembered.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;

use crate::domain::{Random, Timestamp};

/// A nonce is handed out for one period and taken for two.
const PERIOD: Duration = Duration::from_secs(60);
const BYTES: usize = 16;
const DIGITS: usize = 22;

/// Whose nonce: the two servers' are not each other's (RFC 9449 §9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NonceSpace {
    AuthorizationServer,
    Resource,
}

/// What a nonce that came is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    Current,
    /// Still good, but not for long.
    Previous,
    Stranger,
}

pub(super) struct Nonces {
    /// Of this process: a restart ends all nonces, which costs each client one more exchange.
    key: hmac::Key,
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonces")
    }
}

impl Nonces {
    pub fn new(random: &dyn Random) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &random.bytes::<32>()) }
    }

    pub fn current(&self, space: NonceSpace, now: Timestamp) -> HeaderValue {
        let digits = self.nonce(space, period(now));
        // 22 digits of base64url are a field value.
        HeaderValue::from_bytes(&digits).unwrap_or(HeaderValue::from_static("none"))
    }

    pub fn look(&self, nonce: &str, space: NonceSpace, now: Timestamp) -> Seen {
        let period = period(now);
        let is = |period| verify_slices_are_equal(nonce.as_bytes(), &self.nonce(space, period)).is_ok();
        match nonce.len() {
            DIGITS if is(period) => Seen::Current,
            DIGITS if is(period.wrapping_sub(1)) => Seen::Previous,
            _ => Seen::Stranger,
        }
    }

    fn nonce(&self, space: NonceSpace, period: i64) -> [u8; DIGITS] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(match space {
            NonceSpace::AuthorizationServer => b"as",
            NonceSpace::Resource => b"rs",
        });
        context.update(&period.to_be_bytes());
        let tag = context.sign();
        let mut digits = [0; DIGITS];
        let first = tag.as_ref().get(..BYTES).unwrap_or_default();
        let _exact = URL_SAFE_NO_PAD.encode_slice(first, &mut digits);
        digits
    }
}

fn period(now: Timestamp) -> i64 {
    now.secs().div_euclid(i64::try_from(PERIOD.as_secs()).unwrap_or(60))
}

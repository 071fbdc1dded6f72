//! Who answers when no real institution is at hand? A bank, an insurer and a fintech that behave like real ones, a mock
//! of any other document, and the certificates of a whole small ecosystem.
//!
//! Invariants: every amount of state is bounded; data is made up and the same for the same seed; nothing here is
//! reachable from the data plane but over a socket, as a real institution is; plain HTTP only on loopback.

mod bank;
mod control;
mod dice;
#[cfg(test)]
mod documents;
mod echo;
pub mod fault;
mod fintech;
mod form;
pub mod generate;
mod insurer;
mod line;
mod misbehave;
pub mod mock;
pub mod pki;
mod query;
mod received;
mod server;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod text;
mod tls;

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::routing::get;
use http::{HeaderMap, Uri, header};
use secrecy::SecretString;

use crate::domain::{Clock, Random};
pub use fintech::FintechClient;
pub use received::{PathCount, Received, ReceivedReport, ReceivedRequest};
pub use server::{Availability, Running, SandboxError, SandboxSettings, SandboxTls, start};
pub use tls::TlsError;

/// The published document of [`Institution::bank`]: OpenAPI 3.1, YAML.
pub const BANK_DOCUMENT: &str = include_str!("../../openapi/bank.yaml");
/// The published document of [`Institution::insurer`]: OpenAPI 3.1, YAML.
pub const INSURER_DOCUMENT: &str = include_str!("../../openapi/insurer.yaml");
/// The published document of [`Institution::fintech`]: OpenAPI 3.0, YAML.
pub const FINTECH_DOCUMENT: &str = include_str!("../../openapi/fintech.yaml");

/// What an institution needs of the world around it.
#[derive(Clone)]
pub struct World {
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    /// The same seed, the same customers.
    pub seed: u64,
    /// Where callers see the institution's API (`https://api.example`, no path), for the links in answers. Absent: the
    /// host that the request names.
    pub public_origin: Option<String>,
}

/// One simulated institution. Clones share its state, so several back ends can serve the same bank.
#[derive(Clone)]
pub struct Institution {
    name: Arc<str>,
    router: Router,
}

impl fmt::Debug for Institution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Institution").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Institution {
    /// A bank that asks for nothing beyond a client certificate.
    pub fn bank(world: World) -> Self {
        Self::new("bank", bank::router(world))
    }

    /// An insurer that asks for an API key in `x-api-key` as well.
    pub fn insurer(world: World, api_key: &SecretString) -> Self {
        Self::new("insurer", insurer::router(world, api_key))
    }

    /// A fintech that asks for an access token of its own `POST /oauth/token` as well.
    pub fn fintech(world: World, client: &FintechClient) -> Self {
        Self::new("fintech", fintech::router(world, client))
    }

    /// No institution: it tells what reached it, and streams (`/bytes/{n}`).
    pub fn echo() -> Self {
        Self::new("echo", echo::router())
    }

    /// Any document's operations, answered from its examples and schemas.
    pub fn mock(name: &str, mock: &mock::Mock) -> Self {
        Self::new(name, mock::router(mock))
    }

    fn new(name: &str, router: Router) -> Self {
        let router = router.route(fault::HEALTH_PATH, get(|| async { "ok\n" }));
        Self { name: name.into(), router }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) const fn router(&self) -> &Router {
        &self.router
    }
}

impl World {
    fn origin(&self, uri: &Uri, headers: &HeaderMap) -> String {
        if let Some(origin) = &self.public_origin {
            return origin.clone();
        }
        // HTTP/2 carries the host in the request target, HTTP/1.1 in a field.
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = uri.authority().map(http::uri::Authority::as_str).or(host).unwrap_or("localhost");
        format!("https://{host}")
    }
}

/// An idempotency key as far as this caller's. Through the gateway its clients are told apart by the name that it gives
/// each of them; who calls without one shares a space with its like.
fn scoped_key(headers: &HeaderMap, key: &str) -> String {
    let caller = headers.get("x-clearway-caller").and_then(|name| name.to_str().ok()).filter(|name| name.len() <= 64);
    format!("{} {key}", caller.unwrap_or_default().replace(' ', ""))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    let digest = digest(&SHA256, bytes);
    for (to, from) in out.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    out
}

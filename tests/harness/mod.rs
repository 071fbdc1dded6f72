//! What the tests stand on: the real binary as a child process, a folder of configuration, back ends that do as they
//! are told, certificates and tokens.
//!
//! Nothing here sleeps: every wait is for an event, under a deadline that only fails a test.

pub mod backend;
pub mod bank;
pub mod browser;
pub mod certificates;
pub mod forge;
pub mod gateway;
pub mod h2c;
pub mod host;
pub mod link;
pub mod secure;
pub mod site;
pub mod token;
pub mod visit;
pub mod wire;

use std::future::Future;
use std::time::Duration;

pub use backend::{Backend, Reply};
pub use gateway::{Gateway, run};
pub use site::Site;

/// Longer than anything a test waits for; shorter than a person's patience.
const PATIENCE: Duration = Duration::from_secs(30);

/// Awaits an event that must come.
#[track_caller]
pub fn within<F: Future>(what: &'static str, event: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(PATIENCE, event).await {
            Ok(output) => output,
            Err(_) => panic!("{caller}: waited in vain for: {what}"),
        }
    }
}

/// The body of an answer as JSON, with its status; anything else fails with what came.
#[track_caller]
pub fn json(response: reqwest::Response) -> impl Future<Output = (u16, serde_json::Value)> {
    let caller = std::panic::Location::caller();
    async move {
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        match serde_json::from_str(&text) {
            Ok(value) => (status, value),
            Err(error) => panic!("{caller}: {status} with a body that is not JSON ({error}): {text:?}"),
        }
    }
}

/// Status and problem code of an answer that must be a problem document (RFC 9457).
#[track_caller]
pub fn problem(response: reqwest::Response) -> impl Future<Output = (u16, String)> {
    let caller = std::panic::Location::caller();
    async move {
        let kind = field(&response, "content-type").to_owned();
        let interaction = field(&response, "x-fapi-interaction-id").to_owned();
        let (status, body) = json(response).await;
        assert_eq!(kind, "application/problem+json", "{caller}: {status} {body}");
        assert_eq!(body["status"], status, "{caller}: {body}");
        assert_eq!(body["interaction_id"].as_str(), Some(interaction.as_str()), "{caller}: {body}");
        (status, body["code"].as_str().unwrap_or_else(|| panic!("{caller}: no code in {body}")).to_owned())
    }
}

/// A field of an answer; empty if it is absent.
pub fn field<'a>(response: &'a reqwest::Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// A status and problem code as a test writes them.
pub fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

//! A black-box conformance run against `clearway demo`: what FAPI 2.0, Message Signing, FAPI 1.0 Advanced and the RFCs
//! beneath them demand, as named checks with their clauses. It knows `clients.json` and the network, and nothing else.
//!
//! Checks of a feature run if the metadata offers it; how many there are at least is asserted, so none goes missing.

mod assertions;
mod browser;
mod ciba;
mod discovery;
mod dpop;
mod grants;
mod introspection;
mod outside;
mod own_clients;
pub mod party;
mod pushed;
mod registration;
mod report;
mod request_objects;
mod resource;
mod stronger;
mod targets;
mod tokens;
mod transport;
mod variants;
mod visits;

use party::{Demo, Suite};
use report::Report;

use crate::harness::host::{Host, NO_CONTENT};

/// The checks that there are at least.
const CHECKS_MIN: usize = 1_000;

#[tokio::test]
async fn the_server_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("demo");
    // Whoever names a host in its own clients may be called there: by jwks_uri, or to be pinged.
    let (host, file) = (Host::bind(), folder.path().join("clients.json"));
    std::fs::write(&file, ciba::client_at(&host.url("/notified")).to_string()).unwrap();
    let _demo = Demo::start(&state, &["--clients", file.to_str().unwrap()]);
    let suite = Suite::read(&state).await;
    let mut report = Report::default();
    transport::run(&suite, &mut report);
    discovery::run(&suite, &mut report).await;
    assertions::run(&suite, &mut report).await;
    pushed::run(&suite, &mut report).await;
    request_objects::run(&suite, &mut report).await;
    tokens::run(&suite, &mut report).await;
    resource::run(&suite, &mut report).await;
    variants::run(&suite, &mut report).await;
    if suite.offers("introspection_signing_alg_values_supported") {
        introspection::run(&suite, &mut report).await;
    }
    if suite.offers("dpop_signing_alg_values_supported") {
        dpop::run(&suite, &mut report).await;
    }
    if !suite.told["users"].is_null() {
        visits::run(&suite, &mut report).await;
        stronger::run(&suite, &mut report).await;
        targets::run(&suite, &mut report).await;
        grants::run(&suite, &mut report).await;
    }
    if suite.offers("backchannel_authentication_endpoint") && !suite.told["authentication_device"].is_null() {
        ciba::run(&suite, &mut report).await;
        let url = host.url("/notified");
        let notified = host.serve(&state.join("pki"), String::new(), NO_CONTENT);
        ciba::pinged(&suite, &url, notified, &mut report).await;
    }
    if suite.offers("registration_endpoint") && !suite.told["initial_access_token"].is_null() {
        registration::run(&suite, &mut report).await;
    }
    report.finish(CHECKS_MIN);
}

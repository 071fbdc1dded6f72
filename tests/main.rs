//! The black-box tests: the real binary, real sockets, real TLS.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on says so by panicking"
)]

mod architecture;
mod audit;
mod authorization_details;
mod bounds;
mod browser;
mod catalogue;
mod ciba;
mod clients;
mod conformance;
mod differential;
mod dpop;
mod edge;
mod failures;
mod faults;
mod forwarding;
mod harness;
mod metrics;
mod oauth;
mod outside;
mod pages;
mod plain_gateway;
mod policies;
mod quota;
mod readme;
mod registered_certificates;
mod registration;
mod serve;

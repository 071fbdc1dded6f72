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
mod catalogue;
mod differential;
mod failures;
mod forwarding;
mod harness;
mod oauth;
mod outside;
mod policies;
mod quota;
mod readme;
mod serve;

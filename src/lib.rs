//! Clearway: an open-banking API gateway and partner integration hub.
//!
//! The modules are rooms, listed in reading order; a room uses only rooms above its own paragraph.
//! `ARCHITECTURE.md` is the map, `tests/architecture.rs` holds the line.
#![cfg_attr(test, recursion_limit = "256")] // Documents written with `json!` in tests.

pub mod domain;

pub mod disk;

pub mod audit;
pub mod jose;
pub mod outbound;
pub mod problem;
pub mod signal;

pub mod authn;
pub mod contract;
pub mod quota;
pub mod route;
pub mod upstream;

pub mod catalogue;

pub mod hub;
pub mod oauth;
pub mod policy;

pub mod admission;

pub mod config;
pub mod endpoint;
pub mod front;
pub mod proxy;
pub mod sandbox;
pub mod store;

pub mod server;

pub mod cli;

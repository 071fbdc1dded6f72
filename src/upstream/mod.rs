//! Which back end takes this request, and with which credentials of ours? Pools, health, circuit breaking, peers.

mod settings;

pub use settings::{
    BackendSettings, BreakerSettings, CredentialSettings, HealthSettings, PoolSettings, Timeouts, UpstreamTls,
};

//! Who is calling? An access token and a connection become a `Caller`, or a refusal.

mod settings;

pub use settings::{IssuerSettings, JwksSource, UnknownPartners};

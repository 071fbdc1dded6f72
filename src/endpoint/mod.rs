//! (to be built)

pub mod oauth;

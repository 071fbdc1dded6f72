//! Is this JWS what it claims to be? The only room that names the JWT library.

mod algorithm;

pub use algorithm::Algorithm;

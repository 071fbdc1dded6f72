//! HTTP/2 of the front door: its frames watched, its requests accepted and answered.
//!
//! The `h2` crate judges frames and keeps the windows (RFC 9113); here stands what a request of it is to the rest.

mod connection;
mod exchange;
mod frames;
mod session;

pub use connection::accept_http2;
pub use exchange::Http2Exchange;
pub use frames::{FrameWatch, PREFACE};
pub use session::unread;

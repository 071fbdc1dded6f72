//! The room over real sockets.

mod exchange;
mod http2;
mod lanes;
mod rig;
mod strange;

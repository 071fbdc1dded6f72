//! The room over real sockets.

mod exchange;
mod lanes;
mod rig;

//! The room over real sockets.

mod exchange;

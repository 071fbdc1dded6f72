//! The black-box tests: the real binary, real sockets, real TLS.

mod architecture;
mod readme;

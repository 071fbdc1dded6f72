//! Why a stranger's URL is not asked, or did not answer as it should.

use std::net::IpAddr;
use std::path::PathBuf;

/// What can be said of a URL without asking anybody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("not a URL of at most {0} bytes")]
    Malformed(usize),
    #[error("the URL is not https")]
    Scheme,
    #[error("the URL carries a user name or a password")]
    Userinfo,
    #[error("the URL has a fragment")]
    Fragment,
    #[error("the port {0} is neither 443 nor above 1023")]
    Port(u16),
    /// An address in any of its spellings: the URL parser reads decimal, octal and hexadecimal numbers as addresses.
    #[error("the address {0} is not a public one")]
    Address(IpAddr),
}

/// Why there is no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    #[error("the URL is refused")]
    Url(#[source] UrlError),
    #[error("the host name leads to {0}, which is not a public address")]
    Address(IpAddr),
    #[error("too many exchanges with hosts of strangers are in work")]
    Busy,
    #[error("the exchange took longer than its deadline")]
    Timeout,
    #[error("the connection failed")]
    Transport(#[source] reqwest::Error),
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

/// Why the client cannot be made; for the operator.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("the certificates {0} cannot be read")]
    File(PathBuf, #[source] std::io::Error),
    #[error("{0} has no certificate in PEM that can be used")]
    Certificate(PathBuf),
    #[error("the HTTP client cannot be made")]
    Client(#[source] reqwest::Error),
}

//! A certificate that a peer presented and proved possession of.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// SHA-256 of a DER certificate: `x5t#S256` of RFC 8705 §3.1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Thumbprint(pub [u8; 32]);

impl Thumbprint {
    /// Reads the 43 characters of unpadded base64url.
    pub fn parse(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Thumbprint({self})")
    }
}

/// Names other than the subject (RFC 5280 §4.2.1.6), as RFC 8705 §2.1.2 compares them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubjectAltNames {
    pub dns: Vec<String>,
    pub uri: Vec<String>,
    pub ip: Vec<IpAddr>,
    pub email: Vec<String>,
}

/// What the trust store in force says of a certificate's chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChainTrust {
    /// It leads to a partner CA.
    Trusted,
    /// It does not; only a client that registered this very certificate can use it (RFC 8705 §2.2).
    Unverified,
}

/// A client certificate whose key signed this connection's handshake.
#[derive(Debug, Clone)]
pub struct PeerCertificate {
    pub der: Arc<[u8]>,
    pub thumbprint: Thumbprint,
    /// The subject name's DER encoding, for comparison as a name (RFC 4517 §4.2.15), never as text.
    pub subject_der: Arc<[u8]>,
    /// The subject as RFC 4514 text, for people.
    pub subject: String,
    pub alt_names: SubjectAltNames,
    pub chain: ChainTrust,
}

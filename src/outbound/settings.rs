//! What the operator allows beyond the public internet.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use super::address::{contains, plain};

/// `outbound` of gateway.yaml.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutboundSettings {
    /// Hosts and networks that may be asked although they are not public.
    pub allow_private: Vec<AllowedPeer>,
    /// Certificates (PEM) that are trusted beside the system's.
    pub ca_files: Vec<PathBuf>,
}

/// A host by its exact name, whatever it resolves to; or a network, whatever name led there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedPeer {
    Host(String),
    Network { base: IpAddr, bits: u32 },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a host name, an address or a network (`jwks.partner.internal`, `10.1.2.3`, `10.1.0.0/16`)")]
pub struct AllowedPeerError(String);

impl FromStr for AllowedPeer {
    type Err = AllowedPeerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || AllowedPeerError(text.chars().take(100).collect());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        match (address.parse::<IpAddr>(), bits) {
            (Ok(base), bits) => {
                let width = if base.is_ipv4() { 32 } else { 128 };
                let bits = bits.map_or(Ok(width), |bits| bits.parse().map_err(|_| refuse()))?;
                // A mapped base would never match: what is compared has no disguise.
                if bits > width || plain(base) != base {
                    return Err(refuse());
                }
                Ok(Self::Network { base, bits })
            }
            (Err(_), None) if is_host(text) => Ok(Self::Host(text.to_ascii_lowercase())),
            (Err(_), _) => Err(refuse()),
        }
    }
}

/// A name as the URL parser writes it: letters, digits, hyphens and dots, and no number that would be an address.
fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253 && text.split('.').all(label) && !last.starts_with(|c: char| c.is_ascii_digit())
}

impl fmt::Display for AllowedPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(name) => f.write_str(name),
            Self::Network { base, bits } => write!(f, "{base}/{bits}"),
        }
    }
}

impl OutboundSettings {
    pub(super) fn allows_host(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        self.allow_private.iter().any(|peer| match peer {
            AllowedPeer::Host(name) => name.eq_ignore_ascii_case(host),
            AllowedPeer::Network { .. } => false,
        })
    }

    pub(super) fn allows_address(&self, address: IpAddr) -> bool {
        self.allow_private.iter().any(|peer| match peer {
            AllowedPeer::Host(_) => false,
            AllowedPeer::Network { base, bits } => contains(*base, *bits, address),
        })
    }
}

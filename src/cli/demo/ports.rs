//! Which ports the demo listens on.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

/// Every port of the demo, all on loopback.
pub(in crate::cli) struct Ports {
    pub public: u16,
    pub mtls: u16,
    pub operations: u16,
    pub banks: [u16; 2],
    pub insurer: u16,
    pub fintech: u16,
}

impl Ports {
    pub const FIXED: Self =
        Self { public: 8443, mtls: 8444, operations: 9080, banks: [9441, 9442], insurer: 9443, fintech: 9444 };

    /// Ports that were free a moment ago. All are held until the last is known, so none is given twice.
    pub fn free() -> std::io::Result<Self> {
        let mut held = Vec::new();
        let mut take = || -> std::io::Result<u16> {
            let listener = TcpListener::bind(loopback(0))?;
            let port = listener.local_addr()?.port();
            held.push(listener);
            Ok(port)
        };
        Ok(Self {
            public: take()?,
            mtls: take()?,
            operations: take()?,
            banks: [take()?, take()?],
            insurer: take()?,
            fintech: take()?,
        })
    }

    pub fn public_url(&self) -> String {
        format!("https://localhost:{}", self.public)
    }

    /// Where the shipped configuration finds the institutions.
    pub fn institution_variables(&self) -> [(&'static str, String); 4] {
        let url = |port: u16| format!("https://127.0.0.1:{port}");
        let [first, second] = self.banks;
        [
            ("CLEARWAY_BANK_1", url(first)),
            ("CLEARWAY_BANK_2", url(second)),
            ("CLEARWAY_INSURER", url(self.insurer)),
            ("CLEARWAY_FINTECH", url(self.fintech)),
        ]
    }

    pub fn mtls_url(&self) -> String {
        format!("https://localhost:{}", self.mtls)
    }
}

pub(in crate::cli) const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

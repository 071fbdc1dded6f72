//! The demo's certificates: what each party of a real open-banking ecosystem has, made on this machine for this machine.
//!
//! Invariants: keys are readable by their owner only; the key of the authority that signs the gateway's own listeners is
//! never written, and its certificate is constrained to loopback names, so trusting it endangers nobody.

mod assertion;
mod authority;
mod files;
mod kept;
mod private_jwk;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use assertion::{AssertionKey, AssertionKeyFiles, ensure_assertion_key, ensure_key};
pub use authority::{Authority, Issued, Leaf, Reach, Role, Validity, self_signed_client};
pub use files::Identity;

use crate::domain::{Random, Timestamp};
use files::{make_folder, write_public, write_secret};

/// Why the demo's certificates cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("{} cannot be read", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} cannot be written", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("a certificate or its key cannot be made")]
    Issue(#[from] rcgen::Error),
    #[error("a key is not of the kind its algorithm needs")]
    KeyType,
}

/// What [`ensure`] shall provide.
#[derive(Debug, Clone)]
pub struct PkiSettings {
    pub folder: PathBuf,
    /// One certificate under the partner CA for each, in `client-{common_name}.pem`.
    pub clients: Vec<Leaf>,
    /// Whose name the certificates for negative tests bear: nothing but trust and time tells them from the client's own.
    pub impersonated: Leaf,
}

/// Where everything lies. All certificates but one are P-256, and hold for ninety days.
#[derive(Debug, Clone)]
pub struct DemoPki {
    pub folder: PathBuf,
    /// Signs the gateway's own listeners; give it to `curl --cacert`.
    pub server_ca: PathBuf,
    pub server: Identity,
    /// The same, RSA of 2048 bits, for callers that know no other kind below TLS 1.3 (FAPI 1.0 Advanced §8.5).
    pub server_rsa: Identity,
    /// Signs third parties' client certificates.
    pub partner_ca: Identity,
    /// By common name.
    pub clients: BTreeMap<String, Identity>,
    /// Signs the sandbox institutions' servers and the certificate they ask of the gateway.
    pub institution_ca: Identity,
    pub bank: Identity,
    pub insurer: Identity,
    pub fintech: Identity,
    /// Serves documents mounted with `demo --api`.
    pub mock: Identity,
    /// The gateway's client certificate towards institutions.
    pub gateway_client: Identity,
    /// A client certificate of nobody's authority (RFC 8705 §2.2).
    pub self_signed_client: Identity,
    /// For negative tests: a well-formed certificate of [`PkiSettings::impersonated`] under a CA that nobody trusts.
    pub untrusted_client: Identity,
    pub untrusted_ca: PathBuf,
    /// For negative tests: under the partner CA, in the same name, but past its time.
    pub expired_client: Identity,
}

impl DemoPki {
    fn layout(settings: &PkiSettings) -> Self {
        let folder = settings.folder.as_path();
        let named = |name: &str| Identity::named(folder, name);
        let client = |leaf: &Leaf| (leaf.common_name.clone(), named(&format!("client-{}", leaf.common_name)));
        Self {
            folder: folder.to_owned(),
            server_ca: folder.join("server-ca.pem"),
            server: named("server"),
            server_rsa: named("server-rsa"),
            partner_ca: named("partner-ca"),
            clients: settings.clients.iter().map(client).collect(),
            institution_ca: named("institution-ca"),
            bank: named("bank"),
            insurer: named("insurer"),
            fintech: named("fintech"),
            mock: named("mock"),
            gateway_client: named("gateway-client"),
            self_signed_client: named("self-signed-client"),
            untrusted_client: named("untrusted-client"),
            untrusted_ca: folder.join("untrusted-ca.pem"),
            expired_client: named("expired-client"),
        }
    }

    /// Certificate, key and signing CA of all that must hold today. Which is all but the expired one.
    fn living(&self) -> Vec<(&Identity, &Path)> {
        let institutions = [&self.bank, &self.insurer, &self.fintech, &self.mock, &self.gateway_client];
        let mut living: Vec<(&Identity, &Path)> =
            institutions.into_iter().map(|identity| (identity, self.institution_ca.certificate.as_path())).collect();
        living.extend(self.clients.values().map(|identity| (identity, self.partner_ca.certificate.as_path())));
        living.push((&self.server, &self.server_ca));
        living.push((&self.server_rsa, &self.server_ca));
        living.push((&self.partner_ca, &self.partner_ca.certificate));
        living.push((&self.institution_ca, &self.institution_ca.certificate));
        living.push((&self.self_signed_client, &self.self_signed_client.certificate));
        living.push((&self.untrusted_client, &self.untrusted_ca));
        living
    }
}

/// Takes the set from the folder if all of it holds for another day, else makes it anew, whole.
pub fn ensure(settings: &PkiSettings, now: Timestamp, random: &dyn Random) -> Result<DemoPki, PkiError> {
    let pki = DemoPki::layout(settings);
    let kept = pki.living().into_iter().all(|(identity, ca)| kept::holds(identity, ca, now))
        && pki.expired_client.key.exists()
        && [&pki.untrusted_client, &pki.expired_client]
            .into_iter()
            .all(|identity| kept::bears(identity, &settings.impersonated));
    if !kept {
        make_folder(&pki.folder)?;
        make(&pki, settings, now, random)?;
    }
    Ok(pki)
}

fn make(pki: &DemoPki, settings: &PkiSettings, now: Timestamp, random: &dyn Random) -> Result<(), PkiError> {
    let validity = Validity::ninety_days(now);
    let authority = |name: &str, reach| Authority::new(name, reach, validity, random);

    let server_ca = authority("Clearway demo server CA", Reach::Loopback)?;
    write_public(&pki.server_ca, server_ca.certificate_pem())?;
    pki.server.write(&server_ca.issue(&Leaf::loopback_server("localhost"), validity, random)?)?;
    pki.server_rsa.write(&server_ca.issue_rsa(&Leaf::loopback_server("localhost"), validity, random)?)?;

    let partner_ca = authority("Clearway demo partner CA", Reach::Anyone)?;
    write_authority(&pki.partner_ca, &partner_ca)?;
    for leaf in &settings.clients {
        if let Some(identity) = pki.clients.get(&leaf.common_name) {
            identity.write(&partner_ca.issue(leaf, validity, random)?)?;
        }
    }
    pki.expired_client.write(&partner_ca.issue(&settings.impersonated, Validity::expired(now), random)?)?;

    let institution_ca = authority("Clearway demo institution CA", Reach::Anyone)?;
    write_authority(&pki.institution_ca, &institution_ca)?;
    for (identity, name) in [
        (&pki.bank, "Sandbox bank"),
        (&pki.insurer, "Sandbox insurer"),
        (&pki.fintech, "Sandbox fintech"),
        (&pki.mock, "Sandbox mock"),
    ] {
        identity.write(&institution_ca.issue(&Leaf::loopback_server(name), validity, random)?)?;
    }
    let gateway = Leaf::client("gateway", "Clearway");
    pki.gateway_client.write(&institution_ca.issue(&gateway, validity, random)?)?;

    let own = Leaf::client("self-signed-client", "Self Signed Third Party Ltd");
    pki.self_signed_client.write(&self_signed_client(&own, validity, random)?)?;

    let untrusted_ca = authority("Nobody's CA", Reach::Anyone)?;
    write_public(&pki.untrusted_ca, untrusted_ca.certificate_pem())?;
    pki.untrusted_client.write(&untrusted_ca.issue(&settings.impersonated, validity, random)?)
}

fn write_authority(identity: &Identity, authority: &Authority) -> Result<(), PkiError> {
    write_public(&identity.certificate, authority.certificate_pem())?;
    write_secret(&identity.key, &authority.key_pem())
}

#[cfg(test)]
mod tests;

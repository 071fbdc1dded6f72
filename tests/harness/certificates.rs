//! The certificates of a small ecosystem, made once for all runs and kept while they hold.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use clearway::domain::{Clock, SubjectAltNames};
use clearway::sandbox::pki::{DemoPki, Identity, Leaf, PkiSettings, ensure};
use clearway::server::{SystemClock, SystemRandom};

/// Client certificates under the partner CA, by common name, with their organisations.
const CLIENTS: &[(&str, &str)] = &[
    ("acme-tls", "Acme Ltd"),
    ("acme-second", "Acme Ltd"),
    ("acme-resources", "Acme Ltd"),
    ("farview-tls", "Farview Inc"),
    ("stranger", "Nobody Ltd"),
];

/// Everything of one small ecosystem.
pub fn pki() -> &'static DemoPki {
    static PKI: LazyLock<DemoPki> = LazyLock::new(|| {
        install_provider();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pki");
        // Two test processes may start at once; the lock goes with the file handle.
        let lock = File::create(folder.with_extension("lock")).unwrap();
        lock.lock().unwrap();
        let mut clients: Vec<Leaf> = CLIENTS.iter().map(|(name, of)| Leaf::client(name, of)).collect();
        let alt_names = SubjectAltNames { uri: vec!["urn:partner:acme:uri".into()], ..SubjectAltNames::default() };
        clients.push(Leaf { alt_names, ..Leaf::client("acme-uri", "Acme Ltd") });
        let impersonated = Leaf::client("acme-tls", "Acme Ltd");
        ensure(&PkiSettings { folder, clients, impersonated }, SystemClock.now(), &SystemRandom).unwrap()
    });
    &PKI
}

/// The same provider as the product's, for whatever makes TLS objects in this process.
pub fn install_provider() {
    drop(clearway::front::crypto_provider().install_default()); // A second time changes nothing.
}

/// The identity of a client under the partner CA.
pub fn client_identity(name: &str) -> &'static Identity {
    pki().clients.get(name).unwrap_or_else(|| panic!("there is no client certificate {name}"))
}

/// The names of the folder's files in configurations.
pub fn pki_folder() -> PathBuf {
    pki().folder.clone()
}

/// An HTTP client that trusts the gateway's server CA and presents `identity`, if any. Redirects are not followed.
pub fn http(identity: Option<&Identity>) -> reqwest::Client {
    http_builder(identity).build().unwrap()
}

pub fn http_builder(identity: Option<&Identity>) -> reqwest::ClientBuilder {
    install_provider();
    let ca = reqwest::Certificate::from_pem(&std::fs::read(&pki().server_ca).unwrap()).unwrap();
    let builder = reqwest::Client::builder()
        .tls_certs_only([ca])
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(30));
    match identity {
        Some(identity) => builder.identity(reqwest_identity(identity)),
        None => builder,
    }
}

fn reqwest_identity(identity: &Identity) -> reqwest::Identity {
    let mut pem = std::fs::read(&identity.key).unwrap();
    pem.extend(std::fs::read(&identity.certificate).unwrap());
    reqwest::Identity::from_pem(&pem).unwrap()
}

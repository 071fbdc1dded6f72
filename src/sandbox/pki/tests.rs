use std::os::unix::fs::PermissionsExt;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::*;
use crate::sandbox::testing::{FixedRandom, NOW};

fn settings(folder: &Path) -> PkiSettings {
    let acme = Leaf::client("acme", "Acme Budget Ltd");
    PkiSettings { folder: folder.to_owned(), clients: vec![acme.clone()], impersonated: acme }
}

fn make_set(folder: &Path) -> DemoPki {
    ensure(&settings(folder), NOW, &FixedRandom::default()).unwrap()
}

fn der(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).unwrap()
}

fn chain_holds(leaf: &Path, ca: &Path, usage: webpki::KeyUsage, now: Timestamp) -> Result<(), webpki::Error> {
    let (leaf, ca) = (der(leaf), der(ca));
    let anchors = [webpki::anchor_from_trusted_cert(&ca).unwrap()];
    let entity = webpki::EndEntityCert::try_from(&leaf).unwrap();
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.secs().unsigned_abs()));
    entity.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &[], now, usage, None, None).map(drop)
}

#[test]
fn chains_hold_and_their_negative_twins_do_not() {
    use webpki::KeyUsage;
    let folder = tempfile::tempdir().unwrap();
    let pki = make_set(folder.path());
    let client = &pki.clients["acme"];
    for (name, leaf, ca, usage, good) in [
        ("server", &pki.server, &pki.server_ca, KeyUsage::server_auth(), true),
        ("bank", &pki.bank, &pki.institution_ca.certificate, KeyUsage::server_auth(), true),
        ("gateway", &pki.gateway_client, &pki.institution_ca.certificate, KeyUsage::client_auth(), true),
        ("third party", client, &pki.partner_ca.certificate, KeyUsage::client_auth(), true),
        ("a server is no client", &pki.bank, &pki.institution_ca.certificate, KeyUsage::client_auth(), false),
        ("a client is no server", client, &pki.partner_ca.certificate, KeyUsage::server_auth(), false),
        ("another CA", client, &pki.institution_ca.certificate, KeyUsage::client_auth(), false),
        ("untrusted", &pki.untrusted_client, &pki.partner_ca.certificate, KeyUsage::client_auth(), false),
        ("expired", &pki.expired_client, &pki.partner_ca.certificate, KeyUsage::client_auth(), false),
    ] {
        assert_eq!(chain_holds(&leaf.certificate, ca, usage, NOW).is_ok(), good, "{name}");
    }
    let long_ago = NOW.minus(std::time::Duration::from_hours(48));
    let expired =
        chain_holds(&pki.expired_client.certificate, &pki.partner_ca.certificate, KeyUsage::client_auth(), long_ago);
    assert_eq!(expired, Ok(()), "its age is all that is wrong with it");
    for impostor in [&pki.untrusted_client, &pki.expired_client] {
        assert_eq!(subject(impostor), subject(client), "only trust and time tell them apart");
    }
}

fn subject(identity: &Identity) -> String {
    let bytes = der(&identity.certificate);
    X509Certificate::from_der(&bytes).unwrap().1.subject().to_string()
}

#[test]
fn servers_answer_to_every_name_of_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    let pki = make_set(folder.path());
    for identity in [&pki.server, &pki.bank, &pki.insurer, &pki.fintech, &pki.mock] {
        let leaf = der(&identity.certificate);
        let entity = webpki::EndEntityCert::try_from(&leaf).unwrap();
        for name in ["localhost", "127.0.0.1", "::1"] {
            entity.verify_is_valid_for_subject_name(&ServerName::try_from(name).unwrap()).unwrap();
        }
        assert!(entity.verify_is_valid_for_subject_name(&ServerName::try_from("example.org").unwrap()).is_err());
    }
}

#[test]
fn extensions_are_as_rfc_5280_wants_them() {
    let folder = tempfile::tempdir().unwrap();
    let pki = make_set(folder.path());
    let mut serials = std::collections::BTreeSet::new();
    for (path, is_ca) in [
        (&pki.server_ca, true),
        (&pki.partner_ca.certificate, true),
        (&pki.server.certificate, false),
        (&pki.clients["acme"].certificate, false),
        (&pki.self_signed_client.certificate, false),
    ] {
        let bytes = der(path);
        let (_, certificate) = X509Certificate::from_der(&bytes).unwrap();
        let usage = certificate.key_usage().unwrap().unwrap();
        let constraints = certificate.basic_constraints().unwrap().unwrap();
        assert_eq!(constraints.value.ca, is_ca, "{path:?}");
        assert!(usage.critical && usage.value.key_cert_sign() == is_ca, "{path:?}");
        let identified = certificate.extensions().iter().map(|e| e.oid.to_id_string()).collect::<Vec<_>>();
        assert!(identified.contains(&"2.5.29.14".to_owned()), "{path:?} has a subject key identifier");
        assert!(identified.contains(&"2.5.29.35".to_owned()), "{path:?} has an authority key identifier");
        assert!(certificate.raw_serial().len() <= 20 && !certificate.tbs_certificate.serial.eq(&0u8.into()));
        assert!(serials.insert(certificate.raw_serial().to_vec()), "serials differ");
    }
    let bytes = der(&pki.clients["acme"].certificate);
    let (_, certificate) = X509Certificate::from_der(&bytes).unwrap();
    assert_eq!(certificate.subject().to_string(), "C=GB, O=Acme Budget Ltd, CN=acme");
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    assert_eq!(names.value.general_names, [GeneralName::DNSName("acme")]);
}

#[test]
fn the_server_ca_cannot_certify_the_world_and_its_key_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let pki = make_set(folder.path());
    assert!(!folder.path().join("server-ca.key").exists());
    let bytes = der(&pki.server_ca);
    let (_, certificate) = X509Certificate::from_der(&bytes).unwrap();
    let constraints = certificate.name_constraints().unwrap().unwrap();
    assert!(constraints.critical);
    assert_eq!(constraints.value.permitted_subtrees.as_ref().unwrap().len(), 3);
}

#[test]
fn keys_are_for_their_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("pki");
    make_set(&inner);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&inner), 0o700);
    for entry in std::fs::read_dir(&inner).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "key") {
            assert_eq!(mode(&path), 0o600, "{path:?}");
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
}

#[test]
fn a_good_set_is_kept_and_a_bad_one_is_made_anew() {
    type Spoil = fn(&DemoPki);
    let one_day_left = NOW.plus(std::time::Duration::from_hours(89 * 24));
    let stranger = |pki: &DemoPki| copy(&pki.self_signed_client.certificate, &pki.expired_client.certificate);
    for (name, spoil, now, kept) in [
        ("untouched", (|_| ()) as Spoil, NOW, true),
        ("later", |_| (), NOW.plus(std::time::Duration::from_hours(88 * 24)), true),
        ("its last day", |_| (), one_day_left, false),
        ("a key is missing", |pki| std::fs::remove_file(&pki.bank.key).unwrap(), NOW, false),
        ("a key of another", |pki| copy(&pki.bank.key, &pki.insurer.key), NOW, false),
        ("another CA", |pki| copy(&pki.untrusted_ca, &pki.partner_ca.certificate), NOW, false),
        ("an impostor in another name", stranger, NOW, false),
        ("broken file", |pki| std::fs::write(&pki.server.certificate, "no").unwrap(), NOW, false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let pki = make_set(folder.path());
        let before = std::fs::read(&pki.gateway_client.certificate).unwrap();
        spoil(&pki);
        ensure(&settings(folder.path()), now, &FixedRandom::new(9)).unwrap();
        assert_eq!(std::fs::read(&pki.gateway_client.certificate).unwrap() == before, kept, "{name}");
        assert!(kept::holds(&pki.insurer, &pki.institution_ca.certificate, now), "{name}");
    }
}

#[test]
fn an_authority_read_back_signs_on() {
    let folder = tempfile::tempdir().unwrap();
    let pki = make_set(folder.path());
    let key = std::fs::read_to_string(&pki.partner_ca.key).unwrap();
    let certificate = std::fs::read_to_string(&pki.partner_ca.certificate).unwrap();
    let authority = Authority::from_pem(&certificate, &key.into()).unwrap();
    let leaf = Leaf::client("late-joiner", "Late Joiner Ltd");
    let issued = authority.issue(&leaf, Validity::ninety_days(NOW), &FixedRandom::new(3)).unwrap();
    let identity = Identity::named(folder.path(), "late-joiner");
    identity.write(&issued).unwrap();
    assert!(kept::holds(&identity, &pki.partner_ca.certificate, NOW));
}

//! Client certificates: what the strict reading takes is DER to the last byte, and says nothing that breaks a log line.
#![no_main]

use clearway::front::fuzzing::read_chain;
use clearway::jose::sha256;
use clearway::oauth::DistinguishedName;
use libfuzzer_sys::fuzz_target;
use rustls_pki_types::CertificateDer;

fuzz_target!(|der: &[u8]| {
    let Ok(facts) = read_chain(&[CertificateDer::from(der)]) else { return };
    assert_eq!(facts.thumbprint.0, sha256(der));
    assert!(!facts.subject.chars().any(char::is_control), "a control character in {:?}", facts.subject);
    assert!(der.windows(facts.subject_der.len()).any(|window| window == facts.subject_der), "a subject of its own");
    for name in facts.alt_names.dns.iter().chain(&facts.alt_names.uri).chain(&facts.alt_names.email) {
        assert!(name.is_ascii(), "IA5String {name:?}");
    }
    // The name as text means the name as DER, wherever the text can be read at all.
    if let (Ok(binary), Ok(text)) =
        (DistinguishedName::from_der(&facts.subject_der), DistinguishedName::parse(&facts.subject))
    {
        assert_eq!(binary, text, "{:?}", facts.subject);
    }
    let mut longer = der.to_vec();
    longer.push(0);
    assert!(read_chain(&[CertificateDer::from(longer)]).is_err(), "a byte behind the end is taken");
    let many = vec![CertificateDer::from(der); 11];
    assert!(read_chain(&many).is_err(), "a chain of eleven");
});

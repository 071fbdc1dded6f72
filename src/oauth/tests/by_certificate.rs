//! `tls_client_auth` and `self_signed_tls_client_auth`.

use super::*;

async fn authenticate(world: &World, id: &str, certificate: Option<PeerCertificate>) -> Result<(), OAuthError> {
    let parameters = [("grant_type", "client_credentials"), ("client_id", id)];
    world.post_token(&parameters, &connection(certificate)).await.map(drop)
}

#[tokio::test]
async fn a_certificate_proves_the_client_that_registered_it() {
    use ChainTrust::{Trusted, Unverified};
    let world = world().await;
    let other_subject = |chain| {
        let mut der = SUBJECT;
        der[28] = b'x';
        PeerCertificate { subject_der: Arc::from(der), ..certificate(1, chain) }
    };
    let other_names = |chain| PeerCertificate { alt_names: SubjectAltNames::default(), ..certificate(1, chain) };
    for (name, id, certificate, good) in [
        ("subject name", "dn", Some(certificate(1, Trusted)), true),
        ("subject name, other key", "dn", Some(certificate(2, Trusted)), true),
        ("subject name, untrusted chain", "dn", Some(certificate(1, Unverified)), false),
        ("another subject name", "dn", Some(other_subject(Trusted)), false),
        ("no certificate", "dn", None, false),
        ("DNS name", "dns", Some(certificate(1, Trusted)), true),
        ("DNS name, another subject name", "dns", Some(other_subject(Trusted)), true),
        ("DNS name, untrusted chain", "dns", Some(certificate(1, Unverified)), false),
        ("no DNS name", "dns", Some(other_names(Trusted)), false),
        ("registered certificate", "self", Some(certificate(7, Unverified)), true),
        ("registered certificate of a trusted chain", "self", Some(certificate(7, Trusted)), true),
        ("another self-signed one", "self", Some(certificate(1, Unverified)), false),
        ("another one of a trusted chain", "self", Some(certificate(1, Trusted)), false),
        ("no certificate for self-signed", "self", None, false),
        ("another client's", "self", Some(certificate(8, Unverified)), false),
        ("a client of assertions", "jwt", Some(certificate(1, Trusted)), false),
        ("an unknown client", "nobody", Some(certificate(1, Trusted)), false),
        ("no client id", "not an id", Some(certificate(1, Trusted)), false),
    ] {
        let outcome = authenticate(&world, id, certificate).await;
        match good {
            true => assert!(outcome.is_ok(), "{name}: {outcome:?}"),
            false => assert!(matches!(outcome, Err(OAuthError::InvalidClient(_))), "{name}: {outcome:?}"),
        }
    }
}

#[tokio::test]
async fn the_token_is_bound_to_the_certificate_that_proved_the_client() {
    let world = world().await;
    let parameters = [("grant_type", "client_credentials"), ("client_id", "dn")];
    let connection = connection(Some(certificate(1, ChainTrust::Trusted)));
    let answer = world.post_token(&parameters, &connection).await.unwrap();
    let (_, claims) = read(&world, &answer.body.access_token);
    assert_eq!(claims["cnf"]["x5t#S256"], Thumbprint([1; 32]).to_string());
}

#[tokio::test]
async fn an_assertion_beside_it_does_not_help_a_client_of_certificates() {
    let world = world().await;
    let assertion = world.assertion("self", "j");
    let mut parameters = with_assertion(&assertion);
    parameters.push(("grant_type", "client_credentials"));
    let connection = connection(Some(certificate(7, ChainTrust::Unverified)));
    let outcome = world.post_token(&parameters, &connection).await.map(drop);
    assert!(matches!(outcome, Err(OAuthError::InvalidClient(ClientAuthenticationError::OtherMethod))), "{outcome:?}");
}

#[tokio::test]
async fn each_kind_of_subject_is_compared_by_its_own_rule() {
    let names = SubjectAltNames {
        dns: vec!["a.example".into(), "TPP.example".into()],
        uri: vec!["urn:tpp:1".into()],
        ip: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        email: vec!["Ops@TPP.example".into()],
    };
    let world = world().await;
    for (name, subject, good) in [
        ("DNS", TlsSubject::SanDns("tpp.example".into()), true),
        ("DNS, first of two", TlsSubject::SanDns("a.example".into()), true),
        ("DNS, a subdomain", TlsSubject::SanDns("x.tpp.example".into()), false),
        ("DNS, a wildcard is no rule", TlsSubject::SanDns("*.example".into()), false),
        ("URI", TlsSubject::SanUri("urn:tpp:1".into()), true),
        ("URI in another case", TlsSubject::SanUri("urn:TPP:1".into()), false),
        ("URI, longer", TlsSubject::SanUri("urn:tpp:10".into()), false),
        ("IPv4", TlsSubject::SanIp("192.0.2.1".parse().unwrap()), true),
        ("IPv6 in another spelling", TlsSubject::SanIp("2001:DB8:0:0::1".parse().unwrap()), true),
        ("another address", TlsSubject::SanIp("192.0.2.2".parse().unwrap()), false),
        ("mapped IPv4 is another address", TlsSubject::SanIp("::ffff:192.0.2.1".parse().unwrap()), false),
        ("email", TlsSubject::SanEmail("Ops@tpp.EXAMPLE".into()), true),
        ("email, another mailbox", TlsSubject::SanEmail("ops@tpp.example".into()), false),
        ("email, another domain", TlsSubject::SanEmail("Ops@tpp2.example".into()), false),
        ("email without a domain", TlsSubject::SanEmail("Ops".into()), false),
        ("name", TlsSubject::Dn("cn=TPP, c=gb".parse().unwrap()), true),
        ("name in the other order", TlsSubject::Dn("C=GB,CN=tpp".parse().unwrap()), false),
    ] {
        let mut registry = Registry::default();
        let id = ClientId::parse("c").unwrap();
        let authentication = ClientAuthentication::TlsClientAuth(subject);
        let registration = ClientRegistration {
            sender_constraint: SenderConstraint::Certificate,
            ..registration(&id, authentication, ClientKeys::None)
        };
        registry.0.insert(id, (Arc::new(client("c", "acme")), Arc::new(registration)));
        let parts = Parts { clients: Arc::new(registry), ..world.server.parts.clone() };
        let server = AuthorizationServer::new(settings(), parts).unwrap();
        let certificate = PeerCertificate { alt_names: names.clone(), ..certificate(1, ChainTrust::Trusted) };
        let (headers, connection) = (form_headers(), connection(Some(certificate)));
        let body = encode(&[("grant_type", "client_credentials"), ("client_id", "c")]);
        let request = Request { headers: &headers, body: body.as_bytes(), connection: &connection };
        assert_eq!(server.token(request).await.is_ok(), good, "{name}");
    }
}

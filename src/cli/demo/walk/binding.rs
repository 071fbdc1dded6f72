//! A stolen token is of no use: it works with the certificate to which it is bound, and with no other.

use std::sync::Arc;

use anyhow::{bail, ensure};
use http::Method;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::outside::{BRIGHTBOOKS, FARVIEW, Outside, UNTRUSTED};
use super::reading::ACCOUNTS;
use super::reply::Reply;
use super::report::Report;
use crate::sandbox::pki::Identity;

pub(super) async fn walk(outside: &Outside<'_>, report: &mut Report) {
    report.theme("A stolen token");
    let binding = "401 token-binding, error=\"invalid_token\"";
    report.check("with another client's certificate", binding, with(outside, FARVIEW, "token-binding")).await;
    report.check("without a certificate", binding, without(outside)).await;
    let untrusted = "401 certificate-untrusted";
    report
        .check("with a certificate of nobody's CA", untrusted, with(outside, UNTRUSTED, "certificate-untrusted"))
        .await;
    let expired = Some(&outside.demo.pki.expired_client);
    let expected = "no connection, an alert about the certificate";
    report.check("with an expired certificate", expected, alerted(outside, expired, "alert: Certificate")).await;
    let expected = "no connection, alert certificate_required";
    report.check("none at the mutual-TLS listener", expected, alerted(outside, None, "CertificateRequired")).await;
}

async fn with(outside: &Outside<'_>, thief: &str, code: &str) -> anyhow::Result<String> {
    let token = outside.token(BRIGHTBOOKS, "accounts").await?;
    let received = outside.bank_received();
    let reply = Reply::to(outside.certified(thief, Method::GET, ACCOUNTS).bearer_auth(token)).await?;
    expect_refusal(outside, &reply, code, received)
}

async fn without(outside: &Outside<'_>) -> anyhow::Result<String> {
    let token = outside.token(BRIGHTBOOKS, "accounts").await?;
    let received = outside.bank_received();
    let reply = Reply::to(outside.public(Method::GET, ACCOUNTS).bearer_auth(token)).await?;
    expect_refusal(outside, &reply, "token-binding", received)
}

fn expect_refusal(outside: &Outside<'_>, reply: &Reply, code: &str, received: u64) -> anyhow::Result<String> {
    reply.problem(401, code)?;
    reply.expect_in_field("www-authenticate", "Bearer ")?;
    reply.expect_in_field("www-authenticate", "error=\"invalid_token\"")?;
    ensure!(outside.bank_received() == received, "the bank received the request");
    Ok(format!("401 {code}"))
}

/// What the mutual-TLS listener answers to this identity, or to none.
async fn greeting(outside: &Outside<'_>, identity: Option<&Identity>) -> anyhow::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&outside.demo.pki.server_ca)?)?;
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = vec![CertificateDer::from_pem_file(&identity.certificate)?];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&identity.key)?)?
        }
    };
    let address = outside.demo.mtls_url.trim_start_matches("https://");
    let stream = TcpStream::connect(address).await?;
    let mut stream = TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost")?, stream).await?;
    // TLS 1.3: the server judges the certificate after the client has finished (RFC 8446 §4.4.2.4).
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).lines().next().unwrap_or("nothing").to_owned())
}

/// RFC 8446 §6.2: the caller is told why.
async fn alerted(outside: &Outside<'_>, identity: Option<&Identity>, alert: &str) -> anyhow::Result<String> {
    match greeting(outside, identity).await {
        Ok(answer) => bail!("the connection was made, and answered {answer:?}"),
        Err(error) => {
            let cause = format!("{error:#}");
            ensure!(cause.contains(alert), "{cause}");
            Ok(cause)
        }
    }
}

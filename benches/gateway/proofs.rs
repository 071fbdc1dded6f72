//! What a proof of possession costs: the same calls with DPoP-bound (RFC 9449 §7) and with certificate-bound tokens
//! (RFC 8705 §3).
//!
//! Every request is written, and every proof signed, before the clock starts, so that the load does no more for the one
//! than for the other. A proof is used once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use clearway::jose::{Algorithm, SigningKey, sha256};
use futures_util::future::try_join_all;
use rustls::ClientConfig;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::issuance::{certified_token, now, proven_tokens, unique};
use super::lifecycle::Gateway;
use super::load::{client, connect, read_answer};
use super::scene::{ISSUER, Scene, target};

/// More than a core admits in a second…
const REQUESTS_PER_SECOND: f64 = 25_000.0;
/// …and as many as memory should hold: a request with a proof has a kilobyte and a half.
const REQUESTS_MAX: f64 = 100_000.0;

/// Who calls in both ways, each on a connection of its own.
pub struct Callers<'s> {
    scene: &'s Scene,
    gateway: &'s Gateway,
    key: SigningKey,
    proven: Vec<String>,
    certified: Vec<String>,
}

impl<'s> Callers<'s> {
    pub async fn new(scene: &'s Scene, gateway: &'s Gateway, count: usize) -> anyhow::Result<Self> {
        let (key, _) = SigningKey::generate(Algorithm::Es256)?;
        let addresses = gateway.addresses;
        let proven = proven_tokens(scene, addresses, &key, count).await?;
        let mut certified = Vec::with_capacity(count);
        for number in 0..count {
            certified.push(certified_token(scene, addresses, number).await?);
        }
        Ok(Self { scene, gateway, key, proven, certified })
    }

    /// CPU-seconds of the gateway for a call with a proof.
    pub async fn proven(&self, length: Duration) -> anyhow::Result<f64> {
        let tls = client(self.scene, false, None)?;
        let mut prepared = Vec::with_capacity(self.proven.len());
        for (number, token) in self.proven.iter().enumerate() {
            let ath = BASE64_URL_SAFE_NO_PAD.encode(sha256(token.as_bytes()));
            let targets = self.targets(number, length);
            let requests = targets.map(|target| self.proven_request(&target, token, &ath));
            prepared.push((Arc::clone(&tls), requests.collect::<anyhow::Result<_>>()?));
        }
        self.spend(self.gateway.addresses.public, prepared, length).await
    }

    /// CPU-seconds of the gateway for a call with a certificate.
    pub async fn certified(&self, length: Duration) -> anyhow::Result<f64> {
        let mut prepared = Vec::with_capacity(self.certified.len());
        for (number, token) in self.certified.iter().enumerate() {
            let requests =
                self.targets(number, length).map(|target| request(&target, &format!("authorization: Bearer {token}")));
            prepared.push((client(self.scene, false, Some(number))?, requests.collect()));
        }
        self.spend(self.gateway.addresses.mtls, prepared, length).await
    }

    /// What one caller calls in one round: every operation by turns.
    fn targets(&self, number: usize, length: Duration) -> impl Iterator<Item = String> {
        let all = (length.as_secs_f64() * REQUESTS_PER_SECOND).min(REQUESTS_MAX) as usize;
        let operations = self.scene.size.operations;
        (0..(all / self.proven.len()).max(1)).map(move |each| target((number + each) % operations))
    }

    fn proven_request(&self, target: &str, token: &str, ath: &str) -> anyhow::Result<Vec<u8>> {
        let (path, _) = target.split_once('?').unwrap_or((target, ""));
        let htu = format!("{ISSUER}{path}");
        let claims = json!({ "jti": unique(), "htm": "GET", "htu": htu, "iat": now()?, "ath": ath });
        let proof = self.key.prove(&claims)?;
        Ok(request(target, &format!("authorization: DPoP {token}\r\ndpop: {proof}")))
    }

    /// Sends what was prepared until it ends, or the time does.
    async fn spend(
        &self,
        address: SocketAddr,
        prepared: Vec<(Arc<ClientConfig>, Vec<Vec<u8>>)>,
        length: Duration,
    ) -> anyhow::Result<f64> {
        let mut connected = Vec::with_capacity(prepared.len());
        for (tls, requests) in prepared {
            connected.push((connect(address, &tls).await?, requests));
        }
        let (cpu, began) = (self.gateway.process.cpu_seconds()?, Instant::now());
        let callers = connected.into_iter().map(|(mut stream, requests)| async move {
            let (mut buffer, mut answered) = (Vec::with_capacity(4096), 0_u64);
            for request in &requests {
                if began.elapsed() >= length {
                    break;
                }
                stream.write_all(request).await?;
                stream.flush().await?;
                read_answer(&mut stream, &mut buffer, 200).await?;
                answered += 1;
            }
            anyhow::Ok(answered)
        });
        let answered: u64 = try_join_all(callers).await?.into_iter().sum();
        anyhow::ensure!(answered > 0, "no request was answered");
        Ok((self.gateway.process.cpu_seconds()? - cpu) / answered as f64)
    }
}

/// What `load` asks too, with other credentials.
fn request(target: &str, credentials: &str) -> Vec<u8> {
    format!(
        "GET {target} HTTP/1.1\r\nhost: localhost\r\n{credentials}\r\n\
         accept: application/json\r\nuser-agent: bench/1\r\nx-page-size: 25\r\n\r\n"
    )
    .into_bytes()
}

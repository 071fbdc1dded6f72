//! Tokens: those that the callers need, and how many a CPU-second makes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::future::try_join_all;
use rustls::ClientConfig;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::lifecycle::Gateway;
use super::load::{Asked, Caller, Load, Transport, client, client_with, connect};
use super::process::{Process, pinned_command};
use super::scene::{ISSUER, Scene, USED_CLIENTS, bearer, bound};
use super::wire;

/// Where the gateway listens.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    pub public: SocketAddr,
    pub mtls: SocketAddr,
    pub operations: SocketAddr,
}

/// How a client authenticates at the token endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    TlsClientAuth,
    SelfSigned,
    PrivateKeyJwt,
}

impl Method {
    pub const ALL: [Self; 3] = [Self::TlsClientAuth, Self::SelfSigned, Self::PrivateKeyJwt];

    pub const fn name(self) -> &'static str {
        match self {
            Self::TlsClientAuth => "tls_client_auth",
            Self::SelfSigned => "self_signed_tls_client_auth",
            Self::PrivateKeyJwt => "private_key_jwt",
        }
    }
}

/// The callers of a transport, each with a fresh token.
pub async fn callers(scene: &Scene, addresses: Addresses, transport: Transport) -> anyhow::Result<Vec<Caller>> {
    let mut callers = Vec::with_capacity(USED_CLIENTS);
    let plain = client(scene, transport == Transport::TlsHttp2, None)?;
    let mut public = Endpoint::connect(addresses.public, &client(scene, false, None)?).await?;
    for number in 0..USED_CLIENTS {
        let token = match transport {
            Transport::MutualTls => {
                let tls = client(scene, false, Some(number))?;
                Endpoint::connect(addresses.mtls, &tls).await?.token(&by_certificate(&bound(number))).await?
            }
            Transport::TlsHttp1 | Transport::TlsHttp2 => public.token(&by_assertion(scene, number)?).await?,
        };
        let tls = match transport {
            Transport::MutualTls => client(scene, false, Some(number))?,
            Transport::TlsHttp1 | Transport::TlsHttp2 => Arc::clone(&plain),
        };
        callers.push(Caller { tls, token });
    }
    Ok(callers)
}

fn by_certificate(client: &str) -> String {
    format!("grant_type=client_credentials&scope=accounts&client_id={client}")
}

/// RFC 7523 §2.2, with an assertion that was never used.
fn by_assertion(scene: &Scene, number: usize) -> anyhow::Result<String> {
    let (client, now) = (bearer(number), std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs());
    let jti = clearway::domain::InteractionId::from_random(random()).to_string();
    let claims = json!({ "iss": client, "sub": client, "aud": ISSUER, "jti": jti, "iat": now, "exp": now + 240 });
    let assertion = scene.assertion_key.sign("JWT", &claims)?;
    Ok(format!(
        "grant_type=client_credentials&scope=accounts\
         &client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer\
         &client_assertion={assertion}"
    ))
}

fn random() -> [u8; 16] {
    let random: &dyn clearway::domain::Random = &clearway::server::SystemRandom;
    random.bytes()
}

/// A kept connection to the token endpoint.
struct Endpoint {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

impl Endpoint {
    async fn connect(address: SocketAddr, tls: &Arc<ClientConfig>) -> anyhow::Result<Self> {
        Ok(Self { stream: connect(address, tls).await?, buffer: Vec::with_capacity(4096) })
    }

    async fn token(&mut self, form: &str) -> anyhow::Result<String> {
        let length = form.len();
        let request = format!(
            "POST /oauth/token HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-www-form-urlencoded\r\n\
             content-length: {length}\r\n\r\n{form}"
        );
        self.stream.write_all(request.as_bytes()).await?;
        self.stream.flush().await?;
        loop {
            if let Some(whole) = wire::response(&self.buffer) {
                let body = self.buffer.get(whole.body.clone()).unwrap_or_default();
                anyhow::ensure!(whole.status == 200, "no token: {}", String::from_utf8_lossy(&self.buffer));
                let answer: Value = serde_json::from_slice(body)?;
                self.buffer.drain(..whole.body.end);
                return Ok(answer.get("access_token").and_then(Value::as_str).context("no token")?.to_owned());
            }
            let read = self.stream.read_buf(&mut self.buffer).await?;
            anyhow::ensure!(read > 0, "the token endpoint closed the connection");
        }
    }
}

/// Tokens per CPU-second of the gateway, over kept connections, eight requests at a time.
pub async fn rate(
    scene: &Scene,
    addresses: Addresses,
    gateway: &Process,
    method: Method,
    length: Duration,
) -> anyhow::Result<f64> {
    let mut endpoints = Vec::new();
    for number in 0..8 {
        let (address, tls) = match method {
            Method::TlsClientAuth => (addresses.mtls, client(scene, false, Some(number))?),
            Method::SelfSigned => (addresses.mtls, client_with(scene, false, Some(&scene.pki.self_signed_client))?),
            Method::PrivateKeyJwt => (addresses.public, client(scene, false, None)?),
        };
        endpoints.push((number, Endpoint::connect(address, &tls).await?));
    }
    let (cpu, began) = (gateway.cpu_seconds()?, Instant::now());
    let workers = endpoints.into_iter().map(|(number, mut endpoint)| async move {
        let mut made = 0_u64;
        while began.elapsed() < length {
            let form = match method {
                Method::TlsClientAuth => by_certificate(&bound(number)),
                Method::SelfSigned => by_certificate("self-signed"),
                Method::PrivateKeyJwt => by_assertion(scene, number)?,
            };
            endpoint.token(&form).await?;
            made += 1;
        }
        anyhow::Ok(made)
    });
    let made: u64 = try_join_all(workers).await?.into_iter().sum();
    Ok(made as f64 / (gateway.cpu_seconds()? - cpu))
}

/// The same caller with a token that someone else signed: everything about it is right but that.
pub fn forged(caller: &Caller) -> anyhow::Result<Caller> {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
    use base64::Engine as _;
    let (signed, _) = caller.token.rsplit_once('.').context("a JWS has three parts")?;
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
    let signature = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(key.sign(&random, signed.as_bytes())?);
    Ok(Caller { tls: Arc::clone(&caller.tls), token: format!("{signed}.{signature}") })
}

/// Connects everybody, then spends the flood guard: all that comes on these connections later is turned away.
pub async fn spend_guard(
    gateway: &Gateway,
    callers: &[Caller],
    looked_at: Asked,
    turned_away: Asked,
) -> anyhow::Result<Load> {
    let spender = callers.get(..1).context("a caller")?;
    let load = Load::paused(gateway.address(turned_away.transport), callers, turned_away).await?;
    let spending = Load::start(gateway.address(looked_at.transport), spender, looked_at).await?;
    let refused = spending.ended().await;
    anyhow::ensure!(refused.is_err(), "the flood guard was never spent");
    load.resume();
    Ok(load)
}

/// ES256 signatures and verifications per CPU-second, raw, in a process pinned like the gateway.
pub fn raw_rates() -> anyhow::Result<(f64, f64)> {
    let own = std::env::current_exe()?;
    let mut command = pinned_command(&own);
    command.env("CLEARWAY_BENCH_ROLE", "signer").stdout(std::process::Stdio::piped());
    let line = Process::spawn(&mut command)?.line()?;
    let (signing, verifying) = line.trim().split_once(' ').context("two rates")?;
    Ok((signing.parse()?, verifying.parse()?))
}

/// The child's part of [`raw_rates`]: nothing but the cryptography.
pub fn sign_for_a_while() -> anyhow::Result<()> {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
    };
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)?;
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref())?;
    let message = [b'x'; 600];
    let signature = key.sign(&random, &message)?;
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public_key().as_ref().to_vec());
    let signing = per_cpu_second(|| key.sign(&random, &message).is_ok())?;
    let verifying = per_cpu_second(|| public.verify(&message, signature.as_ref()).is_ok())?;
    println!("{signing} {verifying}");
    Ok(())
}

/// How often a CPU-second has room for something; one second long.
fn per_cpu_second(mut once: impl FnMut() -> bool) -> anyhow::Result<f64> {
    let used = own_cpu_seconds;
    let began = Instant::now();
    let (cpu, mut made) = (used()?, 0_u32);
    while began.elapsed() < Duration::from_secs(1) {
        anyhow::ensure!(once(), "it failed");
        made += 1;
    }
    Ok(f64::from(made) / (used()? - cpu))
}

/// CPU-seconds of this thread.
fn own_cpu_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(stat.split_whitespace().next().context("no schedstat")?.parse::<f64>()? / 1e9)
}

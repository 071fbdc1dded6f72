//! Tokens: those that the callers need, and how many a CPU-second makes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clearway::jose::SigningKey;
use futures_util::future::try_join_all;
use serde_json::json;

use super::endpoint::Endpoint;
use super::lifecycle::Gateway;
use super::load::{Asked, Caller, Load, Transport, client, client_with};
use super::process::{Process, pinned_command};
use super::scene::{
    ASKING_CLIENTS, ISSUER, REDIRECT_URI, SECRET, SECRETIVE, Scene, USED_CLIENTS, asserting, bearer, bound, proving,
    visiting,
};
use super::visits::{VERIFIER, Visitor, form};

const TOKEN: &str = "/oauth/token";
/// More than a core exchanges.
const CODES_PER_SECOND: f64 = 4_000.0;
/// Of one client: preparing more would take too long.
const CODES_MAX: usize = 500;

/// Where the gateway listens.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    pub public: SocketAddr,
    pub mtls: SocketAddr,
    pub operations: SocketAddr,
}

/// A way to a token: how the client authenticates, and what the token is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    TlsClientAuth,
    SelfSigned,
    PrivateKeyJwtBearer,
    PrivateKeyJwtCertificate,
    PrivateKeyJwtDpop,
    ClientSecretBasic,
    RefreshToken,
    AuthorizationCode,
}

impl Method {
    pub const ALL: [Self; 8] = [
        Self::TlsClientAuth,
        Self::SelfSigned,
        Self::PrivateKeyJwtBearer,
        Self::PrivateKeyJwtCertificate,
        Self::PrivateKeyJwtDpop,
        Self::ClientSecretBasic,
        Self::RefreshToken,
        Self::AuthorizationCode,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::TlsClientAuth => "tls_client_auth",
            Self::SelfSigned => "self_signed_tls_client_auth",
            Self::PrivateKeyJwtBearer => "private_key_jwt, unbound",
            Self::PrivateKeyJwtCertificate => "private_key_jwt, certificate-bound",
            Self::PrivateKeyJwtDpop => "private_key_jwt, DPoP",
            Self::ClientSecretBasic => "client_secret_basic (plain-oauth)",
            Self::RefreshToken => "refresh_token (tls_client_auth)",
            Self::AuthorizationCode => "authorization_code (tls_client_auth)",
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
            Transport::MutualTls => certified_token(scene, addresses, number).await?,
            Transport::TlsHttp1 | Transport::TlsHttp2 => {
                token(&mut public, "", &by_assertion(scene, &bearer(number))?).await?
            }
        };
        let tls = match transport {
            Transport::MutualTls => client(scene, false, Some(number))?,
            Transport::TlsHttp1 | Transport::TlsHttp2 => Arc::clone(&plain),
        };
        callers.push(Caller { tls, token });
    }
    Ok(callers)
}

/// A token by certificate, bound to it.
pub async fn certified_token(scene: &Scene, addresses: Addresses, number: usize) -> anyhow::Result<String> {
    let mut endpoint = Endpoint::connect(addresses.mtls, &client(scene, false, Some(number))?).await?;
    token(&mut endpoint, "", &by_certificate(&bound(number))).await
}

/// Tokens of as many clients, each bound to this key.
pub async fn proven_tokens(
    scene: &Scene,
    addresses: Addresses,
    key: &SigningKey,
    count: usize,
) -> anyhow::Result<Vec<String>> {
    let mut public = Endpoint::connect(addresses.public, &client(scene, false, None)?).await?;
    let mut tokens = Vec::with_capacity(count);
    for number in 0..count {
        tokens.push(token(&mut public, &token_proof(key)?, &by_assertion(scene, &proving(number))?).await?);
    }
    Ok(tokens)
}

async fn token(endpoint: &mut Endpoint, fields: &str, form: &str) -> anyhow::Result<String> {
    endpoint.post(TOKEN, fields, form).await?.expect(200)?.text("access_token")
}

fn by_certificate(client: &str) -> String {
    format!("grant_type=client_credentials&scope=accounts&client_id={client}")
}

/// RFC 7523 §2.2, with an assertion that was never used.
fn by_assertion(scene: &Scene, client: &str) -> anyhow::Result<String> {
    let now = now()?;
    let claims = json!({ "iss": client, "sub": client, "aud": ISSUER, "jti": unique(), "iat": now, "exp": now + 240 });
    let assertion = scene.assertion_key.sign("JWT", &claims)?;
    Ok(format!(
        "grant_type=client_credentials&scope=accounts\
         &client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer\
         &client_assertion={assertion}"
    ))
}

/// The field of a proof for the token endpoint (RFC 9449 §5).
fn token_proof(key: &SigningKey) -> anyhow::Result<String> {
    let htu = format!("{ISSUER}{TOKEN}");
    let proof = key.prove(&json!({ "jti": unique(), "htm": "POST", "htu": htu, "iat": now()? }))?;
    Ok(format!("dpop: {proof}\r\n"))
}

pub fn now() -> anyhow::Result<u64> {
    Ok(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs())
}

pub fn unique() -> String {
    let random: &dyn clearway::domain::Random = &clearway::server::SystemRandom;
    clearway::domain::InteractionId::from_random(random.bytes()).to_string()
}

/// One client that asks for tokens in one way.
struct Asker<'s> {
    scene: &'s Scene,
    method: Method,
    number: usize,
    /// Where tokens are asked for.
    endpoint: Endpoint,
    /// The browser of its user, if there is one.
    visitor: Option<Visitor>,
    /// Codes, each to be used once; or a refresh token, which stays.
    prepared: Vec<String>,
}

impl<'s> Asker<'s> {
    async fn new(scene: &'s Scene, addresses: Addresses, method: Method, number: usize) -> anyhow::Result<Self> {
        let (address, tls) = match method {
            Method::TlsClientAuth
            | Method::PrivateKeyJwtCertificate
            | Method::RefreshToken
            | Method::AuthorizationCode => (addresses.mtls, client(scene, false, Some(number))?),
            Method::SelfSigned => (addresses.mtls, client_with(scene, false, Some(&scene.pki.self_signed_client))?),
            Method::PrivateKeyJwtBearer | Method::PrivateKeyJwtDpop | Method::ClientSecretBasic => {
                (addresses.public, client(scene, false, None)?)
            }
        };
        let visited = matches!(method, Method::RefreshToken | Method::AuthorizationCode);
        let visitor = if visited { Some(Visitor::sign_in(scene, addresses, number).await?) } else { None };
        let endpoint = Endpoint::connect(address, &tls).await?;
        Ok(Self { scene, method, number, endpoint, visitor, prepared: Vec::new() })
    }

    /// Has its user approve what is needed.
    async fn prepare(mut self, codes: usize) -> anyhow::Result<Self> {
        let Some(mut visitor) = self.visitor.take() else { return Ok(self) };
        if self.method == Method::AuthorizationCode {
            self.prepared = visitor.codes(codes).await?;
            return Ok(self);
        }
        let code = visitor.code().await?;
        let answer = self.endpoint.post(TOKEN, "", &by_code(&visiting(self.number), &code)).await?.expect(200)?;
        self.prepared = vec![answer.text("refresh_token")?];
        Ok(self)
    }

    /// Further fields and the form of the next request; `None` when what was prepared is used up.
    fn request(&mut self) -> anyhow::Result<Option<(String, String)>> {
        let Self { scene, number, .. } = *self;
        let plain = |form: String| (String::new(), form);
        Ok(Some(match self.method {
            Method::TlsClientAuth => plain(by_certificate(&bound(number))),
            Method::SelfSigned => plain(by_certificate("self-signed")),
            Method::PrivateKeyJwtBearer => plain(by_assertion(scene, &bearer(number))?),
            Method::PrivateKeyJwtCertificate => plain(by_assertion(scene, &asserting(number))?),
            Method::PrivateKeyJwtDpop => (token_proof(&scene.assertion_key)?, by_assertion(scene, &proving(number))?),
            Method::ClientSecretBasic => {
                let credentials = BASE64_STANDARD.encode(format!("{SECRETIVE}:{SECRET}"));
                let form = "grant_type=client_credentials&scope=accounts".to_owned();
                (format!("authorization: Basic {credentials}\r\n"), form)
            }
            Method::RefreshToken => {
                let token = self.prepared.first().context("no refresh token")?;
                let client = visiting(number);
                plain(format!("grant_type=refresh_token&client_id={client}&refresh_token={token}"))
            }
            Method::AuthorizationCode => {
                let Some(code) = self.prepared.pop() else { return Ok(None) };
                plain(by_code(&visiting(number), &code))
            }
        }))
    }

    /// Tokens until the time is over, or what was prepared.
    async fn ask(mut self, began: Instant, length: Duration) -> anyhow::Result<u64> {
        let mut made = 0;
        while began.elapsed() < length
            && let Some((fields, form)) = self.request()?
        {
            token(&mut self.endpoint, &fields, &form).await?;
            made += 1;
        }
        Ok(made)
    }
}

/// RFC 6749 §4.1.3.
fn by_code(client: &str, code: &str) -> String {
    form(&[
        ("grant_type", "authorization_code"),
        ("client_id", client),
        ("code", code),
        ("redirect_uri", REDIRECT_URI),
        ("code_verifier", VERIFIER),
    ])
}

/// Tokens per CPU-second of the gateway, over kept connections, eight requests at a time. What users must approve first is
/// approved before the clock starts; the codes may end before the time does.
pub async fn rate(
    scene: &Scene,
    addresses: Addresses,
    gateway: &Process,
    method: Method,
    length: Duration,
) -> anyhow::Result<f64> {
    let codes = (length.as_secs_f64() * CODES_PER_SECOND) as usize / ASKING_CLIENTS;
    let mut askers = Vec::with_capacity(ASKING_CLIENTS);
    for number in 0..ASKING_CLIENTS {
        askers.push(Asker::new(scene, addresses, method, number).await?);
    }
    let askers = try_join_all(askers.into_iter().map(|asker| asker.prepare(codes.min(CODES_MAX)))).await?;
    let (cpu, began) = (gateway.cpu_seconds()?, Instant::now());
    let made: u64 = try_join_all(askers.into_iter().map(|asker| asker.ask(began, length))).await?.into_iter().sum();
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
pub fn per_cpu_second(mut once: impl FnMut() -> bool) -> anyhow::Result<f64> {
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

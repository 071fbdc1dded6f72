//! Tokens and assertions, well-formed and not: signed here, by the tests' own hand.

use std::path::Path;
use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom as Entropy;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding,
    RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clearway::domain::Clock;
use clearway::jose::Algorithm;
use clearway::sandbox::pki::AssertionKey;
use clearway::server::SystemClock;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

enum Pair {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
}

/// A key that signs whatever it is told to.
pub struct Key {
    pub algorithm: Algorithm,
    pub jwk: Value,
    pair: Pair,
}

impl Key {
    pub fn generate(algorithm: Algorithm) -> Self {
        Self::of(AssertionKey::generate(algorithm).unwrap(), algorithm)
    }

    /// A key that lies in a PEM file (PKCS #8).
    pub fn read(path: &Path, algorithm: Algorithm) -> Self {
        let pem = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self::of(AssertionKey::from_pem(&pem.into(), algorithm).unwrap(), algorithm)
    }

    fn of(key: AssertionKey, algorithm: Algorithm) -> Self {
        let der = PrivatePkcs8KeyDer::from_pem_slice(key.private_pem.expose_secret().as_bytes()).unwrap();
        let der = der.secret_pkcs8_der();
        let pair = match algorithm {
            Algorithm::Es256 => Pair::P256(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).unwrap()),
            Algorithm::EdDsa => Pair::Ed25519(Ed25519KeyPair::from_pkcs8(der).unwrap()),
            Algorithm::Ps256 | Algorithm::Rs256 => Pair::Rsa(Box::new(RsaKeyPair::from_pkcs8(der).unwrap())),
        };
        Self { algorithm, jwk: key.public_jwk, pair }
    }

    pub fn kid(&self) -> &str {
        self.jwk["kid"].as_str().unwrap()
    }

    /// A JWT with this key's `alg` and `kid` and the given `typ`.
    pub fn jwt(&self, typ: &str, claims: &Value) -> String {
        self.sign(&json!({ "alg": self.algorithm.as_str(), "typ": typ, "kid": self.kid() }), claims)
    }

    /// A JWS over exactly this header, whatever it claims.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let text = signing_input(header, claims);
        let signature = match &self.pair {
            Pair::P256(pair) => pair.sign(&Entropy::new(), text.as_bytes()).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(text.as_bytes()).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                // RFC 7518 §3.3, §3.5: the header says which padding; ours is never RS256 but on purpose.
                let padding: &'static dyn RsaEncoding =
                    if header["alg"] == "RS256" { &RSA_PKCS1_SHA256 } else { &RSA_PSS_SHA256 };
                pair.sign(padding, &Entropy::new(), text.as_bytes(), &mut signature).unwrap();
                signature
            }
        };
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// Header and claims as they are signed.
pub fn signing_input(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

/// A JWS that is "signed" with the public key as if it were a shared secret: the classic confusion (RFC 8725 §2.1).
pub fn hmac_confusion(key: &Key, claims: &Value) -> String {
    let text = signing_input(&json!({ "alg": "HS256", "typ": "at+jwt", "kid": key.kid() }), claims);
    let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key.jwk.to_string().as_bytes());
    let tag = aws_lc_rs::hmac::sign(&secret, text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
}

/// The claims of a compact JWT, unverified.
pub fn claims(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

/// The header of a compact JWT, unverified.
pub fn header(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap()).unwrap()
}

/// Seconds since 1970.
pub fn now() -> i64 {
    SystemClock.now().secs()
}

/// Never the same twice.
pub fn unique() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// The outside issuer of [`super::Site::plain`].
pub const OUTSIDE: &str = "https://outside.test";
/// The gateway of the tests, as tokens name it.
pub const GATEWAY: &str = "https://localhost";

/// The key of the outside issuer.
pub fn outside_key() -> &'static Key {
    static KEY: LazyLock<Key> = LazyLock::new(|| Key::generate(Algorithm::Es256));
    &KEY
}

/// What the outside issuer says of a client of a tenant.
pub fn outside_claims(tenant: &str, client: &str) -> Value {
    let now = now();
    json!({
        "iss": OUTSIDE, "aud": GATEWAY, "sub": client, "client_id": client, "tenant": tenant, "scope": "shop",
        "iat": now, "exp": now + 300, "jti": unique(),
    })
}

/// A token of the outside issuer.
pub fn outside_token(tenant: &str, client: &str) -> String {
    outside_key().jwt("at+jwt", &outside_claims(tenant, client))
}

/// Claims with some members replaced; `null` takes one away.
pub fn with(mut claims: Value, changes: Value) -> Value {
    let (Value::Object(members), Value::Object(changes)) = (&mut claims, changes) else { panic!("not objects") };
    change(members, changes);
    claims
}

fn change(members: &mut Map<String, Value>, changes: Map<String, Value>) {
    for (name, value) in changes {
        if value.is_null() {
            members.shift_remove(&name);
        } else {
            members.insert(name, value);
        }
    }
}

/// Writes a JWK set.
pub fn write_jwks(path: &Path, keys: &[&Key]) {
    let keys: Vec<&Value> = keys.iter().map(|key| &key.jwk).collect();
    super::site::replace(path, &json!({ "keys": keys }).to_string());
}

/// A client assertion (RFC 7523 §3) for our issuer, with changes.
pub fn assertion(key: &Key, client: &str, changes: Value) -> String {
    let now = now();
    let claims = json!({
        "iss": client, "sub": client, "aud": GATEWAY, "iat": now, "exp": now + 60, "jti": unique(),
    });
    key.jwt("JWT", &with(claims, changes))
}

/// A DPoP proof (RFC 9449 §4.2) of `key`, its public part in the header; `changes` apply to the claims.
pub fn proof(key: &Key, method: &str, url: &str, token: Option<&str>, changes: Value) -> String {
    let mut claims = json!({ "jti": unique(), "htm": method, "htu": url, "iat": now() });
    if let Some(token) = token {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
        claims["ath"] = URL_SAFE_NO_PAD.encode(digest).into();
    }
    key.sign(&proof_header(key), &with(claims, changes))
}

pub fn proof_header(key: &Key) -> Value {
    let mut jwk = key.jwk.clone();
    // Thumbprints are over the required members; the others are no use here (RFC 7638 §3.2).
    for name in ["kid", "alg", "use"] {
        jwk.as_object_mut().unwrap().shift_remove(name);
    }
    json!({ "alg": key.algorithm.as_str(), "typ": "dpop+jwt", "jwk": jwk })
}

//! A signature check that always fails, for tokens whose key does not exist.

use std::sync::LazyLock;

use serde_json::json;

use super::{Algorithm, KeySet, UnverifiedToken};

/// The public keys of the examples in RFC 7515 §A.2, §A.3 and RFC 8037 §A.2. Their private keys are printed there, so
/// the outcome of a check with them is thrown away.
static KEYS: LazyLock<KeySet> = LazyLock::new(|| {
    let set = json!({ "keys": [
        { "kty": "RSA", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ" },
        { "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" },
        { "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" },
    ] });
    let allowed = [Algorithm::Ps256, Algorithm::Es256, Algorithm::EdDsa];
    KeySet::parse(&set, &allowed).map(|parsed| parsed.keys).unwrap_or_default()
});

/// Spends what checking `token` with a key of its algorithm costs.
pub(super) fn check(token: &UnverifiedToken<'_>) {
    let key = KEYS.iter().find(|key| key.algorithm() == token.header().algorithm);
    std::hint::black_box(key.map(|key| key.verifies(token.signing_input(), token.signature())));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_decoy_for_each_algorithm_of_a_client() {
        let algorithms: Vec<_> = KEYS.iter().map(super::super::PublicKey::algorithm).collect();
        assert_eq!(algorithms, [Algorithm::Ps256, Algorithm::Es256, Algorithm::EdDsa]);
    }
}

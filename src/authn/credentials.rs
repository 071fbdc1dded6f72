//! The credential of a request: one `Authorization` field (RFC 6750 §2.1, RFC 9449 §7.1), and nothing else.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::AuthnError;
use super::dpop::{DpopError, read_proof};

/// How a credential is presented. Who is refused is answered in the scheme that it used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Bearer,
    Dpop,
}

impl Scheme {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "Bearer",
            Self::Dpop => "DPoP",
        }
    }

    /// The scheme of a request, for whoever answers it; `Bearer` where there is none of ours.
    pub fn of(headers: &HeaderMap) -> Self {
        let fields = headers.get_all(AUTHORIZATION).iter().filter_map(|field| field.to_str().ok());
        let mut schemes = fields.map(|text| text.split_once(' ').map_or(text, |(scheme, _)| scheme));
        if schemes.any(|scheme| scheme.eq_ignore_ascii_case(Self::Dpop.as_str())) { Self::Dpop } else { Self::Bearer }
    }
}

/// What the `Authorization` field carries, and the `DPoP` field where it belongs to it. Neither is verified.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Credentials<'a> {
    Bearer(&'a str),
    Dpop { token: &'a str, proof: &'a str },
}

impl<'a> Credentials<'a> {
    /// Reads the fields. A token in the query or in a form body is never looked at (FAPI 2.0 §5.3.4-2).
    pub fn read(headers: &'a HeaderMap) -> Result<Self, AuthnError> {
        let mut fields = headers.get_all(AUTHORIZATION).iter();
        let field = match (fields.next(), fields.next()) {
            (None, _) => return Err(AuthnError::Missing),
            (Some(field), None) => field,
            (Some(_), Some(_)) => return Err(AuthnError::SeveralCredentials),
        };
        let text = visible(field.as_bytes()).ok_or(AuthnError::CredentialSyntax)?;
        let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
        // FAPI 2.0 §5.3.4-1: the scheme in any case. Another scheme is no credential for us.
        let scheme = [Scheme::Bearer, Scheme::Dpop].into_iter().find(|ours| scheme.eq_ignore_ascii_case(ours.as_str()));
        let scheme = scheme.ok_or(AuthnError::Missing)?;
        // RFC 9110 §11.4 allows several spaces between scheme and token.
        let token = token.trim_start_matches(' ');
        if !is_token68(token) {
            return Err(AuthnError::CredentialSyntax);
        }
        match scheme {
            Scheme::Bearer => Ok(Self::Bearer(token)),
            Scheme::Dpop => Ok(Self::Dpop { token, proof: read_proof(headers)?.ok_or(DpopError::Missing)? }),
        }
    }

    pub const fn token(self) -> &'a str {
        match self {
            Self::Bearer(token) | Self::Dpop { token, .. } => token,
        }
    }
}

impl std::fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials")
    }
}

// A token has some six hundred bytes, and every request shows one. So both checks look at all of them without a way out
// of the loop: then it takes sixteen at a time.

/// The field as text, if it is visible ASCII, spaces and tabs (RFC 9110 §5.5).
fn visible(bytes: &[u8]) -> Option<&str> {
    let is_visible = |b: u8| (0x20..0x7f).contains(&b) | (b == b'\t');
    let all = bytes.iter().fold(true, |all, byte| all & is_visible(*byte));
    if all { std::str::from_utf8(bytes).ok() } else { None }
}

/// RFC 9110 §11.2: 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="
fn is_token68(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    // From "-" to "9" there are besides these two only "." and "/", which are allowed as well.
    let allowed =
        |b: u8| (b | 0x20).is_ascii_lowercase() | (b'-'..=b'9').contains(&b) | (b == b'_') | (b == b'~') | (b == b'+');
    !body.is_empty() && body.bytes().fold(true, |all, byte| all & allowed(byte))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn every_byte_is_judged_as_the_grammars_say() {
        for byte in 0..=u8::MAX {
            let text = [b"abcdefghijklmnopqrstuvwxyz".as_slice(), &[byte], b"z"].concat();
            let expected = HeaderValue::from_bytes(&text).ok().and_then(|value| value.to_str().ok().map(str::to_owned));
            assert_eq!(visible(&text), expected.as_deref(), "{byte}");
            let token = byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
            assert_eq!(visible(&text).is_some_and(is_token68), token, "{byte}");
        }
        for (text, expected) in [("", false), ("=", false), ("a=", true), ("a==", true), ("a=a", false)] {
            assert_eq!(is_token68(text), expected, "{text}");
        }
    }
}

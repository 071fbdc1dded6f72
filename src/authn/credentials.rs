//! The credential of a request: one `Authorization` field (RFC 6750 §2.1), and nothing else.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::AuthnError;

/// What the `Authorization` field carries. The token is not verified.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Credentials<'a> {
    Bearer(&'a str),
    // The DPoP scheme (RFC 9449 §7.1) and its proof join here; until then it is not a credential.
}

impl<'a> Credentials<'a> {
    /// Reads the field. A token in the query or in a form body is never looked at (FAPI 2.0 §5.3.4-2).
    pub fn read(headers: &'a HeaderMap) -> Result<Self, AuthnError> {
        let mut fields = headers.get_all(AUTHORIZATION).iter();
        let field = match (fields.next(), fields.next()) {
            (None, _) => return Err(AuthnError::Missing),
            (Some(field), None) => field,
            (Some(_), Some(_)) => return Err(AuthnError::SeveralCredentials),
        };
        let text = field.to_str().map_err(|_| AuthnError::CredentialSyntax)?;
        let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
        // FAPI 2.0 §5.3.4-1: the scheme in any case. Another scheme is no credential for us.
        if !scheme.eq_ignore_ascii_case("Bearer") {
            return Err(AuthnError::Missing);
        }
        // RFC 9110 §11.4 allows several spaces between scheme and token.
        let token = token.trim_start_matches(' ');
        if is_token68(token) { Ok(Self::Bearer(token)) } else { Err(AuthnError::CredentialSyntax) }
    }

    pub const fn token(self) -> &'a str {
        match self {
            Self::Bearer(token) => token,
        }
    }
}

impl std::fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials")
    }
}

/// RFC 9110 §11.2: 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="
fn is_token68(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
    !body.is_empty() && body.bytes().all(allowed)
}

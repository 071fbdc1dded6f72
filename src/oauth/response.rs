//! Authorization responses: back to the client's redirect URI, plain with `iss` (RFC 9207) or signed (JARM).

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::{AuthorizationRequest, AuthorizationServer, OAuthError, ResponseMode};
use crate::domain::Timestamp;

/// RFC 3986 §2.3: what needs no escape in a query.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// JARM §2.1: ten minutes at most are recommended.
const JARM_LIFETIME: Duration = Duration::from_mins(5);

/// What came of an authorization request, in the codes of RFC 6749 §4.1.2.1 and OpenID Connect Core §3.1.2.6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Code(String),
    Error(AuthorizationError),
}

/// An error that the client hears at its redirect URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorizationError {
    /// The user refused, or left.
    Refused,
    TimedOut,
    LoginRequired,
    ConsentRequired,
    InteractionRequired,
    /// The `acr` that the client needs cannot be reached (RFC 9470 §5).
    UnmetAuthenticationRequirements,
    /// The user may not do this here.
    Denied,
    /// Ours.
    Unavailable,
    ServerError,
}

impl AuthorizationError {
    pub const fn code(self) -> &'static str {
        match self {
            Self::Refused | Self::TimedOut | Self::Denied => "access_denied",
            Self::LoginRequired => "login_required",
            Self::ConsentRequired => "consent_required",
            Self::InteractionRequired => "interaction_required",
            Self::UnmetAuthenticationRequirements => "unmet_authentication_requirements",
            Self::Unavailable => "temporarily_unavailable",
            Self::ServerError => "server_error",
        }
    }

    pub const fn description(self) -> &'static str {
        match self {
            Self::Refused => "The user refused the request.",
            Self::TimedOut => "The request timed out.",
            Self::LoginRequired => "The user would have to sign in.",
            Self::ConsentRequired => "The user would have to approve.",
            Self::InteractionRequired => "The user would have to be asked.",
            Self::UnmetAuthenticationRequirements => "The authentication that is asked for cannot be reached.",
            Self::Denied => "The request is not permitted.",
            Self::Unavailable => "The authorization server cannot decide at present.",
            Self::ServerError => "The authorization server failed.",
        }
    }
}

/// An answer on its way through the user's browser. No `Debug`: a code may be in it.
pub enum AuthorizationResponse {
    /// To be sent with 303 (FAPI 2.0 §5.3.2.2-11).
    Redirect { location: String },
    /// A page whose form posts `response` to `action` (JARM §2.3.3).
    FormPost { action: String, response: String },
}

impl AuthorizationServer {
    /// Writes the response to `request` in the mode that it asked for.
    pub fn respond(
        &self,
        request: &AuthorizationRequest,
        outcome: &Outcome,
        now: Timestamp,
    ) -> Result<AuthorizationResponse, OAuthError> {
        let parameters = parameters(request, outcome);
        if request.response_mode == ResponseMode::Query {
            let iss = ("iss", &*self.settings.issuer); // RFC 9207 §2, on errors too.
            let pairs = parameters.iter().map(|(name, value)| (*name, value.as_str())).chain([iss]);
            return Ok(AuthorizationResponse::Redirect { location: with_query(&request.redirect_uri, pairs) });
        }
        let response = self.signed(request, parameters, now)?;
        let action = request.redirect_uri.to_string();
        Ok(match request.response_mode {
            ResponseMode::FormPostJwt => AuthorizationResponse::FormPost { action, response },
            ResponseMode::FragmentJwt => {
                AuthorizationResponse::Redirect { location: format!("{action}#response={response}") }
            }
            ResponseMode::Query | ResponseMode::QueryJwt => {
                AuthorizationResponse::Redirect { location: with_query(&action, [("response", &*response)]) }
            }
        })
    }

    /// JARM §2.1. `iss` stands within, and nowhere else (FAPI 2.0 Message Signing §5.4.1).
    fn signed(
        &self,
        request: &AuthorizationRequest,
        parameters: Vec<(&'static str, String)>,
        now: Timestamp,
    ) -> Result<String, OAuthError> {
        let mut claims: Map<String, Value> =
            parameters.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        claims.insert("iss".into(), json!(self.settings.issuer));
        claims.insert("aud".into(), json!(request.client_id.as_str()));
        claims.insert("exp".into(), json!(now.plus(JARM_LIFETIME).secs()));
        self.parts.keys.current().sign("JWT", &Value::Object(claims)).map_err(OAuthError::Signing)
    }
}

fn parameters(request: &AuthorizationRequest, outcome: &Outcome) -> Vec<(&'static str, String)> {
    let mut parameters = match outcome {
        Outcome::Code(code) => vec![("code", code.clone())],
        Outcome::Error(error) => {
            vec![("error", error.code().to_owned()), ("error_description", error.description().to_owned())]
        }
    };
    // What was not sent does not come back.
    parameters.extend(request.state.clone().map(|state| ("state", state)));
    parameters
}

/// RFC 6749 §3.1.2: a query that the redirect URI has stays.
fn with_query<'a>(uri: &str, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut location = uri.to_owned();
    let mut separator = if uri.contains('?') { '&' } else { '?' };
    for (name, value) in pairs {
        location.push(separator);
        location.push_str(name);
        location.push('=');
        location.extend(utf8_percent_encode(value, QUERY));
        separator = '&';
    }
    location
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_kept_and_values_are_escaped() {
        for (uri, expected) in [
            ("https://tpp.example/cb", "https://tpp.example/cb?a=b%26c%3D%C3%A9%20&iss=x"),
            ("https://tpp.example/cb?k=1", "https://tpp.example/cb?k=1&a=b%26c%3D%C3%A9%20&iss=x"),
        ] {
            assert_eq!(with_query(uri, [("a", "b&c=é "), ("iss", "x")]), expected);
        }
    }
}

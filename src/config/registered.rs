//! What a client of `clients.yaml` registered for the grants that need a user, under the names of RFC 7591.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::{ClientId, Thumbprint};
use crate::jose::Algorithm;
use crate::oauth::{
    ACCESS_TOKEN_LIFETIME_MAX, CibaDelivery, ClientAuthentication, ClientKeys, ClientMetadata, ClientRegistration,
    GrantType, GrantTypes, Profile, ResponseMode, SenderConstraint, SigningAlgorithms, SubjectType,
};

use super::tree::{Entry, Node};
use super::{Diagnostic, scalar};

/// What stands in `authentication`.
pub(super) struct Credentials {
    pub(super) authentication: ClientAuthentication,
    pub(super) keys: ClientKeys,
    /// Registered for the binding of tokens alone.
    pub(super) certificates: Vec<Thumbprint>,
}

/// As written. [`Registered::complete`] says what it means, or why it does not fit together.
pub(super) struct Registered {
    certificate_bound: Option<bool>,
    dpop_bound: Option<bool>,
    resource_server: bool,
    profile: Option<Profile>,
    metadata: ClientMetadata,
}

pub(super) fn read(entry: &Entry<'_>) -> Registered {
    let grants: Vec<GrantType> = entry.each("grant_types", grant_type);
    let sector = entry.optional("pairwise_sector", scalar::text);
    Registered {
        certificate_bound: entry.optional("certificate_bound_access_tokens", scalar::boolean),
        dpop_bound: entry.optional("dpop_bound_access_tokens", scalar::boolean),
        resource_server: entry.or("resource_server", false, scalar::boolean),
        profile: entry.optional("profile", profile),
        metadata: ClientMetadata {
            grant_types: if grants.is_empty() {
                GrantTypes::CLIENT_CREDENTIALS
            } else {
                grants.iter().copied().collect()
            },
            redirect_uris: entry.each("redirect_uris", redirect_uri),
            response_modes: entry.each("response_modes", response_mode),
            require_signed_request_object: entry.or("require_signed_request_object", false, scalar::boolean),
            authorization_details_types: entry
                .each("authorization_details_types", |entry, node| scalar::text(entry, node).map(Arc::from)),
            subject_type: sector.map_or(SubjectType::Public, |host| SubjectType::Pairwise { sector: host.into() }),
            ciba: ciba(entry, grants.contains(&GrantType::Ciba)),
            certificates: Vec::new(), // Written beside how it authenticates.
            signing: signing(entry),
            introspection_signed: entry.or("introspection_signed", false, scalar::boolean),
            access_token_lifetime: entry.optional("access_token_lifetime", token_lifetime),
        },
    }
}

impl Registered {
    /// A profile that forbids what is written is a mistake, not a silent correction.
    pub(super) fn complete(
        mut self,
        entry: &Entry<'_>,
        client_id: ClientId,
        credentials: Credentials,
    ) -> Option<ClientRegistration> {
        let Credentials { authentication, keys, certificates } = credentials;
        self.metadata.certificates = certificates;
        let secret = matches!(authentication, ClientAuthentication::ClientSecretBasic { .. });
        let sender_constraint = match (self.dpop_bound, self.certificate_bound) {
            (Some(true), Some(true)) => {
                return mistake(entry, "tokens are bound to a certificate or to a DPoP key, not to both");
            }
            (Some(true), Some(false) | None) => SenderConstraint::Dpop,
            (Some(false) | None, Some(true)) => SenderConstraint::Certificate,
            (Some(false) | None, Some(false)) => SenderConstraint::Bearer,
            (Some(false) | None, None) if secret => SenderConstraint::Bearer,
            (Some(false), None) => SenderConstraint::Certificate,
            (None, None) if self.profile.is_none_or(Profile::allows_dpop) => SenderConstraint::Either,
            (None, None) => SenderConstraint::Certificate,
        };
        let strict = sender_constraint != SenderConstraint::Bearer && !secret;
        let usual = if strict { Profile::Fapi2Security } else { Profile::PlainOauth };
        // A resource server that gets no tokens needs none of it.
        let profile = self.profile.unwrap_or(usual);
        if secret && !profile.allows_secrets() {
            return mistake(entry, &format!("the profile {profile} forbids client secrets"));
        }
        if sender_constraint == SenderConstraint::Bearer && !profile.allows_bearer_tokens() {
            return mistake(entry, &format!("the profile {profile} forbids bearer tokens"));
        }
        if sender_constraint == SenderConstraint::Dpop && !profile.allows_dpop() {
            return mistake(entry, &format!("the profile {profile} binds tokens to certificates only"));
        }
        let by_code = self.metadata.grant_types.contains(GrantType::AuthorizationCode);
        if by_code == self.metadata.redirect_uris.is_empty() {
            return mistake(entry, "`redirect_uris` and the grant type `authorization_code` go together");
        }
        let signs = profile.requires_signed_requests() || self.metadata.require_signed_request_object;
        let by_ciba = self.metadata.grant_types.contains(GrantType::Ciba);
        if by_ciba && self.metadata.ciba.is_none() {
            return None; // Said already.
        }
        if (by_code || by_ciba) && signs && matches!(keys, ClientKeys::None) {
            return mistake(entry, "requests of this client are signed: `authentication` needs its `jwks_file`");
        }
        for (name, member) in SigningAlgorithms::MEMBERS {
            if member(&mut self.metadata.signing).is_some_and(|algorithm| !profile.algorithms().contains(&algorithm)) {
                return mistake(entry, &format!("the profile {profile} forbids this `{name}`"));
            }
        }
        if !profile.allows_loopback_redirects()
            && self.metadata.redirect_uris.iter().any(|uri| uri.starts_with("http://"))
        {
            return mistake(entry, &format!("the profile {profile} demands https redirect URIs"));
        }
        Some(ClientRegistration {
            client_id,
            authentication,
            keys,
            profile,
            sender_constraint,
            resource_server: self.resource_server,
            metadata: Arc::new(self.metadata),
        })
    }
}

/// CIBA Core §4: how a client hears of the decision goes with the grant.
fn ciba(entry: &Entry<'_>, granted: bool) -> Option<CibaDelivery> {
    let mode = entry.optional("backchannel_token_delivery_mode", delivery_mode);
    let endpoint = entry.optional("backchannel_client_notification_endpoint", notification_endpoint);
    match (granted, mode, endpoint) {
        (true, Some(Delivery::Poll), None) => Some(CibaDelivery::Poll),
        (true, Some(Delivery::Ping), Some(notification_endpoint)) => Some(CibaDelivery::Ping { notification_endpoint }),
        (false, None, None) => None,
        (false, _, _) => {
            mistake(entry, &format!("the `backchannel_` keys are for the grant type `{}`", GrantType::Ciba.as_str()))
        }
        (true, None, _) => mistake(entry, "the grant type of CIBA needs `backchannel_token_delivery_mode`"),
        (true, Some(Delivery::Poll), Some(_)) | (true, Some(Delivery::Ping), None) => {
            mistake(entry, "`backchannel_client_notification_endpoint` and the delivery mode `ping` go together")
        }
    }
}

fn signing(entry: &Entry<'_>) -> SigningAlgorithms {
    let words = &[("ES256", Algorithm::Es256), ("PS256", Algorithm::Ps256), ("EdDSA", Algorithm::EdDsa)];
    let mut signing = SigningAlgorithms::default();
    for (name, member) in SigningAlgorithms::MEMBERS {
        *member(&mut signing) = entry.optional(name, scalar::one_of(words));
    }
    signing
}

enum Delivery {
    Poll,
    Ping,
}

/// FAPI-CIBA §5.2.2-3: no push.
fn delivery_mode(entry: &Entry<'_>, node: &Node) -> Result<Delivery, String> {
    match scalar::text(entry, node)?.as_str() {
        "poll" => Ok(Delivery::Poll),
        "ping" => Ok(Delivery::Ping),
        "push" => Err("push is not offered (FAPI-CIBA §5.2.2-3); there are poll and ping".to_owned()),
        other => Err(format!("`{other}` is not a delivery mode; there are poll and ping")),
    }
}

/// CIBA Core §4: https. Whether its host may be asked is judged at each call.
fn notification_endpoint(entry: &Entry<'_>, node: &Node) -> Result<Arc<str>, String> {
    let text = scalar::text(entry, node)?;
    if text.starts_with("https://") && ClientMetadata::is_redirect_uri(&text) {
        Ok(text.into())
    } else {
        Err(format!("`{text}` is not an https URL without fragment"))
    }
}

fn mistake<T>(entry: &Entry<'_>, message: &str) -> Option<T> {
    entry.report().add(Diagnostic::new(entry.place(), message));
    None
}

/// Whole seconds: `exp` has no smaller ones.
pub(super) fn token_lifetime(entry: &Entry<'_>, node: &Node) -> Result<Duration, String> {
    let lifetime = scalar::duration(entry, node)?;
    let whole =
        lifetime.subsec_nanos() == 0 && (Duration::from_secs(1)..=ACCESS_TOKEN_LIFETIME_MAX).contains(&lifetime);
    if whole { Ok(lifetime) } else { Err("expected 1s to 1h in whole seconds".to_owned()) }
}

fn grant_type(entry: &Entry<'_>, node: &Node) -> Result<GrantType, String> {
    let text = scalar::text(entry, node)?;
    GrantType::parse(&text).ok_or_else(|| format!("`{text}` is not a grant type that exists here"))
}

fn response_mode(entry: &Entry<'_>, node: &Node) -> Result<ResponseMode, String> {
    let text = scalar::text(entry, node)?;
    ResponseMode::parse(&text).ok_or_else(|| format!("`{text}` is not a response mode that exists here"))
}

pub(super) fn profile(entry: &Entry<'_>, node: &Node) -> Result<Profile, String> {
    let text = scalar::text(entry, node)?;
    Profile::parse(&text).ok_or_else(|| {
        let known: Vec<_> = Profile::ALL.iter().map(|profile| profile.as_str()).collect();
        format!("`{text}` is not a profile; there are {}", known.join(", "))
    })
}

/// https, or a loopback address of a native application (RFC 8252 §7.3); no fragment (RFC 6749 §3.1.2).
fn redirect_uri(entry: &Entry<'_>, node: &Node) -> Result<Arc<str>, String> {
    let text = scalar::text(entry, node)?;
    if ClientMetadata::is_redirect_uri(&text) {
        Ok(text.into())
    } else {
        Err(format!("`{text}` is not an https URL without fragment (http: loopback addresses only)"))
    }
}

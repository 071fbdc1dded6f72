//! Profiles as data: what a client population is held to. One place for every rule that differs between them, so that
//! none weakens another: each client has exactly one profile, and every check asks it.

use std::fmt;

use super::CertificateNames;
use crate::domain::InteractionNaming;
use crate::jose::Algorithm;

/// The security profile of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Profile {
    /// RFC 6749 with today's best practice (RFC 9700), for low-risk products only: secrets and bearer tokens are allowed.
    PlainOauth,
    /// FAPI 1.0 Advanced Final, through PAR.
    Fapi1Advanced(Fapi1Variant),
    /// FAPI 2.0 Security Profile Final.
    Fapi2Security,
    /// FAPI 2.0 Message Signing Final: signed requests and signed responses.
    Fapi2MessageSigning,
}

/// What an ecosystem adds to FAPI 1.0 Advanced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fapi1Variant {
    Base,
    /// UK Open Banking 3.1.11 and 4.0.
    Uk,
    /// Open Finance Brasil security profile 1.0.
    Brazil,
}

/// To whom a client assertion is addressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AssertionAudience {
    /// The issuer identifier, as one string (FAPI 2.0 §5.3.2.1-8).
    IssuerString,
    /// The issuer, the token endpoint, the endpoint of pushed requests or the endpoint that is called (RFC 7523 §3, RFC 9126
    /// §2, CIBA Core §7.1); arrays too.
    IssuerOrEndpoint,
}

const FAPI1_ALGORITHMS: &[Algorithm] = &[Algorithm::Ps256, Algorithm::Es256];
const FAPI2_ALGORITHMS: &[Algorithm] = &[Algorithm::Ps256, Algorithm::Es256, Algorithm::EdDsa];

impl Profile {
    pub const ALL: [Self; 6] = [
        Self::Fapi2Security,
        Self::Fapi2MessageSigning,
        Self::Fapi1Advanced(Fapi1Variant::Base),
        Self::Fapi1Advanced(Fapi1Variant::Uk),
        Self::Fapi1Advanced(Fapi1Variant::Brazil),
        Self::PlainOauth,
    ];

    /// Its name in configuration, registration and metadata.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PlainOauth => "plain-oauth",
            Self::Fapi1Advanced(Fapi1Variant::Base) => "fapi1-advanced",
            Self::Fapi1Advanced(Fapi1Variant::Uk) => "fapi1-advanced-uk",
            Self::Fapi1Advanced(Fapi1Variant::Brazil) => "fapi1-advanced-brazil",
            Self::Fapi2Security => "fapi2-security",
            Self::Fapi2MessageSigning => "fapi2-message-signing",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.as_str() == text)
    }

    /// What the client may sign with: assertions, request objects (FAPI 2.0 §5.4.1-1b, FAPI 1.0 Advanced §8.6).
    pub const fn algorithms(self) -> &'static [Algorithm] {
        match self {
            Self::Fapi1Advanced(_) => FAPI1_ALGORITHMS,
            Self::PlainOauth | Self::Fapi2Security | Self::Fapi2MessageSigning => FAPI2_ALGORITHMS,
        }
    }

    pub const fn assertion_audience(self) -> AssertionAudience {
        match self {
            Self::Fapi1Advanced(_) => AssertionAudience::IssuerOrEndpoint,
            // RFC 10070 makes the issuer the sole audience for all of OAuth.
            Self::PlainOauth | Self::Fapi2Security | Self::Fapi2MessageSigning => AssertionAudience::IssuerString,
        }
    }

    /// Whether a client of it may authenticate by a shared secret.
    pub const fn allows_secrets(self) -> bool {
        matches!(self, Self::PlainOauth)
    }

    /// Whether a client of it may hold tokens that nothing binds to it (FAPI 2.0 §5.3.2.1-4, FAPI 1.0 Advanced §5.2.2-5).
    pub const fn allows_bearer_tokens(self) -> bool {
        matches!(self, Self::PlainOauth)
    }

    /// FAPI 1.0 knows RFC 8705 alone (§5.2.2-6).
    pub const fn allows_dpop(self) -> bool {
        !matches!(self, Self::Fapi1Advanced(_))
    }

    /// Whether authorization requests must be signed (FAPI 2.0 Message Signing §5.3.1-1, FAPI 1.0 Advanced §5.2.2-1).
    pub const fn requires_signed_requests(self) -> bool {
        matches!(self, Self::Fapi2MessageSigning | Self::Fapi1Advanced(_))
    }

    /// Whether authorization responses must be signed: JARM (FAPI 2.0 Message Signing §5.4.1-1, FAPI 1.0 Advanced
    /// §5.2.2-2 with `code`).
    pub const fn requires_signed_responses(self) -> bool {
        matches!(self, Self::Fapi2MessageSigning | Self::Fapi1Advanced(_))
    }

    /// FAPI 1.0 Baseline §5.2.2-8: redirect URIs are https, without the exception for loopback (§7.5).
    pub const fn allows_loopback_redirects(self) -> bool {
        !matches!(self, Self::Fapi1Advanced(_))
    }

    /// FAPI 1.0 Baseline §5.2.2.2, §5.2.2.3: `nonce` with `openid`, `state` without.
    pub const fn requires_nonce_or_state(self) -> bool {
        matches!(self, Self::Fapi1Advanced(_))
    }

    /// RFC 6749 §3.3: whether a request without `scope` means all that its client may have. Where the stakes are high a user
    /// is not asked for more than the client said it needs.
    pub const fn defaults_scope(self) -> bool {
        matches!(self, Self::PlainOauth)
    }

    /// Open Finance Brasil (BR-AS-23): calls name their exchange, by `x-fapi-interaction-id`.
    pub const fn interaction_naming(self) -> InteractionNaming {
        match self {
            Self::Fapi1Advanced(Fapi1Variant::Brazil) => InteractionNaming::Required,
            Self::Fapi1Advanced(Fapi1Variant::Base | Fapi1Variant::Uk)
            | Self::PlainOauth
            | Self::Fapi2Security
            | Self::Fapi2MessageSigning => InteractionNaming::Optional,
        }
    }

    /// FAPI-CIBA §5.2.2-2: without a unique context of its own a backchannel request carries a `binding_message`.
    pub const fn requires_binding_message(self) -> bool {
        !matches!(self, Self::PlainOauth)
    }

    /// Open Finance Brasil: the server alone decides how long a backchannel request lasts.
    pub const fn ignores_requested_expiry(self) -> bool {
        matches!(self, Self::Fapi1Advanced(Fapi1Variant::Brazil))
    }

    /// Open Finance Brasil BR-DCR: a client's keys are those that its directory publishes, so none are written down here,
    /// and it is recognised by the name of its certificate alone (`tls_client_auth_subject_dn`).
    pub const fn registers_by_directory_only(self) -> bool {
        matches!(self, Self::Fapi1Advanced(Fapi1Variant::Brazil))
    }

    /// OBIE DCR 3.3 (OB-D-1), BR-DCR: software registers over mutual TLS, by a certificate of a trusted CA.
    pub const fn registers_over_mutual_tls(self) -> bool {
        matches!(self, Self::Fapi1Advanced(Fapi1Variant::Uk | Fapi1Variant::Brazil))
    }

    /// BR-DCR: registering, and looking after a registration, takes a certificate that names the software.
    pub const fn certificate_names(self) -> Option<CertificateNames> {
        match self {
            Self::Fapi1Advanced(Fapi1Variant::Brazil) => Some(CertificateNames::BRAZIL),
            Self::Fapi1Advanced(Fapi1Variant::Base | Fapi1Variant::Uk)
            | Self::PlainOauth
            | Self::Fapi2Security
            | Self::Fapi2MessageSigning => None,
        }
    }

    /// BR-AS-21: `id_token_hint` is refused, not ignored.
    pub const fn refuses_id_token_hint(self) -> bool {
        matches!(self, Self::Fapi1Advanced(Fapi1Variant::Brazil))
    }

    /// In seconds: how long access tokens must at least and may at most last (BR-AS-13).
    pub const fn access_token_secs(self) -> Option<(u64, u64)> {
        if matches!(self, Self::Fapi1Advanced(Fapi1Variant::Brazil)) { Some((300, 900)) } else { None }
    }

    /// In seconds: how long a `request_uri` must at least last (BR-AS-22).
    pub const fn request_uri_secs_min(self) -> u64 {
        if matches!(self, Self::Fapi1Advanced(Fapi1Variant::Brazil)) { 60 } else { 1 }
    }

    /// Whether a client of this profile is safe enough for a product that asks for `required`.
    pub const fn satisfies(self, required: Self) -> bool {
        match required {
            Self::PlainOauth => true,
            Self::Fapi2Security => matches!(self, Self::Fapi2Security | Self::Fapi2MessageSigning),
            Self::Fapi2MessageSigning => matches!(self, Self::Fapi2MessageSigning),
            Self::Fapi1Advanced(Fapi1Variant::Base) => matches!(self, Self::Fapi1Advanced(_)),
            Self::Fapi1Advanced(Fapi1Variant::Uk) => matches!(self, Self::Fapi1Advanced(Fapi1Variant::Uk)),
            Self::Fapi1Advanced(Fapi1Variant::Brazil) => matches!(self, Self::Fapi1Advanced(Fapi1Variant::Brazil)),
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_and_only_plain_oauth_allows_what_is_weak() {
        for profile in Profile::ALL {
            assert_eq!(Profile::parse(profile.as_str()), Some(profile));
            assert!(profile.satisfies(profile) && profile.satisfies(Profile::PlainOauth), "{profile}");
            let plain = profile == Profile::PlainOauth;
            assert_eq!((profile.allows_secrets(), profile.allows_bearer_tokens()), (plain, plain), "{profile}");
            assert_eq!(Profile::PlainOauth.satisfies(profile), plain, "{profile}");
        }
        assert_eq!(Profile::parse("FAPI2-SECURITY"), None);
        assert!(Profile::Fapi2MessageSigning.satisfies(Profile::Fapi2Security));
        assert!(!Profile::Fapi2Security.satisfies(Profile::Fapi2MessageSigning));
        assert!(!Profile::Fapi1Advanced(Fapi1Variant::Base).satisfies(Profile::Fapi1Advanced(Fapi1Variant::Uk)));
    }
}

//! The published kinds of problem. A kind's page, its status and its code come from one table.

use http::StatusCode;

macro_rules! kinds {
    ($($name:ident $code:literal $status:ident $title:literal $happened:literal $remedy:literal;)+) => {
        /// A kind of problem: its code is stable, its page is `{public_url}/problems/{code}`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind {
            $(#[doc = $happened] $name,)+
        }

        impl Kind {
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The stable, kebab-case name that programs may compare.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)+ }
            }

            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)+ }
            }

            /// What happened, for the kind's page.
            pub const fn happened(self) -> &'static str {
                match self { $(Self::$name => $happened,)+ }
            }

            /// How to mend it, for the kind's page.
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)+ }
            }
        }
    };
}

kinds! {
    MalformedRequest "malformed-request" BAD_REQUEST "The request is malformed."
        "The request's framing, target or fields are ambiguous or break RFC 9112 or RFC 9113, so it was refused before anything looked at it."
        "Send exactly one Host, one Content-Length or chunked coding, a canonical path without dot segments, and no control characters.";
    UnknownHost "unknown-host" MISDIRECTED_REQUEST "This host is not served here."
        "The authority of the request is not one that this gateway serves, or differs from the name in the TLS handshake."
        "Use the servers that the catalogue names.";
    UriTooLong "uri-too-long" URI_TOO_LONG "The request target is too long."
        "The path and query together exceed the configured maximum."
        "Shorten the query, or send the values in a body where the operation takes one.";
    HeadersTooLarge "headers-too-large" REQUEST_HEADER_FIELDS_TOO_LARGE "The header section is too large."
        "The header fields are too many or too long."
        "Send fewer or shorter fields; tokens belong in one Authorization field only.";
    BodyTooLarge "body-too-large" PAYLOAD_TOO_LARGE "The body is too large."
        "The request body exceeds what this operation accepts."
        "Split the request, or ask the operator for a larger limit on this operation.";
    RequestTimeout "request-timeout" REQUEST_TIMEOUT "The request took too long to arrive."
        "The request was not received within the configured deadline."
        "Send the request without pauses; check your network.";
    ExpectationFailed "expectation-failed" EXPECTATION_FAILED "The expectation is not supported."
        "The Expect field names something other than 100-continue."
        "Remove the Expect field.";
    NoSuchResource "no-such-resource" NOT_FOUND "No such resource."
        "No published operation has this path. What is not in the catalogue cannot be called."
        "Compare the path with the catalogue at /openapi.json.";
    MethodNotAllowed "method-not-allowed" METHOD_NOT_ALLOWED "The resource does not offer this method."
        "The path is published, but not with this method."
        "Use one of the methods in the Allow field.";
    UpgradeRefused "upgrade-refused" BAD_REQUEST "The connection is not upgraded here."
        "The request asks to upgrade the protocol, which this operation does not allow."
        "Send the request without the Upgrade field.";
    TokenMissing "token-missing" UNAUTHORIZED "An access token is required."
        "The request carries no access token in its Authorization field."
        "Obtain a token at the token endpoint and send it as `Authorization: Bearer …`.";
    TokenInvalid "token-invalid" UNAUTHORIZED "The access token is not valid."
        "The token is malformed, expired, revoked, issued for another audience, or signed by a key that is not trusted here."
        "Obtain a new token. If it fails again, compare its issuer and audience with the metadata at /.well-known/oauth-protected-resource.";
    TokenBinding "token-binding" UNAUTHORIZED "The access token belongs to another certificate or key."
        "The token is bound to a client certificate (RFC 8705 §3) that is not the one of this connection, or to a key (RFC 9449 §6) of which the request has no proof, or it is bound to no key and was sent by the DPoP scheme."
        "Call the mutual-TLS endpoint with the certificate with which you obtained the token, or send `Authorization: DPoP …` with a proof by the key that the token is bound to.";
    DpopProof "dpop-proof" UNAUTHORIZED "The DPoP proof is not valid."
        "The request's DPoP proof (RFC 9449 §4.3) is missing, doubled, malformed, too old, for another method, URL or token, or was used before."
        "Make a new proof for each request: with its method and its URL as the catalogue publishes it, the present time, a fresh `jti` and the hash of the access token.";
    DpopNonce "dpop-nonce" UNAUTHORIZED "The DPoP proof needs a nonce of the gateway's."
        "The gateway asks for its own nonces in DPoP proofs (RFC 9449 §9), and this proof has none or one that has ended."
        "Take the nonce from the DPoP-Nonce field, make a new proof with it and send the request again.";
    AuthenticationInsufficient "authentication-insufficient" UNAUTHORIZED "A stronger or more recent authentication is required."
        "The user behind the token was not authenticated as this operation demands, or too long ago, or the token is not a user's (RFC 9470)."
        "Send the user through authorization again, with the `acr_values` and `max_age` of the WWW-Authenticate field.";
    TokenInRequest "token-in-request" BAD_REQUEST "The access token is sent in more than one way."
        "The request has several Authorization fields, or a token outside of the Authorization field."
        "Send the token once, in the Authorization field.";
    CertificateUntrusted "certificate-untrusted" UNAUTHORIZED "The client certificate is not trusted."
        "The certificate of this connection leads to no partner CA that is in force, and no client registered it."
        "Use a certificate of a listed CA, or register your self-signed certificate.";
    InteractionUnnamed "interaction-unnamed" BAD_REQUEST "The request must name its interaction."
        "The profile of the client or of the product demands a UUID in the field x-fapi-interaction-id (Open Finance Brasil), and the request has none, several, or something else there."
        "Send one x-fapi-interaction-id with a new UUID (RFC 9562) for each request; the answer carries it too.";
    ScopeMissing "scope-missing" FORBIDDEN "The token lacks a scope."
        "The operation requires a scope that the token was not granted."
        "Request a token with the scope that the WWW-Authenticate field names.";
    DetailsMissing "authorization-details-missing" FORBIDDEN "The token lacks authorization details."
        "The operation requires that the user granted details of a type (RFC 9396), and the token has none of it."
        "Ask for a token with `authorization_details` of the type that `authorization_details_type` names; the metadata list all types.";
    NotSubscribed "not-subscribed" FORBIDDEN "The client has no subscription to this operation."
        "No product to which the client subscribes contains this operation."
        "Subscribe the client to a product that contains the operation.";
    BindingRequired "binding-required" FORBIDDEN "A sender-constrained token is required."
        "The operation belongs to a regulated product, which takes only sender-constrained tokens (FAPI 2.0 Security Profile §5.3.4)."
        "Use a token that is bound to the client's certificate, at the mutual-TLS endpoint, or one that is bound to a DPoP key.";
    PolicyRefused "policy-refused" FORBIDDEN "A compliance policy refuses the request."
        "A policy of the operator forbids this request, or none permits it."
        "Follow the remedy that the document states.";
    ContractViolated "contract-violated" BAD_REQUEST "The request does not match the operation's contract."
        "A parameter or the body breaks the published OpenAPI document; `errors` lists where and how."
        "Correct the listed places and send the request again.";
    MediaTypeUnsupported "media-type-unsupported" UNSUPPORTED_MEDIA_TYPE "The media type is not supported."
        "The operation does not take a body of this Content-Type."
        "Send one of the media types that the catalogue lists for the operation.";
    ContentCodingUnsupported "content-coding-unsupported" UNSUPPORTED_MEDIA_TYPE "The content coding is not supported."
        "The body is compressed, but this operation's contract must be able to read it."
        "Send the body without Content-Encoding.";
    QuotaExceeded "quota-exceeded" TOO_MANY_REQUESTS "A quota is exhausted."
        "The client or its tenant has used up a limit of its plan; `violated-policies` names it."
        "Wait for the time in the Retry-After field, or ask for a larger plan.";
    FloodGuard "flood-guard" TOO_MANY_REQUESTS "Too many failed attempts."
        "This address or certificate has failed to authenticate too often within a short time."
        "Stop, correct the credentials, and retry after the time in the Retry-After field.";
    Overloaded "overloaded" SERVICE_UNAVAILABLE "The gateway is at its capacity."
        "A bound of the gateway on simultaneous work is reached, so the request was refused at once."
        "Retry after the time in the Retry-After field.";
    ClientOverloaded "client-overloaded" SERVICE_UNAVAILABLE "The client has too much under way."
        "The bodies of requests and answers that the gateway must hold at once have reached the share of this client, or of its tenant's clients together, so the request was refused."
        "Finish or slow down the uploads under way, and retry after the time in the Retry-After field.";
    BackendUnavailable "backend-unavailable" SERVICE_UNAVAILABLE "The institution cannot be reached."
        "No back end of the institution is healthy, or none could be connected to. The request was not processed."
        "Retry later; the status page shows the institution's health.";
    BackendFailed "backend-failed" BAD_GATEWAY "The institution gave no usable answer."
        "The back end closed the connection or answered with something that is not well-formed HTTP. Whether it processed the request is unknown."
        "For reads, retry. For writes, first read the resource's state.";
    BackendContract "backend-contract" BAD_GATEWAY "The institution's answer cannot be passed on."
        "The answer breaks the published contract, or a rule demands to redact it and it cannot be read."
        "Report the interaction id to the operator.";
    BackendTimeout "backend-timeout" GATEWAY_TIMEOUT "The institution did not answer in time."
        "The back end did not answer within the operation's deadline. Whether it processed the request is unknown."
        "For reads, retry. For writes, first read the resource's state.";
    Unavailable "unavailable" SERVICE_UNAVAILABLE "The gateway cannot decide at present."
        "Something that the gateway needs for its decision is unavailable. The request was not processed."
        "Retry later.";
    Internal "internal" INTERNAL_SERVER_ERROR "The gateway failed."
        "A defect of the gateway stopped the request."
        "Report the interaction id to the operator.";
}

impl Kind {
    /// Finds a kind by its code, for its page.
    pub fn parse(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.code() == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_kebab_case_and_found_again() {
        for kind in Kind::ALL {
            assert!(kind.code().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{kind:?}");
            assert_eq!(Kind::parse(kind.code()), Some(*kind));
            assert!(kind.status().as_u16() >= 400, "{kind:?}");
        }
        assert_eq!(Kind::parse("made-up"), None);
    }
}

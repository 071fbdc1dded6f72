//! What the published document says of the forms that clients send, and of the refusals that all of them may hear.

use super::ErrorBody;

/// Declares a form: its own parameters, and those by which the client proves itself (RFC 7523 §2.2, RFC 8705 §2).
macro_rules! client_form {
    ($(#[doc = $doc:literal])* struct $name:ident { $($parameters:tt)* }) => {
        $(#[doc = $doc])*
        #[derive(utoipa::ToSchema)]
        #[expect(dead_code, reason = "documents the form; `oauth` reads it")]
        pub(super) struct $name {
            $($parameters)*
            /// Required with client authentication by certificate (RFC 8705 §2).
            #[schema(nullable = false)]
            client_id: Option<String>,
            /// `urn:ietf:params:oauth:client-assertion-type:jwt-bearer`
            #[schema(nullable = false)]
            client_assertion_type: Option<String>,
            /// A JWT signed with a registered key; `aud` is the issuer identifier as a string (RFC 7523 §2.2, FAPI 2.0).
            #[schema(nullable = false)]
            client_assertion: Option<String>,
        }
    };
}

client_form! {
    /// The form of a token request.
    struct TokenForm {
        #[schema(example = "client_credentials")]
        grant_type: String,
        /// Of `authorization_code`.
        #[schema(nullable = false)]
        code: Option<String>,
        /// Of `authorization_code`: that of the request.
        #[schema(nullable = false)]
        redirect_uri: Option<String>,
        /// Of `authorization_code` (RFC 7636 §4.5).
        #[schema(nullable = false)]
        code_verifier: Option<String>,
        /// Of `refresh_token`.
        #[schema(nullable = false)]
        refresh_token: Option<String>,
        /// Of `urn:openid:params:grant-type:ciba`.
        #[schema(nullable = false)]
        auth_req_id: Option<String>,
        /// Space-delimited; all scopes of the client if absent.
        #[schema(nullable = false, example = "accounts")]
        scope: Option<String>,
        /// The resource identifier of RFC 9728 (RFC 8707 §2).
        #[schema(nullable = false)]
        resource: Option<String>,
    }
}

client_form! {
    /// The form of a pushed authorization request: the parameters of the request, or `request` alone.
    struct PushedForm {
        /// A signed request object (RFC 9101). No other parameter of the request stands beside it.
        #[schema(nullable = false)]
        request: Option<String>,
        #[schema(nullable = false, example = "code")]
        response_type: Option<String>,
        /// One that the client registered.
        #[schema(nullable = false)]
        redirect_uri: Option<String>,
        #[schema(nullable = false, example = "openid accounts")]
        scope: Option<String>,
        #[schema(nullable = false)]
        state: Option<String>,
        #[schema(nullable = false)]
        nonce: Option<String>,
        /// RFC 7636 §4.2.
        #[schema(nullable = false)]
        code_challenge: Option<String>,
        #[schema(nullable = false, example = "S256")]
        code_challenge_method: Option<String>,
        /// `query`, `jwt`, `query.jwt`, `fragment.jwt` or `form_post.jwt`.
        #[schema(nullable = false)]
        response_mode: Option<String>,
        /// A JSON array (RFC 9396 §2).
        #[schema(nullable = false)]
        authorization_details: Option<String>,
        /// An ID token that the client got here: nobody else may sign in.
        #[schema(nullable = false)]
        id_token_hint: Option<String>,
        /// RFC 9449 §10.
        #[schema(nullable = false)]
        dpop_jkt: Option<String>,
    }
}

client_form! {
    /// The form of a backchannel authentication request: its parameters, or `request` alone.
    struct BackchannelForm {
        /// The parameters as a JWT that the client signed (CIBA Core §7.1.1). None of them stands beside it.
        #[schema(nullable = false)]
        request: Option<String>,
        /// With `openid`.
        #[schema(nullable = false, example = "openid accounts")]
        scope: Option<String>,
        /// A user's name or subject. Exactly one hint is sent.
        #[schema(nullable = false)]
        login_hint: Option<String>,
        /// A JWT of the client with `iss`, `aud`, `exp` and a `sub_id` of the format `opaque` (RFC 9493).
        #[schema(nullable = false)]
        login_hint_token: Option<String>,
        /// An ID token that the client got here.
        #[schema(nullable = false)]
        id_token_hint: Option<String>,
        /// Shown to the user on both devices: 100 characters at most.
        #[schema(nullable = false)]
        binding_message: Option<String>,
        #[schema(nullable = false)]
        acr_values: Option<String>,
        /// Seconds.
        #[schema(nullable = false)]
        requested_expiry: Option<String>,
        /// Of clients that are pinged.
        #[schema(nullable = false)]
        client_notification_token: Option<String>,
        /// A JSON array (RFC 9396 §2).
        #[schema(nullable = false)]
        authorization_details: Option<String>,
    }
}

client_form! {
    /// The form of a request about a token.
    struct AboutTokenForm {
        /// An access token of this server.
        token: String,
        /// Not needed: there is one kind of token.
        #[schema(nullable = false, example = "access_token")]
        token_type_hint: Option<String>,
    }
}

/// What every endpoint that clients call may answer, beside what it is for.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "documents the answers; `oauth` makes them")]
pub(in crate::endpoint) enum RefusedToClients {
    /// The client did not prove itself, or whoever registers it did not.
    #[response(status = 401)]
    Unproven(ErrorBody),
    /// The body is too large.
    #[response(status = 413)]
    TooLarge(ErrorBody),
    /// Retry later.
    #[response(status = 503)]
    Later(ErrorBody),
}

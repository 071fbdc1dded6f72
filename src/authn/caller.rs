//! A client proven on this request.

use std::sync::Arc;

use super::{AuthnError, VerifiedToken};
use crate::domain::Client;

/// A registered client and the verified token that names it. Whether the two may act is for policy to say.
#[derive(Debug, Clone)]
pub struct Caller {
    client: Arc<Client>, // Invariant: the token's client and, where the token says, its tenant.
    token: Arc<VerifiedToken>,
}

impl Caller {
    /// Joins a token with the client that was found under its `client_id`.
    pub fn new(client: Arc<Client>, token: Arc<VerifiedToken>) -> Result<Self, AuthnError> {
        let same_tenant = token.tenant.as_ref().is_none_or(|tenant| *tenant == client.tenant.id);
        if client.id != token.client_id || !same_tenant {
            return Err(AuthnError::ClientUnknown);
        }
        Ok(Self { client, token })
    }

    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    pub fn token(&self) -> &Arc<VerifiedToken> {
        &self.token
    }
}

//! What does a user approve? The one place where that is decided: the seam of the consent journey.
//!
//! Today the page shows everything that was asked for, and Approve approves all of it. What follows here may let the user
//! choose (accounts, a shorter time), enrich what was chosen (RFC 9396 §7.1), keep it as a consent, or refuse by rule:
//! it gets what the user needs to be asked, and answers with this type or with what the client hears instead.

use serde_json::Value;

use super::form::Form;
use super::{AuthorizationError, ClientMetadata, Opened};
use crate::domain::ScopeSet;

/// What was approved: what was asked for, or less, or enriched.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Approved {
    pub scopes: ScopeSet,
    pub authorization_details: Vec<Value>,
}

/// The user pressed Approve; `registered` is what the client may ask for now, `_form` what the page sent along.
pub(super) fn approve(
    opened: &Opened,
    registered: &ClientMetadata,
    _form: &Form,
) -> Result<Approved, AuthorizationError> {
    let request = &opened.request;
    // What the client may have at all may have shrunk since it asked.
    let scopes = request.scopes.intersection(&opened.client.scopes);
    let authorization_details = registered.left_of(&request.authorization_details);
    let no_scopes = scopes.is_empty() && !request.scopes.is_empty();
    let no_details = authorization_details.is_empty() && !request.authorization_details.is_empty();
    if no_scopes || no_details {
        return Err(AuthorizationError::Denied);
    }
    Ok(Approved { scopes, authorization_details })
}

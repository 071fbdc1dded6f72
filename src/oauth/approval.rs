//! What does a user approve? The one place where that is decided: the seam of the consent journey.
//!
//! Today the page shows everything that was asked for, and Approve approves all of it. What follows here may let the user
//! choose (accounts, a shorter time), enrich what was chosen (RFC 9396 §7.1), keep it as a consent, or refuse by rule:
//! it gets what the user needs to be asked, and answers with this type or with what the client hears instead.

use serde_json::Value;

use super::form::Form;
use super::{AuthorizationError, Opened};
use crate::domain::ScopeSet;

/// What was approved: what was asked for, or less, or enriched.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Approved {
    pub scopes: ScopeSet,
    pub authorization_details: Vec<Value>,
}

/// The user pressed Approve; `_form` is what the page sent along.
pub(super) fn approve(opened: &Opened, _form: &Form) -> Result<Approved, AuthorizationError> {
    // What the client may have at all may have shrunk since it asked.
    let scopes = opened.request.scopes.intersection(&opened.client.scopes);
    if scopes.is_empty() && !opened.request.scopes.is_empty() {
        return Err(AuthorizationError::Denied);
    }
    Ok(Approved { scopes, authorization_details: opened.request.authorization_details.clone() })
}

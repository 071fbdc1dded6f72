//! Which resources is a token for (RFC 8707)? The gateway as a whole, or some of its APIs.
//!
//! Every resource here is served by this gateway and its tokens are signed by the same keys, so one token may be for
//! several. Whatever else is asked for is refused, and nothing beyond the grant is ever added.

use serde_json::{Value, json};

use super::form::Form;
use super::server::path_of;
use super::{AuthorizationServer, OAuthError};

/// Most resources of one token: its `aud` travels with every request.
const RESOURCES_MAX: usize = 16;

impl AuthorizationServer {
    /// RFC 8707 §2: what was asked for, each once; nothing, if nothing was. What is called by the mutual-TLS listener's name
    /// is the same resource, which tokens name by its public one.
    pub(super) fn resources(&self, parameters: &Form) -> Result<Vec<String>, OAuthError> {
        let mut asked: Vec<String> = Vec::new();
        for resource in parameters.all("resource") {
            let resource = self.by_public_name(resource);
            if !self.is_served(&resource) {
                return Err(OAuthError::InvalidTarget);
            }
            if !asked.contains(&resource) {
                asked.push(resource);
            }
        }
        if asked.len() > RESOURCES_MAX { Err(OAuthError::InvalidTarget) } else { Ok(asked) }
    }

    /// RFC 8707 §2.2: what a token is for, of what was granted; all of it, if nothing is asked for. An API that is gone
    /// meanwhile is left out; a token for nothing is not made.
    pub(super) fn narrowed(&self, granted: &[String], asked: &[String]) -> Result<Vec<String>, OAuthError> {
        let whole = &self.settings.resource;
        let granted_whole = granted.is_empty() || granted.contains(whole);
        if asked.is_empty() {
            let left: Vec<String> = granted.iter().filter(|resource| self.is_served(resource)).cloned().collect();
            return if left.is_empty() && !granted.is_empty() { Err(OAuthError::InvalidTarget) } else { Ok(left) };
        }
        let within = asked.iter().all(|resource| granted_whole || granted.contains(resource));
        if within { Ok(asked.to_vec()) } else { Err(OAuthError::InvalidTarget) }
    }

    /// The claim `aud` (RFC 9068 §3): the whole gateway, if nothing was asked for.
    pub(super) fn audience(&self, resources: &[String]) -> Value {
        match resources {
            [] => self.settings.resource.as_str().into(),
            [one] => one.as_str().into(),
            several => json!(several),
        }
    }

    fn by_public_name(&self, resource: &str) -> String {
        let resource = without_empty_path(resource);
        let below = self.settings.mtls_url.as_deref().and_then(|mtls| resource.strip_prefix(mtls));
        match below.filter(|path| path.is_empty() || path.starts_with('/')) {
            Some(path) => format!("{}{path}", self.settings.resource),
            None => resource.to_owned(),
        }
    }

    fn is_served(&self, resource: &str) -> bool {
        *resource == *self.settings.resource || self.settings.api_resources.iter().any(|api| api == resource)
    }
}

/// RFC 3986 §6.2.3: an empty path and `/` are one. The slash behind any other path is part of its name.
fn without_empty_path(resource: &str) -> &str {
    resource.strip_suffix('/').filter(|origin| path_of(origin).is_empty()).unwrap_or(resource)
}

//! Operations before they are compiled: what the documents say, under what the operator says.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;

use crate::admission::{AmountAt, StepUp};
use crate::catalogue::{ImportedApi, ImportedOperation};
use crate::config::{ApiSettings, Diagnostic, Hints, Located, OperationSettings, Place};
use crate::domain::{LicenceRole, ScopeSet};
use crate::endpoint::own_path;
use crate::oauth::DetailTypes;

use super::compile::Mistakes;

/// An imported API beside what the operator says of it.
#[derive(Clone, Copy)]
pub(super) struct Api<'c> {
    pub settings: &'c Located<ApiSettings>,
    pub imported: &'c ImportedApi,
}

/// One operation before it is compiled.
pub(super) struct Draft<'c> {
    pub api: Api<'c>,
    pub imported: &'c ImportedOperation,
    pub settings: OperationSettings,
    pub amount: Option<AmountAt>,
    pub step_up: Option<StepUp>,
    pub licence_role: Option<LicenceRole>,
    pub upstream: UpstreamPath,
}

/// How a published path becomes the back end's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UpstreamPath {
    /// So many segments of the published path go…
    pub segments: usize,
    /// …and this comes in their place.
    pub base: String,
}

type ByName<'c> = HashMap<&'c str, &'c Located<OperationSettings>>;

fn by_name(settings: &ApiSettings) -> ByName<'_> {
    settings.operations.iter().map(|(name, settings)| (name.as_str(), settings)).collect()
}

pub(super) fn drafts<'c>(apis: &[Api<'c>], hints: &Hints, mistakes: &mut Mistakes) -> Vec<Draft<'c>> {
    let mut drafts = Vec::new();
    for api in apis.iter().copied() {
        check_operation_names(api, hints, mistakes);
        let named = by_name(&api.settings.value);
        for imported in &api.imported.operations {
            check_own_paths(api, imported, mistakes);
            let settings = named.get(local_name(imported)).map(|located| located.value.clone()).unwrap_or_default();
            drafts.push(Draft {
                api,
                imported,
                amount: amount(api, imported, &settings, mistakes),
                step_up: step_up(api, imported, &settings, mistakes),
                licence_role: licence_role(api, imported, &settings, mistakes),
                upstream: upstream(api, imported, mistakes),
                settings,
            });
        }
    }
    drafts
}

/// RFC 9396 §2: the root member `x-clearway-authorization-details` of a document maps types to their JSON Schemas.
pub(super) fn detail_types(apis: &[Api<'_>], mistakes: &mut Mistakes) -> Option<DetailTypes> {
    let mut declared = Vec::new();
    for api in apis {
        match api.imported.document.get("x-clearway-authorization-details") {
            None => {}
            Some(Value::Object(types)) => declared.extend(types.iter().map(|(name, schema)| (name.as_str(), schema))),
            Some(_) => {
                let message = format!(
                    "API `{}`: `x-clearway-authorization-details` does not map types to schemas",
                    api.imported.id
                );
                mistakes.push(Diagnostic::new(api.settings.place.clone(), message));
            }
        }
    }
    match DetailTypes::compile(declared) {
        Ok(types) => Some(types),
        Err(error) => {
            mistakes.push(Diagnostic::new(Place::file("apis.yaml"), error.to_string()));
            None
        }
    }
}

/// A type that no API declares could never be granted, so the operation could never be called.
pub(super) fn check_detail_types(drafts: &[Draft<'_>], types: &DetailTypes, hints: &Hints, mistakes: &mut Mistakes) {
    for demanded in drafts.iter().filter_map(|draft| draft.settings.authorization_details_type.as_ref()) {
        if types.names().any(|name| name == demanded.value) {
            continue;
        }
        let message = format!("no API declares the authorization details type `{}`", demanded.value);
        let diagnostic = Diagnostic::new(demanded.place.clone(), message);
        mistakes.push(match hints.near(&demanded.value, types.names()) {
            Some(near) => diagnostic.remedy(format!("did you mean `{near}`?")),
            None => diagnostic
                .remedy("types are declared in the root member `x-clearway-authorization-details` of a document"),
        });
    }
}

/// Our own paths come first, so what lies on one of them could never be called. A template such as `/{a}/{b}` may
/// stand beside them: it takes what they leave.
fn check_own_paths(api: Api<'_>, operation: &ImportedOperation, mistakes: &mut Mistakes) {
    let path = &operation.spec.path;
    if let Some(own) = own_path(path) {
        let below = if own.ends_with('/') && own != "/" { "…" } else { "" };
        let id = &operation.spec.id;
        let message = format!("`{id}` would lie on a path of the gateway's own, {path} on {own}{below}");
        let remedy = "set `base_path` of the API to a path that is free";
        mistakes.push(Diagnostic::new(api.settings.place.clone(), message).remedy(remedy));
    }
}

/// An operation's name without its API's.
fn local_name(operation: &ImportedOperation) -> &str {
    let id = operation.spec.id.as_str();
    id.split_once('.').map_or(id, |(_, name)| name)
}

fn check_operation_names(api: Api<'_>, hints: &Hints, mistakes: &mut Mistakes) {
    let names: std::collections::BTreeSet<&str> = api.imported.operations.iter().map(local_name).collect();
    for (name, settings) in &api.settings.value.operations {
        if !names.contains(name.as_str()) {
            let message = format!("the API has no operation `{name}`");
            let diagnostic = Diagnostic::new(settings.place.clone(), message);
            mistakes.push(match hints.near(name, names.iter().copied()) {
                Some(near) => diagnostic.remedy(format!("did you mean `{near}`?")),
                None => diagnostic,
            });
        }
    }
}

/// Sets the scopes that are demanded, once, so that what is published is what is demanded: the operator's word, else
/// the document's, else the API's default, else the API's id.
pub(super) fn settle_scopes(settings: &ApiSettings, operations: &mut [ImportedOperation]) {
    let named = by_name(settings);
    for operation in operations {
        let own = named.get(local_name(operation)).and_then(|located| located.value.scopes.as_ref());
        if let Some(scopes) = own.or(settings.scopes.as_ref()) {
            operation.scopes = scopes.clone();
        } else if operation.scopes.is_empty() {
            let default = settings.default_scope.clone();
            let default = default.or_else(|| ScopeSet::parse(settings.source.id.as_str()).ok());
            operation.scopes = default.unwrap_or_default();
        }
    }
}

/// The operator's word, else the document's `x-clearway-amount`. A document can add this demand, not take it away.
fn amount(
    api: Api<'_>,
    operation: &ImportedOperation,
    settings: &OperationSettings,
    mistakes: &mut Mistakes,
) -> Option<AmountAt> {
    if let Some(at) = &settings.amount {
        return Some(AmountAt { amount: at.amount.clone(), currency: at.currency.clone() });
    }
    let stated = operation.extensions.get("x-clearway-amount")?;
    let pointer = |name: &str| stated.get(name)?.as_str().filter(|text| text.starts_with('/')).map(str::to_owned);
    let (Some(amount), Some(currency)) = (pointer("amount"), pointer("currency")) else {
        let message = format!("`x-clearway-amount` of `{}` needs `amount` and `currency`", operation.spec.id);
        let remedy = "both are JSON Pointers, such as /Data/Amount";
        mistakes.push(Diagnostic::new(api.settings.place.clone(), message).remedy(remedy));
        return None;
    };
    Some(AmountAt { amount, currency })
}

/// The operator's word, else the document's `x-clearway-step-up`. A document can add this demand, not take it away.
fn step_up(
    api: Api<'_>,
    operation: &ImportedOperation,
    settings: &OperationSettings,
    mistakes: &mut Mistakes,
) -> Option<StepUp> {
    let made = match (&settings.step_up, operation.extensions.get("x-clearway-step-up")) {
        (Some(said), _) => StepUp::new(said.acr_values.clone(), said.max_age).map_err(|error| error.to_string()),
        (None, Some(stated)) => stated_step_up(stated),
        (None, None) => return None,
    };
    match made {
        Ok(step_up) => Some(step_up),
        Err(message) => {
            let message = format!("the step-up of `{}`: {message}", operation.spec.id);
            let remedy = "such as { acr_values: [urn:example:strong], max_age: 300 }";
            mistakes.push(Diagnostic::new(api.settings.place.clone(), message).remedy(remedy));
            None
        }
    }
}

/// Read strictly: a demand that is not understood would be none.
fn stated_step_up(stated: &Value) -> Result<StepUp, String> {
    let members = stated.as_object().ok_or("it is not an object")?;
    let (mut acr_values, mut max_age) = (Vec::new(), None);
    for (name, value) in members {
        match name.as_str() {
            "acr_values" => {
                let items = value.as_array().ok_or("`acr_values` is not a list")?;
                let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
                acr_values = texts.collect::<Option<_>>().ok_or("`acr_values` is not a list of texts")?;
            }
            "max_age" => {
                let secs = value.as_u64().ok_or("`max_age` is not a whole number of seconds")?;
                max_age = Some(Duration::from_secs(secs));
            }
            other => return Err(format!("`{}` is not known", other.chars().take(40).collect::<String>())),
        }
    }
    StepUp::new(acr_values, max_age).map_err(|error| error.to_string())
}

/// The operator's word on the operation, else on the API, else the document's `x-clearway-licence-role`: an
/// institution's document cannot talk the operator's demand down. A role that does not exist would demand nothing.
fn licence_role(
    api: Api<'_>,
    operation: &ImportedOperation,
    settings: &OperationSettings,
    mistakes: &mut Mistakes,
) -> Option<LicenceRole> {
    let stated = operation.extensions.get("x-clearway-licence-role");
    let known = stated.and_then(|value| value.as_str());
    let known = known.and_then(|text| LicenceRole::ALL.into_iter().find(|role| role.as_str() == text));
    if stated.is_some() && known.is_none() {
        let message = format!("`x-clearway-licence-role` of `{}` is not a licence role", operation.spec.id);
        let roles: Vec<&str> = LicenceRole::ALL.iter().map(|role| role.as_str()).collect();
        let remedy = format!("the roles are {}", roles.join(", "));
        mistakes.push(Diagnostic::new(api.settings.place.clone(), message).remedy(remedy));
    }
    settings.licence_role.or(api.settings.value.licence_role).or(known)
}

fn upstream(api: Api<'_>, operation: &ImportedOperation, mistakes: &mut Mistakes) -> UpstreamPath {
    let published = &operation.spec.path;
    if let Some(base) = &api.settings.value.upstream_base_path {
        let prefix = &api.imported.base_path;
        let below =
            published.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let segments = if below { prefix.matches('/').count() } else { 0 };
        return UpstreamPath { segments, base: base.clone() };
    }
    let upstream = exchange(published, &operation.upstream_path);
    if upstream.base.contains('{') {
        let message = format!("`{}`: nobody can fill in the variables of {}", operation.spec.id, upstream.base);
        let remedy = "set `upstream_base_path` of the API";
        mistakes.push(Diagnostic::new(api.settings.place.clone(), message).remedy(remedy));
    }
    upstream
}

/// What differs between the two paths before the segments that both end with.
fn exchange(published: &str, upstream: &str) -> UpstreamPath {
    let (mut outside, mut inside) = (published, upstream);
    while let (Some((left, x)), Some((right, y))) = (outside.rsplit_once('/'), inside.rsplit_once('/'))
        && x == y
    {
        (outside, inside) = (left, right);
    }
    UpstreamPath { segments: outside.matches('/').count(), base: inside.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_prefix_becomes_the_back_ends() {
        for (name, published, upstream, segments, base) in [
            ("the same", "/v1/accounts/{id}", "/v1/accounts/{id}", 0, ""),
            ("another base", "/bank/accounts/{id}", "/v1/accounts/{id}", 1, "/v1"),
            ("a longer one", "/a/b/c/x", "/x", 3, ""),
            ("none before", "/x", "/v1/x", 0, "/v1"),
            ("ends that look alike", "/bank/v1/x", "/v1/x", 1, ""),
            ("the root", "/bank/", "/v1/", 1, "/v1"),
            ("a server of the operation's own", "/legacy/{id}", "/legacy/{id}", 0, ""),
        ] {
            let expected = UpstreamPath { segments, base: base.into() };
            assert_eq!(exchange(published, upstream), expected, "{name}");
        }
    }
}

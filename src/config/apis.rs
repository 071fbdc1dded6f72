//! `apis.yaml` and `products.yaml`: what is published, and in which bundles.

use std::path::PathBuf;
use std::time::Duration;

use crate::catalogue::ApiSource;
use crate::contract::Mode;
use crate::domain::{ApiId, InstitutionId, LicenceRole, ProductId, Risk, ScopeSet};
use crate::oauth::Profile;

use super::institutions::InstitutionSettings;
use super::partners::{Names, known, licence_role, undeclared};
use super::tree::{Entry, Node};
use super::{Diagnostic, Located, each, registered, scalar};

/// Where a request body states the money it moves, as JSON Pointers (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmountPointers {
    pub amount: String,
    pub currency: String,
}

/// How the user behind a token must have been authenticated (RFC 9470).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepUpSettings {
    /// Any of them will do; none: all will.
    pub acr_values: Vec<String>,
    pub max_age: Option<Duration>,
}

/// What the operator says of one operation beyond its document. Absent members follow the API.
#[derive(Debug, Clone, Default)]
pub struct OperationSettings {
    pub request_contract: Option<Mode>,
    pub response_contract: Option<Mode>,
    pub licence_role: Option<LicenceRole>,
    pub scopes: Option<ScopeSet>,
    pub amount: Option<AmountPointers>,
    pub step_up: Option<StepUpSettings>,
    /// A type that some API declares; where it is written.
    pub authorization_details_type: Option<Located<String>>,
    pub timeout: Option<Duration>,
    pub body_bytes_max: Option<u64>,
    pub websocket: bool,
}

#[derive(Debug, Clone)]
pub struct ApiSettings {
    pub source: ApiSource,
    pub institution: InstitutionId,
    /// Replaces the document's base path towards the back end.
    pub upstream_base_path: Option<String>,
    pub request_contract: Mode,
    pub response_contract: Mode,
    pub licence_role: Option<LicenceRole>,
    /// Demanded by every operation, in place of what the document says.
    pub scopes: Option<ScopeSet>,
    /// Demanded where the document names no OAuth scope.
    pub default_scope: Option<ScopeSet>,
    /// By the operation's name in the document, without the API's id.
    pub operations: Vec<(String, Located<OperationSettings>)>,
}

/// `bank.*`, `bank.GetAccounts` or `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    Everything,
    Api(ApiId),
    Operation(String),
}

#[derive(Debug, Clone)]
pub struct ProductSettings {
    pub id: ProductId,
    pub name: String,
    pub risk: Risk,
    /// What a client's profile must satisfy.
    pub profile: Profile,
    pub operations: Vec<Located<Selector>>,
}

const MODES: &[(&str, Mode)] = &[("off", Mode::Off), ("observe", Mode::Observe), ("enforce", Mode::Enforce)];

pub(super) fn apis(entries: &[Entry<'_>], institutions: &[Located<InstitutionSettings>]) -> Vec<Located<ApiSettings>> {
    let institutions: Names<'_> = institutions.iter().map(|i| i.value.institution.id.as_str()).collect();
    each(entries, "API", |api: &ApiSettings| api.source.id.to_string(), |entry| api(entry, &institutions))
}

fn api(entry: &Entry<'_>, institutions: &Names<'_>) -> Option<ApiSettings> {
    let id: Option<ApiId> = entry.required("id", |entry, node| {
        let id: ApiId = scalar::parsed(entry, node)?;
        if id.as_str().contains('.') { Err("an API's id has no dot".to_owned()) } else { Ok(id) }
    });
    let institution = entry.required("institution", known("institution", institutions));
    let file: Option<PathBuf> = entry.required("document", scalar::file);
    let base_path = entry.optional("base_path", base_path);
    let upstream_base_path = entry.optional("upstream_base_path", base_path_or_root);
    let request_contract = entry.or("request_contract", Mode::Enforce, scalar::one_of(MODES));
    let response_contract = entry.or("response_contract", Mode::Off, scalar::one_of(MODES));
    let licence_role = entry.optional("licence_role", licence_role);
    let scopes = entry.optional("scopes", scalar::scopes);
    let default_scope = entry.optional("default_scope", scalar::scopes);
    let operations = entry.named_sections("operations");
    let operations = operations.iter().map(|(name, section)| (name.clone(), operation(section))).collect();
    entry.finish();
    Some(ApiSettings {
        source: ApiSource { id: id?, file: file?, base_path },
        institution: institution?,
        upstream_base_path,
        request_contract,
        response_contract,
        licence_role,
        scopes,
        default_scope,
        operations,
    })
}

fn operation(entry: &Entry<'_>) -> Located<OperationSettings> {
    let settings = OperationSettings {
        request_contract: entry.optional("request_contract", scalar::one_of(MODES)),
        response_contract: entry.optional("response_contract", scalar::one_of(MODES)),
        licence_role: entry.optional("licence_role", licence_role),
        scopes: entry.optional("scopes", scalar::scopes),
        amount: entry.section("amount").and_then(|section| amount(&section)),
        step_up: entry.section("step_up").map(|section| step_up(&section)),
        authorization_details_type: entry.optional("authorization_details_type", |entry, node| {
            Ok(Located { value: scalar::text(entry, node)?, place: entry.place_of(node) })
        }),
        timeout: entry.optional("timeout", scalar::duration),
        body_bytes_max: entry.optional("body_bytes_max", scalar::bytes),
        websocket: entry.or("websocket", false, scalar::boolean),
    };
    entry.finish();
    Located { value: settings, place: entry.place() }
}

fn step_up(entry: &Entry<'_>) -> StepUpSettings {
    let acr_values = entry.each("acr_values", scalar::text);
    let max_age = entry.optional("max_age", scalar::duration);
    entry.finish();
    StepUpSettings { acr_values, max_age }
}

fn amount(entry: &Entry<'_>) -> Option<AmountPointers> {
    let amount = entry.required("amount", pointer);
    let currency = entry.required("currency", pointer);
    entry.finish();
    Some(AmountPointers { amount: amount?, currency: currency? })
}

fn pointer(entry: &Entry<'_>, node: &Node) -> Result<String, String> {
    let text = scalar::text(entry, node)?;
    if text.starts_with('/') { Ok(text) } else { Err("expected a JSON Pointer, such as /Data/Amount".to_owned()) }
}

fn base_path(entry: &Entry<'_>, node: &Node) -> Result<String, String> {
    let text = base_path_or_root(entry, node)?;
    if text.is_empty() { Err("expected a path, such as /bank/v1".to_owned()) } else { Ok(text) }
}

/// A path without trailing slash; `/` is the empty path.
fn base_path_or_root(entry: &Entry<'_>, node: &Node) -> Result<String, String> {
    let text = scalar::text(entry, node)?;
    let trimmed = text.strip_suffix('/').unwrap_or(&text);
    let plain = text.starts_with('/') && !text.contains(['{', '}', '?', '#', '%', ' ']) && !text.contains("//");
    if plain { Ok(trimmed.to_owned()) } else { Err("expected a plain path, such as /bank/v1".to_owned()) }
}

pub(super) fn products(entries: &[Entry<'_>], apis: &[Located<ApiSettings>]) -> Vec<Located<ProductSettings>> {
    let apis: Names<'_> = apis.iter().map(|api| api.value.source.id.as_str()).collect();
    each(entries, "product", |product: &ProductSettings| product.id.to_string(), |entry| product(entry, &apis))
}

fn product(entry: &Entry<'_>, apis: &Names<'_>) -> Option<ProductSettings> {
    let id: Option<ProductId> = entry.required("id", scalar::parsed);
    let name = entry.optional("name", scalar::text);
    let risk = entry.required("risk", scalar::one_of(&[("low", Risk::Low), ("regulated", Risk::Regulated)]));
    let profile = entry.or("profile", Profile::PlainOauth, registered::profile);
    let operations = entry.each("operations", |entry, node| {
        Ok(Located { value: selector(entry, node, apis)?, place: entry.place_of(node) })
    });
    if operations.is_empty() {
        let message = "`operations` must select at least one operation";
        entry.report().add(Diagnostic::new(entry.place(), message).remedy("write `bank.*` or `bank.GetAccounts`"));
    }
    entry.finish();
    let id = id?;
    Some(ProductSettings { name: name.unwrap_or_else(|| id.to_string()), id, risk: risk?, profile, operations })
}

fn selector(entry: &Entry<'_>, node: &Node, apis: &Names<'_>) -> Result<Selector, String> {
    let text = scalar::text(entry, node)?;
    if text == "*" {
        return Ok(Selector::Everything);
    }
    let (api, operation) = text.split_once('.').ok_or("expected `api.*`, `api.operation` or `*`")?;
    if !apis.contains(api) {
        return Err(undeclared(entry, "API", api, apis.iter().copied()));
    }
    match operation {
        "*" => ApiId::parse(api).map(Selector::Api).map_err(|error| error.to_string()),
        _ => Ok(Selector::Operation(text)),
    }
}

//! What is ours in every published document: servers, security, title; and how the parts are put together.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::super::convert::v30::OPENAPI;
use super::super::{ImportedApi, ImportedOperation};
use super::face::Face;
use super::{Edge, component, tag};

/// Names of our security schemes.
const OAUTH2: &str = "oauth2";
const MUTUAL_TLS: &str = "mutualTLS";
const DPOP: &str = "DPoP";

/// The constant parts.
pub struct Frame<'e> {
    edge: &'e Edge,
    scopes: BTreeMap<String, String>,
}

impl<'e> Frame<'e> {
    pub fn new(edge: &'e Edge, sources: &[&ImportedApi]) -> Self {
        let mut scopes = edge.scopes.clone();
        for api in sources {
            let described = described_scopes(&api.document);
            for scope in api.operations.iter().flat_map(|o| o.scopes.iter()) {
                let description = described.get(scope.as_str()).cloned().unwrap_or_default();
                scopes.entry(scope.as_str().to_owned()).or_insert(description);
            }
        }
        Self { edge, scopes }
    }

    /// OAM-43: bound to a client certificate or to a key, or (where a product is marked low-risk) as a plain bearer
    /// token.
    pub fn security(&self, operation: &ImportedOperation) -> Value {
        let scopes: Vec<&str> = operation.scopes.iter().map(|s| s.as_str()).collect();
        let by_certificate = self.edge.mtls_url.as_ref().map(|_| json!({ OAUTH2: scopes, MUTUAL_TLS: [] }));
        let by_key = self.edge.dpop.contains(&operation.spec.id).then(|| json!({ OAUTH2: scopes, DPOP: [] }));
        by_certificate.into_iter().chain(by_key).chain([json!({ OAUTH2: scopes })]).collect()
    }

    fn servers(&self) -> Value {
        let url = |url: &str| url.trim_end_matches('/').to_owned();
        let public = json!({ "url": url(&self.edge.public_url), "description": "Public listener" });
        match &self.edge.mtls_url {
            Some(mtls) => {
                json!([{ "url": url(mtls), "description": "Mutual TLS: a client certificate is required" }, public])
            }
            None => json!([public]),
        }
    }

    /// Our schemes; with the scopes that `used` names, or all.
    fn schemes(&self, used: Option<&Face>) -> Map<String, Value> {
        let bound_by_key = used.map_or(!self.edge.dpop.is_empty(), |face| uses(&face.paths, DPOP));
        let used = used.map(|face| used_scopes(&face.paths));
        let is_used = |scope: &String| used.as_ref().is_none_or(|used| used.contains(scope));
        let scopes: Map<String, Value> =
            self.scopes.iter().filter(|(s, _)| is_used(s)).map(|(s, d)| (s.clone(), d.as_str().into())).collect();
        let mut schemes = Map::new();
        schemes.insert(
            OAUTH2.to_owned(),
            json!({
                "type": "oauth2",
                "description": "An access token of this gateway (RFC 6749 §4.4), bound to the client certificate \
                    (RFC 8705) or to a key (RFC 9449) unless the product is marked low-risk.",
                "flows": { "clientCredentials": { "tokenUrl": self.edge.token_url, "scopes": scopes } }
            }),
        );
        if self.edge.mtls_url.is_some() {
            schemes.insert(
                MUTUAL_TLS.to_owned(),
                json!({ "type": "mutualTLS", "description": "The certificate that the client registered." }),
            );
        }
        if bound_by_key {
            schemes.insert(
                DPOP.to_owned(),
                json!({
                    "type": "http",
                    "scheme": "DPoP",
                    "description": "A token bound to a key, with a proof of it in the DPoP field (RFC 9449 §7.1).",
                }),
            );
        }
        schemes
    }

    /// The document of one API, as JSON. Written from the parts where they stand: they are also the unified document's,
    /// and large.
    pub fn single(&self, api: &ImportedApi, face: &Face) -> Result<String, serde_json::Error> {
        let mut info = face.info.clone();
        info.insert(
            "x-source".into(),
            json!({ "id": api.id.as_str(), "version": api.version, "sha256": api.report.sha256 }),
        );
        let schemes = self.schemes(Some(face));
        let mut components: BTreeMap<&str, Entries<'_>> =
            face.components.iter().map(|(section, entries)| (section.as_str(), sorted(entries))).collect();
        components.insert("securitySchemes", Entries(schemes.iter().collect()));
        serde_json::to_string(&Single {
            openapi: OPENAPI,
            info,
            servers: self.servers(),
            tags: &face.tags,
            paths: &face.paths,
            webhooks: &face.webhooks,
            components,
        })
    }

    /// The document of all.
    pub fn unified(&self, sources: &[&ImportedApi], mut faces: Vec<Face>) -> Value {
        let tags = tag::merge(&mut faces);
        let components = component::merge(&mut faces, self.schemes(None));
        let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
        let mut webhooks = Map::new();
        for face in faces {
            for (path, item) in face.paths {
                let Value::Object(item) = item else { continue };
                merge_path_item(paths.entry(path).or_default(), item);
            }
            for (name, item) in face.webhooks {
                webhooks.insert(format!("{}.{name}", face.api), item);
            }
        }
        let edge = self.edge;
        let mut info = Map::new();
        info.insert("title".into(), edge.title.as_str().into());
        info.insert("version".into(), edge.version.as_str().into());
        info.insert("description".into(), edge.description.as_str().into());
        let list = sources.iter().map(|api| {
            json!({ "id": api.id.as_str(), "title": api.title, "version": api.version, "sha256": api.report.sha256 })
        });
        info.insert("x-sources".into(), list.collect());
        let paths = paths.into_iter().map(|(path, item)| (path, item.into())).collect();
        self.assemble(Parts { info, tags, paths, webhooks, components })
    }

    fn assemble(&self, parts: Parts) -> Value {
        let mut document = Map::new();
        document.insert("openapi".into(), OPENAPI.into());
        document.insert("info".into(), parts.info.into());
        document.insert("servers".into(), self.servers());
        if !parts.tags.is_empty() {
            document.insert("tags".into(), parts.tags.into());
        }
        document.insert("paths".into(), parts.paths.into());
        if !parts.webhooks.is_empty() {
            document.insert("webhooks".into(), parts.webhooks.into());
        }
        document.insert("components".into(), parts.components.into_iter().collect::<Map<_, _>>().into());
        document.into()
    }
}

/// The members of [`Frame::assemble`] in their order, but borrowed.
#[derive(Serialize)]
struct Single<'f> {
    openapi: &'static str,
    info: Map<String, Value>,
    servers: Value,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tags: &'f [Map<String, Value>],
    paths: &'f Map<String, Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    webhooks: &'f Map<String, Value>,
    components: BTreeMap<&'f str, Entries<'f>>,
}

/// An object, in this order.
struct Entries<'f>(Vec<(&'f String, &'f Value)>);

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

struct Parts {
    info: Map<String, Value>,
    tags: Vec<Value>,
    paths: Map<String, Value>,
    webhooks: Map<String, Value>,
    components: BTreeMap<String, Value>,
}

/// OAM-24: other methods join; what the items say differently about themselves is left out.
fn merge_path_item(into: &mut Map<String, Value>, item: Map<String, Value>) {
    if into.is_empty() {
        *into = item;
        return;
    }
    into.retain(|key, value| !matches!(key.as_str(), "summary" | "description") || item.get(key) == Some(value));
    for (key, value) in item {
        if !matches!(key.as_str(), "summary" | "description") {
            into.entry(key).or_insert(value);
        }
    }
}

/// By name.
fn sorted(entries: &Value) -> Entries<'_> {
    let mut entries: Vec<_> = entries.as_object().into_iter().flatten().collect();
    entries.sort_unstable_by_key(|(name, _)| *name);
    Entries(entries)
}

/// What the document's OAuth flows say about its scopes.
fn described_scopes(document: &Value) -> BTreeMap<String, String> {
    let schemes = document.pointer("/components/securitySchemes").and_then(Value::as_object).into_iter().flatten();
    let flows = schemes.filter_map(|(_, scheme)| scheme.get("flows")?.as_object()).flatten();
    let scopes = flows.filter_map(|(_, flow)| flow.get("scopes")?.as_object()).flatten();
    scopes.map(|(scope, text)| (scope.clone(), text.as_str().unwrap_or_default().to_owned())).collect()
}

/// What the operations say by which a caller may prove itself.
fn alternatives(paths: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    let operations = paths.values().filter_map(Value::as_object).flat_map(Map::values);
    operations.filter_map(|o| o.get("security")?.as_array()).flatten()
}

fn uses(paths: &Map<String, Value>, scheme: &str) -> bool {
    alternatives(paths).any(|alternative| alternative.get(scheme).is_some())
}

fn used_scopes(paths: &Map<String, Value>) -> std::collections::BTreeSet<String> {
    let scopes = alternatives(paths).filter_map(|a| a.get(OAUTH2)?.as_array()).flatten();
    scopes.filter_map(Value::as_str).map(ToOwned::to_owned).collect()
}

//! From a valid 3.1 document to its operations: what can be called, with which messages, under which scopes.
//!
//! On the way, the document itself becomes plain: what stood on a path or on the root (parameters, servers, security)
//! stands on each operation, and an operation that cannot be used is taken out, so that document and routes agree.

mod messages;
pub mod path;
mod reach;
mod scopes;

use std::collections::{BTreeSet, HashMap};

use http::Method;
use serde_json::{Map, Value, json};

use super::ImportedOperation;
use super::bundle::UNRESOLVED;
use super::census::{operation_name, text};
use super::origin::Origins;
use super::pointer;
use super::report::{Finding, Findings, Ledger, Part};
use super::shape::METHODS;
use crate::contract::OperationSpec;
use crate::domain::{ApiId, OperationId};

/// Longest part of an operation's id that comes from the document; the rest is left to the API's id.
const SLUG_LEN_MAX: usize = 60;

/// What the document's operations are gathered with.
pub struct Extraction<'e> {
    pub api: &'e ApiId,
    /// The operator's base path, in place of the document's.
    pub base_path: Option<&'e str>,
    pub ledger: &'e mut Ledger,
    pub findings: &'e mut Findings,
    pub origins: &'e mut Origins,
    /// Names of schemas as their author wrote them, by the names they have now.
    pub schema_names: &'e dyn Fn(&str) -> String,
}

/// One operation whose place in the document is settled.
struct Draft {
    /// Its path in the document as written.
    path: String,
    method: &'static str,
    public_path: String,
    upstream_path: String,
    id: OperationId,
}

/// What stands before the paths.
struct Bases {
    /// The operator's base path.
    stated: Option<String>,
    /// The document's own, as far as it is constant.
    constant: String,
    /// The rest of it, from the segment of its first variable on: part of every path (`/{version}/aisp`).
    variable: String,
}

const COMPLETE: &str = "Complete the document.";

impl Bases {
    fn new(own: &str, stated: Option<&str>) -> Self {
        let slash = own.find('{').and_then(|brace| own.get(..brace)?.rfind('/')).unwrap_or(own.len());
        let (constant, variable) = own.split_at(slash);
        match stated {
            // The operator's replaces the whole, its variables included: nobody could fill them in.
            Some(stated) if !variable.is_empty() => {
                let stated = path::normalise(stated);
                Self { constant: stated.clone(), stated: Some(stated), variable: String::new() }
            }
            stated => Self {
                stated: stated.map(path::normalise),
                constant: constant.to_owned(),
                variable: variable.to_owned(),
            },
        }
    }

    fn own(&self) -> String {
        format!("{}{}", self.constant, self.variable)
    }

    fn public(&self) -> &str {
        self.stated.as_deref().unwrap_or(&self.constant)
    }

    /// The public and the upstream path of an operation; `own` is the path of a server of its own.
    fn paths(&self, own: Option<&str>, path: &str) -> (String, String) {
        let upstream = format!("{}{path}", own.unwrap_or(&self.own()));
        let public = self.stated.as_ref().map(|stated| format!("{stated}{}{path}", self.variable));
        (public.unwrap_or_else(|| upstream.clone()), upstream)
    }
}

impl Extraction<'_> {
    /// Makes the document plain and lists its operations. The second value is the base path of the document.
    pub fn run(mut self, document: &mut Value) -> (Vec<ImportedOperation>, String) {
        let own_base = path::base(document.get("servers"), "/servers", self.findings).unwrap_or_default();
        let bases = Bases::new(&own_base, self.base_path);
        let root_security = document.get("security").cloned();
        let mut drafts = Vec::new();
        let mut plain_paths = Map::new();
        let mut shapes = BTreeSet::new();
        let mut ids = BTreeSet::new();
        let paths = document.get_mut("paths").and_then(Value::as_object_mut).map(std::mem::take).unwrap_or_default();
        for (path, item) in paths {
            if path.starts_with("x-") {
                plain_paths.insert(path, item);
                continue;
            }
            let item = match self.usable(&path, item, &mut shapes) {
                Ok(item) => item,
                Err(reason) => {
                    self.leave_path(&path, &reason);
                    continue;
                }
            };
            let context = PathContext { path: &path, bases: &bases, root_security: root_security.as_ref() };
            let plain = self.path_item(document, item, &context, &mut drafts, &mut ids);
            if plain.keys().any(|k| METHODS.contains(&k.as_str())) {
                self.ledger.use_up(Part::Paths, &path);
                // A base path with variables cannot be a constant: its variable end becomes part of each path.
                let full = format!("{}{path}", bases.variable);
                let written = self.origins.of(&pointer::child("/paths", &path));
                self.origins.note(&pointer::child("/paths", &full), written);
                plain_paths.insert(full, plain.into());
            } else {
                self.ledger.leave(Part::Paths, &path, "it has no operation that can be used");
            }
        }
        if let Some(root) = document.as_object_mut() {
            root.insert("paths".into(), plain_paths.into());
            root.shift_remove("security");
        }
        let operations = self.finish(document, drafts, &bases);
        self.ambiguities(&operations);
        self.other_parts(document);
        (operations, bases.public().to_owned())
    }

    fn usable(&mut self, path: &str, item: Value, shapes: &mut BTreeSet<String>) -> Result<Map<String, Value>, String> {
        path::variables(path)?;
        let Value::Object(item) = item else { return Err("nothing stands behind it".to_owned()) };
        if let Some(reference) = item.get(UNRESOLVED).and_then(Value::as_str) {
            return Err(format!("its reference {reference} leads nowhere"));
        }
        if !shapes.insert(path::shape(path)) {
            // OAM-23: templates that differ in their variables' names only are identical.
            return Err("the same path stands before it with other names for its variables".to_owned());
        }
        Ok(item)
    }

    fn leave_path(&mut self, path: &str, reason: &str) {
        self.ledger.leave(Part::Paths, path, reason);
        for method in METHODS {
            self.ledger.leave_operation(&operation_name(method, path), reason);
        }
        self.findings.push(Finding::error(
            &pointer::child("/paths", path),
            format!("the path {path} is not used: {reason}"),
            "Correct the path.",
        ));
    }

    /// Pushes what the path states down to its operations (OAM-24, OAM-40) and drafts them.
    fn path_item(
        &mut self,
        document: &mut Value,
        mut item: Map<String, Value>,
        context: &PathContext<'_>,
        drafts: &mut Vec<Draft>,
        ids: &mut BTreeSet<String>,
    ) -> Map<String, Value> {
        let shared = match item.shift_remove("parameters") {
            Some(Value::Array(list)) => list,
            _ => Vec::new(),
        };
        let path_at = pointer::child("/paths", context.path);
        let path_base = path::base(item.shift_remove("servers").as_ref(), &path_at, self.findings);
        let mut plain = Map::new();
        for (key, value) in item {
            let (Some(method), Value::Object(mut operation)) = (METHODS.iter().find(|m| **m == key), value.clone())
            else {
                plain.insert(key, value);
                continue;
            };
            let name = operation_name(method, context.path);
            let at = pointer::child(&path_at, method);
            if let Some(reference) = operation.get(UNRESOLVED).and_then(Value::as_str) {
                self.leave_operation(&name, &at, &format!("its reference {reference} leads nowhere"), COMPLETE);
                continue;
            }
            if *method == "trace" {
                let reason = "TRACE is not served: it echoes what a request carries (RFC 9110 §9.3.8)";
                self.leave_operation(&name, &at, reason, "Give the operation another method.");
                continue;
            }
            let own_base = path::base(operation.shift_remove("servers").as_ref(), &at, self.findings);
            let own_base = own_base.or_else(|| path_base.clone());
            let (public_path, upstream_path) = context.bases.paths(own_base.as_deref(), context.path);
            if let Err(reason) = self.parameters(document, &mut operation, &shared, &public_path, &name, &at) {
                self.leave_operation(&name, &at, &reason, COMPLETE);
                continue;
            }
            if let Err(reason) = messages::check_body(document, &operation) {
                self.leave_operation(&name, &at, &reason, COMPLETE);
                continue;
            }
            if let (Some(security), false) = (context.root_security, operation.contains_key("security")) {
                operation.insert("security".into(), security.clone());
            }
            if matches!(*method, "get" | "head" | "delete") && operation.contains_key("requestBody") {
                // OAM-62
                self.findings.push(Finding::warning(
                    &at,
                    format!(
                        "a request body of {} has no defined meaning in HTTP (RFC 9110 §9.3)",
                        method.to_ascii_uppercase()
                    ),
                    "Use POST, or query parameters; some clients and proxies drop such a body.",
                ));
            }
            let id = self.identify(&mut operation, method, context.path, &at, ids);
            let Some(id) = id else { continue };
            drafts.push(Draft { path: context.path.to_owned(), method, public_path, upstream_path, id });
            plain.insert(key, operation.into());
        }
        plain
    }

    fn leave_operation(&mut self, name: &str, at: &str, reason: &str, remedy: &str) {
        self.ledger.leave_operation(name, reason);
        self.findings.push(Finding::error(at, format!("{name} is not used: {reason}"), remedy));
    }

    /// OAM-27: ids are unique; the published id says which API it belongs to.
    fn identify(
        &mut self,
        operation: &mut Map<String, Value>,
        method: &str,
        path: &str,
        at: &str,
        ids: &mut BTreeSet<String>,
    ) -> Option<OperationId> {
        let own = text(operation, "operationId").to_owned();
        let wanted = if slug(&own).is_empty() { slug(&format!("{method} {path}")) } else { slug(&own) };
        let short = shorten(&wanted, SLUG_LEN_MAX.min(127_usize.saturating_sub(self.api.as_str().len())));
        let unique = super::bundle::unique_name(&short, |name| ids.contains(name));
        ids.insert(unique.clone());
        if !own.is_empty() && unique != short {
            self.findings.push(Finding::warning(
                at,
                format!("the operationId {own:?} stands twice; this one is called {unique}"),
                "Give each operation an id of its own.",
            ));
        }
        if unique != own {
            if !own.is_empty() {
                operation.insert("x-original-operation-id".into(), own.into());
            }
            operation.insert("operationId".into(), unique.clone().into());
        }
        OperationId::parse(&format!("{}.{unique}", self.api)).ok()
    }

    fn finish(&mut self, document: &Value, drafts: Vec<Draft>, bases: &Bases) -> Vec<ImportedOperation> {
        let mut operations = Vec::new();
        for draft in drafts {
            let name = operation_name(draft.method, &draft.path);
            let place = pointer::child("/paths", &format!("{}{}", bases.variable, draft.path));
            let place = pointer::child(&place, draft.method);
            let Some(operation) = document.pointer(&place).and_then(Value::as_object) else { continue };
            let Ok(method) = Method::from_bytes(draft.method.to_ascii_uppercase().as_bytes()) else { continue };
            let spec = OperationSpec {
                id: draft.id,
                method,
                path: draft.public_path,
                parameters: messages::parameters(document, operation, &place),
                body: messages::body(document, operation, &place),
                responses: messages::responses(document, operation, &place),
                pointer: place.clone(),
            };
            messages::account(document, operation, &name, self.ledger);
            self.ledger.use_up(Part::Operations, &name);
            operations.push(ImportedOperation {
                scopes: scopes::of(document, operation, &place, self.findings),
                tags: messages::texts(operation.get("tags")),
                summary: operation.get("summary").and_then(Value::as_str).map(ToOwned::to_owned),
                deprecated: operation.get("deprecated") == Some(&Value::Bool(true)),
                extensions: operation
                    .iter()
                    .filter(|(k, _)| k.starts_with("x-"))
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect(),
                upstream_path: draft.upstream_path,
                spec,
            });
        }
        operations
    }

    /// OAM-23: two templates that match the same path, neither more concrete than the other throughout.
    fn ambiguities(&mut self, operations: &[ImportedOperation]) {
        let mut by_method: HashMap<&Method, Vec<usize>> = HashMap::new();
        for (index, operation) in operations.iter().enumerate() {
            by_method.entry(&operation.spec.method).or_default().push(index);
        }
        let template = |index: usize| Some((index, operations.get(index)?.spec.path.as_str()));
        let templates = |indices: Vec<usize>| path::Templates::new(indices.into_iter().filter_map(template));
        let by_method: HashMap<_, _> = by_method.into_iter().map(|(method, all)| (method, templates(all))).collect();
        for (index, first) in operations.iter().enumerate() {
            let others = by_method.get(&first.spec.method).map(|templates| templates.ambiguous_with(&first.spec.path));
            let later = others.unwrap_or_default().into_iter().filter(|other| *other > index);
            for second in later.filter_map(|other| operations.get(other)) {
                self.findings.push(Finding::warning(
                    &second.spec.pointer,
                    format!(
                        "{} and {} match the same requests; the one that is literal further left wins",
                        first.spec.path, second.spec.path
                    ),
                    "Make the paths differ in a literal segment.",
                ));
            }
        }
    }

    /// Webhooks are published, and schemas are used if something that is used refers to them.
    fn other_parts(&mut self, document: &mut Value) {
        if let Some(webhooks) = document.get_mut("webhooks").and_then(Value::as_object_mut) {
            webhooks.retain(|name, item| {
                let lost = item.get(UNRESOLVED).is_some() || !item.is_object();
                if lost {
                    self.ledger.leave(Part::Webhooks, name, "its reference leads nowhere");
                } else {
                    self.ledger.use_up(Part::Webhooks, name);
                }
                !lost
            });
        }
        let reached = reach::schemas(document);
        let all = document.pointer("/components/schemas").and_then(Value::as_object);
        for name in all.into_iter().flatten().map(|(name, _)| name) {
            let written = (self.schema_names)(name);
            if reached.contains(name) {
                self.ledger.use_up(Part::Schemas, written);
            } else {
                self.ledger.leave(
                    Part::Schemas,
                    written,
                    "nothing that is used refers to it; it is published all the same",
                );
            }
        }
    }
}

/// What a path's operations inherit.
struct PathContext<'p> {
    path: &'p str,
    bases: &'p Bases,
    root_security: Option<&'p Value>,
}

impl Extraction<'_> {
    /// Settles the parameters of an operation: shared ones taken over, useless ones out, path variables all there.
    fn parameters(
        &mut self,
        document: &Value,
        operation: &mut Map<String, Value>,
        shared: &[Value],
        public_path: &str,
        name: &str,
        at: &str,
    ) -> Result<(), String> {
        let own = match operation.shift_remove("parameters") {
            Some(Value::Array(list)) => list,
            _ => Vec::new(),
        };
        let mut variables: Vec<String> = path::variables(public_path)?.into_iter().map(ToOwned::to_owned).collect();
        let mut settled = messages::Settled::new(document, name, self.ledger);
        for (index, parameter) in own.iter().enumerate() {
            settled.add(parameter, index, true, &variables)?;
        }
        for (index, parameter) in shared.iter().enumerate() {
            settled.add(parameter, index, false, &variables)?;
        }
        let (mut list, problems) = settled.into_parts();
        for (severity, what, remedy) in problems {
            self.findings.push(Finding::new(severity, at, what, remedy));
        }
        let declared = messages::path_names(document, &list);
        variables.retain(|v| !declared.contains(v));
        for variable in variables {
            self.findings.push(Finding::warning(
                at,
                format!("the path variable {{{variable}}} is not declared; a text parameter was added for it"),
                "Declare it with in: path and required: true.",
            ));
            list.push(json!({ "name": variable, "in": "path", "required": true, "schema": { "type": "string" } }));
        }
        if !list.is_empty() {
            operation.insert("parameters".into(), list.into());
        }
        Ok(())
    }
}

/// What an id may have: letters, digits, `-`, `_`, `.`, `:`; everything between them becomes one `-`.
pub fn slug(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '-') {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    out.trim_end_matches('-').to_owned()
}

/// Cuts at a word and adds what tells the long ids apart.
fn shorten(slug: &str, len_max: usize) -> String {
    if slug.len() <= len_max {
        return slug.to_owned();
    }
    let hash = slug.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let kept = slug.get(..len_max.saturating_sub(9)).unwrap_or_default();
    format!("{}-{:08x}", kept.trim_end_matches(['-', '.', '_']), hash & 0xffff_ffff)
}

#[cfg(test)]
mod tests;

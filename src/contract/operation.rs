//! An operation's contract: its parameters, its body and its answers.

use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::body::{Body, BodyRefusal, Media, check, closest, listed, parse_body};
use super::check::{ERRORS_MAX, error};
use super::compile::{Compiler, join};
use super::issue::ContractIssue;
use super::parameter::{Parameter, Sources, cookie_fields, is_ignored};
use super::query::{cookies, pairs};
use super::schema::{Direction, NodeId, Schemas};
use super::spec::{OperationSpec, ParameterPlace, ParameterSpec, StatusRange};
use crate::problem::FieldError;

/// What a violation of a contract leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Nothing is checked.
    Off,
    /// Checked and recorded; the message passes.
    Observe,
    /// Checked; a message that breaks the contract does not pass.
    Enforce,
}

/// What becomes of query parameters that the document does not declare.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UndeclaredQuery {
    #[default]
    Allow,
    Refuse,
}

/// Compiles the contracts of one API.
pub struct Contracts;

impl Contracts {
    /// One contract for each operation, in their order, and everything in the document that they do not enforce.
    /// Undeclared query parameters are allowed.
    ///
    /// Never fails and never panics, whatever the document: what cannot be compiled is an issue and stays unchecked.
    pub fn compile(document: &Arc<Value>, operations: &[OperationSpec]) -> (Vec<Arc<Contract>>, Vec<ContractIssue>) {
        Self::compile_with(document, operations, UndeclaredQuery::Allow)
    }

    /// As [`Contracts::compile`], with a rule for undeclared query parameters.
    pub fn compile_with(
        document: &Value,
        operations: &[OperationSpec],
        undeclared_query: UndeclaredQuery,
    ) -> (Vec<Arc<Contract>>, Vec<ContractIssue>) {
        let mut compiler = Compiler::new(document);
        let drafts: Vec<Draft<'_>> = operations.iter().map(|spec| Draft::new(spec, &mut compiler)).collect();
        let (schemas, places, issues) = compiler.finish();
        let schemas = Arc::new(schemas);
        let mut shared = Shared::default();
        let contracts = drafts.into_iter().map(|mut draft| {
            draft.nodes_mut().for_each(|node| *node = places.get(*node as usize).copied().unwrap_or(*node));
            draft.finish(&schemas, undeclared_query, &mut shared)
        });
        (contracts.collect(), issues)
    }
}

/// What is known of an operation before the schemas are read.
struct Draft<'o> {
    spec: &'o OperationSpec,
    nodes: Vec<Option<NodeId>>,
    body: Option<(bool, Box<[Media]>)>,
    responses: Box<[Response]>,
}

/// What makes parameters the same: where they stand, how they are called, what they must be.
type ParameterKey = (ParameterPlace, String, Option<NodeId>);

/// What many operations declare alike is held once.
#[derive(Default)]
struct Shared {
    parameters: HashMap<ParameterKey, Vec<(ParameterSpec, Arc<Parameter>)>>,
    contracts: HashSet<Alike>,
}

impl<'o> Draft<'o> {
    fn new(spec: &'o OperationSpec, compiler: &mut Compiler<'_>) -> Self {
        let mut nodes = Vec::new();
        for parameter in &spec.parameters {
            if !is_ignored(parameter) {
                Parameter::report(parameter, &spec.pointer, compiler);
            }
            nodes.push(parameter.schema.as_ref().map(|pointer| compiler.root(&pointer.0)));
        }
        let at = join(&spec.pointer, "requestBody");
        let body = spec.body.as_ref().map(|body| (body.required, Media::compile(&body.content, &at, compiler)));
        let at = join(&spec.pointer, "responses");
        let responses = spec.responses.iter();
        let responses = responses
            .map(|response| Response {
                status: response.status,
                content: Media::compile(&response.content, &at, compiler),
            })
            .collect();
        Self { spec, nodes, body, responses }
    }

    /// Every schema that it names.
    fn nodes_mut(&mut self) -> impl Iterator<Item = &mut NodeId> {
        let body = self.body.iter_mut().flat_map(|(_, content)| content.iter_mut());
        let content = body.chain(self.responses.iter_mut().flat_map(|response| response.content.iter_mut()));
        self.nodes.iter_mut().flatten().chain(content.filter_map(|media| media.node.as_mut()))
    }

    fn finish(self, schemas: &Arc<Schemas>, undeclared_query: UndeclaredQuery, shared: &mut Shared) -> Arc<Contract> {
        let mut parameters = Vec::new();
        for (spec, node) in self.spec.parameters.iter().zip(self.nodes).filter(|(spec, _)| !is_ignored(spec)) {
            let alike = shared.parameters.entry((spec.place, spec.name.clone(), node)).or_default();
            let known =
                alike.iter().find(|(known, _)| same_use(known, spec)).map(|(_, parameter)| Arc::clone(parameter));
            parameters.push(known.unwrap_or_else(|| {
                let parameter = Arc::new(Parameter::new(spec, node, schemas));
                alike.push((spec.clone(), Arc::clone(&parameter)));
                parameter
            }));
        }
        let contract = Alike(Arc::new(Contract {
            schemas: Arc::clone(schemas),
            parameters: parameters.into(),
            undeclared_query,
            body: self.body,
            responses: self.responses,
            is_head: self.spec.method == Method::HEAD,
        }));
        if let Some(same) = shared.contracts.get(&contract) {
            return Arc::clone(&same.0);
        }
        let own = Arc::clone(&contract.0);
        shared.contracts.insert(contract);
        own
    }
}

/// A contract among those of one API, by what it demands. Parameters that are alike are the same in memory already.
struct Alike(Arc<Contract>);

type Demands<'c> = (Vec<*const Parameter>, UndeclaredQuery, &'c Option<(bool, Box<[Media]>)>, &'c [Response], bool);

impl Alike {
    fn demands(&self) -> Demands<'_> {
        let Contract { schemas: _, parameters, undeclared_query, body, responses, is_head } = &*self.0;
        let parameters: Vec<*const Parameter> = parameters.iter().map(Arc::as_ptr).collect();
        (parameters, *undeclared_query, body, responses, *is_head)
    }
}

impl PartialEq for Alike {
    fn eq(&self, other: &Self) -> bool {
        self.demands() == other.demands()
    }
}

impl Eq for Alike {}

impl Hash for Alike {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.demands().hash(state);
    }
}

fn same_use(a: &ParameterSpec, b: &ParameterSpec) -> bool {
    (a.required, a.style, a.explode, &a.media_type) == (b.required, b.style, b.explode, &b.media_type)
}

/// One operation's compiled contract. The schemas are shared by all contracts of its API.
#[derive(Debug)]
pub struct Contract {
    schemas: Arc<Schemas>,
    parameters: Box<[Arc<Parameter>]>,
    undeclared_query: UndeclaredQuery,
    /// Whether it is required, and what it may be.
    body: Option<(bool, Box<[Media]>)>,
    responses: Box<[Response]>,
    is_head: bool,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Response {
    status: StatusRange,
    content: Box<[Media]>,
}

impl Contract {
    /// Whether a request body is described, so that it must be read before it is forwarded.
    pub const fn takes_body(&self) -> bool {
        self.body.is_some()
    }

    /// What is wrong with the parameters, at most 20 errors. `captures` are raw path values by the operation's own
    /// parameter names; `query` is raw, without `?`. Errors never repeat a value.
    pub fn check_parameters(
        &self,
        captures: &[(&str, &str)],
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Vec<FieldError> {
        let query = match query.map_or_else(|| Ok(Vec::new()), pairs) {
            Ok(query) => query,
            Err(detail) => return vec![error("#query".to_owned(), detail)],
        };
        let reads_cookies = self.parameters.iter().any(|parameter| parameter.place == ParameterPlace::Cookie);
        let cookies = if reads_cookies { cookies(cookie_fields(headers)) } else { Vec::new() };
        let sources = Sources { captures, query: &query, headers, cookies: &cookies };
        let mut found = Vec::new();
        for parameter in &self.parameters {
            parameter.check(&sources, &self.schemas, &mut found);
        }
        if self.undeclared_query == UndeclaredQuery::Refuse {
            let declared = |name: &str| self.parameters.iter().any(|parameter| parameter.declares(name));
            let undeclared = query.iter().filter(|pair| !declared(&pair.name));
            found.extend(undeclared.map(|pair| {
                let name: String = pair.name.chars().take(64).collect();
                error(format!("#query/{name}"), "is not a parameter of this operation")
            }));
        }
        found.truncate(ERRORS_MAX);
        found
    }

    /// Whether the operation accepts this body.
    pub fn check_body(&self, content_type: Option<&str>, body: &Body) -> Result<(), BodyRefusal> {
        let invalid = |detail: &str| Err(BodyRefusal::Invalid(vec![error(String::new(), detail)]));
        match (&self.body, body) {
            (None, Body::Absent) => Ok(()),
            (None, _) => invalid("must be empty: this operation takes no body"),
            (Some((true, _)), Body::Absent) => invalid("is missing: this operation requires a body"),
            (Some((false, _)), Body::Absent) => Ok(()),
            (Some((_, content)), body) => {
                let media = closest(content, content_type)
                    .ok_or_else(|| BodyRefusal::MediaType { accepted: listed(content) })?;
                let wrong = check(media, body, &self.schemas, Direction::Request);
                if wrong.is_empty() { Ok(()) } else { Err(BodyRefusal::Invalid(wrong)) }
            }
        }
    }

    /// What is wrong with an answer. Not for answers to `HEAD` requests that a `GET` operation serves: they have no
    /// body to check. An answer for which the document describes no content is not checked further.
    pub fn check_response(&self, status: StatusCode, content_type: Option<&str>, body: &[u8]) -> Vec<FieldError> {
        let Some(response) = self.response(status) else {
            return vec![error("#status".to_owned(), format!("{} is not a documented status", status.as_u16()))];
        };
        if self.is_head || status.is_informational() || matches!(status.as_u16(), 204 | 205 | 304) {
            // RFC 9110 §6.4.1: such answers have no content.
            return if body.is_empty() { Vec::new() } else { vec![error(String::new(), "must be empty")] };
        }
        if response.content.is_empty() {
            return Vec::new();
        }
        let Some(media) = closest(&response.content, content_type) else {
            let accepted = listed(&response.content).join(", ");
            let detail = if body.is_empty() {
                "the documented body is missing".to_owned()
            } else {
                format!("must be {accepted}")
            };
            return vec![error("#header/content-type".to_owned(), detail)];
        };
        match parse_body(content_type, body) {
            Err(fault) => vec![fault],
            Ok(Body::Absent) => vec![error(String::new(), "is missing")],
            Ok(body) => check(media, &body, &self.schemas, Direction::Response),
        }
    }

    /// OpenAPI 3.1.1 §4.8.16: a code beats a class, a class beats the default.
    fn response(&self, status: StatusCode) -> Option<&Response> {
        let code = status.as_u16();
        let wanted =
            [StatusRange::Code(code), StatusRange::Class(u8::try_from(code / 100).unwrap_or(0)), StatusRange::Default];
        wanted.iter().find_map(|wanted| self.responses.iter().find(|response| response.status == *wanted))
    }
}

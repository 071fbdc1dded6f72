//! The route table: a tree of segments, compiled once, read without locks and nearly without allocation.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use http::Method;

use super::path::{CanonicalPath, split_segment};
use super::pattern::{Pattern, decode};
use super::template::{Segment, Template, TemplateError};
use crate::domain::OperationIndex;

/// Most segments with affixes that may compete at one place, so that a lookup has a bound.
const AFFIXED_MAX: usize = 64;

/// One operation to be routed.
#[derive(Debug, Clone)]
pub struct RouteSpec {
    pub method: Method,
    /// Path template, base path included: `/open-banking/v4.0/aisp/accounts/{AccountId}`.
    pub path: String,
    pub index: OperationIndex,
    /// Who says so, for messages: an operation id, or a file and line.
    pub source: String,
}

/// The operation that an issue names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteOrigin {
    pub method: Method,
    pub path: String,
    pub source: String,
}

impl std::fmt::Display for RouteOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} ({})", self.method, self.path, self.source)
    }
}

/// Why a set of operations cannot be routed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteIssue {
    #[error("{at}: {cause}")]
    Template { at: RouteOrigin, cause: TemplateError },
    /// The same method and shape (OAM-23: `/a/{x}` is `/a/{y}`).
    #[error("{second} repeats {first}: both match the same requests")]
    Duplicate { first: RouteOrigin, second: RouteOrigin },
    #[error("{first} and {second} match a common path, and neither is more specific")]
    Ambiguous { first: RouteOrigin, second: RouteOrigin },
    #[error("{at}: more than {AFFIXED_MAX} segments with text around a parameter compete at this place")]
    Crowded { at: RouteOrigin },
}

/// Why a request has no operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    #[error("no operation has this path")]
    NotFound,
    /// `allow` is the value for the `Allow` field (RFC 9110 §15.5.6): methods in alphabetical order.
    #[error("the path exists, but only for {allow}")]
    MethodNotAllowed { allow: String },
}

/// The operation of a request, and the values of its path parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match<'p> {
    pub index: OperationIndex,
    pub captures: Captures<'p>,
}

/// Path parameters in the order of the template, under the operation's own names. Values are raw: percent-encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captures<'p> {
    names: Arc<[Box<str>]>,
    values: Vec<&'p str>, // Invariant: as many as names.
}

impl<'p> Captures<'p> {
    pub fn get(&self, name: &str) -> Option<&'p str> {
        self.iter().find(|(own, _)| *own == name).map(|(_, value)| value)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &'p str)> {
        self.names.iter().map(|name| &**name).zip(self.values.iter().copied())
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

/// Compiled routes. A lookup visits each node of the tree at most once, and in the common case (one way down) costs one
/// hash per segment, however many operations there are.
#[derive(Debug)]
pub struct RouteTable {
    nodes: Vec<Node>, // Invariant: the root is at 0; child numbers are valid.
}

/// FNV-1a. Only literals of the operator's own documents are ever put into a map, so nobody can make them collide, and
/// a look-up needs no hash that withstands those who try.
#[derive(Debug, Clone)]
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Box<[u8]>, usize, BuildHasherDefault<Fnv>>,
    /// Best first.
    affixed: Vec<(Pattern, usize)>,
    parameter: Option<usize>,
    /// What ends here, sorted by method.
    routes: Vec<Route>,
}

#[derive(Debug)]
struct Route {
    method: Method,
    index: OperationIndex,
    names: Arc<[Box<str>]>,
    origin: RouteOrigin,
}

impl RouteTable {
    /// Builds the table, or reports everything that is wrong with it.
    pub fn compile(specs: &[RouteSpec]) -> Result<Self, Vec<RouteIssue>> {
        let mut table = Self { nodes: vec![Node::default()] };
        let mut issues = Vec::new();
        for spec in specs {
            match Template::parse(&spec.path) {
                Ok(template) => issues.extend(table.insert(&template, spec)),
                Err(cause) => issues.push(RouteIssue::Template { at: spec.origin(), cause }),
            }
        }
        for node in &mut table.nodes {
            node.affixed.sort_by(|(a, _), (b, _)| a.precedence(b).then_with(|| a.literals.cmp(&b.literals)));
            node.routes.sort_by(|a, b| a.method.as_str().cmp(b.method.as_str()));
        }
        issues.extend(table.ambiguities());
        if issues.is_empty() { Ok(table) } else { Err(issues) }
    }

    /// The operation for a method and path.
    pub fn resolve<'p>(&self, method: &Method, path: CanonicalPath<'p>) -> Result<Match<'p>, RouteError> {
        let rest = path.as_str().strip_prefix('/');
        let mut values = Vec::new();
        let routes = self.find(0, rest, &mut values).ok_or(RouteError::NotFound)?;
        let declared = |wanted: &Method| routes.iter().find(|route| route.method == *wanted);
        // RFC 9110 §9.3.2: HEAD is GET without the content.
        let implied = || if *method == Method::HEAD { declared(&Method::GET) } else { None };
        match declared(method).or_else(implied) {
            Some(route) => {
                Ok(Match { index: route.index, captures: Captures { names: Arc::clone(&route.names), values } })
            }
            None => Err(RouteError::MethodNotAllowed { allow: allow(routes) }),
        }
    }

    /// Best way first: literal, segment with affixes, parameter; a way that ends nowhere is walked back.
    fn find<'p>(&self, node: usize, rest: Option<&'p str>, values: &mut Vec<&'p str>) -> Option<&[Route]> {
        let node = self.nodes.get(node)?;
        let Some(rest) = rest else {
            return if node.routes.is_empty() { None } else { Some(&node.routes) };
        };
        let (segment, tail) = split_segment(rest);
        // Compared decoded: to a back end `/accounts/m%65` is `/accounts/me`, so it must be to us.
        let literal = if segment.contains('%') {
            node.literals.get(&*decode(segment))
        } else {
            node.literals.get(segment.as_bytes())
        };
        if let Some(found) = literal.and_then(|child| self.find(*child, tail, values)) {
            return Some(found);
        }
        let mark = values.len();
        for (pattern, child) in &node.affixed {
            if pattern.capture(segment, values) {
                if let Some(found) = self.find(*child, tail, values) {
                    return Some(found);
                }
                values.truncate(mark);
            }
        }
        let child = node.parameter.filter(|_| !segment.is_empty())?;
        values.push(segment);
        let found = self.find(child, tail, values);
        if found.is_none() {
            values.truncate(mark);
        }
        found
    }

    /// Adds an operation, or says why it cannot be added.
    fn insert(&mut self, template: &Template, spec: &RouteSpec) -> Option<RouteIssue> {
        let mut at = 0;
        for segment in &template.segments {
            let Some(child) = self.child(at, segment) else {
                return Some(RouteIssue::Crowded { at: spec.origin() });
            };
            at = child;
        }
        let node = self.nodes.get_mut(at)?;
        if let Some(first) = node.routes.iter().find(|route| route.method == spec.method) {
            return Some(RouteIssue::Duplicate { first: first.origin.clone(), second: spec.origin() });
        }
        node.routes.push(Route {
            method: spec.method.clone(),
            index: spec.index,
            names: template.names.iter().cloned().collect(),
            origin: spec.origin(),
        });
        None
    }

    /// The child of a node for a segment, made if missing; `None` where there is no more room.
    fn child(&mut self, parent: usize, segment: &Segment) -> Option<usize> {
        let fresh = self.nodes.len();
        let node = self.nodes.get_mut(parent)?;
        let child = match segment {
            Segment::Literal(text) => *node.literals.entry(text.as_bytes().into()).or_insert(fresh),
            Segment::Parameter => *node.parameter.get_or_insert(fresh),
            Segment::Affixed(pattern) => match node.affixed.iter().find(|(own, _)| own == pattern) {
                Some((_, child)) => *child,
                None if node.affixed.len() >= AFFIXED_MAX => return None,
                None => {
                    node.affixed.push((pattern.clone(), fresh));
                    fresh
                }
            },
        };
        if child == fresh {
            self.nodes.push(Node::default());
        }
        Some(child)
    }

    /// Ties between segments with affixes are the only undecidable case.
    fn ambiguities(&self) -> Vec<RouteIssue> {
        let mut pairs = Vec::new();
        for node in &self.nodes {
            for (position, (first, first_child)) in node.affixed.iter().enumerate() {
                for (second, second_child) in node.affixed.iter().skip(position + 1) {
                    if first.precedence(second).is_eq() && first.overlaps(second) {
                        self.common_ends(*first_child, *second_child, &mut pairs);
                    }
                }
            }
        }
        pairs.sort_by_key(|(first, second)| (first.to_string(), second.to_string()));
        let issue = |(first, second): (&RouteOrigin, &RouteOrigin)| RouteIssue::Ambiguous {
            first: first.clone(),
            second: second.clone(),
        };
        pairs.into_iter().map(issue).collect()
    }

    /// Collects the pairs of templates below two nodes for which some path matches both.
    fn common_ends<'t>(&'t self, first: usize, second: usize, pairs: &mut Vec<(&'t RouteOrigin, &'t RouteOrigin)>) {
        let (Some(first), Some(second)) = (self.nodes.get(first), self.nodes.get(second)) else { return };
        if let (Some(a), Some(b)) = (first.routes.first(), second.routes.first()) {
            pairs.push((&a.origin, &b.origin));
        }
        for (ours, our_child) in first.edges() {
            for (theirs, their_child) in second.edges() {
                if ours.meets(&theirs) {
                    self.common_ends(our_child, their_child, pairs);
                }
            }
        }
    }
}

/// The way from a node to a child.
enum Edge<'a> {
    Literal(&'a [u8]),
    Affixed(&'a Pattern),
    Parameter,
}

impl Edge<'_> {
    /// Whether some segment goes both ways.
    fn meets(&self, other: &Self) -> bool {
        let matches = |pattern: &Pattern, literal: &[u8]| {
            std::str::from_utf8(literal).is_ok_and(|literal| pattern.matches_literal(literal))
        };
        match (self, other) {
            (Edge::Literal(a), Edge::Literal(b)) => a == b,
            (Edge::Literal(literal), Edge::Affixed(pattern)) | (Edge::Affixed(pattern), Edge::Literal(literal)) => {
                matches(pattern, literal)
            }
            (Edge::Literal(literal), Edge::Parameter) | (Edge::Parameter, Edge::Literal(literal)) => {
                !literal.is_empty()
            }
            (Edge::Affixed(a), Edge::Affixed(b)) => a.overlaps(b),
            (Edge::Parameter, Edge::Parameter | Edge::Affixed(_)) | (Edge::Affixed(_), Edge::Parameter) => true,
        }
    }
}

impl Node {
    fn edges(&self) -> impl Iterator<Item = (Edge<'_>, usize)> {
        let literals = self.literals.iter().map(|(text, child)| (Edge::Literal(text), *child));
        let affixed = self.affixed.iter().map(|(pattern, child)| (Edge::Affixed(pattern), *child));
        literals.chain(affixed).chain(self.parameter.map(|child| (Edge::Parameter, child)))
    }
}

impl RouteSpec {
    fn origin(&self) -> RouteOrigin {
        RouteOrigin { method: self.method.clone(), path: self.path.clone(), source: self.source.clone() }
    }
}

fn allow(routes: &[Route]) -> String {
    let mut methods: Vec<&str> = routes.iter().map(|route| route.method.as_str()).collect();
    if methods.contains(&"GET") && !methods.contains(&"HEAD") {
        methods.push("HEAD");
    }
    methods.sort_unstable();
    methods.join(", ")
}

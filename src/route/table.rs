//! The route table: a tree of segments, compiled once, read without locks and nearly without allocation.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;
use std::sync::Arc;

use http::Method;

use super::build::build;
use super::path::{CanonicalPath, split_segment};
use super::pattern::{Pattern, decode};
use super::template::TemplateError;
use crate::domain::OperationIndex;

/// Most segments with affixes that may compete at one place, so that a lookup has a bound.
pub(super) const AFFIXED_MAX: usize = 64;

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

    /// Where in `path`, which they were taken from, the values lie.
    pub fn spans(&self, path: CanonicalPath<'p>) -> CaptureSpans {
        let start = path.as_str().as_ptr().addr();
        let span = |value: &&str| {
            let from = value.as_ptr().addr().saturating_sub(start);
            from..from.saturating_add(value.len())
        };
        CaptureSpans { names: Arc::clone(&self.names), spans: self.values.iter().map(span).collect() }
    }
}

/// [`Captures`] that outlive the borrow of their path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureSpans {
    names: Arc<[Box<str>]>,
    spans: Box<[Range<usize>]>, // Invariant: as many as names.
}

impl CaptureSpans {
    /// The values in the path that they were taken from, under the operation's own names.
    pub fn of<'s>(&'s self, path: &'s str) -> Vec<(&'s str, &'s str)> {
        let value = |span: &Range<usize>| path.get(span.clone()).unwrap_or_default();
        self.names.iter().map(|name| &**name).zip(self.spans.iter().map(value)).collect()
    }
}

/// Compiled routes. A lookup visits each node of the tree at most once, and in the common case (one way down) costs one
/// comparison or hash per segment, however many operations there are.
#[derive(Debug)]
pub struct RouteTable {
    nodes: Box<[Node]>, // Invariant: the root is at 0; child numbers are valid.
}

/// FNV-1a. Only literals of the operator's own documents are ever put into a map, so nobody can make them collide, and
/// a look-up needs no hash that withstands those who try.
#[derive(Debug, Clone)]
pub(super) struct Fnv(u64);

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

/// One cache line: a large table is read from memory that no cache holds.
#[derive(Debug)]
pub(super) struct Node {
    pub literals: Literals,
    /// Best first.
    pub affixed: Box<[(Pattern, u32)]>,
    pub parameter: Option<u32>,
    /// What ends here, sorted by method.
    pub routes: Box<[Route]>,
}

/// Children by their literal segments. Most nodes have one or a few, and comparing those is cheaper than a hash.
#[derive(Debug)]
pub(super) enum Literals {
    Few(Box<[(Arc<[u8]>, u32)]>),
    #[expect(clippy::box_collection, reason = "a map in place would make every node half as large again")]
    Many(Box<HashMap<Arc<[u8]>, u32, BuildHasherDefault<Fnv>>>),
}

/// Most literals of a node that are compared one by one.
pub(super) const FEW_MAX: usize = 4;

impl Literals {
    fn get(&self, segment: &[u8]) -> Option<u32> {
        match self {
            Self::Few(children) => children.iter().find(|(text, _)| **text == *segment).map(|(_, child)| *child),
            Self::Many(children) => children.get(segment).copied(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Route {
    pub method: Method,
    pub index: OperationIndex,
    pub names: Arc<[Box<str>]>,
}

impl RouteTable {
    /// Builds the table, or reports everything that is wrong with it.
    pub fn compile(specs: &[RouteSpec]) -> Result<Self, Vec<RouteIssue>> {
        build(specs).map(|nodes| Self { nodes })
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
    fn find<'p>(&self, node: u32, rest: Option<&'p str>, values: &mut Vec<&'p str>) -> Option<&[Route]> {
        let node = self.nodes.get(node as usize)?;
        let Some(rest) = rest else {
            return if node.routes.is_empty() { None } else { Some(&node.routes) };
        };
        let (segment, tail) = split_segment(rest);
        // Compared decoded: to a back end `/accounts/m%65` is `/accounts/me`, so it must be to us.
        let literal = if segment.bytes().any(|byte| byte == b'%') {
            node.literals.get(&decode(segment))
        } else {
            node.literals.get(segment.as_bytes())
        };
        if let Some(found) = literal.and_then(|child| self.find(child, tail, values)) {
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
}

impl RouteSpec {
    pub(super) fn origin(&self) -> RouteOrigin {
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

//! The route table: a tree of segments, compiled once, read without locks and nearly without allocation.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;

use http::Method;

use super::build::build;
use super::fan::{Child, Fan};
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
    pub(super) nodes: Box<[Node]>, // Invariant: the root is at 0; child numbers are valid, and name no root.
    /// Each once.
    pub(super) ways: Box<[Box<[Step]>]>,
    /// Likewise: those of operations to which a literal among many leads.
    pub(super) endings: Box<[Ending]>,
    /// Likewise.
    pub(super) methods: Box<[Method]>,
    /// Names of parameters, in the order of their templates; each list once.
    pub(super) names: Box<[Arc<[Box<str>]>]>,
}

/// A place where ways part or operations end. One cache line, and most lookups need no other to go on: a large table is
/// read from memory that no cache holds.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Node {
    /// Position among the table's ways: the segments between the one that the parent names and this place, where nothing
    /// parts and nothing ends. Many operations share theirs (`accounts/{id}/transactions`), so that it is at hand.
    pub way: u32,
    pub parameter: Option<NonZeroU32>,
    pub literals: Literals,
    /// What ends here.
    pub routes: Routes,
    /// Best first.
    #[expect(clippy::box_collection, reason = "there are hardly any, and a slice in place would not fit the line")]
    pub affixed: Option<Box<Vec<(Pattern, u32)>>>,
}

const _: () = assert!(size_of::<Node>() == 64);

/// The end of an operation at which nothing else ends or goes on, but for which operation it is: most are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Ending {
    /// Positions among the table's ways, methods and names.
    pub way: u32,
    pub method: u32,
    pub names: u32,
}

/// A segment of a way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Step {
    Literal(Arc<[u8]>),
    Parameter,
}

/// Children by their literal segments. Most nodes have one or a few, and comparing those is cheaper than a hash.
#[derive(Debug)]
pub(super) enum Literals {
    One(Arc<[u8]>, u32),
    Few(Box<[(Arc<[u8]>, u32)]>),
    Many(Fan),
}

/// Most literals of a node that are compared one by one.
pub(super) const FEW_MAX: usize = 4;

impl Literals {
    fn get(&self, segment: &[u8]) -> Option<Child> {
        let node = match self {
            Self::One(text, child) => (**text == *segment).then_some(*child),
            Self::Few(children) => children.iter().find(|(text, _)| **text == *segment).map(|(_, child)| *child),
            Self::Many(children) => return children.get(segment),
        };
        node.map(Child::Node)
    }
}

#[derive(Debug)]
pub(super) enum Routes {
    None,
    One(Route),
    /// Sorted by method.
    More(Box<[Route]>),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Route {
    /// Position among the table's methods.
    pub method: u32,
    pub index: OperationIndex,
    /// Position among the table's names.
    pub names: u32,
}

/// What ends at a place; never nothing.
enum Found<'t> {
    One(Route),
    More(&'t [Route]),
}

impl Found<'_> {
    fn as_slice(&self) -> &[Route] {
        match self {
            Self::One(route) => std::slice::from_ref(route),
            Self::More(routes) => routes,
        }
    }
}

impl RouteTable {
    /// Builds the table, or reports everything that is wrong with it.
    pub fn compile(specs: &[RouteSpec]) -> Result<Self, Vec<RouteIssue>> {
        build(specs)
    }

    /// The operation for a method and path.
    pub fn resolve<'p>(&self, method: &Method, path: CanonicalPath<'p>) -> Result<Match<'p>, RouteError> {
        let rest = path.as_str().strip_prefix('/');
        let mut values = Vec::new();
        let found = self.find(Child::Node(0), rest, &mut values).ok_or(RouteError::NotFound)?;
        let routes = found.as_slice();
        let declared = |wanted: &Method| {
            let method = self.methods.iter().position(|method| method == wanted)?;
            routes.iter().find(|route| route.method as usize == method)
        };
        // RFC 9110 §9.3.2: HEAD is GET without the content.
        let implied = || if *method == Method::HEAD { declared(&Method::GET) } else { None };
        let Some(route) = declared(method).or_else(implied) else {
            return Err(RouteError::MethodNotAllowed { allow: self.allow(routes) });
        };
        let names = self.names.get(route.names as usize).cloned().unwrap_or_default();
        Ok(Match { index: route.index, captures: Captures { names, values } })
    }

    fn allow(&self, routes: &[Route]) -> String {
        let name = |route: &Route| self.methods.get(route.method as usize).map(Method::as_str);
        let mut methods: Vec<&str> = routes.iter().filter_map(name).collect();
        if methods.contains(&"GET") && !methods.contains(&"HEAD") {
            methods.push("HEAD");
        }
        methods.sort_unstable();
        methods.join(", ")
    }

    /// What ends where the rest of a path leads from here; if that is nowhere, no captures are left behind.
    fn find<'p>(&self, child: Child, rest: Option<&'p str>, values: &mut Vec<&'p str>) -> Option<Found<'_>> {
        let mark = values.len();
        let found = match child {
            Child::Node(node) => self.walk(node, rest, values),
            Child::End { ending, index } => self.end(ending, index, rest, values),
        };
        if found.is_none() {
            values.truncate(mark);
        }
        found
    }

    /// Best way first: literal, segment with affixes, parameter; a way that ends nowhere is walked back.
    fn walk<'p>(&self, node: u32, rest: Option<&'p str>, values: &mut Vec<&'p str>) -> Option<Found<'_>> {
        let node = self.nodes.get(node as usize)?;
        let Some(rest) = follow(self.ways.get(node.way as usize)?, rest, values)? else {
            return match &node.routes {
                Routes::None => None,
                Routes::One(route) => Some(Found::One(*route)),
                Routes::More(routes) => Some(Found::More(routes)),
            };
        };
        let (segment, tail) = split_segment(rest);
        if let Some(found) = node.literals.get(&decoded(segment)).and_then(|child| self.find(child, tail, values)) {
            return Some(found);
        }
        let mark = values.len();
        for (pattern, child) in node.affixed.as_deref().into_iter().flatten() {
            if pattern.capture(segment, values) {
                if let Some(found) = self.find(Child::Node(*child), tail, values) {
                    return Some(found);
                }
                values.truncate(mark);
            }
        }
        let child = node.parameter.filter(|_| !segment.is_empty())?;
        values.push(segment);
        self.find(Child::Node(child.get()), tail, values)
    }

    /// As a node would that says no more.
    fn end<'p>(
        &self,
        ending: u16,
        index: OperationIndex,
        rest: Option<&'p str>,
        values: &mut Vec<&'p str>,
    ) -> Option<Found<'_>> {
        let Ending { way, method, names } = *self.endings.get(usize::from(ending))?;
        match follow(self.ways.get(way as usize)?, rest, values)? {
            None => Some(Found::One(Route { method, index, names })),
            Some(_) => None,
        }
    }
}

/// What of a path is left behind a way; nothing if it leads elsewhere.
fn follow<'p>(way: &[Step], rest: Option<&'p str>, values: &mut Vec<&'p str>) -> Option<Option<&'p str>> {
    way.iter().try_fold(rest, |rest, step| {
        let (segment, tail) = split_segment(rest?);
        match step {
            Step::Literal(text) if **text != *decoded(segment) => return None,
            Step::Parameter if segment.is_empty() => return None,
            Step::Literal(_) => {}
            Step::Parameter => values.push(segment),
        }
        Some(tail)
    })
}

/// Segments are compared decoded: to a back end `/accounts/m%65` is `/accounts/me`, so it must be to us.
fn decoded(segment: &str) -> Cow<'_, [u8]> {
    if segment.bytes().any(|byte| byte == b'%') { decode(segment) } else { Cow::Borrowed(segment.as_bytes()) }
}

impl RouteSpec {
    pub(super) fn origin(&self) -> RouteOrigin {
        RouteOrigin { method: self.method.clone(), path: self.path.clone(), source: self.source.clone() }
    }
}

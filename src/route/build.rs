//! Making the route table: everything that is wrong with a set of operations is found here, and what only this needs is
//! left behind.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;

use http::Method;

use super::fan::{Child, Fan};
use super::pattern::Pattern;
use super::table::{
    self, AFFIXED_MAX, Ending, FEW_MAX, Literals, RouteIssue, RouteOrigin, RouteSpec, RouteTable, Routes, Step,
};
use super::template::{Segment, Template};
use crate::domain::{OperationIndex, once};

/// The table, or everything that is wrong with the operations.
pub(super) fn build(specs: &[RouteSpec]) -> Result<RouteTable, Vec<RouteIssue>> {
    let mut tree = Tree { nodes: vec![Node::default()] };
    let mut issues = Vec::new();
    for spec in specs {
        match Template::parse(&spec.path) {
            Ok(template) => issues.extend(tree.insert(&template, spec)),
            Err(cause) => issues.push(RouteIssue::Template { at: spec.origin(), cause }),
        }
    }
    for node in &mut tree.nodes {
        node.affixed.sort_by(|(a, _), (b, _)| a.precedence(b).then_with(|| a.literals.cmp(&b.literals)));
        node.routes.sort_by(|a, b| a.method.as_str().cmp(b.method.as_str()));
    }
    issues.extend(tree.ambiguities());
    if !issues.is_empty() {
        return Err(issues);
    }
    Ok(tree.pack())
}

/// The table while it grows.
struct Tree {
    nodes: Vec<Node>, // Invariant: the root is at 0; child numbers are valid.
}

#[derive(Default)]
struct Node {
    literals: HashMap<Box<[u8]>, u32>,
    affixed: Vec<(Pattern, u32)>,
    parameter: Option<u32>,
    routes: Vec<Route>,
}

struct Route {
    method: Method,
    index: OperationIndex,
    names: Box<[Box<str>]>,
    origin: RouteOrigin,
}

impl Tree {
    /// Adds an operation, or says why it cannot be added.
    fn insert(&mut self, template: &Template, spec: &RouteSpec) -> Option<RouteIssue> {
        let mut at = 0;
        for segment in &template.segments {
            let Some(child) = self.child(at, segment) else {
                return Some(RouteIssue::Crowded { at: spec.origin() });
            };
            at = child;
        }
        let node = self.nodes.get_mut(at as usize)?;
        if let Some(first) = node.routes.iter().find(|route| route.method == spec.method) {
            return Some(RouteIssue::Duplicate { first: first.origin.clone(), second: spec.origin() });
        }
        node.routes.push(Route {
            method: spec.method.clone(),
            index: spec.index,
            names: template.names.clone(),
            origin: spec.origin(),
        });
        None
    }

    /// The child of a node for a segment, made if missing; `None` where there is no more room.
    fn child(&mut self, parent: u32, segment: &Segment) -> Option<u32> {
        let fresh = u32::try_from(self.nodes.len()).ok()?;
        let node = self.nodes.get_mut(parent as usize)?;
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
    fn common_ends<'t>(&'t self, first: u32, second: u32, pairs: &mut Vec<(&'t RouteOrigin, &'t RouteOrigin)>) {
        let (Some(first), Some(second)) = (self.nodes.get(first as usize), self.nodes.get(second as usize)) else {
            return;
        };
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
    fn edges(&self) -> impl Iterator<Item = (Edge<'_>, u32)> {
        let literals = self.literals.iter().map(|(text, child)| (Edge::Literal(text), *child));
        let affixed = self.affixed.iter().map(|(pattern, child)| (Edge::Affixed(pattern), *child));
        literals.chain(affixed).chain(self.parameter.map(|child| (Edge::Parameter, child)))
    }
}

/// What many templates share, each once.
#[derive(Default)]
struct Known {
    segments: HashSet<Arc<[u8]>>,
    ways: Numbered<Box<[Step]>>,
    names: Numbered<Arc<[Box<str>]>>,
    methods: Numbered<Method>,
    endings: Numbered<Ending>,
}

/// Different values, each with its number.
struct Numbered<T>(HashMap<T, u32>);

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Eq + Hash> Numbered<T> {
    /// There are no more than nodes, which are numbered by `u32` as well.
    fn number(&mut self, value: T) -> u32 {
        let next = number(self.0.len());
        *self.0.entry(value).or_insert(next)
    }

    fn in_order(self) -> Box<[T]> {
        let mut values: Vec<(T, u32)> = self.0.into_iter().collect();
        values.sort_by_key(|(_, number)| *number);
        values.into_iter().map(|(value, _)| value).collect()
    }
}

fn number(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

impl Tree {
    /// As it is looked up: without the nodes from which there is one way only.
    fn pack(mut self) -> RouteTable {
        let mut known = Known::default();
        let mut kept = vec![self.straight(0, &mut known)]; // Position: the number in the table.
        let mut nodes = Vec::new();
        while let Some((way, at)) = kept.get(nodes.len()).copied() {
            let Node { literals, affixed, parameter, routes } =
                self.nodes.get_mut(at as usize).map(std::mem::take).unwrap_or_default();
            let mut keep = |straight| {
                kept.push(straight);
                number(kept.len() - 1)
            };
            let literals = if literals.len() > FEW_MAX {
                Literals::Many(Fan::of(literals.into_iter().map(|(text, child)| {
                    let straight = self.straight(child, &mut known);
                    let end = self.end(straight, &mut known);
                    (text, end.unwrap_or_else(|| Child::Node(keep(straight))))
                })))
            } else {
                let few = literals.into_iter();
                few_literals(few.map(|(text, child)| (known.segment(&text), keep(self.straight(child, &mut known)))))
            };
            let mut node = |child| keep(self.straight(child, &mut known));
            let affixed: Vec<_> = affixed.into_iter().map(|(pattern, child)| (pattern, node(child))).collect();
            let parameter = parameter.map(node).and_then(NonZeroU32::new);
            nodes.push(table::Node {
                way,
                parameter,
                literals,
                routes: known.routes(&routes),
                affixed: if affixed.is_empty() { None } else { Some(Box::new(affixed)) },
            });
        }
        RouteTable {
            nodes: nodes.into(),
            ways: known.ways.in_order(),
            endings: known.endings.in_order(),
            methods: known.methods.in_order(),
            names: known.names.in_order(),
        }
    }

    /// The way from a node to where ways part or an operation ends, and that place.
    fn straight(&self, mut at: u32, known: &mut Known) -> (u32, u32) {
        let mut way = Vec::new();
        while let Some((step, child)) = self.nodes.get(at as usize).and_then(|node| node.only_way(known)) {
            way.push(step);
            at = child;
        }
        (known.ways.number(way.into()), at)
    }

    /// The place behind a way, if all there is of it is the end of one operation.
    fn end(&self, (way, at): (u32, u32), known: &mut Known) -> Option<Child> {
        let node = self.nodes.get(at as usize).filter(|node| node.edges().next().is_none())?;
        let [route] = node.routes.as_slice() else { return None };
        let table::Route { method, index, names } = known.route(route);
        let ending = known.endings.number(Ending { way, method, names });
        Some(Child::End { ending: u16::try_from(ending).ok()?, index })
    }
}

/// No more than [`FEW_MAX`].
fn few_literals(children: impl Iterator<Item = (Arc<[u8]>, u32)>) -> Literals {
    let mut few: Vec<_> = children.collect();
    match (few.pop(), few.is_empty()) {
        (Some((text, child)), true) => Literals::One(text, child),
        (last, _) => Literals::Few(few.into_iter().chain(last).collect()),
    }
}

impl Node {
    /// The one way on, if there is no other and nothing ends here. A segment with affixes takes more than a comparison, and
    /// stays where it is.
    fn only_way(&self, known: &mut Known) -> Option<(Step, u32)> {
        if !self.routes.is_empty() || !self.affixed.is_empty() {
            return None;
        }
        let mut literals = self.literals.iter();
        match (literals.next(), literals.next(), self.parameter) {
            (Some((text, child)), None, None) => Some((Step::Literal(known.segment(text)), *child)),
            (None, None, Some(child)) => Some((Step::Parameter, child)),
            _ => None,
        }
    }
}

impl Known {
    fn segment(&mut self, text: &[u8]) -> Arc<[u8]> {
        once(&mut self.segments, text, |text| Arc::from(text))
    }

    fn route(&mut self, route: &Route) -> table::Route {
        let (method, names) =
            (self.methods.number(route.method.clone()), self.names.number(route.names.clone().into()));
        table::Route { method, index: route.index, names }
    }

    fn routes(&mut self, routes: &[Route]) -> Routes {
        let mut routes: Vec<_> = routes.iter().map(|route| self.route(route)).collect();
        match (routes.pop(), routes.is_empty()) {
            (None, _) => Routes::None,
            (Some(route), true) => Routes::One(route),
            (Some(last), false) => {
                routes.push(last);
                Routes::More(routes.into())
            }
        }
    }
}

//! Schemas that say the same are one: documents write `{ "type": "string" }`, and whole operations, over and over.
//!
//! A check cannot tell two such schemas apart, for they are compared with everything that they lead to. What was wrong
//! with each of them has been reported before, under its own place.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::schema::{ANY, NONE, Node, NodeId, Rule};

/// Most rounds; each joins schemas whose parts the one before has joined. What is deeper stays apart.
const ROUNDS_MAX: usize = 64;

/// The schemas, each once, and for each one that there was where it is now.
pub(super) fn merge(mut nodes: Vec<Node>) -> (Box<[Node]>, Vec<NodeId>) {
    let mut places: Vec<NodeId> = (0..).take(nodes.len()).collect();
    for _ in 0..ROUNDS_MAX {
        let (kept, moves) = round(nodes);
        nodes = kept;
        let changed = nodes.len() < moves.len();
        places.iter_mut().for_each(|place| *place = moved(&moves, *place));
        nodes.iter_mut().flat_map(|node| &mut node.rules).for_each(|rule| rule.replace(&|id| moved(&moves, id)));
        if !changed {
            break;
        }
    }
    (nodes.into(), places)
}

fn moved(moves: &[NodeId], id: NodeId) -> NodeId {
    moves.get(id as usize).copied().unwrap_or(ANY)
}

/// Keeps the first of each kind. [`ANY`] and [`NONE`] are known by their places and stay as they are.
fn round(nodes: Vec<Node>) -> (Vec<Node>, Vec<NodeId>) {
    #[expect(
        clippy::mutable_key_type,
        reason = "a compiled pattern caches its matching state; it is hashed by its text"
    )]
    let mut known: HashMap<Node, NodeId> = HashMap::with_capacity(nodes.len());
    let mut fixed = Vec::new();
    let mut moves = Vec::with_capacity(nodes.len());
    for (node, id) in nodes.into_iter().zip(0..) {
        if id <= NONE {
            moves.push(id);
            fixed.push(node);
            continue;
        }
        let fresh = NodeId::try_from(fixed.len() + known.len()).unwrap_or(NodeId::MAX);
        moves.push(match known.entry(node) {
            Entry::Occupied(same) => *same.get(),
            Entry::Vacant(place) => *place.insert(fresh),
        });
    }
    let mut kept: Vec<(NodeId, Node)> = known.into_iter().map(|(node, id)| (id, node)).collect();
    kept.sort_unstable_by_key(|(id, _)| *id);
    fixed.extend(kept.into_iter().map(|(_, node)| node));
    (fixed, moves)
}

impl Rule {
    /// Exchanges the schemas that it leads to.
    fn replace(&mut self, new: &impl Fn(NodeId) -> NodeId) {
        let all = |ids: &mut [NodeId]| ids.iter_mut().for_each(|id| *id = new(*id));
        match self {
            Self::Ref(id)
            | Self::Not(id)
            | Self::MemberNames(id)
            | Self::UnevaluatedMembers(id)
            | Self::UnevaluatedItems(id) => *id = new(*id),
            Self::AllOf(ids) | Self::AnyOf(ids) | Self::OneOf(ids) => all(ids),
            Self::Items(items) => {
                all(&mut items.prefix);
                items.rest = items.rest.map(new);
            }
            Self::Contains(contains) => contains.item = new(contains.item),
            Self::Members(members) => {
                members.named.iter_mut().for_each(|(_, id)| *id = new(*id));
                members.patterns.iter_mut().for_each(|(_, id)| *id = new(*id));
                members.additional = members.additional.map(new);
            }
            Self::DependentSchemas(named) => named.iter_mut().for_each(|(_, id)| *id = new(*id)),
            Self::If(condition) => {
                condition.when = new(condition.when);
                condition.then = new(condition.then);
                condition.otherwise = new(condition.otherwise);
            }
            Self::Enum(_)
            | Self::Minimum(_)
            | Self::Maximum(_)
            | Self::Above(_)
            | Self::Below(_)
            | Self::MultipleOf(_)
            | Self::MinLength(_)
            | Self::MaxLength(_)
            | Self::Pattern(_)
            | Self::Format(_)
            | Self::MinItems(_)
            | Self::MaxItems(_)
            | Self::UniqueItems
            | Self::MinMembers(_)
            | Self::MaxMembers(_)
            | Self::Required(_)
            | Self::DependentRequired(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema::Types;
    use super::*;

    fn node(rules: Vec<Rule>) -> Node {
        Node { types: Types::ALL, rules: rules.into() }
    }

    #[test]
    fn what_says_the_same_is_one_and_what_does_not_stays_apart() {
        let none = || Node { types: Types::EMPTY, rules: Box::default() };
        let nodes = vec![
            node(vec![]),
            none(),
            node(vec![Rule::MinLength(1)]),             // 2
            node(vec![Rule::MinLength(1)]),             // 3 = 2
            node(vec![Rule::MinLength(2)]),             // 4
            node(vec![Rule::Ref(2)]),                   // 5
            node(vec![Rule::Ref(3)]),                   // 6 = 5, once 3 is 2
            node(vec![Rule::Ref(4)]),                   // 7
            node(vec![Rule::AllOf(vec![6, 7].into())]), // 8
            node(vec![Rule::AllOf(vec![5, 7].into())]), // 9 = 8
            node(vec![Rule::AllOf(vec![7, 5].into())]), // 10: another order of errors
            node(vec![Rule::Ref(11)]),                  // 11: itself
            node(vec![]),                               // 12: says what ANY says, but is written
            none(),                                     // 13
        ];
        let (nodes, places) = merge(nodes);
        assert_eq!(places[..2], [ANY, NONE]);
        for (one, other, same) in [
            (2, 3, true),
            (2, 4, false),
            (5, 6, true),
            (5, 7, false),
            (8, 9, true),
            (8, 10, false),
            (0, 12, false),
            (1, 13, false),
        ] {
            assert_eq!(places[one] == places[other], same, "{one} {other}");
        }
        assert_eq!(nodes.len(), 11);
        let at = |id: usize| &nodes[places[id] as usize].rules;
        assert!(**at(6) == [Rule::Ref(places[2])] && **at(11) == [Rule::Ref(places[11])]);
        assert!(**at(9) == [Rule::AllOf(vec![places[5], places[7]].into())]);
    }
}

//! Which members and items some schema has already looked at: `unevaluatedProperties` and `unevaluatedItems`
//! (JSON Schema 2020-12 core §11). Worked out only where a schema has these keywords.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::check::{At, Checker};
use super::exact::Instance;
use super::schema::{Node, NodeId, Rule};

impl<'s> Checker<'s> {
    /// The names of members that no other keyword of the schema evaluates.
    pub(super) fn left_members<'v>(
        &mut self,
        node: &'s Node,
        value: Instance<'_>,
        members: &'v Map<String, Value>,
    ) -> HashSet<&'v str> {
        let mut left: HashSet<&str> = members.keys().map(String::as_str).collect();
        for rule in node.rules.iter().filter(|rule| !matches!(rule, Rule::UnevaluatedMembers(_))) {
            self.drop_members(rule, value, &mut left);
        }
        left
    }

    fn drop_members(&mut self, rule: &'s Rule, value: Instance<'_>, left: &mut HashSet<&str>) {
        match rule {
            Rule::Members(rule) if rule.additional.is_some() => left.clear(),
            Rule::Members(rule) => left.retain(|name| {
                rule.named(name).is_none() && !rule.patterns.iter().any(|(pattern, _)| pattern.matches_name(name))
            }),
            Rule::UnevaluatedMembers(_) => left.clear(),
            _ => {
                for id in self.applied(rule, value) {
                    let schemas = self.schemas;
                    let rules = schemas.node(id).map_or(&[][..], |node| &node.rules);
                    rules.iter().for_each(|rule| self.drop_members(rule, value, left));
                }
            }
        }
    }

    /// For each item, whether a keyword of the schema other than `unevaluatedItems` evaluates it.
    pub(super) fn seen_items(&mut self, node: &'s Node, value: Instance<'_>, items: &[Value]) -> Vec<bool> {
        let mut seen = vec![false; items.len()];
        for rule in node.rules.iter().filter(|rule| !matches!(rule, Rule::UnevaluatedItems(_))) {
            self.mark_items(rule, value, items, &mut seen);
        }
        seen
    }

    fn mark_items(&mut self, rule: &'s Rule, value: Instance<'_>, items: &[Value], seen: &mut [bool]) {
        match rule {
            Rule::Items(rule) => {
                let count = if rule.rest.is_some() { items.len() } else { rule.prefix.len() };
                seen.iter_mut().take(count).for_each(|seen| *seen = true);
            }
            Rule::Contains(rule) => {
                for (index, (item, seen)) in items.iter().zip(seen).enumerate() {
                    *seen = *seen || self.check(rule.item, value.item(index, item), At::Quiet);
                }
            }
            Rule::UnevaluatedItems(_) => seen.fill(true),
            _ => {
                for id in self.applied(rule, value) {
                    let schemas = self.schemas;
                    let rules = schemas.node(id).map_or(&[][..], |node| &node.rules);
                    rules.iter().for_each(|rule| self.mark_items(rule, value, items, seen));
                }
            }
        }
    }

    /// The in-place subschemas of a rule whose annotations count, because they are valid.
    fn applied(&mut self, rule: &'s Rule, value: Instance<'_>) -> Vec<NodeId> {
        let candidates: Vec<NodeId> = match rule {
            Rule::Ref(id) => vec![*id],
            Rule::AllOf(ids) | Rule::AnyOf(ids) | Rule::OneOf(ids) => ids.to_vec(),
            Rule::If(condition) if self.check(condition.when, value, At::Quiet) => {
                vec![condition.when, condition.then]
            }
            Rule::If(condition) => vec![condition.otherwise],
            Rule::DependentSchemas(named) => {
                let present = named.iter().filter(|(name, _)| value.value.get(&**name).is_some());
                present.map(|(_, id)| *id).collect()
            }
            _ => Vec::new(),
        };
        candidates.into_iter().filter(|id| self.check(*id, value, At::Quiet)).collect()
    }
}

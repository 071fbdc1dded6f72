//! A set of operations: one bit each.

use crate::domain::OperationIndex;

/// The operations of a product. Membership costs one load and one mask.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OperationSet(Vec<u64>);

impl OperationSet {
    pub fn insert(&mut self, operation: OperationIndex) {
        let word = (operation.0 / 64) as usize;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        if let Some(bits) = self.0.get_mut(word) {
            *bits |= 1 << (operation.0 % 64);
        }
    }

    pub fn contains(&self, operation: OperationIndex) -> bool {
        self.0.get((operation.0 / 64) as usize).is_some_and(|bits| bits & (1 << (operation.0 % 64)) != 0)
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|bits| *bits == 0)
    }
}

impl FromIterator<OperationIndex> for OperationSet {
    fn from_iter<I: IntoIterator<Item = OperationIndex>>(operations: I) -> Self {
        let mut set = Self::default();
        operations.into_iter().for_each(|operation| set.insert(operation));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn contains_exactly_what_was_inserted(members in proptest::collection::btree_set(0_u32..1000, 0..50)) {
            let set: OperationSet = members.iter().copied().map(OperationIndex).collect();
            for index in 0..1100 {
                prop_assert_eq!(set.contains(OperationIndex(index)), members.contains(&index));
            }
            prop_assert_eq!(set.is_empty(), members.is_empty());
        }
    }
}

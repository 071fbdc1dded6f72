//! OAuth scopes: case-sensitive, order irrelevant, space-delimited (RFC 6749 §3.3).

use std::fmt;
use std::sync::Arc;

/// Longest single scope and longest scope parameter, in bytes.
const SCOPE_LEN_MAX: usize = 128;
const SET_LEN_MAX: usize = 4096;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    #[error("a scope is 1 to {SCOPE_LEN_MAX} characters of %x21 / %x23-5B / %x5D-7E")]
    Malformed,
    #[error("a scope parameter has at most {SET_LEN_MAX} bytes")]
    TooLong,
}

/// One scope-token (RFC 6749 §A.4).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope(Arc<str>);

impl Scope {
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        let allowed = |b: u8| b == 0x21 || (0x23..=0x5b).contains(&b) || (0x5d..=0x7e).contains(&b);
        if text.is_empty() || text.len() > SCOPE_LEN_MAX || !text.bytes().all(allowed) {
            return Err(ScopeError::Malformed);
        }
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Scope {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A set of scopes; writes itself sorted, so equal sets have equal text. A copy shares what it was made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ScopeSet(Arc<[Scope]>); // Invariant: ascending, each once.

impl ScopeSet {
    /// Reads a `scope` parameter; repeated scopes count once, an empty text is the empty set.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        if text.len() > SET_LEN_MAX {
            return Err(ScopeError::TooLong);
        }
        text.split(' ').filter(|part| !part.is_empty()).map(Scope::parse).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, scope: &str) -> bool {
        self.0.binary_search_by(|own| own.as_str().cmp(scope)).is_ok()
    }

    pub fn is_subset(&self, other: &Self) -> bool {
        let mut others = other.0.iter();
        self.0.iter().all(|own| others.by_ref().find(|other| *other >= own) == Some(own))
    }

    /// What is in both.
    pub fn intersection(&self, other: &Self) -> Self {
        self.iter().filter(|scope| other.contains(scope.as_str())).cloned().collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let mut scopes: Vec<Scope> = scopes.into_iter().collect();
        scopes.sort_unstable();
        scopes.dedup();
        Self(scopes.into())
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, scope) in self.0.iter().enumerate() {
            let gap = if position == 0 { "" } else { " " };
            write!(f, "{gap}{}", scope.0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn order_and_repetition_do_not_matter() {
        assert_eq!(ScopeSet::parse("b a  b"), ScopeSet::parse("a b"));
        assert_eq!(ScopeSet::parse("b a b").map(|s| s.to_string()).as_deref(), Ok("a b"));
    }

    #[test]
    fn quotes_backslashes_and_controls_are_refused() {
        for bad in ["a\"b", "a\\b", "a\tb", "ä", "a\nb"] {
            assert_eq!(ScopeSet::parse(bad), Err(ScopeError::Malformed), "{bad:?}");
        }
        assert_eq!(ScopeSet::parse(&"a ".repeat(2049)), Err(ScopeError::TooLong));
    }

    proptest! {
        #[test]
        fn sets_are_what_sets_are(
            some in proptest::collection::btree_set("[ab]{1,2}", 0..6),
            others in proptest::collection::btree_set("[ab]{1,2}", 0..6),
        ) {
            let set = |names: &std::collections::BTreeSet<String>| {
                names.iter().rev().map(|name| Scope::parse(name).unwrap()).collect::<ScopeSet>()
            };
            prop_assert_eq!(set(&some).is_subset(&set(&others)), some.is_subset(&others));
            prop_assert_eq!(
                set(&some).intersection(&set(&others)),
                some.intersection(&others).map(|name| Scope::parse(name).unwrap()).collect::<ScopeSet>()
            );
            prop_assert!(some.iter().all(|name| set(&some).contains(name)));
            prop_assert!(others.iter().all(|name| set(&some).contains(name) == some.contains(name)));
        }

        #[test]
        fn text_round_trips(scopes in proptest::collection::btree_set("[a-z:./-]{1,12}", 0..12)) {
            let text = scopes.iter().cloned().collect::<Vec<_>>().join(" ");
            let set = ScopeSet::parse(&text).unwrap();
            prop_assert_eq!(ScopeSet::parse(&set.to_string()), Ok(set));
        }
    }
}

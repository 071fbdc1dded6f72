//! OAuth scopes: case-sensitive, order irrelevant, space-delimited (RFC 6749 §3.3).

use std::collections::BTreeSet;
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

/// A set of scopes; writes itself sorted, so equal sets have equal text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ScopeSet(BTreeSet<Scope>);

impl ScopeSet {
    /// Reads a `scope` parameter; repeated scopes count once, an empty text is the empty set.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        if text.len() > SET_LEN_MAX {
            return Err(ScopeError::TooLong);
        }
        text.split(' ').filter(|part| !part.is_empty()).map(Scope::parse).collect::<Result<_, _>>().map(Self)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, scope: &str) -> bool {
        self.0.contains(scope)
    }

    pub fn is_subset(&self, other: &Self) -> bool {
        self.0.is_subset(&other.0)
    }

    /// What is in both.
    pub fn intersection(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).cloned().collect())
    }

    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().collect())
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
        fn text_round_trips(scopes in proptest::collection::btree_set("[a-z:./-]{1,12}", 0..12)) {
            let text = scopes.iter().cloned().collect::<Vec<_>>().join(" ");
            let set = ScopeSet::parse(&text).unwrap();
            prop_assert_eq!(ScopeSet::parse(&set.to_string()), Ok(set));
        }
    }
}

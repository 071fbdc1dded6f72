//! What many have in common lies in memory once: there it takes less, and stays near.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::Hash;

/// The known value that equals `wanted`, or a new one, which is known from then on. Copies of `T` share what they hold.
pub fn once<T, U>(known: &mut HashSet<T>, wanted: &U, make: impl FnOnce(&U) -> T) -> T
where
    T: Clone + Eq + Hash + Borrow<U>,
    U: Eq + Hash + ?Sized,
{
    if let Some(same) = known.get(wanted) {
        return same.clone();
    }
    let made = make(wanted);
    known.insert(made.clone());
    made
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_is_known_is_shared() {
        let mut known: HashSet<Arc<str>> = HashSet::new();
        let mut text = |text: &str| once(&mut known, text, |text| Arc::from(text));
        let (first, again, other) = (text("a"), text("a"), text("b"));
        assert!(Arc::ptr_eq(&first, &again) && *other == *"b");
    }
}

//! Children by their literal segments, where there are many: a table whose look-ups read one place in memory.
//!
//! Of ten thousand children no cache holds all, so what a look-up costs is how often it asks for memory that is far
//! away. A map of the standard library keeps what is looked at first and what is found in two places; here text and child
//! lie together, two to a cache line, and the table is so empty that the first line mostly decides.

use crate::domain::OperationIndex;

/// Invariant: the number of lines is a power of two, and no more than half of all places are taken, so that every search
/// ends at one that is free.
#[derive(Debug)]
pub(super) struct Fan(Box<[Line]>);

#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([Option<Entry>; 2]);

#[derive(Debug)]
struct Entry {
    text: Text,
    child: Child,
}

/// Where a literal leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Child {
    /// To a node.
    Node(u32),
    /// Behind a way, to the end of one operation: all that a node would say of it, so that none is looked at.
    End {
        /// Position among the table's endings.
        ending: u16,
        index: OperationIndex,
    },
}

const _: () = assert!(size_of::<Line>() == 64);

/// A segment; a short one lies in place.
#[derive(Debug)]
enum Text {
    Short { length: u8, bytes: [u8; SHORT_MAX] },
    Long(Box<[u8]>),
}

/// As many as leave room for two entries in a line.
const SHORT_MAX: usize = 22;

impl Text {
    fn new(text: &[u8]) -> Self {
        let mut bytes = [0; SHORT_MAX];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(place), Ok(length)) => {
                place.copy_from_slice(text);
                Self::Short { length, bytes }
            }
            _ => Self::Long(text.into()),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { length, bytes } => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Self::Long(text) => text,
        }
    }
}

impl Fan {
    /// The texts must differ.
    pub fn of<T: AsRef<[u8]>>(children: impl IntoIterator<Item = (T, Child), IntoIter: ExactSizeIterator>) -> Self {
        let children = children.into_iter();
        let mut fan = Self((0..children.len().next_power_of_two()).map(|_| Line::default()).collect());
        for (text, child) in children {
            fan.insert(text.as_ref(), child);
        }
        fan
    }

    fn insert(&mut self, text: &[u8], child: Child) {
        for line in self.search(text) {
            let places = self.0.get_mut(line).map(|line| &mut line.0);
            if let Some(place) = places.and_then(|places| places.iter_mut().find(|place| place.is_none())) {
                *place = Some(Entry { text: Text::new(text), child });
                return;
            }
        }
    }

    pub fn get(&self, text: &[u8]) -> Option<Child> {
        for line in self.search(text) {
            for place in &self.0.get(line)?.0 {
                let entry = place.as_ref()?; // Places are taken in the order of the search.
                if entry.text.as_bytes() == text {
                    return Some(entry.child);
                }
            }
        }
        None
    }

    /// Lines in the order in which a text is put and looked for: each once, those behind one another being neighbours.
    fn search(&self, text: &[u8]) -> impl Iterator<Item = usize> + use<> {
        let lines = self.0.len();
        let first = fnv1a(text) as usize & lines.wrapping_sub(1);
        (first..lines).chain(0..first)
    }
}

/// FNV-1a. Only literals of the operator's own documents are ever put into a table, so nobody can make them collide, and
/// a look-up needs no hash that withstands those who try.
fn fnv1a(text: &[u8]) -> u64 {
    text.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_of_many_is_found_and_nothing_else_is() {
        let texts: Vec<String> = (0..10_000).map(|number| format!("operation-{number}")).collect();
        let child = |number| match number % 2 {
            0 => Child::Node(number),
            _ => Child::End { ending: 7, index: OperationIndex(number) },
        };
        let children: Vec<Child> = (0..10_000).map(child).collect();
        let fan = Fan::of(texts.iter().zip(children.iter().copied()));
        for (text, child) in texts.iter().zip(children) {
            assert_eq!(fan.get(text.as_bytes()), Some(child), "{text}");
        }
        for text in ["", "operation-", "operation-10000", "OPERATION-1", "operation-1\0"] {
            assert_eq!(fan.get(text.as_bytes()), None, "{text}");
        }
        let places = fan.0.iter().flat_map(|line| &line.0);
        assert!(places.clone().count() >= 2 * texts.len());
        assert_eq!(places.flatten().count(), texts.len());
    }

    proptest! {
        /// As a map of the standard library, whatever the texts: none, long ones, some that share a place.
        #[test]
        fn it_is_a_map(texts in proptest::collection::hash_map("[a-c]{0,4}|[a-z/%]{20,25}", any::<u32>(), 0..60), others in proptest::collection::vec("[a-d]{0,4}", 0..20)) {
            let fan = Fan::of(texts.iter().map(|(text, child)| (text, Child::Node(*child))));
            for text in texts.keys().chain(&others) {
                prop_assert_eq!(fan.get(text.as_bytes()), texts.get(text).copied().map(Child::Node));
            }
        }
    }
}

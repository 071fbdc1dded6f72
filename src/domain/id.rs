//! Identifiers. Each is a type of its own, so that a tenant's name can never stand where a client's belongs.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

/// Longest identifier, in bytes.
const LEN_MAX: usize = 128;

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("an identifier must not be empty")]
    Empty,
    #[error("an identifier has at most {LEN_MAX} bytes, this one has {0}")]
    TooLong(usize),
    #[error("an identifier consists of letters, digits and `-`, `_`, `.`, `:`; this one contains {0:?}")]
    Character(char),
}

fn check(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > LEN_MAX {
        return Err(IdError::TooLong(text.len()));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    match text.chars().find(|c| !allowed(*c)) {
        Some(c) => Err(IdError::Character(c)),
        None => Ok(()),
    }
}

macro_rules! identifier {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>); // Invariant: 1..=LEN_MAX bytes of [A-Za-z0-9._:-]; `parse` is the only constructor.

        impl $name {
            /// Checks length and alphabet.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                check(text)?;
                Ok(Self(text.into()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }
    )+};
}

identifier! {
    /// A partner organisation: the unit of isolation and of quota.
    TenantId;
    /// A registered client's identifier (RFC 6749 §2.2); a stricter alphabet than the RFC's VSCHAR.
    ClientId;
    /// A tenant that registers back ends.
    InstitutionId;
    /// One published OpenAPI document bound to back ends.
    ApiId;
    /// One operation of one API, written `{api}.{operation}`; unique over the whole catalogue.
    OperationId;
    /// A bundle of operations that a client can subscribe to.
    ProductId;
    /// A named set of limits.
    PlanId;
}

/// Position of an operation in the snapshot that compiled it: dense, from 0. Meaningless in any other snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationIndex(pub u32);

/// Names one exchange in answers, logs and audit (`x-fapi-interaction-id`, RFC 9562).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InteractionId(Uuid);

/// Who names an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InteractionNaming {
    /// The caller may; else we do (FAPI 1.0 Baseline §6.2.1-11).
    #[default]
    Optional,
    /// The caller must (Open Finance Brasil, security profile §5.2.2).
    Required,
}

impl InteractionId {
    /// Takes the caller's own id if it is a UUID; anything else is not echoed.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 36 {
            return None;
        }
        Uuid::try_parse(text).ok().map(Self)
    }

    /// Its text in `buffer`, without an allocation.
    pub fn encode<'b>(&self, buffer: &'b mut [u8; 36]) -> &'b str {
        self.0.as_hyphenated().encode_lower(buffer)
    }

    /// Makes an id from 16 random bytes (UUID version 4).
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }
}

impl fmt::Display for InteractionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_have_a_small_alphabet_and_a_bound() {
        for (name, text, expected) in [
            ("plain", "acme-bank_1.x:y", Ok(())),
            ("empty", "", Err(IdError::Empty)),
            ("space", "a b", Err(IdError::Character(' '))),
            ("newline", "a\n", Err(IdError::Character('\n'))),
            ("slash", "a/b", Err(IdError::Character('/'))),
            ("not ascii", "bänk", Err(IdError::Character('ä'))),
            ("too long", &"x".repeat(129), Err(IdError::TooLong(129))),
            ("longest", &"x".repeat(128), Ok(())),
        ] {
            assert_eq!(TenantId::parse(text).map(drop), expected, "{name}");
        }
    }

    #[test]
    fn only_a_uuid_is_taken_as_interaction_id() {
        let text = "c770aef3-6784-41f7-8e0e-ff5f97bddb3a";
        assert_eq!(InteractionId::parse(text).map(|id| id.to_string()).as_deref(), Some(text));
        for bad in
            ["", "c770aef3", "c770aef3-6784-41f7-8e0e-ff5f97bddb3a\r\nx: y", "{c770aef3-6784-41f7-8e0e-ff5f97bddb3a}"]
        {
            assert_eq!(InteractionId::parse(bad), None, "{bad:?}");
        }
    }
}

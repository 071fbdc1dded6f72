//! The account holders (PSUs) that the operator wrote down, for demos and small installations.
//!
//! Invariants: a password is known by its Argon2id hash alone; no hash costs more to check than the bounds here say.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use arc_swap::ArcSwap;
use argon2::password_hash::phc;
use argon2::{ARGON2ID_IDENT, Argon2, Params, PasswordHasher, PasswordVerifier};
use secrecy::{ExposeSecret, SecretString};

use super::AcrValues;

/// Longest password, in bytes. Whoever needs more does not type it.
pub const PASSWORD_BYTES_MAX: usize = 1024;
/// Memory of one check, in KiB: those under way at once are few, so this bounds them all.
const MEMORY_KIB_MAX: u32 = 64 * 1024;
const PASSES_MAX: u32 = 8;
const LANES_MAX: u32 = 4;
/// OWASP Password Storage, 2.2: below this a stolen file is soon read.
const MEMORY_KIB_MIN: u32 = 7 * 1024;

/// Why a text is not the hash of a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordHashError {
    #[error("this is no PHC string of Argon2id; `clearway users hash` prints one")]
    Malformed,
    #[error(
        "the parameters are out of bounds: m from {MEMORY_KIB_MIN} to {MEMORY_KIB_MAX} KiB, t up to {PASSES_MAX}, p up to {LANES_MAX}"
    )]
    Parameters,
    #[error("a password has 1 to {PASSWORD_BYTES_MAX} bytes")]
    Password,
}

/// A password's Argon2id hash. A guess can be tried on it, so it is shown to nobody.
#[derive(Clone)]
pub struct PasswordHash(SecretString); // Invariant: a PHC string that `parse` took.

impl PasswordHash {
    pub fn parse(text: &str) -> Result<Self, PasswordHashError> {
        let hash = phc::PasswordHash::new(text).map_err(|_| PasswordHashError::Malformed)?;
        if hash.algorithm != ARGON2ID_IDENT || hash.salt.is_none() || hash.hash.is_none() {
            return Err(PasswordHashError::Malformed);
        }
        let cost = Params::try_from(&hash).map_err(|_| PasswordHashError::Malformed)?;
        let memory = (MEMORY_KIB_MIN..=MEMORY_KIB_MAX).contains(&cost.m_cost());
        if memory && cost.t_cost() <= PASSES_MAX && cost.p_cost() <= LANES_MAX {
            Ok(Self(SecretString::from(text.to_owned())))
        } else {
            Err(PasswordHashError::Parameters)
        }
    }

    /// The hash of a password under a fresh salt. Takes as long as a check.
    pub fn of(password: &str) -> Result<Self, PasswordHashError> {
        if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
            return Err(PasswordHashError::Password);
        }
        let hash = Argon2::default().hash_password(password.as_bytes()).map_err(|_| PasswordHashError::Password)?;
        Self::parse(&hash.to_string())
    }

    /// The PHC string, for the operator's file.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Tens of milliseconds of work: never on a thread that serves requests.
    pub(super) fn verifies(&self, password: &str) -> bool {
        let hash = phc::PasswordHash::new(self.expose());
        hash.is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// An account holder, and what identity tokens may say of them (OpenID Connect Core §5.1).
#[derive(Debug, Clone)]
pub struct User {
    /// `sub`: never given to somebody else, never a client's identifier (FAPI 2.0 §6.7).
    pub subject: Arc<str>,
    pub username: String,
    pub password: PasswordHash,
    pub name: Option<String>,
    pub given_name: Option<String>,
    pub family_name: Option<String>,
    pub email: Option<String>,
    pub email_verified: bool,
    /// What a sign-in with this password satisfies.
    pub acr: AcrValues,
}

/// All users, as they are found. A reload replaces them whole.
pub struct Users {
    index: ArcSwap<Index>,
    decoys: RandomState,
}

#[derive(Default)]
struct Index {
    all: Vec<Arc<User>>,
    by_username: HashMap<String, Arc<User>>,
    by_subject: HashMap<Arc<str>, Arc<User>>,
}

impl Default for Users {
    fn default() -> Self {
        Self { index: ArcSwap::default(), decoys: RandomState::new() }
    }
}

impl Users {
    pub fn replace(&self, users: Vec<Arc<User>>) {
        let by_username = users.iter().map(|user| (folded(&user.username), Arc::clone(user))).collect();
        let by_subject = users.iter().map(|user| (Arc::clone(&user.subject), Arc::clone(user))).collect();
        self.index.store(Arc::new(Index { all: users, by_username, by_subject }));
    }

    pub fn by_subject(&self, subject: &str) -> Option<Arc<User>> {
        self.index.load().by_subject.get(subject).cloned()
    }

    /// However it is typed.
    pub(super) fn by_username(&self, username: &str) -> Option<Arc<User>> {
        self.index.load().by_username.get(&folded(username)).cloned()
    }

    pub fn is_empty(&self) -> bool {
        self.index.load().all.is_empty()
    }

    /// Whether somebody who signed in as `user` still may act: a removed user, a changed password, and another word of what
    /// it is worth end sessions.
    pub(super) fn is_current(&self, user: &User) -> bool {
        let same = |now: Arc<User>| now.password.expose() == user.password.expose() && now.acr == user.acr;
        self.by_subject(&user.subject).is_some_and(same)
    }

    /// The user of that name, and the hash to check a password against. For a name that is nobody's that is somebody
    /// else's, always the same for the same name, so that it costs what a user's costs.
    pub(super) fn candidate(&self, username: &str) -> (Option<Arc<User>>, Option<PasswordHash>) {
        let index = self.index.load();
        let name = folded(username);
        if let Some(user) = index.by_username.get(&name) {
            return (Some(Arc::clone(user)), Some(user.password.clone()));
        }
        let at = usize::try_from(self.decoys.hash_one(&name)).unwrap_or_default().checked_rem(index.all.len());
        let decoy = at.and_then(|at| index.all.get(at)).map(|user| user.password.clone());
        (None, decoy)
    }
}

/// As people type a name on a telephone: capitals and spaces around it mean nothing.
pub fn folded(username: &str) -> String {
    username.trim().to_lowercase()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::LazyLock;

    use super::*;

    /// The hash of `correct horse`, made once.
    pub static HASH: LazyLock<PasswordHash> = LazyLock::new(|| PasswordHash::of("correct horse").unwrap());

    pub fn user(name: &str) -> Arc<User> {
        Arc::new(User {
            subject: format!("sub-{name}").into(),
            username: name.to_owned(),
            password: HASH.clone(),
            name: Some(name.to_owned()),
            given_name: None,
            family_name: None,
            email: None,
            email_verified: false,
            acr: AcrValues::default(),
        })
    }

    #[test]
    fn a_hash_is_argon2id_within_bounds_and_nothing_else() {
        let good = HASH.expose().to_owned();
        assert!(good.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{good}");
        for (name, text, expected) in [
            ("good", good.clone(), Ok(())),
            ("the password itself", "correct horse".to_owned(), Err(PasswordHashError::Malformed)),
            ("nothing", String::new(), Err(PasswordHashError::Malformed)),
            ("argon2i", good.replace("argon2id", "argon2i"), Err(PasswordHashError::Malformed)),
            ("bcrypt", "$2b$12$abcdefghijklmnopqrstuv".to_owned(), Err(PasswordHashError::Malformed)),
            ("no hash", good.rsplit_once('$').unwrap().0.to_owned(), Err(PasswordHashError::Malformed)),
            ("cheap", good.replace("m=19456", "m=64"), Err(PasswordHashError::Parameters)),
            ("memory", good.replace("m=19456", "m=4000000"), Err(PasswordHashError::Parameters)),
            ("passes", good.replace("t=2", "t=9"), Err(PasswordHashError::Parameters)),
            ("lanes", good.replace("p=1", "p=5"), Err(PasswordHashError::Parameters)),
        ] {
            assert_eq!(PasswordHash::parse(&text).map(drop), expected, "{name}");
        }
    }

    #[test]
    fn a_password_is_checked_and_never_shown() {
        assert!(HASH.verifies("correct horse"));
        for wrong in ["", "Correct horse", "correct horse ", "correct hors"] {
            assert!(!HASH.verifies(wrong), "{wrong:?}");
        }
        for refused in ["", &"x".repeat(PASSWORD_BYTES_MAX + 1)] {
            assert_eq!(PasswordHash::of(refused).map(drop), Err(PasswordHashError::Password));
        }
        assert_ne!(PasswordHash::of("correct horse").unwrap().expose(), HASH.expose(), "each has its own salt");
        assert!(!format!("{:?}", user("alice")).contains(HASH.expose()));
    }

    #[test]
    fn users_are_found_by_name_and_subject_and_a_reload_replaces_them() {
        let users = Users::default();
        assert!(users.is_empty() && users.candidate("alice").1.is_none());
        let alice = user("Alice");
        users.replace(vec![Arc::clone(&alice), user("bob")]);
        for (typed, found) in [("alice", true), (" ALICE ", true), ("bob", true), ("alic", false), ("", false)] {
            let (user, hash) = users.candidate(typed);
            assert_eq!((user.is_some(), hash.is_some()), (found, true), "{typed:?}");
        }
        assert_eq!(users.by_subject("sub-Alice").unwrap().username, "Alice");
        assert!(users.by_subject("alice").is_none() && users.is_current(&alice));
        let changed = User { password: PasswordHash::of("another").unwrap(), ..(*alice).clone() };
        users.replace(vec![Arc::new(changed)]);
        assert!(!users.is_current(&alice), "a changed password ends what the old one began");
        let acr = AcrValues::parse(&["urn:less".to_owned()]).unwrap();
        users.replace(vec![Arc::new(User { acr, ..(*alice).clone() })]);
        assert!(!users.is_current(&alice), "what a sign-in was worth does not outlive the operator's word");
        users.replace(Vec::new());
        assert!(!users.is_current(&alice));
    }
}

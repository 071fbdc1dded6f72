//! The users, as far as clients may hear of them. Who keeps them implements [`Subjects`].

use std::sync::Arc;

use super::{AcrValues, User, Users};

/// A user, with the claims of OpenID Connect Core §5.1 that are known of them. No `Debug`: personal data is in here.
#[derive(Clone)]
pub struct Subject {
    /// Never given to somebody else; what a pairwise client sees instead is made from it.
    pub subject: Arc<str>,
    pub username: String,
    pub name: Option<String>,
    pub given_name: Option<String>,
    pub family_name: Option<String>,
    pub email: Option<String>,
    pub email_verified: bool,
    /// What this user's usual authentication satisfies.
    pub acr: AcrValues,
}

/// Where users are found. An index in memory.
pub trait Subjects: Send + Sync {
    fn by_subject(&self, subject: &str) -> Option<Arc<Subject>>;
    /// As people write it: capitals and spaces around it mean nothing.
    fn by_username(&self, username: &str) -> Option<Arc<Subject>>;
}

impl Subjects for Users {
    fn by_subject(&self, subject: &str) -> Option<Arc<Subject>> {
        Some(described(&*Users::by_subject(self, subject)?))
    }

    fn by_username(&self, username: &str) -> Option<Arc<Subject>> {
        Some(described(&*self.candidate(username).0?))
    }
}

fn described(user: &User) -> Arc<Subject> {
    Arc::new(Subject {
        subject: Arc::clone(&user.subject),
        username: user.username.clone(),
        name: user.name.clone(),
        given_name: user.given_name.clone(),
        family_name: user.family_name.clone(),
        email: user.email.clone(),
        email_verified: user.email_verified,
        acr: user.acr.clone(),
    })
}

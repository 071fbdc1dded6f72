//! `users.yaml`: account holders who sign in with a password here.

use std::collections::HashSet;
use std::sync::Arc;

use secrecy::ExposeSecret;

use crate::oauth::{AcrValues, PasswordHash, User};

use super::partners::ClientSettings;
use super::tree::{Entry, Node, Value};
use super::{Diagnostic, Located, each, scalar};

/// OpenID Connect Core §2 `sub`.
const SUBJECT_BYTES_MAX: usize = 255;

pub(super) fn users(entries: &[Entry<'_>], clients: &[Located<ClientSettings>]) -> Vec<Located<Arc<User>>> {
    let clients: HashSet<&str> = clients.iter().map(|client| client.value.client.id.as_str()).collect();
    let name = |user: &Arc<User>| user.username.to_lowercase();
    let users = each(entries, "user", name, |entry| user(entry, &clients));
    let mut subjects = HashSet::new();
    for user in users.iter().filter(|user| !subjects.insert(Arc::clone(&user.value.subject))) {
        let message = format!("another user has the subject `{}`", user.value.subject);
        let mistake = Diagnostic::new(user.place.clone(), message).remedy("a subject is one person's for ever");
        entries.iter().take(1).for_each(|entry| entry.report().add(mistake.clone()));
    }
    users
}

fn user(entry: &Entry<'_>, clients: &HashSet<&str>) -> Option<Arc<User>> {
    let subject = entry.required("subject", |entry, node| subject(entry, node, clients));
    let username = entry.required("username", filled);
    let password = password(entry);
    let user = User {
        name: entry.optional("name", filled),
        given_name: entry.optional("given_name", filled),
        family_name: entry.optional("family_name", filled),
        email: entry.optional("email", filled),
        email_verified: entry.or("email_verified", false, scalar::boolean),
        acr: entry.or("acr", AcrValues::default(), acr),
        subject: subject?.into(),
        username: username?,
        password: password?,
    };
    entry.finish();
    Some(Arc::new(user))
}

fn filled(entry: &Entry<'_>, node: &Node) -> Result<String, String> {
    let text = scalar::text(entry, node)?;
    if text.trim() == text && !text.is_empty() { Ok(text) } else { Err("expected a text without outer spaces".into()) }
}

/// One class, or a list of them.
fn acr(entry: &Entry<'_>, node: &Node) -> Result<AcrValues, String> {
    let values = match &node.value {
        Value::List(items) => items.iter().map(|item| scalar::text(entry, item)).collect::<Result<Vec<_>, _>>()?,
        _ => vec![scalar::text(entry, node)?],
    };
    AcrValues::parse(&values).map_err(|error| error.to_string())
}

/// FAPI 2.0 Security Profile §6.7: who reads `sub` must not take a person for a client.
fn subject(entry: &Entry<'_>, node: &Node, clients: &HashSet<&str>) -> Result<String, String> {
    let subject = scalar::text(entry, node)?;
    let visible = subject.bytes().all(|byte| byte.is_ascii_graphic());
    if subject.is_empty() || subject.len() > SUBJECT_BYTES_MAX || !visible {
        return Err(format!("expected 1 to {SUBJECT_BYTES_MAX} visible ASCII characters"));
    }
    if clients.contains(subject.as_str()) {
        return Err(format!("a client has the id `{subject}`"));
    }
    Ok(subject)
}

fn password(entry: &Entry<'_>) -> Option<PasswordHash> {
    let parse = |text: &str| PasswordHash::parse(text).map_err(|error| error.to_string());
    let written = entry.optional("password_hash", |entry, node| parse(&scalar::text(entry, node)?));
    let in_file = entry
        .optional("password_hash_file", |entry, node| parse(scalar::secret_file(entry, node)?.expose_secret().trim()));
    let keys = ["password_hash", "password_hash_file"].into_iter().filter(|key| entry.node(key).is_some()).count();
    if keys != 1 {
        let message = "a user needs exactly one of `password_hash` and `password_hash_file`";
        entry.report().add(Diagnostic::new(entry.place(), message).remedy("`clearway users hash` prints a hash"));
        return None;
    }
    written.or(in_file)
}

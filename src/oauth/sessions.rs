//! Which browser is this, and who signed in with it?
//!
//! A browser is known by the 256 random bits in its cookie, whose digest alone is kept. Before a sign-in nothing is kept
//! at all: the cookie is merely what forms are tied to.
//! Invariants: signing in and signing out make a new id, so that nobody knows the id of a session that they did not
//! begin (fixation); sessions are bounded in number, for one user too, and in time; nothing of them survives a restart.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, header};

use super::User;
use crate::domain::{Random, Timestamp};

/// `__Host-`: only over TLS, only from this host, for no other host of the domain (RFC 6265bis §4.1.3.2).
pub const SESSION_COOKIE: &str = "__Host-clearway";
/// Sessions of signed-in users: about 30 MB at most.
pub const SESSIONS_MAX: usize = 100_000;
/// Beyond, the one unused for longest ends: one account must not take everybody's room.
const PER_USER_MAX: usize = 10;
const PURGE_EVERY: Duration = Duration::from_secs(60);

/// How long a sign-in lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// Without a request.
    pub idle: Duration,
    /// From the sign-in on, whatever happens.
    pub absolute: Duration,
}

impl SessionLimits {
    pub const DEFAULT: Self = Self { idle: Duration::from_mins(10), absolute: Duration::from_hours(1) };
}

/// What a browser's cookie says. It is the session: shown to nobody but that browser.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionId([u8; 32]);

impl SessionId {
    /// The id in a request's cookies. Two of them are as good as none: who could tell which is the browser's?
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let fields = headers.get_all(header::COOKIE).iter().filter_map(|field| field.to_str().ok());
        let pairs = fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let mut values = pairs.filter(|(name, _)| *name == SESSION_COOKIE).map(|(_, value)| value);
        let value = values.next()?;
        if values.next().is_some() || value.len() != 43 {
            return None;
        }
        URL_SAFE_NO_PAD.decode(value).ok()?.try_into().ok().map(Self)
    }

    /// The value of `Set-Cookie`. Without `Max-Age`: it ends with the browser, or with the session here.
    pub fn cookie(&self) -> String {
        format!("{SESSION_COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Lax", URL_SAFE_NO_PAD.encode(self.0))
    }

    fn digest(&self) -> Digest {
        let digest = digest::digest(&digest::SHA256, &self.0);
        let mut copy = [0; 32];
        copy.copy_from_slice(digest.as_ref());
        Digest(copy)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(…)")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Digest([u8; 32]);

/// Somebody who signed in with this browser.
#[derive(Debug, Clone)]
pub struct SignedIn {
    pub user: Arc<User>,
    /// When (OpenID Connect Core §2 `auth_time`). Unchanged while the session lasts.
    pub at: Timestamp,
}

/// There is no room for another session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many people are signed in")]
pub struct SessionsFull;

struct Session {
    signed_in: SignedIn,
    used_at: Timestamp,
}

struct Table {
    sessions: HashMap<Digest, Session>,
    of_user: HashMap<Arc<str>, Vec<Digest>>,
    purged_at: Timestamp,
}

/// All sessions of this process.
pub struct Sessions {
    random: Arc<dyn Random>,
    forms: hmac::Key,
    table: Mutex<Table>,
    max: usize,
}

impl Sessions {
    pub fn new(random: Arc<dyn Random>) -> Self {
        Self::with_room(random, SESSIONS_MAX)
    }

    fn with_room(random: Arc<dyn Random>, max: usize) -> Self {
        let forms = hmac::Key::new(hmac::HMAC_SHA256, &random.bytes::<32>());
        let table =
            Table { sessions: HashMap::new(), of_user: HashMap::new(), purged_at: Timestamp::from_micros(i64::MIN) };
        Self { random, forms, table: Mutex::new(table), max }
    }

    /// An id that nobody has.
    pub fn new_id(&self) -> SessionId {
        SessionId(self.random.bytes())
    }

    /// Who is signed in with this browser; counts as use.
    pub fn find(&self, id: &SessionId, limits: SessionLimits, now: Timestamp) -> Option<SignedIn> {
        let digest = id.digest();
        let mut table = self.table();
        let session = table.sessions.get_mut(&digest)?;
        if session.is_over(limits, now) {
            table.remove(digest);
            return None;
        }
        session.used_at = now;
        Some(session.signed_in.clone())
    }

    /// `user` signed in with the browser of `before`, which gets a new id.
    pub fn sign_in(
        &self,
        before: &SessionId,
        user: Arc<User>,
        limits: SessionLimits,
        now: Timestamp,
    ) -> Result<SessionId, SessionsFull> {
        let id = self.new_id();
        let mut table = self.table();
        table.remove(before.digest());
        if table.sessions.len() >= self.max || now.since(table.purged_at) >= PURGE_EVERY {
            table.purge(limits, now);
        }
        table.make_room_for(&user.subject);
        if table.sessions.len() >= self.max {
            return Err(SessionsFull);
        }
        let digest = id.digest();
        table.of_user.entry(Arc::clone(&user.subject)).or_default().push(digest);
        table.sessions.insert(digest, Session { signed_in: SignedIn { user, at: now }, used_at: now });
        Ok(id)
    }

    /// Ends the session of this browser, which gets a new id.
    pub fn sign_out(&self, before: &SessionId) -> SessionId {
        self.table().remove(before.digest());
        self.new_id()
    }

    /// How many are signed in, and how many can be.
    pub fn held(&self) -> (usize, usize) {
        (self.table().sessions.len(), self.max)
    }

    /// What a form must carry to be taken as sent by this browser for this visit.
    pub fn form_token(&self, id: &SessionId, visit: &str) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.forms, &form_message(id, visit)))
    }

    /// Whether a form was made for this browser and this visit. In constant time.
    pub fn is_form_token(&self, id: &SessionId, visit: &str, token: &str) -> bool {
        let tag = URL_SAFE_NO_PAD.decode(token).unwrap_or_default();
        hmac::verify(&self.forms, &form_message(id, visit), &tag).is_ok()
    }

    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The id has a fixed length, so no two pairs make one message.
fn form_message(id: &SessionId, visit: &str) -> Vec<u8> {
    [id.0.as_slice(), visit.as_bytes()].concat()
}

impl Session {
    fn is_over(&self, limits: SessionLimits, now: Timestamp) -> bool {
        now.since(self.used_at) >= limits.idle || now.since(self.signed_in.at) >= limits.absolute
    }
}

impl Table {
    fn remove(&mut self, digest: Digest) {
        let Some(session) = self.sessions.remove(&digest) else { return };
        let subject = &session.signed_in.user.subject;
        if let Some(own) = self.of_user.get_mut(subject) {
            own.retain(|other| *other != digest);
            if own.is_empty() {
                self.of_user.remove(subject);
            }
        }
    }

    fn purge(&mut self, limits: SessionLimits, now: Timestamp) {
        self.purged_at = now;
        let over = self.sessions.iter().filter(|(_, session)| session.is_over(limits, now));
        for digest in over.map(|(digest, _)| *digest).collect::<Vec<_>>() {
            self.remove(digest);
        }
    }

    fn make_room_for(&mut self, subject: &str) {
        let Some(own) = self.of_user.get(subject).filter(|own| own.len() >= PER_USER_MAX) else { return };
        let used_at = |digest: &&Digest| self.sessions.get(*digest).map(|session| session.used_at);
        if let Some(idlest) = own.iter().min_by_key(used_at).copied() {
            self.remove(idlest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::super::users::tests::user;
    use super::*;

    /// Never the same twice.
    #[derive(Default)]
    struct Counting(AtomicU64);

    impl Random for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            let number = self.0.fetch_add(1, Ordering::Relaxed);
            for (byte, from) in bytes.iter_mut().zip(number.to_be_bytes().into_iter().cycle()) {
                *byte = from;
            }
        }
    }

    const LIMITS: SessionLimits = SessionLimits::DEFAULT;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + secs)
    }

    fn sessions(max: usize) -> Sessions {
        Sessions::with_room(Arc::new(Counting::default()), max)
    }

    #[test]
    fn a_cookie_is_read_back_and_nothing_else_is_one() {
        let sessions = sessions(10);
        let id = sessions.new_id();
        let cookie = id.cookie();
        assert!(cookie.starts_with("__Host-clearway=") && cookie.ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax"));
        let pair = cookie.split(';').next().unwrap().to_owned();
        let cookies = |fields: &[&str]| {
            let fields = fields.iter().map(|field| (header::COOKIE, field.parse().unwrap()));
            SessionId::of(&fields.collect())
        };
        for (name, fields, found) in [
            ("alone", vec![pair.as_str()], true),
            ("among others", vec!["a=b", &format!("c=d; {pair};e=f")], true),
            ("none", vec![], false),
            ("another name", vec![pair.trim_start_matches("__Host-")], false),
            ("twice", vec![&format!("{pair}; {pair}")], false),
            ("in two fields", vec![&pair, &pair], false),
            ("cut off", vec![&pair[..pair.len() - 1]], false),
            ("too long", vec![&format!("{pair}A")], false),
            ("no base64", vec![&format!("{}.", &pair[..pair.len() - 1])], false),
            ("empty", vec!["__Host-clearway="], false),
        ] {
            assert_eq!(cookies(&fields), found.then(|| id.clone()), "{name}");
        }
        assert!(!format!("{id:?}").contains(&pair[16..]));
    }

    #[test]
    fn signing_in_makes_a_new_id_and_the_old_one_is_worth_nothing() {
        let sessions = sessions(10);
        let planted = sessions.new_id();
        assert!(sessions.find(&planted, LIMITS, at(0)).is_none());
        let first = sessions.sign_in(&planted, user("alice"), LIMITS, at(0)).unwrap();
        assert_ne!(first, planted);
        assert!(sessions.find(&planted, LIMITS, at(0)).is_none(), "whoever planted the id is not signed in");
        assert_eq!(sessions.find(&first, LIMITS, at(5)).unwrap().at, at(0));
        let second = sessions.sign_in(&first, user("bob"), LIMITS, at(10)).unwrap();
        assert!(sessions.find(&first, LIMITS, at(10)).is_none(), "the browser has one session");
        let third = sessions.sign_out(&second);
        assert_ne!(third, second);
        assert!(sessions.find(&second, LIMITS, at(10)).is_none() && sessions.find(&third, LIMITS, at(10)).is_none());
        assert_eq!(sessions.held(), (0, 10));
    }

    #[test]
    fn a_session_ends_unused_and_ends_in_any_case() {
        let sessions = sessions(10);
        let sign_in = || sessions.sign_in(&sessions.new_id(), user("alice"), LIMITS, at(0)).unwrap();
        let (idle, busy) = (sign_in(), sign_in());
        assert!(sessions.find(&idle, LIMITS, at(599)).is_some());
        assert!(sessions.find(&idle, LIMITS, at(599 + 600)).is_none(), "ten minutes without use");
        assert!(sessions.find(&idle, LIMITS, at(600)).is_none(), "and it does not come back");
        for minutes in (5..60).step_by(5) {
            assert!(sessions.find(&busy, LIMITS, at(minutes * 60)).is_some(), "{minutes}");
        }
        assert!(sessions.find(&busy, LIMITS, at(3_600)).is_none(), "an hour");
    }

    #[test]
    fn sessions_have_a_bound_and_one_user_another() {
        let sessions = sessions(15);
        let sign_in = |name: &str, now| sessions.sign_in(&sessions.new_id(), user(name), LIMITS, at(now));
        let first = sign_in("alice", 0).unwrap();
        for now in 1..=PER_USER_MAX {
            sign_in("alice", i64::try_from(now).unwrap()).unwrap();
        }
        assert_eq!(sessions.held().0, PER_USER_MAX);
        assert!(sessions.find(&first, LIMITS, at(20)).is_none(), "the idlest one ended");
        for name in ["b", "c", "d", "e", "f"] {
            sign_in(name, 20).unwrap();
        }
        assert_eq!(sign_in("g", 20), Err(SessionsFull));
        assert!(sign_in("g", 620).is_ok(), "what is over makes room");
        assert_eq!(sessions.table().of_user.len(), 1, "and leaves nothing");
    }

    #[test]
    fn a_form_is_of_one_browser_and_one_visit() {
        let sessions = sessions(10);
        let (mine, other) = (sessions.new_id(), sessions.new_id());
        let token = sessions.form_token(&mine, "visit");
        assert!(sessions.is_form_token(&mine, "visit", &token));
        for (name, id, visit, token) in [
            ("another browser", &other, "visit", token.as_str()),
            ("another visit", &mine, "visi", &token),
            ("none", &mine, "visit", ""),
            ("cut off", &mine, "visit", &token[..token.len() - 2]),
            ("no base64", &mine, "visit", "???"),
        ] {
            assert!(!sessions.is_form_token(id, visit, token), "{name}");
        }
        let restarted = Sessions::new(Arc::new(Counting(AtomicU64::new(1_000))));
        assert!(!restarted.is_form_token(&mine, "visit", &token), "each process has its own key");
    }
}

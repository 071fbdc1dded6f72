//! Is this the person of that name? Passwords, checked at a bounded pace.
//!
//! Invariants: a wrong name and a wrong password look the same, and an attempt that comes too early is refused before its
//! password is looked at; a name that is nobody's costs what a user's does; no more checks run at once than there are places, no more wait than can.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::throttle::Throttle;
use super::{PASSWORD_BYTES_MAX, User, Users};
use crate::domain::Timestamp;

/// Checks that may wait for a place. At 25 ms each, the last one waits less than two seconds.
const WAITING_MAX: usize = 64;
/// Checks at once, each with its memory (`users`).
const AT_ONCE_MAX: usize = 4;
/// Longest username that is looked at, in bytes.
const USERNAME_BYTES_MAX: usize = 256;

/// Why nobody signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignInError {
    #[error("the name or the password is wrong")]
    Refused,
    /// Whatever its password is: it was not looked at.
    #[error("the attempt came too early; in {} s it would count", wait.as_secs())]
    TooEarly { wait: Duration },
    #[error("too many wait for their passwords to be checked")]
    Busy,
}

/// Checks passwords.
pub(super) struct SignIn {
    users: Arc<Users>,
    throttle: Throttle,
    /// Who works or waits.
    admitted: Arc<Semaphore>,
    /// Who works.
    places: Arc<Semaphore>,
}

impl SignIn {
    pub fn new(users: Arc<Users>) -> Self {
        let at_once = std::thread::available_parallelism().map_or(1, usize::from).min(AT_ONCE_MAX);
        Self::with_places(users, at_once, WAITING_MAX)
    }

    fn with_places(users: Arc<Users>, at_once: usize, waiting: usize) -> Self {
        Self {
            users,
            throttle: Throttle::new(),
            admitted: Arc::new(Semaphore::new(at_once + waiting)),
            places: Arc::new(Semaphore::new(at_once)),
        }
    }

    pub async fn check(
        &self,
        username: &str,
        password: &str,
        source: IpAddr,
        now: Timestamp,
    ) -> Result<Arc<User>, SignInError> {
        if username.len() > USERNAME_BYTES_MAX || password.len() > PASSWORD_BYTES_MAX {
            return Err(SignInError::Refused);
        }
        let admitted = Arc::clone(&self.admitted).try_acquire_owned().map_err(|_| SignInError::Busy)?;
        let attempt = self.throttle.attempt(&super::users::folded(username), source, now);
        let attempt = attempt.map_err(|wait| SignInError::TooEarly { wait })?;
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| SignInError::Busy)?;
        let (user, hash) = self.users.candidate(username);
        let password = password.to_owned();
        // The permits go along: whoever gives up waiting does not make room for work that still goes on.
        let checked = tokio::task::spawn_blocking(move || {
            let verified = hash.is_some_and(|hash| hash.verifies(&password));
            drop((admitted, place));
            verified
        });
        let verified = checked.await.unwrap_or(false);
        let user = user.filter(|_| verified).ok_or(SignInError::Refused)?;
        self.throttle.forgive(attempt);
        Ok(user)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::users::tests::user;
    use super::*;

    const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn users() -> Arc<Users> {
        let users = Users::default();
        users.replace(vec![user("alice")]);
        Arc::new(users)
    }

    #[tokio::test]
    async fn a_right_password_is_a_user_and_everything_else_looks_the_same() {
        let sign_in = SignIn::new(users());
        let found = sign_in.check("Alice", "correct horse", SOURCE, NOW).await.unwrap();
        assert_eq!(&*found.subject, "sub-alice");
        for (name, username, password) in [
            ("wrong password", "alice", "wrong"),
            ("wrong name", "alicia", "correct horse"),
            ("no password", "alice", ""),
            ("no name", "", "correct horse"),
            ("a long name", "a".repeat(257).as_str(), "correct horse"),
            ("a long password", "alice", "a".repeat(1025).as_str()),
        ] {
            let outcome = sign_in.check(username, password, SOURCE, NOW).await;
            assert_eq!(outcome.map(drop), Err(SignInError::Refused), "{name}");
        }
        let nobody = SignIn::new(Arc::default());
        assert_eq!(nobody.check("alice", "", SOURCE, NOW).await.map(drop), Err(SignInError::Refused), "no users");
    }

    #[tokio::test]
    async fn a_name_that_is_nobodys_costs_as_much() {
        let mut took = [f64::MAX; 2];
        // The quickest of many says what it costs: a machine with other things to do only adds.
        for _ in 0..24 {
            let sign_in = SignIn::new(users()); // One that delays nobody yet.
            for (at, username) in ["alice", "nobody"].into_iter().enumerate() {
                let begun = Instant::now();
                let _refused = sign_in.check(username, "wrong", SOURCE, NOW).await;
                took[at] = took[at].min(begun.elapsed().as_secs_f64());
            }
            if (0.5..2.0).contains(&(took[1] / took[0])) {
                return;
            }
        }
        panic!("{took:?}: the decoy is not the work of a hash");
    }

    #[tokio::test]
    async fn who_guesses_waits_even_with_the_right_password() {
        let sign_in = SignIn::new(users());
        for n in 0..5 {
            let source = IpAddr::from([192, 0, 2, n]);
            assert_eq!(sign_in.check("alice", "wrong", source, NOW).await.map(drop), Err(SignInError::Refused));
        }
        let early = sign_in.check("alice", "correct horse", SOURCE, NOW).await;
        assert_eq!(early.map(drop), Err(SignInError::TooEarly { wait: Duration::from_secs(1) }));
        let wrong = sign_in.check("alice", "wrong", SOURCE, NOW).await;
        assert_eq!(wrong.map(drop), Err(SignInError::TooEarly { wait: Duration::from_secs(1) }), "the same");
        let later = NOW.plus(std::time::Duration::from_secs(1));
        assert!(sign_in.check("alice", "correct horse", SOURCE, later).await.is_ok());
    }

    /// All at once: the one place, the two that wait, and no more.
    #[tokio::test]
    async fn what_finds_no_place_is_told_so_at_once() {
        let sign_in = SignIn::with_places(users(), 1, 2);
        let tries =
            (0..6_u8).map(|n| {
                let sign_in = &sign_in;
                async move {
                    sign_in.check(&format!("user {n}"), "wrong", IpAddr::from([192, 0, 2, n]), NOW).await.map(drop)
                }
            });
        let outcomes = futures_util::future::join_all(tries).await;
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == Err(SignInError::Refused)).count(), 3);
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == Err(SignInError::Busy)).count(), 3);
        assert_eq!(sign_in.admitted.available_permits(), 3, "every place is given back");
    }
}

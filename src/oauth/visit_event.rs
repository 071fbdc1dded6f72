//! What the form of a page came to: for the audit record, and for whoever counts failed authentications.

use aws_lc_rs::hmac;

use super::AuthorizationServer;
use super::visit::{Visit, Visitor};
use crate::audit::SubjectDigest;
use crate::domain::ClientId;

/// Left among the extensions of an answer. Nothing that was typed is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisitEvent {
    pub act: VisitAct,
    /// Whose request it is about. Not proof of who sent the form: that was a browser.
    pub client_id: ClientId,
    /// The user: who signed in or decided, or whose name was tried. None for a name that is nobody's.
    pub subject: Option<SubjectDigest>,
}

/// What somebody did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VisitAct {
    SignedIn,
    SignInFailed,
    /// Right or wrong: it came too early.
    SignInThrottled,
    SignedOut,
    /// And a code was made.
    Approved,
    Refused,
    /// Left the sign-in page: nobody knows who.
    Cancelled,
}

impl VisitAct {
    /// As the audit record has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SignedIn => "signed-in",
            Self::SignInFailed => "sign-in-failed",
            Self::SignInThrottled => "sign-in-throttled",
            Self::SignedOut => "signed-out",
            Self::Approved => "approved",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether it counts against the address that it came from.
    pub const fn is_failed_authentication(self) -> bool {
        match self {
            Self::SignInFailed | Self::SignInThrottled => true,
            Self::SignedIn | Self::SignedOut | Self::Approved | Self::Refused | Self::Cancelled => false,
        }
    }
}

impl AuthorizationServer {
    pub(super) fn event(&self, visitor: &Visitor, act: VisitAct, subject: Option<&str>) -> VisitEvent {
        // Made for nobody too: the time must not tell whose name exists.
        let digest = self.subject_digest(subject.unwrap_or_default());
        VisitEvent { act, client_id: visitor.opened.client.id.clone(), subject: subject.map(|_| digest) }
    }

    /// Of one who has decided, if the decision counted.
    pub(super) fn decided(&self, visitor: &Visitor, act: VisitAct, visit: &Visit) -> Option<VisitEvent> {
        let user = self.signed_in(visitor).map(|signed_in| signed_in.user);
        let event = || self.event(visitor, act, user.as_ref().map(|user| &*user.subject));
        matches!(visit, Visit::Over(_)).then(event)
    }

    /// The same for a user for as long as the server has its salt, and no use to who lacks it: subjects are few, so a
    /// plain digest could be guessed.
    fn subject_digest(&self, subject: &str) -> SubjectDigest {
        let salt = hmac::Key::new(hmac::HMAC_SHA256, &*self.parts.pairwise_salt);
        // A pairwise sector is a host, which is never empty: no client sees such a name.
        let text = [b"\0audit\0", subject.as_bytes()].concat();
        SubjectDigest::of_mac(hmac::sign(&salt, &text).as_ref())
    }
}

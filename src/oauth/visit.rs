//! A visit of the authorization endpoint: from the page of a pushed request to the answer that its client gets.
//!
//! Invariants: nothing leads to a redirect URI but a pushed request that this client made; of the URL only `client_id`
//! and `request_uri` count; looking spends nothing; whoever decides has signed in with this very browser, as freshly and
//! as well as the request demands, and sends a form that was made for this browser and this request.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::approval::{Approved, approve};
use super::form::Form;
use super::sign_in::SignIn;
use super::{
    Approval, Approving, AuthorizationError, AuthorizationRequest, AuthorizationResponse, AuthorizationServer,
    ClientRegistration, DecisionError, NotOpen, OAuthError, Opened, Outcome, SessionId, Sessions, SignInError,
    SignedIn, Users, VisitAct, VisitEvent,
};
use crate::domain::{Client, ClientId, PartnerStatus, Random, Timestamp};

/// Longest username that is filled in for the user (`login_hint`), in bytes.
const LOGIN_HINT_BYTES_MAX: usize = 256;

/// The people on the other side. Outlives a reload of the settings.
pub struct Visitors {
    pub users: Arc<Users>,
    sessions: Sessions,
    sign_in: SignIn,
}

impl Visitors {
    pub fn new(random: Arc<dyn Random>) -> Self {
        let users = Arc::new(Users::default());
        Self { sessions: Sessions::new(random), sign_in: SignIn::new(Arc::clone(&users)), users }
    }

    /// How many are signed in, and how many can be, for the metrics.
    pub fn held(&self) -> (usize, usize) {
        self.sessions.held()
    }
}

/// What a browser asks.
#[derive(Clone, Copy)]
pub struct VisitRequest<'a> {
    pub headers: &'a HeaderMap,
    /// The query, or the body of a form.
    pub parameters: &'a [u8],
    /// Where it comes from, as the guard judged it.
    pub source: IpAddr,
}

/// What a browser gets.
pub struct VisitAnswer {
    pub visit: Visit,
    /// A cookie to set: the browser had none, or somebody signed in or out.
    pub session: Option<SessionId>,
    /// What somebody did, if anything.
    pub event: Option<VisitEvent>,
}

/// The states of a visit.
pub enum Visit {
    SignIn(Box<SignInPage>),
    Approval(Box<ApprovalPage>),
    /// 303 to the page of the request: as it is now.
    Again(Handle),
    /// Back to the client.
    Over(AuthorizationResponse),
    /// Nobody knows whereto: a page that says why.
    Stopped(Stopped),
}

/// By what a visit is known to the browser: the two parameters of RFC 9126 §4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handle {
    pub client_id: String,
    pub request_uri: String,
}

/// What both pages need.
pub struct PageForm {
    pub handle: Handle,
    /// Ties the form to this browser and this request.
    pub token: String,
    /// Until the visit times out, rounded up.
    pub seconds_left: u64,
    /// Where the form may lead to in the end.
    pub redirect_uri: Arc<str>,
}

pub struct SignInPage {
    pub form: PageForm,
    pub client_name: String,
    /// Filled in: what was typed, or the client's `login_hint`.
    pub username: String,
    pub trouble: Option<SignInError>,
}

pub struct ApprovalPage {
    pub form: PageForm,
    pub client_name: String,
    pub tenant_name: String,
    pub user: String,
    pub scopes: Vec<String>,
    /// What is asked for of the user by name (OpenID Connect Core §5.5).
    pub claims: Vec<&'static str>,
    pub authorization_details: Vec<Value>,
}

/// Why a visit ends here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    #[error("{0}")]
    InvalidRequest(&'static str),
    #[error("The application is not known here.")]
    InvalidClient,
    #[error("The application may not ask for this at present.")]
    UnauthorizedClient,
    /// Also a request that was decided: going back does not make a second code.
    #[error("This request is unknown, has expired, or was answered already.")]
    InvalidRequestUri,
    #[error("The authorization server failed.")]
    ServerError,
}

impl Stopped {
    /// In the words of RFC 6749 §4.1.2.1 and OpenID Connect Core §3.1.2.6.
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::InvalidRequestUri => "invalid_request_uri",
            Self::ServerError => "server_error",
        }
    }

    pub const fn status(self) -> StatusCode {
        match self {
            Self::InvalidRequest(_) | Self::InvalidClient | Self::UnauthorizedClient | Self::InvalidRequestUri => {
                StatusCode::BAD_REQUEST
            }
            Self::ServerError => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// What must happen next.
enum Next {
    SignIn,
    /// Them, who are authenticated so.
    Ask(SignedIn, Arc<str>),
    End(AuthorizationError),
}

/// Somebody before the page of an open request.
pub(super) struct Visitor {
    handle: Handle,
    pub(super) opened: Opened,
    /// As its client is registered now.
    registration: Arc<ClientRegistration>,
    session: SessionId,
    now: Timestamp,
}

impl AuthorizationServer {
    /// The authorization endpoint (RFC 9126 §4): the page of a request.
    pub fn authorize(&self, request: VisitRequest<'_>) -> VisitAnswer {
        let now = self.parts.clock.now();
        let known = SessionId::of(request.headers);
        let session = known.clone().unwrap_or_else(|| self.parts.visitors.sessions.new_id());
        let parameters = std::str::from_utf8(request.parameters).unwrap_or("%");
        let visit = match Form::parse_query(parameters).map_err(stopped).and_then(|form| handle(&form)) {
            Ok(handle) => {
                self.look(handle, session.clone(), now).map_or_else(|visit| visit, |visitor| self.page(&visitor))
            }
            Err(why) => Visit::Stopped(why),
        };
        let shows_form = matches!(visit, Visit::SignIn(_) | Visit::Approval(_));
        VisitAnswer { visit, session: Some(session).filter(|_| known.is_none() && shows_form), event: None }
    }

    /// The authorization endpoint by POST (OpenID Connect Core §3.1.2.1). A form of another site comes without our
    /// cookie (`SameSite`), so it is asked for again before anybody looks at it.
    pub fn authorize_form(&self, request: VisitRequest<'_>) -> VisitAnswer {
        let form = Form::parse(request.headers, request.parameters).map_err(stopped);
        let visit = match form.and_then(|form| handle(&form)) {
            Ok(handle) => Visit::Again(handle),
            Err(why) => Visit::Stopped(why),
        };
        visit.into()
    }

    /// The form of the sign-in page.
    pub async fn sign_in(&self, request: VisitRequest<'_>) -> VisitAnswer {
        let (form, visitor) = match self.form(&request) {
            Ok(found) => found,
            Err(visit) => return visit.into(),
        };
        match form.get("action") {
            Some("cancel") => self.refused(&visitor, VisitAct::Cancelled),
            Some("sign-in") => self.check_password(&form, &visitor, request.source).await,
            Some(_) | None => Visit::Stopped(Stopped::InvalidRequest("The form says not what to do.")).into(),
        }
    }

    /// The form of the approval page.
    pub fn decide(&self, request: VisitRequest<'_>) -> VisitAnswer {
        let (form, visitor) = match self.form(&request) {
            Ok(found) => found,
            Err(visit) => return visit.into(),
        };
        match form.get("action") {
            Some("approve") => self.approved(&form, &visitor),
            Some("refuse") => self.refused(&visitor, VisitAct::Refused),
            Some("switch-user") => {
                let user = self.signed_in(&visitor).map(|signed_in| signed_in.user);
                let event = user.map(|user| self.event(&visitor, VisitAct::SignedOut, Some(&user.subject)));
                let session = self.parts.visitors.sessions.sign_out(&visitor.session);
                VisitAnswer { visit: Visit::Again(visitor.handle), session: Some(session), event }
            }
            Some(_) | None => Visit::Stopped(Stopped::InvalidRequest("The form says not what to do.")).into(),
        }
    }

    /// A form that a page of ours sent, from the browser that the page was made for. One that was not, because somebody
    /// signed in beside it, the cookie was lost, or another site sent it, decides nothing: the browser is shown the page of the
    /// request as it is now, which it could have asked for by itself.
    fn form(&self, request: &VisitRequest<'_>) -> Result<(Form, Visitor), Visit> {
        let now = self.parts.clock.now();
        let form = Form::parse(request.headers, request.parameters).map_err(|error| Visit::Stopped(stopped(error)))?;
        let handle = handle(&form).map_err(Visit::Stopped)?;
        let sessions = &self.parts.visitors.sessions;
        let token = form.get("form_token").unwrap_or_default();
        let own = |session: &SessionId| sessions.is_form_token(session, &handle.request_uri, token);
        match SessionId::of(request.headers).filter(own) {
            Some(session) => Ok((form, self.look(handle, session, now)?)),
            None => Err(Visit::Again(self.look(handle, sessions.new_id(), now)?.handle)),
        }
    }

    /// The request of a visit, if there is still something to decide.
    fn look(&self, handle: Handle, session: SessionId, now: Timestamp) -> Result<Visitor, Visit> {
        let id = ClientId::parse(&handle.client_id).ok();
        let found = id.and_then(|id| self.parts.clients.find(&id));
        let (client, registration) = found.ok_or(Visit::Stopped(Stopped::InvalidClient))?;
        match self.open(&handle.client_id, &handle.request_uri, now) {
            Ok(_) if !is_active(&client) => Err(Visit::Stopped(Stopped::UnauthorizedClient)),
            // As it is registered now, which may be otherwise than when it pushed.
            Ok(opened) => Ok(Visitor { handle, opened: Opened { client, ..opened }, registration, session, now }),
            Err(NotOpen::TimedOut(opened)) => Err(self.told(&opened.request, AuthorizationError::TimedOut, now)),
            Err(NotOpen::Unknown) => Err(Visit::Stopped(Stopped::InvalidRequestUri)),
        }
    }

    fn page(&self, visitor: &Visitor) -> Visit {
        let request = &visitor.opened.request;
        match self.next(visitor) {
            Next::SignIn => {
                let hint = request.login_hint.clone().filter(|hint| hint.len() <= LOGIN_HINT_BYTES_MAX);
                self.sign_in_page(visitor, hint.unwrap_or_default(), None)
            }
            Next::Ask(signed_in, _) => Visit::Approval(Box::new(ApprovalPage {
                form: self.page_form(visitor),
                client_name: visitor.opened.client.name.clone(),
                tenant_name: visitor.opened.client.tenant.name.clone(),
                user: signed_in.user.name.clone().unwrap_or_else(|| signed_in.user.username.clone()),
                scopes: request.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
                claims: names_asked(request, &visitor.opened.client),
                authorization_details: request.authorization_details.clone(),
            })),
            Next::End(error) => self.end(visitor, error),
        }
    }

    fn sign_in_page(&self, visitor: &Visitor, username: String, trouble: Option<SignInError>) -> Visit {
        let client_name = visitor.opened.client.name.clone();
        Visit::SignIn(Box::new(SignInPage { form: self.page_form(visitor), client_name, username, trouble }))
    }

    fn page_form(&self, visitor: &Visitor) -> PageForm {
        let left = visitor.opened.until.since(visitor.now);
        PageForm {
            handle: visitor.handle.clone(),
            token: self.parts.visitors.sessions.form_token(&visitor.session, &visitor.handle.request_uri),
            // A second later rather than earlier: who comes back too early is shown the page again.
            seconds_left: left.as_secs() + 1,
            redirect_uri: Arc::clone(&visitor.opened.request.redirect_uri),
        }
    }

    fn next(&self, visitor: &Visitor) -> Next {
        let Opened { request, until, .. } = &visitor.opened;
        let opened_at = until.minus(self.settings.visit_lifetime);
        let fresh = |signed_in: &SignedIn| is_fresh(request, signed_in.at, opened_at, visitor.now);
        let sign_in = if request.prompt.none { Next::End(AuthorizationError::LoginRequired) } else { Next::SignIn };
        let Some(signed_in) = self.signed_in(visitor).filter(fresh) else { return sign_in };
        if !self.is_asked_for(request, &signed_in) {
            // OpenID Connect Core §3.1.2.2. Who signed in for this very request will hardly turn into the other.
            return if signed_in.at >= opened_at { Next::End(AuthorizationError::LoginRequired) } else { sign_in };
        }
        // RFC 9470 §5: an `acr` that was asked for is reached, or the client hears that it was not.
        let Some(acr) = request.acr.reached_by(&signed_in.user.acr) else {
            return Next::End(AuthorizationError::UnmetAuthenticationRequirements);
        };
        // An approval is not remembered, so it is always asked for.
        if request.prompt.none { Next::End(AuthorizationError::ConsentRequired) } else { Next::Ask(signed_in, acr) }
    }

    /// Who is signed in with the browser, and still one of the users.
    pub(super) fn signed_in(&self, visitor: &Visitor) -> Option<SignedIn> {
        let Visitors { sessions, users, .. } = &*self.parts.visitors;
        let signed_in = sessions.find(&visitor.session, self.settings.sessions, visitor.now);
        signed_in.filter(|signed_in| users.is_current(&signed_in.user))
    }

    /// OpenID Connect Core §3.1.2.2: who asks for one user must not be answered about another. The client knows users by the
    /// subjects that it sees.
    fn is_asked_for(&self, request: &AuthorizationRequest, signed_in: &SignedIn) -> bool {
        let Some(asked) = &request.subject else { return true };
        let found = self.parts.clients.find(&request.client_id);
        found.is_some_and(|(_, registration)| *self.subject_for(&registration, &signed_in.user.subject) == **asked)
    }

    async fn check_password(&self, form: &Form, visitor: &Visitor, source: IpAddr) -> VisitAnswer {
        let visitors = &self.parts.visitors;
        let username = form.get("username").unwrap_or_default();
        let password = form.get("password").unwrap_or_default();
        let checked = visitors.sign_in.check(username, password, source, visitor.now).await;
        let now = self.parts.clock.now();
        let session = checked.and_then(|user| {
            let subject = Arc::clone(&user.subject);
            let session = visitors.sessions.sign_in(&visitor.session, user, self.settings.sessions, now);
            session.map(|session| (session, subject)).map_err(|_| SignInError::Busy)
        });
        let trouble = match session {
            Ok((session, subject)) => {
                let event = Some(self.event(visitor, VisitAct::SignedIn, Some(&subject)));
                return VisitAnswer { visit: Visit::Again(visitor.handle.clone()), session: Some(session), event };
            }
            Err(trouble) => trouble,
        };
        let act = match trouble {
            SignInError::Refused => Some(VisitAct::SignInFailed),
            SignInError::TooEarly { .. } => Some(VisitAct::SignInThrottled),
            SignInError::Busy => None,
        };
        let tried = visitors.users.by_username(username);
        let event = act.map(|act| self.event(visitor, act, tried.as_ref().map(|user| &*user.subject)));
        let visit = self.sign_in_page(visitor, username.to_owned(), Some(trouble));
        VisitAnswer { visit, session: None, event }
    }

    fn approved(&self, form: &Form, visitor: &Visitor) -> VisitAnswer {
        let (signed_in, acr) = match self.next(visitor) {
            Next::Ask(signed_in, acr) => (signed_in, acr),
            Next::SignIn => return Visit::Again(visitor.handle.clone()).into(),
            Next::End(error) => return self.end(visitor, error).into(),
        };
        let Approved { scopes, authorization_details } =
            match approve(&visitor.opened, &visitor.registration.metadata, form) {
                Ok(approved) => approved,
                Err(error) => return self.end(visitor, error).into(),
            };
        let approval = Approval {
            subject: Arc::clone(&signed_in.user.subject),
            auth_time: signed_in.at,
            acr: Some(acr),
            scopes,
            authorization_details,
        };
        let Handle { client_id, request_uri } = &visitor.handle;
        let (answered, code) = match self.approve(client_id, request_uri, approval, visitor.now) {
            Ok(Approving { response, code_made }) => (Ok(response), code_made),
            Err(error) => (Err(error), false),
        };
        let visit = over(answered);
        let event = self.decided(visitor, VisitAct::Approved, &visit).filter(|_| code);
        VisitAnswer { visit, session: None, event }
    }

    fn refused(&self, visitor: &Visitor, act: VisitAct) -> VisitAnswer {
        let visit = self.end(visitor, AuthorizationError::Refused);
        let event = self.decided(visitor, act, &visit);
        VisitAnswer { visit, session: None, event }
    }

    /// Spends the request; its client hears the error.
    fn end(&self, visitor: &Visitor, error: AuthorizationError) -> Visit {
        let Handle { client_id, request_uri } = &visitor.handle;
        over(self.refuse(client_id, request_uri, error, visitor.now))
    }

    fn told(&self, request: &AuthorizationRequest, error: AuthorizationError, now: Timestamp) -> Visit {
        over(self.respond(request, &Outcome::Error(error), now).map_err(DecisionError::Response))
    }
}

impl From<Visit> for VisitAnswer {
    fn from(visit: Visit) -> Self {
        Self { visit, session: None, event: None }
    }
}

fn over(decided: Result<AuthorizationResponse, DecisionError>) -> Visit {
    match decided {
        Ok(response) => Visit::Over(response),
        Err(DecisionError::NotOpen(_)) => Visit::Stopped(Stopped::InvalidRequestUri),
        Err(DecisionError::Response(_)) => Visit::Stopped(Stopped::ServerError),
    }
}

/// FAPI 2.0 §5.3.2.2-3: what was not pushed is not a request.
fn handle(form: &Form) -> Result<Handle, Stopped> {
    let missing = Stopped::InvalidRequest("client_id is missing.");
    let client_id = form.get("client_id").ok_or(missing)?.to_owned();
    let pushed = Stopped::InvalidRequest("request_uri is missing: requests are pushed first (RFC 9126).");
    let request_uri = form.get("request_uri").ok_or(pushed)?.to_owned();
    Ok(Handle { client_id, request_uri })
}

fn stopped(error: OAuthError) -> Stopped {
    Stopped::InvalidRequest(error.description())
}

fn names_asked(request: &AuthorizationRequest, client: &Client) -> Vec<&'static str> {
    request.claims.as_ref().map(|claims| claims.all_names(&client.scopes)).unwrap_or_default()
}

fn is_active(client: &Client) -> bool {
    client.status == PartnerStatus::Active && client.tenant.status == PartnerStatus::Active
}

/// Whether the user proved who they are recently enough: since this visit began, or, unless the client wants it done
/// anew, within its `max_age` (OpenID Connect Core §3.1.2.1).
fn is_fresh(request: &AuthorizationRequest, at: Timestamp, opened_at: Timestamp, now: Timestamp) -> bool {
    let young = request.max_age.is_none_or(|max_age| now.since(at).as_secs() < max_age);
    at >= opened_at || (young && !request.prompt.login)
}

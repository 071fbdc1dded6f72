//! Visits of the authorization endpoint, without HTTP between them.

use std::net::{IpAddr, Ipv4Addr};

use http::header::COOKIE;

use super::about_tokens::payload;
use super::code_flow::{by_code, code_client, query, request_parameters, two_clients, world_of};
use super::*;
use crate::oauth::users::tests::user;

const PASSWORD: &str = "correct horse";

/// Users `alice` and `bob`; clients `a` and `b`.
async fn inhabited() -> World {
    let world = two_clients().await;
    world.server.parts.visitors.users.replace(vec![user("alice"), user("bob")]);
    let room = OutstandingLimits { all: 1_000, per_tenant: 1_000, per_client: 1_000 };
    let parts = world.server.parts.clone();
    let subjects = parts.visitors.users.clone();
    let parts = Parts { outstanding: Arc::new(OutstandingRequests::new(room)), subjects, ..parts };
    let server = Arc::new(AuthorizationServer::new(settings(), parts).unwrap());
    World { server, ..world }
}

/// A browser and its cookie.
struct Browser<'w> {
    world: &'w World,
    session: Option<SessionId>,
}

impl<'w> Browser<'w> {
    fn new(world: &'w World) -> Self {
        Self { world, session: None }
    }

    fn request<'r>(headers: &'r HeaderMap, parameters: &'r str) -> VisitRequest<'r> {
        VisitRequest { headers, parameters: parameters.as_bytes(), source: IpAddr::V4(Ipv4Addr::LOCALHOST) }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = form_headers();
        if let Some(session) = &self.session {
            let cookie = session.cookie();
            headers.insert(COOKIE, cookie.split(';').next().unwrap().parse().unwrap());
        }
        headers
    }

    fn keep(&mut self, answer: VisitAnswer) -> Visit {
        if let Some(session) = answer.session {
            self.session = Some(session);
        }
        answer.visit
    }

    fn look(&mut self, client: &str, request_uri: &str) -> Visit {
        self.look_at(&encode(&[("client_id", client), ("request_uri", request_uri)]))
    }

    fn look_at(&mut self, query: &str) -> Visit {
        let headers = self.headers();
        let answer = self.world.server.authorize(Self::request(&headers, query));
        self.keep(answer)
    }

    async fn send_sign_in(&mut self, form: &PageForm, action: &str, username: &str, password: &str) -> Visit {
        let body = fields(form, &[("action", action), ("username", username), ("password", password)]);
        let headers = self.headers();
        let answer = self.world.server.sign_in(Self::request(&headers, &body)).await;
        self.keep(answer)
    }

    fn decide(&mut self, form: &PageForm, action: &str) -> Visit {
        let (headers, body) = (self.headers(), fields(form, &[("action", action)]));
        let answer = self.world.server.decide(Self::request(&headers, &body));
        self.keep(answer)
    }

    /// From the first look to the page that asks.
    async fn arrive(&mut self, client: &str, request_uri: &str) -> ApprovalPage {
        let page = match self.look(client, request_uri) {
            Visit::SignIn(page) => page,
            Visit::Approval(page) => return *page,
            other => panic!("{}", kind(&other)),
        };
        let after = self.send_sign_in(&page.form, "sign-in", "alice", PASSWORD).await;
        assert!(matches!(&after, Visit::Again(handle) if *handle == page.form.handle), "{}", kind(&after));
        approval(self.look(client, request_uri))
    }
}

fn fields(form: &PageForm, more: &[(&str, &str)]) -> String {
    let Handle { client_id, request_uri } = &form.handle;
    let own = [("client_id", client_id.as_str()), ("request_uri", request_uri), ("form_token", &form.token)];
    encode(&[&own[..], more].concat())
}

/// A state in one word, for assertions.
fn kind(visit: &Visit) -> String {
    match visit {
        Visit::SignIn(page) => format!("sign-in {:?}", page.trouble),
        Visit::Approval(_) => "approval".into(),
        Visit::Again(_) => "again".into(),
        Visit::Over(AuthorizationResponse::Redirect { location }) => {
            let answer = query(location);
            assert_eq!(answer["iss"], ISSUER, "FAPI 2.0 §5.3.2.2-7, on errors too");
            assert_eq!(answer["state"], "s");
            answer.get("error").map_or("code".into(), |error| format!("error {error}"))
        }
        Visit::Over(AuthorizationResponse::FormPost { .. }) => "form post".into(),
        Visit::Stopped(why) => format!("stopped {}", why.code()),
    }
}

fn approval(visit: Visit) -> ApprovalPage {
    match visit {
        Visit::Approval(page) => *page,
        other => panic!("{}", kind(&other)),
    }
}

fn sign_in(visit: Visit) -> SignInPage {
    match visit {
        Visit::SignIn(page) => *page,
        other => panic!("{}", kind(&other)),
    }
}

impl World {
    async fn pushed(&self, client: &str, more: &[(&str, &str)]) -> String {
        let mut parameters = request_parameters();
        parameters.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self.push(client, &parameters).await.unwrap().request_uri
    }
}

#[tokio::test]
async fn a_user_signs_in_approves_and_the_client_gets_a_code_that_says_who_and_when() {
    let world = inhabited().await;
    let uri = world.pushed("a", &[("login_hint", "Alice")]).await;
    let mut browser = Browser::new(&world);
    let page = sign_in(browser.look("a", &uri));
    assert_eq!((page.username.as_str(), page.trouble, page.form.seconds_left), ("Alice", None, 601));
    let before = browser.session.clone().expect("a cookie, before anybody signs in");
    world.clock.set(NOW + 5);
    assert_eq!(kind(&browser.send_sign_in(&page.form, "sign-in", "alice", PASSWORD).await), "again");
    assert!(browser.session.is_some() && browser.session != Some(before), "a sign-in makes a new id");
    let page = approval(browser.look("a", &uri));
    assert_eq!(page.scopes, ["accounts", "openid"]);
    assert_eq!((page.user.as_str(), page.client_name.as_str(), page.form.seconds_left), ("alice", "a", 596));
    world.clock.set(NOW + 9);
    let Visit::Over(AuthorizationResponse::Redirect { location }) = browser.decide(&page.form, "approve") else {
        panic!("not over");
    };
    let code = query(&location)["code"].clone();
    let body = world.redeem("a", &by_code(&code)).await.unwrap();
    let id_token = body.id_token.unwrap();
    let claims = id_token.split('.').nth(1).unwrap();
    let claims = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, claims).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(
        (&claims["sub"], &claims["auth_time"], &claims["acr"]),
        (&json!("sub-alice"), &json!(NOW + 5), &json!(ACR_PASSWORD))
    );
    // Going back makes no second code.
    assert_eq!(kind(&browser.look("a", &uri)), "stopped invalid_request_uri");
    assert_eq!(kind(&browser.decide(&page.form, "approve")), "stopped invalid_request_uri");
    assert_eq!(kind(&browser.decide(&page.form, "refuse")), "stopped invalid_request_uri");
    // The next request finds the user signed in.
    let uri = world.pushed("b", &[]).await;
    approval(browser.look("b", &uri));
}

#[tokio::test]
async fn whoever_says_no_is_led_back_with_an_error() {
    let world = inhabited().await;
    let mut browser = Browser::new(&world);
    let uri = world.pushed("a", &[]).await;
    let page = sign_in(browser.look("a", &uri));
    assert_eq!(kind(&browser.send_sign_in(&page.form, "cancel", "", "").await), "error access_denied");
    assert_eq!(kind(&browser.look("a", &uri)), "stopped invalid_request_uri");
    let uri = world.pushed("a", &[]).await;
    let page = browser.arrive("a", &uri).await;
    assert_eq!(kind(&browser.decide(&page.form, "refuse")), "error access_denied");
    // Also when the session ended meanwhile: a no needs no name.
    let uri = world.pushed("a", &[]).await;
    let page = browser.arrive("a", &uri).await;
    world.server.parts.visitors.users.replace(vec![]);
    assert_eq!(kind(&browser.decide(&page.form, "refuse")), "error access_denied");
}

#[tokio::test]
async fn a_wrong_password_is_asked_for_again_and_signs_nobody_in() {
    let world = inhabited().await;
    let mut browser = Browser::new(&world);
    let uri = world.pushed("a", &[]).await;
    let page = sign_in(browser.look("a", &uri));
    let before = browser.session.clone();
    for (username, password) in [("alice", "wrong"), ("nobody", PASSWORD), ("alice", ""), ("", PASSWORD)] {
        let again = browser.send_sign_in(&page.form, "sign-in", username, password).await;
        let again = sign_in(again);
        assert_eq!((again.trouble, again.username.as_str()), (Some(SignInError::Refused), username));
        assert_eq!(browser.session, before);
        assert_eq!(kind(&browser.decide(&again.form, "approve")), "again", "nobody is signed in");
    }
    assert_eq!(kind(&browser.look("a", &uri)), "sign-in None");
}

/// Login CSRF, approval CSRF, and forms that were kept: they lead to the page of the request, and change nothing.
#[tokio::test]
async fn a_form_counts_from_its_browser_for_its_request_alone() {
    let world = inhabited().await;
    let (mut mine, mut other) = (Browser::new(&world), Browser::new(&world));
    let (uri, second) = (world.pushed("a", &[]).await, world.pushed("a", &[]).await);
    let form_of = |browser: &mut Browser<'_>, uri: &str| sign_in(browser.look("a", uri)).form;
    let (good, foreign) = (form_of(&mut mine, &uri), form_of(&mut other, &uri));
    let of_second = form_of(&mut mine, &second);
    let with = |token: &str| PageForm { token: token.to_owned(), ..form_of(&mut Browser::new(&world), &uri) };
    for (name, form) in [
        ("another browser's", with(&foreign.token)),
        ("another visit's", with(&of_second.token)),
        ("none", with("")),
        ("made up", with(&"A".repeat(43))),
    ] {
        for action in ["sign-in", "cancel"] {
            let visit = mine.send_sign_in(&form, action, "alice", PASSWORD).await;
            assert_eq!(kind(&visit), "again", "{name} {action}");
        }
        for action in ["approve", "refuse", "switch-user"] {
            assert_eq!(kind(&mine.decide(&form, action)), "again", "{name} {action}");
        }
    }
    let mut nobody = Browser::new(&world);
    assert_eq!(kind(&nobody.send_sign_in(&good, "sign-in", "alice", PASSWORD).await), "again");
    // The form of the session before the sign-in does not count after it.
    assert_eq!(kind(&mine.send_sign_in(&good, "sign-in", "alice", PASSWORD).await), "again");
    assert_eq!(kind(&mine.decide(&good, "approve")), "again");
    for action in ["", "delete", "sign-in"] {
        let page = approval(mine.look("a", &uri));
        assert_eq!(kind(&mine.decide(&page.form, action)), "stopped invalid_request", "{action:?}");
    }
    // Who knows a form by heart, and signed in elsewhere, decides nothing here.
    let page = approval(mine.look("a", &uri));
    let theirs = other.arrive("a", &uri).await;
    assert_eq!(kind(&other.decide(&page.form, "approve")), "again");
    assert_eq!(kind(&other.decide(&theirs.form, "approve")), "code");
}

#[tokio::test]
async fn an_id_that_somebody_planted_is_worth_nothing_after_the_sign_in() {
    let world = inhabited().await;
    let uri = world.pushed("a", &[]).await;
    let mut attacker = Browser::new(&world);
    sign_in(attacker.look("a", &uri));
    let mut victim = Browser { world: &world, session: attacker.session.clone() };
    let page = sign_in(victim.look("a", &uri));
    assert_eq!(victim.session, attacker.session, "the planted id");
    assert_eq!(kind(&victim.send_sign_in(&page.form, "sign-in", "alice", PASSWORD).await), "again");
    assert_ne!(victim.session, attacker.session);
    assert_eq!(kind(&attacker.look("a", &uri)), "sign-in None");
    approval(victim.look("a", &uri));
}

#[tokio::test]
async fn a_request_is_opened_twice_and_whoever_decides_first_decides() {
    let world = inhabited().await;
    let uri = world.pushed("a", &[]).await;
    let (mut one, mut two) = (Browser::new(&world), Browser::new(&world));
    let (first, second) = (one.arrive("a", &uri).await, two.arrive("a", &uri).await);
    // Two tabs of one browser.
    let tab = approval(two.look("a", &uri));
    assert_eq!(kind(&two.decide(&tab.form, "approve")), "code");
    assert_eq!(kind(&two.decide(&second.form, "approve")), "stopped invalid_request_uri");
    assert_eq!(kind(&one.decide(&first.form, "approve")), "stopped invalid_request_uri");

    // Two requests in two tabs, answered in either order.
    let (uri, other) = (world.pushed("a", &[]).await, world.pushed("b", &[]).await);
    let (page, later) = (one.arrive("a", &uri).await, one.arrive("b", &other).await);
    assert_eq!(kind(&one.decide(&later.form, "approve")), "code");
    assert_eq!(kind(&one.decide(&page.form, "approve")), "code");
}

#[test]
fn of_many_who_approve_at_once_one_gets_the_code() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = runtime.block_on(inhabited());
    for _ in 0..20 {
        let (page, session) = runtime.block_on(async {
            let uri = world.pushed("a", &[]).await;
            let mut browser = Browser::new(&world);
            let page = browser.arrive("a", &uri).await;
            (page, browser.session)
        });
        let start = std::sync::Barrier::new(4);
        let outcomes: Vec<String> = std::thread::scope(|scope| {
            let decide = || {
                let mut browser = Browser { world: &world, session: session.clone() };
                start.wait();
                kind(&browser.decide(&page.form, "approve"))
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(decide)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let codes = outcomes.iter().filter(|outcome| *outcome == "code").count();
        let refused = outcomes.iter().filter(|outcome| *outcome == "stopped invalid_request_uri").count();
        assert_eq!((codes, refused), (1, 3), "{outcomes:?}");
    }
}

#[tokio::test]
async fn what_is_not_open_is_a_page_and_never_a_redirect() {
    let world = world_of(|world| {
        let mut idle = code_client(world, "idle", Profile::Fapi2Security);
        idle.0.status = crate::domain::PartnerStatus::Suspended;
        vec![code_client(world, "a", Profile::Fapi2Security), code_client(world, "b", Profile::Fapi2Security), idle]
    })
    .await;
    let uri = world.pushed("a", &[]).await;
    let escaped = encode(&[("request_uri", &uri)]);
    let known = format!("client_id=a&{escaped}");
    let expired = {
        let uri = world.pushed("a", &[]).await;
        world.clock.set(NOW + 90);
        encode(&[("client_id", "a"), ("request_uri", &uri)])
    };
    world.clock.set(NOW);
    let mut browser = Browser::new(&world);
    assert_eq!(
        kind(&browser.look_at(&format!("{known}&redirect_uri=https%3A%2F%2Fevil.example&scope=all"))),
        "sign-in None"
    );
    for (name, query, expected) in [
        ("another client's", format!("client_id=b&{escaped}"), "invalid_request_uri"),
        ("an unknown client", format!("client_id=nobody&{escaped}"), "invalid_client"),
        ("no client's name", format!("client_id=%00&{escaped}"), "invalid_client"),
        ("a suspended client", format!("client_id=idle&{escaped}"), "invalid_request_uri"),
        ("an unknown one", "client_id=a&request_uri=urn:ietf:params:oauth:request_uri:x".into(), "invalid_request_uri"),
        ("one elsewhere", "client_id=a&request_uri=https://tpp.example/r".into(), "invalid_request_uri"),
        ("no client", escaped.clone(), "invalid_request"),
        ("not pushed", "client_id=a&response_type=code&redirect_uri=https://tpp.example/cb".into(), "invalid_request"),
        ("twice the client", format!("{known}&client_id=a"), "invalid_request"),
        ("twice the request", format!("{known}&{escaped}"), "invalid_request"),
        ("twice another", format!("{known}&x=1&x=2"), "invalid_request"),
        ("no escape", format!("{known}&x=%"), "invalid_request"),
        ("nothing", String::new(), "invalid_request"),
    ] {
        assert_eq!(kind(&browser.look_at(&query)), format!("stopped {expected}"), "{name}");
        assert!(browser.world.server.authorize(Browser::request(&form_headers(), &query)).session.is_none(), "{name}");
    }
    world.clock.set(NOW + 90);
    assert_eq!(kind(&browser.look_at(&expired)), "stopped invalid_request_uri", "nobody opened it in time");
}

#[tokio::test]
async fn a_visit_that_took_too_long_tells_its_client_whatever_is_done_then() {
    let world = inhabited().await;
    let uri = world.pushed("a", &[]).await;
    let mut browser = Browser::new(&world);
    let page = browser.arrive("a", &uri).await;
    // The request_uri itself ended long ago.
    world.clock.set(NOW + 599);
    approval(browser.look("a", &uri));
    world.clock.set(NOW + 600);
    for _ in 0..2 {
        assert_eq!(kind(&browser.look("a", &uri)), "error access_denied");
        assert_eq!(kind(&Browser::new(&world).look("a", &uri)), "error access_denied", "in any browser");
    }
    assert_eq!(kind(&browser.decide(&page.form, "approve")), "error access_denied");
    assert_eq!(kind(&Browser::new(&world).decide(&page.form, "approve")), "error access_denied", "in any browser");
    world.clock.set(NOW + 1_200);
    assert_eq!(kind(&browser.look("a", &uri)), "stopped invalid_request_uri", "forgotten in the end");
}

#[tokio::test]
async fn the_form_of_a_page_that_lay_open_tells_the_client_too() {
    let world = inhabited().await;
    for action in ["sign-in", "cancel"] {
        world.clock.set(NOW);
        let uri = world.pushed("a", &[]).await;
        let mut browser = Browser::new(&world);
        let page = sign_in(browser.look("a", &uri));
        world.clock.set(NOW + 600);
        let visit = browser.send_sign_in(&page.form, action, "alice", PASSWORD).await;
        assert_eq!(kind(&visit), "error access_denied", "{action}");
    }
    for action in ["approve", "refuse"] {
        world.clock.set(NOW);
        let uri = world.pushed("a", &[]).await;
        let mut browser = Browser::new(&world);
        let page = browser.arrive("a", &uri).await;
        world.clock.set(NOW + 600);
        assert_eq!(kind(&browser.decide(&page.form, action)), "error access_denied", "{action}");
    }
}

/// UK Open Banking and Open Finance Brasil demand classes of their own; the token says what was asked for, so that a step-up
/// (RFC 9470) which demands the same lets it pass.
#[tokio::test]
async fn one_sign_in_satisfies_several_classes_and_the_token_says_the_one_that_was_asked_for() {
    let world = inhabited().await;
    let acr = AcrValues::parse(&["urn:usual", "urn:sca", "urn:loa2"].map(str::to_owned)).unwrap();
    let alice = User { acr, ..(*user("alice")).clone() };
    world.server.parts.visitors.users.replace(vec![Arc::new(alice)]);
    let essential =
        json!({ "id_token": { "acr": { "essential": true, "values": ["urn:ca", "urn:sca"] } } }).to_string();
    for (parameter, expected) in [
        (("x", ""), "urn:usual"),
        (("acr_values", "urn:loa2 urn:sca"), "urn:loa2"),
        (("claims", essential.as_str()), "urn:sca"),
    ] {
        let uri = world.pushed("a", &[parameter]).await;
        let mut browser = Browser::new(&world);
        let page = browser.arrive("a", &uri).await;
        let Visit::Over(AuthorizationResponse::Redirect { location }) = browser.decide(&page.form, "approve") else {
            panic!("{expected}: not over")
        };
        let tokens = world.redeem("a", &by_code(&query(&location)["code"])).await.unwrap();
        let claims = [tokens.id_token.unwrap(), tokens.access_token].map(|token| payload(&token)["acr"].clone());
        assert_eq!(claims, [expected, expected]);
        world.clock.set(NOW);
    }
}

/// OpenID Connect Core §3.1.2.1 `id_token_hint`, §3.1.2.2: no answer about somebody else, and no hint that is ignored.
#[tokio::test]
async fn an_id_token_as_hint_names_the_one_who_must_sign_in() {
    let world = inhabited().await;
    let mut browser = Browser::new(&world);
    let uri = world.pushed("a", &[]).await;
    let page = browser.arrive("a", &uri).await;
    let Visit::Over(AuthorizationResponse::Redirect { location }) = browser.decide(&page.form, "approve") else {
        panic!("not over")
    };
    let tokens = world.redeem("a", &by_code(&query(&location)["code"])).await.unwrap();
    let hint = tokens.id_token.unwrap();
    let forged = world.key.sign("JWT", &payload(&hint)).unwrap();
    let sub = |sub: &str| json!({ "id_token": { "sub": { "value": sub } } }).to_string();
    for (name, client, hint, claims, expected) in [
        ("her own", "a", hint.as_str(), "{}".to_owned(), None),
        ("her own, and by name", "a", &hint, sub("sub-alice"), None),
        ("her own, and another's name", "a", &hint, sub("sub-bob"), Some("invalid_request")),
        ("another client's", "b", &hint, "{}".to_owned(), Some("invalid_request")),
        ("an access token", "a", &tokens.access_token, "{}".to_owned(), Some("invalid_request")),
        ("signed by a client", "a", &forged, "{}".to_owned(), Some("invalid_request")),
        ("garbage", "a", "garbage", "{}".to_owned(), Some("invalid_request")),
    ] {
        let mut parameters = request_parameters();
        parameters.extend([("id_token_hint", hint), ("claims", &claims)].map(|(n, v)| (n.to_owned(), v.to_owned())));
        let pushed = world.push(client, &parameters).await;
        assert_eq!(pushed.map(drop).err().map(|error| error.code()), expected, "{name}");
    }
    world.clock.set(NOW + 400); // It has expired, and is a hint all the same.
    for (username, silent, expected) in [
        ("alice", false, "approval"),
        ("bob", false, "error login_required"),
        ("bob", true, "error login_required"),
        ("alice", true, "error consent_required"),
    ] {
        let mut browser = Browser::new(&world);
        let uri = world.pushed("a", &[("max_age", "9999")]).await;
        let Visit::SignIn(page) = browser.look("a", &uri) else { panic!("signed in") };
        let prompt = if silent { "none" } else { "consent" };
        let hinted = world.pushed("a", &[("id_token_hint", &hint), ("prompt", prompt)]).await;
        if silent {
            browser.send_sign_in(&page.form, "sign-in", username, PASSWORD).await;
        } else {
            let Visit::SignIn(page) = browser.look("a", &hinted) else { panic!("signed in") };
            browser.send_sign_in(&page.form, "sign-in", username, PASSWORD).await;
        }
        assert_eq!(kind(&browser.look("a", &hinted)), expected, "{username}, silent: {silent}");
    }
}

/// `prompt`, `max_age`, `acr_values` and an essential `acr`: what a browser hears in which somebody signed in 100 s ago.
#[tokio::test]
async fn a_client_says_how_fresh_and_how_strong_a_sign_in_must_be() {
    let world = inhabited().await;
    let mut browser = Browser::new(&world);
    let uri = world.pushed("a", &[]).await;
    browser.arrive("a", &uri).await;
    let claims = |acr: Value| json!({ "id_token": { "acr": acr } }).to_string();
    let essential = |values: Value| claims(json!({ "essential": true, "values": values }));
    let own = essential(json!(["urn:other", ACR_PASSWORD]));
    let other = essential(json!(["urn:other"]));
    let voluntary = claims(json!({ "values": ["urn:other"] }));
    let both = format!("urn:other {ACR_PASSWORD}");
    world.clock.set(NOW + 100);
    for (name, parameter, signed_in, stranger) in [
        ("nothing", ("x", ""), "approval", "sign-in None"),
        ("consent", ("prompt", "consent"), "approval", "sign-in None"),
        ("login", ("prompt", "login"), "sign-in None", "sign-in None"),
        ("select_account", ("prompt", "select_account"), "sign-in None", "sign-in None"),
        ("none", ("prompt", "none"), "error consent_required", "error login_required"),
        ("old enough", ("max_age", "101"), "approval", "sign-in None"),
        ("too old", ("max_age", "100"), "sign-in None", "sign-in None"),
        ("never old", ("max_age", "0"), "sign-in None", "sign-in None"),
        ("reached", ("acr_values", ACR_PASSWORD), "approval", "sign-in None"),
        ("one of two", ("acr_values", both.as_str()), "approval", "sign-in None"),
        ("not reached", ("acr_values", "urn:other"), "error unmet_authentication_requirements", "sign-in None"),
        ("essential, reached", ("claims", &own), "approval", "sign-in None"),
        ("essential", ("claims", &other), "error unmet_authentication_requirements", "sign-in None"),
        ("voluntary", ("claims", &voluntary), "approval", "sign-in None"),
    ] {
        let uri = world.pushed("a", &[parameter]).await;
        assert_eq!(kind(&Browser::new(&world).look("a", &uri)), stranger, "{name}, nobody signed in");
        let uri = world.pushed("a", &[parameter]).await;
        assert_eq!(kind(&browser.look("a", &uri)), signed_in, "{name}");
        world.clock.set(NOW + 100);
    }
    // Signing in within the visit satisfies the strictest wish, once.
    for parameter in [("prompt", "login"), ("max_age", "0")] {
        let uri = world.pushed("a", &[parameter]).await;
        let mut browser = Browser { world: &world, session: browser.session.clone() };
        let page = browser.arrive("a", &uri).await;
        assert_eq!(kind(&browser.decide(&page.form, "approve")), "code");
        world.clock.set(NOW + 101);
        let next = world.pushed("a", &[parameter]).await;
        assert_eq!(kind(&browser.look("a", &next)), "sign-in None");
        world.clock.set(NOW + 100);
    }
}

#[tokio::test]
async fn a_session_ends_with_its_user_and_its_time_and_by_choice() {
    let world = inhabited().await;
    let uri = world.pushed("a", &[]).await;
    let mut browser = Browser::new(&world);
    let page = browser.arrive("a", &uri).await;
    // The password was changed while the page lay open.
    let changed = User { password: PasswordHash::of("another").unwrap(), ..(*user("alice")).clone() };
    world.server.parts.visitors.users.replace(vec![Arc::new(changed)]);
    assert_eq!(kind(&browser.decide(&page.form, "approve")), "again");
    assert_eq!(kind(&browser.look("a", &uri)), "sign-in None");

    world.server.parts.visitors.users.replace(vec![user("alice")]);
    let page = browser.arrive("a", &uri).await;
    let before = browser.session.clone();
    assert_eq!(kind(&browser.decide(&page.form, "switch-user")), "again");
    assert_ne!(browser.session, before);
    assert_eq!(kind(&browser.look("a", &uri)), "sign-in None");
    let mut old = Browser { world: &world, session: before };
    assert_eq!(kind(&old.look("a", &uri)), "sign-in None", "the old id signs nobody in");

    browser.arrive("a", &uri).await;
    world.clock.set(NOW + 599);
    let late = world.pushed("a", &[]).await;
    approval(browser.look("a", &late));
    world.clock.set(NOW + 599 + 600);
    let later = world.pushed("a", &[]).await;
    assert_eq!(kind(&browser.look("a", &later)), "sign-in None", "ten minutes without a request");
}

#[tokio::test]
async fn a_hint_is_a_hint() {
    let world = inhabited().await;
    for (hint, shown) in [("bob@example.com", "bob@example.com"), (&*"x".repeat(300), "")] {
        let uri = world.pushed("a", &[("login_hint", hint)]).await;
        assert_eq!(sign_in(Browser::new(&world).look("a", &uri)).username, shown);
    }
}

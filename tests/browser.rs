//! The pages in a real browser: headless Chromium, under the policies that it enforces.

use crate::harness::browser::Browser;
use crate::harness::visit::{PASSWORD, USERNAME, page_of, parameters, push, redeem, redirect_uri, site};
use crate::harness::{Backend, Gateway, Reply, Site};

struct Rig {
    client: Backend,
    gateway: Gateway,
    browser: Browser,
    _site: Site,
}

/// A client that welcomes whoever comes back, a gateway, a browser; `tokens` are further keys of the configuration.
async fn rig(tokens: &str) -> Option<Rig> {
    let browser = Browser::start().await?;
    let client = Backend::start(|seen| {
        let fields = vec![("content-type", "text/html".to_owned())];
        let onward =
            parameters(&seen.target)["state"].as_str().and_then(|s| s.strip_prefix("onward:")).map(str::to_owned);
        match onward {
            Some(place) => Reply::Answer(302, vec![("location", place)], vec![]),
            None => {
                Reply::Answer(200, fields, b"<!doctype html><title>Client</title><p id=arrived>Welcome</p>".to_vec())
            }
        }
    })
    .await;
    let site = site(&client);
    site.append("config/gateway.yaml", tokens);
    let gateway = site.start().await;
    Some(Rig { client, gateway, browser, _site: site })
}

impl Rig {
    /// Where the client wants its user back.
    fn home(&self) -> String {
        redirect_uri(&self.client)
    }

    async fn pushed(&self, more: &[(&str, &str)]) -> String {
        let uri = push(&self.gateway, &self.home(), more).await;
        self.gateway.https("public", &page_of(&uri))
    }

    async fn sign_in(&self) {
        self.browser.fill("#username", USERNAME).await;
        self.browser.fill("#password", PASSWORD).await;
        self.browser.click("#submit").await;
    }

    /// Waits for the question; the page before it has a heading too.
    async fn is_asked(&self) {
        self.browser.text("#approve").await;
        assert_eq!(self.browser.text("h1").await, "Do you approve?");
    }

    /// The parameters with which the user came back.
    async fn came_back(&self) -> serde_json::Value {
        assert_eq!(self.browser.text("#arrived").await, "Welcome");
        let place = self.browser.arrives_at(&self.home()).await;
        let answer = parameters(&place);
        assert_eq!(answer["iss"], "https://localhost", "{place}");
        answer
    }

    async fn redeem(&self, answer: &serde_json::Value) -> u16 {
        redeem(&self.gateway, &self.home(), answer["code"].as_str().unwrap()).await.0
    }
}

#[tokio::test]
async fn somebody_signs_in_and_approves_and_going_back_makes_no_second_code() {
    let Some(rig) = rig("").await else { return };
    let browser = &rig.browser;
    let page = rig.pushed(&[("login_hint", USERNAME)]).await;
    browser.go(&page).await;
    assert_eq!(browser.value("#username").await, USERNAME);
    assert_eq!(
        browser.style("#submit", "background-color").await,
        "rgba(18, 52, 59, 1)",
        "the policy lets our style in"
    );
    browser.fill("#username", "nobody").await;
    browser.fill("#password", "wrong").await;
    browser.click("#submit").await;
    assert!(browser.text("#sign-in-error").await.contains("wrong"));
    assert_eq!((browser.value("#username").await.as_str(), browser.value("#password").await.as_str()), ("nobody", ""));
    rig.sign_in().await;
    assert_eq!(browser.text("#client-name").await, "<b>Acme</b> & \"sons\"");
    assert_eq!(browser.text("#scopes").await, "openid\nshop");
    let cookie = browser.cookie("__Host-clearway").await;
    assert_eq!(
        (&cookie["httpOnly"], &cookie["secure"], &cookie["sameSite"], &cookie["path"]),
        (&true.into(), &true.into(), &"Lax".into(), &"/".into())
    );
    browser.click("#approve").await;
    let answer = rig.came_back().await;
    assert_eq!(rig.redeem(&answer).await, 200);

    // Back: either the page is asked for anew, or the browser kept it and its button is pressed again.
    browser.back().await;
    if browser.text("h1").await == "Do you approve?" {
        browser.click("#approve").await;
    }
    assert_eq!(browser.text("#oauth-error").await, "invalid_request_uri");

    // Still signed in: the next request comes to the point, and so does one that is refused.
    browser.go(&rig.pushed(&[]).await).await;
    browser.click("#refuse").await;
    assert_eq!(rig.came_back().await["error"], "access_denied");
    // Somebody else takes over; cancelling leads back as well, with nothing filled in.
    browser.go(&rig.pushed(&[]).await).await;
    browser.click("#switch-user").await;
    assert_eq!(browser.value("#username").await, "");
    browser.click("#cancel").await;
    assert_eq!(rig.came_back().await["error"], "access_denied");
}

#[tokio::test]
async fn a_page_that_is_left_alone_leads_back_by_itself() {
    let Some(rig) = rig("tokens: { visit_lifetime: 2s }\n").await else { return };
    rig.browser.go(&rig.pushed(&[]).await).await;
    assert_eq!(rig.browser.text("h1").await, "Sign in");
    let answer = rig.came_back().await;
    assert_eq!((&answer["error"], &answer["state"]), (&"access_denied".into(), &"a state".into()));
    assert_eq!(answer["error_description"], "The request timed out.");
    // The page that asks, too.
    let page = rig.pushed(&[]).await;
    rig.browser.go(&page).await;
    rig.sign_in().await;
    rig.is_asked().await;
    assert_eq!(rig.came_back().await["error_description"], "The request timed out.");
    rig.browser.go(&page).await;
    assert_eq!(rig.came_back().await["error"], "access_denied", "and whoever looks again");
}

#[tokio::test]
async fn two_tabs_of_one_browser_work() {
    let Some(rig) = rig("").await else { return };
    let browser = &rig.browser;
    let (page, other) = (rig.pushed(&[]).await, rig.pushed(&[("state", "other")]).await);
    browser.go(&page).await;
    let first_tab = browser.new_tab().await;
    browser.go(&page).await;
    rig.sign_in().await;
    rig.is_asked().await;
    // The first tab's form is of the session before: it leads to the page as it is now.
    browser.turn_to(&first_tab).await;
    rig.sign_in().await;
    rig.is_asked().await;
    browser.click("#approve").await;
    assert_eq!(rig.redeem(&rig.came_back().await).await, 200);
    // Another request in this tab, while the second tab holds one that was decided.
    browser.go(&other).await;
    browser.click("#approve").await;
    let answer = rig.came_back().await;
    assert_eq!(answer["state"], "other");
    assert_eq!(rig.redeem(&answer).await, 200);
}

/// Chromium holds what follows a form to the page's `form-action`, every redirect of it.
#[tokio::test]
async fn a_client_may_send_its_user_on_and_may_have_the_answer_posted() {
    let Some(rig) = rig("").await else { return };
    let browser = &rig.browser;
    let place = format!("https://127.0.0.1:{}/onward", rig.gateway.address("public").port());
    browser.go(&rig.pushed(&[("state", &format!("onward:{place}"))]).await).await;
    browser.click("#cancel").await;
    browser.arrives_at(&place).await;

    browser.go(&rig.pushed(&[("response_mode", "form_post.jwt")]).await).await;
    rig.sign_in().await;
    browser.click("#approve").await;
    assert_eq!(browser.text("#arrived").await, "Welcome", "the page posts by itself");
    assert_eq!(browser.place().await, rig.home());
    let seen = rig.client.seen();
    let posted = seen.iter().rfind(|seen| seen.method == "POST").unwrap();
    assert!(posted.body.starts_with(b"response=ey"), "{:?}", String::from_utf8_lossy(&posted.body));
}

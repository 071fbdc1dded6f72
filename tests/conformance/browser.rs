//! A browser that reads forms and keeps cookies, and runs nothing.

use std::collections::BTreeMap;

use super::party::{Answer, Parameters, Suite, changed, text};

const HOPS_MAX: usize = 12;

pub struct Browser<'s> {
    suite: &'s Suite,
    cookies: BTreeMap<String, String>,
    /// Which of the users told of signs in.
    user: usize,
}

/// Where a visit ended: at the client's redirect URI, or at a page that leads nowhere.
pub enum Landed {
    At(String),
    Page(Answer),
}

impl Landed {
    /// The parameters of the redirect; none if there was no redirect.
    pub fn parameters(&self) -> BTreeMap<String, String> {
        let Self::At(url) = self else { return BTreeMap::new() };
        let rest = url.split_once(['?', '#']).map_or("", |(_, rest)| rest);
        let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
        rest.split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (decode(name), decode(value)))
            .collect()
    }

    pub fn told(&self) -> String {
        match self {
            Self::At(url) => url.clone(),
            Self::Page(answer) => answer.told(),
        }
    }
}

impl<'s> Browser<'s> {
    pub fn new(suite: &'s Suite) -> Self {
        Self { suite, cookies: BTreeMap::new(), user: 0 }
    }

    /// Of another than the first user.
    pub fn of(suite: &'s Suite, user: usize) -> Self {
        Self { user, ..Self::new(suite) }
    }

    pub async fn get(&mut self, url: &str) -> Answer {
        let request = self.suite.anonymous.get(url);
        self.send(request).await
    }

    pub async fn post(&mut self, url: &str, fields: &Parameters) -> Answer {
        let request = self.suite.anonymous.post(url).header("content-type", "application/x-www-form-urlencoded");
        self.send(request.body(text(fields))).await
    }

    async fn send(&mut self, request: reqwest::RequestBuilder) -> Answer {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = if cookies.is_empty() { request } else { request.header("cookie", cookies.join("; ")) };
        let answer = Answer::to(request).await;
        for cookie in answer.headers.get_all("set-cookie") {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        answer
    }

    /// Signs in where it is asked to, and answers the request with the button `action`.
    pub async fn visit(&mut self, url: &str, action: &str) -> Landed {
        let first = self.get(url).await;
        self.go_on(url.to_owned(), first, action).await
    }

    async fn go_on(&mut self, mut url: String, mut answer: Answer, action: &str) -> Landed {
        let user = self.suite.told["users"][self.user].clone();
        for _ in 0..HOPS_MAX {
            if let Some(location) = answer.headers.get("location") {
                url = absolute(&url, location.to_str().unwrap());
                if !url.starts_with(self.suite.issuer()) {
                    return Landed::At(url);
                }
                answer = self.get(&url).await;
                continue;
            }
            let Some(target) = attribute(&answer.text, "<form", "action") else { return Landed::Page(answer) };
            if !absolute(&url, &target).starts_with(self.suite.issuer()) {
                return Landed::Page(answer); // A form that posts the response to the client.
            }
            let more: &[(&str, &str)] = if answer.text.contains("name=\"password\"") && action != "cancel" {
                let (username, password) = (user["username"].as_str().unwrap(), user["password"].as_str().unwrap());
                &[("username", username), ("password", password), ("action", "sign-in")]
            } else {
                &[("action", action)]
            };
            url = absolute(&url, &target);
            let fields = changed(hidden(&answer.text), more);
            answer = self.post(&url, &fields).await;
        }
        panic!("the pages lead nowhere: {}", answer.told())
    }
}

fn absolute(base: &str, reference: &str) -> String {
    if reference.contains("://") {
        return reference.to_owned();
    }
    let (path, _) = base.split_once('?').unwrap_or((base, ""));
    if reference.starts_with('/') {
        let origin = path.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        return format!("{origin}{reference}");
    }
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    format!("{folder}/{reference}")
}

fn attribute(page: &str, tag: &str, name: &str) -> Option<String> {
    let tag = page.split_once(tag)?.1.split('>').next()?;
    let value = tag.split_once(&format!(" {name}=\""))?.1.split('"').next()?;
    Some(value.replace("&#38;", "&").replace("&amp;", "&"))
}

/// The hidden inputs of a page.
pub fn hidden(page: &str) -> Parameters {
    let inputs = page.split("<input type=\"hidden\"").skip(1);
    inputs.filter_map(|rest| Some((attribute(rest, "", "name")?, attribute(rest, "", "value")?))).collect()
}

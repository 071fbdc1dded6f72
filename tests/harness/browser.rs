//! A headless Chromium, driven over WebDriver (W3C) by the driver that comes with it.
//!
//! Waiting is the driver's: an element that is asked for is waited for until it is there.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

/// W3C WebDriver §11.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
const FLAGS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    // Nothing but loopback is ever asked for.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost , EXCLUDE 127.0.0.1",
];
/// Longer than anything that a page has to wait for.
const PATIENCE_MILLIS: u64 = 30_000;

/// A browser takes some 300 MB: one after the other.
static ONE_AT_A_TIME: Semaphore = Semaphore::const_new(1);

/// A browser with a profile of its own. It ends when dropped.
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    http: reqwest::Client,
    _profile: TempDir,
    _turn: SemaphorePermit<'static>,
}

/// The page of an element went away. Some drivers have no word for it in the moment between two pages.
fn is_stale(trouble: &Value) -> bool {
    let message = trouble["message"].as_str().unwrap_or_default();
    trouble["error"] == "stale element reference" || message.contains("does not belong to the document")
}

impl Browser {
    /// `None`, and loudly, where there is no Chromium; in CI that is a failure. `./dev test` installs it where it may.
    pub async fn start() -> Option<Self> {
        let (Some(driver), Some(browser)) =
            (program(&["chromedriver"]), program(&["chromium", "chromium-browser", "google-chrome"]))
        else {
            let missing = "Chromium and its driver are not installed (Debian: chromium, chromium-driver)";
            assert!(std::env::var("CI").is_err(), "{missing}");
            eprintln!("\n*** SKIPPED, NOT TESTED: {missing} ***\n");
            return None;
        };
        let turn = ONE_AT_A_TIME.acquire().await.unwrap();
        let profile = tempfile::Builder::new().prefix("clearway-browser-").tempdir().unwrap();
        let mut child =
            Command::new(driver).arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let port = port(child.stdout.take().unwrap());
        let mut started = Self {
            driver: child,
            port,
            session: String::new(),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            _profile: profile,
            _turn: turn,
        };
        started.open(&browser).await;
        Some(started)
    }

    async fn open(&mut self, browser: &Path) {
        let profile = format!("--user-data-dir={}", self._profile.path().display());
        let flags: Vec<&str> = FLAGS.iter().copied().chain([profile.as_str()]).collect();
        let options = json!({ "binary": browser, "args": flags });
        // The certificates of the tests are of a CA that no browser knows.
        let wanted = json!({ "browserName": "chrome", "acceptInsecureCerts": true, "goog:chromeOptions": options,
            "timeouts": { "implicit": PATIENCE_MILLIS, "pageLoad": PATIENCE_MILLIS } });
        let url = format!("http://127.0.0.1:{}/session", self.port);
        let session = self.ask(self.http.post(url).json(&json!({ "capabilities": { "alwaysMatch": wanted } }))).await;
        session["sessionId"].as_str().unwrap().clone_into(&mut self.session);
    }

    fn url_of(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/session/{}{path}", self.port, self.session)
    }

    /// What the driver answers, or what it complains about.
    async fn try_ask(&self, request: reqwest::RequestBuilder) -> Result<Value, Value> {
        let answer = request.timeout(Duration::from_millis(2 * PATIENCE_MILLIS)).send().await.unwrap();
        let status = answer.status();
        let mut body: Value = answer.json().await.unwrap();
        if status.is_success() { Ok(body["value"].take()) } else { Err(body["value"].take()) }
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> Value {
        self.try_ask(request).await.unwrap_or_else(|trouble| panic!("the driver says {}", trouble["message"]))
    }

    /// Asks something about an element, anew if its page went away between finding and asking.
    async fn of(&self, selector: &str, ask: impl Fn(String) -> reqwest::RequestBuilder) -> Value {
        loop {
            let element = self.find(selector).await;
            match self.try_ask(ask(self.url_of(&element))).await {
                Ok(value) => return value,
                Err(trouble) if is_stale(&trouble) => {}
                Err(trouble) => panic!("{selector}: the driver says {}", trouble["message"]),
            }
        }
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.ask(self.http.post(self.url_of(path)).json(&body)).await
    }

    async fn get(&self, path: &str) -> Value {
        self.ask(self.http.get(self.url_of(path))).await
    }

    pub async fn go(&self, url: &str) {
        self.post("/url", json!({ "url": url })).await;
    }

    pub async fn back(&self) {
        self.post("/back", json!({})).await;
    }

    /// Where the browser is.
    pub async fn place(&self) -> String {
        self.get("/url").await.as_str().unwrap().to_owned()
    }

    /// Waits until the browser is at an address that begins like this; returns it whole.
    pub async fn arrives_at(&self, begin: &str) -> String {
        let arrived = async {
            let mut look = tokio::time::interval(Duration::from_millis(50));
            loop {
                look.tick().await;
                let place = self.place().await;
                if place.starts_with(begin) {
                    return place;
                }
            }
        };
        super::within("the browser's arrival", arrived).await
    }

    /// Opens another tab of the same browser and turns to it; returns what [`Self::turn_to`] takes to come back.
    pub async fn new_tab(&self) -> String {
        let here = self.get("/window").await.as_str().unwrap().to_owned();
        let tab = self.post("/window/new", json!({ "type": "tab" })).await;
        self.post("/window", json!({ "handle": tab["handle"] })).await;
        here
    }

    pub async fn turn_to(&self, tab: &str) {
        self.post("/window", json!({ "handle": tab })).await;
    }

    /// The element, as soon as it is there.
    async fn find(&self, selector: &str) -> String {
        let found = self.post("/element", json!({ "using": "css selector", "value": selector })).await;
        format!("/element/{}", found[ELEMENT].as_str().unwrap())
    }

    pub async fn text(&self, selector: &str) -> String {
        let text = self.of(selector, |element| self.http.get(format!("{element}/text"))).await;
        text.as_str().unwrap().to_owned()
    }

    /// What an input holds.
    pub async fn value(&self, selector: &str) -> String {
        let value = self.of(selector, |element| self.http.get(format!("{element}/property/value"))).await;
        value.as_str().unwrap().to_owned()
    }

    /// A property as the browser computed it, under the policy of the page.
    pub async fn style(&self, selector: &str, property: &str) -> String {
        let value = self.of(selector, |element| self.http.get(format!("{element}/css/{property}"))).await;
        value.as_str().unwrap().to_owned()
    }

    pub async fn click(&self, selector: &str) {
        self.of(selector, |element| self.http.post(format!("{element}/click")).json(&json!({}))).await;
    }

    pub async fn fill(&self, selector: &str, text: &str) {
        self.of(selector, |element| self.http.post(format!("{element}/clear")).json(&json!({}))).await;
        let body = json!({ "text": text });
        self.of(selector, |element| self.http.post(format!("{element}/value")).json(&body)).await;
    }

    /// A cookie with all that the browser knows of it.
    pub async fn cookie(&self, name: &str) -> Value {
        self.get(&format!("/cookie/{name}")).await
    }
}

impl Drop for Browser {
    /// The driver ends its browser when it is asked to; killed, it would leave it behind.
    fn drop(&mut self) {
        let ask = || {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            write!(
                stream,
                "DELETE /session/{} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
                self.session
            )?;
            stream.read(&mut [0; 1024]) // It answers when the browser has ended, and keeps the connection.
        };
        let _ended: std::io::Result<usize> = ask();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|file| file.is_file())
}

/// The port that the driver chose. What it says later is read and forgotten.
fn port(stdout: impl Read + Send + 'static) -> u16 {
    let mut lines = BufReader::new(stdout).lines();
    let said = lines.by_ref().map_while(Result::ok).find(|line| line.contains("started successfully on port"));
    let said = said.expect("the driver says its port");
    let digits: String = said.chars().filter(char::is_ascii_digit).collect();
    std::thread::spawn(move || lines.for_each(drop));
    digits.parse().unwrap()
}

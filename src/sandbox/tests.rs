//! Back ends over real sockets: TLS, switches, counters.

use std::time::{Duration, Instant};

use http::{Method, StatusCode, Version};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::fault::{Action, Close, Fault, FaultSet, Only, WrongContent};
use super::testing::{client, gateway, pki, server_tls, world};
use super::*;

const ACCOUNTS: &str = "/open-banking/v4.0/aisp/accounts";

async fn plain_bank() -> Running {
    start(SandboxSettings::plain(Institution::bank(world().0))).await.unwrap()
}

async fn tls_bank() -> Running {
    start(SandboxSettings::with_tls(Institution::bank(world().0), server_tls(&pki().bank))).await.unwrap()
}

fn fault(action: Action) -> Fault {
    Fault { action: Some(action), ..Fault::default() }
}

async fn get(running: &Running, path: &str) -> reqwest::Result<reqwest::Response> {
    client(None).timeout(Duration::from_secs(10)).build().unwrap().get(format!("{}{path}", running.url())).send().await
}

#[tokio::test]
async fn mutual_tls_lets_the_gateway_in_and_nobody_else() {
    let bank = tls_bank().await;
    let url = format!("{}{ACCOUNTS}", bank.url());
    for (name, identity, welcome) in [
        ("the gateway", Some(&pki().gateway_client), true),
        ("nobody", None, false),
        ("a stranger", Some(&pki().untrusted_client), false),
        ("its own signer", Some(&pki().self_signed_client), false),
        ("a server's certificate", Some(&pki().insurer), false),
    ] {
        let answer = client(identity).build().unwrap().get(&url).send().await;
        assert_eq!(answer.is_ok_and(|answer| answer.status() == StatusCode::OK), welcome, "{name}");
    }
    assert_eq!(bank.received().total(), 1, "only one request came through");
}

#[tokio::test]
async fn both_versions_of_http_are_spoken_on_tls_and_in_the_clear() {
    let (tls, plain) = (tls_bank().await, plain_bank().await);
    let ask = |client: reqwest::ClientBuilder, running: &Running| {
        let request = client.build().unwrap().get(format!("{}{ACCOUNTS}", running.url()));
        async { request.send().await.unwrap().version() }
    };
    let identity = Some(&pki().gateway_client);
    assert_eq!(ask(client(identity), &tls).await, Version::HTTP_2);
    assert_eq!(ask(client(identity).http1_only(), &tls).await, Version::HTTP_11);
    assert_eq!(ask(client(None), &plain).await, Version::HTTP_11);
    assert_eq!(ask(client(None).http2_prior_knowledge(), &plain).await, Version::HTTP_2);
}

#[tokio::test]
async fn in_the_clear_only_on_loopback() {
    let mut settings = SandboxSettings::plain(Institution::bank(world().0));
    settings.listen = "0.0.0.0:0".parse().unwrap();
    assert!(matches!(start(settings.clone()).await, Err(SandboxError::NotLoopback(_))));
    settings.tls = Some(server_tls(&pki().bank));
    assert!(start(settings.clone()).await.is_ok());
    settings.control = Some("0.0.0.0:0".parse().unwrap());
    assert!(matches!(start(settings).await, Err(SandboxError::NotLoopback(_))));
}

#[tokio::test]
async fn two_back_ends_share_one_bank() {
    let bank = Institution::bank(world().0);
    let first = start(SandboxSettings::plain(bank.clone())).await.unwrap();
    let second = start(SandboxSettings::plain(bank)).await.unwrap();
    let http = client(None).build().unwrap();
    let body = json!({ "Data": { "Permissions": ["ReadAccountsBasic"] }, "Risk": {} });
    let url = |running: &Running| format!("{}/open-banking/v4.0/aisp/account-access-consents", running.url());
    let made: Value = http.post(url(&first)).json(&body).send().await.unwrap().json().await.unwrap();
    let id = made["Data"]["ConsentId"].as_str().unwrap();
    let read = http.get(format!("{}/{id}", url(&second))).send().await.unwrap();
    assert_eq!(read.status(), StatusCode::OK);
    assert_eq!((first.received().total(), second.received().total()), (1, 1));
}

#[tokio::test]
async fn an_error_status_can_be_given_with_and_without_doing_the_work() {
    let bank = plain_bank().await;
    let path = "/open-banking/v4.0/aisp/account-access-consents";
    let http = client(None).build().unwrap();
    let body = json!({ "Data": { "Permissions": ["ReadAccountsBasic"] }, "Risk": {} });
    for (process, next) in [(false, "acon-00000001"), (true, "acon-00000003")] {
        let rule = Fault { process, times: Some(1), ..fault(Action::Status(503)) };
        bank.faults().set_one(rule).unwrap();
        let url = format!("{}{path}", bank.url());
        let failed = http.post(&url).json(&body).send().await.unwrap();
        assert_eq!(failed.status(), StatusCode::SERVICE_UNAVAILABLE);
        let made: Value = http.post(&url).json(&body).send().await.unwrap().json().await.unwrap();
        assert_eq!(made["Data"]["ConsentId"], next, "process: {process}");
    }
    assert_eq!(bank.received().count(&Method::POST, path), 4);
}

#[tokio::test]
async fn answers_can_be_late_and_can_come_in_drops() {
    let bank = plain_bank().await;
    bank.faults().set_one(Fault { latency_ms: 60, ..Fault::default() }).unwrap();
    let began = Instant::now();
    assert_eq!(get(&bank, ACCOUNTS).await.unwrap().status(), StatusCode::OK);
    assert!(began.elapsed() >= Duration::from_millis(60));

    bank.faults().set_one(fault(Action::Drip { bytes: 1000, every_ms: 5 })).unwrap();
    let began = Instant::now();
    let body: Value = get(&bank, ACCOUNTS).await.unwrap().json().await.unwrap();
    assert_eq!(body["Data"]["Account"].as_array().unwrap().len(), 25, "nothing is lost");
    assert!(began.elapsed() >= Duration::from_millis(30), "many drops");
}

#[tokio::test]
async fn connections_end_before_the_headers_or_within_the_body() {
    let bank = plain_bank().await;
    let tls = tls_bank().await;
    for running in [&bank, &tls] {
        let ask = || async { gateway().get(format!("{}{ACCOUNTS}", running.url())).send().await };
        running.faults().set_one(fault(Action::Close(Close::BeforeHeaders))).unwrap();
        assert!(ask().await.is_err(), "{}", running.url());
        running.faults().set_one(fault(Action::Close(Close::AfterHeaders))).unwrap();
        let answer = ask().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(answer.bytes().await.is_err(), "{}: the body is cut", running.url());
        running.faults().clear();
        assert!(ask().await.unwrap().bytes().await.is_ok());
    }
}

#[tokio::test]
async fn a_hanging_back_end_answers_nothing() {
    let bank = plain_bank().await;
    bank.faults().set_one(fault(Action::Hang)).unwrap();
    let http = client(None).timeout(Duration::from_millis(100)).build().unwrap();
    let error = http.get(format!("{}{ACCOUNTS}", bank.url())).send().await.unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(bank.received().total(), 1, "it was taken");
    assert_eq!(get(&bank, "/healthz").await.unwrap().status(), StatusCode::OK, "health checks are spared");
}

#[tokio::test]
async fn content_can_be_wrong_in_every_way() {
    let bank = plain_bank().await;
    let set = |wrong| bank.faults().set_one(fault(Action::WrongContent(wrong))).unwrap();

    set(WrongContent::Html);
    let answer = get(&bank, ACCOUNTS).await.unwrap();
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/html"));

    set(WrongContent::TruncatedJson);
    let answer = get(&bank, ACCOUNTS).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert!(serde_json::from_slice::<Value>(&answer.bytes().await.unwrap()).is_err());

    set(WrongContent::ContentType);
    let answer = get(&bank, ACCOUNTS).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/plain");
    assert!(answer.json::<Value>().await.is_ok());

    set(WrongContent::ContentLengthLong);
    assert!(get(&bank, ACCOUNTS).await.unwrap().bytes().await.is_err(), "the promised bytes never come");

    set(WrongContent::Garbage);
    assert!(get(&bank, ACCOUNTS).await.is_err());
}

#[tokio::test]
async fn a_short_content_length_leaves_bytes_that_look_like_an_answer() {
    let bank = plain_bank().await;
    bank.faults().set_one(fault(Action::WrongContent(WrongContent::ContentLengthShort))).unwrap();
    let mut stream = TcpStream::connect(bank.address()).await.unwrap();
    let request = format!("GET {ACCOUNTS} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2);
    assert!(text.ends_with("{\"smuggled\":true}"));
}

#[tokio::test]
async fn a_back_end_goes_down_and_comes_back_at_its_address() {
    let bank = plain_bank().await;
    assert!(get(&bank, ACCOUNTS).await.is_ok());
    let mut kept = TcpStream::connect(bank.address()).await.unwrap();
    bank.pause().await.unwrap();
    assert!(TcpStream::connect(bank.address()).await.is_err(), "connections are refused");
    assert_eq!(kept.read(&mut [0; 8]).await.unwrap_or(0), 0, "and the old ones are cut");
    bank.resume().await.unwrap();
    assert!(get(&bank, ACCOUNTS).await.is_ok());

    bank.set_availability(Availability::BlackHole).await.unwrap();
    let mut stream = TcpStream::connect(bank.address()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let silence = tokio::time::timeout(Duration::from_millis(50), stream.read(&mut [0; 8])).await;
    assert!(silence.is_err(), "connected, and nobody at home");
    bank.resume().await.unwrap();
    assert!(get(&bank, ACCOUNTS).await.is_ok());

    let address = bank.address();
    bank.stop().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn the_switchboard_sets_rules_and_shows_what_came() {
    let settings = SandboxSettings {
        control: Some("127.0.0.1:0".parse().unwrap()),
        ..SandboxSettings::plain(Institution::bank(world().0))
    };
    let bank = start(settings).await.unwrap();
    let board = format!("http://{}/_sandbox", bank.control().unwrap());
    let http = client(None).build().unwrap();

    let rules = json!({ "faults": [{ "only": { "path_prefix": ACCOUNTS }, "times": 1, "action": { "status": 500 } }] });
    let set = http.put(format!("{board}/faults")).json(&rules).send().await.unwrap();
    assert_eq!(set.status(), StatusCode::OK);
    assert_eq!(get(&bank, ACCOUNTS).await.unwrap().status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(get(&bank, ACCOUNTS).await.unwrap().status(), StatusCode::OK);
    let left: FaultSet = http.get(format!("{board}/faults")).send().await.unwrap().json().await.unwrap();
    assert_eq!(left.faults[0].times, Some(0));
    assert_eq!(left.faults[0].only, Only { method: None, path_prefix: Some(ACCOUNTS.into()) });

    let refused = http.put(format!("{board}/faults")).body("{\"faults\":[{\"typo\":1}]}").send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);

    let seen: Value = http.get(format!("{board}/received")).send().await.unwrap().json().await.unwrap();
    assert_eq!(seen["counts"][0], json!({ "method": "GET", "path": ACCOUNTS, "count": 2 }));
    http.delete(format!("{board}/received")).send().await.unwrap();
    assert_eq!(bank.received().total(), 0);

    let down = json!({ "availability": "refusing" });
    let answer = http.put(format!("{board}/availability")).json(&down).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(TcpStream::connect(bank.address()).await.is_err());
    let now: Value = http.get(format!("{board}/availability")).send().await.unwrap().json().await.unwrap();
    assert_eq!(now, down);
}

#[tokio::test]
async fn the_switchboard_does_not_listen_to_other_names() {
    let settings = SandboxSettings {
        control: Some("127.0.0.1:0".parse().unwrap()),
        ..SandboxSettings::plain(Institution::bank(world().0))
    };
    let bank = start(settings).await.unwrap();
    let request = client(None).build().unwrap().get(format!("http://{}/_sandbox/faults", bank.control().unwrap()));
    let answer = request.header("host", "rebound.example").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::MISDIRECTED_REQUEST);
}

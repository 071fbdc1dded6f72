//! The README cannot rot: its shell blocks run here against a demo, in order, in one shell; its YAML stands in `config/`
//! or is taken by `clearway check`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_clearway");

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The fenced blocks of one language, in order.
fn blocks(language: &str) -> Vec<String> {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in readme.lines() {
        match &mut open {
            Some(block) if line == "```" => {
                blocks.push(std::mem::take(block));
                open = None;
            }
            Some(block) => {
                block.push_str(line);
                block.push('\n');
            }
            None if line == format!("```{language}") => open = Some(String::new()),
            None => {}
        }
    }
    blocks
}

/// A running demo; ended by its process id.
struct Demo {
    child: Child,
    facts: serde_json::Value,
}

impl Demo {
    /// With the clients of the README's own file.
    fn start(state: &Path) -> Self {
        let mut child = Command::new(BINARY)
            .args(["demo", "--free-ports", "--json", "--state"])
            .arg(state)
            .arg("--clients")
            .arg(state.join("my-clients.json"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let facts = serde_json::from_str(&line).expect("the demo says what is ready as one line of JSON");
        Self { child, facts }
    }

    fn fact(&self, name: &str) -> &str {
        self.facts[name].as_str().unwrap()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the README says, with another folder in place of the fixed ones.
fn moved(text: &str, state: &Path) -> String {
    text.replace("var/demo", &state.display().to_string())
        .replace("var/plain", &state.join("plain").display().to_string())
        .replace("N=10000", "N=20") // What is shown for ten thousand is shown here for twenty.
        .replace("clearway ", &format!("{BINARY} "))
}

/// The same, with the demo's free ports.
fn adapted(text: &str, demo: &Demo, state: &Path) -> String {
    moved(text, state)
        .replace("https://localhost:8443", demo.fact("public_url"))
        .replace("https://localhost:8444", demo.fact("mtls_url"))
        .replace("http://127.0.0.1:9080", demo.fact("operations_url"))
}

/// Runs a script; what it printed.
fn run(script: &str) -> String {
    let output = Command::new("bash").arg("-c").arg(script).current_dir(root()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "a command of the README fails:\n{out}\n{err}");
    out.into_owned()
}

const END: &str = "=== end of block";

#[test]
fn the_shell_blocks_do_what_they_say() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("demo");
    // The commands with ./dev are what runs this test, and the demo that it talks to.
    let blocks: Vec<String> = blocks("sh").into_iter().filter(|block| !block.contains("./dev ")).collect();
    let (before, blocks): (Vec<_>, Vec<_>) = blocks.into_iter().partition(|block| block.contains("my-clients.json <<"));
    assert_eq!(before.len(), 1, "the README has a client of one's own");
    run(&format!("set -eu\n{}", moved(&before[0], &state)));
    let demo = Demo::start(&state);
    let mut script = String::from("set -eu\n");
    for block in &blocks {
        // `serve` runs until it is told to stop: here it is told after it had time to say that it is ready.
        let block = block.replace("clearway serve", "timeout --preserve-status -s TERM 20 clearway serve");
        script.push_str(&adapted(&block, &demo, &state));
        script.push_str(&format!("echo '{END}'\n"));
    }
    let out = run(&adapted_configuration(&script, &demo, &state));
    let printed: Vec<&str> = out.split(END).collect();
    for (mark, expected) in EXPECTED {
        let marked: Vec<usize> = (0..blocks.len()).filter(|at| blocks[*at].contains(mark)).collect();
        assert_eq!(marked.len(), 1, "{mark} tells the block");
        let (mut rest, whole) = (printed[marked[0]], printed[marked[0]]);
        for text in *expected {
            let found = rest.find(text).unwrap_or_else(|| panic!("no {text} in its place after {mark}: {whole}"));
            rest = &rest[found + text.len()..];
        }
    }
    let status = status_of_a_grown_token(&state.join("plain"));
    assert!(status.contains(" 503 "), "a token of the README is not taken: {status}");
}

/// By a text of the block that no other has: what it prints, in this order.
const EXPECTED: &[(&str, &[&str])] = &[
    ("TOKEN=$(curl -s --cacert", &["\"openapi\":\"3.1", " 200", "ratelimit-policy", "\"tenant\":\"brightbooks\""]),
    ("curl -si --cacert $PKI/server-ca.pem -H", &[" 401", "token-binding"]),
    ("/readyz", &["ready", "\"revision\""]),
    ("clearway check --config config/\n", &["is sound"]),
    ("clearway catalogue lint", &["found", "\"openapi\""]),
    (
        "clearway_profiles_supported",
        &["\"fapi2-security\"", "/oauth/authorize?client_id=suite-mtls-1&request_uri=urn:"],
    ),
    ("grant_type=authorization_code", &["\"refresh_token\":\"", " 200", " 200", " 401"]),
    ("grant-type:ciba", &["authorization_pending", "approved", "\"access_token\":\""]),
    ("REGISTERED=", &["\"client_id\":\"dcr-", "\"access_token\":\"", "204"]),
    ("clearway users hash", &["$argon2id$v=19$"]),
    ("clearway keys rotate", &["current", "retired"]),
    ("config/examples/plain-gateway", &["20 operations", "\n20\n"]),
    ("grep -o '\"client_id\"", &["\"ca_file\": \"/", "\"client_id\": \"suite-dpop-1\"", "\"client_id\": \"my-app\""]),
    ("prove()", &[" 200", " 401"]),
];

/// Whether the plain gateway, on what the README's commands made, takes their last token: it gets as far as an upstream,
/// of which there is none.
fn status_of_a_grown_token(plain: &Path) -> String {
    let file = |name: &str| plain.join(name).display().to_string();
    let mut child = Command::new(BINARY)
        .args(["serve", "--json", "--config", "config/examples/plain-gateway"])
        .current_dir(root())
        .envs([("CLEARWAY_DOCUMENT", file("things.yaml")), ("CLEARWAY_JWKS", file("jwks.json"))])
        .envs([("CLEARWAY_STATE", file("serving")), ("CLEARWAY_UPSTREAM", "http://127.0.0.1:1".to_owned())])
        .envs([("CLEARWAY_PUBLIC_ADDRESS", "127.0.0.1:0"), ("CLEARWAY_OPERATIONS_ADDRESS", "127.0.0.1:0")])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let facts: serde_json::Value = serde_json::from_str(&line).unwrap();
    let demo = Demo { child, facts }; // Ended in the same way.
    let mut stream = TcpStream::connect(demo.facts["listeners"]["public"].as_str().unwrap()).unwrap();
    let tokens = fs::read_to_string(file("tokens.txt")).unwrap();
    let token = tokens.lines().last().unwrap();
    let head = "GET /things/shelf-20/x HTTP/1.1\r\nHost: localhost\r\nConnection: close";
    write!(stream, "{head}\r\nAuthorization: Bearer {token}\r\n\r\n").unwrap();
    let mut status = String::new();
    BufReader::new(stream).read_line(&mut status).unwrap();
    status
}

/// `config/` belongs to a demo on the fixed ports; the commands on it run with this demo's values, and a store of their
/// own, since the demo's is in use.
fn adapted_configuration(script: &str, demo: &Demo, state: &Path) -> String {
    let own = state.join("own");
    let free = "127.0.0.1:0";
    let variables = [
        ("CLEARWAY_PUBLIC_URL", demo.fact("public_url")),
        ("CLEARWAY_MTLS_URL", demo.fact("mtls_url")),
        ("CLEARWAY_PUBLIC_ADDRESS", free),
        ("CLEARWAY_MTLS_ADDRESS", free),
        ("CLEARWAY_OPERATIONS_ADDRESS", free),
        ("CLEARWAY_PKI", &state.join("pki").display().to_string()),
        ("CLEARWAY_STATE", &own.display().to_string()),
    ]
    .map(|(name, value)| format!("export {name}='{value}'\n"))
    .concat();
    format!("mkdir -p '{}'\n{variables}{script}", own.display())
}

#[test]
fn the_yaml_is_real() {
    let shipped: String = fs::read_dir(root().join("config"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let without_comments = |text: &str| {
        text.lines().map(|line| line.split(" #").next().unwrap().trim_end().to_owned()).collect::<Vec<_>>()
    };
    let known = without_comments(&shipped);
    let yaml = blocks("yaml");
    assert_eq!(yaml.len(), 6);
    for block in &yaml[..2] {
        for line in without_comments(block) {
            assert!(known.contains(&line), "config/ has no such line: {line}");
        }
    }
    checked(&[("issuers.yaml", &yaml[2])]);
    checked(&[("clients.yaml", &yaml[3]), ("registrations.yaml", &yaml[4]), ("users.yaml", &yaml[5])]);
}

/// Files of the README, in a configuration that has what they name.
fn checked(shown: &[(&str, &str)]) {
    let folder = tempfile::tempdir().unwrap();
    let files = [
        (
            "gateway.yaml",
            "version: 1\npublic_url: https://api.example\nlisteners: [{ name: plain, address: '127.0.0.1:0' }]\nstore_file: s.db\naudit_file: a.jsonl\n",
        ),
        ("idp.jwks.json", JWKS),
        ("acme-app.jwks.json", JWKS),
        ("partners.token", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n"),
        ("carol.hash", HASH),
        ("tenants.yaml", "version: 1\ntenants: [{ id: acme, jurisdiction: GB, licences: [account-information] }]\n"),
        ("plans.yaml", "version: 1\nplans: [{ id: standard, limits: [] }]\n"),
        (
            "institutions.yaml",
            "version: 1\ninstitutions: [{ id: up, data_jurisdictions: [GB], backends: [{ environment: sandbox, urls: ['http://127.0.0.1:1'] }] }]\n",
        ),
        ("apis.yaml", "version: 1\napis: [{ id: small, institution: up, document: small.json }]\n"),
        (
            "small.json",
            r#"{"openapi":"3.1.0","info":{"title":"Small","version":"1"},"paths":{"/things":{"get":{"operationId":"list","responses":{"200":{"description":"ok"}}}}}}"#,
        ),
        ("products.yaml", "version: 1\nproducts: [{ id: banking, risk: low, operations: ['small.*'] }]\n"),
    ];
    for (name, text) in files.iter().chain(shown) {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let output = Command::new(BINARY).args(["check", "--config"]).arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// RFC 7515 §A.3.
const JWKS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"1","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
const HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AmkWTpm/qTN94oLDt9OHSQ$VQzlAF6jAy63rr/gDi6/4xKo1FxXPhuoKoe7UJUGf7A\n";

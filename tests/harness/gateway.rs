//! The real binary as a child process.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;

use super::within;

const BINARY: &str = env!("CARGO_BIN_EXE_clearway");

/// What the gateway says after each SIGHUP, and when it refuses.
const FOLLOWED: &str = "SIGHUP was followed";
const REFUSED: &str = "the new configuration is not taken";

/// Runs a command of the binary to its end.
pub fn run(arguments: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).env_remove("CLEARWAY_LOG").stdin(Stdio::null()).output().unwrap()
}

/// `clearway check --json`: exit code and what it printed.
pub fn check(config: &Path) -> (i32, Value) {
    let output = run(&["check", "--json", "--config", config.to_str().unwrap()]);
    let printed = serde_json::from_slice(&output.stdout);
    let printed = printed.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap(), printed)
}

/// `serve` with the socket as descriptor 3. The shell becomes the gateway, so its process id is the right one.
pub fn supervised(config: &Path, socket: &TcpListener) -> Command {
    let mut command = Command::new("sh");
    let script = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" serve --json --config \"$1\"";
    command.args(["-c", script, BINARY, config.to_str().unwrap()]);
    command.stdin(Stdio::from(OwnedFd::from(socket.try_clone().unwrap())));
    command
}

/// Lines that a stream of the child has written so far.
type Lines = watch::Receiver<Arc<Vec<String>>>;

/// `clearway serve` under way. Killed when dropped.
pub struct Gateway {
    child: Child,
    pub listeners: HashMap<String, SocketAddr>,
    stdout: Lines,
    stderr: Lines,
}

/// How the process is put into the world.
#[derive(Debug, Clone, Default)]
pub struct Launch {
    /// Commands of the shell that becomes the gateway, such as `ulimit -n 64`.
    pub prelude: String,
    pub environment: Vec<(String, String)>,
}

impl Launch {
    fn serve(&self, config: &Path) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("{}\nexec \"$0\" \"$@\"", self.prelude), BINARY])
            .args(["serve", "--json", "--config", config.to_str().unwrap()])
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }
}

impl Gateway {
    /// Starts it and waits until it says that it is ready.
    pub async fn start(config: &Path) -> Self {
        Self::launch(config, &Launch::default()).await
    }

    /// As [`Self::start`], in a world that is not as it should be.
    pub async fn launch(config: &Path, launch: &Launch) -> Self {
        Self::spawn(launch.serve(config)).await
    }

    /// Starts it with a socket that listens already, as a supervisor does: descriptor 3, `LISTEN_FDS`, `LISTEN_PID`.
    pub async fn start_with(config: &Path, socket: &TcpListener) -> Self {
        Self::spawn(supervised(config, socket)).await
    }

    async fn spawn(mut command: Command) -> Self {
        command.env_remove("CLEARWAY_LOG").env("NO_COLOR", "1").stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = lines(child.stdout.take().unwrap());
        let stderr = lines(child.stderr.take().unwrap());
        let mut gateway = Self { child, listeners: HashMap::new(), stdout, stderr };
        let mut stdout = gateway.stdout.clone();
        let first =
            within("the readiness line", stdout.wait_for(|lines| !lines.is_empty())).await.map(|l| l[0].clone());
        let Ok(first) = first else {
            let status = gateway.child.wait().unwrap();
            panic!("the gateway did not start ({status}):\n{}", gateway.stderr.borrow().join("\n"));
        };
        let said: Value = serde_json::from_str(&first).unwrap_or_else(|_| panic!("not ready: {first}"));
        assert_eq!(said["ready"], true, "{first}\n{}", gateway.stderr.borrow().join("\n"));
        for (name, address) in said["listeners"].as_object().unwrap() {
            gateway.listeners.insert(name.clone(), address.as_str().unwrap().parse().unwrap());
        }
        gateway
    }

    /// The address of a listener.
    pub fn address(&self, listener: &str) -> SocketAddr {
        self.listeners[listener]
    }

    /// A URL on a listener without TLS.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address("public"))
    }

    /// A URL on a TLS listener.
    pub fn https(&self, listener: &str, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address(listener).port())
    }

    /// A URL on the operations listener.
    pub fn operations(&self, path: &str) -> String {
        format!("http://{}{path}", self.address("operations"))
    }

    pub async fn status(&self) -> Value {
        reqwest::get(self.operations("/status")).await.unwrap().json().await.unwrap()
    }

    /// The sum of all series of a metric; those that carry `label`, if it is not empty.
    pub async fn metric(&self, name: &str, label: &str) -> f64 {
        let page = reqwest::get(self.operations("/metrics")).await.unwrap().text().await.unwrap();
        let is_series = |rest: &str| rest.starts_with(['{', ' ']);
        let lines = page.lines().filter(|line| line.strip_prefix(name).is_some_and(is_series) && line.contains(label));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// Resident memory of the process, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    pub async fn revision(&self) -> String {
        self.status().await["revision"].as_str().unwrap().to_owned()
    }

    /// How many lines on standard error contain this.
    pub fn said(&self, text: &str) -> usize {
        self.stderr.borrow().iter().filter(|line| line.contains(text)).count()
    }

    /// Waits until `count` lines on standard error contain this.
    pub async fn says(&self, text: &'static str, count: usize) {
        let mut stderr = self.stderr.clone();
        let said = |lines: &Arc<Vec<String>>| lines.iter().filter(|line| line.contains(text)).count() >= count;
        let outcome = within(text, stderr.wait_for(said)).await.is_ok();
        assert!(outcome, "the gateway ended without saying {text:?}");
    }

    pub fn log(&self) -> String {
        self.stderr.borrow().join("\n")
    }

    pub fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success(), "{command}");
    }

    /// SIGHUP, and waits until what is on disk is in force.
    pub async fn reload(&self) {
        let refused = self.said(REFUSED);
        self.hang_up().await;
        assert_eq!(self.said(REFUSED), refused, "{}", self.log());
    }

    /// SIGHUP, and waits until a broken configuration is refused.
    pub async fn reload_refused(&self) {
        let refused = self.said(REFUSED);
        self.hang_up().await;
        assert!(self.said(REFUSED) > refused, "{}", self.log());
    }

    async fn hang_up(&self) {
        let before = self.said(FOLLOWED);
        self.signal("HUP");
        self.says(FOLLOWED, before + 1).await;
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM, and waits for its end.
    pub async fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        self.ended().await
    }

    /// Waits until the process has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut stderr = self.stderr.clone();
        // The pipe closes with the process.
        let closed = async { while stderr.changed().await.is_ok() {} };
        within("the end of the process", closed).await;
        self.child.wait().unwrap()
    }

    /// SIGKILL: no farewell.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- standard error of the gateway:\n{}\n---", self.stderr.borrow().join("\n"));
        }
    }
}

/// Collects lines on a thread of its own; the channel closes with the stream.
fn lines(stream: impl Read + Send + 'static) -> Lines {
    let (sender, receiver) = watch::channel(Arc::new(Vec::new()));
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { return };
            sender.send_modify(|lines| Arc::make_mut(lines).push(line));
        }
    });
    receiver
}

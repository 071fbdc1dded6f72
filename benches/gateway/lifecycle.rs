//! Starting and reloading the processes under test.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::bare;
use super::issuance::Addresses;
use super::process::{Process, pinned_command};
use super::scene::Scene;

/// The whole gateway.
pub struct Gateway {
    pub process: Process,
    pub addresses: Addresses,
    /// From its start until it said that it is ready.
    pub start_time: Duration,
}

impl Gateway {
    pub fn start(scene: &Scene, binary: &Path) -> anyhow::Result<Self> {
        let began = Instant::now();
        Self::started(pinned_command(binary), scene, began)
    }

    /// The same in a process that counts its allocations: this one's program, in another role.
    pub fn counting(scene: &Scene) -> anyhow::Result<Self> {
        let mut command = pinned_command(&std::env::current_exe()?);
        command.env("CLEARWAY_BENCH_ROLE", "counted");
        Self::started(command, scene, Instant::now())
    }

    fn started(mut command: Command, scene: &Scene, began: Instant) -> anyhow::Result<Self> {
        command.args(["serve", "--json", "--config"]).arg(scene.config());
        command.env("CLEARWAY_LOG", "warn").stdout(Stdio::piped());
        let mut process = Process::spawn(&mut command)?;
        let line: Value = serde_json::from_str(&process.line()?)?;
        anyhow::ensure!(line.get("ready").is_some(), "the gateway does not start: {line}");
        let start_time = began.elapsed();
        let address = |name: &str| -> anyhow::Result<SocketAddr> {
            let address = line.pointer(&format!("/listeners/{name}")).and_then(Value::as_str);
            Ok(address.with_context(|| format!("no listener {name}"))?.parse()?)
        };
        let addresses =
            Addresses { public: address("public")?, mtls: address("mtls")?, operations: address("operations")? };
        Ok(Self { process, addresses, start_time })
    }

    /// Changes a plan, and waits until the next revision is in force: how long, and with how many CPU-seconds.
    pub async fn reload(&self, scene: &Scene) -> anyhow::Result<(Duration, f64)> {
        let before = self.revision().await?;
        let (cpu, began) = (self.process.cpu_seconds()?, Instant::now());
        scene.change_plan(1_000_001)?;
        self.process.hang_up()?;
        while began.elapsed() < Duration::from_secs(60) {
            if self.revision().await? != before {
                return Ok((began.elapsed(), self.process.cpu_seconds()? - cpu));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        anyhow::bail!("the change was not taken within a minute")
    }

    async fn revision(&self) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(self.addresses.operations).await?;
        let request =
            format!("GET /status HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.addresses.operations);
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let found = answer.split_once("\"revision\":\"").and_then(|(_, rest)| rest.split_once('"'));
        Ok(found.with_context(|| format!("no revision in {answer}"))?.0.to_owned())
    }
}

/// The bare proxy, on ports that were free a moment ago.
pub struct Bare {
    pub process: Process,
    pub tls: SocketAddr,
    pub mtls: SocketAddr,
}

impl Bare {
    /// `counting`: it counts its allocations.
    pub async fn start(scene: &Scene, backend: SocketAddr, counting: bool) -> anyhow::Result<Self> {
        let free =
            || -> anyhow::Result<SocketAddr> { Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?) };
        let (tls, mtls) = (free()?, free()?);
        let mut command = pinned_command(&std::env::current_exe()?);
        command.env("CLEARWAY_BENCH_ROLE", "bare");
        command.env(bare::BACKEND, backend.to_string());
        command.env(bare::TLS, tls.to_string()).env(bare::MTLS, mtls.to_string());
        command.env(bare::PKI, &scene.pki.folder);
        if counting {
            command.env(bare::COUNTS, "1").stdout(Stdio::piped());
        }
        let process = Process::spawn(&mut command)?;
        let began = Instant::now();
        while TcpStream::connect(mtls).await.is_err() {
            anyhow::ensure!(began.elapsed() < Duration::from_secs(10), "the bare proxy does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Self { process, tls, mtls })
    }
}

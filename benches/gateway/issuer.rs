//! The authorization server in a process by itself, without a connection: what a token costs beyond its signature.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clearway::domain::Connection;
use clearway::front::Inherited;
use clearway::oauth::Request;
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue, header};

use super::issuance::per_cpu_second;
use super::process::{Process, pinned_command};
use super::scene::{SECRET, SECRETIVE};

/// Names the configuration to the child.
const FOLDER: &str = "CLEARWAY_BENCH_FOLDER";

/// Tokens per CPU-second of an authorization server that is asked directly, in a process pinned like the gateway.
pub fn rate(config: &Path) -> anyhow::Result<f64> {
    let own = std::env::current_exe()?;
    let mut command = pinned_command(&own);
    command.env("CLEARWAY_BENCH_ROLE", "issuer").env(FOLDER, config).stdout(std::process::Stdio::piped());
    Ok(Process::spawn(&mut command)?.line()?.trim().parse()?)
}

/// The child's part of [`rate`].
pub fn run() -> anyhow::Result<()> {
    let folder = PathBuf::from(std::env::var_os(FOLDER).context("no folder")?);
    let configuration = clearway::config::load(&folder, &HashMap::new());
    let configuration = Arc::new(configuration.map_err(|mistakes| anyhow::anyhow!("{mistakes:?}"))?);
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let running = clearway::server::start(configuration, folder, HashMap::new(), Inherited::none()).await?;
        let server = running.authorization_server();
        let credentials = BASE64_STANDARD.encode(format!("{SECRETIVE}:{SECRET}"));
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::try_from(format!("Basic {credentials}"))?);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let connection = Connection {
            listener: "public".into(),
            peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000)),
            tls: None,
            certificate: None,
        };
        let body = b"grant_type=client_credentials&scope=accounts";
        let request = Request { headers: &headers, body, connection: &connection };
        // A client with a secret needs no mark: nothing is waited for.
        let made = per_cpu_second(|| matches!(server.token(request).now_or_never(), Some(Ok(_))))?;
        println!("{made}");
        running.stop().await;
        Ok(())
    })
}

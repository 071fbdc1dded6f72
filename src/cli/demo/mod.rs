//! `clearway demo`: gateway, institutions and partners in one process.

mod files;
pub(super) mod institutions;
mod mount;
pub(super) mod ports;
mod setup;
mod suite;
mod walk;

use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};

use super::Ending;
use super::serve::Signals;
use setup::Demo;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Walk the whole job over real sockets, print every step and its verdict, and exit: 0 only if all are right.
    #[arg(long)]
    once: bool,
    /// Also publish this OpenAPI document, in front of a sandbox institution that answers from its examples and schemas.
    /// Repeatable.
    #[arg(long = "api", value_name = "FILE")]
    apis: Vec<PathBuf>,
    /// Also register the clients of this file: an array of RFC 7591 metadata, or an object with the member `clients`.
    #[arg(long, value_name = "FILE")]
    clients: Option<PathBuf>,
    /// Where certificates, configuration and state live.
    #[arg(long, default_value = "var/demo", value_name = "DIR")]
    state: PathBuf,
    /// Take free ports instead of 8443, 8444, 9080 and 9441 to 9444.
    #[arg(long)]
    free_ports: bool,
    /// Print what is ready, or the walk's steps, as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Ending> {
    // The walk brings about what a log would complain of.
    super::start_logging(if arguments.once { "off" } else { "warn" });
    let runtime = super::serve::runtime(0)?;
    runtime.block_on(async {
        let bar = progress(arguments);
        let _alone = setup::lock(&arguments.state)?;
        let demo = setup::start(arguments, &bar).await?;
        bar.finish_and_clear();
        if arguments.once {
            let ending = walk::walk(&demo, arguments.json).await;
            demo.stop().await;
            return ending;
        }
        let signals = Signals::listen()?;
        announce(&demo, arguments.json);
        let (running, institutions) = demo.into_parts();
        let ending = signals.serve_until_told_to_stop(running).await;
        institutions::stop(institutions).await;
        Ok(ending)
    })
}

fn progress(arguments: &Arguments) -> ProgressBar {
    let bar = if arguments.json { ProgressBar::hidden() } else { ProgressBar::new(setup::STEPS) };
    if let Ok(style) = ProgressStyle::with_template("{bar:20} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    bar
}

fn announce(demo: &Demo, json: bool) {
    if json {
        println!("{}", demo.facts());
        return;
    }
    let file = |name: &str| quoted(&demo.pki.folder.join(name).display().to_string());
    let (public, mtls) = (&demo.public_url, &demo.mtls_url);
    let trust = format!("--cacert {}", file("server-ca.pem"));
    let identity =
        format!("--cert {} --key {}", file("client-brightbooks-mtls.pem"), file("client-brightbooks-mtls.key"));
    println!(
        "Clearway is ready.\n\n\
         # 1. The catalogue: what can be called.\n\
         curl {trust} {public}/openapi.json\n\n\
         # 2. A token by mutual TLS.\n\
         TOKEN=$(curl -s {trust} {identity} \
         -d grant_type=client_credentials -d client_id=brightbooks-mtls -d scope=accounts \
         {mtls}/oauth/token | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')\n\n\
         # 3. A governed account read with that token.\n\
         curl -i {trust} {identity} \
         -H \"Authorization: Bearer $TOKEN\" {mtls}/open-banking/v4.0/aisp/accounts\n\n\
         The catalogue for people: {public}/\n\
         Status: http://{operations}/status   Metrics: http://{operations}/metrics\n\
         Stop with Ctrl-C.",
        operations = demo.operations
    );
}

/// One word of a POSIX shell.
pub(super) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        for text in ["/plain/path.pem", "/with space", "it's", "$HOME `x` \"y\" \\ *", "", "ä"] {
            let script = format!("printf %s {}", quoted(text));
            let read = std::process::Command::new("sh").args(["-c", &script]).output().unwrap().stdout;
            assert_eq!(String::from_utf8(read).unwrap(), text);
        }
    }
}

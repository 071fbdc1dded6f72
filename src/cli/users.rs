//! `clearway users`: the users of `users.yaml`.

use std::io::{BufRead, IsTerminal};

use anyhow::Context;
use secrecy::{ExposeSecret, SecretString};

use crate::oauth::{PASSWORD_BYTES_MAX, PasswordHash};

use super::Ending;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Read a password from standard input, one line, and print its hash for `password_hash` in users.yaml.
    Hash,
}

pub(super) fn run(command: &Command) -> anyhow::Result<Ending> {
    match command {
        Command::Hash => hash(),
    }
}

/// Never an argument: those stand in the shell's history and in the list of processes.
fn hash() -> anyhow::Result<Ending> {
    let input = std::io::stdin();
    if input.is_terminal() {
        eprintln!("Type the password and press Enter. It is shown; `stty -echo` before and `stty echo` after hide it.");
    }
    let mut line = String::new();
    let bytes_max = u64::try_from(PASSWORD_BYTES_MAX + 3).unwrap_or(u64::MAX); // One too many is noticed.
    std::io::Read::take(input.lock(), bytes_max).read_line(&mut line).context("standard input cannot be read")?;
    let password = SecretString::from(line.trim_end_matches(['\r', '\n']).to_owned());
    let hash = PasswordHash::of(password.expose_secret())?;
    println!("{}", hash.expose());
    Ok(Ending::Done)
}

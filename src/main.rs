//! The binary: everything it does is in the library's `cli` room.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before any TLS object exists: Pingora would otherwise install another provider.
    let installed = clearway::front::crypto_provider().install_default();
    if installed.is_err() {
        eprintln!("clearway: a cryptographic provider was installed before ours");
        return ExitCode::from(1);
    }
    match clearway::cli::run() {
        Ok(ending) => ending.into(),
        Err(error) => {
            eprintln!("clearway: {error:#}");
            ExitCode::from(1)
        }
    }
}

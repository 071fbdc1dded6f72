//! Independent client libraries against the demo: npm `oauth4webapi` and `openid-client`, Python `authlib`.
//!
//! They are test-time tools: `npm ci` and `pip install` put the versions that `package-lock.json` and `requirements.txt` name
//! below the build folder, once. Where node or Python is missing the test says so and passes; where they are there, whatever
//! goes wrong fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::conformance::party::Demo;

/// What a library said.
fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("*** {program} is not installed: client libraries that need it are NOT tested ***");
    }
    found
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// The build folder's copy of what is installed from; made anew when that changed.
fn room(name: &str, files: &[&str], install: impl Fn(&Path)) -> PathBuf {
    let room = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients").join(name);
    fs::create_dir_all(&room).unwrap();
    let lock = fs::File::create(room.with_extension("lock")).unwrap();
    lock.lock().unwrap(); // Two test processes may start at once.
    let wanted: String = files.iter().map(|file| fs::read_to_string(sources().join(file)).unwrap()).collect();
    let stamp = room.join("installed");
    if fs::read_to_string(&stamp).is_ok_and(|present| present == wanted) {
        return room;
    }
    for file in files {
        fs::copy(sources().join(file), room.join(file)).unwrap();
    }
    install(&room);
    fs::write(stamp, wanted).unwrap();
    room
}

fn must(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}:\n{}", said(&output));
    said(&output)
}

fn demo() -> (tempfile::TempDir, Demo, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("demo");
    let demo = Demo::start(&state, &[]);
    (folder, demo, state.join("clients.json"))
}

#[test]
fn the_libraries_of_npm_complete_every_flow() {
    if !has("node") || !has("npm") {
        return;
    }
    let room = room("npm", &["package.json", "package-lock.json", ".npmrc"], |room| {
        must(Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(room));
    });
    let (_folder, _demo, clients) = demo();
    for program in ["oauth4webapi.mjs", "openid-client.mjs"] {
        // Modules are looked for beside the program.
        for file in ["common.mjs", program] {
            fs::copy(sources().join(file), room.join(file)).unwrap();
        }
        println!("{program}\n{}", must(Command::new("node").arg(room.join(program)).arg(&clients)));
    }
}

#[test]
fn authlib_completes_every_flow() {
    if !has("python3") {
        return;
    }
    let room = room("python", &["requirements.txt"], |room| {
        must(Command::new("python3").args(["-m", "venv"]).arg(room.join("venv")));
        let pip = room.join("venv/bin/pip");
        must(
            Command::new(pip)
                .args(["install", "--quiet", "--disable-pip-version-check", "-r"])
                .arg(room.join("requirements.txt")),
        );
    });
    let (_folder, _demo, clients) = demo();
    let python = room.join("venv/bin/python");
    println!("{}", must(Command::new(python).arg(sources().join("authlib_client.py")).arg(&clients)));
}

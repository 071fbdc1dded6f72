//! Configuration folders: every mistake has a place in a file that was written, and reading twice says the same.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use clearway::config::{KINDS, Variables, load};
use libfuzzer_sys::fuzz_target;

const GATEWAY: &str = "\
version: 1
public_url: https://localhost:8443
listeners: [{ name: public, address: 127.0.0.1:0 }]
store_file: clearway.db
audit_file: audit.jsonl
";

/// In memory, where there is such a place: a target writes several files for each input.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let parent = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let folder = parent.join(format!("clearway-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
});

// Files, each with a zero byte behind it: the first byte says which one it is, the rest is its text.
fuzz_target!(|input: &[u8]| {
    let names: Vec<String> = KINDS.iter().chain(&["gateway"]).map(|kind| format!("{kind}.yaml")).collect();
    for name in &names {
        let _ = std::fs::remove_file(FOLDER.join(name));
    }
    std::fs::write(FOLDER.join("gateway.yaml"), GATEWAY).unwrap();
    for file in input.split(|b| *b == 0) {
        let Some((kind, text)) = file.split_first() else { continue };
        let name = &names[usize::from(kind.wrapping_sub(b'0')) % names.len()];
        std::fs::write(FOLDER.join(name), text).unwrap();
    }
    let variables = Variables::from([("NAME".to_owned(), "value".to_owned())]);
    let first = load(&FOLDER, &variables);
    let second = load(&FOLDER, &variables);
    match (first, second) {
        (Err(mistakes), Err(same)) => {
            assert_eq!(mistakes, same, "reading twice says two things");
            assert!(!mistakes.is_empty(), "a refusal without a reason");
            for mistake in mistakes {
                let text = std::fs::read(&mistake.place.file).unwrap_or_default();
                let lines = text.split(|b| matches!(b, b'\n' | b'\r')).count() as u64;
                assert!(mistake.place.file.starts_with(&*FOLDER), "{mistake}");
                assert!(mistake.place.line <= lines + 1, "{mistake} of {lines} lines");
                assert!(!mistake.message.is_empty());
            }
        }
        (Ok(first), Ok(second)) => {
            assert_eq!(format!("{first:?}"), format!("{second:?}"));
            let declared = |id: &str| first.tenants.iter().any(|tenant| tenant.id.as_str() == id);
            assert!(
                first.clients.iter().all(|client| declared(client.value.client.tenant.id.as_str())),
                "a client of no tenant"
            );
        }
        (first, second) => panic!("{:?} and then {:?}", first.map(drop), second.map(drop)),
    }
});

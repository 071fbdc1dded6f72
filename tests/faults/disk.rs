//! A disk that is full, and a state folder that cannot be written to.
//!
//! The disk is filled in two ways: by a limit on the size of files, which needs no rights (`prlimit`, with its signal
//! ignored: the error is EFBIG), and, where mounting is allowed, by filling a small file system of its own (ENOSPC).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::rig::{Caller, End, Kind};
use crate::harness::certificates::{client_identity, http};
use crate::harness::gateway::Launch;
use crate::harness::secure::{bearer, client_key, form, token_by_assertion, token_of};
use crate::harness::token::assertion;
use crate::harness::{Backend, Gateway, Site, json as read_json, run, within};

/// `REQUESTS_AILING_MAX` of the audit queue.
const WAITING_MAX: usize = 4_096;

/// Where the gateway's state lies, and how it runs out of room.
enum Disk {
    Limit,
    Mount(Mount),
}

/// A file system of its own. Goes with its value.
struct Mount(PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

impl Disk {
    /// A small file system over the folder, if this process may mount one.
    fn mount(folder: &Path) -> Option<Self> {
        let folder = folder.to_str()?;
        let mounted = succeeds("mount", &["-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", folder]);
        mounted.then(|| Self::Mount(Mount(folder.into())))
    }

    fn launch(&self) -> Launch {
        match self {
            Self::Limit => Launch { prelude: "trap '' XFSZ".to_owned(), ..Launch::default() },
            Self::Mount(_) => Launch::default(),
        }
    }

    fn fill(&self, gateway: &Gateway) {
        match self {
            Self::Limit => limit_files(gateway, "0"),
            Self::Mount(mount) => {
                let ballast = format!("dd if=/dev/zero of={}/ballast bs=4k 2>/dev/null", mount.0.display());
                assert!(!succeeds("sh", &["-c", &ballast]), "the file system has an end");
            }
        }
    }

    fn make_room(&self, gateway: &Gateway) {
        match self {
            Self::Limit => limit_files(gateway, "unlimited"),
            Self::Mount(mount) => std::fs::remove_file(mount.0.join("ballast")).unwrap(),
        }
    }
}

/// How large a file of the running process may become: the soft limit alone, which can be raised again.
fn limit_files(gateway: &Gateway, bytes: &str) {
    let pid = gateway.pid().to_string();
    assert!(succeeds("prlimit", &["--pid", &pid, &format!("--fsize={bytes}:")]), "prlimit (util-linux) is needed");
}

fn state_site(backend: &Backend) -> Site {
    let site = Site::secure(backend);
    site.edit(
        "config/gateway.yaml",
        "operations_address",
        "  - { name: plain, address: '127.0.0.1:0' }\noperations_address",
    );
    site.edit("config/gateway.yaml", "access_log: ../state/access.jsonl", "access_log: off");
    site.append(
        "config/plans.yaml",
        "      - { name: daily, per: client, window: { requests: 100000, period: day } }\n",
    );
    site
}

/// Revokes a token of `acme-tls`, who proves itself by its certificate: that needs no state.
async fn revoke(gateway: &Gateway, token: &str) -> (u16, Value) {
    let fields = [("client_id", "acme-tls"), ("token", token)];
    let client = http(Some(client_identity("acme-tls")));
    let response = form(gateway, "mtls", &client, "/oauth/revoke", &fields).await;
    let status = response.status().as_u16();
    (status, response.json().await.unwrap_or_default())
}

/// A call with a token of `acme-tls`.
async fn bound(gateway: &Gateway, token: &str) -> u16 {
    let request = http(Some(client_identity("acme-tls"))).get(gateway.https("mtls", "/vault/balances"));
    request.bearer_auth(token).send().await.unwrap().status().as_u16()
}

async fn issue(gateway: &Gateway) -> (u16, Value) {
    token_by_assertion(gateway, &assertion(client_key(), "acme-jwt", json!({}))).await
}

async fn audit(gateway: &Gateway) -> Value {
    gateway.status().await["audit"].clone()
}

async fn until_healthy(gateway: &Gateway, healthy: bool) {
    within("the audit file's state to be known", async { while audit(gateway).await["healthy"] != healthy {} }).await;
}

async fn used(gateway: &Gateway, token: &str) -> u64 {
    let request = reqwest::Client::new().get(format!("http://{}/usage", gateway.address("plain"))).bearer_auth(token);
    let (_, said) = read_json(request.send().await.unwrap()).await;
    let limits = said["subscriptions"][0]["limits"].as_array().unwrap();
    limits.iter().find(|limit| limit["name"] == "daily").unwrap()["used"].as_u64().unwrap()
}

/// Calls until the audit file is found failing, and then until calls are refused for it. How many were served, and refused.
async fn until_refused(gateway: &Gateway, caller: &mut Caller, token: &str) -> (usize, usize) {
    let (mut served, mut refused) = (0, 0);
    let noticed = async {
        while audit(gateway).await["healthy"] != false {
            assert_eq!(caller.call("shop", Kind::Read).await.status(), 200);
            served += 1;
        }
    };
    within("the audit file to be found failing", noticed).await;
    let callers = (0..4).map(|_| {
        let mut caller = Caller::with_token(gateway.address("plain"), token);
        async move {
            let (mut served, mut refused) = (0, 0);
            while refused < 5 {
                match caller.call("shop", Kind::Read).await.end {
                    End::Answered { status: 200, .. } => served += 1,
                    End::Answered { status: 503, code } if code == "overloaded" => refused += 1,
                    end => panic!("{end:?}"),
                }
            }
            (served, refused)
        }
    });
    for (s, r) in futures_util::future::join_all(callers).await {
        (served, refused) = (served + s, refused + r);
    }
    (served, refused)
}

/// Fills the disk under a running gateway and makes room again.
async fn full(name: &str, disk: Disk, backend: &Backend, site: &Site) {
    let gateway = Gateway::launch(&site.config(), &disk.launch()).await;
    let (token, victim) = (bearer(&gateway).await, token_of(&gateway, "acme-tls").await);
    assert_eq!(bound(&gateway, &victim).await, 200);
    let mut caller = Caller::with_token(gateway.address("plain"), &token);
    assert_eq!(caller.call("shop", Kind::Read).await.status(), 200);
    within("the first records on the disk", async { while audit(&gateway).await["waiting"] != 0 {} }).await;

    disk.fill(&gateway);
    // What must be durable is refused, in time, and as our fault.
    let began = Instant::now();
    let unavailable = json!("temporarily_unavailable");
    let (status, said) = issue(&gateway).await;
    assert_eq!((status, &said["error"]), (503, &unavailable), "{name}: no token without its mark: {said}");
    let (status, said) = revoke(&gateway, &victim).await;
    assert_eq!((status, &said["error"]), (503, &unavailable), "{name}: no false 200: {said}");
    assert!(began.elapsed() < Duration::from_secs(12), "{name}: {:?}", began.elapsed());

    // What needs no state goes on while its evidence can wait, and not longer.
    let (served, refused) = until_refused(&gateway, &mut caller, &token).await;
    // A few may find room at the end of a block, or be under way when the first failure is noticed.
    assert!(served <= WAITING_MAX + 64 && served > WAITING_MAX / 2, "{name}: {served} served without evidence");
    assert_eq!(reqwest::get(gateway.operations("/livez")).await.unwrap().status(), 200, "{name}: it lives");
    let ailing = audit(&gateway).await;
    assert_eq!(ailing["requests_refused"], refused, "{name}: {ailing}");
    assert!(gateway.said("audit records cannot be written") == 1, "{name}: said once:\n{}", gateway.log());

    disk.make_room(&gateway);
    until_healthy(&gateway, true).await;
    within("what waited on the disk", async { while audit(&gateway).await["waiting"] != 0 {} }).await;
    assert_eq!(caller.call("shop", Kind::Read).await.status(), 200, "{name}");
    let issued = async { while issue(&gateway).await.0 != 200 {} };
    within("tokens again", issued).await;
    assert_eq!(bound(&gateway, &victim).await, 401, "{name}: in force at once, and still");
    assert_eq!(revoke(&gateway, &victim).await.0, 200, "{name}: and asked again, durable");
    let counted = used(&gateway, &token).await;
    assert_eq!(gateway.stop().await.code(), Some(0), "{name}");

    let lines = site.json_lines("state/audit.jsonl"); // Every line is whole.
    let reads = lines.iter().filter(|line| line["operation"] == "shop.listItems" && line["status"] == 200).count();
    let refusals: u64 = lines
        .iter()
        .filter(|line| line["kind"] == "requests-refused-unrecorded")
        .map(|line| line["count"].as_u64().unwrap())
        .sum();
    assert_eq!(
        (reads, refusals as usize),
        (served + 2, refused),
        "{name}: every read is on record, every refusal counted"
    );
    assert_eq!(backend.count("GET", "/v1/items"), served + 2, "{name}");

    // Another life: revocation and counters were kept.
    let gateway = site.start().await;
    assert_eq!(used(&gateway, &token).await, counted, "{name}: no use was forgotten");
    assert_eq!(bound(&gateway, &victim).await, 401, "{name}");
    println!(
        "{name}: {served} served while evidence waited, then {refused} refused; {reads} reads on record, {refusals} refusals counted, window at {counted}"
    );
}

#[tokio::test]
async fn a_file_that_may_not_grow() {
    let backend = Backend::agreeable().await;
    let site = state_site(&backend);
    if !succeeds("prlimit", &["--version"]) {
        println!("size limit: skipped, there is no prlimit (util-linux) here");
        return;
    }
    full("size limit", Disk::Limit, &backend, &site).await;
}

#[tokio::test]
async fn a_disk_without_room() {
    let backend = Backend::agreeable().await;
    let site = state_site(&backend);
    match Disk::mount(&site.path("state")) {
        Some(disk) => full("small file system", disk, &backend, &site).await,
        None => println!("small file system: skipped, this process may not mount one"),
    }
}

/// Becoming read-only under a running gateway cannot be rehearsed (the kernel refuses it while files are open for
/// writing); for the gateway it is what a full disk is.
#[tokio::test]
async fn a_state_folder_that_cannot_be_written_to_starts_nothing() {
    let backend = Backend::agreeable().await;
    for make in [file_for_folder, read_only] {
        let site = state_site(&backend);
        // A state from before, so that it is not for want of one.
        assert_eq!(site.start().await.stop().await.code(), Some(0));
        let Some((name, _kept)) = make(&site) else {
            println!("read-only folder: skipped, this process can write everywhere and may not mount");
            continue;
        };
        let output = run(&["serve", "--json", "--config", site.config().to_str().unwrap()]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {output:?}");
        assert!(said.contains("state"), "{name}: it names the place: {said}");
        assert!(output.stdout.is_empty(), "{name}: never ready");
        println!("{name}: refused to start: {}", said.lines().last().unwrap_or_default());
    }
}

type Kept = (&'static str, Option<Mount>);

/// Works everywhere.
fn file_for_folder(site: &Site) -> Option<Kept> {
    std::fs::rename(site.path("state"), site.path("elsewhere")).unwrap();
    std::fs::write(site.path("state"), "").unwrap();
    Some(("a file where the folder should be", None))
}

/// By its mode, which does not bind root; else by a mount.
fn read_only(site: &Site) -> Option<Kept> {
    use std::os::unix::fs::PermissionsExt;
    let state = site.path("state");
    let folder = state.to_str().unwrap();
    let mode = |mode| std::fs::set_permissions(&state, std::fs::Permissions::from_mode(mode)).unwrap();
    for file in std::fs::read_dir(&state).unwrap() {
        std::fs::set_permissions(file.unwrap().path(), std::fs::Permissions::from_mode(0o400)).unwrap();
    }
    mode(0o500);
    if std::fs::write(state.join("probe"), "").is_err() {
        return Some(("read-only by its mode", None));
    }
    mode(0o700);
    let mounted = succeeds("mount", &["--bind", folder, folder]);
    let kept = mounted.then(|| Mount(state.clone()))?;
    succeeds("mount", &["-o", "remount,bind,ro", folder]).then_some(("read-only by its mount", Some(kept)))
}

//! Records, their lines, and the file under pressure.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::line::{Line, Notice, append};
use super::queue::CONNECTIONS_PER_SECOND_MAX;
use super::writer::Sink;
use super::*;
use crate::domain::{
    ApiId, ClientId, Clock, Environment, InstitutionId, InteractionId, OperationId, PlanId, ProductId, TenantId,
    Thumbprint, Timestamp,
};

/// 2026-07-01T10:00:00.000250Z.
const START: Timestamp = Timestamp::from_micros(1_782_900_000_000_250);
const PATIENCE: Duration = Duration::from_secs(10);

struct Hands(AtomicI64);

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }
}

fn hands() -> Arc<Hands> {
    Arc::new(Hands(AtomicI64::new(START.micros())))
}

fn peer() -> IpAddr {
    "192.0.2.7".parse().unwrap()
}

fn blank() -> RequestRecord<'static> {
    RequestRecord::new(START, InteractionId::from_random([7; 16]), "public", peer())
}

/// For as long as the tests run.
fn kept<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn full() -> RequestRecord<'static> {
    RequestRecord {
        trace_id: Some([0xab; 16]),
        protocol: "HTTP/2",
        method: "GET",
        operation: Some(kept(OperationId::parse("accounts.GetBalances").unwrap())),
        api: Some(kept(ApiId::parse("accounts").unwrap())),
        institution: Some(kept(InstitutionId::parse("northbank").unwrap())),
        tenant: Some(kept(TenantId::parse("acme").unwrap())),
        client: Some(kept(ClientId::parse("acme-app").unwrap())),
        token: Some(TokenDigest::of_jti("3f0c")),
        certificate: Some(Thumbprint([1; 32])),
        product: Some(kept(ProductId::parse("account-data").unwrap())),
        plan: Some(kept(PlanId::parse("gold").unwrap())),
        environment: Some(Environment::Sandbox),
        policies: kept(["active-partners".to_owned(), "jurisdiction".to_owned()]),
        policy_set: Some("9c56"),
        revision: Some("12"),
        outcome: Outcome::Answered,
        status: Some(200),
        upstream: Some(Upstream { backend: "northbank-1", status: Some(200), attempts: 2 }),
        latency: Latency { total: 5_120, admission: Some(85), upstream: Some(4_900) },
        quantities: Quantities { bytes_in: 0, bytes_out: 512 },
        ..blank()
    }
}

fn line(value: &impl Line) -> String {
    let mut buffer = Vec::new();
    append(&mut buffer, value);
    String::from_utf8(buffer).unwrap()
}

/// Auditors' tools read these lines: whoever changes one breaks them.
#[test]
fn lines_are_as_they_were() {
    let refused = RequestRecord {
        outcome: Outcome::Refused { code: "quota-exceeded" },
        status: Some(429),
        quotas_refused: kept(["burst".into(), "daily".into()]),
        contract_violations: 2,
        ..blank()
    };
    let connection = ConnectionRecord {
        at: START,
        listener: "mtls".into(),
        peer: "[2001:db8::1]:40000".parse().unwrap(),
        reason: "tls-alert",
        certificate: Some(Thumbprint([1; 32])),
    };
    let thumbprint = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";
    let id = "07070707-0707-4707-8707-070707070707";
    for (name, found, expected) in [
        (
            "full",
            line(&full()),
            format!(
                r#"{{"kind":"request","at":"2026-07-01T10:00:00.000250Z","interaction_id":"{id}","trace_id":"abababababababababababababababab","listener":"public","peer":"192.0.2.7","protocol":"HTTP/2","method":"GET","operation":"accounts.GetBalances","api":"accounts","institution":"northbank","tenant":"acme","client":"acme-app","token":"{}","certificate":"{thumbprint}","product":"account-data","plan":"gold","environment":"sandbox","policies":["active-partners","jurisdiction"],"policy_set":"9c56","revision":"12","outcome":"answered","status":200,"upstream":{{"backend":"northbank-1","status":200,"attempts":2}},"total_us":5120,"admission_us":85,"upstream_us":4900,"bytes_in":0,"bytes_out":512}}"#,
                TokenDigest::of_jti("3f0c")
            ),
        ),
        (
            "visit",
            line(&RequestRecord {
                visit: Some("approved"),
                subject: Some(SubjectDigest::of_mac(&[2; 32])),
                outcome: Outcome::Answered,
                ..blank()
            }),
            format!(
                r#"{{"kind":"request","at":"2026-07-01T10:00:00.000250Z","interaction_id":"{id}","listener":"public","peer":"192.0.2.7","protocol":"HTTP/1.1","method":"_OTHER","visit":"approved","subject":"AgICAgICAgICAgICAgICAg","outcome":"answered","total_us":0,"bytes_in":0,"bytes_out":0}}"#
            ),
        ),
        (
            "refused",
            line(&refused),
            format!(
                r#"{{"kind":"request","at":"2026-07-01T10:00:00.000250Z","interaction_id":"{id}","listener":"public","peer":"192.0.2.7","protocol":"HTTP/1.1","method":"_OTHER","quotas_refused":["burst","daily"],"contract_violations":2,"outcome":"refused","code":"quota-exceeded","status":429,"total_us":0,"bytes_in":0,"bytes_out":0}}"#
            ),
        ),
        (
            "aborted",
            line(&RequestRecord { outcome: Outcome::Aborted { phase: Phase::Upstream }, ..blank() }),
            format!(
                r#"{{"kind":"request","at":"2026-07-01T10:00:00.000250Z","interaction_id":"{id}","listener":"public","peer":"192.0.2.7","protocol":"HTTP/1.1","method":"_OTHER","outcome":"aborted","phase":"upstream","total_us":0,"bytes_in":0,"bytes_out":0}}"#
            ),
        ),
        (
            "connection",
            line(&connection),
            format!(
                r#"{{"kind":"connection","at":"2026-07-01T10:00:00.000250Z","listener":"mtls","peer":"[2001:db8::1]:40000","reason":"tls-alert","certificate":"{thumbprint}"}}"#
            ),
        ),
        (
            "notice",
            line(&Notice::RequestsRefused { at: Timestamp::from_secs(1_782_900_000), count: 3 }),
            r#"{"kind":"requests-refused-unrecorded","at":"2026-07-01T10:00:00.000000Z","count":3}"#.to_owned(),
        ),
        (
            "another file",
            line(&Notice::FileChanged { at: START }),
            r#"{"kind":"file-changed","at":"2026-07-01T10:00:00.000250Z"}"#.to_owned(),
        ),
        (
            "again",
            line(&Notice::MayRepeat { at: START }),
            r#"{"kind":"records-may-repeat","at":"2026-07-01T10:00:00.000250Z"}"#.to_owned(),
        ),
    ] {
        assert_eq!(found, format!("{expected}\n"), "{name}");
    }
}

#[test]
fn a_token_is_named_by_a_digest() {
    // SHA-256("abc") begins ba7816bf 8f01cfea 414140de 5dae2223 (FIPS 180-2 §B.1).
    assert_eq!(TokenDigest::of_jti("abc").to_string(), "ungWv48Bz-pBQUDeXa4iIw");
}

/// A disk that can be made to fail, in a place where the test can look.
#[derive(Clone, Default)]
struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
    full: Arc<AtomicBool>,
    syncs: Arc<AtomicI64>,
    /// Takes this many bytes of each write while it is full, and then fails.
    torn_after: usize,
    /// So many syncs fail…
    syncs_failing: Arc<AtomicI64>,
    /// …and what they were for is lost then, as it may be on Linux.
    forgetful: bool,
    synced: usize,
    /// The next look finds an empty disk in its place.
    changed: Arc<AtomicBool>,
}

impl Sink for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut disk = self.bytes.lock().unwrap();
        if !self.full.load(Ordering::Relaxed) {
            disk.extend_from_slice(&bytes[..bytes.len().min(100)]);
            return Ok(bytes.len().min(100));
        }
        if disk.len() < self.torn_after {
            let part = (self.torn_after - disk.len()).min(bytes.len());
            disk.extend_from_slice(&bytes[..part]);
            return Ok(part);
        }
        Err(io::ErrorKind::StorageFull.into())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        let mut disk = self.bytes.lock().unwrap();
        if self.syncs_failing.fetch_sub(1, Ordering::Relaxed) > 0 {
            if self.forgetful {
                disk.truncate(self.synced);
            }
            return Err(io::Error::other("EIO"));
        }
        self.synced = disk.len();
        Ok(())
    }

    fn follow(&mut self) -> io::Result<bool> {
        let changed = self.changed.swap(false, Ordering::Relaxed);
        if changed {
            self.bytes.lock().unwrap().clear();
            self.full.store(false, Ordering::Relaxed);
        }
        Ok(changed)
    }
}

impl Disk {
    fn lines(&self) -> Vec<Value> {
        let bytes = self.bytes.lock().unwrap();
        let text = std::str::from_utf8(&bytes).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn kinds(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["kind"].as_str().unwrap()).collect()
}

#[test]
fn a_full_disk_keeps_records_waiting_and_then_refuses_requests() {
    let disk = Disk { torn_after: 150, ..Disk::default() };
    disk.full.store(true, Ordering::Relaxed);
    let file = AuditFile::start(disk.clone(), 8, hands()).unwrap();
    for _ in 0..8 {
        file.reserve().unwrap();
        file.record(&full());
    }
    assert!(file.flush(Duration::from_millis(300)).is_err(), "not on the disk");
    assert!(!file.healthy());
    assert!(file.saturated());
    assert_eq!(file.reserve(), Err(Saturated));
    assert_eq!(file.reserve(), Err(Saturated));
    assert_eq!(file.status().waiting, 8);

    disk.full.store(false, Ordering::Relaxed);
    file.flush(PATIENCE).unwrap();
    assert!(file.healthy() && !file.saturated());
    file.reserve().unwrap();
    file.record(&blank());
    file.close(PATIENCE).unwrap();
    let lines = disk.lines();
    assert_eq!(lines.iter().filter(|line| line["kind"] == "request").count(), 9, "nothing is lost, nothing is twice");
    let notice = lines.iter().find(|line| line["kind"] == "requests-refused-unrecorded").unwrap();
    assert_eq!(notice["count"], 2, "and the gap says so itself");
}

/// After a sync that failed, one that succeeds says nothing about what the first was for.
#[test]
fn what_a_failed_sync_was_for_is_written_again() {
    for (forgetful, expected) in [
        (true, vec!["request", "records-may-repeat", "request", "request"]),
        (
            false,
            vec!["request", "request", "records-may-repeat", "request", "records-may-repeat", "request", "request"],
        ),
    ] {
        let disk = Disk { forgetful, ..Disk::default() };
        let file = AuditFile::start(disk.clone(), 8, hands()).unwrap();
        for failing in [0, 2, 0] {
            disk.syncs_failing.store(failing, Ordering::Relaxed);
            file.reserve().unwrap();
            file.record(&blank());
            file.flush(PATIENCE).unwrap();
            assert!(file.healthy());
        }
        file.close(PATIENCE).unwrap();
        assert_eq!(kinds(&disk.lines()), expected, "forgetful: {forgetful}");
        assert_eq!(file.status().written, 4, "each once, and the notice");
    }
}

#[test]
fn a_line_torn_between_two_files_is_whole_in_the_second() {
    let disk = Disk { torn_after: 100, ..Disk::default() };
    disk.full.store(true, Ordering::Relaxed);
    let file = AuditFile::start(disk.clone(), 8, hands()).unwrap();
    file.reserve().unwrap();
    file.record(&blank());
    assert!(file.flush(Duration::from_millis(300)).is_err());
    disk.changed.store(true, Ordering::Relaxed);
    file.flush(PATIENCE).unwrap();
    file.close(PATIENCE).unwrap();
    assert_eq!(kinds(&disk.lines()), ["file-changed", "records-may-repeat", "request"]);
}

#[test]
fn records_that_keep_coming_share_the_disks_attention() {
    let disk = Disk::default();
    let file = AuditFile::start(disk.clone(), 1_000_000, hands()).unwrap();
    let begin = std::time::Instant::now();
    let mut records = 0;
    while begin.elapsed() < Duration::from_millis(450) {
        file.reserve().unwrap();
        file.record(&blank());
        records += 1;
        std::thread::park_timeout(Duration::from_micros(200));
    }
    file.flush(PATIENCE).unwrap();
    let syncs = disk.syncs.load(Ordering::Relaxed);
    assert!(records > 100 && syncs <= 12, "{records} records, {syncs} times");
    assert_eq!(disk.lines().iter().filter(|line| line["kind"] == "request").count(), records);
    file.close(PATIENCE).unwrap();
}

#[test]
fn a_request_under_way_holds_its_place() {
    let disk = Disk::default();
    let file = AuditFile::start(disk.clone(), 2, hands()).unwrap();
    assert_eq!((file.reserve(), file.reserve()), (Ok(()), Ok(())));
    assert_eq!(file.reserve(), Err(Saturated));
    file.record(&blank());
    file.flush(PATIENCE).unwrap();
    assert_eq!(file.reserve(), Ok(()), "what is written makes room");
    file.record(&blank());
    file.record(&blank());
    file.close(PATIENCE).unwrap();
    assert_eq!(disk.lines().iter().filter(|line| line["kind"] == "request").count(), 3);
    assert_eq!(file.reserve(), Err(Saturated), "after the end nothing is taken in");
}

#[test]
fn a_flood_of_failed_connections_is_counted_not_listed() {
    let disk = Disk::default();
    let file = AuditFile::start(disk.clone(), 8, hands()).unwrap();
    let failed = |at| ConnectionRecord {
        at,
        listener: "mtls".into(),
        peer: "192.0.2.7:4000".parse().unwrap(),
        reason: "tls-alert",
        certificate: None,
    };
    for _ in 0..CONNECTIONS_PER_SECOND_MAX + 50 {
        file.connection(&failed(START));
    }
    assert!(!file.saturated(), "requests are not the worse for it");
    file.connection(&failed(START.plus(Duration::from_secs(1))));
    file.flush(PATIENCE).unwrap();
    file.close(PATIENCE).unwrap();
    let lines = disk.lines();
    let listed = lines.iter().filter(|line| line["kind"] == "connection").count() as u64;
    let summed: u64 = lines
        .iter()
        .filter(|l| l["kind"] == "connections-failed-unrecorded")
        .map(|l| l["count"].as_u64().unwrap())
        .sum();
    assert_eq!((listed, summed), (CONNECTIONS_PER_SECOND_MAX + 1, 50));
}

#[test]
fn many_threads_lose_nothing() {
    let disk = Disk::default();
    let file = Arc::new(AuditFile::start(disk.clone(), 4_000, hands()).unwrap());
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let file = Arc::clone(&file);
            std::thread::spawn(move || {
                for _ in 0..1_000 {
                    file.reserve().unwrap();
                    file.record(&blank());
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    file.close(PATIENCE).unwrap();
    assert_eq!(disk.lines().len(), 4_000);
    assert_eq!(file.status().written, 4_000);
    assert_eq!(file.status().waiting, 0);
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("audit/audit.jsonl")
    }

    fn open(&self) -> AuditFile {
        AuditFile::open(&self.path(), hands()).unwrap()
    }

    fn lines(&self) -> Vec<String> {
        std::fs::read_to_string(self.path()).unwrap().lines().map(str::to_owned).collect()
    }
}

fn write_one(file: &AuditFile) {
    file.reserve().unwrap();
    file.record(&blank());
    file.close(PATIENCE).unwrap();
}

#[test]
fn the_file_only_grows_and_only_we_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    write_one(&place.open());
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&place.path()), mode(place.path().parent().unwrap())), (0o600, 0o700));
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    write_one(&place.open());
    assert_eq!(mode(&place.path()), 0o600);
    assert_eq!(place.lines().len(), 2);
}

#[test]
fn a_line_torn_by_a_kill_is_ended_and_noted() {
    let place = Place::new();
    write_one(&place.open());
    let mut bytes = std::fs::read(place.path()).unwrap();
    bytes.truncate(bytes.len() - 40);
    std::fs::write(place.path(), &bytes).unwrap();
    write_one(&place.open());
    let lines = place.lines();
    assert!(serde_json::from_str::<Value>(&lines[0]).is_err(), "the torn line is left as it is");
    let rest: Vec<Value> = lines[1..].iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(kinds(&rest), ["torn-line", "request"]);
    write_one(&place.open());
    assert_eq!(place.lines().len(), 4, "a whole line is not torn");
}

#[test]
fn a_second_gateway_on_the_same_file_is_refused() {
    let place = Place::new();
    let first = place.open();
    assert!(matches!(AuditFile::open(&place.path(), hands()), Err(AuditOpenError::Locked { .. })));
    write_one(&first);
    drop(first);
    write_one(&place.open());
}

/// Waits for what the writer does by itself.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let begin = std::time::Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "{what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn a_file_that_was_renamed_or_removed_is_followed_by_a_new_one() {
    use std::os::unix::fs::PermissionsExt;
    for renamed in [true, false] {
        let place = Place::new();
        let older = place.path().with_extension("1");
        let file = place.open();
        file.reserve().unwrap();
        file.record(&full());
        file.flush(PATIENCE).unwrap();
        if renamed {
            std::fs::rename(place.path(), &older).unwrap();
        } else {
            std::fs::remove_file(place.path()).unwrap();
        }
        until("a new file", || place.path().exists() && !place.lines().is_empty());
        assert_eq!(std::fs::metadata(place.path()).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(AuditFile::open(&place.path(), hands()), Err(AuditOpenError::Locked { .. })));
        write_one(&file);
        let lines: Vec<Value> = place.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(kinds(&lines), ["file-changed", "request"]);
        assert_eq!(older.exists().then(|| std::fs::read_to_string(&older).unwrap()), renamed.then(|| line(&full())));
    }
}

#[test]
fn records_wait_while_the_file_has_its_name_from_another() {
    let place = Place::new();
    let file = place.open();
    std::fs::rename(place.path(), place.path().with_extension("1")).unwrap();
    let other = std::fs::File::create(place.path()).unwrap();
    other.lock().unwrap();
    until("the loss of the name to be known", || !file.healthy());
    file.reserve().unwrap();
    file.record(&blank());
    assert!(file.flush(Duration::from_millis(300)).is_err());
    assert_eq!(file.status().waiting, 1);
    drop(other);
    until("the file to be ours", || file.healthy());
    file.close(PATIENCE).unwrap();
    let lines: Vec<Value> = place.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(kinds(&lines), ["file-changed", "request"]);
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let place = Place::new();
    let file = place.0.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(AuditFile::open(&file.join("x/audit.jsonl"), hands()), Err(AuditOpenError::Directory { .. })));
    assert!(matches!(AuditFile::open(place.0.path(), hands()), Err(AuditOpenError::File { .. })));
}

/// A real disk that is full from the start.
struct Full(std::fs::File);

impl Sink for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(&mut self.0, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn follow(&mut self) -> io::Result<bool> {
        Ok(false)
    }
}

#[test]
fn closing_on_a_full_disk_ends_and_says_what_is_lost() {
    let sink = std::fs::OpenOptions::new().append(true).open("/dev/full").unwrap();
    let file = AuditFile::start(Full(sink), 8, hands()).unwrap();
    file.reserve().unwrap();
    file.record(&full());
    assert_eq!(file.close(Duration::from_millis(300)), Err(FlushError { waiting: 1 }));
    assert!(!file.healthy());
}

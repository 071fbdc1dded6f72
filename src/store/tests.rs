//! The store against a real file. Each test has a directory of its own.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretString};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, SqliteConnection};

use super::{DEADLINE, Store, StoreOpenError};
use crate::domain::{ClientId, PlanId, ScopeSet, Timestamp};
use crate::oauth::{
    Grant, GrantId, GrantStore, KeyState, KeyStore, ReplayStore, RevocationStore, RevokedToken, SecretHash, StoreError,
    StoredKey,
};
use crate::quota::{CountedPer, WindowCount, WindowStore};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn secs(ahead: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(ahead))
}

fn client() -> ClientId {
    ClientId::parse("app").unwrap()
}

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("state/clearway.db")
    }

    async fn open(&self) -> Store {
        Store::open(&self.path()).await.unwrap()
    }

    /// A connection of somebody else to the same file.
    async fn other(&self) -> SqliteConnection {
        SqliteConnectOptions::new().filename(self.path()).create_if_missing(true).connect().await.unwrap()
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn key(kid: &str, state: KeyState) -> StoredKey {
    StoredKey {
        kid: kid.into(),
        algorithm: "ES256".into(),
        private_key: SecretString::from(format!("-----BEGIN {kid}-----")),
        state,
        created_at: NOW,
        since: secs(5),
    }
}

#[tokio::test]
async fn state_lies_in_files_that_only_we_can_read() {
    let place = Place::new();
    let store = place.open().await;
    store.replace(&[key("a", KeyState::Current)]).await.unwrap();
    let path = place.path();
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for suffix in ["", "-wal", "-shm"] {
        let file = PathBuf::from(format!("{}{suffix}", path.display()));
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    store.close().await;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    place.open().await.close().await;
    assert_eq!(mode(&path), 0o600, "permissions that somebody widened are taken back");
}

#[tokio::test]
async fn keys_are_replaced_as_one_and_survive() {
    let place = Place::new();
    let store = place.open().await;
    assert!(KeyStore::load(&store).await.unwrap().is_empty());
    store.replace(&[key("a", KeyState::Current), key("b", KeyState::Next)]).await.unwrap();
    store.replace(&[key("a", KeyState::Retired), key("b", KeyState::Current), key("c", KeyState::Next)]).await.unwrap();
    let twice = store.replace(&[key("x", KeyState::Current), key("x", KeyState::Next)]).await;
    assert!(matches!(twice, Err(StoreError::Failed(_))), "a set that cannot be kept leaves the old one");
    store.close().await;

    let store = place.open().await;
    let keys = KeyStore::load(&store).await.unwrap();
    let states: Vec<_> = keys.iter().map(|key| (key.kid.as_str(), key.state)).collect();
    assert_eq!(states, [("a", KeyState::Retired), ("b", KeyState::Current), ("c", KeyState::Next)]);
    assert_eq!(keys[0].private_key.expose_secret(), "-----BEGIN a-----");
    assert_eq!((keys[0].created_at, keys[0].since), (NOW, secs(5)));
    store.close().await;
}

#[tokio::test]
async fn a_mark_is_taken_once() {
    let place = Place::new();
    let store = place.open().await;
    let other = ClientId::parse("other").unwrap();
    for (name, client, jti, now, expected) in [
        ("first", client(), "j1", NOW, true),
        ("again", client(), "j1", secs(59), false),
        ("another jti", client(), "j2", NOW, true),
        ("another client", other, "j1", NOW, true),
        ("after its expiry", client(), "j1", secs(60), true),
        ("and not twice", client(), "j1", secs(60), false),
    ] {
        let expires_at = now.plus(Duration::from_secs(60));
        assert_eq!(store.mark(&client, jti, expires_at, now).await.unwrap(), expected, "{name}");
    }
    store.close().await;
    let store = place.open().await;
    assert!(!store.mark(&client(), "j1", secs(200), secs(61)).await.unwrap(), "a restart forgets none");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_simultaneous_marks_one_wins() {
    let place = Place::new();
    let store = place.open().await;
    for round in 0..5 {
        let calls = (0..16).map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.mark(&client(), &format!("j{round}"), secs(60), NOW).await.unwrap() })
        });
        let mut winners = 0;
        for call in calls.collect::<Vec<_>>() {
            winners += usize::from(call.await.unwrap());
        }
        assert_eq!(winners, 1);
    }
    store.close().await;
}

/// What waits while the disk is busy is committed together, and each caller learns of its own mark.
#[tokio::test]
async fn marks_that_wait_share_a_commit() {
    let place = Place::new();
    let store = place.open().await;
    assert!(store.mark(&client(), "used", secs(60), NOW).await.unwrap());
    assert!(store.mark(&client(), "expired", secs(1), NOW).await.unwrap());
    let held = store.writer.acquire().await.unwrap();
    let first = tokio::spawn({
        let store = store.clone();
        async move { store.mark(&client(), "first", secs(60), NOW).await }
    });
    until(|| store.waiting.is_under_way()).await;
    let (used, expired) = (("used".to_owned(), false), ("expired".to_owned(), true));
    // More than one commit takes, and each of them twice: the second is a replay.
    let fresh = (0..150).flat_map(|n| [(format!("j{n}"), true), (format!("j{n}"), false)]);
    let mut calls: Vec<_> = fresh
        .chain([used, expired])
        .map(|(jti, expected)| {
            let store = store.clone();
            (tokio::spawn(async move { store.mark(&client(), &jti, secs(60), secs(2)).await }), expected)
        })
        .collect();
    let (gave_up, _) = calls.swap_remove(0);
    let (second, _) = calls.swap_remove(1);
    until(|| store.waiting.count() == 302).await;
    gave_up.abort();
    assert!(gave_up.await.unwrap_err().is_cancelled());
    let before = commits(&place);
    drop(held);
    for (call, expected) in calls {
        assert_eq!(call.await.unwrap().unwrap(), expected);
    }
    assert!(second.await.unwrap().unwrap(), "who went away first left no mark");
    assert!(first.await.unwrap().unwrap());
    assert_eq!(store.marks_held(), 2 + 1 + 150 + 1);
    assert_eq!(commits(&place) - before, 1 + 301_usize.div_ceil(64));
    store.close().await;
}

async fn until(mut so: impl FnMut() -> bool) {
    let wait = async {
        while !so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap();
}

/// How many transactions the write-ahead log has: frames that end one say how large the database is (SQLite file format
/// §4.1).
fn commits(place: &Place) -> usize {
    let log = std::fs::read(place.path().with_extension("db-wal")).unwrap();
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
    let page = number(&log[8..12]) as usize;
    log[32..].chunks_exact(24 + page).filter(|frame| number(&frame[4..8]) > 0).count()
}

#[tokio::test]
async fn who_waits_learns_that_the_commit_failed() {
    let place = Place::new();
    let store = place.open().await;
    let held = store.writer.acquire().await.unwrap();
    let calls: Vec<_> = (0..3)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.mark(&client(), &format!("j{n}"), secs(60), NOW).await })
        })
        .collect();
    until(|| store.waiting.is_under_way()).await;
    let closing = tokio::spawn({
        let store = store.clone();
        async move { store.writer.close().await }
    });
    until(|| store.writer.is_closed()).await;
    drop(held);
    for call in calls {
        assert!(matches!(call.await.unwrap(), Err(StoreError::Failed(_) | StoreError::Timeout)));
    }
    closing.await.unwrap();
}

#[tokio::test]
async fn expired_marks_go_away_when_they_are_purged() {
    let place = Place::new();
    let store = place.open().await;
    for n in 0..20 {
        assert!(store.mark(&client(), &format!("old{n}"), secs(1), NOW).await.unwrap());
    }
    for n in 0..3 {
        assert!(store.mark(&client(), &format!("new{n}"), secs(100), secs(2)).await.unwrap());
    }
    assert!(!store.mark(&client(), "old1", secs(1), NOW).await.unwrap(), "a later clock elsewhere forgets none");
    assert_eq!(store.marks_held(), 23);
    ReplayStore::purge(&store, secs(2)).await.unwrap();
    assert_eq!(store.marks_held(), 3);
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM replay_marks").fetch_one(&store.reader).await.unwrap();
    assert_eq!(left, 3);
    store.close().await;
    assert_eq!(place.open().await.marks_held(), 3, "counted anew after a restart");
}

#[tokio::test]
async fn revocations_last_until_they_expire() {
    let place = Place::new();
    let store = place.open().await;
    let token = |jti: &str, expires_at| RevokedToken { jti: jti.into(), expires_at };
    store.revoke(&token("a", secs(10))).await.unwrap();
    store.revoke(&token("a", secs(5))).await.unwrap();
    store.revoke(&token("b", secs(20))).await.unwrap();
    RevocationStore::purge(&store, secs(7)).await.unwrap();
    assert_eq!(RevocationStore::load(&store).await.unwrap().len(), 2, "a revocation never ends early");
    RevocationStore::purge(&store, secs(15)).await.unwrap();
    assert_eq!(RevocationStore::load(&store).await.unwrap(), [token("b", secs(20))]);
    store.close().await;
}

/// RFC 7009 §2.1: what a refresh token stood for ends at once, or not at all.
#[tokio::test]
async fn a_grant_and_the_mark_of_its_end_change_places_as_one() {
    let place = Place::new();
    let store = place.open().await;
    let id = GrantId::stored("a-grant");
    let grant = Grant {
        id: id.clone(),
        client_id: client(),
        subject: "user-1".into(),
        scopes: ScopeSet::parse("accounts").unwrap(),
        authorization_details: vec![],
        resources: vec![],
        claims: None,
        acr: None,
        auth_time: NOW,
        created_at: NOW,
        expires_at: secs(1_000),
    };
    GrantStore::insert(&store, &grant, SecretHash::of(b"a refresh token")).await.unwrap();
    let mark = RevokedToken { jti: id.to_string(), expires_at: secs(60) };
    // The second of the two statements fails.
    let mut other = place.other().await;
    other
        .execute("CREATE TRIGGER stays BEFORE DELETE ON grants BEGIN SELECT raise(ABORT, 'not now'); END")
        .await
        .unwrap();
    assert!(store.end(&id, &mark).await.is_err());
    assert!(RevocationStore::load(&store).await.unwrap().is_empty(), "no mark without the end");
    assert_eq!(store.find(&id).await.unwrap(), Some(grant));
    other.execute("DROP TRIGGER stays").await.unwrap();
    for _ in 0..2 {
        store.end(&id, &mark).await.unwrap();
        assert_eq!(RevocationStore::load(&store).await.unwrap().len(), 1);
        assert_eq!(store.find_by_refresh_token(SecretHash::of(b"a refresh token")).await.unwrap(), None);
    }
}

fn count(key: &str, count: u64) -> WindowCount {
    WindowCount {
        plan: PlanId::parse("gold").unwrap(),
        limit: "daily".into(),
        per: CountedPer::Tenant,
        key: key.into(),
        starts_at: NOW,
        ends_at: secs(100),
        count,
    }
}

#[tokio::test]
async fn counts_only_rise() {
    let place = Place::new();
    let store = place.open().await;
    let many: Vec<WindowCount> = (0..450).map(|n| count(&format!("t{n:03}"), 7)).collect();
    store.save(&many).await.unwrap();
    store.save(&[count("t000", 9), count("t001", 3)]).await.unwrap();
    store.save(&[]).await.unwrap();
    store.close().await;

    let store = place.open().await;
    let mut kept = WindowStore::load(&store).await.unwrap();
    kept.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(kept.len(), 450);
    assert_eq!((&kept[0], &kept[1], &kept[2]), (&count("t000", 9), &count("t001", 7), &count("t002", 7)));
    WindowStore::purge(&store, secs(100)).await.unwrap();
    assert_eq!(WindowStore::load(&store).await.unwrap().len(), 450, "it ends at 100, not before");
    WindowStore::purge(&store, secs(101)).await.unwrap();
    assert!(WindowStore::load(&store).await.unwrap().is_empty());
    store.close().await;
}

#[tokio::test]
async fn what_was_reported_done_is_there_without_a_close() {
    let place = Place::new();
    let store = place.open().await;
    store.revoke(&RevokedToken { jti: "a".into(), expires_at: secs(10) }).await.unwrap();
    // As after a kill: a copy of what the disk has, log included.
    let copy = Place::new();
    std::fs::create_dir_all(copy.path().parent().unwrap()).unwrap();
    for suffix in ["", "-wal"] {
        let name = |place: &Place| format!("{}{suffix}", place.path().display());
        std::fs::copy(name(&place), name(&copy)).unwrap();
    }
    let survivor = copy.open().await;
    assert_eq!(RevocationStore::load(&survivor).await.unwrap().len(), 1);
    survivor.close().await;
    store.close().await;
}

#[tokio::test]
async fn what_is_not_ours_is_refused_and_left_alone() {
    let garbage = Place::new();
    std::fs::create_dir_all(garbage.path().parent().unwrap()).unwrap();
    std::fs::write(garbage.path(), "Dear diary, today I configured a gateway.").unwrap();
    let error = Store::open(&garbage.path()).await.err().unwrap();
    assert!(matches!(error, StoreOpenError::NotADatabase { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(garbage.path()).unwrap(), "Dear diary, today I configured a gateway.");

    let mangled = Place::new();
    mangled.open().await.close().await;
    let mut bytes = std::fs::read(mangled.path()).unwrap();
    bytes[16..].fill(0xa5);
    std::fs::write(mangled.path(), &bytes).unwrap();
    let error = Store::open(&mangled.path()).await.err().unwrap();
    assert!(matches!(error, StoreOpenError::NotADatabase { .. } | StoreOpenError::Damaged { .. }), "{error}");

    let foreign = Place::new();
    std::fs::create_dir_all(foreign.path().parent().unwrap()).unwrap();
    let mut other = foreign.other().await;
    other.execute("CREATE TABLE recipes (name TEXT)").await.unwrap();
    other.close().await.unwrap();
    let error = Store::open(&foreign.path()).await.err().unwrap();
    assert!(matches!(error, StoreOpenError::Foreign { .. }), "{error}");

    let newer = Place::new();
    newer.open().await.close().await;
    let mut other = newer.other().await;
    let migration = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                     VALUES (700, 'future', TRUE, x'00', 0)";
    other.execute(migration).await.unwrap();
    other.close().await.unwrap();
    let error = Store::open(&newer.path()).await.err().unwrap();
    assert!(matches!(error, StoreOpenError::Newer { found: 700, .. }), "{error}");
    assert!(error.to_string().contains("newer gateway"), "{error}");
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_named() {
    let place = Place::new();
    let file = place.directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Store::open(&file.join("below/clearway.db")).await.err().unwrap();
    assert!(matches!(error, StoreOpenError::Directory { .. }), "{error}");
    // A file system on which nobody, not even root, can make a file.
    let error = Store::open(Path::new("/proc/self/clearway.db")).await.err().unwrap();
    assert!(matches!(error, StoreOpenError::File { .. }), "{error}");
    let error = Store::open(place.directory.path()).await.err().unwrap();
    assert!(matches!(error, StoreOpenError::File { .. }), "a directory: {error}");
}

#[tokio::test]
async fn a_lock_held_by_another_process_is_an_error_within_the_deadline() {
    let place = Place::new();
    let store = place.open().await;
    let mut other = place.other().await;
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    let started = Instant::now();
    let marked = store.mark(&client(), "j", secs(60), NOW).await;
    assert!(marked.is_err(), "not taken as marked, and not as replayed");
    assert!(started.elapsed() < DEADLINE + Duration::from_secs(1), "{:?}", started.elapsed());
    assert!(RevocationStore::load(&store).await.is_ok(), "reading goes on");
    other.execute("ROLLBACK").await.unwrap();
    other.close().await.unwrap();
    assert!(store.mark(&client(), "j", secs(60), NOW).await.unwrap(), "and afterwards it works");
    store.close().await;
}

#[tokio::test]
async fn whoever_waits_for_a_turn_waits_no_longer_than_the_deadline() {
    let place = Place::new();
    let store = place.open().await;
    let held = store.writer.acquire().await.unwrap();
    let started = Instant::now();
    let marked = store.mark(&client(), "j", secs(60), NOW).await;
    assert!(matches!(marked, Err(StoreError::Timeout)), "{marked:?}");
    assert!(started.elapsed() < DEADLINE + Duration::from_secs(1), "{:?}", started.elapsed());
    drop(held);
    assert!(store.mark(&client(), "j", secs(60), NOW).await.unwrap());
    store.close().await;
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_loses_nothing() {
    let place = Place::new();
    let store = place.open().await;
    store.save(&[count("kept", 5)]).await.unwrap();
    // SQLite's own bound stands in for the disk's: the result code is the same, SQLITE_FULL.
    let pages: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(&store.writer).await.unwrap();
    let bound = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {}", pages + 1));
    sqlx::raw_sql(bound).execute(&store.writer).await.unwrap();
    let many: Vec<WindowCount> = (0..2_000).map(|n| count(&format!("t{n}"), 1)).collect();
    let error = store.save(&many).await.unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("full"), "{error:?}");
    assert_eq!(WindowStore::load(&store).await.unwrap(), [count("kept", 5)], "all or nothing");
    sqlx::raw_sql("PRAGMA max_page_count = 1000000").execute(&store.writer).await.unwrap();
    store.save(&many).await.unwrap();
    assert_eq!(WindowStore::load(&store).await.unwrap().len(), 2_001);
    store.close().await;
}

#[tokio::test]
async fn a_closed_store_answers_with_an_error() {
    let place = Place::new();
    let store = place.open().await;
    store.close().await;
    assert!(store.mark(&client(), "j", secs(60), NOW).await.is_err());
}

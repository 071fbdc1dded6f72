use std::sync::{Condvar, LazyLock, Mutex};

use super::*;

static OPERATION: LazyLock<OperationId> = LazyLock::new(|| OperationId::parse("payments.Create").unwrap());
static API: LazyLock<ApiId> = LazyLock::new(|| ApiId::parse("payments").unwrap());
static INSTITUTION: LazyLock<InstitutionId> = LazyLock::new(|| InstitutionId::parse("northbank").unwrap());
static TENANT: LazyLock<TenantId> = LazyLock::new(|| TenantId::parse("acme").unwrap());
static CLIENT: LazyLock<ClientId> = LazyLock::new(|| ClientId::parse("acme-app").unwrap());

fn line() -> AccessLine<'static> {
    AccessLine {
        started_at: Timestamp::from_micros(1_782_900_000_000_250),
        interaction_id: InteractionId::from_random([7; 16]),
        trace_id: [0xab; 16],
        span_id: [1; 8],
        listener: "public",
        peer: "192.0.2.7".parse().unwrap(),
        protocol: "HTTP/1.1",
        tls: Some("TLSv1.3"),
        method: "POST",
        operation: Some(&OPERATION),
        api: Some(&API),
        institution: Some(&INSTITUTION),
        tenant: Some(&TENANT),
        client: Some(&CLIENT),
        status: Some(403),
        code: Some("policy-refused"),
        backend: Some("northbank-1"),
        total: Duration::from_micros(812),
        upstream: Some(Duration::from_micros(700)),
        bytes_in: 310,
        bytes_out: 290,
    }
}

/// An output that can be held up, in a place where the test can look.
#[derive(Clone, Default)]
struct Paper(Arc<(Mutex<Sheet>, Condvar)>);

#[derive(Default)]
struct Sheet {
    written: Vec<u8>,
    held: bool,
    /// Somebody waits to write.
    wanted: bool,
    /// After so many bytes the next write fails, once.
    torn_after: Option<usize>,
}

impl Paper {
    fn hold(&self, held: bool) {
        self.0.0.lock().unwrap().held = held;
        self.0.1.notify_all();
    }

    fn until_wanted(&self) {
        let sheet = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(sheet, |sheet| !sheet.wanted).unwrap());
    }

    fn lines(&self) -> usize {
        self.0.0.lock().unwrap().written.iter().filter(|byte| **byte == b'\n').count()
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut sheet = self.0.0.lock().unwrap();
        sheet.wanted = true;
        self.0.1.notify_all();
        let mut sheet = self.0.1.wait_while(sheet, |sheet| sheet.held).unwrap();
        let room = match sheet.torn_after {
            Some(0) => {
                sheet.torn_after = None;
                return Err(io::ErrorKind::StorageFull.into());
            }
            Some(room) => room.min(bytes.len()),
            None => bytes.len(),
        };
        sheet.torn_after = sheet.torn_after.map(|left| left - room);
        sheet.written.extend_from_slice(&bytes[..room]);
        Ok(room)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output for Paper {}

/// Operators' tools read these lines: whoever changes one breaks them.
#[test]
fn lines_are_as_they_were() {
    let sparse = AccessLine {
        tls: None,
        operation: None,
        api: None,
        institution: None,
        tenant: None,
        client: None,
        status: None,
        code: None,
        backend: None,
        upstream: None,
        ..line()
    };
    let id = "07070707-0707-4707-8707-070707070707";
    let trace = "abababababababababababababababab";
    for (name, line, expected) in [
        (
            "full",
            line(),
            format!(
                r#"{{"at":"2026-07-01T10:00:00.000250Z","interaction_id":"{id}","trace_id":"{trace}","span_id":"0101010101010101","listener":"public","peer":"192.0.2.7","protocol":"HTTP/1.1","tls":"TLSv1.3","method":"POST","operation":"payments.Create","api":"payments","institution":"northbank","tenant":"acme","client":"acme-app","status":403,"code":"policy-refused","backend":"northbank-1","total_us":812,"upstream_us":700,"bytes_in":310,"bytes_out":290}}"#
            ),
        ),
        (
            "sparse",
            sparse,
            format!(
                r#"{{"at":"2026-07-01T10:00:00.000250Z","interaction_id":"{id}","trace_id":"{trace}","span_id":"0101010101010101","listener":"public","peer":"192.0.2.7","protocol":"HTTP/1.1","method":"POST","total_us":812,"bytes_in":310,"bytes_out":290}}"#
            ),
        ),
    ] {
        let mut found = Vec::new();
        line.append(&mut found);
        assert_eq!(String::from_utf8(found).unwrap(), format!("{expected}\n"), "{name}");
    }
}

#[test]
fn a_slow_output_costs_lines_not_time() {
    let (paper, dropped) = (Paper::default(), Arc::<Tally>::default());
    paper.hold(true);
    let log = AccessLog::start(Box::new(paper.clone()), 4, Arc::clone(&dropped)).unwrap();
    log.line(&line());
    paper.until_wanted();
    for _ in 0..50 {
        log.line(&line());
    }
    assert_eq!(dropped.count(), 46, "four wait, the rest is dropped");
    paper.hold(false);
    log.close();
    assert_eq!(paper.lines(), 5);
}

#[test]
fn after_a_torn_line_a_new_one_is_begun() {
    let mut whole = Vec::new();
    line().append(&mut whole);
    for (name, torn_after, expected) in [
        ("nothing written", 0, whole.clone()),
        ("within a line", 40, [&whole[..40], b"\n", &whole].concat()),
        ("before the end of the line", whole.len() - 1, whole.repeat(2)),
    ] {
        let (paper, dropped) = (Paper::default(), Arc::<Tally>::default());
        paper.0.0.lock().unwrap().torn_after = Some(torn_after);
        let log = AccessLog::start(Box::new(paper.clone()), 4, Arc::clone(&dropped)).unwrap();
        log.line(&line());
        let begin = std::time::Instant::now();
        while dropped.count() == 0 && begin.elapsed() < Duration::from_secs(10) {
            thread::park_timeout(Duration::from_millis(5));
        }
        log.line(&line());
        log.close();
        assert_eq!((paper.0.0.lock().unwrap().written.clone(), dropped.count()), (expected, 1), "{name}");
    }
}

#[test]
fn a_file_is_appended_to() {
    let directory = tempfile::tempdir().unwrap();
    let output = AccessOutput::File(directory.path().join("access.jsonl"));
    for expected in [1, 2] {
        let log = AccessLog::open(&output, Arc::default()).unwrap();
        assert!(log.enabled());
        log.line(&line());
        log.close();
        log.line(&line());
        let written = std::fs::read_to_string(directory.path().join("access.jsonl")).unwrap();
        assert_eq!(written.lines().count(), expected, "and not after the end");
    }
    let nowhere = AccessOutput::File(directory.path().join("no/such/place"));
    assert!(matches!(AccessLog::open(&nowhere, Arc::default()), Err(AccessLogError::File { .. })));
}

#[test]
fn a_file_that_loses_its_name_is_followed() {
    let directory = tempfile::tempdir().unwrap();
    let (path, old) = (directory.path().join("access.jsonl"), directory.path().join("access.jsonl.1"));
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    let mut file = LogFile::open(&path).unwrap();
    let mut write = |text: &str, followed: Option<bool>| {
        assert_eq!(file.follow().ok(), followed, "{text}");
        file.write_all(text.as_bytes()).unwrap();
    };
    write("a", Some(false));
    std::fs::rename(&path, &old).unwrap();
    write("b", Some(true));
    write("c", Some(false));
    std::fs::remove_file(&path).unwrap();
    write("d", Some(true));
    std::fs::rename(&path, &old).unwrap();
    std::fs::create_dir(&path).unwrap();
    write("e", None);
    assert_eq!(read(&old), "de", "what cannot be followed is written to the old one");
    std::fs::remove_dir(&path).unwrap();
    write("f", Some(true));
    assert_eq!(read(&path), "f");
}

/// Also while there is nothing to write: who renames it sees the new one.
#[test]
fn a_renamed_log_goes_on_under_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let (path, old) = (directory.path().join("access.jsonl"), directory.path().join("access.jsonl.1"));
    let log = AccessLog::open(&AccessOutput::File(path.clone()), Arc::default()).unwrap();
    std::fs::rename(&path, &old).unwrap();
    let began = Instant::now();
    while !path.exists() {
        assert!(began.elapsed() < Duration::from_secs(20), "it is not followed");
        thread::park_timeout(Duration::from_millis(5));
    }
    log.line(&line());
    log.close();
    let count = |path| std::fs::read_to_string(path).unwrap().lines().count();
    assert_eq!((count(old), count(path)), (0, 1));
}

#[test]
fn switched_off_it_takes_nothing() {
    let dropped = Arc::<Tally>::default();
    let log = AccessLog::open(&AccessOutput::Off, Arc::clone(&dropped)).unwrap();
    log.line(&line());
    log.close();
    assert!(!log.enabled());
    assert_eq!(dropped.count(), 0);
}

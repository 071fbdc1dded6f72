//! The room's behaviour as a whole; arithmetic is tested beside it.

use std::num::{NonZeroU32, NonZeroU64};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;

use super::*;
use crate::domain::{ClientId, Clock, PlanId, TenantId, Timestamp};

/// 2026-07-01T10:00:00Z, a Wednesday.
const START: i64 = 1_782_900_000;

struct Hands(AtomicI64);

impl Hands {
    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(START * 1_000_000)))
    }

    fn turn(&self, span: Duration) {
        self.0.fetch_add(i64::try_from(span.as_micros()).unwrap(), Ordering::Relaxed);
    }
}

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }
}

fn rate(name: &str, requests: u32, secs: u64, burst: u32) -> Limit {
    let (requests, burst) = (NonZeroU32::new(requests).unwrap(), NonZeroU32::new(burst).unwrap());
    let kind = LimitKind::Rate { requests, per: Duration::from_secs(secs), burst };
    Limit { name: name.into(), per: CountedPer::Client, kind }
}

fn window(name: &str, per: CountedPer, requests: u64, period: Period) -> Limit {
    let requests = NonZeroU64::new(requests).unwrap();
    Limit { name: name.into(), per, kind: LimitKind::Window { requests, period, zone: "UTC".into() } }
}

fn concurrency(name: &str, max: u32) -> Limit {
    let max = NonZeroU32::new(max).unwrap();
    Limit { name: name.into(), per: CountedPer::Client, kind: LimitKind::Concurrency { max } }
}

fn plan(limits: Vec<Limit>) -> Plan {
    Plan { id: PlanId::parse("gold").unwrap(), limits }
}

/// A gateway's worth: quotas, hands to turn, and two clients of one tenant and one of another.
struct House {
    hands: Arc<Hands>,
    quotas: Quotas,
}

impl House {
    fn new() -> Self {
        let hands = Hands::new();
        Self { quotas: Quotas::new(Arc::clone(&hands) as Arc<dyn Clock>), hands }
    }

    fn compile(&self, limits: Vec<Limit>) -> Arc<CompiledPlan> {
        self.quotas.compile(&plan(limits)).unwrap()
    }

    fn spend(&self, plan: &CompiledPlan, tenant: &str, client: &str) -> Result<Spent, Exceeded> {
        self.quotas.spend(plan, &tenant_id(tenant), &client_id(client), self.hands.now())
    }

    fn used(&self, plan: &CompiledPlan, client: &str) -> Vec<u64> {
        let usage = self.quotas.usage(plan, &tenant_id("acme"), &client_id(client), self.hands.now());
        usage.iter().map(|limit| limit.used).collect()
    }
}

fn tenant_id(text: &str) -> TenantId {
    TenantId::parse(text).unwrap()
}

fn client_id(text: &str) -> ClientId {
    ClientId::parse(text).unwrap()
}

fn texts(fields: Option<&RateLimitFields>) -> (&str, &str) {
    let fields = fields.unwrap();
    (fields.policy.to_str().unwrap(), fields.limit.to_str().unwrap())
}

/// Names and parameters of a Structured Field list, read by a parser that is not ours.
fn read_list(text: &str) -> Vec<(String, Vec<(String, String)>)> {
    let list = sfv::Parser::new(text).parse::<sfv::List>().unwrap();
    let item = |entry: &sfv::ListEntry| {
        let sfv::ListEntry::Item(item) = entry else { panic!("not an item") };
        let value = |value: &sfv::BareItem| match value {
            sfv::BareItem::Integer(number) => i64::from(*number).to_string(),
            sfv::BareItem::String(text) => text.as_str().to_owned(),
            other => panic!("{other:?}"),
        };
        let parameters = item.params.iter().map(|(name, given)| (name.as_str().to_owned(), value(given)));
        (value(&item.bare_item), parameters.collect())
    };
    list.iter().map(item).collect()
}

#[test]
fn the_fields_state_the_policy_and_what_is_left() {
    let house = House::new();
    let compiled = house.compile(vec![
        rate("burst", 100, 60, 100),
        window("daily", CountedPer::Tenant, 1_000, Period::Day),
        concurrency("parallel", 5),
    ]);
    let spent = house.spend(&compiled, "acme", "app").unwrap();
    let (policy, limit) = texts(spent.fields.as_ref());
    assert_eq!(policy, r#""burst";q=100;w=60, "daily";q=1000;w=86400, "parallel";q=5;qu="concurrent-requests""#);
    assert_eq!(limit, r#""burst";r=99;t=1, "daily";r=999;t=50400, "parallel";r=4"#);
    assert_eq!(read_list(policy).len(), 3, "a Structured Field list");
    let left = read_list(limit);
    assert_eq!(left[1], ("daily".into(), vec![("r".into(), "999".into()), ("t".into(), "50400".into())]));
}

#[test]
fn a_rate_is_stated_so_that_what_is_left_is_never_more_than_the_quota() {
    let sub_second = Limit {
        kind: LimitKind::Rate {
            requests: NonZeroU32::new(10).unwrap(),
            per: Duration::from_millis(500),
            burst: NonZeroU32::new(5).unwrap(),
        },
        ..rate("quick", 1, 1, 1)
    };
    for (name, limit, expected) in [
        ("a burst as large as the rate", rate("r", 100, 60, 100), r#""r";q=100;w=60"#),
        ("a smaller burst", rate("r", 600, 60, 20), r#""r";q=600;w=60"#),
        ("a larger burst states itself", rate("r", 1, 1, 50), r#""r";q=50;w=50"#),
        ("less than a second", sub_second, r#""quick";q=20;w=1"#),
        ("an hour", window("w", CountedPer::Client, 7, Period::Hour), r#""w";q=7;w=3600"#),
        ("a month", window("w", CountedPer::Client, 7, Period::Month), r#""w";q=7;w=2678400"#),
    ] {
        let house = House::new();
        let spent = house.spend(&house.compile(vec![limit]), "acme", "app").unwrap();
        assert_eq!(texts(spent.fields.as_ref()).0, expected, "{name}");
    }
}

#[test]
fn a_plan_without_limits_says_nothing_and_refuses_nothing() {
    let house = House::new();
    let compiled = house.compile(vec![]);
    assert_eq!(house.spend(&compiled, "acme", "app").unwrap().fields, None);
}

#[test]
fn a_refusal_names_the_limit_and_when_to_come_again() {
    for (name, limit, wait) in [
        ("rate", rate("r", 2, 60, 1), 30),
        ("window", window("w", CountedPer::Client, 1, Period::Hour), 3_600),
        ("concurrency", concurrency("c", 1), 1),
    ] {
        let house = House::new();
        let compiled = house.compile(vec![rate("ample", 1_000, 1, 1_000), limit.clone()]);
        let kept = house.spend(&compiled, "acme", "app").unwrap();
        let refused = house.spend(&compiled, "acme", "app").unwrap_err();
        assert_eq!(refused.violated, std::slice::from_ref(&limit.name), "{name}");
        assert_eq!(refused.retry_after, Duration::from_secs(wait), "{name}");
        let left = read_list(texts(refused.fields.as_ref()).1);
        assert_eq!(left[1].1[0], ("r".into(), "0".into()), "{name}");
        if let Some((_, secs)) = left[1].1.get(1) {
            assert!(secs.parse::<u64>().unwrap() <= wait, "{name}: Retry-After is not earlier than t");
        }
        drop(kept);
        house.hands.turn(refused.retry_after);
        assert!(house.spend(&compiled, "acme", "app").is_ok(), "{name}: who waits is let in");
    }
}

#[test]
fn the_longest_wait_of_all_that_are_exhausted_counts() {
    let house = House::new();
    let compiled =
        house.compile(vec![rate("r", 1, 60, 1), window("w", CountedPer::Client, 1, Period::Day), concurrency("c", 9)]);
    assert!(house.spend(&compiled, "acme", "app").is_ok());
    let refused = house.spend(&compiled, "acme", "app").unwrap_err();
    assert_eq!(refused.violated, ["r", "w"]);
    assert_eq!(refused.retry_after, Duration::from_secs(14 * 3_600), "until midnight");
}

#[test]
fn a_refusal_costs_nothing_of_any_limit() {
    let ample = || {
        vec![
            window("w", CountedPer::Client, 100, Period::Day),
            window("t", CountedPer::Tenant, 100, Period::Month),
            concurrency("c", 100),
            rate("r", 100, 100, 100),
        ]
    };
    for (name, scarce) in [
        ("rate", rate("scarce", 1, 3_600, 1)),
        ("window", window("scarce", CountedPer::Client, 1, Period::Day)),
        ("concurrency", concurrency("scarce", 1)),
    ] {
        let house = House::new();
        let compiled = house.compile(ample().into_iter().chain([scarce]).collect());
        let kept = house.spend(&compiled, "acme", "app").unwrap();
        let before = house.used(&compiled, "app");
        for _ in 0..50 {
            assert!(house.spend(&compiled, "acme", "app").is_err(), "{name}");
        }
        assert_eq!(house.used(&compiled, "app"), before, "{name}");
        drop(kept);
    }
}

#[test]
fn tenants_share_what_is_counted_per_tenant_and_nothing_else() {
    let house = House::new();
    let compiled = house.compile(vec![
        window("ours", CountedPer::Tenant, 3, Period::Day),
        window("mine", CountedPer::Client, 2, Period::Day),
    ]);
    assert!(house.spend(&compiled, "acme", "one").is_ok());
    assert!(house.spend(&compiled, "acme", "one").is_ok());
    assert_eq!(house.spend(&compiled, "acme", "one").unwrap_err().violated, ["mine"]);
    assert!(house.spend(&compiled, "acme", "two").is_ok());
    assert_eq!(house.spend(&compiled, "acme", "two").unwrap_err().violated, ["ours"]);
    assert!(house.spend(&compiled, "globex", "three").is_ok(), "another tenant");
    // A tenant and a client of the same name are two.
    assert!(house.spend(&compiled, "two", "acme").is_ok());
}

#[test]
fn a_client_that_moves_to_another_tenant_spends_that_tenants_quota() {
    let house = House::new();
    let compiled = house.compile(vec![window("ours", CountedPer::Tenant, 1, Period::Day)]);
    assert!(house.spend(&compiled, "acme", "app").is_ok());
    assert!(house.spend(&compiled, "acme", "app").is_err());
    assert!(house.spend(&compiled, "globex", "app").is_ok());
}

#[test]
fn simultaneous_spends_never_exceed_a_limit_and_use_all_of_it() {
    const THREADS: usize = 8;
    let house = Arc::new(House::new());
    let compiled = house.compile(vec![
        window("w", CountedPer::Tenant, 500, Period::Day),
        rate("r", 1, 3_600, 400),
        rate("s", 1, 3_600, 300),
    ]);
    let (start, granted) = (Arc::new(Barrier::new(THREADS)), Arc::new(AtomicUsize::new(0)));
    let spenders: Vec<_> = (0..THREADS)
        .map(|_| {
            let (house, compiled) = (Arc::clone(&house), Arc::clone(&compiled));
            let (start, granted) = (Arc::clone(&start), Arc::clone(&granted));
            thread::spawn(move || {
                start.wait();
                for _ in 0..200 {
                    if house.spend(&compiled, "acme", "app").is_ok() {
                        granted.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    spenders.into_iter().for_each(|spender| spender.join().unwrap());
    assert_eq!(granted.load(Ordering::Relaxed), 300, "the tightest limit, exactly");
    assert_eq!(house.used(&compiled, "app"), [300, 300, 300], "what was refused was given back everywhere");
}

#[test]
fn concurrency_is_given_back_however_a_request_ends() {
    let house = Arc::new(House::new());
    let compiled = house.compile(vec![concurrency("c", 4)]);
    let held: Vec<Spent> = (0..4).map(|_| house.spend(&compiled, "acme", "app").unwrap()).collect();
    assert_eq!(house.spend(&compiled, "acme", "app").unwrap_err().violated, ["c"]);
    drop(held);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _spent = house.spend(&compiled, "acme", "app").unwrap();
        panic!("the request fails");
    }));
    assert!(panicked.is_err());
    let most = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let workers: Vec<_> = (0..8)
        .map(|_| {
            let (house, compiled, most) = (Arc::clone(&house), Arc::clone(&compiled), Arc::clone(&most));
            thread::spawn(move || {
                for _ in 0..500 {
                    if let Ok(spent) = house.spend(&compiled, "acme", "app") {
                        let now = most.0.fetch_add(1, Ordering::SeqCst) + 1;
                        most.1.fetch_max(now, Ordering::SeqCst);
                        thread::yield_now();
                        most.0.fetch_sub(1, Ordering::SeqCst);
                        drop(spent);
                    }
                }
            })
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    assert!(most.1.load(Ordering::SeqCst) <= 4);
    assert_eq!(house.used(&compiled, "app"), [0], "no lease leaks");
}

#[test]
fn a_reload_keeps_what_it_did_not_change() {
    let house = House::new();
    let limits =
        || vec![rate("r", 10, 3_600, 10), window("w", CountedPer::Client, 10, Period::Day), concurrency("c", 10)];
    let before = house.compile(limits());
    let held = house.spend(&before, "acme", "app").unwrap();
    assert!(Arc::ptr_eq(&before, &house.compile(limits())), "an equal plan is the same plan");

    let mut changed = limits();
    changed[1] = window("w", CountedPer::Client, 1, Period::Day);
    changed[2] = concurrency("c", 1);
    changed.push(window("new", CountedPer::Client, 10, Period::Day));
    let after = house.compile(changed);
    assert_eq!(house.used(&after, "app"), [1, 1, 1, 0]);
    assert_eq!(house.spend(&after, "acme", "app").unwrap_err().violated, ["w", "c"], "new figures, old counts");
    drop(held);
    assert_eq!(house.used(&after, "app")[2], 0, "a lease of the old plan counts in the new one until it ends");

    let mut faster = limits();
    faster[0] = rate("r", 20, 3_600, 20);
    assert_eq!(house.used(&house.compile(faster), "app")[0], 0, "another rate begins with a full bucket");
    drop((before, after));
    assert_eq!(house.used(&house.compile(limits()), "app")[0], 1, "and going back finds the old one");
}

#[test]
fn plans_that_make_no_sense_are_refused() {
    let house = House::new();
    let named = |name: &str| Limit { name: name.into(), ..concurrency("", 1) };
    let zone = |zone: &str| Limit {
        kind: LimitKind::Window { requests: NonZeroU64::MIN, period: Period::Day, zone: zone.into() },
        ..named("w")
    };
    for (name, limits, expected) in [
        ("no name", vec![named("")], "is not a limit's name"),
        ("a quote in a name", vec![named("a\"b")], "is not a limit's name"),
        ("a name of another script", vec![named("täglich")], "is not a limit's name"),
        ("a name too long", vec![named(&"x".repeat(65))], "is not a limit's name"),
        ("twice the same name", vec![named("a"), named("b"), named("a")], "two limits are named \"a\""),
        ("too many", (0..17).map(|n| named(&format!("l{n}"))).collect(), "at most 16 limits"),
        ("a rate out of range", vec![rate("r", 1, 400 * 86_400, 1)], "out of range"),
        ("an unknown zone", vec![zone("Europe/Atlantis")], "no zone \"Europe/Atlantis\""),
        ("too large a window", vec![window("w", CountedPer::Client, 1 << 36, Period::Day)], "at most 68719476735"),
    ] {
        let error = house.quotas.compile(&plan(limits)).err().unwrap().to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
}

/// Keeps counts as the real store does; fails on demand.
#[derive(Default)]
struct Memory {
    counts: Mutex<Vec<WindowCount>>,
    broken: AtomicBool,
}

#[async_trait]
impl WindowStore for Memory {
    async fn load(&self) -> Result<Vec<WindowCount>, WindowStoreError> {
        Ok(self.counts.lock().unwrap().clone())
    }

    async fn save(&self, counts: &[WindowCount]) -> Result<(), WindowStoreError> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(WindowStoreError::Timeout);
        }
        let mut kept = self.counts.lock().unwrap();
        for count in counts {
            let same = |known: &&mut WindowCount| {
                WindowCount { count: 0, ..(*known).clone() } == WindowCount { count: 0, ..count.clone() }
            };
            match kept.iter_mut().find(same) {
                Some(known) => known.count = known.count.max(count.count),
                None => kept.push(count.clone()),
            }
        }
        Ok(())
    }

    async fn purge(&self, ended_before: Timestamp) -> Result<(), WindowStoreError> {
        self.counts.lock().unwrap().retain(|count| count.ends_at >= ended_before);
        Ok(())
    }
}

#[tokio::test]
async fn windows_survive_a_restart_whichever_comes_first() {
    let limits = || {
        vec![window("day", CountedPer::Client, 10, Period::Day), window("all", CountedPer::Tenant, 10, Period::Month)]
    };
    let store = Memory::default();
    let first = House::new();
    let compiled = first.compile(limits());
    for _ in 0..3 {
        assert!(first.spend(&compiled, "acme", "app").is_ok());
    }
    assert_eq!(first.quotas.flush(&store).await.unwrap(), 2);
    assert_eq!(first.quotas.flush(&store).await.unwrap(), 0, "nothing new, nothing to write");
    assert!(first.spend(&compiled, "acme", "app").is_ok());
    assert_eq!(first.quotas.flush(&store).await.unwrap(), 2);

    for plan_first in [true, false] {
        let second = House::new();
        let compiled = if plan_first {
            let compiled = second.compile(limits());
            second.quotas.load(&store).await.unwrap();
            compiled
        } else {
            second.quotas.load(&store).await.unwrap();
            second.compile(limits())
        };
        assert_eq!(second.used(&compiled, "app"), [4, 4], "plan first: {plan_first}");
        assert_eq!(second.quotas.flush(&store).await.unwrap(), 0, "what was loaded need not be saved");
    }

    let later = House::new();
    later.hands.turn(Duration::from_hours(24));
    later.quotas.load(&store).await.unwrap();
    assert_eq!(later.used(&later.compile(limits()), "app"), [0, 4], "the day is over, the month is not");
}

#[tokio::test]
async fn what_the_store_did_not_take_stays_owed() {
    let store = Memory::default();
    let house = House::new();
    let compiled = house.compile(vec![window("w", CountedPer::Client, 10, Period::Day)]);
    assert!(house.spend(&compiled, "acme", "app").is_ok());
    store.broken.store(true, Ordering::Relaxed);
    assert!(house.quotas.flush(&store).await.is_err());
    store.broken.store(false, Ordering::Relaxed);
    assert_eq!(house.quotas.flush(&store).await.unwrap(), 1);
    assert_eq!(store.counts.lock().unwrap()[0].count, 1);
}

#[tokio::test]
async fn idle_partners_are_forgotten_and_nothing_is_forgotten_that_counts() {
    let house = House::new();
    let compiled = house.compile(vec![
        rate("r", 10, 10, 10),
        window("w", CountedPer::Client, 10, Period::Hour),
        window("t", CountedPer::Tenant, 10, Period::Hour),
        concurrency("c", 10),
    ]);
    let held = house.spend(&compiled, "acme", "busy").unwrap();
    drop(house.spend(&compiled, "globex", "idle").unwrap());
    assert_eq!(house.quotas.retire_idle().accounts, 0, "both were used since the start");
    assert_eq!(house.quotas.retire_idle(), Retired { accounts: 2, counters: 1 }, "idle's concurrency counts nothing");
    assert_eq!(house.used(&compiled, "busy"), [1, 1, 1, 1], "accounts are opened again, with their counts");

    house.hands.turn(Duration::from_hours(2));
    house.quotas.retire_idle();
    let retired = house.quotas.retire_idle();
    assert_eq!(retired, Retired { accounts: 1, counters: 3 }, "the rest but for the lease that is held");
    drop(held);
    assert_eq!(house.quotas.retire_idle().counters, 1);
    assert_eq!(house.used(&compiled, "busy"), [0, 0, 0, 0]);
}

#[test]
fn usage_says_where_a_caller_stands() {
    let house = House::new();
    let compiled = house.compile(vec![
        rate("burst", 60, 60, 20),
        window("daily", CountedPer::Tenant, 1_000, Period::Day),
        concurrency("parallel", 5),
    ]);
    let usage = |house: &House| house.quotas.usage(&compiled, &tenant_id("acme"), &client_id("app"), house.hands.now());
    assert!(usage(&house).iter().all(|limit| limit.used == 0 && limit.resets_at.is_none()), "asking costs nothing");
    let _spent = house.spend(&compiled, "acme", "app").unwrap();
    let shown = serde_json::to_value(usage(&house)).unwrap();
    let expected = serde_json::json!([
        { "name": "burst", "per": "client", "unit": "requests", "limit": 20, "used": 1, "remaining": 19,
          "window_seconds": 20, "resets_at": "2026-07-01T10:00:01Z" },
        { "name": "daily", "per": "tenant", "unit": "requests", "limit": 1000, "used": 1, "remaining": 999,
          "window_seconds": 86400, "resets_at": "2026-07-02T00:00:00Z" },
        { "name": "parallel", "per": "client", "unit": "concurrent-requests", "limit": 5, "used": 1, "remaining": 4 },
    ]);
    assert_eq!(shown, expected);
}

#[test]
fn a_clock_set_back_locks_nobody_out() {
    let house = House::new();
    let compiled = house.compile(vec![rate("r", 10, 10, 2)]);
    assert!(house.spend(&compiled, "acme", "app").is_ok());
    house.hands.0.fetch_sub(3_600_000_000, Ordering::Relaxed);
    assert!(house.spend(&compiled, "acme", "app").is_ok());
    assert!(house.spend(&compiled, "acme", "app").is_err(), "nor does it give anything away");
    house.hands.turn(Duration::from_secs(1));
    assert!(house.spend(&compiled, "acme", "app").is_ok());
}

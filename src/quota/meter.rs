//! One limit's counters, by whom they count.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::concurrency::{Lease, UnderWay};
use super::rate::{Bucket, Rate, TakenAt};
use super::shards::Shards;
use super::window::{COUNT_MAX, CountedIn, Schedule, WindowCell};
use super::{CountedPer, Limit, LimitKind, Plan, PlanError};
use crate::domain::{PlanId, Timestamp};

/// After how long a caller may try again when it has too much under way: nobody knows when that will end.
const CONCURRENCY_RETRY: Duration = Duration::from_secs(1);

/// What makes a limit the same limit after a reload: a limit with an equal id keeps its counters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct MeterId {
    pub plan: PlanId,
    pub limit: String,
    pub per: CountedPer,
    kind: KindId,
}

/// Of a rate all figures; of a window all but the number, which may change in mid-window; of concurrency none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum KindId {
    Rate(LimitKind),
    Window(super::Period, String),
    Concurrency,
}

impl MeterId {
    pub fn of(plan: &PlanId, limit: &Limit) -> Self {
        let kind = match &limit.kind {
            LimitKind::Rate { .. } => KindId::Rate(limit.kind.clone()),
            LimitKind::Window { period, zone, .. } => KindId::Window(*period, zone.clone()),
            LimitKind::Concurrency { .. } => KindId::Concurrency,
        };
        Self { plan: plan.clone(), limit: limit.name.clone(), per: limit.per, kind }
    }
}

pub(super) struct RateMeter {
    pub rate: Rate,
    pub buckets: Shards<Bucket>,
}

pub(super) struct WindowMeter {
    pub schedule: Schedule,
    pub cells: Shards<Arc<WindowCell>>,
}

/// Most counters of one limit. A window's counter lasts as long as the window, at about 150 bytes.
pub const COUNTERS_MAX: usize = 1_000_000;

/// All counters of one limit. Clones share them.
#[derive(Clone)]
pub(super) enum Meter {
    Rate(Arc<RateMeter>),
    Window(Arc<WindowMeter>),
    Concurrency(Arc<Shards<UnderWay>>),
}

impl Meter {
    pub fn new(plan: &Plan, limit: &Limit) -> Result<Self, PlanError> {
        let (plan, name) = (plan.id.clone(), limit.name.clone());
        match &limit.kind {
            LimitKind::Rate { requests, per, burst } => {
                let rate = Rate::new(*requests, *per, *burst).ok_or(PlanError::Rate { plan, name })?;
                Ok(Self::Rate(Arc::new(RateMeter { rate, buckets: Shards::new() })))
            }
            LimitKind::Window { period, zone, .. } => {
                let zone = time_zone(zone).ok_or_else(|| PlanError::Zone { plan, name, zone: zone.clone() })?;
                let schedule = Schedule::new(*period, zone);
                Ok(Self::Window(Arc::new(WindowMeter { schedule, cells: Shards::new() })))
            }
            LimitKind::Concurrency { .. } => Ok(Self::Concurrency(Arc::new(Shards::new()))),
        }
    }

    /// In how much time a rate's empty bucket is full; zero for the other kinds.
    pub fn refill(&self) -> Duration {
        match self {
            Self::Rate(meter) => meter.rate.refill(),
            Self::Window(_) | Self::Concurrency(_) => Duration::ZERO,
        }
    }

    /// The counter of `key`, ready to be spent from under `limit`.
    pub fn slot(&self, limit: &Limit, key: &str) -> Slot {
        match self {
            Self::Rate(meter) => {
                let bucket = meter.buckets.find_or_make(key, Bucket::default);
                Slot::Rate { rate: meter.rate, bucket }
            }
            Self::Window(meter) => {
                let cell = meter.cells.find_or_make(key, Arc::default);
                Slot::Window { meter: Arc::clone(meter), cell, max: window_max(&limit.kind) }
            }
            Self::Concurrency(meter) => {
                let under_way = meter.find_or_make(key, UnderWay::default);
                Slot::Concurrency { under_way, max: concurrency_max(&limit.kind) }
            }
        }
    }

    /// How many counters there are.
    pub fn counters(&self) -> usize {
        match self {
            Self::Rate(meter) => meter.buckets.len(),
            Self::Window(meter) => meter.cells.len(),
            Self::Concurrency(meter) => meter.len(),
        }
    }

    pub fn has(&self, key: &str) -> bool {
        match self {
            Self::Rate(meter) => meter.buckets.find(key).is_some(),
            Self::Window(meter) => meter.cells.find(key).is_some(),
            Self::Concurrency(meter) => meter.find(key).is_some(),
        }
    }

    /// Forgets counters that nobody holds and that count nothing. Returns how many.
    pub fn retire_idle(&self, moment: Moment) -> usize {
        match self {
            Self::Rate(meter) => meter.buckets.retain(|bucket| !bucket.is_idle(moment.steady)),
            Self::Window(meter) => {
                let span = meter.schedule.current(moment.wall);
                meter.cells.retain(|cell| !cell.is_idle(span))
            }
            Self::Concurrency(meter) => meter.retain(|under_way| !under_way.is_idle()),
        }
    }

    /// No plan has it and it counts nothing.
    pub fn is_unused(&self) -> bool {
        match self {
            Self::Rate(meter) => Arc::strong_count(meter) == 1 && meter.buckets.len() == 0,
            Self::Window(meter) => Arc::strong_count(meter) == 1 && meter.cells.len() == 0,
            Self::Concurrency(meter) => Arc::strong_count(meter) == 1 && meter.len() == 0,
        }
    }
}

/// `UTC` needs no database, so that a gateway without one still has windows.
fn time_zone(name: &str) -> Option<TimeZone> {
    if name == "UTC" { Some(TimeZone::UTC) } else { TimeZone::get(name).ok() }
}

fn window_max(kind: &LimitKind) -> u64 {
    match kind {
        LimitKind::Window { requests, .. } => requests.get().min(COUNT_MAX),
        LimitKind::Rate { .. } | LimitKind::Concurrency { .. } => 0,
    }
}

fn concurrency_max(kind: &LimitKind) -> u32 {
    match kind {
        LimitKind::Concurrency { max } => max.get(),
        LimitKind::Rate { .. } | LimitKind::Window { .. } => 0,
    }
}

/// One reading of the clock: the calendar's time, and the rates' (see [`super::steady`]).
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub wall: Timestamp,
    /// Nanoseconds.
    pub steady: u64,
}

/// One partner's counter of one limit, with all that spending from it needs.
pub(super) enum Slot {
    Rate { rate: Rate, bucket: Bucket },
    Window { meter: Arc<WindowMeter>, cell: Arc<WindowCell>, max: u64 },
    Concurrency { under_way: UnderWay, max: u32 },
}

/// What was taken, so that exactly this can be given back.
pub(super) enum Taken {
    Rate(TakenAt),
    Window(CountedIn),
    Concurrency(Lease),
}

impl Slot {
    pub fn take(&self, moment: Moment) -> Option<Taken> {
        match self {
            Self::Rate { rate, bucket } => rate.take(bucket, moment.steady).map(Taken::Rate),
            Self::Window { meter, cell, max } => cell.take(&meter.schedule, moment.wall, *max).map(Taken::Window),
            Self::Concurrency { under_way, max } => under_way.take(*max).map(Taken::Concurrency),
        }
    }

    pub fn give_back(&self, taken: Taken, now: Moment) {
        match (self, taken) {
            (Self::Rate { rate, bucket }, Taken::Rate(at)) => rate.give_back(bucket, &at, now.steady),
            (Self::Window { cell, .. }, Taken::Window(counted)) => cell.give_back(&counted),
            (Self::Rate { .. } | Self::Window { .. } | Self::Concurrency { .. }, taken) => drop(taken),
        }
    }

    pub fn read(&self, moment: Moment) -> Reading {
        match self {
            Self::Rate { rate, bucket } => {
                let level = rate.level(bucket, moment.steady);
                let whole_at = (!level.full_in.is_zero()).then(|| moment.wall.plus(level.full_in));
                let (limit, remaining) = (rate.burst(), level.remaining);
                Reading { limit, used: limit.saturating_sub(remaining), remaining, more_in: level.next_in, whole_at }
            }
            Self::Window { meter, cell, max } => {
                let span = meter.schedule.current(moment.wall);
                let used = cell.count(span);
                let ends_at = Timestamp::from_secs(span.end);
                let more_in = (used > 0).then(|| ends_at.since(moment.wall));
                let whole_at = (used > 0).then_some(ends_at);
                Reading { limit: *max, used, remaining: max.saturating_sub(used), more_in, whole_at }
            }
            Self::Concurrency { under_way, max } => {
                let (used, max) = (u64::from(under_way.count()), u64::from(*max));
                Reading { limit: max, used, remaining: max.saturating_sub(used), more_in: None, whole_at: None }
            }
        }
    }
}

/// Where a limit stands for one partner.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Reading {
    pub limit: u64,
    pub used: u64,
    pub remaining: u64,
    /// Until there is more; `None` if all is there, or nobody knows.
    pub more_in: Option<Duration>,
    /// When all is there again.
    pub whole_at: Option<Timestamp>,
}

impl Reading {
    /// `t`: whole seconds, rounded up, so that who waits for it does not come early.
    pub fn more_in_secs(&self) -> Option<u64> {
        self.more_in.map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
    }

    /// How long a caller who found this limit exhausted has to wait, in whole seconds. Never less than `t`.
    pub fn retry_after(&self) -> Duration {
        self.more_in_secs().map_or(CONCURRENCY_RETRY, |secs| Duration::from_secs(secs.max(1)))
    }
}

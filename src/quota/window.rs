//! Calendar windows: so many requests in each hour, day or month of a time zone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::tz::TimeZone;

use super::Period;
use crate::domain::Timestamp;

/// Most requests that a window can count: the count shares a word with the number of its window.
pub(super) const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
const COUNT_BITS: u32 = 36;

/// A clock set back by up to this much stays in the window that it had reached, so that no window is begun twice.
const STEP_BACK_SECS: i64 = 3_600;

/// One window: from `start` until before `end`, in seconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub start: i64,
    pub end: i64,
}

impl Span {
    /// Names the window. Invariant: grows from window to window (a window is never shorter than half an hour).
    const fn number(self) -> u64 {
        // 28 bits of minutes since the epoch: until the year 2480.
        self.start.div_euclid(60).unsigned_abs() & ((1 << (64 - COUNT_BITS)) - 1)
    }
}

/// Knows which window it is. The next boundary is worked out once per window; then a reading compares integers.
pub(super) struct Schedule {
    period: Period,
    zone: TimeZone,
    /// Start in the upper half, length in the lower, in seconds. Zero before the first reading.
    span: AtomicU64,
}

impl Schedule {
    pub fn new(period: Period, zone: TimeZone) -> Self {
        Self { period, zone, span: AtomicU64::new(0) }
    }

    /// The window that `now` falls into.
    pub fn current(&self, now: Timestamp) -> Span {
        let packed = self.span.load(Ordering::Acquire);
        let start = (packed >> 32).cast_signed();
        let span = Span { start, end: start + (packed & u64::from(u32::MAX)).cast_signed() };
        let now = now.secs();
        if now < span.end && now >= span.start - STEP_BACK_SECS {
            return span;
        }
        let span = self.locate(now).unwrap_or_else(|| self.locate_without_calendar(now));
        let start = u64::from(u32::try_from(span.start).unwrap_or(0));
        let length = u64::from(u32::try_from(span.end - span.start).unwrap_or(0));
        self.span.store(start << 32 | length, Ordering::Release);
        span
    }

    fn locate(&self, now: i64) -> Option<Span> {
        let local = jiff::Timestamp::from_second(now).ok()?.to_zoned(self.zone.clone());
        let (start, end) = match self.period {
            // Hours of elapsed time that begin on the hour of the local clock: an hour that the clock repeats in
            // autumn is a window of its own.
            Period::Hour => {
                let start = now - i64::from(local.minute()) * 60 - i64::from(local.second());
                return Some(Span { start, end: start + 3_600 });
            }
            Period::Day => (local.start_of_day().ok()?, local.tomorrow().ok()?.start_of_day().ok()?),
            Period::Month => {
                let first = local.first_of_month().ok()?.start_of_day().ok()?;
                let next = first.checked_add(jiff::Span::new().months(1)).ok()?.start_of_day().ok()?;
                (first, next)
            }
        };
        Some(Span { start: start.timestamp().as_second(), end: end.timestamp().as_second() })
    }

    /// Beyond the years that the calendar knows, windows are of nominal length.
    fn locate_without_calendar(&self, now: i64) -> Span {
        let length = i64::try_from(self.period.nominal_secs()).unwrap_or(i64::MAX);
        let start = now.div_euclid(length).saturating_mul(length);
        Span { start, end: start.saturating_add(length) }
    }
}

/// What one partner used of the present window: the window's number and the count, in one word.
#[derive(Default)]
pub(super) struct WindowCell {
    used: AtomicU64,
    /// What of it the store has.
    saved: AtomicU64,
    /// What was used of windows that were left, so that a clock that jumps ahead and back, or back and ahead, begins no
    /// window twice. Touched when a window is left, never otherwise. Invariant: no two of one window.
    left: Mutex<[u64; LEFT_MAX]>,
}

/// Windows that a cell remembers besides the present one.
const LEFT_MAX: usize = 2;

const fn pack(number: u64, count: u64) -> u64 {
    number << COUNT_BITS | count
}

const fn unpack(packed: u64) -> (u64, u64) {
    (packed >> COUNT_BITS, packed & COUNT_MAX)
}

/// A use that was counted in this window.
pub(super) struct CountedIn(u64);

impl WindowCell {
    /// Counts one use, or `None` if `max` is reached.
    pub fn take(&self, schedule: &Schedule, now: Timestamp, max: u64) -> Option<CountedIn> {
        let mut number = schedule.current(now).number();
        let mut packed = self.used.load(Ordering::Acquire);
        loop {
            let (counted_in, count) = unpack(packed);
            if counted_in > number {
                // Somebody has counted in a later window. If the schedule has moved on, so do we; if it has not, the
                // clock was set back by more than we bear.
                let again = schedule.current(now).number();
                if again != number {
                    number = again;
                    continue;
                }
            }
            if counted_in != number {
                packed = self.turn(number);
                continue;
            }
            if count >= max {
                return None;
            }
            let next = pack(number, count + 1);
            match self.used.compare_exchange_weak(packed, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(CountedIn(number)),
                Err(newer) => packed = newer,
            }
        }
    }

    /// Leaves the present window for `number`, and goes on with what was counted there before, if anything was.
    /// Returns what is counted now, in that window unless another thread has turned meanwhile.
    fn turn(&self, number: u64) -> u64 {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = |packed: &u64| unpack(*packed).1;
        let before = left.iter().find(|packed| unpack(**packed).0 == number).map_or(0, counted);
        let next = pack(number, before);
        let mut packed = self.used.load(Ordering::Acquire);
        while unpack(packed).0 != number {
            match self.used.compare_exchange_weak(packed, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    // The window that is entered gives its place to the one that is left; else the oldest does.
                    let place = left.iter_mut().min_by_key(|packed| (unpack(**packed).0 != number, **packed));
                    if let Some(place) = place.filter(|_| counted(&packed) > 0) {
                        *place = packed;
                    }
                    return next;
                }
                Err(newer) => packed = newer,
            }
        }
        packed
    }

    /// Takes a use back, unless its window is over.
    pub fn give_back(&self, counted: &CountedIn) {
        let less = |packed| {
            let (number, count) = unpack(packed);
            (number == counted.0 && count > 0).then(|| pack(number, count - 1))
        };
        // An `Err` says that there is nothing to take back.
        let _nothing = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }

    /// Uses counted in `span`.
    pub fn count(&self, span: Span) -> u64 {
        let (number, count) = unpack(self.used.load(Ordering::Acquire));
        if number == span.number() { count } else { 0 }
    }

    /// Raises the count of `span` to what a store remembers of it, never lowers it.
    pub fn merge(&self, span: Span, count: u64) {
        let stored = pack(span.number(), count.min(COUNT_MAX));
        self.used.fetch_max(stored, Ordering::AcqRel);
        self.saved.fetch_max(stored, Ordering::AcqRel);
    }

    /// What the store lacks of `span`.
    pub fn unsaved(&self, span: Span) -> Option<Unsaved> {
        let used = self.used.load(Ordering::Acquire);
        let (number, count) = unpack(used);
        let wanted = number == span.number() && count > 0 && self.saved.load(Ordering::Acquire) != used;
        wanted.then_some(Unsaved { packed: used, count })
    }

    /// Notes that the store has it.
    pub fn saved(&self, unsaved: &Unsaved) {
        self.saved.store(unsaved.packed, Ordering::Release);
    }

    /// Nobody but the meter holds it, and its window is over.
    pub fn is_idle(self: &Arc<Self>, span: Span) -> bool {
        Arc::strong_count(self) == 1 && self.count(span) == 0
    }
}

/// A count that the store does not have yet.
pub(super) struct Unsaved {
    packed: u64,
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::from_micros(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
    }

    fn text(secs: i64) -> String {
        jiff::Timestamp::from_second(secs).unwrap().to_string()
    }

    /// Rules written out, so that the test needs no time zone database.
    fn london() -> TimeZone {
        TimeZone::posix("GMT0BST,M3.5.0/1,M10.5.0").unwrap()
    }

    #[test]
    fn windows_follow_the_calendar_of_the_zone() {
        let lord_howe = || TimeZone::posix("<+1030>-10:30<+11>-11,M10.1.0,M4.1.0").unwrap();
        let cairo = || TimeZone::posix("EET-2EEST,M4.5.5/0,M10.5.4/24").unwrap();
        let kathmandu = || TimeZone::posix("<+0545>-5:45").unwrap();
        for (name, period, zone, now, start, end) in [
            (
                "a day",
                Period::Day,
                TimeZone::UTC,
                "2026-02-03T23:59:59Z",
                "2026-02-03T00:00:00Z",
                "2026-02-04T00:00:00Z",
            ),
            (
                "midnight",
                Period::Day,
                TimeZone::UTC,
                "2026-02-04T00:00:00Z",
                "2026-02-04T00:00:00Z",
                "2026-02-05T00:00:00Z",
            ),
            ("summer", Period::Day, london(), "2026-07-01T23:30:00Z", "2026-07-01T23:00:00Z", "2026-07-02T23:00:00Z"),
            ("23 hours", Period::Day, london(), "2026-03-29T12:00:00Z", "2026-03-29T00:00:00Z", "2026-03-29T23:00:00Z"),
            ("25 hours", Period::Day, london(), "2026-10-25T12:00:00Z", "2026-10-24T23:00:00Z", "2026-10-26T00:00:00Z"),
            (
                "no midnight",
                Period::Day,
                cairo(),
                "2026-04-24T12:00:00Z",
                "2026-04-23T22:00:00Z",
                "2026-04-24T21:00:00Z",
            ),
            (
                "a month",
                Period::Month,
                london(),
                "2026-07-15T00:00:00Z",
                "2026-06-30T23:00:00Z",
                "2026-07-31T23:00:00Z",
            ),
            (
                "over the change",
                Period::Month,
                london(),
                "2026-10-31T00:00:00Z",
                "2026-09-30T23:00:00Z",
                "2026-11-01T00:00:00Z",
            ),
            (
                "leap",
                Period::Month,
                TimeZone::UTC,
                "2028-02-29T23:59:59Z",
                "2028-02-01T00:00:00Z",
                "2028-03-01T00:00:00Z",
            ),
            (
                "year",
                Period::Month,
                TimeZone::UTC,
                "2026-12-31T23:59:59Z",
                "2026-12-01T00:00:00Z",
                "2027-01-01T00:00:00Z",
            ),
            ("an hour", Period::Hour, london(), "2026-07-01T10:59:59Z", "2026-07-01T10:00:00Z", "2026-07-01T11:00:00Z"),
            (
                "quarter zones",
                Period::Hour,
                kathmandu(),
                "2026-07-01T10:20:00Z",
                "2026-07-01T10:15:00Z",
                "2026-07-01T11:15:00Z",
            ),
            (
                "first 1 o'clock",
                Period::Hour,
                london(),
                "2026-10-25T00:30:00Z",
                "2026-10-25T00:00:00Z",
                "2026-10-25T01:00:00Z",
            ),
            (
                "second 1 o'clock",
                Period::Hour,
                london(),
                "2026-10-25T01:30:00Z",
                "2026-10-25T01:00:00Z",
                "2026-10-25T02:00:00Z",
            ),
            (
                "half an hour back",
                Period::Hour,
                lord_howe(),
                "2026-04-04T15:10:00Z",
                "2026-04-04T14:30:00Z",
                "2026-04-04T15:30:00Z",
            ),
        ] {
            let schedule = Schedule::new(period, zone);
            for reading in ["first", "cached"] {
                let span = schedule.current(at(now));
                assert_eq!((text(span.start), text(span.end)), (start.into(), end.into()), "{name}, {reading}");
            }
        }
    }

    #[test]
    fn windows_never_go_back_and_leave_no_gap() {
        for period in [Period::Hour, Period::Day, Period::Month] {
            let schedule = Schedule::new(period, london());
            let mut last = schedule.current(at("2025-12-31T00:00:00Z"));
            let mut now = at("2025-12-31T00:00:00Z").secs();
            while now < at("2027-01-02T00:00:00Z").secs() {
                let span = schedule.current(Timestamp::from_secs(now));
                assert!(span.start <= now && now < span.end, "{period:?}: {now} lies in its window");
                assert!(span == last || span.start >= last.end, "{period:?}: one after the other");
                assert!(span.number() >= last.number());
                last = span;
                now += 601;
            }
        }
    }

    #[test]
    fn a_window_counts_to_its_end_and_starts_again() {
        let schedule = Schedule::new(Period::Hour, TimeZone::UTC);
        let cell = WindowCell::default();
        let first = at("2026-07-01T10:59:59Z");
        assert!(cell.take(&schedule, first, 2).is_some());
        let second = cell.take(&schedule, first, 2).unwrap();
        assert!(cell.take(&schedule, first, 2).is_none(), "full");
        let next = at("2026-07-01T11:00:00Z");
        assert!(cell.take(&schedule, next, 2).is_some(), "a new hour");
        cell.give_back(&second);
        assert_eq!(cell.count(schedule.current(next)), 1, "what was counted in the old hour is not taken from the new");
    }

    #[test]
    fn a_clock_set_back() {
        let schedule = Schedule::new(Period::Day, TimeZone::UTC);
        let cell = WindowCell::default();
        assert!(cell.take(&schedule, at("2026-07-02T00:00:01Z"), 1).is_some());
        assert!(
            cell.take(&schedule, at("2026-07-01T23:59:58Z"), 1).is_none(),
            "by seconds: the window is not begun anew"
        );
        let week = at("2026-06-25T12:00:00Z");
        assert!(cell.take(&schedule, week, 1).is_some(), "by a week: that is another window");
        assert!(cell.take(&schedule, week, 1).is_none());
    }

    #[test]
    fn a_clock_that_jumps_to_and_fro_begins_no_window_twice() {
        let schedule = Schedule::new(Period::Day, TimeZone::UTC);
        let cell = WindowCell::default();
        let take = |day: &str, expected: usize| {
            let taken = (0..9).filter(|_| cell.take(&schedule, at(&format!("2026-07-{day}T12:00:00Z")), 4).is_some());
            assert_eq!(taken.count(), expected, "on the {day}th");
        };
        let once = |day: &str| cell.take(&schedule, at(&format!("2026-07-{day}T12:00:00Z")), 4).is_some();
        assert!(once("02") && once("02") && once("02"), "three of four");
        take("03", 4); // The clock jumps ahead: that is a new day.
        take("02", 1); // And back: one is left of the old.
        take("03", 0);
        take("28", 4);
        take("02", 0);
        take("03", 0);
        take("28", 0);
        take("29", 4);
    }

    #[test]
    fn threads_that_turn_at_once_count_together() {
        const MAX: u64 = 500;
        let (schedule, cell) = (Schedule::new(Period::Day, TimeZone::UTC), WindowCell::default());
        let taken = AtomicU64::new(0);
        for day in ["02", "03", "02", "03"] {
            let now = at(&format!("2026-07-{day}T12:00:00Z"));
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        while cell.take(&schedule, now, MAX).is_some() {
                            taken.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                }
            });
        }
        assert_eq!(taken.into_inner(), 2 * MAX, "each day once");
    }

    #[test]
    fn merging_never_lowers_a_count() {
        let schedule = Schedule::new(Period::Day, TimeZone::UTC);
        let now = at("2026-07-02T10:00:00Z");
        let span = schedule.current(now);
        let cell = WindowCell::default();
        cell.merge(span, 5);
        assert!(cell.unsaved(span).is_none(), "the store has it");
        assert!(cell.take(&schedule, now, 10).is_some());
        cell.merge(span, 3);
        assert_eq!(cell.count(span), 6);
        let unsaved = cell.unsaved(span).unwrap();
        assert_eq!(unsaved.count, 6);
        assert!(cell.take(&schedule, now, 10).is_some());
        cell.saved(&unsaved);
        assert_eq!(cell.unsaved(span).map(|u| u.count), Some(7), "what came after the save is still owed");
    }
}

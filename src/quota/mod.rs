//! How much may a partner use? Plans of rates, calendar windows and concurrency.

mod plan;

pub use plan::{CountedPer, Limit, LimitKind, Period, Plan};

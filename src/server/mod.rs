//! How does it all come to life? Compiles configuration into a snapshot, wires the rooms, reloads, drains.
//!
//! Invariants: a configuration is in force as a whole or not at all; the last good snapshot stays until a better one
//! has compiled; nothing is bound before the first snapshot has compiled.

mod background;
mod change;
mod compile;
mod drafts;
mod entitlements;
mod notify;
mod operations;
mod policies;
mod recorder;
mod reload;
mod revision;
mod running;
mod services;
mod settings;
mod sober;
mod start;
mod world;

pub use compile::{Compiled, compile};
pub use running::Running;
pub use services::{Services, SystemClock, SystemRandom};
pub use settings::oauth_settings;
pub use start::{StartError, start};

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

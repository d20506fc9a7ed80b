//! Monotonic time as nanoseconds since the process started: cheap to store, order and subtract.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Nanoseconds since the process's first look at the clock.
pub type Ticks = u64;

pub const MICROS: Ticks = 1_000;
pub const MILLIS: Ticks = 1_000_000;
pub const SECONDS: Ticks = 1_000_000_000;

fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

pub fn now() -> Ticks {
    u64::try_from(epoch().elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// The same moment for the runtime's timers.
pub fn instant(at: Ticks) -> Instant {
    epoch() + Duration::from_nanos(at)
}

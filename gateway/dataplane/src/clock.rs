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

/// The processor time of this thread, in ns.
pub fn thread_time() -> Ticks {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes one struct of ours; this clock exists for every thread.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec.cast_unsigned() * SECONDS + time.tv_nsec.cast_unsigned()
}

/// The same moment for the runtime's timers.
pub fn instant(at: Ticks) -> Instant {
    epoch() + Duration::from_nanos(at)
}

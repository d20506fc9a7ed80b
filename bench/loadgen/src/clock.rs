//! The run's clock: nanoseconds since it was made, never going back.

use std::time::{Duration, Instant};

pub struct Clock {
    start: Instant,
}

impl Clock {
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// The moment that it calls `ns`.
    pub fn moment(&self, ns: u64) -> Instant {
        self.start + Duration::from_nanos(ns)
    }

    pub fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }
}

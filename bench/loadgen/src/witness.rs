//! Says when the machine took a core away, so that a server is not charged for it.
//!
//! On a shared host every core stands still for milliseconds now and then. A thread of real-time
//! priority wakes on the core every millisecond: no other thread can keep it waiting, so when it is
//! late the core was not there, or the kernel did not let go of it. It takes about a hundredth of
//! the core.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::affinity;

const EVERY: Duration = Duration::from_millis(1);
/// A wake-up so late is a pause; ordinary ones are late by some ten µs.
const LEAST: Duration = Duration::from_micros(300);

/// A time in which a core was not there.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pause {
    pub core: usize,
    /// When it was over, in seconds from the start of counting.
    pub until_s: f64,
    /// By how much the thread woke too late, in µs: the pause was up to 1 ms longer.
    pub late_us: f64,
}

/// One core's witness while it watches.
#[derive(Debug)]
pub struct Witness {
    core: usize,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<(Instant, Duration)>>,
}

impl Witness {
    /// Begins to watch; refused where this user may not use real-time priority.
    pub fn begin(core: usize) -> Result<Self, String> {
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, told) = std::sync::mpsc::channel();
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let ready = affinity::pin_to(core).and_then(|()| at_real_time());
            let failed = ready.is_err();
            let _ = tell.send(ready);
            if failed {
                return Vec::new();
            }
            watch(&stopped)
        });
        told.recv()
            .map_err(|_| "the witness ended".to_owned())
            .flatten()
            .map_err(|error| format!("--witness {core}: {error}"))?;
        Ok(Self { core, stop, thread })
    }

    /// Ends it; what it saw, by the time of the run's counting.
    pub fn end(self, counting: Instant) -> Vec<Pause> {
        self.stop.store(true, Relaxed);
        let seen = self.thread.join().unwrap_or_default();
        let pause = |(until, late): (Instant, Duration)| Pause {
            core: self.core,
            until_s: since(until, counting),
            late_us: late.as_secs_f64() * 1e6,
        };
        seen.into_iter().map(pause).collect()
    }
}

fn watch(stop: &AtomicBool) -> Vec<(Instant, Duration)> {
    let mut seen = Vec::new();
    let mut due = Instant::now() + EVERY;
    while !stop.load(Relaxed) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let now = Instant::now();
        let late = now.saturating_duration_since(due);
        if late >= LEAST {
            seen.push((now, late));
        }
        due = now + EVERY;
    }
    seen
}

/// Seconds from `from` to `at`, negative if it was before.
fn since(at: Instant, from: Instant) -> f64 {
    at.checked_duration_since(from).map_or_else(
        || -from.duration_since(at).as_secs_f64(),
        |d| d.as_secs_f64(),
    )
}

fn at_real_time() -> Result<(), String> {
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: changes this thread's own scheduling and reads one struct.
    let done = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &parameters) };
    if done == 0 {
        Ok(())
    } else {
        Err(format!(
            "no real-time priority: {}",
            io::Error::last_os_error()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_counting_are_negative() {
        let now = Instant::now();
        let later = now + Duration::from_millis(250);
        assert!((since(later, now) - 0.25).abs() < 1e-9);
        assert!((since(now, later) + 0.25).abs() < 1e-9);
    }

    #[test]
    fn a_core_that_is_not_there_cannot_be_watched() {
        let refused = Witness::begin(100_000).err().unwrap_or_default();
        assert!(refused.starts_with("--witness 100000: core"), "{refused}");
    }

    #[test]
    fn what_it_saw_is_told_by_the_core_and_the_time_of_counting() {
        let from = Instant::now();
        let seen = vec![(from + Duration::from_secs(2), Duration::from_millis(3))];
        let witness = Witness {
            core: 1,
            stop: Arc::new(AtomicBool::new(false)),
            thread: std::thread::spawn(move || seen),
        };
        let told = witness.end(from);
        let expected = Pause {
            core: 1,
            until_s: 2.0,
            late_us: 3000.0,
        };
        assert_eq!(told, vec![expected]);
    }
}

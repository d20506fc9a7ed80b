//! Threads that give way to those that serve, and whether they want a core.
//!
//! While one does, no thread looks for input actively: that would leave it nothing. While none does,
//! looking goes on: a core that sleeps takes longer to wake than a small request to answer.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::clock::{Ticks, now};

/// Threads at idle priority that are at work, over the whole process.
static AT_WORK: AtomicUsize = AtomicUsize::new(0);
/// Pieces of work that wait for such a thread.
static WAITING: AtomicUsize = AtomicUsize::new(0);
/// When the thread that waits for work wakes next: it cannot say so itself while it gets no core.
static WAKES: AtomicU64 = AtomicU64::new(0);
/// The same of a thread that always has something to look after; `MAX` while it is awake or there is
/// none.
static WAKES_BESIDE: AtomicU64 = AtomicU64::new(u64::MAX);

/// Threads that speak to callers, and those of them that sleep.
static SERVING: AtomicUsize = AtomicUsize::new(0);
static ASLEEP: AtomicUsize = AtomicUsize::new(0);
/// Threads that compute or make tokens, and do not sleep.
static COMPUTING: AtomicUsize = AtomicUsize::new(0);

/// So many more threads speak to callers; each is awake until it says otherwise.
pub fn serve_with(threads: usize) {
    SERVING.fetch_add(threads, Relaxed);
}

/// A thread that speaks to callers has nothing to do, and wakes when it has.
pub fn falls_asleep() {
    ASLEEP.fetch_add(1, Relaxed);
}

pub fn wakes_up() {
    ASLEEP.fetch_sub(1, Relaxed);
}

/// What a thread that computes for callers, or makes tokens, is counted by for as long as it runs.
#[derive(Debug)]
pub struct Computes(&'static AtomicUsize);

impl Computes {
    #[must_use]
    pub fn begin() -> Self {
        Self::counted_by(&COMPUTING)
    }

    fn counted_by(awake: &'static AtomicUsize) -> Self {
        awake.fetch_add(1, Relaxed);
        Self(awake)
    }

    /// Waits for something to do, by `wait`.
    pub fn asleep<T>(&self, wait: impl FnOnce() -> T) -> T {
        /// Also where `wait` panics.
        struct Wakes(&'static AtomicUsize);
        impl Drop for Wakes {
            fn drop(&mut self) {
                self.0.fetch_add(1, Relaxed);
            }
        }
        self.0.fetch_sub(1, Relaxed);
        let _wakes = Wakes(self.0);
        wait()
    }
}

impl Drop for Computes {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Whether there are threads that speak to callers, at work or not.
pub fn is_serving() -> bool {
    SERVING.load(Relaxed) > 0
}

/// Whether a thread that speaks to callers is at work.
pub fn somebody_serves() -> bool {
    ASLEEP.load(Relaxed) < SERVING.load(Relaxed)
}

/// Whether a thread that callers wait for is at work, whatever it does for them.
pub fn somebody_is_awake() -> bool {
    COMPUTING.load(Relaxed) > 0 || somebody_serves()
}

/// Lets the calling thread have a core soon after it wakes, before threads of lower priority have had
/// their turn: its own turns are short (Linux 6.12 and later; else it changes nothing).
pub fn serve_promptly() {
    // The shortest that the kernel takes.
    const TURN_NS: u64 = 100_000;
    // SAFETY: reads this thread's own nice value, which is kept.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER.cast_unsigned(),
        sched_flags: 0,
        sched_nice: nice,
        sched_priority: 0,
        sched_runtime: TURN_NS,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: changes this thread's own scheduling and reads one struct; 0 means this thread.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
}

/// Puts the calling thread behind those that serve, with a share of their core of about a tenth: what
/// it does has to end some time, also under load. If the system refuses, it stays as it is.
pub fn step_aside() {
    const NICE: libc::c_int = 10;
    // SAFETY: changes this thread's own scheduling.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, libc::gettid().cast_unsigned(), NICE) };
}

/// Puts the calling thread at idle priority. If the system refuses, it stays at the ordinary one.
pub fn step_back() {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: changes this thread's own scheduling and reads one struct.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &parameters) };
}

/// Whether a thread at idle priority wants a core now.
pub fn idle_wants_a_core() -> bool {
    let due = |wakes: &AtomicU64| match wakes.load(Relaxed) {
        Ticks::MAX => false,
        at => now() >= at,
    };
    AT_WORK.load(Relaxed) > 0 || (WAITING.load(Relaxed) > 0 && due(&WAKES)) || due(&WAKES_BESIDE)
}

/// Held by a thread at idle priority while it is at work.
#[derive(Debug)]
pub struct AtWork(());

impl AtWork {
    #[must_use]
    pub fn begin() -> Self {
        AT_WORK.fetch_add(1, Relaxed);
        Self(())
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        AT_WORK.fetch_sub(1, Relaxed);
    }
}

/// Sleeps, at idle priority; until then no core is wanted.
pub fn doze(pause: Duration) {
    let pause_ns = Ticks::try_from(pause.as_nanos()).unwrap_or(Ticks::MAX);
    WAKES.store(now().saturating_add(pause_ns), Relaxed);
    std::thread::sleep(pause);
}

/// The same for the thread that writes the decision log, which wants a core when it should be awake.
pub fn doze_beside(pause: Duration) {
    let pause_ns = Ticks::try_from(pause.as_nanos()).unwrap_or(Ticks::MAX);
    WAKES_BESIDE.store(now().saturating_add(pause_ns), Relaxed);
    std::thread::sleep(pause);
    WAKES_BESIDE.store(Ticks::MAX, Relaxed);
}

/// A piece of work that waits for a thread at idle priority.
#[derive(Debug)]
pub struct Waiting(());

impl Waiting {
    #[must_use]
    pub fn new() -> Self {
        WAITING.fetch_add(1, Relaxed);
        Self(())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        WAITING.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_serves_promptly_keeps_policy_and_nice_value() {
        let thread = std::thread::spawn(|| {
            step_aside();
            serve_promptly();
            // SAFETY: reads this thread's own scheduling.
            let (policy, nice) = unsafe {
                (
                    libc::sched_getscheduler(0),
                    libc::getpriority(libc::PRIO_PROCESS, 0),
                )
            };
            assert_eq!((policy, nice), (libc::SCHED_OTHER, 10));
        });
        assert!(thread.join().is_ok(), "it keeps both");
    }

    #[test]
    fn who_computes_is_awake_but_while_it_waits() {
        static AWAKE: AtomicUsize = AtomicUsize::new(0);
        let computes = Computes::counted_by(&AWAKE);
        assert_eq!(AWAKE.load(Relaxed), 1);
        assert_eq!(computes.asleep(|| AWAKE.load(Relaxed)), 0);
        assert_eq!(AWAKE.load(Relaxed), 1);
        let panicked = std::panic::catch_unwind(|| computes.asleep(|| panic!("while it waits")));
        assert!(panicked.is_err());
        assert_eq!(AWAKE.load(Relaxed), 1, "it has woken all the same");
        drop(computes);
        assert_eq!(AWAKE.load(Relaxed), 0);
        let _of_the_process = Computes::begin();
        assert!(somebody_is_awake());
    }

    #[test]
    fn a_core_is_wanted_by_who_works_and_for_what_waits_once_its_thread_is_awake() {
        // The counters are the process's: other tests may add to them, never take away.
        let at_work = AtWork::begin();
        assert!(idle_wants_a_core());
        drop(at_work);
        let waiting = Waiting::new();
        WAKES.store(0, Relaxed);
        assert!(idle_wants_a_core());
        drop(waiting);
    }
}

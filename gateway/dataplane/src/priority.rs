//! Threads that get a core only when nobody else wants it, and what they have to do.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Pieces of work that wait for an idle core or are at it, over the whole process.
static WORK: AtomicUsize = AtomicUsize::new(0);

/// Puts the calling thread at idle priority. If the system refuses, it stays at the ordinary one.
pub fn step_back() {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: changes this thread's own scheduling and reads one struct.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &parameters) };
}

/// A piece of work for a thread at idle priority. While one exists no thread looks for input
/// actively: that would leave the idle ones nothing.
#[derive(Debug)]
pub struct IdleWork(());

impl IdleWork {
    #[must_use]
    pub fn new() -> Self {
        WORK.fetch_add(1, Relaxed);
        Self(())
    }

    /// Whether there is any.
    pub fn is_there() -> bool {
        WORK.load(Relaxed) > 0
    }
}

impl Drop for IdleWork {
    fn drop(&mut self) {
        WORK.fetch_sub(1, Relaxed);
    }
}

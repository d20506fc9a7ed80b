//! A thread of low priority that gives way also in the middle of somebody else's code.
//!
//! On one core with a thread that serves, one of low priority is given the core at some tick of the
//! clock although the other is runnable, and keeps it for a slice of milliseconds, also if the other
//! wakes meanwhile. Loading a model is one long call of a library, which cannot look up. So a timer
//! interrupts the thread every 100 µs, and its handler sleeps a little: then whoever waits has the
//! core. It sleeps whether or not somebody is known to wait, for who has just been woken and has no
//! core cannot say so; and not longer than a little, for the thread may hold a lock.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::priority::is_serving;

const EVERY_NS: i64 = 100_000;
const SLEEP_NS: i64 = 100_000;

/// As long as it lives the calling thread is courteous. Where the system refuses a timer it is so
/// only by its priority.
#[derive(Debug)]
pub struct Courtesy(Option<libc::timer_t>);

// SAFETY: a timer's number has no thread affinity; the thread that it interrupts is named in it.
unsafe impl Send for Courtesy {}

impl Courtesy {
    pub fn begin() -> Self {
        Self(signal().and_then(timer))
    }
}

impl Drop for Courtesy {
    fn drop(&mut self) {
        if let Some(timer) = self.0 {
            // SAFETY: made by `timer` and deleted once; a signal that is under way finds its handler.
            unsafe { libc::timer_delete(timer) };
        }
    }
}

/// How often a thread has slept so, over the whole process.
static SLEEPS: AtomicU64 = AtomicU64::new(0);

extern "C" fn give_way(_: libc::c_int) {
    if !is_serving() {
        return;
    }
    SLEEPS.fetch_add(1, Relaxed);
    let pause = libc::timespec {
        tv_sec: 0,
        tv_nsec: SLEEP_NS,
    };
    // SAFETY: both calls are allowed in a signal handler; the interrupted code's errno is kept.
    unsafe {
        let errno = libc::__errno_location();
        let kept = *errno;
        libc::nanosleep(&pause, ptr::null_mut());
        *errno = kept;
    }
}

/// The signal that the timers send, its handler installed.
fn signal() -> Option<libc::c_int> {
    static SIGNAL: OnceLock<Option<libc::c_int>> = OnceLock::new();
    *SIGNAL.get_or_init(|| {
        // Real-time signals are nobody's but the program's own.
        let signal = libc::SIGRTMIN() + 5;
        let handler: extern "C" fn(libc::c_int) = give_way;
        // SAFETY: a zeroed sigaction is valid; the handler calls nothing but what a handler may.
        let done = unsafe {
            let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
            action.sa_sigaction = handler as libc::sighandler_t;
            // Calls that it interrupts go on.
            action.sa_flags = libc::SA_RESTART;
            libc::sigemptyset(&mut action.sa_mask);
            libc::sigaction(signal, &action, ptr::null_mut())
        };
        (done == 0).then_some(signal)
    })
}

/// A timer that interrupts the calling thread again and again.
fn timer(signal: libc::c_int) -> Option<libc::timer_t> {
    let mut timer = MaybeUninit::<libc::timer_t>::uninit();
    // SAFETY: a zeroed sigevent is valid; the timer's place is written if the call succeeds.
    unsafe {
        let mut event: libc::sigevent = MaybeUninit::zeroed().assume_init();
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = signal;
        event.sigev_notify_thread_id = libc::gettid();
        if libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, timer.as_mut_ptr()) != 0 {
            return None;
        }
        let timer = timer.assume_init();
        let every = libc::timespec {
            tv_sec: 0,
            tv_nsec: EVERY_NS,
        };
        let times = libc::itimerspec {
            it_interval: every,
            it_value: every,
        };
        if libc::timer_settime(timer, 0, &times, ptr::null_mut()) != 0 {
            libc::timer_delete(timer);
            return None;
        }
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{SECONDS, now};
    use crate::priority::{falls_asleep, serve_with};

    #[test]
    fn a_courteous_thread_sleeps_in_between_and_goes_on_all_the_same() {
        serve_with(1);
        let courtesy = Courtesy::begin();
        assert!(courtesy.0.is_some(), "a timer could be had");
        let (before, begun) = (SLEEPS.load(Relaxed), now());
        while SLEEPS.load(Relaxed) < before + 3 && now() - begun < 10 * SECONDS {
            std::hint::spin_loop();
        }
        assert!(SLEEPS.load(Relaxed) >= before + 3);
        // Nobody of this test's serves any more.
        falls_asleep();
        drop(courtesy);
    }
}

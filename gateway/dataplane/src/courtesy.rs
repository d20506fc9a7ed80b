//! A thread of low priority that gives way also in the middle of somebody else's code.
//!
//! On one core with a thread that serves, one of low priority is given the core at some tick of the
//! clock although the other is runnable, and keeps it for a slice of milliseconds, also if the other
//! wakes meanwhile. Loading a model is one long call of a library, which cannot look up. So a timer
//! interrupts the thread after every 100 µs, and its handler sleeps a little: then whoever waits has
//! the core. A thread of low priority sleeps whether or not somebody is known to wait, for who has just
//! been woken and has no core cannot say so; and not longer than a little, for the thread may hold a
//! lock. One at idle priority loses the core to whoever wakes, so it sleeps only while a thread that
//! callers wait for is awake: a core that sleeps for nothing is a core that wakes late.

use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::priority::{is_serving, somebody_is_awake};

const WORK: libc::timespec = libc::timespec {
    tv_sec: 0,
    tv_nsec: 100_000,
};
const SLEEP: libc::timespec = libc::timespec {
    tv_sec: 0,
    tv_nsec: 100_000,
};

/// When a courteous thread sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GiveWay {
    /// Whenever there are threads that speak to callers.
    Always,
    /// While a thread that callers wait for is awake. For a thread at idle priority.
    ToWhoIsAwake,
}

thread_local! {
    static GIVES_WAY: Cell<GiveWay> = const { Cell::new(GiveWay::Always) };
    /// This thread's timer, if it has one: the first of a process is number 0, which is null. Without a
    /// destructor, so that a handler may read it.
    static TIMER: Cell<Option<libc::timer_t>> = const { Cell::new(None) };
}

/// As long as it lives the calling thread is courteous; it is dropped by the same thread. Where the
/// system refuses a timer it is so only by its priority.
#[derive(Debug)]
pub struct Courtesy(PhantomData<*const ()>);

impl Courtesy {
    pub fn begin(gives_way: GiveWay) -> Self {
        GIVES_WAY.set(gives_way);
        if let Some(timer) = signal().and_then(timer) {
            TIMER.set(Some(timer));
            arm(timer);
        }
        Self(PhantomData)
    }
}

impl Drop for Courtesy {
    fn drop(&mut self) {
        if let Some(timer) = TIMER.take() {
            // SAFETY: made by `timer` and deleted once; a signal that is under way finds none.
            unsafe { libc::timer_delete(timer) };
        }
    }
}

/// Lets a timer interrupt once. Not again and again: what would have come while the handler slept
/// would come at once after it, and the thread would never get on.
fn arm(timer: libc::timer_t) {
    let once = libc::itimerspec {
        it_interval: libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        },
        it_value: WORK,
    };
    // SAFETY: the timer is this thread's; the call is allowed in a signal handler. A timer that
    // cannot be armed leaves the thread as courteous as its priority.
    unsafe { libc::timer_settime(timer, 0, &once, ptr::null_mut()) };
}

/// How often a thread has slept so, over the whole process.
static SLEEPS: AtomicU64 = AtomicU64::new(0);

extern "C" fn give_way(_: libc::c_int) {
    let Some(timer) = TIMER.get() else {
        return;
    };
    // SAFETY: the calls are allowed in a signal handler; the interrupted code's errno is kept.
    unsafe {
        let errno = libc::__errno_location();
        let kept = *errno;
        let sleeps = match GIVES_WAY.get() {
            GiveWay::Always => is_serving(),
            GiveWay::ToWhoIsAwake => somebody_is_awake(),
        };
        if sleeps {
            SLEEPS.fetch_add(1, Relaxed);
            libc::nanosleep(&SLEEP, ptr::null_mut());
        }
        arm(timer);
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

/// A timer that interrupts the calling thread, not armed yet.
fn timer(signal: libc::c_int) -> Option<libc::timer_t> {
    let mut timer = MaybeUninit::<libc::timer_t>::uninit();
    // SAFETY: a zeroed sigevent is valid; the timer's place is written if the call succeeds.
    unsafe {
        let mut event: libc::sigevent = MaybeUninit::zeroed().assume_init();
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = signal;
        event.sigev_notify_thread_id = libc::gettid();
        let done = libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, timer.as_mut_ptr());
        (done == 0).then(|| timer.assume_init())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{MILLIS, SECONDS, now, thread_time};
    use crate::priority::{Computes, falls_asleep, serve_with};

    #[test]
    fn a_courteous_thread_sleeps_in_between_and_goes_on_all_the_same() {
        // Awake for as long as the test lasts, whatever other tests' threads do.
        serve_with(1);
        let _computes = Computes::begin();
        for gives_way in [GiveWay::Always, GiveWay::ToWhoIsAwake] {
            sleeps_and_gets_on(gives_way);
        }
        // Nobody of this test's speaks to callers any more.
        falls_asleep();
    }

    fn sleeps_and_gets_on(gives_way: GiveWay) {
        let courtesy = Courtesy::begin(gives_way);
        assert!(TIMER.get().is_some(), "a timer could be had");
        let (before, begun, used) = (SLEEPS.load(Relaxed), now(), thread_time());
        // So much work of its own: a thread that only slept would never have done it.
        while thread_time() - used < 20 * MILLIS && now() - begun < 20 * SECONDS {
            std::hint::spin_loop();
        }
        assert!(thread_time() - used >= 20 * MILLIS, "it gets on");
        assert!(SLEEPS.load(Relaxed) > before, "and sleeps");
        drop(courtesy);
        assert!(TIMER.get().is_none());
    }
}

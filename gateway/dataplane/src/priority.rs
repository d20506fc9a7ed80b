//! Threads that get a core only when nobody else wants it.

/// Puts the calling thread at idle priority. If the system refuses, it stays at the ordinary one.
pub fn step_back() {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: changes this thread's own scheduling and reads one struct.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &parameters) };
}

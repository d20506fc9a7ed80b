//! Where one I/O runtime and the lanes exchange requests and answers, in bulk: one wake-up a
//! burst, because a wake-up across threads costs more than a small model.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, oneshot};

use super::{Executor, Job, Reply, lock};
use crate::clock::{Ticks, now, thread_time};
use crate::priority::idle_wants_a_core;

type Answered = (oneshot::Sender<Reply>, Reply);

#[derive(Default)]
pub struct Port {
    outbox: Mutex<Vec<Job>>,
    outgoing: Notify,
    inbox: Mutex<Vec<Answered>>,
    incoming: Notify,
    meter: Meter,
}

/// How many requests the port's thread can take in a second, by the processor time that they have
/// cost. Idle times make a request look dearer than it is, so the best that was seen counts.
#[derive(Default)]
struct Meter {
    per_second: AtomicU64,
}

/// Taken for granted until something was measured, in requests a second.
const CAPACITY: u64 = 100_000;
/// Requests that make a measurement.
const ENOUGH: u64 = 20_000;

impl Port {
    /// Requests a second that this port's thread can take.
    pub fn capacity(&self) -> u64 {
        match self.meter.per_second.load(Relaxed) {
            0 => CAPACITY,
            measured => measured,
        }
    }

    /// Hands a request's parts over; they leave with the others of the same burst.
    pub fn send(&self, parts: impl IntoIterator<Item = Job>) {
        let mut outbox = lock(&self.outbox);
        let was_empty = outbox.is_empty();
        outbox.extend(parts);
        if was_empty {
            self.outgoing.notify_one();
        }
    }

    /// Whether nothing waits to leave.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.outbox).is_empty()
    }

    pub(super) fn deliver(&self, replies: &mut Vec<Answered>) {
        let mut inbox = lock(&self.inbox);
        if inbox.is_empty() {
            std::mem::swap(&mut *inbox, replies);
        } else {
            inbox.append(replies);
        }
        drop(inbox);
        self.incoming.notify_one();
    }

    /// Runs on the port's own runtime for as long as the server lives.
    ///
    /// After a burst it keeps the runtime looking for input for up to `spin` ns, unless a lane is
    /// at work: an idle core takes longer to wake than a small request takes to answer. Where
    /// threads at idle priority have work the core is theirs, and is not idle.
    pub async fn pump(self: Arc<Self>, executor: Arc<Executor>, spin: Ticks) {
        let mut active = 0;
        let (mut taken, mut spent) = (0, thread_time());
        loop {
            tokio::select! {
                biased;
                () = self.outgoing.notified() => {
                    let jobs = std::mem::take(&mut *lock(&self.outbox));
                    taken += jobs.len() as u64;
                    executor.submit(jobs);
                    if taken >= ENOUGH {
                        let now = thread_time();
                        let rate = taken * 1_000_000_000 / now.saturating_sub(spent).max(1);
                        self.meter.per_second.fetch_max(rate, Relaxed);
                        (taken, spent) = (0, now);
                    }
                }
                () = self.incoming.notified() => {
                    let replies = std::mem::take(&mut *lock(&self.inbox));
                    for (sender, reply) in replies {
                        // Nobody listens any more: the caller went away.
                        let _ = sender.send(reply);
                    }
                }
                () = tokio::task::yield_now(), if now() < active && !idle_wants_a_core() => continue,
            }
            active = if spin > 0 && !idle_wants_a_core() && executor.is_idle() {
                now() + spin
            } else {
                0
            };
        }
    }
}

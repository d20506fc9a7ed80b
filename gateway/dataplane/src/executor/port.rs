//! Where one I/O runtime and the lanes exchange requests and answers, in bulk: one wake-up a
//! burst, because a wake-up across threads costs more than a small model.

use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, oneshot};

use super::{Executor, Job, Reply, lock};
use crate::clock::{Ticks, now};

type Answered = (oneshot::Sender<Reply>, Reply);

#[derive(Default)]
pub struct Port {
    outbox: Mutex<Vec<Job>>,
    outgoing: Notify,
    inbox: Mutex<Vec<Answered>>,
    incoming: Notify,
}

impl Port {
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
    /// at work: an idle core takes longer to wake than a small request takes to answer.
    pub async fn pump(self: Arc<Self>, executor: Arc<Executor>, spin: Ticks) {
        let mut active = 0;
        loop {
            tokio::select! {
                biased;
                () = self.outgoing.notified() => {
                    let jobs = std::mem::take(&mut *lock(&self.outbox));
                    executor.submit(jobs);
                }
                () = self.incoming.notified() => {
                    let replies = std::mem::take(&mut *lock(&self.inbox));
                    for (sender, reply) in replies {
                        // Nobody listens any more: the caller went away.
                        let _ = sender.send(reply);
                    }
                }
                () = tokio::task::yield_now(), if now() < active => continue,
            }
            active = if spin > 0 && executor.is_idle() {
                now() + spin
            } else {
                0
            };
        }
    }
}

//! The executor's state and its decisions: who is let in, what runs next and on which lane. Nothing
//! here waits or runs a model; the lock around it is the executor's.

use std::sync::{Arc, Mutex};

use super::{Job, ModelId, Reply};
use crate::clock::Ticks;
use crate::engine::Lane;
use crate::metrics::ModelMetrics;
use crate::model::contract::Contract;
use crate::sched::admission::{Limits, Load, Refusal, admit};
use crate::sched::batch::take;
use crate::sched::cost::CostTable;
use crate::sched::queue::{EdfQueue, Ticket, Waiting};

/// What of a model never changes and is read without the lock.
pub struct Fixed {
    pub contract: Contract,
    /// One a lane.
    pub lanes: Vec<Mutex<Box<dyn Lane>>>,
    pub limits: Limits,
    pub wait: Ticks,
    pub metrics: Arc<ModelMetrics>,
}

pub struct Slot {
    pub fixed: Arc<Fixed>,
    pub queue: EdfQueue<Job>,
    pub cost: CostTable,
}

/// A lane is free or runs one batch; whoever runs it holds it, a lane's thread or a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneState {
    Free,
    /// By the cost table it will be free at `until`; if it is not, `again` is a fair guess of what
    /// is still to come.
    Busy {
        until: Ticks,
        again: Ticks,
    },
}

/// A batch on its way to the lane that it has taken.
pub struct Batch {
    pub lane: usize,
    pub id: ModelId,
    pub fixed: Arc<Fixed>,
    pub jobs: Vec<Waiting<Job>>,
    pub rows: usize,
}

/// What there is to do next.
pub enum Next {
    Run(Batch),
    /// Nothing may start before this time, or before something changes.
    Wait(Option<Ticks>),
}

pub struct State {
    pub slots: Vec<Slot>,
    pub lanes: Vec<LaneState>,
    /// Threads that wait for work.
    pub sleeping: usize,
    pub closing: bool,
}

impl State {
    pub fn new(lanes: usize) -> Self {
        Self {
            slots: Vec::new(),
            lanes: vec![LaneState::Free; lanes],
            sleeping: 0,
            closing: false,
        }
    }

    pub fn nothing_queued(&self) -> bool {
        self.slots.iter().all(|s| s.queue.is_empty())
    }

    pub fn free_lane(&self) -> Option<usize> {
        self.lanes.iter().position(|l| *l == LaneState::Free)
    }

    pub fn admit(&self, job: &Job, now: Ticks) -> Result<(), Refusal> {
        let slot = &self.slots[job.model.0];
        let busy = self.lanes.iter().map(|lane| match *lane {
            LaneState::Free => 0,
            // An overrun batch is not done: take the same again.
            LaneState::Busy { until, again } => until.checked_sub(now).unwrap_or(again).max(1),
        });
        let others = self.slots.iter().enumerate();
        let others = others.filter(|(i, s)| *i != job.model.0 && !s.queue.is_empty());
        let others = others.map(|(_, s)| {
            s.cost.backlog(
                s.queue.rows_until(job.ticket.deadline),
                s.fixed.limits.max_batch,
            )
        });
        let load = Load {
            now,
            busy: busy.min().unwrap_or(0),
            others: others.sum(),
            lanes: self.lanes.len(),
        };
        let deadline = job.ticket.deadline;
        admit(
            &slot.queue,
            &slot.cost,
            slot.fixed.limits,
            load,
            job.rows,
            deadline,
        )
    }

    /// Requests whose deadline has passed, and when the next one will.
    pub fn expired(&mut self, now: Ticks) -> (Vec<Job>, Option<Ticks>) {
        let mut dead = Vec::new();
        let mut next: Option<Ticks> = None;
        for slot in &mut self.slots {
            while slot.queue.head().is_some_and(|(t, _)| t.deadline <= now) {
                dead.extend(slot.queue.pop().map(|(_, w)| w.job));
            }
            if let Some((ticket, _)) = slot.queue.head() {
                next = Some(next.map_or(ticket.deadline, |n| n.min(ticket.deadline)));
            }
        }
        (dead, next)
    }

    /// Everything that is queued, for a server that stops waiting.
    pub fn empty(&mut self) -> Vec<Job> {
        let slots = self.slots.iter_mut();
        slots
            .flat_map(|s| std::iter::from_fn(|| s.queue.pop()).map(|(_, w)| w.job))
            .collect()
    }

    /// The model whose head is due first among those that may start; if none may, until when.
    fn due(&self, now: Ticks) -> Result<usize, Option<Ticks>> {
        let mut until: Option<Ticks> = None;
        let mut first: Option<(Ticket, usize)> = None;
        for (index, slot) in self.slots.iter().enumerate() {
            let Some((ticket, head)) = slot.queue.head() else {
                continue;
            };
            let at = slot.ready_at(ticket, head.job.arrived, self.closing);
            if at > now {
                until = Some(until.map_or(at, |u| u.min(at)));
            } else if first.is_none_or(|f| (ticket, index) < f) {
                first = Some((ticket, index));
            }
        }
        first.map(|(_, index)| index).ok_or(until)
    }

    /// The next batch, of the model whose head is due first, and the lane it takes. Requests that
    /// can no longer be met are put among the replies.
    ///
    /// A guest passes a `limit`: it takes nothing that, by the cost table, may last longer.
    pub fn next(
        &mut self,
        now: Ticks,
        limit: Option<Ticks>,
        replies: &mut Vec<(Job, Reply)>,
    ) -> Next {
        let Some(lane) = self.free_lane() else {
            return Next::Wait(None);
        };
        loop {
            let index = match self.due(now) {
                Ok(index) => index,
                Err(until) => return Next::Wait(until),
            };
            let slot = &mut self.slots[index];
            if limit.is_some_and(|limit| !slot.is_cheap(limit)) {
                return Next::Wait(None);
            }
            let max_batch = slot.fixed.limits.max_batch;
            let gone = |job: &Job| job.reply.is_closed();
            let taken = take(&mut slot.queue, &slot.cost, max_batch, now, gone);
            replies.extend(
                taken
                    .expired
                    .into_iter()
                    .map(|(_, w)| (w.job, Reply::Expired)),
            );
            if taken.batch.is_empty() {
                continue;
            }
            let typical = slot.cost.typical(taken.rows);
            self.lanes[lane] = LaneState::Busy {
                until: now + typical,
                again: typical,
            };
            let jobs = taken.batch.into_iter().map(|(_, w)| w).collect();
            let fixed = Arc::clone(&slot.fixed);
            return Next::Run(Batch {
                lane,
                id: ModelId(index),
                fixed,
                jobs,
                rows: taken.rows,
            });
        }
    }
}

impl Slot {
    /// When this queue's head may start: at once, unless the model was told to wait for more rows
    /// and the head can afford it.
    fn ready_at(&self, head: Ticket, arrived: Ticks, closing: bool) -> Ticks {
        let limits = self.fixed.limits;
        if self.fixed.wait == 0 || closing || self.queue.rows() >= limits.max_batch {
            return 0;
        }
        let latest = head
            .deadline
            .saturating_sub(self.cost.bound(limits.max_batch));
        arrived.saturating_add(self.fixed.wait).min(latest)
    }

    fn is_cheap(&self, limit: Ticks) -> bool {
        let rows = self.queue.rows().min(self.fixed.limits.max_batch);
        self.cost.last_sample() > 0 && self.cost.typical(rows) <= limit
    }
}

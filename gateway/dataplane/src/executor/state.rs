//! The executor's state and its decisions: who is let in, what runs next and on which lane. Nothing
//! here waits or runs a model; the lock around it is the executor's.

use std::sync::{Arc, Mutex};

use super::room::{Newcomer, make_room};
use super::{Job, ModelId, NewModel, Parts, Reply};
use crate::clock::Ticks;
use crate::engine::Lane;
use crate::metrics::ModelMetrics;
use crate::model::contract::Contract;
use crate::sched::admission::{Ask, Limits, Load, Refusal, admit};
use crate::sched::batch::{Dropped, Fate, take};
use crate::sched::codel::Codel;
use crate::sched::cost::CostTable;
use crate::sched::queue::{EdfQueue, Ticket, Waiting};
use crate::shadow::Door;

/// What of a model never changes and is read without the lock.
pub struct Fixed {
    pub contract: Contract,
    /// One a lane.
    pub lanes: Vec<Mutex<Box<dyn Lane>>>,
    pub metrics: Arc<ModelMetrics>,
    pub shadow: Door,
}

/// What of a model may be set anew while it serves.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub limits: Limits,
    /// How long a batch may wait for more rows, in ns.
    pub wait: Ticks,
    /// What callers without a deadline may expect, in ns.
    pub objective: Ticks,
}

/// The requests of one model whose rows have about the same length: only they share a batch, so
/// that little of it is padding.
pub struct LengthQueue {
    /// Tokens of the longest row that belongs here.
    pub longest: usize,
    pub queue: EdfQueue<Job>,
    pub cost: CostTable,
}

impl LengthQueue {
    /// Lane time to work off what is due by `deadline`, in ns.
    fn due_by(&self, deadline: Ticks, max_batch: usize) -> Ticks {
        self.cost
            .backlog(self.queue.rows_until(deadline), max_batch)
    }
}

pub struct Slot {
    pub fixed: Arc<Fixed>,
    pub settings: Settings,
    /// By length, shortest first; one for a model of fixed shapes.
    pub queues: Vec<LengthQueue>,
    pub codel: Codel,
    /// Lanes whose device is gone.
    pub lost: Vec<bool>,
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

/// Where a queue is: the model's slot and the queue's place in it.
pub type Place = (usize, usize);

/// A batch on its way to the lane that it has taken.
pub struct Batch {
    pub lane: usize,
    pub place: Place,
    pub fixed: Arc<Fixed>,
    pub jobs: Vec<Waiting<Job>>,
    pub rows: usize,
}

/// What one call of an engine took.
#[derive(Debug, Clone, Copy)]
pub struct Ran {
    pub rows: usize,
    /// In ns.
    pub cost: Ticks,
    /// By its own word, much of it was preparation.
    pub first: bool,
}

/// What there is to do next.
pub enum Next {
    Run(Batch),
    /// Nothing may start before this time, or before something changes.
    Wait(Option<Ticks>),
}

pub struct State {
    /// A model that was taken away leaves its place to the next one.
    pub slots: Vec<Option<Slot>>,
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

    pub fn add(&mut self, model: NewModel) -> ModelId {
        let queues = model.costs.into_iter().map(|(longest, cost)| LengthQueue {
            longest,
            queue: EdfQueue::default(),
            cost,
        });
        let slot = Slot {
            queues: queues.collect(),
            codel: Codel::new(model.settings.objective),
            settings: model.settings,
            lost: vec![false; model.lanes.len()],
            fixed: Arc::new(Fixed {
                contract: model.contract,
                lanes: model.lanes.into_iter().map(Mutex::new).collect(),
                metrics: model.metrics,
                shadow: model.shadow,
            }),
        };
        let place = self.slots.iter().position(Option::is_none);
        let place = place.unwrap_or(self.slots.len());
        if place == self.slots.len() {
            self.slots.push(None);
        }
        self.slots[place] = Some(slot);
        ModelId(place)
    }

    pub fn slot(&self, id: ModelId) -> Option<&Slot> {
        self.slots.get(id.0).and_then(Option::as_ref)
    }

    pub fn slot_mut(&mut self, id: ModelId) -> Option<&mut Slot> {
        self.slots.get_mut(id.0).and_then(Option::as_mut)
    }

    /// Every queue of every model.
    pub fn places(&self) -> impl Iterator<Item = (Place, &Slot, &LengthQueue)> {
        let slots = self.slots.iter().enumerate();
        let slots = slots.filter_map(|(i, s)| s.as_ref().map(|s| (i, s)));
        slots.flat_map(|(i, slot)| {
            let queues = slot.queues.iter().enumerate();
            queues.map(move |(j, queue)| ((i, j), slot, queue))
        })
    }

    pub fn nothing_queued(&self) -> bool {
        self.places().all(|(_, _, q)| q.queue.is_empty())
    }

    pub fn free_lane(&self) -> Option<usize> {
        self.lanes.iter().position(|l| *l == LaneState::Free)
    }

    fn load(&self, now: Ticks) -> Load {
        let busy = self.lanes.iter().map(|lane| match *lane {
            LaneState::Free => 0,
            // An overrun batch is not done: take the same again.
            LaneState::Busy { until, again } => until.checked_sub(now).unwrap_or(again).max(1),
        });
        Load {
            now,
            busy: busy.min().unwrap_or(0),
            lanes: self.lanes.len(),
        }
    }

    /// Lets all parts of a request in, or none, and gives back what was refused. What gave way to it
    /// is put among the replies.
    ///
    /// A request that finds everything idle is judged by the least cost measured, since computing
    /// it delays nobody.
    pub fn admit(
        &mut self,
        parts: Parts,
        now: Ticks,
        replies: &mut Vec<(Job, Reply)>,
    ) -> Option<(Parts, Refusal)> {
        let first = parts.first()?;
        let (id, deadline) = (first.model, first.ticket.deadline);
        let newcomer = Newcomer {
            model: id,
            priority: first.priority,
            owner: first.owner,
            deadline,
            rows: parts.iter().map(|p| p.rows).sum(),
        };
        let Some(slot) = self.slot(id) else {
            replies.extend(parts.into_iter().map(|job| (job, Reply::Closed)));
            return None;
        };
        if slot.lost.iter().all(|lost| *lost) {
            let why: Arc<str> = "its device is gone".into();
            let failed = |job| (job, Reply::Failed(Arc::clone(&why)));
            replies.extend(parts.into_iter().map(failed));
            return None;
        }
        let load = self.load(now);
        let all = self
            .places()
            .map(|(_, slot, q)| q.cost.backlog(q.queue.rows(), slot.max_batch()));
        let all = all.fold(0, Ticks::saturating_add);
        let idle = load.busy == 0 && self.nothing_queued();
        let mut own: Ticks = 0;
        let mut on_trial = idle;
        for part in &parts {
            let queue = &slot.queues[slot.queue_of(part)];
            on_trial &= queue.cost.is_stale(part.rows, now);
            own = own.saturating_add(match idle {
                true => queue.cost.least(part.rows),
                false => queue.cost.promise(part.rows, now).0,
            });
        }
        let queued: usize = slot.queues.iter().map(|q| q.queue.rows()).sum();
        let over = (queued + newcomer.rows).saturating_sub(slot.settings.limits.queue_rows);
        let verdict = if over > 0 {
            let retry = all / self.lanes.len().max(1) as u64;
            Err((Refusal::QueueFull { retry }, Short::Rows(over)))
        } else {
            let ask = Ask {
                deadline,
                own,
                on_trial,
            };
            let due_before = || {
                let places = self.places();
                places
                    .map(|(_, slot, q)| q.due_by(deadline, slot.max_batch()))
                    .fold(0, Ticks::saturating_add)
            };
            admit(ask, load, all, due_before).map_err(|refusal| {
                let short = match refusal {
                    Refusal::CannotMeet { retry: Some(short) } => short,
                    _ => Ticks::MAX,
                };
                (refusal, Short::Time(short))
            })
        };
        if let Err((refusal, short)) = verdict {
            match make_room(self, newcomer, short) {
                Some(gave_way) => {
                    let told = |(job, why)| (job, Reply::Refused(Refusal::GaveWay(why)));
                    replies.extend(gave_way.into_iter().map(told));
                }
                None => return Some((parts, refusal)),
            }
        }
        if let Some(slot) = self.slot_mut(id) {
            for mut job in parts {
                let place = slot.queue_of(&job);
                let cost = &mut slot.queues[place].cost;
                job.on_trial = cost.promise(job.rows, now).1;
                if job.on_trial {
                    cost.on_trial(job.rows, now);
                }
                let (ticket, rows) = (job.ticket, job.rows);
                let (priority, owner) = (job.priority, job.owner);
                let waiting = Waiting {
                    rows,
                    priority,
                    owner,
                    job,
                };
                slot.queues[place].queue.push(ticket, waiting);
            }
        }
        None
    }

    /// Whether a request of this model that must end by `deadline` is refused whatever its length,
    /// so that its text need not be tokenised.
    pub fn is_hopeless(&self, id: ModelId, deadline: Ticks, now: Ticks) -> bool {
        let Some(slot) = self.slot(id) else {
            return false;
        };
        let least = slot.queues.iter().map(|q| q.cost.least(1)).min();
        let load = self.load(now);
        let due = self
            .places()
            .map(|(_, s, q)| q.due_by(deadline, s.max_batch()));
        let work = due.fold(0, Ticks::saturating_add) / self.lanes.len().max(1) as u64;
        let needed = load.busy.saturating_add(work);
        now.saturating_add(needed.saturating_add(least.unwrap_or(0))) > deadline && needed > 0
    }

    /// Requests whose deadline has passed, and when the next one will.
    pub fn expired(&mut self, now: Ticks) -> (Vec<Job>, Option<Ticks>) {
        let mut dead = Vec::new();
        let mut next: Option<Ticks> = None;
        let slots = self.slots.iter_mut().flatten();
        for LengthQueue { queue, .. } in slots.flat_map(|s| &mut s.queues) {
            while queue.head().is_some_and(|(t, _)| t.deadline <= now) {
                dead.extend(queue.pop().map(|(_, w)| w.job));
            }
            if let Some((ticket, _)) = queue.head() {
                next = Some(next.map_or(ticket.deadline, |n| n.min(ticket.deadline)));
            }
        }
        (dead, next)
    }

    /// Everything that is queued, for a server that stops waiting.
    pub fn empty(&mut self) -> Vec<Job> {
        self.slots
            .iter_mut()
            .flatten()
            .flat_map(Slot::empty)
            .collect()
    }

    /// The queue whose head is due first among those that may start, and the lane for it; if none
    /// may, until when.
    fn due(&self, now: Ticks) -> Result<(Place, usize), Option<Ticks>> {
        let mut until: Option<Ticks> = None;
        let mut first: Option<(Ticket, Place, usize)> = None;
        for (place, slot, queue) in self.places() {
            let Some((ticket, _)) = queue.queue.head() else {
                continue;
            };
            let at = slot.ready_at(queue, ticket, self.closing);
            if at > now {
                until = Some(until.map_or(at, |u| u.min(at)));
                continue;
            }
            let free = |lane: &usize| self.lanes[*lane] == LaneState::Free && !slot.lost[*lane];
            let Some(lane) = (0..self.lanes.len()).find(free) else {
                continue;
            };
            if first.is_none_or(|f| (ticket, place) < (f.0, f.1)) {
                first = Some((ticket, place, lane));
            }
        }
        first.map(|(_, place, lane)| (place, lane)).ok_or(until)
    }

    /// The next batch, of the queue whose head is due first, and the lane it takes. Requests that
    /// can no longer be met are put among the replies.
    ///
    /// A guest passes a `limit`: it takes nothing that, by the cost table, may last longer.
    pub fn next(
        &mut self,
        now: Ticks,
        limit: Option<Ticks>,
        replies: &mut Vec<(Job, Reply)>,
    ) -> Next {
        if self.free_lane().is_none() {
            return Next::Wait(None);
        }
        loop {
            let (place, lane) = match self.due(now) {
                Ok(found) => found,
                Err(until) => return Next::Wait(until),
            };
            let other_queues = self
                .places()
                .any(|(other, _, q)| other != place && !q.queue.is_empty());
            let Some(slot) = self.slots[place.0].as_mut() else {
                return Next::Wait(None);
            };
            let max_batch = slot.settings.limits.max_batch;
            let queue = &mut slot.queues[place.1];
            if limit.is_some_and(|limit| !queue.is_cheap(max_batch, limit)) {
                return Next::Wait(None);
            }
            let codel = &mut slot.codel;
            let fate = |job: &Job| {
                if job.reply.is_closed() {
                    Fate::Gone
                } else if job.patient && codel.shed(now.saturating_sub(job.arrived), now) {
                    Fate::Shed
                } else {
                    Fate::Run
                }
            };
            let taken = take(
                &mut queue.queue,
                &mut queue.cost,
                max_batch,
                now,
                other_queues,
                |job| job.on_trial,
                fate,
            );
            replies.extend(taken.dropped.into_iter().map(|(_, w, why)| match why {
                Dropped::Expired => (w.job, Reply::Expired),
                Dropped::Shed => (w.job, Reply::Refused(Refusal::Overload)),
            }));
            if taken.batch.is_empty() {
                continue;
            }
            let typical = queue.cost.typical(taken.rows);
            self.lanes[lane] = LaneState::Busy {
                until: now + typical,
                again: typical,
            };
            let jobs = taken.batch.into_iter().map(|(_, w)| w).collect();
            return Next::Run(Batch {
                lane,
                place,
                fixed: Arc::clone(&slot.fixed),
                jobs,
                rows: taken.rows,
            });
        }
    }

    /// Files what batches of a queue have cost.
    pub fn record(&mut self, place: Place, ran: &[Ran], now: Ticks) {
        let slot = self.slots.get_mut(place.0).and_then(Option::as_mut);
        if let Some(queue) = slot.and_then(|s| s.queues.get_mut(place.1)) {
            for &Ran { rows, cost, first } in ran {
                if first {
                    queue.cost.record_first(rows, cost, now);
                } else {
                    queue.cost.record(rows, cost, now);
                }
            }
        }
    }
}

/// By how much a request does not fit.
#[derive(Debug, Clone, Copy)]
pub enum Short {
    Rows(usize),
    /// Lane time, in ns.
    Time(Ticks),
}

impl Slot {
    pub fn max_batch(&self) -> usize {
        self.settings.limits.max_batch
    }

    fn queue_of(&self, job: &Job) -> usize {
        let length = job.inputs.length();
        let place = self.queues.partition_point(|q| q.longest < length);
        place.min(self.queues.len() - 1)
    }

    pub fn is_empty(&self) -> bool {
        self.queues.iter().all(|q| q.queue.is_empty())
    }

    /// Takes everything out.
    pub fn empty(&mut self) -> Vec<Job> {
        let queues = self.queues.iter_mut();
        queues
            .flat_map(|q| std::iter::from_fn(|| q.queue.pop()).map(|(_, w)| w.job))
            .collect()
    }

    /// When this queue's head may start: at once, unless the model was told to wait for more rows
    /// and the head can afford it. The wait counts from the oldest request's arrival.
    fn ready_at(&self, queue: &LengthQueue, head: Ticket, closing: bool) -> Ticks {
        let Settings { limits, wait, .. } = self.settings;
        if wait == 0 || closing || queue.queue.rows() >= limits.max_batch {
            return 0;
        }
        let oldest = queue.queue.iter().map(|(_, w)| w.job.arrived).min();
        let latest = head
            .deadline
            .saturating_sub(queue.cost.bound(limits.max_batch));
        oldest.unwrap_or(0).saturating_add(wait).min(latest)
    }
}

impl LengthQueue {
    fn is_cheap(&self, max_batch: usize, limit: Ticks) -> bool {
        let rows = self.queue.rows().min(max_batch);
        self.cost.last_sample() > 0 && self.cost.typical(rows) <= limit
    }
}

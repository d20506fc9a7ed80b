//! Who gives way when a request does not fit: requests that matter less; then those of callers that
//! hold more of the queue than their share; and in a full queue those that are due later. Nothing
//! gives way unless that makes room.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::state::{LengthQueue, Place, Short, Slot, State};
use super::{Job, ModelId};
use crate::clock::Ticks;
use crate::sched::admission::GaveWay;
use crate::sched::queue::{Held, Owner, Priority, Ticket, Waiting};

/// The request that wants in.
#[derive(Debug, Clone, Copy)]
pub struct Newcomer {
    pub model: ModelId,
    pub priority: Priority,
    pub owner: Owner,
    pub deadline: Ticks,
    pub rows: usize,
}

/// A queued request that may give way.
struct Candidate {
    why: GaveWay,
    priority: Priority,
    /// What its caller holds for its share, the most first.
    load: usize,
    ticket: Ticket,
    caller: u16,
    place: Place,
    rows: usize,
    /// Lane time that it takes, in ns.
    cost: Ticks,
}

/// Takes requests out of their queues so that the newcomer fits. `None` if that cannot be had.
pub fn make_room(
    state: &mut State,
    newcomer: Newcomer,
    short: Short,
) -> Option<Vec<(Job, GaveWay)>> {
    if matches!(short, Short::Time(Ticks::MAX)) {
        return None;
    }
    let mut held = held(state, newcomer);
    let own = held.get(&newcomer.owner.caller).copied().unwrap_or(Held {
        rows: 0,
        share: newcomer.owner.share,
    });
    let mut candidates: Vec<Candidate> = state
        .places()
        .filter(|(place, _, queue)| may_hold_any(*place, queue, newcomer, short, &held))
        .flat_map(|(place, slot, queue)| in_queue(place, slot, queue, newcomer, short, &held))
        .collect();
    // What matters least goes first, then what is most over its share, and of that what is due last.
    candidates.sort_by_key(|c| Reverse((c.priority, c.load, c.ticket)));
    let lanes = state.lanes.len().max(1) as u64;
    let (mut rows, mut time) = (0, 0);
    let mut leaving = Vec::new();
    let mut enough = false;
    for candidate in candidates {
        if let Some(theirs) = held.get_mut(&candidate.caller) {
            // Each that leaves brings its caller nearer to its share.
            if candidate.why == GaveWay::ToShare && !theirs.is_above(own, newcomer.rows) {
                continue;
            }
            theirs.rows -= candidate.rows.min(theirs.rows);
        }
        rows += candidate.rows;
        time += candidate.cost;
        leaving.push((candidate.place, candidate.ticket, candidate.why));
        enough = match short {
            Short::Rows(short) => rows >= short,
            Short::Time(short) => time / lanes >= short,
        };
        if enough {
            break;
        }
    }
    if !enough {
        return None;
    }
    let mut gave_way = Vec::with_capacity(leaving.len());
    for ((slot, queue), ticket, why) in leaving {
        let slot = state.slots.get_mut(slot)?.as_mut()?;
        let left = slot.queues.get_mut(queue)?.queue.remove(&ticket);
        gave_way.extend(left.map(|w| (w.job, why)));
    }
    Some(gave_way)
}

/// What every named caller holds, over the queues that it would compete in.
fn held(state: &State, newcomer: Newcomer) -> BTreeMap<u16, Held> {
    let mut all: BTreeMap<u16, Held> = BTreeMap::new();
    if newcomer.owner.caller == Owner::ANYBODY.caller {
        return all;
    }
    for (_, _, queue) in state.places() {
        for (caller, held) in queue.queue.held() {
            let share = held.share;
            all.entry(*caller).or_insert(Held { rows: 0, share }).rows += held.rows;
        }
    }
    all
}

/// A quick look, so that most queues need not be walked.
fn may_hold_any(
    place: Place,
    queue: &LengthQueue,
    newcomer: Newcomer,
    short: Short,
    held: &BTreeMap<u16, Held>,
) -> bool {
    let here = matches!(short, Short::Time(_)) || place.0 == newcomer.model.index();
    let below = queue.queue.rows_below(newcomer.priority) > 0;
    let later = matches!(short, Short::Rows(_))
        && queue
            .queue
            .last_deadline()
            .is_some_and(|d| d > newcomer.deadline);
    let others = held.keys().any(|caller| *caller != newcomer.owner.caller);
    here && (below || later || others)
}

fn in_queue(
    place: Place,
    slot: &Slot,
    queue: &LengthQueue,
    newcomer: Newcomer,
    short: Short,
    held: &BTreeMap<u16, Held>,
) -> Vec<Candidate> {
    let all_rows = queue.queue.rows();
    let all = queue.cost.backlog(all_rows, slot.max_batch());
    // A row's share of the whole queue: batching makes rows cheaper in company.
    let cost = |rows: usize| (u128::from(all) * rows as u128 / all_rows.max(1) as u128) as Ticks;
    let candidate = |(ticket, waiting): (Ticket, &Waiting<Job>)| {
        let why = why(ticket, waiting, newcomer, short, held)?;
        let owned = held.get(&waiting.owner.caller);
        Some(Candidate {
            why,
            priority: waiting.priority,
            load: owned.map_or(0, |h| h.rows * 1_000 / usize::from(h.share.max(1))),
            ticket,
            caller: waiting.owner.caller,
            place,
            rows: waiting.rows,
            cost: cost(waiting.rows),
        })
    };
    queue.queue.iter().filter_map(candidate).collect()
}

/// Why a queued request would give way to the newcomer, if it would.
fn why(
    ticket: Ticket,
    waiting: &Waiting<Job>,
    newcomer: Newcomer,
    short: Short,
    held: &BTreeMap<u16, Held>,
) -> Option<GaveWay> {
    let later = ticket.deadline > newcomer.deadline;
    // Only work that is due before the newcomer delays it.
    if matches!(short, Short::Time(_)) && later {
        return None;
    }
    if waiting.priority > newcomer.priority {
        return Some(GaveWay::ToPriority);
    }
    if waiting.priority < newcomer.priority {
        return None;
    }
    let own = held.get(&newcomer.owner.caller).copied().unwrap_or(Held {
        rows: 0,
        share: newcomer.owner.share,
    });
    let theirs = held.get(&waiting.owner.caller);
    let other = waiting.owner.caller != newcomer.owner.caller;
    if other && theirs.is_some_and(|t| t.is_above(own, newcomer.rows)) {
        return Some(GaveWay::ToShare);
    }
    // A caller's own later requests, or anybody's where nobody has a share.
    let comparable = !other || theirs.is_none();
    (matches!(short, Short::Rows(_)) && later && comparable).then_some(GaveWay::ToDeadline)
}

//! Who gives way when a request does not fit: requests that matter less, and in a full queue also
//! those of the same priority that are due later. Nothing gives way unless that makes room.

use super::state::{LengthQueue, Place, Short, State};
use super::{Job, ModelId};
use crate::clock::Ticks;
use crate::sched::queue::{Priority, Ticket};

/// A queued request that may give way.
struct Candidate {
    priority: Priority,
    ticket: Ticket,
    place: Place,
    rows: usize,
    /// Lane time that it takes, in ns.
    cost: Ticks,
}

/// Takes requests out of their queues so that one of `priority`, due by `deadline`, fits. `None` if
/// that cannot be had.
pub fn make_room(
    state: &mut State,
    model: ModelId,
    priority: Priority,
    deadline: Ticks,
    short: Short,
) -> Option<Vec<Job>> {
    let mut candidates: Vec<Candidate> = match short {
        // Only work that is due before the request delays it.
        Short::Time(Ticks::MAX) => return None,
        Short::Time(_) => candidates(state, |_, queue| queue.queue.rows_below(priority) > 0)
            .filter(|c| c.priority > priority && c.ticket.deadline <= deadline)
            .collect(),
        Short::Rows(_) => {
            let matters = |place: Place, queue: &LengthQueue| {
                let later = queue.queue.last_deadline().is_some_and(|d| d > deadline);
                place.0 == model.0 && (later || queue.queue.rows_below(priority) > 0)
            };
            candidates(state, matters)
                .filter(|c| {
                    c.priority > priority
                        || (c.priority == priority && c.ticket.deadline > deadline)
                })
                .collect()
        }
    };
    // What matters least goes first, and of that what is due last.
    candidates.sort_by_key(|c| std::cmp::Reverse((c.priority, c.ticket)));
    let lanes = state.lanes.len().max(1) as u64;
    let (mut rows, mut time) = (0, 0);
    let enough = candidates.iter().position(|c| {
        rows += c.rows;
        time += c.cost;
        match short {
            Short::Rows(short) => rows >= short,
            Short::Time(short) => time / lanes >= short,
        }
    })?;
    let mut gave_way = Vec::with_capacity(enough + 1);
    for candidate in &candidates[..=enough] {
        let slot = state.slots.get_mut(candidate.place.0)?.as_mut()?;
        let queue = &mut slot.queues.get_mut(candidate.place.1)?.queue;
        gave_way.extend(queue.remove(&candidate.ticket).map(|w| w.job));
    }
    Some(gave_way)
}

/// The requests of the queues that `matters` picks.
fn candidates(
    state: &State,
    matters: impl Fn(Place, &LengthQueue) -> bool,
) -> impl Iterator<Item = Candidate> {
    state
        .places()
        .filter(move |(place, _, queue)| matters(*place, queue))
        .flat_map(|(place, slot, queue)| {
            let rows = queue.queue.rows();
            let all = queue.cost.backlog(rows, slot.max_batch());
            // A row's share of the whole queue: batching makes rows cheaper in company.
            let share =
                move |n: usize| (u128::from(all) * n as u128 / rows.max(1) as u128) as Ticks;
            queue.queue.iter().map(move |(ticket, waiting)| Candidate {
                priority: waiting.priority,
                ticket,
                place,
                rows: waiting.rows,
                cost: share(waiting.rows),
            })
        })
}

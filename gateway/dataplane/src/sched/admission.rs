//! Whether a request is let into the queue: only if there is room and its deadline can be met.

use super::cost::CostTable;
use super::queue::EdfQueue;
use crate::clock::Ticks;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The queue holds as many rows as it may.
    QueueFull,
    /// By the cost table, the answer would come after the deadline.
    CannotMeet,
}

/// What the lanes look like to a request that arrives.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub now: Ticks,
    /// Lane time that must pass before the first new batch can start, in ns.
    pub busy: Ticks,
    /// Lane time of other models' queued rows that are due before this request, in ns.
    pub others: Ticks,
    pub lanes: usize,
}

/// Limits of one model's queue and batches, in rows.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub max_batch: usize,
    pub queue_rows: usize,
}

/// Decides on a request of `rows` rows whose batch must have ended at `deadline`.
///
/// The test is now + rest of the running batches + work due earlier + own cost against the time
/// that it is due. A request that finds everything idle is judged by the least cost
/// measured, since computing it delays nobody.
pub fn admit<T>(
    queue: &EdfQueue<T>,
    cost: &CostTable,
    limits: Limits,
    load: Load,
    rows: usize,
    deadline: Ticks,
) -> Result<(), Refusal> {
    if queue.rows() + rows > limits.queue_rows {
        return Err(Refusal::QueueFull);
    }
    if deadline <= load.now {
        return Err(Refusal::CannotMeet);
    }
    let slack = deadline - load.now;
    let idle = queue.is_empty() && load.busy == 0 && load.others == 0;
    let own = if idle {
        cost.least(rows)
    } else {
        cost.promise(rows, load.now)
    };
    let fixed = load.busy.saturating_add(own);
    let lanes = load.lanes.max(1) as u64;
    let fits = |ahead: usize| {
        let work = cost
            .backlog(ahead, limits.max_batch)
            .saturating_add(load.others);
        fixed.saturating_add(work / lanes) <= slack
    };
    // The whole queue is an upper bound and known at once; only if that does not fit, count.
    if fits(queue.rows()) || fits(queue.rows_until(deadline)) {
        return Ok(());
    }
    if idle && cost.is_stale(rows, load.now) {
        return Ok(());
    }
    Err(Refusal::CannotMeet)
}

#[cfg(test)]
mod tests {
    use super::super::queue::Ticket;
    use super::*;
    use crate::clock::{MILLIS, SECONDS};

    const LIMITS: Limits = Limits {
        max_batch: 8,
        queue_rows: 16,
    };

    fn load(busy: Ticks) -> Load {
        Load {
            now: 100 * MILLIS,
            busy,
            others: 0,
            lanes: 1,
        }
    }

    fn five_ms_a_row() -> CostTable {
        let mut cost = CostTable::new(8);
        for rows in 1..=8 {
            cost.record(rows, rows as u64 * 5 * MILLIS, 100 * MILLIS);
        }
        cost
    }

    fn queued(rows: usize, deadline: Ticks) -> EdfQueue<()> {
        let mut queue = EdfQueue::default();
        for sequence in 0..rows as u64 {
            queue.push(Ticket { deadline, sequence }, 1, ());
        }
        queue
    }

    #[test]
    fn a_request_is_let_in_exactly_as_long_as_its_deadline_can_be_met() {
        let cost = five_ms_a_row();
        let at = |ahead, ms: u64| {
            let queue = queued(ahead, 101 * MILLIS);
            admit(
                &queue,
                &cost,
                LIMITS,
                load(2 * MILLIS),
                1,
                (100 + ms) * MILLIS,
            )
        };
        assert_eq!(at(0, 7), Ok(()));
        assert_eq!(at(0, 6), Err(Refusal::CannotMeet));
        assert_eq!(at(2, 17), Ok(()));
        assert_eq!(at(2, 16), Err(Refusal::CannotMeet));
    }

    #[test]
    fn work_that_is_due_later_does_not_count_against_an_urgent_request() {
        let queue = queued(8, 500 * MILLIS);
        let verdict = admit(&queue, &five_ms_a_row(), LIMITS, load(0), 1, 106 * MILLIS);
        assert_eq!(verdict, Ok(()));
    }

    #[test]
    fn a_full_queue_refuses_whatever_the_deadline() {
        let queue = queued(16, 500 * MILLIS);
        let verdict = admit(&queue, &CostTable::new(8), LIMITS, load(0), 1, u64::MAX);
        assert_eq!(verdict, Err(Refusal::QueueFull));
    }

    #[test]
    fn a_deadline_that_has_passed_is_refused() {
        let verdict = admit(
            &queued(0, 0),
            &CostTable::new(8),
            LIMITS,
            load(0),
            1,
            100 * MILLIS,
        );
        assert_eq!(verdict, Err(Refusal::CannotMeet));
    }

    #[test]
    fn a_table_that_refuses_everything_is_tried_again_after_a_second() {
        let cost = five_ms_a_row();
        let mut load = load(0);
        let due = |load: Load| load.now + MILLIS;
        assert_eq!(
            admit(&queued(0, 0), &cost, LIMITS, load, 1, due(load)),
            Err(Refusal::CannotMeet)
        );
        load.now += SECONDS + 1;
        assert_eq!(
            admit(&queued(0, 0), &cost, LIMITS, load, 1, due(load)),
            Ok(())
        );
    }

    #[test]
    fn other_models_work_and_more_lanes_are_counted() {
        let cost = five_ms_a_row();
        let mut load = load(0);
        load.others = 20 * MILLIS;
        let due = 120 * MILLIS;
        assert_eq!(
            admit(&queued(0, 0), &cost, LIMITS, load, 1, due),
            Err(Refusal::CannotMeet)
        );
        load.lanes = 2;
        assert_eq!(admit(&queued(0, 0), &cost, LIMITS, load, 1, due), Ok(()));
    }
}

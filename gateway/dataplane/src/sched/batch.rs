//! Which requests run together next: work-conserving, never past the earliest deadline, and only
//! as many rows as batching makes cheaper.

use super::cost::CostTable;
use super::queue::{EdfQueue, Ticket, Waiting};
use crate::clock::Ticks;

/// A larger batch must beat a smaller one's rows per second by this much to be worth its wait.
const WORTH_PERCENT: u128 = 103;

/// What a batch costs beside the model: taking it, sharing its outputs out, waking its callers.
const AROUND: Ticks = 5 * crate::clock::MICROS;

/// What becomes of a request when it leaves the queue, as far as it is known without its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Run,
    /// Nobody waits for it any more.
    Gone,
    /// It is shed because the queue stood too long.
    Shed,
}

/// Why a request left the queue without being run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// Its deadline can no longer be met, or nobody waits for it.
    Expired,
    Shed,
}

/// What was taken off a queue.
#[derive(Debug)]
pub struct Taken<T> {
    pub batch: Vec<(Ticket, Waiting<T>)>,
    pub rows: usize,
    /// Requests that are answered, not computed.
    pub dropped: Vec<(Ticket, Waiting<T>, Dropped)>,
}

/// Takes the next batch.
///
/// `fate` is asked once for each request that would leave. Requests whose deadline cannot be met
/// even alone are dropped too: those that could by the least cost ever measured are given the
/// chance if nothing else waits, here or in `other_queues`, or if they were let in on `trial`.
pub fn take<T>(
    queue: &mut EdfQueue<T>,
    cost: &mut CostTable,
    max_batch: usize,
    now: Ticks,
    other_queues: bool,
    trial: impl Fn(&T) -> bool,
    mut fate: impl FnMut(&T) -> Fate,
) -> Taken<T> {
    let mut taken = Taken {
        batch: Vec::new(),
        rows: 0,
        dropped: Vec::new(),
    };
    drop_hopeless(queue, cost, now, other_queues, &trial, &mut taken.dropped);
    let Some((head, _)) = queue.head() else {
        return taken;
    };
    let slack = head.deadline.saturating_sub(now);
    let best = best_prefix(queue, cost, max_batch, slack);
    let look = larger_prefix(queue, cost, best, max_batch, slack, now);
    if look.is_some() {
        cost.looked(now);
    }
    let wanted = look.unwrap_or(best);
    // In rows, not requests: one that is dropped makes room for nobody.
    while let Some((_, next)) = queue.head() {
        if !taken.batch.is_empty() && taken.rows + next.rows > wanted {
            break;
        }
        let Some((ticket, waiting)) = queue.pop() else {
            break;
        };
        match fate(&waiting.job) {
            Fate::Run => {
                taken.rows += waiting.rows;
                taken.batch.push((ticket, waiting));
            }
            Fate::Gone => taken.dropped.push((ticket, waiting, Dropped::Expired)),
            Fate::Shed => taken.dropped.push((ticket, waiting, Dropped::Shed)),
        }
        // The next head may have been behind a row that took its time.
        if taken.batch.is_empty() {
            drop_hopeless(queue, cost, now, other_queues, &trial, &mut taken.dropped);
        }
    }
    taken
}

/// Removes heads that cannot be answered in time.
fn drop_hopeless<T>(
    queue: &mut EdfQueue<T>,
    cost: &CostTable,
    now: Ticks,
    other_queues: bool,
    trial: &impl Fn(&T) -> bool,
    dropped: &mut Vec<(Ticket, Waiting<T>, Dropped)>,
) {
    while let Some((ticket, head)) = queue.head() {
        let alone = queue.len() == 1 && !other_queues;
        let own = if alone || trial(&head.job) {
            cost.least(head.rows)
        } else {
            cost.bound(head.rows)
        };
        let finish = now.saturating_add(own);
        // Nothing measured lately: let it run, so that the table learns.
        let stale = alone && cost.is_stale(head.rows, now);
        let hopeless = ticket.deadline <= now || (finish > ticket.deadline && !stale);
        if !hopeless {
            return;
        }
        let head = queue.pop();
        dropped.extend(head.map(|(t, w)| (t, w, Dropped::Expired)));
    }
}

/// How many rows from the head to run together: the smallest batch whose rows per second no
/// larger one beats by more than `WORTH_PERCENT`, among those that end within `slack`.
///
/// With a fixed cost per batch this takes nearly all that waits; where a row costs the same in
/// any company (a large encoder on a CPU) it runs them one by one, so that the first caller does
/// not wait for the last.
fn best_prefix<T>(queue: &EdfQueue<T>, cost: &CostTable, max_batch: usize, slack: Ticks) -> usize {
    let (mut best_rows, mut best_cost) = (0usize, 0u64);
    let mut rows = 0;
    let mut trying = None;
    for (index, (_, waiting)) in queue.iter().enumerate() {
        rows += waiting.rows;
        if index > 0 && (rows > max_batch || cost.bound(rows) > slack) {
            break;
        }
        // One size that has never run at a time, so that a slow model is found out in steps.
        if let Some(unknown) = cost.unknown(rows)
            && *trying.get_or_insert(unknown) != unknown
        {
            break;
        }
        let this = cost.typical(rows) + AROUND;
        // rows / this > best_rows / best_cost · 1.03, without division.
        let gain = rows as u128 * best_cost as u128 * 100;
        if index == 0 || gain >= best_rows as u128 * this as u128 * WORTH_PERCENT {
            (best_rows, best_cost) = (rows, this);
        }
    }
    best_rows
}

/// How many rows to run in place of `best`, to see what they cost: now and then somewhat more, if
/// so many wait and their earliest deadline leaves time for the worst.
fn larger_prefix<T>(
    queue: &EdfQueue<T>,
    cost: &CostTable,
    best: usize,
    max_batch: usize,
    slack: Ticks,
    now: Ticks,
) -> Option<usize> {
    let sizes = cost.worth_a_look(best, now)?;
    let most = (*sizes.end()).min(max_batch);
    let mut rows = 0;
    let mut found = None;
    for (_, waiting) in queue.iter() {
        rows += waiting.rows;
        if rows > most || cost.bound(rows) > slack {
            break;
        }
        found = Some(rows);
    }
    found.filter(|rows| sizes.contains(rows))
}

#[cfg(test)]
mod tests {
    use super::super::queue::{Owner, Priority};
    use super::*;
    use crate::clock::MILLIS;
    use proptest::prelude::*;

    fn table(per_batch: Ticks, per_row: Ticks) -> CostTable {
        let mut cost = CostTable::new(64);
        for rows in super::super::cost::bucket_sizes(64) {
            cost.record(rows, per_batch + per_row * rows as u64, 0);
        }
        cost
    }

    fn waiting(rows: usize, gone: bool) -> Waiting<bool> {
        Waiting {
            rows,
            priority: Priority::DEFAULT,
            owner: Owner::ANYBODY,
            job: gone,
        }
    }

    fn queue(entries: &[(Ticks, usize)]) -> EdfQueue<bool> {
        let mut queue = EdfQueue::default();
        for (i, &(deadline, rows)) in entries.iter().enumerate() {
            queue.push(
                Ticket {
                    deadline,
                    sequence: i as u64,
                },
                waiting(rows, false),
            );
        }
        queue
    }

    fn take_all(q: &mut EdfQueue<bool>, cost: &CostTable, now: Ticks) -> Taken<bool> {
        take_learning(q, &mut cost.clone(), now)
    }

    fn take_learning(q: &mut EdfQueue<bool>, cost: &mut CostTable, now: Ticks) -> Taken<bool> {
        take(
            q,
            cost,
            64,
            now,
            false,
            |_| false,
            |gone| if *gone { Fate::Gone } else { Fate::Run },
        )
    }

    #[test]
    fn a_fixed_cost_per_batch_takes_all_that_waits() {
        let mut q = queue(&[(MILLIS, 1); 40]);
        let taken = take_all(&mut q, &table(100_000, 100), 0);
        assert_eq!((taken.batch.len(), taken.rows, q.len()), (40, 40, 0));
    }

    #[test]
    fn a_model_that_costs_nothing_is_batched_all_the_same() {
        let mut q = queue(&[(MILLIS, 1); 40]);
        assert!(take_all(&mut q, &table(0, 50), 0).rows > 30);
    }

    #[test]
    fn a_cost_that_grows_with_every_row_runs_them_one_by_one() {
        let mut q = queue(&[(50 * MILLIS, 1); 5]);
        assert_eq!(take_all(&mut q, &table(0, 5 * MILLIS), 0).rows, 1);
    }

    #[test]
    fn a_batch_never_grows_past_the_earliest_deadline() {
        let mut q = queue(&[(10 * MILLIS, 1), (900 * MILLIS, 1), (900 * MILLIS, 1)]);
        // 1 row 7 ms, 2 rows 9 ms, 3 rows 11 ms.
        let taken = take_all(&mut q, &table(5 * MILLIS, 2 * MILLIS), 0);
        assert_eq!(taken.batch.len(), 2);
    }

    #[test]
    fn what_cannot_be_met_any_more_is_answered_and_not_computed() {
        let mut q = queue(&[(2 * MILLIS, 1), (20 * MILLIS, 1)]);
        let taken = take_all(&mut q, &table(0, 5 * MILLIS), 0);
        assert_eq!(taken.dropped.len(), 1);
        assert_eq!(taken.batch[0].0.deadline, 20 * MILLIS);
    }

    #[test]
    fn the_least_cost_is_hoped_for_only_where_nothing_else_waits() {
        let mut cost = CostTable::new(8);
        for run in 0..50 {
            cost.record(1, if run == 0 { MILLIS } else { 5 * MILLIS }, 0);
        }
        for (other_queues, run) in [(false, 1), (true, 0)] {
            let mut q = queue(&[(2 * MILLIS, 1)]);
            let taken = take(
                &mut q,
                &mut cost,
                8,
                0,
                other_queues,
                |_| false,
                |_| Fate::Run,
            );
            assert_eq!((taken.batch.len(), taken.dropped.len()), (run, 1 - run));
        }
    }

    #[test]
    fn a_cancelled_request_is_never_computed() {
        let mut q = queue(&[(MILLIS, 1), (MILLIS, 1), (MILLIS, 1)]);
        let ticket = Ticket {
            deadline: MILLIS,
            sequence: 1,
        };
        q.remove(&ticket);
        q.push(ticket, waiting(1, true));
        let taken = take_all(&mut q, &table(1000, 1), 0);
        assert_eq!((taken.batch.len(), taken.dropped.len()), (2, 1));
    }

    #[test]
    fn a_cancelled_request_makes_room_for_nobody_beyond_the_limit() {
        let mut q = queue(&[(MILLIS, 60), (MILLIS, 2), (MILLIS, 10)]);
        let ticket = Ticket {
            deadline: MILLIS,
            sequence: 1,
        };
        q.remove(&ticket);
        q.push(ticket, waiting(2, true));
        assert_eq!(take_all(&mut q, &table(1000, 1), 0).rows, 60);
    }

    #[test]
    fn a_model_of_which_only_one_row_was_measured_learns_to_batch() {
        let mut cost = CostTable::new(64);
        cost.record(1, 20 * MILLIS, 0);
        let mut largest = 1;
        for round in 1..20 {
            let now = round * 100 * MILLIS;
            let mut q = queue(&[(now + 2_000 * MILLIS, 1); 64]);
            let rows = take_all(&mut q, &cost, now).rows;
            largest = largest.max(rows);
            cost.record(rows, 20 * MILLIS, now);
        }
        assert!(
            largest > 32,
            "{largest} rows at most, though a batch costs the same as a row"
        );
    }

    /// Batches of a queue of 64 that never empties, for so long; `spoilt` is what the first batch of
    /// two rows takes. The sizes that were run, in order.
    fn run_on(cost_of: impl Fn(usize) -> Ticks, spoilt: Ticks, seconds: u64) -> Vec<usize> {
        let mut cost = CostTable::new(64);
        cost.record(1, cost_of(1), 0);
        cost.record(2, spoilt, 0);
        let (mut now, mut sizes) = (MILLIS, Vec::new());
        while now < seconds * 1_000 * MILLIS {
            let mut q = queue(&[(now + 5_000 * MILLIS, 1); 64]);
            let rows = take_learning(&mut q, &mut cost, now).rows;
            sizes.push(rows);
            now += cost_of(rows);
            cost.record(rows, cost_of(rows), now);
        }
        sizes
    }

    #[test]
    fn one_spoilt_measurement_does_not_keep_batches_small() {
        let sizes = run_on(|_| MILLIS, 9 * MILLIS, 4);
        let full = sizes.iter().rev().take(2_000).filter(|r| **r == 64);
        assert_eq!(full.count(), 2_000);
    }

    #[test]
    fn a_model_that_gains_nothing_is_tried_once_a_second_and_then_believed() {
        let sizes = run_on(|rows| 5 * MILLIS * rows as u64, 10 * MILLIS, 60);
        let looks = sizes.iter().filter(|rows| **rows > 1).count();
        assert!((12..=20).contains(&looks), "{looks}");
        assert!(sizes.iter().all(|rows| *rows <= 2));
        assert!(sizes.iter().rev().take(4_000).all(|rows| *rows == 1));
    }

    /// As on a GPU: the first run of each number of rows takes 20 times as long.
    #[test]
    fn slow_first_runs_do_not_keep_batches_small() {
        let mut cost = CostTable::new(64);
        cost.record(1, MILLIS, 0);
        let (mut now, mut seen, mut sizes) = (MILLIS, std::collections::HashSet::new(), vec![]);
        while now < 1_000 * MILLIS {
            let mut q = queue(&[(now + 5_000 * MILLIS, 1); 64]);
            let rows = take_learning(&mut q, &mut cost, now).rows;
            sizes.push(rows);
            if seen.insert(rows) {
                now += 20 * MILLIS;
                cost.record_first(rows, 20 * MILLIS, now);
            } else {
                now += MILLIS;
                cost.record(rows, MILLIS, now);
            }
        }
        let full = sizes.iter().rev().take(400).filter(|rows| **rows == 64);
        assert_eq!(full.count(), 400, "{:?}", &sizes[..60]);
    }

    #[test]
    fn nothing_is_tried_that_might_be_late() {
        let mut cost = CostTable::new(64);
        cost.record(1, 5 * MILLIS, 0);
        cost.record(2, 10 * MILLIS, 0);
        for (deadline, rows) in [(9, 1), (16, 2)] {
            let now = 2_000 * MILLIS;
            let mut q = queue(&[(now + deadline * MILLIS, 1); 9]);
            let mut learning = cost.clone();
            learning.record(2, 10 * MILLIS, now);
            assert_eq!(take_learning(&mut q, &mut learning, now).rows, rows);
        }
    }

    #[test]
    fn a_request_that_is_shed_is_told_so_and_makes_room() {
        let mut q = queue(&[(MILLIS, 1); 3]);
        let mut first = true;
        let fate = |_: &bool| {
            if std::mem::take(&mut first) {
                Fate::Shed
            } else {
                Fate::Run
            }
        };
        let mut cost = table(1000, 1);
        let taken = take(&mut q, &mut cost, 64, 0, false, |_| false, fate);
        assert_eq!(taken.dropped[0].2, Dropped::Shed);
        assert_eq!(taken.batch.len(), 2);
    }

    #[test]
    fn a_request_that_fills_the_batch_runs_alone() {
        let mut q = queue(&[(MILLIS, 64), (MILLIS, 1)]);
        assert_eq!(take_all(&mut q, &table(1000, 1), 0).rows, 64);
        assert_eq!(q.len(), 1);
    }

    proptest! {
        #[test]
        fn every_request_leaves_exactly_once_in_order_and_within_the_limits(
            entries in prop::collection::vec((0u64..40, 1usize..20, prop::bool::weighted(0.2)), 1..60),
            per_batch in 0u64..2_000_000,
            per_row in 0u64..500_000,
        ) {
            let cost = table(per_batch, per_row);
            let mut q = EdfQueue::default();
            for (i, &(deadline, rows, gone)) in entries.iter().enumerate() {
                let ticket = Ticket { deadline: deadline * MILLIS / 4, sequence: i as u64 };
                q.push(ticket, waiting(rows, gone));
            }
            let mut now = 0;
            let mut seen = 0;
            while !q.is_empty() {
                let taken = take_all(&mut q, &cost, now);
                let earliest = taken.batch.iter().map(|(t, _)| t.deadline).min();
                if let Some(earliest) = earliest {
                    prop_assert!(taken.rows <= 64);
                    prop_assert!(taken.batch.iter().all(|(_, w)| !w.job), "nobody waits for it");
                    prop_assert!(now + cost.least(taken.rows) <= earliest);
                }
                for (t, waiting, _) in &taken.dropped {
                    prop_assert!(waiting.job || now + cost.bound(waiting.rows) > t.deadline);
                }
                let tickets: Vec<_> = taken.batch.iter().map(|(t, _)| *t).collect();
                prop_assert!(tickets.windows(2).all(|w| w[0] < w[1]));
                seen += taken.batch.len() + taken.dropped.len();
                prop_assert!(taken.batch.len() + taken.dropped.len() > 0);
                now += cost.typical(taken.rows.max(1)).max(1);
            }
            prop_assert_eq!(seen, entries.len());
        }
    }
}

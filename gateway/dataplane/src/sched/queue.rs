//! The queue of one model: earliest deadline first, arrival order among equals.

use std::collections::BTreeMap;

use crate::clock::Ticks;

/// Where a request stands in its queue: by deadline, then by arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    pub deadline: Ticks,
    pub sequence: u64,
}

/// A request that waits: `rows` rows and whatever the caller attached.
#[derive(Debug)]
pub struct Waiting<T> {
    pub rows: usize,
    pub job: T,
}

/// Requests in order of their deadlines.
#[derive(Debug)]
pub struct EdfQueue<T> {
    entries: BTreeMap<Ticket, Waiting<T>>,
    rows: usize,
}

impl<T> Default for EdfQueue<T> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            rows: 0,
        }
    }
}

impl<T> EdfQueue<T> {
    pub fn push(&mut self, ticket: Ticket, rows: usize, job: T) {
        self.rows += rows;
        self.entries.insert(ticket, Waiting { rows, job });
    }

    /// Takes one request out, wherever it stands: how a cancelled call leaves.
    pub fn remove(&mut self, ticket: &Ticket) -> Option<Waiting<T>> {
        let waiting = self.entries.remove(ticket)?;
        self.rows -= waiting.rows;
        Some(waiting)
    }

    pub fn pop(&mut self) -> Option<(Ticket, Waiting<T>)> {
        let (ticket, waiting) = self.entries.pop_first()?;
        self.rows -= waiting.rows;
        Some((ticket, waiting))
    }

    pub fn head(&self) -> Option<(Ticket, &Waiting<T>)> {
        self.entries.first_key_value().map(|(t, w)| (*t, w))
    }

    /// Tickets and rows, earliest deadline first.
    pub fn iter(&self) -> impl Iterator<Item = (Ticket, usize)> + '_ {
        self.entries.iter().map(|(t, w)| (*t, w.rows))
    }

    /// Rows whose deadline is not after `deadline`.
    pub fn rows_until(&self, deadline: Ticks) -> usize {
        let last = Ticket {
            deadline,
            sequence: u64::MAX,
        };
        self.entries.range(..=last).map(|(_, w)| w.rows).sum()
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ticket(deadline: Ticks, sequence: u64) -> Ticket {
        Ticket { deadline, sequence }
    }

    #[test]
    fn equal_deadlines_leave_in_order_of_arrival() {
        let mut queue = EdfQueue::default();
        queue.push(ticket(5, 1), 1, 'b');
        queue.push(ticket(5, 0), 1, 'a');
        queue.push(ticket(4, 9), 1, 'c');
        let order: Vec<char> = std::iter::from_fn(|| queue.pop())
            .map(|(_, w)| w.job)
            .collect();
        assert_eq!(order, ['c', 'a', 'b']);
    }

    proptest! {
        #[test]
        fn rows_are_counted_and_order_holds_whatever_is_pushed_and_removed(
            pushes in prop::collection::vec((0u64..50, 1usize..9, any::<bool>()), 0..200),
        ) {
            let mut queue = EdfQueue::default();
            let mut kept = Vec::new();
            for (i, &(deadline, rows, removed)) in pushes.iter().enumerate() {
                let t = ticket(deadline, i as u64);
                queue.push(t, rows, i);
                if removed {
                    prop_assert_eq!(queue.remove(&t).map(|w| w.job), Some(i));
                    prop_assert!(queue.remove(&t).is_none());
                } else {
                    kept.push((t, rows));
                }
            }
            kept.sort();
            prop_assert_eq!(queue.len(), kept.len());
            prop_assert_eq!(queue.rows(), kept.iter().map(|k| k.1).sum::<usize>());
            let until: usize = kept.iter().filter(|k| k.0.deadline <= 20).map(|k| k.1).sum();
            prop_assert_eq!(queue.rows_until(20), until);
            let popped: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|(t, w)| (t, w.rows)).collect();
            prop_assert_eq!(popped, kept);
            prop_assert_eq!(queue.rows(), 0);
        }
    }
}

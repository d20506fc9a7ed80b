//! The queue of one model: earliest deadline first, arrival order among equals.

use std::collections::BTreeMap;

use crate::clock::Ticks;

/// Where a request stands in its queue: by deadline, then by arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    pub deadline: Ticks,
    pub sequence: u64,
}

/// How much a request matters when not all can be answered: 1 most, 9 least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(u8);

impl Priority {
    pub const LEVELS: usize = 9;
    /// Of a request that says nothing.
    pub const DEFAULT: Self = Self(5);

    /// 0 stands for the default, a number above 9 for 9.
    pub fn new(level: u64) -> Self {
        match level {
            0 => Self::DEFAULT,
            n => Self(n.min(Self::LEVELS as u64) as u8),
        }
    }

    fn index(self) -> usize {
        usize::from(self.0) - 1
    }
}

/// Whose request it is, and that caller's weight when not all can be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    pub caller: u16,
    pub share: u16,
}

impl Owner {
    /// Of requests whose callers need not say who they are.
    pub const ANYBODY: Self = Self {
        caller: 0,
        share: 1,
    };
}

/// How much of a queue a caller holds, against its share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    pub rows: usize,
    pub share: u16,
}

impl Held {
    /// Whether this caller holds more for its share than another would with `rows` more.
    pub fn is_above(self, other: Self, rows: usize) -> bool {
        self.rows * usize::from(other.share) > (other.rows + rows) * usize::from(self.share)
    }
}

/// A request that waits: `rows` rows and whatever the caller attached.
#[derive(Debug)]
pub struct Waiting<T> {
    pub rows: usize,
    pub priority: Priority,
    pub owner: Owner,
    pub job: T,
}

/// Requests in order of their deadlines.
#[derive(Debug)]
pub struct EdfQueue<T> {
    entries: BTreeMap<Ticket, Waiting<T>>,
    rows: usize,
    rows_of: [usize; Priority::LEVELS],
    /// By caller; only callers that have something queued.
    held: BTreeMap<u16, Held>,
}

impl<T> Default for EdfQueue<T> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            rows: 0,
            rows_of: [0; Priority::LEVELS],
            held: BTreeMap::new(),
        }
    }
}

impl<T> EdfQueue<T> {
    pub fn push(&mut self, ticket: Ticket, waiting: Waiting<T>) {
        let Waiting { rows, owner, .. } = waiting;
        self.rows += rows;
        self.rows_of[waiting.priority.index()] += rows;
        // Anybody is nobody in particular: there is nothing to be fair about.
        if owner.caller != Owner::ANYBODY.caller {
            let share = owner.share;
            let held = self.held.entry(owner.caller);
            held.or_insert(Held { rows: 0, share }).rows += rows;
        }
        self.entries.insert(ticket, waiting);
    }

    fn left(&mut self, waiting: &Waiting<T>) {
        self.rows -= waiting.rows;
        self.rows_of[waiting.priority.index()] -= waiting.rows;
        if let Some(held) = self.held.get_mut(&waiting.owner.caller) {
            held.rows -= waiting.rows;
            if held.rows == 0 {
                self.held.remove(&waiting.owner.caller);
            }
        }
    }

    /// What each caller that has something queued holds.
    pub fn held(&self) -> &BTreeMap<u16, Held> {
        &self.held
    }

    /// Takes one request out, wherever it stands: how a cancelled call leaves.
    pub fn remove(&mut self, ticket: &Ticket) -> Option<Waiting<T>> {
        let waiting = self.entries.remove(ticket)?;
        self.left(&waiting);
        Some(waiting)
    }

    pub fn pop(&mut self) -> Option<(Ticket, Waiting<T>)> {
        let (ticket, waiting) = self.entries.pop_first()?;
        self.left(&waiting);
        Some((ticket, waiting))
    }

    pub fn head(&self) -> Option<(Ticket, &Waiting<T>)> {
        self.entries.first_key_value().map(|(t, w)| (*t, w))
    }

    /// Earliest deadline first.
    pub fn iter(&self) -> impl Iterator<Item = (Ticket, &Waiting<T>)> + '_ {
        self.entries.iter().map(|(t, w)| (*t, w))
    }

    /// Rows that matter less than `priority`.
    pub fn rows_below(&self, priority: Priority) -> usize {
        self.rows_of[priority.index() + 1..].iter().sum()
    }

    /// When the request due last is due.
    pub fn last_deadline(&self) -> Option<Ticks> {
        self.entries.last_key_value().map(|(t, _)| t.deadline)
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

    fn waiting<T>(rows: usize, priority: Priority, caller: u16, job: T) -> Waiting<T> {
        let owner = Owner { caller, share: 1 };
        Waiting {
            rows,
            priority,
            owner,
            job,
        }
    }

    #[test]
    fn equal_deadlines_leave_in_order_of_arrival() {
        let mut queue = EdfQueue::default();
        queue.push(ticket(5, 1), waiting(1, Priority::DEFAULT, 0, 'b'));
        queue.push(ticket(5, 0), waiting(1, Priority::DEFAULT, 0, 'a'));
        queue.push(ticket(4, 9), waiting(1, Priority::DEFAULT, 0, 'c'));
        let order: Vec<char> = std::iter::from_fn(|| queue.pop())
            .map(|(_, w)| w.job)
            .collect();
        assert_eq!(order, ['c', 'a', 'b']);
    }

    proptest! {
        #[test]
        fn rows_are_counted_and_order_holds_whatever_is_pushed_and_removed(
            pushes in prop::collection::vec((0u64..50, 1usize..9, 0u64..12, any::<bool>()), 0..200),
        ) {
            let mut queue = EdfQueue::default();
            let mut kept = Vec::new();
            for (i, &(deadline, rows, level, removed)) in pushes.iter().enumerate() {
                let priority = Priority::new(level);
                let t = ticket(deadline, i as u64);
                queue.push(t, waiting(rows, priority, level as u16, i));
                if removed {
                    prop_assert_eq!(queue.remove(&t).map(|w| w.job), Some(i));
                    prop_assert!(queue.remove(&t).is_none());
                } else {
                    kept.push((t, rows, priority, level as u16));
                }
            }
            kept.sort();
            for caller in 1..12u16 {
                let rows: usize = kept.iter().filter(|k| k.3 == caller).map(|k| k.1).sum();
                prop_assert_eq!(queue.held().get(&caller).map_or(0, |h| h.rows), rows);
            }
            for priority in (1..=9).map(Priority::new) {
                let below: usize = kept.iter().filter(|k| k.2 > priority).map(|k| k.1).sum();
                prop_assert_eq!(queue.rows_below(priority), below);
            }
            prop_assert_eq!(queue.len(), kept.len());
            prop_assert_eq!(queue.rows(), kept.iter().map(|k| k.1).sum::<usize>());
            let until: usize = kept.iter().filter(|k| k.0.deadline <= 20).map(|k| k.1).sum();
            prop_assert_eq!(queue.rows_until(20), until);
            let popped: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|(t, w)| (t, w.rows, w.priority, w.owner.caller)).collect();
            prop_assert!(queue.held().is_empty());
            prop_assert_eq!(popped, kept);
            prop_assert_eq!(queue.rows(), 0);
        }
    }
}

//! The route's own bounded queues: batches that the incumbent has answered. Those that hold a pair go
//! first; of each kind the oldest is dropped first.
//!
//! A thread that serves only ever tries a lock and drops what it cannot put away: the runner may have
//! been taken off its core while it holds it. (A lock-free ring was tried: its writers wait for a
//! reader that is half done, and with one at idle priority that was 200 ms.)

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, TryLockError};

use serde_json::{Value, json};

use super::pair::Pair;
use crate::clock::Ticks;
use crate::executor::{BatchOutputs, Inputs};
use crate::priority::Waiting;
use crate::trace::mixed;

/// Batches that wait at most, and bytes that they hold of callers' messages.
const BATCHES: usize = 256;
const BYTES: usize = 64 << 20;

/// One request's part of a batch.
#[derive(Debug)]
pub struct Part {
    pub inputs: Inputs,
    pub rows: usize,
    pub pair: Option<Pair>,
}

/// A batch that the incumbent has answered.
#[derive(Debug)]
pub struct Mirrored {
    pub parts: Vec<Part>,
    pub rows: usize,
    pub outputs: Arc<BatchOutputs>,
    /// What the incumbent had from the batch's start to its earliest deadline, in ns.
    pub budget: Ticks,
    /// Until it is computed or dropped.
    pub work: Option<Waiting>,
}

impl Mirrored {
    fn bytes(&self) -> usize {
        let of = |part: &Part| match &part.inputs {
            Inputs::Rows(inputs) => inputs.iter().map(bytes::Bytes::len).sum::<usize>(),
            Inputs::Tokens(rows) => rows.iter().map(|t| size_of_val::<[u32]>(t)).sum(),
        };
        self.parts.iter().map(of).sum()
    }
}

#[derive(Debug, Default)]
struct Lists {
    /// With a pair in them.
    pairs: VecDeque<Mirrored>,
    others: VecDeque<Mirrored>,
    /// What the runner is done with. Freed by threads that serve: memory goes back where it came
    /// from, and the allocator's lock is never held by a thread that may be taken off its core.
    spent: Vec<Mirrored>,
}

/// What is behind a lock, if nobody holds it.
pub fn tried<T>(mutex: &Mutex<T>) -> Option<std::sync::MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        // Its holder panicked between two steps of a list, which is still one.
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

#[derive(Debug)]
pub struct Queue {
    lists: Mutex<Lists>,
    bytes: AtomicUsize,
    /// Of 2^64 batches so many are mirrored.
    threshold: u64,
    seen: AtomicU64,
    mirrored: AtomicU64,
    dropped: AtomicU64,
    mirrored_rows: AtomicU64,
    dropped_rows: AtomicU64,
}

impl Queue {
    pub fn new(share: f64) -> Self {
        Self {
            lists: Mutex::new(Lists {
                spent: Vec::with_capacity(BATCHES),
                ..Lists::default()
            }),
            bytes: AtomicUsize::new(0),
            threshold: (share.clamp(0.0, 1.0) * u64::MAX as f64) as u64,
            seen: AtomicU64::new(0),
            mirrored: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            mirrored_rows: AtomicU64::new(0),
            dropped_rows: AtomicU64::new(0),
        }
    }

    /// Whether the next batch is mirrored though no pair is in it.
    pub fn samples(&self) -> bool {
        if self.threshold == 0 {
            return false;
        }
        // Mixed from a counter: no pattern that traffic could share.
        let nth = self.seen.fetch_add(1, Relaxed) + 1;
        mixed(nth.wrapping_mul(0x9e37_79b9_7f4a_7c15)) <= self.threshold
    }

    /// Takes a batch in; the oldest of its kind makes room. Called by threads that serve.
    pub fn push(&self, mut batch: Mirrored) {
        let mut holds_pair = false;
        for pair in batch.parts.iter_mut().filter_map(|p| p.pair.as_mut()) {
            pair.mirrored();
            holds_pair = true;
        }
        let bytes = batch.bytes();
        self.mirrored.fetch_add(1, Relaxed);
        self.mirrored_rows.fetch_add(batch.rows as u64, Relaxed);
        if self.bytes.fetch_add(bytes, Relaxed) + bytes > BYTES {
            self.bytes.fetch_sub(bytes, Relaxed);
            return self.count_dropped(&batch);
        }
        let Some(mut lists) = tried(&self.lists) else {
            self.bytes.fetch_sub(bytes, Relaxed);
            return self.count_dropped(&batch);
        };
        // A few at a time: a caller waits behind whoever frees.
        let freed: [Option<Mirrored>; 2] = std::array::from_fn(|_| lists.spent.pop());
        batch.work = Some(Waiting::new());
        let list = match holds_pair {
            true => &mut lists.pairs,
            false => &mut lists.others,
        };
        let oldest = (list.len() >= BATCHES).then(|| list.pop_front()).flatten();
        list.push_back(batch);
        drop(lists);
        drop(freed);
        if let Some(oldest) = oldest {
            self.bytes.fetch_sub(oldest.bytes(), Relaxed);
            self.count_dropped(&oldest);
        }
    }

    fn count_dropped(&self, batch: &Mirrored) {
        self.dropped.fetch_add(1, Relaxed);
        self.dropped_rows.fetch_add(batch.rows as u64, Relaxed);
    }

    /// What the runner computes next, into `taken`, which is empty: the oldest batch with a pair
    /// alone, as it was; else the oldest others together, up to `most` rows.
    pub fn pop(&self, most: usize, taken: &mut Vec<Mirrored>) {
        let Some(mut lists) = tried(&self.lists) else {
            return;
        };
        if let Some(batch) = lists.pairs.pop_front() {
            taken.push(batch);
        } else {
            let mut rows = 0;
            while let Some(batch) = lists.others.pop_front() {
                rows += batch.rows;
                taken.push(batch);
                let next = lists.others.front().map_or(usize::MAX, |b| b.rows);
                if rows.saturating_add(next) > most {
                    break;
                }
            }
        }
        drop(lists);
        let bytes = taken.iter().map(Mirrored::bytes).sum();
        self.bytes.fetch_sub(bytes, Relaxed);
    }

    /// The runner is done with these.
    pub fn done(&self, taken: &mut Vec<Mirrored>) {
        for batch in taken.iter_mut() {
            batch.work = None;
        }
        // Never grown here: memory of this thread's would be freed by one that serves.
        if let Some(mut lists) = tried(&self.lists) {
            let room = BATCHES - lists.spent.len();
            let kept = room.min(taken.len());
            lists.spent.extend(taken.drain(..kept));
        }
        taken.clear();
    }

    /// Drops everything.
    pub fn clear(&self) {
        let mut taken = Vec::new();
        loop {
            self.pop(usize::MAX, &mut taken);
            if taken.is_empty() {
                break;
            }
            taken.drain(..).for_each(|b| self.count_dropped(&b));
        }
        if let Some(mut lists) = tried(&self.lists) {
            lists.spent.clear();
        }
    }

    pub fn told(&self) -> Value {
        let told = |n: &AtomicU64| n.load(Relaxed);
        json!({
            "waiting_batches": tried(&self.lists).map(|l| l.pairs.len() + l.others.len()),
            "waiting_bytes": self.bytes.load(Relaxed),
            "mirrored_batches": told(&self.mirrored),
            "mirrored_rows": told(&self.mirrored_rows),
            "dropped_batches": told(&self.dropped),
            "dropped_rows": told(&self.dropped_rows),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::ends::Ends;
    use super::super::sampler::Choice;
    use super::*;

    fn batch(rows: usize, bytes: usize, pair: Option<Pair>) -> Mirrored {
        Mirrored {
            parts: vec![Part {
                inputs: Inputs::Rows(vec![vec![0; bytes].into()]),
                rows,
                pair,
            }],
            rows,
            outputs: Arc::new(BatchOutputs {
                tensors: Vec::new(),
                number: 0,
                rows,
                started: 0,
                finished: 0,
            }),
            budget: 1,
            work: None,
        }
    }

    #[test]
    fn pairs_go_first_and_of_the_others_the_oldest_is_dropped() {
        let (queue, ends) = (Queue::new(1.0), Arc::new(Ends::default()));
        let choice = Choice {
            block: 3,
            sequence: 0,
            hash: 0,
        };
        let pair = Pair::new(choice, "", None, Arc::clone(&ends));
        queue.push(batch(1, 8, Some(pair)));
        for rows in 0..BATCHES {
            queue.push(batch(rows + 2, 8, None));
        }
        assert_eq!(
            queue.told()["dropped_batches"],
            0,
            "a pair makes room for no other"
        );
        queue.push(batch(0, 8, None));
        assert_eq!(queue.told()["dropped_batches"], 1);
        let pop = |most| {
            let mut taken = Vec::new();
            queue.pop(most, &mut taken);
            taken.iter().map(|b| b.rows).collect::<Vec<_>>()
        };
        assert_eq!(pop(100), [1], "what holds a pair goes first, and alone");
        assert_eq!(ends.drain()["ends"][0]["end"], "shed");
        assert_eq!(pop(1), [3], "in order of arrival, less the oldest");
        assert_eq!(pop(15), [4, 5, 6], "as many together as there is room for");
        queue.clear();
        assert_eq!(queue.told()["waiting_bytes"], 0);
    }

    #[test]
    fn a_thread_that_serves_drops_what_it_cannot_put_away_at_once() {
        let (queue, ends) = (Queue::new(1.0), Arc::new(Ends::default()));
        let choice = Choice {
            block: 0,
            sequence: 0,
            hash: 0,
        };
        let held = queue.lists.lock().unwrap();
        queue.push(batch(
            1,
            8,
            Some(Pair::new(choice, "", None, Arc::clone(&ends))),
        ));
        drop(held);
        assert_eq!(ends.drain()["ends"][0]["end"], "shed");
        let mut taken = Vec::new();
        queue.pop(1, &mut taken);
        assert!(taken.is_empty());
    }

    #[test]
    fn bytes_are_bounded_too() {
        let queue = Queue::new(1.0);
        queue.push(batch(1, BYTES, None));
        queue.push(batch(1, 1, None));
        assert_eq!(queue.told()["dropped_batches"], 1);
        let mut taken = Vec::new();
        queue.pop(1, &mut taken);
        queue.done(&mut taken);
        assert!(taken.is_empty());
        queue.push(batch(1, 1, None));
        assert_eq!(queue.told()["waiting_bytes"], 1);
    }

    #[test]
    fn about_the_share_that_was_asked_for_is_mirrored() {
        for (share, expected) in [(0.0, 0..1), (0.25, 2_300..2_700), (1.0, 10_000..10_001)] {
            let queue = Queue::new(share);
            let sampled = (0..10_000).filter(|_| queue.samples()).count();
            assert!(expected.contains(&sampled), "{share}: {sampled}");
        }
    }
}

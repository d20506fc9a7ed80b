//! The route's own bounded queue: batches that the incumbent has answered, the oldest dropped first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use crossbeam_queue::ArrayQueue;
use serde_json::{Value, json};

use super::pair::Pair;
use crate::clock::Ticks;
use crate::executor::{BatchOutputs, Inputs};

/// Batches that wait at most, and bytes that they hold of callers' messages.
const BATCHES: usize = 256;
const BYTES: usize = 64 << 20;
/// Batches that the runner is done with and a thread that serves has not freed yet.
const SPENT: usize = BATCHES;

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

#[derive(Debug)]
pub struct Queue {
    waiting: ArrayQueue<Mirrored>,
    /// Freed by threads that serve: memory goes back where it came from, and the allocator's lock
    /// is never held by a thread that may be taken off its core.
    spent: ArrayQueue<Mirrored>,
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
            waiting: ArrayQueue::new(BATCHES),
            spent: ArrayQueue::new(SPENT),
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
        // SplitMix64 of a counter: no pattern that traffic could share.
        let mut z = self
            .seen
            .fetch_add(1, Relaxed)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) <= self.threshold
    }

    /// Takes a batch in; the oldest makes room. Called by threads that serve.
    pub fn push(&self, mut batch: Mirrored) {
        // One in, at most two out: what was computed is freed as fast as it comes.
        drop((self.spent.pop(), self.spent.pop()));
        for pair in batch.parts.iter_mut().filter_map(|p| p.pair.as_mut()) {
            pair.mirrored();
        }
        let bytes = batch.bytes();
        self.mirrored.fetch_add(1, Relaxed);
        self.mirrored_rows.fetch_add(batch.rows as u64, Relaxed);
        if self.bytes.fetch_add(bytes, Relaxed) + bytes > BYTES {
            self.bytes.fetch_sub(bytes, Relaxed);
            return self.count_dropped(&batch);
        }
        if let Some(oldest) = self.waiting.force_push(batch) {
            self.bytes.fetch_sub(oldest.bytes(), Relaxed);
            self.count_dropped(&oldest);
        }
    }

    fn count_dropped(&self, batch: &Mirrored) {
        self.dropped.fetch_add(1, Relaxed);
        self.dropped_rows.fetch_add(batch.rows as u64, Relaxed);
    }

    /// The oldest batch, for the runner.
    pub fn pop(&self) -> Option<Mirrored> {
        let batch = self.waiting.pop()?;
        self.bytes.fetch_sub(batch.bytes(), Relaxed);
        Some(batch)
    }

    /// The runner is done with this one.
    pub fn done(&self, batch: Mirrored) {
        // Full only if nothing is mirrored any more; then nobody waits for the allocator either.
        drop(self.spent.push(batch));
    }

    /// Drops everything.
    pub fn clear(&self) {
        while let Some(batch) = self.pop() {
            self.count_dropped(&batch);
        }
        while self.spent.pop().is_some() {}
    }

    pub fn told(&self) -> Value {
        let told = |n: &AtomicU64| n.load(Relaxed);
        json!({
            "waiting_batches": self.waiting.len(),
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
        }
    }

    #[test]
    fn a_full_queue_drops_its_oldest_and_its_pairs_are_shed() {
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
        assert_eq!(ends.drain()["ends"][0]["end"], "shed");
        assert_eq!(queue.told()["dropped_batches"], 1);
        assert_eq!(queue.pop().unwrap().rows, 2, "in order of arrival");
        queue.clear();
        assert_eq!(queue.told()["waiting_bytes"], 0);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let queue = Queue::new(1.0);
        queue.push(batch(1, BYTES, None));
        queue.push(batch(1, 1, None));
        assert_eq!(queue.told()["dropped_batches"], 1);
        queue.done(queue.pop().unwrap());
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

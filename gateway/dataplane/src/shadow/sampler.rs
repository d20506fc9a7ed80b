//! Which request is a time block's pair, known before admission.
//!
//! Requests of a block are numbered and each gets a keyed hash of its block and number. One whose
//! hash is the least of its block so far is marked; the last one marked is the block's pair. So each
//! of the block's requests is the pair with the same chance, without anybody knowing how many will
//! come, and before it is known what becomes of it. A block of n requests marks about ln n + 0.58 of
//! them. Whoever has the key, the number of requests and the pair's number can check the choice.

use std::sync::{Mutex, PoisonError};

use crate::clock::Ticks;
use crate::keyed::Keyed;

/// A request that is its block's pair unless a later one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Choice {
    pub block: u64,
    /// The request's number in its block, from 0.
    pub sequence: u64,
    /// Its hash.
    pub hash: u64,
}

/// A block that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Closed {
    pub block: u64,
    pub requests: u64,
    /// The number of the request that is its pair.
    pub pair: u64,
}

#[derive(Debug, Default)]
struct Block {
    index: u64,
    requests: u64,
    least: Option<(u64, u64)>,
}

#[derive(Debug)]
pub struct Sampler {
    keyed: Keyed,
    block: Ticks,
    began: Ticks,
    /// Taken by threads that serve, for some tens of nanoseconds.
    state: Mutex<Block>,
}

impl Sampler {
    pub fn new(key: [u8; 16], block: Ticks, began: Ticks) -> Self {
        Self {
            keyed: Keyed::new(key),
            block: block.max(1),
            began,
            state: Mutex::default(),
        }
    }

    /// The hash of block and number, each as eight little-endian bytes.
    fn hash(&self, block: u64, sequence: u64) -> u64 {
        self.keyed
            .hash(&[&block.to_le_bytes(), &sequence.to_le_bytes()])
    }

    /// Numbers a request; it is marked if a choice comes back. The block before is told once.
    pub fn arrive(&self, now: Ticks) -> (Option<Choice>, Option<Closed>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = self.turn(&mut state, now);
        let sequence = state.requests;
        state.requests += 1;
        let (block, hash) = (state.index, self.hash(state.index, sequence));
        let marked = state.least.is_none_or(|(least, _)| hash < least);
        if marked {
            state.least = Some((hash, sequence));
        }
        let choice = marked.then_some(Choice {
            block,
            sequence,
            hash,
        });
        (choice, closed)
    }

    /// Closes the block if its time is over.
    pub fn tick(&self, now: Ticks) -> Option<Closed> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.turn(&mut state, now)
    }

    /// Goes on to the block of `now`. Time that seems to go back between threads stays where it is.
    fn turn(&self, state: &mut Block, now: Ticks) -> Option<Closed> {
        let index = now.saturating_sub(self.began) / self.block;
        if index <= state.index {
            return None;
        }
        let closed = state.least.map(|(_, pair)| Closed {
            block: state.index,
            requests: state.requests,
            pair,
        });
        *state = Block {
            index,
            ..Block::default()
        };
        closed
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn sampler() -> Sampler {
        Sampler::new(std::array::from_fn(|i| i as u8), 100, 1_000)
    }

    #[test]
    fn the_pair_of_a_block_is_the_request_of_the_least_hash_and_the_last_marked() {
        let sampler = sampler();
        for block in 0..50u64 {
            let now = 1_000 + block * 100;
            let marked: Vec<Choice> = (0..40).filter_map(|_| sampler.arrive(now).0).collect();
            let closed = sampler.tick(now + 100).unwrap();
            let least = (0..40).min_by_key(|n| sampler.hash(block, *n)).unwrap();
            assert_eq!((closed.requests, closed.pair), (40, least));
            assert_eq!(marked.last().unwrap().sequence, least);
            assert_eq!(marked[0].sequence, 0, "the first is the least so far");
        }
    }

    #[test]
    fn every_request_of_a_block_is_its_pair_with_the_same_chance() {
        let sampler = sampler();
        let mut chosen = [0u32; 10];
        for block in 0..5_000u64 {
            for _ in 0..10 {
                sampler.arrive(1_000 + block * 100);
            }
            let closed = sampler.tick(1_000 + (block + 1) * 100).unwrap();
            chosen[closed.pair as usize] += 1;
        }
        // 500 each; four standard deviations are 85.
        assert!(chosen.iter().all(|n| (415..585).contains(n)), "{chosen:?}");
    }

    #[test]
    fn a_block_without_requests_has_no_pair_and_time_never_goes_back() {
        let sampler = sampler();
        assert_eq!(sampler.tick(1_250), None);
        assert_eq!(sampler.arrive(1_260).0.unwrap().block, 2);
        assert_eq!(sampler.arrive(1_190).1, None);
        let closed = sampler.tick(1_300).unwrap();
        assert_eq!((closed.block, closed.requests), (2, 2));
    }
}

//! Which requests are cancelled, and when. Pure: time is an argument.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::links::Place;

pub struct Storm {
    share: f64,
    within_ns: u64,
    random: StdRng,
    waiting: BinaryHeap<Reverse<(u64, Place)>>,
}

impl Storm {
    /// Cancels `share` of the requests, each within `within_us` of its start.
    pub fn new(share: f64, within_us: u64, seed: u64) -> Self {
        Self {
            share,
            within_ns: within_us * 1_000,
            random: StdRng::seed_from_u64(!seed),
            waiting: BinaryHeap::new(),
        }
    }

    /// A request was started.
    pub fn started(&mut self, place: Place, now_ns: u64) {
        if self.share > 0.0 && self.random.random::<f64>() < self.share {
            let after = self.random.random_range(0..self.within_ns);
            self.waiting.push(Reverse((now_ns + after, place)));
        }
    }

    /// When the next one is to be cancelled.
    pub fn next_ns(&self) -> Option<u64> {
        self.waiting.peek().map(|Reverse((at, _))| *at)
    }

    /// One whose time has come.
    pub fn due(&mut self, now_ns: u64) -> Option<Place> {
        self.next_ns().filter(|at| *at <= now_ns)?;
        self.waiting.pop().map(|Reverse((_, place))| place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_cancelled_each_within_its_time_and_in_order() {
        let mut storm = Storm::new(0.5, 10, 1);
        for stream in 0..10_000 {
            let place = Place {
                connection: 0,
                stream,
            };
            storm.started(place, 1_000);
        }
        assert_eq!(storm.due(999), None);
        let mut count = 0;
        let mut last = 0;
        while let Some(at) = storm.next_ns() {
            assert!(at >= last && (1_000..11_000).contains(&at));
            last = at;
            assert!(storm.due(at).is_some());
            count += 1;
        }
        assert!((4_700..5_300).contains(&count), "{count}");
    }

    #[test]
    fn without_a_share_nothing_is_cancelled() {
        let mut storm = Storm::new(0.0, 10, 1);
        storm.started(
            Place {
                connection: 0,
                stream: 1,
            },
            0,
        );
        assert_eq!(storm.next_ns(), None);
    }
}

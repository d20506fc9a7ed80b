//! Controlled delay, for requests that brought no deadline: a standing queue is cut short, a burst
//! is not.
//!
//! The form is that of folly's `Codel` for servers: if even the shortest wait of the last interval
//! was above the target, requests that waited more than twice the target are shed. For requests
//! with a deadline the queue's own order and early drop do better.

use crate::clock::Ticks;

#[derive(Debug, Clone)]
pub struct Codel {
    target: Ticks,
    interval: Ticks,
    /// End of the interval that is being looked at.
    until: Ticks,
    least: Ticks,
    overloaded: bool,
}

impl Codel {
    /// For callers who expect an answer within `objective` ns: the target is a tenth of it, the
    /// interval all of it.
    pub fn new(objective: Ticks) -> Self {
        Self {
            target: objective / 10,
            interval: objective,
            until: 0,
            least: 0,
            overloaded: false,
        }
    }

    /// Whether a request that leaves the queue after `waited` ns is shed.
    pub fn shed(&mut self, waited: Ticks, now: Ticks) -> bool {
        if now > self.until {
            // Nothing left the queue for a whole interval: what was seen before says nothing.
            let fresh = now - self.until <= self.interval;
            self.overloaded = fresh && self.least > self.target;
            self.until = now + self.interval;
            self.least = waited;
        } else {
            self.least = self.least.min(waited);
        }
        self.overloaded && waited > 2 * self.target
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{MILLIS, SECONDS};

    /// Requests leave every 10 ms for 5 s, each after `wait(n)` ms; how many are shed.
    fn shed(wait: impl Fn(u64) -> u64) -> usize {
        let mut codel = Codel::new(SECONDS);
        let leaves = (1..=500).filter(|n| codel.shed(wait(*n) * MILLIS, SECONDS + n * 10 * MILLIS));
        leaves.count()
    }

    #[test]
    fn a_standing_queue_is_cut_after_an_interval() {
        let cut = shed(|_| 250);
        assert!((250..=400).contains(&cut), "{cut}");
    }

    #[test]
    fn a_queue_below_twice_the_target_stays() {
        assert_eq!(shed(|_| 199), 0);
    }

    #[test]
    fn bursts_that_drain_are_not_touched() {
        assert_eq!(shed(|n| if n % 50 == 0 { 1 } else { 800 }), 0);
    }

    #[test]
    fn what_was_before_a_pause_is_forgotten() {
        let mut codel = Codel::new(SECONDS);
        for n in 1..=100 {
            codel.shed(500 * MILLIS, SECONDS + n * 10 * MILLIS);
        }
        assert!(!codel.shed(500 * MILLIS, 60 * SECONDS));
    }
}

//! When requests are sent: Poisson arrivals (open loop) or on completion (closed loop).
//!
//! Pure: time is an argument, in nanoseconds of the run's clock.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Arrivals of a Poisson process: independent, exponentially distributed gaps.
pub struct Poisson {
    random: StdRng,
    mean_gap_ns: f64,
    next_ns: f64,
}

impl Poisson {
    /// `rate` in requests a second, above 0; the first arrival is one gap after `start_ns`.
    pub fn new(rate: f64, seed: u64, start_ns: u64) -> Self {
        let mut arrivals = Self {
            random: StdRng::seed_from_u64(seed),
            mean_gap_ns: 1e9 / rate,
            next_ns: start_ns as f64,
        };
        arrivals.advance();
        arrivals
    }

    fn next_ns(&self) -> u64 {
        self.next_ns as u64
    }

    fn advance(&mut self) {
        // 1 - u lies in (0, 1], whose logarithm is finite.
        let u: f64 = self.random.random();
        self.next_ns += -(1.0 - u).ln() * self.mean_gap_ns;
    }
}

pub enum Pace {
    Open(Box<Poisson>),
    /// This many requests in flight at any time.
    Closed(usize),
}

impl Pace {
    /// See [`Poisson::new`].
    pub fn open(rate: f64, seed: u64, start_ns: u64) -> Self {
        Self::Open(Box::new(Poisson::new(rate, seed, start_ns)))
    }
}

/// Which part of the schedule counts, and where it ends.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// Requests scheduled from here on are counted; earlier ones are the warm-up.
    pub count_from_ns: u64,
    /// No request is scheduled from here on.
    pub stop_at_ns: Option<u64>,
    /// No request is scheduled after this many counted ones.
    pub sends: Option<u64>,
}

/// What the schedule wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// A request at this time, which may have passed.
    At(u64),
    /// A request as soon as one in flight has ended.
    OnAnswer,
    Ended,
}

pub struct Schedule {
    pace: Pace,
    extent: Extent,
    counted: u64,
}

impl Schedule {
    pub fn new(pace: Pace, extent: Extent) -> Self {
        Self {
            pace,
            extent,
            counted: 0,
        }
    }

    /// What to send next, with `in_flight` requests under way at `now_ns`.
    pub fn next(&self, now_ns: u64, in_flight: usize) -> Next {
        if self.sends_done() {
            return Next::Ended;
        }
        let at = match &self.pace {
            Pace::Open(arrivals) => arrivals.next_ns(),
            Pace::Closed(_) => now_ns,
        };
        if self.extent.stop_at_ns.is_some_and(|stop| at >= stop) {
            return Next::Ended;
        }
        match self.pace {
            Pace::Closed(limit) if in_flight >= limit => Next::OnAnswer,
            _ => Next::At(at),
        }
    }

    /// Marks the request that was due at `at_ns` as taken; tells whether it is counted.
    pub fn take(&mut self, at_ns: u64) -> bool {
        if let Pace::Open(arrivals) = &mut self.pace {
            arrivals.advance();
        }
        let counted = at_ns >= self.extent.count_from_ns;
        self.counted += u64::from(counted);
        counted
    }

    /// Whether the wanted number of counted requests has been taken.
    pub fn sends_done(&self) -> bool {
        self.extent.sends.is_some_and(|sends| self.counted >= sends)
    }

    /// Runs through the rest of an open-loop schedule; tells how many counted requests it held.
    pub fn forgo_rest(&mut self) -> u64 {
        let before = self.counted;
        if matches!(self.pace, Pace::Open(_)) {
            while let Next::At(at) = self.next(0, 0) {
                self.take(at);
            }
        }
        self.counted - before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn times(rate: f64, seed: u64, count: usize) -> Vec<u64> {
        let mut arrivals = Poisson::new(rate, seed, 0);
        (0..count)
            .map(|_| {
                let at = arrivals.next_ns();
                arrivals.advance();
                at
            })
            .collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_arrivals_and_another_seed_others() {
        assert_eq!(times(1000.0, 7, 100), times(1000.0, 7, 100));
        assert_ne!(times(1000.0, 7, 100), times(1000.0, 8, 100));
    }

    #[test]
    fn gaps_have_the_mean_and_the_spread_of_the_exponential_distribution() {
        let at = times(10_000.0, 1, 100_000);
        let gaps: Vec<f64> = at.windows(2).map(|w| (w[1] - w[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean / 100_000.0 - 1.0).abs() < 0.02, "mean gap {mean}");
        assert!(
            (variance.sqrt() / mean - 1.0).abs() < 0.02,
            "deviation {}",
            variance.sqrt()
        );
    }

    #[test]
    fn the_warm_up_is_taken_but_not_counted_and_the_schedule_goes_on_through_it() {
        let extent = Extent {
            count_from_ns: SECOND,
            stop_at_ns: Some(3 * SECOND),
            sends: None,
        };
        let mut schedule = Schedule::new(Pace::open(1000.0, 3, 0), extent);
        let (mut warm, mut counted, mut last) = (0, 0, 0);
        while let Next::At(at) = schedule.next(0, 0) {
            assert!(at >= last && at < 3 * SECOND);
            last = at;
            if schedule.take(at) {
                counted += 1
            } else {
                warm += 1
            }
        }
        assert!((900..1100).contains(&warm), "{warm}");
        assert!((1800..2200).contains(&counted), "{counted}");
    }

    #[test]
    fn a_number_of_sends_ends_the_schedule() {
        let extent = Extent {
            count_from_ns: 0,
            stop_at_ns: None,
            sends: Some(5),
        };
        let mut schedule = Schedule::new(Pace::open(1000.0, 3, 0), extent);
        assert!(schedule.take(1));
        assert_eq!(schedule.forgo_rest(), 4);
        assert_eq!(schedule.next(0, 0), Next::Ended);
    }

    #[test]
    fn a_closed_loop_sends_at_once_until_enough_are_in_flight() {
        let extent = Extent {
            count_from_ns: 0,
            stop_at_ns: Some(10),
            sends: None,
        };
        let mut schedule = Schedule::new(Pace::Closed(2), extent);
        assert_eq!(schedule.next(4, 1), Next::At(4));
        assert_eq!(schedule.next(4, 2), Next::OnAnswer);
        assert_eq!(schedule.next(10, 0), Next::Ended);
        assert_eq!(schedule.forgo_rest(), 0);
    }
}

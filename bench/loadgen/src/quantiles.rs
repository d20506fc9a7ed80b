//! Latencies as histograms: recording, quantiles that are only told with enough samples, buckets.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Nanoseconds in one unit of the histograms.
const UNIT_NS: u64 = 100;
const UNITS_PER_US: f64 = 10.0;
/// Longest time told apart: an hour.
const LONGEST: u64 = 3_600 * 10_000_000;
/// Samples that must lie beyond a quantile for it to be reported.
const BEYOND: u64 = 10;

/// A histogram of times with 0.1 µs resolution.
pub struct Times {
    histogram: Histogram<u64>,
}

impl Times {
    /// `digits`: significant decimal digits that are kept, 1 to 5.
    pub fn new(digits: u8) -> Result<Self, String> {
        let histogram = Histogram::new_with_bounds(1, LONGEST, digits)
            .map_err(|error| format!("cannot make a histogram: {error}"))?;
        Ok(Self { histogram })
    }

    pub fn record(&mut self, ns: u64) {
        self.histogram
            .saturating_record((ns + UNIT_NS / 2) / UNIT_NS);
    }

    /// The quantile `per_10_000` in µs, or `None` with fewer than ten samples beyond it.
    pub fn quantile(&self, per_10_000: u64) -> Option<f64> {
        let count = self.histogram.len();
        let rank = (count * per_10_000).div_ceil(10_000);
        (count - rank >= BEYOND).then(|| {
            let value = self
                .histogram
                .value_at_quantile(per_10_000 as f64 / 10_000.0);
            value as f64 / UNITS_PER_US
        })
    }

    pub fn summary(&self) -> Summary {
        let some = !self.histogram.is_empty();
        Summary {
            count: self.histogram.len(),
            mean: some.then(|| (self.histogram.mean() * 10.0).round() / 100.0),
            p50: self.quantile(5_000),
            p90: self.quantile(9_000),
            p99: self.quantile(9_900),
            p999: self.quantile(9_990),
            p9999: self.quantile(9_999),
            max: some.then(|| self.histogram.max() as f64 / UNITS_PER_US),
        }
    }

    /// (upper bound in µs, count) for ten buckets a decade, from the first filled to the last.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let mut buckets: Vec<(f64, u64)> = Vec::new();
        let mut step = 0;
        for found in self.histogram.iter_recorded() {
            let lowest = self.histogram.lowest_equivalent(found.value_iterated_to());
            let us = lowest as f64 / UNITS_PER_US;
            while bucket_bound(step) < us {
                if !buckets.is_empty() {
                    buckets.push((bucket_bound(step + 1), 0));
                }
                step += 1;
            }
            if buckets.is_empty() {
                buckets.push((bucket_bound(step), 0));
            }
            if let Some((_, count)) = buckets.last_mut() {
                *count += found.count_at_value();
            }
        }
        buckets
    }
}

/// 1 µs · 10^(step/10), rounded to three decimals.
fn bucket_bound(step: i32) -> f64 {
    (10f64.powf(f64::from(step) / 10.0) * 1000.0).round() / 1000.0
}

/// A distribution of times in µs; a field is null where there are too few samples for it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    pub count: u64,
    pub mean: Option<f64>,
    /// Each quantile needs at least ten samples beyond it.
    pub p50: Option<f64>,
    pub p90: Option<f64>,
    pub p99: Option<f64>,
    pub p999: Option<f64>,
    pub p9999: Option<f64>,
    pub max: Option<f64>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn times(count: u64) -> Times {
        let mut times = Times::new(3).unwrap();
        (1..=count).for_each(|us| times.record(us * 1_000));
        times
    }

    #[test]
    fn a_quantile_with_fewer_than_ten_samples_beyond_it_is_null() {
        assert_eq!(times(19).summary().p50, None);
        assert_eq!(times(20).summary().p50, Some(10.0));
        assert_eq!(times(999).summary().p99, None);
        let summary = times(1_000).summary();
        assert!((summary.p99.unwrap() - 990.0).abs() < 1.0);
        assert_eq!(summary.p999, None);
        assert!(times(10_000).summary().p999.is_some());
        assert_eq!(times(99_999).summary().p9999, None);
        assert!(times(100_000).summary().p9999.is_some());
    }

    #[test]
    fn nothing_recorded_is_null_and_not_zero() {
        let summary = times(0).summary();
        assert_eq!((summary.count, summary.mean, summary.max), (0, None, None));
        assert!(times(0).buckets().is_empty());
    }

    #[test]
    fn tenths_of_a_microsecond_are_told_apart() {
        let mut times = Times::new(3).unwrap();
        times.record(12_340);
        assert_eq!(times.summary().max, Some(12.3));
    }

    #[test]
    fn buckets_hold_every_sample_and_leave_no_gap() {
        let buckets = times(1_000).buckets();
        assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), 1_000);
        assert_eq!(buckets.len(), 31);
        assert_eq!(buckets[0], (1.0, 1));
        assert_eq!(buckets[10].0, 10.0);
        assert!(buckets.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}

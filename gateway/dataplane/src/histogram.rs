//! A histogram that costs a request some nanoseconds: exponential buckets, eight an octave, counted
//! by atomics. It is told as classic buckets and as a native histogram of schema 3, whose bounds
//! are the same: 2^(i/8).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus_client::encoding::{
    EncodeMetric, MetricEncoder, NativeHistogram, NativeHistogramBuckets, NoLabelSet,
};
use prometheus_client::metrics::{MetricType, TypedMetric};

const SCHEMA: i32 = 3;
const PER_OCTAVE: i32 = 1 << SCHEMA;
/// 2^(j/8): where the mantissa's eighths of an octave begin.
const STEPS: [f64; 8] = [
    1.0,
    1.090_507_732_665_257_7,
    1.189_207_115_002_721,
    1.296_839_554_651_009_6,
    std::f64::consts::SQRT_2,
    1.542_210_825_407_940_7,
    1.681_792_830_507_429,
    1.834_008_086_409_342_4,
];

/// The bucket of a value above 0: the least i with value <= 2^(i/8).
fn index(value: f64) -> i32 {
    let bits = value.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i32 - 1_023;
    let mantissa = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
    let above = STEPS.iter().take_while(|step| **step < mantissa).count();
    exponent * PER_OCTAVE + above as i32
}

fn bound(index: i32) -> f64 {
    let octave = index.div_euclid(PER_OCTAVE);
    STEPS[index.rem_euclid(PER_OCTAVE) as usize] * 2f64.powi(octave)
}

#[derive(Debug)]
struct Inner {
    /// The bucket of the first count; what is less is counted there.
    first: i32,
    counts: Box<[AtomicU64]>,
    /// In billionths.
    sum: AtomicU64,
}

/// Clones count together.
#[derive(Debug, Clone)]
pub struct Histogram(Arc<Inner>);

impl Histogram {
    /// For values from `2^least` to `2^most`; smaller ones are counted in the first bucket, larger
    /// ones in the last.
    pub fn new(least: i32, most: i32) -> Self {
        let buckets = ((most - least) * PER_OCTAVE + 1).max(1);
        let counts = std::iter::repeat_with(AtomicU64::default);
        Self(Arc::new(Inner {
            first: least * PER_OCTAVE,
            counts: counts.take(buckets.unsigned_abs() as usize).collect(),
            sum: AtomicU64::new(0),
        }))
    }

    /// Counts a value; one that is not above 0 in the first bucket.
    pub fn observe(&self, value: f64) {
        let Inner { first, counts, sum } = &*self.0;
        let place = if value > 0.0 {
            (index(value) - first).clamp(0, counts.len() as i32 - 1)
        } else {
            0
        };
        counts[place.unsigned_abs() as usize].fetch_add(1, Relaxed);
        sum.fetch_add((value.max(0.0) * 1e9) as u64, Relaxed);
    }

    /// Of all values that were counted.
    pub fn sum(&self) -> f64 {
        self.0.sum.load(Relaxed) as f64 / 1e9
    }

    fn snapshot(&self) -> Vec<u64> {
        self.0.counts.iter().map(|c| c.load(Relaxed)).collect()
    }
}

/// Spans and deltas of the buckets that are not empty.
fn sparse(first: i32, counts: &[u64]) -> (Vec<(i32, u32)>, Vec<i64>) {
    let (mut spans, mut deltas): (Vec<(i32, u32)>, Vec<i64>) = (Vec::new(), Vec::new());
    let (mut next, mut last) = (0, 0i64);
    for (place, count) in counts.iter().enumerate().filter(|(_, c)| **c > 0) {
        let at = first + place as i32;
        match spans.last_mut() {
            Some(span) if next == at => span.1 += 1,
            // The first offset counts from 0, the others from the end of the span before.
            Some(_) => spans.push((at - next, 1)),
            None => spans.push((at, 1)),
        }
        let count = i64::try_from(*count).unwrap_or(i64::MAX);
        deltas.push(count - last);
        (next, last) = (at + 1, count);
    }
    (spans, deltas)
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), std::fmt::Error> {
        let counts = self.snapshot();
        let first = self.0.first;
        let sum = self.sum();
        // Two classic buckets an octave: each bound is 1.41 times the last.
        let mut classic = Vec::new();
        let mut waiting = 0;
        for (place, count) in counts.iter().enumerate() {
            waiting += count;
            let at = first + place as i32;
            if at.rem_euclid(PER_OCTAVE / 2) == 0 && place + 1 < counts.len() {
                classic.push((bound(at), std::mem::take(&mut waiting)));
            }
        }
        classic.push((f64::INFINITY, waiting));
        let (spans, deltas) = sparse(first, &counts);
        let native = NativeHistogram {
            schema: SCHEMA,
            zero_threshold: 2f64.powi(-128),
            zero_count: 0,
            negative: NativeHistogramBuckets {
                spans: &[],
                deltas: &[],
            },
            positive: NativeHistogramBuckets {
                spans: &spans,
                deltas: &deltas,
            },
            created: None,
        };
        let count = counts.iter().sum();
        encoder.encode_histogram_with_native::<NoLabelSet>(sum, count, &classic, None, native)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_value_is_in_the_bucket_whose_bounds_hold_it(value in 1e-9f64..1e6) {
            let at = index(value);
            prop_assert!(value <= bound(at) && bound(at - 1) < value, "{} {}", value, at);
        }

        #[test]
        fn spans_and_deltas_say_the_counts(counts in prop::collection::vec(0u64..5, 0..60), first in -50i32..50) {
            let (spans, deltas) = sparse(first, &counts);
            let mut told = std::collections::BTreeMap::new();
            let (mut at, mut count, mut deltas) = (0, 0, deltas.into_iter());
            for (offset, length) in spans {
                at += offset;
                for _ in 0..length {
                    count += deltas.next().unwrap_or(0);
                    told.insert(at, count);
                    at += 1;
                }
            }
            let expected: std::collections::BTreeMap<i32, i64> = counts.iter().enumerate()
                .filter(|(_, c)| **c > 0).map(|(i, c)| (first + i as i32, *c as i64)).collect();
            prop_assert_eq!(told, expected);
        }
    }

    #[test]
    fn bounds_belong_to_the_bucket_below() {
        assert_eq!((index(1.0), index(2.0), index(0.5)), (0, 8, -8));
        assert_eq!(index(1.000_000_1), 1);
    }

    #[test]
    fn what_is_out_of_range_is_counted_at_the_ends() {
        let histogram = Histogram::new(-2, 2);
        for value in [0.0, -1.0, f64::NAN, 1e-9, 1e9, 1.0] {
            histogram.observe(value);
        }
        let counts = histogram.snapshot();
        assert_eq!(counts.len(), 33);
        assert_eq!((counts[0], counts[16], counts[32]), (4, 1, 1));
    }
}

//! What a batch costs: measured quantiles per bucket of rows, filled at warm-up and updated by
//! every batch that runs.

use crate::clock::Ticks;

/// Samples kept per bucket: enough for a p95, few enough to forget a bad second quickly.
const KEPT: usize = 64;
/// The quantiles are recomputed after this many new samples.
const REFRESH: usize = 8;

/// Buckets are exact up to 8 rows, then two an octave (12, 16, 24, 32, …): a batch's cost is at
/// most a third above the one it is filed under.
pub fn bucket_sizes(max_rows: usize) -> Vec<usize> {
    let mut sizes: Vec<usize> = (1..=8).collect();
    let mut octave = 8;
    while octave < max_rows {
        sizes.extend([octave + octave / 2, octave * 2]);
        octave *= 2;
    }
    sizes.retain(|&s| s < max_rows);
    sizes.push(max_rows.max(1));
    sizes
}

#[derive(Debug, Clone)]
struct Bucket {
    rows: usize,
    samples: Vec<Ticks>,
    next: usize,
    fresh: usize,
    least: Ticks,
    typical: Ticks,
    bound: Ticks,
}

impl Bucket {
    fn new(rows: usize) -> Self {
        let samples = Vec::with_capacity(KEPT);
        Self {
            rows,
            samples,
            next: 0,
            fresh: 0,
            least: 0,
            typical: 0,
            bound: 0,
        }
    }

    fn record(&mut self, cost: Ticks) {
        if self.samples.len() < KEPT {
            self.samples.push(cost);
        } else {
            self.samples[self.next] = cost;
            self.next = (self.next + 1) % KEPT;
        }
        self.fresh += 1;
        if self.fresh >= REFRESH || self.samples.len() < REFRESH {
            self.refresh();
        }
    }

    fn refresh(&mut self) {
        self.fresh = 0;
        let mut sorted = self.samples.clone();
        sorted.sort_unstable();
        // Nearest rank.
        let at = |q: usize| sorted[(sorted.len() * q).div_ceil(100).max(1) - 1];
        (self.least, self.typical, self.bound) = (at(0), at(50), at(95));
    }
}

/// One line of the table, for people.
#[derive(Debug, Clone, serde::Serialize)]
pub struct CostLine {
    pub rows: usize,
    pub p50_us: f64,
    pub p95_us: f64,
}

/// Bucket → quantiles of the time that one batch takes, in ns.
#[derive(Debug, Clone)]
pub struct CostTable {
    buckets: Vec<Bucket>,
    last_sample: Ticks,
}

impl CostTable {
    pub fn new(max_rows: usize) -> Self {
        let buckets = bucket_sizes(max_rows)
            .into_iter()
            .map(Bucket::new)
            .collect();
        Self {
            buckets,
            last_sample: 0,
        }
    }

    /// Files what a batch of `rows` took, under the bucket it fills.
    pub fn record(&mut self, rows: usize, cost: Ticks, now: Ticks) {
        let index = self.index(rows);
        self.buckets[index].record(cost);
        self.last_sample = now;
    }

    /// When a batch last ran.
    pub fn last_sample(&self) -> Ticks {
        self.last_sample
    }

    /// The least that a batch of `rows` took lately, in ns.
    pub fn least(&self, rows: usize) -> Ticks {
        self.look_up(rows, |b| b.least)
    }

    /// The median, in ns.
    pub fn typical(&self, rows: usize) -> Ticks {
        self.look_up(rows, |b| b.typical)
    }

    /// The 95th percentile, in ns: what a promise to a caller is based on.
    pub fn bound(&self, rows: usize) -> Ticks {
        self.look_up(rows, |b| b.bound)
    }

    /// Time to work off `rows` queued rows in batches of at most `max_batch`, in ns.
    pub fn backlog(&self, rows: usize, max_batch: usize) -> Ticks {
        let max_batch = max_batch.max(1);
        let full = (rows / max_batch) as u64;
        let rest = rows % max_batch;
        let full_cost = if full > 0 {
            self.typical(max_batch).saturating_mul(full)
        } else {
            0
        };
        full_cost.saturating_add(if rest > 0 { self.typical(rest) } else { 0 })
    }

    pub fn lines(&self) -> Vec<CostLine> {
        let us = |ns: Ticks| ns as f64 / 1_000.0;
        let filled = self.buckets.iter().filter(|b| !b.samples.is_empty());
        filled
            .map(|b| CostLine {
                rows: b.rows,
                p50_us: us(b.typical),
                p95_us: us(b.bound),
            })
            .collect()
    }

    fn index(&self, rows: usize) -> usize {
        self.buckets
            .partition_point(|b| b.rows < rows)
            .min(self.buckets.len() - 1)
    }

    /// A bucket without samples borrows from its nearest filled neighbour: from a larger one as it
    /// is, from a smaller one in proportion to the rows. With no sample at all the cost is 0, so
    /// that the first request is admitted and measured.
    fn look_up(&self, rows: usize, value: impl Fn(&Bucket) -> Ticks) -> Ticks {
        let index = self.index(rows);
        let filled = |b: &&Bucket| !b.samples.is_empty();
        let bucket = &self.buckets[index];
        let scaled = |b: &Bucket| {
            (value(b) as u128 * rows as u128 / b.rows as u128).min(u64::MAX as u128) as u64
        };
        if filled(&bucket) {
            return if rows > bucket.rows {
                scaled(bucket)
            } else {
                value(bucket)
            };
        }
        if let Some(larger) = self.buckets[index..].iter().find(filled) {
            return value(larger);
        }
        self.buckets[..index]
            .iter()
            .rev()
            .find(filled)
            .map_or(0, scaled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_exact_up_to_eight_and_end_at_the_maximum() {
        assert_eq!(bucket_sizes(1), [1]);
        assert_eq!(bucket_sizes(5), [1, 2, 3, 4, 5]);
        assert_eq!(bucket_sizes(20), [1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20]);
        assert_eq!(*bucket_sizes(256).last().unwrap_or(&0), 256);
    }

    #[test]
    fn quantiles_follow_the_samples_and_forget_old_ones() {
        let mut table = CostTable::new(8);
        for cost in 1..=63 {
            table.record(1, cost, cost);
        }
        assert_eq!(
            (table.least(1), table.typical(1), table.bound(1)),
            (1, 32, 60)
        );
        for _ in 0..64 {
            table.record(1, 500, 100);
        }
        assert_eq!(
            (table.least(1), table.typical(1), table.bound(1)),
            (500, 500, 500)
        );
        assert_eq!(table.last_sample(), 100);
    }

    #[test]
    fn an_empty_bucket_borrows_from_its_neighbours() {
        let mut table = CostTable::new(32);
        assert_eq!(table.bound(4), 0);
        table.record(2, 100, 0);
        assert_eq!(
            table.bound(1),
            100,
            "a larger bucket's cost is an upper bound"
        );
        assert_eq!(
            table.bound(4),
            200,
            "a smaller bucket's cost grows with the rows"
        );
    }

    #[test]
    fn a_backlog_is_worked_off_in_full_batches_and_a_rest() {
        let mut table = CostTable::new(8);
        table.record(8, 80, 0);
        table.record(3, 35, 0);
        assert_eq!(table.backlog(0, 8), 0);
        assert_eq!(table.backlog(3, 8), 35);
        assert_eq!(table.backlog(19, 8), 195);
    }
}

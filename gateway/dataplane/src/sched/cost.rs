//! What a batch costs: measured quantiles per bucket of rows, filled at warm-up and updated by
//! every batch that runs.

use std::ops::RangeInclusive;

use crate::clock::Ticks;

/// Samples kept per bucket: enough for a p99, few enough to forget a bad second quickly.
const KEPT: usize = 256;
/// The quantiles are recomputed after this many new samples.
const REFRESH: usize = 16;
/// A bucket that has not run for this long is no longer believed when it says no: a table that
/// refuses everything would never see that the machine has recovered.
const STALE: Ticks = crate::clock::SECONDS;

/// A bucket with fewer samples than this may be misjudged: one of them, if the machine paused.
const ENOUGH: usize = REFRESH;
/// So many first runs of an unknown bucket are not filed.
const FIRSTS: usize = 8;
/// A batch larger than what seems best is run this often at most, to see whether it is.
const LOOK: Ticks = crate::clock::SECONDS;

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

/// Classes of row lengths, in tokens: by eights up to 64, then eight an octave. Rows of one class
/// share a batch, and at most an eighth of it, or seven tokens a row, is padding.
pub fn length_classes(longest: usize) -> Vec<usize> {
    let mut classes = vec![8];
    let mut last: usize = 8;
    while last < longest {
        let step = (last.next_power_of_two() / 16).max(8);
        last += step;
        classes.push(last);
    }
    classes.retain(|&c| c < longest);
    classes.push(longest.max(1));
    classes
}

#[derive(Debug, Clone)]
struct Bucket {
    rows: usize,
    samples: Vec<Ticks>,
    next: usize,
    fresh: usize,
    /// When it was last measured.
    at: Ticks,
    /// When a request was last let in to measure it.
    tried: Ticks,
    /// Runs that were not filed, as they prepared something.
    firsts: usize,
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
            at: 0,
            tried: 0,
            firsts: 0,
            least: 0,
            typical: 0,
            bound: 0,
        }
    }

    fn record(&mut self, cost: Ticks, now: Ticks) {
        self.at = now;
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
        (self.least, self.typical, self.bound) = (at(0), at(50), at(99));
    }
}

/// One line of the table, for people.
#[derive(Debug, Clone, serde::Serialize)]
pub struct CostLine {
    pub rows: usize,
    pub p50_us: f64,
    pub p99_us: f64,
}

/// Bucket → quantiles of the time that one batch takes, in ns.
#[derive(Debug, Clone)]
pub struct CostTable {
    buckets: Vec<Bucket>,
    last_sample: Ticks,
    /// When a batch was last made larger than what seems best.
    looked: Ticks,
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
            looked: 0,
        }
    }

    /// Files what a batch of `rows` took, under the bucket it fills.
    pub fn record(&mut self, rows: usize, cost: Ticks, now: Ticks) {
        let index = self.index(rows);
        self.buckets[index].record(cost, now);
        self.last_sample = now;
    }

    /// A run that prepared what the next ones of its shape need: on a GPU ten times a run. It is
    /// filed only where a bucket, whose sizes each have such a first run, would stay unknown.
    pub fn record_first(&mut self, rows: usize, cost: Ticks, now: Ticks) {
        let index = self.index(rows);
        let bucket = &mut self.buckets[index];
        bucket.firsts += 1;
        if bucket.samples.is_empty() && bucket.firsts >= FIRSTS {
            self.record(rows, cost, now);
        }
    }

    /// When a batch last ran.
    pub fn last_sample(&self) -> Ticks {
        self.last_sample
    }

    /// The least that a batch of `rows` took lately, in ns.
    pub fn least(&self, rows: usize) -> Ticks {
        self.look_up(rows, |b| b.least).0
    }

    /// The median, in ns. A bucket that has never run is taken to cost what the next smaller one
    /// does: batching is tried, and then known. Once larger batches have not made rows cheaper, it
    /// is taken to cost in proportion to its rows, and not tried.
    pub fn typical(&self, rows: usize) -> Ticks {
        if self.unknown(rows).is_some() && !self.pays(rows) {
            return self.in_proportion(rows, |b| b.typical);
        }
        self.look_up(rows, |b| b.typical).0
    }

    /// Whether, of the measured batches smaller than `rows`, the largest has made rows cheaper
    /// than the one before; also while there are not two.
    fn pays(&self, rows: usize) -> bool {
        let smaller = self.buckets[..=self.index(rows)].iter().rev();
        let mut measured = smaller.filter(|b| !b.samples.is_empty());
        let (Some(large), Some(small)) = (measured.next(), measured.next()) else {
            return true;
        };
        let per_row = |b: &Bucket, other: &Bucket| u128::from(b.typical) * other.rows as u128;
        per_row(large, small) * 100 <= per_row(small, large) * 97
    }

    /// The 99th percentile, in ns. A bucket that has never run is taken to cost in proportion to
    /// its rows, the worst that batching can be.
    pub fn bound(&self, rows: usize) -> Ticks {
        self.in_proportion(rows, |b| b.bound)
    }

    fn in_proportion(&self, rows: usize, value: impl Fn(&Bucket) -> Ticks) -> Ticks {
        let (value, from) = self.look_up(rows, value);
        let scaled = u128::from(value) * rows as u128 / from.max(1) as u128;
        if rows > from {
            u64::try_from(scaled).unwrap_or(u64::MAX)
        } else {
            value
        }
    }

    /// What a promise to a caller is based on, in ns, and whether the request is a trial: the bound,
    /// or, for a size that has neither run nor been tried within `STALE`, the least that it may
    /// cost, so that one request finds out.
    pub fn promise(&self, rows: usize, now: Ticks) -> (Ticks, bool) {
        let tried = self.buckets[self.index(rows)].tried;
        let untried = tried == 0 || now.saturating_sub(tried) > STALE;
        if untried && self.is_stale(rows, now) {
            (self.least(rows), true)
        } else {
            (self.bound(rows), false)
        }
    }

    /// A request was let in to find out what `rows` cost now.
    pub fn on_trial(&mut self, rows: usize, now: Ticks) {
        let index = self.index(rows);
        self.buckets[index].tried = now.max(1);
    }

    /// Whether batches of `rows` have not been measured lately.
    pub fn is_stale(&self, rows: usize, now: Ticks) -> bool {
        let bucket = &self.buckets[self.index(rows)];
        bucket.samples.is_empty() || now.saturating_sub(bucket.at) > STALE
    }

    /// The bucket of `rows`, if it has never run.
    pub fn unknown(&self, rows: usize) -> Option<usize> {
        let index = self.index(rows);
        self.buckets[index].samples.is_empty().then_some(index)
    }

    /// Sizes to try now in place of `best` rows, the largest last: those of the next larger bucket,
    /// if it is little known and nothing was tried lately. What a few samples say, one of which a
    /// pause of the machine may have spoilt, must not keep batches small for good.
    pub fn worth_a_look(&self, best: usize, now: Ticks) -> Option<RangeInclusive<usize>> {
        if now.saturating_sub(self.looked) < LOOK {
            return None;
        }
        let at = self.index(best);
        let next = self.buckets.get(at + 1)?;
        let range = self.buckets[at].rows + 1..=next.rows;
        (next.samples.len() < ENOUGH).then_some(range)
    }

    /// A size out of `worth_a_look` is run.
    pub fn looked(&mut self, now: Ticks) {
        self.looked = now;
    }

    /// Time to work off `rows` queued rows in batches of at most `max_batch`, in ns: medians, and
    /// for sizes that have never run in proportion to their rows.
    pub fn backlog(&self, rows: usize, max_batch: usize) -> Ticks {
        let max_batch = max_batch.max(1);
        let (full, rest) = ((rows / max_batch) as u64, rows % max_batch);
        let cost = |rows: usize| match rows {
            0 => 0,
            rows => self.in_proportion(rows, |b| b.typical),
        };
        let full_cost = if full > 0 { cost(max_batch) } else { 0 };
        full_cost.saturating_mul(full).saturating_add(cost(rest))
    }

    pub fn lines(&self) -> Vec<CostLine> {
        let us = |ns: Ticks| ns as f64 / 1_000.0;
        let filled = self.buckets.iter().filter(|b| !b.samples.is_empty());
        filled
            .map(|b| CostLine {
                rows: b.rows,
                p50_us: us(b.typical),
                p99_us: us(b.bound),
            })
            .collect()
    }

    fn index(&self, rows: usize) -> usize {
        self.buckets
            .partition_point(|b| b.rows < rows)
            .min(self.buckets.len() - 1)
    }

    /// A value and the rows of the bucket that it was measured at. A bucket without samples
    /// borrows from the nearest smaller one, else from the nearest larger. With no sample at all
    /// the cost is 0, so that the first request is admitted and measured.
    fn look_up(&self, rows: usize, value: impl Fn(&Bucket) -> Ticks) -> (Ticks, usize) {
        let index = self.index(rows);
        let filled = |b: &&Bucket| !b.samples.is_empty();
        let smaller = self.buckets[..=index].iter().rev().find(filled);
        let found = smaller.or_else(|| self.buckets[index..].iter().find(filled));
        found.map_or((0, rows), |b| (value(b), b.rows))
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
    fn length_classes_waste_at_most_an_eighth_and_end_at_the_maximum() {
        assert_eq!(length_classes(1), [1]);
        assert_eq!(length_classes(64), [8, 16, 24, 32, 40, 48, 56, 64]);
        let long = length_classes(512);
        assert_eq!(*long.last().unwrap_or(&0), 512);
        for pair in long.windows(2) {
            assert!(pair[1] - pair[0] <= (pair[1] / 8).max(8), "{pair:?}");
        }
        assert!(long.len() < 40, "{}", long.len());
    }

    #[test]
    fn quantiles_follow_the_samples_and_forget_old_ones() {
        let mut table = CostTable::new(8);
        // Refreshed with each of the first 15 samples, then with every 16th.
        for cost in 1..=15 + 16 * 10 {
            table.record(1, cost, cost);
        }
        let quantiles = (table.least(1), table.typical(1), table.bound(1));
        assert_eq!(quantiles, (1, 88, 174));
        for _ in 0..KEPT + REFRESH {
            table.record(1, 500, 100);
        }
        let quantiles = (table.least(1), table.typical(1), table.bound(1));
        assert_eq!(quantiles, (500, 500, 500));
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
    fn one_request_a_second_finds_out_what_has_not_run_lately() {
        let mut table = CostTable::new(8);
        for _ in 0..50 {
            table.record(1, 10, STALE);
            table.record(1, 500, STALE);
        }
        assert_eq!(table.promise(1, STALE), (500, false));
        let later = 2 * STALE + 1;
        assert_eq!(table.promise(1, later), (10, true));
        table.on_trial(1, later);
        assert_eq!(table.promise(1, later + STALE), (500, false));
        assert_eq!(table.promise(1, later + STALE + 1), (10, true));
    }

    #[test]
    fn an_unknown_size_is_tried_only_while_larger_batches_pay() {
        let mut table = CostTable::new(32);
        table.record(1, 100, 0);
        assert_eq!(table.typical(2), 100, "one size says nothing of batching");
        table.record(2, 120, 0);
        assert_eq!(table.typical(3), 120);
        table.record(3, 180, 0);
        assert_eq!(table.typical(4), 240, "three rows cost as much each as two");
        assert_eq!(table.typical(2), 120);
    }

    #[test]
    fn first_runs_are_filed_only_where_nothing_else_is_known() {
        let mut table = CostTable::new(32);
        table.record(1, 100, 0);
        for _ in 1..FIRSTS {
            table.record_first(12, 9_000, 0);
        }
        assert!(table.unknown(12).is_some());
        table.record_first(12, 9_000, 0);
        assert_eq!(table.typical(12), 9_000);
        table.record(8, 110, 0);
        table.record_first(8, 9_000, 0);
        assert_eq!((table.typical(8), table.bound(8)), (110, 110));
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

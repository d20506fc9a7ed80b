//! The shadow's thread: takes mirrored batches when a lane is free anyway, lets the candidate compute
//! them, and compares.
//!
//! A pair's batch is computed by both models here, one after the other in an order that the pair's
//! hash decides, by sessions of the shadow's own: so both are timed under the same conditions, and a
//! time says nothing of how busy the server was. Batches without a pair are computed by the candidate
//! alone, many at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::compare::Decider;
use super::ends::Compared;
use super::queue::Mirrored;
use super::{Route, Side};
use crate::clock::{MICROS, Ticks, now, thread_time};
use crate::courtesy::{Courtesy, GiveWay};
use crate::engine::EngineError;
use crate::executor::{Backlog, Inputs};
use crate::priority::{AtWork, doze, somebody_serves, step_back};
use crate::tensor::Bucket;

/// How long to sleep when there is nothing to do, when the lanes are busy, and after a piece of work
/// while somebody serves. A thread that stays runnable beside one that serves is given the core at
/// some tick of the clock, whatever its priority, and keeps it for a millisecond; one that works in
/// short pieces and looks up after each has given it back by then.
const NOTHING: Duration = Duration::from_millis(1);
const BUSY: Duration = Duration::from_micros(50);
const PAUSE: Duration = Duration::from_micros(100);
/// How long a piece of work should take.
const PIECE: Ticks = 40 * MICROS;

/// Where a row is: in which of the batches, which part of it, and which of its rows.
#[derive(Debug, Clone, Copy)]
struct At {
    batch: usize,
    part: usize,
    row: usize,
    /// Its outputs are to be written down.
    keep: bool,
}

/// What a model made of a batch: a score a row, `None` where it failed, and the time of its runs.
struct Scored {
    scores: Vec<Option<f64>>,
    took: Ticks,
    kept: Vec<Kept>,
}

/// All outputs of one row, and which row it is.
type Kept = (usize, Vec<Vec<u8>>);

/// Runs until the route stops.
pub fn work(route: &Route, mut incumbent: Side, mut candidate: Side, backlog: &Backlog) {
    step_back();
    let mut taken: Vec<Mirrored> = Vec::new();
    let mut pace = Pace::default();
    while !route.is_stopping() {
        let most = pace.rows().min(candidate.max_batch);
        route.queue.pop(most, &mut taken);
        if taken.is_empty() {
            doze(NOTHING);
            continue;
        }
        while !backlog.has_room() && !route.is_stopping() {
            doze(BUSY);
        }
        let at_work = AtWork::begin();
        // A long row is one call, in whose middle nobody looks up.
        let courtesy = (pace.row > PIECE).then(|| Courtesy::begin(GiveWay::ToWhoIsAwake));
        let rows = taken.iter().map(|b| b.rows).sum();
        let begun = thread_time();
        compare(route, &mut incumbent, &mut candidate, &mut taken);
        pace.took(rows, thread_time() - begun);
        route.queue.done(&mut taken);
        drop((at_work, courtesy));
        if somebody_serves() {
            doze(PAUSE);
        }
    }
}

/// How many rows make a piece of work, from what the last ones took.
#[derive(Debug, Default)]
struct Pace {
    /// Of one row, in ns; 0 before the first.
    row: Ticks,
}

impl Pace {
    fn rows(&self) -> usize {
        match self.row {
            // One row tells how many may follow.
            0 => 1,
            row => usize::try_from(PIECE / row).unwrap_or(1).max(1),
        }
    }

    fn took(&mut self, rows: usize, took: Ticks) {
        let row = (took / rows.max(1) as Ticks).max(1);
        self.row = match self.row {
            0 => row,
            before => (3 * before + row) / 4,
        };
    }
}

/// Computes one batch with its pairs, or several without, and tells what came of their rows.
fn compare(route: &Route, incumbent: &mut Side, candidate: &mut Side, batches: &mut [Mirrored]) {
    let mut rows: Vec<At> = Vec::new();
    for (batch, held) in batches.iter().enumerate() {
        for (part, held) in held.parts.iter().enumerate() {
            let pair = held.pair.as_ref().filter(|p| p.logged_as().is_some());
            let kept = pair.filter(|_| route.written.is_some());
            let kept = kept.map(|pair| pair.row(held.rows));
            rows.extend((0..held.rows).map(|row| At {
                batch,
                part,
                row,
                keep: kept == Some(row),
            }));
        }
    }
    let mut first = None;
    let parts = batches.iter_mut().flat_map(|b| b.parts.iter_mut());
    for pair in parts.filter_map(|p| p.pair.as_mut()) {
        pair.started();
        first.get_or_insert(pair.incumbent_first());
    }
    let mut again = (first == Some(true)).then(|| compute(incumbent, batches, &rows));
    let new = compute(candidate, batches, &rows);
    if first == Some(false) {
        again = Some(compute(incumbent, batches, &rows));
    }
    let mut place = 0;
    for batch in batches.iter_mut() {
        let of = place..place + batch.rows;
        place = of.end;
        // Its share of a run that it may have had company in.
        let took = new.took * batch.rows as u64 / rows.len().max(1) as u64;
        let timed = Timed {
            late: took > batch.budget,
            incumbent_ns: again.as_ref().map_or(0, |a| a.took),
            candidate_ns: took,
        };
        let scores = new.scores.get(of.clone()).unwrap_or_default();
        let again = again.as_ref().and_then(|a| a.scores.get(of.clone()));
        write(route, batch, of.start, &new.kept);
        tell(
            route,
            (&incumbent.decider, &candidate.decider),
            batch,
            scores,
            again,
            timed,
        );
    }
}

/// Writes down what the candidate made of pairs that the decision log holds; `first` is the place of
/// the batch's first row.
fn write(route: &Route, batch: &Mirrored, first: usize, kept: &[Kept]) {
    let Some(written) = &route.written else {
        return;
    };
    let mut first_row = first;
    for part in &batch.parts {
        if let Some(pair) = &part.pair
            && let Some(request) = pair.logged_as()
            && let row = pair.row(part.rows)
            && let Some((_, outputs)) = kept.iter().find(|(at, _)| *at == first_row + row)
        {
            let (log, model) = (&written.log, &written.model);
            log.shadowed(model, request, row, outputs);
        }
        first_row += part.rows;
    }
}

/// How long a batch took, and whether that was longer than its callers had.
#[derive(Clone, Copy)]
struct Timed {
    late: bool,
    incumbent_ns: Ticks,
    candidate_ns: Ticks,
}

/// Tells what came of one batch: `scores` by the candidate, and `again` by the incumbent if it was
/// run once more.
fn tell(
    route: &Route,
    (incumbent, candidate): (&Decider, &Decider),
    batch: &mut Mirrored,
    scores: &[Option<f64>],
    again: Option<&[Option<f64>]>,
    timed: Timed,
) {
    let served = |row: usize| {
        let tensor = batch.outputs.tensors.get(incumbent.output);
        tensor.map_or(f64::NAN, |bytes| incumbent.score(bytes, row))
    };
    let length = batch.parts.iter().map(|p| p.inputs.length()).max();
    let mut verdicts: Vec<Option<Compared>> = Vec::with_capacity(scores.len());
    for (row, score) in scores.iter().enumerate() {
        let compared = score.and_then(|score| {
            let before = served(row);
            // A candidate that gives no number where the incumbent does has failed.
            (!score.is_nan() || before.is_nan()).then(|| Compared {
                incumbent: incumbent.decide(before),
                candidate: candidate.decide(score),
                moved: (score - before).abs() > route.wishes.score_epsilon,
                incumbent_score: before,
                candidate_score: score,
                row: 0,
                incumbent_ns: timed.incumbent_ns,
                candidate_ns: timed.candidate_ns,
                rows: scores.len(),
                length: length.unwrap_or(1),
            })
        });
        count(route, *score, compared, timed.late);
        let steady = again.and_then(|a| a.get(row).copied().flatten());
        if steady.is_some_and(|s| incumbent.decide(s) != incumbent.decide(served(row))) {
            route.ends.counts.incumbent_unsteady.fetch_add(1, Relaxed);
        }
        verdicts.push(compared);
    }
    let mut first_row = 0;
    for part in &mut batch.parts {
        if let Some(pair) = part.pair.take() {
            let row = pair.row(part.rows);
            match verdicts.get(first_row + row).copied().flatten() {
                Some(_) if timed.late => pair.candidate_timeout(),
                Some(compared) => pair.complete(Compared { row, ..compared }),
                None => pair.candidate_error(),
            }
        }
        first_row += part.rows;
    }
}

fn count(route: &Route, score: Option<f64>, compared: Option<Compared>, late: bool) {
    let counts = &route.ends.counts;
    if score.is_some_and(f64::is_nan) {
        counts.not_a_number.fetch_add(1, Relaxed);
    }
    let Some(compared) = compared else {
        counts.candidate_errors.fetch_add(1, Relaxed);
        return;
    };
    counts.compared.fetch_add(1, Relaxed);
    if late {
        counts.candidate_timeouts.fetch_add(1, Relaxed);
    }
    let flip = match (compared.incumbent, compared.candidate) {
        (true, false) => Some(&counts.down),
        (false, true) => Some(&counts.up),
        _ => None,
    };
    let moved = compared.moved.then_some(&counts.moved);
    for counter in flip.into_iter().chain(moved) {
        counter.fetch_add(1, Relaxed);
    }
}

/// Runs the rows in batches as large as the model may; what fails together is run alone.
fn compute(side: &mut Side, batches: &[Mirrored], rows: &[At]) -> Scored {
    let mut scored = Scored {
        scores: Vec::with_capacity(rows.len()),
        took: 0,
        kept: Vec::new(),
    };
    for chunk in rows.chunks(side.max_batch.max(1)) {
        let first = scored.scores.len();
        let moved = |(row, outputs): Kept| (first + row, outputs);
        if let Ok((scores, took, kept)) = run(side, batches, chunk) {
            scored.scores.extend(scores.into_iter().map(Some));
            scored.took += took;
            scored.kept.extend(kept.into_iter().map(moved));
            continue;
        }
        for alone in chunk.chunks(1) {
            let one = (chunk.len() > 1)
                .then(|| run(side, batches, alone).ok())
                .flatten();
            let place = scored.scores.len();
            scored
                .scores
                .push(one.as_ref().map(|(scores, ..)| scores[0]));
            if let Some((_, took, kept)) = one {
                scored.took += took;
                let kept = kept.into_iter().map(|(_, outputs)| (place, outputs));
                scored.kept.extend(kept);
            }
        }
    }
    scored
}

/// One call of the engine: its scores, what it took, and the outputs of rows that are kept.
fn run(
    side: &mut Side,
    batches: &[Mirrored],
    rows: &[At],
) -> Result<(Vec<f64>, Ticks, Vec<Kept>), EngineError> {
    let panicked = |_| Err(EngineError::Failed("the engine panicked".into()));
    let call = AssertUnwindSafe(|| {
        let bucket = Bucket {
            rows: rows.len(),
            length: rows
                .iter()
                .map(|at| length(batches, *at))
                .max()
                .unwrap_or(1),
        };
        gather(side, batches, rows, bucket)?;
        let by_thread = side.lane.is_own_work();
        let clock = || if by_thread { thread_time() } else { now() };
        let started = clock();
        side.lane.run(bucket, rows.len())?;
        let took = clock() - started;
        let decider = side.decider;
        let specs = &side.contract.outputs;
        let outputs = &side.lane.buffers(bucket)?.outputs;
        let kept = rows.iter().enumerate().filter(|(_, at)| at.keep);
        let kept = kept.map(|(row, _)| {
            let each = specs.iter().zip(outputs).map(|(spec, buffer)| {
                let size = spec.row_bytes();
                buffer.as_bytes()[row * size..][..size].to_vec()
            });
            (row, each.collect())
        });
        let kept = kept.collect();
        let scored = outputs[decider.output].as_bytes();
        let scores = (0..rows.len()).map(|row| decider.score(scored, row));
        Ok((scores.collect(), took, kept))
    });
    catch_unwind(call).unwrap_or_else(panicked)
}

fn length(batches: &[Mirrored], at: At) -> usize {
    match &batches[at.batch].parts[at.part].inputs {
        Inputs::Rows(_) => 1,
        Inputs::Tokens(rows) => rows[at.row].len().max(1),
    }
}

/// Copies rows into the lane's buffers.
fn gather(
    side: &mut Side,
    batches: &[Mirrored],
    rows: &[At],
    bucket: Bucket,
) -> Result<(), EngineError> {
    let contract = &side.contract;
    let buffers = side.lane.buffers(bucket)?;
    for (place, at) in rows.iter().enumerate() {
        match &batches[at.batch].parts[at.part].inputs {
            Inputs::Rows(inputs) => {
                let specs = contract.inputs.iter().zip(&mut buffers.inputs);
                for ((spec, buffer), bytes) in specs.zip(inputs) {
                    let size = spec.row_bytes();
                    let source = &bytes[at.row * size..][..size];
                    buffer.as_bytes_mut()[place * size..][..size].copy_from_slice(source);
                }
            }
            Inputs::Tokens(tokens) => {
                if let Some(text) = &contract.text {
                    text.fill(&mut buffers.inputs, place, &tokens[at.row], bucket.length);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_of_work_is_as_many_rows_as_fit_its_time() {
        let mut pace = Pace::default();
        assert_eq!(pace.rows(), 1);
        pace.took(1, 20 * MICROS);
        assert_eq!(pace.rows(), 2);
        for _ in 0..40 {
            // More rows at once cost less each.
            pace.took(pace.rows(), 12 * MICROS + pace.rows() as Ticks * MICROS);
        }
        assert!((20..40).contains(&pace.rows()), "{}", pace.rows());
        pace.took(1, 40_000 * MICROS);
        assert_eq!(pace.rows(), 1, "a long row is run alone");
    }
}

//! The shadow's thread: takes mirrored batches when a lane is free anyway, lets the candidate compute
//! them, and compares.
//!
//! A pair's batch is computed by both models here, one after the other in an order that the pair's
//! hash decides, by sessions of the shadow's own: so both are timed under the same conditions, and a
//! time says nothing of how busy the server was.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::ends::Compared;
use super::queue::Mirrored;
use super::{Route, Side};
use crate::clock::{Ticks, now, thread_time};
use crate::engine::EngineError;
use crate::executor::{Backlog, Inputs};
use crate::tensor::Bucket;

/// How long to sleep when there is nothing to do, and when the lanes are busy.
const NOTHING: Duration = Duration::from_micros(500);
const BUSY: Duration = Duration::from_micros(50);

/// Where a row is in a batch: which part, and which of its rows.
type At = (usize, usize);

/// What a model made of a batch: a score a row, `None` where it failed, and the time of its runs.
struct Scored {
    scores: Vec<Option<f64>>,
    took: Ticks,
}

/// Runs until the route stops.
pub fn work(route: &Route, mut incumbent: Side, mut candidate: Side, backlog: &Backlog) {
    crate::priority::step_back();
    while !route.is_stopping() {
        let Some(mut batch) = route.queue.pop() else {
            std::thread::sleep(NOTHING);
            continue;
        };
        while !backlog.has_room() && !route.is_stopping() {
            std::thread::sleep(BUSY);
        }
        one(route, &mut incumbent, &mut candidate, &mut batch);
        route.queue.done(batch);
    }
}

/// Computes one batch and tells its pairs.
fn one(route: &Route, incumbent: &mut Side, candidate: &mut Side, batch: &mut Mirrored) {
    let rows: Vec<At> = (0..batch.parts.len())
        .flat_map(|part| (0..batch.parts[part].rows).map(move |row| (part, row)))
        .collect();
    let mut first = None;
    for pair in batch.parts.iter_mut().filter_map(|p| p.pair.as_mut()) {
        pair.started();
        first.get_or_insert(pair.incumbent_first());
    }
    let mut again = (first == Some(true)).then(|| compute(incumbent, batch, &rows));
    let new = compute(candidate, batch, &rows);
    if first == Some(false) {
        again = Some(compute(incumbent, batch, &rows));
    }
    let served = |row: usize| {
        let decider = &incumbent.decider;
        let tensor = batch.outputs.tensors.get(decider.output);
        tensor.map_or(f64::NAN, |bytes| decider.score(bytes, row))
    };
    let length = batch.parts.iter().map(|p| p.inputs.length()).max();
    let late = new.took > batch.budget;
    let mut verdicts: Vec<Option<Compared>> = Vec::with_capacity(rows.len());
    for row in 0..rows.len() {
        let compared = new.scores[row].and_then(|score| {
            let before = served(row);
            // A candidate that gives no number where the incumbent does has failed.
            (!score.is_nan() || before.is_nan()).then(|| Compared {
                incumbent: incumbent.decider.decide(before),
                candidate: candidate.decider.decide(score),
                moved: (score - before).abs() > route.wishes.score_epsilon,
                incumbent_ns: again.as_ref().map_or(0, |a| a.took),
                candidate_ns: new.took,
                rows: rows.len(),
                length: length.unwrap_or(1),
            })
        });
        count(route, new.scores[row], compared, late);
        if let Some(steady) = again.as_ref().and_then(|a| a.scores[row])
            && incumbent.decider.decide(steady) != incumbent.decider.decide(served(row))
        {
            route.ends.counts.incumbent_unsteady.fetch_add(1, Relaxed);
        }
        verdicts.push(compared);
    }
    let mut first_row = 0;
    for part in &mut batch.parts {
        if let Some(pair) = part.pair.take() {
            let row = first_row + pair.row(part.rows);
            match verdicts.get(row).copied().flatten() {
                Some(_) if late => pair.candidate_timeout(),
                Some(compared) => pair.complete(compared),
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
fn compute(side: &mut Side, batch: &Mirrored, rows: &[At]) -> Scored {
    let mut scored = Scored {
        scores: Vec::with_capacity(rows.len()),
        took: 0,
    };
    for chunk in rows.chunks(side.max_batch.max(1)) {
        if let Ok((scores, took)) = run(side, batch, chunk) {
            scored.scores.extend(scores.into_iter().map(Some));
            scored.took += took;
            continue;
        }
        for alone in chunk.chunks(1) {
            let one = (chunk.len() > 1)
                .then(|| run(side, batch, alone).ok())
                .flatten();
            scored.took += one.as_ref().map_or(0, |(_, took)| *took);
            scored.scores.push(one.map(|(scores, _)| scores[0]));
        }
    }
    scored
}

/// One call of the engine: its scores, and what it took.
fn run(side: &mut Side, batch: &Mirrored, rows: &[At]) -> Result<(Vec<f64>, Ticks), EngineError> {
    let panicked = |_| Err(EngineError::Failed("the engine panicked".into()));
    let call = AssertUnwindSafe(|| {
        let bucket = Bucket {
            rows: rows.len(),
            length: rows.iter().map(|at| length(batch, *at)).max().unwrap_or(1),
        };
        gather(side, batch, rows, bucket)?;
        let by_thread = side.lane.is_own_work();
        let clock = || if by_thread { thread_time() } else { now() };
        let started = clock();
        side.lane.run(bucket, rows.len())?;
        let took = clock() - started;
        let decider = side.decider;
        let outputs = &side.lane.buffers(bucket)?.outputs[decider.output];
        let scores = (0..rows.len()).map(|row| decider.score(outputs.as_bytes(), row));
        Ok((scores.collect(), took))
    });
    catch_unwind(call).unwrap_or_else(panicked)
}

fn length(batch: &Mirrored, (part, row): At) -> usize {
    match &batch.parts[part].inputs {
        Inputs::Rows(_) => 1,
        Inputs::Tokens(rows) => rows[row].len().max(1),
    }
}

/// Copies rows into the lane's buffers.
fn gather(
    side: &mut Side,
    batch: &Mirrored,
    rows: &[At],
    bucket: Bucket,
) -> Result<(), EngineError> {
    let contract = &side.contract;
    let buffers = side.lane.buffers(bucket)?;
    for (place, (part, row)) in rows.iter().enumerate() {
        match &batch.parts[*part].inputs {
            Inputs::Rows(inputs) => {
                let specs = contract.inputs.iter().zip(&mut buffers.inputs);
                for ((spec, buffer), bytes) in specs.zip(inputs) {
                    let size = spec.row_bytes();
                    let source = &bytes[row * size..][..size];
                    buffer.as_bytes_mut()[place * size..][..size].copy_from_slice(source);
                }
            }
            Inputs::Tokens(tokens) => {
                if let Some(text) = &contract.text {
                    text.fill(&mut buffers.inputs, place, &tokens[*row], bucket.length);
                }
            }
        }
    }
    Ok(())
}

//! From a verified directory to a model that is warm, measured and probed.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::directory::{VerifiedModel, verify};
use super::probe::row_dependence;
use super::text::TextStage;
use crate::clock::now;
use crate::config::{EngineOptions, ModelSettings};
use crate::engine::{self, Lane, OpenWith, Standing};
use crate::model::contract::EngineKind;
use crate::sched::cost::{CostTable, bucket_sizes, length_classes};
use crate::tensor::Bucket;

/// Runs of each bucket at warm-up, at least and at most, and the time after which the least will do.
const WARM_RUNS: (usize, usize) = (3, 10);
const WARM_BUDGET: crate::clock::Ticks = 150 * crate::clock::MILLIS;

/// Bytes of one lane's inputs and outputs.
const BUFFER_LIMIT: usize = 1 << 30;

/// A model ready to be given to the lanes.
pub struct Loaded {
    pub verified: VerifiedModel,
    /// One an executor lane.
    pub lanes: Vec<Box<dyn Lane>>,
    /// What each lane's engine says of itself.
    pub standings: Vec<Arc<Standing>>,
    /// For each class of lengths its longest row, in tokens, and what its batches cost.
    pub costs: Vec<(usize, CostTable)>,
    pub text: Option<TextStage>,
    /// Rows in one batch at most: 1 if rows depend on their neighbours.
    pub max_batch: usize,
    pub report: LoadReport,
}

/// What was found at load, for people.
#[derive(Debug, Clone, Serialize)]
pub struct LoadReport {
    pub digest: String,
    /// What ran it then.
    pub engine: String,
    /// Why batches are held to one row, if they are.
    pub row_dependence: Option<String>,
    pub load_ms: f64,
}

/// How a model is loaded, beside what its directory says.
#[derive(Debug, Clone, Copy)]
pub struct How<'a> {
    pub name: &'a str,
    pub lanes: usize,
    pub settings: &'a ModelSettings,
    pub engines: &'a EngineOptions,
    /// Nothing else is loaded: what was permitted is what was read.
    pub permitted: Option<&'a str>,
}

impl<'a> How<'a> {
    /// On one lane, by whoever has no server.
    pub fn alone(settings: &'a ModelSettings) -> Self {
        static NOTHING_SAID: EngineOptions = EngineOptions::new();
        Self {
            name: "",
            lanes: 1,
            settings,
            engines: &NOTHING_SAID,
            permitted: None,
        }
    }
}

/// Verifies, opens on every lane, probes and warms.
///
/// # Errors
/// A sentence that says which check failed.
pub fn load(path: &Path, how: How<'_>) -> Result<Loaded, String> {
    let max_rows = how.settings.max_batch;
    let started = now();
    let verified = verify(path)?;
    if let Some(permitted) = how.permitted.filter(|p| *p != verified.digest) {
        let is = &verified.digest;
        return Err(format!(
            "the directory was changed while it was loaded: {permitted} was permitted, it is {is}"
        ));
    }
    let contract = &verified.contract;
    let largest = Bucket {
        rows: if contract.is_batched() { max_rows } else { 1 },
        length: contract.max_length(),
    };
    let inputs = contract.engine_inputs();
    let specs = inputs.iter().chain(&contract.outputs);
    let bytes = specs
        .map(|s| s.batch_bytes(largest))
        .fold(0, usize::saturating_add);
    if bytes > BUFFER_LIMIT {
        return Err(format!(
            "{max_rows} rows of this model take {} MiB of buffers; set a smaller max_batch",
            bytes >> 20
        ));
    }
    let text = TextStage::open(&verified)?;
    let options = match &contract.engine {
        EngineKind::Python(name) => how.engines.get(name),
        _ => None,
    };
    let lanes = how.lanes.max(1);
    let mut open = Vec::with_capacity(lanes);
    for lane in 0..lanes {
        let with = OpenWith {
            name: how.name,
            options,
            largest,
            provider: how.settings.provider,
            lane,
        };
        open.push(engine::open(&verified, with).map_err(|e| e.message().to_owned())?);
    }
    let failed = |e: engine::EngineError| format!("the model fails at run time: {}", e.message());
    // A delay is not a model: probing it would only take its time.
    let dependence = if contract.graph.is_some() {
        row_dependence(open[0].as_mut(), contract, largest).map_err(failed)?
    } else {
        None
    };
    let max_batch = if dependence.is_some() {
        1
    } else {
        largest.rows
    };
    let classes = match contract.text {
        Some(_) => length_classes(largest.length),
        None => vec![1],
    };
    let mut costs: Vec<(usize, CostTable)> = classes
        .into_iter()
        .map(|longest| (longest, CostTable::new(max_batch)))
        .collect();
    for lane in &mut open {
        warm(lane.as_mut(), max_batch, &mut costs).map_err(failed)?;
    }
    let report = LoadReport {
        digest: verified.digest.clone(),
        engine: open[0].describe(),
        row_dependence: dependence,
        load_ms: (now() - started) as f64 / 1e6,
    };
    let standings = open.iter().map(|lane| {
        let fixed = || Standing::new(lane.describe());
        lane.standing().unwrap_or_else(fixed)
    });
    Ok(Loaded {
        verified,
        standings: standings.collect(),
        lanes: open,
        costs,
        text,
        max_batch,
        report,
    })
}

/// Runs every bucket, smallest first, and fills the cost tables. Large buckets of a slow model are
/// left to the table's extrapolation once the time is spent; one row of each length always runs.
fn warm(
    lane: &mut dyn Lane,
    max_batch: usize,
    costs: &mut [(usize, CostTable)],
) -> Result<(), engine::EngineError> {
    let mut left = WARM_BUDGET;
    for rows in bucket_sizes(max_batch) {
        for (length, cost) in &mut *costs {
            if rows > 1 && left == 0 {
                return Ok(());
            }
            let bucket = Bucket {
                rows,
                length: *length,
            };
            lane.warm(bucket)?;
            left = left.saturating_sub(measure(lane, bucket, cost, left)?);
        }
    }
    Ok(())
}

/// Files what a few runs of a bucket took, and returns the time that they would have taken without
/// interruption.
///
/// A model that is loaded beside traffic is warmed on a thread that gives way to it, so any run may
/// have been interrupted for as long as the traffic liked. The shortest of several was not; one of
/// more than twice that was, and is not filed.
fn measure(
    lane: &mut dyn Lane,
    bucket: Bucket,
    cost: &mut CostTable,
    left: crate::clock::Ticks,
) -> Result<crate::clock::Ticks, engine::EngineError> {
    let mut samples = Vec::with_capacity(WARM_RUNS.1);
    let mut shortest = crate::clock::Ticks::MAX;
    let spent = |shortest: crate::clock::Ticks, runs: usize| shortest.saturating_mul(runs as u64);
    while samples.len() < WARM_RUNS.0
        || (samples.len() < WARM_RUNS.1 && spent(shortest, samples.len()) < left)
    {
        let started = now();
        lane.run(bucket, bucket.rows)?;
        samples.push(now() - started);
        shortest = shortest.min(now() - started);
    }
    let runs = samples.len();
    for sample in samples.into_iter().filter(|s| *s / 2 <= shortest) {
        cost.record(bucket.rows, sample, now());
    }
    Ok(spent(shortest, runs))
}

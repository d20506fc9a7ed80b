//! From a verified directory to a model that is warm, measured and probed.

use std::path::Path;

use serde::Serialize;

use super::directory::{VerifiedModel, verify};
use super::probe::row_dependence;
use crate::clock::now;
use crate::engine::{self, Lane};
use crate::sched::cost::{CostTable, bucket_sizes};

/// Runs of each bucket at warm-up, at most, and the time after which fewer will do.
const WARM_RUNS: usize = 10;
const WARM_BUDGET: crate::clock::Ticks = 150 * crate::clock::MILLIS;

/// Bytes of one lane's inputs and outputs.
const BUFFER_LIMIT: usize = 1 << 30;

/// A model ready to be given to the lanes.
pub struct Loaded {
    pub verified: VerifiedModel,
    /// One an executor lane.
    pub lanes: Vec<Box<dyn Lane>>,
    pub cost: CostTable,
    /// Rows in one batch and in one request at most: 1 if rows depend on their neighbours.
    pub max_batch: usize,
    pub report: LoadReport,
}

/// What was found at load, for people.
#[derive(Debug, Clone, Serialize)]
pub struct LoadReport {
    pub digest: String,
    pub engine: String,
    /// Why batches are held to one row, if they are.
    pub row_dependence: Option<String>,
    pub load_ms: f64,
}

/// Verifies, opens on every lane, probes and warms.
///
/// # Errors
/// A sentence that says which check failed.
pub fn load(path: &Path, lanes: usize, max_rows: usize) -> Result<Loaded, String> {
    let started = now();
    let verified = verify(path)?;
    let specs = verified
        .contract
        .inputs
        .iter()
        .chain(&verified.contract.outputs);
    let bytes = specs
        .map(|s| s.row_bytes().saturating_mul(max_rows))
        .fold(0, usize::saturating_add);
    if bytes > BUFFER_LIMIT {
        return Err(format!(
            "{max_rows} rows of this model take {} MiB of buffers; set a smaller max_batch",
            bytes >> 20
        ));
    }
    let mut open = Vec::with_capacity(lanes.max(1));
    for _ in 0..lanes.max(1) {
        let lane = engine::open(&verified, max_rows).map_err(|e| e.message().to_owned())?;
        open.push(lane);
    }
    let failed = |e: engine::EngineError| format!("the model fails at run time: {}", e.message());
    // A delay is not a model: probing it would only take its time.
    let dependence = if verified.contract.graph.is_some() {
        row_dependence(open[0].as_mut(), &verified.contract, max_rows).map_err(failed)?
    } else {
        None
    };
    let max_batch = if dependence.is_some() { 1 } else { max_rows };
    let mut cost = CostTable::new(max_batch);
    for lane in &mut open {
        warm(lane.as_mut(), max_batch, &mut cost).map_err(failed)?;
    }
    let report = LoadReport {
        digest: verified.digest.clone(),
        engine: open[0].describe(),
        row_dependence: dependence,
        load_ms: (now() - started) as f64 / 1e6,
    };
    Ok(Loaded {
        verified,
        lanes: open,
        cost,
        max_batch,
        report,
    })
}

/// Runs every bucket, smallest first, and fills the cost table. Large buckets of a slow model are
/// left to the table's extrapolation once the time is spent.
fn warm(
    lane: &mut dyn Lane,
    max_batch: usize,
    cost: &mut CostTable,
) -> Result<(), engine::EngineError> {
    let begun = now();
    for rows in bucket_sizes(max_batch) {
        if now() - begun > WARM_BUDGET {
            break;
        }
        lane.warm(rows)?;
        for _ in 0..WARM_RUNS {
            let started = now();
            lane.run(rows, rows)?;
            let finished = now();
            cost.record(rows, finished - started, finished);
            if finished - begun > WARM_BUDGET {
                break;
            }
        }
    }
    Ok(())
}

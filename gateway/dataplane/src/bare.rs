//! The bare model in process: no network, no queue. What the gateway is measured against.

use std::path::Path;

use serde_json::{Value, json};

use crate::clock::{Ticks, now};
use crate::model::load::load;
use crate::tensor::Bucket;

/// Runs batches of `rows` rows for `seconds` and returns quantiles in µs and rows a second.
/// A call is what a lane does: rows copied in, one run, rows copied out. Of a text model, rows of
/// its longest length.
pub fn measure(path: &Path, rows: usize, seconds: f64) -> Result<Value, String> {
    let mut loaded = load(path, 1, rows)?;
    let contract = loaded.verified.contract.clone();
    let bucket = Bucket {
        rows,
        length: contract.max_length(),
    };
    let lane = loaded.lanes[0].as_mut();
    let specs = contract.engine_inputs();
    let inputs: Vec<Vec<u8>> = specs
        .iter()
        .map(|s| vec![0; s.batch_bytes(bucket)])
        .collect();
    let mut samples: Vec<Ticks> = Vec::new();
    let begun = now();
    while ((now() - begun) as f64) < seconds * 1e9 {
        let started = now();
        for (buffer, input) in lane.buffers(bucket).inputs.iter_mut().zip(&inputs) {
            buffer.as_bytes_mut()[..input.len()].copy_from_slice(input);
        }
        lane.run(bucket, rows).map_err(|e| e.message().to_owned())?;
        let outputs: Vec<Vec<u8>> = contract
            .outputs
            .iter()
            .zip(&lane.buffers(bucket).outputs)
            .map(|(s, b)| b.as_bytes()[..s.batch_bytes(bucket)].to_vec())
            .collect();
        std::hint::black_box(outputs);
        samples.push(now() - started);
    }
    let total = (now() - begun) as f64 / 1e9;
    samples.sort_unstable();
    let quantile = |q: f64| samples[((samples.len() - 1) as f64 * q) as usize] as f64 / 1e3;
    Ok(json!({
        "rows": rows,
        "calls": samples.len(),
        "rows_per_s": (samples.len() * rows) as f64 / total,
        "p50_us": quantile(0.5),
        "p99_us": quantile(0.99),
    }))
}

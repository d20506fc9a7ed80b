//! The bare model in process: no network, no queue. What the gateway is measured against.

use std::path::Path;

use serde_json::{Value, json};

use crate::clock::{Ticks, now};
use crate::config::ModelSettings;
use crate::model::load::{How, load};
use crate::tensor::Bucket;

/// Runs batches of `rows` rows for `seconds` and returns quantiles in µs and rows a second.
/// A call is what a lane does: rows copied in, one run, rows copied out. Of a text model, rows of
/// its longest length.
pub fn measure(path: &Path, rows: usize, seconds: f64) -> Result<Value, String> {
    let settings = ModelSettings {
        max_batch: rows,
        ..ModelSettings::default()
    };
    let mut loaded = load(path, How::alone(&settings))?;
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
        let buffers = lane.buffers(bucket).map_err(|e| e.message().to_owned())?;
        for (buffer, input) in buffers.inputs.iter_mut().zip(&inputs) {
            buffer.as_bytes_mut()[..input.len()].copy_from_slice(input);
        }
        lane.run(bucket, rows).map_err(|e| e.message().to_owned())?;
        let buffers = lane.buffers(bucket).map_err(|e| e.message().to_owned())?;
        let outputs: Vec<Vec<u8>> = contract
            .outputs
            .iter()
            .zip(&buffers.outputs)
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

/// Tokenises and runs groups of texts, one group a batch, round and round for `seconds`: what the
/// gateway does for a request, without the gateway. Groups as JSON; rows a second.
pub fn measure_texts(path: &Path, groups: &str, seconds: f64) -> Result<Value, String> {
    let groups: Vec<Vec<String>> = serde_json::from_str(groups).map_err(|e| e.to_string())?;
    let most = groups.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let settings = ModelSettings {
        max_batch: most,
        ..ModelSettings::default()
    };
    let mut loaded = load(path, How::alone(&settings))?;
    let contract = loaded.verified.contract.clone();
    let (Some(stage), Some(text)) = (&loaded.text, &contract.text) else {
        return Err("this model takes no text".into());
    };
    let lane = loaded.lanes[0].as_mut();
    let (mut rows, mut calls) = (0, 0);
    let begun = now();
    for group in groups.iter().cycle() {
        if (now() - begun) as f64 >= seconds * 1e9 {
            break;
        }
        let tokens = group.iter().map(|t| stage.tokens(t));
        let tokens = tokens.collect::<Result<Vec<_>, _>>()?;
        let bucket = Bucket {
            rows: tokens.len(),
            length: tokens.iter().map(|t| t.len()).max().unwrap_or(1),
        };
        let failed = |e: crate::engine::EngineError| e.message().to_owned();
        let buffers = lane.buffers(bucket).map_err(failed)?;
        for (row, tokens) in tokens.iter().enumerate() {
            text.fill(&mut buffers.inputs, row, tokens, bucket.length);
        }
        lane.run(bucket, bucket.rows).map_err(failed)?;
        let buffers = lane.buffers(bucket).map_err(failed)?;
        let outputs = contract.outputs.iter().zip(&buffers.outputs);
        let outputs = outputs.map(|(s, b)| b.as_bytes()[..s.batch_bytes(bucket)].to_vec());
        std::hint::black_box(outputs.collect::<Vec<_>>());
        rows += group.len();
        calls += 1;
    }
    let total = (now() - begun) as f64 / 1e9;
    Ok(json!({"calls": calls, "rows_per_s": rows as f64 / total}))
}

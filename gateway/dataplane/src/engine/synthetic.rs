//! Engines without a model: `identity` gives its inputs back, `delay` does so after a fixed time.

use std::time::{Duration, Instant};

use super::{Buffers, EngineError, Lane};
use crate::model::contract::Delay;
use crate::model::directory::VerifiedModel;
use crate::tensor::Bucket;

/// The last part of a delay is waited for actively: a sleeping thread wakes up to 60 µs late.
const SPIN: Duration = Duration::from_micros(80);

pub struct SyntheticLane {
    buffers: Buffers,
    row_bytes: Vec<usize>,
    delay: Option<Delay>,
}

impl SyntheticLane {
    pub fn open(model: &VerifiedModel, largest: Bucket) -> Self {
        Self {
            buffers: Buffers::for_model(model, largest),
            row_bytes: model
                .contract
                .inputs
                .iter()
                .map(|s| s.row_bytes())
                .collect(),
            delay: model.contract.delay,
        }
    }
}

impl Lane for SyntheticLane {
    fn buffers(&mut self, _bucket: Bucket) -> &mut Buffers {
        &mut self.buffers
    }

    fn run(&mut self, _bucket: Bucket, rows: usize) -> Result<(), EngineError> {
        let started = Instant::now();
        let Buffers { inputs, outputs } = &mut self.buffers;
        for ((input, output), row_bytes) in inputs.iter().zip(outputs).zip(&self.row_bytes) {
            let bytes = rows * row_bytes;
            output.as_bytes_mut()[..bytes].copy_from_slice(&input.as_bytes()[..bytes]);
        }
        if let Some(delay) = self.delay {
            let micros = delay
                .per_row_us
                .saturating_mul(rows as u64)
                .saturating_add(delay.per_batch_us);
            let until = Duration::from_micros(micros);
            if let Some(rest) = until.checked_sub(started.elapsed() + SPIN) {
                std::thread::sleep(rest);
            }
            while started.elapsed() < until {
                std::hint::spin_loop();
            }
        }
        Ok(())
    }

    fn describe(&self) -> String {
        if self.delay.is_some() {
            "delay".into()
        } else {
            "identity".into()
        }
    }
}

//! The engine contract: all that the rest of the server knows of what runs a model.
//!
//! An engine opens a verified model once per lane. A lane is used by one thread at a time: rows
//! are written into its input buffers, `run` makes one call for the whole batch, rows are read
//! from its output buffers. A new engine touches nothing else.

mod buffer;
pub mod onnx;
mod onnx_binding;
mod onnx_external;
#[cfg(feature = "python")]
pub mod python;
mod standing;
mod synthetic;

pub use buffer::Buffer;
pub use onnx_external::weight_files;
pub use standing::{Said, Standing, together};

use std::sync::Arc;

use crate::config::Provider;
use crate::model::contract::EngineKind;
use crate::model::directory::VerifiedModel;
use crate::tensor::{Bucket, TensorSpec};

/// What can go wrong in an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineError {
    /// The input is at fault; another input may work.
    BadInput(String),
    /// This batch or this model failed; the lane goes on.
    Failed(String),
    /// The device is gone; the lane cannot go on.
    DeviceLost(String),
}

impl EngineError {
    pub fn message(&self) -> &str {
        match self {
            Self::BadInput(m) | Self::Failed(m) | Self::DeviceLost(m) => m,
        }
    }
}

/// Row-major tensors with the batch first, in the order of the contract. Each holds the largest
/// bucket; a smaller batch uses the front.
#[derive(Debug)]
pub struct Buffers {
    pub inputs: Vec<Buffer>,
    pub outputs: Vec<Buffer>,
}

impl Buffers {
    pub fn for_model(model: &VerifiedModel, largest: Bucket) -> Self {
        let make = |specs: &[TensorSpec]| {
            specs
                .iter()
                .map(|s| Buffer::zeroed(s.batch_bytes(largest)))
                .collect()
        };
        Self {
            inputs: make(&model.contract.engine_inputs()),
            outputs: make(&model.contract.outputs),
        }
    }
}

pub trait Lane: Send {
    /// The buffers that `run(bucket, …)` reads and writes. `bucket` is within the largest one that
    /// the lane was opened with. A row of a tensor of variable length has the bucket's length.
    fn buffers(&mut self, bucket: Bucket) -> Result<&mut Buffers, EngineError>;

    /// Runs the first `rows` rows of the bucket's buffers; `1 <= rows <= bucket.rows`.
    fn run(&mut self, bucket: Bucket, rows: usize) -> Result<(), EngineError>;

    /// Makes the first real batch of this bucket as fast as the rest.
    fn warm(&mut self, bucket: Bucket) -> Result<(), EngineError> {
        self.run(bucket, bucket.rows)
    }

    /// Whether a run is the calling thread's own work alone, so that its processor time is the time
    /// of the run.
    fn is_own_work(&self) -> bool {
        false
    }

    /// Whether the last run was the first of its shape, and prepared what the next ones need: its
    /// time says little of theirs.
    fn was_first(&self) -> bool {
        false
    }

    /// Name and version of what runs the model.
    fn describe(&self) -> String;

    /// What the engine says of itself from here on; `None` if that never changes.
    fn standing(&self) -> Option<Arc<Standing>> {
        None
    }
}

/// How a model is opened, beside what its contract says.
#[derive(Debug, Clone, Copy)]
pub struct OpenWith<'a> {
    /// The model's name, for the engine's own words.
    pub name: &'a str,
    /// What the operator says to this engine, by `[engines.NAME]`.
    pub options: Option<&'a toml::Table>,
    pub largest: Bucket,
    pub provider: Provider,
    pub lane: usize,
}

/// Opens a model on one lane.
pub fn open(model: &VerifiedModel, with: OpenWith) -> Result<Box<dyn Lane>, EngineError> {
    match &model.contract.engine {
        EngineKind::Onnxruntime => Ok(Box::new(onnx::OnnxLane::open(model, with)?)),
        EngineKind::Identity | EngineKind::Delay => {
            let lane = synthetic::SyntheticLane::open(model, with.largest);
            Ok(Box::new(lane))
        }
        #[cfg(feature = "python")]
        EngineKind::Python(name) => python::open(name, model, with),
        #[cfg(not(feature = "python"))]
        EngineKind::Python(name) => Err(EngineError::Failed(format!(
            "engine '{name}' is one in Python, and this build has none"
        ))),
    }
}

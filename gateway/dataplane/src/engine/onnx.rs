//! ONNX Runtime, from the wheel's own library loaded at run time.
//!
//! One session per lane, one thread per session, no spinning. Inputs and outputs live in our own
//! buffers; for every number of rows that occurs there is one binding over their front, made once,
//! so that a batch is exactly as large as its rows (no padding) and costs one call. Another device's
//! inputs are copied when they are bound, so there they are bound again for each batch.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use ort::environment::Environment;
use ort::ep::{self, ExecutionProvider};
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{Outlet, TensorElementType, ValueType};

use super::onnx_binding::{Binding, MemoryInfo, Side, give_weights};
use super::onnx_external::weight_files;
use super::{Buffer, Buffers, EngineError, Lane, OpenWith};
use crate::config::Provider;
use crate::model::directory::VerifiedModel;
use crate::tensor::{Bucket, DataType, TensorSpec};

/// Shapes whose bindings are kept; a fixed-shape model never has more than its largest batch.
const MAX_BINDINGS: usize = 1_024;

static LIBRARY: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Says where libonnxruntime.so is. To be called before the first model is opened; the library is
/// loaded with the first ONNX model and never without one.
pub fn set_library(path: PathBuf) {
    *LIBRARY.lock().unwrap_or_else(PoisonError::into_inner) = Some(path);
}

fn environment() -> Result<&'static Environment, String> {
    static ENVIRONMENT: OnceLock<Result<Environment, String>> = OnceLock::new();
    let made = ENVIRONMENT.get_or_init(|| {
        let path = LIBRARY
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let path = path.ok_or("ONNX Runtime's library was not found: pip install onnxruntime")?;
        // The crate has hung on a missing file, so look first.
        if !Path::new(&path).is_file() {
            return Err(format!(
                "ONNX Runtime's library is not at {}",
                path.display()
            ));
        }
        let builder = ort::init_from(&path).map_err(|e| format!("ONNX Runtime: {e}"))?;
        let environment = builder
            .with_name("sluicegate")
            .with_telemetry(false)
            .build();
        let environment = environment.map_err(|e| format!("ONNX Runtime: {e}"))?;
        // What fails is reported to whom it concerns, not written to standard error.
        environment.set_log_level(ort::logging::LogLevel::Fatal);
        Ok(environment)
    });
    made.as_ref().map_err(Clone::clone)
}

/// A graph and the files that its weights lie in, by the names that the graph has for them.
pub struct Graph<'a> {
    bytes: &'a [u8],
    weights: Vec<(String, &'a [u8])>,
}

impl<'a> Graph<'a> {
    /// `find` gives the bytes of a file by its path from the graph's own folder.
    ///
    /// # Errors
    /// The bytes are not ONNX, or weights lie where nothing was verified.
    pub fn new(bytes: &'a [u8], find: impl Fn(&str) -> Option<&'a [u8]>) -> Result<Self, String> {
        let weights = weight_files(bytes)?.into_iter().map(|name| {
            let found = find(&name).ok_or_else(|| {
                format!("the graph keeps weights in '{name}', which is not a file of the model")
            })?;
            Ok((name, found))
        });
        Ok(Self {
            bytes,
            weights: weights.collect::<Result<_, String>>()?,
        })
    }

    /// The contract's graph, out of the verified files.
    pub fn of(model: &'a VerifiedModel) -> Result<Self, String> {
        let named = model.contract.graph.as_deref();
        let named = named.ok_or("the contract names no graph")?;
        let folder = Path::new(named).parent().unwrap_or(Path::new(""));
        Self::new(model.file(named)?, |name| {
            model.file(folder.join(name).to_str()?).ok()
        })
    }
}

fn open_session(graph: &Graph, provider: Provider) -> Result<Session, String> {
    let build = || -> ort::Result<Session> {
        let builder = Session::builder(environment().map_err(ort::Error::new)?)?;
        let builder = match provider {
            Provider::Cpu => builder,
            // Falling back to the CPU in silence would be a model of another speed; products of
            // float32 in 19 bits, as this provider has them by default, another model.
            Provider::Cuda => {
                let cuda = ep::CUDA::default().with_tf32(false).build();
                builder.with_execution_providers([cuda.error_on_failure()])?
            }
        };
        let mut builder = builder
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            .with_intra_op_spinning(false)?
            .with_inter_op_spinning(false)?
            .with_optimization_level(GraphOptimizationLevel::All)?;
        give_weights(&mut builder, &graph.weights).map_err(ort::Error::new)?;
        builder.commit_from_memory(graph.bytes)
    };
    environment()?;
    if provider == Provider::Cuda && !ep::CUDA::is_available().unwrap_or(false) {
        return Err("this ONNX Runtime was built without CUDA: install onnxruntime-gpu".into());
    }
    build().map_err(|e| format!("ONNX Runtime refused the graph: {e}"))
}

fn datatype(ty: TensorElementType) -> Option<DataType> {
    Some(match ty {
        TensorElementType::Bool => DataType::Bool,
        TensorElementType::Uint8 => DataType::Uint8,
        TensorElementType::Uint16 => DataType::Uint16,
        TensorElementType::Uint32 => DataType::Uint32,
        TensorElementType::Uint64 => DataType::Uint64,
        TensorElementType::Int8 => DataType::Int8,
        TensorElementType::Int16 => DataType::Int16,
        TensorElementType::Int32 => DataType::Int32,
        TensorElementType::Int64 => DataType::Int64,
        TensorElementType::Float16 => DataType::Fp16,
        TensorElementType::Bfloat16 => DataType::Bf16,
        TensorElementType::Float32 => DataType::Fp32,
        TensorElementType::Float64 => DataType::Fp64,
        TensorElementType::String => DataType::Bytes,
        _ => return None,
    })
}

fn spec(outlet: &Outlet) -> Result<TensorSpec, String> {
    let name = outlet.name().to_owned();
    let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
        return Err(format!("'{name}' is not a tensor"));
    };
    let datatype =
        datatype(*ty).ok_or_else(|| format!("tensor '{name}' holds {ty}, which is not served"))?;
    Ok(TensorSpec::new(&name, datatype, shape))
}

/// The inputs and outputs of a graph, as it names them: an open dimension is -1.
pub fn tensors_of(graph: &Graph) -> Result<(Vec<TensorSpec>, Vec<TensorSpec>), String> {
    let session = open_session(graph, Provider::Cpu)?;
    let specs = |outlets: &[Outlet]| outlets.iter().map(spec).collect::<Result<Vec<_>, _>>();
    Ok((specs(session.inputs())?, specs(session.outputs())?))
}

/// What a graph gives for two rows of zeros (of strings, empty ones) of `length`: its outputs' shapes, the batch as -1.
pub fn probe_shapes(
    graph: &Graph,
    inputs: &[TensorSpec],
    length: usize,
) -> Result<Vec<Vec<i64>>, String> {
    const ROWS: usize = 2;
    let mut session = open_session(graph, Provider::Cpu)?;
    let bucket = Bucket { rows: ROWS, length };
    let memory = MemoryInfo::cpu()?;
    let mut buffers: Vec<Buffer> = Vec::new();
    let mut binding = Binding::new(&session)?;
    for (place, input) in inputs.iter().enumerate() {
        let mut buffer = Buffer::zeroed(input.batch_bytes(bucket));
        if input.is_strings() {
            binding.bind_strings(input, place, bucket, Side::Input)?;
        } else {
            binding.bind(&memory, input, &mut buffer, bucket, Side::Input)?;
        }
        buffers.push(buffer);
    }
    let names: Vec<String> = session
        .outputs()
        .iter()
        .map(|o| o.name().to_owned())
        .collect();
    for name in &names {
        binding.bind_to_device(&memory, name)?;
    }
    binding
        .run(&mut session)
        .map_err(|e| format!("the graph fails on two rows of zeros: {e}"))?;
    let batched = inputs.iter().all(TensorSpec::is_batched);
    let batch = |mut shape: Vec<i64>| {
        if let Some(first) = shape.first_mut().filter(|d| batched && **d == ROWS as i64) {
            *first = -1;
        }
        shape
    };
    Ok(binding.output_shapes()?.into_iter().map(batch).collect())
}

/// One model on one lane. Fields are dropped in order: bindings before the buffers they point into
/// and the session they were made for.
pub struct OnnxLane {
    /// Made when a batch of that shape first occurs.
    bindings: HashMap<Bucket, Binding>,
    buffers: Buffers,
    memory: MemoryInfo,
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    largest: Bucket,
    provider: Provider,
    /// Whether the last run made its binding.
    first: bool,
    session: Session,
}

// SAFETY: every part may move between threads (see `Binding`); the lane is used by one at a time.
unsafe impl Send for OnnxLane {}

impl OnnxLane {
    pub fn open(model: &VerifiedModel, with: OpenWith) -> Result<Self, EngineError> {
        Self::open_checked(model, with).map_err(EngineError::Failed)
    }

    fn open_checked(model: &VerifiedModel, with: OpenWith) -> Result<Self, String> {
        let largest = with.largest;
        let contract = &model.contract;
        let session = open_session(&Graph::of(model)?, with.provider)?;
        let inputs = contract.engine_inputs();
        agree("input", session.inputs(), &inputs)?;
        agree("output", session.outputs(), &contract.outputs)?;
        Ok(Self {
            bindings: HashMap::new(),
            buffers: Buffers::for_model(model, largest),
            memory: MemoryInfo::cpu()?,
            inputs,
            outputs: contract.outputs.clone(),
            largest,
            provider: with.provider,
            first: true,
            session,
        })
    }

    fn bind(&mut self, bucket: Bucket) -> Result<Binding, String> {
        let mut binding = Binding::new(&self.session)?;
        let sides = [
            (&self.inputs, &mut self.buffers.inputs, Side::Input),
            (&self.outputs, &mut self.buffers.outputs, Side::Output),
        ];
        for (specs, buffers, side) in sides {
            for (place, (spec, buffer)) in specs.iter().zip(buffers).enumerate() {
                if spec.is_strings() {
                    binding.bind_strings(spec, place, bucket, side)?;
                } else {
                    binding.bind(&self.memory, spec, buffer, bucket, side)?;
                }
            }
        }
        Ok(binding)
    }

    fn run_bucket(&mut self, bucket: Bucket) -> Result<(), String> {
        if let Some(binding) = self.bindings.get(&bucket) {
            self.first = false;
            if self.provider != Provider::Cpu {
                binding.copy_to_device()?;
            }
            return binding.run_with(&mut self.session, &mut self.buffers);
        }
        if bucket.rows > self.largest.rows || bucket.length > self.largest.length {
            return Err(format!(
                "a batch of {} rows of {} is more than this lane was opened for",
                bucket.rows, bucket.length
            ));
        }
        self.first = true;
        let binding = self.bind(bucket)?;
        let result = binding.run_with(&mut self.session, &mut self.buffers);
        if self.bindings.len() >= MAX_BINDINGS {
            self.bindings.clear();
        }
        self.bindings.insert(bucket, binding);
        result
    }
}

/// Whether graph and contract name the same tensors. A dimension that the graph leaves open may be
/// fixed by the contract (the run then checks it); the contract may leave outputs of the graph out.
fn agree(side: &str, graph: &[Outlet], contract: &[TensorSpec]) -> Result<(), String> {
    let unlisted = graph
        .iter()
        .find(|o| contract.iter().all(|s| s.name != o.name()));
    if let Some(extra) = unlisted.filter(|_| side == "input") {
        return Err(format!(
            "the graph needs input '{}', which the contract lacks",
            extra.name()
        ));
    }
    for promised in contract {
        let name = &promised.name;
        let outlet = graph.iter().find(|o| o.name() == name);
        let outlet = outlet.ok_or_else(|| format!("the graph has no {side} '{name}'"))?;
        let actual = spec(outlet)?;
        if actual.datatype != promised.datatype {
            let (is, said) = (actual.datatype.wire_name(), promised.datatype.wire_name());
            return Err(format!(
                "{side} '{name}' is {is} in the graph and {said} in the contract"
            ));
        }
        let open_rank = actual.shape.is_empty() && side == "output";
        // A dimension that varies in the contract must be open in the graph.
        let same = actual.shape.len() == promised.shape.len()
            && actual
                .shape
                .iter()
                .zip(&promised.shape)
                .all(|(a, p)| a == p || *a == -1);
        if !same && !open_rank {
            let (is, said) = (&actual.shape, &promised.shape);
            return Err(format!(
                "{side} '{name}' is {is:?} in the graph and {said:?} in the contract"
            ));
        }
    }
    Ok(())
}

impl Lane for OnnxLane {
    fn buffers(&mut self, _bucket: Bucket) -> Result<&mut Buffers, EngineError> {
        Ok(&mut self.buffers)
    }

    fn run(&mut self, bucket: Bucket, rows: usize) -> Result<(), EngineError> {
        self.run_bucket(Bucket { rows, ..bucket })
            .map_err(EngineError::Failed)
    }

    /// One thread a session: the caller's.
    fn is_own_work(&self) -> bool {
        self.provider == Provider::Cpu
    }

    /// On a CPU a first run is a little slower, and promises have to allow for that.
    fn was_first(&self) -> bool {
        self.first && self.provider != Provider::Cpu
    }

    fn describe(&self) -> String {
        let path = LIBRARY
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let path = path.unwrap_or_default();
        // The library's file carries its version: libonnxruntime.so.1.31.1.
        let version = path.to_str().and_then(|p| p.split_once(".so."));
        format!(
            "onnxruntime {}",
            version.map_or("of unknown version", |(_, v)| v)
        )
    }
}

//! Engines in Python (gateway/engines): the lane's thread takes Python's lock once a batch; rows are
//! gathered and scattered without it, through the memory of the engine's own arrays.
//!
//! An engine that is not ready yet may let the data plane's ONNX Runtime run the model's graph in its
//! place, over copies of the same rows, until it says that it is.

use std::collections::HashMap;
use std::sync::Arc;

use pyo3::buffer::PyUntypedBuffer;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCFunction, PyDict, PyTuple};
use serde_json::json;

use super::onnx::{Graph, OnnxLane};
use super::{Buffer, Buffers, EngineError, Lane, OpenWith, Said, Standing};
use crate::config::Provider;
use crate::model::directory::VerifiedModel;
use crate::tensor::{Bucket, TensorSpec};

struct PythonLane {
    lane: Py<PyAny>,
    /// Python's class of a bucket.
    bucket: Py<PyAny>,
    held: HashMap<Bucket, Held>,
    standing: Arc<Standing>,
    /// Runs batches until the engine is ready.
    stand_in: Option<OnnxLane>,
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
}

/// One bucket's arrays. They are dropped before what keeps them in place.
struct Held {
    buffers: Buffers,
    bucket: Py<PyAny>,
    /// Keep the arrays' memory where it is.
    views: Vec<PyUntypedBuffer>,
}

/// Opens a model with the engine of this name.
pub fn open(
    name: &str,
    model: &VerifiedModel,
    with: OpenWith,
) -> Result<Box<dyn Lane>, EngineError> {
    let mut made = open_lane(name, model, with).map_err(|e| told(&e))?;
    let waits = Python::attach(|py| {
        let lane = made.lane.bind(py);
        // An engine that is always ready has no such attribute.
        let ready = lane.getattr_opt("ready")?;
        ready.map_or(Ok(false), |r| r.extract::<bool>().map(|ready| !ready))
    });
    if waits.map_err(|e| told(&e))? {
        // Without Python's lock: this may take seconds.
        let with = OpenWith {
            provider: Provider::Cpu,
            ..with
        };
        made.stand_in = Some(OnnxLane::open(model, with)?);
    }
    made.watch().map_err(|e| told(&e))?;
    Ok(Box::new(made))
}

fn open_lane(name: &str, model: &VerifiedModel, with: OpenWith) -> PyResult<PythonLane> {
    let contract = &model.contract;
    let said = json!({
        "name": with.name,
        "inputs": contract.engine_inputs(),
        "outputs": contract.outputs,
        "graph": contract.graph,
        "pad": contract.text.as_ref().map(|t| (&t.ids, t.pad)),
        "options": with.options,
        "stand_in": Graph::of(model).is_ok(),
        "rows": with.largest.rows,
        "length": with.largest.length,
    });
    Python::attach(|py| {
        let files = PyDict::new(py);
        for (path, bytes) in model.files() {
            files.set_item(path, PyBytes::new(py, bytes))?;
        }
        let engines = py.import("gateway.engines")?;
        let arguments = (name, said.to_string(), files, with.lane);
        let opened = engines.getattr("open_lane")?.call1(arguments)?;
        let about: String = opened.call_method0("describe")?.extract()?;
        Ok(PythonLane {
            lane: opened.unbind(),
            bucket: engines.getattr("Bucket")?.unbind(),
            held: HashMap::new(),
            standing: Standing::new(about),
            stand_in: None,
            inputs: contract.engine_inputs(),
            outputs: contract.outputs.clone(),
        })
    })
}

/// Whether operators' options fit their engines; `options` is JSON, engine to table.
///
/// # Errors
/// The engine's own sentence.
pub fn check_options(options: &str) -> Result<(), String> {
    Python::attach(|py| {
        let engines = py.import("gateway.engines")?;
        engines
            .call_method1("check_options", (options,))
            .map(drop)
            .map_err(|e| pyo3::exceptions::PyValueError::new_err(e.value(py).to_string()))
    })
    .map_err(|e: PyErr| Python::attach(|py| e.value(py).to_string()))
}

/// A Python exception as the contract's error: engines' own say their kind.
fn told(error: &PyErr) -> EngineError {
    Python::attach(|py| {
        let value = error.value(py);
        let kind = value.getattr("kind").and_then(|k| k.extract::<String>());
        match kind.as_deref() {
            Ok("bad_input") => EngineError::BadInput(value.to_string()),
            Ok("device_lost") => EngineError::DeviceLost(value.to_string()),
            Ok("failed") => EngineError::Failed(value.to_string()),
            // Not an engine's own: its type says more than its text.
            _ => EngineError::Failed(error.to_string()),
        }
    })
}

impl PythonLane {
    /// Lets the engine say what it is now and whenever that changes, if it has something to say.
    fn watch(&self) -> PyResult<()> {
        let standing = Arc::clone(&self.standing);
        let cpu = self.stand_in.as_ref().map(Lane::describe);
        Python::attach(|py| {
            let lane = self.lane.bind(py);
            let Some(watch) = lane.getattr_opt("watch")? else {
                return Ok(());
            };
            let change = move |said: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
                let (engine, note, ready): (String, Option<String>, bool) = said.extract()?;
                let engine = match &cpu {
                    Some(cpu) if !ready => format!("{cpu} on the CPU"),
                    _ => engine,
                };
                standing.change(Said { engine, note }, ready);
                Ok::<(), PyErr>(())
            };
            let tell = PyCFunction::new_closure(py, None, None, change)?;
            watch.call1((tell,)).map(drop)
        })
    }

    fn hold(&mut self, bucket: Bucket) -> PyResult<()> {
        if self.held.contains_key(&bucket) {
            return Ok(());
        }
        let held = Python::attach(|py| {
            let made = self.bucket.bind(py).call1((bucket.rows, bucket.length))?;
            let arrays = self.lane.bind(py).call_method1("buffers", (&made,))?;
            let mut views = Vec::new();
            let mut side = |name: &str, write: bool| -> PyResult<Vec<Buffer>> {
                let mut buffers = Vec::new();
                for array in arrays.getattr(name)?.try_iter()? {
                    let view = PyUntypedBuffer::get(&array?)?;
                    if !view.is_c_contiguous() || (write && view.readonly()) {
                        let text = "an engine's arrays must be contiguous and writable";
                        return Err(pyo3::exceptions::PyValueError::new_err(text));
                    }
                    // SAFETY: the view is contiguous and kept in `Held` for as long as the buffer,
                    // so the memory stays where it is; the contract gives it to this lane alone.
                    buffers
                        .push(unsafe { Buffer::foreign(view.buf_ptr().cast(), view.len_bytes()) });
                    views.push(view);
                }
                Ok(buffers)
            };
            let buffers = Buffers {
                inputs: side("inputs", true)?,
                outputs: side("outputs", true)?,
            };
            Ok::<_, PyErr>(Held {
                buffers,
                bucket: made.unbind(),
                views,
            })
        })?;
        self.held.insert(bucket, held);
        Ok(())
    }

    /// Runs a batch in the engine's place, if it is not ready; without Python's lock.
    fn stood_in(&mut self, bucket: Bucket, rows: usize) -> Option<Result<(), EngineError>> {
        if self.standing.is_ready() {
            if let Some(stand_in) = self.stand_in.take() {
                // Freeing a session may take milliseconds, and this thread has a batch to run.
                let thread = std::thread::Builder::new().name("free".into());
                let _ = thread.spawn(move || drop(stand_in));
            }
            return None;
        }
        let stand_in = self.stand_in.as_mut()?;
        let held = self.held.get_mut(&bucket)?;
        let mut run = || {
            let sides = stand_in.buffers(bucket)?.inputs.iter_mut();
            for ((spec, to), from) in self.inputs.iter().zip(sides).zip(&held.buffers.inputs) {
                copy(spec, bucket, rows, from, to);
            }
            stand_in.run(bucket, rows)?;
            let sides = held.buffers.outputs.iter_mut();
            let outputs = &stand_in.buffers(bucket)?.outputs;
            for ((spec, to), from) in self.outputs.iter().zip(sides).zip(outputs) {
                copy(spec, bucket, rows, from, to);
            }
            Ok(())
        };
        Some(run())
    }
}

/// Copies the first `rows` rows of a bucket's tensor.
fn copy(spec: &TensorSpec, bucket: Bucket, rows: usize, from: &Buffer, to: &mut Buffer) {
    let bytes = spec.batch_bytes(Bucket { rows, ..bucket });
    let bytes = bytes.min(from.as_bytes().len());
    to.as_bytes_mut()[..bytes].copy_from_slice(&from.as_bytes()[..bytes]);
}

impl Lane for PythonLane {
    fn buffers(&mut self, bucket: Bucket) -> Result<&mut Buffers, EngineError> {
        self.hold(bucket).map_err(|e| told(&e))?;
        let held = self.held.get_mut(&bucket);
        let missing = || EngineError::Failed("the engine gave no buffers".into());
        held.map(|h| &mut h.buffers).ok_or_else(missing)
    }

    fn run(&mut self, bucket: Bucket, rows: usize) -> Result<(), EngineError> {
        self.hold(bucket).map_err(|e| told(&e))?;
        if let Some(done) = self.stood_in(bucket, rows) {
            return done;
        }
        let Some(held) = self.held.get(&bucket) else {
            return Err(EngineError::Failed("the engine gave no buffers".into()));
        };
        Python::attach(|py| {
            let lane = self.lane.bind(py);
            lane.call_method1("run", (held.bucket.bind(py), rows))
                .map(drop)
        })
        .map_err(|e| told(&e))
    }

    fn warm(&mut self, bucket: Bucket) -> Result<(), EngineError> {
        self.hold(bucket).map_err(|e| told(&e))?;
        if let Some(done) = self.stood_in(bucket, bucket.rows) {
            return done;
        }
        let Some(held) = self.held.get(&bucket) else {
            return Ok(());
        };
        Python::attach(|py| {
            let lane = self.lane.bind(py);
            lane.call_method1("warm", (held.bucket.bind(py),)).map(drop)
        })
        .map_err(|e| told(&e))
    }

    fn describe(&self) -> String {
        self.standing.said().engine.clone()
    }

    fn standing(&self) -> Option<Arc<Standing>> {
        Some(Arc::clone(&self.standing))
    }
}

impl Drop for PythonLane {
    fn drop(&mut self) {
        // Without an interpreter there is nothing left to free.
        let _ = Python::try_attach(|py| {
            for (_, held) in self.held.drain() {
                drop(held.buffers);
                drop(held.views);
            }
            // An engine that fails to close has told its own log.
            let _ = self.lane.bind(py).call_method0("close");
        });
    }
}

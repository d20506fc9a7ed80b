//! Engines in Python (gateway/engines): the lane's thread takes Python's lock once a batch; rows are
//! gathered and scattered without it, through the memory of the engine's own arrays.

use std::collections::HashMap;

use pyo3::buffer::PyUntypedBuffer;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use serde_json::json;

use super::{Buffer, Buffers, EngineError, Lane};
use crate::model::directory::VerifiedModel;
use crate::tensor::Bucket;

struct PythonLane {
    lane: Py<PyAny>,
    /// Python's class of a bucket.
    bucket: Py<PyAny>,
    held: HashMap<Bucket, Held>,
    about: String,
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
    largest: Bucket,
    lane: usize,
) -> Result<Box<dyn Lane>, EngineError> {
    Python::attach(|py| {
        let contract = &model.contract;
        let told = json!({
            "inputs": contract.engine_inputs(),
            "outputs": contract.outputs,
            "graph": contract.graph,
            "rows": largest.rows,
            "length": largest.length,
        });
        let files = PyDict::new(py);
        for (path, bytes) in model.files() {
            files.set_item(path, PyBytes::new(py, bytes))?;
        }
        let engines = py.import("gateway.engines")?;
        let arguments = (name, told.to_string(), files, lane);
        let opened = engines.getattr("open_lane")?.call1(arguments)?;
        let about: String = opened.call_method0("describe")?.extract()?;
        let made = PythonLane {
            about,
            lane: opened.unbind(),
            bucket: engines.getattr("Bucket")?.unbind(),
            held: HashMap::new(),
        };
        Ok(Box::new(made) as Box<dyn Lane>)
    })
    .map_err(|e: PyErr| told(&e))
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
        self.about.clone()
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

//! The extension module `gateway._native`: the few doors through which Python reaches the data
//! plane. JSON goes out, so that no Python object is touched while anything runs.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use serde_json::json;

use crate::config::{Config, ModelSettings};
use crate::engine::onnx::Graph;
use crate::engine::{onnx, python};
use crate::model::describe::{Wishes, describe};
use crate::model::gate::{Gate, MaybeGate, Purpose};
use crate::model::load::{How, load as load_model};
use crate::model::{directory, repository};
use crate::server::control::Commands;
use crate::server::{StartError, start};

fn refused(error: String) -> PyErr {
    PyValueError::new_err(error)
}

fn to_py(error: StartError) -> PyErr {
    match error {
        StartError::Usage(text) => PyValueError::new_err(text),
        StartError::Door(text) => PyOSError::new_err(text),
        StartError::Models(text) => PyRuntimeError::new_err(text),
    }
}

/// Governance in Python: see governance/enforce.py.
struct PythonGate(Py<PyAny>);

impl PythonGate {
    fn ask<T>(&self, ask: impl FnOnce(Python<'_>, &Py<PyAny>) -> PyResult<T>) -> Result<T, String> {
        Python::attach(|py| ask(py, &self.0).map_err(|e| e.value(py).to_string()))
    }
}

impl Gate for PythonGate {
    fn live(&self, model: &str) -> Result<Option<String>, String> {
        self.ask(|py, gate| gate.call_method1(py, "live", (model,))?.extract(py))
    }

    fn may(&self, purpose: Purpose, model: &str, digest: &str) -> Result<(), String> {
        let method = match purpose {
            Purpose::Serve => "may_serve",
            Purpose::Shadow => "may_shadow",
            Purpose::Canary => "may_canary",
        };
        self.ask(|py, gate| gate.call_method1(py, method, (model, digest)).map(drop))
    }
}

/// Who permits models, by the settings.
fn gate(py: Python<'_>, config: &Config, allow_unsigned: bool) -> PyResult<MaybeGate> {
    match (&config.governance, allow_unsigned) {
        (Some(_), true) => Err(refused(
            "[governance] and --allow-unsigned contradict each other: choose one".into(),
        )),
        (Some(governance), false) => {
            let enforce = py.import("governance.enforce")?;
            let gate = enforce.call_method1("gate", (&governance.home,));
            let gate = gate.map_err(|e| PyRuntimeError::new_err(e.value(py).to_string()))?;
            Ok(Some(Arc::new(PythonGate(gate.unbind()))))
        }
        (None, true) => Ok(None),
        (None, false) => Err(PyRuntimeError::new_err(
            "nobody has signed for these models: set [governance] home in the configuration, or \
             say --allow-unsigned to serve all the same",
        )),
    }
}

/// A configuration whose engines' own tables are looked at too, by those engines.
fn merged(defaults: &str, text: &str, overrides: &str) -> Result<Config, String> {
    let config = Config::merged(defaults, text, overrides)?;
    if !config.engines.is_empty() {
        python::check_options(&json!(config.engines).to_string())?;
    }
    Ok(config)
}

/// Says where libonnxruntime.so is.
#[pyfunction]
fn set_onnxruntime(path: PathBuf) {
    onnx::set_library(path);
}

/// Serves until SIGTERM or SIGINT. `defaults` and `overrides` are TOML lines put under and over the
/// file's; `on_ready` is
/// called once with the status as JSON; `beside` are the commands that start the processes beside it:
/// telemetry, governance, and the follower of another's governance. Models that nobody signed for are served only if `allow_unsigned`. Returns the number of calls cut off at the end.
#[pyfunction]
fn serve(
    py: Python<'_>,
    config: Option<PathBuf>,
    defaults: &str,
    overrides: &str,
    on_ready: Py<PyAny>,
    beside: (Vec<String>, Vec<String>, Vec<String>),
    allow_unsigned: bool,
) -> PyResult<i64> {
    let text = match &config {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|e| refused(format!("{}: {e}", path.display())))?,
        None => String::new(),
    };
    let named = |e: String| {
        refused(match &config {
            Some(path) => format!("{}: {e}", path.display()),
            None => e,
        })
    };
    let first = merged(defaults, &text, overrides).map_err(named)?;
    // The same file and the same flags, for SIGHUP.
    let reread = || {
        let text = match &config {
            Some(path) => std::fs::read_to_string(path).map_err(|e| e.to_string())?,
            None => String::new(),
        };
        merged(defaults, &text, overrides)
    };
    let gate = gate(py, &first, allow_unsigned)?;
    let (telemetry, governance, follower) = beside;
    let commands = Commands {
        telemetry,
        governance,
        follower,
    };
    let running = py.detach(|| start(first, commands, gate)).map_err(to_py)?;
    on_ready.call1(py, (running.describe().to_string(),))?;
    let cut = py.detach(|| {
        running.wait_for_signal(reread);
        running.drain()
    });
    Ok(cut)
}

/// Checks every byte of a model directory; with `load`, also loads, warms and probes it. JSON.
#[pyfunction]
#[pyo3(signature = (path, load=false))]
fn verify(py: Python<'_>, path: PathBuf, load: bool) -> PyResult<String> {
    py.detach(|| {
        let verified = directory::verify(&path)?;
        let files: Vec<_> = verified
            .sizes()
            .map(|(p, n)| json!({"path": p, "size": n}))
            .collect();
        let mut found = json!({
            "digest": verified.digest,
            "engine": verified.contract.engine.name(),
            "inputs": verified.contract.inputs,
            "outputs": verified.contract.outputs,
            "decision": verified.contract.decision,
            "files": files,
        });
        if load {
            let loaded = load_model(&path, How::alone(&ModelSettings::default()))?;
            found["row_dependence"] = json!(loaded.report.row_dependence);
            found["runs_on"] = json!(loaded.report.engine);
            let lines = loaded.costs.iter().flat_map(|(_, c)| c.lines());
            found["cost"] = json!(lines.collect::<Vec<_>>());
        }
        Ok(found.to_string())
    })
    .map_err(refused)
}

/// Every version in a repository: JSON list of name, version and path.
#[pyfunction]
fn scan(path: PathBuf) -> PyResult<String> {
    let versions = repository::scan(&path).map_err(refused)?;
    let rows: Vec<_> = versions
        .iter()
        .map(|v| json!({"name": v.name, "version": v.version, "path": v.path}))
        .collect();
    Ok(json!(rows).to_string())
}

/// Whether a text can be a model's name.
#[pyfunction]
fn is_model_name(name: &str) -> bool {
    repository::is_name(name)
}

/// Files that an ONNX graph's weights lie in, by their paths from the graph's own folder.
#[pyfunction]
fn weight_files(graph: &[u8]) -> PyResult<Vec<String>> {
    let found = crate::engine::weight_files(graph).map_err(refused)?;
    Ok(found.into_iter().collect())
}

/// The contract of an ONNX graph, as TOML: tensors are read from the graph. `weights` are the files
/// that `weight_files` names; `wishes` is JSON, see `model::describe::Wishes`.
#[pyfunction]
fn contract_of_graph(
    py: Python<'_>,
    graph: PyBackedBytes,
    weights: HashMap<String, PyBackedBytes>,
    graph_name: &str,
    wishes: &str,
) -> PyResult<String> {
    let wishes: Wishes = serde_json::from_str(wishes).map_err(|e| refused(e.to_string()))?;
    py.detach(|| {
        let graph = Graph::new(&graph, |name| weights.get(name).map(|b| &**b))?;
        describe(&graph, graph_name, wishes)?.to_toml()
    })
    .map_err(refused)
}

/// Writes a folder's manifest and returns the digest.
#[pyfunction]
fn seal(path: PathBuf) -> PyResult<String> {
    directory::seal(&path).map_err(refused)
}

/// Runs a model in this process, batch after batch, and returns its cost table as JSON: what the
/// gateway can at best reach. `rows` rows a batch for `seconds`.
#[pyfunction]
fn bare(py: Python<'_>, path: PathBuf, rows: usize, seconds: f64) -> PyResult<String> {
    py.detach(|| crate::bare::measure(&path, rows, seconds))
        .map(|v| v.to_string())
        .map_err(refused)
}

/// Tokenises and runs groups of texts in this process; rows a second as JSON. `groups` is JSON.
#[pyfunction]
fn bare_texts(py: Python<'_>, path: PathBuf, groups: String, seconds: f64) -> PyResult<String> {
    py.detach(|| crate::bare::measure_texts(&path, &groups, seconds))
        .map(|v| v.to_string())
        .map_err(refused)
}

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(set_onnxruntime, module)?)?;
    module.add_function(wrap_pyfunction!(serve, module)?)?;
    module.add_function(wrap_pyfunction!(verify, module)?)?;
    module.add_function(wrap_pyfunction!(scan, module)?)?;
    module.add_function(wrap_pyfunction!(is_model_name, module)?)?;
    module.add_function(wrap_pyfunction!(weight_files, module)?)?;
    module.add_function(wrap_pyfunction!(contract_of_graph, module)?)?;
    module.add_function(wrap_pyfunction!(seal, module)?)?;
    module.add_function(wrap_pyfunction!(bare, module)?)?;
    module.add_function(wrap_pyfunction!(bare_texts, module)?)?;
    Ok(())
}

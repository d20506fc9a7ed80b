//! The decision log: a sample of what was answered, and the outcomes that become known later, as
//! Arrow files (docs/decisions.md).
//!
//! A request is in the sample by its id (`sample`), so in all files of a fleet or in none. Once its
//! answer is sent its rows are copied into a bounded buffer that is made at the start (`buffer`); a
//! thread at idle priority (`writer`) makes columns of them (`columns`) and files (`file`), and
//! deletes what is too old (`folder`). Who serves neither waits for that thread nor allocates or
//! frees memory with it: what finds no room, or a buffer that is being exchanged, is dropped and
//! counted.

mod buffer;
mod columns;
mod counters;
mod file;
mod folder;
mod key;
mod open;
mod sample;
mod tensors;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::clock::{SECONDS, Ticks, now};
use crate::config::{DecisionLogSettings, LoggedInputs};
use crate::tensor::TensorSpec;
use buffer::{Buffers, Entry, Head};
pub use counters::{Counters, Kind};
pub use sample::{MOST_ID, Sampled, Sampler};

/// How long the last rows may take to be written when the server ends.
const LAST_WORDS: Ticks = 5 * SECONDS;

/// What the log has to know of a model's version.
#[derive(Debug, PartialEq, Eq)]
pub struct Logged {
    pub model: String,
    pub digest: String,
    pub inputs: Vec<TensorSpec>,
    pub outputs: Vec<TensorSpec>,
    pub keep: LoggedInputs,
}

/// The inputs of one request; nothing is copied before the answer is sent.
#[derive(Debug)]
pub enum Held {
    Nothing,
    /// One an input, in the contract's order.
    Rows(Vec<Bytes>),
    /// One a row.
    Texts(Vec<Bytes>),
}

impl Held {
    fn bytes(&self) -> usize {
        let each = match self {
            Self::Nothing => return 0,
            Self::Rows(each) | Self::Texts(each) => each,
        };
        each.iter().map(|b| buffer::PREFIX + b.len()).sum()
    }
}

/// One answered request of the sample.
pub struct Decision<'a> {
    pub model: &'a Arc<Logged>,
    pub id: &'a str,
    /// Whose request it is, by its own word.
    pub key: Option<&'a str>,
    pub rows: usize,
    pub latency_us: f64,
    pub inputs: &'a Held,
    /// One an output, in the contract's order.
    pub outputs: &'a [&'a [u8]],
}

/// An outcome that became known.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Outcome {
    #[serde(rename = "request")]
    pub id: String,
    pub row: u32,
    pub time_ns: i64,
    pub label: f64,
}

/// The log as those see it who have something to write down.
pub struct Log {
    sampler: Sampler,
    buffers: Buffers,
    counters: Counters,
    stopping: AtomicBool,
}

/// The log's thread.
pub struct Running(JoinHandle<()>);

/// Starts the log.
///
/// # Errors
/// A sentence: the folder or the key cannot be used, or the system gave no thread.
pub fn start(
    settings: &DecisionLogSettings,
    ports: usize,
    counters: &Counters,
) -> Result<(Arc<Log>, Running), String> {
    let folder = &settings.folder;
    let named = |e: std::io::Error| format!("[decision_log] folder {}: {e}", folder.display());
    std::fs::create_dir_all(folder).map_err(named)?;
    folder::is_writable(folder).map_err(named)?;
    if !settings.key_file.as_os_str().is_empty() {
        key::Key::read(&settings.key_file).map_err(|e| format!("[decision_log] key_file {e}"))?;
    }
    let log = Arc::new(Log {
        sampler: Sampler::new(settings.share),
        buffers: Buffers::new(ports, settings.buffer_mib << 20),
        counters: counters.clone(),
        stopping: AtomicBool::new(false),
    });
    let (this, settings) = (Arc::clone(&log), settings.clone());
    let thread = std::thread::Builder::new().name("decisions".into());
    let thread = thread
        .spawn(move || writer::work(&this, &settings))
        .map_err(|e| format!("no thread for the decision log: {e}"))?;
    Ok((log, Running(thread)))
}

impl Running {
    /// Writes what waits, closes the files and ends.
    pub fn stop(self, log: &Log) {
        log.stopping.store(true, Relaxed);
        let until = now() + LAST_WORDS;
        // A disk that hangs must not keep the server from ending.
        while !self.0.is_finished() && now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Log {
    /// Whether a request is in the sample, and by which id.
    pub fn sample(&self, id: &str) -> Option<Sampled> {
        self.sampler.sample(id)
    }

    /// Whether outcomes of this id can be joined with anything.
    pub fn holds(&self, id: &str) -> bool {
        self.sampler.holds(id)
    }

    /// Puts a decision into the buffers, that of `port` first.
    pub fn decided(&self, port: usize, decision: &Decision<'_>) {
        let outputs = decision.outputs.iter();
        let outputs: usize = outputs.map(|o| buffer::PREFIX + o.len()).sum();
        let key = decision.key.unwrap_or("");
        let size = decision.id.len() + key.len() + decision.inputs.bytes() + outputs;
        let head = Head::Decision {
            model: Arc::clone(decision.model),
            rows: decision.rows as u32,
            latency_us: decision.latency_us,
            key: decision.key.map(|k| k.len() as u32),
        };
        let entry = Entry::new(head, wall_ns(), decision.id);
        let put = self.buffers.put(port, size, 1, |half| {
            half.begin(entry);
            half.bytes.extend_from_slice(decision.id.as_bytes());
            half.bytes.extend_from_slice(key.as_bytes());
            match decision.inputs {
                Held::Nothing => {}
                Held::Rows(each) | Held::Texts(each) => each.iter().for_each(|b| half.value(b)),
            }
            decision.outputs.iter().for_each(|o| half.value(o));
        });
        if !put {
            self.counters.dropped(Kind::Decisions, decision.rows);
        }
    }

    /// Puts what a shadow's candidate made of a row of the sample; called by threads of idle
    /// priority alone. One value an output.
    pub fn shadowed(&self, model: &Arc<Logged>, id: &str, row: usize, outputs: &[Vec<u8>]) {
        let values: usize = outputs.iter().map(|o| buffer::PREFIX + o.len()).sum();
        let head = Head::Shadow {
            model: Arc::clone(model),
            row: row as u32,
        };
        let entry = Entry::new(head, wall_ns(), id);
        let put = self.buffers.put_idle(id.len() + values, |half| {
            half.begin(entry);
            half.bytes.extend_from_slice(id.as_bytes());
            outputs.iter().for_each(|o| half.value(o));
        });
        if !put {
            self.counters.dropped(Kind::Shadow, 1);
        }
    }

    /// Puts outcomes, all or none; false if there is no room for them now.
    pub fn reported(&self, port: usize, outcomes: &[Outcome]) -> bool {
        let size = outcomes.iter().map(|o| o.id.len()).sum();
        self.buffers.put(port, size, outcomes.len(), |half| {
            for outcome in outcomes {
                let head = Head::Feedback {
                    row: outcome.row,
                    label: outcome.label,
                };
                half.begin(Entry::new(head, outcome.time_ns, &outcome.id));
                half.bytes.extend_from_slice(outcome.id.as_bytes());
            }
        })
    }
}

/// Nanoseconds since 1970.
pub fn wall_ns() -> i64 {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH);
    wall.map_or(0, |t| i64::try_from(t.as_nanos()).unwrap_or(i64::MAX))
}

/// A file's name for people.
fn shown(path: &Path) -> serde_json::Value {
    path.display().to_string().into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

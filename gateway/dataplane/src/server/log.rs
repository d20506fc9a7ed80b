//! Events for people and for log collectors: one JSON object a line on standard error. A thread of
//! its own writes them, so that nobody waits for a full disk or a collector that does not read; what
//! it cannot keep up with is dropped and counted.

use std::io::Write;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

/// Lines that may wait to be written.
const WAITING: usize = 1_024;

static DROPPED: AtomicU64 = AtomicU64::new(0);

/// `None` if the system gave no thread: then there is no log.
static LINES: LazyLock<Option<SyncSender<String>>> = LazyLock::new(|| {
    let (lines, waiting) = sync_channel::<String>(WAITING);
    let thread = std::thread::Builder::new().name("log".into());
    let write = move || {
        while let Ok(line) = waiting.recv() {
            // A log that cannot be written is not worth stopping for.
            let _ = std::io::stderr().lock().write_all(line.as_bytes());
        }
    };
    thread.spawn(write).ok().map(|_| lines)
});

/// Writes one event: its name, the time in seconds since 1970 and what belongs to it.
pub fn event(name: &str, fields: &[(&str, Value)]) {
    let mut line = Map::new();
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    let time = time.map_or(0, |t| u64::try_from(t.as_millis()).unwrap_or(0));
    line.insert("time".into(), (time as f64 / 1e3).into());
    line.insert("event".into(), name.into());
    for (key, value) in fields {
        line.insert((*key).into(), value.clone());
    }
    let dropped = DROPPED.swap(0, Relaxed);
    if dropped > 0 {
        line.insert("dropped_before".into(), dropped.into());
    }
    let text = format!("{}\n", Value::Object(line));
    let sent = LINES
        .as_ref()
        .is_some_and(|lines| lines.try_send(text).is_ok());
    if !sent {
        DROPPED.fetch_add(dropped + 1, Relaxed);
    }
}

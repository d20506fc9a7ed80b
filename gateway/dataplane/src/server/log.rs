//! Events for people and for log collectors: one JSON object a line on standard error. Never called
//! on a call's way. A log that cannot be written is not worth stopping for.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

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
    let text = format!("{}\n", Value::Object(line));
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

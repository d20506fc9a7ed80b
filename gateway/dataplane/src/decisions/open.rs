//! Rows of one kind and version on their way into one file.

use std::path::Path;
use std::sync::Arc;

use super::columns::{Columns, Row};
use super::file::File;
use super::key::Key;
use super::{Counters, Kind, Logged};
use crate::clock::{SECONDS, Ticks, now};
use crate::config::{DecisionLogSettings, LoggedInputs};

/// A batch is written when it has so many rows or bytes, or is so old.
const BATCH_ROWS: usize = 1_024;
const BATCH_BYTES: usize = 256 << 10;
const BATCH_AGE: Ticks = SECONDS;

/// A file that grows, or will once there is a batch for it.
pub struct Open {
    kind: Kind,
    /// `None` for feedback.
    model: Option<Arc<Logged>>,
    columns: Columns,
    pub file: Option<File>,
    began: Ticks,
    /// When the first row came that is not written.
    since: Ticks,
}

impl Open {
    /// # Errors
    /// A sentence: inputs are to be hashed, and there is no key.
    pub fn new(
        kind: Kind,
        model: Option<&Arc<Logged>>,
        settings: &DecisionLogSettings,
    ) -> Result<Self, String> {
        let path = &settings.key_file;
        let has_key = kind == Kind::Decisions && !path.as_os_str().is_empty();
        let key = has_key.then(|| Key::read(path)).transpose();
        let needed = model.is_some_and(|m| m.keep == LoggedInputs::Hash);
        let key = match key {
            Err(error) if needed => return Err(format!("key_file {error}")),
            key => key.ok().flatten(),
        };
        let model = model.cloned();
        Ok(Self {
            kind,
            columns: Columns::new(kind, model.clone(), key),
            model,
            file: None,
            began: now(),
            since: now(),
        })
    }

    pub fn holds(&self, kind: Kind, model: Option<&Arc<Logged>>) -> bool {
        self.kind == kind
            && match (&self.model, model) {
                (Some(one), Some(other)) => Arc::ptr_eq(one, other),
                (one, other) => one.is_none() && other.is_none(),
            }
    }

    /// Takes an entry in.
    ///
    /// # Errors
    /// A sentence; nothing can be taken in any more then.
    pub fn take(&mut self, row: &Row<'_>) -> Result<(), String> {
        if self.columns.rows() == 0 {
            self.since = now();
        }
        self.columns.take(row).map_err(|e| e.to_string())
    }

    /// When the first row came that is not written.
    pub fn since(&self) -> Ticks {
        self.since
    }

    pub fn rows(&self) -> usize {
        self.columns.rows()
    }

    /// Whether what waits makes a batch.
    pub fn is_due(&self, now: Ticks) -> bool {
        let (rows, bytes) = (self.columns.rows(), self.columns.bytes);
        rows >= BATCH_ROWS
            || bytes >= BATCH_BYTES
            || (rows > 0 && now.saturating_sub(self.since) >= BATCH_AGE)
    }

    /// Whether the file has grown enough, or is old enough.
    pub fn is_full(&self, now: Ticks, settings: &DecisionLogSettings) -> bool {
        let bytes = self.file.as_ref().map_or(0, File::bytes);
        bytes >= settings.file_mib << 20
            || now.saturating_sub(self.began) >= settings.file_seconds * SECONDS
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// A sentence; rows that are lost by it are counted.
    pub fn flush(&mut self, root: &Path, counters: &Counters) -> Result<(), String> {
        let (kind, rows) = (self.kind, self.columns.rows());
        if rows == 0 {
            return Ok(());
        }
        let lost = |error: String| {
            counters.failed(kind, rows);
            error
        };
        let batch = self.columns.batch().map_err(|e| lost(e.to_string()))?;
        if self.file.is_none() {
            let made = File::create(root, kind, self.columns.schema(), counters);
            self.file = Some(made.map_err(|e| lost(e.to_string()))?);
        }
        match &mut self.file {
            Some(file) => file.write(&batch).map_err(|e| e.to_string()),
            None => Ok(()),
        }
    }
}

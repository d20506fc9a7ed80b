//! One file of the log: `NAME.arrow.partial` while it grows, `NAME.arrow` once its footer stands.
//!
//! Batches go through memory: what the system does not take, because the disk is full, stays there
//! and is written before anything else when there is room again. So a file is never broken in its
//! middle.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_ipc::writer::FileWriter;
use arrow_schema::{ArrowError, Schema};

use super::{Counters, Kind, folder};

/// The file's bytes that were not written yet, and where they go.
struct Sink {
    file: fs::File,
    waiting: Vec<u8>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.waiting.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink {
    fn push(&mut self) -> io::Result<()> {
        let mut done = 0;
        let result = loop {
            if done == self.waiting.len() {
                break Ok(());
            }
            match self.file.write(&self.waiting[done..]) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => break Err(e),
            }
        };
        self.waiting.drain(..done);
        result
    }
}

pub struct File {
    kind: Kind,
    writer: FileWriter<Sink>,
    path: PathBuf,
    /// Rows in the file.
    rows: usize,
    /// Rows that are taken in and not in the file.
    waiting: usize,
    bytes: u64,
    counters: Counters,
}

fn plain(error: ArrowError) -> io::Error {
    io::Error::other(error.to_string())
}

impl File {
    pub fn create(
        root: &Path,
        kind: Kind,
        schema: &Schema,
        counters: &Counters,
    ) -> io::Result<Self> {
        let path = root.join(folder::name(kind));
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            // Inputs may be about people.
            .mode(0o640)
            .open(folder::partial(&path))?;
        // Held until the process ends, however it ends: nobody else recovers the file before.
        file.try_lock().map_err(io::Error::from)?;
        let sink = Sink {
            file,
            waiting: Vec::new(),
        };
        Ok(Self {
            kind,
            writer: FileWriter::try_new(sink, schema).map_err(plain)?,
            path,
            rows: 0,
            waiting: 0,
            bytes: 0,
            counters: counters.clone(),
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes a batch.
    ///
    /// # Errors
    /// The system's. What could not be written waits; a batch that comes while something waits and
    /// still cannot be written is lost, and counted.
    pub fn write(&mut self, batch: &RecordBatch) -> io::Result<()> {
        let rows = batch.num_rows();
        if self.waiting > 0
            && let Err(error) = self.push()
        {
            self.counters.failed(self.kind, rows);
            return Err(error);
        }
        let lost = |_: &io::Error| self.counters.failed(self.kind, rows);
        self.writer.write(batch).map_err(plain).inspect_err(lost)?;
        self.waiting = rows;
        self.push()
    }

    fn push(&mut self) -> io::Result<()> {
        let sink = self.writer.get_mut();
        let length = sink.waiting.len();
        let result = sink.push();
        self.bytes += (length - sink.waiting.len()) as u64;
        result?;
        self.counters.written(self.kind, self.waiting);
        self.rows += self.waiting;
        self.waiting = 0;
        Ok(())
    }

    /// Writes the footer and gives the file its name. May be called again after an error.
    pub fn finish(&mut self) -> io::Result<()> {
        self.push()?;
        let partial = folder::partial(&self.path);
        if self.rows == 0 {
            return fs::remove_file(partial);
        }
        // A second call finds it finished already, and its bytes waiting.
        let _ = self.writer.finish();
        self.push()?;
        self.writer.get_ref().file.sync_data()?;
        fs::rename(partial, &self.path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        self.counters.failed(self.kind, self.waiting);
    }
}

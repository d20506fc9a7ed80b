//! The log's thread: takes what waits, makes batches and files of it, and closes and deletes files
//! when it is time. At idle priority, in short pieces (ADR 10).

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::buffer::{Half, Head};
use super::columns::Row;
use super::file::File;
use super::open::Open;
use super::{Counters, Kind, Log, Logged, folder, shown};
use crate::clock::{MICROS, SECONDS, Ticks, now, thread_time};
use crate::config::DecisionLogSettings;
use crate::priority::{AtWork, doze_beside, somebody_serves, step_back};
use crate::server::log::event;

/// How long to sleep when all is done, and after a piece of work while somebody serves.
const NOTHING: Duration = Duration::from_millis(10);
const PAUSE: Duration = Duration::from_micros(100);
/// How long a piece of work takes, and after how many entries the clock is asked.
const PIECE: Ticks = 40 * MICROS;
const LOOK_UP: usize = 16;
/// How often it is looked for files that are too old, and for files that could not be closed.
const TIDY: Ticks = 60 * SECONDS;
const RETRY: Ticks = SECONDS;
/// Files whose footer could not be written, at most.
const UNFINISHED: usize = 8;

struct Writer<'a> {
    settings: &'a DecisionLogSettings,
    counters: &'a Counters,
    open: Vec<Open>,
    unfinished: Vec<File>,
    /// The last attempt failed, and it was told.
    failing: bool,
    /// When old files and unfinished ones are looked at next.
    tidy_at: Ticks,
    retry_at: Ticks,
    at_work: Option<AtWork>,
    piece: Ticks,
    done: usize,
}

/// Runs until the log stops.
pub fn work(log: &Log, settings: &DecisionLogSettings) {
    step_back();
    let mut writer = Writer {
        settings,
        counters: &log.counters,
        open: Vec::new(),
        unfinished: Vec::new(),
        failing: false,
        tidy_at: 0,
        retry_at: 0,
        at_work: None,
        piece: 0,
        done: 0,
    };
    match folder::recover(&settings.folder, &log.counters) {
        Ok(saved) => saved
            .iter()
            .for_each(|file| event("decision_log_recovered", &[("file", shown(file))])),
        Err(error) => writer.told(Err(error.to_string())),
    }
    let mut spare = log.buffers.spare();
    loop {
        let last = log.stopping.load(Relaxed);
        writer.begin();
        log.buffers.exchange(&mut spare, |half| writer.take(half));
        writer.look_after(now(), last);
        writer.at_work = None;
        if last {
            return;
        }
        doze_beside(NOTHING);
    }
}

impl Writer<'_> {
    fn begin(&mut self) {
        self.at_work = Some(AtWork::begin());
        self.piece = thread_time();
    }

    /// Between two entries: gives the core back if a piece of work is done.
    fn look_up(&mut self) {
        self.done += 1;
        if self.done.is_multiple_of(LOOK_UP) && thread_time() - self.piece > PIECE {
            if somebody_serves() {
                self.at_work = None;
                doze_beside(PAUSE);
            }
            self.begin();
        }
    }

    fn take(&mut self, half: &mut Half) {
        for nth in 0..half.entries.len() {
            let entry = &half.entries[nth];
            let (id, rest) = half.of(nth).split_at(entry.id as usize);
            let row = Row {
                head: &entry.head,
                time_ns: entry.time_ns,
                // Only text was put there.
                id: std::str::from_utf8(id).unwrap_or_default(),
                rest,
            };
            self.put(&row);
            self.look_up();
        }
    }

    fn put(&mut self, row: &Row<'_>) {
        let (kind, model, rows) = match row.head {
            Head::Decision { model, rows, .. } => (Kind::Decisions, Some(model), *rows as usize),
            Head::Shadow { model, .. } => (Kind::Shadow, Some(model), 1),
            Head::Feedback { .. } => (Kind::Feedback, None, 1),
        };
        let place = match self.place(kind, model) {
            Ok(place) => place,
            Err(error) => {
                self.counters.failed(kind, rows);
                return self.told(Err(error));
            }
        };
        let open = &mut self.open[place];
        if let Err(error) = open.take(row) {
            // Its columns may be of different lengths now.
            let lost = self.open.swap_remove(place);
            self.counters.failed(kind, lost.rows());
            self.told(Err(error));
            self.finish(lost.file);
        } else if open.is_due(open.since()) {
            self.write(place);
        }
    }

    /// Where rows of this kind and version go.
    fn place(&mut self, kind: Kind, model: Option<&Arc<Logged>>) -> Result<usize, String> {
        if let Some(place) = self.open.iter().position(|o| o.holds(kind, model)) {
            return Ok(place);
        }
        self.open.push(Open::new(kind, model, self.settings)?);
        Ok(self.open.len() - 1)
    }

    /// Writes what waits for one file, and closes it if it is full.
    fn write(&mut self, place: usize) {
        let open = &mut self.open[place];
        let any = open.rows() > 0;
        let written = open.flush(&self.settings.folder, self.counters);
        let full = open.is_full(now(), self.settings);
        if any {
            self.told(written);
        }
        if full {
            let file = self.open.swap_remove(place).file;
            self.finish(file);
        }
    }

    /// Closes a file; one that the system does not let close waits.
    fn finish(&mut self, file: Option<File>) {
        let Some(mut file) = file else {
            return;
        };
        match file.finish() {
            Ok(()) => {
                self.told(Ok(()));
                // There is a file more.
                self.tidy_at = 0;
            }
            Err(error) => {
                self.told(Err(error.to_string()));
                // One too many stays as it is: the next start makes it whole.
                if self.unfinished.len() < UNFINISHED {
                    self.unfinished.push(file);
                }
            }
        }
    }

    /// Writes what is due and closes what is full, or everything at the end.
    fn look_after(&mut self, now: Ticks, last: bool) {
        let mut place = 0;
        while place < self.open.len() {
            let open = &self.open[place];
            let full = last || open.is_full(now, self.settings);
            let before = self.open.len();
            if full || open.is_due(now) {
                self.write(place);
            }
            if last && self.open.len() == before {
                let file = self.open.swap_remove(place).file;
                self.finish(file);
            }
            // What was closed left its place to another.
            place += usize::from(self.open.len() == before);
        }
        if last || now >= self.retry_at {
            self.retry_at = now + RETRY;
            std::mem::take(&mut self.unfinished)
                .into_iter()
                .for_each(|file| self.finish(Some(file)));
        }
        if now >= self.tidy_at {
            self.tidy_at = now + TIDY;
            let settings = self.settings;
            let age = Duration::from_secs(settings.keep_days * 86_400);
            match folder::retire(&settings.folder, age, settings.keep_mib << 20) {
                Ok(deleted) => drop(self.counters.deleted.inc_by(deleted)),
                Err(error) => self.told(Err(error.to_string())),
            }
        }
    }

    /// Tells when writing begins to fail, and when it goes on.
    fn told(&mut self, result: Result<(), String>) {
        let folder = || shown(&self.settings.folder);
        match (result, self.failing) {
            (Err(error), false) => event(
                "decision_log_failed",
                &[("folder", folder()), ("error", error.into())],
            ),
            (Ok(()), true) => event("decision_log_goes_on", &[("folder", folder())]),
            (Err(_), true) => return,
            (Ok(()), false) => return,
        }
        self.failing = !self.failing;
    }
}

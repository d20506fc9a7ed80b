//! What became of pairs, and counts of all that was mirrored, until the governance service fetches them.
//! Written by threads of different priorities: those that serve only ever try the lock.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Serialize;
use serde_json::{Value, json};

use super::queue::tried;
use super::sampler::{Choice, Closed};
use crate::clock::Ticks;

/// Ends kept at most until they are fetched; more are lost, and counted.
const KEPT: usize = 16_384;

/// Every pair ends as exactly one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    Complete,
    CandidateError,
    CandidateTimeout,
    Shed,
    IncumbentError,
}

/// What a complete pair shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Compared {
    /// Whether the score reached each one's own threshold.
    pub incumbent: bool,
    pub candidate: bool,
    /// The score moved by more than `score_epsilon`.
    pub moved: bool,
    /// Time of the same batch on the same thread, in ns, one after the other; 0 for the incumbent
    /// if it failed when run again.
    pub incumbent_ns: Ticks,
    pub candidate_ns: Ticks,
    /// Rows and tokens a row of the batch.
    pub rows: usize,
    pub length: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ended {
    #[serde(flatten)]
    pub choice: Choice,
    pub caller: Box<str>,
    pub segment: Option<Box<str>>,
    pub end: End,
    #[serde(flatten)]
    pub compared: Option<Compared>,
}

/// Counts of rows, pairs or not, since the shadow began.
#[derive(Debug, Default)]
pub struct Counts {
    pub compared: AtomicU64,
    /// Decisions that changed from at or above the threshold to below, and the other way.
    pub down: AtomicU64,
    pub up: AtomicU64,
    pub moved: AtomicU64,
    /// Rows whose candidate score is no number.
    pub not_a_number: AtomicU64,
    pub candidate_errors: AtomicU64,
    pub candidate_timeouts: AtomicU64,
    /// Rows of which the incumbent, run again, decides otherwise than it did.
    pub incumbent_unsteady: AtomicU64,
}

impl Counts {
    pub fn told(&self) -> Value {
        let told = |n: &AtomicU64| n.load(Relaxed);
        json!({
            "compared": told(&self.compared),
            "down": told(&self.down),
            "up": told(&self.up),
            "moved": told(&self.moved),
            "not_a_number": told(&self.not_a_number),
            "candidate_errors": told(&self.candidate_errors),
            "candidate_timeouts": told(&self.candidate_timeouts),
            "incumbent_unsteady": told(&self.incumbent_unsteady),
        })
    }
}

#[derive(Debug)]
struct Told {
    ends: Vec<Ended>,
    closed: Vec<Closed>,
}

#[derive(Debug)]
pub struct Ends {
    told: Mutex<Told>,
    lost: AtomicU64,
    pub counts: Counts,
}

impl Default for Ends {
    fn default() -> Self {
        Self {
            // Of its full size from the start: who grows it would do so under the lock.
            told: Mutex::new(Told {
                ends: Vec::with_capacity(KEPT),
                closed: Vec::with_capacity(KEPT),
            }),
            lost: AtomicU64::new(0),
            counts: Counts::default(),
        }
    }
}

impl Ends {
    /// Keeps an end; one that finds the lock held or no room is lost, and counted.
    pub fn end(&self, ended: Ended) {
        match tried(&self.told) {
            Some(mut told) if told.ends.len() < KEPT => told.ends.push(ended),
            _ => {
                self.lost.fetch_add(1, Relaxed);
            }
        }
    }

    pub fn close(&self, closed: Closed) {
        match tried(&self.told) {
            Some(mut told) if told.closed.len() < KEPT => told.closed.push(closed),
            _ => {
                self.lost.fetch_add(1, Relaxed);
            }
        }
    }

    /// Takes out what is there; nothing if the lock is held, and then it is told next time.
    pub fn drain(&self) -> Value {
        let (ends, closed): (Vec<Ended>, Vec<Closed>) = match tried(&self.told) {
            Some(mut told) => (
                told.ends.drain(..).collect(),
                told.closed.drain(..).collect(),
            ),
            None => (Vec::new(), Vec::new()),
        };
        json!({
            "closed": closed,
            "ends": ends,
            "lost": self.lost.load(Relaxed),
        })
    }
}

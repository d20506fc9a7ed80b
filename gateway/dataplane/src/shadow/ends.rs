//! What became of pairs, and counts of all that was mirrored, until the governance service fetches them.
//! Threads that serve and the runner, at idle priority, write to lists of their own: neither waits for
//! the other.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use serde_json::{Value, json};

use super::queue::tried;
use super::sampler::{Choice, Closed};
use crate::clock::Ticks;
use crate::decisions::Outcome;

/// Ends kept at most until they are fetched; more are lost, and counted.
const KEPT: usize = 16_384;
/// Outcomes kept at most until they are fetched.
const KEPT_OUTCOMES: usize = 65_536;

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
    pub incumbent_score: f64,
    pub candidate_score: f64,
    /// Which of the request's rows it is.
    pub row: usize,
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
    /// By which outcomes that come later are joined to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Box<str>>,
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
    /// By threads that serve.
    serving: Mutex<Told>,
    /// By the runner alone.
    runner: Mutex<Vec<Ended>>,
    /// Outcomes that were reported while the shadow ran, of whatever request: who asks has the pairs.
    outcomes: Mutex<Vec<Outcome>>,
    outcomes_lost: AtomicU64,
    /// Nobody will ask any more.
    over: AtomicBool,
    lost: AtomicU64,
    pub counts: Counts,
}

impl Default for Ends {
    fn default() -> Self {
        Self {
            // Of their full size from the start: who grows a list would do so under its lock.
            serving: Mutex::new(Told {
                ends: Vec::with_capacity(KEPT),
                closed: Vec::with_capacity(KEPT),
            }),
            runner: Mutex::new(Vec::with_capacity(KEPT)),
            outcomes: Mutex::default(),
            outcomes_lost: AtomicU64::new(0),
            over: AtomicBool::new(false),
            lost: AtomicU64::new(0),
            counts: Counts::default(),
        }
    }
}

impl Ends {
    /// Keeps an end told by a thread that serves.
    pub fn served(&self, ended: Ended) {
        if !self.over.load(Relaxed) {
            let mut told = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
            self.put(&mut told.ends, ended);
        }
    }

    /// Keeps an end told by the runner.
    pub fn ran(&self, ended: Ended) {
        let mut ends = self.runner.lock().unwrap_or_else(PoisonError::into_inner);
        self.put(&mut ends, ended);
    }

    /// Keeps outcomes; those beyond what there is room for are lost, and counted.
    pub fn reported(&self, outcomes: &[Outcome]) {
        let mut kept = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        let room = (KEPT_OUTCOMES - kept.len()).min(outcomes.len());
        kept.extend_from_slice(&outcomes[..room]);
        let lost = (outcomes.len() - room) as u64;
        self.outcomes_lost.fetch_add(lost, Relaxed);
    }

    pub fn close(&self, closed: Closed) {
        let mut told = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        self.put(&mut told.closed, closed);
    }

    /// What ends from here on is told to nobody.
    pub fn finish(&self) {
        self.over.store(true, Relaxed);
    }

    fn put<T>(&self, list: &mut Vec<T>, entry: T) {
        if list.len() < KEPT {
            list.push(entry);
        } else {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    /// Takes out what is there. If the runner is at its list, that is told next time.
    pub fn drain(&self) -> Value {
        let (mut ends, closed): (Vec<Ended>, Vec<Closed>) = {
            let mut told = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
            let ends = told.ends.drain(..).collect();
            (ends, told.closed.drain(..).collect())
        };
        if let Some(mut ran) = tried(&self.runner) {
            ends.extend(ran.drain(..));
        }
        let outcomes: Vec<Outcome> = {
            let mut kept = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *kept)
        };
        json!({
            "closed": closed,
            "ends": ends,
            "lost": self.lost.load(Relaxed),
            "outcomes": outcomes,
            "outcomes_lost": self.outcomes_lost.load(Relaxed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_told_once_and_those_without_room_are_counted() {
        let ends = Ends::default();
        let outcome = Outcome {
            id: "r-1".into(),
            row: 2,
            time_ns: 7,
            label: 1.0,
        };
        ends.reported(std::slice::from_ref(&outcome));
        let told = ends.drain();
        let expected = json!([{"request": "r-1", "row": 2, "time_ns": 7, "label": 1.0}]);
        assert_eq!(told["outcomes"], expected);
        ends.reported(&vec![outcome; KEPT_OUTCOMES + 3]);
        let told = ends.drain();
        assert_eq!(
            told["outcomes"].as_array().map(Vec::len),
            Some(KEPT_OUTCOMES)
        );
        assert_eq!(told["outcomes_lost"], 3);
        assert_eq!(ends.drain()["outcomes"], json!([]));
    }
}

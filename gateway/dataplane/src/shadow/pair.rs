//! A request on its way to being a pair. Whatever becomes of it, it ends exactly once: where nobody
//! says how, by where it was dropped.

use std::sync::Arc;

use super::ends::{End, Ended, Ends};
use super::sampler::Choice;
use crate::decisions::MOST_ID;

/// How far a pair has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// With the incumbent, which may still refuse, fail or lose it.
    Asked,
    /// Answered by the incumbent, waiting for the candidate.
    Mirrored,
    /// The candidate computes it.
    Started,
    Told,
}

#[derive(Debug)]
pub struct Pair {
    choice: Choice,
    caller: Box<str>,
    segment: Option<Box<str>>,
    /// The request's id, if it has one by which its row can be told.
    request: Option<Box<str>>,
    /// The decision log holds the request.
    logged: bool,
    stage: Stage,
    ends: Arc<Ends>,
}

impl Pair {
    pub fn new(choice: Choice, caller: &str, segment: Option<&str>, ends: Arc<Ends>) -> Self {
        Self {
            choice,
            caller: caller.into(),
            segment: segment.map(Into::into),
            request: None,
            logged: false,
            stage: Stage::Asked,
            ends,
        }
    }

    /// The request's id, by which its outcome is known later; `logged`: the decision log holds it.
    /// One that is empty, or longer than an outcome's may be, is none.
    pub fn named(mut self, request: &str, logged: bool) -> Self {
        if (1..=MOST_ID).contains(&request.len()) {
            self.request = Some(request.into());
            self.logged = logged;
        }
        self
    }

    /// Its rows are not told apart any more: no outcome can be of the one that is compared.
    pub fn nameless(&mut self) {
        self.request = None;
        self.logged = false;
    }

    /// The id under which the decision log holds the request.
    pub fn logged_as(&self) -> Option<&str> {
        self.request.as_deref().filter(|_| self.logged)
    }

    /// Which of a part's rows is compared: by the hash, so that it is known beforehand.
    pub fn row(&self, rows: usize) -> usize {
        // The hash's low bits: its high bits are small, or it would not be the least.
        (self.choice.hash % rows.max(1) as u64) as usize
    }

    /// Whether the incumbent is timed before the candidate.
    pub fn incumbent_first(&self) -> bool {
        self.choice.hash >> 32 & 1 == 0
    }

    /// The incumbent has answered.
    pub fn mirrored(&mut self) {
        self.stage = Stage::Mirrored;
    }

    /// The candidate begins.
    pub fn started(&mut self) {
        self.stage = Stage::Started;
    }

    pub fn complete(mut self, compared: super::ends::Compared) {
        self.tell(End::Complete, Some(compared));
    }

    pub fn candidate_error(mut self) {
        self.tell(End::CandidateError, None);
    }

    pub fn candidate_timeout(mut self) {
        self.tell(End::CandidateTimeout, None);
    }

    fn tell(&mut self, end: End, compared: Option<super::ends::Compared>) {
        let by_runner = self.stage == Stage::Started;
        self.stage = Stage::Told;
        let ended = Ended {
            choice: self.choice,
            caller: std::mem::take(&mut self.caller),
            segment: self.segment.take(),
            request: self.request.take(),
            end,
            compared,
        };
        match by_runner {
            true => self.ends.ran(ended),
            false => self.ends.served(ended),
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        match self.stage {
            Stage::Asked => self.tell(End::IncumbentError, None),
            Stage::Mirrored => self.tell(End::Shed, None),
            Stage::Started => self.tell(End::CandidateError, None),
            Stage::Told => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::ends::Compared;
    use super::*;

    fn pair(ends: &Arc<Ends>, sequence: u64) -> Pair {
        let choice = Choice {
            block: 0,
            sequence,
            hash: 5,
        };
        Pair::new(choice, "bidder", None, Arc::clone(ends))
    }

    #[test]
    fn a_pair_ends_once_by_where_it_was_dropped() {
        let ends = Arc::new(Ends::default());
        drop(pair(&ends, 0));
        let mut waiting = pair(&ends, 1);
        waiting.mirrored();
        drop(waiting);
        let mut running = pair(&ends, 2);
        running.mirrored();
        running.started();
        drop(running);
        let mut late = pair(&ends, 3);
        late.started();
        late.candidate_timeout();
        let mut fine = pair(&ends, 4).named("r-4", false);
        assert_eq!(fine.logged_as(), None, "the decision log does not hold it");
        fine.started();
        fine.complete(Compared::default());
        let told = ends.drain();
        let mut found = told["ends"].as_array().unwrap().clone();
        found.sort_by_key(|e| e["sequence"].as_u64());
        let words: Vec<&str> = found.iter().map(|e| e["end"].as_str().unwrap()).collect();
        let expected = [
            "incumbent_error",
            "shed",
            "candidate_error",
            "candidate_timeout",
            "complete",
        ];
        assert_eq!(words, expected);
        assert_eq!(found[4]["request"], "r-4");
        assert_eq!(found[3].get("request"), None);
    }
}

//! Shadow: a candidate sees live traffic, and nobody waits for it.
//!
//! Requests are marked on arrival (`sampler`), travel with the incumbent's batch (`pair`), and once
//! that batch has been answered its rows are moved, not copied, into the route's own bounded queue
//! (`queue`). A thread at idle priority (`runner`) computes them again and compares decisions
//! (`compare`). What it finds waits in the `ledger` of ends until the governance service fetches it.
//!
//! Threads that serve wait for no lock that the one at idle priority may hold: an idle thread that is
//! taken off its core while it holds one would stop the calls behind it.

mod compare;
mod ends;
mod pair;
mod queue;
mod runner;
mod sampler;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;

use arc_swap::ArcSwapOption;
use serde_json::{Value, json};

use crate::clock::{Ticks, now};
use crate::decisions::{Log, Logged};
use crate::engine::Lane;
use crate::executor::Backlog;
use crate::keyed::key;
use crate::model::contract::Contract;
pub use compare::Decider;
pub use ends::{End, Ended, Ends};
pub use pair::Pair;
pub use queue::{Mirrored, Part, tried};
pub use sampler::Sampler;

/// Where a model's shadow is looked up: empty for most, changed while it serves.
pub type Door = Arc<ArcSwapOption<Route>>;

/// What a shadow is asked to do.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wishes {
    /// The run's name, governance's own.
    pub run: String,
    /// Share of the batches that are mirrored, beside those that hold a pair: 0 to 1.
    pub share: f64,
    /// 32 hexadecimal digits: the key by which pairs are chosen.
    pub seed: String,
    /// One pair is chosen in each block of so many ms.
    pub block_ms: u64,
    /// A score that moves by more than this is counted.
    pub score_epsilon: f64,
}

impl Wishes {
    /// # Errors
    /// A sentence that names the value.
    pub fn check(&self) -> Result<[u8; 16], String> {
        if !(0.0..=1.0).contains(&self.share) {
            return Err(format!("share is {}, must be from 0 to 1", self.share));
        }
        if !(1..=3_600_000).contains(&self.block_ms) {
            let told = self.block_ms;
            return Err(format!("block_ms is {told}, must be from 1 to 3,600,000"));
        }
        if !self.score_epsilon.is_finite() || self.score_epsilon < 0.0 {
            return Err("score_epsilon must be a number from 0 on".into());
        }
        key(&self.seed).ok_or_else(|| "seed must be 32 hexadecimal digits".into())
    }
}

/// One side of the comparison, as the runner needs it.
pub struct Side {
    pub contract: Contract,
    pub lane: Box<dyn Lane>,
    pub max_batch: usize,
    pub decider: Decider,
    pub digest: String,
    pub version: u64,
}

/// Where a candidate's outputs are written down, of pairs that the decision log holds.
pub struct Written {
    pub log: Arc<Log>,
    /// The candidate.
    pub model: Arc<Logged>,
}

/// A shadow that runs: from the model that answers to the candidate.
pub struct Route {
    pub wishes: Wishes,
    pub sampler: Sampler,
    pub queue: queue::Queue,
    pub ends: Arc<Ends>,
    candidate: (u64, String),
    incumbent: (u64, String),
    written: Option<Written>,
    began: Ticks,
    stopping: AtomicBool,
}

/// The route's thread; dropping it does not stop it, `stop` does.
pub struct Running {
    pub route: Arc<Route>,
    thread: JoinHandle<()>,
}

/// Starts the shadow's thread.
///
/// # Errors
/// A sentence: the two cannot be compared, or the system gave no thread.
pub fn start(
    wishes: Wishes,
    incumbent: Side,
    candidate: Side,
    backlog: Arc<Backlog>,
    written: Option<Written>,
) -> Result<Running, String> {
    let key = wishes.check()?;
    compare::comparable(&incumbent.contract, &candidate.contract)?;
    let route = Arc::new(Route {
        sampler: Sampler::new(key, wishes.block_ms * crate::clock::MILLIS, now()),
        queue: queue::Queue::new(wishes.share),
        ends: Arc::default(),
        candidate: (candidate.version, candidate.digest.clone()),
        incumbent: (incumbent.version, incumbent.digest.clone()),
        written,
        began: now(),
        stopping: AtomicBool::new(false),
        wishes,
    });
    let (this, thread) = (Arc::clone(&route), std::thread::Builder::new());
    let thread = thread.name("shadow".into());
    let thread = thread
        .spawn(move || runner::work(&this, incumbent, candidate, &backlog))
        .map_err(|e| format!("no thread for the shadow: {e}"))?;
    Ok(Running { route, thread })
}

impl Running {
    /// Ends the thread after the batch that it runs; waits for it.
    pub fn stop(self) {
        self.route.stopping.store(true, Relaxed);
        // A runner catches what engines throw; there is nothing to add here.
        let _ = self.thread.join();
        self.route.ends.finish();
        self.route.queue.clear();
    }
}

impl Route {
    fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// Marks a request that arrives now, if it may become its block's pair.
    pub fn arrive(&self, caller: &str, segment: Option<&str>) -> Option<Pair> {
        let (choice, closed) = self.sampler.arrive(now());
        if let Some(closed) = closed {
            self.ends.close(closed);
        }
        choice.map(|choice| Pair::new(choice, caller, segment, Arc::clone(&self.ends)))
    }

    /// Takes out the ends since the last question, and tells how the shadow fares.
    pub fn told(&self) -> Value {
        // A block that no later request closed is closed by the clock.
        if let Some(closed) = self.sampler.tick(now()) {
            self.ends.close(closed);
        }
        let mut told = self.status();
        told["found"] = self.ends.drain();
        told
    }

    /// How the shadow fares, for people.
    pub fn status(&self) -> Value {
        json!({
            "run": self.wishes.run,
            "incumbent": {"version": self.incumbent.0, "digest": self.incumbent.1},
            "candidate": {"version": self.candidate.0, "digest": self.candidate.1},
            "running_ms": (now() - self.began) / crate::clock::MILLIS,
            "share": self.wishes.share,
            "queue": self.queue.told(),
            "rows": self.ends.counts.told(),
        })
    }
}

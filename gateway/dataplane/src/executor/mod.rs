//! The executor: lane threads that take batches off the queues, run them and send the answers home.
//!
//! All queue state stands behind one lock (`state`), held for a push or for taking a batch and
//! never while a model runs. Each I/O runtime has a `Port` for the way in and out.

mod backlog;
mod job;
mod mirror;
mod port;
mod room;
mod state;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use smallvec::smallvec;
use tokio::sync::{Notify, oneshot};

use crate::clock::{MICROS, MILLIS, SECONDS, Ticks, now};
use crate::engine::{Buffers, EngineError, Lane};
use crate::metrics::ModelMetrics;
use crate::model::contract::Contract;
use crate::priority::{Computes, serve_promptly};
use crate::sched::codel::Codel;
use crate::sched::cost::{CostLine, CostTable};
use crate::sched::queue::{Ticket, Waiting};
use crate::shadow::Door;
use crate::tensor::Bucket;
pub use backlog::Backlog;
pub use job::{BatchOutputs, Inputs, Job, Parts, Reply, Tokens};
pub use port::Port;
pub use state::Settings;
use state::{Batch, LaneState, Next, Ran, Slot, State};

/// What is kept of the time that a caller gave for the way in and back, in ns: a twentieth, at
/// least 250 µs and at most 20 ms. Machines take a core away for a millisecond now and then, and a
/// long batch takes longer than its table says by more than a short one does: with at most 2 ms
/// kept, 0.2% of an encoder's answers were late at twice its capacity.
fn way_back(given: Ticks) -> Ticks {
    (given / 20).clamp(250 * MICROS, 20 * MILLIS)
}

/// A batch that takes at most this long is run by the thread that brought it, if a lane is idle.
/// Two hops between threads cost 10 to 60 µs, depending on where the threads run.
const ON_THE_SPOT: Ticks = 50 * MICROS;

/// Index of a model in the executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelId(usize);

impl ModelId {
    fn index(self) -> usize {
        self.0
    }
}

/// A lock whose holder never panics while holding it; if one did, the state is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A model as the executor needs it.
pub struct NewModel {
    pub contract: Contract,
    /// One a lane.
    pub lanes: Vec<Box<dyn Lane>>,
    /// For each class of lengths its longest row, in tokens, and what its batches cost.
    pub costs: Vec<(usize, CostTable)>,
    pub settings: Settings,
    pub metrics: Arc<ModelMetrics>,
    pub shadow: Door,
}

/// Told when a device is gone, with the model that ran on it.
type OnLost = Box<dyn Fn(ModelId) + Send + Sync>;

/// Queues and lane threads.
pub struct Executor {
    state: Mutex<State>,
    wake: Condvar,
    /// Wakes the reaper when something was queued.
    queued: Notify,
    sequence: AtomicU64,
    batches: AtomicU64,
    ports: Vec<Arc<Port>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    on_lost: OnceLock<OnLost>,
    backlog: Arc<Backlog>,
}

impl Executor {
    /// Starts `lanes` lanes with a thread each.
    ///
    /// # Errors
    /// The system gave no thread.
    pub fn start(lanes: usize, ports: Vec<Arc<Port>>) -> Result<Arc<Self>, String> {
        let lanes = lanes.max(1);
        let executor = Arc::new(Self {
            state: Mutex::new(State::new(lanes)),
            wake: Condvar::new(),
            queued: Notify::new(),
            sequence: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            ports,
            threads: Mutex::new(Vec::new()),
            on_lost: OnceLock::new(),
            backlog: Arc::default(),
        });
        for index in 0..lanes {
            let this = Arc::clone(&executor);
            let thread = std::thread::Builder::new().name(format!("lane-{index}"));
            let thread = thread.spawn(move || {
                serve_promptly();
                this.work(&Computes::begin());
            });
            lock(&executor.threads).push(thread.map_err(|e| format!("no thread for a lane: {e}"))?);
        }
        Ok(executor)
    }

    /// Says whom to tell when a device is gone. Only the first call counts.
    pub fn tell_lost(&self, on_lost: OnLost) {
        let _ = self.on_lost.set(on_lost);
    }

    /// Adds a model; it can be sent requests at once.
    pub fn add(&self, model: NewModel) -> ModelId {
        lock(&self.state).add(model)
    }

    /// Sets limits anew, for requests that come from now on.
    pub fn set(&self, model: ModelId, settings: Settings) {
        if let Some(slot) = lock(&self.state).slot_mut(model) {
            slot.codel = Codel::new(settings.objective);
            slot.settings = settings;
        }
    }

    /// Takes away a model that nobody is sent to any more, once nothing of it waits or runs. What
    /// is returned holds its engine: dropping it may take long, so not on a thread that serves.
    pub fn remove(&self, model: ModelId) -> Option<Box<dyn std::any::Any + Send>> {
        let mut state = lock(&self.state);
        let slot = state.slots.get_mut(model.0)?;
        let idle = |s: &Slot| s.is_empty() && Arc::strong_count(&s.fixed) == 1;
        let taken = slot.take_if(|s| idle(s));
        drop(state);
        taken.map(|slot| Box::new(slot) as Box<dyn std::any::Any + Send>)
    }

    /// The place in the queue of a request that arrives now. It is due somewhat before the
    /// caller's deadline, so that the answer gets home.
    pub fn ticket(&self, now: Ticks, deadline: Ticks) -> Ticket {
        let due = deadline.saturating_sub(way_back(deadline.saturating_sub(now)));
        Ticket {
            deadline: due,
            sequence: self.sequence.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Takes a cancelled request out of its queue; false if it was not queued any more.
    pub fn cancel(&self, model: ModelId, ticket: &Ticket) -> bool {
        let mut state = lock(&self.state);
        let queues = state.slot_mut(model).map(|s| s.queues.iter_mut());
        let mut queues = queues.into_iter().flatten();
        queues.any(|q| q.queue.remove(ticket).is_some())
    }

    /// Whether a request would be refused whatever its rows cost.
    pub fn is_hopeless(&self, model: ModelId, ticket: &Ticket) -> bool {
        lock(&self.state).is_hopeless(model, ticket.deadline, now())
    }

    /// The cost table of a model, for people: for each class of lengths its longest row.
    pub fn cost_lines(&self, model: ModelId) -> Vec<(usize, Vec<CostLine>)> {
        let state = lock(&self.state);
        let queues = state.slot(model).map(|s| s.queues.iter());
        let queues = queues.into_iter().flatten();
        queues.map(|q| (q.longest, q.cost.lines())).collect()
    }

    /// Requests and rows that wait for a model.
    pub fn waiting(&self, model: ModelId) -> (usize, usize) {
        let state = lock(&self.state);
        let queues = state.slot(model).map(|s| s.queues.iter());
        let queues = queues.into_iter().flatten();
        queues.fold((0, 0), |(n, rows), q| {
            (n + q.queue.len(), rows + q.queue.rows())
        })
    }

    /// Lanes whose device is gone, for a model.
    pub fn lost_lanes(&self, model: ModelId) -> usize {
        let state = lock(&self.state);
        let lost = |lost: &Vec<bool>| lost.iter().filter(|l| **l).count();
        state.slot(model).map_or(0, |s| lost(&s.lost))
    }

    /// Whether lanes have time to spare, for whoever may use only that.
    pub fn backlog(&self) -> Arc<Backlog> {
        Arc::clone(&self.backlog)
    }

    /// Whether no lane runs a batch.
    fn is_idle(&self) -> bool {
        lock(&self.state)
            .lanes
            .iter()
            .all(|l| *l == LaneState::Free)
    }

    /// Admits or refuses each job of a burst. If a lane is free and the batch is a matter of
    /// microseconds, it is run here, as the lane's guest: handing it to the lane's thread and back
    /// would take longer than the model. What is left is for the lanes' threads.
    fn submit(&self, jobs: Vec<Job>) {
        let mut replies = Vec::new();
        let mut state = lock(&self.state);
        let now = now();
        let mut jobs = jobs.into_iter().peekable();
        while let Some(first) = jobs.next() {
            let mut parts: Parts = smallvec![first];
            while let Some(part) = jobs.next_if(|job| job.follows) {
                parts.push(part);
            }
            if parts.iter().any(|job| job.reply.is_closed()) {
                continue;
            }
            if state.closing {
                replies.extend(parts.into_iter().map(|job| (job, Reply::Closed)));
            } else if let Some((parts, refusal)) = state.admit(parts, now, &mut replies) {
                let refused = |job| (job, Reply::Refused(refusal));
                replies.extend(parts.into_iter().map(refused));
            }
        }
        if let Next::Run(batch) = state.next(now, Some(ON_THE_SPOT), &mut replies) {
            self.backlog.note(&state);
            drop(state);
            state = self.execute(batch, &mut replies);
        }
        let queued = self.backlog.note(&state);
        self.wake_one(&state);
        drop(state);
        if queued {
            self.queued.notify_one();
        }
        // These came by this port, or gave way to what did; either way this is an I/O thread.
        for (job, reply) in replies {
            // Nobody listens any more: the caller went away.
            let _ = job.reply.send(reply);
        }
    }

    /// Wakes a lane's thread if there is work and a lane for it. Each thread that takes a batch
    /// calls this again, so that a burst wakes as many as it needs.
    fn wake_one(&self, state: &State) {
        if state.sleeping > 0 && !state.nothing_queued() && state.free_lane().is_some() {
            self.wake.notify_one();
        }
    }

    /// Answers requests whose deadline passes while a long batch holds the lanes. Runs on one I/O
    /// runtime; sleeps while nothing is queued.
    pub async fn reap(self: Arc<Self>) {
        loop {
            let (dead, next) = lock(&self.state).expired(now());
            self.send_home(&mut dead.into_iter().map(|job| (job, Reply::Expired)).collect());
            // Under load every burst leaves a notice: look at most once a millisecond.
            tokio::time::sleep(Duration::from_nanos(MILLIS)).await;
            let next = next.map_or(Ticks::MAX, |at| at.saturating_sub(now()).min(SECONDS));
            tokio::select! {
                () = self.queued.notified() => {}
                () = tokio::time::sleep(Duration::from_nanos(next)), if next < Ticks::MAX => {}
            }
        }
    }

    /// Ends the lanes' threads. Batches that run are run to their end; what is still queued is
    /// told that the server has closed.
    pub fn close(&self) {
        let queued = {
            let mut state = lock(&self.state);
            state.closing = true;
            state.empty()
        };
        self.wake.notify_all();
        self.send_home(&mut queued.into_iter().map(|job| (job, Reply::Closed)).collect());
        for thread in lock(&self.threads).drain(..) {
            // A lane catches what its engine throws; there is nothing to add here.
            let _ = thread.join();
        }
    }

    fn send_home(&self, replies: &mut Vec<(Job, Reply)>) {
        let mut by_port: Vec<Vec<(oneshot::Sender<Reply>, Reply)>> = Vec::new();
        by_port.resize_with(self.ports.len(), Vec::new);
        for (job, reply) in replies.drain(..) {
            by_port[job.port].push((job.reply, reply));
        }
        for (port, replies) in self.ports.iter().zip(&mut by_port) {
            if !replies.is_empty() {
                port.deliver(replies);
            }
        }
    }

    /// A lane's thread: takes batches as long as there are some and a lane is free.
    fn work(&self, computes: &Computes) {
        let mut replies = Vec::new();
        let mut state = lock(&self.state);
        loop {
            let next = state.next(now(), None, &mut replies);
            self.backlog.note(&state);
            let until = match next {
                Next::Run(batch) => {
                    self.wake_one(&state);
                    drop(state);
                    // What expired is told while the batch runs, not after it.
                    self.send_home(&mut replies);
                    drop(self.execute(batch, &mut replies));
                    self.send_home(&mut replies);
                    state = lock(&self.state);
                    continue;
                }
                Next::Wait(until) => until,
            };
            if !replies.is_empty() {
                drop(state);
                self.send_home(&mut replies);
                state = lock(&self.state);
                continue;
            }
            if state.closing && state.nothing_queued() {
                return;
            }
            state.sleeping += 1;
            state = computes.asleep(|| match until {
                None => self
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let pause = Duration::from_nanos(until.saturating_sub(now()).max(MICROS));
                    let waited = self.wake.wait_timeout(state, pause);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            });
            state.sleeping -= 1;
        }
    }

    /// Gathers, runs and scatters one batch, then files its cost and frees its lane. If the batch
    /// fails, each of its requests is run alone, so that one caller's bad value fails that caller.
    fn execute(&self, batch: Batch, replies: &mut Vec<(Job, Reply)>) -> MutexGuard<'_, State> {
        let Batch {
            lane,
            place,
            fixed,
            mut jobs,
            rows,
        } = batch;
        let mut ran = Vec::new();
        let mut lost = false;
        {
            let mut engine = lock(&fixed.lanes[lane]);
            let mut run_some = |jobs: &[Waiting<Job>], rows| {
                let started = now();
                // A panic in an engine fails this batch and nothing else.
                let contract = &fixed.contract;
                let run = AssertUnwindSafe(|| run(engine.as_mut(), contract, jobs, rows));
                let result = catch_unwind(run)
                    .unwrap_or_else(|_| Err(EngineError::Failed("the engine panicked".into())));
                let finished = now();
                lost |= matches!(result, Err(EngineError::DeviceLost(_)));
                result.map(|tensors| {
                    fixed.metrics.batch(rows, finished - started);
                    ran.push(Ran {
                        rows,
                        cost: finished - started,
                        first: engine.was_first(),
                    });
                    Arc::new(BatchOutputs {
                        tensors,
                        number: self.batches.fetch_add(1, Ordering::Relaxed),
                        rows,
                        started,
                        finished,
                    })
                })
            };
            match run_some(&jobs, rows) {
                Ok(outputs) => {
                    mirror::mirror(&fixed.shadow, &mut jobs, &outputs);
                    let mut first_row = 0;
                    for waiting in jobs {
                        let outputs = Arc::clone(&outputs);
                        replies.push((waiting.job, Reply::Done { outputs, first_row }));
                        first_row += waiting.rows;
                    }
                }
                Err(error) if jobs.len() == 1 || matches!(error, EngineError::DeviceLost(_)) => {
                    replies.extend(jobs.into_iter().map(|w| (w.job, told(&error))));
                }
                Err(_) => {
                    for waiting in jobs {
                        let alone = std::slice::from_ref(&waiting);
                        let reply = match run_some(alone, waiting.rows) {
                            Ok(outputs) => Reply::Done {
                                outputs,
                                first_row: 0,
                            },
                            Err(error) => told(&error),
                        };
                        replies.push((waiting.job, reply));
                    }
                }
            }
        }
        // Before the lane is free: who takes a model away looks whether this is still held.
        drop(fixed);
        let mut state = lock(&self.state);
        state.lanes[lane] = LaneState::Free;
        state.record(place, &ran, now());
        if lost {
            state = self.lose(state, place.0, lane, replies);
        }
        state
    }

    /// Takes a lane out of service for one model. If it was the last, what waits is told so.
    fn lose<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        model: usize,
        lane: usize,
        replies: &mut Vec<(Job, Reply)>,
    ) -> MutexGuard<'a, State> {
        if let Some(slot) = state.slot_mut(ModelId(model)) {
            slot.lost[lane] = true;
            if slot.lost.iter().all(|l| *l) {
                let why: Arc<str> = "its device is gone".into();
                let failed = |job| (job, Reply::Failed(Arc::clone(&why)));
                replies.extend(slot.empty().into_iter().map(failed));
            }
        }
        drop(state);
        if let Some(tell) = self.on_lost.get() {
            tell(ModelId(model));
        }
        lock(&self.state)
    }
}

/// What a caller is told of an engine's error.
fn told(error: &EngineError) -> Reply {
    let why: Arc<str> = error.message().into();
    match error {
        EngineError::BadInput(_) => Reply::BadInput(why),
        EngineError::Failed(_) | EngineError::DeviceLost(_) => Reply::Failed(why),
    }
}

/// Rows in, one call, rows out: the outputs of all rows of the batch.
fn run(
    lane: &mut dyn Lane,
    contract: &Contract,
    jobs: &[Waiting<Job>],
    rows: usize,
) -> Result<Vec<Vec<u8>>, EngineError> {
    let length = jobs.iter().map(|w| w.job.inputs.length()).max();
    let bucket = Bucket {
        rows,
        length: length.unwrap_or(1),
    };
    gather(lane.buffers(bucket)?, contract, jobs, bucket.length);
    lane.run(bucket, rows)?;
    let buffers = lane.buffers(bucket)?;
    let outputs = contract.outputs.iter().zip(&buffers.outputs);
    Ok(outputs
        .map(|(spec, buffer)| buffer.as_bytes()[..rows * spec.row_bytes()].to_vec())
        .collect())
}

/// Copies every job's rows into the lane's buffers, one after the other.
fn gather(buffers: &mut Buffers, contract: &Contract, jobs: &[Waiting<Job>], length: usize) {
    let mut first_row = 0;
    for waiting in jobs {
        match &waiting.job.inputs {
            Inputs::Rows(inputs) => {
                let specs = contract.inputs.iter().zip(&mut buffers.inputs);
                for ((spec, buffer), bytes) in specs.zip(inputs) {
                    let start = first_row * spec.row_bytes();
                    buffer.as_bytes_mut()[start..][..bytes.len()].copy_from_slice(bytes);
                }
            }
            Inputs::Tokens(rows) => {
                if let Some(text) = &contract.text {
                    for (row, tokens) in rows.iter().enumerate() {
                        text.fill(&mut buffers.inputs, first_row + row, tokens, length);
                    }
                }
            }
        }
        first_row += waiting.rows;
    }
}

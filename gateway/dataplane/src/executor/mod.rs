//! The executor: lane threads that take batches off the queues, run them and send the answers home.
//!
//! All queue state stands behind one lock (`state`), held for a push or for taking a batch and
//! never while a model runs. Each I/O runtime has a `Port` for the way in and out.

mod port;
mod state;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};

use crate::clock::{MICROS, MILLIS, SECONDS, Ticks, now};
use crate::engine::{EngineError, Lane};
use crate::metrics::ModelMetrics;
use crate::model::contract::Contract;
use crate::sched::admission::{Limits, Refusal};
use crate::sched::cost::{CostLine, CostTable};
use crate::sched::queue::{EdfQueue, Ticket, Waiting};
pub use port::Port;
use state::{Batch, Fixed, LaneState, Next, Slot, State};

/// What is kept of the time that a caller gave for the way in and back, in ns: a twentieth, at
/// least 250 µs and at most 2 ms. Machines take a core away for a millisecond now and then.
fn way_back(given: Ticks) -> Ticks {
    (given / 20).clamp(250 * MICROS, 2 * MILLIS)
}

/// A batch that takes at most this long is run by the thread that brought it, if a lane is idle.
/// Two hops between threads cost 10 to 60 µs, depending on where the threads run.
const ON_THE_SPOT: Ticks = 50 * MICROS;

/// A batch's results, shared by the requests in it.
#[derive(Debug)]
pub struct BatchOutputs {
    /// One an output, in the contract's order: row-major bytes of all rows of the batch.
    pub tensors: Vec<Vec<u8>>,
    pub started: Ticks,
    pub finished: Ticks,
}

/// How the executor answers a request.
#[derive(Debug)]
pub enum Reply {
    /// This request's rows start at `first_row`.
    Done {
        outputs: Arc<BatchOutputs>,
        first_row: usize,
    },
    Refused(Refusal),
    /// The deadline passed, or could no longer be met, in the queue.
    Expired,
    /// The engine failed the batch this request was in.
    Failed(Arc<str>),
    /// The server stops.
    Closed,
}

/// A request on its way through the executor.
#[derive(Debug)]
pub struct Job {
    pub model: ModelId,
    pub rows: usize,
    /// One an input, in the contract's order.
    pub inputs: Vec<Bytes>,
    pub arrived: Ticks,
    pub ticket: Ticket,
    pub reply: oneshot::Sender<Reply>,
    /// The port that takes the answer home.
    pub port: usize,
}

/// Index of a model in the executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelId(usize);

/// A lock whose holder never panics while holding it; if one did, the state is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A model as the executor needs it.
pub struct NewModel {
    pub contract: Contract,
    /// One a lane.
    pub lanes: Vec<Box<dyn Lane>>,
    pub cost: CostTable,
    pub limits: Limits,
    /// How long a batch may wait for more rows, in ns.
    pub wait: Ticks,
    pub metrics: Arc<ModelMetrics>,
}

/// Queues and lane threads.
pub struct Executor {
    state: Mutex<State>,
    wake: Condvar,
    /// Wakes the reaper when something was queued.
    queued: Notify,
    sequence: AtomicU64,
    ports: Vec<Arc<Port>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
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
            ports,
            threads: Mutex::new(Vec::new()),
        });
        for index in 0..lanes {
            let this = Arc::clone(&executor);
            let thread = std::thread::Builder::new().name(format!("lane-{index}"));
            let thread = thread.spawn(move || this.work());
            lock(&executor.threads).push(thread.map_err(|e| format!("no thread for a lane: {e}"))?);
        }
        Ok(executor)
    }

    /// Adds a model; it can be sent requests at once.
    pub fn add(&self, model: NewModel) -> ModelId {
        let fixed = Fixed {
            contract: model.contract,
            lanes: model.lanes.into_iter().map(Mutex::new).collect(),
            limits: model.limits,
            wait: model.wait,
            metrics: model.metrics,
        };
        let mut state = lock(&self.state);
        let slot = Slot {
            fixed: Arc::new(fixed),
            queue: EdfQueue::default(),
            cost: model.cost,
        };
        state.slots.push(slot);
        ModelId(state.slots.len() - 1)
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
        let removed = lock(&self.state)
            .slots
            .get_mut(model.0)
            .and_then(|s| s.queue.remove(ticket));
        removed.is_some()
    }

    /// The cost table of a model, for people.
    pub fn cost_lines(&self, model: ModelId) -> Vec<CostLine> {
        lock(&self.state)
            .slots
            .get(model.0)
            .map_or_else(Vec::new, |s| s.cost.lines())
    }

    /// Requests and rows that wait for a model.
    pub fn waiting(&self, model: ModelId) -> (usize, usize) {
        let state = lock(&self.state);
        state
            .slots
            .get(model.0)
            .map_or((0, 0), |s| (s.queue.len(), s.queue.rows()))
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
        for job in jobs {
            if job.reply.is_closed() {
                continue;
            }
            if state.closing {
                replies.push((job, Reply::Closed));
                continue;
            }
            match state.admit(&job, now) {
                Ok(()) => {
                    let (id, ticket, rows) = (job.model.0, job.ticket, job.rows);
                    state.slots[id].queue.push(ticket, rows, job);
                }
                Err(refusal) => replies.push((job, Reply::Refused(refusal))),
            }
        }
        if let Next::Run(batch) = state.next(now, Some(ON_THE_SPOT), &mut replies) {
            drop(state);
            state = self.execute(batch, &mut replies);
        }
        let queued = !state.nothing_queued();
        self.wake_one(&state);
        drop(state);
        if queued {
            self.queued.notify_one();
        }
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
    fn work(&self) {
        let mut replies = Vec::new();
        let mut state = lock(&self.state);
        loop {
            let next = state.next(now(), None, &mut replies);
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
            state = match until {
                None => self
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let pause = Duration::from_nanos(until.saturating_sub(now()).max(MICROS));
                    let waited = self.wake.wait_timeout(state, pause);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            state.sleeping -= 1;
        }
    }

    /// Gathers, runs and scatters one batch, then files its cost and frees its lane. If the batch
    /// fails, each of its requests is run alone, so that one caller's bad value fails that caller.
    fn execute(&self, batch: Batch, replies: &mut Vec<(Job, Reply)>) -> MutexGuard<'_, State> {
        let Batch {
            lane,
            id,
            fixed,
            jobs,
            rows,
        } = batch;
        let mut ran = Vec::new();
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
                result.map(|tensors| {
                    fixed.metrics.batch(rows, finished - started);
                    ran.push((rows, finished - started));
                    Arc::new(BatchOutputs {
                        tensors,
                        started,
                        finished,
                    })
                })
            };
            match run_some(&jobs, rows) {
                Ok(outputs) => {
                    let mut first_row = 0;
                    for waiting in jobs {
                        let outputs = Arc::clone(&outputs);
                        replies.push((waiting.job, Reply::Done { outputs, first_row }));
                        first_row += waiting.rows;
                    }
                }
                Err(error) if jobs.len() == 1 || matches!(error, EngineError::DeviceLost(_)) => {
                    let why: Arc<str> = error.message().into();
                    let failed = |w: Waiting<Job>| (w.job, Reply::Failed(Arc::clone(&why)));
                    replies.extend(jobs.into_iter().map(failed));
                }
                Err(_) => {
                    for waiting in jobs {
                        let alone = std::slice::from_ref(&waiting);
                        let reply = match run_some(alone, waiting.rows) {
                            Ok(outputs) => Reply::Done {
                                outputs,
                                first_row: 0,
                            },
                            Err(error) => Reply::Failed(error.message().into()),
                        };
                        replies.push((waiting.job, reply));
                    }
                }
            }
        }
        let mut state = lock(&self.state);
        state.lanes[lane] = LaneState::Free;
        for (rows, cost) in ran {
            state.slots[id.0].cost.record(rows, cost, now());
        }
        state
    }
}

/// Rows in, one call, rows out: the outputs of all rows of the batch.
fn run(
    lane: &mut dyn Lane,
    contract: &Contract,
    jobs: &[Waiting<Job>],
    rows: usize,
) -> Result<Vec<Vec<u8>>, EngineError> {
    let buffers = lane.buffers(rows);
    for (index, buffer) in buffers.inputs.iter_mut().enumerate() {
        let mut rest = buffer.as_bytes_mut();
        for waiting in jobs {
            let bytes = &waiting.job.inputs[index];
            let (here, after) = rest.split_at_mut(bytes.len());
            here.copy_from_slice(bytes);
            rest = after;
        }
    }
    lane.run(rows, rows)?;
    let buffers = lane.buffers(rows);
    let outputs = contract.outputs.iter().zip(&buffers.outputs);
    Ok(outputs
        .map(|(spec, buffer)| buffer.as_bytes()[..rows * spec.row_bytes()].to_vec())
        .collect())
}

//! The executor: lane threads that take batches off the queues, run them and send the answers home.
//!
//! All queue state stands behind one lock, held for a push or for taking a batch and never while a
//! model runs. Each I/O runtime has a `Port`: requests are handed over and answers handed back in
//! bulk, one wake-up a burst, because a wake-up across threads costs more than a small model.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};

use crate::clock::{MICROS, MILLIS, Ticks, now};
use crate::engine::{EngineError, Lane};
use crate::metrics::ModelMetrics;
use crate::model::contract::Contract;
use crate::sched::admission::{Limits, Load, Refusal, admit};
use crate::sched::batch::take;
use crate::sched::cost::{CostLine, CostTable};
use crate::sched::queue::{EdfQueue, Ticket, Waiting};

/// Kept between the end of a batch and the deadline for the way back to the caller.
const MARGIN: Ticks = 250 * MICROS;

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

/// Where one I/O runtime and the lanes exchange requests and answers.
#[derive(Default)]
pub struct Port {
    outbox: Mutex<Vec<Job>>,
    outgoing: Notify,
    inbox: Mutex<Vec<(oneshot::Sender<Reply>, Reply)>>,
    incoming: Notify,
}

/// A lock whose holder never panics while holding it; if one did, the state is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Port {
    /// Hands a request over; it leaves with the others of the same burst.
    pub fn send(&self, job: Job) {
        let mut outbox = lock(&self.outbox);
        outbox.push(job);
        if outbox.len() == 1 {
            self.outgoing.notify_one();
        }
    }

    fn deliver(&self, replies: &mut Vec<(oneshot::Sender<Reply>, Reply)>) {
        let mut inbox = lock(&self.inbox);
        if inbox.is_empty() {
            std::mem::swap(&mut *inbox, replies);
        } else {
            inbox.append(replies);
        }
        drop(inbox);
        self.incoming.notify_one();
    }

    /// Runs on the port's own runtime for as long as the server lives.
    ///
    /// After a burst it keeps the runtime looking for input for up to `spin` ns, unless a lane is
    /// at work: an idle core takes longer to wake than a small request takes to answer.
    pub async fn pump(self: Arc<Self>, executor: Arc<Executor>, spin: Ticks) {
        let mut active = 0;
        loop {
            tokio::select! {
                biased;
                () = self.outgoing.notified() => {
                    let jobs = std::mem::take(&mut *lock(&self.outbox));
                    executor.submit(jobs);
                }
                () = self.incoming.notified() => {
                    let replies = std::mem::take(&mut *lock(&self.inbox));
                    for (sender, reply) in replies {
                        // Nobody listens any more: the caller went away.
                        let _ = sender.send(reply);
                    }
                }
                () = tokio::task::yield_now(), if now() < active => continue,
            }
            active = if spin > 0 && executor.lanes_idle() {
                now() + spin
            } else {
                0
            };
        }
    }
}

/// A model as the executor needs it.
pub struct NewModel {
    pub contract: Contract,
    pub lanes: Vec<Box<dyn Lane>>,
    pub cost: CostTable,
    pub limits: Limits,
    /// How long a batch may wait for more rows, in ns.
    pub wait: Ticks,
    pub metrics: Arc<ModelMetrics>,
}

/// What of a model never changes and is read without the lock.
struct Fixed {
    contract: Contract,
    /// One a lane thread.
    lanes: Vec<Mutex<Box<dyn Lane>>>,
    limits: Limits,
    wait: Ticks,
    metrics: Arc<ModelMetrics>,
}

struct Slot {
    fixed: Arc<Fixed>,
    queue: EdfQueue<Job>,
    cost: CostTable,
}

struct State {
    slots: Vec<Slot>,
    /// When each lane will be free, by the cost table; 0 if it is.
    busy_until: Vec<Ticks>,
    sleeping: usize,
    closing: bool,
}

/// Queues and lane threads.
pub struct Executor {
    state: Mutex<State>,
    wake: Condvar,
    /// Wakes the reaper when a queue is no longer empty.
    queued: Notify,
    sequence: AtomicU64,
    ports: Vec<Arc<Port>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// A batch on its way to a lane.
struct Batch {
    id: ModelId,
    fixed: Arc<Fixed>,
    jobs: Vec<Waiting<Job>>,
    rows: usize,
}

impl Executor {
    /// Starts `lanes` threads.
    ///
    /// # Errors
    /// The system gave no thread.
    pub fn start(lanes: usize, ports: Vec<Arc<Port>>) -> Result<Arc<Self>, String> {
        let lanes = lanes.max(1);
        let executor = Arc::new(Self {
            state: Mutex::new(State {
                slots: Vec::new(),
                busy_until: vec![0; lanes],
                sleeping: 0,
                closing: false,
            }),
            wake: Condvar::new(),
            queued: Notify::new(),
            sequence: AtomicU64::new(0),
            ports,
            threads: Mutex::new(Vec::new()),
        });
        for lane in 0..lanes {
            let this = Arc::clone(&executor);
            let thread = std::thread::Builder::new().name(format!("lane-{lane}"));
            let thread = thread.spawn(move || this.run_lane(lane));
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

    /// The place in the queue of a request that arrives now.
    pub fn ticket(&self, deadline: Ticks) -> Ticket {
        Ticket {
            deadline,
            sequence: self.sequence.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Whether no lane runs a batch.
    fn lanes_idle(&self) -> bool {
        lock(&self.state).busy_until.iter().all(|b| *b == 0)
    }

    /// Takes a cancelled request out of its queue. One that runs already is run to its end.
    pub fn cancel(&self, model: ModelId, ticket: &Ticket) {
        let removed = lock(&self.state)
            .slots
            .get_mut(model.0)
            .and_then(|s| s.queue.remove(ticket));
        drop(removed);
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

    /// Admits or refuses each job of a burst. If a lane is idle and the batch is a matter of
    /// microseconds, it is run here, as the lane's guest: handing it to the lane's thread and back
    /// would take longer than the model. Otherwise a lane is woken.
    fn submit(&self, jobs: Vec<Job>) {
        let mut refused = Vec::new();
        let mut state = lock(&self.state);
        let now = now();
        for job in jobs {
            if job.reply.is_closed() {
                continue;
            }
            if state.closing {
                refused.push((job, Reply::Closed));
                continue;
            }
            match state.admit(&job, now) {
                Ok(()) => {
                    let (id, ticket, rows) = (job.model.0, job.ticket, job.rows);
                    state.slots[id].queue.push(ticket, rows, job);
                }
                Err(refusal) => refused.push((job, Reply::Refused(refusal))),
            }
        }
        let mut replies = Vec::new();
        if let Some(lane) = state.guest_lane(now) {
            let (batch, _) = state.next_batch(lane, &mut replies);
            if let Some(batch) = batch {
                drop(state);
                state = self.execute(lane, batch, &mut replies);
            }
        }
        let (work, sleeping) = (!state.is_idle(), state.sleeping);
        drop(state);
        if work && sleeping > 0 {
            self.wake.notify_one();
        }
        if work {
            self.queued.notify_one();
        }
        for (job, reply) in refused.into_iter().chain(replies) {
            // Nobody listens any more: the caller went away.
            let _ = job.reply.send(reply);
        }
    }

    /// Answers requests whose deadline passes while a long batch holds the lane. Runs on one I/O
    /// runtime; sleeps while nothing is queued.
    pub async fn reap(self: Arc<Self>) {
        loop {
            let (dead, next) = lock(&self.state).expired(now());
            let mut replies = dead.into_iter().map(|job| (job, Reply::Expired)).collect();
            self.send_home(&mut replies);
            match next {
                None => {
                    // Under load every burst leaves a notice: look at most once a millisecond.
                    tokio::time::sleep(Duration::from_nanos(MILLIS)).await;
                    self.queued.notified().await;
                }
                Some(at) => {
                    let pause = at.saturating_sub(now()).clamp(MILLIS, 100 * MILLIS);
                    tokio::time::sleep(Duration::from_nanos(pause)).await;
                }
            }
        }
    }

    /// Lets the lanes finish what is queued and ends their threads.
    pub fn close(&self) {
        lock(&self.state).closing = true;
        self.wake.notify_all();
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

    fn run_lane(&self, lane: usize) {
        let mut replies = Vec::new();
        let mut state = lock(&self.state);
        loop {
            let (batch, until) = state.next_batch(lane, &mut replies);
            if let Some(batch) = batch {
                drop(state);
                // What expired is told while the batch runs, not after it.
                self.send_home(&mut replies);
                state = self.execute(lane, batch, &mut replies);
                drop(state);
                self.send_home(&mut replies);
                state = lock(&self.state);
                continue;
            }
            if !replies.is_empty() {
                drop(state);
                self.send_home(&mut replies);
                state = lock(&self.state);
                continue;
            }
            if state.closing && state.is_idle() {
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

    /// Gathers, runs and scatters one batch, then files its cost and frees the lane.
    fn execute(
        &self,
        lane: usize,
        batch: Batch,
        replies: &mut Vec<(Job, Reply)>,
    ) -> MutexGuard<'_, State> {
        let Batch {
            id,
            fixed,
            jobs,
            rows,
        } = batch;
        let started = now();
        let result = {
            let mut engine = lock(&fixed.lanes[lane]);
            // A panic in an engine fails this batch and nothing else.
            catch_unwind(AssertUnwindSafe(|| {
                run(engine.as_mut(), &fixed.contract, &jobs, rows)
            }))
            .unwrap_or_else(|_| Err(EngineError::Failed("the engine panicked".into())))
        };
        let finished = now();
        match result {
            Ok(tensors) => {
                fixed.metrics.batch(rows, finished - started);
                let outputs = Arc::new(BatchOutputs {
                    tensors,
                    started,
                    finished,
                });
                let mut first_row = 0;
                for waiting in jobs {
                    let outputs = Arc::clone(&outputs);
                    replies.push((waiting.job, Reply::Done { outputs, first_row }));
                    first_row += waiting.rows;
                }
                let mut state = lock(&self.state);
                state.busy_until[lane] = 0;
                state.slots[id.0]
                    .cost
                    .record(rows, finished - started, finished);
                state
            }
            Err(error) => {
                let message: Arc<str> = error.message().into();
                let failed = |w: Waiting<Job>| (w.job, Reply::Failed(Arc::clone(&message)));
                replies.extend(jobs.into_iter().map(failed));
                let mut state = lock(&self.state);
                state.busy_until[lane] = 0;
                state
            }
        }
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.slots.iter().all(|s| s.queue.is_empty())
    }

    fn admit(&self, job: &Job, now: Ticks) -> Result<(), Refusal> {
        let slot = &self.slots[job.model.0];
        let free = self.busy_until.iter().map(|b| b.saturating_sub(now)).min();
        let others = self
            .slots
            .iter()
            .enumerate()
            .filter(|(i, s)| *i != job.model.0 && !s.queue.is_empty());
        let others = others.map(|(_, s)| {
            s.cost.backlog(
                s.queue.rows_until(job.ticket.deadline),
                s.fixed.limits.max_batch,
            )
        });
        let load = Load {
            now,
            busy: free.unwrap_or(0),
            others: others.sum(),
            lanes: self.busy_until.len(),
            margin: MARGIN,
        };
        admit(
            &slot.queue,
            &slot.cost,
            slot.fixed.limits,
            load,
            job.rows,
            job.ticket.deadline,
        )
    }

    /// Requests whose deadline has passed, and when the next one will.
    fn expired(&mut self, now: Ticks) -> (Vec<Job>, Option<Ticks>) {
        let mut dead = Vec::new();
        let mut next: Option<Ticks> = None;
        for slot in &mut self.slots {
            while slot.queue.head().is_some_and(|(t, _)| t.deadline <= now) {
                dead.extend(slot.queue.pop().map(|(_, w)| w.job));
            }
            if let Some((ticket, _)) = slot.queue.head() {
                next = Some(next.map_or(ticket.deadline, |n| n.min(ticket.deadline)));
            }
        }
        (dead, next)
    }

    /// The model whose head is due first among those that may start; if none may, until when.
    fn due(&self, now: Ticks) -> Result<usize, Option<Ticks>> {
        let mut until: Option<Ticks> = None;
        let mut first: Option<(Ticket, usize)> = None;
        for (index, slot) in self.slots.iter().enumerate() {
            let Some((ticket, _)) = slot.queue.head() else {
                continue;
            };
            let at = slot.ready_at(ticket, self.closing);
            if at > now {
                until = Some(until.map_or(at, |u| u.min(at)));
            } else if first.is_none_or(|f| (ticket, index) < f) {
                first = Some((ticket, index));
            }
        }
        first.map(|(_, index)| index).ok_or(until)
    }

    /// An idle lane that may be used by whoever hands in requests, if what is due next is cheap
    /// enough to be run on the spot.
    fn guest_lane(&self, now: Ticks) -> Option<usize> {
        let slot = &self.slots[self.due(now).ok()?];
        let rows = slot.queue.rows().min(slot.fixed.limits.max_batch);
        let known = slot.cost.last_sample() > 0;
        let cheap = known && slot.cost.bound(rows) <= ON_THE_SPOT;
        self.busy_until
            .iter()
            .position(|b| *b == 0)
            .filter(|_| cheap)
    }

    /// The next batch, of the model whose head is due first; or until when to wait for more rows.
    /// Requests that can no longer be met are put among the replies.
    fn next_batch(
        &mut self,
        lane: usize,
        replies: &mut Vec<(Job, Reply)>,
    ) -> (Option<Batch>, Option<Ticks>) {
        let now = now();
        loop {
            let index = match self.due(now) {
                Ok(index) => index,
                Err(until) => return (None, until),
            };
            let slot = &mut self.slots[index];
            let max_batch = slot.fixed.limits.max_batch;
            let taken = take(&mut slot.queue, &slot.cost, max_batch, now, MARGIN, |job| {
                job.reply.is_closed()
            });
            replies.extend(
                taken
                    .expired
                    .into_iter()
                    .map(|(_, w)| (w.job, Reply::Expired)),
            );
            if taken.batch.is_empty() {
                continue;
            }
            self.busy_until[lane] = (now + slot.cost.typical(taken.rows)).max(1);
            let jobs = taken.batch.into_iter().map(|(_, w)| w).collect();
            let fixed = Arc::clone(&slot.fixed);
            return (
                Some(Batch {
                    id: ModelId(index),
                    fixed,
                    jobs,
                    rows: taken.rows,
                }),
                None,
            );
        }
    }
}

impl Slot {
    /// When this queue's head may start: at once, unless the model was told to wait for more rows
    /// and the head can afford it.
    fn ready_at(&self, head: Ticket, closing: bool) -> Ticks {
        let limits = self.fixed.limits;
        if self.fixed.wait == 0 || closing || self.queue.rows() >= limits.max_batch {
            return 0;
        }
        let Some((_, waiting)) = self.queue.head() else {
            return 0;
        };
        let latest = head
            .deadline
            .saturating_sub(self.cost.bound(limits.max_batch) + MARGIN);
        (waiting.job.arrived + self.fixed.wait).min(latest)
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::engine::{Buffer, Buffers};
    use crate::metrics::Metrics;
    use crate::sched::cost::CostTable;

    /// Doubles its input; fails a batch that holds a 13, panics at a 14, blocks at a 15 until told
    /// to go on.
    struct Doubler(Buffers, std::sync::mpsc::Receiver<()>);

    impl Lane for Doubler {
        fn buffers(&mut self, _bucket: usize) -> &mut Buffers {
            &mut self.0
        }

        fn run(&mut self, _bucket: usize, rows: usize) -> Result<(), EngineError> {
            let input = self.0.inputs[0].as_bytes()[..rows].to_vec();
            assert!(!input.contains(&14), "the engine's own panic");
            if input.contains(&15) {
                self.1.recv().unwrap();
            }
            if input.contains(&13) {
                return Err(EngineError::Failed("thirteen".into()));
            }
            for (out, byte) in self.0.outputs[0].as_bytes_mut().iter_mut().zip(input) {
                *out = byte * 2;
            }
            Ok(())
        }

        fn describe(&self) -> String {
            "doubler".into()
        }
    }

    const CONTRACT: &str = r#"
        format = "sluicegate.contract/1"
        engine = "identity"
        inputs = [{ name = "x", datatype = "UINT8", shape = [-1, 1] }]
        outputs = [{ name = "y", datatype = "UINT8", shape = [-1, 1] }]
    "#;

    fn start() -> (Arc<Executor>, ModelId, Arc<Port>) {
        let (executor, id, port, _) = start_with_gate();
        (executor, id, port)
    }

    fn start_with_gate() -> (
        Arc<Executor>,
        ModelId,
        Arc<Port>,
        std::sync::mpsc::Sender<()>,
    ) {
        let (gate, opened) = std::sync::mpsc::channel();
        let port = Arc::new(Port::default());
        let executor = Executor::start(1, vec![Arc::clone(&port)]).unwrap();
        let buffers = Buffers {
            inputs: vec![Buffer::zeroed(8)],
            outputs: vec![Buffer::zeroed(8)],
        };
        let id = executor.add(NewModel {
            contract: Contract::parse(CONTRACT).unwrap(),
            lanes: vec![Box::new(Doubler(buffers, opened))],
            cost: CostTable::new(8),
            limits: Limits {
                max_batch: 8,
                queue_rows: 1000,
            },
            wait: 0,
            metrics: Metrics::default().model("m", "1", 8),
        });
        (executor, id, port, gate)
    }

    fn job(
        executor: &Executor,
        id: ModelId,
        bytes: &'static [u8],
    ) -> (Job, oneshot::Receiver<Reply>) {
        let (reply, answer) = oneshot::channel();
        let ticket = executor.ticket(now() + 60 * crate::clock::SECONDS);
        let inputs = vec![Bytes::from_static(bytes)];
        let job = Job {
            model: id,
            rows: bytes.len(),
            inputs,
            arrived: now(),
            ticket,
            reply,
            port: 0,
        };
        (job, answer)
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    }

    fn rows_of(reply: Reply, rows: usize) -> Vec<u8> {
        match reply {
            Reply::Done { outputs, first_row } => {
                outputs.tensors[0][first_row..first_row + rows].to_vec()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_caller_gets_its_own_rows_back() {
        let (executor, id, port) = start();
        runtime().block_on(async {
            tokio::spawn(Arc::clone(&port).pump(Arc::clone(&executor), 0));
            let mut answers = Vec::new();
            for bytes in [&[1u8, 2][..], &[3], &[4, 5, 6], &[7]].repeat(50) {
                let (job, answer) = job(&executor, id, bytes);
                port.send(job);
                answers.push((bytes, answer));
            }
            for (bytes, answer) in answers {
                let expected: Vec<u8> = bytes.iter().map(|b| b * 2).collect();
                assert_eq!(rows_of(answer.await.unwrap(), bytes.len()), expected);
            }
        });
        executor.close();
    }

    #[test]
    fn a_failed_or_panicking_batch_fails_alone() {
        let (executor, id, port) = start();
        runtime().block_on(async {
            tokio::spawn(Arc::clone(&port).pump(Arc::clone(&executor), 0));
            for (bytes, text) in [(&[13u8][..], "thirteen"), (&[14], "panicked")] {
                let (bad, answer) = job(&executor, id, bytes);
                port.send(bad);
                match answer.await.unwrap() {
                    Reply::Failed(message) => assert!(message.contains(text)),
                    other => panic!("{other:?}"),
                }
                let (good, answer) = job(&executor, id, &[5]);
                port.send(good);
                assert_eq!(rows_of(answer.await.unwrap(), 1), [10]);
            }
        });
        executor.close();
    }

    #[test]
    fn a_cancelled_request_leaves_the_queue_at_once() {
        let (executor, id, _port) = start();
        // Not submitted through a running port: nothing takes it off the queue.
        let (waiting, _answer) = job(&executor, id, &[1]);
        let ticket = waiting.ticket;
        lock(&executor.state).slots[0]
            .queue
            .push(ticket, 1, waiting);
        assert_eq!(executor.waiting(id), (1, 1));
        executor.cancel(id, &ticket);
        assert_eq!(executor.waiting(id), (0, 0));
        executor.close();
    }

    #[test]
    fn a_deadline_that_passes_behind_a_long_batch_is_told_before_the_batch_ends() {
        let (executor, id, port, gate) = start_with_gate();
        runtime().block_on(async {
            tokio::spawn(Arc::clone(&port).pump(Arc::clone(&executor), 0));
            tokio::spawn(Arc::clone(&executor).reap());
            let (long, long_answer) = job(&executor, id, &[15]);
            port.send(long);
            while lock(&executor.state).busy_until[0] == 0 {
                tokio::task::yield_now().await;
            }
            let (mut short, short_answer) = job(&executor, id, &[1]);
            short.ticket = executor.ticket(now() + 5 * MILLIS);
            port.send(short);
            // The lane is still blocked when this comes.
            assert!(matches!(short_answer.await.unwrap(), Reply::Expired));
            gate.send(()).unwrap();
            assert_eq!(rows_of(long_answer.await.unwrap(), 1), [30]);
        });
        executor.close();
    }

    #[test]
    fn after_closing_requests_are_turned_away() {
        let (executor, id, port) = start();
        executor.close();
        runtime().block_on(async {
            tokio::spawn(Arc::clone(&port).pump(Arc::clone(&executor), 0));
            let (late, answer) = job(&executor, id, &[1]);
            port.send(late);
            assert!(matches!(answer.await.unwrap(), Reply::Closed));
        });
    }
}

#![allow(clippy::unwrap_used)]

use super::*;
use crate::engine::{Buffer, Buffers};
use crate::metrics::Metrics;
use crate::sched::admission::{GaveWay, Limits, Refusal};
use crate::sched::cost::CostTable;
use crate::sched::queue::{Owner, Priority};
use bytes::Bytes;
use state::Slot;

/// Doubles its input; loses its device at a 12, fails a batch that holds a 13, panics at a 14,
/// blocks at a 15 until told to go on, refuses a 16.
struct Doubler(Buffers, std::sync::mpsc::Receiver<()>);

impl Lane for Doubler {
    fn buffers(&mut self, _bucket: Bucket) -> Result<&mut Buffers, EngineError> {
        Ok(&mut self.0)
    }

    fn run(&mut self, _bucket: Bucket, rows: usize) -> Result<(), EngineError> {
        let input = self.0.inputs[0].as_bytes()[..rows].to_vec();
        assert!(!input.contains(&14), "the engine's own panic");
        if input.contains(&15) {
            self.1.recv().unwrap();
        }
        if input.contains(&12) {
            return Err(EngineError::DeviceLost("unplugged".into()));
        }
        if input.contains(&16) {
            return Err(EngineError::BadInput("sixteen".into()));
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

const SETTINGS: Settings = Settings {
    limits: Limits {
        max_batch: 8,
        queue_rows: 1000,
    },
    wait: 0,
    objective: SECONDS,
};

type Gate = std::sync::mpsc::Sender<()>;

fn start() -> (Arc<Executor>, ModelId, Arc<Port>) {
    let (executor, id, port, _) = start_with_lanes(1);
    (executor, id, port)
}

/// An executor with a doubler on each lane, and each lane's gate.
fn start_with_lanes(lanes: usize) -> (Arc<Executor>, ModelId, Arc<Port>, Vec<Gate>) {
    let port = Arc::new(Port::default());
    let executor = Executor::start(lanes, vec![Arc::clone(&port)]).unwrap();
    let (gates, engines) = (0..lanes)
        .map(|_| {
            let (gate, opened) = std::sync::mpsc::channel();
            let (inputs, outputs) = (vec![Buffer::zeroed(8)], vec![Buffer::zeroed(8)]);
            let lane: Box<dyn Lane> = Box::new(Doubler(Buffers { inputs, outputs }, opened));
            (gate, lane)
        })
        .unzip();
    let id = executor.add(NewModel {
        contract: Contract::parse(CONTRACT).unwrap(),
        lanes: engines,
        costs: vec![(1, CostTable::new(8))],
        settings: SETTINGS,
        metrics: Metrics::default().model("m", "1", 8),
        shadow: Door::default(),
    });
    (executor, id, port, gates)
}

/// Lets the runtime turn until something is so.
async fn until(check: impl Fn() -> bool) {
    while !check() {
        tokio::task::yield_now().await;
    }
}

fn job(executor: &Executor, id: ModelId, bytes: &'static [u8]) -> (Job, oneshot::Receiver<Reply>) {
    let (reply, answer) = oneshot::channel();
    let ticket = executor.ticket(now(), now() + 60 * SECONDS);
    let job = Job {
        model: id,
        rows: bytes.len(),
        inputs: Inputs::Rows(vec![Bytes::from_static(bytes)]),
        arrived: now(),
        ticket,
        priority: Priority::DEFAULT,
        owner: Owner::ANYBODY,
        patient: false,
        follows: false,
        on_trial: false,
        pair: None,
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
            port.send([job]);
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
            port.send([bad]);
            match answer.await.unwrap() {
                Reply::Failed(message) => assert!(message.contains(text)),
                other => panic!("{other:?}"),
            }
            let (good, answer) = job(&executor, id, &[5]);
            port.send([good]);
            assert_eq!(rows_of(answer.await.unwrap(), 1), [10]);
        }
    });
    executor.close();
}

#[test]
fn a_cancelled_request_leaves_the_queue_at_once() {
    let (executor, id, _port) = start();
    let (waiting, _answer) = job(&executor, id, &[1]);
    let ticket = waiting.ticket;
    {
        let mut state = lock(&executor.state);
        // The lane is taken, so the request has to wait.
        state.lanes[0] = LaneState::Busy {
            until: Ticks::MAX,
            again: 0,
        };
        let slot: &mut Slot = state.slot_mut(id).unwrap();
        let waiting = Waiting {
            rows: 1,
            priority: Priority::DEFAULT,
            owner: Owner::ANYBODY,
            job: waiting,
        };
        slot.queues[0].queue.push(ticket, waiting);
    }
    assert_eq!(executor.waiting(id), (1, 1));
    assert!(executor.cancel(id, &ticket));
    assert!(!executor.cancel(id, &ticket), "it has left");
    assert_eq!(executor.waiting(id), (0, 0));
    executor.close();
}

#[test]
fn a_deadline_that_passes_behind_a_long_batch_is_told_before_the_batch_ends() {
    let (executor, id, port, gates) = start_with_lanes(1);
    runtime().block_on(async {
        tokio::spawn(Arc::clone(&port).pump(Arc::clone(&executor), 0));
        tokio::spawn(Arc::clone(&executor).reap());
        let (long, long_answer) = job(&executor, id, &[15]);
        port.send([long]);
        until(|| !executor.is_idle()).await;
        let (mut short, short_answer) = job(&executor, id, &[1]);
        short.ticket = executor.ticket(now(), now() + 5 * MILLIS);
        port.send([short]);
        // The lane is still blocked when this comes.
        assert!(matches!(short_answer.await.unwrap(), Reply::Expired));
        gates[0].send(()).unwrap();
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
        port.send([late]);
        assert!(matches!(answer.await.unwrap(), Reply::Closed));
    });
}

#[test]
fn one_callers_bad_value_does_not_fail_its_neighbours() {
    let (executor, id, port, gates) = start_with_lanes(1);
    runtime().block_on(async {
        tokio::spawn(Arc::clone(&port).pump(Arc::clone(&executor), 0));
        let (first, first_answer) = job(&executor, id, &[15]);
        port.send([first]);
        until(|| !executor.is_idle()).await;
        // These wait for the lane together, and so share a batch.
        let (good, good_answer) = job(&executor, id, &[1]);
        let (bad, bad_answer) = job(&executor, id, &[13]);
        let (also_good, also_good_answer) = job(&executor, id, &[2, 3]);
        [good, bad, also_good]
            .into_iter()
            .for_each(|job| port.send([job]));
        until(|| executor.waiting(id) == (3, 4)).await;
        gates[0].send(()).unwrap();
        assert_eq!(rows_of(first_answer.await.unwrap(), 1), [30]);
        assert_eq!(rows_of(good_answer.await.unwrap(), 1), [2]);
        assert!(matches!(bad_answer.await.unwrap(), Reply::Failed(_)));
        assert_eq!(rows_of(also_good_answer.await.unwrap(), 2), [4, 6]);
    });
    executor.close();
}

#[test]
fn a_burst_wakes_as_many_lanes_as_it_needs() {
    let (executor, id, port, gates) = start_with_lanes(3);
    runtime().block_on(async {
        tokio::spawn(Arc::clone(&port).pump(Arc::clone(&executor), 0));
        // Each as large as a batch may be, so that each needs a lane of its own.
        let burst: Vec<_> = (0..3).map(|_| job(&executor, id, &[15; 8])).collect();
        let answers: Vec<_> = burst
            .into_iter()
            .map(|(job, answer)| {
                port.send([job]);
                answer
            })
            .collect();
        until(|| lock(&executor.state).free_lane().is_none()).await;
        gates.iter().for_each(|gate| gate.send(()).unwrap());
        for answer in answers {
            assert_eq!(rows_of(answer.await.unwrap(), 8), [30; 8]);
        }
    });
    executor.close();
}

#[test]
fn closing_tells_what_is_queued_and_lets_what_runs_end() {
    let (executor, id, port, gates) = start_with_lanes(1);
    runtime().block_on(async {
        tokio::spawn(Arc::clone(&port).pump(Arc::clone(&executor), 0));
        let (running, running_answer) = job(&executor, id, &[15]);
        port.send([running]);
        until(|| !executor.is_idle()).await;
        let (queued, queued_answer) = job(&executor, id, &[1]);
        port.send([queued]);
        until(|| executor.waiting(id) == (1, 1)).await;
        let closing = Arc::clone(&executor);
        let closer = std::thread::spawn(move || closing.close());
        assert!(matches!(queued_answer.await.unwrap(), Reply::Closed));
        gates[0].send(()).unwrap();
        assert_eq!(rows_of(running_answer.await.unwrap(), 1), [30]);
        closer.join().unwrap();
    });
}

/// Blocks the only lane, queues what is given, and lets it run.
fn behind_a_long_batch(
    limits: Limits,
    queue: impl FnOnce(&Arc<Executor>, ModelId, &Port) -> Vec<oneshot::Receiver<Reply>>,
) -> Vec<Reply> {
    let (executor, id, port, gates) = start_with_lanes(1);
    executor.set(id, Settings { limits, ..SETTINGS });
    let replies = runtime().block_on(async {
        tokio::spawn(Arc::clone(&port).pump(Arc::clone(&executor), 0));
        let (long, long_answer) = job(&executor, id, &[15]);
        port.send([long]);
        until(|| !executor.is_idle()).await;
        let answers = queue(&executor, id, &port);
        // The outbox is emptied in one go.
        until(|| port.is_empty()).await;
        gates[0].send(()).unwrap();
        long_answer.await.unwrap();
        let mut replies = Vec::new();
        for answer in answers {
            replies.push(answer.await.unwrap());
        }
        replies
    });
    executor.close();
    replies
}

const SMALL_QUEUE: Limits = Limits {
    max_batch: 8,
    queue_rows: 8,
};

#[test]
fn in_a_full_queue_what_matters_less_gives_way() {
    let replies = behind_a_long_batch(SMALL_QUEUE, |executor, id, port| {
        let mut answers = Vec::new();
        for (bytes, level) in [(&[1u8; 4][..], 7), (&[2; 4], 3), (&[3; 4], 5)] {
            let (mut job, answer) = job(executor, id, bytes);
            job.priority = Priority::new(level);
            port.send([job]);
            answers.push(answer);
        }
        answers
    });
    let to_priority = Refusal::GaveWay(GaveWay::ToPriority);
    assert!(matches!(&replies[0], Reply::Refused(r) if *r == to_priority));
    assert!(replies[1..].iter().all(|r| matches!(r, Reply::Done { .. })));
}

#[test]
fn in_a_full_queue_what_is_due_later_gives_way_to_what_is_urgent() {
    let replies = behind_a_long_batch(SMALL_QUEUE, |executor, id, port| {
        let (later, later_answer) = job(executor, id, &[1; 8]);
        let (mut urgent, urgent_answer) = job(executor, id, &[2; 8]);
        urgent.ticket = executor.ticket(now(), now() + 30 * SECONDS);
        let (late, late_answer) = job(executor, id, &[3; 8]);
        port.send([later, urgent, late]);
        vec![later_answer, urgent_answer, late_answer]
    });
    let to_deadline = Refusal::GaveWay(GaveWay::ToDeadline);
    assert!(matches!(&replies[0], Reply::Refused(r) if *r == to_deadline));
    assert!(matches!(replies[1], Reply::Done { .. }));
    assert!(matches!(
        replies[2],
        Reply::Refused(Refusal::QueueFull { .. })
    ));
}

#[test]
fn a_caller_above_its_share_gives_way_to_one_below() {
    let replies = behind_a_long_batch(SMALL_QUEUE, |executor, id, port| {
        let mut answers = Vec::new();
        // The first fills the queue; the second has three times its share, and gets three quarters.
        for (caller, share) in [1; 8]
            .map(|c| (c, 1))
            .into_iter()
            .chain([2; 8].map(|c| (c, 3)))
        {
            let (mut job, answer) = job(executor, id, &[1]);
            job.owner = Owner { caller, share };
            port.send([job]);
            answers.push(answer);
        }
        answers
    });
    let done = |replies: &[Reply]| {
        let done = replies.iter().filter(|r| matches!(r, Reply::Done { .. }));
        done.count()
    };
    assert_eq!((done(&replies[..8]), done(&replies[8..])), (2, 6));
    let to_share = Refusal::GaveWay(GaveWay::ToShare);
    assert!(
        replies
            .iter()
            .any(|r| matches!(r, Reply::Refused(why) if *why == to_share))
    );
}

#[test]
fn the_parts_of_a_request_are_let_in_together_or_not_at_all() {
    let replies = behind_a_long_batch(SMALL_QUEUE, |executor, id, port| {
        let (first, first_answer) = job(executor, id, &[1; 6]);
        let (mut second, second_answer) = job(executor, id, &[1; 6]);
        second.follows = true;
        port.send([first, second]);
        vec![first_answer, second_answer]
    });
    let full = |r: &Reply| matches!(r, Reply::Refused(Refusal::QueueFull { .. }));
    assert!(replies.iter().all(full), "{replies:?}");
}

#[test]
fn an_input_that_the_engine_refuses_is_the_callers_fault() {
    let replies = behind_a_long_batch(SETTINGS.limits, |executor, id, port| {
        let (bad, bad_answer) = job(executor, id, &[16]);
        let (good, good_answer) = job(executor, id, &[4]);
        port.send([bad, good]);
        vec![bad_answer, good_answer]
    });
    assert!(matches!(&replies[0], Reply::BadInput(why) if &**why == "sixteen"));
    assert!(matches!(replies[1], Reply::Done { .. }));
}

#[test]
fn a_lost_device_fails_its_batch_and_leaves_the_other_lanes_at_work() {
    let (executor, id, port, gates) = start_with_lanes(2);
    let (tell, told) = std::sync::mpsc::channel();
    executor.tell_lost(Box::new(move |model| tell.send(model).unwrap()));
    runtime().block_on(async {
        tokio::spawn(Arc::clone(&port).pump(Arc::clone(&executor), 0));
        for (lost, bytes) in [(1, &[12u8][..]), (2, &[12])] {
            let (fatal, answer) = job(&executor, id, bytes);
            port.send([fatal]);
            assert!(matches!(answer.await.unwrap(), Reply::Failed(_)));
            until(|| executor.lost_lanes(id) == lost).await;
            assert_eq!(told.recv().unwrap(), id);
            let (next, answer) = job(&executor, id, &[5]);
            port.send([next]);
            let reply = answer.await.unwrap();
            match lost {
                1 => assert_eq!(rows_of(reply, 1), [10]),
                _ => {
                    assert!(matches!(&reply, Reply::Failed(why) if why.contains("device is gone")))
                }
            }
        }
    });
    drop(gates);
    executor.close();
}

#[test]
fn a_model_is_taken_away_only_when_nothing_of_it_waits_or_runs() {
    let (executor, id, port, gates) = start_with_lanes(1);
    runtime().block_on(async {
        tokio::spawn(Arc::clone(&port).pump(Arc::clone(&executor), 0));
        let (long, long_answer) = job(&executor, id, &[15]);
        port.send([long]);
        until(|| !executor.is_idle()).await;
        assert!(executor.remove(id).is_none(), "it runs");
        gates[0].send(()).unwrap();
        long_answer.await.unwrap();
        until(|| executor.remove(id).is_some()).await;
        let (late, late_answer) = job(&executor, id, &[1]);
        port.send([late]);
        assert!(matches!(late_answer.await.unwrap(), Reply::Closed));
    });
    executor.close();
}

//! One inference: decode, find the model, queue, wait, answer. One record is filled on the way.
//! ModelInfer runs one a call, ModelStreamInfer many.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::call::{Answer, Call};
use super::callers::Rights;
use super::parts::{Place, TakenRows, join, parts_of};
use super::table::Model;
use super::{Peer, Server};
use crate::clock::{MILLIS, Ticks, now};
use crate::executor::{BatchOutputs, Executor, Job, ModelId, Parts, Reply, Tokens};
use crate::record::{Outcome, Record};
use crate::sched::admission::{GaveWay, Refusal};
use crate::sched::queue::{Priority, Ticket};
use crate::shadow::Pair;
use crate::tensor::TensorSpec;
use crate::trace::{Context as TraceContext, Span};
use crate::wire::inference::infer_parameter::ParameterChoice;
use crate::wire::request::{Payload, Rows, Wanted};
use crate::wire::status::{Code, Retry, Status};
use crate::wire::{classes, parameters, request};

/// Whether the caller has gone, asked while an answer is waited for.
pub trait Gone {
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

impl Gone for Call {
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Call::poll_gone(self, cx)
    }
}

/// When, from whom and by which port a message came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub arrived: Ticks,
    /// When the call ends by the caller's own word.
    pub deadline: Option<Ticks>,
    pub rights: Arc<Rights>,
    pub port: usize,
    /// Set if the request is traced.
    pub trace: Option<TraceContext>,
}

/// An inference that has ended: what to send, and what to write down once it is sent.
pub struct Finished {
    /// `None`: the caller has gone.
    pub result: Option<Result<Bytes, Status>>,
    record: Record,
    model: Option<Arc<Model>>,
    rows: usize,
    batch: Option<(u64, usize)>,
    trace: Option<TraceContext>,
}

impl Finished {
    /// Ended before there was anything to infer.
    fn early(arrived: Ticks, outcome: Outcome, status: Option<Status>) -> Self {
        let record = Record {
            outcome,
            ..Record::arrived(arrived)
        };
        Self {
            result: status.map(Err),
            record,
            model: None,
            rows: 0,
            batch: None,
            trace: None,
        }
    }

    /// Writes the record; to be called when the answer has been sent.
    pub fn write(mut self, server: &Server) {
        self.record.written = now();
        if self.record.outcome == Outcome::Answered && self.record.written > self.record.deadline {
            self.record.outcome = Outcome::Late;
        }
        match &self.model {
            Some(model) => model.metrics.write(&self.record),
            None => server.metrics.without_model(self.record.outcome),
        }
        if let (Some(context), Some(model)) = (self.trace, &self.model) {
            server.tracer.keep(Span {
                context,
                record: self.record,
                model: model.name.clone(),
                version: model.version,
                rows: self.rows,
                batch: self.batch,
            });
        }
    }
}

/// ModelInfer: serves one call from its message to its record.
pub async fn unary(server: Arc<Server>, mut call: Call, peer: Arc<Peer>) {
    let arrived = call.arrived;
    let mut finished = match asked(&server, &call, &peer) {
        Ok(asked) => match call.message(&server).await {
            Answer::Message(message) => run(&server, asked, message, &mut call).await,
            Answer::Refused(status) => {
                let outcome = match status.code {
                    Code::ResourceExhausted => Outcome::TooLarge,
                    _ => Outcome::Invalid,
                };
                Finished::early(arrived, outcome, Some(status))
            }
            Answer::Gone => Finished::early(arrived, Outcome::Cancelled, None),
        },
        Err(status) => {
            let outcome = match status.code {
                Code::Unauthenticated => Outcome::Denied,
                _ => Outcome::Invalid,
            };
            Finished::early(arrived, outcome, Some(status))
        }
    };
    if let Some(result) = finished.result.take() {
        call.finish(result);
    }
    finished.write(&server);
}

/// What the head of a call says: who calls, and until when.
pub fn asked(server: &Server, call: &Call, peer: &Peer) -> Result<Asked, Status> {
    let rights = server.rights(call, peer)?;
    let timeout = call.timeout()?;
    Ok(Asked {
        arrived: call.arrived,
        deadline: timeout.map(|t| call.arrived.saturating_add(t)),
        rights,
        port: peer.port,
        trace: server.tracer.decide(call.traceparent()),
    })
}

/// What a request wants, as far as the answer needs it.
struct Wish {
    id: String,
    rows: usize,
    outputs: Option<Vec<Wanted>>,
}

/// From a message to its answer.
pub async fn run(
    server: &Arc<Server>,
    asked: Asked,
    message: Bytes,
    gone: &mut impl Gone,
) -> Finished {
    let mut finished = Finished::early(asked.arrived, Outcome::Invalid, None);
    finished.trace = asked.trace;
    let prepared = prepare(server, &asked, message, &mut finished);
    finished.result = match prepared {
        Ok((found, wish, job)) => {
            finished.rows = wish.rows;
            serve(server, &asked, &found, &wish, job, &mut finished, gone).await
        }
        Err(status) => Some(Err(status)),
    };
    finished
}

/// What a request brings to the queue.
struct Wanting {
    payload: Payload,
    priority: Priority,
    /// Set if the model's shadow may compare this request.
    pair: Option<Pair>,
    /// It named no deadline of its own.
    patient: bool,
}

/// Reads and checks a message. The model is set as soon as it is known, so that what goes wrong
/// after is counted as its own.
fn prepare(
    server: &Server,
    asked: &Asked,
    message: Bytes,
    finished: &mut Finished,
) -> Result<(Arc<Model>, Wish, Wanting), Status> {
    let record = &mut finished.record;
    let size = message.len();
    let mut request = request::decode(message)?;
    asked
        .rights
        .may_use(&request.model_name)
        .inspect_err(|_| record.outcome = Outcome::Denied)?;
    let table = server.table.load();
    let found = table.find(&request.model_name, &request.model_version);
    let found = found.inspect_err(|status| {
        record.outcome = match status.code {
            Code::Unavailable => Outcome::Unavailable,
            _ => Outcome::NoModel,
        };
    })?;
    let found = Arc::clone(found);
    finished.model = Some(Arc::clone(&found));
    let parameter = parameters::timeout(&request)?;
    let parameter = parameter.map(|t| asked.arrived.saturating_add(t));
    let priority = parameters::priority(&request)?;
    // The least of what the caller said; where it said nothing, the model's own objective.
    let said = asked.deadline.into_iter().chain(parameter).min();
    let objective = asked.arrived.saturating_add(found.objective());
    record.deadline = said.unwrap_or(objective);
    let id = std::mem::take(&mut request.id);
    let segment = parameters::segment(&mut request)?;
    let Rows {
        rows,
        payload,
        outputs,
    } = request::rows(request, size, &found.contract)?;
    let wish = Wish { id, rows, outputs };
    let shadow = found.shadow.load();
    let pair = shadow
        .as_ref()
        .and_then(|route| route.arrive(&asked.rights.name, segment.as_deref()));
    let wanting = Wanting {
        payload,
        priority,
        pair,
        patient: said.is_none(),
    };
    Ok((found, wish, wanting))
}

/// From a checked request to its answer; `None` if the caller has gone.
async fn serve(
    server: &Arc<Server>,
    asked: &Asked,
    model: &Arc<Model>,
    wish: &Wish,
    wanting: Wanting,
    finished: &mut Finished,
    gone: &mut impl Gone,
) -> Option<Result<Bytes, Status>> {
    let record = &mut finished.record;
    let mut counted = Counted::begin(model, record);
    let done = compute(server, asked, model, wanting, record, gone).await;
    counted.ended = true;
    drop(counted);
    let (outcome, status) = match done? {
        Ok(done) => {
            finished.batch = done.parts.first().map(|(_, o, _)| (o.number, o.rows));
            (record.started, record.finished) = done.span();
            if now() <= record.deadline {
                record.outcome = Outcome::Answered;
                return Some(Ok(
                    done.with_rows(model, |rows| respond(model, wish, rows, &[]))
                ));
            }
            let given = milliseconds(record);
            let text = format!(
                "model '{}' answered after the deadline of {given} ms",
                model.name
            );
            (Outcome::Late, Status::new(Code::DeadlineExceeded, text))
        }
        Err(ended) => ended,
    };
    record.outcome = outcome;
    match &model.fallback {
        Some(fallback) if outcome.may_fall_back() => {
            record.fell_back = true;
            let rows: Vec<Vec<u8>> = fallback.iter().map(|row| row.repeat(wish.rows)).collect();
            let rows: Vec<&[u8]> = rows.iter().map(Vec::as_slice).collect();
            let why = ParameterChoice::StringParam(outcome.label().into());
            let more = parameters::encoded(parameters::FALLBACK, why);
            Some(Ok(respond(model, wish, &rows, &more)))
        }
        _ => Some(Err(status)),
    }
}

/// A request that waits or runs. A stream that is cut off drops its requests where they are: such
/// a one is counted as cancelled, so that every request ends once.
struct Counted<'a> {
    model: &'a Model,
    arrived: Ticks,
    ended: bool,
}

impl<'a> Counted<'a> {
    fn begin(model: &'a Model, record: &Record) -> Self {
        model.metrics.pending.inc();
        Self {
            model,
            arrived: record.arrived,
            ended: false,
        }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.model.metrics.pending.dec();
        if !self.ended {
            self.model.metrics.write(&Record {
                outcome: Outcome::Cancelled,
                ..Record::arrived(self.arrived)
            });
        }
    }
}

type Ended = (Outcome, Status);

/// Queues a request's parts and waits for all of them; `None` if the caller has gone.
async fn compute(
    server: &Arc<Server>,
    asked: &Asked,
    model: &Arc<Model>,
    wanting: Wanting,
    record: &mut Record,
    gone: &mut impl Gone,
) -> Option<Result<Done, Ended>> {
    if record.deadline <= now() {
        let text = "the deadline had passed on arrival";
        let status = Status::new(Code::DeadlineExceeded, text);
        return Some(Err((Outcome::ShedDeadline, status)));
    }
    let executor = &server.executor;
    let ticket = || executor.ticket(record.arrived, record.deadline);
    let rows = match wanting.payload {
        Payload::Rows(inputs) => TakenRows::Fixed(inputs),
        Payload::Texts(texts) => {
            if executor.is_hopeless(model.id, &ticket()) {
                let refusal = Refusal::CannotMeet {
                    retry: Some(MILLIS),
                };
                return Some(Err(refused(model, record, refusal)));
            }
            // Boxed: most models have no text, and a request's future is as large as its largest way.
            match Box::pin(tokens(server, model, texts, gone)).await? {
                Ok(tokens) => TakenRows::Tokens(tokens),
                Err(ended) => return Some(Err(ended)),
            }
        }
    };
    let mut queued = Queued {
        executor,
        model: model.id,
        tickets: SmallVec::new(),
    };
    let mut waiting: SmallVec<[(Place, oneshot::Receiver<Reply>); 1]> = SmallVec::new();
    let mut jobs = Parts::new();
    // Of a request in parts the first one is compared.
    let mut pair = wanting.pair;
    for (index, part) in parts_of(rows, model).into_iter().enumerate() {
        let (reply, answer) = oneshot::channel();
        let ticket = ticket();
        queued.tickets.push(ticket);
        jobs.push(Job {
            model: model.id,
            rows: part.rows,
            inputs: part.inputs,
            arrived: record.arrived,
            ticket,
            priority: wanting.priority,
            owner: asked.rights.owner,
            patient: wanting.patient,
            follows: index > 0,
            on_trial: false,
            pair: pair.take(),
            reply,
            port: asked.port,
        });
        waiting.push((part.place, answer));
    }
    server.ports[asked.port].send(jobs);
    let mut parts = SmallVec::new();
    for (place, answer) in waiting {
        let Some(reply) = or_gone(answer, gone).await else {
            let was_queued = queued.leave();
            // Callers end a call at its deadline by themselves: that is our fault, not their will.
            record.outcome = match (now() >= record.deadline, was_queued) {
                (false, _) => Outcome::Cancelled,
                (true, true) => Outcome::ExpiredInQueue,
                (true, false) => Outcome::Late,
            };
            return None;
        };
        match ended(model, record, reply) {
            Ok((outputs, first_row)) => parts.push((place, outputs, first_row)),
            Err(ended) => return Some(Err(ended)),
        }
    }
    queued.tickets.clear();
    Some(Ok(Done { parts }))
}

/// The tokens of a request's texts, by another thread.
async fn tokens(
    server: &Server,
    model: &Model,
    texts: Vec<Bytes>,
    gone: &mut impl Gone,
) -> Option<Result<Vec<Tokens>, Ended>> {
    let refuse = |code, outcome, text: String| Some(Err((outcome, Status::new(code, text))));
    let Some(stage) = &model.text else {
        let text = format!("model '{}' has no tokenizer", model.name);
        return refuse(Code::Internal, Outcome::Failed, text);
    };
    let Some(tokenised) = server.tokenisers.send(stage, texts) else {
        let text = format!(
            "model '{}': too many texts wait to be tokenised",
            model.name
        );
        return refuse(Code::ResourceExhausted, Outcome::ShedQueueFull, text);
    };
    match or_gone(tokenised, gone).await? {
        Ok(tokens) => Some(Ok(tokens)),
        Err(text) => refuse(Code::InvalidArgument, Outcome::Invalid, text),
    }
}

/// What comes of a channel, or `None` if the caller goes first or the other side is closed.
async fn or_gone<T>(mut receiver: oneshot::Receiver<T>, gone: &mut impl Gone) -> Option<T> {
    poll_fn(|cx| {
        if let Poll::Ready(value) = Pin::new(&mut receiver).poll(cx) {
            return Poll::Ready(value.ok());
        }
        gone.poll_gone(cx).map(|()| None)
    })
    .await
}

/// Parts that wait in the executor; they leave its queue if this is dropped.
struct Queued<'a> {
    executor: &'a Executor,
    model: ModelId,
    tickets: SmallVec<[Ticket; 1]>,
}

impl Queued<'_> {
    /// Takes out what still waits; whether anything did.
    fn leave(&mut self) -> bool {
        let mut any = false;
        for ticket in self.tickets.drain(..) {
            any |= self.executor.cancel(self.model, &ticket);
        }
        any
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// All parts of a request, computed.
struct Done {
    parts: SmallVec<[(Place, Arc<BatchOutputs>, usize); 1]>,
}

impl Done {
    /// When the first batch started and the last one ended.
    fn span(&self) -> (Ticks, Ticks) {
        let started = self.parts.iter().map(|p| p.1.started).min();
        let finished = self.parts.iter().map(|p| p.1.finished).max();
        (started.unwrap_or(0), finished.unwrap_or(0))
    }

    /// Every output's rows, in the request's order.
    fn with_rows<T>(&self, model: &Model, use_them: impl FnOnce(&[&[u8]]) -> T) -> T {
        let specs = &model.contract.outputs;
        let rows_of = |place: &Place, outputs: &BatchOutputs, first_row: usize, index: usize| {
            let size = specs[index].row_bytes();
            let span = first_row * size..(first_row + place.rows()) * size;
            outputs.tensors[index][span].to_vec()
        };
        if let [(Place::Whole(rows), outputs, first_row)] = self.parts.as_slice() {
            let slice = |(index, spec): (usize, &TensorSpec)| {
                let size = spec.row_bytes();
                &outputs.tensors[index][first_row * size..][..rows * size]
            };
            let slices: SmallVec<[&[u8]; 4]> = specs.iter().enumerate().map(slice).collect();
            return use_them(&slices);
        }
        let joined: Vec<Vec<u8>> = specs
            .iter()
            .enumerate()
            .map(|(index, spec)| {
                let parts = self.parts.iter();
                let parts =
                    parts.map(|(place, o, first)| (place, rows_of(place, o, *first, index)));
                join(parts, spec.row_bytes())
            })
            .collect();
        let slices: Vec<&[u8]> = joined.iter().map(Vec::as_slice).collect();
        use_them(&slices)
    }
}

fn respond(model: &Model, wish: &Wish, outputs: &[&[u8]], more: &[u8]) -> Bytes {
    let Wish {
        id,
        rows,
        outputs: wanted,
    } = wish;
    match wanted {
        None => {
            let all = outputs.iter().copied().enumerate();
            model.template.respond(id, *rows, all, more)
        }
        Some(wanted) if wanted.iter().all(|w| w.classes == 0) => {
            let some = wanted.iter().map(|w| (w.index, outputs[w.index]));
            model.template.respond(id, *rows, some, more)
        }
        Some(wanted) => {
            let (head, contract) = (model.template.head(), &model.contract);
            classes::respond(head, more, id, contract, *rows, wanted, outputs)
        }
    }
}

fn milliseconds(record: &Record) -> String {
    let given = record.deadline.saturating_sub(record.arrived);
    format!("{:.3}", given as f64 / 1e6)
}

/// What a part came back with, or how the request has ended.
fn ended(
    model: &Model,
    record: &Record,
    reply: Reply,
) -> Result<(Arc<BatchOutputs>, usize), Ended> {
    let name = &model.name;
    Err(match reply {
        Reply::Done { outputs, first_row } => return Ok((outputs, first_row)),
        Reply::Refused(refusal) => refused(model, record, refusal),
        Reply::Expired => {
            let given = milliseconds(record);
            let text = format!("the deadline of {given} ms passed while model '{name}' was busy");
            let status = Status::new(Code::DeadlineExceeded, text);
            (Outcome::ExpiredInQueue, status)
        }
        Reply::Failed(why) => {
            let text = format!("model '{name}' failed: {why}");
            (Outcome::Failed, Status::new(Code::Internal, text))
        }
        Reply::BadInput(why) => {
            let text = format!("model '{name}' refused the input: {why}");
            (Outcome::Invalid, Status::invalid(text))
        }
        Reply::Closed => {
            let text = "the server is shutting down";
            (Outcome::Unavailable, Status::new(Code::Unavailable, text))
        }
    })
}

/// How a request that was shed is told so, and when it may try again.
fn refused(model: &Model, record: &Record, refusal: Refusal) -> Ended {
    let name = &model.name;
    let shed = |text: String, retry: Option<Ticks>| {
        let retry = retry.map_or(Retry::Never, |after| Retry::After(after.div_ceil(MILLIS)));
        Status::new(Code::ResourceExhausted, text).retry(retry)
    };
    match refusal {
        Refusal::QueueFull { retry } => {
            let text = format!("model '{name}' is overloaded: its queue is full");
            (Outcome::ShedQueueFull, shed(text, Some(retry)))
        }
        Refusal::CannotMeet { retry } => {
            let given = milliseconds(record);
            let text = format!("model '{name}' cannot answer within {given} ms now");
            (Outcome::ShedDeadline, shed(text, retry))
        }
        Refusal::GaveWay(why) => {
            let (outcome, came) = match why {
                GaveWay::ToPriority => (Outcome::ShedPriority, "a request of a higher priority"),
                GaveWay::ToShare => (Outcome::ShedShare, "a caller below its share"),
                GaveWay::ToDeadline => (Outcome::ShedQueueFull, "a more urgent request"),
            };
            let text = format!("model '{name}' is overloaded: this request gave way to {came}");
            (outcome, shed(text, Some(MILLIS)))
        }
        Refusal::Overload => {
            let text =
                format!("model '{name}' is overloaded: requests without a deadline wait too long");
            (
                Outcome::ShedOverload,
                shed(text, Some(model.objective() / 10)),
            )
        }
    }
}

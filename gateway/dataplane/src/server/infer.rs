//! One inference: decode, find the model, queue, wait, answer. One record is filled on the way.
//! ModelInfer runs one a call, ModelStreamInfer many.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::answer::{Done, Ended, Wish, ended, milliseconds, refused, respond};
use super::call::{Answer, Call};
use super::callers::Rights;
use super::logging::Draft;
use super::parts::{Place, TakenRows, parts_of};
use super::table::Model;
use super::{Peer, Server};
use crate::clock::{MILLIS, Ticks, now};
use crate::executor::{Executor, Job, ModelId, Parts, Reply, Tokens};
use crate::record::{Outcome, Record};
use crate::sched::admission::Refusal;
use crate::sched::queue::{Priority, Ticket};
use crate::shadow::Pair;
use crate::trace::{Context as TraceContext, Span};
use crate::wire::inference::infer_parameter::ParameterChoice;
use crate::wire::request::{Payload, Rows};
use crate::wire::status::{Code, Status};
use crate::wire::{parameters, request};

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
    /// Set if the request is in the decision log's sample. Boxed: most are not.
    draft: Option<Box<Draft>>,
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
            draft: None,
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
        if let (Some(draft), Some(model)) = (&self.draft, &self.model)
            && self.record.outcome == Outcome::Answered
        {
            draft.write(server, model, &self.record);
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
    let mut found = Arc::clone(found);
    let mut key = None;
    // Who asks for a version gets that one.
    if request.model_version.is_empty() {
        let canary = found.canary.load_full();
        if let Some(canary) = canary {
            key = parameters::key(&mut request)?;
            if canary.takes(key.as_deref().unwrap_or(&asked.rights.name)) {
                found = Arc::clone(&canary.model);
            }
        }
    }
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
    let sampled = server.decisions.as_ref().and_then(|log| log.sample(&id));
    if sampled.is_some() && key.is_none() {
        // One that is no string is passed over, as it is without a log.
        key = parameters::key(&mut request).unwrap_or_default();
    }
    let Rows {
        rows,
        payload,
        outputs,
    } = request::rows(request, size, &found.contract)?;
    // An id that was made is one that the answer tells.
    let named = sampled.as_ref().map_or(&*id, |s| &*s.id);
    let logged = sampled.is_some() && found.logged.is_some();
    let shadow = found.shadow.load();
    let pair = shadow.as_ref().and_then(|route| {
        let pair = route.arrive(&asked.rights.name, segment.as_deref())?;
        Some(pair.named(named, logged))
    });
    let wish = Wish { id, rows, outputs };
    let draft = sampled.zip(found.logged.as_ref());
    let draft =
        draft.map(|(sampled, model)| Draft::new(sampled, key, model, rows, &payload, asked.port));
    finished.draft = draft.map(Box::new);
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
                let draft = finished.draft.as_mut();
                let more = draft.as_ref().map_or_else(Vec::new, |d| d.told());
                let answer = done.with_rows(model, |rows| respond(model, wish, rows, &more));
                if let Some(draft) = draft {
                    draft.answered(done);
                }
                return Some(Ok(answer));
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
        // Its rows would not be known by their numbers in the request.
        if let (Some(pair), Place::Rows(_)) = (&mut pair, &part.place) {
            pair.nameless();
        }
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

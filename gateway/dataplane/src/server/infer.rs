//! ModelInfer: decode, find the model, queue, wait, answer. One record is filled on the way.

use std::future::{Future, poll_fn};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::Server;
use super::call::{Answer, Call};
use super::table::Model;
use crate::clock::{Ticks, now};
use crate::executor::{Job, Reply};
use crate::record::{Outcome, Record};
use crate::sched::admission::Refusal;
use crate::wire::inference::ModelInferRequest;
use crate::wire::request;
use crate::wire::status::{Code, Status};

/// How a call ended: what to send, or nothing because the caller has gone.
type Ended = Option<Result<Bytes, Status>>;

/// Serves one call from its message to its record.
pub async fn infer(server: &Arc<Server>, mut call: Call, port: usize) {
    let mut record = Record::arrived(call.arrived);
    let mut model = None;
    let ended = match call.message(server.config.max_message_bytes).await {
        Answer::Message(message) => {
            answer(server, &mut call, port, message, &mut record, &mut model).await
        }
        Answer::Refused(status) => {
            if status.code == Code::ResourceExhausted {
                record.outcome = Outcome::TooLarge;
            }
            Some(Err(status))
        }
        Answer::Gone => {
            record.outcome = Outcome::Cancelled;
            None
        }
    };
    if let Some(result) = ended {
        call.finish(result);
    }
    record.written = now();
    if record.outcome == Outcome::Answered && record.written > record.deadline {
        record.outcome = Outcome::Late;
    }
    match &model {
        Some(model) => model.metrics.write(&record),
        None => server.metrics.without_model(record.outcome),
    }
}

async fn answer(
    server: &Arc<Server>,
    call: &mut Call,
    port: usize,
    message: Bytes,
    record: &mut Record,
    found: &mut Option<Arc<Model>>,
) -> Ended {
    let size = message.len();
    let mut request = match request::decode(message) {
        Ok(request) => request,
        Err(status) => return refuse(status),
    };
    let model = match server
        .table
        .load()
        .find(&request.model_name, &request.model_version)
    {
        Ok(model) => Arc::clone(model),
        Err(status) => {
            record.outcome = match status.code {
                Code::Unavailable => Outcome::Unavailable,
                _ => Outcome::NoModel,
            };
            return refuse(status);
        }
    };
    *found = Some(Arc::clone(&model));
    record.deadline = match deadline(call, &request, &model) {
        Ok(deadline) => deadline,
        Err(status) => return refuse(status),
    };
    if record.deadline <= now() {
        record.outcome = Outcome::ShedDeadline;
        let text = "the deadline had passed on arrival";
        return refuse(Status::new(Code::DeadlineExceeded, text));
    }
    let id = std::mem::take(&mut request.id);
    let rows = match request::rows(
        request,
        size,
        &model.contract.inputs,
        &model.contract.outputs,
        model.max_batch,
    ) {
        Ok(rows) => rows,
        Err(status) => return refuse(status),
    };

    let (reply, mut answer) = oneshot::channel();
    let ticket = server.executor.ticket(record.arrived, record.deadline);
    model.metrics.pending.inc();
    server.ports[port].send(Job {
        model: model.id,
        rows: rows.rows,
        inputs: rows.inputs,
        arrived: record.arrived,
        ticket,
        reply,
        port,
    });
    let reply = poll_fn(|cx| {
        use std::task::Poll;
        if let Poll::Ready(reply) = std::pin::Pin::new(&mut answer).poll(cx) {
            return Poll::Ready(reply.ok());
        }
        // The caller went away, or its connection did.
        call.poll_gone(cx).map(|()| None)
    })
    .await;
    model.metrics.pending.dec();
    let Some(reply) = reply else {
        let was_queued = server.executor.cancel(model.id, &ticket);
        // Callers end a call at its deadline by themselves: that is our fault, not their will.
        record.outcome = match (now() >= record.deadline, was_queued) {
            (false, _) => Outcome::Cancelled,
            (true, true) => Outcome::ExpiredInQueue,
            (true, false) => Outcome::Late,
        };
        return None;
    };
    let (outcome, result) = outcome(
        &model,
        reply,
        record,
        &id,
        rows.rows,
        rows.outputs.as_deref(),
    );
    record.outcome = outcome;
    Some(result)
}

fn refuse(status: Status) -> Ended {
    Some(Err(status))
}

/// The least of what the caller said; where it said nothing, the model's own objective.
fn deadline(call: &Call, request: &ModelInferRequest, model: &Model) -> Result<Ticks, Status> {
    let header = call.timeout()?;
    let parameter = request::timeout_parameter(request)?;
    let said = match (header, parameter) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    Ok(call.arrived.saturating_add(said.unwrap_or(model.objective)))
}

fn outcome(
    model: &Model,
    reply: Reply,
    record: &mut Record,
    id: &str,
    rows: usize,
    wanted: Option<&[usize]>,
) -> (Outcome, Result<Bytes, Status>) {
    let name = &model.name;
    let ms = |ticks: Ticks| ticks as f64 / 1e6;
    let given = ms(record.deadline.saturating_sub(record.arrived));
    match reply {
        Reply::Done { outputs, first_row } => {
            (record.started, record.finished) = (outputs.started, outputs.finished);
            if now() > record.deadline {
                let text = format!("model '{name}' answered after the deadline of {given:.3} ms");
                return (
                    Outcome::Late,
                    Err(Status::new(Code::DeadlineExceeded, text)),
                );
            }
            let part = |index: usize| {
                let size = model.contract.outputs[index].row_bytes();
                (
                    index,
                    &outputs.tensors[index][first_row * size..][..rows * size],
                )
            };
            let body = match wanted {
                Some(wanted) => model
                    .template
                    .respond(id, rows, wanted.iter().map(|&i| part(i))),
                None => model
                    .template
                    .respond(id, rows, (0..outputs.tensors.len()).map(part)),
            };
            (Outcome::Answered, Ok(body))
        }
        Reply::Refused(Refusal::QueueFull) => {
            let text = format!("model '{name}' is overloaded: its queue is full");
            (
                Outcome::ShedQueueFull,
                Err(Status::new(Code::ResourceExhausted, text)),
            )
        }
        Reply::Refused(Refusal::CannotMeet) => {
            let text = format!("model '{name}' cannot answer within {given:.3} ms now");
            (
                Outcome::ShedDeadline,
                Err(Status::new(Code::ResourceExhausted, text)),
            )
        }
        Reply::Expired => {
            let text =
                format!("the deadline of {given:.3} ms passed while model '{name}' was busy");
            (
                Outcome::ExpiredInQueue,
                Err(Status::new(Code::DeadlineExceeded, text)),
            )
        }
        Reply::Failed(why) => {
            let text = format!("model '{name}' failed: {why}");
            (Outcome::Failed, Err(Status::new(Code::Internal, text)))
        }
        Reply::Closed => {
            let text = "the server is shutting down";
            (
                Outcome::Unavailable,
                Err(Status::new(Code::Unavailable, text)),
            )
        }
    }
}

//! What a caller is told: the rows that were computed, or how the request has ended.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::parts::{Place, join};
use super::table::Model;
use crate::clock::{MILLIS, Ticks};
use crate::executor::{BatchOutputs, Reply};
use crate::record::{Outcome, Record};
use crate::sched::admission::{GaveWay, Refusal};
use crate::strings;
use crate::tensor::TensorSpec;
use crate::wire::classes;
use crate::wire::request::Wanted;
use crate::wire::status::{Code, Retry, Status};

/// How a request has ended without an answer.
pub type Ended = (Outcome, Status);

/// What a request wants, as far as the answer needs it.
pub struct Wish {
    pub id: String,
    pub rows: usize,
    pub outputs: Option<Vec<Wanted>>,
}

/// All parts of a request, computed.
pub struct Done {
    pub parts: SmallVec<[(Place, Arc<BatchOutputs>, usize); 1]>,
}

impl Done {
    /// When the first batch started and the last one ended.
    pub fn span(&self) -> (Ticks, Ticks) {
        let started = self.parts.iter().map(|p| p.1.started).min();
        let finished = self.parts.iter().map(|p| p.1.finished).max();
        (started.unwrap_or(0), finished.unwrap_or(0))
    }

    /// Every output's rows, in the request's order.
    pub fn with_rows<T>(&self, model: &Model, use_them: impl FnOnce(&[&[u8]]) -> T) -> T {
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

pub fn respond(model: &Model, wish: &Wish, outputs: &[&[u8]], more: &[u8]) -> Bytes {
    let Wish {
        id,
        rows,
        outputs: wanted,
    } = wish;
    let strings = strings::for_the_wire(&model.contract.outputs, outputs);
    let plain: SmallVec<[&[u8]; 4]>;
    let outputs = match &strings {
        None => outputs,
        Some(strings) => {
            plain = strings.iter().map(AsRef::as_ref).collect();
            &plain
        }
    };
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

pub fn milliseconds(record: &Record) -> String {
    let given = record.deadline.saturating_sub(record.arrived);
    format!("{:.3}", given as f64 / 1e6)
}

/// What a part came back with, or how the request has ended.
pub fn ended(
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
pub fn refused(model: &Model, record: &Record, refusal: Refusal) -> Ended {
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

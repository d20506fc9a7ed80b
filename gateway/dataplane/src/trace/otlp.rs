//! From traced requests to the bytes that a collector takes (OTLP's ScopeSpans).
//!
//! A request is a server span; below it stand `queue` (arrival to the start of its batch) and
//! `execute` (the batch's run). A batch is a span of its own, linked to the requests in it, and each
//! `execute` is linked to its batch: a batch serves many traces and belongs to none.

use std::collections::BTreeMap;

use prost::Message;

use super::{Context, Span, mixed};
use crate::clock::Ticks;
use crate::record::Outcome;

/// Messages of proto/otlp_trace.proto.
#[allow(clippy::all)]
mod wire {
    include!(concat!(env!("OUT_DIR"), "/otlp.rs"));
}

use wire::value::Value as Choice;
use wire::{Attribute, Link, Scope, ScopeSpans, SpanStatus, Value};

const METHOD: &str = "inference.GRPCInferenceService/ModelInfer";
const INTERNAL: i32 = 1;
const SERVER: i32 = 2;
const ERROR: i32 = 2;
const SAMPLED: u32 = 1;

/// Where a span stands: trace and span.
type At = (u128, u64);

/// Every span of these requests and of the batches that they were in. `began` is the clock's zero
/// in nanoseconds since 1970.
pub fn encode(requests: &[Span], began: u64) -> Vec<u8> {
    let mut spans = Vec::with_capacity(4 * requests.len());
    let mut batches: BTreeMap<(u64, Ticks), Vec<&Span>> = BTreeMap::new();
    for request in requests {
        of_request(request, began, &mut spans);
        if let Some((number, _)) = request.batch {
            let members = batches.entry((number, request.record.started));
            members.or_default().push(request);
        }
    }
    spans.extend(batches.values().map(|members| of_batch(members, began)));
    let scope = Scope {
        name: "sluicegate".into(),
        version: env!("CARGO_PKG_VERSION").into(),
    };
    let scoped = ScopeSpans {
        scope: Some(scope),
        spans,
    };
    scoped.encode_to_vec()
}

fn of_request(request: &Span, began: u64, spans: &mut Vec<wire::Span>) {
    let (record, context) = (&request.record, request.context);
    let own = (context.trace, context.span);
    let outcome = record.outcome;
    let mut call = span(METHOD, SERVER, own, context.parent);
    call.start_time_unix_nano = began + record.arrived;
    call.end_time_unix_nano = began + record.written.max(record.arrived);
    call.attributes = vec![
        word("rpc.system", "grpc"),
        word("rpc.service", "inference.GRPCInferenceService"),
        word("rpc.method", "ModelInfer"),
        word("sluicegate.model", &request.model),
        number("sluicegate.version", request.version),
        number("sluicegate.rows", request.rows as u64),
        word("sluicegate.outcome", outcome.label()),
    ];
    call.status = is_error(outcome).then(|| SpanStatus {
        message: outcome.label().into(),
        code: ERROR,
    });
    spans.push(call);
    let Some((batch, _)) = request.batch else {
        return;
    };
    let below = |name: &str, nth: u64, from: Ticks, to: Ticks| {
        let id = mixed(context.span ^ nth);
        let mut step = span(name, INTERNAL, (context.trace, id), context.span);
        step.start_time_unix_nano = began + from;
        step.end_time_unix_nano = began + to.max(from);
        step
    };
    spans.push(below("queue", 1, record.arrived, record.started));
    let mut execute = below("execute", 2, record.started, record.finished);
    execute.links = vec![link(batch_at(batch, began + record.started))];
    spans.push(execute);
}

/// The same whenever it is asked for, and in all likelihood no other server's.
fn batch_at(number: u64, started: u64) -> At {
    let (high, low) = (mixed(number ^ started), mixed(number.wrapping_add(started)));
    let trace = u128::from(high) << 64 | u128::from(low);
    (trace, mixed(high ^ low))
}

fn of_batch(members: &[&Span], began: u64) -> wire::Span {
    let first = members[0];
    let (number_of, rows) = first.batch.unwrap_or_default();
    let record = &first.record;
    let at = batch_at(number_of, began + record.started);
    let mut batch = span("batch", INTERNAL, at, 0);
    batch.start_time_unix_nano = began + record.started;
    batch.end_time_unix_nano = began + record.finished.max(record.started);
    batch.attributes = vec![
        word("sluicegate.model", &first.model),
        number("sluicegate.version", first.version),
        number("sluicegate.batch_rows", rows as u64),
    ];
    let own = |Context { trace, span, .. }: Context| (trace, span);
    batch.links = members.iter().map(|m| link(own(m.context))).collect();
    batch
}

fn span(name: &str, kind: i32, at: At, parent: u64) -> wire::Span {
    wire::Span {
        trace_id: at.0.to_be_bytes().into(),
        span_id: at.1.to_be_bytes().into(),
        parent_span_id: match parent {
            0 => Vec::new(),
            parent => parent.to_be_bytes().into(),
        },
        name: name.into(),
        kind,
        flags: SAMPLED,
        ..wire::Span::default()
    }
}

fn link(at: At) -> Link {
    Link {
        trace_id: at.0.to_be_bytes().into(),
        span_id: at.1.to_be_bytes().into(),
        flags: SAMPLED,
    }
}

fn attribute(key: &str, value: Choice) -> Attribute {
    Attribute {
        key: key.into(),
        value: Some(Value { value: Some(value) }),
    }
}

fn word(key: &str, text: &str) -> Attribute {
    attribute(key, Choice::StringValue(text.into()))
}

fn number(key: &str, value: u64) -> Attribute {
    attribute(key, Choice::IntValue(value.cast_signed()))
}

/// Whether an outcome is the server's own doing; a caller's mistake is no error of a server span.
fn is_error(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Late
        | Outcome::ShedQueueFull
        | Outcome::ShedDeadline
        | Outcome::ShedPriority
        | Outcome::ShedShare
        | Outcome::ShedOverload
        | Outcome::ExpiredInQueue
        | Outcome::Unavailable
        | Outcome::Failed => true,
        Outcome::Answered
        | Outcome::Cancelled
        | Outcome::Invalid
        | Outcome::TooLarge
        | Outcome::Denied
        | Outcome::NoModel => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::record::Record;

    fn request(span: u64, outcome: Outcome, batch: Option<(u64, usize)>) -> Span {
        Span {
            context: Context {
                trace: 7,
                parent: 5,
                span,
            },
            record: Record {
                outcome,
                started: 20,
                finished: 30,
                written: 40,
                ..Record::arrived(10)
            },
            model: "m".into(),
            version: 3,
            rows: 1,
            batch,
        }
    }

    fn encoded(requests: &[Span]) -> Vec<wire::Span> {
        ScopeSpans::decode(&encode(requests, 1_000)[..])
            .unwrap()
            .spans
    }

    #[test]
    fn requests_of_one_batch_are_linked_with_it_both_ways() {
        let batch = Some((9, 2));
        let both = [
            request(100, Outcome::Answered, batch),
            request(200, Outcome::Answered, batch),
        ];
        let spans = encoded(&both);
        let names: Vec<&str> = spans.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(
            names,
            [
                METHOD, "queue", "execute", METHOD, "queue", "execute", "batch"
            ]
        );
        let of_batch = spans.last().unwrap();
        let linked: Vec<&[u8]> = of_batch.links.iter().map(|l| &l.span_id[..]).collect();
        assert_eq!(linked, [&spans[0].span_id[..], &spans[3].span_id[..]]);
        assert!(spans.iter().filter(|s| s.name == "execute").all(|s| {
            s.links[0].span_id == of_batch.span_id && s.links[0].trace_id == of_batch.trace_id
        }));
        let times = |s: &wire::Span| (s.start_time_unix_nano, s.end_time_unix_nano);
        assert_eq!(
            [0, 1, 2].map(|i| times(&spans[i])),
            [(1_010, 1_040), (1_010, 1_020), (1_020, 1_030)]
        );
        let ids: std::collections::BTreeSet<_> = spans.iter().map(|s| &s.span_id).collect();
        assert_eq!(ids.len(), spans.len());
    }

    #[test]
    fn what_was_never_run_is_one_span_and_the_servers_fault_is_an_error() {
        let spans = encoded(&[request(1, Outcome::ShedDeadline, None)]);
        assert_eq!(spans.len(), 1);
        assert_eq!(spans[0].status.as_ref().unwrap().code, ERROR);
        assert_eq!(spans[0].parent_span_id, 5u64.to_be_bytes());
        assert_eq!(
            encoded(&[request(1, Outcome::Invalid, None)])[0].status,
            None
        );
    }
}

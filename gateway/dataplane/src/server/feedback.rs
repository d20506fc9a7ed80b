//! Outcomes that become known after the answer. They are taken if they can be written down beside
//! the decisions that they belong to; all of a report or none. Comparisons that run are told of them
//! too, whether the log holds the request or not, and whether there is a log or not.

use bytes::Bytes;

use super::Server;
use super::callers::Rights;
use super::metadata::decode;
use crate::decisions::{Log, MOST_ID, Outcome, wall_ns};
use crate::wire::feedback as pb;
use crate::wire::framing::frame;
use crate::wire::status::{Code, Retry, Status};

pub const REPORT: &str = "/sluicegate.feedback.v1.Feedback/Report";
/// Outcomes in one report.
const MOST: usize = 10_000;
/// Rows of one request.
const MOST_ROWS: u32 = 16_384;
/// When a report that found no room may come again, in ms.
const AGAIN: u64 = 100;

pub fn report(
    server: &Server,
    rights: &Rights,
    port: usize,
    message: Bytes,
) -> Result<Bytes, Status> {
    if !rights.feedback {
        let text = format!(
            "caller '{}' may not report outcomes ([caller.NAME] feedback)",
            rights.name
        );
        return Err(Status::new(Code::PermissionDenied, text));
    }
    let table = server.table.load();
    let compares = table.shadows().next().is_some();
    if server.decisions.is_none() && server.config.governance.is_none() && !compares {
        let text = "this server keeps no decision log and compares no models, so there is nothing to join outcomes with ([decision_log], [governance])";
        return Err(Status::new(Code::Unimplemented, text));
    }
    let request: pb::ReportRequest = decode(message, "ReportRequest")?;
    let outcomes = outcomes(request)?;
    let taken = match &server.decisions {
        Some(log) => written(log, port, &outcomes)?,
        None if compares => outcomes.len(),
        None => 0,
    };
    for (_, route, _) in table.shadows() {
        route.ends.reported(&outcomes);
    }
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Ok(frame(&pb::ReportResponse {
        accepted: count(taken),
        not_sampled: count(outcomes.len() - taken),
    }))
}

/// Hands those to the log that are of requests in its sample, all or none; how many these are.
fn written(log: &Log, port: usize, outcomes: &[Outcome]) -> Result<usize, Status> {
    let kept = outcomes.iter().filter(|outcome| log.holds(&outcome.id));
    let kept: Vec<Outcome> = kept.cloned().collect();
    if !kept.is_empty() && !log.reported(port, &kept) {
        let text = "outcomes come faster than they can be written; send this report again";
        let status = Status::new(Code::ResourceExhausted, text);
        return Err(status.retry(Retry::After(AGAIN)));
    }
    Ok(kept.len())
}

fn outcomes(request: pb::ReportRequest) -> Result<Vec<Outcome>, Status> {
    if request.outcomes.len() > MOST {
        let sent = request.outcomes.len();
        return Err(Status::invalid(format!(
            "the report has {sent} outcomes, {MOST} are allowed"
        )));
    }
    let now = wall_ns();
    let mut outcomes = Vec::with_capacity(request.outcomes.len());
    for (index, outcome) in request.outcomes.into_iter().enumerate() {
        let refused = |what: String| Err(Status::invalid(format!("outcome {index}: {what}")));
        let id = outcome.request_id;
        if id.is_empty() || id.len() > MOST_ID {
            return refused(format!("request_id must have 1 to {MOST_ID} bytes"));
        }
        if outcome.row >= MOST_ROWS {
            return refused(format!("row is {}, a request has no such", outcome.row));
        }
        if outcome.time_ns < 0 {
            return refused("time_ns is before 1970".into());
        }
        let Some(label) = outcome.label.filter(|l| l.is_finite()) else {
            return refused("label must be a number".into());
        };
        outcomes.push(Outcome {
            id,
            row: outcome.row,
            time_ns: match outcome.time_ns {
                0 => now,
                told => told,
            },
            label,
        });
    }
    Ok(outcomes)
}

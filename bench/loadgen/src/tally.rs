//! What is counted during a run, and the report made of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::rc::Rc;

use crate::options::Options;
use crate::outcome::{Finished, Outcome, Status, Ticket};
use crate::quantiles::Times;
use crate::report::{ErrorMessage, Report, Window};
use crate::response_head::ResponseFields;

const SECOND_NS: u64 = 1_000_000_000;
const ERROR_MESSAGES: usize = 5;
/// Status bytes in the samples file for requests without an answer.
const SAMPLE_FAILED: u8 = 254;
const SAMPLE_UNANSWERED: u8 = 253;

/// Answers by arrival, for the rates.
#[derive(Default)]
struct Arrived {
    any: u64,
    ok: u64,
    good: u64,
}

struct Second {
    sent: u64,
    ok: u64,
    latency: Times,
}

/// The part of the clock that counts.
#[derive(Debug, Clone, Copy)]
pub struct CountedTime {
    pub from_ns: u64,
    pub until_ns: Option<u64>,
}

pub struct Tally {
    time: CountedTime,
    deadline_ns: Option<u64>,
    accept_http: bool,
    sent: u64,
    completed: u64,
    ok: u64,
    late: u64,
    unanswered: u64,
    status: BTreeMap<Status, u64>,
    failures: BTreeMap<String, u64>,
    /// Due while there was no room, and given up.
    pub held_back: u64,
    pub connections_lost: u64,
    pub reconnects: u64,
    arrived: Arrived,
    latency_ok: Times,
    latency_all: Times,
    send_lag: Times,
    first_errors: Vec<(Status, Option<Rc<ResponseFields>>)>,
    seconds: Vec<Second>,
    last_answer_ns: u64,
    samples: Option<BufWriter<File>>,
    samples_error: Option<std::io::Error>,
}

impl Tally {
    pub fn new(
        options: &Options,
        time: CountedTime,
        samples: Option<File>,
    ) -> Result<Self, String> {
        Ok(Self {
            time,
            deadline_ns: options.deadline_us.map(|us| us.saturating_mul(1_000)),
            accept_http: options.accept_http,
            sent: 0,
            completed: 0,
            ok: 0,
            late: 0,
            unanswered: 0,
            status: BTreeMap::new(),
            failures: BTreeMap::new(),
            held_back: 0,
            connections_lost: 0,
            reconnects: 0,
            arrived: Arrived::default(),
            latency_ok: Times::new(3)?,
            latency_all: Times::new(3)?,
            send_lag: Times::new(3)?,
            first_errors: Vec::new(),
            seconds: Vec::new(),
            last_answer_ns: time.from_ns,
            samples: samples.map(|file| BufWriter::with_capacity(1 << 20, file)),
            samples_error: None,
        })
    }

    /// A request was written at `now_ns`.
    pub fn sent(&mut self, ticket: Ticket, now_ns: u64) -> Result<(), String> {
        if ticket.counted {
            self.sent += 1;
            self.send_lag
                .record(now_ns.saturating_sub(ticket.scheduled_ns));
            self.second(ticket)?.sent += 1;
        }
        Ok(())
    }

    fn is_ok(&self, status: Status) -> bool {
        status == Status::OK || (self.accept_http && status == Status::Http(200))
    }

    /// A request has ended at `now_ns`.
    pub fn finished(&mut self, finished: &Finished, now_ns: u64) -> Result<(), String> {
        let ticket = finished.ticket;
        let latency_ns = now_ns.saturating_sub(ticket.scheduled_ns);
        let (status, trailers) = match &finished.outcome {
            Outcome::Answered { status, trailers } => (*status, trailers),
            Outcome::Failed(failure) => {
                if ticket.counted {
                    *self.failures.entry(failure.to_string()).or_default() += 1;
                    self.sample(ticket, latency_ns, SAMPLE_FAILED);
                }
                return Ok(());
            }
        };
        let ok = self.is_ok(status);
        let late = self
            .deadline_ns
            .is_some_and(|deadline| latency_ns > deadline);
        if now_ns >= self.time.from_ns && self.time.until_ns.is_none_or(|until| now_ns < until) {
            self.arrived.any += 1;
            self.arrived.ok += u64::from(ok);
            self.arrived.good += u64::from(ok && !late);
        }
        if !ok {
            self.note_error(status, trailers.as_ref());
        }
        if !ticket.counted {
            return Ok(());
        }
        self.last_answer_ns = now_ns;
        self.completed += 1;
        *self.status.entry(status).or_default() += 1;
        self.latency_all.record(latency_ns);
        if ok {
            self.ok += 1;
            self.late += u64::from(late);
            self.latency_ok.record(latency_ns);
            let second = self.second(ticket)?;
            second.ok += 1;
            second.latency.record(latency_ns);
        }
        let code = if ok { 0 } else { status.code() };
        self.sample(ticket, latency_ns, code);
        Ok(())
    }

    /// Keeps the first distinct ones; their messages are decoded for the report only.
    fn note_error(&mut self, status: Status, trailers: Option<&Rc<ResponseFields>>) {
        let known = |error: &(Status, Option<Rc<ResponseFields>>)| {
            error.0 == status && error.1.as_ref() == trailers
        };
        if self.first_errors.len() < ERROR_MESSAGES && !self.first_errors.iter().any(known) {
            self.first_errors.push((status, trailers.cloned()));
        }
    }

    /// A request is still without an answer at the end.
    pub fn unanswered(&mut self, ticket: Ticket) {
        if ticket.counted {
            self.unanswered += 1;
            self.sample(ticket, u64::MAX, SAMPLE_UNANSWERED);
        }
    }

    /// The second in which a counted request was scheduled.
    fn second(&mut self, ticket: Ticket) -> Result<&mut Second, String> {
        let index = ((ticket.scheduled_ns - self.time.from_ns) / SECOND_NS) as usize;
        while self.seconds.len() <= index {
            self.seconds.push(Second {
                sent: 0,
                ok: 0,
                latency: Times::new(2)?,
            });
        }
        Ok(&mut self.seconds[index])
    }

    fn sample(&mut self, ticket: Ticket, latency_ns: u64, status: u8) {
        let Some(out) = &mut self.samples else { return };
        let latency_us = u32::try_from(latency_ns.div_ceil(1_000)).unwrap_or(u32::MAX);
        let mut record = [0; 13];
        record[..8].copy_from_slice(&(ticket.scheduled_ns - self.time.from_ns).to_le_bytes());
        record[8..12].copy_from_slice(&latency_us.to_le_bytes());
        record[12] = status;
        if let Err(error) = out.write_all(&record) {
            self.samples_error = Some(error);
            self.samples = None;
        }
    }

    /// One line about the run so far.
    pub fn progress(&self, now_ns: u64, in_flight: usize) -> String {
        let phase = if now_ns < self.time.from_ns {
            "warm-up"
        } else {
            "counting"
        };
        let quantile = |q| {
            self.latency_ok
                .quantile(q)
                .map_or("-".to_owned(), |us| us.to_string())
        };
        format!(
            "{phase} {:.0} s: sent {}, ok {}, other answers {}, failed {}, in flight {in_flight}, p50 {} µs, p99 {} µs",
            (now_ns as f64 - self.time.from_ns as f64) / 1e9,
            self.sent,
            self.ok,
            self.completed - self.ok,
            self.failures.values().sum::<u64>(),
            quantile(5_000),
            quantile(9_900),
        )
    }

    /// Closes the samples file; fails if any of it could not be written.
    pub fn finish_samples(&mut self) -> std::io::Result<()> {
        if let Some(error) = self.samples_error.take() {
            return Err(error);
        }
        self.samples.take().map_or(Ok(()), |mut out| out.flush())
    }

    /// `ended_by_sends`: --sends ended the run, before its duration did.
    pub fn into_report(self, options: &Options, never_sent: u64, ended_by_sends: bool) -> Report {
        let until = match self.time.until_ns {
            Some(until) if !ended_by_sends => until,
            _ => self.last_answer_ns,
        };
        let duration_s = (until - self.time.from_ns) as f64 / 1e9;
        let per_second = |count: u64| {
            if duration_s > 0.0 {
                count as f64 / duration_s
            } else {
                0.0
            }
        };
        let ok_per_s = per_second(self.arrived.ok);
        Report {
            tool: "sluicegate-loadgen",
            version: env!("CARGO_PKG_VERSION"),
            label: options.label.clone(),
            target: options.target.clone(),
            path: options.path.clone(),
            mode: if options.rate.is_some() {
                "open"
            } else {
                "closed"
            },
            rate: options.rate,
            in_flight: options.in_flight,
            connections: options.connections,
            streams: options.streams,
            rows: options.rows,
            deadline_us: options.deadline_us,
            seed: options.seed,
            duration_s,
            warmup_s: options.warmup_s,
            offered: self.sent + never_sent + self.held_back,
            held_back: self.held_back,
            sent: self.sent,
            never_sent,
            completed: self.completed,
            ok: self.ok,
            late: self.late,
            unanswered: self.unanswered,
            status: self
                .status
                .iter()
                .map(|(status, n)| (status.to_string(), *n))
                .collect(),
            failures: self.failures,
            connections_lost: self.connections_lost,
            reconnects: self.reconnects,
            throughput_per_s: per_second(self.arrived.any),
            ok_per_s,
            goodput_per_s: per_second(self.arrived.good),
            decisions_per_s: ok_per_s * options.rows as f64,
            latency_us: self.latency_ok.summary(),
            latency_all_us: self.latency_all.summary(),
            send_lag_us: self.send_lag.summary(),
            first_error_messages: messages(&self.first_errors),
            windows: self
                .seconds
                .iter()
                .enumerate()
                .map(|(index, second)| Window {
                    t_s: index as u64,
                    sent: second.sent,
                    ok: second.ok,
                    p50_us: second.latency.quantile(5_000),
                    p99_us: second.latency.quantile(9_900),
                })
                .collect(),
            pauses: Vec::new(),
            histogram_us: self.latency_ok.buckets(),
        }
    }
}

/// The errors' texts, without those that only their encoding told apart.
fn messages(errors: &[(Status, Option<Rc<ResponseFields>>)]) -> Vec<ErrorMessage> {
    let mut messages = Vec::new();
    for (status, trailers) in errors {
        let message = trailers.as_ref().map(|fields| fields.grpc_message());
        let error = ErrorMessage {
            status: status.to_string(),
            message: message.unwrap_or_default(),
        };
        if !messages.contains(&error) {
            messages.push(error);
        }
    }
    messages
}

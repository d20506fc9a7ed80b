//! The loop: send what is due, write, wait, read.

use std::fs::File;
use std::io::IsTerminal;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use mio::{Events, Poll};

use crate::affinity;
use crate::clock::Clock;
use crate::hpack;
use crate::links::{Links, wait};
use crate::messages::{Requests, Responses, read_sequence};
use crate::options::Options;
use crate::outcome::{Finished, Ticket};
use crate::report::Report;
use crate::schedule::{Extent, Next, Pace, Schedule};
use crate::storm::Storm;
use crate::tally::{CountedTime, Tally};
use crate::witness::Witness;

const SECOND_NS: u64 = 1_000_000_000;
const HANDSHAKE_NS: u64 = 5 * SECOND_NS;
/// A send closer than this is awaited by polling without sleeping.
const SPIN_NS: u64 = 2_000_000;
/// A sleep ends this long before the send: a poll wakes up to a millisecond late.
const WAKE_BEFORE_NS: u64 = 1_500_000;
/// The longest sleep, so that progress and the end of the run are noticed.
const NAP_NS: u64 = 50_000_000;
/// A header block is one HEADERS frame, and any peer takes one of this size.
const LARGEST_BLOCK: usize = 16_384;

/// Why there is no report.
#[derive(Debug)]
pub enum LoadError {
    Usage(String),
    Unreachable(String),
    /// The run could not go on, or its results could not be written.
    Failed(String),
}

struct Run {
    options: Options,
    requests: Rc<Requests>,
    clock: Clock,
    links: Links,
    schedule: Schedule,
    /// The time when the schedule's duration ends, if it has one.
    stop_at_ns: Option<u64>,
    tally: Tally,
    responses: Option<Responses>,
    /// The message of the next request.
    next_message: u32,
    last_send_ns: u64,
    /// Started in this turn and not yet written; reused.
    started: Vec<Ticket>,
    /// Finished by the last read; reused.
    done: Vec<Finished>,
    storm: Storm,
}

/// Runs the load and returns its report.
pub fn run(options: &Options) -> Result<Report, LoadError> {
    let requests = load_requests(options).map_err(LoadError::Usage)?;
    let to = resolve(&options.target).map_err(LoadError::Usage)?;
    let open = |path: &Option<_>| path.as_ref().map(create).transpose();
    let samples = open(&options.samples).map_err(LoadError::Usage)?;
    let responses_file = open(&options.responses).map_err(LoadError::Usage)?;
    if let Some(core) = options.cpu {
        affinity::pin_to(core).map_err(LoadError::Usage)?;
    }

    let witnesses = options.witness.iter().map(|core| Witness::begin(*core));
    let witnesses = witnesses
        .collect::<Result<Vec<_>, _>>()
        .map_err(LoadError::Usage)?;

    let clock = Clock::start();
    let mut poll =
        Poll::new().map_err(|error| LoadError::Failed(format!("cannot make a poll: {error}")))?;
    let cap = options.streams;
    let mut links = Links::open(to, Rc::clone(&requests), options.connections, cap, &poll);
    greet(options, &clock, &mut links, &mut poll)?;

    let start_ns = clock.now_ns();
    let count_from_ns = start_ns + nanoseconds(options.warmup_s);
    let stop_at_ns = options.counted_s().map(|s| count_from_ns + nanoseconds(s));
    let pace = match (options.rate, options.in_flight) {
        (Some(rate), _) => Pace::open(rate, options.seed, start_ns),
        (None, in_flight) => Pace::Closed(in_flight.unwrap_or(1)),
    };
    let extent = Extent {
        count_from_ns,
        stop_at_ns,
        sends: options.sends,
    };
    let time = CountedTime {
        from_ns: count_from_ns,
        until_ns: stop_at_ns,
    };
    links.begin(options.reconnect);
    let mut run = Run {
        options: options.clone(),
        clock,
        links,
        schedule: Schedule::new(pace, extent),
        stop_at_ns,
        tally: Tally::new(options, time, samples).map_err(LoadError::Failed)?,
        responses: responses_file
            .is_some()
            .then(|| Responses::new(requests.count())),
        requests,
        next_message: 0,
        last_send_ns: start_ns,
        started: Vec::new(),
        done: Vec::new(),
        storm: Storm::new(options.cancel_share, options.cancel_within_us, options.seed),
    };
    run.turns(&mut poll).map_err(LoadError::Failed)?;
    let counting = run.clock.moment(count_from_ns);
    let pauses = witnesses.into_iter().flat_map(|w| w.end(counting));
    let pauses = pauses.collect();
    let report = run.finish(responses_file).map_err(LoadError::Failed)?;
    Ok(Report { pauses, ..report })
}

fn load_requests(options: &Options) -> Result<Rc<Requests>, String> {
    let timeout = options
        .deadline_us
        .filter(|_| !options.no_timeout_header)
        .map(hpack::grpc_timeout);
    let authority = options.authority.as_deref().unwrap_or(&options.target);
    let block = hpack::request_block(&options.path, authority, timeout.as_deref());
    if block.len() > LARGEST_BLOCK {
        return Err("--path and --authority are too long for one HEADERS frame".to_owned());
    }
    let requests = match &options.requests {
        Some(path) => Requests::from_sequence(block, &read_sequence(path)?)
            .map_err(|error| format!("{}: {error}", path.display()))?,
        None => Requests::empty_message(block)?,
    };
    Ok(Rc::new(requests))
}

fn resolve(target: &str) -> Result<SocketAddr, String> {
    target
        .to_socket_addrs()
        .map_err(|error| format!("--target {target} is no HOST:PORT that resolves: {error}"))?
        .next()
        .ok_or_else(|| format!("--target {target} has no address"))
}

fn create(path: impl AsRef<Path>) -> Result<File, String> {
    let path = path.as_ref();
    File::create(path).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

/// Waits until every connection is ready or has failed.
fn greet(
    options: &Options,
    clock: &Clock,
    links: &mut Links,
    poll: &mut Poll,
) -> Result<(), LoadError> {
    let mut events = Events::with_capacity(256);
    let mut done = Vec::new();
    while links.any_pending() && clock.now_ns() < HANDSHAKE_NS {
        wait(poll, &mut events, Duration::from_millis(100)).map_err(LoadError::Failed)?;
        for event in &events {
            links
                .serve(event, clock, &mut done, |_, _| Ok(()))
                .map_err(LoadError::Failed)?;
        }
        links.flush(clock.now_ns(), &mut done);
    }
    let ready = links.ready();
    let reason = links
        .last_reason
        .as_ref()
        .map_or("no HTTP/2 SETTINGS came within 5 s", |ended| &ended.0);
    if ready == 0 {
        let target = &options.target;
        return Err(LoadError::Unreachable(format!(
            "cannot reach {target}: {reason}"
        )));
    }
    if ready < options.connections {
        eprintln!(
            "only {ready} of {} connections could be made: {reason}",
            options.connections
        );
    }
    Ok(())
}

impl Run {
    fn turns(&mut self, poll: &mut Poll) -> Result<(), String> {
        let mut events = Events::with_capacity(256);
        let show = self.options.progress || std::io::stderr().is_terminal();
        let mut next_progress_ns = self.clock.now_ns() + SECOND_NS;
        loop {
            let now_ns = self.clock.now_ns();
            self.links.retry(now_ns, poll);
            self.send_due(now_ns)?;
            let now_ns = self.clock.now_ns();
            if show && now_ns >= next_progress_ns {
                next_progress_ns += SECOND_NS;
                eprintln!("{}", self.tally.progress(now_ns, self.links.in_flight()));
            }
            let next = self.schedule.next(now_ns, self.links.in_flight());
            if self.is_over(now_ns, next) {
                return Ok(());
            }
            wait(poll, &mut events, self.patience(now_ns, next))?;
            let Self {
                links,
                clock,
                tally,
                responses,
                done,
                ..
            } = self;
            for event in &events {
                links.serve(event, clock, done, |done, at_ns| {
                    account(tally, responses.as_mut(), done, at_ns)
                })?;
            }
        }
    }

    /// Starts every request that is due and finds room, then writes them together.
    fn send_due(&mut self, now_ns: u64) -> Result<(), String> {
        while let Next::At(at_ns) = self.schedule.next(now_ns, self.links.in_flight()) {
            if at_ns > now_ns {
                break;
            }
            if !self.links.has_room() {
                if !self.options.lose_held_back {
                    break;
                }
                let counted = self.schedule.take(at_ns);
                self.tally.held_back += u64::from(counted);
                continue;
            }
            let message = self.next_message;
            self.next_message = (message + 1) % self.requests.count() as u32;
            let capture = self
                .responses
                .as_ref()
                .is_some_and(|kept| kept.wants(message));
            let counted = self.schedule.take(at_ns);
            let ticket = Ticket {
                scheduled_ns: at_ns,
                message,
                counted,
                capture,
            };
            if let Some(place) = self.links.start(ticket) {
                self.storm.started(place, now_ns);
            }
            self.started.push(ticket);
        }
        let write_ns = if self.started.is_empty() {
            now_ns
        } else {
            self.clock.now_ns()
        };
        for ticket in self.started.drain(..) {
            self.last_send_ns = write_ns;
            self.tally.sent(ticket, write_ns)?;
        }
        while let Some(place) = self.storm.due(now_ns) {
            self.links.cancel(place, &mut self.done);
        }
        self.links.flush(write_ns, &mut self.done);
        account(
            &mut self.tally,
            self.responses.as_mut(),
            &mut self.done,
            write_ns,
        )
    }

    fn is_over(&self, now_ns: u64, next: Next) -> bool {
        let linger_ns = nanoseconds(self.options.linger_s);
        let stopped_for_ns = self.stop_at_ns.and_then(|stop| now_ns.checked_sub(stop));
        // An open-loop schedule has ended when its last arrival is taken, but time must pass too.
        let ended = next == Next::Ended && (stopped_for_ns.is_some() || self.schedule.sends_done());
        let waited = now_ns >= self.last_send_ns + linger_ns;
        ended && (self.links.in_flight() == 0 || waited)
            || stopped_for_ns.is_some_and(|ns| ns >= linger_ns)
            || self.links.all_gone()
    }

    /// How long the poll may wait for events.
    fn patience(&self, now_ns: u64, next: Next) -> Duration {
        let mut until_ns = now_ns + NAP_NS;
        if let Some(retry_ns) = self.links.next_retry_ns() {
            until_ns = until_ns.min(retry_ns);
        }
        if let Some(cancel_ns) = self.storm.next_ns() {
            if cancel_ns <= now_ns {
                return Duration::ZERO;
            }
            until_ns = until_ns.min(cancel_ns);
        }
        if let Some(stop_ns) = self.stop_at_ns.filter(|stop| *stop > now_ns) {
            until_ns = until_ns.min(stop_ns);
        }
        if let Next::At(at_ns) = next {
            if at_ns <= now_ns {
                // Due: either the outbox was full and is free again, or an answer must free room.
                if self.links.has_room() {
                    return Duration::ZERO;
                }
            } else if self.options.no_spin {
                until_ns = until_ns.min(at_ns);
            } else if at_ns - now_ns <= SPIN_NS {
                return Duration::ZERO;
            } else {
                // The poll rounds up to whole milliseconds.
                let whole_ms = (at_ns - now_ns - WAKE_BEFORE_NS) / 1_000_000;
                until_ns = until_ns.min(now_ns + whole_ms * 1_000_000);
            }
        }
        Duration::from_nanos(until_ns.saturating_sub(now_ns))
    }

    fn finish(mut self, responses_file: Option<File>) -> Result<Report, String> {
        for ticket in self.links.outstanding() {
            self.tally.unanswered(ticket);
        }
        self.tally.connections_lost = self.links.lost;
        self.tally.reconnects = self.links.reconnects;
        self.tally
            .finish_samples()
            .map_err(|error| format!("cannot write the samples: {error}"))?;
        if let (Some(responses), Some(file)) = (&self.responses, responses_file) {
            responses
                .write(file)
                .map_err(|error| format!("cannot write the responses: {error}"))?;
        }
        let ended_by_sends = self.schedule.sends_done();
        if self.links.all_gone()
            && let Some(reason) = &self.links.last_reason
        {
            eprintln!("no connection is left: {}", reason.0);
        }
        let never_sent = self.schedule.forgo_rest();
        Ok(self
            .tally
            .into_report(&self.options, never_sent, ended_by_sends))
    }
}

/// Counts what has ended and keeps the responses that are wanted.
fn account(
    tally: &mut Tally,
    mut responses: Option<&mut Responses>,
    done: &mut Vec<Finished>,
    at_ns: u64,
) -> Result<(), String> {
    for finished in done.drain(..) {
        tally.finished(&finished, at_ns)?;
        if let Some(responses) = &mut responses {
            responses.keep_finished(&finished);
        }
    }
    Ok(())
}

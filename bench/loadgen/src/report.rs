//! The JSON report, field by field.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::quantiles::Summary;
use crate::witness::Pause;

/// One run. "Counted" requests are those scheduled after the warm-up. Latencies run from the
/// scheduled send to the moment when the complete response has been read, in µs.
///
/// `offered` = `sent` + `never_sent`, and
/// `sent` = `completed` + the sum of `failures` + `unanswered`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Always "sluicegate-loadgen".
    pub tool: &'static str,
    pub version: &'static str,
    /// --label, or empty.
    pub label: String,
    pub target: String,
    pub path: String,
    /// "open" (Poisson arrivals) or "closed" (a fixed number in flight).
    pub mode: &'static str,
    /// Requests a second that the open loop's schedule has in the mean; null in closed loop.
    pub rate: Option<f64>,
    /// Requests in flight in closed loop; null in open loop.
    pub in_flight: Option<usize>,
    pub connections: usize,
    /// Cap of open streams per connection that was asked for; the peer's may be lower.
    pub streams: usize,
    /// Rows in one request.
    pub rows: u64,
    /// Null without a deadline; then nothing is late and goodput is everything OK.
    pub deadline_us: Option<u64>,
    pub seed: u64,
    /// Counted seconds: --duration-s, or, when --sends ended the run, until the last counted
    /// answer.
    pub duration_s: f64,
    pub warmup_s: f64,
    /// Counted requests that became due.
    pub offered: u64,
    /// Counted requests given up because every connection was at its limit of streams
    /// (--lose-held-back).
    pub held_back: u64,
    /// Counted requests that were written to a connection.
    pub sent: u64,
    /// Counted requests that became due and were never written: no stream was free in time, or
    /// no connection was left.
    pub never_sent: u64,
    /// Counted requests that got an answer with a status, whichever.
    pub completed: u64,
    /// Of these, with status OK (with --accept-http also HTTP_200), late ones included.
    pub ok: u64,
    /// Of `ok`, those with a latency above the deadline.
    pub late: u64,
    /// Counted requests that were written and got neither an answer nor a failure before the end.
    pub unanswered: u64,
    /// Counted answers by status: names of gRPC, or "HTTP_200" where grpc-status was missing.
    pub status: BTreeMap<String, u64>,
    /// Counted requests without an answer by reason: "rst:CANCEL", "goaway:NO_ERROR",
    /// "connection closed", "protocol error: …" and the like.
    pub failures: BTreeMap<String, u64>,
    /// Connections that ended during the run, and those made again (--reconnect).
    pub connections_lost: u64,
    pub reconnects: u64,
    /// Answers with any status that arrived during the counted seconds, divided by them. The
    /// rates count by arrival, whichever request was answered, so that neither a backlog from
    /// the warm-up nor one worked off after the end falsifies them.
    pub throughput_per_s: f64,
    /// The same of answers with status OK.
    pub ok_per_s: f64,
    /// The same of answers with status OK within the deadline.
    pub goodput_per_s: f64,
    /// `ok_per_s` times `rows`.
    pub decisions_per_s: f64,
    /// Latency of counted requests with status OK.
    pub latency_us: Summary,
    /// Latency of every counted request that was answered, whatever the status.
    pub latency_all_us: Summary,
    /// From the scheduled send to the write of the request, of every counted request sent.
    pub send_lag_us: Summary,
    /// Up to five distinct (status, grpc-message) of answers that were not OK, warm-up included.
    pub first_error_messages: Vec<ErrorMessage>,
    /// The counted seconds one by one, by scheduled send.
    pub windows: Vec<Window>,
    /// When the machine took a core away (--witness), warm-up included.
    pub pauses: Vec<Pause>,
    /// Counts of OK latencies: [upper bound in µs, count], ten buckets a decade.
    pub histogram_us: Vec<(f64, u64)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErrorMessage {
    pub status: String,
    /// grpc-message, percent-decoded; empty if there was none.
    pub message: String,
}

/// One second of the counted part, of the requests scheduled in it.
#[derive(Debug, Serialize)]
pub struct Window {
    /// Its beginning, in seconds from the start of counting.
    pub t_s: u64,
    pub sent: u64,
    pub ok: u64,
    /// Quantiles of the OK latencies (two significant digits), null with fewer than ten samples
    /// beyond.
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
}
